// SPDX-License-Identifier: Apache-2.0
//
// Requests about single device-mapper devices. None of them suspends anything: that is for windows (window.c).
#include "dm-helper/device.h"
#include "dm-helper/process.h"
#include "dm-helper/server.h"
#include "dm-helper/target.h"

#include <stdio.h>

#include "engine/base/units.h"

#define DMH_REMOVE_LOOK_MS 50
#define DMH_RETRY_MAX_MS   60000

// ---- tables ----------------------------------------------------------------------------------------------------------

// A table with everything in it that names a device replaced by the device's number.
struct dmh_text_table {
    struct dmh_dm_target targets[DMH_TARGETS_MAX];
    char params[DMH_TARGETS_MAX][DMH_PARAMS_MAX];
};

static int dmh_number_of(const struct dmh_volume *volume, const char *where, uint32_t kinds, bool is_store,
                         char text[32], struct br_err *reterr)
{
    struct dmh_device device;

    text[0] = 0;
    if (!*where) {
        return 0;
    }
    int error = dmh_device_resolve(volume, where, kinds, &device, reterr);
    if (!error && is_store && dmh_device_is_source(volume, device.major, device.minor)) {
        error = br_err_set(reterr, BR_E_REFUSED, "volume %s: a store can't lie on %s, where the volume's own data are",
                           volume->volume, where);
    }
    if (!error) {
        snprintf(text, 32, "%u:%u", device.major, device.minor);
    }
    return error;
}

// What a target may map is the volume's, whole devices only; what it writes by itself, its store, is never what the volume protects.
static int dmh_table_text(const struct dmh_volume *volume, const struct dmh_table *table, struct dmh_text_table *text,
                          struct br_err *reterr)
{
    const uint32_t stores = DMH_WHERE_PART | DMH_WHERE_LVM | DMH_WHERE_BLOCK;
    int error = dmh_table_check(table, reterr);

    for (uint32_t i = 0; !error && i < table->target_count; i++) {
        const struct dmh_target *target = &table->targets[i];
        char device[32], store[32];
        uint32_t kinds = target->kind == DMH_TARGET_THIN ? DMH_WHERE_POOL
                                                         : stores | DMH_WHERE_DEVICE | DMH_WHERE_NBD | DMH_WHERE_UBLK;
        error = dmh_number_of(volume, target->device, kinds, false, device, reterr);
        error = error ? error
                      : dmh_number_of(volume, target->store, stores, target->kind != DMH_TARGET_THIN, store, reterr);
        error =
            error ? error : dmh_target_params(target, device, store, text->params[i], sizeof(text->params[i]), reterr);
        text->targets[i] = (struct dmh_dm_target){.start_sectors = target->start_bytes / DMH_SECTOR_BYTES,
                                                  .length_sectors = target->length_bytes / DMH_SECTOR_BYTES,
                                                  .type = dmh_target_type(target->kind),
                                                  .params = text->params[i]};
    }
    return error;
}

static int dmh_load_text(const struct dmh_volume *volume, const struct dmh_dm *dm, const struct dmh_table *table,
                         bool read_only, struct br_err *reterr)
{
    BR_AUTO_FREE struct dmh_text_table *text = calloc(1, sizeof(*text));

    if (!text) {
        return br_err_set(reterr, BR_E_NOMEM, "preparing a table for %s", dm->name);
    }
    int error = dmh_table_text(volume, table, text, reterr);
    return error ? error : dmh_dm_load(dm, text->targets, table->target_count, read_only, reterr);
}

static bool dmh_part_only(const struct dmh_where *where)
{
    return where->kind == DMH_WHERE_PART && strcmp(where->part, "top") != 0;
}

int dmh_on_create(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_create *create = turn->request;
    struct dmh_created *created = turn->reply;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_where where;
    struct dmh_dm dm = {0};

    int error = dmh_hold_volume(&turn->server->registry, create->device.volume, true, &held, reterr);
    error = error ? error : dmh_where_resolve(held.volume, create->device.where, DMH_WHERE_PART, "", &where, reterr);
    if (!error && create->activate && !create->table.target_count) {
        error = br_err_set(reterr, BR_E_USAGE, "a device without a table can't be activated");
    }
    error = error ? error : dmh_dm_create(where.dm_name, where.dm_uuid, &dm, reterr);
    if (error) {
        return error;
    }
    if (create->table.target_count) {
        error = dmh_load_text(held.volume, &dm, &create->table, create->read_only, reterr);
    }
    if (!error && create->activate) {
        error = dmh_dm_resume(&dm, dmh_part_only(&where) ? DMH_EVENT_PART : DMH_EVENT_WHOLE, reterr);
    }
    if (error) {
        (void)!dmh_dm_remove(&dm, false, NULL); // what failed is what counts
        return error;
    }
    created->major = dm.major;
    created->minor = dm.minor;
    return 0;
}

int dmh_on_load(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_load *load = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_dm dm;

    int error = dmh_hold_volume(&turn->server->registry, load->device.volume, true, &held, reterr);
    error = error ? error
                  : dmh_device_resolve_dm(held.volume, load->device.where, DMH_WHERE_PART | DMH_WHERE_DEVICE, &dm, NULL,
                                          reterr);
    if (!error && !load->table.target_count) {
        error = br_err_set(reterr, BR_E_USAGE, "a table needs a target");
    }
    return error ? error : dmh_load_text(held.volume, &dm, &load->table, load->read_only, reterr);
}

int dmh_on_copy_table(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_copy_table *copy = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_dm from, to;
    const uint32_t kinds = DMH_WHERE_PART | DMH_WHERE_DEVICE;

    int error = dmh_hold_volume(&turn->server->registry, copy->from.volume, true, &held, reterr);
    error = error ? error : dmh_device_resolve_dm(held.volume, copy->from.where, kinds, &from, NULL, reterr);
    error = error ? error : dmh_device_resolve_dm(held.volume, copy->to, kinds, &to, NULL, reterr);
    if (!error && from.major == to.major && from.minor == to.minor) {
        error = br_err_set(reterr, BR_E_USAGE, "a table can't be copied onto its own device");
    }
    return error ? error : dmh_dm_copy_table(&from, &to, copy->read_only, reterr);
}

int dmh_on_clear(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_dm dm;

    int error = dmh_hold_volume(&turn->server->registry, ref->volume, true, &held, reterr);
    error = error
                ? error
                : dmh_device_resolve_dm(held.volume, ref->where, DMH_WHERE_PART | DMH_WHERE_DEVICE, &dm, NULL, reterr);
    return error ? error : dmh_dm_clear(&dm, reterr);
}

int dmh_on_resume(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_info info;
    struct dmh_dm dm;

    int error = dmh_hold_volume(&turn->server->registry, ref->volume, true, &held, reterr);
    error = error
                ? error
                : dmh_device_resolve_dm(held.volume, ref->where, DMH_WHERE_PART | DMH_WHERE_DEVICE, &dm, &info, reterr);
    if (error) {
        return error;
    }
    if (info.open_count && info.inactive_table && !info.suspended) {
        return br_err_set(reterr, BR_E_BUSY, "%s is in use; its table changes in a window only", dm.name);
    }
    bool part_only = dmh_dm_uuid_is_ours(dm.uuid, NULL) && strcmp(ref->where, "top") != 0;
    return dmh_dm_resume(&dm, part_only ? DMH_EVENT_PART : DMH_EVENT_WHOLE, reterr);
}

int dmh_on_remove(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_remove *remove = turn->request;
    struct dmh_removed *removed = turn->reply;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    uint32_t retry_ms = BR_MIN(remove->retry_ms, DMH_RETRY_MAX_MS);
    struct dmh_dm dm;

    int error = dmh_hold_volume(&turn->server->registry, remove->device.volume, true, &held, reterr);
    error = error ? error : dmh_device_resolve_dm(held.volume, remove->device.where, DMH_WHERE_PART, &dm, NULL, reterr);
    if (error) {
        return error;
    }
    error = dmh_dm_remove(&dm, false, reterr);
    for (uint32_t ms = 0; error == -BR_E_BUSY && ms < retry_ms; ms += DMH_REMOVE_LOOK_MS) {
        dmh_process_sleep_ms(DMH_REMOVE_LOOK_MS);
        error = dmh_dm_remove(&dm, false, reterr);
    }
    if (error == -BR_E_BUSY && remove->deferred) {
        error = dmh_dm_remove(&dm, true, reterr);
        removed->deferred = !error && !dmh_dm_find(dm.uuid, 0, 0, &dm, NULL, NULL);
    }
    return error;
}

// ---- messages --------------------------------------------------------------------------------------------------------

static const struct dmh_message_row {
    uint32_t kind;
    const char *text;
    uint32_t target;
    bool wants_snap, wants_no_snap; // the metadata snapshot that must be there, or not
    bool not_lvm;                   // LVM keeps books about such a pool; what it does not know of, it would undo
} dmh_messages[] = {
    {.kind = DMH_MESSAGE_ERA_CHECKPOINT, .text = "checkpoint", .target = DMH_TARGET_ERA},
    {.kind = DMH_MESSAGE_ERA_TAKE_METADATA_SNAP,
     .text = "take_metadata_snap",
     .target = DMH_TARGET_ERA,
     .wants_no_snap = true},
    {.kind = DMH_MESSAGE_ERA_DROP_METADATA_SNAP,
     .text = "drop_metadata_snap",
     .target = DMH_TARGET_ERA,
     .wants_snap = true},
    {.kind = DMH_MESSAGE_POOL_CREATE_SNAP, .text = "create_snap", .target = DMH_TARGET_THIN_POOL, .not_lvm = true},
    {.kind = DMH_MESSAGE_POOL_DELETE, .text = "delete", .target = DMH_TARGET_THIN_POOL, .not_lvm = true},
    {.kind = DMH_MESSAGE_POOL_RESERVE_METADATA_SNAP,
     .text = "reserve_metadata_snap",
     .target = DMH_TARGET_THIN_POOL,
     .wants_no_snap = true},
    {.kind = DMH_MESSAGE_POOL_RELEASE_METADATA_SNAP,
     .text = "release_metadata_snap",
     .target = DMH_TARGET_THIN_POOL,
     .wants_snap = true},
};

static const struct dmh_message_row *dmh_message_row(uint32_t kind)
{
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_messages); i++) {
        if (dmh_messages[i].kind == kind) {
            return &dmh_messages[i];
        }
    }
    return NULL;
}

static void dmh_keep_status(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                            const char *params)
{
    struct dmh_target_status *status = user;

    if (!status->kind) {
        dmh_status_parse(type, start_sectors, length_sectors, params, status);
    }
}

// Sees to it that the kernel will take the message: an error of its own says little, and a suspended era would hang.
static int dmh_message_check(const struct dmh_message_row *row, const struct dmh_dm *dm, const struct dmh_info *info,
                             struct br_err *reterr)
{
    struct dmh_target_status status = {0};

    if (info->suspended) {
        return br_err_set(reterr, BR_E_BUSY, "%s is suspended and takes no message now", dm->name);
    }
    if (row->not_lvm && !strncmp(dm->uuid, "LVM-", 4)) {
        return br_err_set(reterr, BR_E_REFUSED, "%s is a pool of LVM's, which makes and removes its snapshots itself",
                          dm->name);
    }
    int error = dmh_dm_lines(dm, false, false, dmh_keep_status, &status, reterr);
    if (error) {
        return error;
    }
    if (status.kind != row->target) {
        return br_err_set(reterr, BR_E_USAGE, "%s does not take %s", dm->name, row->text);
    }
    if (row->wants_snap && !status.has_metadata_snap) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s has no metadata snapshot", dm->name);
    }
    if (row->wants_no_snap && status.has_metadata_snap) {
        return br_err_set(reterr, BR_E_BUSY, "%s has a metadata snapshot already", dm->name);
    }
    return 0;
}

int dmh_on_message(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_message *message = turn->request;
    const struct dmh_message_row *row = dmh_message_row(message->kind);
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_info info;
    struct dmh_dm dm;
    char text[96];

    if (!row) {
        return br_err_set(reterr, BR_E_USAGE, "message %u is not known", message->kind);
    }
    int error = dmh_hold_volume(&turn->server->registry, message->device.volume, true, &held, reterr);
    uint32_t kinds = DMH_WHERE_PART | (row->target == DMH_TARGET_THIN_POOL ? DMH_WHERE_POOL : 0);
    error = error ? error : dmh_device_resolve_dm(held.volume, message->device.where, kinds, &dm, &info, reterr);
    error = error ? error : dmh_message_check(row, &dm, &info, reterr);
    if (error) {
        return error;
    }
    if (row->kind == DMH_MESSAGE_POOL_CREATE_SNAP) {
        snprintf(text, sizeof(text), "%s %llu %llu", row->text, (unsigned long long)message->thin_id,
                 (unsigned long long)message->origin_thin_id);
    } else if (row->kind == DMH_MESSAGE_POOL_DELETE) {
        snprintf(text, sizeof(text), "%s %llu", row->text, (unsigned long long)message->thin_id);
    } else {
        snprintf(text, sizeof(text), "%s", row->text);
    }
    return dmh_dm_message(&dm, text, reterr);
}

// ---- questions -------------------------------------------------------------------------------------------------------

#define DMH_ANY_DM (DMH_WHERE_PART | DMH_WHERE_DEVICE | DMH_WHERE_POOL | DMH_WHERE_LVM)

static void dmh_add_status(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                           const char *params)
{
    struct dmh_status *status = user;

    if (status->total_count++ < DMH_TARGETS_MAX) {
        dmh_status_parse(type, start_sectors, length_sectors, params, &status->targets[status->target_count++]);
    }
}

static void dmh_add_row(void *user, uint64_t start_sectors, uint64_t length_sectors, const char *type,
                        const char *params)
{
    struct dmh_rows *rows = user;

    if (rows->total_count++ < DMH_TARGETS_MAX) {
        dmh_row_parse(type, start_sectors, length_sectors, params, &rows->targets[rows->target_count++]);
    }
}

static int dmh_query(struct dmh_turn *turn, bool table, dmh_dm_line_fn *add, struct br_err *reterr)
{
    const struct dmh_query *query = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_dm dm;

    int error = dmh_hold_volume(&turn->server->registry, query->device.volume, false, &held, reterr);
    error = error ? error : dmh_device_resolve_dm(held.volume, query->device.where, DMH_ANY_DM, &dm, NULL, reterr);
    return error ? error : dmh_dm_lines(&dm, table, query->inactive, add, turn->reply, reterr);
}

int dmh_on_status(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_query(turn, false, dmh_add_status, reterr);
}

int dmh_on_table(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_query(turn, true, dmh_add_row, reterr);
}

int dmh_on_info(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ref *ref = turn->request;
    struct dmh_info *info = turn->reply;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_dm dm;

    int error = dmh_hold_volume(&turn->server->registry, ref->volume, false, &held, reterr);
    error = error ? error : dmh_device_resolve_dm(held.volume, ref->where, DMH_ANY_DM, &dm, info, reterr);
    if (!error) {
        snprintf(info->volume, sizeof(info->volume), "%s", ref->volume);
        snprintf(info->part, sizeof(info->part), "%.*s", DMH_PART_MAX - 1, ref->where);
    }
    return error;
}

struct dmh_listing {
    const struct dmh_list *list;
    struct dmh_listed *listed;
    const struct dmh_server *server;
};

static void dmh_list_one(void *user, const char *name, uint32_t major, uint32_t minor)
{
    struct dmh_listing *listing = user;
    struct dmh_info info;
    struct dmh_dm dm;
    const char *part;

    (void)name;
    // A device that goes away meanwhile is left out.
    if (dmh_dm_find("", major, minor, &dm, &info, NULL) || !dmh_dm_uuid_is_ours(dm.uuid, &part)) {
        return;
    }
    dmh_registry_owner(&listing->server->registry, info.uuid, info.volume);
    if (*listing->list->volume ? strcmp(listing->list->volume, info.volume) != 0
                               : !*info.volume && !listing->server->peer_is_root) {
        return;
    }
    snprintf(info.part, sizeof(info.part), "%s", part);
    if (listing->listed->total_count++ >= listing->list->skip && listing->listed->device_count < DMH_LIST_MAX) {
        listing->listed->devices[listing->listed->device_count++] = info;
    }
}

int dmh_on_list(struct dmh_turn *turn, struct br_err *reterr)
{
    struct dmh_listing listing = {.list = turn->request, .listed = turn->reply, .server = turn->server};

    return dmh_dm_list(dmh_list_one, &listing, reterr);
}
