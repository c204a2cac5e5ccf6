// SPDX-License-Identifier: Apache-2.0
//
// A client endpoint and a session with a replica in memory behind it, joined by a network that a seed drives and that can be cut or stall
// at every message; and a client that says what it should not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/ring/sim.h"
#include "engine/sync/remote.h"
#include "tests/lib/t_delta.h"
#include "tests/lib/t_far.h"
#include "tests/lib/t_link.h"

enum { ROLE_READER = 1, ROLE_WRITER = 2, ROLE_OPERATOR = 3 };

struct world {
    struct br_sim *sim;
    struct br_ring *client_ring;
    struct br_ring *server_ring;
    struct t_far far;
    struct t_link link;
    uint64_t credit_bytes;
    unsigned begun;
    unsigned finished;
};

static int open_volume(void *ctx, const char *volume, uint8_t role, bool discard_damaged, bool plan,
                       struct br_session_volume *ret_volume, struct br_err *reterr)
{
    struct world *w = ctx;

    (void)discard_damaged;
    (void)plan;
    if (strcmp(volume, "db")) {
        return br_err_set(reterr, BR_E_NOT_FOUND, "no volume of this name");
    }
    *ret_volume = (struct br_session_volume){
        .endpoint = t_far_endpoint(&w->far), .may_write = role >= ROLE_WRITER, .may_replace = role >= ROLE_OPERATOR};
    return 0;
}

static void begun(void *ctx, const char *volume, const struct br_delta_header *header)
{
    struct world *w = ctx;

    assert_string_equal(volume, "db");
    assert_non_null(header);
    w->begun++;
}

static void finished(void *ctx, const char *volume, const struct br_delta_header *header,
                     const struct br_replica_result *result, const struct br_err *err)
{
    struct world *w = ctx;

    (void)result;
    (void)err;
    assert_string_equal(volume, "db");
    assert_non_null(header);
    w->finished++;
}

static void world_open(struct world *w, uint64_t seed)
{
    struct br_sim_options options = {.seed = seed};

    *w = (struct world){.sim = br_sim_new(&options)};
    assert_int_equal(br_sim_ring(w->sim, NULL, &w->client_ring, NULL), 0);
    assert_int_equal(br_sim_ring(w->sim, NULL, &w->server_ring, NULL), 0);
    assert_int_equal(br_ring_workers(w->client_ring, 2, NULL), 0);
    t_far_init(&w->far);
}

static void world_close(struct world *w)
{
    br_ring_close(w->client_ring);
    br_ring_close(w->server_ring);
    br_sim_free(w->sim);
    t_far_free(&w->far);
}

static void listen_for(struct world *w, uint64_t seed)
{
    struct br_session_host host = {.open_volume = open_volume, .begun = begun, .finished = finished, .ctx = w};

    t_link_open(&w->link, seed, w->server_ring, &host, w->credit_bytes);
}

static int connect_as(struct world *w, uint8_t role, int level, struct br_endpoint *ret_endpoint, struct br_err *err)
{
    struct br_remote_params params = {.channel = t_link_client(&w->link),
                                      .ring = w->client_ring,
                                      .volume = "db",
                                      .what = "blkrep://test/db",
                                      .role = role,
                                      .level = level};

    return br_remote_open(&params, ret_endpoint, err);
}

struct lease {
    unsigned out;
};

static void give_back(void *ctx)
{
    ((struct lease *)ctx)->out--;
}

static int send_records(const struct br_endpoint *endpoint, const struct t_delta *delta, struct lease *lease,
                        struct br_err *err)
{
    int rc = 0;

    for (unsigned i = 0; i < delta->count && rc >= 0; i++) {
        const struct t_delta_record *record = &delta->records[i];
        if (record->is_run) {
            rc = endpoint->ops->run(endpoint->ctx, &record->run, err);
        } else {
            lease->out++;
            rc = endpoint->ops->batch(endpoint->ctx, &record->batch, give_back, lease, err);
        }
    }
    return rc;
}

// A whole delta as sync does it. Every batch is given back by the end, whatever happens.
static int send_delta(const struct br_endpoint *endpoint, const struct t_delta *delta, enum br_replica_mode mode,
                      bool overwrite, struct br_replica_result *result, struct br_err *err)
{
    struct br_replica_begin begin = {.mode = mode, .header = delta->header};
    struct br_delta_end end = {.root = delta->root};
    struct lease lease = {0};

    int rc = endpoint->ops->begin(endpoint->ctx, &begin, overwrite, err);
    if (rc < 0) {
        return rc;
    }
    rc = send_records(endpoint, delta, &lease, err);
    for (unsigned i = 0; i < delta->count; i++) {
        if (delta->records[i].is_run) {
            br_delta_count_run(&end, &delta->records[i].run, &delta->geometry);
        } else {
            br_delta_count_batch(&end, &delta->records[i].batch, &delta->geometry);
        }
    }
    if (rc >= 0) {
        rc = endpoint->ops->commit(endpoint->ctx, &end, 1000, result, err);
    }
    if (rc < 0) {
        endpoint->ops->abort(endpoint->ctx);
    }
    assert_int_equal(lease.out, 0);
    return rc;
}

static void close_endpoint(const struct br_endpoint *endpoint)
{
    endpoint->ops->close(endpoint->ctx);
}

// A first copy, and a delta on it.
static void make_deltas(uint64_t seed, struct t_delta *first, struct t_delta *second)
{
    struct t_rand rand = t_rand_seeded(seed, 5);

    t_delta_random(&rand, first);
    t_delta_random(&rand, second);
    first->header = t_delta_header(first->header.size_bytes, UINT64_MAX);
    second->header = t_delta_header(second->header.size_bytes, first->header.size_bytes);
    second->header.generation.counter++;
    second->header.generation.parent_id = first->header.generation.id;
    second->header.generation.id.bytes[5] ^= 0x80;
}

// The oracle: the same deltas, without a network.
static void apply_here(struct t_far *far, const struct t_delta *delta, enum br_replica_mode mode)
{
    struct br_endpoint endpoint = t_far_endpoint(far);
    struct br_replica_result result;

    assert_int_equal(send_delta(&endpoint, delta, mode, false, &result, NULL), 0);
}

static bool same_content(const struct t_far *a, const struct t_far *b)
{
    return a->size_bytes == b->size_bytes && (!a->size_bytes || !memcmp(a->bytes, b->bytes, a->size_bytes)) &&
           br_uuid_equal(&a->identity.generation.id, &b->identity.generation.id);
}

static void what_is_sent_is_what_arrives(void **state)
{
    (void)state;
    static struct t_delta first, second;
    static const uint64_t credits[] = {0, 2 * BR_STREAM_FRAME_BYTES_MAX};

    for (uint64_t seed = t_seed(), round = 0; round < t_scaled(12); round++, seed++) {
        struct world w;
        struct t_far here;
        struct br_endpoint endpoint;
        struct br_replica_result result = {0};
        world_open(&w, seed);
        w.credit_bytes = credits[round & 1];
        make_deltas(seed, &first, &second);
        t_far_init(&here);
        apply_here(&here, &first, BR_MODE_FIRST);
        apply_here(&here, &second, BR_MODE_DELTA);
        listen_for(&w, seed);
        assert_int_equal(connect_as(&w, ROLE_WRITER, (int)(round & 2), &endpoint, NULL), 0);
        assert_int_equal(send_delta(&endpoint, &first, BR_MODE_FIRST, false, &result, NULL), 0);
        assert_int_equal(result.bytes_rechecked, 1000);
        assert_int_equal(send_delta(&endpoint, &second, BR_MODE_DELTA, false, &result, NULL), 0);
        assert_true(same_content(&w.far, &here));
        assert_true(endpoint.ops->sent_bytes(endpoint.ctx) > 0);
        assert_int_equal(endpoint.ops->durable(endpoint.ctx), result.bytes_durable);
        close_endpoint(&endpoint);
        assert_int_equal(w.far.opens, w.far.closes);
        assert_int_equal(w.begun, 2);
        assert_int_equal(w.finished, 2);
        t_link_close(&w.link);
        t_delta_free(&first);
        t_delta_free(&second);
        t_far_free(&here);
        world_close(&w);
    }
}

static void data_stays_untouched_until_the_replica_lets_it_go(void **state)
{
    (void)state;
    static struct t_delta first, second;
    struct world w;
    struct t_far here;
    struct br_endpoint endpoint;
    struct br_replica_result result;
    world_open(&w, 3);
    make_deltas(3, &first, &second);
    t_far_init(&here);
    apply_here(&here, &first, BR_MODE_FIRST);
    w.far.hold_batches = true;
    w.credit_bytes = BR_WIRE_CREDIT_BYTES_MAX;
    listen_for(&w, 3);
    assert_int_equal(connect_as(&w, ROLE_WRITER, 1, &endpoint, NULL), 0);
    assert_int_equal(send_delta(&endpoint, &first, BR_MODE_FIRST, false, &result, NULL), 0);
    assert_true(same_content(&w.far, &here));
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    t_delta_free(&first);
    t_delta_free(&second);
    t_far_free(&here);
    world_close(&w);
}

// The network fails at every message of a first copy and a delta; what is there afterwards is old or new, and a next run completes.
static void fail_at_every_message(enum t_link_fault fault)
{
    static struct t_delta first, second;
    struct t_far old_far, new_far;
    bool whole = false;

    make_deltas(7, &first, &second);
    t_far_init(&old_far);
    t_far_init(&new_far);
    apply_here(&old_far, &first, BR_MODE_FIRST);
    apply_here(&new_far, &first, BR_MODE_FIRST);
    apply_here(&new_far, &second, BR_MODE_DELTA);
    for (unsigned at = 1; !whole; at++) {
        struct world w;
        struct br_endpoint endpoint;
        struct br_replica_result result;
        struct br_err err = {0};
        world_open(&w, at);
        apply_here(&w.far, &first, BR_MODE_FIRST);
        listen_for(&w, at);
        w.link.fault = fault;
        w.link.fault_at = at;
        int rc = connect_as(&w, ROLE_WRITER, 1, &endpoint, &err);
        if (rc >= 0) {
            rc = send_delta(&endpoint, &second, BR_MODE_DELTA, false, &result, &err);
            close_endpoint(&endpoint);
        }
        whole = rc >= 0 && !w.link.struck;
        t_link_close(&w.link);
        assert_int_equal(rc < 0 ? err.code : 0, -rc);
        assert_true(rc >= 0 || rc == (fault == T_LINK_CUT ? -BR_E_PEER : -BR_E_TIMEOUT));
        bool is_new = same_content(&w.far, &new_far);
        assert_true(is_new || (rc < 0 && same_content(&w.far, &old_far)));
        assert_null(w.far.staged);
        if (!is_new) { // the next run
            listen_for(&w, at + 1000);
            assert_int_equal(connect_as(&w, ROLE_WRITER, 1, &endpoint, NULL), 0);
            assert_int_equal(send_delta(&endpoint, &second, BR_MODE_DELTA, false, &result, NULL), 0);
            close_endpoint(&endpoint);
            t_link_close(&w.link);
            assert_true(same_content(&w.far, &new_far));
        }
        world_close(&w);
        assert_true(at < 300);
    }
    t_delta_free(&first);
    t_delta_free(&second);
    t_far_free(&old_far);
    t_far_free(&new_far);
}

static void a_cut_network_leaves_old_or_new(void **state)
{
    (void)state;
    fail_at_every_message(T_LINK_CUT);
}

static void a_stalled_network_leaves_old_or_new(void **state)
{
    (void)state;
    fail_at_every_message(T_LINK_STALL);
}

static void a_failure_over_there_is_told_here_and_the_session_goes_on(void **state)
{
    (void)state;
    static struct t_delta first, second;
    struct world w;
    struct br_endpoint endpoint;
    struct br_replica_result result;
    make_deltas(11, &first, &second);
    for (unsigned record = 1; record <= first.count; record++) {
        struct br_err err = {0};
        world_open(&w, record);
        listen_for(&w, record);
        w.far.fail_record = record;
        assert_int_equal(connect_as(&w, ROLE_WRITER, (int)(record & 1), &endpoint, NULL), 0);
        assert_int_equal(send_delta(&endpoint, &first, BR_MODE_FIRST, false, &result, &err), -BR_E_NO_SPACE);
        assert_non_null(strstr(err.text, "blkrep://test/db: the test's disk is full"));
        assert_true(err.has_offset);
        assert_int_equal(w.far.aborts, 1);
        assert_int_equal(w.far.commits, 0);
        w.far.empty = true; // as the failed attempt found it
        assert_int_equal(send_delta(&endpoint, &first, BR_MODE_FIRST, false, &result, NULL), 0);
        close_endpoint(&endpoint);
        t_link_close(&w.link);
        world_close(&w);
    }
    t_delta_free(&first);
    t_delta_free(&second);
}

static void a_failed_commit_tells_what_was_found(void **state)
{
    (void)state;
    static struct t_delta first, second;
    struct world w;
    struct br_endpoint endpoint;
    struct br_replica_result result = {0};
    struct br_err err = {0};
    make_deltas(12, &first, &second);
    world_open(&w, 12);
    listen_for(&w, 12);
    w.far.fail_commit = true;
    assert_int_equal(connect_as(&w, ROLE_WRITER, 0, &endpoint, NULL), 0);
    assert_int_equal(send_delta(&endpoint, &first, BR_MODE_FIRST, false, &result, &err), -BR_E_VERIFY);
    assert_int_equal(result.recheck_mismatches, 1);
    assert_int_equal(err.offset_bytes, 4096);
    assert_int_equal(w.far.aborts, 1);
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    t_delta_free(&first);
    t_delta_free(&second);
    world_close(&w);
}

// As a run that finds no changes does it: what was begun is given up, and the replica rechecked.
static void a_delta_given_up_hides_no_failure_that_follows(void **state)
{
    (void)state;
    static struct t_delta first, second;
    struct world w;
    struct br_endpoint endpoint;
    struct br_replica_result result = {0};
    struct br_err err = {0};
    make_deltas(13, &first, &second);
    struct br_replica_begin begin = {.mode = BR_MODE_FIRST, .header = first.header};
    world_open(&w, 13);
    listen_for(&w, 13);
    assert_int_equal(connect_as(&w, ROLE_WRITER, 0, &endpoint, NULL), 0);
    assert_int_equal(endpoint.ops->begin(endpoint.ctx, &begin, false, &err), 0);
    endpoint.ops->abort(endpoint.ctx);
    t_link_end_session(&w.link);
    assert_int_equal(endpoint.ops->recheck(endpoint.ctx, 1, &result, &err), -BR_E_PEER);
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    t_delta_free(&first);
    t_delta_free(&second);
    world_close(&w);
}

static void nodes_come_in_as_many_answers_as_they_need(void **state)
{
    (void)state;
    struct world w;
    struct br_endpoint endpoint;
    struct br_buf nodes[BR_WIRE_NODES_MAX] = {{0}};
    struct br_tree_link links[BR_WIRE_NODES_MAX] = {0};
    struct br_err err = {0};
    world_open(&w, 13);
    listen_for(&w, 13);
    assert_int_equal(connect_as(&w, ROLE_READER, 0, &endpoint, NULL), 0);
    for (unsigned i = 0; i < BR_WIRE_NODES_MAX; i++) {
        links[i].ref = BR_TREE_NODE_BYTES_MAX - i;
    }
    assert_int_equal(endpoint.ops->fetch_nodes(endpoint.ctx, links, BR_WIRE_NODES_MAX, nodes, NULL), 0);
    for (unsigned i = 0; i < BR_WIRE_NODES_MAX; i++) {
        assert_int_equal(nodes[i].len, links[i].ref);
        assert_int_equal(nodes[i].data[3], (uint8_t)(links[i].ref + 3));
    }
    links[3].ref = 13;
    assert_int_equal(endpoint.ops->fetch_nodes(endpoint.ctx, links, 5, nodes, &err), -BR_E_CORRUPT);
    assert_int_equal(endpoint.ops->fetch_nodes(endpoint.ctx, links, 3, nodes, NULL), 0);
    for (unsigned i = 0; i < BR_WIRE_NODES_MAX; i++) {
        br_buf_free(&nodes[i]);
    }
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    world_close(&w);
}

static int count_calls(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    assert_true(done_bytes <= total_bytes);
    ++*(unsigned *)ctx;
    return 0;
}

static int stop(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)ctx;
    (void)done_bytes;
    (void)total_bytes;
    return -BR_E_CANCELLED;
}

static void a_verify_tells_its_progress_and_can_be_stopped(void **state)
{
    (void)state;
    struct world w;
    struct br_endpoint endpoint;
    uint64_t bad = 9;
    unsigned calls = 0;
    struct br_err err = {0};
    world_open(&w, 14);
    listen_for(&w, 14);
    assert_int_equal(connect_as(&w, ROLE_READER, 0, &endpoint, NULL), 0);
    assert_int_equal(endpoint.ops->verify(endpoint.ctx, count_calls, &calls, &bad, NULL), 0);
    assert_int_equal(bad, 0);
    assert_in_range(calls, 2, 8);
    w.far.bad_blocks = 3;
    assert_int_equal(endpoint.ops->verify(endpoint.ctx, NULL, NULL, &bad, &err), -BR_E_VERIFY);
    assert_int_equal(bad, 3);
    assert_int_equal(endpoint.ops->verify(endpoint.ctx, stop, NULL, &bad, &err), -BR_E_CANCELLED);
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    assert_int_equal(w.far.closes, 1);
    world_close(&w);
}

static void an_unknown_volume_is_not_found(void **state)
{
    (void)state;
    struct world w;
    struct br_endpoint endpoint;
    struct br_err err = {0};
    world_open(&w, 15);
    listen_for(&w, 15);
    struct br_remote_params params = {
        .channel = t_link_client(&w.link), .ring = w.client_ring, .volume = "www", .role = ROLE_READER};
    assert_int_equal(br_remote_open(&params, &endpoint, &err), -BR_E_NOT_FOUND);
    assert_string_equal(err.text, "www: no volume of this name");
    assert_true(w.link.client_closed);
    t_link_close(&w.link);
    world_close(&w);
}

// What the target is, what the client wants, what comes of it.
static void nothing_is_overwritten_that_was_not_named(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t role;
        uint8_t state; // enum br_replica_state
        bool ours, empty;
        uint8_t mode;
        bool overwrite, target_is_zero;
        int error;
    } cases[] = {
        {"first copy, empty", ROLE_WRITER, BR_STATE_NONE, false, true, BR_MODE_FIRST, false, true, 0},
        {"first copy, reader", ROLE_READER, BR_STATE_NONE, false, true, BR_MODE_FIRST, false, true, BR_E_AUTH},
        {"first copy, foreign", ROLE_WRITER, 0, false, false, BR_MODE_FIRST, false, false, BR_E_TARGET_FOREIGN},
        {"first copy, foreign, overwrite", ROLE_WRITER, 0, false, false, BR_MODE_FIRST, true, false, BR_E_AUTH},
        {"first copy, foreign, operator", ROLE_OPERATOR, 0, false, false, BR_MODE_FIRST, true, false, 0},
        {"zero that is not", ROLE_OPERATOR, 0, false, false, BR_MODE_FIRST, true, true, BR_E_FOREIGN_WRITE},
        {"first copy resumed", ROLE_WRITER, BR_STATE_INCOMPLETE, true, false, BR_MODE_FIRST, false, false, 0},
        {"another's first copy", ROLE_WRITER, BR_STATE_INCOMPLETE, false, false, BR_MODE_FIRST, false, false,
         BR_E_TARGET_FOREIGN},
        {"first copy onto a version", ROLE_WRITER, BR_STATE_COMPLETE, true, false, BR_MODE_FIRST, false, false,
         BR_E_TARGET_FOREIGN},
        {"replace ours", ROLE_WRITER, BR_STATE_COMPLETE, true, false, BR_MODE_REPLACE, false, false, 0},
        {"replace another's", ROLE_WRITER, BR_STATE_COMPLETE, false, false, BR_MODE_REPLACE, false, false,
         BR_E_TARGET_FOREIGN},
        {"replace another's, overwrite", ROLE_WRITER, BR_STATE_COMPLETE, false, false, BR_MODE_REPLACE, true, false,
         BR_E_AUTH},
        {"replace another's, operator", ROLE_OPERATOR, BR_STATE_COMPLETE, false, false, BR_MODE_REPLACE, true, false,
         0},
    };
    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        struct world w;
        struct br_endpoint endpoint;
        struct br_replica_begin begin = {.mode = (enum br_replica_mode)cases[i].mode,
                                         .header = t_delta_header(100000, UINT64_MAX),
                                         .target_is_zero = cases[i].target_is_zero};
        world_open(&w, i);
        w.far.identity.state = (enum br_replica_state)cases[i].state;
        w.far.identity.sector_bytes = 512;
        w.far.identity.replica.bytes[0] = w.far.identity.generation.id.bytes[0] = 1;
        w.far.identity.volume.bytes[0] = 1;
        if (cases[i].ours) {
            w.far.identity.volume = begin.header.volume;
        }
        w.far.empty = cases[i].empty;
        listen_for(&w, i);
        assert_int_equal(connect_as(&w, cases[i].role, 0, &endpoint, NULL), 0);
        int rc = endpoint.ops->begin(endpoint.ctx, &begin, cases[i].overwrite, NULL);
        if (rc != -cases[i].error) {
            fail_msg("%s: %s", cases[i].what, br_err_name(-rc));
        }
        assert_int_equal(w.far.staged != NULL, rc == 0);
        close_endpoint(&endpoint);
        t_link_close(&w.link);
        world_close(&w);
    }
}

static void a_target_too_small_is_refused_before_the_first_write(void **state)
{
    (void)state;
    struct world w;
    struct br_endpoint endpoint;
    struct br_replica_begin begin = {.mode = BR_MODE_FIRST, .header = t_delta_header(100001, UINT64_MAX)};
    world_open(&w, 16);
    w.far.capacity_bytes = 100000;
    listen_for(&w, 16);
    assert_int_equal(connect_as(&w, ROLE_WRITER, 0, &endpoint, NULL), 0);
    assert_int_equal(endpoint.ops->begin(endpoint.ctx, &begin, false, NULL), -BR_E_TARGET_SMALL);
    assert_null(w.far.staged);
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    world_close(&w);
}

static void a_reader_rechecks_nothing(void **state)
{
    (void)state;
    struct world w;
    struct br_endpoint endpoint;
    struct br_replica_result result;
    world_open(&w, 17);
    listen_for(&w, 17);
    assert_int_equal(connect_as(&w, ROLE_READER, 0, &endpoint, NULL), 0);
    assert_int_equal(endpoint.ops->recheck(endpoint.ctx, 5, &result, NULL), -BR_E_AUTH);
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    listen_for(&w, 18);
    assert_int_equal(connect_as(&w, ROLE_WRITER, 0, &endpoint, NULL), 0);
    assert_int_equal(endpoint.ops->recheck(endpoint.ctx, 5, &result, NULL), 0);
    assert_int_equal(result.bytes_rechecked, 5);
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    world_close(&w);
}

// What is held ------------------------------------------------------------------------------------------------------------------------

static void hold(struct t_far *far, uint64_t index)
{
    struct br_held_block *block = &far->holds[far->holds_count++];

    block->index = index;
    memset(block->leaf.bytes, (int)index + 100, BR_HASH_BYTES);
}

// A far end with a version of 12 blocks that holds blocks 2, 3 and 9 of what comes next.
static void world_that_holds(struct world *w, uint64_t seed)
{
    world_open(w, seed);
    w->far.identity.state = BR_STATE_COMPLETE;
    w->far.identity.sector_bytes = 512;
    w->far.identity.replica.bytes[0] = 1;
    w->far.empty = false;
    w->far.size_bytes = 12 * BR_BLOCK_BYTES;
    w->far.bytes = calloc(12, BR_BLOCK_BYTES);
    struct br_delta_header header = t_delta_header(w->far.size_bytes, w->far.size_bytes);
    w->far.identity.volume = header.volume;
    w->far.identity.generation.id = header.generation.parent_id;
    hold(&w->far, 2);
    hold(&w->far, 3);
    hold(&w->far, 9);
}

static int begin_on(const struct br_endpoint *endpoint)
{
    struct br_replica_begin begin = {.mode = BR_MODE_DELTA,
                                     .header = t_delta_header(12 * BR_BLOCK_BYTES, 12 * BR_BLOCK_BYTES)};

    return endpoint->ops->begin(endpoint->ctx, &begin, false, NULL);
}

static void what_is_held_is_told_and_kept_among_the_records(void **state)
{
    (void)state;
    static const uint8_t page[BR_PAGE_BYTES] = {7};
    struct world w;
    struct br_endpoint endpoint;
    struct br_held_block held[2];
    struct br_replica_result result;
    struct lease lease = {.out = 1};
    unsigned count;
    world_that_holds(&w, 31);
    listen_for(&w, 31);
    assert_int_equal(connect_as(&w, ROLE_WRITER, 1, &endpoint, NULL), 0);
    assert_int_equal(begin_on(&endpoint), 0);
    struct br_batch batch = {
        .block_count = 1, .blocks = {{.index = 5, .pages = 1}}, .data = page, .data_bytes = sizeof(page)};
    memset(batch.blocks[0].leaf.bytes, 3, BR_HASH_BYTES);
    struct br_delta_end end = {.data_bytes = sizeof(page), .records = 1};

    assert_int_equal(endpoint.ops->held(endpoint.ctx, 0, held, 2, &count, NULL), 0);
    assert_int_equal(count, 2);
    assert_int_equal(held[0].index, 2);
    assert_int_equal(held[1].index, 3);
    assert_memory_equal(held[1].leaf.bytes, w.far.holds[1].leaf.bytes, BR_HASH_BYTES);
    struct br_keep keep = {.count = 2, .blocks = {held[0], held[1]}};
    assert_int_equal(endpoint.ops->keep(endpoint.ctx, &keep, NULL), 0);
    assert_int_equal(endpoint.ops->batch(endpoint.ctx, &batch, give_back, &lease, NULL), 0);
    assert_int_equal(endpoint.ops->held(endpoint.ctx, 6, held, 2, &count, NULL), 0);
    assert_int_equal(count, 1);
    keep = (struct br_keep){.count = 1, .blocks = {held[0]}};
    assert_int_equal(endpoint.ops->keep(endpoint.ctx, &keep, NULL), 0);
    assert_int_equal(endpoint.ops->held(endpoint.ctx, 10, held, 2, &count, NULL), 0);
    assert_int_equal(count, 0);
    assert_int_equal(endpoint.ops->commit(endpoint.ctx, &end, 0, &result, NULL), 0);
    assert_int_equal(w.far.kept_blocks, 3);
    assert_int_equal(w.far.bytes[2 * BR_BLOCK_BYTES], 102);
    assert_int_equal(w.far.bytes[5 * BR_BLOCK_BYTES], 7);
    assert_int_equal(w.far.bytes[10 * BR_BLOCK_BYTES - 1], 109);
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    world_close(&w);
}

static void a_server_of_before_is_not_asked(void **state)
{
    (void)state;
    struct world w;
    struct br_endpoint endpoint;
    struct br_held_block held[2];
    unsigned count = 5;
    world_that_holds(&w, 32);
    listen_for(&w, 32);
    w.link.capabilities_off = BR_WIRE_CAPABILITY_HELD;
    assert_int_equal(connect_as(&w, ROLE_WRITER, 0, &endpoint, NULL), 0);
    assert_int_equal(begin_on(&endpoint), 0);
    unsigned messages = w.link.messages;
    assert_int_equal(endpoint.ops->held(endpoint.ctx, 0, held, 2, &count, NULL), 0);
    assert_int_equal(count, 0);
    assert_int_equal(w.link.messages, messages);
    assert_true(w.far.begun.keeps_nothing); // a client that does not ask must not make what is held grow
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    world_close(&w);
}

static void a_keep_that_fails_is_told_and_the_rest_passed_over(void **state)
{
    (void)state;
    struct world w;
    struct br_endpoint endpoint;
    struct br_held_block held[2];
    struct br_replica_result result;
    struct br_err err = {0};
    struct br_delta_end end = {.records = 1, .zero_bytes = BR_BLOCK_BYTES};
    struct br_keep keep = {.count = 1, .blocks = {{.index = 2, .leaf = {{1}}}}}; // not what is held
    unsigned count;
    world_that_holds(&w, 33);
    listen_for(&w, 33);
    assert_int_equal(connect_as(&w, ROLE_WRITER, 0, &endpoint, NULL), 0);
    assert_int_equal(begin_on(&endpoint), 0);
    assert_false(w.far.begun.keeps_nothing);
    int rc = endpoint.ops->keep(endpoint.ctx, &keep, &err);
    rc = rc < 0 ? rc : endpoint.ops->run(endpoint.ctx, &(struct br_run){BR_RUN_ZERO, 4, 1}, &err);
    rc = rc < 0 ? rc : endpoint.ops->held(endpoint.ctx, 5, held, 2, &count, &err);
    assert_int_equal(rc, -BR_E_CORRUPT);
    assert_non_null(strstr(err.text, "blkrep://test/db: a block that is not held"));
    assert_int_equal(endpoint.ops->commit(endpoint.ctx, &end, 0, &result, &err), -BR_E_CORRUPT);
    endpoint.ops->abort(endpoint.ctx);
    assert_int_equal(w.far.records, 1);
    assert_int_equal(w.far.commits, 0);
    assert_int_equal(w.far.aborts, 1);
    assert_int_equal(begin_on(&endpoint), 0); // the session goes on
    close_endpoint(&endpoint);
    t_link_close(&w.link);
    world_close(&w);
}

// A client that says what it should not ----------------------------------------------------------------------------------------------

// Gives the session one message; returns what br_session_message() does.
static int tell(struct world *w, const struct br_wire_message *message)
{
    struct br_buf bytes = {0};

    br_wire_encode(message, &bytes);
    if (message->type == BR_WIRE_FRAME) {
        br_buf_append(&bytes, message->stream, message->stream_len);
    }
    int rc = br_session_message(w->link.session, &bytes, NULL);
    br_buf_free(&bytes);
    return rc;
}

// The last message that the session said.
static struct br_wire_message last_said(struct world *w)
{
    static struct br_buf bytes;
    struct br_wire_message got = {0};
    struct br_channel channel = t_link_client(&w->link);

    while (w->link.to_client.head) {
        assert_int_equal(channel.ops->recv(channel.ctx, &bytes, 1, NULL), 1);
        assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), 0);
    }
    br_buf_free(&bytes); // only the plain fields are looked at
    return got;
}

static struct br_wire_message hello_of(uint16_t version_min, uint16_t version_max)
{
    return (struct br_wire_message){.type = BR_WIRE_HELLO,
                                    .request = 1,
                                    .hello = {.version_min = version_min,
                                              .version_max = version_max,
                                              .capabilities = 0xff,
                                              .lanes = 1,
                                              .message_bytes_max = BR_MESSAGE_BYTES_MAX}};
}

static void another_protocol_version_is_named_with_ours(void **state)
{
    (void)state;
    struct world w;
    struct br_wire_message hello = hello_of(2, 7);
    world_open(&w, 20);
    listen_for(&w, 20);
    assert_int_equal(tell(&w, &hello), -BR_E_VERSION);
    struct br_wire_message said = last_said(&w);
    assert_int_equal(said.type, BR_WIRE_ERROR);
    assert_int_equal(said.error.code, BR_E_VERSION);
    assert_string_equal(said.error.text, "the client speaks session versions 2 to 7, this server version 1");
    assert_int_equal(tell(&w, &hello), -BR_E_PROTOCOL);
    t_link_close(&w.link);
    listen_for(&w, 21);
    hello = hello_of(1, 7);
    assert_int_equal(tell(&w, &hello), 0);
    said = last_said(&w);
    assert_int_equal(said.type, BR_WIRE_WELCOME);
    assert_int_equal(said.welcome.capabilities, BR_WIRE_CAPABILITIES);
    assert_false(br_uuid_is_nil(&said.welcome.session));
    t_link_close(&w.link);
    world_close(&w);
}

// Brings the session to a state: 0 greeting, 1 greeted, 2 open, 3 receiving.
static void bring_to(struct world *w, int session_state, struct br_stream_encoder *encoder)
{
    struct br_wire_message hello = hello_of(1, 1), open = {.type = BR_WIRE_OPEN, .open = {.role = 2, .volume = "db"}};
    struct br_wire_message begin = {.type = BR_WIRE_BEGIN};
    struct br_delta_header header = t_delta_header(64 * BR_MIB, UINT64_MAX);
    struct br_stream_frame frame = {0};

    begin.begin.begin.mode = BR_MODE_FIRST;
    assert_int_equal(br_stream_start(encoder, &header, &frame, NULL), 0);
    begin.stream = frame.head;
    begin.stream_len = frame.head_len;
    assert_int_equal(session_state < 1 ? 0 : tell(w, &hello), 0);
    assert_int_equal(session_state < 2 ? 0 : tell(w, &open), 0);
    assert_int_equal(session_state < 3 ? 0 : tell(w, &begin), 0);
    if (session_state == 3) {
        assert_int_equal(last_said(w).type, BR_WIRE_BEGUN);
    }
}

static void a_message_out_of_place_ends_the_session(void **state)
{
    (void)state;
    // Which states (bit 0 greeting ... bit 3 receiving) take which message.
    static const struct {
        uint8_t type, states;
    } places[] = {
        {BR_WIRE_HELLO, 1},    {BR_WIRE_OPEN, 2},   {BR_WIRE_GET_INFO, 12}, {BR_WIRE_GET_NODES, 4},
        {BR_WIRE_FRAME, 8},    {BR_WIRE_COMMIT, 8}, {BR_WIRE_RECHECK, 4},   {BR_WIRE_ABORT, 12},
        {BR_WIRE_VERIFY, 4},   {BR_WIRE_PING, 15},  {BR_WIRE_PONG, 15},     {BR_WIRE_WELCOME, 0},
        {BR_WIRE_OPENED, 0},   {BR_WIRE_INFO, 0},   {BR_WIRE_NODES, 0},     {BR_WIRE_BEGUN, 0},
        {BR_WIRE_CREDIT, 0},   {BR_WIRE_RESULT, 0}, {BR_WIRE_ABORTED, 0},   {BR_WIRE_PROGRESS, 0},
        {BR_WIRE_VERIFIED, 0}, {BR_WIRE_ERROR, 0},  {BR_WIRE_GET_HELD, 8},  {BR_WIRE_HELD, 0},
        {BR_WIRE_KEEP, 8},
    };
    static const uint8_t frame[BR_STREAM_HEAD_BYTES] = {'B', 'R', 'f', '1', 4};
    for (size_t i = 0; i < BR_ARRAY_LEN(places); i++) {
        for (int s = 0; s < 4; s++) {
            struct world w;
            struct br_stream_encoder encoder;
            struct br_wire_message message = {.type = (enum br_wire_type)places[i].type};
            world_open(&w, i);
            listen_for(&w, i);
            bring_to(&w, s, &encoder);
            if (message.type == BR_WIRE_HELLO) {
                message = hello_of(1, 1);
            } else if (message.type == BR_WIRE_OPEN) {
                strcpy(message.open.volume, "db");
            } else if (message.type == BR_WIRE_WELCOME) {
                message.welcome = (struct br_wire_welcome){
                    .version = 1, .credit_bytes = BR_WIRE_CREDIT_BYTES, .message_bytes_max = BR_MESSAGE_BYTES_MAX};
            } else if (message.type == BR_WIRE_GET_NODES) {
                message.get_nodes.count = 1;
                message.get_nodes.refs[0] = 5;
            } else if (message.type == BR_WIRE_NODES) {
                message.nodes.count = 1;
                message.nodes.nodes[0] = frame;
                message.nodes.lens[0] = 1;
            } else if (message.type == BR_WIRE_GET_HELD) {
                message.get_held.most = 1;
            } else if (message.type == BR_WIRE_KEEP) {
                message.keep.count = 1;
            }
            message.stream = frame;
            message.stream_len = sizeof(frame);
            int rc = tell(&w, &message);
            if (rc != (places[i].states >> s & 1 ? 0 : -BR_E_PROTOCOL)) {
                fail_msg("%s in state %d: %d", br_wire_name(places[i].type), s, rc);
            }
            if (rc < 0) {
                assert_int_equal(last_said(&w).error.code, BR_E_PROTOCOL);
            }
            t_link_close(&w.link);
            assert_null(w.far.staged);
            world_close(&w);
        }
    }
}

static struct br_wire_message run_frame(struct br_stream_encoder *encoder, struct br_stream_frame *frame,
                                        uint64_t block)
{
    assert_int_equal(br_stream_run(encoder, &(struct br_run){BR_RUN_ZERO, block, 1}, frame, NULL), 0);
    return (struct br_wire_message){.type = BR_WIRE_FRAME, .stream = frame->head, .stream_len = frame->head_len};
}

static void a_damaged_or_repeated_frame_is_never_handed_on(void **state)
{
    (void)state;
    struct world w;
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    world_open(&w, 23);
    listen_for(&w, 23);
    bring_to(&w, 3, &encoder);
    struct br_wire_message message = run_frame(&encoder, &frame, 1);
    assert_int_equal(tell(&w, &message), 0);
    assert_int_equal(w.far.records, 1);
    assert_int_equal(tell(&w, &message), 0); // the same again
    struct br_wire_message said = last_said(&w);
    assert_int_equal(said.type, BR_WIRE_ERROR);
    assert_int_equal(said.error.code, BR_E_CORRUPT);
    assert_int_equal(said.request, 0);
    message = run_frame(&encoder, &frame, 2); // passed over now, and the commit fails
    assert_int_equal(tell(&w, &message), 0);
    assert_int_equal(w.far.records, 1);
    assert_int_equal(br_stream_end(&encoder, &br_hash_zero, &frame, NULL), 0);
    struct br_wire_message commit = {
        .type = BR_WIRE_COMMIT, .request = 9, .stream = frame.head, .stream_len = frame.head_len};
    assert_int_equal(tell(&w, &commit), 0);
    said = last_said(&w);
    assert_int_equal(said.type, BR_WIRE_RESULT);
    assert_int_equal(said.request, 9);
    assert_int_equal(said.result.outcome.code, BR_E_CORRUPT);
    assert_int_equal(w.far.commits, 0);
    assert_int_equal(w.far.aborts, 1);
    t_link_close(&w.link);
    world_close(&w);
}

static void frames_beyond_the_credit_end_the_session(void **state)
{
    (void)state;
    struct world w;
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    int rc = 0;
    unsigned frames = 0;
    uint8_t *data = calloc(1, BR_BATCH_DATA_MAX);
    assert_non_null(data);
    world_open(&w, 24);
    w.far.hold_batches = true;
    listen_for(&w, 24);
    bring_to(&w, 3, &encoder);
    while (rc == 0 && frames < 64) {
        struct br_batch batch = {.block_count = 16, .data = data, .data_bytes = BR_BATCH_DATA_MAX};
        for (unsigned i = 0; i < 16; i++) {
            batch.blocks[i].index = frames * 16 + i;
            batch.blocks[i].pages = 0xffff;
        }
        assert_int_equal(br_stream_batch(&encoder, &batch, 1, &frame, NULL), 0);
        assert_true(frame.body_len < 1000); // small on the wire, and yet counted as what it becomes
        struct br_buf bytes = {0};
        br_stream_frame_append(&frame, &bytes);
        struct br_wire_message message = {.type = BR_WIRE_FRAME, .stream = bytes.data, .stream_len = bytes.len};
        rc = tell(&w, &message);
        br_buf_free(&bytes);
        frames++;
    }
    assert_int_equal(rc, -BR_E_PROTOCOL);
    assert_int_equal(frames, 8);
    t_link_close(&w.link);
    assert_int_equal(w.far.held_count, 0);
    br_stream_frame_free(&frame);
    free(data);
    world_close(&w);
}

static void a_frame_message_is_exactly_one_frame(void **state)
{
    (void)state;
    for (int defect = 0; defect < 2; defect++) {
        struct world w;
        struct br_stream_encoder encoder;
        struct br_stream_frame frame = {0};
        struct br_buf bytes = {0};
        world_open(&w, 25);
        listen_for(&w, 25);
        bring_to(&w, 3, &encoder);
        struct br_wire_message message = run_frame(&encoder, &frame, 1);
        br_stream_frame_append(&frame, &bytes);
        if (defect) {
            run_frame(&encoder, &frame, 2);
            br_stream_frame_append(&frame, &bytes);
        }
        message.stream = bytes.data;
        message.stream_len = defect ? bytes.len : bytes.len - 1;
        assert_int_equal(tell(&w, &message), -BR_E_PROTOCOL);
        assert_int_equal(w.far.records, 0);
        br_buf_free(&bytes);
        t_link_close(&w.link);
        world_close(&w);
    }
}

static void an_end_among_the_data_is_no_commit(void **state)
{
    (void)state;
    struct world w;
    struct br_stream_encoder encoder;
    struct br_stream_frame frame = {0};
    world_open(&w, 26);
    listen_for(&w, 26);
    bring_to(&w, 3, &encoder);
    assert_int_equal(br_stream_end(&encoder, &br_hash_zero, &frame, NULL), 0);
    struct br_wire_message message = {.type = BR_WIRE_FRAME, .stream = frame.head, .stream_len = frame.head_len};
    assert_int_equal(tell(&w, &message), 0);
    assert_int_equal(last_said(&w).error.code, BR_E_PROTOCOL);
    assert_int_equal(w.far.commits, 0);
    t_link_close(&w.link);
    world_close(&w);
}

static void a_second_lane_is_refused_until_there_is_one(void **state)
{
    (void)state;
    struct world w;
    struct br_wire_message hello = hello_of(1, 1);
    hello.hello.session.bytes[0] = 1;
    world_open(&w, 27);
    listen_for(&w, 27);
    assert_int_equal(tell(&w, &hello), -BR_E_UNSUPPORTED);
    t_link_close(&w.link);
    world_close(&w);
}

static void who_did_not_say_held_may_not_speak_of_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        struct br_stream_encoder encoder;
        struct br_wire_message get = {.type = BR_WIRE_GET_HELD, .get_held = {.most = 1}};
        struct br_wire_message keep = {.type = BR_WIRE_KEEP, .keep = {.count = 1}};
        struct br_wire_message hello = hello_of(1, 1);
        struct br_wire_message open = {.type = BR_WIRE_OPEN, .open = {.role = 2, .volume = "db"}};
        struct br_wire_message begin = {.type = BR_WIRE_BEGIN, .begin = {.begin = {.mode = BR_MODE_FIRST}}};
        struct br_delta_header header = t_delta_header(BR_MIB, UINT64_MAX);
        struct br_stream_frame frame = {0};
        world_open(&w, 29);
        listen_for(&w, 29);
        hello.hello.capabilities = BR_WIRE_CAPABILITY_ZSTD;
        assert_int_equal(br_stream_start(&encoder, &header, &frame, NULL), 0);
        begin.stream = frame.head;
        begin.stream_len = frame.head_len;
        assert_int_equal(tell(&w, &hello), 0);
        assert_int_equal(last_said(&w).welcome.capabilities, BR_WIRE_CAPABILITY_ZSTD);
        assert_int_equal(tell(&w, &open), 0);
        assert_int_equal(tell(&w, &begin), 0);
        assert_int_equal(tell(&w, i ? &get : &keep), -BR_E_PROTOCOL);
        assert_int_equal(last_said(&w).error.code, BR_E_PROTOCOL);
        t_link_close(&w.link);
        world_close(&w);
    }
}

static void a_stage_of_a_replica_is_no_beginning_of_a_delta(void **state)
{
    (void)state;
    struct world w;
    struct br_stream_encoder encoder;
    struct br_wire_message begin = {.type = BR_WIRE_BEGIN, .begin = {.begin = {.mode = BR_MODE_FIRST}}};
    struct br_delta_header header = t_delta_header(BR_MIB, UINT64_MAX);
    struct br_stream_frame frame = {0};
    world_open(&w, 30);
    listen_for(&w, 30);
    bring_to(&w, 2, &encoder);
    assert_int_equal(br_stream_start_staged(&encoder, &header, &frame, NULL), 0);
    begin.stream = frame.head;
    begin.stream_len = frame.head_len;
    assert_int_equal(tell(&w, &begin), 0);
    assert_int_equal(last_said(&w).error.code, BR_E_CORRUPT);
    assert_null(w.far.staged);
    t_link_close(&w.link);
    world_close(&w);
}

static void bye_ends_it_well(void **state)
{
    (void)state;
    struct world w;
    struct br_stream_encoder encoder;
    struct br_wire_message bye = {.type = BR_WIRE_BYE};
    world_open(&w, 28);
    listen_for(&w, 28);
    bring_to(&w, 3, &encoder);
    assert_int_equal(tell(&w, &bye), 1);
    t_link_close(&w.link);
    assert_int_equal(w.far.aborts, 1);
    assert_int_equal(w.far.closes, 1);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_is_what_arrives),
        cmocka_unit_test(data_stays_untouched_until_the_replica_lets_it_go),
        cmocka_unit_test(a_cut_network_leaves_old_or_new),
        cmocka_unit_test(a_stalled_network_leaves_old_or_new),
        cmocka_unit_test(a_failure_over_there_is_told_here_and_the_session_goes_on),
        cmocka_unit_test(a_failed_commit_tells_what_was_found),
        cmocka_unit_test(a_delta_given_up_hides_no_failure_that_follows),
        cmocka_unit_test(nodes_come_in_as_many_answers_as_they_need),
        cmocka_unit_test(a_verify_tells_its_progress_and_can_be_stopped),
        cmocka_unit_test(an_unknown_volume_is_not_found),
        cmocka_unit_test(nothing_is_overwritten_that_was_not_named),
        cmocka_unit_test(a_target_too_small_is_refused_before_the_first_write),
        cmocka_unit_test(a_reader_rechecks_nothing),
        cmocka_unit_test(another_protocol_version_is_named_with_ours),
        cmocka_unit_test(a_message_out_of_place_ends_the_session),
        cmocka_unit_test(a_damaged_or_repeated_frame_is_never_handed_on),
        cmocka_unit_test(frames_beyond_the_credit_end_the_session),
        cmocka_unit_test(a_frame_message_is_exactly_one_frame),
        cmocka_unit_test(an_end_among_the_data_is_no_commit),
        cmocka_unit_test(a_second_lane_is_refused_until_there_is_one),
        cmocka_unit_test(what_is_held_is_told_and_kept_among_the_records),
        cmocka_unit_test(a_server_of_before_is_not_asked),
        cmocka_unit_test(a_keep_that_fails_is_told_and_the_rest_passed_over),
        cmocka_unit_test(who_did_not_say_held_may_not_speak_of_it),
        cmocka_unit_test(a_stage_of_a_replica_is_no_beginning_of_a_delta),
        cmocka_unit_test(bye_ends_it_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
