// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/store_wire.h"

#include <stdio.h>

#include "engine/sync/wire.h"

static bool has_name(enum br_store_wire_type type)
{
    switch (type) {
    case BR_STORE_WIRE_PUT:
    case BR_STORE_WIRE_BEGIN:
    case BR_STORE_WIRE_GET:
    case BR_STORE_WIRE_SIZE:
    case BR_STORE_WIRE_ARRIVED:
    case BR_STORE_WIRE_LIST:
    case BR_STORE_WIRE_REMOVE: return true;
    default: return false;
    }
}

// How many bytes may end a message of this type; 0: none are there.
static size_t bytes_max(enum br_store_wire_type type)
{
    switch (type) {
    case BR_STORE_WIRE_PUT: return BR_OBJECT_BYTES_MAX;
    case BR_STORE_WIRE_PIECE:
    case BR_STORE_WIRE_DATA: return BR_STORE_WIRE_PIECE_MAX;
    case BR_STORE_WIRE_NAMES: return BR_STORE_WIRE_NAMES_MAX + BR_OBJECT_NAME_BYTES + 2;
    default: return 0;
    }
}

static void put_open(const struct br_store_wire *m, struct br_buf *to)
{
    br_buf_append(to, BR_STORE_WIRE_MAGIC, 8);
    br_buf_u16(to, m->open.version_min);
    br_buf_u16(to, m->open.version_max);
    br_buf_u8(to, m->open.role);
    br_buf_string(to, m->program);
    br_buf_string(to, m->open.repository);
}

// What follows the repository's name is a later version's.
static int take_open(struct br_reader *r, struct br_store_wire *m, struct br_err *reterr)
{
    const uint8_t *magic = br_reader_take(r, 8);

    if (!magic || memcmp(magic, BR_STORE_WIRE_MAGIC, 8)) {
        return br_err_set(reterr, BR_E_VERSION, "the peer does not speak of a repository");
    }
    m->open.version_min = br_reader_u16(r);
    m->open.version_max = br_reader_u16(r);
    m->open.role = br_reader_u8(r);
    br_reader_string(r, m->program, sizeof(m->program));
    br_reader_string(r, m->open.repository, sizeof(m->open.repository));
    r->bad = r->bad || m->open.version_min > m->open.version_max;
    if (m->open.version_max > BR_STORE_WIRE_VERSION) {
        (void)br_reader_take(r, br_reader_left(r));
    }
    return 0;
}

static void take_opened(struct br_reader *r, struct br_store_wire *m)
{
    m->opened.version = br_reader_u16(r);
    m->opened.role = br_reader_u8(r);
    m->opened.credit_bytes = br_reader_u64(r);
    br_reader_string(r, m->program, sizeof(m->program));
    r->bad = r->bad || m->opened.version != BR_STORE_WIRE_VERSION || m->opened.credit_bytes < BR_STORE_WIRE_PIECE_MAX ||
             m->opened.credit_bytes > BR_STORE_WIRE_CREDIT_MAX;
}

void br_store_wire_encode(const struct br_store_wire *m, struct br_buf *to)
{
    br_buf_u32(to, m->type);
    br_buf_u32(to, m->number);
    switch (m->type) {
    case BR_STORE_WIRE_OPEN: put_open(m, to); break;
    case BR_STORE_WIRE_OPENED:
        br_buf_u16(to, m->opened.version);
        br_buf_u8(to, m->opened.role);
        br_buf_u64(to, m->opened.credit_bytes);
        br_buf_string(to, m->program);
        break;
    case BR_STORE_WIRE_END: br_buf_u8(to, m->keep); break;
    case BR_STORE_WIRE_GET:
        br_buf_u64(to, m->value);
        br_buf_u32(to, m->len_bytes);
        break;
    case BR_STORE_WIRE_CREDITED:
    case BR_STORE_WIRE_NUMBER: br_buf_u64(to, m->value); break;
    case BR_STORE_WIRE_DONE:
    case BR_STORE_WIRE_ERROR: br_wire_put_outcome(to, &m->outcome); break;
    default: break;
    }
    if (has_name(m->type)) {
        br_buf_string(to, m->name);
    }
}

static int take_payload(struct br_reader *r, struct br_store_wire *m, struct br_err *reterr)
{
    uint8_t flag;

    switch (m->type) {
    case BR_STORE_WIRE_OPEN: return take_open(r, m, reterr);
    case BR_STORE_WIRE_OPENED: take_opened(r, m); break;
    case BR_STORE_WIRE_END:
        flag = br_reader_u8(r);
        m->keep = flag;
        r->bad = r->bad || flag > 1;
        break;
    case BR_STORE_WIRE_GET:
        m->value = br_reader_u64(r);
        m->len_bytes = br_reader_u32(r);
        r->bad = r->bad || m->len_bytes > BR_STORE_WIRE_PIECE_MAX;
        break;
    case BR_STORE_WIRE_CREDITED:
    case BR_STORE_WIRE_NUMBER: m->value = br_reader_u64(r); break;
    case BR_STORE_WIRE_DONE:
    case BR_STORE_WIRE_ERROR:
        br_wire_take_outcome(r, &m->outcome);
        r->bad = r->bad || (m->type == BR_STORE_WIRE_ERROR && !m->outcome.code);
        break;
    default: break;
    }
    if (has_name(m->type)) {
        br_reader_string(r, m->name, sizeof(m->name));
    }
    if (bytes_max(m->type)) {
        m->bytes_len = br_reader_left(r);
        m->bytes = br_reader_take(r, m->bytes_len);
        r->bad = r->bad || m->bytes_len > bytes_max(m->type);
    }
    return 0;
}

int br_store_wire_decode(const void *bytes, size_t len, struct br_store_wire *ret_message, struct br_err *reterr)
{
    struct br_store_wire *m = ret_message;
    struct br_reader r = br_reader_init(bytes, len);

    memset(m, 0, sizeof(*m));
    uint32_t type = br_reader_u32(&r);
    m->number = br_reader_u32(&r);
    if (!br_reader_ok(&r) || type < BR_STORE_WIRE_OPEN || type > BR_STORE_WIRE_LAST) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a message of %zu bytes without a valid head", len);
    }
    m->type = (enum br_store_wire_type)type;
    int rc = take_payload(&r, m, reterr);
    if (rc < 0) {
        return rc;
    }
    if (!br_reader_done(&r) || (m->type == BR_STORE_WIRE_PIECE && !m->bytes_len)) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a %s message of %zu bytes that is not as the protocol says",
                          br_store_wire_name(m->type), len);
    }
    return 0;
}

int br_store_wire_send(const struct br_channel *channel, const struct br_store_wire *message, struct br_err *reterr)
{
    struct br_buf head = {0};

    br_store_wire_encode(message, &head);
    int rc = br_buf_failed(&head)
                 ? br_err_set(reterr, BR_E_NOMEM, "making a message")
                 : channel->ops->send(channel->ctx, head.data, head.len, message->bytes, message->bytes_len, reterr);
    br_buf_free(&head);
    return rc;
}

const char *br_store_wire_name(unsigned type)
{
    static const char *const names[] = {
        [BR_STORE_WIRE_OPEN] = "OPEN",       [BR_STORE_WIRE_OPENED] = "OPENED", [BR_STORE_WIRE_PUT] = "PUT",
        [BR_STORE_WIRE_BEGIN] = "BEGIN",     [BR_STORE_WIRE_PIECE] = "PIECE",   [BR_STORE_WIRE_END] = "END",
        [BR_STORE_WIRE_CREDITED] = "CREDIT", [BR_STORE_WIRE_SETTLE] = "SETTLE", [BR_STORE_WIRE_GET] = "GET",
        [BR_STORE_WIRE_DATA] = "DATA",       [BR_STORE_WIRE_SIZE] = "SIZE",     [BR_STORE_WIRE_ARRIVED] = "ARRIVED",
        [BR_STORE_WIRE_SPACE] = "SPACE",     [BR_STORE_WIRE_NUMBER] = "NUMBER", [BR_STORE_WIRE_LIST] = "LIST",
        [BR_STORE_WIRE_NAMES] = "NAMES",     [BR_STORE_WIRE_REMOVE] = "REMOVE", [BR_STORE_WIRE_DONE] = "DONE",
        [BR_STORE_WIRE_ERROR] = "ERROR",     [BR_STORE_WIRE_BYE] = "BYE",
    };

    return type < BR_ARRAY_LEN(names) && names[type] ? names[type] : "?";
}

void br_store_wire_add_name(struct br_buf *names, const char *name)
{
    br_buf_string(names, name);
}

bool br_store_wire_next_name(struct br_reader *names, char name[BR_OBJECT_NAME_BYTES])
{
    if (!br_reader_left(names)) {
        return false;
    }
    br_reader_string(names, name, BR_OBJECT_NAME_BYTES);
    return br_reader_ok(names);
}
