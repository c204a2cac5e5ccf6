// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/group.h"

#include <stdio.h>

#include "tools/volume/stack.h"

void group_begin(struct volume_snapshot *snapshot, const struct br_uuid *group, const char *leader)
{
    snapshot->group = *group;
    snprintf(snapshot->leader, sizeof(snapshot->leader), "%s", leader);
}

int group_end(struct volume *volume, struct volume_snapshot *snapshot, struct br_err *reterr)
{
    if (br_uuid_is_nil(&snapshot->group)) {
        return 0;
    }
    snapshot->group = (struct br_uuid){0};
    snapshot->leader[0] = 0;
    return volume_save(volume, reterr);
}

static struct volume_snapshot *group_find(struct volume_record *record, const struct br_uuid *group)
{
    for (uint32_t i = 0; i < record->snapshot_count; i++) {
        if (br_uuid_equal(&record->snapshots[i].group, group)) {
            return &record->snapshots[i];
        }
    }
    return NULL;
}

// Has the leader decided? Returns 1 or 0: of a leader that is no volume any more 0; and an error when nobody knows.
static int group_decided(struct volume *volume, const struct volume_snapshot *snapshot, struct br_err *reterr)
{
    struct volume *leader = calloc(1, sizeof(*leader));

    if (!leader) {
        return br_err_set(reterr, BR_E_NOMEM, "volume %s", snapshot->leader);
    }
    int found = volume_beside(volume, snapshot->leader, leader, reterr);
    const struct volume_snapshot *decided = found > 0 ? group_find(&leader->record, &snapshot->group) : NULL;
    int has = decided && decided->taken_unix_ns;
    volume_close(leader);
    free(leader);
    return found < 0 ? found : has;
}

// A group is ended in its members first: one that is read before that, of a leader that is read after it, is whole all the same.
static bool group_ended_meanwhile(struct volume *volume, const struct br_uuid *group)
{
    struct volume *now = calloc(1, sizeof(*now));
    struct br_err err;
    bool ended = now && volume_beside(volume, volume->record.name, now, &err) > 0 && !group_find(&now->record, group);

    if (now) {
        volume_close(now);
    }
    free(now);
    return ended;
}

bool group_is_whole(struct volume *volume, const struct volume_snapshot *snapshot)
{
    struct br_err err;

    return !snapshot->leader[0] || group_decided(volume, snapshot, &err) > 0 ||
           group_ended_meanwhile(volume, &snapshot->group);
}

static int group_settle_member(struct volume *volume, struct volume_snapshot *snapshot, struct br_err *reterr)
{
    int decided = group_decided(volume, snapshot, reterr);

    if (decided < 0) {
        return decided;
    }
    return decided ? group_end(volume, snapshot, reterr) : stack_snapshot_drop(volume, snapshot->number, true, reterr);
}

// A record that can't be read has no snapshot that could be used.
static int group_end_in(struct volume *leader, const char *name, const struct br_uuid *group, struct br_err *reterr)
{
    struct volume *member = calloc(1, sizeof(*member));

    if (!member) {
        return br_err_set(reterr, BR_E_NOMEM, "volume %s", name);
    }
    int found = volume_beside(leader, name, member, reterr);
    int error = found < 0 && found != -BR_E_CORRUPT ? found : 0;
    if (found > 0 && group_find(&member->record, group)) {
        error = volume_try_lock(member, reterr);
        struct volume_snapshot *snapshot = error ? NULL : group_find(&member->record, group);
        error = snapshot ? group_end(member, snapshot, reterr) : error;
    }
    volume_close(member);
    free(member);
    return error;
}

static int group_settle_leader(struct volume *volume, struct volume_snapshot *snapshot, struct br_err *reterr)
{
    json_t *names;
    const json_t *name;
    size_t i;
    int error = volume_list_beside(volume, &names, reterr);

    if (error) {
        return error;
    }
    json_array_foreach(names, i, name)
    {
        if (!error && strcmp(json_string_value(name), volume->record.name) > 0) {
            error = group_end_in(volume, json_string_value(name), &snapshot->group, reterr);
        }
    }
    json_decref(names);
    return error ? error : group_end(volume, snapshot, reterr);
}

int group_settle_one(struct volume *volume, struct volume_snapshot *snapshot, struct br_err *reterr)
{
    if (br_uuid_is_nil(&snapshot->group) || !snapshot->taken_unix_ns) {
        return 0; // one that is not taken goes with what a killed run left
    }
    return snapshot->leader[0] ? group_settle_member(volume, snapshot, reterr)
                               : group_settle_leader(volume, snapshot, reterr);
}

int group_settle(struct volume *volume, struct br_err *reterr)
{
    struct volume_record *record = &volume->record;
    int first = 0;

    for (uint32_t i = record->snapshot_count; i; i--) {
        struct br_err err = {0};
        int error = group_settle_one(volume, &record->snapshots[i - 1], &err);
        if (error && !first) {
            first = error;
            *reterr = err;
        }
    }
    return first;
}
