// SPDX-License-Identifier: Apache-2.0
//
// Does doctor propose the right commands for made-up machines: the right way, the right tracker, a store where it may be, names that hold?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/t_machine.h"
#include "tools/doctor.h"

#define GIB (UINT64_C(1) << 30)

struct bed {
    struct t_machine *machine;
    struct doctor doctor;
    struct doctor_advice advice;
};

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));

    bed->machine = t_machine_new();
    t_machine_debian(bed->machine, "6.1.0-28-amd64");
    t_machine_file(bed->machine, "/run/systemd/system/x", "%s", "");
    t_machine_file(bed->machine, "/usr/sbin/update-initramfs", "%s", "");
    *state = bed;
    return 0;
}

static int teardown(void **state)
{
    struct bed *bed = *state;

    doctor_free(&bed->doctor);
    t_machine_free(bed->machine);
    free(bed);
    return 0;
}

static void read_machine(struct bed *bed)
{
    struct br_err err = {0};

    doctor_free(&bed->doctor);
    assert_int_equal(doctor_read(&bed->machine->source, &bed->doctor, &err), 0);
    bed->doctor.spaces = calloc(8, sizeof(*bed->doctor.spaces));
    bed->doctor.pvs = calloc(8, sizeof(*bed->doctor.pvs));
}

static size_t index_of(struct bed *bed, const char *name)
{
    size_t index = kmc_device_by_name(&bed->doctor.devices, name);

    assert_true(index != KMC_NO_DEVICE);
    return index;
}

static void has_space(struct bed *bed, const char *device, uint64_t free_bytes)
{
    struct doctor_space *space = &bed->doctor.spaces[bed->doctor.space_count++];

    space->device = index_of(bed, device);
    snprintf(space->where, sizeof(space->where), "%s", bed->doctor.devices.list[space->device].mounts[0].where);
    space->free_bytes = free_bytes;
}

static void has_pv(struct bed *bed, const char *device, const char *vg, uint64_t free_bytes)
{
    struct doctor_pv *pv = &bed->doctor.pvs[bed->doctor.pv_count++];

    pv->device = index_of(bed, device);
    snprintf(pv->vg, sizeof(pv->vg), "%s", vg);
    pv->free_bytes = free_bytes;
}

static void is_blank(struct bed *bed, const char *device)
{
    bed->doctor.looks[index_of(bed, device)].seen = DOCTOR_SEEN;
    bed->doctor.looks[index_of(bed, device)].blank = true;
}

// The plan of that name is these commands, each ended by a line end.
static void plan_is(struct bed *bed, const char *device, const char *when, const char *commands)
{
    char text[8192] = "";
    size_t used = 0;

    doctor_advise(&bed->doctor, index_of(bed, device), &bed->advice);
    for (size_t i = 0; i < bed->advice.plan_count; i++) {
        const struct doctor_plan *plan = &bed->advice.plans[i];
        for (size_t j = 0; j < plan->count && !strcmp(plan->when, when); j++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\n", plan->commands[j]);
            assert_true(used < sizeof(text));
        }
    }
    assert_string_equal(text, commands);
}

// vda: root and /srv; vdb: PV of vg0 with an LV on /data.
static void server(struct bed *bed)
{
    struct t_machine *machine = bed->machine;

    t_machine_disk(machine, "vda", "254:0", 20 * GIB);
    t_machine_partition(machine, "vda", "vda1", "254:1", 1, 10 * GIB);
    t_machine_partition(machine, "vda", "vda2", "254:2", 2, 8 * GIB);
    t_machine_partition(machine, "vda", "vda3", "254:3", 3, GIB);
    t_machine_disk(machine, "vdb", "254:16", 20 * GIB);
    t_machine_dm(machine, "dm-0", "253:0", 10 * GIB, "vg0-data",
                 "LVM-abcdefghijklmnopqrstuvwxyz012345ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "linear");
    t_machine_on(machine, "dm-0", "vdb");
    t_machine_file(machine, "/run/udev/data/b254:16", "E:ID_FS_TYPE=LVM2_member\n");
    t_machine_link(machine, "/dev/disk/by-id/virtio-A-part1", "../../vda1");
    t_machine_link(machine, "/dev/disk/by-id/virtio-A-part2", "../../vda2");
    t_machine_link(machine, "/dev/disk/by-id/virtio-A-part3", "../../vda3");
    t_machine_mount(machine, "254:1", "/dev/vda1", "/", "ext4", "rw");
    t_machine_mount(machine, "254:2", "/dev/vda2", "/srv", "ext4", "rw,discard");
    t_machine_mount(machine, "253:0", "/dev/mapper/vg0-data", "/data", "xfs", "rw");
    read_machine(bed);
}

static void a_logical_volume_is_attached_in_use_with_its_stores_in_its_group(void **state)
{
    struct bed *bed = *state;

    server(bed);
    has_pv(bed, "vdb", "vg0", 5 * GIB);
    has_space(bed, "vda1", 3 * GIB);
    plan_is(bed, "dm-0", "now", "blkrep attach data /dev/mapper/vg0-data --cow=vg:vg0\n");
    plan_is(bed, "dm-0", "at boot", "");
    assert_int_equal(bed->advice.chosen, KMC_TRACKER_ERA);
    assert_int_equal(bed->advice.room.count, 2);
    assert_true(bed->advice.room.places[0].own_disk);
    assert_false(bed->advice.room.places[1].own_disk);
}

static void without_room_on_its_own_disk_the_tracker_is_cow(void **state)
{
    struct bed *bed = *state;

    server(bed);
    has_space(bed, "vda2", 3 * GIB);
    has_space(bed, "dm-0", 9 * GIB); // its own file system: never
    plan_is(bed, "dm-0", "now", "blkrep attach data /dev/mapper/vg0-data --cow=/srv/blkrep-data.area\n");
    assert_int_equal(bed->advice.chosen, KMC_TRACKER_COW);
    assert_int_equal(bed->advice.room.count, 1);
}

static void a_place_that_nobody_saw_is_left_to_the_user(void **state)
{
    struct bed *bed = *state;

    server(bed);
    has_space(bed, "vda2", 60 * BR_MIB); // too small
    plan_is(bed, "dm-0", "now", "blkrep attach data /dev/mapper/vg0-data --cow=PLACE\n");
    assert_int_equal(bed->advice.chosen, KMC_TRACKER_SCAN);
}

static void a_partition_in_use_has_both_ways(void **state)
{
    struct bed *bed = *state;

    server(bed);
    has_space(bed, "vda1", 3 * GIB);
    plan_is(bed, "vda2", "now",
            "umount /srv\n"
            "blkrep attach srv /dev/disk/by-id/virtio-A-part2 --cow=/blkrep-srv.area\n"
            "mount /dev/mapper/srv /srv\n");
    plan_is(bed, "vda2", "at boot",
            "blkrep attach srv /dev/disk/by-id/virtio-A-part2 --cow=/blkrep-srv.area --at-boot\n"
            "systemctl reboot\n");
}

static void the_root_file_system_on_a_partition_is_attached_at_boot_only(void **state)
{
    struct bed *bed = *state;

    server(bed);
    is_blank(bed, "vda3");
    has_space(bed, "vda2", 9 * GIB); // a file system: the initramfs can't reach it
    plan_is(bed, "vda1", "now", "");
    plan_is(
        bed, "vda1", "at boot",
        "blkrep attach root /dev/disk/by-id/virtio-A-part1 --cow=/dev/disk/by-id/virtio-A-part3 --tracker=era --at-boot\n"
        "echo root >> /etc/blkrep/early\n"
        "sed -i -E 's,^[^#[:space:]]+([[:space:]]+/[[:space:]]),/dev/mapper/root\\1,' /etc/fstab\n"
        "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX root=/dev/mapper/root\"' > /etc/default/grub.d/blkrep.cfg\n"
        "update-grub\n"
        "update-initramfs -u\n"
        "systemctl reboot\n");
}

static void without_an_initramfs_builder_boot_is_not_proposed(void **state)
{
    struct bed *bed = *state;
    char path[512];

    snprintf(path, sizeof(path), "%s/usr/sbin/update-initramfs", bed->machine->root);
    assert_int_equal(remove(path), 0);
    server(bed);
    plan_is(bed, "vda1", "at boot", "");
    plan_is(bed, "vda1", "without attach",
            "blkrep sync /dev/disk/by-id/virtio-A-part1 blkrep://HOST/root --live-source\n");
    t_machine_file(bed->machine, "/usr/bin/dracut", "%s", "");
    read_machine(bed);
    plan_is(bed, "vda1", "at boot",
            "blkrep attach root /dev/disk/by-id/virtio-A-part1 --cow=DEVICE --tracker=era --at-boot\n"
            "echo root >> /etc/blkrep/early\n"
            "sed -i -E 's,^[^#[:space:]]+([[:space:]]+/[[:space:]]),/dev/mapper/root\\1,' /etc/fstab\n"
            "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX root=/dev/mapper/root\"' > /etc/default/grub.d/blkrep.cfg\n"
            "update-grub\n"
            "dracut -f\n"
            "systemctl reboot\n");
}

static void where_nothing_can_be_attached_the_source_is_unmounted_and_read(void **state)
{
    struct bed *bed = *state;

    t_machine_file(bed->machine, "/proc/sys/kernel/modules_disabled", "1\n");
    server(bed);
    plan_is(bed, "vda2", "without attach",
            "umount /srv\nblkrep sync /dev/disk/by-id/virtio-A-part2 blkrep://HOST/srv\n"
            "mount /dev/disk/by-id/virtio-A-part2 /srv\n");
    assert_int_equal(bed->advice.plan_count, 1);
    plan_is(bed, "vdb", "without attach", ""); // a physical volume: its LVs are meant
}

static void an_idle_device_is_attached_as_it_is(void **state)
{
    struct bed *bed = *state;

    server(bed);
    has_pv(bed, "vdb", "vg0", 5 * GIB);
    plan_is(bed, "vda3", "now", "blkrep attach vda3 /dev/disk/by-id/virtio-A-part3 --cow=vg:vg0\n");
}

static void a_device_that_a_process_writes_to_is_attached_at_boot(void **state)
{
    struct bed *bed = *state;

    server(bed);
    has_pv(bed, "vdb", "vg0", 5 * GIB);
    snprintf(bed->doctor.looks[index_of(bed, "vda3")].users, BR_GUARD_TEXT_BYTES,
             "open for writing by process 7 (qemu)");
    plan_is(bed, "vda3", "now", "");
    plan_is(bed, "vda3", "at boot",
            "blkrep attach vda3 /dev/disk/by-id/virtio-A-part3 --cow=vg:vg0 --at-boot\nsystemctl reboot\n");
}

static void bind_mounts_are_unmounted_too_and_not_mounted_again(void **state)
{
    struct bed *bed = *state;

    server(bed);
    t_machine_file(bed->machine, "/proc/self/mountinfo",
                   "30 1 254:2 / /srv rw - ext4 /dev/vda2 rw\n31 1 254:2 /www /var/www rw - ext4 /dev/vda2 rw\n");
    read_machine(bed);
    plan_is(bed, "vda2", "now",
            "umount /var/www\numount /srv\nblkrep attach srv /dev/disk/by-id/virtio-A-part2 --cow=PLACE\n"
            "mount /dev/mapper/srv /srv\n");
}

static void a_name_that_is_taken_gets_another(void **state)
{
    struct bed *bed = *state;

    t_machine_dm(bed->machine, "dm-7", "253:7", GIB, "srv", "", "linear");
    server(bed);
    doctor_advise(&bed->doctor, index_of(bed, "vda2"), &bed->advice);
    assert_string_equal(bed->advice.volume, "srv-volume");
    // its own name is not taken
    doctor_advise(&bed->doctor, index_of(bed, "dm-7"), &bed->advice);
    assert_string_equal(bed->advice.volume, "srv");
}

static void odd_mount_points_give_plain_names_and_quoted_words(void **state)
{
    struct bed *bed = *state;

    t_machine_disk(bed->machine, "vdc", "254:32", GIB);
    t_machine_mount(bed->machine, "254:32", "/dev/vdc", "/mnt/Bob's\\040$(disk)", "ext4", "rw");
    read_machine(bed);
    plan_is(bed, "vdc", "now",
            "umount '/mnt/Bob'\\''s $(disk)'\n"
            "blkrep attach Bob-s-disk /dev/vdc --cow=PLACE\n"
            "mount /dev/mapper/Bob-s-disk '/mnt/Bob'\\''s $(disk)'\n");
}

// What a shell makes of a quoted word is the word.
static void a_shell_reads_back_what_was_quoted(void **state)
{
    static const char *const words[] = {"plain",           "", "with blank", "it's", "$HOME `id` \"x\" \\", "\xff\xfe",
                                        "-dash;&|<>*?[~#!"};

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char quoted[256];
        char command[512];
        char back[256] = "";
        doctor_shell_word(words[i], quoted, sizeof(quoted));
        snprintf(command, sizeof(command), "printf '%%s' %s", quoted);
        FILE *shell = popen(command, "r");
        assert_non_null(shell);
        assert_int_equal(fread(back, 1, sizeof(back) - 1, shell), strlen(words[i]));
        assert_int_equal(pclose(shell), 0);
        assert_string_equal(back, words[i]);
    }
}

static void places_are_sorted_and_bounded(void **state)
{
    struct bed *bed = *state;
    struct doctor_room room;
    char name[16];
    char number[16];

    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "sd%c", 'a' + i);
        snprintf(number, sizeof(number), "8:%d", 16 * i);
        t_machine_disk(bed->machine, name, number, GIB);
        snprintf(name, sizeof(name), "/m%d", i);
        t_machine_mount(bed->machine, number, "x", name, "ext4", "rw");
    }
    t_machine_disk(bed->machine, "vda", "254:0", GIB);
    t_machine_partition(bed->machine, "vda", "vda1", "254:1", 1, GIB);
    t_machine_partition(bed->machine, "vda", "vda2", "254:2", 2, GIB);
    t_machine_mount(bed->machine, "254:2", "x", "/own", "ext4", "rw");
    read_machine(bed);
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "sd%c", 'a' + i);
        has_space(bed, name, (uint64_t)(100 + i) * BR_MIB);
    }
    has_space(bed, "vda2", 65 * BR_MIB);
    doctor_room_of(&bed->doctor, index_of(bed, "vda1"), &room);
    assert_int_equal(room.count, DOCTOR_PLACES_MAX);
    assert_string_equal(room.places[0].name, "/own");
    assert_true(room.places[0].own_disk);
    assert_string_equal(room.places[1].name, "/m6");
    assert_string_equal(room.places[DOCTOR_PLACES_MAX - 1].name, "/m2");
}

static void a_group_over_two_disks_is_one_place(void **state)
{
    struct bed *bed = *state;
    struct doctor_room room;

    server(bed);
    t_machine_disk(bed->machine, "vdc", "254:32", GIB);
    read_machine(bed);
    has_pv(bed, "vdc", "vg0", 3 * GIB);
    has_pv(bed, "vdb", "vg0", 0);
    doctor_room_of(&bed->doctor, index_of(bed, "dm-0"), &room);
    assert_int_equal(room.count, 1);
    assert_int_equal(room.places[0].free_bytes, 3 * GIB);
    assert_false(room.places[0].own_disk); // what is on its own disk is full
    doctor_room_of(&bed->doctor, index_of(bed, "vdc"), &room);
    assert_int_equal(room.count, 0); // it lies on the device itself
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_logical_volume_is_attached_in_use_with_its_stores_in_its_group),
        T(without_room_on_its_own_disk_the_tracker_is_cow),
        T(a_place_that_nobody_saw_is_left_to_the_user),
        T(a_partition_in_use_has_both_ways),
        T(the_root_file_system_on_a_partition_is_attached_at_boot_only),
        T(without_an_initramfs_builder_boot_is_not_proposed),
        T(where_nothing_can_be_attached_the_source_is_unmounted_and_read),
        T(an_idle_device_is_attached_as_it_is),
        T(a_device_that_a_process_writes_to_is_attached_at_boot),
        T(bind_mounts_are_unmounted_too_and_not_mounted_again),
        T(a_name_that_is_taken_gets_another),
        T(odd_mount_points_give_plain_names_and_quoted_words),
        T(a_shell_reads_back_what_was_quoted),
        T(places_are_sorted_and_bounded),
        T(a_group_over_two_disks_is_one_place),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
