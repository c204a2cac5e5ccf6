// SPDX-License-Identifier: Apache-2.0
//
// A connection's thread. It alone touches the TLS state and the socket; the session's thread talks to it through two bounded queues:
//
//     session --send()--> sending  --SSL_write--> wire.out --> socket
//     session <--recv()-- received <--SSL_read--- wire.in  <-- socket
//
// A full `received` stops the reading (TCP then stops the peer), a full `sending` blocks send(). While nothing is read the peer can't be
// called dead, so its silence counts from when reading goes on.
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/net/clock.h"
#include "engine/net/tls_wire.h"

#define BR_TLS_WATCH_NS   (BR_NS_PER_S / 2)
#define BR_TLS_GOODBYE_NS (2 * BR_NS_PER_S)

struct br_tls_item {
    struct br_tls_item *next;
    struct br_buf bytes; // when sending the frame word is its first four bytes
    size_t done;         // bytes already given to TLS
    bool begun;          // the thread works on it: it stays, and stays first
};

// What an item costs beside its bytes, or a peer's one-byte messages would take a hundred times the queue's bound.
#define BR_TLS_ITEM_BYTES  512u
#define BR_TLS_SPARE_LEAST (64u * 1024u) // a smaller buffer is not worth keeping
#define BR_TLS_READS_MAX   16            // of the socket, before sending gets its turn

// Queues (under the lock, or not shared yet) ------------------------------------------------------------------------------

static void br_tls_push(struct br_tls_queue *queue, struct br_tls_item *item)
{
    item->next = NULL;
    *(queue->tail ? &queue->tail->next : &queue->head) = item;
    queue->tail = item;
    queue->bytes += item->bytes.len + BR_TLS_ITEM_BYTES;
}

static struct br_tls_item *br_tls_pop(struct br_tls_queue *queue)
{
    struct br_tls_item *item = queue->head;

    if (item) {
        queue->head = item->next;
        queue->tail = item->next ? queue->tail : NULL;
        queue->bytes -= item->bytes.len + BR_TLS_ITEM_BYTES;
    }
    return item;
}

static void br_tls_item_free(struct br_tls_item *item)
{
    if (item) {
        br_buf_free(&item->bytes);
        free(item);
    }
}

static void br_tls_clear(struct br_tls_queue *queue)
{
    struct br_tls_item *item;

    while ((item = br_tls_pop(queue))) {
        br_tls_item_free(item);
    }
}

// Buffers that were used are used again: a few MiB of them, so that a stream of large messages faults in no pages.
static struct br_tls_item *br_tls_item_get(struct br_tls *tls, size_t capacity)
{
    struct br_tls_item *item = NULL;

    pthread_mutex_lock(&tls->lock);
    if (capacity >= BR_TLS_SPARE_LEAST && tls->spare.head) {
        item = tls->spare.head;
        tls->spare.head = item->next;
        tls->spare.bytes -= item->bytes.capacity;
    }
    pthread_mutex_unlock(&tls->lock);
    item = item ? item : calloc(1, sizeof(*item));
    if (item) {
        br_buf_reset(&item->bytes);
        item->done = 0;
        item->begun = false;
        if (!br_buf_reserve(&item->bytes, capacity)) {
            br_tls_item_free(item);
            item = NULL;
        }
    }
    return item;
}

static void br_tls_item_put_locked(struct br_tls *tls, struct br_tls_item *item)
{
    if (item->bytes.capacity < BR_TLS_SPARE_LEAST ||
        tls->spare.bytes + item->bytes.capacity > tls->options.queue_bytes / 2) {
        br_tls_item_free(item);
        return;
    }
    tls->spare.bytes += item->bytes.capacity;
    item->next = tls->spare.head;
    tls->spare.head = item;
}

static void br_tls_wake_locked(struct br_tls *tls)
{
    if (tls->asleep) {
        uint64_t one = 1;
        tls->asleep = false;
        ssize_t written = write(tls->wake_fd, &one, sizeof(one)); // can only fail when it is far from 0 already
        (void)written;
    }
}

// Dying -------------------------------------------------------------------------------------------------------------------

static void br_tls_die_locked(struct br_tls *tls, const struct br_err *why)
{
    if (!tls->death.code) {
        tls->death = *why;
    }
    pthread_cond_broadcast(&tls->can_send);
    pthread_cond_broadcast(&tls->can_receive);
}

static void br_tls_end(struct br_tls *tls, const struct br_err *why)
{
    pthread_mutex_lock(&tls->lock);
    tls->ended = true;
    br_tls_die_locked(tls, why);
    pthread_mutex_unlock(&tls->lock);
}

// What was not begun is dropped; a frame that TLS has half of must go out whole, or the goodbye behind it would be read as its rest.
static void br_tls_goodbye_locked(struct br_tls *tls, int code, const char *text)
{
    struct br_err why = {.code = code};
    struct br_buf payload = {0};
    char told[BR_GOODBYE_TEXT_BYTES];

    if (tls->death.code || tls->ended) {
        return;
    }
    snprintf(why.text, sizeof(why.text), "%s", text);
    snprintf(told, sizeof(told), "%s", text);
    struct br_tls_item *begun = tls->sending.head && tls->sending.head->begun ? br_tls_pop(&tls->sending) : NULL;
    br_tls_clear(&tls->sending);
    if (begun) {
        br_tls_push(&tls->sending, begun);
    }
    br_tls_clear(&tls->received);
    br_tls_die_locked(tls, &why);
    br_buf_string(&payload, br_err_name(code));
    br_buf_string(&payload, told);
    struct br_tls_item *item = calloc(1, sizeof(*item));
    if (item) {
        br_buf_u32(&item->bytes, br_frame_word(BR_FRAME_GOODBYE, payload.len));
        br_buf_append(&item->bytes, payload.data, payload.len);
    }
    if (!item || br_buf_failed(&item->bytes) || br_buf_failed(&payload)) {
        br_tls_item_free(item);
    } else {
        br_tls_push(&tls->sending, item);
    }
    br_buf_free(&payload);
    if (!tls->finish) {
        tls->end_by_ns = br_clock_ns() + BR_TLS_GOODBYE_NS;
    }
    tls->goodbye = true;
    br_tls_wake_locked(tls);
}

void br_tls_goodbye(struct br_tls *tls, int code, const char *text)
{
    pthread_mutex_lock(&tls->lock);
    br_tls_goodbye_locked(tls, code, text);
    pthread_mutex_unlock(&tls->lock);
}

void br_tls_queue_frame(struct br_tls *tls, enum br_frame_kind kind, const void *payload, size_t len)
{
    struct br_tls_item *item = calloc(1, sizeof(*item));

    if (item) {
        br_buf_u32(&item->bytes, br_frame_word(kind, len));
        br_buf_append(&item->bytes, payload, len);
    }
    if (!item || br_buf_failed(&item->bytes)) {
        br_tls_item_free(item);
        return;
    }
    pthread_mutex_lock(&tls->lock);
    if (tls->death.code) {
        br_tls_item_free(item);
    } else {
        br_tls_push(&tls->sending, item);
        br_tls_wake_locked(tls);
    }
    pthread_mutex_unlock(&tls->lock);
}

// Sending (on the thread) -------------------------------------------------------------------------------------------------

static int br_tls_encrypt_item(struct br_tls *tls, struct br_tls_item *item, struct br_err *reterr)
{
    while (item->done < item->bytes.len && tls->wire.out_len < BR_TLS_WIRE_OUT_BYTES) {
        size_t put = 0;
        ERR_clear_error();
        if (SSL_write_ex(tls->ssl, item->bytes.data + item->done, item->bytes.len - item->done, &put) != 1) {
            int why = SSL_get_error(tls->ssl, 0);
            if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ) {
                return 0;
            }
            return br_tls_error(tls, "sending", reterr);
        }
        item->done += put;
    }
    return 0;
}

static int br_tls_encrypt(struct br_tls *tls, uint64_t *since_rekey_bytes, struct br_err *reterr)
{
    while (tls->wire.out_len < BR_TLS_WIRE_OUT_BYTES) {
        pthread_mutex_lock(&tls->lock);
        struct br_tls_item *item = tls->sending.head; // stays first: only this thread takes it out once begun
        if (item && !item->begun) {
            item->begun = true;
            *since_rekey_bytes += item->bytes.len;
        }
        pthread_mutex_unlock(&tls->lock);
        if (!item) {
            return 0;
        }
        if (*since_rekey_bytes > tls->options.rekey_bytes && !item->done) {
            *since_rekey_bytes = 0;
            if (SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
                return br_tls_error(tls, "changing keys", reterr);
            }
        }
        int rc = br_tls_encrypt_item(tls, item, reterr);
        if (rc || item->done < item->bytes.len) {
            return rc;
        }
        pthread_mutex_lock(&tls->lock);
        br_tls_item_put_locked(tls, br_tls_pop(&tls->sending));
        pthread_cond_broadcast(&tls->can_send);
        pthread_mutex_unlock(&tls->lock);
    }
    return 0;
}

static int br_tls_send_all(struct br_tls *tls, uint64_t *since_rekey_bytes, struct br_err *reterr)
{
    for (;;) {
        int rc = br_tls_encrypt(tls, since_rekey_bytes, reterr);
        if (rc || !br_tls_wire_pending(&tls->wire)) {
            return rc;
        }
        int failed = br_tls_wire_send(&tls->wire);
        if (failed) {
            return br_err_set(reterr, failed == -ETIMEDOUT ? BR_E_TIMEOUT : BR_E_PEER, "sending to %s: %s",
                              tls->peer_text, strerror(-failed));
        }
        if (br_tls_wire_pending(&tls->wire)) {
            return 0; // the socket or the rate has enough for now
        }
    }
}

// Receiving (on the thread) -----------------------------------------------------------------------------------------------

// What is being received: a frame word, then its payload.
struct br_tls_incoming {
    uint8_t word[BR_FRAME_WORD_BYTES];
    size_t word_len;
    enum br_frame_kind kind;
    size_t payload_bytes;
    struct br_tls_item *item;
};

static int br_tls_deliver(struct br_tls *tls, struct br_tls_incoming *incoming, struct br_err *reterr)
{
    struct br_tls_item *item = incoming->item;
    int rc = 0;

    incoming->item = NULL;
    incoming->word_len = 0;
    pthread_mutex_lock(&tls->lock);
    if (incoming->kind == BR_FRAME_GOODBYE) {
        rc = br_goodbye_parse(item->bytes.data, item->bytes.len, tls->peer_text, reterr);
    } else if (incoming->kind == BR_FRAME_WELCOME) {
        if (tls->server || tls->welcomed) {
            rc = br_err_set(reterr, BR_E_PROTOCOL, "%s sent a second welcome", tls->peer_text);
        }
        tls->welcomed = true;
        pthread_cond_broadcast(&tls->can_receive);
    } else if (!tls->server && !tls->welcomed) {
        rc = br_err_set(reterr, BR_E_PROTOCOL, "%s spoke before its welcome", tls->peer_text);
    } else if (incoming->kind == BR_FRAME_MESSAGE && !tls->finish && !tls->goodbye) {
        br_tls_push(&tls->received, item);
        pthread_cond_broadcast(&tls->can_receive);
        item = NULL;
    }
    if (item) {
        br_tls_item_put_locked(tls, item);
    }
    pthread_mutex_unlock(&tls->lock);
    return rc;
}

// Up to @len bytes of plain text. Returns how many, 0 when TLS needs more from the socket.
static int br_tls_read(struct br_tls *tls, void *to, size_t len, struct br_err *reterr)
{
    size_t got = 0;

    ERR_clear_error();
    if (SSL_read_ex(tls->ssl, to, BR_MIN(len, (size_t)INT_MAX), &got) == 1) {
        return (int)got;
    }
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return 0;
    case SSL_ERROR_ZERO_RETURN: return br_err_set(reterr, BR_E_PEER, "%s closed the connection", tls->peer_text);
    default:
        if (tls->wire.in_eof) {
            ERR_clear_error();
            return br_err_set(reterr, BR_E_PEER, "the connection with %s was cut", tls->peer_text);
        }
        return br_tls_error(tls, "receiving", reterr);
    }
}

static int br_tls_read_payload(struct br_tls *tls, struct br_tls_incoming *incoming, struct br_err *reterr)
{
    struct br_tls_item *item = incoming->item;

    while (item->bytes.len < incoming->payload_bytes) {
        int got =
            br_tls_read(tls, item->bytes.data + item->bytes.len, incoming->payload_bytes - item->bytes.len, reterr);
        if (got <= 0) {
            return got;
        }
        item->bytes.len += (size_t)got;
    }
    int rc = br_tls_deliver(tls, incoming, reterr);
    return rc ? rc : 1;
}

// One step: 1 there may be more, 0 nothing more now.
static int br_tls_read_some(struct br_tls *tls, struct br_tls_incoming *incoming, struct br_err *reterr)
{
    if (incoming->item) {
        return br_tls_read_payload(tls, incoming, reterr);
    }
    int got = br_tls_read(tls, incoming->word + incoming->word_len, BR_FRAME_WORD_BYTES - incoming->word_len, reterr);
    if (got <= 0) {
        return got;
    }
    incoming->word_len += (size_t)got;
    if (incoming->word_len < BR_FRAME_WORD_BYTES) {
        return 1;
    }
    int rc = br_frame_parse(br_get_u32(incoming->word), &incoming->kind, &incoming->payload_bytes, reterr);
    if (rc) {
        (void)br_err_prefix(reterr, "%s sent nonsense", tls->peer_text);
        return rc;
    }
    if (incoming->payload_bytes == 0) {
        rc = br_tls_deliver(tls, incoming, reterr);
        return rc ? rc : 1;
    }
    incoming->item = br_tls_item_get(tls, incoming->payload_bytes);
    if (!incoming->item) {
        return br_err_set(reterr, BR_E_NOMEM, "a message of %zu bytes from %s", incoming->payload_bytes,
                          tls->peer_text);
    }
    return 1;
}

static bool br_tls_has_room(struct br_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    bool room = tls->received.bytes < tls->options.queue_bytes / 2;
    pthread_mutex_unlock(&tls->lock);
    return room;
}

struct br_tls_loop {
    struct br_tls_incoming incoming;
    uint64_t since_rekey_bytes;
    uint64_t watch_at_ns;
    bool room;        // reading goes on; the session's thread has not enough to do yet
    bool more;        // there is more to read at once
    bool told_closed; // close_notify is made
};

// Takes what came, but not for ever: a peer that never pauses must not keep us from sending.
static int br_tls_receive_all(struct br_tls *tls, struct br_tls_loop *loop, struct br_err *reterr)
{
    int more = 1, reads = 0;

    while (more > 0) {
        loop->room = br_tls_has_room(tls);
        loop->more = loop->room && reads == BR_TLS_READS_MAX;
        if (!loop->room || loop->more) {
            return 0;
        }
        more = br_tls_read_some(tls, &loop->incoming, reterr);
        if (more == 0 && !tls->wire.in_eof) {
            more = br_tls_wire_receive(&tls->wire);
            reads++;
            if (more < 0) {
                return br_err_set(reterr, more == -ETIMEDOUT ? BR_E_TIMEOUT : BR_E_PEER,
                                  "the connection with %s failed: %s", tls->peer_text, strerror(-more));
            }
        }
    }
    return more;
}

// The thread --------------------------------------------------------------------------------------------------------------

// Whether nothing but the end is still to come.
static bool br_tls_leaving(struct br_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    bool leaving = tls->goodbye || tls->finish;
    pthread_mutex_unlock(&tls->lock);
    return leaving;
}

// What time alone asks for: a heartbeat, the watch, a new rate.
static void br_tls_tick(struct br_tls *tls, struct br_tls_loop *loop)
{
    uint64_t now = br_clock_ns();
    struct br_err why = {0};

    pthread_mutex_lock(&tls->lock);
    bool idle = !tls->sending.head && !br_tls_wire_pending(&tls->wire);
    br_tls_bucket_set(&tls->wire.sending, tls->wanted_rate);
    pthread_mutex_unlock(&tls->lock);
    if (br_tls_leaving(tls)) {
        return;
    }
    if (idle && now - tls->wire.sent_ns >= tls->options.idle_ns) {
        tls->wire.sent_ns = now;
        br_tls_queue_frame(tls, BR_FRAME_HEARTBEAT, NULL, 0);
    }
    if (tls->options.watch && now >= loop->watch_at_ns) {
        loop->watch_at_ns = now + BR_TLS_WATCH_NS;
        if (tls->options.watch(tls->options.watch_ctx, &why)) {
            br_tls_goodbye(tls, why.code ? why.code : BR_E_PEER, why.text);
        }
    }
}

// close_notify, once, and our half of the TCP connection closed behind it.
static void br_tls_tell_closed(struct br_tls *tls, struct br_tls_loop *loop)
{
    if (!loop->told_closed) {
        loop->told_closed = true;
        ERR_clear_error();
        SSL_shutdown(tls->ssl);
        ERR_clear_error();
    }
    if (!br_tls_wire_send(&tls->wire) && !br_tls_wire_pending(&tls->wire)) {
        shutdown(tls->wire.fd, SHUT_WR);
    }
}

// After a goodbye, or when the session is over: 1 it took too long.
static int br_tls_leave(struct br_tls *tls, struct br_tls_loop *loop, struct br_err *reterr)
{
    pthread_mutex_lock(&tls->lock);
    bool leaving = tls->goodbye || tls->finish;
    bool sent = !tls->sending.head && !br_tls_wire_pending(&tls->wire);
    bool late = leaving && br_clock_ns() >= tls->end_by_ns;
    pthread_mutex_unlock(&tls->lock);
    if (late) {
        (void)br_err_set(reterr, BR_E_TIMEOUT, "%s did not take the end of the session in time", tls->peer_text);
        return 1;
    }
    if (leaving && (sent || loop->told_closed)) {
        br_tls_tell_closed(tls, loop);
    }
    return 0;
}

// Until when nothing but the socket or the session can give us work.
static uint64_t br_tls_next_event_ns(struct br_tls *tls, const struct br_tls_loop *loop)
{
    uint64_t until = UINT64_MAX;

    if (loop->room) {
        uint64_t at = br_tls_wire_receive_at_ns(&tls->wire);
        until = at ? at : tls->wire.received_ns + tls->options.dead_ns;
    }
    if (br_tls_wire_pending(&tls->wire)) {
        uint64_t at = br_tls_wire_send_at_ns(&tls->wire);
        until = at ? BR_MIN(until, at) : until;
    }
    if (br_tls_leaving(tls)) {
        return BR_MIN(until, tls->end_by_ns); // set before the flags, never changed after
    }
    if (!br_tls_wire_pending(&tls->wire)) {
        until = BR_MIN(until, tls->wire.sent_ns + tls->options.idle_ns);
    }
    return tls->options.watch ? BR_MIN(until, loop->watch_at_ns) : until;
}

static int br_tls_sleep(struct br_tls *tls, struct br_tls_loop *loop, struct br_err *reterr)
{
    uint64_t until = br_tls_next_event_ns(tls, loop), ignored;
    struct pollfd fds[2] = {{.fd = tls->wire.fd}, {.fd = tls->wake_fd, .events = POLLIN}};
    bool blocked = br_tls_wire_pending(&tls->wire) != 0;

    fds[0].events |= loop->room && !tls->wire.in_eof && !br_tls_wire_receive_at_ns(&tls->wire) ? POLLIN : 0;
    fds[0].events |= blocked && !br_tls_wire_send_at_ns(&tls->wire) ? POLLOUT : 0;
    if (fds[0].events == 0) {
        fds[0].fd = -1; // or a POLLHUP would be reported again and again
    }
    pthread_mutex_lock(&tls->lock);
    bool work = loop->more || tls->stop || (tls->sending.head && !blocked) ||
                tls->wire.sending.rate != tls->wanted_rate ||
                (!loop->room && tls->received.bytes < tls->options.queue_bytes / 2);
    tls->asleep = !work;
    pthread_mutex_unlock(&tls->lock);
    int ready = poll(fds, 2, work ? 0 : br_clock_ms_until(until));
    pthread_mutex_lock(&tls->lock);
    tls->asleep = false;
    pthread_mutex_unlock(&tls->lock);
    if (ready > 0 && fds[1].revents) {
        ssize_t got = read(tls->wake_fd, &ignored, sizeof(ignored)); // fails only when it is 0 already
        (void)got;
    }
    if (ready == 0 && !work && (fds[0].events & POLLIN) &&
        br_clock_ns() >= tls->wire.received_ns + tls->options.dead_ns) {
        return br_err_set(reterr, BR_E_TIMEOUT, "nothing came from %s for %.3g s", tls->peer_text,
                          (double)tls->options.dead_ns / (double)BR_NS_PER_S);
    }
    return 0;
}

static int br_tls_step(struct br_tls *tls, struct br_tls_loop *loop, struct br_err *reterr)
{
    bool had_room = loop->room;
    int rc = br_tls_send_all(tls, &loop->since_rekey_bytes, reterr);

    if (rc == -BR_E_PEER) { // what the peer said before it went explains more than "broken pipe"
        struct br_err said = {0};
        if (br_tls_receive_all(tls, loop, &said) < 0) {
            *reterr = said;
            return -said.code;
        }
    }
    rc = rc ? rc : br_tls_receive_all(tls, loop, reterr);
    if (!had_room && loop->room) {
        tls->wire.received_ns = br_clock_ns();
    }
    if (!rc) {
        br_tls_tick(tls, loop);
        rc = br_tls_send_all(tls, &loop->since_rekey_bytes, reterr);
    }
    rc = rc ? rc : br_tls_leave(tls, loop, reterr);
    return rc ? rc : br_tls_sleep(tls, loop, reterr);
}

static void *br_tls_main(void *ctx)
{
    struct br_tls *tls = ctx;
    struct br_tls_loop loop = {.room = true};
    struct br_err why = {0};
    int rc = 0;

    tls->wire.received_ns = tls->wire.sent_ns = br_clock_ns();
    br_tls_bucket_set(&tls->wire.receiving, tls->options.receive_bytes_per_second);
    while (!rc) {
        pthread_mutex_lock(&tls->lock);
        bool stop = tls->stop;
        pthread_mutex_unlock(&tls->lock);
        if (stop) {
            (void)br_err_set(&why, BR_E_PEER, "the connection with %s was closed", tls->peer_text);
            break;
        }
        rc = br_tls_step(tls, &loop, &why);
    }
    br_tls_item_free(loop.incoming.item);
    br_tls_tell_closed(tls, &loop); // or the alert of what went wrong; if the socket takes it at once
    if (rc && rc != -BR_E_PEER) {
        shutdown(tls->wire.fd, SHUT_RDWR);
    }
    br_tls_end(tls, &why);
    return NULL;
}

int br_tls_start(struct br_tls *tls, struct br_err *reterr)
{
    sigset_t all, before;

    tls->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (tls->wake_fd < 0) {
        return br_err_os(reterr, errno, "starting the connection with %s", tls->peer_text);
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&tls->thread, NULL, br_tls_main, tls);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        return br_err_os(reterr, failed, "starting the connection with %s", tls->peer_text);
    }
    tls->started = true;
    return 0;
}

void br_tls_free(struct br_tls *tls)
{
    if (tls->started) {
        pthread_mutex_lock(&tls->lock);
        tls->stop = true;
        br_tls_wake_locked(tls);
        pthread_mutex_unlock(&tls->lock);
        pthread_join(tls->thread, NULL);
    }
    ERR_clear_error();
    br_tls_clear(&tls->sending);
    br_tls_clear(&tls->received);
    while (tls->spare.head) {
        struct br_tls_item *item = tls->spare.head;
        tls->spare.head = item->next;
        br_tls_item_free(item);
    }
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->context);
    br_tls_wire_close(&tls->wire);
    if (tls->wake_fd >= 0) {
        close(tls->wake_fd);
    }
    pthread_cond_destroy(&tls->can_send);
    pthread_cond_destroy(&tls->can_receive);
    pthread_mutex_destroy(&tls->lock);
    free(tls);
}

// The channel (on the session's thread) -------------------------------------------------------------------------------------

// Waits on @cond until @deadline_ns; false when that has passed.
static bool br_tls_wait_on(struct br_tls *tls, pthread_cond_t *cond, uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX) {
        pthread_cond_wait(cond, &tls->lock);
        return true;
    }
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / BR_NS_PER_S),
                             .tv_nsec = (long)(deadline_ns % BR_NS_PER_S)};
    return pthread_cond_timedwait(cond, &tls->lock, &until) != ETIMEDOUT;
}

static int br_tls_died(const struct br_tls *tls, struct br_err *reterr)
{
    if (reterr) {
        *reterr = tls->death;
    }
    return -tls->death.code;
}

static int br_tls_send(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len,
                       struct br_err *reterr)
{
    struct br_tls *tls = ctx;
    size_t len = head_len + body_len;

    if (len == 0 || len > BR_MESSAGE_BYTES_MAX) {
        return br_err_set(reterr, BR_E_INTERNAL, "a message of %zu bytes is not sent", len);
    }
    struct br_tls_item *item = br_tls_item_get(tls, BR_FRAME_WORD_BYTES + len);
    if (!item) {
        return br_err_set(reterr, BR_E_NOMEM, "a message of %zu bytes to %s", len, tls->peer_text);
    }
    br_buf_u32(&item->bytes, br_frame_word(BR_FRAME_MESSAGE, len));
    br_buf_append(&item->bytes, head, head_len);
    if (body_len) {
        br_buf_append(&item->bytes, body, body_len);
    }
    pthread_mutex_lock(&tls->lock);
    while (!tls->death.code && tls->sending.bytes && tls->sending.bytes + len > tls->options.queue_bytes) {
        pthread_cond_wait(&tls->can_send, &tls->lock);
    }
    int rc = tls->death.code ? br_tls_died(tls, reterr) : 0;
    if (rc) {
        br_tls_item_free(item);
    } else {
        br_tls_push(&tls->sending, item);
        br_tls_wake_locked(tls);
    }
    pthread_mutex_unlock(&tls->lock);
    return rc;
}

static int br_tls_recv(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr)
{
    struct br_tls *tls = ctx;
    uint64_t now = br_clock_ns();
    uint64_t deadline_ns = timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
    int rc = 0;

    br_buf_reset(message);
    pthread_mutex_lock(&tls->lock);
    bool in_time = true;
    while (!tls->received.head && !tls->death.code && in_time) {
        in_time = br_tls_wait_on(tls, &tls->can_receive, deadline_ns);
    }
    struct br_tls_item *item = br_tls_pop(&tls->received);
    if (item) {
        struct br_buf taken =
            item->bytes; // the caller gets the buffer itself, and its old one is used for another message
        item->bytes = *message;
        *message = taken;
        br_tls_item_put_locked(tls, item);
        br_tls_wake_locked(tls);
        rc = 1;
    } else if (tls->death.code) {
        rc = br_tls_died(tls, reterr);
    }
    pthread_mutex_unlock(&tls->lock);
    return rc;
}

static uint64_t br_tls_sent_bytes(void *ctx)
{
    struct br_tls *tls = ctx;
    return __atomic_load_n(&tls->wire.sent_bytes, __ATOMIC_RELAXED);
}

static void br_tls_close(void *ctx)
{
    br_tls_free(ctx);
}

struct br_channel br_tls_channel(struct br_tls *tls)
{
    static const struct br_channel_ops ops = {
        .send = br_tls_send, .recv = br_tls_recv, .sent_bytes = br_tls_sent_bytes, .close = br_tls_close};

    return (struct br_channel){.ops = &ops, .ctx = tls};
}

void br_tls_set_rate(struct br_tls *tls, uint64_t bytes_per_second)
{
    pthread_mutex_lock(&tls->lock);
    tls->wanted_rate = bytes_per_second;
    br_tls_wake_locked(tls);
    pthread_mutex_unlock(&tls->lock);
}

void br_tls_finish(struct br_tls *tls, uint64_t timeout_ns)
{
    pthread_mutex_lock(&tls->lock);
    uint64_t deadline_ns = br_clock_ns() + timeout_ns;
    if (!tls->finish) {
        tls->end_by_ns = tls->goodbye ? tls->end_by_ns : deadline_ns;
        tls->finish = true;
        br_tls_clear(&tls->received);
        br_tls_wake_locked(tls);
    }
    bool in_time = true;
    while (!tls->ended && in_time) {
        in_time = br_tls_wait_on(tls, &tls->can_receive, deadline_ns);
    }
    pthread_mutex_unlock(&tls->lock);
}

int br_tls_await_welcome(struct br_tls *tls, uint64_t deadline_ns, struct br_err *reterr)
{
    int rc = 0;

    pthread_mutex_lock(&tls->lock);
    bool in_time = true;
    while (!tls->welcomed && !tls->death.code && in_time && !br_clock_cancelled(tls->options.cancel)) {
        uint64_t look_ns = br_clock_ns() + BR_CLOCK_LOOK_MS * BR_NS_PER_MS;
        br_tls_wait_on(tls, &tls->can_receive, BR_MIN(look_ns, deadline_ns));
        in_time = br_clock_ns() < deadline_ns;
    }
    if (!tls->welcomed) {
        rc = tls->death.code ? br_tls_died(tls, reterr)
             : br_clock_cancelled(tls->options.cancel)
                 ? br_err_set(reterr, BR_E_CANCELLED, "waiting for %s to let us in", tls->peer_text)
                 : br_err_set(reterr, BR_E_TIMEOUT, "%s did not let us in in time", tls->peer_text);
    }
    pthread_mutex_unlock(&tls->lock);
    return rc;
}
