// SPDX-License-Identifier: Apache-2.0
#include "tools/nbdkit/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/nbdkit/process.h"

#define PLUGIN         "nbdkit-blkrep-plugin.so"
#define PLUGIN_LIBEXEC "/usr/libexec/blkrep/"
#define STOP_MS        5000u
#define WORDS_MAX      32u

static const char *program(void)
{
    const char *given = getenv("BLKREP_NBDKIT");

    return given && *given ? given : "nbdkit";
}

// Beside the running program, as in a build folder, or else the installed one.
static int plugin_path(char path[PATH_MAX], struct br_err *reterr)
{
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - sizeof(PLUGIN) - 1);

    if (len > 0) {
        path[len] = 0;
        char *slash = strrchr(path, '/');
        memcpy(slash + 1, PLUGIN, sizeof(PLUGIN));
        if (!access(path, R_OK)) {
            return 0;
        }
    }
    snprintf(path, PATH_MAX, "%s%s", PLUGIN_LIBEXEC, PLUGIN);
    return access(path, R_OK) ? br_err_set(reterr, BR_E_UNSUPPORTED, "%s is not installed", path) : 0;
}

static int look_for_program(struct br_err *reterr)
{
    return child_installed(program())
               ? 0
               : br_err_set(reterr, BR_E_UNSUPPORTED, "%s is not installed (the package nbdkit has it)", program());
}

// The socket -------------------------------------------------------------------------------------------------------------------------

// What a server that was killed left is taken away; one that listens, or anything else, is left alone.
static int socket_free(const struct sockaddr_un *to, struct br_err *reterr)
{
    const char *path = to->sun_path;
    struct stat st;

    if (lstat(path, &st)) {
        return errno == ENOENT ? 0 : br_err_os(reterr, errno, "looking at %s", path);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return br_err_set(reterr, BR_E_EXISTS, "%s is there, and no socket", path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int os_errno = fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) ? errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    if (os_errno != ECONNREFUSED) {
        return br_err_set(reterr, BR_E_BUSY, "somebody listens on %s", path);
    }
    return unlink(path) ? br_err_os(reterr, errno, "removing %s", path) : 0;
}

// nbdkit would let everybody use its socket: this one is its owner's from the beginning.
static int socket_listen(const char *path, int *ret_fd, struct br_err *reterr)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(to.sun_path)) {
        return br_err_set(reterr, BR_E_USAGE, "%s: the path of a socket has %zu bytes at most", path,
                          sizeof(to.sun_path) - 1);
    }
    memcpy(to.sun_path, path, strlen(path) + 1);
    int error = socket_free(&to, reterr);
    if (error) {
        return error;
    }
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = fcntl(made, F_DUPFD_CLOEXEC, CHILD_FD_LEAST);
    mode_t was = umask(0177);
    if (made >= 0) {
        close(made);
    }
    if (fd < 0 || bind(fd, (const struct sockaddr *)&to, sizeof(to)) || listen(fd, SOMAXCONN)) {
        error = br_err_os(reterr, errno, "listening on %s", path);
    }
    umask(was);
    if (error && fd >= 0) {
        close(fd);
    }
    *ret_fd = error ? -1 : fd;
    return error;
}

static void uri_of(const struct nbd_server_params *params, char uri[NBD_SERVER_URI_BYTES])
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    bool tls = params->tls_certificates || params->tls_psk;
    bool ipv6 = params->address && strchr(params->address, ':');
    char *to = uri;

    if (!params->socket) {
        snprintf(uri, NBD_SERVER_URI_BYTES, "%s://%s%s%s:%s", tls ? "nbds" : "nbd", ipv6 ? "[" : "",
                 params->address ? params->address : "localhost", ipv6 ? "]" : "", params->port);
        return;
    }
    to += snprintf(uri, NBD_SERVER_URI_BYTES, "nbd+unix:///?socket=");
    for (const char *from = params->socket; *from; from++) {
        to += sprintf(to, strchr(plain, *from) ? "%c" : "%%%02X", (unsigned char)*from);
    }
}

// The process -------------------------------------------------------------------------------------------------------------------------

struct words {
    const char *argv[WORDS_MAX];
    size_t count;
    char plugin[PATH_MAX];
    char point[PATH_MAX + 64];
    char volume[BR_UUID_TEXT_BYTES + 16];
    char ready[32];
    char options[4][PATH_MAX + 32];
    char tls[2][PATH_MAX + 32];
};

static void add(struct words *words, const char *word)
{
    if (words->count + 1 < WORDS_MAX) {
        words->argv[words->count++] = word;
    }
}

static void add_place(struct words *words, const struct nbd_server_params *params)
{
    if (params->socket) {
        return; // it is handed over
    }
    add(words, "--port");
    add(words, params->port);
    if (params->address) {
        add(words, "--ipaddr");
        add(words, params->address);
    }
    if (params->tls_certificates) {
        snprintf(words->tls[0], sizeof(words->tls[0]), "--tls-certificates=%s", params->tls_certificates);
        add(words, words->tls[0]);
        if (!params->any_client) {
            add(words, "--tls-verify-peer");
        }
    }
    if (params->tls_psk) {
        snprintf(words->tls[1], sizeof(words->tls[1]), "--tls-psk=%s", params->tls_psk);
        add(words, words->tls[1]);
    }
    if (params->tls_certificates || params->tls_psk) {
        add(words, "--tls=require");
    }
}

static int build(struct cli *cli, const struct nbd_server_params *params, int ready_fd, struct words *words,
                 struct br_err *reterr)
{
    static const char *const passed[] = {"passphrase-file", "key-file", "state", "config"};
    char id[BR_UUID_TEXT_BYTES];
    int error = plugin_path(words->plugin, reterr);

    if (error) {
        return error;
    }
    add(words, program());
    add(words, "--foreground");
    add(words, "--exit-with-parent");
    // Several at work on one connection: nbdkit 1.32 ends by an assertion when that client goes away (connections.c, raw_send_socket()).
    add(words, "--threads=1");
    add(words, params->writable ? "--filter=cow" : "--readonly");
    add_place(words, params);
    add(words, words->plugin);
    br_uuid_text(&params->point->id, id);
    snprintf(words->point, sizeof(words->point), "point=%s@%s", params->repository, id);
    add(words, words->point);
    br_uuid_text(&params->point->volume, id);
    snprintf(words->volume, sizeof(words->volume), "volume=%s", id);
    add(words, words->volume);
    snprintf(words->ready, sizeof(words->ready), "ready-fd=%d", ready_fd);
    add(words, words->ready);
    if (params->cut_off) {
        add(words, "cut-off=1");
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(passed); i++) {
        if (cli_text(cli, passed[i])) {
            snprintf(words->options[i], sizeof(words->options[i]), "%s=%s", passed[i], cli_text(cli, passed[i]));
            add(words, words->options[i]);
        }
    }
    return 0;
}

// What the plugin says of itself: "NONE \n", or the name of an error and a text.
static int wait_ready(struct nbd_server *server, int fd, struct br_err *reterr)
{
    char line[600] = "";
    size_t len = 0;
    ssize_t got = 1;

    while (got && len + 1 < sizeof(line) && !memchr(line, '\n', len)) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};

        if (cli_cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "starting nbdkit");
        }
        if (poll(&ready, 1, 100) <= 0) {
            continue;
        }
        got = read(fd, line + len, sizeof(line) - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    }
    line[len] = 0;
    line[strcspn(line, "\n")] = 0;
    char *blank = strchr(line, ' ');
    if (!blank) {
        int status;

        while (!child_ended(server->pid, &status)) {
            child_pause(10);
        }
        server->pid = 0;
        return br_err_set(reterr, BR_E_UNSUPPORTED, "nbdkit ended with status %d: see what it said",
                          WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
    *blank = 0;
    return strcmp(line, "NONE") ? br_err_set(reterr, br_err_from_peer(line), "%s", blank + 1) : 0;
}

static int start(struct cli *cli, const struct nbd_server_params *params, int listen_fd, int ready_fd,
                 struct nbd_server *server, struct br_err *reterr)
{
    BR_AUTO_FREE struct words *words = calloc(1, sizeof(*words));

    if (!words) {
        return br_err_set(reterr, BR_E_NOMEM, "a command line");
    }
    int error = build(cli, params, ready_fd, words, reterr);
    const struct child child = {.argv = words->argv, .out_fd = -1, .listen_fd = listen_fd};

    return error ? error : child_start(&child, &server->pid, reterr);
}

// Starts it with one end of a pipe, and hears from the other how it went.
static int start_and_wait(struct cli *cli, const struct nbd_server_params *params, int listen_fd,
                          struct nbd_server *server, struct br_err *reterr)
{
    int pipe_fds[2];

    if (pipe2(pipe_fds, O_CLOEXEC)) {
        return br_err_os(reterr, errno, "making a pipe");
    }
    int ready_fd = fcntl(pipe_fds[1], F_DUPFD, CHILD_FD_LEAST);
    close(pipe_fds[1]);
    int error = ready_fd < 0 ? br_err_os(reterr, errno, "making a pipe")
                             : start(cli, params, listen_fd, ready_fd, server, reterr);
    if (ready_fd >= 0) {
        close(ready_fd);
    }
    error = error ? error : wait_ready(server, pipe_fds[0], reterr);
    close(pipe_fds[0]);
    return error;
}

int nbd_server_start(struct cli *cli, const struct nbd_server_params *params, struct nbd_server *ret_server,
                     struct br_err *reterr)
{
    int listen_fd = 0;

    *ret_server = (struct nbd_server){0};
    int error = look_for_program(reterr);
    error = error || !params->socket ? error : socket_listen(params->socket, &listen_fd, reterr);
    if (error) {
        return error;
    }
    if (params->socket) {
        snprintf(ret_server->socket, sizeof(ret_server->socket), "%s", params->socket);
    }
    uri_of(params, ret_server->uri);
    error = start_and_wait(cli, params, listen_fd, ret_server, reterr);
    if (listen_fd) {
        close(listen_fd);
    }
    if (error) {
        nbd_server_stop(ret_server);
    }
    return error;
}

bool nbd_server_died(struct nbd_server *server)
{
    int status;

    if (!child_ended(server->pid, &status)) {
        return false;
    }
    server->pid = 0;
    return true;
}

void nbd_server_stop(struct nbd_server *server)
{
    child_stop(server->pid, SIGTERM, STOP_MS);
    server->pid = 0;
    if (server->socket[0]) {
        unlink(server->socket);
        server->socket[0] = 0;
    }
}
