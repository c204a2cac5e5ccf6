// SPDX-License-Identifier: Apache-2.0
//
// From what is known to what to type. The commands name devices as they are named after the next boot too, and are whole: what a shell
// would take apart is quoted.
#include <stdarg.h>
#include <stdio.h>

#include "tools/doctor.h"

static const char plan_plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-";

void doctor_shell_word(const char *word, char *text, size_t text_size)
{
    size_t used = 0;

    if (*word && strspn(word, plan_plain) == strlen(word)) {
        snprintf(text, text_size, "%s", word);
        return;
    }
    if (text_size < 3) {
        text[0] = 0;
        return;
    }
    text[used++] = '\'';
    for (; *word && used + 6 < text_size; word++) {
        if (*word == '\'') {
            memcpy(text + used, "'\\''", 4);
            used += 4;
        } else {
            text[used++] = *word;
        }
    }
    text[used++] = '\'';
    text[used] = 0;
}

static void plan_command(struct doctor_plan *plan, const char *fmt, ...) BR_PRINTF(2, 3);
static void plan_command(struct doctor_plan *plan, const char *fmt, ...)
{
    va_list args;

    if (plan->count == DOCTOR_COMMANDS_MAX) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(plan->commands[plan->count++], DOCTOR_LINE_BYTES, fmt, args);
    va_end(args);
}

// Names -----------------------------------------------------------------------------------------------------------------------------------

// A volume's name from a mount point, a label or a device: the last component, with what a name can't hold made dashes.
static bool plan_name_from(const char *text, char *name, size_t name_size)
{
    const char *slash = strrchr(text, '/');
    const char *from = slash ? slash + 1 : text;
    size_t used = 0;

    for (; *from && used < name_size - 1; from++) {
        bool plain = (*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z') || (*from >= '0' && *from <= '9');
        if (plain || (used && (*from == '-' || *from == '_' || *from == '.'))) {
            name[used++] = *from;
        } else if (used && name[used - 1] != '-') {
            name[used++] = '-';
        }
    }
    while (used && name[used - 1] == '-') {
        used--;
    }
    name[used] = 0;
    return used != 0;
}

static bool plan_name_taken(const struct doctor *doctor, size_t index, const char *name)
{
    for (size_t i = 0; i < doctor->devices.count; i++) {
        if (i != index && !strcmp(doctor->devices.list[i].dm_name, name)) {
            return true;
        }
    }
    return false;
}

// What a person would call it: where it is mounted, its label, its name.
static void plan_name(const struct doctor *doctor, size_t index, char *name, size_t name_size)
{
    const struct kmc_device *device = &doctor->devices.list[index];
    const char *mount = device->mount_count && !device->mounts[0].part ? device->mounts[0].where : "";
    const char *const sources[] = {mount, device->label, device->lv, device->dm_name, device->name};

    if (!strcmp(mount, "/")) {
        snprintf(name, name_size, "root");
    } else {
        for (size_t i = 0; i < BR_ARRAY_LEN(sources) && !plan_name_from(sources[i], name, name_size - 8); i++) {}
    }
    if (plan_name_taken(doctor, index, name)) {
        size_t used = strlen(name);
        snprintf(name + used, name_size - used, "-volume");
    }
}

// Commands ----------------------------------------------------------------------------------------------------------------------------------

// The first place that there is; in an early boot no file can be reached yet.
static const struct doctor_place *plan_first_place(const struct doctor_advice *advice, bool early)
{
    for (size_t i = 0; i < advice->room.count; i++) {
        if (!early || advice->room.places[i].kind != DOCTOR_PLACE_FILES) {
            return &advice->room.places[i];
        }
    }
    return NULL;
}

// " --cow=vg:vg0": the place for stores and metadata; PLACE is for the user to fill in.
static void plan_place(const struct doctor_advice *advice, bool early, char *text, size_t text_size)
{
    const struct doctor_place *place = plan_first_place(advice, early);
    char path[DOCTOR_LINE_BYTES];
    char word[DOCTOR_LINE_BYTES / 3];

    text[0] = 0;
    if (advice->chosen == KMC_TRACKER_THIN) {
        return;
    }
    if (!place) {
        snprintf(text, text_size, early ? " --cow=DEVICE" : " --cow=PLACE");
        return;
    }
    switch (place->kind) {
    case DOCTOR_PLACE_FILES:
        snprintf(path, sizeof(path), "%s%s%s.area", place->name, strcmp(place->name, "/") ? "/blkrep-" : "blkrep-",
                 advice->volume);
        break;
    case DOCTOR_PLACE_VG: snprintf(path, sizeof(path), "vg:%s", place->name); break;
    default: snprintf(path, sizeof(path), "%s", place->name); break;
    }
    doctor_shell_word(path, word, sizeof(word));
    snprintf(text, text_size, " --cow=%s", word);
}

static void plan_attach(const struct kmc_device *device, const struct doctor_advice *advice, bool early,
                        const char *more, struct doctor_plan *plan)
{
    char path[sizeof(device->stable) + 8];
    char places[DOCTOR_LINE_BYTES * 3 / 4];

    doctor_shell_word(device->stable, path, sizeof(path));
    plan_place(advice, early, places, sizeof(places));
    plan_command(plan, "blkrep attach %s %.290s%.700s%s", advice->volume, path, places, more);
}

static void plan_initramfs(const struct kmc_facts *facts, struct doctor_plan *plan)
{
    if (facts->bits[KMC_BIT_INITRAMFS_TOOLS]) {
        plan_command(plan, "update-initramfs -u");
    } else if (facts->bits[KMC_BIT_DRACUT]) {
        plan_command(plan, "dracut -f");
    }
}

static struct doctor_plan *plan_new(struct doctor_advice *advice, const char *when)
{
    struct doctor_plan *plan = &advice->plans[advice->plan_count++];

    plan->when = when;
    return plan;
}

static void plan_now(const struct kmc_device *device, struct doctor_advice *advice)
{
    struct doctor_plan *plan = plan_new(advice, "now");
    char where[600];
    bool online = advice->way.way == KMC_WAY_ONLINE;

    for (size_t i = device->mount_count; i-- > 0 && !online;) {
        doctor_shell_word(device->mounts[i].where, where, sizeof(where));
        plan_command(plan, "umount %s", where);
    }
    plan_attach(device, advice, false, "", plan);
    for (size_t i = 0; i < device->mount_count && !online; i++) {
        if (!device->mounts[i].part) {
            doctor_shell_word(device->mounts[i].where, where, sizeof(where));
            plan_command(plan, "mount /dev/mapper/%s %s", advice->volume, where);
        }
    }
}

// What the system mounts before anything of it runs needs its stack from the initramfs (blkrep-boot(7)): the volume's name for it, the
// stack instead of the device in fstab and, for the root itself, on the kernel's command line.
static void plan_early(const struct doctor *doctor, const struct kmc_device *device, const char *volume,
                       struct doctor_plan *plan)
{
    plan_command(plan, "echo %s >> /etc/blkrep/early", volume);
    for (size_t i = 0; i < device->mount_count; i++) {
        const char *where = device->mounts[i].where;
        if (device->mounts[i].part || strspn(where, plan_plain) != strlen(where) || strchr(where, ',')) {
            continue;
        }
        plan_command(plan, "sed -i -E 's,^[^#[:space:]]+([[:space:]]+%s[[:space:]]),/dev/mapper/%s\\1,' /etc/fstab",
                     where, volume);
        if (!strcmp(where, "/")) {
            plan_command(
                plan,
                "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX root=/dev/mapper/%s\"' > /etc/default/grub.d/blkrep.cfg",
                volume);
            plan_command(plan, "update-grub");
        }
    }
    plan_initramfs(&doctor->facts, plan);
}

static void plan_boot(const struct doctor *doctor, const struct kmc_device *device, struct doctor_advice *advice)
{
    struct doctor_plan *plan = plan_new(advice, "at boot");
    bool early = kmc_has_root(device);

    plan_attach(device, advice, early, early ? " --tracker=era --at-boot" : " --at-boot", plan);
    if (early) {
        plan_early(doctor, device, advice->volume, plan);
    }
    plan_command(plan, "%s", doctor->facts.bits[KMC_BIT_SYSTEMD] ? "systemctl reboot" : "reboot");
}

// Without attach a source must hold still; one that can't be unmounted is copied as it moves, which the version says for ever.
static void plan_scan(const struct kmc_device *device, struct doctor_advice *advice)
{
    struct doctor_plan *plan = plan_new(advice, "without attach");
    bool moves = kmc_has_root(device) && kmc_is_mounted(device, true);
    char path[sizeof(device->stable) + 8];
    char where[600];

    doctor_shell_word(device->stable, path, sizeof(path));
    for (size_t i = device->mount_count; i-- > 0 && !moves;) {
        doctor_shell_word(device->mounts[i].where, where, sizeof(where));
        plan_command(plan, "umount %s", where);
    }
    plan_command(plan, "blkrep sync %s blkrep://HOST/%s%s", path, advice->volume, moves ? " --live-source" : "");
    for (size_t i = 0; i < device->mount_count && !moves; i++) {
        if (!device->mounts[i].part) {
            doctor_shell_word(device->mounts[i].where, where, sizeof(where));
            plan_command(plan, "mount %s %s", path, where);
        }
    }
}

static void plan_commands(const struct doctor *doctor, size_t index, struct doctor_advice *advice)
{
    const struct kmc_device *device = &doctor->devices.list[index];
    bool can_attach = doctor->supports[KMC_ATTACH].answer != KMC_NO;
    // A process has it open for writing, and attach would refuse it; the next boot comes before that process.
    bool written = advice->way.way == KMC_WAY_IDLE && doctor->looks[index].users[0];

    switch (advice->way.way) {
    case KMC_WAY_NONE:
    case KMC_WAY_ELSEWHERE: return;
    case KMC_WAY_ONLINE:
    case KMC_WAY_IDLE:
    case KMC_WAY_RELEASE:
        if (can_attach && !written) {
            plan_now(device, advice);
        }
        break;
    case KMC_WAY_BOOT: break;
    }
    if ((advice->way.way == KMC_WAY_RELEASE || advice->way.way == KMC_WAY_BOOT || written) &&
        doctor->supports[KMC_BOOT].answer != KMC_NO) {
        plan_boot(doctor, device, advice);
    }
    if (!advice->plan_count) {
        plan_scan(device, advice);
    }
}

void doctor_advise(const struct doctor *doctor, size_t index, struct doctor_advice *ret_advice)
{
    const struct kmc_device *device = &doctor->devices.list[index];

    memset(ret_advice, 0, sizeof(*ret_advice));
    kmc_way_of(&doctor->devices, index, &ret_advice->way);
    doctor_room_of(doctor, index, &ret_advice->room);
    ret_advice->chosen =
        kmc_trackers(&doctor->facts, device, ret_advice->way.way, &ret_advice->room.sum, ret_advice->trackers);
    plan_name(doctor, index, ret_advice->volume, sizeof(ret_advice->volume));
    plan_commands(doctor, index, ret_advice);
}
