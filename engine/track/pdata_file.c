// SPDX-License-Identifier: Apache-2.0
#include "engine/track/pdata_file.h"

#include <inttypes.h>

#define WORD_BITS 64u

static int damaged(struct br_err *reterr, uint64_t number, const char *why)
{
    return br_err_at(reterr, BR_E_CORRUPT, number * BR_PDATA_BLOCK_BYTES, "metadata block %" PRIu64 ": %s", number,
                     why);
}

int br_pdata_file_open(struct br_file *file, uint64_t size_bytes, struct br_pdata_file *ret_pdata,
                       struct br_err *reterr)
{
    struct br_pdata_file pdata = {
        .blocks = BR_MIN(size_bytes / BR_PDATA_BLOCK_BYTES, (uint64_t)BR_PDATA_BITMAPS_MAX * BR_PDATA_BITMAP_BLOCKS)};

    if (!pdata.blocks) {
        return br_err_set(reterr, BR_E_CORRUPT, "a metadata device of %" PRIu64 " bytes", size_bytes);
    }
    int rc = br_fresh_open(file, pdata.blocks * BR_PDATA_BLOCK_BYTES, &pdata.fresh, reterr);
    if (rc < 0) {
        return rc;
    }
    pdata.visited = calloc(br_div_up(pdata.blocks, WORD_BITS), sizeof(*pdata.visited));
    pdata.levels = malloc(sizeof(*pdata.levels) * BR_PDATA_DEPTH_MAX);
    if (!pdata.visited || !pdata.levels) {
        br_pdata_file_close(&pdata);
        return br_err_set(reterr, BR_E_NOMEM, "reading metadata of %" PRIu64 " blocks", pdata.blocks);
    }
    *ret_pdata = pdata;
    return 0;
}

void br_pdata_file_close(struct br_pdata_file *pdata)
{
    br_fresh_close(&pdata->fresh);
    free(pdata->visited);
    free(pdata->levels);
    *pdata = (struct br_pdata_file){0};
}

void br_pdata_file_begin(struct br_pdata_file *pdata)
{
    memset(pdata->visited, 0, br_div_up(pdata->blocks, WORD_BITS) * sizeof(*pdata->visited));
}

int br_pdata_file_block(struct br_pdata_file *pdata, uint64_t number, const uint8_t **ret_block, struct br_err *reterr)
{
    if (number >= pdata->blocks) {
        return br_err_set(reterr, BR_E_CORRUPT, "metadata block %" PRIu64 " of %" PRIu64, number, pdata->blocks);
    }
    return br_fresh_read_one(&pdata->fresh, number * BR_PDATA_BLOCK_BYTES, BR_PDATA_BLOCK_BYTES, ret_block, reterr);
}

// Visits: to be called for each block before it is read. Block 0 is the superblock, of which no tree is made.
static int visit(struct br_pdata_file *pdata, uint64_t number, struct br_err *reterr)
{
    if (!number || number >= pdata->blocks) {
        return br_err_set(reterr, BR_E_CORRUPT, "a tree goes on in metadata block %" PRIu64 " of %" PRIu64, number,
                          pdata->blocks);
    }
    uint64_t *word = &pdata->visited[number / WORD_BITS];
    const uint64_t bit = UINT64_C(1) << number % WORD_BITS;
    if (*word & bit) {
        return damaged(reterr, number, "it is reached twice");
    }
    *word |= bit;
    return 0;
}

// Trees -------------------------------------------------------------------------------------------------------------------------------

struct walk {
    struct br_pdata_file *pdata;
    unsigned value_bytes;
    br_pdata_leaf_fn *leaf;
    void *ctx;
};

// The keys that may be below a node: [low, end), end 0 for no end.
static bool keys_fit(const struct br_pdata_node *node, uint64_t low, uint64_t end)
{
    return !node->entries ||
           (br_pdata_node_key(node, 0) >= low && (!end || br_pdata_node_key(node, node->entries - 1) < end));
}

static int walk_node(const struct walk *walk, uint64_t number, unsigned depth, uint64_t low, uint64_t end,
                     struct br_err *reterr)
{
    struct br_pdata_node node;
    const uint8_t *block;

    if (depth == BR_PDATA_DEPTH_MAX) {
        return damaged(reterr, number, "a B-tree of too many levels");
    }
    int rc = visit(walk->pdata, number, reterr);
    if (rc == 0) {
        rc = br_pdata_file_block(walk->pdata, number, &block, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): set on every path that leads here
    memcpy(walk->pdata->levels[depth], block, BR_PDATA_BLOCK_BYTES);
    rc = br_pdata_node_decode(walk->pdata->levels[depth], number, walk->value_bytes, &node, reterr);
    if (rc < 0) {
        return rc;
    }
    if ((!node.entries && (depth || !node.is_leaf)) || !keys_fit(&node, low, end)) {
        return damaged(reterr, number, node.entries ? "keys outside their parent's range" : "an empty B-tree node");
    }
    if (node.is_leaf) {
        return walk->leaf(walk->ctx, &node, reterr);
    }
    for (unsigned i = 0; i < node.entries && rc == 0; i++) {
        const uint64_t next = i + 1 < node.entries ? br_pdata_node_key(&node, i + 1) : end;
        rc = walk_node(walk, br_get_u64(br_pdata_node_value(&node, i)), depth + 1, br_pdata_node_key(&node, i), next,
                       reterr);
    }
    return rc;
}

int br_pdata_file_tree(struct br_pdata_file *pdata, uint64_t root, unsigned value_bytes, br_pdata_leaf_fn *leaf,
                       void *ctx, struct br_err *reterr)
{
    const struct walk walk = {.pdata = pdata, .value_bytes = value_bytes, .leaf = leaf, .ctx = ctx};

    return walk_node(&walk, root, 0, 0, 0, reterr);
}

// Arrays ------------------------------------------------------------------------------------------------------------------------------

struct array_walk {
    struct br_pdata_file *pdata;
    unsigned value_bytes;
    uint64_t entries;
    uint64_t next; // index of the value that comes next
    br_pdata_values_fn *values;
    void *ctx;
};

// Takes one array block; all but the last one are full.
static int take_array_block(struct array_walk *walk, uint64_t number, const uint8_t *block, struct br_err *reterr)
{
    struct br_pdata_array array;
    int rc = br_pdata_array_decode(block, number, walk->value_bytes, &array, reterr);

    if (rc < 0) {
        return rc;
    }
    const uint64_t expected = BR_MIN((uint64_t)br_pdata_array_entries(walk->value_bytes), walk->entries - walk->next);
    if (!expected || array.entries != expected) {
        return damaged(reterr, number, "an array with another number of entries than it should have");
    }
    rc = walk->values(walk->ctx, walk->next, array.values, array.entries, reterr);
    walk->next += array.entries;
    return rc;
}

static int take_array_leaf(void *ctx, const struct br_pdata_node *leaf, struct br_err *reterr)
{
    struct array_walk *walk = ctx;
    struct br_fresh_read reads[BR_PDATA_NODE_ENTRIES_MAX];
    int rc = 0;

    _Static_assert(BR_PDATA_NODE_ENTRIES_MAX <= BR_FRESH_READS_MAX, "the blocks below a leaf are read at once");
    for (unsigned i = 0; i < leaf->entries && rc == 0; i++) {
        const uint64_t number = br_get_u64(br_pdata_node_value(leaf, i));
        const uint64_t key = walk->next / br_pdata_array_entries(walk->value_bytes) + i;
        if (br_pdata_node_key(leaf, i) != key) {
            rc = damaged(reterr, number, "an array with a gap");
        } else {
            rc = visit(walk->pdata, number, reterr);
        }
        reads[i] =
            (struct br_fresh_read){.offset_bytes = number * BR_PDATA_BLOCK_BYTES, .len_bytes = BR_PDATA_BLOCK_BYTES};
    }
    if (rc == 0) {
        rc = br_fresh_read(&walk->pdata->fresh, reads, leaf->entries, reterr);
    }
    for (unsigned i = 0; i < leaf->entries && rc == 0; i++) {
        rc = take_array_block(walk, reads[i].offset_bytes / BR_PDATA_BLOCK_BYTES, reads[i].bytes, reterr);
    }
    return rc;
}

int br_pdata_file_array(struct br_pdata_file *pdata, uint64_t root, unsigned value_bytes, uint64_t entries,
                        br_pdata_values_fn *values, void *ctx, struct br_err *reterr)
{
    struct array_walk walk = {
        .pdata = pdata, .value_bytes = value_bytes, .entries = entries, .values = values, .ctx = ctx};
    int rc = br_pdata_file_tree(pdata, root, sizeof(uint64_t), take_array_leaf, &walk, reterr);

    if (rc == 0 && walk.next != entries) {
        rc = br_err_at(reterr, BR_E_CORRUPT, root * BR_PDATA_BLOCK_BYTES,
                       "the array at metadata block %" PRIu64 " has %" PRIu64 " entries instead of %" PRIu64, root,
                       walk.next, entries);
    }
    return rc;
}

// Space map ---------------------------------------------------------------------------------------------------------------------------

// Checks one bitmap, about blocks from @first on.
static int check_bitmap(struct br_pdata_file *pdata, uint64_t number, uint64_t first, uint64_t end, uint64_t *used,
                        struct br_err *reterr)
{
    const uint8_t *block;
    int rc = br_pdata_file_block(pdata, number, &block, reterr);

    if (rc == 0) {
        rc = br_pdata_check(block, BR_PDATA_BITMAP, 8, number, "space map bitmap", reterr);
    }
    if (rc < 0) {
        return rc;
    }
    for (uint64_t i = first; i < end; i++) {
        const bool counted = br_pdata_bitmap_count(block, (unsigned)(i - first));
        const bool visited = i < pdata->blocks && pdata->visited[i / WORD_BITS] >> i % WORD_BITS & 1;
        if (visited && !counted) {
            return damaged(reterr, i, "it is part of a tree, and free by the space map: the superblock is an old one");
        }
        *used += counted;
    }
    return 0;
}

int br_pdata_file_space(struct br_pdata_file *pdata, const struct br_pdata_space_root *root, uint64_t *ret_used,
                        struct br_err *reterr)
{
    uint8_t index[BR_PDATA_BLOCK_BYTES];
    const uint8_t *block;
    uint64_t used = 0;

    if (!root->blocks || root->blocks > pdata->blocks) {
        return br_err_set(reterr, BR_E_CORRUPT, "a space map of %" PRIu64 " blocks on a device of %" PRIu64,
                          root->blocks, pdata->blocks);
    }
    int rc = br_pdata_file_block(pdata, root->index_block, &block, reterr);
    if (rc == 0) {
        memcpy(index, block, sizeof(index));
        rc = br_pdata_check(index, BR_PDATA_INDEX, 8, root->index_block, "space map index", reterr);
    }
    for (uint64_t first = 0; first < root->blocks && rc == 0; first += BR_PDATA_BITMAP_BLOCKS) {
        rc = check_bitmap(pdata, br_pdata_index_entry(index, (unsigned)(first / BR_PDATA_BITMAP_BLOCKS)), first,
                          BR_MIN(first + BR_PDATA_BITMAP_BLOCKS, root->blocks), &used, reterr);
    }
    // A tree behind the end of the map has no count at all.
    for (uint64_t i = root->blocks; i < pdata->blocks && rc == 0; i++) {
        if (pdata->visited[i / WORD_BITS] >> i % WORD_BITS & 1) {
            rc = damaged(reterr, i, "it is part of a tree, and behind the end of the space map");
        }
    }
    if (rc == 0 && ret_used) {
        *ret_used = used;
    }
    return rc;
}
