// SPDX-License-Identifier: Apache-2.0
//
// The test programs' view of scripts/test: seed, scale and a random generator. See the header.
// Source of the generator: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#include "tests/lib/t_env.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return otherwise;
    char *end = NULL;
    uint64_t value = strtoull(text, &end, 0);
    if (*end) {
        fprintf(stderr, "%s is not a number: %s\n", name, text);
        abort();
    }
    return value;
}

uint64_t t_seed(void)
{
    static bool told;
    uint64_t seed = env_number("T_SEED", 1);
    if (!told) {
        printf("# seed=%" PRIu64 "\n", seed);
        fflush(stdout);
        told = true;
    }
    return seed;
}

uint64_t t_scaled(uint64_t normal)
{
    return normal * env_number("T_SCALE", 1);
}

const char *t_folder(void)
{
    const char *own = getenv("T"), *shared = getenv("TMPDIR");
    return own && *own ? own : shared && *shared ? shared : "/tmp";
}

struct t_rand t_rand_seeded(uint64_t seed, uint64_t round)
{
    struct t_rand r = {seed};
    r.state = t_rand_next(&r) ^ round;
    r.state = t_rand_next(&r);
    return r;
}

uint64_t t_rand_next(struct t_rand *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t t_rand_below(struct t_rand *r, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)t_rand_next(r) * bound) >> 64);
}

void t_rand_fill(struct t_rand *r, void *buf, size_t len_bytes)
{
    uint8_t *p = buf;
    while (len_bytes) {
        uint64_t bits = t_rand_next(r);
        size_t n = len_bytes < sizeof(bits) ? len_bytes : sizeof(bits);
        memcpy(p, &bits, n);
        p += n;
        len_bytes -= n;
    }
}
