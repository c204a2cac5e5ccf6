// SPDX-License-Identifier: Apache-2.0
//
// What to read next: walks the ranges that may have changed and the source's data extents together, ascending, and cuts them into
// windows of 1 MiB (aligned, up to 16 blocks) and gaps (any length, nothing to read).
#ifndef BR_PIPE_PLAN_H
#define BR_PIPE_PLAN_H

#include "engine/codec/delta.h"
#include "engine/map/extent_map.h"
#include "engine/ring/ring.h"

struct br_plan {
    struct br_file *file;
    uint64_t size_bytes;
    const struct br_extent_map *changed; // NULL: everything
    uint64_t next_block;
    uint64_t data_start; // the extent that ends first behind next_block, in bytes
    uint64_t data_end;
};

struct br_plan_step {
    bool gap;            // all of it is considered and a hole
    uint64_t first;      // block
    uint64_t count;      // blocks
    uint16_t considered; // a window's blocks that may have changed
    uint16_t data;       // of these, the ones that are not wholly in holes
};

/** br_plan_next - Returns 1 and the next step, 0 at the end, or an error of br_file_next_data() */
BR_MUST_CHECK int br_plan_next(struct br_plan *plan, struct br_plan_step *ret_step, struct br_err *reterr);

#endif
