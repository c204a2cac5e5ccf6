// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/served.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "dm-helper/mounts.h"
#include "kmod-compat/modules.h"

#define DMH_SERVED_MOUNTS_MAX (4u << 20) // of /proc/self/mountinfo and /proc/swaps
#define DMH_BLOCK_MIN_BYTES   512u
#define DMH_BLOCK_MAX_BYTES   4096u // a page: what both drivers take

// ---- disks -----------------------------------------------------------------------------------------------------------

static bool dmh_sys_number(const struct kmc_source *source, const char *folder, const char *name, uint64_t *ret_number)
{
    char path[320], text[32];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return kmc_read(source, path, text, sizeof(text)) > 0 && sscanf(text, "%" SCNu64, ret_number) == 1;
}

static bool dmh_sys_device(const struct kmc_source *source, const char *folder, uint32_t *ret_major,
                           uint32_t *ret_minor)
{
    char path[320], text[32];

    snprintf(path, sizeof(path), "%s/dev", folder);
    return kmc_read(source, path, text, sizeof(text)) > 0 &&
           sscanf(text, "%" SCNu32 ":%" SCNu32, ret_major, ret_minor) == 2;
}

static bool dmh_is_mounted(const struct kmc_source *source, uint32_t major, uint32_t minor)
{
    char *text = kmc_read_all(source, "/proc/self/mountinfo", DMH_SERVED_MOUNTS_MAX);
    bool found = !text; // what can't be read may hold anything
    char *save = NULL;

    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line && !found; line = strtok_r(NULL, "\n", &save)) {
        struct dmh_mount mount;
        found = dmh_mount_parse(line, &mount) && dmh_mount_is_on(&mount, major, minor);
    }
    free(text);
    return found;
}

// A swap is named by its path, which is the kernel's own name of a disk or leads there; "/dev/nbd0 partition ..."
static bool dmh_is_swap(const struct kmc_source *source, const char *name)
{
    char *text = kmc_read_all(source, "/proc/swaps", DMH_SERVED_MOUNTS_MAX);
    char wanted[80];

    snprintf(wanted, sizeof(wanted), "/dev/%s", name);
    bool found = text && kmc_has_word(text, wanted);
    free(text);
    return found;
}

static bool dmh_is_held(const struct kmc_source *source, const char *folder)
{
    char path[320];
    char **names;

    snprintf(path, sizeof(path), "%s/holders", folder);
    size_t count = kmc_list(source, path, &names);
    kmc_list_free(names, count);
    return count != 0;
}

static bool dmh_is_used(const struct kmc_source *source, const char *folder, const char *name)
{
    uint32_t major, minor;

    return dmh_is_held(source, folder) || dmh_is_swap(source, name) ||
           (dmh_sys_device(source, folder, &major, &minor) && dmh_is_mounted(source, major, minor));
}

bool dmh_disk_read(const struct kmc_source *source, const char *name, struct dmh_disk *ret_disk)
{
    char folder[96], part[320];
    struct dmh_disk disk = {0};
    uint64_t sectors, read_only = 0;
    char **names;

    if ((size_t)snprintf(folder, sizeof(folder), DMH_BLOCK_FOLDER "/%s", name) >= sizeof(folder) ||
        !dmh_sys_device(source, folder, &disk.major, &disk.minor) ||
        !dmh_sys_number(source, folder, "size", &sectors)) {
        return false;
    }
    disk.size_bytes = sectors * 512;
    disk.read_only = dmh_sys_number(source, folder, "ro", &read_only) && read_only;
    disk.in_use = dmh_is_used(source, folder, name);
    // A partition's folder lies in that of its disk, and begins with its name.
    size_t count = kmc_list(source, folder, &names);
    for (size_t i = 0; i < count && !disk.in_use; i++) {
        if (!strncmp(names[i], name, strlen(name)) &&
            (size_t)snprintf(part, sizeof(part), "%s/%s", folder, names[i]) < sizeof(part)) {
            disk.in_use = dmh_is_used(source, part, names[i]);
        }
    }
    kmc_list_free(names, count);
    *ret_disk = disk;
    return true;
}

int dmh_shape_check(uint64_t size_bytes, uint32_t block_bytes, struct br_err *reterr)
{
    if (block_bytes < DMH_BLOCK_MIN_BYTES || block_bytes > DMH_BLOCK_MAX_BYTES || (block_bytes & (block_bytes - 1))) {
        return br_err_set(reterr, BR_E_USAGE, "a block of %" PRIu32 " bytes: it is a power of two from 512 to 4096",
                          block_bytes);
    }
    if (!size_bytes || size_bytes % block_bytes || size_bytes > INT64_MAX - DMH_BLOCK_MAX_BYTES) {
        return br_err_set(reterr, BR_E_USAGE,
                          "a size of %" PRIu64 " bytes: it is a multiple of the block, not 0, below 8 EiB", size_bytes);
    }
    return 0;
}

// ---- drivers ---------------------------------------------------------------------------------------------------------

int dmh_no_driver(enum kmc_feature feature, struct br_err *reterr)
{
    const char *name = feature == KMC_NBD ? "nbd" : "ublk_drv";
    const char *what = feature == KMC_NBD ? "NBD" : "ublk";
    struct kmc_modules modules;
    struct utsname host;
    char why[160] = "";

    memset(&host, 0, sizeof(host));
    (void)!uname(&host);
    kmc_modules_open(&kmc_running, host.release, &modules);
    enum kmc_module_state state = kmc_module_state(&modules, name, why, sizeof(why));
    kmc_modules_close(&modules);
    switch (state) {
    case KMC_MODULE_LOADED:
        return br_err_set(reterr, BR_E_UNSUPPORTED, "this kernel's %s driver is there, but can't be used from here",
                          what);
    case KMC_MODULE_LOADABLE:
        return br_err_set(reterr, BR_E_UNSUPPORTED,
                          "the kernel's %s driver is not loaded: modprobe %s%s, and for every boot: echo %s "
                          ">/etc/modules-load.d/blkrep-%s.conf",
                          what, name, feature == KMC_NBD ? " nbds_max=0" : "", name, name);
    case KMC_MODULE_REFUSED:
        return br_err_set(reterr, BR_E_UNSUPPORTED, "the kernel's %s driver may not be loaded here: %s", what, why);
    default: break;
    }
    return br_err_set(reterr, BR_E_UNSUPPORTED, "this kernel has no %s: %s; without it: %s", what,
                      kmc_matrix[feature].get, kmc_matrix[feature].without);
}
