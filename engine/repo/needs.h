// SPDX-License-Identifier: Apache-2.0
//
// What recovery points need of the packs: which chunks of which pack, so that the rest can go.
//
// A chunk that is in several packs is needed in one of them when that pack is proven and not doomed; else in all of them: what nobody here has
// seen, or what somebody may be deleting, is no reason to delete another copy.
//
// Points of one volume, given one behind the other, cost what differs between them. Memory: one bit for each chunk in the index, and some 50 bytes
// for each pack.
#ifndef BR_REPO_NEEDS_H
#define BR_REPO_NEEDS_H

#include "engine/repo/frames.h"

struct br_needs;

struct br_needs_pack {
    struct br_index_pack facts;
    bool doomed;            // as the index knew
    uint32_t chunks_needed; // of facts.chunks
    uint64_t raw_needed;    // of facts.raw_bytes
};

/** br_needs_open - of the packs that the index has now; the repository must outlive it */
BR_MUST_CHECK int br_needs_open(struct br_repo *repo, struct br_needs **ret_needs, struct br_err *reterr);
/** br_needs_close - NULL is fine */
void br_needs_close(struct br_needs *needs);
/**
 * br_needs_add - all that @point needs
 * @ret_missing  chunks that no pack has; NULL when not wanted
 * Errors: -BR_E_NOT_FOUND, -BR_E_CORRUPT, -BR_E_TRUNCATED, -BR_E_VERSION: a node of its tree is missing or damaged, and what is below it not known
 */
BR_MUST_CHECK int br_needs_add(struct br_needs *needs, const struct br_point *point, uint64_t *ret_missing,
                               struct br_err *reterr);
/** br_needs_count, br_needs_pack - the packs, by number in the index */
size_t br_needs_count(const struct br_needs *needs);
const struct br_needs_pack *br_needs_pack(const struct br_needs *needs, size_t at);
/** br_needs_chunk - is a chunk of a pack needed there? @at as above, @ordinal in the pack's directory */
bool br_needs_chunk(const struct br_needs *needs, size_t at, uint32_t ordinal);

#endif
