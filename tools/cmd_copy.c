// SPDX-License-Identifier: Apache-2.0
//
// blkrep copy: points into another repository, each block proven on its way, and only what that one lacks.
#include <inttypes.h>
#include <stdio.h>

#include "engine/repo/copy.h"
#include "engine/repo/lease.h"
#include "tools/audit.h"
#include "tools/progress.h"
#include "tools/repository.h"
#include "tools/run_log.h"

static const struct cli_option copy_options[] = {
    {"volume", CLI_TEXT, "VOLUME",
     "Only points of this volume, and what latest and times mean: its source's path or the last part of it, or the first digits of its uuid."},
    {"compress", CLI_NUMBER, "N", "Level of zstd, 1 to 19; 0 stores data as it is. Default 3."},
    {"dry-run", CLI_FLAG, NULL, "Say which points would be copied; change nothing."},
    REPOSITORY_TARGET_OPTIONS,
    REPOSITORY_OPTIONS,
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example copy_examples[] = {
    {"blkrep copy /backup/repo /backup/second --volume disk.img", "All points of that volume, oldest first."},
    {"blkrep copy /backup/repo /backup/second latest --volume disk.img", "The newest one."},
    {NULL, NULL},
};

static const struct cli_field copy_fields[] = {
    {"repository", "text", "That is read."},
    {"target", "text", "That is written to."},
    {"points", "number", "How many were asked for."},
    {"copied", "number", "Of them, that were copied now."},
    {"present", "number", "Of them, that were there."},
    {"dry_run", "boolean", "Nothing was stored."},
    {"bytes_read", "number", "From the first repository's packs."},
    {"bytes_data", "number",
     "Of data that the second one lacked, before it was compressed; with the trees that name it."},
    {"bytes_stored", "number", "By which it grew."},
    {"chunks_stored", "number", "Blocks, overlays and nodes that it lacked."},
    {"bytes_present", "number",
     "In blocks that differed from the point before, and were there all the same: not read."},
    {"seconds", "number", "It took."},
    {NULL, NULL, NULL},
};

static const struct cli_field copy_point_fields[] = {
    {"id", "text", "Of the point."},
    {"copy", "text", "The id of its copy: the same, unless one was given up before."},
    {"source", "text", "As it was named."},
    {"outcome", "text", "copied, present, or planned (with --dry-run)."},
    {"parent", "text|null", "The point that it was compared with there."},
    {"bytes_stored", "number", "By which the second repository grew."},
    {"root", "text", "The hash that names the content."},
    {NULL, NULL, NULL},
};

static const struct cli_line copy_lines[] = {
    {"point", "For each point, when it is there.", copy_point_fields},
    {NULL, NULL, NULL},
};

struct copy_run {
    struct cli *cli;
    struct br_ring *ring;
    struct repository from, to;
    struct run_log *log; // NULL of a dry run
    struct progress progress;
    uint64_t begun_ns;
    struct br_point *points; // in the order of their making
    size_t count;
    uint64_t copied, present, bytes_read, bytes_held;
    struct br_writer_counts counts;
};

static void copy_on_progress(void *ctx, const struct br_point_delta_progress *at)
{
    struct copy_run *run = ctx;
    struct progress_sample sample = {
        .phase = "copy",
        .position_bytes = at->position_bytes,
        .size_bytes = at->size_bytes,
        .shipped_bytes = at->bytes_changed,
        .elapsed_ns = br_ring_now_ns(run->ring) - run->begun_ns,
    };

    progress_show(&run->progress, &sample);
}

// Those of one volume one behind the other, each after those that it can be compared with.
static int copy_order(const void *a, const void *b)
{
    const struct br_point *left = a, *right = b;
    int order = memcmp(left->volume.bytes, right->volume.bytes, BR_UUID_BYTES);

    order = order ? order : (left->counter > right->counter) - (left->counter < right->counter);
    return order ? order : memcmp(left->id.bytes, right->id.bytes, BR_UUID_BYTES);
}

static int copy_choose(struct copy_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    struct repository_points points = {0};
    int error = 0;

    if (cli->arg_count == 2) {
        error = repository_points(cli, &run->from, &points, reterr);
        run->points = points.points;
        run->count = points.count;
        if (!error && points.damaged) {
            cli_warn(cli, "%zu points that don't open are not copied", points.damaged);
        }
        if (!error && !points.count) {
            error = br_err_set(reterr, BR_E_NOT_FOUND, "%s: no points%s", run->from.path,
                               cli_text(cli, "volume") ? " of that volume" : "");
        }
    } else {
        run->points = calloc((size_t)cli->arg_count, sizeof(*run->points));
        error = run->points ? 0 : br_err_set(reterr, BR_E_NOMEM, "the points");
        for (int i = 2; !error && i < cli->arg_count; i++) {
            error = repository_point(cli, &run->from, cli->args[i], &run->points[run->count++], reterr);
        }
    }
    if (!error) {
        qsort(run->points, run->count, sizeof(*run->points), copy_order);
    }
    return error;
}

static void copy_tell(const struct copy_run *run, const struct br_point *point, const char *outcome,
                      const struct br_copy_result *result)
{
    const struct cli *cli = run->cli;
    char id[BR_UUID_TEXT_BYTES], copy[BR_UUID_TEXT_BYTES], parent[BR_UUID_TEXT_BYTES];
    char root[2 * BR_HASH_BYTES + 1], stored[32];
    char label[BR_LABEL_BYTES];
    json_t *event;

    br_uuid_text(&point->id, id);
    br_uuid_text(&result->point.id, copy);
    br_uuid_text(&result->point.parent, parent);
    br_hash_text(&point->root, root);
    cli_bytes(cli, result->counts.stored_bytes, stored, sizeof(stored));
    br_quote(point->label, label, sizeof(label));
    cli_print(cli, "%.8s  %-8s %10s  %s", id, outcome, stored, label);
    event = json_object();
    json_object_set_new(event, "type", json_string("point"));
    json_object_set_new(event, "id", json_string(id));
    json_object_set_new(event, "copy", json_string(copy));
    json_object_set_new(event, "source", cli_json_text(point->label));
    json_object_set_new(event, "outcome", json_string(outcome));
    json_object_set_new(event, "parent", br_uuid_is_nil(&result->point.parent) ? json_null() : json_string(parent));
    json_object_set_new(event, "bytes_stored", json_integer((json_int_t)result->counts.stored_bytes));
    json_object_set_new(event, "root", json_string(root));
    cli_event(cli, event);
}

static int copy_one(struct copy_run *run, const struct br_point *point, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    struct br_copy_result result = {0};
    char id[BR_UUID_TEXT_BYTES];
    const struct br_copy_params params = {
        .from = run->from.repo,
        .to = run->to.repo,
        .point = point,
        .level = (int)cli_number(cli, "compress", BR_REPO_ZSTD_LEVEL),
        .cancel = &cli_cancel,
        .progress = copy_on_progress,
        .progress_ctx = run,
    };

    if (cli_flag(cli, "dry-run")) {
        int there = br_lease_find_point(run->to.repo, &point->volume, &point->id, &result.point, reterr);

        if (there < 0) {
            return there;
        }

        run->present += there > 0;
        copy_tell(run, point, there ? "present" : "planned", &result);
        return 0;
    }
    int error = br_copy_point(&params, &result, reterr);
    progress_end(&run->progress);
    run->bytes_read += result.read.store_bytes;
    run->bytes_held += result.read.bytes_held;
    run->counts.raw_bytes += result.counts.raw_bytes;
    run->counts.stored_bytes += result.counts.stored_bytes;
    run->counts.chunks_stored += result.counts.chunks_stored;
    if (error) {
        br_uuid_text(&point->id, id);
        br_err_prefix(reterr, "point %.8s", id);
        return error;
    }
    *(result.was_there ? &run->present : &run->copied) += 1;
    copy_tell(run, point, result.was_there ? "present" : "copied", &result);
    return 0;
}

static int copy_all(struct copy_run *run, struct br_err *reterr)
{
    int error = 0;

    for (size_t i = 0; !error && i < run->count; i++) {
        error = cli_cancel ? br_err_set(reterr, BR_E_CANCELLED, "copying") : copy_one(run, &run->points[i], reterr);
    }
    return error;
}

static void copy_report(const struct copy_run *run)
{
    struct cli *cli = run->cli;

    cli_report_text(cli, "repository", run->from.path[0] ? run->from.path : cli->args[0]);
    cli_report_text(cli, "target", run->to.path[0] ? run->to.path : cli->args[1]);
    cli_report_number(cli, "points", run->count);
    cli_report_number(cli, "copied", run->copied);
    cli_report_number(cli, "present", run->present);
    cli_report_bool(cli, "dry_run", cli_flag(cli, "dry-run"));
    cli_report_number(cli, "bytes_read", run->bytes_read);
    cli_report_number(cli, "bytes_data", run->counts.raw_bytes);
    cli_report_number(cli, "bytes_stored", run->counts.stored_bytes);
    cli_report_number(cli, "chunks_stored", run->counts.chunks_stored);
    cli_report_number(cli, "bytes_present", run->bytes_held);
    cli_report_seconds(cli, "seconds", run->ring ? br_ring_now_ns(run->ring) - run->begun_ns : 0);
}

static int copy_remember(const struct copy_run *run, int result)
{
    struct cli *cli = run->cli;
    json_t *details = json_object();
    struct br_err err = {0};

    json_object_set_new(details, "from", cli_json_text(run->from.path));
    json_object_set_new(details, "copied", json_integer((json_int_t)run->copied));
    json_object_set_new(details, "status", json_integer(br_err_exit(result)));
    json_object_set_new(details, "error", result ? json_string(br_err_name(result)) : json_null());
    if (audit_append(cli, result ? "copy-failed" : "copy", run->to.path, details, &err)) {
        cli_warn(cli, "the audit line could not be written: %s", err.text);
    }
    return result;
}

static int copy_open(struct copy_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    char from[PATH_MAX], to[PATH_MAX], point[256];
    bool dry_run = cli_flag(cli, "dry-run");
    int error = repository_word(cli->args[0], from, point, reterr);

    if (!error && *point) {
        error =
            br_err_set(reterr, BR_E_USAGE, "points are named behind both repositories: '@%s' is out of place", point);
    }
    error = error ? error : repository_word(cli->args[1], to, point, reterr);
    if (!error && *point) {
        error =
            br_err_set(reterr, BR_E_USAGE, "points are named behind both repositories: '@%s' is out of place", point);
    }
    if (!error && cli_number(cli, "compress", 0) > 19) {
        error = br_err_set(reterr, BR_E_USAGE, "--compress takes 0 to 19");
    }
    error = error ? error : progress_begin(&run->progress, cli, reterr);
    error = error || dry_run ? error : audit_ready(cli, reterr);
    error = error ? error : place_ring(cli, &run->ring, reterr);
    error = error ? error : repository_open(cli, run->ring, from, true, &run->from, reterr);
    if (error) {
        return error;
    }
    char path[PATH_MAX], real[PATH_MAX];
    error = repository_path(cli, to, path, reterr);
    if (!error && realpath(path, real) && !strcmp(real, run->from.path)) {
        return br_err_set(reterr, BR_E_SAME_OBJECT, "%s is both repositories", real);
    }
    return error ? error : repository_open_target(cli, run->ring, to, &run->to, reterr);
}

static int copy_run(struct cli *cli, struct br_err *reterr)
{
    struct copy_run run = {.cli = cli};
    int error = copy_open(&run, reterr);
    bool opened = !error;

    // Behind the opening, which may have waited for passphrases.
    run.begun_ns = run.ring ? br_ring_now_ns(run.ring) : 0;

    run.log = error || cli_flag(cli, "dry-run") ? NULL : run_log_begin(cli, run.ring, &run.to, true);
    error = error ? error : copy_choose(&run, reterr);
    if (!error) {
        run_log_stage(run.log, "copy");
    }
    error = error ? error : copy_all(&run, reterr);
    copy_report(&run);
    run_log_end(run.log, error);
    if (opened && !cli_flag(cli, "dry-run")) {
        error = copy_remember(&run, error);
    }
    if (!error) {
        char stored[32];

        cli_bytes(cli, run.counts.stored_bytes, stored, sizeof(stored));
        if (cli_flag(cli, "dry-run")) {
            cli_say(cli, "%s: %" PRIu64 " of %zu point%s would be copied, %" PRIu64 " %s there; nothing was stored",
                    run.to.path, run.count - run.present, run.count, run.count == 1 ? "" : "s", run.present,
                    run.present == 1 ? "is" : "are");
        } else {
            cli_say(cli, "%s: %" PRIu64 " of %zu point%s copied, %" PRIu64 " %s there; %s stored", run.to.path,
                    run.copied, run.count, run.count == 1 ? "" : "s", run.present, run.present == 1 ? "was" : "were",
                    stored);
        }
    }
    free(run.points);
    repository_close(&run.to);
    repository_close(&run.from);
    br_ring_close(run.ring);
    return error;
}

const struct cli_verb cmd_copy = {
    .name = "copy",
    .args = "REPO REPO2 [POINT...]",
    .args_min = 2,
    .args_max = 1000,
    .summary = "Copy recovery points to another repository.",
    .description =
        "Each point, all of REPO's when none is named, is put into REPO2, a repository that blkrep init made, which may have other keys. Of its data "
        "only what REPO2 lacks is read, proven to be what the point says, and sealed anew; what is damaged is never copied. The copy has the point's "
        "id, number, times, host, tags and root, and is restored by itself; a point that is there already is passed over. A point that was pruned there is copied "
        "again, when it is still in REPO. A copy that is stopped for longer than the grace of a prune (blkrep-prune(1)) is given up by that, and "
        "fails when it goes on; run blkrep copy again. The point then gets an id there whose last two digits are one more.\n\n"
        "Points of a volume are copied in their order, so that what two share is read once. A run that is cut leaves whole points; the next one "
        "goes on, and stores nothing twice. What shares data in REPO shares it in REPO2, and nothing else does.",
    .options = copy_options,
    .examples = copy_examples,
    .see_also = "blkrep-points(1), blkrep-send(1), blkrep-verify(1), blkrep-init(1)",
    .schema = "blkrep.copy/1",
    .fields = copy_fields,
    .lines = copy_lines,
    .run = copy_run,
};
