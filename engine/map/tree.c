// SPDX-License-Identifier: Apache-2.0
//
// Geometry, root and empty versions. See tree.h.
#include "engine/map/tree_node.h"

bool br_tree_geometry_of(uint64_t size_bytes, struct br_tree_geometry *ret_geometry)
{
    if (size_bytes > BR_VOLUME_BYTES_MAX) {
        return false;
    }
    *ret_geometry = (struct br_tree_geometry){
        .size_bytes = size_bytes,
        .block_count = br_div_up(size_bytes, BR_BLOCK_BYTES),
        .levels = 1,
    };
    while (UINT64_C(1) << (8 * ret_geometry->levels) < ret_geometry->block_count) {
        ret_geometry->levels++;
    }
    return true;
}

uint32_t br_block_bytes(const struct br_tree_geometry *geometry, uint64_t index)
{
    if (index >= geometry->block_count) {
        return 0;
    }
    return (uint32_t)BR_MIN(geometry->size_bytes - index * BR_BLOCK_BYTES, (uint64_t)BR_BLOCK_BYTES);
}

void br_tree_root(const struct br_tree *tree, struct br_hash *ret_root)
{
    static const uint8_t domain[BR_HASH_DOMAIN_BYTES] = "blkrep root 1";
    uint8_t bytes[8 + 4 + 1 + 1 + BR_HASH_BYTES];

    br_put_u64(bytes, tree->geometry.size_bytes);
    br_put_u32(bytes + 8, BR_BLOCK_BYTES);
    bytes[12] = BR_HASH_SHA256;
    bytes[13] = tree->geometry.levels;
    memcpy(bytes + 14, &tree->top.hash, BR_HASH_BYTES);
    br_hash_domain(domain, bytes, sizeof(bytes), ret_root);
}

void br_tree_empty(const struct br_tree_geometry *geometry, const struct br_hash *leaf, struct br_tree *ret_tree)
{
    struct br_tree_shape shape;

    br_tree_shape_init(&shape, geometry);
    ret_tree->geometry = *geometry;
    br_tree_shape_uniform(&shape, leaf, geometry->levels, 0, &ret_tree->top);
}

int br_tree_keep_nothing(void *ctx, const struct br_hash *hash, const uint8_t *bytes, size_t len, uint64_t *ret_ref,
                         struct br_err *reterr)
{
    (void)hash;
    (void)ctx;
    (void)bytes;
    (void)len;
    (void)reterr;
    *ret_ref = 1;
    return 0;
}
