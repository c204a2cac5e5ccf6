// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/era_format.h"

#include <inttypes.h>

#define MAGIC             UINT64_C(2126579579)
#define CHECKSUM_XOR      146538381u
#define VERSION           1u
#define SECTOR_BYTES      512u
#define NODE_CHILDREN_MIN 126u // half of the 252 children of an internal node
#define WRITESETS_OF_NODE 67u  // a third of the 201 writesets of a leaf
#define WORD_BITS         64u
#define BYTES_OF_ERA      4u
#define BYTES_OF_WORD     8u
#define META_BLOCKS_MAX   ((uint64_t)BR_PDATA_BITMAPS_MAX * BR_PDATA_BITMAP_BLOCKS)

bool br_era_is_superblock(const uint8_t *block)
{
    return br_get_u64(block + 32) == MAGIC;
}

static int check_numbers(const uint8_t *block, uint64_t number, struct br_err *reterr)
{
    const uint32_t flags = br_get_u32(block + 4), version = br_get_u32(block + 40);
    const uint32_t data_sectors = br_get_u32(block + 172), meta_sectors = br_get_u32(block + 176);
    const uint64_t at = number * BR_PDATA_BLOCK_BYTES;

    if (version != VERSION || flags) {
        return br_err_at(reterr, BR_E_VERSION, at,
                         "dm-era metadata of version %" PRIu32 " with flags %" PRIx32 "; version %u without is known",
                         version, flags, VERSION);
    }
    if (!data_sectors || data_sectors % 8 || meta_sectors != BR_PDATA_BLOCK_BYTES / SECTOR_BYTES) {
        return br_err_at(reterr, BR_E_CORRUPT, at,
                         "dm-era superblock: blocks of %" PRIu32 " sectors, metadata blocks of %" PRIu32, data_sectors,
                         meta_sectors);
    }
    if (br_get_u32(block + 180) > BR_ERA_BLOCKS_MAX) {
        return br_err_at(reterr, BR_E_CORRUPT, at, "dm-era superblock: %" PRIu32 " data blocks",
                         br_get_u32(block + 180));
    }
    return 0;
}

int br_era_superblock_decode(const uint8_t *block, uint64_t number, struct br_era_superblock *ret_superblock,
                             struct br_err *reterr)
{
    if (br_is_zero(block, BR_PDATA_BLOCK_BYTES)) {
        return br_err_at(reterr, BR_E_NOT_FOUND, number * BR_PDATA_BLOCK_BYTES,
                         "no dm-era metadata: block %" PRIu64 " is zero", number);
    }
    if (!br_era_is_superblock(block)) {
        return br_err_at(reterr, BR_E_CORRUPT, number * BR_PDATA_BLOCK_BYTES,
                         "no dm-era superblock in block %" PRIu64 ": another magic", number);
    }
    int rc = br_pdata_check(block, CHECKSUM_XOR, 8, number, "dm-era superblock", reterr);
    if (rc == 0) {
        rc = check_numbers(block, number, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    *ret_superblock = (struct br_era_superblock){
        .block = number,
        .space = br_pdata_space_root_decode(block + 44),
        .block_bytes = (uint64_t)br_get_u32(block + 172) * SECTOR_BYTES,
        .blocks = br_get_u32(block + 180),
        .current_era = br_get_u32(block + 184),
        .current = br_era_writeset_decode(br_get_u32(block + 184), block + 188),
        .writeset_tree = br_get_u64(block + 200),
        .era_array = br_get_u64(block + 208),
        .snap_block = br_get_u64(block + 216),
    };
    memcpy(ret_superblock->uuid, block + 16, sizeof(ret_superblock->uuid));
    return 0;
}

struct br_era_writeset br_era_writeset_decode(uint64_t era, const uint8_t *value)
{
    return (struct br_era_writeset){.era = (uint32_t)era, .bits = br_get_u32(value), .root = br_get_u64(value + 4)};
}

// Nodes of a B-tree over @leaves blocks or leaf nodes, the fullest and the emptiest that there can be.
static uint64_t nodes_over(uint64_t leaves)
{
    uint64_t nodes = 0;

    while (leaves > 1) {
        leaves = br_div_up(leaves, NODE_CHILDREN_MIN);
        nodes += leaves;
    }
    return nodes;
}

static uint64_t array_blocks(uint64_t entries, unsigned value_bytes)
{
    const uint64_t leaves = br_div_up(entries, br_pdata_array_entries(value_bytes));

    return leaves + BR_MAX(nodes_over(leaves), UINT64_C(1)); // one array block hangs in a node, too
}

int br_era_meta_bytes(uint64_t volume_bytes, uint64_t block_bytes, uint32_t eras, uint64_t *ret_bytes,
                      struct br_err *reterr)
{
    if (!block_bytes || block_bytes % BR_PDATA_BLOCK_BYTES) {
        return br_err_set(reterr, BR_E_INTERNAL, "dm-era blocks of %" PRIu64 " bytes", block_bytes);
    }
    const uint64_t blocks = br_div_up(volume_bytes, block_bytes);
    if (blocks > BR_ERA_BLOCKS_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "%" PRIu64 " blocks of %" PRIu64 " bytes are more than dm-era allows",
                          blocks, block_bytes);
    }
    const uint64_t array = array_blocks(blocks, BYTES_OF_ERA);
    const uint64_t writeset = array_blocks(br_div_up(blocks, WORD_BITS), BYTES_OF_WORD);
    const uint64_t leaves = br_div_up(BR_MAX(eras, UINT32_C(1)), WRITESETS_OF_NODE);
    const uint64_t tree = leaves + nodes_over(leaves);
    const uint64_t data = 2 + 3 * array + (3 * (uint64_t)eras + 2) * writeset + 3 * tree;
    uint64_t total = data + data / 4, bitmaps = 0;
    while (br_div_up(total + 2 * (bitmaps + 1) + 1, BR_PDATA_BITMAP_BLOCKS) > bitmaps) {
        bitmaps++;
    }
    total += 2 * (bitmaps + 1) + 1;
    if (total > META_BLOCKS_MAX) {
        return br_err_set(reterr, BR_E_LIMIT,
                          "dm-era metadata of %" PRIu64 " blocks for %" PRIu64 " eras is more than its space map holds",
                          total, (uint64_t)eras);
    }
    *ret_bytes = total * BR_PDATA_BLOCK_BYTES;
    return 0;
}
