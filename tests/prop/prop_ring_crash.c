// SPDX-License-Identifier: Apache-2.0
//
// Law of the simulated disk: after a power cut every sector holds its durable content or one that an unsynced write gave it, and what
// was synced is the least that is there. The model remembers every content that each sector had since it was last certainly durable.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "engine/ring/sim.h"
#include "tests/lib/t_env.h"

#define SECTORS     64
#define SECTOR      512
#define FILE_BYTES  (SECTORS * SECTOR)
#define LANES       4
#define LANE_BYTES  (FILE_BYTES / LANES)
#define STEPS       30
#define T_OK(value) assert_int_equal(value, 0)

struct model {
    uint8_t now[FILE_BYTES];
    uint8_t (*versions)[STEPS + 2][SECTOR]; // of each sector; [0] is durable
    unsigned count[SECTORS];
};

struct lane {
    struct br_io io;
    uint8_t bytes[LANE_BYTES];
};

static void lane_done(struct br_io *io)
{
    (*(unsigned *)io->ctx)++;
}

// The sectors that @io touches get another content that they may have after a crash.
static void model_apply(struct model *model, const struct br_io *io)
{
    uint64_t end = io->offset_bytes + io->len_bytes;

    if (io->op == BR_IO_WRITE) {
        memcpy(model->now + io->offset_bytes, io->buf, io->len_bytes);
    } else {
        memset(model->now + io->offset_bytes, 0, io->len_bytes);
    }
    for (uint64_t sector = io->offset_bytes / SECTOR; sector * SECTOR < end; sector++) {
        memcpy(model->versions[sector][model->count[sector]++], model->now + sector * SECTOR, SECTOR);
    }
}

static void model_synced(struct model *model)
{
    for (unsigned sector = 0; sector < SECTORS; sector++) {
        memcpy(model->versions[sector][0], model->now + sector * SECTOR, SECTOR);
        model->count[sector] = 1;
    }
}

static void batch(struct br_ring *ring, struct br_file *file, struct model *model, struct lane *lanes, struct t_rand *r)
{
    unsigned done = 0;

    for (unsigned i = 0; i < LANES; i++) {
        uint64_t start = t_rand_below(r, LANE_BYTES);
        uint64_t len = 1 + t_rand_below(r, LANE_BYTES - start);
        lanes[i].io = (struct br_io){.op = t_rand_below(r, 4) ? BR_IO_WRITE : BR_IO_ZERO,
                                     .file = file,
                                     .buf = lanes[i].bytes,
                                     .len_bytes = len,
                                     .zero_bytes = len,
                                     .offset_bytes = i * LANE_BYTES + start,
                                     .done = lane_done,
                                     .ctx = &done};
        t_rand_fill(r, lanes[i].bytes, len);
        model_apply(model, &lanes[i].io); // whether it happens or not, it may have
        br_ring_submit(ring, &lanes[i].io);
    }
    while (done < LANES) {
        br_ring_wait(ring, UINT64_MAX);
    }
}

// Counts the sectors that are not as they were last written; fails when one holds what it never held.
static unsigned check(const struct br_sim *sim, const struct model *model, const char *path)
{
    uint8_t got[FILE_BYTES];
    unsigned old = 0;

    br_sim_read(sim, path, got, FILE_BYTES, 0);
    for (unsigned sector = 0; sector < SECTORS; sector++) {
        bool is_known = false;
        for (unsigned i = 0; i < model->count[sector] && !is_known; i++) {
            is_known = !memcmp(got + sector * SECTOR, model->versions[sector][i], SECTOR);
        }
        if (!is_known) {
            print_error("sector %u holds what was never written there\n", sector);
        }
        assert_true(is_known);
        old += memcmp(got + sector * SECTOR, model->now + sector * SECTOR, SECTOR) != 0;
    }
    return old;
}

static unsigned program(struct br_sim *sim, struct t_rand *r, bool is_device)
{
    struct model *model = calloc(1, sizeof(*model));
    struct lane *lanes = calloc(LANES, sizeof(*lanes));
    struct br_ring *ring = NULL;
    struct br_file *file = NULL;

    model->versions = calloc(SECTORS, sizeof(*model->versions));
    model_synced(model);
    T_OK(br_sim_ring(sim, NULL, &ring, NULL));
    if (is_device) {
        T_OK(br_sim_device(ring, "f", FILE_BYTES, 512, &file, NULL));
    } else {
        T_OK(br_sim_file(ring, "f", FILE_BYTES, &file, NULL));
    }
    br_sim_crash_at_change(sim, 1 + t_rand_below(r, STEPS * LANES));
    for (unsigned step = 0; step < STEPS && !br_sim_crashed(sim); step++) {
        if (t_rand_below(r, 4)) {
            batch(ring, file, model, lanes, r);
        } else if (!br_file_sync(file, NULL)) {
            model_synced(model);
        }
    }
    br_sim_crash(sim);
    br_file_close(file);
    br_ring_close(ring);
    br_sim_crash_resolve(sim);
    assert_int_equal(br_sim_size(sim, "f"), FILE_BYTES);
    unsigned old = check(sim, model, "f");
    free(model->versions);
    free(model);
    free(lanes);
    return old;
}

static void after_a_crash_each_sector_is_durable_or_one_of_its_unsynced_contents(void **state)
{
    (void)state;
    unsigned lossy = 0;
    uint64_t rounds = t_scaled(1000);

    for (uint64_t round = 0; round < rounds; round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round);
        struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&r), .short_ppm = 100000});
        lossy += program(sim, &r, round % 2) != 0;
        br_sim_free(sim);
    }
    assert_true(lossy > rounds / 2); // a disk that never loses anything proves nothing
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_crash_each_sector_is_durable_or_one_of_its_unsynced_contents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
