// SPDX-License-Identifier: Apache-2.0
//
// A recovery point as an object of the repository; struct br_point is in repository.h.
#include "engine/codec/repository.h"

#include <assert.h>

#include "engine/map/tree_node.h"

const char *br_point_type_name(enum br_point_type type)
{
    static const char *const names[] = {
        [BR_POINT_FULL] = "full",
        [BR_POINT_INCREMENTAL] = "incremental",
        [BR_POINT_DIFFERENTIAL] = "differential",
    };

    return type < BR_ARRAY_LEN(names) && names[type] ? names[type] : "unknown";
}

static void put_point(const struct br_point *point, struct br_buf *to)
{
    br_buf_append(to, point->id.bytes, BR_UUID_BYTES);
    br_buf_append(to, point->volume.bytes, BR_UUID_BYTES);
    br_buf_u64(to, point->counter);
    br_buf_append(to, point->parent.bytes, BR_UUID_BYTES);
    br_buf_append(to, point->previous.bytes, BR_HASH_BYTES);
    br_buf_append(to, point->root.bytes, BR_HASH_BYTES);
    br_buf_u64(to, point->size_bytes);
    br_buf_append(to, point->top.bytes, BR_HASH_BYTES);
    br_buf_u32(to, point->sector_bytes);
    br_buf_u8(to, point->hash_id);
    br_buf_u8(to, point->consistency);
    br_buf_u8(to, (uint8_t)point->type);
    br_buf_append(to, point->domain.bytes, BR_UUID_BYTES);
    br_buf_u64(to, point->taken_unix_ns);
    br_buf_u64(to, point->made_unix_ns);
    br_buf_u64(to, point->unreadable_blocks);
    br_buf_u64(to, point->changed_bytes);
    br_buf_u64(to, point->stored_bytes);
    br_buf_string(to, point->tracker);
    br_buf_string(to, point->host);
    br_buf_string(to, point->label);
    br_buf_u16(to, (uint16_t)point->tag_count);
    for (unsigned t = 0; t < point->tag_count; t++) {
        br_buf_string(to, point->tags[t]);
    }
}

int br_point_seal(const struct br_point *point, const struct br_object *object, const struct br_key *key,
                  struct br_buf *to, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf secret = {0};

    assert(object->kind == BR_OBJECT_POINT && point->tag_count <= BR_POINT_TAGS_MAX);
    br_name_point(&point->volume, &point->id, name);
    put_point(point, &secret);
    int rc = br_buf_failed(&secret) ? br_err_set(reterr, BR_E_NOMEM, "sealing %s", name)
                                    : br_object_seal(object, name, key, NULL, 0, secret.data, secret.len, to, reterr);
    br_buf_free(&secret);
    return rc;
}

static void take_point(struct br_reader *r, struct br_point *point)
{
    br_reader_copy(r, point->id.bytes, BR_UUID_BYTES);
    br_reader_copy(r, point->volume.bytes, BR_UUID_BYTES);
    point->counter = br_reader_u64(r);
    br_reader_copy(r, point->parent.bytes, BR_UUID_BYTES);
    br_reader_copy(r, point->previous.bytes, BR_HASH_BYTES);
    br_reader_copy(r, point->root.bytes, BR_HASH_BYTES);
    point->size_bytes = br_reader_u64(r);
    br_reader_copy(r, point->top.bytes, BR_HASH_BYTES);
    point->sector_bytes = br_reader_u32(r);
    point->hash_id = br_reader_u8(r);
    point->consistency = br_reader_u8(r);
    point->type = (enum br_point_type)br_reader_u8(r);
    br_reader_copy(r, point->domain.bytes, BR_UUID_BYTES);
    point->taken_unix_ns = br_reader_u64(r);
    point->made_unix_ns = br_reader_u64(r);
    point->unreadable_blocks = br_reader_u64(r);
    point->changed_bytes = br_reader_u64(r);
    point->stored_bytes = br_reader_u64(r);
    br_reader_string(r, point->tracker, sizeof(point->tracker));
    br_reader_string(r, point->host, sizeof(point->host));
    br_reader_string(r, point->label, sizeof(point->label));
    point->tag_count = br_reader_u16(r);
    for (unsigned t = 0; t < BR_MIN(point->tag_count, BR_POINT_TAGS_MAX); t++) {
        br_reader_string(r, point->tags[t], sizeof(point->tags[t]));
    }
}

static const char *bad_field(const struct br_point *point)
{
    struct br_tree tree;
    struct br_hash root;

    if (point->tag_count > BR_POINT_TAGS_MAX) {
        return "tags";
    }
    if (br_point_tree(point, &tree, NULL) < 0) {
        return "size";
    }
    br_tree_root(&tree, &root);
    if (!br_hash_equal(&root, &point->root)) {
        return "root";
    }
    if (point->consistency > BR_CONSISTENCY_CLEAN) {
        return "consistency";
    }
    if (point->type < BR_POINT_FULL || point->type > BR_POINT_DIFFERENTIAL) {
        return "type";
    }
    if (point->sector_bytes < 512 || point->sector_bytes > BR_BLOCK_BYTES ||
        (point->sector_bytes & (point->sector_bytes - 1))) {
        return "sector size";
    }
    return point->unreadable_blocks > tree.geometry.block_count ? "unreadable blocks" : NULL;
}

static int decode_point(const char *name, const struct br_buf *secret, struct br_point *ret_point,
                        struct br_err *reterr)
{
    struct br_reader r = br_reader_init(secret->data, secret->len);
    struct br_point point = {0};
    struct br_uuid volume, id;

    take_point(&r, &point);
    if (!br_reader_done(&r)) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: bad length", name);
    }
    if (point.hash_id != BR_HASH_SHA256) {
        return br_err_set(reterr, BR_E_VERSION, "%s: hash %u; this program knows 1 (SHA-256)", name, point.hash_id);
    }
    if (!br_name_parse_point(name, &volume, &id) || !br_uuid_equal(&volume, &point.volume) ||
        !br_uuid_equal(&id, &point.id)) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: is another point", name);
    }
    const char *bad = bad_field(&point);
    if (bad) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: bad %s", name, bad);
    }
    *ret_point = point;
    return 0;
}

int br_point_open(const char *name, const void *bytes, size_t len, const struct br_key *key, struct br_point *ret_point,
                  struct br_err *reterr)
{
    struct br_object object;
    struct br_buf secret = {0};
    int rc = br_object_head(bytes, len, &object, NULL, NULL, reterr);

    if (rc < 0) {
        br_err_prefix(reterr, "%s", name);
        return rc;
    }
    if (object.kind != BR_OBJECT_POINT) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: is no point", name);
    }
    rc = br_object_open(bytes, len, name, key, &secret, reterr);
    if (!rc) {
        rc = decode_point(name, &secret, ret_point, reterr);
    }
    br_buf_free(&secret);
    return rc;
}

int br_point_tree(const struct br_point *point, struct br_tree *ret_tree, struct br_err *reterr)
{
    struct br_tree tree = {.top.hash = point->top};
    struct br_tree_shape shape;

    if (!br_tree_geometry_of(point->size_bytes, &tree.geometry)) {
        return br_err_set(reterr, BR_E_CORRUPT, "a point of %llu bytes", (unsigned long long)point->size_bytes);
    }
    br_tree_shape_init(&shape, &tree.geometry);
    tree.top.ref = br_tree_shape_special(&shape, &point->top, tree.geometry.levels, 0) ? 0 : 1;
    *ret_tree = tree;
    return 0;
}
