// SPDX-License-Identifier: Apache-2.0
//
// Replicas on the running kernel: real files, real times, io_uring where it is allowed and libaio. What crashes do is asked in tests/sim.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "tests/lib/t_replica.h"
#include "tests/lib/t_tree.h"

static enum br_ring_kind t_kind;

struct world {
    char path[256];
    struct br_ring *ring;
    struct br_dir *parent, *dir;
    struct br_file *file;
    struct br_replica *replica;
    bool read_only;
    struct t_rand rand;
    struct t_volume old, new;
    struct br_err err;
    struct br_replica_result result;
};

static const char *in_world(struct world *w, const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", w->path, name);
    return path;
}

static int open_replica(struct world *w)
{
    struct br_ring_options options = {.kind = t_kind, .depth = 32};
    int r = br_ring_open(&options, &w->ring, &w->err);
    if (r < 0) {
        w->ring = NULL;
        return r;
    }
    assert_int_equal(br_ring_workers(w->ring, 2, &w->err), 0);
    int parent = open(w->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int dir = open(in_world(w, "vol.blkrep"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = open(in_world(w, "vol"), O_RDWR | O_CLOEXEC);
    assert_int_equal(br_dir_wrap(w->ring, parent, &w->parent, &w->err), 0);
    assert_int_equal(br_dir_wrap(w->ring, dir, &w->dir, &w->err), 0);
    assert_int_equal(br_file_wrap(w->ring, file, &w->file, &w->err), 0);
    struct br_replica_params params = {.ring = w->ring,
                                       .dir = w->dir,
                                       .file = w->file,
                                       .parent = w->parent,
                                       .name = "vol",
                                       .what = "vol",
                                       .read_only = w->read_only};
    r = br_replica_open(&params, &w->replica, &w->err);
    if (r < 0) {
        w->replica = NULL;
    }
    return r;
}

static void close_replica(struct world *w)
{
    br_replica_close(w->replica);
    br_file_close(w->file);
    br_dir_close(w->dir);
    br_dir_close(w->parent);
    br_ring_close(w->ring);
    w->replica = NULL;
    w->file = NULL;
    w->dir = w->parent = NULL;
    w->ring = NULL;
    assert_int_equal(t_leases(), 0);
}

static void reopen(struct world *w)
{
    close_replica(w);
    assert_int_equal(open_replica(w), 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const char *tmp = getenv("TMPDIR");
    *state = w;
    snprintf(w->path, sizeof(w->path), "%s/replica.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(w->path) || mkdir(in_world(w, "vol.blkrep"), 0700)) {
        return -1;
    }
    int fd = open(in_world(w, "vol"), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return -1;
    }
    close(fd);
    w->rand = t_rand_seeded(t_seed(), 77);
    int r = open_replica(w);
    if (r == -BR_E_UNSUPPORTED && !w->ring) {
        print_message("# skipped: %s\n", w->err.text);
        return 0;
    }
    return r;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[300];
    if (w->ring) {
        close_replica(w);
    }
    t_volume_free(&w->old);
    t_volume_free(&w->new);
    snprintf(command, sizeof(command), "rm -rf '%s'", w->path);
    int r = system(command);
    free(w);
    return r;
}

#define T_WORLD               \
    struct world *w = *state; \
    if (!w->ring) {           \
        skip();               \
    }

static void must(struct world *w, int r)
{
    if (r < 0) {
        print_message("%s at %llu: %s\n", br_err_name(-r), (unsigned long long)w->err.offset_bytes, w->err.text);
    }
    assert_true(r >= 0);
}

static void expect_bytes(struct world *w, const struct t_volume *model)
{
    BR_AUTO_FREE uint8_t *bytes = malloc(model->size_bytes + 1);
    int fd = open(in_world(w, "vol"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, bytes, model->size_bytes + 1, 0), model->size_bytes);
    close(fd);
    assert_memory_equal(bytes, model->bytes, model->size_bytes);
}

static int ship(struct world *w, enum br_replica_mode mode)
{
    struct t_ship how = {.mode = mode,
                         .parent = &w->old,
                         .result = mode == BR_MODE_FIRST ? &w->old : &w->new,
                         .rand = w->rand,
                         .target_is_zero = mode == BR_MODE_FIRST,
                         .absent_keeps_facts = true};
    return t_ship(w->replica, &how, &w->result, &w->err);
}

// A volume of @size_bytes at its first version on the replica, and a next version to ship.
static void first_version(struct world *w, uint64_t size_bytes, unsigned changes)
{
    t_volume_new(&w->old, size_bytes);
    t_volume_change(&w->old, &w->rand, changes, false);
    t_volume_seal(&w->old, NULL, &w->rand);
    must(w, ship(w, BR_MODE_FIRST));
    t_volume_next(&w->new, &w->old, size_bytes);
    t_volume_change(&w->new, &w->rand, changes / 4 + 1, false);
    t_volume_seal(&w->new, &w->old, &w->rand);
}

static void write_behind(struct world *w, const void *bytes, size_t len, uint64_t offset_bytes)
{
    int fd = open(in_world(w, "vol"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, len, (off_t)offset_bytes), len);
    close(fd);
}

// Puts the times back that a write moved, as a write to a device would leave no trace in times.
static void write_unseen(struct world *w, const void *bytes, size_t len, uint64_t offset_bytes)
{
    struct stat st;
    assert_int_equal(stat(in_world(w, "vol"), &st), 0);
    write_behind(w, bytes, len, offset_bytes);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, in_world(w, "vol"), times, 0), 0);
}

static void copies_deltas_and_replacements_of_odd_sizes_arrive(void **state)
{
    T_WORLD
    first_version(w, (UINT64_C(9) << 20) + 1234, 60);
    expect_bytes(w, &w->old);
    for (unsigned i = 0; i < 6; i++) {
        if (i % 2) {
            reopen(w);
        }
        must(w, ship(w, i == 3 ? BR_MODE_REPLACE : BR_MODE_DELTA));
        expect_bytes(w, &w->new);
        uint64_t bad;
        must(w, br_replica_verify(w->replica, NULL, NULL, &bad, &w->err));
        t_volume_free(&w->old);
        w->old = w->new;
        t_volume_next(&w->new, &w->old, w->old.size_bytes + 70000 - i * 31000);
        t_volume_change(&w->new, &w->rand, 20, false);
        t_volume_seal(&w->new, &w->old, &w->rand);
    }
}

static void a_replacement_keeps_mode_and_owner(void **state)
{
    T_WORLD
    struct stat st;
    first_version(w, 1 << 20, 8);
    assert_int_equal(chmod(in_world(w, "vol"), 0604), 0);
    must(w, ship(w, BR_MODE_REPLACE));
    assert_int_equal(stat(in_world(w, "vol"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0604);
    assert_int_equal(access(in_world(w, "vol.blkrep-new"), F_OK), -1);
    must(w, ship(w, BR_MODE_REPLACE)); // and again, through the file that it opened itself
    expect_bytes(w, &w->new);
}

static void touched_but_unchanged_is_proven_and_goes_on(void **state)
{
    T_WORLD
    first_version(w, 3 << 20, 20);
    uint64_t proof = br_replica_identity(w->replica)->full_proof_unix_ns;
    assert_int_equal(utimensat(AT_FDCWD, in_world(w, "vol"), NULL, 0), 0);
    must(w, br_replica_check_foreign(w->replica, &w->err));
    assert_true(br_replica_identity(w->replica)->full_proof_unix_ns > proof);
    proof = br_replica_identity(w->replica)->full_proof_unix_ns;
    reopen(w);
    must(w, br_replica_check_foreign(w->replica, &w->err)); // the new times were recorded
    assert_true(br_replica_identity(w->replica)->full_proof_unix_ns == proof);
    must(w, ship(w, BR_MODE_DELTA));
    expect_bytes(w, &w->new);
}

static void a_change_of_mode_costs_no_full_read(void **state)
{
    T_WORLD
    first_version(w, 3 << 20, 20);
    uint64_t proof = br_replica_identity(w->replica)->full_proof_unix_ns;
    assert_int_equal(chmod(in_world(w, "vol"), 0600), 0);
    must(w, ship(w, BR_MODE_DELTA));
    assert_true(br_replica_identity(w->replica)->full_proof_unix_ns == proof);
}

static void a_restored_copy_of_the_same_content_goes_on(void **state)
{
    T_WORLD
    char command[1200];
    first_version(w, 3 << 20, 20);
    close_replica(w);
    snprintf(command, sizeof(command), "cd '%s' && cp vol vol.copy && mv vol.copy vol", w->path);
    assert_int_equal(system(command), 0);
    assert_int_equal(open_replica(w), 0);
    must(w, ship(w, BR_MODE_DELTA));
    expect_bytes(w, &w->new);
}

static void a_foreign_write_is_refused_with_its_offset(void **state)
{
    T_WORLD
    first_version(w, 3 << 20, 20);
    write_behind(w, "foreign", 7, 20 * BR_BLOCK_BYTES + 9);
    assert_int_equal(ship(w, BR_MODE_DELTA), -BR_E_FOREIGN_WRITE);
    assert_true(w->err.has_offset);
    assert_int_equal(w->err.offset_bytes, 20 * BR_BLOCK_BYTES);
    assert_int_equal(br_replica_identity(w->replica)->state, BR_STATE_COMPLETE);
    must(w, ship(w, BR_MODE_REPLACE)); // the way out
    expect_bytes(w, &w->new);
}

static void a_file_that_grew_or_shrank_is_foreign(void **state)
{
    T_WORLD
    first_version(w, 1 << 20, 8);
    assert_int_equal(truncate(in_world(w, "vol"), (1 << 20) + 1), 0);
    assert_int_equal(br_replica_check_foreign(w->replica, &w->err), -BR_E_FOREIGN_WRITE);
    assert_int_equal(truncate(in_world(w, "vol"), (1 << 20) - 1), 0);
    assert_int_equal(br_replica_check_foreign(w->replica, &w->err), -BR_E_FOREIGN_WRITE);
}

static void a_write_while_the_delta_is_received_stops_the_commit(void **state)
{
    T_WORLD
    first_version(w, 2 << 20, 10);
    struct br_replica_begin begin = {.mode = BR_MODE_DELTA};
    begin.header = (struct br_delta_header){.stream_id = w->new.generation.id,
                                            .volume = br_replica_identity(w->replica)->volume,
                                            .generation = w->new.generation,
                                            .parent_root = w->old.root,
                                            .parent_size_bytes = w->old.size_bytes,
                                            .size_bytes = w->old.size_bytes,
                                            .sector_bytes = 512,
                                            .hash_id = BR_HASH_SHA256,
                                            .consistency = BR_CONSISTENCY_CLEAN};
    struct br_delta_end end = {.root = w->old.root};
    must(w, br_replica_begin(w->replica, &begin, &w->err));
    usleep(20000); // beyond the grain of file times
    write_behind(w, "x", 1, 100000);
    assert_int_equal(br_replica_commit(w->replica, &end, 0, &w->result, &w->err), -BR_E_FOREIGN_WRITE);
    assert_true(br_uuid_equal(&br_replica_identity(w->replica)->generation.id, &w->old.generation.id));
}

static void verify_counts_what_differs_and_names_the_first(void **state)
{
    T_WORLD
    uint64_t bad = 0;
    first_version(w, 8 << 20, 40);
    write_unseen(w, "a", 1, 33 * BR_BLOCK_BYTES + 100);
    write_unseen(w, "b", 1, 90 * BR_BLOCK_BYTES + 65535);
    write_unseen(w, "c", 1, 91 * BR_BLOCK_BYTES);
    assert_int_equal(br_replica_verify(w->replica, NULL, NULL, &bad, &w->err), -BR_E_VERIFY);
    assert_int_equal(bad, 3);
    assert_int_equal(w->err.offset_bytes, 33 * BR_BLOCK_BYTES);
}

static int stop_at_once(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    assert_true(done_bytes <= total_bytes);
    ++*(unsigned *)ctx;
    return -BR_E_CANCELLED;
}

static void verify_stops_when_progress_says_so(void **state)
{
    T_WORLD
    unsigned calls = 0;
    uint64_t bad;
    first_version(w, 8 << 20, 40);
    assert_int_equal(br_replica_verify(w->replica, stop_at_once, &calls, &bad, &w->err), -BR_E_CANCELLED);
    assert_int_equal(calls, 1);
}

static void a_second_run_is_told_that_it_is_busy(void **state)
{
    T_WORLD
    struct world other = *w;
    other.replica = NULL;
    assert_int_equal(open_replica(&other), -BR_E_BUSY);
    close_replica(&other);
    other.read_only = true; // looking is allowed
    assert_int_equal(open_replica(&other), 0);
    close_replica(&other);
}

static int ship_meanwhile(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    struct world *w = ctx;
    (void)done_bytes;
    (void)total_bytes;
    if (!br_uuid_equal(&br_replica_identity(w->replica)->generation.id, &w->new.generation.id)) {
        must(w, ship(w, BR_MODE_DELTA));
    }
    return 0;
}

static void a_look_at_a_replica_that_moves_is_no_verdict(void **state)
{
    T_WORLD
    struct world other = {.read_only = true};
    uint64_t bad = 7;
    first_version(w, 8 << 20, 40);
    memcpy(other.path, w->path, sizeof(other.path));
    assert_int_equal(open_replica(&other), 0);
    assert_int_equal(br_replica_verify(other.replica, ship_meanwhile, w, &bad, &other.err), -BR_E_BUSY);
    assert_int_equal(bad, 0);
    close_replica(&other);
    assert_int_equal(open_replica(&other), 0);
    must(&other, br_replica_verify(other.replica, NULL, NULL, &bad, &other.err));
    write_unseen(w, "a", 1, 33 * BR_BLOCK_BYTES + 100); // nobody went on: then it is one
    assert_int_equal(br_replica_verify(other.replica, NULL, NULL, &bad, &other.err), -BR_E_VERIFY);
    assert_int_equal(bad, 1);
    close_replica(&other);
}

static unsigned t_released;
static void release(void *ctx)
{
    (void)ctx;
    t_released++;
}

static void begin_first(struct world *w, uint64_t size_bytes, bool zero)
{
    struct br_replica_begin begin = {.mode = BR_MODE_FIRST, .target_is_zero = zero, .absent_keeps_facts = true};
    begin.header = (struct br_delta_header){.stream_id = br_ring_new_uuid(w->ring),
                                            .volume = br_ring_new_uuid(w->ring),
                                            .full = true,
                                            .generation = {.counter = 1, .id = br_ring_new_uuid(w->ring)},
                                            .size_bytes = size_bytes,
                                            .sector_bytes = 512,
                                            .hash_id = BR_HASH_SHA256,
                                            .consistency = BR_CONSISTENCY_CLEAN};
    must(w, br_replica_begin(w->replica, &begin, &w->err));
}

static void data_that_is_not_what_its_leaf_says_is_never_written(void **state)
{
    T_WORLD
    static uint8_t data[BR_BLOCK_BYTES];
    static uint8_t there[BR_BLOCK_BYTES];
    struct br_batch batch = {.block_count = 1, .data = data, .data_bytes = sizeof(data)};
    struct br_delta_end end = {{{0}}};
    t_rand_fill(&w->rand, data, sizeof(data));
    br_leaf_hash(data, sizeof(data), &batch.blocks[0].leaf);
    batch.blocks[0].pages = 0xffff;
    data[40000] ^= 1;
    begin_first(w, 4 * BR_BLOCK_BYTES, true);
    t_released = 0;
    int r = br_replica_batch(w->replica, &batch, release, NULL, &w->err);
    r = r < 0 ? r : br_replica_commit(w->replica, &end, 0, &w->result, &w->err);
    assert_int_equal(r, -BR_E_CORRUPT);
    br_replica_abort(w->replica);
    assert_int_equal(t_released, 1);
    int fd = open(in_world(w, "vol"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, there, sizeof(there), 0), sizeof(there));
    close(fd);
    assert_true(br_is_zero(there, sizeof(there)));
}

static void what_was_handed_over_is_let_go_without_another_record(void **state)
{
    T_WORLD
    enum { MANY = 6 };
    static uint8_t data[MANY][BR_BLOCK_BYTES];
    begin_first(w, MANY * BR_BLOCK_BYTES, true);
    t_released = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct br_batch batch = {.block_count = 1, .data = data[i], .data_bytes = sizeof(data[i])};
        t_rand_fill(&w->rand, data[i], sizeof(data[i]));
        batch.blocks[0] = (struct br_batch_block){.index = i, .pages = 0xffff};
        br_leaf_hash(data[i], sizeof(data[i]), &batch.blocks[0].leaf);
        must(w, br_replica_batch(w->replica, &batch, release, NULL, &w->err));
    }
    for (unsigned i = 0; i < 1000 && (br_ring_in_flight(w->ring) || t_released < MANY); i++) {
        br_ring_wait(w->ring, BR_NS_PER_MS);
        must(w, br_replica_push(w->replica, &w->err));
    }
    assert_int_equal(t_released, MANY);
    br_replica_abort(w->replica);
}

static void blocks_that_do_not_ascend_are_refused(void **state)
{
    T_WORLD
    struct br_run run = {.kind = BR_RUN_ZERO, .first = 2, .count = 1};
    begin_first(w, 4 * BR_BLOCK_BYTES, true);
    must(w, br_replica_run(w->replica, &run, &w->err));
    assert_int_equal(br_replica_run(w->replica, &run, &w->err), -BR_E_CORRUPT);
    run.first = 3; // and nothing more is taken
    assert_int_equal(br_replica_run(w->replica, &run, &w->err), -BR_E_CORRUPT);
}

static void holes_of_a_huge_volume_cost_neither_space_nor_time(void **state)
{
    T_WORLD
    const uint64_t size = (UINT64_C(15) << 40) + 4096;
    static uint8_t data[BR_BLOCK_BYTES];
    struct br_tree_geometry geometry = t_geometry(size);
    struct t_store nodes = {0};
    struct br_tree_store store = t_store_ops(&nodes);
    struct br_tree empty, tree;
    struct br_tree_writer *writer;
    struct br_delta_end end = {{{0}}};
    struct stat st;
    br_tree_empty(&geometry, &br_hash_zero, &empty);
    assert_int_equal(br_tree_writer_open(&geometry, &empty, &store, &store, &writer, NULL), 0);
    begin_first(w, size, true);
    t_rand_fill(&w->rand, data, sizeof(data));
    uint64_t blocks[] = {0, 70000, geometry.block_count / 2, geometry.block_count - 1};
    for (unsigned i = 0; i < BR_ARRAY_LEN(blocks); i++) {
        uint32_t len = br_block_bytes(&geometry, blocks[i]);
        struct br_batch batch = {.block_count = 1, .data = data, .data_bytes = len};
        batch.blocks[0] = (struct br_batch_block){.index = blocks[i], .pages = br_block_pages(&geometry, blocks[i])};
        br_leaf_hash(data, len, &batch.blocks[0].leaf);
        assert_int_equal(br_tree_put(writer, blocks[i], &batch.blocks[0].leaf, NULL, NULL), 0);
        br_delta_count_batch(&end, &batch, &geometry);
        must(w, br_replica_batch(w->replica, &batch, release, NULL, &w->err));
    }
    assert_int_equal(br_tree_finish(writer, &tree, NULL), 0);
    br_tree_root(&tree, &end.root);
    must(w, br_replica_commit(w->replica, &end, 0, &w->result, &w->err));
    assert_int_equal(stat(in_world(w, "vol"), &st), 0);
    assert_int_equal(st.st_size, size);
    assert_true(st.st_blocks * 512 < 4 << 20);
    uint64_t bad;
    must(w, br_replica_verify(w->replica, NULL, NULL, &bad, &w->err));
    must(w, br_replica_recheck(w->replica, 64 << 20, &w->result, &w->err));
    assert_true(w->result.bytes_rechecked > 0 && w->result.bytes_rechecked < 8 << 20);
    br_tree_writer_close(writer);
    t_store_free(&nodes);
}

// What mounts write to ----------------------------------------------------------------------------------------------------------------

// A volume of 16 MiB in which every block has content, so that nothing but the layout leads to a block in the middle.
static void first_version_with(struct world *w, void (*layout)(uint8_t *bytes))
{
    t_volume_new(&w->old, 16 << 20);
    for (uint64_t i = 0; i < w->old.geometry.block_count; i++) {
        t_rand_fill(&w->rand, w->old.bytes + i * BR_BLOCK_BYTES, 64);
    }
    memset(w->old.bytes, 0, 4 * BR_BLOCK_BYTES);
    layout(w->old.bytes);
    t_volume_seal(&w->old, NULL, &w->rand);
    must(w, ship(w, BR_MODE_FIRST));
    must(w, br_replica_check_foreign(w->replica, &w->err));
}

static void put_be32(uint8_t *to, uint32_t v)
{
    v = htobe32(v);
    memcpy(to, &v, sizeof(v));
}

#define JOURNAL_AT (UINT64_C(9) << 20)

static void ext4_with_a_journal(uint8_t *bytes)
{
    uint8_t *super = bytes + 1024, *map = super + 0x10c;
    br_put_u32(super + 0x18, 2); // 4 KiB blocks
    br_put_u16(super + 0x38, 0xef53);
    br_put_u16(map, 0xf30a);
    br_put_u16(map + 2, 1);
    br_put_u16(map + 4, 4);
    br_put_u16(map + 16, 256);
    br_put_u32(map + 20, (uint32_t)(JOURNAL_AT / 4096));
    put_be32(bytes + JOURNAL_AT, 0xc03b3998);
}

static void ext4_in_a_gpt_partition(uint8_t *bytes)
{
    memcpy(bytes + 512, "EFI PART", 8);
    br_put_u64(bytes + 512 + 72, 2);
    br_put_u32(bytes + 512 + 80, 128);
    br_put_u32(bytes + 512 + 84, 128);
    bytes[1024] = 1; // a type
    br_put_u64(bytes + 1024 + 32, (UINT64_C(4) << 20) / 512);
    ext4_with_a_journal(bytes + (4 << 20));
    memset(bytes + (4 << 20) + JOURNAL_AT, 0xee, 4096);
    put_be32(bytes + (4 << 20) + JOURNAL_AT, 0xc03b3998);
}

static void xfs_with_a_log(uint8_t *bytes)
{
    memcpy(bytes, "XFSB", 4);
    put_be32(bytes + 4, 4096);
    put_be32(bytes + 52, (3u << 12) + 5); // sb_logstart: block 5 of group 3
    put_be32(bytes + 84, 700);            // blocks in a group
    put_be32(bytes + 96, 400);            // of the log
    bytes[124] = 12;
}

static void a_mounted_file_system_is_noticed(struct world *w, uint64_t offset_bytes)
{
    write_unseen(w, "mounted", 7, offset_bytes);
    assert_int_equal(br_replica_check_foreign(w->replica, &w->err), -BR_E_FOREIGN_WRITE);
    assert_int_equal(w->err.offset_bytes / BR_BLOCK_BYTES, offset_bytes / BR_BLOCK_BYTES);
}

static void a_write_to_the_journal_of_ext4_is_noticed(void **state)
{
    T_WORLD
    first_version_with(w, ext4_with_a_journal);
    a_mounted_file_system_is_noticed(w, JOURNAL_AT + 24);
}

static void a_write_to_a_journal_in_a_partition_is_noticed(void **state)
{
    T_WORLD
    first_version_with(w, ext4_in_a_gpt_partition);
    a_mounted_file_system_is_noticed(w, (4 << 20) + JOURNAL_AT + 24);
}

static void a_write_to_the_log_of_xfs_is_noticed(void **state)
{
    T_WORLD
    first_version_with(w, xfs_with_a_log);
    a_mounted_file_system_is_noticed(w, (UINT64_C(3) * 700 + 5) * 4096 + 600);
}

static void a_write_to_the_last_block_is_noticed(void **state)
{
    T_WORLD
    first_version_with(w, xfs_with_a_log);
    a_mounted_file_system_is_noticed(w, (UINT64_C(16) << 20) - 512);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(copies_deltas_and_replacements_of_odd_sizes_arrive),
        TEST(a_replacement_keeps_mode_and_owner),
        TEST(touched_but_unchanged_is_proven_and_goes_on),
        TEST(a_change_of_mode_costs_no_full_read),
        TEST(a_restored_copy_of_the_same_content_goes_on),
        TEST(a_foreign_write_is_refused_with_its_offset),
        TEST(a_file_that_grew_or_shrank_is_foreign),
        TEST(a_write_while_the_delta_is_received_stops_the_commit),
        TEST(verify_counts_what_differs_and_names_the_first),
        TEST(verify_stops_when_progress_says_so),
        TEST(a_look_at_a_replica_that_moves_is_no_verdict),
        TEST(a_second_run_is_told_that_it_is_busy),
        TEST(data_that_is_not_what_its_leaf_says_is_never_written),
        TEST(what_was_handed_over_is_let_go_without_another_record),
        TEST(blocks_that_do_not_ascend_are_refused),
        TEST(holes_of_a_huge_volume_cost_neither_space_nor_time),
        TEST(a_write_to_the_journal_of_ext4_is_noticed),
        TEST(a_write_to_a_journal_in_a_partition_is_noticed),
        TEST(a_write_to_the_log_of_xfs_is_noticed),
        TEST(a_write_to_the_last_block_is_noticed),
    };
    t_kind = BR_RING_URING;
    int failed = cmocka_run_group_tests_name("uring", tests, NULL, NULL);
    const struct CMUnitTest aio_tests[] = {
        TEST(copies_deltas_and_replacements_of_odd_sizes_arrive),
        TEST(holes_of_a_huge_volume_cost_neither_space_nor_time),
    };
    t_kind = BR_RING_AIO;
    return failed + cmocka_run_group_tests_name("aio", aio_tests, NULL, NULL);
}
