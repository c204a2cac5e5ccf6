// SPDX-License-Identifier: Apache-2.0
//
// A network between a client and a served store in one thread: while the client receives, the session at the far end is run over what the client
// has sent. It can be cut at the n-th message, counted over both directions.
#ifndef T_STORE_LINK_H
#define T_STORE_LINK_H

#include "engine/net/channel.h"
#include "engine/repo/store_session.h"

#define T_STORE_LINK_QUEUE 4096u

struct t_store_queue {
    struct br_buf messages[T_STORE_LINK_QUEUE];
    unsigned head, count;
};

struct t_store_link {
    struct br_store_session *session; // NULL: over
    struct br_ring *server_ring;
    struct t_store_queue to_server, to_client;
    unsigned messages; // so far
    unsigned cut_at;   // 0 never
    bool cut;
    uint64_t most_waiting; // bytes that waited for the server at once
};

/** t_store_link_open - a link, and the session at its far end; @ring is the server's */
void t_store_link_open(struct t_store_link *link, struct br_ring *ring, const struct br_store_session_host *host);
/** t_store_link_client - the client's end; its close ends the session */
struct br_channel t_store_link_client(struct t_store_link *link);
/** t_store_link_close - ends the session if it is not over, and drops what was on its way */
void t_store_link_close(struct t_store_link *link);

#endif
