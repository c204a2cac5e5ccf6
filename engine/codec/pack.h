// SPDX-License-Identifier: Apache-2.0
//
// Compression of one batch's data, where it helps. zstd's contexts are kept per thread (about 1 MiB each while a worker lives), because
// making one costs more than compressing a block.
#ifndef BR_CODEC_PACK_H
#define BR_CODEC_PACK_H

#include "engine/base/bytes.h"
#include "engine/base/err.h"

#define BR_PACK_LEVEL_MIN (-7)
#define BR_PACK_LEVEL_MAX 19

/**
 * br_pack_looks_random - true when compressing is not worth a try
 * Method: 4096 bytes sampled over @data; the sum of squares of their byte counts is near its least when all bytes are equally frequent
 * (collision entropy above 7.6 bits), as in compressed or encrypted data. Costs microseconds. May be wrong on data that repeats
 * at a distance; that costs size only.
 */
bool br_pack_looks_random(const void *data, size_t len);
/**
 * br_pack - compress into @to (reset first) when that saves at least 1/16
 * @level  clamped to BR_PACK_LEVEL_MIN..MAX; 0 gives 0 at once
 * Returns 1 packed, 0 not worth it (@to is empty), -BR_E_NOMEM. Thread safe.
 */
BR_MUST_CHECK int br_pack(const void *data, size_t len, int level, struct br_buf *to, struct br_err *reterr);

struct br_unpacker;
/** br_unpacker_open - a decompressor, to be used by one thread at a time */
BR_MUST_CHECK int br_unpacker_open(struct br_unpacker **ret_unpacker, struct br_err *reterr);
/** br_unpacker_close - NULL is fine */
void br_unpacker_close(struct br_unpacker *unpacker);
/**
 * br_unpack - decompress exactly one zstd frame of exactly @raw_len bytes
 * Writes at most @raw_len bytes to @raw, whatever the input claims.    Errors: -BR_E_CORRUPT
 */
BR_MUST_CHECK int br_unpack(struct br_unpacker *unpacker, const void *packed, size_t packed_len, void *raw,
                            size_t raw_len, struct br_err *reterr);

#endif
