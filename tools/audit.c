// SPDX-License-Identifier: Apache-2.0
#include "tools/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/place.h"

#define AUDIT_NAME     "audit.ndjson"
#define AUDIT_LINE_MAX (64 * 1024)
#define AUDIT_LIST_MAX 1000                     // uuids, 39 bytes each
#define AUDIT_TAIL_MAX (2 * AUDIT_LINE_MAX + 2) // the last whole line, and a torn one behind it

static void audit_hash(const char *line, size_t len, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    EVP_Digest(line, len, digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
}

static int audit_open(struct cli *cli, int flags, int *ret_fd, struct br_err *reterr)
{
    int dir_fd;
    int error = place_state_dir(cli, "", &dir_fd, reterr);

    if (error) {
        return error;
    }
    struct stat st;
    int fd = openat(dir_fd, AUDIT_NAME, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && !fstat(fd, &st) && (st.st_size || !fsync(dir_fd)); // a name that is new is made durable
    int os_errno = errno;
    close(dir_fd);
    if (!ok) {
        if (fd >= 0) {
            close(fd);
        }
        return br_err_os(reterr, os_errno, "opening " AUDIT_NAME " in the state folder");
    }
    *ret_fd = fd;
    return 0;
}

int audit_ready(struct cli *cli, struct br_err *reterr)
{
    struct stat st;
    int fd;
    int error = audit_open(cli, O_RDWR | O_CREAT, &fd, reterr);

    if (error) {
        return error;
    }
    // Space for a line behind the end, kept outside the size: a full file system is noticed before the act, not after it.
    if (fstat(fd, &st) || (fallocate(fd, FALLOC_FL_KEEP_SIZE, st.st_size, AUDIT_LINE_MAX) && errno != EOPNOTSUPP)) {
        int os_errno = errno;
        char state[PATH_MAX];
        error = place_state(cli, state, NULL);
        error = br_err_os(reterr, os_errno, "making room in %s/" AUDIT_NAME, error ? "the state folder" : state);
    }
    close(fd);
    return error;
}

// The last line, without its newline, and where the file ends behind whole lines: a torn last line of a crash is overwritten.
static int audit_tail(int fd, char *line, size_t *ret_len, off_t *ret_end, struct br_err *reterr)
{
    struct stat st;

    *ret_len = 0;
    *ret_end = 0;
    if (fstat(fd, &st)) {
        return br_err_os(reterr, errno, "reading " AUDIT_NAME);
    }
    off_t from = st.st_size > AUDIT_TAIL_MAX ? st.st_size - AUDIT_TAIL_MAX : 0;
    ssize_t got = pread(fd, line, (size_t)(st.st_size - from), from);
    if (got < 0) {
        return br_err_os(reterr, errno, "reading " AUDIT_NAME);
    }
    char *newline = got ? memrchr(line, '\n', (size_t)got) : NULL;
    if (!newline) {
        return from ? br_err_set(reterr, BR_E_CORRUPT, AUDIT_NAME " has a line that is too long") : 0;
    }
    char *before = newline > line ? memrchr(line, '\n', (size_t)(newline - line)) : NULL;
    if (!before && from) {
        return br_err_set(reterr, BR_E_CORRUPT, AUDIT_NAME " has a line that is too long");
    }
    char *start = before ? before + 1 : line;
    *ret_end = from + (newline - line) + 1;
    *ret_len = (size_t)(newline - start);
    memmove(line, start, *ret_len);
    return 0;
}

static json_int_t audit_next_number(const char *line, size_t len)
{
    json_t *last = len ? json_loadb(line, len, 0, NULL) : NULL;
    json_int_t number = json_integer_value(json_object_get(last, "seq")) + 1;

    json_decref(last);
    return number;
}

// A torn line behind it is cut off; else the file is not truncated, which would give back the room that another run made ready.
static int audit_write(int fd, off_t at, const json_t *entry, struct br_err *reterr)
{
    struct stat st;
    char *text = json_dumps(entry, JSON_COMPACT);
    size_t len = text ? strlen(text) : 0;
    int error = 0;

    if (!text || len + 1 > AUDIT_LINE_MAX) {
        free(text);
        return br_err_set(reterr, BR_E_INTERNAL, "the audit line is too long");
    }
    off_t end = at + (off_t)len + 1;
    text[len] = '\n';
    errno = 0;
    if (pwrite(fd, text, len + 1, at) != (ssize_t)(len + 1) || fstat(fd, &st) ||
        (st.st_size > end && ftruncate(fd, end)) || fdatasync(fd)) {
        error = br_err_os(reterr, errno ? errno : ENOSPC, "writing " AUDIT_NAME);
    }
    free(text);
    return error;
}

static json_t *audit_entry(const struct cli *cli, json_int_t number, const char *act, const char *object,
                           json_t *details, const char *previous)
{
    char stamp[40];
    struct timespec now;
    json_t *entry = json_object();

    clock_gettime(CLOCK_REALTIME, &now);
    br_time_text((uint64_t)now.tv_sec * BR_NS_PER_S, stamp, sizeof(stamp));
    json_object_set_new(entry, "seq", json_integer(number));
    json_object_set_new(entry, "time", json_string(stamp));
    json_object_set_new(entry, "uid", json_integer(getuid()));
    json_object_set_new(entry, "pid", json_integer(getpid()));
    json_object_set_new(entry, "verb", json_string(cli->verb->name));
    json_object_set_new(entry, "act", json_string(act));
    json_object_set_new(entry, "object", cli_json_text(object));
    if (details) {
        json_object_update_missing(entry, details);
    }
    json_object_set_new(entry, "previous", json_string(previous));
    return entry;
}

int audit_append(struct cli *cli, const char *act, const char *object, json_t *details, struct br_err *reterr)
{
    char previous[65] = "0000000000000000000000000000000000000000000000000000000000000000";
    char *line = malloc(AUDIT_TAIL_MAX);
    size_t len;
    off_t end;
    int fd = -1;
    int error = line ? audit_open(cli, O_RDWR | O_CREAT, &fd, reterr) : br_err_set(reterr, BR_E_NOMEM, "audit");

    if (!error && flock(fd, LOCK_EX)) {
        error = br_err_os(reterr, errno, "locking " AUDIT_NAME);
    }
    if (!error) {
        error = audit_tail(fd, line, &len, &end, reterr);
    }
    if (!error) {
        if (len) {
            audit_hash(line, len, previous);
        }
        json_t *entry = audit_entry(cli, audit_next_number(line, len), act, object, details, previous);
        error = audit_write(fd, end, entry, reterr);
        json_decref(entry);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(line);
    json_decref(details);
    return error;
}

int audit_append_list(struct cli *cli, const char *act, const char *object, const char *key, json_t *list,
                      json_t *details, struct br_err *reterr)
{
    size_t count = json_array_size(list), at = 0;
    json_t *part = json_array();
    int error = 0;

    for (; !error && count - at > AUDIT_LIST_MAX; at += AUDIT_LIST_MAX) {
        for (size_t i = 0; i < AUDIT_LIST_MAX; i++) {
            json_array_append(part, json_array_get(list, at + i));
        }
        error = audit_append(cli, act, object, json_pack("{s:O}", key, part), reterr);
        json_array_clear(part);
    }
    for (; at < count; at++) {
        json_array_append(part, json_array_get(list, at));
    }
    json_object_set_new(details, key, part);
    json_decref(list);
    if (error) {
        json_decref(details);
        return error;
    }
    return audit_append(cli, act, object, details, reterr);
}

static bool audit_line_follows(const char *line, size_t len, const char *previous, json_int_t number)
{
    json_t *entry = json_loadb(line, len, 0, NULL);
    const char *claimed = json_string_value(json_object_get(entry, "previous"));
    bool ok = claimed && !strcmp(claimed, previous) && json_integer_value(json_object_get(entry, "seq")) == number;

    json_decref(entry);
    return ok;
}

static int64_t audit_walk(FILE *file, struct br_err *reterr)
{
    char previous[65] = "0000000000000000000000000000000000000000000000000000000000000000";
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int64_t count = 0;
    int error = 0;

    while (!error && (len = getline(&line, &size, file)) > 0 && line[len - 1] == '\n') {
        count++;
        if (!audit_line_follows(line, (size_t)len - 1, previous, count)) {
            error = br_err_set(reterr, BR_E_VERIFY, AUDIT_NAME " line %lld does not follow from the line before it",
                               (long long)count);
        }
        audit_hash(line, (size_t)len - 1, previous);
    }
    if (!error && ferror(file)) {
        error = br_err_os(reterr, errno, "reading " AUDIT_NAME);
    }
    free(line);
    return error ? error : count;
}

int64_t audit_check(struct cli *cli, struct br_err *reterr)
{
    int fd;
    int error = audit_open(cli, O_RDWR | O_CREAT, &fd, reterr);

    if (error) {
        return error;
    }
    FILE *file = flock(fd, LOCK_SH) ? NULL : fdopen(fd, "r");
    if (!file) {
        error = br_err_os(reterr, errno, "reading " AUDIT_NAME);
        close(fd);
        return error;
    }
    int64_t count = audit_walk(file, reterr);
    fclose(file);
    return count;
}
