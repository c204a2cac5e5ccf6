// SPDX-License-Identifier: Apache-2.0
// timeout: 240
//
// Prunes and backups in one repository at once: the real code, in a simulated world. At each operation that one of them asks of its store, another
// actor, with an index of its own, runs from its beginning to its end; the first one, which was stopped for that long, goes on. The source goes back to
// what it was before, so that a backup finds what it stores among what a prune removes.
//
// Whatever happens, asked at the end:
//
//     every point that is there reads byte for byte as the source was, and every point that nobody removed is there
//     what returned 0 is done; what a backup that was given up says is an error
//     no pack is damaged; the next backup works (after one that only says that it must store anew)
//     when all have ended, two prunes leave no pack that no point needs, no lease and no list
//
// The same of copies, whose points have ids that are given: several of one point, from two repositories, given up, pruned and wanted back. And of three
// at once: a run that has just taken its lease, a prune that puts a list, and a prune that was stopped before both.
//
// Replay a failing round with the command that it prints.
#include <errno.h>
#include <lmdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/repo/copy.h"
#include "engine/repo/needs.h"
#include "engine/repo/prune.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_repo.h"
#include "tests/lib/t_source.h"

#define SIZE_BYTES (12 * BR_BLOCK_BYTES)
#define KNOWN_MAX  24u
#define IMAGES     4u
#define HOSTS      3u

// What a point must read, if it is there.
struct known {
    struct br_point point;
    unsigned image;
    bool removed; // by a prune that was asked to
};

struct world {
    uint64_t seed, number, step;
    const char *what;
    struct t_rand rand;
    struct br_sim *sim;
    struct t_index index[HOSTS];
    struct t_index
        second[2]; // of the repository that copies go to: the one that is stopped, and what happens meanwhile
    uint8_t *images[IMAGES];
    unsigned image; // that the source holds
    struct known known[KNOWN_MAX];
    unsigned known_count;
};

static void explain(const struct world *w, const char *step, const struct br_err *err)
{
    struct br_buf text = {0};

    if (getenv("T_TRACE")) {
        br_sim_trace(w->sim, &text);
        fprintf(stderr, "%s\n", text.data ? (const char *)text.data : "");
        br_buf_free(&text);
    }
    print_message("# replay: T_SEED=%llu build/tests/sim/sim_prune  (%s, world %llu, operation %llu, %s) %s: %s\n",
                  (unsigned long long)w->seed, w->what, (unsigned long long)w->number, (unsigned long long)w->step,
                  step, err ? br_err_name(err->code) : "", err ? err->text : "");
}

static void must(const struct world *w, bool true_, const char *step, const struct br_err *err)
{
    if (!true_) {
        explain(w, step, err);
        fail();
    }
}

// The world -----------------------------------------------------------------------------------------------------------------------------

static void source_set(struct world *w, unsigned image)
{
    br_sim_poke(w->sim, "src", w->images[image], SIZE_BYTES, 0);
    br_sim_settle(w->sim);
    w->image = image;
}

// Images that share some blocks with the first one, and differ in others by a page or wholly: what is new in one is needed by its points alone.
static void make_images(struct world *w)
{
    for (unsigned i = 0; i < IMAGES; i++) {
        w->images[i] = malloc(SIZE_BYTES);
        assert_non_null(w->images[i]);
        if (!i) {
            t_rand_fill(&w->rand, w->images[i], SIZE_BYTES);
            continue;
        }
        memcpy(w->images[i], w->images[0], SIZE_BYTES);
        for (unsigned b = 0; b < 8; b++) {
            bool page = t_rand_below(&w->rand, 2);
            size_t unit = page ? BR_PAGE_BYTES : BR_BLOCK_BYTES;
            t_rand_fill(&w->rand, w->images[i] + unit * t_rand_below(&w->rand, SIZE_BYTES / unit), unit);
        }
    }
}

static void add_known(struct world *w, const struct br_point *point)
{
    assert_true(w->known_count < KNOWN_MAX);
    w->known[w->known_count++] = (struct known){.point = *point, .image = w->image};
}

static const char *const states[HOSTS] = {"src.blkrep", "other.blkrep", "third.blkrep"};
static const char *const hosts[HOSTS] = {"one", "two", "three"};

static int backup(struct world *w, unsigned host, bool full, struct br_err *err)
{
    struct t_backup run = {.state = states[host], .host = hosts[host], .full = full};
    int rc = t_backup_run(w->sim, &w->index[host], &run, err);

    if (run.made) {
        add_known(w, &run.point);
    }
    must(w, rc || run.made, "exit 0, and no point", err);
    return rc;
}

// Which points are removed; never the newest of a volume.
enum removing { NONE, SOME, ALL };

static int prune(struct world *w, unsigned host, enum removing removing, uint64_t grace_ns,
                 struct br_prune_result *result, struct br_err *err)
{
    struct t_repo repo;
    struct br_point remove[KNOWN_MAX];
    size_t count = 0;

    for (unsigned k = 0; removing && k < w->known_count; k++) {
        bool newest = true;

        for (unsigned o = 0; o < w->known_count; o++) {
            newest = newest && !(br_uuid_equal(&w->known[o].point.volume, &w->known[k].point.volume) &&
                                 w->known[o].point.counter > w->known[k].point.counter);
        }
        if (!newest && (w->known[k].removed || removing == ALL || t_rand_below(&w->rand, 2))) {
            w->known[k].removed = true;
            remove[count++] = w->known[k].point;
        }
    }
    *err = (struct br_err){0};
    int rc = t_repo_open(w->sim, &w->index[host], &repo, err);
    const struct br_prune_params params = {
        .repo = repo.repo,
        .remove = remove,
        .remove_count = count,
        .grace_ns = grace_ns,
        .unused_max = 0,
        .host = hosts[host],
        .level = 1,
    };
    rc = rc < 0 ? rc : br_prune(&params, result, err);
    t_repo_close(&repo);
    return rc;
}

struct looking {
    struct world *w;
    struct t_repo *repo;
    bool seen[KNOWN_MAX];
};

static int look_at(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct looking *looking = ctx;
    struct world *w = looking->w;
    struct br_err why = {0};
    uint8_t *got = malloc(SIZE_BYTES);
    unsigned k = 0;

    assert_non_null(got);
    must(w, !rc, "a point is damaged", err);
    while (k < w->known_count && !br_uuid_equal(&w->known[k].point.id, &point->id)) {
        k++;
    }
    // One that nobody heard of: a run that was cut behind its commit. It can only hold what the source held then.
    must(w, point->size_bytes == SIZE_BYTES, "another size", NULL);
    must(w, !t_repo_read(looking->repo, point, got, &why), "reading a point", &why);
    bool same = false;
    for (unsigned i = 0; i < IMAGES; i++) {
        same = same || ((k == w->known_count || w->known[k].image == i) && !memcmp(got, w->images[i], SIZE_BYTES));
    }
    must(w, same, "a point reads otherwise", NULL);
    if (k < w->known_count) {
        looking->seen[k] = true;
    } else {
        add_known(w, point);
        looking->seen[k] = true;
        for (unsigned i = 0; i < IMAGES; i++) {
            w->known[k].image = memcmp(got, w->images[i], SIZE_BYTES) ? w->known[k].image : i;
        }
    }
    free(got);
    return 0;
}

// With an index made from nothing, so that only what the store has counts.
static void check(struct world *w, const char *when)
{
    struct t_index index;
    struct t_repo repo;
    struct br_err err = {0};
    struct looking looking = {.w = w, .repo = &repo};

    t_index_new(&index);
    must(w, !t_repo_open(w->sim, &index, &repo, &err), "opening the repository", &err);
    must(w, !repo.refreshed.damaged, "a pack is damaged", NULL);
    must(w, !br_repo_points(repo.repo, NULL, look_at, &looking, &err), "listing the points", &err);
    for (unsigned k = 0; k < w->known_count; k++) {
        must(w, looking.seen[k] || w->known[k].removed, when, NULL);
    }
    t_repo_close(&repo);
    t_index_free(&index);
}

static int count_name(void *ctx, const char *name)
{
    (void)name;
    ++*(unsigned *)ctx;
    return 0;
}

static int add_need(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    (void)err;
    return rc ? rc : br_needs_add(ctx, point, NULL, NULL);
}

// Everybody has ended: what is left is what the points need.
static void clean_up(struct world *w)
{
    struct br_prune_result result;
    struct t_repo repo;
    struct br_needs *needs;
    struct br_err err = {0};
    unsigned leases = 0, lists = 0;

    // Each index proves other packs: what one can't write anew, another can. The last one is that which is asked.
    for (unsigned n = 2 * HOSTS; n-- > 0;) {
        must(w, !prune(w, n % HOSTS, SOME, 0, &result, &err), "a prune when all is quiet", &err);
        check(w, "a prune when all is quiet lost a point");
    }
    must(w, !t_repo_open(w->sim, &w->index[0], &repo, &err), "opening the repository", &err);
    must(w, !br_needs_open(repo.repo, &needs, &err), "needs", &err);
    must(w, !br_repo_points(repo.repo, NULL, add_need, needs, &err), "needs", &err);
    for (size_t at = 0; at < br_needs_count(needs); at++) {
        must(w, br_needs_pack(needs, at)->chunks_needed > 0, "a pack that nobody needs is left", NULL);
    }
    br_needs_close(needs);
    assert_int_equal(repo.store.ops->list(repo.store.ctx, "leases/", count_name, &leases, NULL), 0);
    assert_int_equal(repo.store.ops->list(repo.store.ctx, "doomed/", count_name, &lists, NULL), 0);
    must(w, !leases, "a lease is left", NULL);
    must(w, !lists, "a list is left", NULL);
    t_repo_close(&repo);
}

// What is not simply done: given up by another, or told that it must store anew.
static bool may_say(int rc)
{
    return rc == -BR_E_BUSY || rc == -BR_E_VERIFY || rc == -BR_E_WRONG_PARENT || rc == -BR_E_NOT_FOUND;
}

static void next_backup(struct world *w, unsigned host)
{
    struct br_err err;
    int rc = backup(w, host, false, &err);

    if (may_say(rc)) {
        rc = backup(w, host, false, &err);
    }
    must(w, !rc, "the next backup", &err);
}

static void world_open(struct world *w, uint64_t number, const char *what)
{
    struct br_err err = {0};

    *w = (struct world){.seed = t_seed(), .number = number, .what = what, .rand = t_rand_seeded(t_seed(), number)};
    w->sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&w->rand)});
    for (unsigned h = 0; h < HOSTS; h++) {
        t_index_new(&w->index[h]);
    }
    for (unsigned s = 0; s < BR_ARRAY_LEN(w->second); s++) {
        t_index_new(&w->second[s]);
    }
    make_images(w);
    must(w, !t_repo_init(w->sim, &err), "init", &err);
    t_source_resize(w->sim, SIZE_BYTES);
    for (unsigned i = 0; i < 3; i++) {
        source_set(w, i);
        must(w, !backup(w, 0, i && t_rand_below(&w->rand, 4) == 0, &err), "a backup of the history", &err);
        if (i == 1) { // what the other host has is its own, so that it makes up for nothing
            source_set(w, 3);
            must(w, !backup(w, 1, false, &err), "a backup of the history", &err);
        }
    }
    br_sim_settle(w->sim);
}

static void world_free_parts(struct world *w)
{
    for (unsigned h = 0; h < HOSTS; h++) {
        t_index_free(&w->index[h]);
    }
    for (unsigned s = 0; s < BR_ARRAY_LEN(w->second); s++) {
        t_index_free(&w->second[s]);
    }
    br_sim_free(w->sim);
}

static void world_close(struct world *w)
{
    world_free_parts(w);
    for (unsigned i = 0; i < IMAGES; i++) {
        free(w->images[i]);
    }
}

// The same world again, to go another way from here; images stay the first one's.
static void world_fork(const struct world *from, uint64_t step, struct world *w)
{
    *w = *from;
    w->step = step;
    w->rand = t_rand_seeded(from->seed, from->number * 1000003 + step);
    w->sim = br_sim_fork(from->sim, from->seed * 1009 + step);
    for (unsigned h = 0; h < HOSTS; h++) {
        t_index_copy(&w->index[h], &from->index[h]);
    }
    for (unsigned s = 0; s < BR_ARRAY_LEN(w->second); s++) {
        t_index_copy(&w->second[s], &from->second[s]);
    }
}

// What happens within ------------------------------------------------------------------------------------------------------------------

enum within { WITHIN_PRUNE, WITHIN_PRUNE_GIVING_UP, WITHIN_BACKUP, WITHIN_BOTH, WITHIN_MORE, WITHINS };

struct hook {
    struct world *w;
    enum within within;
    unsigned host; // who prunes there
    bool happened;
};

static void happen(void *ctx)
{
    struct hook *hook = ctx;
    struct world *w = hook->w;
    struct br_prune_result result;
    struct br_err err;
    int rc;

    hook->happened = true;
    if (hook->within == WITHIN_BACKUP || hook->within == WITHIN_BOTH || hook->within == WITHIN_MORE) {
        rc = backup(w, 1, false, &err);
        must(w, !rc || may_say(rc), "a backup within", &err);
    }
    if (hook->within != WITHIN_BACKUP) {
        rc = prune(w, hook->host, t_rand_below(&w->rand, 4) ? ALL : SOME,
                   hook->within == WITHIN_PRUNE_GIVING_UP ? 0 : UINT64_MAX, &result, &err);
        must(w, !rc, "a prune within", &err);
    }
    if (hook->within == WITHIN_MORE) {
        rc = backup(w, 1, false, &err);
        must(w, !rc || may_say(rc), "a backup within", &err);
        rc = prune(w, hook->host, SOME, UINT64_MAX, &result, &err);
        must(w, !rc, "a prune within", &err);
    }
}

static void end_of_world(struct world *w)
{
    check(w, "a point was lost");
    next_backup(w, 0);
    next_backup(w, 1);
    check(w, "a point was lost by the backups behind");
    clean_up(w);
    world_free_parts(w);
}

// Outside: a backup, whose source is again what it was when points that go now were made.
static void backups_stop(struct world *from, enum within within, uint64_t most)
{
    uint64_t done = 0;

    for (uint64_t n = 1; n < 200; n += 1 + t_rand_below(&from->rand, most)) {
        struct world w;
        struct br_err err;

        world_fork(from, n, &w);
        struct hook hook = {.w = &w, .within = within, .host = 1 + (unsigned)t_rand_below(&w.rand, 2)};
        // Often what the middle one of the points has, and no other: when that goes, nobody but this backup needs it.
        source_set(&w, t_rand_below(&w.rand, 4) ? 1 : (unsigned)t_rand_below(&w.rand, IMAGES));
        bool full = t_rand_below(&w.rand, 6) == 0;
        t_repo_hook(n, happen, &hook);
        int rc = backup(&w, 0, full, &err);
        t_repo_hook(0, NULL, NULL);
        must(&w, !rc || may_say(rc), "the backup that was stopped", &err);
        end_of_world(&w);
        done++;
        if (!hook.happened) {
            break;
        }
    }
    assert_true(done > 3);
}

// Outside: a prune.
static void prunes_stop(struct world *from, enum within within, uint64_t most)
{
    uint64_t done = 0;

    for (uint64_t n = 1; n < 200; n += 1 + t_rand_below(&from->rand, most)) {
        struct world w;
        struct br_prune_result result;
        struct br_err err;

        world_fork(from, n, &w);
        struct hook hook = {.w = &w, .within = within, .host = 1 + (unsigned)t_rand_below(&w.rand, 2)};
        source_set(&w, (unsigned)t_rand_below(&w.rand, IMAGES));
        t_repo_hook(n, happen, &hook);
        int rc = prune(&w, 0, SOME, t_rand_below(&w.rand, 2) ? 0 : UINT64_MAX, &result, &err);
        t_repo_hook(0, NULL, NULL);
        // What another one deleted meanwhile is an error that harms nothing.
        must(&w, !rc || rc == -BR_E_NOT_FOUND, "the prune that was stopped", &err);
        end_of_world(&w);
        done++;
        if (!hook.happened) {
            break;
        }
    }
    assert_true(done > 3);
}

static void each_within(const char *what, void stop(struct world *, enum within, uint64_t), uint64_t worlds,
                        uint64_t most)
{
    for (uint64_t number = 0; number < t_scaled(worlds); number++) {
        for (enum within within = 0; within < WITHINS; within++) {
            struct world w;

            world_open(&w, number * WITHINS + within, what);
            stop(&w, within, most);
            world_close(&w);
        }
    }
}

static void a_backup_may_stop_for_as_long_as_it_likes(void **state)
{
    (void)state;
    each_within("backup", backups_stop, 2, 1);
}

static void a_prune_may_stop_for_as_long_as_it_likes(void **state)
{
    (void)state;
    each_within("prune", prunes_stop, 1, 3);
}

// Three at once ------------------------------------------------------------------------------------------------------------------------

struct packs {
    char names[64][BR_OBJECT_NAME_BYTES];
    unsigned count;
};

static int take_pack(void *ctx, const char *name)
{
    struct packs *packs = ctx;

    assert_true(packs->count < BR_ARRAY_LEN(packs->names));
    snprintf(packs->names[packs->count++], BR_OBJECT_NAME_BYTES, "%s", name);
    return 0;
}

struct third_run {
    struct world *w;
    bool happened;
    struct t_repo repo; // of the run that has just begun
    struct br_lease lease;
    struct packs counted_on;
};

// A run begins, and counts on what is there; then a prune dooms what the newest points don't need.
static void begin_and_doom(void *ctx)
{
    struct third_run *run = ctx;
    struct world *w = run->w;
    struct br_prune_result result;
    struct br_err err = {0};
    struct packs all = {.count = 0};

    run->happened = true;
    must(w, !t_repo_open(w->sim, &w->index[1], &run->repo, &err), "opening the repository", &err);
    run->lease = (struct br_lease){.run = br_ring_new_uuid(run->repo.ring),
                                   .volume = w->known[0].point.volume,
                                   .point = br_ring_new_uuid(run->repo.ring)};
    must(w, !br_lease_take(run->repo.repo, &run->lease, &err), "taking a lease", &err);
    must(w, !run->repo.store.ops->list(run->repo.store.ctx, "packs/", take_pack, &all, &err), "listing packs", &err);
    for (unsigned i = 0; i < all.count; i++) {
        uint8_t salt[BR_SALT_BYTES];

        assert_true(br_name_parse_pack(all.names[i], salt));
        if (!br_index_avoids(br_repo_index_of(run->repo.repo), salt)) {
            take_pack(&run->counted_on, all.names[i]);
        }
    }
    must(w, !prune(w, 2, ALL, UINT64_MAX, &result, &err), "a prune within", &err);
}

static void a_run_keeps_what_was_there_when_it_began(void **state)
{
    uint64_t kept = 0;

    (void)state;
    for (uint64_t number = 7000; number < 7000 + t_scaled(2); number++) {
        struct world from;
        bool happened = true;

        world_open(&from, number, "three");
        for (uint64_t n = 1; happened && n < 200; n++) {
            struct world w;
            struct br_prune_result result;
            struct br_err err;
            uint64_t bytes;

            world_fork(&from, n, &w);
            struct third_run run = {.w = &w};
            t_repo_hook(n, begin_and_doom, &run);
            must(&w, !prune(&w, 0, n % 2 ? NONE : SOME, UINT64_MAX, &result, &err), "the prune that was stopped", &err);
            t_repo_hook(0, NULL, NULL);
            happened = run.happened;
            for (unsigned i = 0; i < run.counted_on.count; i++) {
                must(&w, !run.repo.store.ops->size(run.repo.store.ctx, run.counted_on.names[i], &bytes, &err),
                     "a pack is gone that a run counts on", &err);
                kept++;
            }
            if (happened) {
                br_lease_drop(run.repo.repo, &run.lease);
                t_repo_close(&run.repo);
            }
            check(&w, "a point was lost");
            world_free_parts(&w);
        }
        world_close(&from);
    }
    assert_true(kept > 50);
}

// Copies -------------------------------------------------------------------------------------------------------------------------------

#define COPIED 3u // the first points of the history, two of them of one volume

enum meanwhile { GIVEN_UP, COPIED_TOO, COPIED_AND_PRUNED, GIVEN_UP_AND_COPIED, MEANWHILES };

struct copying {
    struct world *w;
    enum meanwhile meanwhile;
    unsigned which;
    bool happened;
};

// From "repo", or from "third", which has copies of the same points. @n: the operation of the target's store at which @hook happens; 0 none
static int copy(struct world *w, unsigned who, bool from_third, unsigned which, uint64_t n, void (*hook)(void *),
                void *hook_ctx, struct br_copy_result *result, struct br_err *err)
{
    struct t_repo first, third = {0}, second = {0};
    struct t_index index;
    struct br_point point = w->known[which].point;

    *err = (struct br_err){0};
    t_index_new(&index);
    int rc = t_repo_open(w->sim, &w->index[who], &first, err);
    if (!rc && from_third) { // where it is in another domain
        rc = t_repo_open_beside(&first, "third", &index, &third, err);
        rc = rc < 0 ? rc : br_repo_point(third.repo, &point.volume, &point.id, &point, NULL, err);
    }
    t_repo_hook(n, hook, hook_ctx);
    rc = rc < 0 ? rc : t_repo_open_beside(&first, "second", &w->second[who], &second, err);
    const struct br_copy_params params = {
        .from = from_third ? third.repo : first.repo, .to = second.repo, .point = &point, .level = 1};
    rc = rc < 0 ? rc : br_copy_point(&params, result, err);
    t_repo_hook(0, NULL, NULL);
    t_repo_close_beside(&second);
    t_repo_close_beside(&third);
    t_repo_close(&first);
    t_index_free(&index);
    return rc;
}

static void copy_to_third(struct world *w)
{
    struct t_repo first, third;
    struct t_index index;
    struct br_copy_result result;
    struct br_err err = {0};

    t_index_new(&index);
    must(w, !t_repo_open(w->sim, &w->index[0], &first, &err), "opening the repository", &err);
    must(w, !t_repo_open_beside(&first, "third", &index, &third, &err), "opening the third", &err);
    for (unsigned which = 0; which < COPIED; which++) {
        const struct br_copy_params params = {
            .from = first.repo, .to = third.repo, .point = &w->known[which].point, .level = 1};

        must(w, !br_copy_point(&params, &result, &err), "a copy to the third", &err);
    }
    t_repo_close_beside(&third);
    t_repo_close(&first);
    t_index_free(&index);
}

struct all_points {
    struct br_point points[KNOWN_MAX];
    size_t count;
};

static int take_any(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct all_points *all = ctx;

    (void)err;
    assert_int_equal(rc, 0);
    assert_true(all->count < KNOWN_MAX);
    all->points[all->count++] = *point;
    return 0;
}

static void prune_second(struct world *w, unsigned who, bool all_go, uint64_t grace_ns)
{
    struct t_repo first, second;
    struct all_points all = {.count = 0};
    struct br_prune_result result;
    struct br_err err = {0};

    must(w, !t_repo_open(w->sim, &w->index[who], &first, &err), "opening the repository", &err);
    must(w, !t_repo_open_beside(&first, "second", &w->second[who], &second, &err), "opening the second", &err);
    must(w, !br_repo_points(second.repo, NULL, take_any, &all, &err), "listing the second's points", &err);
    const struct br_prune_params params = {.repo = second.repo,
                                           .remove = all.points,
                                           .remove_count = all_go ? all.count : 0,
                                           .grace_ns = grace_ns,
                                           .level = 1};
    must(w, !br_prune(&params, &result, &err), "a prune of the second", &err);
    t_repo_close_beside(&second);
    t_repo_close(&first);
}

static void meanwhile(void *ctx)
{
    struct copying *copying = ctx;
    struct world *w = copying->w;
    struct br_copy_result result;
    struct br_err err;

    copying->happened = true;
    if (copying->meanwhile == GIVEN_UP || copying->meanwhile == GIVEN_UP_AND_COPIED) {
        prune_second(w, 1, false, 0);
    }
    if (copying->meanwhile != GIVEN_UP) {
        int rc = copy(w, 1, copying->meanwhile == COPIED_AND_PRUNED, copying->which, 0, NULL, NULL, &result, &err);
        must(w, !rc, "a copy within", &err);
    }
    if (copying->meanwhile == COPIED_AND_PRUNED || copying->meanwhile == GIVEN_UP_AND_COPIED) {
        prune_second(w, 1, false, UINT64_MAX);
        prune_second(w, 1, true, UINT64_MAX);
        prune_second(w, 1, false, UINT64_MAX);
    }
}

// Every point of the second reads as the one that it is a copy of; gives which of them it has.
static void check_second(struct world *w, bool has[COPIED], const char *when)
{
    struct t_index index;
    struct t_repo first, second;
    struct all_points all = {.count = 0};
    struct br_err err = {0};
    uint8_t *got = malloc(SIZE_BYTES);

    assert_non_null(got);
    memset(has, 0, COPIED * sizeof(*has));
    t_index_new(&index);
    must(w, !t_repo_open(w->sim, &w->index[2], &first, &err), "opening the repository", &err);
    must(w, !t_repo_open_beside(&first, "second", &index, &second, &err), "opening the second", &err);
    must(w, !second.refreshed.damaged, "a pack of the second is damaged", NULL);
    must(w, !br_repo_points(second.repo, NULL, take_any, &all, &err), "listing the second's points", &err);
    for (size_t i = 0; i < all.count; i++) {
        unsigned which = 0;

        while (which < COPIED && !br_hash_equal(&all.points[i].root, &w->known[which].point.root)) {
            which++;
        }
        must(w, which < COPIED, "a copy of nothing", NULL);
        must(w, !t_repo_read(&second, &all.points[i], got, &err), when, &err);
        must(w, !memcmp(got, w->images[w->known[which].image], SIZE_BYTES), "a copy reads otherwise", NULL);
        has[which] = true;
    }
    t_repo_close_beside(&second);
    t_repo_close(&first);
    t_index_free(&index);
    free(got);
}

static void nothing_is_left_of_runs(struct world *w)
{
    struct t_repo first, second;
    struct br_err err = {0};
    unsigned left = 0;

    must(w, !t_repo_open(w->sim, &w->index[2], &first, &err), "opening the repository", &err);
    must(w, !t_repo_open_beside(&first, "second", &w->second[0], &second, &err), "opening the second", &err);
    assert_int_equal(second.store.ops->list(second.store.ctx, "leases/", count_name, &left, NULL), 0);
    assert_int_equal(second.store.ops->list(second.store.ctx, "doomed/", count_name, &left, NULL), 0);
    must(w, !left, "a lease or a list is left in the second", NULL);
    t_repo_close_beside(&second);
    t_repo_close(&first);
}

// Whatever was given up and pruned: whoever wants a point copies it again.
static void copy_all_again(struct world *w)
{
    struct br_copy_result result;
    struct br_err err;
    bool has[COPIED];

    for (unsigned which = 0; which < COPIED; which++) {
        must(w, !copy(w, 0, false, which, 0, NULL, NULL, &result, &err), "copying again", &err);
    }
    check_second(w, has, "a copy can't be read, behind all");
    for (unsigned which = 0; which < COPIED; which++) {
        must(w, has[which], "a point that was copied again is not there", NULL);
        must(w, !copy(w, 1, false, which, 0, NULL, NULL, &result, &err) && result.was_there,
             "a point that is there is not found", &err);
    }
    for (unsigned n = 0; n < 4; n++) {
        prune_second(w, n % 2, false, 0);
    }
    check_second(w, has, "a copy can't be read, behind the prunes");
    must(w, has[0] && has[1] && has[2], "a prune of no points removed one", NULL);
    nothing_is_left_of_runs(w);
}

// @which: not the first one, which is there.
static void copies_stop(struct world *from, enum meanwhile what, unsigned which)
{
    bool happened = true;
    uint64_t done = 0;

    for (uint64_t n = 1; happened && n < 200; n++) {
        struct world w;
        struct br_copy_result result = {0};
        struct br_err err;
        bool has[COPIED];

        world_fork(from, n, &w);
        struct copying copying = {.w = &w, .meanwhile = what, .which = which};
        int rc = copy(&w, 0, false, copying.which, n, meanwhile, &copying, &result, &err);
        must(&w, !rc || may_say(rc) || rc == -BR_E_EXISTS, "the copy that was stopped", &err);
        check_second(&w, has, "a copy can't be read");
        // Behind its commit it may have been pruned with all others.
        bool pruned = what == COPIED_AND_PRUNED || what == GIVEN_UP_AND_COPIED;
        must(&w, rc || pruned || has[which], "exit 0, and no copy", NULL);
        copy_all_again(&w);
        world_free_parts(&w);
        happened = copying.happened;
        done++;
    }
    assert_true(done > 3);
}

static void a_copy_may_stop_and_be_made_again(void **state)
{
    (void)state;
    for (uint64_t number = 8000; number < 8000 + t_scaled(1); number++) {
        for (enum meanwhile what = 0; what < MEANWHILES; what++) {
            struct world w;
            struct br_copy_result result;
            struct br_err err = {0};

            world_open(&w, number * MEANWHILES + what, "copy");
            must(&w, !t_repo_init_in(w.sim, "second", &err), "init", &err);
            must(&w, !t_repo_init_in(w.sim, "third", &err), "init", &err);
            copy_to_third(&w);
            must(&w, !copy(&w, 0, false, 0, 0, NULL, NULL, &result, &err), "a copy of the history", &err);
            copies_stop(&w, what, 1);
            copies_stop(&w, what, 2);
            world_close(&w);
        }
    }
}

// A lying index ------------------------------------------------------------------------------------------------------------------------

// Takes every other place of a chunk out of an index, behind the back of who keeps it.
static void thin_out(const struct t_index *index)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi chunks;
    MDB_cursor *cursor;
    MDB_val key, value;
    unsigned n = 0;

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 5), 0);
    assert_int_equal(mdb_env_set_mapsize(env, (size_t)1 << 30), 0);
    assert_int_equal(mdb_env_open(env, index->path, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "chunks", MDB_DUPSORT, &chunks), 0);
    assert_int_equal(mdb_cursor_open(txn, chunks, &cursor), 0);
    for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); !rc;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT_NODUP)) {
        if (n++ % 2) {
            assert_int_equal(mdb_cursor_del(cursor, MDB_NODUPDATA), 0);
        }
    }
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    assert_true(n > 20);
}

static void an_index_that_lacks_chunks_has_nothing_deleted(void **state)
{
    (void)state;
    for (uint64_t number = 9000; number < 9000 + t_scaled(3); number++) {
        struct world w;
        struct br_prune_result result;
        struct br_err err;

        world_open(&w, number, "index");
        thin_out(&w.index[0]);
        must(&w, !prune(&w, 0, number % 2 ? SOME : NONE, 0, &result, &err), "a prune", &err);
        check(&w, "a point was lost by a prune whose index lacks chunks");
        next_backup(&w, 0);
        clean_up(&w);
        world_close(&w);
    }
}

// Harm ---------------------------------------------------------------------------------------------------------------------------------

static void harm_prunes(const char *what, void set(struct br_sim *, uint64_t), uint64_t worlds, uint64_t most)
{
    uint64_t harmed = 0;

    for (uint64_t number = 5000; number < 5000 + t_scaled(worlds); number++) {
        struct world from;
        unsigned through = 0; // not each operation that fails is one that a prune needs

        world_open(&from, number, what);
        for (uint64_t n = 1; through < 3 && n < 400; n += 1 + t_rand_below(&from.rand, most)) {
            struct world w;
            struct br_prune_result result;
            struct br_err err;

            world_fork(&from, n, &w);
            set(w.sim, n);
            int rc = prune(&w, 0, ALL, 0, &result, &err);
            harmed += rc != 0;
            through += !rc;
            set(w.sim, 0);
            br_sim_crash_resolve(w.sim);
            if (n % 2) {
                t_index_free(&w.index[0]);
                t_index_new(&w.index[0]);
            }
            source_set(&w, (unsigned)t_rand_below(&w.rand, IMAGES));
            check(&w, "a point was lost by a prune that was cut");
            next_backup(&w, 0);
            check(&w, "a point was lost by the backup behind");
            world_free_parts(&w);
        }
        must(&from, through, "no prune got through", NULL);
        world_close(&from);
    }
    assert_true(harmed > 5);
}

static void set_crash(struct br_sim *sim, uint64_t n)
{
    br_sim_crash_at_change(sim, n);
}

static void set_kill(struct br_sim *sim, uint64_t n)
{
    br_sim_kill_at_change(sim, n);
}

static void set_failure(struct br_sim *sim, uint64_t n)
{
    br_sim_fail_at(sim, n, n ? EIO : 0);
}

static void a_power_cut_in_a_prune_loses_no_point(void **state)
{
    (void)state;
    harm_prunes("power cut", set_crash, 4, 2);
}

static void a_kill_in_a_prune_loses_no_point(void **state)
{
    (void)state;
    harm_prunes("kill", set_kill, 3, 3);
}

static void a_failed_operation_in_a_prune_loses_no_point(void **state)
{
    (void)state;
    harm_prunes("I/O error", set_failure, 2, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_may_stop_for_as_long_as_it_likes),
        cmocka_unit_test(a_prune_may_stop_for_as_long_as_it_likes),
        cmocka_unit_test(a_run_keeps_what_was_there_when_it_began),
        cmocka_unit_test(a_copy_may_stop_and_be_made_again),
        cmocka_unit_test(an_index_that_lacks_chunks_has_nothing_deleted),
        cmocka_unit_test(a_power_cut_in_a_prune_loses_no_point),
        cmocka_unit_test(a_kill_in_a_prune_loses_no_point),
        cmocka_unit_test(a_failed_operation_in_a_prune_loses_no_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
