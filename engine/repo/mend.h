// SPDX-License-Identifier: Apache-2.0
//
// What a repository lost of its points, stored anew from their source as it is now: the disk itself, a replica of it, a restored image. A chunk's
// id is a keyed hash of its content, so the source needs no trust, no frozen view and no proof that it is the right one: what it holds is what
// is missing, or it is of no use.
//
//     tree of a point -> chunk that is in no sound pack -> readable in a damaged one all the same? -> else the source at that place -> writer
//
// A node that is lost is put together from the leaves of all that lies below it, so one block that changed in the source since costs that node, and
// with it what only it could name: 16 MiB of the volume at level 1, 256 times as much at each further one. A block that was stored as pages over
// another one is stored whole: its leaf says what it is, however it was kept.
//
// The source is read where something is missing, and below nodes that are lost, once for each level of them, and nowhere else. Memory: a path of the tree, one window of blocks, and
// the hashes of 1024 subtrees, so that what many points lost at one place is read once.
#ifndef BR_REPO_MEND_H
#define BR_REPO_MEND_H

#include "engine/repo/version.h"
#include "engine/repo/writer.h"

struct br_mend_progress {
    uint64_t size_bytes;     // of all points
    uint64_t position_bytes; // of them looked at; what two share counts when it is met first
};

struct br_mend_params {
    struct br_repo *repo;          // open for writing, on the ring of @source, which has buffers of 1 MiB
    const struct br_point *points; // of one volume one behind the other, oldest first
    size_t point_count;
    const struct br_repair *repair; // the packs that are damaged
    struct br_file *source;         // only read
    uint64_t source_bytes;
    int level; // of zstd
    /** unreadable - told of each block of the source that can't be read; NULL none */
    void (*unreadable)(void *ctx, uint64_t offset_bytes, const struct br_err *why);
    void (*progress)(void *ctx, const struct br_mend_progress *progress); // at most ten times a second; NULL none
    void *ctx;
    const volatile bool *cancel; // NULL never
};

struct br_mend_result {
    uint64_t blocks_source;     // stored anew from the source
    uint64_t blocks_kept;       // from packs that are damaged elsewhere
    uint64_t blocks_other;      // looked for, and the source holds something else there, or ends before
    uint64_t blocks_unreadable; // looked for, and the source can't be read there
    uint64_t nodes;             // of trees, stored anew
    uint64_t nodes_lost;        // that could not be put together
    uint64_t source_bytes;      // read
    struct br_writer_counts counts;
};

/**
 * br_mend - durable when it returns 0, whatever could not be mended; what was stored before a failure is found by the next run
 * @ret_result is filled in also when it fails
 * Errors: -BR_E_CANCELLED; those of the index and the store; never of the source
 */
BR_MUST_CHECK int br_mend(const struct br_mend_params *params, struct br_mend_result *ret_result,
                          struct br_err *reterr);

#endif
