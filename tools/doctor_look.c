// SPDX-License-Identifier: Apache-2.0
//
// Looks at what may hang: a device whose path is dead, a file system whose device is, LVM behind either.
//
// A child process does the looks one after the other and writes each result to a pipe. When one takes longer than its time, the child is
// killed and left behind (one that waits in the kernel dies when the kernel lets it), the look counts as hung, and a new child goes on
// with the next. Results are structs of one size that fit a pipe's atomic write, so one is there whole or not at all.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/doctor.h"

#define LOOK_EACH_MS    5000
#define LOOK_HANGS_MAX  3
#define LOOK_PVS_MAX    64
#define LOOK_LINE_BYTES 512
// Without locks, and without the hints that LVM would write to /run.
#define LOOK_PVS_COMMAND                                                                     \
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin LVM_SUPPRESS_FD_WARNINGS=1 exec lvm pvs --readonly " \
    "--config 'devices{hints=\"none\"}' --noheadings --nosuffix --units b --separator '|' "  \
    "-o pv_name,vg_name,pv_free 2>/dev/null"

enum look_kind { LOOK_DEVICE, LOOK_SPACE, LOOK_PVS };

struct look_task {
    enum look_kind kind;
    size_t device;     // of DEVICE and SPACE
    const char *where; // of SPACE
};

// One record on the pipe. PVS sends one for each physical volume and an end.
struct look_result {
    size_t task;
    bool end; // the task is done
    struct doctor_look look;
    uint64_t free_bytes;
    char pv[LOOK_LINE_BYTES];
    char vg[128];
};
_Static_assert(sizeof(struct look_result) <= PIPE_BUF, "a result is written whole or not at all");

struct look_run {
    struct doctor *doctor;
    struct look_task *tasks;
    size_t task_count;
};

// In the child ------------------------------------------------------------------------------------------------------------------------------

static bool look_is(const struct kmc_device *device, dev_t number)
{
    return major(number) == device->major_number && minor(number) == device->minor_number;
}

// Its node by the kernel's name; that it leads to this device is checked.
static int look_open(const struct kmc_device *device, char *path, size_t path_size)
{
    struct stat st;

    snprintf(path, path_size, "/dev/%s", device->name);
    for (char *bang = strchr(path, '!'); bang; bang = strchr(bang, '!')) {
        *bang = '/';
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && (fstat(fd, &st) || !S_ISBLK(st.st_mode) || !look_is(device, st.st_rdev))) {
        close(fd);
        errno = ENXIO;
        return -1;
    }
    return fd;
}

static void look_device(const struct kmc_device *device, struct doctor_look *look)
{
    struct br_guard_signature signature;
    struct br_err err = {0};
    char path[128];

    int fd = look_open(device, path, sizeof(path));
    if (fd < 0) {
        look->seen = errno == EACCES || errno == EPERM ? DOCTOR_DENIED : DOCTOR_FAILED;
        return;
    }
    int found = br_guard_signature(fd, &signature, &err);
    look->seen = found < 0 ? DOCTOR_FAILED : DOCTOR_SEEN;
    if (found >= 0) {
        look->blank = !found;
        snprintf(look->holds, sizeof(look->holds), "%s", signature.several ? "several signatures" : signature.type);
        snprintf(look->label, sizeof(look->label), "%s", signature.label);
    }
    // Of a mounted or held device it is known who uses it; of others a process may.
    if (!device->mount_count && !device->above_count && !device->swap &&
        br_guard_source(fd, path, &err) == -BR_E_SOURCE_IN_USE) {
        const char *text = strstr(err.text, ": ");
        snprintf(look->users, sizeof(look->users), "%.380s", text ? text + 2 : err.text);
    }
    close(fd);
}

// The room of a mount point, as long as it still is that file system's: something else may be mounted over it.
static void look_space(const struct kmc_device *device, const char *where, struct look_result *result)
{
    struct statvfs space;
    struct stat st;
    bool seen = !stat(where, &st) && look_is(device, st.st_dev) && !statvfs(where, &space);

    result->look.seen = seen ? DOCTOR_SEEN : DOCTOR_FAILED;
    result->free_bytes = seen ? (uint64_t)space.f_bavail * space.f_frsize : 0;
}

static bool look_send(int fd, const struct look_result *result)
{
    return write(fd, result, sizeof(*result)) == (ssize_t)sizeof(*result);
}

// "/dev/sdb|vg0|1073741824" for each physical volume.
static void look_pvs(int fd, size_t task)
{
    char line[LOOK_LINE_BYTES];
    FILE *lvm = popen(LOOK_PVS_COMMAND, "re"); // NOLINT(cert-env33-c): a fixed text

    while (lvm && fgets(line, sizeof(line), lvm)) {
        struct look_result result = {.task = task};
        char *rest = line + strspn(line, " ");
        const char *pv = strsep(&rest, "|");
        const char *vg = strsep(&rest, "|");
        if (rest && *vg) {
            snprintf(result.pv, sizeof(result.pv), "%s", pv);
            snprintf(result.vg, sizeof(result.vg), "%.127s", vg);
            result.free_bytes = strtoull(rest, NULL, 10);
            look_send(fd, &result);
        }
    }
    struct look_result last = {.task = task, .end = true};
    last.look.seen = lvm && !pclose(lvm) ? DOCTOR_SEEN : DOCTOR_FAILED;
    look_send(fd, &last);
}

static void look_child(const struct look_run *run, size_t first, int fd)
{
    for (size_t i = first; i < run->task_count; i++) {
        const struct look_task *task = &run->tasks[i];
        const struct kmc_device *device = &run->doctor->devices.list[task->device];
        struct look_result result = {.task = i, .end = true};
        switch (task->kind) {
        case LOOK_DEVICE: look_device(device, &result.look); break;
        case LOOK_SPACE: look_space(device, task->where, &result); break;
        case LOOK_PVS: look_pvs(fd, i); continue;
        }
        if (!look_send(fd, &result)) {
            return;
        }
    }
}

// In the parent ----------------------------------------------------------------------------------------------------------------------------

static uint64_t look_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// The child leads a process group of its own, so that what it started is killed with it.
static pid_t look_start(const struct look_run *run, size_t first, int *ret_fd)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC)) {
        return -1;
    }
    fflush(NULL); // what is buffered must not be written by the child too
    pid_t parent = getpid();
    pid_t pid = fork();
    if (!pid) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        if (getppid() == parent) {
            look_child(run, first, ends[1]);
        }
        _exit(0);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return -1;
    }
    setpgid(pid, pid);
    *ret_fd = ends[0];
    return pid;
}

// Ends a child without waiting for one that can't be ended.
static void look_end(pid_t pid, int fd)
{
    close(fd);
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
    for (int i = 0; i < 20 && !waitpid(pid, NULL, WNOHANG); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void look_take_pv(struct doctor *doctor, const struct look_result *result)
{
    char path[PATH_MAX];
    const char *leaf;

    if (!realpath(result->pv, path) || strncmp(path, "/dev/", 5) != 0 || doctor->pv_count == LOOK_PVS_MAX) {
        return;
    }
    leaf = path + 5;
    size_t device = kmc_device_by_name(&doctor->devices, leaf);
    if (device == KMC_NO_DEVICE || !doctor->pvs) {
        return;
    }
    struct doctor_pv *pv = &doctor->pvs[doctor->pv_count++];
    pv->device = device;
    pv->free_bytes = result->free_bytes;
    memcpy(pv->vg, result->vg, sizeof(pv->vg));
}

static void look_take(struct look_run *run, const struct look_result *result)
{
    struct doctor *doctor = run->doctor;
    const struct look_task *task = &run->tasks[result->task];

    switch (task->kind) {
    case LOOK_DEVICE: doctor->looks[task->device] = result->look; break;
    case LOOK_SPACE:
        if (result->look.seen == DOCTOR_SEEN && doctor->spaces) {
            struct doctor_space *space = &doctor->spaces[doctor->space_count++];
            space->device = task->device;
            space->free_bytes = result->free_bytes;
            snprintf(space->where, sizeof(space->where), "%s", task->where);
        }
        break;
    case LOOK_PVS:
        if (result->end) {
            doctor->pvs_known = result->look.seen == DOCTOR_SEEN;
        } else {
            look_take_pv(doctor, result);
        }
        break;
    }
}

// Reads results until the child is done, hangs or ends. Returns the task that comes next.
static size_t look_follow(struct look_run *run, size_t next, int fd, uint64_t end_ms, bool *ret_hung)
{
    struct look_result result;

    *ret_hung = false;
    while (next < run->task_count) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        uint64_t now = look_now_ms();
        int wait_ms = now < end_ms ? (int)BR_MIN(end_ms - now, (uint64_t)LOOK_EACH_MS) : 0;
        int rc = poll(&ready, 1, wait_ms);
        if (rc < 0 && errno == EINTR) {
            continue;
        }
        if (rc <= 0) {
            *ret_hung = true;
            return next;
        }
        ssize_t got = read(fd, &result, sizeof(result));
        if (got != (ssize_t)sizeof(result) || result.task != next) {
            return next; // it ended in the middle of this one
        }
        look_take(run, &result);
        next += result.end;
    }
    return next;
}

static void look_mark(struct look_run *run, size_t index, enum doctor_seen seen)
{
    const struct look_task *task = &run->tasks[index];

    if (task->kind == LOOK_DEVICE) {
        run->doctor->looks[task->device].seen = seen;
    }
}

static void look_all(struct look_run *run)
{
    uint64_t end_ms = look_now_ms() + DOCTOR_LOOK_LIMIT_S * UINT64_C(1000);
    unsigned hangs = 0;
    size_t next = 0;

    while (next < run->task_count && hangs < LOOK_HANGS_MAX && look_now_ms() < end_ms && !cli_cancel) {
        bool hung;
        int fd = -1;
        pid_t pid = look_start(run, next, &fd);
        if (pid < 0) {
            break;
        }
        next = look_follow(run, next, fd, end_ms, &hung);
        look_end(pid, fd);
        if (next < run->task_count) {
            look_mark(run, next++, hung ? DOCTOR_HUNG : DOCTOR_FAILED);
            hangs += hung;
        }
    }
    run->doctor->hurried = hangs || next < run->task_count;
}

// What to look at -----------------------------------------------------------------------------------------------------------------------------

static bool look_worth(const struct kmc_device *device)
{
    switch (device->kind) {
    case KMC_KIND_ROM:
    case KMC_KIND_FLOPPY:
    case KMC_KIND_ZRAM: return false;
    default: return true;
    }
}

// A file can be a store where its place on the device does not move under it: not on copy-on-write file systems.
static bool look_store_fs(const struct kmc_mount *mount)
{
    return mount->writable && (!strcmp(mount->fs, "ext4") || !strcmp(mount->fs, "xfs") || !strcmp(mount->fs, "ext3"));
}

static void look_add_device(struct look_run *run, size_t index, bool wanted)
{
    const struct kmc_device *device = &run->doctor->devices.list[index];

    if (device->suspended) {
        run->doctor->looks[index].seen = DOCTOR_SUSPENDED;
    } else if (wanted && look_worth(device)) {
        run->tasks[run->task_count++] = (struct look_task){.kind = LOOK_DEVICE, .device = index};
    }
    for (size_t i = 0; i < device->mount_count && !device->suspended; i++) {
        if (look_store_fs(&device->mounts[i])) {
            run->tasks[run->task_count++] =
                (struct look_task){.kind = LOOK_SPACE, .device = index, .where = device->mounts[i].where};
            return; // the other mounts have the same room
        }
    }
}

void doctor_look(struct doctor *doctor, const bool *wanted)
{
    struct look_run run = {.doctor = doctor};

    run.tasks = calloc(2 * doctor->devices.count + 1, sizeof(*run.tasks));
    doctor->spaces = calloc(doctor->devices.count + 1, sizeof(*doctor->spaces));
    doctor->pvs = calloc(LOOK_PVS_MAX, sizeof(*doctor->pvs));
    if (!run.tasks) {
        doctor->hurried = true;
        return;
    }
    for (size_t i = 0; i < doctor->devices.count; i++) {
        look_add_device(&run, i, wanted[i]);
    }
    // Without device-mapper LVM would have it loaded, and there is no logical volume to ask for.
    if (doctor->facts.bits[KMC_BIT_LVM2] && doctor->facts.bits[KMC_BIT_ADMIN] &&
        doctor->facts.drivers[KMC_DRIVER_DM].presence == KMC_PRESENT) {
        run.tasks[run.task_count++] = (struct look_task){.kind = LOOK_PVS};
    }
    look_all(&run);
    free(run.tasks);
}
