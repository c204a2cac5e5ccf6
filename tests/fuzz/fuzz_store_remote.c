// SPDX-License-Identifier: Apache-2.0
//
// A hostile server of a repository. The input is a list of messages, each u16 length and bytes, that come as answers to whatever the client says;
// when they run out the network is gone. The client does everything that is done with a store.
#include <stdlib.h>

#include "engine/repo/store_remote.h"
#include "engine/repo/store_wire.h"
#include "engine/ring/sim.h"
#include "tests/lib/t_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static int take_name(void *ctx, const char *name)
{
    (void)ctx;
    return strncmp(name, "points/", 7) != 0 ? (abort(), 0) : 0;
}

static void count_down(struct br_store_get *get)
{
    --*(unsigned *)get->ctx;
}

static void use(const struct br_store *store)
{
    static uint8_t bytes[2][BR_STORE_WIRE_PIECE_MAX + 3];
    struct br_store_get gets[2];
    struct br_buf piece = {0};
    uint64_t value;
    unsigned left = 2;
    void *write;

    (void)!store->ops->list(store->ctx, "points/", take_name, NULL, NULL);
    (void)!store->ops->size(store->ctx, "config", &value, NULL);
    for (unsigned i = 0; i < 2; i++) {
        gets[i] = (struct br_store_get){
            .name = "config", .buf = bytes[i], .len_bytes = i ? sizeof(bytes[i]) : 3, .done = count_down, .ctx = &left};
        store->ops->get(store->ctx, &gets[i]);
    }
    while (left) {
        if (!br_ring_wait(store->ring, UINT64_MAX) && left) {
            abort(); // a read that nobody ends
        }
    }
    if (!store->ops->write_open(store->ctx, "packs/x", &write, NULL)) {
        br_buf_append(&piece, NULL, 100000);
        (void)!store->ops->write(store->ctx, write, &piece, NULL);
        store->ops->write_close(store->ctx, write, true);
    }
    (void)!store->ops->settle(store->ctx, NULL);
    (void)!store->ops->put(store->ctx, "points/x", "x", 1, NULL);
    (void)!store->ops->arrived(store->ctx, "points/x", &value, NULL);
    (void)!store->ops->space(store->ctx, &value, NULL);
    (void)!store->ops->remove(store->ctx, "points/x", NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    static struct br_sim *sim;
    static struct br_ring *ring;
    struct t_script script = {data, len_bytes};
    struct br_store store;

    if (!sim) {
        sim = br_sim_new(&(struct br_sim_options){.seed = 1});
        if (br_sim_ring(sim, NULL, &ring, NULL)) {
            abort();
        }
    }
    const struct br_store_remote_params params = {.channel = {.ops = &t_script_ops, .ctx = &script},
                                                  .ring = ring,
                                                  .repository = "main",
                                                  .what = "there",
                                                  .write = true};
    if (!br_store_remote_open(&params, &store, NULL)) {
        use(&store);
        store.ops->close(store.ctx);
    }
    return 0;
}
