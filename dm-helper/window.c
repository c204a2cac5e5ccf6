// SPDX-License-Identifier: Apache-2.0
//
// The two requests that suspend: a window for new snapshots and new tables, and the removal of snapshots.
//
// A snapshot is taken away by loading an error target into its inactive slot beforehand and resuming it while its origin is suspended: that
// swap can't find the snapshot open, as a removal could (udev looks at every device that changes), and the device itself is removed
// afterwards, when nobody waits.
#include "dm-helper/process.h"
#include "dm-helper/renew.h"
#include "dm-helper/server.h"
#include "dm-helper/target.h"
#include "dm-helper/window_run.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/units.h"

#define DMH_DEADLINE_MAX_MS  60000
#define DMH_BUDGET_MAX_MS    600000
#define DMH_RETRY_MAX_MS     60000
#define DMH_SYNC_GOOD_MS     100
#define DMH_UNDO_DEADLINE_MS 10000 // for taking back what a failed window left active
#define DMH_CLOSE_WAIT_MS    5000  // for udev and others who looked at a device that is to go
#define DMH_LOOK_MS          50

static void dmh_end_run(struct dmh_window_run **run)
{
    dmh_window_end(*run);
}
#define DMH_AUTO_RUN __attribute__((cleanup(dmh_end_run)))

static int dmh_check_times(uint32_t deadline_ms, uint32_t sync_budget_ms, struct br_err *reterr)
{
    if (!deadline_ms || deadline_ms > DMH_DEADLINE_MAX_MS || sync_budget_ms > DMH_BUDGET_MAX_MS) {
        return br_err_set(reterr, BR_E_USAGE, "a window has 1 ms to %d s, and a sync before it up to %d s",
                          DMH_DEADLINE_MAX_MS / 1000, DMH_BUDGET_MAX_MS / 1000);
    }
    return 0;
}

// ---- filling a plan --------------------------------------------------------------------------------------------------

static int dmh_plan_top_of(struct dmh_window_run *run, const struct dmh_window_top *top, struct br_err *reterr)
{
    const struct dmh_volume *volume = dmh_window_volume(run, top->device.volume);
    struct dmh_info info;
    struct dmh_dm dm, era;

    int error = dmh_device_resolve_dm(volume, top->device.where, DMH_WHERE_PART | DMH_WHERE_DEVICE, &dm, &info, reterr);
    for (uint32_t i = 0; !error && i < run->plan->top_count; i++) {
        if (run->top_dms[i].major == dm.major && run->top_dms[i].minor == dm.minor) {
            error = br_err_set(reterr, BR_E_USAGE, "%s is in the window twice", dm.name);
        }
    }
    error = error ? error : dmh_window_add_top(run, &dm, &info, top->freeze, top->no_flush, reterr);
    if (error || !*top->checkpoint) {
        return error;
    }
    error = dmh_device_resolve_dm(volume, top->checkpoint, DMH_WHERE_PART, &era, &info, reterr);
    if (!error && info.suspended) {
        error = br_err_set(reterr, BR_E_BUSY, "%s is suspended and can't be rolled", era.name);
    }
    if (!error) {
        dmh_window_add_checkpoint(run, &era);
    }
    return error;
}

struct dmh_freshness {
    bool snapshot;
    bool fresh;
    bool taken; // another device has the same store in use
    uint64_t used_bytes;
};

static void dmh_on_status_line(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                               const char *params)
{
    struct dmh_freshness *freshness = user;
    struct dmh_target_status status;

    dmh_status_parse(type, start_sectors, length_sectors, params, &status);
    freshness->snapshot = status.kind == DMH_TARGET_SNAPSHOT && status.snapshot_state == DMH_SNAPSHOT_VALID;
    // The kernel reads a store when its table is loaded, unless an active snapshot has it: then it says 0/N 0.
    freshness->taken = freshness->snapshot && !status.metadata_bytes;
    freshness->fresh = freshness->snapshot && status.used_bytes == status.metadata_bytes;
    freshness->used_bytes = status.used_bytes;
}

// A store whose head was not zeroed revives old exceptions, and the snapshot mixes two times without any sign of it.
static int dmh_check_fresh(const struct dmh_dm *dm, struct br_err *reterr)
{
    struct dmh_freshness freshness = {0};
    int error = dmh_dm_lines(dm, false, true, dmh_on_status_line, &freshness, reterr);

    if (error) {
        return error;
    }
    if (freshness.taken) {
        return br_err_set(reterr, BR_E_BUSY, "%s: another snapshot uses its store", dm->name);
    }
    if (!freshness.fresh) {
        return br_err_set(reterr, BR_E_VERIFY,
                          "%s: its store is not empty (%" PRIu64 " bytes); its head must be zeroed before", dm->name,
                          freshness.used_bytes);
    }
    return 0;
}

static int dmh_plan_inside_of(struct dmh_window_run *run, const struct dmh_window_inside *inside, struct br_err *reterr)
{
    const struct dmh_volume *volume = dmh_window_volume(run, inside->device.volume);
    struct dmh_info info;
    struct dmh_dm dm;

    if (!volume) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s is not suspended in this window", inside->device.volume);
    }
    int error = dmh_device_resolve_dm(volume, inside->device.where, DMH_WHERE_PART, &dm, &info, reterr);
    if (!error && info.live_table) {
        error = br_err_set(reterr, BR_E_BUSY, "%s is active already", dm.name);
    }
    error = error ? error : dmh_window_add_inside(run, &dm, &info, reterr);
    return error || !inside->fresh ? error : dmh_check_fresh(&dm, reterr);
}

static int dmh_plan_renewal_of(struct dmh_window_run *run, struct dmh_renewals *renewals,
                               const struct dmh_window_inside *inside, struct br_err *reterr)
{
    const struct dmh_volume *volume = dmh_window_volume(run, inside->device.volume);

    if (!volume) {
        return br_err_set(reterr, BR_E_USAGE, "volume %s is not suspended in this window", inside->device.volume);
    }
    int error = dmh_renew_begin(renewals, volume, inside->device.where, run, reterr);
    uint32_t last = run->plan->inside_count - 1;
    return error || !run->plan->inside[last].swap ? error : dmh_check_fresh(&run->inside_dms[last], reterr);
}

static int dmh_plan_window(struct dmh_window_run *run, struct dmh_renewals *renewals,
                           const struct dmh_registry *registry, const struct dmh_window *window, struct br_err *reterr)
{
    const char *names[DMH_TOPS_MAX];

    for (uint32_t i = 0; i < window->top_count; i++) {
        names[i] = window->tops[i].device.volume;
    }
    int error = dmh_window_hold(run, registry, names, window->top_count, reterr);
    for (uint32_t i = 0; !error && i < window->top_count; i++) {
        error = dmh_plan_top_of(run, &window->tops[i], reterr);
    }
    for (uint32_t i = 0; !error && i < window->inside_count; i++) {
        error = window->inside[i].renew ? dmh_plan_renewal_of(run, renewals, &window->inside[i], reterr)
                                        : dmh_plan_inside_of(run, &window->inside[i], reterr);
    }
    uint32_t good_ms = window->sync_good_ms ? window->sync_good_ms : DMH_SYNC_GOOD_MS;
    run->plan->deadline_ns = window->deadline_ms * BR_NS_PER_MS;
    run->plan->sync_budget_ns = window->sync_budget_ms * BR_NS_PER_MS;
    run->plan->sync_good_ns = good_ms * BR_NS_PER_MS;
    return error ? error : dmh_window_check(run, reterr);
}

// ---- taking snapshots away -------------------------------------------------------------------------------------------

static int dmh_remove_patiently(const struct dmh_dm *dm, uint32_t wait_ms, struct br_err *reterr)
{
    int error = dmh_dm_remove(dm, false, reterr);

    for (uint32_t ms = 0; error == -BR_E_BUSY && ms < wait_ms; ms += DMH_LOOK_MS) {
        dmh_process_sleep_ms(DMH_LOOK_MS);
        error = dmh_dm_remove(dm, false, reterr);
    }
    return error == -BR_E_NOT_FOUND ? 0 : error;
}

// Takes every device of @dms that has a live table away from its origin, in a window of the tops that @run holds, then removes all.
static int dmh_take_away(struct dmh_window_run *run, const struct dmh_dm *dms, uint32_t count, struct br_err *reterr)
{
    struct dmh_info info;
    struct dmh_dm dm;
    bool begun;
    int error = 0;

    for (uint32_t i = 0; !error && i < count; i++) {
        if (dmh_dm_find(dms[i].uuid, 0, 0, &dm, &info, NULL) || !info.live_table) {
            continue; // gone, or never activated: no origin knows of it
        }
        error = dmh_dm_load_error(&dm, false, reterr);
        info.inactive_table = true;
        error = error ? error : dmh_window_add_inside(run, &dm, &info, reterr);
    }
    if (!error && run->plan->inside_count) {
        error = dmh_window_check(run, reterr);
        error = error ? error : dmh_window_run(run, &begun, reterr);
    }
    if (error) {
        for (uint32_t i = 0; i < run->plan->inside_count; i++) {
            (void)!dmh_dm_clear(&run->inside_dms[i], NULL);
        }
        return error;
    }
    for (uint32_t i = 0; i < count; i++) {
        int failed = dmh_remove_patiently(&dms[i], DMH_CLOSE_WAIT_MS, error ? NULL : reterr);
        if (failed == -BR_E_BUSY) {
            // Someone still has it open, and reads errors: the kernel removes it when they close it.
            failed = dmh_dm_remove(&dms[i], true, error ? NULL : reterr);
        }
        error = error ? error : failed;
    }
    return error;
}

// ---- requests --------------------------------------------------------------------------------------------------------

// After a window that failed: nothing of it may stay but what LVM made, which LVM removes. Tops are suspended without a freeze: no view is taken, and it is short on any disk.
static void dmh_undo_inside(struct dmh_window_run *failed, struct br_err *reterr)
{
    struct br_err err = {0};
    struct dmh_window_run *run = NULL;
    bool ok = !dmh_window_start(&run, &err);
    struct dmh_dm ours[DMH_INSIDE_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < failed->plan->inside_count; i++) {
        if (!failed->inside_is_lvm[i]) {
            ours[count++] = failed->inside_dms[i];
        }
    }
    for (uint32_t i = 0; ok && i < failed->plan->top_count; i++) {
        struct dmh_info info;
        struct dmh_dm dm;
        // A top that is gone needs no suspend.
        int error = dmh_dm_find("", failed->top_dms[i].major, failed->top_dms[i].minor, &dm, &info, NULL);
        ok = error || !dmh_window_add_top(run, &dm, &info, false, false, &err);
    }
    if (ok) {
        run->plan->deadline_ns = DMH_UNDO_DEADLINE_MS * BR_NS_PER_MS;
        ok = !dmh_take_away(run, ours, count, &err);
    }
    if (!ok && reterr) {
        size_t used = strlen(reterr->text);
        snprintf(reterr->text + used, sizeof(reterr->text) - used, "; what it had activated could not be removed: %s",
                 err.text);
    }
    dmh_window_end(run);
}

int dmh_on_window(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_window *window = turn->request;
    DMH_AUTO_RUN struct dmh_window_run *run = NULL;
    BR_AUTO_FREE struct dmh_renewals *renewals = calloc(1, sizeof(*renewals));
    bool begun = false;

    if (!renewals) {
        return br_err_set(reterr, BR_E_NOMEM, "preparing a window");
    }
    int error = dmh_check_times(window->deadline_ms, window->sync_budget_ms, reterr);
    if (!error && !window->top_count) {
        error = br_err_set(reterr, BR_E_USAGE, "a window needs a device to suspend");
    }
    error = error ? error : dmh_window_start(&run, reterr);
    error = error ? error : dmh_plan_window(run, renewals, &turn->server->registry, window, reterr);
    error = error ? error : dmh_window_run(run, &begun, reterr);
    if (error) {
        if (begun && atomic_load(&run->plan->settled)) {
            dmh_undo_inside(run, reterr);
        }
        dmh_renew_undo(renewals);
        return error;
    }
    for (uint32_t i = 0; !error && i < run->plan->inside_count; i++) {
        error = run->inside_is_lvm[i] ? 0 : dmh_dm_make_node(&run->inside_dms[i], reterr);
    }
    error = error ? error : dmh_renew_end(renewals, turn->server, reterr);
    dmh_window_report(run, turn->reply);
    return error;
}

// The snapshots that a request names, those that are gone left out. One that is open is waited for, unless it is taken away by force.
static int dmh_find_snapshots(const struct dmh_volume *volume, const struct dmh_snapshot_remove *remove,
                              struct dmh_dm *dms, uint32_t *ret_count, struct br_err *reterr)
{
    uint32_t wait_ms = BR_MIN(remove->retry_ms, DMH_RETRY_MAX_MS);
    uint32_t count = 0;

    for (uint32_t i = 0; i < remove->part_count; i++) {
        const char *where = remove->parts[i].where;
        struct dmh_info info;
        if (strcmp(remove->parts[i].volume, volume->volume) != 0) {
            return br_err_set(reterr, BR_E_USAGE, "snapshots of another volume than %s", volume->volume);
        }
        int error = dmh_device_resolve_dm(volume, where, DMH_WHERE_PART, &dms[count], &info, reterr);
        for (uint32_t ms = 0; !error && info.open_count && !remove->force && ms < wait_ms; ms += DMH_LOOK_MS) {
            dmh_process_sleep_ms(DMH_LOOK_MS);
            error = dmh_device_resolve_dm(volume, where, DMH_WHERE_PART, &dms[count], &info, reterr);
        }
        if (error == -BR_E_NOT_FOUND) {
            continue;
        }
        if (!error && info.open_count && !remove->force) {
            error = br_err_set(reterr, BR_E_BUSY, "%s is in use", dms[count].name);
        }
        if (error) {
            return error;
        }
        count++;
    }
    *ret_count = count;
    return 0;
}

int dmh_on_snapshot_remove(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_snapshot_remove *remove = turn->request;
    const char *name = remove->top.device.volume;
    DMH_AUTO_RUN struct dmh_window_run *run = NULL;
    struct dmh_dm dms[DMH_INSIDE_MAX];
    uint32_t count = 0;

    int error = dmh_check_times(remove->deadline_ms, 0, reterr);
    error = error ? error : dmh_window_start(&run, reterr);
    if (error) {
        return error;
    }
    run->plan->deadline_ns = remove->deadline_ms * BR_NS_PER_MS;
    error = dmh_window_hold(run, &turn->server->registry, &name, 1, reterr);
    error = error ? error : dmh_find_snapshots(dmh_window_volume(run, name), remove, dms, &count, reterr);
    error = error ? error : dmh_plan_top_of(run, &remove->top, reterr);
    error = error ? error : dmh_take_away(run, dms, count, reterr);
    if (!error) {
        dmh_window_report(run, turn->reply);
    }
    return error;
}
