// SPDX-License-Identifier: Apache-2.0
#include "tools/files/mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/nbdkit/process.h"

#define RUN_PREFIX    "/run/blkrep-mount."
#define FUSE_READY_MS 20000u
#define END_MS        20000u
#define LOOP_TRIES    50u

// What is below @dir comes first; what is busy goes when it no longer is.
static void unmount(const char *dir)
{
    while (!umount2(dir, UMOUNT_NOFOLLOW) || (errno == EBUSY && !umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW))) {}
}

static void unmount_tree(const char *dir, bool table)
{
    char path[PATH_MAX + 16];

    for (unsigned n = 0; table && n <= LAYOUT_PARTS_MAX; n++) {
        snprintf(path, sizeof(path), "%s/%u", dir, n);
        unmount(path);
    }
    unmount(dir);
}

// The run folder ----------------------------------------------------------------------------------------------------------------------

static void run_path(const char *run_dir, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", run_dir, name);
}

static int run_open(struct point_mount *mount, const char *dir, struct br_err *reterr)
{
    char path[PATH_MAX];

    snprintf(mount->run_dir, sizeof(mount->run_dir), "%sXXXXXX", RUN_PREFIX);
    if (!mkdtemp(mount->run_dir)) {
        mount->run_dir[0] = 0;
        return br_err_os(reterr, errno, "making a folder %sXXXXXX", RUN_PREFIX);
    }
    run_path(mount->run_dir, "owner", path);
    mount->lock_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (mount->lock_fd < 0 || flock(mount->lock_fd, LOCK_EX | LOCK_NB) ||
        dprintf(mount->lock_fd, "%d\n%s\n", getpid(), dir) < 0) {
        return br_err_os(reterr, errno, "writing %s", path);
    }
    for (size_t i = 0; i < 2; i++) {
        run_path(mount->run_dir, i ? "files" : "fuse", path);
        if (mkdir(path, 0700)) {
            return br_err_os(reterr, errno, "making %s", path);
        }
    }
    return 0;
}

// A folder of files alone, such as a database's socket.
static void empty_folder(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    while (folder && (entry = readdir(folder))) {
        unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder) {
        closedir(folder);
    }
    rmdir(path);
}

static void run_remove(const char *run_dir)
{
    static const char *const folders[] = {"fuse", "files"};
    char path[PATH_MAX];

    for (size_t i = 0; i < BR_ARRAY_LEN(folders); i++) {
        run_path(run_dir, folders[i], path);
        unmount_tree(path, i == 1);
        rmdir(path);
    }
    run_path(run_dir, "server", path);
    empty_folder(path);
    run_path(run_dir, "socket", path);
    unlink(path);
    run_path(run_dir, "owner", path);
    unlink(path);
    rmdir(run_dir);
}

// Whose run folder it is. Returns its owner's process, 0 he is dead: then @ret_lock is ours.
static pid_t run_owner(const char *run_dir, char dir[PATH_MAX], int *ret_lock)
{
    char path[PATH_MAX], text[PATH_MAX + 32] = "";

    run_path(run_dir, "owner", path);
    *ret_lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (*ret_lock < 0) {
        return -1; // it is just being made, or removed
    }
    bool dead = !flock(*ret_lock, LOCK_EX | LOCK_NB);
    ssize_t len = pread(*ret_lock, text, sizeof(text) - 1, 0);
    text[len > 0 ? len : 0] = 0;
    char *line = strchr(text, '\n');
    snprintf(dir, PATH_MAX, "%.*s", line ? (int)strcspn(line + 1, "\n") : 0, line ? line + 1 : "");
    return dead ? 0 : (pid_t)strtol(text, NULL, 10);
}

static int clean_one(const char *run_dir, const char *dir, struct br_err *reterr)
{
    char where[PATH_MAX];
    int lock, rc = 0;
    pid_t owner = run_owner(run_dir, where, &lock);

    if (!owner) {
        if (*where) {
            unmount_tree(where, true);
        }
        run_remove(run_dir);
        rc = 1;
    } else if (owner > 0 && dir && !strcmp(dir, where)) {
        rc = kill(owner, SIGTERM) ? 0 : 1;
        for (unsigned waited = 0; rc > 0 && flock(lock, LOCK_EX | LOCK_NB); waited += 20) {
            if (waited > END_MS) {
                rc = br_err_set(reterr, BR_E_TIMEOUT, "process %d, which serves %s, does not end", owner, dir);
            }
            child_pause(20);
        }
    }
    if (lock >= 0) {
        close(lock);
    }
    return rc;
}

int point_mount_clean(const char *dir, struct br_err *reterr)
{
    glob_t found = {0};
    int count = 0, rc = 0;

    if (!glob(RUN_PREFIX "*", 0, NULL, &found)) {
        for (size_t i = 0; rc >= 0 && i < found.gl_pathc; i++) {
            rc = clean_one(found.gl_pathv[i], dir, reterr);
            count += rc > 0;
        }
    }
    globfree(&found);
    return rc < 0 ? rc : count;
}

// Mounts ------------------------------------------------------------------------------------------------------------------------------

static int namespace_of_our_own(struct br_err *reterr)
{
    return unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)
               ? br_err_os(reterr, errno, "making a namespace for mounts")
               : 0;
}

static int fuse_open(struct point_mount *mount, struct br_err *reterr)
{
    char file[PATH_MAX];
    const char *argv[] = {"nbdfuse", file, mount->server.uri, NULL};
    const struct child child = {.argv = argv, .out_fd = -1};
    struct stat st;

    run_path(mount->run_dir, "fuse/disk", file);
    int error = child_start(&child, &mount->fuse, reterr);
    for (unsigned waited = 0; !error && stat(file, &st); waited += 20) {
        int status;

        if (child_ended(mount->fuse, &status)) {
            mount->fuse = 0;
            error = br_err_set(reterr, BR_E_UNSUPPORTED, "nbdfuse ended: it needs /dev/fuse");
        } else if (cli_cancel || waited > FUSE_READY_MS) {
            error = br_err_set(reterr, cli_cancel ? BR_E_CANCELLED : BR_E_TIMEOUT, "starting nbdfuse");
        }
        child_pause(20);
    }
    return error;
}

// A loop device over a part of the disk, which goes when nobody uses it any more; the caller closes it when it is mounted.
static int loop_open(const struct point_mount *mount, const struct layout_part *part, char path[32], int *ret_fd,
                     struct br_err *reterr)
{
    struct loop_config config = {
        .info = {.lo_offset = part->offset_bytes, .lo_sizelimit = part->size_bytes, .lo_flags = LO_FLAGS_AUTOCLEAR}};
    char file[PATH_MAX];
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

    run_path(mount->run_dir, "fuse/disk", file);
    int disk = open(file, O_RDWR | O_CLOEXEC), error = 0, loop = -1;
    if (control < 0 || disk < 0) {
        error =
            br_err_set(reterr, BR_E_UNSUPPORTED, "%s: %s", control < 0 ? "/dev/loop-control" : file, strerror(errno));
    }
    config.fd = (uint32_t)disk;
    // Somebody else may take the free one first.
    for (unsigned tries = 0; !error && loop < 0; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        snprintf(path, 32, "/dev/loop%d", number);
        loop = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config)) {
            int os_errno = errno;

            close(loop);
            loop = -1;
            errno = os_errno;
        }
        if (loop < 0 && (errno != EBUSY || tries == LOOP_TRIES)) {
            error = br_err_os(reterr, errno, "no loop device is to be had (%s)", path);
        }
    }
    if (control >= 0) {
        close(control);
    }
    if (disk >= 0) {
        close(disk);
    }
    *ret_fd = loop;
    return error;
}

// Why it was not mounted, in words that tell a kernel that can't from a file system that is broken.
static int mount_error(const struct layout_part *part, int os_errno, struct br_err *reterr)
{
    switch (os_errno) {
    case ENODEV:
        return br_err_set(reterr, BR_E_UNSUPPORTED, "partition %d holds %s, which this kernel does not know",
                          part->number, part->type);
    case EEXIST: // btrfs
        return br_err_set(reterr, BR_E_UNSUPPORTED,
                          "partition %d holds %s, and one of the same uuid is mounted here: this kernel takes one at a "
                          "time; another host, or restore, shows it",
                          part->number, part->type);
    case EUCLEAN:
    case EBADMSG:
    case EINVAL:
        return br_err_set(reterr, BR_E_CORRUPT,
                          "mounting partition %d: its %s is damaged, or newer than this kernel: %s", part->number,
                          part->type, strerror(os_errno));
    default: return br_err_os(reterr, os_errno, "mounting partition %d, %s", part->number, part->type);
    }
}

static int part_mount(const struct point_mount *mount_, const struct layout_part *part, const char *dir, bool writable,
                      struct br_err *reterr)
{
    // Two file systems of one uuid, the original and this one: xfs wants to be told that it is meant.
    const char *data = !strcmp(part->type, "xfs") ? "nouuid" : NULL;
    const char *type = !strcmp(part->type, "ntfs") ? "ntfs3" : part->type; // libblkid's name and the kernel's
    unsigned long flags = MS_NOSUID | MS_NODEV | (writable ? 0 : MS_RDONLY);
    char loop[32];
    int fd;
    int error = loop_open(mount_, part, loop, &fd, reterr);

    if (error) {
        return error;
    }
    if (mount(loop, dir, type, flags, data)) {
        error = mount_error(part, errno, reterr);
    }
    close(fd);
    return error;
}

// Of a disk with partitions: a small file system of folders, so that none is left in the user's.
static int mount_table(struct cli *cli, const struct point_mount_params *params, struct point_mount *mount_,
                       struct br_err *reterr)
{
    const struct layout *layout = &params->found->layout;
    struct br_err why = {0};
    int error = 0;

    if (mount("blkrep", mount_->dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=1m,mode=0755")) {
        return br_err_os(reterr, errno, "mounting on %s", mount_->dir);
    }
    for (size_t i = 0; i < layout->count && error != -BR_E_CANCELLED; i++) {
        const struct layout_part *part = &layout->parts[i];
        char dir[PATH_MAX + 16];

        if (!part->filesystem) {
            continue;
        }
        snprintf(dir, sizeof(dir), "%s/%d", mount_->dir, part->number);
        error = mkdir(dir, 0755) ? br_err_os(&why, errno, "making %s", dir)
                                 : part_mount(mount_, part, dir, params->writable, &why);
        if (error) {
            cli_warn(cli, "%s", why.text);
            rmdir(dir);
        } else {
            mount_->count++;
        }
    }
    (void)mount(NULL, mount_->dir, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    return mount_->count ? 0 : br_err_set(reterr, BR_E_NOT_FOUND, "the disk has no partition that could be mounted");
}

static int mount_one(const struct point_mount_params *params, struct point_mount *mount_, struct br_err *reterr)
{
    const struct layout_part *part;
    int error = layout_pick(&params->found->layout, params->partition, &part, reterr);

    if (!error && !part->filesystem) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "partition %d holds %s, no file system", part->number,
                           part->type[0] ? part->type : "nothing known");
    }
    error = error ? error : part_mount(mount_, part, mount_->dir, params->writable, reterr);
    mount_->count += !error;
    return error;
}

static int mount_files(struct cli *cli, const struct point_mount_params *params, struct point_mount *mount_,
                       struct br_err *reterr)
{
    mount_->table = params->found->layout.table && params->partition < 0;
    return mount_->table ? mount_table(cli, params, mount_, reterr) : mount_one(params, mount_, reterr);
}

int point_mount_open(struct cli *cli, const struct point_mount_params *params, struct point_mount *ret_mount,
                     struct br_err *reterr)
{
    struct point_mount *self = ret_mount;
    char socket[PATH_MAX];

    *self = (struct point_mount){.lock_fd = -1};
    if (geteuid()) {
        return br_err_set(reterr, BR_E_PERMISSION,
                          "mounting needs root; blkrep files reads ext2, ext3 and ext4 without");
    }
    if (!child_installed("nbdfuse")) {
        return br_err_set(reterr, BR_E_UNSUPPORTED,
                          "nbdfuse is not installed (the package libnbd-bin or nbdfuse has it)");
    }
    int error = params->alone ? namespace_of_our_own(reterr) : 0;
    error = error ? error : run_open(self, params->dir && !params->alone ? params->dir : "", reterr);
    if (error) {
        return error;
    }
    run_path(self->run_dir, "socket", socket);
    if (params->dir) {
        snprintf(self->dir, sizeof(self->dir), "%s", params->dir);
    } else {
        run_path(self->run_dir, "files", self->dir);
    }
    const struct nbd_server_params serve = {
        .repository = params->found->repository, .point = &params->found->point, .writable = true, .socket = socket};
    error = nbd_server_start(cli, &serve, &self->server, reterr);
    error = error ? error : fuse_open(self, reterr);
    return error ? error : mount_files(cli, params, self, reterr);
}

int point_mount_folder(const struct point_mount *mount, const char *name, char *path, size_t path_size,
                       struct br_err *reterr)
{
    snprintf(path, path_size, "%s/%s", mount->run_dir, name);
    // Others are to reach it, and nothing beside it.
    return chmod(mount->run_dir, 0711) || mkdir(path, 0700) ? br_err_os(reterr, errno, "making %s", path) : 0;
}

bool point_mount_alive(struct point_mount *mount)
{
    int status;

    if (child_ended(mount->fuse, &status)) {
        mount->fuse = 0;
        return false;
    }
    return !nbd_server_died(&mount->server);
}

void point_mount_close(struct point_mount *mount)
{
    char fuse[PATH_MAX];

    if (mount->dir[0] && (mount->count || mount->table)) {
        unmount_tree(mount->dir, mount->table);
    }
    if (mount->run_dir[0]) {
        run_path(mount->run_dir, "fuse", fuse);
        unmount(fuse);
    }
    // Without its mount it ends by itself.
    child_stop(mount->fuse, SIGTERM, END_MS);
    nbd_server_stop(&mount->server);
    if (mount->run_dir[0]) {
        run_remove(mount->run_dir);
    }
    if (mount->lock_fd >= 0) {
        close(mount->lock_fd);
    }
    *mount = (struct point_mount){.lock_fd = -1};
}
