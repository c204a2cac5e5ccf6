// SPDX-License-Identifier: Apache-2.0
//
// For members of the group: which volumes there are, and what blkrep knows of one, in a folder that is root's.
#include <fcntl.h>
#include <stdio.h>

#include "dm-helper/device.h"
#include "dm-helper/server.h"

static bool dmh_add_volume(void *user, const struct dmh_volume *volume)
{
    struct dmh_volumes *volumes = user;

    volumes->total_count++;
    if (volumes->volume_count < DMH_LIST_MAX) {
        struct dmh_volume_ref *ref = &volumes->volumes[volumes->volume_count++];
        snprintf(ref->volume, sizeof(ref->volume), "%s", volume->volume);
    }
    return true;
}

int dmh_on_volumes(struct dmh_turn *turn, struct br_err *reterr)
{
    (void)reterr;
    dmh_registry_each(&turn->server->registry, dmh_add_volume, turn->reply);
    return 0;
}

int dmh_on_record_open(struct dmh_turn *turn, struct br_err *reterr)
{
    static const struct {
        const char *name;
        int flags;
    } files[] = {
        [DMH_RECORD_READ] = {DMH_RECORD_NAME, O_RDONLY},
        [DMH_RECORD_NEW] = {DMH_RECORD_NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC},
        [DMH_RECORD_HOLD] = {DMH_RECORD_LOCK, O_RDWR | O_CREAT},
    };
    const struct dmh_record_open *open = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;

    if (open->file < DMH_RECORD_READ || open->file > DMH_RECORD_HOLD) {
        return br_err_set(reterr, BR_E_USAGE, "file %u of a volume is not known", open->file);
    }
    int error = dmh_hold_volume(&turn->server->registry, open->volume, false, &held, reterr);
    return error ? error
                 : dmh_registry_open(&turn->server->registry, open->volume, files[open->file].name,
                                     files[open->file].flags, &turn->reply_fd, reterr);
}

int dmh_on_record_keep(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_volume_ref *ref = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    int error = dmh_hold_volume(&turn->server->registry, ref->volume, true, &held, reterr);

    return error ? error
                 : dmh_registry_replace(&turn->server->registry, ref->volume, DMH_RECORD_NEW_NAME, DMH_RECORD_NAME,
                                        reterr);
}
