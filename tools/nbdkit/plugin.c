// SPDX-License-Identifier: Apache-2.0
//
// An nbdkit plugin: serves a recovery point as a disk, read only.
//
//     nbdkit nbdkit-blkrep-plugin.so REPO@POINT [volume=VOLUME] [passphrase-file=FILE | key-file=FILE] [state=DIR] [config=FILE]
//
// The words mean what they mean to blkrep's verbs, and a secret comes from where they take it; none is ever a parameter. `blkrep export` starts it.
//
// nbdkit's threads share one access (engine/repo/access.h), which one of them at a time moves on, in turns that are handed over in order: what one
// waits for, another one's wait brings along. The repository is opened behind nbdkit's fork, since workers and io_uring don't outlive one.
//
// When the server of a repository goes, the read that noticed connects anew and goes on if it can; else it fails, and so do those that follow
// within RETRY_NS. The point stays the one that was opened first, also where the word says latest.
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "engine/repo/access.h"
#include "tools/conf.h"
#include "tools/repository.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define RETRY_NS     (2 * BR_NS_PER_S) // after a server was asked for in vain

static const struct cli_option plugin_options[] = {
    {"volume", CLI_TEXT, "VOLUME", "As for blkrep restore."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_verb plugin_verb = {
    .name = "nbdkit plugin",
    .args = "REPO@POINT",
    .args_min = 1,
    .args_max = 1,
    .options = plugin_options,
};

// Its own turn's end of a thread that waits.
struct waiter {
    pthread_cond_t come;
    bool turn;
    struct waiter *next;
};

struct session {
    struct br_ring *ring;
    struct repository repository;
    struct br_access *access;
};

static struct {
    char *words[16]; // a command line of plugin_verb
    int count;
    int ready_fd; // who is told that clients can come, or why not; -1 nobody
    int cut_off;  // killed with its parent
    struct cli cli;
    struct br_point point;
    pthread_rwlock_t use; // of what follows up to the lock: held by whoever reads; for writing, to connect anew
    struct session session;
    unsigned connected; // how often
    uint64_t failed_ns; // when a server was asked for in vain; 0 never
    struct br_err why;
    pthread_mutex_t lock; // of the rest
    bool busy;            // somebody has the turn
    struct waiter *first, **last;
} plugin = {
    .ready_fd = -1, .use = PTHREAD_RWLOCK_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .last = &plugin.first};

// Turns -------------------------------------------------------------------------------------------------------------------------------

static void turn_take(void)
{
    struct waiter self = {.come = PTHREAD_COND_INITIALIZER};

    pthread_mutex_lock(&plugin.lock);
    if (plugin.busy) {
        *plugin.last = &self;
        plugin.last = &self.next;
        while (!self.turn) {
            pthread_cond_wait(&self.come, &plugin.lock);
        }
    }
    plugin.busy = true;
    pthread_mutex_unlock(&plugin.lock);
}

static void turn_give(void)
{
    pthread_mutex_lock(&plugin.lock);
    struct waiter *next = plugin.first;
    if (next) {
        plugin.first = next->next;
        plugin.last = plugin.first ? plugin.last : &plugin.first;
        next->turn = true;
        pthread_cond_signal(&next->come);
    } else {
        plugin.busy = false;
    }
    pthread_mutex_unlock(&plugin.lock);
}

// Configuration -----------------------------------------------------------------------------------------------------------------------

// One more word of the command line: --key=value, or value alone. Takes @value, which may be NULL.
static int add_word(const char *key, char *value)
{
    char *word = value;

    if (value && key && asprintf(&word, "--%s=%s", key, value) < 0) {
        word = NULL;
    }
    if (key) {
        free(value);
    }
    if (!word || plugin.count == (int)BR_ARRAY_LEN(plugin.words)) {
        nbdkit_error(word ? "too many parameters" : "out of memory");
        free(word);
        return -1;
    }
    plugin.words[plugin.count++] = word;
    return 0;
}

static int plugin_config(const char *key, const char *value)
{
    static const char *const paths[] = {"passphrase-file", "key-file", "state", "config"};

    if (!strcmp(key, "point")) {
        // nbdkit may go to another folder; the name of a section has no slash, and an address is none of a file.
        bool is_path = strchr(value, '/') && strncmp(value, "blkrep://", 9) != 0;

        return add_word(NULL, is_path ? nbdkit_absolute_path(value) : strdup(value));
    }
    if (!strcmp(key, "ready-fd")) {
        return nbdkit_parse_int("ready-fd", value, &plugin.ready_fd);
    }
    if (!strcmp(key, "cut-off")) {
        plugin.cut_off = nbdkit_parse_bool(value);
        return plugin.cut_off < 0 ? -1 : 0;
    }
    if (!strcmp(key, "volume")) {
        return add_word(key, strdup(value));
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(paths); i++) {
        if (!strcmp(key, paths[i])) {
            return add_word(key, nbdkit_absolute_path(value));
        }
    }
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
}

static int plugin_config_complete(void)
{
    struct br_err err = {0};

    if (cli_parse(&plugin.cli, &plugin_verb, plugin.count, plugin.words, &err)) {
        nbdkit_error("%s", err.text);
        return -1;
    }
    return 0;
}

// Life --------------------------------------------------------------------------------------------------------------------------------

static void session_close(struct session *session)
{
    br_access_close(session->access);
    repository_close(&session->repository);
    br_ring_close(session->ring);
    *session = (struct session){0};
}

// @word  names the point, which is written to @point; NULL it is there already
static int session_open(const char *repo, const char *word, struct br_point *point, struct session *session,
                        struct br_err *reterr)
{
    struct cli *cli = &plugin.cli;
    int error = place_ring(cli, &session->ring, reterr);

    error = error ? error : repository_open(cli, session->ring, repo, true, &session->repository, reterr);
    error = error || !word ? error : repository_point(cli, &session->repository, word, point, reterr);
    return error ? error : br_access_open(session->repository.repo, point, &session->access, reterr);
}

static int point_open(struct br_err *reterr)
{
    struct cli *cli = &plugin.cli;
    char repo[PATH_MAX], word[256];
    int error = repository_word(cli->args[0], repo, word, reterr);

    cli_set(cli, "buffers", "4"); // an access has memory of its own
    if (!error && !*word) {
        error = br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest is the newest", repo, repo);
    }
    return error ? error : session_open(repo, word, &plugin.point, &plugin.session, reterr);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BR_NS_PER_S + (uint64_t)now.tv_nsec;
}

// The server was gone for a read of the connection @connected: true when there is another one now; else @err says why there is none. What is
// lost is closed first: a process opens an index once (LMDB).
static bool connect_anew(unsigned connected, struct br_err *err)
{
    char repo[PATH_MAX], word[256];
    int error = repository_word(plugin.cli.args[0], repo, word, err);

    pthread_rwlock_wrlock(&plugin.use);
    if (!error && plugin.connected == connected) {
        if (plugin.failed_ns && now_ns() - plugin.failed_ns < RETRY_NS) {
            *err = plugin.why;
            error = -err->code;
        } else {
            *err = (struct br_err){0};
            session_close(&plugin.session);
            error = session_open(repo, NULL, &plugin.point, &plugin.session, err);
            plugin.failed_ns = error ? now_ns() : 0;
            plugin.why = *err;
        }
        if (!error) {
            plugin.connected++;
            nbdkit_debug("connected to %s anew", repo);
        } else {
            session_close(&plugin.session);
        }
    }
    pthread_rwlock_unlock(&plugin.use);
    return !error;
}

// Is there a connection? Holds plugin.use.
static int check_connected(struct br_err *reterr)
{
    return plugin.session.access ? 0 : br_err_set(reterr, BR_E_PEER, "the server is gone: %s", plugin.why.text);
}

static int plugin_after_fork(void)
{
    struct br_err err = {0};
    int error = point_open(&err);

    if (error) {
        nbdkit_error("%s: %s", br_err_message(-error), err.text);
    }
    // SIGTERM, which nbdkit has asked for, would wait for a client that is connected and says nothing, as a kernel's is.
    if (plugin.cut_off) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    if (plugin.ready_fd >= 0) {
        dprintf(plugin.ready_fd, "%s %s\n", br_err_name(-error), err.text);
        close(plugin.ready_fd);
    }
    return error ? -1 : 0;
}

static void plugin_cleanup(void)
{
    session_close(&plugin.session);
}

static void plugin_unload(void)
{
    json_decref(plugin.cli.report);
    conf_free(plugin.cli.conf);
    for (int i = 0; i < plugin.count; i++) {
        free(plugin.words[i]);
    }
}

static void *plugin_open(int readonly)
{
    (void)readonly;
    return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t plugin_get_size(void *handle)
{
    (void)handle;
    return (int64_t)plugin.point.size_bytes;
}

static int plugin_can_multi_conn(void *handle)
{
    (void)handle;
    return 1; // it never changes
}

static int plugin_can_cache(void *handle)
{
    (void)handle;
    return NBDKIT_CACHE_EMULATE;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    (void)handle;
    *minimum = 1;
    *preferred = BR_BLOCK_BYTES;
    *maximum = 32 * 1024 * 1024;
    return 0;
}

// Requests ----------------------------------------------------------------------------------------------------------------------------

static int failed(const struct br_err *err)
{
    nbdkit_error("%s: %s", br_err_message(err->code), err->text);
    nbdkit_set_error(EIO);
    return -1;
}

static int read_once(void *buf, uint32_t count, uint64_t offset, struct br_err *reterr)
{
    struct session *session = &plugin.session;
    struct br_access_read read;

    turn_take();
    int rc = br_access_begin(session->access, &read, buf, count, offset, reterr);
    bool begun = !rc;
    rc = rc ? rc : br_access_step(session->access, &read, reterr);
    // Who comes behind asks for what he wants before anybody waits.
    while (!rc) {
        turn_give();
        turn_take();
        br_ring_wait(session->ring, UINT64_MAX);
        rc = br_access_step(session->access, &read, reterr);
    }
    if (begun) {
        br_access_end(session->access, &read);
    }
    turn_give();
    return rc;
}

// What is in no pack that is known may have moved to another one since (prune).
static void look_again(void)
{
    const struct session *session = &plugin.session;
    struct br_repo_refreshed refreshed;
    struct br_err err = {0};

    turn_take();
    if (br_repo_refresh(session->repository.repo, &refreshed, &err)) {
        nbdkit_debug("looking for packs: %s", err.text);
    }
    turn_give();
}

static int read_found(void *buf, uint32_t count, uint64_t offset, struct br_err *reterr)
{
    int rc = check_connected(reterr);

    rc = rc ? rc : read_once(buf, count, offset, reterr);
    if (rc == -BR_E_NOT_FOUND) {
        look_again();
        *reterr = (struct br_err){0};
        rc = read_once(buf, count, offset, reterr);
    }
    return rc;
}

static bool is_gone(int rc)
{
    return rc == -BR_E_PEER || rc == -BR_E_TIMEOUT || rc == -BR_E_CANCELLED; // which a server says that is told to stop
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    struct br_err err = {0};

    (void)handle;
    (void)flags;
    pthread_rwlock_rdlock(&plugin.use);
    unsigned connected = plugin.connected;
    int rc = read_found(buf, count, offset, &err);
    pthread_rwlock_unlock(&plugin.use);
    if (is_gone(rc) && connect_anew(connected, &err)) {
        err = (struct br_err){0};
        pthread_rwlock_rdlock(&plugin.use);
        rc = read_found(buf, count, offset, &err);
        pthread_rwlock_unlock(&plugin.use);
    }
    return rc < 0 ? failed(&err) : 0;
}

// From *@offset on, which is moved to where it came.
static int add_extents(uint64_t *offset, uint64_t end, uint32_t flags, struct nbdkit_extents *extents,
                       struct br_err *reterr)
{
    const struct session *session = &plugin.session;
    int rc = check_connected(reterr);
    bool more = true;

    if (rc) {
        return rc;
    }
    turn_take();
    while (!rc && more && *offset < end) {
        uint64_t next = end;
        bool zero = false;

        rc = br_access_extent(session->access, *offset, &zero, &next, reterr);
        if (!rc) {
            more = !nbdkit_add_extent(extents, *offset, next - *offset,
                                      zero ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) &&
                   !(flags & NBDKIT_FLAG_REQ_ONE);
            *offset = next;
        }
    }
    turn_give();
    return rc;
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents)
{
    uint64_t end = offset + count;
    struct br_err err = {0};

    (void)handle;
    pthread_rwlock_rdlock(&plugin.use);
    unsigned connected = plugin.connected;
    int rc = add_extents(&offset, end, flags, extents, &err);
    pthread_rwlock_unlock(&plugin.use);
    if (is_gone(rc) && connect_anew(connected, &err)) {
        err = (struct br_err){0};
        pthread_rwlock_rdlock(&plugin.use);
        rc = add_extents(&offset, end, flags, extents, &err);
        pthread_rwlock_unlock(&plugin.use);
    }
    return rc < 0 ? failed(&err) : 0;
}

// nbdkit's own shape of a plugin's table
static struct nbdkit_plugin plugin_table = {
    .name = "blkrep",
    .longname = "blkrep recovery points",
    .description = "serves a recovery point of a blkrep repository, read only",
    .config = plugin_config,
    .config_complete = plugin_config_complete,
    .config_help = "REPO@POINT               the recovery point, as for blkrep restore\n"
                   "volume=VOLUME            whose points latest and times mean\n"
                   "passphrase-file=FILE     the passphrase is its first line; else $BLKREP_PASSPHRASE\n"
                   "key-file=FILE            a key file instead\n"
                   "state=DIR, config=FILE   as for every verb of blkrep",
    .magic_config_key = "point",
    .after_fork = plugin_after_fork,
    .cleanup = plugin_cleanup,
    .unload = plugin_unload,
    .open = plugin_open,
    .get_size = plugin_get_size,
    .can_multi_conn = plugin_can_multi_conn,
    .can_cache = plugin_can_cache,
    .block_size = plugin_block_size,
    .pread = plugin_pread,
    .extents = plugin_extents,
};

NBDKIT_REGISTER_PLUGIN(plugin_table)
