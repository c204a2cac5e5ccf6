// SPDX-License-Identifier: Apache-2.0
#include "tools/known.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/place.h"

#define KNOWN_BYTES_MAX (256 * 1024)

static void known_name(const char *source, const char *replica, char name[48])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct br_buf both = {0};

    br_buf_string(&both, source);
    br_buf_string(&both, replica);
    EVP_Digest(both.data, both.len, digest, NULL, EVP_sha256(), NULL);
    br_buf_free(&both);
    for (int i = 0; i < 16; i++) {
        snprintf(name + 2 * i, 3, "%02x", digest[i]);
    }
    snprintf(name + 32, 16, ".json");
}

static json_t *known_read(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char *text = fd >= 0 ? malloc(KNOWN_BYTES_MAX) : NULL;
    ssize_t len = text ? read(fd, text, KNOWN_BYTES_MAX) : -1;
    json_t *entry = len > 0 ? json_loadb(text, (size_t)len, 0, NULL) : NULL;

    free(text);
    if (fd >= 0) {
        close(fd);
    }
    if (entry && !json_is_object(entry)) {
        json_decref(entry);
        entry = NULL;
    }
    return entry;
}

static int known_write(struct cli *cli, int dir_fd, const char *name, const json_t *entry, struct br_err *reterr)
{
    char state[PATH_MAX];
    char temporary[64];
    char *text = json_dumps(entry, JSON_INDENT(1));
    size_t len = text ? strlen(text) : 0;
    int error = 0;

    snprintf(temporary, sizeof(temporary), "%.40s.new", name);
    int fd = text ? openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    ssize_t put = fd < 0 ? -1 : write(fd, text, len);
    if (!text || (put >= 0 && put < (ssize_t)len)) {
        errno = text ? ENOSPC : ENOMEM;
    }
    if (put != (ssize_t)len || fsync(fd) || renameat(dir_fd, temporary, dir_fd, name)) {
        int os_errno = errno;
        bool unnamed = place_state_path(cli, state, NULL);
        error = br_err_os(reterr, os_errno, "writing %s/known/%s", unnamed ? "the state folder" : state, name);
        unlinkat(dir_fd, temporary, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    free(text);
    return error;
}

// @make: a pair that is not known becomes so
static int known_update(struct cli *cli, const char *source, const char *replica, json_t *facts, bool make,
                        struct br_err *reterr)
{
    char name[48];
    int dir_fd;
    int error = place_state_dir(cli, "known", &dir_fd, reterr);

    if (!error) {
        known_name(source, replica, name);
        json_t *entry = known_read(dir_fd, name);
        if (!entry && make) {
            entry = json_object();
        }
        if (entry) {
            json_object_set_new(entry, "source", cli_json_text(source));
            json_object_set_new(entry, "replica", cli_json_text(replica));
            json_object_update(entry, facts);
            error = known_write(cli, dir_fd, name, entry, reterr);
        }
        json_decref(entry);
        close(dir_fd);
    }
    json_decref(facts);
    return error;
}

int known_record(struct cli *cli, const char *source, const char *replica, json_t *facts, struct br_err *reterr)
{
    return known_update(cli, source, replica, facts, true, reterr);
}

int known_record_failure(struct cli *cli, const char *source, const char *replica, json_t *facts, struct br_err *reterr)
{
    return known_update(cli, source, replica, facts, false, reterr);
}

json_t *known_find(struct cli *cli, const char *source, const char *replica)
{
    json_t *entry = NULL;
    char name[48];
    int dir_fd;

    if (!place_state_dir(cli, "known", &dir_fd, NULL)) {
        known_name(source, replica, name);
        entry = known_read(dir_fd, name);
        close(dir_fd);
    }
    return entry;
}

static int known_compare(const void *a, const void *b)
{
    const json_t *one = *(json_t *const *)a;
    const json_t *other = *(json_t *const *)b;
    const char *keys[] = {"source", "replica"};

    for (size_t i = 0; i < BR_ARRAY_LEN(keys); i++) {
        const char *left = json_string_value(json_object_get(one, keys[i]));
        const char *right = json_string_value(json_object_get(other, keys[i]));
        int order = strcmp(left ? left : "", right ? right : "");
        if (order) {
            return order;
        }
    }
    return 0;
}

static json_t *known_sorted(json_t *list)
{
    size_t count = json_array_size(list);
    json_t **entries = calloc(count + 1, sizeof(*entries));
    json_t *sorted = json_array();

    for (size_t i = 0; entries && i < count; i++) {
        entries[i] = json_array_get(list, i);
    }
    if (entries) {
        qsort(entries, count, sizeof(*entries), known_compare);
    }
    for (size_t i = 0; entries && i < count; i++) {
        json_array_append(sorted, entries[i]);
    }
    free(entries);
    json_decref(list);
    return sorted;
}

// Calls for each entry; the folder is small (one file a pair).
static int known_each(struct cli *cli, void (*visit)(int dir_fd, const char *name, json_t *entry, void *ctx), void *ctx,
                      struct br_err *reterr)
{
    int dir_fd;
    int error = place_state_dir(cli, "known", &dir_fd, reterr);
    DIR *dir = error ? NULL : fdopendir(dir_fd);
    struct dirent *item;

    if (error) {
        return error;
    }
    if (!dir) {
        close(dir_fd);
        return br_err_os(reterr, errno, "reading known/ in the state folder");
    }
    while ((item = readdir(dir))) {
        const char *dot = strrchr(item->d_name, '.');
        json_t *entry = dot && !strcmp(dot, ".json") ? known_read(dirfd(dir), item->d_name) : NULL;
        if (entry) {
            visit(dirfd(dir), item->d_name, entry, ctx);
            json_decref(entry);
        }
    }
    closedir(dir);
    return 0;
}

static void known_collect(int dir_fd, const char *name, json_t *entry, void *ctx)
{
    (void)dir_fd;
    (void)name;
    json_array_append(ctx, entry);
}

int known_list(struct cli *cli, json_t **ret_list, struct br_err *reterr)
{
    json_t *list = json_array();
    int error = known_each(cli, known_collect, list, reterr);

    if (error) {
        json_decref(list);
        return error;
    }
    *ret_list = known_sorted(list);
    return 0;
}

struct known_search {
    const char *replica;
    bool drop;
    int count;
};

static void known_match(int dir_fd, const char *name, json_t *entry, void *ctx)
{
    struct known_search *search = ctx;
    const char *replica = json_string_value(json_object_get(entry, "replica"));

    if (replica && search->replica && !strcmp(replica, search->replica) &&
        (!search->drop || !unlinkat(dir_fd, name, 0))) {
        search->count++;
    }
}

static int known_match_all(struct cli *cli, const char *replica, bool drop, struct br_err *reterr)
{
    json_t *name = cli_json_text(replica); // as it was recorded
    struct known_search search = {.replica = json_string_value(name), .drop = drop};
    int error = known_each(cli, known_match, &search, reterr);

    json_decref(name);
    return error ? error : search.count;
}

int known_count(struct cli *cli, const char *replica, struct br_err *reterr)
{
    return known_match_all(cli, replica, false, reterr);
}

int known_forget(struct cli *cli, const char *replica, struct br_err *reterr)
{
    return known_match_all(cli, replica, true, reterr);
}
