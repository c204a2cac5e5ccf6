// SPDX-License-Identifier: Apache-2.0
#include "engine/replica/replica_impl.h"

#include "engine/replica/stage.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

// Open, close -------------------------------------------------------------------------------------------------------------------------

static struct br_tree_file_name br_replica_tree_name(const struct br_replica *replica, uint64_t number)
{
    return (struct br_tree_file_name){
        .dir = replica->dir, .stem = BR_TREE_STEM, .number = number, .replica = replica->identity.replica};
}

static int br_replica_load(struct br_replica *replica, bool discard_damaged, struct br_err *reterr)
{
    struct br_err err;
    int r = br_identity_slots_load(replica->dir, BR_IDENTITY_NAME, !replica->read_only, &replica->slots,
                                   &replica->identity, &err);
    if (r == -BR_E_CORRUPT && discard_damaged) {
        br_identity_slots_open_damaged(replica->dir, BR_IDENTITY_NAME, &replica->slots);
        replica->identity = (struct br_identity){.state = BR_STATE_NONE};
        r = 0;
    }
    if (r < 0) {
        if (reterr) {
            *reterr = err;
        }
        return br_err_prefix(reterr, "%s", replica->what);
    }
    if (replica->identity.state == BR_STATE_NONE) {
        return 0;
    }
    // A tree file that can't be used is told when it is needed: what needs none (--force-full) goes on.
    struct br_tree_file_name name = br_replica_tree_name(replica, replica->identity.tree_file);
    r = br_tree_file_open(replica->ring, &name, replica->identity.tree_bytes, replica->read_only, &replica->trees,
                          &replica->trees_err);
    if (r < 0) {
        replica->trees = NULL;
    }
    return r == -BR_E_NOMEM ? br_err_set(reterr, BR_E_NOMEM, "%s: opening its tree", replica->what) : 0;
}

// What a run that ended early left behind and the identity does not name.
static void br_replica_sweep(struct br_replica *replica)
{
    br_cut_sweep(replica->dir, &replica->identity);
    if (replica->identity.state != BR_STATE_REPLACING && replica->parent && replica->name) {
        BR_AUTO_FREE char *fresh = NULL;
        if (asprintf(&fresh, "%s%s", replica->name, BR_NEW_SUFFIX) > 0) {
            (void)!br_dir_unlink(replica->parent, fresh, NULL);
        } else {
            fresh = NULL;
        }
    }
}

int br_replica_open(const struct br_replica_params *params, struct br_replica **ret_replica, struct br_err *reterr)
{
    struct br_replica *replica = calloc(1, sizeof(*replica));
    if (!replica) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: opening the replica", params->what);
    }
    replica->ring = params->ring;
    replica->dir = params->dir;
    replica->parent = params->parent;
    replica->file = params->file;
    replica->read_only = params->read_only;
    replica->compact_bytes = params->compact_bytes;
    replica->sync_bytes = params->sync_bytes;
    replica->what = strdup(params->what);
    replica->name = params->name ? strdup(params->name) : NULL;
    if (!replica->what || (params->name && !replica->name)) {
        br_replica_close(replica);
        return br_err_set(reterr, BR_E_NOMEM, "%s: opening the replica", params->what);
    }
    int r = params->read_only ? 0 : br_dir_lock(replica->dir, BR_LOCK_NAME, reterr);
    replica->locked = !params->read_only && r == 0;
    if (r < 0) {
        r = br_err_prefix(reterr, "%s", replica->what);
    }
    r = r < 0 ? r : br_replica_load(replica, params->discard_damaged, reterr);
    if (r < 0) {
        br_replica_close(replica);
        return r;
    }
    if (!params->read_only) {
        br_replica_sweep(replica);
    }
    *ret_replica = replica;
    return 0;
}

void br_replica_close(struct br_replica *replica)
{
    if (!replica) {
        return;
    }
    br_replica_abort(replica);
    br_tree_file_close(replica->trees);
    br_identity_slots_close(&replica->slots);
    br_file_close(replica->own_file);
    if (replica->locked) {
        br_dir_unlock(replica->dir, BR_LOCK_NAME);
    }
    free(replica->name);
    free(replica->what);
    free(replica);
}

const struct br_identity *br_replica_identity(const struct br_replica *replica)
{
    return &replica->identity;
}

const struct br_tree_store *br_replica_store(const struct br_replica *replica)
{
    return replica->trees ? br_tree_file_store(replica->trees) : NULL;
}

// What all parts share ----------------------------------------------------------------------------------------------------------------

int br_replica_store_identity(struct br_replica *replica, struct br_err *reterr)
{
    assert(!replica->read_only && !replica->lost);
    int r = br_tree_file_sync(replica->trees, reterr);
    if (r == 0) {
        replica->identity.tree_file = br_tree_file_number(replica->trees);
        replica->identity.tree_bytes = br_tree_file_bytes(replica->trees);
        r = br_identity_slots_store(&replica->slots, &replica->identity, reterr);
    }
    if (r < 0) {
        replica->lost = true;
        return br_err_prefix(reterr, "%s", replica->what);
    }
    return 0;
}

static int br_replica_usable(const struct br_replica *replica, struct br_err *reterr)
{
    if (replica->lost) {
        return br_err_set(reterr, BR_E_IO, "%s: its identity could not be stored; open it again to see what it is",
                          replica->what);
    }
    if (!replica->file) {
        return br_err_set(reterr, BR_E_INTERNAL, "%s: opened for a look at its identity only", replica->what);
    }
    return 0;
}

int br_replica_need_trees(const struct br_replica *replica, struct br_err *reterr)
{
    if (replica->trees) {
        return 0;
    }
    if (reterr) {
        *reterr = replica->trees_err;
    }
    return br_err_prefix(reterr, "%s: its tree", replica->what);
}

int br_replica_need_complete(const struct br_replica *replica, struct br_err *reterr)
{
    int r = br_replica_usable(replica, reterr);
    if (r < 0) {
        return r;
    }
    switch (replica->identity.state) {
    case BR_STATE_COMPLETE: return br_replica_need_trees(replica, reterr);
    case BR_STATE_NONE: return br_err_set(reterr, BR_E_NOT_FOUND, "%s: it holds no version yet", replica->what);
    case BR_STATE_INCOMPLETE: return br_err_set(reterr, BR_E_INCOMPLETE, "%s", replica->what);
    case BR_STATE_APPLYING:
    case BR_STATE_REPLACING: break;
    }
    return br_err_set(reterr, BR_E_TRANSITION, "%s", replica->what);
}

int br_replica_new_trees(struct br_replica *replica, struct br_err *reterr)
{
    assert(!replica->trees);
    struct br_tree_file_name name = br_replica_tree_name(replica, replica->identity.tree_file + 1);
    int r = br_tree_file_create(replica->ring, &name, NULL, &replica->trees, reterr);
    if (r < 0) {
        replica->trees = NULL;
    }
    return r;
}

int br_replica_capacity(const struct br_file_info *info, uint64_t size_bytes, const char *what, struct br_err *reterr)
{
    if (info->is_block && info->size_bytes < size_bytes) {
        return br_err_set(reterr, BR_E_TARGET_SMALL, "%s: it has %" PRIu64 " bytes, %" PRIu64 " are needed", what,
                          info->size_bytes, size_bytes);
    }
    return 0;
}

int br_replica_set_size(const struct br_replica *replica, struct br_file *file, uint64_t size_bytes,
                        struct br_err *reterr)
{
    int r = br_file_truncate(file, size_bytes, reterr);

    return r < 0 ? br_err_prefix(reterr, "%s", replica->what) : r;
}

void br_replica_identity_from(struct br_identity *identity, const struct br_delta_header *header)
{
    identity->volume = header->volume;
    identity->generation = header->generation;
    identity->sector_bytes = header->sector_bytes;
    identity->consistency = header->consistency;
    identity->taken_unix_ns = header->taken_unix_ns;
    memcpy(identity->label, header->label, sizeof(identity->label));
}

void br_replica_drop_file(struct br_replica *replica, const char *name)
{
    if (br_dir_unlink(replica->dir, name, NULL) == 0) {
        (void)!br_dir_sync(replica->dir, NULL);
    }
}

// Copies the version's nodes to a file of their own when most of this one is garbage. A failure costs space only.
static struct br_tree_file *br_replica_compact(struct br_replica *replica)
{
    struct br_tree_file *fresh, *old = replica->trees;
    struct br_tree tree;
    if (br_tree_file_compact(old, &replica->identity.tree, replica->compact_bytes, &fresh, &tree, NULL) != 1) {
        return NULL;
    }
    replica->trees = fresh;
    replica->identity.tree = tree;
    return old;
}

int br_replica_completed(struct br_replica *replica, struct br_err *reterr)
{
    struct br_identity *identity = &replica->identity;
    int r = br_evidence_take(replica->file, &identity->evidence, reterr);
    if (r < 0) {
        return r;
    }
    struct br_tree_file *old = br_replica_compact(replica);
    identity->state = BR_STATE_COMPLETE;
    identity->previous_tree = (struct br_tree){0};
    identity->window_start_bytes = identity->window_end_bytes = 0;
    identity->stage_bytes = 0;
    identity->stage_id = (struct br_uuid){0};
    identity->finished_unix_ns = br_ring_unix_ns(replica->ring);
    r = br_replica_store_identity(replica, reterr);
    uint64_t old_number = old ? br_tree_file_number(old) : 0;
    br_tree_file_close(old);
    if (r == 0) {
        // Once more, so that neither slot names the old tree file when it goes.
        if (old && br_replica_store_identity(replica, NULL) == 0) {
            (void)!br_tree_file_remove(replica->dir, BR_TREE_STEM, old_number, NULL);
        }
        br_cut_drop(replica->dir);
    }
    return r;
}

// Finish ------------------------------------------------------------------------------------------------------------------------------

// The stage is gone, yet the newest record says APPLYING: the slot written after it was lost. The content says whether it was the end.
static int br_finish_without_stage(struct br_replica *replica, struct br_err *reterr)
{
    struct br_identity *identity = &replica->identity;
    struct br_proof proof;
    if (!replica->trees) { // compacted away by the same lost step: the root proves as well
        return br_rebuild(replica, reterr);
    }
    int r = br_prove(replica, &identity->tree, 0, identity->tree.geometry.block_count, UINT64_MAX, NULL, NULL, &proof,
                     reterr);
    if (r < 0) {
        return r;
    }
    if (proof.bad_blocks > 0) {
        return br_err_at(reterr, BR_E_CORRUPT, proof.first_bad_block * BR_BLOCK_BYTES,
                         "%s: the staged delta is gone and %" PRIu64 " blocks are not the new version's", replica->what,
                         proof.bad_blocks);
    }
    identity->full_proof_unix_ns = br_ring_unix_ns(replica->ring);
    return br_replica_completed(replica, reterr);
}

static int br_finish_applying(struct br_replica *replica, struct br_err *reterr)
{
    const struct br_identity *identity = &replica->identity;
    struct br_err err;
    uint64_t written;
    int r = br_stage_read(replica->ring, replica->dir, identity->stage_bytes, &identity->stage_id, &identity->root,
                          NULL, NULL, replica->what, &err);
    if (r == -BR_E_NOT_FOUND) {
        return br_finish_without_stage(replica, reterr);
    }
    if (r < 0) {
        if (reterr) {
            *reterr = err;
        }
        return br_err_prefix(reterr, "%s: the staged delta", replica->what);
    }
    r = br_apply(replica, &written, reterr);
    if (r == 0 && !replica->trees) {
        return br_rebuild(replica, reterr);
    }
    return r < 0 ? r : br_replica_completed(replica, reterr);
}

// Whether there should be a tree file that can be read, and is none.
static bool br_replica_trees_lost(const struct br_replica *replica)
{
    enum br_replica_state state = replica->identity.state;
    return !replica->trees && !replica->read_only && replica->file && !replica->lost &&
           (state == BR_STATE_COMPLETE || state == BR_STATE_INCOMPLETE);
}

int br_replica_finish(struct br_replica *replica, struct br_err *reterr)
{
    enum br_replica_state state = replica->identity.state;
    assert(!replica->active);
    if (br_replica_trees_lost(replica)) {
        int r = br_rebuild(replica, reterr);
        return r < 0 ? r : 1;
    }
    if (state != BR_STATE_APPLYING && state != BR_STATE_REPLACING) {
        return 0;
    }
    int r = br_replica_usable(replica, reterr);
    if (r == 0 && replica->read_only) {
        r = br_err_set(reterr, BR_E_TRANSITION, "%s: opened for reading only", replica->what);
    }
    if (r == 0) {
        r = state == BR_STATE_APPLYING ? br_finish_applying(replica, reterr) : br_replace_finish(replica, reterr);
    }
    return r < 0 ? r : 1;
}

// A delta -----------------------------------------------------------------------------------------------------------------------------

static void br_replica_end_run(struct br_replica *replica)
{
    if (replica->first) {
        br_first_wait(replica->first);
    }
    br_intake_close(&replica->intake);
    br_delta_end_run(replica);
    br_first_end_run(replica);
    replica->active = false;
}

// Remembers the first failure of the delta under way, so that every later call tells the same.
static int br_replica_fail(struct br_replica *replica, int r, const struct br_err *err, struct br_err *reterr)
{
    assert(r < 0);
    if (!replica->failed) {
        replica->failed = true;
        replica->err = *err;
    }
    if (reterr) {
        *reterr = replica->err;
    }
    return -replica->err.code;
}

int br_replica_begin(struct br_replica *replica, const struct br_replica_begin *begin, struct br_err *reterr)
{
    struct br_err err = {0};
    assert(!replica->active && !replica->read_only);
    int r = br_replica_usable(replica, reterr);
    r = r < 0 ? r : br_delta_header_check(&begin->header, reterr);
    if (r < 0) {
        return r;
    }
    if (!br_tree_geometry_of(begin->header.size_bytes, &replica->geometry)) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: the delta's volume size is impossible", replica->what);
    }
    replica->begin = *begin;
    replica->failed = false;
    replica->counts = (struct br_delta_end){0};
    replica->next_block = replica->taken_block = 0;
    replica->bytes_durable = 0;
    replica->active = true;
    r = begin->mode == BR_MODE_DELTA ? br_delta_begin(replica, &err) : br_first_begin(replica, &err);
    r = r < 0 ? r
              : br_intake_open(&replica->intake, replica->ring, &replica->geometry, br_tree_file_secret(replica->trees),
                               begin->leaves_proven, &err);
    replica->intake.user = replica->first;
    if (r < 0) {
        r = br_replica_fail(replica, r, &err, reterr); // a first copy keeps no facts then
        br_replica_end_run(replica);
    }
    return r;
}

// Deals with the records that are ready, in order.
static int br_replica_pump(struct br_replica *replica, struct br_err *reterr)
{
    struct br_intake_item *item;
    while ((item = br_intake_take(&replica->intake))) {
        int r = br_intake_check(item, reterr);
        if (r == 0) {
            r = replica->delta ? br_delta_take(replica, item, reterr) : br_first_take(replica, item, reterr);
        }
        br_intake_unref(item);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

// Room for one more record; all of the work done meanwhile that can be.
static int br_replica_room(struct br_replica *replica, struct br_err *reterr)
{
    int r = br_replica_pump(replica, reterr);
    while (r == 0 && br_intake_full(&replica->intake)) {
        br_ring_step(replica->ring);
        r = br_replica_pump(replica, reterr);
    }
    return r;
}

// Asks of every record: does the delta go on well, and does it come behind the ones before?
static int br_replica_record(struct br_replica *replica, uint64_t first, uint64_t end, struct br_err *reterr)
{
    assert(replica->active);
    if (replica->failed) {
        return br_replica_fail(replica, -replica->err.code, &replica->err, reterr);
    }
    if (first < replica->next_block) {
        return br_err_at(reterr, BR_E_CORRUPT, first * BR_BLOCK_BYTES, "%s: the delta's blocks do not ascend",
                         replica->what);
    }
    replica->next_block = end;
    return br_replica_room(replica, reterr);
}

// After a record went in: deals with what is ready.
static int br_replica_went_in(struct br_replica *replica, struct br_err *reterr)
{
    struct br_err err = {0};
    int r = br_replica_pump(replica, &err);
    if (r < 0) {
        return br_replica_fail(replica, r, &err, reterr);
    }
    replica->taken_block = replica->next_block;
    return 0;
}

int br_replica_batch(struct br_replica *replica, const struct br_batch *batch, br_release_fn *release, void *ctx,
                     struct br_err *reterr)
{
    struct br_err err = {0};
    int r = br_batch_check(batch, &replica->geometry, &err);
    r = r < 0
            ? r
            : br_replica_record(replica, batch->blocks[0].index, batch->blocks[batch->block_count - 1].index + 1, &err);
    if (r < 0) {
        release(ctx);
        return br_replica_fail(replica, r, &err, reterr);
    }
    br_delta_count_batch(&replica->counts, batch, &replica->geometry);
    br_intake_batch(&replica->intake, batch, release, ctx);
    return br_replica_went_in(replica, reterr);
}

int br_replica_run(struct br_replica *replica, const struct br_run *run, struct br_err *reterr)
{
    struct br_err err = {0};
    int r = br_run_check(run, &replica->geometry, &err);
    r = r < 0 ? r : br_replica_record(replica, run->first, run->first + run->count, &err);
    if (r < 0) {
        return br_replica_fail(replica, r, &err, reterr);
    }
    br_delta_count_run(&replica->counts, run, &replica->geometry);
    br_intake_run(&replica->intake, run);
    return br_replica_went_in(replica, reterr);
}

int br_replica_held(struct br_replica *replica, uint64_t from, struct br_held_block *ret_blocks, unsigned most,
                    unsigned *ret_count, struct br_err *reterr)
{
    assert(replica->active);
    return replica->failed ? br_replica_fail(replica, -replica->err.code, &replica->err, reterr)
                           : br_delta_held(replica, from, ret_blocks, most, ret_count, reterr);
}

int br_replica_keep(struct br_replica *replica, const struct br_keep *keep, struct br_err *reterr)
{
    struct br_err err = {0};
    int r = br_keep_check(keep, &replica->geometry, &err);
    r = r < 0 ? r : br_replica_record(replica, keep->blocks[0].index, keep->blocks[keep->count - 1].index + 1, &err);
    for (unsigned done = 0; r == 0 && done < keep->count;) {
        struct br_cut_piece piece;
        r = br_replica_room(replica, &err);
        r = r < 0 ? r : br_delta_kept(replica, keep->blocks + done, keep->count - done, &piece, &err);
        if (r == 0) {
            br_intake_kept(&replica->intake, &piece.batch, &piece.kept, piece.bytes);
            done += piece.count;
        }
    }
    return r < 0 ? br_replica_fail(replica, r, &err, reterr) : br_replica_went_in(replica, reterr);
}

uint64_t br_replica_held_bytes(const struct br_replica *replica)
{
    return br_cut_bytes(replica->dir, &replica->identity);
}

int br_replica_push(struct br_replica *replica, struct br_err *reterr)
{
    struct br_err err = {0};
    if (!replica->active || replica->failed) {
        return replica->failed ? br_replica_fail(replica, -replica->err.code, &replica->err, reterr) : 0;
    }
    int r = br_replica_pump(replica, &err);
    return r < 0 ? br_replica_fail(replica, r, &err, reterr) : 0;
}

uint64_t br_replica_durable(const struct br_replica *replica)
{
    return replica->delta   ? br_delta_durable(replica->delta)
           : replica->first ? br_first_durable(replica->first)
                            : replica->bytes_durable;
}

static int br_replica_drain(struct br_replica *replica, const struct br_delta_end *end, struct br_err *reterr)
{
    int r = replica->failed ? br_replica_fail(replica, -replica->err.code, &replica->err, reterr)
                            : br_replica_pump(replica, reterr);
    while (r == 0 && replica->intake.head) {
        br_ring_step(replica->ring);
        r = br_replica_pump(replica, reterr);
    }
    if (r == 0 && !br_delta_counts_equal(end, &replica->counts)) {
        r = br_err_set(reterr, BR_E_CORRUPT, "%s: the delta's end counts other records than came", replica->what);
    }
    return r;
}

int br_replica_commit(struct br_replica *replica, const struct br_delta_end *end, uint64_t recheck_bytes,
                      struct br_replica_result *ret_result, struct br_err *reterr)
{
    struct br_replica_result result = {0};
    struct br_err err = {0};
    assert(replica->active);
    int r = br_replica_drain(replica, end, &err);
    if (r == 0) {
        r = replica->delta ? br_delta_commit(replica, end, recheck_bytes, &result, &err)
                           : br_first_commit(replica, end, &result, &err);
    }
    if (r < 0) {
        ret_result->recheck_mismatches = result.recheck_mismatches;
        r = br_replica_fail(replica, r, &err, reterr);
    } else {
        *ret_result = result;
        replica->bytes_durable = result.bytes_durable;
    }
    br_replica_end_run(replica);
    return r;
}

void br_replica_abort(struct br_replica *replica)
{
    if (!replica->active) {
        return;
    }
    // What it was handed is taken in, as far as that works: a first copy's facts and a cut delta's data are for the next run.
    if (!replica->failed) {
        struct br_err err = {0};
        int r = br_replica_pump(replica, &err);
        while (r == 0 && replica->intake.head) {
            br_ring_step(replica->ring);
            r = br_replica_pump(replica, &err);
        }
        if (r < 0) {
            (void)!br_replica_fail(replica, r, &err, NULL);
        }
    }
    br_replica_end_run(replica);
}

// Proofs ------------------------------------------------------------------------------------------------------------------------------

int br_replica_recheck(struct br_replica *replica, uint64_t recheck_bytes, struct br_replica_result *ret_result,
                       struct br_err *reterr)
{
    assert(!replica->active);
    *ret_result = (struct br_replica_result){0};
    int r = br_replica_check_foreign(replica, reterr);
    if (r == 0 && !replica->read_only && br_replica_held_bytes(replica) > 0) {
        br_cut_drop(replica->dir); // the source is as the replica is: what was staged leads elsewhere
    }
    r = r < 0 ? r : br_recheck(replica, recheck_bytes, ret_result, reterr);
    return r < 0 || replica->read_only ? r : br_replica_store_identity(replica, reterr);
}

// Who looks without the lock may see another run go on. Its record moves with every step that matters.
static bool br_replica_moved(const struct br_replica *replica)
{
    struct br_identity_slots slots = {0};
    struct br_identity now;
    struct br_err err;
    int r = br_identity_slots_load(replica->dir, BR_IDENTITY_NAME, false, &slots, &now, &err);

    bool moved = r < 0 || now.sequence != replica->identity.sequence;
    if (r == 0) {
        br_identity_slots_close(&slots);
    }
    return moved;
}

static int br_replica_prove_all(struct br_replica *replica, const struct br_evidence *now,
                                br_verify_progress_fn *progress, void *ctx, uint64_t *ret_bad_blocks,
                                struct br_err *reterr)
{
    const struct br_tree *tree = &replica->identity.tree;
    struct br_proof proof;
    int r = br_prove(replica, tree, 0, tree->geometry.block_count, UINT64_MAX, progress, ctx, &proof, reterr);
    if (r != 0) {
        return r;
    }
    uint64_t size = tree->geometry.size_bytes;
    if (now->inode != 0 && now->size_bytes != size) { // a file is exactly the volume; a device may be larger
        return br_err_set(reterr, BR_E_VERIFY, "%s: it has %" PRIu64 " bytes, the recorded version %" PRIu64,
                          replica->what, now->size_bytes, size);
    }
    *ret_bad_blocks = proof.bad_blocks;
    if (proof.bad_blocks > 0) {
        return br_err_at(reterr, BR_E_VERIFY, proof.first_bad_block * BR_BLOCK_BYTES,
                         "%s: %" PRIu64 " blocks are not the recorded ones, the first", replica->what,
                         proof.bad_blocks);
    }
    return 0;
}

int br_replica_gaps(struct br_replica *replica, struct br_gap ret_gaps[BR_GAPS_MAX], unsigned *ret_count,
                    struct br_err *reterr)
{
    const struct br_tree *tree = &replica->identity.tree;
    uint64_t left = replica->identity.state == BR_STATE_COMPLETE ? replica->identity.unreadable_blocks : 0;
    struct br_tree_reader *reader = NULL;
    struct br_gap *gap = NULL;
    uint64_t block = 0;

    *ret_count = 0;
    int r = left ? br_tree_reader_open(tree, br_replica_store(replica), &reader, reterr) : 0;
    for (; r == 0 && left > 0; block++, left--) {
        r = br_tree_next_is(reader, block, &br_hash_unreadable, &block, reterr);
        if (r < 0 || block >= tree->geometry.block_count) {
            break;
        }
        uint64_t at = block * BR_BLOCK_BYTES;
        if (!gap || gap->offset_bytes + gap->len_bytes != at) {
            if (*ret_count == BR_GAPS_MAX) {
                break;
            }
            gap = &ret_gaps[(*ret_count)++];
            *gap = (struct br_gap){.offset_bytes = at};
        }
        gap->len_bytes += br_block_bytes(&tree->geometry, block);
    }
    if (reader) {
        br_tree_reader_close(reader);
    }
    return BR_MIN(r, 0);
}

// After a proof of all else: -BR_E_GAPS and where, or 0 when nothing is missing.
static int br_replica_name_gaps(struct br_replica *replica, struct br_err *reterr)
{
    struct br_gap gaps[BR_GAPS_MAX];
    char ranges[320] = "";
    size_t used = 0;
    unsigned count;

    if (!replica->identity.unreadable_blocks) {
        return 0;
    }
    int r = br_replica_gaps(replica, gaps, &count, reterr);
    if (r < 0) {
        return r;
    }
    for (unsigned i = 0; i < count && used < sizeof(ranges) - 60; i++) {
        used += (size_t)snprintf(ranges + used, sizeof(ranges) - used, "%s%" PRIu64 "-%" PRIu64, i ? ", " : "",
                                 gaps[i].offset_bytes, gaps[i].offset_bytes + gaps[i].len_bytes - 1);
        if (used >= sizeof(ranges) - 60 && i + 1 < count) {
            snprintf(ranges + used, sizeof(ranges) - used, " and more");
        }
    }
    return br_err_at(reterr, BR_E_GAPS, count ? gaps[0].offset_bytes : 0,
                     "%s: its version lacks %" PRIu64
                     " blocks that the source could not read, bytes %s; all else is proven",
                     replica->what, replica->identity.unreadable_blocks, ranges);
}

int br_replica_verify(struct br_replica *replica, br_verify_progress_fn *progress, void *ctx, uint64_t *ret_bad_blocks,
                      struct br_err *reterr)
{
    struct br_identity *identity = &replica->identity;
    struct br_evidence now;
    assert(!replica->active);
    *ret_bad_blocks = 0;
    int r = br_replica_need_complete(replica, reterr);
    r = r < 0 ? r : br_evidence_take(replica->file, &now, reterr); // before: a write meanwhile must show
    if (r < 0) {
        return r;
    }
    r = br_replica_prove_all(replica, &now, progress, ctx, ret_bad_blocks, reterr);
    if ((r == -BR_E_VERIFY || r == -BR_E_CORRUPT) && replica->read_only && br_replica_moved(replica)) {
        *ret_bad_blocks = 0;
        return br_err_set(reterr, BR_E_BUSY, "%s was brought to another version while it was read", replica->what);
    }
    if (r == 0 && !replica->read_only) {
        identity->evidence = now;
        identity->full_proof_unix_ns = br_ring_unix_ns(replica->ring);
        r = br_replica_store_identity(replica, reterr);
    }
    return r != 0 ? r : br_replica_name_gaps(replica, reterr);
}
