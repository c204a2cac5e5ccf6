// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/watchdog.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "dm-helper/sandbox.h"
#include "dm-helper/suspender.h"
#include "engine/base/units.h"

#define DMH_LOOK_MS      5   // how often the watchdog looks at the suspender, and repeats a resume
#define DMH_LOOK_SLOW_MS 100 // the same after ten seconds: then it waits for a disk

// ---- settling --------------------------------------------------------------------------------------------------------

// Does the device have the table that it should have by now?
static bool dmh_table_is(struct dmh_plan *plan, struct dmh_plan_device *device, uint64_t hash)
{
    if (!hash) {
        return true; // nothing to compare with
    }
    int count = dmh_raw_lines(plan->control_fd, &device->name, true, false, plan->watchdog_buffer,
                              sizeof(plan->watchdog_buffer));
    return count < 0 || dmh_raw_table_hash(plan->watchdog_buffer, count) == hash;
}

// One attempt at one device. A new table that is not to become live is cleared first, also because a resume that brings one would wait
// for the suspend that is in progress.
static bool dmh_settle_device(struct dmh_plan *plan, struct dmh_plan_device *device)
{
    int state = atomic_load(&device->state);
    bool undo = state == DMH_STATE_SUSPENDING || state == DMH_STATE_SUSPENDED;

    if (state == DMH_STATE_IDLE) {
        return true;
    }
    if (undo && device->swap) {
        (void)dmh_raw_clear(plan->control_fd, &device->name);
    }
    struct dmh_raw_state now;
    int error = dmh_raw_state(plan->control_fd, &device->name, &now);
    if (!error && now.gone) {
        return true;
    }
    if (error || now.suspended || undo || state == DMH_STATE_RESUMING) {
        error = dmh_resume_until_active(plan->control_fd, device);
    }
    if (error == -ENXIO) {
        return true; // somebody removed it
    }
    if (!error && state != DMH_STATE_FAILED) {
        uint64_t hash = undo || !device->swap ? device->hash_before : device->hash_after;
        atomic_store(&device->wrong_table, !dmh_table_is(plan, device, hash));
    }
    return !error;
}

bool dmh_watchdog_settle(struct dmh_plan *plan)
{
    bool settled = true;

    for (uint32_t i = plan->inside_count; i-- > 0;) {
        // One that had no table before has no users, whatever state its first resume left it in.
        settled &= !plan->inside[i].hash_before || dmh_settle_device(plan, &plan->inside[i]);
    }
    for (uint32_t i = plan->top_count; i-- > 0;) {
        settled &= dmh_settle_device(plan, &plan->tops[i].device);
    }
    return settled;
}

// ---- watching --------------------------------------------------------------------------------------------------------

// When the suspender's time is up. Before the window that is one more round than the budget, and the few calls of mark and probe.
static uint64_t dmh_limit_ns(const struct dmh_plan *plan, uint64_t began_ns)
{
    return plan->deadline_ns + (atomic_load(&plan->phase) == DMH_PHASE_WINDOW ? atomic_load(&plan->window_began_ns)
                                                                              : began_ns + plan->sync_budget_ns);
}

// Kills a suspender whose time is up. True: nothing was suspended yet, and nothing will be.
static bool dmh_out_of_time(struct dmh_plan *plan, pid_t suspender)
{
    if (dmh_plan_step(plan, DMH_PHASE_SYNCING, DMH_PHASE_ABANDONED)) {
        dmh_plan_verdict(plan, DMH_VERDICT_SLOW, 0, -1);
        kill(suspender, SIGKILL);
        return true;
    }
    if (dmh_plan_step(plan, DMH_PHASE_WINDOW, DMH_PHASE_ABORTED)) {
        dmh_plan_verdict(plan, DMH_VERDICT_DEADLINE, 0, -1);
        kill(suspender, SIGKILL);
    }
    return false;
}

static void dmh_watch(struct dmh_plan *plan, pid_t suspender)
{
    const uint64_t began_ns = dmh_process_now_ns();
    bool reaped = false;
    int status = 0;

    for (;;) {
        if (!reaped && waitpid(suspender, &status, WNOHANG) == suspender) {
            reaped = true;
            if (WIFSIGNALED(status)) {
                dmh_plan_verdict(plan, DMH_VERDICT_KILLED, 0, -1);
            }
        }
        bool late = dmh_process_now_ns() > dmh_limit_ns(plan, began_ns);
        if (late && !reaped && dmh_out_of_time(plan, suspender)) {
            return;
        }
        if ((late || reaped) && dmh_watchdog_settle(plan) && reaped) {
            break;
        }
        bool slow = dmh_process_now_ns() - began_ns > 10 * BR_NS_PER_S;
        dmh_process_sleep_ms(slow ? DMH_LOOK_SLOW_MS : DMH_LOOK_MS);
    }
    uint64_t zero = 0;
    atomic_compare_exchange_strong(&plan->window_ended_ns, &zero, dmh_process_now_ns());
}

// What LVM's commands would stumble over.
static void dmh_tidy(struct dmh_plan *plan)
{
    for (uint32_t i = 0; i < plan->inside_count; i++) {
        const struct dmh_plan_device *device = &plan->inside[i];
        if (device->tidy && atomic_load(&device->state) != DMH_STATE_RESUMED) {
            (void)dmh_raw_clear(plan->control_fd, &device->name);
        }
    }
}

int dmh_watchdog_run(void *watchdog_pointer)
{
    struct dmh_watchdog *watchdog = watchdog_pointer;
    struct dmh_plan *plan = watchdog->plan;
    pid_t suspender = 0;
    struct br_err err = {0};

    int failed = dmh_process_fork("blkrep-suspend", dmh_suspender_run, plan, watchdog->keep, watchdog->keep_count,
                                  &suspender, &err);
    if (failed) {
        dmh_plan_verdict(plan, DMH_VERDICT_LOCK, err.os_errno, -1);
    } else {
        int error = dmh_process_lock();
        error = error ? error : dmh_sandbox_enter(DMH_SANDBOX_WATCHDOG);
        if (error) {
            dmh_plan_verdict(plan, DMH_VERDICT_LOCK, -error, -1);
            kill(suspender, SIGKILL); // it waits for `watched`
        }
        atomic_store(&plan->watched, !error);
        dmh_watch(plan, suspender);
    }
    dmh_tidy(plan);
    atomic_store(&plan->settled, true);
    (void)!write(watchdog->report_fd, "", 1);
    return 0;
}
