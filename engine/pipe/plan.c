// SPDX-License-Identifier: Apache-2.0
#include "engine/pipe/plan.h"

// Makes [data_start, data_end) the first extent that reaches behind @from; start == size when there is none.
static int br_plan_data(struct br_plan *plan, uint64_t from, struct br_err *reterr)
{
    uint64_t start, end;

    if (plan->data_end > from || plan->data_start >= plan->size_bytes) {
        return 0;
    }
    int rc = br_file_next_data(plan->file, from, &start, &end, reterr);
    if (rc < 0) {
        return rc;
    }
    // A file that was cut behind our back reports its new end here; the pipeline's own check of the size names that.
    if (start >= end) {
        start = end = plan->size_bytes;
    }
    plan->data_start = BR_MIN(start, plan->size_bytes);
    plan->data_end = BR_MIN(end, plan->size_bytes);
    return 0;
}

// The considered blocks at or behind @block: *ret_first == block count when there are none.
static void br_plan_considered(const struct br_plan *plan, uint64_t block, uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t blocks = br_div_up(plan->size_bytes, BR_BLOCK_BYTES);

    *ret_first = BR_MIN(block, blocks);
    *ret_end = blocks;
    if (!plan->changed) {
        return;
    }
    size_t at = br_extent_map_next(plan->changed, block * BR_BLOCK_BYTES);
    if (at >= plan->changed->count) {
        *ret_first = blocks;
        return;
    }
    const struct br_extent *extent = &plan->changed->extents[at];
    *ret_first = BR_MIN(BR_MAX(block, extent->offset_bytes / BR_BLOCK_BYTES), blocks);
    *ret_end = BR_MIN(br_div_up(extent->offset_bytes + extent->len_bytes, BR_BLOCK_BYTES), blocks);
}

static int br_plan_window(struct br_plan *plan, uint64_t first, struct br_plan_step *step, struct br_err *reterr)
{
    uint64_t end = br_align_down(first, BR_BATCH_BLOCKS_MAX) + BR_BATCH_BLOCKS_MAX;

    end = BR_MIN(end, br_div_up(plan->size_bytes, BR_BLOCK_BYTES));
    *step = (struct br_plan_step){.first = first, .count = end - first};
    for (uint64_t block = first; block < end;) {
        uint64_t from, to;

        br_plan_considered(plan, block, &from, &to);
        for (block = from; block < BR_MIN(to, end); block++) {
            uint16_t bit = (uint16_t)(1u << (block - first));
            int rc = br_plan_data(plan, block * BR_BLOCK_BYTES, reterr);

            if (rc < 0) {
                return rc;
            }
            step->considered |= bit;
            step->data |=
                plan->data_start < (block + 1) * BR_BLOCK_BYTES && plan->data_start < plan->size_bytes ? bit : 0;
        }
    }
    plan->next_block = end;
    return 1;
}

int br_plan_next(struct br_plan *plan, struct br_plan_step *ret_step, struct br_err *reterr)
{
    uint64_t first, end;

    br_plan_considered(plan, plan->next_block, &first, &end);
    if (first >= br_div_up(plan->size_bytes, BR_BLOCK_BYTES)) {
        plan->next_block = first;
        return 0;
    }
    int rc = br_plan_data(plan, first * BR_BLOCK_BYTES, reterr);
    if (rc < 0) {
        return rc;
    }
    // A gap ends where the window begins that data begins in, so that windows stay aligned.
    uint64_t gap_end = plan->data_start >= plan->size_bytes
                           ? end
                           : BR_MIN(end, br_align_down(plan->data_start / BR_BLOCK_BYTES, BR_BATCH_BLOCKS_MAX));
    if (gap_end > first) {
        *ret_step = (struct br_plan_step){.gap = true, .first = first, .count = gap_end - first};
        plan->next_block = gap_end;
        return 1;
    }
    return br_plan_window(plan, first, ret_step, reterr);
}
