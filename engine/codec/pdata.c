// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/pdata.h"

#include <inttypes.h>

#include "engine/codec/crc32c.h"

#define NODE_HEADER_BYTES  32u
#define NODE_INTERNAL      1u
#define NODE_LEAF          2u
#define INDEX_HEADER_BYTES 16u
#define INDEX_ENTRY_BYTES  16u

static int damaged(struct br_err *reterr, uint64_t number, const char *what, const char *why)
{
    return br_err_at(reterr, BR_E_CORRUPT, number * BR_PDATA_BLOCK_BYTES, "%s in block %" PRIu64 ": %s", what, number,
                     why);
}

uint32_t br_pdata_checksum(const uint8_t *block, uint32_t xor)
{
    return br_crc32c(UINT32_MAX, block + 4, BR_PDATA_BLOCK_BYTES - 4) ^ xor;
}

int br_pdata_check(const uint8_t *block, uint32_t xor, unsigned number_at_bytes, uint64_t number, const char *what,
                   struct br_err *reterr)
{
    if (br_get_u32(block) != br_pdata_checksum(block, xor)) {
        return damaged(reterr, number, what, "damaged, or a block of another kind");
    }
    if (br_get_u64(block + number_at_bytes) != number) {
        return damaged(reterr, number, what, "it belongs into another block");
    }
    return 0;
}

static int check_keys(const struct br_pdata_node *node, uint64_t number, struct br_err *reterr)
{
    for (unsigned i = 1; i < node->entries; i++) {
        if (br_pdata_node_key(node, i - 1) >= br_pdata_node_key(node, i)) {
            return damaged(reterr, number, "B-tree node", "its keys do not ascend");
        }
    }
    return 0;
}

int br_pdata_node_decode(const uint8_t *block, uint64_t number, unsigned value_bytes, struct br_pdata_node *ret_node,
                         struct br_err *reterr)
{
    int rc = br_pdata_check(block, BR_PDATA_NODE, 8, number, "B-tree node", reterr);
    if (rc < 0) {
        return rc;
    }
    const uint32_t flags = br_get_u32(block + 4), entries = br_get_u32(block + 16), most = br_get_u32(block + 20),
                   value = br_get_u32(block + 24);
    if (flags != NODE_INTERNAL && flags != NODE_LEAF) {
        return damaged(reterr, number, "B-tree node", "neither internal nor a leaf");
    }
    if (value != (flags == NODE_LEAF ? value_bytes : sizeof(uint64_t))) {
        return damaged(reterr, number, "B-tree node", "values of another size");
    }
    if (most > (BR_PDATA_BLOCK_BYTES - NODE_HEADER_BYTES) / (sizeof(uint64_t) + value) || entries > most) {
        return damaged(reterr, number, "B-tree node", "more entries than fit");
    }
    const struct br_pdata_node node = {
        .is_leaf = flags == NODE_LEAF,
        .entries = entries,
        .value_bytes = value,
        .keys = block + NODE_HEADER_BYTES,
        .values = block + NODE_HEADER_BYTES + sizeof(uint64_t) * most,
    };
    rc = check_keys(&node, number, reterr);
    if (rc == 0) {
        *ret_node = node;
    }
    return rc;
}

uint64_t br_pdata_node_key(const struct br_pdata_node *node, unsigned i)
{
    return br_get_u64(node->keys + sizeof(uint64_t) * i);
}

const uint8_t *br_pdata_node_value(const struct br_pdata_node *node, unsigned i)
{
    return node->values + (size_t)node->value_bytes * i;
}

unsigned br_pdata_array_entries(unsigned value_bytes)
{
    return (BR_PDATA_BLOCK_BYTES - BR_PDATA_ARRAY_HEADER_BYTES) / value_bytes;
}

int br_pdata_array_decode(const uint8_t *block, uint64_t number, unsigned value_bytes, struct br_pdata_array *ret_array,
                          struct br_err *reterr)
{
    int rc = br_pdata_check(block, BR_PDATA_ARRAY, 16, number, "array block", reterr);
    if (rc < 0) {
        return rc;
    }
    const uint32_t most = br_get_u32(block + 4), entries = br_get_u32(block + 8);
    if (br_get_u32(block + 12) != value_bytes) {
        return damaged(reterr, number, "array block", "values of another size");
    }
    if (most != br_pdata_array_entries(value_bytes) || entries > most) {
        return damaged(reterr, number, "array block", "more entries than fit");
    }
    *ret_array = (struct br_pdata_array){.entries = entries, .values = block + BR_PDATA_ARRAY_HEADER_BYTES};
    return 0;
}

struct br_pdata_space_root br_pdata_space_root_decode(const uint8_t *bytes)
{
    return (struct br_pdata_space_root){
        .blocks = br_get_u64(bytes),
        .allocated = br_get_u64(bytes + 8),
        .index_block = br_get_u64(bytes + 16),
        .counts_block = br_get_u64(bytes + 24),
    };
}

uint64_t br_pdata_index_entry(const uint8_t *block, unsigned i)
{
    return br_get_u64(block + INDEX_HEADER_BYTES + (size_t)INDEX_ENTRY_BYTES * i);
}

unsigned br_pdata_bitmap_count(const uint8_t *block, unsigned i)
{
    const unsigned bits = block[16 + i / 4] >> 2 * (i % 4);

    return (bits & 1) << 1 | (bits >> 1 & 1);
}
