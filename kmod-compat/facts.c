// SPDX-License-Identifier: Apache-2.0
#include "kmod-compat/facts.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmod-compat/modules.h"

#define FACTS_CAP_SYS_ADMIN 21 // linux/capability.h

static const struct {
    const char *name;
    const char *text;
} facts_bits[KMC_BIT_MAX] = {
#define X(name, json, text) {json, text},
    KMC_BIT_TABLE(X)
#undef X
};

static const struct {
    const char *name;
    const char *module;
} facts_drivers[KMC_DRIVER_MAX] = {
#define X(name, driver, module) {driver, module},
    KMC_DRIVER_TABLE(X)
#undef X
};

// What engine/ring/ring_uring.c asks of io_uring.
static const struct {
    uint32_t feature;
    const char *name;
} facts_uring_features[] = {{IORING_FEAT_NODROP, "FEAT_NODROP"}, {IORING_FEAT_EXT_ARG, "FEAT_EXT_ARG"}};

static const struct {
    int op;
    const char *name;
} facts_uring_ops[] = {
    {IORING_OP_READ, "OP_READ"},
    {IORING_OP_WRITE, "OP_WRITE"},
    {IORING_OP_READ_FIXED, "OP_READ_FIXED"},
    {IORING_OP_WRITE_FIXED, "OP_WRITE_FIXED"},
    {IORING_OP_FSYNC, "OP_FSYNC"},
    {IORING_OP_FALLOCATE, "OP_FALLOCATE"},
};

const char *kmc_bit_name(enum kmc_bit bit)
{
    return facts_bits[bit].name;
}

const char *kmc_bit_text(enum kmc_bit bit)
{
    return facts_bits[bit].text;
}

const char *kmc_driver_name(enum kmc_driver driver)
{
    return facts_drivers[driver].name;
}

const char *kmc_driver_module(enum kmc_driver driver)
{
    return facts_drivers[driver].module;
}

const char *kmc_presence_name(enum kmc_presence presence)
{
    static const char *const names[] = {
        [KMC_ABSENT] = "absent",     [KMC_UNSEEN] = "unseen",   [KMC_LOCKED] = "locked",
        [KMC_LOADABLE] = "loadable", [KMC_PRESENT] = "present",
    };

    return names[presence];
}

bool kmc_before(const struct kmc_facts *facts, unsigned major, unsigned minor)
{
    return facts->major && (facts->major < major || (facts->major == major && facts->minor < minor));
}

bool kmc_fs_freezes(const char *type)
{
    static const char *const types[] = {"ext2", "ext3",   "ext4",     "xfs",  "btrfs",   "f2fs",
                                        "jfs",  "nilfs2", "reiserfs", "gfs2", "bcachefs"};

    for (size_t i = 0; i < KMC_ARRAY_LEN(types); i++) {
        if (!strcmp(type, types[i])) {
            return true;
        }
    }
    return false;
}

// The machine around the kernel ------------------------------------------------------------------------------------------------------------

static void facts_release(const struct kmc_source *source, struct kmc_facts *facts)
{
    kmc_read(source, "/proc/sys/kernel/osrelease", facts->release, sizeof(facts->release));
    if (sscanf(facts->release, "%u.%u", &facts->major, &facts->minor) != 2) {
        facts->major = 0;
        facts->minor = 0;
    }
}

// The value of a line "NAME=value", without quotes.
static void facts_assignment(const char *text, const char *name, char *value, size_t value_size)
{
    size_t len = strlen(name);

    value[0] = 0;
    for (const char *line = text; line && *line;) {
        size_t line_len = strcspn(line, "\n");
        if (line_len > len && !strncmp(line, name, len) && line[len] == '=') {
            const char *at = line + len + 1 + (line[len + 1] == '"');
            snprintf(value, value_size, "%.*s", (int)strcspn(at, "\"\n"), at);
            return;
        }
        line += line_len + (line[line_len] == '\n');
    }
}

static void facts_os(const struct kmc_source *source, struct kmc_facts *facts)
{
    char *text = kmc_read_all(source, "/etc/os-release", 65536);

    if (!text) {
        text = kmc_read_all(source, "/usr/lib/os-release", 65536);
    }
    if (text) {
        facts_assignment(text, "ID", facts->os_id, sizeof(facts->os_id));
    }
    free(text);
}

// The number behind "NAME:" in /proc/self/status; @otherwise when it isn't there.
static unsigned long long facts_status(const char *status, const char *name, int base, unsigned long long otherwise)
{
    const char *at = strstr(status, name);

    return at ? strtoull(at + strlen(name), NULL, base) : otherwise;
}

static void facts_process(const struct kmc_source *source, struct kmc_facts *facts)
{
    char status[8192];

    kmc_read(source, "/proc/self/status", status, sizeof(status));
    facts->bits[KMC_BIT_ADMIN] = facts_status(status, "\nCapEff:", 16, 0) >> FACTS_CAP_SYS_ADMIN & 1;
    facts->bits[KMC_BIT_FILTERED] = facts_status(status, "\nSeccomp:", 10, 0) > 0;
}

static void facts_around(const struct kmc_source *source, struct kmc_facts *facts)
{
    char command_line[4096];
    bool *bits = facts->bits;

    kmc_read(source, "/proc/cmdline", command_line, sizeof(command_line));
    bits[KMC_BIT_BLKREP_OFF] = kmc_has_word(command_line, "blkrep=off");
    bits[KMC_BIT_CONTAINER] = kmc_exists(source, "/run/systemd/container") || kmc_exists(source, "/.dockerenv") ||
                              kmc_exists(source, "/run/.containerenv");
    bits[KMC_BIT_SECCOMP] = kmc_exists(source, "/proc/sys/kernel/seccomp/actions_avail");
    bits[KMC_BIT_CGROUP2] = kmc_exists(source, "/sys/fs/cgroup/cgroup.controllers");
    bits[KMC_BIT_SYSTEMD] = kmc_exists(source, "/run/systemd/system");
    bits[KMC_BIT_UDEV] = kmc_exists(source, "/run/udev/data");
    bits[KMC_BIT_INITRAMFS_TOOLS] = kmc_program(source, "update-initramfs");
    bits[KMC_BIT_DRACUT] = kmc_program(source, "dracut");
    bits[KMC_BIT_LVM2] = kmc_program(source, "lvm");
    bits[KMC_BIT_THIN_TOOLS] =
        kmc_program(source, "thin_dump") && kmc_program(source, "thin_delta") && kmc_program(source, "thin_check");
    bits[KMC_BIT_MULTIPATH_TOOLS] = kmc_program(source, "multipath");
    bits[KMC_BIT_FSTRIM_TIMER] = kmc_exists(source, "/etc/systemd/system/timers.target.wants/fstrim.timer");
}

// I/O ------------------------------------------------------------------------------------------------------------------------------------

static void facts_io(const struct kmc_source *source, struct kmc_facts *facts)
{
    struct kmc_uring_answer uring;
    char text[16];

    facts->uring_disabled = -1;
    if (kmc_read(source, "/proc/sys/kernel/io_uring_disabled", text, sizeof(text)) > 0) {
        facts->uring_disabled = (int)strtol(text, NULL, 10);
    }
    source->uring(source, &uring);
    facts->uring_errno = uring.os_errno;
    for (size_t i = 0; i < KMC_ARRAY_LEN(facts_uring_features) && !uring.os_errno; i++) {
        if (!(uring.features & facts_uring_features[i].feature)) {
            snprintf(facts->uring_lacks, sizeof(facts->uring_lacks), "IORING_%s", facts_uring_features[i].name);
        }
    }
    for (size_t i = 0; i < KMC_ARRAY_LEN(facts_uring_ops) && !uring.os_errno; i++) {
        if (!uring.ops[facts_uring_ops[i].op]) {
            snprintf(facts->uring_lacks, sizeof(facts->uring_lacks), "IORING_%s", facts_uring_ops[i].name);
        }
    }
    facts->bits[KMC_BIT_IO_URING] = !uring.os_errno && !facts->uring_lacks[0];
    facts->aio_errno = source->aio(source);
    facts->bits[KMC_BIT_AIO] = !facts->aio_errno;
}

// Drivers ---------------------------------------------------------------------------------------------------------------------------------

// What the modules say of a driver that did not answer itself.
static void facts_driver_module(const struct kmc_modules *modules, enum kmc_driver driver,
                                struct kmc_driver_facts *facts)
{
    switch (kmc_module_state(modules, facts_drivers[driver].module, facts->why, sizeof(facts->why))) {
    case KMC_MODULE_NONE: facts->presence = KMC_ABSENT; break;
    case KMC_MODULE_REFUSED: facts->presence = KMC_LOCKED; break;
    case KMC_MODULE_LOADABLE: facts->presence = KMC_LOADABLE; break;
    case KMC_MODULE_LOADED: facts->presence = KMC_PRESENT; break;
    }
}

static const struct kmc_target *facts_find_target(const struct kmc_dm_answer *answer, const char *name)
{
    for (size_t i = 0; i < answer->target_count; i++) {
        if (!strcmp(answer->targets[i].name, name)) {
            return &answer->targets[i];
        }
    }
    return NULL;
}

// A target that device-mapper lists is there. One that it does not list may be a module; where it could not be asked, a target without a
// module may be built in.
static void facts_target(const struct kmc_dm_answer *answer, const struct kmc_modules *modules, enum kmc_driver driver,
                         struct kmc_facts *facts)
{
    struct kmc_driver_facts *target = &facts->drivers[driver];
    const struct kmc_driver_facts *dm = &facts->drivers[KMC_DRIVER_DM];
    const struct kmc_target *found = facts_find_target(answer, facts_drivers[driver].name);

    if (found) {
        target->presence = KMC_PRESENT;
        target->versioned = true;
        memcpy(target->version, found->version, sizeof(target->version));
        return;
    }
    if (!strcmp(facts_drivers[driver].module, facts_drivers[KMC_DRIVER_DM].module)) {
        *target = *dm;
        target->versioned = false;
        return;
    }
    facts_driver_module(modules, driver, target);
    if (target->presence == KMC_PRESENT && !answer->os_errno) {
        target->presence = KMC_ABSENT; // its module is there and has no such target
    }
    if (target->presence == KMC_ABSENT && answer->os_errno && dm->presence >= KMC_UNSEEN) {
        target->presence = modules->installed ? KMC_ABSENT : KMC_UNSEEN;
    }
}

static void facts_device_mapper(const struct kmc_source *source, const struct kmc_modules *modules, const char *misc,
                                struct kmc_facts *facts)
{
    struct kmc_dm_answer answer = {.os_errno = ENODEV};
    struct kmc_driver_facts *dm = &facts->drivers[KMC_DRIVER_DM];

    facts->bits[KMC_BIT_DM_NODE] = kmc_exists(source, "/dev/mapper/control");
    facts_driver_module(modules, KMC_DRIVER_DM, dm);
    if (kmc_has_word(misc, "device-mapper")) {
        dm->presence = KMC_PRESENT;
        source->dm(source, &answer);
        facts->dm_errno = answer.os_errno;
        memcpy(dm->version, answer.version, sizeof(dm->version));
        dm->versioned = !answer.os_errno;
    } else if (dm->presence == KMC_PRESENT) {
        dm->presence = KMC_ABSENT; // built in and not registered: its start failed
    }
    for (int driver = KMC_DRIVER_FIRST_TARGET; driver < KMC_DRIVER_MAX; driver++) {
        facts_target(&answer, modules, driver, facts);
    }
}

static void facts_block_drivers(const struct kmc_source *source, const struct kmc_modules *modules, const char *misc,
                                struct kmc_facts *facts)
{
    struct kmc_ublk_answer ublk;
    char *devices = kmc_read_all(source, "/proc/devices", 65536);
    char **names;

    facts->bits[KMC_BIT_UBLK_NODE] = kmc_exists(source, "/dev/ublk-control");
    facts_driver_module(modules, KMC_DRIVER_UBLK, &facts->drivers[KMC_DRIVER_UBLK]);
    if (kmc_has_word(misc, "ublk-control")) {
        facts->drivers[KMC_DRIVER_UBLK].presence = KMC_PRESENT;
        source->ublk(source, &ublk);
        facts->ublk_errno = ublk.os_errno;
        facts->ublk_features = ublk.features;
    }
    facts_driver_module(modules, KMC_DRIVER_NBD, &facts->drivers[KMC_DRIVER_NBD]);
    if (devices && kmc_has_word(devices, "nbd")) {
        facts->drivers[KMC_DRIVER_NBD].presence = KMC_PRESENT;
    }
    free(devices);
    size_t count = kmc_list(source, "/sys/block", &names);
    for (size_t i = 0; i < count; i++) {
        facts->nbd_count += !strncmp(names[i], "nbd", 3);
    }
    kmc_list_free(names, count);
}

void kmc_facts_read(const struct kmc_source *source, struct kmc_facts *ret_facts)
{
    struct kmc_modules modules;
    char misc[4096];

    memset(ret_facts, 0, sizeof(*ret_facts));
    facts_release(source, ret_facts);
    facts_os(source, ret_facts);
    facts_process(source, ret_facts);
    facts_around(source, ret_facts);
    facts_io(source, ret_facts);
    kmc_modules_open(source, ret_facts->release, &modules);
    ret_facts->bits[KMC_BIT_MODULES] = modules.can_load;
    ret_facts->bits[KMC_BIT_MODULE_FILES] = modules.installed;
    ret_facts->bits[KMC_BIT_SIGNED_ONLY] = modules.signed_only;
    memcpy(ret_facts->modules_why, modules.why_not, sizeof(ret_facts->modules_why));
    memcpy(ret_facts->lockdown, modules.lockdown, sizeof(ret_facts->lockdown));
    kmc_read(source, "/proc/misc", misc, sizeof(misc));
    facts_device_mapper(source, &modules, misc, ret_facts);
    facts_block_drivers(source, &modules, misc, ret_facts);
    kmc_modules_close(&modules);
}
