// SPDX-License-Identifier: Apache-2.0
//
// One connection of blkrep serve, in its own process: handshake, who is it, then pairing or a sync session.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blkrep_version.h"
#include "engine/net/pairing.h"
#include "engine/sync/local.h"
#include "engine/sync/session.h"
#include "tools/audit.h"
#include "tools/place.h"
#include "tools/serve.h"

#define SERVE_FINISH_NS (5 * BR_NS_PER_S)

struct serve_child {
    struct serve *serve;
    struct br_tls *tls;
    struct br_ring *ring;
    struct br_client client; // as the registry had it when the session began
    struct stat registry;    // of the file, when it was last read
    enum br_role as;         // what it opened the volume as
    struct place place;
    bool place_open;
};

// Who ------------------------------------------------------------------------------------------------------------------------

static bool serve_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int serve_look_up(struct serve_child *child, struct br_client *ret_client, struct br_err *reterr)
{
    struct br_registry registry;
    char fingerprint[BR_FINGERPRINT_TEXT_BYTES];
    int rc = br_registry_load(child->serve->trust.state_fd, &registry, reterr);

    if (rc) {
        return rc;
    }
    const struct br_client *client = br_registry_client(&registry, br_tls_peer(child->tls));
    if (client) {
        *ret_client = *client;
    } else {
        br_fingerprint_text(br_tls_peer(child->tls), fingerprint);
        rc = br_err_set(
            reterr, BR_E_AUTH,
            "this server does not let the key %s in: run `blkrep token create` here, then `blkrep pair` on the client",
            fingerprint);
    }
    br_registry_free(&registry);
    return rc;
}

// On the connection's thread, twice a second: is the client still as it was let in? The file is replaced whole at each change.
static int serve_watch(void *ctx, struct br_err *reterr)
{
    struct serve_child *child = ctx;
    struct br_client now;
    struct stat st = {0};

    if (fstatat(child->serve->trust.state_fd, BR_CLIENTS_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        serve_same_file(&st, &child->registry)) {
        return 0;
    }
    if (serve_look_up(child, &now, reterr)) {
        return br_err_set(reterr, BR_E_AUTH, "this client was revoked");
    }
    if (now.role != child->client.role || strcmp(now.volumes, child->client.volumes) != 0) {
        return br_err_set(reterr, BR_E_AUTH, "what this client may do was changed; connect again");
    }
    child->registry = st;
    return 0;
}

// Audit ----------------------------------------------------------------------------------------------------------------------

static json_t *serve_details(const struct serve_child *child)
{
    json_t *details = trust_client_json(&child->client);

    json_object_set_new(details, "address", cli_json_text(br_tls_peer_text(child->tls)));
    return details;
}

// A line that can't be written is said on stderr: what it would record has happened already.
static void serve_audit(struct serve_child *child, const char *act, const char *object, json_t *details)
{
    struct br_err err = {0};

    if (audit_append(child->serve->cli, act, object, details, &err)) {
        cli_warn(child->serve->cli, "the audit log lacks a line (%s of %s): %s", act, object, err.text);
    }
}

static void serve_audit_refusal(struct serve_child *child, const char *object, const struct br_err *why)
{
    json_t *details = serve_details(child);

    json_object_set_new(details, "error", json_string(br_err_name(why->code)));
    json_object_set_new(details, "text", cli_json_text(why->text));
    serve_audit(child, "refused", object, details);
}

// Volumes --------------------------------------------------------------------------------------------------------------------

// Where a volume lies: its own section, else a plain file in the common folder.
static int serve_locate(const struct conf *conf, const char *volume, char path[PATH_MAX], bool *ret_in_directory,
                        struct br_err *reterr)
{
    const char *own = conf_has(conf, "replica", volume) ? conf_get(conf, "replica", volume, "path") : NULL;
    const char *directory = conf_get(conf, "serve", "", "directory");
    struct stat st;

    *ret_in_directory = !own;
    if (own) {
        snprintf(path, PATH_MAX, "%s", own);
        return 0;
    }
    if (!directory) {
        return br_err_set(
            reterr, BR_E_NOT_FOUND,
            "this server has no replica %s: add [replica %s] with its path, or directory= to [serve], there", volume,
            volume);
    }
    if (access(directory, F_OK)) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "the server's directory %s is not there", directory);
    }
    if (snprintf(path, PATH_MAX, "%s/%s", directory, volume) >= PATH_MAX) {
        return br_err_set(reterr, BR_E_CONFIG, "the server's directory has a name that is too long");
    }
    if (!lstat(path, &st) && !S_ISREG(st.st_mode)) { // no client can make one, so whoever did means something by it
        return br_err_set(reterr, BR_E_REFUSED, "%s in the server's directory is not a plain file", volume);
    }
    return 0;
}

static int serve_open_endpoint(struct serve_child *child, const char *volume, bool write, bool in_directory,
                               bool discard_damaged, struct br_endpoint *ret_endpoint, struct br_err *reterr)
{
    const struct conf *conf = child->serve->conf;
    struct place *place = &child->place;
    struct br_local_params params = {
        .replica = {.ring = child->ring,
                    .dir = place->dir,
                    .file = place->file,
                    .parent = place->parent,
                    .name = place->object.is_block ? NULL : place->name,
                    .what = volume,
                    .read_only = !write,
                    .discard_damaged = discard_damaged},
        .capacity_bytes = place->object.is_block ? place->object.size_bytes
                          : in_directory         ? conf_size(conf, "serve", "", "volume-max")
                                                 : UINT64_MAX,
        .is_block = place->object.is_block,
        .holds = place->holds,
    };

    return br_local_open(&params, ret_endpoint, reterr);
}

static int serve_open(struct serve_child *child, const char *volume, enum br_role role, bool discard_damaged, bool plan,
                      struct br_session_volume *ret_volume, struct br_err *reterr)
{
    const struct br_client *client = &child->client;
    enum place_mode look = plan ? PLACE_PLAN : PLACE_LOOK;
    const struct conf *conf = child->serve->conf;
    bool in_directory, write = role >= BR_ROLE_WRITER;
    char path[PATH_MAX];
    int rc = serve_locate(conf, volume, path, &in_directory, reterr);

    if (rc) {
        return rc;
    }
    rc = place_open(child->serve->cli, child->ring, path, write ? PLACE_TARGET : look, &child->place, reterr);
    if (rc) {
        return rc;
    }
    rc = serve_open_endpoint(child, volume, write, in_directory, discard_damaged, &ret_volume->endpoint, reterr);
    if (rc) {
        place_close(&child->place, true);
        return rc;
    }
    child->place_open = true;
    ret_volume->may_write = write || (plan && br_client_may(client, BR_ROLE_WRITER, volume));
    ret_volume->may_replace =
        client->role >= BR_ROLE_OPERATOR || (!in_directory && conf_flag(conf, "replica", volume, "overwrite"));
    return 0;
}

// Who it is, for the log: the name that the client gave itself, and where it is.
static void serve_who(const struct serve_child *child, char *text, size_t text_size)
{
    snprintf(text, text_size, "%s (%s)", *child->client.name ? child->client.name : "a client",
             br_tls_peer_text(child->tls));
}

static int serve_open_volume(void *ctx, const char *volume, uint8_t role, bool discard_damaged, bool plan,
                             struct br_session_volume *ret_volume, struct br_err *reterr)
{
    struct serve_child *child = ctx;
    struct br_err why = {0};
    char shown[300];
    int rc;

    br_quote(volume, shown, sizeof(shown));
    if (!br_volume_name_ok(volume)) {
        rc = br_err_set(&why, BR_E_NOT_FOUND, "%s can't be a replica's name: it is made of up to 64 of A-Z a-z 0-9 _ -",
                        shown);
    } else if (role < BR_ROLE_READER || role > BR_ROLE_ADMIN ||
               !br_client_may(&child->client, (enum br_role)role, volume)) {
        rc = br_err_set(&why, BR_E_AUTH, "this client is a %s of %s, which does not let it use %s that way",
                        br_role_text(child->client.role), trust_volumes_text(child->client.volumes), shown);
    } else {
        rc = role >= BR_ROLE_WRITER ? audit_ready(child->serve->cli, &why) : 0;
        rc = rc ? rc : serve_open(child, volume, (enum br_role)role, discard_damaged, plan, ret_volume, &why);
    }
    if (rc) {
        char who[BR_ADDRESS_TEXT_BYTES + BR_CLIENT_NAME_BYTES + 8];
        serve_who(child, who, sizeof(who));
        cli_warn(child->serve->cli, "%s: %s was refused: %s: %s", who, shown, br_err_message(why.code), why.text);
        serve_audit_refusal(child, shown, &why);
        *reterr = why;
        return rc;
    }
    child->as = (enum br_role)role;
    return 0;
}

static void serve_begun(void *ctx, const char *volume, const struct br_delta_header *header)
{
    struct serve_child *child = ctx;
    json_t *details = serve_details(child);

    json_object_set_new(details, "as", json_string(br_role_text(child->as)));
    json_object_set_new(details, "path", cli_json_text(child->place.path));
    json_object_set_new(details, "full", json_boolean(header->full));
    json_object_set_new(details, "generation", json_integer((json_int_t)header->generation.counter));
    serve_audit(child, "begin", volume, details);
}

static void serve_finished(void *ctx, const char *volume, const struct br_delta_header *header,
                           const struct br_replica_result *result, const struct br_err *err)
{
    struct serve_child *child = ctx;
    json_t *details = serve_details(child);
    char who[BR_ADDRESS_TEXT_BYTES + BR_CLIENT_NAME_BYTES + 8], written[32];

    serve_who(child, who, sizeof(who));
    cli_bytes(child->serve->cli, result->bytes_written, written, sizeof(written));
    if (err->code) {
        cli_warn(child->serve->cli, "%s: %s was not committed: %s: %s", who, volume, br_err_message(err->code),
                 err->text);
    } else {
        cli_say(child->serve->cli, "%s: %s is at generation %llu, %s written", who, volume,
                (unsigned long long)header->generation.counter, written);
        json_object_set_new(details, "generation", json_integer((json_int_t)header->generation.counter));
    }
    json_object_set_new(details, "bytes_written", json_integer((json_int_t)result->bytes_written));
    json_object_set_new(details, "bytes_durable", json_integer((json_int_t)result->bytes_durable));
    if (err->code) {
        json_object_set_new(details, "error", json_string(br_err_name(err->code)));
        json_object_set_new(details, "text", cli_json_text(err->text));
    }
    serve_audit(child, err->code ? "commit-failed" : "commit", volume, details);
}

// The connection -------------------------------------------------------------------------------------------------------------

static int serve_session(struct serve_child *child, struct br_err *reterr)
{
    struct br_channel channel = br_tls_channel(child->tls);
    struct br_session_params params = {
        .channel = channel,
        .host = {.open_volume = serve_open_volume, .begun = serve_begun, .finished = serve_finished, .ctx = child},
        .program = "blkrep " BR_VERSION,
    };
    struct br_session *session = NULL;
    int rc = place_ring(child->serve->cli, &child->ring, reterr);

    rc = rc ? rc : br_tls_welcome(child->tls, reterr);
    params.ring = child->ring;
    rc = rc ? rc : br_session_open(&params, &session, reterr);
    rc = rc ? rc : br_session_serve(session, &cli_cancel, reterr);
    br_session_close(session);
    if (child->place_open) {
        place_close(&child->place, true);
    }
    if (child->ring) {
        br_ring_close(child->ring);
    }
    return rc;
}

// Asks the parent. Of a proven peer: is there room for its session? Of a stranger: may one more be told of?
static enum serve_answer serve_ask(int parent_fd, char byte)
{
    ssize_t got = send(parent_fd, &byte, 1, MSG_NOSIGNAL);

    while (got == 1 && (got = recv(parent_fd, &byte, 1, 0)) < 0 && errno == EINTR && !cli_cancel) {
        got = 1;
    }
    return got == 1 ? (enum serve_answer)byte : SERVE_NO_ANSWER;
}

static void serve_pairing(struct serve_child *child, int parent_fd)
{
    struct br_moment now;
    struct br_err why = {0};
    char fingerprint[BR_FINGERPRINT_TEXT_BYTES];

    br_moment_now(&now);
    child->client = (struct br_client){.fingerprint = *br_tls_peer(child->tls)};
    br_fingerprint_text(&child->client.fingerprint, fingerprint);
    if (audit_ready(child->serve->cli, &why)) {
        br_tls_turn_away(child->tls, why.code, "this server can't write its audit log");
        if (serve_ask(parent_fd, SERVE_STRANGER) != SERVE_HUSH) {
            cli_warn(child->serve->cli, "pairing refused: %s", why.text);
        }
        return;
    }
    if (br_pair_serve(child->tls, child->serve->trust.state_fd, br_keys_fingerprint(child->serve->trust.keys), &now,
                      &child->client, &why)) {
        if (serve_ask(parent_fd, SERVE_UNPAIRED) != SERVE_HUSH) {
            cli_warn(child->serve->cli, "%s could not pair: %s", br_tls_peer_text(child->tls), why.text);
            serve_audit_refusal(child, fingerprint, &why);
        }
    } else {
        serve_audit(child, "pair", fingerprint, serve_details(child));
        cli_say(child->serve->cli, "paired with %s as %s from %s", fingerprint, br_role_text(child->client.role),
                br_tls_peer_text(child->tls));
    }
    br_tls_channel(child->tls).ops->close(child->tls);
}

static void serve_known(struct serve_child *child)
{
    struct br_channel channel = br_tls_channel(child->tls);
    struct br_err why = {0};
    char peer[BR_ADDRESS_TEXT_BYTES];

    snprintf(peer, sizeof(peer), "%s", br_tls_peer_text(child->tls));
    br_tls_watch(child->tls, serve_watch, child);
    int rc = br_tls_protocol_of(child->tls) == BR_TLS_STORE
                 ? serve_store(child->serve, child->tls, &child->client, &why)
                 : serve_session(child, &why);
    if (rc) {
        br_tls_goodbye(child->tls, why.code, why.text);
        cli_warn(child->serve->cli, "a session from %s ended: %s: %s", peer, br_err_message(-rc), why.text);
    }
    br_tls_finish(child->tls, SERVE_FINISH_NS);
    channel.ops->close(child->tls);
}

int serve_connection(struct serve *serve, int fd, int parent_fd)
{
    const struct conf *conf = serve->conf;
    struct serve_child child = {.serve = serve, .place = {.look_fd = -1}};
    struct br_tls_options options = {
        .handshake_timeout_ns = conf_duration_ns(conf, "serve", "", "handshake-timeout"),
        .dead_ns = conf_duration_ns(conf, "serve", "", "idle-timeout"),
        .receive_bytes_per_second = conf_size(conf, "serve", "", "bwlimit"),
    };
    struct br_err why = {0};
    int rc = br_tls_accept(fd, serve->trust.keys, &options, &child.tls, &why);

    if (rc) {
        if (serve_ask(parent_fd, SERVE_STRANGER) != SERVE_HUSH) {
            cli_warn(serve->cli, "a connection was refused: %s: %s", br_err_message(-rc), why.text);
        }
        return BR_EXIT_PEER;
    }
    if (br_tls_protocol_of(child.tls) == BR_TLS_PAIRING) {
        serve_pairing(&child, parent_fd);
        return BR_EXIT_OK;
    }
    if (fstatat(serve->trust.state_fd, BR_CLIENTS_FILE, &child.registry, AT_SYMLINK_NOFOLLOW)) {
        child.registry = (struct stat){0};
    }
    rc = serve_look_up(&child, &child.client, &why);
    if (rc) {
        if (serve_ask(parent_fd, SERVE_STRANGER) != SERVE_HUSH) {
            cli_warn(serve->cli, "%s was turned away: %s", br_tls_peer_text(child.tls), why.text);
        }
        br_tls_turn_away(child.tls, why.code, why.text);
        return BR_EXIT_PEER;
    }
    switch (serve_ask(parent_fd, SERVE_PROVEN)) {
    case SERVE_GO: serve_known(&child); return BR_EXIT_OK;
    case SERVE_FULL:
        br_tls_turn_away(child.tls, BR_E_BUSY,
                         "this server has as many sessions as it may (sessions-max); come back later");
        return BR_EXIT_BUSY;
    case SERVE_FULL_ADDRESS:
        br_tls_turn_away(child.tls, BR_E_BUSY,
                         "this address has as many sessions as it may (sessions-per-address); come back later");
        return BR_EXIT_BUSY;
    case SERVE_HUSH:
    case SERVE_NO_ANSWER: break;
    }
    br_tls_turn_away(child.tls, BR_E_CANCELLED, "the server is being stopped");
    return BR_EXIT_PEER;
}
