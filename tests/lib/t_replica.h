// SPDX-License-Identifier: Apache-2.0
//
// A volume in memory as the model, and a small source that ships its versions to a replica: compares block by block and page by page,
// makes batches and runs of random shapes that all say the same.
#ifndef T_REPLICA_H
#define T_REPLICA_H

#include "engine/replica/replica.h"
#include "tests/lib/t_env.h"

// One version of a volume.
struct t_volume {
    uint64_t size_bytes;
    struct br_tree_geometry geometry;
    uint8_t *bytes;   // padded with zeros to a whole block
    bool *unreadable; // per block
    struct br_generation generation;
    struct br_hash root;
};

/** t_volume_new - zeros, generation 0; seal it before it is shipped */
void t_volume_new(struct t_volume *volume, uint64_t size_bytes);
void t_volume_free(struct t_volume *volume);
/** t_volume_next - a copy of @from, cut or grown with zeros to @size_bytes */
void t_volume_next(struct t_volume *volume, const struct t_volume *from, uint64_t size_bytes);
/** t_volume_change - @count random changes: pieces, pages, whole blocks, zeros, and (when @unreadable) blocks that can't be read */
void t_volume_change(struct t_volume *volume, struct t_rand *rand, unsigned count, bool unreadable);
/** t_volume_seal - gives it its root and a new generation after @parent (NULL: a first one) */
void t_volume_seal(struct t_volume *volume, const struct t_volume *parent, struct t_rand *rand);
/** t_volume_leaf - of one block */
struct br_hash t_volume_leaf(const struct t_volume *volume, uint64_t block);

struct t_ship {
    enum br_replica_mode mode;
    const struct t_volume *parent; // DELTA
    const struct t_volume *result;
    struct t_rand rand; // shapes of batches; the same gives the same delta
    bool target_is_zero;
    bool absent_keeps_facts;
    bool discard_version;
    bool leaves_proven;
    uint64_t checkpoint_bytes;
    uint64_t recheck_bytes;
    unsigned stop_after; // give up after so many records; 0 never
    bool anew;           // DELTA: don't ask for what an earlier run staged
};

// What a ship came to, as far as it got.
struct t_shipped {
    uint64_t data_bytes;
    uint64_t durable_bytes; // of them, as br_replica_durable() said before it was given up
    uint64_t kept_blocks;
};

/**
 * t_ship - begin, all records, commit
 * A delta keeps what an earlier run staged and is still right. Returns what the replica returned first. With stop_after it ends with
 * -BR_E_CANCELLED and the delta still under way.
 */
int t_ship(struct br_replica *replica, const struct t_ship *ship, struct br_replica_result *ret_result,
           struct br_err *reterr);
/** t_shipped - of the last t_ship(), or since t_shipped_clear() */
struct t_shipped t_shipped(void);
void t_shipped_clear(void);
/** t_leases - batches whose data was not released yet; 0 whenever no delta is under way */
unsigned t_leases(void);

#endif
