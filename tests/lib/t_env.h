// SPDX-License-Identifier: Apache-2.0
//
// What scripts/test tells a test program: which seed to use and how much to try.
//
// T_SEED and T_SCALE come in through the environment. A property test or a simulation takes its seed from t_seed(), which
// prints it, so that a failure can be replayed with `T_SEED=N build/tests/prop/prop_x`; the default is fixed, so that what
// passed before a commit passes after it. `make soak` raises the scale.
#ifndef T_ENV_H
#define T_ENV_H

#include <stddef.h>
#include <stdint.h>

/**
 * t_seed - the seed of this run: $T_SEED, or 1
 * Prints "# seed=N" on the first call, which scripts/test shows in its summary.
 */
uint64_t t_seed(void);

/**
 * t_scaled - how many rounds to run: normal times $T_SCALE (1 when unset)
 * @normal  the number that fits `make check`
 */
uint64_t t_scaled(uint64_t normal);

/**
 * t_folder - where a test program makes its temporary files: $T (its own under scripts/test), $TMPDIR, or the system's
 * No final slash; valid until the environment changes. Under scripts/test all in it goes away with the test.
 */
const char *t_folder(void);

/** struct t_rand - a small deterministic generator (splitmix64); the same seed gives the same numbers for ever */
struct t_rand {
    uint64_t state;
};

/**
 * t_rand_seeded - a generator for one round of a test
 * @seed, @round  rounds of one seed are independent of each other, so a single round can be replayed
 */
struct t_rand t_rand_seeded(uint64_t seed, uint64_t round);

/** t_rand_next - 64 random bits */
uint64_t t_rand_next(struct t_rand *r);

/**
 * t_rand_below - a number in [0, bound)
 * @bound  > 0; the bias for bounds below 2^32 is less than one in 2^32
 */
uint64_t t_rand_below(struct t_rand *r, uint64_t bound);

/** t_rand_fill - fills a buffer with random bytes */
void t_rand_fill(struct t_rand *r, void *buf, size_t len_bytes);

#endif
