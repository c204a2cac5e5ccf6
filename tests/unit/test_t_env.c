// SPDX-License-Identifier: Apache-2.0
//
// The tests' own generator: what a printed seed stands for must not drift, else old failures can't be replayed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/t_env.h"

// splitmix64 from state 0, the first two numbers of the paper's generator
static void the_generator_gives_the_published_numbers(void **state)
{
    (void)state;
    struct t_rand r = {0};
    assert_true(t_rand_next(&r) == 0xe220a8397b1dcdafULL);
    assert_true(t_rand_next(&r) == 0x6e789e6aa1b965f4ULL);
}

static void one_seed_and_round_give_one_sequence(void **state)
{
    (void)state;
    struct t_rand a = t_rand_seeded(7, 3), b = t_rand_seeded(7, 3), other = t_rand_seeded(7, 4);
    uint64_t first = t_rand_next(&a);
    assert_true(first == t_rand_next(&b));
    assert_true(first != t_rand_next(&other));
}

static void a_bounded_number_stays_below_and_reaches_every_value(void **state)
{
    (void)state;
    struct t_rand r = t_rand_seeded(1, 1);
    unsigned seen = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t n = t_rand_below(&r, 7);
        assert_true(n < 7);
        seen |= 1U << n;
    }
    assert_int_equal(seen, 0x7f);
}

static void filling_touches_every_byte_and_none_beyond(void **state)
{
    (void)state;
    uint8_t buf[23] = {0}, ever[23] = {0};
    struct t_rand r = t_rand_seeded(1, 2);
    for (int round = 0; round < 20; round++) {
        memset(buf, 0, sizeof(buf));
        t_rand_fill(&r, buf, 21);
        assert_int_equal(buf[21] | buf[22], 0);
        for (int i = 0; i < 21; i++)
            ever[i] |= buf[i];
    }
    for (int i = 0; i < 21; i++)
        assert_int_not_equal(ever[i], 0);
}

static void scale_multiplies(void **state)
{
    (void)state;
    assert_int_equal(setenv("T_SCALE", "3", 1), 0);
    assert_int_equal(t_scaled(5), 15);
    assert_int_equal(unsetenv("T_SCALE"), 0);
    assert_int_equal(t_scaled(5), 5);
}

static void temporary_files_go_to_the_tests_own_folder_first(void **state)
{
    (void)state;
    assert_int_equal(setenv("T", "/own", 1), 0);
    assert_int_equal(setenv("TMPDIR", "/shared", 1), 0);
    assert_string_equal(t_folder(), "/own");
    assert_int_equal(unsetenv("T"), 0);
    assert_string_equal(t_folder(), "/shared");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_generator_gives_the_published_numbers),
        cmocka_unit_test(one_seed_and_round_give_one_sequence),
        cmocka_unit_test(a_bounded_number_stays_below_and_reaches_every_value),
        cmocka_unit_test(filling_touches_every_byte_and_none_beyond),
        cmocka_unit_test(scale_multiplies),
        cmocka_unit_test(temporary_files_go_to_the_tests_own_folder_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
