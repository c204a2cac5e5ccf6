// SPDX-License-Identifier: Apache-2.0
//
// fio_blocks FILE BLOCK-BYTES: is every block of the file what fio once wrote there with --verify=crc32c? Asked of a file that was rewritten
// while it was copied: fio itself can judge only what its last job left.
//
// A block (fio 3.33, verify.h): 0 u16 magic 0xacca, 2 u16 kind, 4 u32 its length, 16 u64 where it belongs, 36 u32 checksum of the 36 bytes before,
// 40 u32 checksum of what is behind byte 44; both CRC-32C whose register begins with all ones and is not complemented.
// Exit status: 0, the number of blocks to standard output; 1 a block is not: which one; 3 error.

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/codec/crc32c.h"

#define FIO_MAGIC       0xaccau
#define FIO_HEADER_CRC  36u
#define FIO_DATA_CRC    40u
#define FIO_DATA        44u
#define FIO_BLOCK_LEAST 512u

static const char *wrong(const uint8_t *block, uint64_t offset, size_t len)
{
    if (br_get_u16(block) != FIO_MAGIC) {
        return "no block of fio's";
    }
    if (br_get_u32(block + FIO_HEADER_CRC) != br_crc32c(UINT32_MAX, block, FIO_HEADER_CRC)) {
        return "a damaged header";
    }
    if (br_get_u32(block + 4) != len || br_get_u64(block + 16) != offset) {
        return "a block of another place";
    }
    return br_get_u32(block + FIO_DATA_CRC) != br_crc32c(UINT32_MAX, block + FIO_DATA, len - FIO_DATA) ? "damaged data"
                                                                                                       : NULL;
}

int main(int argc, char **argv)
{
    const size_t len = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    uint8_t *block = len >= FIO_BLOCK_LEAST ? malloc(len) : NULL;
    FILE *file = block ? fopen(argv[1], "re") : NULL;
    uint64_t count = 0;

    if (!file) {
        fprintf(stderr, "fio_blocks: %s: %s\n", argc > 1 ? argv[1] : "see its head", strerror(errno));
        return 3;
    }
    while (fread(block, len, 1, file) == 1) {
        const char *what = wrong(block, count * len, len);
        if (what) {
            printf("at %" PRIu64 ": %s\n", count * len, what);
            return 1;
        }
        count++;
    }
    printf("%" PRIu64 "\n", count);
    return ferror(file) ? 3 : 0;
}
