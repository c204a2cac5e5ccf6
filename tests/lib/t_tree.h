// SPDX-License-Identifier: Apache-2.0
//
// Version trees for tests: a node store in memory that counts and can fail, and a flat array as the model of a version.
#ifndef T_TREE_H
#define T_TREE_H

#include "engine/map/tree.h"

// Refs are 1, 2, ... in the order of keep. A zeroed struct with its ops set by t_store_ops() is empty.
struct t_store {
    struct br_buf *nodes;
    size_t count;
    size_t fetches;
    size_t keeps;
    size_t fail_keep_at; // the keep with this number (from 1) fails with NO_SPACE; 0 never
};

/** t_store_ops - the vtable on @store */
struct br_tree_store t_store_ops(struct t_store *store);
void t_store_free(struct t_store *store);

// What a version holds, leaf by leaf.
struct t_version {
    struct br_tree_geometry geometry;
    struct br_hash *leaves;
    uint64_t (*pages)[BR_PAGES_PER_BLOCK]; // as put; NULL when not modelled
};

/** t_version_new - all ZERO */
void t_version_new(struct t_version *version, uint64_t size_bytes, bool with_pages);
void t_version_free(struct t_version *version);
/** t_leaf - a leaf that is not special, different for each @n */
struct br_hash t_leaf(uint64_t n);
/** t_geometry - of a size that fits */
struct br_tree_geometry t_geometry(uint64_t size_bytes);
/** t_tree_build - @version put block by block into @store, from nothing */
void t_tree_build(const struct t_version *version, const struct br_tree_store *store, struct br_tree *ret_tree);
/** t_tree_expect - asserts that every leaf (and, where modelled, every page hash) of @tree is the model's */
void t_tree_expect(const struct br_tree *tree, const struct br_tree_store *store, const struct t_version *version);

#endif
