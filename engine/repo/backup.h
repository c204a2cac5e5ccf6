// SPDX-License-Identifier: Apache-2.0
//
// A repository as the far end of a sync (engine/sync/endpoint.h): the volume's newest point is the version that its next run starts from, and a
// commit makes a point. So a backup plans, scans, tracks and rechecks as a sync does, and keeps the same state beside its source.
//
// What a run changed of a block is laid over the block that is stored, as long as that is cheaper than the block: an overlay always has a whole
// block below it, so that reading one block takes two chunks at most, after any number of runs.
//
// What a point is compared with is its parent, and in its domain: the newest one, of a differential the newest full one, or the one that is asked
// for. It makes no difference for who reads it: every point is whole.
//
// A run that is cut leaves no point. What it had stored in whole packs is found by the next one, and is not stored again.
#ifndef BR_REPO_BACKUP_H
#define BR_REPO_BACKUP_H

#include "engine/repo/writer.h"
#include "engine/sync/endpoint.h"

struct br_backup_params {
    struct br_repo *repo;
    struct br_uuid volume;       // nil: not known yet, there are no points of it
    struct br_uuid first_domain; // of a volume that has no point
    struct br_uuid domain;       // where the point's ids are to be; nil: its parent's
    struct br_uuid
        parent; // the point of the volume to compare with, which must be there; nil: the newest (DIFFERENTIAL: full) one
    struct br_uuid parent_as;  // the id that the other side knows it by; nil: its own
    bool given;                // the point's id is given, and not drawn for this run (lease.h)
    bool alone;                // it is compared with none
    enum br_point_type type;   // DIFFERENTIAL without a full one before: see br_backup_type()
    const struct br_point *as; // NULL, or: the point is a copy of this one of another repository, whose facts it keeps
    const struct br_repair *repair; // NULL, or: store what is missing of @as, which is there, and make no point
    bool renew;                     // with @repair: then put @as in the place of its object, which is damaged
    const char *host;
    const char *tracker;
    const char *const *tags; // NULL-terminated; NULL none
    int level;               // of zstd
    uint64_t pack_bytes;     // 0: BR_PACK_TARGET_BYTES
};

/** br_backup_open - the repository and what @params points to must outlive the endpoint */
BR_MUST_CHECK int br_backup_open(const struct br_backup_params *params, struct br_endpoint *ret_endpoint,
                                 struct br_err *reterr);
/**
 * br_backup_type - what the run makes: FULL instead of DIFFERENTIAL where the volume has no full point yet
 * br_backup_anew - the run must be a full copy (force_full): the point is FULL, or in another domain than what it would be compared with
 */
enum br_point_type br_backup_type(const struct br_endpoint *endpoint);
bool br_backup_anew(const struct br_endpoint *endpoint);
/**
 * br_backup_whole - is everything there that the point to compare with needs? Looked at when packs went away, or the index was made anew, since
 * it was looked at last.
 * Returns 1 yes, or there is no point; 0 no: the run must be a full one (force_full), which stores what is missing
 */
BR_MUST_CHECK int br_backup_whole(const struct br_endpoint *endpoint, struct br_err *reterr);
/**
 * br_backup_held - is a block with this leaf there already, in the domain of the run under way, so that br_backup_keep() takes it? 1 or 0
 * br_backup_keep - blocks that are, in their order among batches and runs; -BR_E_NOT_FOUND one is not
 */
BR_MUST_CHECK int br_backup_held(const struct br_endpoint *endpoint, const struct br_hash *leaf, struct br_err *reterr);
BR_MUST_CHECK int br_backup_keep(const struct br_endpoint *endpoint, const struct br_keep *keep, struct br_err *reterr);
/** br_backup_point - the point that the last commit made; NULL none */
const struct br_point *br_backup_point(const struct br_endpoint *endpoint);
/** br_backup_counts - of the run under way, or the last one */
struct br_writer_counts br_backup_counts(const struct br_endpoint *endpoint);

#endif
