// SPDX-License-Identifier: Apache-2.0
//
// What the two kinds of attached volumes do each in their own way: a stack of blkrep's own (own.h), or LVM's snapshots of a logical volume
// that stays as it is (lvm.h). stack.c has what they have in common, and asks for the kind in one place.
//
// Every slot is called under the volume's lock, returns 0 or a negative -BR_E_*, and promises what stack.h says of the function that
// calls it. None is NULL but where it says so.
#ifndef BR_TOOLS_VOLUME_STACK_KIND_H
#define BR_TOOLS_VOLUME_STACK_KIND_H

#include "tools/volume/stack.h"

struct stack_kind {
    /** area_make, area_drop - make the area as the record says, or give it back; NULL: the kind has none */
    int (*area_make)(struct volume *volume, struct br_err *reterr);
    int (*area_drop)(struct volume *volume, struct br_err *reterr);
    /** up - build it, or see that it can do what it is for; the record is saved. ret_lost was emptied */
    int (*up)(struct volume *volume, bool fresh_meta, char ret_lost[64], struct br_err *reterr);
    /** down - take everything away, in whatever state it is; the volume's device and its data stay */
    int (*down)(struct volume *volume, struct br_err *reterr);
    /** is_up - 1, or 0 */
    int (*is_up)(struct volume *volume, struct br_err *reterr);

    /** snapshot_prepare - a new snapshot in the record, saved, and what can be made of it before its moment. Nothing is frozen here */
    int (*snapshot_prepare)(struct volume *volume, struct br_ring *ring, uint64_t store_bytes,
                            struct volume_snapshot *snapshot, struct br_err *reterr);
    /** snapshot_unmake - remove what there is of it, if anything; the record still has it. @force: from its readers too, where that can be */
    int (*snapshot_unmake)(struct volume *volume, uint32_t number, bool force, struct br_err *reterr);
    /** snapshot_grow - more room for its store while it is in use */
    int (*snapshot_grow)(struct volume *volume, uint32_t number, uint64_t bytes, struct br_err *reterr);
    /** snapshot_status - of a live one */
    int (*snapshot_status)(struct volume *volume, uint32_t number, struct dmh_target_status *ret_status,
                           struct br_err *reterr);

    /**
     * take_alone - make a prepared snapshot live in a window that somebody else opens, hooks, times and record included; for one volume alone,
     * where that costs less than a window of ours. NULL: it does not
     */
    int (*take_alone)(struct stack_window *of, struct dmh_window_done *ret_done, struct br_err *reterr);
    /** window_prepare - what is to be made right before the window, after all were prepared; may freeze the volume, for itself; NULL nothing */
    int (*window_prepare)(const struct stack_window *of, struct br_err *reterr);
    /** window_add - what a window of ours suspends for the snapshot, and what becomes live in it */
    void (*window_add)(struct dmh_window *window, const struct stack_window *of);
    /** window_note - what is to be known of a snapshot that was taken, into the record, which is saved after it, or that it is none; NULL nothing */
    int (*window_note)(const struct stack_window *of, struct br_err *reterr);
};

#endif
