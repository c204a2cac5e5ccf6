// SPDX-License-Identifier: Apache-2.0
//
// Random programs on version trees agree with a flat array of leaves: versions are written over parents of other sizes, in the same
// store and in another, with puts, fills and checkpoints; then reads, roots, differences, searches and copies are compared.
// The root must not depend on how a version came about, so each is built again from nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/t_env.h"
#include "tests/lib/t_tree.h"

static const struct br_hash *special(struct t_rand *r)
{
    const struct br_hash *const all[] = {&br_hash_zero, &br_hash_unreadable, &br_hash_unknown};
    return all[t_rand_below(r, 3)];
}

// Sizes around the borders of blocks and levels, up to a few level 2 nodes.
static uint64_t random_size(struct t_rand *r)
{
    static const uint64_t borders[] = {0, 1, 2, 255, 256, 257, 300, 512, 1000, 65535, 65536, 65537, 70000};
    uint64_t blocks = borders[t_rand_below(r, t_rand_below(r, 8) ? 9 : BR_ARRAY_LEN(borders))];
    uint64_t size = blocks * BR_BLOCK_BYTES;

    switch (t_rand_below(r, 3)) {
    case 0: return size + t_rand_below(r, 2 * BR_BLOCK_BYTES);
    case 1: return size ? size - t_rand_below(r, BR_BLOCK_BYTES) : 0;
    default: return size;
    }
}

static void random_pages(struct t_rand *r, uint64_t pages[BR_PAGES_PER_BLOCK])
{
    for (unsigned i = 0; i < BR_PAGES_PER_BLOCK; i++) {
        pages[i] = t_rand_below(r, 4) ? t_rand_next(r) : 0;
    }
}

// The model of br_tree_put(): what is known of a block whose leaf stays is kept.
static void model_put(struct t_version *model, uint64_t block, const struct br_hash *leaf, const uint64_t *pages)
{
    const bool is_special = br_is_zero(leaf, BR_HASH_BYTES - 1);

    if (!br_hash_equal(&model->leaves[block], leaf)) {
        memset(model->pages[block], 0, sizeof(model->pages[block]));
    }
    model->leaves[block] = *leaf;
    for (unsigned i = 0; pages && !is_special && i < BR_PAGES_PER_BLOCK; i++) {
        model->pages[block][i] = pages[i] ? pages[i] : model->pages[block][i];
    }
}

// One version's model as the next one's, cut or grown; the tail rule of br_tree_writer_open().
static void model_resize(const struct t_version *parent, uint64_t size_bytes, struct t_version *ret_model)
{
    t_version_new(ret_model, size_bytes, true);
    const uint64_t common = BR_MIN(parent->geometry.block_count, ret_model->geometry.block_count);
    memcpy(ret_model->leaves, parent->leaves, common * sizeof(*parent->leaves));
    memcpy(ret_model->pages, parent->pages, common * sizeof(*parent->pages));
    if (common && br_block_bytes(&parent->geometry, common - 1) != br_block_bytes(&ret_model->geometry, common - 1) &&
        !br_hash_equal(&parent->leaves[common - 1], &br_hash_zero)) {
        ret_model->leaves[common - 1] = br_hash_unknown;
        memset(ret_model->pages[common - 1], 0, sizeof(*ret_model->pages));
    }
}

static void checkpoint(struct br_tree_writer *writer, const struct br_tree_store *store, const struct t_version *model)
{
    struct br_tree tree;

    assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
    t_tree_expect(&tree, store, model);
}

static void random_program(struct t_rand *r, struct br_tree_writer *writer, const struct br_tree_store *store,
                           struct t_version *model)
{
    const uint64_t count = model->geometry.block_count;
    const uint64_t dense = t_rand_below(r, 3) ? 1 + count / 8 : 3;

    for (uint64_t block = t_rand_below(r, dense); block < count; block += t_rand_below(r, dense)) {
        const uint64_t kind = t_rand_below(r, 16);
        if (kind < 4) {
            const struct br_hash *leaf = special(r);
            uint64_t run =
                1 + t_rand_below(r, t_rand_below(r, 2) ? count - block : BR_MIN(count - block, UINT64_C(600)));
            if (kind == 0) {
                run = count - block;
            }
            assert_int_equal(br_tree_fill(writer, block, run, leaf, NULL), 0);
            for (; run; run--, block++) {
                model_put(model, block, leaf, NULL);
            }
        } else {
            uint64_t pages[BR_PAGES_PER_BLOCK];
            const struct br_hash leaf = kind == 4  ? *special(r)
                                        : kind < 8 ? model->leaves[block]
                                                   : t_leaf(t_rand_below(r, 1000));
            random_pages(r, pages);
            assert_int_equal(br_tree_put(writer, block, &leaf, kind % 2 ? pages : NULL, NULL), 0);
            model_put(model, block, &leaf, kind % 2 ? pages : NULL);
            block++;
        }
        if (!t_rand_below(r, count > 2000 ? 60000 : 200)) {
            checkpoint(writer, store, model);
        }
    }
}

struct expected_diff {
    const struct t_version *sides[2];
    uint64_t next;
};

static const struct br_hash *model_leaf(const struct t_version *model, uint64_t block)
{
    return block < model->geometry.block_count ? &model->leaves[block] : &br_hash_zero;
}

// The first block at or after @block that differs.
static uint64_t next_difference(const struct expected_diff *expected, uint64_t block)
{
    const uint64_t count = BR_MAX(expected->sides[0]->geometry.block_count, expected->sides[1]->geometry.block_count);
    while (block < count &&
           br_hash_equal(model_leaf(expected->sides[0], block), model_leaf(expected->sides[1], block))) {
        block++;
    }
    return block;
}

static int take_difference(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    struct expected_diff *expected = ctx;

    assert_int_equal(block, next_difference(expected, expected->next));
    assert_memory_equal(old_leaf, model_leaf(expected->sides[0], block), sizeof(*old_leaf));
    assert_memory_equal(new_leaf, model_leaf(expected->sides[1], block), sizeof(*new_leaf));
    expected->next = block + 1;
    return 0;
}

static void check_diff(const struct br_tree *old_tree, const struct br_tree_store *old_store,
                       const struct t_version *old_model, const struct br_tree *new_tree,
                       const struct br_tree_store *new_store, const struct t_version *new_model)
{
    struct expected_diff expected = {.sides = {old_model, new_model}};

    assert_int_equal(br_tree_diff(old_tree, old_store, new_tree, new_store, take_difference, &expected, NULL), 0);
    assert_int_equal(next_difference(&expected, expected.next),
                     BR_MAX(old_model->geometry.block_count, new_model->geometry.block_count));
}

static void check_searches(struct t_rand *r, const struct br_tree *tree, const struct br_tree_store *store,
                           const struct t_version *model)
{
    struct br_tree_reader *reader = NULL;
    const uint64_t count = model->geometry.block_count;

    assert_int_equal(br_tree_reader_open(tree, store, &reader, NULL), 0);
    for (unsigned i = 0; i < 30; i++) {
        const struct br_hash *skip = special(r);
        uint64_t from = t_rand_below(r, count + 3), want = from, got = 0;
        while (want < count && br_hash_equal(&model->leaves[want], skip)) {
            want++;
        }
        assert_int_equal(br_tree_next_not(reader, from, skip, &got, NULL), 0);
        assert_int_equal(got, BR_MIN(want, count));
        for (want = from; want < count && !br_hash_equal(&model->leaves[want], skip);) {
            want++;
        }
        assert_int_equal(br_tree_next_is(reader, from, skip, &got, NULL), 0);
        assert_int_equal(got, BR_MIN(want, count));
    }
    br_tree_reader_close(reader);
}

static void check_independence(const struct br_tree *tree, const struct t_version *model)
{
    struct t_store memory = {0};
    const struct br_tree_store store = t_store_ops(&memory);
    struct br_hash roots[2];
    struct br_tree scratch;

    t_tree_build(model, &store, &scratch);
    br_tree_root(tree, &roots[0]);
    br_tree_root(&scratch, &roots[1]);
    assert_memory_equal(&roots[0], &roots[1], sizeof(roots[0]));
    t_store_free(&memory);
}

static void check_copy(const struct br_tree *tree, struct br_tree_store *store, struct t_version *model, bool keep)
{
    struct t_store memory = {0};
    const struct br_tree_store to = t_store_ops(&memory);
    struct br_tree copied;

    assert_int_equal(br_tree_copy(tree, br_tree_store_fetch_many, store, &to, keep, &copied, NULL), 0);
    if (!keep) {
        memset(model->pages, 0, model->geometry.block_count * sizeof(*model->pages));
    }
    t_tree_expect(&copied, &to, model);
    t_store_free(&memory);
}

// The first version is one special leaf all over, without a node; each next one changes the one before.
static void one_history(uint64_t round)
{
    struct t_rand r = t_rand_seeded(t_seed(), round);
    struct t_store memory[2] = {{0}};
    struct br_tree_store stores[2] = {t_store_ops(&memory[0]), t_store_ops(&memory[1])};
    struct t_version models[2];
    struct br_tree trees[2];
    unsigned at = 0;

    t_version_new(&models[0], random_size(&r), true);
    const struct br_hash *fresh = special(&r);
    for (uint64_t block = 0; block < models[0].geometry.block_count; block++) {
        models[0].leaves[block] = *fresh;
    }
    br_tree_empty(&models[0].geometry, fresh, &trees[0]);
    for (uint64_t generation = 1 + t_rand_below(&r, 4); generation; generation--) {
        struct br_tree_writer *writer = NULL;
        const unsigned to = t_rand_below(&r, 4) ? at : !at;
        const uint64_t size = t_rand_below(&r, 2) ? models[0].geometry.size_bytes : random_size(&r);
        model_resize(&models[0], size, &models[1]);
        assert_int_equal(br_tree_writer_open(&models[1].geometry, &trees[0], &stores[at], &stores[to], &writer, NULL),
                         0);
        if (t_rand_below(&r, 8)) {
            random_program(&r, writer, &stores[to], &models[1]);
        }
        assert_int_equal(br_tree_finish(writer, &trees[1], NULL), 0);
        br_tree_writer_close(writer);
        t_tree_expect(&trees[1], &stores[to], &models[1]);
        check_independence(&trees[1], &models[1]);
        check_diff(&trees[0], &stores[at], &models[0], &trees[1], &stores[to], &models[1]);
        check_diff(&trees[1], &stores[to], &models[1], &trees[0], &stores[at], &models[0]);
        check_searches(&r, &trees[1], &stores[to], &models[1]);
        t_version_free(&models[0]);
        models[0] = models[1];
        trees[0] = trees[1];
        at = to;
    }
    check_copy(&trees[0], &stores[at], &models[0], true);
    check_copy(&trees[0], &stores[at], &models[0], false);
    t_version_free(&models[0]);
    t_store_free(&memory[0]);
    t_store_free(&memory[1]);
}

static void trees_agree_with_a_flat_array_through_any_history(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(250); round++) {
        one_history(round);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(trees_agree_with_a_flat_array_through_any_history)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
