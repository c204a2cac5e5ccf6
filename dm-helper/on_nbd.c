// SPDX-License-Identifier: Apache-2.0
//
// Requests about NBD devices: a name becomes the identifier that the kernel keeps, and that alone leads to a device.
#include "dm-helper/device.h"
#include "dm-helper/nbd.h"
#include "dm-helper/process.h"
#include "dm-helper/server.h"

#include <inttypes.h>
#include <linux/nbd.h>
#include <stdio.h>
#include <sys/stat.h>

#define DMH_NBD_RETRY_MAX_MS 60000
#define DMH_NBD_LOOK_MS      20

// ---- names -----------------------------------------------------------------------------------------------------------

// Holds the volume, and finds out which identifier the request is about.
static int dmh_nbd_name(const struct dmh_turn *turn, const struct dmh_ref *ref, bool lock,
                        struct dmh_held_volume *ret_held, struct dmh_where *ret_where, struct br_err *reterr)
{
    int error = dmh_hold_volume(&turn->server->registry, ref->volume, lock, ret_held, reterr);

    return error ? error : dmh_where_resolve(ret_held->volume, ref->where, DMH_WHERE_NBD, "", ret_where, reterr);
}

static int dmh_nbd_lookup(const struct dmh_held_volume *held, const struct dmh_where *where, uint32_t *ret_index,
                          struct br_err *reterr)
{
    if (!dmh_nbd_find(&kmc_running, where->dm_uuid, ret_index)) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "volume %s has no NBD device for its part %s", held->volume->volume,
                          where->part);
    }
    return 0;
}

// Whose it is follows from what it carries, never from what was asked for.
static bool dmh_nbd_describe(const struct dmh_registry *registry, uint32_t index, const char *backend,
                             struct dmh_nbd_info *ret_info)
{
    struct dmh_nbd_info info = {.index = index};
    struct dmh_disk disk;
    char name[32];
    const char *part;

    snprintf(name, sizeof(name), "nbd%" PRIu32, index);
    if (!dmh_dm_uuid_is_ours(backend, &part) || !dmh_disk_read(&kmc_running, name, &disk)) {
        return false;
    }
    dmh_registry_owner(registry, backend, info.volume);
    snprintf(info.part, sizeof(info.part), "%s", part);
    info.major = disk.major;
    info.minor = disk.minor;
    info.size_bytes = disk.size_bytes;
    info.read_only = disk.read_only;
    info.connected = dmh_nbd_connected(&kmc_running, index);
    info.in_use = disk.in_use;
    *ret_info = info;
    return true;
}

// ---- making ----------------------------------------------------------------------------------------------------------

static int dmh_sockets_check(const struct dmh_given *given, struct br_err *reterr)
{
    struct stat stats[DMH_PASS_FDS_MAX];
    int error = 0;

    if (!given->count) {
        return br_err_set(reterr, BR_E_USAGE, "an NBD device needs a socket");
    }
    for (size_t i = 0; i < given->count && !error; i++) {
        error = dmh_nbd_socket_check(given->fds[i], reterr);
        if (!error && fstat(given->fds[i], &stats[i])) {
            error = br_err_set(reterr, BR_E_USAGE, "a socket that was passed for NBD can't be looked at");
        }
        // The same socket twice: two readers would tear each other's answers.
        for (size_t j = 0; j < i && !error; j++) {
            if (stats[i].st_dev == stats[j].st_dev && stats[i].st_ino == stats[j].st_ino) {
                error = br_err_set(reterr, BR_E_USAGE, "a socket was passed twice for NBD");
            }
        }
    }
    return error;
}

static int dmh_nbd_connect_check(const struct dmh_nbd_connect *connect, const struct dmh_given *given,
                                 struct br_err *reterr)
{
    int error = dmh_shape_check(connect->size_bytes, connect->block_bytes, reterr);

    if (error) {
        return error;
    }
    if (!connect->timeout_s || connect->timeout_s > DMH_NBD_TIMEOUT_MAX_S || connect->dead_s > DMH_NBD_DEAD_MAX_S) {
        return br_err_set(reterr, BR_E_USAGE,
                          "an NBD request times out after 1 to %" PRIu32 " s, waiting for a server after 0 to %" PRIu32
                          " s",
                          DMH_NBD_TIMEOUT_MAX_S, DMH_NBD_DEAD_MAX_S);
    }
    if (connect->fua && !connect->flush) {
        return br_err_set(reterr, BR_E_USAGE, "an NBD server that takes FUA takes flushes too");
    }
    if (given->count > 1 && !connect->multi_conn) {
        return br_err_set(reterr, BR_E_USAGE, "more than one socket is for NBD servers with multi-conn");
    }
    return dmh_sockets_check(given, reterr);
}

static struct dmh_nbd_shape dmh_nbd_shape_of(const struct dmh_nbd_connect *connect)
{
    struct dmh_nbd_shape shape = {.size_bytes = connect->size_bytes,
                                  .block_bytes = connect->block_bytes,
                                  .timeout_s = connect->timeout_s,
                                  .dead_s = connect->dead_s,
                                  .flags = NBD_FLAG_HAS_FLAGS};

    shape.flags |= connect->read_only ? NBD_FLAG_READ_ONLY : 0;
    shape.flags |= connect->flush ? NBD_FLAG_SEND_FLUSH : 0;
    shape.flags |= connect->fua ? NBD_FLAG_SEND_FUA : 0;
    shape.flags |= connect->trim ? NBD_FLAG_SEND_TRIM : 0;
    shape.flags |= connect->multi_conn ? NBD_FLAG_CAN_MULTI_CONN : 0;
    return shape;
}

int dmh_on_nbd_connect(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_nbd_connect *connect = turn->request;
    const struct dmh_nbd_shape shape = dmh_nbd_shape_of(connect);
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_where where;
    uint32_t index;

    int error = dmh_nbd_name(turn, &connect->device, true, &held, &where, reterr);
    error = error ? error : dmh_nbd_connect_check(connect, turn->given, reterr);
    if (error) {
        return error;
    }
    if (dmh_nbd_find(&kmc_running, where.dm_uuid, &index)) {
        return br_err_set(reterr, BR_E_BUSY, "volume %s has an NBD device for its part %s already, /dev/nbd%" PRIu32,
                          held.volume->volume, where.part, index);
    }
    error =
        dmh_nbd_make(turn->server->nbd_fd, where.dm_uuid, &shape, turn->given->fds, turn->given->count, &index, reterr);
    if (!error && !dmh_nbd_describe(&turn->server->registry, index, where.dm_uuid, turn->reply)) {
        error = br_err_set(reterr, BR_E_INTERNAL, "/dev/nbd%" PRIu32 " was made, and is gone", index);
    }
    return error;
}

// ---- a server that was replaced --------------------------------------------------------------------------------------

int dmh_on_nbd_reconnect(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_nbd_reconnect *reconnect = turn->request;
    struct dmh_nbd_reconnected *done = turn->reply;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_where where;
    uint32_t index;

    if (reconnect->retry_ms > DMH_NBD_RETRY_MAX_MS) {
        return br_err_set(reterr, BR_E_USAGE, "retry_ms is at most %d", DMH_NBD_RETRY_MAX_MS);
    }
    int error = dmh_nbd_name(turn, &reconnect->device, true, &held, &where, reterr);
    error = error ? error : dmh_sockets_check(turn->given, reterr);
    error = error ? error : dmh_nbd_lookup(&held, &where, &index, reterr);
    const uint64_t end_ns = dmh_process_now_ns() + (uint64_t)reconnect->retry_ms * 1000000;
    while (!error && done->taken_count < turn->given->count) {
        bool taken = false;
        error = dmh_nbd_replace(turn->server->nbd_fd, where.dm_uuid, index, turn->given->fds[done->taken_count], &taken,
                                reterr);
        done->taken_count += taken;
        if (!error && !taken) {
            if (dmh_process_now_ns() >= end_ns) {
                break;
            }
            dmh_process_sleep_ms(DMH_NBD_LOOK_MS);
        }
    }
    // With one taken I/O goes on, whatever became of the others.
    if (done->taken_count) {
        return 0;
    }
    return error ? error
                 : br_err_set(reterr, BR_E_BUSY, "/dev/nbd%" PRIu32 " of volume %s: no connection of it is dead", index,
                              held.volume->volume);
}

// ---- the rest --------------------------------------------------------------------------------------------------------

int dmh_on_nbd_disconnect(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_nbd_disconnect *disconnect = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_nbd_info info;
    struct dmh_where where;
    uint32_t index;

    int error = dmh_nbd_name(turn, &disconnect->device, true, &held, &where, reterr);
    error = error ? error : dmh_nbd_lookup(&held, &where, &index, reterr);
    if (!error && !disconnect->force && dmh_nbd_describe(&turn->server->registry, index, where.dm_uuid, &info) &&
        info.in_use) {
        error = br_err_set(reterr, BR_E_TARGET_IN_USE, "/dev/nbd%" PRIu32 " of volume %s is mounted or held", index,
                           held.volume->volume);
    }
    return error ? error : dmh_nbd_drop(turn->server->nbd_fd, index, reterr);
}

int dmh_on_nbd_status(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_where where;
    uint32_t index;

    int error = dmh_nbd_name(turn, ref, false, &held, &where, reterr);
    error = error ? error : dmh_nbd_lookup(&held, &where, &index, reterr);
    if (!error && !dmh_nbd_describe(&turn->server->registry, index, where.dm_uuid, turn->reply)) {
        error =
            br_err_set(reterr, BR_E_NOT_FOUND, "/dev/nbd%" PRIu32 " of volume %s is gone", index, held.volume->volume);
    }
    return error;
}

struct dmh_nbd_listing {
    const struct dmh_server *server;
    const struct dmh_list *list;
    struct dmh_nbd_listed *listed;
};

static bool dmh_nbd_list_one(void *user, uint32_t index, const char *backend)
{
    struct dmh_nbd_listing *listing = user;
    struct dmh_nbd_info info;

    if (!dmh_nbd_describe(&listing->server->registry, index, backend, &info) ||
        (*listing->list->volume ? strcmp(listing->list->volume, info.volume) != 0
                                : !*info.volume && !listing->server->peer_is_root)) {
        return true;
    }
    if (listing->listed->total_count++ >= listing->list->skip && listing->listed->device_count < DMH_LIST_MAX) {
        listing->listed->devices[listing->listed->device_count++] = info;
    }
    return true;
}

int dmh_on_nbd_list(struct dmh_turn *turn, struct br_err *reterr)
{
    struct dmh_nbd_listing listing = {.server = turn->server, .list = turn->request, .listed = turn->reply};

    (void)reterr;
    dmh_nbd_each(&kmc_running, dmh_nbd_list_one, &listing);
    return 0;
}
