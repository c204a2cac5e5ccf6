// SPDX-License-Identifier: Apache-2.0
//
// One table per struct of request.h says how its members lie in a payload, one table says which structs an op carries; one encoder and one
// decoder walk them. So a new member or op is a line in a table, and there is one place where bytes from outside are checked.
#include "dm-helper/wire.h"

#include "dm-helper/process.h"

#define DMH_MAGIC UINT32_C(0x31686d64) // "dmh1"

enum dmh_field_kind { DMH_FIELD_U32, DMH_FIELD_U64, DMH_FIELD_BOOL, DMH_FIELD_TEXT, DMH_FIELD_STRUCT, DMH_FIELD_LIST };

struct dmh_field { // NOLINT(clang-analyzer-optin.performance.Padding): the rows are written in this order
    enum dmh_field_kind kind;
    size_t offset;
    size_t text_size;    // of a text's array, its final zero included
    size_t count_offset; // of a list's u32 count
    uint32_t count_max;
    const struct dmh_layout *layout; // of a struct, or of a list's elements
};

struct dmh_layout {
    size_t size;
    const struct dmh_field *fields;
    size_t field_count;
};

#define U32(type, member)                                              \
    {                                                                  \
        .kind = DMH_FIELD_U32, .offset = offsetof(struct type, member) \
    }
#define U64(type, member)                                              \
    {                                                                  \
        .kind = DMH_FIELD_U64, .offset = offsetof(struct type, member) \
    }
#define BOOL(type, member)                                              \
    {                                                                   \
        .kind = DMH_FIELD_BOOL, .offset = offsetof(struct type, member) \
    }
#define TEXT(type, member)                                               \
    {                                                                    \
        .kind = DMH_FIELD_TEXT, .offset = offsetof(struct type, member), \
        .text_size = sizeof(((struct type *)0)->member)                  \
    }
#define STRUCT(type, member, of)                                                                  \
    {                                                                                             \
        .kind = DMH_FIELD_STRUCT, .offset = offsetof(struct type, member), .layout = &of##_layout \
    }
#define LIST(type, count, member, of)                                                                                  \
    {                                                                                                                  \
        .kind = DMH_FIELD_LIST, .offset = offsetof(struct type, member), .count_offset = offsetof(struct type, count), \
        .count_max = BR_ARRAY_LEN(((struct type *)0)->member), .layout = &of##_layout                                  \
    }
#define LAYOUT(type, ...)                                          \
    static const struct dmh_field type##_fields[] = {__VA_ARGS__}; \
    static const struct dmh_layout type##_layout = {sizeof(struct type), type##_fields, BR_ARRAY_LEN(type##_fields)}

LAYOUT(dmh_hello, U32(dmh_hello, version));
LAYOUT(dmh_welcome, U32(dmh_welcome, version), U32(dmh_welcome, helper_pid), U32(dmh_welcome, dm_version[0]),
       U32(dmh_welcome, dm_version[1]), U32(dmh_welcome, dm_version[2]), BOOL(dmh_welcome, peer_is_root),
       BOOL(dmh_welcome, udev));
LAYOUT(dmh_place, U32(dmh_place, kind), TEXT(dmh_place, path));
LAYOUT(dmh_volume, TEXT(dmh_volume, volume), TEXT(dmh_volume, uuid), TEXT(dmh_volume, device), TEXT(dmh_volume, wwid),
       LIST(dmh_volume, place_count, places, dmh_place));
LAYOUT(dmh_volume_ref, TEXT(dmh_volume_ref, volume));
LAYOUT(dmh_volumes, U32(dmh_volumes, total_count), LIST(dmh_volumes, volume_count, volumes, dmh_volume_ref));
LAYOUT(dmh_record_open, TEXT(dmh_record_open, volume), U32(dmh_record_open, file));
LAYOUT(dmh_ref, TEXT(dmh_ref, volume), TEXT(dmh_ref, where));
LAYOUT(dmh_target, U32(dmh_target, kind), U64(dmh_target, start_bytes), U64(dmh_target, length_bytes),
       TEXT(dmh_target, device), TEXT(dmh_target, store), U64(dmh_target, offset_bytes), U64(dmh_target, grain_bytes),
       U64(dmh_target, thin_id), BOOL(dmh_target, persistent));
LAYOUT(dmh_table, LIST(dmh_table, target_count, targets, dmh_target));
LAYOUT(dmh_create, STRUCT(dmh_create, device, dmh_ref), BOOL(dmh_create, read_only), BOOL(dmh_create, activate),
       STRUCT(dmh_create, table, dmh_table));
LAYOUT(dmh_created, U32(dmh_created, major), U32(dmh_created, minor));
LAYOUT(dmh_load, STRUCT(dmh_load, device, dmh_ref), BOOL(dmh_load, read_only), STRUCT(dmh_load, table, dmh_table));
LAYOUT(dmh_copy_table, STRUCT(dmh_copy_table, from, dmh_ref), TEXT(dmh_copy_table, to),
       BOOL(dmh_copy_table, read_only));
LAYOUT(dmh_remove, STRUCT(dmh_remove, device, dmh_ref), U32(dmh_remove, retry_ms), BOOL(dmh_remove, deferred));
LAYOUT(dmh_removed, BOOL(dmh_removed, deferred));
LAYOUT(dmh_message, STRUCT(dmh_message, device, dmh_ref), U32(dmh_message, kind), U64(dmh_message, thin_id),
       U64(dmh_message, origin_thin_id));
LAYOUT(dmh_query, STRUCT(dmh_query, device, dmh_ref), BOOL(dmh_query, inactive));
LAYOUT(dmh_target_status, U32(dmh_target_status, kind), TEXT(dmh_target_status, type),
       U64(dmh_target_status, start_bytes), U64(dmh_target_status, length_bytes), BOOL(dmh_target_status, parsed),
       BOOL(dmh_target_status, failed), U64(dmh_target_status, used_bytes), U64(dmh_target_status, total_bytes),
       U64(dmh_target_status, metadata_bytes), U32(dmh_target_status, snapshot_state), U64(dmh_target_status, era),
       BOOL(dmh_target_status, has_metadata_snap), U64(dmh_target_status, metadata_snap_block),
       U64(dmh_target_status, transaction_id), U64(dmh_target_status, data_used_blocks),
       U64(dmh_target_status, data_total_blocks), BOOL(dmh_target_status, read_only),
       BOOL(dmh_target_status, needs_check), TEXT(dmh_target_status, params));
LAYOUT(dmh_status, U32(dmh_status, total_count), LIST(dmh_status, target_count, targets, dmh_target_status));
LAYOUT(dmh_target_row, U32(dmh_target_row, kind), TEXT(dmh_target_row, type), U64(dmh_target_row, start_bytes),
       U64(dmh_target_row, length_bytes), BOOL(dmh_target_row, parsed), U32(dmh_target_row, device_major),
       U32(dmh_target_row, device_minor), U32(dmh_target_row, store_major), U32(dmh_target_row, store_minor),
       U64(dmh_target_row, offset_bytes), U64(dmh_target_row, grain_bytes), U64(dmh_target_row, thin_id),
       BOOL(dmh_target_row, persistent), TEXT(dmh_target_row, params));
LAYOUT(dmh_rows, U32(dmh_rows, total_count), LIST(dmh_rows, target_count, targets, dmh_target_row));
LAYOUT(dmh_info, TEXT(dmh_info, name), TEXT(dmh_info, uuid), TEXT(dmh_info, volume), TEXT(dmh_info, part),
       U32(dmh_info, major), U32(dmh_info, minor), U32(dmh_info, open_count), U32(dmh_info, event_nr),
       U32(dmh_info, target_count), BOOL(dmh_info, suspended), BOOL(dmh_info, live_table),
       BOOL(dmh_info, inactive_table), BOOL(dmh_info, read_only), BOOL(dmh_info, deferred_remove));
LAYOUT(dmh_list, TEXT(dmh_list, volume), U32(dmh_list, skip));
LAYOUT(dmh_listed, U32(dmh_listed, total_count), LIST(dmh_listed, device_count, devices, dmh_info));
LAYOUT(dmh_window_top, STRUCT(dmh_window_top, device, dmh_ref), BOOL(dmh_window_top, freeze),
       BOOL(dmh_window_top, no_flush), TEXT(dmh_window_top, checkpoint));
LAYOUT(dmh_window_inside, STRUCT(dmh_window_inside, device, dmh_ref), BOOL(dmh_window_inside, fresh),
       BOOL(dmh_window_inside, renew));
LAYOUT(dmh_window, LIST(dmh_window, top_count, tops, dmh_window_top),
       LIST(dmh_window, inside_count, inside, dmh_window_inside), U32(dmh_window, deadline_ms),
       U32(dmh_window, sync_budget_ms), U32(dmh_window, sync_good_ms));
LAYOUT(dmh_window_top_done, U64(dmh_window_top_done, suspend_ns), U64(dmh_window_top_done, freeze_ns),
       U64(dmh_window_top_done, window_ns), BOOL(dmh_window_top_done, mounted),
       STRUCT(dmh_window_top_done, era, dmh_target_status));
LAYOUT(dmh_window_done, LIST(dmh_window_done, top_count, tops, dmh_window_top_done), U64(dmh_window_done, window_ns),
       U64(dmh_window_done, sync_ns), U32(dmh_window_done, sync_rounds), U64(dmh_window_done, sync_last_ns));
LAYOUT(dmh_snapshot_remove, STRUCT(dmh_snapshot_remove, top, dmh_window_top),
       LIST(dmh_snapshot_remove, part_count, parts, dmh_ref), U32(dmh_snapshot_remove, deadline_ms),
       U32(dmh_snapshot_remove, retry_ms), BOOL(dmh_snapshot_remove, force));
LAYOUT(dmh_freeze, TEXT(dmh_freeze, volume), TEXT(dmh_freeze, mount), U32(dmh_freeze, deadline_ms));
LAYOUT(dmh_thawed, U64(dmh_thawed, freeze_ns), U64(dmh_thawed, frozen_ns));
LAYOUT(dmh_open, U32(dmh_open, owner), STRUCT(dmh_open, device, dmh_ref), BOOL(dmh_open, write),
       BOOL(dmh_open, direct));
LAYOUT(dmh_opened, U64(dmh_opened, size_bytes), U32(dmh_opened, major), U32(dmh_opened, minor),
       U32(dmh_opened, sector_bytes));
LAYOUT(dmh_file_make, STRUCT(dmh_file_make, file, dmh_ref), U64(dmh_file_make, size_bytes));
LAYOUT(dmh_file_map, STRUCT(dmh_file_map, file, dmh_ref), TEXT(dmh_file_map, part));
LAYOUT(dmh_file_mapped, U32(dmh_file_mapped, major), U32(dmh_file_mapped, minor), U64(dmh_file_mapped, size_bytes),
       BOOL(dmh_file_mapped, inactive));
LAYOUT(dmh_file_release, STRUCT(dmh_file_release, file, dmh_ref), BOOL(dmh_file_release, remove));
LAYOUT(dmh_lvm_report, TEXT(dmh_lvm_report, volume), U32(dmh_lvm_report, kind), TEXT(dmh_lvm_report, vg));
LAYOUT(dmh_lvm_json, TEXT(dmh_lvm_json, json));
LAYOUT(dmh_lvm_create, TEXT(dmh_lvm_create, volume), U32(dmh_lvm_create, kind), TEXT(dmh_lvm_create, vg),
       TEXT(dmh_lvm_create, part), U64(dmh_lvm_create, size_bytes));
LAYOUT(dmh_lvm_change, TEXT(dmh_lvm_change, volume), TEXT(dmh_lvm_change, vg), TEXT(dmh_lvm_change, part),
       U64(dmh_lvm_change, size_bytes));
LAYOUT(dmh_thin_delta, TEXT(dmh_thin_delta, volume), TEXT(dmh_thin_delta, older), TEXT(dmh_thin_delta, newer));
LAYOUT(dmh_thin_told, U64(dmh_thin_told, older_id), U64(dmh_thin_told, newer_id),
       U64(dmh_thin_told, older_mapped_bytes), U64(dmh_thin_told, newer_mapped_bytes), U64(dmh_thin_told, block_bytes),
       U64(dmh_thin_told, transaction_id), U64(dmh_thin_told, output_bytes));
LAYOUT(dmh_nbd_connect, STRUCT(dmh_nbd_connect, device, dmh_ref), U64(dmh_nbd_connect, size_bytes),
       U32(dmh_nbd_connect, block_bytes), U32(dmh_nbd_connect, timeout_s), U32(dmh_nbd_connect, dead_s),
       BOOL(dmh_nbd_connect, read_only), BOOL(dmh_nbd_connect, flush), BOOL(dmh_nbd_connect, fua),
       BOOL(dmh_nbd_connect, trim), BOOL(dmh_nbd_connect, multi_conn));
LAYOUT(dmh_nbd_reconnect, STRUCT(dmh_nbd_reconnect, device, dmh_ref), U32(dmh_nbd_reconnect, retry_ms));
LAYOUT(dmh_nbd_reconnected, U32(dmh_nbd_reconnected, taken_count));
LAYOUT(dmh_nbd_disconnect, STRUCT(dmh_nbd_disconnect, device, dmh_ref), BOOL(dmh_nbd_disconnect, force));
LAYOUT(dmh_nbd_info, TEXT(dmh_nbd_info, volume), TEXT(dmh_nbd_info, part), U32(dmh_nbd_info, index),
       U32(dmh_nbd_info, major), U32(dmh_nbd_info, minor), U64(dmh_nbd_info, size_bytes), BOOL(dmh_nbd_info, read_only),
       BOOL(dmh_nbd_info, connected), BOOL(dmh_nbd_info, in_use));
LAYOUT(dmh_nbd_listed, U32(dmh_nbd_listed, total_count), LIST(dmh_nbd_listed, device_count, devices, dmh_nbd_info));
LAYOUT(dmh_ublk_add, STRUCT(dmh_ublk_add, device, dmh_ref), U64(dmh_ublk_add, size_bytes),
       U32(dmh_ublk_add, block_bytes), U32(dmh_ublk_add, physical_bytes), U32(dmh_ublk_add, queue_count),
       U32(dmh_ublk_add, queue_depth), U32(dmh_ublk_add, io_bytes_max), BOOL(dmh_ublk_add, read_only),
       BOOL(dmh_ublk_add, flush), BOOL(dmh_ublk_add, fua), BOOL(dmh_ublk_add, trim), BOOL(dmh_ublk_add, zeroes),
       BOOL(dmh_ublk_add, recovery), BOOL(dmh_ublk_add, reissue), BOOL(dmh_ublk_add, user_copy));
LAYOUT(dmh_ublk_info, TEXT(dmh_ublk_info, volume), TEXT(dmh_ublk_info, part), U32(dmh_ublk_info, index),
       U32(dmh_ublk_info, state), U32(dmh_ublk_info, major), U32(dmh_ublk_info, minor), U64(dmh_ublk_info, size_bytes),
       U32(dmh_ublk_info, server_pid), U32(dmh_ublk_info, queue_count), U32(dmh_ublk_info, queue_depth),
       U32(dmh_ublk_info, io_bytes_max), BOOL(dmh_ublk_info, read_only), BOOL(dmh_ublk_info, in_use),
       BOOL(dmh_ublk_info, recovery), BOOL(dmh_ublk_info, reissue), BOOL(dmh_ublk_info, user_copy));
LAYOUT(dmh_ublk_listed, U32(dmh_ublk_listed, total_count), LIST(dmh_ublk_listed, device_count, devices, dmh_ublk_info));
LAYOUT(dmh_ublk_serve, STRUCT(dmh_ublk_serve, device, dmh_ref), U32(dmh_ublk_serve, pid),
       U32(dmh_ublk_serve, deadline_ms));
LAYOUT(dmh_ublk_recover, STRUCT(dmh_ublk_recover, device, dmh_ref), U32(dmh_ublk_recover, retry_ms));
LAYOUT(dmh_ublk_end, STRUCT(dmh_ublk_end, device, dmh_ref), U32(dmh_ublk_end, deadline_ms), BOOL(dmh_ublk_end, force));
LAYOUT(dmh_done, U32(dmh_done, unused));

_Static_assert(DMH_SOCKETS_MAX <= DMH_PASS_FDS_MAX, "its sockets fit into one message");
_Static_assert(DMH_LVM_JSON_MAX < DMH_MESSAGE_MAX - 1024, "what LVM printed fits into one message");

static const struct dmh_op_row {
    enum dmh_op op;
    const char *name;
    const struct dmh_layout *request;
    const struct dmh_layout *reply;
    size_t fds_max; // with the request
} dmh_ops[] = {
    {DMH_OP_HELLO, "hello", &dmh_hello_layout, &dmh_welcome_layout},
    {DMH_OP_REGISTER, "register", &dmh_volume_layout, &dmh_done_layout},
    {DMH_OP_UNREGISTER, "unregister", &dmh_volume_ref_layout, &dmh_done_layout},
    {DMH_OP_VOLUME, "volume", &dmh_volume_ref_layout, &dmh_volume_layout},
    {DMH_OP_VOLUMES, "volumes", &dmh_done_layout, &dmh_volumes_layout},
    {DMH_OP_RECORD_OPEN, "record-open", &dmh_record_open_layout, &dmh_done_layout},
    {DMH_OP_RECORD_KEEP, "record-keep", &dmh_volume_ref_layout, &dmh_done_layout},
    {DMH_OP_CREATE, "create", &dmh_create_layout, &dmh_created_layout},
    {DMH_OP_LOAD, "load", &dmh_load_layout, &dmh_done_layout},
    {DMH_OP_COPY_TABLE, "copy-table", &dmh_copy_table_layout, &dmh_done_layout},
    {DMH_OP_CLEAR, "clear", &dmh_ref_layout, &dmh_done_layout},
    {DMH_OP_RESUME, "resume", &dmh_ref_layout, &dmh_done_layout},
    {DMH_OP_REMOVE, "remove", &dmh_remove_layout, &dmh_removed_layout},
    {DMH_OP_MESSAGE, "message", &dmh_message_layout, &dmh_done_layout},
    {DMH_OP_STATUS, "status", &dmh_query_layout, &dmh_status_layout},
    {DMH_OP_TABLE, "table", &dmh_query_layout, &dmh_rows_layout},
    {DMH_OP_INFO, "info", &dmh_ref_layout, &dmh_info_layout},
    {DMH_OP_LIST, "list", &dmh_list_layout, &dmh_listed_layout},
    {DMH_OP_WINDOW, "window", &dmh_window_layout, &dmh_window_done_layout},
    {DMH_OP_SNAPSHOT_REMOVE, "snapshot-remove", &dmh_snapshot_remove_layout, &dmh_window_done_layout},
    {DMH_OP_FREEZE, "freeze", &dmh_freeze_layout, &dmh_done_layout},
    {DMH_OP_THAW, "thaw", &dmh_done_layout, &dmh_thawed_layout},
    {DMH_OP_OPEN, "open", &dmh_open_layout, &dmh_opened_layout},
    {DMH_OP_ZERO_HEAD, "zero-head", &dmh_ref_layout, &dmh_done_layout},
    {DMH_OP_FILE_MAKE, "file-make", &dmh_file_make_layout, &dmh_done_layout},
    {DMH_OP_FILE_MAP, "file-map", &dmh_file_map_layout, &dmh_file_mapped_layout},
    {DMH_OP_FILE_RELEASE, "file-release", &dmh_file_release_layout, &dmh_done_layout},
    {DMH_OP_LVM_REPORT, "lvm-report", &dmh_lvm_report_layout, &dmh_lvm_json_layout},
    {DMH_OP_LVM_CREATE, "lvm-create", &dmh_lvm_create_layout, &dmh_done_layout},
    {DMH_OP_LVM_EXTEND, "lvm-extend", &dmh_lvm_change_layout, &dmh_done_layout},
    {DMH_OP_LVM_REMOVE, "lvm-remove", &dmh_lvm_change_layout, &dmh_done_layout},
    {DMH_OP_LVM_ACTIVATE, "lvm-activate", &dmh_lvm_change_layout, &dmh_done_layout},
    {DMH_OP_THIN_DELTA, "thin-delta", &dmh_thin_delta_layout, &dmh_thin_told_layout},
    {DMH_OP_NBD_CONNECT, "nbd-connect", &dmh_nbd_connect_layout, &dmh_nbd_info_layout, DMH_SOCKETS_MAX},
    {DMH_OP_NBD_RECONNECT, "nbd-reconnect", &dmh_nbd_reconnect_layout, &dmh_nbd_reconnected_layout, DMH_SOCKETS_MAX},
    {DMH_OP_NBD_DISCONNECT, "nbd-disconnect", &dmh_nbd_disconnect_layout, &dmh_done_layout},
    {DMH_OP_NBD_STATUS, "nbd-status", &dmh_ref_layout, &dmh_nbd_info_layout},
    {DMH_OP_NBD_LIST, "nbd-list", &dmh_list_layout, &dmh_nbd_listed_layout},
    {DMH_OP_UBLK_ADD, "ublk-add", &dmh_ublk_add_layout, &dmh_ublk_info_layout},
    {DMH_OP_UBLK_START, "ublk-start", &dmh_ublk_serve_layout, &dmh_ublk_info_layout},
    {DMH_OP_UBLK_STOP, "ublk-stop", &dmh_ublk_end_layout, &dmh_done_layout},
    {DMH_OP_UBLK_DELETE, "ublk-delete", &dmh_ublk_end_layout, &dmh_done_layout},
    {DMH_OP_UBLK_RECOVER, "ublk-recover", &dmh_ublk_recover_layout, &dmh_ublk_info_layout},
    {DMH_OP_UBLK_RECOVERED, "ublk-recovered", &dmh_ublk_serve_layout, &dmh_ublk_info_layout},
    {DMH_OP_UBLK_STATUS, "ublk-status", &dmh_ref_layout, &dmh_ublk_info_layout},
    {DMH_OP_UBLK_LIST, "ublk-list", &dmh_list_layout, &dmh_ublk_listed_layout},
};

static const struct dmh_op_row *dmh_op_find(uint16_t op)
{
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_ops); i++) {
        if (dmh_ops[i].op == op) {
            return &dmh_ops[i];
        }
    }
    return NULL;
}

const struct dmh_layout *dmh_request_layout(uint16_t op)
{
    const struct dmh_op_row *row = dmh_op_find(op);
    return row ? row->request : NULL;
}

const struct dmh_layout *dmh_reply_layout(uint16_t op)
{
    const struct dmh_op_row *row = dmh_op_find(op);
    return row ? row->reply : NULL;
}

size_t dmh_request_fds_max(uint16_t op)
{
    const struct dmh_op_row *row = dmh_op_find(op);
    return row ? row->fds_max : 0;
}

size_t dmh_layout_size(const struct dmh_layout *layout)
{
    return layout->size;
}

const char *dmh_op_name(uint16_t op)
{
    const struct dmh_op_row *row = dmh_op_find(op);
    return row ? row->name : "unknown";
}

// ---- encoding --------------------------------------------------------------------------------------------------------

static bool dmh_put_text(struct br_buf *out, const char *text, size_t size)
{
    size_t len = strnlen(text, size);

    if (len == size) {
        return false;
    }
    br_buf_u32(out, (uint32_t)len);
    br_buf_append(out, text, len);
    return true;
}

// Fails only for a struct that breaks its own bounds.
static bool dmh_put_struct(struct br_buf *out, const struct dmh_layout *layout, const void *body)
{
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct dmh_field *field = &layout->fields[i];
        const char *at = (const char *)body + field->offset;
        bool ok = true;
        uint32_t u32;
        uint64_t u64;

        switch (field->kind) {
        case DMH_FIELD_U32:
            memcpy(&u32, at, sizeof(u32));
            br_buf_u32(out, u32);
            break;
        case DMH_FIELD_U64:
            memcpy(&u64, at, sizeof(u64));
            br_buf_u64(out, u64);
            break;
        case DMH_FIELD_BOOL: br_buf_u8(out, *(const bool *)at ? 1 : 0); break;
        case DMH_FIELD_TEXT: ok = dmh_put_text(out, at, field->text_size); break;
        case DMH_FIELD_STRUCT: ok = dmh_put_struct(out, field->layout, at); break;
        case DMH_FIELD_LIST:
            memcpy(&u32, (const char *)body + field->count_offset, sizeof(u32));
            ok = u32 <= field->count_max;
            br_buf_u32(out, u32);
            for (uint32_t n = 0; ok && n < u32; n++) {
                ok = dmh_put_struct(out, field->layout, at + n * field->layout->size);
            }
            break;
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

static void dmh_put_header(struct br_buf *out, const struct dmh_header *header)
{
    br_buf_u32(out, DMH_MAGIC);
    br_buf_u16(out, header->op);
    br_buf_u16(out, header->flags);
    br_buf_u32(out, header->sequence);
    br_buf_u32(out, header->failed);
    br_buf_u32(out, 0); // the payload's length, filled in by dmh_finish
}

static int dmh_finish(struct br_buf *out, size_t start, struct br_err *reterr)
{
    if (br_buf_failed(out)) {
        return br_err_set(reterr, BR_E_NOMEM, "encoding a message");
    }
    size_t len = out->len - start;
    if (len > DMH_MESSAGE_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "a message of %zu bytes is longer than %d", len, DMH_MESSAGE_MAX);
    }
    br_put_u32(out->data + start + DMH_HEADER_BYTES - 4, (uint32_t)(len - DMH_HEADER_BYTES));
    return 0;
}

int dmh_encode(const struct dmh_header *header, const struct dmh_layout *layout, const void *body, struct br_buf *out,
               struct br_err *reterr)
{
    size_t start = out->len;

    dmh_put_header(out, header);
    if (!dmh_put_struct(out, layout, body)) {
        return br_err_set(reterr, BR_E_USAGE, "%s: a text or a list is too long", dmh_op_name(header->op));
    }
    return dmh_finish(out, start, reterr);
}

int dmh_encode_error(const struct dmh_header *header, const struct br_err *error, struct br_buf *out)
{
    size_t start = out->len;

    dmh_put_header(out, header);
    const char *name = br_err_name(error->code);
    bool ok = dmh_put_text(out, name, strlen(name) + 1);
    br_buf_u32(out, (uint32_t)error->os_errno);
    ok = ok && dmh_put_text(out, error->text, sizeof(error->text));
    return ok ? dmh_finish(out, start, NULL) : -BR_E_INTERNAL;
}

// ---- decoding --------------------------------------------------------------------------------------------------------

static void dmh_get_text(struct br_reader *in, char *text, size_t size)
{
    uint32_t len = br_reader_u32(in);
    const uint8_t *bytes = len < size ? br_reader_take(in, len) : NULL;

    if (!bytes || memchr(bytes, 0, len)) {
        in->bad = true;
        return;
    }
    memcpy(text, bytes, len);
    text[len] = 0;
}

static void dmh_get_struct(struct br_reader *in, const struct dmh_layout *layout, void *body);

static void dmh_get_list(struct br_reader *in, const struct dmh_field *field, void *body)
{
    char *at = (char *)body + field->offset;
    uint32_t count = br_reader_u32(in);

    if (count > field->count_max) {
        in->bad = true;
        return;
    }
    for (uint32_t i = 0; i < count && br_reader_ok(in); i++) {
        dmh_get_struct(in, field->layout, at + i * field->layout->size);
    }
    memcpy((char *)body + field->count_offset, &count, sizeof(count));
}

static void dmh_get_struct(struct br_reader *in, const struct dmh_layout *layout, void *body)
{
    for (size_t i = 0; i < layout->field_count && br_reader_ok(in); i++) {
        const struct dmh_field *field = &layout->fields[i];
        char *at = (char *)body + field->offset;
        uint32_t u32;
        uint64_t u64;
        uint8_t u8;

        switch (field->kind) {
        case DMH_FIELD_U32:
            u32 = br_reader_u32(in);
            memcpy(at, &u32, sizeof(u32));
            break;
        case DMH_FIELD_U64:
            u64 = br_reader_u64(in);
            memcpy(at, &u64, sizeof(u64));
            break;
        case DMH_FIELD_BOOL:
            u8 = br_reader_u8(in);
            in->bad |= u8 > 1;
            *(bool *)at = u8 == 1;
            break;
        case DMH_FIELD_TEXT: dmh_get_text(in, at, field->text_size); break;
        case DMH_FIELD_STRUCT: dmh_get_struct(in, field->layout, at); break;
        case DMH_FIELD_LIST: dmh_get_list(in, field, body); break;
        }
    }
}

int dmh_decode_header(const uint8_t *bytes, size_t len, struct dmh_header *ret_header, struct br_err *reterr)
{
    struct br_reader in = br_reader_init(bytes, len);
    struct dmh_header header;

    uint32_t magic = br_reader_u32(&in);
    header.op = br_reader_u16(&in);
    header.flags = br_reader_u16(&in);
    header.sequence = br_reader_u32(&in);
    header.failed = br_reader_u32(&in);
    header.payload_bytes = br_reader_u32(&in);
    if (!br_reader_ok(&in) || magic != DMH_MAGIC) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a message between blkrep and its helper has no header");
    }
    if (header.failed > 1 || header.payload_bytes != br_reader_left(&in) || len > DMH_MESSAGE_MAX) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a message between blkrep and its helper has a wrong length");
    }
    if (header.flags & ~(DMH_FLAG_REPLY | DMH_FLAG_FD)) {
        return br_err_set(reterr, BR_E_PROTOCOL, "a message between blkrep and its helper has unknown flags");
    }
    *ret_header = header;
    return 0;
}

int dmh_decode_body(const struct dmh_layout *layout, const uint8_t *payload, size_t len, void *body,
                    struct br_err *reterr)
{
    struct br_reader in = br_reader_init(payload, len);

    memset(body, 0, layout->size);
    dmh_get_struct(&in, layout, body);
    if (!br_reader_done(&in)) {
        memset(body, 0, layout->size);
        return br_err_set(reterr, BR_E_PROTOCOL, "a message between blkrep and its helper is malformed");
    }
    return 0;
}

int dmh_decode_error(const struct dmh_header *header, const uint8_t *payload, size_t len, struct br_err *ret_error,
                     struct br_err *reterr)
{
    struct br_reader in = br_reader_init(payload, len);
    struct br_err error = {0};
    char name[32] = "";

    dmh_get_text(&in, name, sizeof(name));
    error.code = br_err_from_name(name);
    error.os_errno = (int)br_reader_u32(&in);
    dmh_get_text(&in, error.text, sizeof(error.text));
    if (!br_reader_done(&in) || !header->failed || !error.code) {
        return br_err_set(reterr, BR_E_PROTOCOL, "an error between blkrep and its helper is malformed");
    }
    *ret_error = error;
    return 0;
}
