// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/compare.h"

#define COMPARE_FRAMES 16u

struct comparing {
    uint64_t size_bytes; // of the newer one
    br_range_fn *fn;
    void *ctx;
    struct br_range range; // not told yet
};

const char *br_range_kind_name(enum br_range_kind kind)
{
    switch (kind) {
    case BR_RANGE_DATA: return "data";
    case BR_RANGE_ZERO: return "zero";
    case BR_RANGE_UNREADABLE: return "unreadable";
    }
    return "unknown";
}

static int tell(struct comparing *comparing)
{
    struct br_range range = comparing->range;

    comparing->range.len_bytes = 0;
    return range.len_bytes ? comparing->fn(comparing->ctx, &range) : 0;
}

static int take_block(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    struct comparing *comparing = ctx;
    uint64_t at = block * BR_BLOCK_BYTES;
    struct br_range *range = &comparing->range;
    enum br_range_kind kind = br_hash_equal(new_leaf, &br_hash_zero) ? BR_RANGE_ZERO
                              : br_leaf_is_special(new_leaf)         ? BR_RANGE_UNREADABLE
                                                                     : BR_RANGE_DATA;

    (void)old_leaf;
    if (at >= comparing->size_bytes) {
        return 0;
    }
    uint64_t len = BR_MIN((uint64_t)BR_BLOCK_BYTES, comparing->size_bytes - at);
    if (range->len_bytes && range->kind == kind && range->offset_bytes + range->len_bytes == at) {
        range->len_bytes += len;
        return 0;
    }
    int rc = tell(comparing);
    *range = (struct br_range){.offset_bytes = at, .len_bytes = len, .kind = kind};
    return rc;
}

int br_compare(const struct br_compare_side *older, const struct br_compare_side *newer, br_range_fn *fn, void *ctx,
               struct br_err *reterr)
{
    struct comparing comparing = {.size_bytes = newer->tree->geometry.size_bytes, .fn = fn, .ctx = ctx};
    int rc = br_tree_diff(older->tree, older->store, newer->tree, newer->store, take_block, &comparing, reterr);

    return rc ? rc : tell(&comparing);
}

int br_compare_points(struct br_repo *repo, const struct br_point *older, const struct br_point *newer, br_range_fn *fn,
                      void *ctx, struct br_err *reterr)
{
    struct br_repo_version old_version = {0}, new_version = {0};
    struct br_frames *frames = NULL;
    int rc = br_frames_open(repo, COMPARE_FRAMES, &frames, reterr);

    rc = rc < 0 ? rc : br_repo_version_open(repo, frames, older, &old_version, reterr);
    rc = rc < 0 ? rc : br_repo_version_open(repo, frames, newer, &new_version, reterr);
    if (!rc) {
        const struct br_compare_side old_side = {.tree = &old_version.tree, .store = &old_version.store};
        const struct br_compare_side new_side = {.tree = &new_version.tree, .store = &new_version.store};

        rc = br_compare(&old_side, &new_side, fn, ctx, reterr);
    }
    br_repo_version_close(&new_version);
    br_repo_version_close(&old_version);
    br_frames_close(frames);
    return rc;
}
