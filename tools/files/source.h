// SPDX-License-Identifier: Apache-2.0
//
// REPO@POINT:PATH as a tree of files, by the way that is right for what the point holds:
//
//     ext2, ext3, ext4, whole        libext2fs: any user, nothing is mounted
//     the same, its journal pending  root: a mount, which replays it beside the point; else libext2fs, with a warning
//     whatever else the kernel has   root: a mount, in a namespace that nobody else is in; else refused, with what to do
#ifndef BR_TOOLS_FILES_SOURCE_H
#define BR_TOOLS_FILES_SOURCE_H

#include "tools/files/mount.h"
#include "tools/files/tree.h"

struct files_source {
    struct point_found found;
    struct point_opened opened;
    const struct layout_part *part; // in found; NULL none was picked
    struct tree tree;
    struct point_mount mount;
    char path[PATH_MAX];  // PATH of the word, in the file system
    bool journal_pending; // what the journal holds does not show
};

/**
 * files_source_open - files_source_close() in any case
 * The verb's options partition and no-mount are heeded; what does not end with the call is warned of.
 * Errors: -BR_E_USAGE no point, or several partitions; -BR_E_UNSUPPORTED no way to read it for this user; those of point_open(), ext_open() and
 * point_mount_open()
 */
BR_MUST_CHECK int files_source_open(struct cli *cli, const char *word, struct files_source *ret_source,
                                    struct br_err *reterr);
/** files_source_close - and its fields of the exit object */
void files_source_close(struct cli *cli, struct files_source *source);

#endif
