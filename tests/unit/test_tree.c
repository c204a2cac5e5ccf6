// SPDX-License-Identifier: Apache-2.0
//
// What tree.h says, border by border: hashes, geometry, uniform subtrees, damage, what a writer refuses, and what things cost in nodes
// fetched and kept. That contents are right is the property test's question; that roots are, the golden vectors' (tests/format).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <xxhash.h>

#include "engine/map/tree_node.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_tree.h"

#define MANY_BLOCKS (UINT64_C(1) << 24) // 1 TiB: three levels

static void zero_blocks_of_any_length_have_the_leaf_zero(void **state)
{
    (void)state;
    static uint8_t block[BR_BLOCK_BYTES];
    struct br_hash leaf;

    for (size_t len = 1; len <= sizeof(block); len = len * 2 + 1) {
        br_leaf_hash(block, len, &leaf);
        assert_true(br_hash_equal(&leaf, &br_hash_zero));
        block[len - 1] = 1;
        br_leaf_hash(block, len, &leaf);
        assert_null(br_hash_special(&leaf));
        block[len - 1] = 0;
    }
}

static void *hash_on_a_thread(void *block)
{
    struct br_hash *leaf = malloc(sizeof(*leaf));
    for (unsigned i = 0; leaf && i < 20; i++) {
        br_leaf_hash(block, BR_BLOCK_BYTES, leaf);
    }
    return leaf;
}

static void threads_agree_on_a_leaf(void **state)
{
    (void)state;
    static uint8_t block[BR_BLOCK_BYTES];
    struct t_rand r = t_rand_seeded(1, 1);
    pthread_t threads[4];
    struct br_hash want;

    t_rand_fill(&r, block, sizeof(block));
    br_leaf_hash(block, sizeof(block), &want);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, hash_on_a_thread, block), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        void *got = NULL;
        assert_int_equal(pthread_join(threads[i], &got), 0);
        assert_non_null(got);
        assert_memory_equal(got, &want, sizeof(want));
        free(got);
    }
}

static void page_hashes_depend_on_content_length_and_secret(void **state)
{
    (void)state;
    uint8_t secrets[2][BR_PAGE_SECRET_BYTES], page[BR_PAGE_BYTES] = {0};
    struct t_rand r = t_rand_seeded(1, 2);

    t_rand_fill(&r, secrets, sizeof(secrets));
    const uint64_t hash = br_page_hash(secrets[0], page, sizeof(page));
    assert_true(hash != 0 && hash == br_page_hash(secrets[0], page, sizeof(page)));
    assert_true(hash != br_page_hash(secrets[1], page, sizeof(page)));
    assert_true(hash != br_page_hash(secrets[0], page, sizeof(page) - 1));
    page[4095] = 1;
    assert_true(hash != br_page_hash(secrets[0], page, sizeof(page)));
    // Whatever code the processor gets, the plain one says the same.
    t_rand_fill(&r, page, sizeof(page));
    for (size_t len = 1; len <= sizeof(page); len += 13) {
        assert_true(br_page_hash(secrets[0], page, len) ==
                    XXH3_64bits_withSecret(page, len, secrets[0], sizeof(secrets[0])));
    }
}

static void a_hash_reads_back_from_its_text_and_nothing_else_does(void **state)
{
    (void)state;
    const struct br_hash hash = t_leaf(1);
    struct br_hash back = br_hash_zero;
    char text[2 * BR_HASH_BYTES + 2] = {0};

    br_hash_text(&hash, text);
    assert_int_equal(strlen(text), 64);
    assert_true(br_hash_parse(text, &back) && br_hash_equal(&back, &hash));
    text[64] = '0';
    assert_false(br_hash_parse(text, &back));
    text[63] = 0;
    assert_false(br_hash_parse(text, &back));
    text[63] = 'g';
    text[64] = 0;
    assert_false(br_hash_parse(text, &back));
    assert_true(br_hash_equal(&back, &hash));
}

static void a_geometry_has_the_least_levels_that_hold_its_blocks(void **state)
{
    (void)state;
    static const struct {
        uint64_t size_bytes, blocks;
        uint8_t levels;
        uint32_t tail_bytes;
    } rows[] = {
        {0, 0, 1, 0},
        {1, 1, 1, 1},
        {65536, 1, 1, 65536},
        {65537, 2, 1, 1},
        {UINT64_C(256) << 16, 256, 1, 65536},
        {(UINT64_C(256) << 16) + 1, 257, 2, 1},
        {UINT64_C(1) << 32, 65536, 2, 65536},
        {(UINT64_C(1) << 32) + 4096, 65537, 3, 4096},
        {BR_VOLUME_BYTES_MAX, UINT64_C(1) << 46, 6, 65536},
    };
    struct br_tree_geometry geometry;

    for (size_t i = 0; i < BR_ARRAY_LEN(rows); i++) {
        assert_true(br_tree_geometry_of(rows[i].size_bytes, &geometry));
        assert_int_equal(geometry.block_count, rows[i].blocks);
        assert_int_equal(geometry.levels, rows[i].levels);
        assert_int_equal(br_block_bytes(&geometry, rows[i].blocks - 1), rows[i].tail_bytes);
        assert_int_equal(br_block_bytes(&geometry, rows[i].blocks), 0);
    }
    assert_false(br_tree_geometry_of(BR_VOLUME_BYTES_MAX + 1, &geometry));
}

static void a_version_of_one_special_leaf_needs_no_stored_node(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, BR_BLOCK_BYTES * UINT64_C(300) - 5, UINT64_C(15) << 40, BR_VOLUME_BYTES_MAX};
    const struct br_hash *const leaves[] = {&br_hash_zero, &br_hash_unknown, &br_hash_unreadable};

    for (unsigned i = 0; i < BR_ARRAY_LEN(sizes) * 3; i++) {
        const struct br_tree_geometry geometry = t_geometry(sizes[i / 3]);
        const struct br_hash *leaf = leaves[i % 3];
        struct br_tree_reader *reader = NULL;
        struct br_tree tree;
        struct br_hash got[2];
        uint64_t next = 0;

        br_tree_empty(&geometry, leaf, &tree);
        assert_int_equal(tree.top.ref, 0);
        assert_int_equal(br_tree_reader_open(&tree, NULL, &reader, NULL), 0);
        assert_int_equal(br_tree_read(reader, geometry.block_count - 1, 2, got, NULL, NULL), 0);
        assert_true(br_hash_equal(&got[0], leaf) && br_hash_equal(&got[1], &br_hash_zero));
        assert_int_equal(br_tree_next_not(reader, 0, leaf, &next, NULL), 0);
        assert_int_equal(next, geometry.block_count);
        assert_int_equal(br_tree_next_not(reader, 0, leaves[(i + 1) % 3], &next, NULL), 0);
        assert_int_equal(next, 0);
        br_tree_reader_close(reader);
    }
}

// A node with everything in it: half its children, some with page hashes.
static size_t sample_node(uint8_t level, uint8_t bytes[BR_TREE_NODE_BYTES_MAX])
{
    struct br_tree_node *node = br_tree_node_new(level);

    assert_non_null(node);
    for (unsigned child = 0; child < 20; child += 2) {
        node->hashes[child] = t_leaf(child);
        node->refs[child] = level > 1 ? child + 1 : 0;
        if (level == 1 && child % 4) {
            node->pages[child][child % 16] = child;
        }
    }
    size_t len = br_tree_node_encode(node, bytes);
    free(node);
    return len;
}

static void any_flipped_bit_and_any_missing_byte_of_a_node_is_noticed(void **state)
{
    (void)state;
    static uint8_t bytes[BR_TREE_NODE_BYTES_MAX];

    for (uint8_t level = 1; level <= 2; level++) {
        struct br_tree_node *node = br_tree_node_new(level);
        const size_t len = sample_node(level, bytes);
        assert_int_equal(br_tree_node_decode(bytes, len, node, NULL), 0);
        for (size_t bit = 0; bit < 8 * len; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(br_tree_node_decode(bytes, len, node, NULL), -BR_E_CORRUPT);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t less = 0; less < len; less++) {
            assert_int_equal(br_tree_node_decode(bytes, less, node, NULL), -BR_E_CORRUPT);
        }
        assert_int_equal(br_tree_node_decode(bytes, len + 1, node, NULL), -BR_E_CORRUPT);
        free(node);
    }
}

// What a writer with a bug, or a hostile one, could seal with a right checksum.
static int decode_sealed(uint8_t level, size_t offset, uint8_t value, int more)
{
    static uint8_t bytes[BR_TREE_NODE_BYTES_MAX];
    struct br_tree_node *node = br_tree_node_new(level);
    size_t len = (size_t)((int)sample_node(level, bytes) + more);

    bytes[offset] = value;
    br_put_u64(bytes, XXH3_64bits(bytes + 8, len - 8));
    int rc = br_tree_node_decode(bytes, len, node, NULL);
    free(node);
    return rc;
}

static void a_malformed_node_is_refused_in_spite_of_a_right_checksum(void **state)
{
    (void)state;
    static uint8_t bytes[BR_TREE_NODE_BYTES_MAX];
    const size_t pages_at = BR_TREE_NODE_HEADER_BYTES + 10 * BR_HASH_BYTES;
    struct br_tree_node *node = br_tree_node_new(1);

    assert_int_equal(decode_sealed(1, 12, 1, 0), 0);
    assert_int_equal(decode_sealed(1, 12, 2, 0), -BR_E_VERSION);
    assert_int_equal(decode_sealed(1, 8, 'b', 0), -BR_E_CORRUPT);         // magic
    assert_int_equal(decode_sealed(1, 13, 2, 0), -BR_E_CORRUPT);          // level
    assert_int_equal(decode_sealed(1, 14, 0, 0), -BR_E_CORRUPT);          // the page section becomes a surplus
    assert_int_equal(decode_sealed(1, 15, 1, 0), -BR_E_CORRUPT);          // unknown flag
    assert_int_equal(decode_sealed(2, 14, 1, 0), -BR_E_CORRUPT);          // pages above level 1
    assert_int_equal(decode_sealed(1, 16, 0x57, 0), -BR_E_CORRUPT);       // one child more
    assert_int_equal(decode_sealed(1, 16, 0x54, 0), -BR_E_CORRUPT);       // one child less
    assert_int_equal(decode_sealed(1, 47, 0xff, -200), -BR_E_CORRUPT);    // far fewer bytes than children
    assert_int_equal(decode_sealed(1, 12, 1, 1), -BR_E_CORRUPT);          // a byte more
    assert_int_equal(decode_sealed(1, pages_at, 0x46, 0), -BR_E_CORRUPT); // page hashes of a child that is not there
    assert_int_equal(decode_sealed(1, pages_at, 0x40, 0), -BR_E_CORRUPT);
    // A child that is said to be there and is ZERO; page hashes that are all 0.
    size_t len = sample_node(1, bytes);
    memset(bytes + BR_TREE_NODE_HEADER_BYTES, 0, BR_HASH_BYTES);
    br_put_u64(bytes, XXH3_64bits(bytes + 8, len - 8));
    assert_int_equal(br_tree_node_decode(bytes, len, node, NULL), -BR_E_CORRUPT);
    len = sample_node(1, bytes);
    memset(bytes + pages_at + 32, 0, 128);
    br_put_u64(bytes, XXH3_64bits(bytes + 8, len - 8));
    assert_int_equal(br_tree_node_decode(bytes, len, node, NULL), -BR_E_CORRUPT);
    free(node);
}

static void the_fullest_node_fits_and_reads_back(void **state)
{
    (void)state;
    static uint8_t bytes[BR_TREE_NODE_BYTES_MAX], again[BR_TREE_NODE_BYTES_MAX];
    struct br_tree_node *node = br_tree_node_new(1);

    for (unsigned child = 0; child < BR_FANOUT; child++) {
        node->hashes[child] = t_leaf(child);
        memset(node->pages[child], 1 + (int)child % 255, sizeof(node->pages[child]));
    }
    const size_t len = br_tree_node_encode(node, bytes);
    assert_int_equal(len, 41040);
    assert_int_equal(br_tree_node_decode(bytes, len, node, NULL), 0);
    assert_int_equal(br_tree_node_encode(node, again), len);
    assert_memory_equal(bytes, again, len);
    free(node);
}

// A tree of MANY_BLOCKS with @blocks put.
static struct br_tree sparse_tree(const struct br_tree_store *store, const uint64_t *blocks, unsigned count)
{
    const struct br_tree_geometry geometry = t_geometry(MANY_BLOCKS * BR_BLOCK_BYTES);
    struct br_tree_writer *writer = NULL;
    struct br_tree tree;

    assert_int_equal(br_tree_writer_open(&geometry, NULL, NULL, store, &writer, NULL), 0);
    for (unsigned i = 0; i < count; i++) {
        const struct br_hash leaf = t_leaf(blocks[i]);
        assert_int_equal(br_tree_put(writer, blocks[i], &leaf, NULL, NULL), 0);
    }
    assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
    br_tree_writer_close(writer);
    return tree;
}

static void a_sparse_tree_costs_a_path_per_block(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    const uint64_t blocks[] = {0, MANY_BLOCKS / 2, MANY_BLOCKS - 1};
    size_t bytes = 0;

    sparse_tree(&store, blocks, 3);
    assert_int_equal(memory.keeps, 7);
    assert_int_equal(memory.fetches, 0);
    for (size_t i = 0; i < memory.count; i++) {
        bytes += memory.nodes[i].len;
    }
    assert_in_range(bytes, 1, 7 * 200);
    t_store_free(&memory);
}

static void an_update_fetches_and_writes_its_path_only(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    const uint64_t blocks[] = {0, 300, 70000, MANY_BLOCKS - 1};
    const struct br_hash leaf = t_leaf(5);
    struct br_tree_writer *writer = NULL;
    struct br_tree tree = sparse_tree(&store, blocks, 4), same;

    memory.keeps = 0;
    assert_int_equal(br_tree_writer_open(&tree.geometry, &tree, &store, &store, &writer, NULL), 0);
    assert_int_equal(br_tree_put(writer, 70000, &leaf, NULL, NULL), 0);
    assert_int_equal(br_tree_finish(writer, &same, NULL), 0);
    assert_int_equal(memory.keeps, 3);
    assert_int_equal(memory.fetches, 3);
    // What is put as it was, is filled as it was, or is not put at all, writes nothing.
    assert_int_equal(br_tree_put(writer, 70001, &br_hash_zero, NULL, NULL), 0);
    assert_int_equal(br_tree_fill(writer, 80000, 1000000, &br_hash_zero, NULL), 0);
    const struct br_hash last = t_leaf(MANY_BLOCKS - 1);
    assert_int_equal(br_tree_put(writer, MANY_BLOCKS - 1, &last, NULL, NULL), 0);
    assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
    assert_int_equal(memory.keeps, 3);
    assert_memory_equal(&tree.top.hash, &same.top.hash, sizeof(tree.top.hash));
    br_tree_writer_close(writer);
    t_store_free(&memory);
}

static int count_call(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    (void)block, (void)old_leaf, (void)new_leaf;
    ++*(unsigned *)ctx;
    return *(unsigned *)ctx == 3 ? 77 : 0;
}

static void a_difference_visits_only_what_differs_and_stops_when_told(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    const uint64_t blocks[] = {0, 300, 70000, 70001, MANY_BLOCKS - 1};
    const struct br_tree all = sparse_tree(&store, blocks, 5), less = sparse_tree(&store, blocks + 1, 4);
    unsigned calls = 0;

    memory.fetches = 0;
    assert_int_equal(br_tree_diff(&less, &store, &all, &store, count_call, &calls, NULL), 0);
    assert_int_equal(calls, 1);
    assert_int_equal(memory.fetches,
                     5); // three on the path of block 0 in one, two in the other, which has no leaves there
    const struct br_tree none = sparse_tree(&store, NULL, 0);
    calls = 0;
    assert_int_equal(br_tree_diff(&none, &store, &all, &store, count_call, &calls, NULL), 77);
    assert_int_equal(calls, 3);
    memory.fetches = 0;
    assert_int_equal(br_tree_diff(&all, &store, &all, &store, count_call, &calls, NULL), 0);
    assert_int_equal(memory.fetches, 0);
    t_store_free(&memory);
}

static void an_ascending_reader_fetches_each_node_once(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    struct t_version version;
    struct br_tree tree;

    t_version_new(&version, 70000 * UINT64_C(65536), false);
    for (uint64_t block = 0; block < 70000; block += 3) {
        version.leaves[block] = t_leaf(block);
    }
    t_tree_build(&version, &store, &tree);
    memory.fetches = 0;
    t_tree_expect(&tree, &store, &version);
    assert_int_equal(memory.fetches, memory.count);
    t_version_free(&version);
    t_store_free(&memory);
}

static void damaged_missing_and_exchanged_nodes_are_never_read_as_leaves(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    const uint64_t blocks[] = {0, 300};
    const struct br_tree tree = sparse_tree(&store, blocks, 2);
    struct br_tree_reader *reader = NULL;
    struct br_hash leaf;

    const struct br_buf first = memory.nodes[0];
    memory.nodes[0] = memory.nodes[1]; // both are whole level 1 nodes; only the hash that links them tells
    memory.nodes[1] = first;
    assert_int_equal(br_tree_reader_open(&tree, &store, &reader, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(br_tree_read(reader, blocks[i], 1, &leaf, NULL, NULL), -BR_E_CORRUPT);
        assert_int_equal(br_tree_read(reader, 70000, 1, &leaf, NULL, NULL), 0);
    }
    br_tree_reader_close(reader);
    const struct br_tree cut = {.geometry = tree.geometry, .top = {.hash = tree.top.hash, .ref = 0}};
    assert_int_equal(br_tree_reader_open(&cut, &store, &reader, NULL), 0);
    assert_int_equal(br_tree_read(reader, 0, 1, &leaf, NULL, NULL), -BR_E_CORRUPT);
    br_tree_reader_close(reader);
    t_store_free(&memory);
}

static void a_node_with_children_behind_the_end_is_refused(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    struct t_version version;
    struct br_tree_reader *reader = NULL;
    struct br_tree tree;
    struct br_hash leaf;

    t_version_new(&version, 10 * BR_BLOCK_BYTES, false);
    version.leaves[9] = t_leaf(9);
    t_tree_build(&version, &store, &tree);
    tree.geometry = t_geometry(9 * BR_BLOCK_BYTES);
    assert_int_equal(br_tree_reader_open(&tree, &store, &reader, NULL), 0);
    assert_int_equal(br_tree_read(reader, 0, 1, &leaf, NULL, NULL), -BR_E_CORRUPT);
    br_tree_reader_close(reader);
    t_version_free(&version);
    t_store_free(&memory);
}

static void a_writer_refuses_what_is_not_ascending_inside_or_special(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    const struct br_tree_geometry geometry = t_geometry(10 * BR_BLOCK_BYTES);
    const struct br_hash leaf = t_leaf(1);
    struct br_tree_writer *writer = NULL;
    struct br_tree tree;

    assert_int_equal(br_tree_writer_open(&geometry, NULL, NULL, &store, &writer, NULL), 0);
    assert_int_equal(br_tree_put(writer, 10, &leaf, NULL, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_tree_put(writer, 5, &leaf, NULL, NULL), 0);
    assert_int_equal(br_tree_put(writer, 5, &leaf, NULL, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_tree_fill(writer, 4, 1, &br_hash_zero, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_tree_fill(writer, 6, 5, &br_hash_zero, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_tree_fill(writer, 6, UINT64_MAX, &br_hash_zero, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_tree_fill(writer, 6, 1, &leaf, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_tree_fill(writer, 6, 0, &br_hash_zero, NULL), 0);
    assert_int_equal(br_tree_fill(writer, 6, 4, &br_hash_unknown, NULL), 0);
    assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
    br_tree_writer_close(writer);
    t_store_free(&memory);
}

static void after_a_failure_a_writer_gives_no_version(void **state)
{
    (void)state;
    struct t_store memory = {.fail_keep_at = 1};
    const struct br_tree_store store = t_store_ops(&memory);
    const struct br_tree_geometry geometry = t_geometry(MANY_BLOCKS * BR_BLOCK_BYTES);
    const struct br_hash leaf = t_leaf(1);
    struct br_tree_writer *writer = NULL;
    struct br_tree tree;

    assert_int_equal(br_tree_writer_open(&geometry, NULL, NULL, &store, &writer, NULL), 0);
    assert_int_equal(br_tree_put(writer, 1, &leaf, NULL, NULL), 0);
    assert_int_equal(br_tree_put(writer, 1000, &leaf, NULL, NULL), -BR_E_NO_SPACE);
    assert_int_equal(br_tree_put(writer, 2000, &leaf, NULL, NULL), -BR_E_NO_SPACE);
    assert_int_equal(br_tree_fill(writer, 2000, 1, &br_hash_zero, NULL), -BR_E_NO_SPACE);
    assert_int_equal(br_tree_finish(writer, &tree, NULL), -BR_E_NO_SPACE);
    br_tree_writer_close(writer);
    t_store_free(&memory);
}

static void a_tail_block_of_another_length_is_unknown_until_it_is_put(void **state)
{
    (void)state;
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    const struct br_tree_geometry grown = t_geometry(300 * BR_BLOCK_BYTES);
    const struct br_hash put = t_leaf(2);
    struct t_version before, after;
    struct br_tree_writer *writer = NULL;
    struct br_tree tree;

    t_version_new(&before, 3 * BR_BLOCK_BYTES - 1, false);
    t_version_new(&after, grown.size_bytes, false);
    before.leaves[1] = after.leaves[1] = before.leaves[2] = t_leaf(1);
    t_tree_build(&before, &store, &tree);
    assert_int_equal(br_tree_writer_open(&grown, &tree, &store, &store, &writer, NULL), 0);
    after.leaves[2] = br_hash_unknown;
    assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
    t_tree_expect(&tree, &store, &after);
    after.leaves[2] = put;
    assert_int_equal(br_tree_put(writer, 2, &put, NULL, NULL), 0);
    assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
    t_tree_expect(&tree, &store, &after);
    br_tree_writer_close(writer);
    t_version_free(&before);
    t_version_free(&after);
    t_store_free(&memory);
}

struct far_store {
    struct br_tree_store store;
    unsigned calls, largest;
};

static int fetch_far(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                     struct br_err *reterr)
{
    struct far_store *far = ctx;

    far->calls++;
    far->largest = BR_MAX(far->largest, count);
    return br_tree_store_fetch_many(&far->store, links, count, ret_nodes, reterr);
}

static void a_copy_asks_in_batches_and_takes_only_what_is_proven(void **state)
{
    (void)state;
    struct t_store memory[2] = {{0}};
    const struct br_tree_store to = t_store_ops(&memory[1]);
    struct far_store far = {.store = t_store_ops(&memory[0])};
    struct t_version version;
    struct br_tree tree, copied;

    t_version_new(&version, UINT64_C(256) * 300 * BR_BLOCK_BYTES, false);
    for (uint64_t block = 7; block < version.geometry.block_count; block += 100) {
        version.leaves[block] = t_leaf(block);
    }
    t_tree_build(&version, &far.store, &tree);
    assert_int_equal(br_tree_copy(&tree, fetch_far, &far, &to, true, &copied, NULL), 0);
    t_tree_expect(&copied, &to, &version);
    assert_int_equal(far.largest, BR_TREE_FETCH_MAX);
    assert_int_equal(far.calls, 1 + 1 + 4 + 1); // the top, its children, and the leaves' nodes of both
    assert_int_equal(memory[0].count, memory[1].count);
    memory[0].nodes[100].data[60] ^= 1;
    assert_int_equal(br_tree_copy(&tree, fetch_far, &far, &to, true, &copied, NULL), -BR_E_CORRUPT);
    t_version_free(&version);
    t_store_free(&memory[0]);
    t_store_free(&memory[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_blocks_of_any_length_have_the_leaf_zero),
        cmocka_unit_test(threads_agree_on_a_leaf),
        cmocka_unit_test(page_hashes_depend_on_content_length_and_secret),
        cmocka_unit_test(a_hash_reads_back_from_its_text_and_nothing_else_does),
        cmocka_unit_test(a_geometry_has_the_least_levels_that_hold_its_blocks),
        cmocka_unit_test(a_version_of_one_special_leaf_needs_no_stored_node),
        cmocka_unit_test(any_flipped_bit_and_any_missing_byte_of_a_node_is_noticed),
        cmocka_unit_test(a_malformed_node_is_refused_in_spite_of_a_right_checksum),
        cmocka_unit_test(the_fullest_node_fits_and_reads_back),
        cmocka_unit_test(a_sparse_tree_costs_a_path_per_block),
        cmocka_unit_test(an_update_fetches_and_writes_its_path_only),
        cmocka_unit_test(a_difference_visits_only_what_differs_and_stops_when_told),
        cmocka_unit_test(an_ascending_reader_fetches_each_node_once),
        cmocka_unit_test(damaged_missing_and_exchanged_nodes_are_never_read_as_leaves),
        cmocka_unit_test(a_node_with_children_behind_the_end_is_refused),
        cmocka_unit_test(a_writer_refuses_what_is_not_ascending_inside_or_special),
        cmocka_unit_test(after_a_failure_a_writer_gives_no_version),
        cmocka_unit_test(a_tail_block_of_another_length_is_unknown_until_it_is_put),
        cmocka_unit_test(a_copy_asks_in_batches_and_takes_only_what_is_proven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
