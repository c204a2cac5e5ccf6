// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <unistd.h>

#include "engine/base/bytes.h"

// What each is for. tests/unit/test_sandbox.c asks the kernel what is gone; tests/vm/helper-*.sh run every request with what is left.
static const unsigned dmh_capabilities[] = {
    CAP_SYS_ADMIN,       // device-mapper, FIFREEZE, FITHAW, NBD, ublk
    CAP_IPC_LOCK,        // mlockall
    CAP_SYS_NICE,        // SCHED_FIFO
    CAP_SYS_RESOURCE,    // oom_score_adj, PR_SET_IO_FLUSHER
    CAP_DAC_READ_SEARCH, // mount points and files below folders of other users
    CAP_MKNOD,           // device nodes where no udevd makes them
    CAP_CHOWN,           // their group
};

int dmh_sandbox_drop(struct br_err *reterr)
{
    if (geteuid()) {
        return 0;
    }
    // One that this process was not given (a container) is not asked for: the request that needs it will say so.
    bool have[BR_ARRAY_LEN(dmh_capabilities)];
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_capabilities); i++) {
        have[i] = capng_have_capability(CAPNG_PERMITTED, dmh_capabilities[i]);
    }
    capng_clear(CAPNG_SELECT_CAPS);
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_capabilities); i++) {
        if (have[i]) {
            capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, dmh_capabilities[i]);
        }
    }
    if (capng_apply(CAPNG_SELECT_CAPS)) {
        return br_err_set(reterr, BR_E_PERMISSION, "giving up capabilities");
    }
    return 0;
}

// ---- system calls ----------------------------------------------------------------------------------------------------

// What C's runtime and every process of ours uses.
static const int dmh_common_calls[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(close),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(getpid),
};

static const int dmh_suspender_calls[] = {SCMP_SYS(syncfs), SCMP_SYS(fsync), SCMP_SYS(pread64)};
static const int dmh_watchdog_calls[] = {SCMP_SYS(wait4), SCMP_SYS(kill), SCMP_SYS(poll), SCMP_SYS(ppoll)};

// The helper's: files by name, its socket, processes and their locks, System V semaphores (udev's cookies). No socket can be made: the one to
// the kernel's generic netlink (nbd.h) was opened before, with the capability that the kernel looks for when it is used; sendto and
// recvfrom are for it too.
static const int dmh_helper_calls[] = {
    SCMP_SYS(access),
    SCMP_SYS(chown),
    SCMP_SYS(clone),
    SCMP_SYS(clone3),
    SCMP_SYS(close_range),
    SCMP_SYS(dup),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(fallocate),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(fchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(fcntl),
    SCMP_SYS(fdatasync),
    SCMP_SYS(flock),
    SCMP_SYS(fork),
    SCMP_SYS(fstat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(fsync),
    SCMP_SYS(ftruncate),
    SCMP_SYS(getdents64),
    SCMP_SYS(getegid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getppid),
    SCMP_SYS(getpriority),
    SCMP_SYS(getrandom),
    SCMP_SYS(getsockopt),
    SCMP_SYS(gettid),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getuid),
    SCMP_SYS(ioctl),
    SCMP_SYS(kill),
    SCMP_SYS(lseek),
    SCMP_SYS(lstat),
    SCMP_SYS(madvise),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    SCMP_SYS(mlockall),
    SCMP_SYS(mremap),
    SCMP_SYS(newfstatat),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(pipe2),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(prctl),
    SCMP_SYS(pread64),
    SCMP_SYS(prlimit64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(rmdir),
    SCMP_SYS(rseq),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(sched_setscheduler),
    SCMP_SYS(seccomp),
    SCMP_SYS(semctl),
    SCMP_SYS(semget),
    SCMP_SYS(semop),
    SCMP_SYS(semtimedop),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(setpriority),
    SCMP_SYS(setsid),
    SCMP_SYS(setsockopt),
    SCMP_SYS(socketpair),
    SCMP_SYS(stat),
    SCMP_SYS(statfs),
    SCMP_SYS(statx),
    SCMP_SYS(symlink),
    SCMP_SYS(symlinkat),
    SCMP_SYS(syncfs),
    SCMP_SYS(sysinfo),
    SCMP_SYS(umask),
    SCMP_SYS(uname),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(wait4),
};

// And its ring's (ublk.h). No io_uring can be made in the sandbox, for what a ring does goes past this filter: the one for ublk was made before,
// and restricted to the commands of a driver.
static const int dmh_ring_calls[] = {SCMP_SYS(io_uring_enter)};

// The ioctls of a window or freeze.
static const unsigned long dmh_window_ioctls[] = {DM_DEV_SUSPEND, DM_DEV_STATUS, DM_TABLE_STATUS, DM_TABLE_CLEAR,
                                                  DM_TARGET_MSG,  FIFREEZE,      FITHAW};

static int dmh_allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int error = 0;

    for (size_t i = 0; i < count && !error; i++) {
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    }
    return error;
}

static int dmh_allow_ioctls(scmp_filter_ctx filter)
{
    int error = 0;

    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_window_ioctls) && !error; i++) {
        // A request is 32 bits; the kernel ignores what lies above.
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                 SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, dmh_window_ioctls[i]));
    }
    return error;
}

int dmh_sandbox_enter(enum dmh_sandbox sandbox)
{
    // What is not allowed fails, instead of killing: a call that a new C library makes must not end a process that holds a device suspended.
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int error = filter ? dmh_allow(filter, dmh_common_calls, BR_ARRAY_LEN(dmh_common_calls)) : -ENOMEM;

    switch (sandbox) {
    case DMH_SANDBOX_HELPER:
        error = error ? error : dmh_allow(filter, dmh_helper_calls, BR_ARRAY_LEN(dmh_helper_calls));
        error = error ? error : dmh_allow(filter, dmh_ring_calls, BR_ARRAY_LEN(dmh_ring_calls));
        break;
    case DMH_SANDBOX_SUSPENDER:
        error = error ? error : dmh_allow(filter, dmh_suspender_calls, BR_ARRAY_LEN(dmh_suspender_calls));
        error = error ? error : dmh_allow_ioctls(filter);
        break;
    case DMH_SANDBOX_WATCHDOG:
        error = error ? error : dmh_allow(filter, dmh_watchdog_calls, BR_ARRAY_LEN(dmh_watchdog_calls));
        error = error ? error : dmh_allow_ioctls(filter);
        break;
    }
    error = error ? error : seccomp_load(filter);
    if (filter) {
        seccomp_release(filter);
    }
    return error;
}
