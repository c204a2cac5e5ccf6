// SPDX-License-Identifier: Apache-2.0
//
// kill_at_syscall COUNT_FILE N COMMAND ARGS...: runs COMMAND and kills all of it with SIGKILL as it enters its N-th system call that
// changes something outside of its memory (N 0: never). How many it entered is written to COUNT_FILE.
//
// Method: ptrace; one counter over all threads and children, so that sweeping N visits every such call in the order in which they come
// (strace's own injection counts for each thread apart). A process killed at the entry of a call never executes it, so "killed at N" is
// "everything before N happened, and nothing after". What io_uring or libaio were given before goes on in the kernel, as after a real kill.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h>

// A descriptor that leads to no file: wake-ups between threads and output for people change nothing that could be lost.
static bool leads_nowhere(pid_t pid, uint64_t fd)
{
    char path[64];
    char target[64];

    snprintf(path, sizeof(path), "/proc/%d/fd/%llu", (int)pid, (unsigned long long)fd);
    ssize_t len = readlink(path, target, sizeof(target) - 1);
    target[len < 0 ? 0 : len] = 0;
    return !strncmp(target, "anon_inode:", 11) || !strncmp(target, "pipe:", 5) || !strncmp(target, "/dev/", 5);
}

static bool changes(pid_t pid, uint64_t number, const __u64 *args)
{
    switch (number) {
    case SYS_write: return !leads_nowhere(pid, args[0]);
    case SYS_openat: return args[2] & O_CREAT;
    case SYS_open: return args[1] & O_CREAT;
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_sync_file_range:
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_rmdir:
    case SYS_link:
    case SYS_linkat:
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_truncate:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_io_submit:
    case SYS_io_uring_enter: return true;
    default: return false;
    }
}

static uint64_t counted;

// Handles one stop; true when the command is to be killed now.
static bool stopped(pid_t pid, int status, uint64_t kill_at)
{
    struct ptrace_syscall_info info;
    int signal_number = WSTOPSIG(status);
    bool hit = false;

    if (signal_number == (SIGTRAP | 0x80)) {
        if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY &&
            changes(pid, info.entry.nr, info.entry.args)) {
            hit = ++counted == kill_at;
        }
        signal_number = 0;
    } else if (status >> 16 || signal_number == SIGSTOP) {
        signal_number = 0; // a ptrace event, or the first stop of a new thread
    }
    if (!hit) {
        ptrace(PTRACE_SYSCALL, pid, 0, signal_number);
    }
    return hit;
}

// Returns the exit status as a shell gives it.
static int follow(pid_t child, uint64_t kill_at)
{
    int result = 1;

    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == EINTR) {
            continue;
        }
        if (pid < 0) {
            return result;
        }
        if (WIFSTOPPED(status)) {
            if (stopped(pid, status, kill_at)) {
                kill(-child, SIGKILL);
            }
        } else if (pid == child) {
            result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: kill_at_syscall COUNT_FILE N COMMAND ARGS...\n");
        return 2;
    }
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 2;
    }
    if (!child) {
        setpgid(0, 0);
        if (ptrace(PTRACE_TRACEME, 0, 0, 0)) {
            perror("ptrace");
            _exit(126);
        }
        raise(SIGSTOP);
        execv(argv[3], argv + 3);
        perror(argv[3]);
        _exit(127);
    }
    int status;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
        return 126;
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    ptrace(PTRACE_SETOPTIONS, child, 0, options);
    ptrace(PTRACE_SYSCALL, child, 0, 0);
    int result = follow(child, strtoull(argv[2], NULL, 10));
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%llu\n", (unsigned long long)counted) < 0 || fclose(file)) {
        perror(argv[1]);
        return 2;
    }
    return result;
}
