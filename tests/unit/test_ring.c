// SPDX-License-Identifier: Apache-2.0
//
// Every promise of engine/ring/ring.h, on all three rings: the same tests run on uring, aio and sim, each in a fresh folder or world. A
// ring that the kernel refuses skips its tests and says so.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/ring/ring.h"
#include "engine/ring/sim.h"
#include "tests/lib/t_env.h"

#define BUFFER_BYTES (256 * 1024)
#define BUFFERS      8

enum kind { URING, AIO, SIM };
static enum kind t_kind;

// One test's world: a ring with a pool and an empty directory.
struct world {
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_sim *sim;
    char path[256];
    struct br_err err;
};

static int t_open_ring(struct world *w, const struct br_ring_options *options, struct br_ring **ret_ring)
{
    struct br_ring_options with_kind = *options;

    if (t_kind == SIM) {
        return br_sim_ring(w->sim, options, ret_ring, &w->err);
    }
    with_kind.kind = t_kind == URING ? BR_RING_URING : BR_RING_AIO;
    return br_ring_open(&with_kind, ret_ring, &w->err);
}

static struct br_dir *t_open_dir(struct world *w, struct br_ring *ring)
{
    struct br_dir *dir = NULL;

    if (t_kind == SIM) {
        assert_int_equal(br_sim_dir(ring, "d", &dir, &w->err), 0);
    } else {
        assert_int_equal(br_dir_wrap(ring, open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &dir, &w->err), 0);
    }
    return dir;
}

static int t_setup(void **state)
{
    static const struct br_ring_options options = {.depth = 8, .buffer_count = BUFFERS, .buffer_bytes = BUFFER_BYTES};
    struct world *w = calloc(1, sizeof(*w));

    *state = w;
    w->sim = br_sim_new(&(struct br_sim_options){.seed = 7, .short_ppm = 300000});
    const char *tmp = getenv("TMPDIR");
    snprintf(w->path, sizeof(w->path), "%s/ring.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(w->path)) {
        return -1;
    }
    int rc = t_open_ring(w, &options, &w->ring);
    if (rc == -BR_E_UNSUPPORTED) {
        print_message("# skipped: %s\n", w->err.text);
        return 0;
    }
    assert_int_equal(rc, 0);
    w->dir = t_open_dir(w, w->ring);
    return 0;
}

static int t_remove(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int t_teardown(void **state)
{
    struct world *w = *state;

    br_dir_close(w->dir);
    br_ring_close(w->ring);
    br_sim_free(w->sim);
    int rc = nftw(w->path, t_remove, 8, FTW_DEPTH | FTW_PHYS);
    free(w);
    return rc;
}

#define T_WORLD               \
    struct world *w = *state; \
    if (!w->ring) {           \
        skip();               \
    }                         \
    struct br_err *err __attribute__((unused)) = &w->err

#define T_OK(expression)                                                \
    do {                                                                \
        int t_rc = (expression);                                        \
        if (t_rc) {                                                     \
            print_error("%s: %d %s\n", #expression, t_rc, w->err.text); \
        }                                                               \
        assert_int_equal(t_rc, 0);                                      \
    } while (0)

static struct br_file *t_file(struct world *w, const char *name)
{
    struct br_file *file = NULL;

    T_OK(br_dir_open(w->dir, name, BR_OPEN_WRITE | BR_OPEN_CREATE, &file, &w->err));
    return file;
}

static uint8_t *t_bytes(size_t len, uint64_t seed)
{
    void *bytes = NULL;
    struct t_rand r = t_rand_seeded(seed, len);

    assert_int_equal(posix_memalign(&bytes, 4096, len ? len : 1), 0);
    t_rand_fill(&r, bytes, len);
    return bytes;
}

static void t_count_done(struct br_io *io)
{
    (*(unsigned *)io->ctx)++;
}

static void t_wait_for(struct br_ring *ring, const unsigned *count, unsigned want)
{
    while (*count < want) {
        assert_true(br_ring_in_flight(ring) > 0);
        br_ring_wait(ring, UINT64_MAX);
    }
}

// Reads and writes --------------------------------------------------------------------------------------------------------------------

static void what_is_written_at_any_offset_and_length_is_read_back(void **state)
{
    T_WORLD;
    static const struct {
        uint64_t offset;
        size_t len;
        size_t shift; // of the memory
    } cases[] = {{0, 4096, 0},      {4096, 65536, 0}, {1, 1, 0},       {511, 2, 3},          {4095, 4098, 0},
                 {8192, 12288, 16}, {100, 70000, 0},  {4096, 5000, 0}, {1048576, 1048576, 0}};
    struct br_file *file = t_file(w, "f");
    uint8_t *model = calloc(1, 3 << 20);
    uint8_t *got = t_bytes(3 << 20, 0);
    uint64_t size = 0;

    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        uint8_t *bytes = t_bytes(cases[i].len + cases[i].shift, i + 1);
        T_OK(br_file_write(file, bytes + cases[i].shift, cases[i].len, cases[i].offset, err));
        memcpy(model + cases[i].offset, bytes + cases[i].shift, cases[i].len);
        size = BR_MAX(size, cases[i].offset + cases[i].len);
        T_OK(br_file_read(file, got + cases[i].shift, cases[i].len, cases[i].offset, err));
        assert_memory_equal(got + cases[i].shift, bytes + cases[i].shift, cases[i].len);
        T_OK(br_file_read(file, got, size, 0, err));
        assert_memory_equal(got, model, size);
        free(bytes);
    }
    T_OK(br_file_sync(file, err));
    br_file_close(file);
    free(got);
    free(model);
}

static void a_read_ends_early_only_at_the_end_of_the_file(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(10000, 1);
    uint8_t *got = t_bytes(65536, 2);
    unsigned done = 0;
    struct br_io io = {
        .op = BR_IO_READ, .file = file, .buf = got, .len_bytes = 65536, .done = t_count_done, .ctx = &done};

    T_OK(br_file_write(file, bytes, 10000, 0, err));
    br_ring_submit(w->ring, &io);
    t_wait_for(w->ring, &done, 1);
    assert_int_equal(io.result, 0);
    assert_int_equal(io.done_bytes, 10000);
    assert_memory_equal(got, bytes, 10000);
    io.offset_bytes = 10000;
    br_ring_submit(w->ring, &io);
    t_wait_for(w->ring, &done, 2);
    assert_int_equal(io.result, 0);
    assert_int_equal(io.done_bytes, 0);
    assert_int_equal(br_file_read(file, got, 10001, 0, err), -BR_E_TRUNCATED);
    assert_true(err->has_offset && err->offset_bytes == 10000);
    br_file_close(file);
    free(bytes);
    free(got);
}

static void an_operation_of_no_bytes_completes(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");

    T_OK(br_file_write(file, NULL, 0, 5, err));
    T_OK(br_file_read(file, NULL, 0, 5, err));
    T_OK(br_file_zero(file, 5, 0, err));
    T_OK(br_file_allocate(file, 5, 0, err));
    struct br_file_info info;
    T_OK(br_file_stat(file, &info, err));
    assert_int_equal(info.size_bytes, 0);
    br_file_close(file);
}

static void operations_beyond_the_depth_wait_and_all_complete(void **state)
{
    T_WORLD;
    enum { COUNT = 100 };
    struct br_file *file = t_file(w, "f");
    struct br_io ios[COUNT];
    uint8_t *bytes = t_bytes(COUNT * 4096, 3);
    uint8_t *got = t_bytes(COUNT * 4096, 4);
    unsigned done = 0;

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < COUNT; i++) {
            ios[i] = (struct br_io){.op = round ? BR_IO_READ : BR_IO_WRITE,
                                    .file = file,
                                    .buf = (round ? got : bytes) + i * 4096,
                                    .len_bytes = 4096,
                                    .offset_bytes = i * 4096,
                                    .done = t_count_done,
                                    .ctx = &done};
            br_ring_submit(w->ring, &ios[i]);
        }
        assert_int_equal(br_ring_in_flight(w->ring), COUNT);
        br_ring_flush(w->ring);
        t_wait_for(w->ring, &done, COUNT * (round + 1));
        for (unsigned i = 0; i < COUNT; i++) {
            assert_int_equal(ios[i].result, 0);
            assert_int_equal(ios[i].done_bytes, 4096);
        }
    }
    assert_int_equal(br_ring_in_flight(w->ring), 0);
    assert_memory_equal(got, bytes, COUNT * 4096);
    br_file_close(file);
    free(bytes);
    free(got);
}

struct chain {
    struct br_io io;
    unsigned left;
    struct br_file *file;
    uint8_t *bytes;
};

static void t_chain_done(struct br_io *io)
{
    struct chain *chain = io->ctx;

    assert_int_equal(io->result, 0);
    if (chain->left--) {
        // A blocking helper inside a callback, then the same operation again.
        assert_int_equal(br_file_read(chain->file, chain->bytes, 512, 0, NULL), 0);
        io->offset_bytes += 4096;
        br_ring_submit(br_file_ring(chain->file), io);
    }
}

static void a_callback_may_resubmit_and_block(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(8192, 5);
    struct chain chain = {.left = 20, .file = file, .bytes = bytes + 4096};
    struct br_file_info info;

    chain.io = (struct br_io){
        .op = BR_IO_WRITE, .file = file, .buf = bytes, .len_bytes = 4096, .done = t_chain_done, .ctx = &chain};
    br_ring_submit(w->ring, &chain.io);
    while (br_ring_in_flight(w->ring)) {
        br_ring_wait(w->ring, UINT64_MAX);
    }
    T_OK(br_file_stat(file, &info, err));
    assert_int_equal(info.size_bytes, 21 * 4096);
    br_file_close(file);
    free(bytes);
}

static void a_failed_operation_tells_what_and_where(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    uint8_t byte = 1;

    br_file_close(file);
    T_OK(br_dir_open(w->dir, "f", BR_OPEN_READ, &file, err));
    int rc = br_file_write(file, &byte, 1, 77, err);
    assert_true(rc < 0);
    assert_int_equal(err->code, -rc);
    assert_int_equal(err->os_errno, EBADF);
    assert_true(err->has_offset && err->offset_bytes == 77);
    assert_non_null(strstr(err->text, "cannot write 1 bytes at offset 77"));
    br_file_close(file);
}

// Zeroed ranges, holes ------------------------------------------------------------------------------------------------------------------

static void a_zeroed_range_reads_as_zeros_and_its_neighbours_stay(void **state)
{
    T_WORLD;
    static const struct {
        uint64_t offset;
        uint64_t len;
    } cases[] = {{0, 4096}, {4096, 65536}, {1, 1}, {511, 2}, {5000, 9000}, {100000, 28672}, {199999, 1}, {0, 200000}};
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(200000, 6);
    uint8_t *got = t_bytes(200000, 7);
    struct br_file_info info;

    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        T_OK(br_file_write(file, bytes, 200000, 0, err));
        T_OK(br_file_zero(file, cases[i].offset, cases[i].len, err));
        T_OK(br_file_read(file, got, 200000, 0, err));
        assert_true(br_is_zero(got + cases[i].offset, cases[i].len));
        assert_memory_equal(got, bytes, cases[i].offset);
        uint64_t end = cases[i].offset + cases[i].len;
        assert_memory_equal(got + end, bytes + end, 200000 - end);
    }
    T_OK(br_file_zero(file, 150000, BR_TIB, err)); // limited to the file
    T_OK(br_file_stat(file, &info, err));
    assert_int_equal(info.size_bytes, 200000);
    br_file_close(file);
    free(bytes);
    free(got);
}

static void holes_are_told_from_data(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(65536, 8);
    struct br_file_info info;
    uint64_t start;
    uint64_t end;

    T_OK(br_file_truncate(file, 8 * BR_MIB, err));
    T_OK(br_file_stat(file, &info, err));
    if (!info.can_hole) {
        br_file_close(file);
        free(bytes);
        skip();
    }
    T_OK(br_file_next_data(file, 0, &start, &end, err));
    assert_true(start == 8 * BR_MIB && end == start);
    T_OK(br_file_write(file, bytes, 65536, 2 * BR_MIB, err));
    T_OK(br_file_write(file, bytes, 65536, 5 * BR_MIB, err));
    T_OK(br_file_next_data(file, 0, &start, &end, err));
    assert_true(start <= 2 * BR_MIB && start > 0 && end >= 2 * BR_MIB + 65536 && end < 5 * BR_MIB);
    T_OK(br_file_next_data(file, end, &start, &end, err));
    assert_true(start <= 5 * BR_MIB && start > 2 * BR_MIB && end >= 5 * BR_MIB + 65536);
    T_OK(br_file_next_data(file, 5 * BR_MIB + 100, &start, &end, err));
    assert_true(start == 5 * BR_MIB + 100);
    T_OK(br_file_next_data(file, end, &start, &end, err));
    assert_true(start == 8 * BR_MIB && end == start);
    T_OK(br_file_next_data(file, BR_TIB, &start, &end, err));
    assert_true(start == 8 * BR_MIB && end == start);
    T_OK(br_file_zero(file, 2 * BR_MIB, 65536, err));
    T_OK(br_file_next_data(file, 0, &start, &end, err));
    assert_true(start > 2 * BR_MIB);
    br_file_close(file);
    free(bytes);
}

static void a_new_size_cuts_off_or_adds_zeros(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(20000, 9);
    uint8_t got[20000];
    struct br_file_info info;

    T_OK(br_file_write(file, bytes, 20000, 0, err));
    T_OK(br_file_truncate(file, 7777, err));
    T_OK(br_file_truncate(file, 20000, err));
    T_OK(br_file_read(file, got, 20000, 0, err));
    assert_memory_equal(got, bytes, 7777);
    assert_true(br_is_zero(got + 7777, 20000 - 7777));
    T_OK(br_file_truncate(file, 0, err));
    T_OK(br_file_stat(file, &info, err));
    assert_int_equal(info.size_bytes, 0);
    br_file_close(file);
    free(bytes);
}

static void reserved_space_reads_as_before(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(20000, 10);
    uint8_t got[20000];
    struct br_file_info info;

    T_OK(br_file_write(file, bytes, 10000, 0, err));
    T_OK(br_file_allocate(file, 0, BR_MIB, err));
    T_OK(br_file_stat(file, &info, err));
    assert_int_equal(info.size_bytes, 10000);
    T_OK(br_file_write(file, bytes + 15000, 5000, 15000, err));
    T_OK(br_file_read(file, got, 20000, 0, err));
    assert_memory_equal(got, bytes, 10000);
    assert_true(br_is_zero(got + 10000, 5000));
    assert_memory_equal(got + 15000, bytes + 15000, 5000);
    br_file_drop_cache(file, 0, 20000);
    T_OK(br_file_read(file, got, 20000, 0, err));
    assert_memory_equal(got, bytes, 10000);
    br_file_close(file);
    free(bytes);
}

static void facts_of_a_file_are_told(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    struct br_file *other = t_file(w, "g");
    uint8_t bytes[5000] = {1};
    struct br_file_info before;
    struct br_file_info after;

    T_OK(br_file_stat(file, &before, err));
    usleep(20000); // the kernel's time stamps move by clock ticks
    T_OK(br_file_write(file, bytes, sizeof(bytes), 0, err));
    T_OK(br_file_sync(file, err));
    T_OK(br_file_stat(file, &after, err));
    assert_int_equal(after.size_bytes, 5000);
    assert_false(after.is_block);
    assert_int_equal(after.sector_bytes, 512);
    assert_true(after.allocated_bytes >= 5000);
    assert_true(after.mtime_ns > before.mtime_ns && after.ctime_ns > before.ctime_ns);
    assert_true(after.inode == before.inode && after.inode && after.device == before.device);
    T_OK(br_file_stat(other, &before, err));
    assert_true(before.inode != after.inode && before.device == after.device);
    br_file_close(file);
    br_file_close(other);
}

// Buffers, jobs, time -------------------------------------------------------------------------------------------------------------------

static void pool_buffers_are_aligned_distinct_and_bounded(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    uint8_t *buffers[BUFFERS];

    assert_int_equal(br_ring_buffers_free(w->ring), BUFFERS);
    for (unsigned i = 0; i < BUFFERS; i++) {
        buffers[i] = br_ring_buffer_get(w->ring);
        assert_non_null(buffers[i]);
        assert_int_equal((uintptr_t)buffers[i] % 4096, 0);
        memset(buffers[i], (int)i + 1, BUFFER_BYTES);
    }
    assert_null(br_ring_buffer_get(w->ring));
    assert_int_equal(br_ring_buffers_free(w->ring), 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(buffers[i][0], i + 1);
        assert_int_equal(buffers[i][BUFFER_BYTES - 1], i + 1);
        T_OK(br_file_write(file, buffers[i], BUFFER_BYTES, i * BUFFER_BYTES, err));
    }
    T_OK(br_file_read(file, buffers[0], BUFFER_BYTES, 7 * BUFFER_BYTES, err));
    assert_int_equal(buffers[0][12345], 8);
    T_OK(br_file_read(file, buffers[0] + 4096, 8192, BUFFER_BYTES, err));
    assert_int_equal(buffers[0][4096], 2);
    for (unsigned i = 0; i < BUFFERS; i++) {
        br_ring_buffer_put(w->ring, buffers[i]);
    }
    assert_int_equal(br_ring_buffers_free(w->ring), BUFFERS);
    br_file_close(file);
}

struct counted_job {
    struct br_job job;
    pthread_t ran_on;
    bool has_run;
    unsigned *done;
};

static void t_job_run(struct br_job *job)
{
    struct counted_job *counted = job->ctx;

    usleep(1000);
    counted->ran_on = pthread_self();
    counted->has_run = true;
}

static void t_job_done(struct br_job *job)
{
    struct counted_job *counted = job->ctx;

    assert_true(counted->has_run);
    (*counted->done)++;
}

static void t_run_jobs(struct world *w, bool expect_threads)
{
    struct counted_job jobs[20];
    unsigned done = 0;
    unsigned elsewhere = 0;

    for (unsigned i = 0; i < BR_ARRAY_LEN(jobs); i++) {
        jobs[i] = (struct counted_job){.done = &done};
        jobs[i].job = (struct br_job){.run = t_job_run, .done = t_job_done, .ctx = &jobs[i]};
        br_ring_job(w->ring, &jobs[i].job);
    }
    assert_int_equal(br_ring_in_flight(w->ring), BR_ARRAY_LEN(jobs));
    assert_int_equal(done, 0);
    while (done < BR_ARRAY_LEN(jobs)) {
        assert_true(br_ring_wait(w->ring, UINT64_MAX) > 0);
    }
    assert_int_equal(br_ring_in_flight(w->ring), 0);
    for (unsigned i = 0; i < BR_ARRAY_LEN(jobs); i++) {
        elsewhere += !pthread_equal(jobs[i].ran_on, pthread_self());
    }
    assert_int_equal(elsewhere, expect_threads ? BR_ARRAY_LEN(jobs) : 0);
}

static void jobs_run_elsewhere_and_end_on_the_rings_thread(void **state)
{
    T_WORLD;
    T_OK(br_ring_workers(w->ring, 2, err));
    t_run_jobs(w, t_kind != SIM);
    t_run_jobs(w, t_kind != SIM);
}

static void without_workers_jobs_run_inside_a_wait(void **state)
{
    T_WORLD;
    t_run_jobs(w, false);
}

static void jobs_and_operations_complete_side_by_side(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    struct counted_job jobs[10];
    struct br_io ios[10];
    uint8_t *bytes = t_bytes(40960, 11);
    unsigned jobs_done = 0;
    unsigned ios_done = 0;

    T_OK(br_ring_workers(w->ring, 0, err));
    for (unsigned i = 0; i < 10; i++) {
        jobs[i] = (struct counted_job){.done = &jobs_done};
        jobs[i].job = (struct br_job){.run = t_job_run, .done = t_job_done, .ctx = &jobs[i]};
        ios[i] = (struct br_io){.op = BR_IO_WRITE,
                                .file = file,
                                .buf = bytes + i * 4096,
                                .len_bytes = 4096,
                                .offset_bytes = i * 4096,
                                .done = t_count_done,
                                .ctx = &ios_done};
        br_ring_submit(w->ring, &ios[i]);
        br_ring_job(w->ring, &jobs[i].job);
    }
    t_wait_for(w->ring, &jobs_done, 10);
    t_wait_for(w->ring, &ios_done, 10);
    br_file_close(file);
    free(bytes);
}

static void a_wait_with_nothing_in_flight_returns_at_once(void **state)
{
    T_WORLD;
    assert_int_equal(br_ring_wait(w->ring, UINT64_MAX), 0);
    assert_int_equal(br_ring_wait(w->ring, 0), 0);
}

static void t_sleepy_run(struct br_job *job)
{
    (void)job;
    usleep(150000);
}

static void a_wait_ends_at_its_timeout(void **state)
{
    T_WORLD;
    if (t_kind == SIM) {
        struct br_file *file = t_file(w, "f");
        unsigned done = 0;
        struct br_io io = {.op = BR_IO_SYNC, .file = file, .done = t_count_done, .ctx = &done};
        br_ring_submit(w->ring, &io);
        uint64_t before = br_ring_now_ns(w->ring);
        assert_int_equal(br_ring_wait(w->ring, 2000), 0);
        assert_int_equal(br_ring_now_ns(w->ring) - before, 2000);
        t_wait_for(w->ring, &done, 1);
        br_file_close(file);
        return;
    }
    unsigned done = 0;
    struct counted_job job = {.has_run = true, .done = &done};
    job.job = (struct br_job){.run = t_sleepy_run, .done = t_job_done, .ctx = &job};
    T_OK(br_ring_workers(w->ring, 1, err));
    br_ring_job(w->ring, &job.job);
    uint64_t before = br_ring_now_ns(w->ring);
    assert_int_equal(br_ring_wait(w->ring, 20000000), 0);
    uint64_t waited = br_ring_now_ns(w->ring) - before;
    assert_true(waited >= 20000000 && waited < 140000000);
    assert_int_equal(br_ring_wait(w->ring, 0), 0);
    assert_int_equal(br_ring_wait(w->ring, UINT64_MAX), 1);
    assert_int_equal(done, 1);
}

static void a_sleep_lasts_and_lets_work_complete(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    unsigned done = 0;
    struct br_io io = {.op = BR_IO_SYNC, .file = file, .done = t_count_done, .ctx = &done};
    uint64_t before = br_ring_now_ns(w->ring);

    br_ring_sleep(w->ring, 5000000);
    assert_true(br_ring_now_ns(w->ring) - before >= 5000000);
    br_ring_submit(w->ring, &io);
    while (!done) {
        br_ring_sleep(w->ring, 5000000);
    }
    br_file_close(file);
}

static void clocks_go_on_and_random_ids_differ(void **state)
{
    T_WORLD;
    uint64_t now = br_ring_now_ns(w->ring);
    assert_true(br_ring_now_ns(w->ring) >= now);
    assert_true(br_ring_unix_ns(w->ring) > UINT64_C(1600000000) * 1000000000);
    struct br_uuid a = br_ring_new_uuid(w->ring);
    struct br_uuid b = br_ring_new_uuid(w->ring);
    assert_false(br_uuid_equal(&a, &b));
    assert_int_equal(a.bytes[6] >> 4, 4);
    static const char *const names[] = {"uring", "aio", "sim"};
    assert_string_equal(br_ring_name(w->ring), names[t_kind]);
}

// Directories -----------------------------------------------------------------------------------------------------------------------------

static void a_file_is_made_only_when_asked_for(void **state)
{
    T_WORLD;
    struct br_file *file = NULL;

    assert_int_equal(br_dir_open(w->dir, "f", BR_OPEN_WRITE, &file, err), -BR_E_NOT_FOUND);
    assert_int_equal(br_dir_exists(w->dir, "f", err), 0);
    T_OK(br_dir_open(w->dir, "f", BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_EXCLUSIVE, &file, err));
    T_OK(br_file_write(file, "old", 3, 0, err));
    br_file_close(file);
    assert_int_equal(br_dir_exists(w->dir, "f", err), 1);
    assert_int_equal(br_dir_open(w->dir, "f", BR_OPEN_CREATE | BR_OPEN_EXCLUSIVE, &file, err), -BR_E_REFUSED);
    T_OK(br_dir_open(w->dir, "f", BR_OPEN_WRITE | BR_OPEN_TRUNCATE, &file, err));
    struct br_file_info info;
    T_OK(br_file_stat(file, &info, err));
    assert_int_equal(info.size_bytes, 0);
    br_file_close(file);
    T_OK(br_dir_sync(w->dir, err));
}

static void a_rename_replaces_and_a_removal_may_be_repeated(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "new");
    char got[3];

    T_OK(br_file_write(file, "new", 3, 0, err));
    br_file_close(file);
    file = t_file(w, "old");
    T_OK(br_file_write(file, "old", 3, 0, err));
    T_OK(br_dir_rename(w->dir, "new", "old", err));
    T_OK(br_file_read(file, got, 3, 0, err)); // the replaced file lives while it is open
    assert_memory_equal(got, "old", 3);
    br_file_close(file);
    T_OK(br_dir_open(w->dir, "old", BR_OPEN_READ, &file, err));
    T_OK(br_file_read(file, got, 3, 0, err));
    assert_memory_equal(got, "new", 3);
    br_file_close(file);
    assert_int_equal(br_dir_exists(w->dir, "new", err), 0);
    assert_int_equal(br_dir_rename(w->dir, "new", "old", err), -BR_E_NOT_FOUND);
    T_OK(br_dir_unlink(w->dir, "old", err));
    T_OK(br_dir_unlink(w->dir, "old", err));
    assert_int_equal(br_dir_exists(w->dir, "old", err), 0);
    T_OK(br_dir_sync(w->dir, err));
}

static void what_is_published_replaces_nothing(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "first");
    char got[3];

    T_OK(br_file_write(file, "one", 3, 0, err));
    br_file_close(file);
    br_file_close(t_file(w, "second"));
    T_OK(br_dir_publish(w->dir, "first", "public", err));
    assert_int_equal(br_dir_exists(w->dir, "first", err), 0);
    assert_int_equal(br_dir_publish(w->dir, "second", "public", err), -BR_E_EXISTS);
    assert_int_equal(br_dir_exists(w->dir, "second", err), 1);
    assert_int_equal(br_dir_publish(w->dir, "missing", "other", err), -BR_E_NOT_FOUND);
    T_OK(br_dir_open(w->dir, "public", BR_OPEN_READ, &file, err));
    T_OK(br_file_read(file, got, 3, 0, err));
    assert_memory_equal(got, "one", 3);
    br_file_close(file);
}

struct t_names {
    char text[200];
    int stop_at, count;
};

static int t_take_name(void *ctx, const char *name, bool is_dir)
{
    struct t_names *names = ctx;
    size_t len = strlen(names->text);

    snprintf(names->text + len, sizeof(names->text) - len, "%s%s ", name, is_dir ? "/" : "");
    return ++names->count == names->stop_at ? 77 : 0;
}

static void a_directory_lists_its_files_and_its_directories(void **state)
{
    T_WORLD;
    struct br_dir *sub, *deep;
    struct br_file *file;
    struct t_names none = {0}, all = {0}, stopped = {.stop_at = 2}, below = {0};

    assert_int_equal(br_dir_sub(w->dir, "sub", false, &sub, err), -BR_E_NOT_FOUND);
    T_OK(br_dir_sub(w->dir, "sub", true, &sub, err));
    T_OK(br_dir_list(sub, t_take_name, &none, err));
    assert_string_equal(none.text, "");
    T_OK(br_dir_sub(sub, "deep", true, &deep, err));
    br_dir_close(deep);
    T_OK(br_dir_open(sub, "b", BR_OPEN_CREATE, &file, err));
    br_file_close(file);
    T_OK(br_dir_open(sub, "a", BR_OPEN_CREATE, &file, err));
    br_file_close(file);
    assert_int_equal(br_dir_sub(sub, "a", true, &deep, err), -BR_E_REFUSED);
    T_OK(br_dir_list(sub, t_take_name, &all, err));
    assert_string_equal(all.text, "a b deep/ ");
    assert_int_equal(br_dir_list(sub, t_take_name, &stopped, err), 77);
    assert_string_equal(stopped.text, "a b ");
    T_OK(br_dir_sub(sub, "deep", false, &deep, err));
    T_OK(br_dir_list(deep, t_take_name, &below, err));
    assert_string_equal(below.text, "");
    br_dir_close(deep);
    br_dir_close(sub);
}

static void a_name_never_leads_out_of_the_directory(void **state)
{
    T_WORLD;
    static const char *const names[] = {"", ".", "..", "a/b", "/etc/passwd", "../x"};
    struct br_file *file;

    for (size_t i = 0; i < BR_ARRAY_LEN(names); i++) {
        assert_int_equal(br_dir_open(w->dir, names[i], BR_OPEN_CREATE, &file, err), -BR_E_USAGE);
        assert_int_equal(br_dir_rename(w->dir, "f", names[i], err), -BR_E_USAGE);
        assert_int_equal(br_dir_rename(w->dir, names[i], "f", err), -BR_E_USAGE);
        assert_int_equal(br_dir_publish(w->dir, names[i], "f", err), -BR_E_USAGE);
        assert_int_equal(br_dir_publish(w->dir, "f", names[i], err), -BR_E_USAGE);
        assert_int_equal(br_dir_unlink(w->dir, names[i], err), -BR_E_USAGE);
        assert_int_equal(br_dir_sub(w->dir, names[i], true, &(struct br_dir *){NULL}, err), -BR_E_USAGE);
        assert_int_equal(br_dir_exists(w->dir, names[i], err), -BR_E_USAGE);
        assert_int_equal(br_dir_lock(w->dir, names[i], err), -BR_E_USAGE);
    }
}

static void a_lock_is_held_by_one_until_its_directory_closes(void **state)
{
    T_WORLD;
    struct br_dir *other = t_open_dir(w, w->ring);

    T_OK(br_dir_lock(w->dir, "lock", err));
    assert_int_equal(br_dir_lock(other, "lock", err), -BR_E_BUSY);
    assert_int_equal(br_dir_lock(w->dir, "lock", err), -BR_E_BUSY);
    T_OK(br_dir_lock(other, "another", err));
    br_dir_unlock(other, "lock"); // not its own
    assert_int_equal(br_dir_lock(other, "lock", err), -BR_E_BUSY);
    br_dir_unlock(other, "another");
    T_OK(br_dir_lock(w->dir, "another", err));
    br_dir_close(w->dir);
    T_OK(br_dir_lock(other, "lock", err));
    w->dir = other;
}

static void free_space_is_told(void **state)
{
    T_WORLD;
    uint64_t free_bytes = 0;

    T_OK(br_dir_space(w->dir, &free_bytes, err));
    assert_true(free_bytes > 0);
}

// The kernel's rings only -----------------------------------------------------------------------------------------------------------------

static void what_is_no_regular_file_is_refused(void **state)
{
    T_WORLD;
    char path[300];
    struct br_file *file;
    struct br_dir *dir;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(br_file_wrap(w->ring, fds[0], &file, err), -BR_E_UNSUPPORTED);
    assert_int_equal(fcntl(fds[0], F_GETFD), -1); // closed all the same
    close(fds[1]);
    assert_int_equal(br_file_wrap(w->ring, open("/dev/null", O_RDWR), &file, err), -BR_E_UNSUPPORTED);
    assert_int_equal(br_file_wrap(w->ring, -1, &file, err), -BR_E_IO);
    assert_int_equal(br_dir_wrap(w->ring, open("/dev/null", O_RDWR), &dir, err), -BR_E_UNSUPPORTED);
    snprintf(path, sizeof(path), "%s/link", w->path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof(path), "%s/fifo", w->path);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(path, sizeof(path), "%s/folder", w->path);
    assert_int_equal(mkdir(path, 0700), 0);
    static const char *const names[] = {"link", "fifo", "folder"};
    for (size_t i = 0; i < BR_ARRAY_LEN(names); i++) {
        assert_int_equal(br_dir_open(w->dir, names[i], BR_OPEN_READ, &file, err), -BR_E_REFUSED);
        assert_int_equal(br_dir_open(w->dir, names[i], BR_OPEN_WRITE | BR_OPEN_CREATE, &file, err), -BR_E_REFUSED);
        assert_int_equal(br_dir_lock(w->dir, names[i], err), -BR_E_REFUSED);
    }
}

static void a_file_of_ours_is_for_its_owner_only(void **state)
{
    T_WORLD;
    char path[300];
    struct stat st;

    br_file_close(t_file(w, "f"));
    snprintf(path, sizeof(path), "%s/f", w->path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void an_inherited_append_flag_does_not_move_writes(void **state)
{
    T_WORLD;
    char path[300];
    char got[6];
    struct br_file *file;

    snprintf(path, sizeof(path), "%s/f", w->path);
    T_OK(br_file_wrap(w->ring, open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600), &file, err));
    T_OK(br_file_write(file, "abcdef", 6, 0, err));
    T_OK(br_file_write(file, "XY", 2, 1, err));
    T_OK(br_file_read(file, got, 6, 0, err));
    assert_memory_equal(got, "aXYdef", 6);
    assert_true(br_file_fd(file) >= 0);
    br_file_close(file);
}

// io_uring gives EAGAIN back, for ever, for a descriptor with O_NONBLOCK of a device that can't say beforehand whether it would wait
// (dm-thin on Linux 6.1): tests/vm/thin-delta-is-read-whole.sh hangs then.
static void no_descriptor_of_a_file_is_non_blocking(void **state)
{
    T_WORLD;
    char path[300];
    unsigned seen = 0;
    struct br_file *files[2];

    snprintf(path, sizeof(path), "%s/f", w->path);
    T_OK(br_file_wrap(w->ring, open(path, O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0600), &files[0], err));
    T_OK(br_dir_open(w->dir, "f", BR_OPEN_WRITE, &files[1], err));
    for (int fd = 0; fd < 256; fd++) {
        char link[64], target[300];
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        const ssize_t len = readlink(link, target, sizeof(target) - 1);
        if (len == (ssize_t)strlen(path) && !memcmp(target, path, (size_t)len)) {
            assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
            seen++;
        }
    }
    assert_true(seen >= 2);
    br_file_close(files[0]);
    br_file_close(files[1]);
}

static void without_direct_all_works_the_same(void **state)
{
    T_WORLD;
    struct br_ring *ring = NULL;
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(65536, 12);
    uint8_t *got = t_bytes(65536, 13);
    static const struct br_ring_options options = {.no_direct = true};

    br_file_close(file);
    T_OK(t_open_ring(w, &options, &ring));
    struct br_dir *dir = t_open_dir(w, ring);
    assert_null(br_ring_buffer_get(ring));
    T_OK(br_dir_open(dir, "f", BR_OPEN_WRITE, &file, err));
    T_OK(br_file_write(file, bytes, 65536, 0, err));
    T_OK(br_file_zero(file, 100, 1000, err));
    T_OK(br_file_read(file, got, 65536, 0, err));
    memset(bytes + 100, 0, 1000);
    assert_memory_equal(got, bytes, 65536);
    br_file_close(file);
    br_dir_close(dir);
    br_ring_close(ring);
    free(bytes);
    free(got);
}

// Unaligned writes go through the page cache, aligned ones around it: neither may undo the other.
static void direct_and_buffered_writes_to_one_file_keep_each_other(void **state)
{
    T_WORLD;
    struct br_file *file = t_file(w, "f");
    enum { PAGES = 64 };
    uint8_t *model = t_bytes(PAGES * 4096, 14);
    uint8_t *got = t_bytes(PAGES * 4096, 15);
    struct br_io ios[PAGES];
    unsigned done = 0;

    T_OK(br_file_write(file, model, PAGES * 4096, 0, err));
    for (unsigned round = 0; round < 8; round++) {
        struct t_rand r = t_rand_seeded(99, round);
        for (unsigned i = 0; i < PAGES; i++) {
            size_t skip_bytes = (i + round) % 2 ? 1 + t_rand_below(&r, 4000) : 0;
            t_rand_fill(&r, model + i * 4096 + skip_bytes, 4096 - skip_bytes);
            ios[i] = (struct br_io){.op = BR_IO_WRITE,
                                    .file = file,
                                    .buf = model + i * 4096 + skip_bytes,
                                    .len_bytes = 4096 - skip_bytes,
                                    .offset_bytes = i * 4096 + skip_bytes,
                                    .done = t_count_done,
                                    .ctx = &done};
            br_ring_submit(w->ring, &ios[i]);
        }
        t_wait_for(w->ring, &done, PAGES * (round + 1));
        T_OK(br_file_sync(file, err));
        T_OK(br_file_read(file, got, PAGES * 4096, 0, err));
        assert_memory_equal(got, model, PAGES * 4096);
        br_file_drop_cache(file, 0, PAGES * 4096);
        T_OK(br_file_read(file, got + 1, PAGES * 4096 - 1, 1, err));
        assert_memory_equal(got + 1, model + 1, PAGES * 4096 - 1);
    }
    br_file_close(file);
    free(model);
    free(got);
}

static void a_write_past_the_limit_fails_and_says_so(void **state)
{
    T_WORLD;
    struct rlimit before;
    struct br_file *file = t_file(w, "f");
    uint8_t *bytes = t_bytes(65536, 16);

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){16384, before.rlim_max}), 0);
    int rc = br_file_write(file, bytes, 65536, 0, err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, -BR_E_LIMIT);
    assert_int_equal(err->os_errno, EFBIG);
    br_file_close(file);
    free(bytes);
}

// Runs @child in another process, which must exit with 0, or with 77: it can't be arranged here; what it refuses to its own calls does not stay with us.
static const struct world *t_child_world;

static void t_in_child(const struct world *w, void (*child)(void))
{
    int status = -1;

    fflush(stdout);
    t_child_world = w;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        child();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("# skipped: it can't be arranged here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void t_refuse_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = BR_ARRAY_LEN(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        _exit(77);
    }
}

static void t_child_auto_is_aio(void)
{
    struct br_ring *ring = NULL;

    t_refuse_uring();
    if (br_ring_open(&(struct br_ring_options){.kind = BR_RING_URING}, &ring, NULL) != -BR_E_UNSUPPORTED) {
        _exit(1);
    }
    if (br_ring_open(&(struct br_ring_options){.kind = BR_RING_AUTO}, &ring, NULL)) {
        _exit(2);
    }
    if (strcmp(br_ring_name(ring), "aio")) {
        _exit(3);
    }
    br_ring_close(ring);
}

static void where_io_uring_is_refused_libaio_is_taken(void **state)
{
    T_WORLD;
    t_in_child(w, t_child_auto_is_aio);
}

static void t_child_memlock(enum br_ring_kind kind, rlim_t locked_bytes)
{
    struct rlimit limit = {locked_bytes, locked_bytes};
    struct br_ring *ring = NULL;
    struct br_file *file = NULL;
    FILE *temporary = tmpfile();

    if (!temporary || setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(65534, 65534, 65534)) {
        _exit(77);
    }
    int rc =
        br_ring_open(&(struct br_ring_options){.kind = kind, .buffer_count = 4, .buffer_bytes = 1 << 20}, &ring, NULL);
    if (rc || br_file_wrap(ring, dup(fileno(temporary)), &file, NULL)) {
        _exit(1);
    }
    uint8_t *buffer = br_ring_buffer_get(ring);
    memset(buffer, 7, 1 << 20);
    if (br_file_write(file, buffer, 1 << 20, 0, NULL)) {
        _exit(2);
    }
    memset(buffer, 0, 1 << 20);
    if (br_file_read(file, buffer, 1 << 20, 0, NULL) || buffer[0] != 7 || buffer[(1 << 20) - 1] != 7) {
        _exit(3);
    }
    br_file_close(file);
    br_ring_close(ring);
}

static void t_child_little_memlock(void)
{
    t_child_memlock(BR_RING_URING, 256 * 1024);
}

static void t_child_no_memlock(void)
{
    t_child_memlock(BR_RING_AUTO, 0);
}

static void without_the_right_to_lock_memory_buffers_work_unregistered(void **state)
{
    T_WORLD;
    t_in_child(w, t_child_little_memlock);
    t_in_child(w, t_child_no_memlock);
}

// A file system of 1 MiB in a mount namespace of the child's own.
static void t_child_full_disk(void)
{
    const char *path = t_child_world->path;
    struct br_ring_options options = {.kind = t_kind == URING ? BR_RING_URING : BR_RING_AIO};
    struct br_ring *ring = NULL;
    struct br_dir *dir = NULL;
    struct br_file *file = NULL;
    uint8_t *bytes = calloc(1, 2 << 20);
    uint64_t free_bytes = 0;

    if ((unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS)) ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", path, "tmpfs", 0, "size=1m")) {
        _exit(77);
    }
    if (br_ring_open(&options, &ring, NULL) ||
        br_dir_wrap(ring, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &dir, NULL) ||
        br_dir_open(dir, "f", BR_OPEN_CREATE, &file, NULL)) {
        _exit(1);
    }
    if (br_file_allocate(file, 0, 2 << 20, NULL) != -BR_E_NO_SPACE ||
        br_file_write(file, bytes, 2 << 20, 0, NULL) != -BR_E_NO_SPACE) {
        _exit(2);
    }
    if (br_dir_space(dir, &free_bytes, NULL) || free_bytes >= 1 << 20) {
        _exit(3);
    }
    if (br_file_truncate(file, 0, NULL) || br_file_write(file, bytes, 65536, 0, NULL) || br_file_sync(file, NULL)) {
        _exit(4);
    }
    br_file_close(file);
    br_dir_close(dir);
    br_ring_close(ring);
    free(bytes);
}

static void a_full_disk_is_told_as_no_space_and_works_after_room_is_made(void **state)
{
    T_WORLD;
    t_in_child(w, t_child_full_disk);
}

// A loop device over a file of the test's; it goes away when its last descriptor is closed. -1: not allowed here.
static int t_loop_device(const struct world *w)
{
    char path[300];
    struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR};

    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
    if (control >= 0) {
        close(control);
    }
    if (number < 0) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/image", w->path);
    int image = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(image >= 0);
    assert_int_equal(ftruncate(image, 16 << 20), 0);
    snprintf(path, sizeof(path), "/dev/loop%d", number);
    int loop = open(path, O_RDWR | O_CLOEXEC);
    config.fd = (uint32_t)image;
    if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config)) {
        close(loop);
        loop = -1;
    }
    close(image);
    return loop;
}

static void a_block_device_has_its_size_and_is_zeroed_for_real(void **state)
{
    T_WORLD;
    int loop = t_loop_device(w);
    struct br_file *file = NULL;
    struct br_file_info info;
    uint8_t *bytes = t_bytes(1 << 20, 19);
    uint8_t *got = t_bytes(1 << 20, 20);
    uint64_t start;
    uint64_t end;

    if (loop < 0) {
        print_message("# skipped: no loop device may be made here\n");
        free(bytes);
        free(got);
        skip();
    }
    T_OK(br_file_wrap(w->ring, loop, &file, err));
    T_OK(br_file_stat(file, &info, err));
    assert_true(info.is_block && info.size_bytes == 16 << 20 && info.sector_bytes == 512 && !info.inode);
    T_OK(br_file_next_data(file, 1000, &start, &end, err));
    assert_true(start == 1000 && end == 16 << 20);
    static const uint64_t ranges[][2] = {{0, 1 << 20}, {1000, 700000}, {511, 2}, {4096, 8192}, {4097, 4095}};
    for (size_t i = 0; i < BR_ARRAY_LEN(ranges); i++) {
        T_OK(br_file_write(file, bytes, 1 << 20, 0, err));
        T_OK(br_file_zero(file, ranges[i][0], ranges[i][1], err));
        T_OK(br_file_sync(file, err));
        T_OK(br_file_read(file, got, 1 << 20, 0, err));
        end = ranges[i][0] + ranges[i][1];
        assert_memory_equal(got, bytes, ranges[i][0]);
        assert_true(br_is_zero(got + ranges[i][0], ranges[i][1]));
        assert_memory_equal(got + end, bytes + end, (1 << 20) - end);
    }
    assert_int_equal(br_file_truncate(file, 0, err), -BR_E_UNSUPPORTED);
    assert_true(br_file_write(file, bytes, 8192, (16 << 20) - 4096, err) < 0);
    br_file_close(file);
    free(bytes);
    free(got);
}

static void options_that_make_no_sense_are_refused(void **state)
{
    T_WORLD;
    struct br_ring *ring;

    assert_int_equal(t_open_ring(w, &(struct br_ring_options){.buffer_count = 2, .buffer_bytes = 1000}, &ring),
                     -BR_E_USAGE);
    assert_int_equal(err->code, BR_E_USAGE);
}

static void more_files_than_the_table_registers_all_work(void **state)
{
    T_WORLD;
    struct br_file *files[100];
    uint8_t *bytes = t_bytes(4096, 17);
    uint8_t *got = t_bytes(4096, 18);

    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < BR_ARRAY_LEN(files); i++) {
            char name[8];
            snprintf(name, sizeof(name), "%u", i);
            files[i] = t_file(w, name);
            bytes[0] = (uint8_t)i;
            T_OK(br_file_write(files[i], bytes, 4096, round * 4096, err));
        }
        for (unsigned i = 0; i < BR_ARRAY_LEN(files); i++) {
            T_OK(br_file_read(files[i], got, 4096, round * 4096, err));
            assert_int_equal(got[0], i);
            br_file_close(files[i]);
        }
    }
    free(bytes);
    free(got);
}

enum { ON_URING = 1 << URING, ON_AIO = 1 << AIO, ON_SIM = 1 << SIM, ON_KERNEL = ON_URING | ON_AIO, ON_ALL = 7 };

#define T_TEST(name, on)                                               \
    {                                                                  \
        cmocka_unit_test_setup_teardown(name, t_setup, t_teardown), on \
    }

static const struct {
    struct CMUnitTest test;
    unsigned on;
} t_tests[] = {
    T_TEST(what_is_written_at_any_offset_and_length_is_read_back, ON_ALL),
    T_TEST(a_read_ends_early_only_at_the_end_of_the_file, ON_ALL),
    T_TEST(an_operation_of_no_bytes_completes, ON_ALL),
    T_TEST(operations_beyond_the_depth_wait_and_all_complete, ON_ALL),
    T_TEST(a_callback_may_resubmit_and_block, ON_ALL),
    T_TEST(a_failed_operation_tells_what_and_where, ON_ALL),
    T_TEST(a_zeroed_range_reads_as_zeros_and_its_neighbours_stay, ON_ALL),
    T_TEST(holes_are_told_from_data, ON_ALL),
    T_TEST(a_new_size_cuts_off_or_adds_zeros, ON_ALL),
    T_TEST(reserved_space_reads_as_before, ON_ALL),
    T_TEST(facts_of_a_file_are_told, ON_ALL),
    T_TEST(pool_buffers_are_aligned_distinct_and_bounded, ON_ALL),
    T_TEST(jobs_run_elsewhere_and_end_on_the_rings_thread, ON_ALL),
    T_TEST(without_workers_jobs_run_inside_a_wait, ON_ALL),
    T_TEST(jobs_and_operations_complete_side_by_side, ON_ALL),
    T_TEST(a_wait_with_nothing_in_flight_returns_at_once, ON_ALL),
    T_TEST(a_wait_ends_at_its_timeout, ON_ALL),
    T_TEST(a_sleep_lasts_and_lets_work_complete, ON_ALL),
    T_TEST(clocks_go_on_and_random_ids_differ, ON_ALL),
    T_TEST(a_file_is_made_only_when_asked_for, ON_ALL),
    T_TEST(a_rename_replaces_and_a_removal_may_be_repeated, ON_ALL),
    T_TEST(what_is_published_replaces_nothing, ON_ALL),
    T_TEST(a_directory_lists_its_files_and_its_directories, ON_ALL),
    T_TEST(a_name_never_leads_out_of_the_directory, ON_ALL),
    T_TEST(a_lock_is_held_by_one_until_its_directory_closes, ON_ALL),
    T_TEST(free_space_is_told, ON_ALL),
    T_TEST(what_is_no_regular_file_is_refused, ON_KERNEL),
    T_TEST(a_file_of_ours_is_for_its_owner_only, ON_KERNEL),
    T_TEST(an_inherited_append_flag_does_not_move_writes, ON_KERNEL),
    T_TEST(no_descriptor_of_a_file_is_non_blocking, ON_KERNEL),
    T_TEST(without_direct_all_works_the_same, ON_ALL),
    T_TEST(direct_and_buffered_writes_to_one_file_keep_each_other, ON_ALL),
    T_TEST(a_write_past_the_limit_fails_and_says_so, ON_KERNEL),
    T_TEST(where_io_uring_is_refused_libaio_is_taken, ON_AIO),
    T_TEST(without_the_right_to_lock_memory_buffers_work_unregistered, ON_URING),
    T_TEST(a_full_disk_is_told_as_no_space_and_works_after_room_is_made, ON_KERNEL),
    T_TEST(a_block_device_has_its_size_and_is_zeroed_for_real, ON_KERNEL),
    T_TEST(options_that_make_no_sense_are_refused, ON_ALL),
    T_TEST(more_files_than_the_table_registers_all_work, ON_ALL),
};

int main(void)
{
    int failed = 0;

    for (t_kind = URING; t_kind <= SIM; t_kind++) {
        static const char *const names[] = {"uring", "aio", "sim"};
        struct CMUnitTest tests[BR_ARRAY_LEN(t_tests)];
        size_t count = 0;
        for (size_t i = 0; i < BR_ARRAY_LEN(t_tests); i++) {
            if (t_tests[i].on & 1u << t_kind) {
                tests[count++] = t_tests[i].test;
            }
        }
        failed += _cmocka_run_group_tests(names[t_kind], tests, count, NULL, NULL);
    }
    return failed != 0;
}
