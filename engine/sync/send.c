// SPDX-License-Identifier: Apache-2.0
//
// The pipeline into a stream. The tracker, if there is one, is asked and rechecked before the first frame.
#include "engine/base/units.h"
#include "engine/sync/source.h"
#include "engine/sync/stream_out.h"
#include "engine/sync/sync.h"
#include "engine/sync/transfer.h"

#include <stdio.h>

struct br_send {
    const struct br_send_params *params;
    struct br_send_result *result;
    struct br_source *source;
    struct br_tree_geometry geometry;
    struct br_stream_out out;
    struct br_tree parent;
    struct br_generation previous; // the parent's
    struct br_delta_header header;
    struct br_file_info seen;
    struct br_scope scope;
    bool parent_unreadable;
};

// The version that --since names ------------------------------------------------------------------------------------------------------

static bool br_send_is_prefix(const char *text, const char *digits)
{
    return strlen(text) >= BR_TRANSFER_SINCE_TEXT_MIN && !strncmp(text, digits, strlen(text));
}

// A stream whose END may or may not have got out: its version and the one before it are both known.
static bool br_send_names(const struct br_send *send, const struct br_hash *root, const struct br_uuid *generation)
{
    char digits[2 * BR_HASH_BYTES + 1];
    char id[BR_UUID_TEXT_BYTES];

    br_hash_text(root, digits);
    br_uuid_text(generation, id);
    return br_send_is_prefix(send->params->since, digits) || br_send_is_prefix(send->params->since, id);
}

static int br_send_since(struct br_send *send, struct br_err *reterr)
{
    const struct br_identity *held = br_source_identity(send->source);
    bool open = held->state == BR_STATE_APPLYING;
    const struct br_tree *before = open ? &held->previous_tree : &held->tree;
    const struct br_generation *generation = open ? &held->previous : &held->generation;
    struct br_hash root;

    if (held->state == BR_STATE_NONE) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "no version of %s was sent yet", send->params->label);
    }
    if (open && br_send_names(send, &held->root, &held->generation.id)) {
        before = &held->tree;
        generation = &held->generation;
    }
    br_tree_root(before, &root);
    bool known = !br_uuid_is_nil(&generation->id);
    if (!known || (strcmp(send->params->since, "last") && !br_send_names(send, &root, &generation->id))) {
        char digits[2 * BR_HASH_BYTES + 1];
        br_hash_text(&held->root, digits);
        return br_err_set(reterr, BR_E_NOT_FOUND, "version %s of %s; the one sent last is %.16s", send->params->since,
                          send->params->label, digits);
    }
    send->parent = *before;
    // Only of the newest is it known whether it has any; what is not known is looked for.
    send->parent_unreadable = before != &held->tree || held->unreadable_blocks > 0;
    send->previous = *generation;
    send->header.parent_root = root;
    send->header.parent_size_bytes = before->geometry.size_bytes;
    send->header.generation.parent_id = generation->id;
    return 0;
}

static int br_send_parent(struct br_send *send, struct br_err *reterr)
{
    if (send->params->since) {
        // First, since it moves the tree that is then taken as the parent.
        int rc = br_source_compact(send->source, reterr);
        return rc < 0 ? rc : br_send_since(send, reterr);
    }
    send->header.full = true;
    br_tree_empty(&send->geometry, &br_hash_zero, &send->parent);
    return br_source_restart(send->source, reterr);
}

static void br_send_header(struct br_send *send)
{
    const struct br_send_params *params = send->params;

    send->header = (struct br_delta_header){
        .stream_id = br_ring_new_uuid(params->ring),
        .volume = send->result->volume,
        .generation = {.counter = br_source_identity(send->source)->generation.counter + 1,
                       .id = br_ring_new_uuid(params->ring)},
        .size_bytes = params->size_bytes,
        .sector_bytes = params->sector_bytes,
        .hash_id = BR_HASH_SHA256,
        .consistency = (uint8_t)params->consistency,
        .taken_unix_ns = br_ring_unix_ns(params->ring),
    };
    snprintf(send->header.label, sizeof(send->header.label), "%s", params->label ? params->label : "");
}

// The run -----------------------------------------------------------------------------------------------------------------------------

// Before a byte of the stream is written: what was written can't be taken back.
static int br_send_scope(struct br_send *send, const struct br_pipe_params *pipe, struct br_err *reterr)
{
    struct br_tracked_params params = {
        .tracker = send->params->tracker,
        .source = send->source,
        .version = send->header.full ? NULL : &send->previous.id,
        .unreadable = send->parent_unreadable,
        .recheck_bytes = send->params->recheck_bytes,
        .recheck_period_ns = send->params->recheck_period_ns,
    };

    return br_tracked_open(&send->scope, &params, pipe, &send->result->tracked, reterr);
}

static int br_send_scan(struct br_send *send, struct br_tree *ret_tree, struct br_err *reterr)
{
    const struct br_send_params *params = send->params;
    struct br_pipe_progress progress = {0};
    struct br_pipe_params pipe = {
        .ring = params->ring,
        .source = params->source,
        .size_bytes = params->size_bytes,
        .parent = &send->parent,
        .parent_store = br_source_store(send->source),
        .page_secret = br_source_secret(send->source),
        .store = br_source_store(send->source),
        .sink = br_stream_out_sink(&send->out),
        .bytes_per_second = params->bytes_per_second,
        .continue_on_read_error = params->continue_on_read_error,
        .cancel = params->cancel,
        .progress = params->progress,
        .progress_ctx = params->progress_ctx,
    };
    int rc = br_send_scope(send, &pipe, reterr);
    if (rc < 0) {
        return rc;
    }
    pipe.changed = br_scope_changed(&send->scope);
    rc = br_pipe_run(&pipe, ret_tree, &progress, reterr);
    if (rc == -BR_E_SOURCE_MOVED || rc == -BR_E_SOURCE_READ) {
        br_err_prefix(reterr, "%s", params->label);
    }
    int drained = br_stream_out_drain(&send->out, rc < 0, rc < 0 ? NULL : reterr);
    rc = rc < 0 ? rc : drained;
    send->result->bytes_read = progress.bytes_read;
    send->result->bytes_changed = progress.bytes_changed;
    send->result->bytes_data = progress.bytes_shipped;
    send->result->zero_bytes = progress.zero_bytes;
    send->result->unreadable_blocks = progress.unreadable_blocks;
    return rc;
}

static int br_send_unmoved(struct br_send *send, struct br_err *reterr)
{
    const struct br_send_params *params = send->params;

    return br_source_unmoved(params->source, &send->seen, params->consistency, params->label, params->source_check,
                             params->source_check_ctx, reterr);
}

// Before END: APPLYING, both versions known. After END: COMPLETE. So a stream that got out is never a version that nobody here knows.
static int br_send_record(struct br_send *send, const struct br_tree *tree, bool ended, struct br_err *reterr)
{
    struct br_identity identity = {
        .state = ended ? BR_STATE_COMPLETE : BR_STATE_APPLYING,
        .volume = send->header.volume,
        .replica = send->header.volume,
        .generation = send->header.generation,
        .previous = send->previous,
        .root = send->result->root,
        .tree = *tree,
        .sector_bytes = send->header.sector_bytes,
        .consistency = send->header.consistency,
        .taken_unix_ns = send->header.taken_unix_ns,
        .finished_unix_ns = br_ring_unix_ns(send->params->ring),
        .unreadable_blocks = send->result->unreadable_blocks,
    };

    if (!ended) {
        identity.stage_id = send->header.stream_id;
        identity.stage_bytes = send->out.encoder.bytes;
        if (!send->header.full) {
            identity.previous_tree = send->parent;
        }
    }
    memcpy(identity.label, send->header.label, sizeof(identity.label));
    br_tracked_record(&send->scope, send->source, identity.finished_unix_ns, &identity);
    return br_source_record(send->source, &identity, reterr);
}

static int br_send_end(struct br_send *send, const struct br_tree *tree, struct br_err *reterr)
{
    br_tree_root(tree, &send->result->root);
    int rc = br_send_record(send, tree, false, reterr);
    rc =
        rc < 0 ? rc : br_tracked_mark(send->params->tracker, &send->header.volume, &send->header.generation.id, reterr);
    rc = rc < 0 ? rc : br_stream_out_end(&send->out, &send->result->root, reterr);
    rc = rc < 0 ? rc : br_send_record(send, tree, true, reterr);
    if (!rc) {
        br_tracked_settle(send->params->tracker, &send->header.volume, &send->header.generation.id);
    }
    return rc;
}

static int br_send_stream(struct br_send *send, struct br_err *reterr)
{
    struct br_tree tree;
    send->out = (struct br_stream_out){
        .ring = send->params->ring,
        .geometry = send->geometry,
        .level = send->params->level,
        .write = send->params->write,
        .write_ctx = send->params->write_ctx,
    };
    int rc = br_stream_out_start(&send->out, &send->header, reterr);

    rc = rc < 0 ? rc : br_send_scan(send, &tree, reterr);
    // A source that moved gets no END.
    rc = rc < 0 ? rc : br_send_unmoved(send, reterr);
    return rc < 0 ? rc : br_send_end(send, &tree, reterr);
}

static int br_send_open(struct br_send *send, struct br_err *reterr)
{
    const struct br_send_params *params = send->params;
    int rc = br_file_stat(params->source, &send->seen, reterr);

    if (!rc && !br_tree_geometry_of(params->size_bytes, &send->geometry)) {
        rc = br_err_set(reterr, BR_E_LIMIT, "%s is larger than any version can be", params->label);
    }
    if (!rc) {
        rc = br_volume_ensure(params->ring, params->dir, &send->result->volume, reterr);
    }
    if (!rc) {
        rc = br_source_open(params->ring, params->dir, &send->result->volume, false, &send->source, reterr);
    }
    return rc;
}

int br_send_run(const struct br_send_params *params, struct br_send_result *ret_result, struct br_err *reterr)
{
    uint64_t start_ns = br_ring_now_ns(params->ring);
    struct br_send_result result = {.size_bytes = params->size_bytes};
    struct br_send *send = calloc(1, sizeof(*send));

    if (!send) {
        return br_err_set(reterr, BR_E_NOMEM, "a stream");
    }
    send->params = params;
    send->result = &result;
    int rc = br_send_open(send, reterr);
    if (!rc) {
        br_send_header(send);
        rc = br_send_parent(send, reterr);
    }
    if (!rc) {
        rc = br_send_stream(send, reterr);
    }
    if (!rc) {
        result.generation = send->header.generation;
        result.parent_root = send->header.parent_root;
        result.full = send->header.full;
        result.taken_unix_ns = send->header.taken_unix_ns;
        result.stream_bytes = send->out.encoder.bytes;
        result.duration_ns = br_ring_now_ns(params->ring) - start_ns;
        *ret_result = result;
    }
    br_stream_out_free(&send->out);
    br_scope_close(&send->scope);
    br_source_close(send->source);
    free(send);
    return rc;
}
