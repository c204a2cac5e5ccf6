// SPDX-License-Identifier: Apache-2.0
//
// The frozen view that a run reads of an attached volume, and the volume's tracker for that run. A view is a snapshot: one made for the
// run, or a user's. While it is open a thread tends its store.
//
// With tracker cow and thin the view that became a version is held as that version's mark, and is also what the volume's old data is read
// from where page hashes are lost; with era it goes when the run ends.
#ifndef BR_TOOLS_VOLUME_VIEW_H
#define BR_TOOLS_VOLUME_VIEW_H

#include <pthread.h>

#include "engine/codec/delta.h"
#include "engine/track/tracker.h"
#include "tools/volume/volume.h"

struct volume_view {
    struct volume volume;
    struct br_ring *ring;
    struct volume_snapshot snapshot; // as it was when it was opened
    bool user;                       // a user's: it stays
    struct br_uuid chain;            // that the view was taken in
    struct br_file *file;
    uint64_t size_bytes;
    uint32_t sector_bytes;
    char reason[64];                // of the last full compare, for the tracker's caller
    struct dmh_window_done *window; // what taking it took; zero for a user's
    struct br_tracker tracker;

    pthread_t tender;
    bool tender_runs;
    volatile bool tender_stop;
    volatile bool overflowed;
    volatile bool old_unwanted; // a snapshot is to make room, perhaps the mark's: the run must not hold that open
    char tender_problem[160];   // why the store could not grow; read when the thread has ended
};

/**
 * view_open - take the view of volume @name, or use its user's snapshot @snapshot (NULL none)
 * Views of runs that died are dropped first, and snapshots that no mark needs.
 * Owner: view_close(), also after a failure    Errors: -BR_E_NOT_FOUND; -BR_E_NO_SPACE; those of the window (dm-helper/client.h)
 */
BR_MUST_CHECK int view_open(struct cli *cli, struct br_ring *ring, const char *name, const char *snapshot,
                            struct volume_view *ret_view, struct br_err *reterr);
/** view_close - drops the snapshot unless it is a user's or a mark's */
void view_close(struct volume_view *view);
/**
 * view_check - is the view still what it was? For struct br_sync_params' source_check; @ctx is the view
 * Errors: -BR_E_NO_SPACE its store overflowed: nothing that was read of it since counts
 */
BR_MUST_CHECK int view_check(void *ctx, struct br_err *reterr);
/**
 * view_forget - the consumer is no more: drop its marks on every attached volume, and the snapshots that were held for them alone
 * Goes on after a volume that fails; what could not be removed now goes with the volume's next run. Returns the first error.
 */
BR_MUST_CHECK int view_forget(struct cli *cli, const struct br_uuid *consumer, struct br_err *reterr);
/** view_consistency - what the version that is read from it is */
enum br_consistency view_consistency(const struct volume_view *view);

#endif
