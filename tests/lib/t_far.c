// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_far.h"

#include <stdio.h>

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "t_far: %s\n", what);
        abort();
    }
}

void t_far_init(struct t_far *replica)
{
    *replica = (struct t_far){.capacity_bytes = UINT64_MAX, .empty = true};
}

void t_far_free(struct t_far *replica)
{
    free(replica->bytes);
    free(replica->staged);
    *replica = (struct t_far){0};
}

static uint32_t sum(const uint8_t *data, size_t len)
{
    uint32_t s = 1;

    for (size_t i = 0; i < len; i++) {
        s = s * 31 + data[i];
    }
    return s;
}

void t_far_let_go(struct t_far *replica)
{
    for (unsigned i = 0; i < replica->held_count; i++) {
        require(sum(replica->held[i].data, replica->held[i].len) == replica->held[i].first_word,
                "held data was changed");
        replica->held[i].release(replica->held[i].ctx);
    }
    replica->held_count = 0;
}

static int far_info(void *ctx, struct br_endpoint_info *ret_info, struct br_err *reterr)
{
    struct t_far *r = ctx;

    (void)reterr;
    *ret_info = (struct br_endpoint_info){
        .identity = r->identity,
        .capacity_bytes = r->capacity_bytes,
        .is_block = r->is_block,
        .empty = r->empty,
        .zero = r->empty,
    };
    return 0;
}

// Node @ref is @ref bytes long; ref 13 is damaged.
static int far_fetch_nodes(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                           struct br_err *reterr)
{
    (void)ctx;
    for (unsigned i = 0; i < count; i++) {
        const uint64_t ref = links[i].ref;
        if (ref == 13 || ref > BR_TREE_NODE_BYTES_MAX) {
            return br_err_set(reterr, BR_E_CORRUPT, "no node at %lu", (unsigned long)ref);
        }
        br_buf_reset(&ret_nodes[i]);
        for (uint64_t b = 0; b < ref; b++) {
            br_buf_u8(&ret_nodes[i], (uint8_t)(ref + b));
        }
    }
    return 0;
}

static int far_begin(void *ctx, const struct br_replica_begin *begin, bool overwrite, struct br_err *reterr)
{
    struct t_far *r = ctx;

    (void)overwrite;
    require(!r->staged, "a delta within a delta");
    require(br_delta_header_check(&begin->header, NULL) == 0, "a bad header was let through");
    if (begin->mode == BR_MODE_DELTA &&
        (r->identity.state != BR_STATE_COMPLETE || begin->header.full ||
         !br_uuid_equal(&begin->header.generation.parent_id, &r->identity.generation.id))) {
        return br_err_set(reterr, BR_E_WRONG_PARENT, "not my version");
    }
    if (begin->header.size_bytes > 256 * BR_MIB) {
        return br_err_set(reterr, BR_E_NO_SPACE, "a test has no room for that");
    }
    r->staged = calloc(1, begin->header.size_bytes + 1);
    require(r->staged != NULL, "out of memory");
    if (!begin->header.full && r->bytes) {
        memcpy(r->staged, r->bytes, BR_MIN(r->size_bytes, begin->header.size_bytes));
    }
    r->begun = *begin;
    r->counted = (struct br_delta_end){0};
    r->next_block = 0;
    r->empty = false;
    return 0;
}

// Every record of a delta comes through here first.
static int far_record(struct t_far *r, uint64_t first, uint64_t end, struct br_err *reterr)
{
    require(r->staged != NULL, "a record without a delta");
    if (first < r->next_block && r->kept_blocks) { // only the replica sees frames and keeps in one order
        return br_err_set(reterr, BR_E_CORRUPT, "blocks do not ascend");
    }
    require(first >= r->next_block, "records that do not ascend were let through");
    r->next_block = end;
    if (++r->records == r->fail_record) {
        return br_err_at(reterr, BR_E_NO_SPACE, first * BR_BLOCK_BYTES, "the test's disk is full");
    }
    return 0;
}

static int far_batch(void *ctx, const struct br_batch *batch, br_release_fn *release, void *release_ctx,
                     struct br_err *reterr)
{
    struct t_far *r = ctx;
    struct br_tree_geometry geometry;
    const uint8_t *data = batch->data;

    require(br_tree_geometry_of(r->begun.header.size_bytes, &geometry), "geometry");
    require(br_batch_check(batch, &geometry, NULL) == 0, "a bad batch was let through");
    int rc = far_record(r, batch->blocks[0].index, batch->blocks[batch->block_count - 1].index + 1, reterr);
    if (rc < 0) {
        release(release_ctx);
        return rc;
    }
    br_delta_count_batch(&r->counted, batch, &geometry);
    for (unsigned i = 0; i < batch->block_count; i++) {
        const struct br_batch_block *block = &batch->blocks[i];
        for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
            uint8_t *to = r->staged + block->index * BR_BLOCK_BYTES + (size_t)page * BR_PAGE_BYTES;
            uint32_t len = br_page_bytes(&geometry, block->index, page);
            if (block->pages >> page & 1) {
                memcpy(to, data, len);
                data += len;
            } else if (block->zeros >> page & 1) {
                memset(to, 0, len);
            }
        }
    }
    if (r->hold_batches && r->held_count < BR_ARRAY_LEN(r->held)) {
        unsigned i = r->held_count++;
        r->held[i].release = release;
        r->held[i].ctx = release_ctx;
        r->held[i].data = batch->data;
        r->held[i].len = batch->data_bytes;
        r->held[i].first_word = sum(batch->data, batch->data_bytes);
    } else {
        release(release_ctx);
    }
    return 0;
}

static int far_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct t_far *r = ctx;
    struct br_tree_geometry geometry;

    require(br_tree_geometry_of(r->begun.header.size_bytes, &geometry), "geometry");
    require(br_run_check(run, &geometry, NULL) == 0, "a bad run was let through");
    int rc = far_record(r, run->first, run->first + run->count, reterr);
    if (rc >= 0) {
        uint64_t start = run->first * BR_BLOCK_BYTES;
        memset(r->staged + start, 0, BR_MIN(run->count * BR_BLOCK_BYTES, geometry.size_bytes - start));
        br_delta_count_run(&r->counted, run, &geometry);
    }
    return rc;
}

static int far_held(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                    struct br_err *reterr)
{
    struct t_far *r = ctx;

    (void)reterr;
    require(r->staged != NULL, "a question about held blocks without a delta");
    require(most > 0, "a question for no held block");
    *ret_count = 0;
    for (unsigned i = 0; i < r->holds_count && *ret_count < most; i++) {
        if (r->holds[i].index >= from) {
            ret_blocks[(*ret_count)++] = r->holds[i];
        }
    }
    return 0;
}

static int far_keep(void *ctx, const struct br_keep *keep, struct br_err *reterr)
{
    struct t_far *r = ctx;
    struct br_tree_geometry geometry;

    require(br_tree_geometry_of(r->begun.header.size_bytes, &geometry), "geometry");
    require(keep->count > 0 && keep->count <= BR_BATCH_BLOCKS_MAX, "a bad keep was let through");
    int rc = br_keep_check(keep, &geometry, reterr);
    r->kept_blocks += rc < 0 ? 0 : keep->count;
    rc = rc < 0 ? rc : far_record(r, keep->blocks[0].index, keep->blocks[keep->count - 1].index + 1, reterr);
    for (unsigned i = 0; i < keep->count && rc >= 0; i++) {
        const struct br_held_block *block = &keep->blocks[i];
        unsigned held = 0;
        while (held < r->holds_count &&
               (r->holds[held].index != block->index || !br_hash_equal(&r->holds[held].leaf, &block->leaf))) {
            held++;
        }
        if (held == r->holds_count) {
            rc = br_err_set(reterr, BR_E_CORRUPT, "a block that is not held");
        } else {
            memset(r->staged + block->index * BR_BLOCK_BYTES, block->leaf.bytes[0],
                   br_block_bytes(&geometry, block->index));
        }
    }
    return rc;
}

static void drop(struct t_far *r)
{
    t_far_let_go(r);
    free(r->staged);
    r->staged = NULL;
}

static int far_commit(void *ctx, const struct br_delta_end *end, uint64_t recheck_bytes,
                      struct br_replica_result *ret_result, struct br_err *reterr)
{
    struct t_far *r = ctx;

    require(r->staged != NULL, "a commit without a delta");
    require(br_delta_counts_equal(end, &r->counted), "an end that counts other records was let through");
    t_far_let_go(r);
    if (r->fail_commit) {
        ret_result->recheck_mismatches = 1;
        return br_err_at(reterr, BR_E_VERIFY, 4096, "the test's recheck failed");
    }
    free(r->bytes);
    r->bytes = r->staged;
    r->staged = NULL;
    r->size_bytes = r->begun.header.size_bytes;
    r->identity.state = BR_STATE_COMPLETE;
    r->identity.volume = r->begun.header.volume;
    r->identity.replica.bytes[0] = 9;
    r->identity.generation = r->begun.header.generation;
    r->identity.root = end->root;
    r->identity.sector_bytes = r->begun.header.sector_bytes;
    r->identity.sequence++;
    r->commits++;
    *ret_result = (struct br_replica_result){.bytes_durable = end->data_bytes, .bytes_rechecked = recheck_bytes};
    return 0;
}

static void far_abort(void *ctx)
{
    struct t_far *r = ctx;

    r->aborts += r->staged != NULL;
    drop(r);
}

static int far_recheck(void *ctx, uint64_t recheck_bytes, struct br_replica_result *ret_result, struct br_err *reterr)
{
    struct t_far *r = ctx;

    (void)reterr;
    r->rechecks++;
    *ret_result = (struct br_replica_result){.bytes_rechecked = recheck_bytes};
    return 0;
}

static uint64_t far_durable(void *ctx)
{
    return ((struct t_far *)ctx)->counted.data_bytes;
}

static int far_verify(void *ctx, br_verify_progress_fn *progress, void *progress_ctx, uint64_t *ret_bad_blocks,
                      struct br_err *reterr)
{
    struct t_far *r = ctx;

    for (uint64_t done = 0; done <= 64 * BR_MIB; done += BR_MIB) {
        int rc = progress ? progress(progress_ctx, done, 64 * BR_MIB) : 0;
        if (rc) {
            return br_err_set(reterr, BR_E_CANCELLED, "the verify was stopped");
        }
    }
    *ret_bad_blocks = r->bad_blocks;
    return r->bad_blocks ? br_err_at(reterr, BR_E_VERIFY, BR_BLOCK_BYTES, "a block differs") : 0;
}

static void far_close(void *ctx)
{
    struct t_far *r = ctx;

    drop(r);
    r->closes++;
}

struct br_endpoint t_far_endpoint(struct t_far *replica)
{
    static const struct br_endpoint_ops ops = {
        .info = far_info,
        .fetch_nodes = far_fetch_nodes,
        .begin = far_begin,
        .batch = far_batch,
        .run = far_run,
        .held = far_held,
        .keep = far_keep,
        .commit = far_commit,
        .abort = far_abort,
        .recheck = far_recheck,
        .durable = far_durable,
        .verify = far_verify,
        .close = far_close,
    };

    replica->opens++;
    return (struct br_endpoint){.ops = &ops, .ctx = replica};
}
