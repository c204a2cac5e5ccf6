// SPDX-License-Identifier: Apache-2.0
//
// The two ends of a copy as verbs open them: a source that was looked at, watched and may be asked whether it moved (G1), and a target that
// was looked at before anything that writes was opened (G8), as an endpoint.
#ifndef BR_TOOLS_ENDS_H
#define BR_TOOLS_ENDS_H

#include "engine/replica/replica.h"
#include "engine/sync/endpoint.h"
#include "engine/sync/sync.h"
#include "tools/place.h"

struct source_end {
    struct place place;
    struct volume_view *view; // of an attached volume: what is read; NULL: the object itself is read
    struct br_guard_watch watch;
    struct br_replica *replica; // what SOURCE.blkrep says of it as a replica; never NULL after opening
    bool live;                  // --live-source
    struct cli *cli;            // of source_end_open()
    const char *word;           // that named it
};

/**
 * source_end_open - open the source that @word names: a file, a device, an attached volume (its name, its device, /dev/mapper/NAME), or a
 * snapshot of one (NAME@SNAPSHOT)
 * Of an attached volume a view is taken, also for a dry run.
 * @look  for dry runs: nothing is made beside it
 * Reads the "live-source" option. Errors: -BR_E_NOT_FOUND -BR_E_USAGE a remote source
 * Owner: source_end_close(), also after a failure
 */
BR_MUST_CHECK int source_end_open(struct cli *cli, struct br_ring *ring, const char *word, bool look,
                                  struct source_end *ret_end, struct br_err *reterr);
/** source_end_open_live - the same, to look alone, for who proves each block that it reads: it may change meanwhile, and no option is read */
BR_MUST_CHECK int source_end_open_live(struct cli *cli, struct br_ring *ring, const char *word,
                                       struct source_end *ret_end, struct br_err *reterr);
/**
 * source_end_is_not - refuse the target that @word names when it is the source's bytes by another name (-BR_E_SAME_OBJECT)
 * Asked first: a loop device over the source would else be blamed as its writer.
 */
BR_MUST_CHECK int source_end_is_not(struct cli *cli, const struct source_end *end, const char *word,
                                    struct br_err *reterr);
/** source_end_guard - can something change it while it is read? -BR_E_SOURCE_IN_USE; not asked with --live-source, nor of a view */
BR_MUST_CHECK int source_end_guard(const struct source_end *end, struct br_err *reterr);
/** source_end_check - has the source moved since it was opened? For struct br_sync_params' source_check; @ctx is the source_end */
BR_MUST_CHECK int source_end_check(void *ctx, struct br_err *reterr);
/** source_end_consistency - what the caller can vouch for: of a view what the window found, of an object that nobody writes clean */
enum br_consistency source_end_consistency(const struct source_end *end);
/** source_end_tracker - of an attached volume; NULL: everything is read */
const struct br_tracker *source_end_tracker(const struct source_end *end);
/** source_end_window_ns - how long writes waited for the view; 0 without one */
uint64_t source_end_window_ns(const struct source_end *end);
/** source_end_recheck_period - how soon every block must be proven anew: the setting of the volume's section, or the default */
BR_MUST_CHECK int source_end_recheck_period(const struct source_end *end, uint64_t *ret_ns, struct br_err *reterr);
/**
 * source_end_params - a run of br_sync_run() from this source, as the options that sync and backup share ask for it
 * What is the target's, --force-full and --bwlimit among it, stays zero for the caller to fill. @end must outlive the run.
 */
BR_MUST_CHECK int source_end_params(struct source_end *end, struct br_ring *ring, struct br_sync_params *ret_params,
                                    struct br_err *reterr);
/** source_end_report - the fields that reports of sync and backup share, of how the source was read; also of one that was never opened */
void source_end_report(struct cli *cli, const struct source_end *end, const struct br_sync_result *result);
/**
 * source_end_blame - what a failed run failed of: a view whose store overflowed gives read errors, which are not the disk's
 * Returns @error, or what replaces it
 */
int source_end_blame(struct source_end *end, int error, struct br_err *reterr);
/** source_end_identity - its record as a replica, NULL when it is none */
const struct br_identity *source_end_identity(const struct source_end *end);
/** source_end_close - @undo: remove the folder of its state again, if opening made it and nothing was put there */
void source_end_close(struct source_end *end, bool undo);

struct target_end {
    struct place_address address;
    struct place place; // of a local one
    struct br_endpoint endpoint;
    char name[PLACE_NAME_BYTES]; // real path or full address
};

/**
 * target_end_open - open the replica that @word names, here or behind a server
 * @look  for dry runs: read only, nothing is made
 * Owner: target_end_close(), also after a failure
 */
BR_MUST_CHECK int target_end_open(struct cli *cli, struct br_ring *ring, const char *word, bool look,
                                  struct target_end *ret_end, struct br_err *reterr);
/** target_end_confirm - ask before a device's foreign content is lost (--overwrite, --yes) */
BR_MUST_CHECK int target_end_confirm(struct cli *cli, const struct target_end *end, struct br_err *reterr);
/** target_end_close - @undo: remove again what opening made, if nothing became of it */
void target_end_close(struct target_end *end, bool undo);

#endif
