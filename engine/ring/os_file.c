// SPDX-License-Identifier: Apache-2.0
//
// Files of the running kernel: the steps of an operation, O_DIRECT, holes, facts. See os.h for the rule about pages.
#include "engine/ring/os.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BR_OS_PAGE_BYTES 4096
// A device may take long to zero: in steps, so that other operations get their turn.
#define BR_OS_ZERO_STEP_BYTES (256 * BR_MIB)

// What is written where nothing better zeroes a range. Never touched, so it costs no memory.
static uint8_t br_os_zeros[BR_MIB] __attribute__((aligned(BR_OS_PAGE_BYTES)));

// br_io.ring_state as the kernel rings use it.
enum {
    BR_STATE_FLAGS,
    BR_STATE_ZERO_BYTES, // zero_bytes within the file
    BR_STATE_STEP,       // the call that was named last, see br_os_remember()
};

enum {
    BR_FLAG_NO_DIRECT = 1,
    BR_FLAG_NO_PUNCH = 2,
    BR_FLAG_NO_ZERO_RANGE = 4,
};

static struct br_os_file *br_os_file_of(const struct br_io *io)
{
    return (struct br_os_file *)io->file;
}

// Steps of an operation -------------------------------------------------------------------------------------------------------------

static int br_os_size(const struct br_os_file *file, uint64_t *ret_bytes)
{
    struct stat st;

    if (file->is_block) {
        return ioctl(file->fd, BLKGETSIZE64, ret_bytes) ? -errno : 0;
    }
    if (fstat(file->fd, &st)) {
        return -errno;
    }
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}

int br_os_begin(struct br_io *io)
{
    uint64_t size_bytes = 0;

    if (io->op == BR_IO_SYNC) {
        return 1;
    }
    if (io->op != BR_IO_ZERO) {
        return io->len_bytes != 0;
    }
    int rc = br_os_size(br_os_file_of(io), &size_bytes);
    if (rc) {
        return rc;
    }
    uint64_t len_bytes = io->offset_bytes < size_bytes ? size_bytes - io->offset_bytes : 0;
    io->ring_state[BR_STATE_ZERO_BYTES] = BR_MIN(len_bytes, io->zero_bytes);
    if (br_os_file_of(io)->is_block) {
        io->ring_state[BR_STATE_FLAGS] |= BR_FLAG_NO_PUNCH; // on a device it may end in a discard
    }
    return io->ring_state[BR_STATE_ZERO_BYTES] != 0;
}

// Chooses the descriptor of a read or write and cuts it to what that can do in one call.
static void br_os_choose_fd(const struct br_io *io, struct br_os_step *step)
{
    const struct br_os_file *file = br_os_file_of(io);
    uint64_t mask = file->align_bytes - 1;

    step->len_bytes = BR_MIN(step->len_bytes, BR_OS_CALL_BYTES_MAX);
    step->fd = file->fd;
    if (file->direct_fd < 0 || file->is_direct_off || (io->ring_state[BR_STATE_FLAGS] & BR_FLAG_NO_DIRECT)) {
        return;
    }
    if (((step->offset_bytes | (uintptr_t)step->buf) & mask) || step->len_bytes <= mask) {
        return;
    }
    step->len_bytes &= ~mask;
    step->fd = file->direct_fd;
    step->is_direct = true;
}

static void br_os_next_zero(struct br_io *io, struct br_os_step *step)
{
    const struct br_os_file *file = br_os_file_of(io);
    uint64_t flags = io->ring_state[BR_STATE_FLAGS];
    uint64_t left_bytes = io->ring_state[BR_STATE_ZERO_BYTES] - io->done_bytes;
    uint64_t write_bytes = left_bytes; // up to the next range that the kernel can zero

    step->offset_bytes = io->offset_bytes + io->done_bytes;
    if (!(flags & BR_FLAG_NO_PUNCH) || !(flags & BR_FLAG_NO_ZERO_RANGE)) {
        uint64_t zero_bytes = BR_MIN(left_bytes, UINT64_C(1) << 50);
        uint64_t misaligned_bytes = file->is_block ? step->offset_bytes % BR_OS_PAGE_BYTES : 0;
        if (misaligned_bytes) {
            write_bytes = BR_MIN(left_bytes, BR_OS_PAGE_BYTES - misaligned_bytes);
            zero_bytes = 0;
        } else if (file->is_block) {
            zero_bytes = br_align_down(BR_MIN(left_bytes, BR_OS_ZERO_STEP_BYTES), BR_OS_PAGE_BYTES);
        }
        if (zero_bytes) {
            step->call = BR_CALL_FALLOCATE;
            step->fd = file->fd;
            step->len_bytes = zero_bytes;
            step->mode = FALLOC_FL_KEEP_SIZE | (flags & BR_FLAG_NO_PUNCH ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
            return;
        }
    }
    step->call = BR_CALL_WRITE;
    step->buf = br_os_zeros;
    step->len_bytes = BR_MIN(write_bytes, sizeof(br_os_zeros));
    br_os_choose_fd(io, step);
}

// What the result of the call will be judged by: its length, what it was, and whether it was direct.
static void br_os_remember(struct br_io *io, const struct br_os_step *step)
{
    bool is_punch = step->call == BR_CALL_FALLOCATE && (step->mode & FALLOC_FL_PUNCH_HOLE);

    assert(step->len_bytes < UINT64_C(1) << 56);
    io->ring_state[BR_STATE_STEP] =
        step->len_bytes << 8 | (uint64_t)step->call << 2 | (uint64_t)is_punch << 1 | step->is_direct;
}

void br_os_next(struct br_io *io, struct br_os_step *ret_step)
{
    *ret_step = (struct br_os_step){.call = io->op == BR_IO_READ ? BR_CALL_READ : BR_CALL_WRITE};
    if (io->op == BR_IO_SYNC) {
        ret_step->call = BR_CALL_FSYNC;
        ret_step->fd = br_os_file_of(io)->fd;
    } else if (io->op == BR_IO_ZERO) {
        br_os_next_zero(io, ret_step);
    } else {
        ret_step->buf = (uint8_t *)io->buf + io->done_bytes;
        ret_step->len_bytes = io->len_bytes - io->done_bytes;
        ret_step->offset_bytes = io->offset_bytes + io->done_bytes;
        br_os_choose_fd(io, ret_step);
    }
    br_os_remember(io, ret_step);
}

// Whether a failed call has another way; sets what not to try again.
static bool br_os_fall_back(struct br_io *io, enum br_os_call call, int os_errno)
{
    uint64_t step = io->ring_state[BR_STATE_STEP];

    if (os_errno == EINTR || os_errno == EAGAIN) {
        return true;
    }
    if ((step & 1) && os_errno == EINVAL) {
        io->ring_state[BR_STATE_FLAGS] |= BR_FLAG_NO_DIRECT;
        br_os_file_of(io)->is_direct_off = true;
        return true;
    }
    if (call != BR_CALL_FALLOCATE) {
        return false;
    }
    if (os_errno != EOPNOTSUPP && os_errno != EINVAL && os_errno != ENOSYS && os_errno != ENODEV &&
        os_errno != ENOTTY && os_errno != EREMOTEIO) {
        return false;
    }
    io->ring_state[BR_STATE_FLAGS] |= step & 2 ? BR_FLAG_NO_PUNCH : BR_FLAG_NO_ZERO_RANGE;
    return true;
}

bool br_os_result(struct br_io *io, int64_t res, int *ret_errno)
{
    uint64_t step = io->ring_state[BR_STATE_STEP];
    enum br_os_call call = (enum br_os_call)(step >> 2 & 63);
    uint64_t len_bytes = step >> 8;

    *ret_errno = 0;
    if (res < 0) {
        *ret_errno = (int)-res;
        return !br_os_fall_back(io, call, (int)-res);
    }
    switch (call) {
    case BR_CALL_FSYNC: return true;
    case BR_CALL_FALLOCATE: io->done_bytes += len_bytes; break;
    case BR_CALL_READ:
    case BR_CALL_WRITE:
        if (!res) { // the end of the file; a write that moves nothing has no reason to give
            *ret_errno = io->op == BR_IO_READ ? 0 : EIO;
            return true;
        }
        assert((uint64_t)res <= len_bytes);
        io->done_bytes += (size_t)res;
        break;
    }
    return io->done_bytes == (io->op == BR_IO_ZERO ? io->ring_state[BR_STATE_ZERO_BYTES] : io->len_bytes);
}

void br_os_complete(struct br_ring *ring, struct br_io *io, int os_errno)
{
    br_ring_complete(ring, io, os_errno ? br_err_os(NULL, os_errno, "%s", "") : 0, os_errno);
}

int64_t br_os_call_now(const struct br_os_step *step)
{
    int64_t res = 0;

    switch (step->call) {
    case BR_CALL_READ: res = pread(step->fd, step->buf, step->len_bytes, (off_t)step->offset_bytes); break;
    case BR_CALL_WRITE: res = pwrite(step->fd, step->buf, step->len_bytes, (off_t)step->offset_bytes); break;
    case BR_CALL_FSYNC: res = fsync(step->fd); break;
    case BR_CALL_FALLOCATE:
        res = fallocate(step->fd, step->mode, (off_t)step->offset_bytes, (off_t)step->len_bytes);
        break;
    }
    return res < 0 ? -errno : res;
}

// Clocks ----------------------------------------------------------------------------------------------------------------------------

static uint64_t br_os_clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t br_os_now_ns(struct br_ring *ring)
{
    (void)ring;
    return br_os_clock_ns(CLOCK_MONOTONIC);
}

uint64_t br_os_unix_ns(struct br_ring *ring)
{
    (void)ring;
    return br_os_clock_ns(CLOCK_REALTIME);
}

void br_os_random(struct br_ring *ring, void *bytes, size_t len)
{
    (void)ring;
    for (size_t done = 0; done < len;) {
        ssize_t got = getrandom((uint8_t *)bytes + done, len - done, 0);
        assert(got > 0 ||
               errno == EINTR); // can't fail otherwise since Linux 3.17; going on without would be worse than ending
        done += got > 0 ? (size_t)got : 0;
    }
}

// Opening ---------------------------------------------------------------------------------------------------------------------------

// What the file asks of direct calls (statx, since Linux 6.1); 0 when it says that it can't, 1 when it does not say.
static uint32_t br_os_direct_ask(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx sx = {0};

    if (!syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && (sx.stx_mask & STATX_DIOALIGN)) {
        return BR_MAX(sx.stx_dio_mem_align, sx.stx_dio_offset_align);
    }
#else
    (void)fd;
#endif
    return 1;
}

// Returns the flags of before, or -1 with errno.
static int br_os_clear_flags(int fd, int unwanted)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && (flags & unwanted)) {
        (void)!fcntl(fd, F_SETFL, flags & ~unwanted);
    }
    return flags;
}

static void br_os_open_direct(struct br_os_file *file, int open_flags)
{
    char path[32];
    uint32_t asked_bytes = br_os_direct_ask(file->fd);
    int sector_bytes = 0;

    if (file->is_block && !ioctl(file->fd, BLKSSZGET, &sector_bytes)) {
        asked_bytes = BR_MAX(asked_bytes, (uint32_t)sector_bytes);
    }
    if (!asked_bytes || (asked_bytes & (asked_bytes - 1)) || asked_bytes > 65536) {
        return;
    }
    file->align_bytes = BR_MAX(asked_bytes, (uint32_t)BR_OS_PAGE_BYTES);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file->fd);
    file->direct_fd = open(path, (open_flags & O_ACCMODE) | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
    if (file->direct_fd >= 0) {
        br_os_clear_flags(file->direct_fd, O_NONBLOCK);
    }
}

int br_os_file_new(struct br_ring *ring, int fd, struct br_os_file **ret_file, struct br_err *reterr)
{
    struct stat st;

    // Our calls say where, and say when they are direct: an inherited O_APPEND or O_DIRECT would break both. O_NONBLOCK keeps opening from
    // hanging, and no more: io_uring would give EAGAIN to every operation on a device that can't tell beforehand whether it would wait.
    int flags = br_os_clear_flags(fd, O_APPEND | O_DIRECT | O_NONBLOCK);
    if (flags < 0 || fstat(fd, &st)) {
        int rc = br_err_os(reterr, errno, "cannot look at descriptor %d", fd);
        close(fd);
        return rc;
    }
    if ((!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) || (flags & O_PATH)) {
        close(fd);
        return br_err_set(reterr, BR_E_UNSUPPORTED, "neither a regular file nor a block device");
    }
    struct br_os_file *file = calloc(1, sizeof(*file));
    if (!file) {
        close(fd);
        return br_err_set(reterr, BR_E_NOMEM, "no memory for a file");
    }
    *file = (struct br_os_file){
        .base.ring = ring, .fd = fd, .direct_fd = -1, .direct_slot = -1, .align_bytes = BR_OS_PAGE_BYTES};
    file->is_block = S_ISBLK(st.st_mode);
    if (!ring->options.no_direct) {
        br_os_open_direct(file, flags);
    }
    ring->handles++;
    *ret_file = file;
    return 0;
}

int br_os_file_wrap(struct br_ring *ring, int fd, struct br_file **ret_file, struct br_err *reterr)
{
    struct br_os_file *file;

    int rc = br_os_file_new(ring, fd, &file, reterr);
    if (!rc) {
        *ret_file = &file->base;
    }
    return rc;
}

void br_os_file_close(struct br_file *base)
{
    struct br_os_file *file = (struct br_os_file *)base;

    base->ring->handles--;
    if (file->direct_fd >= 0) {
        close(file->direct_fd);
    }
    close(file->fd);
    free(file);
}

int br_os_file_fd(const struct br_file *file)
{
    return ((const struct br_os_file *)file)->fd;
}

// Facts and space -------------------------------------------------------------------------------------------------------------------

static uint64_t br_os_stamp_ns(const struct timespec *ts)
{
    return (uint64_t)ts->tv_sec * UINT64_C(1000000000) + (uint64_t)ts->tv_nsec;
}

static bool br_os_can_hole(const struct br_os_file *file)
{
    return lseek(file->fd, 0, SEEK_HOLE) >= 0 || errno == ENXIO; // ENXIO: an empty file
}

int br_os_file_stat(struct br_file *base, struct br_file_info *ret_info, struct br_err *reterr)
{
    struct br_os_file *file = (struct br_os_file *)base;
    struct br_file_info info = {.sector_bytes = 512, .is_block = file->is_block};
    struct stat st;
    uint64_t size_bytes = 0;
    int sector_bytes = 512;

    if (fstat(file->fd, &st)) {
        return br_err_os(reterr, errno, "cannot look at the file");
    }
    int rc = br_os_size(file, &size_bytes);
    if (rc) {
        return br_err_os(reterr, -rc, "cannot read the size");
    }
    info.size_bytes = size_bytes;
    if (file->is_block) {
        if (ioctl(file->fd, BLKSSZGET, &sector_bytes)) {
            return br_err_os(reterr, errno, "cannot read the sector size");
        }
        info.sector_bytes = (uint32_t)sector_bytes;
        info.device = st.st_rdev;
        info.allocated_bytes = info.size_bytes;
    } else {
        info.can_hole = br_os_can_hole(file);
        info.allocated_bytes = (uint64_t)st.st_blocks * 512;
        info.device = st.st_dev;
        info.inode = st.st_ino;
        info.mtime_ns = br_os_stamp_ns(&st.st_mtim);
        info.ctime_ns = br_os_stamp_ns(&st.st_ctim);
    }
    *ret_info = info;
    return 0;
}

int br_os_file_truncate(struct br_file *base, uint64_t size_bytes, struct br_err *reterr)
{
    struct br_os_file *file = (struct br_os_file *)base;
    int rc;

    if (file->is_block) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "a device has the size that it has");
    }
    do {
        rc = ftruncate(file->fd, (off_t)size_bytes);
    } while (rc && errno == EINTR);
    return rc ? br_err_os(reterr, errno, "cannot set the size to %llu", (unsigned long long)size_bytes) : 0;
}

int br_os_file_allocate(struct br_file *base, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct br_os_file *file = (struct br_os_file *)base;
    int rc;

    if (file->is_block) {
        return 0;
    }
    do {
        rc = fallocate(file->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes, (off_t)len_bytes);
    } while (rc && errno == EINTR);
    if (rc && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) {
        return br_err_os(reterr, errno, "cannot reserve %llu bytes", (unsigned long long)len_bytes);
    }
    return 0;
}

int br_os_file_next_data(struct br_file *base, uint64_t from_bytes, uint64_t *ret_start, uint64_t *ret_end,
                         struct br_err *reterr)
{
    struct br_os_file *file = (struct br_os_file *)base;
    uint64_t size_bytes = 0;

    int rc = br_os_size(file, &size_bytes);
    if (rc) {
        return br_err_os(reterr, -rc, "cannot read the size");
    }
    *ret_start = BR_MIN(from_bytes, size_bytes);
    *ret_end = size_bytes;
    if (*ret_start == size_bytes || file->is_block) {
        return 0;
    }
    off_t data = lseek(file->fd, (off_t)from_bytes, SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
        *ret_start = size_bytes;
        return 0;
    }
    off_t hole = data < 0 ? -1 : lseek(file->fd, data, SEEK_HOLE);
    if (data < 0 || hole < 0) {
        // EINVAL and EOPNOTSUPP: all is data. Anything else too: reading it will tell what is wrong, and nothing is left out.
        return 0;
    }
    *ret_start = BR_MIN((uint64_t)data, size_bytes);
    *ret_end = BR_MIN((uint64_t)hole, size_bytes);
    return 0;
}

void br_os_file_drop_cache(struct br_file *base, uint64_t offset_bytes, uint64_t len_bytes)
{
    struct br_os_file *file = (struct br_os_file *)base;

    (void)!posix_fadvise(file->fd, (off_t)offset_bytes, (off_t)len_bytes, POSIX_FADV_DONTNEED);
}
