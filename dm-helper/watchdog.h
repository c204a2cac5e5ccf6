// SPDX-License-Identifier: Apache-2.0
//
// The watchdog of one window. It starts the suspender, and when that is dead or its time is up it makes every device ACTIVE again.
//
// The rule (KERNEL.md, "Suspend and resume"): a resume during a suspend is a no-op that returns 0, and a suspender that is killed in a
// filesystem freeze still completes it, when the disk answers. So one resume proves nothing. The watchdog kills the suspender, and repeats
// resume until the suspender is reaped AND each device that it touched is seen ACTIVE, with the table that it should have.
//
// It outlives everybody: helper and blkrep may be killed or stopped meanwhile. It tells the helper that all is settled by one byte through a
// pipe; nobody may be left to read it. If the watchdog itself is killed, the pipe ends when the suspender is gone too, and the helper does the
// same work (dmh_watchdog_settle()).
#ifndef DMH_WATCHDOG_H
#define DMH_WATCHDOG_H

#include "dm-helper/plan.h"

#define DMH_KEEP_MAX 224 // descriptors that a window may need

// What dmh_process_fork() hands to the watchdog, and the watchdog to the suspender.
struct dmh_watchdog {
    struct dmh_plan *plan;
    int report_fd; // pipe: one byte when settled
    // All descriptors that the two need, report_fd among them, and the volumes' locks: held until the last of the two is gone.
    int keep[DMH_KEEP_MAX];
    size_t keep_count;
};

/** dmh_watchdog_run - the whole of it; for dmh_process_fork(). @watchdog_pointer is a struct dmh_watchdog */
int dmh_watchdog_run(void *watchdog_pointer);
/** dmh_watchdog_settle - one round of undoing: true when every device that the plan touched is ACTIVE; never blocks for long */
bool dmh_watchdog_settle(struct dmh_plan *plan);

#endif
