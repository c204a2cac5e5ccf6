// SPDX-License-Identifier: Apache-2.0
#include "tools/audit.h"
#include "tools/volume/attach.h"
#include "tools/volume/continuity.h"

static const struct cli_option attach_options[] = {
    {"all", CLI_FLAG, NULL,
     "Build the stack of every volume that is known: what the boot does. One that fails does not stop the others."},
    {"early", CLI_FLAG, NULL,
     "For the initramfs: build the stack from a copy of the volume's record, before the root file system is there. attach --all on the real "
     "root takes it over. Tracker era only, with --cow on a device or in a volume group."},
    {"tracker", CLI_CHOICE, "auto|cow|era|thin",
     "What remembers the changes. thin: of a thin logical volume, snapshots in its pool, exact and without a store of their own. era: dm-era, cheap, for any number of consumers, its metadata should lie on the volume's own disk. cow: a "
     "dm-snapshot held from one run to the next, exact to 4 KiB, but it costs most of the write rate; of a logical volume it is a snapshot of "
     "LVM's own, in the free space of its group. auto takes thin for a thin volume and cow for another logical volume, unless --cow names a "
     "place; for everything else era where its metadata lies on the volume's own disk, else cow."},
    {"cow", CLI_TEXT, "PLACE",
     "Where snapshots keep old data, and dm-era its metadata: the path of a file to be made, a block device that is given for it whole, or "
     "vg:GROUP for a logical volume. Not on the volume itself, and not where anything lies already. Default: a file in the state folder."},
    {"cow-size", CLI_SIZE, "SIZE",
     "How large the place is to begin with. Default: a 64th of the volume, 128 MiB to 4 GiB."},
    {"cow-max", CLI_SIZE, "SIZE", "How large it may grow. Default: a fifth of the volume."},
    {"era-block", CLI_SIZE, "SIZE",
     "Block size of dm-era, a multiple of 64 KiB. Default 1 MiB: smaller ones name changes more exactly and slow large writes."},
    {"at-boot", CLI_FLAG, NULL,
     "The device is in use and can't be released now: remember it, and let the next boot build the stack before anything uses the device."},
    {"io", CLI_CHOICE, "auto|uring|aio", "How to talk to the kernel; auto takes io_uring and falls back to libaio."},
    {"buffers", CLI_NUMBER, "N", "Buffers of 1 MiB; memory grows with them. Default 24."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example attach_examples[] = {
    {"blkrep attach data /dev/disk/by-id/virtio-data --cow /var/cache/blkrep-data.area",
     "Then mount /dev/mapper/data instead of the device."},
    {"blkrep attach --all", "At boot, before file systems are mounted."},
    {NULL, NULL},
};

static void attach_report(struct cli *cli, const struct volume *volume, const struct attach_done *done)
{
    const struct volume_record *record = &volume->record;
    char top[VOLUME_WHERE_MAX + 16];

    volume_top_path(record, top, sizeof(top));
    cli_report_text(cli, "volume", record->name);
    cli_report_text(cli, "device", record->device);
    cli_report_text(cli, "path", top);
    cli_report_text(cli, "tracker", volume_tracker_name(record->tracker));
    cli_report_number(cli, "size_bytes", record->size_bytes);
    cli_report_number(cli, "area_bytes", record->area.bytes);
    cli_report_bool(cli, "online", record->retabled);
    cli_report_text(cli, "tracking_lost", done->lost);
}

static void attach_say(struct cli *cli, const struct volume *volume, const struct attach_done *done)
{
    const struct volume_record *record = &volume->record;
    char top[VOLUME_WHERE_MAX + 16];

    volume_top_path(record, top, sizeof(top));
    if (done->off) {
        cli_print(cli, "%s: %s is passed through as it is, blkrep=off is on the kernel command line", record->name,
                  record->device);
    } else if (record->pending) {
        cli_print(cli, "%s: %s is attached at the next boot, as %s", record->name, record->device, top);
    } else if (done->stood) {
        cli_print(cli, "%s: stands already, at %s", record->name, top);
    } else {
        cli_print(cli, "%s: %s over %s, tracker %s", record->name, top, record->device,
                  volume_tracker_name(record->tracker));
    }
    if (done->fresh && strcmp(volume_top(record), "@device") != 0) {
        cli_say(cli, "use %s from now on: in /etc/fstab, and wherever %s stands. fstrim does nothing on it.", top,
                record->device);
    }
    if (done->lost) {
        cli_say(
            cli,
            "%s: changes since the last run can't be proven (%s): the next run of each consumer compares everything",
            record->name, done->lost);
    }
}

static int attach_build(struct cli *cli, const char *name, struct volume *volume, struct attach_done *done,
                        struct br_err *reterr)
{
    if (cli_flag(cli, "early") && continuity_off()) {
        int error = volume_open_record(cli, name, false, volume, reterr);
        return error ? error : attach_early_pass(volume, done, reterr);
    }
    if (cli_flag(cli, "early")) {
        int error = volume_open(cli, name, false, volume, reterr);
        return error ? error : attach_early(volume, done, reterr);
    }
    if (continuity_off()) {
        int error = volume_open_record(cli, name, false, volume, reterr);
        return error ? error : attach_pass(volume, "switched-off-at-boot", done, reterr);
    }
    int error = volume_open(cli, name, false, volume, reterr);
    return error ? error : attach_again(volume, done, reterr);
}

static int attach_known(struct cli *cli, const char *name, struct br_err *reterr)
{
    struct volume *volume = calloc(1, sizeof(*volume));
    struct attach_done done;

    if (!volume) {
        return br_err_set(reterr, BR_E_NOMEM, "attaching %s", name);
    }
    int error = attach_build(cli, name, volume, &done, reterr);
    if (!error) {
        attach_report(cli, volume, &done);
        attach_say(cli, volume, &done);
    }
    volume_close(volume);
    free(volume);
    return error;
}

// A boot goes on without the stack: the plain device under its name, and the record says that nobody tracked it. Early there is only a copy of
// that, and what is left undone is said by the real root.
static void attach_do_without(struct cli *cli, const char *name, bool early)
{
    struct volume *volume = calloc(1, sizeof(*volume));
    struct attach_done done;
    struct br_err err;

    if (!volume) {
        return;
    }
    int error = volume_open_record(cli, name, false, volume, &err);
    error = error   ? error
            : early ? attach_early_pass(volume, &done, &err)
                    : attach_pass(volume, "stack-not-built", &done, &err);
    if (error) {
        cli_warn(cli, "volume %s could not be passed through either: %s", name, err.text);
    } else {
        cli_warn(cli, "volume %s: its plain device is passed through; nothing tracks it in this boot", name);
    }
    volume_close(volume);
    free(volume);
}

static int attach_all(struct cli *cli, struct br_err *reterr)
{
    json_t *names;
    json_t *name;
    size_t i;
    int first = volume_list(cli, &names, reterr);
    struct br_err err;

    if (first) {
        return first;
    }
    json_array_foreach(names, i, name)
    {
        int error = attach_known(cli, json_string_value(name), &err);
        if (error) {
            cli_warn(cli, "volume %s: %s: %s", json_string_value(name), br_err_message(-error), err.text);
        }
        if (error) {
            attach_do_without(cli, json_string_value(name), cli_flag(cli, "early"));
        }
        if (error && !first) {
            first = error;
            *reterr = err;
        }
    }
    cli_report_number(cli, "volumes", json_array_size(names));
    json_decref(names);
    return first;
}

static int attach_first(struct cli *cli, struct br_err *reterr)
{
    const char *tracker = cli_text(cli, "tracker");
    struct volume *volume = calloc(1, sizeof(*volume));
    struct attach_done done;
    struct attach_wish wish = {
        .name = cli->args[0],
        .device = cli->args[1],
        .area = cli_text(cli, "cow"),
        .area_bytes = cli_size(cli, "cow-size", 0),
        .area_max_bytes = cli_size(cli, "cow-max", 0),
        .era_block_bytes = cli_size(cli, "era-block", 0),
        .at_boot = cli_flag(cli, "at-boot"),
        .tracker = tracker && !strcmp(tracker, "cow")    ? VOLUME_COW
                   : tracker && !strcmp(tracker, "era")  ? VOLUME_ERA
                   : tracker && !strcmp(tracker, "thin") ? VOLUME_THIN
                                                         : 0,
    };

    if (!volume) {
        return br_err_set(reterr, BR_E_NOMEM, "attaching %s", wish.name);
    }
    int error = wish.era_block_bytes % 65536
                    ? br_err_set(reterr, BR_E_USAGE, "--era-block must be a multiple of 64 KiB")
                    : attach_new(cli, &wish, volume, &done, reterr);
    if (!error) {
        attach_report(cli, volume, &done);
        attach_say(cli, volume, &done);
    }
    volume_close(volume);
    free(volume);
    return error;
}

static int attach_run(struct cli *cli, struct br_err *reterr)
{
    bool early = cli_flag(cli, "early");
    int error = early ? 0 : audit_ready(cli, reterr); // what is written early is gone with the initramfs

    if (error) {
        return error;
    }
    if (early && cli->arg_count == 2) {
        return br_err_set(reterr, BR_E_USAGE, "--early is for volumes that are known");
    }
    if (cli_flag(cli, "all")) {
        return cli->arg_count ? br_err_set(reterr, BR_E_USAGE, "--all takes no name") : attach_all(cli, reterr);
    }
    if (!cli->arg_count) {
        return br_err_set(reterr, BR_E_USAGE, "name a volume, or --all");
    }
    if (cli->arg_count == 2) {
        return attach_first(cli, reterr);
    }
    error = attach_known(cli, cli->args[0], reterr);
    if (error && early) {
        attach_do_without(cli, cli->args[0], true);
    }
    return error;
}

static const struct cli_field attach_fields[] = {
    {"volume", "text", "Its name."},
    {"device", "text", "The device that it is."},
    {"path", "text", "What to mount and to use instead of the device."},
    {"tracker", "text", "cow, era or thin."},
    {"size_bytes", "number", "Of the volume."},
    {"area_bytes", "number", "Of the place for snapshots and metadata."},
    {"online", "boolean", "The device was in use, and the stack was slipped under it: its path stays."},
    {"tracking_lost", "text|null",
     "Why changes since the last run can't be proven; null when they can, or when there was none."},
    {"volumes", "number", "With --all: how many are known. The fields before are the last one's."},
    {NULL, NULL, NULL},
};

const struct cli_verb cmd_attach = {
    .name = "attach",
    .args = "[NAME [DEVICE]]",
    .args_min = 0,
    .args_max = 2,
    .summary = "Track the changes of a device, so that a run reads what changed and not all.",
    .description =
        "attach builds a stack of device-mapper targets over DEVICE and presents it as /dev/mapper/NAME, which is to be used instead. From "
        "then on sync and send take a snapshot of it for each run, of a mounted file system too, and read only what changed since the "
        "consumer's last run. A device-mapper device that is in use gets the stack slipped under it and keeps its path, until somebody "
        "(LVM, to refresh or extend it) gives it another table: then runs say so, and attach NAME is needed again. A plain "
        "partition must not be in use, neither mounted nor itself open for writing by a process (a virtual machine, a database), which would go on "
        "writing past the stack: blkrep doctor DEVICE prints the ways.\n\n"
        "A logical volume keeps its path, its table and LVM's commands: its snapshots are LVM's own, called blkrep-NAME-snap.N and tagged "
        "blkrep, and LVM keeps them over a boot. A thin pool that is nearly full (90 %) gets no snapshot more, and those that "
        "only runs need are given back: by a run that finds no room, and by blkrep watch from 95 % on. Then the next run compares everything.\n\n"
        "With NAME alone the stack of a known volume is built again, as the boot does with --all. If it can't be proven that every write "
        "since the last run went through the tracker, because the device was mounted elsewhere, or a boot went without the stack, that is "
        "said here, in the audit log and in the next run, which then compares everything.\n\n"
        "Scripts that a volume's section in blkrep.conf(5) names (before-snapshot, after-snapshot) are run around each snapshot; those for "
        "PostgreSQL and MariaDB are installed in share/blkrep/hooks.\n\n"
        "In a boot whose stack can't be built, or with blkrep=off on the kernel command line, --all makes /dev/mapper/NAME a link to the plain "
        "device: mounts work, nothing tracks, and the audit log says so. A device that grew gives a stack that is built again its new size; "
        "one that shrank is refused. See blkrep-boot(7).\n\n"
        "What snapshots need while they exist is kept in the place that --cow names. When it is full a snapshot is given up; the volume "
        "itself goes on.",
    .options = attach_options,
    .examples = attach_examples,
    .see_also = "blkrep-boot(7), blkrep-detach(1), blkrep-snapshot-create(1), blkrep-doctor(1), blkrep-sync(1)",
    .schema = "blkrep.attach/1",
    .fields = attach_fields,
    .run = attach_run,
};
