// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/objects.h"

#include <stdio.h>

#include "engine/repo/object_dump.h"

struct checking {
    struct br_repo *repo;
    void (*bad)(void *ctx, const char *what);
    void *ctx;
    struct br_objects_checked *checked;
    struct br_buf bytes;
    struct br_err *reterr;
};

static void found_bad(const struct checking *c, const char *name, const char *why)
{
    char what[sizeof(((struct br_err *)0)->text) + BR_OBJECT_NAME_BYTES];

    c->checked->damaged++;
    snprintf(what, sizeof(what), "%s: %s", name, why);
    c->bad(c->ctx, what);
}

static int no_line(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    return 0;
}

// What a store that has failed gives is no finding.
static int judge(const struct checking *c, const char *name, int rc, const struct br_err *err)
{
    if (rc == -BR_E_NOT_FOUND || !rc) {
        return 0;
    }
    if (rc == -BR_E_NOMEM || br_store_is_lost(rc)) {
        if (c->reterr) {
            *c->reterr = *err;
        }
        return rc;
    }
    found_bad(c, name, err->text[0] ? err->text : br_err_name(err->code));
    return 0;
}

static bool was_shredded(const struct checking *c, const char *name)
{
    size_t count;
    const struct br_repo_epoch_info *infos = br_repo_epochs(c->repo, &count);
    uint32_t epoch;
    bool known = br_repo_epoch_of(c->repo, name, &epoch, NULL) >= 0;

    for (size_t i = 0; known && i < count; i++) {
        if (infos[i].number == epoch) {
            return infos[i].shredded;
        }
    }
    return false;
}

static int check_one(void *ctx, const char *name)
{
    const struct checking *c = ctx;
    struct br_uuid id, other;
    struct br_err err = {0};
    uint32_t epoch;
    unsigned note;

    if (!br_name_parse_epoch(name, &epoch) && !br_name_parse_shredded(name, &epoch) &&
        !br_name_parse_lease(name, &id) && !br_name_parse_doomed(name, &id) && !br_name_parse_hold(name, &id, &other) &&
        !br_name_parse_history(name, &id, &other, &note)) {
        return 0; // no name of ours
    }
    c->checked->objects++;
    int rc = br_object_dump(c->repo, name, false, no_line, NULL, &err);
    return rc == -BR_E_KEY && was_shredded(c, name) ? 0 : judge(c, name, rc, &err);
}

// Keys --------------------------------------------------------------------------------------------------------------------------------

// A key that opened the repository has proven itself. Of any other its sum tells, which is looked for by who sees the key, and the other way round.
static int check_key(struct checking *c, const char *name, const struct br_uuid *id)
{
    struct br_repo_key key;
    struct br_hash sum, is;
    struct br_object object;
    const struct br_key *master;
    struct br_err err = {0};
    char sum_name[BR_OBJECT_NAME_BYTES];

    c->checked->objects++;
    br_name_key_sum(id, sum_name);
    int rc = br_repo_object_read(c->repo, sum_name, &c->bytes, &object, &master, &err);
    if (rc == -BR_E_NOT_FOUND) {
        c->checked->unproven++;
        err = (struct br_err){0};
        br_buf_reset(&c->bytes);
        rc = br_store_read_all(br_repo_store_of(c->repo), name, BR_OBJECT_BYTES_MAX, &c->bytes, &err);
        rc = rc < 0 ? rc : br_repo_key_look(name, c->bytes.data, c->bytes.len, &key, &err);
        return judge(c, name, rc, &err);
    }
    rc = rc < 0 ? rc : br_key_sum_open(sum_name, c->bytes.data, c->bytes.len, master, &sum, &err);
    if (rc < 0) {
        return 0; // told of the sum itself
    }
    br_buf_reset(&c->bytes);
    rc = br_store_read_all(br_repo_store_of(c->repo), name, BR_OBJECT_BYTES_MAX, &c->bytes, &err);
    rc = rc < 0 ? rc : br_key_sum_of(c->bytes.data, c->bytes.len, &is, &err);
    if (!rc && !br_hash_equal(&sum, &is)) {
        found_bad(c, name, "is not what it was, and opens nothing: blkrep key remove it, and add it anew");
    }
    return judge(c, name, rc, &err);
}

static int check_key_sum(struct checking *c, const char *name, const struct br_uuid *id)
{
    struct br_err err = {0};
    char key_name[BR_OBJECT_NAME_BYTES];
    const struct br_store *store = br_repo_store_of(c->repo);
    uint64_t size;

    c->checked->objects++;
    int rc = br_object_dump(c->repo, name, false, no_line, NULL, &err);
    if (!rc) {
        br_name_key(id, key_name);
        rc = store->ops->size(store->ctx, key_name, &size, &err);
        // Who removes a key removes the sum first.
        if (rc == -BR_E_NOT_FOUND && !store->ops->size(store->ctx, name, &size, NULL)) {
            found_bad(c, key_name, "is gone, and nobody has removed it");
        }
    }
    return judge(c, name, rc, &err);
}

static int check_below_keys(void *ctx, const char *name)
{
    struct checking *c = ctx;
    struct br_uuid id;

    return br_name_parse_key(name, &id)       ? check_key(c, name, &id)
           : br_name_parse_key_sum(name, &id) ? check_key_sum(c, name, &id)
                                              : 0;
}

int br_objects_check(struct br_repo *repo, bool notes, void (*bad)(void *ctx, const char *what), void *ctx,
                     struct br_objects_checked *ret_checked, struct br_err *reterr)
{
    static const char *const folders[] = {"epochs/", "leases/", "doomed/", "holds/"};
    struct checking c = {.repo = repo, .bad = bad, .ctx = ctx, .checked = ret_checked, .reterr = reterr};
    const struct br_store *store = br_repo_store_of(repo);

    *ret_checked = (struct br_objects_checked){0};
    int rc = store->ops->list(store->ctx, "keys/", check_below_keys, &c, reterr);
    for (size_t i = 0; rc >= 0 && i < BR_ARRAY_LEN(folders); i++) {
        rc = store->ops->list(store->ctx, folders[i], check_one, &c, reterr);
    }
    rc = rc < 0 || !notes ? rc : store->ops->list(store->ctx, "history/", check_one, &c, reterr);
    br_buf_free(&c.bytes);
    return BR_MIN(rc, 0);
}
