// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/show.h"

#include <stdio.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "tools/volume/group.h"
#include "tools/volume/pass.h"
#include "tools/volume/stack.h"

#define SHOW_LINE_BYTES 512u

// Of one snapshot: how much of its store is used.
struct show_store {
    bool seen;
    bool valid;
    uint64_t used_bytes;
    uint64_t total_bytes;
};

// A consumer, by its newest mark.
struct show_consumer {
    const struct volume_mark *mark;
    const char *name; // of the replica, "" not known here
    bool counts;      // the mark is of this chain: its next run is incremental
};

struct show {
    struct cli *cli;
    struct volume *volume;
    const char *state; // active, suspended, failed, down, passed-through, next-boot, unfinished, unknown
    char trouble[512]; // why it is unknown, which device is suspended, or what failed
    struct show_store meta;
    struct show_store stores[VOLUME_SNAPSHOTS_MAX];
    struct show_consumer consumers[VOLUME_MARKS_MAX];
    uint32_t consumer_count;
    uint64_t now_unix_ns;
    uint64_t used_bytes; // of the place: metadata and what stores hold
    uint64_t full_ns; // at the rate of the held snapshots until the place is as full as it may become; 0 not in sight
};

const struct cli_field show_volume_fields[] = {
    {"volume", "text", "Its name."},
    {"path", "text|null", "What to mount and to use; null when its record can't be read."},
    {"device", "text|null", "The device that it is, by a path that stays."},
    {"wwid", "text|null", "What the device says of itself: a disk of the same path but another WWID is another disk."},
    {"size_bytes", "number", "Of the stack."},
    {"tracker", "text|null", "cow, era or thin."},
    {"state", "text",
     "active; suspended (trouble says which device); failed: dm-era's metadata did, writes end in errors and no run is made; "
     "down: known, and not built; passed-through: the plain device in this boot; next-boot: attached at the next boot, or its first attach was cut short; unknown: when it is the record that can't be read, numbers and lists are missing."},
    {"trouble", "text|null", "Why the state is not active."},
    {"tracking_since_unix", "number|null", "Since when every write went through the tracker, as far as can be known."},
    {"lost", "text|null", "Why tracking before that ended, see blkrep-boot(7); null when it never did."},
    {"lost_unix", "number|null", "When that was noticed."},
    {"area", "text", "The place for snapshots and metadata: a path, or vg:GROUP."},
    {"area_bytes", "number", "How large it is."},
    {"area_max_bytes", "number", "How large it may grow."},
    {"area_used_bytes", "number", "What is used of it."},
    {"area_full_seconds", "number|null", "When it is full at the rate of the held snapshots; null when none grows."},
    {"meta_bytes", "number", "Of that, the room for dm-era's metadata; 0 without it."},
    {"meta_used_bytes", "number|null", "Of that, used; null when it can't be asked."},
    {"snapshots", "list", "One for each snapshot."},
    {"snapshots[].number", "number", "Of the volume's snapshots."},
    {"snapshots[].name", "text|null", "Of a user's."},
    {"snapshots[].use", "text", "user, view (of a run that is under way) or mark (held for a consumer's next run)."},
    {"snapshots[].taken_unix", "number", "When it was taken."},
    {"snapshots[].store_used_bytes", "number|null", "Old data that it keeps; null when it can't be asked."},
    {"snapshots[].store_bytes", "number|null", "Room for it, which grows."},
    {"snapshots[].valid", "boolean|null", "False: its store overflowed or was written past, or it is not taken."},
    {"consumers", "list", "One for each replica or repository that has a mark."},
    {"consumers[].id", "text", "Its id."},
    {"consumers[].name", "text|null", "The replica, when this host synced to it; null for a stream."},
    {"consumers[].taken_unix", "number", "When the volume was as its newest version is."},
    {"consumers[].era", "number|null", "With tracker era: the era of its mark."},
    {"consumers[].snapshot", "number|null", "Else: the snapshot that is held for it."},
    {"consumers[].incremental", "boolean", "Its next run reads what changed; false: it compares everything."},
    {NULL, NULL, NULL},
};

// Gathering ---------------------------------------------------------------------------------------------------------------------------

static const char *show_name_of(const json_t *known, const struct br_uuid *consumer)
{
    char uuid[BR_UUID_TEXT_BYTES];
    const json_t *entry;
    size_t i;

    br_uuid_text(consumer, uuid);
    json_array_foreach(known, i, entry)
    {
        const char *id = json_string_value(json_object_get(entry, "replica_uuid"));
        const char *name = json_string_value(json_object_get(entry, "replica"));
        if (id && name && !strcmp(id, uuid)) {
            return name;
        }
    }
    return "";
}

static struct show_consumer *show_consumer_of(struct show *show, const struct br_uuid *consumer)
{
    for (uint32_t i = 0; i < show->consumer_count; i++) {
        if (br_uuid_equal(&show->consumers[i].mark->consumer, consumer)) {
            return &show->consumers[i];
        }
    }
    return NULL;
}

// Marks are in the order in which they were made.
static void show_find_consumers(struct show *show, const json_t *known)
{
    const struct volume_record *record = &show->volume->record;

    for (uint32_t i = record->mark_count; i; i--) {
        const struct volume_mark *mark = &record->marks[i - 1];
        if (!show_consumer_of(show, &mark->consumer)) {
            show->consumers[show->consumer_count++] = (struct show_consumer){
                .mark = mark,
                .name = show_name_of(known, &mark->consumer),
                .counts = br_uuid_equal(&mark->chain, &record->chain),
            };
        }
    }
}

static void show_take(const struct dmh_target_status *status, struct show_store *store)
{
    store->seen = true;
    store->valid = !status->failed && (!status->snapshot_state || status->snapshot_state == DMH_SNAPSHOT_VALID);
    store->used_bytes = status->used_bytes;
    store->total_bytes = status->total_bytes;
}

// The kernel does not come back from it by itself, even when the device is well again.
static void show_meta_failed(struct show *show)
{
    const struct volume_record *record = &show->volume->record;

    show->state = "failed";
    snprintf(
        show->trouble, sizeof(show->trouble),
        "dm-era's metadata, in %.200s, failed (dmesg tells) and writes to the volume end in errors: when that device is "
        "well, unmount the volume and run blkrep detach %.64s --keep and blkrep attach %.64s",
        record->area.path, record->name, record->name);
    for (uint32_t i = 0; i < show->consumer_count; i++) {
        show->consumers[i].counts = false;
    }
}

static void show_find_meta(struct show *show)
{
    struct dmh_query query = {.device = volume_ref(show->volume, "era")};
    struct dmh_status *status = calloc(1, sizeof(*status));
    struct br_err err;

    if (status && !dmh_status(show->volume->helper, &query, status, &err) && status->target_count &&
        status->targets[0].parsed) {
        show_take(&status->targets[0], &show->meta);
    }
    free(status);
    if (show->meta.seen && !show->meta.valid && !strcmp(show->state, "active")) {
        show_meta_failed(show);
    }
}

// What can't be asked stays unseen.
static void show_find_stores(struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    struct dmh_target_status status;
    struct br_err err;

    if (record->tracker == VOLUME_ERA) {
        show_find_meta(show);
    }
    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        memset(&status, 0, sizeof(status));
        if (!stack_snapshot_status(show->volume, record->snapshots[i].number, &status, &err)) {
            show_take(&status, &show->stores[i]);
            show->stores[i].valid = show->stores[i].valid && record->snapshots[i].taken_unix_ns &&
                                    group_is_whole(show->volume, &record->snapshots[i]);
        }
    }
}

// Of the volume's devices the first that is suspended; a run's window makes that true for a moment.
static int show_find_suspended(struct show *show, struct br_err *reterr)
{
    struct dmh_list list = {0};
    struct dmh_listed *listed = calloc(1, sizeof(*listed));

    if (!listed) {
        return br_err_set(reterr, BR_E_NOMEM, "the devices of a volume");
    }
    snprintf(list.volume, sizeof(list.volume), "%s", show->volume->record.name);
    int error = dmh_list(show->volume->helper, &list, listed, reterr);
    for (uint32_t i = 0; !error && i < listed->device_count; i++) {
        if (listed->devices[i].suspended && listed->devices[i].live_table) {
            show->state = "suspended";
            snprintf(show->trouble, sizeof(show->trouble), "/dev/mapper/%s is suspended: writes to it wait",
                     listed->devices[i].name);
            break;
        }
    }
    free(listed);
    return error;
}

static int show_find_state(struct show *show, struct br_err *reterr)
{
    const struct volume_record *record = &show->volume->record;
    struct dmh_ref top = volume_ref(show->volume, record->retabled ? "real" : volume_top(record));
    struct dmh_info info = {0};

    if (record->pending) {
        show->state = "next-boot";
        snprintf(show->trouble, sizeof(show->trouble),
                 "no stack stood yet: the next boot builds it, or blkrep attach %s when nothing uses the device",
                 record->name);
        return 0;
    }
    int error = dmh_info(show->volume->helper, &top, &info, reterr);
    if (error && error != -BR_E_NOT_FOUND) {
        return error;
    }
    int up = error || !info.live_table ? 0 : stack_is_up(show->volume, reterr);
    if (up < 0) {
        return up;
    }
    if (!up) {
        show->state = "down";
        snprintf(show->trouble, sizeof(show->trouble), "nothing tracks %.180s now: run blkrep attach %.64s",
                 record->device, record->name);
        return 0;
    }
    show->state = "active";
    return show_find_suspended(show, reterr);
}

// Held stores grow as they grew so far; a store that has only just been made says nothing yet.
static void show_forecast(struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    double per_ns = 0;

    show->used_bytes = record->meta.len_bytes;
    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        const struct volume_snapshot *snapshot = &record->snapshots[i];
        uint64_t age_ns = show->now_unix_ns > snapshot->taken_unix_ns ? show->now_unix_ns - snapshot->taken_unix_ns : 0;
        show->used_bytes += show->stores[i].used_bytes;
        if (snapshot->taken_unix_ns && age_ns >= BR_NS_PER_S && show->stores[i].valid) {
            per_ns += (double)show->stores[i].used_bytes / (double)age_ns;
        }
    }
    uint64_t most = BR_MAX(record->area.max_bytes, record->area.bytes);
    double full_ns = per_ns > 0 && most > show->used_bytes ? (double)(most - show->used_bytes) / per_ns : 0;
    show->full_ns = full_ns < 1e18 ? (uint64_t)full_ns : 0;
}

static void show_gather(struct show *show, const json_t *known)
{
    struct br_err err = {0};

    show->state = "unknown";
    show->now_unix_ns = volume_now_unix_ns();
    show_find_consumers(show, known);
    if (pass_is_on(&show->volume->record)) {
        show->state = "passed-through";
        snprintf(show->trouble, sizeof(show->trouble),
                 "the plain device has its name in this boot, and nothing tracks it");
    } else if ((!show->volume->helper && dmh_client_open(NULL, &show->volume->helper, &err)) ||
               show_find_state(show, &err)) {
        show->state = "unknown";
        snprintf(show->trouble, sizeof(show->trouble), "%s: %.200s", br_err_message(err.code), err.text);
    } else {
        show_find_stores(show);
    }
    show_forecast(show);
}

// JSON --------------------------------------------------------------------------------------------------------------------------------

static json_t *show_unix(uint64_t unix_ns)
{
    return unix_ns ? json_integer((json_int_t)(unix_ns / BR_NS_PER_S)) : json_null();
}

static json_t *show_bytes_or_null(bool known, uint64_t bytes)
{
    return known ? json_integer((json_int_t)bytes) : json_null();
}

static json_t *show_json_snapshots(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    json_t *list = json_array();

    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        const struct volume_snapshot *snapshot = &record->snapshots[i];
        const struct show_store *store = &show->stores[i];
        json_t *item = json_object();
        json_object_set_new(item, "number", json_integer((json_int_t)snapshot->number));
        json_object_set_new(item, "name", snapshot->name[0] ? json_string(snapshot->name) : json_null());
        json_object_set_new(item, "use", json_string(volume_use_name(snapshot->use)));
        json_object_set_new(item, "taken_unix", show_unix(snapshot->taken_unix_ns));
        json_object_set_new(item, "store_used_bytes", show_bytes_or_null(store->seen, store->used_bytes));
        json_object_set_new(item, "store_bytes", show_bytes_or_null(store->seen, store->total_bytes));
        json_object_set_new(item, "valid", store->seen ? json_boolean(store->valid) : json_null());
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *show_json_consumers(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    json_t *list = json_array();

    for (uint32_t i = 0; i < show->consumer_count; i++) {
        const struct show_consumer *consumer = &show->consumers[i];
        char id[BR_UUID_TEXT_BYTES];
        bool era = record->tracker == VOLUME_ERA;
        json_t *item = json_object();
        br_uuid_text(&consumer->mark->consumer, id);
        json_object_set_new(item, "id", json_string(id));
        json_object_set_new(item, "name", consumer->name[0] ? cli_json_text(consumer->name) : json_null());
        json_object_set_new(item, "taken_unix", show_unix(consumer->mark->taken_unix_ns));
        json_object_set_new(item, "era", show_bytes_or_null(era, consumer->mark->era));
        json_object_set_new(item, "snapshot", show_bytes_or_null(!era, consumer->mark->snapshot));
        json_object_set_new(item, "incremental", json_boolean(consumer->counts));
        json_array_append_new(list, item);
    }
    return list;
}

static void show_area_text(const struct volume_record *record, char *text, size_t size)
{
    snprintf(text, size, "%s%s", record->area.kind == VOLUME_AREA_VG ? "vg:" : "", record->area.path);
}

static json_t *show_json(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    json_t *item = json_object();
    char path[VOLUME_WHERE_MAX + 16];
    char area[VOLUME_WHERE_MAX + 16];

    volume_top_path(record, path, sizeof(path));
    show_area_text(record, area, sizeof(area));
    json_object_set_new(item, "type", json_string("volume"));
    json_object_set_new(item, "volume", json_string(record->name));
    json_object_set_new(item, "path", cli_json_text(path));
    json_object_set_new(item, "device", cli_json_text(record->device));
    json_object_set_new(item, "wwid", cli_json_text(record->wwid));
    json_object_set_new(item, "size_bytes", json_integer((json_int_t)record->size_bytes));
    json_object_set_new(item, "tracker", json_string(volume_tracker_name(record->tracker)));
    json_object_set_new(item, "state", json_string(show->state));
    json_object_set_new(item, "trouble", show->trouble[0] ? cli_json_text(show->trouble) : json_null());
    json_object_set_new(item, "tracking_since_unix", show_unix(record->chain_unix_ns));
    json_object_set_new(item, "lost", record->lost[0] ? json_string(record->lost) : json_null());
    json_object_set_new(item, "lost_unix", show_unix(record->lost_unix_ns));
    json_object_set_new(item, "area", cli_json_text(area));
    json_object_set_new(item, "area_bytes", json_integer((json_int_t)record->area.bytes));
    json_object_set_new(item, "area_max_bytes", json_integer((json_int_t)record->area.max_bytes));
    json_object_set_new(item, "area_used_bytes", json_integer((json_int_t)show->used_bytes));
    json_object_set_new(item, "area_full_seconds", show_bytes_or_null(show->full_ns != 0, show->full_ns / BR_NS_PER_S));
    json_object_set_new(item, "meta_bytes", json_integer((json_int_t)record->meta.len_bytes));
    json_object_set_new(item, "meta_used_bytes",
                        show_bytes_or_null(show->meta.seen && show->meta.valid, show->meta.used_bytes));
    json_object_set_new(item, "snapshots", show_json_snapshots(show));
    json_object_set_new(item, "consumers", show_json_consumers(show));
    return item;
}

static json_t *show_json_unreadable(const char *name, const char *trouble)
{
    json_t *item = json_object();

    json_object_set_new(item, "type", json_string("volume"));
    json_object_set_new(item, "volume", json_string(name));
    json_object_set_new(item, "path", json_null());
    json_object_set_new(item, "device", json_null());
    json_object_set_new(item, "wwid", json_null());
    json_object_set_new(item, "tracker", json_null());
    json_object_set_new(item, "state", json_string("unknown"));
    json_object_set_new(item, "trouble", cli_json_text(trouble));
    return item;
}

// For people --------------------------------------------------------------------------------------------------------------------------

static void show_ago(const struct show *show, uint64_t unix_ns, char *text, size_t size)
{
    if (unix_ns && show->now_unix_ns > unix_ns) {
        br_duration_text(show->now_unix_ns - unix_ns, text, size);
    } else {
        snprintf(text, size, "%s", unix_ns ? "0 s" : "unknown");
    }
}

static void show_line(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    uint64_t most = BR_MAX(record->area.max_bytes, record->area.bytes);
    char path[VOLUME_WHERE_MAX + 16];
    char since[32];
    char place[32];
    uint32_t late = 0;

    for (uint32_t i = 0; i < show->consumer_count; i++) {
        late += !show->consumers[i].counts;
    }
    volume_top_path(record, path, sizeof(path));
    show_ago(show, record->chain_unix_ns, since, sizeof(since));
    snprintf(place, sizeof(place), "%llu %%", (unsigned long long)(most ? show->used_bytes * 100 / most : 0));
    cli_print(show->cli, "%-40s %-14s %10s %12s %12s  %u%s", path, show->state, volume_tracker_name(record->tracker),
              since, place, show->consumer_count, late ? ", not all incremental" : "");
}

static void show_block_place(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    char area[VOLUME_WHERE_MAX + 16];
    char used[32], have[32], most[32];

    show_area_text(record, area, sizeof(area));
    cli_bytes(show->cli, show->used_bytes, used, sizeof(used));
    cli_bytes(show->cli, record->area.bytes, have, sizeof(have));
    cli_bytes(show->cli, BR_MAX(record->area.max_bytes, record->area.bytes), most, sizeof(most));
    if (volume_is_lvm(record)) {
        cli_print(show->cli, "place              %s: the snapshots are LVM's own there, %s used", area, used);
    } else {
        cli_print(show->cli, "place              %s: %s used of %s, may have %s", area, used, have, most);
    }
    if (show->meta.seen && !show->meta.valid) {
        cli_print(show->cli, "metadata           failed");
    } else if (show->meta.seen) {
        cli_bytes(show->cli, show->meta.used_bytes, used, sizeof(used));
        cli_bytes(show->cli, show->meta.total_bytes, have, sizeof(have));
        cli_print(show->cli, "metadata           %s used of %s", used, have);
    }
    if (show->full_ns) {
        br_duration_text(show->full_ns, used, sizeof(used));
        cli_print(show->cli, "forecast           full in %s, at the rate of the snapshots that are held", used);
    }
}

static void show_block_snapshots(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    char taken[40], used[32], total[32];

    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        const struct volume_snapshot *snapshot = &record->snapshots[i];
        const struct show_store *store = &show->stores[i];
        br_time_text(snapshot->taken_unix_ns, taken, sizeof(taken));
        cli_bytes(show->cli, store->used_bytes, used, sizeof(used));
        cli_bytes(show->cli, store->total_bytes, total, sizeof(total));
        cli_print(show->cli, "snapshot %-9u %s%s%s, taken %s, %s%s%s%s", snapshot->number,
                  volume_use_name(snapshot->use), snapshot->name[0] ? " " : "", snapshot->name, taken,
                  store->seen ? used : "its store can't be asked", store->seen ? " of " : "", store->seen ? total : "",
                  store->seen && !store->valid ? ", lost" : "");
    }
}

static void show_block_consumers(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    char id[BR_UUID_TEXT_BYTES], ago[32], name[SHOW_LINE_BYTES], at[48];

    if (!show->consumer_count) {
        cli_print(show->cli, "consumers          none yet");
    }
    for (uint32_t i = 0; i < show->consumer_count; i++) {
        const struct show_consumer *consumer = &show->consumers[i];
        br_uuid_text(&consumer->mark->consumer, id);
        br_quote(consumer->name[0] ? consumer->name : id, name, sizeof(name));
        show_ago(show, consumer->mark->taken_unix_ns, ago, sizeof(ago));
        if (record->tracker == VOLUME_ERA) {
            snprintf(at, sizeof(at), "era %llu", (unsigned long long)consumer->mark->era);
        } else {
            snprintf(at, sizeof(at), "snapshot %u", consumer->mark->snapshot);
        }
        cli_print(show->cli, "consumer           %s: %s old, mark at %s, next run %s", name, ago, at,
                  consumer->counts ? "incremental" : "compares everything");
    }
}

static void show_block(const struct show *show)
{
    const struct volume_record *record = &show->volume->record;
    char path[VOLUME_WHERE_MAX + 16];
    char text[48], stamp[48];

    volume_top_path(record, path, sizeof(path));
    cli_print(show->cli, "volume             %s, at %s", record->name, path);
    cli_print(show->cli, "device             %s, wwid %s", record->device, record->wwid);
    cli_bytes(show->cli, record->size_bytes, text, sizeof(text));
    cli_print(show->cli, "size               %s", text);
    cli_bytes(show->cli, record->era_block_bytes, text, sizeof(text));
    cli_print(show->cli, "tracker            %s%s%s", volume_tracker_name(record->tracker),
              record->tracker == VOLUME_ERA ? ", blocks of " : "", record->tracker == VOLUME_ERA ? text : "");
    cli_print(show->cli, "stack              %s%s%s", show->state, show->trouble[0] ? ": " : "", show->trouble);
    br_time_text(record->chain_unix_ns, stamp, sizeof(stamp));
    show_ago(show, record->chain_unix_ns, text, sizeof(text));
    cli_print(show->cli, "continuity         proven since %s, %s%s", record->chain_unix_ns ? stamp : "a time not known",
              text,
              !strcmp(show->state, "active") || !strcmp(show->state, "failed")
                  ? ""
                  : "; what is written while no stack stands is judged by the next attach");
    if (record->lost[0]) {
        br_time_text(record->lost_unix_ns, stamp, sizeof(stamp));
        cli_print(show->cli, "before             lost: %s, noticed %s (blkrep-boot(7))", record->lost, stamp);
    }
    show_block_place(show);
    show_block_snapshots(show);
    show_block_consumers(show);
}

// All of it ---------------------------------------------------------------------------------------------------------------------------

// Without a helper, so that a record can be shown where there is none; a member of group blkrep sees it through the helper alone.
static int show_open(struct cli *cli, const char *name, struct volume *volume, struct br_err *reterr)
{
    int error = volume_open_record(cli, name, false, volume, reterr);

    if (error != -BR_E_NOT_FOUND || !geteuid()) {
        return error;
    }
    volume_close(volume);
    return volume_open(cli, name, false, volume, reterr);
}

static void show_one(struct cli *cli, const char *name, bool block, const json_t *known, char *ret_path)
{
    struct show *show = calloc(1, sizeof(*show));
    struct volume *volume = calloc(1, sizeof(*volume));
    struct br_err err = {.code = BR_E_NOMEM, .text = "out of memory"};

    if (volume) {
        volume->dir_fd = volume->lock_fd = -1;
    }
    if (show && volume && !show_open(cli, name, volume, &err)) {
        *show = (struct show){.cli = cli, .volume = volume};
        show_gather(show, known);
        (block ? show_block : show_line)(show);
        cli_event(cli, show_json(show));
        if (ret_path) {
            volume_top_path(&volume->record, ret_path, VOLUME_WHERE_MAX + 16);
        }
    } else {
        cli_print(cli, "%-40s %-14s %s", name, "unknown", err.text);
        cli_event(cli, show_json_unreadable(name, err.text));
    }
    if (volume) {
        volume_close(volume);
    }
    free(volume);
    free(show);
}

int show_volumes(struct cli *cli, const char *word, const json_t *known, char *ret_path, struct br_err *reterr)
{
    char name[VOLUME_NAME_MAX];
    json_t *names;
    const json_t *each;
    size_t i;

    if (word) {
        int found = volume_find(cli, word, name, reterr);
        if (found > 0) {
            show_one(cli, name, true, known, ret_path);
        }
        return found;
    }
    int error = volume_list(cli, &names, reterr);
    if (error) {
        return error;
    }
    int count = (int)json_array_size(names);
    if (count) {
        cli_print(cli, "%-40s %-14s %10s %12s %12s  %s", "VOLUME", "STACK", "TRACKER", "PROVEN", "PLACE", "CONSUMERS");
    }
    json_array_foreach(names, i, each)
    {
        show_one(cli, json_string_value(each), false, known, NULL);
    }
    if (count) {
        cli_print(cli, "%s", "");
    }
    json_decref(names);
    return count;
}
