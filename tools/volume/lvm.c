// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/lvm.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "dm-helper/lvm_runner.h"
#include "engine/base/units.h"
#include "engine/codec/delta.h"
#include "tools/volume/hook.h"

#define LVM_SYNC_GOOD_NS (500 * BR_NS_PER_MS) // a round of syncfs as short as this lets the freeze begin
#define LVM_SYNC_SLOW_NS (5 * BR_NS_PER_S)    // and one as long as this forbids it
#define LVM_SYNC_ROUNDS  8
#define LVM_STORE_LEAST  (UINT64_C(4) << 20)

void lvm_snapshot_path(const struct volume_record *record, uint32_t number, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "/dev/%.127s/blkrep-%s-snap.%u", record->area.path, record->name, number);
}

static struct dmh_lvm_change lvm_change(const struct volume_record *record, uint32_t number)
{
    struct dmh_lvm_change change = {0};

    snprintf(change.volume, sizeof(change.volume), "%s", record->name);
    snprintf(change.vg, sizeof(change.vg), "%.127s", record->area.path);
    volume_part(change.part, "snap", number);
    return change;
}

static struct dmh_ref lvm_ref(const struct volume *volume, uint32_t number)
{
    char part[DMH_PART_MAX];

    volume_part(part, "snap", number);
    return volume_ref(volume, part);
}

// The first target's status of a device.
static int lvm_status(struct volume *volume, const struct dmh_ref *device, struct dmh_target_status *ret_status,
                      struct br_err *reterr)
{
    struct dmh_query query = {.device = *device};
    struct dmh_status *status = calloc(1, sizeof(*status));

    if (!status) {
        return br_err_set(reterr, BR_E_NOMEM, "a status");
    }
    int error = dmh_status(volume->helper, &query, status, reterr);
    if (!error && (!status->target_count || !status->targets[0].parsed)) {
        error = br_err_set(reterr, BR_E_IO, "%s of volume %s says nothing that is known", device->where,
                           volume->record.name);
    }
    if (!error) {
        *ret_status = status->targets[0];
    }
    free(status);
    return error;
}

// Up and down -------------------------------------------------------------------------------------------------------------------------

// A number of the group's report, which prints numbers as texts.
static int lvm_group_number(struct volume *volume, const char *field, uint64_t *ret_number, struct br_err *reterr)
{
    struct dmh_lvm_report report = {.kind = DMH_LVM_VGS};
    struct dmh_lvm_json *json = calloc(1, sizeof(*json));
    const char *text = NULL;
    json_t *root = NULL;

    if (!json) {
        return br_err_set(reterr, BR_E_NOMEM, "LVM's report");
    }
    snprintf(report.volume, sizeof(report.volume), "%s", volume->record.name);
    int error = dmh_lvm_report(volume->helper, &report, json, reterr);
    if (!error) {
        root = json_loads(json->json, 0, NULL);
        const json_t *group =
            json_array_get(json_object_get(json_array_get(json_object_get(root, "report"), 0), "vg"), 0);
        text = json_string_value(json_object_get(group, field));
        *ret_number = text ? strtoull(text, NULL, 10) : 0;
        error = text ? 0 : br_err_set(reterr, BR_E_IO, "LVM's report on %s has no %s", volume->record.area.path, field);
    }
    json_decref(root);
    free(json);
    return error;
}

// Can snapshots be made?
static int lvm_up(struct volume *volume, bool fresh_meta, char ret_lost[64], struct br_err *reterr)
{
    uint64_t bytes = 0;
    int error;

    (void)fresh_meta;
    (void)ret_lost;
    if (volume->record.tracker == VOLUME_THIN) {
        error = lvm_pool_share(volume, &bytes, reterr);
    } else {
        error = lvm_group_number(volume, "vg_free", &bytes, reterr);
        if (!error && bytes < LVM_STORE_LEAST) {
            error = br_err_set(reterr, BR_E_NO_SPACE,
                               "volume group %s has no free space for snapshots: add a disk to it (vgextend), or name "
                               "another place with --cow",
                               volume->record.area.path);
        }
    }
    if (error) {
        return error;
    }
    volume->record.up = true;
    volume->record.pending = false;
    return volume_save(volume, reterr);
}

static int lvm_down(struct volume *volume, struct br_err *reterr)
{
    int error = 0;

    while (!error && volume->record.snapshot_count) {
        error = stack_snapshot_drop(volume, volume->record.snapshots[0].number, false, reterr);
    }
    return error;
}

static int lvm_is_up(struct volume *volume, struct br_err *reterr)
{
    struct dmh_ref device = volume_ref(volume, "@device");
    struct dmh_info info;
    struct br_err err = {0};
    int error = dmh_info(volume->helper, &device, &info, &err);

    if (error == -BR_E_NOT_FOUND) {
        return 0;
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error ? error : info.live_table;
}

// Before the freeze -------------------------------------------------------------------------------------------------------------------

// Where the device is mounted; false when it is not, or its file system has a number of its own.
static bool lvm_mount_of(const struct volume_record *record, char *ret_path, size_t size)
{
    char line[4096], wanted[32], where[2048];
    bool found = false;
    struct stat st;

    if (stat(record->device, &st) || !S_ISBLK(st.st_mode)) {
        return false;
    }
    snprintf(wanted, sizeof(wanted), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    FILE *file = fopen("/proc/self/mountinfo", "re");
    while (file && !found && fgets(line, sizeof(line), file)) {
        char number[32];
        found = sscanf(line, "%*d %*d %31s %*s %2047s", number, where) == 2 && !strcmp(number, wanted);
    }
    if (file) {
        fclose(file);
    }
    if (found) {
        snprintf(ret_path, size, "%s", where);
    }
    return found;
}

// LVM freezes the file system, and how long that takes is what is not yet written: so that is written before. A disk on which that does not
// get short gets no freeze.
static int lvm_quiet(const struct volume_record *record, bool *ret_mounted, struct br_err *reterr)
{
    char where[2048];
    uint64_t took_ns = UINT64_MAX;
    struct timespec from, to;

    *ret_mounted = lvm_mount_of(record, where, sizeof(where));
    int fd = *ret_mounted ? open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return 0; // its path is quoted, or a user may not open it: then it is LVM's sync alone
    }
    for (int i = 0; i < LVM_SYNC_ROUNDS && took_ns > LVM_SYNC_GOOD_NS && !cli_cancel; i++) {
        clock_gettime(CLOCK_MONOTONIC, &from);
        if (syncfs(fd)) {
            break;
        }
        clock_gettime(CLOCK_MONOTONIC, &to);
        took_ns = (uint64_t)(to.tv_sec - from.tv_sec) * BR_NS_PER_S + (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
    }
    close(fd);
    if (took_ns != UINT64_MAX && took_ns > LVM_SYNC_SLOW_NS) {
        return br_err_set(reterr, BR_E_FREEZE_SLOW, "writing back what %s holds takes %llu s", where,
                          (unsigned long long)(took_ns / BR_NS_PER_S));
    }
    return 0;
}

// Snapshots ---------------------------------------------------------------------------------------------------------------------------

static int lvm_room(struct volume *volume, struct br_err *reterr)
{
    uint64_t share = 0;
    int error = volume->record.tracker == VOLUME_THIN ? lvm_pool_share(volume, &share, reterr) : 0;

    if (!error && share >= LVM_POOL_FULL) {
        error = br_err_set(reterr, BR_E_NO_SPACE,
                           "the thin pool of %s is %llu.%llu %% full: a snapshot would hold on to what its volumes may "
                           "need; extend it (lvextend) or free space in it",
                           volume->record.name, (unsigned long long)share / 10, (unsigned long long)share % 10);
    }
    return error;
}

static int lvm_snapshot_prepare(struct volume *volume, struct br_ring *ring, uint64_t store_bytes,
                                struct volume_snapshot *snapshot, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    int error = lvm_room(volume, reterr);

    (void)ring;
    if (error) {
        return error;
    }
    snapshot->number = ++record->next_number;
    snapshot->piece_count = 0;
    snapshot->grown = true; // its store is not one that we wiped
    snapshot->store_bytes = record->tracker == VOLUME_LVM_COW ? store_bytes : 0;
    record->snapshots[record->snapshot_count++] = *snapshot;
    return volume_save(volume, reterr);
}

static int lvm_snapshot_make(struct volume *volume, const struct volume_snapshot *snapshot, struct br_err *reterr)
{
    struct dmh_lvm_create create = {.kind = DMH_LVM_THIN_SNAPSHOT};

    if (volume->record.tracker == VOLUME_LVM_COW) {
        create.kind = DMH_LVM_SNAPSHOT;
        create.size_bytes = br_align_up(BR_MAX(snapshot->store_bytes, LVM_STORE_LEAST), VOLUME_UNIT_BYTES);
    }
    snprintf(create.volume, sizeof(create.volume), "%s", volume->record.name);
    volume_part(create.part, "snap", snapshot->number);
    int error = dmh_lvm_create(volume->helper, &create, reterr);
    // A group that has less than was wished for may still have enough.
    while (error == -BR_E_NO_SPACE && create.size_bytes >= 2 * LVM_STORE_LEAST) {
        create.size_bytes = br_align_up(create.size_bytes / 2, VOLUME_UNIT_BYTES);
        error = dmh_lvm_create(volume->helper, &create, reterr);
    }
    return error;
}

// Which LV it became: its uuid, in a thin pool its id, and the pool's transaction.
static int lvm_snapshot_note(struct volume *volume, struct volume_snapshot *snapshot, struct br_err *reterr)
{
    struct dmh_ref device = lvm_ref(volume, snapshot->number);
    struct dmh_ref pool = volume_ref(volume, "@pool");
    struct dmh_target_status status = {0};
    struct dmh_info info;
    int error = dmh_info(volume->helper, &device, &info, reterr);

    if (error) {
        return error;
    }
    snprintf(snapshot->lv_uuid, sizeof(snapshot->lv_uuid), "%.79s", info.uuid);
    if (volume->record.tracker == VOLUME_THIN) {
        struct dmh_query query = {.device = device};
        struct dmh_rows *rows = calloc(1, sizeof(*rows));
        error = rows ? dmh_table(volume->helper, &query, rows, reterr) : br_err_set(reterr, BR_E_NOMEM, "a table");
        if (!error && (rows->target_count != 1 || rows->targets[0].kind != DMH_TARGET_THIN)) {
            error =
                br_err_set(reterr, BR_E_IO, "LVM made something else than a thin snapshot of %s", volume->record.name);
        }
        snapshot->thin_id = error ? 0 : rows->targets[0].thin_id;
        free(rows);
        error = error ? error : lvm_status(volume, &pool, &status, reterr);
        snapshot->era = status.transaction_id;
    }
    return error;
}

// Alone it is taken in LVM's own window, which costs one freeze.
static int lvm_take_alone(struct stack_window *window, struct dmh_window_done *ret_done, struct br_err *reterr)
{
    struct volume *volume = window->volume;
    struct volume_snapshot *snapshot = window->snapshot;
    struct timespec from, to;
    bool mounted = false;
    int error = hook_before(volume, reterr);

    error = error ? error : lvm_quiet(&volume->record, &mounted, reterr);
    clock_gettime(CLOCK_MONOTONIC, &from);
    error = error ? error : lvm_snapshot_make(volume, snapshot, reterr);
    clock_gettime(CLOCK_MONOTONIC, &to);
    hook_after(volume);
    error = error ? error : lvm_snapshot_note(volume, snapshot, reterr);
    if (error) {
        return error;
    }
    snapshot->taken_unix_ns = volume_now_unix_ns();
    snapshot->consistency = mounted ? BR_CONSISTENCY_CLEAN : BR_CONSISTENCY_CRASH;
    // How long LVM held writes is known to LVM alone: no longer than its command ran.
    ret_done->top_count = 1;
    ret_done->tops[0].mounted = mounted;
    ret_done->window_ns = ret_done->tops[0].window_ns =
        (uint64_t)(to.tv_sec - from.tv_sec) * BR_NS_PER_S + (uint64_t)to.tv_nsec - (uint64_t)from.tv_nsec;
    return volume_save(volume, reterr);
}

// In a group LVM makes it of some moment, and the window makes it anew, of the moment that all share (dm-helper/renew.h).
static int lvm_window_prepare(const struct stack_window *of, struct br_err *reterr)
{
    bool mounted;
    int error = lvm_quiet(&of->volume->record, &mounted, reterr);

    return error ? error : lvm_snapshot_make(of->volume, of->snapshot, reterr);
}

static void lvm_window_add(struct dmh_window *window, const struct stack_window *of)
{
    struct dmh_window_top *top = &window->tops[window->top_count++];
    struct dmh_window_inside *inside = &window->inside[window->inside_count++];

    top->device = volume_ref(of->volume, volume_top(&of->volume->record));
    top->freeze = true;
    inside->device = lvm_ref(of->volume, of->snapshot->number);
    inside->renew = true;
}

static int lvm_window_note(const struct stack_window *of, struct br_err *reterr)
{
    return lvm_snapshot_note(of->volume, of->snapshot, reterr);
}

// LVM removes none that is read: there is no force.
static int lvm_snapshot_unmake(struct volume *volume, uint32_t number, bool force, struct br_err *reterr)
{
    struct dmh_lvm_change change = lvm_change(&volume->record, number);
    struct br_err err = {0};

    (void)force;
    int error = dmh_lvm_remove(volume->helper, &change, &err);

    if (error && error != -BR_E_NOT_FOUND && reterr) {
        *reterr = err;
    }
    return error == -BR_E_NOT_FOUND ? 0 : error;
}

static int lvm_snapshot_status(struct volume *volume, uint32_t number, struct dmh_target_status *ret_status,
                               struct br_err *reterr)
{
    struct dmh_ref device = lvm_ref(volume, number);
    struct dmh_target_status status = {0};
    int error = lvm_status(volume, &device, &status, reterr);

    if (!error && status.kind == DMH_TARGET_THIN) {
        status.snapshot_state = status.failed ? DMH_SNAPSHOT_INVALID : DMH_SNAPSHOT_VALID;
        status.total_bytes = status.length_bytes;
    } else if (!error && status.kind != DMH_TARGET_SNAPSHOT) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "%s of volume %s is no snapshot", device.where, volume->record.name);
    }
    if (!error) {
        *ret_status = status;
    }
    return error;
}

// A store that could hold every chunk of its origin can't overflow, and LVM makes it no larger.
static uint64_t lvm_store_most(const struct volume_record *record)
{
    return record->size_bytes + record->size_bytes / 64 + LVM_STORE_LEAST;
}

static int lvm_snapshot_grow(struct volume *volume, uint32_t number, uint64_t more_bytes, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;
    struct dmh_lvm_change change = lvm_change(record, number);
    struct dmh_target_status status = {0};
    char text[32];
    int error = lvm_snapshot_status(volume, number, &status, reterr);

    if (error || record->tracker == VOLUME_THIN || status.total_bytes >= lvm_store_most(record) - LVM_STORE_LEAST) {
        return error;
    }
    change.size_bytes = BR_MIN(status.total_bytes + more_bytes, lvm_store_most(record));
    if (change.size_bytes > record->area.max_bytes) {
        br_size_text(record->area.max_bytes, text, sizeof(text));
        return br_err_set(reterr, BR_E_NO_SPACE, "a snapshot of %s may have %s (blkrep attach --cow-max)", record->name,
                          text);
    }
    return dmh_lvm_extend(volume->helper, &change, reterr);
}

int lvm_snapshot_proven(struct volume *volume, const struct volume_snapshot *snapshot, const char **ret_why,
                        struct br_err *reterr)
{
    struct dmh_ref device = lvm_ref(volume, snapshot->number);
    struct dmh_lvm_change change = lvm_change(&volume->record, snapshot->number);
    struct dmh_info info = {0};
    struct br_err err = {0};
    int error = dmh_info(volume->helper, &device, &info, &err);

    if (error == -BR_E_NOT_FOUND && !dmh_lvm_activate(volume->helper, &change, &err)) {
        error = dmh_info(volume->helper, &device, &info, &err);
    }
    if (error && error != -BR_E_NOT_FOUND) {
        if (reterr) {
            *reterr = err;
        }
        return error;
    }
    *ret_why = error ? "snapshot-gone" : "snapshot-is-another";
    return !error && !strcmp(info.uuid, snapshot->lv_uuid);
}

const struct stack_kind lvm_kind = {
    .up = lvm_up,
    .down = lvm_down,
    .is_up = lvm_is_up,
    .snapshot_prepare = lvm_snapshot_prepare,
    .snapshot_unmake = lvm_snapshot_unmake,
    .snapshot_grow = lvm_snapshot_grow,
    .snapshot_status = lvm_snapshot_status,
    .take_alone = lvm_take_alone,
    .window_prepare = lvm_window_prepare,
    .window_add = lvm_window_add,
    .window_note = lvm_window_note,
};
