// SPDX-License-Identifier: Apache-2.0
//
// Bits that rot: a small repository with an object of each kind, of which each bit is flipped in its turn (at scale 1 two of each byte, from scale 8 on
// all). Opening, or a look at everything, tells; and what a point reads is what it was or an error, whether the index is there or made anew from
// what is damaged. The same for whole objects that are gone, as far as something else speaks of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "engine/repo/history.h"
#include "engine/repo/lease.h"
#include "engine/repo/objects.h"
#include "engine/repo/verify.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_repo.h"

#define POINTS     3u
#define SIZE_BYTES (2 * BR_BLOCK_BYTES + 5000)

struct world {
    struct br_sim *sim;
    struct t_index index;
    struct br_point points[POINTS];
    uint8_t was[POINTS][SIZE_BYTES];
    struct br_buf names; // of its objects, each followed by a newline
    uint64_t flips;
    struct br_err err;
};

static void must(struct world *w, int rc)
{
    if (rc < 0) {
        fail_msg("%s: %s", br_err_name(w->err.code), w->err.text);
    }
}

static void fill(struct world *w, uint64_t at, size_t len, uint64_t seed)
{
    struct t_rand rand = t_rand_seeded(seed, 1);
    uint8_t bytes[600];

    assert_true(len <= sizeof(bytes));
    t_rand_fill(&rand, bytes, len);
    br_sim_poke(w->sim, "src", bytes, len, at);
}

static void backup(struct world *w, unsigned n)
{
    struct t_backup run = {.size_bytes = SIZE_BYTES};

    must(w, t_backup_run(w->sim, &w->index, &run, &w->err));
    w->points[n] = run.point;
    br_sim_read(w->sim, "src", w->was[n], SIZE_BYTES, 0);
}

// An object of each kind that a verb can leave behind.
static void put_small_objects(struct world *w)
{
    struct t_repo repo;
    const struct br_key recovery = {.bytes = "the recovery key in its envelope"};
    const struct br_repo_new_key key = {.secret = {.recovery = &recovery}, .label = "envelope"};
    struct br_uuid id;
    struct br_lease dead = {.run = {{1}}, .volume = {{2}}, .point = {{3}}, .host = "gone", .label = "src"};
    struct br_lease alive = {.run = {{4}}, .volume = {{5}}, .point = {{6}}, .host = "here", .label = "src"};
    struct br_point_mark hold = {.volume = w->points[0].volume, .point = w->points[0].id, .host = "here", .why = "law"};
    const char note[] = "{\"verb\": \"backup\"}";
    uint8_t salts[1][BR_SALT_BYTES] = {{7}};
    struct br_doomed doomed = {.id = {{8}}, .host = "here", .salts = salts, .count = 1};
    uint32_t epoch;

    must(w, t_repo_open(w->sim, &w->index, &repo, &w->err));
    must(w, br_repo_add_key(repo.repo, &key, &id, &w->err));
    must(w, br_lease_take(repo.repo, &dead, &w->err));
    must(w, br_lease_give_up(repo.repo, &dead, "here", "it died", &w->err)); // a tombstone
    must(w, br_lease_take(repo.repo, &alive, &w->err));
    must(w, br_hold_put(repo.repo, &hold, &w->err));
    must(w, br_doomed_put(repo.repo, &doomed, &w->err));
    must(w, br_history_put(repo.repo, "here", &dead.run, 0, note, sizeof(note) - 1, &w->err));
    must(w, br_repo_rotate(repo.repo, &epoch, &w->err));
    t_repo_close(&repo);
}

static int take_name(void *ctx, const char *name)
{
    br_buf_printf(ctx, "repo/%s\n", name);
    return 0;
}

static void list_objects(struct world *w)
{
    static const char *const folders[] = {"keys/",   "epochs/", "points/",  "leases/",
                                          "doomed/", "holds/",  "history/", "packs/"};
    struct t_repo repo;

    must(w, t_repo_open(w->sim, &w->index, &repo, &w->err));
    take_name(&w->names, "config");
    for (size_t i = 0; i < BR_ARRAY_LEN(folders); i++) {
        size_t before = w->names.len;

        must(w, repo.store.ops->list(repo.store.ctx, folders[i], take_name, &w->names, &w->err));
        assert_true(w->names.len > before);
    }
    br_buf_u8(&w->names, 0);
    t_repo_close(&repo);
}

static void world_open(struct world *w)
{
    *w = (struct world){.sim = br_sim_new(&(struct br_sim_options){.seed = 7})};
    t_index_new(&w->index);
    must(w, t_repo_init(w->sim, &w->err));
    backup(w, 0);
    fill(w, 1000, 600, 1);
    fill(w, BR_BLOCK_BYTES + 70, 300, 2);
    backup(w, 1);
    put_small_objects(w);
    fill(w, 20000, 400, 3); // an overlay
    backup(w, 2);
    list_objects(w);
}

static void world_close(struct world *w)
{
    br_buf_free(&w->names);
    t_index_free(&w->index);
    br_sim_free(w->sim);
}

struct looking {
    struct br_point points[POINTS + 1];
    unsigned count;
    unsigned bad;
};

static int take_point(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct looking *looking = ctx;

    (void)err;
    if (rc) {
        looking->bad++;
    } else {
        assert_true(looking->count < BR_ARRAY_LEN(looking->points));
        looking->points[looking->count++] = *point;
    }
    return 0;
}

static void take_bad(void *ctx, const char *what)
{
    struct looking *looking = ctx;

    assert_true(*what);
    looking->bad++;
}

// Does a look at everything say that something is wrong? So does an error that ends it.
static bool look_at_everything(struct t_repo *repo)
{
    struct looking looking = {.count = 0};
    struct br_objects_checked checked;
    struct br_repo_verify_result result;
    struct br_err err = {0};
    const struct br_repo_verify_params params = {
        .repo = repo->repo, .points = looking.points, .data = true, .bad = take_bad, .ctx = &looking};
    int rc = br_repo_points(repo->repo, NULL, take_point, &looking, &err);

    rc = rc < 0 ? rc : br_objects_check(repo->repo, true, take_bad, &looking, &checked, &err);
    if (rc >= 0) {
        struct br_repo_verify_params all = params;

        all.point_count = looking.count;
        rc = br_repo_verify(&all, &result, &err);
    }
    if (rc < 0) {
        assert_true(err.text[0] || err.code);
        return true;
    }
    return looking.bad || repo->refreshed.damaged || result.points_incomplete || result.packs_damaged;
}

static void points_read_as_they_were(struct world *w, struct t_repo *repo)
{
    static uint8_t got[SIZE_BYTES];

    for (unsigned n = 0; n < POINTS; n++) {
        const struct br_point *was = &w->points[n];
        struct br_point point;
        struct br_err err = {0};

        if (!br_repo_point(repo->repo, &was->volume, &was->id, &point, NULL, &err)) {
            assert_memory_equal(&point.root, &was->root, sizeof(point.root));
            assert_int_equal(point.size_bytes, was->size_bytes);
        }
        if (!t_repo_read(repo, was, got, &err)) {
            assert_memory_equal(got, w->was[n], SIZE_BYTES);
        } else {
            assert_true(err.text[0] || err.code);
        }
    }
}

static void flip(struct world *w, const char *name, uint64_t at, uint8_t bit)
{
    uint8_t byte, flipped;
    struct t_index index;
    struct t_repo repo;
    struct br_err err = {0};

    br_sim_read(w->sim, name, &byte, 1, at);
    flipped = byte ^ (uint8_t)(1u << bit);
    br_sim_poke(w->sim, name, &flipped, 1, at);
    if (w->flips++ % 2) {
        t_index_copy(&index, &w->index);
    } else {
        t_index_new(&index); // with the index lost
    }
    if (!t_repo_open(w->sim, &index, &repo, &err)) {
        if (!look_at_everything(&repo)) {
            fail_msg("bit %u of byte %llu of %s: nobody notices", bit, (unsigned long long)at, name);
        }
        points_read_as_they_were(w, &repo);
    }
    t_repo_close(&repo);
    t_index_free(&index);
    br_sim_poke(w->sim, name, &byte, 1, at);
}

static void each_bit_of_each_object_is_missed(void **state)
{
    (void)state;
    static struct world w;
    struct t_repo repo;
    uint64_t scale = t_scaled(1);

    world_open(&w);
    must(&w, t_repo_open(w.sim, &w.index, &repo, &w.err));
    assert_false(look_at_everything(&repo));
    points_read_as_they_were(&w, &repo);
    t_repo_close(&repo);
    for (char *rest = (char *)w.names.data, *name; (name = strsep(&rest, "\n")) && *name;) {
        for (uint64_t at = 0, size = br_sim_size(w.sim, name); at < size; at++) {
            for (uint8_t bit = 0; bit < 8; bit++) {
                if (scale >= 8 || (at * 3 + t_seed() + bit) % 4 == 0) {
                    flip(&w, name, at, bit);
                }
            }
        }
    }
    must(&w, t_repo_open(w.sim, &w.index, &repo, &w.err));
    assert_false(look_at_everything(&repo));
    t_repo_close(&repo);
    print_message("# %llu bits\n", (unsigned long long)w.flips);
    world_close(&w);
}

static void what_is_gone_is_missed(void **state)
{
    (void)state;
    static struct world w;
    struct t_repo repo;
    struct br_ring *ring;
    struct br_dir *dir;
    unsigned missed = 0;

    world_open(&w);
    for (char *rest = (char *)w.names.data, *name; (name = strsep(&rest, "\n")) && *name;) {
        const struct t_index index = w.index;
        struct br_sim *whole = w.sim;
        char *slash = strrchr(name, '/');
        bool told;

        w.sim = br_sim_fork(whole, 1);
        t_index_copy(&w.index, &index);
        *slash = 0;
        must(&w, br_sim_ring(w.sim, NULL, &ring, &w.err));
        must(&w, br_sim_dir(ring, name, &dir, &w.err));
        *slash = '/';
        must(&w, br_dir_unlink(dir, slash + 1, &w.err));
        br_dir_close(dir);
        br_ring_close(ring);
        told = t_repo_open(w.sim, &w.index, &repo, &w.err) != 0 || look_at_everything(&repo);
        if (!told) {
            points_read_as_they_were(&w, &repo);
        }
        t_repo_close(&repo);
        t_index_free(&w.index);
        br_sim_free(w.sim);
        w.sim = whole;
        w.index = index;
        // Nothing speaks of the others: a point may be pruned, a hold lifted, a sum is of a key that may be older than sums.
        if (!strcmp(name, "repo/config") || !strncmp(name, "repo/epochs/", 12) || !strncmp(name, "repo/packs/", 11) ||
            (!strncmp(name, "repo/keys/", 10) && !strstr(name, "-sum"))) {
            missed++;
            assert_true(told);
        }
    }
    assert_true(missed >= 1 + 2 + 2 + 2); // config, keys, epochs, packs
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bit_of_each_object_is_missed),
        cmocka_unit_test(what_is_gone_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
