// SPDX-License-Identifier: Apache-2.0
//
// Whom this host trusts. Two text files in the state folder, one line per entry, written whole and atomically (trust_file.h):
//
//     clients   on a server: the clients that may connect, and the one-time tokens by which new ones may pair
//     servers   on a client: the servers that it has paired with, and the key that each must show
//
//     blkrep-clients 1
//     client FINGERPRINT role=writer created=1790000000 volumes=db,www name=web%201
//     token ID role=writer created=1790000000 lifetime=3600 boot=UUID booted=12345 used=0 failures=0 volumes= verifier=BASE32
//
//     blkrep-servers 1
//     server FINGERPRINT host=backup.example port=4777 created=1790000000
//
// Values are percent-encoded where they are not plain. A line that can't be read makes the whole file CORRUPT: trust is never guessed.
#ifndef BR_NET_REGISTRY_H
#define BR_NET_REGISTRY_H

#include "engine/base/uuid.h"
#include "engine/net/address.h"
#include "engine/net/keys.h"

#define BR_CLIENTS_FILE         "clients"
#define BR_SERVERS_FILE         "servers"
#define BR_CLIENTS_MAX          1024u
#define BR_TOKENS_MAX           64u
#define BR_SERVERS_MAX          1024u
#define BR_CLIENT_NAME_BYTES    65 // with the final zero
#define BR_VOLUME_NAME_BYTES    65 // with the final zero
#define BR_VOLUME_LIST_BYTES    1024
#define BR_TOKEN_ID_BYTES       8
#define BR_TOKEN_ID_TEXT_BYTES  14 // with the final zero
#define BR_TOKEN_VERIFIER_BYTES 32

// What a client may do; each role may do what those before it may.
enum br_role {
    BR_ROLE_NONE,
    BR_ROLE_READER,   // look at replicas and verify them
    BR_ROLE_WRITER,   // and bring them to later versions
    BR_ROLE_OPERATOR, // and replace their history
    BR_ROLE_ADMIN,    // and change who may do what
};
/** br_role_text - "reader", "writer", "operator", "admin"; "none" for the rest */
const char *br_role_text(enum br_role role);
/** br_role_parse - BR_ROLE_NONE for anything else */
enum br_role br_role_parse(const char *text);

/** br_volume_name_ok - 1 to 64 of A-Z a-z 0-9 _ -, the first one a letter or digit: safe as a file name and in any list */
bool br_volume_name_ok(const char *name);
/** br_volume_list_ok - volume names with a comma between; "" is fine and means all */
bool br_volume_list_ok(const char *list);

struct br_client {
    struct br_fingerprint fingerprint;
    char name[BR_CLIENT_NAME_BYTES]; // what the client calls itself; from outside: br_quote() it
    enum br_role role;
    char volumes[BR_VOLUME_LIST_BYTES]; // "" all
    uint64_t created_unix_s;
};
/** br_client_may - true when the client's role is at least @role and the volume is one of its */
bool br_client_may(const struct br_client *client, enum br_role role, const char *volume);

// One moment as this host's clocks tell it. Within one boot only the boot clock counts, so that a wall clock that is set or wrong
// neither prolongs nor shortens anything.
struct br_moment {
    uint64_t unix_s;
    uint64_t booted_s;   // CLOCK_BOOTTIME
    struct br_uuid boot; // this boot's id; nil when the kernel doesn't tell
};
/** br_moment_now - now */
void br_moment_now(struct br_moment *ret_moment);

struct br_token {
    uint8_t id[BR_TOKEN_ID_BYTES];
    uint8_t verifier[BR_TOKEN_VERIFIER_BYTES]; // a public key: who steals this file can't pair with it
    enum br_role role;
    char volumes[BR_VOLUME_LIST_BYTES];
    struct br_moment created;
    uint64_t lifetime_s;
    bool used;
    unsigned failures;
};
/**
 * br_token_expired - whether @token is too old @now
 * After a reboot the wall clock decides, and a wall clock before the creation counts as expired: when in doubt, no.
 */
bool br_token_expired(const struct br_token *token, const struct br_moment *now);

struct br_registry {
    struct br_client *clients;
    unsigned client_count;
    struct br_token *tokens;
    unsigned token_count;
};

/** br_registry_parse - the content of a clients file; -BR_E_CORRUPT names the line. @ret_registry is to be freed only on success */
BR_MUST_CHECK int br_registry_parse(const void *bytes, size_t len, struct br_registry *ret_registry,
                                    struct br_err *reterr);
/** br_registry_encode - the reverse; fails the buffer when memory is short */
void br_registry_encode(const struct br_registry *registry, struct br_buf *content);
void br_registry_free(struct br_registry *registry);
/** br_registry_load - reads the state folder's; one that is not there is empty */
BR_MUST_CHECK int br_registry_load(int state_fd, struct br_registry *ret_registry, struct br_err *reterr);
/** br_registry_client - the entry of @fingerprint, or NULL */
struct br_client *br_registry_client(struct br_registry *registry, const struct br_fingerprint *fingerprint);
/** br_registry_token - the entry of @id, or NULL */
struct br_token *br_registry_token(struct br_registry *registry, const uint8_t id[BR_TOKEN_ID_BYTES]);
/** br_registry_put_client - adds, or replaces the one with its fingerprint; -BR_E_LIMIT */
BR_MUST_CHECK int br_registry_put_client(struct br_registry *registry, const struct br_client *client,
                                         struct br_err *reterr);
/** br_registry_put_token - adds; forgets expired ones first; -BR_E_LIMIT */
BR_MUST_CHECK int br_registry_put_token(struct br_registry *registry, const struct br_token *token,
                                        struct br_err *reterr);
/** br_registry_drop_client - true when there was one */
bool br_registry_drop_client(struct br_registry *registry, const struct br_fingerprint *fingerprint);

typedef int br_registry_change_fn(void *ctx, struct br_registry *registry, struct br_err *reterr);
/**
 * br_registry_change - read, change and durably write the registry under its lock
 * @change  edits the registry; a negative result leaves the file as it was
 * Returns what @change returned, or an error of the file.
 */
BR_MUST_CHECK int br_registry_change(int state_fd, br_registry_change_fn *change, void *ctx, struct br_err *reterr);

struct br_server {
    struct br_fingerprint fingerprint;
    struct br_address address;
    uint64_t created_unix_s;
};
struct br_servers {
    struct br_server *list;
    unsigned count;
};
/** br_servers_parse - the content of a servers file; as br_registry_parse() */
BR_MUST_CHECK int br_servers_parse(const void *bytes, size_t len, struct br_servers *ret_servers,
                                   struct br_err *reterr);
/** br_servers_encode - the reverse */
void br_servers_encode(const struct br_servers *servers, struct br_buf *content);
void br_servers_free(struct br_servers *servers);
/** br_servers_load - reads the state folder's; one that is not there is empty */
BR_MUST_CHECK int br_servers_load(int state_fd, struct br_servers *ret_servers, struct br_err *reterr);
/** br_servers_find - the server at @address; -BR_E_AUTH when this host has not paired with it */
BR_MUST_CHECK int br_servers_find(int state_fd, const struct br_address *address, struct br_server *ret_server,
                                  struct br_err *reterr);
/** br_servers_keep - durably add @server, or replace what is known of its address */
BR_MUST_CHECK int br_servers_keep(int state_fd, const struct br_server *server, struct br_err *reterr);

#endif
