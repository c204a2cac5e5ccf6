// SPDX-License-Identifier: Apache-2.0
//
// A whole sync over a session in two simulated worlds, the source's host and the replica's, with a network between that fails too.
// timeout: 400
//
// One round is one seed. A volume goes through a chain of runs. Before each, the source changes; then the same run is made on forks of both
// worlds, each harmed at another place: the network cut or stalled at a message, a power cut or kill on either side, an I/O error over
// there. Then, whoever failed, the replica's host is asked:
//
//     the replica says NONE or INCOMPLETE (only before its first version), or after finish it is byte for byte the version before this
//     run or the one of this run; when the run had returned 0 it is the one of this run
//     the next run, from a source that changed once more, ends with both sides equal, and one more ships nothing
//     of a delta, the next run from the source as it was ships what had not come: when only the network failed, no byte that had arrived
//     over there; else nothing that was said to be durable
//
// Replay a failing round with the command that it prints.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/ring/sim.h"
#include "engine/sync/local.h"
#include "engine/sync/remote.h"
#include "engine/sync/sync.h"
#include "tests/lib/t_image.h"
#include "tests/lib/t_link.h"
#include "tests/lib/t_source.h"

#define SIZE_BYTES_MAX (20 * BR_BLOCK_BYTES)
#define ROLE_OPERATOR  3

// What a source was when a run read it.
struct view {
    uint8_t *bytes;
    uint64_t size_bytes;
};

struct pair {
    struct br_sim *here;  // src, src.blkrep
    struct br_sim *there; // dst, dst.blkrep
};

struct round {
    uint64_t seed;
    uint64_t number;
    const char *what;
    struct t_rand rand;
    bool device; // the target is one
    int level;
    struct pair pair;
    struct view before; // the replica's version; bytes NULL: none
    struct view now;
    uint64_t whole_bytes; // data that this run ships when nothing harms it
    unsigned *resumed;    // how many runs went on with a delta
};

static void explain(const struct round *r, const struct pair *pair, const char *step)
{
    if (getenv("T_TRACE")) {
        struct br_buf text = {0};
        br_sim_trace(pair->there, &text);
        fprintf(stderr, "%s\n", text.data ? (const char *)text.data : "");
        br_buf_free(&text);
    }
    print_message("# replay: T_SEED=%llu build/tests/sim/sim_session  (round %llu, %s, %s)\n",
                  (unsigned long long)r->seed, (unsigned long long)r->number, r->what, step);
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

static struct pair pair_fork(const struct pair *pair, uint64_t seed)
{
    return (struct pair){.here = br_sim_fork(pair->here, seed), .there = br_sim_fork(pair->there, seed + 1)};
}

static void pair_free(struct pair *pair)
{
    br_sim_free(pair->here);
    br_sim_free(pair->there);
}

// The replica's host -------------------------------------------------------------------------------------------------------------------

struct server {
    bool device;
    struct br_ring *ring;
    struct br_dir *root, *dir;
    struct br_file *file;
};

static void server_stop(struct server *s)
{
    br_file_close(s->file);
    br_dir_close(s->dir);
    br_dir_close(s->root);
    br_ring_close(s->ring);
}

static int server_start(struct br_sim *sim, bool device, struct server *s, struct br_err *err)
{
    struct br_ring_options options = {.buffer_count = 8, .buffer_bytes = BR_BATCH_DATA_MAX, .depth = 16};

    *s = (struct server){.device = device};
    assert_int_equal(0, br_sim_ring(sim, &options, &s->ring, err));
    int rc = br_sim_dir(s->ring, "", &s->root, err);
    rc = rc ? rc : br_sim_dir(s->ring, "dst.blkrep", &s->dir, err);
    if (!rc) {
        rc = device ? br_sim_device(s->ring, "dst", SIZE_BYTES_MAX, 512, &s->file, err)
                    : br_sim_file(s->ring, "dst", 0, &s->file, err);
    }
    return rc;
}

static int server_volume(struct server *s, struct br_endpoint *ret_endpoint, struct br_err *err)
{
    struct br_local_params local = {
        .replica = {.ring = s->ring, .dir = s->dir, .file = s->file, .what = "dst", .sync_bytes = 10000},
        .capacity_bytes = s->device ? SIZE_BYTES_MAX : UINT64_MAX,
        .is_block = s->device,
    };

    if (!s->device) {
        local.replica.parent = s->root;
        local.replica.name = "dst";
    }
    return br_local_open(&local, ret_endpoint, err);
}

static int open_volume(void *ctx, const char *volume, uint8_t role, bool discard_damaged, bool plan,
                       struct br_session_volume *ret_volume, struct br_err *reterr)
{
    (void)discard_damaged;
    (void)plan;
    assert_string_equal(volume, "dst");
    assert_int_equal(role, ROLE_OPERATOR);
    ret_volume->may_write = ret_volume->may_replace = true;
    return server_volume(ctx, &ret_volume->endpoint, reterr);
}

// One run ------------------------------------------------------------------------------------------------------------------------------

static void note_durable(void *ctx, const struct br_sync_progress *progress)
{
    *(uint64_t *)ctx = progress->bytes_durable;
}

// The source's host: reads, compares, sends.
static int client_run(const struct round *r, struct pair *pair, struct t_link *link, uint64_t *durable_bytes,
                      struct br_sync_result *result, struct br_err *err)
{
    struct br_ring_options options = {.buffer_count = 8, .buffer_bytes = BR_BATCH_DATA_MAX, .depth = 16};
    struct br_sync_params params = {
        .size_bytes = br_sim_size(pair->here, "src"),
        .sector_bytes = 512,
        .consistency = BR_CONSISTENCY_CLEAN,
        .label = "src",
        .overwrite = r->device,
        .recheck_bytes = BR_RECHECK_DEFAULT,
        .progress = note_durable,
        .progress_ctx = durable_bytes,
    };
    struct br_file *source = NULL;

    assert_int_equal(0, br_sim_ring(pair->here, &options, &params.ring, err));
    struct br_remote_params remote = {.channel = t_link_client(link),
                                      .ring = params.ring,
                                      .volume = "dst",
                                      .what = "blkrep://there/dst",
                                      .role = ROLE_OPERATOR,
                                      .level = r->level};
    int rc = br_ring_workers(params.ring, 2, err);
    rc = rc ? rc : br_sim_dir(params.ring, "src.blkrep", &params.dir, err);
    rc = rc ? rc : br_sim_file(params.ring, "src", 0, &source, err);
    if (!rc) {
        rc = br_remote_open(&remote, &params.endpoint, err);
    }
    if (!rc) {
        params.source = source;
        rc = br_sync_run(&params, result, err);
        params.endpoint.ops->close(params.endpoint.ctx);
    }
    br_file_close(source);
    br_dir_close(params.dir);
    br_ring_close(params.ring);
    return rc;
}

struct network {
    enum t_link_fault fault;
    unsigned fault_at;
    unsigned messages;      // counted
    uint64_t taken_bytes;   // data that arrived over there
    uint64_t durable_bytes; // as the progress said last
    uint32_t capabilities_off;
};

static int sync_once(const struct round *r, struct pair *pair, uint64_t seed, struct network *network,
                     struct br_sync_result *result, struct br_err *err)
{
    struct br_session_host host = {.open_volume = open_volume};
    struct server server;
    struct t_link link;

    *result = (struct br_sync_result){0};
    *err = (struct br_err){0};
    int rc = server_start(pair->there, r->device, &server, err);
    if (!rc) {
        host.ctx = &server;
        t_link_open(&link, seed, server.ring, &host, 0);
        link.fault = network->fault;
        link.fault_at = network->fault_at;
        link.server_world = pair->there;
        link.capabilities_off = network->capabilities_off;
        rc = client_run(r, pair, &link, &network->durable_bytes, result, err);
        network->messages = link.messages;
        network->taken_bytes = link.taken_bytes;
        t_link_close(&link);
    }
    server_stop(&server);
    return rc;
}

// The source ---------------------------------------------------------------------------------------------------------------------------

static void source_change(struct t_rand *rand, struct br_sim *sim)
{
    uint64_t size = br_sim_size(sim, "src");

    if (!size || t_rand_below(rand, 4) == 0) {
        size = 1 + t_rand_below(rand, SIZE_BYTES_MAX - 1);
        size = t_rand_below(rand, 2) ? size : br_align_up(size, BR_PAGE_BYTES);
        t_source_resize(sim, size);
    }
    for (uint64_t n = 1 + t_rand_below(rand, 6); n; n--) {
        static const uint64_t units[] = {1, BR_PAGE_BYTES, BR_BLOCK_BYTES};

        t_source_write(rand, sim, units[t_rand_below(rand, BR_ARRAY_LEN(units))]);
    }
}

// What is left after harm --------------------------------------------------------------------------------------------------------------

static bool is_view(const struct br_sim *there, const struct view *view, const struct br_hash *root)
{
    struct t_store store = {0};
    struct br_tree_store ops = t_store_ops(&store);
    struct br_tree tree = t_tree_of(view->bytes, view->size_bytes, NULL, &ops);
    struct br_hash of_view;
    uint8_t *bytes = malloc(view->size_bytes + 1);

    assert_non_null(bytes);
    br_tree_root(&tree, &of_view);
    br_sim_read(there, "dst", bytes, view->size_bytes, 0);
    bool same = br_hash_equal(&of_view, root) && !memcmp(bytes, view->bytes, view->size_bytes);
    free(bytes);
    t_store_free(&store);
    return same;
}

// Finishes the replica as its host's next process would, then asks what it is.
static void check_left(const struct round *r, struct pair *pair, bool returned_ok)
{
    struct br_endpoint endpoint = {0};
    struct br_endpoint_info info = {0};
    struct br_err err = {0};
    struct server server;

    int rc = server_start(pair->there, r->device, &server, &err);
    rc = rc ? rc : server_volume(&server, &endpoint, &err);
    rc = rc ? rc : endpoint.ops->info(endpoint.ctx, &info, &err);
    if (rc) {
        explain(r, pair, "finish");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    enum br_replica_state state = info.identity.state;
    struct br_hash root = info.identity.root;
    endpoint.ops->close(endpoint.ctx);
    server_stop(&server);
    if (state == BR_STATE_NONE || state == BR_STATE_INCOMPLETE) {
        if (r->before.bytes || returned_ok) {
            explain(r, pair, "a version was lost");
            fail();
        }
        return;
    }
    bool is_new = is_view(pair->there, &r->now, &root);
    bool is_old = r->before.bytes && is_view(pair->there, &r->before, &root);
    if (state != BR_STATE_COMPLETE || (returned_ok ? !is_new : !is_new && !is_old)) {
        explain(r, pair, returned_ok ? "exit 0 was a lie" : "neither old nor new");
        fail();
    }
}

static void check_next_runs(const struct round *r, struct pair *pair, struct t_rand *rand)
{
    for (unsigned n = 0; n < 2; n++) {
        struct network sound = {0};
        struct br_sync_result result;
        struct br_err err;
        if (!n) {
            source_change(rand, pair->here);
        }
        if (sync_once(r, pair, t_rand_next(rand), &sound, &result, &err)) {
            explain(r, pair, "the next run failed");
            fail_msg("%s: %s", br_err_name(err.code), err.text);
        }
        struct view view = view_of(pair->here, "src");
        if (!is_view(pair->there, &view, &result.root) || (n && (result.bytes_data || result.fallback_reason))) {
            explain(r, pair, n ? "it ships again what is there" : "the next run ends unequal");
            fail();
        }
        view_free(&view);
    }
}

// The source as it was: what had come is not shipped again.
static void check_goes_on(const struct round *r, const struct pair *base, const struct network *cut, bool only_network)
{
    struct pair pair = pair_fork(base, r->seed);
    struct network sound = {0};
    struct br_sync_result result;
    struct br_err err;

    int rc = sync_once(r, &pair, r->seed, &sound, &result, &err);
    if (rc || !is_view(pair.there, &r->now, &result.root)) {
        explain(r, &pair, "going on failed");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    bool done = !result.new_version; // the harmed run got that far
    if (!done && (result.bytes_data + result.bytes_resumed != r->whole_bytes ||
                  result.bytes_data + cut->durable_bytes > r->whole_bytes ||
                  (only_network && result.bytes_resumed != cut->taken_bytes))) {
        explain(r, &pair, "what had come is shipped again");
        fail_msg("%llu shipped, %llu resumed, %llu had arrived, %llu durably, %llu in all",
                 (unsigned long long)result.bytes_data, (unsigned long long)result.bytes_resumed,
                 (unsigned long long)cut->taken_bytes, (unsigned long long)cut->durable_bytes,
                 (unsigned long long)r->whole_bytes);
    }
    *r->resumed += result.resumed;
    pair_free(&pair);
}

// Rounds -------------------------------------------------------------------------------------------------------------------------------

enum harm {
    HARM_CUT,
    HARM_STALL,
    HARM_CRASH_THERE,
    HARM_KILL_THERE,
    HARM_ERROR_THERE,
    HARM_CRASH_HERE,
    HARM_KILL_HERE,
    HARM_KINDS
};

static void plan(struct pair *pair, enum harm harm, uint64_t n)
{
    switch (harm) {
    case HARM_CRASH_THERE: br_sim_crash_at_change(pair->there, n); break;
    case HARM_KILL_THERE: br_sim_kill_at_change(pair->there, n); break;
    case HARM_ERROR_THERE: br_sim_fail_at(pair->there, n, n % 2 ? EIO : ENOSPC); break;
    case HARM_CRASH_HERE: br_sim_crash_at_change(pair->here, n); break;
    case HARM_KILL_HERE: br_sim_kill_at_change(pair->here, n); break;
    default: break; // the network's
    }
}

static void settle(struct br_sim *sim, bool cut)
{
    br_sim_crash_at_change(sim, 0);
    br_sim_kill_at_change(sim, 0);
    br_sim_fail_at(sim, 0, 0);
    if (cut && !br_sim_crashed(sim)) {
        br_sim_crash(sim); // what was promised must be durable
    }
    br_sim_crash_resolve(sim);
}

// One run on forks that is harmed at the n-th place.
static void harmed_run(const struct round *r, enum harm harm, uint64_t n)
{
    uint64_t seed = r->seed * 1000003 + r->number * 1009 + n * HARM_KINDS + harm;
    struct pair pair = pair_fork(&r->pair, seed);
    struct t_rand rand = t_rand_seeded(r->seed ^ (n << 8 | harm), r->number);
    struct network network = {0};
    struct br_sync_result result;
    struct br_err err;

    if (harm == HARM_CUT || harm == HARM_STALL) {
        network.fault = harm == HARM_CUT ? T_LINK_CUT : T_LINK_STALL;
        network.fault_at = (unsigned)n;
    }
    plan(&pair, harm, n);
    int rc = sync_once(r, &pair, r->seed + r->number, &network, &result, &err);
    if (rc == -BR_E_INTERNAL || rc == -BR_E_PROTOCOL) {
        explain(r, &pair, "the two did not understand each other");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    settle(pair.here, n % 5 == 0);
    settle(pair.there, n % 3 == 0);
    check_left(r, &pair, !rc);
    if (!strcmp(r->what, "delta")) {
        check_goes_on(r, &pair, &network, harm == HARM_CUT || harm == HARM_STALL);
    }
    check_next_runs(r, &pair, &rand);
    pair_free(&pair);
}

// How many places there are for each kind of harm, from a run without any.
static void count_places(struct round *r, uint64_t most[HARM_KINDS])
{
    struct pair pair = pair_fork(&r->pair, r->seed);
    struct network network = {0};
    struct br_sync_result result;
    struct br_err err;
    uint64_t here = br_sim_changes(pair.here), there = br_sim_changes(pair.there), ios = br_sim_ios(pair.there);

    if (sync_once(r, &pair, r->seed + r->number, &network, &result, &err)) {
        explain(r, &pair, "a run without any harm failed");
        fail_msg("%s: %s", br_err_name(err.code), err.text);
    }
    r->whole_bytes = result.bytes_data;
    most[HARM_CUT] = most[HARM_STALL] = network.messages;
    most[HARM_CRASH_THERE] = most[HARM_KILL_THERE] = br_sim_changes(pair.there) - there;
    most[HARM_ERROR_THERE] = br_sim_ios(pair.there) - ios;
    most[HARM_CRASH_HERE] = most[HARM_KILL_HERE] = br_sim_changes(pair.here) - here;
    pair_free(&pair);
}

static void sweep(struct round *r, uint64_t tries)
{
    uint64_t most[HARM_KINDS];

    count_places(r, most);
    for (enum harm harm = 0; harm < HARM_KINDS; harm++) {
        struct t_rand rand = t_rand_seeded(r->seed + harm, r->number);
        uint64_t stride = BR_MAX(most[harm] / tries, UINT64_C(1));
        for (uint64_t n = 1 + t_rand_below(&rand, stride); n <= most[harm]; n += stride) {
            harmed_run(r, harm, n);
        }
    }
}

// Returns how many runs went on with a delta.
static unsigned chain(uint64_t seed, uint64_t number, uint64_t runs, uint64_t tries)
{
    unsigned resumed = 0;
    struct br_sim_options options = {.seed = seed * 31 + number};
    struct round r = {.seed = seed, .number = number, .rand = t_rand_seeded(seed, number), .resumed = &resumed};

    r.device = number % 3 == 2;
    r.level = number % 2 ? 1 : 0;
    r.pair.here = br_sim_new(&options);
    options.seed++;
    r.pair.there = br_sim_new(&options);
    t_source_resize(r.pair.here, 0);
    for (uint64_t run = 0; run < runs; run++) {
        struct network sound = {0};
        struct br_sync_result result;
        struct br_err err;
        r.what = run ? "delta" : "first copy";
        source_change(&r.rand, r.pair.here);
        r.now = view_of(r.pair.here, "src");
        sweep(&r, tries);
        assert_int_equal(0, sync_once(&r, &r.pair, seed + run, &sound, &result, &err));
        check_left(&r, &r.pair, true);
        view_free(&r.before);
        r.before = r.now;
    }
    view_free(&r.before);
    pair_free(&r.pair);
    return resumed;
}

static void a_sync_over_a_session_leaves_old_or_new_whoever_fails(void **state)
{
    (void)state;
    uint64_t seed = t_seed();

    for (uint64_t number = 0; number < t_scaled(6); number++) {
        (void)chain(seed, number, 3, 6);
    }
}

// Every single place of one small chain; of another one when all that changed in it was sizes and zeroes, which leave nothing to go on with.
static void a_sync_over_a_session_survives_harm_at_every_place(void **state)
{
    (void)state;
    uint64_t seed = t_seed();

    unsigned resumed = 0;
    for (uint64_t number = 1000; !resumed && number < 1010; number++) {
        resumed = chain(seed, number, 2, UINT64_MAX);
    }
    assert_true(resumed > 0); // some were cut late enough to leave something
}

// Peers of before: neither asks, and what one of now left stays or goes, but is in nobody's way.
static void a_peer_that_knows_nothing_of_held_blocks_ships_them(void **state)
{
    (void)state;
    uint64_t seed = t_seed();
    unsigned tried = 0;

    for (uint64_t number = 2000; number < 2000 + t_scaled(3) || (!tried && number < 2100); number++) {
        struct br_sim_options options = {.seed = seed * 31 + number};
        unsigned resumed = 0;
        struct round r = {
            .seed = seed, .number = number, .what = "delta", .rand = t_rand_seeded(seed, number), .resumed = &resumed};
        struct network network = {0};
        struct br_sync_result result;
        struct br_err err;

        r.pair.here = br_sim_new(&options);
        options.seed++;
        r.pair.there = br_sim_new(&options);
        t_source_resize(r.pair.here, 0);
        source_change(&r.rand, r.pair.here);
        assert_int_equal(0, sync_once(&r, &r.pair, seed, &network, &result, &err));
        source_change(&r.rand, r.pair.here);
        r.now = view_of(r.pair.here, "src");
        uint64_t most[HARM_KINDS];
        count_places(&r, most);
        for (unsigned at = 1; at <= most[HARM_CUT]; at++) {
            struct pair pair = pair_fork(&r.pair, seed + at);
            network = (struct network){.fault = T_LINK_CUT, .fault_at = at};
            (void)!sync_once(&r, &pair, seed, &network, &result, &err);
            bool came = network.taken_bytes > 0;
            network = (struct network){.capabilities_off = BR_WIRE_CAPABILITY_HELD};
            assert_int_equal(0, sync_once(&r, &pair, seed, &network, &result, &err));
            assert_int_equal(0, result.bytes_resumed);
            assert_true(!result.new_version || result.bytes_data == r.whole_bytes);
            assert_true(is_view(pair.there, &r.now, &result.root));
            assert_false(br_sim_exists(pair.there, "dst.blkrep/stage.cut"));
            tried += came && result.new_version;
            pair_free(&pair);
        }
        view_free(&r.now);
        pair_free(&r.pair);
    }
    assert_true(tried > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sync_over_a_session_leaves_old_or_new_whoever_fails),
        cmocka_unit_test(a_sync_over_a_session_survives_harm_at_every_place),
        cmocka_unit_test(a_peer_that_knows_nothing_of_held_blocks_ships_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
