// SPDX-License-Identifier: Apache-2.0
//
// Removing recovery points, and the packs that no point needs any more, beside running backups (engine/repo/lease.h says how).
//
// Order, each step durable before the next: points removed; leases whose run is dead given up; packs that are half empty written anew; a list of
// doomed packs; lists, leases, packs and points looked at anew; packs deleted; the list removed. A cut anywhere leaves every point that was to
// stay whole, and at most packs that nothing needs; the next prune takes it from there.
#ifndef BR_REPO_PRUNE_H
#define BR_REPO_PRUNE_H

#include "engine/base/units.h"
#include "engine/repo/lease.h"

#define BR_PRUNE_GRACE_NS   (UINT64_C(7) * 24 * 3600 * BR_NS_PER_S)
#define BR_PRUNE_SWEEP_NS   (UINT64_C(3600) * BR_NS_PER_S) // a half written object that is younger may be somebody's
#define BR_PRUNE_UNUSED_MAX 10u                            // percent

struct br_prune_progress {
    const char *phase; // "points", "needs", "repack", "delete"
    uint64_t done;
    uint64_t total;
};

struct br_prune_params {
    struct br_repo *repo;
    const struct br_point *remove; // these points: volume and id count
    size_t remove_count;
    uint64_t grace_ns; // a lease that is older is given up: its run fails when it wants to commit
    unsigned
        unused_max; // percent of what is stored that may be unused chunks in packs that are needed; above it packs are written anew
    bool dry_run;     // change nothing; the result says what would be
    const char *host; // for tombstones and lists
    int level;        // of zstd, for packs that are written anew
    /** note - something that people should know, in words; NULL none */
    void (*note)(void *ctx, const char *what);
    void (*progress)(void *ctx, const struct br_prune_progress *progress); // NULL none
    void *ctx;
    const volatile bool *cancel; // NULL never
};

struct br_prune_result {
    uint64_t points_removed;
    uint64_t points_kept;
    uint64_t runs_given_up;   // leases
    uint64_t runs_waited_for; // leases that keep packs from being deleted now
    uint64_t packs_deleted;
    uint64_t bytes_deleted;
    uint64_t packs_repacked; // of the deleted
    uint64_t bytes_repacked; // that they came to, anew
    uint64_t packs_waiting;  // doomed, for a run to end
    uint64_t bytes_waiting;
    uint64_t bytes_swept; // half written objects of killed writers
    uint64_t packs_left;
    uint64_t bytes_left;
    uint64_t bytes_unused; // of these, about, in chunks that nothing needs
};

/**
 * br_prune - @ret_result is filled in also when it fails
 * The ring needs buffers of 1 MiB and workers.
 * Errors: -BR_E_CORRUPT, -BR_E_NOT_FOUND: a point is damaged, or its tree is, so that what it needs is not known (it may be among those to be
 * removed); -BR_E_CANCELLED; those of store and index
 */
BR_MUST_CHECK int br_prune(const struct br_prune_params *params, struct br_prune_result *ret_result,
                           struct br_err *reterr);

#endif
