// SPDX-License-Identifier: Apache-2.0
//
// engine/base/uuid.h: ids as text and bytes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/uuid.h"

static void text_and_bytes_agree_both_ways(void **state)
{
    (void)state;
    struct br_uuid uuid;
    struct br_uuid again;
    char text[BR_UUID_TEXT_BYTES];

    assert_true(br_uuid_parse("00112233-4455-6677-8899-aAbBcCdDeEfF", &uuid));
    assert_memory_equal(uuid.bytes, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
    br_uuid_text(&uuid, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
    assert_true(br_uuid_parse(text, &again));
    assert_true(br_uuid_equal(&uuid, &again));
    assert_false(br_uuid_is_nil(&uuid));
}

static void what_is_no_uuid_is_refused_and_nothing_is_written(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "00112233-4455-6677-8899-aabbccddeef",
                                      "00112233-4455-6677-8899-aabbccddeeff0",
                                      "00112233-4455-6677-8899-aabbccddeefg",
                                      "0011223304455-6677-8899-aabbccddeeff",
                                      "00112233-4455-6677-8899-aabb-cddeeff",
                                      " 0112233-4455-6677-8899-aabbccddeeff",
                                      "00112233445566778899aabbccddeeff"};
    struct br_uuid uuid = {{7}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(br_uuid_parse(bad[i], &uuid));
        assert_int_equal(uuid.bytes[0], 7);
    }
}

static void a_made_one_says_version_4_and_keeps_the_other_bits(void **state)
{
    (void)state;
    static const uint8_t ones[16] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    static const uint8_t zeros[16];
    char text[BR_UUID_TEXT_BYTES];

    struct br_uuid uuid = br_uuid_make(ones);
    br_uuid_text(&uuid, text);
    assert_string_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    uuid = br_uuid_make(zeros);
    br_uuid_text(&uuid, text);
    assert_string_equal(text, "00000000-0000-4000-8000-000000000000");
    assert_false(br_uuid_is_nil(&uuid));
    assert_true(br_uuid_is_nil(&(struct br_uuid){{0}}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_bytes_agree_both_ways),
        cmocka_unit_test(what_is_no_uuid_is_refused_and_nothing_is_written),
        cmocka_unit_test(a_made_one_says_version_4_and_keeps_the_other_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
