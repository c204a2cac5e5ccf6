// SPDX-License-Identifier: Apache-2.0
//
// One connection of blkrep serve that speaks of a repository: which, what may this client do there, and what is written of it into log and
// audit trail. Owners of volumes, and what clients took of their limits, lie in STATE/stores/UUID.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blkrep_version.h"
#include "engine/repo/repo.h"
#include "engine/repo/store_guard.h"
#include "engine/repo/store_session.h"
#include "tools/audit.h"
#include "tools/place.h"
#include "tools/repository.h"
#include "tools/serve.h"

#define SERVE_STORE_REFUSALS_MAX 20u // told of in one session

struct serve_store {
    struct serve *serve;
    const struct br_client *client;
    const char *peer; // its address
    struct br_ring *ring;
    char name[BR_VOLUME_NAME_BYTES]; // of the repository
    unsigned refusals;
};

// A line that can't be written is said on stderr: what it would record has happened already.
static void store_audit(struct serve_store *store, const char *act, const char *object, const struct br_err *why)
{
    json_t *details = trust_client_json(store->client);
    struct br_err err = {0};

    json_object_set_new(details, "address", cli_json_text(store->peer));
    json_object_set_new(details, "repository", cli_json_text(store->name));
    if (why) {
        json_object_set_new(details, "error", json_string(br_err_name(why->code)));
        json_object_set_new(details, "text", cli_json_text(why->text));
    }
    if (audit_append(store->serve->cli, act, object, details, &err)) {
        cli_warn(store->serve->cli, "the audit log lacks a line (%s of %s): %s", act, object, err.text);
    }
}

static const char *store_who(const struct serve_store *store)
{
    return *store->client->name ? store->client->name : "a client";
}

static void store_refused(void *ctx, const char *name, const struct br_err *why)
{
    struct serve_store *store = ctx;
    char shown[300];

    br_quote(name, shown, sizeof(shown));
    if (++store->refusals > SERVE_STORE_REFUSALS_MAX) {
        return; // enough was said of this session
    }
    cli_warn(store->serve->cli, "%s (%s): repository %s: refused: %s%s", store_who(store), store->peer, store->name,
             why->text, store->refusals == SERVE_STORE_REFUSALS_MAX ? "; of this session no more is told" : "");
    store_audit(store, "refused", shown, why);
}

static void store_stored(void *ctx, const char *name, bool removed)
{
    struct serve_store *store = ctx;
    struct br_uuid volume, point;
    uint8_t salt[BR_SALT_BYTES];

    if (br_name_parse_pack(name, salt)) {
        return; // a prune removes thousands
    }
    if (!removed && br_name_parse_point(name, &volume, &point)) {
        cli_say(store->serve->cli, "%s (%s): repository %s has %s", store_who(store), store->peer, store->name, name);
    }
    store_audit(store, removed ? "remove" : "put", name, NULL);
}

// Where the repository is; its directory is made for an admin who makes it.
static int store_path(struct serve_store *store, bool make, const char **ret_path, struct br_err *reterr)
{
    const struct conf *conf = store->serve->conf;
    const char *path =
        conf_has(conf, "repository", store->name) ? conf_get(conf, "repository", store->name, "path") : NULL;

    if (!path || !conf_flag(conf, "repository", store->name, "serve") || path[0] != '/') {
        return br_err_set(
            reterr, BR_E_NOT_FOUND,
            "this server keeps no repository %s: add [repository %s] with its path and serve = yes, there", store->name,
            store->name);
    }
    if (make && mkdir(path, 0700) && errno != EEXIST) {
        return br_err_os(reterr, errno, "making %s", path);
    }
    *ret_path = path;
    return 0;
}

static int store_records(struct serve_store *store, const struct br_uuid *repository, struct br_dir **ret_dir,
                         struct br_err *reterr)
{
    char leaf[80], uuid[BR_UUID_TEXT_BYTES];
    int fd = -1;

    br_uuid_text(repository, uuid);
    snprintf(leaf, sizeof(leaf), "stores/%s", uuid);
    int error = place_state_dir(store->serve->cli, leaf, &fd, reterr);
    return error ? error : br_dir_wrap(store->ring, fd, ret_dir, reterr);
}

// Where it would be is the server's business.
static int not_made(const struct serve_store *store, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_NOT_FOUND,
                      "repository %s is not made yet: a client that is an admin here does that (blkrep init)",
                      store->name);
}

static int store_open_it(struct serve_store *store, bool write, struct br_store *ret_store, struct br_err *reterr)
{
    const struct conf *conf = store->serve->conf;
    struct br_repo_config config = {0};
    struct br_store_guard_params params = {
        .role = store->client->role,
        .write = write,
        .client = store->client->fingerprint,
        .limits = {.points = conf_number(conf, "repository", store->name, "points-per-day"),
                   .objects = conf_number(conf, "repository", store->name, "objects-per-day"),
                   .bytes = conf_size(conf, "repository", store->name, "bytes-per-day")},
        .adopt = conf_flag(conf, "repository", store->name, "adopt"),
        .refused = store_refused,
        .refused_ctx = store,
    };
    const char *path = NULL;
    int error = store_path(store, write && params.role >= BR_ROLE_ADMIN, &path, reterr);

    error = error ? error : repository_store(store->ring, path, false, !write, &params.store, reterr);
    if (error) {
        return error == -BR_E_NOT_FOUND && path ? not_made(store, reterr) : error;
    }
    error = br_repo_look(&params.store, &config, reterr);
    if (error == -BR_E_NOT_FOUND) { // none yet: an admin may make one
        error = params.role < BR_ROLE_ADMIN ? not_made(store, reterr) : 0;
    }
    params.repository = config.repository;
    error = error ? error : store_records(store, &config.repository, &params.records, reterr);
    if (error) {
        params.store.ops->close(params.store.ctx);
        return error;
    }
    return br_store_guard_open(&params, ret_store, reterr);
}

static int store_open(void *ctx, const char *repository, uint8_t role, struct br_store *ret_store, uint8_t *ret_role,
                      struct br_err *reterr)
{
    struct serve_store *store = ctx;
    const struct br_client *client = store->client;
    struct br_err why = {0};
    const char *path;
    char shown[300];
    int rc = 0;

    br_quote(repository, shown, sizeof(shown));
    if (!br_volume_name_ok(repository)) {
        rc = br_err_set(&why, BR_E_NOT_FOUND, "%s can't be a repository's name", shown);
    }
    snprintf(store->name, sizeof(store->name), "%s", rc ? "?" : repository);
    rc = rc ? rc : store_path(store, false, &path, &why);
    if (!rc &&
        (role < BR_ROLE_READER || role > BR_ROLE_ADMIN || !br_client_may(client, (enum br_role)role, repository))) {
        rc = br_err_set(&why, BR_E_AUTH, "this client is a %s of %s, which does not let it use %s that way",
                        br_role_text(client->role), trust_volumes_text(client->volumes), shown);
    }
    rc = rc || role < BR_ROLE_WRITER ? rc : audit_ready(store->serve->cli, &why);
    rc = rc ? rc : store_open_it(store, role >= BR_ROLE_WRITER, ret_store, &why);
    if (rc) {
        if (rc != -BR_E_NOT_FOUND) { // a client asks for a repository to learn whether it is a replica
            store_refused(store, repository, &why);
        }
        *reterr = why;
        return rc;
    }
    *ret_role = (uint8_t)client->role;
    return 0;
}

int serve_store(struct serve *serve, struct br_tls *tls, const struct br_client *client, struct br_err *reterr)
{
    struct serve_store store = {.serve = serve, .client = client, .peer = br_tls_peer_text(tls)};
    struct br_store_session_params params = {
        .channel = br_tls_channel(tls),
        .host = {.open = store_open, .stored = store_stored, .ctx = &store},
        .program = "blkrep " BR_VERSION,
    };
    struct br_store_session *session = NULL;
    int rc = place_ring(serve->cli, &store.ring, reterr);

    rc = rc ? rc : br_tls_welcome(tls, reterr);
    params.ring = store.ring;
    rc = rc ? rc : br_store_session_open(&params, &session, reterr);
    rc = rc ? rc : br_store_session_serve(session, &cli_cancel, reterr);
    br_store_session_close(session);
    if (store.ring) {
        br_ring_close(store.ring);
    }
    return rc;
}
