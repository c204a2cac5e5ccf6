// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/heads.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>

#define HEADS_LINE_BYTES 200u
#define HEADS_EPOCHS     "epochs"
#define HEADS_NEW        "new"

// Files -------------------------------------------------------------------------------------------------------------------------------

// Returns 1 and the text, 0 no such file.
static int read_text(struct br_dir *dir, const char *name, char text[HEADS_LINE_BYTES], struct br_err *reterr)
{
    struct br_file_info info;
    struct br_file *file;
    int rc = br_dir_open(dir, name, BR_OPEN_READ, &file, reterr);

    if (rc < 0) {
        return rc == -BR_E_NOT_FOUND ? 0 : rc;
    }
    memset(text, 0, HEADS_LINE_BYTES);
    rc = br_file_stat(file, &info, reterr);
    rc = rc < 0 ? rc
                : br_file_read(file, text, (size_t)BR_MIN(info.size_bytes, (uint64_t)HEADS_LINE_BYTES - 1), 0, reterr);
    br_file_close(file);
    return rc < 0 ? rc : 1;
}

static int write_text(struct br_dir *dir, const char *name, const char *text, struct br_err *reterr)
{
    char temporary[BR_UUID_TEXT_BYTES + sizeof(HEADS_NEW) + 1];
    struct br_file *file;

    snprintf(temporary, sizeof(temporary), "%s-" HEADS_NEW, name);
    int rc = br_dir_open(dir, temporary, BR_OPEN_WRITE | BR_OPEN_CREATE | BR_OPEN_TRUNCATE, &file, reterr);
    if (rc < 0) {
        return rc;
    }
    rc = br_file_write(file, text, strlen(text), 0, reterr);
    rc = rc < 0 ? rc : br_file_sync(file, reterr);
    br_file_close(file);
    rc = rc < 0 ? rc : br_dir_rename(dir, temporary, name, reterr);
    return rc < 0 ? rc : br_dir_sync(dir, reterr);
}

static bool hash_parse(const char *text, struct br_hash *ret_hash)
{
    for (size_t i = 0; i < BR_HASH_BYTES; i++) {
        unsigned byte;

        if (sscanf(text + 2 * i, "%2x", &byte) != 1) {
            return false;
        }
        ret_hash->bytes[i] = (uint8_t)byte;
    }
    return true;
}

// Returns 1 and the head, 0 nothing is known of the volume, or nothing that makes sense.
static int head_of(struct br_dir *dir, const char *volume, struct br_head *ret_head, struct br_err *reterr)
{
    char text[HEADS_LINE_BYTES], point[BR_UUID_TEXT_BYTES], hash[2 * BR_HASH_BYTES + 1];
    int rc = read_text(dir, volume, text, reterr);

    if (rc <= 0) {
        return rc;
    }
    return sscanf(text, "counter=%" SCNu64 " point=%36s hash=%64s", &ret_head->counter, point, hash) == 3 &&
           br_uuid_parse(volume, &ret_head->volume) && br_uuid_parse(point, &ret_head->point) &&
           strlen(hash) == 2 * BR_HASH_BYTES && hash_parse(hash, &ret_head->hash);
}

int br_heads_note(struct br_dir *dir, const struct br_head *head, struct br_err *reterr)
{
    char volume[BR_UUID_TEXT_BYTES], point[BR_UUID_TEXT_BYTES], hash[2 * BR_HASH_BYTES + 1], text[HEADS_LINE_BYTES];
    struct br_head known;

    br_uuid_text(&head->volume, volume);
    int rc = head_of(dir, volume, &known, reterr);
    if (rc < 0 || (rc && known.counter >= head->counter)) {
        return BR_MIN(rc, 0);
    }
    br_uuid_text(&head->point, point);
    br_hash_text(&head->hash, hash);
    snprintf(text, sizeof(text), "counter=%" PRIu64 " point=%s hash=%s\n", head->counter, point, hash);
    return write_text(dir, volume, text, reterr);
}

static int known_epoch(struct br_dir *dir, uint32_t *ret_epoch, struct br_err *reterr)
{
    char text[HEADS_LINE_BYTES];
    int rc = read_text(dir, HEADS_EPOCHS, text, reterr);

    *ret_epoch = 0;
    if (rc > 0 && sscanf(text, "%" SCNu32, ret_epoch) != 1) {
        *ret_epoch = 0;
    }
    return BR_MIN(rc, 0);
}

static int note_epoch(struct br_dir *dir, uint32_t epoch, struct br_err *reterr)
{
    char text[HEADS_LINE_BYTES];

    snprintf(text, sizeof(text), "%" PRIu32 "\n", epoch);
    return write_text(dir, HEADS_EPOCHS, text, reterr);
}

// Learning ----------------------------------------------------------------------------------------------------------------------------

static int chain_order(const void *a, const void *b)
{
    const struct br_point *left = *(const struct br_point *const *)a, *right = *(const struct br_point *const *)b;
    int volumes = memcmp(left->volume.bytes, right->volume.bytes, BR_UUID_BYTES);

    return volumes                           ? volumes
           : left->counter != right->counter ? (left->counter < right->counter ? -1 : 1)
                                             : memcmp(left->id.bytes, right->id.bytes, BR_UUID_BYTES);
}

static int learn(struct br_dir *dir, struct br_repo *repo, const struct br_point *newest, struct br_err *reterr)
{
    char volume[BR_UUID_TEXT_BYTES];
    struct br_head known, head = {.volume = newest->volume, .point = newest->id, .counter = newest->counter};
    struct br_point point;

    br_uuid_text(&newest->volume, volume);
    int rc = head_of(dir, volume, &known, reterr);
    if (rc < 0 || (rc && known.counter >= newest->counter)) {
        return BR_MIN(rc, 0);
    }
    rc = br_repo_point(repo, &newest->volume, &newest->id, &point, &head.hash, reterr);
    return rc == -BR_E_NOT_FOUND ? 0 // pruned meanwhile
           : rc < 0              ? rc
                                 : br_heads_note(dir, &head, reterr);
}

int br_heads_learn(struct br_dir *dir, struct br_repo *repo, const struct br_point *points, size_t count,
                   struct br_err *reterr)
{
    const struct br_point **order = calloc(count + 1, sizeof(*order));
    uint32_t epoch = 0;

    if (!order) {
        return br_err_set(reterr, BR_E_NOMEM, "the points");
    }
    int rc = known_epoch(dir, &epoch, reterr);

    if (!rc && epoch < br_repo_epoch(repo)) {
        rc = note_epoch(dir, br_repo_epoch(repo), reterr);
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = &points[i];
    }
    if (count) {
        qsort(order, count, sizeof(*order), chain_order);
    }
    for (size_t i = 0; !rc && i < count; i++) {
        if (i + 1 == count || !br_uuid_equal(&order[i]->volume, &order[i + 1]->volume)) {
            rc = learn(dir, repo, order[i], reterr);
        }
    }
    free(order);
    return rc;
}

// Checking ----------------------------------------------------------------------------------------------------------------------------

struct checking {
    struct br_dir *dir;
    struct br_repo *repo;
    bool accept;
    br_heads_fn *fn;
    void *ctx;
    int told;
    struct br_err *reterr;
};

// What there is of a volume whose head is gone.
struct remains {
    const struct br_head *head;
    bool any;
    bool in_its_place; // a point of the same counter
    bool other_chain;  // the next one follows another
    uint64_t newest;   // counter
};

static int look_at(void *ctx, const struct br_point *point, int rc, const struct br_err *err)
{
    struct remains *remains = ctx;
    const struct br_head *head = remains->head;

    (void)err;
    if (rc < 0) {
        return 0; // which is told as damage elsewhere, and may not stand for the head
    }
    remains->newest = remains->any ? BR_MAX(remains->newest, point->counter) : point->counter;
    remains->any = true;
    remains->in_its_place = remains->in_its_place || point->counter == head->counter;
    remains->other_chain =
        remains->other_chain || (point->counter == head->counter + 1 && !br_hash_equal(&point->previous, &head->hash));
    return 0;
}

// The head is not there: what is? Returns 1 when it may rightly be gone, 0 and why not.
static int is_superseded(const struct checking *checking, const struct br_head *head, char *why, size_t why_bytes,
                         struct br_err *reterr)
{
    struct remains remains = {.head = head};
    int rc = br_repo_points(checking->repo, &head->volume, look_at, &remains, reterr);

    if (rc < 0) {
        return rc;
    }
    if (!remains.any) {
        snprintf(why, why_bytes, "none of its points is there, and point %" PRIu64 " was", head->counter);
    } else if (remains.in_its_place || remains.other_chain) {
        snprintf(why, why_bytes, "another point %" PRIu64 " was made in place of the one that was there",
                 head->counter);
    } else if (remains.newest < head->counter) {
        snprintf(why, why_bytes, "its newest point is %" PRIu64 ", and point %" PRIu64 " was there", remains.newest,
                 head->counter);
    } else {
        return 1;
    }
    return 0;
}

static int hash_of_object(const struct br_store *store, const char *name, struct br_hash *ret_hash,
                          struct br_err *reterr)
{
    struct br_buf bytes = {0};
    int rc = br_store_read_all(store, name, BR_OBJECT_BYTES_MAX, &bytes, reterr);

    if (!rc && EVP_Digest(bytes.data, bytes.len, ret_hash->bytes, NULL, EVP_sha256(), NULL) != 1) {
        rc = br_err_set(reterr, BR_E_INTERNAL, "SHA-256 failed");
    }
    br_buf_free(&bytes);
    return rc;
}

// Returns 1 all is well, 0 and why not.
static int check_head(const struct checking *checking, const struct br_head *head, char *why, size_t why_bytes,
                      struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    struct br_hash hash;
    struct br_err err = {0};

    br_name_point(&head->volume, &head->point, name);
    int rc = hash_of_object(br_repo_store_of(checking->repo), name, &hash, &err);
    if (!rc) {
        snprintf(why, why_bytes, "its point %" PRIu64 " is another object than the one that was there", head->counter);
        return br_hash_equal(&hash, &head->hash);
    }
    if (rc == -BR_E_NOT_FOUND) {
        rc = is_superseded(checking, head, why, why_bytes, &err);
    }
    if (rc >= 0) {
        return rc;
    }
    if (br_store_is_lost(rc) || rc == -BR_E_NOMEM) {
        if (reterr) {
            *reterr = err;
        }
        return rc;
    }
    snprintf(why, why_bytes, "its point %" PRIu64 " can't be looked at: %.300s", head->counter, err.text);
    return 0;
}

static int check_entry(void *ctx, const char *name, bool is_dir)
{
    struct checking *checking = ctx;
    char why[500];
    struct br_head head;
    struct br_uuid volume;
    int rc = is_dir || !br_uuid_parse(name, &volume) ? 0 : head_of(checking->dir, name, &head, checking->reterr);

    if (rc <= 0) {
        return rc;
    }
    rc = check_head(checking, &head, why, sizeof(why), checking->reterr);
    if (rc) {
        return BR_MIN(rc, 0);
    }
    checking->told++;
    checking->fn(checking->ctx, &head.volume, why);
    return checking->accept ? br_dir_unlink(checking->dir, name, checking->reterr) : 0;
}

static int check_epochs(struct checking *checking)
{
    static const struct br_uuid none;
    char why[100];
    uint32_t known, shown = br_repo_epoch(checking->repo);
    int rc = known_epoch(checking->dir, &known, checking->reterr);

    if (rc < 0 || shown >= known) {
        return rc;
    }
    snprintf(why, sizeof(why), "it has %" PRIu32 " epochs, and there were %" PRIu32, shown, known);
    checking->told++;
    checking->fn(checking->ctx, &none, why);
    return checking->accept ? note_epoch(checking->dir, shown, checking->reterr) : 0;
}

int br_heads_check(struct br_dir *dir, struct br_repo *repo, bool accept, br_heads_fn *fn, void *ctx,
                   struct br_err *reterr)
{
    struct checking checking = {.dir = dir, .repo = repo, .accept = accept, .fn = fn, .ctx = ctx, .reterr = reterr};
    int rc = check_epochs(&checking);

    rc = rc < 0 ? rc : br_dir_list(dir, check_entry, &checking, reterr);
    return rc < 0 ? rc : checking.told;
}
