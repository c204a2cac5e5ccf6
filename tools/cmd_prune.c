// SPDX-License-Identifier: Apache-2.0
//
// blkrep prune: which points go, by rules or by name, and then the packs that nothing needs any more.
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/repo/history.h"
#include "engine/repo/prune.h"
#include "engine/repo/retention.h"
#include "tools/audit.h"
#include "tools/progress.h"
#include "tools/repository.h"
#include "tools/run_log.h"

#define PRUNE_TAGS_MAX   16u
#define PRUNE_TAGS_BYTES 1200u

static const struct cli_option prune_options[] = {
    {"keep-last", CLI_NUMBER, "N", "Keep the N newest points of each volume."},
    {"keep-hourly", CLI_NUMBER, "N",
     "Keep the newest point of each of the N newest hours that have any, in local time."},
    {"keep-daily", CLI_NUMBER, "N", "The same for days."},
    {"keep-weekly", CLI_NUMBER, "N", "The same for weeks, which begin on Monday."},
    {"keep-monthly", CLI_NUMBER, "N", "The same for months."},
    {"keep-yearly", CLI_NUMBER, "N", "The same for years."},
    {"keep-within", CLI_DURATION, "TIME", "Keep all points that are younger, 30d say."},
    {"keep-tag", CLI_TEXT, "TAG[,TAG]", "Keep points that have one of these tags."},
    {"volume", CLI_TEXT, "VOLUME",
     "Judge only points of this volume: its source's path or the last part of it, or the first digits of its uuid. Those of others stay."},
    {"by-taken", CLI_FLAG, NULL,
     "Go by when a point was taken, as its writer says, and not by when the repository took it. For a repository that was filled by blkrep copy; "
     "a writer that lies can so push out older points of its own volumes."},
    {"remove-damaged", CLI_FLAG, NULL,
     "Also remove points that don't open (see blkrep points), and give up those that are gone since their repair was cut. As long as there is one, no pack "
     "is deleted: nobody knows what it needs."},
    {"grace", CLI_DURATION, "TIME",
     "A backup that began longer ago, and has not ended, is taken for dead: if it isn't, it fails when it wants to end, and harms nothing. Default 7d."},
    {"max-unused", CLI_NUMBER, "N",
     "How many percent of what is stored may be unused data in packs that also hold data in use; above it such packs are written anew. Default 10."},
    {"keep-runs", CLI_NUMBER, "N",
     "Keep the notes of the N newest runs of each host (blkrep-history(1)). Default 10000. They go by when the repository took them."},
    {"keep-runs-within", CLI_DURATION, "TIME", "Of these, keep those that are younger. Default 366d."},
    {"dry-run", CLI_FLAG, NULL,
     "Change nothing; show each point with the rule that keeps it, or that none does, and what would be deleted."},
    {"yes", CLI_FLAG, NULL, "Don't ask before points that are named, or damaged, are removed."},
    REPOSITORY_OPTIONS,
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example prune_examples[] = {
    {"blkrep prune /backup/repo --keep-daily 14 --keep-monthly 12 --dry-run",
     "Which points would go, and why do the others stay?"},
    {"blkrep prune /backup/repo --keep-last 3 --keep-daily 14 --keep-weekly 8 --keep-monthly 24",
     "Every night, behind the backups."},
    {"blkrep prune /backup/repo@latest~1 --volume disk.img --yes", "Remove one point; all others stay whole."},
    {"blkrep prune /backup/repo", "Remove no point, only what cut runs left behind."},
    {NULL, NULL},
};

struct pruner {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    struct progress progress;
    struct run_log *log; // NULL of a dry run
    uint64_t begun_ns;
    struct repository_points points;
    struct br_retention_point *judged; // all of points, in another order
    struct repository_points damaged;  // volume and id
    struct br_uuid *cut;               // points that are gone since their repair was cut
    size_t cut_count;
    struct br_point *remove;
    size_t remove_count;
    struct br_prune_result result;
    uint64_t notes_removed, notes_kept; // of runs
    char host[256];
    char tags_text[PRUNE_TAGS_BYTES];
    const char *tags[PRUNE_TAGS_MAX + 1];
    struct br_err *reterr;
};

static void prune_note(void *ctx, const char *what)
{
    const struct pruner *pruner = ctx;

    cli_warn(pruner->cli, "%s", what);
}

static void prune_on_progress(void *ctx, const struct br_prune_progress *at)
{
    struct pruner *pruner = ctx;
    struct progress_sample sample = {
        .phase = at->phase,
        .position_bytes = at->done,
        .size_bytes = at->total,
        .elapsed_ns = br_ring_now_ns(pruner->ring) - pruner->begun_ns,
    };

    run_log_stage(pruner->log, at->phase);
    if (!strcmp(at->phase, "repack")) {
        progress_show(&pruner->progress, &sample);
    }
}

// Choosing ----------------------------------------------------------------------------------------------------------------------------

static int prune_rules(struct pruner *pruner, struct br_retention *ret_rules, struct br_err *reterr)
{
    const struct cli *cli = pruner->cli;
    const char *tags = cli_text(cli, "keep-tag");
    char *rest = pruner->tags_text;
    unsigned count = 0;

    *ret_rules = (struct br_retention){
        .last = (unsigned)BR_MIN(cli_number(cli, "keep-last", 0), UINT32_MAX),
        .hourly = (unsigned)BR_MIN(cli_number(cli, "keep-hourly", 0), UINT32_MAX),
        .daily = (unsigned)BR_MIN(cli_number(cli, "keep-daily", 0), UINT32_MAX),
        .weekly = (unsigned)BR_MIN(cli_number(cli, "keep-weekly", 0), UINT32_MAX),
        .monthly = (unsigned)BR_MIN(cli_number(cli, "keep-monthly", 0), UINT32_MAX),
        .yearly = (unsigned)BR_MIN(cli_number(cli, "keep-yearly", 0), UINT32_MAX),
        .within_ns = cli_duration_ns(cli, "keep-within", 0),
        .tags = pruner->tags,
    };
    if (tags && strlen(tags) >= sizeof(pruner->tags_text)) {
        return br_err_set(reterr, BR_E_USAGE, "--keep-tag: too long");
    }
    snprintf(pruner->tags_text, sizeof(pruner->tags_text), "%s", tags ? tags : "");
    for (char *tag; tags && (tag = strsep(&rest, ",")) != NULL;) {
        if (!*tag || count == PRUNE_TAGS_MAX) {
            return br_err_set(reterr, BR_E_USAGE, "--keep-tag takes 1 to %u tags", PRUNE_TAGS_MAX);
        }
        pruner->tags[count++] = tag;
    }
    return 0;
}

static int mark_held(void *ctx, const struct br_point_mark *hold, int rc, const struct br_err *err)
{
    const struct pruner *pruner = ctx;

    if (rc < 0) {
        cli_warn(pruner->cli, "a hold does not open, and holds its point: %s", err->text);
    }
    for (size_t i = 0; i < pruner->points.count; i++) {
        struct br_retention_point *judged = &pruner->judged[i];

        judged->held = judged->held || (br_uuid_equal(&judged->point->id, &hold->point) &&
                                        br_uuid_equal(&judged->point->volume, &hold->volume));
    }
    return 0;
}

// When the repository took each point, by its own clock.
static int prune_when(struct pruner *pruner, const struct br_point *point, uint64_t *ret_unix_ns, struct br_err *reterr)
{
    const struct br_store *store = &pruner->repository.store;
    char name[BR_OBJECT_NAME_BYTES];

    br_name_point(&point->volume, &point->id, name);
    *ret_unix_ns = point->taken_unix_ns;
    return cli_flag(pruner->cli, "by-taken") ? 0 : store->ops->arrived(store->ctx, name, ret_unix_ns, reterr);
}

static int take_damaged(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct pruner *pruner = ctx;

    if (rc >= 0) {
        return 0;
    }
    if (rc == -BR_E_IO || rc == -BR_E_NOMEM || rc == -BR_E_PEER || rc == -BR_E_TIMEOUT) {
        *pruner->reterr = *err; // can't be read now, which says nothing of it
        return rc;
    }
    return repository_points_add(&pruner->damaged, point, pruner->reterr);
}

static int prune_judge(struct pruner *pruner, const struct br_retention *rules, struct br_err *reterr)
{
    pruner->judged = calloc(BR_MAX(pruner->points.count, 1u), sizeof(*pruner->judged));
    int error = pruner->judged ? 0 : br_err_set(reterr, BR_E_NOMEM, "the points");

    for (size_t i = 0; !error && i < pruner->points.count; i++) {
        pruner->judged[i].point = &pruner->points.points[i];
        error = prune_when(pruner, pruner->judged[i].point, &pruner->judged[i].when_unix_ns, reterr);
    }
    error = error ? error : br_hold_each(pruner->repository.repo, mark_held, pruner, reterr);
    if (!error) {
        br_retention_apply(rules, br_ring_unix_ns(pruner->ring), pruner->judged, pruner->points.count);
    }
    // Without a rule none goes.
    for (size_t i = 0; !error && !br_retention_has_rules(rules) && i < pruner->points.count; i++) {
        pruner->judged[i].keep = true;
        snprintf(pruner->judged[i].rule, sizeof(pruner->judged[i].rule), "%s",
                 pruner->judged[i].held ? "held" : "no rules");
    }
    return error;
}

// Just this one goes, held or newest or not: but a hold must be lifted first.
static int prune_named(struct pruner *pruner, const char *word, struct br_err *reterr)
{
    struct br_point point;
    char id[BR_UUID_TEXT_BYTES], question[700];
    int error = repository_point(pruner->cli, &pruner->repository, word, &point, reterr);

    for (size_t i = 0; !error && i < pruner->points.count; i++) {
        struct br_retention_point *judged = &pruner->judged[i];
        bool named = br_uuid_equal(&judged->point->id, &point.id);

        if (named && judged->held) {
            br_uuid_text(&point.id, id);
            return br_err_set(reterr, BR_E_REFUSED, "point %.8s is held: blkrep unhold lifts that", id);
        }
        judged->keep = !named;
        snprintf(judged->rule, sizeof(judged->rule), "%s", named ? "named" : "not named");
    }
    if (!error && !cli_flag(pruner->cli, "dry-run")) {
        br_uuid_text(&point.id, id);
        id[8] = 0;
        snprintf(question, sizeof(question), "Point %s of %.400s is removed for ever.", id, point.label);
        error = cli_confirm(pruner->cli, id, question, reterr);
    }
    return error;
}

static int prune_damaged(struct pruner *pruner, struct br_err *reterr)
{
    char question[200];

    pruner->reterr = reterr;
    int error = br_repo_points(pruner->repository.repo, NULL, take_damaged, pruner, reterr);
    error = error ? error : br_repo_cut_renewals(pruner->repository.repo, &pruner->cut, &pruner->cut_count, reterr);
    if (!error && pruner->cut_count && !cli_flag(pruner->cli, "remove-damaged")) {
        return br_err_set(
            reterr, BR_E_CORRUPT,
            "%s: %zu points are gone since their repair was cut, and what they need is kept: bring them back with "
            "verify --repair REPO2 or copy, or give them up with --remove-damaged",
            pruner->repository.path, pruner->cut_count);
    }
    if (!error && pruner->damaged.count && !cli_flag(pruner->cli, "remove-damaged")) {
        return br_err_set(
            reterr, BR_E_CORRUPT,
            "%s: %zu points don't open, so nobody knows what they need and nothing is deleted: get them back, "
            "or give them up with --remove-damaged",
            pruner->repository.path, pruner->damaged.count);
    }
    if (!error && pruner->damaged.count && !cli_flag(pruner->cli, "dry-run")) {
        snprintf(question, sizeof(question), "%zu points that don't open are removed for ever.", pruner->damaged.count);
        error = cli_confirm(pruner->cli, "remove", question, reterr);
    }
    return error;
}

static int prune_choose(struct pruner *pruner, const char *word, struct br_err *reterr)
{
    struct br_retention rules;
    int error = prune_rules(pruner, &rules, reterr);

    if (!error && *word && br_retention_has_rules(&rules)) {
        error = br_err_set(reterr, BR_E_USAGE, "name a point, or give rules, not both");
    }
    error = error ? error : repository_points(pruner->cli, &pruner->repository, &pruner->points, reterr);
    error = error ? error : prune_judge(pruner, &rules, reterr);
    error = error || !*word ? error : prune_named(pruner, word, reterr);
    error = error ? error : prune_damaged(pruner, reterr);
    if (error) {
        return error;
    }
    pruner->remove = calloc(pruner->points.count + pruner->damaged.count + 1, sizeof(*pruner->remove));
    if (!pruner->remove) {
        return br_err_set(reterr, BR_E_NOMEM, "the points");
    }
    for (size_t i = 0; i < pruner->points.count; i++) {
        if (!pruner->judged[i].keep) {
            pruner->remove[pruner->remove_count++] = *pruner->judged[i].point;
        }
    }
    for (size_t i = 0; i < pruner->damaged.count; i++) {
        pruner->remove[pruner->remove_count++] = pruner->damaged.points[i];
    }
    return 0;
}

// Telling -----------------------------------------------------------------------------------------------------------------------------

static void print_point(const struct cli *cli, const struct br_retention_point *judged, const char *what)
{
    char id[BR_UUID_TEXT_BYTES], when[40], label[BR_LABEL_BYTES];

    br_uuid_text(&judged->point->id, id);
    br_time_text(judged->when_unix_ns, when, sizeof(when));
    br_quote(judged->point->label, label, sizeof(label));
    cli_print(cli, "%-7s  %.8s  %-20s  %s  (%s)", what, id, when, label, judged->rule);
}

static void show_point(const struct pruner *pruner, const struct br_retention_point *judged)
{
    struct cli *cli = pruner->cli;
    char id[BR_UUID_TEXT_BYTES], when[40];
    json_t *event = json_object();

    br_uuid_text(&judged->point->id, id);
    br_time_text(judged->when_unix_ns, when, sizeof(when));
    json_object_set_new(event, "type", json_string("point"));
    json_object_set_new(event, "id", json_string(id));
    json_object_set_new(event, "source", cli_json_text(judged->point->label));
    json_object_set_new(event, "arrived", json_string(when));
    json_object_set_new(event, "keep", json_boolean(judged->keep));
    json_object_set_new(event, "rule", cli_json_text(judged->rule));
    cli_event(cli, event);
    if (cli_flag(cli, "dry-run")) {
        print_point(cli, judged, judged->keep ? "keep" : "remove");
    }
}

// Of a prune that fails, too: what is gone. They go in the order of their choice.
static void show_removed(const struct pruner *pruner)
{
    uint64_t gone = 0;

    for (size_t i = 0; i < pruner->points.count; i++) {
        if (!pruner->judged[i].keep && gone++ < pruner->result.points_removed) {
            print_point(pruner->cli, &pruner->judged[i], "removed");
        }
    }
}

static void prune_report(const struct pruner *pruner)
{
    struct cli *cli = pruner->cli;
    const struct br_prune_result *r = &pruner->result;

    cli_report_text(cli, "repository", pruner->repository.path[0] ? pruner->repository.path : cli->args[0]);
    cli_report_bool(cli, "dry_run", cli_flag(cli, "dry-run"));
    cli_report_number(cli, "points_removed", r->points_removed);
    cli_report_number(cli, "points_kept", r->points_kept);
    cli_report_number(cli, "packs_deleted", r->packs_deleted);
    cli_report_number(cli, "bytes_deleted", r->bytes_deleted);
    cli_report_number(cli, "packs_repacked", r->packs_repacked);
    cli_report_number(cli, "bytes_repacked", r->bytes_repacked);
    cli_report_number(cli, "packs_waiting", r->packs_waiting);
    cli_report_number(cli, "bytes_waiting", r->bytes_waiting);
    cli_report_number(cli, "runs_waited_for", r->runs_waited_for);
    cli_report_number(cli, "runs_given_up", r->runs_given_up);
    cli_report_number(cli, "bytes_swept", r->bytes_swept);
    cli_report_number(cli, "packs_left", r->packs_left);
    cli_report_number(cli, "bytes_left", r->bytes_left);
    cli_report_number(cli, "bytes_unused", r->bytes_unused);
    cli_report_number(cli, "runs_forgotten", pruner->notes_removed);
    cli_report_number(cli, "runs_remembered", pruner->notes_kept);
    cli_report_seconds(cli, "seconds", pruner->ring ? br_ring_now_ns(pruner->ring) - pruner->begun_ns : 0);
}

static void prune_say(const struct pruner *pruner)
{
    struct cli *cli = pruner->cli;
    const struct br_prune_result *r = &pruner->result;
    bool dry = cli_flag(cli, "dry-run");
    char deleted[32], again[32], left[32], waiting[32], took[32];

    cli_bytes(cli, r->bytes_deleted, deleted, sizeof(deleted));
    cli_bytes(cli, r->bytes_repacked, again, sizeof(again));
    cli_bytes(cli, r->bytes_left, left, sizeof(left));
    cli_bytes(cli, r->bytes_waiting, waiting, sizeof(waiting));
    br_duration_text(br_ring_now_ns(pruner->ring) - pruner->begun_ns, took, sizeof(took));
    cli_print(cli, "%s: %" PRIu64 " point%s %s, %" PRIu64 " kept; %s of packs %s%s%s%s, in %s", pruner->repository.path,
              r->points_removed, r->points_removed == 1 ? "" : "s", dry ? "would go" : "removed", r->points_kept,
              deleted, dry ? "would be deleted" : "deleted", r->packs_repacked ? ", " : "",
              r->packs_repacked ? again : "", r->packs_repacked ? (dry ? " written anew" : " of it written anew") : "",
              took);
    if (!dry) {
        cli_print(cli, "%s: %" PRIu64 " packs of %s are left", pruner->repository.path, r->packs_left, left);
    }
    if (pruner->notes_removed) {
        cli_print(cli, "%s: the notes of %" PRIu64 " old runs %s, of %" PRIu64 " kept", pruner->repository.path,
                  pruner->notes_removed, dry ? "would go" : "removed", pruner->notes_kept);
    }
    if (r->packs_waiting) {
        cli_say(cli, "%" PRIu64 " backup%s %s not ended: %s of packs wait for the next prune", r->runs_waited_for,
                r->runs_waited_for == 1 ? "" : "s", r->runs_waited_for == 1 ? "has" : "have", waiting);
    }
}

static int prune_audit(const struct pruner *pruner, int error, struct br_err *reterr)
{
    json_t *details = json_object(), *removed = json_array();
    char id[BR_UUID_TEXT_BYTES];
    struct br_err err = {0};

    for (size_t i = 0; i < BR_MIN(pruner->remove_count, pruner->result.points_removed); i++) {
        br_uuid_text(&pruner->remove[i].id, id);
        json_array_append_new(removed, json_string(id));
    }
    json_object_set_new(details, "packs_deleted", json_integer((json_int_t)pruner->result.packs_deleted));
    json_object_set_new(details, "bytes_deleted", json_integer((json_int_t)pruner->result.bytes_deleted));
    json_object_set_new(details, "runs_given_up", json_integer((json_int_t)pruner->result.runs_given_up));
    int rc = audit_append_list(pruner->cli, "prune", pruner->repository.path, "points_removed", removed, details,
                               error ? &err : reterr);
    return error ? error : rc;
}

// No prune fails for what it only tells; a server lets nobody but operators remove any.
static int prune_history(struct pruner *pruner, struct br_err *reterr)
{
    const struct cli *cli = pruner->cli;
    const struct br_history_prune_params params = {
        .repo = pruner->repository.repo,
        .keep_runs = cli_number(cli, "keep-runs", BR_HISTORY_KEEP_RUNS),
        .keep_ns = cli_duration_ns(cli, "keep-runs-within", BR_HISTORY_KEEP_NS),
        .dry_run = cli_flag(cli, "dry-run"),
        .cancel = &cli_cancel,
    };
    struct br_err err = {0};
    int error = br_history_prune(&params, &pruner->notes_removed, &pruner->notes_kept, &err);

    if (br_store_is_lost(error) || error == -BR_E_CANCELLED) {
        *reterr = err;
        return error;
    }
    if (error) {
        cli_warn(pruner->cli, "notes of old runs stay: %s", err.text);
    }
    return 0;
}

static int prune_go(struct pruner *pruner, struct br_err *reterr)
{
    struct cli *cli = pruner->cli;
    const struct br_prune_params params = {
        .repo = pruner->repository.repo,
        .remove = pruner->remove,
        .remove_count = pruner->remove_count,
        .grace_ns = cli_duration_ns(cli, "grace", BR_PRUNE_GRACE_NS),
        .unused_max = (unsigned)BR_MIN(cli_number(cli, "max-unused", BR_PRUNE_UNUSED_MAX), 100u),
        .dry_run = cli_flag(cli, "dry-run"),
        .host = pruner->host,
        .level = BR_REPO_ZSTD_LEVEL,
        .note = prune_note,
        .progress = prune_on_progress,
        .ctx = pruner,
        .cancel = &cli_cancel,
    };

    for (size_t i = 0; i < pruner->points.count; i++) {
        show_point(pruner, &pruner->judged[i]);
    }
    pruner->log = params.dry_run ? NULL : run_log_begin(cli, pruner->ring, &pruner->repository, true);
    run_log_stage(pruner->log, "points");
    int error = br_prune(&params, &pruner->result, reterr);
    if (!error && !params.dry_run) {
        run_log_stage(pruner->log, "history");
    }
    for (size_t i = 0; !error && !params.dry_run && i < pruner->cut_count; i++) {
        error = br_repo_forget_renewal(pruner->repository.repo, &pruner->cut[i], reterr);
    }
    error = error ? error : prune_history(pruner, reterr);
    progress_end(&pruner->progress);
    if (!params.dry_run) {
        show_removed(pruner);
        error = prune_audit(pruner, error, reterr);
        if (pruner->result.points_removed) {
            repository_removed(cli, &pruner->repository);
        }
    }
    if (!error && !cli->json) {
        prune_say(pruner);
    }
    return error;
}

static int prune_run(struct cli *cli, struct br_err *reterr)
{
    struct pruner pruner = {.cli = cli};
    char repo[PATH_MAX], point[256];
    int error = repository_word(cli->args[0], repo, point, reterr);

    gethostname(pruner.host, sizeof(pruner.host) - 1);
    error = error ? error : progress_begin(&pruner.progress, cli, reterr);
    error = error || cli_flag(cli, "dry-run") ? error : audit_ready(cli, reterr);
    error = error ? error : place_ring(cli, &pruner.ring, reterr);
    error =
        error ? error : repository_open(cli, pruner.ring, repo, cli_flag(cli, "dry-run"), &pruner.repository, reterr);
    // Behind the opening, which may have waited for a passphrase.
    pruner.begun_ns = pruner.ring ? br_ring_now_ns(pruner.ring) : 0;
    error = error ? error : prune_choose(&pruner, point, reterr);
    error = error ? error : prune_go(&pruner, reterr);
    prune_report(&pruner);
    run_log_end(pruner.log, error);
    repository_points_free(&pruner.points);
    free(pruner.judged);
    repository_points_free(&pruner.damaged);
    free(pruner.cut);
    free(pruner.remove);
    repository_close(&pruner.repository);
    br_ring_close(pruner.ring);
    return error;
}

static const struct cli_field prune_fields[] = {
    {"repository", "text", "Its path."},
    {"dry_run", "boolean", "Nothing was changed; the rest says what would be."},
    {"points_removed", "number", "Points that went."},
    {"points_kept", "number", "Points that are there now."},
    {"packs_deleted", "number", "Packs."},
    {"bytes_deleted", "number", "Of them."},
    {"packs_repacked", "number", "Packs that were half empty and are written anew."},
    {"bytes_repacked", "number", "That they came to."},
    {"packs_waiting", "number", "Packs that can go when the runs that are waited for have ended."},
    {"bytes_waiting", "number", "Of them."},
    {"runs_waited_for", "number", "Backups under way that may need what is to go."},
    {"runs_given_up", "number", "Backups that were taken for dead."},
    {"bytes_swept", "number",
     "Half written objects of killed runs, an hour old or older than the grace, that were removed."},
    {"packs_left", "number", "Packs that are there now."},
    {"bytes_left", "number", "Of them."},
    {"bytes_unused", "number", "Of these, about, in data that no point needs."},
    {"runs_forgotten", "number", "Runs whose notes went."},
    {"runs_remembered", "number", "Runs that have notes there now."},
    {"seconds", "number", "The whole run took."},
    {NULL, NULL, NULL},
};

static const struct cli_field prune_point_fields[] = {
    {"id", "text", "Of the point."},
    {"source", "text", "As it was named."},
    {"arrived", "text", "When the repository took it, UTC; with --by-taken when it was taken."},
    {"keep", "boolean", "It stays."},
    {"rule", "text", "What keeps it; or that nothing does."},
    {NULL, NULL, NULL},
};

static const struct cli_line prune_lines[] = {
    {"point", "For each point that was judged.", prune_point_fields},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_prune = {
    .name = "prune",
    .args = "REPO|REPO@POINT",
    .args_min = 1,
    .args_max = 1,
    .summary = "Remove recovery points by rules, and what no point needs any more.",
    .description =
        "A point stays when any of the --keep rules keeps it, when it is held (blkrep-hold(1)), and when it is its volume's newest. Every point is "
        "whole by itself, so any other can go. Without rules no point goes. Hours and days are told by when the repository took a point, by "
        "its own clock, whatever the point says.\n\n"
        "Then packs are deleted that no point needs. Backups may run meanwhile, on any host: what they may need is left for the next prune. A prune that "
        "is cut, by whatever, harms nothing; the next one goes on from there. Last go the notes of old runs (blkrep-history(1)).",
    .options = prune_options,
    .examples = prune_examples,
    .see_also =
        "blkrep-backup(1), blkrep-points(1), blkrep-hold(1), blkrep-history(1), blkrep-verify(1), blkrep-errors(7)",
    .schema = "blkrep.prune/1",
    .fields = prune_fields,
    .lines = prune_lines,
    .run = prune_run,
};
