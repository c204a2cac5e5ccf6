// SPDX-License-Identifier: Apache-2.0
//
// The replica's content against a tree: reads of 1 MiB overlap with hashing on workers. What the tree calls ZERO and the file calls a
// hole costs nothing, so a sparse volume is proven in the time that its data takes.
#include "engine/replica/replica_impl.h"

#include <assert.h>
#include <inttypes.h>

#define BR_PROVE_SLOTS  8u
#define BR_PROVE_BLOCKS 16u

struct br_prove;

struct br_prove_slot {
    struct br_job job;
    struct br_prove *prove;
    uint64_t first;
    unsigned count;
    size_t len_bytes;
    size_t read_bytes; // what the file gave
    uint8_t *bytes;
    struct br_hash leaves[BR_PROVE_BLOCKS];
    uint32_t bad; // mask of blocks that differ
    struct br_prove_slot *next_free;
};

struct br_prove {
    struct br_replica *replica;
    struct br_tree_geometry geometry;
    struct br_tree_reader *reader;
    struct br_io_queue queue;
    struct br_prove_slot slots[BR_PROVE_SLOTS];
    struct br_prove_slot *free_slots;
    unsigned busy;
    uint8_t *bytes;
    uint64_t end; // block
    bool can_hole;
    uint64_t hole_from, data_start, data_end; // bytes
    br_verify_progress_fn *progress;
    void *progress_ctx;
    struct br_proof proof;
};

static bool br_leaf_proves(const struct br_hash *leaf)
{
    return !br_hash_equal(leaf, &br_hash_unreadable) && !br_hash_equal(leaf, &br_hash_unknown);
}

static void br_prove_job_run(struct br_job *job)
{
    struct br_prove_slot *slot = job->ctx;
    slot->bad = 0;
    for (unsigned i = 0; i < slot->count; i++) {
        uint32_t len = br_block_bytes(&slot->prove->geometry, slot->first + i);
        size_t at = (size_t)i * BR_BLOCK_BYTES;
        struct br_hash leaf;
        if (!br_leaf_proves(&slot->leaves[i])) {
            continue;
        }
        if (at + len > slot->read_bytes) {
            slot->bad |= 1u << i;
            continue;
        }
        br_leaf_hash(slot->bytes + at, len, &leaf);
        slot->bad |= br_hash_equal(&leaf, &slot->leaves[i]) ? 0 : 1u << i;
    }
}

static void br_prove_free_slot(struct br_prove_slot *slot)
{
    slot->next_free = slot->prove->free_slots;
    slot->prove->free_slots = slot;
    slot->prove->busy--;
}

static void br_prove_job_done(struct br_job *job)
{
    struct br_prove_slot *slot = job->ctx;
    struct br_proof *proof = &slot->prove->proof;
    if (slot->bad) {
        uint64_t first = slot->first + (unsigned)__builtin_ctz(slot->bad);
        proof->first_bad_block = proof->bad_blocks ? BR_MIN(proof->first_bad_block, first) : first;
        proof->bad_blocks += (unsigned)__builtin_popcount(slot->bad);
    }
    br_prove_free_slot(slot);
}

static void br_prove_read_done(void *ctx, const struct br_io *io)
{
    struct br_prove_slot *slot = ctx;
    if (io->result < 0) {
        br_prove_free_slot(slot);
        return;
    }
    slot->read_bytes = io->done_bytes;
    slot->prove->proof.bytes_read += io->done_bytes;
    slot->job = (struct br_job){.run = br_prove_job_run, .done = br_prove_job_done, .ctx = slot};
    br_ring_job(slot->prove->replica->ring, &slot->job);
}

// The first block at or after @from that needs a look: the tree does not call it ZERO, or the file has data there.
static int br_prove_next(struct br_prove *prove, uint64_t from, uint64_t *ret_block, struct br_err *reterr)
{
    uint64_t block = from;
    if (prove->can_hole) {
        int r = br_tree_next_not(prove->reader, from, &br_hash_zero, &block, reterr);
        uint64_t at = from * BR_BLOCK_BYTES;
        if (r == 0 && (at < prove->hole_from || at >= prove->data_end)) {
            r = br_file_next_data(prove->replica->file, at, &prove->data_start, &prove->data_end, reterr);
            prove->hole_from = at;
        }
        if (r < 0) {
            return r;
        }
        uint64_t data_block = BR_MAX(at, prove->data_start) / BR_BLOCK_BYTES;
        if (prove->data_start < prove->data_end) {
            block = BR_MIN(block, data_block);
        }
    }
    *ret_block = BR_MIN(block, prove->end);
    return 0;
}

static int br_prove_chunk(struct br_prove *prove, uint64_t first, unsigned count, struct br_err *reterr)
{
    while (!prove->free_slots) {
        br_ring_step(prove->replica->ring);
    }
    struct br_prove_slot *slot = prove->free_slots;
    uint64_t start = first * BR_BLOCK_BYTES;
    slot->first = first;
    slot->count = count;
    slot->len_bytes = (size_t)(BR_MIN(start + (uint64_t)count * BR_BLOCK_BYTES, prove->geometry.size_bytes) - start);
    int r = br_tree_read(prove->reader, first, count, slot->leaves, NULL, reterr);
    if (r < 0) {
        return r;
    }
    prove->free_slots = slot->next_free;
    prove->busy++;
    r = br_io_queue_submit(&prove->queue, BR_IO_READ, prove->replica->file, slot->bytes, slot->len_bytes, start,
                           br_prove_read_done, slot, reterr);
    if (r < 0) {
        br_prove_free_slot(slot);
    }
    return r;
}

static int br_prove_run(struct br_prove *prove, uint64_t from, uint64_t budget_bytes, struct br_err *reterr)
{
    uint64_t asked_bytes = 0;
    uint64_t total = BR_MIN(prove->end * BR_BLOCK_BYTES, prove->geometry.size_bytes);
    uint64_t block = from;
    int r = 0;
    while (block < prove->end && asked_bytes < budget_bytes && r == 0) {
        r = br_prove_next(prove, block, &block, reterr);
        if (r < 0 || block >= prove->end) {
            break;
        }
        unsigned count = (unsigned)BR_MIN(prove->end - block, (uint64_t)BR_PROVE_BLOCKS);
        r = br_prove_chunk(prove, block, count, reterr);
        block += count;
        asked_bytes += (uint64_t)count * BR_BLOCK_BYTES;
        if (r == 0 && prove->progress) {
            r = prove->progress(prove->progress_ctx, BR_MIN(block * BR_BLOCK_BYTES, total), total);
        }
    }
    prove->proof.next_block = block;
    while (prove->busy > 0) {
        br_ring_step(prove->replica->ring);
    }
    return r != 0 ? r : br_io_queue_drain(&prove->queue, reterr);
}

static int br_prove_open(struct br_prove *prove, const struct br_tree *tree, struct br_err *reterr)
{
    struct br_replica *replica = prove->replica;
    struct br_file_info info;
    int r = br_io_queue_open(&prove->queue, replica->ring, BR_PROVE_SLOTS, replica->what, reterr);
    r = r < 0 ? r : br_file_stat(replica->file, &info, reterr);
    r = r < 0 ? r : br_tree_reader_open(tree, br_replica_store(replica), &prove->reader, reterr);
    if (r < 0) {
        return r;
    }
    prove->can_hole = info.can_hole && !info.is_block;
    prove->bytes = aligned_alloc(BR_PAGE_BYTES, (size_t)BR_PROVE_SLOTS * BR_PROVE_BLOCKS * BR_BLOCK_BYTES);
    if (!prove->bytes) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: buffers to read it", replica->what);
    }
    for (unsigned i = 0; i < BR_PROVE_SLOTS; i++) {
        prove->slots[i].prove = prove;
        prove->slots[i].bytes = prove->bytes + (size_t)i * BR_PROVE_BLOCKS * BR_BLOCK_BYTES;
        prove->slots[i].next_free = prove->free_slots;
        prove->free_slots = &prove->slots[i];
    }
    return 0;
}

int br_prove(struct br_replica *replica, const struct br_tree *tree, uint64_t from, uint64_t end, uint64_t budget_bytes,
             br_verify_progress_fn *progress, void *ctx, struct br_proof *ret_proof, struct br_err *reterr)
{
    struct br_prove *prove = calloc(1, sizeof(*prove));
    if (!prove) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: reading it", replica->what);
    }
    assert(from <= end && end <= tree->geometry.block_count);
    prove->replica = replica;
    prove->geometry = tree->geometry;
    prove->end = end;
    prove->progress = progress;
    prove->progress_ctx = ctx;
    int r = br_prove_open(prove, tree, reterr);
    r = r < 0 ? r : br_prove_run(prove, from, budget_bytes, reterr);
    if (prove->queue.ring) {
        br_io_queue_close(&prove->queue);
    }
    br_tree_reader_close(prove->reader);
    free(prove->bytes);
    if (r == 0) {
        *ret_proof = prove->proof;
    }
    free(prove);
    return r;
}

// Moves the rolling recheck over [next, end) within the budget; returns the blocks' proof.
static int br_recheck_part(struct br_replica *replica, uint64_t end, uint64_t budget_bytes,
                           struct br_replica_result *result, struct br_err *reterr)
{
    struct br_identity *identity = &replica->identity;
    struct br_proof proof = {0};
    int r =
        br_prove(replica, &identity->tree, identity->recheck_next_block, end, budget_bytes, NULL, NULL, &proof, reterr);
    if (r < 0) {
        return r;
    }
    result->bytes_rechecked += proof.bytes_read;
    result->recheck_mismatches += proof.bad_blocks;
    if (proof.bad_blocks > 0) {
        return br_err_at(reterr, BR_E_VERIFY, proof.first_bad_block * BR_BLOCK_BYTES,
                         "%s: %" PRIu64 " of the blocks rechecked are not the recorded ones", replica->what,
                         proof.bad_blocks);
    }
    identity->recheck_next_block = proof.next_block;
    return 0;
}

int br_recheck(struct br_replica *replica, uint64_t budget_bytes, struct br_replica_result *result,
               struct br_err *reterr)
{
    struct br_identity *identity = &replica->identity;
    uint64_t block_count = identity->tree.geometry.block_count;
    uint64_t now = br_ring_unix_ns(replica->ring);
    if (budget_bytes == 0 || block_count == 0) {
        return 0;
    }
    if (identity->recheck_next_block >= block_count) { // the volume shrank
        identity->recheck_next_block = 0;
    }
    uint64_t began = identity->recheck_next_block;
    int r = br_recheck_part(replica, block_count, budget_bytes, result, reterr);
    if (r < 0 || identity->recheck_next_block < block_count) {
        return r;
    }
    // The round is over: since it began every block was read once.
    identity->full_proof_unix_ns = now;
    identity->recheck_round_unix_ns = now;
    identity->recheck_next_block = 0;
    if (result->bytes_rechecked >= budget_bytes || began == 0) {
        return 0;
    }
    return br_recheck_part(replica, began, budget_bytes - result->bytes_rechecked, result, reterr);
}
