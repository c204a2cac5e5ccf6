// SPDX-License-Identifier: Apache-2.0
//
// blkrep pair: use a token that the server made. The secret comes from standard input or a file, never from the command line, where
// every user of the host could read it.
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include "engine/net/pairing.h"
#include "tools/audit.h"
#include "tools/trust.h"
#include "tools/verbs.h"

#define PAIR_INPUT_BYTES_MAX 4096

static int pair_read(int fd, const char *what, struct br_token_text *ret_token, struct br_err *reterr)
{
    char text[PAIR_INPUT_BYTES_MAX];
    size_t len = 0;
    int rc = 0;

    // A line is enough: a person who pasted it does not close the terminal.
    while (!rc && len < sizeof(text) && !memchr(text, '\n', len)) {
        ssize_t got = read(fd, text + len, sizeof(text) - len);
        if (got == 0) {
            break;
        }
        if (got < 0 && (errno != EINTR || cli_cancel)) {
            rc = cli_cancel ? br_err_set(reterr, BR_E_CANCELLED, "reading the token")
                            : br_err_os(reterr, errno, "reading the token from %s", what);
        }
        len += got > 0 ? (size_t)got : 0;
    }
    if (!rc && len == 0) {
        rc = br_err_set(reterr, BR_E_USAGE,
                        "%s holds no token: give the line that `blkrep token create` printed on the server", what);
    }
    rc = rc ? rc : br_token_text_parse(text, len, ret_token, reterr);
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

static int pair_token(struct cli *cli, struct br_token_text *ret_token, struct br_err *reterr)
{
    const char *path = cli_text(cli, "token-file");
    char shown[256];

    if (!path) {
        if (isatty(STDIN_FILENO)) {
            cli_say(cli, "Paste the line that `blkrep token create` printed on the server:");
        }
        return pair_read(STDIN_FILENO, "standard input", ret_token, reterr);
    }
    br_quote(path, shown, sizeof(shown));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s", shown);
    }
    int rc = pair_read(fd, shown, ret_token, reterr);
    close(fd);
    return rc;
}

static int pair_record(struct cli *cli, const struct br_token_text *token, const char *server,
                       const struct br_client *self, struct br_err *reterr)
{
    char fingerprint[BR_FINGERPRINT_TEXT_BYTES], own[BR_FINGERPRINT_TEXT_BYTES];
    json_t *details = json_object();

    br_fingerprint_text(&token->server, fingerprint);
    br_fingerprint_text(&self->fingerprint, own);
    cli_report_text(cli, "server", server);
    cli_report_text(cli, "server_fingerprint", fingerprint);
    cli_report_text(cli, "fingerprint", own);
    cli_report_text(cli, "role", br_role_text(self->role));
    cli_report_text(cli, "volumes", self->volumes);
    cli_say(cli, "Paired with %s as %s of %s%s. Replicas there are blkrep://%s/NAME from now on.", server,
            br_role_text(self->role), *self->volumes ? "" : "all ", *self->volumes ? self->volumes : "replicas",
            server);
    json_object_set_new(details, "server_fingerprint", json_string(fingerprint));
    json_object_set_new(details, "role", json_string(br_role_text(self->role)));
    json_object_set_new(details, "volumes", json_string(self->volumes));
    return audit_append(cli, "pair", server, details, reterr);
}

static int pair_run(struct cli *cli, struct br_err *reterr)
{
    struct trust trust = {.state_fd = -1};
    struct br_tls_options options = {.connect_timeout_ns = cli_duration_ns(cli, "timeout", 10 * BR_NS_PER_S)};
    struct br_token_text token;
    struct br_address address;
    struct br_client self = {0};
    char host[256] = "?", server[BR_ADDRESS_TEXT_BYTES];
    int rc = br_address_parse(cli->args[0], &address, reterr);

    options.handshake_timeout_ns = options.connect_timeout_ns;
    rc = rc ? rc : pair_token(cli, &token, reterr);
    rc = rc ? rc : trust_open(cli, &trust, reterr);
    rc = rc ? rc : audit_ready(cli, reterr);
    if (!rc) {
        (void)gethostname(host, sizeof(host) - 1);
        rc = br_pair_client(trust.state_fd, trust.keys, &token, &address,
                            cli_text(cli, "name") ? cli_text(cli, "name") : host, &options, &self, reterr);
    }
    if (!rc) {
        br_address_text(&address, server);
        rc = pair_record(cli, &token, server, &self, reterr);
    }
    OPENSSL_cleanse(&token, sizeof(token));
    trust_close(&trust);
    return rc;
}

static const struct cli_option pair_options[] = {
    {"token-file", CLI_PATH, "FILE", "Read the token from this file instead of standard input."},
    {"name", CLI_TEXT, "NAME", "How the server's lists call this client; its host name when not given."},
    {"timeout", CLI_DURATION, "TIME", "Give up when the server does not answer within this time, default 10s."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_field pair_fields[] = {
    {"server", "text", "HOST:PORT as it is kept."},
    {"server_fingerprint", "text", "Of the server's key."},
    {"fingerprint", "text", "Of this host's key."},
    {"role", "text", "What this host may do there."},
    {"volumes", "text", "Names with a comma between; empty means all."},
    {NULL, NULL, NULL},
};

static const struct cli_example pair_examples[] = {
    {"blkrep pair backup.example < token", "Pair with the server on the default port 4777."},
    {"blkrep pair [2001:db8::2]:4800 --token-file=token", "Another port, an IPv6 address, a file."},
    {NULL, NULL},
};

const struct cli_verb cmd_pair = {
    .name = "pair",
    .args = "HOST[:PORT]",
    .args_min = 1,
    .args_max = 1,
    .summary = "Let this host and a server know each other, with a token that the server made.",
    .description =
        "Reads one line that `blkrep token create` printed on the server, from standard input or a file (never from the command line, "
        "which others can read). Connects, and goes on only if the server there has the very key that the token names. Then it proves "
        "that it has the token's secret, without sending it, and both sides keep each other's key.\n\n"
        "From then on addresses blkrep://HOST[:PORT]/NAME with this host and port can be used. Pairing again replaces what was known. "
        "Dates in keys mean nothing, so a wrong clock does no harm.",
    .options = pair_options,
    .examples = pair_examples,
    .see_also = "blkrep-token-create(1), blkrep-client-list(1), blkrep-sync(1)",
    .schema = "blkrep.pair/1",
    .fields = pair_fields,
    .run = pair_run,
};
