// SPDX-License-Identifier: Apache-2.0
#include "engine/sync/source.h"

#include <stdio.h>
#include <xxhash.h>

#include "engine/replica/identity_slots.h"
#include "engine/track/tree_file.h"

// The volume record:  0  8 magic   8  4 version, 1   12  4 zero   16 16 uuid   32 16 zero   48 16 XXH3-128 of bytes 0..47, canonical form
#define BR_VOLUME_NAME         "volume"
#define BR_VOLUME_NEW_NAME     "volume.new"
#define BR_VOLUME_MAGIC        "blkrepVO"
#define BR_VOLUME_VERSION      1u
#define BR_VOLUME_RECORD_BYTES 64u
#define BR_VOLUME_AT_UUID      16u
#define BR_VOLUME_AT_SUM       48u

#define BR_STEM_BYTES (sizeof("to-") + BR_UUID_TEXT_BYTES)
#define BR_NAME_BYTES 96u

struct br_source {
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_uuid replica;
    bool read_only;
    bool damaged;
    bool restarted; // trees is not the file that the record names
    char stem[BR_STEM_BYTES];
    char tree_stem[BR_NAME_BYTES];
    char lock[BR_NAME_BYTES];
    struct br_identity_slots slots;
    struct br_identity identity;
    struct br_tree_file *trees; // NULL while there is none
};

// Volume ------------------------------------------------------------------------------------------------------------------------------

static void br_volume_sum(const uint8_t *record, uint8_t sum[16])
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits(record, BR_VOLUME_AT_SUM));
    memcpy(sum, canonical.digest, 16);
}

int br_volume_load(struct br_dir *dir, struct br_uuid *ret_volume, struct br_err *reterr)
{
    uint8_t record[BR_VOLUME_RECORD_BYTES];
    uint8_t sum[16];
    struct br_file *file;
    struct br_err err;

    int rc = br_dir_open(dir, BR_VOLUME_NAME, BR_OPEN_READ, &file, &err);
    if (rc == -BR_E_NOT_FOUND) {
        return 0;
    }
    if (!rc) {
        rc = br_file_read(file, record, sizeof(record), 0, &err);
        br_file_close(file);
    }
    if (rc == -BR_E_TRUNCATED) {
        return br_err_set(reterr, BR_E_CORRUPT, "the volume record is cut short");
    }
    if (rc < 0) {
        if (reterr) {
            *reterr = err;
        }
        return br_err_prefix(reterr, "volume record");
    }
    br_volume_sum(record, sum);
    if (memcmp(record, BR_VOLUME_MAGIC, 8) || memcmp(sum, record + BR_VOLUME_AT_SUM, sizeof(sum))) {
        return br_err_set(reterr, BR_E_CORRUPT, "the volume record is damaged");
    }
    if (br_get_u32(record + 8) != BR_VOLUME_VERSION) {
        return br_err_set(reterr, BR_E_VERSION, "volume record of version %u", br_get_u32(record + 8));
    }
    memcpy(ret_volume->bytes, record + BR_VOLUME_AT_UUID, BR_UUID_BYTES);
    return 1;
}

static int br_volume_write(struct br_dir *dir, const struct br_uuid *volume, struct br_err *reterr)
{
    uint8_t record[BR_VOLUME_RECORD_BYTES] = {0};
    struct br_file *file;

    memcpy(record, BR_VOLUME_MAGIC, 8);
    br_put_u32(record + 8, BR_VOLUME_VERSION);
    memcpy(record + BR_VOLUME_AT_UUID, volume->bytes, BR_UUID_BYTES);
    br_volume_sum(record, record + BR_VOLUME_AT_SUM);
    int rc = br_dir_open(dir, BR_VOLUME_NEW_NAME, BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE, &file, reterr);
    if (rc < 0) {
        return br_err_prefix(reterr, "volume record");
    }
    rc = br_file_write(file, record, sizeof(record), 0, reterr);
    rc = rc < 0 ? rc : br_file_sync(file, reterr);
    br_file_close(file);
    rc = rc < 0 ? rc : br_dir_rename(dir, BR_VOLUME_NEW_NAME, BR_VOLUME_NAME, reterr);
    rc = rc < 0 ? rc : br_dir_sync(dir, reterr);
    return rc < 0 ? br_err_prefix(reterr, "volume record") : 0;
}

int br_volume_seed(struct br_dir *dir, const struct br_uuid *volume, struct br_err *reterr)
{
    struct br_uuid there;
    int rc = br_volume_load(dir, &there, reterr);

    return rc ? (rc < 0 ? rc : 0) : br_volume_write(dir, volume, reterr);
}

int br_volume_ensure(struct br_ring *ring, struct br_dir *dir, struct br_uuid *ret_volume, struct br_err *reterr)
{
    struct br_uuid volume;
    int rc = br_volume_load(dir, ret_volume, reterr);

    if (rc) {
        return rc < 0 ? rc : 0;
    }
    volume = br_ring_new_uuid(ring);
    rc = br_volume_write(dir, &volume, reterr);
    if (!rc) {
        *ret_volume = volume;
    }
    return rc;
}

// Loading -----------------------------------------------------------------------------------------------------------------------------

static void br_source_name(const struct br_source *source, const char *what, char name[BR_NAME_BYTES])
{
    snprintf(name, BR_NAME_BYTES, "%s.%s", source->stem, what);
}

static struct br_tree_file_name br_source_tree_name(const struct br_source *source, uint64_t number)
{
    return (struct br_tree_file_name){
        .dir = source->dir, .stem = source->tree_stem, .number = number, .replica = source->replica};
}

// A state that can't be used is as good as none: everything in it can be copied from the replica.
static bool br_source_useless(int rc)
{
    return rc == -BR_E_CORRUPT || rc == -BR_E_NOT_FOUND || rc == -BR_E_VERSION || rc == -BR_E_TRUNCATED;
}

static int br_source_load(struct br_source *source, struct br_err *reterr)
{
    char name[BR_NAME_BYTES];
    struct br_err err = {0};

    br_source_name(source, "identity", name);
    int rc = br_identity_slots_load(source->dir, name, !source->read_only, &source->slots, &source->identity, &err);
    if (br_source_useless(rc)) {
        source->damaged = true;
        source->identity = (struct br_identity){.state = BR_STATE_NONE};
        br_identity_slots_open_damaged(source->dir, name, &source->slots);
        return 0;
    }
    if (!rc && source->identity.state != BR_STATE_NONE) {
        struct br_tree_file_name file = br_source_tree_name(source, source->identity.tree_file);

        rc = br_tree_file_open(source->ring, &file, source->identity.tree_bytes, source->read_only, &source->trees,
                               &err);
        if (br_source_useless(rc)) {
            source->damaged = true;
            source->identity = (struct br_identity){.state = BR_STATE_NONE, .tree_file = source->identity.tree_file};
            rc = 0;
        }
    }
    if (rc < 0) {
        if (reterr) {
            *reterr = err;
        }
        return br_err_prefix(reterr, "source state");
    }
    return 0;
}

static void br_source_init(struct br_source *source, struct br_ring *ring, struct br_dir *dir,
                           const struct br_uuid *replica)
{
    char uuid[BR_UUID_TEXT_BYTES];

    source->ring = ring;
    source->dir = dir;
    source->replica = *replica;
    br_uuid_text(replica, uuid);
    snprintf(source->stem, sizeof(source->stem), "to-%s", uuid);
    br_source_name(source, "tree", source->tree_stem);
    br_source_name(source, "lock", source->lock);
}

int br_source_open(struct br_ring *ring, struct br_dir *dir, const struct br_uuid *replica, bool read_only,
                   struct br_source **ret_source, struct br_err *reterr)
{
    struct br_source *source = calloc(1, sizeof(*source));

    if (!source) {
        return br_err_set(reterr, BR_E_NOMEM, "source state");
    }
    br_source_init(source, ring, dir, replica);
    source->read_only = read_only;
    int rc = read_only ? 0 : br_dir_lock(dir, source->lock, reterr);
    if (rc < 0) {
        free(source);
        return br_err_prefix(reterr, "source state");
    }
    rc = br_source_load(source, reterr);
    if (rc < 0) {
        br_source_close(source);
        return rc;
    }
    *ret_source = source;
    return 0;
}

void br_source_close(struct br_source *source)
{
    if (!source) {
        return;
    }
    br_tree_file_close(source->trees);
    br_identity_slots_close(&source->slots);
    if (!source->read_only) {
        br_dir_unlock(source->dir, source->lock);
    }
    free(source);
}

const struct br_identity *br_source_identity(const struct br_source *source)
{
    return &source->identity;
}

bool br_source_damaged(const struct br_source *source)
{
    return source->damaged;
}

const struct br_tree_store *br_source_store(const struct br_source *source)
{
    return br_tree_file_store(source->trees);
}

const uint8_t *br_source_secret(const struct br_source *source)
{
    return br_tree_file_secret(source->trees);
}

// Recording ---------------------------------------------------------------------------------------------------------------------------

int br_source_restart(struct br_source *source, struct br_err *reterr)
{
    struct br_tree_file_name name = br_source_tree_name(source, source->identity.tree_file + 1);

    br_tree_file_close(source->trees);
    source->trees = NULL;
    source->restarted = true;
    int rc = br_tree_file_create(source->ring, &name, NULL, &source->trees, reterr);
    return rc < 0 ? br_err_prefix(reterr, "source state") : 0;
}

// The tree file that the record named before is garbage once the record names another. What can't be removed is tried again when the
// file is opened the next time.
static void br_source_drop_tree(struct br_source *source, uint64_t number)
{
    if (!br_tree_file_remove(source->dir, source->tree_stem, number, NULL)) {
        (void)!br_dir_sync(source->dir, NULL);
    }
}

int br_source_record(struct br_source *source, const struct br_identity *identity, struct br_err *reterr)
{
    uint64_t old_number = source->identity.tree_file;
    struct br_identity record = *identity;
    int rc = br_tree_file_sync(source->trees, reterr);

    if (rc < 0) {
        return br_err_prefix(reterr, "source state");
    }
    record.replica = source->replica;
    record.tree_file = br_tree_file_number(source->trees);
    record.tree_bytes = br_tree_file_bytes(source->trees);
    rc = br_identity_slots_store(&source->slots, &record, reterr);
    if (rc < 0) {
        return br_err_prefix(reterr, "source state");
    }
    source->identity = record;
    source->restarted = false;
    if (old_number != record.tree_file) {
        br_source_drop_tree(source, old_number);
    }
    return 0;
}

int br_source_compact(struct br_source *source, struct br_err *reterr)
{
    struct br_tree_file *file;
    struct br_tree tree;

    if (source->identity.state != BR_STATE_COMPLETE || source->restarted) {
        return 0;
    }
    int rc = br_tree_file_compact(source->trees, &source->identity.tree, 0, &file, &tree, reterr);
    if (rc <= 0) {
        return rc < 0 ? br_err_prefix(reterr, "source state") : 0;
    }
    struct br_identity record = source->identity;
    record.tree = tree;
    br_tree_file_close(source->trees);
    source->trees = file;
    return br_source_record(source, &record, reterr);
}

// Distrust, forget --------------------------------------------------------------------------------------------------------------------

int br_source_distrusted(struct br_source *source, struct br_err *reterr)
{
    char name[BR_NAME_BYTES];

    br_source_name(source, "distrust", name);
    return br_dir_exists(source->dir, name, reterr);
}

int br_source_distrust(struct br_source *source, bool distrust, struct br_err *reterr)
{
    char name[BR_NAME_BYTES];
    struct br_file *file;
    int rc;

    br_source_name(source, "distrust", name);
    if (distrust) {
        rc = br_dir_open(source->dir, name, BR_OPEN_WRITE | BR_OPEN_CREATE, &file, reterr);
        if (!rc) {
            br_file_close(file);
        }
    } else {
        rc = br_dir_exists(source->dir, name, reterr);
        if (rc <= 0) {
            return rc;
        }
        rc = br_dir_unlink(source->dir, name, reterr);
    }
    return rc < 0 ? rc : br_dir_sync(source->dir, reterr);
}

int br_source_forget(struct br_ring *ring, struct br_dir *dir, const struct br_uuid *replica, struct br_err *reterr)
{
    struct br_source *source;
    char name[BR_NAME_BYTES];
    int rc = br_source_open(ring, dir, replica, false, &source, reterr);

    if (rc < 0) {
        return rc;
    }
    uint64_t number = source->identity.tree_file;
    br_tree_file_close(source->trees);
    source->trees = NULL;
    br_identity_slots_close(&source->slots);
    // The record goes first: without it the rest is garbage.
    br_source_name(source, "identity", name);
    rc = br_dir_unlink(dir, name, reterr);
    rc = rc < 0 ? rc : br_dir_sync(dir, reterr);
    rc = rc < 0 ? rc : br_tree_file_remove(dir, source->tree_stem, number, reterr);
    rc = rc < 0 ? rc : br_source_distrust(source, false, reterr);
    br_source_close(source);
    return rc;
}

int br_source_unmoved(struct br_file *file, const struct br_file_info *seen, enum br_consistency consistency,
                      const char *label, int (*check)(void *ctx, struct br_err *reterr), void *check_ctx,
                      struct br_err *reterr)
{
    struct br_file_info now;
    int rc = br_file_stat(file, &now, reterr);

    if (rc < 0) {
        return rc;
    }
    if (now.size_bytes != seen->size_bytes) {
        return br_err_at(reterr, BR_E_SOURCE_MOVED, BR_MIN(now.size_bytes, seen->size_bytes), "%s changed its size",
                         label);
    }
    if (consistency != BR_CONSISTENCY_NONE && now.mtime_ns != seen->mtime_ns) {
        return br_err_set(reterr, BR_E_SOURCE_MOVED, "%s was written to", label);
    }
    return check ? check(check_ctx, reterr) : 0;
}
