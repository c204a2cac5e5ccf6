# SPDX-License-Identifier: Apache-2.0
"""A reader of repositories, written from blkrep-repository(5) alone: if it reads what blkrep wrote, the page is complete.

    repository-page.py points REPO              prints a line for each point: id, volume, size, root, source, tags
    repository-page.py marks REPO               prints a line for each lease, tombstone, list and hold: its name and what it says
    repository-page.py mark-defects REPO        counts, as defects does, bits of these
    repository-page.py restore REPO POINT       writes the volume to standard output
    repository-page.py history REPO             prints a line for each note: run, number, verb and outcome
    repository-page.py defects REPO POINT       counts single flipped bits, one in each byte of each object, that go unnoticed; must be none

The passphrase is $BLKREP_PASSPHRASE. AES-GCM comes from libcrypto, XXH3 and zstd from their shared libraries. Exit status 4: the repository is
not as the page says; the reason is on stderr.
"""
import ctypes
import hashlib
import hmac
import json
import os
import struct
import sys
import uuid

BLOCK, PAGE = 65536, 4096
CONFIG, KEY, EPOCH, PACK, POINT, LEASE, TOMBSTONE, DOOMED, HOLD, HISTORY, SHREDDED, SUM = range(1, 13)
ZERO, UNREADABLE = bytes(32), bytes(31) + b"\1"

xxhash = ctypes.CDLL("libxxhash.so.0")
zstd = ctypes.CDLL("libzstd.so.1")
crypto = ctypes.CDLL("libcrypto.so.3")
xxhash.XXH3_64bits.restype = ctypes.c_uint64
xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
zstd.ZSTD_getFrameContentSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
    getattr(crypto, name).restype = ctypes.c_void_p
crypto.EVP_DecryptInit_ex.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
crypto.EVP_DecryptUpdate.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int]
crypto.EVP_DecryptFinal_ex.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)]
crypto.EVP_CIPHER_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]
crypto.EVP_CIPHER_CTX_free.argtypes = [ctypes.c_void_p]
SET_TAG = 0x11


class Bad(Exception):
    """The repository is not as the page says."""


def need(true, what):
    if not true:
        raise Bad(what)


def xxh3(data):
    return xxhash.XXH3_64bits(data, len(data))


def hkdf(key, salt, info):
    return hmac.new(hmac.new(salt, key, hashlib.sha256).digest(), info + b"\1", hashlib.sha256).digest()


def gcm_open(key, number, aad, sealed, tag):
    ctx, done = crypto.EVP_CIPHER_CTX_new(), ctypes.c_int()
    out = ctypes.create_string_buffer(len(sealed) + 16)
    try:
        need(crypto.EVP_DecryptInit_ex(ctx, crypto.EVP_aes_256_gcm(), None, key, struct.pack("<QI", number, 0)) == 1, "cipher")
        need(crypto.EVP_DecryptUpdate(ctx, None, done, aad, len(aad)) == 1, "additional data")
        if sealed:
            need(crypto.EVP_DecryptUpdate(ctx, out, done, sealed, len(sealed)) == 1, "cipher")
        crypto.EVP_CIPHER_CTX_ctrl(ctx, SET_TAG, 16, tag)
        need(crypto.EVP_DecryptFinal_ex(ctx, ctypes.create_string_buffer(16), done) == 1, "the tag")
    finally:
        crypto.EVP_CIPHER_CTX_free(ctx)
    return out.raw[:len(sealed)]


def decompress(body, raw_bytes):
    need(zstd.ZSTD_getFrameContentSize(body, len(body)) == raw_bytes, "content size of the zstd frame")
    raw = ctypes.create_string_buffer(max(raw_bytes, 1))
    need(zstd.ZSTD_decompress(raw, raw_bytes, body, len(body)) == raw_bytes, "zstd frame")
    return raw.raw[:raw_bytes]


class Fields:
    """Takes fields from the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "cut off")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), "little")

    def text(self):
        return self.take(self.number(2)).decode()

    def end(self):
        need(self.at == len(self.data), "bytes left over")


class Object:
    def __init__(self, name, data, kind):
        need(len(data) >= 80, "a head")
        magic, version, own_kind, suite, self.epoch, repository, self.salt, clear, sealed, zeros = struct.unpack(
            "<8sHBBI16s32sII8s", data[:80])
        need(magic == b"blkrepRO" and version == 1 and suite == 1 and not any(zeros), "head")
        need(own_kind == kind, "kind")
        self.repository = repository
        self.clear = data[80:80 + clear]
        self.aad = data[:80 + clear] + name.encode()
        self.sealed_bytes, self.rest = sealed, data[80 + clear:]
        need(len(self.clear) == clear, "cut off")

    def key(self, sealing_key):
        return hkdf(sealing_key, self.salt, b"blkrep object 1")

    def open(self, sealing_key):
        need(len(self.rest) == self.sealed_bytes + 16, "length")
        return gcm_open(self.key(sealing_key), 0, self.aad, self.rest[:-16], self.rest[-16:])


class Repository:
    def __init__(self, files):
        """files: name -> bytes"""
        self.files = files
        config = Object("config", files["config"], CONFIG)
        self.uuid = config.repository
        self.master = self.unlock() if config.clear[0] else b"blkrep repository, not encrypted"
        self.id_secret = config.open(self.master)
        for name in self.names("keys/"):
            if name.endswith("-sum"):
                need(self.object(name, SUM).open(self.master) == hashlib.sha256(files[name[:-4]]).digest(), "sum of a key")
        self.epochs, self.shredded = {}, set()
        for name in self.names("epochs/"):
            if name.endswith("-shredded"):
                need(len(self.object(name, SHREDDED).open(self.master)) == 8, "a shredded epoch")
                self.shredded.add(int(name[7:15]))
            else:
                self.epochs[int(name[7:])] = self.object(name, EPOCH).open(self.master)[:32]
        need({*self.epochs, *self.shredded} == {n + 1 for n in range(len({*self.epochs, *self.shredded}))}, "an epoch is missing")
        self.chunks = {}
        self.frames = {}
        for name in self.names("packs/"):
            if not self.gone(name):
                self.read_directory(name)

    def gone(self, name):
        return int.from_bytes(self.files[name][12:16], "little") in self.shredded

    def history(self):
        for name in self.names("history/"):
            if not self.gone(name):
                note = self.object(name, HISTORY)
                yield name, json.loads(note.open(self.epochs[note.epoch]))

    def names(self, prefix):
        return sorted(n for n in self.files if n.startswith(prefix) and "/tmp-" not in n)

    def object(self, name, kind):
        found = Object(name, self.files[name], kind)
        need(found.repository == self.uuid, "another repository's")
        return found

    def unlock(self):
        for name in self.names("keys/"):
            if name.endswith("-sum"):
                continue
            key = Object(name, self.files[name], KEY)
            way, log_n, r, p = key.clear[:4]
            if way != 1:
                continue
            opener = hashlib.scrypt(os.environb[b"BLKREP_PASSPHRASE"], salt=key.clear[4:36], n=1 << log_n, r=r, p=p,
                                    maxmem=1 << 30, dklen=32)
            return key.open(opener)
        raise Bad("no key that a passphrase opens")

    def read_directory(self, name):
        data, pack = self.files[name], self.object(name, PACK)
        need(pack.salt.hex() == name[9:] and name[6:8] == name[9:11], "name of a pack")
        at, length, frames, magic, check = struct.unpack("<QII8sQ", data[-32:])
        need(magic == b"blkrepPK" and check == xxh3(data[-32:-8]) and at + length + 16 + 32 == len(data), "trailer")
        key = pack.key(self.epochs[pack.epoch])
        fields = Fields(gcm_open(key, (1 << 63) + frames, pack.aad, data[at:at + length], data[at + length:at + length + 16]))
        need(fields.number(4) == frames, "number of frames")
        chunks, offset, table = fields.number(4), 96, []
        for number in range(frames):
            sealed, raw, codec, count = fields.number(4), fields.number(4), fields.number(1), fields.number(4)
            need(codec <= 1, "codec")
            table += [(number, offset, sealed, raw, codec)] * count
            offset += sealed + 16
        need(offset == at and len(table) == chunks, "directory")
        place, before = 0, None
        for number, offset, sealed, raw, codec in table:
            place = place if number == before else 0
            before = number
            kind, size, chunk_id = fields.number(1), fields.number(4), fields.take(32)
            base = fields.take(32) if kind == 2 else None
            self.chunks.setdefault((chunk_id, kind), (name, key, pack.aad, number, offset, sealed, raw, codec, place, size, base))
            place += size
        fields.end()

    def chunk(self, chunk_id, kinds):
        for kind in kinds:
            found = self.chunks.get((chunk_id, kind))
            if found:
                break
        else:
            raise Bad("a chunk that no pack has")
        name, key, aad, number, offset, sealed, raw, codec, place, size, base = found
        if (name, number) not in self.frames:
            data = self.files[name][offset:offset + sealed + 16]
            body = gcm_open(key, number, aad, data[:sealed], data[sealed:])
            self.frames[name, number] = decompress(body, raw) if codec else body
        return kind, self.frames[name, number][place:place + size], base

    def sealed(self, name, kind):
        found = self.object(name, kind)
        need(found.epoch == 0, "epoch")
        return Fields(found.open(self.master))

    def points(self):
        """Their names; tombstones are proven, and passed over."""
        for name in self.names("points/"):
            if self.files[name][10:11] == bytes([TOMBSTONE]):
                self.mark(name, TOMBSTONE)
            elif not self.gone(name):
                yield name

    def mark(self, name, kind):
        fields = self.sealed(name, kind)
        fields.take(8)
        host, why = fields.text(), fields.text()
        fields.end()
        return [host, why]

    def lease(self, name):
        fields = self.sealed(name, LEASE)
        volume, point = fields.take(16), fields.take(16)
        fields.take(8)
        host, source = fields.text(), fields.text()
        seen = [fields.take(16).hex() for _ in range(fields.number(2))]
        fields.end()
        return [volume.hex(), point.hex(), host, source] + seen

    def doomed(self, name):
        fields = self.sealed(name, DOOMED)
        fields.take(8)
        host = fields.text()
        packs = [fields.take(32).hex() for _ in range(fields.number(4))]
        fields.end()
        return [host] + packs

    def marks(self):
        for name in self.names("leases/"):
            yield [name] + self.lease(name)
        for name in self.names("doomed/"):
            yield [name] + self.doomed(name)
        for name in self.names("holds/"):
            yield [name] + self.mark(name, HOLD)
        for name in self.names("points/"):
            if self.files[name][10:11] == bytes([TOMBSTONE]):
                yield [name] + self.mark(name, TOMBSTONE)

    def point(self, name):
        fields = Fields(self.object(name, POINT).open(self.epochs[self.object(name, POINT).epoch]))
        point = {"id": fields.take(16), "volume": fields.take(16), "number": fields.number(8), "parent": fields.take(16)}
        fields.take(32)
        point.update(root=fields.take(32), size=fields.number(8), top=fields.take(32), sector=fields.number(4))
        need(fields.number(1) == 1, "hash id")
        point.update(consistency=fields.number(1), type=fields.number(1), domain=fields.take(16))
        fields.take(40)
        fields.text(), fields.text()
        point["source"] = fields.text()
        point["tags"] = [fields.text() for _ in range(fields.number(2))]
        fields.end()
        need(name == f"points/{point['volume'].hex()}/{point['id'].hex()}", "name of a point")
        return point


class Version:
    def __init__(self, repository, point):
        self.repository, self.size, self.top = repository, point["size"], point["top"]
        self.blocks = -(-self.size // BLOCK)
        self.levels = 1
        while 256 ** self.levels < self.blocks:
            self.levels += 1
        root = hashlib.sha256(b"blkrep root 1\0\0\0" + struct.pack("<QIBB", self.size, BLOCK, 1, self.levels) + self.top).digest()
        need(root == point["root"], "root")
        self.key = hkdf(repository.id_secret, bytes(32), b"blkrep domain 1" + point["domain"])

    def id(self, of_what, value):
        return hmac.new(self.key, bytes([of_what]) + value, hashlib.sha256).digest()

    def uniform(self, level, index):
        """The hash of a node whose leaves are all UNREADABLE."""
        if index << (8 * level) >= self.blocks:
            return ZERO
        if not level:
            return UNREADABLE
        return node_hash(level, [self.uniform(level - 1, 256 * index + c) for c in range(256)])

    def leaves(self, level, index, value):
        """The leaves of a node, up to the end of the volume, as pairs of block and leaf; ZERO ones left out."""
        if value == ZERO or index << (8 * level) >= self.blocks:
            return
        if not level:
            yield index, value
            return
        if level == 1 and value == self.uniform(1, index):
            hashes = [self.uniform(0, 256 * index + c) for c in range(256)]
        else:
            hashes = decode_node(level, self.repository.chunk(self.id(2, value), [3])[1])
            need(node_hash(level, hashes) == value, "hash of a node")
        for c in range(256):
            yield from self.leaves(level - 1, 256 * index + c, hashes[c])

    def block(self, index, leaf):
        size = min(BLOCK, self.size - index * BLOCK)
        if leaf == UNREADABLE:
            return bytes(size)
        kind, data, base = self.repository.chunk(self.id(1, leaf), [1, 2])
        if kind == 2:
            fields = Fields(data)
            zeros, pages = fields.number(2), fields.number(2)
            block = bytearray(self.repository.chunk(base, [1])[1])
            need(len(block) == size, "length of a base")
            for p in range(16):
                length = max(0, min(PAGE, size - p * PAGE))
                if zeros >> p & 1:
                    block[p * PAGE:p * PAGE + length] = bytes(length)
                elif pages >> p & 1:
                    block[p * PAGE:p * PAGE + length] = fields.take(length)
            fields.end()
            data = bytes(block)
        need(len(data) == size and hashlib.sha256(b"blkrep leaf 1\0\0\0" + data).digest() == leaf, "a leaf")
        return data

    def write(self, out):
        at = 0
        for index, leaf in self.leaves(self.levels, 0, self.top):
            while at < index:
                out(bytes(BLOCK))
                at += 1
            out(self.block(index, leaf))
            at += 1
        for index in range(at, self.blocks):
            out(bytes(min(BLOCK, self.size - index * BLOCK)))


def node_hash(level, hashes):
    return ZERO if not any(map(any, hashes)) else hashlib.sha256(b"blkrep node 1\0\0" + bytes([level]) + b"".join(hashes)).digest()


def decode_node(level, data):
    need(xxh3(data[8:]) == int.from_bytes(data[:8], "little"), "checksum of a node")
    fields = Fields(data[8:])
    need(fields.take(4) == b"BKTN" and fields.number(1) == 1 and fields.number(1) == level and fields.number(2) == 0, "a node")
    mask, hashes = fields.take(32), []
    for c in range(256):
        hashes.append(fields.take(32) if mask[c // 8] >> (c % 8) & 1 else ZERO)
        if level > 1 and hashes[-1] != ZERO:
            need(fields.number(8) <= 1, "a ref")
    fields.end()
    return hashes


def load(path):
    files = {}
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            with open(full, "rb") as f:
                files[os.path.relpath(full, path)] = f.read()
    return files


def read_point(files, which):
    repository = Repository(files)
    for name in repository.points():
        if name.split("/")[2].startswith(which.replace("-", "")):
            found, parts = repository.point(name), []
            Version(repository, found).write(parts.append)
            return b"".join(parts), repository
    raise Bad("no such point")


def defects(files, which):
    whole, repository = read_point(files, which)
    points = repository.names("points/")
    missed = 0
    for name in sorted(files):
        # Other points are not part of this one, and a byte in the data of each of ten thousand frames proves no more than some do.
        if name in points and which.replace("-", "") not in name or name.startswith("history/"):
            continue
        data = files[name]
        step = 1 if len(data) < 4096 else len(data) // 300
        for at in range(0, len(data), step):
            broken = dict(files)
            broken[name] = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1:]
            try:
                if read_point(broken, which)[0] != whole:
                    print(f"{name}: byte {at}: other data", file=sys.stderr)
                    missed += 1
                elif not name.startswith("packs/"):
                    print(f"{name}: byte {at}: not noticed", file=sys.stderr)
                    missed += 1
            except (Bad, KeyError, ValueError, UnicodeDecodeError, struct.error):
                pass
    print(missed)


def mark_defects(files):
    """As defects(), of marks; a byte that makes one of another kind leaves it out of the list, or is found where that kind is read."""
    repository = Repository(files)
    missed = 0
    for name in [mark[0] for mark in repository.marks()]:
        whole = files[name]
        for at in range(len(whole)):
            repository.files = dict(files)
            repository.files[name] = whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1:]
            try:
                if name in [mark[0] for mark in repository.marks()]:
                    print(f"{name}: byte {at}: not noticed", file=sys.stderr)
                    missed += 1
            except (Bad, ValueError, UnicodeDecodeError, struct.error):
                pass
    print(missed)


def main():
    verb, path = sys.argv[1:3]
    files = load(path)
    if verb == "points":
        repository = Repository(files)
        for name in repository.points():
            p = repository.point(name)
            print(uuid.UUID(bytes=p["id"]), uuid.UUID(bytes=p["volume"]), p["size"], p["root"].hex(), p["source"], ",".join(p["tags"]) or "-")
    elif verb == "marks":
        for mark in Repository(files).marks():
            print(*mark)
    elif verb == "history":
        for name, note in Repository(files).history():
            print(name.split("/")[2].split("-")[0], name[-2:], note["verb"].replace(" ", "-"), note.get("outcome", "-"))
    elif verb == "restore":
        sys.stdout.buffer.write(read_point(files, sys.argv[3])[0])
    elif verb == "mark-defects":
        mark_defects(files)
    elif verb == "defects":
        defects(files, sys.argv[3])
    else:
        sys.exit(2)


try:
    main()
except Bad as bad:
    print(f"repository-page.py: {bad}", file=sys.stderr)
    sys.exit(4)
