// SPDX-License-Identifier: Apache-2.0
//
// The steps of br_sync_run(), in the order of the table in sync.h. What was decided is kept in struct br_sync and never decided twice.
#include "engine/sync/sync.h"

#include <stdio.h>

#include "engine/base/units.h"
#include "engine/sync/source.h"
#include "engine/sync/tracked.h"

struct br_sync {
    const struct br_sync_params *params;
    struct br_sync_result *result;
    const struct br_endpoint_ops *far;
    void *far_ctx;
    struct br_endpoint_info info;
    struct br_file_info seen; // the source when the run began
    uint64_t start_ns;
    uint64_t sent_before;
    uint64_t compared_bytes; // verify: what the source's half took

    bool discard;     // what the target holds is given up
    bool target_zero; // a first copy finds zeros there
    bool use_facts;   // a first copy goes on from what the replica has
    bool use_version; // the parent is the replica's version
    bool distrusted;  // a recheck found the far end damaged
    struct br_source *source;
    struct br_tree parent;
    struct br_tree_store parent_store;
    struct br_tree_store store; // where the result's nodes go
    uint8_t secret[BR_PAGE_SECRET_BYTES];
    struct br_scope scope;
    struct br_delta_header header;
    struct br_delta_end end;
    struct br_tree tree;
    struct br_tree_geometry geometry;
    struct br_sync_progress progress;
};

const char *br_sync_phase_name(enum br_sync_phase phase)
{
    static const char *const names[] = {
        [BR_SYNC_PLAN] = "plan",     [BR_SYNC_COPY] = "copy",     [BR_SYNC_SCAN] = "scan",
        [BR_SYNC_COMMIT] = "commit", [BR_SYNC_VERIFY] = "verify",
    };

    return phase < BR_ARRAY_LEN(names) ? names[phase] : "unknown";
}

static void br_sync_tell(struct br_sync *sync)
{
    if (sync->params->progress) {
        sync->progress.elapsed_ns = br_ring_now_ns(sync->params->ring) - sync->start_ns;
        sync->params->progress(sync->params->progress_ctx, &sync->progress);
    }
}

static void br_sync_phase(struct br_sync *sync, enum br_sync_phase phase, uint64_t size_bytes)
{
    sync->progress.phase = phase;
    sync->progress.size_bytes = size_bytes;
    sync->progress.position_bytes = 0;
    br_sync_tell(sync);
}

// Plan --------------------------------------------------------------------------------------------------------------------------------

static int br_sync_check_source(struct br_sync *sync, struct br_err *reterr)
{
    const struct br_identity *own = sync->params->source_identity;
    int rc = br_file_stat(sync->params->source, &sync->seen, reterr);

    if (rc < 0) {
        return rc;
    }
    if (sync->seen.size_bytes < sync->params->size_bytes) {
        return br_err_at(reterr, BR_E_SOURCE_MOVED, sync->seen.size_bytes, "%s became smaller", sync->params->label);
    }
    if (own && own->state == BR_STATE_INCOMPLETE) {
        return br_err_set(reterr, BR_E_INCOMPLETE, "the source %s is itself a replica", sync->params->label);
    }
    if (own && (own->state == BR_STATE_APPLYING || own->state == BR_STATE_REPLACING)) {
        return br_err_set(reterr, BR_E_TRANSITION, "the source %s is itself a replica", sync->params->label);
    }
    return 0;
}

static int br_sync_check_target(struct br_sync *sync, struct br_err *reterr)
{
    const struct br_sync_params *params = sync->params;
    char have[32], need[32];

    if (params->source_identity && !br_uuid_is_nil(&sync->info.origin) &&
        br_uuid_equal(&params->source_identity->volume, &sync->info.origin)) {
        return br_err_set(reterr, BR_E_SWAPPED, "%s is a replica of the target", params->label);
    }
    if (sync->info.capacity_bytes < params->size_bytes) {
        br_size_text(sync->info.capacity_bytes, have, sizeof(have));
        br_size_text(params->size_bytes, need, sizeof(need));
        return br_err_set(reterr, BR_E_TARGET_SMALL, "the target holds %s, the source has %s", have, need);
    }
    return 0;
}

static int br_sync_foreign(struct br_sync *sync, const char *what, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_TARGET_FOREIGN, "the target is %s%s%s%s", what, sync->info.holds[0] ? " (" : "",
                      sync->info.holds, sync->info.holds[0] ? ")" : "");
}

static void br_sync_anew(struct br_sync *sync, const char *reason)
{
    sync->result->mode = sync->info.is_block ? BR_MODE_FIRST : BR_MODE_REPLACE;
    sync->result->fallback_reason = reason;
    sync->discard = true;
}

static int br_sync_plan_none(struct br_sync *sync, struct br_err *reterr)
{
    if (!sync->info.empty && !sync->params->overwrite) {
        return br_sync_foreign(sync, "not empty", reterr);
    }
    sync->result->mode = BR_MODE_FIRST;
    sync->result->fallback_reason = "first-copy";
    sync->result->target_is_new = true;
    sync->target_zero = sync->info.zero;
    sync->discard = !sync->info.empty;
    return 0;
}

// The replica is this volume's and has a version.
static int br_sync_plan_complete(struct br_sync *sync, struct br_err *reterr)
{
    int distrusted = 0;

    if (sync->source) {
        distrusted = br_source_distrusted(sync->source, reterr);
        if (distrusted < 0) {
            return distrusted;
        }
        sync->distrusted = distrusted > 0;
    }
    sync->use_version = !sync->params->force_full && !distrusted;
    if (sync->use_version) {
        sync->result->mode = BR_MODE_DELTA;
        return 0;
    }
    if (sync->info.is_block && !sync->params->overwrite) {
        return br_err_set(reterr, BR_E_REFUSED,
                          "a full copy onto a device gives its version up before the new one is there; "
                          "accept that with --overwrite");
    }
    br_sync_anew(sync, distrusted ? "recheck-mismatch" : "forced");
    return 0;
}

static int br_sync_plan_mode(struct br_sync *sync, struct br_err *reterr)
{
    const struct br_identity *identity = &sync->info.identity;

    if (identity->state == BR_STATE_NONE) {
        return br_sync_plan_none(sync, reterr);
    }
    if (!br_uuid_equal(&identity->volume, &sync->result->volume)) {
        if (!sync->params->overwrite) {
            // Also when this source's own record was lost: a new disk at an old name looks just like that, and must not cost the old
            // disk's replica.
            char label[BR_LABEL_BYTES];
            char what[BR_LABEL_BYTES + 64];
            br_quote(identity->label, label, sizeof(label));
            snprintf(what, sizeof(what), "another volume's replica, last copied from %s", label);
            return br_sync_foreign(sync, what, reterr);
        }
        br_sync_anew(sync, "first-copy");
        return 0;
    }
    if (identity->state == BR_STATE_INCOMPLETE) {
        sync->result->mode = BR_MODE_FIRST;
        sync->use_facts = !sync->params->force_full;
        sync->discard = sync->params->force_full;
        sync->result->resumed = sync->use_facts;
        sync->result->fallback_reason = sync->params->force_full ? "forced" : "first-copy";
        return 0;
    }
    // A far end that may not write (dry run) leaves a transition open: what it will be is its version.
    if (identity->state != BR_STATE_COMPLETE && !sync->params->dry_run) {
        return br_err_set(reterr, BR_E_TRANSITION, "the replica could not be brought to a version");
    }
    return br_sync_plan_complete(sync, reterr);
}

static int br_sync_plan(struct br_sync *sync, struct br_err *reterr)
{
    int rc = br_sync_plan_mode(sync, reterr);

    // The far end says so itself when the delta begins; a dry run has none.
    if (!rc && sync->params->dry_run && sync->info.may_write && !sync->info.may_replace &&
        br_endpoint_loses(&sync->info, sync->result->mode, &sync->result->volume)) {
        return br_err_set(reterr, BR_E_AUTH, "this client may not replace what is there");
    }
    return rc;
}

// Whose volume this is: known, or drawn when everything else was found in order.
static int br_sync_volume(struct br_sync *sync, bool make, struct br_err *reterr)
{
    const struct br_sync_params *params = sync->params;
    int rc = 0;

    if (make && !params->dry_run) {
        rc = br_volume_ensure(params->ring, params->dir, &sync->result->volume, reterr);
    } else if (params->dir) {
        rc = br_volume_load(params->dir, &sync->result->volume, reterr);
    }
    return rc < 0 ? rc : 0;
}

static int br_sync_open_source(struct br_sync *sync, struct br_err *reterr)
{
    const struct br_sync_params *params = sync->params;

    if (!params->dir || sync->source || br_uuid_is_nil(&sync->info.identity.replica)) {
        return 0;
    }
    sync->result->replica = sync->info.identity.replica;
    return br_source_open(params->ring, params->dir, &sync->info.identity.replica, params->dry_run, &sync->source,
                          reterr);
}

// Copy: the version to compare with --------------------------------------------------------------------------------------------------

static int br_sync_fetch(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                         struct br_err *reterr)
{
    struct br_sync *sync = ctx;

    if (sync->params->cancel && *sync->params->cancel) {
        return br_err_set(reterr, BR_E_CANCELLED, "copying the replica's tree");
    }
    return sync->far->fetch_nodes(sync->far_ctx, links, count, ret_nodes, reterr);
}

// A dry run keeps nothing: nodes are read from the far end one by one and new ones are dropped.
static int br_sync_fetch_one(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    struct br_buf node = {0};
    int rc = br_sync_fetch(ctx, link, 1, &node, reterr);

    if (!rc && node.len > BR_TREE_NODE_BYTES_MAX) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "a tree node of %zu bytes", node.len);
    }
    if (!rc) {
        memcpy(bytes, node.data, node.len);
        rc = (int)node.len;
    }
    br_buf_free(&node);
    return rc;
}

// Is what we recorded the version that the replica has? Says which of the record's trees it is.
static bool br_sync_recorded(const struct br_sync *sync, struct br_tree *ret_tree)
{
    const struct br_identity *held = br_source_identity(sync->source);
    const struct br_identity *there = &sync->info.identity;
    struct br_hash root;

    if (held->state == BR_STATE_NONE) {
        return false;
    }
    if (br_uuid_equal(&held->generation.id, &there->generation.id)) {
        *ret_tree = held->tree;
    } else if (held->state == BR_STATE_APPLYING && br_uuid_equal(&held->previous.id, &there->generation.id)) {
        *ret_tree = held->previous_tree;
    } else {
        return false;
    }
    br_tree_root(ret_tree, &root);
    return br_hash_equal(&root, &there->root);
}

static int br_sync_copy_nodes(struct br_sync *sync, struct br_err *reterr)
{
    if (sync->params->dry_run) {
        sync->parent = sync->info.identity.tree;
        sync->parent_store =
            (struct br_tree_store){.fetch = br_sync_fetch_one, .keep = br_tree_keep_nothing, .ctx = sync};
        return 0;
    }
    br_sync_phase(sync, BR_SYNC_COPY, 0);
    int rc = br_source_restart(sync->source, reterr);
    if (rc < 0) {
        return rc;
    }
    sync->parent_store = *br_source_store(sync->source);
    return br_tree_copy(&sync->info.identity.tree, br_sync_fetch, sync, &sync->parent_store, false, &sync->parent,
                        reterr);
}

// A first copy's facts when the source has another size now: what lies behind the shorter end isn't known.
static int br_sync_resize_facts(struct br_sync *sync, struct br_err *reterr)
{
    uint64_t old_bytes = sync->parent.geometry.size_bytes;
    uint64_t from = BR_MIN(old_bytes, sync->geometry.size_bytes) / BR_BLOCK_BYTES;
    struct br_tree_writer *writer;

    if (old_bytes == sync->geometry.size_bytes) {
        return 0;
    }
    struct br_tree_store to = sync->params->dry_run ? sync->parent_store : *br_source_store(sync->source);
    int rc = br_tree_writer_open(&sync->geometry, &sync->parent, &sync->parent_store, &to, &writer, reterr);
    if (rc < 0) {
        return rc;
    }
    if (from < sync->geometry.block_count) {
        rc = br_tree_fill(writer, from, sync->geometry.block_count - from, &br_hash_unknown, reterr);
    }
    if (!rc) {
        rc = br_tree_finish(writer, &sync->parent, reterr);
    }
    br_tree_writer_close(writer);
    return rc;
}

static int br_sync_parent(struct br_sync *sync, struct br_err *reterr)
{
    bool zero = sync->result->mode == BR_MODE_REPLACE || sync->target_zero;
    int rc;

    if (sync->use_version && sync->source && br_sync_recorded(sync, &sync->parent)) {
        sync->parent_store = *br_source_store(sync->source);
        return 0;
    }
    if (!sync->use_version && !sync->use_facts) {
        br_tree_empty(&sync->geometry, zero ? &br_hash_zero : &br_hash_unknown, &sync->parent);
        return 0;
    }
    if (sync->use_version) {
        bool lost = !sync->source || br_source_identity(sync->source)->state == BR_STATE_NONE;
        sync->result->fallback_reason = lost ? "state-lost" : "replica-moved";
    }
    rc = br_sync_copy_nodes(sync, reterr);
    return rc < 0 || !sync->use_facts ? rc : br_sync_resize_facts(sync, reterr);
}

// Begin -------------------------------------------------------------------------------------------------------------------------------

static void br_sync_header(struct br_sync *sync)
{
    const struct br_sync_params *params = sync->params;
    const struct br_identity *identity = &sync->info.identity;
    struct br_sync_result *result = sync->result;
    bool ours = identity->state != BR_STATE_NONE && br_uuid_equal(&identity->volume, &result->volume);
    // A first copy that goes on makes the version that it set out to make, from a new view.
    uint64_t counter = !ours ? 1 : identity->generation.counter + (identity->state != BR_STATE_INCOMPLETE);

    sync->header = (struct br_delta_header){
        .stream_id = br_ring_new_uuid(params->ring),
        .volume = result->volume,
        .full = result->mode != BR_MODE_DELTA,
        .generation = {.counter = BR_MAX(counter, UINT64_C(1)), .id = br_ring_new_uuid(params->ring)},
        .size_bytes = params->size_bytes,
        .sector_bytes = params->sector_bytes,
        .hash_id = BR_HASH_SHA256,
        .consistency = (uint8_t)params->consistency,
        .taken_unix_ns = br_ring_unix_ns(params->ring),
    };
    snprintf(sync->header.label, sizeof(sync->header.label), "%s", params->label ? params->label : "");
    if (!sync->header.full) {
        sync->header.generation.parent_id = identity->generation.id;
        sync->header.parent_root = identity->root;
        sync->header.parent_size_bytes = identity->tree.geometry.size_bytes;
    }
    result->parent_root = sync->header.parent_root;
    result->generation = sync->header.generation;
    result->taken_unix_ns = sync->header.taken_unix_ns;
}

static int br_sync_begin(struct br_sync *sync, struct br_err *reterr)
{
    struct br_replica_begin begin = {
        .mode = sync->result->mode,
        .header = sync->header,
        .target_is_zero = sync->target_zero,
        .absent_keeps_facts = sync->result->mode == BR_MODE_FIRST,
        .discard_version = sync->discard,
        .leaves_proven = true, // here; a session does not believe it
        .distrusted = sync->distrusted,
    };
    int rc = sync->far->begin(sync->far_ctx, &begin, sync->params->overwrite, reterr);

    if (rc < 0 || sync->source) {
        return rc;
    }
    // A new replica has got its id.
    struct br_endpoint_info info;
    rc = sync->far->info(sync->far_ctx, &info, reterr);
    if (rc < 0) {
        return rc;
    }
    sync->info.identity.replica = info.identity.replica;
    return br_sync_open_source(sync, reterr);
}

// Where the result's tree goes: behind the parent's when it shares nodes with it, else into a new file.
static int br_sync_stores(struct br_sync *sync, struct br_err *reterr)
{
    if (sync->params->dry_run) {
        sync->store = (struct br_tree_store){.fetch = br_sync_fetch_one, .keep = br_tree_keep_nothing, .ctx = sync};
        if (!sync->parent_store.fetch) {
            sync->parent_store = sync->store;
        }
        if (sync->source && br_source_identity(sync->source)->state != BR_STATE_NONE) {
            memcpy(sync->secret, br_source_secret(sync->source), sizeof(sync->secret));
        } else {
            br_ring_random(sync->params->ring, sync->secret, sizeof(sync->secret));
        }
        return 0;
    }
    if (!sync->parent_store.fetch) {
        int rc = br_source_restart(sync->source, reterr);
        if (rc < 0) {
            return rc;
        }
        sync->parent_store = *br_source_store(sync->source);
    }
    sync->store = *br_source_store(sync->source);
    memcpy(sync->secret, br_source_secret(sync->source), sizeof(sync->secret));
    return 0;
}

// Scan --------------------------------------------------------------------------------------------------------------------------------

static int br_sync_sink_batch(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                              struct br_err *reterr)
{
    struct br_sync *sync = ctx;

    br_delta_count_batch(&sync->end, batch, &sync->geometry);
    if (sync->params->dry_run) {
        release(release_ctx);
        return 0;
    }
    return sync->far->batch(sync->far_ctx, batch, release, release_ctx, reterr);
}

static int br_sync_sink_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct br_sync *sync = ctx;

    br_delta_count_run(&sync->end, run, &sync->geometry);
    return sync->params->dry_run ? 0 : sync->far->run(sync->far_ctx, run, reterr);
}

static int br_sync_sink_keep(void *ctx, const struct br_keep *keep, struct br_err *reterr)
{
    struct br_sync *sync = ctx;

    return sync->far->keep(sync->far_ctx, keep, reterr);
}

static int br_sync_held(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                        struct br_err *reterr)
{
    struct br_sync *sync = ctx;

    return sync->far->held(sync->far_ctx, from, ret_blocks, most, ret_count, reterr);
}

static uint64_t br_sync_resumed_bytes(const struct br_sync *sync, const struct br_pipe_progress *progress)
{
    return sync->use_facts ? progress->bytes_same : progress->bytes_kept;
}

static void br_sync_scan_progress(void *ctx, const struct br_pipe_progress *progress)
{
    struct br_sync *sync = ctx;

    sync->progress.position_bytes = progress->position_bytes;
    sync->progress.bytes_read = progress->bytes_read;
    sync->progress.bytes_changed = progress->bytes_changed;
    sync->progress.bytes_shipped = progress->bytes_shipped;
    sync->progress.bytes_resumed = br_sync_resumed_bytes(sync, progress);
    sync->progress.bytes_durable = sync->params->dry_run ? 0 : sync->far->durable(sync->far_ctx);
    br_sync_tell(sync);
}

// Asks the tracker, and checks a share of what it calls unchanged.
static int br_sync_scope(struct br_sync *sync, const struct br_pipe_params *pipe, struct br_err *reterr)
{
    const struct br_identity *there = &sync->info.identity;
    struct br_sync_result *result = sync->result;
    struct br_tracked_params params = {
        .tracker = sync->params->tracker,
        .source = sync->source,
        .version = result->mode == BR_MODE_DELTA ? &there->generation.id : NULL,
        .unreadable = there->unreadable_blocks > 0,
        .finished_unix_ns = there->finished_unix_ns,
        .recheck_bytes = sync->params->recheck_bytes,
        .recheck_period_ns = sync->params->recheck_period_ns,
    };
    int rc = br_tracked_open(&sync->scope, &params, pipe, &result->tracked, reterr);

    if (result->tracked.reason) {
        result->fallback_reason = result->tracked.reason;
    }
    return rc;
}

static int br_sync_scan(struct br_sync *sync, struct br_err *reterr)
{
    const struct br_sync_params *params = sync->params;
    struct br_pipe_progress progress = {0};
    struct br_pipe_params pipe = {
        .ring = params->ring,
        .source = params->source,
        .size_bytes = params->size_bytes,
        .parent = &sync->parent,
        .parent_store = &sync->parent_store,
        .page_secret = sync->secret,
        .store = &sync->store,
        .sink = {.batch = br_sync_sink_batch, .run = br_sync_sink_run, .keep = br_sync_sink_keep, .ctx = sync},
        .bytes_per_second = params->bytes_per_second,
        .continue_on_read_error = params->continue_on_read_error,
        .cancel = params->cancel,
        .progress = br_sync_scan_progress,
        .progress_ctx = sync,
    };

    if (sync->result->mode == BR_MODE_DELTA && !params->dry_run && sync->far->held) {
        pipe.held = (struct br_held_source){.next = br_sync_held, .ctx = sync};
    }
    br_sync_phase(sync, BR_SYNC_SCAN, params->size_bytes);
    int rc = br_sync_scope(sync, &pipe, reterr);
    if (rc < 0) {
        return rc;
    }
    pipe.changed = br_scope_changed(&sync->scope);
    pipe.old = br_scope_old(&sync->scope);
    rc = br_pipe_run(&pipe, &sync->tree, &progress, reterr);
    sync->result->bytes_read = progress.bytes_read;
    sync->result->bytes_old = progress.bytes_old;
    sync->result->bytes_changed = progress.bytes_changed;
    sync->result->bytes_data = progress.bytes_shipped;
    sync->result->bytes_resumed = br_sync_resumed_bytes(sync, &progress);
    sync->result->resumed = sync->result->resumed || sync->result->bytes_resumed > 0;
    sync->result->zero_bytes = progress.zero_bytes;
    sync->result->unreadable_blocks = progress.unreadable_blocks;
    if (rc == -BR_E_SOURCE_MOVED || rc == -BR_E_SOURCE_READ) {
        br_err_prefix(reterr, "%s", params->label);
    }
    if (rc < 0) {
        return rc;
    }
    br_tree_root(&sync->tree, &sync->result->root);
    sync->end.root = sync->result->root;
    return 0;
}

static int br_sync_source_unmoved(struct br_sync *sync, struct br_err *reterr)
{
    const struct br_sync_params *params = sync->params;

    return br_source_unmoved(params->source, &sync->seen, params->consistency, params->label, params->source_check,
                             params->source_check_ctx, reterr);
}

// Commit ------------------------------------------------------------------------------------------------------------------------------

static uint64_t br_sync_recheck_bytes(const struct br_sync *sync)
{
    if (sync->params->recheck_bytes != BR_RECHECK_DEFAULT) {
        return sync->params->recheck_bytes;
    }
    return br_recheck_budget(&sync->info.identity, sync->result->bytes_changed, br_ring_unix_ns(sync->params->ring),
                             sync->params->recheck_period_ns);
}

static void br_sync_take_result(struct br_sync *sync, const struct br_replica_result *far)
{
    sync->result->bytes_durable = far->bytes_durable;
    sync->result->bytes_written = far->bytes_written;
    sync->result->bytes_rechecked = far->bytes_rechecked;
    sync->result->recheck_mismatches = far->recheck_mismatches;
}

// A recheck that failed is remembered; the error it gave is what the caller hears, whatever becomes of the note.
static int br_sync_note_mismatch(struct br_sync *sync, int rc)
{
    if (rc == -BR_E_VERIFY && sync->result->recheck_mismatches) {
        (void)!br_source_distrust(sync->source, true, NULL);
    }
    return rc;
}

static void br_sync_identity(const struct br_sync *sync, struct br_identity *ret_identity)
{
    *ret_identity = (struct br_identity){
        .state = BR_STATE_COMPLETE,
        .volume = sync->result->volume,
        .replica = sync->result->replica,
        .generation = sync->header.generation,
        .previous = sync->info.identity.generation,
        .root = sync->result->root,
        .tree = sync->tree,
        .sector_bytes = sync->header.sector_bytes,
        .consistency = sync->header.consistency,
        .taken_unix_ns = sync->header.taken_unix_ns,
        .unreadable_blocks = sync->result->unreadable_blocks,
    };
    memcpy(ret_identity->label, sync->header.label, sizeof(ret_identity->label));
    br_tracked_record(&sync->scope, sync->source, br_ring_unix_ns(sync->params->ring), ret_identity);
}

// No new version: what was learned (page hashes, a copied tree) is kept under the version that the replica has.
static int br_sync_unchanged(struct br_sync *sync, struct br_err *reterr)
{
    struct br_replica_result far = {0};
    struct br_identity identity;

    sync->far->abort(sync->far_ctx);
    br_sync_phase(sync, BR_SYNC_COMMIT, 0);
    int rc = sync->far->recheck(sync->far_ctx, br_sync_recheck_bytes(sync), &far, reterr);
    br_sync_take_result(sync, &far);
    if (rc < 0) {
        return br_sync_note_mismatch(sync, rc);
    }
    br_sync_identity(sync, &identity);
    identity.generation = sync->info.identity.generation;
    identity.previous = sync->info.identity.previous;
    identity.consistency = sync->info.identity.consistency;
    identity.finished_unix_ns = br_ring_unix_ns(sync->params->ring);
    sync->result->version_taken_unix_ns = sync->info.identity.taken_unix_ns;
    sync->result->generation = identity.generation;
    sync->result->consistency = (enum br_consistency)identity.consistency;
    rc = br_source_record(sync->source, &identity, reterr);
    rc = rc < 0 ? rc : br_tracked_mark(sync->params->tracker, &identity.replica, &identity.generation.id, reterr);
    if (!rc) {
        br_tracked_settle(sync->params->tracker, &identity.replica, &identity.generation.id);
    }
    return rc;
}

static int br_sync_commit(struct br_sync *sync, struct br_err *reterr)
{
    bool delta = sync->result->mode == BR_MODE_DELTA;
    struct br_replica_result far = {0};
    struct br_identity identity;

    br_sync_identity(sync, &identity);
    identity.state = BR_STATE_APPLYING;
    identity.stage_id = sync->header.stream_id;
    identity.stage_bytes = sync->end.data_bytes + 1; // pending, never empty
    if (delta) {
        identity.previous_tree = sync->parent;
    }
    int rc = br_source_record(sync->source, &identity, reterr);
    rc = rc < 0 ? rc : br_tracked_mark(sync->params->tracker, &identity.replica, &identity.generation.id, reterr);
    if (rc < 0) {
        return rc;
    }
    br_sync_phase(sync, BR_SYNC_COMMIT, 0);
    rc = sync->far->commit(sync->far_ctx, &sync->end, delta ? br_sync_recheck_bytes(sync) : 0, &far, reterr);
    br_sync_take_result(sync, &far);
    if (rc < 0) {
        return br_sync_note_mismatch(sync, rc);
    }
    sync->result->new_version = true;
    sync->result->version_taken_unix_ns = sync->header.taken_unix_ns;
    identity.state = BR_STATE_COMPLETE;
    identity.stage_bytes = 0;
    memset(&identity.stage_id, 0, sizeof(identity.stage_id));
    memset(&identity.previous_tree, 0, sizeof(identity.previous_tree));
    identity.finished_unix_ns = br_ring_unix_ns(sync->params->ring);
    // The replica is the new version, durably, and the pending record is enough to recognise it: no reason to call the run failed.
    (void)!br_source_record(sync->source, &identity, NULL);
    br_tracked_settle(sync->params->tracker, &identity.replica, &identity.generation.id);
    if (sync->result->mode != BR_MODE_DELTA) {
        (void)!br_source_distrust(sync->source, false, NULL);
    }
    return 0;
}

static bool br_sync_is_unchanged(const struct br_sync *sync)
{
    return !sync->params->always && sync->result->mode == BR_MODE_DELTA &&
           br_hash_equal(&sync->result->root, &sync->info.identity.root) &&
           sync->header.consistency <= sync->info.identity.consistency;
}

// Verify ------------------------------------------------------------------------------------------------------------------------------

static int br_sync_differs_batch(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                                 struct br_err *reterr)
{
    const struct br_sync *sync = ctx;

    release(release_ctx);
    return br_err_at(reterr, BR_E_SOURCE_MOVED, batch->blocks[0].index * BR_BLOCK_BYTES,
                     "%s reads differently the second time", sync->params->label);
}

static int br_sync_differs_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    const struct br_sync *sync = ctx;

    return br_err_at(reterr, BR_E_SOURCE_MOVED, run->first * BR_BLOCK_BYTES, "%s reads differently the second time",
                     sync->params->label);
}

static void br_sync_verify_source_progress(void *ctx, const struct br_pipe_progress *progress)
{
    struct br_sync *sync = ctx;

    sync->progress.position_bytes = progress->position_bytes;
    br_sync_tell(sync);
}

static int br_sync_verify_replica_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    struct br_sync *sync = ctx;

    sync->progress.position_bytes = sync->compared_bytes + done_bytes;
    sync->progress.size_bytes = sync->compared_bytes + total_bytes;
    br_sync_tell(sync);
    return sync->params->cancel && *sync->params->cancel ? -BR_E_CANCELLED : 0;
}

// A source that may change (`none`) can't be compared with what it was; the replica can.
static int br_sync_verify(struct br_sync *sync, struct br_err *reterr)
{
    const struct br_sync_params *params = sync->params;
    struct br_tree_store nowhere = {.fetch = sync->store.fetch, .keep = br_tree_keep_nothing, .ctx = sync->store.ctx};
    struct br_pipe_params pipe = {
        .ring = params->ring,
        .source = params->source,
        .size_bytes = params->size_bytes,
        .parent = &sync->tree,
        .parent_store = &sync->store,
        .page_secret = sync->secret,
        .store = &nowhere,
        .sink = {.batch = br_sync_differs_batch, .run = br_sync_differs_run, .ctx = sync},
        .continue_on_read_error = params->continue_on_read_error,
        .cancel = params->cancel,
        .progress = br_sync_verify_source_progress,
        .progress_ctx = sync,
    };
    struct br_tree tree;
    int rc = 0;

    br_sync_phase(sync, BR_SYNC_VERIFY, 2 * params->size_bytes);
    if (params->consistency != BR_CONSISTENCY_NONE) {
        sync->compared_bytes = params->size_bytes;
        rc = br_pipe_run(&pipe, &tree, NULL, reterr);
    }
    if (!rc) {
        rc = sync->far->verify(sync->far_ctx, br_sync_verify_replica_progress, sync, &sync->result->verify_bad_blocks,
                               reterr);
    }
    rc = rc == -BR_E_GAPS ? 0 : rc; // known, and told by the run itself
    sync->result->verified = !rc;
    if (rc == -BR_E_VERIFY) {
        (void)!br_source_distrust(sync->source, true, NULL);
    }
    return rc;
}

// The run -----------------------------------------------------------------------------------------------------------------------------

static int br_sync_prepare(struct br_sync *sync, struct br_err *reterr)
{
    int rc = br_sync_check_source(sync, reterr);

    if (!rc) {
        rc = sync->far->info(sync->far_ctx, &sync->info, reterr);
    }
    if (!rc) {
        sync->result->may_write = sync->info.may_write;
        rc = br_sync_volume(sync, false, reterr);
    }
    if (!rc) {
        rc = br_sync_check_target(sync, reterr);
    }
    if (!rc && !br_tree_geometry_of(sync->params->size_bytes, &sync->geometry)) {
        rc = br_err_set(reterr, BR_E_LIMIT, "%s is larger than any version can be", sync->params->label);
    }
    // Only this volume's replica has state here, and only its holder may look at it.
    if (!rc && br_uuid_equal(&sync->info.identity.volume, &sync->result->volume) &&
        sync->info.identity.state != BR_STATE_NONE) {
        rc = br_sync_open_source(sync, reterr);
    }
    if (!rc) {
        rc = br_sync_plan(sync, reterr);
    }
    if (!rc) {
        rc = br_sync_volume(sync, true, reterr);
    }
    return rc;
}

// From the first change at the far end to its commit; the caller aborts on failure.
static int br_sync_transfer(struct br_sync *sync, struct br_err *reterr)
{
    uint64_t began_ns = br_ring_now_ns(sync->params->ring);
    int rc = sync->params->dry_run ? 0 : br_sync_begin(sync, reterr);

    if (!rc) {
        rc = br_sync_stores(sync, reterr);
    }
    if (!rc) {
        rc = br_sync_scan(sync, reterr);
    }
    sync->result->scan_ns = br_ring_now_ns(sync->params->ring) - began_ns;
    if (!rc) {
        rc = br_sync_source_unmoved(sync, reterr);
    }
    if (rc < 0 || sync->params->dry_run) {
        return rc;
    }
    began_ns = br_ring_now_ns(sync->params->ring);
    rc = br_sync_is_unchanged(sync) ? br_sync_unchanged(sync, reterr) : br_sync_commit(sync, reterr);
    sync->result->commit_ns = br_ring_now_ns(sync->params->ring) - began_ns;
    return rc;
}

// What was shipped counts also when the run failed: it may be what the next one goes on from.
static void br_sync_account(struct br_sync *sync, bool failed)
{
    struct br_endpoint_info info;

    sync->result->bytes_shipped =
        sync->far->sent_bytes ? sync->far->sent_bytes(sync->far_ctx) - sync->sent_before : sync->result->bytes_data;
    if (sync->params->dry_run) {
        sync->result->bytes_shipped = sync->result->bytes_data;
    } else if (failed) {
        sync->result->bytes_durable = BR_MAX(sync->result->bytes_durable, sync->progress.bytes_durable);
    } else if (!sync->far->info(sync->far_ctx, &info, NULL)) {
        sync->result->full_proof_unix_ns = info.identity.full_proof_unix_ns;
    }
}

// A run that made no version leaves the replica as it was found.
static void br_sync_as_found(struct br_sync *sync, bool failed)
{
    const struct br_identity *there = &sync->info.identity;
    bool ours = br_uuid_equal(&there->volume, &sync->result->volume);

    sync->result->generation = (struct br_generation){0};
    if (ours && there->state == BR_STATE_COMPLETE) {
        sync->result->generation = there->generation;
    } else if (ours && there->state == BR_STATE_APPLYING) {
        sync->result->generation = there->previous;
    }
    if (failed) {
        sync->result->root = ours && there->state == BR_STATE_COMPLETE ? there->root : br_hash_zero;
    }
}

int br_sync_run(const struct br_sync_params *params, struct br_sync_result *result, struct br_err *reterr)
{
    struct br_sync sync = {
        .params = params,
        .result = result,
        .far = params->endpoint.ops,
        .far_ctx = params->endpoint.ctx,
        .start_ns = br_ring_now_ns(params->ring),
    };

    *result = (struct br_sync_result){
        .tracker = params->tracker ? params->tracker->name : "scan",
        .dry_run = params->dry_run,
        .consistency = params->consistency,
        .size_bytes = params->size_bytes,
    };
    sync.sent_before = sync.far->sent_bytes ? sync.far->sent_bytes(sync.far_ctx) : 0;
    br_sync_phase(&sync, BR_SYNC_PLAN, 0);
    int rc = br_sync_prepare(&sync, reterr);
    if (!rc) {
        br_sync_header(&sync);
        rc = br_sync_parent(&sync, reterr);
    }
    if (!rc) {
        rc = br_sync_transfer(&sync, reterr);
        if (rc < 0 && !params->dry_run) {
            sync.far->abort(sync.far_ctx);
        }
        // Of what the far end has, something is not as it should be: the next run makes it anew.
        if (rc == -BR_E_VERIFY && sync.source && !params->dry_run) {
            (void)!br_source_distrust(sync.source, true, NULL);
        }
    }
    if (!rc && params->verify && !params->dry_run) {
        rc = br_sync_verify(&sync, reterr);
    }
    br_sync_account(&sync, rc < 0);
    if (!result->new_version && (rc < 0 || params->dry_run)) {
        br_sync_as_found(&sync, rc < 0);
    }
    result->duration_ns = br_ring_now_ns(params->ring) - sync.start_ns;
    br_scope_close(&sync.scope);
    br_source_close(sync.source);
    return rc;
}
