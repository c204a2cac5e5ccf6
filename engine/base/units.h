// SPDX-License-Identifier: Apache-2.0
//
// Sizes, rates, times and names as people read and write them. IEC units in and out; exact numbers with --bytes.
#ifndef BR_BASE_UNITS_H
#define BR_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BR_NS_PER_S  UINT64_C(1000000000)
#define BR_NS_PER_MS UINT64_C(1000000)

/** br_size_parse - "4096", "64K", "64KiB", "1.5G", "2TiB" -> bytes; powers of 1024 only; false on anything else, overflow or a fraction of a byte */
bool br_size_parse(const char *text, uint64_t *ret_bytes);
/** br_size_text - "1.50 GiB", "10.9 KiB", "1023 KiB", "12 B": cut to 3 digits (4 from 1000 on), never rounded up */
void br_size_text(uint64_t bytes, char *text, size_t text_size);
/** br_duration_parse - "30s", "5m", "2h", "30d", "500ms"; a bare number is seconds; false on anything else, 0 allowed */
bool br_duration_parse(const char *text, uint64_t *ret_ns);
/** br_duration_text - "850 ms", "12 s", "4 m 05 s", "3 h 12 m", "12 d" */
void br_duration_text(uint64_t ns, char *text, size_t text_size);
/** br_time_text - UTC time of a Unix nanosecond stamp as 2026-11-24T03:05:00Z; correct for every 64-bit second count of years 0-9999, "?" beyond */
void br_time_text(uint64_t unix_ns, char *text, size_t text_size);
/**
 * br_quote - a name from outside as one printable line
 * Plain UTF-8 without control characters is kept; anything else is written C-style between quotes (\n, \x80), so that messages and
 * tables never break and two different names never print alike.
 */
void br_quote(const char *name, char *text, size_t text_size);
/**
 * br_visible - a message that may hold names or a peer's words, as one printable line
 * What is not plain UTF-8 without control characters is written \n or \xNN; all else is kept, so a name may look like another's escape.
 */
void br_visible(const char *message, char *text, size_t text_size);

#endif
