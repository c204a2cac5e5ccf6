// SPDX-License-Identifier: Apache-2.0
#include "engine/sync/local.h"

#include <stdio.h>

#include "engine/sync/source.h"

struct br_local {
    struct br_replica *replica;
    struct br_local_params params;
    char holds[128];
    bool active; // a delta is under way
};

static int br_local_origin(const struct br_local *local, struct br_uuid *ret_origin, struct br_err *reterr)
{
    memset(ret_origin, 0, sizeof(*ret_origin));
    int rc = local->params.replica.dir ? br_volume_load(local->params.replica.dir, ret_origin, reterr) : 0;
    return rc < 0 ? rc : 0;
}

static int br_local_info(void *ctx, struct br_endpoint_info *ret_info, struct br_err *reterr)
{
    struct br_local *local = ctx;
    struct br_endpoint_info info = {
        .capacity_bytes = local->params.capacity_bytes,
        .is_block = local->params.is_block,
        .may_write = true,
        .may_replace = true,
    };
    struct br_file_info file = {0};

    int rc = local->params.replica.read_only || local->active ? 0 : br_replica_finish(local->replica, reterr);
    if (rc < 0) {
        return rc;
    }
    if (local->params.replica.file) {
        rc = br_file_stat(local->params.replica.file, &file, reterr);
    }
    if (rc >= 0) {
        rc = br_local_origin(local, &info.origin, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    info.identity = *br_replica_identity(local->replica);
    info.zero = !local->params.is_block && !file.size_bytes;
    info.empty = info.identity.state == BR_STATE_NONE && info.zero;
    if (info.identity.state == BR_STATE_NONE && local->params.is_block && !local->holds[0]) {
        info.empty = true; // a look found nothing on the device
    }
    memcpy(info.holds, local->holds, sizeof(info.holds));
    *ret_info = info;
    return 0;
}

static int br_local_fetch_nodes(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                                struct br_err *reterr)
{
    struct br_local *local = ctx;
    const struct br_tree_store *store = br_replica_store(local->replica);

    if (!store) {
        return br_err_set(reterr, BR_E_CORRUPT, "the replica's tree file can't be used");
    }
    struct br_tree_store copy = *store;
    return br_tree_store_fetch_many(&copy, links, count, ret_nodes, reterr);
}

static int br_local_begin(void *ctx, const struct br_replica_begin *begin, bool overwrite, struct br_err *reterr)
{
    struct br_local *local = ctx;

    (void)overwrite; // who may overwrite what is the caller's decision; begin->discard_version carries it out
    int rc = br_replica_begin(local->replica, begin, reterr);
    local->active = !rc;
    return rc;
}

static int br_local_batch(void *ctx, const struct br_batch *batch, br_release_fn *release, void *release_ctx,
                          struct br_err *reterr)
{
    struct br_local *local = ctx;

    return br_replica_batch(local->replica, batch, release, release_ctx, reterr);
}

static int br_local_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct br_local *local = ctx;

    return br_replica_run(local->replica, run, reterr);
}

static int br_local_held(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                         struct br_err *reterr)
{
    struct br_local *local = ctx;

    return br_replica_held(local->replica, from, ret_blocks, most, ret_count, reterr);
}

static int br_local_keep(void *ctx, const struct br_keep *keep, struct br_err *reterr)
{
    struct br_local *local = ctx;

    return br_replica_keep(local->replica, keep, reterr);
}

static int br_local_commit(void *ctx, const struct br_delta_end *end, uint64_t recheck_bytes,
                           struct br_replica_result *ret_result, struct br_err *reterr)
{
    struct br_local *local = ctx;

    local->active = false;
    return br_replica_commit(local->replica, end, recheck_bytes, ret_result, reterr);
}

static void br_local_abort(void *ctx)
{
    struct br_local *local = ctx;

    local->active = false;
    br_replica_abort(local->replica);
}

static int br_local_recheck(void *ctx, uint64_t recheck_bytes, struct br_replica_result *ret_result,
                            struct br_err *reterr)
{
    struct br_local *local = ctx;

    return br_replica_recheck(local->replica, recheck_bytes, ret_result, reterr);
}

static int br_local_push(void *ctx, struct br_err *reterr)
{
    struct br_local *local = ctx;

    return br_replica_push(local->replica, reterr);
}

static uint64_t br_local_durable(void *ctx)
{
    struct br_local *local = ctx;

    return br_replica_durable(local->replica);
}

static int br_local_verify(void *ctx, br_verify_progress_fn *progress, void *progress_ctx, uint64_t *ret_bad_blocks,
                           struct br_err *reterr)
{
    struct br_local *local = ctx;

    return br_replica_verify(local->replica, progress, progress_ctx, ret_bad_blocks, reterr);
}

static void br_local_close(void *ctx)
{
    struct br_local *local = ctx;

    br_replica_close(local->replica);
    free(local);
}

static const struct br_endpoint_ops br_local_ops = {
    .info = br_local_info,
    .fetch_nodes = br_local_fetch_nodes,
    .begin = br_local_begin,
    .batch = br_local_batch,
    .run = br_local_run,
    .held = br_local_held,
    .keep = br_local_keep,
    .commit = br_local_commit,
    .abort = br_local_abort,
    .recheck = br_local_recheck,
    .push = br_local_push,
    .durable = br_local_durable,
    .verify = br_local_verify,
    .close = br_local_close,
};

int br_local_open(const struct br_local_params *params, struct br_endpoint *ret_endpoint, struct br_err *reterr)
{
    struct br_local *local = calloc(1, sizeof(*local));

    if (!local) {
        return br_err_set(reterr, BR_E_NOMEM, "a local endpoint");
    }
    local->params = *params;
    snprintf(local->holds, sizeof(local->holds), "%s", params->holds ? params->holds : "");
    local->params.holds = NULL;
    int rc = br_replica_open(&params->replica, &local->replica, reterr);
    if (rc < 0) {
        free(local);
        return rc;
    }
    *ret_endpoint = (struct br_endpoint){.ops = &br_local_ops, .ctx = local};
    return 0;
}

struct br_replica *br_local_replica(const struct br_endpoint *endpoint)
{
    const struct br_local *local = endpoint->ctx;

    return local->replica;
}
