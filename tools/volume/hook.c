// SPDX-License-Identifier: Apache-2.0
#include "tools/volume/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "tools/conf.h"

#define HOOK_NAP_NS 5000000

// What root runs must be root's alone, file and folder.
static int hook_trust(const char *script, struct br_err *reterr)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(script, '/');
    struct stat st;

    if (script[0] != '/' || !slash || (size_t)(slash - script) >= sizeof(folder)) {
        return br_err_set(reterr, BR_E_HOOK, "%s is no absolute path", script);
    }
    memcpy(folder, script, (size_t)(slash - script));
    folder[slash - script] = 0;
    for (const char *path = script; path; path = path == script ? folder : NULL) {
        if (stat(*path ? path : "/", &st)) {
            return br_err_set(reterr, BR_E_HOOK, "%s: %s", path, strerror(errno));
        }
        if ((st.st_uid && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH))) {
            return br_err_set(reterr, BR_E_HOOK, "%s can be changed by others: make it root's, mode 755", path);
        }
    }
    return 0;
}

static void hook_child(const char *script, const char *word, const char *name)
{
    sigset_t none;
    int null = open("/dev/null", O_RDONLY);

    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        _exit(126);
    }
    setenv("BLKREP_VOLUME", name, 1);
    execl(script, script, word, name, (char *)NULL);
    _exit(127);
}

static uint64_t hook_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * BR_NS_PER_S + (uint64_t)now.tv_nsec;
}

int hook_run(const char *script, const char *word, const char *name, uint64_t timeout_ns, struct br_err *reterr)
{
    const struct timespec nap = {.tv_nsec = HOOK_NAP_NS};
    uint64_t deadline_ns = hook_now_ns() + timeout_ns;
    int status = 0;
    int error = hook_trust(script, reterr);
    pid_t pid = error ? 0 : fork();

    if (error) {
        return error;
    }
    if (pid < 0) {
        return br_err_set(reterr, BR_E_HOOK, "%s: %s", script, strerror(errno));
    }
    if (!pid) {
        hook_child(script, word, name);
    }
    setpgid(pid, pid); // whichever of the two comes first
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (hook_now_ns() >= deadline_ns) {
            char text[32];
            kill(-pid, SIGKILL);
            waitpid(pid, &status, 0);
            br_duration_text(timeout_ns, text, sizeof(text));
            return br_err_set(reterr, BR_E_HOOK, "%s %s %s was killed: it took longer than %s", script, word, name,
                              text);
        }
        nanosleep(&nap, NULL);
    }
    if (WIFSIGNALED(status)) {
        return br_err_set(reterr, BR_E_HOOK, "%s %s %s was killed by signal %d", script, word, name, WTERMSIG(status));
    }
    return WEXITSTATUS(status)
               ? br_err_set(reterr, BR_E_HOOK, "%s %s %s exited with %d", script, word, name, WEXITSTATUS(status))
               : 0;
}

// The script of the volume's section, NULL none.
static int hook_of(struct volume *volume, const char *key, const char **ret_script, uint64_t *ret_timeout_ns,
                   struct br_err *reterr)
{
    const struct conf *conf;
    int error = conf_of(volume->cli, &conf, reterr);

    if (!error) {
        *ret_script = conf_get(conf, "volume", volume->record.name, key);
        *ret_timeout_ns = conf_duration_ns(conf, "volume", volume->record.name, "hook-timeout");
    }
    return error;
}

int hook_before(struct volume *volume, struct br_err *reterr)
{
    const char *script;
    uint64_t timeout_ns;
    int error = hook_of(volume, "before-snapshot", &script, &timeout_ns, reterr);

    return error || !script ? error : hook_run(script, "before", volume->record.name, timeout_ns, reterr);
}

void hook_after(struct volume *volume)
{
    const char *script;
    uint64_t timeout_ns;
    struct br_err err;
    int error = hook_of(volume, "after-snapshot", &script, &timeout_ns, &err);

    if (!error && script) {
        error = hook_run(script, "after", volume->record.name, timeout_ns, &err);
    }
    if (error) {
        cli_warn(volume->cli, "after-snapshot of %s: %s", volume->record.name, err.text);
    }
}
