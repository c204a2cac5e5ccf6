// SPDX-License-Identifier: Apache-2.0
// timeout: 240
//
// A repository in a simulated world, its store on disks that lose, tear and reorder what was not synced.
//
// One round is one seed: a volume goes through a chain of backups. Before each, the source changes; then the same backup is made on forks of
// the world, each cut (or killed, or hit by an I/O error, or short of space) at another place, and what is left is asked:
//
//     every point that was there before reads byte for byte as the source was then
//     there is at most one more, and it reads as the source is now; when the run had returned 0 it is there
//     no pack is damaged: what has a name is whole
//     the next backup works, from whatever is left of the source's state and of the index, and its point reads as the source is then
//
// The index is now what the harmed process left, now lost. Replay a failing round with the command that it prints.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/t_env.h"
#include "tests/lib/t_repo.h"
#include "tests/lib/t_source.h"

#define SIZE_BYTES_MAX (20 * BR_BLOCK_BYTES)
#define POINTS_MAX     16

// A point that must be there, and what it must read.
struct kept {
    struct br_uuid id;
    uint8_t *bytes;
    uint64_t size_bytes;
};

struct round {
    uint64_t seed;
    uint64_t number;
    const char *what;
    struct t_rand rand;
    struct br_sim *sim;
    struct t_index index;
    struct br_uuid volume;
    struct kept kept[POINTS_MAX];
    unsigned kept_count;
    uint8_t *now;
    uint64_t now_bytes;
};

static void explain(const struct round *r, const struct br_sim *sim, const char *step, const struct br_err *err)
{
    struct br_buf text = {0};

    if (sim && getenv("T_TRACE")) {
        br_sim_trace(sim, &text);
        fprintf(stderr, "%s\n", text.data ? (const char *)text.data : "");
        br_buf_free(&text);
    }
    print_message("# replay: T_SEED=%llu build/tests/sim/sim_backup  (round %llu, %s, %s) %s: %s\n",
                  (unsigned long long)r->seed, (unsigned long long)r->number, r->what, step, br_err_name(err->code),
                  err->text);
}

static void must(const struct round *r, const struct br_sim *sim, int rc, const char *step, const struct br_err *err)
{
    if (rc) {
        explain(r, sim, step, err);
        fail();
    }
}

// The source ---------------------------------------------------------------------------------------------------------------------------

static void source_change(struct t_rand *rand, struct br_sim *sim)
{
    uint64_t size = br_sim_size(sim, "src");

    if (!size || t_rand_below(rand, 4) == 0) {
        size = t_rand_below(rand, SIZE_BYTES_MAX);
        size = t_rand_below(rand, 2) ? size : br_align_down(size, BR_PAGE_BYTES);
        t_source_resize(sim, size);
    }
    for (uint64_t n = size ? t_rand_below(rand, 6) : 0; n; n--) {
        static const uint64_t units[] = {1, BR_PAGE_BYTES, BR_PAGE_BYTES, BR_BLOCK_BYTES};

        t_source_write(rand, sim, units[t_rand_below(rand, BR_ARRAY_LEN(units))]);
    }
}

static uint8_t *source_bytes(const struct br_sim *sim, uint64_t *ret_bytes)
{
    *ret_bytes = br_sim_size(sim, "src");
    uint8_t *bytes = malloc(*ret_bytes + 1);

    assert_non_null(bytes);
    br_sim_read(sim, "src", bytes, *ret_bytes, 0);
    return bytes;
}

static int backup_once(struct br_sim *sim, const struct t_index *index, bool full, struct t_backup *result,
                       struct br_err *err)
{
    *result = (struct t_backup){.full = full};
    return t_backup_run(sim, index, result, err);
}

// What is left --------------------------------------------------------------------------------------------------------------------------

struct look {
    const struct round *r;
    const struct br_sim *sim;
    struct t_repo *repo;
    unsigned known; // points that were there before
    unsigned others;
    struct br_point other;
};

static void expect_bytes(const struct look *look, const struct br_point *point, const uint8_t *bytes,
                         uint64_t size_bytes)
{
    struct br_err err = {0};
    uint8_t *got = malloc(size_bytes + 1);

    assert_non_null(got);
    if (point->size_bytes != size_bytes) {
        explain(look->r, look->sim, "another size", &err);
        fail();
    }
    must(look->r, look->sim, t_repo_read(look->repo, point, got, &err), "reading a point", &err);
    if (memcmp(got, bytes, size_bytes) != 0) {
        explain(look->r, look->sim, "a point reads otherwise", &err);
        fail();
    }
    free(got);
}

static int look_at(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct look *look = ctx;

    must(look->r, look->sim, rc, "a point is damaged", err);
    for (unsigned k = 0; k < look->r->kept_count; k++) {
        const struct kept *kept = &look->r->kept[k];

        if (br_uuid_equal(&kept->id, &point->id)) {
            expect_bytes(look, point, kept->bytes, kept->size_bytes);
            look->known++;
            return 0;
        }
    }
    look->others++;
    look->other = *point;
    return 0;
}

// All points that were there are; gives how many more, of which there may be one, that reads as the source is now.
static unsigned check_points(const struct round *r, struct br_sim *sim, const struct t_index *index)
{
    struct t_repo repo;
    struct br_err err = {0};
    struct look look = {.r = r, .sim = sim, .repo = &repo};

    must(r, sim, t_repo_open(sim, index, &repo, &err), "opening the repository", &err);
    if (repo.refreshed.damaged) {
        snprintf(err.text, sizeof(err.text), "%s", repo.refreshed.first_damaged);
        explain(r, sim, "a pack is damaged", &err);
        fail();
    }
    must(r, sim, br_repo_points(repo.repo, NULL, look_at, &look, &err), "listing the points", &err);
    if (look.known != r->kept_count || look.others > 1) {
        explain(r, sim, "points were lost, or made up", &err);
        fail();
    }
    if (look.others) {
        expect_bytes(&look, &look.other, r->now, r->now_bytes);
    }
    t_repo_close(&repo);
    return look.others;
}

enum harm { HARM_CRASH, HARM_KILL, HARM_IO, HARM_SPACE, HARMS };

static void do_harm(struct br_sim *sim, enum harm harm, uint64_t n)
{
    switch (harm) {
    case HARM_CRASH: br_sim_crash_at_change(sim, n); break;
    case HARM_KILL: br_sim_kill_at_change(sim, n); break;
    case HARM_IO: br_sim_fail_at(sim, n, EIO); break;
    case HARM_SPACE: br_sim_space(sim, br_sim_used_bytes(sim) + n * BR_PAGE_BYTES); break;
    default: break;
    }
}

static void undo_harm(struct br_sim *sim)
{
    br_sim_crash_at_change(sim, 0);
    br_sim_kill_at_change(sim, 0);
    br_sim_fail_at(sim, 0, 0);
    br_sim_space(sim, 0);
    br_sim_crash_resolve(sim);
}

// One harmed run and what follows. Gives whether the harm happened.
static bool harmed_run(const struct round *r, enum harm harm, uint64_t n, bool full)
{
    struct br_sim *sim = br_sim_fork(r->sim, r->seed * 1000003 + r->number * 1009 + n * 7 + harm);
    struct t_backup result, next;
    struct t_index index;
    struct br_err err;

    t_index_copy(&index, &r->index);
    do_harm(sim, harm, n);
    int rc = backup_once(sim, &index, full, &result, &err);
    bool harmed = rc != 0;
    undo_harm(sim);
    if (n % 2) { // the index is lost
        t_index_free(&index);
        t_index_new(&index);
    }
    unsigned others = check_points(r, sim, &index);
    if (!rc && !others) {
        explain(r, sim, "exit 0 was a lie", &err);
        fail();
    }
    must(r, sim, backup_once(sim, &index, false, &next, &err), "the next backup", &err);
    if (!next.made || next.point.size_bytes != r->now_bytes) {
        explain(r, sim, "the next backup made no point", &err);
        fail();
    }
    struct round after = *r;
    if (others) { // what the harmed run made is there beside it
        struct t_repo repo;
        struct look look = {.r = r, .sim = sim, .repo = &repo};
        must(r, sim, t_repo_open(sim, &index, &repo, &err), "opening the repository", &err);
        expect_bytes(&look, &next.point, r->now, r->now_bytes);
        t_repo_close(&repo);
    } else {
        check_points(&after, sim, &index);
    }
    br_sim_free(sim);
    t_index_free(&index);
    return harmed;
}

// Rounds --------------------------------------------------------------------------------------------------------------------------------

static void keep_point(struct round *r, const struct br_point *point)
{
    assert_true(r->kept_count < POINTS_MAX);
    r->kept[r->kept_count++] = (struct kept){.id = point->id, .bytes = r->now, .size_bytes = r->now_bytes};
}

static void round_open(struct round *r, uint64_t number, const char *what)
{
    struct br_err err = {0};

    *r = (struct round){.seed = t_seed(), .number = number, .what = what, .rand = t_rand_seeded(t_seed(), number)};
    r->sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&r->rand)});
    t_index_new(&r->index);
    must(r, r->sim, t_repo_init(r->sim, &err), "init", &err);
    t_source_resize(r->sim, t_rand_below(&r->rand, SIZE_BYTES_MAX));
    br_sim_settle(r->sim);
}

static void round_close(struct round *r)
{
    for (unsigned k = 0; k < r->kept_count; k++) {
        free(r->kept[k].bytes);
    }
    t_index_free(&r->index);
    br_sim_free(r->sim);
}

static void next_source(struct round *r)
{
    source_change(&r->rand, r->sim);
    br_sim_settle(r->sim);
    r->now = source_bytes(r->sim, &r->now_bytes);
}

static bool next_full(struct round *r)
{
    return t_rand_below(&r->rand, 4) == 0;
}

static void whole_run(struct round *r, bool full)
{
    struct t_backup result;
    struct br_err err;

    must(r, r->sim, backup_once(r->sim, &r->index, full, &result, &err), "a backup that nothing happens to", &err);
    assert_true(result.made);
    assert_int_equal(result.point.counter, r->kept_count + 1);
    br_sim_settle(r->sim);
    assert_int_equal(check_points(r, r->sim, &r->index), 1);
    keep_point(r, &result.point);
    assert_int_equal(check_points(r, r->sim, &r->index), 0);
}

static void harm_rounds(enum harm harm, const char *what, uint64_t rounds, uint64_t step)
{
    uint64_t harmed = 0;

    for (uint64_t number = 0; number < t_scaled(rounds); number++) {
        struct round r;

        round_open(&r, number, what);
        for (unsigned runs = 0; runs < 4; runs++) {
            next_source(&r);
            bool full = next_full(&r);
            uint64_t n = 1 + t_rand_below(&r.rand, step);
            while (harmed_run(&r, harm, n, full)) {
                harmed++;
                n += 1 + t_rand_below(&r.rand, step);
            }
            whole_run(&r, full);
        }
        round_close(&r);
    }
    assert_true(harmed > rounds);
}

static void a_power_cut_at_any_change_loses_no_point(void **state)
{
    (void)state;
    harm_rounds(HARM_CRASH, "power cut", 4, 3);
}

static void a_kill_at_any_change_loses_no_point(void **state)
{
    (void)state;
    harm_rounds(HARM_KILL, "kill", 3, 4);
}

static void a_failed_operation_loses_no_point(void **state)
{
    (void)state;
    harm_rounds(HARM_IO, "I/O error", 3, 8);
}

static void a_full_disk_loses_no_point(void **state)
{
    (void)state;
    harm_rounds(HARM_SPACE, "full disk", 3, 10);
}

static void a_long_chain_reads_back_whole(void **state)
{
    (void)state;
    for (uint64_t number = 1000; number < 1000 + t_scaled(6); number++) {
        struct round r;

        round_open(&r, number, "chain");
        for (unsigned runs = 0; runs < 12; runs++) {
            next_source(&r);
            whole_run(&r, next_full(&r));
        }
        round_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_at_any_change_loses_no_point),
        cmocka_unit_test(a_kill_at_any_change_loses_no_point),
        cmocka_unit_test(a_failed_operation_loses_no_point),
        cmocka_unit_test(a_full_disk_loses_no_point),
        cmocka_unit_test(a_long_chain_reads_back_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
