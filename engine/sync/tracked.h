// SPDX-License-Identifier: Apache-2.0
//
// What sync and send have in common when a tracker narrows what they read: the question, the source's half of the rolling recheck and
// where its round stands (in the source's record, engine/sync/source.h), the marks.
#ifndef BR_SYNC_TRACKED_H
#define BR_SYNC_TRACKED_H

#include "engine/pipe/scope.h"
#include "engine/sync/source.h"

#define BR_RECHECK_DEFAULT           UINT64_MAX // "recheck_bytes": let the rule of G3 decide
#define BR_RECHECK_BYTES_MIN         (UINT64_C(64) << 20)
#define BR_RECHECK_PERIOD_DEFAULT_NS (UINT64_C(30) * 24 * 3600 * 1000000000)

struct br_tracked_params {
    const struct br_tracker *tracker; // NULL: scan
    const struct br_source *source;   // whose record says where the round stands; NULL: none
    const struct br_uuid *version;    // generation id of the parent; NULL: no version that a mark can belong to
    bool unreadable;                  // the parent has unreadable blocks
    uint64_t finished_unix_ns;        // when the parent became complete
    uint64_t recheck_bytes;           // BR_RECHECK_DEFAULT, or a budget; 0 none
    uint64_t recheck_period_ns;       // 0: 30 days
};

struct br_tracked_result {
    const char *reason;       // why all is read although there is a tracker; NULL: it is not, or there is none
    uint64_t bytes_named;     // what the tracker said may have changed, in whole blocks
    uint64_t bytes_rechecked; // of what it called unchanged
    bool caught;              // one of these blocks had changed: the tracker was told to distrust itself, all is read
    uint64_t caught_offset_bytes;
};

/**
 * br_tracked_open - ask the tracker, check a share of what it calls unchanged
 * @pipe        of the run to come
 * @ret_result  filled in as far as known, also on failure
 * Owner: br_scope_close() the scope, also after a failure    Errors: those of br_scope_open() and br_scope_recheck()
 */
BR_MUST_CHECK int br_tracked_open(struct br_scope *scope, const struct br_tracked_params *params,
                                  const struct br_pipe_params *pipe, struct br_tracked_result *ret_result,
                                  struct br_err *reterr);
/** br_tracked_record - the round's fields of the record that the run will leave: all was proven, or the next share */
void br_tracked_record(const struct br_scope *scope, const struct br_source *source, uint64_t now_unix_ns,
                       struct br_identity *identity);
/** br_tracked_mark, br_tracked_settle - the tracker's own (engine/track/tracker.h); without one nothing */
BR_MUST_CHECK int br_tracked_mark(const struct br_tracker *tracker, const struct br_uuid *consumer,
                                  const struct br_uuid *version, struct br_err *reterr);
void br_tracked_settle(const struct br_tracker *tracker, const struct br_uuid *consumer, const struct br_uuid *version);

/**
 * br_recheck_budget - how many bytes of the replica this run must prove anew (G3)
 * The larger of 64 MiB, @bytes_changed and the share of what is left of this round that keeps the round within @period_ns; never more
 * than the volume. Clocks that jumped (@now_unix_ns before the round began) count as no time passed.
 */
uint64_t br_recheck_budget(const struct br_identity *identity, uint64_t bytes_changed, uint64_t now_unix_ns,
                           uint64_t period_ns);

#endif
