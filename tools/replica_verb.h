// SPDX-License-Identifier: Apache-2.0
//
// What the verbs on one local replica (finish, verify, adopt, forget) share: resolve its name, open it, close it.
#ifndef BR_TOOLS_REPLICA_VERB_H
#define BR_TOOLS_REPLICA_VERB_H

#include "engine/replica/replica.h"
#include "tools/place.h"

struct replica_verb {
    struct br_ring *ring;
    struct place place;
    struct br_replica *replica;
};

/**
 * replica_verb_open - open the replica that @word names on this host
 * @mode  PLACE_LOOK: read only, no lock; PLACE_TARGET: locked, for writing; a replica that does not exist is -BR_E_NOT_FOUND in both
 * Owner: replica_verb_close(), also after a failure
 */
BR_MUST_CHECK int replica_verb_open(struct cli *cli, const char *word, enum place_mode mode,
                                    struct replica_verb *ret_verb, struct br_err *reterr);
/** replica_verb_close - closes what is open */
void replica_verb_close(struct replica_verb *verb);
/** replica_verb_report - the identity's fields into the exit object */
void replica_verb_report(struct cli *cli, const struct br_identity *identity);

#endif
