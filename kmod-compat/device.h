// SPDX-License-Identifier: Apache-2.0
//
// The block devices of a machine, as the kernel and udev describe them: what each is, what lies below and on it, where it is mounted,
// what it is called in a way that survives a reboot. Read from /sys, /proc and udev's files; no device is opened. What is on a device is
// what udev saw on it last, which is right for all but a device that was written by a program that never closed it.
#ifndef KMC_DEVICE_H
#define KMC_DEVICE_H

#include "kmod-compat/facts.h"

#define KMC_DEVICES_MAX 4096
#define KMC_NO_DEVICE   SIZE_MAX

// Each DM device that blkrep makes has a uuid that begins with this.
#define KMC_BLKREP_UUID "BLKREP-"

// X(name, the word that users see)
#define KMC_KIND_TABLE(X)                     \
    X(DISK, "disk")                           \
    X(PARTITION, "partition")                 \
    X(LV, "logical volume")                   \
    X(THIN_LV, "thin logical volume")         \
    X(MULTIPATH, "multipath device")          \
    X(CRYPT, "encrypted volume")              \
    X(DM, "device-mapper device")             \
    X(BLKREP, "part of a blkrep volume")      \
    X(INTERNAL, "LVM's own part of a volume") \
    X(MD, "software RAID")                    \
    X(LOOP, "loop device")                    \
    X(NBD, "network block device")            \
    X(UBLK, "user space block device")        \
    X(ZRAM, "compressed memory")              \
    X(RAM, "memory disk")                     \
    X(ROM, "optical drive")                   \
    X(FLOPPY, "floppy drive")

enum kmc_kind {
#define X(name, word) KMC_KIND_##name,
    KMC_KIND_TABLE(X)
#undef X
        KMC_KIND_MAX
};

struct kmc_mount {
    char where[256];
    char fs[32];
    bool writable;
    bool discard; // mounted with the option discard
    bool part;    // a bind mount of a folder in it: it holds the file system, and shows a part only
};

struct kmc_device {
    char name[64]; // the kernel's: "vda1", "dm-0"
    uint32_t major_number;
    uint32_t minor_number;
    enum kmc_kind kind;
    uint64_t size_bytes;
    uint32_t sector_bytes; // logical; 0 when /sys does not tell
    bool read_only;
    bool discards;  // takes discards now
    bool suspended; // a DM device in the middle of something: reading it would wait
    bool swap;
    char transport[16]; // "iscsi", "fc", "usb", "nvme", "sata", "virtio", "scsi", "mmc", "xen"; "" unknown
    char model[64];     // a partition has its disk's
    char serial[128];
    char wwid[192];
    unsigned partition; // its number; 0 for what is no partition
    size_t disk;        // of a partition: its disk in the list, else KMC_NO_DEVICE
    char dm_name[128];
    char dm_uuid[136];
    char vg[128]; // of an LV
    char lv[128];
    char target[KMC_DM_NAME_BYTES]; // a DM device's first target; "" for others, and where only root can ask
    char stable[300];               // the path to use in commands
    bool stable_known;              // false: it is /dev/NAME and may be another device's after a reboot
    char holds[32];                 // "ext4", "LVM2_member", "gpt"; "" nothing, or not known
    char label[64];                 // of the file system
    size_t *below;                  // what it lies on: slaves
    size_t below_count;
    size_t *above; // what lies on it: holders, not partitions
    size_t above_count;
    struct kmc_mount *mounts;
    size_t mount_count;
};

struct kmc_devices {
    struct kmc_device *list; // in the order of names
    size_t count;
    bool truncated; // there are more than KMC_DEVICES_MAX
};

/**
 * kmc_devices_read - all block devices that hold anything (a size of 0 is a slot without a device and left out)
 * @facts    of the same source: tells whether device-mapper can be asked for tables
 * Owner: kmc_devices_free()    Blocks: as /proc and /sys do    Allocates: yes
 * Returns false when memory is short; what can't be read is left empty.
 */
KMC_MUST_CHECK bool kmc_devices_read(const struct kmc_source *source, const struct kmc_facts *facts,
                                     struct kmc_devices *ret_devices);
/** kmc_devices_free - release the list */
void kmc_devices_free(struct kmc_devices *devices);

/** kmc_device_by_name, kmc_device_by_number - the index, or KMC_NO_DEVICE */
size_t kmc_device_by_name(const struct kmc_devices *devices, const char *kernel_name);
size_t kmc_device_by_number(const struct kmc_devices *devices, uint32_t major_number, uint32_t minor_number);

/** kmc_kind_name - "partition" */
const char *kmc_kind_name(enum kmc_kind kind);
/** kmc_is_dm - can its table be changed while it is in use? true for each kind of DM device, LVM's internal ones too */
bool kmc_is_dm(const struct kmc_device *device);

/** kmc_lies_on - does @index lie on @below, through whatever is between, or is it that? A partition lies on its disk. */
bool kmc_lies_on(const struct kmc_devices *devices, size_t index, size_t below);
/** kmc_share_disk - do both lie, in part at least, on the same disk? */
bool kmc_share_disk(const struct kmc_devices *devices, size_t a, size_t b);
/** kmc_is_mounted - is it mounted itself; with @writable only, so that it can be written? */
bool kmc_is_mounted(const struct kmc_device *device, bool writable);

#endif
