// SPDX-License-Identifier: Apache-2.0
//
// What the source's side remembers, in SOURCE.blkrep/ (for devices, and where that can't be written, in the state folder):
//
//     volume                  the volume's uuid: magic, version, uuid, XXH3-128; made durably by the first run, never changed
//     to-REPLICA.identity     the version last known to be on that replica, in the two slots of engine/codec/identity.h
//     to-REPLICA.tree.N       that version's tree with this side's own page hashes (engine/track/tree_file.h)
//     to-REPLICA.distrust     there when a recheck found a block that differs: the next run makes the replica anew
//     to-REPLICA.lock         held while a run writes to that replica
//
// REPLICA is the replica's uuid. All of it is a cache but for `volume`: what is lost or stale is copied from the replica again.
//
// A version becomes known in two steps, so that a crash between the replica's commit and ours is recognised: before the replica is asked
// to commit, the record says APPLYING (new version over the old, both trees durable); afterwards COMPLETE. Which of the two an APPLYING
// record means is what the replica says.
#ifndef BR_SYNC_SOURCE_H
#define BR_SYNC_SOURCE_H

#include "engine/codec/identity.h"
#include "engine/ring/ring.h"

struct br_source;

/**
 * br_volume_load - the uuid in @dir's `volume` record
 * Returns 1 and the uuid, 0 when there is none. Also tells whether a target is itself the source of something (swapped arguments).
 * Errors: -BR_E_CORRUPT
 */
BR_MUST_CHECK int br_volume_load(struct br_dir *dir, struct br_uuid *ret_volume, struct br_err *reterr);
/** br_volume_seed - make the record with this uuid, durably, when there is none */
BR_MUST_CHECK int br_volume_seed(struct br_dir *dir, const struct br_uuid *volume, struct br_err *reterr);
/** br_volume_ensure - like br_volume_load, but makes the record, durably, when there is none */
BR_MUST_CHECK int br_volume_ensure(struct br_ring *ring, struct br_dir *dir, struct br_uuid *ret_volume,
                                   struct br_err *reterr);

/**
 * br_source_open - lock and load what is known about one replica
 * @read_only  no lock, nothing is made; for dry runs and status
 * A record or tree that is missing, damaged or of another volume is no error: br_source_identity() says NONE.
 * Owner: @dir must outlive it    Errors: -BR_E_BUSY another run to this replica
 */
BR_MUST_CHECK int br_source_open(struct br_ring *ring, struct br_dir *dir, const struct br_uuid *replica,
                                 bool read_only, struct br_source **ret_source, struct br_err *reterr);
/** br_source_close - what was not recorded is garbage that the next run drops; unlocks; NULL is fine */
void br_source_close(struct br_source *source);
/** br_source_identity - the record: NONE, COMPLETE, or APPLYING (pending); owned by the source, changes with it */
const struct br_identity *br_source_identity(const struct br_source *source);
/** br_source_damaged - a record or tree was there and could not be used */
bool br_source_damaged(const struct br_source *source);
/** br_source_store - where the trees of the record are, and where a new version's nodes go */
const struct br_tree_store *br_source_store(const struct br_source *source);
/** br_source_secret - of this side's page hashes, BR_PAGE_SECRET_BYTES */
const uint8_t *br_source_secret(const struct br_source *source);
/**
 * br_source_restart - begin an empty tree file, with a new secret, for a version that shares nothing with the recorded one
 * The recorded one stays on disk until the next br_source_record() but can't be read through this handle any more.
 */
BR_MUST_CHECK int br_source_restart(struct br_source *source, struct br_err *reterr);
/**
 * br_source_record - make nodes durable, then the record
 * @identity  copied; sequence, tree file number and length are filled in here
 * Durable: yes, when it returns 0    After a failure the record on disk is the one before or this one
 */
BR_MUST_CHECK int br_source_record(struct br_source *source, const struct br_identity *identity, struct br_err *reterr);
/**
 * br_source_compact - when most of the tree file is garbage and the record is COMPLETE, go over to a new file, durably
 * br_source_store() and the record's tree are others afterwards.
 */
BR_MUST_CHECK int br_source_compact(struct br_source *source, struct br_err *reterr);
/** br_source_distrusted - 1 when a recheck mismatch is noted, 0, or an error */
BR_MUST_CHECK int br_source_distrusted(struct br_source *source, struct br_err *reterr);
/** br_source_distrust - note (durably) or clear it */
BR_MUST_CHECK int br_source_distrust(struct br_source *source, bool distrust, struct br_err *reterr);
/** br_source_forget - remove all that is known about @replica; -BR_E_BUSY while a run holds it; 0 also when there was nothing */
BR_MUST_CHECK int br_source_forget(struct br_ring *ring, struct br_dir *dir, const struct br_uuid *replica,
                                   struct br_err *reterr);

/**
 * br_source_unmoved - asked when all was read: is the source still what it was when it was first looked at?
 * @seen         br_file_stat() of then
 * @consistency  a version that is `none` anyway may have been written to meanwhile, but may not have another size
 * @check        what only the caller can know (see sync.h), NULL nothing
 * Errors: -BR_E_SOURCE_MOVED
 */
BR_MUST_CHECK int br_source_unmoved(struct br_file *file, const struct br_file_info *seen,
                                    enum br_consistency consistency, const char *label,
                                    int (*check)(void *ctx, struct br_err *reterr), void *check_ctx,
                                    struct br_err *reterr);

#endif
