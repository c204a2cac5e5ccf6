// SPDX-License-Identifier: Apache-2.0
#include "tools/nbdkit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli.h"

#define STOP_KILL_MS 5000u

bool child_installed(const char *program)
{
    const char *path = getenv("PATH");
    char at[PATH_MAX];

    if (strchr(program, '/')) {
        return !access(program, X_OK);
    }
    for (const char *from = path ? path : ""; *from;) {
        size_t len = strcspn(from, ":");

        snprintf(at, sizeof(at), "%.*s/%s", (int)len, from, program);
        if (!access(at, X_OK)) {
            return true;
        }
        from += len + (from[len] == ':');
    }
    return false;
}

static int become(const struct child *child)
{
    if (!child->uid) {
        return 0;
    }
    return setgroups(0, NULL) || setgid(child->gid) || setuid(child->uid);
}

// In the child: between fork() and exec() only what may be done there.
static void run(const struct child *child, pid_t parent)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = child->out_fd < 0 ? STDERR_FILENO : child->out_fd;
    union {
        const char *const *in;
        char *const *out;
    } argv = {.in = child->argv};

    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || become(child) ||
        (child->cwd && chdir(child->cwd)) || (child->listen_fd && dup2(child->listen_fd, STDERR_FILENO + 1) < 0)) {
        _exit(126);
    }
    // Another user's process: what it got of ours before is not its business.
    if (!child->lives && (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)) {
        _exit(126);
    }
    execvp(child->argv[0], argv.out);
    _exit(127);
}

int child_start(const struct child *child, pid_t *ret_pid, struct br_err *reterr)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (!pid) {
        unsetenv("BLKREP_PASSPHRASE");
        for (size_t i = 0; i < BR_ARRAY_LEN(child->set); i++) {
            const char *equals = child->set[i] ? strchr(child->set[i], '=') : NULL;
            char name[64];

            if (equals) {
                snprintf(name, sizeof(name), "%.*s", (int)(equals - child->set[i]), child->set[i]);
                setenv(name, equals + 1, 1);
            }
        }
        if (child->listen_fd) {
            char self[24];

            snprintf(self, sizeof(self), "%d", getpid());
            setenv("LISTEN_PID", self, 1);
            setenv("LISTEN_FDS", "1", 1);
        }
        run(child, parent);
    }
    if (pid < 0) {
        return br_err_os(reterr, errno, "starting %s", child->argv[0]);
    }
    setpgid(pid, pid);
    *ret_pid = pid;
    return 0;
}

void child_pause(unsigned ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&span, NULL);
}

int child_ended(pid_t pid, int *ret_status)
{
    *ret_status = 0;
    return pid <= 0 || waitpid(pid, ret_status, WNOHANG) != 0;
}

void child_stop(pid_t pid, int signal, unsigned ms)
{
    int status;

    if (pid <= 0) {
        return;
    }
    kill(pid, signal);
    for (unsigned waited = 0; !child_ended(pid, &status); waited += 10) {
        if (waited >= ms) {
            kill(-pid, SIGKILL);
            waitpid(pid, &status, 0);
            return;
        }
        child_pause(10);
    }
}

int child_wait(pid_t pid, const char *name, unsigned limit_ms, int *ret_status, struct br_err *reterr)
{
    for (unsigned waited = 0; !child_ended(pid, ret_status); waited += 10) {
        if (cli_cancel || (limit_ms && waited >= limit_ms)) {
            child_stop(pid, SIGTERM, STOP_KILL_MS);
            return cli_cancel ? br_err_set(reterr, BR_E_CANCELLED, "while %s ran", name)
                              : br_err_set(reterr, BR_E_TIMEOUT, "%s took longer than %u s", name, limit_ms / 1000);
        }
        child_pause(10);
    }
    return 0;
}

int child_run(const struct child *child, unsigned limit_ms, struct br_err *reterr)
{
    pid_t pid;
    int status;
    int error = child_start(child, &pid, reterr);

    error = error ? error : child_wait(pid, child->argv[0], limit_ms, &status, reterr);
    if (error) {
        return error;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "%s is not installed", child->argv[0]);
    }
    if (WIFSIGNALED(status)) {
        return br_err_set(reterr, BR_E_HOOK, "%s was ended by signal %d", child->argv[0], WTERMSIG(status));
    }
    return WEXITSTATUS(status)
               ? br_err_set(reterr, BR_E_HOOK, "%s ended with status %d", child->argv[0], WEXITSTATUS(status))
               : 0;
}
