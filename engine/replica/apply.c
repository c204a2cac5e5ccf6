// SPDX-License-Identifier: Apache-2.0
//
// The staged delta onto the replica. Every step gives the same bytes when it is done again, so finish after a crash simply begins anew:
//
//     size (a file is cut or grown; a device's grown range is zeroed) --> pages and runs from the stage, in any order --> sync
//
// Records name disjoint blocks, so their writes need no order among themselves; only the zeroing of a device's grown range must be over
// before the first of them.
#include "engine/replica/replica_impl.h"

#include "engine/replica/stage.h"

#include <assert.h>
#include <inttypes.h>

#define BR_APPLY_DEPTH       64u
#define BR_APPLY_BUFFERS     6u
#define BR_APPLY_BYTES       BR_BATCH_DATA_MAX
#define BR_APPLY_ZEROS_BYTES BR_BLOCK_BYTES      // up to here zeros are written, beyond the range is zeroed
#define BR_APPLY_ZERO_STEP   (UINT64_C(1) << 30) // so that an error's offset means something

// Memory that holds the data of several small batches while they are written.
struct br_apply_buffer {
    uint8_t *bytes;
    size_t used;
    unsigned refs;
};

struct br_apply {
    struct br_replica *replica;
    struct br_tree_geometry geometry;
    struct br_io_queue queue;
    struct br_apply_buffer buffers[BR_APPLY_BUFFERS];
    unsigned current;
    uint64_t written;
};

static void br_apply_written(void *ctx, const struct br_io *io)
{
    struct br_apply_buffer *buffer = ctx;
    (void)io;
    assert(buffer->refs > 0);
    buffer->refs--;
}

// A copy of @len bytes that stays until its writes are done.
static const uint8_t *br_apply_copy(struct br_apply *apply, const uint8_t *bytes, size_t len)
{
    size_t room = br_align_up(len, BR_PAGE_BYTES);
    struct br_apply_buffer *buffer = &apply->buffers[apply->current];
    if (buffer->used + room > BR_APPLY_BYTES) {
        apply->current = (apply->current + 1) % BR_APPLY_BUFFERS;
        buffer = &apply->buffers[apply->current];
        while (buffer->refs > 0) {
            br_ring_step(apply->replica->ring);
        }
        buffer->used = 0;
    }
    uint8_t *to = buffer->bytes + buffer->used;
    memcpy(to, bytes, len);
    buffer->used += room;
    return to;
}

static int br_apply_write(struct br_apply *apply, const uint8_t *bytes, uint64_t offset_bytes, uint64_t len_bytes,
                          struct br_err *reterr)
{
    struct br_apply_buffer *buffer = &apply->buffers[apply->current];
    union {
        const uint8_t *in;
        void *out;
    } unconst = {.in = bytes}; // a write does not change it
    buffer->refs++;
    int r = br_io_queue_submit(&apply->queue, BR_IO_WRITE, apply->replica->file, unconst.out, len_bytes, offset_bytes,
                               br_apply_written, buffer, reterr);
    buffer->refs -= r < 0 ? 1 : 0;
    apply->written += len_bytes;
    return r;
}

static int br_apply_zero(struct br_apply *apply, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    static uint8_t zeros[BR_APPLY_ZEROS_BYTES] __attribute__((aligned(BR_PAGE_BYTES)));
    apply->written += len_bytes;
    if (len_bytes < BR_APPLY_ZEROS_BYTES) {
        return br_io_queue_submit(&apply->queue, BR_IO_WRITE, apply->replica->file, zeros, len_bytes, offset_bytes,
                                  NULL, NULL, reterr);
    }
    while (len_bytes > 0) {
        uint64_t step = BR_MIN(len_bytes, BR_APPLY_ZERO_STEP);
        int r = br_io_queue_submit(&apply->queue, BR_IO_ZERO, apply->replica->file, NULL, step, offset_bytes, NULL,
                                   NULL, reterr);
        if (r < 0) {
            return r;
        }
        offset_bytes += step;
        len_bytes -= step;
    }
    return 0;
}

static int br_apply_span(void *ctx, uint64_t start_bytes, uint64_t end_bytes, const uint8_t *data,
                         struct br_err *reterr)
{
    return data ? br_apply_write(ctx, data, start_bytes, end_bytes - start_bytes, reterr)
                : br_apply_zero(ctx, start_bytes, end_bytes - start_bytes, reterr);
}

static int br_apply_batch(struct br_apply *apply, const struct br_batch *batch, struct br_err *reterr)
{
    const uint8_t *data = batch->data_bytes ? br_apply_copy(apply, batch->data, batch->data_bytes) : NULL;
    return br_batch_spans(batch, &apply->geometry, data, br_apply_span, apply, reterr);
}

static int br_apply_record(void *ctx, const struct br_stream_record *record, struct br_err *reterr)
{
    struct br_apply *apply = ctx;
    if (record->type == BR_STREAM_DATA) {
        return br_apply_batch(apply, &record->batch, reterr);
    }
    if (record->type != BR_STREAM_RUN || record->run.kind == BR_RUN_UNREADABLE) {
        return 0;
    }
    uint64_t start = record->run.first * BR_BLOCK_BYTES;
    uint64_t end = BR_MIN(start + record->run.count * BR_BLOCK_BYTES, apply->geometry.size_bytes);
    return br_apply_zero(apply, start, end - start, reterr);
}

static int br_apply_size(struct br_apply *apply, struct br_err *reterr)
{
    struct br_replica *replica = apply->replica;
    uint64_t old_bytes = replica->identity.previous_tree.geometry.size_bytes;
    uint64_t new_bytes = apply->geometry.size_bytes;
    struct br_file_info info;
    int r = br_file_stat(replica->file, &info, reterr);
    r = r < 0 ? r : br_replica_capacity(&info, new_bytes, replica->what, reterr);
    if (r < 0) {
        return r;
    }
    if (!info.is_block) {
        return info.size_bytes == new_bytes ? 0 : br_replica_set_size(replica, replica->file, new_bytes, reterr);
    }
    r = new_bytes > old_bytes ? br_apply_zero(apply, old_bytes, new_bytes - old_bytes, reterr) : 0;
    return r < 0 ? r : br_io_queue_drain(&apply->queue, reterr);
}

static int br_apply_run(struct br_apply *apply, struct br_err *reterr)
{
    struct br_replica *replica = apply->replica;
    const struct br_identity *identity = &replica->identity;
    int r = br_io_queue_open(&apply->queue, replica->ring, BR_APPLY_DEPTH, replica->what, reterr);
    for (unsigned i = 0; i < BR_APPLY_BUFFERS && r == 0; i++) {
        apply->buffers[i].bytes = aligned_alloc(BR_PAGE_BYTES, BR_APPLY_BYTES);
        if (!apply->buffers[i].bytes) {
            r = br_err_set(reterr, BR_E_NOMEM, "%s: buffers to apply the delta", replica->what);
        }
    }
    r = r < 0 ? r : br_apply_size(apply, reterr);
    r = r < 0 ? r
              : br_stage_read(replica->ring, replica->dir, identity->stage_bytes, &identity->stage_id, &identity->root,
                              br_apply_record, apply, replica->what, reterr);
    r = r < 0 ? r : br_io_queue_drain(&apply->queue, reterr);
    return r < 0 ? r : br_file_sync(replica->file, reterr);
}

int br_apply(struct br_replica *replica, uint64_t *ret_written, struct br_err *reterr)
{
    assert(replica->identity.state == BR_STATE_APPLYING && !replica->lost && !replica->read_only);
    struct br_apply apply = {.replica = replica, .geometry = replica->identity.tree.geometry};
    int r = br_apply_run(&apply, reterr);
    if (apply.queue.ring) {
        br_io_queue_close(&apply.queue);
    }
    for (unsigned i = 0; i < BR_APPLY_BUFFERS; i++) {
        free(apply.buffers[i].bytes);
    }
    if (r == 0) {
        *ret_written = apply.written;
    }
    return r;
}
