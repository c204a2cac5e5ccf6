// SPDX-License-Identifier: Apache-2.0
//
// The law: whatever range of a point is asked for, in whatever order and however many at once, what comes is what the source held there, or an
// error. Extents cover the point, and what they call zeros is zeros. Of a damaged repository, and of blocks that the source could not read, no
// byte is ever handed out: the reads that need a bad block fail, and only they.
//
// A round is a volume of random size, changed and backed up a few times, so that points are made of blocks, overlays and zeros, read at random;
// then bits of its packs are flipped, and it is read again. Replay one with T_SEED=N; the failing round is printed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "engine/repo/access.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_repo.h"

#define READS_MAX 8u

struct round {
    struct t_rand rand;
    struct br_sim *sim;
    struct t_index index;
    struct br_point point;
    uint64_t size_bytes;
    uint8_t *is;    // what the source holds
    bool *lost;     // blocks that the source could not read
    bool tree_lost; // a node of the tree is damaged: which blocks that costs is not known
    struct br_err err;
};

static void must(struct round *r, int rc)
{
    if (rc < 0) {
        fail_msg("%s: %s", br_err_name(r->err.code), r->err.text);
    }
}

static void backup(struct round *r)
{
    struct t_backup run = {.size_bytes = r->size_bytes, .pack_bytes = 1, .over_gaps = true};

    must(r, t_backup_run(r->sim, &r->index, &run, &r->err));
    r->point = run.point;
}

static void change(struct round *r)
{
    uint64_t at = t_rand_below(&r->rand, r->size_bytes), most = t_rand_below(&r->rand, 2) ? 9000 : 400000;
    size_t len = (size_t)t_rand_below(&r->rand, BR_MIN(r->size_bytes - at, most)) + 1;

    if (t_rand_below(&r->rand, 3)) {
        t_rand_fill(&r->rand, r->is + at, len);
    } else {
        memset(r->is + at, 0, len);
    }
    br_sim_poke(r->sim, "src", r->is + at, len, at);
}

static void begin(struct round *r, uint64_t seed, uint64_t number)
{
    struct br_ring *ring;
    struct br_file *file;

    *r = (struct round){.rand = t_rand_seeded(seed, number)};
    r->sim = br_sim_new(&(struct br_sim_options){.seed = t_rand_next(&r->rand)});
    t_index_new(&r->index);
    must(r, t_repo_init(r->sim, &r->err));
    r->size_bytes = t_rand_below(&r->rand, 12 * BR_MIB) + 1;
    r->is = calloc(1, r->size_bytes);
    r->lost = calloc(br_div_up(r->size_bytes, BR_BLOCK_BYTES), sizeof(*r->lost));
    assert_true(r->is && r->lost);
    must(r, br_sim_ring(r->sim, NULL, &ring, &r->err));
    must(r, br_sim_file(ring, "src", r->size_bytes, &file, &r->err));
    br_file_close(file);
    br_ring_close(ring);
    for (uint64_t version = 0, count = t_rand_below(&r->rand, 4) + 1; version < count; version++) {
        for (uint64_t n = t_rand_below(&r->rand, 12) + 1; n; n--) {
            change(r);
        }
        if (version + 1 == count && !t_rand_below(&r->rand, 3)) {
            uint64_t block = t_rand_below(&r->rand, br_div_up(r->size_bytes, BR_BLOCK_BYTES));

            br_sim_unreadable(r->sim, "src", block * BR_BLOCK_BYTES, 512);
        }
        backup(r);
    }
}

static void end(struct round *r)
{
    t_index_free(&r->index);
    br_sim_free(r->sim);
    free(r->is);
    free(r->lost);
}

// Which blocks can't be had, as the reader of whole points says.
static void note_bad(void *ctx, uint64_t offset_bytes, const struct br_err *why)
{
    (void)why;
    ((bool *)ctx)[offset_bytes / BR_BLOCK_BYTES] = true;
}

static int note_unreadable(void *ctx, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    struct round *r = ctx;

    (void)reterr;
    for (uint64_t at = offset_bytes; at < offset_bytes + len_bytes; at += BR_BLOCK_BYTES) {
        r->lost[at / BR_BLOCK_BYTES] = true;
    }
    return 0;
}

static bool any_bad(const bool *bad, uint64_t offset_bytes, size_t len)
{
    for (uint64_t b = offset_bytes / BR_BLOCK_BYTES; len && b <= (offset_bytes + len - 1) / BR_BLOCK_BYTES; b++) {
        if (bad[b]) {
            return true;
        }
    }
    return false;
}

struct reading {
    struct br_access_read read;
    uint64_t offset_bytes;
    size_t len;
    uint8_t *to;
    bool on;
};

static void reading_begin(struct round *r, struct br_access *access, struct reading *reading)
{
    uint64_t most = t_rand_below(&r->rand, 2) ? 5000 : 3 * BR_MIB;

    // Some go on where they ended.
    uint64_t next = reading->offset_bytes + reading->len;
    reading->offset_bytes =
        next < r->size_bytes && t_rand_below(&r->rand, 2) ? next : t_rand_below(&r->rand, r->size_bytes);
    reading->len = (size_t)t_rand_below(&r->rand, BR_MIN(most, r->size_bytes - reading->offset_bytes) + 1);
    reading->to = malloc(reading->len + 1);
    assert_non_null(reading->to);
    memset(reading->to, 0xee, reading->len + 1);
    must(r, br_access_begin(access, &reading->read, reading->to, reading->len, reading->offset_bytes, &r->err));
    reading->on = true;
}

static void reading_step(struct round *r, struct br_access *access, struct reading *reading, const bool *bad)
{
    int rc = br_access_step(access, &reading->read, &r->err);
    bool needs_bad = any_bad(bad, reading->offset_bytes, reading->len);

    if (!rc) {
        return;
    }
    if (rc > 0) {
        assert_true(!needs_bad || r->tree_lost);
        assert_memory_equal(reading->to, r->is + reading->offset_bytes, reading->len);
        assert_int_equal(reading->to[reading->len], 0xee);
    } else if (!needs_bad) {
        must(r, rc);
    } else {
        assert_true(r->err.has_offset && bad[r->err.offset_bytes / BR_BLOCK_BYTES]);
    }
    br_access_end(access, &reading->read);
    free(reading->to);
    reading->on = false;
}

static void check_extents(struct round *r, struct br_access *access)
{
    uint64_t at = t_rand_below(&r->rand, r->size_bytes);

    for (uint64_t end_bytes; at < r->size_bytes; at = end_bytes) {
        bool zero;

        must(r, br_access_extent(access, at, &zero, &end_bytes, &r->err));
        assert_true(end_bytes > at && end_bytes <= r->size_bytes);
        if (zero) {
            assert_true(br_is_zero(r->is + at, end_bytes - at));
        }
        for (uint64_t b = at / BR_BLOCK_BYTES; b * BR_BLOCK_BYTES < end_bytes; b++) {
            uint64_t from = b * BR_BLOCK_BYTES, len = BR_MIN(BR_BLOCK_BYTES, r->size_bytes - from);

            // Blocks of zeros are always known, and a block that is lost is none.
            assert_int_equal(zero, !r->lost[b] && br_is_zero(r->is + from, len));
        }
    }
}

static uint64_t read_at_random(struct round *r, bool damaged)
{
    struct t_repo repo;
    struct br_access *access;
    struct reading readings[READS_MAX] = {0};
    uint64_t blocks = br_div_up(r->size_bytes, BR_BLOCK_BYTES), bad_blocks = 0;
    BR_AUTO_FREE bool *bad = calloc(blocks, sizeof(*bad));

    must(r, t_repo_open(r->sim, &r->index, &repo, &r->err));
    struct br_read_sink sink = br_read_drop;
    sink.unreadable = note_unreadable;
    sink.ctx = r;
    const struct br_read_params params = {
        .repo = repo.repo,
        .point = &r->point,
        .len_bytes = UINT64_MAX,
        .sink = sink,
        .go_on = true,
        .bad_block = note_bad,
        .bad_block_ctx = bad,
    };
    int rc = br_repo_read(&params, NULL, &bad_blocks, &r->err);
    if (damaged && rc < 0) {
        r->tree_lost = true;
        memset(bad, 1, blocks * sizeof(*bad));
    } else {
        must(r, rc);
    }
    for (uint64_t b = 0; b < blocks; b++) {
        bad[b] = bad[b] || r->lost[b];
    }
    rc = br_access_open(repo.repo, &r->point, &access, &r->err);
    must(r, rc);
    if (!damaged) {
        check_extents(r, access);
    }
    for (uint64_t n = 60, busy = 0; n || busy;) {
        struct reading *reading = &readings[t_rand_below(&r->rand, READS_MAX)];

        if (reading->on) {
            reading_step(r, access, reading, bad);
            busy -= !reading->on;
            br_ring_wait(repo.ring, 0);
        } else if (n) {
            reading_begin(r, access, reading);
            n--;
            busy++;
        }
        if (busy && !t_rand_below(&r->rand, 4)) {
            br_ring_wait(repo.ring, UINT64_MAX);
        }
    }
    assert_int_equal(br_access_read(access, NULL, 1, r->size_bytes, &r->err), -BR_E_USAGE);
    br_access_close(access);
    t_repo_close(&repo);
    return bad_blocks;
}

static void damage(struct round *r)
{
    for (unsigned b = 0; b < 256; b++) {
        char folder[40], path[200];
        struct br_buf found = {0};

        snprintf(folder, sizeof(folder), "repo/packs/%02x", b);
        br_sim_list(r->sim, folder, &found);
        for (char *rest = (char *)found.data, *name; rest && (name = strsep(&rest, "\n")) && *name;) {
            uint8_t byte;

            if (t_rand_below(&r->rand, 3)) {
                continue;
            }
            snprintf(path, sizeof(path), "%s/%s", folder, name);
            uint64_t at = t_rand_below(&r->rand, br_sim_size(r->sim, path));
            br_sim_read(r->sim, path, &byte, 1, at);
            byte ^= (uint8_t)(1u << t_rand_below(&r->rand, 8));
            br_sim_poke(r->sim, path, &byte, 1, at);
        }
        br_buf_free(&found);
    }
}

static void any_range_is_what_the_source_held_or_an_error(void **state)
{
    (void)state;
    uint64_t seed = t_seed(), bad_blocks = 0;

    for (uint64_t number = 0, rounds = t_scaled(40); number < rounds; number++) {
        struct round r;

        printf("# round %llu\n", (unsigned long long)number);
        begin(&r, seed, number);
        assert_int_equal(read_at_random(&r, false), 0);
        damage(&r);
        bad_blocks += read_at_random(&r, true);
        end(&r);
    }
    assert_true(bad_blocks > 0); // else nothing was damaged
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_range_is_what_the_source_held_or_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
