// SPDX-License-Identifier: Apache-2.0
//
// Registrations: what a volume is. Only root may say so (server.c); everything else that the helper does follows from it.
#include "dm-helper/device.h"
#include "dm-helper/server.h"

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

// Refuses while devices of a registration exist: without it nobody could be told whose they are.
static int dmh_no_devices(const struct dmh_volume *volume, struct br_err *reterr)
{
    struct dmh_count count = {0};
    uint32_t version[3];

    dmh_dm_uuid_of(volume, "", count.prefix);
    int error =
        dmh_dm_version(version) ? dmh_dm_list(dmh_count_one, &count, reterr) : 0; // no device-mapper, no devices
    if (!error && count.count) {
        error =
            br_err_set(reterr, BR_E_BUSY, "volume %s still has %u device-mapper devices", volume->volume, count.count);
    }
    return error;
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
