// SPDX-License-Identifier: Apache-2.0
//
// Slots are a queue in source order: read, compared on a worker, then given to the sink when they reach its head.
//
//     head                                                     tail
//     [gap ready][window ready][window comparing][window reading][window reading]
//        `-> sink, tree writer                                      `<- plan
//
// A window that wants old data goes on as: comparing -> wants old -> reading old -> settling -> ready, beside the others. Only as many as
// there are buffers for it read at once; none waits for the head, so the head always gets there.
//
// A window holds one buffer of the ring's pool from its read until the sink released every batch made of it, which may be after this
// function returned: that loan lives on its own (struct br_loan). Half of the pool at most is on this side of the sink, so that reads
// and writes overlap instead of taking turns.
#include "engine/pipe/pipe.h"

#include <assert.h>
#include <errno.h>

#include "engine/base/units.h"
#include "engine/pipe/plan.h"
#include "engine/pipe/window.h"

#define BR_PIPE_SLOTS       64u
#define BR_PIPE_READS_MAX   (BR_BATCH_BLOCKS_MAX / 2) // of one window: data and holes alternate
#define BR_PIPE_PROGRESS_NS (100 * BR_NS_PER_MS)
#define BR_PIPE_BURST_NS    (50 * BR_NS_PER_MS) // so much time that nothing used counts for the bandwidth limit
#define BR_PIPE_GAP_LEAVES  256u
#define BR_PIPE_HELD        4096u // held blocks asked for at once
#define BR_PIPE_OLD         4u    // windows whose old data is read at once

enum br_slot_state {
    BR_SLOT_READING,
    BR_SLOT_READ_FAILED,
    BR_SLOT_COMPARING,
    BR_SLOT_WANTS_OLD,
    BR_SLOT_READING_OLD,
    BR_SLOT_SETTLING,
    BR_SLOT_READY,
};

struct br_pipe;

struct br_slot {
    struct br_pipe *pipe;
    enum br_slot_state state;
    struct br_plan_step step;
    struct br_window window;
    struct br_job job;
    struct br_io ios[BR_PIPE_READS_MAX];
    unsigned io_count;
    unsigned io_open;
    uint8_t *old;          // one of the pipe's old buffers, NULL none
    uint16_t old_readable; // blocks that were read into it
    bool paid;             // for the bandwidth limit
};

struct br_loan {
    struct br_ring *ring;
    void *buffer;
    unsigned refs;
};

struct br_pipe {
    const struct br_pipe_params *params;
    struct br_tree_geometry geometry;
    struct br_extent_map changed; // the caller's, widened by what a change of size touches
    struct br_plan plan;
    bool planned;                  // the plan is at its end
    struct br_tree_reader *ahead;  // parent's leaves for windows about to be read
    struct br_tree_reader *behind; // parent's leaves for gaps being emitted
    struct br_tree_writer *writer;
    struct br_slot *slots; // BR_PIPE_SLOTS, a ring of them
    unsigned head;
    unsigned used;
    unsigned buffers; // held by slots
    unsigned buffers_max;
    struct br_run run;                 // not yet told to the sink; count 0: none
    struct br_keep keep;               // the same; at most one of the two has anything
    struct br_file *old;               // what the parent's blocks held; NULL: not asked for, or none
    bool old_asked;                    // it was opened, or there was none
    bool old_over;                     // nothing more is read of it
    unsigned old_users;                // slots that have one of
    uint8_t *old_buffers[BR_PIPE_OLD]; // BR_BATCH_DATA_MAX, made when first needed
    bool old_taken[BR_PIPE_OLD];
    struct br_held_block *held; // the next ones that the far end holds: BR_PIPE_HELD of room, NULL when nothing is held
    unsigned held_at, held_count;
    struct br_pipe_progress progress;
    uint64_t progress_told_ns;
    uint64_t next_ship_ns; // bandwidth limit: when the limit allows all that was paid for; 0: nothing was yet
    struct br_hash gap_leaves[BR_PIPE_GAP_LEAVES];
};

// Loans -------------------------------------------------------------------------------------------------------------------------------

static void br_loan_release(void *ctx)
{
    struct br_loan *loan = ctx;

    if (!--loan->refs) {
        br_ring_buffer_put(loan->ring, loan->buffer);
        free(loan);
    }
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

static struct br_slot *br_pipe_slot(struct br_pipe *pipe, unsigned nth)
{
    return &pipe->slots[(pipe->head + nth) % BR_PIPE_SLOTS];
}

static void br_slot_compare(struct br_job *job)
{
    struct br_slot *slot = job->ctx;

    br_window_compare(&slot->window);
}

static void br_slot_compared(struct br_job *job)
{
    struct br_slot *slot = job->ctx;

    slot->state = slot->window.wanted ? BR_SLOT_WANTS_OLD : BR_SLOT_READY;
}

static void br_slot_queue_compare(struct br_slot *slot)
{
    slot->state = BR_SLOT_COMPARING;
    slot->job = (struct br_job){.run = br_slot_compare, .done = br_slot_compared, .ctx = slot};
    br_ring_job(slot->pipe->params->ring, &slot->job);
}

static void br_slot_read_done(struct br_io *io)
{
    struct br_slot *slot = io->ctx;

    if (--slot->io_open) {
        return;
    }
    for (unsigned i = 0; i < slot->io_count; i++) {
        if (slot->ios[i].result || slot->ios[i].done_bytes < slot->ios[i].len_bytes) {
            slot->state = BR_SLOT_READ_FAILED;
            return;
        }
    }
    br_slot_queue_compare(slot);
}

// One read for each stretch of the window's blocks in @mask, to its place in @buffer.
static void br_slot_submit(struct br_slot *slot, struct br_file *file, uint8_t *buffer, uint16_t mask,
                           br_io_done_fn *done)
{
    const struct br_pipe_params *params = slot->pipe->params;

    slot->io_count = 0;
    for (unsigned i = 0; i < slot->window.count; i++) {
        if (!(mask >> i & 1)) {
            continue;
        }
        unsigned end = i;
        while (end < slot->window.count && (mask >> end & 1)) {
            end++;
        }
        uint64_t from = (slot->window.first + i) * BR_BLOCK_BYTES;
        uint64_t to = BR_MIN((slot->window.first + end) * BR_BLOCK_BYTES, params->size_bytes);

        slot->ios[slot->io_count++] = (struct br_io){
            .op = BR_IO_READ,
            .file = file,
            .buf = buffer + (size_t)i * BR_BLOCK_BYTES,
            .len_bytes = (size_t)(to - from),
            .offset_bytes = from,
            .done = done,
            .ctx = slot,
        };
        i = end;
    }
    slot->io_open = slot->io_count;
    // A read may complete inside submit, but its callback runs in br_ring_wait() only, so the count is whole before the first.
    for (unsigned i = 0; i < slot->io_count; i++) {
        br_ring_submit(params->ring, &slot->ios[i]);
    }
}

static void br_slot_read(struct br_slot *slot)
{
    slot->state = BR_SLOT_READING;
    br_slot_submit(slot, slot->pipe->params->source, slot->window.buffer, slot->window.data, br_slot_read_done);
    for (unsigned i = 0; i < slot->io_count; i++) {
        slot->pipe->progress.bytes_read += slot->ios[i].len_bytes;
    }
}

// The last block of the shorter version has another length now. UNREADABLE would look unchanged, and yet must be told.
static void br_slot_forget_tail(struct br_pipe *pipe, struct br_window *window)
{
    const struct br_tree_geometry *old = &pipe->params->parent->geometry;
    uint64_t shorter = BR_MIN(old->size_bytes, pipe->geometry.size_bytes);
    uint64_t tail = shorter / BR_BLOCK_BYTES;

    if (old->size_bytes == pipe->geometry.size_bytes || !(shorter % BR_BLOCK_BYTES) || tail < window->first ||
        tail >= window->first + window->count) {
        return;
    }
    struct br_hash *leaf = &window->old_leaves[tail - window->first];
    if (br_hash_equal(leaf, &br_hash_unreadable)) {
        *leaf = br_hash_unknown;
    }
}

// The first held block at or after @index in *ret_block, NULL when there is none.
static int br_pipe_held(struct br_pipe *pipe, uint64_t index, const struct br_held_block **ret_block,
                        struct br_err *reterr)
{
    const struct br_held_source *source = &pipe->params->held;

    *ret_block = NULL;
    while (pipe->held) {
        while (pipe->held_at < pipe->held_count && pipe->held[pipe->held_at].index < index) {
            pipe->held_at++;
        }
        if (pipe->held_at < pipe->held_count) {
            *ret_block = &pipe->held[pipe->held_at];
            return 0;
        }
        int rc = source->next(source->ctx, index, pipe->held, BR_PIPE_HELD, &pipe->held_count, reterr);
        if (rc < 0) {
            return rc;
        }
        pipe->held_at = 0;
        if (!pipe->held_count) {
            free(pipe->held);
            pipe->held = NULL;
        }
    }
    return 0;
}

static int br_slot_held(struct br_pipe *pipe, struct br_window *window, struct br_err *reterr)
{
    for (unsigned i = 0; i < window->count; i++) {
        const struct br_held_block *block = NULL;
        int rc = window->data >> i & 1 ? br_pipe_held(pipe, window->first + i, &block, reterr) : 0;

        if (rc < 0) {
            return rc;
        }
        window->held[i] = block && block->index == window->first + i ? block->leaf : br_hash_unknown;
    }
    return 0;
}

// A block that has another length now can't be told by pages.
static uint16_t br_slot_old_at_hand(const struct br_pipe *pipe, const struct br_window *window)
{
    const struct br_tree_geometry *old = &pipe->params->parent->geometry;
    uint16_t mask = 0;

    for (unsigned i = 0; pipe->params->old.open && !pipe->old_over && i < window->count; i++) {
        uint64_t index = window->first + i;
        bool same = index < old->block_count && br_block_bytes(old, index) == br_block_bytes(window->geometry, index);
        mask |= same ? (uint16_t)(1u << i) : 0;
    }
    return mask;
}

static int br_slot_start(struct br_pipe *pipe, struct br_slot *slot, const struct br_plan_step *step, void *buffer,
                         struct br_err *reterr)
{
    struct br_window *window = &slot->window;

    window->geometry = &pipe->geometry;
    window->secret = pipe->params->page_secret;
    window->first = step->first;
    window->count = (unsigned)step->count;
    window->considered = step->considered;
    window->data = step->data;
    window->unreadable = 0;
    window->buffer = buffer;
    window->old_at_hand = br_slot_old_at_hand(pipe, window);
    int rc = br_tree_read(pipe->ahead, step->first, window->count, window->old_leaves, window->old_pages, reterr);
    if (!rc) {
        br_slot_forget_tail(pipe, window);
        rc = br_slot_held(pipe, window, reterr);
    }
    return rc;
}

// Takes the plan's next step into the queue. Returns 1 when it did, 0 when there is no room, no buffer or nothing left.
static int br_pipe_feed(struct br_pipe *pipe, struct br_err *reterr)
{
    struct br_plan_step step;

    if (pipe->planned || pipe->used == BR_PIPE_SLOTS || pipe->buffers >= pipe->buffers_max) {
        return 0;
    }
    // The buffer comes first: a step taken from the plan can't be put back.
    void *buffer = br_ring_buffer_get(pipe->params->ring);
    if (!buffer) {
        return 0;
    }
    int rc = br_plan_next(&pipe->plan, &step, reterr);
    pipe->planned = !rc;
    if (rc <= 0 || step.gap || !step.data) {
        br_ring_buffer_put(pipe->params->ring, buffer);
        buffer = NULL;
    }
    if (rc <= 0) {
        return rc;
    }
    struct br_slot *slot = br_pipe_slot(pipe, pipe->used);
    slot->pipe = pipe;
    slot->step = step;
    slot->state = BR_SLOT_READY;
    if (buffer) {
        rc = br_slot_start(pipe, slot, &step, buffer, reterr);
        if (rc < 0) {
            br_ring_buffer_put(pipe->params->ring, buffer);
            return rc;
        }
        pipe->buffers++;
        br_slot_read(slot);
    } else {
        slot->window.buffer = NULL;
    }
    pipe->used++;
    return 1;
}

// Unreadable blocks -------------------------------------------------------------------------------------------------------------------

// Is it this place that can't be read, or is the whole device gone?
static bool br_read_error_is_local(const struct br_err *err)
{
    return err->code == BR_E_IO && err->os_errno != ENODEV && err->os_errno != ENXIO && err->os_errno != ENOMEDIUM &&
           err->os_errno != ESHUTDOWN;
}

// Reads block @i by pages. Returns 1 readable, 0 not (ret_bad: the first bad page's offset), or an error that is not about this place.
static int br_slot_read_block(struct br_slot *slot, unsigned i, struct br_err *ret_bad, struct br_err *reterr)
{
    const struct br_pipe_params *params = slot->pipe->params;
    uint64_t index = slot->window.first + i;

    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        uint32_t len = br_page_bytes(&slot->pipe->geometry, index, p);
        size_t at = (size_t)i * BR_BLOCK_BYTES + (size_t)p * BR_PAGE_BYTES;
        struct br_err err = {0};

        if (!len) {
            break;
        }
        int rc =
            br_file_read(params->source, slot->window.buffer + at, len, slot->window.first * BR_BLOCK_BYTES + at, &err);
        if (rc == -BR_E_TRUNCATED) {
            return br_err_at(reterr, BR_E_SOURCE_MOVED, slot->window.first * BR_BLOCK_BYTES + at,
                             "the source became smaller while it was read");
        }
        if (rc < 0 && !br_read_error_is_local(&err)) {
            if (reterr) {
                *reterr = err;
            }
            return br_err_prefix(reterr, "source");
        }
        if (rc < 0) {
            *ret_bad = err;
            return 0;
        }
    }
    return 1;
}

// Some read of the window failed: find out which blocks, one page at a time, and go on with the rest when that is asked for.
static int br_slot_retry(struct br_slot *slot, struct br_err *reterr)
{
    const struct br_pipe_params *params = slot->pipe->params;

    for (unsigned i = 0; i < slot->window.count; i++) {
        struct br_err bad = {0};

        if (!(slot->window.data >> i & 1)) {
            continue;
        }
        if (params->cancel && *params->cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "reading the source");
        }
        int rc = br_slot_read_block(slot, i, &bad, reterr);
        if (rc < 0) {
            return rc;
        }
        if (!rc && !params->continue_on_read_error) {
            rc = br_err_at(reterr, BR_E_SOURCE_READ, bad.offset_bytes, "%s", bad.text);
            if (reterr) {
                reterr->os_errno = bad.os_errno;
            }
            return rc;
        }
        slot->window.unreadable |= rc ? 0 : (uint16_t)(1u << i);
    }
    slot->pipe->progress.unreadable_blocks += (unsigned)__builtin_popcount(slot->window.unreadable);
    br_slot_queue_compare(slot);
    return 0;
}

// Old data ----------------------------------------------------------------------------------------------------------------------------

static void br_slot_settle(struct br_job *job)
{
    struct br_slot *slot = job->ctx;

    br_window_settle(&slot->window, slot->old, slot->old_readable);
}

static void br_slot_settled(struct br_job *job)
{
    struct br_slot *slot = job->ctx;
    struct br_pipe *pipe = slot->pipe;

    for (unsigned b = 0; slot->old && b < BR_PIPE_OLD; b++) {
        if (pipe->old_buffers[b] == slot->old) {
            pipe->old_taken[b] = false;
            pipe->old_users--;
            slot->old = NULL;
        }
    }
    slot->state = BR_SLOT_READY;
}

static void br_slot_queue_settle(struct br_slot *slot)
{
    slot->state = BR_SLOT_SETTLING;
    slot->job = (struct br_job){.run = br_slot_settle, .done = br_slot_settled, .ctx = slot};
    br_ring_job(slot->pipe->params->ring, &slot->job);
}

static void br_slot_old_done(struct br_io *io)
{
    struct br_slot *slot = io->ctx;

    if (io->result || io->done_bytes < io->len_bytes) {
        slot->pipe->old_over = true;
    } else {
        unsigned first = (unsigned)(io->offset_bytes / BR_BLOCK_BYTES - slot->window.first);
        unsigned count = (unsigned)br_div_up(io->len_bytes, BR_BLOCK_BYTES);
        slot->old_readable |= (uint16_t)(((1u << count) - 1) << first);
        slot->pipe->progress.bytes_old += io->len_bytes;
    }
    if (!--slot->io_open) {
        br_slot_queue_settle(slot);
    }
}

// Opens it when it is first wanted, and closes it when it is over. False: there is nothing to read.
static bool br_pipe_has_old(struct br_pipe *pipe)
{
    const struct br_old_source *source = &pipe->params->old;

    if (source->unwanted && *source->unwanted) {
        pipe->old_over = true;
    }
    if (!pipe->old_asked && !pipe->old_over) {
        pipe->old_asked = true;
        pipe->old_over = source->open(source->ctx, &pipe->old) <= 0;
    }
    return !pipe->old_over;
}

// A buffer for @slot's old data; false: all are in use. Without any at all it is over.
static bool br_pipe_old_buffer(struct br_pipe *pipe, struct br_slot *slot)
{
    for (unsigned b = 0; b < BR_PIPE_OLD; b++) {
        if (!pipe->old_buffers[b]) {
            pipe->old_buffers[b] = aligned_alloc(BR_PAGE_BYTES, BR_BATCH_DATA_MAX);
        }
        if (pipe->old_buffers[b] && !pipe->old_taken[b]) {
            pipe->old_taken[b] = true;
            pipe->old_users++;
            slot->old = pipe->old_buffers[b];
            return true;
        }
    }
    pipe->old_over = pipe->old_over || !pipe->old_users;
    return false;
}

// Sends slots that want old data on their way, in order.
static void br_pipe_mind_old(struct br_pipe *pipe)
{
    for (unsigned n = 0; n < pipe->used; n++) {
        struct br_slot *slot = br_pipe_slot(pipe, n);

        if (slot->state != BR_SLOT_WANTS_OLD) {
            continue;
        }
        slot->old_readable = 0;
        bool over = !br_pipe_has_old(pipe);
        if (!over && br_pipe_old_buffer(pipe, slot)) {
            slot->state = BR_SLOT_READING_OLD;
            br_slot_submit(slot, pipe->old, slot->old, slot->window.wanted, br_slot_old_done);
        } else if (over || pipe->old_over) {
            br_slot_queue_settle(slot);
        } else {
            break;
        }
    }
    if (pipe->old && !pipe->old_users && !br_pipe_has_old(pipe)) {
        br_file_close(pipe->old);
        pipe->old = NULL;
    }
}

// Emitting ----------------------------------------------------------------------------------------------------------------------------

static int br_pipe_flush_run(struct br_pipe *pipe, struct br_err *reterr)
{
    struct br_run run = pipe->run;

    pipe->run.count = 0;
    return run.count ? pipe->params->sink.run(pipe->params->sink.ctx, &run, reterr) : 0;
}

static int br_pipe_flush_keep(struct br_pipe *pipe, struct br_err *reterr)
{
    struct br_keep keep = pipe->keep;

    pipe->keep.count = 0;
    return keep.count ? pipe->params->sink.keep(pipe->params->sink.ctx, &keep, reterr) : 0;
}

// Tells the tree at once and the sink when the run is whole.
static int br_pipe_add_run(struct br_pipe *pipe, enum br_run_kind kind, uint64_t first, uint64_t count,
                           struct br_err *reterr)
{
    const struct br_hash *leaf = kind == BR_RUN_UNREADABLE ? &br_hash_unreadable : &br_hash_zero;

    assert(!pipe->keep.count);
    if (pipe->run.count && (pipe->run.kind != kind || pipe->run.first + pipe->run.count != first)) {
        int rc = br_pipe_flush_run(pipe, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    if (!pipe->run.count) {
        pipe->run = (struct br_run){.kind = kind, .first = first};
    }
    pipe->run.count += count;
    return br_tree_fill(pipe->writer, first, count, leaf, reterr);
}

static uint64_t br_pipe_span_bytes(const struct br_pipe *pipe, uint64_t first, uint64_t count)
{
    return BR_MIN((first + count) * BR_BLOCK_BYTES, pipe->geometry.size_bytes) - first * BR_BLOCK_BYTES;
}

// The end of the stretch of parent's leaves that are not ZERO and begin at @from; *ret_known: they are not all UNKNOWN.
static int br_pipe_parent_stretch(struct br_pipe *pipe, uint64_t from, uint64_t end, uint64_t *ret_end, bool *ret_known,
                                  struct br_err *reterr)
{
    unsigned count = (unsigned)BR_MIN(end - from, (uint64_t)BR_PIPE_GAP_LEAVES);
    int rc = br_tree_read(pipe->behind, from, count, pipe->gap_leaves, NULL, reterr);

    if (rc < 0) {
        return rc;
    }
    *ret_known = !br_hash_equal(&pipe->gap_leaves[0], &br_hash_unknown);
    if (!*ret_known) {
        // A first copy's UNKNOWN may cover terabytes.
        rc = br_tree_next_not(pipe->behind, from, &br_hash_unknown, ret_end, reterr);
        *ret_end = rc < 0 ? from : BR_MIN(*ret_end, end);
        return rc;
    }
    unsigned i = 0;
    while (i < count && !br_hash_equal(&pipe->gap_leaves[i], &br_hash_zero) &&
           !br_hash_equal(&pipe->gap_leaves[i], &br_hash_unknown)) {
        i++;
    }
    *ret_end = from + i;
    return 0;
}

// A hole of the source: what the parent has there became zeros.
static int br_pipe_emit_hole(struct br_pipe *pipe, uint64_t first, uint64_t count, struct br_err *reterr)
{
    uint64_t end = first + count;

    for (uint64_t at = first; at < end;) {
        uint64_t stretch_end;
        bool known;
        // Behind the parent's end all is zeros.
        uint64_t old_end = BR_MIN(end, pipe->params->parent->geometry.block_count);
        int rc = at < old_end ? br_tree_next_not(pipe->behind, at, &br_hash_zero, &at, reterr) : 0;

        if (rc < 0 || at >= old_end) {
            return rc < 0 ? rc : 0;
        }
        rc = br_pipe_parent_stretch(pipe, at, old_end, &stretch_end, &known, reterr);
        if (rc < 0) {
            return rc;
        }
        rc = br_pipe_add_run(pipe, BR_RUN_DISCARD, at, stretch_end - at, reterr);
        if (rc < 0) {
            return rc;
        }
        uint64_t bytes = br_pipe_span_bytes(pipe, at, stretch_end - at);
        pipe->progress.zero_bytes += bytes;
        pipe->progress.bytes_changed += known ? bytes : 0;
        at = stretch_end;
    }
    return 0;
}

// Gives what gathered in @batch to the sink, with one more reference on the loan.
static int br_pipe_send(struct br_pipe *pipe, struct br_batch *batch, struct br_loan *loan, struct br_err *reterr)
{
    const struct br_sink *sink = &pipe->params->sink;

    if (!batch->block_count) {
        return 0;
    }
    loan->refs++;
    int rc = sink->batch(sink->ctx, batch, br_loan_release, loan, reterr);
    pipe->progress.bytes_shipped += batch->data_bytes;
    batch->data += batch->data_bytes;
    batch->block_count = 0;
    batch->data_bytes = 0;
    return rc;
}

static enum br_run_kind br_window_run_kind(const struct br_window *window, unsigned i)
{
    if (window->fates[i] == BR_BLOCK_UNREADABLE) {
        return BR_RUN_UNREADABLE;
    }
    return window->data >> i & 1 ? BR_RUN_ZERO : BR_RUN_DISCARD;
}

static int br_pipe_emit_block(struct br_pipe *pipe, const struct br_window *window, unsigned i, struct br_batch *batch,
                              struct br_loan *loan, struct br_err *reterr)
{
    uint64_t index = window->first + i;
    const uint64_t *pages = &window->pages[(size_t)i * BR_PAGES_PER_BLOCK];
    int rc = 0;

    switch (window->fates[i]) {
    case BR_BLOCK_SAME: return 0;
    case BR_BLOCK_LEARNED: return br_tree_put(pipe->writer, index, &window->leaves[i], pages, reterr);
    case BR_BLOCK_ZERO:
    case BR_BLOCK_UNREADABLE:
        rc = br_pipe_send(pipe, batch, loan, reterr);
        rc = rc < 0 ? rc : br_pipe_flush_keep(pipe, reterr);
        if (rc < 0) {
            return rc;
        }
        return br_pipe_add_run(pipe, br_window_run_kind(window, i), index, 1, reterr);
    case BR_BLOCK_DATA: break;
    }
    bool kept = window->kept >> i & 1;
    rc = br_pipe_flush_run(pipe, reterr);
    rc = rc < 0 ? rc : kept ? br_pipe_send(pipe, batch, loan, reterr) : br_pipe_flush_keep(pipe, reterr);
    if (rc < 0) {
        return rc;
    }
    if (kept) {
        pipe->keep.blocks[pipe->keep.count++] = (struct br_held_block){.index = index, .leaf = window->leaves[i]};
        return br_tree_put(pipe->writer, index, &window->leaves[i], pages, reterr);
    }
    batch->blocks[batch->block_count++] = (struct br_batch_block){
        .index = index,
        .leaf = window->leaves[i],
        .pages = window->ship_masks[i],
        .zeros = window->zero_masks[i],
    };
    batch->data_bytes += br_window_ship_bytes(window, i);
    return br_tree_put(pipe->writer, index, &window->leaves[i], pages, reterr);
}

static int br_pipe_emit_window(struct br_pipe *pipe, struct br_slot *slot, struct br_err *reterr)
{
    const struct br_window *window = &slot->window;
    struct br_batch batch = {.data = window->buffer + window->data_offset};
    struct br_loan *loan = malloc(sizeof(*loan));
    int rc = 0;

    if (!loan) {
        return br_err_set(reterr, BR_E_NOMEM, "a batch");
    }
    *loan = (struct br_loan){.ring = pipe->params->ring, .buffer = window->buffer, .refs = 1};
    slot->window.buffer = NULL;
    pipe->buffers--;
    for (unsigned i = 0; !rc && i < window->count; i++) {
        rc = br_pipe_emit_block(pipe, window, i, &batch, loan, reterr);
    }
    if (!rc) {
        rc = br_pipe_send(pipe, &batch, loan, reterr);
    }
    if (!rc) {
        rc = br_pipe_flush_keep(pipe, reterr); // it has room for one window
    }
    br_loan_release(loan);
    pipe->progress.bytes_changed += window->bytes_changed;
    pipe->progress.bytes_kept += window->bytes_kept;
    pipe->progress.bytes_same += window->bytes_same;
    pipe->progress.zero_bytes += window->zero_bytes;
    return rc;
}

// A window without any data: its considered blocks are holes.
static int br_pipe_emit_holes(struct br_pipe *pipe, const struct br_plan_step *step, struct br_err *reterr)
{
    for (unsigned i = 0; i < step->count; i++) {
        int rc = step->considered >> i & 1 ? br_pipe_emit_hole(pipe, step->first + i, 1, reterr) : 0;
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int br_pipe_emit(struct br_pipe *pipe, struct br_slot *slot, struct br_err *reterr)
{
    const struct br_plan_step *step = &slot->step;
    int rc;

    if (slot->window.buffer) {
        rc = br_pipe_emit_window(pipe, slot, reterr);
    } else if (step->gap) {
        rc = br_pipe_emit_hole(pipe, step->first, step->count, reterr);
    } else {
        rc = br_pipe_emit_holes(pipe, step, reterr);
    }
    pipe->progress.position_bytes = step->first * BR_BLOCK_BYTES + br_pipe_span_bytes(pipe, step->first, step->count);
    return rc;
}

// The loop ----------------------------------------------------------------------------------------------------------------------------

static void br_pipe_tell(struct br_pipe *pipe, bool last)
{
    if (!pipe->params->progress) {
        return;
    }
    uint64_t now_ns = br_ring_now_ns(pipe->params->ring);
    if (last || now_ns - pipe->progress_told_ns >= BR_PIPE_PROGRESS_NS) {
        pipe->progress_told_ns = now_ns;
        pipe->params->progress(pipe->params->progress_ctx, &pipe->progress);
    }
}

// How long the head must wait for the bandwidth limit, which allows its bytes before they go: the limit holds for a single batch too.
static uint64_t br_pipe_throttle_ns(struct br_pipe *pipe, struct br_slot *slot)
{
    uint64_t rate = pipe->params->bytes_per_second;

    if (!rate || !slot->window.buffer || !slot->window.bytes_shipped) {
        return 0;
    }
    uint64_t now_ns = br_ring_now_ns(pipe->params->ring);
    if (!slot->paid) {
        uint64_t from_ns =
            pipe->next_ship_ns ? BR_MAX(pipe->next_ship_ns, now_ns - BR_MIN(now_ns, BR_PIPE_BURST_NS)) : now_ns;
        // At most 1 MiB x 10^9: far from wrapping.
        pipe->next_ship_ns = from_ns + slot->window.bytes_shipped * BR_NS_PER_S / rate;
        slot->paid = true;
    }
    return pipe->next_ship_ns > now_ns ? pipe->next_ship_ns - now_ns : 0;
}

// Does what can be done at the queue's head. Returns 1 when it did something; sets *wait_ns to how long nothing can go for the limit.
static int br_pipe_drain(struct br_pipe *pipe, uint64_t *wait_ns, struct br_err *reterr)
{
    struct br_slot *slot = br_pipe_slot(pipe, 0);
    int rc;

    if (!pipe->used) {
        return 0;
    }
    if (slot->state == BR_SLOT_READ_FAILED) {
        rc = br_slot_retry(slot, reterr);
        return rc < 0 ? rc : 1;
    }
    if (slot->state != BR_SLOT_READY) {
        return 0;
    }
    uint64_t throttle_ns = br_pipe_throttle_ns(pipe, slot);
    if (throttle_ns) {
        *wait_ns = throttle_ns;
        return 0;
    }
    slot->paid = false;
    rc = br_pipe_emit(pipe, slot, reterr);
    pipe->head = (pipe->head + 1) % BR_PIPE_SLOTS;
    pipe->used--;
    return rc < 0 ? rc : 1;
}

static int br_pipe_loop(struct br_pipe *pipe, struct br_err *reterr)
{
    struct br_ring *ring = pipe->params->ring;

    while (!pipe->planned || pipe->used) {
        uint64_t wait_ns = UINT64_MAX;
        int did;
        int fed;

        if (pipe->params->cancel && *pipe->params->cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "reading the source");
        }
        while ((fed = br_pipe_feed(pipe, reterr)) > 0) {}
        if (fed < 0) {
            return fed;
        }
        br_pipe_mind_old(pipe);
        br_ring_flush(ring);
        did = br_pipe_drain(pipe, &wait_ns, reterr);
        if (did < 0) {
            return did;
        }
        br_pipe_tell(pipe, false);
        if (did || (pipe->planned && !pipe->used)) {
            continue;
        }
        if (wait_ns != UINT64_MAX) {
            br_ring_sleep(ring, BR_MIN(wait_ns, BR_PIPE_PROGRESS_NS));
        } else if (br_ring_in_flight(ring)) {
            br_ring_wait(ring, UINT64_MAX);
        } else {
            return br_err_set(reterr, BR_E_INTERNAL, "the pipeline has no buffer left and nothing to wait for");
        }
    }
    return br_pipe_flush_run(pipe, reterr);
}

// Waits for what still uses the slots, then takes their buffers back.
static void br_pipe_stop(struct br_pipe *pipe)
{
    for (unsigned n = 0; n < pipe->used; n++) {
        struct br_slot *slot = br_pipe_slot(pipe, n);

        while (slot->state == BR_SLOT_READING || slot->state == BR_SLOT_COMPARING ||
               slot->state == BR_SLOT_READING_OLD || slot->state == BR_SLOT_SETTLING) {
            br_ring_wait(pipe->params->ring, UINT64_MAX);
        }
        if (slot->window.buffer) {
            br_ring_buffer_put(pipe->params->ring, slot->window.buffer);
        }
    }
    pipe->used = 0;
}

// Opening and closing -----------------------------------------------------------------------------------------------------------------

// A change of size touches the old tail block, whose length changes, and all behind the old end.
static int br_pipe_widen(struct br_pipe *pipe, struct br_err *reterr)
{
    const struct br_extent_map *from = pipe->params->changed;
    uint64_t old_bytes = pipe->params->parent->geometry.size_bytes;
    uint64_t new_bytes = pipe->geometry.size_bytes;
    int rc = 0;

    if (!from) {
        return 0;
    }
    pipe->changed.limit = from->limit ? from->limit + 1 : 0;
    for (size_t i = 0; !rc && i < from->count; i++) {
        rc = br_extent_map_mark(&pipe->changed, from->extents[i].offset_bytes, from->extents[i].len_bytes, reterr);
    }
    if (!rc && old_bytes != new_bytes && new_bytes) {
        uint64_t start = br_align_down(BR_MIN(old_bytes, new_bytes - 1), BR_BLOCK_BYTES);

        rc = br_extent_map_mark(&pipe->changed, start, new_bytes - start, reterr);
    }
    pipe->plan.changed = &pipe->changed;
    return rc;
}

static int br_pipe_open(struct br_pipe *pipe, struct br_err *reterr)
{
    const struct br_pipe_params *params = pipe->params;

    if (!br_tree_geometry_of(params->size_bytes, &pipe->geometry)) {
        return br_err_set(reterr, BR_E_LIMIT, "the source is larger than any version can be");
    }
    pipe->slots = calloc(BR_PIPE_SLOTS, sizeof(*pipe->slots));
    if (!pipe->slots) {
        return br_err_set(reterr, BR_E_NOMEM, "the pipeline");
    }
    if (params->held.next && !(pipe->held = calloc(BR_PIPE_HELD, sizeof(*pipe->held)))) {
        return br_err_set(reterr, BR_E_NOMEM, "the pipeline");
    }
    pipe->plan = (struct br_plan){.file = params->source, .size_bytes = params->size_bytes};
    pipe->buffers_max = BR_MAX(br_ring_buffers_free(params->ring) / 2, 1u);
    pipe->progress.size_bytes = params->size_bytes;
    pipe->progress_told_ns = br_ring_now_ns(params->ring);
    int rc = br_pipe_widen(pipe, reterr);
    if (!rc) {
        rc = br_tree_reader_open(params->parent, params->parent_store, &pipe->ahead, reterr);
    }
    if (!rc) {
        rc = br_tree_reader_open(params->parent, params->parent_store, &pipe->behind, reterr);
    }
    if (!rc) {
        rc = br_tree_writer_open(&pipe->geometry, params->parent, params->parent_store, params->store, &pipe->writer,
                                 reterr);
    }
    return rc;
}

static void br_pipe_close(struct br_pipe *pipe)
{
    br_pipe_stop(pipe);
    br_tree_writer_close(pipe->writer);
    br_tree_reader_close(pipe->behind);
    br_tree_reader_close(pipe->ahead);
    br_extent_map_free(&pipe->changed);
    br_file_close(pipe->old);
    for (unsigned b = 0; b < BR_PIPE_OLD; b++) {
        free(pipe->old_buffers[b]);
    }
    free(pipe->held);
    free(pipe->slots);
}

// Holes of a file that was cut look like any others: only its size tells.
static int br_pipe_check_size(const struct br_pipe *pipe, struct br_err *reterr)
{
    struct br_file_info info;
    int rc = br_file_stat(pipe->params->source, &info, reterr);

    if (rc < 0) {
        return rc;
    }
    if (info.size_bytes < pipe->params->size_bytes) {
        return br_err_at(reterr, BR_E_SOURCE_MOVED, info.size_bytes, "the source became smaller while it was read");
    }
    return 0;
}

int br_pipe_run(const struct br_pipe_params *params, struct br_tree *ret_tree, struct br_pipe_progress *ret_progress,
                struct br_err *reterr)
{
    struct br_pipe pipe = {.params = params};
    int rc = br_pipe_open(&pipe, reterr);

    if (!rc) {
        rc = br_pipe_loop(&pipe, reterr);
    }
    if (!rc) {
        rc = br_pipe_check_size(&pipe, reterr);
    }
    if (!rc) {
        rc = br_tree_finish(pipe.writer, ret_tree, reterr);
    }
    if (ret_progress) {
        *ret_progress = pipe.progress;
    }
    if (!rc) {
        br_pipe_tell(&pipe, true);
    }
    br_pipe_close(&pipe);
    return rc;
}
