// SPDX-License-Identifier: Apache-2.0
#include "engine/pipe/scope.h"

#define BR_SCOPE_LEAVES 256u

// Opening -----------------------------------------------------------------------------------------------------------------------------

// A block whose content the parent doesn't know can't be called unchanged.
static int br_scope_mark_unreadable(struct br_scope *scope, const struct br_pipe_params *pipe, struct br_err *reterr)
{
    uint64_t count = pipe->parent->geometry.block_count;
    BR_AUTO_FREE struct br_hash *leaves = calloc(BR_SCOPE_LEAVES, sizeof(*leaves));
    struct br_tree_reader *reader = NULL;
    int rc = leaves ? br_tree_reader_open(pipe->parent, pipe->parent_store, &reader, reterr)
                    : br_err_set(reterr, BR_E_NOMEM, "unreadable blocks");

    for (uint64_t at = 0; !rc && at < count;) {
        rc = br_tree_next_not(reader, at, &br_hash_zero, &at, reterr);
        if (rc || at >= count) {
            break;
        }
        unsigned some = (unsigned)BR_MIN(count - at, (uint64_t)BR_SCOPE_LEAVES);
        rc = br_tree_read(reader, at, some, leaves, NULL, reterr);
        for (unsigned i = 0; !rc && i < some; i++) {
            if (br_hash_equal(&leaves[i], &br_hash_unreadable)) {
                rc = br_extent_map_mark(&scope->changed, (at + i) * BR_BLOCK_BYTES, BR_BLOCK_BYTES, reterr);
            }
        }
        at += some;
    }
    br_tree_reader_close(reader);
    return rc;
}

int br_scope_open(struct br_scope *scope, const struct br_tracker *tracker, const struct br_pipe_params *pipe,
                  const struct br_uuid *version, bool unreadable, struct br_err *reterr)
{
    *scope = (struct br_scope){.tracker = tracker};
    if (!tracker || !version) {
        return 0;
    }
    scope->version = *version;
    int rc = tracker->ops->changed(tracker->ctx, version, &scope->changed, &scope->reason, reterr);
    if (rc <= 0) {
        br_extent_map_free(&scope->changed);
        return rc;
    }
    scope->reason = NULL;
    rc = br_extent_map_align(&scope->changed, BR_BLOCK_BYTES, pipe->size_bytes, reterr);
    if (!rc && unreadable) {
        rc = br_scope_mark_unreadable(scope, pipe, reterr);
    }
    scope->narrowed = !rc;
    return rc;
}

void br_scope_close(struct br_scope *scope)
{
    br_extent_map_free(&scope->changed);
    scope->narrowed = false;
}

const struct br_extent_map *br_scope_changed(const struct br_scope *scope)
{
    return scope->narrowed ? &scope->changed : NULL;
}

static int br_scope_open_old(void *ctx, struct br_file **ret_file)
{
    const struct br_scope *scope = ctx;

    return scope->tracker->ops->old(scope->tracker->ctx, &scope->version, ret_file);
}

// Of a tracker that can't tell what changed since the mark, or was caught, nothing is taken.
struct br_old_source br_scope_old(struct br_scope *scope)
{
    if (!scope->narrowed || !scope->tracker->ops->old) {
        return (struct br_old_source){0};
    }
    return (struct br_old_source){.open = br_scope_open_old, .ctx = scope, .unwanted = scope->tracker->old_unwanted};
}

// Recheck -----------------------------------------------------------------------------------------------------------------------------

// Takes from [from, end) what is called unchanged, up to the budget. Returns where it stopped.
static int br_scope_take(const struct br_scope *scope, uint64_t from, uint64_t end, uint64_t *budget_bytes,
                         struct br_extent_map *share, uint64_t *ret_stop, struct br_err *reterr)
{
    uint64_t at = from;
    int rc = 0;

    while (!rc && at < end && *budget_bytes) {
        size_t i = br_extent_map_next(&scope->changed, at);
        const struct br_extent *next = i < scope->changed.count ? &scope->changed.extents[i] : NULL;
        uint64_t stop = next ? BR_MIN(next->offset_bytes, end) : end;

        if (stop > at) {
            stop = BR_MIN(stop, at + br_align_up(*budget_bytes, BR_BLOCK_BYTES));
            rc = br_extent_map_mark(share, at, stop - at, reterr);
            *budget_bytes -= BR_MIN(*budget_bytes, stop - at);
            at = stop;
        } else {
            at = next->offset_bytes + next->len_bytes;
        }
    }
    *ret_stop = at;
    return rc;
}

// The share of this run: from where the last one stopped, once around the end.
static int br_scope_share(struct br_scope *scope, uint64_t size_bytes, uint64_t next_block, uint64_t budget_bytes,
                          struct br_extent_map *share, struct br_err *reterr)
{
    uint64_t from = next_block < size_bytes / BR_BLOCK_BYTES + 1 ? next_block * BR_BLOCK_BYTES : 0;
    uint64_t stop;
    int rc = br_scope_take(scope, from, size_bytes, &budget_bytes, share, &stop, reterr);

    if (!rc && stop >= size_bytes) {
        scope->recheck_round = true;
        stop = 0;
        rc = from ? br_scope_take(scope, 0, from, &budget_bytes, share, &stop, reterr) : 0;
    }
    scope->recheck_next_block = stop / BR_BLOCK_BYTES;
    return rc;
}

// A run of the pipe over the share; a change of size makes it read the last block too, which proves nothing here.
struct br_scope_look {
    struct br_scope *scope;
    struct br_extent_map share;
};

static int br_scope_differs(struct br_scope_look *look, uint64_t first, uint64_t count, struct br_err *reterr)
{
    size_t i = br_extent_map_next(&look->share, first * BR_BLOCK_BYTES);
    const struct br_extent *extent = i < look->share.count ? &look->share.extents[i] : NULL;

    if (!extent || extent->offset_bytes >= (first + count) * BR_BLOCK_BYTES) {
        return 0;
    }
    look->scope->caught = true;
    look->scope->caught_offset_bytes = BR_MAX(first * BR_BLOCK_BYTES, extent->offset_bytes);
    return br_err_at(reterr, BR_E_VERIFY, look->scope->caught_offset_bytes, "called unchanged, and it differs");
}

static int br_scope_differs_batch(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                                  struct br_err *reterr)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < batch->block_count; i++) {
        rc = br_scope_differs(ctx, batch->blocks[i].index, 1, reterr);
    }
    release(release_ctx);
    return rc;
}

static int br_scope_differs_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    // What can't be read is no proof of anything; the version keeps what it knew.
    return run->kind == BR_RUN_UNREADABLE ? 0 : br_scope_differs(ctx, run->first, run->count, reterr);
}

static int br_scope_caught(struct br_scope *scope, struct br_err *reterr)
{
    br_extent_map_free(&scope->changed);
    scope->narrowed = false;
    scope->reason = "recheck-mismatch";
    scope->recheck_next_block = 0;
    scope->recheck_round = false;
    return scope->tracker->ops->distrust(scope->tracker->ctx, scope->caught_offset_bytes, reterr);
}

int br_scope_recheck(struct br_scope *scope, const struct br_pipe_params *pipe, uint64_t next_block,
                     uint64_t budget_bytes, struct br_err *reterr)
{
    struct br_scope_look look = {.scope = scope};
    struct br_tree_store nowhere = {
        .fetch = pipe->parent_store->fetch, .keep = br_tree_keep_nothing, .ctx = pipe->parent_store->ctx};
    struct br_pipe_params params = *pipe;
    uint64_t old_bytes = pipe->parent->geometry.size_bytes;
    struct br_err err = {0};
    struct br_tree tree;

    scope->recheck_next_block = next_block;
    if (!scope->narrowed || !budget_bytes) {
        return 0;
    }
    // What a change of size touches can't be compared.
    params.size_bytes =
        old_bytes == pipe->size_bytes ? old_bytes : br_align_down(BR_MIN(old_bytes, pipe->size_bytes), BR_BLOCK_BYTES);
    int rc = br_scope_share(scope, params.size_bytes, next_block, budget_bytes, &look.share, reterr);
    if (rc || !look.share.count) {
        br_extent_map_free(&look.share);
        return rc;
    }
    params.changed = &look.share;
    params.store = &nowhere;
    params.sink = (struct br_sink){.batch = br_scope_differs_batch, .run = br_scope_differs_run, .ctx = &look};
    params.old = (struct br_old_source){0};
    params.bytes_per_second = 0;
    params.continue_on_read_error = true; // whether that fails the run is for the run itself to say
    params.progress = NULL;
    rc = br_pipe_run(&params, &tree, NULL, &err);
    scope->recheck_bytes = br_extent_map_bytes(&look.share);
    br_extent_map_free(&look.share);
    if (scope->caught) {
        return br_scope_caught(scope, reterr);
    }
    if (rc < 0 && reterr) {
        *reterr = err;
    }
    return rc;
}
