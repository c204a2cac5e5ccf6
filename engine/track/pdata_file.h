// SPDX-License-Identifier: Apache-2.0
//
// Walks over the trees of a persistent-data metadata device (engine/codec/pdata.h), bounded whatever the device holds: no block is visited
// twice in one pass, so that cycles and shared subtrees end in an error and the work is at most one visit of each block; depth is
// limited; every block is checked before it is used.
//
// Memory: a bit for each metadata block, one block for each level, and the array blocks below one leaf, read at the same time: 1 MiB.
#ifndef BR_TRACK_PDATA_FILE_H
#define BR_TRACK_PDATA_FILE_H

#include "engine/codec/pdata.h"
#include "engine/track/fresh.h"

#define BR_PDATA_DEPTH_MAX 12u // levels of a B-tree; half full nodes reach 2^31 array blocks with 5

struct br_pdata_file {
    struct br_fresh fresh;
    uint64_t blocks;   // of the device
    uint64_t *visited; // a bit for each
    uint8_t (*levels)[BR_PDATA_BLOCK_BYTES];
};

/** br_pdata_leaf_fn - takes a leaf of a tree, valid within the call; negative ends the walk and is returned */
typedef int br_pdata_leaf_fn(void *ctx, const struct br_pdata_node *leaf, struct br_err *reterr);
/** br_pdata_values_fn - takes @count values of an array, from @index on, valid within the call; negative ends the walk and is returned */
typedef int br_pdata_values_fn(void *ctx, uint64_t index, const uint8_t *values, unsigned count, struct br_err *reterr);

/** br_pdata_file_open - @file must outlive it; @size_bytes of the device */
BR_MUST_CHECK int br_pdata_file_open(struct br_file *file, uint64_t size_bytes, struct br_pdata_file *ret_pdata,
                                     struct br_err *reterr);
/** br_pdata_file_close - frees memory; a zeroed struct is fine */
void br_pdata_file_close(struct br_pdata_file *pdata);
/** br_pdata_file_begin - a new pass: no block was visited */
void br_pdata_file_begin(struct br_pdata_file *pdata);
/** br_pdata_file_block - a block as it is now, unchecked; valid until the next call here; no visit */
BR_MUST_CHECK int br_pdata_file_block(struct br_pdata_file *pdata, uint64_t number, const uint8_t **ret_block,
                                      struct br_err *reterr);
/**
 * br_pdata_file_tree - visit the leaves of a B-tree, in the order of their keys
 * @leaf  must not walk another tree of this pdata
 * Errors: -BR_E_CORRUPT at the block's offset: what br_pdata_node_decode() finds, a block behind the end or visited before, keys out of
 *         their parent's range, an empty node that is not the root, too many levels; -BR_E_IO; what @leaf returned
 */
BR_MUST_CHECK int br_pdata_file_tree(struct br_pdata_file *pdata, uint64_t root, unsigned value_bytes,
                                     br_pdata_leaf_fn *leaf, void *ctx, struct br_err *reterr);
/**
 * br_pdata_file_array - visit the values of an array, ascending
 * @entries  of the array; fewer or more are damage
 * Errors: as br_pdata_file_tree(); also array blocks that are missing or not full in front of others
 */
BR_MUST_CHECK int br_pdata_file_array(struct br_pdata_file *pdata, uint64_t root, unsigned value_bytes,
                                      uint64_t entries, br_pdata_values_fn *values, void *ctx, struct br_err *reterr);
/**
 * br_pdata_file_space - check that the space map counts every block visited in this pass as used
 * That finds trees of a superblock that is older than they are: their blocks may be free, or something else by now. Only for a superblock
 * that no kernel is changing, and with the trees that it names itself.
 * @ret_used  blocks that the bitmaps count as used; NULL: not asked
 * Errors: -BR_E_CORRUPT
 */
BR_MUST_CHECK int br_pdata_file_space(struct br_pdata_file *pdata, const struct br_pdata_space_root *root,
                                      uint64_t *ret_used, struct br_err *reterr);

#endif
