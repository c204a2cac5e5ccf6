// SPDX-License-Identifier: Apache-2.0
//
// Look before you cut (G8), and look before you trust a source (G1). Given an open descriptor, the guard tells what the object is, who
// else uses it, what it holds, and whether it moved. It reads /proc, /sys and (through libblkid) the object itself; it changes nothing.
//
// What it can't see, and why: writers in other PID namespaces or hidden by hidepid (files: the lease test sees them all the same);
// writers on another host of shared storage or a network file system. The manual says so.
#ifndef BR_GUARD_GUARD_H
#define BR_GUARD_GUARD_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_GUARD_TEXT_BYTES 384

// What an object is, for messages, and by which stable name its state is kept.
struct br_guard_object {
    bool is_block;
    uint64_t size_bytes;
    uint32_t sector_bytes;
    uint64_t device; // st_rdev of a block device, st_dev of a file
    uint64_t inode;  // 0 for a block device
    char kernel_name[64];
    char model[64];
    char serial[128];
    char wwid[192]; // stable across reboots when wwid_stable; usable as a file name
    bool wwid_stable;
    char text[BR_GUARD_TEXT_BYTES]; // "/dev/sdb: 1.81 TiB, Samsung SSD 870, serial S5Y..., wwid ..."
};

/**
 * br_guard_describe - what @fd is
 * @path  as the user named it, for the text
 * Errors: -BR_E_UNSUPPORTED neither regular file nor block device; -BR_E_NOT_FOUND a device without a medium; -BR_E_IO
 */
BR_MUST_CHECK int br_guard_describe(int fd, const char *path, struct br_guard_object *ret_object,
                                    struct br_err *reterr);

/**
 * br_guard_same - do both descriptors reach the same bytes?
 * True for one inode by any name, one device, a file and the loop device over it, a partition and its disk, a DM device and what it maps.
 * Returns 1 with the reason in @ret_text, 0, or an error.
 */
BR_MUST_CHECK int br_guard_same(int fd_a, int fd_b, char ret_text[BR_GUARD_TEXT_BYTES], struct br_err *reterr);

/**
 * br_guard_source - can something change the source while it is read?
 * Mounted read-write (itself, a partition of it, what is stacked on it, a loop device over it) in any mount namespace that a process of ours
 * (root: any) lives in, open for writing elsewhere, used as swap.
 * @fd  open for reading only: the lease test of files needs that
 * Returns 0 when nothing can; -BR_E_SOURCE_IN_USE names what does; -BR_E_UNSUPPORTED /proc or /sys is missing, so nothing would be seen.
 */
BR_MUST_CHECK int br_guard_source(int fd, const char *path, struct br_err *reterr);

/** br_guard_wwid - what struct br_guard_object calls wwid, of a block device that is not opened; true when it is stable */
bool br_guard_wwid(uint64_t device, char *ret_wwid, size_t size);
/**
 * br_guard_target - is the target mounted in any way, held by another driver, under a loop device, swap, or open for writing elsewhere?
 * @fd  open for reading only, before the descriptor that writes is opened
 * Returns 0 when free; -BR_E_TARGET_IN_USE names what holds it; -BR_E_REFUSED the device is read-only.
 */
BR_MUST_CHECK int br_guard_target(int fd, const char *path, struct br_err *reterr);

// What libblkid finds on an object.
struct br_guard_signature {
    char type[64];        // "ext4", "LVM2_member"; "gpt" and "dos" for partition tables; "" for nothing
    char label[128];      // of a file system
    bool partition_table; // type names one
    bool several;         // signatures that contradict each other; type is ""
};

/**
 * br_guard_signature - what the bytes of @fd look like
 * Blocks: reads a few hundred KiB    Errors: -BR_E_IO it can't be read
 * Returns 1 when there is any, 0 when not.
 */
BR_MUST_CHECK int br_guard_signature(int fd, struct br_guard_signature *ret_signature, struct br_err *reterr);

/**
 * br_guard_content - what the object holds, in words: "ext4 file system labelled root", "gpt partition table", "a file of 3 MiB"
 * Returns 1 when it holds something, 0 when not (nothing that libblkid knows and, for files, size 0).
 */
BR_MUST_CHECK int br_guard_content(int fd, char ret_text[BR_GUARD_TEXT_BYTES], struct br_err *reterr);

// A watch over a source for the time of a run.
struct br_guard_watch {
    bool is_block;
    uint64_t size_bytes;
    uint64_t device;
    uint64_t inode;
    uint64_t mtime_ns;
    uint64_t ctime_ns;
    uint64_t writes; // sectors written and discarded according to the kernel's statistics
};

/**
 * br_guard_watch_begin - note size, times and write counters
 * Blocks: while the file's modification time is this very moment, of which a later write could not be told; two seconds at most
 */
BR_MUST_CHECK int br_guard_watch_begin(int fd, struct br_guard_watch *ret_watch, struct br_err *reterr);
/** br_guard_watch_check - 0 when nothing moved since; -BR_E_SOURCE_MOVED says what did */
BR_MUST_CHECK int br_guard_watch_check(int fd, const struct br_guard_watch *watch, const char *path,
                                       struct br_err *reterr);

#endif
