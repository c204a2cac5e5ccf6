// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/copy.h"

#include <openssl/evp.h>

#include "engine/repo/lease.h"
#include "engine/repo/verify.h"

struct copying {
    const struct br_copy_params *params;
    struct br_endpoint far;
    struct br_uuid domain; // in the target
    struct br_point there; // what the copy is compared with, as the target has it
    struct br_point here;  // the same, as the source has it
    bool has_parent;
};

static void domain_of(const struct copying *copying, struct br_uuid *ret_domain)
{
    static const char what[] = "blkrep domain of a copy";
    uint8_t bytes[sizeof(what) + 2 * BR_UUID_BYTES], hash[32];

    memcpy(bytes, what, sizeof(what));
    memcpy(bytes + sizeof(what), br_repo_config_of(copying->params->from)->repository.bytes, BR_UUID_BYTES);
    memcpy(bytes + sizeof(what) + BR_UUID_BYTES, copying->params->point->domain.bytes, BR_UUID_BYTES);
    if (EVP_Digest(bytes, sizeof(bytes), hash, NULL, EVP_sha256(), NULL) != 1) {
        abort(); // no memory for a hash: no version could be named either
    }
    *ret_domain = br_uuid_make(hash);
}

// Has the source this point of the target, whose name there may be a later one?
static bool is_in(const struct br_copy_params *params, const struct br_point *there, struct br_point *ret_here)
{
    struct br_uuid given;

    return !br_repo_point(params->from, &there->volume, &there->id, ret_here, NULL, NULL) ||
           (!br_lease_given_id(params->to, &there->volume, &there->id, &given, NULL) &&
            !br_uuid_equal(&given, &there->id) &&
            !br_repo_point(params->from, &there->volume, &given, ret_here, NULL, NULL));
}

// The newest point before this one that both have, in the domain that the copy will be in; else the newest after it.
static int take_parent(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct copying *copying = ctx;
    const struct br_copy_params *params = copying->params;
    const struct br_point *wanted = params->point;
    struct br_point here;

    (void)err;
    bool before = point->counter < wanted->counter, had_before = copying->there.counter < wanted->counter;
    bool better = !copying->has_parent || (before && !had_before) ||
                  (before == had_before && point->counter > copying->there.counter);
    // The source is asked last, and of few.
    if (rc >= 0 && better && br_uuid_equal(&point->domain, &copying->domain) && is_in(params, point, &here) &&
        br_hash_equal(&here.root, &point->root)) {
        copying->there = *point;
        copying->here = here;
        copying->has_parent = true;
    }
    return 0;
}

static int find_parent(struct copying *copying, struct br_err *reterr)
{
    const struct br_point *point = copying->params->point;

    // A full point shares nothing, there as here.
    return point->type == BR_POINT_FULL
               ? 0
               : br_repo_points(copying->params->to, &point->volume, take_parent, copying, reterr);
}

static int copy_batch(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                      struct br_err *reterr)
{
    const struct copying *copying = ctx;

    return copying->far.ops->batch(copying->far.ctx, batch, release, release_ctx, reterr);
}

static int copy_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    const struct copying *copying = ctx;

    return copying->far.ops->run(copying->far.ctx, run, reterr);
}

static int copy_keep(void *ctx, const struct br_keep *keep, struct br_err *reterr)
{
    const struct copying *copying = ctx;

    return br_backup_keep(&copying->far, keep, reterr);
}

static int copy_held(void *ctx, const struct br_hash *leaf, struct br_err *reterr)
{
    const struct copying *copying = ctx;

    return br_backup_held(&copying->far, leaf, reterr);
}

static int transfer(struct copying *copying, struct br_copy_result *result, struct br_err *reterr)
{
    const struct br_copy_params *params = copying->params;
    const struct br_endpoint_ops *far = copying->far.ops;
    struct br_replica_begin begin = {
        .mode = copying->has_parent ? BR_MODE_DELTA : BR_MODE_FIRST, .keeps_nothing = true, .leaves_proven = true};
    struct br_replica_result written;
    struct br_delta_end end;
    const struct br_point_delta_params delta = {
        .repo = params->from,
        .point = params->point,
        .since = copying->has_parent ? &copying->here : NULL,
        .sink = {.batch = copy_batch, .run = copy_run, .keep = copy_keep, .ctx = copying},
        .held = copy_held,
        .held_ctx = copying,
        .cancel = params->cancel,
        .progress = params->progress,
        .progress_ctx = params->progress_ctx,
    };

    br_point_delta_header(params->from, params->point, delta.since, &begin.header);
    int rc = far->begin(copying->far.ctx, &begin, false, reterr);
    if (rc < 0) {
        return rc;
    }
    rc = br_point_delta(&delta, &end, &result->read, reterr);
    rc = rc < 0 ? rc : far->commit(copying->far.ctx, &end, 0, &written, reterr);
    result->counts = br_backup_counts(&copying->far);
    if (rc < 0) {
        far->abort(copying->far.ctx);
    } else {
        result->point = *br_backup_point(&copying->far);
    }
    return rc;
}

static int go(struct copying *copying, const struct br_backup_params *backup, struct br_copy_result *result,
              struct br_err *reterr)
{
    int rc = br_backup_open(backup, &copying->far, reterr);

    rc = rc < 0 ? rc : transfer(copying, result, reterr);
    if (copying->far.ops) {
        copying->far.ops->close(copying->far.ctx);
    }
    copying->far = (struct br_endpoint){0};
    return rc;
}

// Points whose object is damaged ------------------------------------------------------------------------------------------------------

struct renewing {
    struct copying *copying;
    const struct br_point *point; // as the source has it
    bool found;
    struct br_uuid domain;    // tried last; with found the one
    struct br_uuid neighbour; // of another point of its volume, for when none is the one; nil none
    bool has_previous;
    struct br_point previous; // the newest of its volume before it
    struct br_err *reterr;
};

// Is the point's tree there, in this domain? 1 or 0; one that has no node is everywhere.
static int holds_tree(const struct renewing *renewing, const struct br_uuid *domain, struct br_err *reterr)
{
    struct br_repo *to = renewing->copying->params->to;
    struct br_index_chunk chunk;
    struct br_chunk_id id;
    struct br_mac *mac = NULL;
    struct br_tree tree;
    int rc = br_point_tree(renewing->point, &tree, reterr);

    if (rc < 0 || !tree.top.ref) {
        return rc < 0 ? rc : 1;
    }
    rc = br_domain_mac(&br_repo_config_of(to)->id_secret, domain, &mac, reterr);
    rc = rc < 0 ? rc : br_chunk_id_node(mac, &tree.top.hash, &id, reterr);
    rc = rc < 0 ? rc : br_index_find(br_repo_index_of(to), &id, &chunk, reterr);
    br_mac_close(mac);
    return rc;
}

static int try_domain(struct renewing *renewing, const struct br_uuid *domain)
{
    if (renewing->found || br_uuid_is_nil(domain) || br_uuid_equal(domain, &renewing->domain)) {
        return 0;
    }
    int rc = holds_tree(renewing, domain, renewing->reterr);
    renewing->domain = *domain;
    renewing->found = rc > 0;
    return BR_MIN(rc, 0);
}

static int take_domain(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct renewing *renewing = ctx;
    const struct br_point *wanted = renewing->point;
    bool of_volume = br_uuid_equal(&point->volume, &wanted->volume);

    (void)err;
    if (rc < 0) {
        return 0;
    }
    if (of_volume && point->counter < wanted->counter &&
        (!renewing->has_previous || point->counter > renewing->previous.counter)) {
        renewing->previous = *point;
        renewing->has_previous = true;
    }
    if (of_volume && point->type != BR_POINT_FULL) {
        renewing->neighbour = point->domain;
    }
    return try_domain(renewing, &point->domain);
}

// The point as its repository's object said, as far as anybody still knows: what a copy keeps, and where its data lies.
static int renewed(struct copying *copying, struct br_point *ret_point, struct br_err *reterr)
{
    const struct br_copy_params *params = copying->params;
    struct renewing renewing = {.copying = copying, .point = params->point, .reterr = reterr};
    struct br_hash hash = br_hash_zero;
    struct br_uuid derived;

    domain_of(copying, &derived);
    int rc = br_repo_points(params->to, NULL, take_domain, &renewing, reterr);
    rc = rc < 0 ? rc : try_domain(&renewing, &params->domain);
    rc = rc < 0 ? rc : try_domain(&renewing, &derived);
    // Where no domain has its tree, its data is stored as that of a copy is, or is shared with what its volume has else.
    if (!renewing.found) {
        bool alone = params->point->type == BR_POINT_FULL || br_uuid_is_nil(&renewing.neighbour);

        renewing.domain = alone ? derived : renewing.neighbour;
    }
    if (rc >= 0 && renewing.has_previous) {
        rc = br_repo_point(params->to, &renewing.previous.volume, &renewing.previous.id, &renewing.previous, &hash,
                           reterr);
    }
    *ret_point = *params->point;
    ret_point->domain = renewing.domain;
    ret_point->previous = hash;
    ret_point->made_unix_ns = br_ring_unix_ns(br_repo_ring_of(params->to));
    return BR_MIN(rc, 0);
}

// Is all there that the point needs, and will it stay? Then nothing of the other repository is read but its point. Returns 1 when it is made anew, 0 not
// all is there.
static int renew_whole(const struct br_copy_params *params, const struct br_point *here, struct br_err *reterr)
{
    struct br_lease lease = {.volume = here->volume};
    const struct br_repo_verify_params whole = {.repo = params->to, .points = here, .point_count = 1, .lasting = true};
    struct br_repo_verify_result looked;

    lease.run = br_ring_new_uuid(br_repo_ring_of(params->to));
    lease.point = br_ring_new_uuid(br_repo_ring_of(params->to)); // that of one that is there would have ended it
    int rc = br_lease_take(params->to, &lease, reterr);
    if (rc < 0) {
        return rc;
    }
    rc = br_repo_verify(&whole, &looked, reterr);
    bool all = !rc && !looked.points_incomplete && !looked.packs_damaged;
    rc = all ? br_lease_held(params->to, &lease, reterr) : rc;
    rc = !rc && all ? br_repo_renew_point(params->to, here, reterr) : rc;
    br_lease_drop(params->to, &lease);
    return rc < 0 ? rc : all;
}

static int repair(struct copying *copying, const struct br_backup_params *params_of_copy, struct br_copy_result *result,
                  struct br_err *reterr)
{
    const struct br_copy_params *params = copying->params;
    const struct br_uuid *id = params->repaired ? params->repaired : &params->point->id;
    struct br_point *here = &result->point;
    int rc;

    if (params->renew) {
        rc = renewed(copying, here, reterr);
        here->id = *id;
        rc = rc || params->repair->count ? rc : renew_whole(params, here, reterr);
        if (rc) {
            return BR_MIN(rc, 0);
        }
    } else {
        rc = br_repo_point(params->to, &params->point->volume, id, here, NULL, NULL);
        if (rc < 0 || !br_hash_equal(&here->root, &params->point->root)) {
            return br_err_set(reterr, rc < 0 ? -rc : BR_E_CORRUPT, "the repository that is repaired has no such point");
        }
    }
    const struct br_point as = *here;
    struct br_backup_params backup = *params_of_copy;
    backup.type = as.type;
    backup.as = &as;
    backup.domain = as.domain;
    backup.alone = true;
    backup.repair = params->repair;
    backup.renew = params->renew;
    return go(copying, &backup, result, reterr);
}

int br_copy_point(const struct br_copy_params *params, struct br_copy_result *ret_result, struct br_err *reterr)
{
    struct copying copying = {.params = params};
    struct br_backup_params backup = {.repo = params->to,
                                      .volume = params->point->volume,
                                      .type = params->point->type,
                                      .level = params->level,
                                      .as = params->point};

    *ret_result = (struct br_copy_result){0};
    if (params->repair) {
        return repair(&copying, &backup, ret_result, reterr);
    }
    int rc = br_lease_find_point(params->to, &params->point->volume, &params->point->id, &ret_result->point, reterr);
    if (rc > 0 && !br_hash_equal(&ret_result->point.root, &params->point->root)) {
        return br_err_set(reterr, BR_E_EXISTS, "a point of that id and another content is there");
    }
    if (rc) {
        ret_result->was_there = rc > 0;
        return BR_MIN(rc, 0);
    }
    domain_of(&copying, &copying.domain);
    rc = find_parent(&copying, reterr);
    if (rc < 0) {
        return rc;
    }
    backup.domain = copying.domain;
    backup.alone = !copying.has_parent;
    backup.parent = copying.there.id;
    backup.parent_as = copying.here.id;
    backup.given = true;
    rc = go(&copying, &backup, ret_result, reterr);
    if (copying.has_parent && (rc == -BR_E_VERIFY || rc == -BR_E_WRONG_PARENT)) {
        // What it was compared with is gone, damaged, or about to go: what is missing of the point itself is stored.
        copying.has_parent = false;
        backup.alone = true;
        rc = go(&copying, &backup, ret_result, reterr);
    }
    return rc;
}
