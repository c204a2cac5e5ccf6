// SPDX-License-Identifier: Apache-2.0
//
// The verb and the process that listens; see serve.h for how the work is divided.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/net/clock.h"
#include "tools/audit.h"
#include "tools/notify.h"
#include "tools/serve.h"
#include "tools/verbs.h"

#define SERVE_CHILDREN_MAX  4096
#define SERVE_ADDRESSES_MAX 8
#define SERVE_STRANGERS_MAX 20u                 // lines about strangers
#define SERVE_STRANGERS_NS  (600 * BR_NS_PER_S) // in so much time

// What the parent knows of a child.
struct serve_process {
    pid_t pid;
    int ask_fd; // -1 once it has asked and was answered
    struct in6_addr from;
    bool admitted; // it has proven who it is, and has a session
};

// What is said of peers that nobody here knows, since @since_ns.
struct serve_strangers {
    uint64_t since_ns;
    unsigned said;
    uint64_t hushed;
    uint64_t hushed_pairings; // of them
};

struct serve_parent {
    struct serve serve;
    struct serve_strangers strangers;
    int listeners[BR_LISTEN_FDS_MAX * SERVE_ADDRESSES_MAX];
    int listener_count;
    int signal_fd;
    sigset_t signals_before;
    struct serve_process *children;
    unsigned child_count;
    bool stopping;
};

// Listening ------------------------------------------------------------------------------------------------------------------

static int serve_listen_one(struct serve_parent *parent, const char *text, struct br_err *reterr)
{
    struct br_address address;
    char shown[BR_ADDRESS_TEXT_BYTES];
    uint16_t port;
    int rc = br_address_parse_listen(text, &address, reterr);

    if (rc) {
        return rc;
    }
    int count = br_address_listen(&address, parent->listeners + parent->listener_count, &port, reterr);
    if (count < 0) {
        return count;
    }
    parent->listener_count += count;
    address.port = port;
    br_address_text(&address, shown);
    cli_say(parent->serve.cli, "listening on %s", shown);
    json_t *event = json_object();
    json_object_set_new(event, "type", json_string("listening"));
    json_object_set_new(event, "address", json_string(shown));
    json_object_set_new(event, "port", json_integer(port));
    cli_event(parent->serve.cli, event);
    return 0;
}

static int serve_listen(struct serve_parent *parent, struct br_err *reterr)
{
    const char *given = cli_text(parent->serve.cli, "listen");
    char list[1024], *rest = list, *word;
    int rc = 0, count = 0;

    given = given ? given : conf_get(parent->serve.conf, "serve", "", "listen");
    if (snprintf(list, sizeof(list), "%s", given) >= (int)sizeof(list)) {
        return br_err_set(reterr, BR_E_CONFIG, "the list of addresses to listen on is too long");
    }
    while (!rc && (word = strsep(&rest, " \t"))) {
        if (*word && ++count > SERVE_ADDRESSES_MAX) {
            rc = br_err_set(reterr, BR_E_CONFIG, "more than %d addresses to listen on", SERVE_ADDRESSES_MAX);
        } else if (*word) {
            rc = serve_listen_one(parent, word, reterr);
        }
    }
    if (!rc && !parent->listener_count) {
        rc = br_err_set(reterr, BR_E_CONFIG, "no address to listen on");
    }
    return rc;
}

static void serve_deafen(struct serve_parent *parent)
{
    while (parent->listener_count > 0) {
        close(parent->listeners[--parent->listener_count]);
    }
}

// Strangers ------------------------------------------------------------------------------------------------------------------

// One line for all that was not said, when the time is over, or @now.
static void serve_tell_strangers(struct serve_parent *parent, bool now)
{
    struct serve_strangers *strangers = &parent->strangers;
    struct br_err err = {0};

    if (!now && br_clock_ns() - strangers->since_ns < SERVE_STRANGERS_NS) {
        return;
    }
    if (strangers->hushed) {
        cli_warn(parent->serve.cli, "%llu more connections of strangers were refused, %llu of them could not pair",
                 (unsigned long long)strangers->hushed, (unsigned long long)strangers->hushed_pairings);
    }
    if (strangers->hushed_pairings) {
        json_t *details = json_object();
        json_object_set_new(details, "count", json_integer((json_int_t)strangers->hushed_pairings));
        if (audit_append(parent->serve.cli, "refused", "pairings of strangers", details, &err)) {
            cli_warn(parent->serve.cli, "the audit log lacks a line (refused pairings): %s", err.text);
        }
    }
    *strangers = (struct serve_strangers){.since_ns = br_clock_ns()};
}

static bool serve_may_say(struct serve_parent *parent, bool pairing)
{
    struct serve_strangers *strangers = &parent->strangers;

    serve_tell_strangers(parent, false);
    if (strangers->said < SERVE_STRANGERS_MAX) {
        strangers->said++;
        return true;
    }
    strangers->hushed++;
    strangers->hushed_pairings += pairing;
    return false;
}

static uint64_t serve_strangers_due_ns(const struct serve_parent *parent)
{
    return parent->strangers.hushed ? parent->strangers.since_ns + SERVE_STRANGERS_NS : UINT64_MAX;
}

// Children -------------------------------------------------------------------------------------------------------------------

static struct in6_addr serve_from(const struct sockaddr_storage *peer)
{
    struct in6_addr from = {0};

    if (peer->ss_family == AF_INET6) {
        from = ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    } else if (peer->ss_family == AF_INET) { // as IPv6 writes it, so that one address is one address
        from.s6_addr[10] = from.s6_addr[11] = 0xff;
        memcpy(from.s6_addr + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
    }
    return from;
}

// One network's hosts, as far as an address tells: an IPv6 host has a whole /64 to choose its addresses from.
static bool serve_same_net(const struct in6_addr *a, const struct in6_addr *b)
{
    return !memcmp(a, b, IN6_IS_ADDR_V4MAPPED(a) ? sizeof(*a) : 8);
}

// May one more connect that has not proven who it is? One that only connects must neither keep all others out nor take sessions away.
static bool serve_may_connect(const struct serve_parent *parent, const struct in6_addr *from)
{
    uint64_t most = conf_number(parent->serve.conf, "serve", "", "handshakes-max");
    unsigned all = 0, near = 0;

    for (unsigned i = 0; i < parent->child_count; i++) {
        const struct serve_process *child = &parent->children[i];
        all += !child->admitted;
        near += !child->admitted && serve_same_net(&child->from, from);
    }
    return all < most && near < (most + 1) / 2 && parent->child_count < SERVE_CHILDREN_MAX;
}

// Is there room for one more session from there?
static enum serve_answer serve_room_for(const struct serve_parent *parent, const struct in6_addr *from)
{
    unsigned all = 0, same = 0;

    for (unsigned i = 0; i < parent->child_count; i++) {
        const struct serve_process *child = &parent->children[i];
        all += child->admitted;
        same += child->admitted && !memcmp(&child->from, from, sizeof(*from));
    }
    return all >= conf_number(parent->serve.conf, "serve", "", "sessions-max")            ? SERVE_FULL
           : same >= conf_number(parent->serve.conf, "serve", "", "sessions-per-address") ? SERVE_FULL_ADDRESS
                                                                                          : SERVE_GO;
}

// In the child, from here to its end.
static void serve_become_child(struct serve_parent *parent, int fd, int ask_fd, pid_t parent_pid)
{
    const struct rlimit no_core = {0}; // it would hold keys and other people's data

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    serve_deafen(parent);
    close(parent->signal_fd);
    for (unsigned i = 0; i < parent->child_count; i++) {
        if (parent->children[i].ask_fd >= 0) {
            close(parent->children[i].ask_fd);
        }
    }
    signal(SIGHUP, SIG_IGN);
    cli_catch_signals();
    sigprocmask(SIG_SETMASK, &parent->signals_before, NULL);
    cli_cancel = cli_cancel || getppid() != parent_pid;
    int status = serve_connection(&parent->serve, fd, ask_fd);
    fflush(stdout);
    fflush(stderr);
    _exit(status);
}

static void serve_fork(struct serve_parent *parent, int fd, const struct in6_addr *from)
{
    struct serve_process *child = &parent->children[parent->child_count];
    pid_t self = getpid();
    int ask[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ask)) {
        cli_warn(parent->serve.cli, "a connection was dropped: %s", strerror(errno));
        return;
    }
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    if (pid == 0) {
        close(ask[0]);
        serve_become_child(parent, fd, ask[1], self);
    }
    close(ask[1]);
    if (pid < 0) {
        cli_warn(parent->serve.cli, "a connection was dropped: %s", strerror(errno));
        close(ask[0]);
        return;
    }
    *child = (struct serve_process){.pid = pid, .ask_fd = ask[0], .from = *from};
    parent->child_count++;
}

static void serve_accept(struct serve_parent *parent, int listener)
{
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);
    int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            const char *why = strerror(errno);
            if (serve_may_say(parent, false)) {
                cli_warn(parent->serve.cli, "a connection can't be accepted: %s", why);
            }
            poll(NULL, 0, 100); // it stays in the queue: don't spin on it
        }
        return;
    }
    struct in6_addr from = serve_from(&peer);
    if (serve_may_connect(parent, &from)) {
        serve_fork(parent, fd, &from);
    }
    close(fd);
}

static void serve_reap(struct serve_parent *parent)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (WIFSIGNALED(status)) {
            cli_warn(parent->serve.cli, "the process of a session was killed by signal %d; its replica can be resumed",
                     WTERMSIG(status));
        }
        for (unsigned i = 0; i < parent->child_count; i++) {
            if (parent->children[i].pid == pid) {
                if (parent->children[i].ask_fd >= 0) {
                    close(parent->children[i].ask_fd);
                }
                parent->children[i] = parent->children[--parent->child_count];
                break;
            }
        }
    }
}

static void serve_signal_children(const struct serve_parent *parent, int signal_number)
{
    for (unsigned i = 0; i < parent->child_count; i++) {
        kill(parent->children[i].pid, signal_number);
    }
}

// What there is to serve ---------------------------------------------------------------------------------------------------

static bool serve_offers_any(const struct conf *conf)
{
    const char *name = NULL;

    while ((name = conf_next_name(conf, "replica", name))) {
        if (conf_get(conf, "replica", name, "path")) {
            return true;
        }
    }
    while ((name = conf_next_name(conf, "repository", name))) {
        if (conf_flag(conf, "repository", name, "serve")) {
            return true;
        }
    }
    return false;
}

// A server that has nothing to offer, or can't, is a mistake of its configuration that is better said here than to each client.
static void serve_look_at_offers(struct serve_parent *parent)
{
    const struct conf *conf = parent->serve.conf;
    const char *directory = conf_get(conf, "serve", "", "directory");

    if (!directory && !serve_offers_any(conf)) {
        cli_warn(parent->serve.cli,
                 "nothing is offered: %s has neither directory= in [serve], nor a [replica NAME] with a path, nor a "
                 "[repository NAME] with serve = yes",
                 conf->path ? conf->path : "the configuration, which is not there,");
    } else if (directory && access(directory, W_OK | X_OK)) {
        cli_warn(parent->serve.cli, "clients can make no replica in the directory %s: %s", directory, strerror(errno));
    }
}

// The loop -------------------------------------------------------------------------------------------------------------------

static void serve_reload(struct serve_parent *parent)
{
    struct cli *cli = parent->serve.cli;
    struct conf *before = cli->conf;
    struct br_err err = {0};

    notify_reloading();
    cli->conf = NULL;
    if (conf_of(cli, &parent->serve.conf, &err)) {
        cli->conf = before;
        parent->serve.conf = before;
        cli_warn(cli, "the configuration was not read anew, the old one stays: %s", err.text);
    } else {
        conf_free(before);
        cli_say(cli, "the configuration was read anew; addresses to listen on stay as they are");
        serve_look_at_offers(parent);
    }
    notify("READY=1");
}

static void serve_signals(struct serve_parent *parent)
{
    struct signalfd_siginfo info;

    while (read(parent->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        switch (info.ssi_signo) {
        case SIGCHLD: serve_reap(parent); break;
        case SIGHUP: serve_reload(parent); break;
        default: parent->stopping = true; break;
        }
    }
}

static void serve_answer_children(struct serve_parent *parent)
{
    for (unsigned i = 0; i < parent->child_count; i++) {
        struct serve_process *child = &parent->children[i];
        char byte = 0;
        ssize_t got = child->ask_fd >= 0 ? recv(child->ask_fd, &byte, 1, MSG_DONTWAIT) : -1;
        if (got < 0) {
            continue;
        }
        if (got == 1 && byte == SERVE_PROVEN) {
            byte = (char)serve_room_for(parent, &child->from);
            ssize_t put = send(child->ask_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
            child->admitted = put == 1 && byte == SERVE_GO;
        } else if (got == 1 && (byte == SERVE_STRANGER || byte == SERVE_UNPAIRED)) {
            byte = serve_may_say(parent, byte == SERVE_UNPAIRED) ? SERVE_GO : SERVE_HUSH;
            (void)!send(child->ask_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        close(child->ask_fd);
        child->ask_fd = -1;
    }
}

// Waits for anything to happen, at most until @deadline_ns, and deals with it.
static void serve_step(struct serve_parent *parent, struct pollfd *fds, uint64_t deadline_ns)
{
    nfds_t count = 0;
    int listeners = parent->listener_count;

    fds[count++] = (struct pollfd){.fd = parent->signal_fd, .events = POLLIN};
    for (int i = 0; i < listeners; i++) {
        fds[count++] = (struct pollfd){.fd = parent->listeners[i], .events = POLLIN};
    }
    for (unsigned i = 0; i < parent->child_count; i++) {
        if (parent->children[i].ask_fd >= 0) {
            fds[count++] = (struct pollfd){.fd = parent->children[i].ask_fd, .events = POLLIN};
        }
    }
    if (poll(fds, count, br_clock_ms_until(deadline_ns)) <= 0) {
        return;
    }
    serve_answer_children(parent);
    serve_signals(parent);
    for (int i = 0; i < listeners && !parent->stopping; i++) {
        if (fds[1 + i].revents) {
            serve_accept(parent, parent->listeners[i]);
        }
    }
}

static void serve_stop(struct serve_parent *parent, struct pollfd *fds)
{
    uint64_t patience_ns = conf_duration_ns(parent->serve.conf, "serve", "", "stop-timeout");
    uint64_t deadline_ns = br_clock_ns() + patience_ns;

    notify("STOPPING=1");
    serve_deafen(parent);
    if (parent->child_count) {
        cli_say(parent->serve.cli, "stopping; %u session(s) get time to end", parent->child_count);
    }
    serve_signal_children(parent, SIGTERM);
    while (parent->child_count && br_clock_ns() < deadline_ns) {
        serve_step(parent, fds, deadline_ns);
    }
    if (parent->child_count) {
        cli_warn(parent->serve.cli, "%u session(s) did not end in time and were killed; their replicas can be resumed",
                 parent->child_count);
        serve_signal_children(parent, SIGKILL);
    }
    while (
        parent
            ->child_count) { // a process in an uninterruptible wait for its disk may take longer; systemd has its own limit
        serve_step(parent, fds, UINT64_MAX);
    }
}

static int serve_set_up(struct serve_parent *parent, struct br_err *reterr)
{
    struct cli *cli = parent->serve.cli;
    char fingerprint[BR_FINGERPRINT_TEXT_BYTES];
    sigset_t signals;
    int rc = conf_of(cli, &parent->serve.conf, reterr);

    rc = rc ? rc : trust_open(cli, &parent->serve.trust, reterr);
    if (rc) {
        return rc;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, &parent->signals_before);
    parent->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    parent->children = calloc(SERVE_CHILDREN_MAX, sizeof(*parent->children));
    if (parent->signal_fd < 0 || !parent->children) {
        return br_err_os(reterr, errno, "starting to serve");
    }
    rc = serve_listen(parent, reterr);
    if (!rc) {
        br_fingerprint_text(br_keys_fingerprint(parent->serve.trust.keys), fingerprint);
        cli_say(cli, "this server's key is %s", fingerprint);
        cli_report_text(cli, "fingerprint", fingerprint);
        serve_look_at_offers(parent);
    }
    return rc;
}

static int serve_run(struct cli *cli, struct br_err *reterr)
{
    struct serve_parent parent = {.serve = {.cli = cli, .trust = {.state_fd = -1}}, .signal_fd = -1};
    struct pollfd *fds = calloc(1 + BR_ARRAY_LEN(parent.listeners) + SERVE_CHILDREN_MAX, sizeof(*fds));

    if (!fds) {
        return br_err_set(reterr, BR_E_NOMEM, "starting to serve");
    }
    int rc = serve_set_up(&parent, reterr);
    if (!rc) {
        json_t *event = json_object();
        json_object_set_new(event, "type", json_string("ready"));
        cli_event(cli, event);
        notify("READY=1");
        parent.stopping = cli_cancel; // a signal from before they were blocked
        while (!parent.stopping) {
            serve_step(&parent, fds, serve_strangers_due_ns(&parent));
            serve_tell_strangers(&parent, false);
        }
        serve_stop(&parent, fds);
        serve_tell_strangers(&parent, true);
    }
    serve_deafen(&parent);
    trust_close(&parent.serve.trust);
    if (parent.signal_fd >= 0) {
        close(parent.signal_fd);
    }
    free(parent.children);
    free(fds);
    return rc;
}

static const struct cli_option serve_options[] = {
    {"listen", CLI_TEXT, "HOST[:PORT]",
     "Listen here instead of what the configuration says; several are separated by blanks."},
    {"io", CLI_CHOICE, "uring|aio|auto",
     "How replicas are read and written: io_uring, libaio, or the first that this host has."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB for each session."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example serve_examples[] = {
    {"blkrep serve", "Serve as the configuration says, until SIGTERM."},
    {"blkrep serve --listen=127.0.0.1:4777", "Serve this host only."},
    {NULL, NULL},
};

static const struct cli_field serve_fields[] = {
    {"fingerprint", "text", "Of this server's key."},
    {NULL, NULL, NULL},
};

static const struct cli_field serve_listening_fields[] = {
    {"address", "text", "HOST:PORT."},
    {"port", "number", "The port; chosen by the kernel when 0 was asked for."},
    {NULL, NULL, NULL},
};

static const struct cli_line serve_lines[] = {
    {"listening", "One for each address.", serve_listening_fields},
    {"ready", "Clients can come now. It has no fields.", NULL},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_serve = {
    .name = "serve",
    .args = "",
    .summary = "Keep replicas and repositories for other hosts.",
    .description =
        "Waits for clients that have paired with this host (`blkrep token create` here, `blkrep pair` there) and lets them bring its "
        "replicas to later versions. Which replicas there are is for the configuration to say: each `[replica NAME]` with a `path` is "
        "offered under NAME, and with `directory` in `[serve]` clients can make more as plain files DIRECTORY/NAME. Port 4777 unless told "
        "otherwise. It needs no root, only the right to read and write the replicas.\n\n"
        "Every connection is served by a process of its own. Both sides prove who they are by TLS 1.3 before anything else is read; how "
        "many may connect at once, for how long and how fast is limited by the configuration. What a client may do is its role: a reader "
        "looks and verifies, a writer brings replicas to later versions, an operator may also replace them.\n\n"
        "Each `[repository NAME]` with a `path` and `serve = yes` is offered too: clients use it as REPO under blkrep://HOST/NAME. What is in "
        "there stays sealed: this host can't read it, nor make or change a point unnoticed, and clients remember what they saw, so that an older "
        "copy put in its place is noticed (see --accept-rollback). What a client may do there is its role. A reader reads all. A writer adds "
        "points and packs, and sees no points but its own: the first writer of a volume's points owns the volume, by its key, and no other adds to it; "
        "it replaces and removes nothing, and adds no more in a day than `points-per-day`, `objects-per-day` and `bytes-per-day` allow. An operator "
        "also removes (prune) and holds; an admin also makes the repository and changes its keys. When an object came is told by this host's "
        "clock. Whose each volume is lies in stores/UUID of the state folder.\n\n"
        "SIGTERM or SIGINT: no more connections, sessions get `stop-timeout` to end; one that can't leaves its replica at the old version "
        "or resumable. SIGHUP: the configuration is read anew for connections that come after; addresses stay. systemd is told when it is "
        "ready.\n\n"
        "stderr tells who brought which replica to which version and who was refused; the audit log of the state folder has the same acts, "
        "and pairings. Of strangers (what does not speak TLS, is not paired, can't pair) 20 lines in ten minutes are written; the rest is "
        "counted into one.\n\n"
        "The systemd unit blkrep-serve runs it as user blkrep with the state folder /var/lib/blkrep-serve and may write /var/lib/blkrep-replicas "
        "only; the unit says how to let it write elsewhere. Verbs that look at that server's state (token, client, status, verify, finish) are "
        "run as that user: `runuser -u blkrep -- blkrep client list --state=/var/lib/blkrep-serve`.",
    .options = serve_options,
    .examples = serve_examples,
    .see_also = "blkrep-token-create(1), blkrep-client-list(1), blkrep-sync(1), blkrep.conf(5)",
    .schema = "blkrep.serve/1",
    .fields = serve_fields,
    .lines = serve_lines,
    .run = serve_run,
};
