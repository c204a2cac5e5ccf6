// SPDX-License-Identifier: Apache-2.0
//
// A tracker whose answer is a file: changed ranges that something else kept track of (a hypervisor, a storage array), one "OFFSET LENGTH" a line,
// in bytes; blank lines and what follows a # are passed over. It is believed as little as any other: the rolling recheck reads a share of
// what it calls unchanged.
#ifndef BR_TOOLS_EXTENTS_H
#define BR_TOOLS_EXTENTS_H

#include "engine/track/tracker.h"

struct extents;

/**
 * extents_open - read the file
 * @since  the version (a point's id, or its first digits) that the ranges are changes to; with any other one everything is compared, for the
 *         reason "extents-of-another-point"
 * @size_bytes  of the source: a range that begins behind it is another disk's
 * Errors: -BR_E_USAGE names the line that is no range, or none of this source; those of the file
 * Owner: extents_close()
 */
BR_MUST_CHECK int extents_open(const char *path, const char *since, uint64_t size_bytes, struct extents **ret_extents,
                               struct br_err *reterr);
/** extents_close - NULL is fine */
void extents_close(struct extents *extents);
/** extents_tracker - valid until it is closed; NULL of NULL */
const struct br_tracker *extents_tracker(const struct extents *extents);

#endif
