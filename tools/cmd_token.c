// SPDX-License-Identifier: Apache-2.0
//
// blkrep token create: one line of text that lets one client pair with this server, once. blkrep token list: those that still can.
#include <unistd.h>

#include "engine/net/base32.h"
#include "engine/net/pairing.h"
#include "tools/audit.h"
#include "tools/trust.h"
#include "tools/verbs.h"

static int token_audit(struct cli *cli, const struct br_token_text *token, enum br_role role, const char *volumes,
                       uint64_t lifetime_s, struct br_err *reterr)
{
    uint8_t id[BR_TOKEN_ID_BYTES];
    char id_text[BR_TOKEN_ID_TEXT_BYTES];
    int rc = br_token_id(token, id, reterr);

    if (rc) {
        return rc;
    }
    br_base32_text(id, sizeof(id), id_text);
    cli_report_text(cli, "id", id_text);
    json_t *details = json_object();
    json_object_set_new(details, "role", json_string(br_role_text(role)));
    json_object_set_new(details, "volumes", json_string(volumes));
    json_object_set_new(details, "lifetime_seconds", json_integer((json_int_t)lifetime_s));
    return audit_append(cli, "token-create", id_text, details, reterr);
}

static int token_create_run(struct cli *cli, struct br_err *reterr)
{
    const char *role_text = cli_text(cli, "role") ? cli_text(cli, "role") : "writer";
    const char *volumes = cli_text(cli, "volumes") ? cli_text(cli, "volumes") : "";
    uint64_t lifetime_s = cli_duration_ns(cli, "expires", BR_TOKEN_LIFETIME_S * BR_NS_PER_S) / BR_NS_PER_S;
    char text[BR_TOKEN_TEXT_BYTES], fingerprint[BR_FINGERPRINT_TEXT_BYTES], lasts[32];
    struct br_token_text token;
    struct trust trust = {.state_fd = -1};
    int rc;

    if (!br_volume_list_ok(volumes)) {
        return br_err_set(reterr, BR_E_USAGE, "--volumes takes names of A-Z a-z 0-9 _ - with a comma between");
    }
    if (!lifetime_s) {
        return br_err_set(reterr, BR_E_USAGE, "--expires must be at least a second");
    }
    rc = trust_open(cli, &trust, reterr);
    rc = rc ? rc : audit_ready(cli, reterr);
    rc = rc ? rc
            : br_token_create(trust.state_fd, br_keys_fingerprint(trust.keys), br_role_parse(role_text), volumes,
                              lifetime_s, &token, reterr);
    rc = rc ? rc : token_audit(cli, &token, br_role_parse(role_text), volumes, lifetime_s, reterr);
    if (!rc) {
        br_token_text_write(&token, text);
        br_fingerprint_text(&token.server, fingerprint);
        br_duration_text(lifetime_s * BR_NS_PER_S, lasts, sizeof(lasts));
        cli_print(cli, "%s", text);
        cli_say(cli,
                "Give this line to `blkrep pair HOST` on the client, on its standard input. It is good once, for %s.",
                lasts);
        cli_report_text(cli, "token", text);
        cli_report_text(cli, "fingerprint", fingerprint);
        cli_report_text(cli, "role", role_text);
        cli_report_text(cli, "volumes", volumes);
        cli_report_number(cli, "lifetime_seconds", lifetime_s);
    }
    trust_close(&trust);
    return rc;
}

static const struct cli_option token_create_options[] = {
    {"role", CLI_CHOICE, "reader|writer|operator|admin",
     "What the client may do: look and verify; also bring replicas to later versions (the default); also replace them or give up "
     "their history; also administer. Of a repository see blkrep-serve(1)."},
    {"volumes", CLI_TEXT, "NAME,...", "The replicas and repositories that it may use; all when not given."},
    {"expires", CLI_DURATION, "TIME", "How long the token is good, default 1h."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_field token_create_fields[] = {
    {"id", "text", "Names the token in lists and in the audit trail; it gives nothing away."},
    {"token", "text", "The token itself, a secret."},
    {"fingerprint", "text", "Of this server's key."},
    {"role", "text", "What a client that pairs with it may do."},
    {"volumes", "text", "Names with a comma between; empty means all."},
    {"lifetime_seconds", "number", "How long it is good."},
    {NULL, NULL, NULL},
};

static const struct cli_example token_create_examples[] = {
    {"blkrep token create", "Let one more client write any replica here."},
    {"blkrep token create --role=reader --volumes=db --expires=10m", "Let one client verify the replica db."},
    {NULL, NULL},
};

const struct cli_verb cmd_token_create = {
    .name = "token create",
    .args = "",
    .summary = "Make a one-time token with which a client pairs with this server.",
    .description =
        "Prints one line that holds this server's fingerprint and a secret of 128 bits. Whoever has the line can pair one client, once, "
        "until it expires; carry it over a way that you trust. The server keeps only what verifies it, so its state folder does not "
        "give tokens away.\n\n"
        "Its age is measured by this host's clocks only: within one boot by the clock that can't be set, after a reboot by the date. The "
        "client's clock does not matter.",
    .options = token_create_options,
    .examples = token_create_examples,
    .see_also = "blkrep-pair(1), blkrep-client-list(1), blkrep-serve(1)",
    .schema = "blkrep.token-create/1",
    .fields = token_create_fields,
    .run = token_create_run,
};

static int token_list_run(struct cli *cli, struct br_err *reterr)
{
    struct br_registry registry = {0};
    struct br_moment now;
    struct trust trust = {.state_fd = -1};
    json_t *list = json_array();
    int rc = trust_open(cli, &trust, reterr);

    rc = rc ? rc : br_registry_load(trust.state_fd, &registry, reterr);
    br_moment_now(&now);
    for (unsigned i = 0; !rc && i < registry.token_count; i++) {
        const struct br_token *token = &registry.tokens[i];
        const char *state = token->used ? "used" : br_token_expired(token, &now) ? "expired" : "open";
        char id[BR_TOKEN_ID_TEXT_BYTES], created[32];
        br_base32_text(token->id, sizeof(token->id), id);
        br_time_text(token->created.unix_s * BR_NS_PER_S, created, sizeof(created));
        cli_print(cli, "%s  %-7s  %-8s  %s  %s", id, state, br_role_text(token->role), created,
                  trust_volumes_text(token->volumes));
        json_t *entry = json_object();
        json_object_set_new(entry, "id", json_string(id));
        json_object_set_new(entry, "state", json_string(state));
        json_object_set_new(entry, "role", json_string(br_role_text(token->role)));
        json_object_set_new(entry, "volumes", json_string(token->volumes));
        json_object_set_new(entry, "created", json_string(created));
        json_array_append_new(list, entry);
    }
    cli_report_json(cli, "tokens", list);
    br_registry_free(&registry);
    trust_close(&trust);
    return rc;
}

static const struct cli_field token_list_fields[] = {
    {"tokens", "list", "Of the tokens, oldest first."},
    {"tokens[].id", "text", "As in the audit trail."},
    {"tokens[].state", "text", "open, used or expired."},
    {"tokens[].role", "text", "What a client that pairs with it may do."},
    {"tokens[].volumes", "text", "Names with a comma between; empty means all."},
    {"tokens[].created", "text", "When it was made, UTC."},
    {NULL, NULL, NULL},
};

static const struct cli_example token_list_examples[] = {
    {"blkrep token list", "Show which tokens were made and which can still be used."},
    {NULL, NULL},
};

const struct cli_verb cmd_token_list = {
    .name = "token list",
    .args = "",
    .summary = "List this server's tokens.",
    .description =
        "One line for each token: its id as in the audit log, whether it is open, used or expired, the role that it gives, when "
        "it was made, and for which replicas. Secrets are not kept and can't be shown. Expired tokens disappear when the next "
        "one is made.",
    .examples = token_list_examples,
    .see_also = "blkrep-token-create(1)",
    .schema = "blkrep.token-list/1",
    .fields = token_list_fields,
    .run = token_list_run,
};
