// SPDX-License-Identifier: Apache-2.0
//
// engine/track/cow_store.h: what is read from a store, every damage that it promises to see, and that the promised blind spots are the only ones.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "tests/lib/t_cow.h"
#include "tests/lib/t_device.h"
#include "tests/lib/t_env.h"

#define CHUNK  512u // 32 records to an area
#define ORIGIN (UINT64_C(1000) * CHUNK - 100)

// Reads a store as it lies in memory.
static int read_store(const struct t_cow *cow, const struct br_cow_store_params *with, struct br_cow_store **ret_store,
                      struct t_device *ret_device, struct br_err *reterr)
{
    struct br_cow_store_params params = *with;

    *ret_device = t_device_open(cow->bytes, cow->size_bytes, 1);
    params.file = ret_device->file;
    params.store_bytes = params.store_bytes ? params.store_bytes : cow->size_bytes;
    params.origin_bytes = params.origin_bytes ? params.origin_bytes : ORIGIN;
    return br_cow_store_read(&params, ret_store, reterr);
}

static void expect_error(const struct t_cow *cow, const struct br_cow_store_params *with, int error, const char *text)
{
    struct br_cow_store *store = NULL;
    struct t_device device;
    struct br_err err = {0};

    assert_int_equal(read_store(cow, with, &store, &device, &err), -error);
    assert_int_equal(err.code, error);
    if (!strstr(err.text, text)) {
        fail_msg("'%s' does not say '%s'", err.text, text);
    }
    assert_null(store);
    t_device_close(&device);
}

static void expect_records(const struct t_cow *cow, const struct br_cow_store_params *with, uint64_t records)
{
    struct br_cow_store *store;
    struct t_device device;

    assert_int_equal(read_store(cow, with, &store, &device, NULL), 0);
    assert_int_equal(br_cow_store_usage(store).records, records);
    br_cow_store_close(store);
    t_device_close(&device);
}

// A store with @records records: of chunks 999, 998, ... so that none are neighbours the right way round.
static struct t_cow store_of(uint64_t records)
{
    struct t_cow cow = t_cow_new(300 * CHUNK, CHUNK, 0x5a);

    for (uint64_t i = 0; i < records; i++) {
        assert_true(t_cow_add(&cow, 999 - i, NULL));
    }
    return cow;
}

static void an_empty_store_says_that_nothing_changed(void **state)
{
    (void)state;
    struct t_cow cow = store_of(0);
    struct br_cow_store *store;
    struct t_device device;
    assert_int_equal(
        read_store(&cow, &(struct br_cow_store_params){.before = t_cow_status(&cow)}, &store, &device, NULL), 0);
    assert_int_equal(br_cow_store_changed(store)->count, 0);
    const struct br_cow_usage usage = br_cow_store_usage(store);
    assert_int_equal(usage.records, 0);
    assert_int_equal(usage.used_bytes, 2 * CHUNK);
    assert_int_equal(usage.store_bytes, 300 * CHUNK);
    assert_int_equal(usage.chunk_bytes, CHUNK);
    br_cow_store_close(store);
    t_device_close(&device);
    t_cow_free(&cow);
}

static void changed_chunks_are_extents_of_the_origin(void **state)
{
    (void)state;
    struct t_cow cow = t_cow_new(300 * CHUNK, CHUNK, 0);
    static const uint64_t chunks[] = {7, 8, 9, 999, 3, 2, 500};
    struct br_cow_store *store;
    struct t_device device;
    for (size_t i = 0; i < BR_ARRAY_LEN(chunks); i++) {
        assert_true(t_cow_add(&cow, chunks[i], NULL));
    }
    assert_int_equal(read_store(&cow, &(struct br_cow_store_params){.chunk_bytes = CHUNK}, &store, &device, NULL), 0);
    const struct br_extent_map *map = br_cow_store_changed(store);
    static const struct br_extent expected[] = {
        {2 * CHUNK, 2 * CHUNK}, {7 * CHUNK, 3 * CHUNK}, {500 * CHUNK, CHUNK}, {999 * CHUNK, CHUNK - 100}};
    assert_int_equal(map->count, BR_ARRAY_LEN(expected));
    for (size_t i = 0; i < map->count; i++) {
        assert_int_equal(map->extents[i].offset_bytes, expected[i].offset_bytes);
        assert_int_equal(map->extents[i].len_bytes, expected[i].len_bytes);
    }
    br_cow_store_close(store);
    t_device_close(&device);
    t_cow_free(&cow);
}

static void every_number_of_records_is_read_whole_with_and_without_a_status(void **state)
{
    (void)state;
    for (uint64_t records = 0; records < 100; records++) {
        struct t_cow cow = store_of(records);
        expect_records(&cow, &(struct br_cow_store_params){0}, records);
        expect_records(&cow, &(struct br_cow_store_params){.before = t_cow_status(&cow)}, records);
        t_cow_free(&cow);
    }
}

static void old_data_is_read_from_the_store(void **state)
{
    (void)state;
    struct t_cow cow = t_cow_new(300 * CHUNK, CHUNK, 0x77);
    uint8_t old[100][CHUNK], got[100 * CHUNK];
    struct t_rand r = t_rand_seeded(1, 1);
    struct br_cow_store *store;
    struct t_device device;
    uint64_t at, len;

    t_rand_fill(&r, old, sizeof(old));
    for (uint64_t i = 0; i < 100; i++) { // one run over three areas of records
        assert_true(t_cow_add(&cow, 200 + i, old[i]));
    }
    assert_true(t_cow_add(&cow, 999, old[5]));
    assert_int_equal(read_store(&cow, &(struct br_cow_store_params){0}, &store, &device, NULL), 0);
    assert_int_equal(br_cow_store_read_old(store, got, sizeof(got), 200 * CHUNK, NULL), 0);
    assert_memory_equal(got, old, sizeof(got));
    assert_int_equal(br_cow_store_read_old(store, got, 3000, 210 * CHUNK + 77, NULL), 0);
    assert_memory_equal(got, old[10] + 77, 3000);
    assert_int_equal(br_cow_store_read_old(store, got, CHUNK - 100, 999 * CHUNK, NULL), 0);
    assert_memory_equal(got, old[5], CHUNK - 100);

    assert_int_equal(br_cow_store_locate(store, 200 * CHUNK + 5, &at, &len, NULL), 1);
    assert_int_equal(at, 2 * CHUNK + 5);
    assert_int_equal(len, 32 * CHUNK - 5); // up to the next area of records
    assert_int_equal(br_cow_store_locate(store, 999 * CHUNK, &at, &len, NULL), 1);
    assert_int_equal(len, CHUNK - 100); // up to the end of the origin
    assert_int_equal(br_cow_store_locate(store, 199 * CHUNK, &at, &len, NULL), 0);
    assert_int_equal(br_cow_store_locate(store, 300 * CHUNK, &at, &len, NULL), 0);
    assert_int_equal(br_cow_store_locate(store, ORIGIN, &at, &len, NULL), 0);
    assert_int_equal(br_cow_store_locate(store, UINT64_MAX, &at, &len, NULL), 0);
    struct br_err err;
    assert_int_equal(br_cow_store_read_old(store, got, 2 * CHUNK, 299 * CHUNK, &err), -BR_E_NOT_FOUND);
    assert_int_equal(err.offset_bytes, 300 * CHUNK);
    br_cow_store_close(store);
    t_device_close(&device);
    t_cow_free(&cow);
}

static void with_too_many_runs_the_extents_stay_and_old_data_is_left_to_the_snapshot(void **state)
{
    (void)state;
    struct t_cow cow = store_of(100);
    struct br_cow_store *store;
    struct t_device device;
    uint64_t at, len;
    uint8_t byte;

    assert_int_equal(read_store(&cow, &(struct br_cow_store_params){.runs_max = 7}, &store, &device, NULL), 0);
    assert_int_equal(br_cow_store_usage(store).records, 100);
    assert_int_equal(br_cow_store_changed(store)->count, 1);
    assert_int_equal(br_extent_map_bytes(br_cow_store_changed(store)), 100 * CHUNK - 100);
    assert_int_equal(br_cow_store_locate(store, 990 * CHUNK, &at, &len, NULL), -BR_E_LIMIT);
    assert_int_equal(br_cow_store_read_old(store, &byte, 1, 990 * CHUNK, NULL), -BR_E_LIMIT);
    br_cow_store_close(store);
    t_device_close(&device);
    t_cow_free(&cow);
}

static void headers_that_are_none_are_refused(void **state)
{
    (void)state;
    struct t_cow cow = store_of(3);
    const struct br_cow_store_params any = {0};
    br_put_u32(cow.bytes + 4, 0);
    expect_error(&cow, &any, BR_E_CORRUPT, "the snapshot is invalid");
    br_put_u32(cow.bytes + 4, 1);
    br_put_u32(cow.bytes + 8, 2);
    expect_error(&cow, &any, BR_E_VERSION, "version 2");
    br_put_u32(cow.bytes + 8, 1);
    expect_error(&cow, &(struct br_cow_store_params){.chunk_bytes = 4096}, BR_E_CORRUPT,
                 "the snapshot's table says 4096");
    expect_error(&cow, &(struct br_cow_store_params){.store_bytes = CHUNK}, BR_E_CORRUPT, "a device of 512 bytes");
    expect_error(&cow, &(struct br_cow_store_params){.store_bytes = 100}, BR_E_CORRUPT, "a device of 100 bytes");
    expect_error(&cow, &(struct br_cow_store_params){.store_bytes = 301 * CHUNK, .wiped = true}, BR_E_CORRUPT,
                 "not empty");
    memset(cow.bytes, 0, CHUNK);
    expect_error(&cow, &any, BR_E_NOT_FOUND, "its header is zero");
    t_cow_free(&cow);
}

static void a_device_that_is_shorter_than_said_is_no_end_of_the_records(void **state)
{
    (void)state;
    struct t_cow cow = store_of(40);
    cow.size_bytes = 34 * CHUNK; // header, area 0 and its data
    expect_error(&cow, &(struct br_cow_store_params){0}, BR_E_CORRUPT, "area 1 lies behind the end");
    expect_error(&cow, &(struct br_cow_store_params){.store_bytes = 300 * CHUNK}, BR_E_TRUNCATED, "too early");
    t_cow_free(&cow);
}

static void a_chunk_that_is_there_twice_is_damage(void **state)
{
    (void)state;
    struct t_cow cow = store_of(40);
    br_put_u64(t_cow_area(&cow, 1) + 16, 999 - 5); // record 33 is of the chunk of record 5
    expect_error(&cow, &(struct br_cow_store_params){0}, BR_E_CORRUPT, "chunk 994 of the origin is there twice");
    // also when it lies within a run
    t_cow_free(&cow);
    cow = t_cow_new(300 * CHUNK, CHUNK, 0);
    for (uint64_t i = 0; i < 20; i++) {
        assert_true(t_cow_add(&cow, 100 + i, NULL));
    }
    assert_true(t_cow_add(&cow, 110, NULL));
    expect_error(&cow, &(struct br_cow_store_params){0}, BR_E_CORRUPT, "chunk 110 of the origin is there twice");
    t_cow_free(&cow);
}

// Every record in turn is cleared while no kernel looks on: seen unless it is the last one of its area.
static void a_cleared_record_is_seen_or_named_as_blind_spot(void **state)
{
    (void)state;
    for (uint64_t victim = 0; victim < 40; victim++) {
        struct t_cow cow = store_of(40);
        memset(t_cow_area(&cow, victim / 32) + victim % 32 * 16, 0, 16);
        const struct br_cow_status before = t_cow_status(&cow);
        // The kernel that wrote it still runs: its count tells, whichever it is.
        expect_error(&cow, &(struct br_cow_store_params){.before = before}, BR_E_CORRUPT, "snapshot store: ");
        if (victim == 31 || victim == 39) {
            expect_records(&cow, &(struct br_cow_store_params){0}, victim);
        } else {
            expect_error(&cow, &(struct br_cow_store_params){0}, BR_E_CORRUPT, "is cleared");
        }
        t_cow_free(&cow);
    }
}

static void what_the_kernel_says_must_be_there(void **state)
{
    (void)state;
    struct t_cow cow = store_of(40);
    const struct br_cow_status status = t_cow_status(&cow);
    memset(t_cow_area(&cow, 1), 0, CHUNK);
    expect_error(&cow, &(struct br_cow_store_params){.before = status}, BR_E_CORRUPT,
                 "the kernel says 40 records, the store shows 32");
    memset(t_cow_area(&cow, 0), 0, CHUNK);
    expect_error(&cow, &(struct br_cow_store_params){.before = status}, BR_E_CORRUPT,
                 "the kernel says that area 0 is complete, it holds 0 records");
    t_cow_free(&cow);

    cow = store_of(5);
    static const struct br_cow_status nonsense[] = {
        {true, 7, 1}, {true, 1, 2}, {true, 301, 2}, {true, 0, 0}, {true, UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < BR_ARRAY_LEN(nonsense); i++) {
        expect_error(&cow, &(struct br_cow_store_params){.before = nonsense[i]}, BR_E_CORRUPT, "can't have");
    }
    t_cow_free(&cow);
    cow = t_cow_new(100 * 4096, 4096, 0);
    expect_error(&cow, &(struct br_cow_store_params){.before = {true, 17, 16}}, BR_E_CORRUPT, "can't have");
    t_cow_free(&cow);
}

static void more_records_than_the_kernel_handed_out_are_left_overs(void **state)
{
    (void)state;
    struct t_cow cow = store_of(40);
    const struct br_cow_status earlier = t_cow_status(&cow);
    assert_true(t_cow_add(&cow, 1, NULL));
    const struct br_cow_status now = t_cow_status(&cow);
    struct br_cow_store *store;
    struct t_device device;
    assert_int_equal(read_store(&cow, &(struct br_cow_store_params){.before = earlier}, &store, &device, NULL), 0);
    assert_int_equal(br_cow_store_agrees(store, &now, NULL), 0);
    struct br_err err;
    assert_int_equal(br_cow_store_agrees(store, &earlier, &err), -BR_E_CORRUPT);
    assert_string_equal(err.text, "snapshot store: the kernel says 40 records, the store shows 41");
    br_cow_store_close(store);
    t_device_close(&device);
    t_cow_free(&cow);
}

static void in_a_wiped_store_a_cleared_area_is_seen(void **state)
{
    (void)state;
    const struct br_cow_store_params wiped = {.wiped = true};
    for (uint64_t victim = 0; victim < 4; victim++) {
        struct t_device device = t_device_open(NULL, 300 * CHUNK, 1);
        struct t_cow cow = t_cow_new(300 * CHUNK, CHUNK, 0xcc);
        t_device_put(&device, cow.bytes, cow.size_bytes, 0);
        assert_int_equal(br_cow_store_wipe(device.file, 300 * CHUNK, CHUNK, NULL), 0);
        br_sim_read(device.sim, "device", cow.bytes, cow.size_bytes, 0);
        t_device_close(&device);
        assert_true(br_is_zero(cow.bytes, 2 * CHUNK));
        assert_true(br_is_zero(t_cow_area(&cow, 7), CHUNK));
        assert_int_equal(t_cow_area(&cow, 7)[CHUNK], 0xcc); // data is left alone
        memcpy(cow.bytes, (uint8_t[]){0x53, 0x6e, 0x41, 0x70, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, 16);
        for (uint64_t i = 0; i < 3 * 32 + 5; i++) {
            assert_true(t_cow_add(&cow, 999 - i, NULL));
        }
        expect_records(&cow, &wiped, 3 * 32 + 5);
        memset(t_cow_area(&cow, victim), 0, CHUNK);
        if (victim < 3) {
            expect_error(&cow, &wiped, BR_E_CORRUPT, "is not empty");
            expect_records(&cow, &(struct br_cow_store_params){0}, victim * 32); // what `wiped` is for
        } else {
            expect_records(&cow, &wiped, 3 * 32); // the last records, and no kernel to ask
        }
        t_cow_free(&cow);
    }
}

// What changes while the reader waits.
struct change {
    struct t_device *device;
    const void *bytes;
    size_t len;
    uint64_t offset_bytes;
    uint64_t after_ns;
    struct br_io io;
};

static void change_when_due(struct br_io *io)
{
    struct change *change = io->ctx;

    if (br_ring_now_ns(change->device->ring) < change->after_ns) {
        br_ring_submit(change->device->ring, io); // reads on, as a clock
        return;
    }
    t_device_put(change->device, change->bytes, change->len, change->offset_bytes);
}

static void change_later(struct change *change, uint8_t *scratch)
{
    change->io = (struct br_io){.op = BR_IO_READ,
                                .file = change->device->file,
                                .buf = scratch,
                                .len_bytes = 512,
                                .done = change_when_due,
                                .ctx = change};
    br_ring_submit(change->device->ring, &change->io);
}

static void a_torn_area_is_read_again_until_it_is_whole(void **state)
{
    (void)state;
    struct t_cow cow = store_of(40);
    uint8_t whole[CHUNK], scratch[512];
    memcpy(whole, t_cow_area(&cow, 1), CHUNK);
    memset(t_cow_area(&cow, 1) + 16, 0, 48); // a hole: the sectors of a write that is on its way
    struct t_device device = t_device_open(cow.bytes, cow.size_bytes, 3);
    struct br_cow_store_params params = {
        .file = device.file, .store_bytes = cow.size_bytes, .origin_bytes = ORIGIN, .settle_ns = UINT64_C(1000000000)};
    struct br_cow_store *store;
    struct br_err err = {0};
    const uint64_t begun_ns = br_ring_now_ns(device.ring);
    assert_int_equal(br_cow_store_read(&params, &store, &err), -BR_E_CORRUPT);
    assert_non_null(strstr(err.text, "is cleared"));
    assert_true(br_ring_now_ns(device.ring) - begun_ns >= params.settle_ns);

    err = (struct br_err){0};
    struct change change = {
        &device, whole, CHUNK, (uint64_t)(t_cow_area(&cow, 1) - cow.bytes), br_ring_now_ns(device.ring) + 300000000,
        {0}};
    change_later(&change, scratch);
    assert_int_equal(br_cow_store_read(&params, &store, &err), 0);
    assert_int_equal(err.code, 0); // errors on the way are not the caller's
    assert_int_equal(br_cow_store_usage(store).records, 40);
    br_cow_store_close(store);
    t_device_close(&device);
    t_cow_free(&cow);
}

static void records_that_the_kernel_handed_out_are_waited_for(void **state)
{
    (void)state;
    struct t_cow cow = store_of(30), later = store_of(70);
    uint8_t scratch[512];
    struct t_device device = t_device_open(cow.bytes, cow.size_bytes, 3);
    struct br_cow_store_params params = {.file = device.file,
                                         .store_bytes = cow.size_bytes,
                                         .origin_bytes = ORIGIN,
                                         .settle_ns = UINT64_C(1000000000),
                                         .before = {true, t_cow_status(&later).used_sectors, 2}};
    struct br_cow_store *store;
    struct change change = {&device, later.bytes, later.size_bytes, 0, br_ring_now_ns(device.ring) + 300000000, {0}};
    change_later(&change, scratch);
    assert_int_equal(br_cow_store_read(&params, &store, NULL), 0);
    assert_int_equal(br_cow_store_usage(store).records, 70);
    br_cow_store_close(store);
    t_device_close(&device);
    t_cow_free(&cow);
    t_cow_free(&later);
}

static void a_snapshot_that_is_given_up_while_it_is_read_is_no_proof(void **state)
{
    (void)state;
    struct t_cow cow = store_of(70);
    uint8_t scratch[512], invalid[4] = {0};
    struct t_device device = t_device_open(cow.bytes, cow.size_bytes, 3);
    struct br_cow_store_params params = {
        .file = device.file, .store_bytes = cow.size_bytes, .origin_bytes = ORIGIN, .settle_ns = 1000000};
    struct br_cow_store *store;
    struct br_err err;
    struct change change = {&device, invalid, 4, 4, br_ring_now_ns(device.ring) + 1, {0}};
    assert_int_equal(br_cow_store_read(&params, &store, NULL), 0);
    br_cow_store_close(store);
    change_later(&change, scratch);
    assert_int_equal(br_cow_store_read(&params, &store, &err), -BR_E_CORRUPT);
    assert_non_null(strstr(err.text, "the snapshot is invalid"));
    t_device_close(&device);
    t_cow_free(&cow);
}

// The first read, the second, ... fails; nothing is lost or taken for the end.
static void a_failing_device_is_never_the_end_of_the_records(void **state)
{
    (void)state;
    struct t_cow cow = store_of(100);
    struct t_device device = t_device_open(cow.bytes, cow.size_bytes, 3);
    struct br_cow_store_params params = {.file = device.file, .store_bytes = cow.size_bytes, .origin_bytes = ORIGIN};
    uint64_t n = 0;
    int rc;

    do {
        struct br_cow_store *store;
        struct br_err err;
        br_sim_fail_at(device.sim, ++n, EIO);
        rc = br_cow_store_read(&params, &store, &err);
        if (rc == 0) {
            assert_int_equal(br_cow_store_usage(store).records, 100);
            br_cow_store_close(store);
        } else {
            assert_int_equal(rc, -BR_E_IO);
            assert_true(err.has_offset);
        }
    } while (rc < 0);
    assert_int_equal(n, 1 + 1 + 4); // header and four areas
    t_device_close(&device);
    t_cow_free(&cow);
}

static int dump(const struct t_cow *cow, struct br_buf *text, struct br_err *reterr)
{
    struct t_device device = t_device_open(cow->bytes, cow->size_bytes, 1);
    const struct br_cow_store_params params = {
        .file = device.file, .store_bytes = cow->size_bytes, .origin_bytes = UINT64_MAX};

    br_buf_reset(text);
    int rc = br_cow_store_dump(&params, t_lines_add, text, reterr);
    t_device_close(&device);
    return rc;
}

static void a_dump_shows_each_record_and_the_damage_at_its_place(void **state)
{
    (void)state;
    struct t_cow cow = t_cow_new(300 * CHUNK, CHUNK, 0x5a);
    struct br_buf text = {0};
    struct br_err err;
    for (uint64_t i = 0; i < 34; i++) {
        assert_true(t_cow_add(&cow, 999 - i, NULL));
    }
    assert_int_equal(dump(&cow, &text, &err), 0);
    assert_non_null(strstr(t_lines_text(&text), "dm-snapshot exception store\n"
                                                "  version 1, valid, chunks of 512 bytes, 32 records to an area\n"
                                                "area 0 at 512: 32 records\n"
                                                "  record 0: chunk 999, old data in chunk 2\n"));
    assert_non_null(strstr(t_lines_text(&text), "area 1 at 17408: 2 records\n"
                                                "  record 32: chunk 967, old data in chunk 35\n"
                                                "  record 33: chunk 966, old data in chunk 36\n"
                                                "34 records of at most 289, 18944 of 153600 bytes used\n"));
    br_put_u32(cow.bytes + 4, 0);
    assert_int_equal(dump(&cow, &text, &err), 0);
    assert_non_null(strstr(t_lines_text(&text), "invalid: the kernel gave this snapshot up"));
    memset(t_cow_area(&cow, 0) + 16 * 3, 0, 16);
    assert_int_equal(dump(&cow, &text, &err), -BR_E_CORRUPT);
    assert_non_null(strstr(t_lines_text(&text), "area 0 at 512: 3 records\n"));
    assert_non_null(strstr(t_lines_text(&text), "  record 2: chunk 997, old data in chunk 4\n"));
    assert_null(strstr(t_lines_text(&text), "record 3:"));
    br_buf_free(&text);
    t_cow_free(&cow);
}

static int enough(void *ctx, const char *line)
{
    (void)line;
    return ++*(int *)ctx == 3 ? -BR_E_CANCELLED : 0;
}

static void a_dump_ends_when_its_reader_has_enough(void **state)
{
    (void)state;
    struct t_cow cow = store_of(40);
    struct t_device device = t_device_open(cow.bytes, cow.size_bytes, 1);
    const struct br_cow_store_params params = {
        .file = device.file, .store_bytes = cow.size_bytes, .origin_bytes = UINT64_MAX};
    int lines = 0;
    assert_int_equal(br_cow_store_dump(&params, enough, &lines, NULL), -BR_E_CANCELLED);
    assert_int_equal(lines, 3);
    t_device_close(&device);
    t_cow_free(&cow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_store_says_that_nothing_changed),
        cmocka_unit_test(changed_chunks_are_extents_of_the_origin),
        cmocka_unit_test(every_number_of_records_is_read_whole_with_and_without_a_status),
        cmocka_unit_test(old_data_is_read_from_the_store),
        cmocka_unit_test(with_too_many_runs_the_extents_stay_and_old_data_is_left_to_the_snapshot),
        cmocka_unit_test(headers_that_are_none_are_refused),
        cmocka_unit_test(a_device_that_is_shorter_than_said_is_no_end_of_the_records),
        cmocka_unit_test(a_chunk_that_is_there_twice_is_damage),
        cmocka_unit_test(a_cleared_record_is_seen_or_named_as_blind_spot),
        cmocka_unit_test(what_the_kernel_says_must_be_there),
        cmocka_unit_test(more_records_than_the_kernel_handed_out_are_left_overs),
        cmocka_unit_test(in_a_wiped_store_a_cleared_area_is_seen),
        cmocka_unit_test(a_torn_area_is_read_again_until_it_is_whole),
        cmocka_unit_test(records_that_the_kernel_handed_out_are_waited_for),
        cmocka_unit_test(a_snapshot_that_is_given_up_while_it_is_read_is_no_proof),
        cmocka_unit_test(a_failing_device_is_never_the_end_of_the_records),
        cmocka_unit_test(a_dump_shows_each_record_and_the_damage_at_its_place),
        cmocka_unit_test(a_dump_ends_when_its_reader_has_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
