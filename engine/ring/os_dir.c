// SPDX-License-Identifier: Apache-2.0
//
// Directories of the running kernel. Every name is looked up in the open directory and never followed out of it.
#include "engine/ring/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct br_os_lock {
    int fd; // holds it until closed
    char *name;
};

struct br_os_dir {
    struct br_dir base;
    int fd;
    struct br_os_lock *locks;
    unsigned lock_count;
};

int br_os_dir_wrap(struct br_ring *ring, int fd, struct br_dir **ret_dir, struct br_err *reterr)
{
    struct stat st;

    if (fstat(fd, &st)) {
        int rc = br_err_os(reterr, errno, "cannot look at descriptor %d", fd);
        close(fd);
        return rc;
    }
    struct br_os_dir *dir = calloc(1, sizeof(*dir));
    if (!S_ISDIR(st.st_mode) || !dir) {
        close(fd);
        free(dir);
        return br_err_set(reterr, S_ISDIR(st.st_mode) ? BR_E_NOMEM : BR_E_UNSUPPORTED, "not usable as a directory");
    }
    *dir = (struct br_os_dir){.base.ring = ring, .fd = fd};
    ring->handles++;
    *ret_dir = &dir->base;
    return 0;
}

void br_os_dir_close(struct br_dir *base)
{
    struct br_os_dir *dir = (struct br_os_dir *)base;

    for (unsigned i = 0; i < dir->lock_count; i++) {
        close(dir->locks[i].fd);
        free(dir->locks[i].name);
    }
    free(dir->locks);
    close(dir->fd);
    base->ring->handles--;
    free(dir);
}

static int br_os_dir_open_error(const char *name, int os_errno, struct br_err *reterr)
{
    switch (os_errno) {
    case ELOOP: return br_err_set(reterr, BR_E_REFUSED, "'%s' is a symbolic link", name);
    case EEXIST: return br_err_set(reterr, BR_E_REFUSED, "'%s' exists already", name);
    case EISDIR:
    case ENXIO: return br_err_set(reterr, BR_E_REFUSED, "'%s' is not a regular file", name);
    default: return br_err_os(reterr, os_errno, "cannot open '%s'", name);
    }
}

// Opens a regular file; anything else is refused before it is used. O_NONBLOCK: a fifo put there must not hang us.
static int br_os_dir_openat(struct br_os_dir *dir, const char *name, int flags, struct br_err *reterr)
{
    struct stat st;

    int fd = openat(dir->fd, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd < 0) {
        return br_os_dir_open_error(name, errno, reterr);
    }
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return br_err_set(reterr, BR_E_REFUSED, "'%s' is not a regular file", name);
    }
    return fd;
}

int br_os_dir_open(struct br_dir *base, const char *name, unsigned flags, struct br_file **ret_file,
                   struct br_err *reterr)
{
    int os_flags = flags & (BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE) ? O_RDWR : O_RDONLY;

    if (flags & BR_OPEN_CREATE) {
        os_flags |= O_CREAT | (flags & BR_OPEN_EXCLUSIVE ? O_EXCL : 0);
    }
    int fd = br_os_dir_openat((struct br_os_dir *)base, name, os_flags, reterr);
    if (fd < 0) {
        return fd;
    }
    if ((flags & BR_OPEN_TRUNCATE) && ftruncate(fd, 0)) {
        int rc = br_err_os(reterr, errno, "cannot empty '%s'", name);
        close(fd);
        return rc;
    }
    int rc = br_file_wrap(base->ring, fd, ret_file, reterr);
    return rc ? br_err_prefix(reterr, "'%s'", name) : 0;
}

int br_os_dir_rename(struct br_dir *base, const char *from, const char *to, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;

    if (renameat(dir->fd, from, dir->fd, to)) {
        return br_err_os(reterr, errno, "cannot rename '%s' to '%s'", from, to);
    }
    return 0;
}

// Where the file system knows no rename that replaces nothing (NFS), a link does it. An answer of NFS may be lost and asked for again: then
// the name is there already, and ours.
static int br_os_publish_by_link(const struct br_os_dir *dir, const char *from, const char *to)
{
    struct stat a, b;

    if (linkat(dir->fd, from, dir->fd, to, 0)) {
        int os_errno = errno;

        if (os_errno != EEXIST || fstatat(dir->fd, from, &a, AT_SYMLINK_NOFOLLOW) ||
            fstatat(dir->fd, to, &b, AT_SYMLINK_NOFOLLOW) || a.st_dev != b.st_dev || a.st_ino != b.st_ino) {
            return os_errno;
        }
    }
    return unlinkat(dir->fd, from, 0) && errno != ENOENT ? errno : 0;
}

int br_os_dir_publish(struct br_dir *base, const char *from, const char *to, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;
    int os_errno = renameat2(dir->fd, from, dir->fd, to, RENAME_NOREPLACE) ? errno : 0;

    if (os_errno == EINVAL || os_errno == ENOSYS || os_errno == EOPNOTSUPP) {
        os_errno = br_os_publish_by_link(dir, from, to);
    }
    if (os_errno == EEXIST) {
        return br_err_set(reterr, BR_E_EXISTS, "'%s'", to);
    }
    return os_errno ? br_err_os(reterr, os_errno, "cannot rename '%s' to '%s'", from, to) : 0;
}

struct br_os_entry {
    char *name;
    bool is_dir;
};

struct br_os_entries {
    struct br_os_entry *list;
    size_t count;
};

static void br_os_entries_free(struct br_os_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        free(entries->list[i].name);
    }
    free(entries->list);
}

static int br_os_entry_order(const void *a, const void *b)
{
    return strcmp(((const struct br_os_entry *)a)->name, ((const struct br_os_entry *)b)->name);
}

static bool br_os_is_dir(int fd, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_DIR;
    }
    return !fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode);
}

// Returns 0 or an errno.
static int br_os_entries_read(DIR *stream, struct br_os_entries *entries)
{
    const struct dirent *entry;

    while (errno = 0, (entry = readdir(stream)) != NULL) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) {
            continue;
        }
        if (!(entries->count & (entries->count + 1))) { // 0, 1, 3, 7...: room for as many again
            void *more = realloc(entries->list, (2 * entries->count + 2) * sizeof(*entries->list));
            if (!more) {
                return ENOMEM;
            }
            entries->list = more;
        }
        char *name = strdup(entry->d_name);
        if (!name) {
            return ENOMEM;
        }
        entries->list[entries->count++] =
            (struct br_os_entry){.name = name, .is_dir = br_os_is_dir(dirfd(stream), entry)};
    }
    return errno;
}

int br_os_dir_list(struct br_dir *base, br_dir_list_fn *fn, void *ctx, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;
    struct br_os_entries entries = {0};
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;

    if (!stream) {
        rc = br_err_os(reterr, errno, "cannot list the directory");
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    int os_errno = br_os_entries_read(stream, &entries);
    closedir(stream);
    if (os_errno) {
        rc = br_err_os(reterr, os_errno, "cannot list the directory");
    } else if (entries.count) {
        qsort(entries.list, entries.count, sizeof(*entries.list), br_os_entry_order);
    }
    for (size_t i = 0; !rc && i < entries.count; i++) {
        rc = fn(ctx, entries.list[i].name, entries.list[i].is_dir);
    }
    br_os_entries_free(&entries);
    return rc;
}

int br_os_dir_sub(struct br_dir *base, const char *name, bool make, struct br_dir **ret_dir, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;

    if (make && mkdirat(dir->fd, name, 0700) && errno != EEXIST) {
        return br_err_os(reterr, errno, "cannot make '%s'", name);
    }
    int fd = openat(dir->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR)) {
        return br_err_set(reterr, BR_E_REFUSED, "'%s' is not a directory", name);
    }
    if (fd < 0) {
        return br_err_os(reterr, errno, "cannot open '%s'", name);
    }
    return br_os_dir_wrap(base->ring, fd, ret_dir, reterr);
}

int br_os_dir_unlink(struct br_dir *base, const char *name, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;

    if (unlinkat(dir->fd, name, 0) && errno != ENOENT) {
        return br_err_os(reterr, errno, "cannot remove '%s'", name);
    }
    return 0;
}

int br_os_dir_exists(struct br_dir *base, const char *name, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;
    struct stat st;

    if (!fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW)) {
        return 1;
    }
    return errno == ENOENT ? 0 : br_err_os(reterr, errno, "cannot look for '%s'", name);
}

int br_os_dir_sync(struct br_dir *base, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;
    int rc;

    do {
        rc = fsync(dir->fd);
    } while (rc && errno == EINTR);
    // EINVAL: a file system that has no way to sync a directory keeps its entries as durable as it can on its own.
    return rc && errno != EINVAL ? br_err_os(reterr, errno, "cannot make the directory durable") : 0;
}

int br_os_dir_lock(struct br_dir *base, const char *name, struct br_err *reterr)
{
    struct br_os_dir *dir = (struct br_os_dir *)base;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat st;

    struct br_os_lock *locks = realloc(dir->locks, (dir->lock_count + 1) * sizeof(*locks));
    if (!locks) {
        return br_err_set(reterr, BR_E_NOMEM, "no memory for a lock");
    }
    dir->locks = locks;
    char *own_name = strdup(name);
    if (!own_name) {
        return br_err_set(reterr, BR_E_NOMEM, "no memory for a lock");
    }
    int fd = br_os_dir_openat(dir, name, O_RDWR | O_CREAT, reterr);
    if (fd < 0) {
        free(own_name);
        return fd;
    }
    // An open file description's lock: unlike a classic POSIX lock it also holds against our own other descriptors.
    if (fcntl(fd, F_OFD_SETLK, &lock)) {
        int rc = errno == EAGAIN || errno == EACCES ? br_err_set(reterr, BR_E_BUSY, "the lock '%s' is held", name)
                                                    : br_err_os(reterr, errno, "cannot lock '%s'", name);
        close(fd);
        free(own_name);
        return rc;
    }
    // Removed between our opening and our locking, with all that it guarded: the next one to come makes another.
    if (fstat(fd, &st) || !st.st_nlink) {
        close(fd);
        free(own_name);
        return br_err_set(reterr, BR_E_BUSY, "the lock '%s' was just removed", name);
    }
    dir->locks[dir->lock_count++] = (struct br_os_lock){.fd = fd, .name = own_name};
    return 0;
}

void br_os_dir_unlock(struct br_dir *base, const char *name)
{
    struct br_os_dir *dir = (struct br_os_dir *)base;

    for (unsigned i = 0; i < dir->lock_count; i++) {
        if (!strcmp(dir->locks[i].name, name)) {
            close(dir->locks[i].fd);
            free(dir->locks[i].name);
            dir->locks[i] = dir->locks[--dir->lock_count];
            return;
        }
    }
}

int br_os_dir_space(struct br_dir *base, uint64_t *ret_free_bytes, struct br_err *reterr)
{
    const struct br_os_dir *dir = (struct br_os_dir *)base;
    struct statvfs vfs;

    if (fstatvfs(dir->fd, &vfs)) {
        return br_err_os(reterr, errno, "cannot read the free space");
    }
    *ret_free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return 0;
}
