// SPDX-License-Identifier: Apache-2.0
//
// Processes of the simulated world: operations with virtual latencies, planned and random faults, the moment of a crash. The model is in
// sim.h, what the disks hold is in sim_disk.c.
#include "engine/ring/sim_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define BR_SIM_LATENCY_NS       50000 // least; as much again at random
#define BR_SIM_NS_PER_KIB       1000  // a disk of about 1 GB/s
#define BR_SIM_POLL_NS          1000  // what a look without waiting takes
#define BR_SIM_JOB_NS           20000
#define BR_SIM_DIR_NS           30000
#define BR_SIM_SPACE_FREE_BYTES BR_TIB // when there is no limit

static const char br_sim_dead_text[] = "simulated crash";

struct br_sim_ring {
    struct br_ring base;
    struct br_sim *sim;
    struct br_sim_ring *next;
    struct br_io **flying;
    unsigned flying_count;
};

struct br_sim_file {
    struct br_file base;
    struct br_sim_inode *inode;
    bool is_writable;
};

struct br_sim_dir {
    struct br_dir base;
    struct br_sim_directory *directory;
};

// br_io.ring_state as the simulator uses it.
enum { BR_SIM_STATE_DUE_NS, BR_SIM_STATE_SYNC_NUMBER };

static struct br_sim_ring *br_sim_ring_of(struct br_ring *ring)
{
    return (struct br_sim_ring *)ring;
}

static struct br_sim *br_sim_of(struct br_ring *ring)
{
    return br_sim_ring_of(ring)->sim;
}

static struct br_sim_inode *br_sim_inode_of(const struct br_file *file)
{
    return ((const struct br_sim_file *)file)->inode;
}

// Counting, planned faults ----------------------------------------------------------------------------------------------------------

enum br_sim_fault { BR_SIM_GO_ON, BR_SIM_FAIL, BR_SIM_DIE, BR_SIM_DIE_KILL };

// Counts one operation and says what is planned for it.
static enum br_sim_fault br_sim_count(struct br_sim *sim, bool is_change, bool is_sync)
{
    sim->ios++;
    sim->changes += is_change;
    sim->syncs += is_sync;
    if (is_change && sim->changes == sim->kill_at_change) {
        return BR_SIM_DIE_KILL;
    }
    if ((is_change && sim->changes == sim->crash_at_change) || (is_sync && sim->syncs == sim->crash_at_sync)) {
        return BR_SIM_DIE;
    }
    return sim->ios == sim->fail_at_io ? BR_SIM_FAIL : BR_SIM_GO_ON;
}

static void br_sim_end(struct br_sim *sim, enum br_sim_fault fault)
{
    if (fault == BR_SIM_DIE_KILL) {
        br_sim_kill(sim);
    } else {
        br_sim_crash(sim);
    }
}

// Operations ------------------------------------------------------------------------------------------------------------------------

static uint64_t br_sim_io_len(const struct br_io *io)
{
    return io->op == BR_IO_ZERO ? io->zero_bytes : io->op == BR_IO_SYNC ? 0 : io->len_bytes;
}

static void br_sim_fly(struct br_sim_ring *self, struct br_io *io)
{
    struct br_sim *sim = self->sim;
    uint64_t left_bytes = io->op == BR_IO_ZERO ? 0 : br_sim_io_len(io) - io->done_bytes;
    uint64_t latency_ns =
        BR_SIM_LATENCY_NS + br_sim_below(sim, BR_SIM_LATENCY_NS) + left_bytes / BR_KIB * BR_SIM_NS_PER_KIB;

    if (br_sim_chance(sim, sim->options.slow_ppm)) {
        latency_ns *= 1000;
    }
    io->ring_state[BR_SIM_STATE_DUE_NS] = sim->now_ns + latency_ns;
    self->flying[self->flying_count++] = io;
}

static void br_sim_start(struct br_ring *ring, struct br_io *io)
{
    io->ring_state[BR_SIM_STATE_SYNC_NUMBER] = br_sim_inode_of(io->file)->change_number;
    br_sim_fly(br_sim_ring_of(ring), io);
}

static void br_sim_land(struct br_sim_ring *self, struct br_io *io, int os_errno)
{
    for (unsigned i = 0; i < self->flying_count; i++) {
        if (self->flying[i] == io) {
            self->flying[i] = self->flying[--self->flying_count];
            break;
        }
    }
    br_ring_complete(&self->base, io, os_errno ? br_err_os(NULL, os_errno, "%s", "") : 0, os_errno);
}

static struct br_sim_blob *br_sim_blob(const void *bytes, size_t len)
{
    struct br_sim_blob *blob = br_sim_alloc(sizeof(*blob) + len);

    blob->refs = 1;
    memcpy(blob->bytes, bytes, len);
    return blob;
}

// Writes @len bytes of the operation's, from where it stands.
static void br_sim_store(struct br_sim *sim, struct br_io *io, size_t len)
{
    struct br_sim_inode *inode = br_sim_inode_of(io->file);
    uint64_t offset = io->offset_bytes + io->done_bytes;

    if (!len) {
        return;
    }
    struct br_sim_blob *blob = br_sim_blob((const uint8_t *)io->buf + io->done_bytes, len);
    if (br_sim_chance(sim, sim->options.rot_ppm)) {
        uint64_t bit = br_sim_below(sim, (uint64_t)len * 8);
        blob->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        br_sim_log(sim, "rot in %s at %" PRIu64, inode->name, offset + bit / 8);
    }
    if (br_sim_chance(sim, sim->options.misdirect_ppm) && inode->current_size > len) {
        uint64_t to = br_align_down(br_sim_below(sim, inode->current_size - len), BR_SIM_SECTOR_BYTES);
        br_sim_log(sim, "misdirected in %s from %" PRIu64 " to %" PRIu64, inode->name, offset, to);
        offset = to;
    }
    br_sim_inode_write(sim, inode, blob, len, offset);
}

static void br_sim_clear(struct br_sim *sim, const struct br_io *io, uint64_t len)
{
    if (len) {
        br_sim_inode_zero(sim, br_sim_inode_of(io->file), len, io->offset_bytes);
    }
}

// Shortens @part so that it ends where a sector does: sectors are not torn inside.
static uint64_t br_sim_whole_sectors(uint64_t offset, uint64_t part)
{
    uint64_t end = br_align_down(offset + part, BR_SIM_SECTOR_BYTES);

    return end > offset ? end - offset : 0;
}

// What is left of it to move: for a zeroed range what lies within the file.
static uint64_t br_sim_left(const struct br_io *io)
{
    uint64_t size = br_sim_inode_of(io->file)->current_size;

    if (io->op == BR_IO_ZERO) {
        return BR_MIN(io->zero_bytes, io->offset_bytes < size ? size - io->offset_bytes : 0);
    }
    return br_sim_io_len(io) - io->done_bytes;
}

// A part of an operation that the crash or an error caught: none of it, all, or some sectors from its start. It was found possible.
static void br_sim_partly(struct br_sim *sim, struct br_io *io, bool may_be_all)
{
    uint64_t part = br_sim_left(io);
    uint64_t offset = io->offset_bytes + (io->op == BR_IO_ZERO ? 0 : io->done_bytes);
    uint64_t choice = br_sim_below(sim, may_be_all ? 4 : 2);

    if (choice == 0) {
        return;
    }
    if (choice == 1) {
        part = br_sim_whole_sectors(offset, br_sim_below(sim, part + 1));
    }
    if (io->op == BR_IO_WRITE) {
        br_sim_store(sim, io, (size_t)part);
    } else if (io->op == BR_IO_ZERO) {
        br_sim_clear(sim, io, part);
    } else if (io->op == BR_IO_SYNC) {
        br_sim_inode_sync(br_sim_inode_of(io->file), io->ring_state[BR_SIM_STATE_SYNC_NUMBER]);
    }
}

// What the file itself says to a read or write, before any fault: 0, or an errno.
static int br_sim_refusal(const struct br_sim *sim, const struct br_io *io)
{
    const struct br_sim_inode *inode = br_sim_inode_of(io->file);
    uint64_t len = br_sim_io_len(io);
    uint64_t end;

    if (!br_add_u64(io->offset_bytes, len, &end) || end > UINT64_C(1) << 62) {
        return io->op == BR_IO_ZERO && io->offset_bytes < UINT64_C(1) << 62 ? 0 : EINVAL;
    }
    if (io->op != BR_IO_READ && io->op != BR_IO_SYNC && !((const struct br_sim_file *)io->file)->is_writable) {
        return EBADF;
    }
    if (io->op == BR_IO_WRITE && inode->is_device && end > inode->current_size) {
        return ENOSPC;
    }
    if (io->op == BR_IO_WRITE && !br_sim_has_space(sim, inode, len, io->offset_bytes)) {
        return ENOSPC;
    }
    return 0;
}

static int br_sim_random_errno(struct br_sim *sim, const struct br_io *io)
{
    unsigned ppm = io->op == BR_IO_READ   ? sim->options.read_error_ppm
                   : io->op == BR_IO_SYNC ? sim->options.sync_error_ppm
                                          : sim->options.write_error_ppm;

    return br_sim_chance(sim, ppm) ? EIO : 0;
}

// Moves the bytes; returns whether the operation is complete, or an errno negated.
static int br_sim_move(struct br_sim *sim, struct br_io *io)
{
    struct br_sim_inode *inode = br_sim_inode_of(io->file);
    uint64_t offset = io->offset_bytes + io->done_bytes;
    uint64_t left = br_sim_left(io);

    if (io->op == BR_IO_READ) {
        left = BR_MIN(left, offset < inode->current_size ? inode->current_size - offset : 0);
    }
    uint64_t part = left;
    if ((io->op == BR_IO_READ || io->op == BR_IO_WRITE) && left > 1 && br_sim_chance(sim, sim->options.short_ppm)) {
        uint64_t some = 1 + br_sim_below(sim, left - 1);
        some = io->op == BR_IO_WRITE ? br_sim_whole_sectors(offset, some) : some;
        part = some ? some : left;
    }
    bool is_short = part < left;
    switch (io->op) {
    case BR_IO_READ:
        if (!br_sim_inode_readable(inode, part, offset)) {
            return -EIO;
        }
        if (part) {
            br_sim_pages_read(&inode->current, (uint8_t *)io->buf + io->done_bytes, part, offset);
        }
        break;
    case BR_IO_WRITE: br_sim_store(sim, io, part); break;
    case BR_IO_ZERO: br_sim_clear(sim, io, part); break;
    case BR_IO_SYNC: br_sim_inode_sync(inode, io->ring_state[BR_SIM_STATE_SYNC_NUMBER]); break;
    }
    io->done_bytes += part;
    return !is_short;
}

static void br_sim_io_failed(struct br_sim *sim, struct br_io *io, int os_errno)
{
    br_sim_log(sim, "  failed: errno %d", os_errno);
    if (io->op == BR_IO_SYNC) {
        br_sim_inode_sync_failed(sim, br_sim_inode_of(io->file), io->ring_state[BR_SIM_STATE_SYNC_NUMBER]);
    } else if (io->op != BR_IO_READ && os_errno == EIO) {
        br_sim_partly(sim, io, false);
    }
}

// The time of this operation has come.
static void br_sim_execute(struct br_sim_ring *self, struct br_io *io)
{
    static const char *const names[] = {"read", "write", "sync", "zero"};
    struct br_sim *sim = self->sim;

    enum br_sim_fault fault = br_sim_count(sim, io->op != BR_IO_READ, io->op == BR_IO_SYNC);
    uint64_t moved = io->op == BR_IO_ZERO ? 0 : io->done_bytes;
    br_sim_log(sim, "%s %s %" PRIu64 "+%" PRIu64, names[io->op], br_sim_inode_of(io->file)->name,
               io->offset_bytes + moved, br_sim_io_len(io) - moved);
    if (fault == BR_SIM_DIE || fault == BR_SIM_DIE_KILL) {
        br_sim_end(sim, fault); // this operation is among those in flight
        return;
    }
    int os_errno = br_sim_refusal(sim, io);
    if (!os_errno) {
        os_errno = fault == BR_SIM_FAIL ? sim->fail_errno : br_sim_random_errno(sim, io);
        if (os_errno) {
            br_sim_io_failed(sim, io, os_errno);
        }
    }
    int is_done = os_errno ? -os_errno : br_sim_move(sim, io);
    if (is_done) {
        br_sim_land(self, io, is_done < 0 ? -is_done : 0);
        return;
    }
    self->flying_count--;
    for (unsigned i = 0; i < self->flying_count; i++) {
        if (self->flying[i] == io) {
            self->flying[i] = self->flying[self->flying_count];
        }
    }
    br_sim_fly(self, io);
}

void br_sim_die(struct br_sim *sim, bool is_kill)
{
    sim->is_crashed = true;
    sim->is_kill = is_kill;
    for (struct br_sim_ring *ring = sim->rings; ring; ring = ring->next) {
        if (ring->base.dead_text) {
            continue;
        }
        while (ring->flying_count) {
            struct br_io *io = ring->flying[br_sim_below(sim, ring->flying_count)];
            if (!br_sim_refusal(sim, io)) {
                br_sim_partly(sim, io, true);
            }
            br_sim_land(ring, io, EIO);
        }
        ring->base.dead_text = br_sim_dead_text;
    }
}

// Time ------------------------------------------------------------------------------------------------------------------------------

static struct br_io *br_sim_first_due(const struct br_sim_ring *self)
{
    struct br_io *first = NULL;

    for (unsigned i = 0; i < self->flying_count; i++) {
        if (!first || self->flying[i]->ring_state[BR_SIM_STATE_DUE_NS] < first->ring_state[BR_SIM_STATE_DUE_NS]) {
            first = self->flying[i];
        }
    }
    return first;
}

static void br_sim_reap(struct br_ring *ring, uint64_t timeout_ns)
{
    struct br_sim_ring *self = br_sim_ring_of(ring);
    struct br_sim *sim = self->sim;
    struct br_io *io = br_sim_first_due(self);

    timeout_ns = BR_MAX(timeout_ns, (uint64_t)BR_SIM_POLL_NS);
    if (!io || io->ring_state[BR_SIM_STATE_DUE_NS] > sim->now_ns) {
        uint64_t wait_ns = io ? io->ring_state[BR_SIM_STATE_DUE_NS] - sim->now_ns : UINT64_MAX;
        wait_ns = BR_MIN(wait_ns, timeout_ns);
        sim->now_ns += wait_ns == UINT64_MAX ? 0 : wait_ns;
    }
    while (io && io->ring_state[BR_SIM_STATE_DUE_NS] <= sim->now_ns) {
        br_sim_execute(self, io);
        io = br_sim_first_due(self);
    }
}

static int br_sim_run_job_now(struct br_ring *ring, unsigned count)
{
    struct br_sim_ring *self = br_sim_ring_of(ring);

    if (self->flying_count && br_sim_below(self->sim, 2)) {
        return -1;
    }
    self->sim->now_ns += BR_SIM_JOB_NS;
    return (int)br_sim_below(self->sim, count);
}

static void br_sim_flush(struct br_ring *ring)
{
    (void)ring;
}

static uint64_t br_sim_now_ns(struct br_ring *ring)
{
    return br_sim_of(ring)->now_ns;
}

static uint64_t br_sim_unix_ns(struct br_ring *ring)
{
    return br_sim_of(ring)->now_ns + br_sim_of(ring)->unix_offset_ns;
}

static void br_sim_random_bytes(struct br_ring *ring, void *bytes, size_t len)
{
    uint8_t *to = bytes;

    for (size_t i = 0; i < len; i++) {
        to[i] = (uint8_t)br_sim_random(br_sim_of(ring));
    }
}

// Files -----------------------------------------------------------------------------------------------------------------------------

// Enters a call that is not an operation of its own: counts it and plays what is planned. Returns 0 to go on; 1 to do it and then call
// br_sim_leave(), because the crash came in the middle; negative: fail now.
static int br_sim_enter(struct br_ring *ring, bool is_change, bool is_sync, const char *what, const char *name,
                        enum br_sim_fault *ret_fault, struct br_err *reterr)
{
    struct br_sim *sim = br_sim_of(ring);

    if (ring->dead_text) {
        return br_err_set(reterr, BR_E_IO, "cannot %s '%s': %s", what, name, ring->dead_text);
    }
    sim->now_ns += BR_SIM_DIR_NS;
    *ret_fault = br_sim_count(sim, is_change, is_sync);
    br_sim_log(sim, "%s %s", what, name);
    if (*ret_fault == BR_SIM_FAIL) {
        br_sim_log(sim, "  failed: errno %d", sim->fail_errno);
        return br_err_os(reterr, sim->fail_errno, "cannot %s '%s'", what, name);
    }
    if (*ret_fault != BR_SIM_GO_ON && br_sim_below(sim, 2)) {
        br_sim_end(sim, *ret_fault);
        return br_err_set(reterr, BR_E_IO, "cannot %s '%s': %s", what, name, br_sim_dead_text);
    }
    return *ret_fault != BR_SIM_GO_ON;
}

// After a call that was done: the crash that was planned for it.
static int br_sim_leave(struct br_ring *ring, int entered, enum br_sim_fault fault, const char *what,
                        struct br_err *reterr)
{
    if (!entered) {
        return 0;
    }
    br_sim_end(br_sim_of(ring), fault);
    return br_err_set(reterr, BR_E_IO, "cannot %s: %s", what, br_sim_dead_text);
}

static int br_sim_alive(const struct br_ring *ring, struct br_err *reterr)
{
    return ring->dead_text ? br_err_set(reterr, BR_E_IO, "%s", ring->dead_text) : 0;
}

static struct br_file *br_sim_file_new(struct br_ring *ring, struct br_sim_inode *inode, bool is_writable)
{
    struct br_sim_file *file = br_sim_alloc(sizeof(*file));

    *file = (struct br_sim_file){.base.ring = ring, .inode = inode, .is_writable = is_writable};
    inode->handles++;
    ring->handles++;
    return &file->base;
}

static int br_sim_file_wrap(struct br_ring *ring, int fd, struct br_file **ret_file, struct br_err *reterr)
{
    (void)ring;
    (void)ret_file;
    close(fd);
    return br_err_set(reterr, BR_E_UNSUPPORTED, "the simulator has no descriptors");
}

static void br_sim_file_close(struct br_file *file)
{
    br_sim_inode_of(file)->handles--;
    file->ring->handles--;
    br_sim_collect(br_sim_of(file->ring));
    free(file);
}

static int br_sim_file_fd(const struct br_file *file)
{
    (void)file;
    return -1;
}

static int br_sim_file_stat(struct br_file *file, struct br_file_info *ret_info, struct br_err *reterr)
{
    const struct br_sim_inode *inode = br_sim_inode_of(file);

    int rc = br_sim_alive(file->ring, reterr);
    if (rc) {
        return rc;
    }
    *ret_info = (struct br_file_info){
        .size_bytes = inode->current_size,
        .sector_bytes = inode->sector_bytes,
        .is_block = inode->is_device,
        .can_hole = !inode->is_device,
        .allocated_bytes = inode->is_device ? inode->current_size : inode->current.count * BR_SIM_PAGE_BYTES,
        .device = inode->is_device ? 0x10000 + inode->id : 1,
        .inode = inode->is_device ? 0 : inode->id,
        .mtime_ns = inode->is_device ? 0 : inode->current_mtime,
        .ctime_ns = inode->is_device ? 0 : inode->current_mtime,
    };
    return 0;
}

static int br_sim_file_truncate(struct br_file *file, uint64_t size_bytes, struct br_err *reterr)
{
    struct br_sim_inode *inode = br_sim_inode_of(file);
    enum br_sim_fault fault = BR_SIM_GO_ON;

    if (inode->is_device) {
        return br_err_set(reterr, BR_E_UNSUPPORTED, "a device has the size that it has");
    }
    if (size_bytes > UINT64_C(1) << 62 || !((struct br_sim_file *)file)->is_writable) {
        return br_err_os(reterr, EINVAL, "cannot set the size to %llu", (unsigned long long)size_bytes);
    }
    int rc = br_sim_enter(file->ring, true, false, "truncate", inode->name, &fault, reterr);
    if (rc < 0) {
        return rc;
    }
    br_sim_inode_resize(br_sim_of(file->ring), inode, size_bytes);
    return br_sim_leave(file->ring, rc, fault, "truncate", reterr);
}

static int br_sim_file_allocate(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct br_sim *sim = br_sim_of(file->ring);
    struct br_sim_inode *inode = br_sim_inode_of(file);
    enum br_sim_fault fault = BR_SIM_GO_ON;

    int rc = br_sim_enter(file->ring, true, false, "reserve", inode->name, &fault, reterr);
    if (rc < 0) {
        return rc;
    }
    int os_errno = !br_range_ok(offset_bytes, len_bytes, UINT64_C(1) << 62) ? EFBIG
                   : !br_sim_has_space(sim, inode, len_bytes, offset_bytes) ? ENOSPC
                                                                            : 0;
    if (os_errno) {
        int failed = br_err_os(reterr, os_errno, "cannot reserve %" PRIu64 " bytes", len_bytes);
        return rc ? br_sim_leave(file->ring, rc, fault, "reserve", reterr) : failed;
    }
    if (!inode->is_device && sim->options.space_bytes) { // without a limit there is nothing to reserve
        br_sim_inode_reserve(sim, inode, len_bytes, offset_bytes);
    }
    return br_sim_leave(file->ring, rc, fault, "reserve", reterr);
}

static int br_sim_file_next_data(struct br_file *file, uint64_t from_bytes, uint64_t *ret_start, uint64_t *ret_end,
                                 struct br_err *reterr)
{
    const struct br_sim_inode *inode = br_sim_inode_of(file);
    const struct br_sim_pages *pages = &inode->current;
    uint64_t size = inode->current_size;

    int rc = br_sim_alive(file->ring, reterr);
    if (rc) {
        return rc;
    }
    *ret_start = BR_MIN(from_bytes, size);
    *ret_end = size;
    if (inode->is_device || *ret_start == size) {
        return 0;
    }
    size_t at = br_sim_pages_next(pages, from_bytes / BR_SIM_PAGE_BYTES);
    if (at == pages->count || pages->slots[at].index * BR_SIM_PAGE_BYTES >= size) {
        *ret_start = size;
        return 0;
    }
    uint64_t index = pages->slots[at].index;
    *ret_start = BR_MAX(from_bytes, index * BR_SIM_PAGE_BYTES);
    while (at < pages->count && pages->slots[at].index == index) {
        at++;
        index++;
    }
    *ret_end = BR_MIN(index * BR_SIM_PAGE_BYTES, size);
    return 0;
}

static void br_sim_file_drop_cache(struct br_file *file, uint64_t offset_bytes, uint64_t len_bytes)
{
    (void)file;
    (void)offset_bytes;
    (void)len_bytes;
}

// Directories -----------------------------------------------------------------------------------------------------------------------

static struct br_sim_directory *br_sim_directory_of(const struct br_dir *dir)
{
    return ((const struct br_sim_dir *)dir)->directory;
}

static int br_sim_dir_wrap(struct br_ring *ring, int fd, struct br_dir **ret_dir, struct br_err *reterr)
{
    (void)ring;
    (void)ret_dir;
    close(fd);
    return br_err_set(reterr, BR_E_UNSUPPORTED, "the simulator has no descriptors");
}

static void br_sim_dir_close(struct br_dir *dir)
{
    struct br_sim *sim = br_sim_of(dir->ring);
    size_t kept = 0;

    for (size_t i = 0; i < sim->lock_count; i++) {
        if (sim->locks[i].owner == dir) {
            free(sim->locks[i].name);
        } else {
            sim->locks[kept++] = sim->locks[i];
        }
    }
    sim->lock_count = kept;
    dir->ring->handles--;
    free(dir);
}

// Makes the file when it is missing. Returns the entry's inode or NULL with *ret_rc set.
static struct br_sim_inode *br_sim_dir_make(struct br_dir *dir, const char *name, int *ret_rc, struct br_err *reterr)
{
    struct br_sim_directory *directory = br_sim_directory_of(dir);
    enum br_sim_fault fault = BR_SIM_GO_ON;

    int rc = br_sim_enter(dir->ring, true, false, "create", name, &fault, reterr);
    if (rc < 0) {
        *ret_rc = rc;
        return NULL;
    }
    struct br_sim_inode *inode = br_sim_inode_new(br_sim_of(dir->ring), directory->path, name);
    br_sim_entry_add(directory, name, inode, false);
    *ret_rc = br_sim_leave(dir->ring, rc, fault, "create", reterr);
    return *ret_rc ? NULL : inode;
}

static int br_sim_dir_open(struct br_dir *dir, const char *name, unsigned flags, struct br_file **ret_file,
                           struct br_err *reterr)
{
    bool is_writable = flags & (BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE);

    int rc = br_sim_alive(dir->ring, reterr);
    if (rc) {
        return rc;
    }
    struct br_sim_inode *inode = br_sim_entry(&br_sim_directory_of(dir)->current, name);
    if (inode && (flags & BR_OPEN_CREATE) && (flags & BR_OPEN_EXCLUSIVE)) {
        return br_err_set(reterr, BR_E_REFUSED, "'%s' exists already", name);
    }
    if (inode && inode->is_device) {
        return br_err_set(reterr, BR_E_REFUSED, "'%s' is not a regular file", name);
    }
    if (!inode && !(flags & BR_OPEN_CREATE)) {
        return br_err_os(reterr, ENOENT, "cannot open '%s'", name);
    }
    if (!inode) {
        inode = br_sim_dir_make(dir, name, &rc, reterr);
        if (!inode) {
            return rc;
        }
    }
    struct br_file *file = br_sim_file_new(dir->ring, inode, is_writable);
    if ((flags & BR_OPEN_TRUNCATE) && inode->current_size) {
        rc = br_sim_file_truncate(file, 0, reterr);
    }
    if (rc) {
        br_sim_file_close(file);
        return rc;
    }
    *ret_file = file;
    return 0;
}

static int br_sim_dir_rename(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr)
{
    struct br_sim_directory *directory = br_sim_directory_of(dir);
    enum br_sim_fault fault = BR_SIM_GO_ON;

    int rc = br_sim_enter(dir->ring, true, false, "rename", from, &fault, reterr);
    if (rc < 0) {
        return rc;
    }
    if (br_sim_entry(&directory->current, from)) {
        br_sim_entry_rename(directory, from, to);
        br_sim_collect(br_sim_of(dir->ring));
    } else if (!rc) {
        return br_err_os(reterr, ENOENT, "cannot rename '%s' to '%s'", from, to);
    }
    return br_sim_leave(dir->ring, rc, fault, "rename", reterr);
}

static int br_sim_dir_publish(struct br_dir *dir, const char *from, const char *to, struct br_err *reterr)
{
    struct br_sim_directory *directory = br_sim_directory_of(dir);

    if (!br_sim_alive(dir->ring, NULL) && br_sim_entry(&directory->current, to)) {
        return br_err_set(reterr, BR_E_EXISTS, "'%s'", to);
    }
    return br_sim_dir_rename(dir, from, to, reterr);
}

// What of a directory's path is its name in @above; NULL when it lies elsewhere, or deeper.
static const char *br_sim_name_in(const char *path, const char *above)
{
    size_t len = strlen(above);
    const char *rest = len ? path + len + 1 : path;
    bool inside = len ? !strncmp(path, above, len) && path[len] == '/' : *path;

    return inside && *rest && !strchr(rest, '/') ? rest : NULL;
}

// The next name behind @after (NULL: the first) of its files and of the directories in it; NULL none.
static const char *br_sim_name_behind(const struct br_sim *sim, const struct br_sim_directory *directory,
                                      const char *after, bool *ret_is_dir)
{
    const char *next = NULL;

    for (size_t i = 0; i < directory->current.count + sim->directory_count; i++) {
        bool is_dir = i >= directory->current.count;
        const char *name = is_dir
                               ? br_sim_name_in(sim->directories[i - directory->current.count]->path, directory->path)
                               : directory->current.list[i].name;

        if (name && (!after || strcmp(name, after) > 0) && (!next || strcmp(name, next) < 0)) {
            next = name;
            *ret_is_dir = is_dir;
        }
    }
    return next;
}

static int br_sim_dir_list(struct br_dir *dir, br_dir_list_fn *fn, void *ctx, struct br_err *reterr)
{
    const struct br_sim *sim = br_sim_of(dir->ring);
    const struct br_sim_directory *directory = br_sim_directory_of(dir);
    int rc = br_sim_alive(dir->ring, reterr);
    char last[256];
    bool is_dir;

    // Names may go while the caller looks at one: the next is looked for anew.
    for (const char *name = rc ? NULL : br_sim_name_behind(sim, directory, NULL, &is_dir); name && !rc;
         name = br_sim_name_behind(sim, directory, last, &is_dir)) {
        snprintf(last, sizeof(last), "%s", name);
        rc = fn(ctx, last, is_dir);
    }
    return rc;
}

static int br_sim_dir_sub(struct br_dir *dir, const char *name, bool make, struct br_dir **ret_dir,
                          struct br_err *reterr)
{
    const char *path = br_sim_directory_of(dir)->path;
    size_t size = strlen(path) + strlen(name) + 2;
    BR_AUTO_FREE char *sub = br_sim_alloc(size);
    int rc = br_sim_alive(dir->ring, reterr);

    snprintf(sub, size, "%s%s%s", path, *path ? "/" : "", name);
    if (!rc && br_sim_entry(&br_sim_directory_of(dir)->current, name)) {
        return br_err_set(reterr, BR_E_REFUSED, "'%s' is not a directory", name);
    }
    if (!rc && !make && !br_sim_directory(br_sim_of(dir->ring), sub, false)) {
        rc = br_err_os(reterr, ENOENT, "cannot open '%s'", name);
    }
    return rc ? rc : br_sim_dir(dir->ring, sub, ret_dir, reterr);
}

static int br_sim_dir_unlink(struct br_dir *dir, const char *name, struct br_err *reterr)
{
    struct br_sim_directory *directory = br_sim_directory_of(dir);
    enum br_sim_fault fault = BR_SIM_GO_ON;

    int rc = br_sim_enter(dir->ring, true, false, "unlink", name, &fault, reterr);
    if (rc < 0) {
        return rc;
    }
    if (br_sim_entry(&directory->current, name)) {
        br_sim_entry_remove(directory, name);
        br_sim_collect(br_sim_of(dir->ring));
    }
    return br_sim_leave(dir->ring, rc, fault, "unlink", reterr);
}

static int br_sim_dir_exists(struct br_dir *dir, const char *name, struct br_err *reterr)
{
    int rc = br_sim_alive(dir->ring, reterr);

    return rc ? rc : br_sim_entry(&br_sim_directory_of(dir)->current, name) != NULL;
}

static int br_sim_dir_sync(struct br_dir *dir, struct br_err *reterr)
{
    enum br_sim_fault fault = BR_SIM_GO_ON;

    int rc = br_sim_enter(dir->ring, true, true, "sync directory", br_sim_directory_of(dir)->path, &fault, reterr);
    if (rc < 0) {
        return rc;
    }
    br_sim_directory_sync(br_sim_directory_of(dir));
    return br_sim_leave(dir->ring, rc, fault, "sync directory", reterr);
}

static int br_sim_dir_lock(struct br_dir *dir, const char *name, struct br_err *reterr)
{
    struct br_sim *sim = br_sim_of(dir->ring);
    struct br_sim_directory *directory = br_sim_directory_of(dir);

    int rc = br_sim_alive(dir->ring, reterr);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < sim->lock_count; i++) {
        if (sim->locks[i].directory == directory && !strcmp(sim->locks[i].name, name)) {
            return br_err_set(reterr, BR_E_BUSY, "the lock '%s' is held", name);
        }
    }
    if (!br_sim_entry(&directory->current, name) && !br_sim_dir_make(dir, name, &rc, reterr)) {
        return rc;
    }
    size_t name_size = strlen(name) + 1;
    br_sim_grow(&sim->locks, sim->lock_count, &sim->lock_capacity, sizeof(*sim->locks));
    sim->locks[sim->lock_count++] = (struct br_sim_lock){
        .directory = directory, .name = memcpy(br_sim_alloc(name_size), name, name_size), .owner = dir};
    return 0;
}

static void br_sim_dir_unlock(struct br_dir *dir, const char *name)
{
    struct br_sim *sim = br_sim_of(dir->ring);

    for (size_t i = 0; i < sim->lock_count; i++) {
        if (sim->locks[i].owner == dir && !strcmp(sim->locks[i].name, name)) {
            free(sim->locks[i].name);
            sim->locks[i] = sim->locks[--sim->lock_count];
            return;
        }
    }
}

static int br_sim_dir_space(struct br_dir *dir, uint64_t *ret_free_bytes, struct br_err *reterr)
{
    const struct br_sim *sim = br_sim_of(dir->ring);

    int rc = br_sim_alive(dir->ring, reterr);
    if (rc) {
        return rc;
    }
    uint64_t used_bytes = br_sim_used_bytes(sim);
    uint64_t limit_bytes = br_align_down(sim->options.space_bytes, BR_SIM_PAGE_BYTES);
    *ret_free_bytes =
        !sim->options.space_bytes ? BR_SIM_SPACE_FREE_BYTES : limit_bytes - BR_MIN(used_bytes, limit_bytes);
    return 0;
}

// Opening -----------------------------------------------------------------------------------------------------------------------------

static void br_sim_ring_close(struct br_ring *ring)
{
    struct br_sim_ring *self = br_sim_ring_of(ring);

    for (struct br_sim_ring **at = &self->sim->rings; *at; at = &(*at)->next) {
        if (*at == self) {
            *at = self->next;
            break;
        }
    }
    br_ring_fini(ring);
    free(self->flying);
    free(self);
}

static const struct br_ring_ops br_sim_ops = {
    .name = "sim",
    .start = br_sim_start,
    .flush = br_sim_flush,
    .reap = br_sim_reap,
    .close = br_sim_ring_close,
    .run_job_now = br_sim_run_job_now,
    .now_ns = br_sim_now_ns,
    .unix_ns = br_sim_unix_ns,
    .random = br_sim_random_bytes,
    .file_wrap = br_sim_file_wrap,
    .file_close = br_sim_file_close,
    .file_fd = br_sim_file_fd,
    .file_stat = br_sim_file_stat,
    .file_truncate = br_sim_file_truncate,
    .file_allocate = br_sim_file_allocate,
    .file_next_data = br_sim_file_next_data,
    .file_drop_cache = br_sim_file_drop_cache,
    .dir_wrap = br_sim_dir_wrap,
    .dir_close = br_sim_dir_close,
    .dir_open = br_sim_dir_open,
    .dir_rename = br_sim_dir_rename,
    .dir_publish = br_sim_dir_publish,
    .dir_list = br_sim_dir_list,
    .dir_sub = br_sim_dir_sub,
    .dir_unlink = br_sim_dir_unlink,
    .dir_exists = br_sim_dir_exists,
    .dir_sync = br_sim_dir_sync,
    .dir_lock = br_sim_dir_lock,
    .dir_unlock = br_sim_dir_unlock,
    .dir_space = br_sim_dir_space,
};

int br_sim_ring(struct br_sim *sim, const struct br_ring_options *options, struct br_ring **ret_ring,
                struct br_err *reterr)
{
    static const struct br_ring_options plain;
    struct br_sim_ring *self = br_sim_alloc(sizeof(*self));

    assert(!sim->is_crashed);
    int rc = br_ring_init(&self->base, &br_sim_ops, options ? options : &plain, reterr);
    if (rc) {
        free(self);
        return rc;
    }
    self->sim = sim;
    self->flying = br_sim_alloc(self->base.options.depth * sizeof(*self->flying));
    self->next = sim->rings;
    sim->rings = self;
    *ret_ring = &self->base;
    return 0;
}

int br_sim_dir(struct br_ring *ring, const char *path, struct br_dir **ret_dir, struct br_err *reterr)
{
    int rc = br_sim_alive(ring, reterr);
    if (rc) {
        return rc;
    }
    struct br_sim_dir *dir = br_sim_alloc(sizeof(*dir));
    *dir = (struct br_sim_dir){.base.ring = ring, .directory = br_sim_directory(br_sim_of(ring), path, true)};
    ring->handles++;
    *ret_dir = &dir->base;
    return 0;
}

static struct br_sim_inode *br_sim_file_make(struct br_sim *sim, const char *path, uint64_t size_bytes)
{
    const char *name;
    BR_AUTO_FREE char *directory_path = br_sim_split(path, &name);
    struct br_sim_directory *directory = br_sim_directory(sim, directory_path, true);
    struct br_sim_inode *inode = br_sim_entry(&directory->current, name);

    if (!inode) {
        inode = br_sim_inode_new(sim, directory_path, name);
        inode->current_size = inode->durable_size = size_bytes;
        br_sim_entry_add(directory, name, inode, true);
    }
    return inode;
}

int br_sim_file(struct br_ring *ring, const char *path, uint64_t size_bytes, struct br_file **ret_file,
                struct br_err *reterr)
{
    int rc = br_sim_alive(ring, reterr);

    if (!rc) {
        *ret_file = br_sim_file_new(ring, br_sim_file_make(br_sim_of(ring), path, size_bytes), true);
    }
    return rc;
}

int br_sim_device(struct br_ring *ring, const char *path, uint64_t size_bytes, uint32_t sector_bytes,
                  struct br_file **ret_file, struct br_err *reterr)
{
    int rc = br_sim_alive(ring, reterr);

    if (rc) {
        return rc;
    }
    struct br_sim_inode *inode = br_sim_file_make(br_sim_of(ring), path, size_bytes);
    inode->is_device = true;
    inode->sector_bytes = sector_bytes;
    *ret_file = br_sim_file_new(ring, inode, true);
    return 0;
}
