// SPDX-License-Identifier: Apache-2.0
//
// What all rings have in common: lists of operations, waiting, blocking helpers, the buffer pool, jobs. See ring_impl.h for the parts.
#include "engine/ring/ring_impl.h"

#include <assert.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#define BR_HUGE_PAGE_BYTES (2 * BR_MIB)

// Lists -----------------------------------------------------------------------------------------------------------------------------

void br_io_list_push(struct br_io_list *list, struct br_io *io)
{
    io->next = NULL;
    if (list->tail) {
        list->tail->next = io;
    } else {
        list->head = io;
    }
    list->tail = io;
}

struct br_io *br_io_list_pop(struct br_io_list *list)
{
    struct br_io *io = list->head;

    if (io) {
        list->head = io->next;
        if (!list->head) {
            list->tail = NULL;
        }
    }
    return io;
}

// Making and ending -----------------------------------------------------------------------------------------------------------------

// One mapping for all buffers, on huge pages where the kernel has them: a 1 MiB buffer is then one segment for the disk's driver.
static int br_ring_map_pool(struct br_ring *ring, struct br_err *reterr)
{
    const struct br_ring_options *options = &ring->options;

    if (!options->buffer_count) {
        return 0;
    }
    if (!options->buffer_bytes || options->buffer_bytes % 4096 ||
        __builtin_mul_overflow(options->buffer_bytes, options->buffer_count, &ring->pool_bytes)) {
        return br_err_set(reterr, BR_E_USAGE, "buffers of %zu bytes: not a multiple of 4096", options->buffer_bytes);
    }
    ring->pool_bytes = br_align_up(ring->pool_bytes, 4096);
    ring->buffer_free = calloc(options->buffer_count, sizeof(*ring->buffer_free));
    void *at = mmap(NULL, ring->pool_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || !ring->buffer_free) {
        if (at != MAP_FAILED) {
            munmap(at, ring->pool_bytes);
        }
        free(ring->buffer_free);
        return br_err_set(reterr, BR_E_NOMEM, "no memory for %u buffers of %zu bytes", options->buffer_count,
                          options->buffer_bytes);
    }
    ring->pool = at;
    if (ring->pool_bytes >= BR_HUGE_PAGE_BYTES) {
        (void)!madvise(at, ring->pool_bytes, MADV_HUGEPAGE);
    }
    ring->buffers_free = options->buffer_count;
    for (unsigned i = 0; i < options->buffer_count; i++) {
        ring->buffer_free[i] = options->buffer_count - 1 - i;
    }
    return 0;
}

int br_ring_init(struct br_ring *ring, const struct br_ring_ops *ops, const struct br_ring_options *options,
                 struct br_err *reterr)
{
    ring->ops = ops;
    ring->options = *options;
    ring->bell_fd = -1;
    if (!ring->options.depth) {
        ring->options.depth = 64;
    }
    ring->options.depth = BR_MIN(ring->options.depth, (unsigned)BR_RING_DEPTH_MAX);
    return br_ring_map_pool(ring, reterr);
}

void br_ring_fini(struct br_ring *ring)
{
    br_pool_stop(&ring->workers);
    if (ring->pool) {
        munmap(ring->pool, ring->pool_bytes);
        free(ring->buffer_free);
    }
}

int br_ring_open(const struct br_ring_options *options, struct br_ring **ret_ring, struct br_err *reterr)
{
    if (options->kind == BR_RING_AIO) {
        return br_aio_open(options, ret_ring, reterr);
    }
    int rc = br_uring_open(options, ret_ring, reterr);
    if (rc == -BR_E_UNSUPPORTED && options->kind == BR_RING_AUTO) {
        return br_aio_open(options, ret_ring, reterr);
    }
    return rc;
}

void br_ring_close(struct br_ring *ring)
{
    if (!ring) {
        return;
    }
    while (br_ring_in_flight(ring)) {
        br_ring_wait(ring, UINT64_MAX);
    }
    assert(!ring->handles); // a file or directory that outlives its ring would use freed memory later
    ring->ops->close(ring);
}

const char *br_ring_name(const struct br_ring *ring)
{
    return ring->ops->name;
}

// Operations ------------------------------------------------------------------------------------------------------------------------

static void br_ring_start(struct br_ring *ring, struct br_io *io)
{
    ring->started++;
    if (ring->dead_text) {
        br_ring_complete(ring, io, -BR_E_IO, 0);
    } else {
        ring->ops->start(ring, io);
    }
}

void br_ring_submit(struct br_ring *ring, struct br_io *io)
{
    assert(io->file->ring == ring && io->done);
    io->result = 0;
    io->os_errno = 0;
    io->done_bytes = 0;
    memset(io->ring_state, 0, sizeof(io->ring_state));
    ring->in_flight++;
    if (ring->started < ring->options.depth && !ring->waiting.head) {
        br_ring_start(ring, io);
    } else {
        br_io_list_push(&ring->waiting, io);
    }
}

void br_ring_complete(struct br_ring *ring, struct br_io *io, int result, int os_errno)
{
    assert(ring->started);
    ring->started--;
    io->result = result;
    io->os_errno = os_errno;
    br_io_list_push(&ring->done, io);
}

// Not from br_ring_complete(): a start that fails at once would recurse as deep as the waiting list is long.
static void br_ring_start_waiting(struct br_ring *ring)
{
    while (ring->waiting.head && ring->started < ring->options.depth) {
        br_ring_start(ring, br_io_list_pop(&ring->waiting));
    }
}

void br_ring_flush(struct br_ring *ring)
{
    br_ring_start_waiting(ring);
    ring->ops->flush(ring);
}

static int br_ring_run_done(struct br_ring *ring)
{
    int ran = 0;

    // Only what is there now: a callback that resubmits and fails at once must not keep us here for ever.
    struct br_io *last = ring->done.tail;
    while (last) {
        struct br_io *io = br_io_list_pop(&ring->done);
        if (!io) { // a nested wait ran the rest
            break;
        }
        bool is_last = io == last;
        ring->in_flight--;
        ran++;
        io->done(io);
        if (is_last) {
            break;
        }
    }
    return ran;
}

static void br_ring_collect_jobs(struct br_ring *ring)
{
    struct br_job *next;

    for (struct br_job *job = br_pool_take(&ring->workers); job; job = next) {
        next = job->next;
        br_job_list_push(&ring->jobs_done, job);
    }
}

static int br_ring_run_jobs(struct br_ring *ring)
{
    int ran = 0;

    br_ring_collect_jobs(ring);
    struct br_job *last = ring->jobs_done.tail;
    while (last) {
        struct br_job *job = br_job_list_pop(&ring->jobs_done);
        if (!job) {
            break;
        }
        bool is_last = job == last;
        ring->jobs_in_flight--;
        ran++;
        job->done(job);
        if (is_last) {
            break;
        }
    }
    return ran;
}

static struct br_job *br_ring_inline_job(struct br_ring *ring)
{
    int pick = ring->ops->run_job_now ? ring->ops->run_job_now(ring, ring->inline_job_count) : 0;

    if (pick < 0) {
        return NULL;
    }
    for (; pick > 0; pick--) {
        br_job_list_push(&ring->inline_jobs, br_job_list_pop(&ring->inline_jobs));
    }
    ring->inline_job_count--;
    return br_job_list_pop(&ring->inline_jobs);
}

static bool br_ring_run_inline_job(struct br_ring *ring)
{
    struct br_job *job = ring->inline_job_count ? br_ring_inline_job(ring) : NULL;

    if (!job) {
        return false;
    }
    job->run(job);
    ring->jobs_in_flight--;
    job->done(job);
    return true;
}

// One look: run what is ready, without waiting longer than @timeout_ns for it.
static int br_ring_turn(struct br_ring *ring, uint64_t timeout_ns)
{
    if (br_ring_run_inline_job(ring)) {
        return 1;
    }
    br_ring_start_waiting(ring);
    bool ready = ring->done.head || ring->jobs_done.head || br_pool_ready(&ring->workers) || ring->inline_job_count;
    ring->ops->reap(ring, ready ? 0 : timeout_ns);
    int ran = br_ring_run_done(ring);
    ran += br_ring_run_jobs(ring);
    if (ran) {
        // What the callbacks submitted starts now, not after the caller's next computation.
        br_ring_start_waiting(ring);
        ring->ops->flush(ring);
    }
    return ran;
}

int br_ring_wait(struct br_ring *ring, uint64_t timeout_ns)
{
    uint64_t deadline_ns = UINT64_MAX;
    uint64_t left_ns = timeout_ns;

    if (timeout_ns && timeout_ns != UINT64_MAX) {
        (void)!br_add_u64(br_ring_now_ns(ring), timeout_ns, &deadline_ns);
    }
    while (ring->in_flight || ring->jobs_in_flight) {
        int ran = br_ring_turn(ring, left_ns);
        if (ran || !timeout_ns) {
            return ran;
        }
        if (deadline_ns != UINT64_MAX) {
            uint64_t now_ns = br_ring_now_ns(ring);
            if (now_ns >= deadline_ns) {
                return 0;
            }
            left_ns = deadline_ns - now_ns;
        }
    }
    return 0;
}

void br_ring_sleep(struct br_ring *ring, uint64_t ns)
{
    uint64_t now_ns = br_ring_now_ns(ring);
    uint64_t deadline_ns = UINT64_MAX;

    (void)!br_add_u64(now_ns, ns, &deadline_ns);
    while (now_ns < deadline_ns && !ring->dead_text) {
        br_ring_turn(ring, deadline_ns - now_ns);
        now_ns = br_ring_now_ns(ring);
    }
}

unsigned br_ring_in_flight(const struct br_ring *ring)
{
    return ring->in_flight + ring->jobs_in_flight;
}

uint64_t br_ring_now_ns(struct br_ring *ring)
{
    return ring->ops->now_ns(ring);
}

uint64_t br_ring_unix_ns(struct br_ring *ring)
{
    return ring->ops->unix_ns(ring);
}

void br_ring_random(struct br_ring *ring, void *bytes, size_t len)
{
    ring->ops->random(ring, bytes, len);
}

struct br_uuid br_ring_new_uuid(struct br_ring *ring)
{
    uint8_t bytes[BR_UUID_BYTES];

    br_ring_random(ring, bytes, sizeof(bytes));
    return br_uuid_make(bytes);
}

// Buffers ---------------------------------------------------------------------------------------------------------------------------

void *br_ring_buffer_get(struct br_ring *ring)
{
    if (!ring->buffers_free) {
        return NULL;
    }
    return ring->pool + ring->buffer_free[--ring->buffers_free] * ring->options.buffer_bytes;
}

void br_ring_buffer_put(struct br_ring *ring, void *buffer)
{
    size_t at = (size_t)((uint8_t *)buffer - ring->pool);

    assert(ring->pool && at < ring->pool_bytes && at % ring->options.buffer_bytes == 0);
    assert(ring->buffers_free < ring->options.buffer_count);
    ring->buffer_free[ring->buffers_free++] = (unsigned)(at / ring->options.buffer_bytes);
}

unsigned br_ring_buffers_free(const struct br_ring *ring)
{
    return ring->buffers_free;
}

// Jobs ------------------------------------------------------------------------------------------------------------------------------

static unsigned br_ring_cpu_count(void)
{
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus)) {
        return 1;
    }
    return (unsigned)CPU_COUNT(&cpus);
}

int br_ring_workers(struct br_ring *ring, unsigned count, struct br_err *reterr)
{
    if (!ring->ops->bell_start || ring->workers.count) {
        return 0; // inline, or already there
    }
    count = BR_MIN(count ? count : br_ring_cpu_count(), (unsigned)BR_RING_WORKERS_MAX);
    int rc = ring->ops->bell_start(ring, reterr);
    return rc ? rc : br_pool_start(&ring->workers, count, ring->bell_fd, reterr);
}

void br_ring_job(struct br_ring *ring, struct br_job *job)
{
    ring->jobs_in_flight++;
    if (ring->workers.count) {
        br_pool_queue(&ring->workers, job);
    } else {
        br_job_list_push(&ring->inline_jobs, job);
        ring->inline_job_count++;
    }
}

// Files -----------------------------------------------------------------------------------------------------------------------------

int br_file_wrap(struct br_ring *ring, int fd, struct br_file **ret_file, struct br_err *reterr)
{
    return ring->ops->file_wrap(ring, fd, ret_file, reterr);
}

void br_file_close(struct br_file *file)
{
    if (file) {
        file->ring->ops->file_close(file);
    }
}

int br_file_fd(const struct br_file *file)
{
    return file->ring->ops->file_fd(file);
}

struct br_ring *br_file_ring(const struct br_file *file)
{
    return file->ring;
}

int br_file_stat(struct br_file *file, struct br_file_info *ret_info, struct br_err *reterr)
{
    return file->ring->ops->file_stat(file, ret_info, reterr);
}

static void br_file_done(struct br_io *io)
{
    *(bool *)io->ctx = true;
}

// Submits @io and runs the ring until it is done. @what says what failed: "cannot read".
static int br_file_run(struct br_io *io, const char *what, struct br_err *reterr)
{
    struct br_ring *ring = io->file->ring;
    bool done = false;
    uint64_t len = io->op == BR_IO_ZERO ? io->zero_bytes : io->len_bytes;

    io->done = br_file_done;
    io->ctx = &done;
    br_ring_submit(ring, io);
    while (!done) {
        br_ring_wait(ring, UINT64_MAX);
    }
    if (!io->result) {
        return 0;
    }
    if (ring->dead_text) {
        br_err_at(reterr, -io->result, io->offset_bytes, "%s: %s", what, ring->dead_text);
    } else if (io->os_errno) {
        br_err_os(reterr, io->os_errno, "%s %llu bytes at offset %llu", what, (unsigned long long)len,
                  (unsigned long long)io->offset_bytes);
    } else {
        br_err_at(reterr, -io->result, io->offset_bytes, "%s %llu bytes", what, (unsigned long long)len);
    }
    if (reterr) {
        reterr->code = -io->result;
        reterr->has_offset = io->op != BR_IO_SYNC;
        reterr->offset_bytes = io->offset_bytes + io->done_bytes;
    }
    return io->result;
}

int br_file_read(struct br_file *file, void *buf, size_t len, uint64_t offset_bytes, struct br_err *reterr)
{
    struct br_io io = {.op = BR_IO_READ, .file = file, .buf = buf, .len_bytes = len, .offset_bytes = offset_bytes};

    int rc = br_file_run(&io, "cannot read", reterr);
    if (!rc && io.done_bytes < len) {
        rc = br_err_at(reterr, BR_E_TRUNCATED, offset_bytes + io.done_bytes, "the file ends %zu bytes too early",
                       len - io.done_bytes);
    }
    return rc;
}

int br_file_write(struct br_file *file, const void *buf, size_t len, uint64_t offset_bytes, struct br_err *reterr)
{
    struct br_io io = {.op = BR_IO_WRITE, .file = file, .len_bytes = len, .offset_bytes = offset_bytes};

    memcpy(&io.buf, &buf, sizeof(buf)); // a write only reads it
    return br_file_run(&io, "cannot write", reterr);
}

int br_file_sync(struct br_file *file, struct br_err *reterr)
{
    struct br_io io = {.op = BR_IO_SYNC, .file = file};

    return br_file_run(&io, "cannot make durable", reterr);
}

int br_file_zero(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct br_io io = {.op = BR_IO_ZERO, .file = file, .offset_bytes = offset_bytes, .zero_bytes = len_bytes};

    return br_file_run(&io, "cannot zero", reterr);
}

int br_file_truncate(struct br_file *file, uint64_t size_bytes, struct br_err *reterr)
{
    return file->ring->ops->file_truncate(file, size_bytes, reterr);
}

int br_file_allocate(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    return len_bytes ? file->ring->ops->file_allocate(file, offset_bytes, len_bytes, reterr) : 0;
}

int br_file_next_data(struct br_file *file, uint64_t from_bytes, uint64_t *ret_start, uint64_t *ret_end,
                      struct br_err *reterr)
{
    return file->ring->ops->file_next_data(file, from_bytes, ret_start, ret_end, reterr);
}

void br_file_drop_cache(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes)
{
    file->ring->ops->file_drop_cache(file, offset_bytes, len_bytes);
}

// Directories -----------------------------------------------------------------------------------------------------------------------

static int br_dir_name_check(const char *name, struct br_err *reterr)
{
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, "..") || strlen(name) > 255) {
        return br_err_set(reterr, BR_E_USAGE, "not a file name: '%s'", name);
    }
    return 0;
}

int br_dir_wrap(struct br_ring *ring, int fd, struct br_dir **ret_dir, struct br_err *reterr)
{
    return ring->ops->dir_wrap(ring, fd, ret_dir, reterr);
}

void br_dir_close(struct br_dir *dir)
{
    if (dir) {
        dir->ring->ops->dir_close(dir);
    }
}

int br_dir_open(struct br_dir *dir, const char *name, unsigned flags, struct br_file **ret_file, struct br_err *reterr)
{
    int rc = br_dir_name_check(name, reterr);
    return rc ? rc : dir->ring->ops->dir_open(dir, name, flags, ret_file, reterr);
}

int br_dir_rename(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr)
{
    int rc = br_dir_name_check(from, reterr);
    rc = rc ? rc : br_dir_name_check(to, reterr);
    return rc ? rc : dir->ring->ops->dir_rename(dir, from, to, reterr);
}

int br_dir_publish(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr)
{
    int rc = br_dir_name_check(from, reterr);
    rc = rc ? rc : br_dir_name_check(to, reterr);
    return rc ? rc : dir->ring->ops->dir_publish(dir, from, to, reterr);
}

int br_dir_list(struct br_dir *dir, br_dir_list_fn *fn, void *ctx, struct br_err *reterr)
{
    return dir->ring->ops->dir_list(dir, fn, ctx, reterr);
}

int br_dir_sub(struct br_dir *dir, const char *name, bool make, struct br_dir **ret_dir, struct br_err *reterr)
{
    int rc = br_dir_name_check(name, reterr);
    return rc ? rc : dir->ring->ops->dir_sub(dir, name, make, ret_dir, reterr);
}

int br_dir_unlink(struct br_dir *dir, const char *name, struct br_err *reterr)
{
    int rc = br_dir_name_check(name, reterr);
    return rc ? rc : dir->ring->ops->dir_unlink(dir, name, reterr);
}

int br_dir_exists(struct br_dir *dir, const char *name, struct br_err *reterr)
{
    int rc = br_dir_name_check(name, reterr);
    return rc ? rc : dir->ring->ops->dir_exists(dir, name, reterr);
}

int br_dir_sync(struct br_dir *dir, struct br_err *reterr)
{
    return dir->ring->ops->dir_sync(dir, reterr);
}

int br_dir_lock(struct br_dir *dir, const char *name, struct br_err *reterr)
{
    int rc = br_dir_name_check(name, reterr);
    return rc ? rc : dir->ring->ops->dir_lock(dir, name, reterr);
}

void br_dir_unlock(struct br_dir *dir, const char *name)
{
    dir->ring->ops->dir_unlock(dir, name);
}

int br_dir_space(struct br_dir *dir, uint64_t *ret_free_bytes, struct br_err *reterr)
{
    return dir->ring->ops->dir_space(dir, ret_free_bytes, reterr);
}
