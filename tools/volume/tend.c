// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/tend.h"

#include <stdio.h>

#include "tools/audit.h"
#include "tools/volume/stack.h"

#define TEND_FULL_SHARE 500u // thousandths of a store from which on it is made larger

static uint64_t tend_share(const struct dmh_target_status *status)
{
    return status->total_bytes ? status->used_bytes * 1000 / status->total_bytes : 0;
}

// Twice as large; when the area has no room for that, by as much as it has.
static int tend_grow(struct volume *volume, uint32_t number, uint64_t bytes, struct br_err *reterr)
{
    int error = stack_snapshot_grow(volume, number, bytes, reterr);

    for (uint64_t less = bytes / 2; error == -BR_E_NO_SPACE && less >= VOLUME_UNIT_BYTES; less /= 2) {
        error = stack_snapshot_grow(volume, number, less, reterr);
    }
    return error;
}

static void tend_note_gone(struct volume *volume, const struct volume_snapshot *snapshot)
{
    json_t *details = json_object();
    struct br_err err;

    json_object_set_new(details, "snapshot", json_integer(snapshot->number));
    json_object_set_new(details, "use", json_string(volume_use_name(snapshot->use)));
    json_object_set_new(details, "reason", json_string("store-overflowed"));
    if (audit_append(volume->cli, "snapshot-gone", volume->record.name, details, &err)) {
        cli_warn(volume->cli, "the audit line could not be written: %s", err.text);
    }
}

static int tend_one(struct volume *volume, const struct volume_snapshot *snapshot, uint32_t keep,
                    struct tend_found *found, struct br_err *reterr)
{
    struct dmh_target_status status = {0};
    struct br_err err;

    if (stack_snapshot_status(volume, snapshot->number, &status, &err)) {
        return 0; // gone meanwhile, or not yet there
    }
    found->snapshots++;
    found->fullest_share = BR_MAX(found->fullest_share, tend_share(&status));
    bool valid = status.snapshot_state == DMH_SNAPSHOT_VALID;
    if (valid && tend_share(&status) < TEND_FULL_SHARE) {
        return 0;
    }
    if (!valid) {
        size_t used = strlen(found->gone_numbers);
        snprintf(found->gone_numbers + used, sizeof(found->gone_numbers) - used, "%s%u", used ? " " : "",
                 snapshot->number);
        found->gone++;
    }
    if (!valid && snapshot->number == keep) {
        return 0;
    }
    uint32_t number = snapshot->number; // the lock reads the record anew
    int error = volume_lock(volume, reterr);
    if (error) {
        return error;
    }
    struct volume_snapshot *now = volume_record_snapshot(&volume->record, number, NULL);
    if (now && valid) {
        error = tend_grow(volume, number, status.total_bytes, reterr);
        found->grown += !error;
    } else if (now) {
        tend_note_gone(volume, now);
        error = stack_snapshot_drop(volume, number, false, reterr);
    }
    volume_unlock(volume);
    return error;
}

int tend_volume(struct volume *volume, uint32_t keep, struct tend_found *ret_found, struct br_err *reterr)
{
    struct volume_snapshot snapshots[VOLUME_SNAPSHOTS_MAX];
    int error = volume_lock(volume, reterr); // reads what there is

    *ret_found = (struct tend_found){0};
    if (error) {
        return error;
    }
    uint32_t count = volume->record.snapshot_count;
    memcpy(snapshots, volume->record.snapshots, count * sizeof(snapshots[0]));
    volume_unlock(volume);
    int first = 0;
    for (uint32_t i = 0; i < count; i++) {
        error = tend_one(volume, &snapshots[i], keep, ret_found, reterr);
        first = first ? first : error;
    }
    return first;
}
