// SPDX-License-Identifier: Apache-2.0
//
// What the reader of dm-era's metadata tells is what a model of the target remembers: the last era of every block, whatever part of the eras has been
// digested into the array, is being digested, waits in a writeset or is the current one; for both views, volumes that grow, trees of any shape.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/track/era_meta.h"
#include "tests/lib/t_device.h"
#include "tests/lib/t_env.h"
#include "tests/lib/t_era.h"

#define BLOCKS_MAX  9000u
#define ERAS_MAX    24u
#define META_BLOCKS 600u

// The target: what was written in which era, and how far the metadata has got.
struct model {
    struct t_rand r;
    uint32_t blocks;
    uint32_t block_sectors;
    uint32_t current_era;
    uint8_t *written[ERAS_MAX + 1]; // [era][block]
    uint32_t bits[ERAS_MAX + 1];    // blocks of the volume in that era
    uint32_t digested;              // eras up to it are in the array and gone
    uint32_t eras[BLOCKS_MAX];      // the array
    struct t_era_set sets[ERAS_MAX];
    size_t set_count;
    struct t_era_set current;
    bool has_current;
};

static void write_randomly(struct model *m, uint32_t era)
{
    for (uint64_t writes = t_rand_below(&m->r, 60); writes; writes--) {
        const uint64_t from = t_rand_below(&m->r, m->bits[era]), to = from + 1 + t_rand_below(&m->r, 40);
        memset(m->written[era] + from, 1, BR_MIN(to, (uint64_t)m->bits[era]) - from);
    }
}

// Digestion: whole eras, then a part of the next one.
static void digest(struct model *m, uint32_t era, uint32_t blocks)
{
    for (uint32_t b = 0; b < blocks; b++) {
        if (m->written[era][b]) {
            m->eras[b] = era;
        }
    }
}

static void model_run(struct model *m, uint64_t round)
{
    m->r = t_rand_seeded(t_seed(), round);
    m->current_era = 1 + (uint32_t)t_rand_below(&m->r, ERAS_MAX);
    m->block_sectors = 8 * (1 + (uint32_t)t_rand_below(&m->r, 20));
    m->blocks = 1 + (uint32_t)t_rand_below(&m->r, t_rand_below(&m->r, 3) ? 300 : BLOCKS_MAX - 500);
    for (uint32_t era = 1; era <= m->current_era; era++) {
        m->blocks += (uint32_t)(t_rand_below(&m->r, 4) ? 0 : t_rand_below(&m->r, 20)); // it grew
        m->bits[era] = m->blocks;
        m->written[era] = calloc(BLOCKS_MAX, 1);
        assert_non_null(m->written[era]);
        write_randomly(m, era);
    }
    m->digested = (uint32_t)t_rand_below(&m->r, m->current_era);
    for (uint32_t era = 1; era <= m->digested; era++) {
        digest(m, era, m->bits[era]);
    }
    // The current era is archived, too, when the device is suspended.
    m->has_current = t_rand_below(&m->r, 3);
    const uint32_t archived = m->current_era - (m->has_current ? 1 : 0);
    for (uint32_t era = m->digested + 1; era <= archived; era++) {
        m->sets[m->set_count++] = (struct t_era_set){era, m->bits[era], m->written[era]};
    }
    if (m->digested < archived) {
        digest(m, m->digested + 1, (uint32_t)t_rand_below(&m->r, m->bits[m->digested + 1] + 1));
    }
    m->current = (struct t_era_set){m->current_era, m->bits[m->current_era], m->written[m->current_era]};
}

static void model_free(struct model *m)
{
    for (uint32_t era = 1; era <= m->current_era; era++) {
        free(m->written[era]);
    }
    free(m);
}

static struct t_era_view model_view(const struct model *m, bool snap)
{
    return (struct t_era_view){.current_era = m->current_era,
                               .blocks = m->blocks,
                               .block_sectors = m->block_sectors,
                               .eras = m->eras,
                               .sets = m->sets,
                               .set_count = m->set_count,
                               .current = !snap && m->has_current ? &m->current : NULL};
}

static bool is_written(const struct model *m, uint32_t b, uint32_t since, uint32_t last)
{
    for (uint32_t era = BR_MAX(since, UINT32_C(1)); era <= last; era++) {
        if (b < m->bits[era] && m->written[era][b]) {
            return true;
        }
    }
    return false;
}

static void check(struct model *m, struct t_device *device, uint32_t since, bool snap)
{
    const uint64_t block_bytes = m->block_sectors * UINT64_C(512);
    const uint64_t volume_bytes = m->blocks * block_bytes - t_rand_below(&m->r, block_bytes);
    const uint32_t last = snap && m->has_current ? m->current_era - 1 : m->current_era;
    struct br_era_meta_params params = {
        .file = device->file, .meta_bytes = META_BLOCKS * 4096, .use_snap = snap, .kernel_era = m->current_era};
    struct br_extent_map map = {0};
    struct br_era_meta *meta;
    uint64_t bytes = 0;

    assert_int_equal(br_era_meta_open(&params, &meta, NULL), 0);
    assert_int_equal(br_era_meta_changed(meta, since, volume_bytes, &map, NULL), 0);
    for (uint32_t b = 0; b < m->blocks; b++) {
        const uint64_t start = b * block_bytes, len = BR_MIN(block_bytes, volume_bytes - start);
        const bool written = is_written(m, b, since, last);
        assert_int_equal(br_extent_map_contains(&map, start, len), written);
        bytes += written ? len : 0;
    }
    assert_int_equal(br_extent_map_bytes(&map), bytes);
    br_extent_map_free(&map);
    br_era_meta_close(meta);
}

static void metadata_tells_what_the_target_was_told(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(60); round++) {
        struct model *m = calloc(1, sizeof(*m));
        assert_non_null(m);
        model_run(m, round);
        const struct t_era_view live = model_view(m, false), snap = model_view(m, true);
        const unsigned fanout = 2 + (unsigned)t_rand_below(&m->r, t_rand_below(&m->r, 2) ? 5 : 190);
        struct t_era era = t_era_build(META_BLOCKS, fanout, round, &live, &snap);
        struct t_device device = t_device_open(era.bytes, META_BLOCKS * 4096, round);
        for (int i = 0; i < 4; i++) {
            check(m, &device, (uint32_t)t_rand_below(&m->r, m->current_era + 1), t_rand_below(&m->r, 2));
        }
        t_device_close(&device);
        t_era_free(&era);
        model_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(metadata_tells_what_the_target_was_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
