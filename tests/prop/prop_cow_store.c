// SPDX-License-Identifier: Apache-2.0
//
// A store that is made the kernel's way from random writes says exactly what they changed and gives back what was there before. While the
// kernel goes on writing, what is read holds everything that was committed before the reading began, whatever sectors of an
// area have reached the disk.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/t_cow.h"
#include "tests/lib/t_device.h"
#include "tests/lib/t_env.h"

#define ORIGIN_CHUNKS 300u
#define CHUNK_MAX     4096u

struct model {
    struct t_rand r;
    struct t_cow cow;
    uint64_t origin_bytes;
    bool changed[ORIGIN_CHUNKS];
    uint8_t old[ORIGIN_CHUNKS][CHUNK_MAX];
};

static struct model *model_new(uint64_t round)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->r = t_rand_seeded(t_seed(), round);
    const uint64_t chunk_bytes = UINT64_C(512) << t_rand_below(&m->r, 4);
    m->cow = t_cow_new(chunk_bytes * (320 + t_rand_below(&m->r, 20)), chunk_bytes, (uint8_t)t_rand_next(&m->r));
    m->origin_bytes = ORIGIN_CHUNKS * chunk_bytes - t_rand_below(&m->r, chunk_bytes);
    return m;
}

static void model_free(struct model *m)
{
    t_cow_free(&m->cow);
    free(m);
}

// A write to the origin of some chunks.
static void model_write(struct model *m)
{
    const uint64_t from = t_rand_below(&m->r, ORIGIN_CHUNKS), to = from + 1 + t_rand_below(&m->r, 9);

    for (uint64_t chunk = from; chunk < BR_MIN(to, (uint64_t)ORIGIN_CHUNKS); chunk++) {
        if (!m->changed[chunk]) {
            m->changed[chunk] = true;
            t_rand_fill(&m->r, m->old[chunk], m->cow.chunk_bytes);
            assert_true(t_cow_add(&m->cow, chunk, m->old[chunk]));
        }
    }
}

static void check_changed(const struct model *m, const struct br_cow_store *store)
{
    const struct br_extent_map *map = br_cow_store_changed(store);
    uint64_t bytes = 0;

    for (uint64_t chunk = 0; chunk < ORIGIN_CHUNKS; chunk++) {
        const uint64_t start = chunk * m->cow.chunk_bytes, len = BR_MIN(m->cow.chunk_bytes, m->origin_bytes - start);
        assert_int_equal(br_extent_map_contains(map, start, len), m->changed[chunk]);
        bytes += m->changed[chunk] ? len : 0;
    }
    assert_int_equal(br_extent_map_bytes(map), bytes);
}

static void check_old_data(struct model *m, struct br_cow_store *store)
{
    uint8_t got[CHUNK_MAX];

    for (uint64_t chunk = 0; chunk < ORIGIN_CHUNKS; chunk++) {
        const uint64_t start = chunk * m->cow.chunk_bytes, size = BR_MIN(m->cow.chunk_bytes, m->origin_bytes - start);
        const uint64_t skip = t_rand_below(&m->r, size), len = 1 + t_rand_below(&m->r, size - skip);
        const int rc = br_cow_store_read_old(store, got, len, start + skip, NULL);
        assert_int_equal(rc, m->changed[chunk] ? 0 : -BR_E_NOT_FOUND);
        if (rc == 0) {
            assert_memory_equal(got, m->old[chunk] + skip, len);
        }
    }
}

static void a_store_says_exactly_what_changed_and_what_was_there_before(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(60); round++) {
        struct model *m = model_new(round);
        for (uint64_t writes = t_rand_below(&m->r, 120); writes; writes--) {
            model_write(m);
        }
        struct t_device device = t_device_open(m->cow.bytes, m->cow.size_bytes, round);
        const struct br_cow_status status = t_cow_status(&m->cow);
        struct br_cow_store_params params = {.file = device.file,
                                             .store_bytes = m->cow.size_bytes,
                                             .origin_bytes = m->origin_bytes,
                                             .chunk_bytes = m->cow.chunk_bytes};
        if (round % 2) {
            params.before = status;
        }
        struct br_cow_store *store;
        assert_int_equal(br_cow_store_read(&params, &store, NULL), 0);
        assert_int_equal(br_cow_store_agrees(store, &status, NULL), 0);
        check_changed(m, store);
        check_old_data(m, store);
        br_cow_store_close(store);
        t_device_close(&device);
        model_free(m);
    }
}

// The kernel at work ------------------------------------------------------------------------------------------------------------------

#define SECTORS_MAX (CHUNK_MAX / 512)

// Commits batch after batch to the device: zeroes the next area when one becomes full, and waits; then writes the area's sectors,
// in any order; then they are committed.
struct kernel {
    struct model *m;
    struct t_device *device;
    struct br_file *file;
    uint64_t batches_left;
    unsigned flying;
    bool zeroing;
    uint64_t area;            // that the batch is written to
    uint8_t image[CHUNK_MAX]; // of area
    bool committed[ORIGIN_CHUNKS];
    bool batch[ORIGIN_CHUNKS];
    struct br_cow_status status; // before the batch: what the kernel would say at least
    struct br_io ios[SECTORS_MAX];
};

static void kernel_next(struct kernel *k);

static void kernel_landed(struct br_io *io)
{
    struct kernel *k = io->ctx;

    assert_int_equal(io->result, 0);
    if (!--k->flying) {
        kernel_next(k);
    }
}

static void kernel_put(struct kernel *k, const uint8_t *bytes, uint64_t area)
{
    const uint64_t at = (uint64_t)(t_cow_area(&k->m->cow, area) - k->m->cow.bytes);

    k->flying = (unsigned)(k->m->cow.chunk_bytes / 512);
    for (unsigned i = 0; i < k->m->cow.chunk_bytes / 512; i++) {
        k->ios[i] = (struct br_io){.op = BR_IO_WRITE,
                                   .file = k->file,
                                   // NOLINTNEXTLINE(performance-no-int-to-ptr): the number is what is handed through
                                   .buf = (uint8_t *)(uintptr_t)bytes + 512 * i,
                                   .len_bytes = 512,
                                   .offset_bytes = at + 512 * i,
                                   .done = kernel_landed,
                                   .ctx = k};
        br_ring_submit(k->device->ring, &k->ios[i]);
    }
}

// A batch of at most what is left of the area, as the kernel commits it.
static void kernel_begin_batch(struct kernel *k)
{
    struct t_cow *cow = &k->m->cow;
    const uint64_t room = cow->chunk_bytes / 16 - cow->current_committed;

    k->area = cow->current_area;
    k->status = t_cow_status(cow);
    for (uint64_t n = 1 + t_rand_below(&k->m->r, BR_MIN(room, UINT64_C(40))); n; n--) {
        const uint64_t chunk = t_rand_below(&k->m->r, ORIGIN_CHUNKS);
        if (!k->m->changed[chunk]) {
            k->m->changed[chunk] = k->batch[chunk] = true;
            assert_true(t_cow_add(cow, chunk, NULL));
        }
    }
    memcpy(k->image, t_cow_area(cow, k->area), cow->chunk_bytes);
    k->zeroing = cow->current_area != k->area;
    if (k->zeroing) {
        kernel_put(k, t_cow_area(cow, cow->current_area), cow->current_area);
    } else {
        kernel_put(k, k->image, k->area);
    }
}

static void kernel_next(struct kernel *k)
{
    if (k->zeroing) {
        k->zeroing = false;
        kernel_put(k, k->image, k->area);
        return;
    }
    for (uint64_t i = 0; i < ORIGIN_CHUNKS; i++) {
        k->committed[i] |= k->batch[i];
        k->batch[i] = false;
    }
    if (k->batches_left) {
        k->batches_left--;
        kernel_begin_batch(k);
    }
}

static void check_superset(const struct model *m, const struct br_cow_store *store, const bool *committed)
{
    for (uint64_t chunk = 0; chunk < ORIGIN_CHUNKS; chunk++) {
        const uint64_t start = chunk * m->cow.chunk_bytes, len = BR_MIN(m->cow.chunk_bytes, m->origin_bytes - start);
        const bool in = br_extent_map_contains(br_cow_store_changed(store), start, len);
        assert_true(in || !committed[chunk]);
        assert_true(!in || m->changed[chunk]);
    }
}

static void while_the_kernel_writes_nothing_committed_before_is_missing(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(60); round++) {
        struct model *m = model_new(round ^ UINT64_C(0x11fe));
        struct t_device device = t_device_open(m->cow.bytes, m->cow.size_bytes, round);
        struct kernel k = {.m = m, .device = &device, .batches_left = t_rand_below(&m->r, 40)};
        assert_int_equal(br_sim_device(device.ring, "device", m->cow.size_bytes, 512, &k.file, NULL), 0);
        kernel_next(&k);
        do {
            bool committed[ORIGIN_CHUNKS];
            struct br_cow_store *store;
            struct br_err err;
            for (uint64_t turns = t_rand_below(&m->r, 20); turns; turns--) {
                br_ring_wait(device.ring, 0);
            }
            memcpy(committed, k.committed, sizeof(committed));
            struct br_cow_store_params params = {.file = device.file,
                                                 .store_bytes = m->cow.size_bytes,
                                                 .origin_bytes = m->origin_bytes,
                                                 .settle_ns = UINT64_C(10000000000)};
            if (round % 2 && k.status.known) {
                params.before = k.status;
            }
            if (br_cow_store_read(&params, &store, &err) < 0) {
                fail_msg("round %llu: %s", (unsigned long long)round, err.text);
            }
            check_superset(m, store, committed);
            const struct br_cow_status after = t_cow_status(&m->cow);
            assert_int_equal(br_cow_store_agrees(store, &after, NULL), 0);
            br_cow_store_close(store);
        } while (k.flying);
        br_file_close(k.file);
        t_device_close(&device);
        model_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_says_exactly_what_changed_and_what_was_there_before),
        cmocka_unit_test(while_the_kernel_writes_nothing_committed_before_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
