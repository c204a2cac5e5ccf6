// SPDX-License-Identifier: Apache-2.0
//
// engine/repo/backup.h and reader.h where sim_backup does not go: many packs at once, what is damaged or gone between two runs, dedup against what
// nobody has proven.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "tests/lib/t_env.h"
#include "tests/lib/t_repo.h"

struct bed {
    struct br_sim *sim;
    struct t_index index;
    struct br_sync_result result;
    struct br_writer_counts counts;
    struct br_point point;
    struct br_err err;
    int whole;
};

static void bed_open(struct bed *bed)
{
    *bed = (struct bed){.sim = br_sim_new(&(struct br_sim_options){.seed = 5})};
    t_index_new(&bed->index);
    assert_int_equal(t_repo_init(bed->sim, &bed->err), 0);
}

static void bed_close(struct bed *bed)
{
    t_index_free(&bed->index);
    br_sim_free(bed->sim);
}

static void bed_lose_index(struct bed *bed)
{
    t_index_free(&bed->index);
    t_index_new(&bed->index);
}

static int backup(struct bed *bed, const char *source, uint64_t size_bytes, bool full, uint64_t recheck_bytes)
{
    char side[40];
    struct t_backup run = {
        .source = source,
        .size_bytes = size_bytes,
        .state = side,
        .full = full,
        .pack_bytes = 1,
        .recheck_bytes = recheck_bytes,
    };

    snprintf(side, sizeof(side), "%s.blkrep", source);
    int rc = t_backup_run(bed->sim, &bed->index, &run, &bed->err);
    bed->whole = run.whole;
    bed->result = run.sync;
    bed->counts = run.counts;
    if (run.made) {
        bed->point = run.point;
    }
    return rc;
}

static void must(struct bed *bed, int rc)
{
    if (rc) {
        fail_msg("%s: %s", br_err_name(bed->err.code), bed->err.text);
    }
}

static void poke(struct bed *bed, const char *source, uint64_t at, size_t len, uint64_t seed)
{
    struct t_rand rand = t_rand_seeded(seed, 1);
    BR_AUTO_FREE uint8_t *bytes = malloc(len);

    t_rand_fill(&rand, bytes, len);
    br_sim_poke(bed->sim, source, bytes, len, at);
}

// Points of a volume that was empty and was written whole then, so that each block has a chunk of its own.
static void filled(struct bed *bed, const char *source, uint64_t size_bytes)
{
    must(bed, backup(bed, source, size_bytes, false, 0));
    poke(bed, source, 0, size_bytes, 1);
    must(bed, backup(bed, source, size_bytes, false, 0));
}

static void bed_open_filled(struct bed *bed, uint64_t size_bytes)
{
    bed_open(bed);
    filled(bed, "src", size_bytes);
}

static void expect_point(struct bed *bed, const char *source, const struct br_point *point)
{
    struct t_repo repo;
    BR_AUTO_FREE uint8_t *is = malloc(point->size_bytes), *got = malloc(point->size_bytes);

    br_sim_read(bed->sim, source, is, point->size_bytes, 0);
    must(bed, t_repo_open(bed->sim, &bed->index, &repo, &bed->err));
    must(bed, t_repo_read(&repo, point, got, &bed->err));
    assert_memory_equal(is, got, point->size_bytes);
    t_repo_close(&repo);
}

// The files below packs/, one behind the other, each with a blank.
static void packs(const struct bed *bed, struct br_buf *names)
{
    for (unsigned b = 0; b < 256; b++) {
        char folder[40];
        struct br_buf found = {0};

        snprintf(folder, sizeof(folder), "repo/packs/%02x", b);
        br_sim_list(bed->sim, folder, &found);
        for (char *rest = (char *)found.data, *name; rest && (name = strsep(&rest, "\n")) && *name;) {
            br_buf_printf(names, "%s/%s ", folder, name);
        }
        br_buf_free(&found);
    }
    br_buf_u8(names, 0);
}

static void a_window_reads_from_as_many_packs_as_there_are(void **state)
{
    (void)state;
    struct bed bed;
    const uint64_t size_bytes = 100 * BR_BLOCK_BYTES;

    bed_open_filled(&bed, size_bytes);
    for (uint64_t b = 0; b < 100; b++) { // each block's overlay in a pack of its own
        poke(&bed, "src", b * BR_BLOCK_BYTES + 4096, 4096, 100 + b);
        must(&bed, backup(&bed, "src", size_bytes, false, 0));
    }
    struct br_buf names = {0};
    packs(&bed, &names);
    assert_true(names.len > 100 * 64);
    br_buf_free(&names);
    expect_point(&bed, "src", &bed.point);
    bed_lose_index(&bed);
    expect_point(&bed, "src", &bed.point);
    bed_close(&bed);
}

struct lies {
    struct t_repo *repo;
    struct br_chunk_entry chunks[400];
    unsigned count;
};

static int take_chunks(void *ctx, const char *name)
{
    struct lies *lies = ctx;
    struct br_directory directory = {0};

    assert_int_equal(br_repo_directory(lies->repo->repo, name, &directory, NULL, NULL), 0);
    for (uint32_t i = 0; i < directory.chunk_count; i++) {
        assert_true(lies->count < BR_ARRAY_LEN(lies->chunks));
        lies->chunks[lies->count++] = directory.chunks[i];
    }
    br_directory_free(&directory);
    return 0;
}

// What a hostile writer can do who has the key: a pack with everything that there is, under the right ids, and none of it is that.
static void lie(struct bed *bed, uint8_t with)
{
    struct t_repo repo;
    struct lies lies = {.repo = &repo};
    struct br_writer *writer;
    static uint8_t wrong[BR_BLOCK_BYTES];

    memset(wrong, with, sizeof(wrong));
    must(bed, t_repo_open(bed->sim, &bed->index, &repo, &bed->err));
    must(bed, repo.store.ops->list(repo.store.ctx, "packs/", take_chunks, &lies, &bed->err));
    const struct br_writer_params params = {.repo = repo.repo, .run = {{with}}, .anew = true};
    must(bed, br_writer_open(&params, &writer, &bed->err));
    for (unsigned i = 0; i < lies.count; i++) {
        assert_true(br_writer_put(writer, &lies.chunks[i], wrong, &bed->err) >= 0);
    }
    must(bed, br_writer_settle(writer, &bed->err));
    br_writer_close(writer);
    t_repo_close(&repo);
}

static void packs_that_lie_hide_nothing(void **state)
{
    (void)state;
    struct bed bed;
    const uint64_t size_bytes = 40 * BR_BLOCK_BYTES;

    bed_open_filled(&bed, size_bytes);
    poke(&bed, "src", 5 * BR_BLOCK_BYTES, 5000, 2); // an overlay, and nodes of both versions
    must(&bed, backup(&bed, "src", size_bytes, false, 0));
    struct t_index others;
    t_index_new(&others);
    for (uint8_t i = 0; i < 2; i++) { // made by another host, before and behind the true ones in the order of names
        struct t_index ours = bed.index;

        bed.index = others;
        lie(&bed, (uint8_t)(0xa0 + i));
        bed.index = ours;
    }
    t_index_free(&others);
    expect_point(&bed, "src", &bed.point);
    for (unsigned i = 0; i < 4;
         i++) { // who has only the repository believes no pack, and the order of two lies is drawn anew
        bed_lose_index(&bed);
        expect_point(&bed, "src", &bed.point);
    }
    bed_close(&bed);
}

static void a_pack_that_went_away_is_missed_and_stored_again(void **state)
{
    (void)state;
    struct bed bed;
    const uint64_t size_bytes = 40 * BR_BLOCK_BYTES;

    bed_open_filled(&bed, size_bytes);
    assert_int_equal(bed.whole, 1);
    for (unsigned lose = 0; lose < 2; lose++) { // with the index, and without
        struct br_buf names = {0};
        struct br_ring *ring;
        struct br_dir *dir;
        packs(&bed, &names);
        char *end = strchr((char *)names.data, ' ');
        *end = 0;
        char *slash = strrchr((char *)names.data, '/');
        *slash = 0;
        assert_int_equal(br_sim_ring(bed.sim, NULL, &ring, NULL), 0);
        assert_int_equal(br_sim_dir(ring, (char *)names.data, &dir, NULL), 0);
        assert_int_equal(br_dir_unlink(dir, slash + 1, NULL), 0);
        br_dir_close(dir);
        br_ring_close(ring);
        br_buf_free(&names);
        if (lose) {
            bed_lose_index(&bed);
        }
        must(&bed, backup(&bed, "src", size_bytes, false, 0));
        assert_int_equal(bed.whole, 0);
        expect_point(&bed, "src", &bed.point);
        must(&bed, backup(&bed, "src", size_bytes, false, 0));
        assert_int_equal(bed.whole, 1);
        assert_int_equal(bed.counts.chunks_stored, 0);
        expect_point(&bed, "src", &bed.point);
    }
    bed_close(&bed);
}

static void what_rots_is_found_by_the_recheck_and_stored_again(void **state)
{
    (void)state;
    struct bed bed;
    const uint64_t size_bytes = 40 * BR_BLOCK_BYTES;
    struct br_buf names = {0};

    bed_open_filled(&bed, size_bytes);
    must(&bed, backup(&bed, "src", size_bytes, false, UINT64_C(1) << 30));
    packs(&bed, &names);
    for (char *rest = (char *)names.data, *name; (name = strsep(&rest, " ")) && *name;) {
        br_sim_poke(bed.sim, name, "rot", 3, 200); // in the first frame of each
    }
    br_buf_free(&names);
    assert_int_equal(backup(&bed, "src", size_bytes, false, UINT64_C(1) << 30), -BR_E_VERIFY);
    assert_true(bed.result.recheck_mismatches > 0);
    must(&bed, backup(&bed, "src", size_bytes, false, UINT64_C(1) << 30));
    assert_string_equal(bed.result.fallback_reason, "recheck-mismatch");
    assert_true(bed.counts.raw_bytes >= size_bytes); // nothing of before is trusted
    expect_point(&bed, "src", &bed.point);
    must(&bed, backup(&bed, "src", size_bytes, false, UINT64_C(1) << 30));
    assert_int_equal(bed.result.recheck_mismatches, 0);
    expect_point(&bed, "src", &bed.point);
    bed_close(&bed);
}

static void the_recheck_goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct bed bed;
    const uint64_t size_bytes = 40 * BR_BLOCK_BYTES;
    uint64_t rechecked = 0;

    bed_open_filled(&bed, size_bytes);
    for (unsigned run = 0; run < 5; run++) {
        must(&bed, backup(&bed, "src", size_bytes, false, 8 * BR_BLOCK_BYTES));
        assert_int_equal(bed.result.bytes_rechecked, 8 * BR_BLOCK_BYTES);
        rechecked += bed.result.bytes_rechecked;
    }
    assert_int_equal(rechecked, size_bytes);
    bed_close(&bed);
}

static void nothing_is_left_out_or_laid_over_what_nobody_has_proven(void **state)
{
    (void)state;
    struct bed bed;
    const uint64_t size_bytes = 20 * BR_BLOCK_BYTES;

    bed_open(&bed);
    filled(&bed, "one", size_bytes);
    must(&bed, backup(&bed, "two", size_bytes, false, 0));
    poke(&bed, "two", 0, size_bytes, 1);
    must(&bed, backup(&bed, "two", size_bytes, false, 0));
    assert_true(bed.counts.raw_bytes < 20000); // the same data: found
    bed_lose_index(&bed);
    filled(&bed, "three", size_bytes);
    assert_true(bed.counts.raw_bytes >= size_bytes); // by somebody, for all this host knows
    bed_lose_index(&bed);
    poke(&bed, "one", 5 * BR_BLOCK_BYTES, 4096, 2);
    must(&bed, backup(&bed, "one", size_bytes, false, 0));
    assert_true(bed.counts.raw_bytes >= BR_BLOCK_BYTES); // no overlay
    expect_point(&bed, "one", &bed.point);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_reads_from_as_many_packs_as_there_are),
        cmocka_unit_test(a_pack_that_went_away_is_missed_and_stored_again),
        cmocka_unit_test(packs_that_lie_hide_nothing),
        cmocka_unit_test(what_rots_is_found_by_the_recheck_and_stored_again),
        cmocka_unit_test(the_recheck_goes_on_where_it_stopped),
        cmocka_unit_test(nothing_is_left_out_or_laid_over_what_nobody_has_proven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
