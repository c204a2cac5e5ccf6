// SPDX-License-Identifier: Apache-2.0
//
// The inside of a TLS connection, shared by tls.c (handshake, errors), tls_wire.c (TLS records <-> socket) and tls_channel.c (the
// connection's thread and its queues). Included by these three only.
//
// OpenSSL never touches the socket: its records go through two buffers here, so that a quarter MiB of them leaves in one system call.
#ifndef BR_NET_TLS_WIRE_H
#define BR_NET_TLS_WIRE_H

#include <openssl/ssl.h>
#include <pthread.h>

#include "engine/net/tls.h"

#define BR_TLS_WIRE_IN_BYTES  (128u * 1024u)
#define BR_TLS_WIRE_OUT_BYTES (256u * 1024u) // no record is begun beyond this
#define BR_TLS_WIRE_OUT_SPARE (32u * 1024u)  // room for the record that crosses it and for an alert
#define BR_TLS_BUCKET_LEAST   1400u          // a limited rate waits until this much may go at once

// A token bucket. It holds at most 50 ms of the rate (or one packet), so that the limit holds over any second.
struct br_tls_bucket {
    uint64_t rate; // bytes per second, 0 no limit
    uint64_t tokens;
    uint64_t at_ns;
};

struct br_tls_wire {
    int fd;
    uint8_t *in, *out;
    size_t in_pos, in_len;   // received, not yet taken by TLS
    size_t out_pos, out_len; // made by TLS, not yet sent
    bool in_eof;             // the peer closed its side
    uint64_t sent_bytes;     // read by other threads: atomic access
    uint64_t received_ns;    // when anything last came
    uint64_t sent_ns;        // when anything last went
    struct br_tls_bucket sending, receiving;
};

/** br_tls_wire_open - buffers for @fd, which is owned from now on, also on failure */
BR_MUST_CHECK int br_tls_wire_open(struct br_tls_wire *wire, int fd, struct br_err *reterr);
/** br_tls_wire_close - closes the socket, frees the buffers */
void br_tls_wire_close(struct br_tls_wire *wire);
/** br_tls_wire_bio - an OpenSSL BIO over the buffers; NULL when memory is short */
BIO *br_tls_wire_bio(struct br_tls_wire *wire);
/** br_tls_wire_receive - what the socket has, once; returns 1 something, 0 nothing now, or a negative errno */
int br_tls_wire_receive(struct br_tls_wire *wire);
/** br_tls_wire_send - as much as socket and rate take; returns 0 or a negative errno */
int br_tls_wire_send(struct br_tls_wire *wire);
/** br_tls_wire_pending - bytes waiting for the socket */
static inline size_t br_tls_wire_pending(const struct br_tls_wire *wire)
{
    return wire->out_len - wire->out_pos;
}
/** br_tls_bucket_set - another rate, from now on */
void br_tls_bucket_set(struct br_tls_bucket *bucket, uint64_t rate);
/** br_tls_bucket_at_ns - when the rate allows @want_bytes (or one packet of them); 0 now */
uint64_t br_tls_bucket_at_ns(struct br_tls_bucket *bucket, size_t want_bytes);
/** br_tls_wire_send_at_ns - when the rate allows the next send; 0 now */
static inline uint64_t br_tls_wire_send_at_ns(struct br_tls_wire *wire)
{
    return br_tls_bucket_at_ns(&wire->sending, br_tls_wire_pending(wire));
}
/** br_tls_wire_receive_at_ns - when the rate allows to receive again; 0 now */
static inline uint64_t br_tls_wire_receive_at_ns(struct br_tls_wire *wire)
{
    return br_tls_bucket_at_ns(&wire->receiving, BR_TLS_BUCKET_LEAST);
}

struct br_tls_item; // one message in a queue

struct br_tls_queue {
    struct br_tls_item *head, *tail;
    size_t bytes;
};

struct br_tls {
    struct br_tls_wire wire;
    SSL_CTX *context;
    SSL *ssl;
    bool server;
    enum br_tls_protocol protocol;
    struct br_tls_options options;
    struct br_fingerprint peer;
    const struct br_fingerprint *expected; // during connect only
    bool peer_refused;                     // the handshake showed another key than expected
    uint8_t binding[BR_TLS_BINDING_BYTES];
    char peer_text[BR_ADDRESS_TEXT_BYTES];

    // The thread. Everything above is its own once it runs.
    bool started;
    pthread_t thread;
    int wake_fd;

    pthread_mutex_t lock; // guards what follows
    pthread_cond_t can_send, can_receive;
    struct br_tls_queue sending, received, spare;
    struct br_err death; // code set: the channel's functions fail with it
    bool welcomed;       // the client was let in
    bool asleep;         // the thread waits in poll()
    bool stop;           // end now
    bool finish;         // end when everything is sent and the peer closed
    bool ended;          // the thread won't do anything more
    bool goodbye;        // death is to be told to the peer
    uint64_t wanted_rate;
    uint64_t end_by_ns; // after goodbye or finish
};

/** br_tls_start - start the thread; nothing is sent yet */
BR_MUST_CHECK int br_tls_start(struct br_tls *tls, struct br_err *reterr);
/** br_tls_queue_frame - queue a frame of the connection's own (any kind but MESSAGE), unless memory is short or the connection dead */
void br_tls_queue_frame(struct br_tls *tls, enum br_frame_kind kind, const void *payload, size_t len);
/** br_tls_await_welcome - until the server's first frame came */
BR_MUST_CHECK int br_tls_await_welcome(struct br_tls *tls, uint64_t deadline_ns, struct br_err *reterr);
/** br_tls_free - ends the thread if it runs and frees everything */
void br_tls_free(struct br_tls *tls);
/** br_tls_error - what OpenSSL's error queue means, as an error about this peer; empties the queue */
int br_tls_error(const struct br_tls *tls, const char *doing, struct br_err *reterr);

#endif
