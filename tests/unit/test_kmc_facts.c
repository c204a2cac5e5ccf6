// SPDX-License-Identifier: Apache-2.0
//
// Are the facts of made-up machines what their kernels say, and does the support matrix draw the right conclusions with words that help?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

#include "kmod-compat/matrix.h"
#include "kmod-compat/modules.h"
#include "tests/lib/t_machine.h"

static int setup(void **state)
{
    *state = t_machine_new();
    return 0;
}

static int teardown(void **state)
{
    t_machine_free(*state);
    return 0;
}

static struct kmc_facts facts_of(struct t_machine *machine)
{
    struct kmc_facts facts;

    kmc_facts_read(&machine->source, &facts);
    return facts;
}

static void says(const struct kmc_facts *facts, enum kmc_feature feature, enum kmc_answer answer, const char *reason,
                 const char *remedy)
{
    struct kmc_support support;

    kmc_supports(facts, feature, &support);
    if (support.answer != answer || !strstr(support.reason, reason) || !strstr(support.remedy, remedy)) {
        fail_msg("%s: answer %d, reason \"%s\", remedy \"%s\"", kmc_feature_name(feature), (int)support.answer,
                 support.reason, support.remedy);
    }
    // Who hears no hears what to do.
    assert_true(support.answer == KMC_YES || (support.reason[0] && support.remedy[0]));
}

static void a_stock_debian_kernel_has_all_but_ublk(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.major, 6);
    assert_int_equal(facts.minor, 1);
    assert_true(facts.bits[KMC_BIT_ADMIN] && facts.bits[KMC_BIT_MODULES] && facts.bits[KMC_BIT_MODULE_FILES]);
    assert_int_equal(facts.drivers[KMC_DRIVER_DM].presence, KMC_PRESENT);
    assert_int_equal(facts.drivers[KMC_DRIVER_LINEAR].presence, KMC_PRESENT);
    assert_true(facts.drivers[KMC_DRIVER_LINEAR].versioned);
    assert_int_equal(facts.drivers[KMC_DRIVER_LINEAR].version[1], 4);
    assert_int_equal(facts.drivers[KMC_DRIVER_ERA].presence, KMC_LOADABLE);
    assert_int_equal(facts.drivers[KMC_DRIVER_THIN].presence, KMC_LOADABLE); // its file is compressed
    assert_int_equal(facts.drivers[KMC_DRIVER_CLONE].presence, KMC_ABSENT);
    says(&facts, KMC_SYNC, KMC_YES, "io_uring", "");
    says(&facts, KMC_ATTACH, KMC_YES, "dm_snapshot", "");
    says(&facts, KMC_ERA, KMC_YES, "dm_era", "");
    says(&facts, KMC_COW, KMC_YES, "", "");
    says(&facts, KMC_THIN, KMC_NO, "thin-provisioning-tools", "apt install thin-provisioning-tools");
    says(&facts, KMC_UBLK, KMC_NO, "no ublk", "bookworm-backports");
    says(&facts, KMC_NBD, KMC_YES, "nbd", "");
    assert_int_equal(machine->ublk_asked, 0); // asking would load it
}

static void a_loaded_target_is_there_with_its_version(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.12.1-amd64");
    t_machine_target(machine, "era", 1, 0, 0);
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.drivers[KMC_DRIVER_ERA].presence, KMC_PRESENT);
    assert_true(facts.drivers[KMC_DRIVER_ERA].versioned);
    assert_int_equal(facts.drivers[KMC_DRIVER_ERA].version[0], 1);
}

static void a_5_10_kernel_is_refused_with_the_defect_named(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "5.10.0-21-amd64");
    struct kmc_facts facts = facts_of(machine);
    says(&facts, KMC_ERA, KMC_NO, "lost the committed writeset", "5.13 or newer");
    says(&facts, KMC_ATTACH, KMC_NO, "could crash the kernel", "5.13 or newer");
    says(&facts, KMC_COW, KMC_NO, "attach does not work here", "5.13 or newer");
    says(&facts, KMC_SYNC, KMC_YES, "", "");
}

static void versions_are_compared_as_numbers(void **state)
{
    struct kmc_facts facts = {.major = 5, .minor = 9};

    (void)state;
    assert_true(kmc_before(&facts, 5, 12));
    facts.minor = 12;
    assert_false(kmc_before(&facts, 5, 12));
    facts = (struct kmc_facts){.major = 10, .minor = 0};
    assert_false(kmc_before(&facts, 5, 12));
    facts = (struct kmc_facts){0}; // not known: not called bad
    assert_false(kmc_before(&facts, 5, 12));
}

static void without_device_mapper_sync_still_works(void **state)
{
    struct t_machine *machine = *state;

    t_machine_file(machine, "/proc/sys/kernel/osrelease", "6.18.44-own\n");
    t_machine_file(machine, "/proc/misc", "237 loop-control\n");
    t_machine_file(machine, "/proc/cmdline", "console=ttyS0 nomodule\n");
    t_machine_file(machine, "/proc/modules", "%s", "");
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.drivers[KMC_DRIVER_DM].presence, KMC_ABSENT);
    assert_int_equal(facts.drivers[KMC_DRIVER_ERA].presence, KMC_ABSENT);
    assert_false(facts.bits[KMC_BIT_MODULES]);
    assert_non_null(strstr(facts.modules_why, "nomodule"));
    says(&facts, KMC_SYNC, KMC_YES, "", "");
    says(&facts, KMC_ATTACH, KMC_NO, "no device-mapper", "boot a distribution's kernel");
    says(&facts, KMC_ERA, KMC_NO, "attach does not work here: this kernel has no device-mapper", "boot");
    assert_int_equal(machine->dm_asked, 0); // opening the node would load the driver
}

static void in_a_container_the_host_is_named(void **state)
{
    struct t_machine *machine = *state;

    t_machine_file(machine, "/proc/sys/kernel/osrelease", "6.1.0-28-amd64\n");
    t_machine_file(machine, "/run/.containerenv", "%s", "");
    struct kmc_facts facts = facts_of(machine);
    assert_true(facts.bits[KMC_BIT_CONTAINER]);
    says(&facts, KMC_ATTACH, KMC_NO, "no device-mapper", "on the host");
    // device-mapper registered, but its node is the host's
    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/dev/mapper/x", "%s", "");
    char node[512];
    snprintf(node, sizeof(node), "%s/dev/mapper/control", machine->root);
    assert_int_equal(remove(node), 0);
    facts = facts_of(machine);
    says(&facts, KMC_ATTACH, KMC_NO, "/dev/mapper/control is not here", "on the host");
}

static void modules_that_cant_be_loaded_say_what_forbids_it(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/proc/sys/kernel/modules_disabled", "1\n");
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.drivers[KMC_DRIVER_SNAPSHOT].presence, KMC_LOCKED);
    says(&facts, KMC_ATTACH, KMC_NO, "kernel.modules_disabled is 1", "echo dm_snapshot >> /etc/modules-load.d");
    // one that is loaded already is there all the same
    t_machine_target(machine, "snapshot", 1, 16, 0);
    t_machine_target(machine, "snapshot-origin", 1, 9, 0);
    facts = facts_of(machine);
    says(&facts, KMC_ATTACH, KMC_YES, "", "");
    says(&facts, KMC_ERA, KMC_NO, "dm_era is installed and can't be loaded", "dm_era");
}

static void the_loader_that_is_missing_is_named(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/proc/sys/kernel/modprobe", "/nowhere/modprobe\n");
    struct kmc_facts facts = facts_of(machine);
    says(&facts, KMC_ERA, KMC_NO, "/nowhere/modprobe", "");
    t_machine_file(machine, "/proc/sys/kernel/modprobe", "\n");
    facts = facts_of(machine);
    says(&facts, KMC_ERA, KMC_NO, "kernel.modprobe is empty", "");
}

static void a_modprobe_line_that_forbids_a_module_is_quoted(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(
        machine, "/etc/modprobe.d/hard.conf",
        "# install dm-snapshot /bin/false\nblacklist dm-snapshot\n  install dm-era /bin/false\ninstall nbdx x\n");
    t_machine_file(machine, "/etc/modprobe.d/hard.conf.bak", "install dm-snapshot /bin/false\n");
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.drivers[KMC_DRIVER_ERA].presence, KMC_LOCKED);
    says(&facts, KMC_ERA, KMC_NO, "install dm-era /bin/false", "undo what the reason names");
    assert_int_equal(facts.drivers[KMC_DRIVER_SNAPSHOT].presence, KMC_LOADABLE);
    assert_int_equal(facts.drivers[KMC_DRIVER_NBD].presence, KMC_LOADABLE);
}

static void a_locked_down_kernel_loads_signed_modules_only(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    t_machine_file(machine, "/lib/modules/6.1.0-28-amd64/kernel/drivers/md/dm-era.ko",
                   "ELF, not signed at all by anybody");
    t_machine_file(machine, "/lib/modules/6.1.0-28-amd64/kernel/drivers/md/dm-snapshot.ko",
                   "ELF...~Module signature appended~\n");
    struct kmc_facts facts = facts_of(machine);
    assert_string_equal(facts.lockdown, "integrity");
    assert_true(facts.bits[KMC_BIT_SIGNED_ONLY]);
    assert_int_equal(facts.drivers[KMC_DRIVER_SNAPSHOT].presence, KMC_LOADABLE);
    assert_int_equal(facts.drivers[KMC_DRIVER_THIN].presence, KMC_LOADABLE); // compressed: can't be told
    says(&facts, KMC_ERA, KMC_NO, "not signed", "");
    t_machine_file(machine, "/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    facts = facts_of(machine);
    assert_string_equal(facts.lockdown, "none");
    says(&facts, KMC_ERA, KMC_YES, "", "");
}

static void an_ordinary_user_sees_what_is_loaded_and_what_could_be(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\nSeccomp:\t0\n");
    t_machine_file(machine, "/sys/module/dm_era/refcnt", "0\n");
    machine->dm = (struct kmc_dm_answer){.os_errno = EACCES};
    struct kmc_facts facts = facts_of(machine);
    assert_false(facts.bits[KMC_BIT_ADMIN]);
    assert_int_equal(facts.drivers[KMC_DRIVER_LINEAR].presence, KMC_PRESENT);
    assert_int_equal(facts.drivers[KMC_DRIVER_ERA].presence, KMC_PRESENT);
    assert_false(facts.drivers[KMC_DRIVER_ERA].versioned);
    assert_int_equal(facts.drivers[KMC_DRIVER_SNAPSHOT].presence, KMC_LOADABLE);
    assert_int_equal(facts.drivers[KMC_DRIVER_CLONE].presence, KMC_ABSENT);
    says(&facts, KMC_ERA, KMC_YES, "", "");
}

static void what_may_be_built_in_only_root_can_ask(void **state)
{
    struct t_machine *machine = *state;

    // a kernel of one's own: device-mapper in it, no folder of modules
    t_machine_file(machine, "/proc/sys/kernel/osrelease", "6.9.1\n");
    t_machine_file(machine, "/proc/misc", "236 device-mapper\n");
    t_machine_file(machine, "/dev/mapper/control", "%s", "");
    t_machine_file(machine, "/sys/module/dm_mod/x", "%s", "");
    machine->dm = (struct kmc_dm_answer){.os_errno = EACCES};
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.drivers[KMC_DRIVER_ERA].presence, KMC_UNSEEN);
    says(&facts, KMC_ERA, KMC_CANT_TELL, "only root", "as root");
    // root asks, and hears that it isn't there
    t_machine_file(machine, "/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
    machine->dm = (struct kmc_dm_answer){.version = {4, 48, 0}};
    t_machine_target(machine, "linear", 1, 4, 0);
    t_machine_target(machine, "snapshot", 1, 16, 0);
    t_machine_target(machine, "snapshot-origin", 1, 9, 0);
    facts = facts_of(machine);
    says(&facts, KMC_ATTACH, KMC_YES, "", "");
    says(&facts, KMC_ERA, KMC_NO, "no dm target era", "CONFIG_DM_ERA");
}

static void io_uring_says_why_not_and_libaio_takes_over(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.12.1-amd64");
    machine->uring = (struct kmc_uring_answer){.os_errno = EPERM};
    t_machine_file(machine, "/proc/sys/kernel/io_uring_disabled", "2\n");
    struct kmc_facts facts = facts_of(machine);
    says(&facts, KMC_IO_URING, KMC_NO, "kernel.io_uring_disabled is 2", "sysctl kernel.io_uring_disabled=0");
    says(&facts, KMC_SYNC, KMC_YES, "libaio", "");
    says(&facts, KMC_UBLK, KMC_NO, "io_uring does not work here", "");
    t_machine_file(machine, "/proc/sys/kernel/io_uring_disabled", "0\n");
    facts = facts_of(machine);
    says(&facts, KMC_IO_URING, KMC_NO, "filter", "io_uring_setup");
    machine->uring = (struct kmc_uring_answer){.os_errno = ENOSYS};
    facts = facts_of(machine);
    says(&facts, KMC_IO_URING, KMC_NO, "not there", "5.11");
    machine->uring = (struct kmc_uring_answer){.os_errno = ENOMEM};
    facts = facts_of(machine);
    says(&facts, KMC_IO_URING, KMC_NO, "memory", "ulimit -l");
    machine->aio_errno = EAGAIN;
    facts = facts_of(machine);
    says(&facts, KMC_SYNC, KMC_NO, "io_setup", "fs.aio-max-nr");
}

static void an_io_uring_that_lacks_something_is_not_used(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "5.10.0-21-amd64");
    machine->uring.features = IORING_FEAT_NODROP;
    struct kmc_facts facts = facts_of(machine);
    assert_false(facts.bits[KMC_BIT_IO_URING]);
    says(&facts, KMC_IO_URING, KMC_NO, "IORING_FEAT_EXT_ARG", "5.11");
    machine->uring.features = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    machine->uring.ops[IORING_OP_FALLOCATE] = false;
    facts = facts_of(machine);
    says(&facts, KMC_IO_URING, KMC_NO, "IORING_OP_FALLOCATE", "");
}

static void ublk_must_be_able_to_recover(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.12.1-amd64");
    t_machine_file(machine, "/proc/misc", "236 device-mapper\n 120 ublk-control\n");
    machine->ublk = (struct kmc_ublk_answer){.features = 0x1fe};
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.ublk_features, 0x1fe);
    says(&facts, KMC_UBLK, KMC_YES, "", "");
    machine->ublk = (struct kmc_ublk_answer){.features = 0x1fe & ~(1U << 4)};
    facts = facts_of(machine);
    says(&facts, KMC_UBLK, KMC_NO, "can't go on", "6.5");
    machine->ublk = (struct kmc_ublk_answer){.os_errno = EOPNOTSUPP};
    facts = facts_of(machine);
    says(&facts, KMC_UBLK, KMC_NO, "does not say", "6.5");
    t_machine_file(machine, "/proc/self/status", "CapEff:\t0\n");
    machine->ublk = (struct kmc_ublk_answer){.os_errno = EACCES};
    facts = facts_of(machine);
    says(&facts, KMC_UBLK, KMC_CANT_TELL, "only root", "as root");
}

static void blkrep_off_on_the_command_line_is_noticed(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/proc/cmdline", "quiet blkrep=off root=/dev/vda1\n");
    struct kmc_facts facts = facts_of(machine);
    says(&facts, KMC_ATTACH, KMC_NO, "blkrep=off", "reboot");
    says(&facts, KMC_THIN, KMC_NO, "blkrep=off", "reboot");
    says(&facts, KMC_SYNC, KMC_YES, "", "");
    t_machine_file(machine, "/proc/cmdline", "quiet xblkrep=off blkrep=offline\n");
    facts = facts_of(machine);
    says(&facts, KMC_ATTACH, KMC_YES, "", "");
}

static void packages_are_named_as_the_distribution_does(void **state)
{
    struct t_machine *machine = *state;

    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/etc/os-release", "NAME=Rocky\nVERSION_ID=9\nID=\"rocky\"\nID_LIKE=\"rhel centos\"\n");
    struct kmc_facts facts = facts_of(machine);
    says(&facts, KMC_LVM, KMC_NO, "lvm2 is not installed", "dnf install lvm2");
    says(&facts, KMC_THIN, KMC_NO, "", "dnf install device-mapper-persistent-data");
    t_machine_file(machine, "/etc/os-release", "ID=ubuntu\n");
    t_machine_file(machine, "/lib/modules/6.1.0-28-amd64/modules.dep", "kernel/drivers/md/dm-snapshot.ko.zst:\n");
    facts = facts_of(machine);
    says(&facts, KMC_ERA, KMC_NO, "no dm target era", "apt install linux-modules-extra-6.1.0-28-amd64");
    t_machine_file(machine, "/usr/sbin/lvm", "%s", "");
    facts = facts_of(machine);
    says(&facts, KMC_LVM, KMC_YES, "", "");
}

static void a_machine_without_proc_and_sys_is_survived(void **state)
{
    struct t_machine *machine = *state;
    struct kmc_support support;

    struct kmc_facts facts = facts_of(machine);
    assert_string_equal(facts.release, "");
    for (int feature = 0; feature < KMC_FEATURE_MAX; feature++) {
        kmc_supports(&facts, feature, &support);
        assert_true(support.answer == KMC_YES || (support.reason[0] && support.remedy[0]));
    }
}

static void hostile_files_are_cut_not_believed(void **state)
{
    struct t_machine *machine = *state;
    static char long_text[70000];

    memset(long_text, 'x', sizeof(long_text) - 1);
    t_machine_debian(machine, "6.1.0-28-amd64");
    t_machine_file(machine, "/proc/sys/kernel/osrelease", "%s\n", long_text);
    t_machine_file(machine, "/sys/kernel/security/lockdown", "[%s", long_text);
    t_machine_file(machine, "/etc/os-release", "ID=\"%s\n", long_text);
    t_machine_file(machine, "/proc/sys/kernel/modprobe", "%s", long_text);
    t_machine_file(machine, "/proc/cmdline", "%s", long_text);
    t_machine_file(machine, "/etc/modprobe.d/x.conf", "install %s", long_text);
    struct kmc_facts facts = facts_of(machine);
    assert_int_equal(facts.major, 0);
    assert_string_equal(facts.lockdown, "");
}

// The running machine, whatever it is: nothing crashes, and what it says agrees with what can be done here.
static void the_running_machine_answers(void **state)
{
    struct kmc_facts facts;
    struct io_uring uring;

    (void)state;
    kmc_facts_read(&kmc_running, &facts);
    assert_true(facts.major > 0);
    bool works = !io_uring_queue_init(2, &uring, 0);
    assert_true(works || !facts.bits[KMC_BIT_IO_URING]);
    if (works) {
        io_uring_queue_exit(&uring);
    }
}

static void the_matrix_is_whole(void **state)
{
    char text[256];

    (void)state;
    for (int feature = 0; feature < KMC_FEATURE_MAX; feature++) {
        const struct kmc_row *row = &kmc_matrix[feature];
        assert_true(row->what && row->without && row->get);
        // base features come first, so that there is no circle
        assert_true(row->base == KMC_FEATURE_MAX || (int)row->base < feature);
        kmc_needs_text(feature, text, sizeof(text));
        assert_true(text[0]);
        // what is refused before a version can't be said to work from an earlier one on
        assert_true(!row->bad_why || row->since[0] > row->bad_before[0] ||
                    (row->since[0] == row->bad_before[0] && row->since[1] >= row->bad_before[1]));
    }
    kmc_needs_text(KMC_ERA, text, sizeof(text));
    assert_string_equal(text, "attach, dm era");
    kmc_since_text(KMC_ERA, text, sizeof(text));
    assert_string_equal(text, "5.13");
    kmc_since_text(KMC_NBD, text, sizeof(text));
    assert_string_equal(text, "5.14"); // before it the kernel did not keep whose a device is
    kmc_since_text(KMC_SYNC, text, sizeof(text));
    assert_string_equal(text, "any");
}

static void file_systems_that_freeze_are_known(void **state)
{
    (void)state;
    assert_true(kmc_fs_freezes("ext4"));
    assert_true(kmc_fs_freezes("xfs"));
    assert_false(kmc_fs_freezes("vfat"));
    assert_false(kmc_fs_freezes(""));
}

static void lists_are_in_the_order_of_numbers(void **state)
{
    struct t_machine *machine = *state;
    char **names;

    t_machine_file(machine, "/x/sda10", "%s", "");
    t_machine_file(machine, "/x/sda2", "%s", "");
    t_machine_file(machine, "/x/sda1", "%s", "");
    assert_int_equal(kmc_list(&machine->source, "/x", &names), 3);
    assert_string_equal(names[0], "sda1");
    assert_string_equal(names[1], "sda2");
    assert_string_equal(names[2], "sda10");
    kmc_list_free(names, 3);
    assert_int_equal(kmc_list(&machine->source, "/none", &names), 0);
    assert_null(names);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_stock_debian_kernel_has_all_but_ublk),
        T(a_loaded_target_is_there_with_its_version),
        T(a_5_10_kernel_is_refused_with_the_defect_named),
        T(versions_are_compared_as_numbers),
        T(without_device_mapper_sync_still_works),
        T(in_a_container_the_host_is_named),
        T(modules_that_cant_be_loaded_say_what_forbids_it),
        T(the_loader_that_is_missing_is_named),
        T(a_modprobe_line_that_forbids_a_module_is_quoted),
        T(a_locked_down_kernel_loads_signed_modules_only),
        T(an_ordinary_user_sees_what_is_loaded_and_what_could_be),
        T(what_may_be_built_in_only_root_can_ask),
        T(io_uring_says_why_not_and_libaio_takes_over),
        T(an_io_uring_that_lacks_something_is_not_used),
        T(ublk_must_be_able_to_recover),
        T(blkrep_off_on_the_command_line_is_noticed),
        T(packages_are_named_as_the_distribution_does),
        T(a_machine_without_proc_and_sys_is_survived),
        T(hostile_files_are_cut_not_believed),
        T(the_running_machine_answers),
        T(the_matrix_is_whole),
        T(file_systems_that_freeze_are_known),
        T(lists_are_in_the_order_of_numbers),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
