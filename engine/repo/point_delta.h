// SPDX-License-Identifier: Apache-2.0
//
// A recovery point as a delta (engine/codec/delta.h): all of it, or what turns another point of the repository into it. What sends a point as a
// stream, and what copies it to another repository, are sinks of this.
//
//     trees -> blocks that differ -> frames (fetched ahead) -> windows of blocks, read, proven by their leaves and cut to the pages that
//     differ on workers -> sink
//
// Memory: four windows of 1 MiB, and some 100 MiB of frames at most, whatever the volume's size.
#ifndef BR_REPO_POINT_DELTA_H
#define BR_REPO_POINT_DELTA_H

#include "engine/pipe/pipe.h"
#include "engine/repo/version.h"

struct br_point_delta_progress {
    uint64_t size_bytes;
    uint64_t position_bytes;
    uint64_t bytes_changed; // of pages that differ, or all
    uint64_t bytes_held;    // of blocks that the far end had already
    uint64_t store_bytes;   // read from the store
};

struct br_point_delta_params {
    struct br_repo *repo;
    const struct br_point *point;
    const struct br_point *since; // NULL: a full one
    struct br_sink sink;
    /** held - does the far end have a block with this leaf, so that keep() of the sink takes it without data? 1, 0, or an error; NULL never */
    int (*held)(void *ctx, const struct br_hash *leaf, struct br_err *reterr);
    void *held_ctx;
    const volatile bool *cancel; // NULL never
    void (*progress)(void *ctx,
                     const struct br_point_delta_progress *progress); // at most ten times a second; NULL none
    void *progress_ctx;
};

/** br_point_delta_header - what a stream of it begins with; the generation is the point's id, and that of @since */
void br_point_delta_header(struct br_repo *repo, const struct br_point *point, const struct br_point *since,
                           struct br_delta_header *ret_header);
/**
 * br_point_delta - hand the delta to the sink
 * The ring needs buffers of 1 MiB and workers.
 * @ret_end  counters of what was handed over (kept blocks are in none), and the point's root
 * Errors: -BR_E_NOT_FOUND, -BR_E_CORRUPT a block that is missing or damaged, with its offset; what the sink says; -BR_E_CANCELLED
 */
BR_MUST_CHECK int br_point_delta(const struct br_point_delta_params *params, struct br_delta_end *ret_end,
                                 struct br_point_delta_progress *ret_progress, struct br_err *reterr);

#endif
