// SPDX-License-Identifier: Apache-2.0
#include "engine/net/base32.h"

#include <stdint.h>

static const char br_base32_alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

void br_base32_text(const void *bytes, size_t len, char *text)
{
    const uint8_t *from = bytes;
    unsigned pending = 0, bits = 0;

    for (size_t i = 0; i < len; i++) {
        pending = pending << 8 | from[i];
        for (bits += 8; bits >= 5; bits -= 5) {
            *text++ = br_base32_alphabet[pending >> (bits - 5) & 31];
        }
    }
    if (bits) {
        *text++ = br_base32_alphabet[pending << (5 - bits) & 31];
    }
    *text = '\0';
}

static int br_base32_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        c = (char)(c - 'A' + 'a');
    }
    c = c == 'o' ? '0' : c == 'i' || c == 'l' ? '1' : c;
    for (int value = 0; value < 32; value++) {
        if (br_base32_alphabet[value] == c) {
            return value;
        }
    }
    return -1;
}

bool br_base32_parse(const char *text, size_t text_len, void *bytes, size_t len)
{
    uint8_t *to = bytes;
    unsigned pending = 0, bits = 0;
    size_t done = 0;

    if (text_len != BR_BASE32_CHARS(len)) {
        return false;
    }
    for (size_t i = 0; i < text_len; i++) {
        int value = br_base32_value(text[i]);
        if (value < 0) {
            return false;
        }
        pending = pending << 5 | (unsigned)value;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            to[done++] = (uint8_t)(pending >> bits);
        }
        pending &= (1u << bits) - 1;
    }
    return pending == 0;
}
