// SPDX-License-Identifier: Apache-2.0
//
// Between the early boot and the real root. The initramfs builds stacks from copies of their records, before the root file system is
// mounted; what it saw of each device before anything could write to it lies in /run/blkrep/early/NAME.json, in memory. `blkrep attach`
// on the real root judges with it by the real record, which alone says what is proven.
#ifndef BR_TOOLS_VOLUME_EARLY_H
#define BR_TOOLS_VOLUME_EARLY_H

#include "tools/volume/continuity.h"

/** early_save - leave what was seen, @now->lost too, for the rest of this boot */
BR_MUST_CHECK int early_save(const struct volume_record *record, const struct continuity_now *now,
                             struct br_err *reterr);
/**
 * early_load - what the early part of this boot saw of the volume
 * Returns 1 with the device's facts and the system's own of now; 0 when it left nothing, or not of this volume; -BR_E_CORRUPT
 */
BR_MUST_CHECK int early_load(const struct volume_record *record, struct continuity_now *ret_now, struct br_err *reterr);

#endif
