// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/tend.h"

#include <stdio.h>

#include "tools/audit.h"
#include "tools/volume/group.h"
#include "tools/volume/lvm.h"
#include "tools/volume/stack.h"

// Thousandths of a store from which on ...
#define TEND_FULL_SHARE    500u // it is made larger
#define TEND_GIVE_UP_SHARE 600u // the oldest held snapshot goes when there is no room to make it larger

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

static void tend_note_gone(struct volume *volume, const struct volume_snapshot *snapshot, const char *why)
{
    json_t *details = json_object();
    struct br_err err;

    json_object_set_new(details, "snapshot", json_integer(snapshot->number));
    json_object_set_new(details, "use", json_string(volume_use_name(snapshot->use)));
    json_object_set_new(details, "name", snapshot->name[0] ? json_string(snapshot->name) : json_null());
    json_object_set_new(details, "reason", json_string(why));
    if (audit_append(volume->cli, "snapshot-gone", volume->record.name, details, &err)) {
        cli_warn(volume->cli, "the audit line could not be written: %s", err.text);
    }
}

int tend_give_up(struct volume *volume, uint32_t number, const char *why, struct br_err *reterr)
{
    const struct volume_snapshot *found = volume_record_snapshot(&volume->record, number, NULL);

    if (!found || found->gone) {
        return 0;
    }
    struct volume_snapshot snapshot = *found;
    if (volume->let_go) {
        *volume->let_go = true;
    }
    int error = stack_snapshot_lose(volume, number, reterr);
    if (!error) {
        tend_note_gone(volume, &snapshot, why);
    }
    return error;
}

static void tend_count_gone(struct tend_found *found, uint32_t number)
{
    size_t used = strlen(found->gone_numbers);

    snprintf(found->gone_numbers + used, sizeof(found->gone_numbers) - used, "%s%u", used ? " " : "", number);
    found->gone++;
}

// Grows it; when it will be full soon and there is no room, the oldest mark makes some.
static int tend_make_room(struct volume *volume, uint32_t number, const struct dmh_target_status *status,
                          struct tend_found *found, struct br_err *reterr)
{
    const struct volume_snapshot *oldest;
    int error = tend_grow(volume, number, status->total_bytes, reterr);

    while (error == -BR_E_NO_SPACE && tend_share(status) >= TEND_GIVE_UP_SHARE &&
           (oldest = volume_record_oldest_mark(&volume->record, number))) {
        uint32_t victim = oldest->number;
        error = tend_give_up(volume, victim, "no-room", reterr);
        if (!error) {
            tend_count_gone(found, victim);
            error = tend_grow(volume, number, status->total_bytes, reterr);
        }
    }
    found->grown += !error;
    return error;
}

static bool tend_is_lost(struct volume *volume, const struct volume_snapshot *snapshot)
{
    struct dmh_target_status status = {0};
    struct br_err err;

    return !snapshot->gone && snapshot->use != VOLUME_VIEW &&
           !stack_snapshot_status(volume, snapshot->number, &status, &err) &&
           status.snapshot_state != DMH_SNAPSHOT_VALID;
}

void tend_collect(struct volume *volume)
{
    struct volume_record *record = &volume->record;
    struct br_err err;
    int unsettled = group_settle(volume, &err);

    if (unsettled && unsettled != -BR_E_BUSY) {
        cli_warn(volume->cli, "a snapshot of several volumes that was cut short can't be settled: %s", err.text);
    }
    for (uint32_t i = record->snapshot_count; i; i--) {
        uint32_t number = record->snapshots[i - 1].number;
        int error = 0;
        if (!record->snapshots[i - 1].taken_unix_ns) {
            error = stack_snapshot_drop(volume, number, true, &err);
        } else if (tend_is_lost(volume, &record->snapshots[i - 1])) {
            error = tend_give_up(volume, number, "store-overflowed", &err);
        }
        if (error && error != -BR_E_BUSY) {
            cli_warn(volume->cli, "what is left of snapshot %u of %s can't be removed: %s", number, record->name,
                     err.text);
        }
    }
}

static int tend_one(struct volume *volume, const struct volume_snapshot *snapshot, uint32_t keep,
                    struct tend_found *found, struct br_err *reterr)
{
    struct dmh_target_status status = {0};
    struct br_err err;

    if (snapshot->gone || stack_snapshot_status(volume, snapshot->number, &status, &err)) {
        return 0; // gone meanwhile, or not yet there
    }
    found->snapshots++;
    found->fullest_share = BR_MAX(found->fullest_share, tend_share(&status));
    bool valid = status.snapshot_state == DMH_SNAPSHOT_VALID;
    if (valid && tend_share(&status) < TEND_FULL_SHARE) {
        return 0;
    }
    if (!valid && snapshot->use == VOLUME_VIEW && snapshot->number != keep) {
        return 0; // its own run finds out
    }
    if (!valid) {
        tend_count_gone(found, snapshot->number);
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
        error = tend_make_room(volume, number, &status, found, reterr);
    } else if (now) {
        error = tend_give_up(volume, number, "store-overflowed", reterr);
        error = error == -BR_E_BUSY ? 0 : error; // its reader finds out
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
    if (volume->record.tracker == VOLUME_THIN) {
        volume_unlock(volume);
        return lvm_thin_tend(volume, ret_found, reterr);
    }
    uint32_t count = volume->record.snapshot_count;
    memcpy(snapshots, volume->record.snapshots, count * sizeof(snapshots[0]));
    volume_unlock(volume);
    int first = 0;
    for (uint32_t i = count; i; i--) { // the youngest first: views before marks
        error = tend_one(volume, &snapshots[i - 1], keep, ret_found, reterr);
        first = first ? first : error;
    }
    return first;
}
