// SPDX-License-Identifier: Apache-2.0
//
// A volume as plain bytes in memory, for tests: takes a delta's records the simplest way there is, and gives its version by hashing all of
// it. What the engine does cleverly is compared with this.
#ifndef T_IMAGE_H
#define T_IMAGE_H

#include "engine/codec/delta.h"
#include "tests/lib/t_tree.h"

struct t_image {
    uint8_t *bytes;
    uint64_t size_bytes;
    uint64_t next_block; // records must ascend
    uint64_t data_bytes;
    uint64_t zero_bytes;
    uint64_t unreadable_blocks;
    uint64_t kept_blocks;
    uint64_t records;
};
/** t_image_resize - grown bytes are zeros; begins a new delta */
void t_image_resize(struct t_image *image, uint64_t size_bytes);
/** t_image_batch, t_image_run - apply one record; fails the test when it is malformed, out of order or its blocks' leaves are wrong */
void t_image_batch(struct t_image *image, const struct br_batch *batch);
void t_image_run(struct t_image *image, const struct br_run *run);
/** t_image_keep - the same for blocks that are to be kept: @held is what the far end's blocks hold, as bytes of the whole volume */
void t_image_keep(struct t_image *image, const struct br_keep *keep, const uint8_t *held);
/** t_image_free - empty again */
void t_image_free(struct t_image *image);

/**
 * t_tree_of - the version of @bytes, leaf by leaf
 * @secret  page hashes are kept when not NULL
 */
struct br_tree t_tree_of(const uint8_t *bytes, uint64_t size_bytes, const uint8_t *secret,
                         const struct br_tree_store *store);

#endif
