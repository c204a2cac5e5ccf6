// SPDX-License-Identifier: Apache-2.0
//
// What one run reads of its source: everything, or what a tracker names. And the source's half of the rolling recheck (G3): a share of the
// blocks that the tracker calls unchanged is read from the same view and compared with the version that they should be of, before
// anything is shipped. One difference, and everything is read.
//
//     whole volume   [----changed----][--called unchanged--------------------------------][changed]
//     recheck                                    [..next, budget..)                                   wraps at the end: a round
#ifndef BR_PIPE_SCOPE_H
#define BR_PIPE_SCOPE_H

#include "engine/pipe/pipe.h"
#include "engine/track/tracker.h"

struct br_scope {
    const struct br_tracker *tracker; // NULL: scan
    struct br_uuid version;           // that the tracker was asked about
    bool narrowed;                    // false: everything is read
    struct br_extent_map changed;     // narrowed: what the tracker named, and what the version itself says is not known
    const char *reason;               // why not narrowed although there is a tracker; NULL
    bool caught;                      // the recheck found a difference
    uint64_t caught_offset_bytes;
    uint64_t recheck_bytes;      // that were read
    uint64_t recheck_next_block; // where the next run goes on
    bool recheck_round;          // the volume's end was passed: every block was proven since the round began
};

/**
 * br_scope_open - ask the tracker, if there is one
 * @pipe        parent, its store and size of the run to come; the rest is not looked at
 * @version     generation id of the parent version; NULL: the parent is none that a mark can belong to, everything is read
 * @unreadable  the parent has UNREADABLE leaves: they are read again whatever the tracker says
 * Owner: release with br_scope_close(), also after a failure
 */
BR_MUST_CHECK int br_scope_open(struct br_scope *scope, const struct br_tracker *tracker,
                                const struct br_pipe_params *pipe, const struct br_uuid *version, bool unreadable,
                                struct br_err *reterr);
/** br_scope_close - frees the map; a zeroed struct is fine */
void br_scope_close(struct br_scope *scope);
/**
 * br_scope_recheck - read the next share of what is called unchanged and compare it with the parent
 * @pipe          of the run to come: ring, source, size, parent, stores, secret, cancel are used
 * @next_block    where the last run's recheck stopped
 * @budget_bytes  how much to read; holes of the source count as read
 * On a difference: the tracker is told to distrust itself, `caught` is set, and the scope is no longer narrowed. Not narrowed: no effect.
 * Errors: those of br_pipe_run(), and of distrust
 */
BR_MUST_CHECK int br_scope_recheck(struct br_scope *scope, const struct br_pipe_params *pipe, uint64_t next_block,
                                   uint64_t budget_bytes, struct br_err *reterr);
/** br_scope_changed - for the run's br_pipe_params.changed: NULL reads everything */
const struct br_extent_map *br_scope_changed(const struct br_scope *scope);
/** br_scope_old - for the run's br_pipe_params.old: what the tracker still has of the version; valid while the scope is open */
struct br_old_source br_scope_old(struct br_scope *scope);

#endif
