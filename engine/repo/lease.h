// SPDX-License-Identifier: Apache-2.0
//
// How writers and prunes keep out of each other's way, without locks and without clocks.
//
//     writer   lease -> lists of doomed packs -> index made current -> packs -> point, put-if-absent: the commit -> lease removed
//     prune    points removed -> doomed packs listed -> lists, leases, packs and points looked at anew -> packs deleted -> list removed
//
// A writer counts on no pack that a list named when its lease was there; a prune deletes none before every lease that was there when its list
// was has ended, except those that name the list as seen. A lease ends by the object at its point's name: the point, or a tombstone,
// put-if-absent both, so that of a writer and whoever gives it up just one wins, however long either was stopped. A list is removed
// when none of its packs is there any more, and never before: who read it may be stopped, and go on deleting after years. So a pack that was doomed
// and is needed after all is written anew, and then deleted.
//
// A backup draws the id of its point, so that nobody else ever wants its name. The id of a copy, or of a stream's point, is given: several runs may want
// one name, and it may be free again after one of them had it, and its point was pruned, while another is still stopped before its commit. So
//
//     a tombstone is never removed: who wants the point after all makes it under the next name, whose last byte is one more
//     a point that a lease names, of whatever run, leaves a tombstone when it is removed
//     a prune removes a lease when there is a tombstone at its point's name; one that another's point ended stays as long as that point
//
// In the moment between a point's removal and its tombstone such a run may still commit: then its point is the removed one again, in the same domain,
// and whole, since what that needed is there as long as the lease has not ended. (Copies of one point from two repositories differ in their domain. Two
// prunes and a copy stopped in just that moment could leave one that lacks blocks: verify names it.)
//
// On NFS this asks for what its clients do unless told otherwise: who opens a directory sees what was in it before (no "nocto").
#ifndef BR_REPO_LEASE_H
#define BR_REPO_LEASE_H

#include "engine/repo/repo.h"

/**
 * br_lease_take - say that a run writes, before it counts on anything that is stored
 * @lease  run, volume, point, host, label; the rest is filled in
 * Leases of the same host, volume and label are given up: who holds the source knows that they are dead.
 * Durable when it returns 0; the index is current then, and knows which packs are doomed.
 * Errors: -BR_E_CORRUPT a list does not open; those of the store
 */
BR_MUST_CHECK int br_lease_take(struct br_repo *repo, struct br_lease *lease, struct br_err *reterr);
/** br_lease_drop - the run has ended, committed or not; a lease that can't be removed is removed by a prune */
void br_lease_drop(struct br_repo *repo, const struct br_lease *lease);

/** br_lease_fn - takes a lease; @rc 0, or why this object is none, told in @err (then only the run counts); non-zero stops and is returned */
typedef int br_lease_fn(void *ctx, const struct br_lease *lease, int rc, const struct br_err *err);
/** br_lease_each - those that are there, ended or not */
BR_MUST_CHECK int br_lease_each(struct br_repo *repo, br_lease_fn *fn, void *ctx, struct br_err *reterr);
/** br_lease_ended - 1 there is something at the name of its point, 0 not */
BR_MUST_CHECK int br_lease_ended(struct br_repo *repo, const struct br_lease *lease, struct br_err *reterr);
/** br_lease_tombstone_of - 1 there is a tombstone at the name, 0 nothing, or something else */
BR_MUST_CHECK int br_lease_tombstone_of(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *point,
                                        struct br_err *reterr);
/**
 * br_lease_find_point - the point whose id is given, which may have been made under a later name
 * Returns 1 and the point; 0 it is not there: ret_point->id is the id that it is to have.    Errors: as br_repo_point(); -BR_E_LIMIT
 */
BR_MUST_CHECK int br_lease_find_point(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                                      struct br_point *ret_point, struct br_err *reterr);
/** br_lease_given_id - the id that a point of @repo was given, from the one that it has there */
BR_MUST_CHECK int br_lease_given_id(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *id,
                                    struct br_uuid *ret_given, struct br_err *reterr);
/**
 * br_lease_held - for a run that puts no point of its own, before it ends: 0 nobody has given it up, so all that it counted on is there
 * Errors: -BR_E_BUSY a prune took it for dead: it begins anew
 */
BR_MUST_CHECK int br_lease_held(struct br_repo *repo, const struct br_lease *lease, struct br_err *reterr);
/**
 * br_lease_give_up - a tombstone at the name of its point: the run can't commit any more
 * Returns 1 when it is there now, 0 when the run had committed, or was given up before.    Durable: yes
 */
BR_MUST_CHECK int br_lease_give_up(struct br_repo *repo, const struct br_lease *lease, const char *host,
                                   const char *why, struct br_err *reterr);

/** br_doomed_fn - takes a list, its salts ascending, which is freed behind it; non-zero stops and is returned */
typedef int br_doomed_fn(void *ctx, const struct br_doomed *doomed);
/** br_doomed_each - every list; one that does not open is an error: its packs may be deleted at any moment */
BR_MUST_CHECK int br_doomed_each(struct br_repo *repo, br_doomed_fn *fn, void *ctx, struct br_err *reterr);
/** br_doomed_avoid - the index knows just the packs that lists name now */
BR_MUST_CHECK int br_doomed_avoid(struct br_repo *repo, struct br_err *reterr);
/** br_doomed_put - durable when it returns 0 */
BR_MUST_CHECK int br_doomed_put(struct br_repo *repo, const struct br_doomed *doomed, struct br_err *reterr);

/** br_hold_put - no prune removes the point any more; durable; -BR_E_EXISTS it is held already */
BR_MUST_CHECK int br_hold_put(struct br_repo *repo, const struct br_point_mark *hold, struct br_err *reterr);
/** br_hold_remove - durable; -BR_E_NOT_FOUND it is not held */
BR_MUST_CHECK int br_hold_remove(struct br_repo *repo, const struct br_uuid *volume, const struct br_uuid *point,
                                 struct br_err *reterr);
/** br_hold_fn - takes a hold; one that does not open holds all the same, and has rc; non-zero stops and is returned */
typedef int br_hold_fn(void *ctx, const struct br_point_mark *hold, int rc, const struct br_err *err);
/** br_hold_each - every hold */
BR_MUST_CHECK int br_hold_each(struct br_repo *repo, br_hold_fn *fn, void *ctx, struct br_err *reterr);

#endif
