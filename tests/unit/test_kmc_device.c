// SPDX-License-Identifier: Apache-2.0
//
// Are the block devices of made-up machines seen as what they are, and is what can be done with each decided rightly?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmod-compat/advice.h"
#include "tests/lib/t_machine.h"

#define GIB       (UINT64_C(1) << 30)
#define VG_UUID   "LVM-abcdefghijklmnopqrstuvwxyz012345"
#define LV_UUID_1 VG_UUID "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
#define LV_UUID_2 VG_UUID "BBCDEFGHIJKLMNOPQRSTUVWXYZ012345"
#define LV_UUID_3 VG_UUID "CBCDEFGHIJKLMNOPQRSTUVWXYZ012345"

struct bed {
    struct t_machine *machine;
    struct kmc_facts facts;
    struct kmc_devices devices;
};

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));

    bed->machine = t_machine_new();
    t_machine_debian(bed->machine, "6.1.0-28-amd64");
    *state = bed;
    return 0;
}

static int teardown(void **state)
{
    struct bed *bed = *state;

    kmc_devices_free(&bed->devices);
    t_machine_free(bed->machine);
    free(bed);
    return 0;
}

static void look(struct bed *bed)
{
    kmc_devices_free(&bed->devices);
    kmc_facts_read(&bed->machine->source, &bed->facts);
    assert_true(kmc_devices_read(&bed->machine->source, &bed->facts, &bed->devices));
}

static struct kmc_device *device(struct bed *bed, const char *name)
{
    size_t index = kmc_device_by_name(&bed->devices, name);

    assert_true(index != KMC_NO_DEVICE);
    return &bed->devices.list[index];
}

static struct kmc_way_answer way(struct bed *bed, const char *name)
{
    struct kmc_way_answer answer;

    kmc_way_of(&bed->devices, kmc_device_by_name(&bed->devices, name), &answer);
    assert_true(answer.reason[0]);
    return answer;
}

// A server: a disk with root and data partitions, a second disk that is a PV with a linear LV and a thin one.
static void server(struct bed *bed)
{
    struct t_machine *machine = bed->machine;

    t_machine_disk(machine, "vda", "254:0", 20 * GIB);
    t_machine_partition(machine, "vda", "vda1", "254:1", 1, 10 * GIB);
    t_machine_partition(machine, "vda", "vda2", "254:2", 2, 8 * GIB);
    t_machine_partition(machine, "vda", "vda3", "254:3", 3, GIB);
    t_machine_disk(machine, "sdb", "8:16", 100 * GIB);
    t_machine_dm(machine, "dm-0", "253:0", 10 * GIB, "vg0-my--data", LV_UUID_1, "linear");
    t_machine_on(machine, "dm-0", "sdb");
    t_machine_dm(machine, "dm-1", "253:1", GIB, "vg0-pool_tmeta", LV_UUID_2 "-tmeta", "linear");
    t_machine_dm(machine, "dm-2", "253:2", 20 * GIB, "vg0-pool-tpool", LV_UUID_2 "-tpool", "thin-pool");
    t_machine_dm(machine, "dm-3", "253:3", 5 * GIB, "vg0-thin", LV_UUID_3, "thin");
    t_machine_on(machine, "dm-1", "sdb");
    t_machine_on(machine, "dm-2", "dm-1");
    t_machine_on(machine, "dm-3", "dm-2");
    t_machine_file(machine, "/run/udev/data/b8:16",
                   "S:disk/by-id/x\nE:ID_FS_TYPE=LVM2_member\nE:ID_SERIAL_SHORT=S5Y\n");
    t_machine_file(machine, "/run/udev/data/b254:2", "E:ID_FS_TYPE=xfs\nE:ID_FS_LABEL=srv\n");
    t_machine_file(machine, "/sys/class/block/sdb/device/model", "Samsung SSD 870 \n");
    t_machine_file(machine, "/sys/class/block/sdb/device/wwid", "naa.5002538f\n");
    t_machine_file(machine, "/sys/class/block/vda/serial", "V-1\n");
    t_machine_mount(machine, "254:1", "/dev/vda1", "/", "ext4", "rw,discard");
    t_machine_mount(machine, "254:2", "/dev/vda2", "/srv/with\\040blank", "xfs", "rw");
    t_machine_mount(machine, "253:0", "/dev/mapper/vg0-my--data", "/data", "ext4", "ro");
    t_machine_file(machine, "/proc/swaps", "Filename\tType\n/dev/vda3   partition 1 0 -2\n");
    look(bed);
}

static void devices_are_what_they_are(void **state)
{
    struct bed *bed = *state;

    server(bed);
    assert_int_equal(bed->devices.count, 9);
    assert_int_equal(device(bed, "vda")->kind, KMC_KIND_DISK);
    assert_int_equal(device(bed, "vda1")->kind, KMC_KIND_PARTITION);
    assert_int_equal(device(bed, "dm-0")->kind, KMC_KIND_LV);
    assert_int_equal(device(bed, "dm-1")->kind, KMC_KIND_INTERNAL);
    assert_int_equal(device(bed, "dm-2")->kind, KMC_KIND_INTERNAL);
    assert_int_equal(device(bed, "dm-3")->kind, KMC_KIND_THIN_LV);
    assert_int_equal(device(bed, "vda1")->size_bytes, 10 * GIB);
    assert_int_equal(device(bed, "vda1")->partition, 1);
    assert_int_equal(device(bed, "vda1")->disk, kmc_device_by_name(&bed->devices, "vda"));
    assert_int_equal(device(bed, "vda1")->sector_bytes, 512);
    assert_true(device(bed, "vda1")->discards);
    assert_string_equal(device(bed, "vda1")->serial, "V-1");
    assert_string_equal(device(bed, "sdb")->model, "Samsung SSD 870");
    assert_string_equal(device(bed, "sdb")->serial, "S5Y");
    assert_string_equal(device(bed, "sdb")->wwid, "naa.5002538f");
    assert_string_equal(device(bed, "dm-0")->vg, "vg0");
    assert_string_equal(device(bed, "dm-0")->lv, "my-data");
    assert_string_equal(device(bed, "dm-0")->stable, "/dev/mapper/vg0-my--data");
    assert_string_equal(device(bed, "vda2")->holds, "xfs");
    assert_string_equal(device(bed, "vda2")->label, "srv");
}

static void mounts_and_swap_are_seen(void **state)
{
    struct bed *bed = *state;

    server(bed);
    assert_int_equal(device(bed, "vda2")->mount_count, 1);
    assert_string_equal(device(bed, "vda2")->mounts[0].where, "/srv/with blank");
    assert_string_equal(device(bed, "vda2")->mounts[0].fs, "xfs");
    assert_true(device(bed, "vda2")->mounts[0].writable);
    assert_false(device(bed, "vda2")->mounts[0].discard);
    assert_true(device(bed, "vda1")->mounts[0].discard);
    assert_true(kmc_is_mounted(device(bed, "dm-0"), false));
    assert_false(kmc_is_mounted(device(bed, "dm-0"), true));
    assert_true(device(bed, "vda3")->swap);
    assert_false(device(bed, "vda2")->swap);
}

static void a_file_system_over_several_devices_is_found_by_its_source(void **state)
{
    struct bed *bed = *state;

    t_machine_disk(bed->machine, "vdb", "254:16", GIB);
    t_machine_mount(bed->machine, "0:45", "/dev/vdb", "/btr", "btrfs", "rw,ssd");
    t_machine_mount(bed->machine, "0:46", "host:/export", "/nfs", "nfs", "rw");
    look(bed);
    assert_int_equal(device(bed, "vdb")->mount_count, 1);
}

static void ways_of_a_server(void **state)
{
    struct bed *bed = *state;

    server(bed);
    assert_int_equal(way(bed, "vda1").way, KMC_WAY_BOOT);
    assert_int_equal(way(bed, "vda2").way, KMC_WAY_RELEASE);
    assert_int_equal(way(bed, "vda3").way, KMC_WAY_NONE); // swap
    assert_int_equal(way(bed, "dm-0").way, KMC_WAY_ONLINE);
    assert_int_equal(way(bed, "dm-3").way, KMC_WAY_ONLINE);
    struct kmc_way_answer disk = way(bed, "vda");
    assert_int_equal(disk.way, KMC_WAY_ELSEWHERE);
    assert_int_equal(disk.instead_count, 3);
    // from the physical volume to the logical ones, past the pool's layers
    struct kmc_way_answer pv = way(bed, "sdb");
    assert_int_equal(pv.way, KMC_WAY_ELSEWHERE);
    assert_non_null(strstr(pv.reason, "physical volume"));
    assert_int_equal(pv.instead_count, 2);
    assert_string_equal(bed->devices.list[pv.instead[0]].name, "dm-0");
    assert_string_equal(bed->devices.list[pv.instead[1]].name, "dm-3");
    struct kmc_way_answer pool = way(bed, "dm-2");
    assert_int_equal(pool.way, KMC_WAY_ELSEWHERE);
    assert_string_equal(bed->devices.list[pool.instead[0]].name, "dm-3");
}

static void ways_of_odd_devices(void **state)
{
    struct bed *bed = *state;
    struct t_machine *machine = bed->machine;

    t_machine_disk(machine, "zram0", "253:99", GIB);
    t_machine_disk(machine, "sr0", "11:0", GIB);
    t_machine_disk(machine, "md127", "9:127", GIB);
    t_machine_disk(machine, "nbd0", "43:0", GIB);
    t_machine_disk(machine, "sdc", "8:32", GIB);
    t_machine_disk(machine, "sdd", "8:48", GIB);
    t_machine_disk(machine, "sde", "8:64", GIB);
    t_machine_disk(machine, "sdf", "8:80", GIB);
    t_machine_disk(machine, "sdg", "8:96", 0);
    t_machine_dm(machine, "dm-0", "253:0", GIB, "mpatha", "mpath-3600", "multipath");
    t_machine_on(machine, "dm-0", "sdc");
    t_machine_on(machine, "dm-0", "sdd");
    t_machine_dm(machine, "dm-1", "253:1", GIB, "luks-1", "CRYPT-LUKS2-1", "crypt");
    t_machine_on(machine, "dm-1", "sde");
    t_machine_dm(machine, "dm-2", "253:2", GIB, "plain", "", "linear");
    t_machine_dm(machine, "dm-3", "253:3", GIB, "data", "BLKREP-data-top", "snapshot-origin");
    t_machine_file(machine, "/run/udev/data/b8:32", "E:ID_FS_TYPE=mpath_member\n");
    t_machine_file(machine, "/sys/class/block/sdf/ro", "1\n");
    look(bed);
    assert_int_equal(kmc_device_by_name(&bed->devices, "sdg"), KMC_NO_DEVICE);
    assert_int_equal(way(bed, "zram0").way, KMC_WAY_NONE);
    assert_int_equal(way(bed, "sr0").way, KMC_WAY_NONE);
    assert_int_equal(way(bed, "md127").way, KMC_WAY_IDLE);
    assert_int_equal(way(bed, "nbd0").way, KMC_WAY_IDLE);
    assert_int_equal(device(bed, "dm-0")->kind, KMC_KIND_MULTIPATH);
    assert_int_equal(way(bed, "dm-0").way, KMC_WAY_ONLINE);
    assert_int_equal(way(bed, "sdc").way, KMC_WAY_ELSEWHERE);
    assert_non_null(strstr(way(bed, "sdc").reason, "multipath"));
    assert_int_equal(way(bed, "sdd").way, KMC_WAY_ELSEWHERE);
    assert_int_equal(device(bed, "dm-1")->kind, KMC_KIND_CRYPT);
    assert_int_equal(way(bed, "dm-1").way, KMC_WAY_ONLINE);
    assert_int_equal(way(bed, "sde").way, KMC_WAY_ELSEWHERE);
    assert_int_equal(way(bed, "dm-2").way, KMC_WAY_ONLINE);
    assert_int_equal(way(bed, "dm-3").way, KMC_WAY_NONE);
    assert_non_null(strstr(way(bed, "dm-3").reason, "blkrep"));
    assert_int_equal(way(bed, "sdf").way, KMC_WAY_NONE);
    assert_non_null(strstr(way(bed, "sdf").reason, "read-only"));
}

static void a_device_below_a_blkrep_volume_is_attached_already(void **state)
{
    struct bed *bed = *state;

    t_machine_disk(bed->machine, "vdb", "254:16", GIB);
    t_machine_dm(bed->machine, "dm-0", "253:0", GIB, "data-real", "BLKREP-data-real", "linear");
    t_machine_on(bed->machine, "dm-0", "vdb");
    look(bed);
    assert_int_equal(way(bed, "vdb").way, KMC_WAY_NONE);
    assert_non_null(strstr(way(bed, "vdb").reason, "attached already"));
}

static void without_root_a_thin_volume_is_known_by_its_pool(void **state)
{
    struct bed *bed = *state;

    t_machine_file(bed->machine, "/proc/self/status", "CapEff:\t0\n");
    server(bed);
    assert_string_equal(device(bed, "dm-3")->target, "");
    assert_int_equal(device(bed, "dm-3")->kind, KMC_KIND_THIN_LV);
    assert_int_equal(device(bed, "dm-0")->kind, KMC_KIND_LV);
}

static void stable_names_name_the_unit_before_its_place(void **state)
{
    struct bed *bed = *state;
    struct t_machine *machine = bed->machine;

    t_machine_disk(machine, "sda", "8:0", GIB);
    t_machine_partition(machine, "sda", "sda1", "8:1", 1, GIB);
    t_machine_disk(machine, "sdb", "8:16", GIB);
    t_machine_disk(machine, "vda", "254:0", GIB);
    t_machine_disk(machine, "cciss!c0d0", "104:0", GIB);
    t_machine_link(machine, "/dev/disk/by-id/ata-Model_S1", "../../sda");
    t_machine_link(machine, "/dev/disk/by-id/wwn-0x5000", "../../sda");
    t_machine_link(machine, "/dev/disk/by-id/lvm-pv-uuid-abc", "../../sdb");
    t_machine_link(machine, "/dev/disk/by-path/pci-0000:00", "../../sdb");
    t_machine_link(machine, "/dev/disk/by-partuuid/1234", "../../sda1");
    t_machine_link(machine, "/dev/disk/by-uuid/5678", "../../vda");
    t_machine_link(machine, "/dev/disk/by-id/wwn-0x6000", "../../gone");
    look(bed);
    assert_string_equal(device(bed, "sda")->stable, "/dev/disk/by-id/wwn-0x5000");
    assert_string_equal(device(bed, "sda1")->stable, "/dev/disk/by-partuuid/1234");
    assert_string_equal(device(bed, "sdb")->stable, "/dev/disk/by-path/pci-0000:00");
    assert_false(device(bed, "vda")->stable_known); // a clone has that uuid too
    assert_string_equal(device(bed, "vda")->stable, "/dev/vda");
    assert_string_equal(device(bed, "cciss!c0d0")->stable, "/dev/cciss/c0d0");
}

static void disks_in_common_are_found_through_layers(void **state)
{
    struct bed *bed = *state;

    server(bed);
    size_t vda1 = kmc_device_by_name(&bed->devices, "vda1");
    size_t vda2 = kmc_device_by_name(&bed->devices, "vda2");
    size_t sdb = kmc_device_by_name(&bed->devices, "sdb");
    size_t thin = kmc_device_by_name(&bed->devices, "dm-3");
    assert_true(kmc_share_disk(&bed->devices, vda1, vda2));
    assert_false(kmc_share_disk(&bed->devices, vda1, thin));
    assert_true(kmc_share_disk(&bed->devices, sdb, thin));
    assert_true(kmc_lies_on(&bed->devices, thin, sdb));
    assert_false(kmc_lies_on(&bed->devices, sdb, thin));
    assert_false(kmc_lies_on(&bed->devices, vda1, vda2));
}

// Links of /sys that lead in a circle (a damaged or hostile tree) end.
static void a_circle_of_devices_ends(void **state)
{
    struct bed *bed = *state;

    t_machine_disk(bed->machine, "sda", "8:0", GIB);
    t_machine_disk(bed->machine, "sdb", "8:16", GIB);
    t_machine_disk(bed->machine, "sdc", "8:32", GIB);
    t_machine_on(bed->machine, "sda", "sdb");
    t_machine_on(bed->machine, "sdb", "sda");
    look(bed);
    assert_false(
        kmc_lies_on(&bed->devices, kmc_device_by_name(&bed->devices, "sda"), kmc_device_by_name(&bed->devices, "sdc")));
    assert_int_equal(way(bed, "sda").way, KMC_WAY_ELSEWHERE);
}

static enum kmc_tracker choose(struct bed *bed, const char *name, bool own_disk, bool anywhere,
                               struct kmc_tracker_answer answers[KMC_TRACKER_MAX])
{
    struct kmc_room room = {.own_disk = own_disk, .anywhere = anywhere};
    enum kmc_tracker chosen = kmc_trackers(&bed->facts, device(bed, name), way(bed, name).way, &room, answers);

    assert_true(answers[chosen].fits);
    for (int i = 0; i < KMC_TRACKER_MAX; i++) {
        assert_true(answers[i].reason[0]);
        assert_true(i >= (int)chosen || !answers[i].fits);
    }
    return chosen;
}

static void auto_takes_the_cheapest_tracker_that_fits(void **state)
{
    struct bed *bed = *state;
    struct kmc_tracker_answer answers[KMC_TRACKER_MAX];

    server(bed);
    assert_int_equal(choose(bed, "dm-0", true, true, answers), KMC_TRACKER_ERA);
    assert_int_equal(choose(bed, "dm-0", false, true, answers), KMC_TRACKER_COW);
    assert_non_null(strstr(answers[KMC_TRACKER_ERA].reason, "own disk"));
    assert_int_equal(choose(bed, "dm-0", false, false, answers), KMC_TRACKER_SCAN);
    assert_int_equal(choose(bed, "vda3", true, true, answers), KMC_TRACKER_SCAN); // swap
    assert_int_equal(choose(bed, "vda1", true, true, answers), KMC_TRACKER_ERA);  // at boot
    // a thin volume, with and without the tools that read the pool
    assert_int_equal(choose(bed, "dm-3", true, true, answers), KMC_TRACKER_ERA);
    assert_non_null(strstr(answers[KMC_TRACKER_THIN].reason, "thin-provisioning-tools"));
    t_machine_file(bed->machine, "/usr/sbin/thin_dump", "%s", "");
    t_machine_file(bed->machine, "/usr/sbin/thin_delta", "%s", "");
    t_machine_file(bed->machine, "/usr/sbin/thin_check", "%s", "");
    look(bed);
    assert_int_equal(choose(bed, "dm-3", true, true, answers), KMC_TRACKER_THIN);
}

static void auto_falls_back_where_the_kernel_lacks_something(void **state)
{
    struct bed *bed = *state;
    struct kmc_tracker_answer answers[KMC_TRACKER_MAX];

    t_machine_file(bed->machine, "/etc/modprobe.d/x.conf", "install dm_era /bin/false\n");
    server(bed);
    assert_int_equal(choose(bed, "dm-0", true, true, answers), KMC_TRACKER_COW);
    assert_non_null(strstr(answers[KMC_TRACKER_ERA].reason, "can't be loaded"));
    t_machine_file(bed->machine, "/proc/sys/kernel/osrelease", "5.10.0-21-amd64\n");
    look(bed);
    assert_int_equal(choose(bed, "dm-0", true, true, answers), KMC_TRACKER_SCAN);
    assert_non_null(strstr(answers[KMC_TRACKER_COW].reason, "5.13"));
}

static void a_suspended_device_is_marked(void **state)
{
    struct bed *bed = *state;

    t_machine_dm(bed->machine, "dm-0", "253:0", GIB, "plain", "", "linear");
    t_machine_file(bed->machine, "/sys/class/block/dm-0/dm/suspended", "1\n");
    look(bed);
    assert_true(device(bed, "dm-0")->suspended);
}

static void the_running_machine_is_read(void **state)
{
    struct bed *bed = *state;

    kmc_facts_read(&kmc_running, &bed->facts);
    assert_true(kmc_devices_read(&kmc_running, &bed->facts, &bed->devices));
    for (size_t i = 0; i < bed->devices.count; i++) {
        struct kmc_way_answer answer;
        kmc_way_of(&bed->devices, i, &answer);
        assert_true(answer.reason[0]);
        assert_true(bed->devices.list[i].size_bytes > 0);
        assert_int_equal(bed->devices.list[i].stable[0], '/');
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(devices_are_what_they_are),
        T(mounts_and_swap_are_seen),
        T(a_file_system_over_several_devices_is_found_by_its_source),
        T(ways_of_a_server),
        T(ways_of_odd_devices),
        T(a_device_below_a_blkrep_volume_is_attached_already),
        T(without_root_a_thin_volume_is_known_by_its_pool),
        T(stable_names_name_the_unit_before_its_place),
        T(disks_in_common_are_found_through_layers),
        T(a_circle_of_devices_ends),
        T(auto_takes_the_cheapest_tracker_that_fits),
        T(auto_falls_back_where_the_kernel_lacks_something),
        T(a_suspended_device_is_marked),
        T(the_running_machine_is_read),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
