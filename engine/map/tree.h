// SPDX-License-Identifier: Apache-2.0
//
// The version tree: one format for replicas, deltas, recovery points and verify. It names the whole content of a volume at one moment
// by 32 bytes, the root, and lets two versions be compared by visiting only what differs.
//
//     leaf   = SHA-256("blkrep leaf 1\0\0\0" || data of one block)                block = 64 KiB; the tail block holds what is left
//              block of zeros (any length)       -> 32 bytes of 0x00   ZERO       canonical: a zero block never has another leaf
//              block that could not be read      -> 31 x 0x00, 0x01    UNREADABLE
//              block whose content isn't known   -> 31 x 0x00, 0x02    UNKNOWN    only in trees of incomplete replicas
//     node   = SHA-256("blkrep node 1\0\0" || u8 level || 256 child hashes)       level 1 is above the leaves
//              all children ZERO                 -> ZERO               so an empty subtree costs nothing, at any level
//     root   = SHA-256("blkrep root 1\0\0\0" || u64 size || u32 block size || u8 hash id || u8 levels || hash of the top node)
//
// levels = the least L >= 1 with 256^L >= number of blocks. Children beyond the last block are ZERO. A volume that grows past 256^L gets
// a new top whose child 0 is the old one; a shrunk volume drops what lies behind, and its tail block is hashed anew.
// The sector size is not in the root: a device restored onto other sectors is the same version.
//
// Beside each leaf a level 1 node can carry 16 page hashes (one per 4 KiB page, keyed, 64 bits, 0 = not known). They are a cache that
// narrows a changed block to changed pages; they are not part of any hash, and losing them costs bandwidth only. A page hash is
// XXH3-64 with a secret of 192 random bytes per replica and side, drawn when the tree is made: who crafts data without the secret
// can't make a change invisible, and 0 is mapped to 1.
//
// An encoded node, version 1, little-endian:
//
//      0   8  XXH3-64 (seed 0) of all that follows, so that a damaged node is noticed before any hash is computed
//      8   4  magic "BKTN"
//     12   1  version, 1
//     13   1  level, 1 above the leaves
//     14   2  flags: 1 = page section present, level 1 only; other bits 0
//     16  32  bitmap of the children that are not ZERO: child c is bit c % 8 of byte c / 8; at least one is set
//     48      for each of them, ascending: its hash (32); at level >= 2 also its ref (8), 0 when it is uniform
//             page section: bitmap (32) of blocks with page hashes, at least one, each with a leaf that is not ZERO; for each of them,
//             ascending: 16 page hashes (8 each), not all 0
//
// One content has one encoding; anything else is refused. At most 41 040 bytes. A subtree whose leaves, up to the volume's end, are all
// UNREADABLE or all UNKNOWN is uniform: like an empty one it has no node, its ref is 0, and its hash, which follows from the leaf, the
// level and the end alone, is recognised.
// A volume of 0 bytes has no blocks, one level and the top ZERO.
//
// Nodes live in a store behind two functions, addressed by an opaque non-zero ref. They are immutable: an update writes the changed
// path anew and shares the rest with its parent version. Memory: one path plus a small cache, never the volume.
// Readers and writers are not reentrant, and a store may run the ring: the caller doesn't use one from inside its own fetch or keep.
#ifndef BR_MAP_TREE_H
#define BR_MAP_TREE_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_BLOCK_BYTES       65536u
#define BR_PAGE_BYTES        4096u
#define BR_PAGES_PER_BLOCK   16u
#define BR_FANOUT            256u
#define BR_HASH_BYTES        32u
#define BR_HASH_SHA256       1u // hash id
#define BR_TREE_LEVELS_MAX   6u
#define BR_VOLUME_BYTES_MAX  (UINT64_C(1) << 62)
#define BR_PAGE_SECRET_BYTES 192u

struct br_hash {
    uint8_t bytes[BR_HASH_BYTES];
};

extern const struct br_hash br_hash_zero;
extern const struct br_hash br_hash_unreadable;
extern const struct br_hash br_hash_unknown;

/** br_hash_equal - same hash; not constant-time: hashes of content are no secrets */
static inline bool br_hash_equal(const struct br_hash *a, const struct br_hash *b)
{
    return !memcmp(a->bytes, b->bytes, BR_HASH_BYTES);
}
/** br_leaf_is_special - ZERO, UNREADABLE or UNKNOWN: not the hash of any data */
static inline bool br_leaf_is_special(const struct br_hash *leaf)
{
    return br_hash_equal(leaf, &br_hash_zero) || br_hash_equal(leaf, &br_hash_unreadable) ||
           br_hash_equal(leaf, &br_hash_unknown);
}
/** br_hash_text - 64 lower-case hex digits and a final zero */
void br_hash_text(const struct br_hash *hash, char text[2 * BR_HASH_BYTES + 1]);
/** br_hash_parse - true when @text is exactly 64 hex digits */
bool br_hash_parse(const char *text, struct br_hash *ret_hash);

/**
 * br_leaf_hash - the leaf of one block's data
 * @len_bytes  1..BR_BLOCK_BYTES; zero content gives br_hash_zero
 * Blocks: CPU only, thread safe (the digest is fetched once per process)
 */
void br_leaf_hash(const void *data, size_t len_bytes, struct br_hash *ret_leaf);
/** br_page_hash - the keyed hash of one page, never 0 */
uint64_t br_page_hash(const uint8_t secret[BR_PAGE_SECRET_BYTES], const void *page, size_t len_bytes);

struct br_tree_geometry {
    uint64_t size_bytes;
    uint64_t block_count; // derived: size / 64 KiB rounded up
    uint8_t levels;       // derived
};
/** br_tree_geometry - derives it; false when the size is over BR_VOLUME_BYTES_MAX */
BR_MUST_CHECK bool br_tree_geometry_of(uint64_t size_bytes, struct br_tree_geometry *ret_geometry);
/** br_block_bytes - the length of block @index, BR_BLOCK_BYTES but for the tail */
uint32_t br_block_bytes(const struct br_tree_geometry *geometry, uint64_t index);

// A subtree: its hash, and where its node is stored. ref 0: no node stored (the hash is ZERO, or all its leaves are one special leaf).
struct br_tree_link {
    struct br_hash hash;
    uint64_t ref;
};

// One version.
struct br_tree {
    struct br_tree_geometry geometry;
    struct br_tree_link top;
};
/** br_tree_root - the root that names the version */
void br_tree_root(const struct br_tree *tree, struct br_hash *ret_root);
/** br_tree_empty - the version of @geometry whose every leaf is @leaf (ZERO or UNKNOWN); needs no stored node */
void br_tree_empty(const struct br_tree_geometry *geometry, const struct br_hash *leaf, struct br_tree *ret_tree);

#define BR_TREE_NODE_BYTES_MAX (64u * 1024u)

// Where nodes are kept: an append-only file (engine/track/tree_file.h), a repository's packs, memory in tests.
struct br_tree_store {
    /**
     * fetch - the encoded node that @link names, by its ref or by its hash, into @bytes (BR_TREE_NODE_BYTES_MAX)
     * Returns its length or -BR_E_*; a damaged one is CORRUPT. The caller proves it against the hash.
     */
    int (*fetch)(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr);
    /** keep - stores an encoded node, whose hash is @hash, gives its ref; durability is the store's owner's business */
    int (*keep)(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                struct br_err *reterr);
    void *ctx;
};

/** br_tree_keep_nothing - a keep() for versions that are only looked at: drops the node, gives a ref that leads nowhere */
int br_tree_keep_nothing(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                         struct br_err *reterr);

// Reading -----------------------------------------------------------------------------------------------------------------------------

struct br_tree_reader; // keeps the last path, so that ascending reads fetch each node once

/** br_tree_reader_open - a reader of @tree; the tree struct is copied, the store must outlive it */
BR_MUST_CHECK int br_tree_reader_open(const struct br_tree *tree, const struct br_tree_store *store,
                                      struct br_tree_reader **ret_reader, struct br_err *reterr);
void br_tree_reader_close(struct br_tree_reader *reader);
/**
 * br_tree_read - leaves (and page hashes) of @count blocks from @first
 * @ret_pages  count x 16 page hashes, 0 where not known; NULL when not wanted. Special leaves never have any: the pages of a ZERO
 *             block are zeros, those of the others can't be compared.
 * Every node fetched is checked against its parent's hash. Blocks beyond the end read as ZERO.
 */
BR_MUST_CHECK int br_tree_read(struct br_tree_reader *reader, uint64_t first, unsigned count,
                               struct br_hash *ret_leaves, uint64_t *ret_pages, struct br_err *reterr);
/**
 * br_tree_next_not - the first block at or after @from whose leaf is not @skip (ZERO or UNKNOWN), skipping whole subtrees
 * Sets *ret_block to the block count when there is none.
 */
BR_MUST_CHECK int br_tree_next_not(struct br_tree_reader *reader, uint64_t from, const struct br_hash *skip,
                                   uint64_t *ret_block, struct br_err *reterr);

/** br_tree_next_is - the first block at or after @from whose leaf is @leaf; the block count when there is none; passes whole subtrees */
BR_MUST_CHECK int br_tree_next_is(struct br_tree_reader *reader, uint64_t from, const struct br_hash *leaf,
                                  uint64_t *ret_block, struct br_err *reterr);

typedef int br_tree_diff_fn(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf);
/**
 * br_tree_diff - calls @fn for each block whose leaves differ, ascending, visiting only subtrees that differ
 * Blocks that only one has are compared with ZERO. A non-zero return of @fn stops it and is returned.
 */
BR_MUST_CHECK int br_tree_diff(const struct br_tree *old_tree, const struct br_tree_store *old_store,
                               const struct br_tree *new_tree, const struct br_tree_store *new_store,
                               br_tree_diff_fn *fn, void *ctx, struct br_err *reterr);

// Writing -----------------------------------------------------------------------------------------------------------------------------

struct br_tree_writer;

/**
 * br_tree_writer_open - start a version of @geometry that differs from @parent (may have another size) where put
 * @parent         copied; blocks never put keep the parent's leaf, page hashes and stored nodes; blocks beyond the parent's end are ZERO.
 *                 The block at the end of the shorter one, when its length changes, must be put by the caller; until then it is UNKNOWN
 *                 (or ZERO, when it was). NULL: all ZERO.
 * @parent_store   where the parent's nodes are; may be @store, and is best: from another store all nodes of the parent that stay are
 *                 copied. NULL when the parent has no stored node.
 * Cost: O(levels + blocks put). A node that nothing changed is not written.
 * After a failure of any call on the writer only br_tree_writer_close() is left; the store may hold nodes that nothing names.
 */
BR_MUST_CHECK int br_tree_writer_open(const struct br_tree_geometry *geometry, const struct br_tree *parent,
                                      const struct br_tree_store *parent_store, const struct br_tree_store *store,
                                      struct br_tree_writer **ret_writer, struct br_err *reterr);
/** br_tree_writer_close - drops what is unfinished; NULL is fine */
void br_tree_writer_close(struct br_tree_writer *writer);
/**
 * br_tree_put - the leaf of one block; blocks must come ascending, each once
 * @pages  16 page hashes, NULL or 0 entries: not known; what is known of a block whose leaf stays the same is kept
 */
BR_MUST_CHECK int br_tree_put(struct br_tree_writer *writer, uint64_t block, const struct br_hash *leaf,
                              const uint64_t *pages, struct br_err *reterr);
/** br_tree_fill - a run of one special leaf (ZERO, UNREADABLE, UNKNOWN); O(levels) for any length; ascending like br_tree_put() */
BR_MUST_CHECK int br_tree_fill(struct br_tree_writer *writer, uint64_t block, uint64_t count,
                               const struct br_hash *leaf, struct br_err *reterr);
/**
 * br_tree_finish - write what is open, give the version
 * The writer can go on: more ascending puts and another finish give a later version that shares all (checkpoints of a first copy).
 * Nodes kept are durable when the store's owner has synced it, not before.
 */
BR_MUST_CHECK int br_tree_finish(struct br_tree_writer *writer, struct br_tree *ret_tree, struct br_err *reterr);

// Copying -----------------------------------------------------------------------------------------------------------------------------

#define BR_TREE_FETCH_MAX 64u // nodes asked for at once
/** br_tree_node_named - the hash of the node that these bytes encode, at the level that they say; false: they encode none */
bool br_tree_node_named(const uint8_t *bytes, size_t len, struct br_hash *ret_hash);
/** br_tree_node_is - do these bytes encode the node that @hash names, at the level that they say? What the place proves is not looked at. */
bool br_tree_node_is(const struct br_hash *hash, const uint8_t *bytes, size_t len);
/** br_tree_fetch_fn - @count (1..BR_TREE_FETCH_MAX) encoded nodes, each appended to its empty buffer; 0 or -BR_E_* */
typedef int br_tree_fetch_fn(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                             struct br_err *reterr);
/** br_tree_store_fetch_many - a br_tree_fetch_fn over a local store; ctx is the struct br_tree_store */
int br_tree_store_fetch_many(void *store, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                             struct br_err *reterr);
/**
 * br_tree_copy - the nodes of one version into another store: from a replica's far end, or for compaction
 * @keep_pages  false: page hashes are left out (they were made with another side's secret)
 * Every node is proven against the hash that links it; memory a few MiB; nodes of the same tree come in batches.
 * Errors: those of @fetch and @to; -BR_E_CORRUPT
 */
BR_MUST_CHECK int br_tree_copy(const struct br_tree *tree, br_tree_fetch_fn *fetch, void *fetch_ctx,
                               const struct br_tree_store *to, bool keep_pages, struct br_tree *ret_tree,
                               struct br_err *reterr);

#endif
