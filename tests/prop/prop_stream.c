// SPDX-License-Identifier: Apache-2.0
//
// Law: what goes into a stream comes out, at any compression level and in any pieces; and a stream changed by any accident is either read
// as it was made or refused, never read as something else up to its END.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/t_delta.h"

static bool header_matches(const struct t_delta *delta, const struct br_delta_header *header)
{
    return br_uuid_equal(&header->stream_id, &delta->header.stream_id) && header->full == delta->header.full &&
           header->size_bytes == delta->header.size_bytes && !strcmp(header->label, delta->header.label);
}

// Compares what was read with record number *at of the delta.
static bool matches(const struct t_delta *delta, const struct br_stream_record *record, unsigned *at)
{
    switch (record->type) {
    case BR_STREAM_HEADER: return header_matches(delta, &record->header);
    case BR_STREAM_RESIZE: return record->resize.from_bytes == delta->header.parent_size_bytes;
    case BR_STREAM_NOTE: return !strcmp(record->note, "made by a test");
    case BR_STREAM_END: return br_hash_equal(&record->end.root, &delta->root) && *at == delta->count;
    default: break;
    }
    const struct t_delta_record *want = &delta->records[*at];
    if (*at >= delta->count || want->is_run != (record->type == BR_STREAM_RUN)) {
        return false;
    }
    (*at)++;
    if (want->is_run) {
        return record->run.kind == want->run.kind && record->run.first == want->run.first &&
               record->run.count == want->run.count;
    }
    return t_batch_equal(&record->batch, &want->batch);
}

// Takes one piece, from memory of its own so that a sanitizer sees a read behind it. Returns as read_random().
static int read_piece(struct br_stream_decoder *decoder, const struct t_delta *delta, const uint8_t *from, size_t len,
                      unsigned *at)
{
    struct br_stream_record record;
    uint8_t *copy = malloc(len);
    int rc;

    assert_non_null(copy);
    memcpy(copy, from, len);
    const uint8_t *bytes = copy;
    while ((rc = br_stream_decoder_next(decoder, &bytes, &len, &record, NULL)) > 0) {
        if (!matches(delta, &record, at)) {
            break;
        }
    }
    free(copy);
    return rc;
}

// Reads @stream in random pieces. Returns 0 read to the end as made, a decoder's error, or 1 when something else was read.
static int read_random(struct t_rand *rand, const struct t_delta *delta, const struct br_buf *stream)
{
    struct br_stream_decoder *decoder;
    unsigned at = 0;
    int rc = 0;
    size_t largest = t_rand_below(rand, 2) ? 100 : 3 * BR_MIB;

    assert_int_equal(br_stream_decoder_open(&decoder, NULL), 0);
    for (size_t pos = 0; pos < stream->len && rc == 0;) {
        size_t piece = 1 + t_rand_below(rand, largest);
        piece = BR_MIN(piece, stream->len - pos);
        rc = read_piece(decoder, delta, stream->data + pos, piece, &at);
        pos += piece;
        if (pos > 64 * BR_KIB) {
            largest = 3 * BR_MIB; // small pieces only at the beginning, for speed
        }
    }
    if (rc == 0) {
        rc = br_stream_decoder_finish(decoder, NULL);
    }
    br_stream_decoder_close(decoder);
    return rc;
}

static void what_goes_in_comes_out(void **state)
{
    (void)state;
    uint64_t seed = t_seed();
    static struct t_delta delta;
    struct br_buf stream = {0};
    size_t starts[41];

    for (uint64_t round = 0; round < t_scaled(60); round++) {
        struct t_rand rand = t_rand_seeded(seed, round);
        t_delta_random(&rand, &delta);
        t_delta_stream(&delta, (int)t_rand_below(&rand, 4), &stream, starts);
        int rc = read_random(&rand, &delta, &stream);
        if (rc) {
            fail_msg("seed %lu round %lu: %d", (unsigned long)seed, (unsigned long)round, rc);
        }
        t_delta_free(&delta);
    }
    br_buf_free(&stream);
}

// One accident: a bit flipped, a piece overwritten by another, a frame left out or doubled, the tail cut.
static void harm(struct t_rand *rand, struct br_buf *stream, const size_t *starts, unsigned frames)
{
    size_t at = t_rand_below(rand, stream->len), from = t_rand_below(rand, stream->len);
    size_t len = 1 + t_rand_below(rand, 5000), room = stream->len - BR_MAX(at, from);
    unsigned frame = (unsigned)t_rand_below(rand, frames);
    size_t start = starts[frame], end = starts[frame + 1];

    switch (t_rand_below(rand, 5)) {
    case 0: stream->data[at] ^= (uint8_t)(1u << t_rand_below(rand, 8)); break;
    case 1: memmove(stream->data + at, stream->data + from, BR_MIN(len, room)); break;
    case 2:
        memmove(stream->data + start, stream->data + end, stream->len - end);
        stream->len -= end - start;
        break;
    case 3:
        br_buf_append(stream, NULL, end - start);
        memmove(stream->data + end, stream->data + start, stream->len - end);
        break;
    default: stream->len = at; break;
    }
}

static void an_accident_is_never_read_as_something_else(void **state)
{
    (void)state;
    uint64_t seed = t_seed();
    static struct t_delta delta;
    struct br_buf stream = {0}, good = {0};
    size_t starts[41];
    uint64_t refused = 0;

    for (uint64_t round = 0; round < t_scaled(40); round++) {
        struct t_rand rand = t_rand_seeded(seed, 1000000 + round);
        t_delta_random(&rand, &delta);
        unsigned frames = t_delta_stream(&delta, (int)t_rand_below(&rand, 2), &good, starts);
        for (int accident = 0; accident < 10; accident++) {
            br_buf_reset(&stream);
            br_buf_append(&stream, good.data, good.len);
            harm(&rand, &stream, starts, frames);
            int rc = read_random(&rand, &delta, &stream);
            bool same = stream.len == good.len && !memcmp(stream.data, good.data, good.len);
            if (rc > 0 || (rc == 0 && !same)) {
                fail_msg("seed %lu round %lu accident %d: read %d", (unsigned long)seed, (unsigned long)round, accident,
                         rc);
            }
            refused += rc < 0;
        }
        t_delta_free(&delta);
    }
    assert_true(refused > 100);
    br_buf_free(&stream);
    br_buf_free(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(an_accident_is_never_read_as_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
