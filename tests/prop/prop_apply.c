// SPDX-License-Identifier: Apache-2.0
//
// Any sequence of versions, shipped as deltas of any shape, gives the model's bytes and the tree that one would build from scratch.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/lib/t_world.h"

static uint64_t a_size(struct t_rand *rand)
{
    switch (t_rand_below(rand, 4)) {
    case 0: return 512 * (1 + t_rand_below(rand, 128));
    case 1: return BR_BLOCK_BYTES * (1 + t_rand_below(rand, 40));
    default: return 512 * (1 + t_rand_below(rand, 5000));
    }
}

static bool has_gaps(const struct t_volume *volume)
{
    for (uint64_t block = 0; block * BR_BLOCK_BYTES < volume->size_bytes; block++) {
        struct br_hash leaf = t_volume_leaf(volume, block);
        if (br_hash_equal(&leaf, &br_hash_unreadable)) {
            return true;
        }
    }
    return false;
}

static void one_history(uint64_t seed, uint64_t round)
{
    struct t_rand rand = t_rand_seeded(seed, round);
    struct t_world w = {.seed = seed, .device = t_rand_below(&rand, 3) == 0};
    struct t_volume now, next;
    struct br_replica_result result;
    bool unreadable = t_rand_below(&rand, 3) == 0;
    w.compact_bytes = t_rand_below(&rand, 2) ? 1024 : 0;
    w.sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&rand), .short_ppm = 20000});
    t_must(&w, t_world_open(&w), "open");
    t_volume_new(&now, a_size(&rand));
    t_volume_change(&now, &rand, 12, unreadable);
    t_volume_seal(&now, NULL, &rand);
    struct t_ship ship = {.mode = BR_MODE_FIRST,
                          .result = &now,
                          .rand = t_rand_seeded(seed ^ 1, round),
                          .target_is_zero = t_rand_below(&rand, 2),
                          .absent_keeps_facts = t_rand_below(&rand, 2),
                          .checkpoint_bytes = t_rand_below(&rand, 2) ? 200000 : 0};
    assert_int_equal(t_ship(w.replica, &ship, &result, &w.err), 0);
    t_world_expect(&w, &now);
    for (unsigned step = 0; step < 5; step++) {
        bool replace = !w.device && t_rand_below(&rand, 6) == 0;
        t_volume_next(&next, &now, t_rand_below(&rand, 3) ? now.size_bytes : a_size(&rand));
        t_volume_change(&next, &rand, (unsigned)t_rand_below(&rand, 10), unreadable);
        t_volume_seal(&next, &now, &rand);
        if (t_rand_below(&rand, 3) == 0) { // another process
            t_world_close(&w);
            t_must(&w, t_world_open(&w), "open");
        }
        ship = (struct t_ship){.mode = replace ? BR_MODE_REPLACE : BR_MODE_DELTA,
                               .parent = &now,
                               .result = &next,
                               .rand = t_rand_seeded(seed ^ 2, round * 16 + step),
                               .leaves_proven = t_rand_below(&rand, 2),
                               .recheck_bytes = t_rand_below(&rand, 1 << 20)};
        t_must(&w, t_ship(w.replica, &ship, &result, &w.err), "delta");
        assert_int_equal(result.recheck_mismatches, 0);
        t_world_expect(&w, &next);
        uint64_t bad;
        assert_int_equal(br_replica_verify(w.replica, NULL, NULL, &bad, &w.err), has_gaps(&next) ? -BR_E_GAPS : 0);
        t_volume_free(&now);
        now = next;
    }
    assert_int_equal(t_leases(), 0);
    t_volume_free(&now);
    t_world_close(&w);
    br_sim_free(w.sim);
}

static void a_sequence_of_deltas_of_any_shape_gives_the_model(void **state)
{
    (void)state;
    uint64_t seed = t_seed();
    for (uint64_t round = 0; round < t_scaled(100); round++) {
        one_history(seed, round);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_of_deltas_of_any_shape_gives_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
