// SPDX-License-Identifier: Apache-2.0
//
// Hostile streams and stages of a replica. The first byte says how the rest is fed: the size of the pieces, and (bit 7) whether the frames'
// checksums are made right first, so that the search gets behind them. What the decoder gives must hold the promises of its header, and so
// must a DATA frame that is read alone.
#include "engine/codec/stream.h"
#include "engine/codec/stream_sums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

// Right sums and sequences for whatever frames can be told apart.
static void seal(uint8_t *stream, size_t len)
{
    bool staged = len > BR_STREAM_PREAMBLE_BYTES && !memcmp(stream, BR_STREAM_STAGED_PREAMBLE, 14);
    uint64_t chain = staged ? br_stream_sum_start_staged() : br_stream_sum_start();
    uint64_t sequence = 0;

    memcpy(stream, staged ? BR_STREAM_STAGED_PREAMBLE : BR_STREAM_PREAMBLE, BR_MIN(len, BR_STREAM_PREAMBLE_BYTES));
    for (size_t at = BR_STREAM_PREAMBLE_BYTES; at + BR_STREAM_HEAD_BYTES <= len;) {
        uint8_t *head = stream + at;
        size_t table_len = br_get_u16(head + BR_STREAM_AT_TABLE_BYTES);
        size_t body_len = br_get_u32(head + BR_STREAM_AT_BODY_BYTES);
        if (table_len + body_len > len - at - BR_STREAM_HEAD_BYTES) {
            return;
        }
        memcpy(head, BR_STREAM_MAGIC, 4);
        br_put_u64(head + BR_STREAM_AT_SEQUENCE, sequence++);
        uint64_t payload = br_stream_sum_payload(head + BR_STREAM_HEAD_BYTES, table_len,
                                                 head + BR_STREAM_HEAD_BYTES + table_len, body_len);
        chain = br_stream_sum_frame(head, payload, chain);
        br_put_u64(head + BR_STREAM_AT_CHECKSUM, chain);
        at += BR_STREAM_HEAD_BYTES + table_len + body_len;
    }
}

static uint64_t touched;

static void look(const struct br_stream_record *record, const struct br_tree_geometry *geometry, uint64_t *next_block)
{
    if (record->type == BR_STREAM_DATA) {
        const struct br_batch *batch = &record->batch;
        require(br_batch_check(batch, geometry, NULL) == 0);
        require(batch->blocks[0].index >= *next_block);
        *next_block = batch->blocks[batch->block_count - 1].index + 1;
        touched += XXH3_64bits(batch->data, batch->data_bytes);
    } else if (record->type == BR_STREAM_RUN) {
        require(br_run_check(&record->run, geometry, NULL) == 0 && record->run.first >= *next_block);
        *next_block = record->run.first + record->run.count;
    } else if (record->type == BR_STREAM_KEPT) {
        require(record->kept.blocks && record->kept.first >= *next_block);
        require(record->kept.first <= record->kept.last && record->kept.last < geometry->block_count);
        *next_block = record->kept.last + 1;
    } else if (record->type == BR_STREAM_NOTE) {
        require(strlen(record->note) <= BR_STREAM_NOTE_BYTES_MAX);
    }
}

// Every frame that can be told apart, with the one before it to hang on.
static void look_alone(const uint8_t *stream, size_t len, const struct br_tree_geometry *geometry)
{
    struct br_stream_head head;
    struct br_batch batch;
    uint64_t chain = br_stream_sum_start();

    for (size_t at = BR_STREAM_PREAMBLE_BYTES; at + BR_STREAM_HEAD_BYTES <= len; at += br_stream_head_bytes(&head)) {
        if (br_stream_head_read(stream + at, &head, NULL) || br_stream_head_bytes(&head) > len - at) {
            return;
        }
        if (!br_stream_frame_read(stream + at, br_stream_head_bytes(&head), chain, geometry, &batch, NULL)) {
            require(br_batch_check(&batch, geometry, NULL) == 0);
            touched += XXH3_64bits(batch.data, batch.data_bytes);
        }
        chain = head.checksum;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct br_stream_decoder *decoder = NULL;
    struct br_stream_record record;
    struct br_tree_geometry geometry = {0};
    uint64_t next_block = 0;
    bool ended = false;
    int rc = 0;

    if (len_bytes < 2) {
        return 0;
    }
    size_t piece = data[0] & 0x7f ? (size_t)(data[0] & 0x7f) * 13 : len_bytes, len = len_bytes - 1;
    uint8_t *stream = malloc(len);
    if (!stream || br_stream_decoder_open(&decoder, NULL)) {
        free(stream);
        return 0;
    }
    br_stream_decoder_allow_staged(decoder);
    memcpy(stream, data + 1, len);
    if (data[0] & 0x80) {
        seal(stream, len);
    }
    for (size_t pos = 0; pos < len && rc >= 0; pos += piece) {
        const uint8_t *bytes = stream + pos;
        size_t left = BR_MIN(piece, len - pos);
        while ((rc = br_stream_decoder_next(decoder, &bytes, &left, &record, NULL)) > 0) {
            require(!ended);
            if (record.type == BR_STREAM_HEADER) {
                require(br_tree_geometry_of(record.header.size_bytes, &geometry));
            }
            look(&record, &geometry, &next_block);
            ended = record.type == BR_STREAM_END;
        }
    }
    require((br_stream_decoder_finish(decoder, NULL) == 0) == (ended && rc >= 0));
    br_stream_decoder_close(decoder);
    look_alone(stream, len, &geometry);
    free(stream);
    return 0;
}
