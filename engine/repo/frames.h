// SPDX-License-Identifier: Apache-2.0
//
// Frames of packs as they are read: fetched beside one another, opened and decompressed on the ring's workers, kept while there is room.
//
// A frame that somebody holds stays; of the others the one not used for longest makes room. Who wants several at once takes them in an order in
// which nobody waits for himself (engine/repo/reader.c).
#ifndef BR_REPO_FRAMES_H
#define BR_REPO_FRAMES_H

#include "engine/repo/repo.h"

struct br_frames;

// Wanted by br_frames_want(), the caller's until br_frames_put().
struct br_frame {
    uint32_t pack;
    uint32_t number;
    bool ready;          // result and data count
    int result;          // 0 or -BR_E_*, told in err
    const uint8_t *data; // raw_bytes, when result is 0
    uint32_t raw_bytes;
    struct br_err err;
};

/** br_frames_open - room for @count frames, at most 2 MiB each, made as needed */
BR_MUST_CHECK int br_frames_open(struct br_repo *repo, unsigned count, struct br_frames **ret_frames,
                                 struct br_err *reterr);
/** br_frames_close - waits for what is under way; nobody holds a frame any more; NULL is fine */
void br_frames_close(struct br_frames *frames);
/** br_frames_repo - whose */
struct br_repo *br_frames_repo(const struct br_frames *frames);
/**
 * br_frames_want - begin to read a frame, or find it
 * Returns 1 and the frame, maybe not ready yet: it is when br_ring_wait() made it so; 0 no room now: all others are held.
 * Errors: -BR_E_CORRUPT the index does not know it; -BR_E_NOMEM
 */
BR_MUST_CHECK int br_frames_want(struct br_frames *frames, uint32_t pack, uint32_t number,
                                 const struct br_frame **ret_frame, struct br_err *reterr);
/** br_frames_put - it is not needed any more */
void br_frames_put(struct br_frames *frames, const struct br_frame *frame);
/** br_frames_bytes - read from the store so far */
uint64_t br_frames_bytes(const struct br_frames *frames);

/**
 * br_frames_chunk - one chunk, waited for
 * @to  appended to
 * The content is proven to be what the pack says; whether that is what @id says is for the caller to prove.
 * Errors: -BR_E_NOT_FOUND no pack has it; -BR_E_CORRUPT; those of the store
 */
BR_MUST_CHECK int br_frames_chunk(struct br_frames *frames, const struct br_chunk_id *id,
                                  struct br_index_chunk *ret_chunk, struct br_buf *to, struct br_err *reterr);
/** br_frames_chunk_at - the same of one place of a chunk */
BR_MUST_CHECK int br_frames_chunk_at(struct br_frames *frames, const struct br_index_chunk *chunk, struct br_buf *to,
                                     struct br_err *reterr);

#endif
