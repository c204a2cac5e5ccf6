// SPDX-License-Identifier: Apache-2.0
//
// The staged delta. While records come in nothing but the stage and the tree file is written; the replica is only read:
//
//     record --> stage, tree of the result --> end: counts, root --> recheck --> stage read back and checked --> APPLYING (commit)
//        `-----> old pages read and compared with the parent's tree (G4), overlapped with all that
//
// When an earlier run was cut (engine/replica/cut.h) what it staged is offered to the source, and what the source keeps of it comes in as
// records too: their data is read from there and proven as if a stranger had sent it. A run that ends early leaves its data in turn, unless
// what ended it says that the data or the replica is not right.
//
// What an old check reads:
//     all overwritten pages have a page hash     exactly those pages
//     one has none, or the new ones were kept    the whole old block, against its leaf; when the block keeps pages also the new leaf,
//                                                over the merged content
//     the parent's leaf is ZERO                  those pages must be zeros; a hole is taken for zeros without reading
//     UNREADABLE, or behind the parent's end     nothing to compare with
#include "engine/replica/replica_impl.h"

#include "engine/replica/stage.h"

#include <assert.h>
#include <inttypes.h>

#define BR_OLD_CHECKS 32u
#define BR_DELTA_SPARE_PART \
    64u // of what a run leaves on a full disk, this part is given back, for the next run to begin with

enum br_old_kind { BR_OLD_PAGES, BR_OLD_ZEROS, BR_OLD_BLOCK };

// One read of old content.
struct br_old_check {
    struct br_delta *delta;
    enum br_old_kind kind;
    uint64_t offset_bytes;
    uint32_t len_bytes;
    unsigned page_count;
    uint64_t hashes[BR_PAGES_PER_BLOCK]; // PAGES: of each page read
    struct br_hash leaf;                 // BLOCK: of the old block
    bool merge;                          // BLOCK: check the new leaf too
    struct br_batch_block change;
    uint8_t *old_bytes; // BR_BLOCK_BYTES
    uint8_t *new_pages; // of a merge: the batch's data of this block; made when first needed
    struct br_old_check *next_free;
};

struct br_delta {
    struct br_replica *replica;
    struct br_stage stage;
    struct br_cut *cut;            // what earlier runs left, NULL nothing
    struct br_stage data;          // appended to it; the stage then lists. Not open without it
    struct br_tree_reader *reader; // of the parent
    struct br_tree_writer *writer; // of the result
    struct br_tree parent;
    struct br_io_queue queue;
    struct br_old_check checks[BR_OLD_CHECKS];
    struct br_old_check *free_checks;
    uint8_t *check_bytes;
    struct br_evidence evidence; // at the beginning
    bool can_hole;
    bool is_block;
    // The data extent found last: [hole_from, data_start) is a hole, [data_start, data_end) is not.
    uint64_t hole_from, data_start, data_end;
    uint64_t unreadable_blocks; // of the result, as far as records came
    bool committed;             // the identity may name the stage
};

// Old content -------------------------------------------------------------------------------------------------------------------------

static void br_old_fail(struct br_old_check *check, int code, uint64_t offset_bytes, const char *what)
{
    struct br_err err;
    br_err_at(&err, code, offset_bytes, "%s: %s", check->delta->replica->what, what);
    br_io_queue_fail(&check->delta->queue, &err);
}

static void br_old_compare_pages(struct br_old_check *check)
{
    const uint8_t *secret = br_tree_file_secret(check->delta->replica->trees);
    for (unsigned i = 0; i < check->page_count; i++) {
        uint32_t at = i * BR_PAGE_BYTES;
        uint32_t len = BR_MIN(check->len_bytes - at, BR_PAGE_BYTES);
        if (br_page_hash(secret, check->old_bytes + at, len) != check->hashes[i]) {
            br_old_fail(check, BR_E_FOREIGN_WRITE, check->offset_bytes + at,
                        "the page that the delta overwrites is not the recorded one");
            return;
        }
    }
}

static void br_old_compare_block(struct br_old_check *check)
{
    const struct br_replica *replica = check->delta->replica;
    struct br_hash leaf;
    br_leaf_hash(check->old_bytes, check->len_bytes, &leaf);
    if (!br_hash_equal(&leaf, &check->leaf)) {
        br_old_fail(check, BR_E_FOREIGN_WRITE, check->offset_bytes,
                    "the block that the delta overwrites is not the recorded one");
        return;
    }
    if (!check->merge) {
        return;
    }
    uint32_t new_bytes = br_block_bytes(&replica->geometry, check->change.index);
    if (new_bytes > check->len_bytes) {
        memset(check->old_bytes + check->len_bytes, 0, new_bytes - check->len_bytes);
    }
    br_batch_assemble(&check->change, &replica->geometry, check->new_pages, check->old_bytes);
    br_leaf_hash(check->old_bytes, new_bytes, &leaf);
    if (!br_hash_equal(&leaf, &check->change.leaf)) {
        br_old_fail(check, BR_E_CORRUPT, check->offset_bytes,
                    "the delta's pages over the old block do not give the leaf that it names");
    }
}

static void br_old_done(void *ctx, const struct br_io *io)
{
    struct br_old_check *check = ctx;
    if (io->result == 0 && io->done_bytes < check->len_bytes) {
        br_old_fail(check, BR_E_FOREIGN_WRITE, check->offset_bytes + io->done_bytes, "the replica ends too early");
    } else if (io->result == 0 && check->kind == BR_OLD_PAGES) {
        br_old_compare_pages(check);
    } else if (io->result == 0 && check->kind == BR_OLD_BLOCK) {
        br_old_compare_block(check);
    } else if (io->result == 0 && !br_is_zero(check->old_bytes, check->len_bytes)) {
        br_old_fail(check, BR_E_FOREIGN_WRITE, check->offset_bytes, "there is data where the record says zeros");
    }
    check->next_free = check->delta->free_checks;
    check->delta->free_checks = check;
}

static struct br_old_check *br_old_get(struct br_delta *delta)
{
    while (!delta->free_checks) {
        br_ring_step(delta->replica->ring);
    }
    struct br_old_check *check = delta->free_checks;
    delta->free_checks = check->next_free;
    return check;
}

static int br_old_submit(struct br_old_check *check, struct br_err *reterr)
{
    struct br_delta *delta = check->delta;
    int r = br_io_queue_submit(&delta->queue, BR_IO_READ, delta->replica->file, check->old_bytes, check->len_bytes,
                               check->offset_bytes, br_old_done, check, reterr);
    if (r < 0) {
        check->next_free = delta->free_checks;
        delta->free_checks = check;
    }
    return r;
}

// 1 when the range lies in a hole of a file that tells holes. The replica isn't written meanwhile, so what was found stays true.
static int br_old_in_hole(struct br_delta *delta, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    if (!delta->can_hole) {
        return 0;
    }
    if (offset_bytes < delta->hole_from || offset_bytes >= delta->data_end) {
        int r = br_file_next_data(delta->replica->file, offset_bytes, &delta->data_start, &delta->data_end, reterr);
        if (r < 0) {
            return r;
        }
        delta->hole_from = offset_bytes;
    }
    return offset_bytes + len_bytes <= delta->data_start;
}

// Contiguous pages [first, first + count) of a block, by page hash or as zeros.
static int br_old_check_pages(struct br_delta *delta, uint64_t block, unsigned first, unsigned count,
                              const uint64_t *hashes, struct br_err *reterr)
{
    uint64_t offset = block * BR_BLOCK_BYTES + (uint64_t)first * BR_PAGE_BYTES;
    uint64_t end = BR_MIN(offset + (uint64_t)count * BR_PAGE_BYTES, delta->parent.geometry.size_bytes);
    if (!hashes) {
        int r = br_old_in_hole(delta, offset, end - offset, reterr);
        if (r != 0) {
            return r < 0 ? r : 0;
        }
    }
    struct br_old_check *check = br_old_get(delta);
    check->kind = hashes ? BR_OLD_PAGES : BR_OLD_ZEROS;
    check->offset_bytes = offset;
    check->len_bytes = (uint32_t)(end - offset);
    check->page_count = count;
    if (hashes) {
        memcpy(check->hashes, hashes + first, count * sizeof(*hashes));
    }
    return br_old_submit(check, reterr);
}

static int br_old_check_mask(struct br_delta *delta, uint64_t block, uint16_t mask, const uint64_t *hashes,
                             struct br_err *reterr)
{
    for (unsigned page = 0; page < BR_PAGES_PER_BLOCK;) {
        unsigned count = 0;
        while (page + count < BR_PAGES_PER_BLOCK && (mask >> (page + count) & 1)) {
            count++;
        }
        if (count > 0) {
            int r = br_old_check_pages(delta, block, page, count, hashes, reterr);
            if (r < 0) {
                return r;
            }
        }
        page += count + 1;
    }
    return 0;
}

// The whole old block against its leaf; @change with its @data when the block keeps pages, so that the new leaf can be proven too.
static int br_old_check_block(struct br_delta *delta, uint64_t block, const struct br_hash *leaf,
                              const struct br_batch_block *change, const uint8_t *data, struct br_err *reterr)
{
    struct br_old_check *check = br_old_get(delta);
    check->kind = BR_OLD_BLOCK;
    check->offset_bytes = block * BR_BLOCK_BYTES;
    check->len_bytes = br_block_bytes(&delta->parent.geometry, block);
    check->leaf = *leaf;
    check->merge = change != NULL;
    if (change) {
        assert(data);
        check->new_pages = check->new_pages ? check->new_pages : malloc(BR_BLOCK_BYTES);
        if (!check->new_pages) {
            check->next_free = delta->free_checks;
            delta->free_checks = check;
            return br_err_set(reterr, BR_E_NOMEM, "checking a received block");
        }
        check->change = *change;
        memcpy(check->new_pages, data, br_block_data_bytes(change, &delta->replica->geometry));
    }
    return br_old_submit(check, reterr);
}

// Records -----------------------------------------------------------------------------------------------------------------------------

// Compares what @change overwrites with what the parent's tree says. With @prove the new leaf is proven too.
static int br_delta_check_old(struct br_delta *delta, const struct br_batch_block *change, const uint8_t *data,
                              const struct br_hash *leaf, const uint64_t *pages, bool prove, struct br_err *reterr)
{
    const struct br_tree_geometry *geometry = &delta->replica->geometry;
    uint16_t mask = (change->pages | change->zeros) & br_block_pages(&delta->parent.geometry, change->index);
    bool whole = (change->pages | change->zeros) == br_block_pages(geometry, change->index);
    if (br_hash_equal(leaf, &br_hash_unreadable)) {
        delta->unreadable_blocks--;
        return whole ? 0
                     : br_err_at(reterr, BR_E_CORRUPT, change->index * BR_BLOCK_BYTES,
                                 "the delta keeps pages of a block whose content is not known");
    }
    if (prove && !whole) {
        return br_old_check_block(delta, change->index, leaf, change, data, reterr);
    }
    if (br_hash_equal(leaf, &br_hash_zero)) {
        return br_old_check_mask(delta, change->index, mask, NULL, reterr);
    }
    for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
        if ((mask >> page & 1) && !pages[page]) {
            return br_old_check_block(delta, change->index, leaf, whole ? NULL : change, data, reterr);
        }
    }
    return br_old_check_mask(delta, change->index, mask, pages, reterr);
}

// A kept block behind the parent's end: what it does not bring is zeros.
static int br_delta_prove_new(struct br_delta *delta, const struct br_batch_block *change, const uint8_t *data,
                              struct br_err *reterr)
{
    const struct br_tree_geometry *geometry = &delta->replica->geometry;
    struct br_old_check *room = br_old_get(delta);
    struct br_hash leaf;

    memset(room->old_bytes, 0, BR_BLOCK_BYTES);
    br_batch_assemble(change, geometry, data, room->old_bytes);
    br_leaf_hash(room->old_bytes, br_block_bytes(geometry, change->index), &leaf);
    room->next_free = delta->free_checks;
    delta->free_checks = room;
    return br_hash_equal(&leaf, &change->leaf) ? 0
                                               : br_err_at(reterr, BR_E_CORRUPT, change->index * BR_BLOCK_BYTES,
                                                           "a kept block is not what its leaf says");
}

static int br_delta_block(struct br_delta *delta, struct br_intake_item *item, unsigned index, const uint8_t *data,
                          struct br_err *reterr)
{
    struct br_replica *replica = delta->replica;
    const struct br_batch_block *change = &item->batch.blocks[index];
    uint64_t *pages = item->pages[index];
    if (change->index < delta->parent.geometry.block_count) {
        struct br_hash leaf;
        uint64_t old_pages[BR_PAGES_PER_BLOCK];
        int r = br_tree_read(delta->reader, change->index, 1, &leaf, old_pages, reterr);
        r = r < 0 ? r : br_delta_check_old(delta, change, data, &leaf, old_pages, item->is_kept, reterr);
        if (r < 0) {
            return r;
        }
        for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
            bool kept = !((change->pages | change->zeros) >> page & 1);
            uint32_t len = br_page_bytes(&replica->geometry, change->index, page);
            if (kept && len > 0 && len == br_page_bytes(&delta->parent.geometry, change->index, page)) {
                pages[page] =
                    br_hash_equal(&leaf, &br_hash_zero) ? br_intake_zero_hash(&replica->intake, len) : old_pages[page];
            }
        }
    } else if (item->is_kept) {
        int r = br_delta_prove_new(delta, change, data, reterr);
        if (r < 0) {
            return r;
        }
    }
    return br_tree_put(delta->writer, change->index, &change->leaf, pages, reterr);
}

// What a run does to the parent's blocks that are not ZERO: counts those that were unreadable, checks those that are overwritten.
static int br_delta_run_over(struct br_delta *delta, const struct br_run *run, struct br_err *reterr)
{
    uint64_t end = BR_MIN(run->first + run->count, delta->parent.geometry.block_count);
    for (uint64_t block = run->first; block < end; block++) {
        struct br_hash leaf;
        uint64_t pages[BR_PAGES_PER_BLOCK];
        int r = br_tree_next_not(delta->reader, block, &br_hash_zero, &block, reterr);
        if (r < 0 || block >= end) {
            return r;
        }
        r = br_tree_read(delta->reader, block, 1, &leaf, pages, reterr);
        if (r < 0) {
            return r;
        }
        if (br_hash_equal(&leaf, &br_hash_unreadable)) {
            delta->unreadable_blocks--;
            continue;
        }
        if (run->kind == BR_RUN_UNREADABLE) {
            continue; // nothing is overwritten
        }
        struct br_batch_block change = {.index = block, .zeros = br_block_pages(&delta->replica->geometry, block)};
        r = br_delta_check_old(delta, &change, NULL, &leaf, pages, false, reterr);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int br_delta_run(struct br_delta *delta, const struct br_run *run, struct br_err *reterr)
{
    bool unreadable = run->kind == BR_RUN_UNREADABLE;
    int r = br_delta_run_over(delta, run, reterr);
    r = r < 0 ? r : br_stage_run(&delta->stage, run, reterr);
    delta->unreadable_blocks += unreadable ? run->count : 0;
    return r < 0 ? r
                 : br_tree_fill(delta->writer, run->first, run->count, unreadable ? &br_hash_unreadable : &br_hash_zero,
                                reterr);
}

// Data goes into the stage, or behind what earlier runs left and is named in the stage.
static int br_delta_stage(struct br_delta *delta, const struct br_intake_item *item, struct br_err *reterr)
{
    if (item->is_kept) {
        return br_stage_kept(&delta->stage, &item->kept, reterr);
    }
    if (!delta->cut) {
        return br_stage_batch(&delta->stage, &item->batch, reterr);
    }
    int r = br_stage_batch(&delta->data, &item->batch, reterr);
    return r < 0 ? r : br_stage_kept(&delta->stage, &delta->data.last, reterr);
}

int br_delta_take(struct br_replica *replica, struct br_intake_item *item, struct br_err *reterr)
{
    struct br_delta *delta = replica->delta;
    int r = br_io_queue_error(&delta->queue, reterr);
    if (r < 0) {
        return r;
    }
    if (item->is_run) {
        return br_delta_run(delta, &item->run, reterr);
    }
    r = br_delta_stage(delta, item, reterr);
    const uint8_t *data = item->batch.data;
    for (unsigned i = 0; i < item->batch.block_count && r == 0; i++) {
        r = br_delta_block(delta, item, i, data, reterr);
        data += br_block_data_bytes(&item->batch.blocks[i], &replica->geometry);
    }
    return r;
}

// Begin -------------------------------------------------------------------------------------------------------------------------------

static int br_delta_parent_is_ours(const struct br_replica *replica, struct br_err *reterr)
{
    const struct br_delta_header *header = &replica->begin.header;
    const struct br_identity *identity = &replica->identity;
    if (header->full) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "%s: a delta without a parent can't be applied over a version",
                          replica->what);
    }
    if (!br_uuid_equal(&header->volume, &identity->volume)) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "%s: the delta is of another volume", replica->what);
    }
    if (!br_uuid_equal(&header->generation.parent_id, &identity->generation.id)) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "%s: at generation %" PRIu64 ", the delta starts from another one",
                          replica->what, identity->generation.counter);
    }
    if (!br_hash_equal(&header->parent_root, &identity->root) ||
        header->parent_size_bytes != identity->tree.geometry.size_bytes) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "%s: the delta's parent has another root or size", replica->what);
    }
    return 0;
}

static int br_delta_open_stage(struct br_replica *replica, struct br_delta *delta, struct br_err *reterr)
{
    struct br_stage_params params = {
        .ring = replica->ring,
        .dir = replica->dir,
        .name = BR_STAGE_NAME,
        .header = &replica->begin.header,
        .sync_bytes = replica->sync_bytes,
        .what = replica->what,
    };
    if (!replica->begin.keeps_nothing) {
        delta->cut = br_cut_open(replica->ring, replica->dir, &replica->identity, &replica->geometry, replica->what);
    } else if (br_dir_exists(replica->dir, BR_STAGE_NAME, NULL) == 1 ||
               br_dir_exists(replica->dir, BR_CUT_NAME, NULL) == 1) {
        br_cut_drop(replica->dir); // else all that is shipped anew would be put behind it, as often as it is cut
    }
    if (delta->cut) {
        struct br_stage_params data = params;
        data.name = BR_CUT_NAME;
        data.keep_bytes = br_cut_end_bytes(delta->cut);
        data.expected_bytes = replica->begin.expected_bytes;
        params.lists = true;
        int r = br_stage_open(&delta->data, &data, reterr);
        if (r < 0) {
            return r;
        }
    } else {
        params.expected_bytes = replica->begin.expected_bytes;
    }
    return br_stage_open(&delta->stage, &params, reterr);
}

static int br_delta_prepare(struct br_replica *replica, struct br_delta *delta, struct br_err *reterr)
{
    const struct br_tree_store *store = br_replica_store(replica);
    delta->check_bytes = aligned_alloc(BR_PAGE_BYTES, (size_t)BR_OLD_CHECKS * BR_BLOCK_BYTES);
    if (!delta->check_bytes) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: buffers for old pages", replica->what);
    }
    for (unsigned i = 0; i < BR_OLD_CHECKS; i++) {
        delta->checks[i].delta = delta;
        delta->checks[i].old_bytes = delta->check_bytes + (size_t)i * BR_BLOCK_BYTES;
        delta->checks[i].next_free = delta->free_checks;
        delta->free_checks = &delta->checks[i];
    }
    int r = br_io_queue_open(&delta->queue, replica->ring, BR_OLD_CHECKS, replica->what, reterr);
    r = r < 0 ? r : br_tree_reader_open(&delta->parent, store, &delta->reader, reterr);
    r = r < 0 ? r : br_tree_writer_open(&replica->geometry, &delta->parent, store, store, &delta->writer, reterr);
    return r < 0 ? r : br_delta_open_stage(replica, delta, reterr);
}

int br_delta_begin(struct br_replica *replica, struct br_err *reterr)
{
    struct br_file_info info;
    int r = br_replica_need_complete(replica, reterr);
    r = r < 0 ? r : br_delta_parent_is_ours(replica, reterr);
    r = r < 0 ? r : br_replica_check_foreign(replica, reterr);
    r = r < 0 ? r : br_file_stat(replica->file, &info, reterr);
    r = r < 0 ? r : br_replica_capacity(&info, replica->geometry.size_bytes, replica->what, reterr);
    if (r < 0) {
        return r;
    }
    struct br_delta *delta = calloc(1, sizeof(*delta));
    if (!delta) {
        return br_err_set(reterr, BR_E_NOMEM, "%s: beginning a delta", replica->what);
    }
    replica->delta = delta;
    delta->replica = replica;
    delta->parent = replica->identity.tree;
    delta->can_hole = info.can_hole;
    delta->is_block = info.is_block;
    delta->evidence = replica->identity.evidence;
    delta->unreadable_blocks = replica->identity.unreadable_blocks;
    return br_delta_prepare(replica, delta, reterr);
}

// Commit ------------------------------------------------------------------------------------------------------------------------------

// A shrunk volume loses its last blocks, unreadable ones too.
static int br_delta_count_cut(struct br_delta *delta, struct br_err *reterr)
{
    uint64_t block = delta->replica->geometry.block_count;
    if (delta->replica->identity.unreadable_blocks == 0) {
        return 0;
    }
    for (; block < delta->parent.geometry.block_count; block++) {
        struct br_hash leaf;
        int r = br_tree_next_not(delta->reader, block, &br_hash_zero, &block, reterr);
        if (r < 0 || block >= delta->parent.geometry.block_count) {
            return r;
        }
        r = br_tree_read(delta->reader, block, 1, &leaf, NULL, reterr);
        if (r < 0) {
            return r;
        }
        delta->unreadable_blocks -= br_hash_equal(&leaf, &br_hash_unreadable) ? 1 : 0;
    }
    return 0;
}

static int br_delta_tree(struct br_delta *delta, const struct br_delta_end *end, struct br_tree *ret_tree,
                         struct br_err *reterr)
{
    struct br_hash root;
    int r = br_tree_finish(delta->writer, ret_tree, reterr);
    if (r < 0) {
        return r;
    }
    br_tree_root(ret_tree, &root);
    if (!br_hash_equal(&root, &end->root)) {
        return br_err_set(reterr, BR_E_VERIFY, "%s: the delta does not lead to the version that it names",
                          delta->replica->what);
    }
    return 0;
}

static int br_delta_reserve_span(struct br_delta *delta, uint64_t from, uint64_t to, struct br_err *reterr)
{
    int r = br_old_in_hole(delta, from, 1, reterr);
    bool is_data = delta->data_start <= from && to <= delta->data_end;
    r = r < 0 || is_data ? r : br_file_allocate(delta->replica->file, from, to - from, reterr);
    return r < 0 ? br_err_prefix(reterr, "%s: reserving space", delta->replica->what) : 0;
}

// From the first page to the last that is written, zeros too, over all blocks that follow each other.
static int br_delta_reserve_batch(struct br_delta *delta, const struct br_batch *batch, struct br_err *reterr)
{
    uint64_t from = 0, to = 0;
    for (unsigned i = 0; i <= batch->block_count; i++) {
        uint64_t start = UINT64_MAX, end = UINT64_MAX;
        if (i < batch->block_count) {
            const struct br_batch_block *block = &batch->blocks[i];
            uint32_t written = block->pages | block->zeros;
            if (!written) {
                continue;
            }
            start = block->index * BR_BLOCK_BYTES + (uint64_t)__builtin_ctz(written) * BR_PAGE_BYTES;
            end = block->index * BR_BLOCK_BYTES + (32u - (unsigned)__builtin_clz(written)) * BR_PAGE_BYTES;
            end = BR_MIN(end, delta->replica->geometry.size_bytes);
        }
        if (to > from && start == to) {
            to = end;
            continue;
        }
        int r = to > from ? br_delta_reserve_span(delta, from, to, reterr) : 0;
        if (r < 0) {
            return r;
        }
        from = start;
        to = end;
    }
    return 0;
}

// Reserves the space of what will be written where the file has holes, so that applying does not run out of it.
static int br_delta_reserve(void *ctx, const struct br_stream_record *record, struct br_err *reterr)
{
    struct br_delta *delta = ctx;
    if (!delta->can_hole || delta->is_block) {
        return 0;
    }
    if (record->type == BR_STREAM_DATA) {
        return br_delta_reserve_batch(delta, &record->batch, reterr);
    }
    if (record->type == BR_STREAM_RUN && record->run.kind != BR_RUN_UNREADABLE) {
        // A short one, which is the tail block alone, is written; a long one is punched.
        uint64_t start = record->run.first * BR_BLOCK_BYTES;
        uint64_t end = BR_MIN(start + record->run.count * BR_BLOCK_BYTES, delta->replica->geometry.size_bytes);
        return end - start < BR_BLOCK_BYTES ? br_delta_reserve_span(delta, start, end, reterr) : 0;
    }
    return 0;
}

// The evidence again: while the delta was staged nobody may have written, and neither did we.
static int br_delta_unmoved(struct br_delta *delta, struct br_err *reterr)
{
    struct br_evidence now;
    int r = br_evidence_take(delta->replica->file, &now, reterr);
    if (r < 0) {
        return r;
    }
    if (now.size_bytes != delta->evidence.size_bytes || now.mtime_ns != delta->evidence.mtime_ns) {
        return br_err_set(reterr, BR_E_FOREIGN_WRITE, "%s: it was written to while the delta was received",
                          delta->replica->what);
    }
    return 0;
}

// APPLYING, durably: the commit. All that it names is durable before.
static int br_delta_commit_point(struct br_delta *delta, const struct br_tree *tree, uint64_t stage_bytes,
                                 struct br_err *reterr)
{
    struct br_replica *replica = delta->replica;
    struct br_identity *identity = &replica->identity;
    int r = br_dir_sync(replica->dir, reterr);
    if (r < 0) {
        return r;
    }
    struct br_identity before = *identity;
    br_replica_identity_from(identity, &replica->begin.header);
    identity->state = BR_STATE_APPLYING;
    identity->previous = before.generation;
    identity->previous_tree = before.tree;
    identity->tree = *tree;
    br_tree_root(tree, &identity->root);
    identity->stage_bytes = stage_bytes;
    identity->stage_id = replica->begin.header.stream_id;
    identity->evidence = (struct br_evidence){0};
    identity->unreadable_blocks = delta->unreadable_blocks;
    delta->committed = true;
    return br_replica_store_identity(replica, reterr);
}

// After space was reserved in the replica its times have moved: say so in the record, or the next run would read all of it.
static void br_delta_keep_evidence(struct br_replica *replica)
{
    struct br_evidence now;
    if (!replica->lost && br_evidence_take(replica->file, &now, NULL) == 0 &&
        !br_evidence_equal(&now, &replica->identity.evidence)) {
        replica->identity.evidence = now;
        (void)!br_replica_store_identity(replica, NULL);
    }
}

static int br_delta_checks(struct br_delta *delta, const struct br_delta_end *end, uint64_t recheck_bytes,
                           struct br_replica_result *result, struct br_tree *ret_tree, uint64_t *ret_stage_bytes,
                           struct br_err *reterr)
{
    struct br_replica *replica = delta->replica;
    int r = br_delta_count_cut(delta, reterr);
    r = r < 0 ? r : br_delta_tree(delta, end, ret_tree, reterr);
    r = r < 0 || !delta->cut ? r : br_stage_cut(&delta->data, 0, reterr);
    r = r < 0 ? r : br_stage_end(&delta->stage, &end->root, ret_stage_bytes, reterr);
    r = r < 0 ? r : br_io_queue_drain(&delta->queue, reterr);
    r = r < 0 ? r : br_recheck(replica, recheck_bytes, result, reterr);
    return r < 0 ? r : br_delta_unmoved(delta, reterr);
}

static void br_delta_close_trees(struct br_delta *delta)
{
    br_tree_writer_close(delta->writer);
    if (delta->reader) {
        br_tree_reader_close(delta->reader);
    }
    delta->writer = NULL;
    delta->reader = NULL;
}

int br_delta_commit(struct br_replica *replica, const struct br_delta_end *end, uint64_t recheck_bytes,
                    struct br_replica_result *result, struct br_err *reterr)
{
    struct br_delta *delta = replica->delta;
    struct br_tree tree;
    uint64_t stage_bytes;
    int r = br_delta_checks(delta, end, recheck_bytes, result, &tree, &stage_bytes, reterr);
    if (r < 0) {
        return r;
    }
    // What was written is read back once: after the commit a stage that can't be read would leave a mix.
    r = br_stage_read(replica->ring, replica->dir, stage_bytes, &replica->begin.header.stream_id, &end->root,
                      br_delta_reserve, delta, replica->what, reterr);
    if (r < 0) {
        br_delta_keep_evidence(replica);
        return r;
    }
    r = br_delta_commit_point(delta, &tree, stage_bytes, reterr);
    br_delta_close_trees(delta); // completing may close the file that they read
    r = r < 0 ? r : br_apply(replica, &result->bytes_written, reterr);
    r = r < 0 ? r : br_replica_completed(replica, reterr);
    if (r == 0) {
        delta->committed = false;
        result->bytes_durable = end->data_bytes;
    }
    return r;
}

uint64_t br_delta_durable(const struct br_delta *delta)
{
    return delta->cut ? delta->data.durable_data_bytes : delta->stage.durable_data_bytes;
}

// What earlier runs left ------------------------------------------------------------------------------------------------------------

int br_delta_held(struct br_replica *replica, uint64_t from, struct br_held_block *ret_blocks, unsigned most,
                  unsigned *ret_count, struct br_err *reterr)
{
    struct br_delta *delta = replica->delta;
    *ret_count = 0;
    return delta && delta->cut ? br_cut_held(delta->cut, from, ret_blocks, most, ret_count, reterr) : 0;
}

int br_delta_kept(struct br_replica *replica, const struct br_held_block *blocks, unsigned count,
                  struct br_cut_piece *ret_piece, struct br_err *reterr)
{
    struct br_delta *delta = replica->delta;
    if (!delta || !delta->cut) {
        return br_err_at(reterr, BR_E_CORRUPT, blocks[0].index * BR_BLOCK_BYTES,
                         "%s: a block is to be kept, and nothing is held", replica->what);
    }
    return br_cut_take(delta->cut, blocks, count, ret_piece, reterr);
}

// Is what was staged good for another run, when this one ended by @err (code 0: it was given up)?
static bool br_delta_is_good(struct br_delta *delta, const struct br_err *err)
{
    switch (err->code) {
    case BR_E_CORRUPT:
    case BR_E_VERIFY:
    case BR_E_FOREIGN_WRITE: return false;
    case BR_E_NO_SPACE: // where a run from nothing gets further, the next one is to be that
        return !delta->cut || !br_cut_wasted(delta->cut, delta->replica->taken_block);
    default: return true;
    }
}

// The delta did not get to its commit: what it staged becomes what an earlier run left, or goes.
static void br_delta_leave(struct br_delta *delta)
{
    struct br_replica *replica = delta->replica;
    struct br_err err = replica->failed ? replica->err : (struct br_err){0};
    struct br_err check = {0};
    struct br_stage *data = delta->cut ? &delta->data : &delta->stage;
    if (delta->queue.ring && br_io_queue_drain(&delta->queue, &check) == 0) {
        check = (struct br_err){0};
    }
    bool any = delta->cut || data->encoder.counts.data_bytes > 0;
    if (!any || !br_delta_is_good(delta, &err) || !br_delta_is_good(delta, &check)) {
        br_cut_drop(replica->dir);
        return;
    }
    if (data->file) {
        uint64_t staged = data->offset_bytes - data->start_bytes;
        uint64_t spare = err.code == BR_E_NO_SPACE ? staged / BR_DELTA_SPARE_PART + BR_BLOCK_BYTES : 0;
        (void)!br_stage_cut(data, spare, NULL);
    }
    if (delta->cut) {
        br_replica_drop_file(replica, BR_STAGE_NAME); // a list of what this run's source was
    } else {
        (void)!br_dir_sync(replica->dir, NULL);
    }
}

void br_delta_end_run(struct br_replica *replica)
{
    struct br_delta *delta = replica->delta;
    if (!delta) {
        return;
    }
    if (!delta->committed) {
        br_delta_leave(delta);
    }
    if (delta->queue.ring) {
        br_io_queue_close(&delta->queue);
    }
    br_stage_close(&delta->stage);
    br_stage_close(&delta->data);
    br_cut_close(delta->cut);
    br_delta_close_trees(delta);
    for (unsigned i = 0; i < BR_OLD_CHECKS; i++) {
        free(delta->checks[i].new_pages);
    }
    free(delta->check_bytes);
    free(delta);
    replica->delta = NULL;
}
