// SPDX-License-Identifier: Apache-2.0
//
// The facts of the running kernel and the machine around it, as typed bits: what is there, what could be loaded, what can't be seen by
// this user. Facts are asked of the kernel (driver lists, probes, files that exist), not concluded from its version; the version decides
// only where nothing can be asked, which is kmod-compat/matrix.c's business.
#ifndef KMC_FACTS_H
#define KMC_FACTS_H

#include "kmod-compat/source.h"

// X(name, JSON name, what it says when true). Plain facts, true or false.
#define KMC_BIT_TABLE(X)                                                                                 \
    X(ADMIN, "admin", "this process may use device-mapper (CAP_SYS_ADMIN)")                              \
    X(CONTAINER, "container", "this is a container: the kernel is the host's")                           \
    X(BLKREP_OFF, "blkrep_off", "blkrep=off is on the kernel command line: volumes are passed through")  \
    X(MODULES, "modules", "the kernel can load modules")                                                 \
    X(MODULE_FILES, "module_files", "the folder of this kernel's modules is installed")                  \
    X(SIGNED_ONLY, "signed_modules_only", "only signed modules can be loaded (lockdown or sig_enforce)") \
    X(DM_NODE, "dm_node", "/dev/mapper/control is there")                                                \
    X(UBLK_NODE, "ublk_node", "/dev/ublk-control is there")                                              \
    X(IO_URING, "io_uring", "io_uring works for this process, with all that blkrep needs of it")         \
    X(AIO, "aio", "libaio works for this process")                                                       \
    X(SECCOMP, "seccomp", "the kernel can filter system calls")                                          \
    X(FILTERED, "filtered", "this process runs under a system call filter")                              \
    X(CGROUP2, "cgroup2", "control groups, version 2")                                                   \
    X(SYSTEMD, "systemd", "systemd is process 1")                                                        \
    X(UDEV, "udev", "udev keeps names and facts of devices")                                             \
    X(INITRAMFS_TOOLS, "initramfs_tools", "update-initramfs is installed")                               \
    X(DRACUT, "dracut", "dracut is installed")                                                           \
    X(LVM2, "lvm2", "the lvm program is installed")                                                      \
    X(THIN_TOOLS, "thin_provisioning_tools", "thin_dump, thin_delta and thin_check are installed")       \
    X(MULTIPATH_TOOLS, "multipath_tools", "the multipath program is installed")                          \
    X(FSTRIM_TIMER, "fstrim_timer", "a timer runs fstrim")

enum kmc_bit {
#define X(name, json, text) KMC_BIT_##name,
    KMC_BIT_TABLE(X)
#undef X
        KMC_BIT_MAX
};

// X(name, driver's own name, its module). Device-mapper targets are those from LINEAR on.
#define KMC_DRIVER_TABLE(X)                              \
    X(DM, "device-mapper", "dm_mod")                     \
    X(UBLK, "ublk", "ublk_drv")                          \
    X(NBD, "nbd", "nbd")                                 \
    X(LINEAR, "linear", "dm_mod")                        \
    X(ERROR, "error", "dm_mod")                          \
    X(SNAPSHOT, "snapshot", "dm_snapshot")               \
    X(SNAPSHOT_ORIGIN, "snapshot-origin", "dm_snapshot") \
    X(ERA, "era", "dm_era")                              \
    X(THIN, "thin", "dm_thin_pool")                      \
    X(THIN_POOL, "thin-pool", "dm_thin_pool")            \
    X(RAID, "raid", "dm_raid")                           \
    X(DELAY, "delay", "dm_delay")                        \
    X(FLAKEY, "flakey", "dm_flakey")                     \
    X(ZERO, "zero", "dm_zero")                           \
    X(LOG_WRITES, "log-writes", "dm_log_writes")         \
    X(CLONE, "clone", "dm_clone")

enum kmc_driver {
#define X(name, driver, module) KMC_DRIVER_##name,
    KMC_DRIVER_TABLE(X)
#undef X
        KMC_DRIVER_MAX
};
#define KMC_DRIVER_FIRST_TARGET KMC_DRIVER_LINEAR

enum kmc_presence {
    KMC_ABSENT,   // not in this kernel, and no module for it is installed
    KMC_UNSEEN,   // this user can't tell: it may be built in
    KMC_LOCKED,   // its module is installed and can't be loaded; `why` says what forbids it
    KMC_LOADABLE, // its module is installed and not loaded; the kernel loads it when it is used
    KMC_PRESENT,  // there
};

struct kmc_driver_facts {
    enum kmc_presence presence;
    bool versioned; // the kernel told the version
    uint32_t version[3];
    char why[160]; // of LOCKED
};

struct kmc_facts {
    char release[72]; // "6.1.0-28-cloud-amd64"
    unsigned major;   // 0 when /proc does not tell
    unsigned minor;
    char os_id[32]; // of os-release: "debian", "ubuntu"; "" unknown
    bool bits[KMC_BIT_MAX];
    struct kmc_driver_facts drivers[KMC_DRIVER_MAX];
    char modules_why[160];  // why no module can be loaded; "" when they can
    char lockdown[24];      // "none", "integrity", "confidentiality"; "" the kernel has no lockdown
    int dm_errno;           // why device-mapper did not answer, 0 when it did or was not asked
    int uring_errno;        // why io_uring_setup() failed
    int uring_disabled;     // sysctl kernel.io_uring_disabled; -1 when the kernel has none
    char uring_lacks[64];   // set up, but without this
    int aio_errno;          // why io_setup() failed
    uint64_t ublk_features; // UBLK_F_*, when it was asked and answered
    int ublk_errno;         // why it did not answer; 0 also when it was not asked
    unsigned nbd_count;     // how many NBD devices there are
};

/**
 * kmc_facts_read - ask all of it
 * Owner: keeps no pointer    Blocks: at most a second, for ublk    Allocates: for the time of the call, at most 16 MiB
 * Never fails: what can't be read is absent, false or unseen.
 */
void kmc_facts_read(const struct kmc_source *source, struct kmc_facts *ret_facts);

/** kmc_bit_name, kmc_bit_text - the JSON name of a fact, and what it says when true */
const char *kmc_bit_name(enum kmc_bit bit);
const char *kmc_bit_text(enum kmc_bit bit);
/** kmc_driver_name, kmc_driver_module - "era" and "dm_era" */
const char *kmc_driver_name(enum kmc_driver driver);
const char *kmc_driver_module(enum kmc_driver driver);
/** kmc_presence_name - "absent", "unseen", "locked", "loadable", "present" */
const char *kmc_presence_name(enum kmc_presence presence);

/** kmc_before - is the running kernel older than the one given? false when its version is not known */
bool kmc_before(const struct kmc_facts *facts, unsigned major, unsigned minor);

/**
 * kmc_fs_freezes - can FIFREEZE hold this file system still?
 * @type  as mountinfo and libblkid name it
 * A list, because asking would freeze it: file systems in Linux 6.12 whose super operations have freeze_fs or freeze_super, without
 * which FIFREEZE says EOPNOTSUPP (fs/ioctl.c, ioctl_fsfreeze). Suspending a DM device below needs no such operation.
 */
bool kmc_fs_freezes(const char *type);

#endif
