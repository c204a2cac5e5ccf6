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

// Room for the descriptors of one message.
union dmh_pass_room {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(DMH_PASS_FDS_MAX * sizeof(int))];
};

int dmh_process_send(int fd, void *bytes, size_t len_bytes, const int *fds, size_t fd_count)
{
    union dmh_pass_room control = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = len_bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd_count > DMH_PASS_FDS_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (fd_count) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)len_bytes ? 0 : -1;
}

// The kernel gives no more than there is room for; a peer may send them in several control messages.
static void dmh_take_descriptors(struct msghdr *message, int fds[DMH_PASS_FDS_MAX], size_t *fd_count)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int got;
            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
            if (*fd_count < DMH_PASS_FDS_MAX) {
                fds[(*fd_count)++] = got;
            } else {
                close(got);
                message->msg_flags |= MSG_CTRUNC;
            }
        }
    }
}

ssize_t dmh_process_receive(int fd, void *bytes, size_t size, int ret_fds[DMH_PASS_FDS_MAX], size_t *ret_fd_count,
                            bool *ret_whole)
{
    union dmh_pass_room control;
    struct iovec iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr message;
    ssize_t len;

    *ret_fd_count = 0;
    *ret_whole = true;
    do {
        message = (struct msghdr){
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        len = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    } while (len < 0 && errno == EINTR);
    if (len < 0) {
        return len;
    }
    dmh_take_descriptors(&message, ret_fds, ret_fd_count);
    *ret_whole = !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    return len;
}

void dmh_process_close(const int *fds, size_t fd_count)
{
    for (size_t i = 0; i < fd_count; i++) {
        close(fds[i]);
    }
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
