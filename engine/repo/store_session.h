// SPDX-License-Identifier: Apache-2.0
//
// The server's side of store_wire.h: messages in, messages out. It knows neither sockets nor files, nor who may do what: the host (blkrep serve,
// or a test) opens the repository that the client names, as a store that lets through what this client may (store_guard.h).
//
//     OPENING --OPEN--> OPEN --BYE--> OVER      what breaks the protocol ends it: ERROR with number 0, and the host closes
//
// What a peer can ask for is bounded: messages as store_wire.h bounds them, BR_STORE_SESSION_WRITES writes open, so many reads and bytes of them
// at once as the session has room for; a peer that asks for more waits. A write that is not ended when the session is leaves nothing.
#ifndef BR_REPO_STORE_SESSION_H
#define BR_REPO_STORE_SESSION_H

#include "engine/repo/store_wire.h"

#define BR_STORE_SESSION_WRITES 8u

struct br_store_session;

struct br_store_session_host {
    /**
     * open - the client asks for a repository
     * @role       enum br_role as it was sent, not checked yet: BR_ROLE_READER to read, BR_ROLE_WRITER to write too
     * @ret_store  the session's from now on: it closes it
     * @ret_role   what the client is there
     * Errors: -BR_E_NOT_FOUND no such repository, -BR_E_AUTH not for this client, ...
     */
    int (*open)(void *ctx, const char *repository, uint8_t role, struct br_store *ret_store, uint8_t *ret_role,
                struct br_err *reterr);
    /** stored - an object that is no pack was put, or something was removed; for logs. NULL: not wanted */
    void (*stored)(void *ctx, const char *name, bool removed);
    void *ctx;
};

struct br_store_session_params {
    struct br_channel channel; // the caller's; used, not closed
    struct br_ring *ring;      // of the stores
    struct br_store_session_host host;
    const char *program; // name and version, for OPENED; must outlive the session
};

/** br_store_session_open - a session that waits for OPEN; -BR_E_NOMEM */
BR_MUST_CHECK int br_store_session_open(const struct br_store_session_params *params,
                                        struct br_store_session **ret_session, struct br_err *reterr);
/** br_store_session_close - drops what is being written, waits for reads, closes the store; NULL is fine */
void br_store_session_close(struct br_store_session *session);
/**
 * br_store_session_message - take one message
 * Returns 0 go on; 1 the client said BYE; an error that ends the session, of which the client was told as far as the channel goes.
 * What a request fails with is told to the client and is no error here.
 */
BR_MUST_CHECK int br_store_session_message(struct br_store_session *session, const struct br_buf *message,
                                           struct br_err *reterr);
/** br_store_session_tick - answer the reads that have ended; for hosts with a loop of their own, after they ran the ring */
BR_MUST_CHECK int br_store_session_tick(struct br_store_session *session, struct br_err *reterr);
/** br_store_session_busy - reads are under way: the host must run the ring meanwhile */
bool br_store_session_busy(const struct br_store_session *session);
/**
 * br_store_session_serve - the host's loop: receive, handle, run the ring, until the session ends
 * @stop  looked at twice a second between messages; NULL never
 * Returns 0 after BYE, or the error that ended it
 */
BR_MUST_CHECK int br_store_session_serve(struct br_store_session *session, const volatile bool *stop,
                                         struct br_err *reterr);

#endif
