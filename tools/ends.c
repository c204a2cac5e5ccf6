// SPDX-License-Identifier: Apache-2.0
#include "tools/ends.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/net/registry.h"
#include "engine/sync/local.h"
#include "engine/sync/source.h"
#include "tools/conf.h"
#include "tools/remote.h"
#include "tools/volume/view.h"

// The attached volume that the word names, and its snapshot behind an @, if any. Returns 1, 0 when it is none, or an error.
static int source_end_volume(struct cli *cli, const char *word, char name[VOLUME_NAME_MAX],
                             char snapshot[VOLUME_NAME_MAX], struct br_err *reterr)
{
    char before[PATH_MAX];
    const char *at = strrchr(word, '@');
    int found = volume_find(cli, word, name, reterr);

    snapshot[0] = 0;
    if (found || !at || !br_volume_name_ok(at + 1)) {
        return found;
    }
    snprintf(before, sizeof(before), "%.*s", (int)(at - word), word);
    snprintf(snapshot, VOLUME_NAME_MAX, "%s", at + 1);
    return volume_find(cli, before, name, reterr);
}

static int source_end_open_view(struct cli *cli, struct br_ring *ring, struct source_end *end, const char *name,
                                const char *snapshot, bool look, struct br_err *reterr)
{
    struct place *place = &end->place;

    end->view = calloc(1, sizeof(*end->view));
    if (!end->view) {
        return br_err_set(reterr, BR_E_NOMEM, "a view of %s", name);
    }
    int error = view_open(cli, ring, name, snapshot[0] ? snapshot : NULL, end->view, reterr);
    if (error) {
        return error;
    }
    const struct volume_record *record = &end->view->volume.record;
    volume_top_path(record, place->path, sizeof(place->path));
    place->exists = true;
    place->file = end->view->file;
    place->object.is_block = true;
    place->object.size_bytes = end->view->size_bytes;
    place->object.sector_bytes = end->view->sector_bytes;
    place->look_fd = open(place->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (place->look_fd < 0) {
        // Not for this user to open; the helper opens it for him.
        struct dmh_open top = {.owner = DMH_OWNER_VOLUME, .device = volume_ref(&end->view->volume, volume_top(record))};
        struct dmh_opened opened;
        error = dmh_open(end->view->volume.helper, &top, &place->look_fd, &opened, reterr);
        if (error) {
            return error;
        }
    }
    error = place_device_state(cli, ring, record->wwid, !look, &place->dir, reterr);
    // A user's state folder learns which volume it is from who attached it.
    return error || look ? error : br_volume_seed(place->dir, &record->volume, reterr);
}

static int source_end_open_place(struct cli *cli, struct br_ring *ring, struct source_end *end, const char *word,
                                 bool look, struct br_err *reterr)
{
    struct place_address address;
    int error = place_resolve(cli, word, "volume", &address, reterr);

    if (!error && address.remote) {
        error = br_err_set(reterr, BR_E_USAGE, "the source must be on this host; run blkrep %s where it is",
                           cli->verb->name);
    }
    if (!error) {
        error = place_open(cli, ring, address.path, look ? PLACE_LOOK : PLACE_SOURCE, &end->place, reterr);
    }
    if (!error && !end->place.exists) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "the source %s", address.path);
    }
    return error ? error : br_guard_watch_begin(end->place.look_fd, &end->watch, reterr);
}

static int source_end_open_as(struct cli *cli, struct br_ring *ring, const char *word, bool look, bool live,
                              struct source_end *end, struct br_err *reterr)
{
    char name[VOLUME_NAME_MAX];
    char snapshot[VOLUME_NAME_MAX];

    *end = (struct source_end){.place = {.look_fd = -1}, .live = live, .cli = cli, .word = word};
    int error = source_end_volume(cli, word, name, snapshot, reterr);
    if (error > 0) {
        error = source_end_open_view(cli, ring, end, name, snapshot, look, reterr);
    } else if (!error) {
        error = source_end_open_place(cli, ring, end, word, look, reterr);
    }
    if (!error) {
        struct br_replica_params params = {
            .ring = ring, .dir = end->place.dir, .what = end->place.path, .read_only = true};
        error = br_replica_open(&params, &end->replica, reterr);
    }
    return error;
}

int source_end_open(struct cli *cli, struct br_ring *ring, const char *word, bool look, struct source_end *ret_end,
                    struct br_err *reterr)
{
    return source_end_open_as(cli, ring, word, look, cli_flag(cli, "live-source"), ret_end, reterr);
}

int source_end_open_live(struct cli *cli, struct br_ring *ring, const char *word, struct source_end *ret_end,
                         struct br_err *reterr)
{
    return source_end_open_as(cli, ring, word, true, true, ret_end, reterr);
}

int source_end_guard(const struct source_end *end, struct br_err *reterr)
{
    return end->live || end->view ? 0 : br_guard_source(end->place.look_fd, end->place.path, reterr);
}

int source_end_check(void *ctx, struct br_err *reterr)
{
    struct source_end *end = ctx;

    if (end->view) {
        return view_check(end->view, reterr);
    }
    if (end->live) {
        return 0;
    }
    int error = br_guard_watch_check(end->place.look_fd, &end->watch, end->place.path, reterr);
    return error ? error : br_guard_source(end->place.look_fd, end->place.path, reterr);
}

enum br_consistency source_end_consistency(const struct source_end *end)
{
    if (end->view) {
        return view_consistency(end->view);
    }
    return end->live ? BR_CONSISTENCY_NONE : BR_CONSISTENCY_CLEAN;
}

const struct br_tracker *source_end_tracker(const struct source_end *end)
{
    return end->view ? &end->view->tracker : NULL;
}

int source_end_recheck_period(const struct source_end *end, uint64_t *ret_ns, struct br_err *reterr)
{
    const struct conf *conf;
    int error = conf_of(end->cli, &conf, reterr);

    if (!error) {
        *ret_ns =
            conf_duration_ns(conf, "volume", end->view ? end->view->volume.record.name : end->word, "recheck-period");
    }
    return error;
}

int source_end_params(struct source_end *end, struct br_ring *ring, struct br_sync_params *ret_params,
                      struct br_err *reterr)
{
    const struct cli *cli = end->cli;

    *ret_params = (struct br_sync_params){
        .ring = ring,
        .source = end->place.file,
        .size_bytes = end->place.object.size_bytes,
        .sector_bytes = end->place.object.sector_bytes,
        .consistency = source_end_consistency(end),
        .label = end->place.path,
        .dir = end->place.dir,
        .source_identity = source_end_identity(end),
        .tracker = source_end_tracker(end),
        .verify = cli_flag(cli, "verify"),
        .dry_run = cli_flag(cli, "dry-run"),
        .continue_on_read_error = cli_flag(cli, "continue-on-read-error"),
        .recheck_bytes = cli_size(cli, "recheck", BR_RECHECK_DEFAULT),
        .cancel = &cli_cancel,
        .source_check = source_end_check,
        .source_check_ctx = end,
    };
    return source_end_recheck_period(end, &ret_params->recheck_period_ns, reterr);
}

void source_end_report(struct cli *cli, const struct source_end *end, const struct br_sync_result *result)
{
    char text[2 * BR_HASH_BYTES + 1];

    cli_report_text(cli, "tracker", result->tracker);
    cli_report_text(cli, "fallback_reason", result->fallback_reason);
    cli_report_text(cli, "consistency", br_consistency_name((uint8_t)result->consistency));
    cli_report_bool(cli, "dry_run", result->dry_run);
    cli_report_number(cli, "size_bytes", result->size_bytes);
    cli_report_number(cli, "bytes_read", result->bytes_read);
    cli_report_number(cli, "bytes_changed", result->bytes_changed);
    cli_report_number(cli, "bytes_zeroed", result->zero_bytes);
    cli_report_number(cli, "bytes_tracked", result->tracked.bytes_named);
    cli_report_number(cli, "bytes_rechecked_source", result->tracked.bytes_rechecked);
    cli_report_bool(cli, "tracker_caught", result->tracked.caught);
    cli_report_seconds(cli, "seconds_window", source_end_window_ns(end));
    cli_report_number(cli, "unreadable_blocks", result->unreadable_blocks);
    cli_report_bool(cli, "verified", result->verified);
    cli_report_seconds(cli, "seconds", result->duration_ns);
    br_uuid_text(&result->volume, text);
    cli_report_text(cli, "volume", br_uuid_is_nil(&result->volume) ? NULL : text);
    br_hash_text(&result->root, text);
    cli_report_text(cli, "root", br_hash_equal(&result->root, &br_hash_zero) ? NULL : text);
}

uint64_t source_end_window_ns(const struct source_end *end)
{
    return end->view ? end->view->window->window_ns : 0;
}

int source_end_blame(struct source_end *end, int error, struct br_err *reterr)
{
    struct br_err err;

    if (error && error != -BR_E_NO_SPACE && end->view && view_check(end->view, &err) == -BR_E_NO_SPACE) {
        *reterr = err;
        return -BR_E_NO_SPACE;
    }
    return error;
}

const struct br_identity *source_end_identity(const struct source_end *end)
{
    const struct br_identity *identity = br_replica_identity(end->replica);

    return identity->state == BR_STATE_NONE ? NULL : identity;
}

void source_end_close(struct source_end *end, bool undo)
{
    br_replica_close(end->replica);
    end->replica = NULL;
    if (end->view) {
        end->place.file = NULL; // the view's
    }
    place_close(&end->place, undo && !end->view);
    if (end->view) {
        view_close(end->view);
        free(end->view);
        end->view = NULL;
    }
}

int source_end_is_not(struct cli *cli, const struct source_end *end, const char *word, struct br_err *reterr)
{
    struct place_address address;
    char text[BR_GUARD_TEXT_BYTES];
    int error = place_resolve(cli, word, "replica", &address, reterr);

    if (error || address.remote) {
        return error;
    }
    int fd = open(address.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return 0; // place_open() tells why, or makes it
    }
    int same = br_guard_same(end->place.look_fd, fd, text, reterr);
    close(fd);
    return same > 0 ? br_err_set(reterr, BR_E_SAME_OBJECT, "%s and %s: %s", end->place.path, address.path, text) : same;
}

static int target_open_local(struct cli *cli, struct br_ring *ring, struct target_end *end, bool look,
                             struct br_err *reterr)
{
    int error = place_open(cli, ring, end->address.path, look ? PLACE_PLAN : PLACE_TARGET, &end->place, reterr);

    if (error) {
        return error;
    }
    const struct place *place = &end->place;
    snprintf(end->name, sizeof(end->name), "%s", place->path);
    struct br_local_params params = {
        .replica = {.ring = ring,
                    .dir = place->dir,
                    .file = place->file,
                    .parent = place->parent,
                    .name = place->object.is_block ? NULL : place->name,
                    .what = place->path,
                    .read_only = look,
                    .discard_damaged = cli_flag(cli, "force-full")},
        .capacity_bytes = place->object.is_block ? place->object.size_bytes : UINT64_MAX,
        .is_block = place->object.is_block,
        .holds = place->holds,
    };
    return br_local_open(&params, &end->endpoint, reterr);
}

int target_end_open(struct cli *cli, struct br_ring *ring, const char *word, bool look, struct target_end *ret_end,
                    struct br_err *reterr)
{
    struct target_end *end = ret_end;

    *end = (struct target_end){.place = {.look_fd = -1}};
    int error = place_resolve(cli, word, "replica", &end->address, reterr);
    if (error) {
        return error;
    }
    if (end->address.remote) {
        struct remote_options options = {
            .role = look ? BR_ROLE_READER : BR_ROLE_WRITER,
            .plan = look,
            .discard_damaged = cli_flag(cli, "force-full"),
            .compress = cli_text(cli, "compress"),
            .bytes_per_second = cli_size(cli, "bwlimit", 0),
        };
        snprintf(end->name, sizeof(end->name), "%s", end->address.text);
        return remote_open_endpoint(cli, ring, &end->address, &options, &end->endpoint, reterr);
    }
    return target_open_local(cli, ring, end, look, reterr);
}

int target_end_confirm(struct cli *cli, const struct target_end *end, struct br_err *reterr)
{
    const struct br_guard_object *object = &end->place.object;
    char question[2 * BR_GUARD_TEXT_BYTES + 64];

    // A replica file that is made anew beside is not lost before it is replaced, and a foreign file was named with --overwrite; a disk that
    // was mistyped is what people lose.
    if (end->address.remote || !object->is_block || !end->place.holds[0] || !cli_flag(cli, "overwrite")) {
        return 0;
    }
    snprintf(question, sizeof(question), "%s holds %s, which will be lost", object->text, end->place.holds);
    return cli_confirm(cli, object->kernel_name, question, reterr);
}

void target_end_close(struct target_end *end, bool undo)
{
    if (end->endpoint.ops) {
        end->endpoint.ops->close(end->endpoint.ctx);
    }
    place_close(&end->place, undo);
    end->endpoint.ops = NULL;
}
