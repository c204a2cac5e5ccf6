// SPDX-License-Identifier: Apache-2.0
//
// blkrep status: one line per attached volume (tools/volume/show.h), and per source and replica that this host has synced; a block of lines for
// one that is named. What is shown of a local replica is read from the replica now; of a remote one it is what the last run saw.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/replica/replica.h"
#include "tools/audit.h"
#include "tools/conf.h"
#include "tools/known.h"
#include "tools/place.h"
#include "tools/replica_verb.h"
#include "tools/volume/show.h"

#define STATUS_GAPS_MAX 4 // ranges that fit a screen

static const struct cli_option status_options[] = {
    {"audit", CLI_FLAG, NULL, "Also check that no line of the audit trail was changed or removed."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB. Default 24; status needs none of them."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example status_examples[] = {
    {"blkrep status", "All volumes that are attached and all that this host syncs, one line each."},
    {"blkrep status /backup/disk.img", "One replica in full."},
    {NULL, NULL},
};

// What is shown of one pair.
struct status_row {
    const char *source;
    const char *replica;
    char state[32];
    uint64_t generation;
    int64_t version_taken_unix; // 0 not known
    int64_t current_unix;       // begin of the last run that found or made it current, 0 not known
    int64_t full_proof_unix;
    int64_t last_run_unix;
    int64_t every_seconds;
    int last_status;
    const char *last_error;
    const char *last_error_text;
    char consistency[16];
    char root[2 * BR_HASH_BYTES + 1];
    uint64_t size_bytes;
    uint64_t state_bytes;
    uint64_t held_bytes; // of an unfinished delta
    uint64_t free_bytes;
    uint64_t unreadable_blocks;
    json_t *gaps;               // where they are; NULL not known
    char label[BR_LABEL_BYTES]; // the source as its host named it
    bool local;
    bool served; // the configuration offers it to clients
    bool free_known;
};

static int64_t status_integer(const json_t *entry, const char *key)
{
    return json_integer_value(json_object_get(entry, key));
}

static const char *status_string(const json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));

    return text ? text : "";
}

static void status_from_known(const json_t *entry, struct status_row *row)
{
    *row = (struct status_row){
        .source = status_string(entry, "source"),
        .replica = status_string(entry, "replica"),
        .generation = (uint64_t)status_integer(entry, "generation"),
        .version_taken_unix = status_integer(entry, "version_taken_unix"),
        .current_unix = status_integer(entry, "current_unix"),
        .full_proof_unix = status_integer(entry, "full_proof_unix"),
        .unreadable_blocks = (uint64_t)status_integer(entry, "unreadable_blocks"),
        .last_run_unix = status_integer(entry, "last_run_unix"),
        .every_seconds = status_integer(entry, "every_seconds"),
        .last_status = (int)status_integer(entry, "last_status"),
        .last_error = status_string(entry, "last_error"),
        .last_error_text = status_string(entry, "last_error_text"),
        .size_bytes = (uint64_t)status_integer(entry, "size_bytes"),
    };
    snprintf(row->state, sizeof(row->state), "%s", row->generation ? "complete" : "never complete");
    snprintf(row->consistency, sizeof(row->consistency), "%.15s", status_string(entry, "consistency"));
    snprintf(row->root, sizeof(row->root), "%.64s", status_string(entry, "root"));
    row->local = row->replica[0] == '/';
}

static uint64_t status_folder_bytes(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    struct stat st;
    uint64_t bytes = 0;

    while (dir && (entry = readdir(dir))) {
        if (!fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode)) {
            bytes += (uint64_t)st.st_blocks * 512;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return bytes;
}

static void status_from_identity(const struct br_identity *identity, struct status_row *row)
{
    snprintf(row->state, sizeof(row->state), "%s", br_replica_state_name(identity->state));
    row->generation = identity->state == BR_STATE_APPLYING ? identity->previous.counter : identity->generation.counter;
    row->version_taken_unix = (int64_t)(identity->taken_unix_ns / BR_NS_PER_S);
    row->full_proof_unix = (int64_t)(identity->full_proof_unix_ns / BR_NS_PER_S);
    row->size_bytes = identity->tree.geometry.size_bytes;
    row->unreadable_blocks = identity->unreadable_blocks;
    snprintf(row->label, sizeof(row->label), "%s", identity->label);
    snprintf(row->consistency, sizeof(row->consistency), "%s", br_consistency_name(identity->consistency));
    if (identity->state == BR_STATE_COMPLETE) {
        br_hash_text(&identity->root, row->root);
    }
}

// Looks at a local replica without locking it: a run may be under way.
static int status_look(struct cli *cli, struct br_ring *ring, struct status_row *row, struct br_err *reterr)
{
    struct place place;
    struct br_replica *replica = NULL;
    int error = place_open(cli, ring, row->replica, PLACE_LOOK, &place, reterr);

    if (error) {
        return error;
    }
    if (!place.exists) {
        place_close(&place, false);
        return br_err_set(reterr, BR_E_NOT_FOUND, row->last_run_unix ? "%s is gone" : "%s is not there yet",
                          row->replica);
    }
    struct br_replica_params params = {.ring = ring, .dir = place.dir, .what = place.path, .read_only = true};
    error = br_replica_open(&params, &replica, reterr);
    if (!error) {
        status_from_identity(br_replica_identity(replica), row);
        row->held_bytes = br_replica_held_bytes(replica);
        row->gaps = row->unreadable_blocks ? replica_verb_gaps(replica, reterr) : NULL;
        row->free_known = !br_dir_space(place.dir, &row->free_bytes, NULL);
        row->state_bytes = status_folder_bytes(place.side);
    }
    br_replica_close(replica);
    place_close(&place, false);
    return error;
}

static json_t *status_row_json(const struct status_row *row, const char *trouble, int64_t now)
{
    json_t *item = json_object();

    json_object_set_new(item, "type", json_string("replica"));
    json_object_set_new(item, "source", row->source[0] ? cli_json_text(row->source) : json_null());
    json_object_set_new(item, "replica", cli_json_text(row->replica));
    json_object_set_new(item, "state", json_string(row->state));
    json_object_set_new(item, "trouble", cli_json_text(trouble));
    json_object_set_new(item, "generation", json_integer((json_int_t)row->generation));
    json_object_set_new(item, "root", row->root[0] ? json_string(row->root) : json_null());
    json_object_set_new(item, "consistency", row->consistency[0] ? json_string(row->consistency) : json_null());
    json_object_set_new(item, "size_bytes", json_integer((json_int_t)row->size_bytes));
    json_object_set_new(item, "version_taken_unix",
                        row->version_taken_unix ? json_integer(row->version_taken_unix) : json_null());
    json_object_set_new(item, "age_seconds",
                        row->version_taken_unix ? json_integer(now - row->version_taken_unix) : json_null());
    json_object_set_new(item, "lag_seconds",
                        row->current_unix ? json_integer(BR_MAX(now - row->current_unix, (int64_t)0)) : json_null());
    json_object_set_new(item, "every_seconds", json_integer(row->every_seconds));
    json_object_set_new(item, "last_run_unix", json_integer(row->last_run_unix));
    json_object_set_new(item, "last_status", json_integer(row->last_status));
    json_object_set_new(item, "last_error", row->last_status ? cli_json_text(row->last_error) : json_null());
    json_object_set_new(item, "last_error_text", row->last_status ? cli_json_text(row->last_error_text) : json_null());
    json_object_set_new(item, "full_proof_unix",
                        row->full_proof_unix ? json_integer(row->full_proof_unix) : json_null());
    json_object_set_new(item, "unreadable_blocks", json_integer((json_int_t)row->unreadable_blocks));
    json_object_set_new(item, "gaps", row->gaps ? json_incref(row->gaps) : json_null());
    json_object_set_new(item, "label", row->label[0] ? cli_json_text(row->label) : json_null());
    json_object_set_new(item, "served", json_boolean(row->served));
    json_object_set_new(item, "state_bytes", row->local ? json_integer((json_int_t)row->state_bytes) : json_null());
    json_object_set_new(item, "held_bytes", row->local ? json_integer((json_int_t)row->held_bytes) : json_null());
    json_object_set_new(item, "free_bytes", row->free_known ? json_integer((json_int_t)row->free_bytes) : json_null());
    return item;
}

static void status_age(int64_t unix_seconds, int64_t now, char *text, size_t text_size)
{
    if (!unix_seconds) {
        snprintf(text, text_size, "never");
    } else if (unix_seconds > now) {
        snprintf(text, text_size, "in the future");
    } else if (unix_seconds == now) {
        snprintf(text, text_size, "under 1 s");
    } else {
        br_duration_text((uint64_t)(now - unix_seconds) * BR_NS_PER_S, text, text_size);
    }
}

// How far behind its source it may be, which is another thing than its age: what did not change is not behind.
static void status_lag(const struct status_row *row, int64_t now, char *text, size_t text_size)
{
    if (row->current_unix) {
        status_age(row->current_unix, now, text, text_size);
    } else {
        snprintf(text, text_size, "%s", row->source[0] ? "unknown" : "-");
    }
}

static void status_line(struct cli *cli, const struct status_row *row, const char *trouble, int64_t now)
{
    char replica[128];
    char source[128];
    char age[32];
    char lag[32];
    char gaps[48] = "";
    char proof[32];

    br_quote(row->replica, replica, sizeof(replica));
    status_age(row->version_taken_unix, now, age, sizeof(age));
    status_age(row->full_proof_unix, now, proof, sizeof(proof));
    status_lag(row, now, lag, sizeof(lag));
    br_quote(row->source[0] ? row->source : row->label, source, sizeof(source));
    if (row->unreadable_blocks) {
        snprintf(gaps, sizeof(gaps), "; gaps: %llu blocks", (unsigned long long)row->unreadable_blocks);
    }
    cli_print(cli, "%-40s %-14s %10llu %12s %12s %12s  %s, from %s%s%s%s", replica, trouble ? "unknown" : row->state,
              (unsigned long long)row->generation, age, lag, proof,
              !row->source[0]    ? "served"
              : row->last_status ? row->last_error
                                 : "ok",
              source, gaps, trouble ? "; " : "", trouble ? trouble : "");
}

static void status_gaps(struct cli *cli, const struct status_row *row)
{
    const json_t *gap;
    size_t index;

    if (!row->unreadable_blocks) {
        cli_print(cli, "gaps               none");
        return;
    }
    cli_print(cli, "gaps               %llu blocks that the source could not read%s",
              (unsigned long long)row->unreadable_blocks, row->gaps ? "" : "; its server's `blkrep verify` names them");
    json_array_foreach(row->gaps, index, gap)
    {
        if (index == STATUS_GAPS_MAX) {
            cli_print(cli, "                   and more: see --json");
            break;
        }
        cli_print(cli, "                   bytes %lld-%lld", (long long)status_integer(gap, "offset_bytes"),
                  (long long)(status_integer(gap, "offset_bytes") + status_integer(gap, "len_bytes") - 1));
    }
}

static void status_block(struct cli *cli, const struct status_row *row, const char *trouble, int64_t now)
{
    char text[64];
    char stamp[40];
    char name[PATH_MAX];

    br_quote(row->replica, name, sizeof(name));
    cli_print(cli, "replica            %s", name);
    br_quote(row->source[0] ? row->source : row->label, name, sizeof(name));
    cli_print(cli, "source             %s%s", name, row->source[0] ? "" : " (as its host named it)");
    cli_print(cli, "state              %s%s%s", trouble ? "unknown: " : row->state, trouble ? trouble : "",
              !strcmp(row->state, "applying") || !strcmp(row->state, "replacing") ? " (run blkrep finish)" : "");
    br_time_text((uint64_t)row->version_taken_unix * BR_NS_PER_S, stamp, sizeof(stamp));
    cli_print(cli, "last good version  generation %llu%s%s, consistency %s", (unsigned long long)row->generation,
              row->version_taken_unix ? ", taken " : "", row->version_taken_unix ? stamp : "",
              row->consistency[0] ? row->consistency : "unknown");
    status_age(row->version_taken_unix, now, text, sizeof(text));
    cli_print(cli, "age                %s", text);
    status_lag(row, now, text, sizeof(text));
    if (row->current_unix) {
        cli_print(cli, "lag                %s%s", text,
                  row->every_seconds ? " since it was current (kept so by sync --every)" : " since it was current");
    } else {
        cli_print(cli, "lag                known only to the host that syncs it");
    }
    status_gaps(cli, row);
    status_age(row->full_proof_unix, now, text, sizeof(text));
    cli_print(cli, "last full proof    %s%s", text, row->full_proof_unix ? " ago" : "");
    status_age(row->last_run_unix, now, text, sizeof(text));
    if (!row->last_run_unix) {
        cli_print(cli, "last run           none from this host");
    } else {
        cli_print(cli, "last run           %s ago: %s%s%s", text, row->last_status ? row->last_error : "ok",
                  row->last_status ? ": " : "", row->last_status ? row->last_error_text : "");
    }
    cli_bytes(cli, row->size_bytes, text, sizeof(text));
    cli_print(cli, "size               %s", text);
    if (row->local) {
        cli_bytes(cli, row->state_bytes, text, sizeof(text));
        cli_print(cli, "state on disk      %s", text);
    }
    if (row->held_bytes) {
        cli_bytes(cli, row->held_bytes, text, sizeof(text));
        cli_print(cli, "unfinished delta   %s have come and are kept for the next run", text);
    }
    if (row->free_known) {
        cli_bytes(cli, row->free_bytes, text, sizeof(text));
        cli_print(cli, "space left         %s", text);
    }
    if (row->root[0]) {
        cli_print(cli, "root               %s", row->root);
    }
}

static bool status_names(const struct status_row *row, const char *real, const char *word)
{
    return !strcmp(row->replica, word) || !strcmp(row->source, word) || !strcmp(row->replica, real) ||
           !strcmp(row->source, real);
}

struct status_list {
    struct cli *cli;
    struct br_ring *ring;
    const char *word; // NULL: all
    char real[PLACE_NAME_BYTES];
    const struct conf *conf;
    json_t *seen; // keys: real paths of the replicas shown
    int shown;
    int volumes; // attached ones that were shown before
};

// Does this host's configuration offer it to clients?
static bool status_served(const struct status_list *list, const char *path)
{
    const char *name = NULL;
    const char *directory = conf_get(list->conf, "serve", "", "directory");
    char real[PATH_MAX];

    while ((name = conf_next_name(list->conf, "replica", name))) {
        const char *own = conf_get(list->conf, "replica", name, "path");
        if (own && (!strcmp(own, path) || (realpath(own, real) && !strcmp(real, path)))) {
            return true;
        }
    }
    size_t len = directory && realpath(directory, real) ? strlen(real) : 0;
    return len && !strncmp(path, real, len) && path[len] == '/' && !strchr(path + len + 1, '/');
}

static void status_show(struct status_list *list, struct status_row *row)
{
    struct br_err trouble = {0};
    int64_t now = time(NULL);
    row->served = row->local && conf_has(list->conf, "serve", "") && status_served(list, row->replica);
    bool failed = row->local && status_look(list->cli, list->ring, row, &trouble);
    const char *text = failed ? (trouble.text[0] ? trouble.text : br_err_message(trouble.code)) : NULL;

    if (!list->word && !list->shown) {
        cli_print(list->cli, "%-40s %-14s %10s %12s %12s %12s  %s", "REPLICA", "STATE", "GENERATION", "AGE", "LAG",
                  "FULL PROOF", "LAST RUN");
    }
    if (list->word) {
        status_block(list->cli, row, text, now);
    } else {
        status_line(list->cli, row, text, now);
    }
    cli_event(list->cli, status_row_json(row, text, now));
    json_decref(row->gaps);
    row->gaps = NULL;
    if (row->local) {
        json_object_set_new(list->seen, row->replica, json_true());
    }
    list->shown++;
}

// A configured name or a path, as the records name it; what it names may be gone.
static int status_resolve(struct status_list *list, struct br_err *reterr)
{
    static const char *const sections[] = {"replica", "volume"};
    const struct conf *conf = list->conf;
    int error = 0;

    for (size_t i = 0; !error && i < BR_ARRAY_LEN(sections); i++) {
        error = place_name(list->cli, list->word, sections[i], list->real, reterr);
        bool configured = !strchr(list->word, '/') && conf_has(conf, sections[i], list->word);
        if (!error && (configured || list->real[0] != '/' || !access(list->real, F_OK))) {
            return 0;
        }
    }
    return error;
}

// A replica that this host never synced to itself (made by receive or serve), named by its path.
static int status_unlisted(struct status_list *list, struct br_err *reterr)
{
    struct status_row row = {.source = "", .replica = list->real, .local = true};

    if (list->real[0] != '/' || access(list->real, F_OK)) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "nothing is known here of %s", list->word);
    }
    int error = status_look(list->cli, list->ring, &row, reterr);
    json_decref(row.gaps);
    row.gaps = NULL;
    if (!error && !strcmp(row.state, br_replica_state_name(BR_STATE_NONE))) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "%s is not a replica that this host knows", list->word);
    }
    if (!error) {
        status_show(list, &row);
    }
    return error;
}

// A replica that clients bring to later versions, unless it was shown already; @name is how the configuration names it.
static void status_show_served(struct status_list *list, const char *path)
{
    char real[PATH_MAX];
    struct status_row row = {.source = "", .replica = real, .last_error = "", .last_error_text = "", .local = true};

    if (!realpath(path, real)) {
        snprintf(real, sizeof(real), "%s", path); // configured, and not made yet
    }
    snprintf(row.state, sizeof(row.state), "%s", br_replica_state_name(BR_STATE_NONE));
    if (!json_object_get(list->seen, real)) {
        status_show(list, &row);
    }
}

static void status_all_served(struct status_list *list)
{
    const char *directory = conf_get(list->conf, "serve", "", "directory");
    const char *name = NULL;
    char path[PATH_MAX];

    while ((name = conf_next_name(list->conf, "replica", name))) {
        const char *own = conf_get(list->conf, "replica", name, "path");
        if (own) {
            status_show_served(list, own);
        }
    }
    DIR *dir = directory ? opendir(directory) : NULL;
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);
        if (len > 7 && !strcmp(entry->d_name + len - 7, ".blkrep") &&
            snprintf(path, sizeof(path), "%s/%.*s", directory, (int)len - 7, entry->d_name) < (int)sizeof(path)) {
            status_show_served(list, path);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static int status_all(struct status_list *list, const json_t *known, struct br_err *reterr)
{
    size_t index;
    json_t *entry;

    json_array_foreach(known, index, entry)
    {
        struct status_row row;
        status_from_known(entry, &row);
        if (!list->word || status_names(&row, list->real, list->word)) {
            status_show(list, &row);
        }
    }
    if (list->word && !list->shown && !list->volumes) {
        return status_unlisted(list, reterr);
    }
    if (!list->word) {
        status_all_served(list);
    }
    if (!list->shown && !list->volumes) {
        cli_print(list->cli, "nothing has been synced from here yet");
    }
    return 0;
}

static int status_audit(struct cli *cli, struct br_err *reterr)
{
    int64_t lines = audit_check(cli, reterr);

    if (lines < 0) {
        return (int)lines;
    }
    cli_report_number(cli, "audit_lines", (uint64_t)lines);
    cli_print(cli, "audit trail: %lld lines, unbroken", (long long)lines);
    return 0;
}

static int status_run(struct cli *cli, struct br_err *reterr)
{
    struct status_list list = {.cli = cli, .word = cli->arg_count ? cli->args[0] : NULL};
    json_t *known = NULL;
    int error = place_ring(cli, &list.ring, reterr);

    list.seen = json_object();
    error = error ? error : conf_of(cli, &list.conf, reterr);
    if (!error && list.word) {
        error = status_resolve(&list, reterr);
    }
    if (!error) {
        error = known_list(cli, &known, reterr);
    }
    if (!error) {
        list.volumes = show_volumes(cli, list.word, known, list.real, reterr);
        error = list.volumes < 0 ? list.volumes : 0;
    }
    if (!error) {
        error = status_all(&list, known, reterr);
    }
    if (!error && cli_flag(cli, "audit")) {
        error = status_audit(cli, reterr);
    }
    json_decref(known);
    json_decref(list.seen);
    br_ring_close(list.ring);
    return error;
}

static const struct cli_field status_fields[] = {
    {"audit_lines", "number", "With --audit: lines of the audit trail, all of them unbroken."},
    {NULL, NULL, NULL},
};

static const struct cli_field status_replica_fields[] = {
    {"source", "text|null", "Its source, when this host syncs it; null of one that clients bring here."},
    {"replica", "text", "Its path or address."},
    {"state", "text",
     "none, incomplete, complete, applying or replacing; what is said of a remote one is what the last run left."},
    {"trouble", "text|null", "Why its state can't be read."},
    {"generation", "number", "Of its last good version."},
    {"root", "text|null", "The hash that names the content."},
    {"consistency", "text|null", "none, crash or clean."},
    {"size_bytes", "number", "Of the volume."},
    {"version_taken_unix", "number|null", "When the source was as the version is."},
    {"age_seconds", "number|null", "How long ago that is."},
    {"lag_seconds", "number|null",
     "How long ago the replica was last seen or made current, by a run from here: so much of the source it may lack. Null of one that "
     "clients bring to later versions."},
    {"every_seconds", "number", "As it is kept current by sync --every; 0 when it is not."},
    {"last_run_unix", "number", "When the last run to it ended; 0 when there was none from here."},
    {"last_status", "number", "The exit status of that run."},
    {"last_error", "text|null", "The name of its error, see blkrep-errors(7); null when it went well."},
    {"last_error_text", "text|null", "What failed, on what, for people."},
    {"full_proof_unix", "number|null", "When all of it was last proven."},
    {"unreadable_blocks", "number", "Of that version, blocks that the source could not read."},
    {"gaps", "list|null",
     "Where these are, the first 64 ranges, as objects of offset_bytes and len_bytes; null when there are none, or the replica is remote."},
    {"label", "text|null", "Its source as that host named it; of a replica on this host."},
    {"served", "boolean", "The configuration offers it to clients."},
    {"state_bytes", "number|null", "How much room its state takes on this host."},
    {"held_bytes", "number|null", "Of that, what has come of a delta that was cut, for the next run."},
    {"free_bytes", "number|null", "How much is left where it lies."},
    {NULL, NULL, NULL},
};

static const struct cli_line status_lines[] = {
    {"volume", "One for each attached volume.", show_volume_fields},
    {"replica", "One for each replica.", status_replica_fields},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_status = {
    .name = "status",
    .args = "[NAME]",
    .args_min = 0,
    .args_max = 1,
    .summary = "Show attached volumes, and replicas: last good version, lag, last full proof.",
    .description =
        "Without NAME one line for each attached volume: its stack, since when every write is proven to have gone through its tracker, how "
        "full its place is. With its name all that is known of it: the tracker, why tracking was lost before, the place for snapshots and "
        "when it will be full, each consumer with its mark, the device by its WWID.\n\n"
        "Then, without NAME, one line for each source and replica that this host has synced, and for each replica that it serves (a "
        "[replica] with a path, or made by a client in the server's directory); with the name or path of a replica or a source all that is "
        "known of it: the last good version and its age, lag (how long ago the replica was last current: an old version of what did not "
        "change has none), the last full proof (when every block was last read and compared), gaps (what the source could not read), the "
        "size of blkrep's state on disk, what has come of a delta that was cut and is kept for the next run, and the space left there.\n\n"
        "What is shown of a replica on this host is read from it now; of a remote one it is what the last run saw. A replica "
        "between two versions says so.",
    .options = status_options,
    .examples = status_examples,
    .see_also = "blkrep-sync(1), blkrep-verify(1), blkrep-attach(1), blkrep-boot(7)",
    .schema = "blkrep.status/1",
    .fields = status_fields,
    .lines = status_lines,
    .run = status_run,
};
