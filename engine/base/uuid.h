// SPDX-License-Identifier: Apache-2.0
//
// 128-bit random ids: volumes, replicas, generations, streams, sessions. Random by RFC 9562 version 4; compared as bytes.
#ifndef BR_BASE_UUID_H
#define BR_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BR_UUID_BYTES      16
#define BR_UUID_TEXT_BYTES 37 // with the final zero

struct br_uuid {
    uint8_t bytes[BR_UUID_BYTES];
};

/** br_uuid_make - stamps version and variant into 16 random bytes that the caller drew (see br_ring_random) */
struct br_uuid br_uuid_make(const uint8_t random[BR_UUID_BYTES]);
/** br_uuid_text - lower-case 8-4-4-4-12 with a final zero */
void br_uuid_text(const struct br_uuid *uuid, char text[BR_UUID_TEXT_BYTES]);
/** br_uuid_parse - true when @text is exactly a 36 character uuid */
bool br_uuid_parse(const char *text, struct br_uuid *ret_uuid);

/** br_uuid_equal, br_uuid_is_nil - compare all 128 bits; nil is all zeros, which stands for "none" */
static inline bool br_uuid_equal(const struct br_uuid *a, const struct br_uuid *b)
{
    return !memcmp(a->bytes, b->bytes, BR_UUID_BYTES);
}
static inline bool br_uuid_is_nil(const struct br_uuid *uuid)
{
    static const struct br_uuid nil;
    return br_uuid_equal(uuid, &nil);
}

#endif
