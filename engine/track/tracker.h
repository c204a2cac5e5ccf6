// SPDX-License-Identifier: Apache-2.0
//
// A tracker knows what changed on a volume since a mark. A consumer (one replica, one repository) has a mark for the version that it
// holds; the engine asks for what may differ from that version in the frozen view that it reads now, and tells the tracker which version
// that view becomes. Behind the vtable are dm-snapshot, dm-era, thin pools; a plain scan has no tracker at all.
//
//     changed(V1) --> read, compare, ship --> mark(V2), durable --> the replica commits --> settle(V2)
//
// Between mark and settle the marks of V1 and V2 are both kept: which of them counts is what the replica says it holds, so a crash at any
// instant costs nothing. A run that fails before its mark leaves nothing but the view, which is its caller's.
//
// Some also still have what the volume held at the mark, and let a run compare with it where hashes are lost.
//
// What a tracker may never do is to under-report (G3). When it can't prove that it saw every write since the mark it says why, and the run
// becomes a full compare. And it is not believed: every run hashes a rolling share of what it called unchanged (engine/pipe/scope.h).
#ifndef BR_TRACK_TRACKER_H
#define BR_TRACK_TRACKER_H

#include "engine/base/uuid.h"
#include "engine/map/extent_map.h"
#include "engine/ring/ring.h"

struct br_tracker_ops {
    /**
     * changed - what of the view that this run reads may differ from version @version
     * @map         empty; ranges are added, in bytes of the volume; what lies behind the volume's end is ignored
     * @ret_reason  set when 0 is returned: a word for the exit object and the audit log ("no-mark", "rebooted-without-tracker", ...),
     *              static or the tracker's own
     * Returns 1 when the ranges are complete and continuity is proven; 0 when everything must be compared
     * Errors: only those that no full compare would help against; a damaged or missing map is a reason, not an error
     */
    int (*changed)(void *ctx, const struct br_uuid *version, struct br_extent_map *map, const char **ret_reason,
                   struct br_err *reterr);
    /**
     * mark - the view of this run is what @consumer will hold as @version; durable when it returns 0; other marks stay
     * @consumer  the replica's uuid; for a stream the volume's own
     */
    int (*mark)(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version, struct br_err *reterr);
    /**
     * settle - @consumer durably holds @version: its other marks may go
     * What can't be cleaned up now is cleaned up by the next run.
     */
    void (*settle)(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version);
    /**
     * distrust - it said that the block at @offset_bytes had not changed, and it had
     * Durable; changed() answers 0 for every mark there is now, for all consumers.
     */
    int (*distrust)(void *ctx, uint64_t offset_bytes, struct br_err *reterr);
    /**
     * old - open the volume as it was at the mark of @version; NULL: this tracker keeps no old data
     * Asked after changed() answered 1, and only when hashes of the version's pages are lost. Whoever reads it proves each block by the
     * version's hash before it is used: it may fail, end early or turn out to be something else at any time, and costs bytes then, no truth.
     * @ret_file  of the run's ring; the caller's, who closes it before the run marks its view
     * Returns 1; 0 there is none (any more)
     */
    int (*old)(void *ctx, const struct br_uuid *version, struct br_file **ret_file);
};

struct br_tracker {
    const char *name; // "cow", "era", "thin"
    const struct br_tracker_ops *ops;
    void *ctx;
    const volatile bool
        *old_unwanted; // true: what old() opened holds on to what is needed, and is to be closed soon; NULL: never
};

#endif
