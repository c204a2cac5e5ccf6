// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_image.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

void t_image_resize(struct t_image *image, uint64_t size_bytes)
{
    image->bytes = realloc(image->bytes, size_bytes + 1);
    assert_non_null(image->bytes);
    if (size_bytes > image->size_bytes) {
        memset(image->bytes + image->size_bytes, 0, size_bytes - image->size_bytes);
    }
    *image = (struct t_image){.bytes = image->bytes, .size_bytes = size_bytes};
}

void t_image_batch(struct t_image *image, const struct br_batch *batch)
{
    struct br_tree_geometry geometry = t_geometry(image->size_bytes);
    const uint8_t *data = batch->data;
    struct br_err err;

    if (br_batch_check(batch, &geometry, &err)) {
        fail_msg("malformed batch: %s", err.text);
    }
    assert_true(batch->blocks[0].index >= image->next_block);
    for (unsigned b = 0; b < batch->block_count; b++) {
        const struct br_batch_block *block = &batch->blocks[b];
        uint8_t *at = image->bytes + block->index * BR_BLOCK_BYTES;
        struct br_hash leaf;

        for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
            uint32_t len = br_page_bytes(&geometry, block->index, p);

            if (block->pages >> p & 1) {
                memcpy(at + p * BR_PAGE_BYTES, data, len);
                data += len;
                image->data_bytes += len;
            } else if (block->zeros >> p & 1) {
                memset(at + p * BR_PAGE_BYTES, 0, len);
                image->zero_bytes += len;
            }
        }
        br_leaf_hash(at, br_block_bytes(&geometry, block->index), &leaf);
        assert_memory_equal(leaf.bytes, block->leaf.bytes, BR_HASH_BYTES);
        image->next_block = block->index + 1;
    }
    image->records++;
}

void t_image_run(struct t_image *image, const struct br_run *run)
{
    uint64_t from = run->first * BR_BLOCK_BYTES;
    uint64_t to = BR_MIN((run->first + run->count) * BR_BLOCK_BYTES, image->size_bytes);

    assert_true(run->count > 0 && run->first >= image->next_block);
    assert_true(from < image->size_bytes);
    if (run->kind == BR_RUN_UNREADABLE) {
        image->unreadable_blocks += run->count;
    } else {
        memset(image->bytes + from, 0, to - from);
        image->zero_bytes += to - from;
    }
    image->next_block = run->first + run->count;
    image->records++;
}

void t_image_keep(struct t_image *image, const struct br_keep *keep, const uint8_t *held)
{
    struct br_tree_geometry geometry = t_geometry(image->size_bytes);
    struct br_err err;

    if (br_keep_check(keep, &geometry, &err)) {
        fail_msg("malformed keep: %s", err.text);
    }
    assert_true(keep->blocks[0].index >= image->next_block);
    for (unsigned i = 0; i < keep->count; i++) {
        uint64_t at = keep->blocks[i].index * BR_BLOCK_BYTES;
        uint32_t len = br_block_bytes(&geometry, keep->blocks[i].index);
        struct br_hash leaf;

        br_leaf_hash(held + at, len, &leaf);
        assert_memory_equal(leaf.bytes, keep->blocks[i].leaf.bytes, BR_HASH_BYTES);
        memcpy(image->bytes + at, held + at, len);
        image->next_block = keep->blocks[i].index + 1;
    }
    image->kept_blocks += keep->count;
    image->records++;
}

void t_image_free(struct t_image *image)
{
    free(image->bytes);
    *image = (struct t_image){0};
}

struct br_tree t_tree_of(const uint8_t *bytes, uint64_t size_bytes, const uint8_t *secret,
                         const struct br_tree_store *store)
{
    struct br_tree_geometry geometry = t_geometry(size_bytes);
    struct br_tree_writer *writer;
    struct br_tree tree;

    br_tree_empty(&geometry, &br_hash_zero, &tree);
    assert_int_equal(0, br_tree_writer_open(&geometry, &tree, store, store, &writer, NULL));
    for (uint64_t i = 0; i < geometry.block_count; i++) {
        const uint8_t *block = bytes + i * BR_BLOCK_BYTES;
        uint64_t pages[BR_PAGES_PER_BLOCK] = {0};
        struct br_hash leaf;

        br_leaf_hash(block, br_block_bytes(&geometry, i), &leaf);
        for (unsigned p = 0; secret && p < BR_PAGES_PER_BLOCK && br_page_bytes(&geometry, i, p); p++) {
            pages[p] = br_page_hash(secret, block + p * BR_PAGE_BYTES, br_page_bytes(&geometry, i, p));
        }
        if (!br_hash_equal(&leaf, &br_hash_zero)) {
            assert_int_equal(0, br_tree_put(writer, i, &leaf, secret ? pages : NULL, NULL));
        }
    }
    assert_int_equal(0, br_tree_finish(writer, &tree, NULL));
    br_tree_writer_close(writer);
    return tree;
}
