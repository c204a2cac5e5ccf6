// SPDX-License-Identifier: Apache-2.0
//
// One node of a version tree in memory, and how a link becomes one. Internal to engine/map/, but for `blkrep dump` and tests. The encoded form is
// specified in tree.h.
//
// A subtree is named by (level, index): it covers the blocks [index << 8 * level, (index + 1) << 8 * level), cut at the volume's end.
// Level 0 is a leaf. A subtree whose leaves, up to the cut, are all one special leaf is uniform: its hash follows from the special leaf,
// the level and the cut alone, so it is recognised by its hash and has no node.
#ifndef BR_MAP_TREE_NODE_H
#define BR_MAP_TREE_NODE_H

#include "engine/map/tree.h"

#define BR_HASH_DOMAIN_BYTES      16u
#define BR_TREE_NODE_HEADER_BYTES 48u

/** br_hash_domain - SHA-256(domain || data); every hash of the format begins with one of its 16-byte domains */
void br_hash_domain(const uint8_t domain[BR_HASH_DOMAIN_BYTES], const void *data, size_t len, struct br_hash *ret_hash);

struct br_tree_node {
    uint8_t level; // 1..BR_TREE_LEVELS_MAX
    struct br_hash hashes[BR_FANOUT];
    uint64_t refs[BR_FANOUT];              // all 0 at level 1
    uint64_t (*pages)[BR_PAGES_PER_BLOCK]; // BR_FANOUT rows in a node made for level 1, else NULL
};

/** br_tree_node_new - an empty node for @level or, when @level is 1, with room for page hashes; free() it; NULL when memory is short */
struct br_tree_node *br_tree_node_new(uint8_t level);
/** br_tree_node_clear - every child ZERO, no page hashes */
void br_tree_node_clear(struct br_tree_node *node);
/** br_tree_node_hash - the hash that the parent has for it; ZERO when all children are */
void br_tree_node_hash(const struct br_tree_node *node, struct br_hash *ret_hash);
/** br_tree_node_encode - into @bytes; at least one child must not be ZERO; returns the length */
size_t br_tree_node_encode(const struct br_tree_node *node, uint8_t bytes[BR_TREE_NODE_BYTES_MAX]);
/**
 * br_tree_node_decode - the only reader of encoded nodes; accepts exactly what br_tree_node_encode() makes
 * @node  made for the level that is expected; on failure its content is undefined. What a hash must prove is not checked here.
 * Errors: -BR_E_CORRUPT damaged or of another level; -BR_E_VERSION
 */
BR_MUST_CHECK int br_tree_node_decode(const uint8_t *bytes, size_t len, struct br_tree_node *node,
                                      struct br_err *reterr);

/** br_tree_first_block - the first block of a subtree */
static inline uint64_t br_tree_first_block(uint8_t level, uint64_t index)
{
    return index << (8 * level);
}
/** br_tree_end_block - one behind the last block of a subtree, not cut */
static inline uint64_t br_tree_end_block(uint8_t level, uint64_t index)
{
    return (index + 1) << (8 * level);
}

// A geometry, and what uniform subtrees look like in it.
struct br_tree_shape {
    struct br_tree_geometry geometry;
    struct br_hash
        cut[2][BR_TREE_LEVELS_MAX + 1]; // per special leaf and level: the uniform subtree that the volume's end cuts
};

/** br_tree_shape_init - a few SHA-256 per level */
void br_tree_shape_init(struct br_tree_shape *shape, const struct br_tree_geometry *geometry);
/** br_tree_shape_uniform - the link of a subtree that holds only @leaf (a special one) */
void br_tree_shape_uniform(const struct br_tree_shape *shape, const struct br_hash *leaf, uint8_t level, uint64_t index,
                           struct br_tree_link *ret_link);
/** br_tree_shape_special - which special leaf a subtree with @hash is made of alone (one of the three constants), NULL when it is not uniform */
const struct br_hash *br_tree_shape_special(const struct br_tree_shape *shape, const struct br_hash *hash,
                                            uint8_t level, uint64_t index);

/** br_hash_special - the constant that equals @leaf (ZERO, UNREADABLE, UNKNOWN), or NULL */
const struct br_hash *br_hash_special(const struct br_hash *leaf);

/**
 * br_tree_node_check - decode an encoded node and prove it against its link and its place
 * Errors: -BR_E_CORRUPT, -BR_E_VERSION
 */
BR_MUST_CHECK int br_tree_node_check(const struct br_tree_shape *shape, const struct br_tree_link *link, uint8_t level,
                                     uint64_t index, const uint8_t *bytes, size_t len, struct br_tree_node *node,
                                     struct br_err *reterr);
/**
 * br_tree_load - the node that @link stands for: fetched and proven, or made when the subtree is uniform
 * @store    may be NULL when nothing is stored
 * @scratch  BR_TREE_NODE_BYTES_MAX bytes
 * Errors: those of the store; -BR_E_CORRUPT
 */
BR_MUST_CHECK int br_tree_load(const struct br_tree_shape *shape, const struct br_tree_store *store,
                               const struct br_tree_link *link, uint8_t level, uint64_t index, uint8_t *scratch,
                               struct br_tree_node *node, struct br_err *reterr);

/** br_tree_copy_link - br_tree_copy() of one subtree of a tree with @shape, from @from to @to, page hashes kept */
BR_MUST_CHECK int br_tree_copy_link(const struct br_tree_shape *shape, const struct br_tree_store *from,
                                    const struct br_tree_store *to, uint8_t level, uint64_t index,
                                    struct br_tree_link *link, struct br_err *reterr);

#endif
