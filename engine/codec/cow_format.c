// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/cow_format.h"

#include <inttypes.h>

#define SECTOR_BYTES  512u
#define HEADER_CHUNKS 1u

int br_cow_header_decode(const uint8_t *bytes, struct br_cow_header *ret_header, struct br_err *reterr)
{
    const uint32_t magic = br_get_u32(bytes), valid = br_get_u32(bytes + 4), version = br_get_u32(bytes + 8);
    const uint64_t chunk_bytes = (uint64_t)br_get_u32(bytes + 12) * SECTOR_BYTES;

    if (!magic) {
        return br_err_at(reterr, BR_E_NOT_FOUND, 0, "no snapshot store: its header is zero");
    }
    if (magic != BR_COW_MAGIC) {
        return br_err_at(reterr, BR_E_CORRUPT, 0, "not a snapshot store: its magic is %08" PRIx32, magic);
    }
    if (version != BR_COW_VERSION) {
        return br_err_at(reterr, BR_E_VERSION, 0, "snapshot store of version %" PRIu32 "; version %u is known", version,
                         BR_COW_VERSION);
    }
    if (chunk_bytes < BR_COW_CHUNK_BYTES_MIN || chunk_bytes > BR_COW_CHUNK_BYTES_MAX ||
        (chunk_bytes & (chunk_bytes - 1))) {
        return br_err_at(reterr, BR_E_CORRUPT, 0, "snapshot store: a chunk size of %" PRIu64 " bytes", chunk_bytes);
    }
    if (valid > 1) {
        return br_err_at(reterr, BR_E_CORRUPT, 0, "snapshot store: valid is %" PRIu32, valid);
    }
    *ret_header = (struct br_cow_header){.valid = valid, .chunk_bytes = chunk_bytes};
    return 0;
}

int br_cow_geometry_of(const struct br_cow_header *header, uint64_t store_bytes, uint64_t origin_bytes,
                       struct br_cow_geometry *ret_geometry, struct br_err *reterr)
{
    struct br_cow_geometry geometry = {
        .chunk_bytes = header->chunk_bytes,
        .area_records = header->chunk_bytes / BR_COW_RECORD_BYTES,
        .store_chunks = store_bytes / header->chunk_bytes,
        .origin_chunks = br_div_up(origin_bytes, header->chunk_bytes),
    };

    if (geometry.store_chunks < HEADER_CHUNKS + 1) {
        return br_err_set(reterr, BR_E_CORRUPT, "snapshot store: a device of %" PRIu64 " bytes for chunks of %" PRIu64,
                          store_bytes, header->chunk_bytes);
    }
    *ret_geometry = geometry;
    return 0;
}

uint64_t br_cow_area_chunk(const struct br_cow_geometry *geometry, uint64_t area)
{
    uint64_t chunk;

    if (!br_mul_u64(area, geometry->area_records + 1, &chunk) || chunk >= geometry->store_chunks - HEADER_CHUNKS) {
        return UINT64_MAX;
    }
    return chunk + HEADER_CHUNKS;
}

uint64_t br_cow_data_chunk(const struct br_cow_geometry *geometry, uint64_t index)
{
    return HEADER_CHUNKS + index / geometry->area_records + 1 + index;
}

uint64_t br_cow_records_of_used(const struct br_cow_geometry *geometry, uint64_t used_chunks)
{
    const uint64_t behind_header = used_chunks - BR_MIN(used_chunks, HEADER_CHUNKS);

    return behind_header - br_div_up(behind_header, geometry->area_records + 1);
}

// The kernel hands out a chunk when it lies in the store, and takes the store for full when an area is complete and the next one does
// not: the record that would complete the last area costs the snapshot.
uint64_t br_cow_records_max(const struct br_cow_geometry *geometry)
{
    const uint64_t records = br_cow_records_of_used(geometry, geometry->store_chunks);
    const uint64_t next_area = records / geometry->area_records;

    return records && records % geometry->area_records == 0 && br_cow_area_chunk(geometry, next_area) == UINT64_MAX
               ? records - 1
               : records;
}

uint64_t br_cow_store_bytes(uint64_t chunk_bytes, uint64_t records)
{
    const uint64_t area_records = chunk_bytes / BR_COW_RECORD_BYTES;
    const uint64_t areas = records / area_records + 1; // a full area needs the next one
    uint64_t bytes;

    if (records > UINT64_C(1) << 62 || !br_mul_u64(HEADER_CHUNKS + areas + records, chunk_bytes, &bytes) ||
        bytes > UINT64_C(1) << 62) {
        return UINT64_MAX;
    }
    return bytes;
}

struct br_cow_record br_cow_record_at(const uint8_t *area, uint64_t i)
{
    const uint8_t *record = area + i * BR_COW_RECORD_BYTES;

    return (struct br_cow_record){.old_chunk = br_get_u64(record), .new_chunk = br_get_u64(record + 8)};
}

static int check_record(const struct br_cow_geometry *geometry, uint64_t index, const struct br_cow_record *record,
                        uint64_t at_bytes, struct br_err *reterr)
{
    const uint64_t expected = br_cow_data_chunk(geometry, index);

    if (record->new_chunk != expected) {
        return br_err_at(reterr, BR_E_CORRUPT, at_bytes,
                         "snapshot store: record %" PRIu64 " names its chunk %" PRIu64 " where %" PRIu64 " belongs",
                         index, record->new_chunk, expected);
    }
    if (expected >= geometry->store_chunks) {
        return br_err_at(reterr, BR_E_CORRUPT, at_bytes,
                         "snapshot store: the chunk of record %" PRIu64 " lies behind the end of the device", index);
    }
    if (record->old_chunk >= geometry->origin_chunks) {
        return br_err_at(reterr, BR_E_CORRUPT, at_bytes,
                         "snapshot store: record %" PRIu64 " is of chunk %" PRIu64 " of an origin of %" PRIu64, index,
                         record->old_chunk, geometry->origin_chunks);
    }
    return 0;
}

int64_t br_cow_area_decode(const struct br_cow_geometry *geometry, uint64_t area, const uint8_t *bytes,
                           struct br_err *reterr)
{
    const uint64_t area_bytes = br_cow_area_chunk(geometry, area) * geometry->chunk_bytes;
    uint64_t i;

    for (i = 0; i < geometry->area_records; i++) {
        const struct br_cow_record record = br_cow_record_at(bytes, i);
        if (!record.new_chunk) {
            break;
        }
        int rc = check_record(geometry, area * geometry->area_records + i, &record,
                              area_bytes + i * BR_COW_RECORD_BYTES, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    const uint64_t used_bytes = i * BR_COW_RECORD_BYTES;
    if (!br_is_zero(bytes + used_bytes, geometry->chunk_bytes - used_bytes)) {
        return br_err_at(reterr, BR_E_CORRUPT, area_bytes + used_bytes,
                         "snapshot store: record %" PRIu64 " is cleared, and there is more behind it: "
                         "a damaged record, or a power cut tore this area",
                         area * geometry->area_records + i);
    }
    return (int64_t)i;
}

uint64_t br_cow_ns_until_full(uint64_t left_bytes, uint64_t grown_bytes, uint64_t in_ns)
{
    if (!grown_bytes) {
        return UINT64_MAX;
    }
    const double ns = (double)left_bytes / (double)grown_bytes * (double)in_ns;
    return ns < 1.8e19 ? (uint64_t)ns : UINT64_MAX;
}
