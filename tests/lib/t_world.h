// SPDX-License-Identifier: Apache-2.0
//
// A replica in a simulated world: the file (or device) "vol" and its folder "vol.blkrep"; processes that open it, and oracles that look at
// what the disks hold.
#ifndef T_WORLD_H
#define T_WORLD_H

#include "engine/ring/sim.h"
#include "tests/lib/t_replica.h"

#define T_WORLD_DEVICE_BYTES (UINT64_C(4) << 20)

struct t_world {
    struct br_sim *sim;
    bool device;
    bool discard_damaged;
    uint64_t compact_bytes; // as in struct br_replica_params
    uint64_t sync_bytes;    // the same
    uint64_t seed;          // for messages

    struct br_ring *ring;
    struct br_dir *parent, *dir;
    struct br_file *file;
    struct br_replica *replica; // NULL when opening failed
    struct br_err err;
};

/** t_world_open - the next process: opens ring, folder, file and replica; what the replica's opening returned */
int t_world_open(struct t_world *world);
/** t_world_close - ends the process; whatever is open is closed */
void t_world_close(struct t_world *world);
/** t_world_holds - the file's bytes are the model's, unreadable blocks aside */
bool t_world_holds(const struct t_world *world, const struct t_volume *model);
/** t_world_expect - COMPLETE, and identity, bytes and every leaf of the tree are the model's */
void t_world_expect(struct t_world *world, const struct t_volume *model);
/** t_world_expect_facts - INCOMPLETE: every leaf that claims to be known is the hash of what is there */
void t_world_expect_facts(struct t_world *world);
/** t_world_is - the identity's generation is the model's */
bool t_world_is(const struct t_world *world, const struct t_volume *model);
/** t_must - asserts that @r is 0, printing the error and the trace otherwise */
void t_must(struct t_world *world, int r, const char *what);

#endif
