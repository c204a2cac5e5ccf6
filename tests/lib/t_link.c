// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_link.h"

#include <stdio.h>

#define T_LINK_IDLE_MAX 200u // polls in vain before the client gives up: something waits for ever

static void require(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "t_link: %s\n", what);
        abort();
    }
}

static void push(struct t_messages *queue, const void *head, size_t head_len, const void *body, size_t body_len)
{
    struct t_message *message = calloc(1, sizeof(*message));

    require(message != NULL, "out of memory");
    br_buf_append(&message->bytes, head, head_len);
    if (body_len) {
        br_buf_append(&message->bytes, body, body_len);
    }
    require(!br_buf_failed(&message->bytes) && head_len + body_len <= BR_MESSAGE_BYTES_MAX, "a message too long");
    *queue->tail = message;
    queue->tail = &message->next;
}

static bool pop(struct t_messages *queue, struct br_buf *ret_bytes)
{
    struct t_message *message = queue->head;

    if (!message) {
        return false;
    }
    queue->head = message->next;
    if (!queue->head) {
        queue->tail = &queue->head;
    }
    struct br_buf old = *ret_bytes;
    *ret_bytes = message->bytes;
    br_buf_free(&old);
    free(message);
    return true;
}

static void clear(struct t_messages *queue)
{
    struct br_buf bytes = {0};

    while (pop(queue, &bytes)) {}
    br_buf_free(&bytes);
}

// Counts one message; false when the network fails instead of carrying it.
static bool carries(struct t_link *link)
{
    bool crashed = link->server_world && br_sim_crashed(link->server_world);

    link->fault = crashed ? T_LINK_CUT : link->fault;
    if (!link->struck && (++link->messages == link->fault_at || crashed) && link->fault != T_LINK_SOUND) {
        link->struck = true;
        clear(&link->to_client);
        clear(&link->to_server);
    }
    return !link->struck;
}

static int network_failed(struct t_link *link, struct br_err *reterr)
{
    return link->fault == T_LINK_STALL ? br_err_set(reterr, BR_E_TIMEOUT, "the test's network stalled")
                                       : br_err_set(reterr, BR_E_PEER, "the test's network was cut");
}

static int server_send(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                       struct br_err *reterr)
{
    struct t_link *link = ctx;

    if (!carries(link)) {
        return link->fault == T_LINK_STALL ? 0 : network_failed(link, reterr);
    }
    push(&link->to_client, head, head_len, body, body_len);
    return 0;
}

// The session is driven by the client's calls; it never receives by itself.
static int server_recv(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    (void)ctx;
    (void)timeout_ns;
    br_buf_reset(message);
    return br_err_set(reterr, BR_E_PEER, "the test's session does not receive");
}

static uint64_t sent_bytes(void *ctx)
{
    return ((struct t_link *)ctx)->sent_bytes;
}

static void server_close(void *ctx)
{
    (void)ctx;
}

void t_link_end_session(struct t_link *link)
{
    br_session_close(link->session);
    link->session = NULL;
    clear(&link->to_server);
}

static uint64_t data_of(const struct br_buf *message)
{
    struct br_wire_message wire;
    struct br_stream_head head;

    if (br_wire_decode(message->data, message->len, &wire, NULL) < 0 || wire.type != BR_WIRE_FRAME ||
        br_stream_head_read(wire.stream, &head, NULL) < 0) {
        return 0;
    }
    return head.type == BR_STREAM_DATA ? head.raw_bytes : 0;
}

// Makes of the client one that can do less.
static void weaken(const struct t_link *link, struct br_buf *message)
{
    const size_t at = BR_WIRE_HEAD_BYTES + 8 + 2 + 2; // magic, lowest and highest version

    if (message->len >= at + 4 && message->data[0] == BR_WIRE_HELLO) {
        br_put_u32(message->data + at, br_get_u32(message->data + at) & ~link->capabilities_off);
    }
}

// One step of the server; false when there was nothing to do.
static bool step(struct t_link *link)
{
    struct br_buf message = {0};
    struct br_err err = {0};
    bool busy = link->session && br_session_busy(link->session);

    if (!link->session) {
        return false;
    }
    if (busy && (!link->to_server.head || t_rand_below(&link->rand, 2))) {
        br_ring_wait(link->server_ring, 1000000);
        link->session_result = br_session_tick(link->session, &err);
    } else if (pop(&link->to_server, &message)) {
        weaken(link, &message);
        link->taken_bytes += data_of(&message);
        link->session_result = br_session_message(link->session, &message, &err);
    } else {
        return false;
    }
    br_buf_free(&message);
    if (link->session_result) {
        t_link_end_session(link);
    }
    return true;
}

static int client_send(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                       struct br_err *reterr)
{
    struct t_link *link = ctx;

    link->sent_bytes += head_len + body_len;
    if (!carries(link)) {
        return link->fault == T_LINK_STALL ? 0 : network_failed(link, reterr);
    }
    if (link->session) {
        push(&link->to_server, head, head_len, body, body_len);
    }
    return 0;
}

static int client_recv(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    struct t_link *link = ctx;

    for (uint64_t steps = timeout_ns ? UINT64_MAX : t_rand_below(&link->rand, 4); steps && !link->struck; steps--) {
        if ((timeout_ns && link->to_client.head) || !step(link)) {
            break;
        }
    }
    br_buf_reset(message);
    if (pop(&link->to_client, message)) {
        link->idle = 0;
        return 1;
    }
    if (link->struck) {
        if (link->fault == T_LINK_CUT) {
            t_link_end_session(link);
        }
        return network_failed(link, reterr);
    }
    if (!link->session) {
        return br_err_set(reterr, BR_E_PEER, "the test's server closed");
    }
    if (timeout_ns && ++link->idle > T_LINK_IDLE_MAX) {
        return br_err_set(reterr, BR_E_INTERNAL, "client and session wait for each other");
    }
    return 0;
}

static void client_close(void *ctx)
{
    struct t_link *link = ctx;

    link->client_closed = true;
    t_link_end_session(link);
}

void t_link_open(struct t_link *link, uint64_t seed, struct br_ring *ring, const struct br_session_host *host,
                 uint64_t credit_bytes)
{
    static const struct br_channel_ops ops = {
        .send = server_send, .recv = server_recv, .sent_bytes = sent_bytes, .close = server_close};
    struct br_session_params params = {
        .channel = {.ops = &ops, .ctx = link}, .ring = ring, .host = *host, .credit_bytes = credit_bytes};

    *link = (struct t_link){.server_ring = ring, .rand = t_rand_seeded(seed, 77)};
    link->to_client.tail = &link->to_client.head;
    link->to_server.tail = &link->to_server.head;
    require(br_session_open(&params, &link->session, NULL) == 0, "no session");
}

void t_link_close(struct t_link *link)
{
    t_link_end_session(link);
    clear(&link->to_client);
}

struct br_channel t_link_client(struct t_link *link)
{
    static const struct br_channel_ops ops = {
        .send = client_send, .recv = client_recv, .sent_bytes = sent_bytes, .close = client_close};

    return (struct br_channel){.ops = &ops, .ctx = link};
}
