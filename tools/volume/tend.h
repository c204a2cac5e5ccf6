// SPDX-License-Identifier: Apache-2.0
//
// A snapshot's store grows before it fills; when it can't, the snapshot goes and the source lives on (G5). Tended during a run by a
// thread of the run, between runs by `blkrep watch`.
#ifndef BR_TOOLS_VOLUME_TEND_H
#define BR_TOOLS_VOLUME_TEND_H

#include "tools/volume/volume.h"

#define TEND_NS (250 * UINT64_C(1000000)) // between two looks

struct tend_found {
    uint32_t snapshots; // that are live
    uint32_t grown;
    uint32_t gone;          // Invalid: dropped, if nobody reads them
    char gone_numbers[64];  // "3 7"
    uint64_t fullest_share; // of the fullest store, in thousandths
};

/**
 * tend_volume - look at every live snapshot of a volume; grow a store that is more than half full, drop one that the kernel gave up
 * @keep  number of a snapshot that is not dropped whatever it is, because its reader shall find out; 0 none
 * Takes the lock only when there is something to change. A mark that loses its snapshot is in the audit log.
 */
BR_MUST_CHECK int tend_volume(struct volume *volume, uint32_t keep, struct tend_found *ret_found,
                              struct br_err *reterr);

#endif
