// SPDX-License-Identifier: Apache-2.0
//
// Passing the plain device through under the stack's name, for a boot that has no stack (blkrep=off, no helper, a broken store): mounts of
// /dev/mapper/NAME find the data, untracked, and the machine comes up.
//
// /run/blkrep/passed/KERNEL-NAME says BLKREP_PASSED=NAME. Where udev makes the links 62-blkrep.rules reads it, so that systemd sees the
// device too; elsewhere the link is made here. A device under which the stack is slipped keeps its path and needs nothing.
#ifndef BR_TOOLS_VOLUME_PASS_H
#define BR_TOOLS_VOLUME_PASS_H

#include "tools/volume/record.h"

/**
 * pass_on - let /dev/mapper/NAME mean the device until pass_off(), at most for this boot
 * Errors: -BR_E_BUSY something else has that name; -BR_E_NOT_FOUND the device is not there
 */
BR_MUST_CHECK int pass_on(const struct volume_record *record, struct br_err *reterr);
/** pass_is_on - is the device passed through in this boot? */
bool pass_is_on(const struct volume_record *record);
/** pass_off - take it back; no effect when it was not passed through */
BR_MUST_CHECK int pass_off(const struct volume_record *record, struct br_err *reterr);

#endif
