// SPDX-License-Identifier: Apache-2.0
//
// Filesystems as /proc/self/mountinfo shows them (Documentation/filesystems/proc.rst, 3.5). What is mounted in another mount namespace only
// is not seen.
#ifndef DMH_MOUNTS_H
#define DMH_MOUNTS_H

#include "engine/base/err.h"

// One line of mountinfo.
struct dmh_mount {
    uint32_t major, minor; // of the filesystem; of no device for btrfs, overlayfs and others
    const char *point;
    const char *type;
    const char *source;
};

/** dmh_mount_parse - take a line apart, in place; false when it is not one */
bool dmh_mount_parse(char *line, struct dmh_mount *ret_mount);
/** dmh_mount_is_on - is the filesystem on that block device? */
bool dmh_mount_is_on(const struct dmh_mount *mount, uint32_t major, uint32_t minor);
/**
 * dmh_mounts_open - a folder of the filesystem that is on a block device
 * @ret_mounted  is there one at all?
 * @ret_fd       -1 when there is none, or none of its mount points can be reached
 */
void dmh_mounts_open(uint32_t major, uint32_t minor, bool *ret_mounted, int *ret_fd);
/**
 * dmh_mounts_at - the filesystem that is mounted at @point: an open folder of it, and its block device
 * Errors: -BR_E_NOT_FOUND nothing is mounted there; -BR_E_REFUSED it lies on no block device
 */
BR_MUST_CHECK int dmh_mounts_at(const char *point, uint32_t *ret_major, uint32_t *ret_minor, int *ret_fd,
                                struct br_err *reterr);
/** dmh_mounts_device - the block device of the filesystem that an open descriptor lies in; -BR_E_REFUSED it has no single one */
BR_MUST_CHECK int dmh_mounts_device(int fd, uint32_t *ret_major, uint32_t *ret_minor, struct br_err *reterr);

#endif
