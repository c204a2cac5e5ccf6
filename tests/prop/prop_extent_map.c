// SPDX-License-Identifier: Apache-2.0
//
// An extent map and a plain byte map agree on random marks; with a limit it only ever over-reports, and stays within it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/map/extent_map.h"
#include "tests/lib/t_env.h"

#define SPACE 500u

static void check_shape(const struct br_extent_map *map, const uint8_t *marked, bool exact)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < map->count; i++) {
        assert_true(map->extents[i].len_bytes > 0);
        if (i) {
            assert_true(map->extents[i - 1].offset_bytes + map->extents[i - 1].len_bytes <
                        map->extents[i].offset_bytes);
        }
    }
    for (uint64_t at = 0; at < SPACE; at++) {
        const bool in = br_extent_map_contains(map, at, 1);
        const size_t next = br_extent_map_next(map, at);
        bytes += in;
        assert_true(exact ? in == marked[at] : in >= marked[at]);
        assert_int_equal(in, next < map->count && map->extents[next].offset_bytes <= at);
    }
    assert_int_equal(br_extent_map_bytes(map), bytes);
}

static void align_model(uint8_t *marked, uint64_t grain, uint64_t size)
{
    for (uint64_t from = 0; from < SPACE; from += grain) {
        uint8_t any = 0;
        for (uint64_t at = from; at < BR_MIN(from + grain, (uint64_t)SPACE); at++) {
            any |= marked[at];
        }
        for (uint64_t at = from; at < BR_MIN(from + grain, (uint64_t)SPACE); at++) {
            marked[at] = any && at < size;
        }
    }
}

static void an_extent_map_says_what_a_byte_map_says(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(300); round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round);
        struct br_extent_map map = {.limit = round % 3 ? 0 : 1 + t_rand_below(&r, 20)};
        uint8_t marked[SPACE] = {0};
        for (uint64_t step = t_rand_below(&r, 80); step; step--) {
            const uint64_t from = t_rand_below(&r, SPACE),
                           len = t_rand_below(&r, BR_MIN(SPACE - from + 1, (uint64_t)12));
            memset(marked + from, 1, len);
            assert_int_equal(br_extent_map_mark(&map, from, len, NULL), 0);
            assert_true(!map.limit || map.count <= map.limit);
            check_shape(&map, marked, !map.limit);
        }
        const uint64_t grain = UINT64_C(1) << t_rand_below(&r, 7), size = t_rand_below(&r, SPACE);
        align_model(marked, grain, size);
        assert_int_equal(br_extent_map_align(&map, grain, size, NULL), 0);
        check_shape(&map, marked, !map.limit);
        br_extent_map_free(&map);
    }
}

static void what_is_marked_outside_another_map_is_the_difference(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(300); round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round);
        struct br_extent_map map = {0}, except = {0};
        uint8_t marked[SPACE] = {0}, kept[SPACE] = {0};
        for (uint64_t step = t_rand_below(&r, 20); step; step--) {
            const uint64_t from = t_rand_below(&r, SPACE), len = t_rand_below(&r, SPACE - from + 1);
            struct br_extent_map *to = t_rand_below(&r, 3) ? &except : &map;
            memset((to == &map ? marked : kept) + from, 1, BR_MIN(len, (uint64_t)20));
            assert_int_equal(br_extent_map_mark(to, from, BR_MIN(len, (uint64_t)20), NULL), 0);
        }
        const uint64_t from = t_rand_below(&r, SPACE), len = t_rand_below(&r, SPACE - from + 1);
        for (uint64_t at = from; at < from + len; at++) {
            marked[at] |= !kept[at];
        }
        assert_int_equal(br_extent_map_mark_outside(&map, from, len, &except, NULL), 0);
        check_shape(&map, marked, true);
        assert_int_equal(br_extent_map_mark_outside(&map, UINT64_MAX, 2, &except, NULL), -BR_E_LIMIT);
        br_extent_map_free(&map);
        br_extent_map_free(&except);
    }
}

static void mark_randomly(struct t_rand *r, struct br_extent_map *map, uint8_t *marked)
{
    for (uint64_t step = t_rand_below(r, 60); step; step--) {
        const uint64_t from = t_rand_below(r, SPACE), len = t_rand_below(r, BR_MIN(SPACE - from + 1, (uint64_t)12));
        memset(marked + from, 1, len);
        assert_int_equal(br_extent_map_mark(map, from, len, NULL), 0);
    }
}

static void a_sum_of_maps_says_what_both_say(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(300); round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round ^ UINT64_C(0xadd));
        struct br_extent_map map = {.limit = round % 3 ? 0 : 1 + t_rand_below(&r, 20)}, other = {0};
        uint8_t marked[SPACE] = {0};
        mark_randomly(&r, &map, marked);
        mark_randomly(&r, &other, marked);
        assert_int_equal(br_extent_map_add(&map, &other, NULL), 0);
        assert_true(!map.limit || map.count <= map.limit);
        check_shape(&map, marked, !map.limit);
        br_extent_map_free(&map);
        br_extent_map_free(&other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_extent_map_says_what_a_byte_map_says),
        cmocka_unit_test(what_is_marked_outside_another_map_is_the_difference),
        cmocka_unit_test(a_sum_of_maps_says_what_both_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
