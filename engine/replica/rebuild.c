// SPDX-License-Identifier: Apache-2.0
//
// A replica whose tree file is lost or damaged. Losing it costs a read of the replica and is no refusal: the leaves follow from the bytes,
// and the root in the identity proves them. Reads overlap with hashing on workers; holes are passed over.
//
//     COMPLETE    read, hash, compare the root
//     APPLYING    the stage is applied first; it needs no tree. The same for REPLACING and its rename
//     INCOMPLETE  there is no root to prove facts by: they become UNKNOWN, the next run copies all
#include "engine/replica/replica_impl.h"

#include <assert.h>

#define BR_REBUILD_SLOTS  8u
#define BR_REBUILD_BLOCKS 16u

struct br_rebuild;

struct br_rebuild_slot {
    struct br_job job;
    struct br_rebuild *rebuild;
    uint64_t first;
    unsigned count;
    size_t len_bytes;
    size_t read_bytes;
    uint8_t *bytes;
    bool ready;
    struct br_hash leaves[BR_REBUILD_BLOCKS];
    uint64_t pages[BR_REBUILD_BLOCKS][BR_PAGES_PER_BLOCK];
};

// Slots are used in turn, so that their blocks come out in order.
struct br_rebuild {
    struct br_replica *replica;
    struct br_tree_geometry geometry;
    const uint8_t *secret;
    struct br_io_queue queue;
    struct br_tree_writer *writer;
    uint8_t *bytes;
    struct br_rebuild_slot slots[BR_REBUILD_SLOTS];
    unsigned head, busy;
};

static void br_rebuild_job_run(struct br_job *job)
{
    struct br_rebuild_slot *slot = job->ctx;
    const struct br_tree_geometry *geometry = &slot->rebuild->geometry;
    for (unsigned i = 0; i < slot->count; i++) {
        const uint8_t *block = slot->bytes + (size_t)i * BR_BLOCK_BYTES;
        br_leaf_hash(block, br_block_bytes(geometry, slot->first + i), &slot->leaves[i]);
        for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
            uint32_t len = br_page_bytes(geometry, slot->first + i, page);
            slot->pages[i][page] =
                len ? br_page_hash(slot->rebuild->secret, block + (size_t)page * BR_PAGE_BYTES, len) : 0;
        }
    }
}

static void br_rebuild_job_done(struct br_job *job)
{
    struct br_rebuild_slot *slot = job->ctx;
    slot->ready = true;
}

static void br_rebuild_read_done(void *ctx, const struct br_io *io)
{
    struct br_rebuild_slot *slot = ctx;
    slot->read_bytes = io->result < 0 ? 0 : io->done_bytes;
    if (slot->read_bytes < slot->len_bytes) { // a failed read is told by the queue, a short file by the root
        memset(slot->bytes + slot->read_bytes, 0, slot->len_bytes - slot->read_bytes);
    }
    slot->job = (struct br_job){.run = br_rebuild_job_run, .done = br_rebuild_job_done, .ctx = slot};
    br_ring_job(slot->rebuild->replica->ring, &slot->job);
}

static int br_rebuild_take_head(struct br_rebuild *rebuild, struct br_err *reterr)
{
    struct br_rebuild_slot *slot = &rebuild->slots[rebuild->head];
    int r = 0;
    while (!slot->ready) {
        br_ring_step(rebuild->replica->ring);
    }
    slot->ready = false;
    rebuild->head = (rebuild->head + 1) % BR_REBUILD_SLOTS;
    rebuild->busy--;
    for (unsigned i = 0; i < slot->count && r == 0; i++) {
        r = br_tree_put(rebuild->writer, slot->first + i, &slot->leaves[i], slot->pages[i], reterr);
    }
    return r;
}

static int br_rebuild_read(struct br_rebuild *rebuild, uint64_t first, unsigned count, struct br_err *reterr)
{
    int r = rebuild->busy == BR_REBUILD_SLOTS ? br_rebuild_take_head(rebuild, reterr) : 0;
    if (r < 0) {
        return r;
    }
    struct br_rebuild_slot *slot = &rebuild->slots[(rebuild->head + rebuild->busy) % BR_REBUILD_SLOTS];
    uint64_t start = first * BR_BLOCK_BYTES;
    slot->first = first;
    slot->count = count;
    slot->len_bytes = (size_t)(BR_MIN(start + (uint64_t)count * BR_BLOCK_BYTES, rebuild->geometry.size_bytes) - start);
    r = br_io_queue_submit(&rebuild->queue, BR_IO_READ, rebuild->replica->file, slot->bytes, slot->len_bytes, start,
                           br_rebuild_read_done, slot, reterr);
    rebuild->busy += r == 0;
    return r;
}

static int br_rebuild_run(struct br_rebuild *rebuild, struct br_tree *ret_tree, struct br_err *reterr)
{
    uint64_t block = 0, data_start, data_end = 0;
    int r = 0;
    while (r == 0 && block < rebuild->geometry.block_count) {
        uint64_t at = block * BR_BLOCK_BYTES;
        if (at >= data_end) {
            r = br_file_next_data(rebuild->replica->file, at, &data_start, &data_end, reterr);
            if (r < 0 || data_start == data_end) {
                break;
            }
            block = BR_MAX(block, data_start / BR_BLOCK_BYTES);
            continue;
        }
        unsigned count = (unsigned)BR_MIN(rebuild->geometry.block_count - block, (uint64_t)BR_REBUILD_BLOCKS);
        r = br_rebuild_read(rebuild, block, count, reterr);
        block += count;
    }
    while (r == 0 && rebuild->busy > 0) {
        r = br_rebuild_take_head(rebuild, reterr);
    }
    while (rebuild->busy > 0) { // after a failure: let the jobs end
        (void)!br_rebuild_take_head(rebuild, NULL);
    }
    r = r < 0 ? r : br_io_queue_drain(&rebuild->queue, reterr);
    return r < 0 ? r : br_tree_finish(rebuild->writer, ret_tree, reterr);
}

static int br_rebuild_open(struct br_rebuild *rebuild, struct br_err *reterr)
{
    const struct br_tree_store *store = br_replica_store(rebuild->replica);
    struct br_tree empty;
    br_tree_empty(&rebuild->geometry, &br_hash_zero, &empty);
    rebuild->bytes = aligned_alloc(BR_PAGE_BYTES, (size_t)BR_REBUILD_SLOTS * BR_REBUILD_BLOCKS * BR_BLOCK_BYTES);
    if (!rebuild->bytes) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: buffers to read it", rebuild->replica->what);
    }
    for (unsigned i = 0; i < BR_REBUILD_SLOTS; i++) {
        rebuild->slots[i].rebuild = rebuild;
        rebuild->slots[i].bytes = rebuild->bytes + (size_t)i * BR_REBUILD_BLOCKS * BR_BLOCK_BYTES;
    }
    int r = br_io_queue_open(&rebuild->queue, rebuild->replica->ring, BR_REBUILD_SLOTS, rebuild->replica->what, reterr);
    return r < 0 ? r : br_tree_writer_open(&rebuild->geometry, &empty, store, store, &rebuild->writer, reterr);
}

// The tree of what is there, into the replica's new tree file.
static int br_rebuild_tree(struct br_replica *replica, struct br_tree *ret_tree, struct br_err *reterr)
{
    struct br_rebuild *rebuild = calloc(1, sizeof(*rebuild));
    if (!rebuild) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: reading it", replica->what);
    }
    rebuild->replica = replica;
    rebuild->geometry = replica->identity.tree.geometry;
    rebuild->secret = br_tree_file_secret(replica->trees);
    int r = br_rebuild_open(rebuild, reterr);
    r = r < 0 ? r : br_rebuild_run(rebuild, ret_tree, reterr);
    if (rebuild->queue.ring) {
        br_io_queue_close(&rebuild->queue);
    }
    br_tree_writer_close(rebuild->writer);
    free(rebuild->bytes);
    free(rebuild);
    return r;
}

static int br_rebuild_proven(struct br_replica *replica, const struct br_tree *tree, struct br_err *reterr)
{
    struct br_hash root;
    br_tree_root(tree, &root);
    if (br_hash_equal(&root, &replica->identity.root)) {
        return 0;
    }
    return br_err_set(reterr, BR_E_FOREIGN_WRITE, "%s: its tree is lost, and the content is not the recorded version%s",
                      replica->what,
                      replica->identity.unreadable_blocks ? ", of which some blocks were unreadable" : "");
}

int br_rebuild(struct br_replica *replica, struct br_err *reterr)
{
    struct br_identity *identity = &replica->identity;
    struct br_evidence before;
    struct br_tree tree;
    assert(!replica->trees && !replica->read_only);
    int r = br_evidence_take(replica->file, &before, reterr);
    r = r < 0 ? r : br_replica_new_trees(replica, reterr);
    if (r < 0) {
        return r;
    }
    if (identity->state == BR_STATE_INCOMPLETE) {
        br_tree_empty(&identity->tree.geometry, &br_hash_unknown, &tree);
    } else {
        r = br_rebuild_tree(replica, &tree, reterr);
        r = r < 0 ? r : br_rebuild_proven(replica, &tree, reterr);
    }
    if (r < 0) { // as before: the identity names the lost file
        br_tree_file_close(replica->trees);
        replica->trees = NULL;
        return r;
    }
    identity->tree = tree;
    identity->full_proof_unix_ns = identity->state == BR_STATE_INCOMPLETE ? 0 : br_ring_unix_ns(replica->ring);
    identity->evidence = before;
    if (identity->state == BR_STATE_APPLYING || identity->state == BR_STATE_REPLACING) {
        return br_replica_completed(replica, reterr);
    }
    identity->evidence.valid = identity->state == BR_STATE_COMPLETE;
    return br_replica_store_identity(replica, reterr);
}
