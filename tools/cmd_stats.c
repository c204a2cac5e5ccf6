// SPDX-License-Identifier: Apache-2.0
//
// blkrep stats: what a repository holds, what it takes, and who needs it.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/repo/usage.h"
#include "tools/progress.h"
#include "tools/repository.h"

static const struct cli_option stats_options[] = {
    REPOSITORY_OPTIONS,
    {"progress", CLI_NUMBER, "FD", "Write progress as newline-delimited JSON to this open descriptor."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example stats_examples[] = {
    {"blkrep stats /backup/repo", "What takes how much?"},
    {NULL, NULL},
};

static const struct cli_field stats_fields[] = {
    {"repository", "text", "Its path."},
    {"points", "number", "In it."},
    {"damaged", "number", "Points that don't open."},
    {"volumes", "number", "With points."},
    {"packs", "number", "In it."},
    {"bytes_packs", "number", "That they take."},
    {"chunks", "number", "Blocks, overlays and nodes in them."},
    {"bytes_data", "number", "That restoring every point would write, holes left out."},
    {"bytes_needed", "number", "In chunks that points need, before compression."},
    {"bytes_needed_stored", "number", "The same as stored."},
    {"bytes_unneeded_stored", "number",
     "As stored, in what no point needs: of points that were removed, of runs that were cut, or there twice."},
    {"chunks_missing", "number", "That points need, and no pack has; see blkrep verify."},
    {"dedup_ratio", "number", "bytes_data to bytes_needed."},
    {"compression_ratio", "number", "bytes_needed to bytes_needed_stored."},
    {"seconds", "number", "It took."},
    {NULL, NULL, NULL},
};

static const struct cli_field stats_volume_fields[] = {
    {"volume", "text", "Its uuid."},
    {"source", "text", "As it was named for its newest point."},
    {"host", "text", "That made that."},
    {"points", "number", "Of it."},
    {"size_bytes", "number", "Of the newest one."},
    {"bytes_data", "number", "That restoring every one of them would write, holes left out."},
    {"bytes_alone", "number", "In chunks that only this volume needs, before compression."},
    {"bytes_alone_stored", "number", "The same as stored: what would be free without it."},
    {"bytes_shared", "number", "In chunks that another volume needs too, before compression."},
    {"bytes_shared_stored", "number", "The same as stored."},
    {NULL, NULL, NULL},
};

static const struct cli_field stats_epoch_fields[] = {
    {"number", "number", "Of the epoch."},
    {"made", "text|null", "When, UTC; null when its key is gone."},
    {"shredded", "boolean", "Its key was given up."},
    {"packs", "number", "Sealed with it."},
    {"bytes_packs", "number", "That these take."},
    {NULL, NULL, NULL},
};

static const struct cli_line stats_lines[] = {
    {"volume", "For each volume.", stats_volume_fields},
    {"epoch", "For each epoch.", stats_epoch_fields},
    {NULL, NULL, NULL},
};

struct stats_run {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    struct repository_points points;
    struct progress progress;
    uint64_t begun_ns;
    struct br_usage usage;
};

static void stats_on_progress(void *ctx, uint64_t points, uint64_t total)
{
    struct stats_run *run = ctx;
    struct progress_sample sample = {
        .phase = "look",
        .position_bytes = points,
        .size_bytes = total,
        .elapsed_ns = br_ring_now_ns(run->ring) - run->begun_ns,
    };

    progress_show(&run->progress, &sample);
}

static int by_volume(const void *a, const void *b)
{
    const struct br_point *left = a, *right = b;
    int order = memcmp(left->volume.bytes, right->volume.bytes, BR_UUID_BYTES);

    return order ? order : (left->counter > right->counter) - (left->counter < right->counter);
}

// A file without a name, in the state folder: it is as large as the index is, and gone with the process.
static int stats_scratch(struct cli *cli, int *ret_fd, struct br_err *reterr)
{
    int dir, error = place_state_dir(cli, "repositories", &dir, reterr);

    if (error) {
        return error;
    }
    *ret_fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*ret_fd < 0) {
        error = br_err_os(reterr, errno, "a file in the state folder");
    }
    close(dir);
    return error;
}

struct epoch_sum {
    uint32_t epoch;
    uint64_t packs, bytes;
};

static int sum_epoch(void *ctx, const struct br_index_pack *pack)
{
    struct epoch_sum *sum = ctx;

    if (pack->epoch == sum->epoch) {
        sum->packs++;
        sum->bytes += pack->bytes;
    }
    return 0;
}

static int stats_epochs(const struct stats_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    size_t count;
    const struct br_repo_epoch_info *infos = br_repo_epochs(run->repository.repo, &count);
    int error = 0;

    cli_print(cli, "%s", "");
    cli_print(cli, "%-8s  %-20s %8s %10s", "EPOCH", "MADE", "PACKS", "STORED");
    for (size_t i = 0; !error && i < count; i++) {
        struct epoch_sum sum = {.epoch = infos[i].number};
        char made[40], stored[32];
        json_t *event = json_object();

        error = br_index_each_pack(br_repo_index_of(run->repository.repo), sum_epoch, &sum, reterr);
        br_time_text(infos[i].made_unix_ns, made, sizeof(made));
        cli_bytes(cli, sum.bytes, stored, sizeof(stored));
        cli_print(cli, "%-8" PRIu32 "  %-20s %8" PRIu64 " %10s", infos[i].number, infos[i].shredded ? "shredded" : made,
                  sum.packs, stored);
        json_object_set_new(event, "type", json_string("epoch"));
        json_object_set_new(event, "number", json_integer(infos[i].number));
        json_object_set_new(event, "made", infos[i].made_unix_ns ? json_string(made) : json_null());
        json_object_set_new(event, "shredded", json_boolean(infos[i].shredded));
        json_object_set_new(event, "packs", json_integer((json_int_t)sum.packs));
        json_object_set_new(event, "bytes_packs", json_integer((json_int_t)sum.bytes));
        cli_event(cli, event);
    }
    return error;
}

static void stats_volume(struct cli *cli, const struct br_usage_volume *volume)
{
    char id[BR_UUID_TEXT_BYTES], size[32], data[32], alone[32], shared[32], label[BR_LABEL_BYTES];
    json_t *event = json_object();

    br_uuid_text(&volume->volume, id);
    cli_bytes(cli, volume->newest.size_bytes, size, sizeof(size));
    cli_bytes(cli, volume->data_bytes, data, sizeof(data));
    cli_bytes(cli, volume->alone.stored_bytes, alone, sizeof(alone));
    cli_bytes(cli, volume->shared.stored_bytes, shared, sizeof(shared));
    br_quote(volume->newest.label, label, sizeof(label));
    cli_print(cli, "%.8s  %6" PRIu64 " %10s %10s %10s %10s  %s", id, volume->points, size, data, alone, shared, label);
    json_object_set_new(event, "type", json_string("volume"));
    json_object_set_new(event, "volume", json_string(id));
    json_object_set_new(event, "source", cli_json_text(volume->newest.label));
    json_object_set_new(event, "host", cli_json_text(volume->newest.host));
    json_object_set_new(event, "points", json_integer((json_int_t)volume->points));
    json_object_set_new(event, "size_bytes", json_integer((json_int_t)volume->newest.size_bytes));
    json_object_set_new(event, "bytes_data", json_integer((json_int_t)volume->data_bytes));
    json_object_set_new(event, "bytes_alone", json_integer((json_int_t)volume->alone.raw_bytes));
    json_object_set_new(event, "bytes_alone_stored", json_integer((json_int_t)volume->alone.stored_bytes));
    json_object_set_new(event, "bytes_shared", json_integer((json_int_t)volume->shared.raw_bytes));
    json_object_set_new(event, "bytes_shared_stored", json_integer((json_int_t)volume->shared.stored_bytes));
    cli_event(cli, event);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 1.0;
}

static void stats_say(const struct stats_run *run, uint64_t unneeded)
{
    struct cli *cli = run->cli;
    const struct br_usage *usage = &run->usage;
    char packs[32], data[32], needed[32], rest[32];

    cli_bytes(cli, usage->pack_bytes, packs, sizeof(packs));
    cli_bytes(cli, usage->data_bytes, data, sizeof(data));
    cli_bytes(cli, usage->needed.stored_bytes, needed, sizeof(needed));
    cli_bytes(cli, unneeded, rest, sizeof(rest));
    cli_print(cli, "%s", "");
    cli_print(cli, "%" PRIu64 " points of %zu volumes hold %s of data; %" PRIu64 " packs take %s", usage->points,
              usage->volume_count, data, usage->packs, packs);
    cli_print(cli, "dedup %.2f : 1, compression %.2f : 1; %s needed, %s not",
              ratio(usage->data_bytes, usage->needed.raw_bytes),
              ratio(usage->needed.raw_bytes, usage->needed.stored_bytes), needed, rest);
}

static void stats_report(const struct stats_run *run, uint64_t unneeded)
{
    struct cli *cli = run->cli;
    const struct br_usage *usage = &run->usage;

    cli_report_text(cli, "repository", run->repository.path[0] ? run->repository.path : cli->args[0]);
    cli_report_number(cli, "points", usage->points);
    cli_report_number(cli, "damaged", run->points.damaged);
    cli_report_number(cli, "volumes", usage->volume_count);
    cli_report_number(cli, "packs", usage->packs);
    cli_report_number(cli, "bytes_packs", usage->pack_bytes);
    cli_report_number(cli, "chunks", usage->chunks);
    cli_report_number(cli, "bytes_data", usage->data_bytes);
    cli_report_number(cli, "bytes_needed", usage->needed.raw_bytes);
    cli_report_number(cli, "bytes_needed_stored", usage->needed.stored_bytes);
    cli_report_number(cli, "bytes_unneeded_stored", unneeded);
    cli_report_number(cli, "chunks_missing", usage->missing);
    cli_report_json(cli, "dedup_ratio", json_real(ratio(usage->data_bytes, usage->needed.raw_bytes)));
    cli_report_json(cli, "compression_ratio", json_real(ratio(usage->needed.raw_bytes, usage->needed.stored_bytes)));
    cli_report_seconds(cli, "seconds", run->ring ? br_ring_now_ns(run->ring) - run->begun_ns : 0);
}

static int stats_engine(struct stats_run *run, struct br_err *reterr)
{
    struct cli *cli = run->cli;
    int scratch = -1;
    int error = repository_points_of(cli, &run->repository, NULL, &run->points, reterr);

    error = error ? error : stats_scratch(cli, &scratch, reterr);
    if (!error && run->points.count) {
        qsort(run->points.points, run->points.count, sizeof(*run->points.points), by_volume);
    }
    if (!error) {
        const struct br_usage_params params = {
            .repo = run->repository.repo,
            .points = run->points.points,
            .point_count = run->points.count,
            .scratch_fd = scratch,
            .progress = stats_on_progress,
            .progress_ctx = run,
            .cancel = &cli_cancel,
        };

        error = br_repo_usage(&params, &run->usage, reterr);
    }
    progress_end(&run->progress);
    if (scratch >= 0) {
        close(scratch);
    }
    return error;
}

static int stats_run(struct cli *cli, struct br_err *reterr)
{
    struct stats_run run = {.cli = cli};
    char repo[PATH_MAX], point[256];
    int error = repository_word(cli->args[0], repo, point, reterr);

    if (!error && *point) {
        error = br_err_set(reterr, BR_E_USAGE, "stats are a repository's: '@%s' is out of place", point);
    }
    error = error ? error : progress_begin(&run.progress, cli, reterr);
    error = error ? error : place_ring(cli, &run.ring, reterr);
    error = error ? error : repository_open(cli, run.ring, repo, true, &run.repository, reterr);
    // Behind the opening, which may have waited for a passphrase.
    run.begun_ns = run.ring ? br_ring_now_ns(run.ring) : 0;
    error = error ? error : stats_engine(&run, reterr);
    // Shares are rounded down, so the rest can only be too large by a little.
    uint64_t unneeded =
        run.usage.whole.stored_bytes - BR_MIN(run.usage.whole.stored_bytes, run.usage.needed.stored_bytes);
    if (!error) {
        cli_print(cli, "%-8s  %6s %10s %10s %10s %10s  %s", "VOLUME", "POINTS", "SIZE", "DATA", "ALONE", "SHARED",
                  "SOURCE");
        for (size_t i = 0; i < run.usage.volume_count; i++) {
            stats_volume(cli, &run.usage.volumes[i]);
        }
        error = stats_epochs(&run, reterr);
        stats_say(&run, unneeded);
    }
    stats_report(&run, unneeded);
    br_usage_free(&run.usage);
    repository_points_free(&run.points);
    repository_close(&run.repository);
    br_ring_close(run.ring);
    return error;
}

const struct cli_verb cmd_stats = {
    .name = "stats",
    .args = "REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "Show what a repository holds, what that takes, and who needs it.",
    .description =
        "For each volume: its points, its size, the data that its points hold together, and what the repository keeps for this volume alone and shares "
        "with others, as stored. Then the epochs, and all of it: how much less is kept than the points hold since they share it (dedup), how much less "
        "that takes compressed, and what no point needs.\n\n"
        "The trees of all points are read, no data. What frames take is shared out among the blocks in them, so that figures are near, not exact.",
    .options = stats_options,
    .examples = stats_examples,
    .see_also = "blkrep-points(1), blkrep-verify(1)",
    .schema = "blkrep.stats/1",
    .fields = stats_fields,
    .lines = stats_lines,
    .run = stats_run,
};
