// SPDX-License-Identifier: Apache-2.0
//
// The stack of blkrep's own: the devices that stack.h draws, for trackers era and cow. What attach asks of it alone is here; the rest goes
// through stack.h.
#ifndef BR_TOOLS_VOLUME_OWN_H
#define BR_TOOLS_VOLUME_OWN_H

#include "tools/volume/stack_kind.h"

#define OWN_ERA_GROWTH 2u // dm-era is made for a volume that grows to so many times its size

extern const struct stack_kind own_kind;

/** own_meta_bytes - how large dm-era's metadata must be for a volume of that size, as br_era_meta_bytes() */
BR_MUST_CHECK int own_meta_bytes(uint64_t volume_bytes, uint64_t block_bytes, uint64_t *ret_bytes,
                                 struct br_err *reterr);

/**
 * own_meta_wipe - make dm-era's metadata new before any stack stands; no effect without dm-era, and for a file, which stack_up() wipes
 * Errors: -BR_E_TARGET_IN_USE something holds the place
 */
BR_MUST_CHECK int own_meta_wipe(struct volume *volume, struct br_err *reterr);
/**
 * own_adopt - take a stack over that stands already: snapshots of the record that are not live are dropped from it, and named in *ret_lost
 * What is left of them is removed. The record is not saved; up is true.
 */
BR_MUST_CHECK int own_adopt(struct volume *volume, char ret_lost[64], struct br_err *reterr);
/**
 * own_resize - let a stack that stands have what its device has grown by; the record is saved
 * Errors: -BR_E_UNSUPPORTED the stack was slipped under a device in use, or its dm-era was not made for so much; those of the window
 */
BR_MUST_CHECK int own_resize(struct volume *volume, uint64_t size_bytes, struct br_err *reterr);

#endif
