// SPDX-License-Identifier: Apache-2.0
//
// Files of the running kernel, and how one ring operation becomes system calls. Shared by the uring and aio rings, which differ only in
// how they make these calls without waiting.
//
// A regular file or device has two descriptors: the caller's, buffered, and one of our own with O_DIRECT. Direct calls are made for whole
// pages only (offset, length and memory multiples of the page size and of what the file asks for), although many disks would take
// sectors: a page is then never reached both ways at once by two operations whose ranges don't overlap, so the page cache can't
// write old neighbours over what a direct write put down.
#ifndef BR_RING_OS_H
#define BR_RING_OS_H

#include "engine/ring/ring_impl.h"

struct br_os_file {
    struct br_file base;
    int fd;
    int direct_fd;        // -1: none, or the kernel refused to use it
    int direct_slot;      // of uring's table of registered files; -1 none
    uint32_t align_bytes; // of direct calls; a power of two, at least 4096
    bool is_block;
    bool is_direct_off; // a direct call was refused: buffered from now on
};

enum br_os_call {
    BR_CALL_READ,
    BR_CALL_WRITE,
    BR_CALL_FSYNC,
    BR_CALL_FALLOCATE,
};

// One system call.
struct br_os_step {
    enum br_os_call call;
    int fd;
    bool is_direct; // fd is the file's direct_fd
    int mode;       // of fallocate
    void *buf;
    uint64_t len_bytes; // of reads and writes at most BR_OS_CALL_BYTES_MAX
    uint64_t offset_bytes;
};

#define BR_OS_CALL_BYTES_MAX (UINT64_C(1) << 30)

/** br_os_begin - before the first step: limits a range to the file's size; returns 1 go on, 0 nothing to do, -errno failed */
int br_os_begin(struct br_io *io);
/** br_os_next - the next call of an operation that is not done */
void br_os_next(struct br_io *io, struct br_os_step *ret_step);
/**
 * br_os_result - take the result of the call that br_os_next() named
 * @res  what the call returned, or -errno
 * Returns true when the operation is done: then *ret_errno is 0 or positive. False: ask br_os_next() again.
 */
bool br_os_result(struct br_io *io, int64_t res, int *ret_errno);
/** br_os_complete - br_ring_complete() with an errno */
void br_os_complete(struct br_ring *ring, struct br_io *io, int os_errno);
/** br_os_call_now - make the call and wait for it; returns its result or -errno */
int64_t br_os_call_now(const struct br_os_step *step);

// Slots of struct br_ring_ops that both kernel rings fill with the same functions.
/** br_os_now_ns, br_os_unix_ns, br_os_random - the kernel's clocks and random numbers */
uint64_t br_os_now_ns(struct br_ring *ring);
uint64_t br_os_unix_ns(struct br_ring *ring);
void br_os_random(struct br_ring *ring, void *bytes, size_t len);
/** br_os_file_new - as br_file_wrap(); the back end may register direct_fd afterwards */
BR_MUST_CHECK int br_os_file_new(struct br_ring *ring, int fd, struct br_os_file **ret_file, struct br_err *reterr);
/** br_os_file_* - as br_file_* */
int br_os_file_wrap(struct br_ring *ring, int fd, struct br_file **ret_file, struct br_err *reterr);
void br_os_file_close(struct br_file *file);
int br_os_file_fd(const struct br_file *file);
int br_os_file_stat(struct br_file *file, struct br_file_info *ret_info, struct br_err *reterr);
int br_os_file_truncate(struct br_file *file, uint64_t size_bytes, struct br_err *reterr);
int br_os_file_allocate(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr);
int br_os_file_next_data(struct br_file *file, uint64_t from_bytes, uint64_t *ret_start, uint64_t *ret_end,
                         struct br_err *reterr);
void br_os_file_drop_cache(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes);
/** br_os_dir_* - as br_dir_*; names were checked to be single components */
int br_os_dir_wrap(struct br_ring *ring, int fd, struct br_dir **ret_dir, struct br_err *reterr);
void br_os_dir_close(struct br_dir *dir);
int br_os_dir_open(struct br_dir *dir, const char *name, unsigned flags, struct br_file **ret_file,
                   struct br_err *reterr);
int br_os_dir_rename(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr);
int br_os_dir_publish(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr);
int br_os_dir_list(struct br_dir *dir, br_dir_list_fn *fn, void *ctx, struct br_err *reterr);
int br_os_dir_sub(struct br_dir *dir, const char *name, bool make, struct br_dir **ret_dir, struct br_err *reterr);
int br_os_dir_unlink(struct br_dir *dir, const char *name, struct br_err *reterr);
int br_os_dir_exists(struct br_dir *dir, const char *name, struct br_err *reterr);
int br_os_dir_sync(struct br_dir *dir, struct br_err *reterr);
int br_os_dir_lock(struct br_dir *dir, const char *name, struct br_err *reterr);
void br_os_dir_unlock(struct br_dir *dir, const char *name);
int br_os_dir_space(struct br_dir *dir, uint64_t *ret_free_bytes, struct br_err *reterr);

// All of the above, for a struct br_ring_ops.
#define BR_OS_OPS                                                                                                 \
    .now_ns = br_os_now_ns, .unix_ns = br_os_unix_ns, .random = br_os_random, .file_fd = br_os_file_fd,           \
    .file_stat = br_os_file_stat, .file_truncate = br_os_file_truncate, .file_allocate = br_os_file_allocate,     \
    .file_next_data = br_os_file_next_data, .file_drop_cache = br_os_file_drop_cache, .dir_wrap = br_os_dir_wrap, \
    .dir_close = br_os_dir_close, .dir_open = br_os_dir_open, .dir_rename = br_os_dir_rename,                     \
    .dir_publish = br_os_dir_publish, .dir_list = br_os_dir_list, .dir_sub = br_os_dir_sub,                       \
    .dir_unlink = br_os_dir_unlink, .dir_exists = br_os_dir_exists, .dir_sync = br_os_dir_sync,                   \
    .dir_lock = br_os_dir_lock, .dir_unlock = br_os_dir_unlock, .dir_space = br_os_dir_space

#endif
