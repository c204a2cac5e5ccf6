// SPDX-License-Identifier: Apache-2.0
//
// See t_tree.h. Nothing here knows how a tree is built: only the public functions of tree.h are used.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/t_env.h"
#include "tests/lib/t_tree.h"

static int store_fetch(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    struct t_store *store = ctx;
    const uint64_t ref = link->ref;

    store->fetches++;
    if (!ref || ref > store->count) {
        return br_err_set(reterr, BR_E_CORRUPT, "no node %llu", (unsigned long long)ref);
    }
    const struct br_buf *node = &store->nodes[ref - 1];
    assert_true(node->len <= BR_TREE_NODE_BYTES_MAX);
    if (node->len) {
        memcpy(bytes, node->data, node->len);
    }
    return (int)node->len;
}

static int store_keep(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                      struct br_err *reterr)
{
    struct t_store *store = ctx;

    assert_false(br_leaf_is_special(hash)); // such a subtree has no node
    if (++store->keeps == store->fail_keep_at) {
        return br_err_set(reterr, BR_E_NO_SPACE, "the test's store");
    }
    struct br_buf *nodes = realloc(store->nodes, (store->count + 1) * sizeof(*nodes));
    assert_non_null(nodes);
    store->nodes = nodes;
    nodes[store->count] = (struct br_buf){0};
    br_buf_append(&nodes[store->count], bytes, len);
    assert_false(br_buf_failed(&nodes[store->count]));
    *ret_ref = ++store->count;
    return 0;
}

struct br_tree_store t_store_ops(struct t_store *store)
{
    return (struct br_tree_store){.fetch = store_fetch, .keep = store_keep, .ctx = store};
}

void t_store_free(struct t_store *store)
{
    for (size_t i = 0; i < store->count; i++) {
        br_buf_free(&store->nodes[i]);
    }
    free(store->nodes);
    *store = (struct t_store){0};
}

void t_version_new(struct t_version *version, uint64_t size_bytes, bool with_pages)
{
    version->geometry = t_geometry(size_bytes);
    version->leaves = calloc(version->geometry.block_count + 1, sizeof(*version->leaves));
    version->pages = with_pages ? calloc(version->geometry.block_count + 1, sizeof(*version->pages)) : NULL;
    assert_non_null(version->leaves);
    assert_true(!with_pages || version->pages);
}

void t_version_free(struct t_version *version)
{
    free(version->leaves);
    free(version->pages);
    *version = (struct t_version){0};
}

struct br_hash t_leaf(uint64_t n)
{
    struct t_rand r = t_rand_seeded(0x1eaf, n);
    struct br_hash leaf;

    t_rand_fill(&r, leaf.bytes, sizeof(leaf.bytes));
    leaf.bytes[0] |= 1;
    return leaf;
}

struct br_tree_geometry t_geometry(uint64_t size_bytes)
{
    struct br_tree_geometry geometry;

    assert_true(br_tree_geometry_of(size_bytes, &geometry));
    return geometry;
}

void t_tree_build(const struct t_version *version, const struct br_tree_store *store, struct br_tree *ret_tree)
{
    struct br_tree_writer *writer = NULL;

    assert_int_equal(br_tree_writer_open(&version->geometry, NULL, NULL, store, &writer, NULL), 0);
    for (uint64_t block = 0; block < version->geometry.block_count; block++) {
        const uint64_t *pages = version->pages ? version->pages[block] : NULL;
        assert_int_equal(br_tree_put(writer, block, &version->leaves[block], pages, NULL), 0);
    }
    assert_int_equal(br_tree_finish(writer, ret_tree, NULL), 0);
    br_tree_writer_close(writer);
}

void t_tree_expect(const struct br_tree *tree, const struct br_tree_store *store, const struct t_version *version)
{
    const uint64_t count = version->geometry.block_count;
    struct br_tree_reader *reader = NULL;
    struct br_hash leaves[37];
    uint64_t pages[37][BR_PAGES_PER_BLOCK];

    assert_int_equal(tree->geometry.size_bytes, version->geometry.size_bytes);
    assert_int_equal(br_tree_reader_open(tree, store, &reader, NULL), 0);
    for (uint64_t block = 0; block < count + 2; block += BR_ARRAY_LEN(leaves)) {
        assert_int_equal(br_tree_read(reader, block, BR_ARRAY_LEN(leaves), leaves, pages[0], NULL), 0);
        for (unsigned i = 0; i < BR_ARRAY_LEN(leaves); i++) {
            const struct br_hash *want = block + i < count ? &version->leaves[block + i] : &br_hash_zero;
            assert_memory_equal(&leaves[i], want, sizeof(*want));
            if (version->pages && block + i < count) {
                assert_memory_equal(pages[i], version->pages[block + i], sizeof(pages[i]));
            }
        }
    }
    br_tree_reader_close(reader);
}
