// SPDX-License-Identifier: Apache-2.0
//
// A hostile server. The input is a list of messages, each u16 length and bytes, that come as answers to whatever the client says; when they
// run out the network is gone. The client asks everything that an endpoint is asked for.
#include "engine/ring/sim.h"
#include "engine/sync/remote.h"
#include "engine/sync/wire.h"
#include "tests/lib/t_delta.h"
#include "tests/lib/t_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static void give_back(void *ctx)
{
    --*(int *)ctx;
}

// What is told as held is in order and what was asked for; some of it is kept.
static int use_held(const struct br_endpoint *endpoint)
{
    struct br_held_block held[3];
    struct br_keep keep = {.count = 1};
    unsigned count;

    int rc = endpoint->ops->held(endpoint->ctx, 6, held, 3, &count, NULL);
    for (unsigned i = 0; rc >= 0 && i < count; i++) {
        if (i >= 3 || held[i].index < 6 || (i && held[i].index <= held[i - 1].index)) {
            abort();
        }
    }
    if (rc >= 0 && count) {
        keep.blocks[0] = held[0];
        rc = endpoint->ops->keep(endpoint->ctx, &keep, NULL);
    }
    return rc;
}

static void use(const struct br_endpoint *endpoint)
{
    static const uint8_t page[BR_PAGE_BYTES] = {1};
    const struct br_tree_link links[3] = {{.ref = 5}, {.ref = 6}, {.ref = 7}};
    struct br_replica_begin begin = {.mode = BR_MODE_FIRST, .header = t_delta_header(10 * BR_BLOCK_BYTES, UINT64_MAX)};
    struct br_batch batch = {
        .block_count = 1, .blocks = {{.index = 1, .pages = 1}}, .data = page, .data_bytes = sizeof(page)};
    struct br_run run = {BR_RUN_ZERO, 2, 3};
    struct br_delta_end end = {.data_bytes = sizeof(page), .zero_bytes = 3 * BR_BLOCK_BYTES, .records = 2};
    struct br_replica_result result;
    struct br_endpoint_info info;
    struct br_buf nodes[3] = {{0}};
    uint64_t bad;
    int out = 0;

    int rc = endpoint->ops->info(endpoint->ctx, &info, NULL);
    if (rc >= 0) {
        (void)!endpoint->ops->fetch_nodes(endpoint->ctx, links, 3, nodes, NULL);
    }
    rc = endpoint->ops->begin(endpoint->ctx, &begin, false, NULL);
    if (rc >= 0) {
        out++;
        rc = endpoint->ops->batch(endpoint->ctx, &batch, give_back, &out, NULL);
        rc = rc < 0 ? rc : endpoint->ops->run(endpoint->ctx, &run, NULL);
        rc = rc < 0 ? rc : use_held(endpoint);
        rc = rc < 0 ? rc : endpoint->ops->commit(endpoint->ctx, &end, 1, &result, NULL);
    }
    if (rc < 0) {
        endpoint->ops->abort(endpoint->ctx);
    }
    rc = endpoint->ops->recheck(endpoint->ctx, 1, &result, NULL);
    if (rc >= 0) {
        (void)!endpoint->ops->verify(endpoint->ctx, NULL, NULL, &bad, NULL);
    }
    endpoint->ops->close(endpoint->ctx);
    if (out) {
        abort(); // every batch is given back
    }
    for (unsigned i = 0; i < 3; i++) {
        br_buf_free(&nodes[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct br_sim *sim;
    static struct br_ring *ring;
    struct t_script script = {data, len_bytes};
    struct br_endpoint endpoint;

    if (!sim) {
        struct br_sim_options options = {.seed = 1};
        sim = br_sim_new(&options);
        if (br_sim_ring(sim, NULL, &ring, NULL) || br_ring_workers(ring, 1, NULL)) {
            abort();
        }
    }
    struct br_remote_params params = {.channel = {.ops = &t_script_late_ops, .ctx = &script},
                                      .ring = ring,
                                      .volume = "db",
                                      .level = len_bytes & 1 ? 1 : 0,
                                      .role = 2};
    if (br_remote_open(&params, &endpoint, NULL) >= 0) {
        use(&endpoint);
    }
    return 0;
}
