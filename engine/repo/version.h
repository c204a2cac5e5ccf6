// SPDX-License-Identifier: Apache-2.0
//
// The version tree of a recovery point: its nodes are chunks, found by their hash within the point's domain.
#ifndef BR_REPO_VERSION_H
#define BR_REPO_VERSION_H

#include "engine/repo/frames.h"

/** br_repo_node_fn - hears of each node that is fetched; a negative -BR_E_* ends that */
typedef int br_repo_node_fn(void *ctx, const struct br_chunk_id *id, struct br_err *reterr);

struct br_repo_version {
    struct br_frames *frames;
    struct br_mac *domain;
    br_repo_node_fn *on_node; // NULL none
    void *on_node_ctx;
    struct br_tree_store store; // fetch alone; keep fails
    struct br_tree tree;
};

/**
 * br_repo_version_open - of @point
 * @frames  the caller's, must outlive it
 * The struct may not move: store.ctx points to it.
 */
BR_MUST_CHECK int br_repo_version_open(struct br_repo *repo, struct br_frames *frames, const struct br_point *point,
                                       struct br_repo_version *ret_version, struct br_err *reterr);
/** br_repo_version_close - of one that was opened, or is zeroed */
void br_repo_version_close(struct br_repo_version *version);
/** br_repo_fetch_node - a fetch() of struct br_tree_store; @frames and @domain as above */
BR_MUST_CHECK int br_repo_fetch_node(struct br_frames *frames, struct br_mac *domain, const struct br_tree_link *link,
                                     uint8_t *bytes, struct br_err *reterr);

#endif
