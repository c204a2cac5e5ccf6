// SPDX-License-Identifier: Apache-2.0
//
// The rules of a delta's records in one place, so that whoever makes, carries, reads or applies one asks the same questions.
#include "engine/codec/delta.h"

#include <inttypes.h>

uint32_t br_page_bytes(const struct br_tree_geometry *geometry, uint64_t index, unsigned page)
{
    uint64_t start;

    if (page >= BR_PAGES_PER_BLOCK || index >= geometry->block_count) {
        return 0;
    }
    start = index * BR_BLOCK_BYTES + (uint64_t)page * BR_PAGE_BYTES;
    if (start >= geometry->size_bytes) {
        return 0;
    }
    return (uint32_t)BR_MIN(geometry->size_bytes - start, (uint64_t)BR_PAGE_BYTES);
}

uint16_t br_block_pages(const struct br_tree_geometry *geometry, uint64_t index)
{
    if (index >= geometry->block_count) {
        return 0;
    }
    uint64_t pages = br_div_up(geometry->size_bytes - index * BR_BLOCK_BYTES, BR_PAGE_BYTES);
    return pages >= BR_PAGES_PER_BLOCK ? 0xffff : (uint16_t)((1u << pages) - 1);
}

// The bytes of those pages of a block: all but the volume's very last page are whole.
static uint32_t mask_bytes(const struct br_tree_geometry *geometry, uint64_t index, uint16_t mask)
{
    uint32_t bytes = (uint32_t)__builtin_popcount(mask) * BR_PAGE_BYTES;
    unsigned last = mask ? 31u - (unsigned)__builtin_clz(mask) : 0;

    return mask ? bytes - BR_PAGE_BYTES + br_page_bytes(geometry, index, last) : 0;
}

size_t br_block_data_bytes(const struct br_batch_block *block, const struct br_tree_geometry *geometry)
{
    return mask_bytes(geometry, block->index, block->pages);
}

static int check_block(const struct br_batch_block *block, const struct br_tree_geometry *geometry,
                       struct br_err *reterr)
{
    uint16_t there = br_block_pages(geometry, block->index);

    if (block->index >= geometry->block_count) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "block %" PRIu64 " lies behind the end of a volume of %" PRIu64 " blocks", block->index,
                          geometry->block_count);
    }
    if ((block->pages | block->zeros) & ~there) {
        return br_err_set(reterr, BR_E_CORRUPT, "block %" PRIu64 " names pages behind the end of the volume",
                          block->index);
    }
    if (block->pages & block->zeros) {
        return br_err_set(reterr, BR_E_CORRUPT, "block %" PRIu64 " has pages that are both data and zeros",
                          block->index);
    }
    if (br_hash_equal(&block->leaf, &br_hash_unknown) || br_hash_equal(&block->leaf, &br_hash_unreadable)) {
        return br_err_set(reterr, BR_E_CORRUPT, "block %" PRIu64 " comes without the leaf of its content",
                          block->index);
    }
    return 0;
}

int br_batch_check(const struct br_batch *batch, const struct br_tree_geometry *geometry, struct br_err *reterr)
{
    size_t bytes = 0;

    if (batch->block_count < 1 || batch->block_count > BR_BATCH_BLOCKS_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "a batch of %u blocks; 1 to %u are allowed", batch->block_count,
                          BR_BATCH_BLOCKS_MAX);
    }
    for (unsigned i = 0; i < batch->block_count; i++) {
        const struct br_batch_block *block = &batch->blocks[i];
        int rc = check_block(block, geometry, reterr);
        if (rc < 0) {
            return rc;
        }
        if (i && block->index <= batch->blocks[i - 1].index) {
            return br_err_set(reterr, BR_E_CORRUPT, "block %" PRIu64 " comes after block %" PRIu64, block->index,
                              batch->blocks[i - 1].index);
        }
        bytes += mask_bytes(geometry, block->index, block->pages);
    }
    if (bytes != batch->data_bytes) {
        return br_err_set(reterr, BR_E_CORRUPT, "a batch has %zu bytes of data where its pages call for %zu",
                          batch->data_bytes, bytes);
    }
    return 0;
}

int br_keep_check(const struct br_keep *keep, const struct br_tree_geometry *geometry, struct br_err *reterr)
{
    if (keep->count < 1 || keep->count > BR_BATCH_BLOCKS_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "%u blocks to keep at once; 1 to %u are allowed", keep->count,
                          BR_BATCH_BLOCKS_MAX);
    }
    for (unsigned i = 0; i < keep->count; i++) {
        const struct br_held_block *block = &keep->blocks[i];
        if (block->index >= geometry->block_count) {
            return br_err_set(reterr, BR_E_CORRUPT,
                              "block %" PRIu64 " is to be kept behind the end of a volume of %" PRIu64 " blocks",
                              block->index, geometry->block_count);
        }
        if (i && block->index <= keep->blocks[i - 1].index) {
            return br_err_set(reterr, BR_E_CORRUPT, "block %" PRIu64 " is to be kept after block %" PRIu64,
                              block->index, keep->blocks[i - 1].index);
        }
        if (br_leaf_is_special(&block->leaf)) {
            return br_err_set(reterr, BR_E_CORRUPT, "block %" PRIu64 " is to be kept without the leaf of its content",
                              block->index);
        }
    }
    return 0;
}

int br_run_check(const struct br_run *run, const struct br_tree_geometry *geometry, struct br_err *reterr)
{
    if (run->kind != BR_RUN_ZERO && run->kind != BR_RUN_DISCARD && run->kind != BR_RUN_UNREADABLE) {
        return br_err_set(reterr, BR_E_CORRUPT, "a run of unknown kind %u", (unsigned)run->kind);
    }
    if (!run->count || !br_range_ok(run->first, run->count, geometry->block_count)) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "a run of %" PRIu64 " blocks from block %" PRIu64 " in a volume of %" PRIu64 " blocks",
                          run->count, run->first, geometry->block_count);
    }
    return 0;
}

static const char *bad_parent(const struct br_delta_header *header)
{
    bool root = !br_hash_equal(&header->parent_root, &br_hash_zero);
    bool id = !br_uuid_is_nil(&header->generation.parent_id);

    if (header->full) {
        return root || id || header->parent_size_bytes ? "full, and yet with a parent" : NULL;
    }
    if (!root || !id) {
        return "neither full nor with a parent";
    }
    return header->parent_size_bytes > BR_VOLUME_BYTES_MAX ? "parent larger than any volume" : NULL;
}

int br_delta_header_check(const struct br_delta_header *header, struct br_err *reterr)
{
    const char *bad = bad_parent(header);

    if (br_uuid_is_nil(&header->stream_id) || br_uuid_is_nil(&header->volume) ||
        br_uuid_is_nil(&header->generation.id)) {
        bad = "stream, volume or generation without an id";
    } else if (header->size_bytes > BR_VOLUME_BYTES_MAX) {
        bad = "larger than any volume";
    } else if (header->sector_bytes < 512 || header->sector_bytes > BR_BLOCK_BYTES ||
               (header->sector_bytes & (header->sector_bytes - 1))) {
        bad = "sector size";
    } else if (header->consistency > BR_CONSISTENCY_CLEAN) {
        bad = "consistency";
    } else if (!memchr(header->label, 0, sizeof(header->label))) {
        bad = "label without an end";
    }
    if (bad) {
        return br_err_set(reterr, BR_E_CORRUPT, "delta header: %s", bad);
    }
    if (header->hash_id != BR_HASH_SHA256) {
        return br_err_set(reterr, BR_E_VERSION, "delta header: hash %u; this program knows 1 (SHA-256)",
                          header->hash_id);
    }
    return 0;
}

void br_delta_count_batch(struct br_delta_end *end, const struct br_batch *batch,
                          const struct br_tree_geometry *geometry)
{
    end->records++;
    end->data_bytes += batch->data_bytes;
    for (unsigned i = 0; i < batch->block_count; i++) {
        end->zero_bytes += mask_bytes(geometry, batch->blocks[i].index, batch->blocks[i].zeros);
    }
}

void br_delta_count_run(struct br_delta_end *end, const struct br_run *run, const struct br_tree_geometry *geometry)
{
    uint64_t start = run->first * BR_BLOCK_BYTES;

    end->records++;
    if (run->kind == BR_RUN_UNREADABLE) {
        end->unreadable_blocks += run->count;
    } else {
        end->zero_bytes += BR_MIN(run->count * BR_BLOCK_BYTES, geometry->size_bytes - start);
    }
}

bool br_delta_counts_equal(const struct br_delta_end *a, const struct br_delta_end *b)
{
    return a->data_bytes == b->data_bytes && a->zero_bytes == b->zero_bytes &&
           a->unreadable_blocks == b->unreadable_blocks && a->records == b->records;
}
