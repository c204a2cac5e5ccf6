// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_machine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/t_env.h"

static struct t_machine *machine_of(const struct kmc_source *source)
{
    return source->context;
}

static void machine_dm(const struct kmc_source *source, struct kmc_dm_answer *ret_answer)
{
    machine_of(source)->dm_asked++;
    *ret_answer = machine_of(source)->dm;
}

static void machine_dm_table(const struct kmc_source *source, const char *dm_name, struct kmc_table_answer *ret_answer)
{
    const struct t_machine *machine = machine_of(source);

    *ret_answer = (struct kmc_table_answer){.os_errno = ENXIO};
    for (size_t i = 0; i < machine->table_count; i++) {
        if (!strcmp(machine->tables[i].dm_name, dm_name)) {
            ret_answer->os_errno = 0;
            ret_answer->segment_count = 1;
            memcpy(ret_answer->target, machine->tables[i].target, sizeof(ret_answer->target));
        }
    }
}

static void machine_uring(const struct kmc_source *source, struct kmc_uring_answer *ret_answer)
{
    *ret_answer = machine_of(source)->uring;
}

static void machine_ublk(const struct kmc_source *source, struct kmc_ublk_answer *ret_answer)
{
    machine_of(source)->ublk_asked++;
    *ret_answer = machine_of(source)->ublk;
}

static int machine_aio(const struct kmc_source *source)
{
    return machine_of(source)->aio_errno;
}

struct t_machine *t_machine_new(void)
{
    struct t_machine *machine = calloc(1, sizeof(*machine));

    assert_non_null(machine);
    snprintf(machine->root, sizeof(machine->root), "%s/machine.XXXXXX", t_folder());
    assert_non_null(mkdtemp(machine->root));
    machine->source = (struct kmc_source){.root = machine->root,
                                          .context = machine,
                                          .dm = machine_dm,
                                          .dm_table = machine_dm_table,
                                          .uring = machine_uring,
                                          .ublk = machine_ublk,
                                          .aio = machine_aio};
    machine->dm.os_errno = ENODEV;
    machine->ublk.os_errno = ENODEV;
    machine->uring.features = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    memset(machine->uring.ops, 1, sizeof(machine->uring.ops));
    return machine;
}

void t_machine_free(struct t_machine *machine)
{
    char command[512];

    snprintf(command, sizeof(command), "rm -rf '%s'", machine->root);
    assert_int_equal(system(command), 0);
    free(machine);
}

// The path within the machine's folder, with the folders above it made.
static void machine_path(const struct t_machine *machine, const char *path, char full[1024])
{
    snprintf(full, 1024, "%s%s", machine->root, path);
    for (char *at = full + strlen(machine->root) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        assert_true(!mkdir(full, 0700) || errno == EEXIST);
        *at = '/';
    }
}

void t_machine_file(struct t_machine *machine, const char *path, const char *fmt, ...)
{
    char full[1024];
    va_list args;

    machine_path(machine, path, full);
    FILE *file = fopen(full, "we");
    assert_non_null(file);
    va_start(args, fmt);
    vfprintf(file, fmt, args);
    va_end(args);
    assert_int_equal(fclose(file), 0);
}

void t_machine_link(struct t_machine *machine, const char *path, const char *target)
{
    char full[1024];

    machine_path(machine, path, full);
    assert_int_equal(symlink(target, full), 0);
}

void t_machine_target(struct t_machine *machine, const char *name, uint32_t major, uint32_t minor, uint32_t patch)
{
    struct kmc_target *target = &machine->dm.targets[machine->dm.target_count++];

    snprintf(target->name, sizeof(target->name), "%s", name);
    target->version[0] = major;
    target->version[1] = minor;
    target->version[2] = patch;
}

void t_machine_debian(struct t_machine *machine, const char *release)
{
    char path[256];

    t_machine_file(machine, "/proc/sys/kernel/osrelease", "%s\n", release);
    t_machine_file(machine, "/proc/sys/kernel/modprobe", "/sbin/modprobe\n");
    t_machine_file(machine, "/sbin/modprobe", "x");
    t_machine_file(machine, "/proc/modules", "dm_mod 184320 9 - Live 0x0\n");
    t_machine_file(machine, "/proc/misc", " 236 device-mapper\n 237 loop-control\n");
    t_machine_file(machine, "/proc/devices", "Block devices:\n  7 loop\n254 virtblk\n");
    t_machine_file(machine, "/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=UUID=x ro quiet\n");
    t_machine_file(machine, "/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n");
    t_machine_file(machine, "/etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux\"\nID=debian\n");
    t_machine_file(machine, "/dev/mapper/control", "%s", "");
    t_machine_file(machine, "/sys/module/dm_mod/refcnt", "9\n");
    snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", release);
    t_machine_file(machine, path, "%s",
                   "kernel/drivers/md/dm-mod.ko:\n"
                   "kernel/drivers/md/dm-snapshot.ko: kernel/drivers/md/dm-bufio.ko kernel/drivers/md/dm-mod.ko\n"
                   "kernel/drivers/md/dm-era.ko: kernel/drivers/md/dm-mod.ko\n"
                   "kernel/drivers/md/dm-thin-pool.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n"
                   "kernel/drivers/md/dm-raid.ko: kernel/drivers/md/dm-mod.ko\n"
                   "kernel/drivers/md/dm-delay.ko: kernel/drivers/md/dm-mod.ko\n"
                   "kernel/drivers/md/dm-flakey.ko: kernel/drivers/md/dm-mod.ko\n"
                   "kernel/drivers/md/dm-zero.ko: kernel/drivers/md/dm-mod.ko\n"
                   "kernel/drivers/md/dm-log-writes.ko: kernel/drivers/md/dm-mod.ko\n"
                   "kernel/drivers/block/nbd.ko:\n");
    snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", release);
    t_machine_file(machine, path, "kernel/drivers/block/loop.ko\n");
    machine->dm = (struct kmc_dm_answer){.version = {4, 47, 0}};
    t_machine_target(machine, "linear", 1, 4, 0);
    t_machine_target(machine, "error", 1, 5, 0);
}

// A folder of /sys/devices and the link to it in /sys/class/block.
static void machine_block(struct t_machine *machine, const char *name, const char *below, const char *number,
                          uint64_t size_bytes)
{
    char path[512];
    char target[512];

    snprintf(path, sizeof(path), "/sys/class/block/%s", name);
    snprintf(target, sizeof(target), "../../devices/pci0000:00/block/%s%s", below, name);
    t_machine_link(machine, path, target);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s%s/size", below, name);
    t_machine_file(machine, path, "%llu\n", (unsigned long long)size_bytes / 512);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s%s/dev", below, name);
    t_machine_file(machine, path, "%s\n", number);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s%s/ro", below, name);
    t_machine_file(machine, path, "0\n");
}

void t_machine_disk(struct t_machine *machine, const char *name, const char *number, uint64_t size_bytes)
{
    char path[512];

    machine_block(machine, name, "", number, size_bytes);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s/queue/logical_block_size", name);
    t_machine_file(machine, path, "512\n");
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s/queue/discard_max_bytes", name);
    t_machine_file(machine, path, "2147450880\n");
}

void t_machine_partition(struct t_machine *machine, const char *disk, const char *name, const char *number,
                         unsigned index, uint64_t size_bytes)
{
    char below[128];
    char path[512];

    snprintf(below, sizeof(below), "%s/", disk);
    machine_block(machine, name, below, number, size_bytes);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s/%s/partition", disk, name);
    t_machine_file(machine, path, "%u\n", index);
}

void t_machine_dm(struct t_machine *machine, const char *name, const char *number, uint64_t size_bytes,
                  const char *dm_name, const char *uuid, const char *target)
{
    char path[512];

    t_machine_disk(machine, name, number, size_bytes);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s/dm/name", name);
    t_machine_file(machine, path, "%s\n", dm_name);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s/dm/uuid", name);
    t_machine_file(machine, path, "%s\n", uuid);
    snprintf(path, sizeof(path), "/sys/devices/pci0000:00/block/%s/dm/suspended", name);
    t_machine_file(machine, path, "0\n");
    assert_true(machine->table_count < T_MACHINE_TABLES);
    snprintf(machine->tables[machine->table_count].dm_name, sizeof(machine->tables[0].dm_name), "%s", dm_name);
    snprintf(machine->tables[machine->table_count].target, sizeof(machine->tables[0].target), "%s", target);
    machine->table_count++;
}

void t_machine_on(struct t_machine *machine, const char *upper, const char *lower)
{
    char path[512];

    snprintf(path, sizeof(path), "/sys/class/block/%s/slaves/%s/x", upper, lower);
    t_machine_file(machine, path, "%s", "");
    snprintf(path, sizeof(path), "/sys/class/block/%s/holders/%s/x", lower, upper);
    t_machine_file(machine, path, "%s", "");
}

void t_machine_mount(struct t_machine *machine, const char *number, const char *source, const char *where,
                     const char *fs, const char *options)
{
    size_t used = strlen(machine->mountinfo);

    snprintf(machine->mountinfo + used, sizeof(machine->mountinfo) - used,
             "30 1 %s / %s rw,relatime shared:1 - %s %s %s\n", number, where, fs, source, options);
    t_machine_file(machine, "/proc/self/mountinfo", "%s", machine->mountinfo);
}
