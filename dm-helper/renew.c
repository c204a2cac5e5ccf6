// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/renew.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "dm-helper/target.h"
#include "engine/base/units.h"

#define DMH_YIELD_DEADLINE_MS 10000 // for the window in which a snapshot gives its store up: nothing is frozen in it
#define DMH_CLOSE_WAIT_MS     5000  // for udev, which looks at every new device
#define DMH_LOOK_MS           50

// ---- what it is --------------------------------------------------------------------------------------------------------

static void dmh_keep_table(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                           const char *params)
{
    struct dmh_renewal *renewal = user;

    // A second target, or one that does not fit, is seen by its length: no snapshot of LVM's has such a table.
    renewal->length_sectors = start_sectors || strlen(params) >= sizeof(renewal->params) ? 0 : length_sectors;
    snprintf(renewal->type, sizeof(renewal->type), "%s", type);
    snprintf(renewal->params, sizeof(renewal->params), "%s", params);
}

static int dmh_not_of(const struct dmh_renewal *renewal, const struct dmh_dm *origin, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_USAGE, "%s is no snapshot of %s", renewal->snapshot.name, origin->name);
}

// Is it a snapshot of the origin? Says of which kind, and what the plan needs.
static int dmh_renew_look(struct dmh_renewal *renewal, const struct dmh_dm *origin, struct dmh_target_row *ret_row,
                          uint64_t *ret_origin_id, struct br_err *reterr)
{
    struct dmh_target_row of;
    int error = dmh_dm_lines(&renewal->snapshot, true, false, dmh_keep_table, renewal, reterr);

    if (error) {
        return error;
    }
    dmh_row_parse(renewal->type, 0, renewal->length_sectors, renewal->params, ret_row);
    renewal->thin = ret_row->kind == DMH_TARGET_THIN;
    if (!renewal->length_sectors || !ret_row->parsed || (!renewal->thin && ret_row->kind != DMH_TARGET_SNAPSHOT)) {
        return dmh_not_of(renewal, origin, reterr);
    }
    if (!dmh_device_row(origin, renewal->thin ? DMH_TARGET_THIN : DMH_TARGET_SNAPSHOT_ORIGIN, &of) ||
        of.device_major != ret_row->device_major || of.device_minor != ret_row->device_minor) {
        return dmh_not_of(renewal, origin, reterr);
    }
    if (renewal->thin && (ret_row->store_major || ret_row->store_minor)) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s has an external origin", renewal->snapshot.name);
    }
    if (renewal->thin && of.thin_id == ret_row->thin_id) {
        return dmh_not_of(renewal, origin, reterr);
    }
    renewal->thin_id = ret_row->thin_id;
    *ret_origin_id = of.thin_id;
    return 0;
}

static int dmh_renew_find(struct dmh_renewal *renewal, const struct dmh_volume *volume, const char *where,
                          struct br_err *reterr)
{
    struct dmh_info info;
    int error = dmh_device_resolve_dm(volume, where, DMH_WHERE_LVM, &renewal->snapshot, &info, reterr);

    for (uint32_t ms = 0; !error && info.open_count && ms < DMH_CLOSE_WAIT_MS; ms += DMH_LOOK_MS) {
        dmh_process_sleep_ms(DMH_LOOK_MS);
        error = dmh_device_resolve_dm(volume, where, DMH_WHERE_LVM, &renewal->snapshot, &info, reterr);
    }
    if (!error && info.open_count) {
        error = br_err_set(reterr, BR_E_BUSY, "%s is in use already", renewal->snapshot.name);
    }
    renewal->read_only = info.read_only;
    return error;
}

static int dmh_load_own(const struct dmh_renewal *renewal, struct br_err *reterr)
{
    struct dmh_dm_target target = {
        .length_sectors = renewal->length_sectors, .type = renewal->type, .params = renewal->params};

    return dmh_dm_load(&renewal->snapshot, &target, 1, renewal->read_only, reterr);
}

// ---- with a store ------------------------------------------------------------------------------------------------------

// The kernel reads a store when a table is loaded that nobody else has it in. So the live table goes first, in a window of the origin: a
// snapshot leaves it while nothing is written.
static int dmh_give_up_store(const struct dmh_renewal *renewal, const struct dmh_dm *origin, struct br_err *reterr)
{
    struct dmh_window_run *run = NULL;
    struct dmh_info info;
    struct dmh_dm dm;
    bool begun;

    int error = dmh_window_start(&run, reterr);
    if (error) {
        return error;
    }
    run->plan->deadline_ns = DMH_YIELD_DEADLINE_MS * BR_NS_PER_MS;
    error = dmh_dm_find("", origin->major, origin->minor, &dm, &info, reterr);
    error = error ? error : dmh_window_add_top(run, &dm, &info, false, false, reterr);
    error = error ? error : dmh_dm_load_error(&renewal->snapshot, renewal->read_only, reterr);
    error = error ? error : dmh_dm_find(renewal->snapshot.uuid, 0, 0, &dm, &info, reterr);
    error = error ? error : dmh_window_add_inside(run, &dm, &info, reterr);
    error = error ? error : dmh_window_check(run, reterr);
    error = error ? error : dmh_window_run(run, &begun, reterr);
    dmh_window_end(run);
    return error;
}

static int dmh_zero_store(const struct dmh_target_row *row, struct br_err *reterr)
{
    int fd = -1;
    // Exclusively: nothing has it any more, or it must not be zeroed.
    int error = dmh_device_open(row->store_major, row->store_minor, O_RDWR | O_EXCL | O_DIRECT, &fd, reterr);

    if (!error) {
        error = dmh_device_zero_head(fd, reterr);
        close(fd);
    }
    return error;
}

static int dmh_begin_with_store(const struct dmh_renewal *renewal, const struct dmh_dm *origin,
                                const struct dmh_target_row *row, struct dmh_window_run *run, struct br_err *reterr)
{
    struct dmh_info info;
    struct dmh_dm dm;
    int error = dmh_give_up_store(renewal, origin, reterr);

    error = error ? error : dmh_zero_store(row, reterr);
    error = error ? error : dmh_load_own(renewal, reterr);
    error = error ? error : dmh_dm_find(renewal->snapshot.uuid, 0, 0, &dm, &info, reterr);
    return error ? error : dmh_window_add_inside(run, &dm, &info, reterr);
}

// ---- thin --------------------------------------------------------------------------------------------------------------

static int dmh_begin_thin(struct dmh_renewal *renewal, const struct dmh_target_row *row, uint64_t origin_id,
                          struct dmh_window_run *run, struct br_err *reterr)
{
    char before[DMH_PLAN_MESSAGE_MAX], message[DMH_PLAN_MESSAGE_MAX];
    int error = dmh_dm_find("", row->device_major, row->device_minor, &renewal->pool, NULL, reterr);

    dmh_dm_lv_of(&renewal->snapshot, renewal->vg, renewal->lv);
    error = error ? error : dmh_dm_remove(&renewal->snapshot, false, reterr);
    snprintf(before, sizeof(before), "delete %" PRIu64, renewal->thin_id);
    snprintf(message, sizeof(message), "create_snap %" PRIu64 " %" PRIu64, renewal->thin_id, origin_id);
    return error ? error : dmh_window_add_message(run, &renewal->pool, before, message, reterr);
}

static int dmh_end_thin(const struct dmh_renewal *renewal, struct dmh_server *server, struct br_err *reterr)
{
    char text[DMH_PLAN_MESSAGE_MAX];
    struct br_err err = {0};
    int error = dmh_lvm_activate_lv(server, renewal->vg, renewal->lv, &err);

    // If somebody removed the snapshot meanwhile, the pool got one that LVM does not know of.
    if (error == -BR_E_NOT_FOUND) {
        snprintf(text, sizeof(text), "delete %" PRIu64, renewal->thin_id);
        (void)!dmh_dm_message(&renewal->pool, text, NULL);
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error;
}

// ---- all ---------------------------------------------------------------------------------------------------------------

int dmh_renew_begin(struct dmh_renewals *renewals, const struct dmh_volume *volume, const char *where,
                    struct dmh_window_run *run, struct br_err *reterr)
{
    struct dmh_target_row row;
    struct dmh_dm origin;
    uint64_t origin_id = 0;

    if (renewals->count == DMH_INSIDE_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "more than %d devices inside one window", DMH_INSIDE_MAX);
    }
    struct dmh_renewal *renewal = &renewals->of[renewals->count];
    int error = dmh_device_resolve_dm(volume, "@device", DMH_WHERE_DEVICE, &origin, NULL, reterr);
    error = error ? error : dmh_renew_find(renewal, volume, where, reterr);
    error = error ? error : dmh_renew_look(renewal, &origin, &row, &origin_id, reterr);
    if (error) {
        return error;
    }
    renewals->count++;
    return renewal->thin ? dmh_begin_thin(renewal, &row, origin_id, run, reterr)
                         : dmh_begin_with_store(renewal, &origin, &row, run, reterr);
}

int dmh_renew_end(const struct dmh_renewals *renewals, struct dmh_server *server, struct br_err *reterr)
{
    int error = 0;

    for (uint32_t i = 0; i < renewals->count; i++) {
        int failed = renewals->of[i].thin ? dmh_end_thin(&renewals->of[i], server, error ? NULL : reterr) : 0;
        error = error ? error : failed;
    }
    return error;
}

void dmh_renew_undo(const struct dmh_renewals *renewals)
{
    for (uint32_t i = 0; i < renewals->count; i++) {
        (void)!dmh_dm_clear(&renewals->of[i].snapshot, NULL);
    }
}

void dmh_renew_forget(const struct dmh_volume *volume, const char *where)
{
    struct dmh_info info;
    struct dmh_dm dm;

    if (!dmh_device_resolve_dm(volume, where, DMH_WHERE_LVM, &dm, &info, NULL) && info.inactive_table) {
        (void)!dmh_dm_clear(&dm, NULL);
    }
}
