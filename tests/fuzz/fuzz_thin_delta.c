// SPDX-License-Identifier: Apache-2.0
//
// Hostile outputs of thin_delta. Input: the size of pieces, then the output. In pieces it must mean what it means at once, and what is told lies in
// the volume.
#include "engine/base/bytes.h"
#include "engine/track/thin_delta.h"

#define VOLUME (UINT64_C(1000) * 65536 + 512)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

static int parse(const uint8_t *bytes, size_t len, size_t piece, struct br_extent_map *map)
{
    const struct br_thin_delta_params params = {.left_id = 1,
                                                .right_id = 2,
                                                .block_bytes = 65536,
                                                .left_mapped_bytes = UINT64_C(15) * 65536,
                                                .right_mapped_bytes = UINT64_C(101) * 65536,
                                                .volume_bytes = VOLUME};
    struct br_thin_delta *delta;
    int rc = 0;

    if (br_thin_delta_open(&params, map, &delta, NULL) < 0) {
        abort();
    }
    for (size_t at = 0; at < len && rc == 0; at += piece) {
        rc = br_thin_delta_bytes(delta, bytes + at, BR_MIN(piece, len - at), NULL);
    }
    rc = rc < 0 ? rc : br_thin_delta_finish(delta, NULL);
    br_thin_delta_close(delta);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct br_extent_map whole = {0}, pieces = {0};

    if (!len_bytes) {
        return 0;
    }
    const int rc = parse(data + 1, len_bytes - 1, len_bytes, &whole);
    if (parse(data + 1, len_bytes - 1, (size_t)data[0] + 1, &pieces) != rc || whole.count != pieces.count) {
        abort();
    }
    for (size_t i = 0; i < whole.count; i++) {
        if (memcmp(&whole.extents[i], &pieces.extents[i], sizeof(whole.extents[i])) ||
            !br_range_ok(whole.extents[i].offset_bytes, whole.extents[i].len_bytes, VOLUME)) {
            abort();
        }
    }
    br_extent_map_free(&whole);
    br_extent_map_free(&pieces);
    return 0;
}
