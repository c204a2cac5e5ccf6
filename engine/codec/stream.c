// SPDX-License-Identifier: Apache-2.0
//
// Making a stream. A frame is built in place in its struct: head, table, and a pointer to the body.
#include "engine/codec/stream.h"

#include "engine/codec/pack.h"
#include "engine/codec/stream_sums.h"

#include <inttypes.h>

void br_stream_frame_free(struct br_stream_frame *frame)
{
    br_buf_free(&frame->packed);
    *frame = (struct br_stream_frame){0};
}

void br_stream_frame_append(const struct br_stream_frame *frame, struct br_buf *to)
{
    br_buf_append(to, frame->head, frame->head_len);
    if (frame->body_len) {
        br_buf_append(to, frame->body, frame->body_len);
    }
}

// A fresh frame; keeps the memory of the compressed form.
static void frame_reset(struct br_stream_frame *frame)
{
    struct br_buf packed = frame->packed;

    br_buf_reset(&packed);
    frame->head_len = 0;
    frame->body = NULL;
    frame->body_len = 0;
    frame->first_block = frame->end_block = 0;
    frame->counts = (struct br_delta_end){0};
    frame->packed = packed;
}

// Writes a head without sequence and checksum at @head.
static void put_head(uint8_t *head, enum br_stream_type type, uint8_t flags, size_t table_len, size_t body_len,
                     size_t raw_len)
{
    memset(head, 0, BR_STREAM_HEAD_BYTES);
    memcpy(head + BR_STREAM_AT_MAGIC, BR_STREAM_MAGIC, 4);
    head[BR_STREAM_AT_TYPE] = (uint8_t)type;
    head[BR_STREAM_AT_FLAGS] = flags;
    br_put_u16(head + BR_STREAM_AT_TABLE_BYTES, (uint16_t)table_len);
    br_put_u32(head + BR_STREAM_AT_BODY_BYTES, (uint32_t)body_len);
    br_put_u32(head + BR_STREAM_AT_RAW_BYTES, (uint32_t)raw_len);
}

// Gives the frame at @head its place.
static void seal_head(struct br_stream_encoder *encoder, uint8_t *head, uint64_t payload_hash)
{
    br_put_u64(head + BR_STREAM_AT_SEQUENCE, encoder->sequence);
    encoder->chain = br_stream_sum_frame(head, payload_hash, encoder->chain);
    br_put_u64(head + BR_STREAM_AT_CHECKSUM, encoder->chain);
    br_stream_sum_digest(encoder->digest, head);
    encoder->sequence++;
}

// Adds a small frame (table only), sealed, behind what frame->head holds. The table was written behind the head's place already.
static void add_small(struct br_stream_encoder *encoder, struct br_stream_frame *frame, enum br_stream_type type,
                      uint8_t flags, size_t table_len)
{
    uint8_t *head = frame->head + frame->head_len;

    put_head(head, type, flags, table_len, 0, 0);
    seal_head(encoder, head, br_stream_sum_payload(head + BR_STREAM_HEAD_BYTES, table_len, NULL, 0));
    frame->head_len += BR_STREAM_HEAD_BYTES + table_len;
    encoder->bytes += BR_STREAM_HEAD_BYTES + table_len;
}

static size_t put_header_table(uint8_t *to, const struct br_delta_header *header)
{
    size_t label_len = strlen(header->label);

    memset(to, 0, BR_STREAM_HEADER_FIXED_BYTES);
    memcpy(to, header->stream_id.bytes, 16);
    memcpy(to + 16, header->volume.bytes, 16);
    br_put_u64(to + 32, header->generation.counter);
    memcpy(to + 40, header->generation.id.bytes, 16);
    memcpy(to + 56, header->generation.parent_id.bytes, 16);
    memcpy(to + 72, header->parent_root.bytes, 32);
    br_put_u64(to + 104, header->parent_size_bytes);
    br_put_u64(to + 112, header->size_bytes);
    br_put_u32(to + 120, header->sector_bytes);
    to[124] = header->hash_id;
    to[125] = header->consistency;
    to[126] = header->full;
    br_put_u32(to + 128, BR_BLOCK_BYTES);
    br_put_u32(to + 132, BR_PAGE_BYTES);
    br_put_u64(to + 136, header->taken_unix_ns);
    br_put_u16(to + 144, (uint16_t)label_len);
    memcpy(to + BR_STREAM_HEADER_FIXED_BYTES, header->label, label_len);
    return BR_STREAM_HEADER_FIXED_BYTES + label_len;
}

// @encoder says which form.
static int start(struct br_stream_encoder *encoder, const struct br_delta_header *header,
                 struct br_stream_frame *ret_frame, struct br_err *reterr)
{
    int rc = br_delta_header_check(header, reterr);
    if (rc < 0) {
        return rc;
    }
    if (!br_tree_geometry_of(header->size_bytes, &encoder->geometry)) {
        return br_err_set(reterr, BR_E_INTERNAL, "no geometry for a checked size");
    }
    frame_reset(ret_frame);
    memcpy(ret_frame->head, encoder->staged ? BR_STREAM_STAGED_PREAMBLE : BR_STREAM_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
    ret_frame->head_len = encoder->bytes = BR_STREAM_PREAMBLE_BYTES;
    add_small(encoder, ret_frame, BR_STREAM_HEADER, 0,
              put_header_table(ret_frame->head + ret_frame->head_len + BR_STREAM_HEAD_BYTES, header));
    if (!header->full && header->parent_size_bytes != header->size_bytes) {
        uint8_t *table = ret_frame->head + ret_frame->head_len + BR_STREAM_HEAD_BYTES;
        br_put_u64(table, header->parent_size_bytes);
        br_put_u64(table + 8, header->size_bytes);
        add_small(encoder, ret_frame, BR_STREAM_RESIZE, 0, BR_STREAM_RESIZE_BYTES);
    }
    return 0;
}

int br_stream_start(struct br_stream_encoder *encoder, const struct br_delta_header *header,
                    struct br_stream_frame *ret_frame, struct br_err *reterr)
{
    *encoder = (struct br_stream_encoder){.chain = br_stream_sum_start()};
    return start(encoder, header, ret_frame, reterr);
}

int br_stream_start_staged(struct br_stream_encoder *encoder, const struct br_delta_header *header,
                           struct br_stream_frame *ret_frame, struct br_err *reterr)
{
    *encoder = (struct br_stream_encoder){.chain = br_stream_sum_start_staged(), .staged = true};
    return start(encoder, header, ret_frame, reterr);
}

int br_stream_pack_batch(const struct br_tree_geometry *geometry, const struct br_batch *batch, int level,
                         struct br_stream_frame *ret_frame, struct br_err *reterr)
{
    int rc = br_batch_check(batch, geometry, reterr);
    if (rc < 0) {
        return rc;
    }
    frame_reset(ret_frame);
    rc = br_pack(batch->data, batch->data_bytes, level, &ret_frame->packed, reterr);
    if (rc < 0) {
        return rc;
    }
    ret_frame->body = rc ? ret_frame->packed.data : batch->data;
    ret_frame->body_len = rc ? ret_frame->packed.len : batch->data_bytes;

    uint8_t *table = ret_frame->head + BR_STREAM_HEAD_BYTES;
    size_t table_len = (size_t)batch->block_count * BR_STREAM_BLOCK_BYTES;
    for (unsigned i = 0; i < batch->block_count; i++) {
        uint8_t *entry = table + (size_t)i * BR_STREAM_BLOCK_BYTES;
        br_put_u64(entry, batch->blocks[i].index);
        memcpy(entry + 8, batch->blocks[i].leaf.bytes, BR_HASH_BYTES);
        br_put_u16(entry + 40, batch->blocks[i].pages);
        br_put_u16(entry + 42, batch->blocks[i].zeros);
    }
    put_head(ret_frame->head, BR_STREAM_DATA, rc ? BR_STREAM_FLAG_ZSTD : 0, table_len, ret_frame->body_len,
             batch->data_bytes);
    ret_frame->head_len = BR_STREAM_HEAD_BYTES + table_len;
    ret_frame->payload_hash = br_stream_sum_payload(table, table_len, ret_frame->body, ret_frame->body_len);
    ret_frame->first_block = batch->blocks[0].index;
    ret_frame->end_block = batch->blocks[batch->block_count - 1].index + 1;
    br_delta_count_batch(&ret_frame->counts, batch, geometry);
    return 0;
}

// The next record covers blocks [first, end).
static int take_blocks(struct br_stream_encoder *encoder, uint64_t first, uint64_t end, struct br_err *reterr)
{
    if (!encoder->sequence || encoder->ended) {
        return br_err_set(reterr, BR_E_INTERNAL, "a record outside of a stream's header and end");
    }
    if (first < encoder->next_block) {
        return br_err_set(reterr, BR_E_INTERNAL, "block %" PRIu64 " is put into a stream that is at block %" PRIu64,
                          first, encoder->next_block);
    }
    encoder->next_block = end;
    return 0;
}

int br_stream_seal(struct br_stream_encoder *encoder, struct br_stream_frame *frame, struct br_err *reterr)
{
    int rc = take_blocks(encoder, frame->first_block, frame->end_block, reterr);
    if (rc < 0) {
        return rc;
    }
    encoder->counts.data_bytes += frame->counts.data_bytes;
    encoder->counts.zero_bytes += frame->counts.zero_bytes;
    encoder->counts.records += frame->counts.records;
    seal_head(encoder, frame->head, frame->payload_hash);
    encoder->bytes += frame->head_len + frame->body_len;
    return 0;
}

int br_stream_batch(struct br_stream_encoder *encoder, const struct br_batch *batch, int level,
                    struct br_stream_frame *ret_frame, struct br_err *reterr)
{
    int rc = br_stream_pack_batch(&encoder->geometry, batch, level, ret_frame, reterr);

    return rc < 0 ? rc : br_stream_seal(encoder, ret_frame, reterr);
}

int br_stream_run(struct br_stream_encoder *encoder, const struct br_run *run, struct br_stream_frame *ret_frame,
                  struct br_err *reterr)
{
    uint8_t *table = ret_frame->head + BR_STREAM_HEAD_BYTES;

    int rc = br_run_check(run, &encoder->geometry, reterr);
    if (rc == 0) {
        rc = take_blocks(encoder, run->first, run->first + run->count, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    frame_reset(ret_frame);
    br_put_u32(table, (uint32_t)run->kind);
    br_put_u32(table + 4, 0);
    br_put_u64(table + 8, run->first);
    br_put_u64(table + 16, run->count);
    add_small(encoder, ret_frame, BR_STREAM_RUN, 0, BR_STREAM_RUN_BYTES);
    br_delta_count_run(&encoder->counts, run, &encoder->geometry);
    return 0;
}

int br_stream_kept(struct br_stream_encoder *encoder, const struct br_stream_kept *kept,
                   struct br_stream_frame *ret_frame, struct br_err *reterr)
{
    uint8_t *table = ret_frame->head + BR_STREAM_HEAD_BYTES;

    if (!encoder->staged) {
        return br_err_set(reterr, BR_E_INTERNAL, "a KEPT record in a stream that others read");
    }
    int rc = take_blocks(encoder, kept->first, kept->last + 1, reterr);
    if (rc < 0) {
        return rc;
    }
    frame_reset(ret_frame);
    br_put_u64(table, kept->offset_bytes);
    br_put_u64(table + 8, kept->chain);
    br_put_u64(table + 16, kept->checksum);
    br_put_u64(table + 24, kept->size_bytes);
    br_put_u64(table + 32, kept->first);
    br_put_u64(table + 40, kept->last);
    memset(table + 48, 0, 8);
    br_put_u16(table + 48, kept->blocks);
    add_small(encoder, ret_frame, BR_STREAM_KEPT, 0, BR_STREAM_KEPT_BYTES);
    return 0;
}

int br_stream_note(struct br_stream_encoder *encoder, const char *text, struct br_stream_frame *ret_frame,
                   struct br_err *reterr)
{
    size_t len = strnlen(text, BR_STREAM_NOTE_BYTES_MAX);

    if (!encoder->sequence || encoder->ended) {
        return br_err_set(reterr, BR_E_INTERNAL, "a note outside of a stream's header and end");
    }
    frame_reset(ret_frame);
    memcpy(ret_frame->head + BR_STREAM_HEAD_BYTES, text, len);
    add_small(encoder, ret_frame, BR_STREAM_NOTE, BR_STREAM_FLAG_IGNORABLE, len);
    return 0;
}

int br_stream_end(struct br_stream_encoder *encoder, const struct br_hash *root, struct br_stream_frame *ret_frame,
                  struct br_err *reterr)
{
    uint8_t *table = ret_frame->head + BR_STREAM_HEAD_BYTES;

    if (!encoder->sequence || encoder->ended) {
        return br_err_set(reterr, BR_E_INTERNAL, "an end without a stream");
    }
    frame_reset(ret_frame);
    encoder->counts.root = *root;
    memcpy(table, root->bytes, BR_HASH_BYTES);
    br_put_u64(table + 32, encoder->counts.data_bytes);
    br_put_u64(table + 40, encoder->counts.zero_bytes);
    br_put_u64(table + 48, encoder->counts.unreadable_blocks);
    br_put_u64(table + 56, encoder->counts.records);
    br_put_u64(table + 64, encoder->sequence);
    memcpy(table + 72, encoder->digest, 16);
    add_small(encoder, ret_frame, BR_STREAM_END, 0, BR_STREAM_END_BYTES);
    encoder->ended = true;
    return 0;
}
