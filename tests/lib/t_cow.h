// SPDX-License-Identifier: Apache-2.0
//
// A dm-snapshot exception store in memory, made the way the kernel makes it, step by step with the kernel's own counters (next_free,
// current_area, current_committed of drivers/md/dm-snap-persistent.c) and none of the engine's formulas.
#ifndef T_COW_H
#define T_COW_H

#include "engine/track/cow_store.h"

struct t_cow {
    uint8_t *bytes;
    uint64_t size_bytes;
    uint64_t chunk_bytes;
    uint64_t next_free;
    uint64_t current_area;
    uint64_t current_committed;
};

/** t_cow_new - a fresh store; the device holds @fill everywhere else, as an old one would */
struct t_cow t_cow_new(uint64_t size_bytes, uint64_t chunk_bytes, uint8_t fill);
/** t_cow_free - empty again */
void t_cow_free(struct t_cow *cow);
/**
 * t_cow_add - a write to a chunk of the origin: copies its old data (chunk_bytes; NULL: none) and commits
 * Returns false when the kernel gives the snapshot up: the header says so then.
 */
bool t_cow_add(struct t_cow *cow, uint64_t old_chunk, const void *old_data);
/** t_cow_area - the bytes of an area */
uint8_t *t_cow_area(const struct t_cow *cow, uint64_t area);
/** t_cow_status - what dmsetup would say */
struct br_cow_status t_cow_status(const struct t_cow *cow);

#endif
