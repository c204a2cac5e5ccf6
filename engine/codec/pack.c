// SPDX-License-Identifier: Apache-2.0
#include "engine/codec/pack.h"

#include <pthread.h>
#include <zstd.h>

#define PACK_SAMPLES      64u
#define PACK_SAMPLE_BYTES 64u

struct br_unpacker {
    ZSTD_DCtx *dctx;
};

static pthread_key_t pack_key;
static pthread_once_t pack_once = PTHREAD_ONCE_INIT;
static bool pack_key_made;

static void free_cctx(void *cctx)
{
    ZSTD_freeCCtx(cctx);
}

static void make_key(void)
{
    pack_key_made = pthread_key_create(&pack_key, free_cctx) == 0;
}

static ZSTD_CCtx *thread_cctx(void)
{
    pthread_once(&pack_once, make_key);
    if (!pack_key_made) {
        return NULL;
    }
    ZSTD_CCtx *cctx = pthread_getspecific(pack_key);
    if (!cctx) {
        cctx = ZSTD_createCCtx();
        if (cctx && pthread_setspecific(pack_key, cctx)) {
            ZSTD_freeCCtx(cctx);
            return NULL;
        }
    }
    return cctx;
}

bool br_pack_looks_random(const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint32_t counts[256] = {0};
    uint64_t squares = 0;
    const uint64_t n = PACK_SAMPLES * PACK_SAMPLE_BYTES;

    if (len < n) {
        return false;
    }
    size_t step = (len - PACK_SAMPLE_BYTES) / (PACK_SAMPLES - 1);
    for (size_t s = 0; s < PACK_SAMPLES; s++) {
        for (size_t i = 0; i < PACK_SAMPLE_BYTES; i++) {
            counts[bytes[s * step + i]]++;
        }
    }
    for (unsigned i = 0; i < 256; i++) {
        squares += (uint64_t)counts[i] * counts[i];
    }
    // Equally frequent bytes give n*n/256 + n on average; a third more is still above 7.6 bits a byte.
    return squares < (n * n / 256 + n) * 4 / 3;
}

int br_pack(const void *data, size_t len, int level, struct br_buf *to, struct br_err *reterr)
{
    size_t room = len - len / 16;

    br_buf_reset(to);
    if (!level || len < 256 || br_pack_looks_random(data, len)) {
        return 0;
    }
    ZSTD_CCtx *cctx = thread_cctx();
    if (!cctx || !br_buf_reserve(to, room)) {
        return br_err_set(reterr, BR_E_NOMEM, "compressing %zu bytes", len);
    }
    // With no more room than what is worth keeping, zstd itself gives up on the rest.
    size_t packed =
        ZSTD_compressCCtx(cctx, to->data, room, data, len, BR_MAX(BR_PACK_LEVEL_MIN, BR_MIN(level, BR_PACK_LEVEL_MAX)));
    if (ZSTD_isError(packed)) {
        return 0;
    }
    to->len = packed;
    return 1;
}

int br_unpacker_open(struct br_unpacker **ret_unpacker, struct br_err *reterr)
{
    struct br_unpacker *unpacker = calloc(1, sizeof(*unpacker));

    if (!unpacker || !(unpacker->dctx = ZSTD_createDCtx())) {
        free(unpacker);
        return br_err_set(reterr, BR_E_NOMEM, "making a decompressor");
    }
    *ret_unpacker = unpacker;
    return 0;
}

void br_unpacker_close(struct br_unpacker *unpacker)
{
    if (unpacker) {
        ZSTD_freeDCtx(unpacker->dctx);
        free(unpacker);
    }
}

int br_unpack(struct br_unpacker *unpacker, const void *packed, size_t packed_len, void *raw, size_t raw_len,
              struct br_err *reterr)
{
    if (ZSTD_getFrameContentSize(packed, packed_len) != raw_len ||
        ZSTD_findFrameCompressedSize(packed, packed_len) != packed_len) {
        return br_err_set(reterr, BR_E_CORRUPT, "compressed data is not one zstd frame of %zu bytes", raw_len);
    }
    size_t got = ZSTD_decompressDCtx(unpacker->dctx, raw, raw_len, packed, packed_len);
    if (ZSTD_isError(got)) {
        return br_err_set(reterr, BR_E_CORRUPT, "decompressing: %s", ZSTD_getErrorName(got));
    }
    if (got != raw_len) {
        return br_err_set(reterr, BR_E_CORRUPT, "decompressing gave %zu bytes instead of %zu", got, raw_len);
    }
    return 0;
}
