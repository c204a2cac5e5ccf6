// SPDX-License-Identifier: Apache-2.0
//
// NAME.blkrep/stage: a delta laid down as a blkrep stream (engine/codec/stream.h), so that `dump` prints it and finish reads it like any
// other stream. Written in pieces of 1 MiB with a few under way, synced now and then, read back with read-ahead. What goes on with a delta
// that was cut writes two of these: data into stage.cut and the list of what is meant into stage (engine/replica/cut.h); whoever reads the
// stage gets the data from there without knowing.
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
    uint64_t start_bytes;             // of the stream in its file
    struct br_stream_kept last;       // how another stage names the batch that was appended last, all blocks of it
    struct br_stage_piece pieces[BR_STAGE_PIECES];
    size_t piece_bytes;
    unsigned current;
    size_t fill;
    uint64_t offset_bytes;     // of the current piece
    uint64_t reserved_bytes;   // from the beginning
    uint64_t whole_data_bytes; // data of all frames but the one that is being appended
    // Periodic sync: when all below sync_mark is written, one sync makes sync_data bytes of the delta durable.
    uint64_t sync_step_bytes;
    uint64_t next_mark_bytes;
    uint64_t sync_mark_bytes;
    uint64_t sync_data_bytes;
    bool sync_wanted;
    bool sync_busy;
    uint64_t durable_data_bytes;
};

struct br_stage_params {
    struct br_ring *ring;
    struct br_dir *dir;
    const char *name; // BR_STAGE_NAME or BR_CUT_NAME
    const struct br_delta_header *header;
    uint64_t keep_bytes;     // of the file, the rest is cut off; the stream begins at the next multiple of BR_CUT_ALIGN
    bool lists;              // in the form that holds KEPT records
    uint64_t expected_bytes; // of data to come, reserved at once; 0 unknown
    uint64_t sync_bytes;     // written between two syncs; 0: BR_STAGE_SYNC_STEP
    const char *what;        // for messages; must outlive it
};
/**
 * br_stage_open - begin a stream in a file, which is made when it is not there, with preamble and header
 * Errors: -BR_E_NO_SPACE and others; nothing is left open then
 */
BR_MUST_CHECK int br_stage_open(struct br_stage *stage, const struct br_stage_params *params, struct br_err *reterr);
/** br_stage_batch - append a batch; its data is copied */
BR_MUST_CHECK int br_stage_batch(struct br_stage *stage, const struct br_batch *batch, struct br_err *reterr);
/** br_stage_run - append a run */
BR_MUST_CHECK int br_stage_run(struct br_stage *stage, const struct br_run *run, struct br_err *reterr);
/** br_stage_kept - append a name for data in stage.cut */
BR_MUST_CHECK int br_stage_kept(struct br_stage *stage, const struct br_stream_kept *kept, struct br_err *reterr);
/**
 * br_stage_cut - write all that was appended, sync, give back what was reserved: no END, it may be gone on with
 * @spare_bytes  so much less, from the end: room for the next run to begin with
 * Durable: all but that, when it returns 0; the directory entry is the caller's to sync    Errors: as much as could be written is there
 */
BR_MUST_CHECK int br_stage_cut(struct br_stage *stage, uint64_t spare_bytes, struct br_err *reterr);
/**
 * br_stage_end - append END, write all, sync
 * Sets *ret_bytes, the length that the identity must name. Durable: the content; the directory entry is the caller's to sync.
 */
BR_MUST_CHECK int br_stage_end(struct br_stage *stage, const struct br_hash *root, uint64_t *ret_bytes,
                               struct br_err *reterr);
/** br_stage_close - waits for what is under way; the file stays; a zeroed struct is fine */
void br_stage_close(struct br_stage *stage);

/**
 * br_stage_record_fn - one record of a stage; what it points to is valid during the call; non-zero stops the reading
 * What KEPT records name comes as DATA.
 */
typedef int br_stage_record_fn(void *ctx, const struct br_stream_record *record, struct br_err *reterr);
/**
 * br_stage_read - decode the stage in @dir from beginning to end
 * @bytes      its exact length; another one is -BR_E_CORRUPT
 * @stream_id  that its header must carry
 * @root       that its END must carry
 * @record     NULL: only check
 * Errors: -BR_E_NOT_FOUND it is not there; -BR_E_CORRUPT, also when kept data is not; whatever @record returned
 */
BR_MUST_CHECK int br_stage_read(struct br_ring *ring, struct br_dir *dir, uint64_t bytes,
                                const struct br_uuid *stream_id, const struct br_hash *root, br_stage_record_fn *record,
                                void *ctx, const char *what, struct br_err *reterr);

#endif
