// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/mend.h"

#include <assert.h>

#include "engine/base/units.h"
#include "engine/map/tree_node.h"
#include "engine/repo/block.h"
#include "engine/repo/lease.h"

#define MEND_FRAMES     8u // at least the two of one block, and one of a node
#define MEND_WINDOW     16u
#define MEND_TOLD       (100 * BR_NS_PER_MS)
#define MEND_REMEMBERED 1024u

static_assert(MEND_WINDOW * BR_BLOCK_BYTES <= 1024 * 1024, "a window fits into one buffer of the ring");

// What the source holds below a place of a tree, as it was found when it was read for a node that is lost.
struct found {
    bool known;
    bool whole; // all of it could be read, and hash counts
    uint8_t level;
    uint64_t index;
    uint64_t size_bytes; // of the volume: where it is cut
    struct br_hash hash;
};

struct level {
    struct br_tree_node *node;   // of the point
    struct br_tree_node *before; // of the one before it, at the same place
    struct br_tree_node *built;  // from the source
};

struct mend {
    const struct br_mend_params *params;
    struct br_mend_result *result;
    struct br_ring *ring;
    struct br_writer *writer;
    struct br_frames *frames;
    uint8_t *buffer; // of the ring: a window of the source
    struct br_io reads[MEND_WINDOW];
    unsigned reading;
    struct level levels[BR_TREE_LEVELS_MAX + 1];
    uint8_t scratch[BR_TREE_NODE_BYTES_MAX];
    struct found found[MEND_REMEMBERED];
    // The point that is looked at, and the one before it where both are in one domain and of one height.
    struct br_repo_version version;
    struct br_repo_version before;
    struct br_tree_shape shape;
    struct br_tree_shape before_shape;
    struct br_mend_progress progress;
    uint64_t told_ns;
};

// Returns -BR_E_CANCELLED when that is asked for.
static int tell(struct mend *m, uint64_t block, struct br_err *reterr)
{
    const struct br_mend_params *params = m->params;
    uint64_t now_ns = br_ring_now_ns(m->ring);

    if (params->progress && now_ns - m->told_ns >= MEND_TOLD) {
        struct br_mend_progress at = m->progress;

        m->told_ns = now_ns;
        at.position_bytes += BR_MIN(block * BR_BLOCK_BYTES, m->shape.geometry.size_bytes);
        params->progress(params->ctx, &at);
    }
    return params->cancel && *params->cancel ? br_err_set(reterr, BR_E_CANCELLED, "mending the points") : 0;
}

// The source --------------------------------------------------------------------------------------------------------------------------

static void was_read(struct br_io *io)
{
    struct mend *m = io->ctx;

    m->reading--;
}

// Begins to read a block into its place in the window. One that the source does not have whole is not read, and comes out as cut.
static void read_block(struct mend *m, unsigned slot, uint64_t block)
{
    uint32_t len = br_block_bytes(&m->shape.geometry, block);
    struct br_io *io = &m->reads[slot];

    *io = (struct br_io){.op = BR_IO_READ,
                         .file = m->params->source,
                         .buf = m->buffer + (size_t)slot * BR_BLOCK_BYTES,
                         .len_bytes = len,
                         .offset_bytes = block * BR_BLOCK_BYTES,
                         .done = was_read,
                         .ctx = m};
    if (br_range_ok(io->offset_bytes, len, m->params->source_bytes)) {
        m->reading++;
        m->result->source_bytes += len;
        br_ring_submit(m->ring, io);
    }
}

static void wait_for_reads(struct mend *m)
{
    while (m->reading) {
        br_ring_wait(m->ring, UINT64_MAX);
    }
}

// Of a block that was read: 1 and its leaf, 0 the source has none, or -BR_E_* it can't be read, which is told.
static int leaf_of(struct mend *m, unsigned slot, struct br_hash *ret_leaf)
{
    const struct br_io *io = &m->reads[slot];
    struct br_err err = {0};

    if (io->result < 0) {
        if (m->params->unreadable) {
            br_err_set(&err, -io->result, "the source at %llu can't be read", (unsigned long long)io->offset_bytes);
            m->params->unreadable(m->params->ctx, io->offset_bytes, &err);
        }
        return io->result;
    }
    if (io->done_bytes < io->len_bytes) {
        return 0;
    }
    br_leaf_hash(io->buf, io->len_bytes, ret_leaf);
    return 1;
}

// Does the source hold nothing but a hole there? What can't be told is no hole.
static bool is_hole(struct mend *m, uint64_t first, uint64_t end)
{
    uint64_t from = first * BR_BLOCK_BYTES, to = BR_MIN(end * BR_BLOCK_BYTES, m->shape.geometry.size_bytes);
    uint64_t data, data_end;

    return to <= m->params->source_bytes && !br_file_next_data(m->params->source, from, &data, &data_end, NULL) &&
           data >= to;
}

// Nodes that are lost -----------------------------------------------------------------------------------------------------------------

static struct found *found_at(struct mend *m, uint8_t level, uint64_t index)
{
    uint64_t mixed = (index * 8 + level) * UINT64_C(0x9e3779b97f4a7c15);

    return &m->found[mixed >> 32 & (MEND_REMEMBERED - 1)];
}

static bool is_found(const struct mend *m, const struct found *found, uint8_t level, uint64_t index)
{
    return found->known && found->level == level && found->index == index &&
           found->size_bytes == m->shape.geometry.size_bytes;
}

// Leaves of a level 1 node, from the source. Returns 1, 0 it does not have them all.
static int build_leaves(struct mend *m, uint64_t first, uint64_t end, struct br_tree_node *node, struct br_err *reterr)
{
    int rc = 1;

    for (uint64_t at = first; rc > 0 && at < end; at += MEND_WINDOW) {
        unsigned count = (unsigned)BR_MIN(end - at, (uint64_t)MEND_WINDOW);

        for (unsigned i = 0; i < count; i++) {
            read_block(m, i, at + i);
        }
        wait_for_reads(m);
        for (unsigned i = 0; rc > 0 && i < count; i++) {
            rc = BR_MAX(leaf_of(m, i, &node->hashes[at + i - first]), 0);
        }
        int told = tell(m, at, reterr);
        rc = told < 0 ? told : rc;
    }
    return rc;
}

static int build(struct mend *m, uint8_t level, uint64_t index, struct br_hash *ret_hash, struct br_err *reterr);

// What the source says of a subtree, from memory where it was read before.
static int build_child(struct mend *m, uint8_t level, uint64_t index, struct br_hash *ret_hash, struct br_err *reterr)
{
    const struct found *found = found_at(m, level, index);

    if (is_found(m, found, level, index)) {
        *ret_hash = found->hash;
        return found->whole;
    }
    return build(m, level, index, ret_hash, reterr);
}

// The node that the source would have at this place, into levels[level].built. Returns 1 and its hash, 0 the source does not have all of it.
static int build(struct mend *m, uint8_t level, uint64_t index, struct br_hash *ret_hash, struct br_err *reterr)
{
    struct br_tree_node *node = m->levels[level].built;
    uint64_t first = br_tree_first_block(level, index);
    uint64_t end = BR_MIN(br_tree_end_block(level, index), m->shape.geometry.block_count);
    int rc = 1;

    br_tree_node_clear(node);
    if (is_hole(m, first, end)) {
        rc = 1;
    } else if (level == 1) {
        rc = build_leaves(m, first, end, node, reterr);
    } else {
        for (uint64_t child = index * BR_FANOUT, nth = 0;
             rc > 0 && nth < BR_FANOUT && br_tree_first_block((uint8_t)(level - 1), child) < end; child++, nth++) {
            rc = build_child(m, (uint8_t)(level - 1), child, &node->hashes[nth], reterr);
            node->refs[nth] = br_hash_equal(&node->hashes[nth], &br_hash_zero) ? 0 : 1;
        }
    }
    if (rc < 0) {
        return rc;
    }
    br_tree_node_hash(node, ret_hash);
    *found_at(m, level, index) = (struct found){.known = true,
                                                .whole = rc > 0,
                                                .level = level,
                                                .index = index,
                                                .size_bytes = m->shape.geometry.size_bytes,
                                                .hash = *ret_hash};
    return rc;
}

// Puts a lost node together from the source, into levels[level].node and, encoded, into the scratch. Returns its length, 0 it is another one there.
static int rebuild(struct mend *m, uint8_t level, uint64_t index, const struct br_tree_link *link,
                   struct br_err *reterr)
{
    const struct found *found = found_at(m, level, index);
    struct br_hash hash;

    if (is_found(m, found, level, index) && (!found->whole || !br_hash_equal(&found->hash, &link->hash))) {
        return 0;
    }
    int rc = build(m, level, index, &hash, reterr);
    if (rc <= 0 || !br_hash_equal(&hash, &link->hash)) {
        return BR_MIN(rc, 0);
    }
    size_t len = br_tree_node_encode(m->levels[level].built, m->scratch);
    rc = br_tree_node_check(&m->shape, link, level, index, m->scratch, len, m->levels[level].node, reterr);
    return rc < 0 ? rc : (int)len;
}

// The tree ----------------------------------------------------------------------------------------------------------------------------

// Is the store not to be asked any more, or the index, or memory? All else that a read says is that the chunk is lost.
static bool is_final(int rc)
{
    return br_store_is_lost(rc) || rc == -BR_E_NOMEM || rc == -BR_E_CANCELLED || rc == -BR_E_INTERNAL;
}

// The node into levels[level].node, stored anew where it is in no sound pack. Returns 1, 0 it is lost.
static int take_node(struct mend *m, uint8_t level, uint64_t index, const struct br_tree_link *link,
                     struct br_err *reterr)
{
    struct br_chunk_entry chunk = {.kind = BR_CHUNK_NODE};
    struct br_tree_node *node = m->levels[level].node;
    struct br_err err = {0};
    int rc = br_chunk_id_node(m->version.domain, &link->hash, &chunk.id, reterr);
    int sound = rc < 0 ? rc : br_writer_has(m->writer, &chunk.id, reterr);

    if (sound < 0) {
        return sound;
    }
    int len = br_repo_fetch_node(m->frames, m->version.domain, link, m->scratch, &err);
    rc = len < 0 ? len : br_tree_node_check(&m->shape, link, level, index, m->scratch, (size_t)len, node, &err);
    if (is_final(rc)) {
        if (reterr) {
            *reterr = err;
        }
        return rc;
    }
    if (rc < 0) {
        len = rebuild(m, level, index, link, reterr);
        m->result->nodes_lost += !len;
    }
    if (len <= 0 || sound) {
        return len < 0 ? len : len > 0;
    }
    chunk.len_bytes = (uint32_t)len;
    rc = br_writer_put(m->writer, &chunk, m->scratch, reterr);
    m->result->nodes += rc > 0;
    return rc < 0 ? rc : 1;
}

// Blocks of a level 1 node that are in no sound pack.
struct lost {
    unsigned count;
    uint64_t blocks[BR_FANOUT];
    struct br_chunk_id ids[BR_FANOUT];
    struct br_hash leaves[BR_FANOUT];
};

static int put_block(struct mend *m, const struct lost *lost, unsigned nth, const uint8_t *bytes, struct br_err *reterr)
{
    const struct br_chunk_entry chunk = {.kind = BR_CHUNK_BLOCK,
                                         .len_bytes = br_block_bytes(&m->shape.geometry, lost->blocks[nth]),
                                         .id = lost->ids[nth]};

    return br_writer_put(m->writer, &chunk, bytes, reterr);
}

// What is readable in a pack that is damaged elsewhere stays in no doubt: the rest is what the source is asked for.
static int keep_readable(struct mend *m, struct lost *lost, struct br_err *reterr)
{
    unsigned left = 0;
    int rc = 0;

    for (unsigned i = 0; rc >= 0 && i < lost->count; i++) {
        struct br_block_read block = {.leaf = lost->leaves[i], .result = -BR_E_NOT_FOUND};

        if (br_block_mend(&block, m->params->repo, m->frames, m->version.domain, m->buffer,
                          br_block_bytes(&m->shape.geometry, lost->blocks[i]))) {
            rc = put_block(m, lost, i, m->buffer, reterr);
            m->result->blocks_kept += rc > 0;
            continue;
        }
        lost->blocks[left] = lost->blocks[i];
        lost->ids[left] = lost->ids[i];
        lost->leaves[left++] = lost->leaves[i];
    }
    lost->count = left;
    return BR_MIN(rc, 0);
}

static int from_source(struct mend *m, const struct lost *lost, unsigned from, unsigned count, struct br_err *reterr)
{
    struct br_hash leaf;
    int rc = 0;

    for (unsigned i = 0; i < count; i++) {
        read_block(m, i, lost->blocks[from + i]);
    }
    wait_for_reads(m);
    for (unsigned i = 0; rc >= 0 && i < count; i++) {
        int read = leaf_of(m, i, &leaf);

        if (read < 0) {
            m->result->blocks_unreadable++;
        } else if (!read || !br_hash_equal(&leaf, &lost->leaves[from + i])) {
            m->result->blocks_other++;
        } else {
            rc = put_block(m, lost, from + i, m->reads[i].buf, reterr);
            m->result->blocks_source += rc > 0;
        }
    }
    return BR_MIN(rc, 0);
}

static int mend_leaves(struct mend *m, uint64_t index, const struct br_tree_node *before, struct br_err *reterr)
{
    const struct br_tree_node *node = m->levels[1].node;
    struct lost *lost = malloc(sizeof(*lost));
    int rc = lost ? 0 : br_err_set(reterr, BR_E_NOMEM, "blocks that are lost");

    for (unsigned i = 0; rc >= 0 && i < BR_FANOUT; i++) {
        const struct br_hash *leaf = &node->hashes[i];

        lost->count = i ? lost->count : 0;
        if (br_leaf_is_special(leaf) || (before && br_hash_equal(leaf, &before->hashes[i]))) {
            continue;
        }
        rc = br_chunk_id_leaf(m->version.domain, leaf, &lost->ids[lost->count], reterr);
        rc = rc < 0 ? rc : br_writer_has(m->writer, &lost->ids[lost->count], reterr);
        if (!rc) {
            lost->blocks[lost->count] = br_tree_first_block(1, index) + i;
            lost->leaves[lost->count++] = *leaf;
        }
    }
    rc = rc < 0 || !lost->count ? rc : keep_readable(m, lost, reterr);
    for (unsigned at = 0; rc >= 0 && at < lost->count; at += MEND_WINDOW) {
        rc = from_source(m, lost, at, BR_MIN(lost->count - at, MEND_WINDOW), reterr);
    }
    free(lost);
    return rc < 0 ? rc : tell(m, br_tree_end_block(1, index), reterr);
}

// The node of the point before at the same place, whose blocks were looked at already; NULL there is none, or it is lost.
static const struct br_tree_node *before_at(struct mend *m, uint8_t level, uint64_t index,
                                            const struct br_tree_link *link)
{
    struct br_tree_node *node = m->levels[level].before;

    return link && !br_tree_load(&m->before_shape, &m->before.store, link, level, index, m->scratch, node, NULL) ? node
                                                                                                                 : NULL;
}

// Everything below one link that the point before does not have at the same place.
static int walk(struct mend *m, uint8_t level, uint64_t index, const struct br_tree_link *link,
                const struct br_tree_link *was, struct br_err *reterr)
{
    if ((was && br_hash_equal(&link->hash, &was->hash)) ||
        br_tree_shape_special(&m->shape, &link->hash, level, index)) {
        return 0;
    }
    const struct br_tree_node *before = before_at(m, level, index, was);
    int rc = take_node(m, level, index, link, reterr);
    if (rc <= 0) {
        return rc;
    }
    if (level == 1) {
        return mend_leaves(m, index, before, reterr);
    }
    const struct br_tree_node *node = m->levels[level].node;
    for (unsigned i = 0; rc >= 0 && i < BR_FANOUT; i++) {
        const struct br_tree_link child = {.hash = node->hashes[i], .ref = node->refs[i]};
        struct br_tree_link child_was;

        if (before) {
            child_was = (struct br_tree_link){.hash = before->hashes[i], .ref = before->refs[i]};
        }
        rc = walk(m, (uint8_t)(level - 1), index * BR_FANOUT + i, &child, before ? &child_was : NULL, reterr);
    }
    return rc;
}

// @before  the one looked at last; NULL none
static int mend_point(struct mend *m, const struct br_point *point, const struct br_point *before,
                      struct br_err *reterr)
{
    struct br_repo *repo = m->params->repo;
    int rc = br_repo_version_open(repo, m->frames, point, &m->version, reterr);

    if (!rc && before && br_uuid_equal(&before->domain, &point->domain)) {
        rc = br_repo_version_open(repo, m->frames, before, &m->before, reterr);
    }
    if (!rc) {
        const struct br_tree *tree = &m->version.tree, *was = &m->before.tree;
        bool alike = m->before.domain && was->geometry.levels == tree->geometry.levels;

        br_tree_shape_init(&m->shape, &tree->geometry);
        br_tree_shape_init(&m->before_shape, alike ? &was->geometry : &tree->geometry);
        rc = walk(m, tree->geometry.levels, 0, &tree->top, alike ? &was->top : NULL, reterr);
    }
    br_repo_version_close(&m->version);
    br_repo_version_close(&m->before);
    m->progress.position_bytes += point->size_bytes;
    return BR_MIN(rc, 0);
}

static int open_all(struct mend *m, struct br_lease *lease, struct br_err *reterr)
{
    const struct br_mend_params *params = m->params;
    const struct br_writer_params writer = {
        .repo = params->repo, .run = lease->run, .level = params->level, .repair = params->repair};
    int rc = br_frames_open(params->repo, MEND_FRAMES, &m->frames, reterr);

    for (uint8_t level = 1; !rc && level <= BR_TREE_LEVELS_MAX; level++) {
        struct level *of = &m->levels[level];

        of->node = br_tree_node_new(level);
        of->before = br_tree_node_new(level);
        of->built = br_tree_node_new(level);
        rc = of->node && of->before && of->built ? 0 : br_err_set(reterr, BR_E_NOMEM, "a path of the tree");
    }
    if (!rc && !(m->buffer = br_ring_buffer_get(m->ring))) {
        rc = br_err_set(reterr, BR_E_NOMEM, "no buffer is free");
    }
    return rc < 0 ? rc : br_writer_open(&writer, &m->writer, reterr);
}

static void close_all(struct mend *m)
{
    if (m->writer) {
        m->result->counts = *br_writer_counts_of(m->writer);
    }
    br_writer_close(m->writer);
    br_frames_close(m->frames);
    if (m->buffer) {
        br_ring_buffer_put(m->ring, m->buffer);
    }
    for (uint8_t level = 1; level <= BR_TREE_LEVELS_MAX; level++) {
        free(m->levels[level].node);
        free(m->levels[level].before);
        free(m->levels[level].built);
    }
}

int br_mend(const struct br_mend_params *params, struct br_mend_result *ret_result, struct br_err *reterr)
{
    struct mend *m = calloc(1, sizeof(*m));
    struct br_lease lease = {.volume = params->points->volume};

    *ret_result = (struct br_mend_result){0};
    if (!m) {
        return br_err_set(reterr, BR_E_NOMEM, "mending");
    }
    m->params = params;
    m->result = ret_result;
    m->ring = br_repo_ring_of(params->repo);
    for (size_t i = 0; i < params->point_count; i++) {
        m->progress.size_bytes += params->points[i].size_bytes;
    }
    lease.run = br_ring_new_uuid(m->ring);
    lease.point = br_ring_new_uuid(m->ring); // that of one that is there would have ended it
    int rc = br_lease_take(params->repo, &lease, reterr);
    bool leased = !rc;
    rc = rc < 0 ? rc : open_all(m, &lease, reterr);
    for (size_t i = 0; !rc && i < params->point_count; i++) {
        rc = mend_point(m, &params->points[i], i ? &params->points[i - 1] : NULL, reterr);
    }
    rc = rc < 0 ? rc : br_writer_settle(m->writer, reterr);
    rc = rc < 0 ? rc : br_lease_held(params->repo, &lease, reterr);
    close_all(m);
    if (leased) {
        br_lease_drop(params->repo, &lease);
    }
    free(m);
    return rc;
}
