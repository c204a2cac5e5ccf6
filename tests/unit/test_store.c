// SPDX-License-Identifier: Apache-2.0
//
// engine/repo/store.h: what a store says of its objects.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/base/units.h"
#include "engine/repo/store_dir.h"
#include "engine/ring/sim.h"

#define T_OK(call) assert_int_equal((call), 0)

struct bed {
    struct br_sim *sim;
    struct br_ring *ring;
    struct br_store store;
};

static void bed_open(struct bed *bed)
{
    struct br_dir *dir;

    *bed = (struct bed){.sim = br_sim_new(&(struct br_sim_options){.seed = 3})};
    T_OK(br_sim_ring(bed->sim, NULL, &bed->ring, NULL));
    T_OK(br_sim_dir(bed->ring, "repo", &dir, NULL));
    T_OK(br_store_dir_open(bed->ring, dir, false, &bed->store, NULL));
}

static void bed_close(struct bed *bed)
{
    bed->store.ops->close(bed->store.ctx);
    br_ring_close(bed->ring);
    br_sim_free(bed->sim);
}

static uint64_t arrived(struct bed *bed, const char *name)
{
    uint64_t unix_ns = 0;

    T_OK(bed->store.ops->arrived(bed->store.ctx, name, &unix_ns, NULL));
    return unix_ns;
}

static void the_store_says_when_it_took_an_object(void **state)
{
    (void)state;
    const uint64_t first = UINT64_C(1700000000) * BR_NS_PER_S;
    struct br_buf piece = {0};
    struct bed bed;
    uint64_t none;
    void *write;
    bed_open(&bed);

    br_sim_set_unix_ns(bed.sim, first);
    T_OK(bed.store.ops->put(bed.store.ctx, "points/a/b", "bytes", 5, NULL));
    uint64_t put = arrived(&bed, "points/a/b");
    assert_true(put >= first && put < first + BR_NS_PER_S);

    // What is done to it later changes nothing: it is read, its name is tried again, time goes by.
    br_sim_advance(bed.sim, 3600 * BR_NS_PER_S);
    assert_int_equal(bed.store.ops->put(bed.store.ctx, "points/a/b", "other", 5, NULL), -BR_E_EXISTS);
    assert_true(arrived(&bed, "points/a/b") == put);

    // One that is made piece by piece too.
    T_OK(bed.store.ops->write_open(bed.store.ctx, "packs/ab/abc", &write, NULL));
    br_buf_append(&piece, "pack", 4);
    T_OK(bed.store.ops->write(bed.store.ctx, write, &piece, NULL));
    bed.store.ops->write_close(bed.store.ctx, write, true);
    T_OK(bed.store.ops->settle(bed.store.ctx, NULL));
    assert_true(arrived(&bed, "packs/ab/abc") >= first + 3600 * BR_NS_PER_S);

    assert_int_equal(bed.store.ops->arrived(bed.store.ctx, "points/a/c", &none, NULL), -BR_E_NOT_FOUND);
    bed_close(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_store_says_when_it_took_an_object),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
