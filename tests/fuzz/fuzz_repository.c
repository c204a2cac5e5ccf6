// SPDX-License-Identifier: Apache-2.0
//
// Objects of a repository. A stranger's bytes end at the seal; what is behind it comes from who has the key, who may be malicious too: so the
// input is sealed here and opened again. The first byte says as what.
//
// What must hold: no byte crashes anybody, and what is accepted is what was promised: a directory's frames and chunks agree, a point's root
// follows from its size and top, an overlay stays within its block.
#include "engine/codec/repository.h"

#define CHECK(true_)  \
    do {              \
        if (!(true_)) \
            abort();  \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct br_key key = {.bytes = "a key of the fuzzer, 32 bytes..."};

static struct br_uuid uuid_of(uint8_t byte)
{
    struct br_uuid uuid;

    memset(uuid.bytes, byte, sizeof(uuid.bytes));
    return uuid;
}

static void clear_parts(const uint8_t *data, size_t size)
{
    struct br_repo_config config;
    struct br_repo_key way;
    struct br_object object;
    struct br_uuid writer;
    struct br_buf secret = {0};
    const uint8_t *clear;
    size_t clear_len;

    if (!br_object_head(data, size, &object, &clear, &clear_len, NULL)) {
        CHECK(clear_len <= size && clear >= data && clear + clear_len <= data + size);
    }
    (void)!br_repo_config_look(data, size, &config, NULL);
    if (!br_repo_key_look("keys/0123456789abcdef0123456789abcdef", data, size, &way, NULL)) {
        CHECK(strnlen(way.label, sizeof(way.label)) < sizeof(way.label));
    }
    if (size >= BR_PACK_FRAMES_AT) {
        (void)!br_pack_head(data, &object, &writer, NULL);
    }
    (void)!br_object_open(data, size, "config", &key, &secret, NULL);
    br_buf_free(&secret);
}

static void directory(const uint8_t *data, size_t size)
{
    struct br_object object = {.kind = BR_OBJECT_PACK, .epoch = 1, .repository = uuid_of(1)};
    struct br_uuid writer = uuid_of(2);
    uint8_t head[BR_PACK_FRAMES_AT];
    struct br_pack_key pack_key;
    struct br_directory directory;
    uint64_t at = 0, raw = 0;

    if (size < 4) {
        return;
    }
    struct br_pack_trailer trailer = {
        .directory_bytes = (uint32_t)size,
        .frames = br_get_u32(data) % (BR_PACK_FRAMES_MAX + 1),
    };
    // where it must lie follows from its own frames: added up here, the way a reader would not
    struct br_reader r = br_reader_init(data, size);
    uint32_t frames = br_reader_u32(&r);
    br_reader_u32(&r);
    for (uint32_t f = 0; f < frames && br_reader_ok(&r) && f < BR_PACK_FRAMES_MAX; f++) {
        at += br_reader_u32(&r) + BR_SEAL_TAG_BYTES;
        br_reader_take(&r, 9);
    }
    trailer.directory_at = BR_PACK_FRAMES_AT + at;
    CHECK(br_pack_key_make(&object, &writer, &key, &pack_key, head, NULL) == 0);
    uint8_t *sealed = malloc(size + BR_SEAL_TAG_BYTES);
    CHECK(sealed);
    memcpy(sealed, data, size);
    CHECK(br_seal(&pack_key.key, BR_DIRECTORY_NONCE + trailer.frames, pack_key.aad, pack_key.aad_len, sealed, size,
                  sealed + size, NULL) == 0);
    if (!br_directory_open(&trailer, &pack_key, sealed, &directory, NULL)) {
        uint64_t chunks = 0;
        for (uint32_t f = 0; f < directory.frame_count; f++) {
            uint64_t in_frame = 0;
            for (uint32_t c = 0; c < directory.frames[f].chunks; c++) {
                CHECK(chunks < directory.chunk_count);
                in_frame += directory.chunks[chunks++].len_bytes;
            }
            CHECK(in_frame == directory.frames[f].raw_bytes && in_frame <= BR_FRAME_RAW_MAX);
            raw += in_frame;
        }
        CHECK(chunks == directory.chunk_count);
        br_directory_free(&directory);
    }
    free(sealed);
}

static void point(const uint8_t *data, size_t size)
{
    struct br_object object = {.kind = BR_OBJECT_POINT, .epoch = 1, .repository = uuid_of(1)};
    struct br_uuid volume = uuid_of(0), id = uuid_of(0);
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf bytes = {0};
    struct br_point got;
    struct br_tree tree;
    struct br_hash root;

    if (size >= 2 * BR_UUID_BYTES) {
        memcpy(id.bytes, data, BR_UUID_BYTES);
        memcpy(volume.bytes, data + BR_UUID_BYTES, BR_UUID_BYTES);
    }
    br_name_point(&volume, &id, name);
    if (size <= BR_OBJECT_SEALED_MAX && !br_object_seal(&object, name, &key, NULL, 0, data, size, &bytes, NULL) &&
        !br_point_open(name, bytes.data, bytes.len, &key, &got, NULL)) {
        CHECK(br_point_tree(&got, &tree, NULL) == 0);
        br_tree_root(&tree, &root);
        CHECK(br_hash_equal(&root, &got.root) && got.tag_count <= BR_POINT_TAGS_MAX);
    }
    br_buf_free(&bytes);
}

static void overlay(const uint8_t *data, size_t size)
{
    static uint8_t block[BR_BLOCK_BYTES];
    struct br_overlay overlay;

    if (size < 2) {
        return;
    }
    uint32_t block_bytes = 1 + (uint32_t)(br_get_u16(data));
    if (!br_overlay_decode(data + 2, size - 2, block_bytes, &overlay, NULL)) {
        CHECK(overlay.data_bytes <= size && !(overlay.pages & overlay.zeros));
        br_overlay_apply(&overlay, block, block_bytes);
    }
}

// Leases, holds, tombstones, lists of doomed packs; what opens is sealed again to the same bytes.
static void marks(unsigned which, const uint8_t *data, size_t size)
{
    static const char *const names[] = {
        "leases/0123456789abcdef0123456789abcdef",
        "holds/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef",
        "points/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef",
        "doomed/0123456789abcdef0123456789abcdef",
    };
    static const enum br_object_kind kinds[] = {BR_OBJECT_LEASE, BR_OBJECT_HOLD, BR_OBJECT_TOMBSTONE, BR_OBJECT_DOOMED};
    const struct br_object object = {.kind = kinds[which], .epoch = 1, .repository = uuid_of(1)};
    struct br_buf bytes = {0}, again = {0};
    struct br_lease lease;
    struct br_point_mark mark;
    struct br_doomed doomed;
    bool opened;

    if (size > BR_OBJECT_SEALED_MAX || br_object_seal(&object, names[which], &key, NULL, 0, data, size, &bytes, NULL)) {
        return;
    }
    switch (which) {
    case 0:
        opened = !br_lease_open(names[which], bytes.data, bytes.len, &key, &lease, NULL);
        CHECK(!opened || !br_lease_seal(&lease, &object, &key, &again, NULL));
        break;
    case 3:
        opened = !br_doomed_open(names[which], bytes.data, bytes.len, &key, &doomed, NULL);
        CHECK(!opened || !br_doomed_seal(&doomed, &object, &key, &again, NULL));
        if (opened) {
            free(doomed.salts);
        }
        break;
    default:
        opened = !br_point_mark_open(names[which], bytes.data, bytes.len, &key, &mark, NULL);
        CHECK(!opened || !br_point_mark_seal(&mark, &object, &key, &again, NULL));
        break;
    }
    CHECK(!opened || (again.len == bytes.len && !memcmp(again.data, bytes.data, bytes.len)));
    br_buf_free(&bytes);
    br_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) {
        return 0;
    }
    if (data[0] >= 0x80) {
        marks(data[0] % 4, data + 1, size - 1);
        return 0;
    }
    switch (data[0] % 4) {
    case 0: clear_parts(data + 1, size - 1); break;
    case 1: directory(data + 1, size - 1); break;
    case 2: point(data + 1, size - 1); break;
    default: overlay(data + 1, size - 1); break;
    }
    return 0;
}
