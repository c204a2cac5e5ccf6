// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/history.h"

#include <openssl/evp.h>

void br_history_host(const char *host, struct br_uuid *ret_host)
{
    uint8_t hash[32];

    if (EVP_Digest(host, strlen(host), hash, NULL, EVP_sha256(), NULL) != 1) {
        abort(); // no memory for a hash: nothing could be named either
    }
    memcpy(ret_host->bytes, hash, BR_UUID_BYTES);
}

int br_history_put(struct br_repo *repo, const char *host, const struct br_uuid *run, unsigned note, const char *text,
                   size_t len, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct br_object object = {
        .kind = BR_OBJECT_HISTORY, .epoch = br_repo_epoch(repo), .repository = br_repo_config_of(repo)->repository};
    const struct br_key *key = NULL;
    struct br_buf bytes = {0};
    struct br_uuid host_id;
    char name[BR_OBJECT_NAME_BYTES];

    if (len > BR_HISTORY_BYTES_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "a note of %zu bytes", len);
    }
    br_history_host(host, &host_id);
    br_name_history(&host_id, run, note, name);
    br_ring_random(store->ring, object.salt, sizeof(object.salt));
    int rc = br_repo_writable(repo, reterr);
    rc = rc < 0 ? rc : br_repo_epoch_key(repo, object.epoch, &key, reterr);
    rc = rc < 0 ? rc : br_object_seal(&object, name, key, NULL, 0, text, len, &bytes, reterr);
    rc = rc < 0 ? rc : store->ops->put(store->ctx, name, bytes.data, bytes.len, reterr);
    br_buf_free(&bytes);
    return rc;
}

int br_history_read(struct br_repo *repo, const char *name, struct br_buf *text, struct br_err *reterr)
{
    const struct br_key *key = NULL;
    struct br_object object;
    struct br_buf bytes = {0};
    int rc = br_store_read_all(br_repo_store_of(repo), name, BR_OBJECT_BYTES_MAX, &bytes, reterr);

    rc = rc < 0 ? rc : br_object_head(bytes.data, bytes.len, &object, NULL, NULL, reterr);
    if (!rc && (object.kind != BR_OBJECT_HISTORY ||
                !br_uuid_equal(&object.repository, &br_repo_config_of(repo)->repository))) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "%s: is no note, or another repository's", name);
    }
    rc = rc < 0 ? rc : br_repo_epoch_key(repo, object.epoch, &key, reterr);
    rc = rc < 0 ? rc : br_object_open(bytes.data, bytes.len, name, key, text, reterr);
    br_buf_free(&bytes);
    if (!rc) {
        br_buf_u8(text, 0);
        rc = br_buf_failed(text) ? br_err_set(reterr, BR_E_NOMEM, "a note") : 0;
    }
    return rc;
}

struct listing {
    struct br_repo *repo;
    br_history_fn *fn;
    void *ctx;
};

static int list_note(void *ctx, const char *name)
{
    const struct listing *listing = ctx;
    struct br_buf text = {0};
    struct br_uuid host, run;
    struct br_err err = {0};
    unsigned note;

    if (!br_name_parse_history(name, &host, &run, &note)) {
        return 0;
    }
    int rc = br_history_read(listing->repo, name, &text, &err);
    // Removed meanwhile, or with the key of its epoch.
    int stop = rc == -BR_E_NOT_FOUND || rc == -BR_E_KEY
                   ? 0
                   : listing->fn(listing->ctx, &run, note, rc ? "" : (const char *)text.data, rc, &err);
    br_buf_free(&text);
    return stop;
}

int br_history_list(struct br_repo *repo, br_history_fn *fn, void *ctx, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct listing listing = {.repo = repo, .fn = fn, .ctx = ctx};

    return store->ops->list(store->ctx, "history/", list_note, &listing, reterr);
}
