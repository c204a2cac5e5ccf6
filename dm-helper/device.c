// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dm-helper/nbd.h"
#include "dm-helper/target.h"
#include "dm-helper/ublk.h"

#define DMH_STACK_DEPTH_MAX 16

// ---- volumes ---------------------------------------------------------------------------------------------------------

int dmh_hold_volume(const struct dmh_registry *registry, const char *name, bool lock, struct dmh_held_volume *ret_held,
                    struct br_err *reterr)
{
    struct dmh_held_volume held = DMH_NO_VOLUME;

    held.volume = calloc(1, sizeof(*held.volume));
    if (!held.volume) {
        return br_err_set(reterr, BR_E_NOMEM, "reading a registration");
    }
    int error = dmh_registry_load(registry, name, held.volume, reterr);
    if (!error && lock) {
        error = dmh_registry_lock(name, DMH_LOCK_WAIT_MS, &held.lock_fd, reterr);
    }
    if (error) {
        dmh_release_volume(&held);
        return error;
    }
    *ret_held = held;
    return 0;
}

void dmh_release_volume(struct dmh_held_volume *held)
{
    free(held->volume);
    if (held->lock_fd >= 0) {
        close(held->lock_fd);
    }
    *held = (struct dmh_held_volume)DMH_NO_VOLUME;
}

// ---- finding devices -------------------------------------------------------------------------------------------------

static int dmh_find_path(const char *path, struct dmh_device *device, struct br_err *reterr)
{
    struct stat st;

    if (stat(path, &st)) {
        return br_err_os(reterr, errno, "looking at %s", path);
    }
    if (!S_ISBLK(st.st_mode)) {
        return br_err_set(reterr, BR_E_USAGE, "%s is not a block device", path);
    }
    device->major = major(st.st_rdev);
    device->minor = minor(st.st_rdev);
    device->is_dm = dmh_dm_is_major(device->major);
    return device->is_dm ? dmh_dm_find("", device->major, device->minor, &device->dm, NULL, reterr) : 0;
}

void dmh_device_vg(const struct dmh_volume *volume, char vg[DMH_DM_NAME_MAX])
{
    struct dmh_device device = {0};
    char lv[DMH_DM_NAME_MAX];

    *vg = 0;
    if (!dmh_find_path(volume->device, &device, NULL) && device.is_dm) {
        dmh_dm_lv_of(&device.dm, vg, lv);
    }
}

// The first target of a kind in a table, or none.
struct dmh_wanted_row {
    uint32_t kind;
    bool found;
    struct dmh_target_row row;
};

static void dmh_on_row(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                       const char *params)
{
    struct dmh_wanted_row *wanted = user;

    if (!wanted->found && dmh_target_kind_of(type) == wanted->kind) {
        dmh_row_parse(type, start_sectors, length_sectors, params, &wanted->row);
        wanted->found = wanted->row.parsed;
    }
}

bool dmh_device_row(const struct dmh_dm *dm, uint32_t kind, struct dmh_target_row *ret_row)
{
    struct dmh_wanted_row wanted = {.kind = kind};

    if (dmh_dm_lines(dm, true, false, dmh_on_row, &wanted, NULL) || !wanted.found) {
        return false;
    }
    *ret_row = wanted.row;
    return true;
}

// The pool of the volume's device. Once a stack lies on it, the thin target is in the table of part "real".
static int dmh_find_pool(const struct dmh_volume *volume, bool metadata, struct dmh_device *device,
                         struct br_err *reterr)
{
    struct dmh_target_row thin, pool;
    struct dmh_device own = {0};
    char uuid[DMH_DM_UUID_MAX];
    struct dmh_dm real;

    int error = dmh_find_path(volume->device, &own, reterr);
    if (error) {
        return error;
    }
    bool found = own.is_dm && dmh_device_row(&own.dm, DMH_TARGET_THIN, &thin);
    if (!found) {
        dmh_dm_uuid_of(volume, "real", uuid);
        found = !dmh_dm_find(uuid, 0, 0, &real, NULL, NULL) && dmh_device_row(&real, DMH_TARGET_THIN, &thin);
    }
    if (!found) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "volume %s is not on a thin pool", volume->volume);
    }
    device->is_dm = true;
    error = dmh_dm_find("", thin.device_major, thin.device_minor, &device->dm, NULL, reterr);
    if (!error && metadata) {
        if (!dmh_device_row(&device->dm, DMH_TARGET_THIN_POOL, &pool)) {
            return br_err_set(reterr, BR_E_NOT_FOUND, "%s is no thin pool", device->dm.name);
        }
        device->is_dm = dmh_dm_is_major(pool.store_major);
        device->major = pool.store_major;
        device->minor = pool.store_minor;
        return device->is_dm ? dmh_dm_find("", pool.store_major, pool.store_minor, &device->dm, NULL, reterr) : 0;
    }
    return error;
}

// An LV of ours is found by its path, and must then be what the path says.
static int dmh_find_lv(struct dmh_device *device, struct br_err *reterr)
{
    char vg[DMH_DM_NAME_MAX] = "", lv[DMH_DM_NAME_MAX];
    int error = dmh_find_path(device->where.path, device, reterr);

    if (!error && device->is_dm) {
        dmh_dm_lv_of(&device->dm, vg, lv);
    }
    if (!error && strcmp(vg, device->where.vg) != 0) {
        error = br_err_set(reterr, BR_E_PERMISSION, "%s is not a logical volume of group %s", device->where.path,
                           device->where.vg);
    }
    return error;
}

// The store of an LV that is a snapshot: what its table names, whatever LVM calls it.
static int dmh_find_lv_store(struct dmh_device *device, struct br_err *reterr)
{
    struct dmh_target_row row;
    int error = dmh_find_lv(device, reterr);

    if (error) {
        return error;
    }
    if (!device->is_dm || !dmh_device_row(&device->dm, DMH_TARGET_SNAPSHOT, &row) ||
        !dmh_dm_is_major(row.store_major)) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is no snapshot with a store", device->where.path);
    }
    return dmh_dm_find("", row.store_major, row.store_minor, &device->dm, NULL, reterr);
}

static int dmh_find_nbd(const struct dmh_volume *volume, struct dmh_device *device, struct br_err *reterr)
{
    struct dmh_disk disk;
    char name[32];
    uint32_t index;

    if (dmh_nbd_find(&kmc_running, device->where.dm_uuid, &index)) {
        snprintf(name, sizeof(name), "nbd%" PRIu32, index);
        if (dmh_disk_read(&kmc_running, name, &disk)) {
            device->major = disk.major;
            device->minor = disk.minor;
            return 0;
        }
    }
    return br_err_set(reterr, BR_E_NOT_FOUND, "volume %s has no NBD device for its part %s", volume->volume,
                      device->where.part);
}

static int dmh_find_ublk(const struct dmh_volume *volume, struct dmh_device *device, struct br_err *reterr)
{
    struct ublksrv_ctrl_dev_info dev;
    struct dmh_disk disk;
    char name[32];
    bool found;

    int error = dmh_ublk_find(dmh_ublk_tag(volume, device->where.part), &found, &dev, reterr);
    if (error) {
        return error;
    }
    if (found) {
        snprintf(name, sizeof(name), "ublkb%" PRIu32, dev.dev_id);
        if (dmh_disk_read(&kmc_running, name, &disk)) {
            device->major = disk.major;
            device->minor = disk.minor;
            return 0;
        }
    }
    return br_err_set(reterr, BR_E_NOT_FOUND, "volume %s has no ublk device for its part %s, or it is not started",
                      volume->volume, device->where.part);
}

int dmh_device_resolve(const struct dmh_volume *volume, const char *where, uint32_t kinds,
                       struct dmh_device *ret_device, struct br_err *reterr)
{
    struct dmh_device device = {0};
    char vg[DMH_DM_NAME_MAX] = "";

    if (!strncmp(where, "lvm", 3)) {
        dmh_device_vg(volume, vg);
    }
    int error = dmh_where_resolve(volume, where, kinds, vg, &device.where, reterr);
    if (error) {
        return error;
    }
    switch (device.where.kind) {
    case DMH_WHERE_PART:
        device.is_dm = true;
        error = dmh_dm_find(device.where.dm_uuid, 0, 0, &device.dm, NULL, reterr);
        if (error) {
            br_err_prefix(reterr, "volume %s, part %s", volume->volume, where);
        }
        break;
    case DMH_WHERE_DEVICE:
    case DMH_WHERE_BLOCK: error = dmh_find_path(device.where.path, &device, reterr); break;
    case DMH_WHERE_LVM: error = dmh_find_lv(&device, reterr); break;
    case DMH_WHERE_LVM_STORE: error = dmh_find_lv_store(&device, reterr); break;
    case DMH_WHERE_UBLK: error = dmh_find_ublk(volume, &device, reterr); break;
    case DMH_WHERE_NBD: error = dmh_find_nbd(volume, &device, reterr); break;
    case DMH_WHERE_POOL: error = dmh_find_pool(volume, false, &device, reterr); break;
    case DMH_WHERE_POOL_META: error = dmh_find_pool(volume, true, &device, reterr); break;
    default: return br_err_set(reterr, BR_E_USAGE, "%s is not a device", where);
    }
    if (error) {
        return error;
    }
    if (device.is_dm) {
        device.major = device.dm.major;
        device.minor = device.dm.minor;
    }
    *ret_device = device;
    return 0;
}

int dmh_device_resolve_dm(const struct dmh_volume *volume, const char *where, uint32_t kinds, struct dmh_dm *ret_dm,
                          struct dmh_info *ret_info, struct br_err *reterr)
{
    struct dmh_device device;
    int error = dmh_device_resolve(volume, where, kinds, &device, reterr);

    if (error) {
        return error;
    }
    if (!device.is_dm) {
        return br_err_set(reterr, BR_E_UNSUPPORTED,
                          "volume %s: %s is not a device-mapper device, its table can't be changed", volume->volume,
                          where);
    }
    // By number: exactly the device that was found, whatever it is called.
    return dmh_dm_find("", device.major, device.minor, ret_dm, ret_info, reterr);
}

// ---- opening ---------------------------------------------------------------------------------------------------------

// The name of a device's node: what the kernel calls it, which devtmpfs and udev use.
static int dmh_node_path(uint32_t major, uint32_t minor, char path[PATH_MAX], struct br_err *reterr)
{
    char link[64], target[1024];

    snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major, minor);
    ssize_t len = readlink(link, target, sizeof(target) - 1);
    if (len < 0) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "there is no block device %u:%u", major, minor);
    }
    target[len] = 0;
    const char *slash = strrchr(target, '/');
    snprintf(path, PATH_MAX, "/dev/%s", slash ? slash + 1 : target);
    for (char *c = path; (c = strchr(c, '!')) != NULL;) {
        *c = '/'; // "cciss!c0d0" is /dev/cciss/c0d0
    }
    return 0;
}

int dmh_device_open(uint32_t major, uint32_t minor, int flags, int *ret_fd, struct br_err *reterr)
{
    char path[PATH_MAX];
    struct stat st;
    int error = dmh_node_path(major, minor, path, reterr);

    if (error) {
        return error;
    }
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == EBUSY ? br_err_set(reterr, BR_E_TARGET_IN_USE, "%s is mounted or held", path)
                              : br_err_os(reterr, errno, "opening %s", path);
    }
    if (fstat(fd, &st) || !S_ISBLK(st.st_mode) || st.st_rdev != makedev(major, minor)) {
        close(fd);
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is not the device %u:%u any more", path, major, minor);
    }
    *ret_fd = fd;
    return 0;
}

int dmh_device_zero_head(int fd, struct br_err *reterr)
{
    _Alignas(4096) static const char zeros[4096]; // not in one write, so that the buffer can be small
    uint64_t size_bytes = 0;

    if (ioctl(fd, BLKGETSIZE64, &size_bytes) || size_bytes < DMH_HEAD_BYTES) {
        return br_err_set(reterr, BR_E_USAGE, "a store of %llu bytes is smaller than its head",
                          (unsigned long long)size_bytes);
    }
    for (uint64_t at = 0; at < DMH_HEAD_BYTES; at += sizeof(zeros)) {
        ssize_t len = pwrite(fd, zeros, sizeof(zeros), (off_t)at);
        if (len != (ssize_t)sizeof(zeros)) {
            return len < 0 ? br_err_os(reterr, errno, "zeroing the head of a store")
                           : br_err_set(reterr, BR_E_IO, "zeroing the head of a store: cut short");
        }
    }
    return fsync(fd) ? br_err_os(reterr, errno, "flushing the head of a store") : 0;
}

// ---- what stands on what ---------------------------------------------------------------------------------------------

static bool dmh_read_number(const char *path, uint32_t *ret_major, uint32_t *ret_minor)
{
    FILE *file = fopen(path, "re");
    bool ok = file && fscanf(file, "%u:%u", ret_major, ret_minor) == 2;

    if (file) {
        fclose(file);
    }
    return ok;
}

static bool dmh_stands_on(const char *sys_folder, uint32_t major, uint32_t minor, int depth);

// A folder's entries are links to the folders of other devices.
static bool dmh_any_slave(const char *sys_folder, uint32_t major, uint32_t minor, int depth)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    bool found = false;

    snprintf(path, sizeof(path), "%s/slaves", sys_folder);
    DIR *dir = opendir(path);
    while (dir && !found && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' &&
            (size_t)snprintf(path, sizeof(path), "%s/slaves/%s", sys_folder, entry->d_name) < sizeof(path)) {
            found = dmh_stands_on(path, major, minor, depth + 1);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

// The device that a loop device's file lies on.
static bool dmh_loop_stands_on(const char *sys_folder, uint32_t major, uint32_t minor, int depth)
{
    char path[PATH_MAX], backing[PATH_MAX] = "", below[64];
    struct stat st;

    snprintf(path, sizeof(path), "%s/loop/backing_file", sys_folder);
    FILE *file = fopen(path, "re");
    bool ok = file && fgets(backing, sizeof(backing), file);
    if (file) {
        fclose(file);
    }
    backing[strcspn(backing, "\n")] = 0;
    if (!ok || stat(backing, &st)) {
        return false;
    }
    dev_t device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    snprintf(below, sizeof(below), "/sys/dev/block/%u:%u", major(device), minor(device));
    return dmh_stands_on(below, major, minor, depth + 1);
}

static bool dmh_stands_on(const char *sys_folder, uint32_t major, uint32_t minor, int depth)
{
    char path[PATH_MAX];
    uint32_t own_major, own_minor;
    struct stat st;

    if (depth > DMH_STACK_DEPTH_MAX) {
        return true; // a stack that can't be followed to its end is taken to be in the way
    }
    snprintf(path, sizeof(path), "%s/dev", sys_folder);
    if (dmh_read_number(path, &own_major, &own_minor) && own_major == major && own_minor == minor) {
        return true;
    }
    if (dmh_any_slave(sys_folder, major, minor, depth) || dmh_loop_stands_on(sys_folder, major, minor, depth)) {
        return true;
    }
    // A partition's folder lies in that of its disk.
    snprintf(path, sizeof(path), "%s/partition", sys_folder);
    if (!stat(path, &st)) {
        snprintf(path, sizeof(path), "%s/..", sys_folder);
        return dmh_stands_on(path, major, minor, depth + 1);
    }
    return false;
}

bool dmh_device_stands_on(uint32_t major, uint32_t minor, uint32_t below_major, uint32_t below_minor)
{
    char path[64];

    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major, minor);
    return dmh_stands_on(path, below_major, below_minor, 0);
}

// Either may stand on the other: a stack on a disk stands on it, a device-mapper device with a stack put below it stands on that.
bool dmh_device_is_source(const struct dmh_volume *volume, uint32_t major, uint32_t minor)
{
    struct dmh_device source = {0};

    if (dmh_find_path(volume->device, &source, NULL)) {
        return false; // it is not there, so nothing stands on it
    }
    return dmh_device_stands_on(major, minor, source.major, source.minor) ||
           dmh_device_stands_on(source.major, source.minor, major, minor);
}
