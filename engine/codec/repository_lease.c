// SPDX-License-Identifier: Apache-2.0
//
// What writers and prunes leave for one another: leases, tombstones, lists of doomed packs; and holds.
#include "engine/codec/repository.h"

#include <assert.h>

static int seal_of(const struct br_object *object, const char *name, const struct br_key *key, struct br_buf *secret,
                   struct br_buf *to, struct br_err *reterr)
{
    int rc = br_buf_failed(secret) ? br_err_set(reterr, BR_E_NOMEM, "sealing %s", name)
                                   : br_object_seal(object, name, key, NULL, 0, secret->data, secret->len, to, reterr);

    br_buf_free(secret);
    return rc;
}

// The sealed part of an object that must be of @kind or @other.
static int open_as(const char *name, const void *bytes, size_t len, const struct br_key *key, enum br_object_kind kind,
                   enum br_object_kind other, struct br_buf *secret, struct br_err *reterr)
{
    struct br_object object;
    int rc = br_object_head(bytes, len, &object, NULL, NULL, reterr);

    if (rc < 0) {
        br_err_prefix(reterr, "%s", name);
        return rc;
    }
    if (object.kind != kind && object.kind != other) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: is a %s", name, br_object_kind_name(object.kind));
    }
    return br_object_open(bytes, len, name, key, secret, reterr);
}

static int bad_length(const char *name, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_CORRUPT, "%s: bad length", name);
}

int br_lease_seal(const struct br_lease *lease, const struct br_object *object, const struct br_key *key,
                  struct br_buf *to, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf secret = {0};

    assert(object->kind == BR_OBJECT_LEASE && lease->seen_count <= BR_LEASE_SEEN_MAX);
    br_name_lease(&lease->run, name);
    br_buf_append(&secret, lease->volume.bytes, BR_UUID_BYTES);
    br_buf_append(&secret, lease->point.bytes, BR_UUID_BYTES);
    br_buf_u64(&secret, lease->begun_unix_ns);
    br_buf_string(&secret, lease->host);
    br_buf_string(&secret, lease->label);
    br_buf_u16(&secret, (uint16_t)lease->seen_count);
    for (unsigned i = 0; i < lease->seen_count; i++) {
        br_buf_append(&secret, lease->seen[i].bytes, BR_UUID_BYTES);
    }
    return seal_of(object, name, key, &secret, to, reterr);
}

int br_lease_open(const char *name, const void *bytes, size_t len, const struct br_key *key, struct br_lease *ret_lease,
                  struct br_err *reterr)
{
    struct br_lease lease = {0};
    struct br_buf secret = {0};
    int rc = open_as(name, bytes, len, key, BR_OBJECT_LEASE, BR_OBJECT_LEASE, &secret, reterr);

    if (!rc) {
        struct br_reader r = br_reader_init(secret.data, secret.len);

        br_reader_copy(&r, lease.volume.bytes, BR_UUID_BYTES);
        br_reader_copy(&r, lease.point.bytes, BR_UUID_BYTES);
        lease.begun_unix_ns = br_reader_u64(&r);
        br_reader_string(&r, lease.host, sizeof(lease.host));
        br_reader_string(&r, lease.label, sizeof(lease.label));
        lease.seen_count = br_reader_u16(&r);
        for (unsigned i = 0; i < BR_MIN(lease.seen_count, BR_LEASE_SEEN_MAX); i++) {
            br_reader_copy(&r, lease.seen[i].bytes, BR_UUID_BYTES);
        }
        if (!br_reader_done(&r) || lease.seen_count > BR_LEASE_SEEN_MAX || !br_name_parse_lease(name, &lease.run)) {
            rc = bad_length(name, reterr);
        }
    }
    br_buf_free(&secret);
    if (!rc) {
        *ret_lease = lease;
    }
    return rc;
}

int br_point_mark_seal(const struct br_point_mark *mark, const struct br_object *object, const struct br_key *key,
                       struct br_buf *to, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf secret = {0};

    assert(object->kind == BR_OBJECT_HOLD || object->kind == BR_OBJECT_TOMBSTONE);
    if (object->kind == BR_OBJECT_HOLD) {
        br_name_hold(&mark->volume, &mark->point, name);
    } else {
        br_name_point(&mark->volume, &mark->point, name);
    }
    br_buf_u64(&secret, mark->made_unix_ns);
    br_buf_string(&secret, mark->host);
    br_buf_string(&secret, mark->why);
    return seal_of(object, name, key, &secret, to, reterr);
}

int br_point_mark_open(const char *name, const void *bytes, size_t len, const struct br_key *key,
                       struct br_point_mark *ret_mark, struct br_err *reterr)
{
    struct br_point_mark mark = {0};
    struct br_buf secret = {0};
    int rc = open_as(name, bytes, len, key, BR_OBJECT_HOLD, BR_OBJECT_TOMBSTONE, &secret, reterr);

    if (!rc) {
        struct br_reader r = br_reader_init(secret.data, secret.len);

        mark.made_unix_ns = br_reader_u64(&r);
        br_reader_string(&r, mark.host, sizeof(mark.host));
        br_reader_string(&r, mark.why, sizeof(mark.why));
        if (!br_reader_done(&r) || (!br_name_parse_hold(name, &mark.volume, &mark.point) &&
                                    !br_name_parse_point(name, &mark.volume, &mark.point))) {
            rc = bad_length(name, reterr);
        }
    }
    br_buf_free(&secret);
    if (!rc) {
        *ret_mark = mark;
    }
    return rc;
}

int br_doomed_seal(const struct br_doomed *doomed, const struct br_object *object, const struct br_key *key,
                   struct br_buf *to, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf secret = {0};

    assert(object->kind == BR_OBJECT_DOOMED && doomed->count <= BR_DOOMED_PACKS_MAX);
    br_name_doomed(&doomed->id, name);
    br_buf_u64(&secret, doomed->made_unix_ns);
    br_buf_string(&secret, doomed->host);
    br_buf_u32(&secret, (uint32_t)doomed->count);
    for (size_t i = 0; i < doomed->count; i++) {
        br_buf_append(&secret, doomed->salts[i], BR_SALT_BYTES);
    }
    return seal_of(object, name, key, &secret, to, reterr);
}

int br_doomed_open(const char *name, const void *bytes, size_t len, const struct br_key *key,
                   struct br_doomed *ret_doomed, struct br_err *reterr)
{
    struct br_doomed doomed = {0};
    struct br_buf secret = {0};
    int rc = open_as(name, bytes, len, key, BR_OBJECT_DOOMED, BR_OBJECT_DOOMED, &secret, reterr);

    if (!rc) {
        struct br_reader r = br_reader_init(secret.data, secret.len);

        doomed.made_unix_ns = br_reader_u64(&r);
        br_reader_string(&r, doomed.host, sizeof(doomed.host));
        doomed.count = br_reader_u32(&r);
        if (r.bad || doomed.count > BR_DOOMED_PACKS_MAX || !br_name_parse_doomed(name, &doomed.id)) {
            rc = bad_length(name, reterr);
        }
        doomed.salts = rc ? NULL : calloc(BR_MAX(doomed.count, 1u), sizeof(*doomed.salts));
        if (!rc && !doomed.salts) {
            rc = br_err_set(reterr, BR_E_NOMEM, "%s", name);
        }
        for (size_t i = 0; !rc && i < doomed.count; i++) {
            br_reader_copy(&r, doomed.salts[i], BR_SALT_BYTES);
        }
        if (!rc && !br_reader_done(&r)) {
            rc = bad_length(name, reterr);
        }
    }
    br_buf_free(&secret);
    if (rc < 0) {
        free(doomed.salts);
        return rc;
    }
    *ret_doomed = doomed;
    return 0;
}
