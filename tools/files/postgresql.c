// SPDX-License-Identifier: Apache-2.0
#include "tools/files/postgresql.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/files/mounted.h"
#include "tools/nbdkit/process.h"

#define VERSION_BYTES 16u
#define STOP_MS       20000u
#define POLL_MS       100u
#define PROGRAM_BYTES (PATH_MAX + 32)

struct server {
    const struct postgresql_params *params;
    int data_fd;
    struct stat owner; // whose the data folder is: the server runs as him
    char version[VERSION_BYTES];
    char bin[PATH_MAX];
    char data[PATH_MAX];
    char config[PATH_MAX];
    pid_t pid;
};

// The data folder: links of the file system lead nowhere but in it.
static int data_open(struct server *server, struct br_err *reterr)
{
    int root = open(server->params->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = root < 0 ? -1 : mounted_open(root, server->params->path, O_RDONLY | O_DIRECTORY);
    int os_errno = errno;
    char link[40];

    if (root >= 0) {
        close(root);
    }
    if (fd < 0) {
        return br_err_os(reterr, os_errno, "opening %s in the point", server->params->path);
    }
    server->data_fd = fd;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, server->data, sizeof(server->data) - 1);
    if (len < 0 || fstat(fd, &server->owner)) {
        return br_err_os(reterr, errno, "looking at %s", server->params->path);
    }
    server->data[len] = 0;
    return server->owner.st_uid ? 0
                                : br_err_set(reterr, BR_E_UNSUPPORTED, "%s is root's: PostgreSQL does not run as root",
                                             server->params->path);
}

static int version_read(struct server *server, struct br_err *reterr)
{
    int fd = openat(server->data_fd, "PG_VERSION", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = fd < 0 ? -1 : read(fd, server->version, sizeof(server->version) - 1);

    if (fd >= 0) {
        close(fd);
    }
    server->version[len > 0 ? strspn(server->version, "0123456789.") : 0] = 0;
    if (!server->version[0] || strchr(server->version, '/')) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is no data folder of PostgreSQL: it has no PG_VERSION",
                          server->params->path);
    }
    if (server->params->bin) {
        snprintf(server->bin, sizeof(server->bin), "%s", server->params->bin);
    } else {
        snprintf(server->bin, sizeof(server->bin), "/usr/lib/postgresql/%s/bin", server->version);
    }
    return access(server->bin, X_OK)
               ? br_err_set(reterr, BR_E_UNSUPPORTED,
                            "the data is of PostgreSQL %s, and %s is not here: --bin names the folder of its programs",
                            server->version, server->bin)
               : 0;
}

// By links a data folder reaches out, into what this host has there now: a live database maybe.
static int stays_inside(const struct server *server, struct br_err *reterr)
{
    struct stat st;
    int fd = openat(server->data_fd, "pg_tblspc", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *spaces = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    bool empty = true;

    if (!spaces) {
        return br_err_os(reterr, errno, "opening %s/pg_tblspc", server->params->path);
    }
    while ((entry = readdir(spaces))) {
        empty = empty && entry->d_name[0] == '.';
    }
    closedir(spaces);
    if (!empty) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "the database has tablespaces outside of %s", server->params->path);
    }
    if (fstatat(server->data_fd, "pg_wal", &st, AT_SYMLINK_NOFOLLOW) || !S_ISDIR(st.st_mode)) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "pg_wal is no folder of %s", server->params->path);
    }
    return 0;
}

static int write_file(int dir_fd, const char *name, const struct stat *owner, const char *text, struct br_err *reterr)
{
    unlinkat(dir_fd, name, 0);
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t len = strlen(text);
    int error = fd < 0 || fchown(fd, owner->st_uid, owner->st_gid) || write(fd, text, len) != (ssize_t)len
                    ? br_err_os(reterr, errno ? errno : EIO, "writing %s", name)
                    : 0;
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

// Settings of ours alone. What is set beside (postgresql.auto.conf) is emptied: it could name programs to run. The limits are those that a log may have
// been written with: a server that replays it wants as much.
static int configure(struct server *server, struct br_err *reterr)
{
    static const char *const gone[] = {"postmaster.pid", "standby.signal", "recovery.signal", "postmaster.opts"};
    const char *run_dir = server->params->run_dir;
    char text[4 * PATH_MAX];
    int fd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fchown(fd, server->owner.st_uid, server->owner.st_gid) || fchmod(fd, 0700)) {
        int os_errno = errno;
        if (fd >= 0) {
            close(fd);
        }
        return br_err_os(reterr, os_errno, "opening %s", run_dir);
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(gone); i++) {
        unlinkat(server->data_fd, gone[i], 0);
    }
    snprintf(
        text, sizeof(text),
        "listen_addresses = ''\nunix_socket_directories = '%s'\nunix_socket_permissions = 0700\nhba_file = '%s/hba'\nident_file = '%s/ident'\n"
        "data_directory = '%s'\nfsync = off\nfull_page_writes = off\nsynchronous_commit = off\narchive_mode = off\nautovacuum = off\n"
        "shared_buffers = 32MB\nmax_connections = 20\nmax_prepared_transactions = 200\nmax_wal_senders = 0\nlogging_collector = off\n"
        "log_destination = 'stderr'\nlog_min_messages = error\nlog_checkpoints = off\nshared_preload_libraries = ''\nssl = off\nrestart_after_crash = off\n",
        run_dir, run_dir, run_dir, server->data);
    int error = write_file(fd, "conf", &server->owner, text, reterr);
    error = error ? error : write_file(fd, "hba", &server->owner, "local all all trust\n", reterr);
    error = error ? error : write_file(fd, "ident", &server->owner, "", reterr);
    error = error ? error : write_file(server->data_fd, "postgresql.auto.conf", &server->owner, "", reterr);
    close(fd);
    return error;
}

static void program(const struct server *server, const char *name, char path[PROGRAM_BYTES])
{
    snprintf(path, PROGRAM_BYTES, "%s/%s", server->bin, name);
}

static int run(const struct server *server, const char *const *argv, int out_fd, struct br_err *reterr)
{
    const struct child child = {
        .argv = argv, .out_fd = out_fd, .uid = server->owner.st_uid, .gid = server->owner.st_gid, .cwd = "/"};

    return child_run(&child, 0, reterr);
}

static int start(struct server *server, struct br_err *reterr)
{
    char postgres[PROGRAM_BYTES], ready[PROGRAM_BYTES], config[PATH_MAX];
    const char *argv[] = {postgres, "-D", server->data, "-c", config, NULL};
    const char *asks[] = {ready, "-q", "-h", server->params->run_dir, NULL};
    const struct child child = {
        .argv = argv, .out_fd = -1, .uid = server->owner.st_uid, .gid = server->owner.st_gid, .cwd = "/"};

    program(server, "postgres", postgres);
    program(server, "pg_isready", ready);
    snprintf(config, sizeof(config), "config_file=%s/conf", server->params->run_dir);
    int error = child_start(&child, &server->pid, reterr);
    for (unsigned waited = 0; !error; waited += POLL_MS) {
        struct br_err not_yet;
        int status;

        if (!run(server, asks, -1, &not_yet)) {
            return 0;
        }
        if (child_ended(server->pid, &status)) {
            server->pid = 0;
            error =
                br_err_set(reterr, BR_E_HOOK, "PostgreSQL does not start on what the point holds: see what it said");
        } else if (cli_cancel || waited > server->params->limit_ms) {
            error = br_err_set(reterr, cli_cancel ? BR_E_CANCELLED : BR_E_TIMEOUT, "starting PostgreSQL");
        }
        child_pause(POLL_MS);
    }
    return error;
}

static int dump(const struct server *server, struct br_err *reterr)
{
    const struct postgresql_params *params = server->params;
    char path[PROGRAM_BYTES], database[512];
    const char *argv[] = {path, "-h", params->run_dir, "-U", params->user, "--no-password", NULL, NULL};

    program(server, params->database ? "pg_dump" : "pg_dumpall", path);
    if (params->database) {
        // A name alone: not a connection string that leads elsewhere.
        if (strpbrk(params->database, "=:/")) {
            return br_err_set(reterr, BR_E_USAGE, "--database is the name of one");
        }
        snprintf(database, sizeof(database), "--dbname=%s", params->database);
        argv[6] = database;
    }
    return run(server, argv, STDOUT_FILENO, reterr);
}

int postgresql_dump(const struct postgresql_params *params, char *ret_version, struct br_err *reterr)
{
    BR_AUTO_FREE struct server *server = calloc(1, sizeof(*server));

    if (!server) {
        return br_err_set(reterr, BR_E_NOMEM, "a server");
    }
    server->params = params;
    server->data_fd = -1;
    int error = data_open(server, reterr);
    error = error ? error : version_read(server, reterr);
    error = error ? error : stays_inside(server, reterr);
    error = error ? error : configure(server, reterr);
    error = error ? error : start(server, reterr);
    error = error ? error : dump(server, reterr);
    // All of it is thrown away: no checkpoint.
    child_stop(server->pid, SIGQUIT, STOP_MS);
    if (server->data_fd >= 0) {
        close(server->data_fd);
    }
    snprintf(ret_version, VERSION_BYTES, "%s", server->version);
    return error;
}
