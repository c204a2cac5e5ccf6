// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "dm-helper/wire.h"
#include "engine/base/units.h"

#define DMH_LIBEXEC       "/usr/libexec/blkrep/"
#define DMH_PROGRAM       "blkrep-dm-helper"
#define DMH_HELLO_MS      UINT64_C(10000)
#define DMH_CALL_MS       UINT64_C(120000) // on top of what a request may take by its own members
#define DMH_GOODBYE_MS    1000
#define DMH_THIN_DELTA_MS UINT64_C(120000) // waiting for the pool's metadata snapshot, and thin_delta itself
// A connection on which the server takes nothing holds the kernel's farewell up for its timeout, and so may one request before it.
#define DMH_NBD_DISCONNECT_MS (UINT64_C(2) * DMH_NBD_TIMEOUT_MAX_S * 1000)
#define DMH_SOCKET_BUFFER     (2 * DMH_MESSAGE_MAX)

struct dmh_client {
    int fd;
    pid_t pid; // of a spawned helper, 0 for a service
    uint32_t sequence;
    bool broken;
    struct dmh_welcome welcome;
    struct br_buf out;
    uint8_t in[DMH_MESSAGE_MAX];
};

// What goes along with a request and comes with its reply.
struct dmh_descriptors {
    const int *give; // stay the caller's
    size_t give_count;
    int *ret_taken; // NULL: a descriptor is a breach of the protocol
};

static const struct dmh_descriptors dmh_no_descriptors;

// ---- one request -----------------------------------------------------------------------------------------------------

static int dmh_broken(struct dmh_client *client, int error)
{
    client->broken = true;
    return error;
}

static int dmh_send_request(struct dmh_client *client, uint16_t op, const void *request,
                            const struct dmh_descriptors *descriptors, struct br_err *reterr)
{
    struct dmh_header header = {
        .op = op, .flags = descriptors->give_count ? DMH_FLAG_FD : 0, .sequence = ++client->sequence};

    br_buf_reset(&client->out);
    int error = dmh_encode(&header, dmh_request_layout(op), request, &client->out, reterr);
    if (error) {
        return error;
    }
    if (dmh_process_send(client->fd, client->out.data, client->out.len, descriptors->give, descriptors->give_count)) {
        return dmh_broken(client, br_err_set(reterr, BR_E_PEER, "sending %s to blkrep-dm-helper: %s", dmh_op_name(op),
                                             strerror(errno)));
    }
    return 0;
}

static int dmh_await_reply(int fd, uint64_t timeout_ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t end_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / BR_NS_PER_MS + timeout_ms;

    for (;;) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / BR_NS_PER_MS;
        int ready = poll(&pollfd, 1, now_ms < end_ms ? (int)BR_MIN(end_ms - now_ms, UINT64_C(1000000)) : 0);
        if (ready > 0 || (ready < 0 && errno != EINTR) || (!ready && now_ms >= end_ms)) {
            return ready;
        }
    }
}

static int dmh_receive_reply(struct dmh_client *client, uint16_t op, uint64_t timeout_ms, size_t *ret_len, int *ret_fd,
                             struct br_err *reterr)
{
    int fds[DMH_PASS_FDS_MAX];
    size_t fd_count = 0;
    bool whole = false;

    int ready = dmh_await_reply(client->fd, timeout_ms);
    if (ready <= 0) {
        return dmh_broken(client, br_err_set(reterr, ready ? BR_E_PEER : BR_E_TIMEOUT,
                                             "blkrep-dm-helper did not answer %s", dmh_op_name(op)));
    }
    ssize_t len = dmh_process_receive(client->fd, client->in, sizeof(client->in), fds, &fd_count, &whole);
    if (len <= 0 || !whole || fd_count > 1) {
        dmh_process_close(fds, fd_count);
        return dmh_broken(
            client, br_err_set(reterr, BR_E_PEER, "blkrep-dm-helper ended while it was asked for %s", dmh_op_name(op)));
    }
    *ret_len = (size_t)len;
    *ret_fd = fd_count ? fds[0] : -1;
    return 0;
}

static int dmh_read_reply(struct dmh_client *client, uint16_t op, size_t len, bool has_fd, void *reply,
                          struct br_err *reterr)
{
    struct dmh_header header;
    struct br_err remote;
    const uint8_t *payload = client->in + DMH_HEADER_BYTES;

    int error = dmh_decode_header(client->in, len, &header, reterr);
    if (error) {
        return dmh_broken(client, error);
    }
    if (header.op != op || header.sequence != client->sequence || !(header.flags & DMH_FLAG_REPLY) ||
        ((header.flags & DMH_FLAG_FD) != 0) != has_fd) {
        return dmh_broken(client, br_err_set(reterr, BR_E_PROTOCOL, "blkrep-dm-helper answered something else than %s",
                                             dmh_op_name(op)));
    }
    if (!header.failed) {
        error = dmh_decode_body(dmh_reply_layout(op), payload, header.payload_bytes, reply, reterr);
        return error ? dmh_broken(client, error) : 0;
    }
    error = dmh_decode_error(&header, payload, header.payload_bytes, &remote, reterr);
    if (error) {
        return dmh_broken(client, error);
    }
    if (reterr) {
        *reterr = remote;
    }
    return -remote.code;
}

// One request and its reply.
static int dmh_exchange(struct dmh_client *client, uint16_t op, const void *request, void *reply,
                        const struct dmh_descriptors *descriptors, uint64_t timeout_ms, struct br_err *reterr)
{
    bool takes_fd = descriptors->ret_taken != NULL;
    size_t len = 0;
    int fd = -1;

    if (client->broken) {
        return br_err_set(reterr, BR_E_PEER, "the connection to blkrep-dm-helper is broken");
    }
    int error = dmh_send_request(client, op, request, descriptors, reterr);
    if (!error) {
        error = dmh_receive_reply(client, op, timeout_ms, &len, &fd, reterr);
    }
    if (!error) {
        error = dmh_read_reply(client, op, len, fd >= 0, reply, reterr);
    }
    if (!error && (fd >= 0) != takes_fd) {
        error =
            dmh_broken(client, br_err_set(reterr, BR_E_PROTOCOL, "blkrep-dm-helper's answer to %s has %s descriptor",
                                          dmh_op_name(op), fd >= 0 ? "a" : "no"));
    }
    if (error && fd >= 0) {
        close(fd);
    }
    if (!error && takes_fd) {
        *descriptors->ret_taken = fd;
    }
    return error;
}

// An exchange whose result goes into memory of its own, so that a caller's is written on success only.
static int dmh_call_with(struct dmh_client *client, uint16_t op, const void *request, void *ret_reply,
                         const struct dmh_descriptors *descriptors, uint64_t more_ms, struct br_err *reterr)
{
    size_t size = dmh_layout_size(dmh_reply_layout(op));
    BR_AUTO_FREE void *reply = calloc(1, size);

    if (!reply) {
        return br_err_set(reterr, BR_E_NOMEM, "asking blkrep-dm-helper for %s", dmh_op_name(op));
    }
    int error = dmh_exchange(client, op, request, reply, descriptors, DMH_CALL_MS + more_ms, reterr);
    if (!error && ret_reply) {
        memcpy(ret_reply, reply, size);
    }
    return error;
}

static int dmh_call(struct dmh_client *client, uint16_t op, const void *request, void *ret_reply, uint64_t more_ms,
                    struct br_err *reterr)
{
    return dmh_call_with(client, op, request, ret_reply, &dmh_no_descriptors, more_ms, reterr);
}

// ---- connecting ------------------------------------------------------------------------------------------------------

static int dmh_client_start(int fd, pid_t pid, struct dmh_client **ret_client, struct br_err *reterr)
{
    struct dmh_client *client = calloc(1, sizeof(*client));
    struct dmh_hello hello = {.version = DMH_PROTOCOL_VERSION};
    int size = DMH_SOCKET_BUFFER;

    if (!client) {
        close(fd);
        return br_err_set(reterr, BR_E_NOMEM, "connecting to blkrep-dm-helper");
    }
    client->fd = fd;
    client->pid = pid;
    // Fails where the system allows less; a message that does not fit then is an error of its own.
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    int error = dmh_exchange(client, DMH_OP_HELLO, &hello, &client->welcome, &dmh_no_descriptors, DMH_HELLO_MS, reterr);
    if (error) {
        dmh_client_close(client);
        return error;
    }
    *ret_client = client;
    return 0;
}

// What the helper needs of this process's environment, and nothing else of it.
static char **dmh_clean_environment(char *buffer, size_t size)
{
    static const char *const kept[] = {"BLKREP_STATE", "BLKREP_CONFIG", "DM_DISABLE_UDEV"};
    static char *environment[BR_ARRAY_LEN(kept) + 3];
    static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C";
    size_t count = 0;

    environment[count++] = path;
    environment[count++] = locale;
    for (size_t i = 0; i < BR_ARRAY_LEN(kept); i++) {
        const char *value = getenv(kept[i]);
        int len = value ? snprintf(buffer, size, "%s=%s", kept[i], value) : -1;
        if (len > 0 && (size_t)len < size) {
            environment[count++] = buffer;
            buffer += len + 1;
            size -= (size_t)len + 1;
        }
    }
    environment[count] = NULL;
    return environment;
}

static int dmh_spawn(const char *program, int fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    char buffer[3 * PATH_MAX];
    char name[] = DMH_PROGRAM;
    char *arguments[] = {name, NULL};

    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    // A session of its own: a terminal's Ctrl-C ends blkrep, and the helper then finds its connection closed.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    // The connection first: where this process has no standard streams, it may lie on one of their numbers.
    int error = posix_spawn_file_actions_adddup2(&actions, fd, DMH_CONNECTION_FD);
    error = error ? error : posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    error = error ? error : posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    error = error ? error
                  : posix_spawn(ret_pid, program, &actions, &attributes, arguments,
                                dmh_clean_environment(buffer, sizeof(buffer)));
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

// The helper beside the running program, as in a build folder, or else the installed one.
static void dmh_program_path(char *path, size_t size)
{
    ssize_t len = readlink("/proc/self/exe", path, size - 1);
    char *slash = NULL;

    if (len > 0) {
        path[len] = 0;
        slash = strrchr(path, '/');
    }
    if (slash && (size_t)(slash + 1 - path) + sizeof(DMH_PROGRAM) <= size) {
        memcpy(slash + 1, DMH_PROGRAM, sizeof(DMH_PROGRAM));
        if (!access(path, X_OK)) {
            return;
        }
    }
    snprintf(path, size, "%s%s", DMH_LIBEXEC, DMH_PROGRAM);
}

int dmh_client_spawn(const char *program, struct dmh_client **ret_client, struct br_err *reterr)
{
    char found[PATH_MAX];
    int sockets[2];
    pid_t pid;

    if (!program) {
        dmh_program_path(found, sizeof(found));
        program = found;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets)) {
        return br_err_os(reterr, errno, "making a socket for blkrep-dm-helper");
    }
    int failed = dmh_spawn(program, sockets[1], &pid);
    close(sockets[1]);
    if (failed) {
        close(sockets[0]);
        return br_err_os(reterr, failed, "starting %s", program);
    }
    return dmh_client_start(sockets[0], pid, ret_client, reterr);
}

int dmh_client_connect(const char *path, struct dmh_client **ret_client, struct br_err *reterr)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *where = path ? path : DMH_SOCKET_PATH;

    if (strlen(where) >= sizeof(address.sun_path)) {
        return br_err_set(reterr, BR_E_USAGE, "the socket path %s is too long", where);
    }
    memcpy(address.sun_path, where, strlen(where) + 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return br_err_os(reterr, errno, "making a socket for blkrep-dm-helper");
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
        int error = errno == EACCES
                        ? br_err_set(reterr, BR_E_PERMISSION,
                                     "volumes that root attached are for members of group blkrep (%s)", where)
                        : br_err_os(reterr, errno, "connecting to blkrep-dm-helper at %s", where);
        close(fd);
        return error;
    }
    return dmh_client_start(fd, 0, ret_client, reterr);
}

int dmh_client_open(const char *program, struct dmh_client **ret_client, struct br_err *reterr)
{
    return geteuid() ? dmh_client_connect(NULL, ret_client, reterr) : dmh_client_spawn(program, ret_client, reterr);
}

void dmh_client_close(struct dmh_client *client)
{
    if (!client) {
        return;
    }
    close(client->fd);
    for (int i = 0; client->pid && i < DMH_GOODBYE_MS && waitpid(client->pid, NULL, WNOHANG) == 0; i++) {
        nanosleep(&(struct timespec){.tv_nsec = BR_NS_PER_MS}, NULL);
    }
    br_buf_free(&client->out);
    free(client);
}

const struct dmh_welcome *dmh_client_welcome(const struct dmh_client *client)
{
    return &client->welcome;
}

// ---- the requests ----------------------------------------------------------------------------------------------------

int dmh_register(struct dmh_client *client, const struct dmh_volume *volume, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_REGISTER, volume, NULL, 0, reterr);
}

// The struct of a request about a whole volume.
static int dmh_volume_ref_of(const char *volume, struct dmh_volume_ref *ret_ref, struct br_err *reterr)
{
    struct dmh_volume_ref ref = {0};

    if (strlen(volume) >= sizeof(ref.volume)) {
        return br_err_set(reterr, BR_E_USAGE, "the volume's name is too long: %s", volume);
    }
    memcpy(ref.volume, volume, strlen(volume));
    *ret_ref = ref;
    return 0;
}

int dmh_unregister(struct dmh_client *client, const char *volume, struct br_err *reterr)
{
    struct dmh_volume_ref ref;
    int error = dmh_volume_ref_of(volume, &ref, reterr);

    return error ? error : dmh_call(client, DMH_OP_UNREGISTER, &ref, NULL, 0, reterr);
}

int dmh_volume(struct dmh_client *client, const char *volume, struct dmh_volume *ret_volume, struct br_err *reterr)
{
    struct dmh_volume_ref ref;
    int error = dmh_volume_ref_of(volume, &ref, reterr);

    return error ? error : dmh_call(client, DMH_OP_VOLUME, &ref, ret_volume, 0, reterr);
}

int dmh_create(struct dmh_client *client, const struct dmh_create *create, struct dmh_created *ret_created,
               struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_CREATE, create, ret_created, 0, reterr);
}

int dmh_load(struct dmh_client *client, const struct dmh_load *load, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_LOAD, load, NULL, 0, reterr);
}

int dmh_copy_table(struct dmh_client *client, const struct dmh_copy_table *copy, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_COPY_TABLE, copy, NULL, 0, reterr);
}

int dmh_clear(struct dmh_client *client, const struct dmh_ref *device, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_CLEAR, device, NULL, 0, reterr);
}

int dmh_resume(struct dmh_client *client, const struct dmh_ref *device, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_RESUME, device, NULL, 0, reterr);
}

int dmh_remove(struct dmh_client *client, const struct dmh_remove *remove, struct dmh_removed *ret_removed,
               struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_REMOVE, remove, ret_removed, remove->retry_ms, reterr);
}

int dmh_message(struct dmh_client *client, const struct dmh_message *message, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_MESSAGE, message, NULL, 0, reterr);
}

int dmh_status(struct dmh_client *client, const struct dmh_query *query, struct dmh_status *ret_status,
               struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_STATUS, query, ret_status, 0, reterr);
}

int dmh_table(struct dmh_client *client, const struct dmh_query *query, struct dmh_rows *ret_rows,
              struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_TABLE, query, ret_rows, 0, reterr);
}

int dmh_info(struct dmh_client *client, const struct dmh_ref *device, struct dmh_info *ret_info, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_INFO, device, ret_info, 0, reterr);
}

int dmh_list(struct dmh_client *client, const struct dmh_list *list, struct dmh_listed *ret_listed,
             struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_LIST, list, ret_listed, 0, reterr);
}

int dmh_window(struct dmh_client *client, const struct dmh_window *window, struct dmh_window_done *ret_done,
               struct br_err *reterr)
{
    uint64_t more_ms = (uint64_t)window->deadline_ms + window->sync_budget_ms;

    return dmh_call(client, DMH_OP_WINDOW, window, ret_done, more_ms, reterr);
}

int dmh_snapshot_remove(struct dmh_client *client, const struct dmh_snapshot_remove *remove,
                        struct dmh_window_done *ret_done, struct br_err *reterr)
{
    uint64_t more_ms = (uint64_t)remove->deadline_ms + remove->retry_ms;

    return dmh_call(client, DMH_OP_SNAPSHOT_REMOVE, remove, ret_done, more_ms, reterr);
}

int dmh_freeze(struct dmh_client *client, const struct dmh_freeze *freeze, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_FREEZE, freeze, NULL, freeze->deadline_ms, reterr);
}

int dmh_thaw(struct dmh_client *client, struct dmh_thawed *ret_thawed, struct br_err *reterr)
{
    struct dmh_done nothing = {0};

    return dmh_call(client, DMH_OP_THAW, &nothing, ret_thawed, 0, reterr);
}

int dmh_open(struct dmh_client *client, const struct dmh_open *open, int *ret_fd, struct dmh_opened *ret_opened,
             struct br_err *reterr)
{
    return dmh_call_with(client, DMH_OP_OPEN, open, ret_opened, &(struct dmh_descriptors){.ret_taken = ret_fd}, 0,
                         reterr);
}

int dmh_zero_head(struct dmh_client *client, const struct dmh_ref *device, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_ZERO_HEAD, device, NULL, 0, reterr);
}

int dmh_file_make(struct dmh_client *client, const struct dmh_file_make *make, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_FILE_MAKE, make, NULL, 0, reterr);
}

int dmh_file_map(struct dmh_client *client, const struct dmh_file_map *map, struct dmh_file_mapped *ret_mapped,
                 struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_FILE_MAP, map, ret_mapped, 0, reterr);
}

int dmh_file_release(struct dmh_client *client, const struct dmh_ref *file, bool remove, struct br_err *reterr)
{
    struct dmh_file_release release = {.file = *file, .remove = remove};

    return dmh_call(client, DMH_OP_FILE_RELEASE, &release, NULL, 0, reterr);
}

int dmh_lvm_report(struct dmh_client *client, const struct dmh_lvm_report *report, struct dmh_lvm_json *ret_json,
                   struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_LVM_REPORT, report, ret_json, 0, reterr);
}

int dmh_lvm_create(struct dmh_client *client, const struct dmh_lvm_create *create, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_LVM_CREATE, create, NULL, 0, reterr);
}

int dmh_lvm_extend(struct dmh_client *client, const struct dmh_lvm_change *change, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_LVM_EXTEND, change, NULL, 0, reterr);
}

int dmh_lvm_remove(struct dmh_client *client, const struct dmh_lvm_change *change, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_LVM_REMOVE, change, NULL, 0, reterr);
}

int dmh_lvm_activate(struct dmh_client *client, const struct dmh_lvm_change *change, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_LVM_ACTIVATE, change, NULL, 0, reterr);
}

int dmh_thin_delta(struct dmh_client *client, const struct dmh_thin_delta *delta, int *ret_fd,
                   struct dmh_thin_told *ret_told, struct br_err *reterr)
{
    return dmh_call_with(client, DMH_OP_THIN_DELTA, delta, ret_told, &(struct dmh_descriptors){.ret_taken = ret_fd},
                         DMH_THIN_DELTA_MS, reterr);
}

int dmh_volumes(struct dmh_client *client, struct dmh_volumes *ret_volumes, struct br_err *reterr)
{
    struct dmh_done none = {0};

    return dmh_call(client, DMH_OP_VOLUMES, &none, ret_volumes, 0, reterr);
}

int dmh_record_open(struct dmh_client *client, const char *volume, uint32_t file, int *ret_fd, struct br_err *reterr)
{
    struct dmh_record_open open = {.file = file};
    struct dmh_volume_ref ref;
    int error = dmh_volume_ref_of(volume, &ref, reterr);

    if (error) {
        return error;
    }
    memcpy(open.volume, ref.volume, sizeof(open.volume));
    return dmh_call_with(client, DMH_OP_RECORD_OPEN, &open, NULL, &(struct dmh_descriptors){.ret_taken = ret_fd}, 0,
                         reterr);
}

int dmh_record_keep(struct dmh_client *client, const char *volume, struct br_err *reterr)
{
    struct dmh_volume_ref ref;
    int error = dmh_volume_ref_of(volume, &ref, reterr);

    return error ? error : dmh_call(client, DMH_OP_RECORD_KEEP, &ref, NULL, 0, reterr);
}

// ---- NBD -------------------------------------------------------------------------------------------------------------

int dmh_nbd_connect(struct dmh_client *client, const struct dmh_nbd_connect *connect, const int *fds, size_t fd_count,
                    struct dmh_nbd_info *ret_info, struct br_err *reterr)
{
    struct dmh_descriptors descriptors = {.give = fds, .give_count = fd_count};

    return dmh_call_with(client, DMH_OP_NBD_CONNECT, connect, ret_info, &descriptors, 0, reterr);
}

int dmh_nbd_reconnect(struct dmh_client *client, const struct dmh_nbd_reconnect *reconnect, const int *fds,
                      size_t fd_count, struct dmh_nbd_reconnected *ret_done, struct br_err *reterr)
{
    struct dmh_descriptors descriptors = {.give = fds, .give_count = fd_count};

    return dmh_call_with(client, DMH_OP_NBD_RECONNECT, reconnect, ret_done, &descriptors, reconnect->retry_ms, reterr);
}

int dmh_nbd_disconnect(struct dmh_client *client, const struct dmh_nbd_disconnect *disconnect, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_NBD_DISCONNECT, disconnect, NULL, DMH_NBD_DISCONNECT_MS, reterr);
}

int dmh_nbd_status(struct dmh_client *client, const struct dmh_ref *device, struct dmh_nbd_info *ret_info,
                   struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_NBD_STATUS, device, ret_info, 0, reterr);
}

int dmh_nbd_list(struct dmh_client *client, const struct dmh_list *list, struct dmh_nbd_listed *ret_listed,
                 struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_NBD_LIST, list, ret_listed, 0, reterr);
}

// ---- ublk ------------------------------------------------------------------------------------------------------------

int dmh_ublk_add(struct dmh_client *client, const struct dmh_ublk_add *add, int *ret_fd, struct dmh_ublk_info *ret_info,
                 struct br_err *reterr)
{
    return dmh_call_with(client, DMH_OP_UBLK_ADD, add, ret_info, &(struct dmh_descriptors){.ret_taken = ret_fd}, 0,
                         reterr);
}

int dmh_ublk_start(struct dmh_client *client, const struct dmh_ublk_serve *serve, struct dmh_ublk_info *ret_info,
                   struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_UBLK_START, serve, ret_info, serve->deadline_ms, reterr);
}

int dmh_ublk_stop(struct dmh_client *client, const struct dmh_ublk_end *end, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_UBLK_STOP, end, NULL, end->deadline_ms, reterr);
}

int dmh_ublk_delete(struct dmh_client *client, const struct dmh_ublk_end *end, struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_UBLK_DELETE, end, NULL, end->deadline_ms, reterr);
}

int dmh_ublk_recover(struct dmh_client *client, const struct dmh_ublk_recover *recover, int *ret_fd,
                     struct dmh_ublk_info *ret_info, struct br_err *reterr)
{
    return dmh_call_with(client, DMH_OP_UBLK_RECOVER, recover, ret_info, &(struct dmh_descriptors){.ret_taken = ret_fd},
                         recover->retry_ms, reterr);
}

int dmh_ublk_recovered(struct dmh_client *client, const struct dmh_ublk_serve *serve, struct dmh_ublk_info *ret_info,
                       struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_UBLK_RECOVERED, serve, ret_info, serve->deadline_ms, reterr);
}

int dmh_ublk_status(struct dmh_client *client, const struct dmh_ref *device, struct dmh_ublk_info *ret_info,
                    struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_UBLK_STATUS, device, ret_info, 0, reterr);
}

int dmh_ublk_list(struct dmh_client *client, const struct dmh_list *list, struct dmh_ublk_listed *ret_listed,
                  struct br_err *reterr)
{
    return dmh_call(client, DMH_OP_UBLK_LIST, list, ret_listed, 0, reterr);
}
