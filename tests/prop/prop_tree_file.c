// SPDX-License-Identifier: Apache-2.0
//
// On a disk that stores bits wrong, writes to the wrong place, reads with errors, loses power and runs full, a tree file gives the leaf that was
// put or an error, whatever the history. Versions are made one over the other, recorded when synced, compacted now and then.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/ring/sim.h"
#include "engine/track/tree_file.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_tree.h"

// What an identity record would hold, and the process that goes by it.
struct life {
    struct br_sim *sim;
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_tree_file *file;
    uint64_t number;
    uint64_t bytes;
    struct br_tree tree;
    struct t_version model;
    unsigned wrong; // reads that told of damage
    unsigned right;
};

static struct br_tree_file_name name_of(const struct life *life)
{
    return (struct br_tree_file_name){.dir = life->dir, .stem = "to-x.tree", .number = life->number};
}

static void end_process(struct life *life)
{
    br_tree_file_close(life->file);
    br_dir_close(life->dir);
    br_ring_close(life->ring);
    life->file = NULL;
    br_sim_crash_resolve(life->sim);
}

static void begin_process(struct life *life)
{
    assert_int_equal(br_sim_ring(life->sim, NULL, &life->ring, NULL), 0);
    assert_int_equal(br_sim_dir(life->ring, "state", &life->dir, NULL), 0);
    const struct br_tree_file_name name = name_of(life);
    if (br_tree_file_open(life->ring, &name, life->bytes, false, &life->file, NULL) == 0) {
        return;
    }
    // The record's file is damaged or was never durable: the state is lost, and all begins anew.
    memset(life->model.leaves, 0, life->model.geometry.block_count * sizeof(*life->model.leaves));
    br_tree_empty(&life->model.geometry, &br_hash_zero, &life->tree);
    life->bytes = BR_TREE_FILE_HEADER_BYTES;
    life->number++;
    const struct br_tree_file_name fresh = name_of(life);
    if (br_tree_file_create(life->ring, &fresh, NULL, &life->file, NULL) < 0) {
        life->file = NULL;
    }
}

static void read_version(struct life *life)
{
    struct br_tree_reader *reader = NULL;
    struct br_hash leaf;

    assert_int_equal(br_tree_reader_open(&life->tree, br_tree_file_store(life->file), &reader, NULL), 0);
    for (uint64_t block = 0; block < life->model.geometry.block_count; block++) {
        if (br_tree_read(reader, block, 1, &leaf, NULL, NULL) == 0) {
            assert_memory_equal(&leaf, &life->model.leaves[block], sizeof(leaf));
            life->right++;
        } else {
            life->wrong++;
        }
    }
    br_tree_reader_close(reader);
}

static int write_version(struct life *life, struct t_rand *r)
{
    const struct br_tree_store *store = br_tree_file_store(life->file);
    const uint64_t count = life->model.geometry.block_count;
    struct br_tree_writer *writer = NULL;
    struct t_version next;
    struct br_tree tree;
    int rc = br_tree_writer_open(&life->model.geometry, &life->tree, store, store, &writer, NULL);

    if (rc < 0) {
        return rc;
    }
    t_version_new(&next, life->model.geometry.size_bytes, false);
    memcpy(next.leaves, life->model.leaves, count * sizeof(*next.leaves));
    for (uint64_t block = t_rand_below(r, count); block < count && !rc; block += 1 + t_rand_below(r, 200)) {
        next.leaves[block] = t_leaf(t_rand_next(r));
        rc = br_tree_put(writer, block, &next.leaves[block], NULL, NULL);
    }
    rc = rc ? rc : br_tree_finish(writer, &tree, NULL);
    rc = rc ? rc : br_tree_file_sync(life->file, NULL);
    br_tree_writer_close(writer);
    if (rc < 0) {
        t_version_free(&next);
        return rc;
    }
    t_version_free(&life->model);
    life->model = next;
    life->tree = tree;
    life->bytes = br_tree_file_bytes(life->file);
    return 0;
}

static void compact(struct life *life)
{
    struct br_tree_file *file = NULL;
    struct br_tree tree;

    if (br_tree_file_compact(life->file, &life->tree, 1, &file, &tree, NULL) != 1) {
        return;
    }
    br_tree_file_close(life->file);
    life->file = file;
    life->tree = tree;
    life->bytes = br_tree_file_bytes(file);
    life->number++;
    (void)!br_tree_file_remove(life->dir, "to-x.tree", life->number - 1, NULL);
}

static void one_life(uint64_t round, struct life *total)
{
    struct t_rand r = t_rand_seeded(t_seed(), round);
    const struct br_sim_options faults = {
        .seed = t_rand_next(&r),
        .read_error_ppm = (unsigned)t_rand_below(&r, 5000),
        .write_error_ppm = (unsigned)t_rand_below(&r, 5000),
        .sync_error_ppm = (unsigned)t_rand_below(&r, 20000),
        .misdirect_ppm = (unsigned)t_rand_below(&r, 60000),
        .rot_ppm = (unsigned)t_rand_below(&r, 60000),
        .short_ppm = 50000,
    };
    struct life life = {.sim = br_sim_new(&faults)};

    t_version_new(&life.model, (1 + t_rand_below(&r, 1000)) * BR_BLOCK_BYTES, false);
    br_tree_empty(&life.model.geometry, &br_hash_zero, &life.tree);
    begin_process(&life);
    for (unsigned step = 0; step < 12; step++) {
        if (!t_rand_below(&r, 6)) {
            br_sim_crash_at_change(life.sim, 1 + t_rand_below(&r, 4));
        }
        if (life.file) {
            read_version(&life);
        }
        if (!life.file || write_version(&life, &r) < 0 || br_sim_crashed(life.sim)) {
            end_process(&life);
            begin_process(&life);
        } else if (!t_rand_below(&r, 3)) {
            compact(&life);
        }
    }
    total->right += life.right;
    total->wrong += life.wrong;
    end_process(&life);
    t_version_free(&life.model);
    br_sim_free(life.sim);
}

static void a_tree_file_on_a_bad_disk_gives_the_right_leaf_or_an_error(void **state)
{
    (void)state;
    struct life total = {0};

    for (uint64_t round = 0; round < t_scaled(150); round++) {
        one_life(round, &total);
    }
    // The faults must not be so many that nothing is read, nor so few that nothing is damaged.
    assert_true(total.right > total.wrong && total.wrong > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_tree_file_on_a_bad_disk_gives_the_right_leaf_or_an_error)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
