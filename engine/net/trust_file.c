// SPDX-License-Identifier: Apache-2.0
#include "engine/net/trust_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BR_TRUST_LOCK_TRIES 200 // of 50 ms
#define BR_TRUST_READ_BYTES 16384
#define BR_TRUST_ROOM_LEAST 1024

static int br_trust_check(int fd, const char *name, bool secret, struct br_err *reterr)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return br_err_os(reterr, errno, "reading %s", name);
    }
    if (!S_ISREG(st.st_mode)) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s is not a regular file", name);
    }
    if (st.st_size > (off_t)BR_TRUST_FILE_BYTES_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "%s is longer than %u bytes", name, BR_TRUST_FILE_BYTES_MAX);
    }
    if (secret && (st.st_mode & 077 || (st.st_uid != geteuid() && st.st_uid != 0))) {
        return br_err_set(reterr, BR_E_PERMISSION,
                          "%s is a secret, but others own, read or write it: chown and chmod 600 it", name);
    }
    return 0;
}

int br_trust_read(int dir_fd, const char *name, bool secret, struct br_buf *content, struct br_err *reterr)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int rc;

    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s in the state folder", name);
    }
    rc = br_trust_check(fd, name, secret, reterr);
    br_buf_reset(content);
    while (!rc) {
        if (content->len > BR_TRUST_FILE_BYTES_MAX) {
            rc = br_err_set(reterr, BR_E_LIMIT, "%s is longer than %u bytes", name, BR_TRUST_FILE_BYTES_MAX);
            break;
        }
        // As long as there is room the content is not moved: what it was moved from would keep a secret.
        if (content->capacity - content->len < BR_TRUST_ROOM_LEAST && !br_buf_reserve(content, BR_TRUST_READ_BYTES)) {
            rc = br_err_set(reterr, BR_E_NOMEM, "reading %s", name);
            break;
        }
        ssize_t got = read(fd, content->data + content->len, content->capacity - content->len);
        if (got < 0 && errno != EINTR) {
            rc = br_err_os(reterr, errno, "reading %s", name);
        } else if (got == 0) {
            break;
        } else if (got > 0) {
            content->len += (size_t)got;
        }
    }
    close(fd);
    return rc;
}

// A new file with the content, durable, under a name of its own. Files of that name that a crash left behind are nobody's.
static int br_trust_stage(int dir_fd, const char *name, const void *content, size_t len, char stage[NAME_MAX + 1],
                          struct br_err *reterr)
{
    const char *from = content;
    int rc = 0;

    snprintf(stage, NAME_MAX + 1, "%s.new.%ld", name, (long)getpid());
    if (unlinkat(dir_fd, stage, 0) && errno != ENOENT) {
        return br_err_os(reterr, errno, "removing %s", stage);
    }
    int fd = openat(dir_fd, stage, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return br_err_os(reterr, errno, "making %s in the state folder", stage);
    }
    while (len && !rc) {
        ssize_t put = write(fd, from, len);
        if (put < 0 && errno != EINTR) {
            rc = br_err_os(reterr, errno, "writing %s", stage);
        } else if (put > 0) {
            from += put;
            len -= (size_t)put;
        }
    }
    if (!rc && fsync(fd)) {
        rc = br_err_os(reterr, errno, "writing %s", stage);
    }
    close(fd);
    if (rc) {
        unlinkat(dir_fd, stage, 0);
    }
    return rc;
}

// The folder's entries are durable. The descriptor may be O_PATH, so the folder is opened anew.
static int br_trust_sync_dir(int dir_fd, const char *name, struct br_err *reterr)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd)) {
        int os_errno = errno;
        if (fd >= 0) {
            close(fd);
        }
        return br_err_os(reterr, os_errno, "making %s durable", name);
    }
    close(fd);
    return 0;
}

int br_trust_write(int dir_fd, const char *name, const void *content, size_t len, struct br_err *reterr)
{
    char stage[NAME_MAX + 1];
    int rc = br_trust_stage(dir_fd, name, content, len, stage, reterr);

    if (rc) {
        return rc;
    }
    if (renameat(dir_fd, stage, dir_fd, name)) {
        rc = br_err_os(reterr, errno, "replacing %s", name);
        unlinkat(dir_fd, stage, 0);
        return rc;
    }
    return br_trust_sync_dir(dir_fd, name, reterr);
}

int br_trust_create(int dir_fd, const char *name, const void *content, size_t len, struct br_err *reterr)
{
    char stage[NAME_MAX + 1];
    int rc = br_trust_stage(dir_fd, name, content, len, stage, reterr);

    if (rc) {
        return rc;
    }
    int made = !linkat(dir_fd, stage, dir_fd, name, 0);
    if (!made && errno != EEXIST) {
        rc = br_err_os(reterr, errno, "making %s", name);
    }
    unlinkat(dir_fd, stage, 0);
    if (!rc) {
        rc = br_trust_sync_dir(dir_fd, name, reterr);
    }
    return rc ? rc : made;
}

int br_trust_lock(int dir_fd, const char *name, int *ret_fd, struct br_err *reterr)
{
    int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s in the state folder", name);
    }
    for (int i = 0; i < BR_TRUST_LOCK_TRIES; i++) {
        if (!flock(fd, LOCK_EX | LOCK_NB)) {
            *ret_fd = fd;
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            int rc = br_err_os(reterr, errno, "locking %s", name);
            close(fd);
            return rc;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
    }
    close(fd);
    return br_err_set(reterr, BR_E_BUSY, "another process holds %s of the state folder", name);
}
