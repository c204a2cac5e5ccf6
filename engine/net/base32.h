// SPDX-License-Identifier: Apache-2.0
//
// Bytes as text that people copy: fingerprints and tokens. Base 32 with Crockford's alphabet (no i, l, o, u), lower case, no padding;
// five bits a character, the last character's spare bits are zero. Reading takes upper case too, o as 0, i and l as 1.
// Alphabet: https://www.crockford.com/base32.html
#ifndef BR_NET_BASE32_H
#define BR_NET_BASE32_H

#include <stdbool.h>
#include <stddef.h>

/** BR_BASE32_CHARS - characters that @bytes bytes take, without a final zero */
#define BR_BASE32_CHARS(bytes) (((bytes)*8 + 4) / 5)

/** br_base32_text - writes BR_BASE32_CHARS(@len) characters and a final zero to @text */
void br_base32_text(const void *bytes, size_t len, char *text);

/**
 * br_base32_parse - exactly @len bytes out of exactly BR_BASE32_CHARS(@len) characters of @text
 * @text_len  characters given; another number of them is refused, and so are spare bits that are not zero (one text per value)
 * Returns false without touching @bytes beyond what was decoded before the fault.
 */
bool br_base32_parse(const char *text, size_t text_len, void *bytes, size_t len);

#endif
