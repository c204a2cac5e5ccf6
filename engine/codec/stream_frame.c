// SPDX-License-Identifier: Apache-2.0
//
// A frame by itself: what the decoder asks of each one in its turn, and what a reader asks who knows where a frame lies.
#include "engine/codec/stream.h"

#include "engine/codec/stream_sums.h"

int br_stream_head_read(const uint8_t bytes[BR_STREAM_HEAD_BYTES], struct br_stream_head *ret_head,
                        struct br_err *reterr)
{
    struct br_stream_head head = {
        .type = bytes[BR_STREAM_AT_TYPE],
        .flags = bytes[BR_STREAM_AT_FLAGS],
        .table_bytes = br_get_u16(bytes + BR_STREAM_AT_TABLE_BYTES),
        .body_bytes = br_get_u32(bytes + BR_STREAM_AT_BODY_BYTES),
        .raw_bytes = br_get_u32(bytes + BR_STREAM_AT_RAW_BYTES),
        .sequence = br_get_u64(bytes + BR_STREAM_AT_SEQUENCE),
        .checksum = br_get_u64(bytes + BR_STREAM_AT_CHECKSUM),
    };

    if (memcmp(bytes, BR_STREAM_MAGIC, 4)) {
        return br_err_set(reterr, BR_E_CORRUPT, "no frame begins here");
    }
    if (head.table_bytes > BR_STREAM_TABLE_BYTES_MAX || head.body_bytes > BR_BATCH_DATA_MAX ||
        head.raw_bytes > BR_BATCH_DATA_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "a frame of %u + %u (raw %u) bytes; at most %u + %u are allowed",
                          head.table_bytes, head.body_bytes, head.raw_bytes, BR_STREAM_TABLE_BYTES_MAX,
                          BR_BATCH_DATA_MAX);
    }
    if ((head.flags & BR_STREAM_FLAG_ZSTD) ? head.body_bytes >= head.raw_bytes : head.body_bytes != head.raw_bytes) {
        return br_err_set(reterr, BR_E_CORRUPT, "a frame whose body of %u bytes says it is %u", head.body_bytes,
                          head.raw_bytes);
    }
    *ret_head = head;
    return 0;
}

int br_stream_blocks_read(const struct br_stream_head *head, const uint8_t *table,
                          const struct br_tree_geometry *geometry, struct br_batch *ret_batch, struct br_err *reterr)
{
    struct br_reader r = br_reader_init(table, head->table_bytes);

    *ret_batch =
        (struct br_batch){.block_count = head->table_bytes / BR_STREAM_BLOCK_BYTES, .data_bytes = head->raw_bytes};
    if (head->table_bytes % BR_STREAM_BLOCK_BYTES || !ret_batch->block_count ||
        ret_batch->block_count > BR_BATCH_BLOCKS_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "a DATA table of %u bytes", head->table_bytes);
    }
    for (unsigned i = 0; i < ret_batch->block_count; i++) {
        struct br_batch_block *block = &ret_batch->blocks[i];
        block->index = br_reader_u64(&r);
        br_reader_copy(&r, block->leaf.bytes, BR_HASH_BYTES);
        block->pages = br_reader_u16(&r);
        block->zeros = br_reader_u16(&r);
    }
    return br_batch_check(ret_batch, geometry, reterr);
}

int br_stream_frame_read(const uint8_t *frame, size_t len, uint64_t chain, const struct br_tree_geometry *geometry,
                         struct br_batch *ret_batch, struct br_err *reterr)
{
    struct br_stream_head head;

    int rc = len < BR_STREAM_HEAD_BYTES ? br_err_set(reterr, BR_E_CORRUPT, "a frame of %zu bytes", len)
                                        : br_stream_head_read(frame, &head, reterr);
    if (rc < 0) {
        return rc;
    }
    if (len != br_stream_head_bytes(&head) || head.type != BR_STREAM_DATA || head.flags) {
        return br_err_set(reterr, BR_E_CORRUPT, "not the DATA frame that should lie here");
    }
    const uint8_t *table = frame + BR_STREAM_HEAD_BYTES;
    const uint8_t *body = table + head.table_bytes;
    uint64_t payload = br_stream_sum_payload(table, head.table_bytes, body, head.body_bytes);
    if (br_stream_sum_frame(frame, payload, chain) != head.checksum) {
        return br_err_set(reterr, BR_E_CORRUPT, "frame %llu is damaged or of another stream",
                          (unsigned long long)head.sequence);
    }
    rc = br_stream_blocks_read(&head, table, geometry, ret_batch, reterr);
    ret_batch->data = body;
    return rc;
}
