// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/target.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/bytes.h"

#define DMH_METADATA_BLOCK_BYTES UINT64_C(4096) // of era and thin-pool (dm-era-target.c, dm-thin-metadata.h)
#define DMH_TABLE_BYTES_MAX      (UINT64_C(1) << 62)

static const char *const dmh_types[] = {
    [DMH_TARGET_LINEAR] = "linear",     [DMH_TARGET_ERA] = "era",
    [DMH_TARGET_SNAPSHOT] = "snapshot", [DMH_TARGET_SNAPSHOT_ORIGIN] = "snapshot-origin",
    [DMH_TARGET_ERROR] = "error",       [DMH_TARGET_ZERO] = "zero",
    [DMH_TARGET_THIN] = "thin",         [DMH_TARGET_THIN_POOL] = "thin-pool",
};

const char *dmh_target_type(uint32_t kind)
{
    return kind >= DMH_TARGET_LINEAR && kind <= DMH_TARGET_THIN ? dmh_types[kind] : NULL;
}

uint32_t dmh_target_kind_of(const char *type)
{
    for (uint32_t kind = DMH_TARGET_LINEAR; kind <= DMH_TARGET_THIN_POOL; kind++) {
        if (!strcmp(dmh_types[kind], type)) {
            return kind;
        }
    }
    return DMH_TARGET_OTHER;
}

// ---- tables to load --------------------------------------------------------------------------------------------------

// What a kind needs; everything else must be left out, so that a client that means something else is told.
static const struct dmh_needs {
    bool device, store, offset, grain, thin_id, persistent;
    bool store_may_lack;
} dmh_needs[] = {
    [DMH_TARGET_LINEAR] = {.device = true, .offset = true},
    [DMH_TARGET_ERA] = {.device = true, .store = true, .grain = true},
    [DMH_TARGET_SNAPSHOT] = {.device = true, .store = true, .grain = true, .persistent = true},
    [DMH_TARGET_SNAPSHOT_ORIGIN] = {.device = true},
    [DMH_TARGET_ERROR] = {0},
    [DMH_TARGET_ZERO] = {0},
    [DMH_TARGET_THIN] = {.device = true, .store = true, .store_may_lack = true, .thin_id = true},
};

static bool dmh_members_ok(const struct dmh_target *target)
{
    const struct dmh_needs *needs = &dmh_needs[target->kind];

    return (*target->device != 0) == needs->device &&
           (needs->store_may_lack || (*target->store != 0) == needs->store) &&
           (needs->offset || !target->offset_bytes) && (needs->grain || !target->grain_bytes) &&
           (needs->thin_id || !target->thin_id) && (needs->persistent || !target->persistent);
}

// Era blocks: a multiple of 32 KiB as the kernel requires (MIN_BLOCK_SIZE in dm-era-target.c); chunks: a power of two of at least a page,
// at most what dm-exception-store.c allows.
static bool dmh_grain_ok(const struct dmh_target *target)
{
    uint64_t grain = target->grain_bytes;

    switch (target->kind) {
    case DMH_TARGET_ERA: return grain && grain % (32 * BR_KIB) == 0 && grain <= BR_GIB;
    case DMH_TARGET_SNAPSHOT: return grain >= 4 * BR_KIB && grain <= 512 * BR_KIB && !(grain & (grain - 1));
    default: return true;
    }
}

int dmh_table_check(const struct dmh_table *table, struct br_err *reterr)
{
    uint64_t at = 0;

    for (uint32_t i = 0; i < table->target_count; i++) {
        const struct dmh_target *target = &table->targets[i];
        const char *type = dmh_target_type(target->kind);
        if (!type) {
            return br_err_set(reterr, BR_E_USAGE, "target %" PRIu32 " of the table is of no kind that can be loaded",
                              i);
        }
        if (target->start_bytes != at || !target->length_bytes || !br_add_u64(at, target->length_bytes, &at) ||
            at > DMH_TABLE_BYTES_MAX) {
            return br_err_set(reterr, BR_E_USAGE, "target %" PRIu32 " (%s) does not begin where the one before ends", i,
                              type);
        }
        if ((target->length_bytes | target->offset_bytes) % DMH_SECTOR_BYTES) {
            return br_err_set(reterr, BR_E_USAGE, "target %" PRIu32 " (%s) is not of whole sectors", i, type);
        }
        if (!dmh_members_ok(target)) {
            return br_err_set(reterr, BR_E_USAGE, "target %" PRIu32 " (%s) lacks something or has too much", i, type);
        }
        if (!dmh_grain_ok(target)) {
            return br_err_set(reterr, BR_E_USAGE, "target %" PRIu32 " (%s) can't have a grain of %" PRIu64 " bytes", i,
                              type, target->grain_bytes);
        }
    }
    return 0;
}

int dmh_target_params(const struct dmh_target *target, const char *device, const char *store, char *params,
                      size_t params_size, struct br_err *reterr)
{
    uint64_t grain_sectors = target->grain_bytes / DMH_SECTOR_BYTES;
    int len = 0;

    switch (target->kind) {
    case DMH_TARGET_LINEAR:
        len = snprintf(params, params_size, "%s %" PRIu64, device, target->offset_bytes / DMH_SECTOR_BYTES);
        break;
    case DMH_TARGET_ERA: len = snprintf(params, params_size, "%s %s %" PRIu64, store, device, grain_sectors); break;
    case DMH_TARGET_SNAPSHOT:
        len = snprintf(params, params_size, "%s %s %s %" PRIu64, device, store, target->persistent ? "PO" : "N",
                       grain_sectors);
        break;
    case DMH_TARGET_SNAPSHOT_ORIGIN: len = snprintf(params, params_size, "%s", device); break;
    case DMH_TARGET_THIN:
        len = snprintf(params, params_size, "%s %" PRIu64 "%s%s", device, target->thin_id, *store ? " " : "", store);
        break;
    default: params[0] = 0; break; // error, zero
    }
    if (len < 0 || (size_t)len >= params_size) {
        return br_err_set(reterr, BR_E_USAGE, "a %s target's parameters are too long", dmh_target_type(target->kind));
    }
    return 0;
}

// ---- what the kernel prints --------------------------------------------------------------------------------------------

// A reader of words: each call takes what it names, or fails for good.
struct dmh_words {
    const char *at;
    bool bad;
};

static void dmh_skip_blanks(struct dmh_words *words)
{
    words->at += strspn(words->at, " ");
}

static uint64_t dmh_take_number(struct dmh_words *words)
{
    uint64_t value = 0;

    if (*words->at < '0' || *words->at > '9') {
        words->bad = true;
    }
    while (!words->bad && *words->at >= '0' && *words->at <= '9') {
        words->bad = !br_mul_u64(value, 10, &value) || !br_add_u64(value, (uint64_t)(*words->at - '0'), &value);
        words->at++;
    }
    return value;
}

static void dmh_take_char(struct dmh_words *words, char c)
{
    if (words->bad || *words->at != c) {
        words->bad = true;
        return;
    }
    words->at++;
}

static uint64_t dmh_take_bytes(struct dmh_words *words, uint64_t unit_bytes)
{
    uint64_t value = dmh_take_number(words);

    if (!br_mul_u64(value, unit_bytes, &value)) {
        words->bad = true;
    }
    return value;
}

static void dmh_take_device(struct dmh_words *words, uint32_t *ret_major, uint32_t *ret_minor)
{
    dmh_skip_blanks(words);
    uint64_t major = dmh_take_number(words);
    dmh_take_char(words, ':');
    uint64_t minor = dmh_take_number(words);
    words->bad |= major > UINT32_MAX || minor > UINT32_MAX;
    *ret_major = (uint32_t)major;
    *ret_minor = (uint32_t)minor;
}

// Is the next word this one? Then it is taken.
static bool dmh_take_word(struct dmh_words *words, const char *word)
{
    size_t len = strlen(word);

    dmh_skip_blanks(words);
    if (words->bad || strncmp(words->at, word, len) != 0 || (words->at[len] && words->at[len] != ' ')) {
        return false;
    }
    words->at += len;
    return true;
}

static bool dmh_words_done(struct dmh_words *words)
{
    dmh_skip_blanks(words);
    return !words->bad && !*words->at;
}

static bool dmh_row_take(struct dmh_target_row *row, struct dmh_words *words)
{
    switch (row->kind) {
    case DMH_TARGET_LINEAR:
        dmh_take_device(words, &row->device_major, &row->device_minor);
        dmh_skip_blanks(words);
        row->offset_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
        return dmh_words_done(words);
    case DMH_TARGET_ERA:
        dmh_take_device(words, &row->store_major, &row->store_minor);
        dmh_take_device(words, &row->device_major, &row->device_minor);
        dmh_skip_blanks(words);
        row->grain_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
        return dmh_words_done(words);
    case DMH_TARGET_SNAPSHOT:
        dmh_take_device(words, &row->device_major, &row->device_minor);
        dmh_take_device(words, &row->store_major, &row->store_minor);
        row->persistent = dmh_take_word(words, "PO") || dmh_take_word(words, "P");
        words->bad |= !row->persistent && !dmh_take_word(words, "N");
        dmh_skip_blanks(words);
        row->grain_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
        return !words->bad; // optional features may follow
    case DMH_TARGET_SNAPSHOT_ORIGIN:
        dmh_take_device(words, &row->device_major, &row->device_minor);
        return dmh_words_done(words);
    case DMH_TARGET_THIN:
        dmh_take_device(words, &row->device_major, &row->device_minor);
        dmh_skip_blanks(words);
        row->thin_id = dmh_take_number(words);
        if (!dmh_words_done(words)) {
            dmh_take_device(words, &row->store_major, &row->store_minor);
        }
        return dmh_words_done(words);
    case DMH_TARGET_THIN_POOL:
        dmh_take_device(words, &row->store_major, &row->store_minor);
        dmh_take_device(words, &row->device_major, &row->device_minor);
        dmh_skip_blanks(words);
        row->grain_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
        return !words->bad; // low water mark and features follow
    case DMH_TARGET_ERROR:
    case DMH_TARGET_ZERO: return true;
    default: return false;
    }
}

void dmh_row_parse(const char *type, uint64_t start_sectors, uint64_t length_sectors, const char *params,
                   struct dmh_target_row *ret_row)
{
    struct dmh_words words = {.at = params};
    struct dmh_target_row row = {.kind = dmh_target_kind_of(type)};

    row.parsed = dmh_row_take(&row, &words);
    if (!row.parsed) {
        row = (struct dmh_target_row){.kind = row.kind};
    }
    snprintf(row.type, sizeof(row.type), "%s", type);
    row.start_bytes = start_sectors * DMH_SECTOR_BYTES;
    row.length_bytes = length_sectors * DMH_SECTOR_BYTES;
    if (row.kind != DMH_TARGET_OTHER) {
        snprintf(row.params, sizeof(row.params), "%s", params);
    }
    *ret_row = row;
}

// USED/TOTAL in blocks
static void dmh_take_share(struct dmh_words *words, uint64_t unit_bytes, uint64_t *ret_used, uint64_t *ret_total)
{
    dmh_skip_blanks(words);
    *ret_used = dmh_take_bytes(words, unit_bytes);
    dmh_take_char(words, '/');
    *ret_total = dmh_take_bytes(words, unit_bytes);
}

// The root of the held metadata snapshot, or "-".
static void dmh_take_root(struct dmh_words *words, struct dmh_target_status *status)
{
    if (dmh_take_word(words, "-")) {
        return;
    }
    status->has_metadata_snap = true;
    status->metadata_snap_block = dmh_take_number(words);
}

static bool dmh_snapshot_take(struct dmh_target_status *status, struct dmh_words *words)
{
    static const struct {
        const char *word;
        uint32_t state;
    } states[] = {{"Invalid", DMH_SNAPSHOT_INVALID},
                  {"Overflow", DMH_SNAPSHOT_OVERFLOW},
                  {"Merge failed", DMH_SNAPSHOT_MERGE_FAILED},
                  {"Unknown", DMH_SNAPSHOT_UNKNOWN}};

    for (size_t i = 0; i < BR_ARRAY_LEN(states); i++) {
        if (dmh_take_word(words, states[i].word)) {
            status->snapshot_state = states[i].state;
            status->failed = states[i].state != DMH_SNAPSHOT_UNKNOWN;
            return dmh_words_done(words);
        }
    }
    status->snapshot_state = DMH_SNAPSHOT_VALID;
    dmh_take_share(words, DMH_SECTOR_BYTES, &status->used_bytes, &status->total_bytes);
    dmh_skip_blanks(words);
    status->metadata_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
    return dmh_words_done(words);
}

static bool dmh_era_take(struct dmh_target_status *status, struct dmh_words *words)
{
    uint64_t block_bytes;

    dmh_skip_blanks(words);
    block_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
    dmh_take_share(words, block_bytes, &status->used_bytes, &status->total_bytes);
    dmh_skip_blanks(words);
    status->era = dmh_take_number(words);
    dmh_take_root(words, status);
    return dmh_words_done(words);
}

static bool dmh_thin_take(struct dmh_target_status *status, struct dmh_words *words)
{
    if (dmh_take_word(words, "-")) {
        return dmh_words_done(words);
    }
    dmh_skip_blanks(words);
    status->used_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
    if (!dmh_take_word(words, "-")) {
        status->total_bytes = dmh_take_bytes(words, DMH_SECTOR_BYTES);
    }
    return dmh_words_done(words);
}

// <transaction> <used>/<total metadata> <used>/<total data> <root> ro|rw|out_of_data_space features... needs_check|-
static bool dmh_pool_take(struct dmh_target_status *status, struct dmh_words *words)
{
    dmh_skip_blanks(words);
    status->transaction_id = dmh_take_number(words);
    dmh_take_share(words, DMH_METADATA_BLOCK_BYTES, &status->used_bytes, &status->total_bytes);
    dmh_take_share(words, 1, &status->data_used_blocks, &status->data_total_blocks);
    dmh_take_root(words, status);
    if (!dmh_take_word(words, "rw")) {
        status->read_only = dmh_take_word(words, "ro") || dmh_take_word(words, "out_of_data_space");
        words->bad |= !status->read_only;
    }
    for (int i = 0; i < 8 && !words->bad && !dmh_words_done(words); i++) {
        status->needs_check |= dmh_take_word(words, "needs_check");
        words->at += strcspn(words->at, " ");
    }
    return dmh_words_done(words);
}

static bool dmh_status_take(struct dmh_target_status *status, struct dmh_words *words)
{
    if (dmh_take_word(words, "Fail") || dmh_take_word(words, "Error")) {
        status->failed = true;
        return dmh_words_done(words);
    }
    switch (status->kind) {
    case DMH_TARGET_SNAPSHOT: return dmh_snapshot_take(status, words);
    case DMH_TARGET_ERA: return dmh_era_take(status, words);
    case DMH_TARGET_THIN: return dmh_thin_take(status, words);
    case DMH_TARGET_THIN_POOL: return dmh_pool_take(status, words);
    case DMH_TARGET_OTHER: return false;
    default: return dmh_words_done(words); // linear, origin, error and zero have no status
    }
}

void dmh_status_parse(const char *type, uint64_t start_sectors, uint64_t length_sectors, const char *params,
                      struct dmh_target_status *ret_status)
{
    struct dmh_words words = {.at = params};
    struct dmh_target_status status = {.kind = dmh_target_kind_of(type)};

    status.parsed = dmh_status_take(&status, &words);
    if (!status.parsed) {
        status = (struct dmh_target_status){.kind = status.kind};
    }
    snprintf(status.type, sizeof(status.type), "%s", type);
    snprintf(status.params, sizeof(status.params), "%s", params);
    status.start_bytes = start_sectors * DMH_SECTOR_BYTES;
    status.length_bytes = length_sectors * DMH_SECTOR_BYTES;
    *ret_status = status;
}
