// SPDX-License-Identifier: Apache-2.0
//
// Encoding, proof and uniform subtrees of version tree nodes. See tree_node.h; the format is in tree.h.
#include "engine/map/tree_node.h"

#include <assert.h>
#include <pthread.h>
#include <xxhash.h>

#define NODE_MAGIC        0x4e544b42u // "BKTN"
#define NODE_VERSION      1u
#define NODE_FLAG_PAGES   1u
#define BITMAP_BYTES      (BR_FANOUT / 8)
#define PAGES_ROW_BYTES   (8u * BR_PAGES_PER_BLOCK)
#define NODE_BYTES_LEVEL1 (BR_TREE_NODE_HEADER_BYTES + BR_FANOUT * (BR_HASH_BYTES + PAGES_ROW_BYTES) + BITMAP_BYTES)

static_assert(NODE_BYTES_LEVEL1 <= BR_TREE_NODE_BYTES_MAX, "a full level 1 node fits");
static_assert(16 + BITMAP_BYTES == BR_TREE_NODE_HEADER_BYTES, "the header ends with the bitmap of children");

static const struct br_hash *const specials[2] = {&br_hash_unreadable, &br_hash_unknown};
static struct br_hash full[2][BR_TREE_LEVELS_MAX + 1]; // uniform subtrees that no end cuts
static pthread_once_t full_once = PTHREAD_ONCE_INIT;

struct br_tree_node *br_tree_node_new(uint8_t level)
{
    const size_t pages_bytes = level == 1 ? BR_FANOUT * PAGES_ROW_BYTES : 0;
    struct br_tree_node *node = calloc(1, sizeof(*node) + pages_bytes);

    static_assert(sizeof(*node) % sizeof(uint64_t) == 0, "page hashes behind it are aligned");
    if (node) {
        node->level = level;
        node->pages = pages_bytes ? (uint64_t(*)[BR_PAGES_PER_BLOCK])(node + 1) : NULL;
    }
    return node;
}

void br_tree_node_clear(struct br_tree_node *node)
{
    memset(node->hashes, 0, sizeof(node->hashes));
    memset(node->refs, 0, sizeof(node->refs));
    if (node->pages) {
        memset(node->pages, 0, BR_FANOUT * PAGES_ROW_BYTES);
    }
}

void br_tree_node_hash(const struct br_tree_node *node, struct br_hash *ret_hash)
{
    uint8_t domain[BR_HASH_DOMAIN_BYTES] = "blkrep node 1";

    if (br_is_zero(node->hashes, sizeof(node->hashes))) {
        *ret_hash = br_hash_zero;
        return;
    }
    domain[BR_HASH_DOMAIN_BYTES - 1] = node->level;
    br_hash_domain(domain, node->hashes, sizeof(node->hashes), ret_hash);
}

static inline bool bit_is_set(const uint8_t *bitmap, unsigned bit)
{
    return bitmap[bit / 8] >> (bit % 8) & 1;
}

static inline void set_bit(uint8_t *bitmap, unsigned bit)
{
    bitmap[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static unsigned count_bits(const uint8_t *bitmap)
{
    unsigned count = 0;

    for (unsigned i = 0; i < BITMAP_BYTES; i += 8) {
        count += (unsigned)__builtin_popcountll(br_get_u64(bitmap + i));
    }
    return count;
}

// Appends the page section to an encoded node; nothing when no block has page hashes.
static uint8_t *encode_pages(const struct br_tree_node *node, uint8_t *bytes, uint8_t *at)
{
    uint8_t *bitmap = at;
    uint8_t *row = at + BITMAP_BYTES;

    memset(bitmap, 0, BITMAP_BYTES);
    for (unsigned child = 0; child < BR_FANOUT; child++) {
        if (br_is_zero(node->pages[child], PAGES_ROW_BYTES)) {
            continue;
        }
        set_bit(bitmap, child);
        for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++, row += 8) {
            br_put_u64(row, node->pages[child][page]);
        }
    }
    if (row == at + BITMAP_BYTES) {
        return at;
    }
    br_put_u16(bytes + 14, NODE_FLAG_PAGES);
    return row;
}

size_t br_tree_node_encode(const struct br_tree_node *node, uint8_t bytes[BR_TREE_NODE_BYTES_MAX])
{
    uint8_t *at = bytes + BR_TREE_NODE_HEADER_BYTES;

    memset(bytes, 0, BR_TREE_NODE_HEADER_BYTES);
    br_put_u32(bytes + 8, NODE_MAGIC);
    bytes[12] = NODE_VERSION;
    bytes[13] = node->level;
    for (unsigned child = 0; child < BR_FANOUT; child++) {
        if (br_hash_equal(&node->hashes[child], &br_hash_zero)) {
            continue;
        }
        set_bit(bytes + 16, child);
        memcpy(at, &node->hashes[child], BR_HASH_BYTES);
        at += BR_HASH_BYTES;
        if (node->level > 1) {
            br_put_u64(at, node->refs[child]);
            at += 8;
        }
    }
    assert(at > bytes + BR_TREE_NODE_HEADER_BYTES);
    if (node->level == 1) {
        at = encode_pages(node, bytes, at);
    }
    const size_t len = (size_t)(at - bytes);
    br_put_u64(bytes, XXH3_64bits(bytes + 8, len - 8));
    return len;
}

// The page section: for a block that has a leaf, and never all unknown, so that one content has one encoding.
static bool decode_pages(struct br_reader *reader, const uint8_t *children, struct br_tree_node *node)
{
    const uint8_t *bitmap = br_reader_take(reader, BITMAP_BYTES);

    if (!bitmap || br_is_zero(bitmap, BITMAP_BYTES)) {
        return false;
    }
    for (unsigned child = 0; child < BR_FANOUT; child++) {
        if (!bit_is_set(bitmap, child)) {
            continue;
        }
        const uint8_t *row = br_reader_take(reader, PAGES_ROW_BYTES);
        if (!row || !bit_is_set(children, child) || br_is_zero(row, PAGES_ROW_BYTES)) {
            return false;
        }
        for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
            node->pages[child][page] = br_get_u64(row + 8 * page);
        }
    }
    return true;
}

static bool decode_children(struct br_reader *reader, const uint8_t *children, struct br_tree_node *node)
{
    const size_t child_bytes = BR_HASH_BYTES + (node->level > 1 ? 8 : 0);

    if (!count_bits(children) || br_reader_left(reader) < count_bits(children) * child_bytes) {
        return false;
    }
    for (unsigned child = 0; child < BR_FANOUT; child++) {
        if (!bit_is_set(children, child)) {
            continue;
        }
        const uint8_t *at = br_reader_take(reader, child_bytes);
        memcpy(&node->hashes[child], at, BR_HASH_BYTES);
        if (br_hash_equal(&node->hashes[child], &br_hash_zero)) {
            return false;
        }
        if (node->level > 1) {
            node->refs[child] = br_get_u64(at + BR_HASH_BYTES);
        }
    }
    return true;
}

int br_tree_node_decode(const uint8_t *bytes, size_t len, struct br_tree_node *node, struct br_err *reterr)
{
    if (len < BR_TREE_NODE_HEADER_BYTES || len > BR_TREE_NODE_BYTES_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "tree node of %zu bytes", len);
    }
    if (br_get_u64(bytes) != XXH3_64bits(bytes + 8, len - 8) || br_get_u32(bytes + 8) != NODE_MAGIC) {
        return br_err_set(reterr, BR_E_CORRUPT, "tree node: wrong checksum");
    }
    if (bytes[12] != NODE_VERSION) {
        return br_err_set(reterr, BR_E_VERSION, "tree node of format %u", bytes[12]);
    }
    const uint16_t flags = br_get_u16(bytes + 14);
    if (bytes[13] != node->level || flags > (node->level == 1 ? NODE_FLAG_PAGES : 0)) {
        return br_err_set(reterr, BR_E_CORRUPT, "tree node of level %u, flags %#x, where level %u belongs", bytes[13],
                          flags, node->level);
    }
    br_tree_node_clear(node);
    struct br_reader reader = br_reader_init(bytes + BR_TREE_NODE_HEADER_BYTES, len - BR_TREE_NODE_HEADER_BYTES);
    if (!decode_children(&reader, bytes + 16, node) ||
        ((flags & NODE_FLAG_PAGES) && !decode_pages(&reader, bytes + 16, node)) || !br_reader_done(&reader)) {
        return br_err_set(reterr, BR_E_CORRUPT, "tree node of level %u: malformed", node->level);
    }
    return 0;
}

// The hash of a node at @level whose first @count children are @child, the next @last (when not NULL) and the rest ZERO.
static void hash_repeated(uint8_t level, const struct br_hash *child, unsigned count, const struct br_hash *last,
                          struct br_hash *ret_hash)
{
    uint8_t domain[BR_HASH_DOMAIN_BYTES] = "blkrep node 1";
    struct br_hash children[BR_FANOUT] = {0};

    domain[BR_HASH_DOMAIN_BYTES - 1] = level;
    for (unsigned i = 0; i < count; i++) {
        children[i] = *child;
    }
    if (last) {
        children[count] = *last;
    }
    br_hash_domain(domain, children, sizeof(children), ret_hash);
}

static void make_full(void)
{
    for (unsigned i = 0; i < 2; i++) {
        full[i][0] = *specials[i];
        for (uint8_t level = 1; level <= BR_TREE_LEVELS_MAX; level++) {
            hash_repeated(level, &full[i][level - 1], BR_FANOUT, NULL, &full[i][level]);
        }
    }
}

void br_tree_shape_init(struct br_tree_shape *shape, const struct br_tree_geometry *geometry)
{
    pthread_once(&full_once, make_full);
    memset(shape, 0, sizeof(*shape));
    shape->geometry = *geometry;
    if (!geometry->block_count) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        shape->cut[i][0] = *specials[i];
        for (uint8_t level = 1; level <= geometry->levels; level++) {
            const uint64_t last = (geometry->block_count - 1) >> (8 * (level - 1));
            hash_repeated(level, &full[i][level - 1], last % BR_FANOUT, &shape->cut[i][level - 1],
                          &shape->cut[i][level]);
        }
    }
}

const struct br_hash *br_hash_special(const struct br_hash *leaf)
{
    if (br_hash_equal(leaf, &br_hash_zero)) {
        return &br_hash_zero;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (br_hash_equal(leaf, specials[i])) {
            return specials[i];
        }
    }
    return NULL;
}

// The hash of the subtree that holds only special leaf @which: whole, or as the volume's end cuts it.
static const struct br_hash *uniform_hash(const struct br_tree_shape *shape, unsigned which, uint8_t level,
                                          uint64_t index)
{
    if (br_tree_end_block(level, index) <= shape->geometry.block_count) {
        return &full[which][level];
    }
    return &shape->cut[which][level];
}

void br_tree_shape_uniform(const struct br_tree_shape *shape, const struct br_hash *leaf, uint8_t level, uint64_t index,
                           struct br_tree_link *ret_link)
{
    *ret_link = (struct br_tree_link){0};
    if (br_hash_equal(leaf, &br_hash_zero) || br_tree_first_block(level, index) >= shape->geometry.block_count) {
        return;
    }
    ret_link->hash = *uniform_hash(shape, br_hash_equal(leaf, specials[0]) ? 0 : 1, level, index);
}

const struct br_hash *br_tree_shape_special(const struct br_tree_shape *shape, const struct br_hash *hash,
                                            uint8_t level, uint64_t index)
{
    if (br_hash_equal(hash, &br_hash_zero)) {
        return &br_hash_zero;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (br_hash_equal(hash, uniform_hash(shape, i, level, index))) {
            return specials[i];
        }
    }
    return NULL;
}

bool br_tree_node_named(const uint8_t *bytes, size_t len, struct br_hash *ret_hash)
{
    uint8_t level = len < BR_TREE_NODE_HEADER_BYTES ? 0 : bytes[13];
    struct br_tree_node *node = level && level <= BR_TREE_LEVELS_MAX ? br_tree_node_new(level) : NULL;
    bool is_one = node && br_tree_node_decode(bytes, len, node, NULL) >= 0;

    if (is_one) {
        br_tree_node_hash(node, ret_hash);
    }
    free(node);
    return is_one;
}

bool br_tree_node_is(const struct br_hash *hash, const uint8_t *bytes, size_t len)
{
    struct br_hash is;

    return br_tree_node_named(bytes, len, &is) && br_hash_equal(&is, hash);
}

int br_tree_node_check(const struct br_tree_shape *shape, const struct br_tree_link *link, uint8_t level,
                       uint64_t index, const uint8_t *bytes, size_t len, struct br_tree_node *node,
                       struct br_err *reterr)
{
    const uint64_t first = br_tree_first_block(level, index);
    const uint64_t child_blocks = UINT64_C(1) << (8 * (level - 1));
    struct br_hash hash;

    int rc = br_tree_node_decode(bytes, len, node, reterr);
    if (rc < 0) {
        return rc;
    }
    br_tree_node_hash(node, &hash);
    if (!br_hash_equal(&hash, &link->hash)) {
        return br_err_set(reterr, BR_E_CORRUPT, "tree node of level %u for block %llu is not the one linked", level,
                          (unsigned long long)first);
    }
    uint64_t there = br_div_up(shape->geometry.block_count - first, child_blocks);
    for (uint64_t child = there; child < BR_FANOUT; child++) {
        if (!br_hash_equal(&node->hashes[child], &br_hash_zero)) {
            return br_err_set(reterr, BR_E_CORRUPT, "tree node of level %u has children behind the volume's end",
                              level);
        }
    }
    return 0;
}

static void expand_uniform(const struct br_tree_shape *shape, const struct br_hash *leaf, uint64_t index,
                           struct br_tree_node *node)
{
    struct br_tree_link child_link;

    br_tree_node_clear(node);
    for (unsigned child = 0; child < BR_FANOUT; child++) {
        br_tree_shape_uniform(shape, leaf, node->level - 1, index * BR_FANOUT + child, &child_link);
        node->hashes[child] = child_link.hash;
    }
}

int br_tree_load(const struct br_tree_shape *shape, const struct br_tree_store *store, const struct br_tree_link *link,
                 uint8_t level, uint64_t index, uint8_t *scratch, struct br_tree_node *node, struct br_err *reterr)
{
    const struct br_hash *leaf = br_tree_shape_special(shape, &link->hash, level, index);

    assert(node->level == level);
    if (leaf) {
        expand_uniform(shape, leaf, index, node);
        return 0;
    }
    if (!link->ref || !store) {
        return br_err_set(reterr, BR_E_CORRUPT, "tree node of level %u for block %llu is not stored", level,
                          (unsigned long long)br_tree_first_block(level, index));
    }
    int len = store->fetch(store->ctx, link, scratch, reterr);
    if (len < 0) {
        return len;
    }
    return br_tree_node_check(shape, link, level, index, scratch, (size_t)len, node, reterr);
}
