// SPDX-License-Identifier: Apache-2.0
//
// The device of a volume, found again. A path may lead to another disk after a boot; a WWID doesn't. So a volume whose device has one is
// never built over what its path leads to if that is another, and is found where the kernel put it.
#ifndef BR_TOOLS_VOLUME_FIND_H
#define BR_TOOLS_VOLUME_FIND_H

#include "engine/guard/guard.h"
#include "tools/volume/volume.h"

/**
 * find_device - what the record's device is now; its path in the record is the one to use from here on (not saved)
 * Errors: -BR_E_REFUSED another disk is there, and the volume's own is nowhere; or several have its WWID, as the paths of a multipath device
 * whose map is not up have; -BR_E_NOT_FOUND nothing is there
 */
BR_MUST_CHECK int find_device(struct cli *cli, struct volume_record *record, struct br_guard_object *ret_object,
                              struct br_err *reterr);

#endif
