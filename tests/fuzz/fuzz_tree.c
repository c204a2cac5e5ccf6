// SPDX-License-Identifier: Apache-2.0
//
// Encoded nodes and whole trees from a hostile far end: no input reads out of bounds, hangs, or gives two answers to one question.
//
// Input: u8 kind. Kind 0: u8 level, then one encoded node as it is. Kind 1: the same, but the checksum is put right first, so that the
// search gets behind it. Kind 2: u64 volume size, then nodes, each u16 length and bytes (checksum put right, and the hashes of children
// that refer to an earlier node too), which refer to each other by number from 1; the last is the top. So any tree that a liar can seal
// comes by: wrong levels, children behind the end, one node at many places.
#include "engine/map/tree_node.h"

#include <xxhash.h>

#define NODES_MAX   64u
#define COPIES_MAX  300u
#define FETCHES_MAX 1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

struct nodes {
    struct br_buf encoded[COPIES_MAX];
    size_t count;
    size_t room;
    size_t fetches;
};

static int fetch(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    struct nodes *nodes = ctx;
    const uint64_t ref = link->ref;

    if (!ref || ref > nodes->count || ++nodes->fetches > FETCHES_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "no such node");
    }
    if (nodes->encoded[ref - 1].len) {
        memcpy(bytes, nodes->encoded[ref - 1].data, nodes->encoded[ref - 1].len);
    }
    return (int)nodes->encoded[ref - 1].len;
}

static int keep(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                struct br_err *reterr)
{
    struct nodes *nodes = ctx;

    (void)hash;
    CHECK(len <= BR_TREE_NODE_BYTES_MAX);
    if (nodes->count == nodes->room) {
        return br_err_set(reterr, BR_E_NO_SPACE, "enough");
    }
    br_buf_append(&nodes->encoded[nodes->count], bytes, len);
    CHECK(!br_buf_failed(&nodes->encoded[nodes->count]));
    *ret_ref = ++nodes->count;
    return 0;
}

static struct nodes *nodes_new(size_t room)
{
    struct nodes *nodes = calloc(1, sizeof(*nodes));
    CHECK(nodes);
    nodes->room = room;
    return nodes;
}

static void nodes_free(struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        br_buf_free(&nodes->encoded[i]);
    }
    free(nodes);
}

// What is accepted has one encoding only.
static struct br_tree_node *decode(uint8_t level, const uint8_t *bytes, size_t len)
{
    static uint8_t again[BR_TREE_NODE_BYTES_MAX];
    struct br_tree_node *node = br_tree_node_new(level);

    CHECK(node);
    if (br_tree_node_decode(bytes, len, node, NULL) < 0) {
        free(node);
        return NULL;
    }
    CHECK(br_tree_node_encode(node, again) == len && !memcmp(again, bytes, len));
    return node;
}

static void one_node(const uint8_t *data, size_t len_bytes, bool seal)
{
    if (len_bytes < 1) {
        return;
    }
    struct br_buf bytes = {0};
    br_buf_append(&bytes, data + 1, len_bytes - 1);
    if (seal && bytes.len >= 8) {
        br_put_u64(bytes.data, XXH3_64bits(bytes.data + 8, bytes.len - 8));
    }
    free(decode(1 + data[0] % BR_TREE_LEVELS_MAX, bytes.data, bytes.len));
    br_buf_free(&bytes);
}

// Takes one node of a tree that is made bottom up; gives its link.
static void add_node(struct nodes *nodes, struct br_hash *hashes, struct br_buf *bytes, struct br_tree_link *ret_link)
{
    static uint8_t encoded[BR_TREE_NODE_BYTES_MAX];
    struct br_tree_node *node = NULL;
    size_t len = bytes->len;

    *ret_link = (struct br_tree_link){0};
    if (bytes->len >= BR_TREE_NODE_HEADER_BYTES) {
        br_put_u64(bytes->data, XXH3_64bits(bytes->data + 8, bytes->len - 8));
        const uint8_t level = bytes->data[13];
        node = level >= 1 && level <= BR_TREE_LEVELS_MAX ? decode(level, bytes->data, bytes->len) : NULL;
    }
    for (unsigned child = 0; node && child < BR_FANOUT; child++) {
        if (node->refs[child] && node->refs[child] <= nodes->count) {
            node->hashes[child] = hashes[node->refs[child] - 1];
        }
    }
    if (node && !br_is_zero(node->hashes, sizeof(node->hashes))) {
        len = br_tree_node_encode(node, encoded);
        br_tree_node_hash(node, &ret_link->hash);
        CHECK(keep(nodes, &ret_link->hash, encoded, len, &ret_link->ref, NULL) == 0);
    } else {
        CHECK(keep(nodes, &ret_link->hash, bytes->data ? bytes->data : encoded, len, &ret_link->ref, NULL) == 0);
        ret_link->hash.bytes[0] = (uint8_t)nodes->count;
    }
    hashes[nodes->count - 1] = ret_link->hash;
    free(node);
}

static void read_some(const struct br_tree *tree, const struct br_tree_store *store)
{
    static uint64_t pages[2][40][BR_PAGES_PER_BLOCK];
    struct br_hash leaves[2][40];
    struct br_tree_reader *reader = NULL;
    const uint64_t count = tree->geometry.block_count;
    const uint64_t places[] = {0, 250, 65530, count / 2, count - BR_MIN(count, UINT64_C(20))};

    CHECK(br_tree_reader_open(tree, store, &reader, NULL) == 0);
    for (unsigned i = 0; i < BR_ARRAY_LEN(places); i++) {
        int first = br_tree_read(reader, places[i], 40, leaves[0], pages[0][0], NULL);
        int second = br_tree_read(reader, places[i], 40, leaves[1], pages[1][0], NULL);
        CHECK(first == second);
        CHECK(first < 0 || !memcmp(leaves[0], leaves[1], sizeof(leaves[0])));
        CHECK(first < 0 || !memcmp(pages[0], pages[1], sizeof(pages[0])));
        for (unsigned j = 0; first == 0 && j < 40; j++) {
            CHECK(places[i] + j < count || br_hash_equal(&leaves[0][j], &br_hash_zero));
        }
        uint64_t next = 0;
        if (br_tree_next_not(reader, places[i], i % 2 ? &br_hash_zero : &br_hash_unknown, &next, NULL) == 0) {
            CHECK(next >= BR_MIN(places[i], count) && next <= count);
        }
    }
    br_tree_reader_close(reader);
}

static int count_difference(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    (void)block;
    CHECK(!br_hash_equal(old_leaf, new_leaf));
    return ++*(unsigned *)ctx > 2000;
}

// A copy holds what the original does; a version written over either has what was put.
static void copy_and_write(const struct br_tree *tree, struct br_tree_store *store)
{
    struct nodes *copies = nodes_new(COPIES_MAX);
    const struct br_tree_store to = {.fetch = fetch, .keep = keep, .ctx = copies};
    const struct br_hash leaf = {.bytes = "a leaf"};
    struct br_tree_writer *writer = NULL;
    struct br_tree copied, written;
    unsigned calls = 0;

    if (br_tree_copy(tree, br_tree_store_fetch_many, store, &to, true, &copied, NULL) == 0) {
        CHECK(br_tree_diff(tree, store, &copied, &to, count_difference, &calls, NULL) == 0 && calls == 0);
    }
    struct br_tree_geometry geometry = tree->geometry;
    CHECK(br_tree_geometry_of(geometry.size_bytes / 3 + 70000, &geometry));
    if (br_tree_writer_open(&geometry, tree, store, &to, &writer, NULL) == 0) {
        struct br_hash back;
        struct br_tree_reader *reader = NULL;
        int rc = br_tree_put(writer, geometry.block_count / 2, &leaf, NULL, NULL);
        rc = rc ? rc : br_tree_finish(writer, &written, NULL);
        if (rc == 0) {
            CHECK(br_tree_reader_open(&written, &to, &reader, NULL) == 0);
            CHECK(br_tree_read(reader, geometry.block_count / 2, 1, &back, NULL, NULL) == 0);
            CHECK(br_hash_equal(&back, &leaf));
            br_tree_reader_close(reader);
        }
        br_tree_writer_close(writer);
    }
    nodes_free(copies);
}

static void one_tree(const uint8_t *data, size_t len_bytes)
{
    struct br_reader input = br_reader_init(data, len_bytes);
    struct nodes *nodes = nodes_new(COPIES_MAX);
    struct br_tree_store store = {.fetch = fetch, .keep = keep, .ctx = nodes};
    struct br_hash hashes[NODES_MAX];
    struct br_tree tree = {0}, empty;
    unsigned calls = 0;

    if (!br_tree_geometry_of(br_reader_u64(&input) & (BR_VOLUME_BYTES_MAX - 1), &tree.geometry)) {
        abort();
    }
    while (br_reader_left(&input) >= 2 && nodes->count < NODES_MAX) {
        const size_t len = BR_MIN((size_t)br_reader_u16(&input), br_reader_left(&input));
        struct br_buf bytes = {0};
        br_buf_append(&bytes, br_reader_take(&input, len), len);
        add_node(nodes, hashes, &bytes, &tree.top);
        br_buf_free(&bytes);
    }
    read_some(&tree, &store);
    br_tree_empty(&tree.geometry, &br_hash_unknown, &empty);
    (void)!br_tree_diff(&empty, NULL, &tree, &store, count_difference, &calls, NULL);
    nodes->fetches = 0;
    copy_and_write(&tree, &store);
    nodes_free(nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    if (len_bytes && data[0] < 2) {
        one_node(data + 1, len_bytes - 1, data[0] == 1);
    } else if (len_bytes && data[0] == 2) {
        one_tree(data + 1, len_bytes - 1);
    }
    return 0;
}
