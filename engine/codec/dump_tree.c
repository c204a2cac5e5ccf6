// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/dump_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "engine/base/uuid.h"
#include "engine/map/tree_node.h"

#define TREE_VERSION      1u
#define TREE_HEADER_BYTES 512u
#define TREE_AT_CHECKSUM  504u
#define TREE_RECORD_BYTES 8u // before the node
#define TREE_ALIGN        16u
#define TREE_AT_LEVEL     13u // in an encoded node

struct br_dump_tree {
    br_dump_line_fn *line;
    void *ctx;
    struct br_buf pending; // what is not dealt with, from offset_bytes on
    uint64_t offset_bytes;
    uint64_t checksum;
    uint64_t nodes;
    uint64_t behind_bytes; // behind the last good record
    bool header_seen;
    bool behind;
};

int br_dump_tree_open(br_dump_line_fn *line, void *ctx, struct br_dump_tree **ret_tree, struct br_err *reterr)
{
    struct br_dump_tree *tree = calloc(1, sizeof(*tree));

    if (!tree) {
        return br_err_set(reterr, BR_E_NOMEM, "beginning a dump");
    }
    tree->line = line;
    tree->ctx = ctx;
    *ret_tree = tree;
    return 0;
}

void br_dump_tree_close(struct br_dump_tree *tree)
{
    if (tree) {
        br_buf_free(&tree->pending);
        free(tree);
    }
}

// Page hashes and their secret are not shown: who knows the secret can craft pages that look unchanged.
static int dump_header(struct br_dump_tree *tree, const uint8_t *header, struct br_err *reterr)
{
    char line[256], id[BR_UUID_TEXT_BYTES];
    struct br_uuid replica;

    tree->checksum = br_get_u64(header + TREE_AT_CHECKSUM);
    if (tree->checksum != XXH3_64bits(header, TREE_AT_CHECKSUM)) {
        return br_err_at(reterr, BR_E_CORRUPT, 0, "the header of a tree file is damaged");
    }
    if (br_get_u32(header + 8) != TREE_VERSION) {
        return br_err_at(reterr, BR_E_VERSION, 0, "a tree file of version %" PRIu32 "; this program knows version %u",
                         br_get_u32(header + 8), TREE_VERSION);
    }
    memcpy(replica.bytes, header + 16, BR_UUID_BYTES);
    br_uuid_text(&replica, id);
    snprintf(line, sizeof(line), "tree file %" PRIu64 " of replica %s", br_get_u64(header + 32), id);
    return tree->line(tree->ctx, line);
}

static int dump_node(struct br_dump_tree *tree, const uint8_t *bytes, size_t len, struct br_err *reterr)
{
    unsigned children = 0, unreadable = 0, unknown = 0, paged = 0;
    char line[256], hash[2 * BR_HASH_BYTES + 1];
    struct br_hash own;
    uint8_t level = len > TREE_AT_LEVEL ? bytes[TREE_AT_LEVEL] : 0;

    if (level < 1 || level > BR_TREE_LEVELS_MAX) {
        return br_err_set(reterr, BR_E_CORRUPT, "a tree node of level %u", level);
    }
    BR_AUTO_FREE struct br_tree_node *node = br_tree_node_new(level);
    if (!node) {
        return br_err_set(reterr, BR_E_NOMEM, "reading a tree node");
    }
    int rc = br_tree_node_decode(bytes, len, node, reterr);
    if (rc < 0) {
        return rc;
    }
    for (unsigned i = 0; i < BR_FANOUT; i++) {
        children += !br_hash_equal(&node->hashes[i], &br_hash_zero);
        unreadable += br_hash_equal(&node->hashes[i], &br_hash_unreadable);
        unknown += br_hash_equal(&node->hashes[i], &br_hash_unknown);
        paged += node->pages && !br_is_zero(node->pages[i], sizeof(node->pages[i]));
    }
    br_tree_node_hash(node, &own);
    br_hash_text(&own, hash);
    snprintf(line, sizeof(line),
             "node at %" PRIu64 ": level %u, %u children, %u unreadable, %u unknown, %u with page hashes, hash %s",
             tree->offset_bytes, level, children, unreadable, unknown, paged, hash);
    tree->nodes++;
    return tree->line(tree->ctx, line);
}

// The record's check says that it is of this file and place; then what its node says must be right.
static bool record_fits(const struct br_dump_tree *tree, const uint8_t *record, uint32_t len)
{
    uint8_t bytes[12];

    br_put_u64(bytes, tree->offset_bytes);
    br_put_u32(bytes + 8, len);
    return len && len <= BR_TREE_NODE_BYTES_MAX &&
           br_get_u32(record + 4) == (uint32_t)XXH3_64bits_withSeed(bytes, sizeof(bytes), tree->checksum);
}

// Deals with one header or record at @at; returns its length, 0 when more bytes are needed.
static int dump_next(struct br_dump_tree *tree, const uint8_t *at, size_t left, struct br_err *reterr)
{
    int rc;

    if (!tree->header_seen) {
        if (left < TREE_HEADER_BYTES) {
            return 0;
        }
        rc = dump_header(tree, at, reterr);
        tree->header_seen = true;
        return rc ? rc : (int)TREE_HEADER_BYTES;
    }
    if (left < TREE_RECORD_BYTES) {
        return 0;
    }
    uint32_t len = br_get_u32(at);
    if (!record_fits(tree, at, len)) {
        tree->behind = true;
        return 0;
    }
    size_t record_len = br_align_up(TREE_RECORD_BYTES + len, TREE_ALIGN);
    if (left < record_len) {
        return 0;
    }
    rc = dump_node(tree, at + TREE_RECORD_BYTES, len, reterr);
    if (rc == -BR_E_CORRUPT && reterr) {
        reterr->has_offset = true;
        reterr->offset_bytes = tree->offset_bytes;
    }
    return rc ? rc : (int)record_len;
}

int br_dump_tree_bytes(struct br_dump_tree *tree, const void *bytes, size_t len, struct br_err *reterr)
{
    size_t done = 0;
    int rc = 0;

    if (tree->behind) {
        tree->behind_bytes += len;
        return 0;
    }
    br_buf_append(&tree->pending, bytes, len);
    if (br_buf_failed(&tree->pending)) {
        return br_err_set(reterr, BR_E_NOMEM, "reading a tree file");
    }
    while (!tree->behind && (rc = dump_next(tree, tree->pending.data + done, tree->pending.len - done, reterr)) > 0) {
        done += (size_t)rc;
        tree->offset_bytes += (uint64_t)rc;
    }
    tree->pending.len -= done;
    memmove(tree->pending.data, tree->pending.data + done, tree->pending.len);
    if (tree->behind) {
        tree->behind_bytes += tree->pending.len;
        tree->pending.len = 0;
    }
    return rc;
}

int br_dump_tree_finish(struct br_dump_tree *tree, struct br_err *reterr)
{
    char line[128];

    if (!tree->header_seen) {
        return br_err_at(reterr, BR_E_TRUNCATED, tree->pending.len, "a tree file ends within its header");
    }
    snprintf(line, sizeof(line), "%" PRIu64 " nodes; %" PRIu64 " bytes behind the last whole one", tree->nodes,
             tree->behind_bytes + tree->pending.len);
    return tree->line(tree->ctx, line);
}
