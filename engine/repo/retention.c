// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/retention.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/units.h"

bool br_retention_has_rules(const struct br_retention *retention)
{
    return retention->last || retention->hourly || retention->daily || retention->weekly || retention->monthly ||
           retention->yearly || retention->within_ns || (retention->tags && retention->tags[0]);
}

static int newest_first(const void *a, const void *b)
{
    const struct br_retention_point *left = a, *right = b;
    int order = memcmp(left->point->volume.bytes, right->point->volume.bytes, BR_UUID_BYTES);

    if (!order) {
        order = (left->point->counter < right->point->counter) - (left->point->counter > right->point->counter);
    }
    if (!order) {
        order = (left->when_unix_ns < right->when_unix_ns) - (left->when_unix_ns > right->when_unix_ns);
    }
    return order ? order : memcmp(right->point->id.bytes, left->point->id.bytes, BR_UUID_BYTES);
}

static void keep(struct br_retention_point *point, const char *fmt, ...) BR_PRINTF(2, 3);
static void keep(struct br_retention_point *point, const char *fmt, ...)
{
    size_t len = strlen(point->rule);
    va_list args;

    if (len && len + 2 < sizeof(point->rule)) {
        len += (size_t)snprintf(point->rule + len, sizeof(point->rule) - len, ", ");
    }
    va_start(args, fmt);
    vsnprintf(point->rule + len, sizeof(point->rule) - len, fmt, args);
    va_end(args);
    point->keep = true;
}

#define SPAN_BYTES 32u

// What two points of one hour, day ... have in common; the offset of local time tells the hour that comes twice a year.
static size_t name_hour(char *text, const struct tm *tm)
{
    return strftime(text, SPAN_BYTES, "%Y-%m-%d %Hh %z", tm);
}

static size_t name_day(char *text, const struct tm *tm)
{
    return strftime(text, SPAN_BYTES, "%Y-%m-%d", tm);
}

static size_t name_week(char *text, const struct tm *tm)
{
    return strftime(text, SPAN_BYTES, "%G-W%V", tm);
}

static size_t name_month(char *text, const struct tm *tm)
{
    return strftime(text, SPAN_BYTES, "%Y-%m", tm);
}

static size_t name_year(char *text, const struct tm *tm)
{
    return strftime(text, SPAN_BYTES, "%Y", tm);
}

// One rule of the calendar, as it goes through a volume.
struct span {
    const char *name;
    size_t (*name_of)(char *text, const struct tm *tm);
    unsigned most;
    unsigned kept;
    char current[SPAN_BYTES];
};

static void span_look(struct span *span, struct br_retention_point *point, const struct tm *tm)
{
    char text[SPAN_BYTES];

    if (span->kept >= span->most || !span->name_of(text, tm) || !strcmp(text, span->current)) {
        return;
    }
    snprintf(span->current, sizeof(span->current), "%s", text);
    span->kept++;
    keep(point, "%s %s", span->name, text);
}

static const char *tag_that_keeps(const struct br_retention *retention, const struct br_point *point)
{
    for (const char *const *tag = retention->tags; tag && *tag; tag++) {
        for (unsigned t = 0; t < point->tag_count; t++) {
            if (!strcmp(point->tags[t], *tag)) {
                return *tag;
            }
        }
    }
    return NULL;
}

static void apply_to_volume(const struct br_retention *retention, uint64_t now_unix_ns,
                            struct br_retention_point *points, size_t count)
{
    struct span spans[] = {
        {.name = "hourly", .name_of = name_hour, .most = retention->hourly},
        {.name = "daily", .name_of = name_day, .most = retention->daily},
        {.name = "weekly", .name_of = name_week, .most = retention->weekly},
        {.name = "monthly", .name_of = name_month, .most = retention->monthly},
        {.name = "yearly", .name_of = name_year, .most = retention->yearly},
    };

    for (size_t i = 0; i < count; i++) {
        struct br_retention_point *point = &points[i];
        const char *tag = tag_that_keeps(retention, point->point);
        time_t when = (time_t)(point->when_unix_ns / BR_NS_PER_S);
        struct tm tm;

        point->keep = false;
        point->rule[0] = 0;
        if (point->held) {
            keep(point, "held");
        }
        if (!i) {
            keep(point, "newest");
        }
        if (i < retention->last) {
            keep(point, "last %zu", i + 1);
        }
        for (size_t s = 0; s < BR_ARRAY_LEN(spans) && localtime_r(&when, &tm); s++) {
            span_look(&spans[s], point, &tm);
        }
        // What claims to come from the future is as old as it is long till then: neither kept for ever nor at once removed.
        uint64_t age_ns =
            now_unix_ns > point->when_unix_ns ? now_unix_ns - point->when_unix_ns : point->when_unix_ns - now_unix_ns;
        if (retention->within_ns && age_ns <= retention->within_ns) {
            keep(point, "young");
        }
        if (tag) {
            keep(point, "tag %s", tag);
        }
        if (!point->keep) {
            snprintf(point->rule, sizeof(point->rule), "no rule keeps it");
        }
    }
}

void br_retention_apply(const struct br_retention *retention, uint64_t now_unix_ns, struct br_retention_point *points,
                        size_t count)
{
    size_t end;

    if (count) {
        qsort(points, count, sizeof(*points), newest_first);
    }
    for (size_t begin = 0; begin < count; begin = end) {
        for (end = begin + 1; end < count && br_uuid_equal(&points[end].point->volume, &points[begin].point->volume);) {
            end++;
        }
        apply_to_volume(retention, now_unix_ns, points + begin, end - begin);
    }
}
