// SPDX-License-Identifier: Apache-2.0
//
// A file as a store: allocated once, then a part of the volume through a loop device (loop.h says why so).
//
// All its room is allocated before it is used: a store that ran out of room in the middle of a write would cost the snapshot. Allocated
// but unwritten extents will do, filesystems keep room for their conversion; a hole, and an extent that is shared with another file, won't.
#include "dm-helper/device.h"
#include "dm-helper/loop.h"
#include "dm-helper/mounts.h"
#include "dm-helper/server.h"
#include "dm-helper/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DMH_FILE_GRAIN_BYTES   UINT64_C(4096)
#define DMH_FIEMAP_EXTENTS     256 // asked for at once
#define DMH_FILE_RESERVE_SHARE 20u // of the filesystem, that a growth leaves free
#define DMH_FILE_RESERVE_MOST  (UINT64_C(1) << 30)

struct dmh_file {
    int fd; // for reading and writing
    char path[DMH_WHERE_MAX];
    uint64_t size_bytes;
    dev_t device;
    ino_t inode;
    bool made; // by this request
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

static int dmh_file_check(const struct dmh_volume *volume, struct dmh_file *file, struct br_err *reterr)
{
    uint32_t major, minor;
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
    file->device = st.st_dev;
    file->inode = st.st_ino;
    int error = dmh_mounts_device(file->fd, &major, &minor, reterr);
    if (error) {
        br_err_prefix(reterr, "%s", file->path);
        return error;
    }
    if (dmh_device_is_source(volume, major, minor)) {
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
    file->fd = open(file->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (file->fd < 0 && errno == ENOENT && make) {
        file->fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        file->made = file->fd >= 0;
    }
    if (file->fd < 0) {
        return br_err_os(reterr, errno, "opening %s", file->path);
    }
    return dmh_file_check(volume, file, reterr);
}

// ---- making ----------------------------------------------------------------------------------------------------------

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

static int dmh_file_grow(const struct dmh_file *file, uint64_t size_bytes, struct br_err *reterr)
{
    uint64_t growth_bytes = size_bytes > file->size_bytes ? size_bytes - file->size_bytes : 0;
    struct statvfs fs;
    int error = 0;

    // A file system that a store filled up would take others along: a twentieth of it stays free.
    if (growth_bytes && !fstatvfs(file->fd, &fs)) {
        uint64_t reserve_bytes =
            BR_MIN((uint64_t)fs.f_blocks * fs.f_frsize / DMH_FILE_RESERVE_SHARE, DMH_FILE_RESERVE_MOST);
        uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
        if (free_bytes < reserve_bytes || free_bytes - reserve_bytes < growth_bytes) {
            return br_err_set(reterr, BR_E_NO_SPACE,
                              "%s: %" PRIu64 " bytes more are wanted, %" PRIu64
                              " are free in its filesystem, and %" PRIu64 " of them are left to others",
                              file->path, growth_bytes, free_bytes, reserve_bytes);
        }
    }
    // From its start: what an earlier, interrupted growth left as a hole is filled too.
    if (fallocate(file->fd, 0, 0, (off_t)size_bytes) || fsync(file->fd)) {
        error = br_err_os(reterr, errno, "allocating %" PRIu64 " bytes for %s", size_bytes, file->path);
        if (ftruncate(file->fd, (off_t)file->size_bytes)) {
            br_err_prefix(reterr, "the file keeps a part of its growth");
        }
    }
    return error;
}

int dmh_on_file_make(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_file_make *make = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    DMH_AUTO_FILE struct dmh_file file = DMH_NO_FILE;

    if (!make->size_bytes || make->size_bytes % DMH_FILE_GRAIN_BYTES || make->size_bytes > INT64_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "a store's size is a multiple of 4096 bytes");
    }
    int error = dmh_hold_volume(&turn->server->registry, make->file.volume, true, &held, reterr);
    error = error ? error : dmh_file_open(held.volume, make->file.where, true, &file, reterr);
    error = error ? error : dmh_file_grow(&file, make->size_bytes, reterr);
    if (!error && file.made && dmh_sync_folder(file.path)) {
        error = br_err_os(reterr, errno, "making %s durable", file.path);
    }
    if (error && file.made) {
        unlink(file.path);
    }
    return error;
}

// ---- is all its room there? ------------------------------------------------------------------------------------------

static const struct {
    uint32_t flag;
    const char *what;
} dmh_refused[] = {
    {FIEMAP_EXTENT_UNKNOWN, "is not allocated yet"},
    {FIEMAP_EXTENT_ENCODED, "is compressed or otherwise encoded"},
    {FIEMAP_EXTENT_DATA_INLINE, "lies inside the filesystem's own metadata"},
    {FIEMAP_EXTENT_DATA_TAIL, "is packed with other files"},
    {FIEMAP_EXTENT_SHARED, "is shared with another file"},
};

// Goes on at *at_bytes; *ret_last: that was the last one of the file.
static int dmh_extents_check(const struct dmh_file *file, const struct fiemap *map, uint64_t *at_bytes, bool *ret_last,
                             struct br_err *reterr)
{
    *ret_last = !map->fm_mapped_extents;
    for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
        const struct fiemap_extent *extent = &map->fm_extents[i];
        for (size_t f = 0; f < BR_ARRAY_LEN(dmh_refused); f++) {
            if (extent->fe_flags & dmh_refused[f].flag) {
                return br_err_at(reterr, BR_E_REFUSED, extent->fe_logical, "%s: a part of it %s", file->path,
                                 dmh_refused[f].what);
            }
        }
        if (extent->fe_logical > *at_bytes) {
            break;
        }
        *at_bytes = extent->fe_logical + extent->fe_length;
        *ret_last = extent->fe_flags & FIEMAP_EXTENT_LAST;
    }
    return 0;
}

static int dmh_file_check_room(const struct dmh_file *file, struct br_err *reterr)
{
    BR_AUTO_FREE struct fiemap *map = malloc(sizeof(*map) + DMH_FIEMAP_EXTENTS * sizeof(struct fiemap_extent));
    uint64_t at_bytes = 0;
    bool last = false;

    if (!map) {
        return br_err_set(reterr, BR_E_NOMEM, "asking where %s lies", file->path);
    }
    while (!last && at_bytes < file->size_bytes) {
        uint64_t before = at_bytes;
        memset(map, 0, sizeof(*map));
        map->fm_start = at_bytes;
        map->fm_length = file->size_bytes - at_bytes;
        map->fm_flags = FIEMAP_FLAG_SYNC;
        map->fm_extent_count = DMH_FIEMAP_EXTENTS;
        if (ioctl(file->fd, FS_IOC_FIEMAP, map)) {
            return errno == EOPNOTSUPP
                       ? dmh_file_refuse(file, "its filesystem does not tell whether its room is allocated", reterr)
                       : br_err_os(reterr, errno, "asking where %s lies", file->path);
        }
        int error = dmh_extents_check(file, map, &at_bytes, &last, reterr);
        if (error) {
            return error;
        }
        last |= at_bytes == before;
    }
    return at_bytes < file->size_bytes ? br_err_at(reterr, BR_E_REFUSED, at_bytes, "%s has a hole", file->path) : 0;
}

// ---- mapping ---------------------------------------------------------------------------------------------------------

// The loop device below a part that is on the file.
struct dmh_loop_search {
    const struct dmh_file *file;
    bool found;
    uint32_t major, minor;
};

static void dmh_try_loop(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                         const char *params)
{
    struct dmh_loop_search *search = user;
    struct dmh_target_row row;
    dev_t device;
    ino_t inode;

    dmh_row_parse(type, start_sectors, length_sectors, params, &row);
    if (row.kind == DMH_TARGET_LINEAR && dmh_loop_file(row.device_major, row.device_minor, &device, &inode) &&
        device == search->file->device && inode == search->file->inode) {
        search->found = true;
        search->major = row.device_major;
        search->minor = row.device_minor;
    }
}

static int dmh_load_loop(const struct dmh_dm *dm, uint32_t major, uint32_t minor, uint64_t size_bytes,
                         struct br_err *reterr)
{
    char params[48];
    struct dmh_dm_target target = {.length_sectors = size_bytes / DMH_SECTOR_BYTES, .type = "linear", .params = params};

    snprintf(params, sizeof(params), "%u:%u 0", major, minor);
    return dmh_dm_load(dm, &target, 1, false, reterr);
}

static int dmh_map_new(const struct dmh_file *file, const struct dmh_where *where, struct dmh_dm *ret_dm,
                       struct br_err *reterr)
{
    uint32_t major, minor;
    struct dmh_dm dm;
    int loop;

    int error = dmh_dm_create(where->dm_name, where->dm_uuid, &dm, reterr);
    if (error) {
        return error;
    }
    error = dmh_loop_make(file->fd, &major, &minor, &loop, reterr);
    if (!error) {
        error = dmh_load_loop(&dm, major, minor, file->size_bytes, reterr);
        error = error ? error : dmh_dm_resume(&dm, DMH_EVENT_PART, reterr);
        close(loop); // the part holds it now, or it goes
    }
    if (error) {
        (void)!dmh_dm_remove(&dm, false, NULL);
        return error;
    }
    *ret_dm = dm;
    return 0;
}

static int dmh_map_again(const struct dmh_file *file, const struct dmh_dm *dm, struct br_err *reterr)
{
    struct dmh_loop_search search = {.file = file};
    int error = dmh_dm_lines(dm, true, false, dmh_try_loop, &search, reterr);

    if (!error && !search.found) {
        error = br_err_set(reterr, BR_E_BUSY, "%s is something else than %s", dm->name, file->path);
    }
    error = error ? error : dmh_loop_grow(search.major, search.minor, reterr);
    return error ? error : dmh_load_loop(dm, search.major, search.minor, file->size_bytes, reterr);
}

int dmh_on_file_map(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_file_map *map = turn->request;
    struct dmh_file_mapped *mapped = turn->reply;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    DMH_AUTO_FILE struct dmh_file file = DMH_NO_FILE;
    struct dmh_where where;
    struct dmh_dm dm;

    int error = dmh_hold_volume(&turn->server->registry, map->file.volume, true, &held, reterr);
    error = error ? error : dmh_where_resolve(held.volume, map->part, DMH_WHERE_PART, "", &where, reterr);
    error = error ? error : dmh_file_open(held.volume, map->file.where, false, &file, reterr);
    if (!error && (!file.size_bytes || file.size_bytes % DMH_FILE_GRAIN_BYTES)) {
        error = dmh_file_refuse(&file, "its size is not a multiple of 4 KiB", reterr);
    }
    error = error ? error : dmh_file_check_room(&file, reterr);
    if (error) {
        return error;
    }
    bool there = !dmh_dm_find(where.dm_uuid, 0, 0, &dm, NULL, NULL);
    error = there ? dmh_map_again(&file, &dm, reterr) : dmh_map_new(&file, &where, &dm, reterr);
    if (error) {
        return error;
    }
    mapped->major = dm.major;
    mapped->minor = dm.minor;
    mapped->size_bytes = file.size_bytes;
    mapped->inactive = there;
    return 0;
}

// Does any part of the volume map the file?
struct dmh_mapping_search {
    char prefix[DMH_DM_UUID_MAX];
    struct dmh_loop_search loop;
};

static void dmh_try_mapping(void *user, const char *name, uint32_t major, uint32_t minor)
{
    struct dmh_mapping_search *search = user;
    struct dmh_dm dm;

    (void)name;
    if (!dmh_dm_find("", major, minor, &dm, NULL, NULL) && !strncmp(dm.uuid, search->prefix, strlen(search->prefix))) {
        (void)!dmh_dm_lines(&dm, true, false, dmh_try_loop, &search->loop, NULL);
    }
}

int dmh_on_file_release(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_file_release *release = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    DMH_AUTO_FILE struct dmh_file file = DMH_NO_FILE;
    struct dmh_mapping_search search = {.loop.file = &file};

    int error = dmh_hold_volume(&turn->server->registry, release->file.volume, true, &held, reterr);
    error = error ? error : dmh_file_open(held.volume, release->file.where, false, &file, reterr);
    if (error) {
        return error;
    }
    dmh_dm_uuid_of(held.volume, "", search.prefix);
    error = dmh_dm_list(dmh_try_mapping, &search, reterr);
    if (!error && search.loop.found) {
        error = br_err_set(reterr, BR_E_BUSY, "%s is mapped by a device of volume %s", file.path, held.volume->volume);
    }
    if (!error && release->remove && (unlink(file.path) || dmh_sync_folder(file.path))) {
        error = br_err_os(reterr, errno, "removing %s", file.path);
    }
    return error;
}
