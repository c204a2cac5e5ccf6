// SPDX-License-Identifier: Apache-2.0
//
// Blocks of the kernel's persistent-data library, which dm-era (and dm-thin) keep their metadata in: copy-on-write B-trees, arrays whose blocks
// hang in a B-tree, and the metadata's own space map. Sources: drivers/md/persistent-data/dm-btree-internal.h and dm-btree-spine.c (nodes),
// dm-array.c (array blocks), dm-space-map-common.[ch] (space map), dm-block-manager.c (checksum).
//
// A block is 4096 bytes, numbers are little-endian. Each begins with its checksum: CRC-32C of the other 4092 bytes, register begun with all
// ones and not complemented, XORed with a constant of its kind; and says in which block it belongs, so that a block is noticed that was written
// to the wrong place. What is not noticed by a block itself: that it is an older one of the same place (a lost write), or a newer one (space that
// was freed and used again). Readers: engine/track/pdata_file.h.
//
//     B-tree node    0 u32 checksum   4 u32 flags: 1 internal, 2 leaf   8 u64 block   16 u32 entries   20 u32 most entries
//                    24 u32 bytes of a value   28 u32 zero   32 u64 keys[most entries]   then values[most entries]
//     array block    0 u32 checksum   4 u32 most entries   8 u32 entries   12 u32 bytes of a value   16 u64 block   24 values
//     index          0 u32 checksum   4 u32 zero   8 u64 block   16 255 x {u64 bitmap's block, u32 free, u32 none free before}
//     bitmap         0 u32 checksum   4 u32 zero   8 u64 block   16 4080 bytes: 2 bits for each of 16320 blocks, the high bit first
//
// An internal node's values are u64 block numbers of its children, a key is not above the lowest one of its child. A bitset is an array of
// u64, bit i of the set is bit i % 64 of word i / 64.
#ifndef BR_CODEC_PDATA_H
#define BR_CODEC_PDATA_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_PDATA_BLOCK_BYTES        4096u
#define BR_PDATA_BITMAP_BLOCKS      16320u // blocks that a bitmap is about
#define BR_PDATA_BITMAPS_MAX        255u
#define BR_PDATA_SPACE_ROOT_BYTES   128u // that a superblock keeps for it; 32 are used
#define BR_PDATA_NODE_ENTRIES_MAX   254u // (4096 - 32) / (8 + 8)
#define BR_PDATA_ARRAY_HEADER_BYTES 24u

// The constants that the checksums are XORed with.
enum br_pdata_kind {
    BR_PDATA_NODE = 121107,
    BR_PDATA_ARRAY = 595846735,
    BR_PDATA_INDEX = 160478,
    BR_PDATA_BITMAP = 240779,
};

struct br_pdata_node {
    bool is_leaf;
    unsigned entries;
    unsigned value_bytes;
    const uint8_t *keys; // within the block
    const uint8_t *values;
};

struct br_pdata_array {
    unsigned entries;
    const uint8_t *values; // within the block
};

// Root of a metadata space map, as a superblock keeps it.
struct br_pdata_space_root {
    uint64_t blocks;
    uint64_t allocated;
    uint64_t index_block;
    uint64_t counts_block; // B-tree of reference counts above 2
};

/** br_pdata_checksum - what a block's first four bytes must be; @xor: an enum br_pdata_kind or a superblock's constant */
uint32_t br_pdata_checksum(const uint8_t *block, uint32_t xor);
/**
 * br_pdata_check - checksum and place of a block
 * @block            BR_PDATA_BLOCK_BYTES of it
 * @number_at_bytes  where it says its block number: 8, 16 in array blocks
 * Errors: -BR_E_CORRUPT at the block's offset
 */
BR_MUST_CHECK int br_pdata_check(const uint8_t *block, uint32_t xor, unsigned number_at_bytes, uint64_t number,
                                 const char *what, struct br_err *reterr);
/**
 * br_pdata_node_decode - a node of a B-tree with values of @value_bytes
 * Errors: -BR_E_CORRUPT at the block's offset: also more entries than fit, keys that don't ascend, values of another size
 */
BR_MUST_CHECK int br_pdata_node_decode(const uint8_t *block, uint64_t number, unsigned value_bytes,
                                       struct br_pdata_node *ret_node, struct br_err *reterr);
/** br_pdata_node_key - key @i */
uint64_t br_pdata_node_key(const struct br_pdata_node *node, unsigned i);
/** br_pdata_node_value - value @i, value_bytes of it */
const uint8_t *br_pdata_node_value(const struct br_pdata_node *node, unsigned i);
/** br_pdata_array_entries - how many values of this size a full array block holds */
unsigned br_pdata_array_entries(unsigned value_bytes);
/** br_pdata_array_decode - a block of an array with values of @value_bytes; errors as br_pdata_node_decode() */
BR_MUST_CHECK int br_pdata_array_decode(const uint8_t *block, uint64_t number, unsigned value_bytes,
                                        struct br_pdata_array *ret_array, struct br_err *reterr);
/** br_pdata_space_root_decode - from the bytes of a superblock */
struct br_pdata_space_root br_pdata_space_root_decode(const uint8_t *bytes);
/** br_pdata_index_entry - the block of bitmap @i of an index block */
uint64_t br_pdata_index_entry(const uint8_t *block, unsigned i);
/** br_pdata_bitmap_count - reference count 0 to 3 (3: more than 2) of the @i-th block that a bitmap block is about */
unsigned br_pdata_bitmap_count(const uint8_t *block, unsigned i);

#endif
