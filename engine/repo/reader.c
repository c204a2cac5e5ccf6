// SPDX-License-Identifier: Apache-2.0
//
// A queue of windows in the point's order, as in engine/pipe/pipe.c:
//
//     head                                                                       tail
//     [zeros][ready][assembling][waits for frames][waits for frames][acquires]
//        `-> sink                                                        `<- leaves
//
// Windows take their frames in order, the next one only when the one before has all of its own; one window needs 32 frames at most, and there is
// room for more. So the first that lacks a frame waits only for windows that lack none, and these get done.
#include "engine/repo/reader.h"

#include <assert.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/repo/block.h"

#define READ_WINDOWS      24u
#define READ_FRAMES       48u // at least 2 * BR_BATCH_BLOCKS_MAX
#define READ_NODE_FRAMES  4u
#define READ_PROGRESS_NS  (100 * BR_NS_PER_MS)
#define READ_LEAVES_AHEAD BR_BATCH_BLOCKS_MAX

static_assert(READ_FRAMES + READ_NODE_FRAMES <= BR_STORE_GETS_MAX, "the store takes as many reads at once");
static_assert(READ_FRAMES >= 2 * BR_BATCH_BLOCKS_MAX, "one window has room for its frames");

enum window_state { WINDOW_ACQUIRING, WINDOW_WAITING, WINDOW_ASSEMBLING, WINDOW_READY };

struct window {
    struct reading *reading;
    enum window_state state;
    uint64_t first;
    uint64_t count;  // blocks; 16 at most unless zeros
    uint8_t *buffer; // of the ring's pool; NULL: all zeros
    unsigned acquired;
    struct br_block_read blocks[BR_BATCH_BLOCKS_MAX];
    struct br_job job;
};

struct loan {
    struct br_ring *ring;
    void *buffer;
    unsigned refs;
};

struct reading {
    const struct br_read_params *params;
    struct br_ring *ring;
    struct br_frames *nodes;
    struct br_frames *frames;
    struct br_repo_version version;
    struct br_tree_reader *leaves;
    uint64_t next_block; // whose leaf was not read yet
    uint64_t end_block;
    struct window *windows; // READ_WINDOWS, a ring of them
    unsigned head, used, buffers, buffers_max;
    unsigned acquired; // windows from the head on that have all their frames
    uint64_t bad_blocks;
    struct br_read_progress progress;
    uint64_t told_ns;
};

static struct window *window_at(struct reading *reading, unsigned nth)
{
    return &reading->windows[(reading->head + nth) % READ_WINDOWS];
}

static uint64_t end_bytes(const struct reading *reading, uint64_t block)
{
    return BR_MIN(block * BR_BLOCK_BYTES, reading->version.tree.geometry.size_bytes);
}

// Leaves ------------------------------------------------------------------------------------------------------------------------------

static int read_leaves(struct reading *reading, struct window *window, struct br_err *reterr)
{
    struct br_hash leaves[READ_LEAVES_AHEAD];
    int rc = br_tree_read(reading->leaves, window->first, (unsigned)window->count, leaves, NULL, reterr);

    for (unsigned i = 0; !rc && i < window->count; i++) {
        window->blocks[i] = (struct br_block_read){.leaf = leaves[i]};
    }
    return rc;
}

// Takes the next blocks into the queue. Returns 1 when it did, 0 when there is no room, or nothing left.
static int feed(struct reading *reading, struct br_err *reterr)
{
    struct window *window = window_at(reading, reading->used);
    uint64_t from = reading->next_block, data = from;
    int rc;

    if (from >= reading->end_block || reading->used == READ_WINDOWS || reading->buffers >= reading->buffers_max) {
        return 0;
    }
    rc = br_tree_next_not(reading->leaves, from, &br_hash_zero, &data, reterr);
    if (rc < 0) {
        return rc;
    }
    data = BR_MIN(data, reading->end_block);
    window->reading = reading;
    window->first = from;
    window->acquired = 0;
    window->state = WINDOW_ACQUIRING;
    window->buffer = NULL;
    if (data > from) {
        window->count = data - from;
    } else {
        window->buffer = br_ring_buffer_get(reading->ring);
        if (!window->buffer) {
            return 0;
        }
        reading->buffers++;
        window->count = BR_MIN(reading->end_block - from, (uint64_t)BR_BATCH_BLOCKS_MAX);
        rc = read_leaves(reading, window, reterr);
    }
    reading->used++;
    reading->next_block = from + window->count;
    return rc < 0 ? rc : 1;
}

// Frames ------------------------------------------------------------------------------------------------------------------------------

// Returns 1 when the window has all its frames, 0 not yet.
static int acquire(struct reading *reading, struct window *window)
{
    while (window->buffer && window->acquired < window->count) {
        struct br_block_read *block = &window->blocks[window->acquired];

        if (!br_leaf_is_special(&block->leaf) &&
            !br_block_acquire(block, reading->params->repo, reading->frames, reading->version.domain)) {
            return 0;
        }
        window->acquired++;
    }
    window->state = window->buffer ? WINDOW_WAITING : WINDOW_READY;
    return 1;
}

// Assembling --------------------------------------------------------------------------------------------------------------------------

static void assemble(struct br_job *job)
{
    struct window *window = job->ctx;

    for (unsigned i = 0; i < window->count; i++) {
        struct br_block_read *block = &window->blocks[i];

        if (!block->result && !br_leaf_is_special(&block->leaf)) {
            br_block_assemble(block, window->buffer + (size_t)i * BR_BLOCK_BYTES,
                              br_block_bytes(&window->reading->version.tree.geometry, window->first + i));
        }
    }
}

static void assembled(struct br_job *job)
{
    struct window *window = job->ctx;

    for (unsigned i = 0; i < window->count; i++) {
        br_block_release(&window->blocks[i], window->reading->frames);
    }
    window->state = WINDOW_READY;
}

static bool frames_ready(const struct window *window)
{
    for (unsigned i = 0; i < window->count; i++) {
        if (!br_block_frames_ready(&window->blocks[i])) {
            return false;
        }
    }
    return true;
}

// Moves every window on as far as it goes.
static void advance(struct reading *reading)
{
    while (reading->acquired < reading->used && acquire(reading, window_at(reading, reading->acquired))) {
        reading->acquired++;
    }
    for (unsigned n = 0; n < reading->acquired; n++) {
        struct window *window = window_at(reading, n);

        if (window->state == WINDOW_WAITING && frames_ready(window)) {
            window->state = WINDOW_ASSEMBLING;
            window->job = (struct br_job){.run = assemble, .done = assembled, .ctx = window};
            br_ring_job(reading->ring, &window->job);
        }
    }
}

// The sink ----------------------------------------------------------------------------------------------------------------------------

static int drop_data(void *ctx, uint64_t offset_bytes, const uint8_t *bytes, size_t len, void (*release)(void *),
                     void *release_ctx, struct br_err *reterr)
{
    (void)ctx;
    (void)offset_bytes;
    (void)bytes;
    (void)len;
    (void)reterr;
    release(release_ctx);
    return 0;
}

static int drop_range(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    (void)ctx;
    (void)offset_bytes;
    (void)len_bytes;
    (void)reterr;
    return 0;
}

const struct br_read_sink br_read_drop = {.data = drop_data, .zero = drop_range, .unreadable = drop_range};

static void loan_release(void *ctx)
{
    struct loan *loan = ctx;

    if (!--loan->refs) {
        br_ring_buffer_put(loan->ring, loan->buffer);
        free(loan);
    }
}

enum stretch { STRETCH_DATA, STRETCH_ZERO, STRETCH_UNREADABLE, STRETCH_BAD };

static enum stretch stretch_of(const struct br_block_read *block)
{
    if (block->result < 0) {
        return STRETCH_BAD;
    }
    if (br_hash_equal(&block->leaf, &br_hash_zero)) {
        return STRETCH_ZERO;
    }
    return br_leaf_is_special(&block->leaf) ? STRETCH_UNREADABLE : STRETCH_DATA;
}

static int hand_over(struct reading *reading, const struct window *window, unsigned from, unsigned to,
                     enum stretch what, struct loan *loan, struct br_err *reterr)
{
    const struct br_read_sink *sink = &reading->params->sink;
    uint64_t at = (window->first + from) * BR_BLOCK_BYTES, end = end_bytes(reading, window->first + to);

    if (what == STRETCH_ZERO) {
        return sink->zero(sink->ctx, at, end - at, reterr);
    }
    if (what == STRETCH_UNREADABLE) {
        return sink->unreadable(sink->ctx, at, end - at, reterr);
    }
    loan->refs++;
    reading->progress.data_bytes += end - at;
    return sink->data(sink->ctx, at, (const uint8_t *)loan->buffer + (size_t)from * BR_BLOCK_BYTES, (size_t)(end - at),
                      loan_release, loan, reterr);
}

static int bad_block(struct reading *reading, const struct window *window, unsigned i, struct br_err *reterr)
{
    const struct br_block_read *block = &window->blocks[i];
    uint64_t at = (window->first + i) * BR_BLOCK_BYTES;

    if (!reading->params->go_on || br_store_is_lost(block->result)) {
        return br_err_at(reterr, -block->result, at, "block %llu of the point: %s",
                         (unsigned long long)(window->first + i), block->err.text);
    }
    reading->bad_blocks++;
    if (reading->params->bad_block) {
        reading->params->bad_block(reading->params->bad_block_ctx, at, &block->err);
    }
    return 0;
}

static int emit_blocks(struct reading *reading, struct window *window, struct loan *loan, struct br_err *reterr)
{
    int rc = 0;

    for (unsigned i = 0; i < window->count; i++) {
        if (window->blocks[i].result < 0) {
            br_block_mend(&window->blocks[i], reading->params->repo, reading->nodes, reading->version.domain,
                          (uint8_t *)loan->buffer + (size_t)i * BR_BLOCK_BYTES,
                          br_block_bytes(&reading->version.tree.geometry, window->first + i));
        }
    }
    for (unsigned i = 0, end; !rc && i < window->count; i = end) {
        enum stretch what = stretch_of(&window->blocks[i]);

        end = i + 1;
        while (what != STRETCH_BAD && end < window->count && stretch_of(&window->blocks[end]) == what) {
            end++;
        }
        rc = what == STRETCH_BAD ? bad_block(reading, window, i, reterr)
                                 : hand_over(reading, window, i, end, what, loan, reterr);
    }
    return rc;
}

static int emit(struct reading *reading, struct window *window, struct br_err *reterr)
{
    const struct br_read_sink *sink = &reading->params->sink;
    uint64_t at = window->first * BR_BLOCK_BYTES, end = end_bytes(reading, window->first + window->count);
    int rc;

    if (!window->buffer) {
        rc = sink->zero(sink->ctx, at, end - at, reterr);
    } else {
        struct loan *loan = malloc(sizeof(*loan));

        if (!loan) {
            return br_err_set(reterr, BR_E_NOMEM, "a window");
        }
        *loan = (struct loan){.ring = reading->ring, .buffer = window->buffer, .refs = 1};
        window->buffer = NULL;
        reading->buffers--;
        rc = emit_blocks(reading, window, loan, reterr);
        loan_release(loan);
    }
    reading->progress.position_bytes = end;
    return rc;
}

// The loop ----------------------------------------------------------------------------------------------------------------------------

static void tell(struct reading *reading, bool last)
{
    uint64_t now_ns = br_ring_now_ns(reading->ring);

    reading->progress.store_bytes = br_frames_bytes(reading->frames) + br_frames_bytes(reading->nodes);
    if (reading->params->progress && (last || now_ns - reading->told_ns >= READ_PROGRESS_NS)) {
        reading->told_ns = now_ns;
        reading->params->progress(reading->params->progress_ctx, &reading->progress);
    }
}

// Returns 1 when the head was handed over, 0 when it is not ready.
static int drain(struct reading *reading, struct br_err *reterr)
{
    struct window *window = window_at(reading, 0);

    if (!reading->used || window->state != WINDOW_READY) {
        return 0;
    }
    int rc = emit(reading, window, reterr);
    reading->head = (reading->head + 1) % READ_WINDOWS;
    reading->used--;
    reading->acquired--;
    return rc < 0 ? rc : 1;
}

static int loop(struct reading *reading, struct br_err *reterr)
{
    while (reading->used || reading->next_block < reading->end_block) {
        int fed;

        if (reading->params->cancel && *reading->params->cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "reading the point");
        }
        while ((fed = feed(reading, reterr)) > 0) {}
        if (fed < 0) {
            return fed;
        }
        advance(reading);
        br_ring_flush(reading->ring);
        int did = drain(reading, reterr);
        if (did < 0) {
            return did;
        }
        tell(reading, false);
        if (did) {
            continue;
        }
        if (!br_ring_in_flight(reading->ring)) {
            return br_err_set(reterr, BR_E_INTERNAL, "the reader has no buffer left and nothing to wait for");
        }
        br_ring_wait(reading->ring, UINT64_MAX);
    }
    return 0;
}

static void stop(struct reading *reading)
{
    for (unsigned n = 0; n < reading->used; n++) {
        struct window *window = window_at(reading, n);

        while (window->state == WINDOW_ASSEMBLING) {
            br_ring_wait(reading->ring, UINT64_MAX);
        }
        for (unsigned i = 0; window->buffer && i < window->count; i++) {
            br_block_release(&window->blocks[i], reading->frames);
        }
        if (window->buffer) {
            br_ring_buffer_put(reading->ring, window->buffer);
        }
    }
    br_tree_reader_close(reading->leaves);
    br_repo_version_close(&reading->version);
    br_frames_close(reading->frames);
    br_frames_close(reading->nodes);
    free(reading->windows);
}

static int start(struct reading *reading, struct br_err *reterr)
{
    const struct br_read_params *params = reading->params;
    uint64_t size_bytes = params->point->size_bytes;

    if (params->offset_bytes % BR_BLOCK_BYTES || params->offset_bytes > size_bytes) {
        return br_err_set(reterr, BR_E_USAGE, "a range that does not begin at a multiple of 64 KiB within the volume");
    }
    reading->windows = calloc(READ_WINDOWS, sizeof(*reading->windows));
    if (!reading->windows) {
        return br_err_set(reterr, BR_E_NOMEM, "the reader");
    }
    uint64_t len_bytes = BR_MIN(params->len_bytes, size_bytes - params->offset_bytes);
    reading->next_block = params->offset_bytes / BR_BLOCK_BYTES;
    reading->end_block = br_div_up(params->offset_bytes + len_bytes, BR_BLOCK_BYTES);
    reading->buffers_max = BR_MAX(br_ring_buffers_free(reading->ring) / 2, 1u);
    reading->progress.size_bytes = size_bytes;
    reading->told_ns = br_ring_now_ns(reading->ring);
    int rc = br_frames_open(params->repo, READ_NODE_FRAMES, &reading->nodes, reterr);
    rc = rc < 0 ? rc : br_frames_open(params->repo, READ_FRAMES, &reading->frames, reterr);
    rc = rc < 0 ? rc : br_repo_version_open(params->repo, reading->nodes, params->point, &reading->version, reterr);
    return rc < 0 ? rc : br_tree_reader_open(&reading->version.tree, &reading->version.store, &reading->leaves, reterr);
}

int br_repo_read(const struct br_read_params *params, struct br_read_progress *ret_progress, uint64_t *ret_bad_blocks,
                 struct br_err *reterr)
{
    struct reading reading = {.params = params, .ring = br_repo_ring_of(params->repo)};
    int rc = start(&reading, reterr);

    rc = rc < 0 ? rc : loop(&reading, reterr);
    if (reading.frames) {
        tell(&reading, !rc);
    }
    if (ret_progress) {
        *ret_progress = reading.progress;
    }
    if (ret_bad_blocks) {
        *ret_bad_blocks = reading.bad_blocks;
    }
    stop(&reading);
    return rc;
}
