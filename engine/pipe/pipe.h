// SPDX-License-Identifier: Apache-2.0
//
// The one data path: source -> workers (zero test, hash, compare, page narrowing) -> sink. sync, send, backup, verify and resync are
// compositions of it; what differs is which ranges are read, which version they are compared with and where the batches go.
//
// Reads, CPU stages and the sink's writes overlap; chunks (1 MiB, block aligned) are handed to the sink in ascending order. Memory is the
// ring's buffer pool, and up to 4 MiB of old data, whatever the volume's size. Holes are never read.
#ifndef BR_PIPE_PIPE_H
#define BR_PIPE_PIPE_H

#include "engine/codec/delta.h"
#include "engine/map/extent_map.h"
#include "engine/ring/ring.h"

// Where batches go: a replica, a stream encoder, a session. Called on the ring's thread, in ascending block order.
struct br_sink {
    /** batch - takes one batch; @release(@release_ctx) exactly once when batch->data is free again, also on failure */
    int (*batch)(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                 struct br_err *reterr);
    /** run - takes a run of zero, discarded or unreadable blocks */
    int (*run)(void *ctx, const struct br_run *run, struct br_err *reterr);
    /** keep - takes blocks that are just what was said to be held; only called where params.held says so */
    int (*keep)(void *ctx, const struct br_keep *keep, struct br_err *reterr);
    void *ctx;
};

// What the far end holds of a delta that was cut, and what needs no shipping when it is still right.
struct br_held_source {
    /** next - the first held blocks at or after @from, ascending, at most @most; *ret_count 0: there are no more. May run the ring */
    int (*next)(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                struct br_err *reterr);
    void *ctx;
};

// The volume as it was when the parent was read. Blocks that differ, and whose page hashes are lost, are compared with it, so that only
// pages that differ ship. It is not believed: a block of it counts when its hash is the parent's leaf. What can't be read, or is something
// else, costs bytes and never the run; after the first read that fails no other is tried.
struct br_old_source {
    /** open - asked once, when the first block wants it; returns 1 and a file of the run's ring, which the pipe closes; 0: there is none */
    int (*open)(void *ctx, struct br_file **ret_file);
    void *ctx;
    const volatile bool *unwanted; // true: the file is closed as soon as nothing reads it; NULL: never
};

struct br_pipe_progress {
    uint64_t size_bytes;
    uint64_t position_bytes; // source range dealt with, holes included
    uint64_t bytes_read;
    uint64_t bytes_old;     // read of what the parent's blocks held, to tell their pages apart
    uint64_t bytes_changed; // pages that differ, in bytes
    uint64_t bytes_shipped; // data handed to the sink
    uint64_t bytes_kept;    // data that was not, because the far end holds it
    uint64_t bytes_same;    // in blocks that are as in the parent, holes and zeros left out
    uint64_t zero_bytes;    // became zero
    uint64_t unreadable_blocks;
};

struct br_pipe_params {
    struct br_ring *ring; // with buffers of at least 1 MiB and workers
    struct br_file *source;
    uint64_t size_bytes;                 // of the view; a source that ends earlier fails with SOURCE_MOVED
    const struct br_extent_map *changed; // ranges that may differ from the parent; NULL: everything (tracker scan)
    const struct br_tree
        *parent; // version to compare with; br_tree_empty(ZERO) ships all data, leaf UNKNOWN is always shipped
    const struct br_tree_store *parent_store;
    const uint8_t *page_secret;        // of the source side's page hashes, BR_PAGE_SECRET_BYTES
    const struct br_tree_store *store; // where the result's nodes go
    struct br_sink sink;
    struct br_held_source held;  // next NULL: nothing is held
    struct br_old_source old;    // open NULL: there is none
    uint64_t bytes_per_second;   // 0 no limit; counts shipped bytes
    bool continue_on_read_error; // a block that can't be read becomes UNREADABLE instead of failing
    const volatile bool *cancel; // looked at between chunks; NULL never
    void (*progress)(void *ctx, const struct br_pipe_progress *progress); // at most ten times a second; NULL none
    void *progress_ctx;
};

/**
 * br_pipe_run - read, compare, ship, and build the result's tree
 * Blocks of unreadable pages are retried page by page first, so that only what is really unreadable is marked (whole block, named by offset).
 * Errors: -BR_E_SOURCE_READ with the offset; -BR_E_SOURCE_MOVED; -BR_E_CANCELLED; whatever the sink says
 */
BR_MUST_CHECK int br_pipe_run(const struct br_pipe_params *params, struct br_tree *ret_tree,
                              struct br_pipe_progress *ret_progress, struct br_err *reterr);

#endif
