// SPDX-License-Identifier: Apache-2.0
//
// engine/codec/crc32c.h against the examples of RFC 3720 and against its definition, bit by bit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/codec/crc32c.h"
#include "tests/lib/t_env.h"

// RFC 3720, appendix B.4
static void the_examples_of_rfc_3720_come_out(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(~br_crc32c(UINT32_MAX, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(~br_crc32c(UINT32_MAX, bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(~br_crc32c(UINT32_MAX, bytes, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(~br_crc32c(UINT32_MAX, bytes, 32), 0x113fdb5c);
}

static uint32_t by_definition(uint32_t crc, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return crc;
}

static void every_byte_and_length_agrees_with_the_definition(void **state)
{
    (void)state;
    struct t_rand r = t_rand_seeded(1, 1);
    uint8_t bytes[300];
    for (int b = 0; b < 256; b++) {
        bytes[0] = (uint8_t)b;
        assert_int_equal(br_crc32c(0, bytes, 1), by_definition(0, bytes, 1));
    }
    t_rand_fill(&r, bytes, sizeof(bytes));
    for (size_t len = 0; len <= sizeof(bytes); len++) {
        const uint32_t whole = br_crc32c(UINT32_MAX, bytes, len);
        assert_int_equal(whole, by_definition(UINT32_MAX, bytes, len));
        assert_int_equal(whole, br_crc32c(br_crc32c(UINT32_MAX, bytes, len / 3), bytes + len / 3, len - len / 3));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_rfc_3720_come_out),
        cmocka_unit_test(every_byte_and_length_agrees_with_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
