// SPDX-License-Identifier: Apache-2.0
//
// What a run that was cut had staged, kept for the next one: facts about this replica (a block, the leaf of its new content, where the data
// lies), never an extent list. The next run has a new view of the source; a block of it that has just that leaf need not be shipped again.
//
//     NAME.blkrep/stage        of the run under way. Its run is cut: it is renamed, when the next delta begins, to
//     NAME.blkrep/stage.cut    data only: streams (engine/codec/stream.h) one behind the other, each begun at a multiple of 4096 bytes and
//                              cut somewhere. A run that goes on appends what is shipped to it; the stage itself then only says, in block
//                              order, which frames of it are meant (KEPT records). So nothing is copied, however often it is cut
//     NAME.blkrep/cut.1        an index of stage.cut for one run, made when it begins: a version tree whose leaves are the facts, ZERO
//                              where there is none; where else the page hashes are, it has offset, chain and volume size of the frame
//
//     run 1   stage      HEADER DATA DATA DATA..cut
//     run 2   stage.cut  HEADER DATA DATA DATA..    HEADER DATA DATA..cut         what run 1 had and this run kept, what it shipped
//             stage      HEADER KEPT KEPT      RUN      KEPT KEPT                 dropped with the cut
//     run 3   stage.cut  HEADER DATA DATA DATA..    HEADER DATA DATA..    HEADER DATA DATA
//             stage      HEADER KEPT      KEPT RUN      KEPT KEPT         RUN KEPT KEPT END   committed; both go when it is applied
//
// A fact is of use as long as the replica is the version that the delta started from: volume, generation and root are in every HEADER, and
// what has another one is removed when the replica is opened. What is offered was read and its frame's checksum was right; what is kept is
// proven by SHA-256 like data from a peer, with the old block where it keeps pages (engine/replica/delta.c). So a damaged or forged
// stage.cut, or another client's, costs shipping or a failed run, never a wrong byte.
//
// Space: stage.cut is given up when it outgrows the volume by a quarter; when a run that goes on finds the disk full and a run from
// nothing would have got further; by every commit; by a run that finds no changes; and when a delta begins whose shipper does not ask what
// is held (an older client, a stream), so that these leave one delta, however often they are cut.
#ifndef BR_REPLICA_CUT_H
#define BR_REPLICA_CUT_H

#include "engine/codec/identity.h"
#include "engine/codec/stream.h"
#include "engine/ring/ring.h"

#define BR_CUT_NAME  "stage.cut"
#define BR_CUT_ALIGN 4096u

struct br_cut;

/**
 * br_cut_sweep - remove what no delta from @identity's version can use; APPLYING keeps what it may have committed
 * Best effort: what can't be removed, or not be read just now, is looked at again next time.
 */
void br_cut_sweep(struct br_dir *dir, const struct br_identity *identity);
/** br_cut_drop - remove stage and stage.cut, durably and in this order: without the first nobody looks for the second. Best effort */
void br_cut_drop(struct br_dir *dir);
/** br_cut_bytes - how much is kept for a delta from @identity's version; changes nothing */
uint64_t br_cut_bytes(struct br_dir *dir, const struct br_identity *identity);

/**
 * br_cut_open - make ready what is kept for the delta that begins, from @identity's version to one of @geometry
 * @what  for messages; must outlive it
 * NULL when nothing of use is there, or it can't be used for any reason (then it was removed): the delta is staged from nothing.
 */
struct br_cut *br_cut_open(struct br_ring *ring, struct br_dir *dir, const struct br_identity *identity,
                           const struct br_tree_geometry *geometry, const char *what);
/** br_cut_close - removes the index; the data stays; NULL is fine */
void br_cut_close(struct br_cut *cut);
/** br_cut_end_bytes - where its last whole frame ends: what lies behind must be gone before anything is appended */
uint64_t br_cut_end_bytes(const struct br_cut *cut);

/**
 * br_cut_held - the blocks that are held at or after @from, ascending, each one's frame read and found whole
 * Sets *ret_count up to @most; 0: there are no more. Reads at most 64 MiB for one call.
 * Errors: -BR_E_IO of the index; data that can't be read or is damaged is not offered
 */
BR_MUST_CHECK int br_cut_held(struct br_cut *cut, uint64_t from, struct br_held_block *ret_blocks, unsigned most,
                              unsigned *ret_count, struct br_err *reterr);

// Blocks of one frame, taken again.
struct br_cut_piece {
    unsigned count;             // of the blocks asked for, from the first one on
    struct br_batch batch;      // them alone; data in @bytes
    struct br_stream_kept kept; // how the stage names them
    void *bytes;                // the caller's: free() it
};
/**
 * br_cut_take - data of the first of @blocks and of those behind it that lie in the same frame
 * The frame's checksum is right; whether the data is what the leaves say is for the caller to prove.
 * Errors: -BR_E_CORRUPT not held, or damaged; -BR_E_IO -BR_E_NOMEM
 */
BR_MUST_CHECK int br_cut_take(struct br_cut *cut, const struct br_held_block *blocks, unsigned count,
                              struct br_cut_piece *ret_piece, struct br_err *reterr);
/** br_cut_wasted - does it hold anything before block @taken that this run did not take, or twice? */
bool br_cut_wasted(struct br_cut *cut, uint64_t taken);

/**
 * br_cut_resolve - the data that a KEPT record names
 * @file      stage.cut
 * @geometry  of the result
 * @frame     BR_STREAM_FRAME_BYTES_MAX of room, into which ret_batch->data will point
 * Errors: -BR_E_CORRUPT it is not there, or not as the record says; -BR_E_IO
 */
BR_MUST_CHECK int br_cut_resolve(struct br_file *file, const struct br_stream_kept *kept,
                                 const struct br_tree_geometry *geometry, uint8_t *frame, struct br_batch *ret_batch,
                                 struct br_err *reterr);

#endif
