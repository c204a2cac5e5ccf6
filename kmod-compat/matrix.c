// SPDX-License-Identifier: Apache-2.0
#include "kmod-compat/matrix.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

// Of linux/ublk_cmd.h, where they are unsigned long.
#define MATRIX_UBLK_RECOVERY ((UINT64_C(1) << 3) | (UINT64_C(1) << 4)) // USER_RECOVERY, USER_RECOVERY_REISSUE

// Sources of the versions that are refused:
//   era   de89afc1e40f "dm era: Recover committed writeset after crash" and 2099b145d77c "dm era: Update in-core bitset after committing
//         the metadata", both in 5.12; the target's own version stayed 1.0.0, so there is nothing to ask
//   attach 7e768532b239 "dm snapshot: properly fix a crash when an origin has no snapshots" in 5.13, which is how the stack stands
//         between two runs; the same holds for the target's version
// Both were taken into stable kernels, which can't be told from the version that a distribution shows: refused all the same.
// clang-format off
const struct kmc_row kmc_matrix[KMC_FEATURE_MAX] = {
    [KMC_SYNC] = {
        .what = "reads all of a source, ships what differs",
        .needs = {KMC_NEED_IO}, .base = KMC_FEATURE_MAX,
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "nothing works",
        .get = "a kernel with CONFIG_AIO or CONFIG_IO_URING"},
    [KMC_IO_URING] = {
        .what = "the fast way to read and write",
        .needs = {KMC_NEED_URING}, .base = KMC_FEATURE_MAX, .since = {5, 11},
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "libaio, which is slower",
        .get = "sysctl kernel.io_uring_disabled=0; in a container, a system call filter that lets io_uring pass"},
    [KMC_ATTACH] = {
        .what = "a frozen view of a volume in use, without unmounting it",
        .needs = {KMC_NEED_NOT_OFF, KMC_NEED_DM, KMC_NEED_LINEAR, KMC_NEED_SNAPSHOT, KMC_NEED_SNAPSHOT_ORIGIN},
        .base = KMC_FEATURE_MAX, .since = {5, 13}, .bad_before = {5, 13},
        .bad_why = "snapshot-origin without a snapshot could crash the kernel",
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "sync of an unmounted source",
        .get = "a distribution's kernel of 5.13 or newer: all of them have these targets"},
    [KMC_COW] = {
        .what = "tracker: a snapshot held since the last run, exact to 4 KiB",
        .needs = {KMC_NEED_SNAPSHOT}, .base = KMC_ATTACH, .since = {5, 13},
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "reading all (scan)",
        .get = "what attach needs"},
    [KMC_ERA] = {
        .what = "tracker: which blocks were written since, at little cost",
        .needs = {KMC_NEED_ERA}, .base = KMC_ATTACH, .since = {5, 13}, .bad_before = {5, 12},
        .bad_why = "dm-era lost the committed writeset after a crash",
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "tracker cow",
        .get = "a kernel with CONFIG_DM_ERA; on Ubuntu it is in linux-modules-extra-RELEASE"},
    [KMC_THIN] = {
        .what = "tracker: what differs between two thin snapshots",
        .needs = {KMC_NEED_NOT_OFF, KMC_NEED_DM, KMC_NEED_THIN, KMC_NEED_THIN_POOL, KMC_NEED_THIN_TOOLS},
        .base = KMC_FEATURE_MAX,
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "tracker era or cow on the thin volume",
        .get = "a kernel with CONFIG_DM_THIN_PROVISIONING, and the package thin-provisioning-tools "
               "(device-mapper-persistent-data)"},
    [KMC_LVM] = {
        .what = "LVs by LVM's own commands, stores in a VG's free space",
        .needs = {KMC_NEED_DM, KMC_NEED_LVM2}, .base = KMC_FEATURE_MAX,
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "stores in files or on devices",
        .get = "the package lvm2"},
    [KMC_GROUP] = {
        .what = "several volumes frozen in one moment",
        .needs = {KMC_NEED_DM}, .base = KMC_ATTACH, .since = {5, 13},
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "each volume frozen by itself",
        .get = "what attach needs"},
    [KMC_BOOT] = {
        .what = "attached volumes come back at boot before they are mounted",
        .needs = {KMC_NEED_SYSTEMD, KMC_NEED_INITRAMFS}, .base = KMC_ATTACH, .since = {5, 13},
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "attach by hand after each boot, then one full compare",
        .get = "the package initramfs-tools or dracut, and systemd"},
    [KMC_UBLK] = {
        .what = "mirror through ublk",
        .needs = {KMC_NEED_UBLK}, .base = KMC_IO_URING, .since = {6, 5},
        .debian_6_1 = false, .debian_6_12 = true,
        .without = "mirror through nbd",
        .get = "a kernel with CONFIG_BLK_DEV_UBLK; on Debian 12 the one of bookworm-backports"},
    [KMC_NBD] = {
        .what = "mirror through nbd",
        .needs = {KMC_NEED_NBD}, .base = KMC_FEATURE_MAX, .since = {5, 14},
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "sync --every",
        .get = "a kernel with CONFIG_BLK_DEV_NBD"},
    [KMC_SERVICE] = {
        .what = "blkrep serve as a confined service",
        .needs = {KMC_NEED_SYSTEMD, KMC_NEED_CGROUP2, KMC_NEED_SECCOMP}, .base = KMC_FEATURE_MAX,
        .debian_6_1 = true, .debian_6_12 = true,
        .without = "blkrep serve started by hand",
        .get = "a machine that runs systemd, with the unified cgroup hierarchy"},
};
// clang-format on

static const char *const matrix_features[KMC_FEATURE_MAX] = {
#define X(name, shown) shown,
    KMC_FEATURE_TABLE(X)
#undef X
};

static const char *const matrix_needs[KMC_NEED_MAX] = {
#define X(name, shown) shown,
    KMC_NEED_TABLE(X)
#undef X
};

const char *kmc_feature_name(enum kmc_feature feature)
{
    return matrix_features[feature];
}

void kmc_needs_text(enum kmc_feature feature, char *text, size_t text_size)
{
    const struct kmc_row *row = &kmc_matrix[feature];
    size_t used = 0;

    text[0] = 0;
    if (row->base != KMC_FEATURE_MAX) {
        used += (size_t)snprintf(text, text_size, "%s", matrix_features[row->base]);
    }
    for (size_t i = 0; i < KMC_NEEDS_MAX && row->needs[i] != KMC_NEED_NONE; i++) {
        const char *need = matrix_needs[row->needs[i]];
        // A target needs device-mapper, and what the base feature needs is said there.
        bool said = !*need || row->needs[i] == KMC_NEED_DM;
        for (size_t j = 0; row->base != KMC_FEATURE_MAX && j < KMC_NEEDS_MAX; j++) {
            said = said || kmc_matrix[row->base].needs[j] == row->needs[i];
        }
        if (!said && used < text_size) {
            used += (size_t)snprintf(text + used, text_size - used, "%s%s", used ? ", " : "", need);
        }
    }
}

void kmc_since_text(enum kmc_feature feature, char *text, size_t text_size)
{
    const unsigned *since = kmc_matrix[feature].since;

    if (since[0]) {
        snprintf(text, text_size, "%u.%u", since[0], since[1]);
    } else {
        snprintf(text, text_size, "any");
    }
}

// Answers ---------------------------------------------------------------------------------------------------------------------------------

__attribute__((format(printf, 3, 4))) static void matrix_say(char *text, size_t text_size, const char *fmt, ...)
{
    __builtin_va_list args;

    __builtin_va_start(args, fmt);
    vsnprintf(text, text_size, fmt, args);
    __builtin_va_end(args);
}
#define MATRIX_REASON(support, ...) matrix_say((support)->reason, sizeof((support)->reason), __VA_ARGS__)
#define MATRIX_REMEDY(support, ...) matrix_say((support)->remedy, sizeof((support)->remedy), __VA_ARGS__)

// Another way to write it: "apt install lvm2".
static void matrix_install(const struct kmc_facts *facts, const char *debian, const char *red_hat,
                           struct kmc_support *support)
{
    static const char *const debians[] = {"debian", "ubuntu", "linuxmint", "raspbian"};
    static const char *const red_hats[] = {"fedora", "rhel", "centos", "rocky", "almalinux", "ol"};

    for (size_t i = 0; i < KMC_ARRAY_LEN(debians); i++) {
        if (!strcmp(facts->os_id, debians[i])) {
            MATRIX_REMEDY(support, "apt install %s", debian);
            return;
        }
    }
    for (size_t i = 0; i < KMC_ARRAY_LEN(red_hats); i++) {
        if (!strcmp(facts->os_id, red_hats[i])) {
            MATRIX_REMEDY(support, "dnf install %s", red_hat);
            return;
        }
    }
    MATRIX_REMEDY(support, "install the package %s, as Debian calls it, or %s, as Red Hat does", debian, red_hat);
}

static void matrix_package(const struct kmc_facts *facts, bool there, const char *debian, const char *red_hat,
                           struct kmc_support *support)
{
    support->answer = there ? KMC_YES : KMC_NO;
    if (!there) {
        MATRIX_REASON(support, "%s is not installed", debian);
        matrix_install(facts, debian, red_hat, support);
    }
}

static void matrix_driver_absent(const struct kmc_facts *facts, enum kmc_driver driver, const struct kmc_row *row,
                                 struct kmc_support *support)
{
    MATRIX_REASON(support, "this kernel has no %s%s", driver >= KMC_DRIVER_FIRST_TARGET ? "dm target " : "",
                  kmc_driver_name(driver));
    if (facts->bits[KMC_BIT_CONTAINER]) {
        MATRIX_REMEDY(support, "run blkrep on the host: a container has the host's kernel");
    } else if (!strcmp(facts->os_id, "ubuntu") && facts->bits[KMC_BIT_MODULE_FILES]) {
        MATRIX_REMEDY(support, "apt install linux-modules-extra-%s", facts->release);
    } else if (!facts->bits[KMC_BIT_MODULE_FILES] && facts->bits[KMC_BIT_MODULES]) {
        MATRIX_REMEDY(support, "install the modules of this kernel, %s; or boot %s", facts->release, row->get);
    } else {
        MATRIX_REMEDY(support, "boot %s", row->get);
    }
}

static void matrix_driver_locked(const struct kmc_facts *facts, enum kmc_driver driver, struct kmc_support *support)
{
    const char *module = kmc_driver_module(driver);

    MATRIX_REASON(support, "its module %s is installed and can't be loaded: %s", module, facts->drivers[driver].why);
    if (facts->bits[KMC_BIT_MODULES]) {
        MATRIX_REMEDY(
            support, "undo what the reason names, or: echo %s >> /etc/modules-load.d/blkrep.conf, then reboot", module);
    } else {
        MATRIX_REMEDY(
            support,
            "have it loaded before that: echo %s >> /etc/modules-load.d/blkrep.conf, then reboot; or undo what "
            "the reason names",
            module);
    }
}

static void matrix_driver(const struct kmc_facts *facts, enum kmc_driver driver, const struct kmc_row *row,
                          struct kmc_support *support)
{
    const struct kmc_driver_facts *known = &facts->drivers[driver];

    switch (known->presence) {
    case KMC_PRESENT: support->answer = KMC_YES; break;
    case KMC_LOADABLE:
        support->answer = KMC_YES;
        MATRIX_REASON(support, "its module %s is loaded when it is used", kmc_driver_module(driver));
        break;
    case KMC_UNSEEN:
        support->answer = KMC_CANT_TELL;
        MATRIX_REASON(support, "whether %s is built into this kernel only root can ask", kmc_driver_name(driver));
        MATRIX_REMEDY(support, "run blkrep doctor as root");
        break;
    case KMC_LOCKED: matrix_driver_locked(facts, driver, support); break;
    case KMC_ABSENT: matrix_driver_absent(facts, driver, row, support); break;
    }
}

static void matrix_dm(const struct kmc_facts *facts, const struct kmc_row *row, struct kmc_support *support)
{
    matrix_driver(facts, KMC_DRIVER_DM, row, support);
    if (facts->drivers[KMC_DRIVER_DM].presence != KMC_PRESENT) {
        return;
    }
    if (!facts->bits[KMC_BIT_DM_NODE]) {
        support->answer = KMC_NO;
        MATRIX_REASON(support, "/dev/mapper/control is not here, although this kernel has device-mapper");
        MATRIX_REMEDY(support, "%s", facts->bits[KMC_BIT_CONTAINER] ? "run blkrep on the host" : "dmsetup mknodes");
    } else if (facts->dm_errno && facts->bits[KMC_BIT_ADMIN]) {
        support->answer = KMC_NO;
        MATRIX_REASON(support, "device-mapper does not answer: %s", strerror(facts->dm_errno));
        MATRIX_REMEDY(support, "%s",
                      facts->bits[KMC_BIT_CONTAINER] ? "run blkrep on the host" : "look at the kernel log (dmesg)");
    }
}

static void matrix_uring(const struct kmc_facts *facts, struct kmc_support *support)
{
    support->answer = facts->bits[KMC_BIT_IO_URING] ? KMC_YES : KMC_NO;
    if (support->answer == KMC_YES) {
        return;
    }
    if (facts->uring_lacks[0] || facts->uring_errno == ENOSYS) {
        MATRIX_REASON(support, "this kernel's io_uring %s%s", facts->uring_lacks[0] ? "lacks " : "is not there",
                      facts->uring_lacks);
        MATRIX_REMEDY(support, "boot a kernel of 5.11 or newer");
    } else if (facts->uring_disabled > 0) {
        MATRIX_REASON(support, "sysctl kernel.io_uring_disabled is %d%s", facts->uring_disabled,
                      facts->uring_disabled == 1 ? ": root and kernel.io_uring_group only" : "");
        MATRIX_REMEDY(support, "sysctl kernel.io_uring_disabled=0");
    } else if (facts->bits[KMC_BIT_FILTERED] || facts->uring_errno == EPERM) {
        MATRIX_REASON(support, "io_uring_setup: %s; a system call filter forbids it", strerror(facts->uring_errno));
        MATRIX_REMEDY(support, "allow io_uring_setup, io_uring_enter and io_uring_register in the container's filter");
    } else {
        MATRIX_REASON(support, "io_uring_setup: %s", strerror(facts->uring_errno));
        MATRIX_REMEDY(support, "%s",
                      facts->uring_errno == ENOMEM ? "raise the limit of locked memory: ulimit -l" : "see the reason");
    }
}

static void matrix_io(const struct kmc_facts *facts, struct kmc_support *support)
{
    if (facts->bits[KMC_BIT_IO_URING] || facts->bits[KMC_BIT_AIO]) {
        support->answer = KMC_YES;
        MATRIX_REASON(support, "over %s", facts->bits[KMC_BIT_IO_URING] ? "io_uring" : "libaio");
        return;
    }
    matrix_uring(facts, support);
    size_t used = strlen(support->reason);
    matrix_say(support->reason + used, sizeof(support->reason) - used, "; and io_setup: %s",
               strerror(facts->aio_errno));
    if (facts->aio_errno == EAGAIN) {
        MATRIX_REMEDY(support, "sysctl fs.aio-max-nr=1048576");
    }
}

static void matrix_ublk(const struct kmc_facts *facts, const struct kmc_row *row, struct kmc_support *support)
{
    matrix_driver(facts, KMC_DRIVER_UBLK, row, support);
    if (facts->drivers[KMC_DRIVER_UBLK].presence != KMC_PRESENT ||
        (!facts->ublk_errno && (facts->ublk_features & MATRIX_UBLK_RECOVERY) == MATRIX_UBLK_RECOVERY)) {
        return;
    }
    if (facts->ublk_errno && !facts->bits[KMC_BIT_ADMIN]) {
        support->answer = KMC_CANT_TELL;
        MATRIX_REASON(support, "what this kernel's ublk can do only root can ask");
        MATRIX_REMEDY(support, "run blkrep doctor as root");
        return;
    }
    support->answer = KMC_NO;
    if (facts->ublk_errno) {
        MATRIX_REASON(support, "ublk does not say what it can do: %s", strerror(facts->ublk_errno));
    } else {
        MATRIX_REASON(support, "this kernel's ublk can't go on after its server is started anew");
    }
    MATRIX_REMEDY(support, "boot a kernel of 6.5 or newer");
}

static void matrix_need(const struct kmc_facts *facts, enum kmc_need need, const struct kmc_row *row,
                        struct kmc_support *support)
{
    switch (need) {
    case KMC_NEED_IO: matrix_io(facts, support); break;
    case KMC_NEED_URING: matrix_uring(facts, support); break;
    case KMC_NEED_NOT_OFF:
        support->answer = facts->bits[KMC_BIT_BLKREP_OFF] ? KMC_NO : KMC_YES;
        if (support->answer == KMC_NO) {
            MATRIX_REASON(support, "blkrep=off is on the kernel command line: volumes are passed through untracked");
            MATRIX_REMEDY(support, "take blkrep=off off the kernel command line and reboot");
        }
        break;
    case KMC_NEED_DM: matrix_dm(facts, row, support); break;
    case KMC_NEED_LINEAR: matrix_driver(facts, KMC_DRIVER_LINEAR, row, support); break;
    case KMC_NEED_SNAPSHOT: matrix_driver(facts, KMC_DRIVER_SNAPSHOT, row, support); break;
    case KMC_NEED_SNAPSHOT_ORIGIN: matrix_driver(facts, KMC_DRIVER_SNAPSHOT_ORIGIN, row, support); break;
    case KMC_NEED_ERA: matrix_driver(facts, KMC_DRIVER_ERA, row, support); break;
    case KMC_NEED_THIN: matrix_driver(facts, KMC_DRIVER_THIN, row, support); break;
    case KMC_NEED_THIN_POOL: matrix_driver(facts, KMC_DRIVER_THIN_POOL, row, support); break;
    case KMC_NEED_THIN_TOOLS:
        matrix_package(facts, facts->bits[KMC_BIT_THIN_TOOLS], "thin-provisioning-tools",
                       "device-mapper-persistent-data", support);
        break;
    case KMC_NEED_LVM2: matrix_package(facts, facts->bits[KMC_BIT_LVM2], "lvm2", "lvm2", support); break;
    case KMC_NEED_INITRAMFS:
        matrix_package(facts, facts->bits[KMC_BIT_INITRAMFS_TOOLS] || facts->bits[KMC_BIT_DRACUT], "initramfs-tools",
                       "dracut", support);
        break;
    case KMC_NEED_UBLK: matrix_ublk(facts, row, support); break;
    case KMC_NEED_NBD: matrix_driver(facts, KMC_DRIVER_NBD, row, support); break;
    case KMC_NEED_SYSTEMD:
    case KMC_NEED_CGROUP2:
    case KMC_NEED_SECCOMP: {
        enum kmc_bit bit = need == KMC_NEED_SYSTEMD   ? KMC_BIT_SYSTEMD
                           : need == KMC_NEED_CGROUP2 ? KMC_BIT_CGROUP2
                                                      : KMC_BIT_SECCOMP;
        support->answer = facts->bits[bit] ? KMC_YES : KMC_NO;
        if (support->answer == KMC_NO) {
            MATRIX_REASON(support, "%s is not here", matrix_needs[need]);
            MATRIX_REMEDY(support, "it takes %s", row->get);
        }
        break;
    }
    case KMC_NEED_NONE:
    case KMC_NEED_MAX: support->answer = KMC_YES; break;
    }
}

static bool matrix_bad(const struct kmc_facts *facts, const struct kmc_row *row, struct kmc_support *support)
{
    if (!row->bad_why || !kmc_before(facts, row->bad_before[0], row->bad_before[1])) {
        return false;
    }
    support->answer = KMC_NO;
    MATRIX_REASON(support, "refused on kernel %s: before %u.%u %s", facts->release, row->bad_before[0],
                  row->bad_before[1], row->bad_why);
    MATRIX_REMEDY(support, "boot a kernel of %u.%u or newer", row->since[0], row->since[1]);
    return true;
}

void kmc_supports(const struct kmc_facts *facts, enum kmc_feature feature, struct kmc_support *ret_support)
{
    const struct kmc_row *row = &kmc_matrix[feature];
    struct kmc_support result = {.answer = KMC_YES};

    if (matrix_bad(facts, row, ret_support)) {
        return;
    }
    if (row->base != KMC_FEATURE_MAX) {
        struct kmc_support base;
        kmc_supports(facts, row->base, &base);
        result = base;
        if (base.answer == KMC_NO) {
            MATRIX_REASON(&result, "%s does not work here: %.240s", matrix_features[row->base], base.reason);
        }
    }
    // The worst answer counts, the first of the equals; of a yes the last word that there is.
    for (size_t i = 0; i < KMC_NEEDS_MAX && row->needs[i] != KMC_NEED_NONE; i++) {
        struct kmc_support one = {.answer = KMC_NO};
        matrix_need(facts, row->needs[i], row, &one);
        if (one.answer < result.answer || (one.answer == KMC_YES && result.answer == KMC_YES && one.reason[0])) {
            result = one;
        }
    }
    *ret_support = result;
}
