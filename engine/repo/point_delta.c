// SPDX-License-Identifier: Apache-2.0
//
// br_tree_diff() tells the blocks; each goes to the window at the tail, and a window that is full begins to fetch its frames. Whoever needs room
// (a window, a buffer, a frame) first deals with the window at the head, whose frames are all held:
//
//     head                                           tail
//     [run][ready][assembling][waits for frames][being filled]   <- blocks that differ
//       `-> sink
#include "engine/repo/point_delta.h"

#include <assert.h>
#include <stdio.h>

#include "engine/base/units.h"

#define DELTA_WINDOWS     4u
#define DELTA_BLOCKS      8u // of a window
#define DELTA_FRAMES      (4u * DELTA_BLOCKS + 16u)
#define DELTA_NODE_FRAMES 8u
#define DELTA_PROGRESS_NS (100 * BR_NS_PER_MS)

static_assert(DELTA_BLOCKS <= BR_BATCH_BLOCKS_MAX, "a window fits a batch");
static_assert(DELTA_FRAMES + DELTA_NODE_FRAMES <= BR_STORE_GETS_MAX, "the store takes as many reads at once");

// Where a block's content comes from.
struct part {
    bool there; // data, not zeros, and wanted
    struct br_hash leaf;
    struct br_index_chunk chunk;
    struct br_index_chunk base; // of an overlay
    const struct br_frame *frame;
    const struct br_frame *base_frame;
};

struct block {
    struct br_batch_block record;
    bool held;          // the far end has it
    bool all;           // every page goes, whatever was there before
    size_t data_bytes;  // in the window's buffer
    struct part is;     // what it is now
    struct part before; // what it was
    int result;
    struct br_err err;
};

enum window_state { WINDOW_FILLING, WINDOW_WAITING, WINDOW_ASSEMBLING, WINDOW_READY };

struct window {
    struct delta *delta;
    enum window_state state;
    bool is_run;
    struct br_run run;
    unsigned count;
    struct block blocks[DELTA_BLOCKS];
    uint8_t *buffer;                    // of the ring's pool: the pages that go
    uint8_t (*scratch)[BR_BLOCK_BYTES]; // two: a block now, and before
    struct br_job job;
};

struct delta {
    const struct br_point_delta_params *params;
    struct br_ring *ring;
    struct br_frames *nodes, *frames;
    struct br_repo_version is, before;
    struct window windows[DELTA_WINDOWS];
    uint8_t scratch[2 * DELTA_WINDOWS][BR_BLOCK_BYTES];
    unsigned head, used;
    int failed; // what a window at the head ended with; told in reterr
    struct br_delta_end *end;
    struct br_point_delta_progress progress;
    uint64_t told_ns;
    struct br_err *reterr;
};

static struct window *window_at(struct delta *delta, unsigned nth)
{
    return &delta->windows[(delta->head + nth) % DELTA_WINDOWS];
}

void br_point_delta_header(struct br_repo *repo, const struct br_point *point, const struct br_point *since,
                           struct br_delta_header *ret_header)
{
    struct br_delta_header header = {
        .stream_id = br_ring_new_uuid(br_repo_ring_of(repo)),
        .volume = point->volume,
        .full = !since,
        .generation = {.counter = BR_MAX(point->counter, UINT64_C(1)), .id = point->id},
        .size_bytes = point->size_bytes,
        .sector_bytes = point->sector_bytes,
        .hash_id = point->hash_id,
        .consistency = point->consistency,
        .taken_unix_ns = point->taken_unix_ns,
    };

    if (since) {
        header.generation.parent_id = since->id;
        header.parent_root = since->root;
        header.parent_size_bytes = since->size_bytes;
    }
    snprintf(header.label, sizeof(header.label), "%s", point->label);
    *ret_header = header;
}

// Frames ------------------------------------------------------------------------------------------------------------------------------

static void put_part(struct delta *delta, struct part *part)
{
    if (part->frame) {
        br_frames_put(delta->frames, part->frame);
    }
    if (part->base_frame) {
        br_frames_put(delta->frames, part->base_frame);
    }
    part->frame = part->base_frame = NULL;
}

static int find_part(struct delta *delta, const struct br_repo_version *version, struct part *part,
                     struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(delta->params->repo);
    struct br_chunk_id id;
    int rc = br_chunk_id_leaf(version->domain, &part->leaf, &id, reterr);

    rc = rc < 0 ? rc : br_index_find(index, &id, &part->chunk, reterr);
    if (rc > 0 && part->chunk.kind == BR_CHUNK_OVERLAY) {
        rc = br_index_find(index, &part->chunk.base, &part->base, reterr);
        if (rc > 0 && part->base.kind != BR_CHUNK_BLOCK) {
            return br_err_set(reterr, BR_E_CORRUPT, "the chunk below is of another kind");
        }
    } else if (rc > 0 && part->chunk.kind != BR_CHUNK_BLOCK) {
        return br_err_set(reterr, BR_E_CORRUPT, "its chunk is of another kind");
    }
    return rc < 0 ? rc : rc ? 0 : br_err_set(reterr, BR_E_NOT_FOUND, "is in no pack");
}

static int deal_with_head(struct delta *delta);

// A frame, if need be after those that hold the others have let them go.
static int want(struct delta *delta, const struct window *window, const struct br_index_chunk *chunk,
                const struct br_frame **frame, struct br_err *reterr)
{
    int rc;

    while (!(rc = br_frames_want(delta->frames, chunk->pack, chunk->frame, frame, reterr))) {
        if (window_at(delta, 0) == window) {
            return br_err_set(reterr, BR_E_INTERNAL, "no room for a window's frames");
        }
        rc = deal_with_head(delta);
        if (rc < 0) {
            return rc;
        }
    }
    return BR_MIN(rc, 0);
}

static int want_part(struct delta *delta, const struct window *window, const struct br_repo_version *version,
                     struct part *part, struct br_err *reterr)
{
    int rc = part->there ? find_part(delta, version, part, reterr) : 0;

    if (rc < 0 || !part->there) {
        return rc;
    }
    rc = want(delta, window, &part->chunk, &part->frame, reterr);
    return rc < 0 || part->chunk.kind != BR_CHUNK_OVERLAY ? rc
                                                          : want(delta, window, &part->base, &part->base_frame, reterr);
}

// Begins to fetch what the window at the tail needs.
static int fetch(struct delta *delta, struct window *window, struct br_err *reterr)
{
    for (unsigned i = 0; i < window->count; i++) {
        struct block *block = &window->blocks[i];
        int rc = block->held ? 0 : want_part(delta, window, &delta->is, &block->is, reterr);

        if (delta->failed) {
            return delta->failed;
        }
        if (rc < 0) {
            return br_err_at(reterr, -rc, block->record.index * BR_BLOCK_BYTES, "block %llu of the point: %s",
                             (unsigned long long)block->record.index, reterr ? reterr->text : "");
        }
        // What can't be read of the version before costs bytes: then the block goes as a whole.
        if (!block->held && want_part(delta, window, &delta->before, &block->before, NULL) < 0) {
            put_part(delta, &block->before);
            block->before.there = false;
            block->all = true;
        }
        if (delta->failed) {
            return delta->failed;
        }
    }
    window->state = WINDOW_WAITING; // not before: it would seem to have all its frames
    br_ring_flush(delta->ring);
    return 0;
}

// Assembling --------------------------------------------------------------------------------------------------------------------------

static int bytes_of(const struct br_frame *frame, const struct br_index_chunk *chunk, const uint8_t **ret_bytes,
                    struct br_err *reterr)
{
    if (frame->result < 0) {
        *reterr = frame->err;
        return frame->result;
    }
    if (!br_range_ok(chunk->at, chunk->len_bytes, frame->raw_bytes)) {
        return br_err_set(reterr, BR_E_CORRUPT, "the index has a chunk behind its frame's end");
    }
    *ret_bytes = frame->data + chunk->at;
    return 0;
}

static int assemble_part(const struct part *part, uint32_t len, uint8_t *to, struct br_err *reterr)
{
    bool overlaid = part->chunk.kind == BR_CHUNK_OVERLAY;
    const struct br_index_chunk *whole = overlaid ? &part->base : &part->chunk;
    const uint8_t *bytes = NULL;
    struct br_overlay overlay;
    struct br_hash leaf;
    int rc = bytes_of(overlaid ? part->base_frame : part->frame, whole, &bytes, reterr);

    if (!rc && whole->len_bytes != len) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "a block of %u bytes instead of %u", whole->len_bytes, len);
    }
    if (rc < 0) {
        return rc;
    }
    memcpy(to, bytes, len);
    if (overlaid) {
        rc = bytes_of(part->frame, &part->chunk, &bytes, reterr);
        rc = rc < 0 ? rc : br_overlay_decode(bytes, part->chunk.len_bytes, len, &overlay, reterr);
        if (rc < 0) {
            return rc;
        }
        br_overlay_apply(&overlay, to, len);
    }
    br_leaf_hash(to, len, &leaf);
    return br_hash_equal(&leaf, &part->leaf)
               ? 0
               : br_err_set(reterr, BR_E_CORRUPT, "the content is not what the point says");
}

static void assemble_block(struct window *window, struct block *block, uint8_t *to)
{
    const struct delta *delta = window->delta;
    const struct br_tree_geometry *geometry = &delta->is.tree.geometry;
    uint64_t index = block->record.index;
    uint8_t *now = window->scratch[0], *before = window->scratch[1];
    struct br_err none;

    block->result = assemble_part(&block->is, br_block_bytes(geometry, index), now, &block->err);
    if (block->result < 0) {
        return;
    }
    if (!block->before.there) {
        memset(before, 0, BR_BLOCK_BYTES);
    } else if (assemble_part(&block->before, br_block_bytes(geometry, index), before, &none) < 0) {
        block->all = true;
    }
    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        uint32_t at = p * BR_PAGE_BYTES, len = br_page_bytes(geometry, index, p);

        if (!len || (!block->all && !memcmp(now + at, before + at, len))) {
            continue;
        }
        if (br_is_zero(now + at, len)) {
            block->record.zeros |= (uint16_t)(1u << p);
            continue;
        }
        block->record.pages |= (uint16_t)(1u << p);
        memcpy(to + block->data_bytes, now + at, len);
        block->data_bytes += len;
    }
}

static void assemble(struct br_job *job)
{
    struct window *window = job->ctx;
    uint8_t *to = window->buffer;

    for (unsigned i = 0; i < window->count; i++) {
        if (!window->blocks[i].held) {
            assemble_block(window, &window->blocks[i], to);
            to += window->blocks[i].data_bytes;
        }
    }
}

static void assembled(struct br_job *job)
{
    struct window *window = job->ctx;

    for (unsigned i = 0; i < window->count; i++) {
        put_part(window->delta, &window->blocks[i].is);
        put_part(window->delta, &window->blocks[i].before);
    }
    window->state = WINDOW_READY;
}

static bool part_ready(const struct part *part)
{
    return (!part->frame || part->frame->ready) && (!part->base_frame || part->base_frame->ready);
}

// Sends windows whose frames are all there to a worker.
static void advance(struct delta *delta)
{
    for (unsigned n = 0; n < delta->used; n++) {
        struct window *window = window_at(delta, n);
        bool ready = window->state == WINDOW_WAITING;

        for (unsigned i = 0; ready && i < window->count; i++) {
            ready = part_ready(&window->blocks[i].is) && part_ready(&window->blocks[i].before);
        }
        if (ready) {
            window->state = WINDOW_ASSEMBLING;
            window->job = (struct br_job){.run = assemble, .done = assembled, .ctx = window};
            br_ring_job(delta->ring, &window->job);
        }
    }
}

// The sink ----------------------------------------------------------------------------------------------------------------------------

struct loan {
    struct br_ring *ring;
    void *buffer;
    unsigned refs;
};

static void loan_release(void *ctx)
{
    struct loan *loan = ctx;

    if (!--loan->refs) {
        br_ring_buffer_put(loan->ring, loan->buffer);
        free(loan);
    }
}

static int emit_held(struct delta *delta, const struct window *window, unsigned from, unsigned to,
                     struct br_err *reterr)
{
    const struct br_sink *sink = &delta->params->sink;
    struct br_keep keep = {0};

    for (unsigned i = from; i < to; i++) {
        const struct br_batch_block *record = &window->blocks[i].record;

        keep.blocks[keep.count++] = (struct br_held_block){.index = record->index, .leaf = record->leaf};
        delta->progress.bytes_held += br_block_bytes(&delta->is.tree.geometry, record->index);
    }
    return sink->keep(sink->ctx, &keep, reterr);
}

static int emit_batch(struct delta *delta, const struct window *window, unsigned from, unsigned to, const uint8_t *data,
                      struct loan *loan, struct br_err *reterr)
{
    const struct br_sink *sink = &delta->params->sink;
    const struct br_tree_geometry *geometry = &delta->is.tree.geometry;
    struct br_batch batch = {.data = data};
    uint64_t before = delta->end->data_bytes + delta->end->zero_bytes;

    for (unsigned i = from; i < to; i++) {
        const struct block *block = &window->blocks[i];

        if (block->result < 0) {
            return br_err_at(reterr, -block->result, block->record.index * BR_BLOCK_BYTES,
                             "block %llu of the point: %s", (unsigned long long)block->record.index, block->err.text);
        }
        batch.blocks[batch.block_count++] = block->record;
        batch.data_bytes += block->data_bytes;
    }
    br_delta_count_batch(delta->end, &batch, geometry);
    delta->progress.bytes_changed += delta->end->data_bytes + delta->end->zero_bytes - before;
    loan->refs++;
    return sink->batch(sink->ctx, &batch, loan_release, loan, reterr);
}

static int emit_blocks(struct delta *delta, struct window *window, struct br_err *reterr)
{
    struct loan *loan = malloc(sizeof(*loan));
    const uint8_t *data = window->buffer;
    int rc = 0;

    if (!loan) {
        return br_err_set(reterr, BR_E_NOMEM, "a window");
    }
    *loan = (struct loan){.ring = delta->ring, .buffer = window->buffer, .refs = 1};
    window->buffer = NULL;
    for (unsigned i = 0, end; !rc && i < window->count; i = end) {
        bool held = window->blocks[i].held;
        size_t bytes = 0;

        for (end = i; end < window->count && window->blocks[end].held == held; end++) {
            bytes += window->blocks[end].data_bytes;
        }
        rc = held ? emit_held(delta, window, i, end, reterr) : emit_batch(delta, window, i, end, data, loan, reterr);
        data += bytes;
    }
    loan_release(loan);
    return rc;
}

static void tell(struct delta *delta, bool last)
{
    uint64_t now_ns = br_ring_now_ns(delta->ring);

    delta->progress.store_bytes = br_frames_bytes(delta->frames) + br_frames_bytes(delta->nodes);
    if (delta->params->progress && (last || now_ns - delta->told_ns >= DELTA_PROGRESS_NS)) {
        delta->told_ns = now_ns;
        delta->params->progress(delta->params->progress_ctx, &delta->progress);
    }
}

// Waits for the window at the head, hands it over, and makes room.
static int deal_with_head(struct delta *delta)
{
    struct br_err *reterr = delta->reterr;
    const struct br_point_delta_params *params = delta->params;
    struct window *window = window_at(delta, 0);
    int rc;

    if (params->cancel && *params->cancel) {
        delta->failed = -BR_E_CANCELLED;
        return br_err_set(reterr, BR_E_CANCELLED, "reading the point");
    }
    while (!window->is_run && window->state != WINDOW_READY) {
        advance(delta);
        br_ring_flush(delta->ring);
        if (window->state != WINDOW_READY) {
            br_ring_wait(delta->ring, UINT64_MAX);
        }
    }
    advance(delta);
    if (window->is_run) {
        uint64_t before = delta->end->zero_bytes;

        br_delta_count_run(delta->end, &window->run, &delta->is.tree.geometry);
        delta->progress.bytes_changed += delta->end->zero_bytes - before;
        rc = params->sink.run(params->sink.ctx, &window->run, reterr);
    } else {
        delta->progress.position_bytes =
            (window->blocks[window->count - 1].record.index + 1) * (uint64_t)BR_BLOCK_BYTES;
        rc = emit_blocks(delta, window, reterr);
    }
    delta->head = (delta->head + 1) % DELTA_WINDOWS;
    delta->used--;
    delta->failed = delta->failed ? delta->failed : rc;
    tell(delta, false);
    return rc;
}

// Blocks that differ ------------------------------------------------------------------------------------------------------------------

// The window at the tail is whole.
static int close_tail(struct delta *delta, struct br_err *reterr)
{
    struct window *window = delta->used ? window_at(delta, delta->used - 1) : NULL;

    return window && !window->is_run && window->state == WINDOW_FILLING ? fetch(delta, window, reterr) : 0;
}

static int new_window(struct delta *delta, bool is_run, struct window **ret_window, struct br_err *reterr)
{
    int rc = close_tail(delta, reterr);

    while (!rc && delta->used == DELTA_WINDOWS) {
        rc = deal_with_head(delta);
    }
    if (rc < 0) {
        return rc;
    }
    struct window *window = window_at(delta, delta->used);
    *window =
        (struct window){.delta = delta, .is_run = is_run, .scratch = &delta->scratch[2 * (window - delta->windows)]};
    while (!is_run && !(window->buffer = br_ring_buffer_get(delta->ring))) {
        if (delta->used) {
            rc = deal_with_head(delta);
        } else if (br_ring_in_flight(delta->ring)) {
            br_ring_wait(delta->ring, UINT64_MAX);
        } else {
            rc = br_err_set(reterr, BR_E_INTERNAL, "no buffer left and nothing to wait for");
        }
        if (rc < 0) {
            return rc;
        }
        // The place of the window stays the same: head moves on as used shrinks.
        assert(window == window_at(delta, delta->used));
    }
    delta->used++;
    *ret_window = window;
    return 0;
}

static int take_special(struct delta *delta, uint64_t index, const struct br_hash *leaf, struct br_err *reterr)
{
    enum br_run_kind kind = br_hash_equal(leaf, &br_hash_zero) ? BR_RUN_ZERO : BR_RUN_UNREADABLE;
    struct window *window = delta->used ? window_at(delta, delta->used - 1) : NULL;

    if (window && window->is_run && window->run.kind == kind && window->run.first + window->run.count == index) {
        window->run.count++;
        return 0;
    }
    int rc = new_window(delta, true, &window, reterr);
    if (!rc) {
        window->run = (struct br_run){.kind = kind, .first = index, .count = 1};
    }
    return rc;
}

static int take_block(void *ctx, uint64_t index, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    struct delta *delta = ctx;
    const struct br_point_delta_params *params = delta->params;
    const struct br_tree_geometry *geometry = &delta->is.tree.geometry;
    struct window *window = delta->used ? window_at(delta, delta->used - 1) : NULL;
    int rc = 0;

    if (index >= geometry->block_count) {
        return 0; // behind the end
    }
    if (br_leaf_is_special(new_leaf)) {
        return take_special(delta, index, new_leaf, delta->reterr);
    }
    if (!window || window->is_run || window->state != WINDOW_FILLING || window->count == DELTA_BLOCKS) {
        rc = new_window(delta, false, &window, delta->reterr);
    }
    int held = rc < 0 || !params->held ? 0 : params->held(params->held_ctx, new_leaf, delta->reterr);
    if (rc < 0 || held < 0) {
        return rc < 0 ? rc : held;
    }
    bool same_length = params->since && index < delta->before.tree.geometry.block_count &&
                       br_block_bytes(&delta->before.tree.geometry, index) == br_block_bytes(geometry, index);
    bool before = same_length && !br_leaf_is_special(old_leaf);
    window->blocks[window->count++] = (struct block){
        .record = {.index = index, .leaf = *new_leaf},
        .held = held,
        .all = !before,
        .is = {.there = true, .leaf = *new_leaf},
        .before = {.there = before, .leaf = *old_leaf},
    };
    return 0;
}

static int walk(struct delta *delta, struct br_err *reterr)
{
    const struct br_point_delta_params *params = delta->params;
    struct br_tree none;
    int rc = br_repo_version_open(params->repo, delta->nodes, params->point, &delta->is, reterr);

    rc = rc < 0 || !params->since
             ? rc
             : br_repo_version_open(params->repo, delta->nodes, params->since, &delta->before, reterr);
    if (rc < 0) {
        return rc;
    }
    br_tree_empty(&delta->is.tree.geometry, &br_hash_zero, &none);
    rc = br_tree_diff(params->since ? &delta->before.tree : &none,
                      params->since ? &delta->before.store : &delta->is.store, &delta->is.tree, &delta->is.store,
                      take_block, delta, reterr);
    rc = rc < 0 ? rc : close_tail(delta, reterr);
    while (!rc && delta->used) {
        rc = deal_with_head(delta);
    }
    return rc;
}

static void stop(struct delta *delta)
{
    for (unsigned n = 0; n < delta->used; n++) {
        struct window *window = window_at(delta, n);

        while (window->state == WINDOW_ASSEMBLING) {
            br_ring_wait(delta->ring, UINT64_MAX);
        }
        for (unsigned i = 0; !window->is_run && i < window->count; i++) {
            put_part(delta, &window->blocks[i].is);
            put_part(delta, &window->blocks[i].before);
        }
        if (window->buffer) {
            br_ring_buffer_put(delta->ring, window->buffer);
        }
    }
    br_repo_version_close(&delta->before);
    br_repo_version_close(&delta->is);
    br_frames_close(delta->frames);
    br_frames_close(delta->nodes);
}

int br_point_delta(const struct br_point_delta_params *params, struct br_delta_end *ret_end,
                   struct br_point_delta_progress *ret_progress, struct br_err *reterr)
{
    struct delta *delta = calloc(1, sizeof(*delta));
    int rc = delta ? 0 : br_err_set(reterr, BR_E_NOMEM, "a delta");

    if (rc < 0) {
        return rc;
    }
    *ret_end = (struct br_delta_end){.root = params->point->root};
    delta->params = params;
    delta->ring = br_repo_ring_of(params->repo);
    delta->end = ret_end;
    delta->reterr = reterr;
    delta->progress.size_bytes = params->point->size_bytes;
    delta->told_ns = br_ring_now_ns(delta->ring);
    rc = br_frames_open(params->repo, DELTA_NODE_FRAMES, &delta->nodes, reterr);
    rc = rc < 0 ? rc : br_frames_open(params->repo, DELTA_FRAMES, &delta->frames, reterr);
    if (!rc) {
        rc = walk(delta, reterr);
        delta->progress.position_bytes = rc < 0 ? delta->progress.position_bytes : params->point->size_bytes;
        tell(delta, !rc);
    }
    if (ret_progress) {
        *ret_progress = delta->progress;
    }
    stop(delta);
    free(delta);
    return rc;
}
