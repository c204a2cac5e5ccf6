// SPDX-License-Identifier: Apache-2.0
//
// blkrep client list, blkrep client revoke: whom this server trusts.
#include "tools/audit.h"
#include "tools/trust.h"
#include "tools/verbs.h"

#define CLIENT_PREFIX_LEAST 6 // characters of a fingerprint that may stand for all of it

static int client_list_run(struct cli *cli, struct br_err *reterr)
{
    struct br_registry registry = {0};
    struct trust trust = {.state_fd = -1};
    json_t *list = json_array();
    int rc = trust_open(cli, &trust, reterr);

    rc = rc ? rc : br_registry_load(trust.state_fd, &registry, reterr);
    for (unsigned i = 0; !rc && i < registry.client_count; i++) {
        const struct br_client *client = &registry.clients[i];
        char fingerprint[BR_FINGERPRINT_TEXT_BYTES], created[32], name[4 * BR_CLIENT_NAME_BYTES + 3];
        br_fingerprint_text(&client->fingerprint, fingerprint);
        br_time_text(client->created_unix_s * BR_NS_PER_S, created, sizeof(created));
        br_quote(client->name, name, sizeof(name));
        cli_print(cli, "%s  %-8s  %s  %s  %s", fingerprint, br_role_text(client->role), created, name,
                  trust_volumes_text(client->volumes));
        json_t *entry = trust_client_json(client);
        json_object_set_new(entry, "created", json_string(created));
        json_array_append_new(list, entry);
    }
    if (!rc && !registry.client_count) {
        cli_say(cli, "No client is paired with this server; `blkrep token create` is how one gets to be.");
    }
    cli_report_json(cli, "clients", list);
    br_registry_free(&registry);
    trust_close(&trust);
    return rc;
}

static const struct cli_field client_list_fields[] = {
    {"clients", "list", "Of the clients, in the order in which they paired."},
    {"clients[].fingerprint", "text", "Of its key."},
    {"clients[].name", "text", "What it calls itself."},
    {"clients[].role", "text", "reader, writer, operator or admin."},
    {"clients[].volumes", "text", "Names with a comma between; empty means all."},
    {"clients[].created", "text", "When it paired, UTC."},
    {NULL, NULL, NULL},
};

static const struct cli_example client_list_examples[] = {
    {"blkrep client list", "Show whom this server lets in."},
    {NULL, NULL},
};

const struct cli_verb cmd_client_list = {
    .name = "client list",
    .args = "",
    .summary = "List the clients that this server lets in.",
    .description =
        "One line for each paired client: the fingerprint of its key, its role, when it paired, what it calls itself, and which "
        "replicas it may use.",
    .examples = client_list_examples,
    .see_also = "blkrep-client-revoke(1), blkrep-token-create(1)",
    .schema = "blkrep.client-list/1",
    .fields = client_list_fields,
    .run = client_list_run,
};

// Which client a word means: a fingerprint, the beginning of one, or a name; it must be one only.
static int client_find(const struct br_registry *registry, const char *word, const struct br_client **ret_client,
                       struct br_err *reterr)
{
    const struct br_client *found = NULL;
    char shown[300];
    unsigned matches = 0;

    for (unsigned i = 0; i < registry->client_count; i++) {
        const struct br_client *client = &registry->clients[i];
        char fingerprint[BR_FINGERPRINT_TEXT_BYTES];
        br_fingerprint_text(&client->fingerprint, fingerprint);
        bool prefix = strlen(word) >= CLIENT_PREFIX_LEAST && !strncmp(fingerprint, word, strlen(word));
        if (prefix || !strcmp(client->name, word)) {
            found = client;
            matches++;
        }
    }
    br_quote(word, shown, sizeof(shown));
    if (matches > 1) {
        return br_err_set(reterr, BR_E_USAGE, "%u clients are called %s: give the fingerprint of the one meant",
                          matches, shown);
    }
    if (!found) {
        return br_err_set(
            reterr, BR_E_NOT_FOUND,
            "no client of this server is called %s, nor does a fingerprint begin with that and at least %d characters; see "
            "blkrep client list",
            shown, CLIENT_PREFIX_LEAST);
    }
    *ret_client = found;
    return 0;
}

struct client_revocation {
    const char *word;
    struct br_client client;
};

static int client_drop(void *ctx, struct br_registry *registry, struct br_err *reterr)
{
    struct client_revocation *revocation = ctx;
    const struct br_client *client;
    int rc = client_find(registry, revocation->word, &client, reterr);

    if (!rc) {
        revocation->client = *client;
        br_registry_drop_client(registry, &revocation->client.fingerprint);
    }
    return rc;
}

static int client_revoke_run(struct cli *cli, struct br_err *reterr)
{
    struct client_revocation revocation = {.word = cli->args[0]};
    struct trust trust = {.state_fd = -1};
    char fingerprint[BR_FINGERPRINT_TEXT_BYTES];
    int rc = trust_open(cli, &trust, reterr);

    rc = rc ? rc : audit_ready(cli, reterr);
    rc = rc ? rc : br_registry_change(trust.state_fd, client_drop, &revocation, reterr);
    if (!rc) {
        br_fingerprint_text(&revocation.client.fingerprint, fingerprint);
        cli_say(cli, "Revoked %s. Open sessions of it end within a second.", fingerprint);
        cli_report_json(cli, "client", trust_client_json(&revocation.client));
        rc = audit_append(cli, "client-revoke", fingerprint, trust_client_json(&revocation.client), reterr);
    }
    trust_close(&trust);
    return rc;
}

static const struct cli_field client_revoke_fields[] = {
    {"client", "object", "Who was let in until now."},
    {"client.fingerprint", "text", "Of its key."},
    {"client.name", "text", "What it calls itself."},
    {"client.role", "text", "reader, writer, operator or admin."},
    {"client.volumes", "text", "Names with a comma between; empty means all."},
    {NULL, NULL, NULL},
};

static const struct cli_example client_revoke_examples[] = {
    {"blkrep client revoke web1", "Let the client that calls itself web1 in no more."},
    {NULL, NULL},
};

const struct cli_verb cmd_client_revoke = {
    .name = "client revoke",
    .args = "CLIENT",
    .args_min = 1,
    .args_max = 1,
    .summary = "Let a client in no more.",
    .description =
        "CLIENT is a fingerprint as `blkrep client list` shows it, at least six characters of its beginning, or the client's "
        "name if no other has the same. Sessions that it has open end within a second; a version that is being applied at that "
        "moment is still finished, what was not committed is dropped. To come back the client must pair anew.",
    .examples = client_revoke_examples,
    .see_also = "blkrep-client-list(1)",
    .schema = "blkrep.client-revoke/1",
    .fields = client_revoke_fields,
    .run = client_revoke_run,
};
