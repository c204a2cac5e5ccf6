// SPDX-License-Identifier: Apache-2.0
//
// kill_at_change COUNT_FILE N blkrep|all COMMAND ARGS...: runs COMMAND, which starts the helper, which starts its watchdogs and suspenders, and kills
// at the N-th system call of any of them that changes the stack (N 0: never), as it is entered: everything before happened, nothing after. How
// many there were is written to COUNT_FILE, and a word for the last one.
//
//   blkrep   only the command is killed; the helper goes on with what it was asked
//   all      everybody is killed but a watchdog, which is there for that
//
// A command of LVM's that was begun goes on, and what it changes does not count: it may hold a device suspended, and nobody kills one on purpose.
//
// What counts: device-mapper's ioctls but questions, those of loop devices, and names, files and room made or taken away in file systems.
//
// Method: ptrace, as tests/cli/kill_at_syscall.c, but over sessions: the helper and its children leave the command's. A seccomp filter stops them at
// the few system calls that may count and at no other, which on an emulated processor is ten times as fast as a stop at each; the helper's own
// filters come on top. Then it waits until the last of them has ended. Exit status: the command's, 137 when it was killed; 126 when
// somebody is left after a minute.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/dm-ioctl.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>

#define PROCESSES_MAX 256
#define LIMIT_S       60

static struct {
    pid_t pids[PROCESSES_MAX];
    int count;
} seen;

static uint64_t counted;
static char word[64];

static bool is_called(pid_t pid, const char *wanted)
{
    char path[64];
    char name[32] = "";

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file) {
        (void)!fgets(name, sizeof(name), file);
        fclose(file);
    }
    return !strncmp(name, wanted, strlen(wanted));
}

static bool is_watchdog(pid_t pid)
{
    return is_called(pid, "blkrep-watchdog");
}

// Every system call that change_word() looks at makes a stop.
static int filter_myself(void)
{
#define STOP_AT(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (call), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE)
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        STOP_AT(SYS_rename),
        STOP_AT(SYS_renameat),
        STOP_AT(SYS_renameat2),
        STOP_AT(SYS_unlink),
        STOP_AT(SYS_unlinkat),
        STOP_AT(SYS_rmdir),
        STOP_AT(SYS_mkdirat),
        STOP_AT(SYS_fallocate),
        STOP_AT(SYS_ioctl),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_EXCL, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
    };
#undef STOP_AT
    static const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static const char *ioctl_word(uint64_t request)
{
    static const char *const dm[] = {[DM_DEV_CREATE_CMD] = "dm create", [DM_DEV_REMOVE_CMD] = "dm remove",
                                     [DM_DEV_RENAME_CMD] = "dm rename", [DM_DEV_SUSPEND_CMD] = "dm suspend or resume",
                                     [DM_TABLE_LOAD_CMD] = "dm load",   [DM_TABLE_CLEAR_CMD] = "dm clear",
                                     [DM_TARGET_MSG_CMD] = "dm message"};
    unsigned number = request & 0xff;

    if ((request >> 8 & 0xff) == DM_IOCTL) {
        return number < sizeof(dm) / sizeof(dm[0]) ? dm[number] : NULL;
    }
    return (request & 0xff00) == 0x4c00 && request != LOOP_GET_STATUS64 ? "loop" : NULL;
}

static const char *change_word(uint64_t number, const __u64 *args)
{
    switch (number) {
    case SYS_ioctl: return ioctl_word(args[1]);
    case SYS_openat: return args[2] & O_CREAT && args[2] & O_EXCL ? "create" : NULL;
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2: return "rename";
    case SYS_unlink:
    case SYS_unlinkat: return "unlink";
    case SYS_rmdir: return "rmdir";
    case SYS_mkdirat: return "mkdir"; // not mkdir(): libdevmapper asks for its folder again and again
    case SYS_fallocate: return "fallocate";
    default: return NULL;
    }
}

static void remember(pid_t pid)
{
    for (int i = 0; i < seen.count; i++) {
        if (seen.pids[i] == pid) {
            return;
        }
    }
    if (seen.count < PROCESSES_MAX) {
        seen.pids[seen.count++] = pid;
    }
}

static void forget(pid_t pid)
{
    for (int i = 0; i < seen.count; i++) {
        if (seen.pids[i] == pid) {
            seen.pids[i] = seen.pids[--seen.count];
        }
    }
}

// Looks at one stop; true when it is time to kill. *ret_signal: what the process is to be given.
static bool stopped(pid_t pid, int status, uint64_t kill_at, int *ret_signal)
{
    struct ptrace_syscall_info info;
    int signal_number = WSTOPSIG(status);
    const char *change = NULL;

    if (status >> 16 == PTRACE_EVENT_SECCOMP && !is_called(pid, "lvm") && counted < (kill_at ? kill_at : UINT64_MAX) &&
        ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) > 0 && info.op == PTRACE_SYSCALL_INFO_SECCOMP) {
        change = change_word(info.seccomp.nr, info.seccomp.args);
    }
    if (status >> 16 || signal_number == SIGSTOP) {
        signal_number = 0; // a ptrace event, or the first stop of a new process
    }
    if (change) {
        snprintf(word, sizeof(word), "%s%s", is_watchdog(pid) ? "the watchdog's " : "", change);
        counted++;
    }
    *ret_signal = signal_number;
    return change && counted == kill_at;
}

static void kill_them(pid_t command, bool all)
{
    for (int i = 0; i < seen.count; i++) {
        if (seen.pids[i] == command || (all && !is_watchdog(seen.pids[i]) && !is_called(seen.pids[i], "lvm"))) {
            kill(seen.pids[i], SIGKILL);
        }
    }
}

static void too_long(int number)
{
    (void)number;
    static const char text[] = "kill_at_change: somebody is left\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(126);
}

// Until the last one has ended; the command's exit status as a shell gives it.
static int follow(pid_t command, uint64_t kill_at, bool all)
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
            int signal_number;
            remember(pid);
            if (stopped(pid, status, kill_at, &signal_number)) {
                kill_them(command, all);
            }
            // One that was killed does not go on from here: its system call is never executed.
            ptrace(PTRACE_CONT, pid, 0, signal_number);
            continue;
        }
        forget(pid);
        if (pid == command) {
            result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    }
}

int main(int argc, char **argv)
{
    int status;

    if (argc < 5) {
        fprintf(stderr, "kill_at_change: see the head of tests/vm/lib/kill_at_change.c\n");
        return 2;
    }
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 2;
    }
    if (!child) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0)) {
            perror("ptrace");
            _exit(126);
        }
        raise(SIGSTOP);
        if (filter_myself()) {
            perror("seccomp");
            _exit(126);
        }
        execvp(argv[4], argv + 4);
        perror(argv[4]);
        _exit(127);
    }
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, child, 0,
               PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)) {
        perror("ptrace");
        return 126;
    }
    signal(SIGALRM, too_long);
    alarm(LIMIT_S);
    remember(child);
    ptrace(PTRACE_CONT, child, 0, 0);
    int result = follow(child, strtoull(argv[2], NULL, 10), !strcmp(argv[3], "all"));
    FILE *file = fopen(argv[1], "we");
    if (!file || fprintf(file, "%llu %s\n", (unsigned long long)counted, word) < 0 || fclose(file)) {
        perror(argv[1]);
        return 2;
    }
    return result;
}
