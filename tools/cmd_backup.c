// SPDX-License-Identifier: Apache-2.0
//
// blkrep backup: one run of engine/sync whose far end is a repository. The source is opened, looked at and watched as sync's is.
#include <stdio.h>
#include <unistd.h>

#include "engine/sync/source.h"
#include "engine/sync/sync.h"
#include "tools/audit.h"
#include "tools/ends.h"
#include "tools/extents.h"
#include "tools/progress.h"
#include "tools/repository.h"
#include "tools/run_log.h"

#define BACKUP_TAGS_BYTES 1200u

static const struct cli_option backup_options[] = {
    {"type", CLI_CHOICE, "incremental|differential|full",
     "full: read and store everything anew, sharing nothing with any other point, so that no damage to these reaches it. differential: all is read, and "
     "what differs from the newest full point is stored, which is its parent then; the first one of a volume is full. Default incremental: "
     "what differs from the volume's newest point is stored; the first one of a volume has no parent, and counts as a full one for later differential "
     "ones, though it may share data with other volumes. The new point is whole in any case, and needs no other to be kept."},
    {"volume", CLI_TEXT, "VOLUME",
     "Continue this volume of the repository: its source's path or the last part of it, or the first digits of its uuid. For a source whose state on this "
     "host was lost, or whose host is a new one: everything is compared once, and what is there already is not stored again. Refused for a source "
     "that is known to be another volume."},
    {"domain", CLI_TEXT, "DOMAIN",
     "Whose data this volume's is deduplicated with from now on: new, nobody's; a volume, that one's; host:NAME, those of that host. Data are stored once for all "
     "volumes of a domain, and never shared with another. Default: as the volume's newest point; of a new volume all those of this host."},
    {"tag", CLI_TEXT, "TAG[,TAG]", "Words for people and for `blkrep points --tag`, 16 at most."},
    {"extents", CLI_PATH, "FILE",
     "Read only the ranges that FILE names, a line `OFFSET LENGTH` in bytes for each: what something else, a hypervisor "
     "say, knows to have changed since the point that --since names. A share of the rest is read and proven all the "
     "same (--recheck). A range that begins behind the source's end is refused."},
    {"since", CLI_TEXT, "POINT",
     "With --extents: the id of the point, or its first digits, that the ranges are changes to. When the volume's "
     "newest point is another one, everything is compared, with a warning."},
    {"verify", CLI_FLAG, NULL,
     "Afterwards read the source again and the point back, and compare both with what was stored."},
    {"dry-run", CLI_FLAG, NULL, "Read and compare, print what would be stored, change nothing."},
    {"live-source", CLI_FLAG, NULL,
     "Read a source that can change meanwhile. The point is marked `consistency: none` for ever: it may be a mix of moments."},
    {"continue-on-read-error", CLI_FLAG, NULL, "Mark blocks that can't be read and go on; the exit status is then 8."},
    {"recheck", CLI_SIZE, "SIZE",
     "Of an attached volume: how much of what its tracker calls unchanged to read and prove all the same. Default as for blkrep sync."},
    {"bwlimit", CLI_SIZE, "SIZE", "Store at most SIZE bytes of changed data per second."},
    {"compress", CLI_NUMBER, "N", "Level of zstd, 1 to 19; 0 stores data as it is. Default 3."},
    REPOSITORY_OPTIONS,
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example backup_examples[] = {
    {"blkrep backup disk.img /backup/repo", "The first run stores all data, later ones what changed."},
    {"blkrep backup /dev/vg0/data /backup/repo --tag nightly", "A device, or the name of an attached volume."},
    {"blkrep backup disk.img /backup/repo --type full --tag yearly", "A point that shares nothing with the others."},
    {"blkrep backup disk.img /backup/repo --type differential", "What changed since then, all of it, in one point."},
    {"blkrep backup disk.img /backup/repo --volume disk.img",
     "Go on with that volume, also when its state here is lost."},
    {NULL, NULL},
};

#define BACKUP_HOST_PREFIX "host:"

struct backup_run {
    struct cli *cli;
    struct br_ring *ring;
    struct source_end source;
    struct extents *extents; // --extents; NULL none
    struct repository repository;
    struct run_log *log; // NULL of a dry run
    struct br_endpoint far;
    struct progress progress;
    struct br_sync_result result;
    struct br_writer_counts counts;
    enum br_point_type type; // as asked for
    struct br_point point;
    bool made;
    char host[256];
    char tags_text[BACKUP_TAGS_BYTES];
    const char *tags[BR_POINT_TAGS_MAX + 1];
};

static void backup_on_progress(void *ctx, const struct br_sync_progress *at)
{
    struct backup_run *run = ctx;
    run_log_stage(run->log, br_sync_phase_name(at->phase));
    progress_show_sync(&run->progress, at);
}

static int backup_tags(struct backup_run *run, struct br_err *reterr)
{
    return repository_tags(cli_text(run->cli, "tag"), run->tags_text, sizeof(run->tags_text), run->tags, reterr);
}

// What tells which blocks to compare; NULL: all of the source is read.
static const struct br_tracker *backup_tracker(const struct backup_run *run)
{
    return run->extents ? extents_tracker(run->extents) : source_end_tracker(&run->source);
}

// The newest point of the volume that @word names; of several volumes of that name the one with the newest point, unless @unique.
static int backup_point_of(struct backup_run *run, const char *option, const char *word, bool unique,
                           struct br_point *ret_point, struct br_err *reterr)
{
    struct repository_points points;
    const struct br_point *found = NULL;
    const char *host = !strncmp(word, BACKUP_HOST_PREFIX, strlen(BACKUP_HOST_PREFIX)) && !unique
                           ? word + strlen(BACKUP_HOST_PREFIX)
                           : NULL;
    int error = repository_points_of(run->cli, &run->repository, host ? NULL : word, &points, reterr);

    for (size_t i = 0; !error && i < points.count; i++) {
        if (host && strcmp(points.points[i].host, host) != 0) {
            continue;
        }
        if (found && unique && !br_uuid_equal(&found->volume, &points.points[i].volume)) {
            error =
                br_err_set(reterr, BR_E_USAGE,
                           "--%s: the repository has several volumes %s: give its uuid's first digits", option, word);
        }
        found = &points.points[i]; // the last one is the newest
    }
    if (!error && !found) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "--%s: the repository has no point of %s", option, word);
    }
    if (!error) {
        *ret_point = *found;
    }
    repository_points_free(&points);
    return error;
}

// --volume: the record that says which volume the source is, where it was lost.
static int backup_adopt(struct backup_run *run, struct br_err *reterr)
{
    const char *word = cli_text(run->cli, "volume");
    struct br_dir *dir = run->source.place.dir;
    struct br_uuid known;
    struct br_point point;
    int has = dir ? br_volume_load(dir, &known, reterr) : 0;

    if (has < 0 || !word) {
        return BR_MIN(has, 0);
    }
    int error = backup_point_of(run, "volume", word, true, &point, reterr);
    if (error || (has && br_uuid_equal(&known, &point.volume))) {
        return error;
    }
    if (has) {
        char id[BR_UUID_TEXT_BYTES];

        br_uuid_text(&known, id);
        return br_err_set(reterr, BR_E_REFUSED, "%s is known to be another volume, %s", run->source.place.path, id);
    }
    if (cli_flag(run->cli, "dry-run")) {
        return br_err_set(reterr, BR_E_USAGE, "--volume notes which volume this is: a dry run can't");
    }
    return br_volume_seed(dir, &point.volume, reterr);
}

static int backup_domain_asked(struct backup_run *run, struct br_uuid *ret_domain, struct br_err *reterr)
{
    const char *word = cli_text(run->cli, "domain");
    struct br_point point;
    int error = 0;

    *ret_domain = (struct br_uuid){0};
    if (!word) {
        return 0;
    }
    if (!strcmp(word, "new")) {
        *ret_domain = br_ring_new_uuid(run->ring);
        return 0;
    }
    if (run->type == BR_POINT_FULL) {
        return br_err_set(reterr, BR_E_USAGE, "a full point shares nothing: --domain=%s is out of place", word);
    }
    error = backup_point_of(run, "domain", word, false, &point, reterr);
    *ret_domain = error ? *ret_domain : point.domain;
    return error;
}

// A volume that began anew beside the points that this source had: whoever lost the state may not have meant that.
static void backup_tell_lost(struct backup_run *run, const struct br_uuid *volume)
{
    struct repository_points points;
    char id[BR_UUID_TEXT_BYTES];
    struct br_err none;

    if (!br_uuid_is_nil(volume) || repository_points_of(run->cli, &run->repository, NULL, &points, &none)) {
        return;
    }
    for (size_t i = points.count; i-- > 0;) {
        const struct br_point *point = &points.points[i];

        if (!strcmp(point->host, run->host) && !strcmp(point->label, run->source.place.path)) {
            br_uuid_text(&point->volume, id);
            cli_warn(run->cli,
                     "%s is not known here, and begins a new volume; if it is the one that the repository has from "
                     "here, --volume=%.8s would have continued that",
                     run->source.place.path, id);
            break;
        }
    }
    repository_points_free(&points);
}

static int backup_open_far(struct backup_run *run, struct br_err *reterr)
{
    struct br_backup_params params = {
        .repo = run->repository.repo,
        .type = run->type,
        .host = run->host,
        .tracker = backup_tracker(run) ? backup_tracker(run)->name : "scan",
        .tags = run->tags,
        .level = (int)cli_number(run->cli, "compress", BR_REPO_ZSTD_LEVEL),
    };

    gethostname(run->host, sizeof(run->host) - 1);
    if (params.level > 19) {
        return br_err_set(reterr, BR_E_USAGE, "--compress takes 0 to 19");
    }
    int error = backup_adopt(run, reterr);
    error = error < 0 ? error : br_volume_load(run->source.place.dir, &params.volume, reterr);
    error = error < 0 ? error : repository_domain(run->cli, run->ring, &run->repository, &params.first_domain, reterr);
    error = error < 0 ? error : backup_domain_asked(run, &params.domain, reterr);
    if (error < 0) {
        return error;
    }
    backup_tell_lost(run, &params.volume);
    error = br_backup_open(&params, &run->far, reterr);
    if (!error && run->type == BR_POINT_DIFFERENTIAL && br_backup_type(&run->far) == BR_POINT_FULL) {
        cli_warn(run->cli,
                 "there is no full point yet that a differential one could be compared with: this one is full");
    }
    return error;
}

static int backup_engine(struct backup_run *run, struct br_err *reterr)
{
    struct br_sync_params params;
    int error = source_end_params(&run->source, run->ring, &params, reterr);

    error = error ? error : backup_open_far(run, reterr);
    bool anew = !error && br_backup_anew(&run->far);
    int whole = error ? 1 : br_backup_whole(&run->far, reterr);
    if (error || whole < 0) {
        return error ? error : whole;
    }
    if (!whole) {
        cli_warn(
            run->cli,
            "the point to compare with lacks something: all is compared, and what is missing stored (see blkrep verify)");
    }
    params.endpoint = run->far;
    params.tracker = backup_tracker(run);
    params.force_full = anew || !whole;
    params.always = true;
    params.bytes_per_second = cli_size(run->cli, "bwlimit", 0);
    params.progress = backup_on_progress;
    params.progress_ctx = run;
    error = br_sync_run(&params, &run->result, reterr);
    progress_end(&run->progress);
    // What a differential is compared with is another point than the source's state is of, as a rule.
    if (run->type == BR_POINT_DIFFERENTIAL && run->result.fallback_reason &&
        !strcmp(run->result.fallback_reason, "replica-moved")) {
        run->result.fallback_reason = "differential";
    }
    if (run->result.fallback_reason && !strcmp(run->result.fallback_reason, "extents-of-another-point")) {
        cli_warn(run->cli,
                 "point %s is not the one that this one is compared with: the ranges were left aside, all of the "
                 "source was read",
                 cli_text(run->cli, "since"));
    }
    run->counts = br_backup_counts(&run->far);
    run->made = br_backup_point(&run->far) != NULL;
    if (run->made) {
        run->point = *br_backup_point(&run->far);
        run->result.unreadable_blocks = run->point.unreadable_blocks;
        repository_note(run->cli, &run->repository, &run->point);
    }
    return source_end_blame(&run->source, error, reterr);
}

static void backup_report(struct backup_run *run)
{
    struct cli *cli = run->cli;
    char text[BR_UUID_TEXT_BYTES];

    cli_report_text(cli, "source", run->source.place.path[0] ? run->source.place.path : cli->args[0]);
    cli_report_text(cli, "repository", run->repository.path[0] ? run->repository.path : cli->args[1]);
    br_uuid_text(&run->point.id, text);
    cli_report_text(cli, "point", run->made ? text : NULL);
    br_uuid_text(&run->point.parent, text);
    cli_report_text(cli, "parent", run->made && !br_uuid_is_nil(&run->point.parent) ? text : NULL);
    cli_report_text(cli, "pointtype", run->made ? br_point_type_name(run->point.type) : NULL);
    source_end_report(cli, &run->source, &run->result);
    cli_report_number(cli, "bytes_data", run->counts.raw_bytes);
    cli_report_number(cli, "bytes_stored", run->counts.stored_bytes);
    cli_report_number(cli, "chunks", run->counts.chunks);
    cli_report_number(cli, "chunks_stored", run->counts.chunks_stored);
}

static void backup_say(const struct backup_run *run)
{
    const struct br_sync_result *r = &run->result;
    struct cli *cli = run->cli;
    char changed[32], stored[32], read[32], took[32], id[BR_UUID_TEXT_BYTES];

    cli_bytes(cli, r->bytes_changed, changed, sizeof(changed));
    cli_bytes(cli, run->counts.stored_bytes, stored, sizeof(stored));
    cli_bytes(cli, r->bytes_read, read, sizeof(read));
    br_duration_text(r->duration_ns, took, sizeof(took));
    if (r->dry_run) {
        cli_print(cli, "%s: %s changed; nothing was stored", run->repository.path, changed);
        return;
    }
    br_uuid_text(&run->point.id, id);
    bool first = run->point.type == BR_POINT_INCREMENTAL && br_uuid_is_nil(&run->point.parent);
    cli_print(cli, "%s: point %.8s%s; %s changed, %s stored, %s read in %s%s%s", run->repository.path, id,
              first ? ", which has no parent and counts as a full one" : "", changed, stored, read, took,
              r->verified ? ", verified" : "", r->consistency == BR_CONSISTENCY_NONE ? "; consistency: none" : "");
}

static int backup_remember(struct backup_run *run, int result, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    json_t *details = json_object();
    char id[BR_UUID_TEXT_BYTES];
    struct br_err err = {0};

    br_uuid_text(&run->point.id, id);
    json_object_set_new(details, "source", cli_json_text(run->source.place.path));
    json_object_set_new(details, "status", json_integer(br_err_exit(result)));
    json_object_set_new(details, "error", result ? json_string(br_err_name(result)) : json_null());
    json_object_set_new(details, "point", run->made ? json_string(id) : json_null());
    json_object_set_new(details, "fallback_reason", cli_json_text(run->result.fallback_reason));
    json_object_set_new(details, "tracker_caught", json_boolean(run->result.tracked.caught));
    if (audit_append(cli, result ? "backup-failed" : "backup", run->repository.path, details, &err)) {
        cli_warn(cli, "the audit line could not be written: %s", err.text);
    }
    if (!result && run->point.unreadable_blocks) {
        return br_err_set(reterr, BR_E_GAPS, "%s: %llu blocks of 64 KiB could not be read", run->source.place.path,
                          (unsigned long long)run->point.unreadable_blocks);
    }
    return result;
}

static int backup_extents(struct backup_run *run, struct br_err *reterr)
{
    const char *path = cli_text(run->cli, "extents"), *since = cli_text(run->cli, "since");

    if (!path && !since) {
        return 0;
    }
    if (!path || !since || strlen(since) < 4) {
        return br_err_set(reterr, BR_E_USAGE,
                          "--extents and --since, with at least 4 digits of the point's id, go together");
    }
    if (source_end_tracker(&run->source)) {
        return br_err_set(reterr, BR_E_USAGE, "%s has a tracker of its own: --extents is out of place",
                          run->cli->args[0]);
    }
    return extents_open(path, since, run->source.place.object.size_bytes, &run->extents, reterr);
}

static int backup_open(struct backup_run *run, bool dry_run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    char repo[PATH_MAX], point[256];
    int error = backup_tags(run, reterr);

    error = error ? error : repository_word(cli->args[1], repo, point, reterr);
    if (!error && *point) {
        error = br_err_set(reterr, BR_E_USAGE, "a backup makes a point of its own: '@%s' is out of place", point);
    }
    error = error ? error : progress_begin(&run->progress, cli, reterr);
    error = error ? error : place_ring(cli, &run->ring, reterr);
    error = error || dry_run ? error : audit_ready(cli, reterr);
    error = error ? error : repository_open(cli, run->ring, repo, dry_run, &run->repository, reterr);
    run->log = error || dry_run ? NULL : run_log_begin(cli, run->ring, &run->repository, true);
    error = error ? error : source_end_open(cli, run->ring, cli->args[0], dry_run, &run->source, reterr);
    error = error ? error : backup_extents(run, reterr);
    return error ? error : source_end_guard(&run->source, reterr);
}

static int backup_run(struct cli *cli, struct br_err *reterr)
{
    const char *type = cli_text(cli, "type");
    bool dry_run = cli_flag(cli, "dry-run");
    struct backup_run run = {
        .cli = cli,
        .source = {.place = {.look_fd = -1}},
        .type = !type || !strcmp(type, "incremental") ? BR_POINT_INCREMENTAL
                : !strcmp(type, "full")               ? BR_POINT_FULL
                                                      : BR_POINT_DIFFERENTIAL,
        .result = {.tracker = "scan",
                   .consistency = cli_flag(cli, "live-source") ? BR_CONSISTENCY_NONE : BR_CONSISTENCY_CLEAN,
                   .dry_run = dry_run},
    };
    int error = backup_open(&run, dry_run, reterr);

    if (!error) {
        error = backup_engine(&run, reterr);
        if (error == -BR_E_NO_SPACE) {
            char state[PATH_MAX] = "";
            const char *folders[] = {run.repository.path, run.source.place.side, state};

            (void)!place_state_path(cli, state, NULL);
            place_name_full(folders, BR_ARRAY_LEN(folders), reterr);
        }
        error = dry_run ? error : backup_remember(&run, error, reterr);
    }
    backup_report(&run);
    run_log_end(run.log, error);
    if (!error) {
        backup_say(&run);
    }
    if (run.far.ops) {
        run.far.ops->close(run.far.ctx);
    }
    extents_close(run.extents);
    source_end_close(&run.source, error != 0);
    repository_close(&run.repository);
    br_ring_close(run.ring);
    return error;
}

static const struct cli_field backup_fields[] = {
    {"source", "text", "The source's path."},
    {"repository", "text", "The repository's path."},
    {"point", "text|null", "The id of the point that was made; null when none was."},
    {"parent", "text|null", "The point that it was compared with; null when all was stored that was not there."},
    {"pointtype", "text|null", "Of the point: incremental, differential or full."},
    {"tracker", "text", "What told which blocks to compare; scan reads all of the source."},
    {"fallback_reason", "text|null", "Why the run became a full compare; null when it did not."},
    {"consistency", "text",
     "none: the source could change while it was read. crash: it is one moment, as after a power cut. clean: nothing could write."},
    {"dry_run", "boolean", "Nothing was stored."},
    {"size_bytes", "number", "Of the volume."},
    {"bytes_read", "number", "Read from the source; holes are not."},
    {"bytes_changed", "number", "In pages that differ from the point before; with those that became zeros."},
    {"bytes_zeroed", "number", "Of it, in what became zeros."},
    {"bytes_data", "number",
     "Of it, data that was not in the repository yet, before it was compressed; with the tree that names it."},
    {"bytes_stored", "number", "By which the repository grew."},
    {"chunks", "number", "Blocks, overlays and nodes that the run came by."},
    {"chunks_stored", "number", "Of them, that were not there."},
    {"bytes_tracked", "number", "What the tracker said may have changed, in whole blocks of 64 KiB; 0 with scan."},
    {"bytes_rechecked_source", "number", "Of what the tracker called unchanged, read and proven all the same."},
    {"tracker_caught", "boolean",
     "One of these had changed: the tracker is distrusted, and this run compared everything."},
    {"seconds_window", "number", "How long writes to an attached volume waited for the snapshot; 0 of others."},
    {"unreadable_blocks", "number", "Blocks of the point that the source could not read."},
    {"verified", "boolean", "The source and the point were read and compared, by --verify."},
    {"seconds", "number", "The whole run took."},
    {"volume", "text|null", "The uuid of the volume."},
    {"root", "text|null", "The hash that names the content; the same as of a replica of it."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_backup = {
    .name = "backup",
    .args = "SOURCE REPO",
    .args_min = 2,
    .args_max = 2,
    .summary = "Add a recovery point of SOURCE to a repository.",
    .description =
        "SOURCE is a file, a block device, or an attached volume (blkrep-attach(1)), as for blkrep sync; REPO a repository that blkrep init made. "
        "Each run makes a point, which holds the whole volume as it was read and is restored by itself; of what is in it, only what is not in "
        "the repository yet is stored: a run after the first stores the 4 KiB pages that changed, compressed and sealed.\n\n"
        "When the exit status is 0, the point is durable. A run that is cut, by whatever, leaves no point and harms no other; what it had "
        "stored is found by the next one. Two runs into one repository don't wait for each other.",
    .options = backup_options,
    .examples = backup_examples,
    .see_also = "blkrep-init(1), blkrep-points(1), blkrep-restore(1), blkrep-verify(1), blkrep-errors(7)",
    .schema = "blkrep.backup/1",
    .fields = backup_fields,
    .run = backup_run,
};
