// SPDX-License-Identifier: Apache-2.0
//
// engine/codec/cow_format.h against a store that is made the kernel's way (tests/lib/t_cow.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/t_cow.h"

static int decode(uint32_t magic, uint32_t valid, uint32_t version, uint32_t sectors, struct br_cow_header *ret_header)
{
    uint8_t bytes[BR_COW_HEADER_BYTES];

    br_put_u32(bytes, magic);
    br_put_u32(bytes + 4, valid);
    br_put_u32(bytes + 8, version);
    br_put_u32(bytes + 12, sectors);
    return br_cow_header_decode(bytes, ret_header, NULL);
}

static void a_header_is_taken_only_as_the_kernel_writes_it(void **state)
{
    (void)state;
    struct br_cow_header header;
    assert_int_equal(decode(BR_COW_MAGIC, 1, 1, 16, &header), 0);
    assert_true(header.valid && header.chunk_bytes == 8192);
    assert_int_equal(decode(BR_COW_MAGIC, 0, 1, 1, &header), 0);
    assert_true(!header.valid && header.chunk_bytes == 512);
    assert_int_equal(decode(BR_COW_MAGIC, 1, 1, 32768, &header), 0);
    assert_int_equal(decode(0, 1, 1, 16, &header), -BR_E_NOT_FOUND);
    assert_int_equal(decode(BR_COW_MAGIC ^ 1, 1, 1, 16, &header), -BR_E_CORRUPT);
    assert_int_equal(decode(BR_COW_MAGIC, 2, 1, 16, &header), -BR_E_CORRUPT);
    assert_int_equal(decode(BR_COW_MAGIC, 1, 0, 16, &header), -BR_E_VERSION);
    assert_int_equal(decode(BR_COW_MAGIC, 1, 2, 16, &header), -BR_E_VERSION);
    assert_int_equal(decode(BR_COW_MAGIC, 1, 1, 0, &header), -BR_E_CORRUPT);
    assert_int_equal(decode(BR_COW_MAGIC, 1, 1, 17, &header), -BR_E_CORRUPT);
    assert_int_equal(decode(BR_COW_MAGIC, 1, 1, 65536, &header), -BR_E_CORRUPT);
    assert_int_equal(decode(BR_COW_MAGIC, 1, 1, UINT32_MAX, &header), -BR_E_CORRUPT);
}

static struct br_cow_geometry geometry_of(uint64_t chunk_bytes, uint64_t store_bytes, uint64_t origin_bytes)
{
    struct br_cow_header header = {.valid = true, .chunk_bytes = chunk_bytes};
    struct br_cow_geometry geometry;

    assert_int_equal(br_cow_geometry_of(&header, store_bytes, origin_bytes, &geometry, NULL), 0);
    return geometry;
}

static void a_store_has_room_for_its_header_and_first_area(void **state)
{
    (void)state;
    struct br_cow_header header = {.valid = true, .chunk_bytes = 4096};
    struct br_cow_geometry geometry;
    assert_int_equal(br_cow_geometry_of(&header, 8191, 1 << 20, &geometry, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_cow_geometry_of(&header, 0, 1 << 20, &geometry, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_cow_geometry_of(&header, 8192, (1 << 20) + 1, &geometry, NULL), 0);
    assert_int_equal(geometry.origin_chunks, 257);
    assert_int_equal(br_cow_area_chunk(&geometry, 0), 1);
    assert_true(br_cow_area_chunk(&geometry, 1) == UINT64_MAX);
    assert_true(br_cow_area_chunk(&geometry, UINT64_MAX / 2) == UINT64_MAX);
    assert_int_equal(br_cow_geometry_of(&header, UINT64_MAX, UINT64_MAX, &geometry, NULL), 0);
    assert_true(br_cow_area_chunk(&geometry, UINT64_MAX) == UINT64_MAX);
}

static void places_and_counts_are_those_of_the_kernel(void **state)
{
    (void)state;
    struct t_cow cow = t_cow_new(200 * 512, 512, 0xaa);
    const struct br_cow_geometry geometry = geometry_of(512, cow.size_bytes, UINT64_MAX);
    uint64_t records = 0, next = cow.next_free;

    while (t_cow_add(&cow, 7 * records, NULL)) {
        assert_int_equal(br_cow_data_chunk(&geometry, records), next);
        records++;
        next = cow.next_free;
        assert_int_equal(br_cow_records_of_used(&geometry, next), records);
        assert_int_equal(br_cow_area_chunk(&geometry, cow.current_area) * 512,
                         (uint64_t)(t_cow_area(&cow, cow.current_area) - cow.bytes));
    }
    assert_int_equal(records, br_cow_records_max(&geometry));
    assert_int_equal(br_cow_records_of_used(&geometry, 0), 0);
    t_cow_free(&cow);
}

// A store of the size computed takes as many records as it was computed for, and one chunk less does not.
static void a_store_holds_what_its_size_was_computed_for(void **state)
{
    (void)state;
    for (uint64_t records = 0; records < 150; records++) {
        const uint64_t bytes = br_cow_store_bytes(512, records);
        const struct br_cow_geometry geometry = geometry_of(512, bytes, UINT64_MAX);
        assert_true(br_cow_records_max(&geometry) >= records);
        struct t_cow cow = t_cow_new(bytes, 512, 0);
        for (uint64_t i = 0; i < records; i++) {
            assert_true(t_cow_add(&cow, i, NULL));
        }
        t_cow_free(&cow);
        if (records) {
            const struct br_cow_geometry smaller = geometry_of(512, bytes - 512, UINT64_MAX);
            assert_true(br_cow_records_max(&smaller) < records);
        }
    }
    assert_int_equal(br_cow_store_bytes(4096, 0), 8192);
    assert_true(br_cow_store_bytes(4096, UINT64_C(1) << 61) == UINT64_MAX);
    assert_true(br_cow_store_bytes(4096, UINT64_MAX) == UINT64_MAX);
}

static void an_area_shows_its_records_and_every_kind_of_damage(void **state)
{
    (void)state;
    struct t_cow cow = t_cow_new(100 * 512, 512, 0x55);
    const struct br_cow_geometry geometry = geometry_of(512, cow.size_bytes, 1000 * 512);
    for (uint64_t i = 0; i < 40; i++) { // area 0 is full, area 1 holds 8
        assert_true(t_cow_add(&cow, 999 - i, NULL));
    }
    uint8_t *full = t_cow_area(&cow, 0), *open = t_cow_area(&cow, 1);
    assert_int_equal(br_cow_area_decode(&geometry, 0, full, NULL), 32);
    assert_int_equal(br_cow_area_decode(&geometry, 1, open, NULL), 8);
    assert_int_equal(br_cow_record_at(open, 3).old_chunk, 999 - 35);

    uint8_t saved[512];
    memcpy(saved, open, sizeof(saved));
    struct br_err err;
    memset(open + 16 * 3, 0, 16); // cleared in the middle
    assert_int_equal(br_cow_area_decode(&geometry, 1, open, &err), -BR_E_CORRUPT);
    assert_int_equal(err.offset_bytes, (uint64_t)(open - cow.bytes) + 48);
    assert_non_null(strstr(err.text, "record 35 is cleared"));
    memcpy(open, saved, sizeof(saved));
    memset(open + 16 * 7, 0, 16); // the last one: nobody can see that here
    assert_int_equal(br_cow_area_decode(&geometry, 1, open, NULL), 7);
    memcpy(open, saved, sizeof(saved));
    memset(open + 16 * 7 + 8, 0, 8); // half written
    assert_int_equal(br_cow_area_decode(&geometry, 1, open, NULL), -BR_E_CORRUPT);
    memcpy(open, saved, sizeof(saved));
    memcpy(open + 16 * 4, open + 16 * 3, 16); // doubled
    assert_int_equal(br_cow_area_decode(&geometry, 1, open, &err), -BR_E_CORRUPT);
    assert_int_equal(err.offset_bytes, (uint64_t)(open - cow.bytes) + 64);
    memcpy(open, saved, sizeof(saved));
    br_put_u64(open, 1000); // outside the origin
    assert_int_equal(br_cow_area_decode(&geometry, 1, open, &err), -BR_E_CORRUPT);
    assert_non_null(strstr(err.text, "chunk 1000 of an origin of 1000"));
    memcpy(open, saved, sizeof(saved));
    open[511] = 1; // left-overs at the end
    assert_int_equal(br_cow_area_decode(&geometry, 1, open, NULL), -BR_E_CORRUPT);
    memcpy(open, saved, sizeof(saved));
    // the area of another place
    assert_int_equal(br_cow_area_decode(&geometry, 0, open, NULL), -BR_E_CORRUPT);
    // a device that is smaller than its store
    const struct br_cow_geometry smaller = geometry_of(512, 40 * 512, 1000 * 512);
    assert_int_equal(br_cow_area_decode(&smaller, 1, open, &err), -BR_E_CORRUPT);
    assert_non_null(strstr(err.text, "behind the end of the device"));
    t_cow_free(&cow);
}

static void a_forecast_goes_on_at_the_rate_seen(void **state)
{
    (void)state;
    assert_int_equal(br_cow_ns_until_full(1000, 10, 1000000000), 100 * UINT64_C(1000000000));
    assert_int_equal(br_cow_ns_until_full(0, 10, 5), 0);
    assert_true(br_cow_ns_until_full(1000, 0, 5) == UINT64_MAX);
    assert_true(br_cow_ns_until_full(UINT64_MAX, 1, UINT64_MAX) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_taken_only_as_the_kernel_writes_it),
        cmocka_unit_test(a_store_has_room_for_its_header_and_first_area),
        cmocka_unit_test(places_and_counts_are_those_of_the_kernel),
        cmocka_unit_test(a_store_holds_what_its_size_was_computed_for),
        cmocka_unit_test(an_area_shows_its_records_and_every_kind_of_damage),
        cmocka_unit_test(a_forecast_goes_on_at_the_rate_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
