// SPDX-License-Identifier: Apache-2.0
//
// Which chunk is where: a cache of the packs' directories in LMDB, on disk and mapped, so that ten million chunks need no memory of ours.
// Directories are the truth; an index that is lost, damaged or of another repository is made anew. It only ever names packs that were
// durable when they were put in, and each change of it is durable or not there, so that a crash can't make it promise what is not stored.
//
//     pack    number -> salt, epoch, writer, length, whether this host wrote or proved it; salt -> number
//     frame   pack, number -> where in the pack, lengths, codec
//     chunk   id -> kind, pack, frame, where in the frame, length, base of an overlay
//
// An id that is in several packs is found in one that is proven, if any is; then a block goes before an overlay, the newest pack before others.
#ifndef BR_REPO_INDEX_H
#define BR_REPO_INDEX_H

#include "engine/codec/repository.h"

struct br_index;

struct br_index_pack {
    uint32_t number; // within this index; from 1
    uint8_t salt[BR_SALT_BYTES];
    uint32_t epoch;
    struct br_uuid writer;
    uint64_t bytes;
    uint64_t raw_bytes; // of its frames
    uint32_t chunks;
    bool proven; // every chunk is known to be what its id says: this host wrote it, or read it whole
};

struct br_index_frame {
    uint64_t offset_bytes;
    uint32_t sealed_bytes;
    uint32_t raw_bytes;
    enum br_frame_codec codec;
};

struct br_index_chunk {
    enum br_chunk_kind kind;
    uint32_t pack;
    uint32_t frame;
    uint32_t at; // in the frame, raw
    uint32_t len_bytes;
    uint32_t ordinal;        // in the pack
    uint32_t epoch;          // of its pack
    bool proven;             // its pack is
    bool doomed;             // its pack is (br_index_avoid())
    struct br_chunk_id base; // of an overlay
};

/**
 * br_index_open - the index in a directory, made or made anew as needed
 * @dir_fd      owned from now on, also on failure
 * @repository  whose; one of another is emptied
 * Opened once only in a process.    Errors: -BR_E_IO, -BR_E_NO_SPACE, -BR_E_NOMEM
 */
BR_MUST_CHECK int br_index_open(int dir_fd, const struct br_uuid *repository, struct br_index **ret_index,
                                struct br_err *reterr);
/** br_index_close - NULL is fine */
void br_index_close(struct br_index *index);
/**
 * br_index_find - 1 and the best place of a chunk, 0 not known
 * An overlay whose base is nowhere comes last; then a pack that is proven comes before others, one that is not doomed, a block before an overlay.
 */
BR_MUST_CHECK int br_index_find(struct br_index *index, const struct br_chunk_id *id, struct br_index_chunk *ret_chunk,
                                struct br_err *reterr);
/**
 * br_index_find_outside - the same, passing over packs that are sealed in the epoch @outside
 * br_index_find_block - blocks alone, as what an overlay lies over must be; @outside: 0 any epoch
 */
BR_MUST_CHECK int br_index_find_outside(struct br_index *index, const struct br_chunk_id *id, uint32_t outside,
                                        struct br_index_chunk *ret_chunk, struct br_err *reterr);
BR_MUST_CHECK int br_index_find_block(struct br_index *index, const struct br_chunk_id *id, uint32_t outside,
                                      struct br_index_chunk *ret_chunk, struct br_err *reterr);
typedef int br_index_chunk_fn(void *ctx, const struct br_index_chunk *chunk);
/** br_index_each_copy - every place where a chunk is, in no order; non-zero of @fn stops and is returned; @fn may not ask the index */
BR_MUST_CHECK int br_index_each_copy(struct br_index *index, const struct br_chunk_id *id, br_index_chunk_fn *fn,
                                     void *ctx, struct br_err *reterr);
/**
 * br_index_avoid - packs that a prune means to delete: what is in them says so, as long as this index is open
 * br_index_avoid_none - none any more
 * @salts  of packs; those that the index does not know count when they come
 */
BR_MUST_CHECK int br_index_avoid(struct br_index *index, const uint8_t (*salts)[BR_SALT_BYTES], size_t count,
                                 struct br_err *reterr);
void br_index_avoid_none(struct br_index *index);
/** br_index_avoids - is a pack among them? */
bool br_index_avoids(const struct br_index *index, const uint8_t salt[BR_SALT_BYTES]);
/** br_index_avoid_count - how many there are */
size_t br_index_avoid_count(const struct br_index *index);
/**
 * br_index_find_after - the next best place of the same id, for when what was found at @after is not what the id says: a pack may lie
 * Returns as br_index_find()
 */
BR_MUST_CHECK int br_index_find_after(struct br_index *index, const struct br_chunk_id *id,
                                      const struct br_index_chunk *after, struct br_index_chunk *ret_chunk,
                                      struct br_err *reterr);
/** br_index_pack_of - the pack with this number; -BR_E_CORRUPT there is none */
BR_MUST_CHECK int br_index_pack_of(struct br_index *index, uint32_t number, struct br_index_pack *ret_pack,
                                   struct br_err *reterr);
/** br_index_frame_of - a frame of it; -BR_E_CORRUPT there is none */
BR_MUST_CHECK int br_index_frame_of(struct br_index *index, uint32_t pack, uint32_t frame,
                                    struct br_index_frame *ret_frame, struct br_err *reterr);
/** br_index_has_pack - 1 and its number, 0 not known */
BR_MUST_CHECK int br_index_has_pack(struct br_index *index, const uint8_t salt[BR_SALT_BYTES], uint32_t *ret_number,
                                    struct br_err *reterr);
typedef int br_index_pack_fn(void *ctx, const struct br_index_pack *pack);
/** br_index_each_pack - every pack, by number; non-zero of @fn stops and is returned */
BR_MUST_CHECK int br_index_each_pack(struct br_index *index, br_index_pack_fn *fn, void *ctx, struct br_err *reterr);
/**
 * br_index_add - a pack that is durable, with all that is in it; one that is there already stays
 * @pack  number is drawn here
 * Durable: yes, when it returns 0; else nothing was added
 */
BR_MUST_CHECK int br_index_add(struct br_index *index, const struct br_index_pack *pack,
                               const struct br_directory *directory, struct br_err *reterr);
/** br_index_set_proven - of a pack that was read whole; false: of one of which something can't be read; durable */
BR_MUST_CHECK int br_index_set_proven(struct br_index *index, uint32_t number, bool proven, struct br_err *reterr);
/**
 * br_index_drop - forget packs that are not there any more, and what is in them; durable
 * Cost: reads the whole index once; memory does not grow with what is dropped
 * When it fails, or is cut, some of them may be without their salt (br_index_has_pack()) and some of their chunks: to be dropped again
 */
BR_MUST_CHECK int br_index_drop(struct br_index *index, const uint32_t *numbers, size_t count, struct br_err *reterr);
/** br_index_empty - forget all packs; as br_index_drop() of all of them */
BR_MUST_CHECK int br_index_empty(struct br_index *index, struct br_err *reterr);
/**
 * br_index_losses - how often packs went away, or the index itself, since whoever counts began; random at its making
 * br_index_note, br_index_noted - a number that is kept under an id and a letter, as long as the index lives; 0 none
 */
BR_MUST_CHECK int br_index_losses(struct br_index *index, uint64_t *ret_losses, struct br_err *reterr);
BR_MUST_CHECK int br_index_note(struct br_index *index, char letter, const struct br_uuid *id, uint64_t number,
                                struct br_err *reterr);
/** br_index_each_noted - each number that was noted under the letter, 0 too; @fn must not use the index; non-zero stops and is returned */
BR_MUST_CHECK int br_index_each_noted(struct br_index *index, char letter,
                                      int (*fn)(void *ctx, const struct br_uuid *id, uint64_t number), void *ctx,
                                      struct br_err *reterr);
BR_MUST_CHECK int br_index_noted(struct br_index *index, char letter, const struct br_uuid *id, uint64_t *ret_number,
                                 struct br_err *reterr);
/** br_index_counts - packs and chunks in it */
BR_MUST_CHECK int br_index_counts(struct br_index *index, uint64_t *ret_packs, uint64_t *ret_chunks,
                                  struct br_err *reterr);

#endif
