// SPDX-License-Identifier: Apache-2.0
//
// What differs between two versions, as ranges: found by their trees, so that only nodes of subtrees that differ are read, and no data. A leaf
// has the same hash in every dedup domain and in a replica, so any two can be compared; equal roots are equal without a look at anything else.
#ifndef BR_REPO_COMPARE_H
#define BR_REPO_COMPARE_H

#include "engine/repo/version.h"

enum br_range_kind {
    BR_RANGE_DATA = 1,       // the newer one has data there
    BR_RANGE_ZERO = 2,       // zeros
    BR_RANGE_UNREADABLE = 3, // its source could not be read: content unknown
};
/** br_range_kind_name - "data", "zero", "unreadable" */
const char *br_range_kind_name(enum br_range_kind kind);

struct br_range {
    uint64_t offset_bytes; // multiple of 64 KiB
    uint64_t len_bytes;    // whole blocks, cut at the end of the newer version
    enum br_range_kind kind;
};

typedef int br_range_fn(void *ctx, const struct br_range *range);

// One of the two: a tree and where its nodes are.
struct br_compare_side {
    const struct br_tree *tree;
    const struct br_tree_store *store;
};
/**
 * br_compare - calls @fn for each range whose blocks differ, ascending; neighbours of one kind are one range
 * A block that only one of them has is compared with zeros, and a block that is cut at one's end differs from the longer one unless both are
 * zeros. What lies behind the end of the newer one is no range. Blocks that neither source could read count as equal.
 * Non-zero of @fn stops and is returned.    Errors: those of the stores
 */
BR_MUST_CHECK int br_compare(const struct br_compare_side *older, const struct br_compare_side *newer, br_range_fn *fn,
                             void *ctx, struct br_err *reterr);
/** br_compare_points - the same of two points, of any volumes and domains, of one repository */
BR_MUST_CHECK int br_compare_points(struct br_repo *repo, const struct br_point *older, const struct br_point *newer,
                                    br_range_fn *fn, void *ctx, struct br_err *reterr);

#endif
