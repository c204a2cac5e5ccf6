// SPDX-License-Identifier: Apache-2.0
//
// Reading what the kernel itself writes to a device: metadata of device-mapper targets. The kernel's writes go past the page cache, so a
// cached page may be old for ever. Every read here is of whole aligned pages, which the ring does with O_DIRECT, after the page
// cache was told to forget the range for where O_DIRECT is refused. A cached page that someone else holds mapped or dirty could still be seen
// there; nothing but O_DIRECT is sure.
//
// A file below a device that was mapped onto the file's extents (FIEMAP onto dm-linear) is not the device: unwritten extents read as zeros
// through the file system whatever was written below it. Read the device.
#ifndef BR_TRACK_FRESH_H
#define BR_TRACK_FRESH_H

#include "engine/ring/ring.h"

#define BR_FRESH_READS_MAX 256u // at once

struct br_fresh {
    struct br_file *file; // the caller's
    uint64_t size_bytes;
    uint64_t align_bytes;
    uint8_t *buffer; // of the last reads
    size_t capacity;
};

// One of several reads at once.
struct br_fresh_read {
    uint64_t offset_bytes;
    size_t len_bytes;
    const uint8_t *bytes; // filled in; valid until the next br_fresh_read()
};

/**
 * br_fresh_open - read @file afresh
 * @size_bytes  how much of it is meant; no read may reach behind
 * Owner: keeps the file pointer, does not close it
 */
BR_MUST_CHECK int br_fresh_open(struct br_file *file, uint64_t size_bytes, struct br_fresh *ret_fresh,
                                struct br_err *reterr);
/** br_fresh_close - frees the buffer; a zeroed struct is fine */
void br_fresh_close(struct br_fresh *fresh);
/**
 * br_fresh_read - read @count ranges, at the same time and in no order
 * Allocates: a buffer for all of them, kept for the next call    Blocks: runs the ring
 * Errors: -BR_E_CORRUPT a range lies behind the end that br_fresh_open() was told; -BR_E_TRUNCATED the file is shorter than that; -BR_E_IO, ...
 */
BR_MUST_CHECK int br_fresh_read(struct br_fresh *fresh, struct br_fresh_read *reads, size_t count,
                                struct br_err *reterr);
/** br_fresh_read_one - the same for one range */
BR_MUST_CHECK int br_fresh_read_one(struct br_fresh *fresh, uint64_t offset_bytes, size_t len_bytes,
                                    const uint8_t **ret_bytes, struct br_err *reterr);

#endif
