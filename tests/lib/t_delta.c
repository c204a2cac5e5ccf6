// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_delta.h"

#include <stdio.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "t_delta: %s\n", what);
        abort();
    }
}

static struct br_uuid fixed_id(uint8_t byte)
{
    uint8_t bytes[BR_UUID_BYTES];

    memset(bytes, byte, sizeof(bytes));
    return br_uuid_make(bytes);
}

struct br_delta_header t_delta_header(uint64_t size_bytes, uint64_t parent_size_bytes)
{
    struct br_delta_header header = {
        .stream_id = fixed_id(0x11),
        .volume = fixed_id(0x22),
        .full = parent_size_bytes == UINT64_MAX,
        .generation = {.counter = 7, .id = fixed_id(0x33)},
        .size_bytes = size_bytes,
        .sector_bytes = 512,
        .hash_id = BR_HASH_SHA256,
        .consistency = BR_CONSISTENCY_CRASH,
        .taken_unix_ns = UINT64_C(1700000000000000000),
        .label = "/dev/vg0/root",
    };

    if (!header.full) {
        header.generation.parent_id = fixed_id(0x44);
        memset(header.parent_root.bytes, 0x55, BR_HASH_BYTES);
        header.parent_size_bytes = parent_size_bytes;
    }
    return header;
}

static void random_batch(struct t_rand *rand, const struct br_tree_geometry *geometry, uint64_t first,
                         struct br_batch *batch)
{
    uint8_t *data = malloc(BR_BATCH_DATA_MAX);
    size_t len = 0;

    must(data != NULL, "out of memory");
    *batch = (struct br_batch){.data = data};
    unsigned want = 1 + (unsigned)t_rand_below(rand, BR_BATCH_BLOCKS_MAX);
    for (uint64_t index = first; batch->block_count < want && index < geometry->block_count;
         index += 1 + (t_rand_below(rand, 3) ? 0 : t_rand_below(rand, 5))) {
        struct br_batch_block *block = &batch->blocks[batch->block_count++];
        uint16_t there = br_block_pages(geometry, index);
        block->index = index;
        t_rand_fill(rand, block->leaf.bytes, BR_HASH_BYTES);
        block->pages = (uint16_t)(t_rand_below(rand, 2) ? there : t_rand_next(rand) & there);
        block->zeros = (uint16_t)(t_rand_next(rand) & there & ~block->pages);
        for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
            size_t bytes = block->pages >> page & 1 ? br_page_bytes(geometry, index, page) : 0;
            if (t_rand_below(rand, 2)) {
                t_rand_fill(rand, data + len, bytes);
            } else {
                memset(data + len, (int)page, bytes);
            }
            len += bytes;
        }
    }
    batch->data_bytes = len;
}

void t_delta_random(struct t_rand *rand, struct t_delta *ret_delta)
{
    uint64_t size = t_rand_below(rand, 3) ? t_rand_below(rand, 200 * BR_BLOCK_BYTES) : 30 * (uint64_t)BR_BLOCK_BYTES;
    uint64_t parents[] = {UINT64_MAX, size, t_rand_below(rand, 4 * BR_MIB)};
    struct t_delta *d = ret_delta;

    d->count = 0;
    d->header = t_delta_header(size, parents[t_rand_below(rand, 3)]);
    t_rand_fill(rand, &d->header.stream_id, sizeof(d->header.stream_id));
    d->header.stream_id.bytes[0] |= 1;
    must(br_tree_geometry_of(size, &d->geometry), "geometry");
    t_rand_fill(rand, d->root.bytes, BR_HASH_BYTES);
    for (uint64_t block = 0; block < d->geometry.block_count && d->count < BR_ARRAY_LEN(d->records);) {
        struct t_delta_record *record = &d->records[d->count++];
        block += t_rand_below(rand, 3);
        if (block >= d->geometry.block_count) {
            d->count--;
            break;
        }
        record->is_run = t_rand_below(rand, 3) == 0;
        if (record->is_run) {
            record->run = (struct br_run){.kind = (enum br_run_kind)(BR_RUN_ZERO + t_rand_below(rand, 3)),
                                          .first = block,
                                          .count = 1 + t_rand_below(rand, d->geometry.block_count - block)};
            block += record->run.count;
        } else {
            random_batch(rand, &d->geometry, block, &record->batch);
            block = record->batch.blocks[record->batch.block_count - 1].index + 1;
        }
    }
}

void t_delta_free(struct t_delta *delta)
{
    for (unsigned i = 0; i < delta->count; i++) {
        if (!delta->records[i].is_run) {
            union {
                const uint8_t *kept;
                uint8_t *data;
            } owned = {.kept = delta->records[i].batch.data};
            free(owned.data);
        }
    }
    delta->count = 0;
}

static void add_frame(const struct br_stream_frame *frame, int result, struct br_buf *stream, size_t *starts,
                      unsigned *count)
{
    must(result == 0, "a valid record was refused");
    must(*count < 40, "too many frames");
    starts[(*count)++] = stream->len;
    br_stream_frame_append(frame, stream);
    must(!br_buf_failed(stream), "out of memory");
}

unsigned t_delta_stream(const struct t_delta *delta, int level, struct br_buf *ret_stream, size_t *ret_starts)
{
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    unsigned count = 0;

    br_buf_reset(ret_stream);
    add_frame(&frame, br_stream_start(&encoder, &delta->header, &frame, NULL), ret_stream, ret_starts, &count);
    for (unsigned i = 0; i < delta->count; i++) {
        const struct t_delta_record *record = &delta->records[i];
        int result = record->is_run ? br_stream_run(&encoder, &record->run, &frame, NULL)
                                    : br_stream_batch(&encoder, &record->batch, level, &frame, NULL);
        add_frame(&frame, result, ret_stream, ret_starts, &count);
    }
    add_frame(&frame, br_stream_note(&encoder, "made by a test", &frame, NULL), ret_stream, ret_starts, &count);
    add_frame(&frame, br_stream_end(&encoder, &delta->root, &frame, NULL), ret_stream, ret_starts, &count);
    must(encoder.bytes == ret_stream->len, "the encoder counts other bytes than it made");
    ret_starts[count] = ret_stream->len;
    br_stream_frame_free(&frame);
    return count;
}

bool t_batch_equal(const struct br_batch *a, const struct br_batch *b)
{
    if (a->block_count != b->block_count || a->data_bytes != b->data_bytes) {
        return false;
    }
    for (unsigned i = 0; i < a->block_count; i++) {
        const struct br_batch_block *x = &a->blocks[i], *y = &b->blocks[i];
        if (x->index != y->index || !br_hash_equal(&x->leaf, &y->leaf) || x->pages != y->pages ||
            x->zeros != y->zeros) {
            return false;
        }
    }
    return !a->data_bytes || !memcmp(a->data, b->data, a->data_bytes);
}
