// SPDX-License-Identifier: Apache-2.0
//
// What is on the disk that a point is: its partitions, and the file system in each, as libblkid sees them.
//
// libblkid wants a descriptor. It gets a file in memory as long as the disk, into which just those ranges were copied where tables and superblocks
// can be: nothing is mounted, nothing needs root, and what it looks at was proven as every block is.
#ifndef BR_TOOLS_FILES_LAYOUT_H
#define BR_TOOLS_FILES_LAYOUT_H

#include "engine/repo/access.h"

#define LAYOUT_PARTS_MAX 128u

struct layout_part {
    int number; // as in its table; 0: the whole disk
    uint64_t offset_bytes;
    uint64_t size_bytes;
    char type[32];  // libblkid's name of what it holds: "ext4", "swap"; "" nothing known
    char label[64]; // of the file system
    bool filesystem;
};

struct layout {
    bool table; // there are partitions; else one part, number 0
    size_t count;
    struct layout_part parts[LAYOUT_PARTS_MAX];
};

/** layout_of - errors: those of br_access_read(); -BR_E_NOMEM; -BR_E_IO what libblkid says */
BR_MUST_CHECK int layout_of(struct br_access *access, struct layout *ret_layout, struct br_err *reterr);
/**
 * layout_pick - the part with this number, or the only one with a file system when @number is -1
 * Errors: -BR_E_NOT_FOUND; -BR_E_USAGE there are several, named
 */
BR_MUST_CHECK int layout_pick(const struct layout *layout, int number, const struct layout_part **ret_part,
                              struct br_err *reterr);
/** layout_is_ext - ext2, ext3 or ext4 */
bool layout_is_ext(const struct layout_part *part);

#endif
