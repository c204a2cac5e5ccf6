// SPDX-License-Identifier: Apache-2.0
//
// The libaio ring, where io_uring is refused. The kernel's native AIO runs only direct calls without waiting, so those go to io_submit();
// buffered calls, syncs and zeroed ranges go to a few threads of our own. Both ring one bell (an eventfd), which the ring's thread polls.
#include "engine/ring/os.h"

#include <assert.h>
#include <errno.h>
#include <libaio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BR_AIO_THREADS     4
#define BR_AIO_AT_ONCE     64
#define BR_AIO_POLL_MS_MAX 60000

// What an operation needs while it runs. As many as the depth, so none is allocated on the way.
struct br_aio_slot {
    struct iocb iocb;
    struct br_job job;
    struct br_os_step step;
    int64_t res;
    struct br_io *io;
    struct br_aio_slot *next;
};

struct br_aio {
    struct br_ring base;
    io_context_t context;
    struct br_aio_slot *slots;
    struct br_aio_slot *free_slot;
    struct iocb **batch; // prepared, not submitted
    unsigned batch_count;
    unsigned submitted; // in the kernel
    unsigned threaded;  // with the threads
    struct br_pool threads;
};

static struct br_aio *br_aio_of(struct br_ring *ring)
{
    return (struct br_aio *)ring;
}

static void br_aio_thread_run(struct br_job *job)
{
    struct br_aio_slot *slot = job->ctx;

    slot->res = br_os_call_now(&slot->step);
}

static void br_aio_prep(struct br_aio *self, struct br_aio_slot *slot)
{
    struct br_os_step *step = &slot->step;

    br_os_next(slot->io, step);
    if (!step->is_direct) {
        self->threaded++;
        slot->job = (struct br_job){.run = br_aio_thread_run, .ctx = slot};
        br_pool_queue(&self->threads, &slot->job);
        return;
    }
    if (step->call == BR_CALL_READ) {
        io_prep_pread(&slot->iocb, step->fd, step->buf, step->len_bytes, (long long)step->offset_bytes);
    } else {
        io_prep_pwrite(&slot->iocb, step->fd, step->buf, step->len_bytes, (long long)step->offset_bytes);
    }
    io_set_eventfd(&slot->iocb, self->base.bell_fd);
    slot->iocb.data = slot;
    self->batch[self->batch_count++] = &slot->iocb;
}

// The call of a slot ended: complete the operation or make its next call.
static void br_aio_take(struct br_aio *self, struct br_aio_slot *slot, int64_t res)
{
    int os_errno;

    if (br_os_result(slot->io, res, &os_errno)) {
        struct br_io *io = slot->io;
        slot->next = self->free_slot;
        self->free_slot = slot;
        br_os_complete(&self->base, io, os_errno);
    } else {
        br_aio_prep(self, slot);
    }
}

static void br_aio_start(struct br_ring *ring, struct br_io *io)
{
    struct br_aio *self = br_aio_of(ring);
    int rc = br_os_begin(io);

    if (rc <= 0) {
        br_os_complete(ring, io, -rc);
        return;
    }
    struct br_aio_slot *slot = self->free_slot;
    assert(slot); // as many as operations may run
    self->free_slot = slot->next;
    slot->io = io;
    br_aio_prep(self, slot);
}

// Gives the kernel what was prepared. The kernel takes a prefix; when it takes none, its first call is at fault (its result is then that
// error) or resources are short (tried again after the next completion).
static void br_aio_flush(struct br_ring *ring)
{
    struct br_aio *self = br_aio_of(ring);

    while (self->batch_count) {
        int taken = io_submit(self->context, self->batch_count, self->batch);
        if (taken == -EINTR) {
            continue;
        }
        if (taken == -EAGAIN) {
            return;
        }
        struct br_aio_slot *failed = taken < 0 ? self->batch[0]->data : NULL;
        unsigned gone = taken < 0 ? 1 : (unsigned)taken;
        self->submitted += taken < 0 ? 0 : (unsigned)taken;
        self->batch_count -= gone;
        memmove(self->batch, self->batch + gone, self->batch_count * sizeof(struct iocb *));
        if (failed) {
            br_aio_take(self, failed, taken);
        }
    }
}

static void br_aio_take_events(struct br_aio *self)
{
    struct io_event events[BR_AIO_AT_ONCE];
    struct timespec now = {0};
    int count;

    while (self->submitted) {
        count = io_getevents(self->context, 0, BR_AIO_AT_ONCE, events, &now);
        if (count <= 0) {
            break;
        }
        self->submitted -= (unsigned)count;
        for (int i = 0; i < count; i++) {
            br_aio_take(self, events[i].data, (long)events[i].res);
        }
    }
}

static void br_aio_take_threads(struct br_aio *self)
{
    struct br_job *next;

    for (struct br_job *job = self->threaded ? br_pool_take(&self->threads) : NULL; job; job = next) {
        struct br_aio_slot *slot = job->ctx;
        next = job->next;
        self->threaded--;
        br_aio_take(self, slot, slot->res);
    }
}

static void br_aio_reap(struct br_ring *ring, uint64_t timeout_ns)
{
    struct br_aio *self = br_aio_of(ring);
    struct pollfd bell = {.fd = ring->bell_fd, .events = POLLIN};
    uint64_t rung;

    br_aio_flush(ring);
    // Rounded up: waking early would only come back here. Short waits when the kernel had no room for the batch.
    uint64_t wait_ms = BR_MIN(br_div_up(timeout_ns, UINT64_C(1000000)), (uint64_t)BR_AIO_POLL_MS_MAX);
    wait_ms = self->batch_count ? BR_MIN(wait_ms, UINT64_C(10)) : wait_ms;
    if (poll(&bell, 1, (int)wait_ms) > 0) {
        (void)!read(ring->bell_fd, &rung, sizeof(rung)); // before looking, so that what completes meanwhile rings again
    }
    br_aio_take_events(self);
    br_aio_take_threads(self);
}

// The bell is there from the start.
static int br_aio_bell_start(struct br_ring *ring, struct br_err *reterr)
{
    (void)ring;
    (void)reterr;
    return 0;
}

static void br_aio_free(struct br_aio *self)
{
    br_pool_stop(&self->threads);
    br_ring_fini(&self->base);
    if (self->context) {
        io_destroy(self->context);
    }
    if (self->base.bell_fd >= 0) {
        close(self->base.bell_fd);
    }
    free(self->slots);
    free(self->batch);
    free(self);
}

static void br_aio_close(struct br_ring *ring)
{
    br_aio_free(br_aio_of(ring));
}

static const struct br_ring_ops br_aio_ops = {
    .name = "aio",
    .start = br_aio_start,
    .flush = br_aio_flush,
    .reap = br_aio_reap,
    .close = br_aio_close,
    .bell_start = br_aio_bell_start,
    .file_wrap = br_os_file_wrap,
    .file_close = br_os_file_close,
    BR_OS_OPS,
};

static int br_aio_setup(struct br_aio *self, struct br_err *reterr)
{
    unsigned depth = self->base.options.depth;

    self->slots = calloc(depth, sizeof(*self->slots));
    self->batch = calloc(depth, sizeof(*self->batch));
    if (!self->slots || !self->batch) {
        return br_err_set(reterr, BR_E_NOMEM, "no memory for %u operations", depth);
    }
    for (unsigned i = 0; i < depth; i++) {
        self->slots[i].next = self->free_slot;
        self->free_slot = &self->slots[i];
    }
    int rc = io_setup((int)depth, &self->context);
    if (rc) {
        self->context = NULL;
        br_err_os(reterr, -rc, "asynchronous I/O is refused here (fs.aio-max-nr)");
        if (reterr) {
            reterr->code = BR_E_UNSUPPORTED;
        }
        return -BR_E_UNSUPPORTED;
    }
    self->base.bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->base.bell_fd < 0) {
        return br_err_os(reterr, errno, "cannot make an eventfd");
    }
    return br_pool_start(&self->threads, BR_AIO_THREADS, self->base.bell_fd, reterr);
}

int br_aio_open(const struct br_ring_options *options, struct br_ring **ret_ring, struct br_err *reterr)
{
    struct br_aio *self = calloc(1, sizeof(*self));

    if (!self) {
        return br_err_set(reterr, BR_E_NOMEM, "no memory for a ring");
    }
    int rc = br_ring_init(&self->base, &br_aio_ops, options, reterr);
    if (rc) {
        free(self);
        return rc;
    }
    rc = br_aio_setup(self, reterr);
    if (rc) {
        br_aio_free(self);
        return rc;
    }
    *ret_ring = &self->base;
    return 0;
}
