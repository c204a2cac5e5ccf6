// SPDX-License-Identifier: Apache-2.0
//
// Law: a file behind any ring is an array of bytes. Random batches of reads, writes and zeroed ranges (disjoint, so their order does not
// matter), new sizes, reservations, syncs and reopenings agree with an array in memory, and what is called a hole reads as zeros.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/ring/ring.h"
#include "engine/ring/sim.h"
#include "tests/lib/t_env.h"

#define FILE_BYTES  (512 * 1024)
#define LANES       8 // operations at once, each in its own part of the file
#define LANE_BYTES  (FILE_BYTES / LANES)
#define STEPS       60
#define T_OK(value) assert_int_equal(value, 0)

struct model {
    uint8_t bytes[FILE_BYTES];
    uint64_t size;
};

struct lane {
    struct br_io io;
    uint8_t *memory;
    unsigned *done;
};

static void lane_done(struct br_io *io)
{
    (*((struct lane *)io->ctx)->done)++;
}

// Half of the operations are page-aligned, so that direct and buffered ways mix.
static void lane_choose(struct t_rand *r, struct lane *lane, unsigned number)
{
    uint64_t start = t_rand_below(r, LANE_BYTES);
    uint64_t len = 1 + t_rand_below(r, LANE_BYTES - start);
    uint64_t shift = t_rand_below(r, 4) ? 0 : 1 + t_rand_below(r, 63);

    if (t_rand_below(r, 2)) {
        start = br_align_down(start, 4096);
        len = br_align_up(len, 4096);
        len = BR_MIN(len, LANE_BYTES - start);
    }
    static const enum br_io_op ops[] = {BR_IO_READ, BR_IO_WRITE, BR_IO_WRITE, BR_IO_ZERO};
    lane->io = (struct br_io){.op = ops[t_rand_below(r, 4)],
                              .buf = lane->memory + shift,
                              .len_bytes = len,
                              .zero_bytes = len,
                              .offset_bytes = number * LANE_BYTES + start,
                              .done = lane_done,
                              .ctx = lane};
    if (lane->io.op != BR_IO_ZERO) {
        t_rand_fill(r, lane->io.buf, len);
    }
}

static void model_apply(struct model *model, const struct br_io *io)
{
    uint64_t end = io->offset_bytes + io->len_bytes;

    if (io->op == BR_IO_WRITE) {
        memcpy(model->bytes + io->offset_bytes, io->buf, io->len_bytes);
        model->size = BR_MAX(model->size, end);
    } else if (io->op == BR_IO_ZERO && io->offset_bytes < model->size) {
        memset(model->bytes + io->offset_bytes, 0, BR_MIN(end, model->size) - io->offset_bytes);
    }
}

static void batch(struct br_ring *ring, struct br_file *file, struct model *model, struct lane *lanes, struct t_rand *r)
{
    unsigned done = 0;
    uint64_t size_before = model->size;

    for (unsigned i = 0; i < LANES; i++) {
        lane_choose(r, &lanes[i], i);
        // What a read at the end or a zeroed range past it finds depends on writes beside it: kept clear of each other.
        bool is_past = lanes[i].io.offset_bytes + lanes[i].io.len_bytes > size_before;
        lanes[i].io.op = is_past ? BR_IO_WRITE : lanes[i].io.op;
        if (is_past) {
            t_rand_fill(r, lanes[i].io.buf, lanes[i].io.len_bytes);
        }
        lanes[i].io.file = file;
        lanes[i].done = &done;
        br_ring_submit(ring, &lanes[i].io);
    }
    while (done < LANES) {
        br_ring_wait(ring, UINT64_MAX);
    }
    for (unsigned i = 0; i < LANES; i++) {
        const struct br_io *io = &lanes[i].io;
        T_OK(io->result);
        if (io->op == BR_IO_READ) {
            assert_int_equal(io->done_bytes, io->len_bytes);
            assert_memory_equal(io->buf, model->bytes + io->offset_bytes, io->len_bytes);
        }
        model_apply(model, io);
    }
}

static void check_all(struct br_file *file, const struct model *model, uint8_t *memory)
{
    struct br_file_info info;
    uint64_t at = 0;

    T_OK(br_file_stat(file, &info, NULL));
    assert_int_equal(info.size_bytes, model->size);
    T_OK(br_file_read(file, memory, model->size, 0, NULL));
    assert_memory_equal(memory, model->bytes, model->size);
    while (at < model->size) {
        uint64_t start;
        uint64_t end;
        T_OK(br_file_next_data(file, at, &start, &end, NULL));
        assert_true(at <= start && start <= end && end <= model->size);
        assert_true(br_is_zero(model->bytes + at, start - at));
        assert_true(end > start || start == model->size);
        at = end;
    }
}

static void one_step(struct br_dir *dir, struct br_ring *ring, struct br_file **file, struct model *model,
                     struct lane *lanes, struct t_rand *r)
{
    uint64_t size = t_rand_below(r, FILE_BYTES);

    switch (t_rand_below(r, 12)) {
    case 0:
        T_OK(br_file_truncate(*file, size, NULL));
        if (size < model->size) {
            memset(model->bytes + size, 0, FILE_BYTES - size);
        }
        model->size = size;
        break;
    case 1: T_OK(br_file_sync(*file, NULL)); break;
    case 2: T_OK(br_file_allocate(*file, size, FILE_BYTES - size, NULL)); break;
    case 3: br_file_drop_cache(*file, 0, size); break;
    case 4:
        br_file_close(*file);
        T_OK(br_dir_open(dir, "f", BR_OPEN_WRITE, file, NULL));
        break;
    case 5: check_all(*file, model, lanes[0].memory); break;
    default: batch(ring, *file, model, lanes, r); break;
    }
}

static void program(struct br_ring *ring, struct br_dir *dir, struct t_rand r)
{
    struct model *model = calloc(1, sizeof(*model));
    struct lane lanes[LANES] = {0};
    struct br_file *file = NULL;

    for (unsigned i = 0; i < LANES; i++) {
        void *memory = NULL;
        T_OK(posix_memalign(&memory, 4096, FILE_BYTES + 4096));
        memset(memory, 0, FILE_BYTES + 4096);
        lanes[i].memory = memory;
    }
    T_OK(br_dir_open(dir, "f", BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE, &file, NULL));
    for (unsigned step = 0; step < STEPS; step++) {
        one_step(dir, ring, &file, model, lanes, &r);
    }
    check_all(file, model, lanes[0].memory);
    br_file_close(file);
    for (unsigned i = 0; i < LANES; i++) {
        free(lanes[i].memory);
    }
    free(model);
}

static void on_the_kernel(enum br_ring_kind kind)
{
    const char *tmp = getenv("TMPDIR");
    struct br_ring *ring = NULL;
    struct br_dir *dir = NULL;
    struct br_err err = {0};
    char path[256];

    if (br_ring_open(&(struct br_ring_options){.kind = kind, .depth = 5}, &ring, &err)) {
        print_message("# skipped: %s\n", err.text);
        skip();
    }
    snprintf(path, sizeof(path), "%s/prop_ring.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
    T_OK(br_dir_wrap(ring, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), &dir, &err));
    for (uint64_t round = 0; round < t_scaled(20); round++) {
        program(ring, dir, t_rand_seeded(t_seed(), round));
    }
    T_OK(br_dir_unlink(dir, "f", &err));
    br_dir_close(dir);
    br_ring_close(ring);
    T_OK(rmdir(path));
}

static void a_file_behind_uring_is_an_array_of_bytes(void **state)
{
    (void)state;
    on_the_kernel(BR_RING_URING);
}

static void a_file_behind_aio_is_an_array_of_bytes(void **state)
{
    (void)state;
    on_the_kernel(BR_RING_AIO);
}

static void a_file_behind_sim_is_an_array_of_bytes(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(100); round++) {
        struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = t_seed() + round, .short_ppm = 200000});
        struct br_ring *ring = NULL;
        struct br_dir *dir = NULL;
        T_OK(br_sim_ring(sim, &(struct br_ring_options){.depth = 5}, &ring, NULL));
        T_OK(br_sim_dir(ring, "d", &dir, NULL));
        program(ring, dir, t_rand_seeded(t_seed(), round));
        br_dir_close(dir);
        br_ring_close(ring);
        br_sim_free(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_behind_uring_is_an_array_of_bytes),
        cmocka_unit_test(a_file_behind_aio_is_an_array_of_bytes),
        cmocka_unit_test(a_file_behind_sim_is_an_array_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
