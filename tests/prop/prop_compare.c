// SPDX-License-Identifier: Apache-2.0
//
// br_compare_points() agrees with a compare of bytes: after random programs of writes, zeroed ranges, growth, shrink and full points (so that the
// domains differ), the ranges between any two points are the blocks whose bytes differ, in order, each told once and named for what is there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "engine/repo/compare.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_repo.h"

#define POINTS 6u

struct bed {
    struct br_sim *sim;
    struct t_index index;
    struct br_point points[POINTS];
    uint8_t *was[POINTS];
    struct br_err err;
};

static void must(struct bed *bed, int rc)
{
    if (rc) {
        fail_msg("%s: %s", br_err_name(bed->err.code), bed->err.text);
    }
}

static void backup(struct bed *bed, unsigned n, uint64_t size_bytes, bool full)
{
    struct t_backup run = {.size_bytes = size_bytes, .full = full};

    must(bed, t_backup_run(bed->sim, &bed->index, &run, &bed->err));
    bed->points[n] = run.point;
    bed->was[n] = calloc(1, size_bytes + 1);
    br_sim_read(bed->sim, "src", bed->was[n], size_bytes, 0);
}

static void write_something(struct bed *bed, struct t_rand *r, uint64_t size_bytes)
{
    uint64_t at = t_rand_below(r, size_bytes), most = 1 + t_rand_below(r, 200000), len = BR_MIN(size_bytes - at, most);
    uint8_t *bytes = calloc(1, len);

    if (t_rand_below(r, 3)) {
        t_rand_fill(r, bytes, len);
    }
    br_sim_poke(bed->sim, "src", bytes, len, at);
    free(bytes);
}

struct told {
    const struct bed *bed;
    unsigned from, to;
    uint64_t block; // all before it were compared
    struct br_range before;
};

// What a block of a point is: its bytes, or nothing when it is behind the end or all zeros.
static const uint8_t *block_of(const struct bed *bed, unsigned n, uint64_t block, size_t *ret_len)
{
    uint64_t at = block * BR_BLOCK_BYTES, size_bytes = bed->points[n].size_bytes;

    *ret_len = at < size_bytes ? (size_t)BR_MIN(size_bytes - at, (uint64_t)BR_BLOCK_BYTES) : 0;
    if (br_is_zero(bed->was[n] + (*ret_len ? at : 0), *ret_len)) {
        *ret_len = 0;
    }
    return bed->was[n] + (*ret_len ? at : 0);
}

static bool differs(const struct told *told, uint64_t block)
{
    size_t a_len, b_len;
    const uint8_t *a = block_of(told->bed, told->from, block, &a_len);
    const uint8_t *b = block_of(told->bed, told->to, block, &b_len);

    return a_len != b_len || memcmp(a, b, a_len) != 0;
}

static int take_range(void *ctx, const struct br_range *range)
{
    struct told *told = ctx;
    uint64_t first = range->offset_bytes / BR_BLOCK_BYTES;
    uint64_t end = (range->offset_bytes + range->len_bytes + BR_BLOCK_BYTES - 1) / BR_BLOCK_BYTES;

    assert_int_equal(range->offset_bytes % BR_BLOCK_BYTES, 0);
    assert_true(range->len_bytes > 0);
    assert_true(range->offset_bytes + range->len_bytes <= told->bed->points[told->to].size_bytes);
    assert_true(first >= told->block);
    assert_false(told->before.len_bytes && told->before.kind == range->kind &&
                 told->before.offset_bytes + told->before.len_bytes == range->offset_bytes);
    for (; told->block < first; told->block++) {
        assert_false(differs(told, told->block));
    }
    for (; told->block < end; told->block++) {
        size_t len;

        assert_true(differs(told, told->block));
        block_of(told->bed, told->to, told->block, &len);
        assert_int_equal(range->kind, len ? BR_RANGE_DATA : BR_RANGE_ZERO);
    }
    told->before = *range;
    return 0;
}

static void compare_all(struct bed *bed)
{
    struct t_repo repo;

    must(bed, t_repo_open(bed->sim, &bed->index, &repo, &bed->err));
    for (unsigned from = 0; from < POINTS; from++) {
        for (unsigned to = 0; to < POINTS; to++) {
            struct told told = {.bed = bed, .from = from, .to = to};

            must(bed, br_compare_points(repo.repo, &bed->points[from], &bed->points[to], take_range, &told, &bed->err));
            for (; told.block * BR_BLOCK_BYTES < bed->points[to].size_bytes; told.block++) {
                assert_false(differs(&told, told.block));
            }
        }
    }
    t_repo_close(&repo);
}

static void the_ranges_are_those_of_a_byte_compare(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(6); round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round);
        struct bed bed = {.sim = br_sim_new(&(struct br_sim_options){.seed = round + 1})};
        uint64_t size_bytes = 1 + t_rand_below(&r, 300 * BR_BLOCK_BYTES);

        t_index_new(&bed.index);
        must(&bed, t_repo_init(bed.sim, &bed.err));
        for (unsigned n = 0; n < POINTS; n++) {
            backup(&bed, n, size_bytes, !t_rand_below(&r, 4));
            if (!t_rand_below(&r, 3)) {
                size_bytes = 1 + t_rand_below(&r, 300 * BR_BLOCK_BYTES);
            }
            for (uint64_t w = t_rand_below(&r, 5); w > 0; w--) {
                write_something(&bed, &r, BR_MIN(size_bytes, bed.points[n].size_bytes));
            }
        }
        compare_all(&bed);
        for (unsigned n = 0; n < POINTS; n++) {
            free(bed.was[n]);
        }
        t_index_free(&bed.index);
        br_sim_free(bed.sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_ranges_are_those_of_a_byte_compare)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
