// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/lvm_runner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "dm-helper/volume.h"
#include "engine/base/units.h"

#define DMH_LOOK_MS    5
#define DMH_GOODBYE_MS 200

static const char *const dmh_lvm_paths[] = {"/usr/sbin/lvm", "/sbin/lvm", NULL};
static const char *const dmh_delta_paths[] = {"/usr/sbin/thin_delta", "/sbin/thin_delta", NULL};

// ---- argument vectors ------------------------------------------------------------------------------------------------

#define DMH_LVS_FIELDS                                                                                           \
    "vg_name,lv_name,lv_uuid,lv_attr,lv_size,origin,pool_lv,data_percent,metadata_percent,snap_percent,lv_tags," \
    "lv_dm_path,thin_id,transaction_id,chunk_size"
#define DMH_VGS_FIELDS "vg_name,vg_uuid,vg_attr,vg_size,vg_free,vg_extent_size,vg_tags"

// What stands for itself in a vector, and what is put in: VG, VG/LV, VG/ORIGIN, LV, the size.
static const char dmh_vg[] = "VG", dmh_vg_lv[] = "VG/LV", dmh_vg_origin[] = "VG/ORIGIN", dmh_lv[] = "LV",
                  dmh_size[] = "SIZE";

static const struct dmh_lvm_row {
    uint32_t verb;
    bool report;
    const char *words[24];
} dmh_lvm_rows[] = {
    {DMH_LVM_RUN_LVS,
     true,
     // NOLINTNEXTLINE(bugprone-suspicious-missing-comma): the list of fields is one word
     {"lvs", "--all", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", DMH_LVS_FIELDS, dmh_vg}},
    {DMH_LVM_RUN_VGS,
     true,
     {"vgs", "--reportformat", "json", "--units", "b", "--nosuffix", "--options", DMH_VGS_FIELDS, dmh_vg}},
    {DMH_LVM_RUN_TAGS, true, {"lvs", "--noheadings", "--options", "lv_tags", dmh_vg_lv}},
    {DMH_LVM_RUN_CREATE,
     false,
     {"lvcreate", "--yes", "--addtag", DMH_LVM_TAG, "--wipesignatures", "y", "--name", dmh_lv, "--size", dmh_size,
      dmh_vg}},
    {DMH_LVM_RUN_SNAPSHOT,
     false,
     {"lvcreate", "--yes", "--snapshot", "--addtag", DMH_LVM_TAG, "--name", dmh_lv, "--size", dmh_size, dmh_vg_origin}},
    {DMH_LVM_RUN_THIN_SNAPSHOT,
     false,
     {"lvcreate", "--yes", "--snapshot", "--addtag", DMH_LVM_TAG, "--permission", "r", "--setactivationskip", "n",
      "--name", dmh_lv, dmh_vg_origin}},
    {DMH_LVM_RUN_EXTEND, false, {"lvextend", "--yes", "--size", dmh_size, dmh_vg_lv}},
    {DMH_LVM_RUN_REMOVE, false, {"lvremove", "--yes", dmh_vg_lv}},
    {DMH_LVM_RUN_ACTIVATE, false, {"lvchange", "--activate", "y", "--ignoreactivationskip", dmh_vg_lv}},
};

static const struct dmh_lvm_row *dmh_lvm_row(uint32_t verb)
{
    for (size_t i = 0; i < BR_ARRAY_LEN(dmh_lvm_rows); i++) {
        if (dmh_lvm_rows[i].verb == verb) {
            return &dmh_lvm_rows[i];
        }
    }
    return NULL;
}

static bool dmh_lv_is_ours(const char *lv)
{
    return dmh_vg_ok(lv) && !strncmp(lv, "blkrep-", 7);
}

// The text that a word stands for; "" when the call does not have it.
static int dmh_lvm_word(const struct dmh_lvm_call *call, const char *word, char *text, size_t size)
{
    if (word == dmh_vg) {
        return snprintf(text, size, "%s", dmh_vg_ok(call->vg) ? call->vg : "");
    }
    if (word == dmh_lv) {
        return snprintf(text, size, "%s", dmh_lv_is_ours(call->lv) ? call->lv : "");
    }
    if (word == dmh_vg_lv) {
        bool ok = dmh_vg_ok(call->vg) && dmh_lv_is_ours(call->lv);
        return snprintf(text, size, "%s%s%s", ok ? call->vg : "", ok ? "/" : "", ok ? call->lv : "");
    }
    if (word == dmh_vg_origin) {
        bool ok = dmh_vg_ok(call->vg) && dmh_vg_ok(call->origin);
        return snprintf(text, size, "%s%s%s", ok ? call->vg : "", ok ? "/" : "", ok ? call->origin : "");
    }
    return call->size_bytes ? snprintf(text, size, "%" PRIu64 "b", call->size_bytes) : 0;
}

// thin_delta reads the metadata through the node of the kernel's own name.
static int dmh_delta_vector(const struct dmh_lvm_call *call, const char *argv[32], char *buffer, size_t buffer_size)
{
    size_t older_at = 64, newer_at = 96;

    if (buffer_size < 128 || call->older_id == call->newer_id) {
        return -BR_E_USAGE;
    }
    snprintf(buffer, older_at, "/dev/dm-%" PRIu32, call->meta_minor);
    snprintf(buffer + older_at, 32, "%" PRIu64, call->older_id);
    snprintf(buffer + newer_at, 32, "%" PRIu64, call->newer_id);
    const char *const words[] = {"thin_delta",      "-m",   "--thin1", buffer + older_at, "--thin2",
                                 buffer + newer_at, buffer, NULL};
    memcpy(argv, words, sizeof(words));
    return 0;
}

int dmh_lvm_vector(const struct dmh_lvm_call *call, const char *argv[32], char *buffer, size_t buffer_size)
{
    const struct dmh_lvm_row *row = dmh_lvm_row(call->verb);
    size_t count = 0;

    if (call->verb == DMH_LVM_RUN_THIN_DELTA) {
        return dmh_delta_vector(call, argv, buffer, buffer_size);
    }
    if (!row) {
        return -BR_E_USAGE;
    }
    argv[count++] = "lvm";
    for (size_t i = 0; i < BR_ARRAY_LEN(row->words) && row->words[i]; i++) {
        const char *word = row->words[i];
        bool stands_for =
            word == dmh_vg || word == dmh_vg_lv || word == dmh_vg_origin || word == dmh_lv || word == dmh_size;
        argv[count] = word;
        if (stands_for) {
            int len = dmh_lvm_word(call, word, buffer, buffer_size);
            if (len <= 0 || (size_t)len >= buffer_size) {
                return -BR_E_USAGE;
            }
            argv[count] = buffer;
            buffer += len + 1;
            buffer_size -= (size_t)len + 1;
        }
        count++;
    }
    argv[count] = NULL;
    return 0;
}

// ---- the runner ------------------------------------------------------------------------------------------------------

// The program, if it is one that only root could have put there.
static const char *dmh_program_of(uint32_t verb)
{
    struct stat st;

    for (const char *const *path = verb == DMH_LVM_RUN_THIN_DELTA ? dmh_delta_paths : dmh_lvm_paths; *path; path++) {
        if (!stat(*path, &st) && S_ISREG(st.st_mode) && !st.st_uid && !(st.st_mode & 022)) {
            return *path;
        }
    }
    return NULL;
}

static int dmh_lvm_spawn(const char *program, const char *const *argv, int output_fd, int error_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C", quiet[] = "LVM_SUPPRESS_FD_WARNINGS=1";
    char no_udev[] = "DM_DISABLE_UDEV=1";
    char *environment[] = {path, locale, quiet, getenv("DM_DISABLE_UDEV") ? no_udev : NULL, NULL};
    char *arguments[32];

    // posix_spawn() takes what it does not change without const.
    memcpy(arguments, argv, sizeof(arguments));
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    int error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    error = error ? error : posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO);
    error = error ? error : posix_spawn_file_actions_adddup2(&actions, error_fd, STDERR_FILENO);
    error = error ? error : posix_spawn(ret_pid, program, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return error;
}

// A file in memory that a program prints into is bounded by the limit that it was started with.
static void dmh_limit_output(uint64_t bytes)
{
    struct rlimit limit;

    if (!getrlimit(RLIMIT_FSIZE, &limit)) {
        limit.rlim_cur = bytes && (limit.rlim_max == RLIM_INFINITY || bytes < limit.rlim_max) ? bytes : limit.rlim_max;
        setrlimit(RLIMIT_FSIZE, &limit);
    }
}

// Waits for a command. False: it still runs, and is left to.
static bool dmh_lvm_await(pid_t pid, bool report, int32_t *ret_exit_status)
{
    uint64_t until_ns = dmh_process_now_ns() + DMH_LVM_TIMEOUT_MS * BR_NS_PER_MS;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) != pid) {
        if (dmh_process_now_ns() > until_ns) {
            if (!report) {
                return false;
            }
            kill(pid, SIGKILL);
        }
        dmh_process_sleep_ms(DMH_LOOK_MS);
    }
    *ret_exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

static void dmh_lvm_run(const struct dmh_lvm_call *call, int output_fd, int error_fd, struct dmh_lvm_answer *answer)
{
    const struct dmh_lvm_row *row = dmh_lvm_row(call->verb);
    const char *argv[32] = {NULL};
    char buffer[5 * DMH_DM_NAME_MAX];
    const char *program = dmh_program_of(call->verb);
    pid_t pid;

    answer->error = dmh_lvm_vector(call, argv, buffer, sizeof(buffer));
    if (answer->error || !program) {
        answer->error = answer->error ? answer->error : -BR_E_UNSUPPORTED;
        return;
    }
    dmh_limit_output(row ? 0 : DMH_LVM_OUTPUT_MAX);
    bool failed = output_fd < 0 || error_fd < 0 || dmh_lvm_spawn(program, argv, output_fd, error_fd, &pid);
    dmh_limit_output(0);
    if (failed) {
        answer->error = -BR_E_IO;
    } else if (!dmh_lvm_await(pid, !row || row->report, &answer->exit_status)) {
        answer->error = -BR_E_BUSY;
    } else {
        bool file = !row && !answer->exit_status; // passed on as it is
        ssize_t len =
            file ? 0 : pread(answer->exit_status ? error_fd : output_fd, answer->output, sizeof(answer->output) - 1, 0);
        answer->output[len > 0 ? len : 0] = 0;
    }
}

static int dmh_lvm_serve(void *fd_pointer)
{
    int fd = *(const int *)fd_pointer;
    BR_AUTO_FREE struct dmh_lvm_answer *answer = malloc(sizeof(*answer));
    struct dmh_lvm_call call;
    int null_fd;

    // The standard streams are taken, so that nothing else is opened under their numbers.
    do {
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (null_fd >= 0 && null_fd <= STDERR_FILENO);
    while (answer && recv(fd, &call, sizeof(call), 0) == (ssize_t)sizeof(call)) {
        memset(answer, 0, sizeof(*answer));
        call.vg[sizeof(call.vg) - 1] = call.lv[sizeof(call.lv) - 1] = call.origin[sizeof(call.origin) - 1] = 0;
        // What a command prints goes into memory, not into a pipe: nobody has to read it for the command to go on.
        int output_fd = memfd_create("lvm-output", MFD_CLOEXEC);
        int error_fd = memfd_create("lvm-errors", MFD_CLOEXEC);
        dmh_lvm_run(&call, output_fd, error_fd, answer);
        bool file = call.verb == DMH_LVM_RUN_THIN_DELTA && !answer->error && !answer->exit_status;
        size_t len_bytes = offsetof(struct dmh_lvm_answer, output) + strlen(answer->output) + 1;
        int gone = dmh_process_send(fd, answer, len_bytes, &output_fd, file ? 1 : 0);
        close(output_fd);
        close(error_fd);
        if (gone) {
            break;
        }
    }
    return 0;
}

// ---- the helper's side -----------------------------------------------------------------------------------------------

int dmh_lvm_start(int *ret_fd, pid_t *ret_pid, struct br_err *reterr)
{
    int sockets[2], size = 2 * DMH_LVM_JSON_MAX;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets)) {
        return br_err_os(reterr, errno, "starting the LVM runner");
    }
    setsockopt(sockets[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    int error = dmh_process_fork("blkrep-lvm", dmh_lvm_serve, &sockets[1], &sockets[1], 1, ret_pid, reterr);
    close(sockets[1]);
    if (error) {
        close(sockets[0]);
        return error;
    }
    *ret_fd = sockets[0];
    return 0;
}

void dmh_lvm_stop(int fd, pid_t pid)
{
    if (fd < 0) {
        return;
    }
    close(fd);
    for (int ms = 0; ms < DMH_GOODBYE_MS && waitpid(pid, NULL, WNOHANG) == 0; ms++) {
        dmh_process_sleep_ms(1);
    }
}

int dmh_lvm_ask_file(int fd, const struct dmh_lvm_call *call, struct dmh_lvm_answer *answer, int *ret_fd,
                     struct br_err *reterr)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = answer, .iov_len = sizeof(*answer)};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

    *ret_fd = -1;
    memset(answer, 0, sizeof(*answer));
    if (send(fd, call, sizeof(*call), MSG_NOSIGNAL) != (ssize_t)sizeof(*call) ||
        recvmsg(fd, &message, MSG_CMSG_CLOEXEC) < (ssize_t)offsetof(struct dmh_lvm_answer, output)) {
        return br_err_set(reterr, BR_E_INTERNAL, "the LVM runner has ended");
    }
    const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c && c->cmsg_type == SCM_RIGHTS) {
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    }
    answer->output[sizeof(answer->output) - 1] = 0;
    return 0;
}

int dmh_lvm_ask(int fd, const struct dmh_lvm_call *call, struct dmh_lvm_answer *answer, struct br_err *reterr)
{
    int file_fd;
    int error = dmh_lvm_ask_file(fd, call, answer, &file_fd, reterr);

    if (file_fd >= 0) {
        close(file_fd);
    }
    return error;
}
