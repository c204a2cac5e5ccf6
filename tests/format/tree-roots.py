# SPDX-License-Identifier: Apache-2.0
"""Roots of version trees, computed from the text of engine/map/tree.h alone.

Reads lines "SIZE CONTENT [ROOT]" and prints them with the root that is right. CONTENT is a comma separated list of blocks or FIRST-LAST
ranges of blocks; every other block is zeros. "!" before one makes it unreadable, "?" unknown; "-" alone is an empty list.
The data of block B is SHA-256("block B") repeated to the block's length.
"""
import hashlib
import sys

BLOCK = 65536
ZERO = bytes(32)
SPECIAL = {"!": bytes(31) + b"\1", "?": bytes(31) + b"\2"}


def sha(domain, data):
    return hashlib.sha256(domain.ljust(16, b"\0") + data).digest()


def leaf_of(block, size):
    length = min(BLOCK, size - block * BLOCK)
    pattern = hashlib.sha256(b"block %d" % block).digest()
    return sha(b"blkrep leaf 1", (pattern * (BLOCK // 32))[:length])


def leaves_of(content, size):
    leaves = {}
    for item in content.split(",") if content != "-" else []:
        special = SPECIAL.get(item[0])
        first, _, last = item.lstrip("!?").partition("-")
        for block in range(int(first), int(last or first) + 1):
            leaves[block] = special or leaf_of(block, size)
    return leaves


def root_of(size, content):
    blocks = -(-size // BLOCK)
    levels = 1
    while 256 ** levels < blocks:
        levels += 1
    nodes = leaves_of(content, size)
    assert all(block < blocks for block in nodes)
    for level in range(1, levels + 1):
        parents = {}
        for index in {child // 256 for child in nodes}:
            children = b"".join(nodes.get(index * 256 + i, ZERO) for i in range(256))
            parents[index] = hashlib.sha256(b"blkrep node 1\0\0" + bytes([level]) + children).digest()
        nodes = parents
    top = nodes.get(0, ZERO)
    numbers = size.to_bytes(8, "little") + BLOCK.to_bytes(4, "little") + bytes([1, levels])
    return sha(b"blkrep root 1", numbers + top).hex()


for line in sys.stdin:
    fields = line.split()
    print(fields[0], fields[1], root_of(int(fields[0]), fields[1]))
