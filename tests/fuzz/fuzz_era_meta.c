// SPDX-License-Identifier: Apache-2.0
//
// Hostile dm-era metadata: good metadata (tests/lib/t_era.h) with changes. Input: a byte of flags (1 through the metadata snapshot, 2 the blocks changed keep
// their old checksums, 4 no metadata at first), a byte for the era asked for, then changes: block, u16 offset, length, that many bytes. A
// changed block is sealed as what it was, or as what the two upper bits of its length byte say. What is told must lie in the volume.
#include "engine/track/era_meta.h"
#include "tests/lib/t_device.h"
#include "tests/lib/t_era.h"

#define BLOCKS      2100u // two array blocks and a bit
#define META_BLOCKS 48u
#define VOLUME      (UINT64_C(2100) * 4096 - 77)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static struct t_era build(void)
{
    static uint32_t eras[BLOCKS];
    static uint8_t marks[BLOCKS];

    for (uint32_t b = 0; b < BLOCKS; b++) {
        eras[b] = b / 64 % 4;
        marks[b] = b / 50 % 9 == 0;
    }
    const struct t_era_set sets[] = {{4, BLOCKS, marks}, {5, 500, marks}}, current = {6, BLOCKS, marks};
    const struct t_era_view live = {6, BLOCKS, 8, eras, sets, 2, &current}, snap = {5, BLOCKS, 8, eras, sets, 1, NULL};
    return t_era_build(META_BLOCKS, 3, 1, &live, &snap);
}

// A copy of good metadata, which is built once.
static struct t_era good_metadata(void)
{
    static struct t_era good;

    if (!good.bytes) {
        good = build();
    }
    struct t_era era = good;
    era.bytes = malloc(META_BLOCKS * 4096);
    era.kinds = malloc(META_BLOCKS * sizeof(*era.kinds));
    if (!era.bytes || !era.kinds) {
        abort();
    }
    memcpy(era.bytes, good.bytes, META_BLOCKS * 4096);
    memcpy(era.kinds, good.kinds, META_BLOCKS * sizeof(*era.kinds));
    return era;
}

static void change(struct t_era *era, struct br_reader *input, bool seal)
{
    static const enum t_era_kind kinds[] = {T_ERA_FREE, T_ERA_NODE, T_ERA_ARRAY, T_ERA_SUPERBLOCK};
    const uint64_t number = br_reader_u8(input) % META_BLOCKS;
    const size_t offset = br_reader_u16(input) % 4096, length = br_reader_u8(input);
    const uint8_t *bytes = br_reader_take(input, BR_MIN(length & 63, 4096 - offset));

    if (!bytes) {
        return;
    }
    memcpy(t_era_block(era, number) + offset, bytes, BR_MIN(length & 63, 4096 - offset));
    if (length >> 6) {
        era->kinds[number] = kinds[length >> 6];
    }
    if (seal && era->kinds[number] != T_ERA_FREE) {
        t_era_seal(era, number);
    }
}

static int ignore_line(void *ctx, const char *line)
{
    (void)ctx;
    return line[0] == '\n';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct br_reader input = br_reader_init(data, len_bytes);
    const uint8_t flags = br_reader_u8(&input), since = br_reader_u8(&input);

    if (!br_reader_ok(&input)) {
        return 0;
    }
    struct t_era era = good_metadata();
    if (flags & 4) {
        memset(era.bytes, 0, META_BLOCKS * 4096);
    }
    while (br_reader_left(&input)) {
        change(&era, &input, !(flags & 2));
    }
    struct t_device device = t_device_open(era.bytes, META_BLOCKS * 4096, 1);
    const struct br_era_meta_params params = {
        .file = device.file, .meta_bytes = META_BLOCKS * 4096, .use_snap = flags & 1};
    struct br_extent_map map = {0};
    struct br_era_meta *meta;
    if (br_era_meta_open(&params, &meta, NULL) == 0) {
        if (br_era_meta_changed(meta, since, VOLUME, &map, NULL) == 0) {
            const struct br_extent *last = map.count ? &map.extents[map.count - 1] : NULL;
            if (last && !br_range_ok(last->offset_bytes, last->len_bytes, VOLUME)) {
                abort();
            }
        }
        br_era_meta_close(meta);
    }
    (void)!br_era_meta_dump(device.file, META_BLOCKS * 4096, ignore_line, NULL, NULL);
    br_extent_map_free(&map);
    t_device_close(&device);
    t_era_free(&era);
    return 0;
}
