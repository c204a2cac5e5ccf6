// SPDX-License-Identifier: Apache-2.0
//
// A recovery point onto a file, a device or a pipe: read, proven block by block, written, flushed. What the target is, and whether it may be
// written, is the caller's question (G8).
#ifndef BR_RESTORE_RESTORE_H
#define BR_RESTORE_RESTORE_H

#include "engine/repo/reader.h"

struct br_restore_params {
    struct br_repo *repo;
    const struct br_point *point;
    uint64_t offset_bytes;  // multiple of 64 KiB; what is there goes to the same place of a file or device
    uint64_t len_bytes;     // UINT64_MAX: to the end
    struct br_file *target; // of the repository's ring; NULL: @write
    bool target_is_zero;    // reads as zeros where nothing is written: zeros need no write
    bool differences;       // read the target, write only what differs
    /** write - all of @bytes, one behind the other, zeros too; for pipes */
    int (*write)(void *ctx, const void *bytes, size_t len, struct br_err *reterr);
    void *write_ctx;
    const volatile bool *cancel;
    void (*progress)(void *ctx, const struct br_read_progress *progress);
    void *progress_ctx;
};

struct br_restore_result {
    struct br_read_progress read;
    uint64_t bytes_written;
    uint64_t bytes_zeroed;
    uint64_t bytes_same;       // differences: not written, because they were there
    uint64_t unreadable_bytes; // that the point lacks: zeros now
};

/**
 * br_restore - durable when it returns 0
 * A target that is a regular file should have the size already. After a failure its content is partly the point's.
 * Errors: those of br_repo_read(); -BR_E_IO, -BR_E_NO_SPACE of the target
 */
BR_MUST_CHECK int br_restore(const struct br_restore_params *params, struct br_restore_result *ret_result,
                             struct br_err *reterr);

#endif
