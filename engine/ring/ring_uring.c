// SPDX-License-Identifier: Apache-2.0
//
// The io_uring ring. One submission entry per operation at a time; a short transfer asks for the rest with the next. Pool buffers and
// direct descriptors are registered, so that the kernel neither pins pages nor takes file references per call; where it refuses to
// register (RLIMIT_MEMLOCK, a full table), the same calls are made plainly.
//
// Needs IORING_FEAT_EXT_ARG and FEAT_NODROP (Linux 5.11); without them, or without io_uring at all (kernel.io_uring_disabled, seccomp, an
// old kernel), opening says UNSUPPORTED and br_ring_open() takes libaio.
#include "engine/ring/os.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BR_URING_FILES               64                  // registered at once
#define BR_URING_REGION_BYTES        (UINT64_C(1) << 30) // the kernel's limit for one registered buffer
#define BR_URING_REGIONS_MAX         64
#define BR_URING_COMPLETIONS_AT_ONCE 64

struct br_uring {
    struct br_ring base;
    struct io_uring uring;
    bool has_files;
    int free_slots[BR_URING_FILES];
    unsigned free_slot_count;
    size_t region_bytes; // 0: buffers are not registered
    uint64_t bell_value;
    bool bell_armed;
};

static struct br_uring *br_uring_of(struct br_ring *ring)
{
    return (struct br_uring *)ring;
}

// Submits until the kernel took everything. A full completion queue or a shortage of memory is waited out: completions are kept by
// the kernel (FEAT_NODROP) and are reaped by the next reap().
static void br_uring_submit(struct br_uring *self)
{
    while (io_uring_sq_ready(&self->uring)) {
        int rc = io_uring_submit(&self->uring);
        if (rc >= 0 || rc == -EINTR) {
            continue;
        }
        assert(rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM); // anything else is a bug here, not an I/O error
        if (io_uring_cq_ready(&self->uring)) {
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static struct io_uring_sqe *br_uring_sqe(struct br_uring *self)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->uring);

    if (!sqe) {
        br_uring_submit(self);
        sqe = io_uring_get_sqe(&self->uring);
        assert(sqe); // the queue holds more entries than operations may run
    }
    return sqe;
}

// The registered buffer that the memory lies in, or -1.
static int br_uring_region(const struct br_uring *self, const void *buf, uint64_t len_bytes)
{
    uintptr_t pool = (uintptr_t)self->base.pool;
    uintptr_t at = (uintptr_t)buf;

    if (!self->region_bytes || at < pool || at - pool >= self->base.pool_bytes) {
        return -1;
    }
    uint64_t region = (at - pool) / self->region_bytes;
    uint64_t end = BR_MIN((region + 1) * self->region_bytes, self->base.pool_bytes);
    return at - pool + len_bytes <= end ? (int)region : -1;
}

static void br_uring_prep(struct br_uring *self, struct br_io *io)
{
    const struct br_os_file *file = (struct br_os_file *)io->file;
    struct br_os_step step;

    br_os_next(io, &step);
    struct io_uring_sqe *sqe = br_uring_sqe(self);
    bool is_fixed_file = step.is_direct && file->direct_slot >= 0;
    int fd = is_fixed_file ? file->direct_slot : step.fd;
    int region = br_uring_region(self, step.buf, step.len_bytes);
    unsigned len = (unsigned)step.len_bytes;
    switch (step.call) {
    case BR_CALL_READ:
        if (region >= 0) {
            io_uring_prep_read_fixed(sqe, fd, step.buf, len, step.offset_bytes, region);
        } else {
            io_uring_prep_read(sqe, fd, step.buf, len, step.offset_bytes);
        }
        break;
    case BR_CALL_WRITE:
        if (region >= 0) {
            io_uring_prep_write_fixed(sqe, fd, step.buf, len, step.offset_bytes, region);
        } else {
            io_uring_prep_write(sqe, fd, step.buf, len, step.offset_bytes);
        }
        break;
    case BR_CALL_FSYNC: io_uring_prep_fsync(sqe, fd, 0); break;
    case BR_CALL_FALLOCATE:
        io_uring_prep_fallocate(sqe, fd, step.mode, (off_t)step.offset_bytes, (off_t)step.len_bytes);
        break;
    }
    if (is_fixed_file) {
        sqe->flags |= IOSQE_FIXED_FILE;
    }
    io_uring_sqe_set_data(sqe, io);
}

static void br_uring_start(struct br_ring *ring, struct br_io *io)
{
    int rc = br_os_begin(io);

    if (rc <= 0) {
        br_os_complete(ring, io, -rc);
    } else {
        br_uring_prep(br_uring_of(ring), io);
    }
}

static void br_uring_flush(struct br_ring *ring)
{
    br_uring_submit(br_uring_of(ring));
}

static void br_uring_arm_bell(struct br_uring *self)
{
    if (self->base.bell_fd >= 0 && !self->bell_armed) {
        struct io_uring_sqe *sqe = br_uring_sqe(self);
        io_uring_prep_read(sqe, self->base.bell_fd, &self->bell_value, sizeof(self->bell_value), 0);
        io_uring_sqe_set_data(sqe, &self->bell_value);
        self->bell_armed = true;
    }
}

static void br_uring_take(struct br_uring *self, struct br_io *io, int res)
{
    int os_errno;

    if (br_os_result(io, res, &os_errno)) {
        br_os_complete(&self->base, io, os_errno);
    } else {
        br_uring_prep(self, io);
    }
}

static unsigned br_uring_take_all(struct br_uring *self)
{
    struct io_uring_cqe *cqes[BR_URING_COMPLETIONS_AT_ONCE];
    unsigned taken = 0;
    unsigned count;

    do {
        count = io_uring_peek_batch_cqe(&self->uring, cqes, BR_ARRAY_LEN(cqes));
        for (unsigned i = 0; i < count; i++) {
            void *data = io_uring_cqe_get_data(cqes[i]);
            int res = cqes[i]->res;
            io_uring_cqe_seen(&self->uring, cqes[i]);
            if (data == &self->bell_value) {
                self->bell_armed = false;
            } else {
                br_uring_take(self, data, res);
            }
        }
        taken += count;
    } while (count == BR_ARRAY_LEN(cqes));
    return taken;
}

static void br_uring_reap(struct br_ring *ring, uint64_t timeout_ns)
{
    struct br_uring *self = br_uring_of(ring);
    struct io_uring_cqe *cqe;

    br_uring_arm_bell(self);
    if (br_uring_take_all(self) || !timeout_ns) {
        br_uring_submit(self);
        br_uring_take_all(self);
        return;
    }
    struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / UINT64_C(1000000000)),
                                   .tv_nsec = (long long)(timeout_ns % UINT64_C(1000000000))};
    int rc = io_uring_submit_and_wait_timeout(&self->uring, &cqe, 1, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
    assert(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY || rc == -ENOMEM);
    br_uring_take_all(self);
}

static int br_uring_bell_start(struct br_ring *ring, struct br_err *reterr)
{
    ring->bell_fd = eventfd(0, EFD_CLOEXEC);
    return ring->bell_fd < 0 ? br_err_os(reterr, errno, "cannot make an eventfd") : 0;
}

// Files -----------------------------------------------------------------------------------------------------------------------------

// Only the direct descriptor: a registered file lives until the kernel has retired its table entry, and a lock or an exclusive claim
// that hangs on the caller's descriptor must end when that is closed.
static int br_uring_file_wrap(struct br_ring *ring, int fd, struct br_file **ret_file, struct br_err *reterr)
{
    struct br_uring *self = br_uring_of(ring);
    struct br_os_file *file;

    int rc = br_os_file_new(ring, fd, &file, reterr);
    if (rc) {
        return rc;
    }
    if (file->direct_fd >= 0 && self->free_slot_count) {
        int slot = self->free_slots[self->free_slot_count - 1];
        if (io_uring_register_files_update(&self->uring, (unsigned)slot, &file->direct_fd, 1) == 1) {
            self->free_slot_count--;
            file->direct_slot = slot;
        }
    }
    *ret_file = &file->base;
    return 0;
}

static void br_uring_file_close(struct br_file *base)
{
    struct br_uring *self = br_uring_of(base->ring);
    const struct br_os_file *file = (struct br_os_file *)base;
    int none = -1;

    if (file->direct_slot >= 0 &&
        io_uring_register_files_update(&self->uring, (unsigned)file->direct_slot, &none, 1) == 1) {
        self->free_slots[self->free_slot_count++] = file->direct_slot;
    }
    br_os_file_close(base);
}

// Opening ---------------------------------------------------------------------------------------------------------------------------

static void br_uring_close(struct br_ring *ring)
{
    struct br_uring *self = br_uring_of(ring);

    if (self->has_files) {
        (void)!io_uring_unregister_files(&self->uring);
    }
    br_ring_fini(ring); // stops the workers before their bell goes
    io_uring_queue_exit(&self->uring);
    if (ring->bell_fd >= 0) {
        close(ring->bell_fd);
    }
    free(self);
}

static void br_uring_register_files(struct br_uring *self)
{
    if (io_uring_register_files_sparse(&self->uring, BR_URING_FILES)) {
        return;
    }
    self->has_files = true;
    for (int slot = BR_URING_FILES - 1; slot >= 0; slot--) {
        self->free_slots[self->free_slot_count++] = slot;
    }
}

static void br_uring_register_buffers(struct br_uring *self)
{
    struct iovec regions[BR_URING_REGIONS_MAX];
    size_t buffer_bytes = self->base.options.buffer_bytes;
    unsigned count = 0;

    if (!self->base.pool || buffer_bytes > BR_URING_REGION_BYTES) {
        return;
    }
    size_t region_bytes = BR_URING_REGION_BYTES / buffer_bytes * buffer_bytes;
    for (size_t at = 0; at < self->base.pool_bytes; at += region_bytes) {
        if (count == BR_URING_REGIONS_MAX) {
            return;
        }
        regions[count].iov_base = self->base.pool + at;
        regions[count++].iov_len = BR_MIN(region_bytes, self->base.pool_bytes - at);
    }
    if (!io_uring_register_buffers(&self->uring, regions, count)) {
        self->region_bytes = region_bytes;
    }
}

static const struct br_ring_ops br_uring_ops = {
    .name = "uring",
    .start = br_uring_start,
    .flush = br_uring_flush,
    .reap = br_uring_reap,
    .close = br_uring_close,
    .bell_start = br_uring_bell_start,
    .file_wrap = br_uring_file_wrap,
    .file_close = br_uring_file_close,
    BR_OS_OPS,
};

// COOP_TASKRUN: completions are handled when we come to the kernel anyway, not by interrupting a hash in the middle.
static int br_uring_queue_init(struct br_uring *self)
{
    unsigned entries = self->base.options.depth + 2; // the bell, and one to spare
    struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG};

    int rc = io_uring_queue_init_params(entries, &self->uring, &params);
    if (rc == -EINVAL) {
        params = (struct io_uring_params){0};
        rc = io_uring_queue_init_params(entries, &self->uring, &params);
    }
    if (!rc && (~params.features & (IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP))) {
        io_uring_queue_exit(&self->uring);
        rc = -ENOSYS;
    }
    return rc;
}

int br_uring_open(const struct br_ring_options *options, struct br_ring **ret_ring, struct br_err *reterr)
{
    struct br_uring *self = calloc(1, sizeof(*self));

    if (!self) {
        return br_err_set(reterr, BR_E_NOMEM, "no memory for a ring");
    }
    int rc = br_ring_init(&self->base, &br_uring_ops, options, reterr);
    if (rc) {
        free(self);
        return rc;
    }
    rc = br_uring_queue_init(self);
    if (rc) {
        br_ring_fini(&self->base);
        free(self);
        // ENOMEM too: recent kernels count the queues themselves against RLIMIT_MEMLOCK.
        br_err_os(reterr, -rc, "io_uring is refused here");
        if (reterr) {
            reterr->code = BR_E_UNSUPPORTED;
        }
        return -BR_E_UNSUPPORTED;
    }
    br_uring_register_files(self);
    br_uring_register_buffers(self);
    *ret_ring = &self->base;
    return 0;
}
