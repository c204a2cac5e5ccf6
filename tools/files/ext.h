// SPDX-License-Identifier: Apache-2.0
//
// Files of an ext2, ext3 or ext4 file system on a point, read through libext2fs: no mount, no root.
//
// Paths are the file system's own: every one begins at its root, symbolic links included, so that none leads out of it. The journal is not replayed:
// of a file system that was in use, what had not been written back is as it was before.
#ifndef BR_TOOLS_FILES_EXT_H
#define BR_TOOLS_FILES_EXT_H

#include <sys/types.h>

#include "engine/repo/access.h"

struct ext;

struct ext_entry {
    char name[256]; // any bytes but / and 0
    uint32_t inode;
    mode_t mode; // with the type, as st_mode
    uint32_t uid, gid;
    uint64_t size_bytes;
    int64_t mtime_s;
    char target[4097]; // of a symbolic link, else ""
};

/** ext_open - one at a time in a process; Errors: -BR_E_CORRUPT what libext2fs can't read; those of br_access_read() */
BR_MUST_CHECK int ext_open(struct br_access *access, uint64_t offset_bytes, uint64_t size_bytes, struct ext **ret_ext,
                           struct br_err *reterr);
/** ext_close - NULL is fine */
void ext_close(struct ext *ext);
/** ext_needs_journal - it was in use: the journal holds what is newer than the rest */
bool ext_needs_journal(const struct ext *ext);
/** ext_find - the entry that a path leads to; @follow a link at its end; -BR_E_NOT_FOUND */
BR_MUST_CHECK int ext_find(struct ext *ext, const char *path, bool follow, struct ext_entry *ret_entry,
                           struct br_err *reterr);
/** ext_list - every entry of a directory but . and .., in its order; non-zero of @fn stops and is returned */
BR_MUST_CHECK int ext_list(struct ext *ext, uint32_t inode, int (*fn)(void *ctx, const struct ext_entry *entry),
                           void *ctx, struct br_err *reterr);
/** ext_read - the content of a regular file, in pieces of 1 MiB at most, from its beginning; non-zero of @fn stops and is returned */
BR_MUST_CHECK int ext_read(struct ext *ext, uint32_t inode, int (*fn)(void *ctx, const uint8_t *bytes, size_t len),
                           void *ctx, struct br_err *reterr);

#endif
