// SPDX-License-Identifier: Apache-2.0
// timeout: 180
//
// A whole local sync on real files: decisions, what is shipped, what is remembered. What survives crashes is tests/sim/sim_sync.c.
#include "engine/sync/sync.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/units.h"
#include "engine/codec/stream.h"
#include "engine/sync/local.h"
#include "engine/sync/source.h"
#include "engine/sync/transfer.h"
#include "tests/lib/t_env.h"

// A tracker that says what the test lets it say.
struct teller {
    struct br_tracker tracker;
    struct br_extent_map says;
    struct br_uuid version; // that says starts from; the last one settled
    struct br_uuid marked;
    struct br_uuid consumer;
    bool mark_fails;
    struct br_ring *ring;
    char old_path[1200]; // what it opens as the volume at the mark; empty: it has none
    unsigned asked, marks, settled, distrusted, old_asked;
    uint64_t distrusted_offset_bytes;
};

struct world {
    struct teller teller;
    struct br_ring *ring;
    char path[1024];
    int fd; // the source
    struct br_file *source;
    struct br_dir *source_dir;
    struct br_file *target;
    struct br_dir *target_dir;
    struct br_dir *parent;
    struct br_sync_params params; // what a test changes for the next run
    struct br_local_params local;
    struct br_sync_result result;
    struct br_err err;
    struct br_buf stream;
    size_t stream_read;
    bool die_behind_end; // the writer fails when END has got out
};

static char *path_of(const struct world *w, const char *name)
{
    static char path[2][1200];
    static unsigned turn;

    turn = 1 - turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", w->path, name);
    return path[turn];
}

static struct br_file *open_file(struct world *w, const char *name)
{
    struct br_file *file;
    int fd = open(path_of(w, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(0, br_file_wrap(w->ring, fd, &file, NULL));
    return file;
}

static struct br_dir *open_dir(struct world *w, const char *name)
{
    struct br_dir *dir;

    mkdir(path_of(w, name), 0700);
    int fd = open(path_of(w, name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(0, br_dir_wrap(w->ring, fd, &dir, NULL));
    return dir;
}

static void open_target(struct world *w)
{
    w->target = open_file(w, "target");
    w->target_dir = open_dir(w, "target.blkrep");
}

static void close_target(struct world *w)
{
    br_file_close(w->target);
    br_dir_close(w->target_dir);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct br_ring_options options = {.buffer_count = 16, .buffer_bytes = BR_BATCH_DATA_MAX};

    snprintf(w->path, sizeof(w->path), "%s/blkrep-test-sync-XXXXXX", t_folder());
    assert_non_null(mkdtemp(w->path));
    assert_int_equal(0, br_ring_open(&options, &w->ring, NULL));
    assert_int_equal(0, br_ring_workers(w->ring, 2, NULL));
    w->fd = open(path_of(w, "source"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(w->fd >= 0);
    w->source = open_file(w, "source");
    w->source_dir = open_dir(w, "source.blkrep");
    w->parent = open_dir(w, ".");
    w->params = (struct br_sync_params){.consistency = BR_CONSISTENCY_CLEAN,
                                        .label = "source",
                                        .sector_bytes = 512,
                                        .recheck_bytes = BR_RECHECK_DEFAULT};
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[4000];

    br_extent_map_free(&w->teller.says);
    br_file_close(w->source);
    br_dir_close(w->source_dir);
    br_dir_close(w->parent);
    assert_int_equal(16, br_ring_buffers_free(w->ring));
    br_ring_close(w->ring);
    close(w->fd);
    br_buf_free(&w->stream);
    snprintf(command, sizeof(command), "rm -rf %s", w->path);
    assert_int_equal(0, system(command));
    free(w);
    return 0;
}

static void write_source(struct world *w, uint64_t at, size_t len, uint64_t seed)
{
    struct t_rand r = t_rand_seeded(seed, at);
    uint8_t *bytes = malloc(len);

    t_rand_fill(&r, bytes, len);
    assert_int_equal(len, pwrite(w->fd, bytes, len, (off_t)at));
    free(bytes);
}

static void poke_target(struct world *w, uint64_t at, const void *bytes, size_t len)
{
    int fd = open(path_of(w, "target"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(len, pwrite(fd, bytes, len, (off_t)at));
    close(fd);
}

static uint64_t file_size(struct world *w, const char *name)
{
    struct stat st;

    assert_int_equal(0, stat(path_of(w, name), &st));
    return (uint64_t)st.st_size;
}

static void check_equal(struct world *w)
{
    uint64_t size = file_size(w, "source");
    uint8_t *a = malloc(size + 1);
    uint8_t *b = malloc(size + 1);
    int fd = open(path_of(w, "target"), O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(size, file_size(w, "target"));
    assert_int_equal(size, pread(w->fd, a, size, 0));
    assert_int_equal(size, pread(fd, b, size, 0));
    assert_memory_equal(a, b, size);
    close(fd);
    free(a);
    free(b);
}

static struct br_endpoint open_endpoint(struct world *w)
{
    struct br_local_params local = w->local;
    struct br_endpoint endpoint;

    open_target(w);
    local.replica.ring = w->ring;
    local.replica.dir = w->target_dir;
    local.replica.file = w->target;
    local.replica.parent = w->parent;
    local.replica.name = "target";
    local.replica.what = "target";
    if (!local.capacity_bytes) {
        local.capacity_bytes = UINT64_MAX;
    }
    assert_int_equal(0, br_local_open(&local, &endpoint, NULL));
    return endpoint;
}

static int run(struct world *w)
{
    struct br_endpoint endpoint = open_endpoint(w);
    struct br_sync_params params = w->params;

    params.ring = w->ring;
    params.source = w->source;
    params.size_bytes = file_size(w, "source");
    params.dir = w->source_dir;
    params.endpoint = endpoint;
    w->err = (struct br_err){0};
    int rc = br_sync_run(&params, &w->result, &w->err);
    endpoint.ops->close(endpoint.ctx);
    close_target(w);
    return rc;
}

static void sync_ok(struct world *w)
{
    int rc = run(w);

    if (rc) {
        fail_msg("%s: %s", br_err_name(w->err.code), w->err.text);
    }
    if (!w->params.dry_run) {
        check_equal(w);
    }
}

static void a_first_copy_is_whole_and_the_next_run_ships_nothing(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 3 * BR_MIB + 777, 1);
    sync_ok(w);
    assert_string_equal("first-copy", w->result.fallback_reason);
    assert_int_equal(BR_MODE_FIRST, w->result.mode);
    assert_int_equal(3 * BR_MIB + 777, w->result.bytes_shipped);
    assert_int_equal(1, w->result.generation.counter);
    assert_true(w->result.new_version && w->result.target_is_new);
    assert_false(br_uuid_is_nil(&w->result.replica));
    struct br_hash root = w->result.root;
    sync_ok(w);
    assert_null(w->result.fallback_reason);
    assert_int_equal(0, w->result.bytes_shipped);
    assert_false(w->result.new_version);
    assert_int_equal(1, w->result.generation.counter);
    assert_memory_equal(root.bytes, w->result.root.bytes, BR_HASH_BYTES);
    assert_int_equal(3 * BR_MIB + 777, w->result.bytes_rechecked);
}

static void a_delta_ships_only_changed_pages(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 8 * BR_MIB, 1);
    sync_ok(w);
    write_source(w, 12345, 10, 2);
    write_source(w, 5 * BR_MIB, 4096, 2);
    sync_ok(w);
    assert_int_equal(2 * 4096, w->result.bytes_shipped);
    assert_int_equal(2, w->result.generation.counter);
    assert_null(w->result.fallback_reason);
    write_source(w, 4096, 4096, 3);
    sync_ok(w);
    assert_int_equal(4096, w->result.bytes_shipped);
    assert_int_equal(3, w->result.generation.counter);
}

static void zeros_holes_and_every_change_of_size_end_equal(void **state)
{
    static const uint64_t sizes[] = {1, 65536, 70001, 4 * BR_MIB, 4 * BR_MIB + 1, 100, 9 * BR_MIB + 4095, 4096};
    struct world *w = *state;

    write_source(w, 0, 5, 1);
    for (size_t i = 0; i < BR_ARRAY_LEN(sizes); i++) {
        assert_int_equal(0, ftruncate(w->fd, (off_t)sizes[i]));
        sync_ok(w);
        write_source(w, 0, sizes[i], i);
        sync_ok(w);
        uint64_t half = sizes[i] / 2;
        uint8_t *zeros = calloc(1, half + 1);
        assert_int_equal(half, pwrite(w->fd, zeros, half, (off_t)(half / 2)));
        free(zeros);
        sync_ok(w);
    }
}

static void an_empty_source_becomes_an_empty_replica(void **state)
{
    struct world *w = *state;

    sync_ok(w);
    write_source(w, 0, 10, 1);
    sync_ok(w);
}

static void holes_stay_holes(void **state)
{
    struct world *w = *state;
    struct stat st;

    assert_int_equal(0, ftruncate(w->fd, (off_t)(512 * BR_MIB)));
    write_source(w, 100 * BR_MIB, 65536, 1);
    sync_ok(w);
    assert_int_equal(65536, w->result.bytes_read);
    assert_int_equal(0, stat(path_of(w, "target"), &st));
    assert_true((uint64_t)st.st_blocks * 512 <= BR_MIB);
}

static void lost_state_is_copied_from_the_replica_and_named(void **state)
{
    struct world *w = *state;
    char command[4000];

    write_source(w, 0, 4 * BR_MIB, 1);
    sync_ok(w);
    snprintf(command, sizeof(command), "rm %s/source.blkrep/to-*", w->path);
    assert_int_equal(0, system(command));
    write_source(w, 65536 * 3, 10, 2);
    sync_ok(w);
    assert_string_equal("state-lost", w->result.fallback_reason);
    assert_int_equal(BR_MODE_DELTA, w->result.mode);
    assert_int_equal(65536, w->result.bytes_shipped); // page hashes were lost with it
    write_source(w, 65536 * 9, 10, 2);
    sync_ok(w);
    assert_null(w->result.fallback_reason);
    assert_int_equal(4096, w->result.bytes_shipped); // and are learned again
}

static void a_damaged_state_is_as_good_as_none(void **state)
{
    struct world *w = *state;
    char command[4000];

    write_source(w, 0, 2 * BR_MIB, 1);
    sync_ok(w);
    snprintf(
        command, sizeof(command),
        "for f in %s/source.blkrep/to-*tree*; do printf garbage | dd of=$f bs=1 seek=100 conv=notrunc status=none; done",
        w->path);
    assert_int_equal(0, system(command));
    write_source(w, 0, 10, 2);
    sync_ok(w);
    assert_string_equal("state-lost", w->result.fallback_reason);
    sync_ok(w);
    assert_null(w->result.fallback_reason);
}

static void a_replica_that_another_run_moved_is_noticed(void **state)
{
    struct world *w = *state;
    char command[4000];

    write_source(w, 0, 2 * BR_MIB, 1);
    sync_ok(w);
    snprintf(command, sizeof(command), "cp -r %s/source.blkrep %s/old", w->path, w->path);
    assert_int_equal(0, system(command));
    write_source(w, 0, 10, 2);
    sync_ok(w);
    snprintf(command, sizeof(command), "rm %s/source.blkrep/to-*; cp %s/old/to-* %s/source.blkrep", w->path, w->path,
             w->path);
    assert_int_equal(0, system(command));
    write_source(w, BR_MIB, 10, 3);
    sync_ok(w);
    assert_string_equal("replica-moved", w->result.fallback_reason);
    assert_int_equal(65536, w->result.bytes_shipped);
}

static void a_foreign_target_is_refused_and_left_alone(void **state)
{
    struct world *w = *state;
    char now[8] = {0};

    write_source(w, 0, 100000, 1);
    poke_target(w, 0, "precious", 8);
    assert_int_equal(-BR_E_TARGET_FOREIGN, run(w));
    int fd = open(path_of(w, "target"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(8, pread(fd, now, sizeof(now), 0));
    close(fd);
    assert_memory_equal("precious", now, 8);
    assert_int_equal(8, file_size(w, "target"));
    w->params.overwrite = true;
    sync_ok(w);
}

static void another_volumes_replica_is_refused(void **state)
{
    struct world *w = *state;
    char command[4000];

    write_source(w, 0, 100000, 1);
    sync_ok(w);
    snprintf(command, sizeof(command), "rm %s/source.blkrep/*", w->path);
    assert_int_equal(0, system(command));
    assert_int_equal(-BR_E_TARGET_FOREIGN, run(w));
    w->params.overwrite = true;
    write_source(w, 50000, 100000, 4);
    sync_ok(w);
    assert_int_equal(BR_MODE_REPLACE, w->result.mode);
    w->params.overwrite = false;
    sync_ok(w);
}

static void a_target_too_small_is_refused_before_the_first_write(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 100000, 1);
    w->local.capacity_bytes = 99999;
    assert_int_equal(-BR_E_TARGET_SMALL, run(w));
    assert_int_equal(0, file_size(w, "target"));
    assert_int_equal(-1, access(path_of(w, "target.blkrep/identity"), F_OK));
}

static void swapped_arguments_are_named(void **state)
{
    struct world *w = *state;
    struct br_uuid volume;
    struct br_identity identity = {.state = BR_STATE_COMPLETE};

    write_source(w, 0, 1000, 1);
    open_target(w);
    assert_int_equal(0, br_volume_ensure(w->ring, w->target_dir, &volume, NULL));
    close_target(w);
    identity.volume = volume;
    w->params.source_identity = &identity;
    assert_int_equal(-BR_E_SWAPPED, run(w));
    identity.volume.bytes[0] ^= 1;
    sync_ok(w);
}

static void a_source_in_transition_is_refused(void **state)
{
    struct world *w = *state;
    struct br_identity identity = {.state = BR_STATE_APPLYING};

    write_source(w, 0, 1000, 1);
    w->params.source_identity = &identity;
    assert_int_equal(-BR_E_TRANSITION, run(w));
    identity.state = BR_STATE_INCOMPLETE;
    assert_int_equal(-BR_E_INCOMPLETE, run(w));
}

static int moved(void *ctx, struct br_err *reterr)
{
    (void)ctx;
    return br_err_set(reterr, BR_E_SOURCE_MOVED, "the test says so");
}

static void a_source_that_moved_commits_nothing_and_the_next_run_goes_on_from_what_came(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 6 * BR_MIB, 1);
    w->params.source_check = moved;
    assert_int_equal(-BR_E_SOURCE_MOVED, run(w));
    w->params.source_check = NULL;
    write_source(w, 3 * BR_MIB, 4096, 2);
    sync_ok(w);
    assert_true(w->result.resumed);
    assert_int_equal(65536, w->result.bytes_shipped); // the facts have no page hashes of this side
    assert_int_equal(6 * BR_MIB - 65536, w->result.bytes_resumed);
    w->params.source_check = moved;
    write_source(w, 4 * BR_MIB, 4096, 3);
    assert_int_equal(-BR_E_SOURCE_MOVED, run(w));
    w->params.source_check = NULL;
    sync_ok(w);
    assert_true(w->result.resumed);
    assert_int_equal(0, w->result.bytes_shipped);
    assert_int_equal(4096, w->result.bytes_resumed);
    assert_int_equal(4096, w->result.bytes_changed);
    assert_int_equal(2, w->result.generation.counter);
}

// A version, then changes of pages 0, 16 (block 1), 160 and a whole MiB at 4 MiB, of which all were shipped by a run that was cut.
static void cut_a_delta(struct world *w)
{
    write_source(w, 0, 6 * BR_MIB, 1);
    sync_ok(w);
    assert_false(w->result.resumed);
    assert_int_equal(0, w->result.bytes_resumed);
    write_source(w, 0, 4096, 2);
    write_source(w, 65536, 4096, 3);
    write_source(w, 655360, 4096, 4);
    write_source(w, 4 * BR_MIB, BR_MIB, 5);
    w->params.source_check = moved;
    assert_int_equal(-BR_E_SOURCE_MOVED, run(w));
    assert_int_equal(BR_MIB + 3 * 4096, w->result.bytes_shipped);
    w->params.source_check = NULL;
}

static bool is_there(struct world *w, const char *name)
{
    return !access(path_of(w, name), F_OK);
}

static void a_delta_that_was_cut_ships_only_what_is_still_different(void **state)
{
    struct world *w = *state;

    cut_a_delta(w);
    assert_true(is_there(w, "target.blkrep/stage"));
    write_source(w, 65536, 4096, 13);           // another content than was staged
    write_source(w, 655360 + 4096, 4096, 14);   // a block that was staged with less: both its pages ship
    write_source(w, 5 * BR_MIB + 8192, 10, 15); // where nothing was staged
    sync_ok(w);
    assert_true(w->result.resumed);
    assert_int_equal(BR_MIB + 4096, w->result.bytes_resumed);
    assert_int_equal(4 * 4096, w->result.bytes_shipped);
    assert_int_equal(BR_MIB + 5 * 4096, w->result.bytes_changed);
    assert_false(is_there(w, "target.blkrep/stage"));
    assert_false(is_there(w, "target.blkrep/stage.cut"));
    assert_false(is_there(w, "target.blkrep/cut.1"));
}

static void a_cut_delta_of_another_size_now_ends_equal(void **state)
{
    struct world *w = *state;

    cut_a_delta(w);
    write_source(w, 6 * BR_MIB, 100000, 21);
    w->params.source_check = moved;
    assert_int_equal(-BR_E_SOURCE_MOVED, run(w));
    assert_int_equal(100000, w->result.bytes_shipped);
    assert_int_equal(0, ftruncate(w->fd, (off_t)(4 * BR_MIB + 65536 + 4097)));
    w->params.source_check = NULL;
    sync_ok(w);
    assert_int_equal(4097, w->result.bytes_shipped); // the new tail, of another length
    assert_int_equal(65536 + 3 * 4096, w->result.bytes_resumed);
}

static void a_dry_run_neither_uses_nor_loses_what_was_staged(void **state)
{
    struct world *w = *state;

    cut_a_delta(w);
    w->params.dry_run = true;
    assert_int_equal(0, run(w));
    assert_false(w->result.resumed);
    assert_int_equal(BR_MIB + 3 * 4096, w->result.bytes_shipped);
    w->params.dry_run = false;
    sync_ok(w);
    assert_int_equal(0, w->result.bytes_shipped);
    assert_int_equal(BR_MIB + 3 * 4096, w->result.bytes_resumed);
}

static void a_source_that_is_as_it_was_drops_what_was_staged(void **state)
{
    struct world *w = *state;

    cut_a_delta(w);
    write_source(w, 0, 6 * BR_MIB, 1);
    sync_ok(w);
    assert_false(w->result.new_version);
    assert_false(is_there(w, "target.blkrep/stage"));
    assert_false(is_there(w, "target.blkrep/stage.cut"));
}

static void a_resumed_first_copy_of_another_size_ends_equal(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 6 * BR_MIB + 100, 1);
    w->params.source_check = moved;
    assert_int_equal(-BR_E_SOURCE_MOVED, run(w));
    write_source(w, 6 * BR_MIB, 3 * BR_MIB + 5, 2);
    assert_int_equal(-BR_E_SOURCE_MOVED, run(w));
    assert_int_equal(0, ftruncate(w->fd, (off_t)(5 * BR_MIB + 4097)));
    w->params.source_check = NULL;
    sync_ok(w);
    assert_true(w->result.resumed);
    assert_true(w->result.bytes_shipped <= 65536);
}

static void force_full_makes_the_file_anew(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 2 * BR_MIB, 1);
    sync_ok(w);
    w->params.force_full = true;
    sync_ok(w);
    assert_int_equal(BR_MODE_REPLACE, w->result.mode);
    assert_string_equal("forced", w->result.fallback_reason);
    assert_int_equal(2 * BR_MIB, w->result.bytes_shipped);
    assert_int_equal(2, w->result.generation.counter);
    w->params.force_full = false;
    write_source(w, 0, 10, 4);
    sync_ok(w);
    assert_int_equal(4096, w->result.bytes_shipped);
}

static void rot_in_the_replica_is_found_by_the_recheck_and_healed_by_the_next_run(void **state)
{
    struct world *w = *state;
    struct timespec times[2];
    struct stat st;

    write_source(w, 0, 2 * BR_MIB, 1);
    sync_ok(w);
    assert_int_equal(0, stat(path_of(w, "target"), &st));
    poke_target(w, BR_MIB + 100, "rot", 3);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    assert_int_equal(0, utimensat(AT_FDCWD, path_of(w, "target"), times, 0));
    int rc = run(w);
    assert_true(rc == -BR_E_VERIFY || rc == -BR_E_FOREIGN_WRITE);
    if (rc == -BR_E_VERIFY) {
        assert_int_equal(1, w->result.recheck_mismatches);
        sync_ok(w);
        assert_string_equal("recheck-mismatch", w->result.fallback_reason);
        sync_ok(w);
        assert_null(w->result.fallback_reason);
    } else {
        w->params.force_full = true;
        sync_ok(w);
    }
}

static void a_dry_run_tells_what_would_ship_and_changes_nothing(void **state)
{
    struct world *w = *state;
    char command[4000];

    write_source(w, 0, 3 * BR_MIB, 1);
    w->params.dry_run = true;
    w->local.replica.read_only = true;
    sync_ok(w);
    assert_int_equal(3 * BR_MIB, w->result.bytes_shipped);
    assert_int_equal(0, file_size(w, "target"));
    assert_int_equal(-1, access(path_of(w, "source.blkrep/volume"), F_OK));
    w->params.dry_run = w->local.replica.read_only = false;
    sync_ok(w);
    write_source(w, 0, 10, 2);
    snprintf(command, sizeof(command), "cd %s; cat target target.blkrep/* source.blkrep/* | cksum > before", w->path);
    assert_int_equal(0, system(command));
    w->params.dry_run = w->local.replica.read_only = true;
    sync_ok(w);
    assert_int_equal(4096, w->result.bytes_shipped);
    assert_false(w->result.new_version);
    snprintf(command, sizeof(command),
             "cd %s; cat target target.blkrep/* source.blkrep/* | cksum | cmp - before && rm source.blkrep/to-*",
             w->path);
    assert_int_equal(0, system(command));
    sync_ok(w); // against the replica's own nodes
    assert_int_equal(65536, w->result.bytes_shipped);
    w->params.dry_run = w->local.replica.read_only = false;
    sync_ok(w);
}

static void verify_reads_both_sides(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 2 * BR_MIB, 1);
    w->params.verify = true;
    sync_ok(w);
    assert_true(w->result.verified);
    assert_int_equal(0, w->result.verify_bad_blocks);
    sync_ok(w);
    assert_true(w->result.verified);
}

static void a_better_consistency_is_a_new_version_although_nothing_changed(void **state)
{
    struct world *w = *state;

    write_source(w, 0, 100000, 1);
    w->params.consistency = BR_CONSISTENCY_NONE;
    sync_ok(w);
    w->params.consistency = BR_CONSISTENCY_CLEAN;
    sync_ok(w);
    assert_true(w->result.new_version);
    assert_int_equal(2, w->result.generation.counter);
    w->params.consistency = BR_CONSISTENCY_NONE;
    sync_ok(w);
    assert_false(w->result.new_version);
    assert_int_equal(BR_CONSISTENCY_CLEAN, w->result.consistency);
}

static void a_second_run_to_the_same_replica_is_busy(void **state)
{
    struct world *w = *state;
    struct br_source *held;

    write_source(w, 0, 100000, 1);
    sync_ok(w);
    assert_int_equal(0, br_source_open(w->ring, w->source_dir, &w->result.replica, false, &held, NULL));
    assert_int_equal(-BR_E_BUSY, run(w));
    br_source_close(held);
    sync_ok(w);
}

static void many_runs_do_not_let_the_state_grow_without_bound(void **state)
{
    struct world *w = *state;
    char command[4000];

    write_source(w, 0, 64 * 65536, 1);
    for (unsigned i = 0; i < 60; i++) {
        write_source(w, i * 65536 + 4096, 4096, i + 2);
        sync_ok(w);
    }
    snprintf(command, sizeof(command), "test $(du -sk %s/source.blkrep | cut -f1) -lt 12000", w->path);
    assert_int_equal(0, system(command));
}

static void forgetting_a_replica_leaves_the_volume(void **state)
{
    struct world *w = *state;
    struct br_uuid volume;

    write_source(w, 0, 100000, 1);
    sync_ok(w);
    assert_int_equal(0, br_source_forget(w->ring, w->source_dir, &w->result.replica, NULL));
    assert_int_equal(0, br_source_forget(w->ring, w->source_dir, &w->result.replica, NULL));
    assert_int_equal(1, br_volume_load(w->source_dir, &volume, NULL));
    sync_ok(w);
    assert_string_equal("state-lost", w->result.fallback_reason);
}

static void the_recheck_budget_keeps_a_round_within_its_period(void **state)
{
    const uint64_t day = UINT64_C(24) * 3600 * BR_NS_PER_S;
    struct br_identity identity = {.finished_unix_ns = 100 * day, .recheck_round_unix_ns = 90 * day};

    (void)state;
    assert_true(br_tree_geometry_of(300 * BR_GIB, &identity.tree.geometry));
    // Daily runs, 19 days left for 300 GiB: a nineteenth.
    uint64_t budget = br_recheck_budget(&identity, 0, 101 * day, 30 * day);
    assert_in_range(budget, 15 * BR_GIB, 16 * BR_GIB);
    // Too late: all that is left.
    assert_int_equal(300 * BR_GIB, br_recheck_budget(&identity, 0, 130 * day, 30 * day));
    identity.recheck_next_block = 4800000; // of 4915200
    assert_int_equal(115200 * UINT64_C(65536), br_recheck_budget(&identity, 0, 130 * day, 30 * day));
    // Every 30 s there is nothing to hurry for: what changed, at least 64 MiB.
    identity.finished_unix_ns = 101 * day - 30 * BR_NS_PER_S;
    assert_int_equal(BR_RECHECK_BYTES_MIN, br_recheck_budget(&identity, 0, 101 * day, 30 * day));
    assert_int_equal(BR_GIB, br_recheck_budget(&identity, BR_GIB, 101 * day, 30 * day));
    // A clock that jumped back.
    assert_int_equal(BR_RECHECK_BYTES_MIN, br_recheck_budget(&identity, 0, 5, 30 * day));
    // Never more than there is.
    assert_true(br_tree_geometry_of(1000, &identity.tree.geometry));
    identity.recheck_next_block = 0;
    assert_int_equal(1000, br_recheck_budget(&identity, BR_GIB, 101 * day, 30 * day));
}

// Streams -----------------------------------------------------------------------------------------------------------------------------

static int stream_write(void *ctx, const void *bytes, size_t len, struct br_err *reterr)
{
    struct world *w = ctx;

    br_buf_append(&w->stream, bytes, len);
    if (w->die_behind_end && len == BR_STREAM_HEAD_BYTES + BR_STREAM_END_BYTES) {
        return br_err_set(reterr, BR_E_IO, "the test's pipe");
    }
    return 0;
}

static int stream_read(void *ctx, void *bytes, size_t len, struct br_err *reterr)
{
    struct world *w = ctx;
    size_t n = BR_MIN(BR_MIN(len, (size_t)70000), w->stream.len - w->stream_read);

    (void)reterr;
    memcpy(bytes, w->stream.data + w->stream_read, n);
    w->stream_read += n;
    return (int)n;
}

static int send_stream(struct world *w, const char *since, struct br_send_result *result)
{
    struct br_send_params params = {
        .ring = w->ring,
        .source = w->source,
        .size_bytes = file_size(w, "source"),
        .sector_bytes = 512,
        .consistency = BR_CONSISTENCY_CLEAN,
        .label = "source",
        .dir = w->source_dir,
        .tracker = w->params.tracker,
        .recheck_bytes = BR_RECHECK_DEFAULT,
        .since = since,
        .level = 1,
        .write = stream_write,
        .write_ctx = w,
    };

    br_buf_reset(&w->stream);
    w->err = (struct br_err){0};
    return br_send_run(&params, result, &w->err);
}

static int receive_stream(struct world *w, struct br_receive_result *result)
{
    struct br_endpoint endpoint = open_endpoint(w);
    struct br_receive_params params = {
        .ring = w->ring,
        .endpoint = endpoint,
        .recheck_bytes = BR_RECHECK_DEFAULT,
        .read = stream_read,
        .read_ctx = w,
    };

    w->stream_read = 0;
    w->err = (struct br_err){0};
    int rc = br_receive_run(&params, result, &w->err);
    endpoint.ops->close(endpoint.ctx);
    close_target(w);
    return rc;
}

static void a_stream_makes_a_replica_and_a_delta_brings_it_on(void **state)
{
    struct world *w = *state;
    struct br_send_result sent;
    struct br_receive_result got;

    assert_int_equal(0, ftruncate(w->fd, (off_t)(20 * BR_MIB)));
    write_source(w, 0, 5 * BR_MIB + 99, 1);
    assert_int_equal(0, send_stream(w, NULL, &sent));
    assert_true(sent.full);
    assert_int_equal(w->stream.len, sent.stream_bytes);
    assert_int_equal(0, receive_stream(w, &got));
    assert_true(got.new_version);
    check_equal(w);
    assert_int_equal(0, receive_stream(w, &got)); // the same again: nothing to do
    assert_false(got.new_version);
    for (unsigned i = 0; i < 3; i++) {
        write_source(w, i * BR_MIB, 9000, i + 7);
        assert_int_equal(0, ftruncate(w->fd, (off_t)(20 * BR_MIB - i * 70000)));
        assert_int_equal(0, send_stream(w, "last", &sent));
        assert_true(sent.stream_bytes < 40000);
        assert_int_equal(0, receive_stream(w, &got));
        assert_int_equal(BR_MODE_DELTA, got.mode);
        check_equal(w);
    }
}

static void a_cut_stream_leaves_the_replica_as_it_was(void **state)
{
    struct world *w = *state;
    struct br_send_result sent;
    struct br_receive_result got;
    char command[4000];

    write_source(w, 0, 3 * BR_MIB, 1);
    assert_int_equal(0, send_stream(w, NULL, &sent));
    assert_int_equal(0, receive_stream(w, &got));
    snprintf(command, sizeof(command), "cp %s/target %s/before", w->path, w->path);
    assert_int_equal(0, system(command));
    write_source(w, BR_MIB, 500000, 2);
    assert_int_equal(0, send_stream(w, "last", &sent));
    size_t whole = w->stream.len;
    for (unsigned i = 1; i < 40; i++) {
        w->stream.len = whole * i / 40;
        assert_int_equal(-BR_E_TRUNCATED, receive_stream(w, &got));
    }
    w->stream.len = whole;
    w->stream.data[whole / 2] ^= 4;
    assert_int_equal(-BR_E_CORRUPT, receive_stream(w, &got));
    snprintf(command, sizeof(command), "cmp %s/target %s/before", w->path, w->path);
    assert_int_equal(0, system(command));
    w->stream.data[whole / 2] ^= 4;
    br_buf_append(&w->stream, "x", 1);
    assert_true(receive_stream(w, &got) < 0); // something behind the end
    w->stream.len = whole;
    assert_int_equal(0, receive_stream(w, &got));
    check_equal(w);
}

static void a_delta_that_was_missed_is_refused_and_a_full_stream_puts_it_right(void **state)
{
    struct world *w = *state;
    struct br_send_result sent;
    struct br_receive_result got;

    write_source(w, 0, 3 * BR_MIB, 1);
    assert_int_equal(0, send_stream(w, NULL, &sent));
    assert_int_equal(0, receive_stream(w, &got));
    write_source(w, 0, 10, 2);
    assert_int_equal(0, send_stream(w, "last", &sent)); // lost
    write_source(w, 100000, 10, 3);
    assert_int_equal(0, send_stream(w, "last", &sent));
    assert_int_equal(-BR_E_WRONG_PARENT, receive_stream(w, &got));
    assert_int_equal(0, send_stream(w, NULL, &sent));
    assert_int_equal(0, receive_stream(w, &got));
    assert_int_equal(BR_MODE_REPLACE, got.mode);
    check_equal(w);
}

static void since_names_only_what_was_sent(void **state)
{
    struct world *w = *state;
    struct br_send_result sent;
    char root[2 * BR_HASH_BYTES + 1];

    write_source(w, 0, 100000, 1);
    assert_int_equal(-BR_E_NOT_FOUND, send_stream(w, "last", &sent));
    assert_int_equal(0, send_stream(w, NULL, &sent));
    br_hash_text(&sent.root, root);
    root[10] = 0;
    assert_int_equal(0, send_stream(w, root, &sent));
    assert_false(sent.full);
    root[7] = 0;
    assert_int_equal(-BR_E_NOT_FOUND, send_stream(w, root, &sent));
    assert_int_equal(-BR_E_NOT_FOUND, send_stream(w, "00000000", &sent));
}

static void a_stream_that_got_out_although_its_sender_died_can_be_gone_on_from(void **state)
{
    struct world *w = *state;
    struct br_send_result sent;
    struct br_receive_result got;
    char root[2 * BR_HASH_BYTES + 1];

    write_source(w, 0, 2 * BR_MIB, 1);
    assert_int_equal(0, send_stream(w, NULL, &sent));
    assert_int_equal(0, receive_stream(w, &got));
    write_source(w, 100, 100, 2);
    w->die_behind_end = true;
    assert_int_equal(-BR_E_IO, send_stream(w, "last", &sent));
    w->die_behind_end = false;
    // It was not received after all: from the version before.
    struct br_buf orphan = w->stream;
    w->stream = (struct br_buf){0};
    write_source(w, 70000, 100, 3);
    assert_int_equal(0, send_stream(w, "last", &sent));
    br_buf_free(&orphan);
    assert_int_equal(0, receive_stream(w, &got));
    check_equal(w);
    // It was: from the version itself, by its root.
    write_source(w, 140000, 100, 4);
    w->die_behind_end = true;
    assert_int_equal(-BR_E_IO, send_stream(w, "last", &sent));
    w->die_behind_end = false;
    assert_int_equal(0, receive_stream(w, &got));
    check_equal(w);
    br_hash_text(&got.root, root);
    write_source(w, 210000, 100, 5);
    assert_int_equal(0, send_stream(w, root, &sent));
    assert_int_equal(0, receive_stream(w, &got));
    check_equal(w);
}

// Trackers ----------------------------------------------------------------------------------------------------------------------------

static int teller_changed(void *ctx, const struct br_uuid *version, struct br_extent_map *map, const char **ret_reason,
                          struct br_err *reterr)
{
    struct teller *teller = ctx;
    int rc = 0;

    teller->asked++;
    if (teller->distrusted || !br_uuid_equal(version, &teller->version)) {
        *ret_reason = teller->distrusted ? "distrusted" : "no-mark";
        return 0;
    }
    for (size_t i = 0; !rc && i < teller->says.count; i++) {
        rc = br_extent_map_mark(map, teller->says.extents[i].offset_bytes, teller->says.extents[i].len_bytes, reterr);
    }
    return rc < 0 ? rc : 1;
}

static int teller_mark(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version, struct br_err *reterr)
{
    struct teller *teller = ctx;

    assert_false(br_uuid_is_nil(consumer));
    teller->consumer = *consumer;
    teller->marks++;
    teller->marked = *version;
    return teller->mark_fails ? br_err_set(reterr, BR_E_NO_SPACE, "the test's mark") : 0;
}

static void teller_settle(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version)
{
    struct teller *teller = ctx;

    assert_true(br_uuid_equal(consumer, &teller->consumer));
    assert_true(br_uuid_equal(version, &teller->marked));
    teller->settled++;
    teller->version = *version;
    br_extent_map_free(&teller->says);
}

static int teller_distrust(void *ctx, uint64_t offset_bytes, struct br_err *reterr)
{
    struct teller *teller = ctx;

    (void)reterr;
    teller->distrusted++;
    teller->distrusted_offset_bytes = offset_bytes;
    return 0;
}

static int teller_old(void *ctx, const struct br_uuid *version, struct br_file **ret_file)
{
    struct teller *teller = ctx;

    assert_true(br_uuid_equal(version, &teller->version));
    teller->old_asked++;
    int fd = teller->old_path[0] ? open(teller->old_path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return 0;
    }
    assert_int_equal(0, br_file_wrap(teller->ring, fd, ret_file, NULL));
    return 1;
}

static const struct br_tracker_ops teller_ops = {.changed = teller_changed,
                                                 .mark = teller_mark,
                                                 .settle = teller_settle,
                                                 .distrust = teller_distrust,
                                                 .old = teller_old};

static void use_teller(struct world *w)
{
    w->teller.tracker = (struct br_tracker){.name = "teller", .ops = &teller_ops, .ctx = &w->teller};
    w->params.tracker = &w->teller.tracker;
    w->teller.ring = w->ring;
}

// What the source holds now is what the teller says that it held at its mark.
static void teller_keeps_old(struct world *w)
{
    char command[4000];

    snprintf(w->teller.old_path, sizeof(w->teller.old_path), "%s/old", w->path);
    snprintf(command, sizeof(command), "cp %s/source %s", w->path, w->teller.old_path);
    assert_int_equal(0, system(command));
}

static void lose_trees(struct world *w)
{
    char command[4000];

    snprintf(command, sizeof(command), "rm %s/source.blkrep/to-*.tree.*", w->path);
    assert_int_equal(0, system(command));
}

static void write_tracked(struct world *w, uint64_t at, size_t len, uint64_t seed)
{
    write_source(w, at, len, seed);
    assert_int_equal(0, br_extent_map_mark(&w->teller.says, at, len, NULL));
}

static void a_tracker_narrows_what_is_read_and_its_mark_comes_before_the_commit(void **state)
{
    struct world *w = *state;

    use_teller(w);
    w->params.recheck_bytes = 0;
    write_source(w, 0, 20 * BR_MIB, 1);
    sync_ok(w);
    assert_string_equal("teller", w->result.tracker);
    assert_string_equal("first-copy", w->result.fallback_reason);
    assert_int_equal(0, w->teller.asked);
    assert_int_equal(1, w->teller.settled);
    assert_true(br_uuid_equal(&w->teller.version, &w->result.generation.id));
    write_tracked(w, 7 * BR_MIB + 5, 10, 2);
    write_tracked(w, 20 * BR_MIB - 1, 1, 3);
    sync_ok(w);
    assert_null(w->result.fallback_reason);
    assert_int_equal(2 * BR_BLOCK_BYTES, w->result.bytes_read);
    assert_int_equal(2 * BR_BLOCK_BYTES, w->result.tracked.bytes_named);
    assert_int_equal(2 * BR_PAGE_BYTES, w->result.bytes_shipped);
    assert_true(br_uuid_equal(&w->teller.version, &w->result.generation.id));
    // What was called changed and is not: no new version, and yet a mark, for the same one.
    assert_int_equal(0, br_extent_map_mark(&w->teller.says, 0, 1, NULL));
    struct br_uuid version = w->teller.version;
    sync_ok(w);
    assert_false(w->result.new_version);
    assert_int_equal(3, w->teller.settled);
    assert_true(br_uuid_equal(&w->teller.version, &version));
    // Without its mark there is no new version.
    write_tracked(w, 0, 1, 4);
    w->teller.mark_fails = true;
    assert_int_equal(-BR_E_NO_SPACE, run(w));
    assert_int_equal(3, w->teller.settled);
    w->teller.mark_fails = false;
    sync_ok(w);
    assert_null(w->result.fallback_reason);
}

static void a_tracker_without_a_proof_costs_a_full_compare_and_says_why(void **state)
{
    struct world *w = *state;

    use_teller(w);
    write_source(w, 0, 4 * BR_MIB, 1);
    sync_ok(w);
    w->teller.version.bytes[0] ^= 1;
    write_source(w, BR_MIB, 100, 2); // nothing says so
    sync_ok(w);
    assert_string_equal("no-mark", w->result.fallback_reason);
    assert_int_equal(4 * BR_MIB, w->result.bytes_read);
    assert_int_equal(0, w->teller.distrusted);
}

static void a_tracker_that_under_reports_is_caught_within_a_round(void **state)
{
    struct world *w = *state;
    unsigned runs = 0;

    use_teller(w);
    w->params.recheck_bytes = 0;
    write_source(w, 0, 4 * BR_MIB + 1234, 1);
    sync_ok(w);
    w->params.recheck_bytes = BR_MIB;
    write_tracked(w, 0, 1, 2);
    sync_ok(w);
    assert_int_equal(BR_MIB, w->result.tracked.bytes_rechecked);
    // Behind the first share, and nothing says so; each run names a block that it has to leave out.
    write_source(w, 4 * BR_MIB + 1000, 1, 3);
    do {
        write_tracked(w, runs * 3 * BR_BLOCK_BYTES, 10, runs + 9);
        assert_int_equal(0, run(w));
        runs++;
    } while (!w->result.tracked.caught && runs < 8);
    assert_true(w->result.tracked.caught && runs <= 4);
    assert_int_equal(4 * BR_MIB, w->result.tracked.caught_offset_bytes);
    assert_int_equal(1, w->teller.distrusted);
    assert_int_equal(4 * BR_MIB, w->teller.distrusted_offset_bytes);
    assert_string_equal("recheck-mismatch", w->result.fallback_reason);
    check_equal(w); // the same run compared everything
    sync_ok(w);
    assert_string_equal("distrusted", w->result.fallback_reason);
}

static void a_recheck_goes_round_and_is_a_full_proof(void **state)
{
    struct world *w = *state;
    static const uint64_t next[] = {0, 17, 34, 51, 4}; // of 64 blocks
    struct br_source *source;
    uint64_t proven = 0;

    use_teller(w);
    write_source(w, 0, 4 * BR_MIB, 1);
    sync_ok(w);
    w->params.recheck_bytes = BR_MIB + BR_BLOCK_BYTES;
    for (unsigned i = 0; i < BR_ARRAY_LEN(next); i++) {
        assert_int_equal(0, br_source_open(w->ring, w->source_dir, &w->result.replica, true, &source, NULL));
        const struct br_identity *identity = br_source_identity(source);
        assert_int_equal(next[i], identity->recheck_next_block);
        assert_true(i < 4 ? !proven || identity->full_proof_unix_ns == proven : identity->full_proof_unix_ns > proven);
        proven = identity->full_proof_unix_ns;
        br_source_close(source);
        sync_ok(w);
        assert_int_equal(BR_MIB + BR_BLOCK_BYTES, w->result.tracked.bytes_rechecked);
    }
}

static void growth_shrinking_and_a_tracker_end_equal(void **state)
{
    struct world *w = *state;
    static const uint64_t sizes[] = {3 * BR_MIB + 99, 5 * BR_MIB, 2 * BR_MIB + 4097, 0, 70000, 9 * BR_MIB};

    use_teller(w);
    write_source(w, 0, 3 * BR_MIB, 1);
    sync_ok(w);
    for (unsigned i = 0; i < BR_ARRAY_LEN(sizes); i++) {
        assert_int_equal(0, ftruncate(w->fd, (off_t)sizes[i]));
        if (sizes[i] > 20000) {
            write_tracked(w, sizes[i] - 20000, 9000, i);
        }
        sync_ok(w);
        assert_null(w->result.fallback_reason);
        assert_int_equal(0, w->teller.distrusted);
    }
}

static void a_stream_of_a_tracked_source_reads_what_changed(void **state)
{
    struct world *w = *state;
    struct br_send_result sent;
    struct br_receive_result got;

    use_teller(w);
    write_source(w, 0, 8 * BR_MIB, 1);
    assert_int_equal(0, send_stream(w, NULL, &sent));
    assert_int_equal(0, receive_stream(w, &got));
    write_tracked(w, 3 * BR_MIB, 5000, 2);
    assert_int_equal(0, send_stream(w, "last", &sent));
    assert_int_equal(BR_BLOCK_BYTES, sent.bytes_read);
    assert_int_equal(8 * BR_MIB - BR_BLOCK_BYTES, sent.tracked.bytes_rechecked);
    assert_int_equal(0, receive_stream(w, &got));
    check_equal(w);
    write_source(w, 5 * BR_MIB, 10, 3); // nothing says so
    assert_int_equal(0, send_stream(w, "last", &sent));
    assert_true(sent.tracked.caught);
    assert_int_equal(1, w->teller.distrusted);
    assert_int_equal(0, receive_stream(w, &got));
    check_equal(w);
}

static void where_the_state_is_lost_a_trackers_old_data_narrows_to_pages(void **state)
{
    struct world *w = *state;

    use_teller(w);
    write_source(w, 0, 20 * BR_MIB, 1);
    sync_ok(w);
    teller_keeps_old(w);
    lose_trees(w);
    for (unsigned i = 0; i < 20; i++) {
        write_tracked(w, i * BR_MIB + i % 16 * 4096, 16, i + 2);
    }
    assert_int_equal(0, br_extent_map_mark(&w->teller.says, 9 * 65536, 65536, NULL)); // named, and what it was
    sync_ok(w);
    assert_string_equal("state-lost", w->result.fallback_reason);
    assert_int_equal(20 * BR_PAGE_BYTES, w->result.bytes_shipped);
    assert_int_equal(20 * BR_BLOCK_BYTES, w->result.bytes_old);
    assert_int_equal(1, w->teller.old_asked);
    // What was read is known again, and needs no old data.
    for (unsigned i = 0; i < 20; i++) {
        write_tracked(w, i * BR_MIB + 4000, 16, i + 30);
    }
    sync_ok(w);
    assert_null(w->result.fallback_reason);
    assert_int_equal(20 * BR_PAGE_BYTES, w->result.bytes_shipped);
    assert_int_equal(1, w->teller.old_asked);
    // Other blocks still do.
    teller_keeps_old(w);
    write_tracked(w, 7 * 65536, 16, 60);
    sync_ok(w);
    assert_int_equal(BR_PAGE_BYTES, w->result.bytes_shipped);
    assert_int_equal(2, w->teller.old_asked);
}

static void old_data_that_is_not_of_the_version_narrows_nothing(void **state)
{
    struct world *w = *state;

    use_teller(w);
    write_source(w, 0, 4 * BR_MIB, 1);
    sync_ok(w);
    lose_trees(w);
    write_tracked(w, 65536, 16, 2);
    teller_keeps_old(w); // too late: it is the new content
    sync_ok(w);
    assert_int_equal(65536, w->result.bytes_shipped);
    assert_int_equal(1, w->teller.old_asked);
    lose_trees(w);
    write_tracked(w, 65536, 16, 3);
    w->teller.old_path[0] = 0;
    sync_ok(w);
    assert_int_equal(65536, w->result.bytes_shipped);
    // A tracker that knows nothing of the version is not asked.
    lose_trees(w);
    w->teller.version.bytes[0] ^= 1;
    write_tracked(w, 65536, 16, 4);
    sync_ok(w);
    assert_string_equal("no-mark", w->result.fallback_reason);
    assert_int_equal(2, w->teller.old_asked);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_first_copy_is_whole_and_the_next_run_ships_nothing),
        T(a_delta_ships_only_changed_pages),
        T(zeros_holes_and_every_change_of_size_end_equal),
        T(an_empty_source_becomes_an_empty_replica),
        T(holes_stay_holes),
        T(lost_state_is_copied_from_the_replica_and_named),
        T(a_damaged_state_is_as_good_as_none),
        T(a_replica_that_another_run_moved_is_noticed),
        T(a_foreign_target_is_refused_and_left_alone),
        T(another_volumes_replica_is_refused),
        T(a_target_too_small_is_refused_before_the_first_write),
        T(swapped_arguments_are_named),
        T(a_source_in_transition_is_refused),
        T(a_source_that_moved_commits_nothing_and_the_next_run_goes_on_from_what_came),
        T(a_delta_that_was_cut_ships_only_what_is_still_different),
        T(a_cut_delta_of_another_size_now_ends_equal),
        T(a_dry_run_neither_uses_nor_loses_what_was_staged),
        T(a_source_that_is_as_it_was_drops_what_was_staged),
        T(a_resumed_first_copy_of_another_size_ends_equal),
        T(force_full_makes_the_file_anew),
        T(rot_in_the_replica_is_found_by_the_recheck_and_healed_by_the_next_run),
        T(a_dry_run_tells_what_would_ship_and_changes_nothing),
        T(verify_reads_both_sides),
        T(a_better_consistency_is_a_new_version_although_nothing_changed),
        T(a_second_run_to_the_same_replica_is_busy),
        T(many_runs_do_not_let_the_state_grow_without_bound),
        T(forgetting_a_replica_leaves_the_volume),
        T(the_recheck_budget_keeps_a_round_within_its_period),
        T(a_stream_makes_a_replica_and_a_delta_brings_it_on),
        T(a_cut_stream_leaves_the_replica_as_it_was),
        T(a_delta_that_was_missed_is_refused_and_a_full_stream_puts_it_right),
        T(since_names_only_what_was_sent),
        T(a_tracker_narrows_what_is_read_and_its_mark_comes_before_the_commit),
        T(a_tracker_without_a_proof_costs_a_full_compare_and_says_why),
        T(a_tracker_that_under_reports_is_caught_within_a_round),
        T(a_recheck_goes_round_and_is_a_full_proof),
        T(growth_shrinking_and_a_tracker_end_equal),
        T(a_stream_of_a_tracked_source_reads_what_changed),
        T(where_the_state_is_lost_a_trackers_old_data_narrows_to_pages),
        T(old_data_that_is_not_of_the_version_narrows_nothing),
        T(a_stream_that_got_out_although_its_sender_died_can_be_gone_on_from),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
