// SPDX-License-Identifier: Apache-2.0
//
// The answer for programs: schema blkrep.doctor/1, all in the exit object.
#include <stdio.h>

#include "tools/doctor.h"

const struct cli_field doctor_fields[] = {
    {"machine", "object", "The kernel and what is around it."},
    {"machine.kernel", "text", "Its release."},
    {"machine.os", "text|null", "The ID of os-release."},
    {"machine.facts", "object", "Plain facts, each true or false; the section FACTS lists them."},
    {"machine.modules_why", "text|null", "Why no module can be loaded; null when they can."},
    {"machine.lockdown", "text|null", "none, integrity or confidentiality; null where the kernel has no lockdown."},
    {"machine.io_uring_disabled", "number|null", "The sysctl of that name; null where the kernel has none."},
    {"machine.nbd_devices", "number", "How many NBD devices there are."},
    {"machine.ublk_features", "number|null",
     "The kernel's UBLK_F_* bits; null when it was not asked or did not answer."},
    {"machine.drivers", "list", "Drivers and targets that matter."},
    {"machine.drivers[].name", "text", "As the kernel calls it."},
    {"machine.drivers[].module", "text", "Its module."},
    {"machine.drivers[].presence", "text",
     "present; loadable when it is used; locked: installed, and not allowed to be loaded; unseen by this user; absent."},
    {"machine.drivers[].version", "text|null", "What device-mapper says."},
    {"features", "list", "The rows of the support matrix with this machine's answers."},
    {"features[].name", "text", "The row."},
    {"features[].ok", "boolean|null", "Does it work here; null when this user can't tell."},
    {"features[].reason", "text|null", "Why not, or what it rests on."},
    {"features[].remedy", "text|null", "What to do about a no."},
    {"features[].without", "text", "What is done instead."},
    {"hurried", "boolean", "Something did not answer in time, so not all was looked at."},
    {"devices", "list", "The block devices that were asked about, all by default."},
    {"devices[].name", "text", "The kernel's name."},
    {"devices[].path", "text", "The path to use in commands."},
    {"devices[].path_stable", "boolean", "It means the same device after a reboot."},
    {"devices[].kind", "text", "What it is: disk, partition, logical volume and so on."},
    {"devices[].size_bytes", "number", "Its size."},
    {"devices[].sector_bytes", "number", "Of a logical sector; 0 when not known."},
    {"devices[].read_only", "boolean", "It can't be written."},
    {"devices[].transport", "text|null", "iscsi, fc, usb, nvme, sata, scsi, virtio, mmc or xen."},
    {"devices[].model", "text|null", "Of the disk."},
    {"devices[].serial", "text|null", "Of the disk."},
    {"devices[].wwid", "text|null", "Of the disk."},
    {"devices[].disk", "text|null", "Of a partition: its disk."},
    {"devices[].below", "list", "The names of the devices that it lies on."},
    {"devices[].above", "list", "The names of the devices that lie on it."},
    {"devices[].dm_name", "text|null", "Of a DM device."},
    {"devices[].dm_target", "text|null", "Of a DM device: its first target; null when only root can ask."},
    {"devices[].vg", "text|null", "Of a logical volume."},
    {"devices[].lv", "text|null", "Of a logical volume."},
    {"devices[].holds", "text|null", "What is on it, in libblkid's words; null for nothing, or when it was not seen."},
    {"devices[].label", "text|null", "Of the file system."},
    {"devices[].seen", "text", "How what is on it was found: seen, not-looked, denied, suspended, hung or failed."},
    {"devices[].users", "text|null", "What has it open for writing, when it is not mounted."},
    {"devices[].swap", "boolean", "It is used as swap."},
    {"devices[].mounts", "list", "Where it is mounted."},
    {"devices[].mounts[].where", "text", "The mount point."},
    {"devices[].mounts[].fs", "text", "The file system."},
    {"devices[].mounts[].writable", "boolean", "It can be written."},
    {"devices[].mounts[].discard", "boolean", "It is mounted with the option discard."},
    {"devices[].mounts[].freezes", "boolean", "FIFREEZE can hold it still."},
    {"devices[].attach", "text",
     "none; elsewhere: what lies on it; online: while it is in use; idle: now; release: unmounted, or at boot; boot."},
    {"devices[].attach_reason", "text", "Why."},
    {"devices[].instead", "list", "Of elsewhere: the names of the devices to attach."},
    {"devices[].tracker", "text", "What --tracker=auto takes."},
    {"devices[].trackers", "list", "Each tracker."},
    {"devices[].trackers[].name", "text", "thin, era, cow or scan."},
    {"devices[].trackers[].fits", "boolean", "It can be used."},
    {"devices[].trackers[].reason", "text", "Why, or why not."},
    {"devices[].trim_now", "boolean", "It takes TRIM as it is."},
    {"devices[].trim_attached", "boolean", "It would take TRIM when attached with that tracker."},
    {"devices[].places", "list", "Where the tracker's store could live, the best first."},
    {"devices[].places[].kind", "text", "vg, device or files."},
    {"devices[].places[].name", "text", "The VG, the device's path or the mount point."},
    {"devices[].places[].free_bytes", "number", "How much room is there."},
    {"devices[].places[].own_disk", "boolean", "It is on the same disk as the device."},
    {"devices[].plans", "list", "What to type; any one of them."},
    {"devices[].plans[].when", "text", "now, at boot, or without attach."},
    {"devices[].plans[].commands", "list", "One after the other; PLACE and HOST stand for what only the user knows."},
    {NULL, NULL, NULL},
};

static json_t *json_text_or_null(const char *text)
{
    return text[0] ? cli_json_text(text) : json_null();
}

static json_t *json_number(uint64_t number)
{
    return json_integer((json_int_t)number);
}

static json_t *json_driver(const struct kmc_facts *facts, enum kmc_driver index)
{
    const struct kmc_driver_facts *driver = &facts->drivers[index];
    json_t *item = json_object();
    char version[48] = "";

    if (driver->versioned) {
        snprintf(version, sizeof(version), "%u.%u.%u", driver->version[0], driver->version[1], driver->version[2]);
    }
    json_object_set_new(item, "name", json_string(kmc_driver_name(index)));
    json_object_set_new(item, "module", json_string(kmc_driver_module(index)));
    json_object_set_new(item, "presence", json_string(kmc_presence_name(driver->presence)));
    json_object_set_new(item, "version", json_text_or_null(version));
    return item;
}

static json_t *json_machine(const struct kmc_facts *facts)
{
    bool ublk_known = facts->drivers[KMC_DRIVER_UBLK].presence == KMC_PRESENT && !facts->ublk_errno;
    json_t *machine = json_object();
    json_t *bits = json_object();
    json_t *drivers = json_array();

    for (int i = 0; i < KMC_BIT_MAX; i++) {
        json_object_set_new(bits, kmc_bit_name(i), json_boolean(facts->bits[i]));
    }
    for (int i = 0; i < KMC_DRIVER_MAX; i++) {
        json_array_append_new(drivers, json_driver(facts, i));
    }
    json_object_set_new(machine, "kernel", cli_json_text(facts->release));
    json_object_set_new(machine, "os", json_text_or_null(facts->os_id));
    json_object_set_new(machine, "facts", bits);
    json_object_set_new(machine, "modules_why", json_text_or_null(facts->modules_why));
    json_object_set_new(machine, "lockdown", json_text_or_null(facts->lockdown));
    json_object_set_new(machine, "io_uring_disabled",
                        facts->uring_disabled < 0 ? json_null() : json_integer(facts->uring_disabled));
    json_object_set_new(machine, "nbd_devices", json_number(facts->nbd_count));
    json_object_set_new(machine, "ublk_features", ublk_known ? json_number(facts->ublk_features) : json_null());
    json_object_set_new(machine, "drivers", drivers);
    return machine;
}

static json_t *json_features(const struct doctor *doctor)
{
    json_t *features = json_array();

    for (int i = 0; i < KMC_FEATURE_MAX; i++) {
        const struct kmc_support *support = &doctor->supports[i];
        json_t *item = json_object();
        json_object_set_new(item, "name", json_string(kmc_feature_name(i)));
        json_object_set_new(item, "ok",
                            support->answer == KMC_CANT_TELL ? json_null() : json_boolean(support->answer == KMC_YES));
        json_object_set_new(item, "reason", json_text_or_null(support->reason));
        json_object_set_new(item, "remedy", json_text_or_null(support->answer == KMC_YES ? "" : support->remedy));
        json_object_set_new(item, "without", json_string(kmc_matrix[i].without));
        json_array_append_new(features, item);
    }
    return features;
}

static json_t *json_names(const struct doctor *doctor, const size_t *indexes, size_t count)
{
    json_t *names = json_array();

    for (size_t i = 0; i < count; i++) {
        json_array_append_new(names, cli_json_text(doctor->devices.list[indexes[i]].name));
    }
    return names;
}

static json_t *json_mounts(const struct kmc_device *device)
{
    json_t *mounts = json_array();

    for (size_t i = 0; i < device->mount_count; i++) {
        const struct kmc_mount *mount = &device->mounts[i];
        json_t *item = json_object();
        json_object_set_new(item, "where", cli_json_text(mount->where));
        json_object_set_new(item, "fs", cli_json_text(mount->fs));
        json_object_set_new(item, "writable", json_boolean(mount->writable));
        json_object_set_new(item, "discard", json_boolean(mount->discard));
        json_object_set_new(item, "freezes", json_boolean(kmc_fs_freezes(mount->fs)));
        json_array_append_new(mounts, item);
    }
    return mounts;
}

static void json_what(const struct doctor *doctor, size_t index, json_t *item)
{
    const struct kmc_device *device = &doctor->devices.list[index];

    json_object_set_new(item, "name", cli_json_text(device->name));
    json_object_set_new(item, "path", cli_json_text(device->stable));
    json_object_set_new(item, "path_stable", json_boolean(device->stable_known));
    json_object_set_new(item, "kind", json_string(kmc_kind_name(device->kind)));
    json_object_set_new(item, "size_bytes", json_number(device->size_bytes));
    json_object_set_new(item, "sector_bytes", json_number(device->sector_bytes));
    json_object_set_new(item, "read_only", json_boolean(device->read_only));
    json_object_set_new(item, "transport", json_text_or_null(device->transport));
    json_object_set_new(item, "model", json_text_or_null(device->model));
    json_object_set_new(item, "serial", json_text_or_null(device->serial));
    json_object_set_new(item, "wwid", json_text_or_null(device->wwid));
    json_object_set_new(
        item, "disk", json_text_or_null(device->disk == KMC_NO_DEVICE ? "" : doctor->devices.list[device->disk].name));
    json_object_set_new(item, "below", json_names(doctor, device->below, device->below_count));
    json_object_set_new(item, "above", json_names(doctor, device->above, device->above_count));
    json_object_set_new(item, "dm_name", json_text_or_null(device->dm_name));
    json_object_set_new(item, "dm_target", json_text_or_null(device->target));
    json_object_set_new(item, "vg", json_text_or_null(device->vg));
    json_object_set_new(item, "lv", json_text_or_null(device->lv));
}

static void json_use(const struct doctor *doctor, size_t index, json_t *item)
{
    static const char *const seen[] = {
        [DOCTOR_SEEN] = "seen",     [DOCTOR_NOT_LOOKED] = "not-looked",
        [DOCTOR_DENIED] = "denied", [DOCTOR_SUSPENDED] = "suspended",
        [DOCTOR_HUNG] = "hung",     [DOCTOR_FAILED] = "failed",
    };
    const struct kmc_device *device = &doctor->devices.list[index];
    const struct doctor_look *look = &doctor->looks[index];

    json_object_set_new(item, "holds", json_text_or_null(device->holds));
    json_object_set_new(item, "label", json_text_or_null(device->label));
    json_object_set_new(item, "seen", json_string(seen[look->seen]));
    json_object_set_new(item, "users", json_text_or_null(look->users));
    json_object_set_new(item, "swap", json_boolean(device->swap));
    json_object_set_new(item, "mounts", json_mounts(device));
}

static json_t *json_trackers(const struct doctor_advice *advice)
{
    json_t *trackers = json_array();

    for (int i = 0; i < KMC_TRACKER_MAX; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "name", json_string(kmc_tracker_name(i)));
        json_object_set_new(item, "fits", json_boolean(advice->trackers[i].fits));
        json_object_set_new(item, "reason", cli_json_text(advice->trackers[i].reason));
        json_array_append_new(trackers, item);
    }
    return trackers;
}

static json_t *json_places(const struct doctor_room *room)
{
    json_t *places = json_array();

    for (size_t i = 0; i < room->count; i++) {
        json_t *item = json_object();
        json_object_set_new(item, "kind", json_string(doctor_place_word(room->places[i].kind)));
        json_object_set_new(item, "name", cli_json_text(room->places[i].name));
        json_object_set_new(item, "free_bytes", json_number(room->places[i].free_bytes));
        json_object_set_new(item, "own_disk", json_boolean(room->places[i].own_disk));
        json_array_append_new(places, item);
    }
    return places;
}

static json_t *json_plans(const struct doctor_advice *advice)
{
    json_t *plans = json_array();

    for (size_t i = 0; i < advice->plan_count; i++) {
        json_t *item = json_object();
        json_t *commands = json_array();
        for (size_t j = 0; j < advice->plans[i].count; j++) {
            json_array_append_new(commands, cli_json_text(advice->plans[i].commands[j]));
        }
        json_object_set_new(item, "when", json_string(advice->plans[i].when));
        json_object_set_new(item, "commands", commands);
        json_array_append_new(plans, item);
    }
    return plans;
}

static json_t *json_device(const struct doctor *doctor, size_t index)
{
    static const char *const ways[] = {
        [KMC_WAY_NONE] = "none", [KMC_WAY_ELSEWHERE] = "elsewhere", [KMC_WAY_ONLINE] = "online",
        [KMC_WAY_IDLE] = "idle", [KMC_WAY_RELEASE] = "release",     [KMC_WAY_BOOT] = "boot",
    };
    const struct kmc_device *device = &doctor->devices.list[index];
    struct doctor_advice advice;
    json_t *item = json_object();

    doctor_advise(doctor, index, &advice);
    json_what(doctor, index, item);
    json_use(doctor, index, item);
    json_object_set_new(item, "attach", json_string(ways[advice.way.way]));
    json_object_set_new(item, "attach_reason", cli_json_text(advice.way.reason));
    json_object_set_new(item, "instead", json_names(doctor, advice.way.instead, advice.way.instead_count));
    json_object_set_new(item, "tracker", json_string(kmc_tracker_name(advice.chosen)));
    json_object_set_new(item, "trackers", json_trackers(&advice));
    json_object_set_new(item, "trim_now", json_boolean(device->discards));
    json_object_set_new(item, "trim_attached", json_boolean(device->discards && advice.chosen == KMC_TRACKER_THIN));
    json_object_set_new(item, "places", json_places(&advice.room));
    json_object_set_new(item, "plans", json_plans(&advice));
    return item;
}

void doctor_report(struct cli *cli, const struct doctor *doctor, const bool *wanted)
{
    json_t *devices = json_array();

    for (size_t i = 0; i < doctor->devices.count; i++) {
        if (wanted[i]) {
            json_array_append_new(devices, json_device(doctor, i));
        }
    }
    cli_report_json(cli, "machine", json_machine(&doctor->facts));
    cli_report_json(cli, "features", json_features(doctor));
    cli_report_bool(cli, "hurried", doctor->hurried);
    cli_report_json(cli, "devices", devices);
}
