// SPDX-License-Identifier: Apache-2.0
//
// Reading a recovery point: its blocks in ascending order, each proven against its leaf before anybody sees it (G6).
//
//     leaves -> chunks -> frames (fetched ahead, opened on workers) -> windows of 16 blocks, assembled and hashed on workers -> sink
//
// Memory: the ring's buffers, and some 100 MiB of frames at most, whatever the volume's size.
#ifndef BR_REPO_READER_H
#define BR_REPO_READER_H

#include "engine/repo/version.h"

// Where the blocks go. Called on the ring's thread, ascending; every block of the range is in just one of the calls.
struct br_read_sink {
    /** data - @len bytes at @offset_bytes, 1 MiB at most; @release(@release_ctx) once when @bytes is free again, also on failure */
    int (*data)(void *ctx, uint64_t offset_bytes, const uint8_t *bytes, size_t len, void (*release)(void *),
                void *release_ctx, struct br_err *reterr);
    /** zero - a range of zeros, of any length */
    int (*zero)(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr);
    /** unreadable - what the source could not read when the point was made: content unknown */
    int (*unreadable)(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr);
    void *ctx;
};

// For whoever only wants the blocks proven (recheck, verify): takes everything, keeps nothing.
extern const struct br_read_sink br_read_drop;

struct br_read_progress {
    uint64_t size_bytes;
    uint64_t position_bytes;
    uint64_t data_bytes;  // handed over
    uint64_t store_bytes; // read from the store
};

struct br_read_params {
    struct br_repo *repo;
    const struct br_point *point;
    uint64_t offset_bytes; // multiple of 64 KiB
    uint64_t len_bytes;    // UINT64_MAX: to the end
    struct br_read_sink sink;
    bool go_on; // a block that is missing or damaged is counted and left out (verify); else it ends the run
    void (*bad_block)(void *ctx, uint64_t offset_bytes, const struct br_err *why); // with go_on; NULL none
    void *bad_block_ctx;
    const volatile bool *cancel;                                          // NULL never
    void (*progress)(void *ctx, const struct br_read_progress *progress); // at most ten times a second; NULL none
    void *progress_ctx;
};

/**
 * br_repo_read - hand all blocks of a range of a point to the sink
 * The ring needs buffers of 1 MiB and workers.
 * Errors: -BR_E_NOT_FOUND, -BR_E_CORRUPT a block that is missing or damaged, with its offset; what the sink says; -BR_E_CANCELLED
 */
BR_MUST_CHECK int br_repo_read(const struct br_read_params *params, struct br_read_progress *ret_progress,
                               uint64_t *ret_bad_blocks, struct br_err *reterr);

#endif
