// SPDX-License-Identifier: Apache-2.0
//
// Copying a version tree from one store to another, proving every node on the way. Children go before their parent, because a parent
// holds their refs; the children of one node are fetched together, up to BR_TREE_FETCH_MAX at a time, so that a far store is asked
// rarely. Memory: that many encoded nodes per level, about 6 MiB for the deepest tree. A far store that lies about refs can make the
// copy as large as a full volume's tree at most, never larger.
#include "engine/map/tree_node.h"

struct copy {
    const struct br_tree_shape *shape;
    br_tree_fetch_fn *fetch;
    void *fetch_ctx;
    const struct br_tree_store *to;
    bool keep_pages;
    struct br_tree_node *nodes[BR_TREE_LEVELS_MAX + 1];
    struct br_buf fetched[BR_TREE_LEVELS_MAX + 1][BR_TREE_FETCH_MAX]; // by the level of the nodes in it
    uint8_t scratch[BR_TREE_NODE_BYTES_MAX];
};

static int copy_node(struct copy *copy, const struct br_buf *bytes, uint8_t level, uint64_t index,
                     struct br_tree_link *link, struct br_err *reterr);

// Copies the children of the node in copy->nodes[level] that are listed, and sets their new refs.
static int copy_batch(struct copy *copy, uint8_t level, uint64_t index, const unsigned *children, unsigned count,
                      struct br_err *reterr)
{
    struct br_tree_node *node = copy->nodes[level];
    struct br_buf *bytes = copy->fetched[level - 1];
    struct br_tree_link links[BR_TREE_FETCH_MAX] = {0};

    for (unsigned i = 0; i < count; i++) {
        links[i] = (struct br_tree_link){node->hashes[children[i]], node->refs[children[i]]};
        br_buf_reset(&bytes[i]);
    }
    int rc = copy->fetch(copy->fetch_ctx, links, count, bytes, reterr);
    for (unsigned i = 0; i < count && rc >= 0; i++) {
        rc = copy_node(copy, &bytes[i], level - 1, index * BR_FANOUT + children[i], &links[i], reterr);
        node->refs[children[i]] = links[i].ref;
    }
    return rc < 0 ? rc : 0;
}

static int copy_children(struct copy *copy, uint8_t level, uint64_t index, struct br_err *reterr)
{
    struct br_tree_node *node = copy->nodes[level];
    unsigned children[BR_TREE_FETCH_MAX], count = 0;
    int rc = 0;

    for (unsigned child = 0; child < BR_FANOUT && rc >= 0; child++) {
        const uint64_t child_index = index * BR_FANOUT + child;
        if (br_tree_shape_special(copy->shape, &node->hashes[child], level - 1, child_index)) {
            node->refs[child] = 0;
        } else if (!node->refs[child]) {
            return br_err_set(reterr, BR_E_CORRUPT, "tree node of level %u is not stored", level - 1);
        } else {
            children[count++] = child;
        }
        if (count == BR_TREE_FETCH_MAX || (count && child == BR_FANOUT - 1)) {
            rc = copy_batch(copy, level, index, children, count, reterr);
            count = 0;
        }
    }
    return rc;
}

static int copy_node(struct copy *copy, const struct br_buf *bytes, uint8_t level, uint64_t index,
                     struct br_tree_link *link, struct br_err *reterr)
{
    struct br_tree_node *node = copy->nodes[level];
    const uint8_t *encoded = bytes->data;
    size_t len = bytes->len;

    int rc = br_buf_failed(bytes)
                 ? br_err_set(reterr, BR_E_NOMEM, "tree copy")
                 : br_tree_node_check(copy->shape, link, level, index, bytes->data, bytes->len, node, reterr);
    if (!rc && level > 1) {
        rc = copy_children(copy, level, index, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    if (level == 1 && !copy->keep_pages) {
        memset(node->pages, 0, BR_FANOUT * sizeof(*node->pages));
    }
    if (level > 1 || !copy->keep_pages) {
        len = br_tree_node_encode(node, copy->scratch);
        encoded = copy->scratch;
    }
    return copy->to->keep(copy->to->ctx, &link->hash, encoded, len, &link->ref, reterr);
}

static int copy_top(struct copy *copy, uint8_t level, uint64_t index, struct br_tree_link *link, struct br_err *reterr)
{
    if (br_tree_shape_special(copy->shape, &link->hash, level, index)) {
        link->ref = 0;
        return 0;
    }
    if (!link->ref) {
        return br_err_set(reterr, BR_E_CORRUPT, "tree node of level %u is not stored", level);
    }
    for (uint8_t below = 1; below <= level; below++) {
        copy->nodes[below] = br_tree_node_new(below);
        if (!copy->nodes[below]) {
            return br_err_set(reterr, BR_E_NOMEM, "tree copy");
        }
    }
    int rc = copy->fetch(copy->fetch_ctx, link, 1, &copy->fetched[level][0], reterr);
    return rc < 0 ? rc : copy_node(copy, &copy->fetched[level][0], level, index, link, reterr);
}

static int run_copy(const struct copy *what, uint8_t level, uint64_t index, struct br_tree_link *link,
                    struct br_err *reterr)
{
    struct br_tree_link copied = *link;
    struct copy *copy = malloc(sizeof(*copy));

    if (!copy) {
        return br_err_set(reterr, BR_E_NOMEM, "tree copy");
    }
    *copy = *what;
    int rc = copy_top(copy, level, index, &copied, reterr);
    for (unsigned i = 0; i <= BR_TREE_LEVELS_MAX; i++) {
        free(copy->nodes[i]);
        for (unsigned j = 0; j < BR_TREE_FETCH_MAX; j++) {
            br_buf_free(&copy->fetched[i][j]);
        }
    }
    free(copy);
    if (!rc) {
        *link = copied;
    }
    return rc;
}

int br_tree_copy(const struct br_tree *tree, br_tree_fetch_fn *fetch, void *fetch_ctx, const struct br_tree_store *to,
                 bool keep_pages, struct br_tree *ret_tree, struct br_err *reterr)
{
    struct br_tree_shape shape;
    struct br_tree copied = *tree;

    br_tree_shape_init(&shape, &tree->geometry);
    const struct copy copy = {
        .shape = &shape, .fetch = fetch, .fetch_ctx = fetch_ctx, .to = to, .keep_pages = keep_pages};
    int rc = run_copy(&copy, tree->geometry.levels, 0, &copied.top, reterr);
    if (!rc) {
        *ret_tree = copied;
    }
    return rc;
}

int br_tree_store_fetch_many(void *store, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                             struct br_err *reterr)
{
    const struct br_tree_store *from = store;

    for (unsigned i = 0; i < count; i++) {
        if (!br_buf_reserve(&ret_nodes[i], BR_TREE_NODE_BYTES_MAX)) {
            return br_err_set(reterr, BR_E_NOMEM, "tree copy");
        }
        int len = from->fetch(from->ctx, &links[i], ret_nodes[i].data + ret_nodes[i].len, reterr);
        if (len < 0) {
            return len;
        }
        ret_nodes[i].len += (size_t)len;
    }
    return 0;
}

int br_tree_copy_link(const struct br_tree_shape *shape, const struct br_tree_store *from,
                      const struct br_tree_store *to, uint8_t level, uint64_t index, struct br_tree_link *link,
                      struct br_err *reterr)
{
    struct br_tree_store source = *from;
    const struct copy copy = {
        .shape = shape, .fetch = br_tree_store_fetch_many, .fetch_ctx = &source, .to = to, .keep_pages = true};

    return run_copy(&copy, level, index, link, reterr);
}
