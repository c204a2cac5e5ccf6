// SPDX-License-Identifier: Apache-2.0
//
// Files of a file system that is mounted (mount.h), as tree.h has them. Nothing outside of it is opened, whatever its links say.
#ifndef BR_TOOLS_FILES_MOUNTED_H
#define BR_TOOLS_FILES_MOUNTED_H

#include "tools/files/tree.h"

/** mounted_tree - @dir  its root, on which nothing else is mounted; close the tree before it is unmounted */
BR_MUST_CHECK int mounted_tree(const char *dir, struct tree *ret_tree, struct br_err *reterr);
/** mounted_open - a path in the tree below @root_fd, with open(2)'s @flags; links lead nowhere but in it. Returns a descriptor, -1 and errno */
int mounted_open(int root_fd, const char *path, int flags);

#endif
