// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57 // linux/prctl.h since 5.6
#endif
#define DMH_STACK_BYTES 65536 // what a locked process may need: its deepest call takes some kilobytes

static char *dmh_argv0;
static size_t dmh_argv0_size;

void dmh_process_start(char **argv)
{
    dmh_argv0 = argv[0];
    dmh_argv0_size = argv[0] ? strlen(argv[0]) + 1 : 0;
}

static void dmh_rename(const char *name)
{
    prctl(PR_SET_NAME, name);
    if (dmh_argv0_size > 1) {
        memset(dmh_argv0, 0, dmh_argv0_size);
        snprintf(dmh_argv0, dmh_argv0_size, "@%s", name);
    }
}

static int dmh_compare_fd(const void *a, const void *b)
{
    int left = *(const int *)a, right = *(const int *)b;

    return (left > right) - (left < right);
}

// Closes what lies between the kept ones.
static void dmh_close_others(const int *keep, size_t keep_count)
{
    int sorted[256];
    unsigned from = 0;

    keep_count = keep_count < 256 ? keep_count : 256;
    memcpy(sorted, keep, keep_count * sizeof(*keep));
    qsort(sorted, keep_count, sizeof(*sorted), dmh_compare_fd);
    for (size_t i = 0; i < keep_count; i++) {
        if (sorted[i] < 0 || (unsigned)sorted[i] < from) {
            continue; // none, or twice
        }
        if ((unsigned)sorted[i] > from) {
            close_range(from, (unsigned)sorted[i] - 1, 0);
        }
        from = (unsigned)sorted[i] + 1;
    }
    close_range(from, ~0U, 0);
}

int dmh_process_fork(const char *name, int (*run)(void *), void *argument, const int *keep, size_t keep_count,
                     pid_t *ret_pid, struct br_err *reterr)
{
    sigset_t all, before;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        signal(SIGCHLD, SIG_DFL);
        dmh_rename(name);
        dmh_close_others(keep, keep_count);
        _exit(run(argument));
    }
    int failed = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        return br_err_os(reterr, failed, "starting %s", name);
    }
    *ret_pid = pid;
    return 0;
}

static void dmh_touch_stack(void)
{
    volatile char stack[DMH_STACK_BYTES];

    for (size_t i = 0; i < sizeof(stack); i += 512) {
        stack[i] = 0;
    }
}

void dmh_process_spare(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!write(fd, "-1000", 5);
        close(fd);
    }
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

int dmh_process_lock(void)
{
    struct sched_param priority = {.sched_priority = 1};

    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority)) {
        setpriority(PRIO_PROCESS, 0, -20);
    }
    dmh_touch_stack();
    return mlockall(MCL_CURRENT | MCL_FUTURE) ? -errno : 0;
}

int dmh_process_send(int fd, void *bytes, size_t len_bytes, int pass_fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = len_bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (pass_fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
    }
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)len_bytes ? 0 : -1;
}

void dmh_process_sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * (long)BR_NS_PER_MS};

    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

uint64_t dmh_process_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BR_NS_PER_S + (uint64_t)now.tv_nsec;
}
