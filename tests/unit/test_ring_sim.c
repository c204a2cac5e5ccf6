// SPDX-License-Identifier: Apache-2.0
//
// The simulated world keeps to its model (engine/ring/sim.h): what must survive does, what may be lost is lost for some seeds, and every
// fault that can be asked for happens. A simulator that is too kind makes every test above it worthless, so "for some seeds" is counted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/ring/sim.h"

#define SEEDS            64
#define T_OK(expression) assert_int_equal(expression, 0)

static struct br_sim *t_sim(uint64_t seed)
{
    return br_sim_new(&(struct br_sim_options){.seed = seed});
}

static struct br_ring *t_ring(struct br_sim *sim)
{
    struct br_ring *ring = NULL;

    T_OK(br_sim_ring(sim, NULL, &ring, NULL));
    return ring;
}

static struct br_file *t_file(struct br_ring *ring, const char *path, uint64_t size)
{
    struct br_file *file = NULL;

    T_OK(br_sim_file(ring, path, size, &file, NULL));
    return file;
}

static struct br_dir *t_dir(struct br_ring *ring, const char *path)
{
    struct br_dir *dir = NULL;

    T_OK(br_sim_dir(ring, path, &dir, NULL));
    return dir;
}

static void t_write(struct br_file *file, uint8_t fill, size_t len, uint64_t offset)
{
    uint8_t bytes[65536];

    assert_true(len <= sizeof(bytes));
    memset(bytes, fill, len);
    T_OK(br_file_write(file, bytes, len, offset, NULL));
}

// Sectors of @path's first @len bytes that hold @fill throughout.
static unsigned t_sectors(const struct br_sim *sim, const char *path, uint8_t fill, size_t len)
{
    uint8_t bytes[65536];
    unsigned count = 0;

    br_sim_read(sim, path, bytes, len, 0);
    for (size_t at = 0; at < len; at += 512) {
        size_t i = 0;
        while (i < 512 && bytes[at + i] == fill) {
            i++;
        }
        count += i == 512;
    }
    return count;
}

static void t_crash_and_close(struct br_sim *sim, struct br_ring *ring, struct br_file *file)
{
    br_sim_crash(sim);
    br_file_close(file);
    br_ring_close(ring);
    br_sim_crash_resolve(sim);
}

// Durability ------------------------------------------------------------------------------------------------------------------------------

static void what_was_synced_survives_every_crash(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 0);
        t_write(file, 1, 65536, 0);
        T_OK(br_file_sync(file, NULL));
        t_crash_and_close(sim, ring, file);
        assert_int_equal(br_sim_size(sim, "f"), 65536);
        assert_int_equal(t_sectors(sim, "f", 1, 65536), 128);
        br_sim_free(sim);
    }
}

static void what_was_not_synced_is_kept_lost_or_torn_by_sectors(void **state)
{
    (void)state;
    unsigned kept = 0;
    unsigned lost = 0;
    unsigned torn = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 65536);
        t_write(file, 1, 65536, 0);
        T_OK(br_file_sync(file, NULL));
        t_write(file, 2, 65536, 0);
        t_crash_and_close(sim, ring, file);
        unsigned new = t_sectors(sim, "f", 2, 65536);
        assert_int_equal(t_sectors(sim, "f", 1, 65536), 128 - new);
        kept += new == 128;
        lost += new == 0;
        torn += new &&new < 128;
        br_sim_free(sim);
    }
    assert_true(kept >= SEEDS / 8 && lost >= SEEDS / 8 && torn >= SEEDS / 8);
}

static void a_later_write_may_survive_an_earlier_one(void **state)
{
    (void)state;
    unsigned only_second = 0;
    unsigned only_first = 0;

    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 65536);
        t_write(file, 1, 512, 0);
        t_write(file, 1, 512, 32768);
        t_crash_and_close(sim, ring, file);
        uint8_t first;
        uint8_t second;
        br_sim_read(sim, "f", &first, 1, 0);
        br_sim_read(sim, "f", &second, 1, 32768);
        only_second += second && !first;
        only_first += first && !second;
        br_sim_free(sim);
    }
    assert_true(only_second > 3 && only_first > 3);
}

static void t_done(struct br_io *io)
{
    (*(unsigned *)io->ctx)++;
}

static void a_sync_covers_only_what_completed_before_it_was_submitted(void **state)
{
    (void)state;
    unsigned lost = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 8192);
        uint8_t bytes[4096];
        unsigned done = 0;
        t_write(file, 1, 4096, 0);
        memset(bytes, 2, sizeof(bytes));
        struct br_io write = {.op = BR_IO_WRITE,
                              .file = file,
                              .buf = bytes,
                              .len_bytes = 4096,
                              .offset_bytes = 4096,
                              .done = t_done,
                              .ctx = &done};
        struct br_io sync = {.op = BR_IO_SYNC, .file = file, .done = t_done, .ctx = &done};
        br_ring_submit(ring, &write);
        br_ring_submit(ring, &sync);
        while (done < 2) {
            br_ring_wait(ring, UINT64_MAX);
        }
        br_sim_read_durable(sim, "f", bytes, 4096, 4096);
        assert_true(br_is_zero(bytes, 4096));
        t_crash_and_close(sim, ring, file);
        assert_true(t_sectors(sim, "f", 1, 4096) == 8);
        lost += t_sectors(sim, "f", 2, 8192) < 8;
        br_sim_free(sim);
    }
    assert_true(lost > SEEDS / 8);
}

static void an_unsynced_size_is_kept_or_rolled_back(void **state)
{
    (void)state;
    unsigned sizes[3] = {0};

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 4096);
        t_write(file, 1, 4096, 4096);
        T_OK(br_file_truncate(file, 6000, NULL));
        t_crash_and_close(sim, ring, file);
        uint64_t size = br_sim_size(sim, "f");
        assert_true(size == 4096 || size == 8192 || size == 6000);
        sizes[size == 4096 ? 0 : size == 8192 ? 1 : 2]++;
        // Past the end there is nothing that growing could bring back.
        uint8_t past[4096];
        br_sim_read(sim, "f", past, sizeof(past), size);
        assert_true(br_is_zero(past, sizeof(past)));
        br_sim_free(sim);
    }
    assert_true(sizes[0] && sizes[1] && sizes[2]);
}

static void after_a_failed_sync_a_later_one_does_not_make_up_for_it(void **state)
{
    (void)state;
    unsigned lost = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 4096);
        struct br_err err = {0};
        t_write(file, 1, 4096, 0);
        br_sim_fail_at(sim, 1, EIO);
        assert_int_equal(br_file_sync(file, &err), -BR_E_IO);
        assert_int_equal(err.os_errno, EIO);
        assert_int_equal(t_sectors(sim, "f", 1, 4096), 8); // reads go on seeing it
        T_OK(br_file_sync(file, NULL));
        t_crash_and_close(sim, ring, file);
        lost += t_sectors(sim, "f", 1, 4096) == 0;
        br_sim_free(sim);
    }
    assert_true(lost > SEEDS / 8 && lost < SEEDS);
}

static void an_operation_in_flight_happened_or_not(void **state)
{
    (void)state;
    unsigned seen[3] = {0};

    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 8192);
        uint8_t bytes[8192];
        unsigned done = 0;
        memset(bytes, 1, sizeof(bytes));
        struct br_io write = {
            .op = BR_IO_WRITE, .file = file, .buf = bytes, .len_bytes = 8192, .done = t_done, .ctx = &done};
        br_ring_submit(ring, &write);
        br_sim_kill(sim); // the disk goes on, so what is seen is what happened
        assert_int_equal(br_ring_wait(ring, UINT64_MAX), 1);
        assert_int_equal(write.result, -BR_E_IO);
        br_file_close(file);
        br_ring_close(ring);
        br_sim_crash_resolve(sim);
        unsigned sectors = t_sectors(sim, "f", 1, 8192);
        seen[sectors == 0 ? 0 : sectors == 16 ? 2 : 1]++;
        br_sim_free(sim);
    }
    assert_true(seen[0] && seen[1] && seen[2]);
}

static void a_kill_keeps_what_completed_and_frees_locks(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_dir *dir = t_dir(ring, "d");
        struct br_file *file = NULL;
        T_OK(br_dir_lock(dir, "lock", NULL));
        T_OK(br_dir_open(dir, "f", BR_OPEN_CREATE, &file, NULL));
        t_write(file, 1, 4096, 0);
        br_sim_kill(sim);
        assert_true(br_sim_crashed(sim));
        br_file_close(file);
        br_dir_close(dir);
        br_ring_close(ring);
        br_sim_crash_resolve(sim);
        assert_false(br_sim_crashed(sim));
        assert_int_equal(t_sectors(sim, "d/f", 1, 4096), 8);
        ring = t_ring(sim);
        dir = t_dir(ring, "d");
        T_OK(br_dir_lock(dir, "lock", NULL));
        br_dir_close(dir);
        br_ring_close(ring);
        br_sim_free(sim);
    }
}

// Directories -----------------------------------------------------------------------------------------------------------------------------

static void an_entry_is_durable_only_after_a_sync_of_its_directory(void **state)
{
    (void)state;
    unsigned lost = 0;
    unsigned kept = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_dir *dir = t_dir(ring, "d");
        struct br_file *file = NULL;
        T_OK(br_dir_open(dir, "synced", BR_OPEN_CREATE, &file, NULL));
        br_file_close(file);
        T_OK(br_dir_sync(dir, NULL));
        T_OK(br_dir_open(dir, "f", BR_OPEN_CREATE, &file, NULL));
        t_write(file, 1, 4096, 0);
        T_OK(br_file_sync(file, NULL));
        br_dir_close(dir);
        t_crash_and_close(sim, ring, file);
        assert_true(br_sim_exists(sim, "d/synced"));
        lost += !br_sim_exists(sim, "d/f");
        kept += br_sim_exists(sim, "d/f") && t_sectors(sim, "d/f", 1, 4096) == 8;
        br_sim_free(sim);
    }
    assert_int_equal(lost + kept, SEEDS);
    assert_true(lost > SEEDS / 8 && kept > SEEDS / 8);
}

static void a_rename_leaves_the_old_or_the_new_file(void **state)
{
    (void)state;
    unsigned old = 0;
    unsigned new = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_dir *dir = t_dir(ring, "d");
        struct br_file *file = NULL;
        br_file_close(t_file(ring, "d/old", 512));
        br_sim_poke(sim, "d/old", "old", 3, 0);
        T_OK(br_dir_open(dir, "new", BR_OPEN_CREATE, &file, NULL));
        T_OK(br_file_write(file, "new", 3, 0, NULL));
        T_OK(br_file_sync(file, NULL));
        T_OK(br_dir_rename(dir, "new", "old", NULL));
        br_sim_crash(sim);
        br_sim_crash_resolve(sim); // the handles of before outlive it, and fail
        assert_int_equal(br_dir_exists(dir, "old", NULL), -BR_E_IO);
        assert_int_equal(br_file_sync(file, NULL), -BR_E_IO);
        assert_true(br_sim_exists(sim, "d/old"));
        char got[3];
        br_sim_read(sim, "d/old", got, 3, 0);
        old += !memcmp(got, "old", 3);
        new += !memcmp(got, "new", 3);
        assert_int_equal(old + new, seed + 1);
        br_dir_close(dir);
        br_file_close(file);
        br_ring_close(ring);
        br_sim_free(sim);
    }
    assert_true(old > SEEDS / 8 && new > SEEDS / 8);
}

static void a_removal_comes_undone_until_its_directory_is_synced(void **state)
{
    (void)state;
    unsigned back = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct br_sim *sim = t_sim(seed);
        struct br_ring *ring = t_ring(sim);
        struct br_dir *dir = t_dir(ring, "d");
        br_file_close(t_file(ring, "d/a", 512));
        br_file_close(t_file(ring, "d/b", 512));
        br_sim_poke(sim, "d/b", "b", 1, 0);
        T_OK(br_dir_unlink(dir, "a", NULL));
        T_OK(br_dir_sync(dir, NULL));
        T_OK(br_dir_unlink(dir, "b", NULL));
        br_sim_crash(sim);
        br_dir_close(dir);
        br_ring_close(ring);
        br_sim_crash_resolve(sim);
        assert_false(br_sim_exists(sim, "d/a"));
        if (br_sim_exists(sim, "d/b")) {
            char got;
            br_sim_read(sim, "d/b", &got, 1, 0);
            assert_int_equal(got, 'b');
            back++;
        }
        br_sim_free(sim);
    }
    assert_true(back > SEEDS / 8 && back < SEEDS);
}

// Crash points ----------------------------------------------------------------------------------------------------------------------------

// A small program of 7 changes, 3 of them syncs. Returns the first failure.
static int t_program(struct br_ring *ring, struct br_err *err)
{
    struct br_dir *dir = NULL;
    struct br_file *file = NULL;

    int rc = br_sim_dir(ring, "d", &dir, err);
    rc = rc ? rc : br_dir_open(dir, "new", BR_OPEN_CREATE, &file, err);
    rc = rc ? rc : br_file_write(file, "x", 1, 0, err);
    rc = rc ? rc : br_file_sync(file, err);
    rc = rc ? rc : br_dir_rename(dir, "new", "f", err);
    rc = rc ? rc : br_dir_sync(dir, err);
    rc = rc ? rc : br_file_zero(file, 0, 1, err);
    rc = rc ? rc : br_file_sync(file, err);
    br_file_close(file);
    br_dir_close(dir);
    return rc;
}

static void t_sweep(void (*plan)(struct br_sim *, uint64_t), unsigned points)
{
    struct br_sim *base = t_sim(1);

    for (unsigned n = 1; n <= points + 1; n++) {
        struct br_sim *sim = br_sim_fork(base, n);
        struct br_ring *ring = t_ring(sim);
        struct br_err err = {0};
        plan(sim, n);
        int rc = t_program(ring, &err);
        assert_int_equal(br_sim_crashed(sim), n <= points);
        if (n <= points) {
            assert_int_equal(rc, -BR_E_IO);
            assert_int_equal(err.code, BR_E_IO);
            assert_non_null(strstr(err.text, "simulated crash"));
            assert_int_equal(t_program(ring, &err), -BR_E_IO);
        } else {
            assert_int_equal(rc, 0);
            plan(sim, 0);
        }
        br_ring_close(ring);
        br_sim_crash_resolve(sim);
        ring = t_ring(sim);
        T_OK(t_program(ring, &err)); // the plan is spent, or taken back
        br_ring_close(ring);
        br_sim_free(sim);
    }
    br_sim_free(base);
}

static void a_crash_comes_at_the_change_it_was_planned_for(void **state)
{
    (void)state;
    t_sweep(br_sim_crash_at_change, 7);
    t_sweep(br_sim_kill_at_change, 7);
}

static void a_crash_comes_at_the_sync_it_was_planned_for(void **state)
{
    (void)state;
    t_sweep(br_sim_crash_at_sync, 3);
}

static void a_crash_also_comes_at_a_change_that_would_have_failed(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 16; seed++) {
        for (unsigned n = 1; n <= 3; n++) {
            struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = seed, .space_bytes = 4096});
            struct br_ring *ring = t_ring(sim);
            struct br_dir *dir = t_dir(ring, "d");
            struct br_file *file = t_file(ring, "f", 0);
            br_sim_crash_at_change(sim, n);
            assert_true(br_dir_rename(dir, "missing", "x", NULL) < 0);
            assert_true(br_file_allocate(file, 0, 8192, NULL) < 0);
            assert_true(br_file_write(file, (uint8_t[8192]){0}, 8192, 0, NULL) < 0);
            assert_true(br_sim_crashed(sim));
            br_dir_close(dir);
            br_file_close(file);
            br_ring_close(ring);
            br_sim_crash_resolve(sim);
            br_sim_free(sim);
        }
    }
}

static void changes_syncs_and_operations_are_counted(void **state)
{
    (void)state;
    struct br_sim *sim = t_sim(1);
    struct br_ring *ring = t_ring(sim);
    struct br_file *file;
    char byte;

    T_OK(t_program(ring, NULL));
    assert_int_equal(br_sim_changes(sim), 7);
    assert_int_equal(br_sim_syncs(sim), 3);
    assert_int_equal(br_sim_ios(sim), 7);
    file = t_file(ring, "d/f", 0);
    T_OK(br_file_read(file, &byte, 1, 0, NULL));
    assert_int_equal(br_sim_changes(sim), 7);
    assert_int_equal(br_sim_ios(sim), 8);
    br_file_close(file);
    br_ring_close(ring);
    br_sim_free(sim);
}

static void one_seed_gives_one_run(void **state)
{
    (void)state;
    struct br_buf traces[3] = {0};

    for (unsigned i = 0; i < 3; i++) {
        struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = i / 2, .short_ppm = 500000});
        struct br_ring *ring = t_ring(sim);
        struct br_file *file = t_file(ring, "f", 0);
        struct br_io ios[16];
        uint8_t bytes[16 * 4096] = {0};
        unsigned done = 0;
        for (unsigned j = 0; j < 16; j++) {
            ios[j] = (struct br_io){.op = BR_IO_WRITE,
                                    .file = file,
                                    .buf = bytes,
                                    .len_bytes = 4096,
                                    .offset_bytes = j * 4096,
                                    .done = t_done,
                                    .ctx = &done};
            br_ring_submit(ring, &ios[j]);
        }
        while (done < 16) {
            br_ring_wait(ring, UINT64_MAX);
        }
        t_crash_and_close(sim, ring, file);
        br_sim_trace(sim, &traces[i]);
        assert_false(br_buf_failed(&traces[i]));
        br_sim_free(sim);
    }
    assert_string_equal((char *)traces[0].data, (char *)traces[1].data);
    assert_string_not_equal((char *)traces[0].data, (char *)traces[2].data);
    for (unsigned i = 0; i < 3; i++) {
        br_buf_free(&traces[i]);
    }
}

// Faults ----------------------------------------------------------------------------------------------------------------------------------

static void the_planned_operation_fails_and_no_other(void **state)
{
    (void)state;
    static const struct {
        int os_errno;
        int code;
    } cases[] = {{EIO, BR_E_IO}, {ENOSPC, BR_E_NO_SPACE}};

    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        for (unsigned n = 1; n <= 7; n++) {
            struct br_sim *sim = t_sim(n);
            struct br_ring *ring = t_ring(sim);
            struct br_err err = {0};
            br_sim_fail_at(sim, n, cases[i].os_errno);
            assert_int_equal(t_program(ring, &err), -cases[i].code);
            assert_int_equal(err.code, cases[i].code);
            assert_int_equal(err.os_errno, cases[i].os_errno);
            T_OK(t_program(ring, &err));
            br_sim_fail_at(sim, 1, EIO);
            br_sim_fail_at(sim, 0, 0);
            T_OK(t_program(ring, &err));
            br_ring_close(ring);
            br_sim_free(sim);
        }
    }
}

static void a_full_world_says_so_and_goes_on_after_room_is_made(void **state)
{
    (void)state;
    struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = 1, .space_bytes = 64 * 1024});
    struct br_ring *ring = t_ring(sim);
    struct br_dir *dir = t_dir(ring, "d");
    struct br_file *file = t_file(ring, "d/f", 0);
    struct br_file *reserved = t_file(ring, "d/reserved", 0);
    uint8_t bytes[65536] = {1};
    struct br_err err = {0};
    uint64_t left;

    t_write(file, 1, 32768, 0);
    assert_int_equal(br_sim_used_bytes(sim), 32768);
    T_OK(br_file_allocate(reserved, 0, 16384, &err));
    T_OK(br_dir_space(dir, &left, &err));
    assert_int_equal(left, 16384);
    assert_int_equal(br_file_allocate(reserved, 0, 65536, &err), -BR_E_NO_SPACE);
    assert_int_equal(br_file_write(file, bytes, 32768, 32768, &err), -BR_E_NO_SPACE);
    t_write(file, 1, 16384, 32768);
    assert_int_equal(br_file_write(file, bytes, 1, 49152, &err), -BR_E_NO_SPACE);
    T_OK(br_file_write(reserved, bytes, 16384, 0, &err)); // what was reserved is there
    T_OK(br_file_zero(file, 0, 4096, &err));
    T_OK(br_file_write(file, bytes, 1, 49152, &err));
    br_file_close(file);
    T_OK(br_dir_unlink(dir, "f", &err));
    assert_int_equal(br_sim_used_bytes(sim), 16384);
    br_sim_space(sim, 0);
    T_OK(br_file_write(reserved, bytes, 65536, 0, &err));
    br_file_close(reserved);
    br_dir_close(dir);
    br_ring_close(ring);
    br_sim_free(sim);
}

static void unreadable_ranges_fail_to_read_until_healed(void **state)
{
    (void)state;
    struct br_sim *sim = t_sim(1);
    struct br_ring *ring = t_ring(sim);
    struct br_file *file = t_file(ring, "f", 65536);
    uint8_t bytes[65536];
    struct br_err err = {0};

    br_sim_unreadable(sim, "f", 8192, 512);
    assert_int_equal(br_file_read(file, bytes, 65536, 0, &err), -BR_E_IO);
    T_OK(br_file_read(file, bytes, 8192, 0, &err));
    T_OK(br_file_read(file, bytes, 4096, 8704, &err));
    assert_int_equal(br_file_read(file, bytes, 1, 8703, &err), -BR_E_IO);
    br_sim_readable(sim, "f");
    T_OK(br_file_read(file, bytes, 65536, 0, &err));
    br_file_close(file);
    br_ring_close(ring);
    br_sim_free(sim);
}

static void rot_and_misdirection_change_bytes_and_say_nothing(void **state)
{
    (void)state;
    struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = 1, .rot_ppm = 1000000});
    struct br_ring *ring = t_ring(sim);
    struct br_file *file = t_file(ring, "f", 65536);
    uint8_t bytes[65536];
    unsigned bits = 0;

    t_write(file, 0xff, 4096, 0);
    br_sim_read(sim, "f", bytes, 4096, 0);
    for (size_t i = 0; i < 4096; i++) {
        bits += (unsigned)__builtin_popcount(bytes[i]);
    }
    assert_int_equal(bits, 4096 * 8 - 1);
    br_sim_set_options(sim, &(struct br_sim_options){.misdirect_ppm = 1000000});
    unsigned elsewhere = 0;
    for (unsigned i = 0; i < 10; i++) {
        br_sim_poke(sim, "f", memset(bytes, 0, sizeof(bytes)), sizeof(bytes), 0);
        t_write(file, 1, 512, 0);
        assert_int_equal(t_sectors(sim, "f", 1, 65536), 1);
        elsewhere += t_sectors(sim, "f", 1, 512) == 0;
    }
    assert_true(elsewhere >= 8);
    br_file_close(file);
    br_ring_close(ring);
    br_sim_free(sim);
}

static void random_errors_strike_what_they_are_meant_for(void **state)
{
    (void)state;
    struct br_sim *sim = t_sim(1);
    struct br_ring *ring = t_ring(sim);
    struct br_file *file = t_file(ring, "f", 4096);
    uint8_t byte = 0;

    br_sim_set_options(sim, &(struct br_sim_options){.read_error_ppm = 1000000});
    T_OK(br_file_write(file, &byte, 1, 0, NULL));
    T_OK(br_file_sync(file, NULL));
    assert_int_equal(br_file_read(file, &byte, 1, 0, NULL), -BR_E_IO);
    br_sim_set_options(sim, &(struct br_sim_options){.write_error_ppm = 1000000});
    T_OK(br_file_read(file, &byte, 1, 0, NULL));
    T_OK(br_file_sync(file, NULL));
    assert_int_equal(br_file_write(file, &byte, 1, 0, NULL), -BR_E_IO);
    assert_int_equal(br_file_zero(file, 0, 1, NULL), -BR_E_IO);
    br_sim_set_options(sim, &(struct br_sim_options){.sync_error_ppm = 1000000});
    T_OK(br_file_write(file, &byte, 1, 0, NULL));
    assert_int_equal(br_file_sync(file, NULL), -BR_E_IO);
    br_file_close(file);
    br_ring_close(ring);
    br_sim_free(sim);
}

static void slow_operations_take_a_thousand_times_longer(void **state)
{
    (void)state;
    struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = 1, .slow_ppm = 1000000});
    struct br_ring *ring = t_ring(sim);
    struct br_file *file = t_file(ring, "f", 4096);
    uint64_t before = br_ring_now_ns(ring);

    T_OK(br_file_sync(file, NULL));
    uint64_t slow = br_ring_now_ns(ring) - before;
    br_sim_set_options(sim, &(struct br_sim_options){0});
    before = br_ring_now_ns(ring);
    T_OK(br_file_sync(file, NULL));
    assert_true(slow > 100 * (br_ring_now_ns(ring) - before));
    br_file_close(file);
    br_ring_close(ring);
    br_sim_free(sim);
}

// The rest --------------------------------------------------------------------------------------------------------------------------------

static void a_device_has_its_size_and_no_holes(void **state)
{
    (void)state;
    struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = 1, .space_bytes = 4096});
    struct br_ring *ring = t_ring(sim);
    struct br_file *device = NULL;
    struct br_file *as_file;
    struct br_dir *root = t_dir(ring, "");
    struct br_file_info info;
    struct br_err err = {0};
    uint64_t start;
    uint64_t end;

    T_OK(br_sim_device(ring, "disk", BR_MIB, 4096, &device, &err));
    T_OK(br_file_stat(device, &info, &err));
    assert_true(info.is_block && !info.can_hole && info.size_bytes == BR_MIB && info.sector_bytes == 4096);
    assert_true(info.inode == 0 && info.mtime_ns == 0);
    T_OK(br_file_next_data(device, 5, &start, &end, &err));
    assert_true(start == 5 && end == BR_MIB);
    t_write(device, 1, 65536, 0); // takes no space of the file system
    assert_int_equal(br_file_write(device, "x", 1, BR_MIB, &err), -BR_E_NO_SPACE);
    assert_int_equal(br_file_truncate(device, 0, &err), -BR_E_UNSUPPORTED);
    T_OK(br_file_allocate(device, 0, BR_MIB, &err));
    assert_int_equal(br_dir_open(root, "disk", BR_OPEN_WRITE, &as_file, &err), -BR_E_REFUSED);
    br_file_close(device);
    br_dir_close(root);
    br_ring_close(ring);
    br_sim_free(sim);
}

static void a_fork_goes_its_own_way(void **state)
{
    (void)state;
    struct br_sim *sim = t_sim(1);
    struct br_ring *ring = t_ring(sim);
    struct br_file *file = t_file(ring, "d/f", 4096);

    t_write(file, 1, 4096, 0);
    struct br_sim *copy = br_sim_fork(sim, 9);
    t_write(file, 2, 4096, 0);
    assert_int_equal(t_sectors(copy, "d/f", 1, 4096), 8);
    assert_int_equal(t_sectors(sim, "d/f", 2, 4096), 8);
    struct br_ring *other = t_ring(copy);
    struct br_file *copied = t_file(other, "d/f", 0);
    t_write(copied, 3, 512, 0);
    assert_int_equal(t_sectors(sim, "d/f", 2, 4096), 8);
    br_file_close(file);
    br_ring_close(ring);
    br_sim_free(sim);
    assert_int_equal(t_sectors(copy, "d/f", 3, 512), 1);
    br_sim_settle(copy);
    t_crash_and_close(copy, other, copied); // all was durable
    assert_int_equal(t_sectors(copy, "d/f", 1, 4096), 7);
    br_sim_free(copy);
}

static void a_removed_file_lives_while_it_is_open(void **state)
{
    (void)state;
    struct br_sim *sim = t_sim(1);
    struct br_ring *ring = t_ring(sim);
    struct br_file *file = t_file(ring, "f", 0);
    struct br_dir *root = t_dir(ring, "");
    uint8_t got = 0;

    t_write(file, 1, 4096, 0);
    T_OK(br_dir_unlink(root, "f", NULL));
    T_OK(br_dir_sync(root, NULL));
    struct br_sim *copy = br_sim_fork(sim, 2);
    assert_int_equal(br_sim_used_bytes(copy), 0);
    br_sim_free(copy);
    T_OK(br_file_read(file, &got, 1, 4095, NULL));
    assert_int_equal(got, 1);
    assert_int_equal(br_sim_used_bytes(sim), 4096);
    br_file_close(file);
    assert_int_equal(br_sim_used_bytes(sim), 0);
    br_dir_close(root);
    br_ring_close(ring);
    br_sim_free(sim);
}

static void names_clocks_and_seeds_are_as_set(void **state)
{
    (void)state;
    struct br_sim *sim = t_sim(1);
    struct br_ring *ring = t_ring(sim);
    struct br_buf names = {0};

    br_file_close(t_file(ring, "d/b", 1));
    br_file_close(t_file(ring, "d/a", 1));
    br_file_close(t_file(ring, "c", 1));
    br_sim_list(sim, "d", &names);
    assert_string_equal((char *)names.data, "a\nb\n");
    br_buf_free(&names);
    br_sim_set_unix_ns(sim, 5);
    assert_int_equal(br_ring_unix_ns(ring), 5);
    uint64_t now = br_ring_now_ns(ring);
    br_sim_advance(sim, 1000);
    assert_int_equal(br_ring_now_ns(ring), now + 1000);
    assert_int_equal(br_ring_unix_ns(ring), 1005);
    br_ring_close(ring);
    br_sim_free(sim);
    assert_int_equal(setenv("T_SIM_SEED", "0x10", 1), 0);
    assert_int_equal(br_sim_seed_from_env("T_SIM_SEED", 3), 16);
    assert_int_equal(unsetenv("T_SIM_SEED"), 0);
    assert_int_equal(br_sim_seed_from_env("T_SIM_SEED", 3), 3);
}

struct ordered_job {
    struct br_job job;
    char letter;
    char *order;
};

static void t_job_run(struct br_job *job)
{
    const struct ordered_job *ordered = job->ctx;

    ordered->order[strlen(ordered->order)] = ordered->letter;
}

static void t_job_done(struct br_job *job)
{
    (void)job;
}

static void jobs_run_in_an_order_of_the_seed(void **state)
{
    (void)state;
    char orders[3][9] = {{0}};

    for (unsigned i = 0; i < 3; i++) {
        struct br_sim *sim = t_sim(i / 2);
        struct br_ring *ring = t_ring(sim);
        struct ordered_job jobs[8];
        for (unsigned j = 0; j < 8; j++) {
            jobs[j] = (struct ordered_job){.letter = (char)('a' + j), .order = orders[i]};
            jobs[j].job = (struct br_job){.run = t_job_run, .done = t_job_done, .ctx = &jobs[j]};
            br_ring_job(ring, &jobs[j].job);
        }
        while (br_ring_in_flight(ring)) {
            br_ring_wait(ring, UINT64_MAX);
        }
        br_ring_close(ring);
        br_sim_free(sim);
        assert_int_equal(strlen(orders[i]), 8);
    }
    assert_string_equal(orders[0], orders[1]);
    assert_string_not_equal(orders[0], orders[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_survives_every_crash),
        cmocka_unit_test(what_was_not_synced_is_kept_lost_or_torn_by_sectors),
        cmocka_unit_test(a_later_write_may_survive_an_earlier_one),
        cmocka_unit_test(a_sync_covers_only_what_completed_before_it_was_submitted),
        cmocka_unit_test(an_unsynced_size_is_kept_or_rolled_back),
        cmocka_unit_test(after_a_failed_sync_a_later_one_does_not_make_up_for_it),
        cmocka_unit_test(an_operation_in_flight_happened_or_not),
        cmocka_unit_test(a_kill_keeps_what_completed_and_frees_locks),
        cmocka_unit_test(an_entry_is_durable_only_after_a_sync_of_its_directory),
        cmocka_unit_test(a_rename_leaves_the_old_or_the_new_file),
        cmocka_unit_test(a_removal_comes_undone_until_its_directory_is_synced),
        cmocka_unit_test(a_crash_comes_at_the_change_it_was_planned_for),
        cmocka_unit_test(a_crash_comes_at_the_sync_it_was_planned_for),
        cmocka_unit_test(a_crash_also_comes_at_a_change_that_would_have_failed),
        cmocka_unit_test(changes_syncs_and_operations_are_counted),
        cmocka_unit_test(one_seed_gives_one_run),
        cmocka_unit_test(the_planned_operation_fails_and_no_other),
        cmocka_unit_test(a_full_world_says_so_and_goes_on_after_room_is_made),
        cmocka_unit_test(unreadable_ranges_fail_to_read_until_healed),
        cmocka_unit_test(rot_and_misdirection_change_bytes_and_say_nothing),
        cmocka_unit_test(random_errors_strike_what_they_are_meant_for),
        cmocka_unit_test(slow_operations_take_a_thousand_times_longer),
        cmocka_unit_test(a_device_has_its_size_and_no_holes),
        cmocka_unit_test(a_fork_goes_its_own_way),
        cmocka_unit_test(a_removed_file_lives_while_it_is_open),
        cmocka_unit_test(names_clocks_and_seeds_are_as_set),
        cmocka_unit_test(jobs_run_in_an_order_of_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
