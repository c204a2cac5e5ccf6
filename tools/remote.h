// SPDX-License-Identifier: Apache-2.0
//
// The way to a remote replica: known servers, keys, a TLS channel, a session, as one endpoint.
#ifndef BR_TOOLS_REMOTE_H
#define BR_TOOLS_REMOTE_H

#include "engine/sync/endpoint.h"
#include "tools/place.h"

/**
 * remote_open_endpoint - connect to the server of @address as this host's identity and open the replica that it names
 * Reads the verb's "bwlimit" and "compress" options. Errors: -BR_E_AUTH not paired, or another key; -BR_E_PEER -BR_E_TIMEOUT
 */
BR_MUST_CHECK int remote_open_endpoint(struct cli *cli, struct br_ring *ring, const struct place_address *address,
                                       struct br_endpoint *ret_endpoint, struct br_err *reterr);

#endif
