// SPDX-License-Identifier: Apache-2.0
//
// A file as a block device: the kernel's loop driver, past the page cache where the disk's sectors allow it.
//
// Why not a dm-linear table over the file's blocks, which would need no filesystem: a mounted filesystem claims its device, so the kernel
// refuses such a table on a disk or partition (EBUSY, seen on 6.1 and 6.12), and below a device-mapper device whose owner is someone
// else (LVM) the blocks may be moved and given to others without notice. Through the filesystem nothing of that can happen. What can't be
// is a store in a filesystem that is suspended together with it: that is refused wherever it could come about (dmh_device_stands_on()).
//
// A loop device made here goes away by itself with its last user (autoclear): the device-mapper part on it.
#ifndef DMH_LOOP_H
#define DMH_LOOP_H

#include <sys/types.h>

#include "engine/base/err.h"

/**
 * dmh_loop_make - a loop device on an open file
 * @file_fd  open for reading and writing
 * @ret_fd   of the loop device; it lives until this and all other users have closed it
 * Errors: -BR_E_UNSUPPORTED the kernel has no loop driver; -BR_E_BUSY others took each free device first
 */
BR_MUST_CHECK int dmh_loop_make(int file_fd, uint32_t *ret_major, uint32_t *ret_minor, int *ret_fd,
                                struct br_err *reterr);
/** dmh_loop_file - which file is behind a loop device; false when the device is none */
bool dmh_loop_file(uint32_t major, uint32_t minor, dev_t *ret_device, ino_t *ret_inode);
/** dmh_loop_grow - take up the file's new size */
BR_MUST_CHECK int dmh_loop_grow(uint32_t major, uint32_t minor, struct br_err *reterr);

#endif
