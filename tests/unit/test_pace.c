// SPDX-License-Identifier: Apache-2.0
//
// Does the pace find the faster way of sending, whatever it is, and notice when it changes?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/sync/pace.h"

// Sends @mib MiB over a link that moves @raw_rate bytes a second as they are and @packed_rate compressed; the share that was compressed.
static double send_over(struct br_pace *pace, uint64_t *clock_ns, double raw_rate, double packed_rate, unsigned mib)
{
    unsigned packed = 0;

    for (unsigned i = 0; i < mib; i++) {
        bool compress = br_pace_batch(pace, BR_MIB, *clock_ns);
        packed += compress;
        *clock_ns += (uint64_t)((double)BR_MIB * 1e9 / (compress ? packed_rate : raw_rate));
    }
    return (double)packed / mib;
}

static void a_slow_link_is_compressed(void **state)
{
    struct br_pace pace = {0};
    uint64_t clock_ns = 5;

    (void)state;
    assert_true(send_over(&pace, &clock_ns, 10e6, 20e6, 4096) > 0.9);
}

static void a_fast_link_is_not(void **state)
{
    struct br_pace pace = {0};
    uint64_t clock_ns = 5;

    (void)state;
    assert_true(send_over(&pace, &clock_ns, 1200e6, 500e6, 4096) < 0.1);
}

static void what_is_equally_fast_is_compressed(void **state)
{
    struct br_pace pace = {0};
    uint64_t clock_ns = 5;

    (void)state;
    assert_true(send_over(&pace, &clock_ns, 100e6, 98e6, 4096) > 0.9);
}

static void a_link_that_becomes_slow_is_noticed(void **state)
{
    struct br_pace pace = {0};
    uint64_t clock_ns = 5;

    (void)state;
    assert_true(send_over(&pace, &clock_ns, 1200e6, 500e6, 2048) < 0.1);
    (void)send_over(&pace, &clock_ns, 10e6, 25e6, 16 * (BR_PACE_LOOK_EVERY + 2));
    assert_true(send_over(&pace, &clock_ns, 10e6, 25e6, 2048) > 0.9);
}

static void a_clock_that_stands_still_divides_by_nothing(void **state)
{
    struct br_pace pace = {0};

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        (void)br_pace_batch(&pace, BR_MIB, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_link_is_compressed),
        cmocka_unit_test(a_fast_link_is_not),
        cmocka_unit_test(what_is_equally_fast_is_compressed),
        cmocka_unit_test(a_link_that_becomes_slow_is_noticed),
        cmocka_unit_test(a_clock_that_stands_still_divides_by_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
