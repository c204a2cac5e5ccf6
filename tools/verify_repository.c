// SPDX-License-Identifier: Apache-2.0
#include "tools/verify_repository.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/repo/reader.h"
#include "engine/repo/verify.h"
#include "tools/audit.h"
#include "tools/progress.h"
#include "tools/run_log.h"

#define VERIFY_NAMED 20u // things that are wrong that are named one by one

struct verify {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    struct progress progress;
    struct run_log *log;
    uint64_t begun_ns;
    unsigned named;
};

static void verify_bad(void *ctx, const char *what)
{
    struct verify *verify = ctx;

    if (verify->named++ < VERIFY_NAMED) {
        cli_warn(verify->cli, "%s", what);
    }
}

static void verify_show(struct verify *verify, const char *phase, uint64_t done, uint64_t total)
{
    struct progress_sample sample = {
        .phase = phase,
        .position_bytes = done,
        .size_bytes = total,
        .elapsed_ns = br_ring_now_ns(verify->ring) - verify->begun_ns,
    };

    run_log_stage(verify->log, phase);
    progress_show(&verify->progress, &sample);
}

static void verify_on_progress(void *ctx, const struct br_repo_verify_progress *at)
{
    if (at->reading) {
        verify_show(ctx, "read", at->done, at->total);
    }
}

static void verify_report(struct verify *verify, const struct br_repo_verify_result *result, bool complete, bool data,
                          bool intact, uint64_t ns)
{
    struct cli *cli = verify->cli;

    cli_report_text(cli, "replica", verify->repository.path);
    cli_report_number(cli, "bad_blocks", result->chunks_missing);
    cli_report_json(cli, "gaps", json_null());
    cli_report_seconds(cli, "seconds", ns);
    cli_report_bool(cli, "complete", complete);
    cli_report_json(cli, "intact", data ? json_boolean(intact) : json_null());
    cli_report_number(cli, "points", result->points);
    cli_report_number(cli, "points_incomplete", result->points_incomplete);
    cli_report_number(cli, "chunks", result->chunks);
    cli_report_number(cli, "chunks_missing", result->chunks_missing);
    cli_report_number(cli, "packs", verify->repository.refreshed.packs);
    cli_report_number(cli, "packs_damaged", result->packs_damaged);
    cli_report_number(cli, "bytes_read", result->bytes_read);
    cli_report_number(cli, "rolled_back", verify->repository.rolled_back);
}

static int verify_verdict(struct verify *verify, const struct br_repo_verify_result *result, bool data, uint64_t ns,
                          struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    const char *path = verify->repository.path;
    bool complete = !result->points_incomplete, intact = !result->packs_damaged;
    char took[32], read[32];

    verify_report(verify, result, complete, data, intact, ns);
    if (verify->named > VERIFY_NAMED) {
        cli_warn(cli, "and %u more", verify->named - VERIFY_NAMED);
    }
    if (!complete || !intact) {
        return br_err_set(reterr, BR_E_VERIFY,
                          "%s: %" PRIu64 " of %" PRIu64 " points are incomplete (%" PRIu64 " blocks missing), %" PRIu64
                          " packs damaged",
                          path, result->points_incomplete, result->points, result->chunks_missing,
                          result->packs_damaged);
    }
    br_duration_text(ns, took, sizeof(took));
    cli_bytes(cli, result->bytes_read, read, sizeof(read));
    cli_print(cli, "%s: %" PRIu64 " point%s complete%s%s%s, in %s", path, result->points,
              result->points == 1 ? "" : "s", data ? "; all that is stored, " : "; not read (see --data)",
              data ? read : "", data ? ", is intact" : "", took);
    return 0;
}

static int by_volume(const void *a, const void *b)
{
    const struct br_point *left = a, *right = b;
    int order = memcmp(left->volume.bytes, right->volume.bytes, BR_UUID_BYTES);

    return order ? order : (left->counter > right->counter) - (left->counter < right->counter);
}

static int verify_all(struct verify *verify, struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    struct repository_points points = {0};
    struct br_repo_verify_result result = {0};
    bool data = cli_flag(cli, "data");
    int error = repository_points(cli, &verify->repository, &points, reterr);

    if (!error && points.count) {
        qsort(points.points, points.count, sizeof(*points.points), by_volume);
    }
    const struct br_repo_verify_params params = {
        .repo = verify->repository.repo,
        .points = points.points,
        .point_count = points.count,
        .data = data,
        .bad = verify_bad,
        .progress = verify_on_progress,
        .ctx = verify,
        .cancel = &cli_cancel,
    };
    error = error ? error : br_repo_verify(&params, &result, reterr);
    progress_end(&verify->progress);
    // Both have been warned of.
    result.points += points.damaged;
    result.points_incomplete += points.damaged;
    result.packs_damaged += verify->repository.refreshed.damaged;
    if (!error) {
        error = verify_verdict(verify, &result, data, br_ring_now_ns(verify->ring) - verify->begun_ns, reterr);
    }
    repository_points_free(&points);
    return error;
}

// One point --------------------------------------------------------------------------------------------------------------------------

static void point_progress(void *ctx, const struct br_read_progress *at)
{
    verify_show(ctx, "verify", at->position_bytes, at->size_bytes);
}

static void point_bad_block(void *ctx, uint64_t offset_bytes, const struct br_err *why)
{
    char text[700];

    snprintf(text, sizeof(text), "the block at %" PRIu64 ": %s", offset_bytes, why->text);
    verify_bad(ctx, text);
}

static int verify_point(struct verify *verify, const char *word, struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    struct br_point point;
    struct br_read_params params = {
        .repo = verify->repository.repo,
        .point = &point,
        .len_bytes = UINT64_MAX,
        .sink = br_read_drop,
        .go_on = true,
        .bad_block = point_bad_block,
        .bad_block_ctx = verify,
        .cancel = &cli_cancel,
        .progress = point_progress,
        .progress_ctx = verify,
    };
    struct br_read_progress progress = {0};
    struct br_repo_verify_result result = {.points = 1};
    uint64_t bad_blocks = 0;
    char id[BR_UUID_TEXT_BYTES], size[32], took[32];
    int error = repository_point(cli, &verify->repository, word, &point, reterr);

    if (error) {
        return error;
    }
    error = br_repo_read(&params, &progress, &bad_blocks, reterr);
    progress_end(&verify->progress);
    uint64_t ns = br_ring_now_ns(verify->ring) - verify->begun_ns;
    bool whole = !error && !bad_blocks;
    result.points_incomplete = !whole;
    result.chunks_missing = bad_blocks;
    result.bytes_read = progress.store_bytes;
    verify_report(verify, &result, whole, true, whole, ns);
    if (verify->named > VERIFY_NAMED) {
        cli_warn(cli, "and %u more", verify->named - VERIFY_NAMED);
    }
    br_uuid_text(&point.id, id);
    if (error == -BR_E_CORRUPT || error == -BR_E_NOT_FOUND || error == -BR_E_TRUNCATED) {
        char why[sizeof(reterr->text)];

        snprintf(why, sizeof(why), "%s", reterr->text);
        return br_err_set(reterr, BR_E_VERIFY, "point %.8s: %.400s", id, why);
    }
    if (!error && bad_blocks) {
        return br_err_set(reterr, BR_E_VERIFY, "point %.8s: %" PRIu64 " blocks are missing or damaged", id, bad_blocks);
    }
    if (!error) {
        cli_bytes(cli, point.size_bytes, size, sizeof(size));
        br_duration_text(ns, took, sizeof(took));
        cli_print(cli, "%s: point %.8s of %s: all %s are what they were, proven in %s", verify->repository.path, id,
                  point.label, size, took);
    }
    return error;
}

int verify_repository(struct cli *cli, const char *repo, const char *point, struct br_err *reterr)
{
    struct verify verify = {.cli = cli};
    struct br_err err = {0};
    int error = progress_begin(&verify.progress, cli, reterr);

    if (!error && *point && cli_flag(cli, "data")) {
        error = br_err_set(reterr, BR_E_USAGE, "of one point all data is read anyway: --data is out of place");
    }
    error = error ? error : place_ring(cli, &verify.ring, reterr);
    error = error ? error : repository_open(cli, verify.ring, repo, true, &verify.repository, reterr);
    if (!error) {
        verify.begun_ns = br_ring_now_ns(verify.ring);
        verify.log = run_log_begin(cli, verify.ring, &verify.repository, false);
        run_log_stage(verify.log, *point ? "verify" : "look");
        error = *point ? verify_point(&verify, point, reterr) : verify_all(&verify, reterr);
        error = repository_result(&verify.repository, error, reterr);
    }
    if (error == -BR_E_VERIFY) {
        json_t *details = json_object();

        json_object_set_new(details, "why", cli_json_text(reterr->text));
        if (audit_append(cli, "verify-failed", verify.repository.path, details, &err)) {
            cli_warn(cli, "the audit line could not be written: %s", err.text);
        }
    }
    run_log_end(verify.log, error);
    repository_close(&verify.repository);
    br_ring_close(verify.ring);
    return error;
}
