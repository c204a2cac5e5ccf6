// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/writer.h"

#include <assert.h>

#include "engine/codec/pack.h"

#define WRITER_SEALING     8u     // frames beside the one being filled
#define WRITER_PACK_CHUNKS 32768u // a pack ends with so many, or so many frames, however little they hold
#define WRITER_PACK_FRAMES 8192u
#define WRITER_SETTLE_PACK 8u // packs that gather before they are settled

// A pack that is written, or waits to be settled.
struct pack {
    struct pack *next;
    struct br_index_pack facts;
    struct br_pack_key key;
    struct br_directory directory;
    void *write; // of the store; NULL: closed
    uint32_t frames_begun;
    uint32_t chunks_begun;
    uint64_t bytes; // written so far
};

struct frame {
    struct br_writer *writer;
    struct pack *pack;
    uint32_t number;
    struct br_buf raw;
    struct br_buf sealed;
    struct br_frame_entry entry;
    struct br_chunk_entry *chunks; // BR_FRAME_CHUNKS of room grows
    uint32_t chunk_room;
    struct br_job job;
    bool last; // of its pack
    bool done;
    int result;
    struct br_err err;
};

// Chunks that are not in the index yet: open addressing, by the first bytes of the id, which are as good as random.
struct pending {
    struct br_chunk_entry *chunks; // kind 0: free
    size_t room;                   // power of two
    size_t count;
};

struct br_writer {
    struct br_writer_params params;
    struct br_ring *ring;
    struct frame frames[WRITER_SEALING + 1]; // a ring of them: head.. are being sealed, the one behind them is filled
    unsigned head, used;
    struct pack *open;   // frames go there; NULL: none yet
    struct pack *closed; // in the order of their closing
    struct pack **closed_end;
    unsigned closed_count;
    uint64_t raw_begun; // of the open pack's frames that are not written yet
    struct pending pending;
    struct br_writer_counts counts;
    int failed;
};

// Pending -----------------------------------------------------------------------------------------------------------------------------

static size_t pending_place(const struct pending *pending, const struct br_chunk_id *id)
{
    size_t at = (size_t)br_get_u64(id->bytes) & (pending->room - 1);

    while (pending->chunks[at].kind && memcmp(pending->chunks[at].id.bytes, id->bytes, BR_MAC_BYTES) != 0) {
        at = (at + 1) & (pending->room - 1);
    }
    return at;
}

static const struct br_chunk_entry *pending_find(const struct pending *pending, const struct br_chunk_id *id)
{
    const struct br_chunk_entry *chunk = pending->room ? &pending->chunks[pending_place(pending, id)] : NULL;

    return chunk && chunk->kind ? chunk : NULL;
}

static int pending_grow(struct pending *pending, struct br_err *reterr)
{
    struct pending larger = {.room = pending->room ? 2 * pending->room : 1024, .count = pending->count};

    larger.chunks = calloc(larger.room, sizeof(*larger.chunks));
    if (!larger.chunks) {
        return br_err_set(reterr, BR_E_NOMEM, "the chunks of new packs");
    }
    for (size_t i = 0; i < pending->room; i++) {
        if (pending->chunks[i].kind) {
            larger.chunks[pending_place(&larger, &pending->chunks[i].id)] = pending->chunks[i];
        }
    }
    free(pending->chunks);
    *pending = larger;
    return 0;
}

static int pending_add(struct pending *pending, const struct br_chunk_entry *chunk, struct br_err *reterr)
{
    int rc = 2 * (pending->count + 1) > pending->room ? pending_grow(pending, reterr) : 0;

    if (!rc) {
        pending->chunks[pending_place(pending, &chunk->id)] = *chunk;
        pending->count++;
    }
    return rc;
}

// Packs -------------------------------------------------------------------------------------------------------------------------------

static void pack_free(struct br_writer *writer, struct pack *pack)
{
    const struct br_store *store = br_repo_store_of(writer->params.repo);

    if (pack->write) {
        store->ops->write_close(store->ctx, pack->write, false);
    }
    br_key_wipe(&pack->key.key);
    br_directory_free(&pack->directory);
    free(pack);
}

static int pack_begin(struct br_writer *writer, struct pack *pack, struct br_err *reterr)
{
    struct br_repo *repo = writer->params.repo;
    const struct br_store *store = br_repo_store_of(repo);
    struct br_object object = {
        .kind = BR_OBJECT_PACK, .epoch = br_repo_epoch(repo), .repository = br_repo_config_of(repo)->repository};
    uint8_t head[BR_PACK_FRAMES_AT];
    char name[BR_OBJECT_NAME_BYTES];
    const struct br_key *epoch_key = NULL;
    struct br_buf bytes = {0};

    br_ring_random(writer->ring, object.salt, sizeof(object.salt));
    int rc = br_repo_epoch_key(repo, object.epoch, &epoch_key, reterr);
    rc = rc < 0 ? rc : br_pack_key_make(&object, &writer->params.run, epoch_key, &pack->key, head, reterr);
    br_name_pack(object.salt, name);
    rc = rc < 0 ? rc : store->ops->write_open(store->ctx, name, &pack->write, reterr);
    if (rc < 0) {
        return rc;
    }
    pack->facts = (struct br_index_pack){.epoch = object.epoch, .writer = writer->params.run, .proven = true};
    memcpy(pack->facts.salt, object.salt, sizeof(pack->facts.salt));
    br_buf_append(&bytes, head, sizeof(head));
    pack->bytes = sizeof(head);
    return store->ops->write(store->ctx, pack->write, &bytes, reterr);
}

static int pack_end(struct br_writer *writer, struct pack *pack, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(writer->params.repo);
    struct br_buf tail = {0};
    int rc = br_directory_seal(&pack->directory, &pack->key, pack->bytes, &tail, reterr);

    pack->bytes += tail.len;
    if (rc < 0) {
        br_buf_free(&tail);
        return rc;
    }
    rc = store->ops->write(store->ctx, pack->write, &tail, reterr);
    if (rc < 0) {
        return rc;
    }
    store->ops->write_close(store->ctx, pack->write, true);
    pack->write = NULL;
    pack->facts.bytes = pack->bytes;
    writer->counts.packs++;
    writer->counts.stored_bytes += pack->bytes;
    return 0;
}

// Frames ------------------------------------------------------------------------------------------------------------------------------

static struct frame *frame_at(struct br_writer *writer, unsigned nth)
{
    return &writer->frames[(writer->head + nth) % BR_ARRAY_LEN(writer->frames)];
}

static void seal_frame(struct br_job *job)
{
    struct frame *frame = job->ctx;
    const struct pack *pack = frame->pack;
    uint8_t tag[BR_SEAL_TAG_BYTES];

    br_buf_reset(&frame->sealed);
    if (!br_buf_reserve(&frame->sealed, frame->raw.len + BR_SEAL_TAG_BYTES)) {
        frame->result = br_err_set(&frame->err, BR_E_NOMEM, "sealing a frame");
        return;
    }
    frame->result = br_pack(frame->raw.data, frame->raw.len, frame->writer->params.level, &frame->sealed, &frame->err);
    if (frame->result < 0) {
        return;
    }
    frame->entry.codec = frame->result ? BR_FRAME_ZSTD : BR_FRAME_RAW;
    if (!frame->result) {
        br_buf_append(&frame->sealed, frame->raw.data, frame->raw.len);
    }
    frame->entry.raw_bytes = (uint32_t)frame->raw.len;
    frame->entry.sealed_bytes = (uint32_t)frame->sealed.len;
    frame->result = br_seal(&pack->key.key, frame->number, pack->key.aad, pack->key.aad_len, frame->sealed.data,
                            frame->sealed.len, tag, &frame->err);
    br_buf_append(&frame->sealed, tag, sizeof(tag));
}

static void frame_sealed(struct br_job *job)
{
    struct frame *frame = job->ctx;

    frame->done = true;
}

// The pack that the next frame goes to, with its number there. A pack is long enough by what is written and what will be written at most.
static int frame_assign(struct br_writer *writer, struct frame *frame, struct br_err *reterr)
{
    if (!writer->open) {
        struct pack *pack = calloc(1, sizeof(*pack));
        int rc = pack ? pack_begin(writer, pack, reterr) : br_err_set(reterr, BR_E_NOMEM, "a pack");

        if (rc < 0) {
            if (pack) {
                pack_free(writer, pack);
            }
            return rc;
        }
        writer->open = pack;
        writer->raw_begun = 0;
    }
    frame->pack = writer->open;
    frame->number = writer->open->frames_begun++;
    writer->open->chunks_begun += frame->entry.chunks;
    writer->raw_begun += frame->raw.len;
    return 0;
}

// Sends the frame that was filled to a worker. @end: it is the last of its pack, whatever that has.
static int frame_send(struct br_writer *writer, bool end, struct br_err *reterr)
{
    struct frame *frame = frame_at(writer, writer->used);
    uint64_t target = writer->params.target_bytes ? writer->params.target_bytes : BR_PACK_TARGET_BYTES;

    if (!frame->raw.len) {
        return 0;
    }
    int rc = frame_assign(writer, frame, reterr);
    if (rc < 0) {
        return rc;
    }
    frame->last = end || frame->pack->bytes + writer->raw_begun >= target ||
                  frame->pack->chunks_begun >= WRITER_PACK_CHUNKS || frame->pack->frames_begun >= WRITER_PACK_FRAMES;
    if (frame->last) {
        writer->open = NULL;
    }
    frame->done = false;
    frame->result = 0;
    frame->job = (struct br_job){.run = seal_frame, .done = frame_sealed, .ctx = frame};
    writer->used++;
    br_ring_job(writer->ring, &frame->job);
    return 0;
}

// What a sealed frame at the head leaves to do: into its pack, whose end it may be.
static int frame_write(struct br_writer *writer, struct frame *frame, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(writer->params.repo);
    struct pack *pack = frame->pack;
    int rc = frame->result;

    if (rc < 0) {
        if (reterr) {
            *reterr = frame->err;
        }
        return rc;
    }
    for (uint32_t c = 0; !rc && c < frame->entry.chunks; c++) {
        rc = br_directory_add_chunk(&pack->directory, &frame->chunks[c], reterr);
    }
    rc = rc < 0 ? rc : br_directory_add_frame(&pack->directory, &frame->entry, reterr);
    pack->bytes += frame->sealed.len;
    if (pack == writer->open) {
        writer->raw_begun -= frame->raw.len;
    }
    rc = rc < 0 ? rc : store->ops->write(store->ctx, pack->write, &frame->sealed, reterr);
    return rc < 0 || !frame->last ? rc : pack_end(writer, pack, reterr);
}

static int drain(struct br_writer *writer, struct br_err *reterr)
{
    while (writer->used && frame_at(writer, 0)->done) {
        struct frame *frame = frame_at(writer, 0);
        struct pack *pack = frame->pack;
        bool last = frame->last;
        int rc = frame_write(writer, frame, reterr);

        br_buf_reset(&frame->raw);
        frame->entry = (struct br_frame_entry){0};
        writer->head = (writer->head + 1) % BR_ARRAY_LEN(writer->frames);
        writer->used--;
        if (last) {
            *writer->closed_end = pack;
            writer->closed_end = &pack->next;
            writer->closed_count++;
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

// Until at most @most frames are being sealed.
static int wait_for_room(struct br_writer *writer, unsigned most, struct br_err *reterr)
{
    int rc = drain(writer, reterr);

    while (!rc && writer->used > most) {
        br_ring_wait(writer->ring, UINT64_MAX);
        rc = drain(writer, reterr);
    }
    return rc;
}

static int pending_add_all(struct pending *pending, const struct br_chunk_entry *chunks, uint32_t count,
                           struct br_err *reterr)
{
    int rc = 0;

    for (uint32_t c = 0; !rc && c < count; c++) {
        rc = pending_add(pending, &chunks[c], reterr);
    }
    return rc;
}

// What is in packs that are neither closed nor settled, anew: the index knows the rest by now.
static int pending_rebuild(struct br_writer *writer, struct br_err *reterr)
{
    struct pending pending = {0};
    const struct pack *pack = NULL;
    int rc = 0;

    for (unsigned n = 0; !rc && n <= writer->used; n++) {
        const struct frame *frame = frame_at(writer, n);

        if (n < writer->used && frame->pack != pack && frame->pack != writer->open) {
            pack = frame->pack;
            rc = pending_add_all(&pending, pack->directory.chunks, pack->directory.chunk_count, reterr);
        }
        rc = rc < 0 ? rc : pending_add_all(&pending, frame->chunks, frame->entry.chunks, reterr);
    }
    if (!rc && writer->open) {
        rc = pending_add_all(&pending, writer->open->directory.chunks, writer->open->directory.chunk_count, reterr);
    }
    free(writer->pending.chunks);
    writer->pending = pending;
    return rc;
}

// The closed packs become durable and known.
static int settle_closed(struct br_writer *writer, struct br_err *reterr)
{
    struct br_repo *repo = writer->params.repo;
    const struct br_store *store = br_repo_store_of(repo);
    int rc = writer->closed ? store->ops->settle(store->ctx, reterr) : 0;

    while (!rc && writer->closed) {
        struct pack *pack = writer->closed;

        rc = br_index_add(br_repo_index_of(repo), &pack->facts, &pack->directory, reterr);
        for (uint32_t f = 0; !rc && f < pack->directory.frame_count; f++) {
            writer->counts.durable_bytes += pack->directory.frames[f].raw_bytes;
        }
        if (!rc) {
            writer->closed = pack->next;
            pack_free(writer, pack);
            writer->closed_count--;
        }
    }
    if (!writer->closed) {
        writer->closed_end = &writer->closed;
    }
    return rc < 0 ? rc : pending_rebuild(writer, reterr);
}

// Chunks ------------------------------------------------------------------------------------------------------------------------------

int br_writer_open(const struct br_writer_params *params, struct br_writer **ret_writer, struct br_err *reterr)
{
    struct br_writer *writer = calloc(1, sizeof(*writer));

    if (!writer) {
        return br_err_set(reterr, BR_E_NOMEM, "a writer");
    }
    writer->params = *params;
    writer->ring = br_repo_ring_of(params->repo);
    writer->closed_end = &writer->closed;
    for (size_t i = 0; i < BR_ARRAY_LEN(writer->frames); i++) {
        writer->frames[i].writer = writer;
    }
    *ret_writer = writer;
    return 0;
}

static void close_frames(struct br_writer *writer)
{
    for (unsigned n = 0; n < writer->used; n++) {
        struct frame *frame = frame_at(writer, n);

        while (!frame->done) {
            br_ring_wait(writer->ring, UINT64_MAX);
        }
        if (frame->last) {
            pack_free(writer, frame->pack);
        }
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(writer->frames); i++) {
        br_buf_free(&writer->frames[i].raw);
        br_buf_free(&writer->frames[i].sealed);
        free(writer->frames[i].chunks);
    }
}

void br_writer_close(struct br_writer *writer)
{
    if (!writer) {
        return;
    }
    close_frames(writer);
    if (writer->open) {
        pack_free(writer, writer->open);
    }
    while (writer->closed) {
        struct pack *pack = writer->closed;

        writer->closed = pack->next;
        pack_free(writer, pack);
    }
    free(writer->pending.chunks);
    free(writer);
}

int br_writer_find(struct br_writer *writer, const struct br_chunk_id *id, struct br_chunk_entry *ret_chunk,
                   bool *ret_proven, struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(writer->params.repo);
    const struct br_chunk_entry *pending = pending_find(&writer->pending, id);
    struct br_index_chunk chunk, base;

    if (pending) {
        *ret_chunk = *pending;
        *ret_proven = true;
        return 1;
    }
    int rc = br_index_find(index, id, &chunk, reterr);
    if (rc <= 0) {
        return rc;
    }
    *ret_chunk =
        (struct br_chunk_entry){.kind = chunk.kind, .len_bytes = chunk.len_bytes, .id = *id, .base = chunk.base};
    *ret_proven = chunk.proven && !chunk.doomed;
    if (chunk.kind == BR_CHUNK_OVERLAY && !pending_find(&writer->pending, &chunk.base)) {
        rc = br_index_find_block(index, &chunk.base, 0, &base, reterr);
        *ret_proven = *ret_proven && rc > 0 && base.proven && !base.doomed;
    }
    return rc < 0 ? rc : 1;
}

// Is it in a pack that this run wrote?
static int settled_here(struct br_writer *writer, const struct br_chunk_id *id, struct br_err *reterr)
{
    struct br_index *index = br_repo_index_of(writer->params.repo);
    struct br_index_chunk chunk;
    struct br_index_pack pack;
    int rc = br_index_find(index, id, &chunk, reterr);

    if (rc <= 0) {
        return rc;
    }
    rc = br_index_pack_of(index, chunk.pack, &pack, reterr);
    return rc < 0 ? rc : chunk.proven && br_uuid_equal(&pack.writer, &writer->params.run);
}

// A place that is not damaged, of a block alone or of anything that is whole. Returns 1 or 0.
static int find_sound(struct br_writer *writer, const struct br_chunk_id *id, bool block, struct br_err *reterr)
{
    const struct br_repair *repair = writer->params.repair;
    struct br_index *index = br_repo_index_of(writer->params.repo);
    struct br_index_chunk chunk, last;
    int rc = br_index_find(index, id, &chunk, reterr);

    while (rc > 0) {
        bool sound =
            !repair->count || !bsearch(&chunk.pack, repair->packs, repair->count, sizeof(*repair->packs), br_u32_order);

        if (sound && chunk.kind != BR_CHUNK_OVERLAY) {
            return 1;
        }
        if (sound && !block) {
            int below = pending_find(&writer->pending, &chunk.base) ? 1 : find_sound(writer, &chunk.base, true, reterr);
            if (below) {
                return below;
            }
        }
        last = chunk;
        rc = br_index_find_after(index, id, &last, &chunk, reterr);
    }
    return rc;
}

int br_writer_has(struct br_writer *writer, const struct br_chunk_id *id, struct br_err *reterr)
{
    struct br_chunk_entry chunk;
    bool proven = false;
    if (writer->params.repair) {
        return pending_find(&writer->pending, id) ? 1 : find_sound(writer, id, false, reterr);
    }
    if (writer->params.anew) {
        return pending_find(&writer->pending, id) ? 1 : settled_here(writer, id, reterr);
    }
    int rc = br_writer_find(writer, id, &chunk, &proven, reterr);
    return rc > 0 ? proven : rc;
}

static int add_to_frame(struct br_writer *writer, const struct br_chunk_entry *chunk, const void *bytes,
                        struct br_err *reterr)
{
    struct frame *frame = frame_at(writer, writer->used);

    if (frame->entry.chunks == frame->chunk_room) {
        uint32_t room = frame->chunk_room ? 2 * frame->chunk_room : 64;
        void *more = realloc(frame->chunks, room * sizeof(*frame->chunks));

        if (!more) {
            return br_err_set(reterr, BR_E_NOMEM, "a frame");
        }
        frame->chunks = more;
        frame->chunk_room = room;
    }
    br_buf_append(&frame->raw, bytes, chunk->len_bytes);
    if (br_buf_failed(&frame->raw)) {
        return br_err_set(reterr, BR_E_NOMEM, "a frame");
    }
    frame->chunks[frame->entry.chunks++] = *chunk;
    writer->counts.chunks_stored++;
    writer->counts.raw_bytes += chunk->len_bytes;
    return pending_add(&writer->pending, chunk, reterr);
}

static int put(struct br_writer *writer, const struct br_chunk_entry *chunk, const void *bytes, struct br_err *reterr)
{
    int rc = br_writer_has(writer, &chunk->id, reterr);

    writer->counts.chunks++;
    if (rc) {
        return rc < 0 ? rc : 0;
    }
    assert(chunk->len_bytes && chunk->len_bytes <= BR_FRAME_RAW_MAX);
    if (frame_at(writer, writer->used)->raw.len + chunk->len_bytes > BR_FRAME_RAW_MAX) {
        rc = frame_send(writer, false, reterr);
        rc = rc < 0 ? rc : wait_for_room(writer, WRITER_SEALING, reterr);
    } else {
        rc = drain(writer, reterr);
    }
    if (!rc && writer->closed_count >= WRITER_SETTLE_PACK) {
        rc = settle_closed(writer, reterr);
    }
    rc = rc < 0 ? rc : add_to_frame(writer, chunk, bytes, reterr);
    return rc < 0 ? rc : 1;
}

int br_writer_put(struct br_writer *writer, const struct br_chunk_entry *chunk, const void *bytes,
                  struct br_err *reterr)
{
    if (writer->failed) {
        return br_err_set(reterr, -writer->failed, "the repository took no more");
    }
    int rc = put(writer, chunk, bytes, reterr);
    writer->failed = BR_MIN(rc, 0);
    return rc;
}

int br_writer_settle(struct br_writer *writer, struct br_err *reterr)
{
    if (writer->failed) {
        return br_err_set(reterr, -writer->failed, "the repository took no more");
    }
    int rc = frame_send(writer, true, reterr);
    rc = rc < 0 ? rc : wait_for_room(writer, 0, reterr);
    // The last frame may have gone before, as one that was not its pack's last.
    if (!rc && writer->open) {
        struct pack *pack = writer->open;

        rc = pack_end(writer, pack, reterr);
        *writer->closed_end = pack;
        writer->closed_end = &pack->next;
        writer->closed_count++;
        writer->open = NULL;
    }
    rc = rc < 0 ? rc : settle_closed(writer, reterr);
    writer->failed = rc;
    return rc;
}

const struct br_writer_counts *br_writer_counts_of(const struct br_writer *writer)
{
    return &writer->counts;
}
