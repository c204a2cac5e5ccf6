// SPDX-License-Identifier: Apache-2.0
//
// What udev knows: its database (/run/udev/data/bMAJOR:MINOR, lines "E:KEY=value") and the links that it keeps below /dev/disk. Of the
// names that survive a reboot the one is chosen that names the unit itself (a WWN) before one that describes it (model and serial),
// before one that lies in its content (a partition's uuid), before one that says where it is plugged in.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmod-compat/device_impl.h"

#define NAMES_RECORD_BYTES_MAX 65536

struct names_rank {
    const char *folder;
    const char *prefix;
};

// The first that fits wins. Left out on purpose: names of what is *on* a device (lvm-pv-uuid, by-uuid, by-label), which a clone has too.
static const struct names_rank names_ranks[] = {
    {"by-id", "wwn-"}, {"by-id", "nvme-eui."}, {"by-id", "nvme-uuid."}, {"by-id", "scsi-3"}, {"by-id", "nvme-"},
    {"by-id", "ata-"}, {"by-id", "scsi-"},     {"by-id", "virtio-"},    {"by-id", "mmc-"},   {"by-id", "usb-"},
    {"by-id", "md-"},  {"by-partuuid", ""},    {"by-path", ""},
};

static bool names_value(const char *record, const char *key, char *value, size_t value_size)
{
    size_t len = strlen(key);

    for (const char *line = record; *line;) {
        size_t line_len = strcspn(line, "\n");
        if (!strncmp(line, "E:", 2) && !strncmp(line + 2, key, len) && line[2 + len] == '=') {
            snprintf(value, value_size, "%.*s", (int)(line_len - len - 3), line + len + 3);
            return value[0] != 0;
        }
        line += line_len + (line[line_len] == '\n');
    }
    return false;
}

// Fills what is empty so far from the first key that the record has.
static void names_fill(const char *record, const char *const *keys, char *text, size_t text_size)
{
    for (; *keys && !text[0]; keys++) {
        names_value(record, *keys, text, text_size);
    }
}

static void names_udev(const struct kmc_source *source, struct kmc_device *device)
{
    static const char *const serials[] = {"ID_SERIAL_SHORT", "ID_SCSI_SERIAL", "ID_SERIAL", NULL};
    static const char *const wwids[] = {"ID_WWN_WITH_EXTENSION", "ID_WWN", NULL};
    static const char *const models[] = {"ID_MODEL", NULL};
    static const char *const contents[] = {"ID_FS_TYPE", "ID_PART_TABLE_TYPE", NULL};
    static const char *const labels[] = {"ID_FS_LABEL", NULL};
    char path[64];

    snprintf(path, sizeof(path), "/run/udev/data/b%u:%u", device->major_number, device->minor_number);
    char *record = kmc_read_all(source, path, NAMES_RECORD_BYTES_MAX);
    if (!record) {
        return;
    }
    names_fill(record, serials, device->serial, sizeof(device->serial));
    names_fill(record, wwids, device->wwid, sizeof(device->wwid));
    names_fill(record, models, device->model, sizeof(device->model));
    names_fill(record, contents, device->holds, sizeof(device->holds));
    names_fill(record, labels, device->label, sizeof(device->label));
    free(record);
}

// Takes the links of one rank: each names the device that it leads to, unless that has a better name already.
static void names_links(const struct kmc_source *source, struct kmc_devices *devices, const struct names_rank *rank)
{
    char folder[64];
    char path[KMC_PATH_BYTES];
    char leaf[64];
    char **names;

    snprintf(folder, sizeof(folder), "/dev/disk/%s", rank->folder);
    size_t count = kmc_list(source, folder, &names);
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%.256s", folder, names[i]);
        if (strncmp(names[i], rank->prefix, strlen(rank->prefix)) != 0 ||
            !kmc_link_leaf(source, path, leaf, sizeof(leaf))) {
            continue;
        }
        size_t index = kmc_device_by_name(devices, leaf);
        struct kmc_device *device = index == KMC_NO_DEVICE ? NULL : &devices->list[index];
        if (device && !device->stable_known && strlen(path) < sizeof(device->stable)) {
            memcpy(device->stable, path, strlen(path) + 1);
            device->stable_known = true;
        }
    }
    kmc_list_free(names, count);
}

void kmc_device_names(const struct kmc_source *source, struct kmc_devices *devices)
{
    for (size_t i = 0; i < devices->count; i++) {
        struct kmc_device *device = &devices->list[i];
        names_udev(source, device);
        if (kmc_is_dm(device)) {
            snprintf(device->stable, sizeof(device->stable), "/dev/mapper/%s", device->dm_name);
            device->stable_known = true;
        }
    }
    for (size_t i = 0; i < KMC_ARRAY_LEN(names_ranks); i++) {
        names_links(source, devices, &names_ranks[i]);
    }
    for (size_t i = 0; i < devices->count; i++) {
        struct kmc_device *device = &devices->list[i];
        if (device->stable_known) {
            continue;
        }
        snprintf(device->stable, sizeof(device->stable), "/dev/%s", device->name);
        // a name of /sys can't hold a slash: cciss!c0d0 is /dev/cciss/c0d0
        for (char *bang = strchr(device->stable, '!'); bang; bang = strchr(bang, '!')) {
            *bang = '/';
        }
    }
}
