// SPDX-License-Identifier: Apache-2.0
//
// The file systems of a point, mounted:
//
//     nbdkit (point + cow overlay) -- socket -- nbdfuse -- a file -- loop devices, one for each partition -- mounts
//
// Nothing of it writes to the point: a journal is replayed into the overlay, which is how a file system that was in use mounts, and what the mount
// shows is what a reboot would have shown. Partitions are found by libblkid, so a kernel without partition scanning or NBD will do; FUSE and loop
// devices must be there, and root.
//
// What lies in a run folder (/run/blkrep-mount.*) tells what was made, and a lock in it whether its maker lives. In a namespace of its own everything
// goes with its processes; else point_mount_clean() takes away what one left that was killed.
#ifndef BR_TOOLS_FILES_MOUNT_H
#define BR_TOOLS_FILES_MOUNT_H

#include "tools/nbdkit/find.h"
#include "tools/nbdkit/server.h"

struct point_mount_params {
    const struct point_found *found;
    const char *dir; // a folder, real path; NULL: one in the run folder
    int partition;   // -1: each one that has a file system
    bool writable;   // what is written is gone at the end
    bool alone;      // in a mount namespace that this process and its children from now on are in
};

struct point_mount {
    char run_dir[64];
    char dir[PATH_MAX];
    int lock_fd;
    struct nbd_server server;
    pid_t fuse;
    bool table;   // DIR/N for partition N; else DIR is the file system
    size_t count; // file systems that are mounted
};

/**
 * point_mount_open - point_mount_close() in any case
 * Errors: -BR_E_PERMISSION not root; -BR_E_UNSUPPORTED no FUSE, nbdfuse, loop devices or nbdkit; -BR_E_NOT_FOUND no file system that can be mounted
 */
BR_MUST_CHECK int point_mount_open(struct cli *cli, const struct point_mount_params *params,
                                   struct point_mount *ret_mount, struct br_err *reterr);
/** point_mount_close - unmount, lazily what is in use, and end the processes */
void point_mount_close(struct point_mount *mount);
/** point_mount_folder - a folder in the run folder, made, for whoever works with the mount; its path into @path */
BR_MUST_CHECK int point_mount_folder(const struct point_mount *mount, const char *name, char *path, size_t path_size,
                                     struct br_err *reterr);
/** point_mount_alive - its processes run */
bool point_mount_alive(struct point_mount *mount);
/**
 * point_mount_clean - take away what dead ones left; with @dir also tell the living one that is mounted there to end, and wait for it
 * Returns how many it took away or told; -BR_E_TIMEOUT it does not end
 */
BR_MUST_CHECK int point_mount_clean(const char *dir, struct br_err *reterr);

#endif
