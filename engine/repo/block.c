// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/block.h"

#include <stdio.h>

static int find(struct br_repo *repo, const struct br_chunk_id *id, bool base, struct br_index_chunk *chunk,
                struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(repo);
    int rc = base ? br_index_find_block(index, id, 0, chunk, reterr) : br_index_find(index, id, chunk, reterr);

    if (!rc) {
        return br_err_set(reterr, BR_E_NOT_FOUND, base ? "the block below is in no pack" : "is in no pack");
    }
    if (rc > 0 && chunk->kind != BR_CHUNK_BLOCK && chunk->kind != BR_CHUNK_OVERLAY) {
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

// Mending -----------------------------------------------------------------------------------------------------------------------------

struct mending {
    struct br_index *index;
    struct br_frames *frames;
    const struct br_hash *leaf;
    uint8_t *to;
    uint32_t len_bytes;
};

// A block from this chunk, through @base where it is an overlay.
static int block_from(const struct mending *m, const struct br_index_chunk *chunk, const struct br_index_chunk *base)
{
    const struct br_index_chunk *whole = base ? base : chunk;
    struct br_overlay overlay;
    struct br_buf bytes = {0}, pages = {0};
    struct br_hash hash;
    int rc = br_frames_chunk_at(m->frames, whole, &bytes, NULL);

    if (!rc && (whole->kind != BR_CHUNK_BLOCK || bytes.len != m->len_bytes)) {
        rc = -BR_E_CORRUPT;
    }
    if (!rc) {
        memcpy(m->to, bytes.data, m->len_bytes);
    }
    if (!rc && base) {
        rc = br_frames_chunk_at(m->frames, chunk, &pages, NULL);
        rc = rc < 0 ? rc : br_overlay_decode(pages.data, pages.len, m->len_bytes, &overlay, NULL);
        if (!rc) {
            br_overlay_apply(&overlay, m->to, m->len_bytes);
        }
    }
    if (!rc) {
        br_leaf_hash(m->to, m->len_bytes, &hash);
        rc = br_hash_equal(&hash, m->leaf) ? 0 : -BR_E_CORRUPT;
    }
    br_buf_free(&bytes);
    br_buf_free(&pages);
    return rc;
}

// Every place where the overlay's base is.
static bool try_bases(const struct mending *m, const struct br_index_chunk *chunk)
{
    struct br_index_chunk base, last;
    int rc = br_index_find(m->index, &chunk->base, &base, NULL);

    while (rc > 0 && block_from(m, chunk, &base) < 0) {
        last = base;
        rc = br_index_find_after(m->index, &chunk->base, &last, &base, NULL);
    }
    return rc > 0;
}

static bool try_all(const struct mending *m, const struct br_chunk_id *id)
{
    struct br_index_chunk chunk, last;
    int rc = br_index_find(m->index, id, &chunk, NULL);

    while (rc > 0) {
        if (chunk.kind == BR_CHUNK_OVERLAY ? try_bases(m, &chunk) : !block_from(m, &chunk, NULL)) {
            return true;
        }
        last = chunk;
        rc = br_index_find_after(m->index, id, &last, &chunk, NULL);
    }
    return false;
}

bool br_block_mend(struct br_block_read *block, struct br_repo *repo, struct br_frames *frames, struct br_mac *domain,
                   uint8_t *to, uint32_t len_bytes)
{
    const struct mending m = {
        .index = br_repo_index_of(repo), .frames = frames, .leaf = &block->leaf, .to = to, .len_bytes = len_bytes};
    struct br_chunk_id id;

    if (br_store_is_lost(block->result) || block->result == -BR_E_NOMEM ||
        br_chunk_id_leaf(domain, &block->leaf, &id, NULL) < 0) {
        return false;
    }
    bool whole = try_all(&m, &id) || (br_repo_look_again(repo) && try_all(&m, &id));
    block->result = whole ? 0 : block->result;
    return whole;
}
