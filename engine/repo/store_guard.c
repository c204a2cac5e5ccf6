// SPDX-License-Identifier: Apache-2.0
//
// Owners lie as records/owners/VOLUME, each the owner's fingerprint as text, in a store of their own, which gives put-if-absent and durability.
// What a client took is one line in records/taken/FINGERPRINT, replaced whole under a lock. Bytes are taken a slice ahead, so that not each
// piece costs a file; what is left of a slice is given back at the end.
#include "engine/repo/store_guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/units.h"
#include "engine/repo/store_dir.h"

#define GUARD_DAY_NS     (86400 * BR_NS_PER_S)
#define GUARD_SLICE      (64 * BR_MIB)
#define GUARD_LEASES_MAX 16u
#define GUARD_LINE_BYTES 160u
#define GUARD_LOCK_TRIES 500u
#define GUARD_VOLUME_AT  7u  // where in "points/VOLUME/POINT" the volume's name is,
#define GUARD_VOLUME_LEN 32u // and how long

enum guard_kind {
    KIND_NONE,
    KIND_CONFIG,
    KIND_KEY,
    KIND_EPOCH,
    KIND_PACK,
    KIND_POINT,
    KIND_LEASE,
    KIND_HISTORY,
    KIND_DOOMED,
    KIND_HOLD,
};

struct guard {
    struct br_store_guard_params params;
    struct br_store owners;
    struct br_dir *taken;
    char volume[GUARD_VOLUME_LEN + 1]; // whose owner was looked up last; "" none
    bool volume_is_ours;
    uint64_t bytes_left; // of the slice
    char leases[GUARD_LEASES_MAX][BR_OBJECT_NAME_BYTES];
    unsigned lease_count;
};

struct guard_write {
    void *inner;
    uint64_t bytes;
};

// Names -------------------------------------------------------------------------------------------------------------------------------

// @least to @most components of [a-z0-9-] behind @prefix.
static bool is_below(const char *name, const char *prefix, unsigned least, unsigned most)
{
    size_t len = strlen(prefix);
    unsigned components = 1;
    char before = '/';

    if (strncmp(name, prefix, len) != 0) {
        return false;
    }
    for (const char *c = name + len; *c; before = *c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-';

        if (!letter && (*c != '/' || before == '/')) {
            return false;
        }
        components += *c == '/';
    }
    return before != '/' && components >= least && components <= most;
}

static enum guard_kind kind_of(const char *name)
{
    struct br_uuid id, other;
    uint8_t salt[BR_SALT_BYTES];
    uint32_t epoch;

    return !strcmp(name, "config")                  ? KIND_CONFIG
           : br_name_parse_key(name, &id)           ? KIND_KEY
           : br_name_parse_key_sum(name, &id)       ? KIND_KEY
           : br_name_parse_epoch(name, &epoch)      ? KIND_EPOCH
           : br_name_parse_shredded(name, &epoch)   ? KIND_EPOCH
           : br_name_parse_pack(name, salt)         ? KIND_PACK
           : br_name_parse_point(name, &id, &other) ? KIND_POINT
           : is_below(name, "leases/", 1, 1)        ? KIND_LEASE
           : is_below(name, "history/", 1, 3)       ? KIND_HISTORY
           : is_below(name, "doomed/", 1, 2)        ? KIND_DOOMED
           : is_below(name, "holds/", 1, 2)         ? KIND_HOLD
                                                    : KIND_NONE;
}

// Refusals ----------------------------------------------------------------------------------------------------------------------------

static int tell(const struct guard *guard, const char *name, const struct br_err *why, struct br_err *reterr)
{
    if (guard->params.refused) {
        guard->params.refused(guard->params.refused_ctx, name, why);
    }
    if (reterr) {
        *reterr = *why;
    }
    return -why->code;
}

static int refuse(const struct guard *guard, const char *name, const char *why, struct br_err *reterr)
{
    struct br_err err = {0};
    char shown[2 * BR_OBJECT_NAME_BYTES];

    br_quote(name, shown, sizeof(shown));
    br_err_set(&err, BR_E_AUTH, "%s: %s", shown, why);
    return tell(guard, name, &err, reterr);
}

// Owners ------------------------------------------------------------------------------------------------------------------------------

// Returns 1 and the owner, 0 nobody.
static int owner_of(const struct guard *guard, const char *volume, struct br_fingerprint *ret_owner,
                    struct br_err *reterr)
{
    struct br_buf text = {0};
    int rc = br_store_read_all(&guard->owners, volume, BR_FINGERPRINT_TEXT_BYTES, &text, reterr);

    if (rc == -BR_E_NOT_FOUND) {
        return 0;
    }
    if (!rc) {
        br_buf_u8(&text, 0);
        rc = br_buf_failed(&text) ? br_err_set(reterr, BR_E_NOMEM, "the owner of a volume")
             : br_fingerprint_parse((const char *)text.data, ret_owner)
                 ? 1
                 : br_err_set(reterr, BR_E_CORRUPT, "the note of who owns volume %s", volume);
    }
    br_buf_free(&text);
    return rc;
}

static void volume_of(const char *name, char volume[GUARD_VOLUME_LEN + 1])
{
    snprintf(volume, GUARD_VOLUME_LEN + 1, "%.*s", (int)GUARD_VOLUME_LEN, name + GUARD_VOLUME_AT);
}

// Does the volume of this point's name belong to the client? 1 or 0. One without an owner does where the next writer takes it.
static int is_ours(struct guard *guard, const char *name, struct br_err *reterr)
{
    char volume[GUARD_VOLUME_LEN + 1];
    struct br_fingerprint owner;

    volume_of(name, volume);
    if (!strcmp(volume, guard->volume)) {
        return guard->volume_is_ours;
    }
    int rc = owner_of(guard, volume, &owner, reterr);
    if (rc >= 0) {
        memcpy(guard->volume, volume, sizeof(volume));
        guard->volume_is_ours = rc ? br_fingerprint_equal(&owner, &guard->params.client) : guard->params.adopt;
        rc = guard->volume_is_ours;
    }
    return rc;
}

static int any_point(void *ctx, const char *name)
{
    (void)ctx;
    return kind_of(name) == KIND_POINT;
}

static int take_ownership(struct guard *guard, const char *volume, struct br_err *reterr)
{
    char text[BR_FINGERPRINT_TEXT_BYTES];
    const struct br_store *owners = &guard->owners;

    br_fingerprint_text(&guard->params.client, text);
    guard->volume[0] = 0;
    int rc = owners->ops->put(owners->ctx, volume, text, strlen(text), reterr);
    return rc == -BR_E_EXISTS ? 0 : rc; // another session was first: whose it is, is looked up again
}

// May the client add a point under this name? A volume that nobody has written to becomes its own.
static int claim(struct guard *guard, const char *name, struct br_err *reterr)
{
    const struct br_store *store = &guard->params.store;
    char volume[GUARD_VOLUME_LEN + 1], prefix[GUARD_VOLUME_AT + GUARD_VOLUME_LEN + 2];
    struct br_fingerprint owner;

    volume_of(name, volume);
    int rc = owner_of(guard, volume, &owner, reterr);
    if (!rc) {
        snprintf(prefix, sizeof(prefix), "points/%s/", volume);
        int there = guard->params.adopt ? 0 : store->ops->list(store->ctx, prefix, any_point, NULL, reterr);

        if (there > 0) {
            return refuse(guard, name,
                          "the volume has points, and it is not known whose it is: see adopt in blkrep.conf(5)",
                          reterr);
        }
        rc = there < 0 ? there : take_ownership(guard, volume, reterr);
        rc = rc < 0 ? rc : owner_of(guard, volume, &owner, reterr);
    }
    if (rc < 0) {
        return rc;
    }
    return rc && br_fingerprint_equal(&owner, &guard->params.client)
               ? 0
               : refuse(guard, name, "the volume belongs to another client", reterr);
}

// What was taken -----------------------------------------------------------------------------------------------------------------------

struct taken {
    uint64_t since_unix_ns;
    uint64_t points, objects, bytes;
};

static int taken_read(const struct guard *guard, const char *name, struct taken *taken, struct br_err *reterr)
{
    char line[GUARD_LINE_BYTES] = "";
    struct br_file_info info;
    struct br_file *file;
    uint64_t now = br_ring_unix_ns(guard->params.store.ring);
    int rc = br_dir_open(guard->taken, name, BR_OPEN_READ, &file, reterr);

    *taken = (struct taken){.since_unix_ns = now};
    if (rc < 0) {
        return rc == -BR_E_NOT_FOUND ? 0 : rc;
    }
    rc = br_file_stat(file, &info, reterr);
    rc = rc < 0 ? rc : br_file_read(file, line, (size_t)BR_MIN(info.size_bytes, sizeof(line) - 1), 0, reterr);
    br_file_close(file);
    struct taken was = {0};
    // A clock that was set back, or a day that is over, begins another.
    if (!rc &&
        sscanf(line, "since=%" SCNu64 " points=%" SCNu64 " objects=%" SCNu64 " bytes=%" SCNu64, &was.since_unix_ns,
               &was.points, &was.objects, &was.bytes) == 4 &&
        was.since_unix_ns <= now && now - was.since_unix_ns < GUARD_DAY_NS) {
        *taken = was;
    }
    return rc;
}

static int taken_write(const struct guard *guard, const char *name, const struct taken *taken, struct br_err *reterr)
{
    char line[GUARD_LINE_BYTES], temporary[BR_FINGERPRINT_TEXT_BYTES + 8];
    struct br_file *file;
    int len =
        snprintf(line, sizeof(line), "since=%" PRIu64 " points=%" PRIu64 " objects=%" PRIu64 " bytes=%" PRIu64 "\n",
                 taken->since_unix_ns, taken->points, taken->objects, taken->bytes);

    snprintf(temporary, sizeof(temporary), "%s-new", name);
    int rc = br_dir_open(guard->taken, temporary, BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE, &file, reterr);
    if (rc < 0) {
        return rc;
    }
    rc = br_file_write(file, line, (size_t)len, 0, reterr);
    rc = rc < 0 ? rc : br_file_sync(file, reterr);
    br_file_close(file);
    return rc < 0 ? rc : br_dir_rename(guard->taken, temporary, name, reterr);
}

static int over(const char *what, const char *key, uint64_t limit, struct br_err *reterr)
{
    return br_err_set(reterr, BR_E_LIMIT, "this client has added %" PRIu64 " %s within a day, the most it may (%s)",
                      limit, what, key);
}

// Adds to what was taken; @bytes may come out as fewer, when there are no more.
static int take_locked(const struct guard *guard, const char *name, uint64_t points, uint64_t objects, uint64_t *bytes,
                       struct br_err *reterr)
{
    const struct br_store_limits *limits = &guard->params.limits;
    struct taken taken;
    int rc = taken_read(guard, name, &taken, reterr);

    if (rc < 0) {
        return rc;
    }
    if (points && limits->points && taken.points + points > limits->points) {
        return over("points", "points-per-day", limits->points, reterr);
    }
    if (objects && limits->objects && taken.objects + objects > limits->objects) {
        return over("objects", "objects-per-day", limits->objects, reterr);
    }
    if (*bytes && limits->bytes && taken.bytes >= limits->bytes) {
        return over("bytes", "bytes-per-day", limits->bytes, reterr);
    }
    *bytes = limits->bytes ? BR_MIN(*bytes, limits->bytes - BR_MIN(taken.bytes, limits->bytes)) : *bytes;
    taken.points += points;
    taken.objects += objects;
    taken.bytes += *bytes;
    return taken_write(guard, name, &taken, reterr);
}

// The lock of what this client took; other sessions of it may be at work.
static int taken_lock(const struct guard *guard, char name[BR_FINGERPRINT_TEXT_BYTES],
                      char lock[BR_FINGERPRINT_TEXT_BYTES + 8], struct br_err *reterr)
{
    int rc = -BR_E_BUSY;

    br_fingerprint_text(&guard->params.client, name);
    snprintf(lock, BR_FINGERPRINT_TEXT_BYTES + 8, "%s-lock", name);
    for (unsigned i = 0; rc == -BR_E_BUSY && i < GUARD_LOCK_TRIES; i++) {
        rc = br_dir_lock(guard->taken, lock, reterr);
        if (rc == -BR_E_BUSY) {
            br_ring_sleep(guard->params.store.ring, 10 * BR_NS_PER_MS);
        }
    }
    return rc;
}

static bool is_limited(const struct guard *guard)
{
    return guard->params.role == BR_ROLE_WRITER;
}

static int take(struct guard *guard, const char *object, uint64_t points, uint64_t objects, uint64_t bytes,
                struct br_err *reterr)
{
    char name[BR_FINGERPRINT_TEXT_BYTES], lock[BR_FINGERPRINT_TEXT_BYTES + 8];
    struct br_err err = {0};
    int rc = 0;

    if (!is_limited(guard)) {
        return 0;
    }
    uint64_t more = bytes > guard->bytes_left ? BR_MAX(bytes - guard->bytes_left, GUARD_SLICE) : 0;
    if (points || objects || more) {
        rc = taken_lock(guard, name, lock, reterr);
        if (rc < 0) {
            return rc;
        }
        rc = take_locked(guard, name, points, objects, &more, &err);
        br_dir_unlock(guard->taken, lock);
        guard->bytes_left += rc < 0 ? 0 : more;
    }
    if (!rc && bytes > guard->bytes_left) {
        rc = over("bytes", "bytes-per-day", guard->params.limits.bytes, &err);
    }
    if (rc < 0) {
        return tell(guard, object, &err, reterr);
    }
    guard->bytes_left -= bytes;
    return 0;
}

// What of the slice was not needed.
static void give_back(struct guard *guard)
{
    char name[BR_FINGERPRINT_TEXT_BYTES], lock[BR_FINGERPRINT_TEXT_BYTES + 8];
    struct taken taken;

    if (!guard->bytes_left || taken_lock(guard, name, lock, NULL) < 0) {
        return;
    }
    if (!taken_read(guard, name, &taken, NULL)) {
        taken.bytes -= BR_MIN(taken.bytes, guard->bytes_left);
        (void)!taken_write(guard, name, &taken, NULL);
    }
    br_dir_unlock(guard->taken, lock);
}

// What is let through ------------------------------------------------------------------------------------------------------------------

static enum br_role role_to_add(enum guard_kind kind)
{
    switch (kind) {
    case KIND_PACK:
    case KIND_POINT:
    case KIND_LEASE:
    case KIND_HISTORY: return BR_ROLE_WRITER;
    case KIND_DOOMED:
    case KIND_HOLD: return BR_ROLE_OPERATOR;
    default: return BR_ROLE_ADMIN;
    }
}

static int may_add(const struct guard *guard, const char *name, enum guard_kind kind, struct br_err *reterr)
{
    if (kind == KIND_NONE) {
        return refuse(guard, name, "no object has such a name", reterr);
    }
    if (!guard->params.write) {
        return refuse(guard, name, "the repository was opened for reading", reterr);
    }
    return guard->params.role >= role_to_add(kind)
               ? 0
               : refuse(guard, name, "the client's role lets it add none such", reterr);
}

static int may_read(struct guard *guard, const char *name, struct br_err *reterr)
{
    enum guard_kind kind = kind_of(name);

    if (kind == KIND_NONE) {
        return br_err_os(reterr, ENOENT, "no object has such a name");
    }
    if (kind != KIND_POINT || guard->params.role != BR_ROLE_WRITER) {
        return 0;
    }
    int rc = is_ours(guard, name, reterr);
    return rc < 0 ? rc : rc ? 0 : refuse(guard, name, "the volume is not this client's", reterr);
}

// What is put as a point must look like one of this repository; something else (a tombstone) is put by operators only.
static bool looks_like_a_point(const struct guard *guard, const void *bytes, size_t len)
{
    struct br_object object;

    return len >= BR_OBJECT_HEAD_BYTES && !br_object_head(bytes, len, &object, NULL, NULL, NULL) &&
           object.kind == BR_OBJECT_POINT && br_uuid_equal(&object.repository, &guard->params.repository);
}

static int may_put_point(struct guard *guard, const char *name, const void *bytes, size_t len, struct br_err *reterr)
{
    bool point = looks_like_a_point(guard, bytes, len);

    if (br_uuid_is_nil(&guard->params.repository)) {
        return refuse(guard, name, "there is no repository yet: open it anew", reterr);
    }
    if (guard->params.role >= BR_ROLE_OPERATOR) {
        char volume[GUARD_VOLUME_LEN + 1];
        struct br_fingerprint owner;

        // Of a volume that is nobody's yet, an operator's own backup makes it the owner; a tombstone doesn't.
        volume_of(name, volume);
        int owned = point ? owner_of(guard, volume, &owner, reterr) : 1;
        return owned < 0 ? owned : owned ? 0 : take_ownership(guard, volume, reterr);
    }
    return point ? claim(guard, name, reterr) : refuse(guard, name, "is no point of this repository", reterr);
}

static int guard_put(void *ctx, const char *name, const void *bytes, size_t len, struct br_err *reterr)
{
    struct guard *guard = ctx;
    const struct br_store *store = &guard->params.store;
    enum guard_kind kind = kind_of(name);
    uint64_t size;
    int rc = may_add(guard, name, kind, reterr);

    rc = rc < 0 || kind != KIND_POINT ? rc : may_put_point(guard, name, bytes, len, reterr);
    // Looked at before it is counted, so that what is there costs nothing; the store itself decides.
    if (!rc && kind == KIND_POINT && !store->ops->size(store->ctx, name, &size, NULL)) {
        return br_err_set(reterr, BR_E_EXISTS, "%s", name);
    }
    rc = rc < 0 ? rc : take(guard, name, kind == KIND_POINT, 1, len, reterr);
    rc = rc < 0 ? rc : store->ops->put(store->ctx, name, bytes, len, reterr);
    if (!rc && kind == KIND_LEASE && guard->lease_count < GUARD_LEASES_MAX) {
        snprintf(guard->leases[guard->lease_count++], BR_OBJECT_NAME_BYTES, "%s", name);
    }
    return rc;
}

static int guard_write_open(void *ctx, const char *name, void **ret_write, struct br_err *reterr)
{
    struct guard *guard = ctx;
    const struct br_store *store = &guard->params.store;
    enum guard_kind kind = kind_of(name);
    struct guard_write *write = NULL;
    int rc = may_add(guard, name, kind, reterr);

    if (!rc && kind != KIND_PACK) {
        rc = refuse(guard, name, "only packs are written piece by piece", reterr);
    }
    rc = rc < 0 ? rc : take(guard, name, 0, 1, 0, reterr);
    if (rc < 0) {
        return rc;
    }
    write = calloc(1, sizeof(*write));
    rc = write ? store->ops->write_open(store->ctx, name, &write->inner, reterr)
               : br_err_set(reterr, BR_E_NOMEM, "writing %s", name);
    if (rc < 0) {
        free(write);
        return rc;
    }
    *ret_write = write;
    return 0;
}

static int guard_write_piece(void *ctx, void *writing, struct br_buf *bytes, struct br_err *reterr)
{
    struct guard *guard = ctx;
    struct guard_write *write = writing;
    const struct br_store *store = &guard->params.store;
    int rc = take(guard, "packs", 0, 0, bytes->len, reterr);

    write->bytes += bytes->len;
    if (!rc && write->bytes > BR_STORE_GUARD_PACK_MAX) {
        rc = br_err_set(reterr, BR_E_LIMIT, "a pack of more than %u bytes", BR_STORE_GUARD_PACK_MAX);
    }
    if (rc < 0) {
        br_buf_free(bytes);
        return rc;
    }
    return store->ops->write(store->ctx, write->inner, bytes, reterr);
}

static void guard_write_close(void *ctx, void *writing, bool keep)
{
    struct guard *guard = ctx;
    struct guard_write *write = writing;

    guard->params.store.ops->write_close(guard->params.store.ctx, write->inner, keep);
    free(write);
}

static int guard_settle(void *ctx, struct br_err *reterr)
{
    struct guard *guard = ctx;

    return guard->params.store.ops->settle(guard->params.store.ctx, reterr);
}

static void guard_get(void *ctx, struct br_store_get *get)
{
    struct guard *guard = ctx;
    const struct br_store *store = &guard->params.store;

    get->result = may_read(guard, get->name, &get->err);
    if (get->result < 0) {
        br_store_refuse(store->ring, get);
        return;
    }
    store->ops->get(store->ctx, get);
}

static int guard_size(void *ctx, const char *name, uint64_t *ret_bytes, struct br_err *reterr)
{
    struct guard *guard = ctx;
    const struct br_store *store = &guard->params.store;
    int rc = may_read(guard, name, reterr);

    return rc < 0 ? rc : store->ops->size(store->ctx, name, ret_bytes, reterr);
}

static int guard_arrived(void *ctx, const char *name, uint64_t *ret_unix_ns, struct br_err *reterr)
{
    struct guard *guard = ctx;
    const struct br_store *store = &guard->params.store;
    int rc = may_read(guard, name, reterr);

    return rc < 0 ? rc : store->ops->arrived(store->ctx, name, ret_unix_ns, reterr);
}

struct guard_list {
    struct guard *guard;
    br_store_list_fn *fn;
    void *fn_ctx;
    struct br_err *reterr;
};

static int list_name(void *ctx, const char *name)
{
    const struct guard_list *list = ctx;
    enum guard_kind kind = kind_of(name);
    int rc = 1;

    if (kind == KIND_POINT && list->guard->params.role == BR_ROLE_WRITER) {
        rc = is_ours(list->guard, name, list->reterr);
    }
    return rc < 0 ? rc : kind == KIND_NONE || !rc ? 0 : list->fn(list->fn_ctx, name);
}

static int guard_list(void *ctx, const char *prefix, br_store_list_fn *fn, void *fn_ctx, struct br_err *reterr)
{
    struct guard *guard = ctx;
    struct guard_list list = {.guard = guard, .fn = fn, .fn_ctx = fn_ctx, .reterr = reterr};
    const struct br_store *store = &guard->params.store;
    size_t len = strlen(prefix);
    char whole[BR_OBJECT_NAME_BYTES + 2];

    // With a letter where it may end in a slash, a prefix is as a name.
    snprintf(whole, sizeof(whole), "%s%s", prefix, !len || prefix[len - 1] == '/' ? "x" : "");
    if (!is_below(whole, "", 1, 4)) {
        return refuse(guard, prefix, "no object's name begins like that", reterr);
    }
    return store->ops->list(store->ctx, prefix, list_name, &list, reterr);
}

// Its place among the session's leases; lease_count: it is none of them.
static unsigned own_lease(const struct guard *guard, const char *name)
{
    unsigned i = 0;

    while (i < guard->lease_count && strcmp(guard->leases[i], name) != 0) {
        i++;
    }
    return i;
}

static int guard_remove(void *ctx, const char *name, struct br_err *reterr)
{
    struct guard *guard = ctx;
    const struct br_store *store = &guard->params.store;
    enum guard_kind kind = kind_of(name);
    enum br_role least = kind <= KIND_EPOCH ? BR_ROLE_ADMIN : BR_ROLE_OPERATOR;

    if (kind == KIND_NONE) {
        return refuse(guard, name, "no object has such a name", reterr);
    }
    unsigned own = own_lease(guard, name);
    if (!guard->params.write || (guard->params.role < least && own == guard->lease_count)) {
        return refuse(guard, name, "the client's role lets it remove none such", reterr);
    }
    int rc = store->ops->remove(store->ctx, name, reterr);
    // A session that copies a thousand points has as many leases, one after another.
    if (!rc && own < guard->lease_count) {
        memmove(guard->leases[own], guard->leases[--guard->lease_count], BR_OBJECT_NAME_BYTES);
    }
    return rc;
}

static int guard_space(void *ctx, uint64_t *ret_free_bytes, struct br_err *reterr)
{
    struct guard *guard = ctx;

    return guard->params.store.ops->space(guard->params.store.ctx, ret_free_bytes, reterr);
}

static void guard_close(void *ctx)
{
    struct guard *guard = ctx;

    if (guard->taken) {
        give_back(guard);
    }
    br_dir_close(guard->taken);
    if (guard->owners.ops) {
        guard->owners.ops->close(guard->owners.ctx);
    }
    br_dir_close(guard->params.records);
    guard->params.store.ops->close(guard->params.store.ctx);
    free(guard);
}

int br_store_guard_open(const struct br_store_guard_params *params, struct br_store *ret_store, struct br_err *reterr)
{
    static const struct br_store_ops ops = {
        .put = guard_put,
        .write_open = guard_write_open,
        .write = guard_write_piece,
        .write_close = guard_write_close,
        .settle = guard_settle,
        .get = guard_get,
        .size = guard_size,
        .list = guard_list,
        .arrived = guard_arrived,
        .remove = guard_remove,
        .space = guard_space,
        .close = guard_close,
    };
    struct guard *guard = calloc(1, sizeof(*guard));
    struct br_dir *owners = NULL;

    if (!guard) {
        br_dir_close(params->records);
        params->store.ops->close(params->store.ctx);
        return br_err_set(reterr, BR_E_NOMEM, "a store");
    }
    guard->params = *params;
    int rc = br_dir_sub(params->records, "owners", true, &owners, reterr);
    rc = rc < 0 ? rc : br_store_dir_open(params->store.ring, owners, false, &guard->owners, reterr);
    rc = rc < 0 ? rc : br_dir_sub(params->records, "taken", true, &guard->taken, reterr);
    rc = rc < 0
             ? rc
             : br_dir_sync(params->records, reterr); // an owner that is noted must not lie in a folder that goes away
    if (rc < 0) {
        guard_close(guard);
        return rc;
    }
    *ret_store = (struct br_store){.ops = &ops, .ctx = guard, .ring = params->store.ring};
    return 0;
}
