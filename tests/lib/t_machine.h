// SPDX-License-Identifier: Apache-2.0
//
// Made-up machines for kmod-compat and doctor: a folder with the files of /proc, /sys, /dev, /run and /lib that kmc_ functions read, and
// the answers to what they ask of the kernel. A new machine is an empty one: no driver answers, no device is there.
#ifndef T_MACHINE_H
#define T_MACHINE_H

#include "kmod-compat/source.h"

#define T_MACHINE_TABLES 16

struct t_machine {
    char root[256];
    struct kmc_source source; // give this to kmc_ functions
    struct kmc_dm_answer dm;
    struct kmc_uring_answer uring;
    struct kmc_ublk_answer ublk;
    int aio_errno;
    unsigned ublk_asked; // how often
    unsigned dm_asked;
    struct {
        char dm_name[64];
        char target[KMC_DM_NAME_BYTES];
    } tables[T_MACHINE_TABLES];
    size_t table_count;
    char mountinfo[8192];
};

/** t_machine_new - an empty machine in a new folder below t_folder(); its io_uring and libaio work */
struct t_machine *t_machine_new(void);
/** t_machine_free - removes the folder */
void t_machine_free(struct t_machine *machine);
/** t_machine_file - makes a file and the folders above it; replaces one that is there */
void t_machine_file(struct t_machine *machine, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** t_machine_link - makes a symbolic link and the folders above it */
void t_machine_link(struct t_machine *machine, const char *path, const char *target);

/**
 * t_machine_debian - a Debian machine as root sees it: /proc and modules of the release; dm-mod loaded with linear and error,
 * the modules dm-snapshot, dm-era, dm-thin-pool, dm-raid, dm-delay, dm-flakey, dm-zero, dm-log-writes and nbd installed
 */
void t_machine_debian(struct t_machine *machine, const char *release);
/** t_machine_target - device-mapper lists this target */
void t_machine_target(struct t_machine *machine, const char *name, uint32_t major, uint32_t minor, uint32_t patch);

/** t_machine_disk - a whole device, "vda" "254:0"; DM devices too */
void t_machine_disk(struct t_machine *machine, const char *name, const char *number, uint64_t size_bytes);
/** t_machine_partition - partition @index of @disk, named @name */
void t_machine_partition(struct t_machine *machine, const char *disk, const char *name, const char *number,
                         unsigned index, uint64_t size_bytes);
/** t_machine_dm - a DM device of that name, uuid and target */
void t_machine_dm(struct t_machine *machine, const char *name, const char *number, uint64_t size_bytes,
                  const char *dm_name, const char *uuid, const char *target);
/** t_machine_on - @upper lies on @lower: slaves and holders */
void t_machine_on(struct t_machine *machine, const char *upper, const char *lower);
/** t_machine_mount - a line of mountinfo */
void t_machine_mount(struct t_machine *machine, const char *number, const char *source, const char *where,
                     const char *fs, const char *options);

#endif
