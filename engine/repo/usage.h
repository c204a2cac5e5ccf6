// SPDX-License-Identifier: Apache-2.0
//
// Who needs what of a repository: which chunks the points name, walked by their trees as verify does (of a point that shares nodes with the one before
// only those that differ), and what these chunks take in packs. A frame is shared out among its chunks by their length.
//
// Which chunk was met before is kept in a table on disk, mapped: 16 bytes a place, twice as many places as chunks. A chunk is known there by 64
// bits of its id, so figures may be off by a chunk in many millions: they are for people, nothing is removed by them.
#ifndef BR_REPO_USAGE_H
#define BR_REPO_USAGE_H

#include "engine/repo/frames.h"

struct br_usage_part {
    uint64_t chunks;
    uint64_t raw_bytes;
    uint64_t stored_bytes;
};

struct br_usage_volume {
    struct br_uuid volume;
    struct br_point newest; // by its counter
    uint64_t points;
    uint64_t data_bytes;        // that restoring all of them would write, holes left out
    struct br_usage_part alone; // needed by this volume only
    struct br_usage_part shared;
};

struct br_usage {
    struct br_usage_volume *volumes; // br_usage_free()
    size_t volume_count;
    uint64_t points;
    uint64_t data_bytes;
    uint64_t packs;
    uint64_t pack_bytes;        // all of them
    uint64_t chunks;            // in them
    struct br_usage_part whole; // all frames
    struct br_usage_part needed;
    uint64_t missing; // chunks that points name, and no pack has
};

struct br_usage_params {
    struct br_repo *repo;
    const struct br_point *points; // of one volume one behind the other, oldest first
    size_t point_count;
    int scratch_fd;                                               // of an empty file that may grow; the caller's
    void (*progress)(void *ctx, uint64_t points, uint64_t total); // after each point; NULL none
    void *progress_ctx;
    const volatile bool *cancel; // NULL never
};

/**
 * br_repo_usage - a point whose tree can't be read is counted in missing, as far as that is known
 * Errors: -BR_E_CANCELLED, -BR_E_NO_SPACE of the table, -BR_E_NOMEM; of the index
 */
BR_MUST_CHECK int br_repo_usage(const struct br_usage_params *params, struct br_usage *ret_usage,
                                struct br_err *reterr);
void br_usage_free(struct br_usage *usage);

#endif
