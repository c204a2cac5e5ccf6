// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/nbdkit/find.h"
#include "tools/nbdkit/process.h"
#include "tools/nbdkit/server.h"
#include "tools/notify.h"

static const struct cli_option export_options[] = {
    {"socket", CLI_PATH, "PATH",
     "Listen on this Unix socket, which only its owner can use. It is made, and removed at the end."},
    {"port", CLI_NUMBER, "N", "Listen on this TCP port instead; 10809 is NBD's own."},
    {"address", CLI_TEXT, "ADDRESS", "Of the port. Default: all addresses with TLS, else 127.0.0.1."},
    {"tls-certificates", CLI_PATH, "DIR",
     "Only TLS, with ca-cert.pem, server-cert.pem and server-key.pem of DIR; clients must have a certificate of that CA."},
    {"tls-psk", CLI_PATH, "FILE", "Only TLS, with the preshared keys in FILE."},
    {"any-client", CLI_FLAG, NULL, "Ask no certificate of clients: who can reach the port can read the point."},
    {"plain", CLI_FLAG, NULL,
     "Allow an --address that is not this host's own loopback without TLS: who can reach it, or listens on the way, can read the point."},
    {"writable", CLI_FLAG, NULL,
     "Let clients write. What they write lies in a temporary file ($TMPDIR), is shared by all, and is gone at the end; the point does not change."},
    {"run", CLI_TEXT, "COMMAND",
     "Run COMMAND by sh, with the address as $uri and the path of the socket as $unixsocket, and end with it."},
    {"volume", CLI_TEXT, "VOLUME",
     "Which volume's points latest and times mean, where the repository has several: its source's path or the last part of it, or the first digits of its uuid."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example export_examples[] = {
    {"blkrep export /backup/repo@latest --volume disk.img --socket /backup/point.sock --run 'nbdcopy \"$uri\" copied.img'",
     "Serve the newest point as long as a command runs."},
    {"blkrep export /backup/repo@latest --volume disk.img --socket /backup/point.sock --writable --run 'qemu-img info \"$uri\"'",
     "The same for a virtual machine, which may write."},
    {NULL, NULL},
};

static const struct cli_field export_fields[] = {
    {"repository", "text", "Its path."},
    {"point", "text|null", "The id of the point."},
    {"uri", "text|null",
     "The address that clients were given, as NBD's URI specification has it; null when it came to none."},
    {"writable", "boolean", "Clients could write."},
    {"size_bytes", "number", "Of the disk."},
    {NULL, NULL, NULL},
};

static const struct cli_field export_ready_fields[] = {
    {"uri", "text", "The address, for clients."},
    {"size_bytes", "number", "Of the disk."},
    {NULL, NULL, NULL},
};

static const struct cli_line export_lines[] = {
    {"ready", "Clients can come now.", export_ready_fields},
    {NULL, NULL, NULL},
};

struct export_run {
    struct cli *cli;
    struct nbd_server_params params;
    struct nbd_server server;
    struct point_found found;
    char socket[PATH_MAX];
};

static bool is_loopback(const char *address)
{
    struct in_addr v4;
    struct in6_addr v6;

    return !strcmp(address, "localhost") || (inet_pton(AF_INET, address, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) ||
           (inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

static int export_port(const struct cli *cli, struct nbd_server_params *params, struct br_err *reterr)
{
    bool tls = params->tls_certificates || params->tls_psk;

    if (!cli_number(cli, "port", 0) || cli_number(cli, "port", 0) > 65535) {
        return br_err_set(reterr, BR_E_USAGE, "--port must be between 1 and 65535");
    }
    params->port = cli_text(cli, "port");
    params->address = cli_text(cli, "address");
    if (!params->address && !tls) {
        params->address = "127.0.0.1";
    }
    if (!tls && !is_loopback(params->address) && !cli_flag(cli, "plain")) {
        return br_err_set(reterr, BR_E_REFUSED,
                          "%s without TLS: who can reach it could read the point; --plain allows it", params->address);
    }
    return params->any_client && !params->tls_certificates
               ? br_err_set(reterr, BR_E_USAGE, "--any-client belongs to --tls-certificates")
               : 0;
}

static int export_place(struct export_run *run, struct br_err *reterr)
{
    const struct cli *cli = run->cli;
    struct nbd_server_params *params = &run->params;
    const char *socket = cli_text(cli, "socket");
    char cwd[PATH_MAX];

    params->writable = cli_flag(cli, "writable");
    params->cut_off = true;
    params->tls_certificates = cli_text(cli, "tls-certificates");
    params->tls_psk = cli_text(cli, "tls-psk");
    params->any_client = cli_flag(cli, "any-client");
    if (!socket == !cli_text(cli, "port")) {
        return br_err_set(reterr, BR_E_USAGE, "where to listen: --socket PATH or --port N");
    }
    if (!socket) {
        return export_port(cli, params, reterr);
    }
    if (params->tls_certificates || params->tls_psk || cli_text(cli, "address")) {
        return br_err_set(reterr, BR_E_USAGE, "--tls-certificates, --tls-psk and --address belong to --port");
    }
    // nbdkit wants whole paths
    if (*socket != '/' && !getcwd(cwd, sizeof(cwd))) {
        return br_err_set(reterr, BR_E_IO, "the working folder is gone");
    }
    int len = snprintf(run->socket, sizeof(run->socket), "%s%s%s", *socket == '/' ? "" : cwd, *socket == '/' ? "" : "/",
                       socket);
    params->socket = run->socket;
    return len >= (int)sizeof(run->socket) ? br_err_set(reterr, BR_E_USAGE, "a path that is too long") : 0;
}

static void export_ready(const struct export_run *run)
{
    struct cli *cli = run->cli;
    json_t *event = json_object();

    json_object_set_new(event, "type", json_string("ready"));
    json_object_set_new(event, "uri", cli_json_text(run->server.uri));
    json_object_set_new(event, "size_bytes", json_integer((json_int_t)run->found.point.size_bytes));
    cli_event(cli, event);
    if (!cli->json && !cli_text(cli, "run")) {
        cli_print(cli, "READY %s", run->server.uri);
        fflush(stdout);
    }
    notify("READY=1");
}

// A command of the user's, beside the server.
static int export_command(struct export_run *run, struct br_err *reterr)
{
    char uri[NBD_SERVER_URI_BYTES + 8], socket[PATH_MAX + 16];
    const char *argv[] = {"sh", "-c", cli_text(run->cli, "run"), NULL};
    const struct child child = {.argv = argv, .out_fd = run->cli->json ? -1 : STDOUT_FILENO, .set = {uri, socket}};

    snprintf(uri, sizeof(uri), "uri=%s", run->server.uri);
    snprintf(socket, sizeof(socket), "unixsocket=%s", run->socket);
    return child_run(&child, 0, reterr);
}

static int export_serve(struct export_run *run, struct br_err *reterr)
{
    while (!cli_cancel) {
        if (nbd_server_died(&run->server)) {
            return br_err_set(reterr, BR_E_PEER, "nbdkit ended by itself");
        }
        child_pause(50);
    }
    notify("STOPPING=1");
    return 0;
}

static int export_run(struct cli *cli, struct br_err *reterr)
{
    struct export_run run = {.cli = cli, .found = {.secret_fd = -1}};
    int error = export_place(&run, reterr);

    error = error ? error : point_find(cli, cli->args[0], false, &run.found, reterr);
    run.params.repository = run.found.repository;
    run.params.point = &run.found.point;
    error = error ? error : nbd_server_start(cli, &run.params, &run.server, reterr);
    bool started = !error;
    if (!error) {
        export_ready(&run);
        error = cli_text(cli, "run") ? export_command(&run, reterr) : export_serve(&run, reterr);
    }
    nbd_server_stop(&run.server);
    point_found_free(&run.found);
    point_report(cli, &run.found);
    cli_report_text(cli, "uri", started ? run.server.uri : NULL);
    cli_report_bool(cli, "writable", run.params.writable);
    cli_report_number(cli, "size_bytes", run.found.point.size_bytes);
    return error;
}

const struct cli_verb cmd_export = {
    .name = "export",
    .args = "REPO@POINT",
    .args_min = 1,
    .args_max = 1,
    .summary = "Serve a recovery point as a disk over NBD, without restoring it.",
    .description =
        "Clients such as nbdcopy, qemu, nbd-client and nbdfuse read the point at its address as if it were a disk; only what they ask for is read from "
        "the repository, and every block is proven to be what the source held before it is given out. A block that is missing, damaged, or was "
        "unreadable when the point was made is an I/O error for the client, never zeros. Needs nbdkit.\n\n"
        "It runs until a signal, or the end of --run, and prints READY and the address on a line when clients can come. When it ends, or is killed, they "
        "lose it, and get errors. A repository behind `blkrep serve` is read as this host's "
        "client: when its server goes, reads fail until it is there again. A socket is its owner's alone. A port without TLS is on 127.0.0.1, unless --plain says otherwise.\n\n"
        "The plugin, nbdkit-blkrep-plugin.so, can be used by nbdkit alone, with its other filters and options: `nbdkit PLUGIN REPO@POINT`; it takes "
        "the secret from $BLKREP_PASSPHRASE, passphrase-file=FILE or key-file=FILE. In a shell a pair of blkrep and nbdkit ends together, also when "
        "blkrep is killed.",
    .options = export_options,
    .examples = export_examples,
    .see_also = "blkrep-restore(1), blkrep-points(1), blkrep-errors(7)",
    .schema = "blkrep.export/1",
    .fields = export_fields,
    .lines = export_lines,
    .run = export_run,
};
