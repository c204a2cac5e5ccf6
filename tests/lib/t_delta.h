// SPDX-License-Identifier: Apache-2.0
//
// Deltas for tests: a header that is valid, random records that are valid, and a stream made of them.
#ifndef T_DELTA_H
#define T_DELTA_H

#include "engine/codec/delta.h"
#include "engine/codec/stream.h"
#include "tests/lib/t_env.h"

/** t_delta_header - a valid header with fixed ids: of a full copy, or (parent_size not UINT64_MAX) of a delta onto a parent */
struct br_delta_header t_delta_header(uint64_t size_bytes, uint64_t parent_size_bytes);

/** struct t_delta - records of one delta, owned */
struct t_delta_record {
    bool is_run;
    struct br_run run;
    struct br_batch batch; // data owned by the delta
};
struct t_delta {
    struct br_delta_header header;
    struct br_tree_geometry geometry;
    struct t_delta_record records[32];
    unsigned count;
    struct br_hash root;
};
/** t_delta_random - up to 32 valid records, data partly compressible; free with t_delta_free() */
void t_delta_random(struct t_rand *rand, struct t_delta *ret_delta);
void t_delta_free(struct t_delta *delta);
/** t_delta_stream - the whole stream of it; @ret_starts gets each frame's offset (up to 40) and, last, the length; returns frames */
unsigned t_delta_stream(const struct t_delta *delta, int level, struct br_buf *ret_stream, size_t *ret_starts);
/** t_batch_equal - same blocks and same data */
bool t_batch_equal(const struct br_batch *a, const struct br_batch *b);

#endif
