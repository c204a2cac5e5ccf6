// SPDX-License-Identifier: Apache-2.0
//
// A hostile server of a repository. The input is a list of messages, each u16 length and bytes, that come as answers to whatever the client says;
// when they run out the network is gone. The client does everything that is done with a store.
#include <stdlib.h>

#include "engine/repo/store_remote.h"
#include "engine/repo/store_wire.h"
#include "engine/ring/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

struct script {
    const uint8_t *data;
    size_t len;
};

static int swallow(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                   struct br_err *reterr)
{
    (void)ctx;
    (void)head;
    (void)body;
    (void)reterr;
    return head_len + body_len > BR_MESSAGE_BYTES_MAX ? (abort(), 0) : 0;
}

static int next_line(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    struct script *script = ctx;

    (void)timeout_ns;
    br_buf_reset(message);
    if (script->len < 2) {
        return br_err_set(reterr, BR_E_PEER, "the script has ended");
    }
    size_t len = BR_MIN((size_t)br_get_u16(script->data), script->len - 2);
    br_buf_append(message, script->data + 2, len);
    script->data += 2 + len;
    script->len -= 2 + len;
    return 1;
}

static uint64_t no_bytes(void *ctx)
{
    (void)ctx;
    return 0;
}

static void close_nothing(void *ctx)
{
    (void)ctx;
}

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
    static const struct br_channel_ops ops = {
        .send = swallow, .recv = next_line, .sent_bytes = no_bytes, .close = close_nothing};
    static struct br_sim *sim;
    static struct br_ring *ring;
    struct script script = {data, len_bytes};
    struct br_store store;

    if (!sim) {
        sim = br_sim_new(&(struct br_sim_options){.seed = 1});
        if (br_sim_ring(sim, NULL, &ring, NULL)) {
            abort();
        }
    }
    const struct br_store_remote_params params = {
        .channel = {.ops = &ops, .ctx = &script}, .ring = ring, .repository = "main", .what = "there", .write = true};
    if (!br_store_remote_open(&params, &store, NULL)) {
        use(&store);
        store.ops->close(store.ctx);
    }
    return 0;
}
