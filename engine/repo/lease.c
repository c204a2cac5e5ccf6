// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/lease.h"

#include <errno.h>
#include <stdio.h>

int br_lease_held(struct br_repo *repo, const struct br_lease *lease, struct br_err *reterr)
{
    int rc = br_lease_ended(repo, lease, reterr);

    return rc > 0 ? br_err_set(reterr, BR_E_BUSY,
                               "a prune took this run for dead, since it stood still for so long: run it again")
                  : rc;
}

#define NAMES_MAX 255u // of one point

static int put(struct br_repo *repo, const char *name, int rc, struct br_buf *bytes, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);

    rc = rc < 0 ? rc : store->ops->put(store->ctx, name, bytes->data, bytes->len, reterr);
    br_buf_free(bytes);
    return rc;
}

static int remove_now(struct br_repo *repo, const char *name, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    int rc = store->ops->remove(store->ctx, name, reterr);

    return rc < 0 ? rc : store->ops->settle(store->ctx, reterr);
}

static bool is_gone(int rc, const struct br_err *err)
{
    return rc == -BR_E_NOT_FOUND && (err->os_errno == ENOENT || !err->os_errno);
}

// Leases ------------------------------------------------------------------------------------------------------------------------------

struct lease_list {
    struct br_repo *repo;
    br_lease_fn *fn;
    void *ctx;
};

static int take_lease(void *ctx, const char *name)
{
    const struct lease_list *list = ctx;
    struct br_lease lease = {0};
    struct br_uuid run;
    struct br_buf bytes = {0};
    struct br_object object;
    const struct br_key *key = NULL;
    struct br_err err = {0};

    if (!br_name_parse_lease(name, &run)) {
        return 0;
    }
    int rc = br_repo_object_read(list->repo, name, &bytes, &object, &key, &err);
    rc = rc < 0 ? rc : br_lease_open(name, bytes.data, bytes.len, key, &lease, &err);
    br_buf_free(&bytes);
    if (is_gone(rc, &err)) {
        return 0; // it has just ended
    }
    lease.run = run;
    return list->fn(list->ctx, &lease, rc, &err);
}

int br_lease_each(struct br_repo *repo, br_lease_fn *fn, void *ctx, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct lease_list list = {.repo = repo, .fn = fn, .ctx = ctx};

    return store->ops->list(store->ctx, "leases/", take_lease, &list, reterr);
}

int br_lease_ended(struct br_repo *repo, const struct br_lease *lease, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    char name[BR_OBJECT_NAME_BYTES];
    struct br_err err = {0};
    uint64_t bytes;

    br_name_point(&lease->volume, &lease->point, name);
    int rc = store->ops->size(store->ctx, name, &bytes, &err);
    if (is_gone(rc, &err)) {
        return 0;
    }
    if (rc < 0 && reterr) {
        *reterr = err;
    }
    return rc < 0 ? rc : 1;
}

int br_lease_give_up(struct br_repo *repo, const struct br_lease *lease, const char *host, const char *why,
                     struct br_err *reterr)
{
    struct br_point_mark mark = {
        .volume = lease->volume, .point = lease->point, .made_unix_ns = br_ring_unix_ns(br_repo_ring_of(repo))};
    struct br_object object;
    struct br_buf bytes = {0};
    const struct br_key *key = NULL;
    char name[BR_OBJECT_NAME_BYTES];

    snprintf(mark.host, sizeof(mark.host), "%s", host ? host : "");
    snprintf(mark.why, sizeof(mark.why), "%s", why);
    br_name_point(&mark.volume, &mark.point, name);
    int rc = br_repo_object_new(repo, BR_OBJECT_TOMBSTONE, &object, &key, reterr);
    rc = rc < 0 ? rc : br_point_mark_seal(&mark, &object, key, &bytes, reterr);
    rc = put(repo, name, rc, &bytes, reterr);
    return rc == -BR_E_EXISTS ? 0 : rc < 0 ? rc : 1;
}

int br_lease_tombstone_of(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *point,
                          struct br_err *reterr)
{
    const struct br_lease lease = {.volume = *volume, .point = *point};
    struct br_point there;
    struct br_err err = {0};
    int rc = br_repo_point(repo, volume, point, &there, NULL, &err);

    if (br_store_is_lost(rc) && reterr) {
        *reterr = err;
    }
    if (rc != -BR_E_NOT_FOUND) {
        return br_store_is_lost(rc) ? rc : 0;
    }
    // What is there and yet no point that could be found is one, unless the point was put in between.
    rc = br_lease_ended(repo, &lease, reterr);
    if (rc > 0) {
        rc = br_repo_point(repo, volume, point, &there, NULL, &err);
        if (br_store_is_lost(rc) && reterr) {
            *reterr = err;
        }
        rc = br_store_is_lost(rc) ? rc : rc == -BR_E_NOT_FOUND;
    }
    return rc;
}

static struct br_uuid name_behind(const struct br_uuid *id, unsigned n)
{
    struct br_uuid behind = *id;

    behind.bytes[BR_UUID_BYTES - 1] = (uint8_t)(behind.bytes[BR_UUID_BYTES - 1] + n);
    return behind;
}

int br_lease_find_point(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                        struct br_point *ret_point, struct br_err *reterr)
{
    for (unsigned n = 0; n < NAMES_MAX; n++) {
        const struct br_uuid name = name_behind(id, n);
        int rc = br_repo_point(repo, volume, &name, ret_point, NULL, reterr);

        if (rc != -BR_E_NOT_FOUND) {
            return rc < 0 ? rc : 1;
        }
        rc = br_lease_tombstone_of(repo, volume, &name, reterr);
        if (rc <= 0) {
            *ret_point = (struct br_point){.volume = *volume, .id = name};
            return rc;
        }
    }
    return br_err_set(reterr, BR_E_LIMIT, "the point was given up %u times", NAMES_MAX);
}

int br_lease_given_id(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                      struct br_uuid *ret_given, struct br_err *reterr)
{
    unsigned n = 0;
    int rc = 1;

    while (rc > 0 && n < NAMES_MAX) {
        const struct br_uuid before = name_behind(id, 255 - n);

        rc = br_lease_tombstone_of(repo, volume, &before, reterr);
        n += rc > 0;
    }
    *ret_given = name_behind(id, 256 - n);
    return BR_MIN(rc, 0);
}

struct taking {
    struct br_repo *repo;
    struct br_lease *lease;
    struct br_err *reterr;
};

static int see_list(void *ctx, const char *name)
{
    struct br_lease *lease = ctx;

    if (lease->seen_count < BR_LEASE_SEEN_MAX && br_name_parse_doomed(name, &lease->seen[lease->seen_count])) {
        lease->seen_count++;
    }
    return 0;
}

// The source is held by one run at a time: an earlier one of this host is dead, whoever killed it.
static int end_earlier(void *ctx, const struct br_lease *lease, int rc, const struct br_err *err)
{
    const struct taking *taking = ctx;
    const struct br_lease *own = taking->lease;

    (void)err;
    if (rc < 0 || !*own->host || br_uuid_equal(&lease->run, &own->run) ||
        !br_uuid_equal(&lease->volume, &own->volume) || strcmp(lease->host, own->host) != 0 ||
        strcmp(lease->label, own->label) != 0) {
        return 0;
    }
    struct br_err why = {0};
    rc = br_lease_give_up(taking->repo, lease, own->host, "another run of its host and source began", &why);
    // A server lets nobody but operators do this: then the lease stays until a prune.
    if (rc == -BR_E_AUTH || rc == -BR_E_PERMISSION || rc == -BR_E_REFUSED) {
        return 0;
    }
    if (rc < 0) {
        if (taking->reterr) {
            *taking->reterr = why;
        }
        return rc;
    }
    br_lease_drop(taking->repo, lease);
    return 0;
}

int br_lease_take(struct br_repo *repo, struct br_lease *lease, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct taking taking = {.repo = repo, .lease = lease, .reterr = reterr};
    struct br_repo_refreshed refreshed;
    struct br_object object;
    struct br_buf bytes = {0};
    const struct br_key *key = NULL;
    char name[BR_OBJECT_NAME_BYTES];

    lease->begun_unix_ns = br_ring_unix_ns(br_repo_ring_of(repo));
    lease->seen_count = 0;
    br_name_lease(&lease->run, name);
    int rc = store->ops->list(store->ctx, "doomed/", see_list, lease, reterr);
    rc = rc < 0 ? rc : br_repo_object_new(repo, BR_OBJECT_LEASE, &object, &key, reterr);
    rc = rc < 0 ? rc : br_lease_seal(lease, &object, key, &bytes, reterr);
    rc = put(repo, name, rc, &bytes, reterr);
    if (rc < 0) {
        return rc;
    }
    // In this order: a list that is gone when lists are read has had its packs deleted before, and the index hears of it.
    rc = br_lease_each(repo, end_earlier, &taking, reterr);
    rc = rc < 0 ? rc : br_doomed_avoid(repo, reterr);
    rc = rc < 0 ? rc : br_repo_refresh(repo, &refreshed, reterr);
    if (rc < 0) {
        br_lease_drop(repo, lease);
    }
    return rc;
}

void br_lease_drop(struct br_repo *repo, const struct br_lease *lease)
{
    char name[BR_OBJECT_NAME_BYTES];

    br_name_lease(&lease->run, name);
    (void)!remove_now(repo, name, NULL);
}

// Doomed packs ------------------------------------------------------------------------------------------------------------------------

struct doomed_list {
    struct br_repo *repo;
    br_doomed_fn *fn;
    void *ctx;
    struct br_err *reterr;
};

static int take_doomed(void *ctx, const char *name)
{
    const struct doomed_list *list = ctx;
    struct br_doomed doomed = {0};
    struct br_uuid id;
    struct br_buf bytes = {0};
    struct br_object object;
    const struct br_key *key = NULL;
    struct br_err err = {0};

    if (!br_name_parse_doomed(name, &id)) {
        return 0;
    }
    int rc = br_repo_object_read(list->repo, name, &bytes, &object, &key, &err);
    rc = rc < 0 ? rc : br_doomed_open(name, bytes.data, bytes.len, key, &doomed, &err);
    br_buf_free(&bytes);
    if (is_gone(rc, &err)) {
        return 0; // its prune has just ended
    }
    if (rc < 0) {
        if (list->reterr) {
            *list->reterr = err;
        }
        return rc;
    }
    qsort(doomed.salts, doomed.count, sizeof(*doomed.salts), br_salt_order);
    rc = list->fn(list->ctx, &doomed);
    free(doomed.salts);
    return rc;
}

int br_doomed_each(struct br_repo *repo, br_doomed_fn *fn, void *ctx, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct doomed_list list = {.repo = repo, .fn = fn, .ctx = ctx, .reterr = reterr};

    return store->ops->list(store->ctx, "doomed/", take_doomed, &list, reterr);
}

struct avoiding {
    struct br_index *index;
    struct br_err *reterr;
};

static int avoid(void *ctx, const struct br_doomed *doomed)
{
    const struct avoiding *avoiding = ctx;

    return br_index_avoid(avoiding->index, doomed->salts, doomed->count, avoiding->reterr);
}

int br_doomed_avoid(struct br_repo *repo, struct br_err *reterr)
{
    struct avoiding avoiding = {.index = br_repo_index_of(repo), .reterr = reterr};

    br_index_avoid_none(avoiding.index);
    return br_doomed_each(repo, avoid, &avoiding, reterr);
}

int br_doomed_put(struct br_repo *repo, const struct br_doomed *doomed, struct br_err *reterr)
{
    struct br_object object;
    struct br_buf bytes = {0};
    const struct br_key *key = NULL;
    char name[BR_OBJECT_NAME_BYTES];
    int rc = br_repo_object_new(repo, BR_OBJECT_DOOMED, &object, &key, reterr);

    br_name_doomed(&doomed->id, name);
    rc = rc < 0 ? rc : br_doomed_seal(doomed, &object, key, &bytes, reterr);
    return put(repo, name, rc, &bytes, reterr);
}

// Holds -------------------------------------------------------------------------------------------------------------------------------

int br_hold_put(struct br_repo *repo, const struct br_point_mark *hold, struct br_err *reterr)
{
    struct br_object object;
    struct br_buf bytes = {0};
    const struct br_key *key = NULL;
    char name[BR_OBJECT_NAME_BYTES];
    int rc = br_repo_object_new(repo, BR_OBJECT_HOLD, &object, &key, reterr);

    br_name_hold(&hold->volume, &hold->point, name);
    rc = rc < 0 ? rc : br_point_mark_seal(hold, &object, key, &bytes, reterr);
    return put(repo, name, rc, &bytes, reterr);
}

int br_hold_remove(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *point,
                   struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    char name[BR_OBJECT_NAME_BYTES];
    uint64_t bytes;

    br_name_hold(volume, point, name);
    int rc = store->ops->size(store->ctx, name, &bytes, reterr);
    return rc < 0 ? rc : remove_now(repo, name, reterr);
}

struct hold_list {
    struct br_repo *repo;
    br_hold_fn *fn;
    void *ctx;
};

static int take_hold(void *ctx, const char *name)
{
    const struct hold_list *list = ctx;
    struct br_point_mark hold = {0};
    struct br_uuid volume, point;
    struct br_buf bytes = {0};
    struct br_object object;
    const struct br_key *key = NULL;
    struct br_err err = {0};

    if (!br_name_parse_hold(name, &volume, &point)) {
        return 0;
    }
    int rc = br_repo_object_read(list->repo, name, &bytes, &object, &key, &err);
    rc = rc < 0 ? rc : br_point_mark_open(name, bytes.data, bytes.len, key, &hold, &err);
    br_buf_free(&bytes);
    if (is_gone(rc, &err)) {
        return 0;
    }
    hold.volume = volume;
    hold.point = point;
    return list->fn(list->ctx, &hold, rc, &err);
}

int br_hold_each(struct br_repo *repo, br_hold_fn *fn, void *ctx, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct hold_list list = {.repo = repo, .fn = fn, .ctx = ctx};

    return store->ops->list(store->ctx, "holds/", take_hold, &list, reterr);
}
