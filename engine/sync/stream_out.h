// SPDX-License-Identifier: Apache-2.0
//
// Records into a stream (blkrep-stream(5)) that goes out through a function: frames are packed (checked, compressed) on workers, sealed and written
// in order:
//
//     head                                    tail
//     [run packed][batch packed][batch packing]   <- sink
//        `-> seal -> write -> release the batch's buffer
#ifndef BR_SYNC_STREAM_OUT_H
#define BR_SYNC_STREAM_OUT_H

#include "engine/codec/stream.h"
#include "engine/pipe/pipe.h"

#define BR_STREAM_OUT_FRAMES 8u

struct br_stream_out;

// The stream's own.
struct br_stream_item {
    struct br_stream_out *out;
    struct br_job job;
    bool packed;
    bool is_run;
    struct br_run run;
    struct br_batch batch;
    void (*release)(void *);
    void *release_ctx;
    struct br_stream_frame frame;
    int result;
    struct br_err err;
};

// The first five are the caller's to fill in; the rest is zeros then.
struct br_stream_out {
    struct br_ring *ring;
    struct br_tree_geometry geometry; // of the result
    int level;                        // zstd's; 0 never compresses
    /** write - takes the stream in order; blocks as long as it likes */
    int (*write)(void *ctx, const void *bytes, size_t len, struct br_err *reterr);
    void *write_ctx;

    struct br_stream_encoder encoder;
    struct br_stream_item items[BR_STREAM_OUT_FRAMES];
    unsigned head;
    unsigned used;
};

/** br_stream_out_start - preamble and header; errors as br_stream_start() and write() */
BR_MUST_CHECK int br_stream_out_start(struct br_stream_out *out, const struct br_delta_header *header,
                                      struct br_err *reterr);
/** br_stream_out_sink - where its records are put; ctx is @out, which may not move */
struct br_sink br_stream_out_sink(struct br_stream_out *out);
/** br_stream_out_drain - waits for what is under way, and writes it, unless @drop */
BR_MUST_CHECK int br_stream_out_drain(struct br_stream_out *out, bool drop, struct br_err *reterr);
/** br_stream_out_end - the end, after which it is a version; drained before */
BR_MUST_CHECK int br_stream_out_end(struct br_stream_out *out, const struct br_hash *root, struct br_err *reterr);
/** br_stream_out_free - drained before, or nothing was put */
void br_stream_out_free(struct br_stream_out *out);

#endif
