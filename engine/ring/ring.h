// SPDX-License-Identifier: Apache-2.0
//
// The ring: every byte that blkrep moves to or from a disk goes through here, and every clock, random number and directory entry too.
// One vtable, three worlds:
//
//     uring   io_uring: registered buffers and files, batched submission          (engine/ring/ring_uring.c)
//     aio     libaio, where io_uring is refused (sysctl, seccomp, old kernels)     (engine/ring/ring_aio.c)
//     sim     a seeded world of disks with volatile caches, faults and crashes     (engine/ring/sim.h)
//
// A ring belongs to one thread. Completions are callbacks that run inside br_ring_wait() (and inside the blocking helpers, which wait),
// never elsewhere. Engine code above the ring makes no system call on data, so that the same code runs under the simulator.
//
// What a ring guarantees: a completed read or write moved all its bytes (short transfers are continued inside), or failed; a completed
// sync made durable every write that had completed before the sync was submitted. Completions may come in any order.
// What it does not: ordering between submitted operations; atomicity of a write larger than one sector.
#ifndef BR_RING_RING_H
#define BR_RING_RING_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"
#include "engine/base/uuid.h"

struct br_ring;
struct br_file;
struct br_dir;

enum br_io_op {
    BR_IO_READ,  // fills buf; ends early only at the end of the file (done_bytes tells)
    BR_IO_WRITE, // all of buf
    BR_IO_SYNC,  // data and the metadata needed to read it back; offset, len and buf unused
    BR_IO_ZERO, // the range reads as zeros afterwards, durable after a sync: punched, zeroed by the device or written; what lies past
    // the end of the file is left out, so the size stays; buf unused
};

struct br_io;
typedef void br_io_done_fn(struct br_io *io);

// One operation. The caller owns it and its buffer and leaves both alone from submit until done is called; done may resubmit or free it.
struct br_io {
    enum br_io_op op;
    struct br_file *file;
    void *buf;
    size_t len_bytes; // for BR_IO_ZERO use zero_bytes
    uint64_t offset_bytes;
    uint64_t zero_bytes;
    br_io_done_fn *done;
    void *ctx; // the caller's

    int result;        // 0 or a negative -BR_E_*
    int os_errno;      // positive errno behind result, 0 when none
    size_t done_bytes; // bytes moved

    // The ring's own.
    struct br_io *next;
    uint64_t ring_state[4];
};

enum br_ring_kind { BR_RING_AUTO, BR_RING_URING, BR_RING_AIO };

struct br_ring_options {
    enum br_ring_kind kind;
    unsigned depth;        // operations in flight, default 64
    unsigned buffer_count; // buffers of the pool, may be 0
    size_t buffer_bytes;   // size of each, a multiple of 4096
    bool no_direct;        // never use O_DIRECT
};

/**
 * br_ring_open - make a ring on the running kernel
 * @options    copied; kind AUTO takes io_uring and falls back to libaio when the kernel refuses it
 * Owner: the caller closes it    Errors: -BR_E_UNSUPPORTED the kind asked for is refused here; -BR_E_NOMEM
 */
BR_MUST_CHECK int br_ring_open(const struct br_ring_options *options, struct br_ring **ret_ring, struct br_err *reterr);
/** br_ring_close - waits for what is in flight, then frees; files and dirs of the ring must be closed before; NULL is fine */
void br_ring_close(struct br_ring *ring);
/** br_ring_name - "uring", "aio" or "sim" */
const char *br_ring_name(const struct br_ring *ring);

/**
 * br_ring_submit - hand over one operation
 * Never fails: what goes wrong is told through io->result. Operations beyond the depth wait inside. Actual submission is batched until
 * br_ring_wait() or br_ring_flush().
 */
void br_ring_submit(struct br_ring *ring, struct br_io *io);
/** br_ring_flush - submit what is batched, without waiting */
void br_ring_flush(struct br_ring *ring);
/**
 * br_ring_wait - submit what is batched, wait until something completed or @timeout_ns passed, run the callbacks of all that did
 * @timeout_ns  UINT64_MAX waits for ever; 0 only reaps
 * Returns the number of callbacks run; 0 after a timeout, or when nothing is in flight and no worker is busy.
 */
int br_ring_wait(struct br_ring *ring, uint64_t timeout_ns);
/** br_ring_sleep - run what completes until @ns passed, also when nothing is in flight; virtual time in the simulator */
void br_ring_sleep(struct br_ring *ring, uint64_t ns);
/** br_ring_in_flight - operations submitted and not completed, jobs of workers included */
unsigned br_ring_in_flight(const struct br_ring *ring);

/** br_ring_now_ns - monotonic nanoseconds; virtual in the simulator */
uint64_t br_ring_now_ns(struct br_ring *ring);
/** br_ring_unix_ns - wall clock; may jump, may be decades off: never used to decide what is true */
uint64_t br_ring_unix_ns(struct br_ring *ring);
/** br_ring_random - cryptographic random bytes; seeded in the simulator */
void br_ring_random(struct br_ring *ring, void *bytes, size_t len);
/** br_ring_new_uuid - a fresh random id */
struct br_uuid br_ring_new_uuid(struct br_ring *ring);

// Buffers ---------------------------------------------------------------------------------------------------------------------------

/** br_ring_buffer_get - a buffer of options.buffer_bytes, 4096-aligned, registered with the kernel where it can be; NULL when all are out */
void *br_ring_buffer_get(struct br_ring *ring);
/** br_ring_buffer_put - gives it back; any thread's last use must have ended */
void br_ring_buffer_put(struct br_ring *ring, void *buffer);
/** br_ring_buffers_free - how many br_ring_buffer_get() would give now */
unsigned br_ring_buffers_free(const struct br_ring *ring);

// Jobs ------------------------------------------------------------------------------------------------------------------------------

struct br_job;
typedef void br_job_fn(struct br_job *job);

// CPU work on a worker thread: run() there (no ring calls inside), then done() on the ring's thread inside br_ring_wait().
struct br_job {
    br_job_fn *run;
    br_job_fn *done;
    void *ctx;
    struct br_job *next; // the ring's own
};

/** br_ring_workers - start @count worker threads (0: one per CPU, at most 16); the simulator runs jobs inline in seeded order */
BR_MUST_CHECK int br_ring_workers(struct br_ring *ring, unsigned count, struct br_err *reterr);
/** br_ring_job - queue a job; never fails; without workers run() is called at the next br_ring_wait() */
void br_ring_job(struct br_ring *ring, struct br_job *job);

// Files -----------------------------------------------------------------------------------------------------------------------------

struct br_file_info {
    uint64_t size_bytes;   // of a block device its capacity
    uint32_t sector_bytes; // logical sector size; 512 for files
    bool is_block;
    bool can_hole; // holes can be told from data
    uint64_t allocated_bytes;
    uint64_t device;   // st_dev, or st_rdev of a block device
    uint64_t inode;    // 0 for a block device
    uint64_t mtime_ns; // 0 for a block device
    uint64_t ctime_ns; // 0 for a block device
};

/**
 * br_file_wrap - use an open descriptor of a regular file or block device through the ring
 * @fd    owned by the ring's file from now on, closed by br_file_close(); also on failure
 * A second, O_DIRECT descriptor is made through /proc/self/fd where the file allows it: aligned operations use it, the rest the first.
 * Errors: -BR_E_UNSUPPORTED neither a regular file nor a block device
 */
BR_MUST_CHECK int br_file_wrap(struct br_ring *ring, int fd, struct br_file **ret_file, struct br_err *reterr);
/** br_file_close - NULL is fine; nothing may be in flight on it; does not sync */
void br_file_close(struct br_file *file);
/** br_file_fd - the buffered descriptor, for locks and probes of the caller; -1 in the simulator */
int br_file_fd(const struct br_file *file);
/** br_file_ring - the ring that it belongs to */
struct br_ring *br_file_ring(const struct br_file *file);
/** br_file_stat - facts as of now */
BR_MUST_CHECK int br_file_stat(struct br_file *file, struct br_file_info *ret_info, struct br_err *reterr);

// Blocking helpers: submit, then run br_ring_wait() until theirs is done. Callbacks of other operations run meanwhile.

/** br_file_read - exactly @len bytes; -BR_E_TRUNCATED when the file ends before */
BR_MUST_CHECK int br_file_read(struct br_file *file, void *buf, size_t len, uint64_t offset_bytes,
                               struct br_err *reterr);
/** br_file_write - exactly @len bytes; durable only after br_file_sync() */
BR_MUST_CHECK int br_file_write(struct br_file *file, const void *buf, size_t len, uint64_t offset_bytes,
                                struct br_err *reterr);
/** br_file_sync - what was written before is durable when it returns 0; after a failure nothing may be assumed about earlier writes */
BR_MUST_CHECK int br_file_sync(struct br_file *file, struct br_err *reterr);
/** br_file_zero - the range reads as zeros; durable after br_file_sync() */
BR_MUST_CHECK int br_file_zero(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr);
/** br_file_truncate - sets a regular file's size; a grown part reads as zeros; -BR_E_UNSUPPORTED on a device */
BR_MUST_CHECK int br_file_truncate(struct br_file *file, uint64_t size_bytes, struct br_err *reterr);
/** br_file_allocate - reserves space for the range without changing what it reads; best effort where the file system can't; NO_SPACE is told */
BR_MUST_CHECK int br_file_allocate(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes,
                                   struct br_err *reterr);
/**
 * br_file_next_data - the next extent that may hold data at or after @from_bytes
 * Sets *ret_start and *ret_end (end of that extent); start == end == size when only holes follow. Files that can't tell holes report all
 * as data. Device sources: all data.
 */
BR_MUST_CHECK int br_file_next_data(struct br_file *file, uint64_t from_bytes, uint64_t *ret_start, uint64_t *ret_end,
                                    struct br_err *reterr);
/** br_file_drop_cache - tell the kernel that the range won't be used again; never fails */
void br_file_drop_cache(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes);

// Directories -----------------------------------------------------------------------------------------------------------------------

// A directory of blkrep's own (NAME.blkrep/, the state folder). Names are single components; nothing is followed out of it (O_NOFOLLOW).

enum br_dir_open_flags {
    BR_OPEN_READ = 0,
    BR_OPEN_WRITE = 1,     // read and write
    BR_OPEN_CREATE = 2,    // make it when missing, mode 0600
    BR_OPEN_EXCLUSIVE = 4, // with CREATE: fail when there
    BR_OPEN_TRUNCATE = 8,
};

/** br_dir_wrap - use an open O_DIRECTORY descriptor; owned from now on, also on failure */
BR_MUST_CHECK int br_dir_wrap(struct br_ring *ring, int fd, struct br_dir **ret_dir, struct br_err *reterr);
/** br_dir_close - NULL is fine; locks taken through it end */
void br_dir_close(struct br_dir *dir);
/** br_dir_open - open a regular file in it; -BR_E_NOT_FOUND missing; -BR_E_REFUSED there with EXCLUSIVE, a symbolic link, not a regular file */
BR_MUST_CHECK int br_dir_open(struct br_dir *dir, const char *name, unsigned flags, struct br_file **ret_file,
                              struct br_err *reterr);
/** br_dir_rename - atomically replaces @to; durable after br_dir_sync() */
BR_MUST_CHECK int br_dir_rename(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr);
/** br_dir_publish - br_dir_rename() that replaces nothing: -BR_E_EXISTS when @to is there; of two at once, one succeeds */
BR_MUST_CHECK int br_dir_publish(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr);
/** br_dir_unlink - 0 also when it was not there; durable after br_dir_sync() */
BR_MUST_CHECK int br_dir_unlink(struct br_dir *dir, const char *name, struct br_err *reterr);
/** br_dir_exists - 1, 0 or an error */
BR_MUST_CHECK int br_dir_exists(struct br_dir *dir, const char *name, struct br_err *reterr);
/** br_dir_list_fn - takes one entry, until the list returns; non-zero stops the list and is returned */
typedef int br_dir_list_fn(void *ctx, const char *name, bool is_dir);
/** br_dir_list - all entries but "." and "..", in the order of their bytes, as they were at one moment or another of the call */
BR_MUST_CHECK int br_dir_list(struct br_dir *dir, br_dir_list_fn *fn, void *ctx, struct br_err *reterr);
/**
 * br_dir_sub - open a directory in it
 * @make  make it when missing, mode 0700; durable after br_dir_sync() of @dir
 * Owner: br_dir_close()    Errors: -BR_E_NOT_FOUND; -BR_E_REFUSED there, and no directory, or a symbolic link
 */
BR_MUST_CHECK int br_dir_sub(struct br_dir *dir, const char *name, bool make, struct br_dir **ret_dir,
                             struct br_err *reterr);
/** br_dir_sync - entries made, renamed and removed before are durable */
BR_MUST_CHECK int br_dir_sync(struct br_dir *dir, struct br_err *reterr);
/** br_dir_lock - exclusive advisory lock @name until br_dir_unlock(), the dir is closed or the process ends; -BR_E_BUSY when another holds it */
BR_MUST_CHECK int br_dir_lock(struct br_dir *dir, const char *name, struct br_err *reterr);
/** br_dir_unlock - gives a lock back that this dir took; one that it does not hold is left alone */
void br_dir_unlock(struct br_dir *dir, const char *name);
/** br_dir_space - bytes free to this user on its file system */
BR_MUST_CHECK int br_dir_space(struct br_dir *dir, uint64_t *ret_free_bytes, struct br_err *reterr);

#endif
