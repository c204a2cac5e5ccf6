// SPDX-License-Identifier: Apache-2.0
//
// Does the guard see what the header says it sees? Files are checked everywhere; loop devices need root and a free one, else those tests
// skip and say so.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/guard/guard.h"
#include "tests/lib/t_env.h"

struct bed {
    char dir[256];
    char file[288];
    char loop[64]; // "" when there is none
};

static int bed_setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));

    snprintf(bed->dir, sizeof(bed->dir), "%s/test_guard.XXXXXX", t_folder());
    assert_non_null(mkdtemp(bed->dir));
    snprintf(bed->file, sizeof(bed->file), "%s/file", bed->dir);
    int fd = open(bed->file, O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    close(fd);
    *state = bed;
    return 0;
}

static void loop_detach(const struct bed *bed)
{
    int fd = open(bed->loop, O_RDONLY);
    if (fd >= 0) {
        ioctl(fd, LOOP_CLR_FD);
        close(fd);
    }
}

static int bed_teardown(void **state)
{
    struct bed *bed = *state;
    char command[2048];

    if (bed->loop[0]) {
        loop_detach(bed);
    }
    snprintf(command, sizeof(command), "rm -rf %s", bed->dir);
    assert_int_equal(system(command), 0);
    free(bed);
    return 0;
}

// A loop device over the bed's file, or a skip that says why.
static void loop_attach(struct bed *bed)
{
    int control = open("/dev/loop-control", O_RDWR);
    int number = control >= 0 ? ioctl(control, LOOP_CTL_GET_FREE) : -1;
    int fd;

    if (control >= 0) {
        close(control);
    }
    if (number < 0) {
        print_message("[          ] no loop device here (root is needed)\n");
        skip();
    }
    snprintf(bed->loop, sizeof(bed->loop), "/dev/loop%d", number);
    fd = open(bed->loop, O_RDWR);
    int file = open(bed->file, O_RDWR);
    struct loop_config config = {.fd = (uint32_t)file};
    if (fd < 0 || file < 0 || ioctl(fd, LOOP_CONFIGURE, &config)) {
        bed->loop[0] = 0;
        print_message("[          ] the loop device can't be set up\n");
        skip();
    }
    close(fd);
    close(file);
}

static int open_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void an_idle_file_is_free_as_source_and_target(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};
    int fd = open_read(bed->file);

    assert_int_equal(br_guard_source(fd, bed->file, &err), 0);
    assert_int_equal(br_guard_target(fd, bed->file, &err), 0);
    close(fd);
}

// A child holds the file in @flags until the pipe closes.
static pid_t hold_in_child(const char *path, int flags, int *ret_release)
{
    int ready[2];
    int release[2];
    char byte;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(release), 0);
    pid_t pid = fork();
    if (!pid) {
        close(release[1]);
        int fd = open(path, flags);
        if (write(ready[1], "x", 1) != 1 || read(release[0], &byte, 1) < 0 || fd < 0) {
            _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    close(release[0]);
    *ret_release = release[1];
    return pid;
}

static void a_file_open_for_writing_elsewhere_is_named_with_its_process(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};
    char pid_text[32];
    int release;
    pid_t pid = hold_in_child(bed->file, O_RDWR, &release);
    int fd = open_read(bed->file);

    assert_int_equal(br_guard_source(fd, bed->file, &err), -BR_E_SOURCE_IN_USE);
    snprintf(pid_text, sizeof(pid_text), "process %d", (int)pid);
    assert_non_null(strstr(err.text, pid_text));
    assert_int_equal(br_guard_target(fd, bed->file, &err), -BR_E_TARGET_IN_USE);
    close(release);
    waitpid(pid, NULL, 0);
    assert_int_equal(br_guard_source(fd, bed->file, &err), 0);
    close(fd);
}

static void a_file_open_for_reading_elsewhere_is_free(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};
    int release;
    pid_t pid = hold_in_child(bed->file, O_RDONLY, &release);
    int fd = open_read(bed->file);

    assert_int_equal(br_guard_source(fd, bed->file, &err), 0);
    assert_int_equal(br_guard_target(fd, bed->file, &err), 0);
    close(release);
    waitpid(pid, NULL, 0);
    close(fd);
}

static void hard_and_symbolic_links_are_the_same_object(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};
    char text[BR_GUARD_TEXT_BYTES];
    char hard[288];
    char soft[288];
    char other[288];

    snprintf(hard, sizeof(hard), "%s/hard", bed->dir);
    snprintf(soft, sizeof(soft), "%s/soft", bed->dir);
    snprintf(other, sizeof(other), "%s/other", bed->dir);
    assert_int_equal(link(bed->file, hard), 0);
    assert_int_equal(symlink(bed->file, soft), 0);
    int other_fd = open(other, O_RDWR | O_CREAT, 0600);
    int fd = open_read(bed->file);
    int hard_fd = open_read(hard);
    int soft_fd = open_read(soft);
    assert_int_equal(br_guard_same(fd, hard_fd, text, &err), 1);
    assert_int_equal(br_guard_same(fd, soft_fd, text, &err), 1);
    assert_int_equal(br_guard_same(fd, other_fd, text, &err), 0);
    close(fd);
    close(hard_fd);
    close(soft_fd);
    close(other_fd);
}

static void a_loop_device_and_its_file_are_the_same_object(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};
    char text[BR_GUARD_TEXT_BYTES];

    loop_attach(bed);
    int fd = open_read(bed->file);
    int loop_fd = open_read(bed->loop);
    assert_int_equal(br_guard_same(fd, loop_fd, text, &err), 1);
    assert_int_equal(br_guard_same(loop_fd, fd, text, &err), 1);
    assert_non_null(strstr(text, "loop device"));
    close(fd);
    close(loop_fd);
}

static void a_file_under_a_loop_device_is_in_use(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};

    loop_attach(bed);
    int fd = open_read(bed->file);
    assert_int_equal(br_guard_source(fd, bed->file, &err), -BR_E_SOURCE_IN_USE);
    assert_int_equal(br_guard_target(fd, bed->file, &err), -BR_E_TARGET_IN_USE);
    close(fd);
    loop_detach(bed);
    bed->loop[0] = 0;
}

static void a_mounted_device_is_in_use_and_its_mount_point_named(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};
    char command[2048];

    loop_attach(bed);
    snprintf(command, sizeof(command), "mke2fs -q -F %s && mkdir -p %s/mnt && mount %s %s/mnt 2>/dev/null", bed->loop,
             bed->dir, bed->loop, bed->dir);
    if (system(command)) {
        print_message("[          ] mounting is not possible here\n");
        skip();
    }
    int fd = open_read(bed->loop);
    int source = br_guard_source(fd, bed->loop, &err);
    bool named = strstr(err.text, "/mnt") != NULL;
    int target = br_guard_target(fd, bed->loop, &err);
    snprintf(command, sizeof(command), "umount %s/mnt", bed->dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(source, -BR_E_SOURCE_IN_USE);
    assert_true(named);
    assert_int_equal(target, -BR_E_TARGET_IN_USE);
    assert_int_equal(br_guard_source(fd, bed->loop, &err), 0);
    close(fd);
}

static void what_a_target_holds_is_said_in_words(void **state)
{
    struct bed *bed = *state;
    struct br_err err = {0};
    char text[BR_GUARD_TEXT_BYTES];
    char command[2048];
    int fd = open_read(bed->file);

    assert_int_equal(br_guard_content(fd, text, &err), 1);
    assert_string_equal(text, "a file of 1.00 MiB");
    snprintf(command, sizeof(command), "mke2fs -q -F -L books %s", bed->file);
    assert_int_equal(system(command), 0);
    assert_int_equal(br_guard_content(fd, text, &err), 1);
    assert_non_null(strstr(text, "ext2 labelled books"));
    struct br_guard_signature signature;
    assert_int_equal(br_guard_signature(fd, &signature, &err), 1);
    assert_string_equal(signature.type, "ext2");
    assert_string_equal(signature.label, "books");
    assert_false(signature.partition_table || signature.several);
    close(fd);
    fd = open(bed->file, O_RDWR | O_TRUNC);
    assert_int_equal(br_guard_content(fd, text, &err), 0);
    assert_string_equal(text, "");
    close(fd);
}

static void a_written_or_grown_file_has_moved_and_a_read_one_not(void **state)
{
    struct bed *bed = *state;
    struct br_guard_watch watch;
    struct br_err err = {0};
    char byte;
    int fd = open(bed->file, O_RDWR);

    assert_int_equal(br_guard_watch_begin(fd, &watch, &err), 0);
    assert_int_equal(pread(fd, &byte, 1, 0), 1);
    assert_int_equal(br_guard_watch_check(fd, &watch, bed->file, &err), 0);
    for (int i = 0; i < 10; i++) { // the kernel's time stamps are coarse: both writes in one tick must be told apart
        assert_int_equal(pwrite(fd, "x", 1, 0), 1);
        assert_int_equal(br_guard_watch_begin(fd, &watch, &err), 0);
        assert_int_equal(pwrite(fd, "y", 1, 0), 1);
        assert_int_equal(br_guard_watch_check(fd, &watch, bed->file, &err), -BR_E_SOURCE_MOVED);
    }
    assert_int_equal(br_guard_watch_begin(fd, &watch, &err), 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(br_guard_watch_check(fd, &watch, bed->file, &err), -BR_E_SOURCE_MOVED);
    assert_non_null(strstr(err.text, "size"));
    close(fd);
}

static void a_written_device_has_moved(void **state)
{
    struct bed *bed = *state;
    struct br_guard_watch watch;
    struct br_err err = {0};
    char block[4096] = "x";

    loop_attach(bed);
    int fd = open(bed->loop, O_RDWR);
    assert_int_equal(br_guard_watch_begin(fd, &watch, &err), 0);
    assert_int_equal(br_guard_watch_check(fd, &watch, bed->loop, &err), 0);
    assert_int_equal(pwrite(fd, block, sizeof(block), 8192), sizeof(block));
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(br_guard_watch_check(fd, &watch, bed->loop, &err), -BR_E_SOURCE_MOVED);
    close(fd);
}

static void a_device_is_described_with_size_and_a_name_usable_for_a_file(void **state)
{
    struct bed *bed = *state;
    struct br_guard_object object;
    struct br_err err = {0};

    loop_attach(bed);
    int fd = open_read(bed->loop);
    assert_int_equal(br_guard_describe(fd, bed->loop, &object, &err), 0);
    assert_true(object.is_block);
    assert_int_equal(object.size_bytes, 1 << 20);
    assert_true(object.wwid_stable);
    assert_null(strchr(object.wwid, '/'));
    assert_non_null(strstr(object.text, "1.00 MiB"));
    close(fd);
}

static void neither_file_nor_device_is_refused(void **state)
{
    struct br_guard_object object;
    struct br_err err = {0};
    int fd = open_read("/dev/null");

    (void)state;
    assert_int_equal(br_guard_describe(fd, "/dev/null", &object, &err), -BR_E_UNSUPPORTED);
    close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, bed_setup, bed_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_idle_file_is_free_as_source_and_target),
        T(a_file_open_for_writing_elsewhere_is_named_with_its_process),
        T(a_file_open_for_reading_elsewhere_is_free),
        T(hard_and_symbolic_links_are_the_same_object),
        T(a_loop_device_and_its_file_are_the_same_object),
        T(a_file_under_a_loop_device_is_in_use),
        T(a_mounted_device_is_in_use_and_its_mount_point_named),
        T(what_a_target_holds_is_said_in_words),
        T(a_written_or_grown_file_has_moved_and_a_read_one_not),
        T(a_written_device_has_moved),
        T(a_device_is_described_with_size_and_a_name_usable_for_a_file),
        T(neither_file_nor_device_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
