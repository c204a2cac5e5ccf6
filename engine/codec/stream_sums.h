// SPDX-License-Identifier: Apache-2.0
//
// The sums of a stream's frames, for its encoder and its decoder only (and for tests that forge frames). Format: stream.h.
#ifndef BR_CODEC_STREAM_SUMS_H
#define BR_CODEC_STREAM_SUMS_H

#include <xxhash.h>

#include "engine/codec/stream.h"

/** br_stream_sum_payload - of table and body; the costly part, needs no place in the stream */
static inline uint64_t br_stream_sum_payload(const void *table, size_t table_len, const void *body, size_t body_len)
{
    return XXH3_64bits_withSeed(body, body_len, XXH3_64bits(table, table_len));
}

/** br_stream_sum_frame - a frame's checksum from its head, its payload's sum and the checksum before */
static inline uint64_t br_stream_sum_frame(const uint8_t head[BR_STREAM_HEAD_BYTES], uint64_t payload, uint64_t chain)
{
    uint8_t bytes[BR_STREAM_AT_CHECKSUM + 8];

    memcpy(bytes, head, BR_STREAM_AT_CHECKSUM);
    br_put_u64(bytes + BR_STREAM_AT_CHECKSUM, payload);
    return XXH3_64bits_withSeed(bytes, sizeof(bytes), chain);
}

/** br_stream_sum_start - what the HEADER's checksum hangs on, br_stream_sum_start_staged - in the staged form */
static inline uint64_t br_stream_sum_start(void)
{
    return XXH3_64bits(BR_STREAM_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
}
static inline uint64_t br_stream_sum_start_staged(void)
{
    return XXH3_64bits(BR_STREAM_STAGED_PREAMBLE, BR_STREAM_PREAMBLE_BYTES);
}

/** br_stream_sum_digest - take one frame head into the running digest */
static inline void br_stream_sum_digest(uint8_t digest[16], const uint8_t head[BR_STREAM_HEAD_BYTES])
{
    uint8_t bytes[16 + BR_STREAM_HEAD_BYTES];
    XXH128_canonical_t canonical;

    memcpy(bytes, digest, 16);
    memcpy(bytes + 16, head, BR_STREAM_HEAD_BYTES);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, sizeof(bytes)));
    memcpy(digest, canonical.digest, 16);
}

#endif
