// SPDX-License-Identifier: Apache-2.0
//
// Writes whose order is known, and the judge whether an image is what one moment of them left.
//
//   ordered write SEED LONGEST-BYTES PAUSE-MS DEVICE...    one write at a time over all devices, until SIGTERM; the count to standard output
//   ordered check SEED LONGEST-BYTES BASE... -- IMAGE...   as many bases (what was there before the first write) as images
//   ordered told LONGEST-BYTES TOLD IMAGE                  is what TOLD says was flushed in the image, or written over later?
//
// Write number N is known from the seed and N: which device, where, how long. Each of its sectors is stamped with where it is, N, the seed
// and a checksum. The next write begins when the last has ended, so there is one order over all devices, and a cut point K explains
// the images when each sector holds what the last write up to K that covers it wrote, or the base where there is none. Write K itself may be
// torn: it was on its way. Every eighth write is flushed; with told=DEVICE after DEVICE (one only) the flush is then told there, in a sector that
// is flushed itself before the next write begins: what stands there after a power cut was promised to whoever wrote.
//
// Exit status: 0; 1 a write failed, or no cut point explains the images: which sector is told; 2 usage.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECTOR_BYTES 512u
#define WORDS        (SECTOR_BYTES / 8)
#define DEVICES_MAX  8

struct object {
    int fd;
    uint64_t sectors;
    uint8_t *bytes;   // check: the image
    uint8_t *base;    // check
    uint64_t *last;   // check: the write that each sector should show
    uint64_t *before; // check: and the one before the last of all
};

struct job {
    uint64_t seed;
    uint64_t longest; // sectors
    int count;
    struct object objects[DEVICES_MAX];
    int told; // where flushes are told; -1 nowhere
};

struct range {
    int object;
    uint64_t first;
    uint64_t sectors;
};

static volatile sig_atomic_t enough;

static void on_term(int number)
{
    (void)number;
    enough = 1;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static struct range range_of(const struct job *job, uint64_t number)
{
    const uint64_t draw = mix(job->seed * UINT64_C(0x9e3779b97f4a7c15) + number);
    const int object = (int)(draw % (uint64_t)job->count);
    const uint64_t sectors = job->objects[object].sectors;
    const uint64_t most = mix(draw + 1) % 4 ? (job->longest < 16 ? job->longest : 16) : job->longest;
    struct range range = {.object = object,
                          .first = mix(draw + 2) % (sectors ? sectors : 1),
                          .sectors = 1 + mix(draw + 3) % (most ? most : 1)};

    range.sectors = range.sectors < sectors - range.first ? range.sectors : sectors - range.first;
    return range;
}

static void stamp(uint64_t words[WORDS], uint64_t seed, uint64_t sector, uint64_t number)
{
    words[0] = sector;
    words[1] = number;
    words[2] = seed;
    for (size_t w = 3; w < WORDS; w++) {
        words[w] = mix(sector * 31 + number * 17 + seed + w);
    }
}

static int fail(const char *what)
{
    fprintf(stderr, "ordered: %s: %s\n", what, strerror(errno));
    return 1;
}

// Write 0 is none, and takes back what an earlier seed told.
static int tell(const struct job *job, uint64_t number)
{
    static uint64_t sector[8 * WORDS] __attribute__((aligned(4096)));

    stamp(sector, job->seed, 0, number);
    return pwrite(job->told, sector, SECTOR_BYTES, 0) == SECTOR_BYTES ? fsync(job->told) : -1;
}

static int do_write(struct job *job, uint64_t pause_ms, char **paths)
{
    const struct timespec pause = {.tv_sec = (time_t)(pause_ms / 1000), .tv_nsec = (long)(pause_ms % 1000) * 1000000};
    uint64_t *bytes = aligned_alloc(4096, (job->longest + 8) * SECTOR_BYTES);
    uint64_t number = 0;

    signal(SIGTERM, on_term);
    for (int i = 0; i < job->count; i++) {
        uint64_t size = 0;
        job->objects[i].fd = open(paths[i], O_RDWR | O_CLOEXEC | O_DIRECT);
        if (!bytes || job->objects[i].fd < 0 || ioctl(job->objects[i].fd, BLKGETSIZE64, &size)) {
            return fail(paths[i]);
        }
        job->objects[i].sectors = size / SECTOR_BYTES;
    }
    if (job->told >= 0 && tell(job, 0)) {
        return fail("telling");
    }
    while (!enough) {
        const struct range range = range_of(job, ++number);
        const size_t len = range.sectors * SECTOR_BYTES;
        for (uint64_t i = 0; i < range.sectors; i++) {
            stamp(bytes + i * WORDS, job->seed, range.first + i, number);
        }
        const int fd = job->objects[range.object].fd;
        if (pwrite(fd, bytes, len, (off_t)(range.first * SECTOR_BYTES)) != (ssize_t)len ||
            (number % 8 == 0 && fsync(fd))) {
            return fail("a write");
        }
        if (number % 8 == 0 && job->told >= 0 && tell(job, number)) {
            return fail("telling");
        }
        nanosleep(&pause, NULL);
    }
    printf("%" PRIu64 "\n", number);
    return 0;
}

static uint8_t *read_whole(const char *path, uint64_t *ret_sectors)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    uint8_t *bytes = size > 0 ? malloc((size_t)size) : NULL;

    for (off_t at = 0; bytes && at < size;) {
        const ssize_t got = pread(fd, bytes + at, (size_t)(size - at), at);
        if (got <= 0) {
            exit(fail(path));
        }
        at += got;
    }
    if (!bytes) {
        exit(fail(path));
    }
    close(fd);
    *ret_sectors = (uint64_t)size / SECTOR_BYTES;
    return bytes;
}

// The write that made this sector; 0 when it holds none of this seed's.
static uint64_t writer_of(const struct job *job, const uint8_t *sector, uint64_t place)
{
    uint64_t found[WORDS];
    uint64_t wanted[WORDS];

    memcpy(found, sector, SECTOR_BYTES);
    stamp(wanted, job->seed, place, found[1]);
    return memcmp(found, wanted, SECTOR_BYTES) ? 0 : found[1];
}

// Plays the writes up to @cut; for the sectors of the last one, `before` says what they showed without it.
static void play(struct job *job, uint64_t cut)
{
    for (uint64_t number = 1; number <= cut; number++) {
        const struct range range = range_of(job, number);
        struct object *object = &job->objects[range.object];
        for (uint64_t i = range.first; i < range.first + range.sectors; i++) {
            object->before[i] = object->last[i];
            object->last[i] = number;
        }
    }
}

static bool shows(const struct job *job, const struct object *object, uint64_t place, uint64_t number)
{
    const uint8_t *sector = object->bytes + place * SECTOR_BYTES;

    return number ? writer_of(job, sector, place) == number
                  : !memcmp(sector, object->base + place * SECTOR_BYTES, SECTOR_BYTES);
}

static int judge(struct job *job, uint64_t cut)
{
    uint64_t written = 0;

    for (int i = 0; i < job->count; i++) {
        const struct object *object = &job->objects[i];
        for (uint64_t place = 0; place < object->sectors; place++) {
            const uint64_t last = object->last[place];
            written += last != 0;
            if (!shows(job, object, place, last) &&
                !(last == cut && shows(job, object, place, object->before[place]))) {
                printf("image %d, sector %" PRIu64 " shows write %" PRIu64 " and should show %" PRIu64
                       ": no cut point explains that and write %" PRIu64 "\n",
                       i, place, writer_of(job, object->bytes + place * SECTOR_BYTES, place), last, cut);
                return 1;
            }
        }
    }
    printf("cut point %" PRIu64 " explains every sector; %" PRIu64 " were written\n", cut, written);
    return 0;
}

static int do_check(struct job *job, char **paths)
{
    uint64_t cut = 0;

    for (int i = 0; i < job->count; i++) {
        struct object *object = &job->objects[i];
        uint64_t sectors;
        object->base = read_whole(paths[i], &sectors);
        object->bytes = read_whole(paths[job->count + 1 + i], &object->sectors);
        object->last = calloc(object->sectors, sizeof(uint64_t));
        object->before = calloc(object->sectors, sizeof(uint64_t));
        if (sectors < object->sectors || !object->last || !object->before) {
            errno = EINVAL;
            return fail(paths[i]);
        }
        for (uint64_t place = 0; place < object->sectors; place++) {
            const uint64_t number = writer_of(job, object->bytes + place * SECTOR_BYTES, place);
            cut = number > cut ? number : cut;
        }
    }
    play(job, cut);
    return judge(job, cut);
}

// Does a write of @number or later, one that covers the place, show in this sector?
static bool lasted(const struct job *job, const uint8_t *sector, uint64_t place, uint64_t number)
{
    const uint64_t shown = writer_of(job, sector, place);
    const struct range range = range_of(job, shown);

    return shown >= number && place >= range.first && place - range.first < range.sectors;
}

static int do_told(struct job *job, char **paths)
{
    struct object *object = &job->objects[0];
    uint64_t sectors, promised = 0;
    uint64_t told[WORDS];

    uint8_t *sector = read_whole(paths[0], &sectors);
    memcpy(told, sector, sizeof(told));
    job->seed = told[2];
    if (told[1] && writer_of(job, sector, 0) != told[1]) {
        printf("%s tells nothing of ours\n", paths[0]);
        return 1;
    }
    object->bytes = read_whole(paths[1], &object->sectors);
    object->last = calloc(object->sectors, sizeof(uint64_t));
    object->before = calloc(object->sectors, sizeof(uint64_t));
    if (!object->last || !object->before) {
        return fail(paths[1]);
    }
    play(job, told[1]);
    for (uint64_t place = 0; place < object->sectors; place++) {
        promised += object->last[place] != 0;
        if (object->last[place] && !lasted(job, object->bytes + place * SECTOR_BYTES, place, object->last[place])) {
            printf("sector %" PRIu64 " shows write %" PRIu64 ", and write %" PRIu64 " was flushed\n", place,
                   writer_of(job, object->bytes + place * SECTOR_BYTES, place), object->last[place]);
            return 1;
        }
    }
    printf("write %" PRIu64 " was flushed: its %" PRIu64 " sectors are there\n", told[1], promised);
    return 0;
}

int main(int argc, char **argv)
{
    struct job job = {.told = -1};

    if (argc == 5 && !strcmp(argv[1], "told")) {
        job.longest = strtoull(argv[2], NULL, 10) / SECTOR_BYTES;
        job.count = 1;
        return do_told(&job, argv + 3);
    }
    if (argc < 5) {
        fprintf(stderr, "ordered: see the head of tests/vm/lib/ordered.c\n");
        return 2;
    }
    job.seed = strtoull(argv[2], NULL, 10);
    job.longest = strtoull(argv[3], NULL, 10) / SECTOR_BYTES;
    if (!strcmp(argv[1], "write") && argc == 7 && !strncmp(argv[6], "told=", 5)) {
        job.told = open(argv[6] + 5, O_RDWR | O_CLOEXEC | O_DIRECT);
        if (job.told < 0) {
            return fail(argv[6]);
        }
        argc--;
    }
    if (!strcmp(argv[1], "write") && argc > 5 && argc - 5 <= DEVICES_MAX) {
        job.count = argc - 5;
        return do_write(&job, strtoull(argv[4], NULL, 10), argv + 5);
    }
    job.count = (argc - 5) / 2;
    if (!strcmp(argv[1], "check") && job.count <= DEVICES_MAX && argc == 5 + 2 * job.count &&
        !strcmp(argv[4 + job.count], "--")) {
        return do_check(&job, argv + 4);
    }
    fprintf(stderr, "ordered: see the head of tests/vm/lib/ordered.c\n");
    return 2;
}
