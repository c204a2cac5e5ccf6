// SPDX-License-Identifier: Apache-2.0
//
// The parts of a replica, for the files in this folder only.
//
//     replica.c   open, close, who may do what when; hands records to one of
//     delta.c         the staged delta: stage, old pages checked, commit
//     cut.c           what a run that was cut had staged, for the next one
//     first.c         the first copy and the replacement: written in place, checkpoints
//     apply.c     the stage onto the replica; finish
//     evidence.c  what would move if something else wrote to it
//     rebuild.c   a lost tree file from the content
//     prove.c     the replica's content against its tree: verify, recheck
#ifndef BR_REPLICA_REPLICA_IMPL_H
#define BR_REPLICA_REPLICA_IMPL_H

#include "engine/replica/cut.h"
#include "engine/replica/identity_slots.h"
#include "engine/replica/intake.h"
#include "engine/replica/io_queue.h"
#include "engine/replica/replica.h"
#include "engine/track/tree_file.h"

#define BR_IDENTITY_NAME "identity"
#define BR_LOCK_NAME     "lock"
#define BR_TREE_STEM     "tree"
#define BR_NEW_SUFFIX    ".blkrep-new"

struct br_delta; // delta.c
struct br_first; // first.c

struct br_replica {
    struct br_ring *ring;
    struct br_dir *dir;
    struct br_dir *parent;
    struct br_file *file; // the caller's, or own_file
    struct br_file *own_file;
    char *name;
    char *what;
    bool read_only;
    bool locked;
    uint64_t compact_bytes;
    uint64_t sync_bytes;

    struct br_identity_slots slots;
    struct br_identity identity;
    bool lost; // a store of the identity failed: what is on disk isn't known, nothing more is done with this handle
    struct br_tree_file *trees; // of identity.tree_file; NULL while there is none
    struct br_err trees_err;    // why it could not be opened

    // The delta under way.
    bool active;
    bool failed;
    struct br_err err; // the first failure
    struct br_replica_begin begin;
    struct br_tree_geometry geometry; // of the result
    struct br_delta_end counts;
    uint64_t next_block;
    uint64_t taken_block; // the same, of the records that were taken well
    struct br_intake intake;
    struct br_delta *delta;
    struct br_first *first;
    uint64_t bytes_durable; // of the delta that ended last
};

// replica.c ---------------------------------------------------------------------------------------------------------------------------

/** br_replica_store_identity - sync the tree file, then store replica->identity; a failure makes the handle lost */
BR_MUST_CHECK int br_replica_store_identity(struct br_replica *replica, struct br_err *reterr);
/** br_replica_need_complete - 0, or the error that says why this replica has no version to work on */
BR_MUST_CHECK int br_replica_need_complete(const struct br_replica *replica, struct br_err *reterr);
/** br_replica_need_trees - 0, or why the tree file of the identity can't be used */
BR_MUST_CHECK int br_replica_need_trees(const struct br_replica *replica, struct br_err *reterr);
/** br_replica_new_trees - an empty tree file, which the next identity stored will name */
BR_MUST_CHECK int br_replica_new_trees(struct br_replica *replica, struct br_err *reterr);
/** br_replica_capacity - a device must hold @size_bytes: -BR_E_TARGET_SMALL */
BR_MUST_CHECK int br_replica_capacity(const struct br_file_info *info, uint64_t size_bytes, const char *what,
                                      struct br_err *reterr);
/** br_replica_set_size - br_file_truncate() of the replica, or of @file that is to take its place; a failure names the replica */
BR_MUST_CHECK int br_replica_set_size(const struct br_replica *replica, struct br_file *file, uint64_t size_bytes,
                                      struct br_err *reterr);
/** br_replica_completed - fill what COMPLETE says of the content written by replica->begin or of the APPLYING record: evidence, times; store it */
BR_MUST_CHECK int br_replica_completed(struct br_replica *replica, struct br_err *reterr);
/** br_replica_drop_file - unlink @name in the replica's folder, durably; errors are ignored: the next run tries again */
void br_replica_drop_file(struct br_replica *replica, const char *name);
/** br_replica_identity_from - the identity's fields that a delta's header gives */
void br_replica_identity_from(struct br_identity *identity, const struct br_delta_header *header);

// delta.c -----------------------------------------------------------------------------------------------------------------------------

/** br_delta_begin - check parent and evidence, make the stage; br_delta_end_run() frees also after a failure */
BR_MUST_CHECK int br_delta_begin(struct br_replica *replica, struct br_err *reterr);
/** br_delta_take - deal with one ready record; keeps no reference to the item */
BR_MUST_CHECK int br_delta_take(struct br_replica *replica, struct br_intake_item *item, struct br_err *reterr);
/** br_delta_commit - all of br_replica_commit() for a staged delta */
BR_MUST_CHECK int br_delta_commit(struct br_replica *replica, const struct br_delta_end *end, uint64_t recheck_bytes,
                                  struct br_replica_result *result, struct br_err *reterr);
/** br_delta_durable - bytes of data staged and synced */
uint64_t br_delta_durable(const struct br_delta *delta);
/** br_delta_held, br_delta_kept - as br_cut_held() and br_cut_take(), also when nothing is held */
BR_MUST_CHECK int br_delta_held(struct br_replica *replica, uint64_t from, struct br_held_block *ret_blocks,
                                unsigned most, unsigned *ret_count, struct br_err *reterr);
BR_MUST_CHECK int br_delta_kept(struct br_replica *replica, const struct br_held_block *blocks, unsigned count,
                                struct br_cut_piece *ret_piece, struct br_err *reterr);
/** br_delta_end_run - waits, frees; of a delta that was not committed the data is left for the next run, or all is removed */
void br_delta_end_run(struct br_replica *replica);

// first.c -----------------------------------------------------------------------------------------------------------------------------

/** br_first_begin - FIRST and REPLACE: facts, INCOMPLETE, size; br_first_end_run() frees also after a failure */
BR_MUST_CHECK int br_first_begin(struct br_replica *replica, struct br_err *reterr);
/** br_first_take - deal with one ready record; writes under way keep a reference to the item */
BR_MUST_CHECK int br_first_take(struct br_replica *replica, struct br_intake_item *item, struct br_err *reterr);
/** br_first_commit - all of br_replica_commit() for a copy */
BR_MUST_CHECK int br_first_commit(struct br_replica *replica, const struct br_delta_end *end,
                                  struct br_replica_result *result, struct br_err *reterr);
/** br_first_durable - bytes of data that a stored checkpoint covers */
uint64_t br_first_durable(const struct br_first *first);
/** br_first_wait - until no write uses a batch's data any more */
void br_first_wait(struct br_first *first);
/** br_first_end_run - waits, keeps the facts of a first copy that did not fail, frees */
void br_first_end_run(struct br_replica *replica);
/** br_replace_finish - REPLACING: rename when it is still open, then COMPLETE */
BR_MUST_CHECK int br_replace_finish(struct br_replica *replica, struct br_err *reterr);

// apply.c -----------------------------------------------------------------------------------------------------------------------------

/** br_apply - write the staged delta of the APPLYING identity over the replica and sync it; the stage must have been checked */
BR_MUST_CHECK int br_apply(struct br_replica *replica, uint64_t *ret_written, struct br_err *reterr);

// rebuild.c ---------------------------------------------------------------------------------------------------------------------------

/** br_rebuild - make a lost tree file anew from the replica's bytes, proven by the root; APPLYING and REPLACING become COMPLETE */
BR_MUST_CHECK int br_rebuild(struct br_replica *replica, struct br_err *reterr);

// evidence.c --------------------------------------------------------------------------------------------------------------------------

/** br_evidence_take - what the file shows now */
BR_MUST_CHECK int br_evidence_take(struct br_file *file, struct br_evidence *ret_evidence, struct br_err *reterr);
/** br_evidence_equal - size, inode, device and both times */
bool br_evidence_equal(const struct br_evidence *a, const struct br_evidence *b);
/** br_evidence_samples - the blocks that mounts write to and 16 drawn by @seed, against @tree; -BR_E_FOREIGN_WRITE */
BR_MUST_CHECK int br_evidence_samples(struct br_replica *replica, const struct br_tree *tree,
                                      const struct br_uuid *seed, struct br_err *reterr);

// prove.c -----------------------------------------------------------------------------------------------------------------------------

struct br_proof {
    uint64_t bytes_read;
    uint64_t bad_blocks;
    uint64_t first_bad_block; // when bad_blocks > 0
    uint64_t next_block;      // first one not looked at; the block count when all were
};
/**
 * br_prove - read blocks of the replica and compare them with @tree
 * @from, @end    blocks
 * @budget_bytes  stop when so much was read
 * Holes that the tree calls ZERO are passed over for nothing; UNREADABLE and UNKNOWN leaves prove nothing and are passed over.
 */
BR_MUST_CHECK int br_prove(struct br_replica *replica, const struct br_tree *tree, uint64_t from, uint64_t end,
                           uint64_t budget_bytes, br_verify_progress_fn *progress, void *ctx,
                           struct br_proof *ret_proof, struct br_err *reterr);
/** br_recheck - the rolling share (G3) of the identity's version; moves the identity's recheck fields, does not store them */
BR_MUST_CHECK int br_recheck(struct br_replica *replica, uint64_t budget_bytes, struct br_replica_result *result,
                             struct br_err *reterr);

#endif
