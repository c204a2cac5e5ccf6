// SPDX-License-Identifier: Apache-2.0
#include "engine/base/uuid.h"

#include <stdio.h>

struct br_uuid br_uuid_make(const uint8_t random[BR_UUID_BYTES])
{
    struct br_uuid uuid;

    memcpy(uuid.bytes, random, BR_UUID_BYTES);
    uuid.bytes[6] = (uuid.bytes[6] & 0x0f) | 0x40;
    uuid.bytes[8] = (uuid.bytes[8] & 0x3f) | 0x80;
    return uuid;
}

static bool br_uuid_dash_before(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void br_uuid_text(const struct br_uuid *uuid, char text[BR_UUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *to = text;

    for (int i = 0; i < BR_UUID_BYTES; i++) {
        if (br_uuid_dash_before(i)) {
            *to++ = '-';
        }
        *to++ = digits[uuid->bytes[i] >> 4];
        *to++ = digits[uuid->bytes[i] & 15];
    }
    *to = 0;
}

static int br_uuid_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool br_uuid_parse(const char *text, struct br_uuid *ret_uuid)
{
    struct br_uuid uuid;

    for (int i = 0; i < BR_UUID_BYTES; i++) {
        if (br_uuid_dash_before(i) && *text++ != '-') {
            return false;
        }
        int high = br_uuid_digit(text[0]);
        int low = high < 0 ? -1 : br_uuid_digit(text[1]);
        if (low < 0) {
            return false;
        }
        uuid.bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text) {
        return false;
    }
    *ret_uuid = uuid;
    return true;
}
