// SPDX-License-Identifier: Apache-2.0
//
// The devices of an attached volume, built and taken down through the helper, from what its record says (KERNEL.md has the sequences).
//
//     /dev/mapper/NAME      top     snapshot-origin, stays loaded; mounted
//     NAME-snap.7 ...       snap.N  snapshot of the base, its store is cow.N
//     NAME-era              era     dm-era, tracker era only: the base of snapshots; without it the base is real
//     NAME-real             real    linear over the device (or, when the device is a device-mapper one in use, its own table)
//     NAME-cow.7, NAME-meta         linear over pieces of the area
//     NAME-area                     the area when it is a file: linear over its extents
//
// Everything here is done under the volume's lock and can be cut at any instant: what exists already and is as it should be is left alone,
// what is half made is made again. The record is saved before a device is made that it must know of.
#ifndef BR_TOOLS_VOLUME_STACK_H
#define BR_TOOLS_VOLUME_STACK_H

#include "tools/volume/volume.h"

#define STACK_WINDOW_MS 5000u // most that a freeze may take
#define STACK_SYNC_MS   30000u

/** stack_register - tell the helper which devices and places the volume has: root only */
BR_MUST_CHECK int stack_register(struct volume *volume, struct br_err *reterr);
/**
 * stack_restore - let the record say what the registration says, which root alone wrote: device, WWID, place
 * For taking a volume down whose record stack_register() refuses. No effect without a registration; the record is not saved.
 */
BR_MUST_CHECK int stack_restore(struct volume *volume, struct br_err *reterr);
/** stack_area_make - make the area as large as the record says, or larger if it is; for a file or a logical volume */
BR_MUST_CHECK int stack_area_make(struct volume *volume, struct br_err *reterr);
/**
 * stack_up - build what the record says: area, metadata, real, era, held snapshots, top
 * @fresh_meta  the metadata is new: it is wiped first
 * A snapshot that can't be built again is dropped from the record, with its marks, and named in *ret_lost ("" none).
 * Durable: the record is saved with up = true, pending = false at its end
 */
BR_MUST_CHECK int stack_up(struct volume *volume, bool fresh_meta, char ret_lost[64], struct br_err *reterr);
/**
 * stack_down - take everything down that is there, in whatever state it is
 * Errors: -BR_E_BUSY the top is open (named); then nothing was changed
 */
BR_MUST_CHECK int stack_down(struct volume *volume, struct br_err *reterr);
/**
 * stack_note - note how far the tracker is: the era, how full the stores of held snapshots are; the record is not saved
 * @ret_older  the word for what is less than what was noted before: a copy of an earlier time; NULL none. Then nothing was noted of it.
 * @rolled  the tracker was activated since, which begins an era: the same one is an older one
 * Errors: -BR_E_CORRUPT dm-era does not work
 */
BR_MUST_CHECK int stack_note(struct volume *volume, bool rolled, const char **ret_older, struct br_err *reterr);
/** stack_is_up - 1 the top is there and live, 0 not; a device that the stack was slipped under and that somebody gave another table is not */
BR_MUST_CHECK int stack_is_up(struct volume *volume, struct br_err *reterr);
/** stack_area_drop - give the area back: remove its file or logical volume; a device stays as it is */
BR_MUST_CHECK int stack_area_drop(struct volume *volume, struct br_err *reterr);

struct stack_window {
    struct volume *volume;
    struct volume_snapshot *snapshot; // in the volume's record
};

/**
 * stack_snapshot_prepare - store and device of a new snapshot, without a live table; the record is saved with it
 * @ring  to wipe the store with
 * Errors: -BR_E_NO_SPACE; after any nothing is left but what stack_snapshot_drop() removes
 */
BR_MUST_CHECK int stack_snapshot_prepare(struct volume *volume, struct br_ring *ring, uint64_t store_bytes,
                                         struct volume_snapshot *snapshot, struct br_err *reterr);
/**
 * stack_snapshot_take - one window over all tops, in which the prepared snapshots become live: all or nothing
 * @windows     one for each volume, all locked; the helper of the first one is asked
 * @ret_done    what the window took
 * Sets taken time, era and consistency of each snapshot and saves the records. After a failure no snapshot is live.
 */
BR_MUST_CHECK int stack_snapshot_take(struct stack_window *windows, uint32_t count, struct dmh_window_done *ret_done,
                                      struct br_err *reterr);
/**
 * stack_store_bytes - how large the store of a new snapshot is when nobody says
 * A 16th of the volume and at least 64 MiB, but never more than half of what the area has left: it grows when it must, and others have room.
 */
uint64_t stack_store_bytes(const struct volume_record *record);
/** stack_snapshot_drop - remove a snapshot and give its store back, in whatever state it is; the record is saved */
BR_MUST_CHECK int stack_snapshot_drop(struct volume *volume, uint32_t number, bool force, struct br_err *reterr);
/** stack_snapshot_lose - the same for one that overflowed: of a user's the name stays in the record, as gone */
BR_MUST_CHECK int stack_snapshot_lose(struct volume *volume, uint32_t number, struct br_err *reterr);
/**
 * stack_snapshot_grow - more room for a snapshot's store while it is in use, up to what the area can give
 * Errors: -BR_E_NO_SPACE
 */
BR_MUST_CHECK int stack_snapshot_grow(struct volume *volume, uint32_t number, uint64_t bytes, struct br_err *reterr);
/** stack_snapshot_status - of a live snapshot: state, and how full its store is */
BR_MUST_CHECK int stack_snapshot_status(struct volume *volume, uint32_t number, struct dmh_target_status *ret_status,
                                        struct br_err *reterr);
/** stack_open - a part or place of the volume as a file of @ring, read only and direct, or for writing */
BR_MUST_CHECK int stack_open(struct volume *volume, struct br_ring *ring, const char *where, bool write,
                             struct br_file **ret_file, uint64_t *ret_size_bytes, struct br_err *reterr);

#endif
