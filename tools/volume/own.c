// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/own.h"

#include <stdio.h>

#include "engine/base/units.h"
#include "engine/codec/era_format.h"
#include "engine/track/cow_store.h"

#define OWN_RETRY_MS     3000u
#define OWN_SECTOR_BYTES 512u
#define OWN_ERAS         64u // that end before the kernel has digested the ones before: see br_era_meta_bytes()

// Tables ------------------------------------------------------------------------------------------------------------------------------

// Where the area's bytes are, for a linear target.
static void own_area_where(const struct volume_record *record, char where[DMH_WHERE_MAX])
{
    switch (record->area.kind) {
    case VOLUME_AREA_FILE: snprintf(where, DMH_WHERE_MAX, "area"); return;
    case VOLUME_AREA_VG: snprintf(where, DMH_WHERE_MAX, "lvm:%.200s/area", record->area.path); return;
    case VOLUME_AREA_DEVICE: snprintf(where, DMH_WHERE_MAX, "%s", record->area.path); return;
    }
}

static void own_add(struct dmh_table *table, const struct dmh_target *target)
{
    struct dmh_target *last = table->target_count ? &table->targets[table->target_count - 1] : NULL;
    struct dmh_target *next = &table->targets[table->target_count++];

    *next = *target;
    next->start_bytes = last ? last->start_bytes + last->length_bytes : 0;
}

static void own_pieces_table(const struct volume_record *record, const struct volume_piece *pieces, uint32_t count,
                             struct dmh_table *table)
{
    for (uint32_t i = 0; i < count; i++) {
        struct dmh_target target = {
            .kind = DMH_TARGET_LINEAR, .length_bytes = pieces[i].len_bytes, .offset_bytes = pieces[i].offset_bytes};
        own_area_where(record, target.device);
        own_add(table, &target);
    }
}

static void own_one_table(const struct volume_record *record, enum dmh_target_kind kind, const char *device,
                          const char *store, uint64_t grain_bytes, struct dmh_table *table)
{
    struct dmh_target target = {.kind = kind,
                                .length_bytes = record->size_bytes,
                                .grain_bytes = grain_bytes,
                                .persistent = kind == DMH_TARGET_SNAPSHOT};

    snprintf(target.device, sizeof(target.device), "%s", device);
    snprintf(target.store, sizeof(target.store), "%s", store);
    own_add(table, &target);
}

static void own_snapshot_table(const struct volume_record *record, uint32_t number, struct dmh_table *table)
{
    char store[DMH_PART_MAX];

    volume_part(store, "cow", number);
    own_one_table(record, DMH_TARGET_SNAPSHOT, volume_base(record), store, VOLUME_CHUNK_BYTES, table);
}

// Devices -----------------------------------------------------------------------------------------------------------------------------

// Returns 1 and what is known of the part, 0 when there is none.
static int own_look(struct volume *volume, const char *part, struct dmh_info *ret_info, struct br_err *reterr)
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

static int own_remove(struct volume *volume, const char *part, struct br_err *reterr)
{
    struct dmh_remove remove = {.device = volume_ref(volume, part), .retry_ms = OWN_RETRY_MS};
    struct dmh_removed removed;
    struct br_err err = {0};
    int error = dmh_remove(volume->helper, &remove, &removed, &err);

    if (error && error != -BR_E_NOT_FOUND && reterr) {
        *reterr = err;
    }
    return error == -BR_E_NOT_FOUND ? 0 : error;
}

// Makes the part as @table says; one that is live already is left alone, one that is half made is made again.
static int own_make(struct volume *volume, const char *part, bool activate, const struct dmh_table *table,
                    struct br_err *reterr)
{
    struct dmh_info info;
    struct dmh_created created;
    int found = own_look(volume, part, &info, reterr);

    if (found < 0 || (found && info.live_table && activate)) {
        return found < 0 ? found : 0;
    }
    int error = found ? own_remove(volume, part, reterr) : 0;
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

static int own_make_one(struct volume *volume, const char *part, enum dmh_target_kind kind, const char *device,
                        const char *store, uint64_t grain_bytes, struct br_err *reterr)
{
    struct dmh_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    own_one_table(&volume->record, kind, device, store, grain_bytes, table);
    int error = own_make(volume, part, true, table, reterr);
    free(table);
    return error;
}

static int own_make_pieces(struct volume *volume, const char *part, const struct volume_piece *pieces, uint32_t count,
                           struct br_err *reterr)
{
    struct dmh_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    own_pieces_table(&volume->record, pieces, count, table);
    int error = own_make(volume, part, true, table, reterr);
    free(table);
    return error;
}

// One window over one device of the volume, with what its inactive table says.
static int own_swap(struct volume *volume, const char *where, bool freeze, struct br_err *reterr)
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

static int own_area_file(struct volume *volume, struct br_err *reterr)
{
    struct dmh_file_make make = {.file = volume_ref(volume, volume->record.area.path),
                                 .size_bytes = volume->record.area.bytes};

    return dmh_file_make(volume->helper, &make, reterr);
}

static int own_area_lv(struct volume *volume, struct br_err *reterr)
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

static int own_area_make(struct volume *volume, struct br_err *reterr)
{
    switch (volume->record.area.kind) {
    case VOLUME_AREA_FILE: return own_area_file(volume, reterr);
    case VOLUME_AREA_VG: return own_area_lv(volume, reterr);
    case VOLUME_AREA_DEVICE: return 0;
    }
    return br_err_set(reterr, BR_E_INTERNAL, "an area of no kind");
}

int own_meta_wipe(struct volume *volume, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;
    char where[DMH_WHERE_MAX];

    if (record->tracker != VOLUME_ERA || record->area.kind == VOLUME_AREA_FILE) {
        return 0;
    }
    own_area_where(record, where); // the metadata comes first in it
    struct dmh_ref head = volume_ref(volume, where);
    return record->meta.offset_bytes ? br_err_set(reterr, BR_E_INTERNAL, "metadata that is not first in its place")
                                     : dmh_zero_head(volume->helper, &head, reterr);
}

// A file's extents as the part "area"; a part that is live gets its longer table in a window.
static int own_area_map(struct volume *volume, struct br_err *reterr)
{
    struct dmh_file_map map = {.file = volume_ref(volume, volume->record.area.path), .part = "area"};
    struct dmh_file_mapped mapped;

    if (volume->record.area.kind != VOLUME_AREA_FILE) {
        return 0;
    }
    int error = dmh_file_map(volume->helper, &map, &mapped, reterr);
    return error || !mapped.inactive ? error : own_swap(volume, "area", false, reterr);
}

static int own_area_grow(struct volume *volume, uint64_t bytes, struct br_err *reterr)
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
    int error = own_area_make(volume, reterr);
    error = error ? error : own_area_map(volume, reterr);
    if (error) {
        area->bytes = old_bytes;
        return error;
    }
    return volume_save(volume, reterr);
}

static int own_area_drop(struct volume *volume, struct br_err *reterr)
{
    const struct volume_record *record = &volume->record;
    struct dmh_ref file = volume_ref(volume, record->area.path);
    struct dmh_lvm_change change = {0};
    struct br_err err = {0};
    int error = 0;

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

// Whoever else keeps tables of a device that the stack was slipped under (LVM does) may have put its own back: then nothing is tracked. A
// snapshot-origin alone says little, LVM's own snapshots have one too: it must be over what this stack has below.
static int own_is_under(struct volume *volume, struct br_err *reterr)
{
    struct dmh_query query = {.device = volume_ref(volume, "@device")};
    struct dmh_info base = {0};
    int found = own_look(volume, volume_base(&volume->record), &base, reterr);
    struct dmh_rows *rows = found > 0 ? calloc(1, sizeof(*rows)) : NULL;

    if (!rows) {
        return found <= 0 ? found : br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    const struct dmh_target_row *top = &rows->targets[0];
    int error = dmh_table(volume->helper, &query, rows, reterr);
    int under = error ? error
                      : rows->target_count == 1 && top->kind == DMH_TARGET_SNAPSHOT_ORIGIN && top->parsed &&
                            top->device_major == base.major && top->device_minor == base.minor;
    free(rows);
    return under;
}

static int own_is_up(struct volume *volume, struct br_err *reterr)
{
    struct dmh_info info;
    const char *mark = volume->record.retabled ? "real" : "top";
    int found = own_look(volume, mark, &info, reterr);

    if (found <= 0 || !info.live_table) {
        return found < 0 ? found : 0;
    }
    return volume->record.retabled ? own_is_under(volume, reterr) : 1;
}

// The device below: a linear over it, or its own table when it is in use and becomes the top.
static int own_up_real(struct volume *volume, struct br_err *reterr)
{
    struct dmh_info info;
    struct dmh_copy_table copy = {.from = volume_ref(volume, "@device"), .to = "real"};
    struct dmh_table *empty;

    if (!volume->record.retabled) {
        return own_make_one(volume, "real", DMH_TARGET_LINEAR, "@device", "", 0, reterr);
    }
    int found = own_look(volume, "real", &info, reterr);
    if (found < 0 || (found && info.live_table)) {
        return found < 0 ? found : 0;
    }
    empty = calloc(1, sizeof(*empty));
    int error = empty ? own_make(volume, "real", false, empty, reterr) : br_err_set(reterr, BR_E_NOMEM, "a table");
    free(empty);
    error = error ? error : dmh_copy_table(volume->helper, &copy, reterr);
    struct dmh_ref real = volume_ref(volume, "real");
    return error ? error : dmh_resume(volume->helper, &real, reterr);
}

int own_meta_bytes(uint64_t volume_bytes, uint64_t block_bytes, uint64_t *ret_bytes, struct br_err *reterr)
{
    return br_era_meta_bytes(volume_bytes, block_bytes, OWN_ERAS, ret_bytes, reterr);
}

// How long dm-era's table is: as long as its metadata have room for, up to OWN_ERA_GROWTH times the volume. So a volume that grows needs no
// new table of it. One can't be had while the volume is in use: a table reads the metadata when it is loaded, and what the old one writes
// to them until it is suspended the new one does not know (6.12: six blocks written in between were in no era afterwards, and era_check
// found nothing wrong). What lies behind the volume's end is never asked for, because the top ends there. A device that the stack was
// slipped under is as long as its own table.
static uint64_t own_era_bytes(const struct volume_record *record)
{
    uint64_t fits = record->size_bytes / OWN_SECTOR_BYTES, too_much = fits * OWN_ERA_GROWTH + 1, meta_bytes;

    while (!record->retabled && too_much - fits > 1) {
        uint64_t middle = fits + (too_much - fits) / 2;
        bool room = !own_meta_bytes(middle * OWN_SECTOR_BYTES, record->era_block_bytes, &meta_bytes, NULL) &&
                    meta_bytes <= record->meta.len_bytes;
        *(room ? &fits : &too_much) = middle;
    }
    return fits * OWN_SECTOR_BYTES;
}

static int own_up_era(struct volume *volume, bool fresh_meta, struct br_err *reterr)
{
    if (volume->record.tracker != VOLUME_ERA) {
        return 0;
    }
    int error = own_make_pieces(volume, "meta", &volume->record.meta, 1, reterr);
    if (!error && fresh_meta) {
        struct dmh_ref meta = volume_ref(volume, "meta");
        error = dmh_zero_head(volume->helper, &meta, reterr);
    }
    struct dmh_table *table = error ? NULL : calloc(1, sizeof(*table));
    if (!table) {
        return error ? error : br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    own_one_table(&volume->record, DMH_TARGET_ERA, "real", "meta", volume->record.era_block_bytes, table);
    table->targets[0].length_bytes = own_era_bytes(&volume->record);
    error = own_make(volume, "era", true, table, reterr);
    free(table);
    return error;
}

static int own_up_snapshot(struct volume *volume, const struct volume_snapshot *snapshot, struct br_err *reterr)
{
    char part[DMH_PART_MAX];
    struct dmh_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    volume_part(part, "cow", snapshot->number);
    int error = own_make_pieces(volume, part, snapshot->pieces, snapshot->piece_count, reterr);
    if (!error) {
        volume_part(part, "snap", snapshot->number);
        own_snapshot_table(&volume->record, snapshot->number, table);
        error = own_make(volume, part, true, table, reterr);
    }
    free(table);
    return error;
}

// Takes away what is left of a snapshot that does not live on, and the record's entry; a user's stays as gone. One that somebody needed is
// named.
static int own_lose_snapshot(struct volume *volume, const struct volume_snapshot *snapshot, const char *why,
                             char ret_lost[64], struct br_err *reterr)
{
    char part[DMH_PART_MAX];

    if (snapshot->use != VOLUME_VIEW) {
        snprintf(ret_lost, 64, "snapshot-%u-not-restored", snapshot->number);
        cli_warn(volume->cli, "snapshot %u of %s is gone: %s", snapshot->number, volume->record.name, why);
    }
    volume_part(part, "snap", snapshot->number);
    int error = own_remove(volume, part, reterr);
    volume_part(part, "cow", snapshot->number);
    error = error ? error : own_remove(volume, part, reterr);
    if (!error && snapshot->use == VOLUME_USER && snapshot->taken_unix_ns) {
        struct volume_snapshot *gone = volume_record_snapshot(&volume->record, snapshot->number, NULL);
        gone->gone = true;
        gone->piece_count = 0;
    } else if (!error) {
        volume_record_drop_snapshot(&volume->record, snapshot->number);
    }
    return error;
}

// Snapshots of runs that ended with the machine are dropped unless they had become marks; held ones and a user's are made again, before any
// write can come.
static int own_up_snapshots(struct volume *volume, char ret_lost[64], struct br_err *reterr)
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
        int error = snapshot.use == VOLUME_VIEW ? -BR_E_NOT_FOUND : own_up_snapshot(volume, &snapshot, &err);
        error = error ? own_lose_snapshot(volume, &snapshot, err.text, ret_lost, reterr) : 0;
        if (error) {
            return error;
        }
    }
    return 0;
}

int own_adopt(struct volume *volume, char ret_lost[64], struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    struct dmh_info info;
    char part[DMH_PART_MAX];

    ret_lost[0] = 0;
    for (uint32_t i = record->snapshot_count; i; i--) {
        struct volume_snapshot snapshot = record->snapshots[i - 1];
        volume_part(part, "snap", snapshot.number);
        int found = snapshot.gone ? 0 : own_look(volume, part, &info, reterr);
        if (snapshot.gone || (found > 0 && info.live_table)) {
            continue;
        }
        int error = found < 0 ? found
                              : own_lose_snapshot(volume, &snapshot, "the volume was written to before it was there",
                                                  ret_lost, reterr);
        if (error) {
            return error;
        }
    }
    record->up = true;
    return 0;
}

static int own_up_top(struct volume *volume, struct br_err *reterr)
{
    const char *base = volume_base(&volume->record);

    if (!volume->record.retabled) {
        return own_make_one(volume, "top", DMH_TARGET_SNAPSHOT_ORIGIN, base, "", 0, reterr);
    }
    struct dmh_load *load = calloc(1, sizeof(*load));
    if (!load) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    load->device = volume_ref(volume, "@device");
    own_one_table(&volume->record, DMH_TARGET_SNAPSHOT_ORIGIN, base, "", 0, &load->table);
    int error = dmh_load(volume->helper, load, reterr);
    free(load);
    return error ? error : own_swap(volume, "@device", true, reterr);
}

static int own_up(struct volume *volume, bool fresh_meta, char ret_lost[64], struct br_err *reterr)
{
    int error = own_area_make(volume, reterr);
    error = error ? error : own_area_map(volume, reterr);
    error = error ? error : own_up_real(volume, reterr);
    error = error ? error : own_up_era(volume, fresh_meta, reterr);
    error = error ? error : own_up_snapshots(volume, ret_lost, reterr);
    error = error ? error : own_up_top(volume, reterr);
    if (error) {
        return error;
    }
    volume->record.up = true;
    volume->record.pending = false;
    return volume_save(volume, reterr);
}

// One part's new table, inactive.
static int own_load(struct volume *volume, const char *where, enum dmh_target_kind kind, const char *device,
                    struct br_err *reterr)
{
    struct dmh_load *load = calloc(1, sizeof(*load));

    if (!load) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    load->device = volume_ref(volume, where);
    own_one_table(&volume->record, kind, device, "", 0, &load->table);
    int error = dmh_load(volume->helper, load, reterr);
    free(load);
    return error;
}

// One device after the other, from the bottom up: while the lower one alone is larger nobody asks for what is behind the old end. The top's
// own window makes the origin see its new size; snapshots that are held keep theirs, and what lies behind it is none of their business.
static int own_resize_part(struct volume *volume, const char *part, enum dmh_target_kind kind, const char *device,
                           bool freeze, struct br_err *reterr)
{
    int error = own_load(volume, part, kind, device, reterr);

    error = error ? error : own_swap(volume, part, freeze, reterr);
    if (error) {
        struct dmh_ref ref = volume_ref(volume, part);
        struct br_err err;
        (void)!dmh_clear(volume->helper, &ref, &err);
    }
    return error;
}

// Does dm-era's table reach to there? It is made for more than the volume has, and kept when the volume grows. 1, 0.
static int own_era_reaches(struct volume *volume, uint64_t size_bytes, struct br_err *reterr)
{
    struct dmh_query query = {.device = volume_ref(volume, "era")};
    struct dmh_rows *rows = calloc(1, sizeof(*rows));

    if (!rows) {
        return br_err_set(reterr, BR_E_NOMEM, "a table");
    }
    int error = dmh_table(volume->helper, &query, rows, reterr);
    int reaches = error ? error : rows->target_count == 1 && rows->targets[0].length_bytes >= size_bytes;
    free(rows);
    return reaches;
}

int own_resize(struct volume *volume, uint64_t size_bytes, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    uint64_t old_bytes = record->size_bytes;
    int can = record->retabled ? 0 : record->tracker == VOLUME_ERA ? own_era_reaches(volume, size_bytes, reterr) : 1;

    if (can <= 0) {
        return can < 0 ? can
                       : br_err_set(reterr, BR_E_UNSUPPORTED,
                                    "the device of volume %s grew; its stack takes the new size when it is built anew: "
                                    "unmount it, then blkrep detach --keep %s and blkrep attach %s, or reboot",
                                    record->name, record->name, record->name);
    }
    record->size_bytes = size_bytes;
    int error = own_resize_part(volume, "real", DMH_TARGET_LINEAR, "@device", false, reterr);
    error =
        error ? error : own_resize_part(volume, "top", DMH_TARGET_SNAPSHOT_ORIGIN, volume_base(record), true, reterr);
    if (error) {
        record->size_bytes = old_bytes;
        return error;
    }
    return volume_save(volume, reterr);
}

// Gives a device that was re-tabled its own table back. One that has another by now, because LVM refreshed, extended or moved it, keeps that:
// the one that the stack knows is of before, and may lead to where other data are.
static int own_down_retabled(struct volume *volume, struct br_err *reterr)
{
    struct dmh_copy_table copy = {.from = volume_ref(volume, "real"), .to = "@device"};
    struct dmh_ref device = volume_ref(volume, "@device");
    struct dmh_info info;
    int found = own_look(volume, "real", &info, reterr);

    if (found <= 0 || !info.live_table) {
        return found < 0 ? found : 0;
    }
    int under = own_is_under(volume, reterr);
    int error = under < 0 ? under : under ? dmh_copy_table(volume->helper, &copy, reterr) : 0;
    if (under > 0 && !error) {
        return own_swap(volume, "@device", true, reterr);
    }
    // What an attach that was cut short loaded and did not make live would hold the parts.
    return error ? error : dmh_clear(volume->helper, &device, reterr);
}

static int own_down_top(struct volume *volume, struct br_err *reterr)
{
    struct dmh_info info;

    if (volume->record.retabled) {
        return own_down_retabled(volume, reterr);
    }
    int found = own_look(volume, "top", &info, reterr);
    if (found > 0 && info.open_count) {
        return br_err_set(reterr, BR_E_BUSY, "/dev/mapper/%s is in use: unmount or close it first",
                          volume->record.name);
    }
    return found < 0 ? found : own_remove(volume, "top", reterr);
}

// In whatever order the list has them: what another still maps is busy and comes in the next round.
static int own_down_rest(struct volume *volume, struct br_err *reterr)
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

static int own_down(struct volume *volume, struct br_err *reterr)
{
    int error = own_down_top(volume, reterr);

    return error ? error : own_down_rest(volume, reterr);
}

// Snapshots ---------------------------------------------------------------------------------------------------------------------------

static int own_wipe(struct volume *volume, struct br_ring *ring, const char *store, struct br_err *reterr)
{
    struct br_file *file;
    uint64_t bytes;
    int error = stack_open(volume, ring, store, true, &file, &bytes, reterr);

    if (!error) {
        // With tracker era nobody reads the store but the kernel, which makes each area empty before it goes on to it: the head is enough.
        uint64_t wiped_bytes = volume->record.tracker == VOLUME_ERA ? BR_MIN(bytes, VOLUME_UNIT_BYTES) : bytes;
        error = br_cow_store_wipe(file, wiped_bytes, VOLUME_CHUNK_BYTES, reterr);
        br_file_close(file);
        if (error) {
            br_err_prefix(reterr, "the store of a new snapshot of %s, in %s", volume->record.name,
                          volume->record.area.path);
        }
    }
    return error;
}

// Room for a new store: the area's free bytes, and more of it if it may grow.
static int own_give(struct volume *volume, uint64_t bytes, struct volume_piece *pieces, uint32_t *count,
                    struct br_err *reterr)
{
    uint64_t free_bytes = volume_record_free_bytes(&volume->record);
    uint64_t wanted = br_align_up(bytes, VOLUME_UNIT_BYTES);
    int error = 0;

    if (free_bytes < wanted) {
        error = own_area_grow(volume, volume->record.area.bytes + wanted - free_bytes, reterr);
    }
    return error ? error : volume_record_give(&volume->record, wanted, pieces, count, reterr);
}

static int own_snapshot_prepare(struct volume *volume, struct br_ring *ring, uint64_t store_bytes,
                                struct volume_snapshot *snapshot, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    char part[DMH_PART_MAX];

    snapshot->piece_count = 0;
    int error = own_give(volume, store_bytes, snapshot->pieces, &snapshot->piece_count, reterr);
    if (error) {
        return error;
    }
    snapshot->number = ++record->next_number;
    record->snapshots[record->snapshot_count++] = *snapshot;
    error = volume_save(volume, reterr);
    volume_part(part, "cow", snapshot->number);
    error = error ? error : own_make_pieces(volume, part, snapshot->pieces, snapshot->piece_count, reterr);
    error = error ? error : own_wipe(volume, ring, part, reterr);
    struct dmh_table *table = calloc(1, sizeof(*table));
    if (!error && table) {
        volume_part(part, "snap", snapshot->number);
        own_snapshot_table(record, snapshot->number, table);
        error = own_make(volume, part, false, table, reterr);
    }
    free(table);
    return error;
}

static void own_window_add(struct dmh_window *window, const struct stack_window *of)
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

// After the window, so that a table that was put back before it is seen: nobody but an attach, which ends the chain, brings ours again.
static int own_window_note(const struct stack_window *of, struct br_err *reterr)
{
    const struct volume_record *record = &of->volume->record;
    int under = record->retabled ? own_is_under(of->volume, reterr) : 1;

    return under ? BR_MIN(under, 0)
                 : br_err_set(reterr, BR_E_NOT_FOUND,
                              "somebody gave %s another table, and nothing tracks it: run blkrep attach %s",
                              record->device, record->name);
}

static int own_snapshot_detach(struct volume *volume, uint32_t number, bool force, struct br_err *reterr)
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
        remove->retry_ms = OWN_RETRY_MS;
        remove->force = force;
        error = dmh_snapshot_remove(volume->helper, remove, done, reterr);
    }
    free(remove);
    free(done);
    return error;
}

static int own_snapshot_unmake(struct volume *volume, uint32_t number, bool force, struct br_err *reterr)
{
    char part[DMH_PART_MAX];
    int error = own_snapshot_detach(volume, number, force, reterr);

    volume_part(part, "cow", number);
    return error ? error : own_remove(volume, part, reterr);
}

static int own_snapshot_grow(struct volume *volume, uint32_t number, uint64_t bytes, struct br_err *reterr)
{
    struct volume_snapshot *snapshot = volume_record_snapshot(&volume->record, number, NULL);
    struct dmh_load *load = calloc(1, sizeof(*load));
    char part[DMH_PART_MAX];
    int error = snapshot && load ? 0 : br_err_set(reterr, BR_E_NOT_FOUND, "snapshot %u", number);

    error = error ? error : own_give(volume, bytes, snapshot->pieces, &snapshot->piece_count, reterr);
    if (!error) {
        snapshot->grown = true;
        error = volume_save(volume, reterr);
    }
    if (!error) {
        volume_part(part, "cow", number);
        load->device = volume_ref(volume, part);
        own_pieces_table(&volume->record, snapshot->pieces, snapshot->piece_count, &load->table);
        error = dmh_load(volume->helper, load, reterr);
        error = error ? error : own_swap(volume, part, false, reterr);
    }
    free(load);
    return error;
}

static int own_snapshot_status(struct volume *volume, uint32_t number, struct dmh_target_status *ret_status,
                               struct br_err *reterr)
{
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

const struct stack_kind own_kind = {
    .area_make = own_area_make,
    .area_drop = own_area_drop,
    .up = own_up,
    .down = own_down,
    .is_up = own_is_up,
    .snapshot_prepare = own_snapshot_prepare,
    .snapshot_unmake = own_snapshot_unmake,
    .snapshot_grow = own_snapshot_grow,
    .snapshot_status = own_snapshot_status,
    .window_add = own_window_add,
    .window_note = own_window_note,
};
