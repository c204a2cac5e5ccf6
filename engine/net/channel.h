// SPDX-License-Identifier: Apache-2.0
//
// A channel: an authenticated, ordered, reliable pipe of messages between two blkrep processes. TLS makes one (engine/net/tls.h), the
// simulator another (tests), so that sessions know neither sockets nor keys.
#ifndef BR_NET_CHANNEL_H
#define BR_NET_CHANNEL_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_MESSAGE_BYTES_MAX \
    (4u * 1024u * 1024u) // of one message, header included; a longer one is refused before it is read

struct br_channel_ops {
    /**
     * send - hand over one message, in two pieces so that bulk data needs no copy
     * May queue up to a bounded amount (credits) and return before it is on the wire; blocks when the bound is reached.
     * Errors: -BR_E_PEER -BR_E_TIMEOUT, also for what an earlier send queued; the channel is dead after either
     */
    int (*send)(void *ctx, const void *head, size_t head_len, const void *body, size_t body_len, struct br_err *reterr);
    /**
     * recv - the next message into @message (reset first)
     * Returns 1 a message; 0 nothing within @timeout_ns; -BR_E_PEER the peer closed or the network failed; -BR_E_PROTOCOL -BR_E_TIMEOUT (keep-alive lost)
     */
    int (*recv)(void *ctx, struct br_buf *message, uint64_t timeout_ns, struct br_err *reterr);
    /** sent_bytes - bytes put on the wire, transport overhead included as far as it is known */
    uint64_t (*sent_bytes)(void *ctx);
    /** close - flushes nothing; frees ctx */
    void (*close)(void *ctx);
};

struct br_channel {
    const struct br_channel_ops *ops;
    void *ctx;
};

#endif
