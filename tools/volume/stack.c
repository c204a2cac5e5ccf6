// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/stack.h"

#include <stdio.h>

#include "engine/base/units.h"
#include "engine/codec/delta.h"
#include "engine/track/cow_store.h"
#include "tools/volume/hook.h"
#include "tools/volume/lvm.h"

#define STACK_RETRY_MS    3000u
#define STACK_STORE_LEAST (UINT64_C(64) << 20)
#define STACK_STORE_MOST  (UINT64_C(8) << 30) // to begin with: it grows
#define STACK_STORE_SHARE 16u                 // of the volume

// Tables ------------------------------------------------------------------------------------------------------------------------------

// Where the area's bytes are, for a linear target.
static void stack_area_where(const struct volume_record *record, char where[DMH_WHERE_MAX])
{
    switch (record->area.kind) {
    case VOLUME_AREA_FILE: snprintf(where, DMH_WHERE_MAX, "area"); return;
    case VOLUME_AREA_VG: snprintf(where, DMH_WHERE_MAX, "lvm:%.200s/area", record->area.path); return;
    case VOLUME_AREA_DEVICE: snprintf(where, DMH_WHERE_MAX, "%s", record->area.path); return;
    }
}

static void stack_add(struct dmh_table *table, const struct dmh_target *target)
{
    struct dmh_target *last = table->target_count ? &table->targets[table->target_count - 1] : NULL;
    struct dmh_target *next = &table->targets[table->target_count++];

    *next = *target;
    next->start_bytes = last ? last->start_bytes + last->length_bytes : 0;
}

static void stack_pieces_table(const struct volume_record *record, const struct volume_piece *pieces, uint32_t count,
                               struct dmh_table *table)
{
    for (uint32_t i = 0; i < count; i++) {
        struct dmh_target target = {
            .kind = DMH_TARGET_LINEAR, .length_bytes = pieces[i].len_bytes, .offset_bytes = pieces[i].offset_bytes};
        stack_area_where(record, target.device);
        stack_add(table, &target);
    }
}

static void stack_one_table(const struct volume_record *record, enum dmh_target_kind kind, const char *device,
                            const char *store, uint64_t grain_bytes, struct dmh_table *table)
{
    struct dmh_target target = {.kind = kind,
                                .length_bytes = record->size_bytes,
                                .grain_bytes = grain_bytes,
                                .persistent = kind == DMH_TARGET_SNAPSHOT};

    snprintf(target.device, sizeof(target.device), "%s", device);
    snprintf(target.store, sizeof(target.store), "%s", store);
    stack_add(table, &target);
}

static void stack_snapshot_table(const struct volume_record *record, uint32_t number, struct dmh_table *table)
{
    char store[DMH_PART_MAX];

    volume_part(store, "cow", number);
    stack_one_table(record, DMH_TARGET_SNAPSHOT, volume_base(record), store, VOLUME_CHUNK_BYTES, table);
}

// Devices -----------------------------------------------------------------------------------------------------------------------------

// Returns 1 and what is known of the part, 0 when there is none.
static int stack_look(struct volume *volume, const char *part, struct dmh_info *ret_info, struct br_err *reterr)
{
    struct dmh_ref ref = volume_ref(volume, part);
    struct br_err err = {0};
    int error = dmh_info(volume->helper, &ref, ret_info, &err);

    if (error == -BR_E_NOT_FOUND) {
        return 0;
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error ? error : 1;
}

static int stack_remove(struct volume *volume, const char *part, struct br_err *reterr)
{
    struct dmh_remove remove = {.device = volume_ref(volume, part), .retry_ms = STACK_RETRY_MS};
    struct dmh_removed removed;
    struct br_err err = {0};
    int error = dmh_remove(volume->helper, &remove, &removed, &err);

    if (error && error != -BR_E_NOT_FOUND && reterr) {
        *reterr = err;
    }
    return error == -BR_E_NOT_FOUND ? 0 : error;
}

// Makes the part as @table says; one that is live already is left alone, one that is half made is made again.
static int stack_make(struct volume *volume, const char *part, bool activate, const struct dmh_table *table,
                      struct br_err *reterr)
{
    struct dmh_info info;
    struct dmh_created created;
    int found = stack_look(volume, part, &info, reterr);

    if (found < 0 || (found && info.live_table && activate)) {
        return found < 0 ? found : 0;
    }
    int error = found ? stack_remove(volume, part, reterr) : 0;
    struct dmh_create *create = calloc(1, sizeof(*create));
    if (!create) {
        return error ? error : br_err_set(reterr, BR_E_NOMEM, "making %s of volume %s", part, volume->record.name);
    }
    if (!error) {
        create->device = volume_ref(volume, part);
        create->activate = activate;
        create->table = *table;
        error = dmh_create(volume->helper, create, &created, reterr);
    }
    free(create);
    return error;
}

static int stack_make_one(struct volume *volume, const char *part, enum dmh_target_kind kind, const char *device,
                          const char *store, uint64_t grain_bytes, struct br_err *reterr)
{
    struct dmh_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    stack_one_table(&volume->record, kind, device, store, grain_bytes, table);
    int error = stack_make(volume, part, true, table, reterr);
    free(table);
    return error;
}

static int stack_make_pieces(struct volume *volume, const char *part, const struct volume_piece *pieces, uint32_t count,
                             struct br_err *reterr)
{
    struct dmh_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    stack_pieces_table(&volume->record, pieces, count, table);
    int error = stack_make(volume, part, true, table, reterr);
    free(table);
    return error;
}

// One window over one device of the volume, with what its inactive table says.
static int stack_swap(struct volume *volume, const char *where, bool freeze, struct br_err *reterr)
{
    struct dmh_window *window = calloc(1, sizeof(*window));
    struct dmh_window_done *done = calloc(1, sizeof(*done));
    int error = window && done ? 0 : br_err_set(reterr, BR_E_NOMEM, "a window");

    if (!error) {
        window->top_count = 1;
        window->tops[0].device = volume_ref(volume, where);
        window->tops[0].freeze = freeze;
        window->tops[0].no_flush = !freeze;
        window->deadline_ms = STACK_WINDOW_MS;
        window->sync_budget_ms = freeze ? STACK_SYNC_MS : 0;
        error = dmh_window(volume->helper, window, done, reterr);
    }
    free(window);
    free(done);
    return error;
}

// The area ----------------------------------------------------------------------------------------------------------------------------

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

static int stack_area_file(struct volume *volume, struct br_err *reterr)
{
    struct dmh_file_make make = {.file = volume_ref(volume, volume->record.area.path),
                                 .size_bytes = volume->record.area.bytes};

    return dmh_file_make(volume->helper, &make, reterr);
}

static int stack_area_lv(struct volume *volume, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;
    struct dmh_lvm_create create = {.kind = DMH_LVM_LINEAR, .size_bytes = record->area.bytes};
    struct dmh_lvm_change change = {.size_bytes = record->area.bytes};
    struct br_err err;

    snprintf(create.volume, sizeof(create.volume), "%s", record->name);
    snprintf(create.vg, sizeof(create.vg), "%.127s", record->area.path);
    snprintf(create.part, sizeof(create.part), "area");
    snprintf(change.volume, sizeof(change.volume), "%s", record->name);
    snprintf(change.vg, sizeof(change.vg), "%.127s", record->area.path);
    snprintf(change.part, sizeof(change.part), "area");
    int error = dmh_lvm_create(volume->helper, &create, &err);
    if (error == -BR_E_BUSY) {
        error = dmh_lvm_activate(volume->helper, &change, &err);
        error = error ? error : dmh_lvm_extend(volume->helper, &change, &err);
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error;
}

int stack_area_make(struct volume *volume, struct br_err *reterr)
{
    if (volume_is_lvm(&volume->record)) {
        return 0;
    }
    switch (volume->record.area.kind) {
    case VOLUME_AREA_FILE: return stack_area_file(volume, reterr);
    case VOLUME_AREA_VG: return stack_area_lv(volume, reterr);
    case VOLUME_AREA_DEVICE: return 0;
    }
    return br_err_set(reterr, BR_E_INTERNAL, "an area of no kind");
}

int stack_meta_wipe(struct volume *volume, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;
    char where[DMH_WHERE_MAX];

    if (record->tracker != VOLUME_ERA || record->area.kind == VOLUME_AREA_FILE) {
        return 0;
    }
    stack_area_where(record, where); // the metadata comes first in it
    struct dmh_ref head = volume_ref(volume, where);
    return record->meta.offset_bytes ? br_err_set(reterr, BR_E_INTERNAL, "metadata that is not first in its place")
                                     : dmh_zero_head(volume->helper, &head, reterr);
}

// A file's extents as the part "area"; a part that is live gets its longer table in a window.
static int stack_area_map(struct volume *volume, struct br_err *reterr)
{
    struct dmh_file_map map = {.file = volume_ref(volume, volume->record.area.path), .part = "area"};
    struct dmh_file_mapped mapped;

    if (volume->record.area.kind != VOLUME_AREA_FILE) {
        return 0;
    }
    int error = dmh_file_map(volume->helper, &map, &mapped, reterr);
    return error || !mapped.inactive ? error : stack_swap(volume, "area", false, reterr);
}

int stack_area_grow(struct volume *volume, uint64_t bytes, struct br_err *reterr)
{
    struct volume_area *area = &volume->record.area;
    uint64_t old_bytes = area->bytes;
    uint64_t new_bytes = br_align_up(bytes, VOLUME_UNIT_BYTES);

    if (new_bytes <= old_bytes) {
        return 0;
    }
    if (new_bytes > area->max_bytes || area->kind == VOLUME_AREA_DEVICE) {
        char text[32];
        br_size_text(area->max_bytes, text, sizeof(text));
        return br_err_set(reterr, BR_E_NO_SPACE, "the snapshot area of %s is full: it may have no more than %s",
                          volume->record.name, text);
    }
    area->bytes = new_bytes;
    int error = stack_area_make(volume, reterr);
    error = error ? error : stack_area_map(volume, reterr);
    if (error) {
        area->bytes = old_bytes;
        return error;
    }
    return volume_save(volume, reterr);
}

int stack_area_drop(struct volume *volume, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;
    struct dmh_ref file = volume_ref(volume, record->area.path);
    struct dmh_lvm_change change = {0};
    struct br_err err = {0};
    int error = 0;

    if (volume_is_lvm(record)) {
        return 0;
    }
    if (record->area.kind == VOLUME_AREA_FILE) {
        error = dmh_file_release(volume->helper, &file, true, &err);
    } else if (record->area.kind == VOLUME_AREA_VG) {
        snprintf(change.volume, sizeof(change.volume), "%s", record->name);
        snprintf(change.vg, sizeof(change.vg), "%.127s", record->area.path);
        snprintf(change.part, sizeof(change.part), "area");
        error = dmh_lvm_remove(volume->helper, &change, &err);
    }
    if (error == -BR_E_NOT_FOUND) {
        return 0;
    }
    if (error && reterr) {
        *reterr = err;
    }
    return error;
}

// Up and down -------------------------------------------------------------------------------------------------------------------------

// Whoever else keeps tables of a device that the stack was slipped under (LVM does) may have put its own back: then nothing is tracked.
static int stack_is_under(struct volume *volume, struct br_err *reterr)
{
    struct dmh_query query = {.device = volume_ref(volume, "@device")};
    struct dmh_rows *rows = calloc(1, sizeof(*rows));

    if (!rows) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    int error = dmh_table(volume->helper, &query, rows, reterr);
    int under = error ? error : rows->target_count == 1 && rows->targets[0].kind == DMH_TARGET_SNAPSHOT_ORIGIN;
    free(rows);
    return under;
}

int stack_is_up(struct volume *volume, struct br_err *reterr)
{
    struct dmh_info info;
    const char *mark = volume->record.retabled ? "real" : "top";

    if (volume_is_lvm(&volume->record)) {
        return lvm_is_up(volume, reterr);
    }
    int found = stack_look(volume, mark, &info, reterr);

    if (found <= 0 || !info.live_table) {
        return found < 0 ? found : 0;
    }
    return volume->record.retabled ? stack_is_under(volume, reterr) : 1;
}

// The device below: a linear over it, or its own table when it is in use and becomes the top.
static int stack_up_real(struct volume *volume, struct br_err *reterr)
{
    struct dmh_info info;
    struct dmh_copy_table copy = {.from = volume_ref(volume, "@device"), .to = "real"};
    struct dmh_table *empty;

    if (!volume->record.retabled) {
        return stack_make_one(volume, "real", DMH_TARGET_LINEAR, "@device", "", 0, reterr);
    }
    int found = stack_look(volume, "real", &info, reterr);
    if (found < 0 || (found && info.live_table)) {
        return found < 0 ? found : 0;
    }
    empty = calloc(1, sizeof(*empty));
    int error = empty ? stack_make(volume, "real", false, empty, reterr) : br_err_set(reterr, BR_E_NOMEM, "a table");
    free(empty);
    error = error ? error : dmh_copy_table(volume->helper, &copy, reterr);
    struct dmh_ref real = volume_ref(volume, "real");
    return error ? error : dmh_resume(volume->helper, &real, reterr);
}

static int stack_up_era(struct volume *volume, bool fresh_meta, struct br_err *reterr)
{
    if (volume->record.tracker != VOLUME_ERA) {
        return 0;
    }
    int error = stack_make_pieces(volume, "meta", &volume->record.meta, 1, reterr);
    if (!error && fresh_meta) {
        struct dmh_ref meta = volume_ref(volume, "meta");
        error = dmh_zero_head(volume->helper, &meta, reterr);
    }
    return error
               ? error
               : stack_make_one(volume, "era", DMH_TARGET_ERA, "real", "meta", volume->record.era_block_bytes, reterr);
}

static int stack_up_snapshot(struct volume *volume, const struct volume_snapshot *snapshot, struct br_err *reterr)
{
    char part[DMH_PART_MAX];
    struct dmh_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    volume_part(part, "cow", snapshot->number);
    int error = stack_make_pieces(volume, part, snapshot->pieces, snapshot->piece_count, reterr);
    if (!error) {
        volume_part(part, "snap", snapshot->number);
        stack_snapshot_table(&volume->record, snapshot->number, table);
        error = stack_make(volume, part, true, table, reterr);
    }
    free(table);
    return error;
}

// Takes away what is left of a snapshot that does not live on, and the record's entry. One that somebody needed is named.
static int stack_lose_snapshot(struct volume *volume, const struct volume_snapshot *snapshot, const char *why,
                               char ret_lost[64], struct br_err *reterr)
{
    char part[DMH_PART_MAX];

    if (snapshot->use != VOLUME_VIEW) {
        snprintf(ret_lost, 64, "snapshot-%u-not-restored", snapshot->number);
        cli_warn(volume->cli, "snapshot %u of %s is gone: %s", snapshot->number, volume->record.name, why);
    }
    volume_part(part, "snap", snapshot->number);
    int error = stack_remove(volume, part, reterr);
    volume_part(part, "cow", snapshot->number);
    error = error ? error : stack_remove(volume, part, reterr);
    if (!error) {
        volume_record_drop_snapshot(&volume->record, snapshot->number);
    }
    return error;
}

// Snapshots of runs that ended with the machine are dropped unless they had become marks; held ones and a user's are made again, before any
// write can come.
static int stack_up_snapshots(struct volume *volume, char ret_lost[64], struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct br_err err = {0};

    for (uint32_t i = record->snapshot_count; i; i--) {
        struct volume_snapshot snapshot = record->snapshots[i - 1];
        if (snapshot.gone) {
            continue;
        }
        if (snapshot.use == VOLUME_VIEW && volume_record_needed(record, snapshot.number)) {
            record->snapshots[i - 1].use = snapshot.use = VOLUME_MARK;
        }
        int error = snapshot.use == VOLUME_VIEW ? -BR_E_NOT_FOUND : stack_up_snapshot(volume, &snapshot, &err);
        error = error ? stack_lose_snapshot(volume, &snapshot, err.text, ret_lost, reterr) : 0;
        if (error) {
            return error;
        }
    }
    return 0;
}

int stack_adopt(struct volume *volume, char ret_lost[64], struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct dmh_info info;
    char part[DMH_PART_MAX];

    ret_lost[0] = 0;
    for (uint32_t i = record->snapshot_count; i; i--) {
        struct volume_snapshot snapshot = record->snapshots[i - 1];
        volume_part(part, "snap", snapshot.number);
        int found = snapshot.gone ? 0 : stack_look(volume, part, &info, reterr);
        if (snapshot.gone || (found > 0 && info.live_table)) {
            continue;
        }
        int error = found < 0 ? found
                              : stack_lose_snapshot(volume, &snapshot, "the volume was written to before it was there",
                                                    ret_lost, reterr);
        if (error) {
            return error;
        }
    }
    record->up = true;
    return 0;
}

static int stack_up_top(struct volume *volume, struct br_err *reterr)
{
    const char *base = volume_base(&volume->record);

    if (!volume->record.retabled) {
        return stack_make_one(volume, "top", DMH_TARGET_SNAPSHOT_ORIGIN, base, "", 0, reterr);
    }
    struct dmh_load *load = calloc(1, sizeof(*load));
    if (!load) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    load->device = volume_ref(volume, "@device");
    stack_one_table(&volume->record, DMH_TARGET_SNAPSHOT_ORIGIN, base, "", 0, &load->table);
    int error = dmh_load(volume->helper, load, reterr);
    free(load);
    return error ? error : stack_swap(volume, "@device", true, reterr);
}

int stack_up(struct volume *volume, bool fresh_meta, char ret_lost[64], struct br_err *reterr)
{
    ret_lost[0] = 0;
    if (volume_is_lvm(&volume->record)) {
        return lvm_up(volume, reterr);
    }
    int error = stack_area_make(volume, reterr);
    error = error ? error : stack_area_map(volume, reterr);
    error = error ? error : stack_up_real(volume, reterr);
    error = error ? error : stack_up_era(volume, fresh_meta, reterr);
    error = error ? error : stack_up_snapshots(volume, ret_lost, reterr);
    error = error ? error : stack_up_top(volume, reterr);
    if (error) {
        return error;
    }
    volume->record.up = true;
    volume->record.pending = false;
    return volume_save(volume, reterr);
}

// One part's new table, inactive.
static int stack_load(struct volume *volume, const char *where, enum dmh_target_kind kind, const char *device,
                      struct br_err *reterr)
{
    struct dmh_load *load = calloc(1, sizeof(*load));

    if (!load) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    load->device = volume_ref(volume, where);
    stack_one_table(&volume->record, kind, device, "", 0, &load->table);
    int error = dmh_load(volume->helper, load, reterr);
    free(load);
    return error;
}

// One device after the other, from the bottom up: while the lower one alone is larger nobody asks for what is behind the old end. The top's
// own window makes the origin see its new size; snapshots that are held keep theirs, and what lies behind it is none of their business.
static int stack_resize_part(struct volume *volume, const char *part, enum dmh_target_kind kind, const char *device,
                             bool freeze, struct br_err *reterr)
{
    int error = stack_load(volume, part, kind, device, reterr);

    error = error ? error : stack_swap(volume, part, freeze, reterr);
    if (error) {
        struct dmh_ref ref = volume_ref(volume, part);
        struct br_err err;
        (void)!dmh_clear(volume->helper, &ref, &err);
    }
    return error;
}

int stack_resize(struct volume *volume, uint64_t size_bytes, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    uint64_t old_bytes = record->size_bytes;

    if (record->tracker == VOLUME_ERA || record->retabled) {
        return br_err_set(
            reterr, BR_E_UNSUPPORTED,
            "the device of volume %s grew; its stack takes the new size when it is built anew: unmount it, then blkrep detach --keep %s and "
            "blkrep attach %s, or reboot",
            record->name, record->name, record->name);
    }
    record->size_bytes = size_bytes;
    int error = stack_resize_part(volume, "real", DMH_TARGET_LINEAR, "@device", false, reterr);
    error = error ? error : stack_resize_part(volume, "top", DMH_TARGET_SNAPSHOT_ORIGIN, "real", true, reterr);
    if (error) {
        record->size_bytes = old_bytes;
        return error;
    }
    return volume_save(volume, reterr);
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

// Gives a device that was re-tabled its own table back.
static int stack_down_retabled(struct volume *volume, struct br_err *reterr)
{
    struct dmh_copy_table copy = {.from = volume_ref(volume, "real"), .to = "@device"};
    struct dmh_info info;
    int found = stack_look(volume, "real", &info, reterr);

    if (found <= 0 || !info.live_table) {
        return found < 0 ? found : 0;
    }
    int error = dmh_copy_table(volume->helper, &copy, reterr);
    return error ? error : stack_swap(volume, "@device", true, reterr);
}

static int stack_down_top(struct volume *volume, struct br_err *reterr)
{
    struct dmh_info info;

    if (volume->record.retabled) {
        return stack_down_retabled(volume, reterr);
    }
    int found = stack_look(volume, "top", &info, reterr);
    if (found > 0 && info.open_count) {
        return br_err_set(reterr, BR_E_BUSY, "/dev/mapper/%s is in use: unmount or close it first",
                          volume->record.name);
    }
    return found < 0 ? found : stack_remove(volume, "top", reterr);
}

// In whatever order the list has them: what another still maps is busy and comes in the next round.
static int stack_down_rest(struct volume *volume, struct br_err *reterr)
{
    struct dmh_list list = {0};
    struct dmh_listed *listed = calloc(1, sizeof(*listed));
    uint32_t left = UINT32_MAX;
    int error = listed ? 0 : br_err_set(reterr, BR_E_NOMEM, "the devices of %s", volume->record.name);

    snprintf(list.volume, sizeof(list.volume), "%s", volume->record.name);
    while (!error && left) {
        error = dmh_list(volume->helper, &list, listed, reterr);
        if (error || !listed->device_count || listed->device_count >= left) {
            error = !error && listed->device_count ? br_err_set(reterr, BR_E_BUSY, "%s of volume %s is in use",
                                                                listed->devices[0].name, volume->record.name)
                                                   : error;
            break;
        }
        left = listed->device_count;
        for (uint32_t i = 0; i < listed->device_count; i++) {
            struct dmh_remove remove = {.device = volume_ref(volume, listed->devices[i].part)};
            struct dmh_removed removed;
            struct br_err err;
            (void)!dmh_remove(volume->helper, &remove, &removed, &err);
        }
    }
    free(listed);
    return error;
}

int stack_down(struct volume *volume, struct br_err *reterr)
{
    if (volume_is_lvm(&volume->record)) {
        return lvm_down(volume, reterr);
    }
    int error = stack_down_top(volume, reterr);

    return error ? error : stack_down_rest(volume, reterr);
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

static int stack_wipe(struct volume *volume, struct br_ring *ring, const char *store, struct br_err *reterr)
{
    struct br_file *file;
    uint64_t bytes;
    int error = stack_open(volume, ring, store, true, &file, &bytes, reterr);

    if (!error) {
        // With tracker era nobody reads the store but the kernel, which makes each area empty before it goes on to it: the head is enough.
        uint64_t wiped_bytes = volume->record.tracker == VOLUME_ERA ? BR_MIN(bytes, VOLUME_UNIT_BYTES) : bytes;
        error = br_cow_store_wipe(file, wiped_bytes, VOLUME_CHUNK_BYTES, reterr);
        br_file_close(file);
    }
    return error;
}

// Room for a new store: the area's free bytes, and more of it if it may grow.
static int stack_give(struct volume *volume, uint64_t bytes, struct volume_piece *pieces, uint32_t *count,
                      struct br_err *reterr)
{
    uint64_t free_bytes = volume_record_free_bytes(&volume->record);
    uint64_t wanted = br_align_up(bytes, VOLUME_UNIT_BYTES);
    int error = 0;

    if (free_bytes < wanted) {
        error = stack_area_grow(volume, volume->record.area.bytes + wanted - free_bytes, reterr);
    }
    return error ? error : volume_record_give(&volume->record, wanted, pieces, count, reterr);
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
    struct volume_record *record = &volume->record;
    char part[DMH_PART_MAX];

    if (volume_is_lvm(record)) {
        return lvm_snapshot_prepare(volume, store_bytes, snapshot, reterr);
    }
    if (record->snapshot_count == VOLUME_SNAPSHOTS_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "volume %s has %u snapshots", record->name, record->snapshot_count);
    }
    snapshot->piece_count = 0;
    int error = stack_give(volume, store_bytes, snapshot->pieces, &snapshot->piece_count, reterr);
    if (error) {
        return error;
    }
    snapshot->number = ++record->next_number;
    record->snapshots[record->snapshot_count++] = *snapshot;
    error = volume_save(volume, reterr);
    volume_part(part, "cow", snapshot->number);
    error = error ? error : stack_make_pieces(volume, part, snapshot->pieces, snapshot->piece_count, reterr);
    error = error ? error : stack_wipe(volume, ring, part, reterr);
    struct dmh_table *table = calloc(1, sizeof(*table));
    if (!error && table) {
        volume_part(part, "snap", snapshot->number);
        stack_snapshot_table(record, snapshot->number, table);
        error = stack_make(volume, part, false, table, reterr);
    }
    free(table);
    return error;
}

static void stack_window_add(struct dmh_window *window, const struct stack_window *of)
{
    const struct volume_record *record = &of->volume->record;
    struct dmh_window_top *top = &window->tops[window->top_count++];
    struct dmh_window_inside *inside = &window->inside[window->inside_count++];
    char part[DMH_PART_MAX];

    top->device = volume_ref(of->volume, volume_top(record));
    top->freeze = true;
    snprintf(top->checkpoint, sizeof(top->checkpoint), "%s", record->tracker == VOLUME_ERA ? "era" : "");
    volume_part(part, "snap", of->snapshot->number);
    inside->device = volume_ref(of->volume, part);
    inside->fresh = true;
}

// Written once more, now that it is known what the window found. A record that can't be written makes a snapshot that nobody knows of at
// the next boot, so that is a failure.
static int stack_window_note(struct stack_window *of, const struct dmh_window_top_done *top, struct br_err *reterr)
{
    struct volume_record *record = &of->volume->record;

    of->snapshot->taken_unix_ns = volume_now_unix_ns();
    of->snapshot->era = top->era.era;
    // Frozen through its file system it is as after an unmount; else as after a power cut.
    of->snapshot->consistency = top->mounted ? BR_CONSISTENCY_CLEAN : BR_CONSISTENCY_CRASH;
    record->era_seen = BR_MAX(record->era_seen, top->era.era);
    return volume_save(of->volume, reterr);
}

int stack_snapshot_take(struct stack_window *windows, uint32_t count, struct dmh_window_done *ret_done,
                        struct br_err *reterr)
{
    for (uint32_t i = 0; i < count; i++) {
        if (volume_is_lvm(&windows[i].volume->record)) {
            // LVM suspends and resumes by itself: nothing else can be in that window.
            return count == 1 ? lvm_snapshot_take(windows, ret_done, reterr)
                              : br_err_set(reterr, BR_E_UNSUPPORTED,
                                           "the snapshots of volume %s are LVM's own and can't share a moment with "
                                           "others: attach it with --tracker era for that",
                                           windows[i].volume->record.name);
        }
    }
    struct dmh_window *window = calloc(1, sizeof(*window));

    if (!window || count > DMH_TOPS_MAX) {
        free(window);
        return br_err_set(reterr, window ? BR_E_LIMIT : BR_E_NOMEM, "a window over %u volumes", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        stack_window_add(window, &windows[i]);
    }
    window->deadline_ms = STACK_WINDOW_MS;
    window->sync_budget_ms = STACK_SYNC_MS;
    uint32_t hooked = 0;
    int error = 0;
    while (!error && hooked < count) {
        error = hook_before(windows[hooked++].volume, reterr);
    }
    error = error ? error : dmh_window(windows[0].volume->helper, window, ret_done, reterr);
    while (hooked) {
        hook_after(windows[--hooked].volume);
    }
    for (uint32_t i = 0; !error && i < count; i++) {
        error = stack_window_note(&windows[i], &ret_done->tops[i], reterr);
    }
    free(window);
    return error;
}

static int stack_snapshot_detach(struct volume *volume, uint32_t number, bool force, struct br_err *reterr)
{
    struct dmh_snapshot_remove *remove = calloc(1, sizeof(*remove));
    struct dmh_window_done *done = calloc(1, sizeof(*done));
    char part[DMH_PART_MAX];
    int error = remove && done ? 0 : br_err_set(reterr, BR_E_NOMEM, "removing a snapshot");

    if (!error) {
        volume_part(part, "snap", number);
        // Without a freeze: no view is taken, so it is enough that nothing is in flight, and writers wait only for that.
        remove->top.device = volume_ref(volume, volume_top(&volume->record));
        remove->part_count = 1;
        remove->parts[0] = volume_ref(volume, part);
        remove->deadline_ms = STACK_WINDOW_MS;
        remove->retry_ms = STACK_RETRY_MS;
        remove->force = force;
        error = dmh_snapshot_remove(volume->helper, remove, done, reterr);
    }
    free(remove);
    free(done);
    return error;
}

// Its devices; the record still has it.
static int stack_snapshot_unmake(struct volume *volume, uint32_t number, bool force, struct br_err *reterr)
{
    const struct volume_snapshot *snapshot = volume_record_snapshot(&volume->record, number, NULL);
    char part[DMH_PART_MAX];

    if (snapshot && snapshot->gone) {
        return 0;
    }
    if (volume_is_lvm(&volume->record)) {
        return lvm_snapshot_unmake(volume, number, reterr);
    }
    int error = stack_snapshot_detach(volume, number, force, reterr);
    volume_part(part, "cow", number);
    return error ? error : stack_remove(volume, part, reterr);
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
    if (volume_is_lvm(&volume->record)) {
        return lvm_snapshot_grow(volume, number, bytes, reterr);
    }
    struct volume_snapshot *snapshot = volume_record_snapshot(&volume->record, number, NULL);
    struct dmh_load *load = calloc(1, sizeof(*load));
    char part[DMH_PART_MAX];
    int error = snapshot && load ? 0 : br_err_set(reterr, BR_E_NOT_FOUND, "snapshot %u", number);

    error = error ? error : stack_give(volume, bytes, snapshot->pieces, &snapshot->piece_count, reterr);
    if (!error) {
        snapshot->grown = true;
        error = volume_save(volume, reterr);
    }
    if (!error) {
        volume_part(part, "cow", number);
        load->device = volume_ref(volume, part);
        stack_pieces_table(&volume->record, snapshot->pieces, snapshot->piece_count, &load->table);
        error = dmh_load(volume->helper, load, reterr);
        error = error ? error : stack_swap(volume, part, false, reterr);
    }
    free(load);
    return error;
}

int stack_snapshot_status(struct volume *volume, uint32_t number, struct dmh_target_status *ret_status,
                          struct br_err *reterr)
{
    if (volume_is_lvm(&volume->record)) {
        return lvm_snapshot_status(volume, number, ret_status, reterr);
    }
    struct dmh_query query = {0};
    struct dmh_status *status = calloc(1, sizeof(*status));
    char part[DMH_PART_MAX];

    if (!status) {
        return br_err_set(reterr, BR_E_NOMEM, "a status");
    }
    volume_part(part, "snap", number);
    query.device = volume_ref(volume, part);
    int error = dmh_status(volume->helper, &query, status, reterr);
    if (!error && (!status->target_count || !status->targets[0].parsed)) {
        error = br_err_set(reterr, BR_E_IO, "snapshot %u of %s says nothing", number, volume->record.name);
    }
    if (!error) {
        *ret_status = status->targets[0];
    }
    free(status);
    return error;
}
