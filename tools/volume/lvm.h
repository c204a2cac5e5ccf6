// SPDX-License-Identifier: Apache-2.0
//
// Volumes whose device is a logical volume and whose snapshots are LVM's own: trackers thin and, on other LVs, cow. No stack is put on or
// under them: the LV keeps its path, its table and LVM's commands, and LVM keeps the snapshots over boots. What stack.h promises is kept here
// for such a volume (lvm_kind).
//
//     /dev/VG/LV                        the volume, as it was
//     /dev/VG/blkrep-NAME-snap.7        a snapshot, tagged "blkrep"; a thin one is read only and has no store of its own
//
// One alone is made in LVM's own window. In a group of volumes LVM makes it beforehand, and a window of ours over all of them makes it anew, of the
// moment that they share (dm-helper/renew.h); so there are two freezes, the second one as short as for a stack of blkrep's.
//
// What tracks is the snapshot that is held: LVM activates it with its origin and never without, so a boot or another machine with the group
// is no gap. What could break it is seen when it is used: the LV is another one (its uuid), the snapshot overflowed, the pool's metadata
// are from an older copy (its transaction id went back).
//
// A pool that is nearly full gets no snapshot, and gives back those that are only marks: what they hold may be what its volumes need.
#ifndef BR_TOOLS_VOLUME_LVM_H
#define BR_TOOLS_VOLUME_LVM_H

#include "engine/map/extent_map.h"
#include "tools/volume/stack_kind.h"
#include "tools/volume/tend.h"

#define LVM_POOL_FULL 900u // thousandths of a pool's data or metadata, from which on it gets no snapshot
#define LVM_POOL_DIRE 950u // and gives back those that it has

extern const struct stack_kind lvm_kind;

/** lvm_snapshot_path - /dev/VG/blkrep-NAME-snap.N */
void lvm_snapshot_path(const struct volume_record *record, uint32_t number, char *ret_path, size_t size);

/**
 * lvm_snapshot_proven - is the snapshot the very one that was made?
 * Returns 1; 0 with a word in *ret_why
 */
BR_MUST_CHECK int lvm_snapshot_proven(struct volume *volume, const struct volume_snapshot *snapshot,
                                      const char **ret_why, struct br_err *reterr);

/** lvm_pool_share - how full the volume's pool is, data or metadata, in thousandths; 1000 when it takes no writes */
BR_MUST_CHECK int lvm_pool_share(struct volume *volume, uint64_t *ret_share, struct br_err *reterr);
/**
 * lvm_thin_changed - what differs between two thin snapshots of the volume
 * Returns 1 when @map has it all; 0 with a word in *ret_why and the story in *reterr; else an error
 */
BR_MUST_CHECK int lvm_thin_changed(struct volume *volume, const struct volume_snapshot *older,
                                   const struct volume_snapshot *newer, struct br_extent_map *map, const char **ret_why,
                                   struct br_err *reterr);
/** lvm_thin_check - may a run go on reading its snapshot? -BR_E_NO_SPACE the pool is so full that the snapshot must go */
BR_MUST_CHECK int lvm_thin_check(struct volume *volume, struct br_err *reterr);
/** lvm_thin_tend - as tend_volume(): a pool that is dire gives back what is only a mark */
BR_MUST_CHECK int lvm_thin_tend(struct volume *volume, struct tend_found *ret_found, struct br_err *reterr);

#endif
