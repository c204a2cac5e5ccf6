// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/frames.h"

#include <assert.h>
#include <stdio.h>

#include "engine/codec/pack.h"

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_OPENING, SLOT_READY };

struct slot {
    struct br_frame frame; // first: a frame that is given out is found by its address
    struct br_frames *frames;
    enum slot_state state;
    unsigned holders;
    uint64_t used; // when: a counter
    struct br_index_frame place;
    struct br_pack_key key;
    struct br_store_get get;
    struct br_job job;
    struct br_unpacker *unpacker;
    uint8_t *sealed; // BR_FRAME_RAW_MAX and a tag; NULL until first needed
    uint8_t *raw;    // BR_FRAME_RAW_MAX; NULL until first needed
};

struct br_frames {
    struct br_repo *repo;
    struct slot *slots;
    unsigned count;
    unsigned under_way;
    uint64_t used;
    uint64_t bytes;
};

int br_frames_open(struct br_repo *repo, unsigned count, struct br_frames **ret_frames, struct br_err *reterr)
{
    struct br_frames *frames = calloc(1, sizeof(*frames));

    if (!frames || !(frames->slots = calloc(count, sizeof(*frames->slots)))) {
        free(frames);
        return br_err_set(reterr, BR_E_NOMEM, "%u frames", count);
    }
    frames->repo = repo;
    frames->count = count;
    *ret_frames = frames;
    return 0;
}

void br_frames_close(struct br_frames *frames)
{
    if (!frames) {
        return;
    }
    while (frames->under_way) {
        br_ring_wait(br_repo_ring_of(frames->repo), UINT64_MAX);
    }
    for (unsigned i = 0; i < frames->count; i++) {
        struct slot *slot = &frames->slots[i];

        assert(!slot->holders);
        br_key_wipe(&slot->key.key);
        br_unpacker_close(slot->unpacker);
        free(slot->sealed);
        free(slot->raw);
    }
    free(frames->slots);
    free(frames);
}

uint64_t br_frames_bytes(const struct br_frames *frames)
{
    return frames->bytes;
}

// Loading -----------------------------------------------------------------------------------------------------------------------------

static void slot_ready(struct slot *slot)
{
    slot->frames->under_way--;
    slot->state = SLOT_READY;
    slot->frame.ready = true;
    if (slot->frame.result < 0) {
        br_err_prefix(&slot->frame.err, "frame %u", slot->frame.number);
        // What is in there counts as missing for who would else leave it out.
        (void)!br_index_set_proven(br_repo_index_of(slot->frames->repo), slot->frame.pack, false, NULL);
    }
}

static void open_sealed(struct br_job *job)
{
    struct slot *slot = job->ctx;
    const struct br_index_frame *place = &slot->place;
    struct br_frame *frame = &slot->frame;

    frame->result = br_unseal(&slot->key.key, frame->number, slot->key.aad, slot->key.aad_len, slot->sealed,
                              place->sealed_bytes, slot->sealed + place->sealed_bytes, &frame->err);
    if (!frame->result && place->codec == BR_FRAME_ZSTD) {
        frame->result =
            br_unpack(slot->unpacker, slot->sealed, place->sealed_bytes, slot->raw, place->raw_bytes, &frame->err);
    }
    frame->data = place->codec == BR_FRAME_ZSTD ? slot->raw : slot->sealed;
    frame->raw_bytes = place->raw_bytes;
}

static void sealed_opened(struct br_job *job)
{
    slot_ready(job->ctx);
}

static void sealed_read(struct br_store_get *get)
{
    struct slot *slot = get->ctx;

    if (get->result < 0) {
        slot->frame.result = get->result;
        slot->frame.err = get->err;
        slot_ready(slot);
        return;
    }
    slot->frames->bytes += get->len_bytes;
    slot->state = SLOT_OPENING;
    slot->job = (struct br_job){.run = open_sealed, .done = sealed_opened, .ctx = slot};
    br_ring_job(br_repo_ring_of(slot->frames->repo), &slot->job);
}

static int slot_room(struct slot *slot, struct br_err *reterr)
{
    slot->sealed = slot->sealed ? slot->sealed : malloc(BR_FRAME_RAW_MAX + BR_SEAL_TAG_BYTES);
    slot->raw = slot->raw ? slot->raw : malloc(BR_FRAME_RAW_MAX);
    if (!slot->sealed || !slot->raw) {
        return br_err_set(reterr, BR_E_NOMEM, "a frame");
    }
    return slot->unpacker ? 0 : br_unpacker_open(&slot->unpacker, reterr);
}

// What the index says is believed as far as it can't hurt: the seal proves the rest.
static int slot_place(struct slot *slot, uint32_t pack_number, uint32_t number, struct br_err *reterr)
{
    struct br_repo *repo = slot->frames->repo;
    struct br_object object = {.kind = BR_OBJECT_PACK, .repository = br_repo_config_of(repo)->repository};
    uint8_t head[BR_PACK_FRAMES_AT];
    struct br_index_pack pack;
    const struct br_key *epoch_key = NULL;
    int rc = br_index_pack_of(br_repo_index_of(repo), pack_number, &pack, reterr);

    rc = rc < 0 ? rc : br_index_frame_of(br_repo_index_of(repo), pack_number, number, &slot->place, reterr);
    if (!rc && (slot->place.sealed_bytes > BR_FRAME_RAW_MAX || slot->place.raw_bytes > BR_FRAME_RAW_MAX)) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "the index has a frame of %u bytes", slot->place.raw_bytes);
    }
    rc = rc < 0 ? rc : br_repo_epoch_key(repo, pack.epoch, &epoch_key, reterr);
    if (rc < 0) {
        return rc;
    }
    object.epoch = pack.epoch;
    memcpy(object.salt, pack.salt, sizeof(object.salt));
    br_name_pack(pack.salt, slot->get.name);
    return br_pack_key_make(&object, &pack.writer, epoch_key, &slot->key, head, reterr);
}

static int slot_load(struct slot *slot, uint32_t pack, uint32_t number, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(slot->frames->repo);

    slot->state = SLOT_FREE;
    slot->frame = (struct br_frame){.pack = pack, .number = number};
    int rc = slot_room(slot, reterr);
    rc = rc < 0 ? rc : slot_place(slot, pack, number, reterr);
    if (rc < 0) {
        return rc;
    }
    slot->state = SLOT_READING;
    slot->frames->under_way++;
    slot->get.offset_bytes = slot->place.offset_bytes;
    slot->get.buf = slot->sealed;
    slot->get.len_bytes = slot->place.sealed_bytes + BR_SEAL_TAG_BYTES;
    slot->get.done = sealed_read;
    slot->get.ctx = slot;
    store->ops->get(store->ctx, &slot->get);
    return 0;
}

int br_frames_want(struct br_frames *frames, uint32_t pack, uint32_t number, const struct br_frame **ret_frame,
                   struct br_err *reterr)
{
    struct slot *room = NULL;

    for (unsigned i = 0; i < frames->count; i++) {
        struct slot *slot = &frames->slots[i];

        if (slot->state != SLOT_FREE && slot->frame.pack == pack && slot->frame.number == number) {
            slot->holders++;
            slot->used = ++frames->used;
            *ret_frame = &slot->frame;
            return 1;
        }
        bool can_go = slot->state == SLOT_FREE || (slot->state == SLOT_READY && !slot->holders);
        if (can_go && (!room || slot->used < room->used)) {
            room = slot;
        }
    }
    if (!room) {
        return 0;
    }
    room->frames = frames;
    int rc = slot_load(room, pack, number, reterr);
    if (rc < 0) {
        return rc;
    }
    room->holders = 1;
    room->used = ++frames->used;
    *ret_frame = &room->frame;
    return 1;
}

struct br_repo *br_frames_repo(const struct br_frames *frames)
{
    return frames->repo;
}

void br_frames_put(struct br_frames *frames, const struct br_frame *frame)
{
    for (unsigned i = 0; i < frames->count; i++) {
        struct slot *slot = &frames->slots[i];

        if (&slot->frame == frame) {
            assert(slot->holders);
            slot->holders--;
            // What failed is not kept: who asks again may have more luck.
            if (!slot->holders && slot->state == SLOT_READY && slot->frame.result < 0) {
                slot->state = SLOT_FREE;
            }
        }
    }
}

int br_frames_chunk_at(struct br_frames *frames, const struct br_index_chunk *chunk, struct br_buf *to,
                       struct br_err *reterr)
{
    struct br_ring *ring = br_repo_ring_of(frames->repo);
    const struct br_frame *frame;
    int rc;

    while (!(rc = br_frames_want(frames, chunk->pack, chunk->frame, &frame, reterr))) {
        br_ring_wait(ring, UINT64_MAX);
    }
    if (rc < 0) {
        return rc;
    }
    while (!frame->ready) {
        br_ring_wait(ring, UINT64_MAX);
    }
    rc = frame->result;
    if (rc < 0) {
        if (reterr) {
            *reterr = frame->err;
        }
    } else if (!br_range_ok(chunk->at, chunk->len_bytes, frame->raw_bytes)) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "the index has a chunk behind its frame's end");
    } else {
        br_buf_append(to, frame->data + chunk->at, chunk->len_bytes);
        rc = br_buf_failed(to) ? br_err_set(reterr, BR_E_NOMEM, "a chunk") : 0;
    }
    br_frames_put(frames, frame);
    return rc;
}

int br_frames_chunk(struct br_frames *frames, const struct br_chunk_id *id, struct br_index_chunk *ret_chunk,
                    struct br_buf *to, struct br_err *reterr)
{
    int rc = br_index_find(br_repo_index_of(frames->repo), id, ret_chunk, reterr);

    if (rc <= 0) {
        return rc < 0 ? rc : br_err_set(reterr, BR_E_NOT_FOUND, "a chunk that no pack has");
    }
    return br_frames_chunk_at(frames, ret_chunk, to, reterr);
}
