// SPDX-License-Identifier: Apache-2.0
// timeout: 240
//
// G2 for deltas: the power fails, or the process dies, at every single change of a run, and again in the finish that follows; every single
// I/O fails. The next process must find exactly the old or the new version, as the identity says, after finish; and the delta can then be
// applied. G4, G6, G3: what was written behind blkrep's back is refused or found, what rotted in the stage is never written.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/lib/t_world.h"

// A world whose replica is at version `old`, and what is shipped next.
struct scene {
    struct t_world w;
    struct t_volume old, new;
    struct t_ship ship;
};

static void scene_make(struct scene *s, uint64_t seed, uint64_t round, enum br_replica_mode mode)
{
    struct t_rand rand = t_rand_seeded(seed, round);
    struct br_replica_result result;
    *s = (struct scene){.w = {.seed = seed, .device = mode == BR_MODE_DELTA && round % 3 == 2}};
    s->w.compact_bytes = round % 2 ? 1024 : 0;
    s->w.sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&rand)});
    t_volume_new(&s->old, 512 * (1 + t_rand_below(&rand, 3000)));
    t_volume_change(&s->old, &rand, 8, round % 2);
    t_volume_seal(&s->old, NULL, &rand);
    t_volume_next(&s->new, &s->old, t_rand_below(&rand, 2) ? s->old.size_bytes : 512 * (1 + t_rand_below(&rand, 3000)));
    t_volume_change(&s->new, &rand, 6, round % 2);
    t_volume_seal(&s->new, &s->old, &rand);
    t_must(&s->w, t_world_open(&s->w), "open");
    struct t_ship first = {.mode = BR_MODE_FIRST, .result = &s->old, .rand = rand, .target_is_zero = true};
    t_must(&s->w, t_ship(s->w.replica, &first, &result, &s->w.err), "first copy");
    t_world_close(&s->w);
    br_sim_settle(s->w.sim);
    s->ship = (struct t_ship){
        .mode = mode, .parent = &s->old, .result = &s->new, .rand = rand, .recheck_bytes = round % 2 ? 300000 : 0};
}

static void scene_free(struct scene *s)
{
    br_sim_free(s->w.sim);
    t_volume_free(&s->old);
    t_volume_free(&s->new);
}

// A copy of the scene's world; the volumes are shared.
static struct t_world scene_fork(const struct scene *s, uint64_t seed)
{
    struct t_world w = s->w;
    w.sim = br_sim_fork(s->w.sim, seed);
    return w;
}

// The run of one process: opens, ships; errors are its fate.
static int run(const struct scene *s, struct t_world *w)
{
    struct br_replica_result result;
    int r = t_world_open(w);
    r = r < 0 ? r : t_ship(w->replica, &s->ship, &result, &w->err);
    t_world_close(w);
    return r;
}

// Crashes in finish itself, each on a copy; then the finish that must work.
static void finish_under_crashes(const struct scene *s, struct t_world *w, uint64_t seed, bool every)
{
    for (uint64_t n = 1;; n += every ? 1 : 3) {
        struct t_world f = *w;
        f.sim = br_sim_fork(w->sim, seed + n);
        br_sim_crash_at_change(f.sim, n);
        int r = t_world_open(&f);
        r = r < 0 ? r : br_replica_finish(f.replica, &f.err);
        t_world_close(&f);
        bool crashed = br_sim_crashed(f.sim);
        br_sim_crash_at_change(f.sim, 0);
        br_sim_crash_resolve(f.sim);
        t_must(&f, t_world_open(&f), "open after a crash in finish");
        t_must(&f, br_replica_finish(f.replica, &f.err), "finish after a crash in finish");
        t_world_expect(&f, &s->new);
        t_world_close(&f);
        br_sim_free(f.sim);
        if (!crashed) {
            assert_int_equal(r, 1);
            return;
        }
    }
}

// The next process after whatever happened: old or new, and the way forward is open.
static void recover(const struct scene *s, struct t_world *w, uint64_t seed, bool every)
{
    struct br_replica_result result;
    t_must(w, t_world_open(w), "open");
    enum br_replica_state state = br_replica_identity(w->replica)->state;
    if (state == BR_STATE_APPLYING || state == BR_STATE_REPLACING) {
        t_world_close(w);
        finish_under_crashes(s, w, seed, every);
        t_must(w, t_world_open(w), "open");
        t_must(w, br_replica_finish(w->replica, &w->err), "finish");
        assert_true(t_world_is(w, &s->new));
    }
    if (t_world_is(w, &s->new)) {
        t_world_expect(w, &s->new);
    } else {
        t_world_expect(w, &s->old);
        t_must(w, t_ship(w->replica, &s->ship, &result, &w->err), "the delta again");
        t_world_expect(w, &s->new);
    }
    t_world_close(w);
}

static void take_plans_back(struct br_sim *sim)
{
    br_sim_crash_at_change(sim, 0);
    br_sim_kill_at_change(sim, 0);
}

static void crash_everywhere(uint64_t seed, uint64_t round, enum br_replica_mode mode, unsigned *ret_applying)
{
    struct scene s;
    scene_make(&s, seed, round, mode);
    for (uint64_t n = 1;; n++) {
        struct t_world w = scene_fork(&s, seed * 1000003 + round * 1009 + n);
        (n % 4 == 3 ? br_sim_kill_at_change : br_sim_crash_at_change)(w.sim, n);
        int r = run(&s, &w);
        bool crashed = br_sim_crashed(w.sim);
        take_plans_back(w.sim);
        br_sim_crash_resolve(w.sim);
        t_must(&w, t_world_open(&w), "open after a crash");
        *ret_applying += br_replica_identity(w.replica)->state != BR_STATE_COMPLETE;
        t_world_close(&w);
        recover(&s, &w, seed + n, n % 5 == 0);
        br_sim_free(w.sim);
        if (!crashed) {
            t_must(&w, r, "the run that nothing happened to");
            break;
        }
    }
    scene_free(&s);
}

static void fail_everywhere(uint64_t seed, uint64_t round, enum br_replica_mode mode, int os_errno)
{
    struct scene s;
    scene_make(&s, seed, round, mode);
    for (uint64_t n = 1;; n++) {
        struct t_world w = scene_fork(&s, seed * 1000003 + round * 1009 + n);
        br_sim_fail_at(w.sim, n, os_errno);
        uint64_t before = br_sim_ios(w.sim);
        int r = run(&s, &w);
        bool done = br_sim_ios(w.sim) - before < n;
        br_sim_fail_at(w.sim, 0, 0);
        if (round % 2) { // and then the power
            br_sim_crash(w.sim);
            br_sim_crash_resolve(w.sim);
        }
        recover(&s, &w, seed + n, false);
        br_sim_free(w.sim);
        if (done) {
            t_must(&w, r, "the run in which nothing failed");
            break;
        }
    }
    scene_free(&s);
}

static uint64_t rounds(uint64_t normal)
{
    return br_sim_seed_from_env("BR_SIM_SEEDS", t_scaled(normal));
}

static void after_a_crash_at_any_change_of_a_delta_the_replica_is_old_or_new(void **state)
{
    (void)state;
    unsigned applying = 0;
    for (uint64_t round = 0; round < rounds(6); round++) {
        crash_everywhere(t_seed(), round, BR_MODE_DELTA, &applying);
    }
    assert_true(applying > 0); // crashes did hit the transition
}

static void after_a_crash_at_any_change_of_a_replacement_the_replica_is_old_or_new(void **state)
{
    (void)state;
    unsigned replacing = 0;
    for (uint64_t round = 100; round < 100 + rounds(4); round++) {
        crash_everywhere(t_seed(), round, BR_MODE_REPLACE, &replacing);
    }
    assert_true(replacing > 0);
}

static void after_any_failed_operation_the_replica_is_old_or_new(void **state)
{
    (void)state;
    for (uint64_t round = 200; round < 200 + rounds(2); round++) {
        fail_everywhere(t_seed(), round, BR_MODE_DELTA, EIO);
        fail_everywhere(t_seed(), round, BR_MODE_DELTA, ENOSPC);
        fail_everywhere(t_seed(), round, BR_MODE_REPLACE, round % 2 ? EIO : ENOSPC);
    }
}

// Brings a copy of the scene to APPLYING, before the first byte was written if @untouched.
static struct t_world applying(const struct scene *s, uint64_t seed, bool untouched)
{
    for (uint64_t n = 1;; n++) {
        struct t_world w = scene_fork(s, seed + n);
        br_sim_kill_at_change(w.sim, n);
        int r = run(s, &w);
        assert_true(r < 0);
        br_sim_kill_at_change(w.sim, 0);
        br_sim_crash_resolve(w.sim);
        t_must(&w, t_world_open(&w), "open");
        bool found =
            br_replica_identity(w.replica)->state == BR_STATE_APPLYING && (!untouched || t_world_holds(&w, &s->old));
        t_world_close(&w);
        if (found) {
            return w;
        }
        br_sim_free(w.sim);
    }
}

static void a_bit_that_rots_in_the_stage_is_never_written(void **state)
{
    (void)state;
    for (uint64_t round = 300; round < 300 + rounds(4); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round, BR_MODE_DELTA);
        struct t_world base = applying(&s, t_seed(), true);
        uint64_t size = br_sim_size(base.sim, "vol.blkrep/stage");
        struct t_rand rand = t_rand_seeded(t_seed(), round);
        for (unsigned i = 0; i < 12; i++) {
            struct t_world w = base;
            uint8_t byte;
            uint64_t at = i == 0 ? 0 : i == 1 ? size - 1 : t_rand_below(&rand, size);
            w.sim = br_sim_fork(base.sim, i);
            br_sim_read(w.sim, "vol.blkrep/stage", &byte, 1, at);
            byte ^= (uint8_t)(1u << t_rand_below(&rand, 8));
            br_sim_poke(w.sim, "vol.blkrep/stage", &byte, 1, at);
            t_must(&w, t_world_open(&w), "open");
            int r = br_replica_finish(w.replica, &w.err);
            assert_true(r == -BR_E_CORRUPT || r == -BR_E_VERSION);
            assert_true(t_world_holds(&w, &s.old));
            assert_int_equal(br_replica_identity(w.replica)->state, BR_STATE_APPLYING);
            t_world_close(&w);
            br_sim_free(w.sim);
        }
        br_sim_free(base.sim);
        scene_free(&s);
    }
}

static void a_page_written_by_something_else_is_not_overwritten(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (uint64_t round = 400; round < 400 + rounds(30); round++) {
        struct scene s;
        struct br_replica_result result;
        scene_make(&s, t_seed(), round, BR_MODE_DELTA);
        struct t_rand rand = t_rand_seeded(t_seed(), round);
        uint64_t size = BR_MIN(s.old.size_bytes, s.new.size_bytes), at = t_rand_below(&rand, size);
        uint64_t page = br_align_down(at, BR_PAGE_BYTES), len = BR_MIN((uint64_t)BR_PAGE_BYTES, size - page);
        bool touched = memcmp(s.old.bytes + page, s.new.bytes + page, len) != 0 &&
                       !s.old.unreadable[at / BR_BLOCK_BYTES] && !s.new.unreadable[at / BR_BLOCK_BYTES];
        uint8_t byte = s.old.bytes[at] ^ 1;
        br_sim_poke(s.w.sim, "vol", &byte, 1, at);
        s.old.bytes[at] = byte;
        t_must(&s.w, t_world_open(&s.w), "open");
        s.ship.recheck_bytes = 0;
        int r = t_ship(s.w.replica, &s.ship, &result, &s.w.err);
        if (touched) { // else it may be noticed in a sample, or not
            assert_int_equal(r, -BR_E_FOREIGN_WRITE);
            assert_true(s.w.err.has_offset);
            assert_int_equal(s.w.err.offset_bytes / BR_BLOCK_BYTES, at / BR_BLOCK_BYTES);
            assert_true(t_world_holds(&s.w, &s.old));
            assert_int_equal(br_replica_identity(s.w.replica)->state, BR_STATE_COMPLETE);
            refused++;
        }
        t_world_close(&s.w);
        scene_free(&s);
    }
    assert_true(refused > 0);
}

static void a_flipped_bit_is_found_by_the_recheck_within_one_round(void **state)
{
    (void)state;
    for (uint64_t round = 501; round < 501 + 2 * rounds(5); round += 2) {
        struct scene s;
        struct br_replica_result result;
        scene_make(&s, t_seed(), round, BR_MODE_DELTA);
        struct t_rand rand = t_rand_seeded(t_seed(), round);
        uint64_t at = t_rand_below(&rand, s.old.size_bytes), budget = 3 * BR_BLOCK_BYTES;
        uint64_t most = br_div_up(s.old.size_bytes, budget) + 1, runs = 0;
        uint8_t byte = s.old.bytes[at] ^ 4;
        bool provable = !s.old.unreadable[at / BR_BLOCK_BYTES];
        int r = 0;
        br_sim_poke(s.w.sim, "vol", &byte, 1, at);
        for (runs = 0; runs < most && r == 0; runs++) {
            t_must(&s.w, t_world_open(&s.w), "open");
            r = br_replica_recheck(s.w.replica, budget, &result, &s.w.err);
            t_world_close(&s.w);
        }
        assert_int_equal(r, provable ? r : 0);
        assert_true(!provable || r == -BR_E_VERIFY || r == -BR_E_FOREIGN_WRITE);
        assert_true(!provable || s.w.err.offset_bytes / BR_BLOCK_BYTES == at / BR_BLOCK_BYTES);
        scene_free(&s);
    }
}

static void a_mismatch_in_the_recheck_stops_the_commit(void **state)
{
    (void)state;
    struct scene s;
    struct br_replica_result result = {0};
    uint64_t round = 600;
    do { // a block that the delta does not touch and no sample looks at
        scene_make(&s, t_seed(), round, BR_MODE_DELTA);
        uint64_t block = s.old.geometry.block_count / 2;
        uint64_t at = block * BR_BLOCK_BYTES + 5;
        uint8_t byte = at < s.old.size_bytes ? s.old.bytes[at] ^ 2 : 0;
        if (at < s.old.size_bytes && s.new.size_bytes == s.old.size_bytes &&
            !memcmp(s.old.bytes + block * BR_BLOCK_BYTES, s.new.bytes + block *BR_BLOCK_BYTES, BR_BLOCK_BYTES) &&
            !s.new.unreadable[block] && !s.old.unreadable[block]) {
            br_sim_poke(s.w.sim, "vol", &byte, 1, at);
            s.old.bytes[at] = byte;
            t_must(&s.w, t_world_open(&s.w), "open");
            s.ship.recheck_bytes = UINT64_MAX;
            int r = t_ship(s.w.replica, &s.ship, &result, &s.w.err);
            assert_true(r == -BR_E_VERIFY || r == -BR_E_FOREIGN_WRITE);
            assert_true(t_world_holds(&s.w, &s.old));
            assert_true(!t_world_is(&s.w, &s.new));
            t_world_close(&s.w);
        }
        scene_free(&s);
        round++;
    } while (result.recheck_mismatches == 0 && round < 800);
    assert_int_equal(result.recheck_mismatches, 1);
}

static void a_full_disk_leaves_the_old_version_and_the_way_forward(void **state)
{
    (void)state;
    unsigned full = 0;
    for (uint64_t round = 630; round < 630 + rounds(6); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round, round % 2 ? BR_MODE_DELTA : BR_MODE_REPLACE);
        uint64_t used = br_sim_used_bytes(s.w.sim);
        for (uint64_t room = 4096; room < 3 * BR_MIB; room += 61440) {
            struct t_world w = scene_fork(&s, room);
            br_sim_space(w.sim, used + room);
            int r = run(&s, &w);
            assert_true(r == 0 || r == -BR_E_NO_SPACE);
            full += r < 0;
            t_must(&w, t_world_open(&w), "open on a full disk");
            if (br_replica_identity(w.replica)->state == BR_STATE_COMPLETE) {
                t_world_expect(&w, r < 0 ? &s.old : &s.new);
            }
            t_world_close(&w);
            br_sim_space(w.sim, 0);
            recover(&s, &w, room, false);
            br_sim_free(w.sim);
        }
        scene_free(&s);
    }
    assert_true(full > 0);
}

static void damage(struct t_world *w, unsigned slots)
{
    uint8_t junk[64];
    memset(junk, 0xa5, sizeof(junk));
    for (unsigned i = 0; i < 2; i++) {
        if (slots >> i & 1) {
            br_sim_poke(w->sim, "vol.blkrep/identity", junk, sizeof(junk), i * BR_IDENTITY_SLOT_BYTES + 100);
        }
    }
}

static void two_damaged_slots_are_told_and_never_taken_for_nothing(void **state)
{
    (void)state;
    struct scene s;
    struct br_replica_result result;
    scene_make(&s, t_seed(), 702, BR_MODE_DELTA);
    damage(&s.w, 3);
    assert_int_equal(t_world_open(&s.w), -BR_E_CORRUPT);
    t_world_close(&s.w);
    s.w.discard_damaged = true;
    t_must(&s.w, t_world_open(&s.w), "open what is to be made anew");
    assert_int_equal(br_replica_identity(s.w.replica)->state, BR_STATE_NONE);
    struct t_ship anew = {.mode = BR_MODE_REPLACE, .result = &s.new, .rand = s.ship.rand};
    t_must(&s.w, t_ship(s.w.replica, &anew, &result, &s.w.err), "made anew");
    t_world_expect(&s.w, &s.new);
    t_world_close(&s.w);
    s.w.discard_damaged = false;
    t_must(&s.w, t_world_open(&s.w), "open");
    t_world_expect(&s.w, &s.new);
    t_world_close(&s.w);
    scene_free(&s);
}

static void one_damaged_slot_leaves_no_lie(void **state)
{
    (void)state;
    for (uint64_t round = 720; round < 720 + rounds(6); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round, round % 3 ? BR_MODE_DELTA : BR_MODE_REPLACE);
        t_must(&s.w, run(&s, &s.w), "delta");
        for (unsigned slot = 1; slot <= 2; slot++) {
            struct t_world w = scene_fork(&s, round);
            damage(&w, slot);
            t_must(&w, t_world_open(&w), "open");
            // Either the newest record is left, or the one before it: APPLYING, whose stage is gone.
            t_must(&w, br_replica_finish(w.replica, &w.err), "finish");
            t_world_expect(&w, &s.new);
            t_world_close(&w);
            br_sim_free(w.sim);
        }
        scene_free(&s);
    }
}

static void a_lost_tree_file_is_made_anew_from_the_content(void **state)
{
    (void)state;
    for (uint64_t round = 740; round < 740 + 2 * rounds(3); round += 2) { // even rounds have no unreadable blocks
        struct scene s;
        scene_make(&s, t_seed(), round, BR_MODE_DELTA);
        for (unsigned how = 0; how < 4; how++) {
            struct t_world w = how == 3 ? applying(&s, t_seed(), false) : scene_fork(&s, how);
            struct br_replica_result result;
            uint8_t junk[512] = {1};
            br_sim_poke(w.sim, "vol.blkrep/tree.1", junk, sizeof(junk), 0);
            if (how == 2) { // and the content is not what it was
                uint8_t byte = s.old.bytes[s.old.size_bytes / 2] ^ 1;
                br_sim_poke(w.sim, "vol", &byte, 1, s.old.size_bytes / 2);
            }
            t_must(&w, t_world_open(&w), "open");
            int r = br_replica_finish(w.replica, &w.err);
            if (how == 2) {
                assert_int_equal(r, -BR_E_FOREIGN_WRITE);
            } else {
                t_must(&w, r, "finish");
                assert_int_equal(r, 1);
                t_world_expect(&w, how == 3 ? &s.new : &s.old);
                t_world_close(&w);
                t_must(&w, t_world_open(&w), "open");
                r = how == 3 ? 0 : t_ship(w.replica, &s.ship, &result, &w.err);
                t_must(&w, r, "a delta onto the new tree");
                t_world_expect(&w, &s.new);
            }
            t_world_close(&w);
            br_sim_free(w.sim);
        }
        scene_free(&s);
    }
}

static void a_delta_from_another_parent_changes_nothing(void **state)
{
    (void)state;
    struct scene s;
    struct br_replica_result result;
    scene_make(&s, t_seed(), 750, BR_MODE_DELTA);
    t_must(&s.w, t_world_open(&s.w), "open");
    struct br_generation right = s.old.generation;
    s.old.generation.id.bytes[3] ^= 1;
    assert_int_equal(t_ship(s.w.replica, &s.ship, &result, &s.w.err), -BR_E_WRONG_PARENT);
    s.old.generation = right;
    s.old.root.bytes[0] ^= 1;
    assert_int_equal(t_ship(s.w.replica, &s.ship, &result, &s.w.err), -BR_E_WRONG_PARENT);
    s.old.root.bytes[0] ^= 1;
    s.new.root.bytes[0] ^= 1; // and one whose result is not what its end says
    assert_int_equal(t_ship(s.w.replica, &s.ship, &result, &s.w.err), -BR_E_VERIFY);
    s.new.root.bytes[0] ^= 1;
    t_world_expect(&s.w, &s.old);
    t_must(&s.w, t_ship(s.w.replica, &s.ship, &result, &s.w.err), "the right one");
    t_world_expect(&s.w, &s.new);
    t_world_close(&s.w);
    scene_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_crash_at_any_change_of_a_delta_the_replica_is_old_or_new),
        cmocka_unit_test(after_a_crash_at_any_change_of_a_replacement_the_replica_is_old_or_new),
        cmocka_unit_test(after_any_failed_operation_the_replica_is_old_or_new),
        cmocka_unit_test(a_full_disk_leaves_the_old_version_and_the_way_forward),
        cmocka_unit_test(a_bit_that_rots_in_the_stage_is_never_written),
        cmocka_unit_test(a_page_written_by_something_else_is_not_overwritten),
        cmocka_unit_test(a_flipped_bit_is_found_by_the_recheck_within_one_round),
        cmocka_unit_test(a_mismatch_in_the_recheck_stops_the_commit),
        cmocka_unit_test(two_damaged_slots_are_told_and_never_taken_for_nothing),
        cmocka_unit_test(one_damaged_slot_leaves_no_lie),
        cmocka_unit_test(a_lost_tree_file_is_made_anew_from_the_content),
        cmocka_unit_test(a_delta_from_another_parent_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
