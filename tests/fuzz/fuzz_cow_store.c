// SPDX-License-Identifier: Apache-2.0
//
// Hostile exception stores. Input: a byte of flags, a u32 for the origin's sectors, a u32 each for the status's used and metadata sectors, then the device.
// Flags: 1 status known, 2 wiped, 4 few runs, 8 records are made to name the right chunks, so that the rest of the reader is reached. What is
// accepted must lie in the origin and be found again, and read from within the store.
#include "engine/track/cow_store.h"
#include "tests/lib/t_device.h"

#define HEAD_BYTES 13u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

// Gives the first records of each area the chunks that they must name.
static void repair_records(uint8_t *store, size_t bytes)
{
    struct br_cow_header header;
    struct br_cow_geometry geometry;

    if (bytes < 512 || br_cow_header_decode(store, &header, NULL) < 0 ||
        br_cow_geometry_of(&header, bytes, UINT64_MAX, &geometry, NULL) < 0) {
        return;
    }
    for (uint64_t area = 0, chunk; (chunk = br_cow_area_chunk(&geometry, area)) != UINT64_MAX; area++) {
        uint8_t *records = store + chunk * geometry.chunk_bytes;
        for (uint64_t i = 0; i < geometry.area_records && br_get_u64(records + 16 * i + 8); i++) {
            br_put_u64(records + 16 * i + 8, br_cow_data_chunk(&geometry, area * geometry.area_records + i));
        }
    }
}

static void check(struct br_cow_store *store, uint64_t origin_bytes)
{
    const struct br_extent_map *map = br_cow_store_changed(store);
    const struct br_cow_usage usage = br_cow_store_usage(store);
    uint8_t byte;

    for (size_t i = 0; i < map->count; i++) {
        const struct br_extent *extent = &map->extents[i];
        uint64_t at, len;
        if (!extent->len_bytes || !br_range_ok(extent->offset_bytes, extent->len_bytes, origin_bytes)) {
            abort();
        }
        const int found = br_cow_store_locate(store, extent->offset_bytes, &at, &len, NULL);
        if (found == -BR_E_LIMIT) {
            continue;
        }
        if (found != 1 || !len || !br_range_ok(at, len, usage.store_bytes) ||
            br_cow_store_read_old(store, &byte, 1, extent->offset_bytes + extent->len_bytes - 1, NULL) < 0) {
            abort();
        }
    }
    if (usage.records > usage.records_max || usage.used_bytes > usage.store_bytes + usage.chunk_bytes) {
        abort();
    }
}

static int ignore_line(void *ctx, const char *line)
{
    (void)ctx;
    return line[0] == '\n';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    if (len_bytes <= HEAD_BYTES || len_bytes > 1 << 20) {
        return 0;
    }
    const size_t bytes = len_bytes - HEAD_BYTES;
    uint8_t *image = malloc(bytes);
    if (!image) {
        abort();
    }
    memcpy(image, data + HEAD_BYTES, bytes);
    if (data[0] & 8) {
        repair_records(image, bytes);
    }
    struct t_device device = t_device_open(image, bytes, 1);
    const struct br_cow_store_params params = {
        .file = device.file,
        .store_bytes = bytes,
        .origin_bytes = br_get_u32(data + 1) * UINT64_C(512) + data[0],
        .before = {data[0] & 1, br_get_u32(data + 5), br_get_u32(data + 9)},
        .wiped = data[0] & 2,
        .runs_max = data[0] & 4 ? 3 : 0,
    };
    struct br_cow_store *store;
    if (br_cow_store_read(&params, &store, NULL) == 0) {
        check(store, params.origin_bytes);
        br_cow_store_close(store);
    }
    (void)!br_cow_store_dump(&params, ignore_line, NULL, NULL);
    t_device_close(&device);
    free(image);
    return 0;
}
