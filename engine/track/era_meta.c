// SPDX-License-Identifier: Apache-2.0
#include "engine/track/era_meta.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/track/pdata_file.h"

#define WORD_BITS     64u
#define LOOK_AGAIN_NS UINT64_C(2000000)

struct br_era_meta {
    struct br_pdata_file pdata;
    bool use_snap;
    uint64_t settle_ns;
    struct br_era_superblock live; // superblock 0, as it was when it was opened
    struct br_era_superblock view; // what is read: live, or the metadata snapshot
    uint8_t live_bytes[BR_PDATA_BLOCK_BYTES];
};

// Superblocks -------------------------------------------------------------------------------------------------------------------------

// Block 0 may be in the middle of being written.
static int read_live(struct br_era_meta *meta, uint8_t *ret_bytes, struct br_era_superblock *ret_superblock,
                     struct br_err *reterr)
{
    struct br_ring *ring = br_file_ring(meta->pdata.fresh.file);
    const uint64_t begun_ns = br_ring_now_ns(ring);
    const uint8_t *block;
    struct br_err err = {0};
    int rc;

    for (;;) {
        rc = br_pdata_file_block(&meta->pdata, 0, &block, &err);
        if (rc == 0) {
            memcpy(ret_bytes, block, BR_PDATA_BLOCK_BYTES);
            rc = br_era_superblock_decode(block, 0, ret_superblock, &err);
        }
        if (rc != -BR_E_CORRUPT || br_ring_now_ns(ring) - begun_ns >= meta->settle_ns) {
            break;
        }
        br_ring_sleep(ring, LOOK_AGAIN_NS);
    }
    if (rc < 0 && reterr) {
        *reterr = err;
    }
    return rc;
}

static int read_snap(struct br_era_meta *meta, struct br_err *reterr)
{
    const uint8_t *block;

    if (!meta->live.snap_block) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "dm-era metadata: no metadata snapshot is held");
    }
    int rc = br_pdata_file_block(&meta->pdata, meta->live.snap_block, &block, reterr);
    return rc < 0 ? rc : br_era_superblock_decode(block, meta->live.snap_block, &meta->view, reterr);
}

static int check_view(const struct br_era_meta *meta, uint32_t kernel_era, struct br_err *reterr)
{
    const struct br_era_superblock *view = &meta->view;

    if (meta->live.current_era < kernel_era) {
        return br_err_at(reterr, BR_E_CORRUPT, 0,
                         "dm-era metadata: the kernel is in era %" PRIu32 ", the superblock in %" PRIu32, kernel_era,
                         meta->live.current_era);
    }
    if (view->current_era > meta->live.current_era || view->block_bytes != meta->live.block_bytes) {
        return br_err_at(reterr, BR_E_CORRUPT, view->block * BR_PDATA_BLOCK_BYTES,
                         "dm-era metadata: the metadata snapshot is not of this superblock");
    }
    return 0;
}

int br_era_meta_open(const struct br_era_meta_params *params, struct br_era_meta **ret_meta, struct br_err *reterr)
{
    struct br_era_meta *meta = calloc(1, sizeof(*meta));

    if (!meta) {
        return br_err_set(reterr, BR_E_NOMEM, "reading dm-era metadata");
    }
    meta->use_snap = params->use_snap;
    meta->settle_ns = params->settle_ns;
    int rc = br_pdata_file_open(params->file, params->meta_bytes, &meta->pdata, reterr);
    if (rc == 0) {
        rc = read_live(meta, meta->live_bytes, &meta->live, reterr);
    }
    if (rc == 0) {
        meta->view = meta->live;
        rc = params->use_snap ? read_snap(meta, reterr) : 0;
    }
    if (rc == 0) {
        rc = check_view(meta, params->kernel_era, reterr);
    }
    if (rc < 0) {
        br_era_meta_close(meta);
        return rc;
    }
    *ret_meta = meta;
    return 0;
}

void br_era_meta_close(struct br_era_meta *meta)
{
    if (meta) {
        br_pdata_file_close(&meta->pdata);
        free(meta);
    }
}

const struct br_era_superblock *br_era_meta_superblock(const struct br_era_meta *meta)
{
    return &meta->view;
}

// What the view hangs on must not have moved: without a snapshot the whole superblock, with one the block that it is in.
static int check_unmoved(struct br_era_meta *meta, struct br_err *reterr)
{
    uint8_t bytes[BR_PDATA_BLOCK_BYTES];
    struct br_era_superblock now;
    const int rc = read_live(meta, bytes, &now, reterr);

    if (rc < 0) {
        return rc;
    }
    if (!meta->use_snap && memcmp(bytes, meta->live_bytes, BR_PDATA_BLOCK_BYTES)) {
        return br_err_at(reterr, BR_E_BUSY, 0,
                         "dm-era metadata: the kernel changed it while it was read without a metadata snapshot");
    }
    // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): set on every path that leads here
    if (meta->use_snap && now.snap_block != meta->live.snap_block) {
        return br_err_at(reterr, BR_E_BUSY, 0, "dm-era metadata: the metadata snapshot was dropped while it was read");
    }
    return 0;
}

// Writesets ---------------------------------------------------------------------------------------------------------------------------

struct writesets {
    const struct br_era_superblock *view;
    uint32_t since_era;
    struct br_era_writeset *items;
    size_t count;
    size_t capacity;
};

static int add_writeset(struct writesets *sets, const struct br_era_writeset *set, struct br_err *reterr)
{
    if (sets->count == sets->capacity) {
        const size_t capacity = BR_MAX(sets->capacity * 2, (size_t)64);
        struct br_era_writeset *items = realloc(sets->items, capacity * sizeof(*items));
        if (!items) {
            return br_err_set(reterr, BR_E_NOMEM, "dm-era metadata: more than %zu writesets", sets->count);
        }
        sets->items = items;
        sets->capacity = capacity;
    }
    sets->items[sets->count++] = *set;
    return 0;
}

static int take_writesets(void *ctx, const struct br_pdata_node *leaf, struct br_err *reterr)
{
    struct writesets *sets = ctx;
    int rc = 0;

    for (unsigned i = 0; i < leaf->entries && rc == 0; i++) {
        const uint64_t era = br_pdata_node_key(leaf, i);
        const struct br_era_writeset set = br_era_writeset_decode(era, br_pdata_node_value(leaf, i));
        if (!era || era > sets->view->current_era) {
            rc = br_err_set(reterr, BR_E_CORRUPT,
                            "dm-era metadata: a writeset of era %" PRIu64 ", the current era is %" PRIu32, era,
                            sets->view->current_era);
        } else if (era >= sets->since_era) {
            rc = add_writeset(sets, &set, reterr);
        }
    }
    return rc;
}

// The archived writesets of @since_era and later, and the current one where it counts.
static int find_writesets(struct br_era_meta *meta, struct writesets *sets, struct br_err *reterr)
{
    int rc =
        br_pdata_file_tree(&meta->pdata, meta->view.writeset_tree, BR_ERA_WRITESET_BYTES, take_writesets, sets, reterr);

    if (rc == 0 && !meta->use_snap && meta->view.current.root && meta->view.current_era >= sets->since_era) {
        rc = add_writeset(sets, &meta->view.current, reterr);
    }
    return rc;
}

// Marks -------------------------------------------------------------------------------------------------------------------------------

// A bit for each data block.
struct marks {
    uint64_t *words;
    uint32_t blocks;
    uint32_t since_era;
    uint32_t current_era;
};

static int mark_writeset(void *ctx, uint64_t index, const uint8_t *values, unsigned count, struct br_err *reterr)
{
    struct marks *marks = ctx;
    const uint64_t words = br_div_up(marks->blocks, WORD_BITS);

    (void)reterr;
    for (unsigned i = 0; i < count && index + i < words; i++) { // a volume that shrank: what is behind its end is gone
        marks->words[index + i] |= br_get_u64(values + sizeof(uint64_t) * i);
    }
    return 0;
}

static int mark_eras(void *ctx, uint64_t index, const uint8_t *values, unsigned count, struct br_err *reterr)
{
    struct marks *marks = ctx;

    for (unsigned i = 0; i < count; i++) {
        const uint32_t era = br_get_u32(values + sizeof(uint32_t) * i);
        if (era > marks->current_era) {
            return br_err_set(reterr, BR_E_CORRUPT,
                              "dm-era metadata: block %" PRIu64 " was written in era %" PRIu32
                              ", the current era is %" PRIu32,
                              index + i, era, marks->current_era);
        }
        if (era >= marks->since_era) {
            marks->words[(index + i) / WORD_BITS] |= UINT64_C(1) << (index + i) % WORD_BITS;
        }
    }
    return 0;
}

static int mark_writesets(struct br_era_meta *meta, const struct writesets *sets, struct marks *marks,
                          struct br_err *reterr)
{
    int rc = 0;

    for (size_t i = 0; i < sets->count && rc == 0; i++) {
        const struct br_era_writeset *set = &sets->items[i];
        if (set->bits > BR_ERA_BLOCKS_MAX) {
            rc = br_err_set(reterr, BR_E_CORRUPT,
                            "dm-era metadata: the writeset of era %" PRIu32 " has %" PRIu32 " bits", set->era,
                            set->bits);
        } else {
            rc = br_pdata_file_array(&meta->pdata, set->root, sizeof(uint64_t), br_div_up(set->bits, WORD_BITS),
                                     mark_writeset, marks, reterr);
        }
    }
    return rc;
}

static int mark_changed(struct br_era_meta *meta, struct marks *marks, struct br_err *reterr)
{
    struct writesets sets = {.view = &meta->view, .since_era = marks->since_era};
    int rc;

    br_pdata_file_begin(&meta->pdata);
    rc = find_writesets(meta, &sets, reterr);
    if (rc == 0) {
        rc = mark_writesets(meta, &sets, marks, reterr);
    }
    free(sets.items);
    if (rc == 0) {
        rc = br_pdata_file_array(&meta->pdata, meta->view.era_array, sizeof(uint32_t), marks->blocks, mark_eras, marks,
                                 reterr);
    }
    if (rc == 0 && !meta->use_snap) {
        rc = br_pdata_file_space(&meta->pdata, &meta->view.space, NULL, reterr);
    }
    return rc;
}

// Marks as extents: runs of set bits.
static int marks_to_map(const struct marks *marks, uint64_t block_bytes, uint64_t volume_bytes,
                        struct br_extent_map *map, struct br_err *reterr)
{
    struct br_extent_map found = {.limit = map->limit};
    const uint64_t blocks = BR_MIN((uint64_t)marks->blocks, br_div_up(volume_bytes, block_bytes));
    int rc = 0;

    for (uint64_t i = 0; i < blocks && rc == 0; i++) {
        const uint64_t word = marks->words[i / WORD_BITS];
        if (!word) {
            i |= WORD_BITS - 1;
        } else if (word >> i % WORD_BITS & 1) {
            rc = br_extent_map_mark(&found, i * block_bytes, BR_MIN(block_bytes, volume_bytes - i * block_bytes),
                                    reterr);
        }
    }
    if (rc == 0 && blocks < br_div_up(volume_bytes, block_bytes)) {
        rc = br_extent_map_mark(&found, blocks * block_bytes, volume_bytes - blocks * block_bytes, reterr);
    }
    if (rc == 0) {
        rc = br_extent_map_add(map, &found, reterr);
    }
    br_extent_map_free(&found);
    return rc;
}

int br_era_meta_changed(struct br_era_meta *meta, uint32_t since_era, uint64_t volume_bytes, struct br_extent_map *map,
                        struct br_err *reterr)
{
    struct marks marks = {.blocks = meta->view.blocks,
                          .since_era = BR_MAX(since_era, UINT32_C(1)),
                          .current_era = meta->view.current_era};

    if (since_era > marks.current_era) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "dm-era metadata in era %" PRIu32 " is older than the mark, era %" PRIu32, marks.current_era,
                          since_era);
    }
    marks.words = calloc(br_div_up(BR_MAX(marks.blocks, UINT32_C(1)), WORD_BITS), sizeof(*marks.words));
    if (!marks.words) {
        return br_err_set(reterr, BR_E_NOMEM, "dm-era metadata of %" PRIu32 " blocks", marks.blocks);
    }
    int rc = mark_changed(meta, &marks, reterr);
    // What looks like damage may be the kernel at work.
    if (rc == 0 || rc == -BR_E_CORRUPT) {
        const int moved = check_unmoved(meta, reterr);
        rc = moved < 0 ? moved : rc;
    }
    if (rc == 0) {
        rc = marks_to_map(&marks, meta->view.block_bytes, volume_bytes, map, reterr);
    }
    free(marks.words);
    return rc;
}
