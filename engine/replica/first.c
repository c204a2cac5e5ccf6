// SPDX-License-Identifier: Apache-2.0
//
// The first copy: data goes straight from the batch to its place, and the identity says INCOMPLETE. And the replacement: the same into a
// new file beside, without checkpoints, and a rename.
//
// Two trees. The live one holds the facts as they will be: what was taken so far, and beyond it the facts found at the beginning. The
// stored one is the live one with the window made UNKNOWN. For a copy onto nothing the window is everything ahead, and nothing is lost by
// that. A copy that goes on with facts of an earlier run must not forget them, so there the window is bounded and moves:
//
//     blocks    0 ......... stored ......... taken ......... window_end ......... block_count
//               facts, durable | in flight or not synced | may be written next | old facts, kept
//
// A checkpoint moves `stored` up to what was taken when it began. Its steps: the writes of before complete; the target is synced, while
// later writes go on; the tree file is synced and the identity stored. The first two run behind the caller's back. Writes count in one of
// two generations, so that a checkpoint waits for those before it only.
#include "engine/replica/replica_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BR_FIRST_DEPTH            64u
#define BR_FIRST_CHECKPOINT_BYTES (UINT64_C(128) << 20)
#define BR_FIRST_WINDOW_SHARE     64u            // and at least this share of the volume, so that checkpoints stay few
#define BR_FIRST_ZEROS_BYTES      BR_BLOCK_BYTES // up to here zeros are written, beyond the range is zeroed
#define BR_FIRST_ZERO_STEP        (UINT64_C(1) << 30)

enum br_checkpoint_step {
    BR_CHECKPOINT_NONE,
    BR_CHECKPOINT_WRITES, // waits for the writes of its generation
    BR_CHECKPOINT_SYNC,   // the target's sync is under way
    BR_CHECKPOINT_READY,  // the target is synced: the identity can be stored
};

struct br_first {
    struct br_replica *replica;
    bool replace;
    struct br_file *file; // that is written: the replica's, or the new one beside
    struct br_file *own;  // the new one
    char *new_name;
    bool reads_zero; // what was not written reads as zeros: zeros need no write
    bool fresh;      // no facts of an earlier run: the window is everything ahead
    struct br_io_queue queue;
    struct br_tree facts; // at the beginning
    struct br_tree_reader *reader;
    struct br_tree_writer *writer; // the live tree
    uint64_t taken;                // block: everything below is in the live tree
    uint64_t window_end;           // block: writes below it are allowed by the stored identity
    uint64_t data_bytes, written_bytes, durable_bytes;

    unsigned generation; // 0 or 1, of writes
    unsigned pending[2];
    unsigned item_generation[BR_INTAKE_ITEMS];
    enum br_checkpoint_step step;
    struct br_tree stored; // of the checkpoint under way
    uint64_t step_taken, step_window_end, step_data_bytes;
    uint64_t checkpoint_bytes;
    uint64_t next_checkpoint_bytes;
};

// Checkpoints -------------------------------------------------------------------------------------------------------------------------

static uint64_t br_first_window(const struct br_first *first, uint64_t from, uint64_t least_end)
{
    uint64_t block_count = first->replica->geometry.block_count;
    uint64_t span = BR_MAX(br_div_up(2 * first->checkpoint_bytes, BR_BLOCK_BYTES), block_count / BR_FIRST_WINDOW_SHARE);
    if (first->fresh || span > block_count - from) {
        return block_count;
    }
    return BR_MAX(from + span, least_end);
}

// The live tree with [from, end) UNKNOWN, what may be stored while that range is written; and all from @grown on.
static int br_first_stored_tree(struct br_first *first, const struct br_tree *live, uint64_t from, uint64_t end,
                                uint64_t grown, struct br_tree *ret_tree, struct br_err *reterr)
{
    const struct br_tree_store *store = br_replica_store(first->replica);
    uint64_t block_count = first->replica->geometry.block_count;
    struct br_tree_writer *writer;
    grown = BR_MAX(grown, end);
    if (from == end && grown >= block_count) {
        *ret_tree = *live;
        return 0;
    }
    int r = br_tree_writer_open(&first->replica->geometry, live, store, store, &writer, reterr);
    if (r < 0) {
        return r;
    }
    r = from < end ? br_tree_fill(writer, from, end - from, &br_hash_unknown, reterr) : 0;
    if (r == 0 && grown < block_count) {
        r = br_tree_fill(writer, grown, block_count - grown, &br_hash_unknown, reterr);
    }
    r = r < 0 ? r : br_tree_finish(writer, ret_tree, reterr);
    br_tree_writer_close(writer);
    return r;
}

static int br_first_store(struct br_first *first, const struct br_tree *tree, uint64_t from, uint64_t end,
                          struct br_err *reterr)
{
    struct br_identity *identity = &first->replica->identity;
    identity->tree = *tree;
    identity->window_start_bytes = BR_MIN(from * BR_BLOCK_BYTES, tree->geometry.size_bytes);
    identity->window_end_bytes = BR_MIN(end * BR_BLOCK_BYTES, tree->geometry.size_bytes);
    int r = br_replica_store_identity(first->replica, reterr);
    if (r == 0) {
        first->window_end = end;
    }
    return r;
}

static void br_first_synced(void *ctx, const struct br_io *io)
{
    struct br_first *first = ctx;
    if (io->result == 0) {
        first->step = BR_CHECKPOINT_READY;
    }
}

static int br_first_checkpoint(struct br_first *first, uint64_t least_end, struct br_err *reterr)
{
    struct br_tree live;
    assert(first->step == BR_CHECKPOINT_NONE && !first->replace);
    // Never less than before: writes up to there may follow while this checkpoint is under way.
    uint64_t end = BR_MAX(br_first_window(first, first->taken, least_end), first->window_end);
    int r = br_tree_finish(first->writer, &live, reterr);
    r = r < 0 ? r : br_first_stored_tree(first, &live, first->taken, end, UINT64_MAX, &first->stored, reterr);
    if (r < 0) {
        return r;
    }
    first->step = BR_CHECKPOINT_WRITES;
    first->step_taken = first->taken;
    first->step_window_end = end;
    first->step_data_bytes = first->data_bytes;
    first->generation = 1 - first->generation;
    first->next_checkpoint_bytes = first->data_bytes + first->checkpoint_bytes;
    return 0;
}

// Takes the checkpoint under way as far as it goes without waiting for the target.
static int br_first_step(struct br_first *first, struct br_err *reterr)
{
    if (first->step == BR_CHECKPOINT_WRITES && first->pending[1 - first->generation] == 0) {
        first->step = BR_CHECKPOINT_SYNC;
        int r = br_io_queue_submit(&first->queue, BR_IO_SYNC, first->file, NULL, 0, 0, br_first_synced, first, reterr);
        if (r < 0) {
            return r;
        }
    }
    if (first->step == BR_CHECKPOINT_READY) {
        first->step = BR_CHECKPOINT_NONE;
        int r = br_first_store(first, &first->stored, first->step_taken, first->step_window_end, reterr);
        if (r < 0) {
            return r;
        }
        first->durable_bytes = first->step_data_bytes;
    }
    return br_io_queue_error(&first->queue, reterr);
}

static int br_first_finish_checkpoint(struct br_first *first, struct br_err *reterr)
{
    int r = br_first_step(first, reterr);
    while (r == 0 && first->step != BR_CHECKPOINT_NONE) {
        br_ring_step(first->replica->ring);
        r = br_first_step(first, reterr);
    }
    return r;
}

// Makes sure that blocks below @end may be written.
static int br_first_allow(struct br_first *first, uint64_t end, struct br_err *reterr)
{
    if (first->replace || end <= first->window_end) {
        return 0;
    }
    int r = br_first_finish_checkpoint(first, reterr);
    if (r == 0 && end > first->window_end) {
        r = br_first_checkpoint(first, end, reterr);
        r = r < 0 ? r : br_first_finish_checkpoint(first, reterr);
    }
    return r;
}

// Writing -----------------------------------------------------------------------------------------------------------------------------

static void br_first_item_written(void *ctx, const struct br_io *io)
{
    struct br_intake_item *item = ctx;
    struct br_first *first = item->intake->user;
    (void)io;
    unsigned generation = first->item_generation[item - item->intake->items];
    assert(first->pending[generation] > 0);
    first->pending[generation]--;
    br_intake_unref(item);
}

static void br_first_zeroed(void *ctx, const struct br_io *io)
{
    unsigned *pending = ctx;
    (void)io;
    assert(*pending > 0);
    (*pending)--;
}

static int br_first_submit_zero(struct br_first *first, enum br_io_op op, void *buf, uint64_t offset, uint64_t len,
                                struct br_err *reterr)
{
    unsigned *pending = &first->pending[first->generation];
    (*pending)++;
    int r = br_io_queue_submit(&first->queue, op, first->file, buf, len, offset, br_first_zeroed, pending, reterr);
    *pending -= r < 0 ? 1 : 0;
    first->written_bytes += len;
    return r;
}

static int br_first_zero_extent(struct br_first *first, uint64_t start, uint64_t end, struct br_err *reterr)
{
    static uint8_t zeros[BR_FIRST_ZEROS_BYTES] __attribute__((aligned(BR_PAGE_BYTES)));
    if (end - start < BR_FIRST_ZEROS_BYTES) {
        return br_first_submit_zero(first, BR_IO_WRITE, zeros, start, end - start, reterr);
    }
    int r = 0;
    while (start < end && r == 0) {
        uint64_t step = BR_MIN(end - start, BR_FIRST_ZERO_STEP);
        r = br_first_submit_zero(first, BR_IO_ZERO, NULL, start, step, reterr);
        start += step;
    }
    return r;
}

// Zeros in [start, end). That the file shows a hole there is not enough when it was not new: a hole that an earlier run punched and could
// not sync may be gone after a crash. Punching a hole again costs next to nothing.
static int br_first_zero(struct br_first *first, uint64_t start, uint64_t end, struct br_err *reterr)
{
    return first->reads_zero ? 0 : br_first_zero_extent(first, start, end, reterr);
}

static int br_first_span(void *ctx, uint64_t start_bytes, uint64_t end_bytes, const uint8_t *data,
                         struct br_err *reterr)
{
    struct br_intake_item *item = ctx;
    struct br_first *first = item->intake->user;
    if (!data) {
        return br_first_zero(first, start_bytes, end_bytes, reterr);
    }
    union {
        const uint8_t *in;
        void *out;
    } unconst = {.in = data}; // a write does not change it
    first->item_generation[item - item->intake->items] = first->generation;
    first->pending[first->generation]++;
    first->written_bytes += end_bytes - start_bytes;
    br_intake_ref(item);
    int r = br_io_queue_submit(&first->queue, BR_IO_WRITE, first->file, unconst.out, end_bytes - start_bytes,
                               start_bytes, br_first_item_written, item, reterr);
    if (r < 0) {
        first->pending[first->generation]--;
        br_intake_unref(item);
    }
    return r;
}

// Records -----------------------------------------------------------------------------------------------------------------------------

// Blocks [taken, end) are not in the delta.
static int br_first_absent(struct br_first *first, uint64_t end, struct br_err *reterr)
{
    const struct br_replica *replica = first->replica;
    if (end <= first->taken || replica->begin.absent_keeps_facts) {
        return 0;
    }
    uint64_t from;
    int r = br_tree_next_not(first->reader, first->taken, &br_hash_zero, &from, reterr);
    if (r < 0 || from >= end) {
        return r;
    }
    r = br_first_allow(first, end, reterr);
    r = r < 0 ? r
              : br_first_zero(first, from * BR_BLOCK_BYTES, BR_MIN(end * BR_BLOCK_BYTES, replica->geometry.size_bytes),
                              reterr);
    return r < 0 ? r : br_tree_fill(first->writer, from, end - from, &br_hash_zero, reterr);
}

// A block that keeps pages: what will be there must be what the leaf says, before anything is written.
static int br_first_merge(struct br_first *first, const struct br_batch_block *change, const uint8_t *data,
                          struct br_err *reterr)
{
    const struct br_tree_geometry *geometry = &first->replica->geometry;
    uint32_t len = br_block_bytes(geometry, change->index);
    BR_AUTO_FREE uint8_t *bytes = aligned_alloc(BR_PAGE_BYTES, BR_BLOCK_BYTES);
    struct br_hash leaf;
    if (!bytes) {
        return br_err_set(reterr, BR_E_NOMEM, "checking a received block");
    }
    int r = br_file_read(first->file, bytes, len, change->index * BR_BLOCK_BYTES, reterr);
    if (r < 0) {
        return r;
    }
    br_batch_assemble(change, geometry, data, bytes);
    br_leaf_hash(bytes, len, &leaf);
    if (!br_hash_equal(&leaf, &change->leaf)) {
        return br_err_at(reterr, BR_E_FOREIGN_WRITE, change->index * BR_BLOCK_BYTES,
                         "%s: the pages that the delta keeps are not the recorded ones", first->replica->what);
    }
    return 0;
}

static int br_first_block(struct br_first *first, struct br_intake_item *item, unsigned index, const uint8_t *data,
                          struct br_err *reterr)
{
    const struct br_tree_geometry *geometry = &first->replica->geometry;
    const struct br_batch_block *change = &item->batch.blocks[index];
    int r = br_first_absent(first, change->index, reterr);
    if (r == 0 && (change->pages | change->zeros) != br_block_pages(geometry, change->index)) {
        r = br_first_merge(first, change, data, reterr);
    }
    r = r < 0 ? r : br_tree_put(first->writer, change->index, &change->leaf, item->pages[index], reterr);
    if (r == 0) {
        first->taken = change->index + 1;
    }
    return r;
}

static int br_first_batch(struct br_first *first, struct br_intake_item *item, struct br_err *reterr)
{
    const struct br_batch *batch = &item->batch;
    const struct br_tree_geometry *geometry = &first->replica->geometry;
    const uint8_t *data = batch->data;
    int r = br_first_allow(first, batch->blocks[batch->block_count - 1].index + 1, reterr);
    for (unsigned i = 0; i < batch->block_count && r == 0; i++) {
        r = br_first_block(first, item, i, data, reterr);
        data += br_block_data_bytes(&batch->blocks[i], geometry);
    }
    r = r < 0 ? r : br_batch_spans(batch, geometry, batch->data, br_first_span, item, reterr);
    first->data_bytes += batch->data_bytes;
    return r;
}

static int br_first_run(struct br_first *first, const struct br_run *run, struct br_err *reterr)
{
    bool unreadable = run->kind == BR_RUN_UNREADABLE;
    uint64_t end = run->first + run->count;
    int r = br_first_absent(first, run->first, reterr);
    if (r == 0 && !first->reads_zero) {
        r = br_first_allow(first, end, reterr);
    }
    r = r < 0 ? r
              : br_first_zero(first, run->first * BR_BLOCK_BYTES,
                              BR_MIN(end * BR_BLOCK_BYTES, first->replica->geometry.size_bytes), reterr);
    r = r < 0 ? r
              : br_tree_fill(first->writer, run->first, run->count, unreadable ? &br_hash_unreadable : &br_hash_zero,
                             reterr);
    if (r == 0) {
        first->taken = end;
    }
    if (unreadable && !first->replace) { // while INCOMPLETE: how many there may be
        first->replica->identity.unreadable_blocks += run->count;
    }
    return r;
}

int br_first_take(struct br_replica *replica, struct br_intake_item *item, struct br_err *reterr)
{
    struct br_first *first = replica->first;
    int r = br_first_step(first, reterr);
    if (r == 0 && !first->replace && first->step == BR_CHECKPOINT_NONE &&
        first->data_bytes >= first->next_checkpoint_bytes) {
        r = br_first_checkpoint(first, 0, reterr);
        r = r < 0 ? r : br_first_step(first, reterr);
    }
    if (r < 0) {
        return r;
    }
    return item->is_run ? br_first_run(first, &item->run, reterr) : br_first_batch(first, item, reterr);
}

// Begin -------------------------------------------------------------------------------------------------------------------------------

// May a first copy begin here, and does it go on with facts?
static int br_first_allowed(struct br_replica *replica, bool *ret_resume, struct br_err *reterr)
{
    const struct br_replica_begin *begin = &replica->begin;
    const struct br_identity *identity = &replica->identity;
    if (!begin->header.full) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "%s: a first copy needs a delta without a parent", replica->what);
    }
    *ret_resume = false;
    if (begin->mode == BR_MODE_REPLACE) {
        return replica->parent && replica->name
                   ? 0
                   : br_err_set(reterr, BR_E_UNSUPPORTED, "%s: only a file can be replaced", replica->what);
    }
    if (begin->discard_version || identity->state == BR_STATE_NONE) {
        return 0;
    }
    if (identity->state == BR_STATE_COMPLETE) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "%s: it holds a version already", replica->what);
    }
    if (identity->state != BR_STATE_INCOMPLETE) {
        return br_err_set(reterr, BR_E_TRANSITION, "%s", replica->what);
    }
    if (!br_uuid_equal(&begin->header.volume, &identity->volume)) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "%s: its unfinished first copy is of another volume",
                          replica->what);
    }
    *ret_resume = replica->trees != NULL; // facts that can't be read are no facts
    return 0;
}

static int br_first_room(const struct br_replica *replica, struct br_err *reterr)
{
    uint64_t need = replica->begin.expected_bytes, available;
    if (!replica->parent || need == 0) {
        return 0;
    }
    int r = br_dir_space(replica->parent, &available, reterr);
    if (r == 0 && available < need) {
        return br_err_set(reterr, BR_E_NO_SPACE, "%s: %" PRIu64 " bytes are to come, %" PRIu64 " are free",
                          replica->what, need, available);
    }
    return r;
}

// The new file takes over who may use the old one, as far as this user may set it.
static void br_first_copy_mode(const struct br_file *from, const struct br_file *to)
{
    struct stat st;
    int from_fd = from ? br_file_fd(from) : -1, to_fd = br_file_fd(to);
    if (from_fd >= 0 && to_fd >= 0 && fstat(from_fd, &st) == 0) {
        (void)!fchown(to_fd, st.st_uid, st.st_gid);
        (void)!fchmod(to_fd, st.st_mode & 07777);
    }
}

static int br_first_open_new(struct br_first *first, struct br_err *reterr)
{
    struct br_replica *replica = first->replica;
    if (asprintf(&first->new_name, "%s%s", replica->name, BR_NEW_SUFFIX) < 0) {
        first->new_name = NULL;
        return br_err_set(reterr, BR_E_NOMEM, "%s: replacing it", replica->what);
    }
    int r = br_dir_open(replica->parent, first->new_name, BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE,
                        &first->own, reterr);
    if (r < 0) {
        first->own = NULL;
        return r;
    }
    br_first_copy_mode(replica->file, first->own);
    first->file = first->own;
    first->reads_zero = true;
    return br_replica_set_size(replica, first->own, replica->geometry.size_bytes, reterr);
}

// The facts of an earlier run in the new size. The block in which the old or the new end lies has another length now: not known.
static int br_first_old_facts(struct br_first *first, struct br_err *reterr)
{
    struct br_replica *replica = first->replica;
    const struct br_tree_store *store = br_replica_store(replica);
    const struct br_tree_geometry *old = &replica->identity.tree.geometry, *new = &replica->geometry;
    struct br_tree_writer *writer;
    first->facts = replica->identity.tree;
    if (old->size_bytes == new->size_bytes) {
        return 0;
    }
    int r = br_tree_writer_open(new, &replica->identity.tree, store, store, &writer, reterr);
    if (r < 0) {
        return r;
    }
    uint64_t tail = BR_MIN(old->block_count, new->block_count);
    if (tail > 0 && br_block_bytes(old, tail - 1) != br_block_bytes(new, tail - 1)) {
        struct br_hash leaf = br_hash_unknown;
        struct br_tree_reader *reader = NULL;
        r = br_tree_reader_open(&replica->identity.tree, store, &reader, reterr);
        r = r < 0 ? r : br_tree_read(reader, tail - 1, 1, &leaf, NULL, reterr);
        if (reader) {
            br_tree_reader_close(reader);
        }
        if (r == 0 && !br_hash_equal(&leaf, &br_hash_zero)) {
            r = br_tree_fill(writer, tail - 1, 1, &br_hash_unknown, reterr);
        }
    }
    r = r < 0 ? r : br_tree_finish(writer, &first->facts, reterr);
    br_tree_writer_close(writer);
    return r;
}

// Sets the target's size once INCOMPLETE is stored. What grows reads as zeros afterwards, but a file that is still longer than the facts
// go (a cut that a crash undid) is cut first, and a device has to be told.
static int br_first_resize(struct br_first *first, const struct br_file_info *info, uint64_t old_bytes,
                           struct br_err *reterr)
{
    uint64_t new_bytes = first->replica->geometry.size_bytes;
    int r = 0;
    if (info->is_block) {
        r = old_bytes < new_bytes ? br_first_zero_extent(first, old_bytes, new_bytes, reterr) : 0;
        return r < 0 ? r : br_io_queue_drain(&first->queue, reterr);
    }
    if (old_bytes < new_bytes && old_bytes < info->size_bytes) {
        r = br_replica_set_size(first->replica, first->file, old_bytes, reterr);
    } else if (info->size_bytes == new_bytes) {
        return 0;
    }
    return r < 0 ? r : br_replica_set_size(first->replica, first->file, new_bytes, reterr);
}

// INCOMPLETE, with what is durably true now: the window, and what is about to grow, are UNKNOWN.
static int br_first_store_begin(struct br_first *first, uint64_t old_bytes, struct br_err *reterr)
{
    struct br_replica *replica = first->replica;
    struct br_identity *identity = &replica->identity;
    struct br_tree stored;
    bool grows = old_bytes < replica->geometry.size_bytes;
    uint64_t grown = grows ? old_bytes / BR_BLOCK_BYTES : UINT64_MAX, end = br_first_window(first, 0, 0);
    int r = br_first_stored_tree(first, &first->facts, 0, end, grown, &stored, reterr);
    if (r < 0) {
        return r;
    }
    br_replica_identity_from(identity, &replica->begin.header);
    identity->state = BR_STATE_INCOMPLETE;
    identity->root = (struct br_hash){{0}};
    identity->evidence = (struct br_evidence){0};
    identity->unreadable_blocks = first->fresh ? 0 : identity->unreadable_blocks;
    identity->full_proof_unix_ns = 0;
    return br_first_store(first, &stored, 0, end, reterr);
}

// Facts onto which the copy goes, INCOMPLETE, the target's size: in this order, so that no byte changes before the record says so.
static int br_first_start(struct br_first *first, bool resume, struct br_err *reterr)
{
    struct br_replica *replica = first->replica;
    const struct br_identity *identity = &replica->identity;
    struct br_file_info info;
    uint64_t old_bytes = resume ? identity->tree.geometry.size_bytes : replica->geometry.size_bytes;
    int r = br_file_stat(replica->file, &info, reterr);
    r = r < 0 ? r : br_replica_capacity(&info, replica->geometry.size_bytes, replica->what, reterr);
    if (r == 0 && resume) {
        r = br_evidence_samples(replica, &identity->tree, &identity->replica, reterr);
        r = r < 0 ? r : br_first_old_facts(first, reterr);
    } else if (r == 0) {
        first->reads_zero = replica->begin.target_is_zero;
        br_tree_empty(&replica->geometry, first->reads_zero ? &br_hash_zero : &br_hash_unknown, &first->facts);
    }
    first->fresh = !resume;
    r = r < 0 ? r : br_first_store_begin(first, old_bytes, reterr);
    return r < 0 ? r : br_first_resize(first, &info, old_bytes, reterr);
}

static int br_first_prepare(struct br_first *first, bool resume, struct br_err *reterr)
{
    struct br_replica *replica = first->replica;
    if (br_uuid_is_nil(&replica->identity.replica)) {
        replica->identity.replica = br_ring_new_uuid(replica->ring);
    }
    int r = replica->trees ? 0 : br_replica_new_trees(replica, reterr);
    r = r < 0 ? r : br_io_queue_open(&first->queue, replica->ring, BR_FIRST_DEPTH, replica->what, reterr);
    if (r == 0 && first->replace) {
        br_tree_empty(&replica->geometry, &br_hash_zero, &first->facts);
        r = br_first_open_new(first, reterr);
    } else if (r == 0) {
        r = br_first_start(first, resume, reterr);
    }
    const struct br_tree_store *store = br_replica_store(replica);
    r = r < 0 ? r : br_tree_reader_open(&first->facts, store, &first->reader, reterr);
    return r < 0 ? r : br_tree_writer_open(&replica->geometry, &first->facts, store, store, &first->writer, reterr);
}

int br_first_begin(struct br_replica *replica, struct br_err *reterr)
{
    bool resume;
    int r = br_first_allowed(replica, &resume, reterr);
    r = r < 0 ? r : br_first_room(replica, reterr);
    if (r < 0) {
        return r;
    }
    struct br_first *first = calloc(1, sizeof(*first));
    if (!first) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: beginning a first copy", replica->what);
    }
    replica->first = first;
    first->replica = replica;
    first->replace = replica->begin.mode == BR_MODE_REPLACE;
    first->file = replica->file;
    first->checkpoint_bytes = replica->begin.checkpoint_bytes;
    if (first->checkpoint_bytes == 0) {
        first->checkpoint_bytes = BR_FIRST_CHECKPOINT_BYTES;
    }
    first->next_checkpoint_bytes = first->checkpoint_bytes;
    return br_first_prepare(first, resume, reterr);
}

// Commit ------------------------------------------------------------------------------------------------------------------------------

static void br_first_close_trees(struct br_first *first)
{
    br_tree_writer_close(first->writer);
    if (first->reader) {
        br_tree_reader_close(first->reader);
    }
    first->writer = NULL;
    first->reader = NULL;
}

static int br_first_root(struct br_first *first, const struct br_delta_end *end, struct br_tree *ret_tree,
                         struct br_err *reterr)
{
    struct br_hash root;
    int r = br_tree_finish(first->writer, ret_tree, reterr);
    if (r < 0) {
        return r;
    }
    br_tree_root(ret_tree, &root);
    if (!br_hash_equal(&root, &end->root)) {
        return br_err_set(reterr, BR_E_VERIFY, "%s: the copy does not lead to the version that it names",
                          first->replica->what);
    }
    return 0;
}

// Facts of an earlier run may say UNREADABLE too, and the end of this run does not count them.
static int br_first_count_unreadable(struct br_first *first, const struct br_tree *tree, uint64_t *ret_count,
                                     struct br_err *reterr)
{
    struct br_tree_reader *reader;
    uint64_t count = 0;
    int r = br_tree_reader_open(tree, br_replica_store(first->replica), &reader, reterr);
    if (r < 0) {
        return r;
    }
    for (uint64_t block = 0; r == 0 && block < tree->geometry.block_count; block++) {
        struct br_hash leaf;
        r = br_tree_next_not(reader, block, &br_hash_zero, &block, reterr);
        if (r == 0 && block < tree->geometry.block_count) {
            r = br_tree_read(reader, block, 1, &leaf, NULL, reterr);
            count += r == 0 && br_hash_equal(&leaf, &br_hash_unreadable) ? 1 : 0;
        }
    }
    br_tree_reader_close(reader);
    *ret_count = count;
    return r;
}

// What a version that was copied whole begins its life with.
static void br_first_identity(struct br_replica *replica, const struct br_tree *tree, uint64_t unreadable_blocks)
{
    struct br_identity *identity = &replica->identity;
    br_replica_identity_from(identity, &replica->begin.header);
    identity->previous = (struct br_generation){0};
    identity->tree = *tree;
    br_tree_root(tree, &identity->root);
    identity->window_start_bytes = identity->window_end_bytes = 0;
    identity->unreadable_blocks = unreadable_blocks;
    identity->full_proof_unix_ns = identity->recheck_round_unix_ns = br_ring_unix_ns(replica->ring);
    identity->recheck_next_block = 0;
}

int br_first_commit(struct br_replica *replica, const struct br_delta_end *end, struct br_replica_result *result,
                    struct br_err *reterr)
{
    struct br_first *first = replica->first;
    struct br_tree tree;
    uint64_t unreadable_blocks = end->unreadable_blocks;
    int r = br_first_absent(first, replica->geometry.block_count, reterr);
    r = r < 0 ? r : br_io_queue_drain(&first->queue, reterr);
    r = r < 0 ? r : br_first_root(first, end, &tree, reterr);
    if (r == 0 && !first->replace && !first->fresh && replica->identity.unreadable_blocks > 0) {
        r = br_first_count_unreadable(first, &tree, &unreadable_blocks, reterr);
    }
    r = r < 0 ? r : br_file_sync(first->file, reterr);
    if (r < 0) {
        return r;
    }
    br_first_close_trees(first); // completing may close the file that they read
    first->step = BR_CHECKPOINT_NONE;
    br_first_identity(replica, &tree, unreadable_blocks);
    if (first->replace) {
        replica->identity.state = BR_STATE_REPLACING;
        r = br_dir_sync(replica->parent, reterr);
        replica->lost = r < 0; // then the identity in memory is not the one on disk
        r = r < 0 ? r : br_replica_store_identity(replica, reterr);
        r = r < 0 ? r : br_replace_finish(replica, reterr);
    } else {
        r = br_replica_completed(replica, reterr);
        replica->lost = r < 0;
    }
    if (r == 0) {
        result->bytes_durable = end->data_bytes;
        result->bytes_written = first->written_bytes;
    }
    return r;
}

uint64_t br_first_durable(const struct br_first *first)
{
    return first->durable_bytes;
}

// The facts so far, for the next run: nothing is under way, so there is no window.
static void br_first_keep_facts(struct br_first *first)
{
    struct br_replica *replica = first->replica;
    struct br_tree live;
    if (first->replace || replica->failed || replica->lost || !first->writer ||
        replica->identity.state != BR_STATE_INCOMPLETE || br_io_queue_drain(&first->queue, NULL) < 0) {
        return;
    }
    if (br_file_sync(first->file, NULL) == 0 && br_tree_finish(first->writer, &live, NULL) == 0 &&
        br_first_store(first, &live, first->taken, first->taken, NULL) == 0) {
        first->durable_bytes = first->data_bytes;
        replica->bytes_durable = first->data_bytes;
    }
}

void br_first_wait(struct br_first *first)
{
    (void)!br_io_queue_drain(&first->queue, NULL);
}

void br_first_end_run(struct br_replica *replica)
{
    struct br_first *first = replica->first;
    if (!first) {
        return;
    }
    br_first_keep_facts(first);
    if (first->queue.ring) {
        br_io_queue_close(&first->queue);
    }
    br_first_close_trees(first);
    br_file_close(first->own);
    if (first->new_name && !replica->lost && replica->identity.state != BR_STATE_REPLACING) {
        (void)!br_dir_unlink(replica->parent, first->new_name, NULL); // there only when it was not renamed
    }
    free(first->new_name);
    free(first);
    replica->first = NULL;
}

// Replacing ---------------------------------------------------------------------------------------------------------------------------

static int br_replace_rename(struct br_replica *replica, bool *ret_renamed, struct br_err *reterr)
{
    BR_AUTO_FREE char *fresh = NULL;
    if (asprintf(&fresh, "%s%s", replica->name, BR_NEW_SUFFIX) < 0) {
        fresh = NULL;
        return br_err_set(reterr, BR_E_NOMEM, "%s: replacing it", replica->what);
    }
    int r = br_dir_exists(replica->parent, fresh, reterr);
    if (r < 0) {
        return r;
    }
    *ret_renamed = r == 1;
    r = r == 1 ? br_dir_rename(replica->parent, fresh, replica->name, reterr) : 0;
    return r < 0 ? r : br_dir_sync(replica->parent, reterr);
}

int br_replace_finish(struct br_replica *replica, struct br_err *reterr)
{
    const struct br_tree *tree = &replica->identity.tree;
    struct br_file *file;
    struct br_proof proof = {0};
    bool renamed = false;
    if (!replica->parent || !replica->name) {
        return br_err_set(reterr, BR_E_TRANSITION, "%s: its folder is not at hand", replica->what);
    }
    int r = br_replace_rename(replica, &renamed, reterr);
    r = r < 0 ? r : br_dir_open(replica->parent, replica->name, BR_OPEN_WRITE, &file, reterr);
    if (r < 0) {
        return r;
    }
    br_file_close(replica->own_file);
    replica->own_file = file;
    replica->file = file;
    if (!replica->trees) {
        return br_rebuild(replica, reterr);
    }
    if (!renamed) { // by an earlier run, it seems: the content must say so
        r = br_prove(replica, tree, 0, tree->geometry.block_count, UINT64_MAX, NULL, NULL, &proof, reterr);
    }
    if (r == 0 && proof.bad_blocks > 0) {
        r = br_err_at(reterr, BR_E_CORRUPT, proof.first_bad_block * BR_BLOCK_BYTES,
                      "%s: the file that was to replace it is gone, and it is not that file", replica->what);
    }
    return r < 0 ? r : br_replica_completed(replica, reterr);
}
