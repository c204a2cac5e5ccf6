// SPDX-License-Identifier: Apache-2.0
#include "engine/replica/intake.h"

#include "engine/replica/io_queue.h"

#include <assert.h>

void br_batch_assemble(const struct br_batch_block *block, const struct br_tree_geometry *geometry, const uint8_t *data,
                       uint8_t *bytes)
{
    for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
        uint32_t len = br_page_bytes(geometry, block->index, page);
        if (block->pages >> page & 1) {
            memcpy(bytes + (size_t)page * BR_PAGE_BYTES, data, len);
            data += len;
        } else if (block->zeros >> page & 1) {
            memset(bytes + (size_t)page * BR_PAGE_BYTES, 0, len);
        }
    }
}

enum br_page_kind { BR_PAGE_KEPT, BR_PAGE_DATA, BR_PAGE_ZEROS };

static enum br_page_kind br_page_kind(const struct br_batch_block *block, unsigned page)
{
    return block->pages >> page & 1 ? BR_PAGE_DATA : block->zeros >> page & 1 ? BR_PAGE_ZEROS : BR_PAGE_KEPT;
}

int br_batch_spans(const struct br_batch *batch, const struct br_tree_geometry *geometry, const uint8_t *data,
                   br_span_fn *fn, void *ctx, struct br_err *reterr)
{
    enum br_page_kind kind = BR_PAGE_KEPT;
    uint64_t start = 0, end = 0;
    const uint8_t *start_data = data;
    for (unsigned i = 0; i < batch->block_count; i++) {
        const struct br_batch_block *block = &batch->blocks[i];
        for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
            uint64_t at = block->index * BR_BLOCK_BYTES + (uint64_t)page * BR_PAGE_BYTES;
            uint32_t len = br_page_bytes(geometry, block->index, page);
            enum br_page_kind next = br_page_kind(block, page);
            if (next != kind || at != end) {
                int r =
                    kind == BR_PAGE_KEPT ? 0 : fn(ctx, start, end, kind == BR_PAGE_DATA ? start_data : NULL, reterr);
                if (r != 0) {
                    return r;
                }
                kind = next;
                start = at;
                start_data = data;
            }
            end = at + len;
            data += kind == BR_PAGE_DATA ? len : 0;
        }
    }
    return kind == BR_PAGE_KEPT ? 0 : fn(ctx, start, end, kind == BR_PAGE_DATA ? start_data : NULL, reterr);
}

// On a worker: is a whole block what its leaf says? Blocks that keep pages are checked where the kept ones are known.
static bool br_intake_block_ok(struct br_intake_item *item, const struct br_batch_block *block, const uint8_t *data)
{
    const struct br_tree_geometry *geometry = &item->intake->geometry;
    uint16_t all = br_block_pages(geometry, block->index);
    uint32_t len = br_block_bytes(geometry, block->index);
    struct br_hash leaf;
    if ((block->pages | block->zeros) != all) {
        return true;
    }
    if (block->pages == all) {
        br_leaf_hash(data, len, &leaf);
        return br_hash_equal(&leaf, &block->leaf);
    }
    uint8_t *bytes = malloc(BR_BLOCK_BYTES);
    if (!bytes) {
        item->no_memory = true;
        return false;
    }
    br_batch_assemble(block, geometry, data, bytes);
    br_leaf_hash(bytes, len, &leaf);
    free(bytes);
    return br_hash_equal(&leaf, &block->leaf);
}

uint64_t br_intake_zero_hash(const struct br_intake *intake, uint32_t len_bytes)
{
    static const uint8_t zeros[BR_PAGE_BYTES];
    return len_bytes == BR_PAGE_BYTES ? intake->zero_page : br_page_hash(intake->secret, zeros, len_bytes);
}

static void br_intake_hash_pages(struct br_intake_item *item, unsigned index, const uint8_t *data)
{
    const struct br_intake *intake = item->intake;
    const struct br_batch_block *block = &item->batch.blocks[index];
    for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
        uint32_t len = br_page_bytes(&intake->geometry, block->index, page);
        if (block->pages >> page & 1) {
            item->pages[index][page] = br_page_hash(intake->secret, data, len);
            data += len;
        } else if (block->zeros >> page & 1) {
            item->pages[index][page] = br_intake_zero_hash(intake, len);
        } else {
            item->pages[index][page] = 0;
        }
    }
}

static void br_intake_job_run(struct br_job *job)
{
    struct br_intake_item *item = job->ctx;
    const uint8_t *data = item->batch.data;
    for (unsigned i = 0; i < item->batch.block_count; i++) {
        const struct br_batch_block *block = &item->batch.blocks[i];
        bool proven = item->intake->leaves_proven && !item->is_kept;
        if (!proven && item->bad_block < 0 && !br_intake_block_ok(item, block, data)) {
            item->bad_block = (int)i;
        }
        br_intake_hash_pages(item, i, data);
        data += br_block_data_bytes(block, &item->intake->geometry);
    }
}

static void br_intake_job_done(struct br_job *job)
{
    struct br_intake_item *item = job->ctx;
    item->ready = true;
}

int br_intake_open(struct br_intake *intake, struct br_ring *ring, const struct br_tree_geometry *geometry,
                   const uint8_t *secret, bool leaves_proven, struct br_err *reterr)
{
    static const uint8_t zeros[BR_PAGE_BYTES];
    *intake = (struct br_intake){
        .ring = ring, .geometry = *geometry, .secret = secret, .leaves_proven = leaves_proven, .tail = NULL};
    intake->items = calloc(BR_INTAKE_ITEMS, sizeof(*intake->items));
    if (!intake->items) {
        return br_err_set(reterr, BR_E_NOMEM, "queue of received records");
    }
    for (unsigned i = 0; i < BR_INTAKE_ITEMS; i++) {
        intake->items[i].intake = intake;
        intake->items[i].next = intake->free_items;
        intake->free_items = &intake->items[i];
    }
    intake->zero_page = br_page_hash(secret, zeros, BR_PAGE_BYTES);
    return 0;
}

void br_intake_close(struct br_intake *intake)
{
    while (intake->head) {
        struct br_intake_item *item = br_intake_take(intake);
        if (item) {
            br_intake_unref(item);
        } else {
            br_ring_step(intake->ring);
        }
    }
    assert(intake->used == 0);
    free(intake->items);
    *intake = (struct br_intake){0};
}

static struct br_intake_item *br_intake_add(struct br_intake *intake)
{
    struct br_intake_item *item = intake->free_items;
    assert(item && item->refs == 0);
    intake->free_items = item->next;
    intake->used++;
    item->next = NULL;
    item->refs = 1;
    item->bad_block = -1;
    item->no_memory = false;
    item->release = NULL;
    if (intake->head) {
        *intake->tail = item;
    } else {
        intake->head = item;
    }
    intake->tail = &item->next;
    return item;
}

static struct br_intake_item *br_intake_add_batch(struct br_intake *intake, const struct br_batch *batch,
                                                  br_release_fn *release, void *ctx)
{
    struct br_intake_item *item = br_intake_add(intake);
    item->is_run = item->is_kept = false;
    item->ready = false;
    item->batch = *batch;
    item->release = release;
    item->release_ctx = ctx;
    item->job = (struct br_job){.run = br_intake_job_run, .done = br_intake_job_done, .ctx = item};
    return item;
}

void br_intake_batch(struct br_intake *intake, const struct br_batch *batch, br_release_fn *release, void *ctx)
{
    br_ring_job(intake->ring, &br_intake_add_batch(intake, batch, release, ctx)->job);
}

void br_intake_kept(struct br_intake *intake, const struct br_batch *batch, const struct br_stream_kept *kept,
                    void *bytes)
{
    struct br_intake_item *item = br_intake_add_batch(intake, batch, free, bytes);
    item->is_kept = true;
    item->kept = *kept;
    br_ring_job(intake->ring, &item->job);
}

void br_intake_run(struct br_intake *intake, const struct br_run *run)
{
    struct br_intake_item *item = br_intake_add(intake);
    item->is_run = true;
    item->is_kept = false;
    item->ready = true;
    item->run = *run;
}

struct br_intake_item *br_intake_take(struct br_intake *intake)
{
    struct br_intake_item *item = intake->head;
    if (!item || !item->ready) {
        return NULL;
    }
    intake->head = item->next;
    item->next = NULL;
    return item;
}

void br_intake_ref(struct br_intake_item *item)
{
    assert(item->refs > 0);
    item->refs++;
}

void br_intake_unref(struct br_intake_item *item)
{
    struct br_intake *intake = item->intake;
    assert(item->refs > 0);
    if (--item->refs > 0) {
        return;
    }
    if (item->release) {
        item->release(item->release_ctx);
    }
    item->next = intake->free_items;
    intake->free_items = item;
    intake->used--;
}

int br_intake_check(const struct br_intake_item *item, struct br_err *reterr)
{
    if (item->is_run || item->bad_block < 0) {
        return 0;
    }
    if (item->no_memory) {
        return br_err_set(reterr, BR_E_NOMEM, "checking received blocks");
    }
    return br_err_at(reterr, BR_E_CORRUPT, item->batch.blocks[item->bad_block].index * BR_BLOCK_BYTES,
                     "a %s block is not what its leaf says", item->is_kept ? "kept" : "received");
}
