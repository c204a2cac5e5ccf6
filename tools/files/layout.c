// SPDX-License-Identifier: Apache-2.0
#include "tools/files/layout.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOOK_HEAD_BYTES  BR_MIB // tables, and superblocks: ZFS and btrfs have theirs within the first 256 KiB
#define LOOK_TAIL_BYTES  BR_MIB // the second table of a GPT, and superblocks of RAID
#define LOGICAL_MAX      LAYOUT_PARTS_MAX
#define EBR_BYTES        512u
#define EBR_SECOND_ENTRY 462u // https://en.wikipedia.org/wiki/Extended_boot_record: two entries of 16 bytes from 446 on
#define EBR_ENTRY_TYPE   4u
#define EBR_ENTRY_START  8u

struct look {
    struct br_access *access;
    uint64_t size_bytes;
    int fd;
};

static int show(struct look *look, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    uint8_t bytes[BR_BLOCK_BYTES];
    uint64_t end = BR_MIN(offset_bytes + len_bytes, look->size_bytes);

    while (offset_bytes < end) {
        size_t len = (size_t)BR_MIN(sizeof(bytes), end - offset_bytes);
        int rc = br_access_read(look->access, bytes, len, offset_bytes, reterr);

        if (rc < 0) {
            return rc;
        }
        if (pwrite(look->fd, bytes, len, (off_t)offset_bytes) != (ssize_t)len) {
            return br_err_os(reterr, errno ? errno : EIO, "a copy in memory of where tables are");
        }
        offset_bytes += len;
    }
    return 0;
}

static int show_ends(struct look *look, uint64_t offset_bytes, uint64_t size_bytes, struct br_err *reterr)
{
    uint64_t tail = BR_MIN(LOOK_TAIL_BYTES, size_bytes);
    int rc = show(look, offset_bytes, BR_MIN(LOOK_HEAD_BYTES, size_bytes), reterr);

    return rc ? rc : show(look, offset_bytes + size_bytes - tail, tail, reterr);
}

// Logical partitions of an MBR are a chain of sectors, each names the next.
static int show_chain(struct look *look, uint64_t start_bytes, struct br_err *reterr)
{
    uint64_t at = start_bytes;

    for (unsigned n = 0; n < LOGICAL_MAX && br_range_ok(at, EBR_BYTES, look->size_bytes); n++) {
        uint8_t ebr[EBR_BYTES];
        int rc = br_access_read(look->access, ebr, sizeof(ebr), at, reterr);

        rc = rc ? rc : show(look, at, sizeof(ebr), reterr);
        if (rc) {
            return rc;
        }
        const uint8_t *next = ebr + EBR_SECOND_ENTRY;
        if (!next[EBR_ENTRY_TYPE] || !br_get_u32(next + EBR_ENTRY_START)) {
            break;
        }
        at = start_bytes + (uint64_t)br_get_u32(next + EBR_ENTRY_START) * EBR_BYTES;
    }
    return 0;
}

static blkid_probe probe_new(const struct look *look, uint64_t offset_bytes, uint64_t size_bytes)
{
    blkid_probe probe = blkid_new_probe();

    if (probe && blkid_probe_set_device(probe, look->fd, (blkid_loff_t)offset_bytes, (blkid_loff_t)size_bytes)) {
        blkid_free_probe(probe);
        probe = NULL;
    }
    if (probe) {
        blkid_probe_set_sectorsize(probe, br_access_point(look->access)->sector_bytes);
    }
    return probe;
}

// The parts of the table, extended ones left out. Sets *ret_again when there is one whose chain was not shown before.
static int list_parts(struct look *look, struct layout *layout, bool *ret_again, struct br_err *reterr)
{
    blkid_probe probe = probe_new(look, 0, look->size_bytes);
    bool chains = *ret_again;
    int rc = 0;

    *ret_again = false;
    *layout = (struct layout){0};
    if (!probe) {
        return br_err_set(reterr, BR_E_IO, "libblkid does not look at a disk of %llu bytes",
                          (unsigned long long)look->size_bytes);
    }
    blkid_probe_enable_partitions(probe, 1);
    blkid_partlist list = blkid_probe_get_partitions(probe);
    int count = list ? blkid_partlist_numof_partitions(list) : 0;
    for (int i = 0; !rc && i < count && layout->count < LAYOUT_PARTS_MAX; i++) {
        blkid_partition found = blkid_partlist_get_partition(list, i);
        uint64_t at = (uint64_t)blkid_partition_get_start(found) * 512,
                 len = (uint64_t)blkid_partition_get_size(found) * 512;

        layout->table = true;
        if (blkid_partition_is_extended(found)) {
            rc = chains ? show_chain(look, at, reterr) : 0;
            *ret_again = chains;
        } else if (len && br_range_ok(at, len, look->size_bytes)) {
            layout->parts[layout->count++] = (struct layout_part){
                .number = blkid_partition_get_partno(found), .offset_bytes = at, .size_bytes = len};
        }
    }
    blkid_free_probe(probe);
    return rc;
}

static void take(blkid_probe probe, const char *name, char *to, size_t size)
{
    const char *value;

    if (!blkid_probe_lookup_value(probe, name, &value, NULL)) {
        snprintf(to, size, "%s", value);
    }
}

static int look_into(struct look *look, struct layout_part *part, struct br_err *reterr)
{
    int rc = show_ends(look, part->offset_bytes, part->size_bytes, reterr);

    if (rc) {
        return rc;
    }
    blkid_probe probe = probe_new(look, part->offset_bytes, part->size_bytes);
    if (!probe) {
        return br_err_set(reterr, BR_E_IO, "libblkid does not look at partition %d", part->number);
    }
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_USAGE);
    if (!blkid_do_safeprobe(probe)) {
        char usage[32] = "";

        take(probe, "TYPE", part->type, sizeof(part->type));
        take(probe, "LABEL", part->label, sizeof(part->label));
        take(probe, "USAGE", usage, sizeof(usage));
        part->filesystem = !strcmp(usage, "filesystem");
    }
    blkid_free_probe(probe);
    return 0;
}

static int look_at(struct look *look, struct layout *layout, struct br_err *reterr)
{
    bool again = true; // chains of logical partitions are shown once
    int rc = show_ends(look, 0, look->size_bytes, reterr);

    rc = rc ? rc : list_parts(look, layout, &again, reterr);
    if (!rc && again) {
        again = false;
        rc = list_parts(look, layout, &again, reterr);
    }
    if (!rc && !layout->table && look->size_bytes) {
        layout->parts[layout->count++] = (struct layout_part){.size_bytes = look->size_bytes};
    }
    for (size_t i = 0; !rc && i < layout->count; i++) {
        rc = look_into(look, &layout->parts[i], reterr);
    }
    return rc;
}

int layout_of(struct br_access *access, struct layout *ret_layout, struct br_err *reterr)
{
    struct look look = {.access = access, .size_bytes = br_access_point(access)->size_bytes};

    look.fd = memfd_create("blkrep-layout", MFD_CLOEXEC);
    if (look.fd < 0 || ftruncate(look.fd, (off_t)look.size_bytes)) {
        int error = br_err_os(reterr, errno, "a copy in memory of where tables are");
        if (look.fd >= 0) {
            close(look.fd);
        }
        return error;
    }
    int rc = look_at(&look, ret_layout, reterr);
    close(look.fd);
    return rc;
}

bool layout_is_ext(const struct layout_part *part)
{
    return !strncmp(part->type, "ext", 3) && part->type[3] >= '2' && part->type[3] <= '4';
}

int layout_pick(const struct layout *layout, int number, const struct layout_part **ret_part, struct br_err *reterr)
{
    const struct layout_part *found = NULL;
    char names[160] = "";
    size_t several = 0;

    for (size_t i = 0; i < layout->count; i++) {
        const struct layout_part *part = &layout->parts[i];

        if (number >= 0 ? part->number == number : part->filesystem) {
            size_t used = strlen(names);

            found = found ? found : part;
            several++;
            snprintf(names + used, sizeof(names) - used, "%s%d (%s)", used ? ", " : "", part->number, part->type);
        }
    }
    if (!found) {
        return number >= 0
                   ? br_err_set(reterr, BR_E_NOT_FOUND, "the disk has no partition %d", number)
                   : br_err_set(reterr, BR_E_NOT_FOUND, "there is no file system on the disk that libblkid knows");
    }
    if (number < 0 && several > 1) {
        return br_err_set(reterr, BR_E_USAGE, "several partitions have a file system, choose one by --partition: %s",
                          names);
    }
    *ret_part = found;
    return 0;
}
