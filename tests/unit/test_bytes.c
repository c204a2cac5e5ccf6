// SPDX-License-Identifier: Apache-2.0
//
// engine/base/bytes.h: numbers, buffers, readers, arithmetic that can't wrap.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/bytes.h"

static void numbers_are_little_endian_and_come_back(void **state)
{
    (void)state;
    uint8_t bytes[8];

    br_put_u16(bytes, 0x0102);
    assert_memory_equal(bytes, "\x02\x01", 2);
    assert_int_equal(br_get_u16(bytes), 0x0102);
    br_put_u32(bytes, 0x01020304);
    assert_memory_equal(bytes, "\x04\x03\x02\x01", 4);
    assert_int_equal(br_get_u32(bytes), 0x01020304);
    br_put_u64(bytes, UINT64_C(0x0102030405060708));
    assert_memory_equal(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(br_get_u64(bytes) == UINT64_C(0x0102030405060708));
}

static void arithmetic_never_wraps_silently(void **state)
{
    (void)state;
    uint64_t value = 7;

    assert_true(br_add_u64(UINT64_MAX - 1, 1, &value));
    assert_true(value == UINT64_MAX);
    assert_false(br_add_u64(UINT64_MAX, 1, &value));
    assert_true(value == UINT64_MAX);
    assert_true(br_mul_u64(UINT64_C(1) << 32, UINT32_MAX, &value));
    assert_true(value == UINT64_C(0xffffffff00000000));
    assert_false(br_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &value));
    assert_true(value == UINT64_C(0xffffffff00000000));
    assert_true(br_range_ok(0, 0, 0) && br_range_ok(5, 5, 10) && br_range_ok(10, 0, 10));
    assert_false(br_range_ok(5, 6, 10) || br_range_ok(11, 0, 10) || br_range_ok(1, UINT64_MAX, 10));
    assert_int_equal(br_align_up(1, 512), 512);
    assert_int_equal(br_align_up(512, 512), 512);
    assert_int_equal(br_align_down(1023, 512), 512);
    assert_int_equal(br_div_up(1, 4096), 1);
    assert_int_equal(br_div_up(0, 4096), 0);
    assert_true(br_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

static void a_buffer_takes_all_kinds_and_a_reader_gives_them_back(void **state)
{
    (void)state;
    struct br_buf buf = {0};
    char text[8];
    uint8_t bytes[3];

    br_buf_u8(&buf, 0xab);
    br_buf_u16(&buf, 0xabcd);
    br_buf_u32(&buf, 0xabcdef01);
    br_buf_u64(&buf, UINT64_MAX - 1);
    br_buf_string(&buf, "name");
    br_buf_append(&buf, "xyz", 3);
    br_buf_append(&buf, NULL, 2);
    br_buf_printf(&buf, "%d-%s", 42, "end");
    assert_false(br_buf_failed(&buf));
    assert_int_equal(buf.len, 1 + 2 + 4 + 8 + 6 + 3 + 2 + 6);

    struct br_reader reader = br_reader_init(buf.data, buf.len);
    assert_int_equal(br_reader_u8(&reader), 0xab);
    assert_int_equal(br_reader_u16(&reader), 0xabcd);
    assert_int_equal(br_reader_u32(&reader), 0xabcdef01);
    assert_true(br_reader_u64(&reader) == UINT64_MAX - 1);
    br_reader_string(&reader, text, sizeof(text));
    assert_string_equal(text, "name");
    br_reader_copy(&reader, bytes, 3);
    assert_memory_equal(bytes, "xyz", 3);
    assert_memory_equal(br_reader_take(&reader, 2), "\0\0", 2);
    assert_int_equal(br_reader_left(&reader), 6);
    assert_false(br_reader_done(&reader));
    assert_memory_equal(br_reader_take(&reader, 6), "42-end", 6);
    assert_true(br_reader_done(&reader));
    br_buf_free(&buf);
    assert_true(!buf.data && !buf.len && !buf.capacity);
}

static void reading_past_the_end_is_bad_for_good_and_yields_zeros(void **state)
{
    (void)state;
    uint8_t bytes[4] = {1, 2, 3, 4};
    uint8_t got[3] = {9, 9, 9};
    struct br_reader reader = br_reader_init(bytes, sizeof(bytes));

    assert_int_equal(br_reader_u16(&reader), 0x0201);
    assert_int_equal(br_reader_u32(&reader), 0);
    assert_false(br_reader_ok(&reader));
    assert_int_equal(br_reader_u8(&reader), 0); // also what would still fit
    assert_int_equal(br_reader_left(&reader), 0);
    assert_null(br_reader_take(&reader, 0));
    br_reader_copy(&reader, got, 3);
    assert_true(br_is_zero(got, 3));
    assert_false(br_reader_done(&reader));
    reader = br_reader_init(bytes, sizeof(bytes));
    assert_null(br_reader_take(&reader, SIZE_MAX));
    assert_false(br_reader_ok(&reader));
}

static void a_string_that_does_not_fit_or_holds_a_zero_is_bad(void **state)
{
    (void)state;
    char text[4];
    struct br_reader reader = br_reader_init("\x03\x00"
                                             "abc",
                                             5);
    br_reader_string(&reader, text, sizeof(text));
    assert_true(br_reader_done(&reader));
    assert_string_equal(text, "abc");
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {{"\x04\x00"
                "abcd",
                6},
               {"\x03\x00"
                "a\0c",
                5},
               {"\x04\x00"
                "abc",
                5},
               {"\x04", 1}};
    for (size_t i = 0; i < BR_ARRAY_LEN(bad); i++) {
        reader = br_reader_init(bad[i].bytes, bad[i].len);
        br_reader_string(&reader, text, sizeof(text));
        assert_false(br_reader_ok(&reader));
        assert_string_equal(text, "");
    }
}

static void failure_of_a_buffer_is_sticky_until_reset(void **state)
{
    (void)state;
    struct br_buf buf = {0};
    char *text = malloc(65537);

    br_buf_u8(&buf, 1);
    assert_false(br_buf_reserve(&buf, SIZE_MAX));
    assert_true(br_buf_failed(&buf));
    br_buf_u8(&buf, 2);
    br_buf_printf(&buf, "x");
    assert_int_equal(buf.len, 1);
    br_buf_reset(&buf);
    assert_true(!br_buf_failed(&buf) && !buf.len);
    memset(text, 'a', 65536);
    text[65536] = 0;
    br_buf_string(&buf, text + 1);
    assert_false(br_buf_failed(&buf));
    assert_int_equal(buf.len, 2 + 65535);
    br_buf_string(&buf, text);
    assert_true(br_buf_failed(&buf));
    br_buf_free(&buf);
    free(text);
}

static void a_buffer_grows_and_keeps_what_it_has(void **state)
{
    (void)state;
    struct br_buf buf = {0};

    for (unsigned i = 0; i < 5000; i++) {
        br_buf_u32(&buf, i);
    }
    assert_int_equal(buf.len, 20000);
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(br_get_u32(buf.data + 4 * i), i);
    }
    br_buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_little_endian_and_come_back),
        cmocka_unit_test(arithmetic_never_wraps_silently),
        cmocka_unit_test(a_buffer_takes_all_kinds_and_a_reader_gives_them_back),
        cmocka_unit_test(reading_past_the_end_is_bad_for_good_and_yields_zeros),
        cmocka_unit_test(a_string_that_does_not_fit_or_holds_a_zero_is_bad),
        cmocka_unit_test(failure_of_a_buffer_is_sticky_until_reset),
        cmocka_unit_test(a_buffer_grows_and_keeps_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
