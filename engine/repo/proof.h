// SPDX-License-Identifier: Apache-2.0
//
// Is a chunk what its id says? A pack's seal proves that its writer meant these bytes; only the id, which is a keyed hash of the content, proves
// that they are what others look for under it. What was read whole and proven so is as good as written by this host.
#ifndef BR_REPO_PROOF_H
#define BR_REPO_PROOF_H

#include "engine/repo/frames.h"

struct br_proof;

/** br_proof_open - of chunks in the domains that these points are in; the repository must outlive it */
BR_MUST_CHECK int br_proof_open(struct br_repo *repo, const struct br_point *points, size_t count,
                                struct br_proof **ret_proof, struct br_err *reterr);
/** br_proof_close - NULL is fine */
void br_proof_close(struct br_proof *proof);
/**
 * br_proof_chunk - may wait for the block below an overlay
 * False also for a chunk of a domain that none of the points is in, and for an overlay whose base can't be read
 */
bool br_proof_chunk(struct br_proof *proof, const struct br_chunk_entry *chunk, const uint8_t *bytes);

#endif
