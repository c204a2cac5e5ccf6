// SPDX-License-Identifier: Apache-2.0
//
// dm-era metadata in memory, built from what it should say: by another hand than the engine's reader, from the kernel's structs alone (its own
// checksum, bit by bit; its own trees). Blocks lie anywhere, nodes hold as few entries as asked, so that small metadata has deep trees.
#ifndef T_ERA_H
#define T_ERA_H

#include "engine/base/bytes.h"

enum t_era_kind { T_ERA_FREE, T_ERA_SUPERBLOCK, T_ERA_NODE, T_ERA_ARRAY, T_ERA_INDEX, T_ERA_BITMAP };

// A writeset: marks[b] says whether block b was written in its era.
struct t_era_set {
    uint32_t era;
    uint32_t bits;
    const uint8_t *marks;
};

// What a superblock says.
struct t_era_view {
    uint32_t current_era;
    uint32_t blocks;
    uint32_t block_sectors;
    const uint32_t *eras; // of each block
    const struct t_era_set *sets;
    size_t set_count;
    const struct t_era_set *current; // NULL: none
};

struct t_era {
    uint8_t *bytes;
    uint64_t blocks;
    unsigned fanout; // most entries of a node
    uint64_t seed;
    enum t_era_kind *kinds; // of each block
    uint64_t snap_block;
};

/** t_era_build - metadata of @blocks blocks; @snap: held as metadata snapshot; NULL none. Fails the test when it does not fit */
struct t_era t_era_build(uint64_t blocks, unsigned fanout, uint64_t seed, const struct t_era_view *live,
                         const struct t_era_view *snap);
/** t_era_free - empty again */
void t_era_free(struct t_era *era);
/** t_era_block - the bytes of a block */
uint8_t *t_era_block(const struct t_era *era, uint64_t number);
/** t_era_seal - make a block's checksum right after a change */
void t_era_seal(const struct t_era *era, uint64_t number);
/** t_era_find - number of the @nth block of a kind (0: the first); fails the test when there is none */
uint64_t t_era_find(const struct t_era *era, enum t_era_kind kind, unsigned nth);

#endif
