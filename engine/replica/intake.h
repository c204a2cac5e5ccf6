// SPDX-License-Identifier: Apache-2.0
//
// What a replica was handed and has not dealt with: batches and runs in their order. CPU work on a batch (whole blocks against their
// leaves, page hashes) runs on workers; a batch is ready when that is done, and records leave in the order in which they came.
//
// A batch's data is borrowed: it goes back through its release function when the last user lets go of the item.
#ifndef BR_REPLICA_INTAKE_H
#define BR_REPLICA_INTAKE_H

#include "engine/codec/stream.h"
#include "engine/replica/replica.h"

#define BR_INTAKE_ITEMS 16u

struct br_intake;

struct br_intake_item {
    struct br_job job;
    struct br_intake *intake;
    struct br_intake_item *next; // in the queue or in the free list
    bool is_run;
    bool is_kept; // the batch was not handed over but lies in stage.cut
    bool ready;   // job done
    struct br_run run;
    struct br_batch batch;
    struct br_stream_kept kept; // where
    br_release_fn *release;
    void *release_ctx;
    unsigned refs;
    int bad_block; // index in the batch of the first whole block that is not what its leaf says; -1 none
    bool no_memory;
    uint64_t pages[BR_BATCH_BLOCKS_MAX][BR_PAGES_PER_BLOCK]; // page hashes of what the batch brings, 0 elsewhere
};

struct br_intake {
    struct br_ring *ring;
    struct br_tree_geometry geometry;
    const uint8_t *secret; // of the page hashes; the tree file's
    bool leaves_proven;
    uint64_t zero_page; // hash of 4096 zeros
    struct br_intake_item *items;
    struct br_intake_item *free_items;
    struct br_intake_item *head, **tail;
    unsigned used;
    void *user; // of whoever takes the items
};

/** br_intake_open - room for BR_INTAKE_ITEMS records of a delta to a volume of @geometry */
BR_MUST_CHECK int br_intake_open(struct br_intake *intake, struct br_ring *ring,
                                 const struct br_tree_geometry *geometry, const uint8_t *secret, bool leaves_proven,
                                 struct br_err *reterr);
/** br_intake_close - waits for jobs, releases what is left; users of items must have let go; a zeroed struct is fine */
void br_intake_close(struct br_intake *intake);
/** br_intake_full - no room: take the head first */
static inline bool br_intake_full(const struct br_intake *intake)
{
    return !intake->free_items;
}
/** br_intake_batch, br_intake_run - add a checked record behind the others; there must be room */
void br_intake_batch(struct br_intake *intake, const struct br_batch *batch, br_release_fn *release, void *ctx);
void br_intake_run(struct br_intake *intake, const struct br_run *run);
/** br_intake_kept - the same for a batch that was read from stage.cut: always checked, whoever staged it; @bytes is freed at the end */
void br_intake_kept(struct br_intake *intake, const struct br_batch *batch, const struct br_stream_kept *kept,
                    void *bytes);
/** br_intake_take - the head when it is ready, else NULL; the caller lets go of it with br_intake_unref() */
struct br_intake_item *br_intake_take(struct br_intake *intake);
/** br_intake_ref, br_intake_unref - one more user; one less, the last one releases the data */
void br_intake_ref(struct br_intake_item *item);
void br_intake_unref(struct br_intake_item *item);
/** br_intake_zero_hash - the page hash of @len_bytes zeros */
uint64_t br_intake_zero_hash(const struct br_intake *intake, uint32_t len_bytes);
/** br_intake_check - what the job found: -BR_E_CORRUPT with the offset of a block that is not what its leaf says */
BR_MUST_CHECK int br_intake_check(const struct br_intake_item *item, struct br_err *reterr);
/** br_batch_assemble - one block of a batch over @old content (NULL: zeros): @bytes gets br_block_bytes(); @data is the block's first page */
void br_batch_assemble(const struct br_batch_block *block, const struct br_tree_geometry *geometry, const uint8_t *data,
                       uint8_t *bytes);
/** br_span_fn - neighbouring pages of one kind: [start, end) becomes zeros (@data NULL) or @data; non-zero stops */
typedef int br_span_fn(void *ctx, uint64_t start_bytes, uint64_t end_bytes, const uint8_t *data, struct br_err *reterr);
/** br_batch_spans - the writes that a batch amounts to, ascending, neighbours merged; @data stands for batch->data */
BR_MUST_CHECK int br_batch_spans(const struct br_batch *batch, const struct br_tree_geometry *geometry,
                                 const uint8_t *data, br_span_fn *fn, void *ctx, struct br_err *reterr);

#endif
