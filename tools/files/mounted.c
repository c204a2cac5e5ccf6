// SPDX-License-Identifier: Apache-2.0
#include "tools/files/mounted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/units.h"

#define READ_BYTES BR_MIB
#define OPEN_TRIES 10000u

struct mounted {
    int root_fd;
};

int mounted_open(int root_fd, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

    int fd = -1;

    // A .. can't be vouched for while anything is renamed or mounted on this host: openat2(2), EAGAIN.
    for (unsigned tries = 0; fd < 0 && tries < OPEN_TRIES && (!tries || errno == EAGAIN); tries++) {
        fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    }
    return fd;
}

// A chain of links without an end is, for who looks for a file, none. What the kernel finds damaged it calls by these names.
static int our_error(int os_errno, struct br_err *reterr, const char *what, const char *path)
{
    char shown[256];

    br_quote(path, shown, sizeof(shown));
    return os_errno == ELOOP ? br_err_set(reterr, BR_E_NOT_FOUND, "%s %s: %s", what, shown, strerror(os_errno))
           : os_errno == EUCLEAN || os_errno == EBADMSG
               ? br_err_set(reterr, BR_E_CORRUPT, "%s %s: %s", what, shown, strerror(os_errno))
               : br_err_os(reterr, os_errno, "%s %s", what, shown);
}

static void entry_of(const struct stat *st, struct tree_entry *entry)
{
    entry->device = st->st_dev;
    entry->inode = st->st_ino;
    entry->mode = st->st_mode;
    entry->uid = st->st_uid;
    entry->gid = st->st_gid;
    entry->size_bytes = (uint64_t)st->st_size;
    entry->mtime_s = st->st_mtim.tv_sec;
    entry->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    entry->links = st->st_nlink;
    entry->rdev = st->st_rdev;
    entry->target[0] = 0;
}

// What @name in @fd is, "" @fd itself; 0, or errno.
static int look(int fd, const char *name, struct tree_entry *entry)
{
    struct stat st;

    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH))) {
        return errno;
    }
    entry_of(&st, entry);
    if (S_ISLNK(st.st_mode)) {
        ssize_t len = readlinkat(fd, name, entry->target, sizeof(entry->target) - 1);

        if (len < 0) {
            return errno;
        }
        entry->target[len] = 0;
    }
    return 0;
}

static int find(void *ctx, const char *path, bool follow, struct tree_entry *ret_entry, struct br_err *reterr)
{
    const struct mounted *mounted = ctx;
    const char *slash = strrchr(path, '/');
    int fd = mounted_open(mounted->root_fd, path, O_PATH | (follow ? 0 : O_NOFOLLOW));
    int os_errno = fd < 0 ? errno : look(fd, "", ret_entry);

    if (fd >= 0) {
        close(fd);
    }
    snprintf(ret_entry->name, sizeof(ret_entry->name), "%s", slash ? slash + 1 : path);
    return os_errno ? our_error(os_errno, reterr, "looking for", path) : 0;
}

// Opened, it is still what was seen.
static int open_entry(const struct mounted *mounted, const char *path, const struct tree_entry *entry, int flags,
                      int *ret_fd, struct br_err *reterr)
{
    struct stat st = {0};
    int fd = mounted_open(mounted->root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags);
    int os_errno = fd < 0 || fstat(fd, &st) ? errno : 0;

    if (!os_errno && (st.st_dev != entry->device || st.st_ino != entry->inode)) {
        os_errno = EUCLEAN;
    }
    if (os_errno && fd >= 0) {
        close(fd);
    }
    *ret_fd = os_errno ? -1 : fd;
    return os_errno ? our_error(os_errno, reterr, "opening", path) : 0;
}

static int tell(int fd, const char *name, tree_entry_fn *fn, void *fn_ctx)
{
    struct tree_entry entry = {0};
    struct br_err bad = {0};
    int os_errno;

    snprintf(entry.name, sizeof(entry.name), "%s", name);
    if (!tree_name_ok(name, strlen(name)) || strlen(name) >= sizeof(entry.name)) {
        (void)our_error(EUCLEAN, &bad, "a name that is none", name);
    } else if ((os_errno = look(fd, name, &entry))) {
        (void)our_error(os_errno, &bad, "looking at", name);
    }
    return fn(fn_ctx, &entry, bad.code ? &bad : NULL);
}

static int list(void *ctx, const char *path, const struct tree_entry *entry, tree_entry_fn *fn, void *fn_ctx,
                struct br_err *reterr)
{
    const struct dirent *found;
    int fd, rc = open_entry(ctx, path, entry, O_DIRECTORY, &fd, reterr);
    DIR *dir = rc ? NULL : fdopendir(fd);

    if (rc) {
        return rc;
    }
    if (!dir) {
        rc = our_error(errno, reterr, "listing", path);
        close(fd);
        return rc;
    }
    errno = 0;
    while (!rc && (found = readdir(dir))) {
        if (strcmp(found->d_name, ".") && strcmp(found->d_name, "..")) {
            rc = tell(fd, found->d_name, fn, fn_ctx);
        }
        errno = 0;
    }
    if (!rc && errno) {
        rc = our_error(errno, reterr, "listing", path);
    }
    closedir(dir);
    return rc;
}

// Holes are told, not read: from one stretch of data to the next.
static int read_all(int fd, uint64_t size, uint8_t *buffer, tree_bytes_fn *fn, void *fn_ctx, int *ret_errno)
{
    uint64_t at = 0;
    int rc = 0;

    *ret_errno = 0;
    while (!rc && at < size) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA);
        uint64_t hole_end = data >= 0 ? BR_MIN((uint64_t)data, size) : errno == ENXIO ? size : at;

        if (hole_end > at) {
            rc = fn(fn_ctx, NULL, hole_end - at);
            at = hole_end;
            continue;
        }
        ssize_t got = pread(fd, buffer, (size_t)BR_MIN(READ_BYTES, size - at), (off_t)at);
        if (got <= 0) {
            *ret_errno = got ? errno : EUCLEAN;
            return 0;
        }
        rc = fn(fn_ctx, buffer, (uint64_t)got);
        at += (uint64_t)got;
    }
    return rc;
}

static int read_file(void *ctx, const char *path, const struct tree_entry *entry, tree_bytes_fn *fn, void *fn_ctx,
                     struct br_err *reterr)
{
    BR_AUTO_FREE uint8_t *buffer = malloc(READ_BYTES);
    int fd, os_errno, rc;

    if (!buffer) {
        return br_err_set(reterr, BR_E_NOMEM, "reading a file");
    }
    rc = open_entry(ctx, path, entry, 0, &fd, reterr);
    if (!rc) {
        rc = read_all(fd, entry->size_bytes, buffer, fn, fn_ctx, &os_errno);
        rc = rc || !os_errno ? rc : our_error(os_errno, reterr, "reading", path);
        close(fd);
    }
    return rc;
}

static void close_tree(void *ctx)
{
    struct mounted *mounted = ctx;

    close(mounted->root_fd);
    free(mounted);
}

static const struct tree_ops ops = {.find = find, .list = list, .read = read_file, .close = close_tree};

int mounted_tree(const char *dir, struct tree *ret_tree, struct br_err *reterr)
{
    struct mounted *mounted = calloc(1, sizeof(*mounted));

    if (!mounted) {
        return br_err_set(reterr, BR_E_NOMEM, "a file system");
    }
    mounted->root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mounted->root_fd < 0) {
        free(mounted);
        return br_err_os(reterr, errno, "opening %s", dir);
    }
    *ret_tree = (struct tree){.ops = &ops, .ctx = mounted};
    return 0;
}
