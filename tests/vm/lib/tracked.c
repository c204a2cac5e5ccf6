// SPDX-License-Identifier: Apache-2.0
//
// The engine's readers of trackers, for tests on real kernels, and the judge of what they say.
//
//   tracked cow STORE ORIGIN-BYTES [SETTLE-MS [USED METADATA]]    what changed, one "OFFSET LENGTH" in bytes a line
//   tracked cow-old STORE ORIGIN-BYTES OFFSET LENGTH              what was there before, to standard output
//   tracked cow-wipe STORE CHUNK-BYTES
//   tracked era META VOLUME-BYTES SINCE-ERA offline|snap [KERNEL-ERA]
//   tracked era-bytes VOLUME-BYTES BLOCK-BYTES ERAS               the size that metadata must have
//   tracked thin LEFT-ID RIGHT-ID BLOCK-BYTES LEFT-MAPPED RIGHT-MAPPED VOLUME-BYTES      thin_delta's output on standard input
//   tracked covers EXTENTS BEFORE NOW                             is every byte in which the images differ in the extents?
//   tracked same-old EXTENTS STORE ORIGIN-BYTES BEFORE            does the store give back what BEFORE holds, for every extent?
//
// Exit status: 0; 1 no: covers and same-old say where; 4 what is read is damaged; 3 any other error. Errors go to standard error.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/track/cow_store.h"
#include "engine/track/era_meta.h"
#include "engine/track/thin_delta.h"

#define STEP_BYTES   (UINT64_C(1) << 20)
#define SECTOR_BYTES 512u
#define BLOCK_BYTES  4096u

static struct br_ring *ring;
static struct br_err err;

static int failed(int error)
{
    fprintf(stderr, "tracked: %s: %s", br_err_name(-error), err.text);
    fprintf(stderr, err.has_offset ? " at %" PRIu64 "\n" : "\n", err.offset_bytes);
    return error == -BR_E_CORRUPT ? 4 : 3;
}

static uint64_t number(const char *text)
{
    char *end;
    const uint64_t value = strtoull(text, &end, 10);

    if (*end || end == text) {
        fprintf(stderr, "tracked: not a number: %s\n", text);
        exit(3);
    }
    return value;
}

static struct br_file *open_file(const char *path, int flags, uint64_t *ret_bytes)
{
    struct br_file *file;
    struct br_file_info info;
    const int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0) {
        fprintf(stderr, "tracked: %s: %s\n", path, strerror(errno));
        exit(3);
    }
    int rc = br_file_wrap(ring, fd, &file, &err);
    rc = rc < 0 ? rc : br_file_stat(file, &info, &err);
    if (rc < 0) {
        exit(failed(rc));
    }
    *ret_bytes = info.size_bytes;
    return file;
}

static int print_map(const struct br_extent_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        printf("%" PRIu64 " %" PRIu64 "\n", map->extents[i].offset_bytes, map->extents[i].len_bytes);
    }
    return 0;
}

static int open_cow(char **args, struct br_cow_store **ret_store)
{
    struct br_cow_store_params params = {.origin_bytes = number(args[1])};

    params.file = open_file(args[0], O_RDONLY, &params.store_bytes);
    if (args[2]) {
        params.settle_ns = number(args[2]) * 1000000;
        if (args[3] && args[4]) {
            params.before = (struct br_cow_status){
                .known = true, .used_sectors = number(args[3]), .metadata_sectors = number(args[4])};
        }
    }
    return br_cow_store_read(&params, ret_store, &err);
}

static int do_cow(char **args)
{
    struct br_cow_store *store;
    const int rc = open_cow(args, &store);

    return rc < 0 ? failed(rc) : print_map(br_cow_store_changed(store));
}

static int do_cow_old(char **args)
{
    char *cow[] = {args[0], args[1], NULL};
    struct br_cow_store *store;
    const uint64_t len = number(args[3]);
    uint8_t *bytes = malloc(len);
    int rc = open_cow(cow, &store);

    rc = rc < 0 ? rc : br_cow_store_read_old(store, bytes, len, number(args[2]), &err);
    if (rc < 0) {
        return failed(rc);
    }
    return fwrite(bytes, 1, len, stdout) == len ? 0 : 3;
}

static int do_cow_wipe(char **args)
{
    uint64_t bytes;
    struct br_file *file = open_file(args[0], O_RDWR, &bytes);
    const int rc = br_cow_store_wipe(file, bytes, number(args[1]), &err);

    return rc < 0 ? failed(rc) : 0;
}

static int do_era(char **args)
{
    struct br_era_meta_params params = {.use_snap = !strcmp(args[3], "snap"),
                                        .kernel_era = args[4] ? (uint32_t)number(args[4]) : 0};
    struct br_extent_map map = {0};
    struct br_era_meta *meta;

    params.settle_ns = params.use_snap ? 1000000000 : 0;
    params.file = open_file(args[0], O_RDONLY, &params.meta_bytes);
    int rc = br_era_meta_open(&params, &meta, &err);
    rc = rc < 0 ? rc : br_era_meta_changed(meta, (uint32_t)number(args[2]), number(args[1]), &map, &err);
    return rc < 0 ? failed(rc) : print_map(&map);
}

static int do_era_bytes(char **args)
{
    uint64_t bytes;
    const int rc = br_era_meta_bytes(number(args[0]), number(args[1]), (uint32_t)number(args[2]), &bytes, &err);

    return rc < 0 ? failed(rc) : printf("%" PRIu64 "\n", bytes) < 0;
}

static struct br_extent_map read_map(const char *path)
{
    struct br_extent_map map = {.limit = SIZE_MAX};
    uint64_t offset, len;
    FILE *f = fopen(path, "r");

    if (!f) {
        fprintf(stderr, "tracked: %s: %s\n", path, strerror(errno));
        exit(3);
    }
    while (fscanf(f, "%" SCNu64 " %" SCNu64, &offset, &len) == 2) {
        if (br_extent_map_mark(&map, offset, len, &err) < 0) {
            exit(failed(-err.code));
        }
    }
    fclose(f);
    return map;
}

static uint8_t *fresh_bytes(struct br_file *file, uint64_t offset, uint64_t len)
{
    uint8_t *bytes = aligned_alloc(BLOCK_BYTES, STEP_BYTES);

    br_file_drop_cache(file, offset, len);
    if (!bytes || br_file_read(file, bytes, len, offset, &err) < 0) {
        exit(failed(-err.code));
    }
    return bytes;
}

// Sectors, because nothing smaller can change.
static int do_covers(char **args)
{
    const struct br_extent_map map = read_map(args[0]);
    uint64_t bytes, now_bytes, differ = 0;
    struct br_file *before = open_file(args[1], O_RDONLY, &bytes), *now = open_file(args[2], O_RDONLY, &now_bytes);

    for (uint64_t at = 0; at < BR_MIN(bytes, now_bytes); at += STEP_BYTES) {
        const uint64_t len = BR_MIN(STEP_BYTES, BR_MIN(bytes, now_bytes) - at);
        BR_AUTO_FREE uint8_t *a = fresh_bytes(before, at, len);
        BR_AUTO_FREE uint8_t *b = fresh_bytes(now, at, len);
        for (uint64_t i = 0; i < len; i += SECTOR_BYTES) {
            const uint64_t part = BR_MIN((uint64_t)SECTOR_BYTES, len - i);
            if (!memcmp(a + i, b + i, part)) {
                continue;
            }
            differ += part;
            if (!br_extent_map_contains(&map, at + i, part)) {
                printf("the sector at %" PRIu64 " changed, and nobody says so\n", at + i);
                return 1;
            }
        }
    }
    printf("%" PRIu64 " bytes changed, %" PRIu64 " told in %zu extents\n", differ, br_extent_map_bytes(&map),
           map.count);
    return 0;
}

static int do_same_old(char **args)
{
    const struct br_extent_map map = read_map(args[0]);
    char *cow[] = {args[1], args[2], (char[]){"1000"}, NULL, NULL};
    struct br_cow_store *store;
    uint64_t bytes, told = 0;
    struct br_file *before = open_file(args[3], O_RDONLY, &bytes);
    const int rc = open_cow(cow, &store);

    if (rc < 0) {
        return failed(rc);
    }
    for (size_t i = 0; i < map.count; i++) {
        const uint64_t end = map.extents[i].offset_bytes + map.extents[i].len_bytes;
        for (uint64_t at = map.extents[i].offset_bytes, len; at < end; at += len) {
            len = BR_MIN(STEP_BYTES, end - at);
            BR_AUTO_FREE uint8_t *a = fresh_bytes(before, at, len);
            BR_AUTO_FREE uint8_t *b = malloc(len);
            const int got = br_cow_store_read_old(store, b, len, at, &err);
            if (got < 0) {
                return failed(got);
            }
            if (memcmp(a, b, len)) {
                printf("the old data at %" PRIu64 "+%" PRIu64 " is not what was there before\n", at, len);
                return 1;
            }
            told += len;
        }
    }
    printf("%" PRIu64 " bytes of old data are what was there before\n", told);
    return 0;
}

static int do_thin(char **args)
{
    const struct br_thin_delta_params params = {.left_id = number(args[0]),
                                                .right_id = number(args[1]),
                                                .block_bytes = number(args[2]),
                                                .left_mapped_bytes = number(args[3]),
                                                .right_mapped_bytes = number(args[4]),
                                                .volume_bytes = number(args[5])};
    struct br_extent_map map = {0};
    struct br_thin_delta *delta;
    char bytes[4096];
    size_t len;
    int rc = br_thin_delta_open(&params, &map, &delta, &err);

    while (rc == 0 && (len = fread(bytes, 1, sizeof(bytes), stdin)) > 0) {
        rc = br_thin_delta_bytes(delta, bytes, len, &err);
    }
    rc = rc < 0 ? rc : br_thin_delta_finish(delta, &err);
    return rc < 0 ? failed(rc) : print_map(&map);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args;
        int (*run)(char **args);
    } verbs[] = {
        {"cow", 2, do_cow},           {"cow-old", 4, do_cow_old},     {"cow-wipe", 2, do_cow_wipe},
        {"era", 4, do_era},           {"era-bytes", 3, do_era_bytes}, {"covers", 3, do_covers},
        {"same-old", 4, do_same_old}, {"thin", 6, do_thin},
    };

    if (br_ring_open(&(struct br_ring_options){.depth = 64}, &ring, &err) < 0) {
        return failed(-err.code);
    }
    for (size_t i = 0; argc > 1 && i < BR_ARRAY_LEN(verbs); i++) {
        if (!strcmp(argv[1], verbs[i].name) && argc - 2 >= verbs[i].args) {
            return verbs[i].run(argv + 2);
        }
    }
    fprintf(stderr, "tracked: see the head of tests/vm/lib/tracked.c\n");
    return 3;
}
