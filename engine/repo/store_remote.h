// SPDX-License-Identifier: Apache-2.0
//
// A repository that blkrep serve keeps, as a store: the client's side of store_wire.h.
//
// Reads are pipelined: they are sent as they begin and answered as they end. Answers are received by a job of the ring, so that they come in
// while other work goes on; where the ring has workers, one of them may wait for the network. What the server says is bounded and checked
// for form; objects prove themselves. When the channel is lost, everything that is under way and all that follows fails with why.
#ifndef BR_REPO_STORE_REMOTE_H
#define BR_REPO_STORE_REMOTE_H

#include "engine/net/channel.h"
#include "engine/repo/store.h"

struct br_store_remote_params {
    struct br_channel channel; // the store's from now on, also on failure
    struct br_ring *ring;
    const char *repository;      // its name there
    const char *what;            // how messages name it; copied
    bool write;                  // to be written too
    const volatile bool *cancel; // ends every wait; NULL never
    const char *program;         // name and version, for OPEN
};

/**
 * br_store_remote_open - greet, and open the repository
 * Errors: -BR_E_VERSION; what the server says: -BR_E_NOT_FOUND no such repository there, -BR_E_AUTH not for this client; -BR_E_PEER
 *         -BR_E_TIMEOUT -BR_E_PROTOCOL
 */
BR_MUST_CHECK int br_store_remote_open(const struct br_store_remote_params *params, struct br_store *ret_store,
                                       struct br_err *reterr);

#endif
