// SPDX-License-Identifier: Apache-2.0
//
// What this host saw of a repository last: of each volume the newest point (counter, id, SHA-256 of its object), and how many epochs there were.
// Whoever keeps the repository can't make points, nor read them; he could show an older state of all of it, which proves itself as well as
// the new one. Then the point that was seen last is not there, and that is noticed here (DESIGN, G7).
//
// The point seen last may rightly be gone when there are newer ones: a prune leaves the newest. Then what follows it directly, if that is
// there, must name it as the one before (`previous` in a point). A point of the same counter in its place, a newest one that is older, another
// object under its name, or one that can't be read: told as a rollback.
//
//     VOLUME   one file of text each: counter=N point=UUID hash=HEX
//     epochs   the highest that was seen
//
// Not promised: a rollback to a state that this host never saw the end of (nothing was remembered, or it lost its state folder), or that another
// host's newer points cover whose links were pruned.
#ifndef BR_REPO_HEADS_H
#define BR_REPO_HEADS_H

#include "engine/repo/repo.h"

struct br_head {
    struct br_uuid volume;
    struct br_uuid point;
    uint64_t counter;
    struct br_hash hash;
};

/** br_heads_note - the newest point of its volume that was seen; durable. One that is known with a higher counter stays. */
BR_MUST_CHECK int br_heads_note(struct br_dir *dir, const struct br_head *head, struct br_err *reterr);
/** br_heads_learn - note the newest of each volume among these points, and the epoch; those that are noted cost nothing */
BR_MUST_CHECK int br_heads_learn(struct br_dir *dir, struct br_repo *repo, const struct br_point *points, size_t count,
                                 struct br_err *reterr);
/** br_heads_fn - told of a rollback, in words; @volume nil: of the whole repository */
typedef void br_heads_fn(void *ctx, const struct br_uuid *volume, const char *what);
/**
 * br_heads_check - does the repository show all that was seen?
 * @accept  what is told is forgotten: what the repository shows now counts from now on
 * Returns the number of rollbacks told. Errors: of a store that can't be asked (br_store_is_lost()), of @dir
 */
BR_MUST_CHECK int br_heads_check(struct br_dir *dir, struct br_repo *repo, bool accept, br_heads_fn *fn, void *ctx,
                                 struct br_err *reterr);

#endif
