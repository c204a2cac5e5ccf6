// SPDX-License-Identifier: Apache-2.0
// timeout: 240
//
// A delta that is cut, and the run after it. One scene is one seed: a replica at version `old`, a delta to `new`, and what the source
// becomes while the delta lies cut, `later` (other content, sometimes another size). The first run is crashed, killed, failed or given up at
// every single place; then the next process runs, from the source as it was and from the source as it is later, and is asked:
//
//     the replica is byte for byte what that run shipped, or it was the old version before and the run says what was wrong
//     of an unchanged source nothing is shipped again that was durable when the first run ended
//     when a version is complete, nothing of the stage is left
//
// The second run is cut too, at a stride, and a third one ends it. Damage of what is kept costs shipping, never a byte.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/codec/stream_sums.h"
#include "tests/lib/t_world.h"

#define STAGE "vol.blkrep/stage"
#define CUT   "vol.blkrep/stage.cut"
#define INDEX "vol.blkrep/cut.1"

struct scene {
    struct t_world w;
    struct t_volume old, new, later;
    struct t_ship to_new, to_later;
    uint64_t whole_bytes; // data of the delta to `new`
};

static uint64_t size_below(struct t_rand *rand)
{
    return 512 * (1 + t_rand_below(rand, 3000));
}

static void scene_make(struct scene *s, uint64_t seed, uint64_t round)
{
    struct t_rand rand = t_rand_seeded(seed, round);
    struct br_replica_result result;
    bool resizes = round % 4 == 3, unreadable = round % 2;
    *s = (struct scene){.w = {.seed = seed, .device = round % 3 == 2, .sync_bytes = round % 2 ? 4096 : 20000}};
    s->w.sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&rand)});
    t_volume_new(&s->old, size_below(&rand));
    t_volume_change(&s->old, &rand, 8, unreadable);
    t_volume_seal(&s->old, NULL, &rand);
    t_volume_next(&s->new, &s->old, resizes ? size_below(&rand) : s->old.size_bytes);
    t_volume_change(&s->new, &rand, 9, unreadable);
    t_volume_seal(&s->new, &s->old, &rand);
    t_volume_next(&s->later, &s->new, resizes ? size_below(&rand) : s->new.size_bytes);
    t_volume_change(&s->later, &rand, 3, unreadable);
    t_volume_seal(&s->later, &s->old, &rand);
    t_must(&s->w, t_world_open(&s->w), "open");
    struct t_ship first = {.mode = BR_MODE_FIRST, .result = &s->old, .rand = rand, .target_is_zero = true};
    t_must(&s->w, t_ship(s->w.replica, &first, &result, &s->w.err), "first copy");
    t_world_close(&s->w);
    br_sim_settle(s->w.sim);
    s->to_new = (struct t_ship){.mode = BR_MODE_DELTA, .parent = &s->old, .result = &s->new, .rand = rand};
    s->to_later = s->to_new;
    s->to_later.result = &s->later;
}

static void scene_free(struct scene *s)
{
    br_sim_free(s->w.sim);
    t_volume_free(&s->old);
    t_volume_free(&s->new);
    t_volume_free(&s->later);
}

static struct t_world fork_of(const struct t_world *world, uint64_t seed)
{
    struct t_world w = *world;
    w.sim = br_sim_fork(world->sim, seed);
    return w;
}

// One process that ships; errors are its fate.
static int run(struct t_world *w, const struct t_ship *ship)
{
    struct br_replica_result result;
    t_shipped_clear();
    int r = t_world_open(w);
    if (r == 0 && br_replica_identity(w->replica)->state == BR_STATE_APPLYING) {
        r = br_replica_finish(w->replica, &w->err);
        r = r < 0 ? r : 0;
    }
    if (r == 0 && t_world_is(w, ship->result)) {
        t_world_close(w);
        return 0; // it got there before it was cut
    }
    r = r < 0 ? r : t_ship(w->replica, ship, &result, &w->err);
    t_world_close(w);
    return r;
}

static void expect_version(struct t_world *w, const struct t_volume *model)
{
    t_must(w, t_world_open(w), "open");
    t_world_expect(w, model);
    assert_int_equal(br_replica_held_bytes(w->replica), 0);
    t_world_close(w);
    assert_false(br_sim_exists(w->sim, STAGE));
    assert_false(br_sim_exists(w->sim, CUT));
    assert_false(br_sim_exists(w->sim, INDEX));
}

static bool is_at(struct t_world *w, const struct t_volume *model)
{
    t_must(w, t_world_open(w), "open");
    bool is = t_world_is(w, model);
    t_world_close(w);
    return is;
}

// What was durable in the runs to `new` before must not have been shipped again by the last one to it.
static void expect_kept(const struct scene *s, struct t_world *w, uint64_t durable)
{
    if (t_shipped().data_bytes + durable > s->whole_bytes) {
        print_message("%" PRIu64 " of %" PRIu64 " bytes were shipped, %" PRIu64 " were durable before\n",
                      t_shipped().data_bytes, s->whole_bytes, durable);
        t_must(w, -BR_E_VERIFY, "what was durable is shipped again");
    }
}

// From @base (a run was cut there, @durable bytes of it surely kept) to @ship's result.
static void go_on(const struct scene *s, const struct t_world *base, const struct t_ship *ship, uint64_t durable,
                  uint64_t seed)
{
    struct t_world w = fork_of(base, seed);
    t_must(&w, run(&w, ship), "the run that goes on");
    if (ship == &s->to_new) {
        expect_kept(s, &w, durable);
    }
    expect_version(&w, ship->result);
    br_sim_free(w.sim);
}

static void take_plans_back(struct br_sim *sim)
{
    br_sim_crash_at_change(sim, 0);
    br_sim_kill_at_change(sim, 0);
    br_sim_fail_at(sim, 0, 0);
}

// After the next process finished what was committed: is there still a delta to go on with?
static bool still_old(const struct scene *s, struct t_world *w)
{
    t_must(w, t_world_open(w), "open");
    int r = br_replica_finish(w->replica, &w->err);
    t_must(w, r, "finish");
    bool is = t_world_is(w, &s->old);
    if (is) {
        t_world_expect(w, &s->old);
    }
    t_world_close(w);
    return is;
}

// The second run is harmed too, here and there; the third ends it.
static void harm_the_second(const struct scene *s, const struct t_world *base, const struct t_ship *ship,
                            uint64_t durable, uint64_t seed)
{
    for (uint64_t n = 1 + seed % 7;; n += 7) {
        struct t_world w = fork_of(base, seed + n);
        switch (n % 3) {
        case 0: br_sim_crash_at_change(w.sim, n); break;
        case 1: br_sim_kill_at_change(w.sim, n); break;
        default: br_sim_fail_at(w.sim, n, n % 2 ? EIO : ENOSPC); break;
        }
        uint64_t changes = br_sim_changes(w.sim);
        (void)!run(&w, ship);
        uint64_t durable_too = t_shipped().durable_bytes;
        bool over = br_sim_changes(w.sim) - changes < n;
        take_plans_back(w.sim);
        br_sim_crash_resolve(w.sim);
        if (still_old(s, &w)) {
            const struct t_ship *last = n / 3 % 2 ? &s->to_new : &s->to_later;
            t_must(&w, run(&w, last), "the third run");
            if (ship == &s->to_new && last == &s->to_new && n % 3 != 2) { // a failed one may give all up
                expect_kept(s, &w, durable + durable_too);
            }
            expect_version(&w, last->result);
        } else {
            expect_version(&w, ship->result);
        }
        br_sim_free(w.sim);
        if (over) {
            return;
        }
    }
}

static unsigned count_kept;

static void cut_everywhere(uint64_t seed, uint64_t round)
{
    struct scene s;
    scene_make(&s, seed, round);
    struct t_world whole = fork_of(&s.w, seed);
    t_must(&whole, run(&whole, &s.to_new), "the run that nothing happens to");
    s.whole_bytes = t_shipped().data_bytes;
    br_sim_free(whole.sim);
    for (uint64_t n = 1;; n++) {
        struct t_world w = fork_of(&s.w, seed * 1000003 + round * 1009 + n);
        (n % 2 ? br_sim_kill_at_change : br_sim_crash_at_change)(w.sim, n);
        int r = run(&w, &s.to_new);
        uint64_t durable = t_shipped().durable_bytes;
        bool crashed = br_sim_crashed(w.sim);
        take_plans_back(w.sim);
        br_sim_crash_resolve(w.sim);
        if (!crashed) {
            t_must(&w, r, "the run that nothing happened to");
        }
        if (still_old(&s, &w)) {
            go_on(&s, &w, &s.to_new, durable, seed + n);
            count_kept += t_shipped().kept_blocks > 0;
            go_on(&s, &w, &s.to_later, durable, seed + n);
            if (n % 5 == 0) {
                harm_the_second(&s, &w, n % 2 ? &s.to_new : &s.to_later, durable, seed + n);
            }
        } else {
            expect_version(&w, &s.new);
        }
        br_sim_free(w.sim);
        if (!crashed) {
            break;
        }
    }
    scene_free(&s);
}

static void fail_everywhere(uint64_t seed, uint64_t round, int os_errno)
{
    struct scene s;
    scene_make(&s, seed, round);
    s.whole_bytes = UINT64_MAX;
    for (uint64_t n = 1;; n++) {
        struct t_world w = fork_of(&s.w, seed * 1000003 + round * 1009 + n);
        br_sim_fail_at(w.sim, n, os_errno);
        uint64_t before = br_sim_ios(w.sim);
        int r = run(&w, &s.to_new);
        bool done = br_sim_ios(w.sim) - before < n;
        take_plans_back(w.sim);
        if (still_old(&s, &w)) {
            go_on(&s, &w, &s.to_new, 0, seed + n);
            go_on(&s, &w, &s.to_later, 0, seed + n);
        } else {
            expect_version(&w, &s.new);
        }
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

static void a_delta_cut_at_any_change_is_gone_on_with(void **state)
{
    (void)state;
    count_kept = 0;
    for (uint64_t round = 0; round < rounds(6); round++) {
        cut_everywhere(t_seed(), round);
    }
    assert_true(count_kept > 10); // cuts did leave something
}

static void a_delta_in_which_any_operation_failed_is_gone_on_with(void **state)
{
    (void)state;
    for (uint64_t round = 50; round < 50 + rounds(2); round++) {
        fail_everywhere(t_seed(), round, EIO);
        fail_everywhere(t_seed(), round, ENOSPC);
    }
}

// Gives the delta up after @records, as a lost connection does; the replica is closed in order.
static void give_up(struct t_world *w, const struct t_ship *ship, unsigned records)
{
    struct t_ship how = *ship;
    struct br_replica_result result;
    how.stop_after = records;
    t_must(w, t_world_open(w), "open");
    int r = t_ship(w->replica, &how, &result, &w->err);
    t_must(w, r == -BR_E_CANCELLED ? 0 : r, "the run that is given up");
    t_world_close(w);
}

static void what_a_run_that_was_given_up_had_shipped_is_never_shipped_again(void **state)
{
    (void)state;
    for (uint64_t round = 100; round < 100 + rounds(12); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round);
        struct t_world whole = fork_of(&s.w, round);
        t_must(&whole, run(&whole, &s.to_new), "whole");
        s.whole_bytes = t_shipped().data_bytes;
        br_sim_free(whole.sim);
        for (unsigned records = 1;; records++) {
            struct t_world w = fork_of(&s.w, records);
            give_up(&w, &s.to_new, records);
            uint64_t shipped = t_shipped().data_bytes;
            br_sim_crash(w.sim); // it is durable, too
            br_sim_crash_resolve(w.sim);
            if (is_at(&w, &s.new)) {
                br_sim_free(w.sim);
                break;
            }
            t_must(&w, run(&w, &s.to_new), "the rest");
            assert_int_equal(t_shipped().data_bytes + shipped, s.whole_bytes);
            expect_version(&w, &s.new);
            br_sim_free(w.sim);
        }
        scene_free(&s);
    }
}

static void a_delta_that_is_cut_again_and_again_comes_to_its_end(void **state)
{
    (void)state;
    for (uint64_t round = 200; round < 200 + rounds(8); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round);
        struct t_world whole = fork_of(&s.w, round);
        t_must(&whole, run(&whole, &s.to_new), "whole");
        uint64_t whole_bytes = t_shipped().data_bytes, shipped = 0;
        br_sim_free(whole.sim);
        unsigned cuts = 0;
        for (; is_at(&s.w, &s.old) && cuts < 500; cuts++) {
            give_up(&s.w, &s.to_new, cuts + 1); // each time a little further
            shipped += t_shipped().data_bytes;
        }
        assert_int_equal(shipped, whole_bytes);
        expect_version(&s.w, &s.new);
        scene_free(&s);
    }
}

// A cut stage with something in it, as a file: `stage` after one cut, `stage.cut` after two; NULL: this scene has none.
static const char *leave_cut(struct t_world *w, const struct scene *s, unsigned cuts)
{
    for (unsigned i = 1; i <= cuts; i++) {
        give_up(w, &s->to_new, 2 * i);
        if (!is_at(w, &s->old)) {
            return NULL; // so few records there were
        }
    }
    t_must(w, t_world_open(w), "open");
    uint64_t held = br_replica_held_bytes(w->replica);
    t_world_close(w);
    return held == 0 ? NULL : br_sim_exists(w->sim, CUT) ? CUT : STAGE;
}

// The first scene from @round on that has one.
static const char *scene_with_cut(struct scene *s, uint64_t round, unsigned cuts)
{
    for (;; round++) {
        scene_make(s, t_seed(), round);
        const char *file = leave_cut(&s->w, s, cuts);
        if (file) {
            return file;
        }
        scene_free(s);
    }
}

static void a_bit_that_rots_in_what_is_kept_costs_shipping_and_nothing_else(void **state)
{
    (void)state;
    unsigned damaged = 0;
    for (uint64_t round = 300; round < 300 + rounds(12); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round);
        struct t_rand rand = t_rand_seeded(t_seed(), round);
        const char *file = leave_cut(&s.w, &s, 1 + round % 2);
        for (unsigned i = 0; file && i < 12; i++) {
            struct t_world w = fork_of(&s.w, i);
            uint64_t size = br_sim_size(w.sim, file), at = i == 0 ? 0 : i == 1 ? size - 1 : t_rand_below(&rand, size);
            uint8_t byte;
            br_sim_read(w.sim, file, &byte, 1, at);
            byte ^= (uint8_t)(1u << t_rand_below(&rand, 8));
            br_sim_poke(w.sim, file, &byte, 1, at);
            const struct t_ship *ship = i % 3 ? &s.to_new : &s.to_later;
            t_must(&w, run(&w, ship), "a run over damage");
            expect_version(&w, ship->result);
            damaged++;
            br_sim_free(w.sim);
        }
        scene_free(&s);
    }
    assert_true(damaged > 0);
}

static void truncate_file(struct br_sim *sim, const char *path, uint64_t size_bytes)
{
    struct br_ring *ring;
    struct br_file *file;
    assert_int_equal(br_sim_ring(sim, NULL, &ring, NULL), 0);
    assert_int_equal(br_sim_file(ring, path, 0, &file, NULL), 0);
    assert_int_equal(br_file_truncate(file, size_bytes, NULL), 0);
    br_file_close(file);
    br_ring_close(ring);
    br_sim_settle(sim);
}

// A stage that ends within a frame: what the next run appends is found all the same by the one after.
static void what_comes_behind_a_torn_frame_is_kept_too(void **state)
{
    (void)state;
    for (uint64_t round = 350; round < 350 + rounds(6); round++) {
        struct scene s;
        struct t_rand rand = t_rand_seeded(t_seed(), round);
        const char *file = scene_with_cut(&s, round, 1 + round % 2);
        uint64_t size = br_sim_size(s.w.sim, file);
        for (unsigned i = 0; i < 16; i++) {
            struct t_world torn = fork_of(&s.w, i);
            truncate_file(torn.sim, file, 1 + t_rand_below(&rand, size));
            struct t_world w = fork_of(&torn, i);
            t_must(&w, run(&w, &s.to_new), "over the torn frame");
            uint64_t missing = t_shipped().data_bytes;
            br_sim_free(w.sim);
            give_up(&torn, &s.to_new, 1 + (unsigned)t_rand_below(&rand, 9));
            uint64_t shipped = t_shipped().data_bytes;
            if (is_at(&torn, &s.old)) {
                t_must(&torn, run(&torn, &s.to_new), "the third run");
                assert_int_equal(t_shipped().data_bytes + shipped, missing);
            }
            expect_version(&torn, &s.new);
            br_sim_free(torn.sim);
        }
        scene_free(&s);
    }
}

// Changes data of the first DATA frame and makes every sum right again, as only a forger does.
static bool forge(struct br_sim *sim, const char *file)
{
    uint64_t size = br_sim_size(sim, file);
    BR_AUTO_FREE uint8_t *bytes = malloc(size + 1);
    uint64_t chain = br_stream_sum_start();
    struct br_stream_head head;
    bool forged = false;
    br_sim_read(sim, file, bytes, size, 0);
    for (uint64_t at = BR_STREAM_PREAMBLE_BYTES; at + BR_STREAM_HEAD_BYTES <= size; at += br_stream_head_bytes(&head)) {
        uint8_t *table = bytes + at + BR_STREAM_HEAD_BYTES;
        if (br_stream_head_read(bytes + at, &head, NULL) < 0 || br_stream_head_bytes(&head) > size - at) {
            break;
        }
        if (head.type == BR_STREAM_DATA && head.body_bytes && !forged) {
            table[head.table_bytes + head.body_bytes / 2] ^= 0x40;
            forged = true;
        }
        chain = br_stream_sum_frame(
            bytes + at, br_stream_sum_payload(table, head.table_bytes, table + head.table_bytes, head.body_bytes),
            chain);
        br_put_u64(bytes + at + BR_STREAM_AT_CHECKSUM, chain);
    }
    br_sim_poke(sim, file, bytes, size, 0);
    return forged;
}

static void a_forged_stage_fails_one_run_and_is_gone(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (uint64_t round = 400; round < 400 + rounds(16); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round);
        const char *file = leave_cut(&s.w, &s, 1);
        if (file && forge(s.w.sim, file)) {
            int r = run(&s.w, &s.to_new);
            assert_int_equal(r, -BR_E_CORRUPT);
            t_must(&s.w, t_world_open(&s.w), "open");
            t_world_expect(&s.w, &s.old);
            assert_int_equal(br_replica_held_bytes(s.w.replica), 0);
            t_world_close(&s.w);
            t_must(&s.w, run(&s.w, &s.to_new), "the next run");
            expect_version(&s.w, &s.new);
            refused++;
        }
        scene_free(&s);
    }
    assert_true(refused > 0);
}

static void what_was_staged_for_another_version_is_never_used(void **state)
{
    (void)state;
    unsigned tried = 0;
    for (uint64_t round = 500; round < 500 + rounds(6); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round);
        const char *file = leave_cut(&s.w, &s, 1 + round % 2);
        if (!file) {
            scene_free(&s);
            continue;
        }
        uint64_t size = br_sim_size(s.w.sim, file);
        BR_AUTO_FREE uint8_t *bytes = malloc(size + 1);
        br_sim_read(s.w.sim, file, bytes, size, 0);
        t_must(&s.w, run(&s.w, &s.to_later), "the replica moves on");
        expect_version(&s.w, &s.later);
        // somebody puts it back
        struct br_ring *ring;
        struct br_file *put;
        assert_int_equal(br_sim_ring(s.w.sim, NULL, &ring, NULL), 0);
        assert_int_equal(br_sim_file(ring, file, 0, &put, NULL), 0);
        assert_int_equal(br_file_write(put, bytes, size, 0, NULL), 0);
        br_file_close(put);
        br_ring_close(ring);
        struct t_volume last;
        struct t_rand rand = t_rand_seeded(t_seed(), round);
        t_volume_next(&last, &s.later, s.later.size_bytes);
        t_volume_change(&last, &rand, 4, false);
        t_volume_seal(&last, &s.later, &rand);
        struct t_ship ship = {.mode = BR_MODE_DELTA, .parent = &s.later, .result = &last, .rand = rand};
        t_must(&s.w, run(&s.w, &ship), "the next delta");
        assert_int_equal(t_shipped().kept_blocks, 0);
        expect_version(&s.w, &last);
        t_volume_free(&last);
        scene_free(&s);
        tried++;
    }
    assert_true(tried > 0);
}

static void remove_what_is_kept(struct t_world *w)
{
    t_must(w, t_world_open(w), "open");
    assert_int_equal(br_dir_unlink(w->dir, "stage", NULL), 0);
    assert_int_equal(br_dir_unlink(w->dir, "stage.cut", NULL), 0);
    t_world_close(w);
}

// Whatever room there is, a run never fails for want of it where one from nothing would not, and after one failure at most.
static void a_full_disk_holds_up_nobody(void **state)
{
    (void)state;
    unsigned full = 0, kept = 0;
    for (uint64_t round = 600; round < 600 + rounds(4) || (!kept && round < 660); round++) {
        struct scene s;
        scene_make(&s, t_seed(), round);
        uint64_t used = br_sim_used_bytes(s.w.sim);
        for (uint64_t room = 40960; room < 2 * BR_MIB; room += 90000) {
            struct t_world w = fork_of(&s.w, room);
            br_sim_space(w.sim, used + room);
            int r = run(&w, &s.to_new);
            assert_true(r == 0 || r == -BR_E_NO_SPACE);
            if (r == 0) {
                br_sim_free(w.sim);
                continue;
            }
            full++;
            struct t_world fresh = fork_of(&w, room);
            br_sim_space(fresh.sim, used + room);
            remove_what_is_kept(&fresh);
            bool fits = run(&fresh, &s.to_later) == 0;
            br_sim_free(fresh.sim);
            struct t_world made = fork_of(&w, room); // room is made
            br_sim_space(made.sim, 0);
            t_must(&made, run(&made, &s.to_new), "after room was made");
            kept += t_shipped().kept_blocks > 0;
            expect_version(&made, &s.new);
            br_sim_free(made.sim);
            r = run(&w, &s.to_later);
            r = r < 0 ? run(&w, &s.to_later) : r;
            if (fits) {
                t_must(&w, r, "what would fit without anything kept");
                expect_version(&w, &s.later);
            }
            br_sim_free(w.sim);
        }
        scene_free(&s);
    }
    assert_true(full > 0);
    assert_true(kept > 0);
}

// A source that is another one at every run, and a link that never holds to the end.
static void what_is_kept_does_not_outgrow_the_volume(void **state)
{
    (void)state;
    struct scene s;
    struct t_rand rand = t_rand_seeded(t_seed(), 650);
    scene_make(&s, t_seed(), 650);
    uint64_t volume = BR_MAX(s.old.size_bytes, s.new.size_bytes), most = 0;
    for (unsigned i = 0; i < 24; i++) {
        t_rand_fill(&rand, s.new.bytes, s.new.size_bytes);
        memset(s.new.unreadable, 0, s.new.geometry.block_count);
        t_volume_seal(&s.new, &s.old, &rand);
        struct t_ship how = {.mode = BR_MODE_DELTA, .parent = &s.old, .result = &s.new, .rand = rand};
        struct br_replica_result result;
        how.stop_after = (unsigned)(1 + s.new.geometry.block_count / 12);
        t_must(&s.w, t_world_open(&s.w), "open");
        (void)!t_ship(s.w.replica, &how, &result, &s.w.err);
        t_world_close(&s.w);
        uint64_t now = (br_sim_exists(s.w.sim, CUT) ? br_sim_size(s.w.sim, CUT) : 0) +
                       (br_sim_exists(s.w.sim, STAGE) ? br_sim_size(s.w.sim, STAGE) : 0);
        most = BR_MAX(most, now);
    }
    assert_true(most > volume / 2); // it did grow
    assert_in_range(most, 0, 2 * volume + volume / 2 + 2 * BR_MIB);
    scene_free(&s);
}

static void a_run_that_finds_no_changes_drops_what_was_staged(void **state)
{
    (void)state;
    struct scene s;
    struct br_replica_result result;
    scene_with_cut(&s, 700, 1);
    t_must(&s.w, t_world_open(&s.w), "open");
    t_must(&s.w, br_replica_recheck(s.w.replica, 0, &result, &s.w.err), "recheck");
    assert_int_equal(br_replica_held_bytes(s.w.replica), 0);
    t_world_close(&s.w);
    expect_version(&s.w, &s.old);
    scene_free(&s);
}

static void who_keeps_what_is_not_held_is_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) { // with nothing kept, and with something
        struct scene s;
        struct br_replica_result result;
        struct br_keep keep = {.count = 1};
        if (i) {
            scene_with_cut(&s, 800, 1);
        } else {
            scene_make(&s, t_seed(), 800);
        }
        struct t_ship how = s.to_new;
        how.stop_after = 1;
        t_must(&s.w, t_world_open(&s.w), "open");
        assert_int_equal(t_ship(s.w.replica, &how, &result, &s.w.err), -BR_E_CANCELLED);
        keep.blocks[0].index = s.new.geometry.block_count - 1;
        memset(keep.blocks[0].leaf.bytes, 0xab, BR_HASH_BYTES);
        assert_int_equal(br_replica_keep(s.w.replica, &keep, &s.w.err), -BR_E_CORRUPT);
        br_replica_abort(s.w.replica);
        t_world_expect(&s.w, &s.old);
        t_world_close(&s.w);
        t_must(&s.w, run(&s.w, &s.to_new), "the next run");
        expect_version(&s.w, &s.new);
        scene_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delta_cut_at_any_change_is_gone_on_with),
        cmocka_unit_test(a_delta_in_which_any_operation_failed_is_gone_on_with),
        cmocka_unit_test(what_a_run_that_was_given_up_had_shipped_is_never_shipped_again),
        cmocka_unit_test(a_delta_that_is_cut_again_and_again_comes_to_its_end),
        cmocka_unit_test(a_bit_that_rots_in_what_is_kept_costs_shipping_and_nothing_else),
        cmocka_unit_test(what_comes_behind_a_torn_frame_is_kept_too),
        cmocka_unit_test(a_forged_stage_fails_one_run_and_is_gone),
        cmocka_unit_test(what_was_staged_for_another_version_is_never_used),
        cmocka_unit_test(a_full_disk_holds_up_nobody),
        cmocka_unit_test(what_is_kept_does_not_outgrow_the_volume),
        cmocka_unit_test(a_run_that_finds_no_changes_drops_what_was_staged),
        cmocka_unit_test(who_keeps_what_is_not_held_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
