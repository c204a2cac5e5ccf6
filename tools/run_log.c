// SPDX-License-Identifier: Apache-2.0
#include "tools/run_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/repo/history.h"

#define LOG_FILES_MAX  1000u // of verbs that only read; the oldest make room
#define LOG_BYTES_MAX  (1024u * 1024u)
#define LOG_STAGES_MAX 500u

struct run_log {
    struct cli *cli;
    struct br_ring *ring;
    struct br_repo *repo;
    bool writes;
    bool begun; // a stage
    struct br_uuid id;
    char name[BR_UUID_TEXT_BYTES];
    char host[256];
    int dir_fd;
    int fd; // the file, locked
    json_t *note;
    char stage[32];
};

static json_t *unix_ns_json(uint64_t unix_ns)
{
    return json_integer((json_int_t)unix_ns);
}

static void log_line(int fd, const json_t *line)
{
    char *text = json_dumps(line, CLI_JSON_FORMAT);

    if (text) {
        // One call, so that a line is whole, or cut at the end of the file.
        size_t len = strlen(text);
        text[len] = '\n';
        (void)!write(fd, text, len + 1);
        free(text);
    }
}

static int runs_folder(struct cli *cli, const struct br_uuid *uuid, struct br_err *reterr)
{
    char leaf[100], text[BR_UUID_TEXT_BYTES];
    int fd;

    br_uuid_text(uuid, text);
    snprintf(leaf, sizeof(leaf), "repositories/%s/runs", text);
    int error = place_state_dir(cli, leaf, &fd, reterr);
    return error ? error : fd;
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

static json_t *merge_lines(char *text)
{
    json_t *note = NULL, *stages = json_array();

    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        json_t *entry = *line ? json_loads(line, 0, NULL) : NULL;
        const char *stage = json_string_value(json_object_get(entry, "stage"));

        // One that is no object is the last one, cut when it was written.
        if (json_object_get(entry, "verb")) {
            json_decref(note);
            note = json_incref(entry);
        } else if (stage && json_array_size(stages) < LOG_STAGES_MAX) {
            json_array_append(stages, entry);
        }
        json_decref(entry);
    }
    if (note && !json_object_get(note, "stages")) {
        json_object_set(note, "stages", stages);
    }
    json_decref(stages);
    return note;
}

// The run of a file: its last note with the stages. @ret_alive: whoever writes it lives.
static json_t *read_log(int dir_fd, const char *name, bool *ret_alive)
{
    int fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    json_t *note = NULL;

    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > (off_t)LOG_BYTES_MAX) {
        if (fd >= 0) {
            close(fd);
        }
        return NULL;
    }
    *ret_alive = flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    char *text = calloc(1, (size_t)st.st_size + 1);
    if (text && pread(fd, text, (size_t)st.st_size, 0) == st.st_size) {
        note = merge_lines(text);
    }
    free(text);
    close(fd);
    if (note && !json_object_get(note, "outcome")) {
        json_t *stages = json_object_get(note, "stages");
        size_t count = json_array_size(stages);

        json_object_set_new(note, "outcome", json_string(*ret_alive ? "running" : "died"));
        json_object_set_new(note, "ended_unix_ns", json_null());
        json_object_set_new(note, "error", json_null());
        json_object_set(note, "stage",
                        count ? json_object_get(json_array_get(stages, count - 1), "stage") : json_null());
    }
    return note;
}

typedef int log_file_fn(void *ctx, int dir_fd, const char *name, const struct br_uuid *run);

static int each_file(int dir_fd, log_file_fn *fn, void *ctx)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    int rc = 0;

    if (!dir) {
        if (fd >= 0) {
            close(fd);
        }
        return 0;
    }
    while (!rc && (entry = readdir(dir)) != NULL) {
        struct br_uuid run;

        rc = br_uuid_parse(entry->d_name, &run) ? fn(ctx, dir_fd, entry->d_name, &run) : 0;
    }
    closedir(dir);
    return rc;
}

struct listing {
    run_log_fn *fn;
    void *ctx;
};

static int list_file(void *ctx, int dir_fd, const char *name, const struct br_uuid *run)
{
    const struct listing *listing = ctx;
    bool alive;
    json_t *note = read_log(dir_fd, name, &alive);

    return note ? listing->fn(listing->ctx, run, note) : 0;
}

static int list_all(struct cli *cli, struct listing *listing, struct br_err *reterr)
{
    int top, error = place_state_dir(cli, "repositories", &top, reterr);
    DIR *dir = error ? NULL : fdopendir(top);
    const struct dirent *entry;

    if (!dir) {
        return error ? error : br_err_os(reterr, errno, "the state folder");
    }
    while (!error && (entry = readdir(dir)) != NULL) {
        char leaf[300];
        struct br_uuid uuid;

        snprintf(leaf, sizeof(leaf), "%s/runs", entry->d_name);
        int runs = br_uuid_parse(entry->d_name, &uuid) ? openat(top, leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        if (runs >= 0) {
            error = each_file(runs, list_file, listing);
            close(runs);
        }
    }
    closedir(dir);
    return error;
}

int run_log_list(struct cli *cli, const struct br_uuid *uuid, run_log_fn *fn, void *ctx, struct br_err *reterr)
{
    struct listing listing = {.fn = fn, .ctx = ctx};

    if (!uuid) {
        return list_all(cli, &listing, reterr);
    }
    int fd = runs_folder(cli, uuid, reterr);
    if (fd < 0) {
        return fd;
    }
    int error = each_file(fd, list_file, &listing);
    close(fd);
    return error;
}

// Writing -----------------------------------------------------------------------------------------------------------------------------

static void put_note(const struct run_log *log, const struct br_uuid *run, unsigned number, const json_t *note,
                     bool *ret_stored)
{
    char *text = json_dumps(note, CLI_JSON_FORMAT);
    struct br_err err = {0};
    int rc = text ? br_history_put(log->repo, log->host, run, number, text, strlen(text), &err) : -BR_E_NOMEM;

    free(text);
    *ret_stored = !rc || rc == -BR_E_EXISTS;
}

struct sweeping {
    const struct run_log *log;
    unsigned files;
    char oldest[BR_UUID_TEXT_BYTES];
    struct timespec oldest_time;
};

// Of a run that died here: its last note goes to the repository, once there is a way.
static int sweep_file(void *ctx, int dir_fd, const char *name, const struct br_uuid *run)
{
    struct sweeping *sweeping = ctx;
    bool alive = false, stored = false;
    struct stat st;
    json_t *note = read_log(dir_fd, name, &alive);

    // One that began this moment has no line yet, and is locked.
    if (!alive && note && sweeping->log->writes && json_is_true(json_object_get(note, "writes"))) {
        put_note(sweeping->log, run, BR_HISTORY_END, note, &stored);
    }
    if (stored) {
        unlinkat(dir_fd, name, 0);
    } else if (!alive && !fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
        bool older = !sweeping->files || st.st_mtim.tv_sec < sweeping->oldest_time.tv_sec;

        sweeping->files++;
        if (older) {
            sweeping->oldest_time = st.st_mtim;
            snprintf(sweeping->oldest, sizeof(sweeping->oldest), "%s", name);
        }
    }
    json_decref(note);
    return 0;
}

static void sweep(const struct run_log *log)
{
    struct sweeping sweeping = {.log = log};

    each_file(log->dir_fd, sweep_file, &sweeping);
    if (sweeping.files > LOG_FILES_MAX) {
        unlinkat(log->dir_fd, sweeping.oldest, 0);
    }
}

static int open_file(struct run_log *log)
{
    log->fd = openat(log->dir_fd, log->name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return log->fd < 0 ? -errno : flock(log->fd, LOCK_EX | LOCK_NB) ? -errno : 0;
}

struct run_log *run_log_begin(struct cli *cli, struct br_ring *ring, struct repository *repository, bool writes)
{
    struct run_log *log = calloc(1, sizeof(*log));
    struct br_err none;

    if (!log) {
        return NULL;
    }
    *log = (struct run_log){.cli = cli, .ring = ring, .repo = repository->repo, .writes = writes, .fd = -1};
    log->id = br_ring_new_uuid(ring);
    br_uuid_text(&log->id, log->name);
    gethostname(log->host, sizeof(log->host) - 1);
    log->note = json_object();
    json_object_set_new(log->note, "verb", json_string(cli->verb->name));
    json_object_set_new(log->note, "host", cli_json_text(log->host));
    json_object_set_new(log->note, "repository", cli_json_text(repository->path));
    json_object_set_new(log->note, "subject", cli_json_text(cli->arg_count ? cli->args[0] : ""));
    json_object_set_new(log->note, "begun_unix_ns", unix_ns_json(br_ring_unix_ns(ring)));
    json_object_set_new(log->note, "writes", json_boolean(writes));
    log->dir_fd = runs_folder(cli, &br_repo_config_of(log->repo)->repository, &none);
    if (log->dir_fd >= 0 && !open_file(log)) {
        log_line(log->fd, log->note);
    }
    return log;
}

void run_log_target(struct run_log *log, const char *target, const struct br_uuid *point)
{
    char id[BR_UUID_TEXT_BYTES];

    if (!log) {
        return;
    }
    br_uuid_text(point, id);
    json_object_set_new(log->note, "target", cli_json_text(target));
    json_object_set_new(log->note, "point", json_string(id));
    if (log->fd >= 0) {
        log_line(log->fd, log->note); // of two the later one counts
    }
}

// A run that is refused before its first stage leaves the repository as it was.
static void first_stage(struct run_log *log)
{
    bool stored;

    log->begun = true;
    if (log->dir_fd >= 0) {
        sweep(log);
    }
    if (log->writes) {
        put_note(log, &log->id, BR_HISTORY_BEGIN, log->note, &stored);
    }
}

void run_log_stage(struct run_log *log, const char *stage)
{
    if (!log || !strcmp(log->stage, stage)) {
        return;
    }
    if (!log->begun) {
        first_stage(log);
    }
    json_t *stages = json_object_get(log->note, "stages"), *entry = json_object();

    snprintf(log->stage, sizeof(log->stage), "%s", stage);
    json_object_set_new(entry, "stage", json_string(stage));
    json_object_set_new(entry, "unix_ns", unix_ns_json(br_ring_unix_ns(log->ring)));
    if (log->fd >= 0) {
        log_line(log->fd, entry);
    }
    if (!stages) {
        stages = json_array();
        json_object_set_new(log->note, "stages", stages);
    }
    if (json_array_size(stages) < LOG_STAGES_MAX) {
        json_array_append(stages, entry);
    }
    json_decref(entry);
}

// What the exit object says in numbers, and what the run was about.
static void take_report(struct run_log *log)
{
    static const char *const names[] = {"source", "target", "point", "parent", "volume", "tracker", "fallback_reason"};
    json_t *figures = json_object(), *value;
    const char *key;

    json_object_foreach(log->cli->report, key, value)
    {
        if (json_is_number(value)) {
            json_object_set(figures, key, value);
        }
    }
    json_object_set_new(log->note, "figures", figures);
    for (size_t i = 0; i < BR_ARRAY_LEN(names); i++) {
        value = json_object_get(log->cli->report, names[i]);
        if (json_is_string(value) && !json_object_get(log->note, names[i])) {
            json_object_set(log->note, names[i], value);
        }
    }
}

void run_log_end(struct run_log *log, int error)
{
    bool stored = false;

    if (!log) {
        return;
    }
    log->writes = log->writes && log->begun;
    json_object_set_new(log->note, "writes", json_boolean(log->writes));
    take_report(log);
    json_object_set_new(log->note, "outcome", json_string(error && error != -BR_E_GAPS ? "failed" : "done"));
    json_object_set_new(log->note, "status", json_integer(br_err_exit(error)));
    json_object_set_new(log->note, "error", error ? json_string(br_err_name(error)) : json_null());
    json_object_set_new(log->note, "ended_unix_ns", unix_ns_json(br_ring_unix_ns(log->ring)));
    json_object_set_new(log->note, "stage", *log->stage ? json_string(log->stage) : json_null());
    if (log->fd >= 0) {
        log_line(log->fd, log->note);
    }
    if (log->writes) {
        put_note(log, &log->id, BR_HISTORY_END, log->note, &stored);
    }
    if (log->fd >= 0) {
        close(log->fd);
        if (stored) {
            unlinkat(log->dir_fd, log->name, 0);
        }
    }
    if (log->dir_fd >= 0) {
        close(log->dir_fd);
    }
    json_decref(log->note);
    free(log);
}
