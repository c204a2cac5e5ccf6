// SPDX-License-Identifier: Apache-2.0
//
// A sync in two halves with a stream between (blkrep-stream(5)): send reads a source and writes one, receive reads one and brings a
// replica to its version. Nothing comes back from the receiver, so what was sent is known to the sender only, under the volume's own uuid
// (engine/sync/source.h: to-VOLUME): the last version whose stream was written to its end. It is recorded before END is written, beside the
// one before it, so that a stream whose END got out although the sender died is known too: --since then takes either by its root or id. A receiver that missed one refuses the next
// by its parent, and a full stream puts it right.
#ifndef BR_SYNC_TRANSFER_H
#define BR_SYNC_TRANSFER_H

#include "engine/pipe/pipe.h"
#include "engine/sync/endpoint.h"
#include "engine/sync/tracked.h"

#define BR_TRANSFER_SINCE_TEXT_MIN 8u // digits of a root or generation id that --since needs at least

struct br_send_params {
    struct br_ring *ring; // with buffers of 1 MiB and workers
    struct br_file *source;
    uint64_t size_bytes;
    uint32_t sector_bytes;
    enum br_consistency consistency;
    const char *label;
    struct br_dir *dir; // SOURCE.blkrep/
    const struct br_tracker
        *tracker;               // NULL: all is read and compared; whose consumer is the volume itself, not a replica
    uint64_t recheck_bytes;     // of what the tracker calls unchanged: BR_RECHECK_DEFAULT, or a budget
    uint64_t recheck_period_ns; // 0: 30 days
    // What --since named: NULL for a full stream; "last" (that surely has its END), or the first digits (at least 8) of the root or the
    // generation id of the version that was sent last.
    const char *since;
    int level; // zstd's; 0 never compresses
    uint64_t bytes_per_second;
    bool continue_on_read_error;
    const volatile bool *cancel;
    int (*source_check)(void *ctx, struct br_err *reterr); // as in sync.h
    void *source_check_ctx;
    /** write - takes the stream in order; blocks as long as it likes; makes nothing durable that it does not promise to its own caller */
    int (*write)(void *ctx, const void *bytes, size_t len, struct br_err *reterr);
    void *write_ctx;
    void (*progress)(void *ctx, const struct br_pipe_progress *progress); // NULL none
    void *progress_ctx;
};

struct br_send_result {
    struct br_uuid volume;
    struct br_generation generation;
    struct br_hash root;
    struct br_hash parent_root; // zero bytes when full
    bool full;
    uint64_t size_bytes;
    uint64_t stream_bytes;
    struct br_tracked_result tracked;
    uint64_t bytes_read;
    uint64_t bytes_changed;
    uint64_t bytes_data;
    uint64_t zero_bytes;
    uint64_t unreadable_blocks;
    uint64_t taken_unix_ns;
    uint64_t duration_ns;
};

/**
 * br_send_run - write a stream of the source, and remember its version for the next --since
 * A stream that was not written to its END is refused by every reader, and nothing is remembered.
 * Errors: -BR_E_NOT_FOUND --since names nothing known here; -BR_E_BUSY; those of br_pipe_run() and of @write
 */
BR_MUST_CHECK int br_send_run(const struct br_send_params *params, struct br_send_result *ret_result,
                              struct br_err *reterr);

struct br_receive_params {
    struct br_ring *ring; // with buffers of 1 MiB and workers
    struct br_endpoint endpoint;
    bool overwrite;
    uint64_t recheck_bytes;     // as in sync.h
    uint64_t recheck_period_ns; // 0: 30 days
    const volatile bool *cancel;
    /** read - up to @len bytes of the stream; returns how many, 0 at its end, or -BR_E_* */
    int (*read)(void *ctx, void *bytes, size_t len, struct br_err *reterr);
    void *read_ctx;
    /** progress - at most ten times a second; NULL none */
    void (*progress)(void *ctx, uint64_t stream_bytes, uint64_t bytes_durable);
    void *progress_ctx;
};

struct br_receive_result {
    enum br_replica_mode mode;
    bool new_version; // false: the replica had this version already
    struct br_delta_header header;
    struct br_uuid replica;
    struct br_hash root;
    uint64_t stream_bytes;
    uint64_t bytes_data;
    uint64_t zero_bytes;
    uint64_t unreadable_blocks;
    struct br_replica_result far;
    uint64_t duration_ns;
};

/**
 * br_receive_run - bring the replica to the stream's version
 * A full stream makes a replica (empty target), goes over an unfinished first copy, or replaces the same volume's older version; a delta
 * needs the replica to be at its parent. Every frame is checked before it is used; without END nothing becomes a version.
 * @result  filled in as far as known, also when it fails
 * Errors: -BR_E_TARGET_FOREIGN -BR_E_TARGET_SMALL -BR_E_REFUSED (an older full stream) -BR_E_WRONG_PARENT before anything is changed;
 *         -BR_E_TRUNCATED -BR_E_CORRUPT -BR_E_VERSION of the stream; those of replica.h
 */
BR_MUST_CHECK int br_receive_run(const struct br_receive_params *params, struct br_receive_result *result,
                                 struct br_err *reterr);

#endif
