// SPDX-License-Identifier: Apache-2.0
#include "tools/ends.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/sync/local.h"
#include "tools/remote.h"

int source_end_open(struct cli *cli, struct br_ring *ring, const char *word, bool look, struct source_end *ret_end,
                    struct br_err *reterr)
{
    struct source_end *end = ret_end;
    struct place_address address;

    *end = (struct source_end){.place = {.look_fd = -1}, .live = cli_flag(cli, "live-source")};
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
    if (!error) {
        error = br_guard_watch_begin(end->place.look_fd, &end->watch, reterr);
    }
    if (!error) {
        struct br_replica_params params = {
            .ring = ring, .dir = end->place.dir, .what = end->place.path, .read_only = true};
        error = br_replica_open(&params, &end->replica, reterr);
    }
    return error;
}

int source_end_guard(const struct source_end *end, struct br_err *reterr)
{
    return end->live ? 0 : br_guard_source(end->place.look_fd, end->place.path, reterr);
}

int source_end_check(void *ctx, struct br_err *reterr)
{
    struct source_end *end = ctx;
    int error = br_guard_watch_check(end->place.look_fd, &end->watch, end->place.path, reterr);

    return error ? error : br_guard_source(end->place.look_fd, end->place.path, reterr);
}

const struct br_identity *source_end_identity(const struct source_end *end)
{
    const struct br_identity *identity = br_replica_identity(end->replica);

    return identity->state == BR_STATE_NONE ? NULL : identity;
}

void source_end_close(struct source_end *end, bool undo)
{
    br_replica_close(end->replica);
    place_close(&end->place, undo);
    end->replica = NULL;
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
    int error = place_open(cli, ring, end->address.path, look ? PLACE_LOOK : PLACE_TARGET, &end->place, reterr);

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
