// SPDX-License-Identifier: Apache-2.0
//
// Law: br_is_zero() is a plain loop over the bytes, only faster (bdsync #39: a vector test wrong in the last byte corrupted targets).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "engine/base/bytes.h"
#include "tests/lib/t_env.h"

static bool plain_is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i]) {
            return false;
        }
    }
    return true;
}

static void one_byte_anywhere_is_seen_at_every_length_and_alignment(void **state)
{
    (void)state;
    uint8_t bytes[400];

    for (size_t shift = 0; shift < 64; shift++) {
        for (size_t len = 0; len <= 260; len++) {
            // What lies outside is never zero, so looking there is seen.
            memset(bytes, 0xff, sizeof(bytes));
            memset(bytes + shift, 0, len);
            assert_true(br_is_zero(bytes + shift, len));
            for (size_t at = 0; at < len; at += 1 + (len > 80) * 6) {
                bytes[shift + at] = 0x80;
                assert_false(br_is_zero(bytes + shift, len));
                bytes[shift + at] = 0;
            }
            if (len) {
                bytes[shift + len - 1] = 1;
                assert_false(br_is_zero(bytes + shift, len));
            }
        }
    }
}

static void it_agrees_with_a_plain_loop_on_random_sparse_bytes(void **state)
{
    (void)state;
    uint8_t *bytes = calloc(1, 70000);

    for (uint64_t round = 0; round < t_scaled(5000); round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round);
        size_t shift = t_rand_below(&r, 64);
        size_t len = t_rand_below(&r, t_rand_below(&r, 2) ? 300 : 65536);
        size_t at = t_rand_below(&r, 70000);
        bytes[at] = (uint8_t)(1u << t_rand_below(&r, 8));
        assert_int_equal(br_is_zero(bytes + shift, len), plain_is_zero(bytes + shift, len));
        bytes[at] = 0;
        assert_true(br_is_zero(bytes + shift, len));
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_byte_anywhere_is_seen_at_every_length_and_alignment),
        cmocka_unit_test(it_agrees_with_a_plain_loop_on_random_sparse_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
