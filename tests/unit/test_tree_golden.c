// SPDX-License-Identifier: Apache-2.0
//
// Yesterday's roots and nodes: the files of tests/format/golden are kept for ever. The roots there come from a second implementation
// (tests/format/tree-roots.py, which says how contents are written down); the nodes were encoded by the first version of the format.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "engine/map/tree_node.h"
#include "tests/lib/t_tree.h"

static FILE *open_golden(const char *name)
{
    char path[4096];
    const char *top = getenv("T_TOP");

    snprintf(path, sizeof(path), "%s/tests/format/golden/%s", top ? top : ".", name);
    FILE *file = fopen(path, "r");
    if (!file) {
        fail_msg("%s can't be read; run from the top of the tree", path);
    }
    return file;
}

// The data of a block: the SHA-256 of its name, again and again.
static struct br_hash data_leaf(uint64_t block, uint32_t len_bytes)
{
    static uint8_t data[BR_BLOCK_BYTES];
    char name[40];
    struct br_hash leaf;

    const int name_len = snprintf(name, sizeof(name), "block %" PRIu64, block);
    SHA256((const uint8_t *)name, (size_t)name_len, data);
    for (size_t at = BR_HASH_BYTES; at < sizeof(data); at += BR_HASH_BYTES) {
        memcpy(data + at, data, BR_HASH_BYTES);
    }
    br_leaf_hash(data, len_bytes, &leaf);
    return leaf;
}

// One item of a content: a block or FIRST-LAST, data or special.
static void put_item(struct br_tree_writer *writer, const struct br_tree_geometry *geometry, const char *item)
{
    const struct br_hash *leaf = *item == '!' ? &br_hash_unreadable : *item == '?' ? &br_hash_unknown : NULL;
    char *end = NULL;
    const uint64_t first = strtoull(item + (leaf ? 1 : 0), &end, 10);
    const uint64_t last = *end == '-' ? strtoull(end + 1, &end, 10) : first;

    assert_int_equal(*end, 0);
    if (leaf) {
        assert_int_equal(br_tree_fill(writer, first, last - first + 1, leaf, NULL), 0);
        return;
    }
    for (uint64_t block = first; block <= last; block++) {
        const struct br_hash data = data_leaf(block, br_block_bytes(geometry, block));
        assert_int_equal(br_tree_put(writer, block, &data, NULL, NULL), 0);
    }
}

static void every_golden_root_is_computed_again(void **state)
{
    (void)state;
    FILE *file = open_golden("tree-roots.txt");
    char content[512], root_text[80], got_text[80];
    uint64_t size_bytes = 0;
    unsigned rows = 0;

    while (fscanf(file, "%" SCNu64 " %511s %79s", &size_bytes, content, root_text) == 3) {
        struct t_store memory = {0};
        const struct br_tree_store store = t_store_ops(&memory);
        const struct br_tree_geometry geometry = t_geometry(size_bytes);
        struct br_tree_writer *writer = NULL;
        struct br_tree tree;
        struct br_hash root;

        assert_int_equal(br_tree_writer_open(&geometry, NULL, NULL, &store, &writer, NULL), 0);
        char *rest = NULL;
        for (char *item = strtok_r(content, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
            if (strcmp(item, "-") != 0) {
                put_item(writer, &geometry, item);
            }
        }
        assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
        br_tree_writer_close(writer);
        br_tree_root(&tree, &root);
        br_hash_text(&root, got_text);
        assert_string_equal(got_text, root_text);
        t_store_free(&memory);
        rows++;
    }
    assert_true(feof(file));
    fclose(file);
    assert_true(rows >= 26);
}

// The nodes' content: every fifth child, its hash from its number; page hashes for half of them.
static struct br_tree_node *golden_node(uint8_t level)
{
    struct br_tree_node *node = br_tree_node_new(level);

    assert_non_null(node);
    for (unsigned child = 3; child < BR_FANOUT; child += 5) {
        node->hashes[child] = data_leaf(child, 100);
        node->refs[child] = level > 1 ? UINT64_C(0x1000000) * child : 0;
        for (unsigned page = 0; level == 1 && child % 2 && page < BR_PAGES_PER_BLOCK; page += 3) {
            node->pages[child][page] = child * UINT64_C(0x0102030405060708) + page;
        }
    }
    return node;
}

static size_t read_hex(const char *name, uint8_t *bytes, size_t room)
{
    FILE *file = open_golden(name);
    unsigned byte = 0;
    size_t len = 0;

    while (len < room && fscanf(file, "%2x", &byte) == 1) {
        bytes[len++] = (uint8_t)byte;
    }
    assert_true(feof(file));
    fclose(file);
    return len;
}

static void every_golden_node_is_read_and_written_as_ever(void **state)
{
    (void)state;
    static uint8_t golden[BR_TREE_NODE_BYTES_MAX], now[BR_TREE_NODE_BYTES_MAX];

    for (uint8_t level = 1; level <= 2; level++) {
        struct br_tree_node *want = golden_node(level), *got = br_tree_node_new(level);
        const size_t len =
            read_hex(level == 1 ? "tree-node-level1.hex" : "tree-node-level2.hex", golden, sizeof(golden));
        assert_int_equal(br_tree_node_decode(golden, len, got, NULL), 0);
        assert_memory_equal(got->hashes, want->hashes, sizeof(got->hashes));
        assert_memory_equal(got->refs, want->refs, sizeof(got->refs));
        if (level == 1) {
            assert_memory_equal(got->pages, want->pages, BR_FANOUT * sizeof(*got->pages));
        }
        assert_int_equal(br_tree_node_encode(want, now), len);
        assert_memory_equal(now, golden, len);
        free(want);
        free(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_root_is_computed_again),
        cmocka_unit_test(every_golden_node_is_read_and_written_as_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
