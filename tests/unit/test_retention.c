// SPDX-License-Identifier: Apache-2.0
//
// engine/repo/retention.h: what each rule keeps, of each volume by itself, whatever clocks say.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/units.h"
#include "engine/repo/retention.h"
#include "tests/lib/t_env.h"

#define POINTS_MAX 4000u
#define DAY        (UINT64_C(86400) * BR_NS_PER_S)
#define HOUR       (UINT64_C(3600) * BR_NS_PER_S)
#define NOON       (UINT64_C(1795521600) * BR_NS_PER_S) // 2026-11-24 12:00 UTC, a Tuesday

static struct br_point points[POINTS_MAX];
static struct br_retention_point judged[POINTS_MAX];
static unsigned count;

static int utc(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    tzset();
    return 0;
}

static void begin(void)
{
    count = 0;
}

static void add(uint8_t volume, uint64_t counter, uint64_t when, const char *tag)
{
    struct br_point *point = &points[count];

    assert_true(count < POINTS_MAX);
    *point = (struct br_point){.counter = counter};
    memset(point->volume.bytes, volume, sizeof(point->volume.bytes));
    memcpy(point->id.bytes, &count, sizeof(count));
    if (tag) {
        snprintf(point->tags[point->tag_count++], sizeof(point->tags[0]), "%s", tag);
    }
    judged[count++] = (struct br_retention_point){.point = point, .when_unix_ns = when};
}

static const struct br_retention_point *of(uint8_t volume, uint64_t counter)
{
    for (unsigned i = 0; i < count; i++) {
        if (judged[i].point->volume.bytes[0] == volume && judged[i].point->counter == counter) {
            return &judged[i];
        }
    }
    fail_msg("no point %u/%llu", volume, (unsigned long long)counter);
    return NULL;
}

static unsigned kept(uint8_t volume)
{
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++) {
        n += judged[i].point->volume.bytes[0] == volume && judged[i].keep;
    }
    return n;
}

static void apply(const struct br_retention *rules)
{
    br_retention_apply(rules, NOON, judged, count);
}

// Three a day, the last one at noon today.
static void add_history(uint8_t volume, unsigned days)
{
    for (unsigned n = 0; n < 3 * days; n++) {
        add(volume, n + 1, NOON - (uint64_t)(3 * days - 1 - n) * 8 * HOUR, NULL);
    }
}

static void each_rule_keeps_what_it_says(void **state)
{
    (void)state;
    static const struct {
        struct br_retention rules;
        unsigned kept;
    } cases[] = {
        {{.last = 5}, 5},
        {{.hourly = 4}, 4},
        {{.daily = 7}, 7},
        {{.weekly = 4}, 4},
        {{.monthly = 5}, 5},
        {{.yearly = 3}, 2}, // 400 days lie in two years
        {{.within_ns = 2 * DAY}, 7},
        {{.last = 1000000}, 1200},
    };
    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        begin();
        add_history(1, 400);
        assert_true(br_retention_has_rules(&cases[i].rules));
        apply(&cases[i].rules);
        assert_int_equal(kept(1), cases[i].kept);
        assert_true(of(1, 1200)->keep); // the newest
    }
    const struct br_retention none = {.last = 0};
    assert_false(br_retention_has_rules(&none));
}

static void the_newest_of_a_span_stays_and_the_rule_is_named(void **state)
{
    (void)state;
    const struct br_retention rules = {.daily = 2, .weekly = 2};
    begin();
    add_history(1, 30);
    apply(&rules);
    assert_string_equal(of(1, 90)->rule, "newest, daily 2026-11-24, weekly 2026-W48");
    assert_string_equal(of(1, 89)->rule, "no rule keeps it");
    assert_false(of(1, 89)->keep);
    // 20:00 of the day before: the newest of it
    assert_string_equal(of(1, 88)->rule, "daily 2026-11-23");
    // Sunday, 20:00
    assert_string_equal(of(1, 85)->rule, "weekly 2026-W47");
    assert_int_equal(kept(1), 3);
}

static void volumes_are_judged_apart(void **state)
{
    (void)state;
    const struct br_retention rules = {.last = 2};
    begin();
    add_history(1, 10);
    add_history(2, 1);
    add(3, 1, NOON - 900 * DAY, NULL);
    for (unsigned n = 0; n < 1000; n++) {
        add(4, n + 1, NOON + n * DAY, NULL); // somebody floods the repository
    }
    apply(&rules);
    assert_int_equal(kept(1), 2);
    assert_int_equal(kept(2), 2);
    assert_int_equal(kept(3), 1);
    assert_string_equal(of(3, 1)->rule, "newest, last 1");
    assert_int_equal(kept(4), 2);
}

static void holds_and_tags_keep(void **state)
{
    (void)state;
    const char *const tags[] = {"yearly", "keep", NULL};
    const struct br_retention rules = {.last = 1, .tags = tags};
    begin();
    add(1, 1, NOON - 9 * DAY, "keep");
    add(1, 2, NOON - 8 * DAY, "nightly");
    add(1, 3, NOON - 7 * DAY, NULL);
    add(1, 4, NOON, NULL);
    judged[2].held = true;
    apply(&rules);
    assert_string_equal(of(1, 1)->rule, "tag keep");
    assert_false(of(1, 2)->keep);
    assert_string_equal(of(1, 3)->rule, "held");
    assert_true(of(1, 4)->keep);
}

// A clock that was years ahead for an hour takes no place in a rule for longer than any other point does.
static void a_clock_that_jumps_keeps_nothing_out(void **state)
{
    (void)state;
    const struct br_retention rules = {.daily = 3};
    begin();
    for (unsigned n = 1; n <= 20; n++) {
        add(1, n, n == 10 ? NOON + 4000 * DAY : n == 11 ? 0 : NOON - (20 - n) * DAY, NULL);
    }
    apply(&rules);
    assert_int_equal(kept(1), 3);
    assert_true(of(1, 20)->keep && of(1, 19)->keep && of(1, 18)->keep);
    begin();
    add(1, 1, NOON - DAY, NULL);
    add(1, 2, NOON + 4000 * DAY, NULL);
    add(1, 3, NOON, NULL);
    const struct br_retention young = {.within_ns = 10 * DAY};
    apply(&young);
    assert_true(of(1, 1)->keep && of(1, 3)->keep);
    assert_false(of(1, 2)->keep);
}

static void the_hour_that_comes_twice_is_two_hours(void **state)
{
    (void)state;
    const struct br_retention rules = {.hourly = 10};
    const uint64_t one = UINT64_C(1792890000) * BR_NS_PER_S; // 2026-10-25 01:00 UTC, when summer ends in Berlin
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    begin();
    add(1, 1, one - HOUR, NULL);
    add(1, 2, one, NULL);
    apply(&rules);
    assert_int_equal(kept(1), 2);
    assert_non_null(strstr(of(1, 1)->rule, "02h +0200"));
    assert_non_null(strstr(of(1, 2)->rule, "02h +0100"));
    utc(NULL);
}

static void nothing_is_fine(void **state)
{
    (void)state;
    const struct br_retention rules = {.last = 1};
    br_retention_apply(&rules, NOON, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_keeps_what_it_says),
        cmocka_unit_test(the_newest_of_a_span_stays_and_the_rule_is_named),
        cmocka_unit_test(volumes_are_judged_apart),
        cmocka_unit_test(holds_and_tags_keep),
        cmocka_unit_test(a_clock_that_jumps_keeps_nothing_out),
        cmocka_unit_test(the_hour_that_comes_twice_is_two_hours),
        cmocka_unit_test(nothing_is_fine),
    };
    return cmocka_run_group_tests(tests, utc, NULL);
}
