# SPDX-License-Identifier: Apache-2.0
"""A reader of delta streams, written from blkrep-stream(5) alone: if it reads what blkrep wrote, the page is complete.

    stream-page.py dump STREAM           prints the records as `blkrep dump --blocks` does
    stream-page.py apply STREAM VOLUME   makes VOLUME (the parent, or nothing) the result, and checks its root
    stream-page.py defects STREAM        counts which single flipped bits and cut-off ends are not refused; must be none
    stream-page.py transcript PAGE       prints, as bytes, the stream that the page's EXAMPLE shows

XXH3 and zstd come from their shared libraries. Exit status 4: the stream is not as the page says; the reason is on stderr.
"""
import ctypes
import datetime
import hashlib
import re
import struct
import sys
import uuid

PREAMBLE = b"blkrep stream 1\n"
BLOCK, PAGE, PAGES, TABLE_MAX, BODY_MAX = 65536, 4096, 16, 1024, 1048576
HEADER, RESIZE, DATA, RUN, NOTE, END = 1, 2, 3, 4, 5, 6
IGNORABLE, ZSTD = 1, 2
ZERO, UNREADABLE, UNKNOWN = bytes(32), bytes(31) + b"\1", bytes(31) + b"\2"
NIL = bytes(16)

xxhash = ctypes.CDLL("libxxhash.so.0")
zstd = ctypes.CDLL("libzstd.so.1")


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
xxhash.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
xxhash.XXH3_128bits.restype = Hash128
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
zstd.ZSTD_getFrameContentSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t
zstd.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


class Bad(Exception):
    """The stream is not as the page says."""


def need(true, what):
    if not true:
        raise Bad(what)


def xxh3(data, seed=0):
    return xxhash.XXH3_64bits_withSeed(data, len(data), seed)


def xxh3_128(data):
    both = xxhash.XXH3_128bits(data, len(data))
    return both.high.to_bytes(8, "big") + both.low.to_bytes(8, "big")


def decompress(body, raw_bytes):
    need(zstd.ZSTD_getFrameContentSize(body, len(body)) == raw_bytes, "content size of the zstd frame")
    need(zstd.ZSTD_findFrameCompressedSize(body, len(body)) == len(body), "not exactly one zstd frame")
    raw = ctypes.create_string_buffer(max(raw_bytes, 1))
    need(zstd.ZSTD_decompress(raw, raw_bytes, body, len(body)) == raw_bytes, "zstd frame")
    return raw.raw[:raw_bytes]


class Reader:
    """Gives the records of a stream one by one."""

    def __init__(self, data):
        self.data = data
        self.chain = xxh3(PREAMBLE)
        self.digest = bytes(16)
        self.sequence = 0
        self.at = len(PREAMBLE)
        self.next_block = 0
        self.header = None
        self.resize_due = False
        self.ended = False
        self.counts = dict.fromkeys(("data", "zeros", "unreadable", "records"), 0)

    def take(self, start, count):
        need(start + count <= len(self.data), "cut off")
        return self.data[start:start + count]

    def records(self):
        need(self.take(0, 16) == PREAMBLE, "preamble")
        while not self.ended:
            head = self.take(self.at, 32)
            magic, kind, flags, table_bytes, sequence, body_bytes, raw_bytes, checksum = struct.unpack("<4sBBHQIIQ", head)
            need(magic == b"BRf1", "magic")
            need(table_bytes <= TABLE_MAX and body_bytes <= BODY_MAX and raw_bytes <= BODY_MAX, "lengths")
            need(body_bytes < raw_bytes if flags & ZSTD else body_bytes == raw_bytes, "length of the body")
            table = self.take(self.at + 32, table_bytes)
            body = self.take(self.at + 32 + table_bytes, body_bytes)
            need(sequence == self.sequence, "sequence")
            payload = xxh3(body, xxh3(table))
            need(checksum == xxh3(head[:24] + struct.pack("<Q", payload), self.chain), "checksum")
            need(not flags & ~(IGNORABLE | ZSTD), "flags")
            need((kind == HEADER) == (sequence == 0), "the HEADER is the first frame")
            if kind in READERS:
                need(kind == DATA or not body_bytes, "a body")
                raw = decompress(body, raw_bytes) if flags & ZSTD else body
                yield kind, sequence, self.at, flags, READERS[kind](self, table, raw)
            else:
                need(flags & IGNORABLE, "unknown type")
            self.chain = checksum
            self.digest = xxh3_128(self.digest + head)
            self.sequence += 1
            self.at += 32 + table_bytes + body_bytes
        need(self.at == len(self.data), "bytes behind the END")

    def read_header(self, table, _):
        need(len(table) >= 146, "length of the HEADER")
        names = ("stream volume counter id parent_id parent_root parent_size size sector hash consistency full zero block "
                 "page taken label_bytes").split()
        h = dict(zip(names, struct.unpack("<16s16sQ16s16s32sQQIBBBBIIQH", table[:146])))
        h["label"] = table[146:]
        need(h["label_bytes"] == len(h["label"]) <= 255 and 0 not in h["label"], "label")
        need(NIL not in (h["stream"], h["volume"], h["id"]), "nil id")
        need(max(h["size"], h["parent_size"]) <= 1 << 62, "size")
        need(h["sector"] in [512 << i for i in range(8)], "sector size")
        need(h["hash"] == 1 and h["block"] == BLOCK and h["page"] == PAGE, "hash, block or page of a newer program")
        need(h["consistency"] <= 2 and h["full"] <= 1 and h["zero"] == 0, "HEADER")
        if h["full"]:
            need(h["parent_id"] == NIL and h["parent_root"] == ZERO and h["parent_size"] == 0, "full with a parent")
        else:
            need(h["parent_id"] != NIL and h["parent_root"] != ZERO, "no parent")
        self.header = h
        self.blocks = -(-h["size"] // BLOCK)
        self.resize_due = not h["full"] and h["parent_size"] != h["size"]
        return h

    def read_resize(self, table, _):
        need(table == struct.pack("<QQ", self.header["parent_size"], self.header["size"]), "RESIZE")
        need(self.resize_due, "RESIZE that is not due")
        self.resize_due = False
        return struct.unpack("<QQ", table)

    def page_range(self, block, page):
        start = block * BLOCK + page * PAGE
        return start, min(start + PAGE, self.header["size"])

    def take_blocks(self, first, count):
        need(not self.resize_due, "blocks before the RESIZE")
        need(first >= self.next_block and first + count <= self.blocks, "blocks ascend and lie in the volume")
        self.next_block = first + count

    def masked(self, block, mask):
        ranges = [self.page_range(block, page) for page in range(PAGES) if mask & 1 << page]
        need(all(start < end for start, end in ranges), "a page that the volume does not have")
        return ranges

    def read_data(self, table, raw):
        need(table and len(table) % 44 == 0 and len(table) <= 16 * 44, "length of DATA")
        blocks, at = [], 0
        for block, leaf, pages, zeros in struct.iter_unpack("<Q32sHH", table):
            self.take_blocks(block, 1)
            need(not pages & zeros and leaf not in (UNREADABLE, UNKNOWN), "DATA")
            writes = []
            for start, end in self.masked(block, pages):
                writes.append((start, raw[at:at + end - start]))
                at += end - start
            clears = self.masked(block, zeros)
            self.counts["zeros"] += sum(end - start for start, end in clears)
            blocks.append((block, leaf, pages, zeros, writes, clears))
        need(at == len(raw), "length of the body")
        self.counts["data"] += at
        self.counts["records"] += 1
        return blocks, at

    def read_run(self, table, _):
        need(len(table) == 24, "length of RUN")
        kind, zero, first, count = struct.unpack("<IIQQ", table)
        need(kind in RUNS and not zero and count, "RUN")
        self.take_blocks(first, count)
        if RUNS[kind] == "unreadable":
            self.counts["unreadable"] += count
        else:
            self.counts["zeros"] += min((first + count) * BLOCK, self.header["size"]) - first * BLOCK
        self.counts["records"] += 1
        return RUNS[kind], first, count

    def read_note(self, table, _):
        need(len(table) <= 1000 and 0 not in table, "NOTE")
        return table

    def read_end(self, table, _):
        need(len(table) == 88 and not self.resize_due, "END")
        root, data, zeros, unreadable, records, frames, digest = struct.unpack("<32sQQQQQ16s", table)
        counts = {"data": data, "zeros": zeros, "unreadable": unreadable, "records": records}
        need(counts == self.counts and frames == self.sequence and digest == self.digest, "END counts other records")
        self.ended = True
        return root


READERS = {HEADER: Reader.read_header, RESIZE: Reader.read_resize, DATA: Reader.read_data, RUN: Reader.read_run,
           NOTE: Reader.read_note, END: Reader.read_end}
RUNS = {1: "zero", 2: "discard", 3: "unreadable"}


def name(raw):
    return "none" if raw == NIL else str(uuid.UUID(bytes=raw))


def dump_header(h):
    print(f"  stream {name(h['stream'])}\n  volume {name(h['volume'])}")
    print(f"  generation {h['counter']} id {name(h['id'])} parent {name(h['parent_id'])}")
    consistency = ("none", "crash", "clean")[h["consistency"]]
    print(f"  size {h['size']} bytes, sectors of {h['sector']}, hash SHA-256, consistency {consistency}")
    print("  full" if h["full"] else f"  parent root {h['parent_root'].hex()}\n  parent size {h['parent_size']} bytes")
    taken = datetime.datetime.fromtimestamp(h["taken"] // 10**9, datetime.timezone.utc)
    print(f"  taken {taken:%Y-%m-%dT%H:%M:%SZ}\n  label {h['label'].decode()}")


def dump(data):
    print("delta stream")
    reader = Reader(data)
    for kind, sequence, at, flags, record in reader.records():
        where = f"frame {sequence} at {at}:"
        if kind == HEADER:
            print(where, "header")
            dump_header(record)
        elif kind == RESIZE:
            print(where, "resize from %d to %d bytes" % record)
        elif kind == DATA:
            blocks, count = record
            packed = ", compressed" if flags & ZSTD else ""
            print(where, f"data, {len(blocks)} blocks {blocks[0][0]}..{blocks[-1][0]}, {count} bytes{packed}")
            for block, leaf, pages, zeros, _, _ in blocks:
                print(f"  block {block} pages {pages:04x} zeros {zeros:04x} leaf {leaf.hex()}")
        elif kind == RUN:
            print(where, "%s, %d blocks from %d" % (record[0], record[2], record[1]))
        elif kind == NOTE:
            print(where, "note", record.decode())
        elif kind == END:
            c = reader.counts
            print(where, f"end\n  root {record.hex()}")
            print(f"  data {c['data']} bytes, zeros {c['zeros']} bytes, unreadable {c['unreadable']} blocks, "
                  f"{c['records']} records")


def sha(label, data):
    return hashlib.sha256(label + data).digest()


def root_of(volume, unreadable):
    blocks = -(-len(volume) // BLOCK)
    nodes = []
    for block in range(blocks):
        content = bytes(volume[block * BLOCK:(block + 1) * BLOCK])
        nodes.append(UNREADABLE if block in unreadable else sha(b"blkrep leaf 1\0\0\0", content) if any(content) else ZERO)
    levels = 1
    while 256 ** levels < blocks:
        levels += 1
    for level in range(1, levels + 1):
        groups = [nodes[i:i + 256] for i in range(0, max(len(nodes), 1), 256)]
        nodes = [sha(b"blkrep node 1\0\0" + bytes([level]), b"".join(g + [ZERO] * (256 - len(g))))
                 if any(any(child) for child in g) else ZERO for g in groups]
    return sha(b"blkrep root 1\0\0\0", struct.pack("<QIBB", len(volume), BLOCK, 1, levels) + nodes[0])


def apply(data, path):
    reader, unreadable, root = Reader(data), set(), None
    for kind, _, _, _, record in reader.records():
        if kind == HEADER:
            volume = bytearray()
            if not record["full"]:
                with open(path, "rb") as parent:
                    volume = bytearray(parent.read())
                need(len(volume) == record["parent_size"] and root_of(volume, ()) == record["parent_root"], "another parent")
            volume = volume[:record["size"]] + bytes(max(0, record["size"] - len(volume)))
        elif kind == DATA:
            for _, _, _, _, writes, clears in record[0]:
                for start, content in writes:
                    volume[start:start + len(content)] = content
                for start, end in clears:
                    volume[start:end] = bytes(end - start)
        elif kind == RUN:
            start, end = record[1] * BLOCK, min((record[1] + record[2]) * BLOCK, len(volume))
            if record[0] == "unreadable":
                unreadable.update(range(record[1], record[1] + record[2]))
            else:
                volume[start:end] = bytes(end - start)
        elif kind == END:
            root = record
    need(root_of(volume, unreadable) == root, "another root")
    with open(path, "wb") as result:
        result.write(volume)
    print(root.hex())


def refused(data):
    try:
        for _ in Reader(data).records():
            pass
    except Bad:
        return True
    return False


def defects(data):
    passed = tried = 0
    for at in range(len(data)):
        tried += 9
        passed += not refused(data[:at])
        for bit in range(8):
            passed += not refused(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1:])
    tried += 1
    passed += not refused(data + b"\0")
    print(f"{tried} defects, {passed} not refused")
    need(not passed and not refused(data), "a defect was not refused")


def transcript(page):
    data = b""
    for line in page.decode().split("\n"):
        found = re.match(r"([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)(?: |$)", line)
        if found:
            need(int(found[1], 16) == len(data), "offsets of the transcript")
            data += bytes.fromhex(found[2])
    sys.stdout.buffer.write(data)


def main():
    verbs = {"dump": dump, "apply": apply, "defects": defects, "transcript": transcript}
    with open(sys.argv[2], "rb") as file:
        data = file.read()
    try:
        verbs[sys.argv[1]](data, *sys.argv[3:])
    except Bad as bad:
        print(f"{sys.argv[2]}: {bad}", file=sys.stderr)
        return 4
    return 0


sys.exit(main())
