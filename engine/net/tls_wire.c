// SPDX-License-Identifier: Apache-2.0
#include "engine/net/tls_wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "engine/net/clock.h"

int br_tls_wire_open(struct br_tls_wire *wire, int fd, struct br_err *reterr)
{
    *wire = (struct br_tls_wire){.fd = fd};
    wire->in = malloc(BR_TLS_WIRE_IN_BYTES);
    wire->out = malloc(BR_TLS_WIRE_OUT_BYTES + BR_TLS_WIRE_OUT_SPARE);
    wire->received_ns = wire->sent_ns = br_clock_ns();
    if (!wire->in || !wire->out) {
        br_tls_wire_close(wire);
        return br_err_set(reterr, BR_E_NOMEM, "buffers of a connection");
    }
    return 0;
}

void br_tls_wire_close(struct br_tls_wire *wire)
{
    if (wire->fd >= 0) {
        close(wire->fd);
    }
    free(wire->in);
    free(wire->out);
    *wire = (struct br_tls_wire){.fd = -1};
}

// The BIO ---------------------------------------------------------------------------------------------------------------

static int br_tls_wire_bio_read(BIO *bio, char *to, int len)
{
    struct br_tls_wire *wire = BIO_get_data(bio);
    size_t take = BR_MIN((size_t)BR_MAX(len, 0), wire->in_len - wire->in_pos);

    BIO_clear_retry_flags(bio);
    if (!take) {
        if (wire->in_eof) {
            return 0;
        }
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, wire->in + wire->in_pos, take);
    wire->in_pos += take;
    return (int)take;
}

static int br_tls_wire_bio_write(BIO *bio, const char *from, int len)
{
    struct br_tls_wire *wire = BIO_get_data(bio);
    size_t room = BR_TLS_WIRE_OUT_BYTES + BR_TLS_WIRE_OUT_SPARE - wire->out_len;
    size_t take = BR_MIN((size_t)BR_MAX(len, 0), room);

    BIO_clear_retry_flags(bio);
    if (!take) {
        BIO_set_retry_write(bio);
        return -1;
    }
    memcpy(wire->out + wire->out_len, from, take);
    wire->out_len += take;
    return (int)take;
}

static long br_tls_wire_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    struct br_tls_wire *wire = BIO_get_data(bio);

    (void)number, (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF: return wire->in_eof && wire->in_pos == wire->in_len;
    case BIO_CTRL_PENDING: return (long)(wire->in_len - wire->in_pos);
    case BIO_CTRL_WPENDING: return (long)br_tls_wire_pending(wire);
    default: return 0;
    }
}

static BIO_METHOD *br_tls_wire_method;
static pthread_once_t br_tls_wire_method_once = PTHREAD_ONCE_INIT;

static void br_tls_wire_method_make(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "blkrep wire");

    if (method && BIO_meth_set_read(method, br_tls_wire_bio_read) &&
        BIO_meth_set_write(method, br_tls_wire_bio_write) && BIO_meth_set_ctrl(method, br_tls_wire_bio_ctrl)) {
        br_tls_wire_method = method;
    }
}

BIO *br_tls_wire_bio(struct br_tls_wire *wire)
{
    pthread_once(&br_tls_wire_method_once, br_tls_wire_method_make);
    BIO *bio = br_tls_wire_method ? BIO_new(br_tls_wire_method) : NULL;

    if (bio) {
        BIO_set_data(bio, wire);
        BIO_set_init(bio, 1);
    }
    return bio;
}

// Rates -----------------------------------------------------------------------------------------------------------------

void br_tls_bucket_set(struct br_tls_bucket *bucket, uint64_t rate)
{
    if (bucket->rate != rate) {
        *bucket = (struct br_tls_bucket){.rate = rate, .at_ns = br_clock_ns()};
    }
}

uint64_t br_tls_bucket_at_ns(struct br_tls_bucket *bucket, size_t want_bytes)
{
    uint64_t depth = BR_MAX(bucket->rate / 20, (uint64_t)BR_TLS_BUCKET_LEAST);
    uint64_t need = BR_MIN(want_bytes, (size_t)BR_TLS_BUCKET_LEAST);
    double ns_per_byte = bucket->rate ? (double)BR_NS_PER_S / (double)bucket->rate : 0;

    if (!bucket->rate) {
        return 0;
    }
    uint64_t now = br_clock_ns();
    uint64_t more = (uint64_t)((double)(now - bucket->at_ns) / ns_per_byte);
    if (more >= depth - bucket->tokens) {
        bucket->tokens = depth;
        bucket->at_ns = now;
    } else {
        bucket->tokens += more;
        bucket->at_ns += (uint64_t)((double)more * ns_per_byte);
    }
    if (bucket->tokens >= need) {
        return 0;
    }
    return bucket->at_ns + (uint64_t)((double)(need - bucket->tokens) * ns_per_byte) + 1;
}

static void br_tls_bucket_take(struct br_tls_bucket *bucket, size_t bytes)
{
    bucket->tokens -= bucket->rate ? BR_MIN((uint64_t)bytes, bucket->tokens) : 0;
}

// The socket ------------------------------------------------------------------------------------------------------------

int br_tls_wire_receive(struct br_tls_wire *wire)
{
    if (wire->in_pos == wire->in_len) {
        wire->in_pos = wire->in_len = 0;
    } else if (wire->in_len == BR_TLS_WIRE_IN_BYTES) {
        memmove(wire->in, wire->in + wire->in_pos, wire->in_len - wire->in_pos);
        wire->in_len -= wire->in_pos;
        wire->in_pos = 0;
    }
    if (wire->in_len == BR_TLS_WIRE_IN_BYTES || wire->in_eof || br_tls_wire_receive_at_ns(wire)) {
        return 0;
    }
    size_t room = BR_TLS_WIRE_IN_BYTES - wire->in_len;
    room = wire->receiving.rate ? BR_MIN(room, (size_t)wire->receiving.tokens) : room;
    ssize_t got = recv(wire->fd, wire->in + wire->in_len, room, MSG_DONTWAIT);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    if (!got) {
        wire->in_eof = true;
        return 1;
    }
    br_tls_bucket_take(&wire->receiving, (size_t)got);
    wire->in_len += (size_t)got;
    wire->received_ns = br_clock_ns();
    return 1;
}

int br_tls_wire_send(struct br_tls_wire *wire)
{
    while (br_tls_wire_pending(wire) && !br_tls_wire_send_at_ns(wire)) {
        size_t len = br_tls_wire_pending(wire);
        if (wire->sending.rate) {
            len = BR_MIN(len, (size_t)wire->sending.tokens);
        }
        ssize_t put = send(wire->fd, wire->out + wire->out_pos, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return errno == EAGAIN ? 0 : -errno;
        }
        wire->out_pos += (size_t)put;
        br_tls_bucket_take(&wire->sending, (size_t)put);
        wire->sent_ns = br_clock_ns();
        __atomic_add_fetch(&wire->sent_bytes, (uint64_t)put, __ATOMIC_RELAXED);
    }
    if (!br_tls_wire_pending(wire)) {
        wire->out_pos = wire->out_len = 0;
    }
    return 0;
}
