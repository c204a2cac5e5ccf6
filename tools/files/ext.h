// SPDX-License-Identifier: Apache-2.0
//
// Files of an ext2, ext3 or ext4 file system on a point, read through libext2fs, as tree.h has them: no mount, no root.
//
// The journal is not replayed: of a file system that was in use, what had not been written back is as it was before.
#ifndef BR_TOOLS_FILES_EXT_H
#define BR_TOOLS_FILES_EXT_H

#include "engine/repo/access.h"
#include "tools/files/tree.h"

/** ext_open - one at a time in a process; Errors: -BR_E_CORRUPT what libext2fs can't read; those of br_access_read() */
BR_MUST_CHECK int ext_open(struct br_access *access, uint64_t offset_bytes, uint64_t size_bytes, struct tree *ret_tree,
                           struct br_err *reterr);
/** ext_needs_journal - of a tree that ext_open() made: it was in use, and the journal holds what is newer than the rest */
bool ext_needs_journal(const struct tree *tree);

#endif
