// SPDX-License-Identifier: Apache-2.0
//
// FIFREEZE and FITHAW with a deadline: for a quiesce above the block layer, where there is no device to suspend (a device that blkrep itself
// serves).
//
// The same division of work as in a window: a freezer syncs and makes the call that may block; a guard kills it when its time is up, and repeats
// the thaw until the freezer is reaped and the filesystem is seen thawed, because a freezer that is killed in the freeze still completes it.
// The guard thaws when it is told to, when the deadline passes, and when its socket ends: the helper, or blkrep, is gone.
#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dm-helper/device.h"
#include "dm-helper/mounts.h"
#include "dm-helper/process.h"
#include "dm-helper/sandbox.h"
#include "dm-helper/server.h"
#include "engine/base/units.h"

#define DMH_FREEZE_MAX_MS 60000
#define DMH_GRACE_MS      30000
#define DMH_LOOK_MS       5

enum dmh_freeze_state {
    DMH_FREEZE_SYNCING,
    DMH_FREEZE_FREEZING, // the call was begun
    DMH_FREEZE_FROZEN,
    DMH_FREEZE_FAILED,  // the call failed; nothing is frozen by us
    DMH_FREEZE_GIVEN_UP // before the call: it will not be made any more
};

struct dmh_freeze_plan {
    int mount_fd;
    int socket_fd; // the guard's end
    uint64_t deadline_ns;
    _Atomic bool guarded;
    _Atomic int state;
    _Atomic int failed_errno;
    _Atomic bool late; // thawed because the deadline had passed
    _Atomic uint64_t began_ns, frozen_ns, thawed_ns;
};

struct dmh_freeze_run {
    struct dmh_freeze_plan *plan; // shared with guard and freezer
    int socket_fd;
    char mount[DMH_WHERE_MAX];
};

// ---- the freezer -----------------------------------------------------------------------------------------------------

static int dmh_freezer_run(void *plan_pointer)
{
    struct dmh_freeze_plan *plan = plan_pointer;
    int syncing = DMH_FREEZE_SYNCING;
    int error = dmh_process_lock();

    error = error ? error : dmh_sandbox_enter(DMH_SANDBOX_SUSPENDER);
    while (!error && !atomic_load(&plan->guarded)) {
        dmh_process_sleep_ms(1);
    }
    if (!error && syncfs(plan->mount_fd)) {
        error = -errno;
    }
    if (error) {
        atomic_store(&plan->failed_errno, -error);
        atomic_store(&plan->state, DMH_FREEZE_FAILED);
        return 0;
    }
    atomic_store(&plan->began_ns, dmh_process_now_ns());
    if (!atomic_compare_exchange_strong(&plan->state, &syncing, DMH_FREEZE_FREEZING)) {
        return 0;
    }
    if (ioctl(plan->mount_fd, FIFREEZE, 0)) {
        atomic_store(&plan->failed_errno, errno);
        atomic_store(&plan->state, DMH_FREEZE_FAILED);
        return 0;
    }
    atomic_store(&plan->frozen_ns, dmh_process_now_ns());
    atomic_store(&plan->state, DMH_FREEZE_FROZEN);
    return 0;
}

// ---- the guard -------------------------------------------------------------------------------------------------------

// Was it told to thaw, or left alone?
static bool dmh_told_to_thaw(int socket_fd)
{
    struct pollfd pollfd = {.fd = socket_fd, .events = POLLIN};

    return poll(&pollfd, 1, DMH_LOOK_MS) > 0;
}

// The freeze's time counts from its call; the sync before it has as long.
static bool dmh_time_is_up(const struct dmh_freeze_plan *plan, uint64_t started_ns)
{
    uint64_t began_ns = atomic_load(&plan->state) == DMH_FREEZE_SYNCING ? started_ns : atomic_load(&plan->began_ns);

    return dmh_process_now_ns() > began_ns + plan->deadline_ns;
}

static bool dmh_is_over(const struct dmh_freeze_plan *plan)
{
    int state = atomic_load(&plan->state);

    return state == DMH_FREEZE_FAILED || state == DMH_FREEZE_GIVEN_UP;
}

static void dmh_guard_thaw(struct dmh_freeze_plan *plan, pid_t freezer, bool reaped)
{
    int syncing = DMH_FREEZE_SYNCING;

    if (!reaped) {
        kill(freezer, SIGKILL);
    }
    if (atomic_compare_exchange_strong(&plan->state, &syncing, DMH_FREEZE_GIVEN_UP)) {
        return;
    }
    for (unsigned ms = DMH_LOOK_MS; !dmh_is_over(plan); ms = BR_MIN(2 * ms, 100U)) {
        // EINVAL: it is not frozen, or not yet.
        bool thawed = !ioctl(plan->mount_fd, FITHAW, 0) || errno == EINVAL;
        if (thawed && reaped) {
            break;
        }
        reaped = reaped || waitpid(freezer, NULL, WNOHANG) == freezer;
        dmh_process_sleep_ms(reaped ? 1 : ms);
    }
    atomic_store(&plan->thawed_ns, dmh_process_now_ns());
}

static void dmh_guard(struct dmh_freeze_plan *plan, pid_t freezer)
{
    const uint64_t started_ns = dmh_process_now_ns();
    bool reaped = false, told = false, late = false, reported = false;

    while (!told && !late && !dmh_is_over(plan)) {
        told = dmh_told_to_thaw(plan->socket_fd);
        late = !told && dmh_time_is_up(plan, started_ns);
        reaped = reaped || waitpid(freezer, NULL, WNOHANG) == freezer;
        if (!reported && atomic_load(&plan->state) == DMH_FREEZE_FROZEN) {
            reported = write(plan->socket_fd, "F", 1) == 1;
        }
        if (reaped && atomic_load(&plan->state) == DMH_FREEZE_SYNCING) {
            break; // killed by somebody
        }
    }
    atomic_store(&plan->late, late);
    dmh_guard_thaw(plan, freezer, reaped);
}

static int dmh_guard_run(void *plan_pointer)
{
    struct dmh_freeze_plan *plan = plan_pointer;
    const int keep[] = {plan->mount_fd};
    pid_t freezer;
    struct br_err err = {0};

    int error = dmh_process_fork("blkrep-freeze", dmh_freezer_run, plan, keep, BR_ARRAY_LEN(keep), &freezer, &err);
    if (error) {
        atomic_store(&plan->failed_errno, err.os_errno);
        atomic_store(&plan->state, DMH_FREEZE_FAILED);
    } else {
        error = dmh_process_lock();
        error = error ? error : dmh_sandbox_enter(DMH_SANDBOX_WATCHDOG);
        if (error) {
            kill(freezer, SIGKILL); // it waits for `guarded`
            atomic_store(&plan->failed_errno, -error);
            atomic_store(&plan->state, DMH_FREEZE_FAILED);
        } else {
            atomic_store(&plan->guarded, true);
            dmh_guard(plan, freezer);
        }
    }
    (void)!write(plan->socket_fd, "T", 1);
    return 0;
}

// ---- the helper's side -----------------------------------------------------------------------------------------------

static void dmh_freeze_free(struct dmh_freeze_run *run)
{
    if (run->socket_fd >= 0) {
        close(run->socket_fd);
    }
    munmap(run->plan, sizeof(*run->plan));
    free(run);
}

// Waits for one byte of the guard: 'F' frozen, 'T' thawed, or nothing was frozen; 0 when none comes.
static char dmh_await_guard(const struct dmh_freeze_run *run, uint64_t wait_ms)
{
    struct pollfd pollfd = {.fd = run->socket_fd, .events = POLLIN};
    char byte = 0;

    if (poll(&pollfd, 1, (int)wait_ms) <= 0 || read(run->socket_fd, &byte, 1) != 1) {
        return 0;
    }
    return byte;
}

static int dmh_freeze_error(const struct dmh_freeze_run *run, struct br_err *reterr)
{
    const struct dmh_freeze_plan *plan = run->plan;
    int failed = atomic_load(&plan->failed_errno);

    if (failed) {
        return failed == EBUSY ? br_err_set(reterr, BR_E_BUSY, "%s is frozen already", run->mount)
                               : br_err_os(reterr, failed, "freezing %s", run->mount);
    }
    if (atomic_load(&plan->state) == DMH_FREEZE_GIVEN_UP) {
        return br_err_set(reterr, BR_E_FREEZE_SLOW, "%s: writing back what is dirty takes longer than the freeze may",
                          run->mount);
    }
    if (!atomic_load(&plan->late)) {
        return br_err_set(reterr, BR_E_INTERNAL, "%s: a process of the freeze was killed", run->mount);
    }
    return br_err_set(reterr, BR_E_FREEZE_DEADLINE, "%s was thawed when its time was up", run->mount);
}

static int dmh_freeze_new(const struct dmh_freeze *freeze, struct dmh_freeze_run **ret_run, struct br_err *reterr)
{
    struct dmh_freeze_run *run = calloc(1, sizeof(*run));

    if (!run) {
        return br_err_set(reterr, BR_E_NOMEM, "preparing a freeze");
    }
    run->socket_fd = -1;
    run->plan = mmap(NULL, sizeof(*run->plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run->plan == MAP_FAILED) {
        free(run);
        return br_err_os(reterr, errno, "preparing a freeze");
    }
    memcpy(run->mount, freeze->mount, sizeof(run->mount));
    run->plan->deadline_ns = freeze->deadline_ms * BR_NS_PER_MS;
    *ret_run = run;
    return 0;
}

// The mount must be of a filesystem on what the volume protects, or on the top of its stack.
static int dmh_freeze_mount(const struct dmh_volume *volume, const char *mount, int *ret_fd, struct br_err *reterr)
{
    struct dmh_device device = {0}, top = {0};
    uint32_t major = 0, minor = 0;
    int error = dmh_mounts_at(mount, &major, &minor, ret_fd, reterr);

    if (error) {
        return error;
    }
    bool allowed =
        (!dmh_device_resolve(volume, "@device", DMH_WHERE_DEVICE, &device, NULL) && device.major == major &&
         device.minor == minor) ||
        (!dmh_device_resolve(volume, "top", DMH_WHERE_PART, &top, NULL) && top.major == major && top.minor == minor);
    if (!allowed) {
        close(*ret_fd);
        return br_err_set(reterr, BR_E_PERMISSION, "volume %s: the filesystem at %s is not on it", volume->volume,
                          mount);
    }
    return 0;
}

static int dmh_freeze_start(struct dmh_freeze_run *run, int mount_fd, struct br_err *reterr)
{
    int sockets[2];
    pid_t guard;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) {
        return br_err_os(reterr, errno, "preparing a freeze");
    }
    run->socket_fd = sockets[0];
    run->plan->socket_fd = sockets[1];
    run->plan->mount_fd = mount_fd;
    const int keep[] = {sockets[1], mount_fd};
    int error = dmh_process_fork("blkrep-guard", dmh_guard_run, run->plan, keep, BR_ARRAY_LEN(keep), &guard, reterr);
    close(sockets[1]);
    return error;
}

int dmh_on_freeze(struct dmh_turn *turn, struct br_err *reterr)
{
    const struct dmh_freeze *freeze = turn->request;
    DMH_AUTO_VOLUME struct dmh_held_volume held = DMH_NO_VOLUME;
    struct dmh_freeze_run *run = NULL;
    int mount_fd = -1;

    if (turn->server->frozen) {
        return br_err_set(reterr, BR_E_BUSY, "this connection has frozen %s", turn->server->frozen->mount);
    }
    if (!freeze->deadline_ms || freeze->deadline_ms > DMH_FREEZE_MAX_MS) {
        return br_err_set(reterr, BR_E_USAGE, "a freeze has 1 ms to %d s", DMH_FREEZE_MAX_MS / 1000);
    }
    // Without the volume's lock: what is to happen while it is frozen are requests too.
    int error = dmh_hold_volume(&turn->server->registry, freeze->volume, false, &held, reterr);
    error = error ? error : dmh_freeze_mount(held.volume, freeze->mount, &mount_fd, reterr);
    error = error ? error : dmh_freeze_new(freeze, &run, reterr);
    error = error ? error : dmh_freeze_start(run, mount_fd, reterr);
    if (mount_fd >= 0) {
        close(mount_fd);
    }
    if (!error && dmh_await_guard(run, 2 * (uint64_t)freeze->deadline_ms + DMH_GRACE_MS) != 'F') {
        error = dmh_freeze_error(run, reterr);
    }
    if (error) {
        if (run) {
            dmh_freeze_free(run);
        }
        return error;
    }
    turn->server->frozen = run;
    return 0;
}

int dmh_on_thaw(struct dmh_turn *turn, struct br_err *reterr)
{
    struct dmh_freeze_run *run = turn->server->frozen;
    struct dmh_thawed *thawed = turn->reply;
    int error = 0;

    if (!run) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "this connection has frozen nothing");
    }
    turn->server->frozen = NULL;
    bool told = send(run->socket_fd, "t", 1, MSG_NOSIGNAL) == 1;
    char answer = dmh_await_guard(run, DMH_GRACE_MS);
    if (answer != 'T' || !told || atomic_load(&run->plan->late)) {
        error = dmh_freeze_error(run, reterr);
    } else {
        thawed->freeze_ns = atomic_load(&run->plan->frozen_ns) - atomic_load(&run->plan->began_ns);
        thawed->frozen_ns = atomic_load(&run->plan->thawed_ns) - atomic_load(&run->plan->frozen_ns);
    }
    dmh_freeze_free(run);
    return error;
}

void dmh_freeze_end(struct dmh_server *server)
{
    if (server->frozen) {
        dmh_freeze_free(server->frozen); // the end of its socket tells the guard
        server->frozen = NULL;
    }
}
