// SPDX-License-Identifier: Apache-2.0
//
// Writes to a device as nobody plans it: ranges of every length and alignment, written, zeroed or discarded, each sector stamped with its
// number, the write's number and the seed, so that no write leaves a sector as it was.
//
//   stamp DEVICE SEED COUNT LONGEST-BYTES [zero] [discard] [buffered]
//
// zero, discard: every eighth range is zeroed (BLKZEROOUT) or discarded (BLKDISCARD, a refusal is no failure) instead. Most ranges are short.
// Exit status 0 when every write succeeded, 1 at the first that did not.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SECTOR_BYTES 512u

static uint64_t state;

static uint64_t random_below(uint64_t bound)
{
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % bound;
}

static void stamp(uint8_t *bytes, uint64_t sectors, uint64_t first, uint64_t number, uint64_t seed)
{
    for (uint64_t i = 0; i < sectors; i++) {
        uint64_t words[SECTOR_BYTES / 8];
        for (size_t w = 0; w < SECTOR_BYTES / 8; w++) {
            words[w] = (first + i) * UINT64_C(0x100000001b3) ^ number << 40 ^ seed << 20 ^ w;
        }
        words[0] = first + i;
        words[1] = number;
        words[2] = seed;
        memcpy(bytes + i * SECTOR_BYTES, words, SECTOR_BYTES);
    }
}

static bool has(int argc, char **argv, const char *word)
{
    for (int i = 5; i < argc; i++) {
        if (!strcmp(argv[i], word)) {
            return true;
        }
    }
    return false;
}

static int fail(const char *what, uint64_t offset, uint64_t len)
{
    fprintf(stderr, "stamp: %s %" PRIu64 "+%" PRIu64 ": %s\n", what, offset, len, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    uint64_t size = 0;

    if (argc < 5) {
        fprintf(stderr, "stamp: see the head of tests/vm/lib/stamp.c\n");
        return 2;
    }
    const uint64_t seed = strtoull(argv[2], NULL, 10), count = strtoull(argv[3], NULL, 10);
    const uint64_t longest = strtoull(argv[4], NULL, 10) / SECTOR_BYTES;
    const bool zero = has(argc, argv, "zero"), discard = has(argc, argv, "discard");
    const int fd = open(argv[1], O_RDWR | O_CLOEXEC | (has(argc, argv, "buffered") ? 0 : O_DIRECT));
    uint8_t *bytes = aligned_alloc(4096, (longest + 8) * SECTOR_BYTES);

    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) || !bytes) {
        return fail(argv[1], 0, 0);
    }
    state = seed;
    for (uint64_t number = 1; number <= count; number++) {
        const uint64_t most = random_below(4) ? (longest < 16 ? longest : 16) : longest;
        uint64_t sectors = 1 + random_below(most);
        const uint64_t first = random_below(size / SECTOR_BYTES);
        const uint64_t what = random_below(8);
        sectors = sectors < size / SECTOR_BYTES - first ? sectors : size / SECTOR_BYTES - first;
        uint64_t range[2] = {first * SECTOR_BYTES, sectors * SECTOR_BYTES};
        if (zero && what == 0) {
            if (ioctl(fd, BLKZEROOUT, range)) {
                return fail("zero", range[0], range[1]);
            }
        } else if (discard && what == 1) {
            if (ioctl(fd, BLKDISCARD, range) && errno != EOPNOTSUPP) {
                return fail("discard", range[0], range[1]);
            }
        } else {
            stamp(bytes, sectors, first, number, seed);
            if (pwrite(fd, bytes, range[1], (off_t)range[0]) != (ssize_t)range[1]) {
                return fail("write", range[0], range[1]);
            }
        }
    }
    return fsync(fd) ? fail("fsync", 0, 0) : 0;
}
