// SPDX-License-Identifier: Apache-2.0
//
// The delta stream: the transcript of its header, what is made is read, and each single defect gets its own refusal.
//
// Method: a stream is changed in one place and, where the defect is not damage, sealed again with right checksums (reseal()), so that it is
// the named check that refuses it and not the checksum.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/codec/pack.h"
#include "engine/codec/stream_sums.h"
#include "tests/lib/t_delta.h"

// Small enough to be read by eye: two blocks of zeros, then "hello".
static void make_hello(struct br_buf *ret_stream, size_t starts[8], uint64_t parent_size)
{
    struct br_delta_header header = t_delta_header(2 * BR_BLOCK_BYTES + 5, parent_size);
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    struct br_batch batch = {
        .block_count = 1, .blocks = {{.index = 2, .pages = 1}}, .data = (const uint8_t *)"hello", .data_bytes = 5};
    struct br_hash root;

    memset(batch.blocks[0].leaf.bytes, 0x66, BR_HASH_BYTES);
    memset(root.bytes, 0x77, BR_HASH_BYTES);
    br_buf_reset(ret_stream);
    starts[0] = BR_STREAM_PREAMBLE_BYTES;
    assert_int_equal(br_stream_start(&encoder, &header, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[1] = ret_stream->len;
    assert_int_equal(br_stream_run(&encoder, &(struct br_run){BR_RUN_ZERO, 0, 2}, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[2] = ret_stream->len;
    assert_int_equal(br_stream_batch(&encoder, &batch, 3, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[3] = ret_stream->len;
    assert_int_equal(br_stream_note(&encoder, "a note", &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[4] = ret_stream->len;
    assert_int_equal(br_stream_end(&encoder, &root, &frame, NULL), 0);
    br_stream_frame_append(&frame, ret_stream);
    starts[5] = ret_stream->len;
    br_stream_frame_free(&frame);
}

static size_t frame_len(const uint8_t *head)
{
    return BR_STREAM_HEAD_BYTES + br_get_u16(head + BR_STREAM_AT_TABLE_BYTES) +
           br_get_u32(head + BR_STREAM_AT_BODY_BYTES);
}

// Right checksums for every frame (and a right digest in END), sequences left as they are.
static void reseal(struct br_buf *stream)
{
    uint64_t chain = br_stream_sum_start();
    uint8_t digest[16] = {0};

    for (size_t at = BR_STREAM_PREAMBLE_BYTES; at + BR_STREAM_HEAD_BYTES <= stream->len;) {
        uint8_t *head = stream->data + at, *table = head + BR_STREAM_HEAD_BYTES;
        size_t table_len = br_get_u16(head + BR_STREAM_AT_TABLE_BYTES);
        size_t body_len = br_get_u32(head + BR_STREAM_AT_BODY_BYTES);
        if (frame_len(head) > stream->len - at) {
            break;
        }
        if (head[BR_STREAM_AT_TYPE] == BR_STREAM_END && table_len == BR_STREAM_END_BYTES) {
            memcpy(table + 72, digest, 16);
        }
        chain = br_stream_sum_frame(head, br_stream_sum_payload(table, table_len, table + table_len, body_len), chain);
        br_put_u64(head + BR_STREAM_AT_CHECKSUM, chain);
        br_stream_sum_digest(digest, head);
        at += frame_len(head);
    }
}

// Reads a whole stream in pieces of @piece bytes; returns 0 or the first error. *ret_records counts.
static int read_all(const struct br_buf *stream, size_t piece, unsigned *ret_records, struct br_err *err)
{
    struct br_stream_decoder *decoder;
    struct br_stream_record record;
    unsigned records = 0;
    int rc = 0;

    assert_int_equal(br_stream_decoder_open(&decoder, NULL), 0);
    for (size_t at = 0; at < stream->len && rc >= 0; at += piece) {
        const uint8_t *bytes = stream->data + at;
        size_t len = BR_MIN(piece, stream->len - at);
        while ((rc = br_stream_decoder_next(decoder, &bytes, &len, &record, err)) > 0) {
            records++;
        }
    }
    if (rc == 0) {
        rc = br_stream_decoder_finish(decoder, err);
    }
    br_stream_decoder_close(decoder);
    *ret_records = records;
    return rc;
}

static int read_error(const struct br_buf *stream)
{
    unsigned records;
    struct br_err err = {0};
    int rc = read_all(stream, stream->len, &records, &err);

    assert_int_equal(rc < 0 ? err.code : 0, -rc);
    return -rc;
}

// Takes the bytes of one transcript line, "//   01f0  4b 4c ...  |words", behind what @to holds.
static void take_line(const char *line, struct br_buf *to)
{
    unsigned offset, byte;
    int used;

    if (sscanf(line, "//   %4x %n", &offset, &used) != 1 || strncmp(line, "//   0", 6)) {
        return;
    }
    assert_int_equal(offset, to->len);
    for (const char *at = line + used; sscanf(at, "%2x%n", &byte, &used) == 1; at += used) {
        br_buf_u8(to, (uint8_t)byte);
    }
}

// What the header file would have to show; for whoever changes the format.
static void show_transcript(const struct br_buf *stream, const size_t *starts)
{
    size_t frame = 0;

    for (size_t at = 0; at < stream->len;) {
        size_t end = BR_MIN(at + 24, starts[frame]), line_len = end - at;
        fprintf(stderr, "//   %04zx ", at);
        for (size_t i = 0; i < line_len; i++) {
            fprintf(stderr, " %02x", stream->data[at + i]);
        }
        fprintf(stderr, "\n");
        at = end;
        if (at == starts[frame]) {
            frame++;
        }
    }
}

static void the_transcript_of_the_header_is_what_is_made(void **state)
{
    (void)state;
    struct br_buf made = {0}, shown = {0};
    size_t starts[8];
    char path[4096], line[256];
    const char *top = getenv("T_TOP");

    make_hello(&made, starts, UINT64_MAX);
    snprintf(path, sizeof(path), "%s/engine/codec/stream.h", top ? top : ".");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        take_line(line, &shown);
    }
    fclose(f);
    if (shown.len != made.len || memcmp(shown.data, made.data, made.len)) {
        show_transcript(&made, starts);
        fail_msg("the transcript in stream.h is not what is made; it would be as above");
    }
    br_buf_free(&shown);
    br_buf_free(&made);
}

static void a_stream_is_read_in_pieces_of_any_size(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    size_t starts[8];
    unsigned records;
    make_hello(&stream, starts, 5);
    for (size_t piece = 1; piece <= stream.len; piece++) {
        assert_int_equal(read_all(&stream, piece, &records, NULL), 0);
        assert_int_equal(records, 6); // with a RESIZE
    }
    br_buf_free(&stream);
}

static void a_stream_cut_anywhere_is_truncated(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    size_t starts[8];
    make_hello(&stream, starts, UINT64_MAX);
    for (; stream.len > 0; stream.len--) {
        if (stream.len < starts[5]) {
            assert_int_equal(read_error(&stream), BR_E_TRUNCATED);
        }
    }
    assert_int_equal(read_error(&stream), BR_E_TRUNCATED);
    br_buf_free(&stream);
}

static void any_flipped_bit_stops_the_stream(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    size_t starts[8];
    make_hello(&stream, starts, UINT64_MAX);
    for (size_t bit = 0; bit < 8 * stream.len; bit++) {
        stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int error = read_error(&stream);
        assert_true(error == BR_E_CORRUPT || error == BR_E_TRUNCATED || (error == BR_E_VERSION && bit / 8 < 16));
        stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    br_buf_free(&stream);
}

static void bytes_behind_the_end_are_refused(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    size_t starts[8];
    make_hello(&stream, starts, UINT64_MAX);
    br_buf_u8(&stream, 0);
    assert_int_equal(read_error(&stream), BR_E_CORRUPT);
    br_buf_free(&stream);
}

static void another_version_is_named(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    struct br_err err = {0};
    unsigned records;
    size_t starts[8];
    make_hello(&stream, starts, UINT64_MAX);
    stream.data[14] = '2';
    assert_int_equal(read_all(&stream, 7, &records, &err), -BR_E_VERSION);
    assert_non_null(strstr(err.text, "version 2"));
    assert_non_null(strstr(err.text, "version 1"));
    br_buf_free(&stream);
}

// One frame taken out, doubled, exchanged or taken from another stream, sums as they were made.
static void a_frame_out_of_its_place_is_refused(void **state)
{
    (void)state;
    struct br_buf good = {0}, other = {0}, bad = {0};
    size_t s[8];
    make_hello(&other, s, UINT64_MAX);
    other.data[s[0] + BR_STREAM_HEAD_BYTES] ^= 1; // another stream id
    reseal(&other);
    assert_int_equal(read_error(&other), 0);
    make_hello(&good, s, UINT64_MAX);
    for (int frame = 0; frame < 5; frame++) {
        size_t len = s[frame + 1] - s[frame];
        br_buf_reset(&bad); // left out
        br_buf_append(&bad, good.data, s[frame]);
        br_buf_append(&bad, good.data + s[frame + 1], good.len - s[frame + 1]);
        assert_int_equal(read_error(&bad), frame == 4 ? BR_E_TRUNCATED : BR_E_CORRUPT);
        br_buf_reset(&bad); // repeated
        br_buf_append(&bad, good.data, s[frame + 1]);
        br_buf_append(&bad, good.data + s[frame], good.len - s[frame]);
        assert_int_equal(read_error(&bad), BR_E_CORRUPT);
        br_buf_reset(&bad); // foreign
        br_buf_append(&bad, good.data, good.len);
        memcpy(bad.data + s[frame], other.data + s[frame], len);
        assert_int_equal(read_error(&bad), BR_E_CORRUPT);
        if (frame < 4) { // exchanged with the next
            br_buf_reset(&bad);
            br_buf_append(&bad, good.data, s[frame]);
            br_buf_append(&bad, good.data + s[frame + 1], s[frame + 2] - s[frame + 1]);
            br_buf_append(&bad, good.data + s[frame], len);
            br_buf_append(&bad, good.data + s[frame + 2], good.len - s[frame + 2]);
            assert_int_equal(read_error(&bad), BR_E_CORRUPT);
        }
    }
    br_buf_free(&good);
    br_buf_free(&other);
    br_buf_free(&bad);
}

// frame: which one of make_hello(); at: offset in the frame; then what the reader says although all sums are right.
static void each_single_well_sealed_defect_is_refused(void **state)
{
    (void)state;
    enum { H = BR_STREAM_HEAD_BYTES };
    static const struct {
        const char *what;
        int frame;
        size_t at;
        uint8_t byte;
        int error;
    } defects[] = {
        {"frame magic", 0, 0, 'b', BR_E_CORRUPT},
        {"unknown type that must be understood", 3, 4, 9, 0}, // NOTE is ignorable: passed over
        {"unknown type without the ignorable flag", 1, 4, 9, BR_E_VERSION},
        {"unknown flag", 1, 5, 0x80, BR_E_VERSION},
        {"zstd flag on a body of its own size", 2, 5, 2, BR_E_CORRUPT},
        {"sequence", 1, 8, 5, BR_E_CORRUPT},
        {"raw size other than the body", 2, 20, 6, BR_E_CORRUPT},
        {"raw size beyond the limit", 2, 23, 1, BR_E_CORRUPT},
        {"header without stream id", 0, H, 0, 0},
        {"volume behind the largest size", 0, H + 119, 0x41, BR_E_CORRUPT},
        {"sector size", 0, H + 120, 1, BR_E_CORRUPT},
        {"hash id", 0, H + 124, 2, BR_E_VERSION},
        {"consistency", 0, H + 125, 3, BR_E_CORRUPT},
        {"neither full nor a parent", 0, H + 126, 0, BR_E_CORRUPT},
        {"full flag", 0, H + 126, 2, BR_E_CORRUPT},
        {"byte that must be zero", 0, H + 127, 1, BR_E_CORRUPT},
        {"block size", 0, H + 128, 1, BR_E_VERSION},
        {"page size", 0, H + 132, 1, BR_E_VERSION},
        {"label longer than its table", 0, H + 144, 14, BR_E_CORRUPT},
        {"zero byte in the label", 0, H + 147, 0, BR_E_CORRUPT},
        {"kind of run", 1, H, 4, BR_E_CORRUPT},
        {"run byte that must be zero", 1, H + 4, 1, BR_E_CORRUPT},
        {"run behind the end", 1, H + 16, 9, BR_E_CORRUPT},
        {"empty run", 1, H + 16, 0, BR_E_CORRUPT},
        {"run over the next block", 1, H + 16, 3, BR_E_CORRUPT},
        {"block behind the end", 2, H, 3, BR_E_CORRUPT},
        {"block that the run had", 2, H, 1, BR_E_CORRUPT},
        {"page behind the end", 2, H + 40, 3, BR_E_CORRUPT},
        {"page both data and zeros", 2, H + 42, 1, BR_E_CORRUPT},
        {"no page for the data", 2, H + 40, 0, BR_E_CORRUPT},
        {"zero byte in a note", 3, H, 0, BR_E_CORRUPT},
        {"end counts other data", 4, H + 32, 6, BR_E_CORRUPT},
        {"end counts other zeros", 4, H + 40, 1, BR_E_CORRUPT},
        {"end counts unreadable blocks", 4, H + 48, 1, BR_E_CORRUPT},
        {"end counts other records", 4, H + 56, 3, BR_E_CORRUPT},
        {"end counts other frames", 4, H + 64, 5, BR_E_CORRUPT},
        {"a second header", 1, 4, BR_STREAM_HEADER, BR_E_CORRUPT},
        {"no header", 0, 4, BR_STREAM_NOTE, BR_E_CORRUPT},
        {"a resize that the header does not call for", 1, 4, BR_STREAM_RESIZE, BR_E_CORRUPT},
    };
    struct br_buf stream = {0};
    size_t s[8];

    for (size_t i = 0; i < BR_ARRAY_LEN(defects); i++) {
        make_hello(&stream, s, UINT64_MAX);
        stream.data[s[defects[i].frame] + defects[i].at] = defects[i].byte;
        reseal(&stream);
        int error = read_error(&stream);
        if (error != defects[i].error) {
            fail_msg("%s: %s instead of %s", defects[i].what, br_err_name(error), br_err_name(defects[i].error));
        }
    }
    br_buf_free(&stream);
}

static void a_missing_resize_is_refused(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    size_t s[8];
    make_hello(&stream, s, 5);
    // The RESIZE lies behind the HEADER; made an ignorable note it is passed over, and the run comes too early.
    uint8_t *resize = stream.data + s[0] + frame_len(stream.data + s[0]);
    assert_int_equal(resize[BR_STREAM_AT_TYPE], BR_STREAM_RESIZE);
    resize[BR_STREAM_AT_TYPE] = 77;
    resize[BR_STREAM_AT_FLAGS] = BR_STREAM_FLAG_IGNORABLE;
    reseal(&stream);
    assert_int_equal(read_error(&stream), BR_E_CORRUPT);
    br_buf_free(&stream);
}

static void a_record_with_a_foreign_body_is_refused(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    size_t s[8];
    make_hello(&stream, s, UINT64_MAX);
    stream.data[s[2] + BR_STREAM_AT_TYPE] = BR_STREAM_NOTE;
    reseal(&stream);
    assert_int_equal(read_error(&stream), BR_E_CORRUPT);
    br_buf_free(&stream);
}

static struct br_batch whole_block(const uint8_t *data)
{
    return (struct br_batch){
        .block_count = 1, .blocks = {{.index = 0, .pages = 0xffff}}, .data = data, .data_bytes = BR_BLOCK_BYTES};
}

// A stream of one block whose DATA body is replaced by @body.
static void make_packed(struct br_buf *stream, const void *body, size_t body_len, uint32_t raw_len)
{
    struct br_delta_header header = t_delta_header(BR_BLOCK_BYTES, UINT64_MAX);
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    static uint8_t zeros[BR_BLOCK_BYTES];
    struct br_batch batch = whole_block(zeros);

    br_buf_reset(stream);
    assert_int_equal(br_stream_start(&encoder, &header, &frame, NULL), 0);
    br_stream_frame_append(&frame, stream);
    assert_int_equal(br_stream_batch(&encoder, &batch, 1, &frame, NULL), 0);
    assert_int_equal(frame.head[BR_STREAM_AT_FLAGS], BR_STREAM_FLAG_ZSTD);
    br_put_u32(frame.head + BR_STREAM_AT_BODY_BYTES, (uint32_t)body_len);
    br_put_u32(frame.head + BR_STREAM_AT_RAW_BYTES, raw_len);
    br_buf_append(stream, frame.head, frame.head_len);
    br_buf_append(stream, body, body_len);
    assert_int_equal(br_stream_end(&encoder, &br_hash_zero, &frame, NULL), 0);
    br_stream_frame_append(&frame, stream);
    br_stream_frame_free(&frame);
    reseal(stream);
}

static void compressed_data_that_lies_about_its_size_is_refused(void **state)
{
    (void)state;
    struct br_buf stream = {0}, packed = {0};
    uint8_t *data = calloc(1, BR_BATCH_DATA_MAX);
    assert_non_null(data);

    assert_int_equal(br_pack(data, BR_BLOCK_BYTES, 1, &packed, NULL), 1);
    make_packed(&stream, packed.data, packed.len, BR_BLOCK_BYTES);
    assert_int_equal(read_error(&stream), 0);
    br_buf_append(&packed, NULL, 3); // bytes behind the zstd frame
    make_packed(&stream, packed.data, packed.len, BR_BLOCK_BYTES);
    assert_int_equal(read_error(&stream), BR_E_CORRUPT);
    make_packed(&stream, packed.data, packed.len - 4, BR_BLOCK_BYTES); // cut
    assert_int_equal(read_error(&stream), BR_E_CORRUPT);
    assert_int_equal(br_pack(data, BR_BATCH_DATA_MAX, 1, &packed, NULL), 1); // a bomb: 1 MiB where 64 KiB are told
    make_packed(&stream, packed.data, packed.len, BR_BLOCK_BYTES);
    assert_int_equal(read_error(&stream), BR_E_CORRUPT);
    assert_int_equal(br_pack(data, BR_BLOCK_BYTES - 1, 1, &packed, NULL), 1); // one byte short
    make_packed(&stream, packed.data, packed.len, BR_BLOCK_BYTES);
    assert_int_equal(read_error(&stream), BR_E_CORRUPT);
    free(data);
    br_buf_free(&stream);
    br_buf_free(&packed);
}

static void data_that_does_not_compress_goes_as_it_is_without_a_copy(void **state)
{
    (void)state;
    struct br_tree_geometry geometry;
    struct br_stream_frame frame = {0};
    struct t_rand rand = t_rand_seeded(1, 1);
    uint8_t *data = malloc(BR_BLOCK_BYTES);
    assert_non_null(data);
    t_rand_fill(&rand, data, BR_BLOCK_BYTES);
    struct br_batch batch = whole_block(data);
    assert_true(br_tree_geometry_of(BR_BLOCK_BYTES, &geometry));
    assert_true(br_pack_looks_random(data, BR_BLOCK_BYTES));
    assert_int_equal(br_stream_pack_batch(&geometry, &batch, 3, &frame, NULL), 0);
    assert_ptr_equal(frame.body, data);
    assert_int_equal(frame.body_len, BR_BLOCK_BYTES);
    for (size_t i = 0; i < BR_BLOCK_BYTES; i++) {
        data[i] = (uint8_t)("0123456789abcdef"[data[i] & 15]); // hex digits: half the size
    }
    assert_false(br_pack_looks_random(data, BR_BLOCK_BYTES));
    assert_int_equal(br_stream_pack_batch(&geometry, &batch, 3, &frame, NULL), 0);
    assert_true(frame.body_len < BR_BLOCK_BYTES * 6 / 10);
    assert_int_equal(br_stream_pack_batch(&geometry, &batch, 0, &frame, NULL), 0);
    assert_ptr_equal(frame.body, data);
    br_stream_frame_free(&frame);
    free(data);
}

static void the_encoder_refuses_blocks_that_do_not_ascend(void **state)
{
    (void)state;
    struct br_delta_header header = t_delta_header(10 * BR_BLOCK_BYTES, UINT64_MAX);
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    assert_int_equal(br_stream_start(&encoder, &header, &frame, NULL), 0);
    assert_int_equal(br_stream_run(&encoder, &(struct br_run){BR_RUN_ZERO, 4, 2}, &frame, NULL), 0);
    assert_int_equal(br_stream_run(&encoder, &(struct br_run){BR_RUN_ZERO, 5, 1}, &frame, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_stream_run(&encoder, &(struct br_run){BR_RUN_ZERO, 6, 1}, &frame, NULL), 0);
    assert_int_equal(br_stream_end(&encoder, &br_hash_zero, &frame, NULL), 0);
    assert_int_equal(br_stream_run(&encoder, &(struct br_run){BR_RUN_ZERO, 7, 1}, &frame, NULL), -BR_E_INTERNAL);
    br_stream_frame_free(&frame);
}

static void what_lies_whole_in_the_input_is_not_copied(void **state)
{
    (void)state;
    struct br_buf stream = {0};
    size_t s[8];
    struct br_stream_decoder *decoder;
    struct br_stream_record record;
    make_hello(&stream, s, UINT64_MAX);
    assert_int_equal(br_stream_decoder_open(&decoder, NULL), 0);
    const uint8_t *bytes = stream.data;
    size_t len = stream.len;
    do {
        assert_int_equal(br_stream_decoder_next(decoder, &bytes, &len, &record, NULL), 1);
    } while (record.type != BR_STREAM_DATA);
    assert_true(record.in_place);
    assert_true(record.batch.data > stream.data && record.batch.data < stream.data + stream.len);
    assert_int_equal(record.offset_bytes, s[2]);
    br_stream_decoder_close(decoder);
    br_buf_free(&stream);
}

static void a_decoder_that_failed_keeps_failing(void **state)
{
    (void)state;
    struct br_stream_decoder *decoder;
    struct br_stream_record record;
    struct br_err err = {0};
    const uint8_t *bytes = (const uint8_t *)"this is no stream of blkrep";
    size_t len = strlen((const char *)bytes);
    assert_int_equal(br_stream_decoder_open(&decoder, NULL), 0);
    assert_int_equal(br_stream_decoder_next(decoder, &bytes, &len, &record, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_stream_decoder_next(decoder, &bytes, &len, &record, &err), -BR_E_CORRUPT);
    assert_int_equal(err.code, BR_E_CORRUPT);
    assert_int_equal(br_stream_decoder_finish(decoder, NULL), -BR_E_CORRUPT);
    br_stream_decoder_close(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_transcript_of_the_header_is_what_is_made),
        cmocka_unit_test(a_stream_is_read_in_pieces_of_any_size),
        cmocka_unit_test(a_stream_cut_anywhere_is_truncated),
        cmocka_unit_test(any_flipped_bit_stops_the_stream),
        cmocka_unit_test(bytes_behind_the_end_are_refused),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(a_frame_out_of_its_place_is_refused),
        cmocka_unit_test(each_single_well_sealed_defect_is_refused),
        cmocka_unit_test(a_missing_resize_is_refused),
        cmocka_unit_test(a_record_with_a_foreign_body_is_refused),
        cmocka_unit_test(compressed_data_that_lies_about_its_size_is_refused),
        cmocka_unit_test(data_that_does_not_compress_goes_as_it_is_without_a_copy),
        cmocka_unit_test(the_encoder_refuses_blocks_that_do_not_ascend),
        cmocka_unit_test(what_lies_whole_in_the_input_is_not_copied),
        cmocka_unit_test(a_decoder_that_failed_keeps_failing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
