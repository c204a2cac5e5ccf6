// SPDX-License-Identifier: Apache-2.0
//
// The pipeline on a real ring and a real file. A byte image takes what it ships: whatever the path, the image must end as the source and
// the tree as the version of those bytes.
#include "engine/pipe/pipe.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/units.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_image.h"

#define HELD_MAX   3
#define BUFFERS    24 // half of them are windows: more than are read of old data at once
#define OLD_BLOCKS 320
#define OLD_BYTES  (OLD_BLOCKS * 65536ull)

struct world {
    struct br_ring *ring;
    struct br_file *source;
    int fd; // the test's own
    struct t_store store;
    struct br_tree_store ops;
    uint8_t secret[BR_PAGE_SECRET_BYTES];
    struct t_image image;
    struct br_tree tree; // of the image
    struct br_pipe_progress progress;
    struct br_extent_map *changed;
    uint64_t bytes_per_second;
    const volatile bool *cancel;
    unsigned runs;
    unsigned fail_at_record; // 0 never
    const uint8_t *far;      // what the far end holds, NULL nothing: of every third block
    bool far_fails;
    int old_fd; // what the parent's blocks held, -1: nobody has it
    int old_flags;
    unsigned old_opened;
    volatile bool old_unwanted;
    // The sink gives buffers back late.
    unsigned held_count;
    void (*held[HELD_MAX])(void *);
    void *held_ctx[HELD_MAX];
};

static void release_all(struct world *w)
{
    for (unsigned i = 0; i < w->held_count; i++) {
        w->held[i](w->held_ctx[i]);
    }
    w->held_count = 0;
}

static int sink_batch(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                      struct br_err *reterr)
{
    struct world *w = ctx;

    t_image_batch(&w->image, batch);
    if (w->held_count == HELD_MAX) {
        release_all(w);
    }
    w->held[w->held_count] = release;
    w->held_ctx[w->held_count++] = release_ctx;
    if (w->fail_at_record && w->image.records >= w->fail_at_record) {
        return br_err_set(reterr, BR_E_NO_SPACE, "the test's sink");
    }
    return 0;
}

static int sink_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct world *w = ctx;

    (void)reterr;
    t_image_run(&w->image, run);
    w->runs++;
    return 0;
}

static int sink_keep(void *ctx, const struct br_keep *keep, struct br_err *reterr)
{
    struct world *w = ctx;

    (void)reterr;
    t_image_keep(&w->image, keep, w->far);
    return 0;
}

// All at once, from the first one asked for.
static int tell_held(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                     struct br_err *reterr)
{
    struct world *w = ctx;

    *ret_count = 0;
    if (w->far_fails) {
        return br_err_set(reterr, BR_E_PEER, "the test's far end");
    }
    for (uint64_t i = br_align_up(from, 3); i < w->image.size_bytes / BR_BLOCK_BYTES && *ret_count < most; i += 3) {
        ret_blocks[*ret_count].index = i;
        br_leaf_hash(w->far + i * BR_BLOCK_BYTES, BR_BLOCK_BYTES, &ret_blocks[(*ret_count)++].leaf);
    }
    return 0;
}

static int open_old(void *ctx, struct br_file **ret_file)
{
    struct world *w = ctx;
    char path[64];

    w->old_opened++;
    if (w->old_fd < 0) {
        return 0;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", w->old_fd);
    int fd = open(path, w->old_flags | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(0, br_file_wrap(w->ring, fd, ret_file, NULL));
    return 1;
}

static int temporary(void)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/blkrep-test-pipe-XXXXXX", t_folder());
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[4096];
    struct t_rand r = t_rand_seeded(7, 7);

    snprintf(path, sizeof(path), "%s/blkrep-test-pipe-XXXXXX", t_folder());
    w->fd = mkstemp(path);
    assert_true(w->fd >= 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    w->old_fd = -1;
    struct br_ring_options options = {.buffer_count = BUFFERS, .buffer_bytes = BR_BATCH_DATA_MAX};
    assert_int_equal(0, br_ring_open(&options, &w->ring, NULL));
    assert_int_equal(0, br_ring_workers(w->ring, 2, NULL));
    assert_int_equal(0, br_file_wrap(w->ring, fd, &w->source, NULL));
    w->ops = t_store_ops(&w->store);
    t_rand_fill(&r, w->secret, sizeof(w->secret));
    struct br_tree_geometry geometry;
    assert_true(br_tree_geometry_of(0, &geometry));
    br_tree_empty(&geometry, &br_hash_zero, &w->tree);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    assert_int_equal(BUFFERS, br_ring_buffers_free(w->ring));
    if (w->old_fd >= 0) {
        close(w->old_fd);
    }
    br_file_close(w->source);
    br_ring_close(w->ring);
    close(w->fd);
    t_store_free(&w->store);
    t_image_free(&w->image);
    free(w);
    return 0;
}

static void source_write(struct world *w, uint64_t at, size_t len, uint64_t seed)
{
    struct t_rand r = t_rand_seeded(seed, at);
    uint8_t *bytes = malloc(len);

    t_rand_fill(&r, bytes, len);
    assert_int_equal(len, pwrite(w->fd, bytes, len, (off_t)at));
    free(bytes);
}

static void source_zero(struct world *w, uint64_t at, size_t len)
{
    uint8_t *bytes = calloc(1, len);

    assert_int_equal(len, pwrite(w->fd, bytes, len, (off_t)at));
    free(bytes);
}

static uint64_t source_size(struct world *w)
{
    off_t size = lseek(w->fd, 0, SEEK_END);

    assert_true(size >= 0);
    return (uint64_t)size;
}

static int run_from(struct world *w, const struct br_tree *parent, bool continue_on_read_error, struct br_err *err)
{
    struct br_pipe_params params = {
        .ring = w->ring,
        .source = w->source,
        .size_bytes = source_size(w),
        .changed = w->changed,
        .parent = parent,
        .parent_store = &w->ops,
        .page_secret = w->secret,
        .store = &w->ops,
        .sink = {.batch = sink_batch, .run = sink_run, .keep = sink_keep, .ctx = w},
        .held = {.next = w->far ? tell_held : NULL, .ctx = w},
        .old = {.open = open_old, .ctx = w, .unwanted = &w->old_unwanted},
        .bytes_per_second = w->bytes_per_second,
        .continue_on_read_error = continue_on_read_error,
        .cancel = w->cancel,
    };

    t_image_resize(&w->image, params.size_bytes);
    w->runs = 0;
    struct br_tree tree;
    int rc = br_pipe_run(&params, &tree, &w->progress, err);
    release_all(w);
    if (!rc) {
        w->tree = tree;
    }
    return rc;
}

static void check_same(struct world *w)
{
    uint8_t *bytes = malloc(w->image.size_bytes + 1);
    struct br_hash root, expected;
    struct t_store store = {0};
    struct br_tree_store ops = t_store_ops(&store);

    assert_int_equal(w->image.size_bytes, pread(w->fd, bytes, w->image.size_bytes + 1, 0));
    assert_memory_equal(bytes, w->image.bytes, w->image.size_bytes);
    struct br_tree tree = t_tree_of(bytes, w->image.size_bytes, NULL, &ops);
    br_tree_root(&w->tree, &root);
    br_tree_root(&tree, &expected);
    assert_memory_equal(expected.bytes, root.bytes, BR_HASH_BYTES);
    assert_int_equal(w->image.data_bytes, w->progress.bytes_shipped);
    assert_int_equal(w->image.zero_bytes, w->progress.zero_bytes);
    assert_int_equal(w->image.size_bytes, w->progress.position_bytes);
    t_store_free(&store);
    free(bytes);
}

static void sync_once(struct world *w)
{
    struct br_tree parent = w->tree;
    struct br_err err = {0};

    if (run_from(w, &parent, false, &err)) {
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    check_same(w);
}

static void every_odd_size_is_copied_exactly(void **state)
{
    static const uint64_t sizes[] = {1,     511,   512,     4095,    4096,    4097,   65535,
                                     65536, 65537, 1048575, 1048576, 1048577, 5000001};
    struct world *w = *state;

    for (size_t i = 0; i < BR_ARRAY_LEN(sizes); i++) {
        assert_int_equal(0, ftruncate(w->fd, 0));
        source_write(w, 0, sizes[i], i);
        t_image_resize(&w->image, 0);
        assert_true(br_tree_geometry_of(0, &w->tree.geometry));
        br_tree_empty(&w->tree.geometry, &br_hash_zero, &w->tree);
        sync_once(w);
        assert_int_equal(sizes[i], w->progress.bytes_shipped);
    }
}

static void an_empty_source_is_a_version_too(void **state)
{
    sync_once(*state);
}

static void an_unchanged_source_ships_nothing(void **state)
{
    struct world *w = *state;

    source_write(w, 0, 3000000, 1);
    sync_once(w);
    size_t nodes = w->store.count;
    sync_once(w);
    assert_int_equal(0, w->image.records);
    assert_int_equal(0, w->progress.bytes_changed);
    assert_int_equal(3000000, w->progress.bytes_read);
    assert_int_equal(nodes, w->store.count);
}

static void only_pages_that_differ_are_shipped(void **state)
{
    struct world *w = *state;

    source_write(w, 0, 4 * BR_MIB, 1);
    sync_once(w);
    source_write(w, 5, 1, 2);                     // first page
    source_write(w, 3 * 65536 + 4095, 2, 2);      // two neighbours
    source_write(w, 2 * BR_MIB + 9 * 4096, 1, 2); // a later window
    source_write(w, 4 * BR_MIB - 1, 1, 2);        // last page
    sync_once(w);
    assert_int_equal(5 * 4096, w->progress.bytes_shipped);
    assert_int_equal(5 * 4096, w->progress.bytes_changed);
}

static void holes_are_never_read(void **state)
{
    struct world *w = *state;

    assert_int_equal(0, ftruncate(w->fd, (off_t)(64 * BR_MIB)));
    source_write(w, 10 * BR_MIB, 65536, 1);
    source_write(w, 63 * BR_MIB + 65536 * 3, 65536, 1);
    sync_once(w);
    assert_int_equal(2 * 65536, w->progress.bytes_read);
    assert_int_equal(2 * 65536, w->progress.bytes_shipped);
    assert_int_equal(0, w->runs);
}

static void what_became_a_hole_is_one_run_across_windows(void **state)
{
    struct world *w = *state;

    source_write(w, 0, 8 * BR_MIB, 1);
    sync_once(w);
    assert_int_equal(0, ftruncate(w->fd, (off_t)BR_MIB));
    assert_int_equal(0, ftruncate(w->fd, (off_t)(8 * BR_MIB)));
    sync_once(w);
    assert_int_equal(1, w->runs);
    assert_int_equal(7 * BR_MIB, w->progress.zero_bytes);
    assert_int_equal(7 * BR_MIB, w->progress.bytes_changed);
    assert_int_equal(0, w->progress.bytes_shipped);
}

static void written_zeros_ship_as_runs_and_zeroed_pages_as_masks(void **state)
{
    struct world *w = *state;

    source_write(w, 0, 2 * BR_MIB, 1);
    sync_once(w);
    source_zero(w, 65536, 3 * 65536);            // whole blocks
    source_zero(w, 10 * 65536 + 4096, 2 * 4096); // pages of one
    source_write(w, 12 * 65536, 10, 3);
    sync_once(w);
    assert_int_equal(1, w->runs);
    assert_int_equal(3 * 65536 + 2 * 4096, w->progress.zero_bytes);
    assert_int_equal(4096, w->progress.bytes_shipped);
}

static void runs_between_data_of_one_window_keep_the_order(void **state)
{
    struct world *w = *state;

    source_write(w, 0, BR_MIB, 1);
    sync_once(w);
    for (unsigned i = 0; i < 16; i++) {
        if (i % 3 == 1) {
            source_zero(w, i * 65536, 65536);
        } else {
            source_write(w, i * 65536 + 3 * 4096, 8192, 9);
        }
    }
    sync_once(w);
    assert_int_equal(5, w->runs);
    assert_int_equal(11 * 8192, w->progress.bytes_shipped);
}

static void what_is_held_and_right_is_kept_in_its_place(void **state)
{
    struct world *w = *state;
    uint8_t *far = malloc(40 * 65536);

    source_write(w, 0, 40 * 65536, 1);
    sync_once(w);
    for (unsigned i = 0; i < 40; i++) {
        if (i % 4 == 2) {
            source_zero(w, i * 65536, 65536);
        } else if (i % 8 != 7) {
            source_write(w, i * 65536 + 4096, 4096, 9);
        }
    }
    assert_int_equal(40 * 65536, pread(w->fd, far, 40 * 65536, 0));
    far[6 * 65536] ^= 1; // 6 became zeros, 9 and 15 are held as something else
    far[9 * 65536] ^= 1;
    far[15 * 65536] ^= 1;
    w->far = far;
    sync_once(w);
    // Of 0 3 6 9 .. 39: not what became zeros (6 18 30), not 9, and not 15 and 39, which are as they were.
    assert_int_equal(8, w->image.kept_blocks);
    assert_int_equal(8 * 4096, w->progress.bytes_kept);
    assert_int_equal(10, w->runs);
    assert_int_equal((40 - 10 - 5 - 8) * 4096, w->progress.bytes_shipped);
    assert_int_equal((40 - 5 - 10) * 4096 + 10 * 65536, w->progress.bytes_changed);
    assert_int_equal(5 * 65536, w->progress.bytes_same);
    w->far = NULL;
    free(far);
}

static void a_far_end_that_can_not_tell_what_it_holds_ends_the_run(void **state)
{
    struct world *w = *state;
    struct br_tree parent = w->tree;
    struct br_err err = {0};
    const uint8_t nothing = 0;

    source_write(w, 0, 3 * BR_MIB, 1);
    w->far = &nothing;
    w->far_fails = true;
    assert_int_equal(-BR_E_PEER, run_from(w, &parent, false, &err));
    w->far = NULL;
}

static void a_grown_and_a_shrunk_source_end_exactly(void **state)
{
    static const uint64_t sizes[] = {100, 70000, 65536, 1, 5 * BR_MIB + 17, 5 * BR_MIB, 17 * BR_MIB + 3, 4097, 4096};
    struct world *w = *state;

    source_write(w, 0, 100, 1);
    for (size_t i = 0; i < BR_ARRAY_LEN(sizes); i++) {
        assert_int_equal(0, ftruncate(w->fd, (off_t)sizes[i]));
        sync_once(w);
        source_write(w, sizes[i] / 2, sizes[i] - sizes[i] / 2, i + 2);
        sync_once(w);
    }
}

static void a_growth_is_seen_although_the_map_of_changes_is_empty(void **state)
{
    struct world *w = *state;
    struct br_extent_map changed = {0};

    source_write(w, 0, 100000, 1);
    sync_once(w);
    source_write(w, 100000, 300000, 2);
    w->changed = &changed;
    sync_once(w);
    assert_true(w->progress.bytes_read < 400000);
    br_extent_map_free(&changed);
}

static void only_changed_ranges_are_read_when_they_are_known(void **state)
{
    struct world *w = *state;
    struct br_extent_map changed = {0};

    source_write(w, 0, 8 * BR_MIB, 1);
    sync_once(w);
    source_write(w, 3 * BR_MIB + 5000, 3, 2);
    source_write(w, 7 * BR_MIB, 65536 * 2, 2);
    assert_int_equal(0, br_extent_map_mark(&changed, 3 * BR_MIB + 5000, 3, NULL));
    assert_int_equal(0, br_extent_map_mark(&changed, 7 * BR_MIB, 65536 * 2, NULL));
    w->changed = &changed;
    sync_once(w);
    assert_int_equal(3 * 65536, w->progress.bytes_read);
    assert_int_equal(4096 + 2 * 65536, w->progress.bytes_shipped);
    br_extent_map_free(&changed);
}

static void an_unknown_parent_is_told_everything(void **state)
{
    struct world *w = *state;
    struct br_tree unknown;
    struct br_err err;

    assert_int_equal(0, ftruncate(w->fd, (off_t)(40 * BR_MIB)));
    source_write(w, 5 * BR_MIB + 4096, 4096, 1);
    assert_true(br_tree_geometry_of(40 * BR_MIB, &unknown.geometry));
    br_tree_empty(&unknown.geometry, &br_hash_unknown, &unknown);
    t_image_resize(&w->image, 40 * BR_MIB);
    memset(w->image.bytes, 0xee, 40 * BR_MIB);
    assert_int_equal(0, run_from(w, &unknown, false, &err));
    check_same(w);
    assert_int_equal(4096, w->progress.bytes_shipped);
    assert_int_equal(40 * BR_MIB - 4096, w->progress.zero_bytes);
    assert_int_equal(2, w->runs);
}

static void lost_page_hashes_ship_blocks_once_and_are_learned_again(void **state)
{
    struct world *w = *state;

    source_write(w, 0, BR_MIB, 1);
    uint8_t *bytes = malloc(BR_MIB);
    assert_int_equal(BR_MIB, pread(w->fd, bytes, BR_MIB, 0));
    t_image_resize(&w->image, BR_MIB);
    memcpy(w->image.bytes, bytes, BR_MIB);
    w->tree = t_tree_of(bytes, BR_MIB, NULL, &w->ops);
    free(bytes);
    source_write(w, 0, 1, 2);
    sync_once(w);
    assert_int_equal(65536, w->progress.bytes_shipped);
    source_write(w, 65536 * 7, 1, 3); // not shipped the last time
    sync_once(w);
    assert_int_equal(4096, w->progress.bytes_shipped);
}

// A version of @size_bytes whose page hashes are lost and whose bytes are still at hand, and its image.
static void with_old(struct world *w, uint64_t size_bytes)
{
    source_write(w, 0, size_bytes, 1);
    uint8_t *bytes = malloc(size_bytes);
    assert_int_equal(size_bytes, pread(w->fd, bytes, size_bytes, 0));
    w->old_fd = temporary();
    assert_int_equal(size_bytes, pwrite(w->old_fd, bytes, size_bytes, 0));
    t_image_resize(&w->image, size_bytes);
    memcpy(w->image.bytes, bytes, size_bytes);
    w->tree = t_tree_of(bytes, size_bytes, NULL, &w->ops);
    free(bytes);
}

// One page of every second block gets other content.
static void change_pages(struct world *w, unsigned blocks)
{
    for (unsigned i = 0; i < blocks; i += 2) {
        source_write(w, i * 65536ull + (i % 16) * 4096, 16, 2 + i);
    }
}

static void where_page_hashes_are_lost_old_data_tells_pages_apart(void **state)
{
    struct world *w = *state;

    with_old(w, OLD_BYTES + 5000);
    change_pages(w, OLD_BLOCKS);
    source_write(w, OLD_BYTES + 4096, 16, 2); // the tail block's short page
    source_zero(w, 65536 + 4096, 4096);       // a page of zeros
    source_zero(w, 3 * 65536, 65536);         // a block of zeros, which needs no old data
    source_write(w, 5 * 65536, 65536, 3);     // all of a block
    sync_once(w);
    assert_int_equal(OLD_BLOCKS / 2 * 4096 + 904 + 65536, w->progress.bytes_shipped);
    assert_int_equal((OLD_BLOCKS / 2 + 2) * 65536 + 5000, w->progress.bytes_old);
    assert_int_equal(1, w->old_opened);
    // What was read is learned, and known hashes need nothing else.
    change_pages(w, OLD_BLOCKS);
    for (unsigned i = 0; i < OLD_BLOCKS; i += 2) {
        source_write(w, i * 65536ull + 15 * 4096, 16, 9);
    }
    sync_once(w);
    assert_int_equal(0, w->progress.bytes_old);
    assert_int_equal(1, w->old_opened);
    assert_int_equal(OLD_BLOCKS / 2 * 4096, w->progress.bytes_shipped);
}

static void old_data_that_is_something_else_is_not_used(void **state)
{
    struct world *w = *state;

    with_old(w, OLD_BYTES);
    change_pages(w, OLD_BLOCKS);
    assert_int_equal(1, pwrite(w->old_fd, "x", 1, 4 * 65536 + 9 * 4096)); // not a page that changed
    assert_int_equal(1, pwrite(w->old_fd, "x", 1, 6 * 65536 + 6 * 4096)); // the page that changed
    assert_int_equal(1, pwrite(w->old_fd, "x", 1, 9 * 65536));            // a block that did not
    sync_once(w);
    assert_int_equal((OLD_BLOCKS / 2 - 2) * 4096 + 2 * 65536, w->progress.bytes_shipped);
}

static void old_data_that_can_not_be_read_costs_whole_blocks_and_no_more(void **state)
{
    struct world *w = *state;

    // Behind the middle of a block it can't; what came before was narrowed, and after that nothing is asked any more.
    with_old(w, OLD_BYTES);
    change_pages(w, OLD_BLOCKS);
    assert_int_equal(0, ftruncate(w->old_fd, 64 * 65536 + 100));
    sync_once(w);
    assert_true(w->progress.bytes_shipped >= 32 * 4096 + (OLD_BLOCKS / 2 - 32) * 65536);
    assert_true(w->progress.bytes_old <= 32 * 65536);
    assert_int_equal(1, w->old_opened);
}

static void old_data_whose_reads_fail_costs_whole_blocks(void **state)
{
    struct world *w = *state;

    with_old(w, OLD_BYTES);
    change_pages(w, OLD_BLOCKS);
    w->old_flags = O_WRONLY;
    sync_once(w);
    assert_int_equal(OLD_BLOCKS / 2 * 65536, w->progress.bytes_shipped);
    assert_int_equal(0, w->progress.bytes_old);
}

static void old_data_that_nobody_has_costs_whole_blocks(void **state)
{
    struct world *w = *state;

    with_old(w, OLD_BYTES);
    change_pages(w, OLD_BLOCKS);
    close(w->old_fd);
    w->old_fd = -1;
    sync_once(w);
    assert_int_equal(OLD_BLOCKS / 2 * 65536, w->progress.bytes_shipped);
    assert_int_equal(1, w->old_opened);
}

static void old_data_that_is_needed_elsewhere_is_left_alone(void **state)
{
    struct world *w = *state;

    with_old(w, OLD_BYTES);
    change_pages(w, OLD_BLOCKS);
    w->old_unwanted = true;
    sync_once(w);
    assert_int_equal(OLD_BLOCKS / 2 * 65536, w->progress.bytes_shipped);
    assert_int_equal(0, w->old_opened);
}

static void a_tail_of_another_length_is_not_compared_with_old_data(void **state)
{
    struct world *w = *state;

    with_old(w, BR_MIB + 5000);
    source_write(w, BR_MIB + 5000, 70000, 2); // grown: the tail block is longer, one more behind it
    source_write(w, 65536, 16, 3);
    sync_once(w);
    assert_int_equal(75000 + 4096, w->progress.bytes_shipped);
    assert_int_equal(65536, w->progress.bytes_old);
    assert_int_equal(0, ftruncate(w->fd, BR_MIB + 100)); // and shorter
    sync_once(w);
}

static void a_failing_sink_leaves_no_read_of_old_data_behind(void **state)
{
    struct world *w = *state;
    struct br_err err;

    with_old(w, OLD_BYTES);
    change_pages(w, OLD_BLOCKS);
    struct br_tree parent = w->tree;
    w->fail_at_record = 2;
    assert_int_equal(-BR_E_NO_SPACE, run_from(w, &parent, false, &err));
    assert_int_equal(1, w->old_opened);
}

static void a_source_that_ends_early_has_moved(void **state)
{
    struct world *w = *state;
    struct br_tree parent = w->tree;
    struct br_pipe_params params = {
        .ring = w->ring,
        .source = w->source,
        .size_bytes = 3 * BR_MIB,
        .parent = &parent,
        .parent_store = &w->ops,
        .page_secret = w->secret,
        .store = &w->ops,
        .sink = {.batch = sink_batch, .run = sink_run, .ctx = w},
    };
    struct br_err err;

    source_write(w, 0, 2 * BR_MIB, 1);
    t_image_resize(&w->image, params.size_bytes);
    assert_int_equal(-BR_E_SOURCE_MOVED, br_pipe_run(&params, &parent, NULL, &err));
    release_all(w);
}

static void a_failing_sink_ends_the_run_and_every_buffer_comes_back(void **state)
{
    struct world *w = *state;
    struct br_tree parent = w->tree;
    struct br_err err;

    source_write(w, 0, 20 * BR_MIB, 1);
    w->fail_at_record = 3;
    assert_int_equal(-BR_E_NO_SPACE, run_from(w, &parent, false, &err));
}

static void a_cancelled_run_ships_nothing_more(void **state)
{
    struct world *w = *state;
    struct br_tree parent = w->tree;
    static const volatile bool cancel = true;
    struct br_err err;

    source_write(w, 0, 2 * BR_MIB, 1);
    w->cancel = &cancel;
    assert_int_equal(-BR_E_CANCELLED, run_from(w, &parent, false, &err));
    assert_int_equal(0, w->image.records);
}

static void the_bandwidth_limit_holds(void **state)
{
    struct world *w = *state;

    source_write(w, 0, 3 * BR_MIB, 1);
    w->bytes_per_second = 10 * BR_MIB;
    uint64_t start_ns = br_ring_now_ns(w->ring);
    sync_once(w);
    uint64_t took_ns = br_ring_now_ns(w->ring) - start_ns;
    // 3 MiB at 10 MiB/s; 50 ms in which nothing was ready may be made up for.
    assert_in_range(took_ns, 240 * BR_NS_PER_MS, 5000 * BR_NS_PER_MS);
}

static void the_bandwidth_limit_holds_for_one_batch(void **state)
{
    struct world *w = *state;

    source_write(w, 0, BR_MIB / 2, 1);
    w->bytes_per_second = BR_MIB;
    uint64_t start_ns = br_ring_now_ns(w->ring);
    sync_once(w);
    assert_in_range(br_ring_now_ns(w->ring) - start_ns, 490 * BR_NS_PER_MS, 5000 * BR_NS_PER_MS);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(every_odd_size_is_copied_exactly),
        T(an_empty_source_is_a_version_too),
        T(an_unchanged_source_ships_nothing),
        T(only_pages_that_differ_are_shipped),
        T(holes_are_never_read),
        T(what_became_a_hole_is_one_run_across_windows),
        T(written_zeros_ship_as_runs_and_zeroed_pages_as_masks),
        T(runs_between_data_of_one_window_keep_the_order),
        T(what_is_held_and_right_is_kept_in_its_place),
        T(a_far_end_that_can_not_tell_what_it_holds_ends_the_run),
        T(a_grown_and_a_shrunk_source_end_exactly),
        T(a_growth_is_seen_although_the_map_of_changes_is_empty),
        T(only_changed_ranges_are_read_when_they_are_known),
        T(an_unknown_parent_is_told_everything),
        T(lost_page_hashes_ship_blocks_once_and_are_learned_again),
        T(where_page_hashes_are_lost_old_data_tells_pages_apart),
        T(old_data_that_is_something_else_is_not_used),
        T(old_data_that_can_not_be_read_costs_whole_blocks_and_no_more),
        T(old_data_whose_reads_fail_costs_whole_blocks),
        T(old_data_that_nobody_has_costs_whole_blocks),
        T(old_data_that_is_needed_elsewhere_is_left_alone),
        T(a_tail_of_another_length_is_not_compared_with_old_data),
        T(a_failing_sink_leaves_no_read_of_old_data_behind),
        T(a_source_that_ends_early_has_moved),
        T(a_failing_sink_ends_the_run_and_every_buffer_comes_back),
        T(a_cancelled_run_ships_nothing_more),
        T(the_bandwidth_limit_holds),
        T(the_bandwidth_limit_holds_for_one_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
