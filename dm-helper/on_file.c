// SPDX-License-Identifier: Apache-2.0
//
// A file as a store: made, pinned, and mapped onto a dm-linear device that goes past its filesystem.
//
// While it is mapped the file must not move: it is immutable then (FS_IMMUTABLE_FL), which keeps its owner, defragmenters and reflink away
// from it, as a swap file is kept. Its blocks were written through the filesystem once, so that none is "allocated but unwritten", and
// nothing of them is in a journal that could be replayed over what lies there later (data=journal is refused).
#include "dm-helper/device.h"
#include "dm-helper/extents.h"
#include "dm-helper/mounts.h"
#include "dm-helper/server.h"
#include "dm-helper/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DMH_RAW_EXTENTS_MAX (4 * DMH_EXTENTS_MAX) // as the kernel gives them, before neighbours are joined
#define DMH_WRITE_BYTES     BR_MIB
#define DMH_SYNC_BYTES      (64 * BR_MIB)

struct dmh_file {
    int fd;
    char path[DMH_WHERE_MAX];
    uint64_t size_bytes;
    uint32_t major, minor; // the device below its filesystem
    bool made;             // by this request
};

static void dmh_file_close(struct dmh_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
}
#define DMH_AUTO_FILE __attribute__((cleanup(dmh_file_close)))
#define DMH_NO_FILE \
    {               \
        .fd = -1    \
    }

// ---- is it a file for this? ------------------------------------------------------------------------------------------

static int dmh_file_refuse(const struct dmh_file *file, const char *why, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_REFUSED, "%s: %s", file->path, why);
}

static int dmh_file_check_inode(struct dmh_file *file, struct br_err *reterr)
{
    struct stat st;

    if (fstat(file->fd, &st)) {
        return br_err_os(reterr, errno, "looking at %s", file->path);
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
        return dmh_file_refuse(file, "it is not a plain file with one name", reterr);
    }
    if ((st.st_uid && st.st_uid != geteuid()) || (st.st_mode & 077)) {
        return dmh_file_refuse(file, "it must belong to root, and nobody else may read or write it (mode 0600)",
                               reterr);
    }
    file->size_bytes = (uint64_t)st.st_size;
    return 0;
}

static int dmh_file_check_place(const struct dmh_volume *volume, struct dmh_file *file, struct br_err *reterr)
{
    struct fsxattr attributes = {0};
    int flags = 0;
    int error = dmh_mounts_device(file->fd, &file->major, &file->minor, reterr);

    if (error) {
        br_err_prefix(reterr, "%s", file->path);
        return error;
    }
    if (ioctl(file->fd, FS_IOC_GETFLAGS, &flags)) {
        return dmh_file_refuse(file, "its filesystem can't pin a file (no FS_IOC_GETFLAGS)", reterr);
    }
    if ((flags & FS_JOURNAL_DATA_FL) || dmh_mounts_has_option(file->major, file->minor, "data=journal")) {
        return dmh_file_refuse(file, "its filesystem journals data (data=journal)", reterr);
    }
    if (!ioctl(file->fd, FS_IOC_FSGETXATTR, &attributes) && (attributes.fsx_xflags & FS_XFLAG_REALTIME)) {
        return dmh_file_refuse(file, "it lies on a realtime device", reterr);
    }
    if (dmh_device_is_source(volume, file->major, file->minor)) {
        return dmh_file_refuse(file, "its filesystem stands on the volume itself, and would be frozen with it", reterr);
    }
    return 0;
}

static int dmh_file_open(const struct dmh_volume *volume, const char *where, bool make, struct dmh_file *file,
                         struct br_err *reterr)
{
    struct dmh_where found;
    int error = dmh_where_resolve(volume, where, DMH_WHERE_FILE, "", &found, reterr);

    if (error) {
        return error;
    }
    memcpy(file->path, found.path, sizeof(file->path));
    file->fd = open(file->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file->fd < 0 && errno == ENOENT && make) {
        file->fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        file->made = file->fd >= 0;
    }
    if (file->fd < 0) {
        return br_err_os(reterr, errno, "opening %s", file->path);
    }
    error = dmh_file_check_inode(file, reterr);
    return error ? error : dmh_file_check_place(volume, file, reterr);
}

static int dmh_sync_folder(const char *path)
{
    char copy[DMH_WHERE_MAX];

    snprintf(copy, sizeof(copy), "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd);
    if (fd >= 0) {
        close(fd);
    }
    return failed;
}

// ---- pinning ---------------------------------------------------------------------------------------------------------

// *ret_changed: it was not so before.
static int dmh_file_pin(const struct dmh_file *file, bool pin, bool *ret_changed, struct br_err *reterr)
{
    int flags = 0;

    *ret_changed = false;
    if (ioctl(file->fd, FS_IOC_GETFLAGS, &flags)) {
        return br_err_os(reterr, errno, "asking for the flags of %s", file->path);
    }
    if (((flags & FS_IMMUTABLE_FL) != 0) == pin) {
        return 0;
    }
    flags ^= FS_IMMUTABLE_FL;
    if (ioctl(file->fd, FS_IOC_SETFLAGS, &flags)) {
        return br_err_os(reterr, errno, pin ? "pinning %s (immutable)" : "unpinning %s", file->path);
    }
    *ret_changed = true;
    return 0;
}

// ---- making ----------------------------------------------------------------------------------------------------------

static int dmh_write_range(int fd, uint64_t from, uint64_t to)
{
    BR_AUTO_FREE char *zeros = calloc(1, DMH_WRITE_BYTES);

    if (!zeros) {
        errno = ENOMEM;
        return -1;
    }
    for (uint64_t at = from; at < to;) {
        ssize_t len = pwrite(fd, zeros, BR_MIN(DMH_WRITE_BYTES, to - at), (off_t)at);
        if (len < 0 && errno != EINTR) {
            return -1;
        }
        at += len > 0 ? (uint64_t)len : 0;
        // Not the whole store in the page cache: others need it.
        if (len > 0 && at / DMH_SYNC_BYTES != (at - (uint64_t)len) / DMH_SYNC_BYTES) {
            if (fdatasync(fd)) {
                return -1;
            }
            posix_fadvise(fd, (off_t)from, (off_t)(at - from), POSIX_FADV_DONTNEED);
        }
    }
    return fsync(fd);
}

// Opened anew for writing: what is pinned can't be opened so, and what was opened for looking must not write.
static int dmh_file_grow(const struct dmh_file *file, uint64_t size_bytes, struct br_err *reterr)
{
    int error = 0;
    int fd = open(file->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        return br_err_os(reterr, errno, "opening %s", file->path);
    }
    if (fallocate(fd, 0, (off_t)file->size_bytes, (off_t)(size_bytes - file->size_bytes)) ||
        dmh_write_range(fd, file->size_bytes, size_bytes)) {
        error = br_err_os(reterr, errno, "allocating %" PRIu64 " bytes for %s", size_bytes, file->path);
        if (ftruncate(fd, (off_t)file->size_bytes)) {
            br_err_prefix(reterr, "the file keeps a part of its growth");
        }
    }
    close(fd);
    return error;
}

int dmh_on_file_make(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_file_make *make = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    DMH_AUTO_FILE struct dmh_file file = DMH_NO_FILE;
    bool unpinned = false, pinned;

    if (!make->size_bytes || make->size_bytes % DMH_FILE_GRAIN_BYTES || make->size_bytes > INT64_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "a store's size is a multiple of 4096 bytes");
    }
    int error = dmh_hold_volume(&turn->server->registry, make->file.volume, true, &held, reterr);
    error = error ? error : dmh_file_open(held.volume, make->file.where, true, &file, reterr);
    if (!error && file.size_bytes > make->size_bytes) {
        error = dmh_file_refuse(&file, "it is larger than that already", reterr);
    }
    if (!error && file.size_bytes < make->size_bytes) {
        error = dmh_file_pin(&file, false, &unpinned, reterr);
        error = error ? error : dmh_file_grow(&file, make->size_bytes, reterr);
        if (unpinned && dmh_file_pin(&file, true, &pinned, error ? NULL : reterr)) {
            error = error ? error : -BR_E_IO;
        }
    }
    if (!error && file.made && dmh_sync_folder(file.path)) {
        error = br_err_os(reterr, errno, "making %s durable", file.path);
    }
    if (error && file.made) {
        unlink(file.path);
    }
    return error;
}

// ---- extents ---------------------------------------------------------------------------------------------------------

static int dmh_file_fiemap(const struct dmh_file *file, struct fiemap *map, struct br_err *reterr)
{
    memset(map, 0, sizeof(*map));
    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = DMH_RAW_EXTENTS_MAX;
    if (ioctl(file->fd, FS_IOC_FIEMAP, map)) {
        return errno == EOPNOTSUPP ? dmh_file_refuse(file, "its filesystem does not tell where files lie", reterr)
                                   : br_err_os(reterr, errno, "asking where %s lies", file->path);
    }
    uint32_t count = map->fm_mapped_extents;
    if (count == DMH_RAW_EXTENTS_MAX && !(map->fm_extents[count - 1].fe_flags & FIEMAP_EXTENT_LAST)) {
        return dmh_file_refuse(file, "it lies in too many pieces; make it anew where room is less cut up", reterr);
    }
    return 0;
}

static int dmh_file_extents_of(const struct dmh_file *file, struct dmh_extents *extents, struct br_err *reterr)
{
    BR_AUTO_FREE struct fiemap *map = malloc(sizeof(*map) + DMH_RAW_EXTENTS_MAX * sizeof(struct fiemap_extent));
    uint64_t device_bytes = 0;
    int device = -1;

    if (!map) {
        return br_err_set(reterr, BR_E_NOMEM, "asking where %s lies", file->path);
    }
    int error = dmh_device_open(file->major, file->minor, O_RDONLY, &device, reterr);
    if (error) {
        return error;
    }
    if (ioctl(device, BLKGETSIZE64, &device_bytes)) {
        error = br_err_os(reterr, errno, "asking for the size of the device below %s", file->path);
    }
    close(device);
    error = error ? error : dmh_file_fiemap(file, map, reterr);
    if (error) {
        return error;
    }
    error = dmh_extents_plan(map->fm_extents, map->fm_mapped_extents, file->size_bytes, device_bytes, extents, reterr);
    if (error) {
        br_err_prefix(reterr, "%s", file->path);
    }
    extents->major = file->major;
    extents->minor = file->minor;
    return error;
}

int dmh_on_file_extents(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    DMH_AUTO_FILE struct dmh_file file = DMH_NO_FILE;

    int error = dmh_hold_volume(&turn->server->registry, ref->volume, false, &held, reterr);
    error = error ? error : dmh_file_open(held.volume, ref->where, false, &file, reterr);
    return error ? error : dmh_file_extents_of(&file, turn->reply, reterr);
}

// ---- mapping ---------------------------------------------------------------------------------------------------------

struct dmh_linear_text {
    char params[48];
};

static int dmh_load_extents(const struct dmh_dm *dm, const struct dmh_extents *extents, struct br_err *reterr)
{
    BR_AUTO_FREE struct dmh_dm_target *targets = calloc(extents->extent_count, sizeof(*targets));
    BR_AUTO_FREE struct dmh_linear_text *texts = calloc(extents->extent_count, sizeof(*texts));

    if (!targets || !texts) {
        return br_err_set(reterr, BR_E_NOMEM, "preparing a table for %s", dm->name);
    }
    for (uint32_t i = 0; i < extents->extent_count; i++) {
        const struct dmh_extent *extent = &extents->extents[i];
        snprintf(texts[i].params, sizeof(texts[i].params), "%u:%u %" PRIu64, extents->major, extents->minor,
                 extent->physical_bytes / DMH_SECTOR_BYTES);
        targets[i] = (struct dmh_dm_target){.start_sectors = extent->logical_bytes / DMH_SECTOR_BYTES,
                                            .length_sectors = extent->length_bytes / DMH_SECTOR_BYTES,
                                            .type = "linear",
                                            .params = texts[i].params};
    }
    return dmh_dm_load(dm, targets, extents->extent_count, false, reterr);
}

static int dmh_map_extents(const struct dmh_volume *volume, const char *part, const struct dmh_extents *extents,
                           struct dmh_file_mapped *mapped, struct br_err *reterr)
{
    struct dmh_where where;
    struct dmh_dm dm;

    int error = dmh_where_resolve(volume, part, DMH_WHERE_PART, "", &where, reterr);
    if (error) {
        return error;
    }
    bool there = !dmh_dm_find(where.dm_uuid, 0, 0, &dm, NULL, NULL);
    error = there ? 0 : dmh_dm_create(where.dm_name, where.dm_uuid, &dm, reterr);
    if (error) {
        return error;
    }
    error = dmh_load_extents(&dm, extents, reterr);
    if (!error && !there) {
        error = dmh_dm_resume(&dm, true, reterr);
    }
    if (error && !there) {
        (void)!dmh_dm_remove(&dm, false, NULL);
    }
    mapped->major = dm.major;
    mapped->minor = dm.minor;
    mapped->size_bytes = extents->size_bytes;
    mapped->inactive = there;
    return error;
}

int dmh_on_file_map(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_file_map *map = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    DMH_AUTO_FILE struct dmh_file file = DMH_NO_FILE;
    BR_AUTO_FREE struct dmh_extents *extents = calloc(1, sizeof(*extents));
    bool pinned = false, unpinned;

    if (!extents) {
        return br_err_set(reterr, BR_E_NOMEM, "mapping a file");
    }
    int error = dmh_hold_volume(&turn->server->registry, map->file.volume, true, &held, reterr);
    error = error ? error : dmh_file_open(held.volume, map->file.where, false, &file, reterr);
    // Pinned first: from then on what FIEMAP says stays true.
    error = error ? error : dmh_file_pin(&file, true, &pinned, reterr);
    error = error ? error : dmh_file_extents_of(&file, extents, reterr);
    error = error ? error : dmh_map_extents(held.volume, map->part, extents, turn->reply, reterr);
    if (error && pinned) {
        (void)!dmh_file_pin(&file, false, &unpinned, NULL);
    }
    return error;
}

// Does any device of the volume map the file?
struct dmh_mapping_search {
    char prefix[DMH_DM_UUID_MAX];
    const struct dmh_extents *extents;
    bool found;
};

static void dmh_try_mapping_row(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                                const char *params)
{
    struct dmh_mapping_search *search = user;
    const struct dmh_extents *extents = search->extents;
    struct dmh_target_row row;

    dmh_row_parse(type, start_sectors, length_sectors, params, &row);
    if (row.kind != DMH_TARGET_LINEAR || row.device_major != extents->major || row.device_minor != extents->minor) {
        return;
    }
    for (uint32_t i = 0; i < extents->extent_count; i++) {
        const struct dmh_extent *extent = &extents->extents[i];
        search->found |= row.offset_bytes < extent->physical_bytes + extent->length_bytes &&
                         extent->physical_bytes < row.offset_bytes + row.length_bytes;
    }
}

static void dmh_try_mapping(void *user, const char *name, uint32_t major, uint32_t minor)
{
    struct dmh_mapping_search *search = user;
    struct dmh_dm dm;

    (void)name;
    if (dmh_dm_find("", major, minor, &dm, NULL, NULL) ||
        strncmp(dm.uuid, search->prefix, strlen(search->prefix)) != 0) {
        return;
    }
    (void)!dmh_dm_lines(&dm, true, false, dmh_try_mapping_row, search, NULL);
    (void)!dmh_dm_lines(&dm, true, true, dmh_try_mapping_row, search, NULL);
}

int dmh_on_file_release(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_file_release *release = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    DMH_AUTO_FILE struct dmh_file file = DMH_NO_FILE;
    BR_AUTO_FREE struct dmh_extents *extents = calloc(1, sizeof(*extents));
    struct dmh_mapping_search search = {.extents = extents};
    bool unpinned;

    if (!extents) {
        return br_err_set(reterr, BR_E_NOMEM, "releasing a file");
    }
    int error = dmh_hold_volume(&turn->server->registry, release->file.volume, true, &held, reterr);
    error = error ? error : dmh_file_open(held.volume, release->file.where, false, &file, reterr);
    if (error) {
        return error;
    }
    // A file that could not be mapped is not mapped.
    if (!dmh_file_extents_of(&file, extents, NULL)) {
        dmh_dm_uuid_of(held.volume, "", search.prefix);
        error = dmh_dm_list(dmh_try_mapping, &search, reterr);
    }
    if (!error && search.found) {
        error = br_err_set(reterr, BR_E_BUSY, "%s is mapped by a device of volume %s", file.path, held.volume->volume);
    }
    error = error ? error : dmh_file_pin(&file, false, &unpinned, reterr);
    if (!error && release->remove && (unlink(file.path) || dmh_sync_folder(file.path))) {
        error = br_err_os(reterr, errno, "removing %s", file.path);
    }
    return error;
}
