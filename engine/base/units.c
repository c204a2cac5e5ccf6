// SPDX-License-Identifier: Apache-2.0
#include "engine/base/units.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/bytes.h"

// Reads digits[.digits]; the fraction is kept as numerator over a power of ten. At most 19 digits in all.
static bool br_number_parse(const char **text, uint64_t *ret_whole, uint64_t *ret_numerator, uint64_t *ret_denominator)
{
    const char *at = *text;
    uint64_t whole = 0;
    uint64_t numerator = 0;
    uint64_t denominator = 1;

    if (*at < '0' || *at > '9') {
        return false;
    }
    for (; *at >= '0' && *at <= '9'; at++) {
        if (!br_mul_u64(whole, 10, &whole) || !br_add_u64(whole, (uint64_t)(*at - '0'), &whole)) {
            return false;
        }
    }
    if (*at == '.') {
        at++;
        if (*at < '0' || *at > '9') {
            return false;
        }
        for (; *at >= '0' && *at <= '9'; at++) {
            if (denominator >= UINT64_C(1000000000)) {
                return false;
            }
            numerator = numerator * 10 + (uint64_t)(*at - '0');
            denominator *= 10;
        }
    }
    *text = at;
    *ret_whole = whole;
    *ret_numerator = numerator;
    *ret_denominator = denominator;
    return true;
}

// value * unit, exact: false when a fraction of one is left over or it does not fit.
static bool br_scale(uint64_t whole, uint64_t numerator, uint64_t denominator, uint64_t unit, uint64_t *ret_value)
{
    unsigned __int128 fraction = (unsigned __int128)numerator * unit;
    uint64_t value;

    if (fraction % denominator || !br_mul_u64(whole, unit, &value)) {
        return false;
    }
    return br_add_u64(value, (uint64_t)(fraction / denominator), ret_value);
}

bool br_size_parse(const char *text, uint64_t *ret_bytes)
{
    static const char prefixes[] = "KMGTPE";
    uint64_t whole;
    uint64_t numerator;
    uint64_t denominator;
    uint64_t unit = 1;

    if (!br_number_parse(&text, &whole, &numerator, &denominator)) {
        return false;
    }
    if (*text == ' ' && *++text == 0) {
        return false;
    }
    const char *prefix = *text ? strchr(prefixes, *text == 'k' ? 'K' : *text) : NULL;
    if (prefix) {
        unit = UINT64_C(1) << (10 * (prefix - prefixes + 1));
        text++;
        if (!strcmp(text, "iB")) {
            text += 2;
        }
    } else if (*text == 'B') {
        text++;
    }
    return !*text && br_scale(whole, numerator, denominator, unit, ret_bytes);
}

void br_size_text(uint64_t bytes, char *text, size_t text_size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;

    while (unit + 1 < BR_ARRAY_LEN(units) && bytes >> (10 * (unit + 1))) {
        unit++;
    }
    if (!unit) {
        snprintf(text, text_size, "%u B", (unsigned)bytes);
        return;
    }
    uint64_t whole = bytes >> (10 * unit);
    uint64_t rest = bytes & ((UINT64_C(1) << (10 * unit)) - 1);
    unsigned hundredths = (unsigned)(((unsigned __int128)rest * 100) >> (10 * unit));
    if (whole >= 100) {
        snprintf(text, text_size, "%llu %s", (unsigned long long)whole, units[unit]);
    } else if (whole >= 10) {
        snprintf(text, text_size, "%llu.%u %s", (unsigned long long)whole, hundredths / 10, units[unit]);
    } else {
        snprintf(text, text_size, "%llu.%02u %s", (unsigned long long)whole, hundredths, units[unit]);
    }
}

bool br_duration_parse(const char *text, uint64_t *ret_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"", BR_NS_PER_S},          {"ms", BR_NS_PER_MS},           {"s", BR_NS_PER_S},
        {"m", 60 * BR_NS_PER_S},    {"min", 60 * BR_NS_PER_S},      {"h", 3600 * BR_NS_PER_S},
        {"d", 86400 * BR_NS_PER_S}, {"w", 7 * 86400 * BR_NS_PER_S},
    };
    uint64_t whole;
    uint64_t numerator;
    uint64_t denominator;

    if (!br_number_parse(&text, &whole, &numerator, &denominator)) {
        return false;
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(units); i++) {
        if (!strcmp(text, units[i].name)) {
            return br_scale(whole, numerator, denominator, units[i].ns, ret_ns);
        }
    }
    return false;
}

void br_duration_text(uint64_t ns, char *text, size_t text_size)
{
    unsigned long long s = ns / BR_NS_PER_S;

    if (ns < BR_NS_PER_S) {
        snprintf(text, text_size, "%llu ms", (unsigned long long)(ns / BR_NS_PER_MS));
    } else if (s < 60) {
        snprintf(text, text_size, "%llu s", s);
    } else if (s < 3600) {
        snprintf(text, text_size, "%llu m %02llu s", s / 60, s % 60);
    } else if (s < 2 * 86400) {
        snprintf(text, text_size, "%llu h %02llu m", s / 3600, s % 3600 / 60);
    } else {
        snprintf(text, text_size, "%llu d", s / 86400);
    }
}

void br_time_text(uint64_t unix_ns, char *text, size_t text_size)
{
    // Civil date from a day count, counted in 400-year eras that begin on 1 March (H. Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms"): no tables, no time zone, no call that a clock decades off could upset.
    uint64_t seconds = unix_ns / BR_NS_PER_S;
    uint64_t days = seconds / 86400 + 719468;
    uint64_t era = days / 146097;
    uint64_t day_of_era = days % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t shifted_month = (5 * day_of_year + 2) / 153;
    uint64_t day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    uint64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    uint64_t year = year_of_era + era * 400 + (month <= 2);
    unsigned second_of_day = (unsigned)(seconds % 86400);

    snprintf(text, text_size, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year, (unsigned)month, (unsigned)day,
             second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
}

// Length of the valid UTF-8 sequence at @s (RFC 3629), 0 when it is none.
static size_t br_utf8_len(const unsigned char *s)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80             ? 1
                 : (s[0] & 0xe0) == 0xc0 ? 2
                 : (s[0] & 0xf0) == 0xe0 ? 3
                 : (s[0] & 0xf8) == 0xf0 ? 4
                                         : 0;

    if (len < 2) {
        return len;
    }
    unsigned point = s[0] & (0x7f >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (s[i] & 0x3f);
    }
    if (point < least[len] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return 0;
    }
    return len;
}

// C1 controls (U+0080..U+009F) move a terminal's cursor just as C0 ones do.
static bool br_utf8_plain(const unsigned char *s, size_t len)
{
    if (len == 1) {
        return s[0] >= 0x20 && s[0] != 0x7f;
    }
    return len && !(len == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

static bool br_quote_needed(const char *name)
{
    const unsigned char *s = (const unsigned char *)name;

    if (!*s || *s == '"') {
        return true;
    }
    while (*s) {
        size_t len = br_utf8_len(s);
        if (!br_utf8_plain(s, len)) {
            return true;
        }
        s += len;
    }
    return false;
}

// One character of @s as it is shown: itself when it is plain, else \n or \xNN. Returns how many bytes of @s it took.
static size_t br_show_one(const unsigned char *s, char piece[8])
{
    size_t len = br_utf8_len(s);

    if (br_utf8_plain(s, len)) {
        memcpy(piece, s, len);
        piece[len] = 0;
        return len;
    }
    snprintf(piece, 8, *s == '\n' ? "\\n" : "\\x%02x", *s);
    return 1;
}

// Appends @piece when it and @spare bytes behind it fit.
static bool br_show_add(char *text, size_t text_size, size_t *used, const char *piece, size_t spare)
{
    size_t len = strlen(piece);

    if (*used + len + spare >= text_size) {
        return false;
    }
    memcpy(text + *used, piece, len + 1);
    *used += len;
    return true;
}

void br_quote(const char *name, char *text, size_t text_size)
{
    const unsigned char *s = (const unsigned char *)name;
    char piece[8];
    size_t used = 0;

    if (!br_quote_needed(name)) {
        snprintf(text, text_size, "%s", name);
        return;
    }
    text[0] = 0;
    if (!br_show_add(text, text_size, &used, "\"", 1)) {
        return;
    }
    while (*s) {
        size_t len = 1;
        if (*s == '"' || *s == '\\') {
            snprintf(piece, sizeof(piece), "\\%c", *s);
        } else {
            len = br_show_one(s, piece);
        }
        if (!br_show_add(text, text_size, &used, piece, 1)) {
            break;
        }
        s += len;
    }
    br_show_add(text, text_size, &used, "\"", 0);
}

void br_visible(const char *message, char *text, size_t text_size)
{
    const unsigned char *s = (const unsigned char *)message;
    char piece[8];
    size_t used = 0;

    text[0] = 0;
    while (*s) {
        s += br_show_one(s, piece);
        if (!br_show_add(text, text_size, &used, piece, 0)) {
            break;
        }
    }
}
