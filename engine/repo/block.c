// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/block.h"

#include <stdio.h>

static int find(struct br_repo *repo, const struct br_chunk_id *id, bool base, struct br_index_chunk *chunk,
                struct br_err *reterr)
{
    int rc = br_index_find(br_repo_index_of(repo), id, chunk, reterr);

    if (!rc) {
        return br_err_set(reterr, BR_E_NOT_FOUND, base ? "the block below is in no pack" : "is in no pack");
    }
    if (rc > 0 && chunk->kind != BR_CHUNK_BLOCK && (base || chunk->kind != BR_CHUNK_OVERLAY)) {
        return br_err_set(reterr, BR_E_CORRUPT, "its chunk is of another kind");
    }
    return rc;
}

static int want(struct br_frames *frames, const struct br_index_chunk *chunk, const struct br_frame **frame,
                struct br_err *reterr)
{
    return *frame ? 1 : br_frames_want(frames, chunk->pack, chunk->frame, frame, reterr);
}

static int acquire(struct br_block_read *block, struct br_repo *repo, struct br_frames *frames, struct br_mac *domain)
{
    struct br_chunk_id id;
    int rc = 1;

    if (!block->frame) {
        rc = br_chunk_id_leaf(domain, &block->leaf, &id, &block->err);
        rc = rc < 0 ? rc : find(repo, &id, false, &block->chunk, &block->err);
    }
    rc = rc < 0 ? rc : want(frames, &block->chunk, &block->frame, &block->err);
    if (rc <= 0 || block->chunk.kind == BR_CHUNK_BLOCK) {
        return rc;
    }
    rc = find(repo, &block->chunk.base, true, &block->base, &block->err);
    return rc < 0 ? rc : want(frames, &block->base, &block->base_frame, &block->err);
}

int br_block_acquire(struct br_block_read *block, struct br_repo *repo, struct br_frames *frames, struct br_mac *domain)
{
    int rc = acquire(block, repo, frames, domain);

    if (rc < 0) {
        block->result = rc;
        br_block_release(block, frames);
    }
    return rc;
}

bool br_block_frames_ready(const struct br_block_read *block)
{
    return (!block->frame || block->frame->ready) && (!block->base_frame || block->base_frame->ready);
}

static const uint8_t *chunk_bytes(const struct br_frame *frame, const struct br_index_chunk *chunk,
                                  struct br_block_read *block)
{
    if (frame->result < 0) {
        block->result = frame->result;
        block->err = frame->err;
        return NULL;
    }
    if (!br_range_ok(chunk->at, chunk->len_bytes, frame->raw_bytes)) {
        block->result = br_err_set(&block->err, BR_E_CORRUPT, "the index has a chunk behind its frame's end");
        return NULL;
    }
    return frame->data + chunk->at;
}

void br_block_assemble(struct br_block_read *block, uint8_t *to, uint32_t len_bytes)
{
    bool overlaid = block->chunk.kind == BR_CHUNK_OVERLAY;
    const struct br_index_chunk *whole = overlaid ? &block->base : &block->chunk;
    const uint8_t *bytes = chunk_bytes(overlaid ? block->base_frame : block->frame, whole, block);
    struct br_overlay overlay;
    struct br_hash leaf;

    if (!bytes) {
        return;
    }
    if (whole->len_bytes != len_bytes) {
        block->result =
            br_err_set(&block->err, BR_E_CORRUPT, "a block of %u bytes instead of %u", whole->len_bytes, len_bytes);
        return;
    }
    memcpy(to, bytes, len_bytes);
    if (overlaid) {
        bytes = chunk_bytes(block->frame, &block->chunk, block);
        if (!bytes ||
            (block->result = br_overlay_decode(bytes, block->chunk.len_bytes, len_bytes, &overlay, &block->err)) < 0) {
            return;
        }
        br_overlay_apply(&overlay, to, len_bytes);
    }
    br_leaf_hash(to, len_bytes, &leaf);
    if (!br_hash_equal(&leaf, &block->leaf)) {
        block->result = br_err_set(&block->err, BR_E_CORRUPT, "the content is not what the point says");
    }
}

void br_block_release(struct br_block_read *block, struct br_frames *frames)
{
    if (block->frame) {
        br_frames_put(frames, block->frame);
    }
    if (block->base_frame) {
        br_frames_put(frames, block->base_frame);
    }
    block->frame = block->base_frame = NULL;
}
