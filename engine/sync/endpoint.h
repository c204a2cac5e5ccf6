// SPDX-License-Identifier: Apache-2.0
//
// The far end of a sync as the source sees it: a replica in this process, or one behind a session with blkrep serve. The source's side
// (engine/sync/sync.h) knows only this vtable, so that simulation, local and remote sync run the same decisions.
#ifndef BR_SYNC_ENDPOINT_H
#define BR_SYNC_ENDPOINT_H

#include "engine/replica/replica.h"

// What the far end says about its replica.
struct br_endpoint_info {
    struct br_identity identity; // state NONE when there is none; evidence and stage fields are not transmitted
    uint64_t capacity_bytes;     // largest volume that fits: UINT64_MAX for a growable file, else the device's size
    bool is_block;
    bool empty;            // NONE, and the target is new or an empty file
    bool zero;             // the target reads as zeros (new or empty file)
    char holds[128];       // what libblkid or a look found on a foreign target, "" when nothing
    struct br_uuid origin; // the volume that the target itself is the source of (its `volume` record); nil: none known
    bool may_write;        // this client may make versions there, and
    bool may_replace;      // give up what is there; both true of a local one
};

/** br_endpoint_loses - does a delta of @mode to @volume give up what is there and is not this volume's? (G8) */
static inline bool br_endpoint_loses(const struct br_endpoint_info *info, enum br_replica_mode mode,
                                     const struct br_uuid *volume)
{
    enum br_replica_state state = info->identity.state;
    bool ours = state != BR_STATE_NONE && br_uuid_equal(&info->identity.volume, volume);

    if (mode == BR_MODE_FIRST) {
        return !(state == BR_STATE_NONE && info->empty) && !(state == BR_STATE_INCOMPLETE && ours);
    }
    return mode == BR_MODE_REPLACE && !ours && !info->empty;
}

struct br_endpoint_ops {
    /**
     * info - the replica's identity and the target's facts; finishes a pending transition first
     * Also called while a first copy is under way, to learn the id that begin gave the replica.
     */
    int (*info)(void *ctx, struct br_endpoint_info *ret_info, struct br_err *reterr);
    /** fetch_nodes - @count tree nodes, encoded, each into its br_buf; for copying the replica's tree; at most 64 a call */
    int (*fetch_nodes)(void *ctx, const struct br_tree_link *links, unsigned count, struct br_buf *ret_nodes,
                       struct br_err *reterr);
    /**
     * begin, batch, run, commit, abort - as the functions of replica.h; over a session batch may return before the far end took it
     * -BR_E_VERIFY of any: what the far end has is damaged, and the next run is a full one.
     */
    int (*begin)(void *ctx, const struct br_replica_begin *begin, bool overwrite, struct br_err *reterr);
    int (*batch)(void *ctx, const struct br_batch *batch, br_release_fn *release, void *release_ctx,
                 struct br_err *reterr);
    int (*run)(void *ctx, const struct br_run *run, struct br_err *reterr);
    /**
     * held, keep - as br_replica_held() and br_replica_keep(), in a DELTA between begin and commit; both NULL: never holds anything
     * What held tells is ascending and not before @from, whoever the far end is.
     */
    int (*held)(void *ctx, uint64_t from, struct br_held_block *ret_blocks, unsigned most, unsigned *ret_count,
                struct br_err *reterr);
    int (*keep)(void *ctx, const struct br_keep *keep, struct br_err *reterr);
    int (*commit)(void *ctx, const struct br_delta_end *end, uint64_t recheck_bytes,
                  struct br_replica_result *ret_result, struct br_err *reterr);
    void (*abort)(void *ctx);
    /** recheck - as br_replica_recheck(): for a run that found no changes; no delta may be under way */
    int (*recheck)(void *ctx, uint64_t recheck_bytes, struct br_replica_result *ret_result, struct br_err *reterr);
    /** push - goes on with what was handed over, without waiting for more (br_replica_push()); NULL: it does so by itself */
    int (*push)(void *ctx, struct br_err *reterr);
    /** durable - bytes of the current delta known to be durable there */
    uint64_t (*durable)(void *ctx);
    /** verify - the far end re-reads everything and compares with its tree; progress may be NULL */
    int (*verify)(void *ctx, br_verify_progress_fn *progress, void *progress_ctx, uint64_t *ret_bad_blocks,
                  struct br_err *reterr);
    /** sent_bytes - bytes of data that the wire took so far, as packed and framed for it; NULL: there is no wire */
    uint64_t (*sent_bytes)(void *ctx);
    /** close - ends the session or closes the replica; frees ctx */
    void (*close)(void *ctx);
};

struct br_endpoint {
    const struct br_endpoint_ops *ops;
    void *ctx;
};

#endif
