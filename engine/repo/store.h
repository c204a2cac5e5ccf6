// SPDX-License-Identifier: Apache-2.0
//
// Where a repository's objects are: named byte strings that never change. A directory today (store_dir.h), a server and object stores later;
// what is asked of them is what the least of them can do.
//
//     put       the whole object or nothing, and never over one that is there; durable when it returns
//     write     the same for what is made piece by piece (packs); durable after settle
//     get       a range of an object, beside other operations of the ring
//     list      the names that begin with a prefix
//     arrived   when it took an object, by its own clock
//     remove    for prune alone
//
// A name is one or more components of [a-z0-9-], separated by "/" (engine/codec/repository.h). What a store says of its content is believed
// by nobody: objects prove themselves.
#ifndef BR_REPO_STORE_H
#define BR_REPO_STORE_H

#include "engine/codec/repository.h"
#include "engine/ring/ring.h"

#define BR_STORE_GETS_MAX 128u // at once, of as many objects

struct br_store_get;
typedef void br_store_got_fn(struct br_store_get *get);

// One read. The caller owns it and its buffer and leaves both alone until done is called, inside br_ring_wait().
struct br_store_get {
    char name[BR_OBJECT_NAME_BYTES];
    uint64_t offset_bytes;
    void *buf;
    size_t len_bytes; // all of them must be there
    br_store_got_fn *done;
    void *ctx; // the caller's

    int result; // 0 or a negative -BR_E_*: NOT_FOUND, TRUNCATED, IO ...
    struct br_err err;

    // The store's own.
    struct br_io io;
    void *own;
};

// A question for the size of an object, or when it arrived, of several that are asked at once.
struct br_store_ask {
    char name[BR_OBJECT_NAME_BYTES];
    bool arrived;
    uint64_t value;
    int result; // 0 or as size()
    struct br_err err;
};

typedef int br_store_list_fn(void *ctx, const char *name);

// Something that is written piece by piece. Functions of a store; ctx is what write_open gave.
struct br_store_ops {
    /** put - @name with these bytes, durably; -BR_E_EXISTS it is there (nothing was changed) */
    int (*put)(void *ctx, const char *name, const void *bytes, size_t len, struct br_err *reterr);
    /**
     * write_open, write, write_close - an object that nobody sees before write_close() with @keep
     * write takes over @bytes, also on failure, and may run the ring while much is under way. write_close does not wait: the object
     * is written out beside what follows, and settle says how that ended. Without @keep nothing is left of it.
     */
    int (*write_open)(void *ctx, const char *name, void **ret_write, struct br_err *reterr);
    int (*write)(void *ctx, void *write, struct br_buf *bytes, struct br_err *reterr);
    void (*write_close)(void *ctx, void *write, bool keep);
    /** settle - waits until all that was closed before is there, durably; an error: some of it since the last settle may be missing */
    int (*settle)(void *ctx, struct br_err *reterr);
    /** get - begins a read, of which there may be BR_STORE_GETS_MAX at once; always ends in get->done */
    void (*get)(void *ctx, struct br_store_get *get);
    /** size - its length; -BR_E_NOT_FOUND */
    int (*size)(void *ctx, const char *name, uint64_t *ret_bytes, struct br_err *reterr);
    /** ask_each - in one turn; each has its result, as size() and arrived() give it. NULL: one after another. Callers use br_store_ask_each() */
    void (*ask_each)(void *ctx, struct br_store_ask *asks, size_t count);
    /** list - names that begin with @prefix ("points/", "packs/"), ascending; non-zero of @fn stops and is returned */
    int (*list)(void *ctx, const char *prefix, br_store_list_fn *fn, void *fn_ctx, struct br_err *reterr);
    /**
     * arrived - when the store took the object, by the store's own clock: what a writer says of the time counts for nothing here
     * It may still be wrong (a clock that jumped, a copy of the directory), so it may decide what is kept longer, never what is true.
     * -BR_E_NOT_FOUND
     */
    int (*arrived)(void *ctx, const char *name, uint64_t *ret_unix_ns, struct br_err *reterr);
    /** remove - durable after settle; 0 also when it was not there */
    int (*remove)(void *ctx, const char *name, struct br_err *reterr);
    /**
     * sweep - remove what killed writers left half written, where it is older than @before_unix_ns by the store's clock; NULL: the store sees to
     * that itself. A writer that was stopped for that long fails. Durable after settle
     */
    int (*sweep)(void *ctx, uint64_t before_unix_ns, uint64_t *ret_bytes, struct br_err *reterr);
    /** space - bytes free for it; UINT64_MAX not known */
    int (*space)(void *ctx, uint64_t *ret_free_bytes, struct br_err *reterr);
    /** close - nothing is under way; frees ctx */
    void (*close)(void *ctx);
};

struct br_store {
    const struct br_store_ops *ops;
    void *ctx;
    struct br_ring *ring;
};

/** br_store_ask_each - of @count objects; each has its result */
void br_store_ask_each(const struct br_store *store, struct br_store_ask *asks, size_t count);
/** br_store_read_each - several ranges at once, BR_STORE_GETS_MAX at most, waited for; done and ctx are the store's; each has its result */
void br_store_read_each(const struct br_store *store, struct br_store_get *const *gets, size_t count);
/** br_store_read - a range, waited for; errors as get */
BR_MUST_CHECK int br_store_read(const struct br_store *store, const char *name, uint64_t offset_bytes, void *buf,
                                size_t len, struct br_err *reterr);
/** br_store_read_all - a whole object of at most @most bytes, appended to @to; -BR_E_CORRUPT when it is longer */
BR_MUST_CHECK int br_store_read_all(const struct br_store *store, const char *name, size_t most, struct br_buf *to,
                                    struct br_err *reterr);
/**
 * br_store_is_lost - is @rc of a store that can't be asked any more (its server, the network, the wait given up)?
 * Then nothing is known of the object: it is neither missing nor damaged.
 */
bool br_store_is_lost(int rc);
/** br_store_refuse - for stores: a get that can't begin, its result set, ends from the ring, so that nobody is called back inside his own call */
void br_store_refuse(struct br_ring *ring, struct br_store_get *get);

#endif
