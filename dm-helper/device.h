// SPDX-License-Identifier: Apache-2.0
//
// From what a request names (volume.h decided that it may) to the device that it is.
#ifndef DMH_DEVICE_H
#define DMH_DEVICE_H

#include "dm-helper/dm.h"
#include "dm-helper/registry.h"
#include "dm-helper/volume.h"

#define DMH_LOCK_WAIT_MS 3000 // for another connection's request to the same volume

// A volume that a request is about, its lock included when the request changes something.
struct dmh_held_volume {
    struct dmh_volume *volume;
    int lock_fd; // -1 none
};

struct dmh_device {
    struct dmh_where where;
    bool is_dm;
    struct dmh_dm dm; // when is_dm
    uint32_t major, minor;
};

/** dmh_hold_volume - load a registration, and lock the volume if @lock */
BR_MUST_CHECK int dmh_hold_volume(const struct dmh_registry *registry, const char *name, bool lock,
                                  struct dmh_held_volume *ret_held, struct br_err *reterr);
/** dmh_release_volume - free and unlock; for DMH_AUTO_VOLUME */
void dmh_release_volume(struct dmh_held_volume *held);
#define DMH_AUTO_VOLUME __attribute__((cleanup(dmh_release_volume)))
#define DMH_NO_VOLUME                 \
    {                                 \
        .volume = NULL, .lock_fd = -1 \
    }

/**
 * dmh_device_resolve - the device that a `where` of a volume is
 * @kinds  enum dmh_where_kind, or'ed; what a request takes
 * Errors: as dmh_where_resolve(); -BR_E_NOT_FOUND it is not there; -BR_E_USAGE it is no block device
 */
BR_MUST_CHECK int dmh_device_resolve(const struct dmh_volume *volume, const char *where, uint32_t kinds,
                                     struct dmh_device *ret_device, struct br_err *reterr);
/** dmh_device_resolve_dm - the same for requests that are about device-mapper devices only; *ret_info may be NULL */
BR_MUST_CHECK int dmh_device_resolve_dm(const struct dmh_volume *volume, const char *where, uint32_t kinds,
                                        struct dmh_dm *ret_dm, struct dmh_info *ret_info, struct br_err *reterr);
/**
 * dmh_device_row - the first target of a kind in a device's live table
 * Returns false when there is none, or it could not be parsed
 */
bool dmh_device_row(const struct dmh_dm *dm, uint32_t kind, struct dmh_target_row *ret_row);
/** dmh_device_vg - the volume group that a volume's own device lies in; "" none */
void dmh_device_vg(const struct dmh_volume *volume, char vg[DMH_DM_NAME_MAX]);
/**
 * dmh_device_open - open a block device by its number, and see that it is that
 * Errors: -BR_E_TARGET_IN_USE O_EXCL was asked for and somebody holds it; -BR_E_NOT_FOUND no node of it
 */
BR_MUST_CHECK int dmh_device_open(uint32_t major, uint32_t minor, int flags, int *ret_fd, struct br_err *reterr);
/**
 * dmh_device_zero_head - zero the first DMH_HEAD_BYTES of a device that is open for writing, past the page cache (O_DIRECT)
 * Durable: flushed on return    Errors: -BR_E_USAGE it is smaller; -BR_E_IO
 */
BR_MUST_CHECK int dmh_device_zero_head(int fd, struct br_err *reterr);
/**
 * dmh_device_stands_on - does a device lie, wholly or in part, on another, through any number of device-mapper, MD, LVM, loop or partition
 * layers? (Block devices' slaves in /sys; a loop device's file by its filesystem.) A device stands on itself.
 */
bool dmh_device_stands_on(uint32_t major, uint32_t minor, uint32_t below_major, uint32_t below_minor);
/** dmh_device_is_source - does a device share storage with what the volume protects? Then no store may be there, and nothing be zeroed */
bool dmh_device_is_source(const struct dmh_volume *volume, uint32_t major, uint32_t minor);

#endif
