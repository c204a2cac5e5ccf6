// SPDX-License-Identifier: Apache-2.0
//
// Each sign of a write that went past the tracker, alone, ends the chain; nothing else does.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <utmpx.h>

#include "tests/lib/t_env.h"
#include "tools/volume/continuity.h"

static struct volume_record record;
static struct continuity_now now;

static int set_up(void **state)
{
    (void)state;
    uint8_t bytes[BR_UUID_BYTES] = {1};

    record = (struct volume_record){.chain = br_uuid_make(bytes), .size_bytes = 1000, .up = true};
    now = (struct continuity_now){.size_bytes = 1000};
    snprintf(record.wwid, sizeof(record.wwid), "serial-1");
    snprintf(record.boot_id, sizeof(record.boot_id), "boot-1");
    snprintf(record.machine_id, sizeof(record.machine_id), "machine-1");
    snprintf(record.superblock, sizeof(record.superblock), "super-1");
    snprintf(now.wwid, sizeof(now.wwid), "serial-1");
    snprintf(now.boot_id, sizeof(now.boot_id), "boot-2");
    snprintf(now.machine_id, sizeof(now.machine_id), "machine-1");
    snprintf(now.superblock, sizeof(now.superblock), "super-1");
    return 0;
}

static void after_a_power_cut_nothing_moved_is_whole(void **state)
{
    (void)state;
    assert_null(continuity_judge(&record, &now));
}

static void a_first_attach_has_nothing_to_lose(void **state)
{
    (void)state;
    record.chain = (struct br_uuid){{0}};
    now.off = true;
    assert_null(continuity_judge(&record, &now));
}

static void each_sign_alone_ends_the_chain(void **state)
{
    now.off = true;
    assert_string_equal("switched-off-at-boot", continuity_judge(&record, &now));
    set_up(state);
    now.wwid[7] = '2';
    assert_string_equal("another-device", continuity_judge(&record, &now));
    set_up(state);
    now.size_bytes--;
    assert_string_equal("device-shrank", continuity_judge(&record, &now));
    set_up(state);
    now.size_bytes++; // it may grow: what is new is told as changed
    assert_null(continuity_judge(&record, &now));
    set_up(state);
    now.machine_id[8] = '2';
    assert_string_equal("another-machine", continuity_judge(&record, &now));
    set_up(state);
    now.boots_between = true;
    assert_string_equal("booted-without-tracker", continuity_judge(&record, &now));
    set_up(state);
    now.superblock[6] = '2';
    assert_string_equal("mounted-without-tracker", continuity_judge(&record, &now));
    set_up(state);
    snprintf(now.boot_id, sizeof(now.boot_id), "boot-1");
    assert_string_equal("stack-removed", continuity_judge(&record, &now));
}

static void what_was_taken_down_in_order_is_judged_by_its_evidence(void **state)
{
    (void)state;
    record.clean = true;
    record.up = false;
    snprintf(record.evidence, sizeof(record.evidence), "evidence-1");
    snprintf(now.evidence, sizeof(now.evidence), "evidence-1");
    now.boots_between = true; // while it was down, that is no sign
    snprintf(now.boot_id, sizeof(now.boot_id), "boot-1");
    assert_null(continuity_judge(&record, &now));
    now.evidence[9] = '2';
    assert_string_equal("written-while-down", continuity_judge(&record, &now));
}

static void taking_makes_it_the_last_that_is_known(void **state)
{
    (void)state;
    record.clean = true;
    continuity_take(&record, &now);
    assert_false(record.clean);
    assert_string_equal("boot-2", record.boot_id);
    assert_string_equal("super-1", record.superblock);
}

static void a_superblock_moves_with_a_mount_and_not_with_a_write(void **state)
{
    (void)state;
    uint8_t head[4096] = {0};
    char before[VOLUME_EVIDENCE_BYTES], after[VOLUME_EVIDENCE_BYTES];

    continuity_superblock(head, before);
    assert_string_equal("", before);
    head[1024 + 0x38] = 0x53;
    head[1024 + 0x39] = 0xef;
    continuity_superblock(head, before);
    assert_int_equal(64, strlen(before));
    head[1024 + 0x0c]++; // free blocks
    head[1024 + 0x30]++; // time of the last write
    continuity_superblock(head, after);
    assert_string_equal(before, after);
    for (unsigned at = 0; at < 3; at++) {
        static const unsigned moves[] = {0x34, 0x2c, 0x68};
        head[1024 + moves[at]]++;
        continuity_superblock(head, after);
        assert_string_not_equal(before, after);
        head[1024 + moves[at]]--;
    }
    memcpy(head, "XFSB", 4);
    continuity_superblock(head, before);
    head[200]++;
    continuity_superblock(head, after);
    assert_string_not_equal(before, after);
}

static void a_boot_between_is_found_in_wtmp(void **state)
{
    (void)state;
    char path[1200];
    struct utmpx entry = {.ut_type = BOOT_TIME};

    snprintf(path, sizeof(path), "%s/wtmp-%d", t_folder(), (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (int i = 0; i < 3; i++) {
        entry.ut_tv.tv_sec = 10000 * (i + 1);
        assert_int_equal(sizeof(entry), write(fd, &entry, sizeof(entry)));
    }
    entry.ut_type = USER_PROCESS;
    entry.ut_tv.tv_sec = 40000;
    assert_int_equal(sizeof(entry), write(fd, &entry, sizeof(entry)));
    close(fd);
    assert_true(continuity_boots_between(path, 10000, 30000));
    assert_false(continuity_boots_between(path, 20000, 30000)); // from one to the next
    assert_false(continuity_boots_between(path, 30000, 50000));
    assert_false(continuity_boots_between(path, 20060, 29950)); // the same boots, told by another clock
    assert_false(continuity_boots_between(path, 0, 30000));
    assert_false(continuity_boots_between(path, 30000, 10000));
    assert_false(continuity_boots_between("/nowhere/wtmp", 10000, 30000));
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(after_a_power_cut_nothing_moved_is_whole, set_up),
        cmocka_unit_test_setup(a_first_attach_has_nothing_to_lose, set_up),
        cmocka_unit_test_setup(each_sign_alone_ends_the_chain, set_up),
        cmocka_unit_test_setup(what_was_taken_down_in_order_is_judged_by_its_evidence, set_up),
        cmocka_unit_test_setup(taking_makes_it_the_last_that_is_known, set_up),
        cmocka_unit_test(a_superblock_moves_with_a_mount_and_not_with_a_write),
        cmocka_unit_test(a_boot_between_is_found_in_wtmp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
