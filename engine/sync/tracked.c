// SPDX-License-Identifier: Apache-2.0
#include "engine/sync/tracked.h"

#include "engine/base/units.h"

uint64_t br_recheck_budget(const struct br_identity *identity, uint64_t bytes_changed, uint64_t now_unix_ns,
                           uint64_t period_ns)
{
    uint64_t volume_bytes = identity->tree.geometry.size_bytes;
    uint64_t done_bytes = BR_MIN(identity->recheck_next_block * BR_BLOCK_BYTES, volume_bytes);
    uint64_t left_bytes = volume_bytes - done_bytes;
    uint64_t began = identity->recheck_round_unix_ns ? identity->recheck_round_unix_ns : identity->finished_unix_ns;
    uint64_t budget = BR_MAX(BR_RECHECK_BYTES_MIN, bytes_changed);
    uint64_t passed_ns = now_unix_ns > began ? now_unix_ns - began : 0;
    uint64_t step_ns = now_unix_ns > identity->finished_unix_ns ? now_unix_ns - identity->finished_unix_ns : 0;

    if (!period_ns) {
        period_ns = BR_RECHECK_PERIOD_DEFAULT_NS;
    }
    // The next runs are taken to come as this one did after the last.
    uint64_t left_ns = passed_ns < period_ns ? period_ns - passed_ns : 0;
    uint64_t runs = left_ns / BR_MAX(step_ns, BR_NS_PER_S);
    budget = BR_MAX(budget, left_bytes / BR_MAX(runs, UINT64_C(1)));
    return BR_MIN(budget, volume_bytes);
}

// Where the round stands, as the record of the version before says.
static struct br_identity br_tracked_round(const struct br_source *source)
{
    struct br_identity none = {.state = BR_STATE_NONE};

    return source ? *br_source_identity(source) : none;
}

int br_tracked_open(struct br_scope *scope, const struct br_tracked_params *params, const struct br_pipe_params *pipe,
                    struct br_tracked_result *ret_result, struct br_err *reterr)
{
    struct br_identity round = br_tracked_round(params->source);
    uint64_t budget = params->recheck_bytes;

    *ret_result = (struct br_tracked_result){0};
    int rc = br_scope_open(scope, params->tracker, pipe, params->version, params->unreadable, reterr);
    if (rc < 0) {
        return rc;
    }
    ret_result->bytes_named = br_extent_map_bytes(&scope->changed);
    if (budget == BR_RECHECK_DEFAULT) {
        round.tree = *pipe->parent;
        round.finished_unix_ns = BR_MAX(round.finished_unix_ns, params->finished_unix_ns);
        budget =
            br_recheck_budget(&round, ret_result->bytes_named, br_ring_unix_ns(pipe->ring), params->recheck_period_ns);
    }
    rc = br_scope_recheck(scope, pipe, round.recheck_next_block, budget, reterr);
    ret_result->reason = scope->reason;
    ret_result->bytes_rechecked = scope->recheck_bytes;
    ret_result->caught = scope->caught;
    ret_result->caught_offset_bytes = scope->caught_offset_bytes;
    return rc;
}

void br_tracked_record(const struct br_scope *scope, const struct br_source *source, uint64_t now_unix_ns,
                       struct br_identity *identity)
{
    struct br_identity round = br_tracked_round(source);
    bool whole = !scope->narrowed || scope->recheck_round;

    identity->full_proof_unix_ns = whole ? now_unix_ns : round.full_proof_unix_ns;
    identity->recheck_round_unix_ns = whole ? now_unix_ns : round.recheck_round_unix_ns;
    identity->recheck_next_block = scope->narrowed ? scope->recheck_next_block : 0;
}

int br_tracked_mark(const struct br_tracker *tracker, const struct br_uuid *consumer, const struct br_uuid *version,
                    struct br_err *reterr)
{
    return tracker ? tracker->ops->mark(tracker->ctx, consumer, version, reterr) : 0;
}

void br_tracked_settle(const struct br_tracker *tracker, const struct br_uuid *consumer, const struct br_uuid *version)
{
    if (tracker) {
        tracker->ops->settle(tracker->ctx, consumer, version);
    }
}
