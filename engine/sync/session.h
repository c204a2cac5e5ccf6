// SPDX-License-Identifier: Apache-2.0
//
// The server's side of a sync session: messages in, messages out. It knows neither sockets nor files: messages come from and go to a
// channel, and the host (blkrep serve, or a test) opens volumes, which are endpoints (engine/sync/local.h).
//
//     GREETING --HELLO--> GREETED --OPEN--> OPEN --BEGIN--> RECEIVING --COMMIT or ABORT--> OPEN
//                                                               | a frame fails: ERROR, then frames are passed over
//     BYE anywhere ends it well. What is out of place, or not as the protocol says, ends it: ERROR PROTOCOL, and the host closes.
//
// What a peer can ask for is bounded: one volume per session, messages of BR_WIRE_MESSAGE_BYTES_MAX, 64 nodes or 16384 held blocks per
// request, frames within its credit. Nothing of a frame is handed on before the stream decoder has checked it (G6), and before a delta begins the session looks
// itself whether the target may be overwritten (G8): the client's plan is not believed.
//
// A session that ends in any way closes its volume; a delta under way is aborted (what had come is kept for the next one).
#ifndef BR_SYNC_SESSION_H
#define BR_SYNC_SESSION_H

#include "engine/ring/ring.h"
#include "engine/sync/wire.h"

struct br_session;

// What the host gives for a volume that it opened.
struct br_session_volume {
    struct br_endpoint endpoint; // the session's from now on: it closes it
    bool may_write;   // of a plan: the client could write, were it to ask for that; in the session itself it may not
    bool may_replace; // may give up versions, or overwrite what is not this volume's replica
};

struct br_session_host {
    /**
     * open_volume - the client asks for a volume
     * @role             enum br_role, not checked yet: the host decides by what it knows of the client
     * @discard_damaged  an identity with two damaged slots counts as none
     * @plan             to be looked at only, but refused where a writer would be (a target in use, ...)
     * Errors: -BR_E_NOT_FOUND no such volume (or none for this client), -BR_E_AUTH the role is not the client's, -BR_E_BUSY, ...
     */
    int (*open_volume)(void *ctx, const char *volume, uint8_t role, bool discard_damaged, bool plan,
                       struct br_session_volume *ret_volume, struct br_err *reterr);
    /** begun - the first of a delta to @volume is taken in; not called for one that is given up empty; for logs. NULL: not wanted */
    void (*begun)(void *ctx, const char *volume, const struct br_delta_header *header);
    /** finished - a commit ended; @err code 0: a new version; for logs. NULL: not wanted */
    void (*finished)(void *ctx, const char *volume, const struct br_delta_header *header,
                     const struct br_replica_result *result, const struct br_err *err);
    void *ctx;
};

struct br_session_params {
    struct br_channel channel; // the caller's; used, not closed
    struct br_ring *ring;      // of the endpoints
    struct br_session_host host;
    uint64_t credit_bytes; // 0: BR_WIRE_CREDIT_BYTES
    const char *program;   // name and version, for WELCOME; copied
};

/** br_session_open - a session that waits for HELLO; -BR_E_NOMEM */
BR_MUST_CHECK int br_session_open(const struct br_session_params *params, struct br_session **ret_session,
                                  struct br_err *reterr);
/** br_session_close - aborts a delta under way, waits for batches that the replica still holds, closes the volume; NULL is fine */
void br_session_close(struct br_session *session);
/**
 * br_session_message - take one message
 * @message  its memory may be exchanged for another (data is not copied); content undefined afterwards
 * Returns 0 go on; 1 the client said BYE; an error that ends the session: -BR_E_PROTOCOL and -BR_E_VERSION were told to the client,
 * -BR_E_PEER and -BR_E_TIMEOUT come from the channel. What a request fails with is told to the client and is no error here.
 */
BR_MUST_CHECK int br_session_message(struct br_session *session, struct br_buf *message, struct br_err *reterr);
/** br_session_busy - the replica still works on batches that it was given: the host must run the ring meanwhile */
bool br_session_busy(const struct br_session *session);
/** br_session_tick - tell the client what was let go since; for hosts with a loop of their own, after they ran the ring */
BR_MUST_CHECK int br_session_tick(struct br_session *session, struct br_err *reterr);
/**
 * br_session_serve - the host's loop: receive, handle, run the ring, until the session ends
 * @stop  looked at twice a second between messages; NULL never. The client is told ERROR CANCELLED.
 * Returns 0 after BYE, or the error that ended it
 */
BR_MUST_CHECK int br_session_serve(struct br_session *session, const volatile bool *stop, struct br_err *reterr);

#endif
