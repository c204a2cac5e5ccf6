// SPDX-License-Identifier: Apache-2.0
//
// Tree files in the simulated world: what was synced is read back after any crash, damage is never read as a leaf, garbage goes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/ring/sim.h"
#include "engine/track/tree_file.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_tree.h"

#define STEM  "tree"
#define LARGE (UINT64_C(256) * 200 * BR_BLOCK_BYTES) // two levels, 200 nodes of level 1

static const struct br_uuid replica = {.bytes = "a replica's uuid"};

// One process in a world, with an open file or none.
struct process {
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_tree_file *file;
};

static struct br_sim *new_world(void)
{
    return br_sim_new(&(struct br_sim_options){.seed = t_seed()});
}

static void start(struct process *process, struct br_sim *sim)
{
    *process = (struct process){0};
    assert_int_equal(br_sim_ring(sim, NULL, &process->ring, NULL), 0);
    assert_int_equal(br_sim_dir(process->ring, "state", &process->dir, NULL), 0);
}

static void stop(struct process *process)
{
    br_tree_file_close(process->file);
    br_dir_close(process->dir);
    br_ring_close(process->ring);
}

static struct br_tree_file_name name_in(const struct process *process, uint64_t number)
{
    return (struct br_tree_file_name){.dir = process->dir, .stem = STEM, .number = number, .replica = replica};
}

static int create(struct process *process, uint64_t number)
{
    const struct br_tree_file_name name = name_in(process, number);
    return br_tree_file_create(process->ring, &name, NULL, &process->file, NULL);
}

static int reopen(struct process *process, uint64_t number, uint64_t tree_bytes, bool read_only)
{
    const struct br_tree_file_name name = name_in(process, number);
    br_tree_file_close(process->file);
    process->file = NULL;
    return br_tree_file_open(process->ring, &name, tree_bytes, read_only, &process->file, NULL);
}

// Another version of @model: about one block in @sparse gets a new leaf and page hashes. Over @parent, or from nothing.
static int change(struct br_tree_file *file, struct t_version *model, uint64_t seed, uint64_t sparse,
                  const struct br_tree *parent, struct br_tree *ret_tree)
{
    const struct br_tree_store *store = br_tree_file_store(file);
    struct t_rand r = t_rand_seeded(7, seed);
    struct br_tree_writer *writer = NULL;
    int rc = br_tree_writer_open(&model->geometry, parent, parent ? store : NULL, store, &writer, NULL);

    assert_int_equal(rc, 0);
    for (uint64_t block = t_rand_below(&r, sparse); block < model->geometry.block_count && !rc;
         block += 1 + t_rand_below(&r, 2 * sparse)) {
        model->leaves[block] = t_leaf(t_rand_next(&r));
        t_rand_fill(&r, model->pages[block], sizeof(model->pages[block]));
        rc = br_tree_put(writer, block, &model->leaves[block], model->pages[block], NULL);
    }
    rc = rc ? rc : br_tree_finish(writer, ret_tree, NULL);
    br_tree_writer_close(writer);
    return rc;
}

static void nodes_are_read_before_they_are_written_after_and_by_the_next_process(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;
    struct t_version model;
    struct br_tree tree;
    uint8_t secret[BR_PAGE_SECRET_BYTES];

    start(&process, sim);
    t_version_new(&model, LARGE, true);
    assert_int_equal(create(&process, 4), 0);
    assert_int_equal(change(process.file, &model, 1, 1, NULL, &tree), 0);
    assert_true(br_tree_file_bytes(process.file) > 4 * BR_MIB);
    t_tree_expect(&tree, br_tree_file_store(process.file), &model);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    t_tree_expect(&tree, br_tree_file_store(process.file), &model);
    const uint64_t bytes = br_tree_file_bytes(process.file);
    memcpy(secret, br_tree_file_secret(process.file), sizeof(secret));
    stop(&process);
    assert_int_equal(br_sim_size(sim, "state/tree.4"), bytes);

    start(&process, sim);
    assert_int_equal(reopen(&process, 4, bytes, true), 0);
    assert_int_equal(br_tree_file_number(process.file), 4);
    assert_int_equal(br_tree_file_bytes(process.file), bytes);
    assert_memory_equal(br_tree_file_secret(process.file), secret, sizeof(secret));
    t_tree_expect(&tree, br_tree_file_store(process.file), &model);
    uint64_t ref = 0;
    const struct br_tree_store *store = br_tree_file_store(process.file);
    assert_int_equal(store->keep(store->ctx, &br_hash_zero, secret, 100, &ref, NULL), -BR_E_INTERNAL);
    assert_int_equal(br_tree_file_sync(process.file, NULL), -BR_E_INTERNAL);
    stop(&process);
    t_version_free(&model);
    br_sim_free(sim);
}

static void every_file_draws_its_own_secret_unless_it_is_given_one(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;
    uint8_t first[BR_PAGE_SECRET_BYTES];

    start(&process, sim);
    assert_int_equal(create(&process, 1), 0);
    memcpy(first, br_tree_file_secret(process.file), sizeof(first));
    br_tree_file_close(process.file);
    assert_int_equal(create(&process, 2), 0);
    assert_memory_not_equal(br_tree_file_secret(process.file), first, sizeof(first));
    br_tree_file_close(process.file);
    const struct br_tree_file_name name = name_in(&process, 3);
    assert_int_equal(br_tree_file_create(process.ring, &name, first, &process.file, NULL), 0);
    assert_memory_equal(br_tree_file_secret(process.file), first, sizeof(first));
    stop(&process);
    br_sim_free(sim);
}

static void a_file_that_is_missing_shorter_or_anothers_is_refused(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;

    start(&process, sim);
    assert_int_equal(create(&process, 5), 0);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    assert_int_equal(reopen(&process, 6, BR_TREE_FILE_HEADER_BYTES, true), -BR_E_NOT_FOUND);
    assert_int_equal(reopen(&process, 5, BR_TREE_FILE_HEADER_BYTES + 16, true), -BR_E_CORRUPT);
    assert_int_equal(reopen(&process, 5, 0, true), -BR_E_CORRUPT);
    struct br_tree_file_name name = name_in(&process, 5);
    name.replica.bytes[0] ^= 1;
    assert_int_equal(br_tree_file_open(process.ring, &name, BR_TREE_FILE_HEADER_BYTES, true, &process.file, NULL),
                     -BR_E_CORRUPT);
    assert_int_equal(br_dir_rename(process.dir, "tree.5", "tree.6", NULL), 0);
    assert_int_equal(reopen(&process, 6, BR_TREE_FILE_HEADER_BYTES, true), -BR_E_CORRUPT);
    stop(&process);
    br_sim_free(sim);
}

static void what_lies_behind_the_recorded_length_is_cut_off(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;
    struct t_version model, later;
    struct br_tree tree, garbage, next;

    start(&process, sim);
    t_version_new(&model, LARGE / 50, true);
    t_version_new(&later, LARGE / 50, true);
    assert_int_equal(create(&process, 1), 0);
    assert_int_equal(change(process.file, &model, 1, 3, NULL, &tree), 0);
    const uint64_t bytes = br_tree_file_bytes(process.file);
    assert_int_equal(change(process.file, &later, 2, 3, NULL, &garbage), 0);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    assert_int_equal(reopen(&process, 1, bytes, false), 0);
    assert_int_equal(br_sim_size(sim, "state/tree.1"), bytes);
    t_tree_expect(&tree, br_tree_file_store(process.file), &model);
    // The same place takes other nodes; refs to what was there are never read as something else.
    assert_int_equal(change(process.file, &model, 3, 9, &tree, &next), 0);
    t_tree_expect(&next, br_tree_file_store(process.file), &model);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    struct br_tree_reader *reader = NULL;
    struct br_hash leaf;
    assert_int_equal(br_tree_reader_open(&garbage, br_tree_file_store(process.file), &reader, NULL), 0);
    assert_int_equal(br_tree_read(reader, 3, 1, &leaf, NULL, NULL), -BR_E_CORRUPT);
    br_tree_reader_close(reader);
    stop(&process);
    t_version_free(&model);
    t_version_free(&later);
    br_sim_free(sim);
}

// Opens the file and reads the version; 0 when all is as the model says, -BR_E_* when damage is told. Fails on a wrong leaf.
static int read_all(struct process *process, uint64_t bytes, const struct br_tree *tree, const struct t_version *model)
{
    struct br_tree_reader *reader = NULL;
    struct br_hash leaf;
    uint64_t pages[BR_PAGES_PER_BLOCK];
    int rc = reopen(process, 1, bytes, true);

    if (rc < 0) {
        return rc;
    }
    assert_int_equal(br_tree_reader_open(tree, br_tree_file_store(process->file), &reader, NULL), 0);
    for (uint64_t block = 0; block < model->geometry.block_count; block++) {
        int read = br_tree_read(reader, block, 1, &leaf, pages, NULL);
        rc = read < 0 ? read : rc;
        if (!read) {
            assert_memory_equal(&leaf, &model->leaves[block], sizeof(leaf));
            assert_memory_equal(pages, model->pages[block], sizeof(pages));
        }
    }
    br_tree_reader_close(reader);
    return rc;
}

static void no_flipped_bit_gives_a_wrong_leaf(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;
    struct t_version model;
    struct br_tree tree;
    unsigned unnoticed = 0;

    start(&process, sim);
    t_version_new(&model, 300 * BR_BLOCK_BYTES, true);
    assert_int_equal(create(&process, 1), 0);
    assert_int_equal(change(process.file, &model, 1, 60, NULL, &tree), 0);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    const uint64_t bytes = br_tree_file_bytes(process.file);
    assert_in_range(bytes, 1000, 10000);
    for (uint64_t bit = 0; bit < 8 * bytes; bit++) {
        uint8_t byte;
        br_sim_read(sim, "state/tree.1", &byte, 1, bit / 8);
        const uint8_t flipped = byte ^ (uint8_t)(1u << bit % 8);
        br_sim_poke(sim, "state/tree.1", &flipped, 1, bit / 8);
        int rc = read_all(&process, bytes, &tree, &model);
        assert_true(rc == 0 || rc == -BR_E_CORRUPT);
        unnoticed += rc == 0;
        br_sim_poke(sim, "state/tree.1", &byte, 1, bit / 8);
    }
    assert_in_range(unnoticed, 0, 3 * 8 * 15); // the padding of three records
    assert_int_equal(read_all(&process, bytes, &tree, &model), 0);
    stop(&process);
    t_version_free(&model);
    br_sim_free(sim);
}

static void nodes_are_cached_within_a_bound(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;
    struct t_version model;
    struct br_tree tree;
    struct br_tree_reader *reader = NULL;
    struct br_hash leaf;
    uint64_t ios[4];

    start(&process, sim);
    t_version_new(&model, LARGE, true);
    assert_int_equal(create(&process, 1), 0);
    assert_int_equal(change(process.file, &model, 1, 1, NULL, &tree), 0);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    assert_int_equal(reopen(&process, 1, br_tree_file_bytes(process.file), true), 0);
    // A new reader has no node, so that it asks the file: nothing cached, then all, then what a look at all of it has displaced.
    for (unsigned i = 0; i < 3; i++) {
        ios[i] = br_sim_ios(sim);
        assert_int_equal(br_tree_reader_open(&tree, br_tree_file_store(process.file), &reader, NULL), 0);
        assert_int_equal(br_tree_read(reader, 0, 1, &leaf, NULL, NULL), 0);
        br_tree_reader_close(reader);
        ios[i] = br_sim_ios(sim) - ios[i];
        if (i == 1) {
            t_tree_expect(&tree, br_tree_file_store(process.file), &model);
        }
    }
    assert_int_equal(ios[0], 2);
    assert_int_equal(ios[1], 0);
    assert_in_range(ios[2], 1, 2);
    stop(&process);
    t_version_free(&model);
    br_sim_free(sim);
}

static void after_a_failed_write_the_file_takes_no_more_and_loses_nothing(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 2; kind++) {
        struct br_sim *sim = new_world();
        struct process process;
        struct t_version model, later;
        struct br_tree tree, none;

        start(&process, sim);
        t_version_new(&model, LARGE, true);
        t_version_new(&later, LARGE, true);
        assert_int_equal(create(&process, 1), 0);
        assert_int_equal(change(process.file, &model, 1, 4, NULL, &tree), 0);
        assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
        const uint64_t bytes = br_tree_file_bytes(process.file);
        if (kind == 0) {
            br_sim_space(sim, br_sim_used_bytes(sim));
        } else {
            br_sim_fail_at(sim, 1, EIO);
        }
        (void)change(process.file, &later, 2, 1, NULL, &none);
        assert_int_equal(br_tree_file_sync(process.file, NULL), kind ? -BR_E_IO : -BR_E_NO_SPACE);
        br_sim_space(sim, 0);
        br_sim_fail_at(sim, 0, 0);
        assert_int_equal(br_tree_file_sync(process.file, NULL), kind ? -BR_E_IO : -BR_E_NO_SPACE);
        uint64_t ref = 0;
        const struct br_tree_store *store = br_tree_file_store(process.file);
        assert_true(store->keep(store->ctx, &br_hash_zero, (const uint8_t *)"node", 4, &ref, NULL) < 0);
        assert_int_equal(reopen(&process, 1, bytes, false), 0);
        t_tree_expect(&tree, br_tree_file_store(process.file), &model);
        assert_int_equal(change(process.file, &model, 3, 4, &tree, &tree), 0);
        assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
        t_tree_expect(&tree, br_tree_file_store(process.file), &model);
        stop(&process);
        t_version_free(&model);
        t_version_free(&later);
        br_sim_free(sim);
    }
}

// What an identity record would say: which file, how much of it, which tree.
struct record {
    uint64_t number;
    uint64_t bytes;
    struct br_tree tree;
    struct t_version model;
};

static void record_now(struct record *record, const struct br_tree_file *file, const struct br_tree *tree)
{
    record->number = br_tree_file_number(file);
    record->bytes = br_tree_file_bytes(file);
    record->tree = *tree;
}

// Three versions, each over the last, and a compaction of each; the record follows what was durable. Ends early when the world does.
static int live_through(struct process *process, struct record *record)
{
    struct br_tree tree = record->tree, copied;
    struct br_tree_file *compact = NULL;
    struct t_version next;

    for (uint64_t i = 0; i < 3; i++) {
        t_version_new(&next, record->model.geometry.size_bytes, true);
        memcpy(next.leaves, record->model.leaves, next.geometry.block_count * sizeof(*next.leaves));
        memcpy(next.pages, record->model.pages, next.geometry.block_count * sizeof(*next.pages));
        int rc = br_tree_file_live(process->file, &tree, &(uint64_t){0}, NULL);
        rc = rc ? rc : change(process->file, &next, i, 5, &tree, &tree);
        rc = rc ? rc : br_tree_file_sync(process->file, NULL);
        if (rc < 0) {
            t_version_free(&next);
            return rc;
        }
        t_version_free(&record->model);
        record->model = next;
        record_now(record, process->file, &tree);
        rc = br_tree_file_compact(process->file, &tree, 1000, &compact, &copied, NULL);
        if (rc == 1) {
            tree = copied;
            record_now(record, compact, &tree);
            br_tree_file_close(process->file);
            process->file = compact;
            rc = br_tree_file_remove(process->dir, STEM, record->number - 1, NULL);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

// The world before: one version, durable and recorded.
static void begin_life(struct br_sim *sim, struct record *record)
{
    struct process process;

    start(&process, sim);
    t_version_new(&record->model, LARGE / 40, true);
    assert_int_equal(create(&process, 1), 0);
    assert_int_equal(change(process.file, &record->model, 77, 5, NULL, &record->tree), 0);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    record_now(record, process.file, &record->tree);
    stop(&process);
    br_sim_settle(sim);
}

static void a_recorded_version_survives_every_crash(void **state)
{
    (void)state;
    bool finished = false;

    for (uint64_t n = 1; !finished; n++) {
        struct br_sim *sim = br_sim_new(&(struct br_sim_options){.seed = t_seed() * 1000 + n});
        struct record record;
        struct process process;

        begin_life(sim, &record);
        start(&process, sim);
        assert_int_equal(reopen(&process, record.number, record.bytes, false), 0);
        br_sim_crash_at_change(sim, n);
        int rc = live_through(&process, &record);
        br_sim_crash_at_change(sim, 0);
        finished = !br_sim_crashed(sim);
        assert_true(rc == 0 || !finished);
        stop(&process);
        br_sim_crash_resolve(sim);

        start(&process, sim);
        assert_int_equal(reopen(&process, record.number, record.bytes, false), 0);
        t_tree_expect(&record.tree, br_tree_file_store(process.file), &record.model);
        assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
        struct br_buf names = {0};
        br_sim_list(sim, "state", &names);
        char want[40];
        snprintf(want, sizeof(want), "tree.%u\n", (unsigned)record.number);
        assert_string_equal((const char *)names.data, want);
        br_buf_free(&names);
        stop(&process);
        if (finished) {
            assert_true(record.number > 1 && n > 10);
        }
        t_version_free(&record.model);
        br_sim_free(sim);
    }
}

static void compaction_keeps_the_tree_its_page_hashes_and_their_secret_and_nothing_else(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;
    struct t_version model;
    struct br_tree_file *compact = NULL;
    struct br_tree tree, copied;
    uint64_t live = 0;

    start(&process, sim);
    t_version_new(&model, LARGE, true);
    assert_int_equal(create(&process, 9), 0);
    assert_int_equal(change(process.file, &model, 1, 2, NULL, &tree), 0);
    assert_int_equal(br_tree_file_live(process.file, &tree, &live, NULL), 0);
    assert_int_equal(live, br_tree_file_bytes(process.file));
    assert_int_equal(br_tree_file_compact(process.file, &tree, 1, &compact, &copied, NULL), 0);
    for (unsigned i = 2; i < 4; i++) {
        assert_int_equal(change(process.file, &model, i, 100, &tree, &tree), 0);
    }
    assert_int_equal(br_tree_file_live(process.file, &tree, &live, NULL), 0);
    assert_true(live < br_tree_file_bytes(process.file) / 2);
    assert_int_equal(br_tree_file_compact(process.file, &tree, 1000 * BR_MIB, &compact, &copied, NULL), 0);
    assert_int_equal(br_tree_file_compact(process.file, &tree, 0, &compact, &copied, NULL), 1);
    assert_int_equal(br_tree_file_number(compact), 10);
    assert_int_equal(br_tree_file_bytes(compact), live);
    assert_memory_equal(&copied.top.hash, &tree.top.hash, sizeof(tree.top.hash));
    assert_memory_equal(br_tree_file_secret(compact), br_tree_file_secret(process.file), BR_PAGE_SECRET_BYTES);
    t_tree_expect(&copied, br_tree_file_store(compact), &model);
    br_tree_file_close(compact);
    stop(&process);
    t_version_free(&model);
    br_sim_free(sim);
}

static void a_compaction_that_fails_leaves_no_file_and_the_old_one_usable(void **state)
{
    (void)state;
    struct br_sim *sim = new_world();
    struct process process;
    struct t_version model;
    struct br_tree_file *compact = NULL;
    struct br_tree tree, copied;

    start(&process, sim);
    t_version_new(&model, LARGE / 20, true);
    assert_int_equal(create(&process, 1), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(change(process.file, &model, i, 20, i ? &tree : NULL, &tree), 0);
    }
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    br_sim_space(sim, br_sim_used_bytes(sim));
    assert_int_equal(br_tree_file_compact(process.file, &tree, 1, &compact, &copied, NULL), -BR_E_NO_SPACE);
    assert_false(br_sim_exists(sim, "state/tree.2"));
    br_sim_space(sim, 0);
    assert_int_equal(change(process.file, &model, 9, 20, &tree, &tree), 0);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    t_tree_expect(&tree, br_tree_file_store(process.file), &model);
    stop(&process);
    t_version_free(&model);
    br_sim_free(sim);
}

static void it_works_on_this_machine_too(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    char path[4096];
    const struct br_ring_options options = {.kind = BR_RING_AUTO};
    struct process process = {0};
    struct t_version model;
    struct br_tree tree;

    snprintf(path, sizeof(path), "%s/blkrep-tree-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(br_ring_open(&options, &process.ring, NULL), 0);
    assert_int_equal(br_dir_wrap(process.ring, fd, &process.dir, NULL), 0);
    t_version_new(&model, LARGE, true);
    assert_int_equal(create(&process, 1), 0);
    assert_int_equal(change(process.file, &model, 1, 1, NULL, &tree), 0);
    t_tree_expect(&tree, br_tree_file_store(process.file), &model);
    assert_int_equal(br_tree_file_sync(process.file, NULL), 0);
    assert_int_equal(reopen(&process, 1, br_tree_file_bytes(process.file), false), 0);
    t_tree_expect(&tree, br_tree_file_store(process.file), &model);
    br_tree_file_close(process.file);
    process.file = NULL;
    assert_int_equal(br_tree_file_remove(process.dir, STEM, 1, NULL), 0);
    stop(&process);
    assert_int_equal(rmdir(path), 0);
    t_version_free(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_read_before_they_are_written_after_and_by_the_next_process),
        cmocka_unit_test(every_file_draws_its_own_secret_unless_it_is_given_one),
        cmocka_unit_test(a_file_that_is_missing_shorter_or_anothers_is_refused),
        cmocka_unit_test(what_lies_behind_the_recorded_length_is_cut_off),
        cmocka_unit_test(no_flipped_bit_gives_a_wrong_leaf),
        cmocka_unit_test(nodes_are_cached_within_a_bound),
        cmocka_unit_test(after_a_failed_write_the_file_takes_no_more_and_loses_nothing),
        cmocka_unit_test(a_recorded_version_survives_every_crash),
        cmocka_unit_test(compaction_keeps_the_tree_its_page_hashes_and_their_secret_and_nothing_else),
        cmocka_unit_test(a_compaction_that_fails_leaves_no_file_and_the_old_one_usable),
        cmocka_unit_test(it_works_on_this_machine_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
