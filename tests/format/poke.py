#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes one defect in a copy of an image of the kernel's metadata.

    poke.py IN OUT OFFSET HEX [SEAL]     the bytes HEX at OFFSET
    poke.py IN OUT cut BYTES             only the first BYTES

SEAL makes the checksum of the 4096-byte block right again, so that the defect is all there is: superblock, node, array, index
or bitmap, as drivers/md of Linux names what the checksum is XORed with.
"""
import sys

XOR = {"superblock": 146538381, "node": 121107, "array": 595846735, "index": 160478, "bitmap": 240779}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def main():
    source, target, where = sys.argv[1:4]
    with open(source, "rb") as f:
        image = bytearray(f.read())
    if where == "cut":
        image = image[: int(sys.argv[4])]
    else:
        offset, new = int(where), bytes.fromhex(sys.argv[4])
        if image[offset : offset + len(new)] == new:
            sys.exit("poke.py: nothing would change")
        image[offset : offset + len(new)] = new
        if len(sys.argv) > 5:
            block = offset // 4096 * 4096
            seal = crc32c(image[block + 4 : block + 4096]) ^ XOR[sys.argv[5]]
            image[block : block + 4] = seal.to_bytes(4, "little")
    with open(target, "wb") as f:
        f.write(image)


main()
