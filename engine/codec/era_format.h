// SPDX-License-Identifier: Apache-2.0
//
// The superblock of dm-era's metadata. Source: drivers/md/dm-era-target.c, "On disk metadata layout". Packed, little-endian:
//
//     0   u32 checksum (XORed with 146538381)      172 u32 sectors of a data block
//     4   u32 flags, 0                             176 u32 sectors of a metadata block, 8
//     8   u64 block that it belongs into           180 u32 data blocks
//     16  16  uuid, zero                           184 u32 current era
//     32  u64 magic 2126579579                     188 u32 bits of the current writeset   192 u64 its root, 0: none
//     40  u32 version, 1                           200 u64 root of the tree of archived writesets: era -> {u32 bits, u64 root}
//     44  128 root of the space map                208 u64 root of the era array: u32 for each data block, the last era in which it was
//                                                          written, 0 never
//                                                  216 u64 block of the metadata snapshot, 0 none
//
// A block's last era is the greatest of: its entry of the era array, the archived writesets that have its bit, and the current era when the
// current writeset has it. Writesets are moved into the array ("digested") oldest first, and leave the tree when they are. The current one is
// archived when an era ends: at a checkpoint, a metadata snapshot, a resume; also at a suspend, when there is none for a while.
//
// A metadata snapshot is a copy of the superblock in another block, made right after an era ended. Only the two tree roots in it count: the
// kernel keeps what hangs on them from being used again, and nothing else.
#ifndef BR_CODEC_ERA_FORMAT_H
#define BR_CODEC_ERA_FORMAT_H

#include "engine/codec/pdata.h"

#define BR_ERA_WRITESET_BYTES 12u                       // of a value of the writeset tree
#define BR_ERA_BLOCKS_MAX     ((UINT32_C(1) << 31) - 1) // the kernel allows no more

struct br_era_writeset {
    uint32_t era; // key in the tree; of the current one the current era
    uint32_t bits;
    uint64_t root; // 0: none
};

struct br_era_superblock {
    uint64_t block; // where it lies: 0, or the metadata snapshot
    uint8_t uuid[16];
    struct br_pdata_space_root space;
    uint64_t block_bytes; // of a data block
    uint32_t blocks;      // data blocks; the last one may be cut
    uint32_t current_era;
    struct br_era_writeset current;
    uint64_t writeset_tree;
    uint64_t era_array;
    uint64_t snap_block; // 0 none
};

/** br_era_is_superblock - whether these first BR_PDATA_BLOCK_BYTES of a device claim to be dm-era's; checks only the magic */
bool br_era_is_superblock(const uint8_t *block);
/**
 * br_era_superblock_decode - a superblock that was read from block @number
 * Errors: -BR_E_NOT_FOUND all zero: the kernel would make new metadata here; -BR_E_CORRUPT at its offset; -BR_E_VERSION another version, or
 *         flags that no kernel known here sets
 */
BR_MUST_CHECK int br_era_superblock_decode(const uint8_t *block, uint64_t number,
                                           struct br_era_superblock *ret_superblock, struct br_err *reterr);
/** br_era_writeset_decode - a value of the writeset tree, BR_ERA_WRITESET_BYTES of it */
struct br_era_writeset br_era_writeset_decode(uint64_t era, const uint8_t *value);
/**
 * br_era_meta_bytes - how large a metadata device must be that it can never fill
 * @volume_bytes, @block_bytes  of the volume, at its largest: the metadata can't grow later; block_bytes a multiple of 4096
 * @eras  the most eras that end (checkpoints, metadata snapshots, resumes) before the kernel has digested the ones before, or while one
 *        metadata snapshot is held
 *
 * An upper bound, in blocks, of what can be in use at once, because a transaction frees nothing before its end:
 *     superblock and its snapshot                                    2
 *     era array: committed, changed in this transaction, snapshot's  3 A
 *     writesets: waiting, digested but not yet freed, snapshot's     3 * eras * W, and 2 W for the current one
 *     tree of writesets: committed, changed, snapshot's              3 T
 *     space map: bitmaps and index, committed and changed            2 (S + 1), and 1 for its tree of counts
 * with A, W the blocks of arrays of `blocks` u32 and of `blocks / 64` u64, whose B-tree nodes are at least half full (they are split in
 * halves), T those of a tree of `eras` entries with nodes a third full (they are merged below that), S a bitmap for 16320 blocks. A quarter is added for
 * shadows that the kernel makes twice when it is short of memory (insert_shadow() may fail). Measured against in tests/vm/era-metadata-never-fills.sh.
 * Errors: -BR_E_LIMIT more data blocks than dm-era allows, or metadata than its space map can hold (15.9 GiB)
 */
BR_MUST_CHECK int br_era_meta_bytes(uint64_t volume_bytes, uint64_t block_bytes, uint32_t eras, uint64_t *ret_bytes,
                                    struct br_err *reterr);

#endif
