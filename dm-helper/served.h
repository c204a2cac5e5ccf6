// SPDX-License-Identifier: Apache-2.0
//
// What NBD and ublk devices have in common: block devices of the kernel's whose I/O a process of blkrep serves (request.h "NBD").
//
// Everything that is asked about such a device is read from /sys and /proc. It is never opened: the first opener makes the kernel look for
// partitions, and that waits for the server, which may be the one that asks. So what is merely open is not seen, nor what is mounted in
// another mount namespace only.
#ifndef DMH_SERVED_H
#define DMH_SERVED_H

#include "dm-helper/volume.h"
#include "kmod-compat/matrix.h"
#include "kmod-compat/source.h"

#define DMH_BLOCK_FOLDER "/sys/class/block"

// A disk as /sys has it.
struct dmh_disk {
    uint32_t major, minor;
    uint64_t size_bytes;
    bool read_only;
    bool in_use; // it or a partition is mounted, held by another device, or swapped to
};

/** dmh_disk_read - look at a disk by the kernel's name for it; false when there is none */
bool dmh_disk_read(const struct kmc_source *source, const char *name, struct dmh_disk *ret_disk);
/** dmh_shape_check - may a served device have this size and block size? -BR_E_USAGE */
BR_MUST_CHECK int dmh_shape_check(uint64_t size_bytes, uint32_t block_bytes, struct br_err *reterr);
/**
 * dmh_no_driver - why this kernel has no such devices, and what to do about it; -BR_E_UNSUPPORTED
 * @feature  KMC_NBD or KMC_UBLK
 */
int dmh_no_driver(enum kmc_feature feature, struct br_err *reterr);

#endif
