// SPDX-License-Identifier: Apache-2.0
//
// A replica: a plain file or device that is one version of a volume, and the folder NAME.blkrep/ (for devices: a folder in the state
// folder) that says which. This is the one place that writes to a replica; local sync, receive and serve all come through here.
//
//     NAME.blkrep/identity   two slots, see engine/codec/identity.h
//     NAME.blkrep/tree.N     the version tree's nodes (engine/track/tree_file.h)
//     NAME.blkrep/stage      a staged delta: a blkrep stream as blkrep-stream(5) describes
//     NAME.blkrep/stage.cut  what runs that were cut had staged (engine/replica/cut.h)
//     NAME.blkrep/lock       held while a run writes
//
// Life of a delta (G2). Each arrow is a barrier; a crash anywhere leaves the state on its left or on its right:
//
//     COMPLETE v1 --records--> stage durable --end: parent, evidence and old page hashes checked, tree of v2 durable-->
//     identity APPLYING v2 (the commit) --pages written from the stage, replica synced--> identity COMPLETE v2 --> stage removed
//
// A delta that ends early, whatever ends it, leaves the replica at v1 and the data that it had staged as facts: block, leaf, data. The next
// run has a new view of the source. It asks what is held (br_replica_held), compares, and keeps what is still right (br_replica_keep)
// instead of shipping it. Facts are of use for one parent version only; any commit drops them.
//
// A first copy writes in place under INCOMPLETE. The identity's tree holds facts: a leaf that is not UNKNOWN is what the target durably
// holds there. Every block that may be written before the next checkpoint lies in the window and is UNKNOWN in the stored tree already,
// so the tree alone is true after any crash; the window fields are for people. A checkpoint (each 128 MiB of data) is: data synced, tree
// synced, identity stored; it overlaps with the writes behind it, so a crash costs at most about 256 MiB of shipping again.
//     What a first copy leaves out: with `absent_keeps_facts` the source compared with the facts, so a block that is not in the delta
// keeps its fact (one that is UNKNOWN to the end fails the commit). Without it the delta stands alone (a stream's full delta): what is
// absent is zeros, and is zeroed here. Facts begin as all ZERO when target_is_zero, else as all UNKNOWN; those of an INCOMPLETE replica
// are taken over, cut or grown to the new size. A source that resumes therefore compares with br_replica_identity()->tree when the state
// is INCOMPLETE, with br_tree_empty(ZERO) when it says target_is_zero, else with br_tree_empty(UNKNOWN).
//
// A replacement (--force-full of a file) writes NAME.blkrep-new beside, whole, and renames; the replica is the old version until then.
// It is not resumed: what is left of one is removed by the next run.
//
// Blocks that the source could not read are zeroed in a first copy and a replacement and keep the old bytes in a delta; their leaf says
// UNREADABLE and no proof ever covers them.
//
// No function may be called from a completion callback of the ring.
#ifndef BR_REPLICA_REPLICA_H
#define BR_REPLICA_REPLICA_H

#include "engine/codec/identity.h"
#include "engine/ring/ring.h"

struct br_replica;

struct br_replica_params {
    struct br_ring *ring;
    struct br_dir *dir;     // NAME.blkrep/; the caller's, must outlive the replica
    struct br_file *file;   // the replica's bytes; the caller's; NULL for a look at the identity only
    struct br_dir *parent;  // the folder that NAME lies in, for a replacement; NULL for devices
    const char *name;       // NAME in @parent; NULL for devices
    const char *what;       // how messages name it
    bool read_only;         // no lock, no writes
    uint64_t compact_bytes; // a tree file up to this length is never compacted; 0: 8 MiB
    uint64_t sync_bytes;    // a stage is synced whenever so much was written; 0: 64 MiB
    bool discard_damaged;   // an identity whose slots are both damaged counts as NONE (--force-full)
};

/**
 * br_replica_open - lock, load the identity
 * Errors: -BR_E_BUSY another run holds it; -BR_E_CORRUPT both slots are damaged (--force-full makes it anew)
 * A missing identity is no error: state NONE.
 */
BR_MUST_CHECK int br_replica_open(const struct br_replica_params *params, struct br_replica **ret_replica,
                                  struct br_err *reterr);
/** br_replica_close - ends an unfinished delta as br_replica_abort() does, unlocks; NULL is fine */
void br_replica_close(struct br_replica *replica);
/** br_replica_identity - what the newest valid slot says; owned by the replica, changes with it */
const struct br_identity *br_replica_identity(const struct br_replica *replica);
/** br_replica_store - the node store of its trees, for readers; valid while it is open */
const struct br_tree_store *br_replica_store(const struct br_replica *replica);

/**
 * br_replica_finish - complete a transition: APPLYING or REPLACING becomes COMPLETE; other states are left alone
 * Needs no source; time bounded by the delta; may be called again after any crash. Returns 1 when it did something, 0 when not.
 * The whole stage is checked before its first byte is written. When the stage is gone (the newest slot was lost after the end), the
 * replica is read instead and must be the result already. A tree file that is lost or damaged is made anew from the replica's bytes,
 * which the identity's root proves; of an INCOMPLETE replica only its facts are lost.
 * Errors: -BR_E_CORRUPT the stage does not hold what was committed (never written then)
 *         -BR_E_FOREIGN_WRITE the tree is lost and the content is not the recorded version
 */
BR_MUST_CHECK int br_replica_finish(struct br_replica *replica, struct br_err *reterr);

/**
 * br_replica_check_foreign - was a COMPLETE replica written to by something else? (G4)
 * Looked at: size, times and inode; blocks that every mount writes to (first, second and last block of the disk and of its partitions,
 * the heads of ext4 journals and XFS logs); 16 blocks drawn by the generation's id. What follows:
 *     nothing moved, or ctime only (chmod, chown, mv, link), samples agree     clean
 *     mtime or inode moved (restored, copied, touched), size the same          all of the replica is read: clean when every block agrees,
 *                                                                              and that counts as a full proof
 *     size moved, or a block differs                                           -BR_E_FOREIGN_WRITE names what and where
 * A device has no times: there the samples, and the old hash of every page that a delta overwrites, must tell.
 * Errors: also -BR_E_IO, and those of state: -BR_E_INCOMPLETE -BR_E_TRANSITION -BR_E_NOT_FOUND
 */
BR_MUST_CHECK int br_replica_check_foreign(struct br_replica *replica, struct br_err *reterr);

enum br_replica_mode {
    BR_MODE_FIRST,   // in place, onto NONE or INCOMPLETE
    BR_MODE_DELTA,   // staged, onto COMPLETE
    BR_MODE_REPLACE, // beside, renamed at the end; files only
};

struct br_replica_begin {
    enum br_replica_mode mode;
    struct br_delta_header header;
    bool target_is_zero;     // FIRST: the file is new and reads as zeros, so ZERO runs need no write
    bool absent_keeps_facts; // FIRST: blocks that are not in the delta keep their fact; else they become zeros
    bool
        discard_version; // FIRST: whatever version or other volume's content the replica is, give it up (G8 is the caller's)
    bool
        leaves_proven; // the leaves were computed from the very data in this process; else whole blocks are hashed again (G6)
    bool keeps_nothing; // DELTA: who ships it does not ask what is held, so what earlier runs staged is given up first
    bool distrusted;    // what the far end has was found damaged: nothing of it may be taken for the new version
    uint64_t expected_bytes;   // data to come when known: reserved before the first record; 0 unknown
    uint64_t checkpoint_bytes; // FIRST: data between two checkpoints, half of the least window; 0: 128 MiB
};

/**
 * br_replica_begin - start a delta
 * DELTA: volume, parent generation id and parent root must be the identity's (-BR_E_WRONG_PARENT), evidence unmoved.
 * FIRST: writes identity INCOMPLETE before the first byte. A regular file is cut or grown to the size; facts that are taken over are
 *        sampled first (-BR_E_FOREIGN_WRITE when one is wrong).
 * REPLACE: from any state; header.full.
 * Errors: -BR_E_WRONG_PARENT -BR_E_FOREIGN_WRITE -BR_E_TARGET_SMALL -BR_E_NO_SPACE -BR_E_TRANSITION -BR_E_INCOMPLETE -BR_E_CORRUPT
 * After a failure no delta is under way.
 */
BR_MUST_CHECK int br_replica_begin(struct br_replica *replica, const struct br_replica_begin *begin,
                                   struct br_err *reterr);

typedef void br_release_fn(void *ctx);

/**
 * br_replica_batch - take one batch
 * @batch    copied but for its data
 * @release  called once, maybe before this returns, when batch->data is no longer needed; also on failure
 * Whole blocks are checked against their leaf before anything is written (-BR_E_CORRUPT). In a delta every page about to be overwritten
 * is read and compared with the parent's page hash, or its whole block with the leaf where no page hash is known: -BR_E_FOREIGN_WRITE
 * names the offset. Errors of work that was still under way are told by a later call; after the first error only abort or close follow.
 */
BR_MUST_CHECK int br_replica_batch(struct br_replica *replica, const struct br_batch *batch, br_release_fn *release,
                                   void *ctx, struct br_err *reterr);
/** br_replica_run - take a run of zero, discarded or unreadable blocks */
BR_MUST_CHECK int br_replica_run(struct br_replica *replica, const struct br_run *run, struct br_err *reterr);
/**
 * br_replica_held - blocks of the delta under way that an earlier run, which was cut, had staged: the first ones at or after @from
 * @most  room in @ret_blocks; *ret_count is how many there are now, ascending; 0: no more
 * What is told stays true until the delta ends.    Errors: as br_replica_batch()
 */
BR_MUST_CHECK int br_replica_held(struct br_replica *replica, uint64_t from, struct br_held_block *ret_blocks,
                                  unsigned most, unsigned *ret_count, struct br_err *reterr);
/**
 * br_replica_keep - take blocks that br_replica_held() told, in their order among batches and runs
 * Their data is read and proven against the leaves, whoever staged it.
 * Errors: as br_replica_batch(); -BR_E_CORRUPT also for what is not held
 */
BR_MUST_CHECK int br_replica_keep(struct br_replica *replica, const struct br_keep *keep, struct br_err *reterr);
/** br_replica_held_bytes - how much an unfinished delta left for the next run; for people */
uint64_t br_replica_held_bytes(const struct br_replica *replica);
/**
 * br_replica_push - deal with the records whose checks have ended, without waiting for more of them to come
 * For who bounds what it hands over by what was released: the last records would else wait for a next one.
 * Errors: as br_replica_batch()
 */
BR_MUST_CHECK int br_replica_push(struct br_replica *replica, struct br_err *reterr);
/** br_replica_durable - bytes of this delta's data that would survive a power cut now (staged and synced, or in place and synced) */
uint64_t br_replica_durable(const struct br_replica *replica);

struct br_replica_result {
    uint64_t bytes_durable;
    uint64_t bytes_written;   // to the replica itself
    uint64_t bytes_rechecked; // re-read and proven against the tree
    uint64_t recheck_mismatches;
};

/**
 * br_replica_commit - all records are in: check, commit, apply, finish
 * @end            the root computed here must equal end->root, counts must match
 * @recheck_bytes  budget of the rolling recheck (G3) of the parent version, bytes that are really read; blocks that the delta touches are
 *                 read when they lie in its way; a mismatch fails with -BR_E_VERIFY (told in ret_result too, the only field then set)
 *                 before the commit, the replica staying at the parent version
 * When it returns 0 the replica is the new version, durably. After a failure it is the parent version or APPLYING (then finish completes it).
 */
BR_MUST_CHECK int br_replica_commit(struct br_replica *replica, const struct br_delta_end *end, uint64_t recheck_bytes,
                                    struct br_replica_result *ret_result, struct br_err *reterr);
/** br_replica_abort - give the delta up, keeping durably for the next run what it has; nothing under way: no effect */
void br_replica_abort(struct br_replica *replica);
/**
 * br_replica_recheck - the rolling recheck of a COMPLETE replica without a delta (a run that found no changes)
 * Sets bytes_rechecked and recheck_mismatches of @ret_result; durable: where it goes on.
 * Errors: -BR_E_VERIFY a block differs (ret_result is set then too); those of state as br_replica_check_foreign()
 */
BR_MUST_CHECK int br_replica_recheck(struct br_replica *replica, uint64_t recheck_bytes,
                                     struct br_replica_result *ret_result, struct br_err *reterr);

#define BR_GAPS_MAX 64
// What the source could not read: whole blocks, or the tail.
struct br_gap {
    uint64_t offset_bytes;
    uint64_t len_bytes;
};
/**
 * br_replica_gaps - the gaps of a COMPLETE replica's version, ascending, the first BR_GAPS_MAX of them
 * Reads of the tree as much as lies before the last; nothing when the version has none.
 */
BR_MUST_CHECK int br_replica_gaps(struct br_replica *replica, struct br_gap ret_gaps[BR_GAPS_MAX], unsigned *ret_count,
                                  struct br_err *reterr);

typedef int br_verify_progress_fn(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
/**
 * br_replica_verify - read the whole replica and compare every block with the tree
 * Returns 0 when all agree and records the date of the full proof; -BR_E_VERIFY names the first differing block and how many there are;
 * -BR_E_GAPS names what the version lacks: no proof covers that, all else agrees and the date is recorded.
 * Read only, without the lock: nothing is recorded, and -BR_E_BUSY when it differs because another run went on meanwhile.
 */
BR_MUST_CHECK int br_replica_verify(struct br_replica *replica, br_verify_progress_fn *progress, void *ctx,
                                    uint64_t *ret_bad_blocks, struct br_err *reterr);

#endif
