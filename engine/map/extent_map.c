// SPDX-License-Identifier: Apache-2.0
//
// A sorted array. Marks mostly come ascending, so most of them touch or follow the last extent; others shift what is behind them. When
// the limit is reached, an eighth of the extents is merged away at once, smallest gaps first, because looking for the smallest
// gap at every mark would make a full map quadratic.
#include "engine/map/extent_map.h"

#define LIMIT_DEFAULT (UINT64_C(1) << 20)

static size_t limit_of(const struct br_extent_map *map)
{
    return map->limit ? map->limit : LIMIT_DEFAULT;
}

static uint64_t end_of(const struct br_extent *extent)
{
    return extent->offset_bytes + extent->len_bytes;
}

void br_extent_map_free(struct br_extent_map *map)
{
    free(map->extents);
    *map = (struct br_extent_map){.limit = map->limit};
}

// First extent whose end is > @offset, or >= when @touching.
static size_t first_behind(const struct br_extent_map *map, uint64_t offset_bytes, bool touching)
{
    size_t low = 0, high = map->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const uint64_t end = end_of(&map->extents[middle]);
        if (end > offset_bytes || (touching && end == offset_bytes)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

size_t br_extent_map_next(const struct br_extent_map *map, uint64_t offset_bytes)
{
    return first_behind(map, offset_bytes, false);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// Merges the neighbours with the smallest gaps, an eighth of all and at least one pair.
static int merge_closest(struct br_extent_map *map, struct br_err *reterr)
{
    const size_t merges = BR_MAX(map->count / 8, (size_t)1);
    BR_AUTO_FREE uint64_t *gaps = malloc((map->count - 1) * sizeof(*gaps));

    if (!gaps) {
        return br_err_set(reterr, BR_E_NOMEM, "extent map of %zu extents", map->count);
    }
    for (size_t i = 0; i + 1 < map->count; i++) {
        gaps[i] = map->extents[i + 1].offset_bytes - end_of(&map->extents[i]);
    }
    qsort(gaps, map->count - 1, sizeof(*gaps), compare_u64);
    const uint64_t widest = gaps[merges - 1];
    size_t ties = 0, kept = 0; // gaps as wide as the widest that is merged, of which there may be more than are needed
    while (ties < merges && gaps[merges - 1 - ties] == widest) {
        ties++;
    }
    for (size_t i = 1; i < map->count; i++) {
        struct br_extent *last = &map->extents[kept];
        const uint64_t gap = map->extents[i].offset_bytes - end_of(last);
        if (gap < widest || (gap == widest && ties)) {
            last->len_bytes = end_of(&map->extents[i]) - last->offset_bytes;
            ties -= gap == widest;
        } else {
            map->extents[++kept] = map->extents[i];
        }
    }
    map->count = kept + 1;
    return 0;
}

static int make_room(struct br_extent_map *map, struct br_err *reterr)
{
    if (map->count < map->capacity) {
        return 0;
    }
    const size_t capacity = BR_MAX(map->capacity + map->capacity / 2, (size_t)64);
    struct br_extent *extents = realloc(map->extents, capacity * sizeof(*extents));
    if (!extents) {
        return br_err_set(reterr, BR_E_NOMEM, "extent map of %zu extents", capacity);
    }
    map->extents = extents;
    map->capacity = capacity;
    return 0;
}

int br_extent_map_mark(struct br_extent_map *map, uint64_t offset_bytes, uint64_t len_bytes, struct br_err *reterr)
{
    uint64_t end;

    if (!br_add_u64(offset_bytes, len_bytes, &end)) {
        return br_err_set(reterr, BR_E_LIMIT, "extent %llu+%llu", (unsigned long long)offset_bytes,
                          (unsigned long long)len_bytes);
    }
    if (!len_bytes) {
        return 0;
    }
    const size_t from = first_behind(map, offset_bytes, true);
    size_t to = from; // one behind the last extent that the new one touches
    while (to < map->count && map->extents[to].offset_bytes <= end) {
        to++;
    }
    if (from < to) {
        struct br_extent *extent = &map->extents[from];
        const uint64_t new_end = BR_MAX(end, end_of(&map->extents[to - 1]));
        extent->offset_bytes = BR_MIN(extent->offset_bytes, offset_bytes);
        extent->len_bytes = new_end - extent->offset_bytes;
        memmove(extent + 1, &map->extents[to], (map->count - to) * sizeof(*extent));
        map->count -= to - from - 1;
        return 0;
    }
    int rc = make_room(map, reterr);
    if (rc < 0) {
        return rc;
    }
    struct br_extent *extent = &map->extents[from];
    memmove(extent + 1, extent, (map->count - from) * sizeof(*extent));
    *extent = (struct br_extent){offset_bytes, len_bytes};
    map->count++;
    if (map->count <= limit_of(map)) {
        return 0;
    }
    rc = merge_closest(map, reterr);
    if (rc < 0) {
        memmove(extent, extent + 1, (map->count - from - 1) * sizeof(*extent));
        map->count--;
    }
    return rc;
}

int br_extent_map_mark_outside(struct br_extent_map *map, uint64_t offset_bytes, uint64_t len_bytes,
                               const struct br_extent_map *except, struct br_err *reterr)
{
    uint64_t end;
    uint64_t at = offset_bytes;
    int rc = 0;

    if (!br_add_u64(offset_bytes, len_bytes, &end)) {
        return br_err_set(reterr, BR_E_LIMIT, "extent %llu+%llu", (unsigned long long)offset_bytes,
                          (unsigned long long)len_bytes);
    }
    for (size_t i = br_extent_map_next(except, at); !rc && at < end; i++) {
        const uint64_t stop = i < except->count ? BR_MIN(except->extents[i].offset_bytes, end) : end;
        if (stop > at) {
            rc = br_extent_map_mark(map, at, stop - at, reterr);
        }
        at = i < except->count ? end_of(&except->extents[i]) : end;
    }
    return rc;
}

int br_extent_map_add(struct br_extent_map *map, const struct br_extent_map *other, struct br_err *reterr)
{
    const size_t capacity = map->count + other->count;
    struct br_extent_map sum = {.capacity = capacity, .limit = map->limit};

    if (!other->count) {
        return 0;
    }
    sum.extents = malloc(capacity * sizeof(*sum.extents));
    if (!sum.extents) {
        return br_err_set(reterr, BR_E_NOMEM, "extent map of %zu extents", capacity);
    }
    for (size_t i = 0, j = 0; i < map->count || j < other->count;) {
        const bool mine =
            j == other->count || (i < map->count && map->extents[i].offset_bytes <= other->extents[j].offset_bytes);
        const struct br_extent *next = mine ? &map->extents[i++] : &other->extents[j++];
        struct br_extent *last = sum.count ? &sum.extents[sum.count - 1] : NULL;
        if (last && next->offset_bytes <= end_of(last)) {
            last->len_bytes = BR_MAX(end_of(last), end_of(next)) - last->offset_bytes;
        } else {
            sum.extents[sum.count++] = *next;
        }
    }
    while (sum.count > limit_of(&sum)) {
        int rc = merge_closest(&sum, reterr);
        if (rc < 0) {
            free(sum.extents);
            return rc;
        }
    }
    free(map->extents);
    *map = sum;
    return 0;
}

int br_extent_map_align(struct br_extent_map *map, uint64_t grain, uint64_t size_bytes, struct br_err *reterr)
{
    size_t kept = 0;

    if (!grain || grain & (grain - 1)) {
        return br_err_set(reterr, BR_E_INTERNAL, "extent map: grain %llu is not a power of two",
                          (unsigned long long)grain);
    }
    for (size_t i = 0; i < map->count; i++) {
        const uint64_t start = br_align_down(map->extents[i].offset_bytes, grain);
        const uint64_t end_down = br_align_down(end_of(&map->extents[i]) - 1, grain);
        const uint64_t end = size_bytes - BR_MIN(end_down, size_bytes) < grain ? size_bytes : end_down + grain;
        if (start >= size_bytes) {
            break;
        }
        if (kept && end_of(&map->extents[kept - 1]) >= start) {
            map->extents[kept - 1].len_bytes = end - map->extents[kept - 1].offset_bytes;
        } else {
            map->extents[kept++] = (struct br_extent){start, end - start};
        }
    }
    map->count = kept;
    return 0;
}

bool br_extent_map_contains(const struct br_extent_map *map, uint64_t offset_bytes, uint64_t len_bytes)
{
    const size_t i = br_extent_map_next(map, offset_bytes);

    if (!len_bytes) {
        return true;
    }
    return i < map->count && map->extents[i].offset_bytes <= offset_bytes &&
           len_bytes <= end_of(&map->extents[i]) - offset_bytes;
}

uint64_t br_extent_map_bytes(const struct br_extent_map *map)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < map->count; i++) {
        bytes += map->extents[i].len_bytes;
    }
    return bytes;
}
