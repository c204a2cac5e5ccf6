// SPDX-License-Identifier: Apache-2.0
#include "dm-helper/ublk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "engine/base/units.h"
#include "engine/base/uuid.h"

#define DMH_UBLK_CONTROL   "/dev/ublk-control"
#define DMH_UBLK_CHARS     "/sys/class/ublk-char"
#define DMH_UBLK_CANCEL_MS 1000u // for a command to come back once it was cancelled
#define DMH_UBLK_NODE_MS   2000u // for udev or the kernel to make the device's node
#define DMH_UBLK_BASE      39u   // of a part in a tag: dmh_letters, and 0 for none
#define DMH_UBLK_MINE      1     // user data of a command
#define DMH_UBLK_CANCEL    2     // and of its cancellation

// include/uapi/linux/ublk_cmd.h of Linux 6.5 and later
#define DMH_UBLK_U(write, number) \
    _IOC((write) ? _IOC_READ | _IOC_WRITE : _IOC_READ, 'u', number, sizeof(struct ublksrv_ctrl_cmd))
#define DMH_UBLK_F_UNPRIVILEGED (UINT64_C(1) << 5)
#define DMH_UBLK_GET_FEATURES   0x13

struct dmh_ublk {
    struct io_uring ring;
    int control_fd; // -1 not open yet
    bool busy;      // a command was not cancelled in time and still has `room`
    union {
        struct ublksrv_ctrl_dev_info info;
        struct ublk_params params;
        uint64_t features;
    } room; // what the kernel reads and writes, possibly after this process has stopped waiting
};

static struct dmh_ublk *ublk; // of this process; NULL none

static const char dmh_letters[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";

// ---- the ring --------------------------------------------------------------------------------------------------------

static int dmh_restrict(struct io_uring *ring)
{
    struct io_uring_restriction only[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_URING_CMD},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_ASYNC_CANCEL},
    };
    // Raw: the headers of liburing 2.3 have calls for both, its shared library does not.
    long failed =
        syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, only, BR_ARRAY_LEN(only));

    failed = failed ? failed : syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    return failed ? -errno : io_uring_ring_dontfork(ring);
}

void dmh_ublk_ring_start(void)
{
    struct dmh_ublk *made = calloc(1, sizeof(*made));

    if (!made || io_uring_queue_init(4, &made->ring, IORING_SETUP_SQE128 | IORING_SETUP_R_DISABLED)) {
        free(made);
        return;
    }
    made->control_fd = -1;
    ublk = made;
    if (dmh_restrict(&made->ring)) {
        dmh_ublk_ring_stop();
    }
}

void dmh_ublk_ring_stop(void)
{
    if (!ublk) {
        return;
    }
    io_uring_queue_exit(&ublk->ring);
    if (ublk->control_fd >= 0) {
        close(ublk->control_fd);
    }
    if (ublk->busy) {
        // The kernel may still write into it, and lets this process go only when the command has ended, its descriptors last of all: whoever
        // reads what it says must not wait for that.
        close_range(STDIN_FILENO, UINT_MAX, 0);
    } else {
        free(ublk);
    }
    ublk = NULL;
}

// Waits for one answer to either the command or its cancellation: 0, -ETIME, or another negative errno.
static int dmh_await(uint64_t user, uint32_t wait_ms, int *ret_result)
{
    const uint64_t end_ns = dmh_process_now_ns() + (uint64_t)wait_ms * BR_NS_PER_MS;
    struct io_uring_cqe *cqe;

    for (;;) {
        uint64_t now_ns = dmh_process_now_ns();
        uint64_t left_ns = now_ns < end_ns ? end_ns - now_ns : 0;
        struct __kernel_timespec limit = {.tv_sec = (int64_t)(left_ns / BR_NS_PER_S),
                                          .tv_nsec = (int64_t)(left_ns % BR_NS_PER_S)};
        int failed = io_uring_wait_cqe_timeout(&ublk->ring, &cqe, &limit);
        if (failed == -EINTR) {
            continue;
        }
        if (failed) {
            return failed;
        }
        bool mine = cqe->user_data == user;
        *ret_result = cqe->res;
        io_uring_cqe_seen(&ublk->ring, cqe);
        if (mine) {
            return 0;
        }
    }
}

int dmh_ublk_ready(struct br_err *reterr)
{
    int result;

    if (!ublk) {
        return br_err_set(reterr, BR_E_UNSUPPORTED,
                          "ublk needs io_uring with 128 byte entries (Linux 5.19), which does not work here: look at "
                          "sysctl kernel.io_uring_disabled");
    }
    if (ublk->busy && dmh_await(DMH_UBLK_MINE, 0, &result)) {
        return br_err_set(reterr, BR_E_BUSY, "an earlier request about a ublk device has not ended in the kernel yet");
    }
    ublk->busy = false;
    if (ublk->control_fd < 0) {
        ublk->control_fd = open(DMH_UBLK_CONTROL, O_RDWR | O_CLOEXEC);
    }
    return ublk->control_fd < 0 ? dmh_no_driver(KMC_UBLK, reterr) : 0;
}

static int dmh_submit_cancel(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ublk->ring);

    if (!sqe) {
        return -EBUSY;
    }
    io_uring_prep_cancel64(sqe, DMH_UBLK_MINE, 0);
    io_uring_sqe_set_data64(sqe, DMH_UBLK_CANCEL);
    int sent = io_uring_submit(&ublk->ring);
    return sent < 0 ? sent : 0;
}

// 0 or a negative errno, the kernel's or of the way to it; -ETIME it was cancelled, -EBUSY one is still under way.
static int dmh_command(uint32_t operation, const struct ublksrv_ctrl_cmd *command, uint32_t wait_ms)
{
    struct io_uring_sqe *sqe = ublk->busy ? NULL : io_uring_get_sqe(&ublk->ring);

    int result = 0;

    if (!sqe) {
        return -EBUSY;
    }
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, ublk->control_fd, NULL, 0, 0);
    io_uring_sqe_set_data64(sqe, DMH_UBLK_MINE);
    sqe->cmd_op = operation;
    memcpy(sqe->cmd, command, sizeof(*command));
    int failed = io_uring_submit(&ublk->ring);
    failed = failed < 0 ? failed : dmh_await(DMH_UBLK_MINE, wait_ms, &result);
    if (failed != -ETIME) {
        return failed ? failed : result;
    }
    failed = dmh_submit_cancel();
    failed = failed ? failed : dmh_await(DMH_UBLK_MINE, DMH_UBLK_CANCEL_MS, &result);
    if (failed) {
        ublk->busy = true;
        return -ETIME;
    }
    return result < 0 ? -ETIME : result; // it may have ended just in time
}

static struct ublksrv_ctrl_cmd dmh_command_about(uint32_t index, const void *room, size_t size)
{
    return (struct ublksrv_ctrl_cmd){
        .dev_id = index, .queue_id = UINT16_MAX, .addr = (uintptr_t)room, .len = (uint16_t)size};
}

static int dmh_ublk_failed(int failed, uint32_t index, const char *what, struct br_err *reterr)
{
    switch (-failed) {
    case 0: return 0;
    case ENODEV: return br_err_set(reterr, BR_E_NOT_FOUND, "there is no /dev/ublkc%" PRIu32, index);
    case ETIME:
        return br_err_set(reterr, BR_E_TIMEOUT, "%s /dev/ublkb%" PRIu32 ": its server did not play its part in time",
                          what, index);
    case EBUSY:
        return br_err_set(reterr, BR_E_BUSY, "%s /dev/ublkb%" PRIu32 ": not while others are at it", what, index);
    default: return br_err_os(reterr, -failed, "%s /dev/ublkb%" PRIu32, what, index);
    }
}

// ---- commands --------------------------------------------------------------------------------------------------------

int dmh_ublk_features(uint64_t *ret_features, struct br_err *reterr)
{
    struct ublksrv_ctrl_cmd command = dmh_command_about(UINT32_MAX, &ublk->room.features, sizeof(ublk->room.features));
    int failed = dmh_command(DMH_UBLK_U(false, DMH_UBLK_GET_FEATURES), &command, DMH_UBLK_ANSWER_MS);

    if (failed) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "this kernel's ublk does not say what it can do: %s; %s",
                          strerror(-failed), kmc_matrix[KMC_UBLK].get);
    }
    *ret_features = ublk->room.features;
    return 0;
}

int dmh_ublk_make(struct ublksrv_ctrl_dev_info *info, struct br_err *reterr)
{
    struct ublksrv_ctrl_cmd command = dmh_command_about(info->dev_id, &ublk->room.info, sizeof(ublk->room.info));

    if (!ublk->busy) {
        ublk->room.info = *info;
    }
    int failed = dmh_command(DMH_UBLK_U(true, UBLK_CMD_ADD_DEV), &command, DMH_UBLK_ANSWER_MS);
    if (failed) {
        return br_err_os(reterr, -failed, "making a ublk device");
    }
    *info = ublk->room.info;
    return 0;
}

int dmh_ublk_look(uint32_t index, struct ublksrv_ctrl_dev_info *ret_info, struct br_err *reterr)
{
    struct ublksrv_ctrl_cmd command = dmh_command_about(index, &ublk->room.info, sizeof(ublk->room.info));
    int failed = dmh_command(DMH_UBLK_U(false, UBLK_CMD_GET_DEV_INFO), &command, DMH_UBLK_ANSWER_MS);

    if (!failed) {
        *ret_info = ublk->room.info;
    }
    return dmh_ublk_failed(failed, index, "looking at", reterr);
}

int dmh_ublk_shape(uint32_t index, const struct ublk_params *params, struct br_err *reterr)
{
    struct ublksrv_ctrl_cmd command = dmh_command_about(index, &ublk->room.params, sizeof(ublk->room.params));

    if (!ublk->busy) {
        ublk->room.params = *params;
    }
    int failed = dmh_command(DMH_UBLK_U(true, UBLK_CMD_SET_PARAMS), &command, DMH_UBLK_ANSWER_MS);
    return dmh_ublk_failed(failed, index, "shaping", reterr);
}

int dmh_ublk_do(uint32_t index, enum dmh_ublk_verb verb, uint32_t pid, uint32_t deadline_ms, struct br_err *reterr)
{
    static const struct {
        uint32_t number;
        const char *what;
    } verbs[] = {
        [DMH_UBLK_VERB_START] = {UBLK_CMD_START_DEV, "starting"},
        [DMH_UBLK_VERB_STOP] = {UBLK_CMD_STOP_DEV, "stopping"},
        [DMH_UBLK_VERB_DELETE] = {UBLK_CMD_DEL_DEV, "removing"},
        [DMH_UBLK_VERB_RECOVER] = {UBLK_CMD_START_USER_RECOVERY, "recovering"},
        [DMH_UBLK_VERB_RECOVERED] = {UBLK_CMD_END_USER_RECOVERY, "going on with"},
    };
    struct ublksrv_ctrl_cmd command = dmh_command_about(index, NULL, 0);

    command.data[0] = pid;
    int failed = dmh_command(DMH_UBLK_U(true, verbs[verb].number), &command, deadline_ms);
    return dmh_ublk_failed(failed, index, verbs[verb].what, reterr);
}

int dmh_ublk_open(uint32_t index, int *ret_fd, struct br_err *reterr)
{
    const uint64_t end_ns = dmh_process_now_ns() + DMH_UBLK_NODE_MS * (uint64_t)BR_NS_PER_MS;
    char node[32], path[64], text[32] = "";
    uint32_t major = 0, minor = 0;
    struct stat st;
    int fd;

    snprintf(node, sizeof(node), "/dev/ublkc%" PRIu32, index);
    snprintf(path, sizeof(path), DMH_UBLK_CHARS "/ublkc%" PRIu32 "/dev", index);
    for (;;) {
        fd = open(node, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 || errno != ENOENT || dmh_process_now_ns() >= end_ns) {
            break;
        }
        dmh_process_sleep_ms(10);
    }
    if (fd < 0) {
        return errno == EBUSY ? br_err_set(reterr, BR_E_BUSY, "a server still has %s open", node)
                              : br_err_os(reterr, errno, "opening %s", node);
    }
    bool known = kmc_read(&kmc_running, path, text, sizeof(text)) > 0 &&
                 sscanf(text, "%" SCNu32 ":%" SCNu32, &major, &minor) == 2;
    if (!known || fstat(fd, &st) || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(major, minor)) {
        close(fd);
        return br_err_set(reterr, BR_E_NOT_FOUND, "%s is not what the kernel calls so", node);
    }
    *ret_fd = fd;
    return 0;
}

// ---- whose -----------------------------------------------------------------------------------------------------------

// FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/); not of the text, whose letters may be of either case.
uint32_t dmh_ublk_volume_tag(const struct dmh_volume *volume)
{
    struct br_uuid uuid = {{0}};
    uint32_t hash = UINT32_C(2166136261);

    (void)!br_uuid_parse(volume->uuid, &uuid);
    for (size_t i = 0; i < sizeof(uuid.bytes); i++) {
        hash = (hash ^ uuid.bytes[i]) * UINT32_C(16777619);
    }
    return hash;
}

uint64_t dmh_ublk_tag(const struct dmh_volume *volume, const char *part)
{
    const size_t len = strlen(part);
    uint64_t number = 0;

    if (!dmh_part_ok(part) || len >= DMH_UBLK_PART_MAX) {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        const char *letter = strchr(dmh_letters, part[i]);
        number = number * DMH_UBLK_BASE + (uint64_t)(letter - dmh_letters) + 1;
    }
    return (uint64_t)dmh_ublk_volume_tag(volume) << 32 | number;
}

bool dmh_ublk_tag_part(uint64_t tag, char part[DMH_PART_MAX])
{
    char text[DMH_UBLK_PART_MAX];
    size_t at = sizeof(text) - 1;

    text[at] = 0;
    for (uint32_t number = (uint32_t)tag; number; number /= DMH_UBLK_BASE) {
        uint32_t digit = number % DMH_UBLK_BASE;
        if (!digit || !at) {
            return false;
        }
        text[--at] = dmh_letters[digit - 1];
    }
    if (!dmh_part_ok(text + at)) {
        return false;
    }
    memcpy(part, text + at, sizeof(text) - at);
    return true;
}

bool dmh_ublk_is_ours(const struct ublksrv_ctrl_dev_info *info, char ret_part[DMH_PART_MAX])
{
    return !(info->flags & DMH_UBLK_F_UNPRIVILEGED) && info->ublksrv_flags >> 32 &&
           dmh_ublk_tag_part(info->ublksrv_flags, ret_part);
}

int dmh_ublk_each(bool (*each)(void *user, const struct ublksrv_ctrl_dev_info *info), void *user, struct br_err *reterr)
{
    char **names;
    size_t count = kmc_list(&kmc_running, DMH_UBLK_CHARS, &names);
    int error = count ? dmh_ublk_ready(reterr) : 0;
    bool more = true;

    for (size_t i = 0; i < count && more && !error; i++) {
        struct ublksrv_ctrl_dev_info info = {0};
        char part[DMH_PART_MAX];
        uint32_t index;
        if (sscanf(names[i], "ublkc%" SCNu32, &index) != 1) {
            continue;
        }
        error = dmh_ublk_look(index, &info, reterr);
        if (!error && dmh_ublk_is_ours(&info, part)) {
            more = each(user, &info);
        }
        error = error == -BR_E_NOT_FOUND ? 0 : error; // it went away meanwhile
    }
    kmc_list_free(names, count);
    return error;
}

struct dmh_tag_search {
    uint64_t tag;
    struct ublksrv_ctrl_dev_info info;
    bool found;
};

static bool dmh_try_tag(void *user, const struct ublksrv_ctrl_dev_info *info)
{
    struct dmh_tag_search *search = user;

    search->found = info->ublksrv_flags == search->tag;
    search->info = *info;
    return !search->found;
}

int dmh_ublk_find(uint64_t tag, bool *ret_found, struct ublksrv_ctrl_dev_info *ret_info, struct br_err *reterr)
{
    struct dmh_tag_search search = {.tag = tag};
    int error = dmh_ublk_each(dmh_try_tag, &search, reterr);

    if (!error) {
        *ret_found = search.found;
        *ret_info = search.info;
    }
    return error;
}
