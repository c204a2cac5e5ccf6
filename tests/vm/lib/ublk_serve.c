// SPDX-License-Identifier: Apache-2.0
//
// A small ublk server for test scripts: a file as a block device, in an ordinary user's process.
//
//     ublk_serve FD QUEUES DEPTH IO_BYTES FILE [stall=N]   serve on a descriptor of /dev/ublkcN; the N-th write and all after it in its queue
//                                                          get no answer, and it says "stalled"
//     ublk_serve foreign FILE                              make, start and serve a device of nobody's: prints "serving N"
//
// One thread for each queue: it hands the driver a buffer for each request (FETCH_REQ), does what comes back, and gives the result together
// with the buffer for the next one (COMMIT_AND_FETCH_REQ); Documentation/block/ublk.rst. It ends when the driver aborts the fetches.
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUES_MAX        8
#define IO_U(number)      _IOWR('u', number, struct ublksrv_io_cmd)
#define CONTROL_U(number) _IOWR('u', number, struct ublksrv_ctrl_cmd)

struct queue {
    uint16_t number;
    struct io_uring ring;
    const struct ublksrv_io_desc *requests; // shared with the driver
    char *buffers;
    pthread_t thread;
};

static int device_fd, file_fd;
static uint16_t depth;
static uint32_t io_bytes;
static _Atomic long stall_after = -1; // writes
static struct queue queues[QUEUES_MAX];

static int fail(const char *what, int error)
{
    fprintf(stderr, "ublk_serve: %s: %s\n", what, strerror(error < 0 ? -error : error));
    return 1;
}

static char *buffer_of(const struct queue *queue, uint16_t tag)
{
    return queue->buffers + (size_t)tag * io_bytes;
}

// What the file says to a request: its bytes, or a negative errno.
static int work(const struct ublksrv_io_desc *request, char *buffer)
{
    const off_t offset = (off_t)request->start_sector * 512;
    const int bytes = (int)request->nr_sectors * 512;

    switch (ublksrv_get_op(request)) {
    case UBLK_IO_OP_READ: return pread(file_fd, buffer, (size_t)bytes, offset) == bytes ? bytes : -EIO;
    case UBLK_IO_OP_WRITE:
        if (pwrite(file_fd, buffer, (size_t)bytes, offset) != bytes) {
            return -EIO;
        }
        return request->op_flags & UBLK_IO_F_FUA && fdatasync(file_fd) ? -EIO : bytes;
    case UBLK_IO_OP_FLUSH: return fdatasync(file_fd) ? -EIO : 0;
    case UBLK_IO_OP_DISCARD:
    case UBLK_IO_OP_WRITE_ZEROES:
        return fallocate(file_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes) ? -EIO : bytes;
    default: return -EOPNOTSUPP;
    }
}

static void give(struct queue *queue, uint16_t tag, uint32_t operation, int result)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring); // as many as there are tags
    struct ublksrv_io_cmd command = {
        .q_id = queue->number, .tag = tag, .result = result, .addr = (uintptr_t)buffer_of(queue, tag)};

    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, device_fd, NULL, 0, 0);
    io_uring_sqe_set_data64(sqe, tag);
    sqe->cmd_op = operation;
    memcpy(sqe->cmd, &command, sizeof(command));
}

static void stall(void)
{
    puts("stalled");
    for (;;) {
        pause();
    }
}

static void serve_one(struct queue *queue, uint16_t tag)
{
    const struct ublksrv_io_desc *request = &queue->requests[tag];

    if (ublksrv_get_op(request) == UBLK_IO_OP_WRITE && stall_after > 0 && --stall_after == 0) {
        stall();
    }
    give(queue, tag, IO_U(UBLK_IO_COMMIT_AND_FETCH_REQ), work(request, buffer_of(queue, tag)));
}

// The rings belong to the threads that use them: the driver takes commands of one thread for each queue.
static void *serve(void *argument)
{
    struct queue *queue = argument;
    int live = depth;

    int failed = io_uring_queue_init(depth, &queue->ring, IORING_SETUP_SQE128);
    if (failed) {
        exit(fail("io_uring", failed));
    }
    for (uint16_t tag = 0; tag < depth; tag++) {
        give(queue, tag, IO_U(UBLK_IO_FETCH_REQ), 0);
    }
    while (live) {
        struct io_uring_cqe *cqe;
        failed = io_uring_submit_and_wait(&queue->ring, 1);
        if (failed < 0 && failed != -EINTR) {
            exit(fail("waiting", failed));
        }
        while (!io_uring_peek_cqe(&queue->ring, &cqe)) {
            uint16_t tag = (uint16_t)cqe->user_data;
            int result = cqe->res;
            io_uring_cqe_seen(&queue->ring, cqe);
            if (result == UBLK_IO_RES_OK) {
                serve_one(queue, tag);
            } else {
                live--;
            }
        }
    }
    return NULL;
}

static int start_queue(struct queue *queue, uint16_t number)
{
    const size_t page = 4096;
    const size_t most = UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc);
    size_t size = (depth * sizeof(struct ublksrv_io_desc) + page - 1) / page * page;

    queue->number = number;
    queue->requests = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, device_fd,
                           (off_t)(UBLKSRV_CMD_BUF_OFFSET + number * ((most + page - 1) / page * page)));
    if (queue->requests == MAP_FAILED) {
        return fail("mmap", errno);
    }
    queue->buffers = aligned_alloc(page, (size_t)depth * io_bytes);
    if (!queue->buffers) {
        return fail("buffers", ENOMEM);
    }
    int failed = pthread_create(&queue->thread, NULL, serve, queue);
    return failed ? fail("a thread", failed) : 0;
}

static int start_queues(uint16_t count)
{
    int failed = count > QUEUES_MAX ? fail("queues", E2BIG) : 0;

    for (uint16_t i = 0; i < count && !failed; i++) {
        failed = start_queue(&queues[i], i);
    }
    return failed;
}

static int await_queues(uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        pthread_join(queues[i].thread, NULL);
    }
    puts("ended");
    return 0;
}

// ---- a device of nobody's --------------------------------------------------------------------------------------------

static int control(struct io_uring *ring, int fd, uint32_t operation, const struct ublksrv_ctrl_cmd *command)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    struct io_uring_cqe *cqe;

    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
    sqe->cmd_op = operation;
    memcpy(sqe->cmd, command, sizeof(*command));
    int failed = io_uring_submit_and_wait(ring, 1);
    failed = failed < 0 ? failed : io_uring_wait_cqe(ring, &cqe);
    if (!failed) {
        failed = cqe->res;
        io_uring_cqe_seen(ring, cqe);
    }
    return failed;
}

static int serve_foreign(void)
{
    struct ublksrv_ctrl_dev_info info = {
        .nr_hw_queues = 1, .queue_depth = 16, .max_io_buf_bytes = 65536, .dev_id = UINT32_MAX, .ublksrv_flags = 2};
    struct ublk_params params = {
        .len = sizeof(params),
        .types = UBLK_PARAM_TYPE_BASIC,
        .basic = {
            .logical_bs_shift = 9, .physical_bs_shift = 9, .io_opt_shift = 9, .io_min_shift = 9, .max_sectors = 128}};
    struct ublksrv_ctrl_cmd command = {
        .dev_id = UINT32_MAX, .queue_id = UINT16_MAX, .addr = (uintptr_t)&info, .len = sizeof(info)};
    int fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
    struct io_uring ring;
    char node[32];
    struct stat st;

    if (fd < 0 || fstat(file_fd, &st) || io_uring_queue_init(4, &ring, IORING_SETUP_SQE128)) {
        return fail("ublk-control", errno);
    }
    params.basic.dev_sectors = (uint64_t)st.st_size / 512;
    int failed = control(&ring, fd, CONTROL_U(UBLK_CMD_ADD_DEV), &command);
    command = (struct ublksrv_ctrl_cmd){
        .dev_id = info.dev_id, .queue_id = UINT16_MAX, .addr = (uintptr_t)&params, .len = sizeof(params)};
    failed = failed ? failed : control(&ring, fd, CONTROL_U(UBLK_CMD_SET_PARAMS), &command);
    if (failed) {
        return fail("making a device", failed);
    }
    snprintf(node, sizeof(node), "/dev/ublkc%u", info.dev_id);
    device_fd = open(node, O_RDWR | O_CLOEXEC);
    depth = info.queue_depth;
    io_bytes = info.max_io_buf_bytes;
    if (device_fd < 0 || start_queues(1)) {
        return fail(node, errno);
    }
    command = (struct ublksrv_ctrl_cmd){.dev_id = info.dev_id, .queue_id = UINT16_MAX, .data = {(uint64_t)getpid(), 0}};
    failed = control(&ring, fd, CONTROL_U(UBLK_CMD_START_DEV), &command);
    if (failed) {
        return fail("starting a device", failed);
    }
    printf("serving %u\n", info.dev_id);
    return await_queues(1);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3 && argc != 6 && argc != 7) {
        fprintf(stderr, "usage: ublk_serve FD QUEUES DEPTH IO_BYTES FILE [stall=N], ublk_serve foreign FILE\n");
        return 2;
    }
    file_fd = open(argv[argc == 3 ? 2 : 5], O_RDWR | O_CLOEXEC);
    if (file_fd < 0) {
        return fail("the file", errno);
    }
    if (argc == 3) {
        return serve_foreign();
    }
    device_fd = atoi(argv[1]);
    depth = (uint16_t)atoi(argv[3]);
    io_bytes = (uint32_t)atoi(argv[4]);
    if (argc == 7 && !strncmp(argv[6], "stall=", 6)) {
        stall_after = atol(argv[6] + 6);
    }
    int failed = start_queues((uint16_t)atoi(argv[2]));
    return failed ? failed : await_queues((uint16_t)atoi(argv[2]));
}
