// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "engine/repo/version.h"

#define USAGE_FRAMES 16u
#define USAGE_SHARED (UINT32_C(1) << 31) // of a place's first volume: it is not the only one

struct place {
    uint64_t key;   // 0: free
    uint32_t first; // volume that met it first, from 1, and whether others did
    uint32_t last;  // volume that met it last
};

struct using
{
    const struct br_usage_params *params;
    struct br_usage *usage;
    struct br_index *index;
    struct br_frames *frames;
    struct place *places;
    uint64_t place_count; // a power of two
    // The point that is walked.
    struct br_repo_version version;
    struct br_tree_store marking; // its store, which marks the nodes that are fetched
    uint32_t volume;              // its volume, from 1
    uint64_t data_bytes;          // of the point before, then of this one
    const struct br_tree_geometry *before;
};

static void add(struct br_usage_part *part, const struct br_usage_part *more)
{
    part->chunks += more->chunks;
    part->raw_bytes += more->raw_bytes;
    part->stored_bytes += more->stored_bytes;
}

static void take_away(struct br_usage_part *part, const struct br_usage_part *less)
{
    part->chunks -= less->chunks;
    part->raw_bytes -= less->raw_bytes;
    part->stored_bytes -= less->stored_bytes;
}

// Chunks ------------------------------------------------------------------------------------------------------------------------------

static int place_of(struct using *u, const struct br_chunk_id *id, struct place **ret_place, struct br_err *reterr)
{
    uint64_t key = br_get_u64(id->bytes), mask = u->place_count - 1;

    key += !key;
    for (uint64_t at = key & mask, tries = 0; tries < u->place_count; at = (at + 1) & mask, tries++) {
        if (!u->places[at].key || u->places[at].key == key) {
            u->places[at].key = key;
            *ret_place = &u->places[at];
            return 0;
        }
    }
    return br_err_set(reterr, BR_E_INTERNAL, "more chunks than there are");
}

static int mark(struct using *u, const struct br_chunk_id *id, bool base, struct br_err *reterr);

static int mark_found(struct using *u, const struct br_chunk_id *id, const struct br_index_chunk *chunk,
                      struct br_err *reterr)
{
    struct br_usage_volume *volumes = u->usage->volumes;
    struct br_index_frame frame;
    struct place *place = NULL;
    int rc = place_of(u, id, &place, reterr);

    if (rc < 0 || place->last == u->volume) {
        return rc;
    }
    rc = br_index_frame_of(u->index, chunk->pack, chunk->frame, &frame, reterr);
    if (rc < 0) {
        return rc;
    }
    uint64_t sealed = (uint64_t)frame.sealed_bytes + BR_SEAL_TAG_BYTES;
    const struct br_usage_part part = {
        .chunks = 1,
        .raw_bytes = chunk->len_bytes,
        .stored_bytes = frame.raw_bytes ? sealed * chunk->len_bytes / frame.raw_bytes : 0,
    };
    place->last = u->volume;
    if (!place->first) {
        place->first = u->volume;
        add(&u->usage->needed, &part);
        add(&volumes[u->volume - 1].alone, &part);
    } else {
        if (!(place->first & USAGE_SHARED)) {
            take_away(&volumes[place->first - 1].alone, &part);
            add(&volumes[place->first - 1].shared, &part);
            place->first |= USAGE_SHARED;
        }
        add(&volumes[u->volume - 1].shared, &part);
    }
    return chunk->kind == BR_CHUNK_OVERLAY ? mark(u, &chunk->base, true, reterr) : 0;
}

// @base: it lies below an overlay, and is none itself
static int mark(struct using *u, const struct br_chunk_id *id, bool base, struct br_err *reterr)
{
    struct br_index_chunk chunk;
    int rc = br_index_find(u->index, id, &chunk, reterr);

    if (rc < 0) {
        return rc;
    }
    if (!rc || (base && chunk.kind != BR_CHUNK_BLOCK)) {
        u->usage->missing++;
        return 0;
    }
    return mark_found(u, id, &chunk, reterr);
}

static int marking_fetch(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    struct using *u = ctx;
    struct br_chunk_id id;
    int rc = br_chunk_id_node(u->version.domain, &link->hash, &id, reterr);

    rc = rc < 0 ? rc : mark(u, &id, false, reterr);
    return rc < 0 ? rc : u->version.store.fetch(u->version.store.ctx, link, bytes, reterr);
}

static uint64_t data_of(const struct br_tree_geometry *geometry, uint64_t block, const struct br_hash *leaf)
{
    return br_leaf_is_special(leaf) || block >= geometry->block_count ? 0 : br_block_bytes(geometry, block);
}

static int take_leaf(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    struct using *u = ctx;
    struct br_chunk_id id;

    u->data_bytes -= data_of(u->before, block, old_leaf);
    u->data_bytes += data_of(&u->version.tree.geometry, block, new_leaf);
    if (br_leaf_is_special(new_leaf)) {
        return 0;
    }
    int rc = br_chunk_id_leaf(u->version.domain, new_leaf, &id, NULL);
    return rc < 0 ? rc : mark(u, &id, false, NULL);
}

// Points ------------------------------------------------------------------------------------------------------------------------------

static int walk(struct using *u, const struct br_point *point, const struct br_point *before, struct br_err *reterr)
{
    struct br_repo *repo = u->params->repo;
    struct br_repo_version old = {0};
    struct br_tree none;
    struct br_err err = {0};
    int rc = br_repo_version_open(repo, u->frames, point, &u->version, reterr);

    rc = rc < 0 || !before ? rc : br_repo_version_open(repo, u->frames, before, &old, reterr);
    if (!rc) {
        u->marking = (struct br_tree_store){.fetch = marking_fetch, .keep = u->version.store.keep, .ctx = u};
        br_tree_empty(&u->version.tree.geometry, &br_hash_zero, &none);
        u->before = before ? &old.tree.geometry : &none.geometry;
        u->data_bytes = before ? u->data_bytes : 0;
        rc = br_tree_diff(before ? &old.tree : &none, before ? &old.store : &u->marking, &u->version.tree, &u->marking,
                          take_leaf, u, &err);
    }
    br_repo_version_close(&u->version);
    br_repo_version_close(&old);
    // A tree that can't be read: what is behind it is not known.
    if (rc == -BR_E_NOT_FOUND || rc == -BR_E_CORRUPT || rc == -BR_E_TRUNCATED || rc == -BR_E_VERSION) {
        return 1;
    }
    if (rc < 0 && err.code && reterr) {
        *reterr = err;
    }
    return rc;
}

static int walk_points(struct using *u, struct br_err *reterr)
{
    const struct br_usage_params *params = u->params;
    const struct br_point *before = NULL;
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < params->point_count; i++) {
        const struct br_point *point = &params->points[i];

        if (params->cancel && *params->cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "looking at the points");
        }
        if (!i || !br_uuid_equal(&params->points[i - 1].volume, &point->volume)) {
            u->usage->volumes[u->volume++].volume = point->volume;
            before = NULL;
        }
        struct br_usage_volume *volume = &u->usage->volumes[u->volume - 1];
        if (before && !br_uuid_equal(&before->domain, &point->domain)) {
            before = NULL; // they share no node
        }
        rc = walk(u, point, before, reterr);
        before = rc ? NULL : point;
        volume->newest = *point;
        volume->points++;
        volume->data_bytes += rc ? 0 : u->data_bytes;
        u->usage->data_bytes += rc ? 0 : u->data_bytes;
        u->usage->points++;
        if (params->progress) {
            params->progress(params->progress_ctx, i + 1, params->point_count);
        }
    }
    u->usage->volume_count = u->volume;
    return BR_MIN(rc, 0);
}

static int sum_pack(void *ctx, const struct br_index_pack *pack)
{
    struct using *u = ctx;
    struct br_index_frame frame;

    u->usage->packs++;
    u->usage->pack_bytes += pack->bytes;
    for (uint32_t number = 0; !br_index_frame_of(u->index, pack->number, number, &frame, NULL); number++) {
        u->usage->whole.raw_bytes += frame.raw_bytes;
        u->usage->whole.stored_bytes += (uint64_t)frame.sealed_bytes + BR_SEAL_TAG_BYTES;
    }
    return 0;
}

static int table_open(struct using *u, struct br_err *reterr)
{
    uint64_t packs, chunks, least = 1024;
    int rc = br_index_counts(u->index, &packs, &chunks, reterr);

    if (rc < 0) {
        return rc;
    }
    u->usage->chunks = u->usage->whole.chunks = chunks;
    for (u->place_count = least; u->place_count < 2 * chunks;) {
        u->place_count *= 2;
    }
    // Its room is taken now: a mapped file that meets a full disk later would kill.
    int error = posix_fallocate(u->params->scratch_fd, 0, (off_t)(u->place_count * sizeof(struct place)));
    if (error) {
        return br_err_os(reterr, error, "the table of chunks");
    }
    void *map =
        mmap(NULL, u->place_count * sizeof(struct place), PROT_READ | PROT_WRITE, MAP_SHARED, u->params->scratch_fd, 0);
    if (map == MAP_FAILED) {
        return br_err_os(reterr, errno, "the table of chunks");
    }
    u->places = map;
    return 0;
}

int br_repo_usage(const struct br_usage_params *params, struct br_usage *ret_usage, struct br_err *reterr)
{
    struct using u = {.params = params, .usage = ret_usage, .index = br_repo_index_of(params->repo)};

    *ret_usage = (struct br_usage){0};
    ret_usage->volumes = calloc(params->point_count + 1, sizeof(*ret_usage->volumes));
    int rc = ret_usage->volumes ? table_open(&u, reterr) : br_err_set(reterr, BR_E_NOMEM, "the volumes");
    rc = rc < 0 ? rc : br_frames_open(params->repo, USAGE_FRAMES, &u.frames, reterr);
    rc = rc < 0 ? rc : walk_points(&u, reterr);
    rc = rc < 0 ? rc : br_index_each_pack(u.index, sum_pack, &u, reterr);
    br_frames_close(u.frames);
    if (u.places) {
        munmap(u.places, u.place_count * sizeof(struct place));
    }
    return rc;
}

void br_usage_free(struct br_usage *usage)
{
    free(usage->volumes);
    *usage = (struct br_usage){0};
}
