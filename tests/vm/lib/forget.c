// SPDX-License-Identifier: Apache-2.0
//
// Makes a tracker forget a change, offline, as a lost write or a flipped bit would: all that is left looks sound.
//
//   forget era META BLOCK           data block BLOCK was written in no era: its bit in every writeset, and its entry of the era array. Checksums are right.
//                                   For volumes of up to 509 blocks, of which each array is one metadata block.
//   forget cow STORE middle|last    the record of an exception in the middle, or the last one, becomes zeros
//
// What was forgotten goes to standard output: for era the number of places, for cow "CHUNK" of the origin. Exit status: 0; 1 there was nothing; 3 error.

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/codec/cow_format.h"
#include "engine/codec/pdata.h"

#define BITSET_WORDS_MAX 509u // values of 8 bytes that fit into an array block
#define ERA_ENTRIES_MAX  1018u

static uint8_t block[BR_PDATA_BLOCK_BYTES] __attribute__((aligned(4096)));

static int failed(const char *what)
{
    fprintf(stderr, "forget: %s: %s\n", what, strerror(errno));
    return 3;
}

// Is it an array block in its place? Then what it says of @data_block is taken out of it.
static bool forget_in_block(uint64_t number, uint64_t data_block)
{
    uint8_t *values = block + BR_PDATA_ARRAY_HEADER_BYTES;
    uint32_t entries = br_get_u32(block + 8), value_bytes = br_get_u32(block + 12);
    bool known = false;

    if (br_get_u32(block) != br_pdata_checksum(block, BR_PDATA_ARRAY) || br_get_u64(block + 16) != number) {
        return false;
    }
    if (value_bytes == 4 && data_block < entries && entries <= ERA_ENTRIES_MAX) {
        known = br_get_u32(values + 4 * data_block);
        br_put_u32(values + 4 * data_block, 0);
    } else if (value_bytes == 8 && data_block / 64 < entries && entries <= BITSET_WORDS_MAX) {
        uint64_t word = br_get_u64(values + data_block / 64 * 8);
        uint64_t bit = UINT64_C(1) << data_block % 64;
        known = word & bit;
        br_put_u64(values + data_block / 64 * 8, word & ~bit);
    }
    br_put_u32(block, br_pdata_checksum(block, BR_PDATA_ARRAY));
    return known;
}

static int forget_era(int fd, uint64_t data_block)
{
    unsigned places = 0;

    for (uint64_t number = 0; pread(fd, block, sizeof(block), (off_t)(number * sizeof(block))) == sizeof(block);
         number++) {
        if (!forget_in_block(number, data_block)) {
            continue;
        }
        if (pwrite(fd, block, sizeof(block), (off_t)(number * sizeof(block))) != sizeof(block)) {
            return failed("writing");
        }
        places++;
    }
    printf("%u\n", places);
    return places ? 0 : 1;
}

static int forget_cow(int fd, bool last)
{
    struct br_cow_header header;
    struct br_err err;
    uint64_t count = 0;

    if (pread(fd, block, sizeof(block), 0) != sizeof(block) || br_cow_header_decode(block, &header, &err)) {
        errno = errno ? errno : EINVAL;
        return failed("no exception store");
    }
    // Records of the first area: an area is one chunk, and the first one is chunk 1.
    uint8_t *area = aligned_alloc(4096, header.chunk_bytes < 4096 ? 4096 : header.chunk_bytes);
    if (!area || pread(fd, area, header.chunk_bytes, (off_t)header.chunk_bytes) != (ssize_t)header.chunk_bytes) {
        return failed("reading");
    }
    while (count < header.chunk_bytes / BR_COW_RECORD_BYTES && br_cow_record_at(area, count).new_chunk) {
        count++;
    }
    if (!count || (!last && count < 3)) {
        return 1;
    }
    uint64_t which = last ? count - 1 : count / 2;
    printf("%" PRIu64 "\n", br_cow_record_at(area, which).old_chunk);
    memset(area + which * BR_COW_RECORD_BYTES, 0, BR_COW_RECORD_BYTES);
    return pwrite(fd, area, header.chunk_bytes, (off_t)header.chunk_bytes) == (ssize_t)header.chunk_bytes
               ? 0
               : failed("writing");
}

int main(int argc, char **argv)
{
    bool era = argc == 4 && !strcmp(argv[1], "era");

    if (!era && (argc != 4 || strcmp(argv[1], "cow") != 0)) {
        fprintf(stderr, "forget: see the head of tests/vm/lib/forget.c\n");
        return 3;
    }
    int fd = open(argv[2], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        return failed(argv[2]);
    }
    int status = era ? forget_era(fd, strtoull(argv[3], NULL, 10)) : forget_cow(fd, !strcmp(argv[3], "last"));
    return fsync(fd) && !status ? failed("fsync") : status;
}
