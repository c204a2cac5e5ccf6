// SPDX-License-Identifier: Apache-2.0
// timeout: 180
//
// engine/track/era_meta.h and what lies below it (era_format.h, pdata.h, pdata_file.h), on metadata that another hand built (tests/lib/t_era.h):
// what is told since which era, by which view, and that every block of it is checked before it is believed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "engine/track/era_meta.h"
#include "tests/lib/t_device.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_era.h"

#define BLOCKS      3000u // three array blocks for the eras
#define META_BLOCKS 64u
#define SECTORS     8u
#define BLOCK_BYTES (SECTORS * 512u)
#define VOLUME      ((uint64_t)BLOCKS * BLOCK_BYTES - 1000)
#define NOW         9u

// Block b was last written in era b % 5 (0: never) by the array; writesets of 6 and 7 wait for their digestion, the current one is of 9.
struct fixture {
    uint32_t eras[BLOCKS];
    uint8_t of_6[BLOCKS], of_7[BLOCKS], of_9[BLOCKS];
    struct t_era_set sets[2], current;
    struct t_era_view live, snap;
    struct t_era era;
    struct t_device device;
    struct br_err err;
};

static struct fixture *fixture_new(bool with_snap)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    for (uint32_t b = 0; b < BLOCKS; b++) {
        f->eras[b] = b % 5;
        f->of_6[b] = b % 7 == 1;
        f->of_7[b] = b % 11 == 2;
        f->of_9[b] = b % 13 == 3;
    }
    f->sets[0] = (struct t_era_set){6, BLOCKS, f->of_6};
    f->sets[1] = (struct t_era_set){7, 1000, f->of_7}; // from before the volume grew
    f->current = (struct t_era_set){NOW, BLOCKS, f->of_9};
    f->live = (struct t_era_view){NOW, BLOCKS, SECTORS, f->eras, f->sets, 2, &f->current};
    f->snap = (struct t_era_view){NOW - 1, BLOCKS, SECTORS, f->eras, f->sets, 2, NULL};
    f->era = t_era_build(META_BLOCKS, 84, 1, &f->live, with_snap ? &f->snap : NULL);
    f->device = t_device_open(f->era.bytes, META_BLOCKS * 4096, 1);
    return f;
}

static void fixture_free(struct fixture *f)
{
    t_device_close(&f->device);
    t_era_free(&f->era);
    free(f);
}

// The device holds what is in memory now.
static void put_all(struct fixture *f)
{
    t_device_put(&f->device, f->era.bytes, META_BLOCKS * 4096, 0);
}

static int changed_of(struct fixture *f, const struct br_era_meta_params *with, uint32_t since, uint64_t volume_bytes,
                      struct br_extent_map *map)
{
    struct br_era_meta_params params = *with;
    struct br_era_meta *meta;

    params.file = f->device.file;
    params.meta_bytes = params.meta_bytes ? params.meta_bytes : META_BLOCKS * 4096;
    f->err = (struct br_err){0};
    int rc = br_era_meta_open(&params, &meta, &f->err);
    if (rc == 0) {
        rc = br_era_meta_changed(meta, since, volume_bytes, map, &f->err);
        br_era_meta_close(meta);
    }
    return rc;
}

static bool is_told(const struct fixture *f, uint32_t b, uint32_t since, bool snap)
{
    return (f->eras[b] && f->eras[b] >= since) || (f->of_6[b] && since <= 6) ||
           (b < 1000 && since <= 7 && f->of_7[b]) || (!snap && f->of_9[b]);
}

static void expect_told(struct fixture *f, uint32_t since, bool snap)
{
    struct br_extent_map map = {0};
    uint64_t bytes = 0;

    assert_int_equal(changed_of(f, &(struct br_era_meta_params){.use_snap = snap}, since, VOLUME, &map), 0);
    for (uint32_t b = 0; b < BLOCKS; b++) {
        const uint64_t start = (uint64_t)b * BLOCK_BYTES, len = BR_MIN((uint64_t)BLOCK_BYTES, VOLUME - start);
        assert_int_equal(br_extent_map_contains(&map, start, len), is_told(f, b, since, snap));
        bytes += is_told(f, b, since, snap) ? len : 0;
    }
    assert_int_equal(br_extent_map_bytes(&map), bytes);
    br_extent_map_free(&map);
}

static void expect_error(struct fixture *f, const struct br_era_meta_params *with, int error, const char *text)
{
    struct br_extent_map map = {0};

    assert_int_equal(changed_of(f, with, 1, VOLUME, &map), -error);
    assert_int_equal(f->err.code, error);
    if (!strstr(f->err.text, text)) {
        fail_msg("'%s' does not say '%s'", f->err.text, text);
    }
    br_extent_map_free(&map);
}

static const struct br_era_meta_params offline = {.use_snap = false}, through_snap = {.use_snap = true};

static void since_an_era_is_inclusive_and_unites_array_writesets_and_the_current_one(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    for (uint32_t since = 0; since <= NOW; since++) {
        expect_told(f, since, false);
        if (since < NOW) {
            expect_told(f, since, true);
        }
    }
    fixture_free(f);
}

static void the_superblock_says_what_the_view_is_of(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    struct br_era_meta_params params = {.file = f->device.file, .meta_bytes = META_BLOCKS * 4096};
    struct br_era_meta *meta;
    assert_int_equal(br_era_meta_open(&params, &meta, NULL), 0);
    const struct br_era_superblock *sb = br_era_meta_superblock(meta);
    assert_int_equal(sb->block, 0);
    assert_int_equal(sb->blocks, BLOCKS);
    assert_int_equal(sb->block_bytes, BLOCK_BYTES);
    assert_int_equal(sb->current_era, NOW);
    assert_int_equal(sb->snap_block, f->era.snap_block);
    assert_int_equal(sb->space.blocks, META_BLOCKS);
    br_era_meta_close(meta);
    params.use_snap = true;
    assert_int_equal(br_era_meta_open(&params, &meta, NULL), 0);
    assert_int_equal(br_era_meta_superblock(meta)->block, f->era.snap_block);
    assert_int_equal(br_era_meta_superblock(meta)->current_era, NOW - 1);
    br_era_meta_close(meta);
    fixture_free(f);
}

static void a_mark_of_the_future_is_an_older_copy(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    struct br_extent_map map = {0};
    assert_int_equal(changed_of(f, &offline, NOW + 1, VOLUME, &map), -BR_E_CORRUPT);
    assert_non_null(strstr(f->err.text, "older than the mark, era 10"));
    assert_int_equal(changed_of(f, &through_snap, NOW, VOLUME, &map), -BR_E_CORRUPT);
    assert_int_equal(map.count, 0);
    expect_error(f, &(struct br_era_meta_params){.kernel_era = NOW + 1}, BR_E_CORRUPT, "the kernel is in era 10");
    assert_int_equal(changed_of(f, &(struct br_era_meta_params){.kernel_era = NOW}, NOW, VOLUME, &map), 0);
    br_extent_map_free(&map);
    fixture_free(f);
}

static void a_volume_that_grew_has_its_rest_told_and_one_that_shrank_nothing_behind_its_end(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    struct br_extent_map map = {0};
    const uint64_t covered = (uint64_t)BLOCKS * BLOCK_BYTES;
    assert_int_equal(changed_of(f, &offline, NOW, covered + 100000, &map), 0);
    assert_true(br_extent_map_contains(&map, covered, 100000));
    assert_false(br_extent_map_contains(&map, covered - BLOCK_BYTES, BLOCK_BYTES));
    br_extent_map_free(&map);
    assert_int_equal(changed_of(f, &offline, 1, 10 * BLOCK_BYTES, &map), 0);
    assert_true(map.count &&
                map.extents[map.count - 1].offset_bytes + map.extents[map.count - 1].len_bytes <= 10 * BLOCK_BYTES);
    br_extent_map_free(&map);
    assert_int_equal(changed_of(f, &offline, 1, 0, &map), 0);
    assert_int_equal(map.count, 0);
    fixture_free(f);
}

static void a_volume_without_a_block_and_one_never_written_tell_nothing(void **state)
{
    (void)state;
    static const uint32_t never[BLOCKS];
    const struct t_era_view views[] = {{1, 0, SECTORS, never, NULL, 0, NULL},
                                       {1, BLOCKS, SECTORS, never, NULL, 0, NULL}};
    for (size_t i = 0; i < 2; i++) {
        struct fixture *f = calloc(1, sizeof(*f));
        struct br_extent_map map = {0};
        assert_non_null(f);
        f->era = t_era_build(META_BLOCKS, 84, 1, &views[i], NULL);
        f->device = t_device_open(f->era.bytes, META_BLOCKS * 4096, 1);
        assert_int_equal(changed_of(f, &offline, 1, (uint64_t)views[i].blocks * BLOCK_BYTES, &map), 0);
        assert_int_equal(map.count, 0);
        fixture_free(f);
    }
}

// One bit of each block in turn: of a superblock, a node, an array block, an index or a bitmap. None is believed, and each is named.
static void every_block_is_checked_before_it_is_believed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    unsigned seen = 0;
    for (uint64_t b = 0; b < META_BLOCKS; b++) {
        if (f->era.kinds[b] == T_ERA_FREE || b == br_get_u64(f->era.bytes + 44 + 24)) {
            continue; // the tree of counts is not needed
        }
        uint8_t *block = t_era_block(&f->era, b);
        const size_t at = b * 97 % 4000 + (b ? 40 : 0) % 4000;
        block[at] ^= 0x10;
        put_all(f);
        expect_error(f, &offline, BR_E_CORRUPT, "damaged");
        assert_int_equal(f->err.offset_bytes, b * 4096);
        block[at] ^= 0x10;
        seen++;
    }
    assert_int_equal(seen, 14); // superblock, 6 array blocks, 5 nodes, index, bitmap
    put_all(f);
    expect_told(f, 1, false);
    fixture_free(f);
}

static void a_block_in_another_place_is_not_believed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    const uint64_t array = t_era_find(&f->era, T_ERA_ARRAY, 0), node = t_era_find(&f->era, T_ERA_NODE, 0);
    memcpy(t_era_block(&f->era, t_era_find(&f->era, T_ERA_ARRAY, 1)), t_era_block(&f->era, array), 4096);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "belongs into another block");
    fixture_free(f);
    f = fixture_new(false);
    br_put_u64(t_era_block(&f->era, node) + 8, 5);
    t_era_seal(&f->era, node);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "belongs into another block");
    fixture_free(f);
}

// Changes u32 or u64 fields of a block with a right checksum: what a checksum does not catch, the reader must.
static void expect_refused(const char *text, enum t_era_kind kind, unsigned nth, size_t at, uint64_t value, bool wide)
{
    struct fixture *f = fixture_new(false);
    const uint64_t number = t_era_find(&f->era, kind, nth);
    uint8_t *block = t_era_block(&f->era, number);

    if (wide) {
        br_put_u64(block + at, value);
    } else {
        br_put_u32(block + at, (uint32_t)value);
    }
    t_era_seal(&f->era, number);
    put_all(f);
    struct br_extent_map map = {0};
    const int rc = changed_of(f, &offline, 1, VOLUME, &map);
    if (rc != -BR_E_CORRUPT && rc != -BR_E_VERSION) {
        fail_msg("%s: %d %s", text, rc, f->err.text);
    }
    if (!strstr(f->err.text, text)) {
        fail_msg("'%s' does not say '%s'", f->err.text, text);
    }
    br_extent_map_free(&map);
    fixture_free(f);
}

static void a_superblock_with_numbers_that_no_kernel_writes_is_refused(void **state)
{
    (void)state;
    expect_refused("another magic", T_ERA_SUPERBLOCK, 0, 32, 1, true);
    expect_refused("version 2", T_ERA_SUPERBLOCK, 0, 40, 2, false);
    expect_refused("flags 1", T_ERA_SUPERBLOCK, 0, 4, 1, false);
    expect_refused("blocks of 0 sectors", T_ERA_SUPERBLOCK, 0, 172, 0, false);
    expect_refused("blocks of 12 sectors", T_ERA_SUPERBLOCK, 0, 172, 12, false);
    expect_refused("metadata blocks of 16", T_ERA_SUPERBLOCK, 0, 176, 16, false);
    expect_refused("2147483648 data blocks", T_ERA_SUPERBLOCK, 0, 180, UINT32_C(1) << 31, false);
    expect_refused("another number of entries", T_ERA_SUPERBLOCK, 0, 180, BLOCKS + 1018, false);
    expect_refused("another number of entries", T_ERA_SUPERBLOCK, 0, 180, BLOCKS - 1, false);
    expect_refused("of era 6, the current era is 5", T_ERA_SUPERBLOCK, 0, 184, 5, false);
    expect_refused("has 4294967295 bits", T_ERA_SUPERBLOCK, 0, 188, UINT32_MAX, false);
    expect_refused("another number of entries", T_ERA_SUPERBLOCK, 0, 188, 64, false);
    expect_refused("goes on in metadata block 0", T_ERA_SUPERBLOCK, 0, 200, 0, true);
    expect_refused("goes on in metadata block 64 of 64", T_ERA_SUPERBLOCK, 0, 208, META_BLOCKS, true);
    expect_refused("goes on in metadata block", T_ERA_SUPERBLOCK, 0, 208, UINT64_MAX, true);
    expect_refused("a space map of 0 blocks", T_ERA_SUPERBLOCK, 0, 44, 0, true);
    expect_refused("a space map of 65 blocks", T_ERA_SUPERBLOCK, 0, 44, META_BLOCKS + 1, true);
    expect_refused("behind the end of the space map", T_ERA_SUPERBLOCK, 0, 44, 1, true);
    expect_refused("metadata block 99 of 64", T_ERA_SUPERBLOCK, 0, 44 + 16, 99, true);
}

// The era array's root is an internal node's worth of three children; find it through the superblock.
static void a_tree_that_is_not_one_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    const uint64_t root = br_get_u64(f->era.bytes + 208);
    unsigned nth = 0;
    for (uint64_t b = 0; b < root; b++) {
        nth += f->era.kinds[b] == T_ERA_NODE;
    }
    fixture_free(f);
    const size_t values = 32 + 8 * 252;
    expect_refused("neither internal nor a leaf", T_ERA_NODE, nth, 4, 3, false);
    expect_refused("neither internal nor a leaf", T_ERA_NODE, nth, 4, 0, false);
    expect_refused("of another kind", T_ERA_NODE, nth, 4, 1, false); // its children are no nodes
    expect_refused("more entries than fit", T_ERA_NODE, nth, 16, 253, false);
    expect_refused("more entries than fit", T_ERA_NODE, nth, 20, 400, false);
    expect_refused("more entries than fit", T_ERA_NODE, nth, 20, UINT32_MAX, false);
    expect_refused("values of another size", T_ERA_NODE, nth, 24, 4, false);
    expect_refused("do not ascend", T_ERA_NODE, nth, 32 + 8, 0, true);
    expect_refused("an array with a gap", T_ERA_NODE, nth, 32 + 16, 3, true);
    expect_refused("reached twice", T_ERA_NODE, nth, values + 8, root, true);
    expect_refused("instead of 3000", T_ERA_NODE, nth, 16, 2, false);
    expect_refused("instead of 3000", T_ERA_NODE, nth, 16, 0, false);
    expect_refused("goes on in metadata block 4096", T_ERA_NODE, nth, values, 4096, true);
}

static void an_array_block_that_is_not_one_is_refused(void **state)
{
    (void)state;
    expect_refused("values of another size", T_ERA_ARRAY, 0, 12, 3, false);
    expect_refused("more entries than fit", T_ERA_ARRAY, 0, 4, 7, false);
    expect_refused("more entries than fit", T_ERA_ARRAY, 0, 8, 5000, false);
    expect_refused("another number of entries", T_ERA_ARRAY, 0, 8, 1, false);
}

static void an_era_of_the_future_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    f->eras[2999] = NOW + 1;
    t_era_free(&f->era);
    f->era = t_era_build(META_BLOCKS, 84, 1, &f->live, NULL);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "block 2999 was written in era 10, the current era is 9");
    f->eras[2999] = NOW;
    f->sets[1].era = NOW + 1;
    t_era_free(&f->era);
    f->era = t_era_build(META_BLOCKS, 84, 1, &f->live, NULL);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "a writeset of era 10");
    fixture_free(f);
}

// Every level of a deep tree, with a cycle from its bottom to its top.
static void a_cycle_ends(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    t_era_free(&f->era);
    f->era = t_era_build(META_BLOCKS, 2, 1, &f->live, NULL); // the era array has levels now
    const uint64_t root = br_get_u64(f->era.bytes + 208);
    uint8_t *node = t_era_block(&f->era, root);
    assert_int_equal(br_get_u32(node + 4), 1);
    br_put_u64(node + 32 + 8 * 252, root); // its own first child
    t_era_seal(&f->era, root);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "reached twice");
    fixture_free(f);
}

static void a_tree_of_too_many_levels_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    uint64_t below = br_get_u64(f->era.bytes + 200);
    for (uint64_t b = 0; b < META_BLOCKS && below; b++) {
        if (f->era.kinds[b] != T_ERA_FREE) {
            continue;
        }
        uint8_t *block = t_era_block(&f->era, b); // one more root with one child
        f->era.kinds[b] = T_ERA_NODE;
        br_put_u32(block + 4, 1);
        br_put_u64(block + 8, b);
        br_put_u32(block + 16, 1);
        br_put_u32(block + 20, 252);
        br_put_u32(block + 24, 8);
        br_put_u64(block + 32 + 8 * 252, below);
        t_era_seal(&f->era, b);
        below = b;
    }
    br_put_u64(f->era.bytes + 200, below);
    t_era_seal(&f->era, 0);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "too many levels");
    fixture_free(f);
}

static void keys_outside_their_parents_range_are_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    t_era_free(&f->era);
    f->era = t_era_build(META_BLOCKS, 2, 1, &f->live, NULL);
    const uint64_t root = br_get_u64(f->era.bytes + 208);
    uint8_t *node = t_era_block(&f->era, root);
    br_put_u64(node + 32 + 8, 1); // the second child begins at 2; its parent says 1: fine
    t_era_seal(&f->era, root);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "keys outside their parent's range"); // but the first child holds 1, too
    br_put_u64(node + 32 + 8, 3);
    t_era_seal(&f->era, root);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "keys outside their parent's range");
    fixture_free(f);
}

// A lost write of the superblock: it names trees whose blocks were freed since.
static void a_superblock_that_is_older_than_its_trees_is_noticed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    const uint64_t bitmap = t_era_find(&f->era, T_ERA_BITMAP, 0), root = br_get_u64(f->era.bytes + 208);
    t_era_block(&f->era, bitmap)[16 + root / 4] &= (uint8_t) ~(3u << root % 4 * 2);
    t_era_seal(&f->era, bitmap);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "free by the space map");
    assert_int_equal(f->err.offset_bytes, root * 4096);
    fixture_free(f);
}

static void what_is_no_metadata_says_so(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    expect_error(f, &through_snap, BR_E_NOT_FOUND, "no metadata snapshot is held");
    expect_error(f, &(struct br_era_meta_params){.meta_bytes = 100}, BR_E_CORRUPT, "a metadata device of 100 bytes");
    expect_error(f, &(struct br_era_meta_params){.meta_bytes = 4096 * 4}, BR_E_CORRUPT, " of 4");
    memset(f->era.bytes, 0, 4096);
    put_all(f);
    expect_error(f, &offline, BR_E_NOT_FOUND, "block 0 is zero");
    memset(f->era.bytes, 'x', 4096);
    put_all(f);
    expect_error(f, &offline, BR_E_CORRUPT, "another magic");
    fixture_free(f);
}

static void a_snapshot_that_is_not_one_of_this_superblock_is_refused(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    uint8_t *snap = t_era_block(&f->era, f->era.snap_block);
    br_put_u32(snap + 184, NOW + 1);
    t_era_seal(&f->era, f->era.snap_block);
    put_all(f);
    expect_error(f, &through_snap, BR_E_CORRUPT, "is not of this superblock");
    br_put_u64(f->era.bytes + 216, 9999);
    t_era_seal(&f->era, 0);
    put_all(f);
    expect_error(f, &through_snap, BR_E_CORRUPT, "metadata block 9999 of 64");
    fixture_free(f);
}

// The kernel at work: something changes when the n-th block has been read.
struct change {
    struct fixture *f;
    struct br_io io;
    uint8_t scratch[512];
    uint64_t reads;
    uint64_t at;
    const uint8_t *bytes; // the new superblock
    uint64_t superblock;
};

static void change_when_due(struct br_io *io)
{
    struct change *c = io->ctx;

    if (br_sim_ios(c->f->device.sim) < c->at) {
        br_ring_submit(c->f->device.ring, io);
    } else {
        t_device_put(&c->f->device, c->bytes, 4096, c->superblock);
    }
}

static void metadata_that_moves_while_it_is_read_is_busy(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    uint8_t other[4096];
    struct br_extent_map map = {0};
    const struct br_era_meta_params *const views[] = {&offline, &through_snap};
    for (size_t i = 0; i < 2; i++) {
        struct change c = {.f = f, .at = br_sim_ios(f->device.sim) + 6, .bytes = other};
        c.io = (struct br_io){.op = BR_IO_READ,
                              .file = f->device.file,
                              .buf = c.scratch,
                              .len_bytes = 512,
                              .done = change_when_due,
                              .ctx = &c};
        memcpy(other, f->era.bytes, 4096);
        br_put_u64(f->era.bytes + 216, i ? 0 : f->era.snap_block); // dropped, or only a new era
        br_put_u32(f->era.bytes + 184, NOW + 1);
        t_era_seal(&f->era, 0);
        uint8_t saved[4096];
        memcpy(saved, f->era.bytes, 4096);
        memcpy(f->era.bytes, other, 4096);
        memcpy(other, saved, 4096);
        br_ring_submit(f->device.ring, &c.io);
        assert_int_equal(changed_of(f, views[i], 1, VOLUME, &map), -BR_E_BUSY);
        assert_int_equal(map.count, 0);
        put_all(f);
    }
    fixture_free(f);
}

static void a_superblock_in_the_middle_of_being_written_is_read_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    struct br_extent_map map = {0};
    uint8_t torn[4096];
    memcpy(torn, f->era.bytes, 4096);
    memset(torn, 0x31, 16);
    t_device_put(&f->device, torn, 4096, 0);
    struct br_era_meta_params params = {.use_snap = true, .settle_ns = 1000000000};
    struct change c = {.f = f, .at = br_sim_ios(f->device.sim) + 20, .bytes = f->era.bytes};
    c.io = (struct br_io){.op = BR_IO_READ,
                          .file = f->device.file,
                          .buf = c.scratch,
                          .len_bytes = 512,
                          .done = change_when_due,
                          .ctx = &c};
    br_ring_submit(f->device.ring, &c.io);
    assert_int_equal(changed_of(f, &params, 1, VOLUME, &map), 0);
    assert_int_equal(f->err.code, 0);
    br_extent_map_free(&map);
    t_device_put(&f->device, torn, 4096, 0);
    params.settle_ns = 0;
    assert_int_equal(changed_of(f, &params, 1, VOLUME, &map), -BR_E_CORRUPT);
    fixture_free(f);
}

static void a_failing_device_is_an_error_and_nothing_else(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(false);
    uint64_t n = 0;
    int rc;
    do {
        struct br_extent_map map = {0};
        br_sim_fail_at(f->device.sim, ++n, EIO);
        rc = changed_of(f, &offline, 1, VOLUME, &map);
        assert_true(rc == 0 || (rc == -BR_E_IO && f->err.has_offset && !map.count));
        br_extent_map_free(&map);
    } while (rc < 0);
    assert_true(n > 15);
    br_sim_fail_at(f->device.sim, 0, 0);
    fixture_free(f);
}

static void a_dump_says_all_of_it(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    struct br_buf text = {0};
    assert_int_equal(br_era_meta_dump(f->device.file, META_BLOCKS * 4096, t_lines_add, &text, NULL), 0);
    static const char *const said[] = {"dm-era metadata, version 1\n",
                                       "  3000 data blocks of 4096 bytes, current era 9\n",
                                       "  current writeset below, metadata snapshot below\n",
                                       "writeset of era 6, 3000 bits, at block ",
                                       "  blocks 8..8\n",
                                       "writeset of era 7, 1000 bits, at block ",
                                       "current writeset of era 9, 3000 bits, at block ",
                                       "  blocks 4..4: era 4\n",
                                       "every block of a tree is counted as used; the bitmaps count ",
                                       "metadata snapshot at block ",
                                       "  3000 data blocks of 4096 bytes, current era 8\n"};
    for (size_t i = 0; i < BR_ARRAY_LEN(said); i++) {
        if (!strstr(t_lines_text(&text), said[i])) {
            fail_msg("no '%s' in:\n%s", said[i], t_lines_text(&text));
        }
    }
    br_buf_reset(&text);
    t_era_block(&f->era, t_era_find(&f->era, T_ERA_ARRAY, 0))[77] ^= 1;
    put_all(f);
    assert_int_equal(br_era_meta_dump(f->device.file, META_BLOCKS * 4096, t_lines_add, &text, &f->err), -BR_E_CORRUPT);
    assert_non_null(strstr(t_lines_text(&text), "current era 9\n"));
    br_buf_free(&text);
    fixture_free(f);
}

static int stop_at_line(void *ctx, const char *line)
{
    (void)line;
    return --*(int *)ctx ? 0 : -BR_E_CANCELLED;
}

static void a_dump_ends_when_its_reader_has_enough(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(true);
    for (int lines = 1; lines < 400; lines += 7) {
        int left = lines;
        assert_int_equal(br_era_meta_dump(f->device.file, META_BLOCKS * 4096, stop_at_line, &left, NULL),
                         -BR_E_CANCELLED);
        assert_int_equal(left, 0);
    }
    fixture_free(f);
}

static void the_size_of_metadata_is_computed_for_the_worst_case(void **state)
{
    (void)state;
    uint64_t bytes, more;
    // KERNEL measurements: 512 KiB for 65536 blocks filled after 2 to 6 eras.
    assert_int_equal(br_era_meta_bytes(UINT64_C(4) << 30, 65536, 2, &bytes, NULL), 0);
    assert_true(bytes > 1024 * 1024 && bytes < 2 * 1024 * 1024);
    assert_int_equal(br_era_meta_bytes(UINT64_C(4) << 30, 65536, 20, &more, NULL), 0);
    assert_true(more > bytes);
    assert_int_equal(br_era_meta_bytes(UINT64_C(1) << 40, 1 << 20, 8, &bytes, NULL), 0);
    assert_true(bytes > UINT64_C(12) << 20 && bytes < UINT64_C(32) << 20);
    assert_int_equal(br_era_meta_bytes(0, 4096, 0, &bytes, NULL), 0);
    assert_true(bytes >= 10 * 4096);
    // more data blocks never need less
    uint64_t last = 0;
    for (uint64_t blocks = 1; blocks < 3000000; blocks = blocks * 5 / 4 + 1) {
        assert_int_equal(br_era_meta_bytes(blocks * 4096, 4096, 4, &bytes, NULL), 0);
        assert_true(bytes >= last && bytes % 4096 == 0);
        last = bytes;
    }
    assert_int_equal(br_era_meta_bytes(UINT64_C(1) << 44, 4096, 4, &bytes, NULL), -BR_E_LIMIT);
    assert_int_equal(br_era_meta_bytes(UINT64_C(1) << 42, 4096, UINT32_MAX, &bytes, NULL), -BR_E_LIMIT);
    assert_int_equal(br_era_meta_bytes(1 << 20, 0, 4, &bytes, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_era_meta_bytes(1 << 20, 5000, 4, &bytes, NULL), -BR_E_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(since_an_era_is_inclusive_and_unites_array_writesets_and_the_current_one),
        cmocka_unit_test(the_superblock_says_what_the_view_is_of),
        cmocka_unit_test(a_mark_of_the_future_is_an_older_copy),
        cmocka_unit_test(a_volume_that_grew_has_its_rest_told_and_one_that_shrank_nothing_behind_its_end),
        cmocka_unit_test(a_volume_without_a_block_and_one_never_written_tell_nothing),
        cmocka_unit_test(every_block_is_checked_before_it_is_believed),
        cmocka_unit_test(a_block_in_another_place_is_not_believed),
        cmocka_unit_test(a_superblock_with_numbers_that_no_kernel_writes_is_refused),
        cmocka_unit_test(a_tree_that_is_not_one_is_refused),
        cmocka_unit_test(an_array_block_that_is_not_one_is_refused),
        cmocka_unit_test(an_era_of_the_future_is_refused),
        cmocka_unit_test(a_cycle_ends),
        cmocka_unit_test(a_tree_of_too_many_levels_is_refused),
        cmocka_unit_test(keys_outside_their_parents_range_are_refused),
        cmocka_unit_test(a_superblock_that_is_older_than_its_trees_is_noticed),
        cmocka_unit_test(what_is_no_metadata_says_so),
        cmocka_unit_test(a_snapshot_that_is_not_one_of_this_superblock_is_refused),
        cmocka_unit_test(metadata_that_moves_while_it_is_read_is_busy),
        cmocka_unit_test(a_superblock_in_the_middle_of_being_written_is_read_again),
        cmocka_unit_test(a_failing_device_is_an_error_and_nothing_else),
        cmocka_unit_test(a_dump_says_all_of_it),
        cmocka_unit_test(a_dump_ends_when_its_reader_has_enough),
        cmocka_unit_test(the_size_of_metadata_is_computed_for_the_worst_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
