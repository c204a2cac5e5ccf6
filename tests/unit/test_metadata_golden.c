// SPDX-License-Identifier: Apache-2.0
//
// Exception stores and dm-era metadata as Debian's kernels 6.1 and 6.12 wrote them (the same bytes), kept for ever in tests/format/golden: they say what
// they said, and the readers tell what was written to make them. T_DUMP_WRITE=1 writes the texts anew.
//
//     kernel.cow             chunks of 512 bytes; sectors 2047 5 6 7 8 100 50 51 1000 zeroed one by one, then 224..255
//     kernel-invalid.cow     the same, then too much: the kernel gave it up
//     kernel.era             256 blocks of 4096 bytes; era 1: blocks 0..2, 200; era 2: 2..6, 255; a metadata snapshot; era 3: 100..119;
//                            taken while the kernel ran
//     kernel-suspended.era   the same writes without the snapshot, the last ones in era 2; suspended and removed
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/track/cow_store.h"
#include "engine/track/era_meta.h"
#include "tests/lib/t_device.h"

#define SOURCE (UINT64_C(1) << 20)

static void load(const char *name, const char *suffix, struct br_buf *ret_bytes)
{
    char path[4096];
    const char *top = getenv("T_TOP");
    int c;

    br_buf_reset(ret_bytes);
    snprintf(path, sizeof(path), "%s/tests/format/golden/%s%s", top ? top : ".", name, suffix);
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("no %s", path);
    }
    while ((c = fgetc(f)) != EOF) {
        br_buf_u8(ret_bytes, (uint8_t)c);
    }
    fclose(f);
}

static struct t_device open_golden(const char *name, uint64_t *ret_bytes)
{
    struct br_buf bytes = {0};

    load(name, "", &bytes);
    struct t_device device = t_device_open(bytes.data, bytes.len, 1);
    *ret_bytes = bytes.len;
    br_buf_free(&bytes);
    return device;
}

static void reads_as_ever(const char *name, bool cow)
{
    uint64_t bytes;
    struct t_device device = open_golden(name, &bytes);
    const struct br_cow_store_params params = {.file = device.file, .store_bytes = bytes, .origin_bytes = UINT64_MAX};
    struct br_buf text = {0}, want = {0};

    assert_int_equal(cow ? br_cow_store_dump(&params, t_lines_add, &text, NULL)
                         : br_era_meta_dump(device.file, bytes, t_lines_add, &text, NULL),
                     0);
    if (getenv("T_DUMP_WRITE")) {
        char path[256];
        snprintf(path, sizeof(path), "tests/format/golden/%s.dump", name);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(text.data, 1, text.len, f);
        fclose(f);
    }
    load(name, ".dump", &want);
    assert_int_equal(text.len, want.len);
    assert_memory_equal(text.data, want.data, want.len);
    br_buf_free(&text);
    br_buf_free(&want);
    t_device_close(&device);
}

static void the_kernels_metadata_reads_as_ever(void **state)
{
    (void)state;
    reads_as_ever("kernel.cow", true);
    reads_as_ever("kernel-invalid.cow", true);
    reads_as_ever("kernel.era", false);
    reads_as_ever("kernel-suspended.era", false);
}

static void expect(const struct br_extent_map *map, const struct br_extent *extents, size_t count, uint64_t unit)
{
    assert_int_equal(map->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(map->extents[i].offset_bytes, extents[i].offset_bytes * unit);
        assert_int_equal(map->extents[i].len_bytes, extents[i].len_bytes * unit);
    }
}

static void the_kernels_store_tells_what_was_written_and_what_was_there(void **state)
{
    (void)state;
    static const struct br_extent written[] = {{5, 4}, {50, 2}, {100, 1}, {224, 32}, {1000, 1}, {2047, 1}};
    uint64_t bytes;
    struct t_device device = open_golden("kernel.cow", &bytes);
    struct br_cow_store_params params = {.file = device.file,
                                         .store_bytes = bytes,
                                         .origin_bytes = SOURCE,
                                         .chunk_bytes = 512,
                                         .before = {true, 44, 3}}; // dmsetup status: 44/128 3
    struct br_cow_store *store;
    uint8_t old[512], want[512];
    assert_int_equal(br_cow_store_read(&params, &store, NULL), 0);
    assert_int_equal(br_cow_store_agrees(store, &params.before, NULL), 0);
    expect(br_cow_store_changed(store), written, BR_ARRAY_LEN(written), 512);
    // The source held "old data\n" over and over.
    for (size_t i = 0; i < BR_ARRAY_LEN(written); i++) {
        const uint64_t sector = written[i].offset_bytes + written[i].len_bytes - 1;
        for (size_t b = 0; b < sizeof(want); b++) {
            want[b] = (uint8_t) "old data\n"[(sector * 512 + b) % 9];
        }
        assert_int_equal(br_cow_store_read_old(store, old, 512, sector * 512, NULL), 0);
        assert_memory_equal(old, want, 512);
    }
    br_cow_store_close(store);
    t_device_close(&device);

    device = open_golden("kernel-invalid.cow", &bytes);
    params.file = device.file;
    assert_int_equal(br_cow_store_read(&params, &store, NULL), -BR_E_CORRUPT);
    t_device_close(&device);
}

static void changed(const char *name, bool use_snap, uint32_t since, const struct br_extent *extents, size_t count)
{
    uint64_t bytes;
    struct t_device device = open_golden(name, &bytes);
    struct br_era_meta_params params = {.file = device.file, .meta_bytes = bytes, .use_snap = use_snap};
    struct br_extent_map map = {0};
    struct br_era_meta *meta;

    assert_int_equal(br_era_meta_open(&params, &meta, NULL), 0);
    assert_int_equal(br_era_meta_changed(meta, since, SOURCE, &map, NULL), 0);
    expect(&map, extents, count, 4096);
    br_extent_map_free(&map);
    br_era_meta_close(meta);
    t_device_close(&device);
}

static void the_kernels_era_metadata_tells_what_was_written_since(void **state)
{
    (void)state;
    static const struct br_extent all[] = {{0, 7}, {100, 20}, {200, 1}, {255, 1}},
                                  of_2[] = {{2, 5}, {100, 20}, {255, 1}}, of_3[] = {{100, 20}},
                                  of_2_snap[] = {{2, 5}, {255, 1}}, all_snap[] = {{0, 7}, {200, 1}, {255, 1}};
    changed("kernel.era", false, 1, all, 4);
    changed("kernel.era", false, 2, of_2, 3);
    changed("kernel.era", false, 3, of_3, 1);
    changed("kernel.era", true, 1, all_snap, 3);
    changed("kernel.era", true, 2, of_2_snap, 2);
    changed("kernel.era", true, 3, NULL, 0);
    changed("kernel-suspended.era", false, 1, all, 4);
    changed("kernel-suspended.era", false, 2, of_2, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernels_metadata_reads_as_ever),
        cmocka_unit_test(the_kernels_store_tells_what_was_written_and_what_was_there),
        cmocka_unit_test(the_kernels_era_metadata_tells_what_was_written_since),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
