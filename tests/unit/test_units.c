// SPDX-License-Identifier: Apache-2.0
//
// engine/base/units.h: sizes, durations, times and names as people read and write them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/units.h"

static void sizes_are_read_in_iec_units_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"4096", 4096},
                {"12B", 12},
                {"64K", 65536},
                {"64k", 65536},
                {"64KiB", 65536},
                {"64 KiB", 65536},
                {"1.5G", UINT64_C(1610612736)},
                {"2TiB", UINT64_C(2) << 40},
                {"0.5K", 512},
                {"15E", UINT64_C(15) << 60},
                {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"",        "x",    "-1",    "1.",   ".5",  "1.5",
                                      "0.0001K", "16E",  "1KB",   "1MB",  "1 ",  "1  K",
                                      "1Ki",     "1Kib", "1KiBx", "0x10", "1e3", "18446744073709551616"};

    for (size_t i = 0; i < BR_ARRAY_LEN(good); i++) {
        uint64_t bytes = 1;
        assert_true(br_size_parse(good[i].text, &bytes));
        assert_true(bytes == good[i].bytes);
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(bad); i++) {
        uint64_t bytes = 77;
        if (br_size_parse(bad[i], &bytes)) {
            print_error("taken as a size: '%s'\n", bad[i]);
        }
        assert_int_equal(bytes, 77);
    }
}

static void sizes_are_written_without_rounding_up(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"},
                 {1023, "1023 B"},
                 {1024, "1.00 KiB"},
                 {1536, "1.50 KiB"},
                 {(1 << 20) - 1, "1023 KiB"},
                 {10 * 1024 + 1023, "10.9 KiB"},
                 {UINT64_C(1536) << 20, "1.50 GiB"},
                 {UINT64_MAX, "15.9 EiB"}};
    char text[32];

    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        br_size_text(cases[i].bytes, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
}

static void durations_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {{"0", 0},
                {"30", 30 * BR_NS_PER_S},
                {"30s", 30 * BR_NS_PER_S},
                {"500ms", 500 * BR_NS_PER_MS},
                {"1.5s", 1500 * BR_NS_PER_MS},
                {"5m", 300 * BR_NS_PER_S},
                {"5min", 300 * BR_NS_PER_S},
                {"2h", 7200 * BR_NS_PER_S},
                {"30d", 30 * 86400 * BR_NS_PER_S},
                {"1w", 7 * 86400 * BR_NS_PER_S}};
    static const char *const bad[] = {"", "s", "-1s", "1 s", "1y", "1sec", "99999999999d"};
    static const struct {
        uint64_t ns;
        const char *text;
    } written[] = {{0, "0 ms"},
                   {850 * BR_NS_PER_MS, "850 ms"},
                   {12 * BR_NS_PER_S, "12 s"},
                   {245 * BR_NS_PER_S, "4 m 05 s"},
                   {11520 * BR_NS_PER_S, "3 h 12 m"},
                   {UINT64_C(12) * 86400 * BR_NS_PER_S, "12 d"}};
    char text[32];

    for (size_t i = 0; i < BR_ARRAY_LEN(good); i++) {
        uint64_t ns = 1;
        assert_true(br_duration_parse(good[i].text, &ns));
        assert_true(ns == good[i].ns);
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(bad); i++) {
        uint64_t ns = 77;
        assert_false(br_duration_parse(bad[i], &ns));
        assert_int_equal(ns, 77);
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(written); i++) {
        br_duration_text(written[i].ns, text, sizeof(text));
        assert_string_equal(text, written[i].text);
    }
}

static void times_are_utc_whatever_the_clock_says(void **state)
{
    (void)state;
    static const struct {
        uint64_t seconds;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00Z"},
                 {951782400, "2000-02-29T00:00:00Z"},
                 {951868799, "2000-02-29T23:59:59Z"},
                 {951868800, "2000-03-01T00:00:00Z"},
                 {1795489500, "2026-11-24T03:05:00Z"},
                 {4107542400, "2100-03-01T00:00:00Z"}, // 2100 is no leap year
                 {UINT64_MAX / BR_NS_PER_S, "2554-07-21T23:34:33Z"}};
    char text[32];

    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        br_time_text(cases[i].seconds * BR_NS_PER_S + 999999, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
}

static void names_from_outside_are_one_printable_line(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *text;
    } cases[] = {{"plain", "plain"},
                 {"two words", "two words"},
                 {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
                 {"back\\slash", "back\\slash"},
                 {"", "\"\""},
                 {"a\nb", "\"a\\nb\""},
                 {"\x1b[2J", "\"\\x1b[2J\""},
                 {"\xff\xfe", "\"\\xff\\xfe\""},
                 {"\xc0\xaf", "\"\\xc0\\xaf\""},                   // overlong
                 {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},          // surrogate
                 {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""}, // past U+10FFFF
                 {"\xc2\x9b"
                  "2J",
                  "\"\\xc2\\x9b2J\""}, // C1 control
                 {"\"a\"", "\"\\\"a\\\"\""},
                 {"\xc3", "\"\\xc3\""}};
    char text[64];

    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        br_quote(cases[i].name, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
    for (size_t size = 1; size < 12; size++) {
        memset(text, 'Z', sizeof(text));
        br_quote("\n\n\n\n\n\n", text, size);
        assert_true(strlen(text) < size);
        assert_int_equal(text[size], 'Z');
    }
}

static void messages_are_one_printable_line(void **state)
{
    char text[64];

    (void)state;
    br_visible("opening \"x\\y\" \xc3\xbc: \x1b[31mred\n\x9b\xc2\x9b\x7f", text, sizeof(text));
    assert_string_equal(text, "opening \"x\\y\" \xc3\xbc: \\x1b[31mred\\n\\x9b\\xc2\\x9b\\x7f");
    br_visible("", text, sizeof(text));
    assert_string_equal(text, "");
    for (size_t size = 1; size < 12; size++) {
        memset(text, 'Z', sizeof(text));
        br_visible("ab\n\x1b\xc3\xbc\x1b", text, size);
        assert_true(strlen(text) < size);
        assert_int_equal(text[size], 'Z');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read_in_iec_units_exactly),
        cmocka_unit_test(sizes_are_written_without_rounding_up),
        cmocka_unit_test(durations_are_read_and_written),
        cmocka_unit_test(times_are_utc_whatever_the_clock_says),
        cmocka_unit_test(names_from_outside_are_one_printable_line),
        cmocka_unit_test(messages_are_one_printable_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
