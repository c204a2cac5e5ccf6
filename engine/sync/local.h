// SPDX-License-Identifier: Apache-2.0
//
// The endpoint of a replica in this process: the vtable over engine/replica/replica.h, nothing between.
#ifndef BR_SYNC_LOCAL_H
#define BR_SYNC_LOCAL_H

#include "engine/sync/endpoint.h"

struct br_local_params {
    struct br_replica_params replica; // ring, dir, file, ... as br_replica_open() takes them
    uint64_t capacity_bytes;          // UINT64_MAX for a file; of a device its size
    bool is_block;
    const char *holds; // what a look at a foreign target found, NULL or "" nothing; copied
};

/**
 * br_local_open - lock and load the replica; nothing is changed before info() or begin()
 * Owner: closing the endpoint closes the replica; file and dirs stay the caller's    Errors: as br_replica_open()
 */
BR_MUST_CHECK int br_local_open(const struct br_local_params *params, struct br_endpoint *ret_endpoint,
                                struct br_err *reterr);
/** br_local_replica - the replica behind an endpoint that br_local_open() made */
struct br_replica *br_local_replica(const struct br_endpoint *endpoint);

#endif
