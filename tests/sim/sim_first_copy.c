// SPDX-License-Identifier: Apache-2.0
// timeout: 240
//
// G2 for first copies: whatever ends one, the next process finds an identity whose facts are true: a block that the tree claims to know is
// durably there. The next run, from a source that has moved on, ships what is missing and ends at exactly its own version.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/lib/t_world.h"

struct scene {
    struct t_world w;
    struct t_volume was;    // what the target holds at the beginning
    struct t_volume source; // what is copied
    struct t_ship ship;
    bool dirty;    // the target holds something else at the beginning
    bool complete; // that is a version of its own (--force-full onto a device)
};

static uint64_t a_size(struct t_rand *rand)
{
    return 512 * (1 + t_rand_below(rand, 4000));
}

static void scene_dirty_target(struct scene *s, struct t_rand *rand)
{
    t_volume_new(&s->was, s->w.device ? T_WORLD_DEVICE_BYTES : a_size(rand));
    t_rand_fill(rand, s->was.bytes, s->was.size_bytes);
    t_volume_seal(&s->was, NULL, rand);
    struct br_ring *ring;
    struct br_file *file;
    t_must(&s->w, br_sim_ring(s->w.sim, NULL, &ring, &s->w.err), "ring");
    t_must(&s->w,
           s->w.device ? br_sim_device(ring, "vol", T_WORLD_DEVICE_BYTES, 512, &file, &s->w.err)
                       : br_sim_file(ring, "vol", s->was.size_bytes, &file, &s->w.err),
           "target");
    br_file_close(file);
    br_ring_close(ring);
    br_sim_poke(s->w.sim, "vol", s->was.bytes, s->was.size_bytes, 0);
}

static void scene_complete_target(struct scene *s, struct t_rand *rand)
{
    struct br_replica_result result;
    t_volume_new(&s->was, a_size(rand));
    t_volume_change(&s->was, rand, 10, false);
    t_volume_seal(&s->was, NULL, rand);
    t_must(&s->w, t_world_open(&s->w), "open");
    struct t_ship first = {.mode = BR_MODE_FIRST, .result = &s->was, .rand = *rand, .absent_keeps_facts = true};
    t_must(&s->w, t_ship(s->w.replica, &first, &result, &s->w.err), "first copy");
    t_world_close(&s->w);
    br_sim_settle(s->w.sim);
}

static void scene_make(struct scene *s, uint64_t seed, uint64_t round)
{
    struct t_rand rand = t_rand_seeded(seed, round);
    *s = (struct scene){.w = {.seed = seed, .device = round % 3 == 0}};
    s->dirty = t_rand_below(&rand, 2);
    s->complete = s->dirty && t_rand_below(&rand, 2);
    s->w.sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&rand)});
    if (s->complete) {
        scene_complete_target(s, &rand);
    } else if (s->dirty) {
        scene_dirty_target(s, &rand);
    }
    t_volume_new(&s->source, a_size(&rand));
    t_volume_change(&s->source, &rand, 14, round % 2);
    t_volume_seal(&s->source, NULL, &rand);
    s->ship = (struct t_ship){.mode = BR_MODE_FIRST,
                              .result = &s->source,
                              .rand = rand,
                              .absent_keeps_facts = t_rand_below(&rand, 3) > 0,
                              .checkpoint_bytes = 65536 * (1 + t_rand_below(&rand, 6))};
}

static void scene_free(struct scene *s)
{
    br_sim_free(s->w.sim);
    t_volume_free(&s->source);
    t_volume_free(&s->was);
}

// Ships with what the replica's state calls for, as a source would.
static int ship(const struct scene *s, struct t_world *w, const struct t_volume *source, uint64_t shape)
{
    struct br_replica_result result;
    struct t_ship how = s->ship;
    enum br_replica_state state = br_replica_identity(w->replica)->state;
    how.result = source;
    how.rand = t_rand_seeded(w->seed, shape);
    how.target_is_zero = state == BR_STATE_NONE && !s->dirty;
    how.discard_version = state == BR_STATE_COMPLETE;
    return t_ship(w->replica, &how, &result, &w->err);
}

// What the oracle says of a target that a run left. Returns whether `source` is there, complete.
static bool look(const struct scene *s, struct t_world *w, const struct t_volume *source)
{
    switch (br_replica_identity(w->replica)->state) {
    case BR_STATE_NONE:
        assert_false(s->complete);
        assert_true(!s->dirty || t_world_holds(w, &s->was));
        return false;
    case BR_STATE_INCOMPLETE: t_world_expect_facts(w); return false;
    case BR_STATE_COMPLETE:
        if (s->complete && t_world_is(w, &s->was)) {
            t_world_expect(w, &s->was);
            return false;
        }
        t_world_expect(w, source);
        return true;
    default: fail(); return false;
    }
}

// Runs until one ends well, most of them ended by a crash, each from a source that moved on.
static void go_on(const struct scene *s, struct t_world *w, uint64_t seed)
{
    struct t_rand rand = t_rand_seeded(seed, 9);
    struct t_volume now, next;
    t_volume_next(&now, &s->source, s->source.size_bytes);
    now.generation = s->source.generation;
    now.root = s->source.root;
    for (unsigned attempt = 0;; attempt++) {
        t_must(w, t_world_open(w), "open");
        bool there = look(s, w, &now);
        if (there) {
            t_world_close(w);
            break;
        }
        t_volume_next(&next, &now, t_rand_below(&rand, 3) ? now.size_bytes : a_size(&rand));
        t_volume_change(&next, &rand, 2, false);
        t_volume_seal(&next, NULL, &rand);
        t_volume_free(&now);
        now = next;
        uint64_t at = 1 + t_rand_below(&rand, 40);
        if (attempt < 3) {
            (attempt % 2 ? br_sim_kill_at_change : br_sim_crash_at_change)(w->sim, at);
        }
        int r = ship(s, w, &now, seed + attempt);
        t_world_close(w);
        bool crashed = br_sim_crashed(w->sim);
        br_sim_crash_at_change(w->sim, 0);
        br_sim_kill_at_change(w->sim, 0);
        br_sim_crash_resolve(w->sim);
        if (!crashed) {
            t_must(w, r, "a copy that nothing happened to");
        }
    }
    t_volume_free(&now);
}

static int run(const struct scene *s, struct t_world *w)
{
    int r = t_world_open(w);
    r = r < 0 ? r : ship(s, w, &s->source, 1);
    t_world_close(w);
    return r;
}

static void crash_everywhere(uint64_t seed, uint64_t round)
{
    struct scene s;
    bool crashed = true;
    scene_make(&s, seed, round);
    for (uint64_t n = 1; crashed; n++) {
        struct t_world w = s.w;
        w.sim = br_sim_fork(s.w.sim, seed * 1000003 + round * 1009 + n);
        (n % 4 == 3 ? br_sim_kill_at_change : br_sim_crash_at_change)(w.sim, n);
        int r = run(&s, &w);
        crashed = br_sim_crashed(w.sim);
        br_sim_crash_at_change(w.sim, 0);
        br_sim_kill_at_change(w.sim, 0);
        br_sim_crash_resolve(w.sim);
        if (!crashed) {
            t_must(&w, r, "the copy that nothing happened to");
        }
        go_on(&s, &w, seed + n);
        br_sim_free(w.sim);
    }
    scene_free(&s);
}

static void fail_everywhere(uint64_t seed, uint64_t round, int os_errno)
{
    struct scene s;
    bool done = false;
    scene_make(&s, seed, round);
    for (uint64_t n = 1; !done; n++) {
        struct t_world w = s.w;
        w.sim = br_sim_fork(s.w.sim, seed * 1000003 + round * 1009 + n);
        br_sim_fail_at(w.sim, n, os_errno);
        uint64_t before = br_sim_ios(w.sim);
        int r = run(&s, &w);
        done = br_sim_ios(w.sim) - before < n;
        br_sim_fail_at(w.sim, 0, 0);
        if (n % 2) { // and then the power
            br_sim_crash(w.sim);
            br_sim_crash_resolve(w.sim);
        }
        if (done) {
            t_must(&w, r, "the copy in which nothing failed");
        }
        go_on(&s, &w, seed + n);
        br_sim_free(w.sim);
    }
    scene_free(&s);
}

static uint64_t rounds(uint64_t normal)
{
    return br_sim_seed_from_env("BR_SIM_SEEDS", t_scaled(normal));
}

static void after_a_crash_at_any_change_of_a_first_copy_its_facts_are_true(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < rounds(9); round++) {
        crash_everywhere(t_seed(), round);
    }
}

static void after_any_failed_operation_of_a_first_copy_its_facts_are_true(void **state)
{
    (void)state;
    for (uint64_t round = 100; round < 100 + rounds(3); round++) {
        fail_everywhere(t_seed(), round, round % 2 ? EIO : ENOSPC);
    }
}

// A source of 48 blocks of data that is given up after two batches.
static void give_up(struct t_world *w, struct t_volume *source, struct t_ship *how)
{
    struct br_replica_result result;
    struct t_rand rand = t_rand_seeded(t_seed(), 200);
    w->seed = t_seed();
    w->sim = br_sim_new(&(struct br_sim_options){.seed = t_seed()});
    t_volume_new(source, 48 * BR_BLOCK_BYTES);
    t_rand_fill(&rand, source->bytes, source->size_bytes);
    t_volume_seal(source, NULL, &rand);
    *how = (struct t_ship){.mode = BR_MODE_FIRST,
                           .result = source,
                           .rand = rand,
                           .absent_keeps_facts = true,
                           .target_is_zero = true,
                           .checkpoint_bytes = 4 * BR_BLOCK_BYTES,
                           .stop_after = 2};
    t_must(w, t_world_open(w), "open");
    assert_int_equal(t_ship(w->replica, how, &result, &w->err), -BR_E_CANCELLED);
    how->stop_after = 0;
}

static void a_copy_that_is_given_up_keeps_all_that_it_was_handed(void **state)
{
    (void)state;
    struct t_world w = {0};
    struct t_volume source;
    struct t_ship how;
    struct br_replica_result result;
    give_up(&w, &source, &how);
    br_replica_abort(w.replica);
    uint64_t kept = br_replica_durable(w.replica);
    assert_true(kept > 0 && kept < source.size_bytes);
    t_world_close(&w);
    br_sim_crash(w.sim);
    br_sim_crash_resolve(w.sim);
    t_must(&w, t_world_open(&w), "open");
    t_world_expect_facts(&w);
    t_must(&w, t_ship(w.replica, &how, &result, &w.err), "the rest");
    assert_int_equal(result.bytes_durable, source.size_bytes - kept);
    t_world_expect(&w, &source);
    t_world_close(&w);
    br_sim_free(w.sim);
    t_volume_free(&source);
}

static void closing_in_the_middle_of_a_copy_gives_it_up(void **state)
{
    (void)state;
    struct t_world w = {0};
    struct t_volume source;
    struct t_ship how;
    give_up(&w, &source, &how);
    t_world_close(&w);
    t_must(&w, t_world_open(&w), "open");
    t_world_expect_facts(&w);
    assert_true(br_replica_identity(w.replica)->window_start_bytes > 0);
    t_world_close(&w);
    br_sim_free(w.sim);
    t_volume_free(&source);
}

static void a_block_that_is_still_unknown_at_the_end_fails_the_commit(void **state)
{
    (void)state;
    struct t_world w = {0};
    struct t_volume source;
    struct t_ship how;
    give_up(&w, &source, &how);
    br_replica_abort(w.replica);
    struct br_delta_end end = {.root = source.root};
    struct br_replica_result result;
    struct br_replica_begin begin = {.mode = BR_MODE_FIRST, .absent_keeps_facts = true};
    const struct br_identity *identity = br_replica_identity(w.replica);
    begin.header = (struct br_delta_header){.stream_id = source.generation.id,
                                            .volume = identity->volume,
                                            .full = true,
                                            .generation = source.generation,
                                            .size_bytes = source.size_bytes,
                                            .sector_bytes = 512,
                                            .hash_id = BR_HASH_SHA256,
                                            .consistency = BR_CONSISTENCY_CLEAN};
    t_must(&w, br_replica_begin(w.replica, &begin, &w.err), "begin");
    assert_int_equal(br_replica_commit(w.replica, &end, 0, &result, &w.err), -BR_E_VERIFY);
    assert_int_equal(br_replica_identity(w.replica)->state, BR_STATE_INCOMPLETE);
    t_world_close(&w);
    br_sim_free(w.sim);
    t_volume_free(&source);
}

static void facts_that_something_else_overwrote_are_noticed_before_the_copy_goes_on(void **state)
{
    (void)state;
    struct t_world w = {0};
    struct t_volume source;
    struct t_ship how;
    struct br_replica_result result;
    give_up(&w, &source, &how);
    t_world_close(&w);
    br_sim_poke(w.sim, "vol", "mkfs", 4, 1080); // where superblocks are
    t_must(&w, t_world_open(&w), "open");
    assert_int_equal(t_ship(w.replica, &how, &result, &w.err), -BR_E_FOREIGN_WRITE);
    assert_int_equal(w.err.offset_bytes, 0);
    how.discard_version = true;
    how.target_is_zero = false;
    t_must(&w, t_ship(w.replica, &how, &result, &w.err), "all anew");
    t_world_expect(&w, &source);
    t_world_close(&w);
    br_sim_free(w.sim);
    t_volume_free(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_crash_at_any_change_of_a_first_copy_its_facts_are_true),
        cmocka_unit_test(after_any_failed_operation_of_a_first_copy_its_facts_are_true),
        cmocka_unit_test(a_copy_that_is_given_up_keeps_all_that_it_was_handed),
        cmocka_unit_test(closing_in_the_middle_of_a_copy_gives_it_up),
        cmocka_unit_test(a_block_that_is_still_unknown_at_the_end_fails_the_commit),
        cmocka_unit_test(facts_that_something_else_overwrote_are_noticed_before_the_copy_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
