// SPDX-License-Identifier: Apache-2.0
//
// A replica behind a session with blkrep serve, as an endpoint. The messages are those of engine/sync/wire.h.
//
// Batches are compressed on the ring's workers and sent in order as they get ready; their data is let go when the channel has taken it.
// Never more than the server's credit is on its way. What the server says meanwhile (ERROR, CREDIT) is looked at with every batch, so
// that a failure over there ends the scan here at once.
#ifndef BR_SYNC_REMOTE_H
#define BR_SYNC_REMOTE_H

#include "engine/ring/ring.h"
#include "engine/sync/endpoint.h"
#include "engine/net/channel.h"

struct br_remote_params {
    struct br_channel channel;   // the endpoint's from now on: closed with it, and also when opening fails
    struct br_ring *ring;        // for workers and random numbers
    const char *volume;          // its name over there
    const char *what;            // how messages name it, "blkrep://host/volume"; copied
    uint8_t role;                // enum br_role (engine/net/registry.h)
    bool plan;                   // for a dry run: looks only, as what a writer would be refused for
    bool discard_damaged;        // --force-full: an identity with two damaged slots counts as none
    int level;                   // zstd's; 0 sends everything as it is
    bool level_if_it_pays;       // compress only while that is faster (engine/sync/pace.h)
    const volatile bool *cancel; // ends every wait but that for a commit; NULL never
    const char *program;         // name and version, for HELLO; copied
};

/**
 * br_remote_open - HELLO and OPEN
 * Errors: -BR_E_VERSION no version in common, both named; what the server says: -BR_E_NOT_FOUND -BR_E_AUTH -BR_E_BUSY ...; -BR_E_PEER
 *         -BR_E_TIMEOUT -BR_E_PROTOCOL
 */
BR_MUST_CHECK int br_remote_open(const struct br_remote_params *params, struct br_endpoint *ret_endpoint,
                                 struct br_err *reterr);

#endif
