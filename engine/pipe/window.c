// SPDX-License-Identifier: Apache-2.0
#include "engine/pipe/window.h"

static void br_window_hash_pages(const struct br_window *w, unsigned i, const uint8_t *block, uint64_t *pages)
{
    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        uint32_t len = br_page_bytes(w->geometry, w->first + i, p);

        pages[p] = len ? br_page_hash(w->secret, block + (size_t)p * BR_PAGE_BYTES, len) : 0;
    }
}

static bool br_window_pages_known(const struct br_window *w, unsigned i)
{
    uint16_t mask = br_block_pages(w->geometry, w->first + i);

    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        if ((mask >> p & 1) && !w->old_pages[i * BR_PAGES_PER_BLOCK + p]) {
            return false;
        }
    }
    return true;
}

// Which pages of a block with new data ship and which became zeros. A parent of zeros needs only what is not zero; of a parent whose
// content isn't known everything is told; else the page hashes decide.
static void br_window_narrow(struct br_window *w, unsigned i)
{
    const uint8_t *block = w->buffer + (size_t)i * BR_BLOCK_BYTES;
    bool old_zero = br_hash_equal(&w->old_leaves[i], &br_hash_zero);
    bool old_special = br_leaf_is_special(&w->old_leaves[i]);
    uint16_t all = br_block_pages(w->geometry, w->first + i);
    uint16_t ship = 0;
    uint16_t zeros = 0;

    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        size_t at = i * BR_PAGES_PER_BLOCK + p;

        if (!(all >> p & 1) || (!old_special && w->old_pages[at] && w->old_pages[at] == w->pages[at])) {
            continue;
        }
        if (!br_is_zero(block + (size_t)p * BR_PAGE_BYTES, br_page_bytes(w->geometry, w->first + i, p))) {
            ship |= (uint16_t)(1u << p);
        } else if (!old_zero) {
            zeros |= (uint16_t)(1u << p);
        }
    }
    // The leaf differs and no page does: the page hashes are wrong. They are only a cache; the leaf is the truth.
    if (!(ship | zeros)) {
        ship = all;
    }
    w->ship_masks[i] = ship;
    w->zero_masks[i] = zeros;
}

static enum br_block_fate br_window_fate(struct br_window *w, unsigned i)
{
    uint32_t len = br_block_bytes(w->geometry, w->first + i);

    if (w->unreadable >> i & 1) {
        w->leaves[i] = br_hash_unreadable;
    } else if (w->data >> i & 1) {
        br_leaf_hash(w->buffer + (size_t)i * BR_BLOCK_BYTES, len, &w->leaves[i]);
    } else {
        w->leaves[i] = br_hash_zero;
    }
    bool special = br_leaf_is_special(&w->leaves[i]);
    bool same = br_hash_equal(&w->leaves[i], &w->old_leaves[i]);
    if (same && (special || br_window_pages_known(w, i))) {
        return BR_BLOCK_SAME;
    }
    if (special) {
        return w->unreadable >> i & 1 ? BR_BLOCK_UNREADABLE : BR_BLOCK_ZERO;
    }
    br_window_hash_pages(w, i, w->buffer + (size_t)i * BR_BLOCK_BYTES, w->pages + (size_t)i * BR_PAGES_PER_BLOCK);
    return same ? BR_BLOCK_LEARNED : BR_BLOCK_DATA;
}

// Would the old data make less of the block ship?
static bool br_window_wants(const struct br_window *w, unsigned i)
{
    return w->fates[i] == BR_BLOCK_DATA && (w->old_at_hand >> i & 1) && !br_leaf_is_special(&w->old_leaves[i]) &&
           !br_hash_equal(&w->held[i], &w->leaves[i]) && !br_window_pages_known(w, i);
}

static uint64_t br_window_mask_bytes(const struct br_window *w, unsigned i, uint16_t mask)
{
    uint64_t bytes = 0;

    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        if (mask >> p & 1) {
            bytes += br_page_bytes(w->geometry, w->first + i, p);
        }
    }
    return bytes;
}

size_t br_window_ship_bytes(const struct br_window *w, unsigned i)
{
    return (size_t)br_window_mask_bytes(w, i, w->ship_masks[i]);
}

// Ascending, so a page only moves down onto what was already taken or does not ship.
static void br_window_compact(struct br_window *w)
{
    size_t to = SIZE_MAX;

    for (unsigned i = 0; i < w->count; i++) {
        for (unsigned p = 0; w->ship_masks[i] && p < BR_PAGES_PER_BLOCK; p++) {
            if (!(w->ship_masks[i] >> p & 1)) {
                continue;
            }
            size_t from = (size_t)i * BR_BLOCK_BYTES + (size_t)p * BR_PAGE_BYTES;
            uint32_t len = br_page_bytes(w->geometry, w->first + i, p);

            if (to == SIZE_MAX) {
                w->data_offset = to = from;
            }
            if (to != from) {
                memcpy(w->buffer + to, w->buffer + from, len);
            }
            to += len;
        }
    }
}

// Counts a block with new data, and leaves it out of what ships when the far end holds just that.
static void br_window_take_data(struct br_window *w, unsigned i)
{
    uint64_t ship = br_window_ship_bytes(w, i), zeros = br_window_mask_bytes(w, i, w->zero_masks[i]);

    w->zero_bytes += zeros;
    w->bytes_changed += zeros + ship;
    if (!br_hash_equal(&w->held[i], &w->leaves[i])) {
        w->bytes_shipped += ship;
        return;
    }
    w->bytes_kept += ship;
    w->kept |= (uint16_t)(1u << i);
    w->ship_masks[i] = w->zero_masks[i] = 0;
}

// With all that can be known of the old pages: what ships, and what it comes to.
static void br_window_take(struct br_window *w)
{
    w->bytes_shipped = w->bytes_kept = w->bytes_same = w->bytes_changed = w->zero_bytes = 0;
    w->data_offset = 0;
    w->kept = 0;
    for (unsigned i = 0; i < w->count; i++) {
        uint32_t len = br_block_bytes(w->geometry, w->first + i);

        w->ship_masks[i] = w->zero_masks[i] = 0;
        if (!(w->considered >> i & 1)) {
            continue;
        }
        switch (w->fates[i]) {
        case BR_BLOCK_DATA:
            br_window_narrow(w, i);
            br_window_take_data(w, i);
            break;
        case BR_BLOCK_ZERO:
            w->zero_bytes += len;
            w->bytes_changed += br_leaf_is_special(&w->old_leaves[i]) ? 0 : len;
            break;
        case BR_BLOCK_SAME:
        case BR_BLOCK_LEARNED: w->bytes_same += br_leaf_is_special(&w->leaves[i]) ? 0 : len; break;
        case BR_BLOCK_UNREADABLE: break;
        }
    }
    br_window_compact(w);
}

void br_window_compare(struct br_window *w)
{
    w->wanted = 0;
    for (unsigned i = 0; i < w->count; i++) {
        w->fates[i] = w->considered >> i & 1 ? br_window_fate(w, i) : BR_BLOCK_SAME;
        w->wanted |= br_window_wants(w, i) ? (uint16_t)(1u << i) : 0;
    }
    if (!w->wanted) {
        br_window_take(w);
    }
}

void br_window_settle(struct br_window *w, const uint8_t *old, uint16_t readable)
{
    for (unsigned i = 0; i < w->count; i++) {
        struct br_hash leaf;

        if (!(w->wanted & readable & (uint16_t)(1u << i))) {
            continue;
        }
        const uint8_t *block = old + (size_t)i * BR_BLOCK_BYTES;
        br_leaf_hash(block, br_block_bytes(w->geometry, w->first + i), &leaf);
        if (br_hash_equal(&leaf, &w->old_leaves[i])) {
            br_window_hash_pages(w, i, block, w->old_pages + (size_t)i * BR_PAGES_PER_BLOCK);
        }
    }
    br_window_take(w);
}
