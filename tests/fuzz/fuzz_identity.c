// SPDX-License-Identifier: Apache-2.0
//
// Hostile identity slots. The sum is made right when the first byte is odd. What is accepted must be written back to the same bytes.
#include <xxhash.h>

#include "engine/codec/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    uint8_t slot[BR_IDENTITY_SLOT_BYTES] = {0}, again[BR_IDENTITY_SLOT_BYTES];
    struct br_identity identity;

    if (!len_bytes) {
        return 0;
    }
    memcpy(slot, data + 1, BR_MIN(len_bytes - 1, sizeof(slot)));
    if (data[0] & 1) {
        XXH128_canonical_t sum;
        XXH128_canonicalFromHash(&sum, XXH3_128bits(slot, sizeof(slot) - 16));
        memcpy(slot + sizeof(slot) - 16, sum.digest, 16);
    }
    if (br_identity_decode(slot, &identity, NULL) == 0) {
        br_identity_encode(&identity, again);
        if (memcmp(slot, again, sizeof(slot))) {
            abort();
        }
    }
    return 0;
}
