// SPDX-License-Identifier: Apache-2.0
//
// The rules of a delta's records: lengths at the volume's tail, and every single thing that a batch, run or header must not be.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/codec/delta.h"
#include "tests/lib/t_delta.h"

static struct br_tree_geometry geometry_of(uint64_t size_bytes)
{
    struct br_tree_geometry geometry;

    assert_true(br_tree_geometry_of(size_bytes, &geometry));
    return geometry;
}

static void the_last_page_of_a_volume_may_be_short(void **state)
{
    (void)state;
    struct br_tree_geometry g = geometry_of(2 * BR_BLOCK_BYTES + 4097);
    assert_int_equal(br_page_bytes(&g, 0, 15), 4096);
    assert_int_equal(br_page_bytes(&g, 2, 0), 4096);
    assert_int_equal(br_page_bytes(&g, 2, 1), 1);
    assert_int_equal(br_page_bytes(&g, 2, 2), 0);
    assert_int_equal(br_page_bytes(&g, 3, 0), 0);
    assert_int_equal(br_page_bytes(&g, 0, 16), 0);
    assert_int_equal(br_block_pages(&g, 1), 0xffff);
    assert_int_equal(br_block_pages(&g, 2), 3);
    assert_int_equal(br_block_pages(&g, 3), 0);
}

static void an_empty_volume_has_no_pages(void **state)
{
    (void)state;
    struct br_tree_geometry g = geometry_of(0);
    assert_int_equal(br_block_pages(&g, 0), 0);
    assert_int_equal(br_page_bytes(&g, 0, 0), 0);
}

static void a_batch_that_breaks_one_rule_is_refused(void **state)
{
    (void)state;
    struct br_tree_geometry g = geometry_of(3 * BR_BLOCK_BYTES - 1);
    static uint8_t data[3 * 4096];
    const struct br_batch good = {
        .block_count = 2,
        .blocks = {{.index = 0, .pages = 1, .zeros = 2}, {.index = 2, .pages = 0x8001, .zeros = 0}},
        .data = data,
        .data_bytes = 3 * 4096 - 1,
    };
    struct br_batch b = good;
    assert_int_equal(br_batch_check(&b, &g, NULL), 0);

    b = good, b.block_count = 0;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.block_count = 17;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.data_bytes++;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.data_bytes--;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.blocks[0].index = 2;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.blocks[1].index = 3;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.blocks[1].index = UINT64_MAX;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.blocks[0].zeros = 1;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.blocks[0].leaf = br_hash_unknown;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
    b = good, b.blocks[0].leaf = br_hash_unreadable;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
}

static void a_page_behind_the_end_of_the_volume_is_refused(void **state)
{
    (void)state;
    struct br_tree_geometry g = geometry_of(4096);
    static uint8_t data[4096];
    struct br_batch b = {.block_count = 1, .blocks = {{.pages = 1}}, .data = data, .data_bytes = 4096};
    assert_int_equal(br_batch_check(&b, &g, NULL), 0);
    b.blocks[0].zeros = 2;
    assert_int_equal(br_batch_check(&b, &g, NULL), -BR_E_CORRUPT);
}

static void a_run_outside_of_the_volume_is_refused(void **state)
{
    (void)state;
    struct br_tree_geometry g = geometry_of(10 * BR_BLOCK_BYTES);
    struct br_run run = {BR_RUN_ZERO, 3, 7};
    assert_int_equal(br_run_check(&run, &g, NULL), 0);
    run.count = 8;
    assert_int_equal(br_run_check(&run, &g, NULL), -BR_E_CORRUPT);
    run.count = UINT64_MAX - 2;
    assert_int_equal(br_run_check(&run, &g, NULL), -BR_E_CORRUPT);
    run.count = 0;
    assert_int_equal(br_run_check(&run, &g, NULL), -BR_E_CORRUPT);
    run = (struct br_run){(enum br_run_kind)4, 0, 1};
    assert_int_equal(br_run_check(&run, &g, NULL), -BR_E_CORRUPT);
}

static void a_header_that_breaks_one_rule_is_refused(void **state)
{
    (void)state;
    const struct br_delta_header full = t_delta_header(5, UINT64_MAX), delta = t_delta_header(5, 6);
    struct br_delta_header h;
    assert_int_equal(br_delta_header_check(&full, NULL), 0);
    assert_int_equal(br_delta_header_check(&delta, NULL), 0);
    h = full, h.parent_size_bytes = 1;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = full, h.parent_root = delta.parent_root;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = delta, h.full = true;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = delta, h.parent_root = br_hash_zero;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = delta, h.generation.parent_id = (struct br_uuid){0};
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = delta, h.parent_size_bytes = BR_VOLUME_BYTES_MAX + 1;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = full, h.size_bytes = BR_VOLUME_BYTES_MAX + 1;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = full, h.sector_bytes = 513;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = full, h.consistency = 3;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = full, h.stream_id = (struct br_uuid){0};
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = full, memset(h.label, 'a', sizeof(h.label));
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_CORRUPT);
    h = full, h.hash_id = 2;
    assert_int_equal(br_delta_header_check(&h, NULL), -BR_E_VERSION);
}

static void counters_know_the_tail(void **state)
{
    (void)state;
    struct br_tree_geometry g = geometry_of(2 * BR_BLOCK_BYTES + 5000);
    struct br_delta_end end = {0};
    static uint8_t data[4096];
    struct br_batch b = {
        .block_count = 1, .blocks = {{.index = 2, .pages = 1, .zeros = 2}}, .data = data, .data_bytes = 4096};
    br_delta_count_batch(&end, &b, &g);
    assert_int_equal(end.zero_bytes, 5000 - 4096);
    assert_int_equal(end.data_bytes, 4096);
    br_delta_count_run(&end, &(struct br_run){BR_RUN_DISCARD, 1, 2}, &g);
    assert_int_equal(end.zero_bytes, 5000 - 4096 + BR_BLOCK_BYTES + 5000);
    br_delta_count_run(&end, &(struct br_run){BR_RUN_UNREADABLE, 0, 2}, &g);
    assert_int_equal(end.unreadable_blocks, 2);
    assert_int_equal(end.records, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_page_of_a_volume_may_be_short),
        cmocka_unit_test(an_empty_volume_has_no_pages),
        cmocka_unit_test(a_batch_that_breaks_one_rule_is_refused),
        cmocka_unit_test(a_page_behind_the_end_of_the_volume_is_refused),
        cmocka_unit_test(a_run_outside_of_the_volume_is_refused),
        cmocka_unit_test(a_header_that_breaks_one_rule_is_refused),
        cmocka_unit_test(counters_know_the_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
