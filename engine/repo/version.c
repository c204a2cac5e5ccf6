// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/version.h"

// The node from the best of the packs that have it whole: whoever can write may have made one that lies.
static int find_node(struct br_frames *frames, const struct br_chunk_id *id, const struct br_hash *hash,
                     struct br_index_chunk *chunk, struct br_buf *node, struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(br_frames_repo(frames));
    struct br_index_chunk next;

    *chunk = (struct br_index_chunk){.pack = 0};
    br_buf_reset(node);
    int rc = br_frames_chunk(frames, id, chunk, node, reterr);
    while (chunk->pack && rc != -BR_E_NOMEM && !br_store_is_lost(rc)) {
        if ((!rc && br_tree_node_is(hash, node->data, node->len)) ||
            br_index_find_after(index, id, chunk, &next, NULL) <= 0) {
            break;
        }
        *chunk = next;
        br_buf_reset(node);
        rc = br_frames_chunk_at(frames, chunk, node, reterr);
    }
    return rc;
}

int br_repo_fetch_node(struct br_frames *frames, struct br_mac *domain, const struct br_tree_link *link, uint8_t *bytes,
                       struct br_err *reterr)
{
    struct br_index_chunk chunk;
    struct br_chunk_id id;
    struct br_buf node = {0};
    int rc = br_chunk_id_node(domain, &link->hash, &id, reterr);

    rc = rc < 0 ? rc : find_node(frames, &id, &link->hash, &chunk, &node, reterr);
    // A prune may have written it anew, and deleted where it was.
    if (rc == -BR_E_NOT_FOUND && br_repo_look_again(br_frames_repo(frames))) {
        rc = find_node(frames, &id, &link->hash, &chunk, &node, reterr);
    }
    if (!rc && (chunk.kind != BR_CHUNK_NODE || node.len > BR_TREE_NODE_BYTES_MAX)) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "a chunk that is no node");
    }
    if (!rc) {
        memcpy(bytes, node.data, node.len);
        rc = (int)node.len;
    } else {
        br_err_prefix(reterr, "a node of the version tree");
    }
    br_buf_free(&node);
    return rc;
}

static int version_fetch(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    const struct br_repo_version *version = ctx;
    struct br_chunk_id id;
    int rc = version->on_node ? br_chunk_id_node(version->domain, &link->hash, &id, reterr) : 0;

    rc = rc < 0 || !version->on_node ? rc : version->on_node(version->on_node_ctx, &id, reterr);
    return rc < 0 ? rc : br_repo_fetch_node(version->frames, version->domain, link, bytes, reterr);
}

static int version_keep(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                        struct br_err *reterr)
{
    (void)ctx;
    (void)hash;
    (void)bytes;
    (void)len;
    (void)ret_ref;
    return br_err_set(reterr, BR_E_INTERNAL, "a recovery point takes no nodes");
}

int br_repo_version_open(struct br_repo *repo, struct br_frames *frames, const struct br_point *point,
                         struct br_repo_version *ret_version, struct br_err *reterr)
{
    *ret_version = (struct br_repo_version){.frames = frames};
    int rc = br_point_tree(point, &ret_version->tree, reterr);

    rc = rc < 0 ? rc : br_domain_mac(&br_repo_config_of(repo)->id_secret, &point->domain, &ret_version->domain, reterr);
    ret_version->store = (struct br_tree_store){.fetch = version_fetch, .keep = version_keep, .ctx = ret_version};
    return rc;
}

void br_repo_version_close(struct br_repo_version *version)
{
    br_mac_close(version->domain);
    version->domain = NULL;
}
