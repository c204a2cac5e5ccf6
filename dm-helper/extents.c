// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/extents.h"

#include "dm-helper/target.h"
#include "engine/base/bytes.h"

static const struct {
    uint32_t flag;
    const char *what;
} dmh_refused[] = {
    {FIEMAP_EXTENT_UNKNOWN, "of unknown place"},
    {FIEMAP_EXTENT_DELALLOC, "not yet on the disk"},
    {FIEMAP_EXTENT_DATA_ENCRYPTED, "encrypted"},
    {FIEMAP_EXTENT_ENCODED, "compressed or otherwise encoded"},
    {FIEMAP_EXTENT_DATA_INLINE, "inside the filesystem's own metadata"},
    {FIEMAP_EXTENT_DATA_TAIL, "packed with other files"},
    {FIEMAP_EXTENT_NOT_ALIGNED, "not aligned to blocks"},
    {FIEMAP_EXTENT_UNWRITTEN, "allocated but not written"},
    {FIEMAP_EXTENT_SHARED, "shared with another file"},
};

static int dmh_extent_check(const struct fiemap_extent *extent, uint64_t device_bytes, struct br_err *reterr)
{
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_refused); i++) {
        if (extent->fe_flags & dmh_refused[i].flag) {
            return br_err_at(reterr, BR_E_REFUSED, extent->fe_logical, "an extent of the file is %s",
                             dmh_refused[i].what);
        }
    }
    if (!extent->fe_length || (extent->fe_logical | extent->fe_physical | extent->fe_length) % DMH_SECTOR_BYTES) {
        return br_err_at(reterr, BR_E_REFUSED, extent->fe_logical, "an extent of the file is not of whole sectors");
    }
    if (!br_range_ok(extent->fe_physical, extent->fe_length, device_bytes)) {
        return br_err_at(reterr, BR_E_REFUSED, extent->fe_logical,
                         "an extent of the file lies behind the device's end");
    }
    return 0;
}

static int dmh_extent_add(struct dmh_extents *extents, uint64_t logical, uint64_t physical, uint64_t length,
                          struct br_err *reterr)
{
    struct dmh_extent *last = extents->extent_count ? &extents->extents[extents->extent_count - 1] : NULL;

    if (last && last->physical_bytes + last->length_bytes == physical) {
        last->length_bytes += length;
        return 0;
    }
    if (extents->extent_count == DMH_EXTENTS_MAX) {
        return br_err_set(reterr, BR_E_REFUSED,
                          "the file lies in more than %d pieces; make it anew where room is less cut up",
                          DMH_EXTENTS_MAX);
    }
    extents->extents[extents->extent_count++] =
        (struct dmh_extent){.logical_bytes = logical, .physical_bytes = physical, .length_bytes = length};
    return 0;
}

int dmh_extents_plan(const struct fiemap_extent *found, uint32_t found_count, uint64_t file_bytes,
                     uint64_t device_bytes, struct dmh_extents *ret_extents, struct br_err *reterr)
{
    uint64_t at = 0;

    ret_extents->extent_count = 0;
    ret_extents->size_bytes = file_bytes;
    if (!file_bytes || file_bytes % DMH_FILE_GRAIN_BYTES) {
        return br_err_set(reterr, BR_E_REFUSED, "the file's size is not a multiple of 4 KiB");
    }
    for (uint32_t i = 0; i < found_count && at < file_bytes; i++) {
        int error = dmh_extent_check(&found[i], device_bytes, reterr);
        if (error) {
            return error;
        }
        if (found[i].fe_logical != at) {
            return br_err_at(reterr, BR_E_REFUSED, at, "the file has a hole");
        }
        uint64_t length = BR_MIN(found[i].fe_length, file_bytes - at);
        error = dmh_extent_add(ret_extents, at, found[i].fe_physical, length, reterr);
        if (error) {
            return error;
        }
        at += length;
    }
    if (at != file_bytes) {
        return br_err_at(reterr, BR_E_REFUSED, at, "the file has a hole");
    }
    return 0;
}
