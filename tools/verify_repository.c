// SPDX-License-Identifier: Apache-2.0
#include "tools/verify_repository.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "engine/repo/copy.h"
#include "engine/repo/lease.h"
#include "engine/repo/mend.h"
#include "engine/repo/objects.h"
#include "engine/repo/reader.h"
#include "engine/repo/verify.h"
#include "tools/audit.h"
#include "tools/ends.h"
#include "tools/progress.h"
#include "tools/run_log.h"
#include "tools/volume/volume.h"

#define VERIFY_NAMED 20u // things that are wrong that are named one by one

struct verify {
    struct cli *cli;
    struct br_ring *ring;
    struct repository repository;
    bool from_source;         // --repair names one, and no repository
    struct repository other;  // --repair
    struct source_end source; // the same
    uint32_t *damaged;        // packs, ascending
    size_t damaged_count;
    uint64_t points_damaged;       // of the complete ones, those that need a damaged pack
    uint64_t blocks_damaged;       // of these
    const struct br_point *points; // that are looked at
    bool *lacking;                 // of each of them, before damaged packs are left out
    struct br_objects_checked objects;
    uint64_t repaired_bytes;
    uint64_t renewed;           // points whose object was damaged
    struct br_mend_result mend; // from the source
    bool repaired;              // a repair came to its end, and every point is whole
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

static void verify_bad_without(void *ctx, const char *what)
{
    char text[700];

    snprintf(text, sizeof(text), "%.600s, when damaged packs don't count", what);
    verify_bad(ctx, text);
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

// Of what was named, the rest in one line.
static void verify_named(struct verify *verify)
{
    if (verify->named > VERIFY_NAMED) {
        cli_warn(verify->cli, "and %u more", verify->named - VERIFY_NAMED);
    }
    verify->named = 0;
}

// What was mended, and from where; null and 0 where nothing was.
static void repair_report(struct verify *verify)
{
    struct cli *cli = verify->cli;
    const struct br_mend_result *mend = &verify->mend;
    const char *source = verify->source.place.path, *other = verify->other.path;

    cli_report_json(cli, "source", *source || *other ? cli_json_text(*source ? source : other) : json_null());
    cli_report_number(cli, "points_renewed", verify->renewed);
    cli_report_number(cli, "blocks_from_source", mend->blocks_source);
    cli_report_number(cli, "blocks_kept", mend->blocks_kept);
    cli_report_number(cli, "blocks_source_differs", mend->blocks_other);
    cli_report_number(cli, "blocks_source_unreadable", mend->blocks_unreadable);
    cli_report_number(cli, "bytes_read_source", mend->source_bytes);
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
    cli_report_number(cli, "points_damaged", verify->points_damaged);
    cli_report_number(cli, "chunks", result->chunks);
    cli_report_number(cli, "chunks_missing", result->chunks_missing);
    cli_report_number(cli, "packs", verify->repository.refreshed.packs);
    cli_report_number(cli, "packs_damaged", result->packs_damaged);
    cli_report_number(cli, "packs_proven", result->packs_proven);
    cli_report_number(cli, "objects", verify->objects.objects);
    cli_report_number(cli, "objects_damaged", verify->objects.damaged);
    cli_report_number(cli, "bytes_read", result->bytes_read);
    cli_report_number(cli, "bytes_stored", result->bytes_stored);
    cli_report_bool(cli, "share", cli_text(cli, "share") != NULL);
    cli_report_number(cli, "bytes_repaired", verify->repaired_bytes);
    repair_report(verify);
    cli_report_number(cli, "rolled_back", verify->repository.rolled_back);
}

static int verify_failed(const struct verify *verify, const struct br_repo_verify_result *result, struct br_err *reterr)
{
    uint64_t packs = result->packs_damaged, others = verify->objects.damaged;
    bool needed = result->points_incomplete || verify->points_damaged;
    char lack[120] = "", need[80] = "", cure[120] = "";

    if (verify->points_damaged) {
        snprintf(need, sizeof(need), ", %" PRIu64 "%s need what is damaged", verify->points_damaged,
                 result->points_incomplete ? " more" : "");
    }
    if (result->chunks_missing || verify->blocks_damaged || result->trees_lacking) {
        snprintf(lack, sizeof(lack), " (%" PRIu64 " block%s, and parts of %" PRIu64 " tree%s, are missing or damaged)",
                 result->chunks_missing + verify->blocks_damaged,
                 result->chunks_missing + verify->blocks_damaged == 1 ? "" : "s", result->trees_lacking,
                 result->trees_lacking == 1 ? "" : "s");
    }
    if (needed && !cli_text(verify->cli, "repair")) {
        snprintf(cure, sizeof(cure), "; blkrep verify --repair REPO2, which has copies, or --repair SOURCE mends it");
    } else if (!needed && packs && !cli_text(verify->cli, "volume")) {
        snprintf(cure, sizeof(cure), "; no point needs what is damaged: blkrep prune removes it");
    }
    return br_err_set(reterr, BR_E_VERIFY,
                      "%.150s: %" PRIu64 " of %" PRIu64 " point%s incomplete%s%s, %" PRIu64 " pack%s and %" PRIu64
                      " other object%s damaged%s",
                      verify->repository.path, result->points_incomplete, result->points,
                      result->points == 1 ? "" : "s", need, lack, packs, packs == 1 ? "" : "s", others,
                      others == 1 ? "" : "s", cure);
}

static int verify_verdict(struct verify *verify, const struct br_repo_verify_result *result, bool data, uint64_t ns,
                          struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    bool complete = !result->points_incomplete, intact = !result->packs_damaged;
    bool part = cli_text(cli, "share") && result->bytes_read < result->bytes_stored;
    char took[32], read[32], stored[32], what[150];

    verify_report(verify, result, complete, data, intact, ns);
    verify_named(verify);
    if (!complete || !intact || verify->objects.damaged) {
        return verify_failed(verify, result, reterr);
    }
    br_duration_text(ns, took, sizeof(took));
    cli_bytes(cli, result->bytes_read, read, sizeof(read));
    cli_bytes(cli, result->bytes_stored, stored, sizeof(stored));
    if (!data) {
        snprintf(what, sizeof(what), "not read (see --data)");
    } else if (part) {
        snprintf(what, sizeof(what), "%s of %s of packs read, intact; the next share goes on from there", read, stored);
    } else {
        snprintf(what, sizeof(what), "all that is stored, %s, is intact", read);
    }
    cli_print(cli, "%s: %" PRIu64 " point%s complete; %s, in %s", verify->repository.path, result->points,
              result->points == 1 ? "" : "s", what, took);
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

// What is damaged in the other one too is told by the look behind; a server that does not let this client renew a point is no reason to leave the rest.
static int repair_passed(struct verify *verify, const struct br_point *point, int error, const struct br_err *err,
                         struct br_err *reterr)
{
    char id[BR_UUID_TEXT_BYTES];

    br_uuid_text(&point->id, id);
    if (error == -BR_E_CORRUPT || error == -BR_E_NOT_FOUND || error == -BR_E_TRUNCATED || error == -BR_E_AUTH) {
        cli_warn(verify->cli, "point %.8s: %s", id, err->text);
        return 0;
    }
    if (error) {
        *reterr = *err;
    }
    return error;
}

// The point of that id from the other repository's copy of it.
static int repair_from(struct verify *verify, const struct br_uuid *id, const struct br_point *there, bool renew,
                       struct br_err *reterr)
{
    const struct br_repair repair = {.packs = verify->damaged, .count = verify->damaged_count};
    struct br_copy_params params = {
        .from = verify->other.repo,
        .to = verify->repository.repo,
        .point = there,
        .repair = &repair,
        .repaired = id,
        .renew = renew,
        .level = BR_REPO_ZSTD_LEVEL,
        .cancel = &cli_cancel,
        .progress = repair_progress,
        .progress_ctx = verify,
    };
    struct br_copy_result result = {.was_there = false};
    struct br_err err = {0};
    int error = renew ? repository_domain(verify->cli, verify->ring, &verify->repository, &params.domain, &err) : 0;

    error = error ? error : br_copy_point(&params, &result, &err);
    verify->repaired_bytes += result.counts.stored_bytes;
    if (!error && renew) {
        verify->renewed++;
        repository_note(verify->cli, &verify->repository, &result.point);
    }
    return repair_passed(verify, there, error, &err, reterr);
}

static int repair_points(struct verify *verify, const struct repository_points *points, struct br_err *reterr)
{
    struct br_point there;
    struct br_err err = {0};
    char id[BR_UUID_TEXT_BYTES];
    int error = 0;

    for (size_t i = 0; !error && i < points->count; i++) {
        const struct br_point *point = &points->points[i];

        br_uuid_text(&point->id, id);
        error = find_other(verify, point, &there, &err);
        if (error == -BR_E_NOT_FOUND) {
            cli_warn(verify->cli, "%s has no copy of point %.8s", verify->other.path, id);
            error = 0;
            continue;
        }
        error = error ? repair_passed(verify, point, error, &err, reterr)
                      : repair_from(verify, &point->id, &there, false, reterr);
    }
    return error;
}

struct unopened {
    struct repository_points points; // volume and id
    struct br_err *reterr;
};

// One of a newer format is not damaged, and one that can't be read now may be read later.
static int take_unopened(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct unopened *unopened = ctx;

    (void)err;
    if (rc != -BR_E_CORRUPT && rc != -BR_E_TRUNCATED && rc != -BR_E_KEY) {
        return 0;
    }
    return repository_points_add(&unopened->points, point, unopened->reterr);
}

// Is it gone since a run that renewed it was cut? 1 or 0
static int is_cut(struct verify *verify, const struct br_point *there, struct br_err *reterr)
{
    struct br_repo *repo = verify->repository.repo;
    struct br_point point;
    int renewing = br_repo_renewing(repo, &there->id, reterr);
    return renewing <= 0 ? renewing
                         : br_repo_point(repo, &there->volume, &there->id, &point, NULL, NULL) == -BR_E_NOT_FOUND;
}

// One whose object does not open. @there: what of the other repository is meant.
static int renew_unopened(struct verify *verify, const struct br_point *point, const struct repository_points *there,
                          struct br_err *reterr)
{
    struct br_point copy;
    struct br_err err = {0};
    char id[BR_UUID_TEXT_BYTES];
    int error = find_other(verify, point, &copy, &err);

    br_uuid_text(&point->id, id);
    if (error == -BR_E_NOT_FOUND) {
        cli_warn(verify->cli, "%s has no copy of point %.8s", verify->other.path, id);
        return 0;
    }
    for (size_t i = 0; !error && i < there->count; i++) {
        if (br_uuid_equal(&there->points[i].id, &copy.id)) {
            return repair_from(verify, &point->id, &copy, true, reterr);
        }
    }
    return error ? repair_passed(verify, point, error, &err, reterr) : 0;
}

// Points whose object does not open are made anew from the other repository's.
static int renew_points(struct verify *verify, struct br_err *reterr)
{
    struct unopened unopened = {.reterr = reterr};
    struct repository_points there = {0};
    int error = br_repo_points(verify->repository.repo, NULL, take_unopened, &unopened, reterr);

    error = error ? error
                  : repository_points_of(verify->cli, &verify->other, cli_text(verify->cli, "volume"), &there, reterr);
    for (size_t i = 0; !error && i < unopened.points.count; i++) {
        error = renew_unopened(verify, &unopened.points.points[i], &there, reterr);
    }
    for (size_t i = 0; !error && i < there.count; i++) {
        int renew = is_cut(verify, &there.points[i], reterr);

        error = renew <= 0 ? renew : repair_from(verify, &there.points[i].id, &there.points[i], true, reterr);
    }
    repository_points_free(&there);
    repository_points_free(&unopened.points);
    return error;
}

static void mend_progress(void *ctx, const struct br_mend_progress *at)
{
    verify_show(ctx, "repair", at->position_bytes, at->size_bytes);
}

static void mend_unreadable(void *ctx, uint64_t offset_bytes, const struct br_err *why)
{
    (void)offset_bytes;
    verify_bad(ctx, why->text);
}

// Blocks from the source as it is now. It may be in use: what it holds is proven by the ids of what is missing, block by block.
static int mend_points(struct verify *verify, const struct repository_points *points, struct br_err *reterr)
{
    const struct br_repair repair = {.packs = verify->damaged, .count = verify->damaged_count};
    const struct br_mend_params params = {
        .repo = verify->repository.repo,
        .points = points->points,
        .point_count = points->count,
        .repair = &repair,
        .source = verify->source.place.file,
        .source_bytes = verify->source.place.object.size_bytes,
        .level = BR_REPO_ZSTD_LEVEL,
        .unreadable = mend_unreadable,
        .progress = mend_progress,
        .ctx = verify,
        .cancel = &cli_cancel,
    };
    const struct br_mend_result *mend = &verify->mend;

    verify->named = 0;
    int error = points->count ? br_mend(&params, &verify->mend, reterr) : 0;
    verify->repaired_bytes = mend->counts.stored_bytes;
    if (mend->blocks_other || mend->blocks_unreadable || mend->nodes_lost) {
        cli_warn(verify->cli,
                 "%s: %" PRIu64 " blocks that were looked for are others there by now, %" PRIu64
                 " can't be read; %" PRIu64 " nodes of trees can't be made from it",
                 verify->source.place.path, mend->blocks_other, mend->blocks_unreadable, mend->nodes_lost);
    }
    return error;
}

// Points that a run of this host removed to renew them, and was cut: they count as damaged ones.
static int note_cut(struct verify *verify, struct repository_points *points, struct br_err *reterr)
{
    struct br_uuid *ids = NULL;
    size_t count = 0;
    char id[BR_UUID_TEXT_BYTES];
    int error = br_repo_cut_renewals(verify->repository.repo, &ids, &count, reterr);

    for (size_t i = 0; i < count; i++) {
        br_uuid_text(&ids[i], id);
        cli_warn(verify->cli,
                 "point %.8s is gone since its repair was cut: verify --repair REPO2 or copy brings it back, prune "
                 "--remove-damaged forgets it",
                 id);
    }
    points->damaged += count;
    free(ids);
    return error;
}

// What is in packs that are damaged does not last.
static int avoid_damaged(struct verify *verify, struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(verify->repository.repo);
    struct br_index_pack pack;
    int error = 0;

    br_index_avoid_none(index);
    for (size_t i = 0; !error && i < verify->damaged_count; i++) {
        const uint8_t(*salt)[BR_SALT_BYTES] = (const uint8_t(*)[BR_SALT_BYTES])pack.salt;

        error = br_index_pack_of(index, verify->damaged[i], &pack, reterr);
        error = error ? error : br_index_avoid(index, salt, 1, reterr);
    }
    return error;
}

// As br_repo_verify() wants them, with those that are gone counted.
static int make_ready(struct verify *verify, struct repository_points *points, struct br_err *reterr)
{
    if (points->count) {
        qsort(points->points, points->count, sizeof(*points->points), by_volume);
    }
    return note_cut(verify, points, reterr);
}

// Is every point whole without what is damaged? Of all volumes, since a pack may be of any.
static int look_again(struct verify *verify, struct repository_points *all, struct br_repo_verify_result *result,
                      struct br_err *reterr)
{
    int error = repository_points_of(verify->cli, &verify->repository, NULL, all, reterr);

    error = error ? error : make_ready(verify, all, reterr);
    const struct br_repo_verify_params params = {
        .repo = verify->repository.repo,
        .points = all->points,
        .point_count = all->count,
        .every = true,
        .lasting = true,
        .bad = verify_bad,
        .ctx = verify,
        .cancel = &cli_cancel,
    };
    struct br_repo_verify_result again;

    error = error ? error : avoid_damaged(verify, reterr);
    verify_named(verify);
    error = error ? error : br_repo_verify(&params, &again, reterr);
    if (!error) {
        result->points = again.points;
        result->points_incomplete = again.points_incomplete;
        result->chunks_missing = again.chunks_missing;
        result->trees_lacking = again.trees_lacking;
    }
    return error;
}

static void verify_lacking(void *ctx, const struct br_point *point)
{
    struct verify *verify = ctx;

    verify->lacking[point - verify->points] = true;
}

// Which of the other points need a damaged pack? Nothing is read for this but trees.
static int look_without(struct verify *verify, struct repository_points *points, struct br_repo_verify_result *result,
                        struct br_err *reterr)
{
    size_t kept = 0;

    for (size_t i = 0; i < points->count; i++) {
        if (!verify->lacking[i]) {
            points->points[kept++] = points->points[i];
        }
    }
    points->count = kept;
    const struct br_repo_verify_params params = {
        .repo = verify->repository.repo,
        .points = points->points,
        .point_count = points->count,
        .points_only = true,
        .lasting = true,
        .bad = verify_bad_without,
        .ctx = verify,
        .cancel = &cli_cancel,
    };
    struct br_repo_verify_result without = {0};

    verify_named(verify);
    int error =
        verify->short_of_memory ? br_err_set(reterr, BR_E_NOMEM, "the damaged packs") : avoid_damaged(verify, reterr);
    error = error ? error : br_repo_verify(&params, &without, reterr);
    verify->points_damaged = without.points_incomplete;
    result->trees_lacking += without.trees_lacking;
    verify->blocks_damaged = without.chunks_missing;
    return error;
}

// A word that is no repository is a source. What is neither is told before anything is read.
static int repair_look(struct verify *verify, struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    const char *word = cli_text(cli, "repair");
    struct place_address address;
    char name[VOLUME_NAME_MAX];
    struct stat st;

    if (!word || repository_is(cli, word)) {
        return 0;
    }
    int error = place_resolve(cli, word, "volume", &address, reterr);
    if (error || address.remote) {
        return error; // of a server that can't be reached the opening says so
    }
    verify->from_source = true;
    int volume = strchr(word, '@') ? 1 : volume_find(cli, word, name, reterr);
    if (volume) {
        return BR_MIN(volume, 0);
    }
    if (stat(address.path, &st)) {
        return br_err_os(reterr, errno, "%s, which is to be neither a repository nor a source", address.path);
    }
    return S_ISDIR(st.st_mode) ? br_err_set(reterr, BR_E_NOT_FOUND, "%s: there is no repository", address.path) : 0;
}

static int repair_all(struct verify *verify, const struct repository_points *points, struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    const char *word = cli_text(cli, "repair");
    int error = verify->from_source ? source_end_open_live(cli, verify->ring, word, &verify->source, reterr)
                                    : repository_open_target(cli, verify->ring, word, &verify->other, reterr);

    run_log_stage(verify->log, "repair");
    if (!error && verify->from_source) {
        error = mend_points(verify, points, reterr);
    } else if (!error) {
        error = repair_points(verify, points, reterr);
        error = error ? error : renew_points(verify, reterr);
    }
    progress_end(&verify->progress);
    if (!error && points->damaged && verify->from_source) {
        cli_warn(cli, "what a point is no source says: those that don't open come back from another repository alone");
    }
    return error;
}

// Also of one that failed: what it stored is there.
static int repair_remember(struct verify *verify, const struct br_repo_verify_result *result, int error,
                           struct br_err *reterr)
{
    const struct br_mend_result *mend = &verify->mend;
    json_t *details = json_object();
    struct br_err err = {0};

    json_object_set_new(details, "from",
                        cli_json_text(verify->from_source ? verify->source.place.path : verify->other.path));
    json_object_set_new(details, "source", json_boolean(verify->from_source));
    json_object_set_new(details, "bytes", json_integer((json_int_t)verify->repaired_bytes));
    json_object_set_new(details, "points_renewed", json_integer((json_int_t)verify->renewed));
    json_object_set_new(details, "blocks_from_source", json_integer((json_int_t)mend->blocks_source));
    json_object_set_new(details, "points_incomplete",
                        error ? json_null() : json_integer((json_int_t)result->points_incomplete));
    json_object_set_new(details, "error", error ? json_string(br_err_name(error)) : json_null());
    int noted = audit_append(verify->cli, error ? "repair-failed" : "repair", verify->repository.path, details, &err);
    if (noted && error) {
        cli_warn(verify->cli, "the audit line could not be written: %s", err.text);
    } else if (noted) {
        *reterr = err;
    }
    return error ? error : noted;
}

static int verify_repair(struct verify *verify, struct repository_points *points, struct br_repo_verify_result *result,
                         struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    char stored[32];
    int error =
        verify->short_of_memory ? br_err_set(reterr, BR_E_NOMEM, "the damaged packs") : audit_ready(cli, reterr);

    if (error) {
        return error;
    }
    error = repair_all(verify, points, reterr);
    repository_points_free(points); // those that were made anew come to them
    error = error ? error : look_again(verify, points, result, reterr);
    error = repair_remember(verify, result, error, reterr);
    if (error) {
        repair_report(verify);
        cli_report_number(cli, "bytes_repaired", verify->repaired_bytes);
        return error;
    }
    verify->repaired = !result->points_incomplete && !points->damaged;
    if (verify->repaired && verify->damaged_count) {
        cli_bytes(cli, verify->repaired_bytes, stored, sizeof(stored));
        cli_say(cli, "%s: %s stored anew; %zu damaged pack%s needed no more: blkrep prune removes %s",
                verify->repository.path, stored, verify->damaged_count, verify->damaged_count == 1 ? " is" : "s are",
                verify->damaged_count == 1 ? "it" : "them");
    }
    return 0;
}

// Is there anything for --repair to do?
static bool wants_repair(const struct verify *verify, const struct repository_points *points,
                         const struct br_repo_verify_result *result)
{
    return result->points_incomplete || result->packs_damaged || points->damaged ||
           verify->repository.refreshed.damaged;
}

static int verify_all(struct verify *verify, struct br_err *reterr)
{
    struct cli *cli = verify->cli;
    struct repository_points points = {0};
    struct br_repo_verify_result result = {0};
    bool repair = cli_text(cli, "repair") != NULL, data = repair || cli_flag(cli, "data") || cli_text(cli, "share");
    int error = repository_points(cli, &verify->repository, &points, reterr);

    error = error ? error : make_ready(verify, &points, reterr);
    verify->points = points.points;
    verify->lacking = calloc(points.count + 1, sizeof(*verify->lacking));
    if (!error && !verify->lacking) {
        error = br_err_set(reterr, BR_E_NOMEM, "the points");
    }
    const struct br_repo_verify_params params = {
        .repo = verify->repository.repo,
        .points = points.points,
        .point_count = points.count,
        .data = data,
        .share_bytes = cli_text(cli, "share") ? BR_MAX(cli_size(cli, "share", 0), 1u) : 0,
        .incomplete = verify_lacking,
        .damaged = verify_damaged,
        .bad = verify_bad,
        .progress = verify_on_progress,
        .ctx = verify,
        .cancel = &cli_cancel,
    };
    error =
        error ? error : br_objects_check(verify->repository.repo, data, verify_bad, verify, &verify->objects, reterr);
    error = error ? error : br_repo_verify(&params, &result, reterr);
    progress_end(&verify->progress);
    if (!error && repair && wants_repair(verify, &points, &result)) {
        error = verify_repair(verify, &points, &result, reterr);
    } else if (!error && verify->damaged_count) {
        error = look_without(verify, &points, &result, reterr);
    }
    // Both have been warned of.
    result.points += points.damaged;
    result.points_incomplete += points.damaged;
    result.packs_damaged = verify->repaired ? 0 : result.packs_damaged + verify->repository.refreshed.damaged;
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
    verify_named(verify);
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
    struct verify verify = {.cli = cli, .source = {.place = {.look_fd = -1}}};
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
    if (!error && cli_flag(cli, "data") && cli_text(cli, "share")) {
        error = br_err_set(reterr, BR_E_USAGE, "--data reads all, --share a part of it: give one of them");
    }
    error = error ? error : repair_look(&verify, reterr);
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
    free(verify.lacking);
    source_end_close(&verify.source, false);
    repository_close(&verify.other);
    repository_close(&verify.repository);
    br_ring_close(verify.ring);
    return error;
}
