// SPDX-License-Identifier: Apache-2.0
//
// Files and folders of a tree (tree.h) into the file system of this host.
//
// A folder is made entry by entry, each below a descriptor of the folder that it is in, in folders that only their maker can enter until all is there:
// no link, of the tree's or of anybody here, leads a write elsewhere. Folders wait in a list, so a tree may be as deep as paths allow. What can't be
// had is told, and the rest goes on.
#ifndef BR_TOOLS_FILES_COPY_H
#define BR_TOOLS_FILES_COPY_H

#include "tools/files/tree.h"

struct copy_counts {
    uint64_t entries; // that are there now, folders too
    uint64_t failed;  // each was told
    uint64_t skipped; // devices that this user can't make, each told
    uint64_t size_bytes;
};

/** copy_content - a regular file into @fd from its beginning; @sparse  zeros are left out, and the file gets its size; else all is written */
BR_MUST_CHECK int copy_content(const struct tree *tree, const char *path, const struct tree_entry *file, int fd,
                               bool sparse, struct br_err *reterr);

/**
 * copy_folder - @dir at @path in @tree, with all below it, as the new folder @to; durable at the end
 * Permissions, times of modification, symbolic links as they are, hard links among its files, holes, fifos and sockets; of root's run also owners,
 * set-id bits and devices.
 * @told  for each entry that failed or was skipped: its path in the tree, and why
 * Returns 0, also when some failed: the first error is in @ret_first then, else its code is 0. Errors: -BR_E_EXISTS @to is there; -BR_E_CANCELLED,
 * -BR_E_NO_SPACE, a store that is lost: @to is gone again
 */
BR_MUST_CHECK int copy_folder(const struct tree *tree, const char *path, const struct tree_entry *dir, const char *to,
                              void (*told)(void *ctx, const char *path, bool skipped, const struct br_err *why),
                              void *ctx, struct copy_counts *ret_counts, struct br_err *ret_first,
                              struct br_err *reterr);

#endif
