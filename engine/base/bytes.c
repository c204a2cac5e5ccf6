// SPDX-License-Identifier: Apache-2.0
#include "engine/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

bool br_is_zero(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    while (len >= 64) {
        uint64_t words[8];
        memcpy(words, p, sizeof(words));
        if (words[0] | words[1] | words[2] | words[3] | words[4] | words[5] | words[6] | words[7]) {
            return false;
        }
        p += 64;
        len -= 64;
    }
    for (size_t i = 0; i < len; i++) {
        if (p[i]) {
            return false;
        }
    }
    return true;
}

void br_buf_free(struct br_buf *buf)
{
    free(buf->data);
    *buf = (struct br_buf){0};
}

void br_buf_reset(struct br_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

bool br_buf_reserve(struct br_buf *buf, size_t more)
{
    size_t need;

    if (buf->failed) {
        return false;
    }
    if (__builtin_add_overflow(buf->len, more, &need)) {
        buf->failed = true;
        return false;
    }
    if (need <= buf->capacity) {
        return true;
    }
    size_t capacity = BR_MAX(need, buf->capacity + buf->capacity / 2);
    capacity = BR_MAX(capacity, (size_t)64);
    uint8_t *data = realloc(buf->data, capacity);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void br_buf_append(struct br_buf *buf, const void *bytes, size_t len)
{
    if (!len || !br_buf_reserve(buf, len)) {
        return;
    }
    if (bytes) {
        memcpy(buf->data + buf->len, bytes, len);
    } else {
        memset(buf->data + buf->len, 0, len);
    }
    buf->len += len;
}

void br_buf_u8(struct br_buf *buf, uint8_t v)
{
    br_buf_append(buf, &v, sizeof(v));
}

void br_buf_u16(struct br_buf *buf, uint16_t v)
{
    v = htole16(v);
    br_buf_append(buf, &v, sizeof(v));
}

void br_buf_u32(struct br_buf *buf, uint32_t v)
{
    v = htole32(v);
    br_buf_append(buf, &v, sizeof(v));
}

void br_buf_u64(struct br_buf *buf, uint64_t v)
{
    v = htole64(v);
    br_buf_append(buf, &v, sizeof(v));
}

void br_buf_string(struct br_buf *buf, const char *text)
{
    size_t len = strlen(text);

    if (len > UINT16_MAX) {
        buf->failed = true;
        return;
    }
    br_buf_u16(buf, (uint16_t)len);
    br_buf_append(buf, text, len);
}

void br_buf_printf(struct br_buf *buf, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0 || !br_buf_reserve(buf, (size_t)len + 1)) {
        buf->failed = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)len;
}

const uint8_t *br_reader_take(struct br_reader *reader, size_t len)
{
    if (reader->bad || len > reader->len - reader->pos) {
        reader->bad = true;
        return NULL;
    }
    const uint8_t *at = reader->data + reader->pos;
    reader->pos += len;
    return at;
}

void br_reader_copy(struct br_reader *reader, void *to, size_t len)
{
    const uint8_t *at = br_reader_take(reader, len);

    if (!at) {
        memset(to, 0, len);
    } else if (len) {
        memcpy(to, at, len);
    }
}

uint8_t br_reader_u8(struct br_reader *reader)
{
    const uint8_t *at = br_reader_take(reader, 1);
    return at ? *at : 0;
}

uint16_t br_reader_u16(struct br_reader *reader)
{
    const uint8_t *at = br_reader_take(reader, 2);
    return at ? br_get_u16(at) : 0;
}

uint32_t br_reader_u32(struct br_reader *reader)
{
    const uint8_t *at = br_reader_take(reader, 4);
    return at ? br_get_u32(at) : 0;
}

uint64_t br_reader_u64(struct br_reader *reader)
{
    const uint8_t *at = br_reader_take(reader, 8);
    return at ? br_get_u64(at) : 0;
}

void br_reader_string(struct br_reader *reader, char *to, size_t to_size)
{
    size_t len = br_reader_u16(reader);
    const uint8_t *at = br_reader_take(reader, len);

    if (!at || len >= to_size || memchr(at, 0, len)) {
        reader->bad = true;
        to[0] = 0;
        return;
    }
    memcpy(to, at, len);
    to[len] = 0;
}
