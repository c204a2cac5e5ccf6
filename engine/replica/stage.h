// SPDX-License-Identifier: Apache-2.0
//
// NAME.blkrep/stage: a delta laid down as a blkrep stream (engine/codec/stream.h), so that `dump` prints it and finish reads it like any
// other stream. Written in pieces of 1 MiB with a few under way, synced now and then, read back with read-ahead.
//
// Space is reserved ahead of the writes, so a full disk is told while the stage is made and never later.
#ifndef BR_REPLICA_STAGE_H
#define BR_REPLICA_STAGE_H

#include "engine/codec/stream.h"
#include "engine/replica/io_queue.h"

#define BR_STAGE_NAME         "stage"
#define BR_STAGE_PIECE_BYTES  (1024u * 1024u)
#define BR_STAGE_PIECES       4u
#define BR_STAGE_RESERVE_STEP (UINT64_C(32) << 20)
#define BR_STAGE_SYNC_STEP    (UINT64_C(64) << 20)

struct br_stage_piece {
    struct br_stage *stage;
    uint8_t *bytes;
    uint64_t offset_bytes;
    bool busy;
};

// A stage being written.
struct br_stage {
    struct br_ring *ring;
    struct br_file *file;
    struct br_io_queue queue;
    struct br_stream_encoder encoder;
    struct br_stream_frame frame;
    struct br_tree_geometry geometry; // of the result
    struct br_stage_piece pieces[BR_STAGE_PIECES];
    unsigned current;
    size_t fill;
    uint64_t offset_bytes;   // of the current piece
    uint64_t reserved_bytes; // from the beginning
    // Periodic sync: when all below sync_mark is written, one sync makes sync_data bytes of the delta durable.
    uint64_t next_mark_bytes;
    uint64_t sync_mark_bytes;
    uint64_t sync_data_bytes;
    bool sync_wanted;
    bool sync_busy;
    uint64_t durable_data_bytes;
};

/**
 * br_stage_open - make the stage file in @dir, empty, with preamble and header
 * @expected_bytes  of data to come, reserved at once; 0 unknown
 * @what            for messages; must outlive it
 * Errors: -BR_E_NO_SPACE and others; nothing is left open then
 */
BR_MUST_CHECK int br_stage_open(struct br_stage *stage, struct br_ring *ring, struct br_dir *dir,
                                const struct br_delta_header *header, uint64_t expected_bytes, const char *what,
                                struct br_err *reterr);
/** br_stage_batch - append a batch; its data is copied */
BR_MUST_CHECK int br_stage_batch(struct br_stage *stage, const struct br_batch *batch, struct br_err *reterr);
/** br_stage_run - append a run */
BR_MUST_CHECK int br_stage_run(struct br_stage *stage, const struct br_run *run, struct br_err *reterr);
/**
 * br_stage_end - append END, write all, sync
 * Sets *ret_bytes, the length that the identity must name. Durable: the content; the directory entry is the caller's to sync.
 */
BR_MUST_CHECK int br_stage_end(struct br_stage *stage, const struct br_hash *root, uint64_t *ret_bytes,
                               struct br_err *reterr);
/** br_stage_close - waits for what is under way; the file stays; a zeroed struct is fine */
void br_stage_close(struct br_stage *stage);

/** br_stage_record_fn - one record of a stage; what it points to is valid during the call; non-zero stops the reading */
typedef int br_stage_record_fn(void *ctx, const struct br_stream_record *record, struct br_err *reterr);
/**
 * br_stage_read - decode the stage in @dir from beginning to end
 * @bytes      its exact length; another one is -BR_E_CORRUPT
 * @stream_id  that its header must carry
 * @root       that its END must carry
 * @record     NULL: only check
 * Errors: -BR_E_NOT_FOUND it is not there; -BR_E_CORRUPT; whatever @record returned
 */
BR_MUST_CHECK int br_stage_read(struct br_ring *ring, struct br_dir *dir, uint64_t bytes,
                                const struct br_uuid *stream_id, const struct br_hash *root, br_stage_record_fn *record,
                                void *ctx, const char *what, struct br_err *reterr);

#endif
