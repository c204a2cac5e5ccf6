// SPDX-License-Identifier: Apache-2.0
//
// engine/codec/repository.h: objects come back as they were put, and any other bit, name, key or repository is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "engine/codec/repository.h"
#include "tests/lib/t_env.h"

static struct br_uuid uuid_of(uint8_t byte)
{
    struct br_uuid uuid;
    memset(uuid.bytes, byte, sizeof(uuid.bytes));
    return uuid;
}

static void names_say_what_they_name_and_nothing_else_does(void **state)
{
    (void)state;
    char name[BR_OBJECT_NAME_BYTES];
    struct br_uuid id = uuid_of(0x5a), other = uuid_of(0xc3), a, b;
    uint8_t salt[BR_SALT_BYTES], got[BR_SALT_BYTES];
    uint32_t epoch;
    memset(salt, 0xe7, sizeof(salt));

    br_name_key(&id, name);
    assert_string_equal(name, "keys/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a");
    assert_true(br_name_parse_key(name, &a) && br_uuid_equal(&a, &id));
    br_name_epoch(42, name);
    assert_string_equal(name, "epochs/00000042");
    assert_true(br_name_parse_epoch(name, &epoch) && epoch == 42);
    br_name_pack(salt, name);
    assert_string_equal(name, "packs/e7/e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7");
    assert_true(br_name_parse_pack(name, got));
    assert_memory_equal(got, salt, sizeof(salt));
    br_name_point(&id, &other, name);
    assert_true(br_name_parse_point(name, &a, &b) && br_uuid_equal(&a, &id) && br_uuid_equal(&b, &other));

    static const char *const foreign[] = {
        "",
        "config",
        "keys/",
        "keys/5a",
        "keys/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5A",
        "keys/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a0",
        "epochs/",
        "epochs/0000004",
        "epochs/000000042",
        "epochs/00000000",
        "epochs/0000004x",
        "points/x/y",
        "packs/e6/e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7",
        "packs/e7/e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7",
        "packs/../e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7e7",
    };
    for (size_t i = 0; i < BR_ARRAY_LEN(foreign); i++) {
        assert_false(br_name_parse_key(foreign[i], &a) || br_name_parse_epoch(foreign[i], &epoch) ||
                     br_name_parse_pack(foreign[i], got) || br_name_parse_point(foreign[i], &a, &b));
    }
}

static void fill_key(struct br_key *key, uint8_t byte)
{
    memset(key->bytes, byte, sizeof(key->bytes));
}

static void an_epoch_that_was_shredded_says_so_and_no_other(void **state)
{
    (void)state;
    const struct br_uuid repository = uuid_of(1), host = uuid_of(2), run = uuid_of(3);
    static const char *const foreign[] = {
        "epochs/00000003",          "epochs/00000003-",  "epochs/00000003-shredde", "epochs/00000003-shredded2",
        "epochs/00000000-shredded", "epochs/3-shredded", "history/x/y-00",          "history/",
    };
    struct br_uuid got_host, got_run;
    struct br_key master, wrong;
    struct br_buf bytes = {0};
    uint8_t salt[BR_SALT_BYTES] = {5};
    char name[BR_OBJECT_NAME_BYTES];
    uint64_t when = 0;
    uint32_t epoch;
    unsigned note;

    fill_key(&master, 9);
    fill_key(&wrong, 8);
    br_name_shredded(3, name);
    assert_string_equal(name, "epochs/00000003-shredded");
    assert_true(br_name_parse_shredded(name, &epoch) && epoch == 3 && !br_name_parse_epoch(name, &epoch));
    assert_int_equal(br_shredded_seal(3, &repository, salt, &master, 12345, &bytes, NULL), 0);
    assert_int_equal(br_shredded_open(name, bytes.data, bytes.len, &master, &when, NULL), 0);
    assert_int_equal(when, 12345);
    assert_int_equal(br_shredded_open(name, bytes.data, bytes.len, &wrong, &when, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_shredded_open("epochs/00000002-shredded", bytes.data, bytes.len, &master, &when, NULL),
                     -BR_E_CORRUPT);
    assert_int_equal(br_epoch_open(name, bytes.data, bytes.len, &master, &wrong, &when, NULL), -BR_E_CORRUPT);
    br_buf_free(&bytes);

    br_name_history(&host, &run, 99, name);
    assert_true(strlen(name) < BR_OBJECT_NAME_BYTES && !strcmp(name + strlen(name) - 3, "-99"));
    assert_true(br_name_parse_history(name, &got_host, &got_run, &note) && note == 99 &&
                br_uuid_equal(&got_host, &host) && br_uuid_equal(&got_run, &run));
    for (size_t i = 0; i < BR_ARRAY_LEN(foreign); i++) {
        assert_false(br_name_parse_shredded(foreign[i], &epoch) ||
                     br_name_parse_history(foreign[i], &got_host, &got_run, &note));
    }
}

static void a_sealed_object_opens_only_as_it_was(void **state)
{
    (void)state;
    struct br_object object = {.kind = BR_OBJECT_POINT, .epoch = 3, .repository = uuid_of(1)}, head;
    struct br_key key, wrong;
    struct br_buf bytes = {0}, secret = {0};
    const uint8_t *clear;
    size_t clear_len;
    fill_key(&key, 9);
    fill_key(&wrong, 8);
    memset(object.salt, 0x77, sizeof(object.salt));
    assert_int_equal(br_object_seal(&object, "points/x", &key, "in clear", 8, "sealed away", 11, &bytes, NULL), 0);
    assert_int_equal(bytes.len, BR_OBJECT_HEAD_BYTES + 8 + 11 + BR_SEAL_TAG_BYTES);
    assert_int_equal(br_object_head(bytes.data, bytes.len, &head, &clear, &clear_len, NULL), 0);
    assert_true(head.kind == BR_OBJECT_POINT && head.epoch == 3 && br_uuid_equal(&head.repository, &object.repository));
    assert_int_equal(clear_len, 8);
    assert_memory_equal(clear, "in clear", 8);
    assert_int_equal(br_object_open(bytes.data, bytes.len, "points/x", &key, &secret, NULL), 0);
    assert_int_equal(secret.len, 11);
    assert_memory_equal(secret.data, "sealed away", 11);
    br_buf_reset(&secret);

    assert_int_equal(br_object_open(bytes.data, bytes.len, "points/y", &key, &secret, NULL), -BR_E_CORRUPT);
    assert_int_equal(br_object_open(bytes.data, bytes.len, "points/x", &wrong, &secret, NULL), -BR_E_CORRUPT);
    for (size_t len = 0; len < bytes.len; len++) {
        assert_int_equal(br_object_open(bytes.data, len, "points/x", &key, &secret, NULL), -BR_E_CORRUPT);
    }
    for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int rc = br_object_open(bytes.data, bytes.len, "points/x", &key, &secret, NULL);
        assert_true(rc == -BR_E_CORRUPT || rc == -BR_E_VERSION);
        assert_int_equal(secret.len, 0);
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    br_buf_append(&bytes, "", 1);
    assert_int_equal(br_object_open(bytes.data, bytes.len, "points/x", &key, &secret, NULL), -BR_E_CORRUPT);
    br_buf_free(&bytes);
    br_buf_free(&secret);
}

static void each_way_leads_to_the_master_key(void **state)
{
    (void)state;
    struct br_repo_key key = {.id = uuid_of(2), .repository = uuid_of(1), .made_unix_ns = 77, .label = "the safe"},
                       look;
    struct br_key master, opener, wrong, got;
    uint8_t salt[BR_SALT_BYTES] = {1};
    char name[BR_OBJECT_NAME_BYTES];
    fill_key(&master, 0x33);
    br_name_key(&key.id, name);
    for (unsigned way = BR_KEY_PASSPHRASE; way <= BR_KEY_FILE; way++) {
        struct br_buf bytes = {0};
        struct br_err err = {0};
        key.way = way;
        key.scrypt = (struct br_scrypt){.log2_n = 10, .block = 8, .lanes = 1};
        if (way == BR_KEY_PASSPHRASE) {
            assert_int_equal(br_key_from_passphrase("open", 4, &key.scrypt, &opener, NULL), 0);
            assert_int_equal(br_key_from_passphrase("opem", 4, &key.scrypt, &wrong, NULL), 0);
        } else {
            fill_key(&wrong, 5);
            assert_int_equal(br_key_of_file(&wrong, &opener, NULL), 0);
        }
        assert_int_equal(br_repo_key_seal(&key, salt, &opener, &master, &bytes, NULL), 0);
        assert_int_equal(br_repo_key_look(name, bytes.data, bytes.len, &look, NULL), 0);
        assert_true(look.way == way && look.made_unix_ns == 77 && br_uuid_equal(&look.id, &key.id));
        assert_string_equal(look.label, "the safe");
        assert_int_equal(look.scrypt.log2_n, way == BR_KEY_PASSPHRASE ? 10 : 0);
        assert_int_equal(br_repo_key_open(name, bytes.data, bytes.len, &opener, &got, NULL), 0);
        assert_memory_equal(got.bytes, master.bytes, sizeof(master.bytes));
        assert_int_equal(br_repo_key_open(name, bytes.data, bytes.len, &wrong, &got, &err), -BR_E_KEY);
        br_buf_free(&bytes);
    }
}

static void a_config_and_an_epoch_come_back(void **state)
{
    (void)state;
    struct br_repo_config config = {.repository = uuid_of(4), .encrypted = true, .made_unix_ns = 5}, got;
    struct br_key master, key, opened;
    struct br_buf bytes = {0};
    uint8_t salt[BR_SALT_BYTES] = {2};
    uint64_t made;
    fill_key(&master, 1);
    fill_key(&config.id_secret, 2);
    fill_key(&key, 3);
    assert_int_equal(br_repo_config_seal(&config, salt, &master, &bytes, NULL), 0);
    assert_int_equal(br_repo_config_look(bytes.data, bytes.len, &got, NULL), 0);
    assert_true(got.encrypted && br_is_zero(got.id_secret.bytes, BR_KEY_BYTES));
    assert_int_equal(br_repo_config_open(bytes.data, bytes.len, &master, &got, NULL), 0);
    assert_memory_equal(&got, &config, sizeof(config));
    assert_int_equal(br_repo_config_open(bytes.data, bytes.len, &key, &got, NULL), -BR_E_CORRUPT);
    br_buf_reset(&bytes);
    assert_int_equal(br_epoch_seal(7, &config.repository, salt, &master, &key, 99, &bytes, NULL), 0);
    assert_int_equal(br_epoch_open("epochs/00000007", bytes.data, bytes.len, &master, &opened, &made, NULL), 0);
    assert_memory_equal(opened.bytes, key.bytes, BR_KEY_BYTES);
    assert_int_equal(made, 99);
    assert_int_equal(br_epoch_open("epochs/00000008", bytes.data, bytes.len, &master, &opened, &made, NULL),
                     -BR_E_CORRUPT);
    assert_int_equal(br_repo_config_open(bytes.data, bytes.len, &master, &got, NULL), -BR_E_CORRUPT);
    br_buf_free(&bytes);
}

static void a_point(struct br_point *point)
{
    *point = (struct br_point){
        .id = uuid_of(1),
        .volume = uuid_of(2),
        .counter = 9,
        .parent = uuid_of(3),
        .size_bytes = 100000,
        .sector_bytes = 512,
        .hash_id = BR_HASH_SHA256,
        .consistency = BR_CONSISTENCY_CRASH,
        .type = BR_POINT_INCREMENTAL,
        .domain = uuid_of(4),
        .taken_unix_ns = 5,
        .made_unix_ns = 6,
        .changed_bytes = 7,
        .stored_bytes = 8,
        .tracker = "era",
        .host = "web1",
        .label = "/dev/vg0/data",
        .tag_count = 2,
        .tags = {"nightly", "before the upgrade"},
    };
    struct br_tree tree;
    memset(point->top.bytes, 0xab, BR_HASH_BYTES);
    assert_int_equal(br_point_tree(point, &tree, NULL), 0);
    br_tree_root(&tree, &point->root);
}

static int reseal(const struct br_point *point, struct br_point *ret_point)
{
    struct br_object object = {.kind = BR_OBJECT_POINT, .epoch = 1, .repository = uuid_of(8)};
    struct br_key key;
    struct br_buf bytes = {0};
    struct br_err err = {0};
    char name[BR_OBJECT_NAME_BYTES];
    fill_key(&key, 6);
    br_name_point(&point->volume, &point->id, name);
    assert_int_equal(br_point_seal(point, &object, &key, &bytes, NULL), 0);
    int rc = br_point_open(name, bytes.data, bytes.len, &key, ret_point, &err);
    br_buf_free(&bytes);
    return rc;
}

static void a_point_comes_back_and_an_impossible_one_does_not(void **state)
{
    (void)state;
    struct br_point point, got, bad;
    struct br_tree tree;
    a_point(&point);
    assert_int_equal(reseal(&point, &got), 0);
    assert_memory_equal(&got, &point, sizeof(point));
    assert_int_equal(br_point_tree(&point, &tree, NULL), 0);
    assert_int_equal(tree.top.ref, 1);

#define DEFECT(change, want)                           \
    do {                                               \
        bad = point;                                   \
        change;                                        \
        assert_int_equal(reseal(&bad, &got), -(want)); \
    } while (0)
    DEFECT(bad.hash_id = 2, BR_E_VERSION);
    DEFECT(bad.root.bytes[0] ^= 1, BR_E_CORRUPT);
    DEFECT(bad.size_bytes++, BR_E_CORRUPT);
    DEFECT(bad.size_bytes = UINT64_MAX, BR_E_CORRUPT);
    DEFECT(bad.consistency = 3, BR_E_CORRUPT);
    DEFECT(bad.type = 0, BR_E_CORRUPT);
    DEFECT(bad.type = 4, BR_E_CORRUPT);
    DEFECT(bad.sector_bytes = 513, BR_E_CORRUPT);
    DEFECT(bad.sector_bytes = 256, BR_E_CORRUPT);
    DEFECT(bad.unreadable_blocks = 3, BR_E_CORRUPT);
#undef DEFECT
    bad = point;
    bad.size_bytes = 0;
    bad.top = br_hash_zero;
    assert_int_equal(br_point_tree(&bad, &tree, NULL), 0);
    assert_int_equal(tree.top.ref, 0);
}

static void ids_tell_domains_and_kinds_apart(void **state)
{
    (void)state;
    struct br_key secret;
    struct br_uuid one = uuid_of(1), two = uuid_of(2);
    struct br_mac *a, *b;
    struct br_chunk_id leaf_a, leaf_b, node_a, again;
    struct br_hash hash;
    fill_key(&secret, 1);
    memset(&hash, 5, sizeof(hash));
    assert_int_equal(br_domain_mac(&secret, &one, &a, NULL), 0);
    assert_int_equal(br_domain_mac(&secret, &two, &b, NULL), 0);
    assert_int_equal(br_chunk_id_leaf(a, &hash, &leaf_a, NULL), 0);
    assert_int_equal(br_chunk_id_leaf(b, &hash, &leaf_b, NULL), 0);
    assert_int_equal(br_chunk_id_node(a, &hash, &node_a, NULL), 0);
    assert_int_equal(br_chunk_id_leaf(a, &hash, &again, NULL), 0);
    assert_memory_equal(&leaf_a, &again, sizeof(again));
    assert_memory_not_equal(&leaf_a, &leaf_b, sizeof(again));
    assert_memory_not_equal(&leaf_a, &node_a, sizeof(again));
    br_mac_close(a);
    br_mac_close(b);
}

static void an_overlay_replaces_its_pages_and_no_others(void **state)
{
    (void)state;
    struct t_rand r = t_rand_seeded(t_seed(), 1);
    static uint8_t base[BR_BLOCK_BYTES], block[BR_BLOCK_BYTES], bytes[BR_OVERLAY_HEAD_BYTES + BR_BLOCK_BYTES];
    for (unsigned round = 0; round < 200; round++) {
        uint32_t block_bytes = round % 2 ? BR_BLOCK_BYTES : 1 + (uint32_t)t_rand_below(&r, BR_BLOCK_BYTES);
        unsigned pages_there = (block_bytes + BR_PAGE_BYTES - 1) / BR_PAGE_BYTES;
        uint16_t all = (uint16_t)((1u << pages_there) - 1);
        uint16_t pages = (uint16_t)t_rand_next(&r) & all, zeros = (uint16_t)t_rand_next(&r) & all & (uint16_t)~pages;
        size_t len = BR_OVERLAY_HEAD_BYTES;
        struct br_overlay overlay;
        t_rand_fill(&r, base, block_bytes);
        br_put_u16(bytes, zeros);
        br_put_u16(bytes + 2, pages);
        for (unsigned p = 0; p < pages_there; p++) {
            uint32_t n = BR_MIN(block_bytes - p * BR_PAGE_BYTES, BR_PAGE_BYTES);
            if (pages >> p & 1) {
                t_rand_fill(&r, bytes + len, n);
                len += n;
            }
        }
        assert_int_equal(br_overlay_decode(bytes, len, block_bytes, &overlay, NULL), 0);
        memcpy(block, base, block_bytes);
        br_overlay_apply(&overlay, block, block_bytes);
        const uint8_t *from = bytes + BR_OVERLAY_HEAD_BYTES;
        for (unsigned p = 0; p < pages_there; p++) {
            uint32_t at = p * BR_PAGE_BYTES, n = BR_MIN(block_bytes - at, BR_PAGE_BYTES);
            if (pages >> p & 1) {
                assert_memory_equal(block + at, from, n);
                from += n;
            } else if (zeros >> p & 1) {
                assert_true(br_is_zero(block + at, n));
            } else {
                assert_memory_equal(block + at, base + at, n);
            }
        }
        assert_int_equal(br_overlay_decode(bytes, len - 1, block_bytes, &overlay, NULL), -BR_E_CORRUPT);
        assert_int_equal(br_overlay_decode(bytes, len + 1, block_bytes, &overlay, NULL), -BR_E_CORRUPT);
        if (pages) {
            br_put_u16(bytes, zeros | pages);
            assert_int_equal(br_overlay_decode(bytes, len, block_bytes, &overlay, NULL), -BR_E_CORRUPT);
        }
        if (all != 0xffff) {
            br_put_u16(bytes, (uint16_t)(zeros | 0x8000));
            assert_int_equal(br_overlay_decode(bytes, len, block_bytes, &overlay, NULL), -BR_E_CORRUPT);
        }
    }
}

struct pack {
    struct br_pack_key key;
    struct br_directory directory;
    struct br_buf tail; // sealed directory, tag, trailer
    uint64_t at;
};

static void make_pack(struct pack *p)
{
    struct br_object object = {.kind = BR_OBJECT_PACK, .epoch = 1, .repository = uuid_of(8)}, got;
    struct br_uuid writer = uuid_of(9), got_writer;
    struct br_key epoch;
    uint8_t head[BR_PACK_FRAMES_AT];
    *p = (struct pack){.at = BR_PACK_FRAMES_AT};
    fill_key(&epoch, 4);
    memset(object.salt, 0x1f, sizeof(object.salt));
    assert_int_equal(br_pack_key_make(&object, &writer, &epoch, &p->key, head, NULL), 0);
    assert_int_equal(br_pack_head(head, &got, &got_writer, NULL), 0);
    assert_memory_equal(&got, &object, sizeof(got));
    assert_true(br_uuid_equal(&got_writer, &writer));
    for (unsigned f = 0; f < 3; f++) {
        struct br_frame_entry frame = {.codec = f % 2 ? BR_FRAME_ZSTD : BR_FRAME_RAW, .chunks = f + 1};
        for (unsigned c = 0; c <= f; c++) {
            struct br_chunk_entry chunk = {.kind = (enum br_chunk_kind)(c + 1), .len_bytes = 4 + 100 * c};
            memset(chunk.id.bytes, (int)(16 * f + c), BR_MAC_BYTES);
            if (chunk.kind == BR_CHUNK_OVERLAY) {
                memset(chunk.base.bytes, 0xee, BR_MAC_BYTES);
            }
            assert_int_equal(br_directory_add_chunk(&p->directory, &chunk, NULL), 0);
            frame.raw_bytes += chunk.len_bytes;
        }
        frame.sealed_bytes = frame.codec == BR_FRAME_ZSTD ? frame.raw_bytes / 2 : frame.raw_bytes;
        assert_int_equal(br_directory_add_frame(&p->directory, &frame, NULL), 0);
        p->at += frame.sealed_bytes + BR_SEAL_TAG_BYTES;
    }
    assert_int_equal(br_directory_seal(&p->directory, &p->key, p->at, &p->tail, NULL), 0);
}

static int open_tail(const struct pack *p, const uint8_t *tail, uint64_t pack_bytes, struct br_directory *ret_directory)
{
    struct br_pack_trailer trailer;
    struct br_err err = {0};
    static uint8_t sealed[4096];
    int rc = br_pack_trailer_decode(tail + p->tail.len - BR_PACK_TRAILER_BYTES, pack_bytes, &trailer, &err);
    if (rc < 0) {
        return rc;
    }
    assert_true(p->tail.len <= sizeof(sealed));
    memcpy(sealed, tail, p->tail.len);
    return br_directory_open(&trailer, &p->key, sealed, ret_directory, &err);
}

static void a_directory_comes_back_and_any_other_bit_is_refused(void **state)
{
    (void)state;
    struct pack p;
    struct br_directory got = {0};
    make_pack(&p);
    uint64_t whole = p.at + p.tail.len;
    assert_int_equal(open_tail(&p, p.tail.data, whole, &got), 0);
    assert_int_equal(got.frame_count, 3);
    assert_int_equal(got.chunk_count, 6);
    assert_memory_equal(got.frames, p.directory.frames, 3 * sizeof(*got.frames));
    assert_memory_equal(got.chunks, p.directory.chunks, 6 * sizeof(*got.chunks));
    br_directory_free(&got);
    assert_int_equal(open_tail(&p, p.tail.data, whole + 1, &got), -BR_E_CORRUPT);
    assert_int_equal(open_tail(&p, p.tail.data, whole - 1, &got), -BR_E_CORRUPT);
    for (size_t bit = 0; bit < 8 * p.tail.len; bit++) {
        p.tail.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(open_tail(&p, p.tail.data, whole, &got), -BR_E_CORRUPT);
        p.tail.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    br_directory_free(&p.directory);
    br_buf_free(&p.tail);
}

// Sealed by who has the key, and yet impossible: a writer's fault, or a malicious one's.
static void a_directory_that_can_not_be_is_refused(void **state)
{
    (void)state;
#define DEFECT(change)                                                                     \
    do {                                                                                   \
        struct pack p;                                                                     \
        struct br_directory got = {0};                                                     \
        make_pack(&p);                                                                     \
        p.tail.len = 0;                                                                    \
        change;                                                                            \
        assert_int_equal(br_directory_seal(&p.directory, &p.key, p.at, &p.tail, NULL), 0); \
        int rc = open_tail(&p, p.tail.data, p.at + p.tail.len, &got);                      \
        assert_true(rc == -BR_E_CORRUPT || rc == -BR_E_VERSION);                           \
        br_directory_free(&p.directory);                                                   \
        br_buf_free(&p.tail);                                                              \
    } while (0)
    DEFECT(p.directory.frames[0].codec = 2);
    DEFECT(p.directory.frames[0].raw_bytes = 0);
    DEFECT(p.directory.frames[0].raw_bytes = BR_FRAME_RAW_MAX + 1);
    DEFECT(p.directory.frames[0].chunks = 0);
    DEFECT(p.directory.frames[0].chunks = 2);
    DEFECT(p.directory.frames[0].sealed_bytes++);
    DEFECT(p.directory.frames[1].sealed_bytes = p.directory.frames[1].raw_bytes);
    DEFECT(p.directory.frames[2].chunks = 1);
    DEFECT(p.directory.chunk_count--);
    DEFECT(p.directory.chunks[0].len_bytes++);
    DEFECT(p.directory.chunks[0].len_bytes = 0);
    DEFECT(p.directory.chunks[5].kind = (enum br_chunk_kind)4);
    DEFECT(p.directory.chunks[5].kind = (enum br_chunk_kind)0);
    DEFECT(p.at++);
#undef DEFECT
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_they_name_and_nothing_else_does),
        cmocka_unit_test(an_epoch_that_was_shredded_says_so_and_no_other),
        cmocka_unit_test(a_sealed_object_opens_only_as_it_was),
        cmocka_unit_test(each_way_leads_to_the_master_key),
        cmocka_unit_test(a_config_and_an_epoch_come_back),
        cmocka_unit_test(a_point_comes_back_and_an_impossible_one_does_not),
        cmocka_unit_test(ids_tell_domains_and_kinds_apart),
        cmocka_unit_test(an_overlay_replaces_its_pages_and_no_others),
        cmocka_unit_test(a_directory_comes_back_and_any_other_bit_is_refused),
        cmocka_unit_test(a_directory_that_can_not_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
