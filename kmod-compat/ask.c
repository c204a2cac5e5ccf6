// SPDX-License-Identifier: Apache-2.0
//
// The questions of kmc_running: raw device-mapper ioctls, io_uring, ublk and libaio, asked of the kernel that runs. Descriptors are
// opened for reading only; none of these calls needs more.
#include "kmod-compat/source.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <linux/dm-ioctl.h>
#include <linux/ublk_cmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ASK_DM_NODE         "/dev/mapper/control"
#define ASK_UBLK_NODE       "/dev/ublk-control"
#define ASK_DM_BUFFER_BYTES 16384
#define ASK_URING_WAIT_S    1

// ublk's commands as ioctl numbers came after the kernel headers of Debian 12 (Linux 6.5, include/uapi/linux/ublk_cmd.h).
#define ASK_UBLK_GET_FEATURES _IOR('u', 0x13, struct ublksrv_ctrl_cmd)
#define ASK_UBLK_FEATURES_LEN 8

// Would opening the node reach a driver that is there already? See source.h.
static bool ask_registered(const struct kmc_source *source, const char *misc_name)
{
    char misc[4096];

    return kmc_read(source, "/proc/misc", misc, sizeof(misc)) > 0 && kmc_has_word(misc, misc_name);
}

static int ask_open(const struct kmc_source *source, const char *node, const char *misc_name, int *ret_fd)
{
    if (!ask_registered(source, misc_name)) {
        return ENODEV;
    }
    *ret_fd = open(node, O_RDONLY | O_CLOEXEC);
    return *ret_fd < 0 ? errno : 0;
}

// Device-mapper -------------------------------------------------------------------------------------------------------------------------

// A request and its answer as linux/dm-ioctl.h lays them out: the header, then room.
struct ask_dm_request {
    struct dm_ioctl head; // what was sent, then what came back
    char *bytes;          // ASK_DM_BUFFER_BYTES, the header among them
};

// Version 4.0.0 is what every kernel since 2.6 takes; a request may ask for less than the kernel has, not for more.
static int ask_dm(int fd, unsigned long command, uint32_t flags, const char *dm_name, struct ask_dm_request *request)
{
    struct dm_ioctl head = {
        .version = {4, 0, 0}, .data_size = ASK_DM_BUFFER_BYTES, .data_start = sizeof(head), .flags = flags};

    snprintf(head.name, sizeof(head.name), "%s", dm_name);
    memset(request->bytes, 0, ASK_DM_BUFFER_BYTES);
    memcpy(request->bytes, &head, sizeof(head));
    int os_errno = ioctl(fd, command, request->bytes) ? errno : 0;
    memcpy(&request->head, request->bytes, sizeof(request->head));
    return os_errno;
}

static int ask_dm_open(const struct kmc_source *source, struct ask_dm_request *request, int *ret_fd)
{
    int os_errno = ask_open(source, ASK_DM_NODE, "device-mapper", ret_fd);

    if (!os_errno) {
        request->bytes = malloc(ASK_DM_BUFFER_BYTES);
        os_errno = request->bytes ? 0 : ENOMEM;
    }
    return os_errno;
}

static void ask_dm_close(struct ask_dm_request *request, int fd)
{
    if (fd >= 0) {
        close(fd);
    }
    free(request->bytes);
}

// The list of targets, each at `next` bytes behind the one before, the last with 0; the kernel's word is checked against the buffer.
static void ask_dm_parse(const struct ask_dm_request *request, struct kmc_dm_answer *answer)
{
    size_t at = request->head.data_start;
    struct dm_target_versions entry;

    while (answer->target_count < KMC_DM_TARGETS_MAX && at < ASK_DM_BUFFER_BYTES - sizeof(entry)) {
        struct kmc_target *target = &answer->targets[answer->target_count];
        memcpy(&entry, request->bytes + at, sizeof(entry));
        const char *name = request->bytes + at + sizeof(entry);
        size_t room = ASK_DM_BUFFER_BYTES - at - sizeof(entry);
        const char *end = memchr(name, 0, room < sizeof(target->name) ? room : sizeof(target->name));
        if (!end || end == name) {
            return;
        }
        memcpy(target->name, name, (size_t)(end - name) + 1);
        memcpy(target->version, entry.version, sizeof(target->version));
        answer->target_count++;
        if (!entry.next) {
            return;
        }
        at += entry.next;
    }
}

static void ask_running_dm(const struct kmc_source *source, struct kmc_dm_answer *ret_answer)
{
    struct ask_dm_request request = {0};
    int fd = -1;

    memset(ret_answer, 0, sizeof(*ret_answer));
    int os_errno = ask_dm_open(source, &request, &fd);
    if (!os_errno) {
        os_errno = ask_dm(fd, DM_VERSION, 0, "", &request);
    }
    if (!os_errno) {
        memcpy(ret_answer->version, request.head.version, sizeof(ret_answer->version));
        os_errno = ask_dm(fd, DM_LIST_VERSIONS, 0, "", &request);
    }
    if (!os_errno) {
        ask_dm_parse(&request, ret_answer);
    }
    ret_answer->os_errno = os_errno;
    ask_dm_close(&request, fd);
}

// The table, not the status: asking a thin pool's status commits its metadata (unless NOFLUSH, given all the same), a table is only read.
static void ask_running_dm_table(const struct kmc_source *source, const char *dm_name,
                                 struct kmc_table_answer *ret_answer)
{
    struct ask_dm_request request = {0};
    struct dm_target_spec spec;
    int fd = -1;

    memset(ret_answer, 0, sizeof(*ret_answer));
    int os_errno = ask_dm_open(source, &request, &fd);
    if (!os_errno) {
        os_errno = ask_dm(fd, DM_TABLE_STATUS, DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG, dm_name, &request);
    }
    if (!os_errno && request.head.target_count && request.head.data_start < ASK_DM_BUFFER_BYTES - sizeof(spec)) {
        memcpy(&spec, request.bytes + request.head.data_start, sizeof(spec));
        ret_answer->segment_count = request.head.target_count;
        memcpy(ret_answer->target, spec.target_type, sizeof(ret_answer->target) - 1);
    }
    ret_answer->os_errno = os_errno;
    ask_dm_close(&request, fd);
}

// io_uring, libaio ----------------------------------------------------------------------------------------------------------------------

static void ask_running_uring(const struct kmc_source *source, struct kmc_uring_answer *ret_answer)
{
    struct io_uring_params params = {0};
    struct io_uring uring;

    (void)source;
    memset(ret_answer, 0, sizeof(*ret_answer));
    int rc = io_uring_queue_init_params(2, &uring, &params);
    if (rc) {
        ret_answer->os_errno = -rc;
        return;
    }
    ret_answer->features = params.features;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring);
    for (int op = 0; probe && op < KMC_URING_OPS; op++) {
        ret_answer->ops[op] = io_uring_opcode_supported(probe, op);
    }
    io_uring_free_probe(probe);
    io_uring_queue_exit(&uring);
}

static int ask_running_aio(const struct kmc_source *source)
{
    io_context_t context = NULL;

    (void)source;
    int rc = io_setup(1, &context);
    if (rc) {
        return -rc;
    }
    io_destroy(context);
    return 0;
}

// ublk ----------------------------------------------------------------------------------------------------------------------------------

static int ask_ublk_features(int fd, uint64_t *ret_features)
{
    // Static: when the kernel does not answer in time it may still write here after this function has returned.
    static uint64_t features;
    struct __kernel_timespec limit = {.tv_sec = ASK_URING_WAIT_S};
    struct io_uring uring;
    struct io_uring_cqe *cqe;
    int rc = io_uring_queue_init(2, &uring, IORING_SETUP_SQE128);

    if (rc) {
        return -rc;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring);
    if (!sqe) {
        io_uring_queue_exit(&uring);
        return EBUSY;
    }
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
    sqe->cmd_op = ASK_UBLK_GET_FEATURES;
    struct ublksrv_ctrl_cmd command = {
        .dev_id = UINT32_MAX, .queue_id = UINT16_MAX, .addr = (uintptr_t)&features, .len = ASK_UBLK_FEATURES_LEN};
    memcpy(sqe->cmd, &command, sizeof(command));
    rc = io_uring_submit(&uring);
    rc = rc < 0 ? rc : io_uring_wait_cqe_timeout(&uring, &cqe, &limit);
    if (!rc) {
        rc = cqe->res;
        io_uring_cqe_seen(&uring, cqe);
    }
    io_uring_queue_exit(&uring);
    *ret_features = rc ? 0 : features;
    return -rc;
}

static void ask_running_ublk(const struct kmc_source *source, struct kmc_ublk_answer *ret_answer)
{
    int fd = -1;

    memset(ret_answer, 0, sizeof(*ret_answer));
    ret_answer->os_errno = ask_open(source, ASK_UBLK_NODE, "ublk-control", &fd);
    if (!ret_answer->os_errno) {
        ret_answer->os_errno = ask_ublk_features(fd, &ret_answer->features);
        close(fd);
    }
}

const struct kmc_source kmc_running = {
    .root = "",
    .dm = ask_running_dm,
    .dm_table = ask_running_dm_table,
    .uring = ask_running_uring,
    .ublk = ask_running_ublk,
    .aio = ask_running_aio,
};
