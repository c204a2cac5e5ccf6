// SPDX-License-Identifier: Apache-2.0
//
// Writing a version: blocks come ascending, so at any moment one node per level is open, from the top down to some level. An open node
// starts as the parent's; what is put or filled changes it; when the writer has gone past it, it is closed: encoded, kept, and linked
// into the node above. A node that nothing changed is not written: its old link stays.
//
//     top   [ . . a . . ]      open[2]: children left of a are done, right of a still the parent's
//                 |
//     leaves    [ . b . ]      open[1]: b is the last block put
//
// Parent of another size. Let m be the number of blocks that both have. A subtree that lies wholly below m, or that both ends cut alike,
// is taken over by its link. The subtrees over block m - 1 that the ends cut differently are one path, the seam: it is opened in any
// case (`seam` in an open node names the child that is still to be opened), cut or widened, and closed again: O(levels). On levels that
// the parent does not have, the seam goes through child 0 of nodes that are made here. The leaf at m - 1, when its length changes, is
// set to UNKNOWN unless it is ZERO: the old one can't be right, and nothing may claim that it is.
//
// Parent in another store: what would be taken over by its link is copied instead, when the node above it is closed.
#include "engine/map/tree_node.h"

#include <assert.h>

struct open_node {
    bool is_open;
    bool changed;
    uint64_t index;
    struct br_tree_link before; // what linked to it; stays when nothing changed
    int seam;                   // child that is on the seam and not yet opened, else -1
    bool ours[BR_FANOUT];       // children whose link is into the writer's store already
    struct br_tree_node *node;
};

struct br_tree_writer {
    struct br_tree_shape shape;
    struct br_tree_store store;
    struct br_tree_shape parent_shape;
    struct br_tree_store parent_store;
    struct br_tree_link
        top;      // of the part of the parent that fits the new levels; of the new version once the top was closed
    bool foreign; // the parent's nodes are in another store
    uint64_t next_block;
    int failed; // the first error; after it nothing goes on
    struct open_node open[BR_TREE_LEVELS_MAX + 1];
    uint8_t scratch[BR_TREE_NODE_BYTES_MAX];
};

static uint64_t common_blocks(const struct br_tree_writer *writer)
{
    return BR_MIN(writer->shape.geometry.block_count, writer->parent_shape.geometry.block_count);
}

// True when the subtree can't be taken over from the parent as it is, because the volume's end moved in it.
static bool on_seam(const struct br_tree_writer *writer, uint8_t level, uint64_t index)
{
    const struct br_tree_geometry *now = &writer->shape.geometry, *before = &writer->parent_shape.geometry;
    const uint64_t common = common_blocks(writer);
    const uint64_t end = br_tree_end_block(level, index);

    if (!common || common <= br_tree_first_block(level, index) || common > end) {
        return false;
    }
    return level > before->levels || BR_MIN(end, now->block_count) != BR_MIN(end, before->block_count) ||
           br_block_bytes(now, common - 1) != br_block_bytes(before, common - 1);
}

// A parent with more levels than the new version: what is left of it hangs below child 0 of each level above.
static int descend_parent(struct br_tree_writer *writer, struct br_err *reterr)
{
    uint8_t level = writer->parent_shape.geometry.levels;

    for (; level > writer->shape.geometry.levels && writer->shape.geometry.block_count; level--) {
        struct br_tree_node *node = br_tree_node_new(level);
        if (!node) {
            return br_err_set(reterr, BR_E_NOMEM, "tree writer");
        }
        int rc = br_tree_load(&writer->parent_shape, writer->parent_store.fetch ? &writer->parent_store : NULL,
                              &writer->top, level, 0, writer->scratch, node, reterr);
        if (!rc) {
            writer->top = (struct br_tree_link){node->hashes[0], node->refs[0]};
        }
        free(node);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int br_tree_writer_open(const struct br_tree_geometry *geometry, const struct br_tree *parent,
                        const struct br_tree_store *parent_store, const struct br_tree_store *store,
                        struct br_tree_writer **ret_writer, struct br_err *reterr)
{
    struct br_tree nothing;

    if (!parent) {
        br_tree_empty(geometry, &br_hash_zero, &nothing);
        parent = &nothing;
    }
    struct br_tree_writer *writer = calloc(1, sizeof(*writer));
    if (!writer) {
        return br_err_set(reterr, BR_E_NOMEM, "tree writer");
    }
    br_tree_shape_init(&writer->shape, geometry);
    br_tree_shape_init(&writer->parent_shape, &parent->geometry);
    writer->store = *store;
    writer->top = geometry->block_count ? parent->top : (struct br_tree_link){0};
    if (parent_store) {
        writer->parent_store = *parent_store;
        writer->foreign = parent_store->fetch != store->fetch || parent_store->ctx != store->ctx;
    }
    int rc = descend_parent(writer, reterr);
    for (uint8_t level = 1; !rc && level <= geometry->levels; level++) {
        writer->open[level].node = br_tree_node_new(level);
        rc = writer->open[level].node ? 0 : br_err_set(reterr, BR_E_NOMEM, "tree writer");
    }
    if (rc < 0) {
        br_tree_writer_close(writer);
        return rc;
    }
    *ret_writer = writer;
    return 0;
}

void br_tree_writer_close(struct br_tree_writer *writer)
{
    if (!writer) {
        return;
    }
    for (unsigned level = 0; level <= BR_TREE_LEVELS_MAX; level++) {
        free(writer->open[level].node);
    }
    free(writer);
}

// What was the parent's is cut at the new end; a tail block of another length is no longer known.
static void cut_node(const struct br_tree_writer *writer, struct open_node *open)
{
    struct br_tree_node *node = open->node;
    const uint64_t child_blocks = br_tree_end_block(node->level - 1, 0);
    const uint64_t first = br_tree_first_block(node->level, open->index);
    const uint64_t seam_block = common_blocks(writer) - 1;
    const unsigned seam_child = (unsigned)((seam_block - first) / child_blocks);

    for (unsigned child = 0; child < BR_FANOUT; child++) {
        if (first + child * child_blocks >= writer->shape.geometry.block_count) {
            node->hashes[child] = br_hash_zero;
            node->refs[child] = 0;
            if (node->pages) {
                memset(node->pages[child], 0, sizeof(node->pages[child]));
            }
        }
    }
    if (br_hash_equal(&node->hashes[seam_child], &br_hash_zero)) {
        return;
    }
    if (node->level > 1) {
        open->seam = on_seam(writer, node->level - 1, open->index * BR_FANOUT + seam_child) ? (int)seam_child : -1;
    } else if (br_block_bytes(&writer->shape.geometry, seam_block) !=
               br_block_bytes(&writer->parent_shape.geometry, seam_block)) {
        node->hashes[seam_child] = br_hash_unknown;
        memset(node->pages[seam_child], 0, sizeof(node->pages[seam_child]));
    }
}

// Opens the node at @level that @index names; the one above is open.
static int open_node(struct br_tree_writer *writer, uint8_t level, uint64_t index, struct br_err *reterr)
{
    struct open_node *open = &writer->open[level];
    const struct br_tree_store *store = writer->parent_store.fetch ? &writer->parent_store : NULL;
    struct br_tree_link link = writer->top;

    if (level < writer->shape.geometry.levels) {
        const struct br_tree_node *above = writer->open[level + 1].node;
        link = (struct br_tree_link){above->hashes[index % BR_FANOUT], above->refs[index % BR_FANOUT]};
    }
    open->index = index;
    open->before = link;
    open->seam = -1;
    open->changed = false;
    memset(open->ours, 0, sizeof(open->ours));
    if (level > writer->parent_shape.geometry.levels) {
        br_tree_node_clear(open->node);
        if (index == 0) {
            open->node->hashes[0] = link.hash;
            open->node->refs[0] = link.ref;
        }
    } else {
        int rc = br_tree_load(&writer->parent_shape, store, &link, level, index, writer->scratch, open->node, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    if (on_seam(writer, level, index) && !br_hash_equal(&link.hash, &br_hash_zero)) {
        cut_node(writer, open);
        open->changed = true;
    }
    open->changed |= writer->foreign && link.ref;
    open->is_open = true;
    return 0;
}

// A node whose leaves are all one special leaf is not stored.
static const struct br_hash *uniform_leaf(const struct br_tree_shape *shape, const struct br_tree_node *node,
                                          uint64_t index)
{
    const uint8_t below = node->level - 1;
    const struct br_hash *leaf = br_tree_shape_special(shape, &node->hashes[0], below, index * BR_FANOUT);
    struct br_tree_link link;

    for (unsigned child = 1; leaf && child < BR_FANOUT; child++) {
        br_tree_shape_uniform(shape, leaf, below, index * BR_FANOUT + child, &link);
        if (!br_hash_equal(&link.hash, &node->hashes[child])) {
            return NULL;
        }
    }
    return leaf;
}

static int keep_node(struct br_tree_writer *writer, const struct open_node *open, struct br_tree_link *ret_link,
                     struct br_err *reterr)
{
    const struct br_hash *leaf = uniform_leaf(&writer->shape, open->node, open->index);

    if (leaf) {
        br_tree_shape_uniform(&writer->shape, leaf, open->node->level, open->index, ret_link);
        return 0;
    }
    br_tree_node_hash(open->node, &ret_link->hash);
    size_t len = br_tree_node_encode(open->node, writer->scratch);
    return writer->store.keep(writer->store.ctx, &ret_link->hash, writer->scratch, len, &ret_link->ref, reterr);
}

// The children that are still the parent's, in its other store.
static int copy_children(struct br_tree_writer *writer, struct open_node *open, struct br_err *reterr)
{
    struct br_tree_node *node = open->node;

    for (unsigned child = 0; child < BR_FANOUT; child++) {
        if (open->ours[child] || !node->refs[child]) {
            continue;
        }
        struct br_tree_link link = {node->hashes[child], node->refs[child]};
        int rc = br_tree_copy_link(&writer->parent_shape, &writer->parent_store, &writer->store, node->level - 1,
                                   open->index * BR_FANOUT + child, &link, reterr);
        if (rc < 0) {
            return rc;
        }
        node->refs[child] = link.ref;
    }
    return 0;
}

static void link_child(struct open_node *open, unsigned child, const struct br_tree_link *link)
{
    struct br_tree_node *node = open->node;

    open->ours[child] = true;
    if (open->seam == (int)child) {
        open->seam = -1;
    }
    if (!br_hash_equal(&node->hashes[child], &link->hash) || node->refs[child] != link->ref) {
        node->hashes[child] = link->hash;
        node->refs[child] = link->ref;
        open->changed = true;
    }
}

// Closes the open node at @level, the lowest open one, and links it into the one above.
static int close_node(struct br_tree_writer *writer, uint8_t level, struct br_err *reterr)
{
    struct open_node *open = &writer->open[level];
    struct br_tree_link link = open->before;
    int rc = 0;

    while (!rc && open->seam >= 0) {
        rc = open_node(writer, level - 1, open->index * BR_FANOUT + (unsigned)open->seam, reterr);
        rc = rc ? rc : close_node(writer, level - 1, reterr);
    }
    if (!rc && open->changed && writer->foreign) {
        rc = copy_children(writer, open, reterr);
    }
    if (!rc && open->changed) {
        rc = keep_node(writer, open, &link, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    open->is_open = false;
    if (level == writer->shape.geometry.levels) {
        writer->top = link;
    } else {
        link_child(&writer->open[level + 1], open->index % BR_FANOUT, &link);
    }
    return 0;
}

// Makes the node at @level over @block the lowest open one.
static int go_to(struct br_tree_writer *writer, uint8_t level, uint64_t block, struct br_err *reterr)
{
    const uint8_t levels = writer->shape.geometry.levels;
    uint8_t lowest = 1;
    int rc = 0;

    for (; lowest <= levels && !rc; lowest++) {
        const struct open_node *open = &writer->open[lowest];
        if (!open->is_open) {
            continue;
        }
        if (lowest >= level && open->index == block >> (8 * lowest)) {
            break;
        }
        rc = close_node(writer, lowest, reterr);
    }
    while (!rc && lowest > level) {
        lowest--;
        rc = open_node(writer, lowest, block >> (8 * lowest), reterr);
    }
    return rc;
}

// Every call of the caller's passes here; after a failure the open nodes are half done and nothing may go on.
static int check_range(struct br_tree_writer *writer, uint64_t block, uint64_t count, struct br_err *reterr)
{
    if (writer->failed) {
        return br_err_set(reterr, -writer->failed, "tree writer: an earlier call failed");
    }
    if (block < writer->next_block || !br_range_ok(block, count, writer->shape.geometry.block_count)) {
        return br_err_set(reterr, BR_E_INTERNAL, "tree writer: blocks %llu+%llu after %llu of %llu",
                          (unsigned long long)block, (unsigned long long)count, (unsigned long long)writer->next_block,
                          (unsigned long long)writer->shape.geometry.block_count);
    }
    return 0;
}

// The leaf and page hashes of one block in an open level 1 node. Same leaf, same content: page hashes known before stay known.
static void set_leaf(struct open_node *open, unsigned child, const struct br_hash *leaf, const uint64_t *pages)
{
    uint64_t *known = open->node->pages[child];

    if (!br_hash_equal(&open->node->hashes[child], leaf)) {
        open->node->hashes[child] = *leaf;
        memset(known, 0, sizeof(open->node->pages[child]));
        open->changed = true;
    }
    if (!pages || br_hash_special(leaf)) {
        return;
    }
    for (unsigned page = 0; page < BR_PAGES_PER_BLOCK; page++) {
        if (pages[page] && known[page] != pages[page]) {
            known[page] = pages[page];
            open->changed = true;
        }
    }
}

int br_tree_put(struct br_tree_writer *writer, uint64_t block, const struct br_hash *leaf, const uint64_t *pages,
                struct br_err *reterr)
{
    int rc = check_range(writer, block, 1, reterr);

    if (rc < 0) {
        return rc;
    }
    struct open_node *open = &writer->open[1];
    if (!open->is_open || open->index != block / BR_FANOUT) {
        rc = go_to(writer, 1, block, reterr);
        if (rc < 0) {
            writer->failed = rc;
            return rc;
        }
    }
    set_leaf(open, block % BR_FANOUT, leaf, pages);
    writer->next_block = block + 1;
    return 0;
}

// The greatest level whose subtree begins at @block and ends, cut, at or before @end.
static uint8_t level_that_fits(const struct br_tree_writer *writer, uint64_t block, uint64_t end)
{
    const struct br_tree_geometry *geometry = &writer->shape.geometry;
    uint8_t level = 0;

    while (level < geometry->levels) {
        const uint64_t index = block >> (8 * (level + 1));
        if (br_tree_first_block(level + 1, index) != block ||
            BR_MIN(br_tree_end_block(level + 1, index), geometry->block_count) > end) {
            break;
        }
        level++;
    }
    return level;
}

static int fill_subtree(struct br_tree_writer *writer, uint8_t level, uint64_t block, const struct br_hash *leaf,
                        struct br_err *reterr)
{
    const uint64_t index = block >> (8 * level);
    struct br_tree_link link;

    br_tree_shape_uniform(&writer->shape, leaf, level, index, &link);
    if (level == writer->shape.geometry.levels) {
        assert(!writer->open[level].is_open);
        writer->parent_shape = writer->shape;
        writer->foreign = false;
        writer->top = link;
        return 0;
    }
    int rc = go_to(writer, level + 1, block, reterr);
    if (rc < 0) {
        return rc;
    }
    if (level == 0) {
        set_leaf(&writer->open[1], index % BR_FANOUT, leaf, NULL);
    } else {
        link_child(&writer->open[level + 1], index % BR_FANOUT, &link);
    }
    return 0;
}

int br_tree_fill(struct br_tree_writer *writer, uint64_t block, uint64_t count, const struct br_hash *leaf,
                 struct br_err *reterr)
{
    int rc = check_range(writer, block, count, reterr);

    if (rc < 0) {
        return rc;
    }
    if (!br_hash_special(leaf)) {
        return br_err_set(reterr, BR_E_INTERNAL, "tree writer: fill with a leaf that is not special");
    }
    for (const uint64_t end = block + count; block < end;) {
        const uint8_t level = level_that_fits(writer, block, end);
        rc = fill_subtree(writer, level, block, leaf, reterr);
        if (rc < 0) {
            writer->failed = rc;
            return rc;
        }
        block = BR_MIN(br_tree_end_block(level, block >> (8 * level)), end);
        writer->next_block = block;
    }
    return 0;
}

// The top has work to do even when nothing was put.
static bool top_must_open(const struct br_tree_writer *writer)
{
    const uint8_t levels = writer->shape.geometry.levels;

    return !writer->open[levels].is_open && !br_hash_equal(&writer->top.hash, &br_hash_zero) &&
           (on_seam(writer, levels, 0) || (writer->foreign && writer->top.ref));
}

int br_tree_finish(struct br_tree_writer *writer, struct br_tree *ret_tree, struct br_err *reterr)
{
    int rc = check_range(writer, writer->next_block, 0, reterr);

    if (rc < 0) {
        return rc;
    }
    if (top_must_open(writer)) {
        rc = open_node(writer, writer->shape.geometry.levels, 0, reterr);
    }
    for (uint8_t level = 1; !rc && level <= writer->shape.geometry.levels; level++) {
        if (writer->open[level].is_open) {
            rc = close_node(writer, level, reterr);
        }
    }
    if (rc < 0) {
        writer->failed = rc;
        return rc;
    }
    // What comes next is put onto what was just written.
    writer->parent_shape = writer->shape;
    writer->parent_store = writer->store;
    writer->foreign = false;
    *ret_tree = (struct br_tree){.geometry = writer->shape.geometry, .top = writer->top};
    return 0;
}
