// SPDX-License-Identifier: Apache-2.0
#include "engine/track/fresh.h"

#include <assert.h>
#include <inttypes.h>

#define PAGE_BYTES 4096u

// A read on its way: whole pages around the range that is wanted.
struct flight {
    struct br_io io;
    size_t *flying;
    uint64_t needed_bytes; // from the first page on
};

int br_fresh_open(struct br_file *file, uint64_t size_bytes, struct br_fresh *ret_fresh, struct br_err *reterr)
{
    struct br_file_info info;
    int rc = br_file_stat(file, &info, reterr);

    if (rc < 0) {
        return rc;
    }
    *ret_fresh = (struct br_fresh){
        .file = file,
        .size_bytes = size_bytes,
        .align_bytes = BR_MAX(info.sector_bytes, PAGE_BYTES),
    };
    return 0;
}

void br_fresh_close(struct br_fresh *fresh)
{
    free(fresh->buffer);
    *fresh = (struct br_fresh){0};
}

static size_t span_bytes(const struct br_fresh *fresh, const struct br_fresh_read *read)
{
    const uint64_t start = br_align_down(read->offset_bytes, fresh->align_bytes);

    return br_align_up(read->offset_bytes + read->len_bytes, fresh->align_bytes) - start;
}

static int make_room(struct br_fresh *fresh, const struct br_fresh_read *reads, size_t count, struct br_err *reterr)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        if (!br_range_ok(reads[i].offset_bytes, reads[i].len_bytes, fresh->size_bytes)) {
            return br_err_at(reterr, BR_E_CORRUPT, reads[i].offset_bytes,
                             "%zu bytes lie behind the end of a device of %" PRIu64, reads[i].len_bytes,
                             fresh->size_bytes);
        }
        bytes += span_bytes(fresh, &reads[i]);
    }
    if (bytes <= fresh->capacity) {
        return 0;
    }
    uint8_t *buffer = aligned_alloc(fresh->align_bytes, bytes);
    if (!buffer) {
        return br_err_set(reterr, BR_E_NOMEM, "reading %zu bytes", bytes);
    }
    free(fresh->buffer);
    fresh->buffer = buffer;
    fresh->capacity = bytes;
    return 0;
}

static void landed(struct br_io *io)
{
    struct flight *flight = io->ctx;

    --*flight->flying;
}

static int judge(const struct flight *flight, struct br_err *reterr)
{
    const struct br_io *io = &flight->io;

    if (io->result < 0) {
        int rc = io->os_errno ? br_err_os(reterr, io->os_errno, "cannot read %zu bytes", io->len_bytes)
                              : br_err_set(reterr, -io->result, "cannot read %zu bytes", io->len_bytes);
        if (reterr) {
            reterr->has_offset = true;
            reterr->offset_bytes = io->offset_bytes + io->done_bytes;
        }
        return rc;
    }
    if (io->done_bytes < flight->needed_bytes) {
        return br_err_at(reterr, BR_E_TRUNCATED, io->offset_bytes + io->done_bytes,
                         "the file ends %" PRIu64 " bytes too early", flight->needed_bytes - io->done_bytes);
    }
    return 0;
}

int br_fresh_read(struct br_fresh *fresh, struct br_fresh_read *reads, size_t count, struct br_err *reterr)
{
    BR_AUTO_FREE struct flight *flights = calloc(BR_MAX(count, (size_t)1), sizeof(*flights));
    struct br_ring *ring = br_file_ring(fresh->file);
    size_t flying = count, used = 0;

    assert(count <= BR_FRESH_READS_MAX);
    if (!flights) {
        return br_err_set(reterr, BR_E_NOMEM, "reading %zu ranges", count);
    }
    int rc = make_room(fresh, reads, count, reterr);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        const uint64_t start = br_align_down(reads[i].offset_bytes, fresh->align_bytes);
        const size_t span = span_bytes(fresh, &reads[i]), skip = reads[i].offset_bytes - start;
        br_file_drop_cache(fresh->file, start, span);
        flights[i] = (struct flight){
            .io = {.op = BR_IO_READ,
                   .file = fresh->file,
                   .buf = fresh->buffer + used,
                   .len_bytes = span,
                   .offset_bytes = start,
                   .done = landed,
                   .ctx = &flights[i]},
            .flying = &flying,
            .needed_bytes = skip + reads[i].len_bytes,
        };
        reads[i].bytes = fresh->buffer + used + skip;
        used += span;
        br_ring_submit(ring, &flights[i].io);
    }
    while (flying) {
        br_ring_wait(ring, UINT64_MAX);
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = judge(&flights[i], reterr);
    }
    return rc;
}

int br_fresh_read_one(struct br_fresh *fresh, uint64_t offset_bytes, size_t len_bytes, const uint8_t **ret_bytes,
                      struct br_err *reterr)
{
    struct br_fresh_read read = {.offset_bytes = offset_bytes, .len_bytes = len_bytes};
    int rc = br_fresh_read(fresh, &read, 1, reterr);

    if (rc == 0) {
        *ret_bytes = read.bytes;
    }
    return rc;
}
