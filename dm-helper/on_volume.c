// SPDX-License-Identifier: Apache-2.0
//
// Registrations: what a volume is. Only root may say so (server.c); everything else that the helper does follows from it.
#include "dm-helper/device.h"
#include "dm-helper/nbd.h"
#include "dm-helper/server.h"
#include "dm-helper/ublk.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/units.h"

struct dmh_count {
    char prefix[DMH_DM_UUID_MAX];
    uint32_t count;
};

static void dmh_count_one(void *user, const char *name, uint32_t major, uint32_t minor)
{
    struct dmh_count *count = user;
    struct dmh_dm dm;

    (void)name;
    if (!dmh_dm_find("", major, minor, &dm, NULL, NULL)) {
        count->count += !strncmp(dm.uuid, count->prefix, strlen(count->prefix));
    }
}

struct dmh_served_search {
    const char *prefix;  // of NBD identifiers
    uint32_t volume_tag; // of ublk devices
    uint32_t index;
    bool found;
};

static bool dmh_nbd_of_volume(void *user, uint32_t index, const char *backend)
{
    struct dmh_served_search *search = user;

    search->found = !strncmp(backend, search->prefix, strlen(search->prefix));
    search->index = index;
    return !search->found;
}

static bool dmh_ublk_of_volume(void *user, const struct ublksrv_ctrl_dev_info *info)
{
    struct dmh_served_search *search = user;

    search->found = info->ublksrv_flags >> 32 == search->volume_tag;
    search->index = info->dev_id;
    return !search->found;
}

static int dmh_no_dm_devices(const struct dmh_volume *volume, const char *prefix, struct br_err *reterr)
{
    struct dmh_count count = {0};
    uint32_t version[3];

    snprintf(count.prefix, sizeof(count.prefix), "%s", prefix);
    int error =
        dmh_dm_version(version) ? dmh_dm_list(dmh_count_one, &count, reterr) : 0; // no device-mapper, no devices
    if (!error && count.count) {
        error =
            br_err_set(reterr, BR_E_BUSY, "volume %s still has %u device-mapper devices", volume->volume, count.count);
    }
    return error;
}

static int dmh_no_nbd_device(const struct dmh_volume *volume, const char *prefix, struct br_err *reterr)
{
    struct dmh_served_search served = {.prefix = prefix};

    dmh_nbd_each(&kmc_running, dmh_nbd_of_volume, &served);
    return served.found ? br_err_set(reterr, BR_E_BUSY, "volume %s still has the NBD device /dev/nbd%" PRIu32,
                                     volume->volume, served.index)
                        : 0;
}

static int dmh_no_ublk_device(const struct dmh_volume *volume, struct br_err *reterr)
{
    struct dmh_served_search served = {.volume_tag = dmh_ublk_volume_tag(volume)};
    int error = dmh_ublk_each(dmh_ublk_of_volume, &served, reterr);

    if (error == -BR_E_UNSUPPORTED) {
        return 0; // who may not look at ublk devices has none
    }
    if (!error && served.found) {
        error = br_err_set(reterr, BR_E_BUSY, "volume %s still has the ublk device /dev/ublkc%" PRIu32, volume->volume,
                           served.index);
    }
    return error;
}

// Refuses while devices of a registration exist: without it nobody could be told whose they are.
static int dmh_no_devices(const struct dmh_volume *volume, struct br_err *reterr)
{
    char prefix[DMH_DM_UUID_MAX];

    dmh_dm_uuid_of(volume, "", prefix);
    int error = dmh_no_dm_devices(volume, prefix, reterr);
    error = error ? error : dmh_no_nbd_device(volume, prefix, reterr);
    return error ? error : dmh_no_ublk_device(volume, reterr);
}

int dmh_on_register(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_volume *volume = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    int error = dmh_volume_check(volume, reterr);

    if (error) {
        return error;
    }
    error = dmh_hold_volume(&turn->server->registry, volume->volume, true, &held, reterr);
    if (error && error != -BR_E_NOT_FOUND && error != -BR_E_CORRUPT) {
        return error;
    }
    if (!error && strcmp(held.volume->uuid, volume->uuid) != 0) {
        error = dmh_no_devices(held.volume, reterr);
        if (error) {
            return error;
        }
    }
    return dmh_registry_store(&turn->server->registry, volume, reterr);
}

int dmh_on_unregister(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_volume_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;

    int error = dmh_hold_volume(&turn->server->registry, ref->volume, true, &held, reterr);
    error = error ? error : dmh_no_devices(held.volume, reterr);
    if (!error) {
        dmh_thin_end(&turn->server->registry, held.volume);
    }
    return error ? error : dmh_registry_remove(&turn->server->registry, ref->volume, reterr);
}

int dmh_on_volume(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_volume_ref *ref = turn->request;

    return dmh_registry_load(&turn->server->registry, ref->volume, turn->reply, reterr);
}
