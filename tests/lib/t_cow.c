// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/t_cow.h"

static void write_header(struct t_cow *cow, uint32_t valid)
{
    memset(cow->bytes, 0, cow->chunk_bytes);
    br_put_u32(cow->bytes, 0x70416e53);
    br_put_u32(cow->bytes + 4, valid);
    br_put_u32(cow->bytes + 8, 1);
    br_put_u32(cow->bytes + 12, (uint32_t)(cow->chunk_bytes / 512));
}

static uint64_t records_per_area(const struct t_cow *cow)
{
    return cow->chunk_bytes / 16;
}

static uint64_t area_location(const struct t_cow *cow, uint64_t area)
{
    return 1 + (records_per_area(cow) + 1) * area;
}

uint8_t *t_cow_area(const struct t_cow *cow, uint64_t area)
{
    return cow->bytes + area_location(cow, area) * cow->chunk_bytes;
}

struct t_cow t_cow_new(uint64_t size_bytes, uint64_t chunk_bytes, uint8_t fill)
{
    struct t_cow cow = {
        .bytes = malloc(size_bytes), .size_bytes = size_bytes, .chunk_bytes = chunk_bytes, .next_free = 2};

    assert_non_null(cow.bytes);
    memset(cow.bytes, fill, size_bytes);
    write_header(&cow, 1);
    memset(t_cow_area(&cow, 0), 0, chunk_bytes);
    return cow;
}

void t_cow_free(struct t_cow *cow)
{
    free(cow->bytes);
    *cow = (struct t_cow){0};
}

static bool give_up(struct t_cow *cow)
{
    write_header(cow, 0);
    return false;
}

bool t_cow_add(struct t_cow *cow, uint64_t old_chunk, const void *old_data)
{
    const uint64_t new_chunk = cow->next_free;

    if (cow->size_bytes < (cow->next_free + 1) * cow->chunk_bytes) {
        return give_up(cow);
    }
    cow->next_free++;
    if (cow->next_free % (records_per_area(cow) + 1) == 1) {
        cow->next_free++;
    }
    if (old_data) {
        memcpy(cow->bytes + new_chunk * cow->chunk_bytes, old_data, cow->chunk_bytes);
    }
    uint8_t *record = t_cow_area(cow, cow->current_area) + 16 * cow->current_committed++;
    if (cow->current_committed == records_per_area(cow)) {
        if (cow->size_bytes < (area_location(cow, cow->current_area + 1) + 1) * cow->chunk_bytes) {
            return give_up(cow);
        }
        memset(t_cow_area(cow, cow->current_area + 1), 0, cow->chunk_bytes);
        cow->current_area++;
        cow->current_committed = 0;
    }
    br_put_u64(record, old_chunk);
    br_put_u64(record + 8, new_chunk);
    return true;
}

struct br_cow_status t_cow_status(const struct t_cow *cow)
{
    return (struct br_cow_status){.known = true,
                                  .used_sectors = cow->next_free * cow->chunk_bytes / 512,
                                  .metadata_sectors = (cow->current_area + 2) * cow->chunk_bytes / 512};
}
