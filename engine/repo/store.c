// SPDX-License-Identifier: Apache-2.0
#include "engine/repo/store.h"

#include <stdio.h>
#include <stdlib.h>

static void waited_for(struct br_store_get *get)
{
    size_t *left = get->ctx;

    --*left;
}

void br_store_read_each(const struct br_store *store, struct br_store_get *const *gets, size_t count)
{
    size_t left = count;

    for (size_t i = 0; i < count; i++) {
        gets[i]->done = waited_for;
        gets[i]->ctx = &left;
        store->ops->get(store->ctx, gets[i]);
    }
    while (left) {
        br_ring_wait(store->ring, UINT64_MAX);
    }
}

void br_store_ask_each(const struct br_store *store, struct br_store_ask *asks, size_t count)
{
    if (store->ops->ask_each) {
        store->ops->ask_each(store->ctx, asks, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct br_store_ask *ask = &asks[i];

        ask->result = ask->arrived ? store->ops->arrived(store->ctx, ask->name, &ask->value, &ask->err)
                                   : store->ops->size(store->ctx, ask->name, &ask->value, &ask->err);
    }
}

int br_store_read(const struct br_store *store, const char *name, uint64_t offset_bytes, void *buf, size_t len,
                  struct br_err *reterr)
{
    struct br_store_get get = {.offset_bytes = offset_bytes, .buf = buf, .len_bytes = len};
    struct br_store_get *const gets[] = {&get};

    snprintf(get.name, sizeof(get.name), "%s", name);
    br_store_read_each(store, gets, 1);
    if (get.result < 0 && reterr) {
        *reterr = get.err;
    }
    return get.result;
}

int br_store_read_all(const struct br_store *store, const char *name, size_t most, struct br_buf *to,
                      struct br_err *reterr)
{
    uint64_t bytes;
    int rc = store->ops->size(store->ctx, name, &bytes, reterr);

    if (rc < 0) {
        return rc;
    }
    if (bytes > most) {
        return br_err_set(reterr, BR_E_CORRUPT, "%s: %llu bytes are more than it can have", name,
                          (unsigned long long)bytes);
    }
    if (!br_buf_reserve(to, (size_t)bytes + 1)) {
        return br_err_set(reterr, BR_E_NOMEM, "reading %s", name);
    }
    rc = br_store_read(store, name, 0, to->data + to->len, (size_t)bytes, reterr);
    to->len += rc < 0 ? 0 : (size_t)bytes;
    return rc;
}

bool br_store_is_lost(int rc)
{
    return rc == -BR_E_PEER || rc == -BR_E_TIMEOUT || rc == -BR_E_PROTOCOL || rc == -BR_E_CANCELLED;
}

static void get_refused(struct br_job *job)
{
    (void)job;
}

struct refused {
    struct br_job job;
    struct br_store_get *get;
};

static void get_refused_done(struct br_job *job)
{
    struct refused *refused = job->ctx;
    struct br_store_get *get = refused->get;

    free(refused);
    get->done(get);
}

void br_store_refuse(struct br_ring *ring, struct br_store_get *get)
{
    struct refused *refused = calloc(1, sizeof(*refused));

    if (!refused) {
        abort(); // some forty bytes: nothing can be told any more
    }
    refused->get = get;
    refused->job = (struct br_job){.run = get_refused, .done = get_refused_done, .ctx = refused};
    br_ring_job(ring, &refused->job);
}
