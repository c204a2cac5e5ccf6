// SPDX-License-Identifier: Apache-2.0
//
// A repository that is open: its store, its keys, its index, and what is listed of it.
//
// Opening needs the secret and nothing else; with every state folder lost the index is made from the packs' directories. Nothing here
// decides by a clock.
#ifndef BR_REPO_REPO_H
#define BR_REPO_REPO_H

#include "engine/repo/index.h"
#include "engine/repo/store.h"

struct br_repo;

// What opens a repository; all NULL: only one that is not encrypted opens.
struct br_repo_secret {
    const void *passphrase;
    size_t passphrase_len;
    const struct br_key *key_file;
    const struct br_key *recovery;
};

struct br_repo_new_key {
    struct br_repo_secret secret; // one of the three
    struct br_scrypt scrypt;      // cost for a passphrase; its salt is drawn here
    const char *label;            // for people
};

struct br_repo_init {
    bool encrypted;
    struct br_repo_new_key key; // the first one
};
/**
 * br_repo_init - make a repository in an empty store
 * @ret_repository  its uuid
 * The object "config" is written last, so that a repository is whole or none.
 * Errors: -BR_E_EXISTS there is one already; those of the store
 */
BR_MUST_CHECK int br_repo_init(const struct br_store *store, const struct br_repo_init *init,
                               struct br_uuid *ret_repository, struct br_err *reterr);
/** br_repo_look - what a repository says of itself without a key, not proven; -BR_E_NOT_FOUND there is none */
BR_MUST_CHECK int br_repo_look(const struct br_store *store, struct br_repo_config *ret_config, struct br_err *reterr);

struct br_repo_params {
    struct br_store store; // the caller's, must outlive the repository
    struct br_repo_secret secret;
    int index_fd; // directory of the index, owned from now on, also on failure
};
/**
 * br_repo_open - open with a secret
 * Errors: -BR_E_NOT_FOUND there is none; -BR_E_KEY the secret does not open it; -BR_E_CORRUPT, -BR_E_VERSION; those of store and index
 */
BR_MUST_CHECK int br_repo_open(const struct br_repo_params *params, struct br_repo **ret_repo, struct br_err *reterr);
/** br_repo_close - NULL is fine */
void br_repo_close(struct br_repo *repo);

/** br_repo_config_of, br_repo_store_of, br_repo_index_of, br_repo_ring_of - its parts; valid while it is open */
const struct br_repo_config *br_repo_config_of(const struct br_repo *repo);
const struct br_store *br_repo_store_of(const struct br_repo *repo);
struct br_index *br_repo_index_of(const struct br_repo *repo);
struct br_ring *br_repo_ring_of(const struct br_repo *repo);
/** br_repo_epoch - the epoch that new objects are sealed in */
uint32_t br_repo_epoch(const struct br_repo *repo);
struct br_repo_epoch_info {
    uint32_t number;
    uint64_t made_unix_ns;     // 0 when its key is gone
    bool shredded;             // given up for ever; its key may still lie there, if whoever did it was cut
    uint64_t shredded_unix_ns; // when
};
/** br_repo_epochs - those known, ascending; the array belongs to the repository */
const struct br_repo_epoch_info *br_repo_epochs(const struct br_repo *repo, size_t *ret_count);
/**
 * br_repo_shred - give the key of an epoch up: durably noted first, then the key is removed; from then on, what is sealed with it is gone
 * Again after a crash, or of one that is shredded already: what is left of it is removed.
 * Errors: -BR_E_NOT_FOUND no such epoch; -BR_E_REFUSED it is the current one; -BR_E_UNSUPPORTED the repository is not encrypted
 */
BR_MUST_CHECK int br_repo_shred(struct br_repo *repo, uint32_t epoch, struct br_err *reterr);
/**
 * br_repo_clear_shredded - remove what nobody can open any more: points, notes and packs that were sealed in shredded epochs
 * @ret_bytes  of the packs
 */
BR_MUST_CHECK int br_repo_clear_shredded(struct br_repo *repo, uint64_t *ret_points, uint64_t *ret_packs,
                                         uint64_t *ret_bytes, struct br_err *reterr);
/** br_repo_epoch_of - the epoch in which the object of this name is sealed, as its head says */
BR_MUST_CHECK int br_repo_epoch_of(struct br_repo *repo, const char *name, uint32_t *ret_epoch, struct br_err *reterr);
/** br_repo_remove_point - durable; 0 also when it was not there */
BR_MUST_CHECK int br_repo_remove_point(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                                       struct br_err *reterr);
/** br_repo_writable - -BR_E_CORRUPT an epoch is missing or damaged, and was not shredded: what is sealed now might be sealed with a key that was given up */
BR_MUST_CHECK int br_repo_writable(const struct br_repo *repo, struct br_err *reterr);
/** br_repo_epoch_key - the key of an epoch; -BR_E_KEY there is none (any more) */
BR_MUST_CHECK int br_repo_epoch_key(const struct br_repo *repo, uint32_t epoch, const struct br_key **ret_key,
                                    struct br_err *reterr);

/**
 * br_repo_key_fn - takes a key; @rc 0, or why the object is none, told in @err (then only the id counts)
 * Non-zero stops the list and is returned.
 */
typedef int br_repo_key_fn(void *ctx, const struct br_repo_key *key, int rc, const struct br_err *err);
/** br_repo_keys - every way to the master key; what is listed is not proven: a store can show keys that nobody made */
BR_MUST_CHECK int br_repo_keys(struct br_repo *repo, br_repo_key_fn *fn, void *ctx, struct br_err *reterr);
/** br_repo_opened_by - the id of the key that opened it; nil of a repository that is not encrypted */
struct br_uuid br_repo_opened_by(const struct br_repo *repo);
/** br_repo_add_key - one more way to the master key; durable; -BR_E_UNSUPPORTED the repository is not encrypted */
BR_MUST_CHECK int br_repo_add_key(struct br_repo *repo, const struct br_repo_new_key *key, struct br_uuid *ret_id,
                                  struct br_err *reterr);
/**
 * br_repo_remove_key - durable; -BR_E_NOT_FOUND; -BR_E_REFUSED it is the one that opened the repository, so that one remains for sure
 * Who copied the key's object before can still open it with the secret.
 */
BR_MUST_CHECK int br_repo_remove_key(struct br_repo *repo, const struct br_uuid *id, struct br_err *reterr);
/** br_repo_rotate - a new epoch: what is sealed from now on, by whoever opens the repository from now on, has another key; nothing is sealed anew */
BR_MUST_CHECK int br_repo_rotate(struct br_repo *repo, uint32_t *ret_epoch, struct br_err *reterr);

/** br_repo_object_new - the head of an object to be sealed now, and the key for it; errors as br_repo_writable() */
BR_MUST_CHECK int br_repo_object_new(struct br_repo *repo, enum br_object_kind kind, struct br_object *ret_object,
                                     const struct br_key **ret_key, struct br_err *reterr);
/**
 * br_repo_object_read - an object that is no pack, whole, and the key that its head asks for; nothing is proven yet
 * @bytes  what it held is dropped
 * Errors: those of the store; -BR_E_CORRUPT also of another repository's; -BR_E_VERSION; -BR_E_KEY
 */
BR_MUST_CHECK int br_repo_object_read(struct br_repo *repo, const char *name, struct br_buf *bytes,
                                      struct br_object *ret_object, const struct br_key **ret_key,
                                      struct br_err *reterr);

struct br_repo_refreshed {
    uint64_t packs;    // in the store
    uint64_t added;    // of them new to the index
    uint64_t dropped;  // known to the index, and not there any more
    uint64_t shredded; // sealed in an epoch whose key was given up: nobody misses them
    uint64_t damaged;  // whose directory can't be read: what is in them is missing
    char first_damaged[sizeof(((struct br_err *)0)->text)];
};
/** br_repo_refresh - bring the index to what the store has; a pack that is damaged is counted, no error */
BR_MUST_CHECK int br_repo_refresh(struct br_repo *repo, struct br_repo_refreshed *ret_refreshed, struct br_err *reterr);
/**
 * br_repo_look_again - br_repo_refresh() for who reads and misses something that a prune may have written anew, at most once in ten seconds
 * Returns whether it was done and came to an end
 */
bool br_repo_look_again(struct br_repo *repo);
/**
 * br_repo_reindex - make the index anew from the packs' directories: for when it lacks what must be there
 * Which packs are proven is kept.
 */
BR_MUST_CHECK int br_repo_reindex(struct br_repo *repo, struct br_err *reterr);
/**
 * br_repo_directory - what is in a pack, read from the store and proven
 * @ret_pack  NULL, or what the index wants to know of it; number 0, not proven
 * Owner: br_directory_free()
 */
BR_MUST_CHECK int br_repo_directory(struct br_repo *repo, const char *name, struct br_directory *ret_directory,
                                    struct br_index_pack *ret_pack, struct br_err *reterr);

/**
 * br_repo_point_fn - takes a point
 * @rc  0, or why this object is none (then @point says only which: id and volume), told in @err
 * Non-zero stops the list and is returned.
 */
typedef int br_repo_point_fn(void *ctx, const struct br_point *point, int rc, const struct br_err *err);
/** br_repo_points - every point, or those of @volume (NULL: all), by volume and id */
BR_MUST_CHECK int br_repo_points(struct br_repo *repo, const struct br_uuid *volume, br_repo_point_fn *fn, void *ctx,
                                 struct br_err *reterr);
/** br_repo_point - one point, proven; @ret_hash: SHA-256 of its object, NULL when not wanted; -BR_E_NOT_FOUND */
BR_MUST_CHECK int br_repo_point(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                                struct br_point *ret_point, struct br_hash *ret_hash, struct br_err *reterr);
/**
 * br_repo_newest - the point of @volume that its chain has reached: the one with the highest counter
 * Returns 1 and the point with the hash of its object, 0 none. Damaged points are passed over.
 */
BR_MUST_CHECK int br_repo_newest(struct br_repo *repo, const struct br_uuid *volume, struct br_point *ret_point,
                                 struct br_hash *ret_hash, struct br_err *reterr);
/** br_repo_put_point - the commit: durable when it returns 0; -BR_E_EXISTS the name is taken: a prune took the run for dead (lease.h) */
BR_MUST_CHECK int br_repo_put_point(struct br_repo *repo, const struct br_point *point, struct br_err *reterr);
/**
 * br_repo_renew_point - a point whose object is damaged gets a new one, of which all that it needs is durable already
 * A store puts nothing over anything, so the damaged one is removed first. That is noted in the index before: a run that is cut between the two leaves
 * no point there, and br_repo_cut_renewals() says so. The new object has another hash, which who remembers the old one takes for another (heads.h).
 * Errors: as br_repo_put_point(), and those of removing; nothing was changed when it was not allowed, or there is no room
 * br_repo_renewing - 1 a run of this host was cut while it renewed @id, 0 not
 */
BR_MUST_CHECK int br_repo_renew_point(struct br_repo *repo, const struct br_point *point, struct br_err *reterr);
BR_MUST_CHECK int br_repo_renewing(struct br_repo *repo, const struct br_uuid *id, struct br_err *reterr);
/**
 * br_repo_cut_renewals - points that are gone since a run of this host was cut while it renewed them
 * @ret_ids  the caller's to free; NULL none
 * br_repo_forget_renewal - the point is not missed any more
 */
BR_MUST_CHECK int br_repo_cut_renewals(struct br_repo *repo, struct br_uuid **ret_ids, size_t *ret_count,
                                       struct br_err *reterr);
BR_MUST_CHECK int br_repo_forget_renewal(struct br_repo *repo, const struct br_uuid *id, struct br_err *reterr);

#endif
