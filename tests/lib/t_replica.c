// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/lib/t_replica.h"
#include "tests/lib/t_tree.h"

#define T_HELD 5u // asked for at once: so few that a delta asks often

static unsigned t_open_leases;
static struct t_shipped t_last_shipped;

unsigned t_leases(void)
{
    return t_open_leases;
}

struct t_shipped t_shipped(void)
{
    return t_last_shipped;
}

void t_shipped_clear(void)
{
    t_last_shipped = (struct t_shipped){0};
}

static const struct br_uuid t_volume_id = {{0x11, 0x22, 0x33, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}};

// The model ---------------------------------------------------------------------------------------------------------------------------

void t_volume_new(struct t_volume *volume, uint64_t size_bytes)
{
    *volume = (struct t_volume){.size_bytes = size_bytes, .geometry = t_geometry(size_bytes)};
    volume->bytes = calloc(volume->geometry.block_count + 1, BR_BLOCK_BYTES);
    volume->unreadable = calloc(volume->geometry.block_count + 1, sizeof(bool));
    assert_non_null(volume->bytes);
    assert_non_null(volume->unreadable);
}

void t_volume_free(struct t_volume *volume)
{
    free(volume->bytes);
    free(volume->unreadable);
    *volume = (struct t_volume){0};
}

void t_volume_next(struct t_volume *volume, const struct t_volume *from, uint64_t size_bytes)
{
    t_volume_new(volume, size_bytes);
    uint64_t blocks = BR_MIN(volume->geometry.block_count, from->geometry.block_count);
    memcpy(volume->bytes, from->bytes, BR_MIN(size_bytes, from->size_bytes));
    memcpy(volume->unreadable, from->unreadable, blocks * sizeof(bool));
}

static void t_volume_change_one(struct t_volume *volume, struct t_rand *rand, bool unreadable)
{
    uint64_t block = t_rand_below(rand, volume->geometry.block_count);
    uint64_t start = block * BR_BLOCK_BYTES, page = t_rand_below(rand, BR_PAGES_PER_BLOCK) * BR_PAGE_BYTES;
    uint64_t len = BR_PAGE_BYTES;
    switch (t_rand_below(rand, 6)) {
    case 0: start += page + t_rand_below(rand, 4000), len = 1 + t_rand_below(rand, 9000); break;
    case 1: start += page; break;
    case 2: len = BR_BLOCK_BYTES * (1 + t_rand_below(rand, 3)); break;
    case 3: start += page, len = BR_PAGE_BYTES * (1 + t_rand_below(rand, 3)); break;
    default: len = BR_BLOCK_BYTES * (1 + t_rand_below(rand, 4)); break;
    }
    if (start >= volume->size_bytes) {
        return;
    }
    len = BR_MIN(len, volume->size_bytes - start);
    if (t_rand_below(rand, 3) == 0) {
        memset(volume->bytes + start, 0, len);
    } else {
        t_rand_fill(rand, volume->bytes + start, len);
    }
    bool bad = unreadable && t_rand_below(rand, 6) == 0;
    for (uint64_t b = start / BR_BLOCK_BYTES; b <= (start + len - 1) / BR_BLOCK_BYTES; b++) {
        volume->unreadable[b] = bad;
    }
}

void t_volume_change(struct t_volume *volume, struct t_rand *rand, unsigned count, bool unreadable)
{
    for (unsigned i = 0; i < count && volume->size_bytes > 0; i++) {
        t_volume_change_one(volume, rand, unreadable);
    }
}

struct br_hash t_volume_leaf(const struct t_volume *volume, uint64_t block)
{
    struct br_hash leaf;
    if (volume->unreadable[block]) {
        return br_hash_unreadable;
    }
    br_leaf_hash(volume->bytes + block * BR_BLOCK_BYTES, br_block_bytes(&volume->geometry, block), &leaf);
    return leaf;
}

void t_volume_seal(struct t_volume *volume, const struct t_volume *parent, struct t_rand *rand)
{
    struct t_version version;
    struct t_store nodes = {0};
    struct br_tree_store store = t_store_ops(&nodes);
    struct br_tree tree;
    t_version_new(&version, volume->size_bytes, false);
    for (uint64_t i = 0; i < volume->geometry.block_count; i++) {
        version.leaves[i] = t_volume_leaf(volume, i);
    }
    t_tree_build(&version, &store, &tree);
    br_tree_root(&tree, &volume->root);
    t_version_free(&version);
    t_store_free(&nodes);
    uint8_t id[BR_UUID_BYTES];
    t_rand_fill(rand, id, sizeof(id));
    volume->generation =
        (struct br_generation){.counter = parent ? parent->generation.counter + 1 : 1, .id = br_uuid_make(id)};
    if (parent) {
        volume->generation.parent_id = parent->generation.id;
    }
}

// The source --------------------------------------------------------------------------------------------------------------------------

struct t_shipper {
    const struct t_ship *ship;
    struct br_replica *replica;
    struct t_rand rand;
    uint64_t shape;
    struct br_hash *facts; // what the replica has, leaf by leaf
    struct br_batch batch;
    uint8_t *data; // of the batch being made
    struct br_run run;
    struct br_keep keep;
    struct br_held_block held[T_HELD]; // the next ones that the replica holds
    unsigned held_at, held_count;
    bool held_end;
    struct br_delta_end end;
    unsigned records;
    struct br_err *reterr;
};

static void t_release(void *ctx)
{
    assert_true(t_open_leases > 0);
    t_open_leases--;
    free(ctx);
}

static int t_flush(struct t_shipper *s)
{
    int r = 0;
    if (s->batch.block_count > 0) {
        s->batch.data = s->data;
        br_delta_count_batch(&s->end, &s->batch, &s->ship->result->geometry);
        t_open_leases++;
        r = br_replica_batch(s->replica, &s->batch, t_release, s->data, s->reterr);
        s->data = NULL;
        s->batch = (struct br_batch){0};
        s->records++;
    } else if (s->run.count > 0) {
        br_delta_count_run(&s->end, &s->run, &s->ship->result->geometry);
        r = br_replica_run(s->replica, &s->run, s->reterr);
        s->run = (struct br_run){0};
        s->records++;
    } else if (s->keep.count > 0) {
        r = br_replica_keep(s->replica, &s->keep, s->reterr);
        t_last_shipped.kept_blocks += s->keep.count;
        s->keep.count = 0;
        s->records++;
    }
    if (r == 0 && s->ship->stop_after && s->records >= s->ship->stop_after) {
        r = -BR_E_CANCELLED;
    }
    return r;
}

static int t_add_run(struct t_shipper *s, uint64_t block, enum br_run_kind kind)
{
    bool joins = s->run.count > 0 && s->run.kind == kind && s->run.first + s->run.count == block;
    if (joins && t_rand_below(&s->rand, 8) > 0) {
        s->run.count++;
        return 0;
    }
    int r = t_flush(s);
    s->run = (struct br_run){.kind = kind, .first = block, .count = 1};
    return r;
}

// Whether the replica's page is known to be what the result's page is.
static bool t_page_same(const struct t_shipper *s, uint64_t block, unsigned page)
{
    const struct t_volume *parent = s->ship->parent, *result = s->ship->result;
    uint64_t at = block * BR_BLOCK_BYTES + (uint64_t)page * BR_PAGE_BYTES;
    uint32_t len = br_page_bytes(&result->geometry, block, page);
    if (s->ship->mode != BR_MODE_DELTA || (block < parent->geometry.block_count && parent->unreadable[block])) {
        return false;
    }
    if (at >= parent->size_bytes) {
        return br_is_zero(result->bytes + at, len);
    }
    uint64_t old_len = BR_MIN((uint64_t)BR_PAGE_BYTES, parent->size_bytes - at);
    return !memcmp(parent->bytes + at, result->bytes + at, BR_MIN(len, old_len)) &&
           (len <= old_len || br_is_zero(result->bytes + at + old_len, len - old_len));
}

static int t_add_block(struct t_shipper *s, uint64_t block, const struct br_hash *leaf)
{
    const struct t_volume *result = s->ship->result;
    int r = 0;
    if (s->run.count > 0 || s->keep.count > 0 || s->batch.block_count == BR_BATCH_BLOCKS_MAX ||
        (s->batch.block_count > 0 && t_rand_below(&s->rand, 6) == 0)) {
        r = t_flush(s);
    }
    if (r < 0) {
        return r;
    }
    if (!s->data) {
        s->data = aligned_alloc(BR_PAGE_BYTES, BR_BATCH_DATA_MAX);
        assert_non_null(s->data);
    }
    struct t_rand own = t_rand_seeded(s->shape, block); // the same whatever came before
    bool narrow = t_rand_below(&own, 4) > 0;
    struct br_batch_block *b = &s->batch.blocks[s->batch.block_count++];
    *b = (struct br_batch_block){.index = block, .leaf = *leaf};
    for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
        uint32_t len = br_page_bytes(&result->geometry, block, page);
        const uint8_t *bytes = result->bytes + block * BR_BLOCK_BYTES + (uint64_t)page * BR_PAGE_BYTES;
        if (len == 0 || (narrow && t_page_same(s, block, page))) {
            continue;
        }
        if (br_is_zero(bytes, len)) {
            b->zeros |= (uint16_t)(1u << page);
            continue;
        }
        b->pages |= (uint16_t)(1u << page);
        memcpy(s->data + s->batch.data_bytes, bytes, len);
        s->batch.data_bytes += len;
    }
    return 0;
}

// Does the replica hold just this content of the block? 1, 0 or an error.
static int t_is_held(struct t_shipper *s, uint64_t block, const struct br_hash *leaf)
{
    if (s->ship->mode != BR_MODE_DELTA || s->ship->anew) {
        return 0;
    }
    while (!s->held_end && (s->held_at == s->held_count || s->held[s->held_at].index < block)) {
        if (s->held_at < s->held_count) {
            s->held_at++;
            continue;
        }
        uint64_t from = s->held_count ? s->held[s->held_count - 1].index + 1 : 0;
        int r = br_replica_held(s->replica, from, s->held, T_HELD, &s->held_count, s->reterr);
        if (r < 0) {
            return r;
        }
        s->held_at = 0;
        s->held_end = s->held_count == 0;
    }
    return !s->held_end && s->held[s->held_at].index == block && br_hash_equal(&s->held[s->held_at].leaf, leaf);
}

static int t_add_keep(struct t_shipper *s, uint64_t block, const struct br_hash *leaf)
{
    int r = 0;
    if (s->run.count > 0 || s->batch.block_count > 0 || s->keep.count == BR_BATCH_BLOCKS_MAX ||
        t_rand_below(&s->rand, 6) == 0) {
        r = t_flush(s);
    }
    s->keep.blocks[s->keep.count++] = (struct br_held_block){.index = block, .leaf = *leaf};
    return r;
}

static int t_ship_block(struct t_shipper *s, uint64_t block)
{
    struct br_hash leaf = t_volume_leaf(s->ship->result, block);
    const struct t_volume *parent = s->ship->parent;
    bool same_len = s->ship->mode != BR_MODE_DELTA || block >= parent->geometry.block_count ||
                    br_block_bytes(&parent->geometry, block) == br_block_bytes(&s->ship->result->geometry, block);
    if (br_hash_equal(&leaf, &s->facts[block]) && (same_len || br_hash_equal(&leaf, &br_hash_zero))) {
        return 0;
    }
    if (br_hash_equal(&leaf, &br_hash_unreadable)) {
        return t_add_run(s, block, BR_RUN_UNREADABLE);
    }
    if (br_hash_equal(&leaf, &br_hash_zero)) {
        return t_add_run(s, block, t_rand_below(&s->rand, 3) ? BR_RUN_ZERO : BR_RUN_DISCARD);
    }
    int held = t_is_held(s, block, &leaf);
    if (held != 0) {
        return held < 0 ? held : t_add_keep(s, block, &leaf);
    }
    return t_add_block(s, block, &leaf);
}

// What a source compares with, see replica.h.
static void t_ship_facts(struct t_shipper *s)
{
    const struct t_ship *ship = s->ship;
    const struct br_identity *identity = br_replica_identity(s->replica);
    uint64_t count = ship->result->geometry.block_count;
    bool resume = ship->mode == BR_MODE_FIRST && ship->absent_keeps_facts && !ship->discard_version &&
                  identity->state == BR_STATE_INCOMPLETE && br_replica_store(s->replica);
    s->facts = calloc(count + 1, sizeof(*s->facts));
    assert_non_null(s->facts);
    struct br_tree_reader *reader = NULL;
    if (resume && br_tree_reader_open(&identity->tree, br_replica_store(s->replica), &reader, NULL) < 0) {
        resume = false;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (ship->mode == BR_MODE_DELTA) {
            s->facts[i] = i < ship->parent->geometry.block_count ? t_volume_leaf(ship->parent, i) : br_hash_zero;
        } else if (!resume) {
            bool zero = ship->target_is_zero || !ship->absent_keeps_facts || ship->mode == BR_MODE_REPLACE;
            s->facts[i] = zero ? br_hash_zero : br_hash_unknown;
        } else if (br_tree_read(reader, i, 1, &s->facts[i], NULL, NULL) < 0 ||
                   (i < identity->tree.geometry.block_count && !br_hash_equal(&s->facts[i], &br_hash_zero) &&
                    br_block_bytes(&identity->tree.geometry, i) != br_block_bytes(&ship->result->geometry, i))) {
            s->facts[i] = br_hash_unknown;
        }
    }
    if (reader) {
        br_tree_reader_close(reader);
    }
}

static void t_ship_header(const struct t_ship *ship, struct t_rand *rand, struct br_delta_header *header)
{
    uint8_t id[BR_UUID_BYTES];
    t_rand_fill(rand, id, sizeof(id));
    *header = (struct br_delta_header){
        .stream_id = br_uuid_make(id),
        .volume = t_volume_id,
        .full = ship->mode != BR_MODE_DELTA,
        .generation = ship->result->generation,
        .size_bytes = ship->result->size_bytes,
        .sector_bytes = 512,
        .hash_id = BR_HASH_SHA256,
        .consistency = BR_CONSISTENCY_CLEAN,
        .taken_unix_ns = 1,
        .label = "model",
    };
    header->generation.parent_id = (struct br_uuid){{0}};
    if (!header->full) {
        header->generation.parent_id = ship->parent->generation.id;
        header->parent_root = ship->parent->root;
        header->parent_size_bytes = ship->parent->size_bytes;
    }
}

int t_ship(struct br_replica *replica, const struct t_ship *ship, struct br_replica_result *ret_result,
           struct br_err *reterr)
{
    struct t_shipper s = {.ship = ship, .replica = replica, .rand = ship->rand, .reterr = reterr};
    struct br_replica_begin begin = {
        .mode = ship->mode,
        .target_is_zero = ship->target_is_zero,
        .absent_keeps_facts = ship->absent_keeps_facts,
        .discard_version = ship->discard_version,
        .leaves_proven = ship->leaves_proven,
        .checkpoint_bytes = ship->checkpoint_bytes,
    };
    t_shipped_clear();
    s.shape = t_rand_next(&s.rand);
    t_ship_header(ship, &s.rand, &begin.header);
    t_ship_facts(&s);
    int r = br_replica_begin(replica, &begin, reterr);
    bool begun = r == 0;
    for (uint64_t i = 0; i < ship->result->geometry.block_count && r == 0; i++) {
        r = t_ship_block(&s, i);
    }
    r = r < 0 ? r : t_flush(&s);
    s.end.root = ship->result->root;
    t_last_shipped.data_bytes = s.end.data_bytes;
    t_last_shipped.durable_bytes = br_replica_durable(replica);
    if (r == 0) {
        r = br_replica_commit(replica, &s.end, ship->recheck_bytes, ret_result, reterr);
    } else if (begun && r != -BR_E_CANCELLED) {
        br_replica_abort(replica);
    }
    free(s.facts);
    free(s.data);
    return r;
}
