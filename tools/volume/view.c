// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/view.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/track/cow_store.h"
#include "engine/track/era_meta.h"
#include "tools/volume/continuity.h"
#include "tools/volume/lvm.h"
#include "tools/volume/stack.h"
#include "tools/volume/tend.h"

#define VIEW_SETTLE_NS (2 * BR_NS_PER_S) // for a metadata block that the kernel is writing

// Owners ------------------------------------------------------------------------------------------------------------------------------

// When a process began, in clock ticks since boot (field 22 of /proc/PID/stat): with its number that is it and no later one.
static uint64_t view_start_of(int64_t pid)
{
    char path[64];
    char line[1024];
    unsigned long long start = 0;

    snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    const char *behind = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
    fclose(file);
    if (behind &&
        sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &start) != 1) {
        start = 0;
    }
    return start;
}

static bool view_is_alive(const struct volume_snapshot *snapshot)
{
    uint64_t start = view_start_of(snapshot->owner_pid);

    return start && start == snapshot->owner_start;
}

// Views of runs that are dead, snapshots that were marks, and what overflowed. What can't go now goes with the next run.
static void view_collect(struct volume *volume)
{
    struct volume_record *record = &volume->record;
    struct br_err err;

    tend_collect(volume);
    for (uint32_t i = record->snapshot_count; i; i--) {
        const struct volume_snapshot *snapshot = &record->snapshots[i - 1];
        bool idle = snapshot->use == VOLUME_MARK || (snapshot->use == VOLUME_VIEW && !view_is_alive(snapshot));
        if (idle && volume_record_needed(record, snapshot->number)) {
            record->snapshots[i - 1].use = VOLUME_MARK; // its run died after it had made it one
        } else if (idle && stack_snapshot_drop(volume, snapshot->number, false, &err)) {
            cli_warn(volume->cli, "snapshot %u of %s is not needed and can't be removed: %s",
                     record->snapshots[i - 1].number, record->name, err.text);
        }
    }
}

// Tending -----------------------------------------------------------------------------------------------------------------------------

static void *view_tend(void *ctx)
{
    struct volume_view *view = ctx;
    const struct timespec nap = {.tv_nsec = (long)TEND_NS};
    struct volume volume;
    struct tend_found found;
    struct br_err err;

    // A connection of its own: the run's serves one thread.
    int error = volume_open(view->volume.cli, view->volume.record.name, false, &volume, &err);
    volume.let_go = &view->old_unwanted;
    while (!error && !view->tender_stop) {
        bool asked = view->old_unwanted;
        int rc = tend_volume(&volume, view->snapshot.number, &found, &err);
        // The run lets go of a mark that it reads; LVM does not wait for that, and is asked again.
        bool just_asked = view->old_unwanted && !asked;
        if (rc && !(rc == -BR_E_BUSY && just_asked)) {
            snprintf(view->tender_problem, sizeof(view->tender_problem), "%.150s", err.text);
        }
        if (found.gone) {
            struct dmh_target_status status = {0};
            view->overflowed = !stack_snapshot_status(&volume, view->snapshot.number, &status, &err) &&
                               status.snapshot_state != DMH_SNAPSHOT_VALID;
        }
        nanosleep(&nap, NULL);
    }
    if (error) {
        snprintf(view->tender_problem, sizeof(view->tender_problem), "%.150s", err.text);
    }
    volume_close(&volume);
    return NULL;
}

static void view_stop_tending(struct volume_view *view)
{
    if (!view->tender_runs) {
        return;
    }
    view->tender_stop = true;
    pthread_join(view->tender, NULL);
    view->tender_runs = false;
    if (view->tender_problem[0]) {
        cli_warn(view->volume.cli, "the snapshot's store could not be tended: %s", view->tender_problem);
    }
}

int view_check(void *ctx, struct br_err *reterr)
{
    struct volume_view *view = ctx;
    struct dmh_target_status status = {0};
    int error = stack_snapshot_status(&view->volume, view->snapshot.number, &status, reterr);

    if (!error && view->volume.record.tracker == VOLUME_THIN) {
        return lvm_thin_check(&view->volume, reterr);
    }
    if (!error && (view->overflowed || status.snapshot_state != DMH_SNAPSHOT_VALID)) {
        error = br_err_set(
            reterr, BR_E_NO_SPACE,
            "the snapshot of %s overflowed: more was written to the volume during the run than its area holds (or the "
            "area's device failed: dmesg tells); the volume itself is unharmed; give it a larger area (blkrep attach "
            "--cow-max)",
            view->volume.record.name);
    }
    return error;
}

// The tracker -------------------------------------------------------------------------------------------------------------------------

static int view_reason(struct volume_view *view, const char *why, const char **ret_reason)
{
    snprintf(view->reason, sizeof(view->reason), "%s", why);
    *ret_reason = view->reason;
    return 0;
}

// What no full compare would help against is an error; a map that can't be read is a reason, and what made it is not believed any more.
static int view_unread(struct volume_view *view, int error, const char *why, const struct br_err *err,
                       const char **ret_reason, struct br_err *reterr)
{
    switch (-error) {
    case BR_E_CANCELLED:
    case BR_E_NOMEM:
    case BR_E_PEER:
    case BR_E_PROTOCOL:
    case BR_E_TIMEOUT:
        if (reterr) {
            *reterr = *err;
        }
        return error;
    default: break;
    }
    cli_warn(view->volume.cli, "the change tracking of %s can't be used, all is compared: %s", view->volume.record.name,
             err->text);
    volume_break_chain(&view->volume, why);
    view->chain = view->volume.record.chain;
    error = volume_save(&view->volume, reterr);
    return error ? error : view_reason(view, why, ret_reason);
}

static int view_era_status(struct volume_view *view, struct dmh_target_status *ret_status, struct br_err *reterr)
{
    struct dmh_query query = {.device = volume_ref(&view->volume, "era")};
    struct dmh_status *status = calloc(1, sizeof(*status));

    if (!status) {
        return br_err_set(reterr, BR_E_NOMEM, "a status");
    }
    int error = dmh_status(view->volume.helper, &query, status, reterr);
    if (!error && (!status->target_count || !status->targets[0].parsed || status->targets[0].failed)) {
        error = br_err_set(reterr, BR_E_CORRUPT, "dm-era says: %.100s",
                           status->target_count ? status->targets[0].params : "nothing");
    }
    if (!error) {
        *ret_status = status->targets[0];
    }
    free(status);
    return error;
}

static int view_era_message(struct volume_view *view, enum dmh_message_kind kind, struct br_err *reterr)
{
    struct dmh_message message = {.device = volume_ref(&view->volume, "era"), .kind = kind};

    return dmh_message(view->volume.helper, &message, reterr);
}

static int view_era_read(struct volume_view *view, uint64_t since, uint64_t kernel_era, struct br_extent_map *map,
                         struct br_err *reterr)
{
    struct br_era_meta_params params = {
        .use_snap = true, .kernel_era = (uint32_t)kernel_era, .settle_ns = VIEW_SETTLE_NS};
    struct br_era_meta *meta = NULL;
    int error = stack_open(&view->volume, view->ring, "meta", false, &params.file, &params.meta_bytes, reterr);

    if (error) {
        return error;
    }
    error = br_era_meta_open(&params, &meta, reterr);
    error = error ? error : br_era_meta_changed(meta, (uint32_t)since, view->size_bytes, map, reterr);
    br_era_meta_close(meta);
    br_file_close(params.file);
    return error;
}

// The one metadata snapshot is ours: all of it happens under the volume's lock, so one that is held was left by a run that died.
static int view_era_changed(struct volume_view *view, uint64_t since, struct br_extent_map *map, struct br_err *reterr)
{
    struct dmh_target_status status = {0};
    int error = view_era_status(view, &status, reterr);

    if (!error && status.has_metadata_snap) {
        error = view_era_message(view, DMH_MESSAGE_ERA_DROP_METADATA_SNAP, reterr);
    }
    error = error ? error : view_era_message(view, DMH_MESSAGE_ERA_TAKE_METADATA_SNAP, reterr);
    if (error) {
        return error;
    }
    error = view_era_read(view, since, status.era, map, reterr);
    struct br_err err;
    int dropped = view_era_message(view, DMH_MESSAGE_ERA_DROP_METADATA_SNAP, &err);
    if (dropped) {
        cli_warn(view->volume.cli, "dm-era's metadata snapshot could not be dropped: %s", err.text);
    }
    return error;
}

static struct br_cow_status view_cow_status(const struct dmh_target_status *status)
{
    return (struct br_cow_status){
        .known = true, .used_sectors = status->used_bytes / 512, .metadata_sectors = status->metadata_bytes / 512};
}

static int view_cow_read(struct volume_view *view, const struct volume_snapshot *held, struct br_extent_map *map,
                         struct br_err *reterr)
{
    bool of_lvm = view->volume.record.tracker == VOLUME_LVM_COW; // which decides its chunks
    struct br_cow_store_params params = {.origin_bytes = UINT64_MAX,
                                         .chunk_bytes = of_lvm ? 0 : VOLUME_CHUNK_BYTES,
                                         .wiped = !held->grown,
                                         .settle_ns = VIEW_SETTLE_NS};
    struct dmh_target_status status = {0};
    struct br_cow_store *store = NULL;
    char part[DMH_PART_MAX];

    volume_part(part, "cow", held->number);
    int error = stack_snapshot_status(&view->volume, held->number, &status, reterr);
    if (!error && status.snapshot_state != DMH_SNAPSHOT_VALID) {
        return br_err_set(reterr, BR_E_CORRUPT, "snapshot %u overflowed", held->number);
    }
    params.before = view_cow_status(&status);
    error =
        error ? error : stack_open(&view->volume, view->ring, part, false, &params.file, &params.store_bytes, reterr);
    if (error) {
        return error;
    }
    error = br_cow_store_read(&params, &store, reterr);
    error = error ? error : stack_snapshot_status(&view->volume, held->number, &status, reterr);
    if (!error) {
        struct br_cow_status after = view_cow_status(&status);
        error = br_cow_store_agrees(store, &after, reterr);
    }
    const struct br_extent_map *changed = error ? NULL : br_cow_store_changed(store);
    for (size_t i = 0; !error && i < changed->count; i++) {
        error = br_extent_map_mark(map, changed->extents[i].offset_bytes, changed->extents[i].len_bytes, reterr);
    }
    br_cow_store_close(store);
    br_file_close(params.file);
    return error;
}

// The snapshot, unless it is lost.
static const struct volume_snapshot *view_held(struct volume_view *view, uint32_t number)
{
    const struct volume_snapshot *held = volume_record_snapshot(&view->volume.record, number, NULL);
    struct dmh_target_status status = {0};
    struct br_err err;
    bool lost =
        !held || held->gone ||
        (!stack_snapshot_status(&view->volume, number, &status, &err) && status.snapshot_state != DMH_SNAPSHOT_VALID);

    return lost ? NULL : held;
}

// Snapshots of LVM's own: first that they are what was made, then what changed.
static int view_lvm_changed(struct volume_view *view, const struct volume_mark *mark,
                            const struct volume_snapshot *held, struct br_extent_map *map, const char **ret_reason,
                            struct br_err *reterr)
{
    struct volume_record *record = &view->volume.record;
    const char *why = "";
    struct br_err err = {0};
    int error;

    if (record->tracker == VOLUME_THIN) {
        const struct volume_snapshot *marked = volume_record_snapshot(record, mark->snapshot, NULL);
        error = lvm_thin_changed(&view->volume, marked, &view->snapshot, map, &why, &err);
    } else {
        error = lvm_snapshot_proven(&view->volume, held, &why, &err);
        if (error > 0) {
            error = view_cow_read(view, held, map, &err);
            return error ? view_unread(view, error, "snapshot-store-unreadable", &err, ret_reason, reterr) : 1;
        }
    }
    if (error < 0) {
        return view_unread(view, error, "thin-delta-unreadable", &err, ret_reason, reterr);
    }
    if (!error) {
        cli_warn(view->volume.cli, "what changed on %s can't be told, all is compared: %s", record->name,
                 err.text[0] ? err.text : why);
        return view_reason(view, why, ret_reason);
    }
    return 1;
}

static int view_changed_since(struct volume_view *view, const struct volume_mark *mark, struct br_extent_map *map,
                              const char **ret_reason, struct br_err *reterr)
{
    struct volume_record *record = &view->volume.record;
    struct br_err err = {0};
    int error;

    // A user's snapshot may be older than the mark: then what changed since the older of the two is told.
    if (record->tracker == VOLUME_ERA) {
        error = view_era_changed(view, BR_MIN(mark->era, view->snapshot.era), map, &err);
        return error ? view_unread(view, error, "era-metadata-unreadable", &err, ret_reason, reterr) : 1;
    }
    uint32_t number = BR_MIN(mark->snapshot, view->snapshot.number);
    const struct volume_snapshot *held = view_held(view, number);
    if (mark->snapshot == view->snapshot.number) {
        return 1; // the very view that the version was read from
    }
    if (!held || !volume_record_snapshot(record, mark->snapshot, NULL)) {
        return view_reason(view, "snapshot-gone", ret_reason);
    }
    if (volume_is_lvm(record)) {
        return view_lvm_changed(view, mark, held, map, ret_reason, reterr);
    }
    error = view_cow_read(view, held, map, &err);
    return error ? view_unread(view, error, "snapshot-store-unreadable", &err, ret_reason, reterr) : 1;
}

static int view_changed(void *ctx, const struct br_uuid *version, struct br_extent_map *map, const char **ret_reason,
                        struct br_err *reterr)
{
    struct volume_view *view = ctx;
    int rc = volume_lock(&view->volume, reterr);

    if (rc) {
        return rc;
    }
    const struct volume_record *record = &view->volume.record;
    const struct volume_mark *mark = volume_record_find_mark(record, version);
    if (!mark) {
        rc = view_reason(view, "no-mark", ret_reason);
    } else if (!br_uuid_equal(&mark->chain, &record->chain)) {
        rc = view_reason(view, record->lost, ret_reason);
    } else {
        struct volume_mark copy = *mark;
        rc = view_changed_since(view, &copy, map, ret_reason, reterr);
    }
    volume_unlock(&view->volume);
    return rc;
}

static int view_mark(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version, struct br_err *reterr)
{
    struct volume_view *view = ctx;
    struct volume_mark mark = {
        .consumer = *consumer,
        .version = *version,
        .chain = view->chain,
        .era = view->snapshot.era,
        .snapshot = view->snapshot.number,
        .taken_unix_ns = view->snapshot.taken_unix_ns,
    };
    int error = volume_lock(&view->volume, reterr);

    if (error) {
        return error;
    }
    if (view->volume.record.tracker == VOLUME_ERA) {
        mark.snapshot = 0;
    }
    volume_record_mark(&view->volume.record, &mark);
    error = volume_save(&view->volume, reterr);
    volume_unlock(&view->volume);
    return error;
}

static void view_settle(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version)
{
    struct volume_view *view = ctx;
    struct br_err err;
    int error = volume_lock(&view->volume, &err);

    if (!error) {
        volume_record_settle(&view->volume.record, consumer, version);
        error = volume_save(&view->volume, &err);
    }
    if (!error) {
        view_collect(&view->volume);
    }
    volume_unlock(&view->volume);
    if (error) {
        cli_warn(view->volume.cli, "marks of %s could not be cleaned up: %s", view->volume.record.name, err.text);
    }
}

static int view_distrust(void *ctx, uint64_t offset_bytes, struct br_err *reterr)
{
    struct volume_view *view = ctx;
    int error = volume_lock(&view->volume, reterr);

    if (error) {
        return error;
    }
    cli_warn(view->volume.cli,
             "the tracker of %s called the block at offset %llu unchanged, and it had changed: all is compared",
             view->volume.record.name, (unsigned long long)offset_bytes);
    volume_break_chain(&view->volume, "recheck-mismatch");
    view->chain = view->volume.record.chain;
    error = volume_save(&view->volume, reterr);
    volume_unlock(&view->volume);
    return error;
}

// The mark's snapshot itself; 0 when it is no more, or not the one that was made.
static int view_old_open(struct volume_view *view, uint32_t number, struct br_file **ret_file, struct br_err *reterr)
{
    const struct volume_snapshot *held = view_held(view, number);
    char part[DMH_PART_MAX];
    const char *why;
    uint64_t bytes;
    int proven = held ? 1 : 0;

    if (held && volume_is_lvm(&view->volume.record)) {
        proven = lvm_snapshot_proven(&view->volume, held, &why, reterr);
    }
    if (proven <= 0) {
        return proven;
    }
    volume_part(part, "snap", number);
    int error = stack_open(&view->volume, view->ring, part, false, ret_file, &bytes, reterr);
    return error ? error : 1;
}

// Read through the snapshot, not from its store: the kernel puts together what was copied and what is as it was, and says when it is invalid.
static int view_old(void *ctx, const struct br_uuid *version, struct br_file **ret_file)
{
    struct volume_view *view = ctx;
    struct br_err err;
    int rc = volume_lock(&view->volume, &err);

    if (!rc) {
        const struct volume_record *record = &view->volume.record;
        const struct volume_mark *mark = volume_record_find_mark(record, version);
        bool held = mark && mark->snapshot && br_uuid_equal(&mark->chain, &record->chain);
        rc = held ? view_old_open(view, mark->snapshot, ret_file, &err) : 0;
        volume_unlock(&view->volume);
    }
    if (rc < 0) {
        cli_warn(view->volume.cli, "what %s held before can't be read, so that more is shipped: %s",
                 view->volume.record.name, err.text);
    }
    return BR_MAX(rc, 0);
}

static const struct br_tracker_ops view_tracker_ops = {
    .changed = view_changed, .mark = view_mark, .settle = view_settle, .distrust = view_distrust, .old = view_old};

// Opening and closing -----------------------------------------------------------------------------------------------------------------

// A store for the view; where there is no room at all the oldest mark makes some.
static int view_prepare(struct volume_view *view, struct volume_snapshot *snapshot, struct br_err *reterr)
{
    struct volume *volume = &view->volume;
    const struct volume_snapshot *oldest;
    int error;

    while ((error = stack_snapshot_prepare(volume, view->ring, stack_store_bytes(&volume->record), snapshot, reterr)) ==
               -BR_E_NO_SPACE &&
           !snapshot->number && (oldest = volume_record_oldest_mark(&volume->record, 0))) {
        error = tend_give_up(volume, oldest->number, "no-room", reterr);
        if (error) {
            break;
        }
    }
    return error;
}

static int view_take(struct volume_view *view, struct br_err *reterr)
{
    struct volume *volume = &view->volume;
    struct volume_snapshot snapshot = {
        .use = VOLUME_VIEW, .owner_pid = getpid(), .owner_start = view_start_of(getpid())};
    int error = view_prepare(view, &snapshot, reterr);
    struct stack_window window = {.volume = volume,
                                  .snapshot = volume_record_snapshot(&volume->record, snapshot.number, NULL)};

    if (!error) {
        error = stack_snapshot_take(&window, 1, view->window, reterr);
    }
    if (error) {
        struct br_err err;
        if (snapshot.number && stack_snapshot_drop(volume, snapshot.number, true, &err)) {
            cli_warn(volume->cli, "the snapshot that could not be taken is removed by the next run: %s", err.text);
        }
        return error;
    }
    view->snapshot = *window.snapshot;
    return 0;
}

static int view_use(struct volume_view *view, const char *name, struct br_err *reterr)
{
    const struct volume_snapshot *snapshot = volume_record_snapshot(&view->volume.record, 0, name);

    if (!snapshot) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "volume %s has no snapshot %s", view->volume.record.name, name);
    }
    if (snapshot->leader[0] || !snapshot->taken_unix_ns) { // which view_collect() could not help
        return br_err_set(
            reterr, BR_E_BUSY,
            "snapshot %s of %s was not taken, or with one of volume %s that can't be looked at: remove it", name,
            view->volume.record.name, snapshot->leader[0] ? snapshot->leader : name);
    }
    if (snapshot->gone) {
        return br_err_set(
            reterr, BR_E_NO_SPACE,
            "snapshot %s of %s overflowed (more was written to the volume than its area holds), or the volume was written to while its stack was away; "
            "the volume itself is unharmed; blkrep snapshot remove %s@%s, and after an overflow give it a larger area",
            name, view->volume.record.name, view->volume.record.name, name);
    }
    view->snapshot = *snapshot;
    view->user = true;
    return 0;
}

static int view_open_locked(struct volume_view *view, const char *snapshot, struct br_err *reterr)
{
    struct volume *volume = &view->volume;
    char part[DMH_PART_MAX];
    int up = stack_is_up(volume, reterr);

    if (up <= 0) {
        return up < 0 ? up
                      : br_err_set(reterr, BR_E_NOT_FOUND,
                                   "volume %s is attached, but its stack does not stand: run blkrep attach %s",
                                   volume->record.name, volume->record.name);
    }
    view_collect(volume);
    int error = snapshot ? view_use(view, snapshot, reterr) : view_take(view, reterr);
    if (error) {
        return error;
    }
    view->chain = volume->record.chain;
    volume_part(part, "snap", view->snapshot.number);
    error = stack_open(volume, view->ring, part, false, &view->file, &view->size_bytes, reterr);
    return error ? error : continuity_note_view(volume, view->file, reterr);
}

int view_open(struct cli *cli, struct br_ring *ring, const char *name, const char *snapshot,
              struct volume_view *ret_view, struct br_err *reterr)
{
    struct volume_view *view = ret_view;
    struct br_file_info info;

    *view = (struct volume_view){.ring = ring, .volume = {.dir_fd = -1, .lock_fd = -1}};
    view->window = calloc(1, sizeof(*view->window));
    if (!view->window) {
        return br_err_set(reterr, BR_E_NOMEM, "a view of %s", name);
    }
    int error = volume_open(cli, name, false, &view->volume, reterr);
    error = error ? error : volume_lock(&view->volume, reterr);
    error = error ? error : view_open_locked(view, snapshot, reterr);
    volume_unlock(&view->volume);
    error = error ? error : br_file_stat(view->file, &info, reterr);
    if (error) {
        return error;
    }
    view->sector_bytes = info.sector_bytes;
    view->tracker = (struct br_tracker){.name = volume_tracker_name(view->volume.record.tracker),
                                        .ops = &view_tracker_ops,
                                        .ctx = view,
                                        .old_unwanted = &view->old_unwanted};
    view->tender_runs = !pthread_create(&view->tender, NULL, view_tend, view);
    return view->tender_runs ? 0 : br_err_set(reterr, BR_E_NOMEM, "a thread");
}

// What is a mark by now is held; what is none goes.
static void view_give_back(struct volume_view *view)
{
    struct volume *volume = &view->volume;
    struct br_err err;
    int error = volume_lock(volume, &err);

    if (!error) {
        struct volume_snapshot *snapshot = volume_record_snapshot(&volume->record, view->snapshot.number, NULL);
        if (snapshot && volume_record_needed(&volume->record, snapshot->number)) {
            snapshot->use = VOLUME_MARK;
            error = volume_save(volume, &err);
        } else if (snapshot) {
            error = stack_snapshot_drop(volume, snapshot->number, false, &err);
        }
    }
    volume_unlock(volume);
    if (error) {
        cli_warn(volume->cli, "the run's snapshot of %s is removed by the next run: %s", volume->record.name, err.text);
    }
}

void view_close(struct volume_view *view)
{
    view_stop_tending(view);
    br_file_close(view->file);
    view->file = NULL;
    if (view->snapshot.number && !view->user) {
        view_give_back(view);
    }
    volume_close(&view->volume);
    free(view->window);
    view->window = NULL;
}

enum br_consistency view_consistency(const struct volume_view *view)
{
    return (enum br_consistency)view->snapshot.consistency;
}

// Forgetting --------------------------------------------------------------------------------------------------------------------------

static int view_forget_in(struct cli *cli, const char *name, const struct br_uuid *consumer, struct br_err *reterr)
{
    const struct br_uuid none = {0};
    struct volume *volume = calloc(1, sizeof(*volume));

    if (!volume) {
        return br_err_set(reterr, BR_E_NOMEM, "volume %s", name);
    }
    int error = volume_open_record(cli, name, false, volume, reterr);
    error = error ? error : volume_lock(volume, reterr);
    uint32_t marks = volume->record.mark_count;
    if (!error) {
        volume_record_settle(&volume->record, consumer, &none);
    }
    if (!error && volume->record.mark_count != marks) {
        error = volume_save(volume, reterr);
        error = error ? error : dmh_client_open(NULL, &volume->helper, reterr);
        int up = error ? error : stack_is_up(volume, reterr);
        error = BR_MIN(up, 0);
        if (up > 0) {
            view_collect(volume);
        }
    }
    volume_close(volume);
    free(volume);
    return error;
}

int view_forget(struct cli *cli, const struct br_uuid *consumer, struct br_err *reterr)
{
    struct br_err err;
    json_t *names;
    const json_t *name;
    size_t i;
    int first = volume_list(cli, &names, reterr);

    if (first) {
        return first;
    }
    json_array_foreach(names, i, name)
    {
        int error = view_forget_in(cli, json_string_value(name), consumer, &err);
        if (error && !first) {
            first = error;
            *reterr = err;
        }
    }
    json_decref(names);
    return first;
}
