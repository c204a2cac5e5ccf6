// SPDX-License-Identifier: Apache-2.0
//
// The way to a remote replica: known servers, keys, a TLS channel, a session, as one endpoint.
#ifndef BR_TOOLS_REMOTE_H
#define BR_TOOLS_REMOTE_H

#include "engine/net/registry.h"
#include "engine/sync/endpoint.h"
#include "tools/place.h"

struct remote_options {
    enum br_role role;         // what the replica is opened as
    bool plan;                 // a dry run: looked at only, refused as a writer would be
    bool discard_damaged;      // a damaged record there counts as none
    const char *compress;      // auto, on or off; NULL auto
    uint64_t bytes_per_second; // 0 no limit
};

/**
 * remote_open_endpoint - connect to the server of @address as this host's identity and open the replica that it names
 * Errors: -BR_E_AUTH not paired, another key, or a role that is too low; -BR_E_PEER -BR_E_TIMEOUT
 */
BR_MUST_CHECK int remote_open_endpoint(struct cli *cli, struct br_ring *ring, const struct place_address *address,
                                       const struct remote_options *options, struct br_endpoint *ret_endpoint,
                                       struct br_err *reterr);

#endif
