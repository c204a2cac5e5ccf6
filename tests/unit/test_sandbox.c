// SPDX-License-Identifier: Apache-2.0
// plain: the sanitizers make calls of their own, which a sandbox refuses
//
// What the privileged processes can no longer do, asked of the kernel itself: each question is a child that enters a sandbox and makes calls.
// That every request works with what is left is the business of tests/vm/helper-*.sh, which run in it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dm-helper/sandbox.h"
#include "engine/base/bytes.h"

// A child enters `sandbox` and ends with what `ask` returns: 0, or a number that the test shows.
static int in_sandbox(enum dmh_sandbox sandbox, int (*ask)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid) {
        // Another that the filter forbids would fail as well; without this one an unprivileged process may load no filter at all.
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || dmh_sandbox_enter(sandbox)) {
            _exit(99);
        }
        _exit(ask());
    }
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool refused(long number)
{
    errno = 0;
    return syscall(number, -1L, 0L, 0L, 0L, 0L, 0L) == -1 && errno == EPERM;
}

// Calls that no process of the helper has any use for. None of them does anything when it is made with these arguments.
static const long never[] = {
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_writev,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    SYS_init_module,
    SYS_finit_module,
    SYS_kexec_load,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_setuid,
    SYS_setresuid,
    SYS_capset,
    SYS_listen,
    SYS_accept4,
    SYS_bind,
    SYS_keyctl,
    SYS_userfaultfd,
    SYS_swapoff,
    SYS_reboot,
    SYS_settimeofday,
    SYS_link,
    SYS_linkat,
    SYS_setxattr,
    SYS_pidfd_getfd,
};

// Numbers from 1 on, for the first call of a list that is not refused.
static int all_refused(const long *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!refused(numbers[i])) {
            return (int)i + 1;
        }
    }
    return 0;
}

static int ask_never(void)
{
    return all_refused(never, BR_ARRAY_LEN(never));
}

static void no_process_can_run_a_program_or_become_another(void **state)
{
    (void)state;
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_HELPER, ask_never));
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_SUSPENDER, ask_never));
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_WATCHDOG, ask_never));
}

static int ask_files(void)
{
    static const long files[] = {SYS_open,     SYS_openat,  SYS_unlinkat,   SYS_renameat2, SYS_clone,
                                 SYS_pwrite64, SYS_sendmsg, SYS_socketpair, SYS_prctl};

    return all_refused(files, BR_ARRAY_LEN(files));
}

// They run while a file system may be frozen: whoever touched a file of it would wait for the thaw that is theirs to do.
static void who_works_in_a_window_opens_nothing(void **state)
{
    (void)state;
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_SUSPENDER, ask_files));
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_WATCHDOG, ask_files));
}

// On a descriptor that is nothing, an ioctl that passes the filter fails with EBADF, and one that doesn't with EPERM.
static bool ioctl_passes(unsigned long request)
{
    errno = 0;
    return ioctl(-1, request, NULL) == -1 && errno == EBADF;
}

static int ask_window_ioctls(void)
{
    static const unsigned long window[] = {DM_DEV_SUSPEND, DM_DEV_STATUS, DM_TABLE_STATUS, FIFREEZE, FITHAW};
    static const unsigned long others[] = {DM_DEV_CREATE, DM_DEV_REMOVE, DM_REMOVE_ALL, DM_TABLE_LOAD, DM_DEV_RENAME,
                                           BLKDISCARD,    BLKROSET,      BLKZEROOUT,    FITRIM};

    for (size_t i = 0; i < BR_ARRAY_LEN(window); i++) {
        if (!ioctl_passes(window[i])) {
            return (int)i + 1;
        }
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(others); i++) {
        if (ioctl_passes(others[i])) {
            return (int)i + 51;
        }
    }
    return 0;
}

static void who_works_in_a_window_makes_its_ioctls_and_no_other(void **state)
{
    (void)state;
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_SUSPENDER, ask_window_ioctls));
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_WATCHDOG, ask_window_ioctls));
}

static int ask_what_each_needs(void)
{
    int fds[2];
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool works = file >= 0 && write(file, "x", 1) == 1 && ioctl_passes(DM_TABLE_LOAD) && !kill(getpid(), 0) &&
                 !pipe2(fds, O_CLOEXEC);

    return works ? 0 : 1;
}

static void the_helper_still_does_its_work(void **state)
{
    (void)state;
    assert_int_equal(0, in_sandbox(DMH_SANDBOX_HELPER, ask_what_each_needs));
}

// A line of /proc/self/status, as a number.
static uint64_t status_line(const char *name)
{
    char line[256];
    uint64_t value = UINT64_MAX;
    FILE *file = fopen("/proc/self/status", "re");

    while (file && fgets(line, sizeof(line), file)) {
        if (!strncmp(line, name, strlen(name))) {
            value = strtoull(line + strlen(name), NULL, 16);
        }
    }
    if (file) {
        fclose(file);
    }
    return value;
}

static void capabilities_that_it_does_not_need_are_gone(void **state)
{
    static const unsigned gone[] = {CAP_SYS_MODULE, CAP_SYS_PTRACE,   CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_CHROOT,
                                    CAP_SYS_TIME,   CAP_DAC_OVERRIDE, CAP_SETUID,    CAP_SETGID,   CAP_SETPCAP,
                                    CAP_FOWNER,     CAP_AUDIT_WRITE,  CAP_NET_RAW,   CAP_SETFCAP};
    int status = 0;
    (void)state;
    if (geteuid()) {
        skip();
    }
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        uint64_t before = status_line("CapEff:");
        if (dmh_sandbox_drop(NULL)) {
            _exit(98);
        }
        uint64_t after = status_line("CapEff:"), permitted = status_line("CapPrm:"),
                 inheritable = status_line("CapInh:");
        for (size_t i = 0; i < BR_ARRAY_LEN(gone); i++) {
            if ((after | permitted | inheritable) >> gone[i] & 1) {
                _exit((int)i + 1);
            }
        }
        // Nothing was added; what the work is made of was kept, if it was there.
        uint64_t needed = before & UINT64_C(1) << CAP_SYS_ADMIN;
        _exit((after & ~before) || (after & needed) != needed ? 97 : 0);
    }
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_true(WIFEXITED(status));
    assert_int_equal(0, WEXITSTATUS(status));
}

int main(void)
{
#define T(f) cmocka_unit_test(f)
    const struct CMUnitTest tests[] = {
        T(no_process_can_run_a_program_or_become_another),      T(who_works_in_a_window_opens_nothing),
        T(who_works_in_a_window_makes_its_ioctls_and_no_other), T(the_helper_still_does_its_work),
        T(capabilities_that_it_does_not_need_are_gone),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
