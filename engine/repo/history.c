// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/history.h"

#include <openssl/evp.h>
#include <stdlib.h>

#define AT_ONCE 100u // of the notes

void br_history_host(const char *host, struct br_uuid *ret_host)
{
    uint8_t hash[32];

    if (EVP_Digest(host, strlen(host), hash, NULL, EVP_sha256(), NULL) != 1) {
        abort(); // no memory for a hash: nothing could be named either
    }
    memcpy(ret_host->bytes, hash, BR_UUID_BYTES);
}

int br_history_put(struct br_repo *repo, const char *host, const struct br_uuid *run, unsigned note, const char *text,
                   size_t len, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct br_object object = {
        .kind = BR_OBJECT_HISTORY, .epoch = br_repo_epoch(repo), .repository = br_repo_config_of(repo)->repository};
    const struct br_key *key = NULL;
    struct br_buf bytes = {0};
    struct br_uuid host_id;
    char name[BR_OBJECT_NAME_BYTES];

    if (len > BR_HISTORY_BYTES_MAX) {
        return br_err_set(reterr, BR_E_LIMIT, "a note of %zu bytes", len);
    }
    br_history_host(host, &host_id);
    br_name_history(&host_id, run, note, name);
    br_ring_random(store->ring, object.salt, sizeof(object.salt));
    int rc = br_repo_writable(repo, reterr);
    rc = rc < 0 ? rc : br_repo_epoch_key(repo, object.epoch, &key, reterr);
    rc = rc < 0 ? rc : br_object_seal(&object, name, key, NULL, 0, text, len, &bytes, reterr);
    rc = rc < 0 ? rc : store->ops->put(store->ctx, name, bytes.data, bytes.len, reterr);
    br_buf_free(&bytes);
    return rc;
}

static int open_note(struct br_repo *repo, const char *name, const struct br_buf *bytes, struct br_buf *text,
                     struct br_err *reterr)
{
    const struct br_key *key = NULL;
    struct br_object object;
    int rc = br_object_head(bytes->data, bytes->len, &object, NULL, NULL, reterr);

    if (!rc && (object.kind != BR_OBJECT_HISTORY ||
                !br_uuid_equal(&object.repository, &br_repo_config_of(repo)->repository))) {
        rc = br_err_set(reterr, BR_E_CORRUPT, "%s: is no note, or another repository's", name);
    }
    rc = rc < 0 ? rc : br_repo_epoch_key(repo, object.epoch, &key, reterr);
    rc = rc < 0 ? rc : br_object_open(bytes->data, bytes->len, name, key, text, reterr);
    if (!rc) {
        br_buf_u8(text, 0);
        rc = br_buf_failed(text) ? br_err_set(reterr, BR_E_NOMEM, "a note") : 0;
    }
    return rc;
}

int br_history_read(struct br_repo *repo, const char *name, struct br_buf *text, struct br_err *reterr)
{
    struct br_buf bytes = {0};
    int rc = br_store_read_all(br_repo_store_of(repo), name, BR_OBJECT_BYTES_MAX, &bytes, reterr);

    rc = rc < 0 ? rc : open_note(repo, name, &bytes, text, reterr);
    br_buf_free(&bytes);
    return rc;
}

// The runs that have notes, in the order of their names ------------------------------------------------------------------------------

struct noted {
    struct br_uuid host, run;
    unsigned last; // note
    bool begin;    // BR_HISTORY_BEGIN is there too
    uint64_t arrived_unix_ns;
};

struct noted_list {
    struct noted *runs;
    size_t count, room;
    struct br_err *reterr;
};

static int take_noted(void *ctx, const char *name)
{
    struct noted_list *list = ctx;
    struct noted noted = {.last = 0};

    if (!br_name_parse_history(name, &noted.host, &noted.run, &noted.last)) {
        return 0;
    }
    struct noted *before = list->count ? &list->runs[list->count - 1] : NULL;
    if (before && br_uuid_equal(&before->run, &noted.run) && br_uuid_equal(&before->host, &noted.host)) {
        before->begin = before->begin || before->last == BR_HISTORY_BEGIN;
        before->last = noted.last;
        return 0;
    }
    if (!list->runs || list->count == list->room) {
        size_t room = BR_MAX(2 * list->room, (size_t)64);
        void *more = reallocarray(list->runs, room, sizeof(*list->runs));

        if (!more) {
            return br_err_set(list->reterr, BR_E_NOMEM, "the runs");
        }
        list->runs = more;
        list->room = room;
    }
    list->runs[list->count++] = noted;
    return 0;
}

static int list_noted(struct br_repo *repo, struct noted_list *list, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);

    *list = (struct noted_list){.reterr = reterr};
    return store->ops->list(store->ctx, "history/", take_noted, list, reterr);
}

// Asks for so many of them, at once.
static void ask_noted(const struct br_store *store, const struct noted *runs, size_t count, bool arrived,
                      struct br_store_ask *asks)
{
    memset(asks, 0, count * sizeof(*asks));
    for (size_t i = 0; i < count; i++) {
        asks[i].arrived = arrived;
        br_name_history(&runs[i].host, &runs[i].run, runs[i].last, asks[i].name);
    }
    br_store_ask_each(store, asks, count);
}

// Reading -----------------------------------------------------------------------------------------------------------------------------

struct reading {
    struct br_store_ask asks[AT_ONCE];
    struct br_store_get gets[AT_ONCE];
    struct br_buf sealed[AT_ONCE];
};

static int hand_out(struct br_repo *repo, const struct noted *noted, int rc, struct br_err *err, struct br_buf *text,
                    br_history_fn *fn, void *ctx)
{
    unsigned note = noted->last;
    char name[BR_OBJECT_NAME_BYTES];

    // Removed meanwhile, or with the key of its epoch; what the run said when it began may be there.
    bool gone = rc == -BR_E_NOT_FOUND || rc == -BR_E_KEY;
    if (br_store_is_lost(rc)) {
        return rc;
    }
    int stop = gone || rc >= 0 ? 0 : fn(ctx, &noted->run, note, "", rc, err);
    if (rc < 0 && !stop && noted->begin) {
        note = BR_HISTORY_BEGIN;
        br_name_history(&noted->host, &noted->run, note, name);
        br_buf_reset(text);
        rc = br_history_read(repo, name, text, err);
    }
    return stop || rc < 0 ? stop : fn(ctx, &noted->run, note, (const char *)text->data, 0, err);
}

static int read_some(struct br_repo *repo, struct reading *reading, const struct noted *runs, size_t count,
                     br_history_fn *fn, void *ctx, struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(repo);
    struct br_store_get *gets[AT_ONCE];
    size_t asked = 0;
    int rc = 0;

    ask_noted(store, runs, count, false, reading->asks);
    for (size_t i = 0; i < count; i++) {
        struct br_store_ask *ask = &reading->asks[i];

        br_buf_reset(&reading->sealed[i]);
        if (!ask->result && ask->value > BR_OBJECT_BYTES_MAX) {
            ask->result = br_err_set(&ask->err, BR_E_CORRUPT, "%s: no note is so long", ask->name);
        } else if (!ask->result && !br_buf_reserve(&reading->sealed[i], (size_t)ask->value + 1)) {
            ask->result = br_err_set(&ask->err, BR_E_NOMEM, "a note");
        }
        reading->gets[i] = (struct br_store_get){.buf = reading->sealed[i].data, .len_bytes = (size_t)ask->value};
        memcpy(reading->gets[i].name, ask->name, sizeof(ask->name));
        if (!ask->result) {
            gets[asked++] = &reading->gets[i];
        }
    }
    br_store_read_each(store, gets, asked);
    for (size_t i = 0; !rc && i < count; i++) {
        struct br_store_ask *ask = &reading->asks[i];
        struct br_buf text = {0};
        int got = ask->result ? ask->result : reading->gets[i].result;
        struct br_err err = ask->result ? ask->err : reading->gets[i].err;

        reading->sealed[i].len = got < 0 ? 0 : reading->gets[i].len_bytes;
        got = got < 0 ? got : open_note(repo, ask->name, &reading->sealed[i], &text, &err);
        rc = hand_out(repo, &runs[i], got, &err, &text, fn, ctx);
        if (br_store_is_lost(rc) && reterr) {
            *reterr = err;
        }
        br_buf_free(&text);
    }
    return rc;
}

int br_history_list(struct br_repo *repo, br_history_fn *fn, void *ctx, struct br_err *reterr)
{
    struct reading *reading = calloc(1, sizeof(*reading));
    struct noted_list list;
    int rc = list_noted(repo, &list, reterr);

    rc = rc < 0 || reading ? rc : br_err_set(reterr, BR_E_NOMEM, "the notes");
    for (size_t at = 0; !rc && reading && at < list.count; at += AT_ONCE) {
        rc = read_some(repo, reading, list.runs + at, BR_MIN(list.count - at, (size_t)AT_ONCE), fn, ctx, reterr);
    }
    for (size_t i = 0; reading && i < AT_ONCE; i++) {
        br_buf_free(&reading->sealed[i]);
    }
    free(reading);
    free(list.runs);
    return rc;
}

// Removing ----------------------------------------------------------------------------------------------------------------------------

static int newest_first(const void *a, const void *b)
{
    const struct noted *left = a, *right = b;
    int order = memcmp(left->host.bytes, right->host.bytes, BR_UUID_BYTES);

    order = order ? order
                  : (left->arrived_unix_ns < right->arrived_unix_ns) - (left->arrived_unix_ns > right->arrived_unix_ns);
    return order ? order : memcmp(left->run.bytes, right->run.bytes, BR_UUID_BYTES);
}

// What can't be asked for is new.
static int ask_when(const struct br_history_prune_params *params, struct noted_list *list, struct br_err *reterr)
{
    struct br_store_ask asks[AT_ONCE];

    for (size_t at = 0; at < list->count; at += AT_ONCE) {
        size_t count = BR_MIN(list->count - at, (size_t)AT_ONCE);

        if (params->cancel && *params->cancel) {
            return br_err_set(reterr, BR_E_CANCELLED, "looking at the notes of runs");
        }
        ask_noted(br_repo_store_of(params->repo), list->runs + at, count, true, asks);
        for (size_t i = 0; i < count; i++) {
            if (br_store_is_lost(asks[i].result)) {
                *reterr = asks[i].err;
                return asks[i].result;
            }
            list->runs[at + i].arrived_unix_ns = asks[i].result ? UINT64_MAX : asks[i].value;
        }
    }
    return 0;
}

// The later note last: a run that has only that is told whole.
static int remove_run(const struct br_store *store, const struct noted *noted, struct br_err *reterr)
{
    char name[BR_OBJECT_NAME_BYTES];
    int rc = 0;

    if (noted->begin) {
        br_name_history(&noted->host, &noted->run, BR_HISTORY_BEGIN, name);
        rc = store->ops->remove(store->ctx, name, reterr);
    }
    br_name_history(&noted->host, &noted->run, noted->last, name);
    return rc < 0 ? rc : store->ops->remove(store->ctx, name, reterr);
}

int br_history_prune(const struct br_history_prune_params *params, uint64_t *ret_runs, uint64_t *ret_kept,
                     struct br_err *reterr)
{
    const struct br_store *store = br_repo_store_of(params->repo);
    uint64_t now = br_ring_unix_ns(store->ring), gone = 0, of_host = 0;
    struct br_err err = {0};
    struct noted_list list;
    int rc = list_noted(params->repo, &list, &err);

    rc = rc < 0 ? rc : ask_when(params, &list, &err);
    if (!rc && list.count) {
        qsort(list.runs, list.count, sizeof(*list.runs), newest_first);
    }
    for (size_t i = 0; !rc && i < list.count; i++) {
        const struct noted *noted = &list.runs[i];
        bool same = i && br_uuid_equal(&noted->host, &list.runs[i - 1].host);

        of_host = same ? of_host + 1 : 1;
        bool old = noted->arrived_unix_ns < now && now - noted->arrived_unix_ns >= params->keep_ns;
        if (!old && of_host <= params->keep_runs) {
            continue;
        }
        rc = params->dry_run ? 0 : remove_run(store, noted, &err);
        gone += !rc;
        if (!rc && params->cancel && *params->cancel) {
            rc = br_err_set(&err, BR_E_CANCELLED, "removing the notes of runs");
        }
    }
    if (gone && !params->dry_run) {
        int settled = store->ops->settle(store->ctx, rc < 0 ? NULL : &err);

        rc = rc < 0 ? rc : settled;
    }
    *ret_runs = gone;
    *ret_kept = list.count - gone;
    free(list.runs);
    if (rc < 0 && reterr) {
        *reterr = err;
    }
    return rc;
}
