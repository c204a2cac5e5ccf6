// SPDX-License-Identifier: Apache-2.0
//
// A whole local sync in a simulated world: source, source's state, replica and replica's folder on disks that lose, tear and reorder what
// was not synced.
//
// One round is one seed. A volume goes through a chain of runs. Before each, the source changes; then the same run is made on forks of the
// world, each cut (or killed, or hit by an I/O error) at another place, and what is left is asked:
//
//     the replica says NONE or INCOMPLETE (only before its first version), or after finish it is byte for byte the version before this
//     run or the one of this run; when the run had returned 0 it is the one of this run
//     the next run, from a source that changed once more, ends with both sides equal, and one more ships nothing;
//     of a delta, the next run from the source as it was ships what had not come, and nothing that was said to be durable;
//     the same stream, received once more, makes the version whole
//
// Replay a failing round with the command that it prints.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/ring/sim.h"
#include "engine/sync/local.h"
#include "engine/sync/source.h"
#include "engine/sync/sync.h"
#include "engine/sync/transfer.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_image.h"
#include "tests/lib/t_source.h"

#define SIZE_BYTES_MAX (20 * BR_BLOCK_BYTES)
#define VIEWS_MAX      64

// What a source was when a run read it.
struct view {
    uint8_t *bytes;
    uint64_t size_bytes;
};

struct round {
    uint64_t seed;
    uint64_t number;
    const char *what;
    struct t_rand rand;
    bool device; // the target is one
    struct br_sim *sim;
    struct view before; // the replica's version; bytes NULL: none
    struct view now;
    const struct br_buf *stream; // what the harmed runs receive; NULL: they sync
    uint64_t whole_bytes;        // what this run ships when nothing harms it
    uint64_t *durable_bytes;     // of the run under way, as its progress said last
    unsigned *resumed;           // how many runs went on with a delta
};

static void explain(const struct round *r, const struct br_sim *sim, const char *step)
{
    struct br_buf text = {0};

    if (sim && getenv("T_TRACE")) {
        br_sim_trace(sim, &text);
        fprintf(stderr, "%s\n", text.data ? (const char *)text.data : "");
        br_buf_free(&text);
    }
    print_message("# replay: T_SEED=%llu build/tests/sim/sim_sync  (round %llu, %s, %s)\n", (unsigned long long)r->seed,
                  (unsigned long long)r->number, r->what, step);
}

static void view_free(struct view *view)
{
    free(view->bytes);
    *view = (struct view){0};
}

static struct view view_of(const struct br_sim *sim, const char *path)
{
    struct view view = {.size_bytes = br_sim_size(sim, path)};

    view.bytes = malloc(view.size_bytes + 1);
    assert_non_null(view.bytes);
    br_sim_read(sim, path, view.bytes, view.size_bytes, 0);
    return view;
}

// Processes ---------------------------------------------------------------------------------------------------------------------------

struct process {
    struct br_ring *ring;
    struct br_file *source;
    struct br_dir *source_dir;
    struct br_file *target;
    struct br_dir *target_dir;
    struct br_dir *root;
    struct br_endpoint far;
};

static void process_close(struct process *p)
{
    if (p->far.ops) {
        p->far.ops->close(p->far.ctx);
    }
    br_file_close(p->source);
    br_file_close(p->target);
    br_dir_close(p->source_dir);
    br_dir_close(p->target_dir);
    br_dir_close(p->root);
    br_ring_close(p->ring);
}

static int process_open_far(struct process *p, bool device, struct br_err *err)
{
    struct br_local_params local = {
        .replica = {.ring = p->ring, .dir = p->target_dir, .file = p->target, .what = "dst", .sync_bytes = 10000},
        .capacity_bytes = device ? SIZE_BYTES_MAX : UINT64_MAX,
        .is_block = device,
    };

    if (!device) {
        local.replica.parent = p->root;
        local.replica.name = "dst";
    }
    return br_local_open(&local, &p->far, err);
}

static int process_open(struct br_sim *sim, bool device, struct process *p, struct br_err *err)
{
    struct br_ring_options options = {.buffer_count = 6, .buffer_bytes = BR_BATCH_DATA_MAX, .depth = 16};
    int rc;

    *p = (struct process){0};
    assert_int_equal(0, br_sim_ring(sim, &options, &p->ring, err));
    rc = br_sim_dir(p->ring, "", &p->root, err);
    rc = rc ? rc : br_sim_dir(p->ring, "src.blkrep", &p->source_dir, err);
    rc = rc ? rc : br_sim_dir(p->ring, "dst.blkrep", &p->target_dir, err);
    rc = rc ? rc : br_sim_file(p->ring, "src", 0, &p->source, err);
    if (!rc) {
        rc = device ? br_sim_device(p->ring, "dst", SIZE_BYTES_MAX, 512, &p->target, err)
                    : br_sim_file(p->ring, "dst", 0, &p->target, err);
    }
    return rc ? rc : process_open_far(p, device, err);
}

static int sync_once(struct br_sim *sim, bool device, const struct br_sync_params *with, struct br_sync_result *result,
                     struct br_err *err)
{
    struct br_sync_params params = *with;
    struct process p;

    *result = (struct br_sync_result){0};
    *err = (struct br_err){0};
    int rc = process_open(sim, device, &p, err);
    if (!rc) {
        params.ring = p.ring;
        params.source = p.source;
        params.size_bytes = br_sim_size(sim, "src");
        params.sector_bytes = 512;
        params.consistency = BR_CONSISTENCY_CLEAN;
        params.label = "src";
        params.dir = p.source_dir;
        params.endpoint = p.far;
        rc = br_sync_run(&params, result, err);
    }
    process_close(&p);
    return rc;
}

struct stream_reader {
    const struct br_buf *stream;
    size_t at;
};

static int stream_read(void *ctx, void *bytes, size_t len, struct br_err *reterr)
{
    struct stream_reader *reader = ctx;
    size_t n = BR_MIN(len, reader->stream->len - reader->at);

    (void)reterr;
    memcpy(bytes, reader->stream->data + reader->at, n);
    reader->at += n;
    return (int)n;
}

static int stream_write(void *ctx, const void *bytes, size_t len, struct br_err *reterr)
{
    (void)reterr;
    br_buf_append(ctx, bytes, len);
    return 0;
}

static int receive_once(struct br_sim *sim, bool device, const struct br_buf *stream, struct br_err *err)
{
    struct stream_reader reader = {.stream = stream};
    struct br_receive_result result;
    struct process p;

    *err = (struct br_err){0};
    int rc = process_open(sim, device, &p, err);
    if (!rc) {
        struct br_receive_params params = {
            .ring = p.ring,
            .endpoint = p.far,
            .recheck_bytes = BR_RECHECK_DEFAULT,
            .read = stream_read,
            .read_ctx = &reader,
        };
        rc = br_receive_run(&params, &result, err);
    }
    process_close(&p);
    return rc;
}

static void send_once(struct br_sim *sim, bool device, const char *since, struct br_buf *stream)
{
    struct br_send_result result;
    struct br_err err = {0};
    struct process p;

    assert_int_equal(0, process_open(sim, device, &p, &err));
    struct br_send_params params = {
        .ring = p.ring,
        .source = p.source,
        .size_bytes = br_sim_size(sim, "src"),
        .sector_bytes = 512,
        .consistency = BR_CONSISTENCY_CLEAN,
        .label = "src",
        .dir = p.source_dir,
        .since = since,
        .level = 1,
        .write = stream_write,
        .write_ctx = stream,
    };
    br_buf_reset(stream);
    if (br_send_run(&params, &result, &err)) {
        fail_msg("send: %s: %s", br_err_name(err.code), err.text);
    }
    process_close(&p);
}

// The source ---------------------------------------------------------------------------------------------------------------------------

static void source_change(struct t_rand *rand, struct br_sim *sim)
{
    uint64_t size = br_sim_size(sim, "src");

    if (!size || t_rand_below(rand, 4) == 0) {
        size = t_rand_below(rand, SIZE_BYTES_MAX);
        size = t_rand_below(rand, 2) ? size : br_align_down(size, BR_PAGE_BYTES);
        t_source_resize(sim, size);
    }
    for (uint64_t n = size ? 1 + t_rand_below(rand, 6) : 0; n; n--) {
        static const uint64_t units[] = {1, BR_PAGE_BYTES, BR_BLOCK_BYTES};

        t_source_write(rand, sim, units[t_rand_below(rand, BR_ARRAY_LEN(units))]);
    }
}

// What is left after a cut -------------------------------------------------------------------------------------------------------------

static bool is_view(const struct br_sim *sim, const struct view *view, const struct br_hash *root)
{
    struct t_store store = {0};
    struct br_tree_store ops = t_store_ops(&store);
    struct br_tree tree = t_tree_of(view->bytes, view->size_bytes, NULL, &ops);
    struct br_hash of_view;
    uint8_t *bytes = malloc(view->size_bytes + 1);

    br_tree_root(&tree, &of_view);
    br_sim_read(sim, "dst", bytes, view->size_bytes, 0);
    bool same = br_hash_equal(&of_view, root) && !memcmp(bytes, view->bytes, view->size_bytes);
    free(bytes);
    t_store_free(&store);
    return same;
}

// Finishes the replica as the next process would, then asks what it is.
static void check_left(const struct round *r, struct br_sim *sim, bool returned_ok)
{
    struct br_endpoint_info info = {0};
    struct br_err err = {0};
    struct process p;

    if (process_open(sim, r->device, &p, &err) || p.far.ops->info(p.far.ctx, &info, &err)) {
        explain(r, sim, "finish");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    enum br_replica_state state = info.identity.state;
    struct br_hash root = info.identity.root;
    process_close(&p);
    if (state == BR_STATE_NONE || state == BR_STATE_INCOMPLETE) {
        if (r->before.bytes || returned_ok) {
            explain(r, sim, "a version was lost");
            fail();
        }
        return;
    }
    bool is_new = is_view(sim, &r->now, &root);
    bool is_old = r->before.bytes && is_view(sim, &r->before, &root);
    if (state != BR_STATE_COMPLETE || (returned_ok ? !is_new : !is_new && !is_old)) {
        explain(r, sim, returned_ok ? "exit 0 was a lie" : "neither old nor new");
        fail();
    }
}

static void check_next_runs(const struct round *r, struct br_sim *sim, struct t_rand *rand)
{
    struct br_sync_params params = {.recheck_bytes = BR_RECHECK_DEFAULT, .overwrite = r->device};
    struct br_sync_result result;
    struct br_err err;

    for (unsigned n = 0; n < 2; n++) {
        if (!n) {
            source_change(rand, sim);
        }
        int rc = sync_once(sim, r->device, &params, &result, &err);
        if (rc) {
            explain(r, sim, "the next run failed");
            fail_msg("%s: %s", br_err_name(err.code), err.text);
        }
        // Our record of a delta is made before the replica may commit it, so whichever version is there is known.
        if (!strcmp(r->what, "delta") && result.fallback_reason) {
            explain(r, sim, "the source forgot the replica's version");
            fail_msg("%s", result.fallback_reason);
        }
        struct view view = view_of(sim, "src");
        if (!is_view(sim, &view, &result.root) || (n && (result.bytes_data || result.fallback_reason))) {
            explain(r, sim, n ? "it ships again what is there" : "the next run ends unequal");
            fail();
        }
        view_free(&view);
    }
}

// The same stream again makes whole what was left.
static void check_received_again(const struct round *r, struct br_sim *sim)
{
    struct br_endpoint_info info = {0};
    struct br_err err;
    struct process p;

    if (receive_once(sim, r->device, r->stream, &err)) {
        explain(r, sim, "receiving it again failed");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    assert_int_equal(0, process_open(sim, r->device, &p, &err));
    assert_int_equal(0, p.far.ops->info(p.far.ctx, &info, &err));
    process_close(&p);
    if (!is_view(sim, &r->now, &info.identity.root)) {
        explain(r, sim, "receiving it again ends unequal");
        fail();
    }
}

static void note_durable(void *ctx, const struct br_sync_progress *progress)
{
    *(uint64_t *)ctx = progress->bytes_durable;
}

// The source as it was: what had come is not shipped again.
static void check_goes_on(const struct round *r, const struct br_sim *base, uint64_t durable_bytes)
{
    struct br_sync_params params = {.recheck_bytes = BR_RECHECK_DEFAULT};
    struct br_sim *sim = br_sim_fork(base, r->seed);
    struct br_sync_result result;
    struct br_err err;

    int rc = sync_once(sim, r->device, &params, &result, &err);
    if (rc || !is_view(sim, &r->now, &result.root)) {
        explain(r, sim, "going on failed");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    bool done = !result.new_version; // the harmed run got that far
    if (!done && (result.bytes_data + result.bytes_resumed != r->whole_bytes ||
                  result.bytes_data + durable_bytes > r->whole_bytes || result.resumed != (result.bytes_resumed > 0))) {
        explain(r, sim, "what had come is shipped again");
        fail_msg("%llu shipped, %llu resumed, %llu durable before, %llu in all", (unsigned long long)result.bytes_data,
                 (unsigned long long)result.bytes_resumed, (unsigned long long)durable_bytes,
                 (unsigned long long)r->whole_bytes);
    }
    *r->resumed += result.resumed;
    br_sim_free(sim);
}

static int run_once(const struct round *r, struct br_sim *sim, const struct br_sync_params *params,
                    struct br_sync_result *result, struct br_err *err)
{
    return r->stream ? receive_once(sim, r->device, r->stream, err) : sync_once(sim, r->device, params, result, err);
}

// Rounds -------------------------------------------------------------------------------------------------------------------------------

enum harm { HARM_CRASH, HARM_CRASH_AT_SYNC, HARM_KILL, HARM_ERROR, HARM_KINDS };

// One run on a fork that is harmed at the n-th place. Returns false when the run ended before that.
static bool harmed_run(const struct round *r, const struct br_sync_params *params, enum harm harm, uint64_t n)
{
    struct br_sim *sim = br_sim_fork(r->sim, r->seed * 1000003 + r->number * 1009 + n * HARM_KINDS + harm);
    struct t_rand rand = t_rand_seeded(r->seed ^ (n << 8 | harm), r->number);
    struct br_sync_params noted = params ? *params : (struct br_sync_params){0};
    struct br_sync_result result;
    struct br_err err;

    noted.progress = note_durable;
    noted.progress_ctx = r->durable_bytes;
    *r->durable_bytes = 0;
    switch (harm) {
    case HARM_CRASH: br_sim_crash_at_change(sim, n); break;
    case HARM_CRASH_AT_SYNC: br_sim_crash_at_sync(sim, n); break;
    case HARM_KILL: br_sim_kill_at_change(sim, n); break;
    default: br_sim_fail_at(sim, n, n % 2 ? EIO : ENOSPC); break;
    }
    uint64_t ios = br_sim_ios(sim);
    int rc = run_once(r, sim, &noted, &result, &err);
    bool hit = harm == HARM_ERROR ? br_sim_ios(sim) - ios >= n : br_sim_crashed(sim);
    br_sim_crash_at_change(sim, 0);
    br_sim_crash_at_sync(sim, 0);
    br_sim_kill_at_change(sim, 0);
    br_sim_fail_at(sim, 0, 0);
    if (!br_sim_crashed(sim) && n % 3 == 0) {
        br_sim_crash(sim); // what was promised must be durable
    }
    br_sim_crash_resolve(sim);
    check_left(r, sim, !rc);
    if (r->stream) {
        check_received_again(r, sim);
    } else {
        if (!strcmp(r->what, "delta")) {
            check_goes_on(r, sim, *r->durable_bytes);
        }
        check_next_runs(r, sim, &rand);
    }
    br_sim_free(sim);
    return hit;
}

static void sweep(struct round *r, const struct br_sync_params *params, uint64_t tries)
{
    struct br_sim *sim = br_sim_fork(r->sim, r->seed);
    struct br_sync_result result;
    struct br_err err;
    uint64_t changes = br_sim_changes(sim), syncs = br_sim_syncs(sim), ios = br_sim_ios(sim);

    if (run_once(r, sim, params, &result, &err)) {
        explain(r, sim, "a run without any harm failed");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    r->whole_bytes = r->stream ? 0 : result.bytes_data;
    const uint64_t most[HARM_KINDS] = {
        [HARM_CRASH] = br_sim_changes(sim) - changes,
        [HARM_CRASH_AT_SYNC] = br_sim_syncs(sim) - syncs,
        [HARM_KILL] = br_sim_changes(sim) - changes,
        [HARM_ERROR] = br_sim_ios(sim) - ios,
    };
    br_sim_free(sim);
    for (enum harm harm = 0; harm < HARM_KINDS; harm++) {
        struct t_rand rand = t_rand_seeded(r->seed + harm, r->number);
        uint64_t stride = BR_MAX(most[harm] / tries, UINT64_C(1));

        for (uint64_t n = 1 + t_rand_below(&rand, stride); n <= most[harm]; n += stride) {
            harmed_run(r, params, harm, n);
        }
    }
}

static void drop_source_state(struct br_sim *sim, const struct br_uuid *replica)
{
    struct br_err err = {0};
    struct process p;

    assert_int_equal(0, process_open(sim, false, &p, &err));
    p.far.ops->close(p.far.ctx);
    p.far.ops = NULL;
    assert_int_equal(0, br_source_forget(p.ring, p.source_dir, replica, NULL));
    process_close(&p);
}

static void chain(struct round *r, uint64_t tries)
{
    static const char *const names[] = {"first copy", "delta", "delta", "state lost", "full", "delta"};
    struct br_sync_result result = {0};
    struct br_err err;

    for (unsigned step = 0; step < BR_ARRAY_LEN(names); step++) {
        struct br_sync_params params = {.recheck_bytes = BR_RECHECK_DEFAULT, .overwrite = r->device};

        r->what = names[step];
        params.force_full = step == 4 && !r->device;
        if (step == 3 && !r->device) {
            drop_source_state(r->sim, &result.replica);
        }
        source_change(&r->rand, r->sim);
        br_sim_settle(r->sim);
        r->now = view_of(r->sim, "src");
        sweep(r, &params, tries);
        int rc = sync_once(r->sim, r->device, &params, &result, &err);
        if (rc) {
            explain(r, r->sim, "a run without any harm failed");
            fail_msg("%s: %s", br_err_name(err.code), err.text);
        }
        assert_true(is_view(r->sim, &r->now, &result.root));
        view_free(&r->before);
        r->before = r->now;
        r->now = (struct view){0};
    }
}

static void stream_chain(struct round *r, uint64_t tries)
{
    static const char *const names[] = {"full stream", "delta stream", "delta stream"};
    struct br_buf stream = {0};
    struct br_err err;

    for (unsigned step = 0; step < BR_ARRAY_LEN(names); step++) {
        r->what = names[step];
        source_change(&r->rand, r->sim);
        send_once(r->sim, r->device, step ? "last" : NULL, &stream);
        br_sim_settle(r->sim);
        r->now = view_of(r->sim, "src");
        r->stream = &stream;
        sweep(r, NULL, tries);
        if (receive_once(r->sim, r->device, &stream, &err)) {
            explain(r, r->sim, "a run without any harm failed");
            fail_msg("%s: %s", br_err_name(err.code), err.text);
        }
        view_free(&r->before);
        r->before = r->now;
        r->now = (struct view){0};
    }
    r->stream = NULL;
    br_buf_free(&stream);
}

static unsigned rounds(void (*make)(struct round *r, uint64_t tries), bool device, uint64_t count, uint64_t tries)
{
    uint64_t durable_bytes = 0;
    unsigned resumed = 0;

    for (uint64_t n = 0; n < count; n++) {
        struct br_sim_options options = {.seed = t_seed() * 7919 + n, .short_ppm = 20000, .slow_ppm = 10000};
        struct round r = {.seed = t_seed(),
                          .number = n,
                          .device = device,
                          .rand = t_rand_seeded(t_seed(), n),
                          .durable_bytes = &durable_bytes,
                          .resumed = &resumed};
        struct process p;
        struct br_err err;

        r.sim = br_sim_new(&options);
        assert_int_equal(0, process_open(r.sim, device, &p, &err));
        process_close(&p);
        br_sim_settle(r.sim);
        make(&r, tries);
        view_free(&r.before);
        br_sim_free(r.sim);
    }
    return resumed;
}

static void a_sync_to_a_file_survives_harm_anywhere(void **state)
{
    (void)state;
    assert_true(rounds(chain, false, t_scaled(2), 10) > 0); // some were cut late enough to leave something
}

static void a_sync_to_a_device_survives_harm_anywhere(void **state)
{
    (void)state;
    (void)rounds(chain, true, t_scaled(1), 10);
}

static void a_received_stream_survives_harm_anywhere(void **state)
{
    (void)state;
    (void)rounds(stream_chain, false, t_scaled(1), 10);
    (void)rounds(stream_chain, true, t_scaled(1), 10);
}

static void unreadable_blocks_are_named_or_marked(void **state)
{
    struct br_sim_options options = {.seed = t_seed()};
    struct br_sync_params params = {.recheck_bytes = BR_RECHECK_DEFAULT};
    struct br_sim *sim = br_sim_new(&options);
    struct br_sync_result result;
    struct br_err err;
    struct process p;
    uint8_t bytes[BR_BLOCK_BYTES];

    (void)state;
    assert_int_equal(0, process_open(sim, false, &p, &err));
    process_close(&p);
    t_source_resize(sim, 18 * BR_BLOCK_BYTES + 100);
    for (unsigned i = 0; i < 18; i++) {
        memset(bytes, (int)i + 1, sizeof(bytes));
        br_sim_poke(sim, "src", bytes, sizeof(bytes), i * BR_BLOCK_BYTES);
    }
    br_sim_poke(sim, "src", "tail", 4, 18 * BR_BLOCK_BYTES);
    br_sim_unreadable(sim, "src", 5 * BR_BLOCK_BYTES + 9000, 512);
    br_sim_unreadable(sim, "src", 18 * BR_BLOCK_BYTES + 10, 1);
    assert_int_equal(-BR_E_SOURCE_READ, sync_once(sim, false, &params, &result, &err));
    assert_true(err.has_offset);
    assert_in_range(err.offset_bytes, 5 * BR_BLOCK_BYTES + 8192, 5 * BR_BLOCK_BYTES + 9512);
    params.continue_on_read_error = true;
    assert_int_equal(0, sync_once(sim, false, &params, &result, &err));
    assert_int_equal(2, result.unreadable_blocks);
    for (unsigned i = 0; i < 18; i++) {
        uint8_t there[BR_BLOCK_BYTES];

        memset(bytes, i == 5 ? 0 : (int)i + 1, sizeof(bytes));
        br_sim_read(sim, "dst", there, sizeof(there), i * BR_BLOCK_BYTES);
        assert_memory_equal(bytes, there, sizeof(there));
    }
    assert_int_equal(0, sync_once(sim, false, &params, &result, &err));
    assert_int_equal(2, result.unreadable_blocks);
    assert_false(result.new_version);
    // Once it can be read it ships, whole.
    br_sim_readable(sim, "src");
    assert_int_equal(0, sync_once(sim, false, &params, &result, &err));
    assert_int_equal(0, result.unreadable_blocks);
    struct view view = view_of(sim, "src");
    assert_true(is_view(sim, &view, &result.root));
    view_free(&view);
    br_sim_free(sim);
}

// Rot on the way to or on the replica's disk never ends in a version that is not what it says.
static void silent_damage_is_never_called_a_version(void **state)
{
    uint64_t seed = t_seed();

    (void)state;
    for (uint64_t n = 0; n < t_scaled(6); n++) {
        struct br_sim_options options = {.seed = seed * 31 + n};
        struct t_rand rand = t_rand_seeded(seed, n);
        struct br_sim *sim = br_sim_new(&options);
        struct br_sync_params params = {.recheck_bytes = BR_RECHECK_DEFAULT};
        struct br_sync_result result;
        struct br_err err;
        struct process p;
        uint8_t byte;

        assert_int_equal(0, process_open(sim, false, &p, &err));
        process_close(&p);
        t_source_resize(sim, 10 * BR_BLOCK_BYTES);
        source_change(&rand, sim);
        assert_int_equal(0, sync_once(sim, false, &params, &result, &err));
        if (br_sim_size(sim, "dst")) {
            uint64_t at = t_rand_below(&rand, br_sim_size(sim, "dst"));
            br_sim_read(sim, "dst", &byte, 1, at);
            byte ^= 0x10;
            br_sim_poke(sim, "dst", &byte, 1, at);
            source_change(&rand, sim);
            int rc = sync_once(sim, false, &params, &result, &err);
            assert_true(rc == -BR_E_VERIFY || rc == -BR_E_FOREIGN_WRITE || rc == 0);
            if (!rc) { // the very block was overwritten: what is there now is right
                struct view view = view_of(sim, "src");
                assert_true(is_view(sim, &view, &result.root));
                view_free(&view);
            }
        }
        br_sim_free(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sync_to_a_file_survives_harm_anywhere),
        cmocka_unit_test(a_sync_to_a_device_survives_harm_anywhere),
        cmocka_unit_test(a_received_stream_survives_harm_anywhere),
        cmocka_unit_test(unreadable_blocks_are_named_or_marked),
        cmocka_unit_test(silent_damage_is_never_called_a_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
