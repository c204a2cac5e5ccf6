// SPDX-License-Identifier: Apache-2.0
//
// Bytes: little-endian loads and stores, a growable buffer, a bounded reader, arithmetic that can't wrap, clean-up attributes.
// Every binary format of blkrep is little-endian and goes through these; no struct is ever written to disk as it lies in memory.
#ifndef BR_BASE_BYTES_H
#define BR_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/err.h"

#define BR_KIB (UINT64_C(1) << 10)
#define BR_MIB (UINT64_C(1) << 20)
#define BR_GIB (UINT64_C(1) << 30)
#define BR_TIB (UINT64_C(1) << 40)

#define BR_MIN(a, b)    ((a) < (b) ? (a) : (b))
#define BR_MAX(a, b)    ((a) > (b) ? (a) : (b))
#define BR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/** br_free_ptr - for BR_AUTO_FREE: frees what the pointer at @pointer_to_pointer points to */
static inline void br_free_ptr(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}
#define BR_AUTO_FREE __attribute__((cleanup(br_free_ptr)))

/** br_align_down - rounds down to a multiple of a power of two */
static inline uint64_t br_align_down(uint64_t value, uint64_t power_of_two)
{
    return value & ~(power_of_two - 1);
}

/** br_align_up - rounds up; wraps to 0 only for values within @power_of_two of 2^64, which no volume size reaches (max 2^62) */
static inline uint64_t br_align_up(uint64_t value, uint64_t power_of_two)
{
    return br_align_down(value + power_of_two - 1, power_of_two);
}

/** br_div_up - value / by, rounded up; by > 0; never wraps */
static inline uint64_t br_div_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

/** br_add_u64 - false when a + b does not fit; *ret_sum is then untouched */
static inline BR_MUST_CHECK bool br_add_u64(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *ret_sum = sum;
    return true;
}

/** br_mul_u64 - false when a * b does not fit; *ret_product is then untouched */
static inline BR_MUST_CHECK bool br_mul_u64(uint64_t a, uint64_t b, uint64_t *ret_product)
{
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *ret_product = product;
    return true;
}

/** br_range_ok - true when [offset, offset + len) lies within [0, size) and does not wrap */
static inline bool br_range_ok(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

/** br_put_u16, _u32, _u64 - store little-endian at any alignment; br_get_* load what they stored */
static inline void br_put_u16(void *to, uint16_t v)
{
    v = htole16(v);
    memcpy(to, &v, sizeof(v));
}
static inline void br_put_u32(void *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof(v));
}
static inline void br_put_u64(void *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof(v));
}
static inline uint16_t br_get_u16(const void *from)
{
    uint16_t v;
    memcpy(&v, from, sizeof(v));
    return le16toh(v);
}
static inline uint32_t br_get_u32(const void *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof(v));
    return le32toh(v);
}
static inline uint64_t br_get_u64(const void *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof(v));
    return le64toh(v);
}

/**
 * br_is_zero - true when all @len bytes are zero
 * Exact for every length and alignment; checked byte by byte against a plain loop in tests/prop (bdsync #39: a vector
 * test that was wrong in the last byte corrupted targets).
 */
bool br_is_zero(const void *bytes, size_t len);

// A growable byte string. A zeroed struct is empty and valid; br_buf_free() returns it to that. Allocation failure is sticky:
// appends after it do nothing and br_buf_failed() tells, so that encoders check once at the end.
struct br_buf {
    uint8_t *data;
    size_t len;
    size_t capacity;
    bool failed;
};

/** br_buf_free - releases the memory; the buffer is empty and reusable */
void br_buf_free(struct br_buf *buf);
/** br_buf_reset - empties without releasing the memory */
void br_buf_reset(struct br_buf *buf);
/** br_buf_reserve - room for @more bytes beyond len; false (and failed) when memory is short */
bool br_buf_reserve(struct br_buf *buf, size_t more);
/** br_buf_append - appends @len bytes (NULL appends zeros) */
void br_buf_append(struct br_buf *buf, const void *bytes, size_t len);
/** br_buf_u8 .. br_buf_u64 - append a little-endian number */
void br_buf_u8(struct br_buf *buf, uint8_t v);
void br_buf_u16(struct br_buf *buf, uint16_t v);
void br_buf_u32(struct br_buf *buf, uint32_t v);
void br_buf_u64(struct br_buf *buf, uint64_t v);
/** br_buf_string - appends a u16 length and the bytes; longer than 65535 fails the buffer */
void br_buf_string(struct br_buf *buf, const char *text);
/** br_buf_printf - appends formatted text without a final zero */
void br_buf_printf(struct br_buf *buf, const char *fmt, ...) BR_PRINTF(2, 3);
static inline bool br_buf_failed(const struct br_buf *buf)
{
    return buf->failed;
}

/** br_u32_order - for qsort() and bsearch() of uint32_t, ascending */
static inline int br_u32_order(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

// A reader over bytes from outside. Reading past the end is sticky: it yields zeros and br_reader_ok() turns false, so that decoders
// check once before they use what they read.
struct br_reader {
    const uint8_t *data;
    size_t len;
    size_t pos;
    bool bad;
};

/** br_reader_init - a reader at the start of @len bytes that the caller keeps alive and unchanged */
static inline struct br_reader br_reader_init(const void *data, size_t len)
{
    return (struct br_reader){.data = data, .len = len};
}
/** br_reader_take - pointer to the next @len bytes, or NULL (and bad) when fewer are left */
const uint8_t *br_reader_take(struct br_reader *reader, size_t len);
/** br_reader_copy - copies the next @len bytes to @to; zeros when fewer are left */
void br_reader_copy(struct br_reader *reader, void *to, size_t len);
/** br_reader_u8 .. br_reader_u64 - the next little-endian number */
uint8_t br_reader_u8(struct br_reader *reader);
uint16_t br_reader_u16(struct br_reader *reader);
uint32_t br_reader_u32(struct br_reader *reader);
uint64_t br_reader_u64(struct br_reader *reader);
/** br_reader_string - a u16 length and that many bytes, copied with a final zero; too long for @to_size or holding a zero byte: bad */
void br_reader_string(struct br_reader *reader, char *to, size_t to_size);
static inline size_t br_reader_left(const struct br_reader *reader)
{
    return reader->bad ? 0 : reader->len - reader->pos;
}
static inline bool br_reader_ok(const struct br_reader *reader)
{
    return !reader->bad;
}
/** br_reader_done - true when all was read and nothing was bad */
static inline bool br_reader_done(const struct br_reader *reader)
{
    return !reader->bad && reader->pos == reader->len;
}

#endif
