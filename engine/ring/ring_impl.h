// SPDX-License-Identifier: Apache-2.0
//
// What the three rings share, and the vtable that tells them apart. Included by engine/ring/*.c only.
//
// Life of an operation: br_ring_submit() -> start() when fewer than depth run, else the waiting list -> the back end works ->
// br_ring_complete() -> the done list -> its callback in br_ring_wait(). start() may complete at once. Nobody allocates on the way.
//
//     ring.c        lists, waiting, blocking helpers, buffers: all that does not depend on the world
//     pool.c        threads that run jobs and hand them back
//     os.c          files and directories of the running kernel, and how one operation becomes system calls
//     ring_uring.c, ring_aio.c   how those calls are made without waiting for them
//     ring_sim.c    operations, clock and faults of the simulated world; sim_disk.c its files and directories
#ifndef BR_RING_RING_IMPL_H
#define BR_RING_RING_IMPL_H

#include <pthread.h>

#include "engine/ring/ring.h"

#define BR_RING_WORKERS_MAX 16
#define BR_RING_DEPTH_MAX   4096

struct br_file {
    struct br_ring *ring;
};

struct br_dir {
    struct br_ring *ring;
};

struct br_io_list {
    struct br_io *head;
    struct br_io *tail;
};

struct br_job_list {
    struct br_job *head;
    struct br_job *tail;
};

// Threads that run jobs. Finished jobs gather in done; the first of them rings the bell (an eventfd).
struct br_pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct br_job_list todo;
    struct br_job_list done;
    pthread_t threads[BR_RING_WORKERS_MAX];
    unsigned count;
    int bell_fd; // the ring's, not closed here
    bool stop;
};

struct br_ring_ops {
    const char *name;
    /** start - begin @io (file, op, buffer are set, done_bytes is 0); ends in br_ring_complete(), maybe before it returns */
    void (*start)(struct br_ring *ring, struct br_io *io);
    /** flush - give the kernel what start() batched */
    void (*flush)(struct br_ring *ring);
    /**
     * reap - flush, then wait until something completed, the bell rang or @timeout_ns passed; 0 does not wait
     * Calls br_ring_complete() for what completed. May return early with nothing (a signal): the caller asks again.
     */
    void (*reap)(struct br_ring *ring, uint64_t timeout_ns);
    /** close - nothing is in flight; frees the back end's part and @ring itself */
    void (*close)(struct br_ring *ring);
    /** bell_start - from now on bytes written to ring->bell_fd end a waiting reap(); NULL: jobs always run inline */
    int (*bell_start)(struct br_ring *ring, struct br_err *reterr);
    /** run_job_now - inline jobs only: which of @count queued jobs comes next, or -1: an operation should complete first; NULL: in order */
    int (*run_job_now)(struct br_ring *ring, unsigned count);

    uint64_t (*now_ns)(struct br_ring *ring);
    uint64_t (*unix_ns)(struct br_ring *ring);
    void (*random)(struct br_ring *ring, void *bytes, size_t len);

    // Files and directories, as the functions of the same name in ring.h. Names were checked to be single components.
    int (*file_wrap)(struct br_ring *ring, int fd, struct br_file **ret_file, struct br_err *reterr);
    void (*file_close)(struct br_file *file);
    int (*file_fd)(const struct br_file *file);
    int (*file_stat)(struct br_file *file, struct br_file_info *ret_info, struct br_err *reterr);
    int (*file_truncate)(struct br_file *file, uint64_t size_bytes, struct br_err *reterr);
    int (*file_allocate)(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr);
    int (*file_next_data)(struct br_file *file, uint64_t from_bytes, uint64_t *ret_start, uint64_t *ret_end,
                          struct br_err *reterr);
    void (*file_drop_cache)(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes);
    int (*dir_wrap)(struct br_ring *ring, int fd, struct br_dir **ret_dir, struct br_err *reterr);
    void (*dir_close)(struct br_dir *dir);
    int (*dir_open)(struct br_dir *dir, const char *name, unsigned flags, struct br_file **ret_file,
                    struct br_err *reterr);
    int (*dir_rename)(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr);
    int (*dir_publish)(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr);
    int (*dir_list)(struct br_dir *dir, br_dir_list_fn *fn, void *ctx, struct br_err *reterr);
    int (*dir_sub)(struct br_dir *dir, const char *name, bool make, struct br_dir **ret_dir, struct br_err *reterr);
    int (*dir_unlink)(struct br_dir *dir, const char *name, struct br_err *reterr);
    int (*dir_exists)(struct br_dir *dir, const char *name, struct br_err *reterr);
    int (*dir_sync)(struct br_dir *dir, struct br_err *reterr);
    int (*dir_lock)(struct br_dir *dir, const char *name, struct br_err *reterr);
    void (*dir_unlock)(struct br_dir *dir, const char *name);
    int (*dir_space)(struct br_dir *dir, uint64_t *ret_free_bytes, struct br_err *reterr);
};

// The common head of every ring; back ends embed it first.
struct br_ring {
    const struct br_ring_ops *ops;
    struct br_ring_options options;
    const char *dead_text; // why every operation fails now; NULL while the ring is alive

    unsigned in_flight; // operations submitted whose callback has not been called
    unsigned started;   // of those, in the back end
    struct br_io_list waiting;
    struct br_io_list done;

    uint8_t *pool; // buffer_count * buffer_bytes, one mapping
    size_t pool_bytes;
    unsigned *buffer_free; // stack of indexes
    unsigned buffers_free;

    struct br_pool workers;
    struct br_job_list jobs_done;   // finished, done() not called yet
    struct br_job_list inline_jobs; // without workers
    unsigned inline_job_count;
    unsigned jobs_in_flight;
    int bell_fd; // -1 until bell_start()

    unsigned handles; // files and dirs open
};

/**
 * br_ring_init - the common part: lists, depth, buffer pool (mapped, not registered)
 * Errors: -BR_E_NOMEM; -BR_E_USAGE the options make no sense
 */
BR_MUST_CHECK int br_ring_init(struct br_ring *ring, const struct br_ring_ops *ops,
                               const struct br_ring_options *options, struct br_err *reterr);
/** br_ring_fini - undo br_ring_init() and stop the workers; the back end's close() calls it */
void br_ring_fini(struct br_ring *ring);
/** br_ring_complete - the back end is done with @io; @result 0 or -BR_E_*, @os_errno positive or 0 */
void br_ring_complete(struct br_ring *ring, struct br_io *io, int result, int os_errno);

/** br_io_list_push, br_io_list_pop - a queue; pop gives NULL when empty */
void br_io_list_push(struct br_io_list *list, struct br_io *io);
struct br_io *br_io_list_pop(struct br_io_list *list);
/** br_job_list_push, br_job_list_pop - the same for jobs */
void br_job_list_push(struct br_job_list *list, struct br_job *job);
struct br_job *br_job_list_pop(struct br_job_list *list);

/** br_pool_start - @count threads (1..BR_RING_WORKERS_MAX) that ring @bell_fd; what was started is stopped again on failure */
BR_MUST_CHECK int br_pool_start(struct br_pool *pool, unsigned count, int bell_fd, struct br_err *reterr);
/** br_pool_stop - waits for running jobs, drops queued ones; a pool never started is fine */
void br_pool_stop(struct br_pool *pool);
/** br_pool_queue - hand a job to the threads; its done() is not called by the pool */
void br_pool_queue(struct br_pool *pool, struct br_job *job);
/** br_pool_take - all jobs that finished since the last call, oldest first */
struct br_job *br_pool_take(struct br_pool *pool);
/** br_pool_ready - whether br_pool_take() would give some */
bool br_pool_ready(struct br_pool *pool);

/** br_uring_open, br_aio_open - make that ring; -BR_E_UNSUPPORTED when the kernel refuses it */
BR_MUST_CHECK int br_uring_open(const struct br_ring_options *options, struct br_ring **ret_ring,
                                struct br_err *reterr);
BR_MUST_CHECK int br_aio_open(const struct br_ring_options *options, struct br_ring **ret_ring, struct br_err *reterr);

#endif
