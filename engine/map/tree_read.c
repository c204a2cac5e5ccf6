// SPDX-License-Identifier: Apache-2.0
//
// Reading a version tree: single leaves, runs, and what differs between two versions. A few nodes of each level are kept, the least
// recently used goes first; the path of an ascending reader therefore stays. Not reentrant: a store may run the ring while it fetches.
#include "engine/map/tree_node.h"

#include <assert.h>

#define SLOTS_LEAVES 4u // nodes of level 1 kept, about 42 KiB each
#define SLOTS_ABOVE  2u // nodes of every higher level kept, about 10 KiB each
#define SLOTS        (SLOTS_LEAVES + SLOTS_ABOVE * (BR_TREE_LEVELS_MAX - 1))

struct slot {
    struct br_tree_node *node; // NULL until first used
    bool valid;
    uint64_t index;
    uint64_t used;
};

struct br_tree_reader {
    struct br_tree tree;
    struct br_tree_store store;
    struct br_tree_shape shape;
    struct slot slots[SLOTS];
    uint64_t clock;
    uint8_t scratch[BR_TREE_NODE_BYTES_MAX];
};

int br_tree_reader_open(const struct br_tree *tree, const struct br_tree_store *store,
                        struct br_tree_reader **ret_reader, struct br_err *reterr)
{
    struct br_tree_reader *reader = calloc(1, sizeof(*reader));

    if (!reader) {
        return br_err_set(reterr, BR_E_NOMEM, "tree reader");
    }
    reader->tree = *tree;
    if (store) {
        reader->store = *store;
    }
    br_tree_shape_init(&reader->shape, &tree->geometry);
    *ret_reader = reader;
    return 0;
}

void br_tree_reader_close(struct br_tree_reader *reader)
{
    if (!reader) {
        return;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        free(reader->slots[i].node);
    }
    free(reader);
}

// The slot that holds the node, or the one to put it into.
static struct slot *find_slot(struct br_tree_reader *reader, uint8_t level, uint64_t index)
{
    const unsigned first = level == 1 ? 0 : SLOTS_LEAVES + SLOTS_ABOVE * (level - 2u);
    const unsigned count = level == 1 ? SLOTS_LEAVES : SLOTS_ABOVE;
    struct slot *oldest = &reader->slots[first];

    for (unsigned i = first; i < first + count; i++) {
        struct slot *slot = &reader->slots[i];
        if (slot->valid && slot->index == index) {
            return slot;
        }
        if (slot->used < oldest->used) {
            oldest = slot;
        }
    }
    return oldest;
}

static int get_node(struct br_tree_reader *reader, const struct br_tree_link *link, uint8_t level, uint64_t index,
                    const struct br_tree_node **ret_node, struct br_err *reterr)
{
    struct slot *slot = find_slot(reader, level, index);

    slot->used = ++reader->clock;
    if (!slot->valid || slot->index != index) {
        slot->valid = false;
        if (!slot->node) {
            slot->node = br_tree_node_new(level);
        }
        if (!slot->node) {
            return br_err_set(reterr, BR_E_NOMEM, "tree reader");
        }
        int rc = br_tree_load(&reader->shape, reader->store.fetch ? &reader->store : NULL, link, level, index,
                              reader->scratch, slot->node, reterr);
        if (rc < 0) {
            return rc;
        }
        slot->index = index;
        slot->valid = true;
    }
    *ret_node = slot->node;
    return 0;
}

// What is known about a block: the level 1 node that it is in, or the special leaf that its whole subtree at @level is made of.
struct place {
    const struct br_tree_node *node;
    const struct br_hash *leaf; // when node is NULL
    uint64_t end_block;         // up to where this holds, cut at the end of the volume
};

static int find_place(struct br_tree_reader *reader, uint64_t block, struct place *ret_place, struct br_err *reterr)
{
    const struct br_tree_node *node = NULL;
    struct br_tree_link link = reader->tree.top;
    uint8_t level = reader->tree.geometry.levels;

    *ret_place = (struct place){0};
    for (;; level--) {
        const uint64_t index = block >> (8 * level);
        ret_place->end_block = BR_MIN(br_tree_end_block(level, index), reader->tree.geometry.block_count);
        ret_place->leaf = br_tree_shape_special(&reader->shape, &link.hash, level, index);
        if (ret_place->leaf) {
            return 0;
        }
        int rc = get_node(reader, &link, level, index, &node, reterr);
        if (rc < 0) {
            return rc;
        }
        assert(node); // get_node gives one, or fails
        if (level == 1) {
            ret_place->node = node;
            return 0;
        }
        const unsigned child = block >> (8 * (level - 1)) & (BR_FANOUT - 1);
        link = (struct br_tree_link){node->hashes[child], node->refs[child]};
    }
}

static void copy_leaves(const struct place *place, uint64_t block, unsigned count, struct br_hash *leaves,
                        uint64_t *pages)
{
    const unsigned child = block % BR_FANOUT;

    if (place->node) {
        memcpy(leaves, &place->node->hashes[child], count * sizeof(*leaves));
        if (pages) {
            memcpy(pages, place->node->pages[child], count * sizeof(*place->node->pages));
        }
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        leaves[i] = *place->leaf;
    }
    if (pages) {
        memset(pages, 0, count * BR_PAGES_PER_BLOCK * sizeof(*pages));
    }
}

int br_tree_read(struct br_tree_reader *reader, uint64_t first, unsigned count, struct br_hash *ret_leaves,
                 uint64_t *ret_pages, struct br_err *reterr)
{
    for (unsigned done = 0, step; done < count; done += step) {
        struct place place = {.leaf = &br_hash_zero};
        step = count - done;
        if (first + done < reader->tree.geometry.block_count) {
            int rc = find_place(reader, first + done, &place, reterr);
            if (rc < 0) {
                return rc;
            }
            step = (unsigned)BR_MIN((uint64_t)step, place.end_block - (first + done));
        }
        copy_leaves(&place, first + done, step, ret_leaves + done,
                    ret_pages ? ret_pages + (size_t)done * BR_PAGES_PER_BLOCK : NULL);
    }
    return 0;
}

int br_tree_next_not(struct br_tree_reader *reader, uint64_t from, const struct br_hash *skip, uint64_t *ret_block,
                     struct br_err *reterr)
{
    const uint64_t block_count = reader->tree.geometry.block_count;
    uint64_t block = from;

    while (block < block_count) {
        struct place place;
        int rc = find_place(reader, block, &place, reterr);
        if (rc < 0) {
            return rc;
        }
        if (!place.node) {
            if (!br_hash_equal(place.leaf, skip)) {
                break;
            }
            block = place.end_block;
            continue;
        }
        while (block < place.end_block && br_hash_equal(&place.node->hashes[block % BR_FANOUT], skip)) {
            block++;
        }
        if (block < place.end_block) {
            break;
        }
    }
    *ret_block = BR_MIN(block, block_count);
    return 0;
}

int br_tree_next_is(struct br_tree_reader *reader, uint64_t from, const struct br_hash *leaf, uint64_t *ret_block,
                    struct br_err *reterr)
{
    const uint64_t block_count = reader->tree.geometry.block_count;
    uint64_t block = from;
    bool found = false;

    while (block < block_count && !found) {
        struct place place;
        int rc = find_place(reader, block, &place, reterr);
        if (rc < 0) {
            return rc;
        }
        if (!place.node) {
            found = br_hash_equal(place.leaf, leaf);
            block = found ? block : place.end_block;
            continue;
        }
        while (block < place.end_block && !br_hash_equal(&place.node->hashes[block % BR_FANOUT], leaf)) {
            block++;
        }
        found = block < place.end_block;
    }
    *ret_block = BR_MIN(block, block_count);
    return 0;
}

// One of the two versions that are compared: one node of each level.
struct side {
    const struct br_tree *tree;
    const struct br_tree_store *store;
    struct br_tree_shape shape;
    struct br_tree_node *nodes[BR_TREE_LEVELS_MAX + 1];
};

struct diff {
    struct side sides[2];
    br_tree_diff_fn *fn;
    void *ctx;
    uint8_t scratch[BR_TREE_NODE_BYTES_MAX];
};

// A tree with fewer levels is seen as the first child of tops that were put above it.
static int load_side(struct diff *diff, struct side *side, const struct br_tree_link *link, uint8_t level,
                     uint64_t index, struct br_err *reterr)
{
    struct br_tree_node *node = side->nodes[level];

    if (level <= side->tree->geometry.levels) {
        return br_tree_load(&side->shape, side->store, link, level, index, diff->scratch, node, reterr);
    }
    br_tree_node_clear(node);
    if (index == 0) {
        node->hashes[0] = link->hash;
        node->refs[0] = link->ref;
    }
    return 0;
}

static int diff_nodes(struct diff *diff, const struct br_tree_link links[2], uint8_t level, uint64_t index,
                      struct br_err *reterr)
{
    for (unsigned i = 0; i < 2; i++) {
        int rc = load_side(diff, &diff->sides[i], &links[i], level, index, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    const struct br_tree_node *old_node = diff->sides[0].nodes[level], *new_node = diff->sides[1].nodes[level];
    for (unsigned child = 0; child < BR_FANOUT; child++) {
        const struct br_tree_link children[2] = {{old_node->hashes[child], old_node->refs[child]},
                                                 {new_node->hashes[child], new_node->refs[child]}};
        const uint64_t child_index = index * BR_FANOUT + child;
        // Hashes of different levels are never equal but for ZERO, so this also holds above the lower tree's top.
        if (br_hash_equal(&children[0].hash, &children[1].hash)) {
            continue;
        }
        int rc = level == 1 ? diff->fn(diff->ctx, child_index, &children[0].hash, &children[1].hash)
                            : diff_nodes(diff, children, level - 1, child_index, reterr);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

int br_tree_diff(const struct br_tree *old_tree, const struct br_tree_store *old_store, const struct br_tree *new_tree,
                 const struct br_tree_store *new_store, br_tree_diff_fn *fn, void *ctx, struct br_err *reterr)
{
    const uint8_t levels = BR_MAX(old_tree->geometry.levels, new_tree->geometry.levels);
    struct br_tree_link links[2] = {old_tree->top, new_tree->top};
    int rc = 0;

    if (old_tree->geometry.levels == new_tree->geometry.levels &&
        br_hash_equal(&old_tree->top.hash, &new_tree->top.hash)) {
        return 0;
    }
    struct diff *diff = calloc(1, sizeof(*diff));
    if (!diff) {
        return br_err_set(reterr, BR_E_NOMEM, "tree diff");
    }
    diff->fn = fn;
    diff->ctx = ctx;
    for (unsigned i = 0; i < 2; i++) {
        diff->sides[i].tree = i ? new_tree : old_tree;
        diff->sides[i].store = i ? new_store : old_store;
        br_tree_shape_init(&diff->sides[i].shape, &diff->sides[i].tree->geometry);
        for (uint8_t level = 1; level <= levels; level++) {
            diff->sides[i].nodes[level] = br_tree_node_new(level);
            rc = diff->sides[i].nodes[level] ? rc : br_err_set(reterr, BR_E_NOMEM, "tree diff");
        }
    }
    if (!rc) {
        rc = diff_nodes(diff, links, levels, 0, reterr);
    }
    for (unsigned i = 0; i < 2 * (BR_TREE_LEVELS_MAX + 1); i++) {
        free(diff->sides[i / (BR_TREE_LEVELS_MAX + 1)].nodes[i % (BR_TREE_LEVELS_MAX + 1)]);
    }
    free(diff);
    return rc;
}
