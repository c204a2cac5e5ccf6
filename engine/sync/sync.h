// SPDX-License-Identifier: Apache-2.0
//
// One sync as the source's side runs it: plan, scan, commit, verify. The same decisions for a replica in this process, behind a session
// and under the simulator, because the far end is an endpoint and all else is the ring's.
//
//     plan     who is the replica, what do both sides know of it, what may be done to it           nothing is changed
//     copy     our state of it is lost or stale: copy the replica's tree nodes (0.05 % of the volume)
//     scan     read the source, compare with the replica's version, ship what differs              (engine/pipe/pipe.h)
//              what is read is what the tracker names, after its rolling recheck                   (engine/pipe/scope.h)
//     commit   source unmoved? own tree durable -> pending record -> the replica commits, applies, rechecks -> record
//     verify   on request: read both sides whole
//
// What the plan says, by what the replica is:
//
//     NONE, empty                        FIRST
//     NONE, not empty                    TARGET_FOREIGN, or FIRST with overwrite
//     another volume's replica           TARGET_FOREIGN, or with overwrite REPLACE (file) or FIRST (device)
//     INCOMPLETE, this volume            FIRST, shipping only what the replica does not have yet
//     COMPLETE, this volume              DELTA from its version
//     COMPLETE, force_full or distrusted REPLACE (file); FIRST in place (device), which needs overwrite, since the old version is lost
//
// A delta that was cut is gone on with from what the far end holds of it: the scan compares each changed block with that, and what is just
// the same is kept there instead of being shipped. It is another delta all the same, of a new view.
//
// A delta without changes makes no new version unless it betters the consistency; its recheck runs and counts all the same.
#ifndef BR_SYNC_SYNC_H
#define BR_SYNC_SYNC_H

#include "engine/pipe/pipe.h"
#include "engine/sync/endpoint.h"
#include "engine/sync/tracked.h"

enum br_sync_phase {
    BR_SYNC_PLAN,
    BR_SYNC_COPY,
    BR_SYNC_SCAN,   // position and durable bytes move
    BR_SYNC_COMMIT, // the far end checks, commits, applies and rechecks
    BR_SYNC_VERIFY, // position moves over source, then replica: 2 x size
};
/** br_sync_phase_name - "plan", "copy", "scan", "commit", "verify" */
const char *br_sync_phase_name(enum br_sync_phase phase);

struct br_sync_progress {
    enum br_sync_phase phase;
    uint64_t size_bytes;     // what position_bytes runs to in this phase, 0 not known
    uint64_t position_bytes; // holes included
    uint64_t bytes_read;
    uint64_t bytes_changed;
    uint64_t bytes_shipped; // data handed over
    uint64_t bytes_durable; // of them durable at the far end
    uint64_t bytes_resumed; // not shipped, because a run that was cut had shipped them
    uint64_t elapsed_ns;
};

struct br_sync_params {
    struct br_ring *ring; // with buffers of 1 MiB and workers
    struct br_file *source;
    uint64_t size_bytes; // of the source, as the caller saw it when it opened it
    uint32_t sector_bytes;
    enum br_consistency consistency; // what the caller can vouch for
    const char *label;               // the source's name for people and messages
    struct br_dir *dir;              // SOURCE.blkrep/; NULL only with dry_run, when there is none
    // What SOURCE.blkrep/identity says when the source is itself a replica; NULL when it is none. Swapped arguments and a source in
    // transition are refused by it.
    const struct br_identity *source_identity;
    struct br_endpoint endpoint; // the caller closes it
    // Tells what may differ in the source from the replica's version, and holds this consumer's marks; NULL: all is read and compared.
    const struct br_tracker *tracker;

    bool force_full; // make the whole replica anew
    bool overwrite;  // the user accepts the loss of what is there
    bool verify;
    bool dry_run; // read and compare, change nothing anywhere
    bool always;  // make a version also when nothing differs: a recovery point says that nothing did
    bool continue_on_read_error;
    uint64_t recheck_bytes;     // BR_RECHECK_DEFAULT, or a budget; 0 none
    uint64_t recheck_period_ns; // 0: 30 days
    uint64_t bytes_per_second;  // 0: no limit

    const volatile bool *cancel; // NULL: never
    /** source_check - called between scan and commit: 0 the source did not move; -BR_E_SOURCE_MOVED gives the run up; NULL: can't tell */
    int (*source_check)(void *ctx, struct br_err *reterr);
    void *source_check_ctx;
    /** progress - at each change of phase and at most ten times a second; NULL none */
    void (*progress)(void *ctx, const struct br_sync_progress *progress);
    void *progress_ctx;
};

// What the exit object says. Times are nanoseconds.
struct br_sync_result {
    const char *tracker; // "scan", or the tracker's name
    const char *
        fallback_reason; // why all was compared or copied; NULL: a delta from what both sides knew. "first-copy", "state-lost",
    // "replica-moved", "recheck-mismatch", "forced", or the tracker's own word (then valid as long as it)
    enum br_replica_mode mode;
    bool resumed;       // went on with an unfinished first copy, or with what was staged of a delta
    bool new_version;   // false: the replica is what it was
    bool dry_run;       // nothing was changed; the numbers say what would have been
    bool may_write;     // false: the far end would not let this client make the version
    bool target_is_new; // there was no replica before
    enum br_consistency consistency;
    struct br_uuid volume;
    struct br_uuid replica;          // nil in a dry run onto nothing
    struct br_generation generation; // that the replica has now, counter 0 none; after a failure as far as known
    struct br_hash root;             // of it, all zero bytes none; after a dry run of the source's view
    struct br_hash parent_root;      // all zero bytes when there was none
    uint64_t size_bytes;
    uint64_t bytes_read;    // from the source
    uint64_t bytes_old;     // from what the tracker still had of the parent, where page hashes were lost
    uint64_t bytes_changed; // pages that differ
    uint64_t zero_bytes;    // became zero
    uint64_t bytes_shipped; // data that the wire took, packed and framed; of a local replica, data
    uint64_t bytes_data;    // data handed over, before any transport
    uint64_t
        bytes_resumed; // not shipped, because a run that was cut had shipped them: of a delta data, of a first copy whole blocks
    uint64_t bytes_durable;
    uint64_t bytes_written; // to the replica itself
    uint64_t bytes_rechecked;
    uint64_t recheck_mismatches;
    struct br_tracked_result tracked;
    uint64_t unreadable_blocks; // in this version; > 0: exit status 8
    bool verified;
    uint64_t verify_bad_blocks;
    uint64_t full_proof_unix_ns;    // when every block of the replica was last proven, 0 never
    uint64_t taken_unix_ns;         // when the source's view began to be read
    uint64_t version_taken_unix_ns; // the same of the version that the replica has now; 0 not known
    uint64_t duration_ns;
    uint64_t scan_ns;   // of it
    uint64_t commit_ns; // of it
};

/**
 * br_sync_run - bring the replica behind the endpoint to the source's content
 * @result  filled in as far as known, also when it fails (a recheck mismatch is told there)
 * Returns 0 when the replica durably is the source's view (dry run: when it was compared).
 * Errors: -BR_E_TARGET_FOREIGN -BR_E_TARGET_SMALL -BR_E_SWAPPED -BR_E_BUSY -BR_E_TRANSITION before anything is changed;
 *         -BR_E_SOURCE_READ -BR_E_SOURCE_MOVED -BR_E_CANCELLED: the replica is at its old version, a first copy keeps its facts;
 *         -BR_E_VERIFY recheck or verify found differing blocks; what the endpoint says
 * A connection lost in the commit leaves the outcome open: the next run finds out.
 */
BR_MUST_CHECK int br_sync_run(const struct br_sync_params *params, struct br_sync_result *result,
                              struct br_err *reterr);

#endif
