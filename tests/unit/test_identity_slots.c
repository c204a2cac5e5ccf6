// SPDX-License-Identifier: Apache-2.0
//
// Two slots, one of them always whole.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/replica/identity_slots.h"
#include "engine/ring/sim.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_tree.h"

struct world {
    struct br_sim *sim;
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_identity_slots slots;
    struct br_identity identity;
    struct br_err err;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    *state = w;
    w->sim = br_sim_new(&(struct br_sim_options){.seed = 5});
    int r = br_sim_ring(w->sim, NULL, &w->ring, &w->err);
    r = r < 0 ? r : br_sim_dir(w->ring, "d", &w->dir, &w->err);
    r = r < 0 ? r : br_identity_slots_load(w->dir, "identity", true, &w->slots, &w->identity, &w->err);
    return r;
}

static int teardown(void **state)
{
    struct world *w = *state;
    br_identity_slots_close(&w->slots);
    br_dir_close(w->dir);
    br_ring_close(w->ring);
    br_sim_free(w->sim);
    free(w);
    return 0;
}

static struct br_identity record(uint64_t counter)
{
    struct br_identity identity = {
        .state = BR_STATE_INCOMPLETE, .tree_file = 1, .tree_bytes = 512, .sector_bytes = 512};
    identity.generation.counter = counter;
    identity.volume.bytes[0] = identity.replica.bytes[0] = identity.generation.id.bytes[0] = 7;
    identity.tree.geometry = t_geometry(65536);
    br_tree_empty(&identity.tree.geometry, &br_hash_unknown, &identity.tree);
    return identity;
}

static void store(struct world *w, uint64_t counter)
{
    struct br_identity identity = record(counter);
    assert_int_equal(br_identity_slots_store(&w->slots, &identity, &w->err), 0);
}

static int load(struct world *w, bool writable)
{
    br_identity_slots_close(&w->slots);
    return br_identity_slots_load(w->dir, "identity", writable, &w->slots, &w->identity, &w->err);
}

static void poke(struct world *w, unsigned slot)
{
    br_sim_poke(w->sim, "d/identity", "damage", 6, slot * BR_IDENTITY_SLOT_BYTES + 77);
}

static void nothing_there_is_the_state_none(void **state)
{
    struct world *w = *state;
    assert_int_equal(w->identity.state, BR_STATE_NONE);
    assert_false(br_sim_exists(w->sim, "d/identity"));
}

static void the_newest_of_many_records_is_loaded(void **state)
{
    struct world *w = *state;
    for (uint64_t i = 1; i < 8; i++) {
        store(w, i);
        assert_int_equal(load(w, i % 2), 0);
        assert_int_equal(w->identity.generation.counter, i);
        assert_int_equal(load(w, true), 0);
    }
    assert_int_equal(w->identity.sequence, 7);
}

static void a_damaged_slot_gives_the_record_before_and_is_written_next(void **state)
{
    struct world *w = *state;
    store(w, 1);
    store(w, 2); // in slot 1
    poke(w, 1);
    assert_int_equal(load(w, true), 0);
    assert_int_equal(w->identity.generation.counter, 1);
    store(w, 3);
    poke(w, 0); // the older one: the new record must not lie there
    assert_int_equal(load(w, true), 0);
    assert_int_equal(w->identity.generation.counter, 3);
}

static void damage_to_both_or_to_the_only_one_is_never_none(void **state)
{
    struct world *w = *state;
    store(w, 1);
    struct br_sim *alone = br_sim_fork(w->sim, 1);
    store(w, 2);
    poke(w, 0);
    poke(w, 1);
    assert_int_equal(load(w, true), -BR_E_CORRUPT);
    br_sim_poke(alone, "d/identity", "damage", 6, 77);
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_identity_slots slots;
    assert_int_equal(br_sim_ring(alone, NULL, &ring, &w->err), 0);
    assert_int_equal(br_sim_dir(ring, "d", &dir, &w->err), 0);
    assert_int_equal(br_identity_slots_load(dir, "identity", true, &slots, &w->identity, &w->err), -BR_E_CORRUPT);
    br_dir_close(dir);
    br_ring_close(ring);
    br_sim_free(alone);
}

static void a_damaged_file_can_be_made_anew(void **state)
{
    struct world *w = *state;
    store(w, 1);
    store(w, 2);
    poke(w, 0);
    poke(w, 1);
    assert_int_equal(load(w, true), -BR_E_CORRUPT);
    br_identity_slots_open_damaged(w->dir, "identity", &w->slots);
    store(w, 9);
    assert_int_equal(load(w, true), 0);
    assert_int_equal(w->identity.generation.counter, 9);
}

// After a crash at any change of any store, the record before or the one that was being stored is there.
static void a_crash_in_a_store_leaves_one_of_the_two(void **state)
{
    (void)state;
    bool crashed = true;
    for (uint64_t n = 1; crashed; n++) {
        struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = t_seed() + n});
        struct br_err err;
        struct br_ring *ring;
        struct br_dir *dir;
        struct br_identity_slots slots;
        struct br_identity identity;
        uint64_t stored = 0;
        br_sim_crash_at_change(sim, n);
        assert_int_equal(br_sim_ring(sim, NULL, &ring, &err), 0);
        assert_int_equal(br_sim_dir(ring, "d", &dir, &err), 0);
        assert_int_equal(br_identity_slots_load(dir, "identity", true, &slots, &identity, &err), 0);
        for (uint64_t i = 1; i < 6 && stored == i - 1; i++) {
            identity = record(i);
            stored += br_identity_slots_store(&slots, &identity, &err) == 0;
        }
        br_identity_slots_close(&slots);
        br_dir_close(dir);
        br_ring_close(ring);
        crashed = br_sim_crashed(sim);
        br_sim_crash_at_change(sim, 0);
        br_sim_crash_resolve(sim);
        assert_int_equal(br_sim_ring(sim, NULL, &ring, &err), 0);
        assert_int_equal(br_sim_dir(ring, "d", &dir, &err), 0);
        assert_int_equal(br_identity_slots_load(dir, "identity", true, &slots, &identity, &err), 0);
        assert_true(identity.generation.counter == stored || identity.generation.counter == stored + 1);
        br_identity_slots_close(&slots);
        br_dir_close(dir);
        br_ring_close(ring);
        br_sim_free(sim);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_there_is_the_state_none),
        TEST(the_newest_of_many_records_is_loaded),
        TEST(a_damaged_slot_gives_the_record_before_and_is_written_next),
        TEST(damage_to_both_or_to_the_only_one_is_never_none),
        TEST(a_damaged_file_can_be_made_anew),
        cmocka_unit_test(a_crash_in_a_store_leaves_one_of_the_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
