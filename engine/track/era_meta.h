// SPDX-License-Identifier: Apache-2.0
//
// Which blocks of a volume were written since an era, read from dm-era's metadata device (engine/codec/era_format.h has the format). Never
// writes. Two views:
//
//  - through a metadata snapshot, while dm-era runs: `take_metadata_snap`, read, `drop_metadata_snap`. It holds all writes of the eras
//    before the one that the message began; later ones are in none. The kernel does not touch what hangs on it.
//  - the superblock itself, when no kernel has the device open: before activation, of a copy, after a crash. Era array, archived
//    writesets and the current writeset together are complete then: the kernel commits a bit before it lets the first write of an
//    era to its block go on (since Linux 5.12; before, the current writeset of before a crash was lost at the next activation, so kernels before
//    that are refused elsewhere). era_dump and era_invalidate 0.9 leave the current writeset out and miss changes.
//    Read while a kernel works on the device it is a race that is noticed, not won: -BR_E_BUSY.
//
// "Since era E" is inclusive: a block that was written in era E or later, as far as the view goes. Take as mark the current era that
// the status shows after `checkpoint` (or after a resume): everything written before it is in eras below, everything after in E or above. A block
// that was never written is in no era and never told; asking since era 0 is asking since era 1, the first.
//
// What is told is whole blocks, cut at the end of the volume. A volume that has grown past what the metadata covers (it is resized when it
// is resumed) has its rest told as changed; blocks behind the end of one that shrank are left out.
//
// What dm-era does not see: a discard that spans several blocks marks only the first (so no discard may reach it); writes below it.
//
// Damage: every block has a checksum and its place in it, and a tree is walked within bounds: -BR_E_CORRUPT with the offset of the block. Eras of
// the future, entries that no era array has, trees whose blocks the space map calls free (without snapshot: a superblock that is older
// than its trees) are damage too. A cleared bit whose block was given a right checksum can't be seen here, nor a whole older copy of the metadata,
// unless the mark or `kernel_era` is newer than it; the first needs the rolling recheck.
#ifndef BR_TRACK_ERA_META_H
#define BR_TRACK_ERA_META_H

#include "engine/codec/era_format.h"
#include "engine/map/extent_map.h"
#include "engine/ring/ring.h"

struct br_era_meta;

struct br_era_meta_params {
    struct br_file *file; // the metadata device; must outlive what is opened
    uint64_t meta_bytes;  // its size
    bool use_snap;        // through the metadata snapshot that is held
    uint32_t
        kernel_era; // the current era by the kernel's status, asked before; 0: not asked. An older superblock is damage
    uint64_t settle_ns; // how long a superblock that fails its check may be a write on its way; 0: nobody writes
};

/**
 * br_era_meta_open - find the view
 * Allocates: a bit for each metadata block, 48 KiB    Blocks: runs the ring, for about settle_ns at most
 * Errors: -BR_E_NOT_FOUND the device is zero, or no metadata snapshot is held; -BR_E_CORRUPT; -BR_E_VERSION; -BR_E_IO; -BR_E_NOMEM
 */
BR_MUST_CHECK int br_era_meta_open(const struct br_era_meta_params *params, struct br_era_meta **ret_meta,
                                   struct br_err *reterr);
/** br_era_meta_close - NULL is fine */
void br_era_meta_close(struct br_era_meta *meta);
/** br_era_meta_superblock - what the view is of: the superblock, or the metadata snapshot's copy; valid until it is closed */
const struct br_era_superblock *br_era_meta_superblock(const struct br_era_meta *meta);
/**
 * br_era_meta_changed - add to @map what was written in @since_era or later, in bytes of the volume
 * @volume_bytes  its size now
 * Allocates: a bit for each data block (128 KiB for 1 TiB in blocks of 1 MiB, 256 MiB for the most that dm-era allows), 12 bytes for each
 *            archived writeset, 1 MiB to read; and what the map takes, which is bounded    Blocks: runs the ring
 * Errors: -BR_E_CORRUPT damaged, or a mark that is newer than the view: this is an older copy of the metadata, or another volume's;
 *         -BR_E_BUSY the kernel changed the metadata meanwhile, or dropped the snapshot: nothing is known; -BR_E_IO; -BR_E_NOMEM.
 *         @map may hold a part then. After any but BUSY the volume has to be compared whole.
 */
BR_MUST_CHECK int br_era_meta_changed(struct br_era_meta *meta, uint32_t since_era, uint64_t volume_bytes,
                                      struct br_extent_map *map, struct br_err *reterr);

/** br_era_meta_line_fn - takes one line of text without a line end; non-zero stops the dump and is returned */
typedef int br_era_meta_line_fn(void *ctx, const char *line);
/**
 * br_era_meta_dump - the metadata as text: superblock, writesets, era array; and the metadata snapshot when one is held
 * Errors: as br_era_meta_open() and br_era_meta_changed(), after the lines up to the damage
 */
BR_MUST_CHECK int br_era_meta_dump(struct br_file *file, uint64_t meta_bytes, br_era_meta_line_fn *line, void *ctx,
                                   struct br_err *reterr);

#endif
