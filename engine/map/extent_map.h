// SPDX-License-Identifier: Apache-2.0
//
// A set of byte ranges: sorted, disjoint, merged when they touch. Bounded: when it would pass its limit, the neighbours with the
// smallest gaps (an eighth of all extents, at least one pair) are merged, so that it over-reports and never loses a mark.
// A zeroed struct is an empty map.
#ifndef BR_MAP_EXTENT_MAP_H
#define BR_MAP_EXTENT_MAP_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

struct br_extent {
    uint64_t offset_bytes;
    uint64_t len_bytes;
};

struct br_extent_map {
    struct br_extent *extents;
    size_t count;
    size_t capacity;
    size_t limit; // most extents kept; 0: 1 Mi
};

/** br_extent_map_free - releases the memory; the map is empty and reusable, its limit stays */
void br_extent_map_free(struct br_extent_map *map);
/**
 * br_extent_map_mark - add a range; merges with what it touches or overlaps
 * @len_bytes  0 marks nothing
 * Errors: -BR_E_NOMEM nothing changed; -BR_E_LIMIT the range wraps
 */
BR_MUST_CHECK int br_extent_map_mark(struct br_extent_map *map, uint64_t offset_bytes, uint64_t len_bytes,
                                     struct br_err *reterr);
/**
 * br_extent_map_mark_outside - add what lies in a range and not in @except
 * Errors: as br_extent_map_mark(); then some of it may be marked
 */
BR_MUST_CHECK int br_extent_map_mark_outside(struct br_extent_map *map, uint64_t offset_bytes, uint64_t len_bytes,
                                             const struct br_extent_map *except, struct br_err *reterr);
/**
 * br_extent_map_add - add all ranges of another map; cost: O(both), whatever their order
 * @other  not @map; unchanged
 * Errors: -BR_E_NOMEM nothing changed
 */
BR_MUST_CHECK int br_extent_map_add(struct br_extent_map *map, const struct br_extent_map *other,
                                    struct br_err *reterr);
/** br_extent_map_align - widens every extent to multiples of @grain (a power of two), cut at @size_bytes */
BR_MUST_CHECK int br_extent_map_align(struct br_extent_map *map, uint64_t grain, uint64_t size_bytes,
                                      struct br_err *reterr);
/** br_extent_map_contains - true when all of the range is marked */
bool br_extent_map_contains(const struct br_extent_map *map, uint64_t offset_bytes, uint64_t len_bytes);
/** br_extent_map_next - index of the first extent that ends behind @offset_bytes; count when none */
size_t br_extent_map_next(const struct br_extent_map *map, uint64_t offset_bytes);
/** br_extent_map_bytes - sum of all lengths */
uint64_t br_extent_map_bytes(const struct br_extent_map *map);

#endif
