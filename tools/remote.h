// SPDX-License-Identifier: Apache-2.0
//
// The way to a remote replica or repository: known servers, keys, a TLS channel, a session, as one endpoint or store.
#ifndef BR_TOOLS_REMOTE_H
#define BR_TOOLS_REMOTE_H

#include "engine/net/registry.h"
#include "engine/repo/store.h"
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
/**
 * remote_open_store - connect to the server of @address, and open the repository that it names there
 * @write  not only to be read
 * Errors: as remote_open_endpoint(); -BR_E_NOT_FOUND the server keeps no such repository
 */
BR_MUST_CHECK int remote_open_store(struct cli *cli, struct br_ring *ring, const struct place_address *address,
                                    bool write, struct br_store *ret_store, struct br_err *reterr);

#endif
