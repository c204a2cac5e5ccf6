// SPDX-License-Identifier: Apache-2.0
//
// A network between a client and a session in one thread: what the client sends waits in a queue, and while the client receives (or polls)
// the session is run over what waits. How far the session gets at each poll follows from a seed. The network can be cut or can stall at the n-th
// message, counted over both directions.
#ifndef T_LINK_H
#define T_LINK_H

#include "engine/ring/sim.h"
#include "engine/sync/session.h"
#include "tests/lib/t_env.h"

enum t_link_fault {
    T_LINK_SOUND,
    T_LINK_CUT,   // both sides see the network fail; what was on its way is lost
    T_LINK_STALL, // nothing arrives any more; the client's keep-alive notices
};

struct t_message {
    struct t_message *next;
    struct br_buf bytes;
};
struct t_messages {
    struct t_message *head, **tail;
};

struct t_link {
    struct t_messages to_server;
    struct t_messages to_client;
    struct br_session *session; // NULL: closed
    struct br_ring *server_ring;
    struct t_rand rand;
    enum t_link_fault fault;
    unsigned fault_at;                 // strikes instead of this message; 0 never
    const struct br_sim *server_world; // when it has crashed the network is cut; NULL: not looked at
    unsigned messages;                 // sent so far, both directions
    bool struck;
    bool client_closed;
    int session_result; // of the last br_session_message(), 1 after BYE
    uint64_t sent_bytes;
    uint64_t taken_bytes;      // data of the DATA frames that the session was given
    uint32_t capabilities_off; // bits that the client's HELLO loses on its way: a peer that does not have them
    unsigned idle;
};

/** t_link_open - a link, and the session at its far end; @ring is that of the session's volumes */
void t_link_open(struct t_link *link, uint64_t seed, struct br_ring *ring, const struct br_session_host *host,
                 uint64_t credit_bytes);
/** t_link_close - ends the session too */
void t_link_close(struct t_link *link);
/** t_link_client - the client's end as a channel; its close closes the session */
struct br_channel t_link_client(struct t_link *link);
/** t_link_end_session - the server is gone: closes the session as its host would */
void t_link_end_session(struct t_link *link);

#endif
