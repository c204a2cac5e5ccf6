// SPDX-License-Identifier: Apache-2.0
//
// Descriptors of devices, and the zeroing of a store's head.
#include "dm-helper/device.h"
#include "dm-helper/server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int dmh_open_flags(const struct dmh_open *open)
{
    return (open->write ? O_RDWR | O_EXCL : O_RDONLY) | (open->direct ? O_DIRECT : 0);
}

static int dmh_describe(int fd, struct dmh_opened *opened, struct br_err *reterr)
{
    struct stat st;
    int sector_bytes = 512;

    if (fstat(fd, &st)) {
        return br_err_os(reterr, errno, "looking at a descriptor");
    }
    if (S_ISREG(st.st_mode)) {
        opened->size_bytes = (uint64_t)st.st_size;
        opened->sector_bytes = (uint32_t)sector_bytes;
        return 0;
    }
    if (ioctl(fd, BLKGETSIZE64, &opened->size_bytes) || ioctl(fd, BLKSSZGET, &sector_bytes)) {
        return br_err_os(reterr, errno, "asking for a device's size");
    }
    opened->major = major(st.st_rdev);
    opened->minor = minor(st.st_rdev);
    opened->sector_bytes = (uint32_t)sector_bytes;
    return 0;
}

// A path that the configuration gives: a device by whatever link leads there, or a plain file, for reading.
static int dmh_open_configured(const struct dmh_registry *registry, const struct dmh_open *request, int *ret_fd,
                               struct br_err *reterr)
{
    char path[DMH_WHERE_MAX];
    struct stat st;
    const char *section = request->owner == DMH_OWNER_REPLICA ? "replica" : "volume";

    if (strcmp(request->device.where, "@device") != 0) {
        return br_err_set(reterr, BR_E_PERMISSION, "%s %s: the configuration names its device only", section,
                          request->device.volume);
    }
    int error = dmh_registry_configured(registry, section, request->device.volume, path, reterr);
    if (error) {
        return error;
    }
    if (stat(path, &st)) {
        return br_err_os(reterr, errno, "opening %s", path);
    }
    if (!S_ISBLK(st.st_mode)) {
        return br_err_set(reterr, BR_E_PERMISSION, "%s is not a block device; open files yourself", path);
    }
    return dmh_device_open(major(st.st_rdev), minor(st.st_rdev), dmh_open_flags(request), ret_fd, reterr);
}

static int dmh_open_registered(const struct dmh_volume *volume, const struct dmh_open *request, bool is_root,
                               int *ret_fd, struct br_err *reterr)
{
    uint32_t kinds = DMH_WHERE_PART | DMH_WHERE_DEVICE | DMH_WHERE_BLOCK | DMH_WHERE_LVM;
    struct dmh_device device;

    // What is served is the volume itself as its users have it.
    kinds |= !request->write || is_root ? DMH_WHERE_NBD | DMH_WHERE_UBLK : 0;
    if (!request->write) {
        kinds |= DMH_WHERE_POOL_META | DMH_WHERE_LVM_STORE;
    }
    int error = dmh_device_resolve(volume, request->device.where, kinds, &device, reterr);
    return error ? error : dmh_device_open(device.major, device.minor, dmh_open_flags(request), ret_fd, reterr);
}

int dmh_on_open(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_open *request = turn->request;
    const struct dmh_registry *registry = &turn->server->registry;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    int error = -BR_E_NOT_FOUND;

    if (request->owner != DMH_OWNER_VOLUME && request->owner != DMH_OWNER_REPLICA) {
        return br_err_set(reterr, BR_E_USAGE, "owner %u is not known", request->owner);
    }
    if (request->owner == DMH_OWNER_VOLUME) {
        error = dmh_hold_volume(registry, request->device.volume, false, &held, reterr);
        if (error && error != -BR_E_NOT_FOUND && error != -BR_E_USAGE) {
            return error;
        }
    }
    error = error ? dmh_open_configured(registry, request, &turn->reply_fd, reterr)
                  : dmh_open_registered(held.volume, request, turn->server->peer_is_root, &turn->reply_fd, reterr);
    return error ? error : dmh_describe(turn->reply_fd, turn->reply, reterr);
}

int dmh_on_zero_head(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_device device;
    int fd = -1;

    int error = dmh_hold_volume(&turn->server->registry, ref->volume, true, &held, reterr);
    error = error ? error
                  : dmh_device_resolve(held.volume, ref->where, DMH_WHERE_PART | DMH_WHERE_BLOCK | DMH_WHERE_LVM,
                                       &device, reterr);
    if (!error && dmh_device_is_source(held.volume, device.major, device.minor)) {
        error = br_err_set(reterr, BR_E_REFUSED, "volume %s: its own data lie on %s", ref->volume, ref->where);
    }
    // Exclusively: neither a mounted filesystem nor an active snapshot's store can be hit. Past the page cache: device-mapper reads the disk.
    error = error ? error : dmh_device_open(device.major, device.minor, O_RDWR | O_EXCL | O_DIRECT, &fd, reterr);
    if (error) {
        return error;
    }
    error = dmh_device_zero_head(fd, reterr);
    close(fd);
    return error;
}
