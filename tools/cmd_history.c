// SPDX-License-Identifier: Apache-2.0
//
// blkrep history: the catalog of runs, from the notes in a repository and the files that runs of this host left (tools/run_log.h).
#include <inttypes.h>
#include <stdio.h>

#include "engine/repo/history.h"
#include "tools/run_log.h"

static const struct cli_option history_options[] = {
    {"volume", CLI_TEXT, "VOLUME",
     "Only runs of this volume: its source's path or the last part of it, or the first digits of its uuid."},
    {"since", CLI_TEXT, "WHEN",
     "Only runs that began at this time or later: 2026-11-24, 2026-11-24 03:05, in local time, or with a final Z in UTC."},
    {"failed", CLI_FLAG, NULL, "Only runs that failed, or died."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example history_examples[] = {
    {"blkrep history /backup/repo", "Every run with this repository, oldest first."},
    {"blkrep history --failed --since 2026-11-24",
     "What went wrong on this host since then, with whatever repository."},
    {NULL, NULL},
};

static const struct cli_field history_fields[] = {
    {"repository", "text|null", "Its path; null of all that this host knows."},
    {"runs", "number", "How many were printed."},
    {"damaged", "number", "Notes in the repository that don't open."},
    {NULL, NULL, NULL},
};

static const struct cli_field history_run_fields[] = {
    {"run", "text", "Its id."},
    {"verb", "text", "backup, restore, verify, copy, receive, ..."},
    {"outcome", "text",
     "done, failed, died (it was killed, or its host was), running, or open: it began on another host, and nobody has told how it ended."},
    {"stage", "text|null", "Where it is, was at its end, or died."},
    {"status", "number|null", "Its exit status; null of one that has not ended by itself."},
    {"errorname", "text|null", "What failed, by the names of blkrep-errors(7)."},
    {"host", "text", "That it ran on."},
    {"with", "text", "The repository, as that host named it."},
    {"subject", "text", "What it was called with: a source, a repository and point."},
    {"source", "text|null", "Where its data came from: a backup's source, or what verify --repair mended from."},
    {"target", "text|null", "Where it wrote to, when that is not the repository: of a restore."},
    {"volume", "text|null", "Uuid of the volume, where it was about one."},
    {"point", "text|null", "Id of the point, where it was about one."},
    {"begun", "text", "When, UTC, by the clock of that host."},
    {"ended", "text|null", "When; null of one that has not ended by itself."},
    {"seconds", "number|null", "It took."},
    {"stages", "list", "Its stages, in their order."},
    {"stages[].stage", "text", "As progress names them."},
    {"stages[].seconds", "number", "After its begin."},
    {"figures", "object", "The numbers of its exit object."},
    {NULL, NULL, NULL},
};

static const struct cli_line history_lines[] = {
    {"run", "For each run.", history_run_fields},
    {NULL, NULL, NULL},
};

struct history_run {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    json_t *runs; // by id: the newest note of each
    uint64_t since_unix_ns;
    uint64_t count, damaged;
};

static const char *text_of(const json_t *note, const char *key)
{
    const char *text = json_string_value(json_object_get(note, key));

    return text ? text : "";
}

static uint64_t number_of(const json_t *note, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(note, key));
}

// Notes -------------------------------------------------------------------------------------------------------------------------------

static int take_note(void *ctx, const struct br_uuid *run, unsigned note, const char *text, int rc,
                     const struct br_err *err)
{
    struct history_run *history = ctx;
    char id[BR_UUID_TEXT_BYTES];
    json_t *entry = rc ? NULL : json_loads(text, 0, NULL);

    br_uuid_text(run, id);
    if (!json_is_object(entry)) {
        cli_warn(history->cli, "a note that can't be read: %s", rc ? err->text : id);
        history->damaged++;
        json_decref(entry);
        return 0;
    }
    if (note != BR_HISTORY_END) {
        json_object_set_new(entry, "outcome", json_string("open"));
    }
    json_object_set_new(history->runs, id, entry);
    return 0;
}

// What this host knows of a run goes before its first note, and not before its last.
static int take_local(void *ctx, const struct br_uuid *run, json_t *note)
{
    struct history_run *history = ctx;
    char id[BR_UUID_TEXT_BYTES];

    br_uuid_text(run, id);
    const json_t *known = json_object_get(history->runs, id);
    if (!known || !strcmp(text_of(known, "outcome"), "open")) {
        json_object_set_new(history->runs, id, note);
    } else {
        json_decref(note);
    }
    return 0;
}

static int history_load(struct history_run *run, const char *repo, struct br_err *reterr)
{
    if (!repo) {
        return run_log_list(run->cli, NULL, take_local, run, reterr);
    }
    int error = repository_open(run->cli, run->ring, repo, true, &run->repository, reterr);

    error = error ? error : br_history_list(run->repository.repo, take_note, run, reterr);
    return error
               ? error
               : run_log_list(run->cli, &br_repo_config_of(run->repository.repo)->repository, take_local, run, reterr);
}

// Printing ----------------------------------------------------------------------------------------------------------------------------

struct entry {
    const char *id;
    const json_t *note;
};

static int begun_order(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    uint64_t x = number_of(left->note, "begun_unix_ns"), y = number_of(right->note, "begun_unix_ns");

    return x != y ? (x < y ? -1 : 1) : strcmp(left->id, right->id);
}

static bool names_volume(const json_t *note, const char *text)
{
    static const char *const keys[] = {"source", "subject"};

    for (size_t i = 0; i < BR_ARRAY_LEN(keys); i++) {
        const char *name = text_of(note, keys[i]), *slash = strrchr(name, '/');

        if (!strcmp(name, text) || (slash && !strcmp(slash + 1, text))) {
            return true;
        }
    }
    return strlen(text) >= 4 && !strncmp(text_of(note, "volume"), text, strlen(text));
}

static bool wanted(const struct history_run *run, const json_t *note)
{
    const struct cli *cli = run->cli;
    const char *outcome = text_of(note, "outcome");

    return number_of(note, "begun_unix_ns") >= run->since_unix_ns &&
           (!cli_flag(cli, "failed") || !strcmp(outcome, "failed") || !strcmp(outcome, "died")) &&
           (!cli_text(cli, "volume") || names_volume(note, cli_text(cli, "volume")));
}

static json_t *text_json(const json_t *note, const char *key)
{
    return *text_of(note, key) ? cli_json_text(text_of(note, key)) : json_null();
}

static json_t *stages_json(const json_t *note)
{
    const json_t *stages = json_object_get(note, "stages"), *stage;
    uint64_t begun = number_of(note, "begun_unix_ns");
    json_t *list = json_array();
    size_t i;

    json_array_foreach(stages, i, stage)
    {
        uint64_t at = number_of(stage, "unix_ns");
        json_t *item = json_object();

        json_object_set_new(item, "stage", cli_json_text(text_of(stage, "stage")));
        json_object_set_new(item, "seconds", json_real((double)(at > begun ? at - begun : 0) / BR_NS_PER_S));
        json_array_append_new(list, item);
    }
    return list;
}

static void run_event(const struct cli *cli, const struct entry *entry)
{
    static const char *const keys[][2] = {{"verb", "verb"},     {"outcome", "outcome"}, {"stage", "stage"},
                                          {"host", "host"},     {"with", "repository"}, {"subject", "subject"},
                                          {"source", "source"}, {"target", "target"},   {"volume", "volume"},
                                          {"point", "point"},   {"errorname", "error"}};
    const json_t *note = entry->note, *status = json_object_get(note, "status"), *figures;
    uint64_t begun = number_of(note, "begun_unix_ns"), ended = number_of(note, "ended_unix_ns");
    json_t *event = json_object();
    char text[40];

    json_object_set_new(event, "type", json_string("run"));
    json_object_set_new(event, "run", json_string(entry->id));
    for (size_t i = 0; i < BR_ARRAY_LEN(keys); i++) {
        json_object_set_new(event, keys[i][0], text_json(note, keys[i][1]));
    }
    json_object_set_new(event, "status",
                        json_is_integer(status) ? json_integer(json_integer_value(status)) : json_null());
    br_time_text(begun, text, sizeof(text));
    json_object_set_new(event, "begun", json_string(text));
    br_time_text(ended, text, sizeof(text));
    json_object_set_new(event, "ended", ended ? json_string(text) : json_null());
    json_object_set_new(event, "seconds",
                        ended > begun ? json_real((double)(ended - begun) / BR_NS_PER_S) : json_null());
    json_object_set_new(event, "stages", stages_json(note));
    figures = json_object_get(note, "figures");
    json_object_set_new(event, "figures", figures ? json_deep_copy(figures) : json_object());
    cli_event(cli, event);
}

static void run_line(const struct cli *cli, const struct entry *entry)
{
    const json_t *note = entry->note;
    uint64_t begun = number_of(note, "begun_unix_ns"), ended = number_of(note, "ended_unix_ns");
    struct br_uuid id;
    char when[40], took[32] = "", host[100], subject[BR_LABEL_BYTES], source[BR_LABEL_BYTES] = "",
                   target[BR_LABEL_BYTES] = "", outcome[32], stage[32] = "-", verb[32], point[9] = "-";
    bool verify = !strcmp(text_of(note, "verb"), "verify");

    br_time_text(begun, when, sizeof(when));
    if (ended > begun) {
        br_duration_text(ended - begun, took, sizeof(took));
    }
    // Whoever can write to the repository wrote these.
    br_quote(text_of(note, "host"), host, sizeof(host));
    br_quote(text_of(note, "subject"), subject, sizeof(subject));
    br_quote(text_of(note, "target"), target, sizeof(target));
    br_quote(text_of(note, "outcome"), outcome, sizeof(outcome));
    if (*text_of(note, "stage")) {
        br_quote(text_of(note, "stage"), stage, sizeof(stage));
    }
    if (br_uuid_parse(text_of(note, "point"), &id) && !br_uuid_is_nil(&id)) {
        snprintf(point, sizeof(point), "%.8s", text_of(note, "point"));
    }
    br_quote(text_of(note, "verb"), verb, sizeof(verb));
    if (verify && *text_of(note, "source")) {
        br_quote(text_of(note, "source"), source, sizeof(source));
    }
    bool read = verify && !*source && number_of(json_object_get(note, "figures"), "bytes_read") > 0;
    cli_print(cli, "%-20s  %-10s %-8s %-8s %-8s %8s  %-12s  %s%s%s%s%s%s%s%s", when, verb, outcome, stage, point, took,
              host, subject, read ? " (data read)" : "", *source ? " from " : "", source,
              *text_of(note, "target") ? " -> " : "", *text_of(note, "target") ? target : "",
              *text_of(note, "error") ? "  " : "", text_of(note, "error"));
}

static int history_print(struct history_run *run, struct br_err *reterr)
{
    size_t total = json_object_size(run->runs), n = 0;
    struct entry *entries = calloc(total + 1, sizeof(*entries));
    const char *id;
    json_t *note;

    if (!entries) {
        return br_err_set(reterr, BR_E_NOMEM, "the runs");
    }
    json_object_foreach(run->runs, id, note)
    {
        if (wanted(run, note)) {
            entries[n++] = (struct entry){.id = id, .note = note};
        }
    }
    if (n) {
        qsort(entries, n, sizeof(*entries), begun_order);
        cli_print(run->cli, "%-20s  %-10s %-8s %-8s %-8s %8s  %-12s  %s", "BEGUN", "VERB", "OUTCOME", "STAGE", "POINT",
                  "TOOK", "HOST", "SUBJECT");
    }
    for (size_t i = 0; i < n; i++) {
        run_line(run->cli, &entries[i]);
        run_event(run->cli, &entries[i]);
    }
    run->count = n;
    free(entries);
    return 0;
}

static int history_since(struct history_run *run, struct br_err *reterr)
{
    const char *since = cli_text(run->cli, "since");

    if (!since) {
        return 0;
    }
    if (!repository_time(since, &run->since_unix_ns)) {
        return br_err_set(reterr, BR_E_USAGE, "--since: '%s' is no time like 2026-11-24 or 2026-11-24T03:05", since);
    }
    // A time is its last moment, a day its end; since means from the beginning.
    run->since_unix_ns -= BR_MIN(run->since_unix_ns, (uint64_t)BR_NS_PER_S - 1);
    if (!strchr(since, ':')) {
        run->since_unix_ns -= BR_MIN(run->since_unix_ns, (uint64_t)86399 * BR_NS_PER_S);
    }
    return 0;
}

static int history_run(struct cli *cli, struct br_err *reterr)
{
    struct history_run run = {.cli = cli, .runs = json_object()};
    char repo[PATH_MAX] = "", point[256] = "";
    int error = cli->arg_count ? repository_word(cli->args[0], repo, point, reterr) : 0;

    if (!error && *point) {
        error = br_err_set(reterr, BR_E_USAGE, "a history is a repository's: '@%s' is out of place", point);
    }
    error = error ? error : history_since(&run, reterr);
    error = error ? error : place_ring(cli, &run.ring, reterr);
    error = error ? error : history_load(&run, cli->arg_count ? repo : NULL, reterr);
    error = error ? error : history_print(&run, reterr);
    cli_report_text(cli, "repository", cli->arg_count ? run.repository.path : NULL);
    cli_report_number(cli, "runs", run.count);
    cli_report_number(cli, "damaged", run.damaged);
    if (!error && !run.count) {
        cli_say(cli, "no runs%s", json_object_size(run.runs) ? " like that" : "");
    }
    json_decref(run.runs);
    repository_close(&run.repository);
    br_ring_close(run.ring);
    return error;
}

const struct cli_verb cmd_history = {
    .name = "history",
    .args = "[REPO]",
    .args_min = 0,
    .args_max = 1,
    .summary = "List the runs with a repository: what they did, how they ended, and where they died.",
    .description =
        "Every run that writes to a repository notes there that it began, and how it ended, with its stages and figures; so the history is complete on "
        "every host that has a key. Runs that only read (restore, verify), whatever the role, and those that were refused, are noted on their host alone, in its state folder. A run that was killed is shown with the stage that "
        "it had reached; on other hosts than its own it is \"open\" until the next run of that host tells.\n\n"
        "A restore onto a device, or over a file, that was killed leaves a part of the point there: it is shown as died, with its target, on the host that ran it. "
        "blkrep prune removes the notes of old runs, by default those of more than a year ago and all but the 10,000 newest of a host.\n\n"
        "Without REPO, the runs that this host still keeps itself: those that only read, those that go on, and those that died since the last one that "
        "wrote. No run fails, or waits, because it could not be noted.\n\n"
        "POINT is the first 8 digits of the point that a run was about, - where there was none; STAGE - of one that failed before its first. A verify without --repair that "
        "read data, and not trees alone, says so behind its subject.",
    .options = history_options,
    .examples = history_examples,
    .see_also = "blkrep-points(1), blkrep-status(1), blkrep-backup(1), blkrep-restore(1), blkrep-prune(1)",
    .schema = "blkrep.history/1",
    .fields = history_fields,
    .lines = history_lines,
    .run = history_run,
};
