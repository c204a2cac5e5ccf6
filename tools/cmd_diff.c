// SPDX-License-Identifier: Apache-2.0
//
// blkrep diff: what differs between two points, or a point and a replica, by their version trees alone.
#include <inttypes.h>
#include <stdio.h>

#include "engine/repo/compare.h"
#include "tools/replica_verb.h"
#include "tools/repository.h"

static const struct cli_option diff_options[] = {
    {"volume", CLI_TEXT, "VOLUME",
     "Which volume's points latest and times mean, where the repository has several: its source's path or the last part of it, or the first digits of its uuid."},
    {"extents", CLI_FLAG, NULL,
     "Print only OFFSET LENGTH, in bytes, for each range, as `blkrep backup --extents` takes it; what is to be --since is the first line, a comment."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example diff_examples[] = {
    {"blkrep diff /backup/repo@latest /backup/repo@latest --volume disk.img", "Nothing differs from itself."},
    {"blkrep diff /backup/repo@latest /backup/disk.img --volume disk.img", "Is that replica at the newest point?"},
    {NULL, NULL},
};

static const struct cli_field diff_fields[] = {
    {"repository", "text", "Its path."},
    {"older", "text|null", "The id of the first point."},
    {"newer", "text|null", "The id of the second one; of a replica its path."},
    {"same", "boolean", "Both are the same version: their roots are equal."},
    {"ranges", "number", "How many were printed."},
    {"bytes_differ", "number", "In them, in whole blocks of 64 KiB."},
    {"bytes_data", "number", "Of these, where the second one has data."},
    {"bytes_zero", "number", "Where it has zeros."},
    {"bytes_unreadable", "number", "Where its source could not be read, and that of the first one could."},
    {"size_older_bytes", "number", "Of the volume then."},
    {"size_newer_bytes", "number", "Of the volume as the second one has it; what lay behind is not printed."},
    {"root_older", "text|null", "The hash that names the content of the first."},
    {"root_newer", "text|null", "Of the second."},
    {NULL, NULL, NULL},
};

static const struct cli_field diff_range_fields[] = {
    {"offset_bytes", "number", "Where it begins, a multiple of 64 KiB."},
    {"len_bytes", "number", "How long it is."},
    {"holds", "text", "What the second one has there: data, zero or unreadable."},
    {NULL, NULL, NULL},
};

static const struct cli_line diff_lines[] = {
    {"range", "For each range that differs, ascending.", diff_range_fields},
    {NULL, NULL, NULL},
};

struct diff_run {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    struct br_point older, newer;
    struct replica_verb replica;
    const char *replica_path; // NULL: two points
    struct br_hash new_root;
    uint64_t new_size_bytes;
    uint64_t ranges;
    uint64_t bytes[BR_RANGE_UNREADABLE + 1];
};

static int diff_range(void *ctx, const struct br_range *range)
{
    struct diff_run *run = ctx;
    const struct cli *cli = run->cli;

    run->bytes[range->kind] += range->len_bytes;
    if (cli->json) {
        json_t *event = json_object();

        json_object_set_new(event, "type", json_string("range"));
        json_object_set_new(event, "offset_bytes", json_integer((json_int_t)range->offset_bytes));
        json_object_set_new(event, "len_bytes", json_integer((json_int_t)range->len_bytes));
        json_object_set_new(event, "holds", json_string(br_range_kind_name(range->kind)));
        cli_event(cli, event);
    } else if (cli_flag(cli, "extents")) {
        cli_print(cli, "%" PRIu64 " %" PRIu64, range->offset_bytes, range->len_bytes);
    } else {
        if (!run->ranges) {
            cli_print(cli, "%20s %16s  %s", "OFFSET", "LENGTH", "HOLDS");
        }
        cli_print(cli, "%20" PRIu64 " %16" PRIu64 "  %s", range->offset_bytes, range->len_bytes,
                  br_range_kind_name(range->kind));
    }
    run->ranges++;
    return cli_cancel ? -BR_E_CANCELLED : 0;
}

static void diff_report(const struct diff_run *run)
{
    struct cli *cli = run->cli;
    char text[2 * BR_HASH_BYTES + 1];
    bool known = !br_uuid_is_nil(&run->older.id) && run->new_size_bytes != UINT64_MAX;

    cli_report_text(cli, "repository", run->repository.path[0] ? run->repository.path : cli->args[0]);
    br_uuid_text(&run->older.id, text);
    cli_report_text(cli, "older", br_uuid_is_nil(&run->older.id) ? NULL : text);
    br_uuid_text(&run->newer.id, text);
    cli_report_text(cli, "newer", run->replica_path ? run->replica_path : br_uuid_is_nil(&run->newer.id) ? NULL : text);
    cli_report_bool(cli, "same", known && br_hash_equal(&run->older.root, &run->new_root));
    cli_report_number(cli, "ranges", run->ranges);
    cli_report_number(cli, "bytes_differ",
                      run->bytes[BR_RANGE_DATA] + run->bytes[BR_RANGE_ZERO] + run->bytes[BR_RANGE_UNREADABLE]);
    cli_report_number(cli, "bytes_data", run->bytes[BR_RANGE_DATA]);
    cli_report_number(cli, "bytes_zero", run->bytes[BR_RANGE_ZERO]);
    cli_report_number(cli, "bytes_unreadable", run->bytes[BR_RANGE_UNREADABLE]);
    cli_report_number(cli, "size_older_bytes", run->older.size_bytes);
    cli_report_number(cli, "size_newer_bytes", known ? run->new_size_bytes : 0);
    br_hash_text(&run->older.root, text);
    cli_report_text(cli, "root_older", known ? text : NULL);
    br_hash_text(&run->new_root, text);
    cli_report_text(cli, "root_newer", known ? text : NULL);
}

static void diff_say(const struct diff_run *run)
{
    struct cli *cli = run->cli;
    char data[32], zero[32];

    if (br_hash_equal(&run->older.root, &run->new_root)) {
        cli_say(cli, "the same: %.16s", (const char *)json_string_value(json_object_get(cli->report, "root_newer")));
        return;
    }
    cli_bytes(cli, run->bytes[BR_RANGE_DATA] + run->bytes[BR_RANGE_UNREADABLE], data, sizeof(data));
    cli_bytes(cli, run->bytes[BR_RANGE_ZERO], zero, sizeof(zero));
    cli_say(cli, "%" PRIu64 " range%s: %s of other data, %s became zeros", run->ranges, run->ranges == 1 ? "" : "s",
            data, zero);
}

// Of what may be compared, points of two volumes must at least be of one size: else hardly anybody meant it.
static int diff_check(const struct diff_run *run, struct br_err *reterr)
{
    return br_uuid_equal(&run->older.volume, &run->newer.volume) || run->older.size_bytes == run->newer.size_bytes
               ? 0
               : br_err_set(reterr, BR_E_USAGE, "the two points are of different volumes, and not of one size");
}

static int diff_with_replica(struct diff_run *run, struct br_err *reterr)
{
    struct br_frames *frames = NULL;
    struct br_repo_version version = {0};
    int error = replica_verb_open(run->cli, run->cli->args[1], PLACE_LOOK, &run->replica, reterr);

    if (error) {
        return error;
    }
    run->replica_path = run->replica.place.path;
    const struct br_identity *identity = br_replica_identity(run->replica.replica);
    if (identity->state != BR_STATE_COMPLETE) {
        return identity->state == BR_STATE_NONE
                   ? br_err_set(reterr, BR_E_NOT_FOUND, "%s is not a replica that this host knows", run->replica_path)
               : identity->state == BR_STATE_INCOMPLETE ? br_err_set(reterr, BR_E_INCOMPLETE, "%s", run->replica_path)
                                                        : br_err_set(reterr, BR_E_TRANSITION, "%s", run->replica_path);
    }
    run->new_root = identity->root;
    run->new_size_bytes = identity->tree.geometry.size_bytes;
    if (br_hash_equal(&run->older.root, &run->new_root)) {
        return 0;
    }
    error = br_frames_open(run->repository.repo, 16, &frames, reterr);
    error = error ? error : br_repo_version_open(run->repository.repo, frames, &run->older, &version, reterr);
    if (!error) {
        const struct br_compare_side older = {.tree = &version.tree, .store = &version.store};
        const struct br_compare_side newer = {.tree = &identity->tree, .store = br_replica_store(run->replica.replica)};

        error = br_compare(&older, &newer, diff_range, run, reterr);
    }
    br_repo_version_close(&version);
    br_frames_close(frames);
    return error;
}

static int diff_points(struct diff_run *run, const char *point, struct br_err *reterr)
{
    char since[BR_UUID_TEXT_BYTES], until[BR_UUID_TEXT_BYTES];
    int error = repository_point(run->cli, &run->repository, point, &run->newer, reterr);

    if (error) {
        return error;
    }
    run->new_root = run->newer.root;
    run->new_size_bytes = run->newer.size_bytes;
    error = diff_check(run, reterr);
    if (!error && cli_flag(run->cli, "extents")) {
        br_uuid_text(&run->older.id, since);
        br_uuid_text(&run->newer.id, until);
        cli_print(run->cli, "# since %s until %s", since, until);
    }
    return error ? error : br_compare_points(run->repository.repo, &run->older, &run->newer, diff_range, run, reterr);
}

// The second word: a point of the same repository, or a replica.
static int diff_second(struct diff_run *run, const char *first_repo, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    char repo[PATH_MAX], point[256], path[PATH_MAX], real[PATH_MAX];
    struct br_err none;

    if (repository_word(cli->args[1], repo, point, &none) || !repository_is(cli, repo)) {
        return diff_with_replica(run, reterr);
    }
    if (!*point) {
        return br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest is the newest", repo, repo);
    }
    int error = strcmp(repo, first_repo) ? repository_path(cli, repo, path, reterr) : 0;
    if (!error && strcmp(repo, first_repo) && (!realpath(path, real) || strcmp(real, run->repository.path) != 0)) {
        error = br_err_set(reterr, BR_E_USAGE, "%s is another repository: two points of one are compared", repo);
    }
    return error ? error : diff_points(run, point, reterr);
}

static int diff_run(struct cli *cli, struct br_err *reterr)
{
    struct diff_run run = {.cli = cli, .replica = {.place = {.look_fd = -1}}, .new_size_bytes = UINT64_MAX};
    char repo[PATH_MAX], point[256];
    int error = repository_word(cli->args[0], repo, point, reterr);

    if (!error && !*point) {
        error = br_err_set(reterr, BR_E_USAGE, "which point of %s? %s@latest is the newest", repo, repo);
    }
    error = error ? error : place_ring(cli, &run.ring, reterr);
    error = error ? error : repository_open(cli, run.ring, repo, true, &run.repository, reterr);
    error = error ? error : repository_point(cli, &run.repository, point, &run.older, reterr);
    error = error ? error : diff_second(&run, repo, reterr);
    if (error == -BR_E_CANCELLED && !reterr->code) {
        error = br_err_set(reterr, BR_E_CANCELLED, "comparing");
    }
    error = repository_result(&run.repository, error, reterr);
    diff_report(&run);
    if (!error) {
        diff_say(&run);
    }
    replica_verb_close(&run.replica);
    repository_close(&run.repository);
    br_ring_close(run.ring);
    return error;
}

const struct cli_verb cmd_diff = {
    .name = "diff",
    .args = "REPO@POINT REPO@POINT|REPLICA",
    .args_min = 2,
    .args_max = 2,
    .summary = "Show which ranges differ between two recovery points, or a point and a replica.",
    .description =
        "The version trees of the two are compared, and of these only what differs is read; no data is. The two points are of one volume, of "
        "whatever sizes, or of two volumes of one size; a replica is one on this host, and what its state says it holds is compared (`blkrep "
        "verify` proves that it does).\n\n"
        "A range is in whole blocks of 64 KiB; a block is named when anything in it differs. What the second one no longer has, since it is "
        "shorter, is not named; where it is longer, what it has there is, unless zeros. A block that neither source could read counts as equal.\n\n"
        "The exit status is 0 whether anything differs or not; the exit object's \"same\" tells.",
    .options = diff_options,
    .examples = diff_examples,
    .see_also = "blkrep-points(1), blkrep-backup(1), blkrep-verify(1)",
    .schema = "blkrep.diff/1",
    .fields = diff_fields,
    .lines = diff_lines,
    .run = diff_run,
};
