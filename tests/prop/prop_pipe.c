// SPDX-License-Identifier: Apache-2.0
//
// The law: whatever a source was and became, parent version + what the pipeline ships = the source, byte for byte; the tree is the version
// of those bytes; and where page hashes are known, or the parent's own data is at hand, nothing ships that a byte compare would not ship,
// whatever is taken for the parent's data. What the far end says it holds is kept exactly where it is what the source has, and then not shipped.
//
// A round is a chain of versions of one file: random sizes, writes, zeros, holes, sometimes with forgotten page hashes, UNKNOWN leaves, only
// a map of the changed ranges, old data (all of it right, some wrong, cut short), or blocks that are held, right ones and wrong ones. Replay one with T_SEED=N; the failing round is printed.
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/pipe/pipe.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_image.h"

#define SIZE_MAX_BYTES (5 * BR_MIB)

struct round {
    struct t_rand rand;
    struct br_ring *ring;
    struct br_file *source;
    int fd;
    struct t_store store;
    struct br_tree_store ops;
    uint8_t secret[BR_PAGE_SECRET_BYTES];
    struct t_image image;
    struct br_tree tree; // of the image
    bool pages_known;
    bool leaves_known; // and all blocks have the length that they had: old data makes up for lost page hashes
    int old_fd;        // -1 none
    bool old_right;
    struct br_extent_map changed;
    void (*held)(void *);
    void *held_ctx;
    const uint8_t *now;          // the source
    struct br_held_block *facts; // what the far end says it holds
    unsigned fact_count;
};

static void release_held(struct round *r)
{
    if (r->held) {
        r->held(r->held_ctx);
        r->held = NULL;
    }
}

static int sink_batch(void *ctx, const struct br_batch *batch, void (*release)(void *), void *release_ctx,
                      struct br_err *reterr)
{
    struct round *r = ctx;

    (void)reterr;
    t_image_batch(&r->image, batch);
    release_held(r);
    if (t_rand_below(&r->rand, 2)) {
        r->held = release;
        r->held_ctx = release_ctx;
    } else {
        release(release_ctx);
    }
    return 0;
}

static int sink_run(void *ctx, const struct br_run *run, struct br_err *reterr)
{
    struct round *r = ctx;

    (void)reterr;
    t_image_run(&r->image, run);
    return 0;
}

static int sink_keep(void *ctx, const struct br_keep *keep, struct br_err *reterr)
{
    struct round *r = ctx;

    (void)reterr;
    for (unsigned i = 0, f = 0; i < keep->count; i++) {
        while (f < r->fact_count && r->facts[f].index != keep->blocks[i].index) {
            f++;
        }
        assert_true(f < r->fact_count); // nothing is kept that is not held
        assert_memory_equal(r->facts[f].leaf.bytes, keep->blocks[i].leaf.bytes, BR_HASH_BYTES);
    }
    t_image_keep(&r->image, keep, r->now);
    return 0;
}

static int tell_held(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                     struct br_err *reterr)
{
    struct round *r = ctx;
    uint64_t wish = 1 + t_rand_below(&r->rand, 5);

    (void)reterr;
    *ret_count = 0;
    for (unsigned f = 0; f < r->fact_count && *ret_count < BR_MIN(wish, (uint64_t)most); f++) {
        if (r->facts[f].index >= from) {
            ret_blocks[(*ret_count)++] = r->facts[f];
        }
    }
    return 0;
}

// The parent's bytes, or what only looks like them. Of no more than the parent's size, so that all of it can be compared.
static void make_old(struct round *r)
{
    char path[4096];
    uint64_t luck = t_rand_below(&r->rand, 6);

    r->old_right = luck < 2;
    r->old_fd = -1;
    if (luck >= 4) {
        return;
    }
    snprintf(path, sizeof(path), "%s/blkrep-prop-pipe-XXXXXX", t_folder());
    r->old_fd = mkstemp(path);
    assert_true(r->old_fd >= 0);
    unlink(path);
    assert_int_equal(r->image.size_bytes, pwrite(r->old_fd, r->image.bytes, r->image.size_bytes, 0));
    if (luck == 2 && r->image.size_bytes) {
        assert_int_equal(0, ftruncate(r->old_fd, (off_t)t_rand_below(&r->rand, r->image.size_bytes)));
    }
    for (uint64_t n = luck == 3 && r->image.size_bytes ? 9 : 0; n; n--) {
        uint8_t byte = (uint8_t)n;
        assert_int_equal(1, pwrite(r->old_fd, &byte, 1, (off_t)t_rand_below(&r->rand, r->image.size_bytes)));
    }
}

static int open_old(void *ctx, struct br_file **ret_file)
{
    struct round *r = ctx;
    int fd = r->old_fd;

    r->old_fd = -1;
    if (fd < 0) {
        return 0;
    }
    assert_int_equal(0, br_file_wrap(r->ring, fd, ret_file, NULL));
    return 1;
}

// Some blocks are held: as they are now, or as something else.
static void make_facts(struct round *r, uint64_t size)
{
    struct br_tree_geometry geometry = t_geometry(size);

    r->facts = calloc(geometry.block_count + 1, sizeof(*r->facts));
    r->fact_count = 0;
    for (uint64_t i = 0; i < geometry.block_count; i++) {
        struct br_held_block *fact = &r->facts[r->fact_count];
        uint64_t luck = t_rand_below(&r->rand, 4);

        fact->index = i;
        br_leaf_hash(r->now + i * BR_BLOCK_BYTES, br_block_bytes(&geometry, i), &fact->leaf);
        fact->leaf.bytes[9] ^= luck == 1 ? 1 : 0;
        r->fact_count += luck < 3 && !br_leaf_is_special(&fact->leaf);
    }
}

// A place that is sometimes on a boundary and a length that is sometimes a page or a block.
static void pick_range(struct round *r, uint64_t size, uint64_t *ret_at, uint64_t *ret_len)
{
    static const uint64_t units[] = {1, 512, 4096, 65536, 1048576};
    uint64_t unit = units[t_rand_below(&r->rand, BR_ARRAY_LEN(units))];
    uint64_t at = br_align_down(t_rand_below(&r->rand, size), unit);
    uint64_t len = unit * (1 + t_rand_below(&r->rand, 4));

    *ret_at = at;
    *ret_len = BR_MIN(len, size - at);
}

static void mutate(struct round *r, uint64_t size)
{
    uint64_t at, len;

    pick_range(r, size, &at, &len);
    uint8_t *bytes = calloc(1, len);
    switch (t_rand_below(&r->rand, 4)) {
    case 0: break; // zeros, written
    case 1: t_rand_fill(&r->rand, bytes, 1 + t_rand_below(&r->rand, len)); break;
    default: t_rand_fill(&r->rand, bytes, len); break;
    }
    if (t_rand_below(&r->rand, 5)) {
        assert_int_equal(len, pwrite(r->fd, bytes, len, (off_t)at));
    } else {
        assert_int_equal(0, fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len));
    }
    assert_int_equal(0, br_extent_map_mark(&r->changed, at, len, NULL));
    free(bytes);
}

static uint64_t next_size(struct round *r, uint64_t size)
{
    switch (t_rand_below(&r->rand, 4)) {
    case 0: return t_rand_below(&r->rand, SIZE_MAX_BYTES);
    case 1: return br_align_down(t_rand_below(&r->rand, SIZE_MAX_BYTES), 65536);
    default: return size;
    }
}

// What the byte compare ships: pages that differ, in content or length, and are not zeros.
static uint64_t least_bytes(const struct round *r, const uint8_t *now, uint64_t size)
{
    uint64_t bytes = 0;

    for (uint64_t at = 0; at < size; at += BR_PAGE_BYTES) {
        uint64_t len = BR_MIN(size - at, (uint64_t)BR_PAGE_BYTES);
        uint64_t old_len = at < r->image.size_bytes ? BR_MIN(r->image.size_bytes - at, (uint64_t)BR_PAGE_BYTES) : 0;
        bool same = len == old_len && !memcmp(now + at, r->image.bytes + at, len);

        bytes += !same && !br_is_zero(now + at, len) ? len : 0;
    }
    return bytes;
}

// Forget some of what is known of the parent: page hashes, or whole leaves with the bytes they stood for.
static void forget(struct round *r)
{
    struct br_tree_writer *writer;

    if (t_rand_below(&r->rand, 6) == 0) {
        r->pages_known = false;
        r->tree = t_tree_of(r->image.bytes, r->image.size_bytes, NULL, &r->ops);
    }
    if (r->tree.geometry.block_count && t_rand_below(&r->rand, 6) == 0) {
        r->leaves_known = false;
        uint64_t first = t_rand_below(&r->rand, r->tree.geometry.block_count);
        uint64_t count = 1 + t_rand_below(&r->rand, r->tree.geometry.block_count - first);
        uint64_t at = first * BR_BLOCK_BYTES;

        r->pages_known = false;
        memset(r->image.bytes + at, 0xcd, BR_MIN(count * BR_BLOCK_BYTES, r->image.size_bytes - at));
        assert_int_equal(0, br_tree_writer_open(&r->tree.geometry, &r->tree, &r->ops, &r->ops, &writer, NULL));
        assert_int_equal(0, br_tree_fill(writer, first, count, &br_hash_unknown, NULL));
        assert_int_equal(0, br_tree_finish(writer, &r->tree, NULL));
        br_tree_writer_close(writer);
        assert_int_equal(0, br_extent_map_mark(&r->changed, at, count * BR_BLOCK_BYTES, NULL));
    }
}

static void check(struct round *r, const uint8_t *now, uint64_t size, uint64_t least, uint64_t kept,
                  const struct br_tree *tree)
{
    struct t_store store = {0};
    struct br_tree_store ops = t_store_ops(&store);
    struct br_tree expected = t_tree_of(now, size, NULL, &ops);
    struct br_hash root, expected_root;

    assert_memory_equal(now, r->image.bytes, size);
    br_tree_root(tree, &root);
    br_tree_root(&expected, &expected_root);
    assert_memory_equal(expected_root.bytes, root.bytes, BR_HASH_BYTES);
    if (r->pages_known) {
        assert_int_equal(least, r->image.data_bytes + kept);
    } else if (r->leaves_known && r->old_right) {
        assert_true(r->image.data_bytes <= least);
    }
    assert_true(r->image.kept_blocks || !kept); // what is kept may have been zeros only
    t_store_free(&store);
}

static void step(struct round *r)
{
    uint64_t size = next_size(r, r->image.size_bytes);
    uint8_t *now = malloc(size + 1);
    struct br_tree parent, tree;
    struct br_err err = {0};

    r->leaves_known = size == r->image.size_bytes || !(BR_MIN(size, r->image.size_bytes) % BR_BLOCK_BYTES);
    forget(r);
    assert_int_equal(0, ftruncate(r->fd, (off_t)size));
    for (uint64_t n = size ? t_rand_below(&r->rand, 12) : 0; n; n--) {
        mutate(r, size);
    }
    assert_int_equal(size, pread(r->fd, now, size + 1, 0));
    uint64_t least = least_bytes(r, now, size);
    parent = r->tree;
    struct br_pipe_params params = {
        .ring = r->ring,
        .source = r->source,
        .size_bytes = size,
        .changed = t_rand_below(&r->rand, 3) ? NULL : &r->changed,
        .parent = &parent,
        .parent_store = &r->ops,
        .page_secret = r->secret,
        .store = &r->ops,
        .sink = {.batch = sink_batch, .run = sink_run, .keep = sink_keep, .ctx = r},
        .old = {.open = open_old, .ctx = r},
    };
    struct br_pipe_progress progress;
    make_old(r);
    r->now = now;
    make_facts(r, size);
    if (t_rand_below(&r->rand, 3) == 0) {
        params.held = (struct br_held_source){.next = tell_held, .ctx = r};
    }
    t_image_resize(&r->image, size);
    if (br_pipe_run(&params, &tree, &progress, &err)) {
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    release_held(r);
    check(r, now, size, least, progress.bytes_kept, &tree);
    assert_int_equal(r->image.data_bytes, progress.bytes_shipped);
    free(r->facts);
    if (r->old_fd >= 0) {
        close(r->old_fd);
    }
    r->tree = tree;
    r->pages_known = r->pages_known || !params.changed; // a whole scan learns them again
    br_extent_map_free(&r->changed);
    free(now);
}

static void open_source(struct round *r)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/blkrep-prop-pipe-XXXXXX", t_folder());
    r->fd = mkstemp(path);
    assert_true(r->fd >= 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(0, br_file_wrap(r->ring, fd, &r->source, NULL));
}

static void parent_and_delta_make_the_source(void **state)
{
    uint64_t seed = t_seed();

    (void)state;
    for (uint64_t n = 0; n < t_scaled(40); n++) {
        struct round r = {.rand = t_rand_seeded(seed, n)};
        struct br_ring_options options = {.buffer_count = 2 + (unsigned)t_rand_below(&r.rand, 9),
                                          .buffer_bytes = BR_BATCH_DATA_MAX};

        print_message("# round %llu\n", (unsigned long long)n);
        assert_int_equal(0, br_ring_open(&options, &r.ring, NULL));
        assert_int_equal(0, br_ring_workers(r.ring, 1 + (unsigned)t_rand_below(&r.rand, 3), NULL));
        open_source(&r);
        r.ops = t_store_ops(&r.store);
        t_rand_fill(&r.rand, r.secret, sizeof(r.secret));
        assert_true(br_tree_geometry_of(0, &r.tree.geometry));
        br_tree_empty(&r.tree.geometry, &br_hash_zero, &r.tree);
        t_image_resize(&r.image, 0);
        r.pages_known = true;
        for (unsigned i = 0; i < 8; i++) {
            step(&r);
        }
        assert_int_equal(options.buffer_count, br_ring_buffers_free(r.ring));
        br_file_close(r.source);
        br_ring_close(r.ring);
        close(r.fd);
        t_store_free(&r.store);
        t_image_free(&r.image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parent_and_delta_make_the_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
