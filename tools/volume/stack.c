// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/stack.h"

#include <stdio.h>

#include "engine/base/units.h"
#include "engine/codec/delta.h"
#include "tools/volume/group.h"
#include "tools/volume/hook.h"
#include "tools/volume/lvm.h"
#include "tools/volume/own.h"

#define STACK_STORE_LEAST (UINT64_C(64) << 20)
#define STACK_STORE_MOST  (UINT64_C(8) << 30) // to begin with: it grows
#define STACK_STORE_SHARE 16u                 // of the volume

static const struct stack_kind *stack_kind(const struct volume *volume)
{
    return volume_is_lvm(&volume->record) ? &lvm_kind : &own_kind;
}

// The registration --------------------------------------------------------------------------------------------------------------------

// The record may have been written by any member of group blkrep, the registration by root alone. So a record can't change what a volume is.
static int stack_registered(struct volume *volume, const struct dmh_volume *wanted, struct br_err *reterr)
{
    struct dmh_volume *now = calloc(1, sizeof(*now));
    struct br_err err = {0};

    if (!now) {
        return br_err_set(reterr, BR_E_NOMEM, "registering volume %s", volume->record.name);
    }
    int error = dmh_volume(volume->helper, volume->record.name, now, &err);
    // A device that is called otherwise by now was found by its WWID.
    bool same = !error && !strcmp(now->uuid, wanted->uuid) && !strcmp(now->wwid, wanted->wwid) &&
                (!strcmp(now->device, wanted->device) || strncmp(now->wwid, "name-", 5) != 0) &&
                now->place_count == 1 && now->places[0].kind == wanted->places[0].kind &&
                !strcmp(now->places[0].path, wanted->places[0].path);
    free(now);
    if (volume->fresh || same || error == -BR_E_NOT_FOUND) {
        return 0;
    }
    if (error) {
        if (reterr) {
            *reterr = err;
        }
        return error;
    }
    return br_err_set(reterr, BR_E_REFUSED,
                      "the record of volume %s names another device or place than root attached: somebody changed it; "
                      "blkrep detach %s, then attach it anew",
                      volume->record.name, volume->record.name);
}

int stack_register(struct volume *volume, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;
    struct dmh_volume *registration = calloc(1, sizeof(*registration));

    if (!registration) {
        return br_err_set(reterr, BR_E_NOMEM, "registering volume %s", record->name);
    }
    snprintf(registration->volume, sizeof(registration->volume), "%s", record->name);
    br_uuid_text(&record->volume, registration->uuid);
    snprintf(registration->device, sizeof(registration->device), "%s", record->device);
    snprintf(registration->wwid, sizeof(registration->wwid), "%s", record->wwid);
    registration->place_count = 1;
    registration->places[0].kind = record->area.kind == VOLUME_AREA_FILE     ? DMH_PLACE_FILE
                                   : record->area.kind == VOLUME_AREA_DEVICE ? DMH_PLACE_DEVICE
                                                                             : DMH_PLACE_VG;
    snprintf(registration->places[0].path, sizeof(registration->places[0].path), "%s", record->area.path);
    int error = stack_registered(volume, registration, reterr);
    error = error ? error : dmh_register(volume->helper, registration, reterr);
    free(registration);
    return error;
}

int stack_restore(struct volume *volume, struct br_err *reterr)
{
    static const enum volume_area_kind kinds[] = {
        [DMH_PLACE_DEVICE] = VOLUME_AREA_DEVICE, [DMH_PLACE_FILE] = VOLUME_AREA_FILE, [DMH_PLACE_VG] = VOLUME_AREA_VG};
    struct volume_record *record = &volume->record;
    struct dmh_volume *now = calloc(1, sizeof(*now));
    struct br_err err = {0};

    if (!now) {
        return br_err_set(reterr, BR_E_NOMEM, "the registration of volume %s", record->name);
    }
    int error = dmh_volume(volume->helper, record->name, now, &err);
    if (!error && now->place_count == 1) {
        (void)!br_uuid_parse(now->uuid, &record->volume); // it was checked when it was registered
        snprintf(record->device, sizeof(record->device), "%s", now->device);
        snprintf(record->wwid, sizeof(record->wwid), "%s", now->wwid);
        snprintf(record->area.path, sizeof(record->area.path), "%s", now->places[0].path);
        record->area.kind = kinds[now->places[0].kind];
    }
    free(now);
    if (error && error != -BR_E_NOT_FOUND && reterr) {
        *reterr = err;
    }
    return error == -BR_E_NOT_FOUND ? 0 : error;
}

// Up and down -------------------------------------------------------------------------------------------------------------------------

int stack_area_make(struct volume *volume, struct br_err *reterr)
{
    const struct stack_kind *kind = stack_kind(volume);

    return kind->area_make ? kind->area_make(volume, reterr) : 0;
}

int stack_area_drop(struct volume *volume, struct br_err *reterr)
{
    const struct stack_kind *kind = stack_kind(volume);

    return kind->area_drop ? kind->area_drop(volume, reterr) : 0;
}

int stack_up(struct volume *volume, bool fresh_meta, char ret_lost[64], struct br_err *reterr)
{
    ret_lost[0] = 0;
    return stack_kind(volume)->up(volume, fresh_meta, ret_lost, reterr);
}

int stack_down(struct volume *volume, struct br_err *reterr)
{
    return stack_kind(volume)->down(volume, reterr);
}

int stack_is_up(struct volume *volume, struct br_err *reterr)
{
    return stack_kind(volume)->is_up(volume, reterr);
}

static int stack_note_era(struct volume *volume, bool rolled, const char **ret_older, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct dmh_query query = {.device = volume_ref(volume, "era")};
    struct dmh_status *status = calloc(1, sizeof(*status));

    if (!status) {
        return br_err_set(reterr, BR_E_NOMEM, "a status");
    }
    int error = dmh_status(volume->helper, &query, status, reterr);
    if (!error && (!status->target_count || !status->targets[0].parsed || status->targets[0].failed)) {
        error = br_err_set(reterr, BR_E_CORRUPT, "dm-era of %s does not work", record->name);
    }
    uint64_t era = error ? 0 : status->targets[0].era;
    free(status);
    if (!error && record->era_seen && era < record->era_seen + rolled) {
        *ret_older = "era-metadata-older";
    } else if (!error) {
        record->era_seen = era;
    }
    return error;
}

int stack_note(struct volume *volume, bool rolled, const char **ret_older, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct br_err err;

    *ret_older = NULL;
    int error = record->tracker == VOLUME_ERA ? stack_note_era(volume, rolled, ret_older, reterr) : 0;
    for (uint32_t i = 0; !error && i < record->snapshot_count; i++) {
        struct volume_snapshot *snapshot = &record->snapshots[i];
        struct dmh_target_status status = {0};
        // What is not live has nothing to tell; one that overflowed is named by whoever reads it.
        if (stack_snapshot_status(volume, snapshot->number, &status, &err) ||
            status.snapshot_state != DMH_SNAPSHOT_VALID) {
            continue;
        }
        if (status.used_bytes < snapshot->used_seen_bytes) {
            *ret_older = "snapshot-store-older";
        } else {
            snapshot->used_seen_bytes = status.used_bytes;
        }
    }
    return error;
}

// Snapshots ---------------------------------------------------------------------------------------------------------------------------

int stack_open(struct volume *volume, struct br_ring *ring, const char *where, bool write, struct br_file **ret_file,
               uint64_t *ret_size_bytes, struct br_err *reterr)
{
    struct dmh_open open = {
        .owner = DMH_OWNER_VOLUME, .device = volume_ref(volume, where), .write = write, .direct = false};
    struct dmh_opened opened;
    int fd;
    int error = dmh_open(volume->helper, &open, &fd, &opened, reterr);

    if (!error) {
        *ret_size_bytes = opened.size_bytes;
        error = br_file_wrap(ring, fd, ret_file, reterr);
    }
    return error;
}

uint64_t stack_store_bytes(const struct volume_record *record)
{
    uint64_t room = volume_record_free_bytes(record) + record->area.max_bytes - record->area.bytes;
    uint64_t bytes = BR_MIN(BR_MAX(record->size_bytes / STACK_STORE_SHARE, STACK_STORE_LEAST), STACK_STORE_MOST);

    return BR_MAX(br_align_down(BR_MIN(bytes, room / 2), VOLUME_UNIT_BYTES), VOLUME_UNIT_BYTES);
}

int stack_snapshot_prepare(struct volume *volume, struct br_ring *ring, uint64_t store_bytes,
                           struct volume_snapshot *snapshot, struct br_err *reterr)
{
    if (volume->record.snapshot_count == VOLUME_SNAPSHOTS_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "volume %s has %u snapshots", volume->record.name,
                          volume->record.snapshot_count);
    }
    return stack_kind(volume)->snapshot_prepare(volume, ring, store_bytes, snapshot, reterr);
}

// Written once more, now that it is known what the window found. A record that can't be written makes a snapshot that nobody knows of at
// the next boot, so that is a failure.
static int stack_window_note(struct stack_window *of, const struct dmh_window_top_done *top, struct br_err *reterr)
{
    const struct stack_kind *kind = stack_kind(of->volume);
    struct volume_record *record = &of->volume->record;

    of->snapshot->taken_unix_ns = volume_now_unix_ns();
    of->snapshot->era = top->era.era;
    // Frozen through its file system it is as after an unmount; else as after a power cut.
    of->snapshot->consistency = top->mounted ? BR_CONSISTENCY_CLEAN : BR_CONSISTENCY_CRASH;
    record->era_seen = BR_MAX(record->era_seen, top->era.era);
    int error = kind->window_note ? kind->window_note(of, reterr) : 0;
    return error ? error : volume_save(of->volume, reterr);
}

// The first one's record decides for all, so it is written last; then it needs no deciding any more. Where that can't be written down, or
// is cut short, the next run does it.
static int stack_window_note_all(struct stack_window *windows, uint32_t count, const struct dmh_window_done *done,
                                 struct br_err *reterr)
{
    struct br_uuid group = volume_new_uuid();
    struct br_err err;
    int error = 0;

    for (uint32_t i = count; !error && i; i--) {
        if (count > 1) {
            group_begin(windows[i - 1].snapshot, &group, i > 1 ? windows[0].volume->record.name : "");
        }
        error = stack_window_note(&windows[i - 1], &done->tops[i - 1], reterr);
    }
    for (uint32_t i = count; !error && i; i--) {
        if (group_end(windows[i - 1].volume, windows[i - 1].snapshot, &err)) {
            break;
        }
    }
    return error;
}

// What each volume has to do for itself, and what the window then does for all.
static int stack_window_fill(struct dmh_window *window, const struct stack_window *windows, uint32_t count,
                             struct br_err *reterr)
{
    int error = 0;

    for (uint32_t i = 0; !error && i < count; i++) {
        const struct stack_kind *kind = stack_kind(windows[i].volume);
        error = kind->window_prepare ? kind->window_prepare(&windows[i], reterr) : 0;
        if (!error) {
            kind->window_add(window, &windows[i]);
        }
    }
    window->deadline_ms = STACK_WINDOW_MS;
    window->sync_budget_ms = STACK_SYNC_MS;
    return error;
}

static int stack_take_together(struct stack_window *windows, uint32_t count, struct dmh_window_done *ret_done,
                               struct br_err *reterr)
{
    struct dmh_window *window = calloc(1, sizeof(*window));
    uint32_t hooked = 0;

    if (!window || count > DMH_TOPS_MAX) {
        free(window);
        return br_err_set(reterr, window ? BR_E_LIMIT : BR_E_NOMEM, "a window over %u volumes", count);
    }
    int error = stack_window_fill(window, windows, count, reterr);
    while (!error && hooked < count) {
        error = hook_before(windows[hooked++].volume, reterr);
    }
    error = error ? error : dmh_window(windows[0].volume->helper, window, ret_done, reterr);
    while (hooked) {
        hook_after(windows[--hooked].volume);
    }
    error = error ? error : stack_window_note_all(windows, count, ret_done, reterr);
    free(window);
    return error;
}

int stack_snapshot_take(struct stack_window *windows, uint32_t count, struct dmh_window_done *ret_done,
                        struct br_err *reterr)
{
    const struct stack_kind *kind = stack_kind(windows[0].volume);

    return count == 1 && kind->take_alone ? kind->take_alone(windows, ret_done, reterr)
                                          : stack_take_together(windows, count, ret_done, reterr);
}

// Its devices; the record still has it.
static int stack_snapshot_unmake(struct volume *volume, uint32_t number, bool force, struct br_err *reterr)
{
    const struct volume_snapshot *snapshot = volume_record_snapshot(&volume->record, number, NULL);

    return snapshot && snapshot->gone ? 0 : stack_kind(volume)->snapshot_unmake(volume, number, force, reterr);
}

int stack_snapshot_drop(struct volume *volume, uint32_t number, bool force, struct br_err *reterr)
{
    int error = stack_snapshot_unmake(volume, number, force, reterr);

    if (!error) {
        volume_record_drop_snapshot(&volume->record, number);
        error = volume_save(volume, reterr);
    }
    return error;
}

int stack_snapshot_lose(struct volume *volume, uint32_t number, struct br_err *reterr)
{
    struct volume_snapshot *snapshot = volume_record_snapshot(&volume->record, number, NULL);

    if (!snapshot || snapshot->use != VOLUME_USER) {
        return stack_snapshot_drop(volume, number, false, reterr);
    }
    int error = stack_snapshot_unmake(volume, number, false, reterr);
    if (!error) {
        snapshot->gone = true;
        snapshot->piece_count = 0;
        error = volume_save(volume, reterr);
    }
    return error;
}

int stack_snapshot_grow(struct volume *volume, uint32_t number, uint64_t bytes, struct br_err *reterr)
{
    return stack_kind(volume)->snapshot_grow(volume, number, bytes, reterr);
}

int stack_snapshot_status(struct volume *volume, uint32_t number, struct dmh_target_status *ret_status,
                          struct br_err *reterr)
{
    return stack_kind(volume)->snapshot_status(volume, number, ret_status, reterr);
}
