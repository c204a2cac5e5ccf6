// SPDX-License-Identifier: Apache-2.0
//
// Is a file's place on its disk one that raw I/O may use, and which is it? Pure: it judges what FIEMAP said.
//
// The answer is used for a dm-linear table that goes past the filesystem for months, so anything that is not plainly "these bytes of the
// file are those bytes of that device, and will stay there" is refused. An extent that is allocated but unwritten is refused too: what is
// written below it would read as zeros above. See Documentation/filesystems/fiemap.rst for the flags.
#ifndef DMH_EXTENTS_H
#define DMH_EXTENTS_H

#include <linux/fiemap.h>

#include "dm-helper/request.h"
#include "engine/base/err.h"

#define DMH_FILE_GRAIN_BYTES UINT64_C(4096) // of a store's size

/**
 * dmh_extents_plan - check and join what FIEMAP said of a whole file
 * @found           in the file's order, as the kernel gave them, all of them
 * @file_bytes      the file's size, a multiple of DMH_FILE_GRAIN_BYTES; the extents must cover it without a hole and may go on behind it
 * @device_bytes    size of the device below
 * @ret_extents     size_bytes and extents are filled in; neighbours on the device are joined
 * Errors: -BR_E_REFUSED says what kind of extent, with its offset in the file
 */
BR_MUST_CHECK int dmh_extents_plan(const struct fiemap_extent *found, uint32_t found_count, uint64_t file_bytes,
                                   uint64_t device_bytes, struct dmh_extents *ret_extents, struct br_err *reterr);

#endif
