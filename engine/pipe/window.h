// SPDX-License-Identifier: Apache-2.0
//
// The CPU stage of the pipeline: up to 16 blocks in one buffer, compared with the parent version and narrowed to the pages that differ.
// Pure: no ring, no store, so that workers run it and tests need nothing else.
//
//     read        [b0 ..........][hole][b2 ..........][b3 ..........]
//     compare       2 pages        zero   same           whole
//     compacted   [p3][p9][b3 ..........]                              data of the batches, in place, nothing copied twice
//
// Pages are told apart by their hashes. Where these are not known and the parent's data can still be read, the comparison stops half way
// and says which blocks it wants.
#ifndef BR_PIPE_WINDOW_H
#define BR_PIPE_WINDOW_H

#include "engine/codec/delta.h"

// What becomes of a block.
enum br_block_fate {
    BR_BLOCK_SAME,       // as in the parent
    BR_BLOCK_LEARNED,    // as in the parent, whose page hashes were not all known: they are now
    BR_BLOCK_DATA,       // some of its pages ship
    BR_BLOCK_ZERO,       // became zeros
    BR_BLOCK_UNREADABLE, // became unreadable
};

struct br_window {
    const struct br_tree_geometry *geometry; // of the result
    const uint8_t *secret;                   // BR_PAGE_SECRET_BYTES
    uint64_t first;
    unsigned count;      // 1..16 blocks
    uint16_t considered; // bit i: block first + i is compared; the rest is left as the parent has it
    uint16_t data;       // bit i: its content lies in buffer at i x BR_BLOCK_BYTES; not set: zeros
    uint16_t unreadable; // bit i: it could not be read
    uint8_t *buffer;     // BR_BATCH_DATA_MAX

    struct br_hash old_leaves[BR_BATCH_BLOCKS_MAX];
    uint64_t old_pages[BR_BATCH_BLOCKS_MAX * BR_PAGES_PER_BLOCK]; // 0: not known
    uint16_t old_at_hand; // bit i: what the block held in the parent can be asked for, and it had the same length
    struct br_hash held[BR_BATCH_BLOCKS_MAX]; // the content that the far end holds of the block; UNKNOWN: none

    // What br_window_compare() finds.
    enum br_block_fate fates[BR_BATCH_BLOCKS_MAX];
    struct br_hash leaves[BR_BATCH_BLOCKS_MAX];
    uint64_t pages[BR_BATCH_BLOCKS_MAX * BR_PAGES_PER_BLOCK];
    uint16_t ship_masks[BR_BATCH_BLOCKS_MAX];
    uint16_t zero_masks[BR_BATCH_BLOCKS_MAX];
    uint16_t wanted;    // bit i: DATA whose pages only the old data can tell apart
    uint16_t kept;      // bit i: DATA that the far end holds; its masks are empty
    size_t data_offset; // where the first shipped page lies in buffer after compaction; the rest follows without gaps
    uint64_t bytes_shipped; // sum of the shipped pages
    uint64_t bytes_kept;    // sum of what would be shipped of the kept ones
    uint64_t bytes_same;    // of blocks that are as in the parent and no special leaf
    uint64_t bytes_changed; // shipped and kept pages, pages and known blocks that became zeros
    uint64_t zero_bytes;    // pages and blocks that became zeros
};

/**
 * br_window_compare - fills in the fates and moves the shipped pages together; thread safe for different windows
 * When it leaves blocks `wanted`, only fates and leaves are there: br_window_settle() does the rest.
 */
void br_window_compare(struct br_window *window);
/**
 * br_window_settle - end a comparison that wants old data
 * @old       BR_BATCH_DATA_MAX; not looked at where @readable has no bit
 * @readable  bit i: wanted, and what is thought to be its old data lies in @old at i x BR_BLOCK_BYTES
 * Old data whose hash is not the parent's leaf is not used, and the block ships as without: whole, but for the pages whose hash is known.
 */
void br_window_settle(struct br_window *window, const uint8_t *old, uint16_t readable);
/** br_window_ship_bytes - length of block @i's shipped pages */
size_t br_window_ship_bytes(const struct br_window *window, unsigned i);

#endif
