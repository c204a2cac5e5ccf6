// SPDX-License-Identifier: Apache-2.0
//
// A recovery point as a stream, blkrep-stream(5): the same bytes that a source would send. Its version is the point, its generation the point's
// id, so that who received it can be told what it has, and who holds a delta's parent by whatever way takes the delta.
#ifndef BR_REPO_SEND_H
#define BR_REPO_SEND_H

#include "engine/repo/point_delta.h"

struct br_point_send_params {
    struct br_repo *repo;
    const struct br_point *point;
    const struct br_point *since; // NULL: a full stream
    int level;                    // zstd's; 0 never compresses
    const volatile bool *cancel;
    /** write - takes the stream in order; blocks as long as it likes */
    int (*write)(void *ctx, const void *bytes, size_t len, struct br_err *reterr);
    void *write_ctx;
    void (*progress)(void *ctx, const struct br_point_delta_progress *progress); // NULL none
    void *progress_ctx;
};

/** br_point_send - @ret_end: counters of the stream; errors as br_point_delta() and write(). A stream without its end is refused by every reader */
BR_MUST_CHECK int br_point_send(const struct br_point_send_params *params, struct br_delta_end *ret_end,
                                uint64_t *ret_stream_bytes, struct br_err *reterr);

#endif
