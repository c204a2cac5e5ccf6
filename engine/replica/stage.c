// SPDX-License-Identifier: Apache-2.0
#include "engine/replica/stage.h"

#include "engine/replica/cut.h"

#include <assert.h>
#include <inttypes.h>

static int br_stage_reserve(struct br_stage *stage, uint64_t end_bytes, struct br_err *reterr)
{
    if (end_bytes <= stage->reserved_bytes) {
        return 0;
    }
    // Large steps keep the file in one piece; on a small volume they would ask for more space than any delta of it needs.
    uint64_t step =
        stage->geometry.size_bytes < 8 * BR_STAGE_RESERVE_STEP ? BR_STAGE_PIECE_BYTES : BR_STAGE_RESERVE_STEP;
    uint64_t len = br_align_up(end_bytes - stage->reserved_bytes, step);
    int r = br_file_allocate(stage->file, stage->reserved_bytes, len, reterr);
    if (r == -BR_E_NO_SPACE) { // the step is for speed; a small delta needs no more than itself
        len = br_align_up(end_bytes - stage->reserved_bytes, BR_PAGE_BYTES);
        r = br_file_allocate(stage->file, stage->reserved_bytes, len, reterr);
    }
    if (r < 0) {
        return br_err_prefix(reterr, "%s: reserving %" PRIu64 " bytes for the staged delta", stage->queue.what, len);
    }
    stage->reserved_bytes += len;
    return 0;
}

// First byte that is not written yet: of the pieces under way, and of what is not handed over.
static uint64_t br_stage_written(const struct br_stage *stage)
{
    uint64_t low = stage->offset_bytes;
    for (unsigned i = 0; i < BR_STAGE_PIECES; i++) {
        if (stage->pieces[i].busy && stage->pieces[i].offset_bytes < low) {
            low = stage->pieces[i].offset_bytes;
        }
    }
    return low;
}

static void br_stage_synced(void *ctx, const struct br_io *io)
{
    struct br_stage *stage = ctx;
    stage->sync_busy = false;
    if (io->result == 0) {
        stage->durable_data_bytes = stage->sync_data_bytes;
    }
}

static void br_stage_written_piece(void *ctx, const struct br_io *io)
{
    struct br_stage_piece *piece = ctx;
    (void)io;
    piece->busy = false;
}

// Starts a sync once all below the mark is written. Called between pieces, never from a callback.
static int br_stage_sync_step(struct br_stage *stage, struct br_err *reterr)
{
    if (!stage->sync_wanted && !stage->sync_busy && stage->offset_bytes >= stage->next_mark_bytes) {
        stage->sync_wanted = true;
        stage->sync_mark_bytes = stage->offset_bytes;
        // The last record may reach into the current piece: count it only next time.
        stage->next_mark_bytes = stage->offset_bytes + stage->sync_step_bytes;
        stage->sync_data_bytes = stage->whole_data_bytes;
    }
    if (!stage->sync_wanted || br_stage_written(stage) < stage->sync_mark_bytes) {
        return 0;
    }
    stage->sync_wanted = false;
    stage->sync_busy = true;
    return br_io_queue_submit(&stage->queue, BR_IO_SYNC, stage->file, NULL, 0, 0, br_stage_synced, stage, reterr);
}

// Hands the current piece over and takes the next free one.
static int br_stage_flush(struct br_stage *stage, struct br_err *reterr)
{
    struct br_stage_piece *piece = &stage->pieces[stage->current];
    int r = br_stage_reserve(stage, stage->offset_bytes + stage->fill, reterr);
    if (r < 0) {
        return r;
    }
    piece->busy = true;
    piece->offset_bytes = stage->offset_bytes;
    r = br_io_queue_submit(&stage->queue, BR_IO_WRITE, stage->file, piece->bytes, stage->fill, stage->offset_bytes,
                           br_stage_written_piece, piece, reterr);
    if (r < 0) {
        piece->busy = false;
        return r;
    }
    stage->offset_bytes += stage->fill;
    stage->fill = 0;
    stage->current = (stage->current + 1) % BR_STAGE_PIECES;
    while (stage->pieces[stage->current].busy) {
        br_ring_step(stage->ring);
    }
    return br_stage_sync_step(stage, reterr);
}

static int br_stage_append(struct br_stage *stage, const uint8_t *bytes, size_t len, struct br_err *reterr)
{
    while (len > 0) {
        size_t part = BR_MIN(len, stage->piece_bytes - stage->fill);
        memcpy(stage->pieces[stage->current].bytes + stage->fill, bytes, part);
        stage->fill += part;
        bytes += part;
        len -= part;
        if (stage->fill == stage->piece_bytes) {
            int r = br_stage_flush(stage, reterr);
            if (r < 0) {
                return r;
            }
        }
    }
    return br_io_queue_error(&stage->queue, reterr);
}

static int br_stage_append_frame(struct br_stage *stage, struct br_err *reterr)
{
    int r = br_stage_append(stage, stage->frame.head, stage->frame.head_len, reterr);
    return r < 0 ? r : br_stage_append(stage, stage->frame.body, stage->frame.body_len, reterr);
}

static int br_stage_prepare(struct br_stage *stage, const struct br_stage_params *params, struct br_err *reterr)
{
    uint64_t expected_bytes = params->expected_bytes;
    unsigned flags = BR_OPEN_WRITE | BR_OPEN_CREATE | (params->keep_bytes ? 0 : BR_OPEN_TRUNCATE);
    for (unsigned i = 0; i < BR_STAGE_PIECES; i++) {
        stage->pieces[i].stage = stage;
        stage->pieces[i].bytes = aligned_alloc(BR_PAGE_BYTES, stage->piece_bytes);
        if (!stage->pieces[i].bytes) {
            return br_err_set(reterr, BR_E_NOMEM, "buffers of the staged delta");
        }
    }
    int r = br_dir_open(params->dir, params->name, flags, &stage->file, reterr);
    if (r < 0) {
        stage->file = NULL;
        return r;
    }
    // Zeros between, never the head of a frame that was torn: it would be taken for whole once something follows.
    r = params->keep_bytes ? br_file_truncate(stage->file, params->keep_bytes, reterr) : 0;
    r = r < 0 || !params->keep_bytes ? r : br_file_truncate(stage->file, stage->start_bytes, reterr);
    // Frame heads and tables cost less than 1/64 of whole blocks; single pages cost more and are reserved as they come.
    if (r == 0 && expected_bytes) {
        r = br_stage_reserve(stage, stage->start_bytes + expected_bytes + expected_bytes / 64 + BR_PAGE_BYTES, reterr);
    }
    if (r == 0) {
        r = (params->lists ? br_stream_start_staged : br_stream_start)(&stage->encoder, params->header, &stage->frame,
                                                                       reterr);
    }
    return r < 0 ? r : br_stage_append_frame(stage, reterr);
}

int br_stage_open(struct br_stage *stage, const struct br_stage_params *params, struct br_err *reterr)
{
    uint64_t start_bytes = br_align_up(params->keep_bytes, BR_CUT_ALIGN);
    *stage = (struct br_stage){
        .ring = params->ring,
        .start_bytes = start_bytes,
        .offset_bytes = start_bytes,
        .reserved_bytes = start_bytes,
        .sync_step_bytes = params->sync_bytes ? params->sync_bytes : BR_STAGE_SYNC_STEP,
    };
    stage->next_mark_bytes = start_bytes + stage->sync_step_bytes;
    stage->piece_bytes =
        (size_t)BR_MIN(br_align_up(stage->sync_step_bytes, BR_PAGE_BYTES), (uint64_t)BR_STAGE_PIECE_BYTES);
    if (!br_tree_geometry_of(params->header->size_bytes, &stage->geometry)) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: impossible volume size", params->what);
    }
    int r = br_io_queue_open(&stage->queue, params->ring, BR_STAGE_PIECES + 1, params->what, reterr);
    if (r < 0) {
        return r;
    }
    r = br_stage_prepare(stage, params, reterr);
    if (r < 0) {
        br_stage_close(stage);
    }
    return r;
}

int br_stage_batch(struct br_stage *stage, const struct br_batch *batch, struct br_err *reterr)
{
    uint64_t offset = stage->start_bytes + stage->encoder.bytes, chain = stage->encoder.chain;

    stage->whole_data_bytes = stage->encoder.counts.data_bytes;
    int r = br_stream_batch(&stage->encoder, batch, 0, &stage->frame, reterr);
    if (r < 0) {
        return r;
    }
    stage->last = (struct br_stream_kept){
        .offset_bytes = offset,
        .chain = chain,
        .checksum = stage->encoder.chain,
        .size_bytes = stage->geometry.size_bytes,
        .first = batch->blocks[0].index,
        .last = batch->blocks[batch->block_count - 1].index,
        .blocks = (uint16_t)((1u << batch->block_count) - 1),
    };
    return br_stage_append_frame(stage, reterr);
}

int br_stage_kept(struct br_stage *stage, const struct br_stream_kept *kept, struct br_err *reterr)
{
    int r = br_stream_kept(&stage->encoder, kept, &stage->frame, reterr);
    return r < 0 ? r : br_stage_append_frame(stage, reterr);
}

int br_stage_run(struct br_stage *stage, const struct br_run *run, struct br_err *reterr)
{
    stage->whole_data_bytes = stage->encoder.counts.data_bytes;
    int r = br_stream_run(&stage->encoder, run, &stage->frame, reterr);
    return r < 0 ? r : br_stage_append_frame(stage, reterr);
}

static int br_stage_flush_all(struct br_stage *stage, struct br_err *reterr)
{
    int r = stage->fill > 0 ? br_stage_flush(stage, reterr) : 0;
    return r < 0 ? r : br_io_queue_drain(&stage->queue, reterr);
}

int br_stage_end(struct br_stage *stage, const struct br_hash *root, uint64_t *ret_bytes, struct br_err *reterr)
{
    int r = br_stream_end(&stage->encoder, root, &stage->frame, reterr);
    r = r < 0 ? r : br_stage_append_frame(stage, reterr);
    r = r < 0 ? r : br_stage_flush_all(stage, reterr);
    if (r == 0) { // what was reserved and not used would be read as part of the stage
        r = br_file_truncate(stage->file, stage->offset_bytes, reterr);
    }
    r = r < 0 ? r : br_file_sync(stage->file, reterr);
    if (r == 0) {
        stage->durable_data_bytes = stage->encoder.counts.data_bytes;
        *ret_bytes = stage->offset_bytes;
    }
    return r;
}

int br_stage_cut(struct br_stage *stage, uint64_t spare_bytes, struct br_err *reterr)
{
    int flushed = br_stage_flush_all(stage, reterr);
    uint64_t bytes = stage->offset_bytes - BR_MIN(spare_bytes, stage->offset_bytes - stage->start_bytes);
    int r = br_file_truncate(stage->file, bytes, flushed < 0 ? NULL : reterr);

    r = r < 0 ? r : br_file_sync(stage->file, flushed < 0 ? NULL : reterr);
    if (r == 0 && flushed == 0 && spare_bytes == 0) {
        stage->durable_data_bytes = stage->encoder.counts.data_bytes;
    }
    return flushed < 0 ? flushed : r;
}

void br_stage_close(struct br_stage *stage)
{
    if (stage->queue.ring) {
        br_io_queue_close(&stage->queue);
    }
    for (unsigned i = 0; i < BR_STAGE_PIECES; i++) {
        free(stage->pieces[i].bytes);
    }
    br_stream_frame_free(&stage->frame);
    br_file_close(stage->file);
    *stage = (struct br_stage){0};
}

// Reading: BR_STAGE_PIECES reads ahead, in order.
struct br_stage_reader {
    struct br_file *file;
    struct br_io_queue queue;
    struct br_stage_piece pieces[BR_STAGE_PIECES];
    uint64_t bytes;
    uint64_t next_offset; // of the next read
    struct br_stream_decoder *decoder;
    struct br_stream_record record; // large, so not on the stack
    bool seen_header;
    bool seen_end;
    // What KEPT records name.
    struct br_dir *dir;
    struct br_file *cut;              // stage.cut, opened when it is needed
    uint8_t *frame;                   // of it
    struct br_tree_geometry geometry; // of the result
};

static int br_stage_read_ahead(struct br_stage_reader *reader, unsigned index, struct br_err *reterr)
{
    struct br_stage_piece *piece = &reader->pieces[index];
    if (reader->next_offset >= reader->bytes) {
        return 0;
    }
    uint64_t len = BR_MIN(reader->bytes - reader->next_offset, (uint64_t)BR_STAGE_PIECE_BYTES);
    piece->busy = true;
    piece->offset_bytes = reader->next_offset;
    reader->next_offset += len;
    int r = br_io_queue_submit(&reader->queue, BR_IO_READ, reader->file, piece->bytes, len, piece->offset_bytes,
                               br_stage_written_piece, piece, reterr);
    if (r < 0) {
        piece->busy = false;
    }
    return r;
}

// What binds the stage to the commit: the ids that the identity names.
static int br_stage_check_record(struct br_stage_reader *reader, const struct br_uuid *stream_id,
                                 const struct br_hash *root, struct br_err *reterr)
{
    const struct br_stream_record *record = &reader->record;
    if (record->type == BR_STREAM_HEADER) {
        reader->seen_header = br_tree_geometry_of(record->header.size_bytes, &reader->geometry);
        if (!br_uuid_equal(&record->header.stream_id, stream_id)) {
            return br_err_set(reterr, BR_E_CORRUPT, "the staged delta is not the one that was committed");
        }
    }
    if (record->type == BR_STREAM_END) {
        reader->seen_end = true;
        if (!br_hash_equal(&record->end.root, root)) {
            return br_err_set(reterr, BR_E_CORRUPT, "the staged delta leads to another version than was committed");
        }
    }
    return 0;
}

// A KEPT record becomes the DATA that it names.
static int br_stage_resolve(struct br_stage_reader *reader, struct br_err *reterr)
{
    struct br_stream_kept kept = reader->record.kept;
    if (!reader->cut) {
        reader->frame = malloc(BR_STREAM_FRAME_BYTES_MAX);
        if (!reader->frame) {
            return br_err_set(reterr, BR_E_NOMEM, "buffers to read the staged delta");
        }
        int r = br_dir_open(reader->dir, BR_CUT_NAME, BR_OPEN_READ, &reader->cut, reterr);
        if (r < 0) {
            reader->cut = NULL;
            return r == -BR_E_NOT_FOUND ? br_err_set(reterr, BR_E_CORRUPT, "the data of the staged delta is gone") : r;
        }
    }
    reader->record.type = BR_STREAM_DATA;
    return br_cut_resolve(reader->cut, &kept, &reader->geometry, reader->frame, &reader->record.batch, reterr);
}

static int br_stage_decode_piece(struct br_stage_reader *reader, const uint8_t *bytes, size_t len,
                                 const struct br_uuid *stream_id, const struct br_hash *root, br_stage_record_fn *fn,
                                 void *ctx, struct br_err *reterr)
{
    for (;;) {
        int r = br_stream_decoder_next(reader->decoder, &bytes, &len, &reader->record, reterr);
        if (r <= 0) {
            return r;
        }
        r = br_stage_check_record(reader, stream_id, root, reterr);
        if (r == 0 && reader->record.type == BR_STREAM_KEPT) {
            r = br_stage_resolve(reader, reterr);
        }
        if (r == 0 && fn) {
            r = fn(ctx, &reader->record, reterr);
        }
        if (r != 0) {
            return r;
        }
    }
}

static int br_stage_decode(struct br_stage_reader *reader, const struct br_uuid *stream_id, const struct br_hash *root,
                           br_stage_record_fn *fn, void *ctx, struct br_err *reterr)
{
    int r = 0;
    for (unsigned i = 0; i < BR_STAGE_PIECES && r == 0; i++) {
        r = br_stage_read_ahead(reader, i, reterr);
    }
    uint64_t offset = 0;
    for (unsigned i = 0; r == 0 && offset < reader->bytes; i = (i + 1) % BR_STAGE_PIECES) {
        struct br_stage_piece *piece = &reader->pieces[i];
        while (piece->busy) {
            br_ring_step(reader->queue.ring);
        }
        r = br_io_queue_error(&reader->queue, reterr);
        assert(r < 0 || piece->offset_bytes == offset);
        uint64_t len = BR_MIN(reader->bytes - offset, (uint64_t)BR_STAGE_PIECE_BYTES);
        r = r < 0 ? r : br_stage_decode_piece(reader, piece->bytes, len, stream_id, root, fn, ctx, reterr);
        r = r != 0 ? r : br_stage_read_ahead(reader, i, reterr);
        offset += len;
    }
    r = r != 0 ? r : br_stream_decoder_finish(reader->decoder, reterr);
    if (r == 0 && (!reader->seen_header || !reader->seen_end)) {
        r = br_err_set(reterr, BR_E_CORRUPT, "the staged delta has no beginning or no end");
    }
    return r;
}

static int br_stage_reader_open(struct br_stage_reader *reader, struct br_ring *ring, struct br_dir *dir,
                                const char *what, struct br_err *reterr)
{
    struct br_file_info info;
    int r = br_io_queue_open(&reader->queue, ring, BR_STAGE_PIECES, what, reterr);
    r = r < 0 ? r : br_dir_open(dir, BR_STAGE_NAME, BR_OPEN_READ, &reader->file, reterr);
    if (r < 0) {
        reader->file = NULL;
        return r;
    }
    r = br_file_stat(reader->file, &info, reterr);
    if (r == 0 && info.size_bytes != reader->bytes) {
        r = br_err_set(reterr, BR_E_CORRUPT, "the staged delta has %" PRIu64 " bytes, %" PRIu64 " were committed",
                       info.size_bytes, reader->bytes);
    }
    for (unsigned i = 0; i < BR_STAGE_PIECES && r == 0; i++) {
        reader->pieces[i].bytes = aligned_alloc(BR_PAGE_BYTES, BR_STAGE_PIECE_BYTES);
        if (!reader->pieces[i].bytes) {
            r = br_err_set(reterr, BR_E_NOMEM, "buffers to read the staged delta");
        }
    }
    r = r < 0 ? r : br_stream_decoder_open(&reader->decoder, reterr);
    if (r == 0) {
        br_stream_decoder_allow_staged(reader->decoder);
    }
    return r;
}

int br_stage_read(struct br_ring *ring, struct br_dir *dir, uint64_t bytes, const struct br_uuid *stream_id,
                  const struct br_hash *root, br_stage_record_fn *record, void *ctx, const char *what,
                  struct br_err *reterr)
{
    struct br_stage_reader *reader = calloc(1, sizeof(*reader));
    if (!reader) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: reading the staged delta", what);
    }
    reader->bytes = bytes;
    reader->dir = dir;
    int r = br_stage_reader_open(reader, ring, dir, what, reterr);
    r = r < 0 ? r : br_stage_decode(reader, stream_id, root, record, ctx, reterr);
    if (reader->queue.ring) {
        br_io_queue_close(&reader->queue);
    }
    br_stream_decoder_close(reader->decoder);
    br_file_close(reader->file);
    br_file_close(reader->cut);
    free(reader->frame);
    for (unsigned i = 0; i < BR_STAGE_PIECES; i++) {
        free(reader->pieces[i].bytes);
    }
    free(reader);
    return r == -BR_E_TRUNCATED ? -BR_E_CORRUPT : r;
}
