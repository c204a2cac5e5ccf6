// SPDX-License-Identifier: Apache-2.0
//
// How long does a writer wait? One thread writes 4 KiB at random places of a file, one write after the other, and keeps the longest.
//
//   stalls FILE BYTES direct|buffered     FILE is there and BYTES long
//
// Each line on standard input is a question; the answer is one line: the longest write since the last question in nanoseconds, and how
// many writes ended since. A write that is still under way counts with what it has taken until now. End of input ends it.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRITE_BYTES 4096u

static int fd;
static uint64_t places;
static _Atomic uint64_t began_ns, longest_ns, writes;
static atomic_bool ended;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// xorshift64*: the places need not be good, only spread.
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

static void keep_longest(uint64_t took_ns)
{
    uint64_t seen = atomic_load(&longest_ns);

    while (took_ns > seen && !atomic_compare_exchange_weak(&longest_ns, &seen, took_ns)) {}
}

static void *write_on(void *unused)
{
    uint64_t state = 88172645463325252u;
    uint8_t *bytes = aligned_alloc(WRITE_BYTES, WRITE_BYTES);

    (void)unused;
    if (!bytes) {
        fprintf(stderr, "stalls: no memory\n");
        exit(3);
    }
    while (!atomic_load(&ended)) {
        const uint64_t place = next_random(&state);
        memset(bytes, (int)(place & 0xff), WRITE_BYTES);
        atomic_store(&began_ns, now_ns());
        if (pwrite(fd, bytes, WRITE_BYTES, (off_t)((place >> 8) % places * WRITE_BYTES)) != WRITE_BYTES) {
            fprintf(stderr, "stalls: a write failed: %s\n", strerror(errno));
            exit(1);
        }
        keep_longest(now_ns() - atomic_load(&began_ns));
        atomic_fetch_add(&writes, 1);
    }
    free(bytes);
    return NULL;
}

static void answer(void)
{
    const uint64_t began = atomic_load(&began_ns); // before the clock is read: the next write may begin meanwhile
    const uint64_t under_way_ns = now_ns() - began;
    uint64_t ns = atomic_exchange(&longest_ns, 0);

    // One that ended in between counts in the next answer too: nothing is lost.
    ns = under_way_ns > ns ? under_way_ns : ns;
    printf("%" PRIu64 " %" PRIu64 "\n", ns, atomic_exchange(&writes, 0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const bool direct = argc == 4 && !strcmp(argv[3], "direct");
    char line[64];
    pthread_t thread;

    places = argc == 4 ? strtoull(argv[2], NULL, 10) / WRITE_BYTES : 0;
    if (!places || (!direct && strcmp(argv[3], "buffered") != 0)) {
        fprintf(stderr, "stalls: see the head of tests/vm/lib/stalls.c\n");
        return 2;
    }
    fd = open(argv[1], O_WRONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
    if (fd < 0) {
        fprintf(stderr, "stalls: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    atomic_store(&began_ns, now_ns());
    if (pthread_create(&thread, NULL, write_on, NULL)) {
        fprintf(stderr, "stalls: no thread\n");
        return 3;
    }
    while (fgets(line, sizeof(line), stdin)) {
        answer();
    }
    atomic_store(&ended, true);
    pthread_join(thread, NULL);
    close(fd);
    return 0;
}
