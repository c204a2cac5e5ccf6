// SPDX-License-Identifier: Apache-2.0
//
// Chunks and packs of a repository: ids, overlays, directories. The bytes are described in repository.h.
#include "engine/codec/repository.h"

#include <assert.h>
#include <xxhash.h>

#define PACK_MAGIC            "blkrepPK"
#define DOMAIN_INFO           "blkrep domain 1"
#define FRAME_ENTRY_BYTES     13u
#define CHUNK_ENTRY_BYTES_MIN (5u + BR_MAC_BYTES)
#define DIRECTORY_CHUNKS_MAX  (BR_PACK_DIRECTORY_MAX / CHUNK_ENTRY_BYTES_MIN)

enum hash_kind { HASH_LEAF = 1, HASH_NODE = 2 };

// Chunks ------------------------------------------------------------------------------------------------------------------------------

int br_domain_mac(const struct br_key *id_secret, const struct br_uuid *domain, struct br_mac **ret_mac,
                  struct br_err *reterr)
{
    static const uint8_t salt[BR_SALT_BYTES];
    uint8_t info[sizeof(DOMAIN_INFO) - 1 + BR_UUID_BYTES];
    BR_AUTO_WIPE struct br_key key = {0};

    memcpy(info, DOMAIN_INFO, sizeof(DOMAIN_INFO) - 1);
    memcpy(info + sizeof(DOMAIN_INFO) - 1, domain->bytes, BR_UUID_BYTES);
    int rc = br_key_derive(id_secret, salt, info, sizeof(info), &key, reterr);
    return rc < 0 ? rc : br_mac_open(&key, ret_mac, reterr);
}

static int chunk_id(struct br_mac *domain, enum hash_kind kind, const struct br_hash *hash, struct br_chunk_id *ret_id,
                    struct br_err *reterr)
{
    uint8_t bytes[1 + BR_HASH_BYTES] = {(uint8_t)kind};

    memcpy(bytes + 1, hash->bytes, BR_HASH_BYTES);
    return br_mac_of(domain, bytes, sizeof(bytes), ret_id->bytes, reterr);
}

int br_chunk_id_leaf(struct br_mac *domain, const struct br_hash *leaf, struct br_chunk_id *ret_id,
                     struct br_err *reterr)
{
    return chunk_id(domain, HASH_LEAF, leaf, ret_id, reterr);
}

int br_chunk_id_node(struct br_mac *domain, const struct br_hash *node, struct br_chunk_id *ret_id,
                     struct br_err *reterr)
{
    return chunk_id(domain, HASH_NODE, node, ret_id, reterr);
}

// Bytes of page @page in a block of @block_bytes; 0 behind its end.
static uint32_t page_bytes(uint32_t block_bytes, unsigned page)
{
    uint32_t from = page * BR_PAGE_BYTES;

    return from >= block_bytes ? 0 : BR_MIN(block_bytes - from, BR_PAGE_BYTES);
}

int br_overlay_decode(const void *bytes, size_t len, uint32_t block_bytes, struct br_overlay *ret_overlay,
                      struct br_err *reterr)
{
    struct br_reader r = br_reader_init(bytes, len);
    struct br_overlay overlay = {.zeros = br_reader_u16(&r), .pages = br_reader_u16(&r)};
    size_t want = 0;

    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        bool named = (overlay.zeros | overlay.pages) >> p & 1;

        if (named && !page_bytes(block_bytes, p)) {
            return br_err_set(reterr, BR_E_CORRUPT, "an overlay has a page behind its block's end");
        }
        want += overlay.pages >> p & 1 ? page_bytes(block_bytes, p) : 0;
    }
    if (!br_reader_ok(&r) || (overlay.zeros & overlay.pages) || br_reader_left(&r) != want) {
        return br_err_set(reterr, BR_E_CORRUPT, "an overlay whose pages are not what it names");
    }
    overlay.data = (const uint8_t *)bytes + BR_OVERLAY_HEAD_BYTES;
    overlay.data_bytes = want;
    *ret_overlay = overlay;
    return 0;
}

void br_overlay_apply(const struct br_overlay *overlay, uint8_t *block, uint32_t block_bytes)
{
    const uint8_t *from = overlay->data;

    for (unsigned p = 0; p < BR_PAGES_PER_BLOCK; p++) {
        uint32_t len = page_bytes(block_bytes, p);

        if (overlay->zeros >> p & 1) {
            memset(block + (size_t)p * BR_PAGE_BYTES, 0, len);
        } else if (overlay->pages >> p & 1) {
            memcpy(block + (size_t)p * BR_PAGE_BYTES, from, len);
            from += len;
        }
    }
}

// Packs -------------------------------------------------------------------------------------------------------------------------------

int br_pack_key_make(const struct br_object *pack, const struct br_uuid *writer, const struct br_key *epoch_key,
                     struct br_pack_key *ret_key, uint8_t head_bytes[BR_PACK_FRAMES_AT], struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];

    assert(pack->kind == BR_OBJECT_PACK);
    br_object_put_head(pack, BR_PACK_CLEAR_BYTES, 0, head_bytes);
    memcpy(head_bytes + BR_OBJECT_HEAD_BYTES, writer->bytes, BR_UUID_BYTES);
    br_name_pack(pack->salt, name);
    memcpy(ret_key->aad, head_bytes, BR_PACK_FRAMES_AT);
    memcpy(ret_key->aad + BR_PACK_FRAMES_AT, name, strlen(name));
    ret_key->aad_len = BR_PACK_FRAMES_AT + strlen(name);
    return br_key_derive(epoch_key, pack->salt, BR_OBJECT_INFO, sizeof(BR_OBJECT_INFO) - 1, &ret_key->key, reterr);
}

int br_pack_head(const uint8_t head_bytes[BR_PACK_FRAMES_AT], struct br_object *ret_pack, struct br_uuid *ret_writer,
                 struct br_err *reterr)
{
    const uint8_t *clear;
    size_t clear_len;
    struct br_object pack;
    int rc = br_object_head(head_bytes, BR_PACK_FRAMES_AT, &pack, &clear, &clear_len, reterr);

    if (rc < 0) {
        return rc;
    }
    if (pack.kind != BR_OBJECT_PACK || clear_len != BR_PACK_CLEAR_BYTES || br_get_u32(head_bytes + 68)) {
        return br_err_set(reterr, BR_E_CORRUPT, "not a pack");
    }
    memcpy(ret_writer->bytes, clear, BR_UUID_BYTES);
    *ret_pack = pack;
    return 0;
}

// Room for one more entry of a directory; lists grow by doubling, whenever their count is a power of two.
static bool entries_grow(void **entries, uint32_t count, size_t entry_bytes)
{
    if (count && (count & (count - 1))) {
        return true;
    }
    void *more = realloc(*entries, (size_t)(count ? 2 * count : 1) * entry_bytes);
    *entries = more ? more : *entries;
    return more != NULL;
}

int br_directory_add_chunk(struct br_directory *directory, const struct br_chunk_entry *chunk, struct br_err *reterr)
{
    void *chunks = directory->chunks;

    if (directory->chunk_count >= DIRECTORY_CHUNKS_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "a pack holds at most %u chunks", DIRECTORY_CHUNKS_MAX);
    }
    bool room = entries_grow(&chunks, directory->chunk_count, sizeof(*chunk));
    directory->chunks = chunks;
    if (!room) {
        return br_err_set(reterr, BR_E_NOMEM, "a pack's directory");
    }
    directory->chunks[directory->chunk_count++] = *chunk;
    return 0;
}

int br_directory_add_frame(struct br_directory *directory, const struct br_frame_entry *frame, struct br_err *reterr)
{
    void *frames = directory->frames;

    if (directory->frame_count >= BR_PACK_FRAMES_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "a pack holds at most %u frames", BR_PACK_FRAMES_MAX);
    }
    bool room = entries_grow(&frames, directory->frame_count, sizeof(*frame));
    directory->frames = frames;
    if (!room) {
        return br_err_set(reterr, BR_E_NOMEM, "a pack's directory");
    }
    directory->frames[directory->frame_count++] = *frame;
    return 0;
}

void br_directory_free(struct br_directory *directory)
{
    free(directory->frames);
    free(directory->chunks);
    *directory = (struct br_directory){0};
}

static void directory_encode(const struct br_directory *directory, struct br_buf *to)
{
    br_buf_u32(to, directory->frame_count);
    br_buf_u32(to, directory->chunk_count);
    for (uint32_t f = 0; f < directory->frame_count; f++) {
        const struct br_frame_entry *frame = &directory->frames[f];

        br_buf_u32(to, frame->sealed_bytes);
        br_buf_u32(to, frame->raw_bytes);
        br_buf_u8(to, (uint8_t)frame->codec);
        br_buf_u32(to, frame->chunks);
    }
    for (uint32_t c = 0; c < directory->chunk_count; c++) {
        const struct br_chunk_entry *chunk = &directory->chunks[c];

        br_buf_u8(to, (uint8_t)chunk->kind);
        br_buf_u32(to, chunk->len_bytes);
        br_buf_append(to, chunk->id.bytes, BR_MAC_BYTES);
        if (chunk->kind == BR_CHUNK_OVERLAY) {
            br_buf_append(to, chunk->base.bytes, BR_MAC_BYTES);
        }
    }
}

int br_directory_seal(const struct br_directory *directory, const struct br_pack_key *key, uint64_t at,
                      struct br_buf *to, struct br_err *reterr)
{
    uint8_t tag[BR_SEAL_TAG_BYTES], trailer[BR_PACK_TRAILER_BYTES];
    size_t from = to->len;

    directory_encode(directory, to);
    if (br_buf_failed(to)) {
        return br_err_set(reterr, BR_E_NOMEM, "a pack's directory");
    }
    size_t len = to->len - from;
    if (len > BR_PACK_DIRECTORY_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "a pack's directory of %zu bytes", len);
    }
    int rc = br_seal(&key->key, BR_DIRECTORY_NONCE + directory->frame_count, key->aad, key->aad_len, to->data + from,
                     len, tag, reterr);
    if (rc < 0) {
        return rc;
    }
    br_buf_append(to, tag, sizeof(tag));
    br_put_u64(trailer, at);
    br_put_u32(trailer + 8, (uint32_t)len);
    br_put_u32(trailer + 12, directory->frame_count);
    memcpy(trailer + 16, PACK_MAGIC, 8);
    br_put_u64(trailer + 24, XXH3_64bits(trailer, 24));
    br_buf_append(to, trailer, sizeof(trailer));
    return br_buf_failed(to) ? br_err_set(reterr, BR_E_NOMEM, "a pack's directory") : 0;
}

int br_pack_trailer_decode(const uint8_t trailer[BR_PACK_TRAILER_BYTES], uint64_t pack_bytes,
                           struct br_pack_trailer *ret_trailer, struct br_err *reterr)
{
    struct br_pack_trailer t = {
        .directory_at = br_get_u64(trailer),
        .directory_bytes = br_get_u32(trailer + 8),
        .frames = br_get_u32(trailer + 12),
    };
    const uint64_t around = BR_PACK_FRAMES_AT + BR_SEAL_TAG_BYTES + BR_PACK_TRAILER_BYTES;

    if (memcmp(trailer + 16, PACK_MAGIC, 8) != 0 || br_get_u64(trailer + 24) != XXH3_64bits(trailer, 24)) {
        return br_err_set(reterr, BR_E_CORRUPT, "the pack's end is damaged, or missing");
    }
    if (t.directory_bytes > BR_PACK_DIRECTORY_MAX || t.frames > BR_PACK_FRAMES_MAX || pack_bytes < around ||
        t.directory_at < BR_PACK_FRAMES_AT || t.directory_at > pack_bytes ||
        pack_bytes - t.directory_at != t.directory_bytes + BR_SEAL_TAG_BYTES + BR_PACK_TRAILER_BYTES) {
        return br_err_set(reterr, BR_E_CORRUPT, "the pack's directory is not where its end says");
    }
    *ret_trailer = t;
    return 0;
}

static int directory_bad(const char *what, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_CORRUPT, "a pack's directory: bad %s", what);
}

static int take_frames(struct br_reader *r, uint32_t count, struct br_directory *directory, uint64_t *ret_sealed_bytes,
                       struct br_err *reterr)
{
    uint64_t sealed_bytes = 0;

    for (uint32_t f = 0; f < count; f++) {
        struct br_frame_entry frame = {.sealed_bytes = br_reader_u32(r), .raw_bytes = br_reader_u32(r)};

        frame.codec = (enum br_frame_codec)br_reader_u8(r);
        frame.chunks = br_reader_u32(r);
        if (frame.codec > BR_FRAME_ZSTD) {
            return br_err_set(reterr, BR_E_VERSION, "a frame of codec %u; this program knows 0 and 1", frame.codec);
        }
        bool packed = frame.codec == BR_FRAME_ZSTD;
        if (!br_reader_ok(r) || !frame.raw_bytes || frame.raw_bytes > BR_FRAME_RAW_MAX || !frame.chunks ||
            (packed ? !frame.sealed_bytes || frame.sealed_bytes >= frame.raw_bytes
                    : frame.sealed_bytes != frame.raw_bytes)) {
            return directory_bad("frame", reterr);
        }
        sealed_bytes += frame.sealed_bytes + BR_SEAL_TAG_BYTES;
        int rc = br_directory_add_frame(directory, &frame, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    *ret_sealed_bytes = sealed_bytes;
    return 0;
}

static bool chunk_length_ok(const struct br_chunk_entry *chunk)
{
    switch (chunk->kind) {
    case BR_CHUNK_BLOCK: return chunk->len_bytes && chunk->len_bytes <= BR_BLOCK_BYTES;
    case BR_CHUNK_OVERLAY:
        return chunk->len_bytes >= BR_OVERLAY_HEAD_BYTES && chunk->len_bytes <= BR_OVERLAY_HEAD_BYTES + BR_BLOCK_BYTES;
    case BR_CHUNK_NODE: return chunk->len_bytes && chunk->len_bytes <= BR_TREE_NODE_BYTES_MAX;
    default: return false;
    }
}

static int take_chunks(struct br_reader *r, uint32_t count, struct br_directory *directory, struct br_err *reterr)
{
    uint32_t in_frame = 0, f = 0;
    uint64_t raw_bytes = 0;

    for (uint32_t c = 0; c < count; c++) {
        struct br_chunk_entry chunk = {.kind = (enum br_chunk_kind)br_reader_u8(r), .len_bytes = br_reader_u32(r)};

        br_reader_copy(r, chunk.id.bytes, BR_MAC_BYTES);
        if (chunk.kind == BR_CHUNK_OVERLAY) {
            br_reader_copy(r, chunk.base.bytes, BR_MAC_BYTES);
        }
        if (!br_reader_ok(r) || !chunk_length_ok(&chunk) || f >= directory->frame_count) {
            return directory_bad("chunk", reterr);
        }
        raw_bytes += chunk.len_bytes;
        if (++in_frame == directory->frames[f].chunks) {
            if (raw_bytes != directory->frames[f].raw_bytes) {
                return directory_bad("length of a frame", reterr);
            }
            in_frame = 0;
            raw_bytes = 0;
            f++;
        }
        int rc = br_directory_add_chunk(directory, &chunk, reterr);
        if (rc < 0) {
            return rc;
        }
    }
    return f == directory->frame_count && !in_frame && br_reader_done(r) ? 0 : directory_bad("count", reterr);
}

int br_directory_open(const struct br_pack_trailer *trailer, const struct br_pack_key *key, uint8_t *sealed,
                      struct br_directory *ret_directory, struct br_err *reterr)
{
    struct br_directory directory = {0};
    uint64_t sealed_bytes = 0;
    int rc = br_unseal(&key->key, BR_DIRECTORY_NONCE + trailer->frames, key->aad, key->aad_len, sealed,
                       trailer->directory_bytes, sealed + trailer->directory_bytes, reterr);

    if (rc < 0) {
        br_err_prefix(reterr, "a pack's directory");
        return rc;
    }
    struct br_reader r = br_reader_init(sealed, trailer->directory_bytes);
    uint32_t frames = br_reader_u32(&r);
    uint32_t chunks = br_reader_u32(&r);
    // What is left bounds both, before anything is allocated for them.
    if (frames != trailer->frames || chunks > br_reader_left(&r) / CHUNK_ENTRY_BYTES_MIN ||
        frames > br_reader_left(&r) / FRAME_ENTRY_BYTES) {
        return directory_bad("count", reterr);
    }
    rc = take_frames(&r, frames, &directory, &sealed_bytes, reterr);
    if (!rc && trailer->directory_at - BR_PACK_FRAMES_AT != sealed_bytes) {
        rc = directory_bad("place", reterr);
    }
    if (!rc) {
        rc = take_chunks(&r, chunks, &directory, reterr);
    }
    if (rc < 0) {
        br_directory_free(&directory);
        return rc;
    }
    *ret_directory = directory;
    return 0;
}
