// SPDX-License-Identifier: Apache-2.0
//
// Writes go on beside one another: each holds its window's buffer, of which there is a bounded number. With `differences` a range is read
// before it is written, and written in the pages that differ.
#include "engine/restore/restore.h"

#include <stdio.h>

struct restoring {
    const struct br_restore_params *params;
    struct br_ring *ring;
    struct br_restore_result *result;
    unsigned under_way;
    int failed; // of the first write that failed
    struct br_err err;
    uint8_t *there; // differences: what the target has, BR_BATCH_DATA_MAX
};

struct writing {
    struct restoring *restoring;
    struct br_io io;
    void (*release)(void *);
    void *release_ctx;
};

static int failure(const struct restoring *restoring, struct br_err *reterr)
{
    if (restoring->failed && reterr) {
        *reterr = restoring->err;
    }
    return restoring->failed;
}

static void written(struct br_io *io)
{
    struct writing *writing = io->ctx;
    struct restoring *restoring = writing->restoring;

    if (io->result < 0 && !restoring->failed) {
        restoring->failed = io->os_errno ? br_err_os(&restoring->err, io->os_errno, "writing the target")
                                         : br_err_set(&restoring->err, -io->result, "writing the target");
        restoring->err.has_offset = true;
        restoring->err.offset_bytes = io->offset_bytes;
    }
    restoring->under_way--;
    if (writing->release) {
        writing->release(writing->release_ctx);
    }
    free(writing);
}

// Begins a write or a range of zeros (@bytes NULL); @release when it ended, also on failure.
static int submit(struct restoring *restoring, uint64_t offset_bytes, const uint8_t *bytes, uint64_t len_bytes,
                  void (*release)(void *), void *release_ctx, struct br_err *reterr)
{
    struct writing *writing = calloc(1, sizeof(*writing));
    union {
        const void *in;
        void *out;
    } pun = {.in = bytes};

    if (!writing) {
        if (release) {
            release(release_ctx);
        }
        return br_err_set(reterr, BR_E_NOMEM, "a write");
    }
    *writing = (struct writing){.restoring = restoring, .release = release, .release_ctx = release_ctx};
    writing->io = (struct br_io){
        .op = bytes ? BR_IO_WRITE : BR_IO_ZERO,
        .file = restoring->params->target,
        .buf = pun.out,
        .len_bytes = bytes ? (size_t)len_bytes : 0,
        .zero_bytes = bytes ? 0 : len_bytes,
        .offset_bytes = offset_bytes,
        .done = written,
        .ctx = writing,
    };
    restoring->under_way++;
    br_ring_submit(restoring->ring, &writing->io);
    return failure(restoring, reterr);
}

// Writes the pages of a window that differ from what the target has; waits for them.
static int write_differences(struct restoring *restoring, uint64_t offset_bytes, const uint8_t *bytes, size_t len,
                             struct br_err *reterr)
{
    int rc = br_file_read(restoring->params->target, restoring->there, len, offset_bytes, reterr);

    for (size_t at = 0, end; !rc && at < len; at = end) {
        end = BR_MIN(at + BR_PAGE_BYTES, len);
        if (!memcmp(restoring->there + at, bytes + at, end - at)) {
            restoring->result->bytes_same += end - at;
            continue;
        }
        while (end < len &&
               memcmp(restoring->there + end, bytes + end, BR_MIN(len - end, (size_t)BR_PAGE_BYTES)) != 0) {
            end = BR_MIN(end + BR_PAGE_BYTES, len);
        }
        restoring->result->bytes_written += end - at;
        rc = br_file_write(restoring->params->target, bytes + at, end - at, offset_bytes + at, reterr);
    }
    return rc;
}

static int take_data(void *ctx, uint64_t offset_bytes, const uint8_t *bytes, size_t len, void (*release)(void *),
                     void *release_ctx, struct br_err *reterr)
{
    struct restoring *restoring = ctx;
    const struct br_restore_params *params = restoring->params;
    int rc;

    if (!params->target || params->differences) {
        if (params->target) {
            rc = write_differences(restoring, offset_bytes, bytes, len, reterr);
        } else {
            rc = params->write(params->write_ctx, bytes, len, reterr);
            restoring->result->bytes_written += len;
        }
        release(release_ctx);
        return rc;
    }
    restoring->result->bytes_written += len;
    return submit(restoring, offset_bytes, bytes, len, release, release_ctx, reterr);
}

// Zeros into the pipe.
static int write_zeros(struct restoring *restoring, uint64_t len_bytes, struct br_err *reterr)
{
    static const uint8_t zeros[BR_BLOCK_BYTES];
    int rc = 0;

    while (!rc && len_bytes) {
        size_t part = (size_t)BR_MIN(len_bytes, (uint64_t)sizeof(zeros));

        rc = restoring->params->write(restoring->params->write_ctx, zeros, part, reterr);
        len_bytes -= part;
        if (restoring->params->cancel && *restoring->params->cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "writing zeros");
        }
    }
    return rc;
}

// The parts of a range that are not zeros already become zeros.
static int zero_differences(struct restoring *restoring, uint64_t offset_bytes, uint64_t len_bytes,
                            struct br_err *reterr)
{
    uint64_t end = offset_bytes + len_bytes;
    int rc = 0;

    while (!rc && offset_bytes < end) {
        uint64_t start, stop;

        rc = br_file_next_data(restoring->params->target, offset_bytes, &start, &stop, reterr);
        if (rc < 0 || start >= end) {
            break;
        }
        uint64_t part = BR_MIN(BR_MIN(stop, end) - start, (uint64_t)BR_BATCH_DATA_MAX);
        rc = br_file_read(restoring->params->target, restoring->there, (size_t)part, start, reterr);
        if (!rc && !br_is_zero(restoring->there, (size_t)part)) {
            restoring->result->bytes_zeroed += part;
            rc = br_file_zero(restoring->params->target, start, part, reterr);
        }
        if (!rc && restoring->params->cancel && *restoring->params->cancel) {
            rc = br_err_set(reterr, BR_E_CANCELLED, "comparing zeros");
        }
        offset_bytes = start + part;
    }
    return rc;
}

static int take_zero(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct restoring *restoring = ctx;
    const struct br_restore_params *params = restoring->params;

    if (!params->target) {
        return write_zeros(restoring, len_bytes, reterr);
    }
    if (params->target_is_zero) {
        return 0;
    }
    if (params->differences) {
        return zero_differences(restoring, offset_bytes, len_bytes, reterr);
    }
    restoring->result->bytes_zeroed += len_bytes;
    return submit(restoring, offset_bytes, NULL, len_bytes, NULL, NULL, reterr);
}

static int take_unreadable(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct restoring *restoring = ctx;

    restoring->result->unreadable_bytes += len_bytes;
    return take_zero(ctx, offset_bytes, len_bytes, reterr);
}

int br_restore(const struct br_restore_params *params, struct br_restore_result *ret_result, struct br_err *reterr)
{
    struct restoring restoring = {.params = params, .ring = br_repo_ring_of(params->repo), .result = ret_result};
    const struct br_read_params read = {
        .repo = params->repo,
        .point = params->point,
        .offset_bytes = params->offset_bytes,
        .len_bytes = params->len_bytes,
        .sink = {.data = take_data, .zero = take_zero, .unreadable = take_unreadable, .ctx = &restoring},
        .cancel = params->cancel,
        .progress = params->progress,
        .progress_ctx = params->progress_ctx,
    };

    *ret_result = (struct br_restore_result){0};
    if (params->differences && !(restoring.there = malloc(BR_BATCH_DATA_MAX))) {
        return br_err_set(reterr, BR_E_NOMEM, "comparing the target");
    }
    int rc = br_repo_read(&read, &ret_result->read, NULL, reterr);
    while (restoring.under_way) {
        br_ring_wait(restoring.ring, UINT64_MAX);
    }
    if (!rc) {
        rc = failure(&restoring, reterr);
    }
    if (!rc && params->target) {
        rc = br_file_sync(params->target, reterr);
    }
    free(restoring.there);
    return rc;
}
