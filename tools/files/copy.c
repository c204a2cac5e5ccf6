// SPDX-License-Identifier: Apache-2.0
#include "tools/files/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/repo/store.h"
#include "tools/cli.h"

#define HOLE_BYTES 65536u // zeros of this many bytes are left out

// Content -----------------------------------------------------------------------------------------------------------------------------

struct content {
    int fd;
    bool sparse;
    uint64_t at_bytes;
    struct br_err err; // of writing
};

static int put(struct content *content, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t done = content->sparse ? pwrite(content->fd, bytes, len, (off_t)content->at_bytes)
                                       : write(content->fd, bytes, len);

        if (done < 0 && errno == EINTR && !cli_cancel) {
            continue;
        }
        if (done < 0) {
            return br_err_os(&content->err, errno == EINTR ? ECANCELED : errno, "writing");
        }
        content->at_bytes += (uint64_t)done;
        bytes += done;
        len -= (size_t)done;
    }
    return 0;
}

static int take(void *ctx, const uint8_t *bytes, uint64_t len)
{
    static const uint8_t zeros[HOLE_BYTES];
    struct content *content = ctx;
    int rc = 0;

    while (!rc && len) {
        size_t piece = (size_t)BR_MIN(len, (uint64_t)HOLE_BYTES);

        if (cli_cancel) {
            return br_err_set(&content->err, BR_E_CANCELLED, "reading a file");
        }
        if (content->sparse && !bytes) {
            piece = 0;
            content->at_bytes += len;
            len = 0;
        } else if (content->sparse && br_is_zero(bytes, piece)) {
            content->at_bytes += piece;
        } else {
            rc = put(content, bytes ? bytes : zeros, piece);
        }
        bytes = bytes ? bytes + piece : NULL;
        len -= BR_MIN(len, (uint64_t)piece);
    }
    return rc;
}

int copy_content(const struct tree *tree, const char *path, const struct tree_entry *file, int fd, bool sparse,
                 struct br_err *reterr)
{
    struct content content = {.fd = fd, .sparse = sparse};
    int rc = tree_read(tree, path, file, take, &content, reterr);

    if (rc && content.err.code) {
        *reterr = content.err;
    }
    return !rc && sparse && ftruncate(fd, (off_t)content.at_bytes) ? br_err_os(reterr, errno, "writing") : rc;
}

// Folders -----------------------------------------------------------------------------------------------------------------------------

// A folder that was made: what is below it comes later, and what it gets last. Of its entry no more than that, since there may be millions.
struct folder {
    char *path; // below @to, "" itself
    uint64_t device, inode;
    int64_t mtime_s;
    uint32_t mtime_ns;
    mode_t mode;
    uint32_t uid, gid;
};

// An object of the tree that must not be met again (a folder) or is linked when it is (a file).
struct seen {
    uint64_t device, inode;
    char *path; // of a file
};

struct copy {
    const struct tree *tree;
    const char *from;
    int root_fd; // of @to
    bool root;   // owners and devices are kept
    void (*told)(void *ctx, const char *path, bool skipped, const struct br_err *why);
    void *ctx;
    struct copy_counts *counts;
    struct br_err *first;
    struct br_err fatal; // ends all
    struct folder *folders;
    size_t folder_count, folder_room;
    void *seen;
    // the folder at work
    int fd;
    const char *path;
};

static int by_object(const void *left, const void *right)
{
    const struct seen *a = left, *b = right;

    return a->device != b->device ? (a->device < b->device ? -1 : 1)
           : a->inode != b->inode ? (a->inode < b->inode ? -1 : 1)
                                  : 0;
}

// The one before it, or @ret_new, in which it is now; NULL no memory.
static struct seen *see(struct copy *copy, const struct tree_entry *entry, const char *path, bool *ret_new)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    struct seen **at = NULL;

    *ret_new = false;
    if (seen) {
        *seen = (struct seen){.device = entry->device, .inode = entry->inode, .path = path ? strdup(path) : NULL};
        at = path && !seen->path ? NULL : tsearch(seen, &copy->seen, by_object);
        *ret_new = at && *at == seen;
    }
    if (!*ret_new && seen) {
        free(seen->path);
        free(seen);
    }
    return at ? *at : NULL;
}

static void unsee(void *node)
{
    struct seen *seen = node;

    free(seen->path);
    free(seen);
}

static int join(const char *dir, const char *name, char path[PATH_MAX], struct br_err *reterr)
{
    bool slash = *dir && dir[strlen(dir) - 1] != '/' && *name;

    return snprintf(path, PATH_MAX, "%s%s%s", dir, slash ? "/" : "", name) < PATH_MAX
               ? 0
               : br_err_set(reterr, BR_E_LIMIT, "a path of more than %d bytes", PATH_MAX - 1);
}

// Does it end all? Else it was told, and the rest goes on.
static int tell(struct copy *copy, const char *name, bool skipped, struct br_err *why)
{
    char below[PATH_MAX], path[PATH_MAX];

    if (cli_cancel || why->code == BR_E_CANCELLED || why->code == BR_E_NO_SPACE || br_store_is_lost(-why->code)) {
        copy->fatal = *why;
        return cli_cancel ? br_err_set(&copy->fatal, BR_E_CANCELLED, "copying a folder") : -why->code;
    }
    copy->counts->skipped += skipped;
    copy->counts->failed += !skipped;
    if (join(copy->path, name, below, NULL) || join(copy->from, below, path, NULL)) {
        snprintf(path, sizeof(path), "%s", name);
    }
    copy->told(copy->ctx, path, skipped, why);
    if (!skipped && !copy->first->code) {
        *copy->first = *why;
    }
    return 0;
}

static mode_t mode_of(const struct copy *copy, const struct tree_entry *entry)
{
    return entry->mode & (copy->root ? 07777 : S_ISDIR(entry->mode) ? 01777 : 0777);
}

// A name, or "" the open file. Owner first: that takes set-id bits away; with another owner they must not come back.
static int finish(const struct copy *copy, const struct tree_entry *entry, int fd, const char *name,
                  struct br_err *reterr)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = entry->mtime_s, .tv_nsec = (long)entry->mtime_ns}};
    int flags = *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH;
    mode_t mode = mode_of(copy, entry);
    int os_errno = copy->root && fchownat(fd, name, entry->uid, entry->gid, flags) ? errno : 0;

    mode &= os_errno ? 01777 : 07777;
    if ((!S_ISLNK(entry->mode) && (*name ? fchmodat(fd, name, mode, AT_SYMLINK_NOFOLLOW) : fchmod(fd, mode))) ||
        (*name ? utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW) : futimens(fd, times))) {
        os_errno = errno;
    }
    return os_errno ? br_err_os(reterr, os_errno, "it is there, but its owner, permissions or time are not") : 0;
}

static int copy_file(struct copy *copy, const struct tree_entry *entry, const char *path, struct br_err *reterr)
{
    int fd = openat(copy->fd, entry->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc;

    if (fd < 0) {
        return br_err_os(reterr, errno, "making it");
    }
    rc = copy_content(copy->tree, path, entry, fd, true, reterr);
    if (rc) {
        unlinkat(copy->fd, entry->name, 0);
    }
    rc = rc ? rc : finish(copy, entry, fd, "", reterr);
    close(fd);
    return rc;
}

// A file with several names is one here too, unless the other name did not come, or takes no more links.
static int copy_linked(struct copy *copy, const struct tree_entry *entry, const char *path, const char *below,
                       struct br_err *reterr)
{
    bool fresh = true;
    const struct seen *seen = NULL;

    if (entry->links > 1) {
        seen = see(copy, entry, below, &fresh);
    }
    if (seen && !fresh && !linkat(copy->root_fd, seen->path, copy->fd, entry->name, 0)) {
        return 0;
    }
    int rc = copy_file(copy, entry, path, reterr);
    copy->counts->size_bytes += rc ? 0 : entry->size_bytes;
    return rc;
}

static int keep_folder(struct copy *copy, const struct tree_entry *entry, const char *below)
{
    if (copy->folder_count == copy->folder_room) {
        size_t room = copy->folder_room ? 2 * copy->folder_room : 64;
        struct folder *folders = realloc(copy->folders, room * sizeof(*folders));

        if (!folders) {
            return -BR_E_NOMEM;
        }
        copy->folders = folders;
        copy->folder_room = room;
    }
    struct folder *folder = &copy->folders[copy->folder_count];
    *folder = (struct folder){.path = strdup(below),
                              .device = entry->device,
                              .inode = entry->inode,
                              .mtime_s = entry->mtime_s,
                              .mtime_ns = entry->mtime_ns,
                              .mode = entry->mode,
                              .uid = entry->uid,
                              .gid = entry->gid};
    copy->folder_count += folder->path != NULL;
    return folder->path ? 0 : -BR_E_NOMEM;
}

static struct tree_entry folder_entry(const struct folder *folder)
{
    return (struct tree_entry){.device = folder->device,
                               .inode = folder->inode,
                               .mtime_s = folder->mtime_s,
                               .mtime_ns = folder->mtime_ns,
                               .mode = folder->mode,
                               .uid = folder->uid,
                               .gid = folder->gid};
}

// What is in it comes later; until all is there nobody else enters.
static int make_folder(struct copy *copy, const struct tree_entry *entry, const char *below, struct br_err *reterr)
{
    bool fresh;
    const struct seen *seen = see(copy, entry, NULL, &fresh);

    if (seen && !fresh) {
        return br_err_set(reterr, BR_E_CORRUPT, "a folder that is in two places");
    }
    if (!seen) {
        return br_err_set(reterr, BR_E_NOMEM, "a list of folders");
    }
    if (mkdirat(copy->fd, entry->name, 0700)) {
        return br_err_os(reterr, errno, "making it");
    }
    if (keep_folder(copy, entry, below)) {
        unlinkat(copy->fd, entry->name, AT_REMOVEDIR);
        return br_err_set(reterr, BR_E_NOMEM, "a list of folders");
    }
    return 0;
}

static int make_special(struct copy *copy, const struct tree_entry *entry, struct br_err *reterr)
{
    int rc = S_ISLNK(entry->mode) ? symlinkat(entry->target, copy->fd, entry->name)
                                  : mknodat(copy->fd, entry->name, (entry->mode & S_IFMT) | 0600, entry->rdev);

    return rc ? br_err_os(reterr, errno, "making it") : finish(copy, entry, copy->fd, entry->name, reterr);
}

static int copy_entry(void *ctx, const struct tree_entry *entry, const struct br_err *bad)
{
    struct copy *copy = ctx;
    struct br_err why = {0};
    char below[PATH_MAX], path[PATH_MAX];
    bool device = S_ISCHR(entry->mode) || S_ISBLK(entry->mode);

    if (cli_cancel) {
        return br_err_set(&copy->fatal, BR_E_CANCELLED, "copying a folder");
    }
    if (bad) {
        why = *bad;
        return tell(copy, entry->name, false, &why);
    }
    int rc = join(copy->path, entry->name, below, &why);
    rc = rc ? rc : join(copy->from, below, path, &why);
    if (rc) {
        return tell(copy, entry->name, false, &why);
    }
    switch (entry->mode & S_IFMT) {
    case S_IFREG: rc = copy_linked(copy, entry, path, below, &why); break;
    case S_IFDIR: rc = make_folder(copy, entry, below, &why); break;
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        rc = device && !copy->root ? br_err_set(&why, BR_E_PERMISSION, "a device, which only root can make")
                                   : make_special(copy, entry, &why);
        break;
    default: rc = br_err_set(&why, BR_E_CORRUPT, "of no kind that there is"); break;
    }
    copy->counts->entries += !rc;
    return rc ? tell(copy, entry->name, device && why.code == BR_E_PERMISSION, &why) : 0;
}

// A folder of those that were made: nobody else could put a link there.
static int open_below(const struct copy *copy, const char *below)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};

    return (int)syscall(SYS_openat2, copy->root_fd, *below ? below : ".", &how, sizeof(how));
}

// The list grows while it is gone through.
static int copy_all(struct copy *copy)
{
    struct br_err why = {0};
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; !rc && i < copy->folder_count; i++) {
        const struct tree_entry entry = folder_entry(&copy->folders[i]);

        copy->path = copy->folders[i].path;
        copy->fd = open_below(copy, copy->path);
        rc = copy->fd < 0 ? br_err_os(&why, errno, "opening the copy") : join(copy->from, copy->path, path, &why);
        rc = rc ? rc : tree_list(copy->tree, path, &entry, copy_entry, copy, &why);
        if (copy->fd >= 0) {
            close(copy->fd);
        }
        if (rc && !copy->fatal.code) {
            rc = tell(copy, "", false, &why);
        }
    }
    return rc;
}

// From the innermost outwards: what is put into a folder changes its time.
static int finish_folders(struct copy *copy)
{
    int rc = 0;

    for (size_t i = copy->folder_count; !rc && i-- > 0;) {
        const struct tree_entry entry = folder_entry(&copy->folders[i]);
        struct br_err why = {0};
        int fd = open_below(copy, copy->folders[i].path);

        copy->path = copy->folders[i].path;
        rc = fd < 0 ? br_err_os(&why, errno, "opening the copy") : finish(copy, &entry, fd, "", &why);
        if (fd >= 0) {
            close(fd);
        }
        rc = rc ? tell(copy, "", false, &why) : 0;
    }
    return rc;
}

// Only what this run made is in these folders.
static void remove_folders(const struct copy *copy, const char *to)
{
    // What can't be entered can't be emptied, and stays. Root enters all; folders that have got their owners could be exchanged under its path.
    for (size_t i = 0; !copy->root && i < copy->folder_count; i++) {
        (void)!fchmodat(copy->root_fd, i ? copy->folders[i].path : ".", 0700, 0);
    }
    for (size_t i = copy->folder_count; i-- > 0;) {
        int fd = open_below(copy, copy->folders[i].path);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *entry;

        while (dir && (entry = readdir(dir))) {
            unlinkat(fd, entry->d_name, 0);
        }
        if (dir) {
            closedir(dir);
        } else if (fd >= 0) {
            close(fd);
        }
        if (copy->folders[i].path[0]) {
            unlinkat(copy->root_fd, copy->folders[i].path, AT_REMOVEDIR);
        }
    }
    rmdir(to);
}

static int make_root(struct copy *copy, const struct tree_entry *dir, const char *to, struct br_err *reterr)
{
    struct stat st;
    bool fresh;

    if (mkdir(to, 0700)) {
        return errno == EEXIST ? br_err_set(reterr, BR_E_EXISTS, "%s is there", to)
                               : br_err_os(reterr, errno, "making %s", to);
    }
    copy->root_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    // Whoever owns the folder that it lies in may have put another one there: what goes into that could be exchanged for a link.
    if (copy->root_fd >= 0 && (fstat(copy->root_fd, &st) || st.st_uid != geteuid() || st.st_mode & 077)) {
        return br_err_set(reterr, BR_E_REFUSED, "%s is not the folder that was just made: somebody else has changed it",
                          to);
    }
    if (copy->root_fd < 0 || !see(copy, dir, NULL, &fresh) || keep_folder(copy, dir, "")) {
        int rc = copy->root_fd < 0 ? br_err_os(reterr, errno, "opening %s", to)
                                   : br_err_set(reterr, BR_E_NOMEM, "a list of folders");
        rmdir(to);
        return rc;
    }
    return 0;
}

int copy_folder(const struct tree *tree, const char *path, const struct tree_entry *dir, const char *to,
                void (*told)(void *ctx, const char *path, bool skipped, const struct br_err *why), void *ctx,
                struct copy_counts *ret_counts, struct br_err *ret_first, struct br_err *reterr)
{
    struct copy copy = {.tree = tree,
                        .from = path,
                        .root_fd = -1,
                        .root = !geteuid(),
                        .told = told,
                        .ctx = ctx,
                        .counts = ret_counts,
                        .first = ret_first,
                        .fd = -1};

    *ret_counts = (struct copy_counts){.entries = 1};
    *ret_first = (struct br_err){0};
    int rc = make_root(&copy, dir, to, reterr);
    if (!rc) {
        rc = copy_all(&copy);
        rc = rc ? rc : finish_folders(&copy);
        if (!rc && syncfs(copy.root_fd)) {
            rc = br_err_os(&copy.fatal, errno, "writing %s", to);
        }
        if (rc) {
            remove_folders(&copy, to);
            *reterr = copy.fatal;
            rc = -copy.fatal.code;
        }
    }
    for (size_t i = 0; i < copy.folder_count; i++) {
        free(copy.folders[i].path);
    }
    free(copy.folders);
    tdestroy(copy.seen, unsee);
    if (copy.root_fd >= 0) {
        close(copy.root_fd);
    }
    return rc;
}
