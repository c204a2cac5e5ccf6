// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/t_source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/map/tree.h"

void t_source_resize(struct br_sim *sim, uint64_t size_bytes)
{
    struct br_ring *ring;
    struct br_file *file;

    assert_int_equal(0, br_sim_ring(sim, NULL, &ring, NULL));
    assert_int_equal(0, br_sim_file(ring, "src", 0, &file, NULL));
    assert_int_equal(0, br_file_truncate(file, size_bytes, NULL));
    assert_int_equal(0, br_file_sync(file, NULL));
    br_file_close(file);
    br_ring_close(ring);
}

void t_source_write(struct t_rand *rand, struct br_sim *sim, uint64_t unit_bytes)
{
    uint8_t bytes[3 * BR_BLOCK_BYTES];
    uint64_t size = br_sim_size(sim, "src");
    uint64_t at = br_align_down(t_rand_below(rand, size), unit_bytes);
    uint64_t wish = unit_bytes * (1 + t_rand_below(rand, 3));
    uint64_t len = BR_MIN(wish, size - at);

    if (t_rand_below(rand, 4)) {
        t_rand_fill(rand, bytes, len);
    } else {
        memset(bytes, 0, len);
    }
    br_sim_poke(sim, "src", bytes, len, at);
}
