// SPDX-License-Identifier: Apache-2.0
//
// The answer for people: what the machine is, what works here, then each device with what can be done and what to type. A no is followed
// by its reason and what to do about it.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/doctor.h"

#define TEXT_LINE_BYTES 2048

static void text_add(char *line, const char *fmt, ...) BR_PRINTF(2, 3);
static void text_add(char *line, const char *fmt, ...)
{
    size_t used = strlen(line);
    va_list args;

    va_start(args, fmt);
    vsnprintf(line + used, TEXT_LINE_BYTES - used, fmt, args);
    va_end(args);
}

// The machine ---------------------------------------------------------------------------------------------------------------------------

// " era 1.0.0, linear 1.4.0": the targets of one presence.
static void text_targets(const struct kmc_facts *facts, enum kmc_presence presence, const char *head, char *line)
{
    bool first = true;

    for (int i = KMC_DRIVER_FIRST_TARGET; i < KMC_DRIVER_MAX; i++) {
        const struct kmc_driver_facts *driver = &facts->drivers[i];
        if (driver->presence != presence) {
            continue;
        }
        text_add(line, "%s%s", first ? head : ", ", kmc_driver_name(i));
        if (driver->versioned) {
            text_add(line, " %u.%u.%u", driver->version[0], driver->version[1], driver->version[2]);
        }
        first = false;
    }
}

static void text_machine(const struct cli *cli, const struct kmc_facts *facts)
{
    char line[TEXT_LINE_BYTES] = "";

    cli_print(cli, "kernel       %s%s%s%s%s", facts->release[0] ? facts->release : "unknown",
              facts->os_id[0] ? " on " : "", facts->os_id, facts->bits[KMC_BIT_CONTAINER] ? ", in a container" : "",
              facts->bits[KMC_BIT_ADMIN] ? "" : "; seen as an ordinary user: some things only root can see");
    text_add(line, "modules      %s%s", facts->modules_why[0] ? "can't be loaded: " : "can be loaded",
             facts->modules_why);
    if (facts->bits[KMC_BIT_SIGNED_ONLY]) {
        text_add(line, "; signed ones only%s%s", facts->lockdown[0] ? ", lockdown is " : "", facts->lockdown);
    }
    cli_print(cli, "%s", line);
    if (facts->drivers[KMC_DRIVER_DM].presence != KMC_PRESENT) {
        cli_print(cli, "dm targets   none: device-mapper is %s",
                  facts->drivers[KMC_DRIVER_DM].presence == KMC_ABSENT ? "not in this kernel" : "not loaded");
    } else {
        line[0] = 0;
        text_targets(facts, KMC_PRESENT, "", line);
        text_targets(facts, KMC_LOADABLE, "; loaded when used: ", line);
        text_targets(facts, KMC_LOCKED, "; can't be loaded: ", line);
        text_targets(facts, KMC_UNSEEN, "; not seen: ", line);
        text_targets(facts, KMC_ABSENT, "; not there: ", line);
        cli_print(cli, "dm targets   %s", line);
    }
    if (facts->bits[KMC_BIT_BLKREP_OFF]) {
        cli_print(cli,
                  "blkrep=off   is on the kernel command line: volumes are passed through, their tracking is lost");
    }
}

// Was this remedy shown for an earlier row?
static bool text_said(const struct doctor *doctor, int feature)
{
    for (int i = 0; i < feature; i++) {
        if (doctor->supports[i].answer != KMC_YES &&
            !strcmp(doctor->supports[i].remedy, doctor->supports[feature].remedy)) {
            return true;
        }
    }
    return false;
}

static void text_features(const struct cli *cli, const struct doctor *doctor)
{
    static const char *const answers[] = {[KMC_NO] = "no", [KMC_CANT_TELL] = "?", [KMC_YES] = "yes"};

    cli_print(cli, "%s", "");
    for (int i = 0; i < KMC_FEATURE_MAX; i++) {
        const struct kmc_support *support = &doctor->supports[i];
        char line[TEXT_LINE_BYTES] = "";
        enum kmc_feature base = kmc_matrix[i].base;
        text_add(line, "%-12s %-4s %s", kmc_feature_name(i), answers[support->answer], kmc_matrix[i].what);
        if (base != KMC_FEATURE_MAX && doctor->supports[base].answer == support->answer && support->answer != KMC_YES) {
            text_add(line, ": needs %s", kmc_feature_name(base));
        } else if (support->reason[0]) {
            text_add(line, ": %s", support->reason);
        }
        if (support->answer != KMC_YES) {
            text_add(line, "; until then %s", kmc_matrix[i].without);
        }
        cli_print(cli, "%s", line);
        if (support->answer != KMC_YES && !text_said(doctor, i)) {
            cli_print(cli, "                  to do: %s", support->remedy);
        }
    }
}

// A device ------------------------------------------------------------------------------------------------------------------------------

static void text_quoted(char *line, const char *before, const char *text, const char *after)
{
    char quoted[1100];

    if (text[0]) {
        br_quote(text, quoted, sizeof(quoted));
        text_add(line, "%s%s%s", before, quoted, after);
    }
}

static void text_content(const struct kmc_device *device, const struct doctor_look *look, bool admin, char *line)
{
    if (device->holds[0]) {
        text_quoted(line, ", ", device->holds, "");
        text_quoted(line, " labelled ", device->label, "");
    } else if (look->seen == DOCTOR_SEEN && look->blank) {
        text_add(line, ", nothing known on it");
    } else if (look->seen == DOCTOR_HUNG) {
        text_add(line, ", what is on it could not be read: it does not answer");
    } else if (look->seen == DOCTOR_SUSPENDED) {
        text_add(line, ", suspended: reading it would wait");
    } else if (look->seen == DOCTOR_FAILED) {
        text_add(line, ", what is on it could not be read");
    } else if (look->seen == DOCTOR_DENIED) {
        text_add(line, admin ? ", reading it is not permitted here" : ", what is on it only root can see");
    }
}

// The first three; a bind mount of a part only where there is nothing else.
static void text_mounts(const struct kmc_device *device, char *line)
{
    size_t whole = 0;
    size_t shown = 0;

    for (size_t i = 0; i < device->mount_count; i++) {
        whole += !device->mounts[i].part;
    }
    for (size_t i = 0; i < device->mount_count && shown < 3; i++) {
        if (!whole || !device->mounts[i].part) {
            text_quoted(line, shown++ ? " and " : ", mounted on ", device->mounts[i].where,
                        device->mounts[i].writable ? "" : " read-only");
        }
    }
    if ((whole ? whole : device->mount_count) > shown) {
        text_add(line, " and %zu more", (whole ? whole : device->mount_count) - shown);
    }
}

static void text_head(struct cli *cli, const struct doctor *doctor, size_t index)
{
    const struct kmc_device *device = &doctor->devices.list[index];
    char line[TEXT_LINE_BYTES] = "";
    char size[32];

    cli_bytes(cli, device->size_bytes, size, sizeof(size));
    text_quoted(line, "", kmc_is_dm(device) ? device->stable : device->name, "");
    text_add(line, "  %s", kmc_kind_name(device->kind));
    if (device->disk != KMC_NO_DEVICE) {
        text_add(line, " of %s", doctor->devices.list[device->disk].name);
    }
    text_quoted(line, " in VG ", device->vg, "");
    text_add(line, ", %s", size);
    text_content(device, &doctor->looks[index], doctor->facts.bits[KMC_BIT_ADMIN], line);
    text_mounts(device, line);
    text_quoted(line, ", ", doctor->looks[index].users, "");
    cli_print(cli, "%s", "");
    cli_print(cli, "%s", line);
}

static void text_unit(const struct cli *cli, const struct kmc_device *device)
{
    char line[TEXT_LINE_BYTES] = "";

    text_quoted(line, ", ", device->model, "");
    text_quoted(line, ", serial ", device->serial, "");
    text_quoted(line, ", WWID ", device->wwid, "");
    text_quoted(line, ", ", device->transport, "");
    if (line[0]) {
        cli_print(cli, "  unit       %s", line + 2);
    }
    if (!device->stable_known) {
        cli_print(cli, "  name       no stable name seen: %s may be another disk after a reboot", device->stable);
    }
}

static void text_attach(const struct cli *cli, const struct doctor *doctor, const struct doctor_advice *advice)
{
    static const char *const ways[] = {
        [KMC_WAY_NONE] = "no",
        [KMC_WAY_ELSEWHERE] = "not this",
        [KMC_WAY_ONLINE] = "while it is in use",
        [KMC_WAY_IDLE] = "now",
        [KMC_WAY_RELEASE] = "unmounted, or at boot",
        [KMC_WAY_BOOT] = "at boot",
    };
    const struct kmc_support *support = &doctor->supports[KMC_ATTACH];
    char line[TEXT_LINE_BYTES] = "";

    for (size_t i = 0; i < advice->way.instead_count; i++) {
        const struct kmc_device *other = &doctor->devices.list[advice->way.instead[i]];
        text_quoted(line, i ? ", " : ": ", kmc_is_dm(other) ? other->stable : other->name, "");
    }
    bool possible = advice->way.way != KMC_WAY_NONE && advice->way.way != KMC_WAY_ELSEWHERE;
    if (possible && support->answer == KMC_NO) {
        cli_print(cli, "  attach     not on this machine: %s", support->reason);
    } else {
        cli_print(cli, "  attach     %s: %s%s", ways[advice->way.way], advice->way.reason, line);
    }
}

static void text_trackers(const struct cli *cli, const struct doctor_advice *advice)
{
    cli_print(cli, "  tracker    auto takes %s: %s", kmc_tracker_name(advice->chosen),
              advice->trackers[advice->chosen].reason);
    for (int i = 0; i < KMC_TRACKER_MAX; i++) {
        if (i != (int)advice->chosen && i != KMC_TRACKER_SCAN) {
            cli_print(cli, "             %s%s: %s", advice->trackers[i].fits ? "or " : "not ", kmc_tracker_name(i),
                      advice->trackers[i].reason);
        }
    }
}

static void text_room(const struct cli *cli, const struct doctor *doctor, const struct doctor_advice *advice)
{
    static const char *const words[] = {
        [DOCTOR_PLACE_VG] = "VG", [DOCTOR_PLACE_DEVICE] = "the empty device", [DOCTOR_PLACE_FILES] = "files in"};
    char size[32];

    for (size_t i = 0; i < advice->room.count && i < 3; i++) {
        const struct doctor_place *place = &advice->room.places[i];
        char name[1100];
        br_quote(place->name, name, sizeof(name));
        cli_bytes(cli, place->free_bytes, size, sizeof(size));
        cli_print(cli, "  %-10s %s %s, %s free, %s", i ? "" : "room", words[place->kind], name, size,
                  place->own_disk ? "on the same disk" : "on another disk");
    }
    if (!advice->room.count) {
        cli_print(cli, "  room       none seen for a store%s",
                  !doctor->facts.bits[KMC_BIT_ADMIN] ? "; the free space of volume groups only root can see"
                  : doctor->facts.bits[KMC_BIT_LVM2] && !doctor->pvs_known ? "; LVM was not asked, or did not answer"
                                                                           : "");
    }
}

static void text_trim(const struct cli *cli, const struct doctor *doctor, const struct kmc_device *device,
                      const struct doctor_advice *advice)
{
    bool mounted = false;

    if (!device->discards || advice->chosen == KMC_TRACKER_THIN) {
        return; // nothing to lose
    }
    for (size_t i = 0; i < device->mount_count; i++) {
        mounted = mounted || device->mounts[i].discard;
    }
    cli_print(cli, "  TRIM       reaches it now%s; an attached volume takes none",
              mounted                                    ? " (mounted with discard)"
              : doctor->facts.bits[KMC_BIT_FSTRIM_TIMER] ? " (fstrim.timer)"
                                                         : "");
}

static void text_plans(const struct cli *cli, const struct doctor *doctor, const struct doctor_advice *advice)
{
    for (size_t i = 0; i < advice->plan_count; i++) {
        const struct doctor_plan *plan = &advice->plans[i];
        cli_print(cli, "  %-10s %s:", i ? "or" : "do", plan->when);
        for (size_t j = 0; j < plan->count; j++) {
            cli_print(cli, "               %s", plan->commands[j]);
        }
    }
    if ((advice->way.way == KMC_WAY_RELEASE || advice->way.way == KMC_WAY_BOOT) &&
        doctor->supports[KMC_ATTACH].answer == KMC_YES && doctor->supports[KMC_BOOT].answer == KMC_NO) {
        cli_print(cli, "  at boot    not on this machine: %s; to do: %s", doctor->supports[KMC_BOOT].reason,
                  doctor->supports[KMC_BOOT].remedy);
    }
}

static void text_device(struct cli *cli, const struct doctor *doctor, size_t index)
{
    const struct kmc_device *device = &doctor->devices.list[index];
    struct doctor_advice advice;

    doctor_advise(doctor, index, &advice);
    text_head(cli, doctor, index);
    if (!device->partition) {
        text_unit(cli, device);
    }
    text_attach(cli, doctor, &advice);
    if (advice.way.way == KMC_WAY_NONE || advice.way.way == KMC_WAY_ELSEWHERE) {
        return;
    }
    if (doctor->supports[KMC_ATTACH].answer != KMC_NO) {
        text_trackers(cli, &advice);
        text_room(cli, doctor, &advice);
        text_trim(cli, doctor, device, &advice);
    }
    text_plans(cli, doctor, &advice);
}

void doctor_print(struct cli *cli, const struct doctor *doctor, const bool *wanted)
{
    text_machine(cli, &doctor->facts);
    text_features(cli, doctor);
    for (size_t i = 0; i < doctor->devices.count; i++) {
        // LVM's layers are named on request: a person means the logical volume
        if (wanted[i] && (!doctor->all || doctor->devices.list[i].kind != KMC_KIND_INTERNAL)) {
            text_device(cli, doctor, i);
        }
    }
}
