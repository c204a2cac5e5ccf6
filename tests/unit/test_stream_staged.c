// SPDX-License-Identifier: Apache-2.0
//
// The form in which a replica stages a delta that goes on, which nobody else takes; and frames that are read away from their stream.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/codec/stream_sums.h"
#include "tests/lib/t_delta.h"

#define BLOCKS 40u

static const struct br_stream_kept kept_blocks = {.size_bytes = 123456,
                                                  .blocks = 0x8003,
                                                  .offset_bytes = 70000,
                                                  .chain = 0x1122334455667788,
                                                  .checksum = 99,
                                                  .first = 4,
                                                  .last = 19};

// DATA of blocks 1 and 2 (three pages), KEPT 4..19, END. *ret_frames gets the offsets of the frames and, last, the length.
static void make_staged(struct br_buf *ret_stream, const struct br_stream_kept *kept, size_t starts[6])
{
    struct br_delta_header header = t_delta_header(BLOCKS * BR_BLOCK_BYTES, BLOCKS * BR_BLOCK_BYTES);
    static uint8_t data[3 * BR_PAGE_BYTES];
    struct br_batch batch = {.block_count = 2,
                             .blocks = {{.index = 1, .pages = 3, .zeros = 4}, {.index = 2, .pages = 0x8000}},
                             .data = data,
                             .data_bytes = sizeof(data)};
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    struct br_hash root;

    memset(data, 0xd5, sizeof(data));
    memset(root.bytes, 0x77, BR_HASH_BYTES);
    memset(batch.blocks[0].leaf.bytes, 0x61, BR_HASH_BYTES);
    memset(batch.blocks[1].leaf.bytes, 0x62, BR_HASH_BYTES);
    br_buf_reset(ret_stream);
    starts[0] = BR_STREAM_PREAMBLE_BYTES;
    assert_int_equal(br_stream_start_staged(&encoder, &header, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[1] = ret_stream->len;
    assert_int_equal(br_stream_batch(&encoder, &batch, 0, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[2] = ret_stream->len;
    assert_int_equal(br_stream_kept(&encoder, kept, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[3] = ret_stream->len;
    assert_int_equal(br_stream_kept(&encoder, kept, &frame, NULL), -BR_E_INTERNAL); // not again
    assert_int_equal(br_stream_end(&encoder, &root, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[4] = ret_stream->len;
    br_stream_frame_free(&frame);
}

static int read_all(const struct br_buf *stream, bool allow, struct br_stream_kept *ret_kept,
                    struct br_delta_end *ret_end)
{
    struct br_stream_decoder *decoder;
    struct br_stream_record record;
    const uint8_t *bytes = stream->data;
    size_t len = stream->len;
    int rc;

    assert_int_equal(br_stream_decoder_open(&decoder, NULL), 0);
    if (allow) {
        br_stream_decoder_allow_staged(decoder);
    }
    while ((rc = br_stream_decoder_next(decoder, &bytes, &len, &record, NULL)) > 0) {
        if (record.type == BR_STREAM_KEPT) {
            *ret_kept = record.kept;
        } else if (record.type == BR_STREAM_END) {
            *ret_end = record.end;
        }
    }
    rc = rc < 0 ? rc : br_stream_decoder_finish(decoder, NULL);
    br_stream_decoder_close(decoder);
    return rc;
}

static void what_is_kept_is_read_as_it_was_written_and_counted_as_no_data(void **state)
{
    struct br_buf stream = {0};
    struct br_stream_kept kept = {0};
    struct br_delta_end end = {0};
    size_t starts[6];

    (void)state;
    make_staged(&stream, &kept_blocks, starts);
    assert_int_equal(read_all(&stream, true, &kept, &end), 0);
    assert_int_equal(kept.size_bytes, kept_blocks.size_bytes);
    assert_int_equal(kept.blocks, kept_blocks.blocks);
    assert_int_equal(kept.offset_bytes, kept_blocks.offset_bytes);
    assert_int_equal(kept.chain, kept_blocks.chain);
    assert_int_equal(kept.checksum, kept_blocks.checksum);
    assert_int_equal(kept.first, kept_blocks.first);
    assert_int_equal(kept.last, kept_blocks.last);
    assert_int_equal(end.records, 1);
    assert_int_equal(end.data_bytes, 3 * BR_PAGE_BYTES);
    br_buf_free(&stream);
}

static void who_did_not_ask_for_the_staged_form_refuses_it(void **state)
{
    struct br_buf stream = {0};
    struct br_stream_kept kept;
    struct br_delta_end end;
    size_t starts[6];

    (void)state;
    make_staged(&stream, &kept_blocks, starts);
    assert_int_equal(read_all(&stream, false, &kept, &end), -BR_E_CORRUPT);
    br_buf_free(&stream);
}

// Makes all checksums right again, of either form.
static void reseal(struct br_buf *stream)
{
    bool staged = !memcmp(stream->data, BR_STREAM_STAGED_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
    uint64_t chain = staged ? br_stream_sum_start_staged() : br_stream_sum_start();
    uint8_t digest[16] = {0};
    struct br_stream_head head;

    for (size_t at = BR_STREAM_PREAMBLE_BYTES; at < stream->len; at += br_stream_head_bytes(&head)) {
        uint8_t *bytes = stream->data + at, *table = bytes + BR_STREAM_HEAD_BYTES;
        assert_int_equal(br_stream_head_read(bytes, &head, NULL), 0);
        if (head.type == BR_STREAM_END) {
            memcpy(table + 72, digest, sizeof(digest));
        }
        chain = br_stream_sum_frame(
            bytes, br_stream_sum_payload(table, head.table_bytes, table + head.table_bytes, head.body_bytes), chain);
        br_put_u64(bytes + BR_STREAM_AT_CHECKSUM, chain);
        br_stream_sum_digest(digest, bytes);
    }
}

static void a_kept_record_in_a_stream_is_a_record_that_must_be_understood(void **state)
{
    struct br_buf stream = {0};
    struct br_stream_kept kept;
    struct br_delta_end end;
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    struct br_delta_header header = t_delta_header(BLOCKS * BR_BLOCK_BYTES, UINT64_MAX);
    size_t starts[6];

    (void)state;
    make_staged(&stream, &kept_blocks, starts);
    memcpy(stream.data, BR_STREAM_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
    reseal(&stream);
    assert_int_equal(read_all(&stream, true, &kept, &end), -BR_E_VERSION);
    // and nobody can write one
    assert_int_equal(br_stream_start(&encoder, &header, &frame, NULL), 0);
    assert_int_equal(br_stream_kept(&encoder, &kept_blocks, &frame, NULL), -BR_E_INTERNAL);
    br_stream_frame_free(&frame);
    br_buf_free(&stream);
}

static void each_single_defect_of_a_kept_record_is_refused(void **state)
{
    static const struct {
        size_t at; // in its table
        uint8_t byte;
    } defects[] = {
        // a volume larger than any; the zeros; the first block behind the last; behind the volume; a block that came before
        {31, 128}, {50, 1}, {55, 1}, {32, 20}, {40, 40}, {32, 2},
    };
    struct br_buf stream = {0};
    struct br_stream_kept kept;
    struct br_delta_end end;
    size_t starts[6];

    (void)state;
    for (unsigned i = 0; i < BR_ARRAY_LEN(defects); i++) {
        make_staged(&stream, &kept_blocks, starts);
        stream.data[starts[2] + BR_STREAM_HEAD_BYTES + defects[i].at] = defects[i].byte;
        reseal(&stream);
        assert_int_equal(read_all(&stream, true, &kept, &end), -BR_E_CORRUPT);
    }
    make_staged(&stream, &kept_blocks, starts);
    memset(stream.data + starts[2] + BR_STREAM_HEAD_BYTES + 48, 0, 2); // no block at all
    reseal(&stream);
    assert_int_equal(read_all(&stream, true, &kept, &end), -BR_E_CORRUPT);
    make_staged(&stream, &kept_blocks, starts);
    reseal(&stream);
    assert_int_equal(read_all(&stream, true, &kept, &end), 0); // it was none of reseal()
    br_buf_free(&stream);
}

static void a_frame_alone_is_read_by_what_came_before_it(void **state)
{
    struct br_buf stream = {0};
    struct br_tree_geometry geometry;
    struct br_stream_head head;
    struct br_batch batch;
    size_t starts[6];

    (void)state;
    assert_true(br_tree_geometry_of(BLOCKS * BR_BLOCK_BYTES, &geometry));
    make_staged(&stream, &kept_blocks, starts);
    const uint8_t *frame = stream.data + starts[1];
    size_t len = starts[2] - starts[1];
    assert_int_equal(br_stream_head_read(stream.data + starts[0], &head, NULL), 0);
    assert_int_equal(head.type, BR_STREAM_HEADER);
    uint64_t chain = head.checksum;

    assert_int_equal(br_stream_frame_read(frame, len, chain, &geometry, &batch, NULL), 0);
    assert_int_equal(batch.block_count, 2);
    assert_int_equal(batch.blocks[1].index, 2);
    assert_int_equal(batch.blocks[1].pages, 0x8000);
    assert_int_equal(batch.data_bytes, 3 * BR_PAGE_BYTES);
    assert_ptr_equal(batch.data, frame + len - batch.data_bytes);

    assert_int_equal(br_stream_frame_read(frame, len, chain + 1, &geometry, &batch, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_stream_frame_read(frame, len - 1, chain, &geometry, &batch, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_stream_frame_read(frame, 5, chain, &geometry, &batch, NULL), -BR_E_CORRUPT);
    assert_true(br_tree_geometry_of(2 * BR_BLOCK_BYTES, &geometry)); // block 2 lies behind this volume
    assert_int_equal(br_stream_frame_read(frame, len, chain, &geometry, &batch, NULL), -BR_E_CORRUPT);
    assert_true(br_tree_geometry_of(BLOCKS * BR_BLOCK_BYTES, &geometry));
    for (size_t i = 0; i < len; i++) {
        stream.data[starts[1] + i] ^= 0x20;
        assert_int_equal(br_stream_frame_read(frame, len, chain, &geometry, &batch, NULL), -BR_E_CORRUPT);
        stream.data[starts[1] + i] ^= 0x20;
    }
    // a frame of another type
    assert_int_equal(br_stream_head_read(stream.data + starts[1], &head, NULL), 0);
    assert_int_equal(
        br_stream_frame_read(stream.data + starts[2], starts[3] - starts[2], head.checksum, &geometry, &batch, NULL),
        -BR_E_CORRUPT);
    br_buf_free(&stream);
}

static void a_decoder_tells_what_the_next_frame_hangs_on(void **state)
{
    struct br_buf stream = {0};
    struct br_stream_decoder *decoder;
    struct br_stream_record record;
    struct br_stream_head head;
    size_t starts[6];

    (void)state;
    make_staged(&stream, &kept_blocks, starts);
    const uint8_t *bytes = stream.data;
    size_t len = stream.len;
    assert_int_equal(br_stream_decoder_open(&decoder, NULL), 0);
    br_stream_decoder_allow_staged(decoder);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(br_stream_decoder_next(decoder, &bytes, &len, &record, NULL), 1);
        assert_int_equal(record.offset_bytes, starts[i]);
        assert_int_equal(br_stream_head_read(stream.data + starts[i], &head, NULL), 0);
        assert_int_equal(br_stream_decoder_chain(decoder), head.checksum);
    }
    br_stream_decoder_close(decoder);
    br_buf_free(&stream);
}

static void keeping_asks_for_blocks_of_the_volume_in_order_with_a_content(void **state)
{
    struct br_tree_geometry geometry;
    struct br_keep keep = {.count = 2, .blocks = {{.index = 3}, {.index = 7}}};

    (void)state;
    assert_true(br_tree_geometry_of(8 * BR_BLOCK_BYTES, &geometry));
    memset(keep.blocks[0].leaf.bytes, 1, BR_HASH_BYTES);
    memset(keep.blocks[1].leaf.bytes, 2, BR_HASH_BYTES);
    assert_int_equal(br_keep_check(&keep, &geometry, NULL), 0);
    keep.blocks[1].index = 8;
    assert_int_equal(br_keep_check(&keep, &geometry, NULL), -BR_E_CORRUPT);
    keep.blocks[1].index = 3;
    assert_int_equal(br_keep_check(&keep, &geometry, NULL), -BR_E_CORRUPT);
    keep.blocks[1].index = 7;
    keep.blocks[1].leaf = br_hash_zero;
    assert_int_equal(br_keep_check(&keep, &geometry, NULL), -BR_E_CORRUPT);
    keep.blocks[1].leaf = br_hash_unknown;
    assert_int_equal(br_keep_check(&keep, &geometry, NULL), -BR_E_CORRUPT);
    keep.count = 0;
    assert_int_equal(br_keep_check(&keep, &geometry, NULL), -BR_E_CORRUPT);
    keep.count = BR_BATCH_BLOCKS_MAX + 1;
    assert_int_equal(br_keep_check(&keep, &geometry, NULL), -BR_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_read_as_it_was_written_and_counted_as_no_data),
        cmocka_unit_test(who_did_not_ask_for_the_staged_form_refuses_it),
        cmocka_unit_test(a_kept_record_in_a_stream_is_a_record_that_must_be_understood),
        cmocka_unit_test(each_single_defect_of_a_kept_record_is_refused),
        cmocka_unit_test(a_frame_alone_is_read_by_what_came_before_it),
        cmocka_unit_test(a_decoder_tells_what_the_next_frame_hangs_on),
        cmocka_unit_test(keeping_asks_for_blocks_of_the_volume_in_order_with_a_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
