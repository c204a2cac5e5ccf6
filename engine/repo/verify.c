// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/verify.h"

#include <assert.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/repo/proof.h"
#include "engine/repo/version.h"

#define VERIFY_NODES  8u
#define VERIFY_FRAMES 16u
#define VERIFY_TOLD   (100 * BR_NS_PER_MS)

struct verifying {
    const struct br_repo_verify_params *params;
    struct br_repo_verify_result *result;
    struct br_ring *ring;
    struct br_index *index;
    struct br_frames *nodes;
    struct br_frames *frames;
    struct br_repo_verify_progress progress;
    uint64_t told_ns;
    // The point that is looked at.
    const struct br_point *point;
    struct br_repo_version *version;
    uint64_t missing;
    uint64_t lacks_first, lacks_end; // blocks that are missing one behind the other, and not told yet
    bool before_complete;            // the point before it was looked at, and lacks nothing
    char text[600];
    struct br_err lost; // code set: the store can't be asked any more
};

static void bad(struct verifying *v)
{
    if (v->params->bad) {
        v->params->bad(v->params->ctx, v->text);
    }
}

// A store that can't be asked any more says nothing of what it holds.
static int lost(struct verifying *v, const struct br_err *err)
{
    v->lost = *err;
    return -err->code;
}

static int tell(struct verifying *v)
{
    uint64_t now_ns = br_ring_now_ns(v->ring);

    if (v->params->progress && now_ns - v->told_ns >= VERIFY_TOLD) {
        v->told_ns = now_ns;
        v->params->progress(v->params->ctx, &v->progress);
    }
    return v->params->cancel && *v->params->cancel ? -BR_E_CANCELLED : 0;
}

// Complete ----------------------------------------------------------------------------------------------------------------------------

static bool counts(const struct verifying *v, const struct br_index_chunk *chunk)
{
    return !v->params->lasting || !chunk->doomed;
}

// Is the chunk there, as a block, or as an overlay over a block that is there?
static int look_for(struct verifying *v, const struct br_chunk_id *id, struct br_err *reterr)
{
    struct br_index_chunk chunk, base;
    uint32_t without = v->params->without_epoch;
    int rc = br_index_find_outside(v->index, id, without, &chunk, reterr);

    rc = rc > 0 ? counts(v, &chunk) : rc;
    if (rc > 0 && chunk.kind == BR_CHUNK_OVERLAY) {
        rc = br_index_find_block(v->index, &chunk.base, without, &base, reterr);
        rc = rc > 0 ? counts(v, &base) : rc;
    }
    return rc;
}

static int take_node(void *ctx, const struct br_chunk_id *id, struct br_err *reterr)
{
    struct verifying *v = ctx;
    struct br_index_chunk chunk;
    int rc = br_index_find(v->index, id, &chunk, reterr);

    return rc > 0 && !counts(v, &chunk)
               ? br_err_set(reterr, BR_E_NOT_FOUND,
                            "a part of its tree is only in a pack that is damaged, or that a prune means to delete")
               : BR_MIN(rc, 0);
}

static void tell_lacking(struct verifying *v)
{
    unsigned long long first = v->lacks_first * BR_BLOCK_BYTES, end = v->lacks_end * BR_BLOCK_BYTES;
    char what[100];

    if (first == end) {
        return;
    }
    snprintf(what, sizeof(what), end - first == BR_BLOCK_BYTES ? "block at %llu" : "blocks from %llu to %llu", first,
             end);
    snprintf(v->text, sizeof(v->text), "point %02x%02x%02x%02x of %.200s lacks the %s", v->point->id.bytes[0],
             v->point->id.bytes[1], v->point->id.bytes[2], v->point->id.bytes[3], v->point->label, what);
    bad(v);
    v->lacks_first = v->lacks_end = 0;
}

static void lacks(struct verifying *v, uint64_t block)
{
    if (v->lacks_end != block) {
        tell_lacking(v);
        v->lacks_first = block;
    }
    v->lacks_end = block + 1;
}

static int take_leaf(void *ctx, uint64_t block, const struct br_hash *old_leaf, const struct br_hash *new_leaf)
{
    struct verifying *v = ctx;
    struct br_chunk_id id;
    struct br_err err = {0};

    (void)old_leaf;
    if (br_leaf_is_special(new_leaf)) {
        return 0;
    }
    int rc = br_chunk_id_leaf(v->version->domain, new_leaf, &id, &err);
    rc = rc < 0 ? rc : look_for(v, &id, &err);
    v->result->chunks++;
    if (!rc) {
        v->result->chunks_missing++;
        if (!v->missing++ || v->params->every) {
            lacks(v, block);
        }
    }
    if (rc < 0) {
        return rc;
    }
    return v->result->chunks % 1024 ? 0 : tell(v);
}

// A version is compared with the one before it, whose nodes were looked at already, when that lacks nothing.
static bool shares(const struct br_point *a, const struct br_point *b)
{
    return br_uuid_equal(&a->domain, &b->domain);
}

// A node that is there now, and would not be without the epoch, is missing.
static int fetch_without(void *ctx, const struct br_tree_link *link, uint8_t *bytes, struct br_err *reterr)
{
    const struct verifying *v = ctx;
    struct br_index_chunk chunk;
    struct br_chunk_id id;
    int rc = br_chunk_id_node(v->version->domain, &link->hash, &id, reterr);

    rc = rc < 0 ? rc : br_index_find_outside(v->index, &id, v->params->without_epoch, &chunk, reterr);
    return rc < 0 ? rc
           : !rc  ? br_err_set(reterr, BR_E_NOT_FOUND, "a node of its tree is in no pack")
                  : v->version->store.fetch(v->version->store.ctx, link, bytes, reterr);
}

static int check_point(struct verifying *v, size_t at, struct br_err *reterr)
{
    const struct br_point *point = &v->params->points[at];
    const struct br_point *before =
        v->before_complete && shares(&v->params->points[at - 1], point) ? &v->params->points[at - 1] : NULL;
    struct br_repo *repo = v->params->repo;
    struct br_repo_version version, old = {0};
    struct br_tree none;
    struct br_err err = {0};
    int rc = br_repo_version_open(repo, v->nodes, point, &version, reterr);

    rc = rc < 0 || !before ? rc : br_repo_version_open(repo, v->nodes, before, &old, reterr);
    if (rc < 0) {
        br_repo_version_close(&version);
        return rc;
    }
    br_tree_empty(&version.tree.geometry, &br_hash_zero, &none);
    version.on_node = take_node;
    version.on_node_ctx = v;
    v->point = point;
    v->version = &version;
    v->missing = 0;
    const struct br_tree_store without = {.fetch = fetch_without, .keep = version.store.keep, .ctx = v};
    rc = br_tree_diff(before ? &old.tree : &none, before ? &old.store : &version.store, &version.tree,
                      v->params->without_epoch ? &without : &version.store, take_leaf, v, &err);
    br_repo_version_close(&version);
    br_repo_version_close(&old);
    tell_lacking(v);
    if (rc == -BR_E_NOT_FOUND || rc == -BR_E_CORRUPT || rc == -BR_E_TRUNCATED || rc == -BR_E_VERSION) {
        v->missing++;
        v->result->trees_lacking++;
        snprintf(v->text, sizeof(v->text), "point %02x%02x%02x%02x of %.200s: %.300s", point->id.bytes[0],
                 point->id.bytes[1], point->id.bytes[2], point->id.bytes[3], point->label, err.text);
        bad(v);
        rc = 0;
    } else if (rc < 0 && reterr) {
        *reterr = err;
    }
    v->result->points++;
    v->result->points_incomplete += v->missing > 0;
    if (v->missing && v->params->incomplete) {
        v->params->incomplete(v->params->ctx, point);
    }
    v->before_complete = !v->missing;
    return rc;
}

static int check_points(struct verifying *v, struct br_err *reterr)
{
    int rc = br_frames_open(v->params->repo, VERIFY_NODES, &v->nodes, reterr);

    v->progress = (struct br_repo_verify_progress){.total = v->params->point_count};
    for (size_t at = 0; !rc && at < v->params->point_count; at++) {
        rc = check_point(v, at, reterr);
        v->progress.done = at + 1;
        if (!rc && tell(v) < 0) {
            rc = br_err_set(reterr, BR_E_CANCELLED, "looking at the points");
        }
    }
    br_frames_close(v->nodes);
    return rc;
}

// Intact ------------------------------------------------------------------------------------------------------------------------------

struct reading {
    struct verifying *v;
    const struct br_frame *open[VERIFY_FRAMES]; // a ring of them, oldest at head
    unsigned head, used;
    uint64_t damaged; // frames of the pack
    // Of a pack that is not proven yet.
    struct br_proof *proof;
    struct br_directory directory;
    uint32_t frame, chunk; // that come next
    bool proving;
    // Of a share: packs with other numbers are passed over.
    uint32_t from, next; // next: where the next run begins
    uint64_t left_bytes; // to read
    bool wrapped;
    struct br_err *reterr;
};

static void name_pack(const struct br_index_pack *pack, char name[BR_OBJECT_NAME_BYTES])
{
    br_name_pack(pack->salt, name);
}

// Waits for the oldest frame, and lets it go.
// Is everything in this frame what its id says?
static void prove_frame(struct reading *reading, const struct br_frame *frame)
{
    const struct br_directory *directory = &reading->directory;
    uint32_t at = 0, end = 0;

    if (!reading->proving) {
        return;
    }
    reading->proving = frame->result >= 0 && reading->frame < directory->frame_count;
    end = reading->proving ? reading->chunk + directory->frames[reading->frame++].chunks : 0;
    for (; reading->proving && reading->chunk < end; reading->chunk++) {
        const struct br_chunk_entry *chunk = &directory->chunks[reading->chunk];

        reading->proving = br_range_ok(at, chunk->len_bytes, frame->raw_bytes) &&
                           br_proof_chunk(reading->proof, chunk, frame->data + at);
        at += chunk->len_bytes;
    }
}

static void settle_one(struct reading *reading, const struct br_index_pack *pack)
{
    struct verifying *v = reading->v;
    const struct br_frame *frame = reading->open[reading->head];
    char name[BR_OBJECT_NAME_BYTES];

    while (!frame->ready) {
        br_ring_wait(v->ring, UINT64_MAX);
    }
    if (br_store_is_lost(frame->result)) {
        lost(v, &frame->err);
    } else if (frame->result < 0) {
        name_pack(pack, name);
        if (!reading->damaged++) {
            snprintf(v->text, sizeof(v->text), "%s: %.400s", name, frame->err.text);
            bad(v);
        }
        v->result->frames_damaged++;
    }
    prove_frame(reading, frame);
    br_frames_put(v->frames, frame);
    reading->head = (reading->head + 1) % VERIFY_FRAMES;
    reading->used--;
}

static int read_frame(struct reading *reading, const struct br_index_pack *pack, uint32_t number)
{
    struct verifying *v = reading->v;
    const struct br_frame *frame;

    // One is left free, so that what is asked for always finds room.
    while (reading->used >= VERIFY_FRAMES - 1) {
        settle_one(reading, pack);
    }
    int rc = br_frames_want(v->frames, pack->number, number, &frame, reading->reterr);
    if (rc <= 0) {
        return rc < 0 ? rc : br_err_set(reading->reterr, BR_E_INTERNAL, "no room for a frame");
    }
    reading->open[(reading->head + reading->used++) % VERIFY_FRAMES] = frame;
    return 0;
}

// A share goes on at @from, and begins again behind the last pack.
static bool is_of_the_share(struct reading *reading, const struct br_index_pack *pack)
{
    if (!reading->v->params->share_bytes) {
        return true;
    }
    if (!reading->left_bytes || (reading->wrapped ? pack->number >= reading->from : pack->number < reading->from)) {
        return false;
    }
    reading->left_bytes -= BR_MIN(reading->left_bytes, pack->bytes);
    reading->next = pack->number + 1;
    return true;
}

static int read_pack(void *ctx, const struct br_index_pack *pack)
{
    struct reading *reading = ctx;
    struct verifying *v = reading->v;
    struct br_index_frame place;
    struct br_err err = {0};
    char name[BR_OBJECT_NAME_BYTES];

    if (!is_of_the_share(reading, pack)) {
        return 0;
    }
    // What the index was made from must be there too, for the day when the index is not.
    reading->damaged = 0;
    name_pack(pack, name);
    int rc = br_repo_directory(v->params->repo, name, &reading->directory, NULL, &err);
    reading->proving = !rc && !pack->proven;
    reading->frame = reading->chunk = 0;
    if (br_store_is_lost(rc)) {
        return lost(v, &err);
    }
    if (rc < 0 && rc != -BR_E_NOMEM) {
        reading->damaged++;
        snprintf(v->text, sizeof(v->text), "%.590s", err.text);
        bad(v);
        rc = br_index_set_proven(v->index, pack->number, false, reading->reterr);
    }
    for (uint32_t number = 0; !rc && !br_index_frame_of(v->index, pack->number, number, &place, NULL); number++) {
        rc = read_frame(reading, pack, number);
    }
    while (reading->used) {
        settle_one(reading, pack);
    }
    reading->proving = reading->proving && reading->frame == reading->directory.frame_count;
    br_directory_free(&reading->directory);
    if (!rc && reading->proving) {
        rc = br_index_set_proven(v->index, pack->number, true, reading->reterr);
        v->result->packs_proven += !rc;
    }
    v->result->packs++;
    v->result->packs_damaged += reading->damaged > 0;
    if (reading->damaged && v->params->damaged) {
        v->params->damaged(v->params->ctx, pack->number);
    }
    v->result->bytes_read += pack->bytes;
    v->progress.done += pack->bytes;
    return rc < 0 ? rc : v->lost.code ? -v->lost.code : tell(v);
}

static int sum_pack(void *ctx, const struct br_index_pack *pack)
{
    struct verifying *v = ctx;

    v->result->bytes_stored += pack->bytes;
    return 0;
}

// Without reading: is the pack as long as it was?
static int measure_pack(void *ctx, const struct br_index_pack *pack)
{
    struct verifying *v = ctx;
    const struct br_store *store = br_repo_store_of(v->params->repo);
    char name[BR_OBJECT_NAME_BYTES];
    struct br_err err = {0};
    uint64_t bytes = 0;

    name_pack(pack, name);
    int rc = store->ops->size(store->ctx, name, &bytes, &err);
    if (br_store_is_lost(rc)) {
        return lost(v, &err);
    }
    if (rc < 0 || bytes != pack->bytes) {
        snprintf(v->text, sizeof(v->text), "%s: %.400s", name, rc < 0 ? err.text : "is not as long as it was");
        bad(v);
        v->result->packs_damaged++;
        if (v->params->damaged) {
            v->params->damaged(v->params->ctx, pack->number);
        }
        rc = br_index_set_proven(v->index, pack->number, false, NULL);
        return rc == -BR_E_NOMEM ? rc : 0;
    }
    return tell(v);
}

static int read_packs(struct verifying *v, struct br_err *reterr)
{
    static const struct br_uuid nobody;
    struct reading reading = {.v = v, .reterr = reterr, .left_bytes = v->params->share_bytes};
    uint64_t from = 0;
    int rc = br_frames_open(v->params->repo, VERIFY_FRAMES, &v->frames, reterr);

    v->progress = (struct br_repo_verify_progress){.reading = true, .total = v->result->bytes_stored};
    rc =
        rc < 0 ? rc : br_proof_open(v->params->repo, v->params->points, v->params->point_count, &reading.proof, reterr);
    rc = rc < 0 ? rc : br_index_noted(v->index, 'v', &nobody, &from, reterr);
    reading.from = reading.next = (uint32_t)from;
    if (v->params->share_bytes) {
        v->progress.total = BR_MIN(v->progress.total, v->params->share_bytes);
    }
    rc = rc < 0 ? rc : br_index_each_pack(v->index, read_pack, &reading, reterr);
    if (!rc && v->params->share_bytes && reading.left_bytes) {
        reading.wrapped = true;
        rc = br_index_each_pack(v->index, read_pack, &reading, reterr);
    }
    if (!rc && v->params->share_bytes) {
        rc = br_index_note(v->index, 'v', &nobody, reading.next, reterr);
    }
    if (rc == -BR_E_CANCELLED) {
        br_err_set(reterr, BR_E_CANCELLED, "reading the packs");
    }
    br_proof_close(reading.proof);
    br_frames_close(v->frames);
    return rc;
}

int br_repo_verify(const struct br_repo_verify_params *params, struct br_repo_verify_result *ret_result,
                   struct br_err *reterr)
{
    struct verifying v = {
        .params = params,
        .result = ret_result,
        .ring = br_repo_ring_of(params->repo),
        .index = br_repo_index_of(params->repo),
    };

    *ret_result = (struct br_repo_verify_result){0};
    int rc = check_points(&v, reterr);

    rc = rc < 0 ? rc : br_index_each_pack(v.index, sum_pack, &v, reterr);
    if (!rc && !params->data && !params->points_only && !params->without_epoch) {
        rc = br_index_each_pack(v.index, measure_pack, &v, reterr);
    }
    rc = rc < 0 || !params->data ? rc : read_packs(&v, reterr);
    if (v.lost.code && reterr) {
        *reterr = v.lost;
    }
    return rc;
}
