// SPDX-License-Identifier: Apache-2.0
#include "kmod-compat/device_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE_DEPTH_MAX 24
#define DEVICE_LVM_UUID  (4 + 2 * 32) // "LVM-", the VG's and the LV's; what follows names an internal layer

static const char *const device_kinds[KMC_KIND_MAX] = {
#define X(name, word) word,
    KMC_KIND_TABLE(X)
#undef X
};

const char *kmc_kind_name(enum kmc_kind kind)
{
    return device_kinds[kind];
}

bool kmc_is_dm(const struct kmc_device *device)
{
    return device->dm_name[0] != 0;
}

size_t kmc_device_by_name(const struct kmc_devices *devices, const char *kernel_name)
{
    for (size_t i = 0; i < devices->count; i++) {
        if (!strcmp(devices->list[i].name, kernel_name)) {
            return i;
        }
    }
    return KMC_NO_DEVICE;
}

size_t kmc_device_by_number(const struct kmc_devices *devices, uint32_t major_number, uint32_t minor_number)
{
    for (size_t i = 0; i < devices->count; i++) {
        if (devices->list[i].major_number == major_number && devices->list[i].minor_number == minor_number) {
            return i;
        }
    }
    return KMC_NO_DEVICE;
}

size_t kmc_device_by_path(const struct kmc_devices *devices, const char *path)
{
    if (!strncmp(path, "/dev/mapper/", 12)) {
        for (size_t i = 0; i < devices->count; i++) {
            if (devices->list[i].dm_name[0] && !strcmp(devices->list[i].dm_name, path + 12)) {
                return i;
            }
        }
    }
    return strncmp(path, "/dev/", 5) ? KMC_NO_DEVICE : kmc_device_by_name(devices, path + 5);
}

// What lies on what -----------------------------------------------------------------------------------------------------------------------

static bool device_lies_on(const struct kmc_devices *devices, size_t index, size_t below, unsigned depth)
{
    const struct kmc_device *device = &devices->list[index];

    if (index == below) {
        return true;
    }
    if (depth == DEVICE_DEPTH_MAX) {
        return false;
    }
    for (size_t i = 0; i < device->below_count; i++) {
        if (device_lies_on(devices, device->below[i], below, depth + 1)) {
            return true;
        }
    }
    return device->disk != KMC_NO_DEVICE && device_lies_on(devices, device->disk, below, depth + 1);
}

bool kmc_lies_on(const struct kmc_devices *devices, size_t index, size_t below)
{
    return device_lies_on(devices, index, below, 0);
}

bool kmc_share_disk(const struct kmc_devices *devices, size_t a, size_t b)
{
    for (size_t i = 0; i < devices->count; i++) {
        bool bottom = !devices->list[i].below_count && devices->list[i].disk == KMC_NO_DEVICE;
        if (bottom && kmc_lies_on(devices, a, i) && kmc_lies_on(devices, b, i)) {
            return true;
        }
    }
    return false;
}

bool kmc_is_mounted(const struct kmc_device *device, bool writable)
{
    for (size_t i = 0; i < device->mount_count; i++) {
        if (!writable || device->mounts[i].writable) {
            return true;
        }
    }
    return false;
}

// One device of /sys -----------------------------------------------------------------------------------------------------------------------

static bool device_attribute(const struct kmc_source *source, const char *name, const char *leaf, char *text,
                             size_t text_size)
{
    char path[256];

    snprintf(path, sizeof(path), "/sys/class/block/%.63s/%.100s", name, leaf);
    return kmc_read(source, path, text, text_size) > 0;
}

static unsigned long long device_number(const struct kmc_source *source, const char *name, const char *leaf)
{
    char text[32];

    return device_attribute(source, name, leaf, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

// "vg0-my--data" is LV "my-data" of VG "vg0": a dash within a name is doubled.
static void device_lv_names(struct kmc_device *device)
{
    char *part = device->vg;
    size_t used = 0;

    for (const char *at = device->dm_name; *at && used < sizeof(device->vg) - 1; at++) {
        if (at[0] == '-' && at[1] != '-' && part == device->vg) {
            part = device->lv;
            used = 0;
            continue;
        }
        at += at[0] == '-' && at[1] == '-';
        part[used++] = *at;
        part[used] = 0;
    }
}

static bool device_uuid_ends(const struct kmc_device *device, const char *end)
{
    size_t len = strlen(device->dm_uuid);

    return len > strlen(end) && !strcmp(device->dm_uuid + len - strlen(end), end);
}

static enum kmc_kind device_dm_kind(struct kmc_device *device)
{
    if (!strncmp(device->dm_uuid, KMC_BLKREP_UUID, strlen(KMC_BLKREP_UUID))) {
        return KMC_KIND_BLKREP;
    }
    if (!strncmp(device->dm_uuid, "mpath-", 6)) {
        return KMC_KIND_MULTIPATH;
    }
    if (!strncmp(device->dm_uuid, "CRYPT-", 6)) {
        return KMC_KIND_CRYPT;
    }
    if (strncmp(device->dm_uuid, "LVM-", 4) != 0) {
        return strcmp(device->target, "thin-pool") ? KMC_KIND_DM : KMC_KIND_INTERNAL;
    }
    device_lv_names(device);
    if (strlen(device->dm_uuid) > DEVICE_LVM_UUID) {
        return KMC_KIND_INTERNAL;
    }
    return KMC_KIND_LV;
}

// By the kernel's name; DM devices and partitions are told apart before.
static enum kmc_kind device_plain_kind(const char *name)
{
    static const struct {
        const char *prefix;
        enum kmc_kind kind;
    } prefixes[] = {
        {"loop", KMC_KIND_LOOP}, {"md", KMC_KIND_MD},        {"nbd", KMC_KIND_NBD}, {"ublkb", KMC_KIND_UBLK},
        {"zram", KMC_KIND_ZRAM}, {"ram", KMC_KIND_RAM},      {"sr", KMC_KIND_ROM},  {"fd", KMC_KIND_FLOPPY},
        {"pmem", KMC_KIND_DISK}, {"mtdblock", KMC_KIND_ROM},
    };

    for (size_t i = 0; i < KMC_ARRAY_LEN(prefixes); i++) {
        if (!strncmp(name, prefixes[i].prefix, strlen(prefixes[i].prefix))) {
            return prefixes[i].kind;
        }
    }
    return KMC_KIND_DISK;
}

// How the disk is reached, from its place in the device tree.
static void device_transport(const struct kmc_source *source, struct kmc_device *device)
{
    static const struct {
        const char *part;
        const char *name;
    } parts[] = {
        {"/session", "iscsi"}, {"/rport-", "fc"},    {"/usb", "usb"},  {"/nvme", "nvme"}, {"/ata", "sata"},
        {"/virtio", "virtio"}, {"/mmc_host", "mmc"}, {"/vbd-", "xen"}, {"/host", "scsi"},
    };
    char path[160];
    char link[KMC_PATH_BYTES];

    snprintf(path, sizeof(path), "/sys/class/block/%.63s", device->name);
    if (!kmc_link(source, path, link, sizeof(link))) {
        return;
    }
    for (size_t i = 0; i < KMC_ARRAY_LEN(parts); i++) {
        if (strstr(link, parts[i].part)) {
            snprintf(device->transport, sizeof(device->transport), "%s", parts[i].name);
            return;
        }
    }
}

static void device_identity(const struct kmc_source *source, struct kmc_device *device)
{
    static const char *const serials[] = {"serial", "device/serial"};
    static const char *const wwids[] = {"wwid", "device/wwid", "device/cid"};

    device_attribute(source, device->name, "device/model", device->model, sizeof(device->model));
    for (size_t i = 0; i < KMC_ARRAY_LEN(serials) && !device->serial[0]; i++) {
        device_attribute(source, device->name, serials[i], device->serial, sizeof(device->serial));
    }
    for (size_t i = 0; i < KMC_ARRAY_LEN(wwids) && !device->wwid[0]; i++) {
        device_attribute(source, device->name, wwids[i], device->wwid, sizeof(device->wwid));
    }
}

static void device_dm(const struct kmc_source *source, const struct kmc_facts *facts, struct kmc_device *device)
{
    struct kmc_table_answer table;
    char text[8];

    device_attribute(source, device->name, "dm/uuid", device->dm_uuid, sizeof(device->dm_uuid));
    device->suspended =
        device_attribute(source, device->name, "dm/suspended", text, sizeof(text)) && !strcmp(text, "1");
    if (facts->bits[KMC_BIT_ADMIN] && !facts->dm_errno) {
        source->dm_table(source, device->dm_name, &table);
        memcpy(device->target, table.target, sizeof(device->target));
    }
    device->kind = device_dm_kind(device);
}

// Fills all that one device's folder of /sys tells. false for a slot without a device.
static bool device_fill(const struct kmc_source *source, const struct kmc_facts *facts, const char *name,
                        struct kmc_device *device)
{
    char text[32];

    *device = (struct kmc_device){.disk = KMC_NO_DEVICE};
    device->size_bytes = 512 * device_number(source, name, "size");
    if (!device->size_bytes || strlen(name) >= sizeof(device->name) ||
        !device_attribute(source, name, "dev", text, sizeof(text)) ||
        sscanf(text, "%u:%u", &device->major_number, &device->minor_number) != 2) {
        return false;
    }
    memcpy(device->name, name, strlen(name) + 1);
    device->partition = (unsigned)device_number(source, name, "partition");
    device->read_only = device_number(source, name, "ro") != 0;
    device->sector_bytes = (uint32_t)device_number(source, name, "queue/logical_block_size");
    device->discards = device_number(source, name, "queue/discard_max_bytes") != 0;
    device_transport(source, device);
    device_identity(source, device);
    if (device_attribute(source, name, "dm/name", device->dm_name, sizeof(device->dm_name))) {
        device_dm(source, facts, device);
    } else {
        device->kind = device->partition ? KMC_KIND_PARTITION : device_plain_kind(name);
    }
    return true;
}

// Links between devices ---------------------------------------------------------------------------------------------------------------------

static bool device_links(const struct kmc_source *source, const struct kmc_devices *devices, size_t index,
                         const char *folder, size_t **ret_links, size_t *ret_count)
{
    char path[256];
    char **names;

    snprintf(path, sizeof(path), "/sys/class/block/%.63s/%s", devices->list[index].name, folder);
    size_t count = kmc_list(source, path, &names);
    size_t *links = count ? calloc(count, sizeof(*links)) : NULL;
    for (size_t i = 0; i < count && links; i++) {
        size_t other = kmc_device_by_name(devices, names[i]);
        if (other != KMC_NO_DEVICE) {
            links[(*ret_count)++] = other;
        }
    }
    kmc_list_free(names, count);
    *ret_links = links;
    return links || !count;
}

// A partition's disk is the folder that its own lies in: ".../block/vda/vda1". What only the disk's folder tells is taken from there.
static void device_partition(const struct kmc_source *source, struct kmc_devices *devices, struct kmc_device *device)
{
    char path[160];
    char link[KMC_PATH_BYTES];

    snprintf(path, sizeof(path), "/sys/class/block/%.63s", device->name);
    if (!kmc_link(source, path, link, sizeof(link))) {
        return;
    }
    char *last = strrchr(link, '/');
    if (!last) {
        return;
    }
    *last = 0;
    const char *parent = strrchr(link, '/');
    device->disk = kmc_device_by_name(devices, parent ? parent + 1 : link);
    if (device->disk == KMC_NO_DEVICE) {
        return;
    }
    const struct kmc_device *disk = &devices->list[device->disk];
    memcpy(device->model, disk->model, sizeof(device->model));
    memcpy(device->serial, disk->serial, sizeof(device->serial));
    memcpy(device->wwid, disk->wwid, sizeof(device->wwid));
    device->discards = disk->discards;
    device->sector_bytes = disk->sector_bytes;
}

// A thin LV lies on its pool, whose uuid says so; where the table could be asked it says it itself.
static void device_thin(struct kmc_devices *devices, struct kmc_device *device)
{
    bool thin = !strcmp(device->target, "thin");

    for (size_t i = 0; i < device->below_count && device->kind == KMC_KIND_LV; i++) {
        thin = thin || device_uuid_ends(&devices->list[device->below[i]], "-tpool");
    }
    if (thin && (device->kind == KMC_KIND_LV || device->kind == KMC_KIND_DM)) {
        device->kind = KMC_KIND_THIN_LV;
    }
}

static bool device_relations(const struct kmc_source *source, struct kmc_devices *devices)
{
    for (size_t i = 0; i < devices->count; i++) {
        struct kmc_device *device = &devices->list[i];
        if (!device_links(source, devices, i, "slaves", &device->below, &device->below_count) ||
            !device_links(source, devices, i, "holders", &device->above, &device->above_count)) {
            return false;
        }
        if (device->kind == KMC_KIND_PARTITION) {
            device_partition(source, devices, device);
        }
    }
    for (size_t i = 0; i < devices->count; i++) {
        device_thin(devices, &devices->list[i]);
    }
    return true;
}

bool kmc_devices_read(const struct kmc_source *source, const struct kmc_facts *facts, struct kmc_devices *ret_devices)
{
    char **names;
    size_t count = kmc_list(source, "/sys/class/block", &names);
    size_t take = count < KMC_DEVICES_MAX ? count : KMC_DEVICES_MAX;

    *ret_devices = (struct kmc_devices){.truncated = count > take};
    ret_devices->list = calloc(take ? take : 1, sizeof(*ret_devices->list));
    if (!ret_devices->list) {
        kmc_list_free(names, count);
        return false;
    }
    for (size_t i = 0; i < take; i++) {
        ret_devices->count += device_fill(source, facts, names[i], &ret_devices->list[ret_devices->count]);
    }
    kmc_list_free(names, count);
    if (!device_relations(source, ret_devices) || !kmc_device_use(source, ret_devices)) {
        kmc_devices_free(ret_devices);
        return false;
    }
    kmc_device_names(source, ret_devices);
    return true;
}

void kmc_devices_free(struct kmc_devices *devices)
{
    for (size_t i = 0; i < devices->count; i++) {
        free(devices->list[i].below);
        free(devices->list[i].above);
        free(devices->list[i].mounts);
    }
    free(devices->list);
    *devices = (struct kmc_devices){0};
}
