// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/suspender.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "dm-helper/sandbox.h"
#include "engine/base/bytes.h"
#include "engine/base/units.h"

// Writes and flushes that a freeze makes one after the other: ext4 on a slow disk was measured to take about five (KERNEL.md), XFS logs twice.
#define DMH_FREEZE_SERIAL_IOS 8
#define DMH_BEARABLE_SHARE    2 // of the deadline: a round this short lets the freeze begin when no shorter one can be had
#define DMH_ROUNDS_IN_VAIN    3 // that got no shorter

// ---- before the window -----------------------------------------------------------------------------------------------

struct dmh_disk_stat {
    uint64_t writes;
    uint64_t write_ms;
};

static uint64_t dmh_next_number(const char **at)
{
    uint64_t value = 0;

    *at += strspn(*at, " ");
    while (**at >= '0' && **at <= '9') {
        value = value * 10 + (uint64_t)(**at - '0');
        (*at)++;
    }
    return value;
}

// Fields 5 and 8 of /sys/block/*/stat (Documentation/block/stat.rst): writes completed, milliseconds that they took together.
static struct dmh_disk_stat dmh_read_stat(int fd)
{
    struct dmh_disk_stat stat = {0};
    char text[256];
    const char *at = text;
    ssize_t len = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

    if (len <= 0) {
        return stat;
    }
    text[len] = 0;
    for (int field = 1; field <= 8; field++) {
        uint64_t value = dmh_next_number(&at);
        stat.writes = field == 5 ? value : stat.writes;
        stat.write_ms = field == 8 ? value : stat.write_ms;
    }
    return stat;
}

// One round of syncfs over all mounted tops. Returns false with the verdict when one failed.
static bool dmh_sync_round(struct dmh_plan *plan)
{
    struct dmh_disk_stat before[DMH_TOPS_MAX];
    uint64_t began_ns = dmh_process_now_ns();

    for (uint32_t i = 0; i < plan->top_count; i++) {
        before[i] = dmh_read_stat(plan->tops[i].stat_fd);
    }
    for (uint32_t i = 0; i < plan->top_count; i++) {
        if (plan->tops[i].mount_fd >= 0 && syncfs(plan->tops[i].mount_fd)) {
            dmh_plan_verdict(plan, DMH_VERDICT_SYNC, errno, (int)i);
            return false;
        }
    }
    plan->latency_ns = 0;
    for (uint32_t i = 0; i < plan->top_count; i++) {
        struct dmh_disk_stat after = dmh_read_stat(plan->tops[i].stat_fd);
        uint64_t writes = after.writes - before[i].writes;
        uint64_t mean_ns = writes ? (after.write_ms - before[i].write_ms) * BR_NS_PER_MS / writes : 0;
        plan->latency_ns = BR_MAX(plan->latency_ns, mean_ns);
    }
    plan->sync_last_ns = dmh_process_now_ns() - began_ns;
    plan->sync_ns += plan->sync_last_ns;
    plan->sync_rounds++;
    return true;
}

// Whoever writes through the page cache as fast as he can leaves each round as long as the one before: then what is bearable has to do, and
// trying longer is no use. The freeze has to write back what such a round did, with nobody writing beside it.
static bool dmh_sync_until_good(struct dmh_plan *plan)
{
    uint64_t bearable_ns = BR_MAX(plan->sync_good_ns, plan->deadline_ns / DMH_BEARABLE_SHARE);
    uint64_t best_ns = UINT64_MAX;
    unsigned in_vain = 0;

    do {
        if (!dmh_sync_round(plan)) {
            return false;
        }
        bool better = plan->sync_last_ns < best_ns - best_ns / 8;
        best_ns = BR_MIN(best_ns, plan->sync_last_ns);
        in_vain = better ? 0 : in_vain + 1;
        if (in_vain >= DMH_ROUNDS_IN_VAIN && plan->sync_last_ns <= bearable_ns) {
            break;
        }
    } while (plan->sync_last_ns > plan->sync_good_ns && plan->sync_ns < plan->sync_budget_ns);
    if (plan->sync_last_ns > bearable_ns) {
        dmh_plan_verdict(plan, DMH_VERDICT_SLOW, 0, -1);
        return false;
    }
    return true;
}

// What an idle filesystem's sync does not tell: how long one read and one flush take. Both go through the top, as the freeze's I/O will.
static void dmh_probe(struct dmh_plan *plan)
{
    for (uint32_t i = 0; i < plan->top_count; i++) {
        const struct dmh_plan_top *top = &plan->tops[i];
        if (top->device_fd < 0) {
            continue;
        }
        uint64_t began_ns = dmh_process_now_ns();
        // An unreadable block or a failing flush is for the filesystem to find; here only the time counts.
        (void)!pread(top->device_fd, plan->probe_buffer, sizeof(plan->probe_buffer), 0);
        uint64_t read_ns = dmh_process_now_ns() - began_ns;
        (void)!fsync(top->device_fd);
        uint64_t flush_ns = dmh_process_now_ns() - began_ns - read_ns;
        plan->latency_ns = BR_MAX(plan->latency_ns, BR_MAX(read_ns, flush_ns));
    }
}

// Rolls the eras and keeps what their status then says: the mark for the next run.
static bool dmh_mark(struct dmh_plan *plan)
{
    char *buffer = plan->suspender_buffer;

    for (uint32_t i = 0; i < plan->top_count; i++) {
        struct dmh_plan_top *top = &plan->tops[i];
        const char *params = "";
        if (!top->checkpoint) {
            continue;
        }
        int error = dmh_raw_message(plan->control_fd, &top->era, "checkpoint", buffer, sizeof(plan->suspender_buffer));
        int count =
            error ? error
                  : dmh_raw_lines(plan->control_fd, &top->era, false, false, buffer, sizeof(plan->suspender_buffer));
        const struct dm_target_spec *line = count > 0 ? dmh_raw_line(buffer, 0, &params) : NULL;
        if (!line) {
            dmh_plan_verdict(plan, DMH_VERDICT_MARK, count < 0 ? -count : EINVAL, (int)i);
            return false;
        }
        memcpy(top->era_params, params, strnlen(params, sizeof(top->era_params) - 1));
        top->era_start_sectors = line->sector_start;
        top->era_length_sectors = line->length;
    }
    return true;
}

// What is done as late as can be, because a machine that stops after it has lost something: a snapshot of an earlier moment.
static bool dmh_yield(struct dmh_plan *plan)
{
    for (uint32_t i = 0; i < plan->inside_count; i++) {
        const struct dmh_plan_device *device = &plan->inside[i];
        if (!*device->message_before) {
            continue;
        }
        int error = dmh_raw_message(plan->control_fd, &device->name, device->message_before, plan->suspender_buffer,
                                    sizeof(plan->suspender_buffer));
        if (error) {
            dmh_plan_verdict(plan, DMH_VERDICT_YIELD, -error, (int)i);
            return false;
        }
    }
    return true;
}

static bool dmh_prepare(struct dmh_plan *plan)
{
    if (!plan->sync_budget_ns) {
        return dmh_mark(plan) && dmh_yield(plan);
    }
    if (!dmh_sync_until_good(plan) || !dmh_mark(plan) || !dmh_sync_until_good(plan)) {
        return false;
    }
    dmh_probe(plan);
    if (plan->latency_ns * DMH_FREEZE_SERIAL_IOS > plan->deadline_ns) {
        dmh_plan_verdict(plan, DMH_VERDICT_SLOW, 0, -1);
        return false;
    }
    return dmh_yield(plan);
}

// ---- the window ------------------------------------------------------------------------------------------------------

int dmh_resume_until_active(int control, struct dmh_plan_device *device)
{
    struct dmh_raw_state state;
    int error = dmh_raw_resume(control, &device->name, device->suspend_flags, device->event_flags);
    int asked = dmh_raw_state(control, &device->name, &state);

    if (asked) {
        return asked;
    }
    if (state.gone) {
        return -ENXIO;
    }
    return state.suspended ? (error ? error : -EAGAIN) : error;
}

static bool dmh_suspend_tops(struct dmh_plan *plan)
{
    for (uint32_t i = 0; i < plan->top_count; i++) {
        struct dmh_plan_device *device = &plan->tops[i].device;
        device->began_ns = dmh_process_now_ns();
        atomic_store(&device->state, DMH_STATE_SUSPENDING);
        int error = dmh_raw_suspend(plan->control_fd, &device->name, device->suspend_flags);
        device->suspended_ns = dmh_process_now_ns();
        if (error) {
            atomic_store(&device->state, DMH_STATE_FAILED);
            dmh_plan_verdict(plan, DMH_VERDICT_SUSPEND, -error, (int)i);
            return false;
        }
        atomic_store(&device->state, DMH_STATE_SUSPENDED);
        if (atomic_load(&plan->phase) != DMH_PHASE_WINDOW) {
            return false;
        }
    }
    return true;
}

// A table that somebody else made live meanwhile (LVM's, by a command of its own) is of another moment than this window's.
static int dmh_do_inside(struct dmh_plan *plan, struct dmh_plan_device *device)
{
    struct dmh_raw_state state;

    if (*device->message) {
        return dmh_raw_message(plan->control_fd, &device->name, device->message, plan->suspender_buffer,
                               sizeof(plan->suspender_buffer));
    }
    int error = dmh_raw_state(plan->control_fd, &device->name, &state);
    if (error || state.gone) {
        return error ? error : -ENXIO;
    }
    return state.inactive_table ? dmh_resume_until_active(plan->control_fd, device) : -ESTALE;
}

static bool dmh_resume_inside(struct dmh_plan *plan)
{
    for (uint32_t i = 0; i < plan->inside_count; i++) {
        struct dmh_plan_device *device = &plan->inside[i];
        atomic_store(&device->state, DMH_STATE_RESUMING);
        int error = dmh_do_inside(plan, device);
        atomic_store(&device->state, error ? DMH_STATE_FAILED : DMH_STATE_RESUMED);
        if (error) {
            dmh_plan_verdict(plan, DMH_VERDICT_INSIDE, -error, (int)i);
            return false;
        }
        if (atomic_load(&plan->phase) != DMH_PHASE_WINDOW) {
            return false;
        }
    }
    return true;
}

static void dmh_resume_tops(struct dmh_plan *plan, bool undo)
{
    for (uint32_t i = plan->top_count; i-- > 0;) {
        struct dmh_plan_device *device = &plan->tops[i].device;
        if (atomic_load(&device->state) != DMH_STATE_SUSPENDED) {
            continue;
        }
        if (undo && device->swap) {
            (void)dmh_raw_clear(plan->control_fd, &device->name);
        } else {
            atomic_store(&device->state, DMH_STATE_RESUMING);
        }
        device->resuming_ns = dmh_process_now_ns();
        int error = dmh_resume_until_active(plan->control_fd, device);
        device->resumed_ns = dmh_process_now_ns();
        if (error) {
            dmh_plan_verdict(plan, DMH_VERDICT_RESUME, -error, (int)i); // the watchdog goes on with it
        } else {
            atomic_store(&device->state, DMH_STATE_RESUMED);
        }
    }
}

int dmh_suspender_run(void *plan_pointer)
{
    struct dmh_plan *plan = plan_pointer;
    int error = dmh_process_lock();

    error = error ? error : dmh_sandbox_enter(DMH_SANDBOX_SUSPENDER);
    if (error) {
        dmh_plan_verdict(plan, DMH_VERDICT_LOCK, -error, -1);
        return 0;
    }
    while (!atomic_load(&plan->watched)) {
        dmh_process_sleep_ms(1);
    }
    if (!dmh_prepare(plan)) {
        return 0;
    }
    atomic_store(&plan->window_began_ns, dmh_process_now_ns());
    if (!dmh_plan_step(plan, DMH_PHASE_SYNCING, DMH_PHASE_WINDOW)) {
        return 0;
    }
    bool done = dmh_suspend_tops(plan) && dmh_resume_inside(plan);
    dmh_resume_tops(plan, !done);
    atomic_store(&plan->window_ended_ns, dmh_process_now_ns());
    return 0;
}
