// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/window_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dm-helper/mounts.h"
#include "dm-helper/process.h"
#include "dm-helper/target.h"
#include "engine/base/units.h"

#define DMH_GRACE_MS 30000 // how long a reply waits for the kernel after the deadline

// ---- life cycle ------------------------------------------------------------------------------------------------------

int dmh_window_start(struct dmh_window_run **ret_run, struct br_err *reterr)
{
    struct dmh_window_run *run = calloc(1, sizeof(*run));

    if (!run) {
        return br_err_set(reterr, BR_E_NOMEM, "preparing a window");
    }
    run->plan = mmap(NULL, sizeof(*run->plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run->plan == MAP_FAILED) {
        free(run);
        return br_err_os(reterr, errno, "preparing a window");
    }
    atomic_store(&run->plan->verdict_index, -1);
    run->plan->control_fd = dmh_raw_open();
    if (run->plan->control_fd < 0) {
        int error = br_err_os(reterr, errno, "opening device-mapper's control node");
        dmh_window_end(run);
        return error;
    }
    *ret_run = run;
    return 0;
}

static void dmh_close_if(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void dmh_window_end(struct dmh_window_run *run)
{
    if (!run) {
        return;
    }
    dmh_close_if(run->plan->control_fd);
    for (uint32_t i = 0; i < run->plan->top_count; i++) {
        dmh_close_if(run->plan->tops[i].mount_fd);
        dmh_close_if(run->plan->tops[i].stat_fd);
        dmh_close_if(run->plan->tops[i].device_fd);
    }
    for (uint32_t i = 0; i < run->held_count; i++) {
        dmh_release_volume(&run->held[i]);
    }
    munmap(run->plan, sizeof(*run->plan));
    free(run);
}

static int dmh_compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int dmh_window_hold(struct dmh_window_run *run, const struct dmh_registry *registry, const char *const *names,
                    uint32_t name_count, struct br_err *reterr)
{
    const char *sorted[DMH_TOPS_MAX];
    int error = 0;

    if (name_count > DMH_TOPS_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "more than %d volumes in one window", DMH_TOPS_MAX);
    }
    memcpy(sorted, names, name_count * sizeof(*names));
    qsort(sorted, name_count, sizeof(*sorted), dmh_compare_names);
    for (uint32_t i = 0; i < name_count && !error; i++) {
        if (i && !strcmp(sorted[i], sorted[i - 1])) {
            continue;
        }
        error = dmh_hold_volume(registry, sorted[i], true, &run->held[run->held_count], reterr);
        run->held_count += error ? 0 : 1;
    }
    return error;
}

const struct dmh_volume *dmh_window_volume(const struct dmh_window_run *run, const char *name)
{
    for (uint32_t i = 0; i < run->held_count; i++) {
        if (!strcmp(run->held[i].volume->volume, name)) {
            return run->held[i].volume;
        }
    }
    return NULL;
}

// ---- the plan --------------------------------------------------------------------------------------------------------

static uint64_t dmh_hash_of(struct dmh_plan *plan, const struct dmh_raw_name *name, bool inactive)
{
    int count =
        dmh_raw_lines(plan->control_fd, name, true, inactive, plan->suspender_buffer, sizeof(plan->suspender_buffer));

    return count > 0 ? dmh_raw_table_hash(plan->suspender_buffer, count) : 0;
}

static void dmh_plan_device(struct dmh_plan *plan, const struct dmh_dm *dm, const struct dmh_info *info,
                            enum dmh_dm_event of_others, struct dmh_plan_device *device)
{
    const char *part = "";
    bool ours = dmh_dm_uuid_is_ours(dm->uuid, &part);
    enum dmh_dm_event event = !ours ? of_others : strcmp(part, "top") != 0 ? DMH_EVENT_PART : DMH_EVENT_WHOLE;

    dmh_raw_name_of(dm, &device->name);
    snprintf(device->label, sizeof(device->label), "%s", dm->name);
    device->event_flags = dmh_dm_event_flags(event);
    device->swap = info->inactive_table;
    device->hash_before = info->live_table ? dmh_hash_of(plan, &device->name, false) : 0;
    device->hash_after = dmh_hash_of(plan, &device->name, info->inactive_table);
}

// What is needed to sync the filesystem on a top and to judge its disk. Without it the freeze is as long as it is.
static void dmh_plan_sync(struct dmh_plan_top *top, const struct dmh_dm *dm, bool *ret_mounted)
{
    char path[64];

    dmh_mounts_open(dm->major, dm->minor, ret_mounted, &top->mount_fd);
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", dm->major, dm->minor);
    top->stat_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (dmh_device_open(dm->major, dm->minor, O_RDONLY | O_DIRECT, &top->device_fd, NULL)) {
        top->device_fd = -1;
    }
}

int dmh_window_add_top(struct dmh_window_run *run, const struct dmh_dm *dm, const struct dmh_info *info, bool freeze,
                       bool no_flush, struct br_err *reterr)
{
    struct dmh_plan *plan = run->plan;

    if (plan->top_count == DMH_TOPS_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "more than %d devices in one window", DMH_TOPS_MAX);
    }
    if (info->suspended) {
        return br_err_set(reterr, BR_E_BUSY, "%s is suspended already, by something else than blkrep", dm->name);
    }
    if (!info->live_table) {
        return br_err_set(reterr, BR_E_USAGE, "%s has no table yet: nothing to suspend", dm->name);
    }
    struct dmh_plan_top *top = &plan->tops[plan->top_count];
    top->mount_fd = top->stat_fd = top->device_fd = -1;
    run->top_dms[plan->top_count] = *dm;
    plan->top_count++;
    dmh_plan_device(plan, dm, info, DMH_EVENT_WHOLE, &top->device);
    top->device.suspend_flags = (freeze ? 0 : DM_SKIP_LOCKFS_FLAG) | (no_flush ? DM_NOFLUSH_FLAG : 0);
    if (freeze && !no_flush && info->open_count) {
        dmh_plan_sync(top, dm, &run->mounted[plan->top_count - 1]);
    }
    return 0;
}

int dmh_window_add_inside(struct dmh_window_run *run, const struct dmh_dm *dm, const struct dmh_info *info,
                          struct br_err *reterr)
{
    struct dmh_plan *plan = run->plan;

    if (plan->inside_count == DMH_INSIDE_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "more than %d devices inside one window", DMH_INSIDE_MAX);
    }
    if (!info->inactive_table) {
        return br_err_set(reterr, BR_E_USAGE, "%s has no inactive table that a window could make live", dm->name);
    }
    struct dmh_plan_device *device = &plan->inside[plan->inside_count];
    run->inside_dms[plan->inside_count] = *dm;
    run->inside_is_lvm[plan->inside_count] = !dmh_dm_uuid_is_ours(dm->uuid, NULL);
    plan->inside_count++;
    dmh_plan_device(plan, dm, info, DMH_EVENT_SNAPSHOT, device);
    device->suspend_flags = DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG;
    device->tidy = run->inside_is_lvm[plan->inside_count - 1];
    return 0;
}

int dmh_window_add_message(struct dmh_window_run *run, const struct dmh_dm *pool, const char *before,
                           const char *message, struct br_err *reterr)
{
    struct dmh_plan *plan = run->plan;

    if (plan->inside_count == DMH_INSIDE_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "more than %d devices inside one window", DMH_INSIDE_MAX);
    }
    struct dmh_plan_device *device = &plan->inside[plan->inside_count];
    run->inside_dms[plan->inside_count] = *pool;
    run->inside_is_lvm[plan->inside_count] = true;
    plan->inside_count++;
    dmh_raw_name_of(pool, &device->name);
    snprintf(device->label, sizeof(device->label), "%s", pool->name);
    snprintf(device->message_before, sizeof(device->message_before), "%s", before);
    snprintf(device->message, sizeof(device->message), "%s", message);
    return 0;
}

void dmh_window_add_checkpoint(struct dmh_window_run *run, const struct dmh_dm *era)
{
    struct dmh_plan_top *top = &run->plan->tops[run->plan->top_count - 1];

    top->checkpoint = true;
    dmh_raw_name_of(era, &top->era);
}

int dmh_window_check(const struct dmh_window_run *run, struct br_err *reterr)
{
    const struct dmh_plan *plan = run->plan;

    for (uint32_t t = 0; t < plan->top_count; t++) {
        const struct dmh_dm *top = &run->top_dms[t];
        for (uint32_t i = 0; i < plan->top_count; i++) {
            const struct dmh_dm *other = &run->top_dms[i];
            if (i != t && dmh_device_stands_on(other->major, other->minor, top->major, top->minor)) {
                return br_err_set(reterr, BR_E_REFUSED, "%s stands on %s: they can't be suspended together",
                                  other->name, top->name);
            }
        }
        for (uint32_t i = 0; i < plan->inside_count; i++) {
            const struct dmh_dm *inside = &run->inside_dms[i];
            if (dmh_device_stands_on(inside->major, inside->minor, top->major, top->minor)) {
                return br_err_set(reterr, BR_E_REFUSED,
                                  "%s stands on %s, which is to be suspended: its store must lie elsewhere",
                                  inside->name, top->name);
            }
        }
    }
    return 0;
}

// ---- carrying it out -------------------------------------------------------------------------------------------------

static int dmh_start_watchdog(struct dmh_window_run *run, int report_fd, pid_t *ret_pid, struct br_err *reterr)
{
    struct dmh_watchdog watchdog = {.plan = run->plan, .report_fd = report_fd};
    int *keep = watchdog.keep;
    size_t count = 0;

    keep[count++] = report_fd;
    keep[count++] = run->plan->control_fd;
    for (uint32_t i = 0; i < run->plan->top_count; i++) {
        keep[count++] = run->plan->tops[i].mount_fd;
        keep[count++] = run->plan->tops[i].stat_fd;
        keep[count++] = run->plan->tops[i].device_fd;
    }
    for (uint32_t i = 0; i < run->held_count; i++) {
        keep[count++] = run->held[i].lock_fd;
    }
    watchdog.keep_count = count;
    return dmh_process_fork("blkrep-watchdog", dmh_watchdog_run, &watchdog, keep, count, ret_pid, reterr);
}

// Waits for a byte, or for the end: 1, 0; -1 when neither came in time.
static int dmh_await(int fd, uint64_t until_ns)
{
    for (;;) {
        uint64_t now_ns = dmh_process_now_ns();
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        char byte;
        if (now_ns >= until_ns) {
            return -1;
        }
        int ready = poll(&pollfd, 1, (int)((until_ns - now_ns) / BR_NS_PER_MS) + 1);
        if (ready > 0) {
            return (int)read(fd, &byte, 1) == 1;
        }
    }
}

// Waits until the watchdog says that all is settled. The pipe's end instead means that watchdog and suspender are both gone without that: then the
// helper does as the watchdog would have.
static bool dmh_await_settled(struct dmh_plan *plan, int report_fd)
{
    uint64_t until_ns =
        dmh_process_now_ns() + plan->sync_budget_ns + 2 * plan->deadline_ns + DMH_GRACE_MS * BR_NS_PER_MS;
    int reported = dmh_await(report_fd, until_ns);
    bool settled = reported == 1;

    if (reported == 0) {
        dmh_plan_verdict(plan, DMH_VERDICT_KILLED, 0, -1);
        while (!(settled = dmh_watchdog_settle(plan)) && dmh_process_now_ns() < until_ns) {
            dmh_process_sleep_ms(10);
        }
    }
    return settled;
}

// ---- what became of it -----------------------------------------------------------------------------------------------

static const char *dmh_verdict_label(const struct dmh_plan *plan, int kind)
{
    int index = atomic_load(&plan->verdict_index);

    if (index < 0) {
        return plan->tops[0].device.label;
    }
    return kind == DMH_VERDICT_INSIDE || kind == DMH_VERDICT_YIELD ? plan->inside[index].label
                                                                   : plan->tops[index].device.label;
}

static int dmh_suspend_error(int failed, const char *label, struct br_err *reterr)
{
    switch (failed) {
    case ENXIO: return br_err_set(reterr, BR_E_NOT_FOUND, "suspending %s: it is gone", label);
    case EBUSY: return br_err_set(reterr, BR_E_BUSY, "suspending %s: something else has frozen its filesystem", label);
    default: return br_err_os(reterr, failed, "suspending %s", label);
    }
}

static int dmh_inside_error(int failed, const char *label, struct br_err *reterr)
{
    if (failed == ESTALE) {
        return br_err_set(reterr, BR_E_BUSY, "%s: somebody else made it live before the window", label);
    }
    return br_err_os(reterr, failed, "making a snapshot live on %s while its origin was suspended", label);
}

static int dmh_verdict_error(const struct dmh_plan *plan, struct br_err *reterr)
{
    int kind = atomic_load(&plan->verdict);
    int failed = atomic_load(&plan->verdict_errno);
    const char *label = dmh_verdict_label(plan, kind);
    char text[32], limit[32];

    br_duration_text(plan->deadline_ns, limit, sizeof(limit));
    switch (kind) {
    case DMH_VERDICT_SLOW:
        br_duration_text(BR_MAX(plan->latency_ns, plan->sync_last_ns), text, sizeof(text));
        if (plan->latency_ns * 8 > plan->deadline_ns) {
            return br_err_set(reterr, BR_E_FREEZE_SLOW,
                              "%s: one write or flush takes %s; a freeze makes several and has %s", label, text, limit);
        }
        return br_err_set(reterr, BR_E_FREEZE_SLOW,
                          "%s: writing back what is dirty takes too long (%u rounds, the last %s)", label,
                          plan->sync_rounds, text);
    case DMH_VERDICT_SYNC: return br_err_os(reterr, failed, "syncing the filesystem on %s before its freeze", label);
    case DMH_VERDICT_MARK:
        return br_err_os(reterr, failed, "rolling the era of %s, whose metadata may have failed (see blkrep status)",
                         label);
    case DMH_VERDICT_YIELD: return br_err_os(reterr, failed, "%s: giving up a snapshot that is to be made anew", label);
    case DMH_VERDICT_LOCK: return br_err_os(reterr, failed, "preparing the processes of a window");
    case DMH_VERDICT_SUSPEND: return dmh_suspend_error(failed, label, reterr);
    case DMH_VERDICT_INSIDE: return dmh_inside_error(failed, label, reterr);
    case DMH_VERDICT_RESUME:
        return failed == ENXIO ? br_err_set(reterr, BR_E_NOT_FOUND, "resuming %s: it is gone", label)
                               : br_err_os(reterr, failed, "resuming %s at once; it is active now", label);
    case DMH_VERDICT_DEADLINE: return br_err_set(reterr, BR_E_FREEZE_DEADLINE, "%s: not done after %s", label, limit);
    case DMH_VERDICT_KILLED: return br_err_set(reterr, BR_E_INTERNAL, "%s: a process of the window was killed", label);
    default: return 0;
    }
}

// A top that runs another table than it should.
static int dmh_wrong_table(const struct dmh_plan *plan, struct br_err *reterr)
{
    for (uint32_t i = 0; i < plan->top_count; i++) {
        if (atomic_load(&plan->tops[i].device.wrong_table)) {
            return br_err_set(reterr, BR_E_IO, "%s is active, but not with the table that was loaded for it",
                              plan->tops[i].device.label);
        }
    }
    return 0;
}

int dmh_window_run(struct dmh_window_run *run, bool *ret_begun, struct br_err *reterr)
{
    struct dmh_plan *plan = run->plan;
    pid_t watchdog = 0;
    int report[2];

    *ret_begun = false;
    if (pipe2(report, O_CLOEXEC)) {
        return br_err_os(reterr, errno, "preparing a window");
    }
    int error = dmh_start_watchdog(run, report[1], &watchdog, reterr);
    close(report[1]);
    bool settled = error || dmh_await_settled(plan, report[0]);
    close(report[0]);
    int phase = atomic_load(&plan->phase);
    *ret_begun = phase == DMH_PHASE_WINDOW || phase == DMH_PHASE_ABORTED;
    if (error) {
        return error;
    }
    if (!settled) {
        return br_err_set(reterr, BR_E_FREEZE_DEADLINE,
                          "%s: the kernel has not let go of it; process %d resumes it as soon as it does",
                          dmh_verdict_label(plan, atomic_load(&plan->verdict)), (int)watchdog);
    }
    error = dmh_verdict_error(plan, reterr);
    return error ? error : dmh_wrong_table(plan, reterr);
}

static void dmh_report_era(const struct dmh_plan_top *top, struct dmh_target_status *era)
{
    if (top->checkpoint) {
        dmh_status_parse("era", top->era_start_sectors, top->era_length_sectors, top->era_params, era);
    }
}

void dmh_window_report(const struct dmh_window_run *run, struct dmh_window_done *ret_done)
{
    const struct dmh_plan *plan = run->plan;

    ret_done->top_count = plan->top_count;
    for (uint32_t i = 0; i < plan->top_count; i++) {
        const struct dmh_plan_device *device = &plan->tops[i].device;
        struct dmh_window_top_done *done = &ret_done->tops[i];
        bool frozen = run->mounted[i] && !(device->suspend_flags & DM_SKIP_LOCKFS_FLAG);
        done->suspend_ns = device->suspended_ns - device->began_ns;
        done->freeze_ns = frozen ? done->suspend_ns : 0;
        done->window_ns = device->resumed_ns - device->began_ns;
        done->mounted = run->mounted[i];
        dmh_report_era(&plan->tops[i], &done->era);
    }
    ret_done->window_ns = plan->top_count ? plan->tops[0].device.resumed_ns - plan->tops[0].device.began_ns : 0;
    ret_done->sync_ns = plan->sync_ns;
    ret_done->sync_rounds = plan->sync_rounds;
    ret_done->sync_last_ns = plan->sync_last_ns;
}
