// SPDX-License-Identifier: Apache-2.0
//
// The files of one file system of a point, however they are reached: by libext2fs (ext.h) or by a mount (mounted.h).
//
// Paths are the file system's own: every one begins at its root, symbolic links included, so that none leads out of it. Names are checked here
// once: none is a path, "." or "..", whoever forged the file system.
#ifndef BR_TOOLS_FILES_TREE_H
#define BR_TOOLS_FILES_TREE_H

#include <sys/types.h>

#include "engine/base/err.h"

struct tree_entry {
    char name[256];         // any bytes but / and 0
    uint64_t device, inode; // together the same for one object only
    mode_t mode;            // with the type, as st_mode
    uint32_t uid, gid;
    uint64_t size_bytes;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint64_t links;
    dev_t rdev;        // of a device
    char target[4097]; // of a symbolic link, else ""
};

/** tree_entry_fn - @bad  NULL, or why no more than its name is known; non-zero stops the listing and is returned */
typedef int tree_entry_fn(void *ctx, const struct tree_entry *entry, const struct br_err *bad);
/** tree_bytes_fn - the next bytes of a file; NULL: that many zeros; non-zero stops the reading and is returned */
typedef int tree_bytes_fn(void *ctx, const uint8_t *bytes, uint64_t len);

struct tree_ops {
    int (*find)(void *ctx, const char *path, bool follow, struct tree_entry *ret_entry, struct br_err *reterr);
    int (*list)(void *ctx, const char *path, const struct tree_entry *dir, tree_entry_fn *fn, void *fn_ctx,
                struct br_err *reterr);
    int (*read)(void *ctx, const char *path, const struct tree_entry *file, tree_bytes_fn *fn, void *fn_ctx,
                struct br_err *reterr);
    void (*close)(void *ctx);
};

struct tree {
    const struct tree_ops *ops; // NULL not open
    void *ctx;
};

/** tree_find - the entry that a path leads to; @follow a link at its end; -BR_E_NOT_FOUND */
BR_MUST_CHECK int tree_find(const struct tree *tree, const char *path, bool follow, struct tree_entry *ret_entry,
                            struct br_err *reterr);
/**
 * tree_list - every entry of a directory but . and .., in its order
 * @path, @dir  where tree_find() or another listing had it
 * Errors: -BR_E_CORRUPT, those of reading: after what could be read was told
 */
BR_MUST_CHECK int tree_list(const struct tree *tree, const char *path, const struct tree_entry *dir, tree_entry_fn *fn,
                            void *ctx, struct br_err *reterr);
/** tree_read - the content of a regular file from its beginning, as many bytes as its size says or -BR_E_CORRUPT */
BR_MUST_CHECK int tree_read(const struct tree *tree, const char *path, const struct tree_entry *file, tree_bytes_fn *fn,
                            void *ctx, struct br_err *reterr);
/** tree_close - one that is not open is fine */
void tree_close(struct tree *tree);
/** tree_name_ok - a name that can't be taken for a path: not "", "." or "..", no slash and no 0 in its @len bytes */
bool tree_name_ok(const char *name, size_t len);

#endif
