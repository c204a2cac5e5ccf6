// SPDX-License-Identifier: Apache-2.0
//
// One table for each object says which members are kept and how, for both ways.
#include "tools/volume/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "engine/codec/delta.h"

#define RECORD_SCHEMA "blkrep.stack/1"

enum record_kind {
    RECORD_END,
    RECORD_TEXT,   // char[]
    RECORD_U64,    // up to `limit`, 0: INT64_MAX
    RECORD_U32,    // likewise
    RECORD_BOOL,   //
    RECORD_UUID,   // struct br_uuid
    RECORD_CHOICE, // an enum that starts with 1; `limit` is its last
    RECORD_U8,     // up to `limit`
    RECORD_I64,    //
    RECORD_OBJECT, // `inner`
    RECORD_LIST,   // of `inner`; `limit` elements at most; its uint32_t count is at `count_at`
};

struct record_member {
    enum record_kind kind;
    bool later; // a record of before it was kept has none: zeros
    const char *name;
    size_t at;
    uint64_t limit; // of a text its size
    const struct record_member *inner;
    size_t inner_size;
    size_t count_at;
};

#define AT(type, member) offsetof(struct type, member)
#define SIZED(kind, type, member, limit, later)                   \
    {                                                             \
        kind, later, #member, AT(type, member), limit, NULL, 0, 0 \
    }
#define TEXT(type, member)                SIZED(RECORD_TEXT, type, member, sizeof(((struct type *)0)->member), false)
#define TEXT_LATER(type, member)          SIZED(RECORD_TEXT, type, member, sizeof(((struct type *)0)->member), true)
#define NUMBER(kind, type, member, limit) SIZED(kind, type, member, limit, false)
#define LATER(kind, type, member)         SIZED(kind, type, member, 0, true)

static const struct record_member piece_members[] = {
    NUMBER(RECORD_U64, volume_piece, offset_bytes, 0),
    NUMBER(RECORD_U64, volume_piece, len_bytes, 0),
    {.kind = RECORD_END},
};

static const struct record_member area_members[] = {
    NUMBER(RECORD_CHOICE, volume_area, kind, VOLUME_AREA_VG),
    TEXT(volume_area, path),
    NUMBER(RECORD_U64, volume_area, bytes, 0),
    NUMBER(RECORD_U64, volume_area, max_bytes, 0),
    {.kind = RECORD_END},
};

static const struct record_member snapshot_members[] = {
    NUMBER(RECORD_U32, volume_snapshot, number, UINT32_MAX),
    NUMBER(RECORD_CHOICE, volume_snapshot, use, VOLUME_USER),
    TEXT(volume_snapshot, name),
    NUMBER(RECORD_U64, volume_snapshot, taken_unix_ns, 0),
    NUMBER(RECORD_U64, volume_snapshot, era, 0),
    NUMBER(RECORD_U8, volume_snapshot, consistency, BR_CONSISTENCY_CLEAN),
    NUMBER(RECORD_I64, volume_snapshot, owner_pid, 0),
    NUMBER(RECORD_U64, volume_snapshot, owner_start, 0),
    NUMBER(RECORD_BOOL, volume_snapshot, grown, 0),
    NUMBER(RECORD_BOOL, volume_snapshot, gone, 0),
    NUMBER(RECORD_U64, volume_snapshot, used_seen_bytes, 0),
    TEXT(volume_snapshot, lv_uuid),
    NUMBER(RECORD_U64, volume_snapshot, thin_id, 0),
    NUMBER(RECORD_U64, volume_snapshot, store_bytes, 0),
    LATER(RECORD_UUID, volume_snapshot, group),
    TEXT_LATER(volume_snapshot, leader),
    {RECORD_LIST, false, "pieces", AT(volume_snapshot, pieces), VOLUME_PIECES_MAX, piece_members,
     sizeof(struct volume_piece), AT(volume_snapshot, piece_count)},
    {.kind = RECORD_END},
};

static const struct record_member mark_members[] = {
    NUMBER(RECORD_UUID, volume_mark, consumer, 0),
    NUMBER(RECORD_UUID, volume_mark, version, 0),
    NUMBER(RECORD_UUID, volume_mark, chain, 0),
    NUMBER(RECORD_U64, volume_mark, era, 0),
    NUMBER(RECORD_U32, volume_mark, snapshot, UINT32_MAX),
    NUMBER(RECORD_U64, volume_mark, taken_unix_ns, 0),
    {.kind = RECORD_END},
};

static const struct record_member volume_members[] = {
    TEXT(volume_record, name),
    NUMBER(RECORD_UUID, volume_record, volume, 0),
    TEXT(volume_record, device),
    TEXT(volume_record, wwid),
    NUMBER(RECORD_U64, volume_record, size_bytes, 0),
    NUMBER(RECORD_CHOICE, volume_record, tracker, VOLUME_LVM_COW),
    NUMBER(RECORD_BOOL, volume_record, retabled, 0),
    {RECORD_OBJECT, false, "area", AT(volume_record, area), 0, area_members, 0, 0},
    {RECORD_OBJECT, false, "meta", AT(volume_record, meta), 0, piece_members, 0, 0},
    NUMBER(RECORD_U64, volume_record, era_block_bytes, 0),
    NUMBER(RECORD_UUID, volume_record, chain, 0),
    LATER(RECORD_U64, volume_record, chain_unix_ns),
    TEXT(volume_record, lost),
    NUMBER(RECORD_U64, volume_record, lost_unix_ns, 0),
    NUMBER(RECORD_BOOL, volume_record, pending, 0),
    NUMBER(RECORD_BOOL, volume_record, up, 0),
    NUMBER(RECORD_BOOL, volume_record, clean, 0),
    TEXT(volume_record, boot_id),
    NUMBER(RECORD_U64, volume_record, boot_unix_ns, 0),
    TEXT(volume_record, machine_id),
    NUMBER(RECORD_U64, volume_record, era_seen, 0),
    TEXT(volume_record, evidence),
    TEXT(volume_record, superblock),
    NUMBER(RECORD_U32, volume_record, next_number, UINT32_MAX),
    {RECORD_LIST, false, "snapshots", AT(volume_record, snapshots), VOLUME_SNAPSHOTS_MAX, snapshot_members,
     sizeof(struct volume_snapshot), AT(volume_record, snapshot_count)},
    {RECORD_LIST, false, "marks", AT(volume_record, marks), VOLUME_MARKS_MAX, mark_members, sizeof(struct volume_mark),
     AT(volume_record, mark_count)},
    {.kind = RECORD_END},
};

// Encoding ----------------------------------------------------------------------------------------------------------------------------

static json_t *record_encode(const struct record_member *members, const char *base);

static json_t *record_encode_list(const struct record_member *member, const char *base)
{
    uint32_t count;
    json_t *list = json_array();

    memcpy(&count, base + member->count_at, sizeof(count));
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(list, record_encode(member->inner, base + member->at + i * member->inner_size));
    }
    return list;
}

static uint64_t record_number(const struct record_member *member, const char *at)
{
    uint64_t u64 = 0;
    uint32_t u32 = 0;

    switch (member->kind) {
    case RECORD_U64: memcpy(&u64, at, sizeof(u64)); return u64;
    case RECORD_U8: return *(const uint8_t *)at;
    default: memcpy(&u32, at, sizeof(u32)); return u32;
    }
}

static json_t *record_encode_member(const struct record_member *member, const char *base)
{
    const char *at = base + member->at;
    char text[BR_UUID_TEXT_BYTES];
    int64_t i64;

    switch (member->kind) {
    case RECORD_TEXT: return json_string(at);
    case RECORD_BOOL: return json_boolean(*(const bool *)at);
    case RECORD_UUID: br_uuid_text((const struct br_uuid *)at, text); return json_string(text);
    case RECORD_OBJECT: return record_encode(member->inner, at);
    case RECORD_LIST: return record_encode_list(member, base);
    case RECORD_I64: memcpy(&i64, at, sizeof(i64)); return json_integer(i64);
    default: return json_integer((json_int_t)record_number(member, at));
    }
}

static json_t *record_encode(const struct record_member *members, const char *base)
{
    json_t *object = json_object();

    for (const struct record_member *member = members; member->kind != RECORD_END; member++) {
        json_object_set_new(object, member->name, record_encode_member(member, base));
    }
    return object;
}

static void record_sum(json_t *object, char sum[33])
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    XXH128_hash_t hash = XXH3_128bits(text ? text : "", text ? strlen(text) : 0);

    snprintf(sum, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
    free(text);
}

char *volume_record_encode(const struct volume_record *record)
{
    json_t *object = record_encode(volume_members, (const char *)record);
    char sum[33];

    json_object_set_new(object, "schema", json_string(RECORD_SCHEMA));
    record_sum(object, sum);
    json_object_set_new(object, "sum", json_string(sum));
    char *text = json_dumps(object, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(object);
    return text;
}

// Decoding ----------------------------------------------------------------------------------------------------------------------------

static bool record_decode(const struct record_member *members, const json_t *object, char *base, const char **ret_bad);

static bool record_decode_list(const struct record_member *member, const json_t *list, char *base, const char **ret_bad)
{
    size_t count = json_array_size(list);
    uint32_t stored = (uint32_t)count;

    if (!json_is_array(list) || count > member->limit) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!record_decode(member->inner, json_array_get(list, i), base + member->at + i * member->inner_size,
                           ret_bad)) {
            return false;
        }
    }
    memcpy(base + member->count_at, &stored, sizeof(stored));
    return true;
}

static bool record_decode_number(const struct record_member *member, const json_t *value, char *at)
{
    json_int_t number = json_integer_value(value);
    uint64_t limit = member->limit ? member->limit : INT64_MAX;
    uint32_t u32 = (uint32_t)number;
    uint64_t u64 = (uint64_t)number;
    int64_t i64 = number;

    if (!json_is_integer(value)) {
        return false;
    }
    if (member->kind == RECORD_I64) {
        memcpy(at, &i64, sizeof(i64));
        return true;
    }
    if (number < 0 || u64 > limit || (member->kind == RECORD_CHOICE && !number)) {
        return false;
    }
    if (member->kind == RECORD_U64) {
        memcpy(at, &u64, sizeof(u64));
    } else if (member->kind == RECORD_U8) {
        *(uint8_t *)at = (uint8_t)number;
    } else {
        memcpy(at, &u32, sizeof(u32));
    }
    return true;
}

static bool record_decode_member(const struct record_member *member, const json_t *value, char *base,
                                 const char **ret_bad)
{
    char *at = base + member->at;
    const char *text = json_string_value(value);

    switch (member->kind) {
    case RECORD_TEXT:
        if (!text || json_string_length(value) >= member->limit || strlen(text) != json_string_length(value)) {
            return false;
        }
        memcpy(at, text, json_string_length(value) + 1);
        return true;
    case RECORD_BOOL: *(bool *)at = json_is_true(value); return json_is_boolean(value);
    case RECORD_UUID: return text && br_uuid_parse(text, (struct br_uuid *)at);
    case RECORD_OBJECT: return record_decode(member->inner, value, at, ret_bad);
    case RECORD_LIST: return record_decode_list(member, value, base, ret_bad);
    default: return record_decode_number(member, value, at);
    }
}

static bool record_decode(const struct record_member *members, const json_t *object, char *base, const char **ret_bad)
{
    for (const struct record_member *member = members; member->kind != RECORD_END; member++) {
        const json_t *value = json_object_get(object, member->name);
        if (!value && member->later) {
            continue;
        }
        if (!record_decode_member(member, value, base, ret_bad)) {
            *ret_bad = *ret_bad ? *ret_bad : member->name;
            return false;
        }
    }
    return true;
}

// What the members can't say one by one: pieces inside the area, none twice, numbers once.
static const char *record_check(struct volume_record *record)
{
    uint64_t used = 0;

    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        const struct volume_snapshot *snapshot = &record->snapshots[i];
        if (!snapshot->number || volume_record_snapshot(record, snapshot->number, NULL) != snapshot) {
            return "snapshots: number";
        }
        for (uint32_t j = 0; j < snapshot->piece_count; j++) {
            const struct volume_piece *piece = &snapshot->pieces[j];
            if (piece->offset_bytes % VOLUME_UNIT_BYTES || piece->len_bytes % VOLUME_UNIT_BYTES ||
                piece->offset_bytes > record->area.bytes ||
                piece->len_bytes > record->area.bytes - piece->offset_bytes) {
                return "snapshots: pieces";
            }
            used += piece->len_bytes;
        }
    }
    if (record->meta.offset_bytes % VOLUME_UNIT_BYTES || record->meta.len_bytes % VOLUME_UNIT_BYTES ||
        record->meta.offset_bytes > record->area.bytes ||
        record->meta.len_bytes > record->area.bytes - record->meta.offset_bytes) {
        return "meta";
    }
    // Free and used add up to the area only when no byte has two owners.
    return volume_record_free_bytes(record) + used + record->meta.len_bytes ==
                   br_align_down(record->area.bytes, VOLUME_UNIT_BYTES)
               ? NULL
               : "pieces overlap";
}

static int record_decode_object(json_t *object, struct volume_record *record, struct br_err *reterr)
{
    const char *schema = json_string_value(json_object_get(object, "schema"));
    const char *given = json_string_value(json_object_get(object, "sum"));
    const char *bad = NULL;
    char wanted[33] = "";
    char sum[33];

    if (schema && strcmp(schema, RECORD_SCHEMA) != 0) {
        return br_err_set(reterr, BR_E_VERSION, "the stack's record says %.40s", schema);
    }
    snprintf(wanted, sizeof(wanted), "%s", given ? given : "");
    json_object_del(object, "sum");
    record_sum(object, sum);
    if (!schema || strcmp(wanted, sum) != 0) {
        return br_err_set(reterr, BR_E_CORRUPT, "the stack's record is damaged");
    }
    *record = (struct volume_record){0};
    if (!record_decode(volume_members, object, (char *)record, &bad)) {
        return br_err_set(reterr, BR_E_CORRUPT, "the stack's record: %s", bad);
    }
    bad = record_check(record);
    return bad ? br_err_set(reterr, BR_E_CORRUPT, "the stack's record: %s", bad) : 0;
}

int volume_record_decode(const char *text, size_t len, struct volume_record *ret_record, struct br_err *reterr)
{
    json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct volume_record *record = malloc(sizeof(*record));
    int error;

    if (!record) {
        error = br_err_set(reterr, BR_E_NOMEM, "the stack's record");
    } else if (!json_is_object(object)) {
        error = br_err_set(reterr, BR_E_CORRUPT, "the stack's record is damaged");
    } else {
        error = record_decode_object(object, record, reterr);
    }
    if (!error) {
        *ret_record = *record;
    }
    free(record);
    json_decref(object);
    return error;
}

// Snapshots and marks -----------------------------------------------------------------------------------------------------------------

const char *volume_tracker_name(enum volume_tracker tracker)
{
    static const char *const names[] = {
        [VOLUME_COW] = "cow", [VOLUME_ERA] = "era", [VOLUME_THIN] = "thin", [VOLUME_LVM_COW] = "cow"};

    return names[tracker];
}

const char *volume_use_name(enum volume_use use)
{
    static const char *const names[] = {[VOLUME_VIEW] = "view", [VOLUME_MARK] = "mark", [VOLUME_USER] = "user"};

    return names[use];
}

struct volume_snapshot *volume_record_snapshot(struct volume_record *record, uint32_t number, const char *name)
{
    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        struct volume_snapshot *snapshot = &record->snapshots[i];
        if (number ? snapshot->number == number
                   : snapshot->use == VOLUME_USER && name && !strcmp(snapshot->name, name)) {
            return snapshot;
        }
    }
    return NULL;
}

void volume_record_drop_snapshot(struct volume_record *record, uint32_t number)
{
    struct volume_snapshot *snapshot = volume_record_snapshot(record, number, NULL);

    if (snapshot) {
        size_t behind = (size_t)(&record->snapshots[record->snapshot_count] - (snapshot + 1));
        memmove(snapshot, snapshot + 1, behind * sizeof(*snapshot));
        record->snapshot_count--;
    }
}

const struct volume_mark *volume_record_find_mark(const struct volume_record *record, const struct br_uuid *version)
{
    for (uint32_t i = record->mark_count; i; i--) {
        if (br_uuid_equal(&record->marks[i - 1].version, version)) {
            return &record->marks[i - 1];
        }
    }
    return NULL;
}

static void record_drop_mark(struct volume_record *record, uint32_t at)
{
    memmove(&record->marks[at], &record->marks[at + 1], (record->mark_count - at - 1) * sizeof(record->marks[0]));
    record->mark_count--;
}

void volume_record_mark(struct volume_record *record, const struct volume_mark *mark)
{
    uint32_t victim = 0;

    for (uint32_t i = 0; i < record->mark_count; i++) {
        if (br_uuid_equal(&record->marks[i].consumer, &mark->consumer) &&
            br_uuid_equal(&record->marks[i].version, &mark->version)) {
            record_drop_mark(record, i);
            break;
        }
    }
    if (record->mark_count == VOLUME_MARKS_MAX) {
        for (uint32_t i = record->mark_count; i; i--) {
            victim = br_uuid_equal(&record->marks[i - 1].chain, &record->chain) ? victim : i - 1;
        }
        record_drop_mark(record, victim);
    }
    record->marks[record->mark_count++] = *mark;
}

void volume_record_settle(struct volume_record *record, const struct br_uuid *consumer, const struct br_uuid *version)
{
    for (uint32_t i = record->mark_count; i; i--) {
        const struct volume_mark *mark = &record->marks[i - 1];
        if (br_uuid_equal(&mark->consumer, consumer) && !br_uuid_equal(&mark->version, version)) {
            record_drop_mark(record, i - 1);
        }
    }
}

const struct volume_snapshot *volume_record_oldest_mark(struct volume_record *record, uint32_t number)
{
    const struct volume_snapshot *needy = number ? volume_record_snapshot(record, number, NULL) : NULL;
    const struct volume_snapshot *oldest = NULL;

    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        const struct volume_snapshot *snapshot = &record->snapshots[i];
        bool younger = needy && needy->use == VOLUME_MARK && snapshot->number >= number;
        if (snapshot->use == VOLUME_MARK && !younger && (!oldest || snapshot->number < oldest->number)) {
            oldest = snapshot;
        }
    }
    return oldest;
}

bool volume_record_needed(const struct volume_record *record, uint32_t number)
{
    for (uint32_t i = 0; i < record->mark_count; i++) {
        if (record->marks[i].snapshot == number && br_uuid_equal(&record->marks[i].chain, &record->chain)) {
            return true;
        }
    }
    return false;
}

void volume_record_break(struct volume_record *record, const struct br_uuid *chain, const char *why,
                         uint64_t now_unix_ns)
{
    record->chain = *chain;
    record->chain_unix_ns = now_unix_ns;
    snprintf(record->lost, sizeof(record->lost), "%s", why);
    record->lost_unix_ns = now_unix_ns;
}

// The area ----------------------------------------------------------------------------------------------------------------------------

// Where somebody's next byte at or after @at is, and where that piece ends.
struct record_used {
    uint64_t at;
    uint64_t first;
    uint64_t end;
};

static void record_look(struct record_used *used, const struct volume_piece *pieces, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = pieces[i].offset_bytes + pieces[i].len_bytes;
        if (pieces[i].len_bytes && end > used->at && pieces[i].offset_bytes < used->first) {
            used->first = BR_MAX(pieces[i].offset_bytes, used->at);
            used->end = end;
        }
    }
}

// Sets *ret_end behind the piece; first and end are the area's end when nobody has anything behind @at.
static uint64_t record_next_used(const struct volume_record *record, const struct volume_piece *own, uint32_t own_count,
                                 uint64_t at, uint64_t *ret_end)
{
    uint64_t area_end = br_align_down(record->area.bytes, VOLUME_UNIT_BYTES);
    struct record_used used = {.at = at, .first = area_end, .end = area_end};

    record_look(&used, &record->meta, 1);
    record_look(&used, own, own_count);
    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        record_look(&used, record->snapshots[i].pieces, record->snapshots[i].piece_count);
    }
    *ret_end = used.end;
    return used.first;
}

int volume_record_give(const struct volume_record *record, uint64_t len_bytes, struct volume_piece *pieces,
                       uint32_t *count, struct br_err *reterr)
{
    struct volume_piece given[VOLUME_PIECES_MAX];
    uint64_t area_end = br_align_down(record->area.bytes, VOLUME_UNIT_BYTES);
    uint64_t left = br_align_up(len_bytes, VOLUME_UNIT_BYTES);
    uint64_t at = 0;
    uint32_t used = *count;

    memcpy(given, pieces, used * sizeof(*pieces));
    while (left && at < area_end) {
        uint64_t end;
        uint64_t stop = record_next_used(record, given, used, at, &end);
        if (stop > at) {
            uint64_t len = BR_MIN(stop - at, left);
            struct volume_piece *last = used ? &given[used - 1] : NULL;
            if (last && last->offset_bytes + last->len_bytes == at) {
                last->len_bytes += len;
            } else if (used == VOLUME_PIECES_MAX) {
                break;
            } else {
                given[used++] = (struct volume_piece){at, len};
            }
            left -= len;
            end = at + len;
        }
        at = end;
    }
    if (left) {
        return br_err_set(reterr, BR_E_NO_SPACE, "the snapshot area of %s", record->name);
    }
    memcpy(pieces, given, used * sizeof(*pieces));
    *count = used;
    return 0;
}

uint64_t volume_record_free_bytes(const struct volume_record *record)
{
    uint64_t area_end = br_align_down(record->area.bytes, VOLUME_UNIT_BYTES);
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < area_end;) {
        uint64_t end;
        uint64_t stop = record_next_used(record, NULL, 0, at, &end);
        bytes += stop - at;
        at = BR_MAX(end, stop);
    }
    return bytes;
}
