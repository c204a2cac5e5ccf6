// SPDX-License-Identifier: Apache-2.0
//
// One block of a recovery point, from its leaf to its proven bytes: what chunks it is made of, in which frames they are, put together and hashed.
// The steps that every reader takes; which blocks, in what order and how many at once is the reader's (engine/repo/reader.h, access.h).
#ifndef BR_REPO_BLOCK_H
#define BR_REPO_BLOCK_H

#include "engine/repo/version.h"

struct br_block_read {
    struct br_hash leaf;         // set by the reader, the rest zeroed; not a special one
    struct br_index_chunk chunk; // a block, or an overlay
    struct br_index_chunk base;  // of an overlay
    const struct br_frame *frame;
    const struct br_frame *base_frame;
    int result; // 0 or -BR_E_*, told in err
    struct br_err err;
};

/**
 * br_block_acquire - find the chunks and want their frames, of which there are two at most
 * Returns 1 it has them, 0 no room for one now: call it again, and for no other block before, so that nobody waits for himself.
 * Errors: -BR_E_NOT_FOUND, -BR_E_CORRUPT, those of the index; told in block->err, set in block->result, and no frame is held
 */
int br_block_acquire(struct br_block_read *block, struct br_repo *repo, struct br_frames *frames,
                     struct br_mac *domain);
/** br_block_frames_ready - the frames that it has can be used */
bool br_block_frames_ready(const struct br_block_read *block);
/**
 * br_block_assemble - put @len_bytes of content together at @to and prove them against the leaf
 * Sets block->result; after a failure @to holds anything.
 * Blocks: CPU only; for a worker, while the frames are held
 */
void br_block_assemble(struct br_block_read *block, uint8_t *to, uint32_t len_bytes);
/**
 * br_block_mend - of a block whose result is an error: is it whole in another pack?
 * A pack may lie of what is in it, to which end whoever can write may have made it, and a prune may have written the block anew elsewhere: the
 * index is made current when nothing else helps. Waits; no frame of the block is held.
 * Returns whether it is at @to now; then result is 0
 */
bool br_block_mend(struct br_block_read *block, struct br_repo *repo, struct br_frames *frames, struct br_mac *domain,
                   uint8_t *to, uint32_t len_bytes);
/** br_block_release - give the frames back; the content stays where it is */
void br_block_release(struct br_block_read *block, struct br_frames *frames);

#endif
