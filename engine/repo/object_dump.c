// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/object_dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/codec/identity.h"
#include "engine/repo/history.h"

struct dumping {
    struct br_repo *repo;
    const char *name;
    bool chunks;
    br_dump_line_fn *line;
    void *ctx;
    struct br_err *reterr;
};

static int say(const struct dumping *d, const char *fmt, ...) BR_PRINTF(2, 3);
static int say(const struct dumping *d, const char *fmt, ...)
{
    char text[1500];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return d->line(d->ctx, text);
}

static int say_quoted(const struct dumping *d, const char *what, const char *text)
{
    char quoted[2 * BR_LABEL_BYTES];

    br_quote(text, quoted, sizeof(quoted));
    return say(d, "%-12s %s", what, quoted);
}

static int say_uuid(const struct dumping *d, const char *what, const struct br_uuid *uuid)
{
    char text[BR_UUID_TEXT_BYTES];

    br_uuid_text(uuid, text);
    return say(d, "%-12s %s", what, br_uuid_is_nil(uuid) ? "none" : text);
}

static int say_hash(const struct dumping *d, const char *what, const struct br_hash *hash)
{
    char text[2 * BR_HASH_BYTES + 1];

    br_hash_text(hash, text);
    return say(d, "%-12s %s", what, text);
}

static int say_time(const struct dumping *d, const char *what, uint64_t unix_ns)
{
    char text[40];

    br_time_text(unix_ns, text, sizeof(text));
    return say(d, "%-12s %s", what, text);
}

static int dump_head(const struct dumping *d, const struct br_object *object)
{
    int rc =
        say(d, "object       %s, version 1, suite 1, epoch %" PRIu32, br_object_kind_name(object->kind), object->epoch);
    struct br_hash salt;

    memcpy(salt.bytes, object->salt, sizeof(salt.bytes));
    rc = rc ? rc : say_uuid(d, "repository", &object->repository);
    return rc ? rc : say_hash(d, "salt", &salt);
}

static int dump_config(const struct dumping *d)
{
    const struct br_repo_config *config = br_repo_config_of(d->repo); // opened, so it was proven
    int rc = strcmp(d->name, "config") != 0 ? br_err_set(d->reterr, BR_E_CORRUPT, "%s: is no config", d->name) : 0;

    rc = rc ? rc : say(d, "encryption   %s", config->encrypted ? "keys" : "none");

    return rc ? rc : say_time(d, "made", config->made_unix_ns);
}

static int dump_key(const struct dumping *d, const struct br_buf *bytes)
{
    struct br_repo_key key;
    int rc = br_repo_key_look(d->name, bytes->data, bytes->len, &key, d->reterr);

    rc = rc ? rc : say(d, "way          %s", br_key_way_name(key.way));
    if (!rc && key.way == BR_KEY_PASSPHRASE) {
        rc = say(d, "scrypt       N 2^%u, r %u, p %u", key.scrypt.log2_n, key.scrypt.block, key.scrypt.lanes);
    }
    rc = rc ? rc : say_time(d, "made", key.made_unix_ns);
    return rc ? rc : say_quoted(d, "label", key.label);
}

static int dump_point(const struct dumping *d)
{
    struct br_uuid volume, id;
    struct br_point p;
    int rc = br_name_parse_point(d->name, &volume, &id)
                 ? br_repo_point(d->repo, &volume, &id, &p, NULL, d->reterr)
                 : br_err_set(d->reterr, BR_E_CORRUPT, "%s: is not the name of a point", d->name);

    rc = rc ? rc : say_uuid(d, "point", &p.id);
    rc = rc ? rc : say_uuid(d, "volume", &p.volume);
    rc = rc ? rc : say(d, "number       %" PRIu64, p.counter);
    rc = rc ? rc : say_uuid(d, "parent", &p.parent);
    rc = rc ? rc : say_hash(d, "previous", &p.previous);
    rc = rc ? rc : say_hash(d, "root", &p.root);
    rc = rc ? rc : say(d, "size         %" PRIu64 " bytes, sectors of %u", p.size_bytes, p.sector_bytes);
    rc = rc ? rc : say_hash(d, "top", &p.top);
    rc = rc ? rc
            : say(d, "type         %s, consistency %s", br_point_type_name(p.type), br_consistency_name(p.consistency));
    rc = rc ? rc : say_uuid(d, "domain", &p.domain);
    rc = rc ? rc : say_time(d, "taken", p.taken_unix_ns);
    rc = rc ? rc : say_time(d, "made", p.made_unix_ns);
    rc = rc ? rc
            : say(d, "counts       %" PRIu64 " blocks unreadable, %" PRIu64 " bytes changed, %" PRIu64 " stored",
                  p.unreadable_blocks, p.changed_bytes, p.stored_bytes);
    rc = rc ? rc : say_quoted(d, "tracker", p.tracker);
    rc = rc ? rc : say_quoted(d, "host", p.host);
    rc = rc ? rc : say_quoted(d, "source", p.label);
    for (unsigned t = 0; !rc && t < p.tag_count; t++) {
        rc = say_quoted(d, "tag", p.tags[t]);
    }
    return rc;
}

static int dump_chunk(const struct dumping *d, const struct br_chunk_entry *chunk, uint32_t at)
{
    static const char *const kinds[] = {
        [BR_CHUNK_BLOCK] = "block", [BR_CHUNK_OVERLAY] = "overlay", [BR_CHUNK_NODE] = "node"};
    struct br_hash id, base;
    int rc;

    memcpy(id.bytes, chunk->id.bytes, sizeof(id.bytes));
    memcpy(base.bytes, chunk->base.bytes, sizeof(base.bytes));
    char text[2 * BR_HASH_BYTES + 1];
    br_hash_text(&id, text);
    rc = say(d, "  %-7s at %7" PRIu32 " %6" PRIu32 " bytes  %s", kinds[chunk->kind], at, chunk->len_bytes, text);
    if (!rc && chunk->kind == BR_CHUNK_OVERLAY) {
        br_hash_text(&base, text);
        rc = say(d, "          over                   %s", text);
    }
    return rc;
}

static int dump_pack(const struct dumping *d)
{
    struct br_directory directory;
    struct br_index_pack pack;
    uint64_t offset = BR_PACK_FRAMES_AT;
    uint32_t chunk = 0;
    int rc = br_repo_directory(d->repo, d->name, &directory, &pack, d->reterr);

    if (rc < 0) {
        return rc;
    }
    rc = say_uuid(d, "run", &pack.writer);
    rc = rc ? rc
            : say(d, "length       %" PRIu64 " bytes, %" PRIu32 " frames, %" PRIu32 " chunks", pack.bytes,
                  directory.frame_count, directory.chunk_count);
    for (uint32_t f = 0; !rc && f < directory.frame_count; f++) {
        const struct br_frame_entry *frame = &directory.frames[f];
        uint32_t at = 0;

        rc = say(
            d, "frame %-6" PRIu32 " at %" PRIu64 ": %" PRIu32 " bytes sealed, %" PRIu32 " raw, %s, %" PRIu32 " chunks",
            f, offset, frame->sealed_bytes, frame->raw_bytes, frame->codec == BR_FRAME_ZSTD ? "zstd" : "as they are",
            frame->chunks);
        for (uint32_t c = 0; !rc && c < frame->chunks; c++, chunk++) {
            rc = d->chunks ? dump_chunk(d, &directory.chunks[chunk], at) : 0;
            at += directory.chunks[chunk].len_bytes;
        }
        offset += frame->sealed_bytes + BR_SEAL_TAG_BYTES;
    }
    br_directory_free(&directory);
    return rc;
}

static int dump_epoch(const struct dumping *d)
{
    const struct br_key *key = NULL;
    uint32_t epoch;

    if (!br_name_parse_epoch(d->name, &epoch) || br_repo_epoch_key(d->repo, epoch, &key, NULL) < 0) {
        return br_err_set(d->reterr, BR_E_CORRUPT, "%s: does not open", d->name);
    }
    return say(d, "key          opens");
}

static int dump_lease(const struct dumping *d, const struct br_buf *bytes, const struct br_key *key)
{
    struct br_lease lease;
    int rc = br_lease_open(d->name, bytes->data, bytes->len, key, &lease, d->reterr);

    rc = rc ? rc : say_uuid(d, "run", &lease.run);
    rc = rc ? rc : say_uuid(d, "volume", &lease.volume);
    rc = rc ? rc : say_uuid(d, "point", &lease.point);
    rc = rc ? rc : say_time(d, "begun", lease.begun_unix_ns);
    rc = rc ? rc : say_quoted(d, "host", lease.host);
    rc = rc ? rc : say_quoted(d, "source", lease.label);
    for (unsigned i = 0; !rc && i < lease.seen_count; i++) {
        rc = say_uuid(d, "seen", &lease.seen[i]);
    }
    return rc;
}

static int dump_mark(const struct dumping *d, const struct br_buf *bytes, const struct br_key *key)
{
    struct br_point_mark mark;
    int rc = br_point_mark_open(d->name, bytes->data, bytes->len, key, &mark, d->reterr);

    rc = rc ? rc : say_uuid(d, "volume", &mark.volume);
    rc = rc ? rc : say_uuid(d, "point", &mark.point);
    rc = rc ? rc : say_time(d, "made", mark.made_unix_ns);
    rc = rc ? rc : say_quoted(d, "host", mark.host);
    return rc ? rc : say_quoted(d, "why", mark.why);
}

static int dump_doomed(const struct dumping *d, const struct br_buf *bytes, const struct br_key *key)
{
    struct br_doomed doomed;
    char name[BR_OBJECT_NAME_BYTES];
    int rc = br_doomed_open(d->name, bytes->data, bytes->len, key, &doomed, d->reterr);

    if (rc) {
        return rc;
    }
    rc = say_time(d, "made", doomed.made_unix_ns);
    rc = rc ? rc : say_quoted(d, "host", doomed.host);
    for (size_t i = 0; !rc && i < doomed.count; i++) {
        br_name_pack(doomed.salts[i], name);
        rc = say(d, "%-12s %s", "pack", name);
    }
    free(doomed.salts);
    return rc;
}

static int dump_key_sum(const struct dumping *d, const struct br_buf *bytes, const struct br_key *key)
{
    struct br_hash sum;
    int rc = br_key_sum_open(d->name, bytes->data, bytes->len, key, &sum, d->reterr);

    return rc ? rc : say_hash(d, "sha256", &sum);
}

static int dump_sealed(const struct dumping *d)
{
    const struct br_key *key = NULL;
    struct br_buf bytes = {0};
    struct br_object object;
    int rc = br_repo_object_read(d->repo, d->name, &bytes, &object, &key, d->reterr);

    if (!rc) {
        switch (object.kind) {
        case BR_OBJECT_LEASE: rc = dump_lease(d, &bytes, key); break;
        case BR_OBJECT_DOOMED: rc = dump_doomed(d, &bytes, key); break;
        case BR_OBJECT_KEY_SUM: rc = dump_key_sum(d, &bytes, key); break;
        default: rc = dump_mark(d, &bytes, key);
        }
    }
    br_buf_free(&bytes);
    return rc;
}

static int dump_history(const struct dumping *d)
{
    struct br_buf text = {0};
    int rc = br_history_read(d->repo, d->name, &text, d->reterr);

    rc = rc < 0 ? rc : say(d, "note         %s", (const char *)text.data);
    br_buf_free(&text);
    return rc;
}

static int dump_shredded(const struct dumping *d)
{
    size_t count;
    const struct br_repo_epoch_info *infos = br_repo_epochs(d->repo, &count);
    uint32_t epoch;

    for (size_t i = 0; br_name_parse_shredded(d->name, &epoch) && i < count; i++) {
        if (infos[i].number == epoch && infos[i].shredded) {
            return say_time(d, "shredded", infos[i].shredded_unix_ns);
        }
    }
    return br_err_set(d->reterr, BR_E_CORRUPT, "%s: does not open", d->name);
}

int br_object_dump(struct br_repo *repo, const char *name, bool chunks, br_dump_line_fn *line, void *ctx,
                   struct br_err *reterr)
{
    const struct dumping d = {.repo = repo, .name = name, .chunks = chunks, .line = line, .ctx = ctx, .reterr = reterr};
    const struct br_store *store = br_repo_store_of(repo);
    struct br_buf bytes = {0};
    struct br_object object;
    uint64_t size;
    int rc = store->ops->size(store->ctx, name, &size, reterr);

    if (!rc && !br_buf_reserve(&bytes, (size_t)BR_MIN(size, (uint64_t)BR_OBJECT_BYTES_MAX) + 1)) {
        rc = br_err_set(reterr, BR_E_NOMEM, "%s", name);
    }
    // Of a pack the beginning is enough.
    if (!rc) {
        bytes.len = (size_t)BR_MIN(size, (uint64_t)BR_OBJECT_BYTES_MAX);
        rc = br_store_read(store, name, 0, bytes.data, bytes.len, reterr);
    }
    rc = rc < 0 ? rc : br_object_head(bytes.data, bytes.len, &object, NULL, NULL, reterr);
    rc = rc < 0 ? rc : dump_head(&d, &object);
    if (!rc) {
        switch (object.kind) {
        case BR_OBJECT_CONFIG: rc = dump_config(&d); break;
        case BR_OBJECT_KEY: rc = dump_key(&d, &bytes); break;
        case BR_OBJECT_EPOCH: rc = dump_epoch(&d); break;
        case BR_OBJECT_PACK: rc = dump_pack(&d); break;
        case BR_OBJECT_POINT: rc = dump_point(&d); break;
        case BR_OBJECT_LEASE:
        case BR_OBJECT_TOMBSTONE:
        case BR_OBJECT_DOOMED:
        case BR_OBJECT_HOLD:
        case BR_OBJECT_KEY_SUM: rc = dump_sealed(&d); break;
        case BR_OBJECT_HISTORY: rc = dump_history(&d); break;
        case BR_OBJECT_SHREDDED: rc = dump_shredded(&d); break;
        default: rc = br_err_set(reterr, BR_E_VERSION, "%s: an object of kind %u", name, object.kind);
        }
    }
    br_buf_free(&bytes);
    return rc;
}
