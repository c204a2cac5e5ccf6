// SPDX-License-Identifier: Apache-2.0
//
// A snapshot's store grows before it fills. When the area has no more room the oldest held snapshot is given up for it, so that a run's view
// can be read to its end; when there is none, the store overflows, the snapshot goes and the source lives on (G5). Tended during a run by a
// thread of the run, between runs by `blkrep watch`.
//
// What was given up or overflowed is in the audit log. A consumer whose mark it was compares everything in its next run; a user's snapshot
// stays in the record as gone, and whoever asks for it is told.
#ifndef BR_TOOLS_VOLUME_TEND_H
#define BR_TOOLS_VOLUME_TEND_H

#include "tools/volume/volume.h"

#define TEND_NS (250 * UINT64_C(1000000)) // between two looks

struct tend_found {
    uint32_t snapshots; // that are live
    uint32_t grown;
    uint32_t gone;          // overflowed, or given up for another one: dropped, if nobody reads them
    char gone_numbers[64];  // "3 7"
    uint64_t fullest_share; // of the fullest store, in thousandths
};

/**
 * tend_volume - look at every live snapshot of a volume; grow a store that is more than half full, drop one that the kernel gave up, and when
 * there is no room give up the oldest held snapshot
 * @keep  number of a snapshot that is not dropped whatever it is, because its reader shall find out; 0 none
 * Takes the lock only when there is something to change.
 * Errors: -BR_E_NO_SPACE a store could not grow
 */
BR_MUST_CHECK int tend_volume(struct volume *volume, uint32_t keep, struct tend_found *ret_found,
                              struct br_err *reterr);
/**
 * tend_collect - under the lock: drop every snapshot that the kernel gave up and nobody reads, and what a killed run left of one that it never
 * took (whoever takes one has the lock) or that not all of its group have. What can't go now goes later.
 */
void tend_collect(struct volume *volume);
/**
 * tend_give_up - under the lock: drop snapshot @number with an audit line that says @why
 * Errors: -BR_E_BUSY somebody reads it
 */
BR_MUST_CHECK int tend_give_up(struct volume *volume, uint32_t number, const char *why, struct br_err *reterr);

#endif
