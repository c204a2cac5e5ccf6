// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/t_env.h"
#include "tests/lib/t_era.h"

#define BLOCK 4096u

static uint32_t crc32c(const uint8_t *bytes, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return crc;
}

uint8_t *t_era_block(const struct t_era *era, uint64_t number)
{
    assert_true(number < era->blocks);
    return era->bytes + number * BLOCK;
}

void t_era_seal(const struct t_era *era, uint64_t number)
{
    static const uint32_t xors[] = {[T_ERA_SUPERBLOCK] = 146538381,
                                    [T_ERA_NODE] = 121107,
                                    [T_ERA_ARRAY] = 595846735,
                                    [T_ERA_INDEX] = 160478,
                                    [T_ERA_BITMAP] = 240779};
    uint8_t *block = t_era_block(era, number);

    br_put_u32(block, crc32c(block + 4, BLOCK - 4) ^ xors[era->kinds[number]]);
}

uint64_t t_era_find(const struct t_era *era, enum t_era_kind kind, unsigned nth)
{
    for (uint64_t i = 0; i < era->blocks; i++) {
        if (era->kinds[i] == kind && !nth--) {
            return i;
        }
    }
    fail_msg("no such block");
    return 0;
}

// A free block, anywhere.
static uint64_t take(struct t_era *era, enum t_era_kind kind)
{
    struct t_rand r = {era->seed++};
    const uint64_t start = t_rand_below(&r, era->blocks);

    for (uint64_t i = 0; i < era->blocks; i++) {
        const uint64_t number = (start + i) % era->blocks;
        if (era->kinds[number] == T_ERA_FREE) {
            era->kinds[number] = kind;
            br_put_u64(t_era_block(era, number) + (kind == T_ERA_ARRAY ? 16 : 8), number);
            return number;
        }
    }
    fail_msg("metadata of %llu blocks is full", (unsigned long long)era->blocks);
    return 0;
}

// Trees: entries of (key, value), from the leaves up.
struct entry {
    uint64_t key;
    uint8_t value[12];
};

static uint64_t put_node(struct t_era *era, bool leaf, unsigned value_bytes, const struct entry *entries, size_t count)
{
    const uint64_t number = take(era, T_ERA_NODE);
    const unsigned most = (BLOCK - 32) / (8 + value_bytes) / 3 * 3;
    uint8_t *block = t_era_block(era, number);

    assert_true(count <= most);
    br_put_u32(block + 4, leaf ? 2 : 1);
    br_put_u32(block + 16, (uint32_t)count);
    br_put_u32(block + 20, most);
    br_put_u32(block + 24, value_bytes);
    for (size_t i = 0; i < count; i++) {
        br_put_u64(block + 32 + 8 * i, entries[i].key);
        memcpy(block + 32 + 8 * most + value_bytes * i, entries[i].value, value_bytes);
    }
    t_era_seal(era, number);
    return number;
}

// Returns the root; @entries are used up.
static uint64_t put_tree(struct t_era *era, unsigned value_bytes, struct entry *entries, size_t count)
{
    bool leaf = true;

    for (;;) {
        size_t parents = 0;
        uint64_t number = 0;
        for (size_t i = 0; i < count || i == 0; i += era->fanout) {
            const size_t n = count - i < era->fanout ? count - i : era->fanout;
            const uint64_t key = n ? entries[i].key : 0;
            number = put_node(era, leaf, leaf ? value_bytes : 8, entries + i, n);
            entries[parents].key = key;
            br_put_u64(entries[parents].value, number);
            parents++;
        }
        if (parents == 1) {
            return number;
        }
        count = parents;
        leaf = false;
    }
}

// An array of @count values that lie at @values.
static uint64_t put_array(struct t_era *era, unsigned value_bytes, const uint8_t *values, size_t count)
{
    const size_t most = (BLOCK - 24) / value_bytes, blocks = (count + most - 1) / most;
    struct entry *entries = calloc(blocks + 1, sizeof(*entries));

    assert_non_null(entries);
    for (size_t i = 0; i < blocks; i++) {
        const uint64_t number = take(era, T_ERA_ARRAY);
        const size_t n = count - i * most < most ? count - i * most : most;
        uint8_t *block = t_era_block(era, number);
        br_put_u32(block + 4, (uint32_t)most);
        br_put_u32(block + 8, (uint32_t)n);
        br_put_u32(block + 12, value_bytes);
        memcpy(block + 24, values + i * most * value_bytes, n * value_bytes);
        t_era_seal(era, number);
        entries[i].key = i;
        br_put_u64(entries[i].value, number);
    }
    const uint64_t root = put_tree(era, 8, entries, blocks);
    free(entries);
    return root;
}

static uint64_t put_writeset(struct t_era *era, const struct t_era_set *set)
{
    const size_t words = ((size_t)set->bits + 63) / 64;
    uint8_t *bits = calloc(words + 1, 8);

    assert_non_null(bits);
    for (uint32_t b = 0; b < set->bits; b++) {
        bits[b / 8] |= (uint8_t)((set->marks[b] ? 1 : 0) << b % 8); // little-endian words
    }
    const uint64_t root = put_array(era, 8, bits, words);
    free(bits);
    return root;
}

static void put_set(uint8_t *to, const struct t_era_set *set, uint64_t root)
{
    br_put_u32(to, set->bits);
    br_put_u64(to + 4, root);
}

// All of a superblock but its space map, which must know every other block.
static void put_superblock(struct t_era *era, uint64_t number, const struct t_era_view *view, uint64_t snap_block)
{
    uint8_t *block = t_era_block(era, number), *eras = calloc(view->blocks + 1, 4);
    struct entry *entries = calloc(view->set_count + 1, sizeof(*entries));

    assert_true(eras && entries);
    for (uint32_t b = 0; b < view->blocks; b++) {
        br_put_u32(eras + 4 * (size_t)b, view->eras[b]);
    }
    for (size_t i = 0; i < view->set_count; i++) {
        entries[i].key = view->sets[i].era;
        put_set(entries[i].value, &view->sets[i], put_writeset(era, &view->sets[i]));
    }
    br_put_u64(block + 8, number);
    br_put_u64(block + 32, 2126579579);
    br_put_u32(block + 40, 1);
    br_put_u32(block + 172, view->block_sectors);
    br_put_u32(block + 176, 8);
    br_put_u32(block + 180, view->blocks);
    br_put_u32(block + 184, view->current_era);
    if (view->current) {
        put_set(block + 188, view->current, put_writeset(era, view->current));
    }
    br_put_u64(block + 200, put_tree(era, 12, entries, view->set_count));
    br_put_u64(block + 208, put_array(era, 4, eras, view->blocks));
    br_put_u64(block + 216, snap_block);
    free(eras);
    free(entries);
}

static void put_space_map(struct t_era *era)
{
    uint8_t *root = t_era_block(era, 0) + 44;
    uint64_t bitmaps[8], count = (era->blocks + 16319) / 16320, used = 0;
    struct entry none;

    assert_true(count <= 8);
    const uint64_t index = take(era, T_ERA_INDEX), counts = put_tree(era, 4, &none, 0);
    for (uint64_t i = 0; i < count; i++) {
        bitmaps[i] = take(era, T_ERA_BITMAP);
        br_put_u64(t_era_block(era, index) + 16 + 16 * i, bitmaps[i]);
    }
    for (uint64_t b = 0; b < era->blocks; b++) { // a count of 1: the low bit, which comes second
        if (era->kinds[b] != T_ERA_FREE) {
            // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): set on every path that leads here
            t_era_block(era, bitmaps[b / 16320])[16 + b % 16320 / 4] |= (uint8_t)(2u << b % 4 * 2);
            used++;
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        t_era_seal(era, bitmaps[i]);
    }
    t_era_seal(era, index);
    br_put_u64(root, era->blocks);
    br_put_u64(root + 8, used);
    br_put_u64(root + 16, index);
    br_put_u64(root + 24, counts);
}

struct t_era t_era_build(uint64_t blocks, unsigned fanout, uint64_t seed, const struct t_era_view *live,
                         const struct t_era_view *snap)
{
    struct t_era era = {.bytes = calloc(blocks, BLOCK),
                        .blocks = blocks,
                        .fanout = fanout,
                        .seed = seed,
                        .kinds = calloc(blocks, sizeof(*era.kinds))};

    assert_true(era.bytes && era.kinds);
    era.kinds[0] = T_ERA_SUPERBLOCK;
    if (snap) {
        era.snap_block = take(&era, T_ERA_SUPERBLOCK);
        put_superblock(&era, era.snap_block, snap, 0);
        t_era_seal(&era, era.snap_block);
    }
    put_superblock(&era, 0, live, era.snap_block);
    put_space_map(&era);
    t_era_seal(&era, 0);
    return era;
}

void t_era_free(struct t_era *era)
{
    free(era->bytes);
    free(era->kinds);
    *era = (struct t_era){0};
}
