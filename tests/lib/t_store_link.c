// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_store_link.h"

#include <stdio.h>
#include <stdlib.h>

static void push(struct t_store_queue *queue, const void *head, size_t head_len, const void *body, size_t body_len)
{
    if (queue->count == T_STORE_LINK_QUEUE || head_len + body_len > BR_MESSAGE_BYTES_MAX) {
        fprintf(stderr, "t_store_link: a queue that is full, or a message too long\n");
        abort();
    }
    struct br_buf *message = &queue->messages[(queue->head + queue->count++) % T_STORE_LINK_QUEUE];
    *message = (struct br_buf){0};
    br_buf_append(message, head, head_len);
    if (body_len) {
        br_buf_append(message, body, body_len);
    }
}

static bool pop(struct t_store_queue *queue, struct br_buf *ret_message)
{
    if (!queue->count) {
        return false;
    }
    br_buf_free(ret_message);
    *ret_message = queue->messages[queue->head];
    queue->head = (queue->head + 1) % T_STORE_LINK_QUEUE;
    queue->count--;
    return true;
}

static void drop(struct t_store_queue *queue)
{
    struct br_buf message = {0};

    while (pop(queue, &message)) {}
    br_buf_free(&message);
}

// Counts one message; false when the network fails instead of carrying it.
static bool carries(struct t_store_link *link, struct br_err *reterr)
{
    if (!link->cut && ++link->messages == link->cut_at) {
        link->cut = true;
        drop(&link->to_client);
        drop(&link->to_server);
    }
    if (link->cut) {
        br_err_set(reterr, BR_E_PEER, "the test's network was cut");
    }
    return !link->cut;
}

static int server_send(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                       struct br_err *reterr)
{
    struct t_store_link *link = ctx;

    if (!carries(link, reterr)) {
        return -BR_E_PEER;
    }
    push(&link->to_client, head, head_len, body, body_len);
    return 0;
}

static int server_recv(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    (void)ctx;
    (void)message;
    (void)timeout_ns;
    return br_err_set(reterr, BR_E_INTERNAL, "the test's session does not receive");
}

static void end_session(struct t_store_link *link)
{
    br_store_session_close(link->session);
    link->session = NULL;
}

// One step of the server; false when there was nothing to do.
static bool step(struct t_store_link *link)
{
    struct br_buf message = {0};
    bool did = false;
    int rc = 0;

    if (!link->session) {
        return false;
    }
    if (pop(&link->to_server, &message)) {
        did = true;
        rc = br_store_session_message(link->session, &message, NULL);
        br_buf_free(&message);
    } else if (br_store_session_busy(link->session)) {
        did = true;
        br_ring_wait(link->server_ring, 1000000);
    }
    rc = rc ? rc : br_store_session_tick(link->session, NULL);
    if (rc) {
        end_session(link);
    }
    return did;
}

static int client_send(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                       struct br_err *reterr)
{
    struct t_store_link *link = ctx;
    uint64_t waiting = 0;

    if (!carries(link, reterr)) {
        return -BR_E_PEER;
    }
    push(&link->to_server, head, head_len, body, body_len);
    for (unsigned i = 0; i < link->to_server.count; i++) {
        waiting += link->to_server.messages[(link->to_server.head + i) % T_STORE_LINK_QUEUE].len;
    }
    link->most_waiting = BR_MAX(link->most_waiting, waiting);
    return 0;
}

static int client_recv(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    struct t_store_link *link = ctx;

    (void)timeout_ns;
    while (!link->to_client.count && !link->cut && step(link)) {}
    br_buf_reset(message);
    if (pop(&link->to_client, message)) {
        return 1;
    }
    if (link->cut) {
        end_session(link);
        return br_err_set(reterr, BR_E_PEER, "the test's network was cut");
    }
    return link->session ? br_err_set(reterr, BR_E_INTERNAL, "client and session wait for each other")
                         : br_err_set(reterr, BR_E_PEER, "the test's server closed");
}

static uint64_t no_bytes(void *ctx)
{
    (void)ctx;
    return 0;
}

static void no_close(void *ctx)
{
    (void)ctx;
}

static void client_close(void *ctx)
{
    struct t_store_link *link = ctx;

    while (!link->cut && step(link)) {} // what was sent before, arrives
    end_session(link);
}

void t_store_link_open(struct t_store_link *link, struct br_ring *ring, const struct br_store_session_host *host)
{
    static const struct br_channel_ops ops = {
        .send = server_send, .recv = server_recv, .sent_bytes = no_bytes, .close = no_close};
    const struct br_store_session_params params = {
        .channel = {.ops = &ops, .ctx = link}, .ring = ring, .host = *host, .program = "test"};

    memset(link, 0, sizeof(*link));
    link->server_ring = ring;
    if (br_store_session_open(&params, &link->session, NULL)) {
        abort();
    }
}

struct br_channel t_store_link_client(struct t_store_link *link)
{
    static const struct br_channel_ops ops = {
        .send = client_send, .recv = client_recv, .sent_bytes = no_bytes, .close = client_close};

    return (struct br_channel){.ops = &ops, .ctx = link};
}

void t_store_link_close(struct t_store_link *link)
{
    end_session(link);
    drop(&link->to_server);
    drop(&link->to_client);
}
