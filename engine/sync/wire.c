// SPDX-License-Identifier: Apache-2.0
//
// Messages as bytes. One put and one take per message, side by side, so that they can be read together.
#include "engine/sync/wire.h"

#include <inttypes.h>

enum { BEGIN_ZERO = 1, BEGIN_ABSENT = 2, BEGIN_DISCARD = 4, BEGIN_OVERWRITE = 8 };
enum { INFO_BLOCK = 1, INFO_EMPTY = 2, INFO_ZERO = 4 };

static void put_uuid(struct br_buf *to, const struct br_uuid *uuid)
{
    br_buf_append(to, uuid->bytes, BR_UUID_BYTES);
}

static void take_uuid(struct br_reader *r, struct br_uuid *ret_uuid)
{
    br_reader_copy(r, ret_uuid->bytes, BR_UUID_BYTES);
}

// A byte of flags: unknown ones are refused.
static uint8_t take_flags(struct br_reader *r, uint8_t known)
{
    uint8_t flags = br_reader_u8(r);

    r->bad = r->bad || (flags & ~known);
    return flags;
}

void br_wire_put_outcome(struct br_buf *to, const struct br_err *err)
{
    br_buf_string(to, err->code ? br_err_name(err->code) : "NONE");
    br_buf_u8(to, err->has_offset);
    br_buf_u64(to, err->offset_bytes);
    br_buf_string(to, err->text);
}

// Text from outside becomes one printable line.
void br_wire_take_outcome(struct br_reader *r, struct br_err *ret_err)
{
    char name[32];

    *ret_err = (struct br_err){0};
    br_reader_string(r, name, sizeof(name));
    ret_err->has_offset = take_flags(r, 1);
    ret_err->offset_bytes = br_reader_u64(r);
    br_reader_string(r, ret_err->text, sizeof(ret_err->text));
    for (char *at = ret_err->text; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            *at = '?';
        }
    }
    if (strcmp(name, "NONE")) {
        ret_err->code = br_err_from_peer(name);
    }
}

static void put_hello(struct br_buf *to, const struct br_wire_hello *hello)
{
    br_buf_append(to, BR_WIRE_MAGIC, 8);
    br_buf_u16(to, hello->version_min);
    br_buf_u16(to, hello->version_max);
    br_buf_u32(to, hello->capabilities);
    put_uuid(to, &hello->session);
    br_buf_u16(to, hello->lanes);
    br_buf_u32(to, hello->message_bytes_max);
    br_buf_string(to, hello->program);
}

// What follows the program's name is a later version's.
static int take_hello(struct br_reader *r, struct br_wire_hello *hello, struct br_err *reterr)
{
    const uint8_t *magic = br_reader_take(r, 8);

    if (!magic || memcmp(magic, BR_WIRE_MAGIC, 8)) {
        return br_err_set(reterr, BR_E_VERSION, "the peer does not speak a blkrep session");
    }
    hello->version_min = br_reader_u16(r);
    hello->version_max = br_reader_u16(r);
    hello->capabilities = br_reader_u32(r);
    take_uuid(r, &hello->session);
    hello->lanes = br_reader_u16(r);
    hello->message_bytes_max = br_reader_u32(r);
    br_reader_string(r, hello->program, sizeof(hello->program));
    r->bad = r->bad || hello->version_min > hello->version_max;
    if (hello->version_max > BR_WIRE_VERSION) {
        (void)br_reader_take(r, br_reader_left(r));
    }
    return 0;
}

static void put_welcome(struct br_buf *to, const struct br_wire_welcome *welcome)
{
    br_buf_u16(to, welcome->version);
    br_buf_u32(to, welcome->capabilities);
    put_uuid(to, &welcome->session);
    br_buf_u16(to, welcome->lanes);
    br_buf_u32(to, welcome->message_bytes_max);
    br_buf_u64(to, welcome->credit_bytes);
    br_buf_string(to, welcome->program);
}

static void take_welcome(struct br_reader *r, struct br_wire_welcome *welcome)
{
    welcome->version = br_reader_u16(r);
    welcome->capabilities = br_reader_u32(r);
    take_uuid(r, &welcome->session);
    welcome->lanes = br_reader_u16(r);
    welcome->message_bytes_max = br_reader_u32(r);
    welcome->credit_bytes = br_reader_u64(r);
    br_reader_string(r, welcome->program, sizeof(welcome->program));
    r->bad = r->bad || welcome->version != BR_WIRE_VERSION || welcome->capabilities & ~BR_WIRE_CAPABILITIES ||
             welcome->credit_bytes < BR_STREAM_FRAME_BYTES_MAX || welcome->credit_bytes > BR_WIRE_CREDIT_BYTES_MAX ||
             welcome->message_bytes_max < BR_WIRE_MESSAGE_BYTES_MAX;
}

static void put_info(struct br_buf *to, const struct br_endpoint_info *info)
{
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    struct br_identity identity = info->identity;

    identity.evidence = (struct br_evidence){0}; // facts about the server's file system are its own
    identity.stage_bytes = 0;
    identity.stage_id = (struct br_uuid){0};
    br_identity_encode(&identity, slot);
    br_buf_u64(to, info->capacity_bytes);
    br_buf_u8(to, (uint8_t)((info->is_block ? INFO_BLOCK : 0) | (info->empty ? INFO_EMPTY : 0) |
                            (info->zero ? INFO_ZERO : 0)));
    put_uuid(to, &info->origin);
    br_buf_string(to, info->holds);
    br_buf_append(to, slot, sizeof(slot));
}

static int take_info(struct br_reader *r, struct br_endpoint_info *info, struct br_err *reterr)
{
    info->capacity_bytes = br_reader_u64(r);
    uint8_t flags = take_flags(r, INFO_BLOCK | INFO_EMPTY | INFO_ZERO);
    info->is_block = flags & INFO_BLOCK;
    info->empty = flags & INFO_EMPTY;
    info->zero = flags & INFO_ZERO;
    take_uuid(r, &info->origin);
    br_reader_string(r, info->holds, sizeof(info->holds));
    const uint8_t *slot = br_reader_take(r, BR_IDENTITY_SLOT_BYTES);
    if (!slot) {
        return 0; // r is bad
    }
    int rc = br_identity_decode(slot, &info->identity, reterr);
    return rc < 0 ? br_err_prefix(reterr, "the replica's identity as the peer tells it") : 0;
}

static void take_get_nodes(struct br_reader *r, struct br_wire_message *m)
{
    m->get_nodes.count = br_reader_u16(r);
    if (m->get_nodes.count < 1 || m->get_nodes.count > BR_WIRE_NODES_MAX) {
        r->bad = true;
        return;
    }
    for (unsigned i = 0; i < m->get_nodes.count; i++) {
        m->get_nodes.refs[i] = br_reader_u64(r);
        r->bad = r->bad || !m->get_nodes.refs[i];
    }
}

static void take_nodes(struct br_reader *r, struct br_wire_message *m)
{
    m->nodes.count = br_reader_u16(r);
    if (m->nodes.count < 1 || m->nodes.count > BR_WIRE_NODES_MAX) {
        r->bad = true;
        return;
    }
    for (unsigned i = 0; i < m->nodes.count; i++) {
        m->nodes.lens[i] = br_reader_u32(r);
        m->nodes.nodes[i] = m->nodes.lens[i] <= BR_TREE_NODE_BYTES_MAX ? br_reader_take(r, m->nodes.lens[i]) : NULL;
        r->bad = r->bad || !m->nodes.nodes[i];
    }
}

static void put_held_block(struct br_buf *to, const struct br_held_block *block)
{
    br_buf_u64(to, block->index);
    br_buf_append(to, block->leaf.bytes, BR_HASH_BYTES);
}

static void put_held(struct br_buf *to, const struct br_wire_message *m)
{
    br_buf_u32(to, m->held.count);
    for (unsigned i = 0; m->held.blocks && i < m->held.count; i++) {
        put_held_block(to, &m->held.blocks[i]);
    }
    if (!m->held.blocks && m->held.count) {
        br_buf_append(to, m->held.bytes, (size_t)m->held.count * BR_WIRE_HELD_BYTES);
    }
}

static void take_held(struct br_reader *r, struct br_wire_message *m)
{
    m->held.count = br_reader_u32(r);
    if (m->held.count > BR_WIRE_HELD_MAX) {
        r->bad = true;
        return;
    }
    m->held.bytes = br_reader_take(r, (size_t)m->held.count * BR_WIRE_HELD_BYTES);
    for (unsigned i = 1; m->held.bytes && i < m->held.count; i++) {
        const uint8_t *at = m->held.bytes + (size_t)i * BR_WIRE_HELD_BYTES;
        r->bad = r->bad || br_get_u64(at) <= br_get_u64(at - BR_WIRE_HELD_BYTES);
    }
}

static void put_keep(struct br_buf *to, const struct br_keep *keep)
{
    br_buf_u16(to, (uint16_t)keep->count);
    for (unsigned i = 0; i < keep->count; i++) {
        put_held_block(to, &keep->blocks[i]);
    }
}

// That blocks ascend and lie in the volume is asked where the volume is known.
static void take_keep(struct br_reader *r, struct br_keep *keep)
{
    keep->count = br_reader_u16(r);
    if (keep->count < 1 || keep->count > BR_BATCH_BLOCKS_MAX) {
        r->bad = true;
        return;
    }
    for (unsigned i = 0; i < keep->count; i++) {
        keep->blocks[i].index = br_reader_u64(r);
        br_reader_copy(r, keep->blocks[i].leaf.bytes, BR_HASH_BYTES);
    }
}

static void put_begin(struct br_buf *to, const struct br_wire_message *m)
{
    const struct br_replica_begin *begin = &m->begin.begin;

    br_buf_u8(to, (uint8_t)begin->mode);
    br_buf_u8(to, (uint8_t)((begin->target_is_zero ? BEGIN_ZERO : 0) | (begin->absent_keeps_facts ? BEGIN_ABSENT : 0) |
                            (begin->discard_version ? BEGIN_DISCARD : 0) | (m->begin.overwrite ? BEGIN_OVERWRITE : 0)));
    br_buf_u64(to, begin->expected_bytes);
}

static void take_begin(struct br_reader *r, struct br_wire_message *m)
{
    uint8_t mode = br_reader_u8(r);
    uint8_t flags = take_flags(r, BEGIN_ZERO | BEGIN_ABSENT | BEGIN_DISCARD | BEGIN_OVERWRITE);

    m->begin.begin = (struct br_replica_begin){
        .mode = (enum br_replica_mode)mode,
        .target_is_zero = flags & BEGIN_ZERO,
        .absent_keeps_facts = flags & BEGIN_ABSENT,
        .discard_version = flags & BEGIN_DISCARD,
        .expected_bytes = br_reader_u64(r),
    };
    m->begin.overwrite = flags & BEGIN_OVERWRITE;
    r->bad = r->bad || mode > BR_MODE_REPLACE;
}

static void take_stream(struct br_reader *r, struct br_wire_message *m)
{
    m->stream_len = br_reader_left(r);
    m->stream = br_reader_take(r, m->stream_len);
    r->bad = r->bad || m->stream_len < BR_STREAM_HEAD_BYTES || m->stream_len > BR_STREAM_FRAME_BYTES_MAX;
}

static void put_result(struct br_buf *to, const struct br_wire_message *m)
{
    br_buf_u64(to, m->result.result.bytes_durable);
    br_buf_u64(to, m->result.result.bytes_written);
    br_buf_u64(to, m->result.result.bytes_rechecked);
    br_buf_u64(to, m->result.result.recheck_mismatches);
    br_wire_put_outcome(to, &m->result.outcome);
}

static void take_result(struct br_reader *r, struct br_wire_message *m)
{
    m->result.result.bytes_durable = br_reader_u64(r);
    m->result.result.bytes_written = br_reader_u64(r);
    m->result.result.bytes_rechecked = br_reader_u64(r);
    m->result.result.recheck_mismatches = br_reader_u64(r);
    br_wire_take_outcome(r, &m->result.outcome);
}

void br_wire_encode(const struct br_wire_message *m, struct br_buf *to)
{
    br_buf_u8(to, (uint8_t)m->type);
    br_buf_u8(to, 0);
    br_buf_u16(to, m->lane);
    br_buf_u32(to, m->request);
    switch (m->type) {
    case BR_WIRE_HELLO: put_hello(to, &m->hello); break;
    case BR_WIRE_WELCOME: put_welcome(to, &m->welcome); break;
    case BR_WIRE_OPEN:
        br_buf_u8(to, m->open.role);
        br_buf_u8(to, (uint8_t)(m->open.discard_damaged | m->open.plan << 1));
        br_buf_string(to, m->open.volume);
        break;
    case BR_WIRE_OPENED: br_buf_u8(to, (uint8_t)(m->opened.may_write | m->opened.may_replace << 1)); break;
    case BR_WIRE_INFO: put_info(to, &m->info); break;
    case BR_WIRE_GET_NODES:
        br_buf_u16(to, (uint16_t)m->get_nodes.count);
        for (unsigned i = 0; i < m->get_nodes.count; i++) {
            br_buf_u64(to, m->get_nodes.refs[i]);
        }
        break;
    case BR_WIRE_NODES:
        br_buf_u16(to, (uint16_t)m->nodes.count);
        for (unsigned i = 0; i < m->nodes.count; i++) {
            br_buf_u32(to, m->nodes.lens[i]);
            br_buf_append(to, m->nodes.nodes[i], m->nodes.lens[i]);
        }
        break;
    case BR_WIRE_BEGIN:
        put_begin(to, m);
        br_buf_append(to, m->stream, m->stream_len);
        break;
    case BR_WIRE_CREDIT:
        br_buf_u64(to, m->credit.taken_cost);
        br_buf_u64(to, m->credit.durable_bytes);
        break;
    case BR_WIRE_COMMIT:
        br_buf_u64(to, m->recheck_bytes);
        br_buf_append(to, m->stream, m->stream_len);
        break;
    case BR_WIRE_RECHECK: br_buf_u64(to, m->recheck_bytes); break;
    case BR_WIRE_RESULT: put_result(to, m); break;
    case BR_WIRE_PROGRESS:
        br_buf_u64(to, m->progress.done_bytes);
        br_buf_u64(to, m->progress.total_bytes);
        break;
    case BR_WIRE_VERIFIED:
        br_buf_u64(to, m->verified.bad_blocks);
        br_wire_put_outcome(to, &m->verified.outcome);
        break;
    case BR_WIRE_ERROR: br_wire_put_outcome(to, &m->error); break;
    case BR_WIRE_GET_HELD:
        br_buf_u64(to, m->get_held.first);
        br_buf_u32(to, m->get_held.most);
        break;
    case BR_WIRE_HELD: put_held(to, m); break;
    case BR_WIRE_KEEP: put_keep(to, &m->keep); break;
    default: break; // a head alone, or a FRAME, whose frame is the second piece
    }
}

// Only the messages of a few numbers; the others have functions above.
static void take_small(struct br_reader *r, struct br_wire_message *m)
{
    uint8_t flags;

    switch (m->type) {
    case BR_WIRE_OPEN:
        m->open.role = br_reader_u8(r);
        flags = take_flags(r, 3);
        m->open.discard_damaged = flags & 1;
        m->open.plan = flags & 2;
        br_reader_string(r, m->open.volume, sizeof(m->open.volume));
        break;
    case BR_WIRE_OPENED:
        flags = take_flags(r, 3);
        m->opened.may_write = flags & 1;
        m->opened.may_replace = flags & 2;
        break;
    case BR_WIRE_CREDIT:
        m->credit.taken_cost = br_reader_u64(r);
        m->credit.durable_bytes = br_reader_u64(r);
        break;
    case BR_WIRE_RECHECK: m->recheck_bytes = br_reader_u64(r); break;
    case BR_WIRE_PROGRESS:
        m->progress.done_bytes = br_reader_u64(r);
        m->progress.total_bytes = br_reader_u64(r);
        break;
    case BR_WIRE_VERIFIED:
        m->verified.bad_blocks = br_reader_u64(r);
        br_wire_take_outcome(r, &m->verified.outcome);
        break;
    case BR_WIRE_GET_HELD:
        m->get_held.first = br_reader_u64(r);
        m->get_held.most = br_reader_u32(r);
        r->bad = r->bad || m->get_held.most < 1 || m->get_held.most > BR_WIRE_HELD_MAX;
        break;
    default: break; // nothing in it
    }
}

static int take_payload(struct br_reader *r, struct br_wire_message *m, struct br_err *reterr)
{
    switch (m->type) {
    case BR_WIRE_HELLO: return take_hello(r, &m->hello, reterr);
    case BR_WIRE_WELCOME: take_welcome(r, &m->welcome); break;
    case BR_WIRE_INFO: return take_info(r, &m->info, reterr);
    case BR_WIRE_GET_NODES: take_get_nodes(r, m); break;
    case BR_WIRE_NODES: take_nodes(r, m); break;
    case BR_WIRE_BEGIN:
        take_begin(r, m);
        take_stream(r, m);
        break;
    case BR_WIRE_FRAME: take_stream(r, m); break;
    case BR_WIRE_COMMIT:
        m->recheck_bytes = br_reader_u64(r);
        take_stream(r, m);
        break;
    case BR_WIRE_RESULT: take_result(r, m); break;
    case BR_WIRE_ERROR: br_wire_take_outcome(r, &m->error); break;
    case BR_WIRE_HELD: take_held(r, m); break;
    case BR_WIRE_KEEP: take_keep(r, &m->keep); break;
    default: take_small(r, m); break;
    }
    return 0;
}

int br_wire_decode(const void *bytes, size_t len, struct br_wire_message *ret_message, struct br_err *reterr)
{
    struct br_wire_message *m = ret_message;
    struct br_reader r = br_reader_init(bytes, len);

    memset(m, 0, sizeof(*m));
    uint8_t type = br_reader_u8(&r);
    uint8_t zero = br_reader_u8(&r);
    m->type = (enum br_wire_type)type;
    m->lane = br_reader_u16(&r);
    m->request = br_reader_u32(&r);
    if (!br_reader_ok(&r) || zero || m->lane) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a message of %zu bytes without a valid head", len);
    }
    if (type < BR_WIRE_HELLO || type > BR_WIRE_LAST) {
        m->unknown = true;
        return type >= BR_WIRE_UNKNOWN_IGNORABLE
                   ? 0
                   : br_err_set(reterr, BR_E_PROTOCOL, "a message of unknown type %u", type);
    }
    int rc = take_payload(&r, m, reterr);
    if (rc < 0) {
        return rc;
    }
    if (!br_reader_done(&r)) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a %s message of %zu bytes that is not as the protocol says",
                          br_wire_name(type), len);
    }
    return 0;
}

void br_wire_held_block(const struct br_wire_message *message, unsigned index, struct br_held_block *ret_block)
{
    const uint8_t *at = message->held.bytes + (size_t)index * BR_WIRE_HELD_BYTES;

    ret_block->index = br_get_u64(at);
    memcpy(ret_block->leaf.bytes, at + 8, BR_HASH_BYTES);
}

const char *br_wire_name(unsigned type)
{
    static const char *const names[] = {
        [BR_WIRE_HELLO] = "HELLO",         [BR_WIRE_WELCOME] = "WELCOME",   [BR_WIRE_OPEN] = "OPEN",
        [BR_WIRE_OPENED] = "OPENED",       [BR_WIRE_GET_INFO] = "GET_INFO", [BR_WIRE_INFO] = "INFO",
        [BR_WIRE_GET_NODES] = "GET_NODES", [BR_WIRE_NODES] = "NODES",       [BR_WIRE_BEGIN] = "BEGIN",
        [BR_WIRE_BEGUN] = "BEGUN",         [BR_WIRE_FRAME] = "FRAME",       [BR_WIRE_CREDIT] = "CREDIT",
        [BR_WIRE_COMMIT] = "COMMIT",       [BR_WIRE_RECHECK] = "RECHECK",   [BR_WIRE_RESULT] = "RESULT",
        [BR_WIRE_ABORT] = "ABORT",         [BR_WIRE_ABORTED] = "ABORTED",   [BR_WIRE_VERIFY] = "VERIFY",
        [BR_WIRE_PROGRESS] = "PROGRESS",   [BR_WIRE_VERIFIED] = "VERIFIED", [BR_WIRE_PING] = "PING",
        [BR_WIRE_PONG] = "PONG",           [BR_WIRE_ERROR] = "ERROR",       [BR_WIRE_BYE] = "BYE",
        [BR_WIRE_GET_HELD] = "GET_HELD",   [BR_WIRE_HELD] = "HELD",         [BR_WIRE_KEEP] = "KEEP",
    };

    return type < BR_ARRAY_LEN(names) && names[type] ? names[type] : "?";
}

uint64_t br_wire_frame_cost(const uint8_t head[BR_STREAM_HEAD_BYTES])
{
    return (uint64_t)BR_STREAM_HEAD_BYTES + br_get_u16(head + BR_STREAM_AT_TABLE_BYTES) +
           BR_MAX(br_get_u32(head + BR_STREAM_AT_BODY_BYTES), br_get_u32(head + BR_STREAM_AT_RAW_BYTES));
}

int br_wire_send(const struct br_channel *channel, const struct br_wire_message *message, struct br_err *reterr)
{
    struct br_buf bytes = {0};

    br_wire_encode(message, &bytes);
    int rc = br_buf_failed(&bytes) ? br_err_set(reterr, BR_E_NOMEM, "making a %s message", br_wire_name(message->type))
                                   : channel->ops->send(channel->ctx, bytes.data, bytes.len, NULL, 0, reterr);
    br_buf_free(&bytes);
    return rc;
}
