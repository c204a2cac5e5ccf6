// SPDX-License-Identifier: Apache-2.0
//
// Mounts and swap. A mount is told by its device number; a file system over several devices (btrfs) has a number of its own, there the
// source's name tells one of them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmod-compat/device_impl.h"

#define USE_FILE_BYTES_MAX (4U << 20)
#define USE_FIELDS         6

// The kernel writes blank, tab, line end and backslash of a path as \040 and so on. Undone in place.
static void use_unescape(char *text)
{
    char *to = text;

    for (const char *at = text; *at; to++) {
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '3' && at[2] >= '0' && at[2] <= '7' && at[3] >= '0' &&
            at[3] <= '7') {
            *to = (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0'));
            at += 4;
        } else {
            *to = *at++;
        }
    }
    *to = 0;
}

// Is the option among "rw,relatime,discard"?
static bool use_option(const char *options, const char *wanted)
{
    size_t len = strlen(wanted);

    for (const char *at = options; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (!strncmp(at, wanted, len) && (!at[len] || at[len] == ',' || at[len] == '=')) {
            return true;
        }
    }
    return false;
}

static bool use_add_mount(struct kmc_device *device, const struct kmc_mount *mount)
{
    struct kmc_mount *more = realloc(device->mounts, (device->mount_count + 1) * sizeof(*more));

    if (!more) {
        return false;
    }
    more[device->mount_count++] = *mount;
    device->mounts = more;
    return true;
}

// mountinfo (proc_pid_mountinfo(5)): "36 35 98:0 /root /mnt rw,noatime shared:1 - ext3 /dev/sda rw,errors=continue". What counts for
// "can be written" are the super block's options, the last field. false when memory is short; a line that can't be read says nothing.
static bool use_mount_line(char *line, struct kmc_devices *devices)
{
    char *fields[USE_FIELDS] = {0};
    char *rest = line;
    char *after[3] = {0};
    struct kmc_mount mount = {0};
    uint32_t major_number;
    uint32_t minor_number;

    for (size_t i = 0; i < USE_FIELDS; i++) {
        fields[i] = strsep(&rest, " ");
    }
    char *dash = rest ? strstr(rest, "- ") : NULL;
    dash = dash ? dash + 2 : NULL;
    for (size_t i = 0; i < KMC_ARRAY_LEN(after); i++) {
        after[i] = strsep(&dash, " ");
    }
    if (!fields[USE_FIELDS - 1] || !after[2] || sscanf(fields[2], "%u:%u", &major_number, &minor_number) != 2) {
        return true;
    }
    use_unescape(fields[4]);
    use_unescape(after[1]);
    size_t index = kmc_device_by_number(devices, major_number, minor_number);
    index = index == KMC_NO_DEVICE ? kmc_device_by_path(devices, after[1]) : index;
    if (index == KMC_NO_DEVICE) {
        return true;
    }
    snprintf(mount.where, sizeof(mount.where), "%s", fields[4]);
    snprintf(mount.fs, sizeof(mount.fs), "%s", after[0]);
    mount.writable = use_option(after[2], "rw");
    mount.discard = use_option(after[2], "discard");
    mount.part = strcmp(fields[3], "/") != 0 && strcmp(mount.fs, "btrfs") != 0; // a subvolume is no part
    return use_add_mount(&devices->list[index], &mount);
}

static bool use_swap_line(char *line, struct kmc_devices *devices)
{
    line[strcspn(line, " \t")] = 0;
    use_unescape(line);
    size_t index = kmc_device_by_path(devices, line);
    if (index != KMC_NO_DEVICE) {
        devices->list[index].swap = true;
    }
    return true;
}

static bool use_lines(const struct kmc_source *source, const char *path, struct kmc_devices *devices,
                      bool (*take)(char *line, struct kmc_devices *devices))
{
    char *text = kmc_read_all(source, path, USE_FILE_BYTES_MAX);
    char *rest = text;
    char *line;
    bool ok = true;

    while (ok && (line = strsep(&rest, "\n"))) {
        ok = take(line, devices);
    }
    free(text);
    return ok;
}

bool kmc_device_use(const struct kmc_source *source, struct kmc_devices *devices)
{
    return use_lines(source, "/proc/self/mountinfo", devices, use_mount_line) &&
           use_lines(source, "/proc/swaps", devices, use_swap_line);
}
