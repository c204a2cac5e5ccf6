// SPDX-License-Identifier: Apache-2.0
//
// What extent_map.h says about its borders; that it agrees with a bitmap is the property test's question.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/map/extent_map.h"

static void mark(struct br_extent_map *map, uint64_t offset_bytes, uint64_t len_bytes)
{
    assert_int_equal(br_extent_map_mark(map, offset_bytes, len_bytes, NULL), 0);
}

static void expect(const struct br_extent_map *map, const struct br_extent *extents, size_t count)
{
    assert_int_equal(map->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(map->extents[i].offset_bytes, extents[i].offset_bytes);
        assert_int_equal(map->extents[i].len_bytes, extents[i].len_bytes);
    }
}

static void ranges_that_touch_become_one(void **state)
{
    (void)state;
    struct br_extent_map map = {0};
    mark(&map, 100, 10);
    mark(&map, 120, 10);
    mark(&map, 90, 10);
    expect(&map, (struct br_extent[]){{90, 20}, {120, 10}}, 2);
    mark(&map, 110, 10);
    expect(&map, (struct br_extent[]){{90, 40}}, 1);
    mark(&map, 95, 1);
    mark(&map, 200, 0);
    expect(&map, (struct br_extent[]){{90, 40}}, 1);
    mark(&map, 0, 1000);
    expect(&map, (struct br_extent[]){{0, 1000}}, 1);
    br_extent_map_free(&map);
    assert_int_equal(map.count, 0);
}

static void a_range_that_wraps_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct br_extent_map map = {0};
    mark(&map, 5, 5);
    assert_int_equal(br_extent_map_mark(&map, UINT64_MAX, 2, NULL), -BR_E_LIMIT);
    expect(&map, (struct br_extent[]){{5, 5}}, 1);
    mark(&map, UINT64_MAX - 1, 1);
    assert_int_equal(map.count, 2);
    br_extent_map_free(&map);
}

static void at_the_limit_the_closest_neighbours_are_merged_and_no_mark_is_lost(void **state)
{
    (void)state;
    struct br_extent_map map = {.limit = 3};
    mark(&map, 0, 1);
    mark(&map, 100, 1);
    mark(&map, 110, 1);
    mark(&map, 300, 1);
    expect(&map, (struct br_extent[]){{0, 1}, {100, 11}, {300, 1}}, 3);
    br_extent_map_free(&map);
    assert_int_equal(map.limit, 3);
}

static void a_full_map_of_equal_gaps_gives_up_an_eighth_only(void **state)
{
    (void)state;
    struct br_extent_map map = {.limit = 80};
    for (uint64_t i = 0; i <= 80; i++) {
        mark(&map, i * 10, 1);
    }
    assert_int_equal(map.count, 81 - 10);
    for (uint64_t i = 0; i <= 80; i++) {
        assert_true(br_extent_map_contains(&map, i * 10, 1));
    }
    br_extent_map_free(&map);
}

static void aligning_widens_merges_and_stops_at_the_size(void **state)
{
    (void)state;
    struct br_extent_map map = {0};
    mark(&map, 10, 1);
    mark(&map, 20, 45);
    mark(&map, 200, 1);
    mark(&map, 230, 100);
    mark(&map, 1000, 1);
    assert_int_equal(br_extent_map_align(&map, 64, 250, NULL), 0);
    expect(&map, (struct br_extent[]){{0, 128}, {192, 58}}, 2);
    assert_int_equal(br_extent_map_align(&map, 48, 250, NULL), -BR_E_INTERNAL);
    br_extent_map_free(&map);
}

static void next_and_contains_agree_at_the_borders(void **state)
{
    (void)state;
    struct br_extent_map map = {0};
    assert_int_equal(br_extent_map_next(&map, 0), 0);
    assert_false(br_extent_map_contains(&map, 0, 1));
    assert_true(br_extent_map_contains(&map, 0, 0));
    mark(&map, 10, 10);
    mark(&map, 30, 10);
    assert_int_equal(br_extent_map_next(&map, 0), 0);
    assert_int_equal(br_extent_map_next(&map, 19), 0);
    assert_int_equal(br_extent_map_next(&map, 20), 1);
    assert_int_equal(br_extent_map_next(&map, 40), 2);
    assert_true(br_extent_map_contains(&map, 10, 10));
    assert_false(br_extent_map_contains(&map, 9, 2));
    assert_false(br_extent_map_contains(&map, 19, 2));
    assert_false(br_extent_map_contains(&map, 10, UINT64_MAX));
    assert_int_equal(br_extent_map_bytes(&map), 20);
    br_extent_map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_that_touch_become_one),
        cmocka_unit_test(a_range_that_wraps_is_refused_and_changes_nothing),
        cmocka_unit_test(at_the_limit_the_closest_neighbours_are_merged_and_no_mark_is_lost),
        cmocka_unit_test(a_full_map_of_equal_gaps_gives_up_an_eighth_only),
        cmocka_unit_test(aligning_widens_merges_and_stops_at_the_size),
        cmocka_unit_test(next_and_contains_agree_at_the_borders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
