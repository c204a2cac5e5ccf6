// SPDX-License-Identifier: Apache-2.0
//
// Snapshots that the user makes and removes: of one volume or, in one window, of several.
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/codec/identity.h"
#include "engine/net/registry.h"
#include "tools/audit.h"
#include "tools/volume/group.h"
#include "tools/volume/lvm.h"
#include "tools/volume/stack.h"
#include "tools/volume/tend.h"

#define SNAPSHOT_VOLUMES_MAX 32

static const struct cli_option snapshot_create_options[] = {
    {"name", CLI_TEXT, "NAME", "What it is called: letters, digits, _ and -. The same in each volume."},
    {"store", CLI_SIZE, "SIZE",
     "Room for old data to begin with; it grows while the volume's place for it has more. Default: a 16th of the volume, at least 64 MiB, at most half of what is left."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example snapshot_create_examples[] = {
    {"blkrep snapshot create data logs --name nightly", "Both at one moment: all or nothing."},
    {"blkrep sync data@nightly /backup/data.img", "Then each at leisure."},
    {NULL, NULL},
};

static const struct cli_example snapshot_list_examples[] = {
    {"blkrep snapshot list", "Of all volumes, with how full their stores are."},
    {NULL, NULL},
};

static const struct cli_option snapshot_remove_options[] = {
    {"force", CLI_FLAG, NULL, "Also when somebody reads it: they get errors."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example snapshot_remove_examples[] = {
    {"blkrep snapshot remove data@nightly", "Its place is free for others."},
    {NULL, NULL},
};

// NAME@SNAPSHOT; false when it is not of that form.
static bool snapshot_split(const char *word, char name[VOLUME_NAME_MAX], char snapshot[VOLUME_NAME_MAX])
{
    const char *at = strrchr(word, '@');

    if (!at || (size_t)(at - word) >= VOLUME_NAME_MAX || !br_volume_name_ok(at + 1)) {
        return false;
    }
    snprintf(name, VOLUME_NAME_MAX, "%.*s", (int)(at - word), word);
    snprintf(snapshot, VOLUME_NAME_MAX, "%s", at + 1);
    return true;
}

// Create ------------------------------------------------------------------------------------------------------------------------------

struct snapshot_group {
    struct volume volumes[SNAPSHOT_VOLUMES_MAX];
    struct stack_window windows[SNAPSHOT_VOLUMES_MAX];
    uint32_t numbers[SNAPSHOT_VOLUMES_MAX];
    uint32_t count;
    struct dmh_window_done done;
};

static int snapshot_prepare(struct cli *cli, struct snapshot_group *group, struct br_ring *ring, const char *name,
                            const char *snapshot_name, struct br_err *reterr)
{
    struct volume *volume = &group->volumes[group->count++];
    struct volume_snapshot snapshot = {.use = VOLUME_USER};
    int error = volume_open(cli, name, false, volume, reterr);

    error = error ? error : volume_lock(volume, reterr);
    if (error) {
        return error;
    }
    int up = stack_is_up(volume, reterr);
    if (up <= 0) {
        return up < 0 ? up
                      : br_err_set(reterr, BR_E_NOT_FOUND, "the stack of %s does not stand: run blkrep attach %s", name,
                                   name);
    }
    tend_collect(volume); // also what is left of one of that name that was killed before it was taken
    if (volume_record_snapshot(&volume->record, 0, snapshot_name)) {
        return br_err_set(reterr, BR_E_BUSY, "volume %s has a snapshot %s already", name, snapshot_name);
    }
    snprintf(snapshot.name, sizeof(snapshot.name), "%s", snapshot_name);
    uint64_t bytes = cli_size(cli, "store", stack_store_bytes(&volume->record));
    error = stack_snapshot_prepare(volume, ring, bytes, &snapshot, reterr);
    group->numbers[group->count - 1] = snapshot.number;
    return error;
}

static void snapshot_undo(struct cli *cli, struct snapshot_group *group)
{
    struct br_err err;

    // The first one's record decides: while it may say that all have it, none of the others may go. The next run settles that.
    for (uint32_t i = 0; i < group->count; i++) {
        if (group->numbers[i] && stack_snapshot_drop(&group->volumes[i], group->numbers[i], true, &err)) {
            cli_warn(cli, "a part of the snapshot of %s is left (blkrep snapshot remove): %s",
                     group->volumes[i].record.name, err.text);
            break;
        }
    }
}

static void snapshot_report(struct cli *cli, const struct snapshot_group *group, const char *name)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < group->count; i++) {
        const struct volume_record *record = &group->volumes[i].record;
        const struct dmh_window_top_done *top = &group->done.tops[i];
        char path[VOLUME_WHERE_MAX];
        char took[32];

        if (volume_is_lvm(record)) {
            lvm_snapshot_path(record, group->numbers[i], path, sizeof(path));
        } else {
            snprintf(path, sizeof(path), "/dev/mapper/%s-snap.%u", record->name, group->numbers[i]);
        }
        br_duration_text(top->window_ns, took, sizeof(took));
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:s,s:s,s:f,s:f}", "volume", record->name, "name", name, "path", path,
                                        "consistency", br_consistency_name(group->windows[i].snapshot->consistency),
                                        "window_seconds", (double)(top->window_ns / 1000) / 1e6, "freeze_seconds",
                                        (double)(top->freeze_ns / 1000) / 1e6));
        cli_print(cli, "%s@%s: %s; writes waited %s", record->name, name, path, took);
    }
    cli_report_json(cli, "snapshots", list);
    cli_report_seconds(cli, "window_seconds", group->done.window_ns);
}

static int snapshot_take(struct cli *cli, struct snapshot_group *group, struct br_ring *ring, const char *name,
                         struct br_err *reterr)
{
    int error = 0;

    for (int i = 0; !error && i < cli->arg_count; i++) {
        error = snapshot_prepare(cli, group, ring, cli->args[i], name, reterr);
    }
    for (uint32_t i = 0; !error && i < group->count; i++) {
        group->windows[i] = (struct stack_window){
            .volume = &group->volumes[i],
            .snapshot = volume_record_snapshot(&group->volumes[i].record, group->numbers[i], NULL)};
    }
    error = error ? error : stack_snapshot_take(group->windows, group->count, &group->done, reterr);
    if (error) {
        snapshot_undo(cli, group);
    }
    return error;
}

// Locks are taken in the order of the arguments: sorted, so that two groups never wait for each other.
static int snapshot_names(struct cli *cli, const char *name, struct br_err *reterr)
{
    if (!name || !br_volume_name_ok(name)) {
        return br_err_set(reterr, BR_E_USAGE, "--name: 1 to 64 letters, digits, _ and -");
    }
    for (int i = 1; i < cli->arg_count; i++) {
        for (int j = i; j && strcmp(cli->args[j - 1], cli->args[j]) >= 0; j--) {
            if (!strcmp(cli->args[j - 1], cli->args[j])) {
                return br_err_set(reterr, BR_E_USAGE, "volume %s is named twice", cli->args[j]);
            }
            char *swap = cli->args[j];
            cli->args[j] = cli->args[j - 1];
            cli->args[j - 1] = swap;
        }
    }
    return 0;
}

static int snapshot_create_run(struct cli *cli, struct br_err *reterr)
{
    const char *name = cli_text(cli, "name");
    struct snapshot_group *group = calloc(1, sizeof(*group));
    struct br_ring *ring = NULL;
    int error = group ? snapshot_names(cli, name, reterr) : br_err_set(reterr, BR_E_NOMEM, "a group of volumes");

    for (uint32_t i = 0; group && i < SNAPSHOT_VOLUMES_MAX; i++) {
        group->volumes[i].dir_fd = group->volumes[i].lock_fd = -1;
    }
    error = error ? error : audit_ready(cli, reterr);
    error = error ? error : place_ring(cli, &ring, reterr);
    error = error ? error : snapshot_take(cli, group, ring, name, reterr);
    if (!error) {
        snapshot_report(cli, group, name);
    }
    for (uint32_t i = 0; group && i < group->count; i++) {
        if (!error && audit_append(cli, "snapshot-create", group->volumes[i].record.name,
                                   json_pack("{s:s}", "name", name), reterr)) {
            cli_warn(cli, "the audit line could not be written: %s", reterr->text);
        }
        volume_close(&group->volumes[i]);
    }
    br_ring_close(ring);
    free(group);
    return error;
}

// List --------------------------------------------------------------------------------------------------------------------------------

static void snapshot_list_one(struct cli *cli, struct volume *volume, const struct volume_snapshot *snapshot)
{
    struct dmh_target_status status = {0};
    struct br_err err;
    char taken[32], used[32], total[32];
    int error = stack_snapshot_status(volume, snapshot->number, &status, &err);
    bool decided = snapshot->taken_unix_ns && group_is_whole(volume, snapshot);
    bool valid = !error && status.snapshot_state == DMH_SNAPSHOT_VALID && decided;
    const char *trouble = valid ? "" : decided ? ", lost" : ", not taken";

    br_time_text(snapshot->taken_unix_ns, taken, sizeof(taken));
    cli_bytes(cli, status.used_bytes, used, sizeof(used));
    cli_bytes(cli, status.total_bytes, total, sizeof(total));
    cli_print(cli, "%-20s %-12s %-5s %s  %s of %s%s", volume->record.name, snapshot->name[0] ? snapshot->name : "-",
              volume_use_name(snapshot->use), taken, used, total, trouble);
    cli_event(cli, json_pack("{s:s,s:s,s:s?,s:s,s:I,s:I,s:I,s:I,s:b,s:s}", "type", "snapshot", "volume",
                             volume->record.name, "name", snapshot->name[0] ? snapshot->name : NULL, "use",
                             volume_use_name(snapshot->use), "number", (json_int_t)snapshot->number, "taken_unix",
                             (json_int_t)(snapshot->taken_unix_ns / BR_NS_PER_S), "store_used_bytes",
                             (json_int_t)status.used_bytes, "store_bytes", (json_int_t)status.total_bytes, "valid",
                             valid, "consistency", br_consistency_name(snapshot->consistency)));
}

static int snapshot_list_volume(struct cli *cli, const char *name, uint64_t *count, struct br_err *reterr)
{
    struct volume *volume = calloc(1, sizeof(*volume));

    if (!volume) {
        return br_err_set(reterr, BR_E_NOMEM, "a volume");
    }
    int error = volume_open(cli, name, false, volume, reterr);
    for (uint32_t i = 0; !error && i < volume->record.snapshot_count; i++) {
        snapshot_list_one(cli, volume, &volume->record.snapshots[i]);
        (*count)++;
    }
    volume_close(volume);
    free(volume);
    return error;
}

static int snapshot_list_run(struct cli *cli, struct br_err *reterr)
{
    json_t *names;
    json_t *name;
    size_t i;
    uint64_t count = 0;
    int error;

    if (cli->arg_count) {
        error = snapshot_list_volume(cli, cli->args[0], &count, reterr);
    } else {
        error = volume_list(cli, &names, reterr);
        if (error) {
            return error;
        }
        json_array_foreach(names, i, name)
        {
            error = error ? error : snapshot_list_volume(cli, json_string_value(name), &count, reterr);
        }
        json_decref(names);
    }
    cli_report_number(cli, "snapshots", count);
    return error;
}

// Remove ------------------------------------------------------------------------------------------------------------------------------

static int snapshot_remove_locked(struct cli *cli, struct volume *volume, const char *name, struct br_err *reterr)
{
    struct volume_snapshot *snapshot = volume_record_snapshot(&volume->record, 0, name);

    if (!snapshot) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "volume %s has no snapshot %s", volume->record.name, name);
    }
    int error = snapshot->leader[0] ? 0 : group_settle_one(volume, snapshot, reterr);
    if (error) {
        return error;
    }
    // A consumer's mark may need it: then it stays, as that.
    if (volume->record.tracker != VOLUME_ERA && !snapshot->gone &&
        volume_record_needed(&volume->record, snapshot->number)) {
        snapshot->use = VOLUME_MARK;
        snapshot->name[0] = 0;
        cli_say(cli, "kept as the mark of a consumer until its next run");
        return volume_save(volume, reterr);
    }
    return stack_snapshot_drop(volume, snapshot->number, cli_flag(cli, "force"), reterr);
}

static int snapshot_remove_run(struct cli *cli, struct br_err *reterr)
{
    char name[VOLUME_NAME_MAX];
    char snapshot[VOLUME_NAME_MAX];
    struct volume *volume = calloc(1, sizeof(*volume));

    if (!volume || !snapshot_split(cli->args[0], name, snapshot)) {
        int code = volume ? BR_E_USAGE : BR_E_NOMEM;
        free(volume);
        return br_err_set(reterr, code, "name it as VOLUME@SNAPSHOT");
    }
    volume->dir_fd = volume->lock_fd = -1;
    int error = audit_ready(cli, reterr);
    error = error ? error : volume_open(cli, name, false, volume, reterr);
    error = error ? error : volume_lock(volume, reterr);
    error = error ? error : snapshot_remove_locked(cli, volume, snapshot, reterr);
    if (!error) {
        cli_report_text(cli, "volume", name);
        cli_report_text(cli, "name", snapshot);
        cli_print(cli, "%s@%s: removed", name, snapshot);
        error = audit_append(cli, "snapshot-remove", name, json_pack("{s:s}", "name", snapshot), reterr);
    }
    volume_close(volume);
    free(volume);
    return error;
}

static const struct cli_field snapshot_create_fields[] = {
    {"snapshots", "list", "One for each volume."},
    {"snapshots[].volume", "text", "Its volume."},
    {"snapshots[].name", "text", "Its name: VOLUME@NAME is a source for blkrep sync and send."},
    {"snapshots[].path", "text", "Its device, read it or mount it read-only."},
    {"snapshots[].consistency", "text", "clean when a mounted file system was frozen, else crash."},
    {"snapshots[].window_seconds", "number",
     "How long writes to the volume waited; of one volume alone whose snapshots are LVM's own, how long its command ran, which is more."},
    {"snapshots[].freeze_seconds", "number", "Of that, in the freeze of the file system."},
    {"window_seconds", "number", "From the first suspend to the last resume."},
    {NULL, NULL, NULL},
};

static const struct cli_field snapshot_list_line_fields[] = {
    {"volume", "text", "Its volume."},
    {"name", "text|null", "Of a user's; null for those that runs made."},
    {"use", "text", "user, view (of a run that is under way) or mark (held for a consumer's next run)."},
    {"number", "number", "Of the volume's snapshots."},
    {"taken_unix", "number", "When it was taken; 0 not yet."},
    {"store_used_bytes", "number", "Old data that it keeps."},
    {"store_bytes", "number", "Room for it, which grows."},
    {"valid", "boolean",
     "False: its store overflowed or was written past and it is lost; or it is not taken: its run is under way or was cut short, the next one drops it."},
    {"consistency", "text", "none, crash or clean."},
    {NULL, NULL, NULL},
};

static const struct cli_line snapshot_list_lines[] = {
    {"snapshot", "One for each snapshot.", snapshot_list_line_fields},
    {NULL, NULL, NULL},
};

static const struct cli_field snapshot_list_fields[] = {
    {"snapshots", "number", "How many there are."},
    {NULL, NULL, NULL},
};

static const struct cli_field snapshot_remove_fields[] = {
    {"volume", "text", "Its volume."},
    {"name", "text", "Its name."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_snapshot_create = {
    .name = "snapshot create",
    .args = "VOLUME...",
    .args_min = 1,
    .args_max = SNAPSHOT_VOLUMES_MAX,
    .summary = "Take a snapshot of attached volumes, of several at one moment.",
    .description =
        "All volumes named are suspended, their mounted file systems frozen, the snapshots made, and all go on: one window, all or nothing. "
        "Beforehand file systems are synced, so that the window is short; when that is too slow nothing is begun. A logical volume whose "
        "snapshots are LVM's own can be one of several: LVM makes its snapshot first, in a short suspend of its own, and the window makes that "
        "anew.\n\n"
        "A snapshot costs most of the write rate while it exists, and its store grows in the volume's place for it. When that is full the "
        "snapshot is lost; the volume goes on. The snapshot is listed as lost until it is removed, and a verb that reads it ends with status 6.",
    .options = snapshot_create_options,
    .examples = snapshot_create_examples,
    .see_also = "blkrep-attach(1), blkrep-snapshot-list(1), blkrep-snapshot-remove(1), blkrep-sync(1)",
    .schema = "blkrep.snapshot-create/1",
    .fields = snapshot_create_fields,
    .run = snapshot_create_run,
};

const struct cli_verb cmd_snapshot_list = {
    .name = "snapshot list",
    .args = "[VOLUME]",
    .args_min = 0,
    .args_max = 1,
    .summary = "Show the snapshots of attached volumes and how full their stores are.",
    .description = "Those of runs that are under way, and those that are held as a consumer's mark, are shown too.",
    .options = NULL,
    .examples = snapshot_list_examples,
    .see_also = "blkrep-snapshot-create(1), blkrep-status(1)",
    .schema = "blkrep.snapshot-list/1",
    .fields = snapshot_list_fields,
    .lines = snapshot_list_lines,
    .run = snapshot_list_run,
};

const struct cli_verb cmd_snapshot_remove = {
    .name = "snapshot remove",
    .args = "VOLUME@SNAPSHOT",
    .args_min = 1,
    .args_max = 1,
    .summary = "Remove a snapshot.",
    .description =
        "A snapshot that a consumer's version was read from, on a volume with tracker cow, is kept without its name until that "
        "consumer's next run.",
    .options = snapshot_remove_options,
    .examples = snapshot_remove_examples,
    .see_also = "blkrep-snapshot-create(1)",
    .schema = "blkrep.snapshot-remove/1",
    .fields = snapshot_remove_fields,
    .run = snapshot_remove_run,
};
