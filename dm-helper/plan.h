// SPDX-License-Identifier: Apache-2.0
//
// The plan of one suspend window: everything that helper, watchdog and suspender share, in one piece of shared, locked memory.
//
// The helper fills it in while everything still runs: names, flags, descriptors, table hashes. Then it forks the watchdog, which forks the
// suspender, and nothing is allocated, opened or looked up any more. Phases:
//
//     SYNCING --suspender--> WINDOW --suspender--> (ends)           the suspender did it all, or undid it
//        |                     |
//        | budget passed       | deadline passed: watchdog
//        v                     v
//     ABANDONED             ABORTED     the suspender is killed, or, stuck in the kernel, will die when it comes out
//
// A phase is changed by compare-and-exchange only, so a suspender that was abandoned can't enter the window any more, whatever it was
// doing. What became of each device is in its `state`, written before and after each call: after the suspender's death the watchdog knows
// which calls may have happened. `verdict` is what went wrong first.
#ifndef DMH_PLAN_H
#define DMH_PLAN_H

#include <stdatomic.h>

#include "dm-helper/raw.h"
#include "dm-helper/request.h"

enum dmh_phase { DMH_PHASE_SYNCING, DMH_PHASE_WINDOW, DMH_PHASE_ABANDONED, DMH_PHASE_ABORTED };

enum dmh_device_state {
    DMH_STATE_IDLE,       // nothing was done to it
    DMH_STATE_SUSPENDING, // the call was begun; it may still take effect
    DMH_STATE_SUSPENDED,
    DMH_STATE_RESUMING, // the call was begun; for what is inside: its first resume
    DMH_STATE_RESUMED,  // and seen to be ACTIVE
    DMH_STATE_FAILED,   // its call failed, it is as it was
};

enum dmh_verdict_kind {
    DMH_VERDICT_NONE,     // all went well
    DMH_VERDICT_SLOW,     // write-back was too slow: nothing was begun
    DMH_VERDICT_SYNC,     // syncfs failed: nothing was begun
    DMH_VERDICT_MARK,     // rolling an era failed: nothing was begun
    DMH_VERDICT_YIELD,    // a pool did not give up what is to be made anew: nothing was begun
    DMH_VERDICT_LOCK,     // memory could not be locked: nothing was begun
    DMH_VERDICT_SUSPEND,  // a suspend call failed
    DMH_VERDICT_INSIDE,   // something inside could not be resumed
    DMH_VERDICT_RESUME,   // a top's resume failed at first
    DMH_VERDICT_DEADLINE, // the deadline passed
    DMH_VERDICT_KILLED,   // the suspender died of something else
};

#define DMH_PLAN_MESSAGE_MAX 64

struct dmh_plan_device {
    struct dmh_raw_name name;
    char label[DMH_DM_NAME_MAX]; // for texts
    uint32_t suspend_flags;
    uint32_t event_flags;
    bool swap; // has an inactive table that its resume makes live
    bool tidy; // inside only: when it did not become live, its inactive table is cleared
    // Inside only, of a thin pool: it is not resumed, it is told this; and this just before the window, when all is synced.
    char message[DMH_PLAN_MESSAGE_MAX];
    char message_before[DMH_PLAN_MESSAGE_MAX];
    uint64_t hash_before;     // of its live table; 0 not known
    uint64_t hash_after;      // of the table that it is to have when all went well; 0 not known
    _Atomic int state;        // enum dmh_device_state
    _Atomic bool wrong_table; // ACTIVE at the end, but with another table than intended

    uint64_t began_ns, suspended_ns, resuming_ns, resumed_ns;
};

struct dmh_plan_top {
    struct dmh_plan_device device;
    int mount_fd;  // a folder of the filesystem on it; -1 none
    int stat_fd;   // /sys/dev/block/M:N/stat; -1 none
    int device_fd; // for the probe; -1 none is needed
    bool checkpoint;
    struct dmh_raw_name era;
    char era_params[DMH_PARAMS_MAX]; // its status after the checkpoint
    uint64_t era_start_sectors, era_length_sectors;
};

struct dmh_plan {
    int control_fd;
    uint64_t deadline_ns;
    uint64_t sync_budget_ns; // 0: no sync, and no judgement of the disk
    uint64_t sync_good_ns;
    uint32_t top_count;
    struct dmh_plan_top tops[DMH_TOPS_MAX];
    uint32_t inside_count;
    struct dmh_plan_device inside[DMH_INSIDE_MAX];

    _Atomic int phase;         // enum dmh_phase
    _Atomic int verdict;       // enum dmh_verdict_kind
    _Atomic int verdict_errno; // positive, 0 when none
    _Atomic int verdict_index; // of the top or inside; -1 when none
    _Atomic uint64_t window_began_ns;
    _Atomic uint64_t window_ended_ns;
    _Atomic bool watched; // the watchdog is ready: the window may begin
    _Atomic bool settled; // the watchdog has seen every device ACTIVE, and the suspender is gone

    uint64_t sync_ns, sync_last_ns;
    uint32_t sync_rounds;
    uint64_t latency_ns; // of one write or flush, as measured before the window

    _Alignas(16) char suspender_buffer[DMH_RAW_LINES_BYTES]; // room for the calls that return text
    _Alignas(16) char watchdog_buffer[DMH_RAW_LINES_BYTES];
    _Alignas(4096) char probe_buffer[4096];
};

/** dmh_plan_verdict - record what went wrong, unless something did before */
static inline void dmh_plan_verdict(struct dmh_plan *plan, int kind, int os_errno, int index)
{
    int none = DMH_VERDICT_NONE;

    if (atomic_compare_exchange_strong(&plan->verdict, &none, kind)) {
        atomic_store(&plan->verdict_errno, os_errno);
        atomic_store(&plan->verdict_index, index);
    }
}

/** dmh_plan_step - change the phase; false when it is not @from any more */
static inline bool dmh_plan_step(struct dmh_plan *plan, int from, int to)
{
    return atomic_compare_exchange_strong(&plan->phase, &from, to);
}

#endif
