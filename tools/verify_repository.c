// SPDX-License-Identifier: Apache-2.0
#include "tools/verify_repository.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/repo/copy.h"
#include "engine/repo/lease.h"
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
    struct repository other; // --repair
    uint32_t *damaged;       // packs, ascending
    size_t damaged_count;
    uint64_t repaired_bytes;
    bool short_of_memory;
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
    cli_report_number(cli, "packs_proven", result->packs_proven);
    cli_report_number(cli, "bytes_read", result->bytes_read);
    cli_report_number(cli, "bytes_repaired", verify->repaired_bytes);
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

// Repair ------------------------------------------------------------------------------------------------------------------------------

static void verify_damaged(void *ctx, uint32_t pack)
{
    struct verify *verify = ctx;
    void *more = reallocarray(verify->damaged, verify->damaged_count + 1, sizeof(*verify->damaged));

    if (!more) {
        verify->short_of_memory = true;
        return;
    }
    verify->damaged = more;
    verify->damaged[verify->damaged_count++] = pack;
}

static void repair_progress(void *ctx, const struct br_point_delta_progress *at)
{
    verify_show(ctx, "repair", at->position_bytes, at->size_bytes);
}

// The same point in the other repository; either of the two may have it under a later name than it was given.
static int find_other(const struct verify *verify, const struct br_point *point, struct br_point *ret_there,
                      struct br_err *reterr)
{
    struct br_uuid given;
    int error = br_lease_given_id(verify->repository.repo, &point->volume, &point->id, &given, reterr);
    int there = error ? error : br_lease_find_point(verify->other.repo, &point->volume, &given, ret_there, reterr);

    return there < 0 ? there : there ? 0 : br_err_set(reterr, BR_E_NOT_FOUND, "there is no such point");
}

static int repair_points(struct verify *verify, const struct repository_points *points, struct br_err *reterr)
{
    const struct br_repair repair = {.packs = verify->damaged, .count = verify->damaged_count};
    struct br_copy_result result = {.was_there = false};
    struct br_point there;
    struct br_err err = {0};
    char id[BR_UUID_TEXT_BYTES];
    int error = 0;

    for (size_t i = 0; !error && i < points->count; i++) {
        const struct br_point *point = &points->points[i];
        const struct br_copy_params params = {
            .from = verify->other.repo,
            .to = verify->repository.repo,
            .point = &there,
            .repair = &repair,
            .repaired = &point->id,
            .level = BR_REPO_ZSTD_LEVEL,
            .cancel = &cli_cancel,
            .progress = repair_progress,
            .progress_ctx = verify,
        };

        br_uuid_text(&point->id, id);
        error = find_other(verify, point, &there, &err);
        if (error == -BR_E_NOT_FOUND) {
            cli_warn(verify->cli, "%s has no copy of point %.8s", verify->other.path, id);
            error = 0;
            continue;
        }
        if (!error) {
            error = br_copy_point(&params, &result, &err);
            verify->repaired_bytes += result.counts.stored_bytes;
        }
        // What is damaged in the other one too is told by the look behind.
        if (error == -BR_E_CORRUPT || error == -BR_E_NOT_FOUND) {
            cli_warn(verify->cli, "point %.8s: %s", id, err.text);
            error = 0;
        } else if (error) {
            *reterr = err;
        }
    }
    return error;
}

// Is every point whole without what is damaged?
static int look_again(struct verify *verify, const struct repository_points *points,
                      struct br_repo_verify_result *result, struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(verify->repository.repo);
    const struct br_repo_verify_params params = {
        .repo = verify->repository.repo,
        .points = points->points,
        .point_count = points->count,
        .lasting = true,
        .bad = verify_bad,
        .ctx = verify,
        .cancel = &cli_cancel,
    };
    struct br_repo_verify_result again;
    struct br_index_pack pack;
    int error = 0;

    br_index_avoid_none(index);
    for (size_t i = 0; !error && i < verify->damaged_count; i++) {
        const uint8_t(*salt)[BR_SALT_BYTES] = (const uint8_t(*)[BR_SALT_BYTES])pack.salt;

        error = br_index_pack_of(index, verify->damaged[i], &pack, reterr);
        error = error ? error : br_index_avoid(index, salt, 1, reterr);
    }
    verify->named = 0;
    error = error ? error : br_repo_verify(&params, &again, reterr);
    if (!error) {
        result->points_incomplete = again.points_incomplete;
        result->chunks_missing = again.chunks_missing;
    }
    return error;
}

static int verify_repair(struct verify *verify, const struct repository_points *points,
                         struct br_repo_verify_result *result, struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    char stored[32];
    int error =
        verify->short_of_memory ? br_err_set(reterr, BR_E_NOMEM, "the damaged packs") : audit_ready(cli, reterr);

    error = error ? error : repository_open_target(cli, verify->ring, cli_text(cli, "repair"), &verify->other, reterr);
    run_log_stage(verify->log, "repair");
    error = error ? error : repair_points(verify, points, reterr);
    progress_end(&verify->progress);
    error = error ? error : look_again(verify, points, result, reterr);
    if (error) {
        return error;
    }
    json_t *details = json_object();
    json_object_set_new(details, "from", cli_json_text(verify->other.path));
    json_object_set_new(details, "bytes", json_integer((json_int_t)verify->repaired_bytes));
    json_object_set_new(details, "points_incomplete", json_integer((json_int_t)result->points_incomplete));
    error = audit_append(cli, "repair", verify->repository.path, details, reterr);
    if (!error && !result->points_incomplete) {
        cli_bytes(cli, verify->repaired_bytes, stored, sizeof(stored));
        cli_say(cli, "%s: %s stored anew; %zu damaged pack%s needed no more: blkrep prune removes %s",
                verify->repository.path, stored, verify->damaged_count, verify->damaged_count == 1 ? " is" : "s are",
                verify->damaged_count == 1 ? "it" : "them");
        result->packs_damaged = 0;
    }
    return error;
}

static int verify_all(struct verify *verify, struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    struct repository_points points = {0};
    struct br_repo_verify_result result = {0};
    bool repair = cli_text(cli, "repair") != NULL, data = repair || cli_flag(cli, "data") || cli_text(cli, "share");
    int error = repository_points(cli, &verify->repository, &points, reterr);

    if (!error && points.count) {
        qsort(points.points, points.count, sizeof(*points.points), by_volume);
    }
    const struct br_repo_verify_params params = {
        .repo = verify->repository.repo,
        .points = points.points,
        .point_count = points.count,
        .data = data,
        .share_bytes = cli_text(cli, "share") ? BR_MAX(cli_size(cli, "share", 0), 1u) : 0,
        .damaged = repair ? verify_damaged : NULL,
        .bad = verify_bad,
        .progress = verify_on_progress,
        .ctx = verify,
        .cancel = &cli_cancel,
    };
    error = error ? error : br_repo_verify(&params, &result, reterr);
    progress_end(&verify->progress);
    if (!error && repair && (result.points_incomplete || result.packs_damaged)) {
        error = verify_repair(verify, &points, &result, reterr);
    }
    // Both have been warned of.
    result.points += points.damaged;
    result.points_incomplete += points.damaged;
    result.packs_damaged +=
        verify->repository.refreshed.damaged && !verify->repaired_bytes ? verify->repository.refreshed.damaged : 0;
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

    bool repair = cli_text(cli, "repair") != NULL;

    if (!error && *point && (cli_flag(cli, "data") || cli_text(cli, "share") || repair)) {
        error = br_err_set(reterr, BR_E_USAGE,
                           "of one point all data is read anyway: --data, --share and --repair are out of place");
    }
    if (!error && repair && cli_text(cli, "share")) {
        error = br_err_set(reterr, BR_E_USAGE, "a repair reads all: --share is out of place");
    }
    error = error ? error : place_ring(cli, &verify.ring, reterr);
    error = error ? error : repository_open(cli, verify.ring, repo, !repair, &verify.repository, reterr);
    if (!error) {
        verify.begun_ns = br_ring_now_ns(verify.ring);
        verify.log = run_log_begin(cli, verify.ring, &verify.repository, repair);
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
    free(verify.damaged);
    repository_close(&verify.other);
    repository_close(&verify.repository);
    br_ring_close(verify.ring);
    return error;
}
