// SPDX-License-Identifier: Apache-2.0
//
// The suspender makes the calls of a window that may block in the kernel, so that nobody else does.
//
// Before: syncfs in rounds until one is short, or none gets any shorter and half the deadline is enough for one; then eras are rolled, then one
// more round, then a probe of the disk. A freeze of ext4 or
// XFS makes a handful of writes one after the other (journal, its superblock, flushes), and none of them can be hurried: so the window
// is not begun when that many times the disk's latency, as it was measured in the last round, is longer than the deadline.
//
// Then the window: suspend tops, resume what is inside, resume tops. A failure anywhere leads straight to resume, after the new tables of the
// tops, if any, were cleared: all or nothing.
#ifndef DMH_SUSPENDER_H
#define DMH_SUSPENDER_H

#include "dm-helper/plan.h"

/** dmh_suspender_run - the whole of it; for dmh_process_fork(). @plan_pointer is a struct dmh_plan. Its result is in the plan; returns 0 */
int dmh_suspender_run(void *plan_pointer);
/** dmh_resume_until_active - resume a device and see it ACTIVE: 0, else a negative errno; -EAGAIN: it says that it is still suspended */
int dmh_resume_until_active(int control, struct dmh_plan_device *device);

#endif
