// SPDX-License-Identifier: Apache-2.0
//
// Objects of a repository: their heads, their names, and those that hold keys. Packs are in repository_pack.c, points in repository_point.c.
#include "engine/codec/repository.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

#define OBJECT_MAGIC   "blkrepRO"
#define OBJECT_VERSION 1u
#define OBJECT_SUITE   1u

#define CONFIG_CLEAR_BYTES 16u
#define KEY_CLEAR_FIXED    (4u + BR_SALT_BYTES + 8u)
#define EPOCH_SECRET_BYTES (BR_KEY_BYTES + 8u)

static_assert(sizeof("packs/AB/") - 1 + 64 < BR_OBJECT_NAME_BYTES, "a pack's name fits");
static_assert(sizeof("points/") - 1 + 32 + 1 + 32 < BR_OBJECT_NAME_BYTES, "a point's name fits");
static_assert(KEY_CLEAR_FIXED + 2 + BR_LABEL_BYTES <= BR_OBJECT_CLEAR_MAX, "a label fits");

const char *br_object_kind_name(enum br_object_kind kind)
{
    static const char *const names[] = {
        [BR_OBJECT_CONFIG] = "config",
        [BR_OBJECT_KEY] = "key",
        [BR_OBJECT_EPOCH] = "epoch",
        [BR_OBJECT_PACK] = "pack",
        [BR_OBJECT_POINT] = "point",
        [BR_OBJECT_LEASE] = "lease",
        [BR_OBJECT_TOMBSTONE] = "tombstone",
        [BR_OBJECT_DOOMED] = "doomed",
        [BR_OBJECT_HOLD] = "hold",
        [BR_OBJECT_HISTORY] = "history",
        [BR_OBJECT_SHREDDED] = "shredded epoch",
        [BR_OBJECT_KEY_SUM] = "sum of a key",
    };

    return kind < BR_ARRAY_LEN(names) && names[kind] ? names[kind] : "unknown";
}

#define SHREDDED "-shredded" // behind the name of an epoch
#define KEY_SUM  "-sum"      // behind the name of a key

// Names -------------------------------------------------------------------------------------------------------------------------------

static char *put_hex(char *at, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    *at = 0;
    return at;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Takes 2 * @len digits; gives what is behind them, NULL when there are not so many.
static const char *take_hex(const char *text, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; text && i < len; i++) {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);

        if (low < 0) {
            return NULL;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return text;
}

// What is behind @prefix, or NULL.
static const char *take_text(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text && !strncmp(text, prefix, len) ? text + len : NULL;
}

void br_name_key(const struct br_uuid *id, char name[BR_OBJECT_NAME_BYTES])
{
    put_hex(stpcpy(name, "keys/"), id->bytes, BR_UUID_BYTES);
}

void br_name_key_sum(const struct br_uuid *id, char name[BR_OBJECT_NAME_BYTES])
{
    stpcpy(put_hex(stpcpy(name, "keys/"), id->bytes, BR_UUID_BYTES), KEY_SUM);
}

void br_name_epoch(uint32_t epoch, char name[BR_OBJECT_NAME_BYTES])
{
    assert(epoch <= BR_EPOCH_MAX);
    snprintf(name, BR_OBJECT_NAME_BYTES, "epochs/%08" PRIu32, epoch);
}

void br_name_shredded(uint32_t epoch, char name[BR_OBJECT_NAME_BYTES])
{
    assert(epoch <= BR_EPOCH_MAX);
    snprintf(name, BR_OBJECT_NAME_BYTES, "epochs/%08" PRIu32 SHREDDED, epoch);
}

void br_name_history(const struct br_uuid *host, const struct br_uuid *run, unsigned note,
                     char name[BR_OBJECT_NAME_BYTES])
{
    char *at = put_hex(stpcpy(name, "history/"), host->bytes, BR_UUID_BYTES);

    assert(note < 100);
    *at++ = '/';
    at = put_hex(at, run->bytes, BR_UUID_BYTES);
    snprintf(at, 4, "-%02u", note);
}

void br_name_pack(const uint8_t salt[BR_SALT_BYTES], char name[BR_OBJECT_NAME_BYTES])
{
    char *at = put_hex(stpcpy(name, "packs/"), salt, 1);

    *at++ = '/';
    put_hex(at, salt, BR_SALT_BYTES);
}

// FOLDER/VOLUME/POINT
static void put_pair(char *at, const struct br_uuid *volume, const struct br_uuid *point)
{
    at = put_hex(at, volume->bytes, BR_UUID_BYTES);
    *at++ = '/';
    put_hex(at, point->bytes, BR_UUID_BYTES);
}

void br_name_point(const struct br_uuid *volume, const struct br_uuid *point, char name[BR_OBJECT_NAME_BYTES])
{
    put_pair(stpcpy(name, "points/"), volume, point);
}

void br_name_hold(const struct br_uuid *volume, const struct br_uuid *point, char name[BR_OBJECT_NAME_BYTES])
{
    put_pair(stpcpy(name, "holds/"), volume, point);
}

void br_name_lease(const struct br_uuid *run, char name[BR_OBJECT_NAME_BYTES])
{
    put_hex(stpcpy(name, "leases/"), run->bytes, BR_UUID_BYTES);
}

void br_name_doomed(const struct br_uuid *id, char name[BR_OBJECT_NAME_BYTES])
{
    put_hex(stpcpy(name, "doomed/"), id->bytes, BR_UUID_BYTES);
}

static bool take_uuid(const char *name, const char *folder, struct br_uuid *ret_id)
{
    const char *end = take_hex(take_text(name, folder), ret_id->bytes, BR_UUID_BYTES);

    return end && !*end;
}

bool br_name_parse_key(const char *name, struct br_uuid *ret_id)
{
    return take_uuid(name, "keys/", ret_id);
}

bool br_name_parse_key_sum(const char *name, struct br_uuid *ret_id)
{
    const char *rest = take_hex(take_text(name, "keys/"), ret_id->bytes, BR_UUID_BYTES);

    return rest && !strcmp(rest, KEY_SUM);
}

static bool parse_epoch(const char *name, const char *end, uint32_t *ret_epoch)
{
    const char *digits = take_text(name, "epochs/");
    uint32_t epoch = 0;
    unsigned count = 0;

    while (digits && count <= 8 && digits[count] >= '0' && digits[count] <= '9') {
        epoch = epoch * 10 + (uint32_t)(digits[count++] - '0');
    }
    *ret_epoch = epoch;
    return digits && count == 8 && !strcmp(digits + 8, end) && epoch;
}

bool br_name_parse_epoch(const char *name, uint32_t *ret_epoch)
{
    return parse_epoch(name, "", ret_epoch);
}

bool br_name_parse_shredded(const char *name, uint32_t *ret_epoch)
{
    return parse_epoch(name, SHREDDED, ret_epoch);
}

bool br_name_parse_pack(const char *name, uint8_t ret_salt[BR_SALT_BYTES])
{
    uint8_t first;
    const char *rest = take_text(take_hex(take_text(name, "packs/"), &first, 1), "/");
    const char *end = take_hex(rest, ret_salt, BR_SALT_BYTES);

    return end && !*end && ret_salt[0] == first;
}

static bool take_pair(const char *name, const char *folder, struct br_uuid *ret_volume, struct br_uuid *ret_point)
{
    const char *rest = take_text(take_hex(take_text(name, folder), ret_volume->bytes, BR_UUID_BYTES), "/");
    const char *end = take_hex(rest, ret_point->bytes, BR_UUID_BYTES);

    return end && !*end;
}

bool br_name_parse_point(const char *name, struct br_uuid *ret_volume, struct br_uuid *ret_point)
{
    return take_pair(name, "points/", ret_volume, ret_point);
}

bool br_name_parse_hold(const char *name, struct br_uuid *ret_volume, struct br_uuid *ret_point)
{
    return take_pair(name, "holds/", ret_volume, ret_point);
}

bool br_name_parse_lease(const char *name, struct br_uuid *ret_run)
{
    return take_uuid(name, "leases/", ret_run);
}

bool br_name_parse_doomed(const char *name, struct br_uuid *ret_id)
{
    return take_uuid(name, "doomed/", ret_id);
}

bool br_name_parse_history(const char *name, struct br_uuid *ret_host, struct br_uuid *ret_run, unsigned *ret_note)
{
    const char *rest = take_text(take_hex(take_text(name, "history/"), ret_host->bytes, BR_UUID_BYTES), "/");
    const char *note = take_text(take_hex(rest, ret_run->bytes, BR_UUID_BYTES), "-");

    if (!note || note[0] < '0' || note[0] > '9' || note[1] < '0' || note[1] > '9' || note[2]) {
        return false;
    }
    *ret_note = 10 * (unsigned)(note[0] - '0') + (unsigned)(note[1] - '0');
    return true;
}

// Objects -----------------------------------------------------------------------------------------------------------------------------

void br_object_put_head(const struct br_object *object, size_t clear_len, size_t secret_len,
                        uint8_t head[BR_OBJECT_HEAD_BYTES])
{
    memset(head, 0, BR_OBJECT_HEAD_BYTES);
    memcpy(head, OBJECT_MAGIC, 8);
    br_put_u16(head + 8, OBJECT_VERSION);
    head[10] = (uint8_t)object->kind;
    head[11] = OBJECT_SUITE;
    br_put_u32(head + 12, object->epoch);
    memcpy(head + 16, object->repository.bytes, BR_UUID_BYTES);
    memcpy(head + 32, object->salt, BR_SALT_BYTES);
    br_put_u32(head + 64, (uint32_t)clear_len);
    br_put_u32(head + 68, (uint32_t)secret_len);
}

static int object_key(const struct br_object *object, const struct br_key *key, struct br_key *ret_key,
                      struct br_err *reterr)
{
    return br_key_derive(key, object->salt, BR_OBJECT_INFO, sizeof(BR_OBJECT_INFO) - 1, ret_key, reterr);
}

// Additional data: the head, what is in clear, the name without its final zero.
static void put_aad(const void *head_and_clear, size_t len, const char *name, struct br_buf *aad)
{
    br_buf_append(aad, head_and_clear, len);
    br_buf_append(aad, name, strlen(name));
}

int br_object_seal(const struct br_object *object, const char *name, const struct br_key *key, const void *clear,
                   size_t clear_len, const void *secret, size_t secret_len, struct br_buf *to, struct br_err *reterr)
{
    uint8_t head[BR_OBJECT_HEAD_BYTES], tag[BR_SEAL_TAG_BYTES];
    BR_AUTO_WIPE struct br_key own = {0};
    struct br_buf aad = {0};
    size_t from = to->len;

    assert(object->kind != BR_OBJECT_PACK && clear_len <= BR_OBJECT_CLEAR_MAX && secret_len <= BR_OBJECT_SEALED_MAX);
    br_object_put_head(object, clear_len, secret_len, head);
    br_buf_append(to, head, sizeof(head));
    br_buf_append(to, clear, clear_len);
    br_buf_append(to, secret, secret_len);
    br_buf_append(to, NULL, BR_SEAL_TAG_BYTES);
    int rc = br_buf_failed(to) ? br_err_set(reterr, BR_E_NOMEM, "sealing %s", name) : 0;
    if (!rc) {
        put_aad(to->data + from, sizeof(head) + clear_len, name, &aad);
        rc = br_buf_failed(&aad) ? br_err_set(reterr, BR_E_NOMEM, "sealing %s", name) : 0;
    }
    if (!rc) {
        rc = object_key(object, key, &own, reterr);
    }
    if (!rc) {
        uint8_t *at = to->data + from + sizeof(head) + clear_len;

        rc = br_seal(&own, 0, aad.data, aad.len, at, secret_len, tag, reterr);
        memcpy(at + secret_len, tag, sizeof(tag));
    }
    br_buf_free(&aad);
    return rc;
}

int br_object_head(const void *bytes, size_t len, struct br_object *ret_object, const uint8_t **ret_clear,
                   size_t *ret_clear_len, struct br_err *reterr)
{
    const uint8_t *head = bytes;

    if (len < BR_OBJECT_HEAD_BYTES || memcmp(head, OBJECT_MAGIC, 8) != 0) {
        return br_err_set(reterr, BR_E_CORRUPT, "not an object of a repository");
    }
    if (br_get_u16(head + 8) != OBJECT_VERSION || head[11] != OBJECT_SUITE) {
        return br_err_set(reterr, BR_E_VERSION,
                          "an object of version %u, suite %u; this program knows version %u, suite %u",
                          br_get_u16(head + 8), head[11], OBJECT_VERSION, OBJECT_SUITE);
    }
    uint32_t clear_len = br_get_u32(head + 64);
    struct br_object object = {.kind = (enum br_object_kind)head[10], .epoch = br_get_u32(head + 12)};
    if (clear_len > BR_OBJECT_CLEAR_MAX || clear_len > len - BR_OBJECT_HEAD_BYTES || !br_is_zero(head + 72, 8)) {
        return br_err_set(reterr, BR_E_CORRUPT, "the head of an object is damaged");
    }
    memcpy(object.repository.bytes, head + 16, BR_UUID_BYTES);
    memcpy(object.salt, head + 32, BR_SALT_BYTES);
    *ret_object = object;
    if (ret_clear) {
        *ret_clear = head + BR_OBJECT_HEAD_BYTES;
        *ret_clear_len = clear_len;
    }
    return 0;
}

int br_object_open(const void *bytes, size_t len, const char *name, const struct br_key *key, struct br_buf *secret,
                   struct br_err *reterr)
{
    const uint8_t *head = bytes, *clear;
    BR_AUTO_WIPE struct br_key own = {0};
    struct br_object object;
    struct br_buf aad = {0};
    size_t clear_len, from = secret->len;
    int rc = br_object_head(bytes, len, &object, &clear, &clear_len, reterr);

    if (rc < 0) {
        br_err_prefix(reterr, "%s", name);
        return rc;
    }
    size_t secret_len = br_get_u32(head + 68);
    if (object.kind == BR_OBJECT_PACK || secret_len > BR_OBJECT_SEALED_MAX ||
        len != BR_OBJECT_HEAD_BYTES + clear_len + secret_len + BR_SEAL_TAG_BYTES) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: %zu bytes are not what its head says", name, len);
    }
    put_aad(bytes, BR_OBJECT_HEAD_BYTES + clear_len, name, &aad);
    br_buf_append(secret, clear + clear_len, secret_len);
    if (br_buf_failed(&aad) || br_buf_failed(secret)) {
        rc = br_err_set(reterr, BR_E_NOMEM, "opening %s", name);
    }
    if (!rc) {
        rc = object_key(&object, key, &own, reterr);
    }
    if (!rc) {
        rc = br_unseal(&own, 0, aad.data, aad.len, secret_len ? secret->data + from : NULL, secret_len,
                       clear + clear_len + secret_len, reterr);
        if (rc < 0) {
            br_err_prefix(reterr, "%s", name);
        }
    }
    if (rc < 0) {
        secret->len = from;
    }
    br_buf_free(&aad);
    return rc;
}

// Opens an object of @kind whose sealed part has @want bytes, which go to @secret.
static int open_fixed(const char *name, const void *bytes, size_t len, enum br_object_kind kind,
                      const struct br_key *key, void *secret, size_t want, struct br_err *reterr)
{
    struct br_object object;
    struct br_buf buf = {0};
    int rc = br_object_head(bytes, len, &object, NULL, NULL, reterr);

    if (rc < 0) {
        br_err_prefix(reterr, "%s", name);
        return rc;
    }
    if (object.kind != kind) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: is no %s", name, br_object_kind_name(kind));
    }
    rc = br_object_open(bytes, len, name, key, &buf, reterr);
    if (!rc && buf.len != want) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "%s: bad length", name);
    }
    if (!rc) {
        memcpy(secret, buf.data, want);
    }
    if (buf.data) {
        br_wipe(buf.data, buf.capacity);
    }
    br_buf_free(&buf);
    return rc;
}

// Keys --------------------------------------------------------------------------------------------------------------------------------

void br_master_key_published(struct br_key *ret_key)
{
    static const char text[] = "blkrep repository, not encrypted";

    static_assert(sizeof(text) - 1 == BR_KEY_BYTES, "just a key");
    memcpy(ret_key->bytes, text, BR_KEY_BYTES);
}

int br_repo_config_seal(const struct br_repo_config *config, const uint8_t salt[BR_SALT_BYTES],
                        const struct br_key *master, struct br_buf *to, struct br_err *reterr)
{
    struct br_object object = {.kind = BR_OBJECT_CONFIG, .repository = config->repository};
    uint8_t clear[CONFIG_CLEAR_BYTES] = {config->encrypted};

    memcpy(object.salt, salt, BR_SALT_BYTES);
    br_put_u64(clear + 8, config->made_unix_ns);
    return br_object_seal(&object, "config", master, clear, sizeof(clear), config->id_secret.bytes, BR_KEY_BYTES, to,
                          reterr);
}

int br_repo_config_look(const void *bytes, size_t len, struct br_repo_config *ret_config, struct br_err *reterr)
{
    const uint8_t *clear;
    size_t clear_len;
    struct br_object object;
    int rc = br_object_head(bytes, len, &object, &clear, &clear_len, reterr);

    if (rc < 0) {
        br_err_prefix(reterr, "config");
        return rc;
    }
    if (object.kind != BR_OBJECT_CONFIG || clear_len != CONFIG_CLEAR_BYTES || clear[0] > 1 ||
        !br_is_zero(clear + 1, 7)) {
        return br_err_set(reterr, BR_E_CORRUPT, "config: is no config of a repository");
    }
    *ret_config = (struct br_repo_config){
        .repository = object.repository,
        .encrypted = clear[0] == 1,
        .made_unix_ns = br_get_u64(clear + 8),
    };
    return 0;
}

int br_repo_config_open(const void *bytes, size_t len, const struct br_key *master, struct br_repo_config *ret_config,
                        struct br_err *reterr)
{
    struct br_repo_config config;
    int rc = br_repo_config_look(bytes, len, &config, reterr);

    if (!rc) {
        rc = open_fixed("config", bytes, len, BR_OBJECT_CONFIG, master, config.id_secret.bytes, BR_KEY_BYTES, reterr);
    }
    if (!rc) {
        *ret_config = config;
    }
    return rc;
}

int br_key_of_file(const struct br_key *file, struct br_key *ret_key, struct br_err *reterr)
{
    static const uint8_t salt[BR_SALT_BYTES];
    static const char info[] = "blkrep key file 1";

    return br_key_derive(file, salt, info, sizeof(info) - 1, ret_key, reterr);
}

int br_key_of_recovery(const struct br_key *recovery, struct br_key *ret_key, struct br_err *reterr)
{
    static const uint8_t salt[BR_SALT_BYTES];
    static const char info[] = "blkrep recovery key 1";

    return br_key_derive(recovery, salt, info, sizeof(info) - 1, ret_key, reterr);
}

const char *br_key_way_name(enum br_key_way way)
{
    switch (way) {
    case BR_KEY_PASSPHRASE: return "passphrase";
    case BR_KEY_FILE: return "key file";
    case BR_KEY_RECOVERY: return "recovery key";
    }
    return "unknown";
}

int br_repo_key_seal(const struct br_repo_key *key, const uint8_t salt[BR_SALT_BYTES], const struct br_key *opener,
                     const struct br_key *master, struct br_buf *to, struct br_err *reterr)
{
    struct br_object object = {.kind = BR_OBJECT_KEY, .repository = key->repository};
    bool passphrase = key->way == BR_KEY_PASSPHRASE;
    char name[BR_OBJECT_NAME_BYTES];
    struct br_buf clear = {0};

    memcpy(object.salt, salt, BR_SALT_BYTES);
    br_buf_u8(&clear, (uint8_t)key->way);
    br_buf_u8(&clear, passphrase ? key->scrypt.log2_n : 0);
    br_buf_u8(&clear, passphrase ? key->scrypt.block : 0);
    br_buf_u8(&clear, passphrase ? key->scrypt.lanes : 0);
    br_buf_append(&clear, passphrase ? key->scrypt.salt : NULL, BR_SALT_BYTES);
    br_buf_u64(&clear, key->made_unix_ns);
    br_buf_string(&clear, key->label);
    br_name_key(&key->id, name);
    int rc = br_buf_failed(&clear) ? br_err_set(reterr, BR_E_NOMEM, "sealing %s", name)
                                   : br_object_seal(&object, name, opener, clear.data, clear.len, master->bytes,
                                                    BR_KEY_BYTES, to, reterr);
    br_buf_free(&clear);
    return rc;
}

int br_repo_key_look(const char *name, const void *bytes, size_t len, struct br_repo_key *ret_key,
                     struct br_err *reterr)
{
    const uint8_t *clear;
    size_t clear_len;
    struct br_object object;
    struct br_repo_key key = {0};
    int rc = br_object_head(bytes, len, &object, &clear, &clear_len, reterr);

    if (rc < 0) {
        br_err_prefix(reterr, "%s", name);
        return rc;
    }
    struct br_reader r = br_reader_init(clear, clear_len);
    key.repository = object.repository;
    key.way = (enum br_key_way)br_reader_u8(&r);
    key.scrypt.log2_n = br_reader_u8(&r);
    key.scrypt.block = br_reader_u8(&r);
    key.scrypt.lanes = br_reader_u8(&r);
    br_reader_copy(&r, key.scrypt.salt, BR_SALT_BYTES);
    key.made_unix_ns = br_reader_u64(&r);
    br_reader_string(&r, key.label, sizeof(key.label));
    if (object.kind != BR_OBJECT_KEY || !br_reader_done(&r) || !br_name_parse_key(name, &key.id)) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: is no key of a repository", name);
    }
    if (key.way < BR_KEY_PASSPHRASE || key.way > BR_KEY_RECOVERY) {
        return br_err_set(reterr, BR_E_VERSION, "%s: a key of kind %u; this program knows 1 to 3", name, key.way);
    }
    *ret_key = key;
    return 0;
}

int br_repo_key_open(const char *name, const void *bytes, size_t len, const struct br_key *opener,
                     struct br_key *ret_master, struct br_err *reterr)
{
    int rc = open_fixed(name, bytes, len, BR_OBJECT_KEY, opener, ret_master->bytes, BR_KEY_BYTES, reterr);

    return rc == -BR_E_CORRUPT ? br_err_set(reterr, BR_E_KEY, "%s", name) : rc;
}

int br_key_sum_of(const void *bytes, size_t len, struct br_hash *ret_sum, struct br_err *reterr)
{
    return EVP_Digest(bytes, len, ret_sum->bytes, NULL, EVP_sha256(), NULL) == 1
               ? 0
               : br_err_set(reterr, BR_E_INTERNAL, "SHA-256 failed");
}

int br_key_sum_seal(const struct br_uuid *id, const struct br_uuid *repository, const uint8_t salt[BR_SALT_BYTES],
                    const struct br_key *master, const struct br_hash *sum, struct br_buf *to, struct br_err *reterr)
{
    struct br_object object = {.kind = BR_OBJECT_KEY_SUM, .repository = *repository};
    char name[BR_OBJECT_NAME_BYTES];

    memcpy(object.salt, salt, BR_SALT_BYTES);
    br_name_key_sum(id, name);
    return br_object_seal(&object, name, master, NULL, 0, sum->bytes, BR_HASH_BYTES, to, reterr);
}

int br_key_sum_open(const char *name, const void *bytes, size_t len, const struct br_key *master,
                    struct br_hash *ret_sum, struct br_err *reterr)
{
    return open_fixed(name, bytes, len, BR_OBJECT_KEY_SUM, master, ret_sum->bytes, BR_HASH_BYTES, reterr);
}

int br_epoch_seal(uint32_t epoch, const struct br_uuid *repository, const uint8_t salt[BR_SALT_BYTES],
                  const struct br_key *master, const struct br_key *key, uint64_t made_unix_ns, struct br_buf *to,
                  struct br_err *reterr)
{
    struct br_object object = {.kind = BR_OBJECT_EPOCH, .repository = *repository};
    uint8_t secret[EPOCH_SECRET_BYTES];
    char name[BR_OBJECT_NAME_BYTES];

    memcpy(object.salt, salt, BR_SALT_BYTES);
    memcpy(secret, key->bytes, BR_KEY_BYTES);
    br_put_u64(secret + BR_KEY_BYTES, made_unix_ns);
    br_name_epoch(epoch, name);
    int rc = br_object_seal(&object, name, master, NULL, 0, secret, sizeof(secret), to, reterr);
    br_wipe(secret, sizeof(secret));
    return rc;
}

int br_shredded_seal(uint32_t epoch, const struct br_uuid *repository, const uint8_t salt[BR_SALT_BYTES],
                     const struct br_key *master, uint64_t when_unix_ns, struct br_buf *to, struct br_err *reterr)
{
    struct br_object object = {.kind = BR_OBJECT_SHREDDED, .repository = *repository};
    uint8_t when[8];
    char name[BR_OBJECT_NAME_BYTES];

    memcpy(object.salt, salt, BR_SALT_BYTES);
    br_put_u64(when, when_unix_ns);
    br_name_shredded(epoch, name);
    return br_object_seal(&object, name, master, NULL, 0, when, sizeof(when), to, reterr);
}

int br_shredded_open(const char *name, const void *bytes, size_t len, const struct br_key *master,
                     uint64_t *ret_when_unix_ns, struct br_err *reterr)
{
    uint8_t when[8];
    int rc = open_fixed(name, bytes, len, BR_OBJECT_SHREDDED, master, when, sizeof(when), reterr);

    if (!rc) {
        *ret_when_unix_ns = br_get_u64(when);
    }
    return rc;
}

int br_epoch_open(const char *name, const void *bytes, size_t len, const struct br_key *master, struct br_key *ret_key,
                  uint64_t *ret_made_unix_ns, struct br_err *reterr)
{
    uint8_t secret[EPOCH_SECRET_BYTES];
    int rc = open_fixed(name, bytes, len, BR_OBJECT_EPOCH, master, secret, sizeof(secret), reterr);

    if (!rc) {
        memcpy(ret_key->bytes, secret, BR_KEY_BYTES);
        *ret_made_unix_ns = br_get_u64(secret + BR_KEY_BYTES);
    }
    br_wipe(secret, sizeof(secret));
    return rc;
}
