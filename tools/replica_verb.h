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

/** replica_verb_gaps - the gaps of its version as a JSON list; NULL on failure */
json_t *replica_verb_gaps(struct br_replica *replica, struct br_err *reterr);

// What replica_verb_report() puts into the exit object.
#define REPLICA_VERB_FIELDS                                                                             \
    {"state", "text", "complete, or what else the replica is: none, incomplete, applying, replacing."}, \
        {"volume", "text|null", "The uuid of the volume."},                                             \
        {"generation", "number", "Counts the versions of the replica."},                                \
        {"root", "text|null", "The hash that names the content, when it is complete."},                 \
        {"size_bytes", "number", "Of the volume."},                                                     \
        {"consistency", "text", "none, crash or clean, see blkrep-sync(1)."},                           \
        {"unreadable_blocks", "number", "Blocks that the source could not read."},                      \
        {"version_taken_unix", "number", "When the source was as the version is."},                     \
    {                                                                                                   \
        "full_proof_unix", "number", "When all of the replica was last proven; 0 never."                \
    }

#endif
