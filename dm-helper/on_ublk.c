// SPDX-License-Identifier: Apache-2.0
//
// Requests about ublk devices: a name becomes the tag that the driver keeps, and that alone leads to a device.
#include "dm-helper/device.h"
#include "dm-helper/process.h"
#include "dm-helper/server.h"
#include "dm-helper/ublk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/units.h"

#define DMH_UBLK_WAIT_MAX_MS 60000u
#define DMH_UBLK_LOOK_MS     20
#define DMH_UBLK_UNDO_MS     5000u
#define DMH_UBLK_IO_MIN      4096u
#define DMH_UBLK_LIMITLESS   (UINT32_MAX >> 9) // sectors of one discard or write of zeroes

// include/uapi/linux/ublk_cmd.h of Linux 6.5 and later
#define DMH_UBLK_F_USER_COPY (UINT64_C(1) << 7)

// ---- names -----------------------------------------------------------------------------------------------------------

// Holds the volume, and finds out which tag the request is about.
static int dmh_ublk_name(const struct dmh_turn *turn, const struct dmh_ref *ref, bool lock,
                         struct dmh_held_volume *ret_held, struct dmh_where *ret_where, struct br_err *reterr)
{
    int error = dmh_hold_volume(&turn->server->registry, ref->volume, lock, ret_held, reterr);

    return error ? error : dmh_where_resolve(ret_held->volume, ref->where, DMH_WHERE_UBLK, "", ret_where, reterr);
}

static int dmh_ublk_lookup(const struct dmh_held_volume *held, const struct dmh_where *where,
                           struct ublksrv_ctrl_dev_info *ret_info, struct br_err *reterr)
{
    bool found = false;
    int error = dmh_ublk_ready(reterr);

    error = error ? error : dmh_ublk_find(dmh_ublk_tag(held->volume, where->part), &found, ret_info, reterr);
    if (!error && !found) {
        error = br_err_set(reterr, BR_E_NOT_FOUND, "volume %s has no ublk device for its part %s", held->volume->volume,
                           where->part);
    }
    return error;
}

struct dmh_tag_owner {
    uint32_t volume_tag;
    char *volume;
};

static bool dmh_try_tag_owner(void *user, const struct dmh_volume *volume)
{
    struct dmh_tag_owner *owner = user;

    if (dmh_ublk_volume_tag(volume) != owner->volume_tag) {
        return true;
    }
    snprintf(owner->volume, DMH_VOLUME_MAX, "%s", volume->volume);
    return false;
}

static uint32_t dmh_ublk_state_of(uint16_t state)
{
    switch (state) {
    case UBLK_S_DEV_DEAD: return DMH_UBLK_DEAD;
    case UBLK_S_DEV_LIVE: return DMH_UBLK_LIVE;
    case UBLK_S_DEV_QUIESCED: return DMH_UBLK_QUIESCED;
    default: return DMH_UBLK_OTHER;
    }
}

// Whose it is follows from what it carries, never from what was asked for.
static void dmh_ublk_describe(const struct dmh_registry *registry, const struct ublksrv_ctrl_dev_info *dev,
                              struct dmh_ublk_info *ret_info)
{
    struct dmh_ublk_info info = {.index = dev->dev_id,
                                 .state = dmh_ublk_state_of(dev->state),
                                 .server_pid = dev->ublksrv_pid > 0 ? (uint32_t)dev->ublksrv_pid : 0,
                                 .queue_count = dev->nr_hw_queues,
                                 .queue_depth = dev->queue_depth,
                                 .io_bytes_max = dev->max_io_buf_bytes,
                                 .recovery = (dev->flags & UBLK_F_USER_RECOVERY) != 0,
                                 .reissue = (dev->flags & UBLK_F_USER_RECOVERY_REISSUE) != 0,
                                 .user_copy = (dev->flags & DMH_UBLK_F_USER_COPY) != 0};
    struct dmh_tag_owner owner = {.volume_tag = (uint32_t)(dev->ublksrv_flags >> 32), .volume = info.volume};
    struct dmh_disk disk;
    char name[32];

    (void)!dmh_ublk_is_ours(dev, info.part);
    dmh_registry_each(registry, dmh_try_tag_owner, &owner);
    snprintf(name, sizeof(name), "ublkb%" PRIu32, info.index);
    if (dmh_disk_read(&kmc_running, name, &disk)) {
        info.major = disk.major;
        info.minor = disk.minor;
        info.size_bytes = disk.size_bytes;
        info.read_only = disk.read_only;
        info.in_use = disk.in_use;
    }
    *ret_info = info;
}

static int dmh_ublk_tell(const struct dmh_turn *turn, uint32_t index, struct br_err *reterr)
{
    struct ublksrv_ctrl_dev_info dev;
    int error = dmh_ublk_look(index, &dev, reterr);

    if (!error) {
        dmh_ublk_describe(&turn->server->registry, &dev, turn->reply);
    }
    return error;
}

// ---- making ----------------------------------------------------------------------------------------------------------

static int dmh_ublk_add_check(const struct dmh_ublk_add *add, struct br_err *reterr)
{
    int error = dmh_shape_check(add->size_bytes, add->block_bytes, reterr);

    if (error) {
        return error;
    }
    if (add->physical_bytes < add->block_bytes || add->physical_bytes > 4096 ||
        (add->physical_bytes & (add->physical_bytes - 1))) {
        return br_err_set(reterr, BR_E_USAGE, "a physical block is a power of two, from the logical one to 4096 bytes");
    }
    if (!add->queue_count || add->queue_count > DMH_UBLK_QUEUES_MAX || !add->queue_depth ||
        add->queue_depth > DMH_UBLK_DEPTH_MAX) {
        return br_err_set(reterr, BR_E_USAGE, "a ublk device has 1 to %d queues of 1 to %d requests",
                          DMH_UBLK_QUEUES_MAX, DMH_UBLK_DEPTH_MAX);
    }
    if (add->io_bytes_max < DMH_UBLK_IO_MIN || add->io_bytes_max > DMH_UBLK_IO_MAX ||
        add->io_bytes_max % DMH_UBLK_IO_MIN) {
        return br_err_set(reterr, BR_E_USAGE, "a ublk request's most bytes are a multiple of 4096, up to %u",
                          DMH_UBLK_IO_MAX);
    }
    if ((add->fua && !add->flush) || (add->reissue && !add->recovery)) {
        return br_err_set(reterr, BR_E_USAGE, "FUA is for a device with flushes, reissue for one with recovery");
    }
    return 0;
}

static struct ublksrv_ctrl_dev_info dmh_ublk_wanted(const struct dmh_ublk_add *add, uint64_t tag)
{
    struct ublksrv_ctrl_dev_info dev = {.nr_hw_queues = (uint16_t)add->queue_count,
                                        .queue_depth = (uint16_t)add->queue_depth,
                                        .max_io_buf_bytes = add->io_bytes_max,
                                        .dev_id = UINT32_MAX, // the driver picks one
                                        .ublksrv_pid = -1,
                                        .ublksrv_flags = tag};

    dev.flags |= add->recovery ? UBLK_F_USER_RECOVERY : 0;
    dev.flags |= add->reissue ? UBLK_F_USER_RECOVERY_REISSUE : 0;
    dev.flags |= add->user_copy ? DMH_UBLK_F_USER_COPY : 0;
    return dev;
}

static uint8_t dmh_shift_of(uint32_t bytes)
{
    return (uint8_t)__builtin_ctz(bytes);
}

static struct ublk_params dmh_ublk_params_of(const struct dmh_ublk_add *add, const struct ublksrv_ctrl_dev_info *dev)
{
    struct ublk_params params = {.len = sizeof(params), .types = UBLK_PARAM_TYPE_BASIC};

    params.basic = (struct ublk_param_basic){.logical_bs_shift = dmh_shift_of(add->block_bytes),
                                             .physical_bs_shift = dmh_shift_of(add->physical_bytes),
                                             .io_opt_shift = dmh_shift_of(add->physical_bytes),
                                             .io_min_shift = dmh_shift_of(add->physical_bytes),
                                             .max_sectors = dev->max_io_buf_bytes / 512,
                                             .dev_sectors = add->size_bytes / 512};
    params.basic.attrs |= add->read_only ? UBLK_ATTR_READ_ONLY : 0;
    params.basic.attrs |= add->flush ? UBLK_ATTR_VOLATILE_CACHE : 0;
    params.basic.attrs |= add->fua ? UBLK_ATTR_FUA : 0;
    if (add->trim || add->zeroes) {
        params.types |= UBLK_PARAM_TYPE_DISCARD;
        params.discard = (struct ublk_param_discard){.discard_granularity = add->physical_bytes,
                                                     .max_discard_sectors = add->trim ? DMH_UBLK_LIMITLESS : 0,
                                                     .max_write_zeroes_sectors = add->zeroes ? DMH_UBLK_LIMITLESS : 0,
                                                     .max_discard_segments = 1};
    }
    return params;
}

// What the driver does not know it leaves out without a word.
static int dmh_ublk_check_features(uint64_t wanted, struct br_err *reterr)
{
    uint64_t features;
    int error = dmh_ublk_features(&features, reterr);

    if (!error && (wanted & ~features)) {
        error = br_err_set(reterr, BR_E_UNSUPPORTED, "this kernel's ublk can't do all of it (lacks 0x%" PRIx64 "); %s",
                           wanted & ~features, kmc_matrix[KMC_UBLK].get);
    }
    return error;
}

// Nothing else on this machine may look like the new device.
static int dmh_ublk_check_tag(const struct dmh_turn *turn, const struct dmh_held_volume *held,
                              const struct dmh_where *where, uint64_t tag, struct br_err *reterr)
{
    char owner_name[DMH_VOLUME_MAX] = "";
    struct dmh_tag_owner owner = {.volume_tag = (uint32_t)(tag >> 32), .volume = owner_name};
    struct ublksrv_ctrl_dev_info dev;

    dmh_registry_each(&turn->server->registry, dmh_try_tag_owner, &owner);
    if (!(tag >> 32) || strcmp(owner_name, held->volume->volume) != 0) {
        return br_err_set(reterr, BR_E_REFUSED, "volumes %s and %s can't be told apart by ublk: give one another uuid",
                          held->volume->volume, owner_name);
    }
    bool found;
    int error = dmh_ublk_find(tag, &found, &dev, reterr);
    if (!error && found) {
        return br_err_set(reterr, BR_E_BUSY, "volume %s has a ublk device for its part %s already, /dev/ublkc%" PRIu32,
                          held->volume->volume, where->part, dev.dev_id);
    }
    return error;
}

int dmh_on_ublk_add(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ublk_add *add = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_where where;

    int error = dmh_ublk_name(turn, &add->device, true, &held, &where, reterr);
    error = error ? error : dmh_ublk_add_check(add, reterr);
    error = error ? error : dmh_ublk_ready(reterr);
    if (error) {
        return error;
    }
    const uint64_t tag = dmh_ublk_tag(held.volume, where.part);
    struct ublksrv_ctrl_dev_info dev = dmh_ublk_wanted(add, tag);
    error = dmh_ublk_check_features(dev.flags, reterr);
    error = error ? error : dmh_ublk_check_tag(turn, &held, &where, tag, reterr);
    error = error ? error : dmh_ublk_make(&dev, reterr);
    if (error) {
        return error;
    }
    const struct ublk_params params = dmh_ublk_params_of(add, &dev);
    error = dmh_ublk_shape(dev.dev_id, &params, reterr);
    error = error ? error : dmh_ublk_open(dev.dev_id, &turn->reply_fd, reterr);
    error = error ? error : dmh_ublk_tell(turn, dev.dev_id, reterr);
    if (error) {
        if (turn->reply_fd >= 0) {
            close(turn->reply_fd); // or the deletion would wait for it
            turn->reply_fd = -1;
        }
        (void)!dmh_ublk_do(dev.dev_id, DMH_UBLK_VERB_DELETE, 0, DMH_UBLK_UNDO_MS, NULL);
    }
    return error;
}

// ---- serving ---------------------------------------------------------------------------------------------------------

static int dmh_deadline_check(uint32_t deadline_ms, struct br_err *reterr)
{
    return deadline_ms && deadline_ms <= DMH_UBLK_WAIT_MAX_MS
               ? 0
               : br_err_set(reterr, BR_E_USAGE, "a deadline is from 1 to %u ms", DMH_UBLK_WAIT_MAX_MS);
}

// END_USER_RECOVERY waits for a completion that the dead server has made complete, unless START_USER_RECOVERY was there in between: without
// it the device would be called live and have no server, beyond repair. The driver does not tell, but the new server holds the descriptor
// that only dmh_on_ublk_recover() gives, while nobody else can have opened another.
static int dmh_ublk_check_successor(const struct ublksrv_ctrl_dev_info *dev, uint32_t pid, struct br_err *reterr)
{
    int fd;

    if (dev->ublksrv_pid > 0 && (uint32_t)dev->ublksrv_pid == pid) {
        return br_err_set(reterr, BR_E_USAGE, "process %" PRIu32 " is the old server of /dev/ublkb%" PRIu32, pid,
                          dev->dev_id);
    }
    int error = dmh_ublk_open(dev->dev_id, &fd, reterr);
    if (error == -BR_E_BUSY) {
        return 0;
    }
    if (!error) {
        close(fd);
        error = br_err_set(reterr, BR_E_BUSY, "no new server of /dev/ublkb%" PRIu32 " is there", dev->dev_id);
    }
    return error;
}

static int dmh_ublk_serve(struct dmh_turn *turn, enum dmh_ublk_verb verb, uint16_t needed_state, const char *needed,
                          struct br_err *reterr)
{
    const struct dmh_ublk_serve *serve = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct ublksrv_ctrl_dev_info dev;
    struct dmh_where where;

    int error = dmh_deadline_check(serve->deadline_ms, reterr);
    if (!error && (!serve->pid || serve->pid > INT32_MAX)) {
        error = br_err_set(reterr, BR_E_USAGE, "a server has a process id");
    }
    error = error ? error : dmh_ublk_name(turn, &serve->device, true, &held, &where, reterr);
    error = error ? error : dmh_ublk_lookup(&held, &where, &dev, reterr);
    if (!error && dev.state != needed_state) {
        error = br_err_set(reterr, BR_E_BUSY, "/dev/ublkb%" PRIu32 " of volume %s is not %s", dev.dev_id,
                           held.volume->volume, needed);
    }
    if (!error && verb == DMH_UBLK_VERB_RECOVERED) {
        error = dmh_ublk_check_successor(&dev, serve->pid, reterr);
    }
    error = error ? error : dmh_ublk_do(dev.dev_id, verb, serve->pid, serve->deadline_ms, reterr);
    return error ? error : dmh_ublk_tell(turn, dev.dev_id, reterr);
}

int dmh_on_ublk_start(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_ublk_serve(turn, DMH_UBLK_VERB_START, UBLK_S_DEV_DEAD, "waiting to be started", reterr);
}

int dmh_on_ublk_recovered(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_ublk_serve(turn, DMH_UBLK_VERB_RECOVERED, UBLK_S_DEV_QUIESCED, "waiting for a new server", reterr);
}

// The kernel needs a moment to notice that a server has died, and says that it is busy meanwhile. Where the new server died too, before
// it had taken anything, the queues are new already, which the kernel calls invalid.
static int dmh_ublk_renew(uint32_t index, uint32_t retry_ms, struct br_err *reterr)
{
    const uint64_t end_ns = dmh_process_now_ns() + (uint64_t)retry_ms * BR_NS_PER_MS;

    for (;;) {
        struct ublksrv_ctrl_dev_info dev;
        struct br_err err = {0};
        int error = dmh_ublk_do(index, DMH_UBLK_VERB_RECOVER, 0, DMH_UBLK_ANSWER_MS, &err);
        if (err.os_errno == EINVAL && !dmh_ublk_look(index, &dev, NULL) && dev.state == UBLK_S_DEV_QUIESCED) {
            return 0;
        }
        if (error != -BR_E_BUSY || dmh_process_now_ns() >= end_ns) {
            if (error && reterr) {
                *reterr = err;
            }
            return error;
        }
        dmh_process_sleep_ms(DMH_UBLK_LOOK_MS);
    }
}

int dmh_on_ublk_recover(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ublk_recover *recover = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct ublksrv_ctrl_dev_info dev;
    struct dmh_where where;

    if (recover->retry_ms > DMH_UBLK_WAIT_MAX_MS) {
        return br_err_set(reterr, BR_E_USAGE, "retry_ms is at most %u", DMH_UBLK_WAIT_MAX_MS);
    }
    int error = dmh_ublk_name(turn, &recover->device, true, &held, &where, reterr);
    error = error ? error : dmh_ublk_lookup(&held, &where, &dev, reterr);
    if (!error && (dev.state == UBLK_S_DEV_DEAD || !(dev.flags & UBLK_F_USER_RECOVERY))) {
        error = br_err_set(reterr, BR_E_REFUSED, "/dev/ublkb%" PRIu32 " of volume %s can't be recovered: %s",
                           dev.dev_id, held.volume->volume,
                           dev.state == UBLK_S_DEV_DEAD ? "it is stopped" : "it was made without recovery");
    }
    error = error ? error : dmh_ublk_renew(dev.dev_id, recover->retry_ms, reterr);
    error = error ? error : dmh_ublk_open(dev.dev_id, &turn->reply_fd, reterr);
    return error ? error : dmh_ublk_tell(turn, dev.dev_id, reterr);
}

// ---- ending ----------------------------------------------------------------------------------------------------------

static int dmh_ublk_end(struct dmh_turn *turn, enum dmh_ublk_verb verb, struct br_err *reterr)
{
    const struct dmh_ublk_end *end = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct ublksrv_ctrl_dev_info dev;
    struct dmh_ublk_info info;
    struct dmh_where where;

    int error = dmh_deadline_check(end->deadline_ms, reterr);
    error = error ? error : dmh_ublk_name(turn, &end->device, true, &held, &where, reterr);
    error = error ? error : dmh_ublk_lookup(&held, &where, &dev, reterr);
    if (error) {
        return error;
    }
    dmh_ublk_describe(&turn->server->registry, &dev, &info);
    if (info.in_use && !end->force) {
        return br_err_set(reterr, BR_E_TARGET_IN_USE, "/dev/ublkb%" PRIu32 " of volume %s is mounted or held",
                          dev.dev_id, held.volume->volume);
    }
    return dmh_ublk_do(dev.dev_id, verb, 0, end->deadline_ms, reterr);
}

int dmh_on_ublk_stop(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_ublk_end(turn, DMH_UBLK_VERB_STOP, reterr);
}

int dmh_on_ublk_delete(struct dmh_turn *turn, struct br_err *reterr)
{
    return dmh_ublk_end(turn, DMH_UBLK_VERB_DELETE, reterr);
}

// ---- looking ---------------------------------------------------------------------------------------------------------

int dmh_on_ublk_status(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct ublksrv_ctrl_dev_info dev;
    struct dmh_where where;

    int error = dmh_ublk_name(turn, ref, false, &held, &where, reterr);
    error = error ? error : dmh_ublk_lookup(&held, &where, &dev, reterr);
    if (!error) {
        dmh_ublk_describe(&turn->server->registry, &dev, turn->reply);
    }
    return error;
}

struct dmh_ublk_listing {
    const struct dmh_server *server;
    const struct dmh_list *list;
    struct dmh_ublk_listed *listed;
};

static bool dmh_ublk_list_one(void *user, const struct ublksrv_ctrl_dev_info *dev)
{
    struct dmh_ublk_listing *listing = user;
    struct dmh_ublk_info info;

    dmh_ublk_describe(&listing->server->registry, dev, &info);
    if (*listing->list->volume ? strcmp(listing->list->volume, info.volume) != 0
                               : !*info.volume && !listing->server->peer_is_root) {
        return true;
    }
    if (listing->listed->total_count++ >= listing->list->skip && listing->listed->device_count < DMH_LIST_MAX) {
        listing->listed->devices[listing->listed->device_count++] = info;
    }
    return true;
}

int dmh_on_ublk_list(struct dmh_turn *turn, struct br_err *reterr)
{
    struct dmh_ublk_listing listing = {.server = turn->server, .list = turn->request, .listed = turn->reply};

    return dmh_ublk_each(dmh_ublk_list_one, &listing, reterr);
}
