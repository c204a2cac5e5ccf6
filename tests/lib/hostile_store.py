#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client of a served repository that asks for what it likes (engine/repo/store_wire.h), with nothing of blkrep in it but an identity.

usage: hostile_store.py PORT STATE REPOSITORY ROLE < COMMANDS

Each command prints one line: NONE, or the error's code name, or what was asked for. STATE is a paired client's state folder.
    put NAME FILE     write NAME FILE [drop]   get NAME OFFSET LENGTH   size NAME   arrived NAME   space
    list PREFIX       remove NAME              settle                   raw TYPE HEX
    flood COUNT VOLUME FILE    COUNT points of VOLUME (32 digits), each with FILE's bytes: how many of each outcome
    cut               ends the connection here, without a BYE
"""
import collections
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile

ERROR, DONE, NUMBER, DATA, NAMES, OPENED, CREDIT = 19, 18, 14, 10, 16, 2, 7
ROLES = {"reader": 1, "writer": 2, "operator": 3, "admin": 4}


def string(text):
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<H", len(data)) + data


def outcome(payload):
    return payload[2 : 2 + struct.unpack_from("<H", payload)[0]].decode()


class Peer:
    def __init__(self, port, state):
        with tempfile.TemporaryDirectory() as folder:
            cert = folder + "/cert"
            subprocess.run(
                ["openssl", "req", "-x509", "-new", "-key", state + "/identity.key", "-subj", "/CN=x", "-out", cert],
                check=True, stderr=subprocess.DEVNULL)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["blkrep-store/1"])
            context.load_cert_chain(cert, state + "/identity.key")
        self.tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
        self.number = 0

    def read(self, count):
        data = b""
        while len(data) < count:
            got = self.tls.recv(count - len(data))
            if not got:
                raise EOFError("the server closed")
            data += got
        return data

    def frame(self):
        while True:
            word = struct.unpack("<I", self.read(4))[0]
            payload = self.read(word & 0xFFFFFF)
            kind = word >> 24
            if kind == 2:
                raise EOFError("goodbye " + outcome(payload))
            if kind == 0:
                return payload

    def say(self, kind, payload, number=None):
        if number is None:
            self.number += 1
            number = self.number
        message = struct.pack("<II", kind, number) + payload
        self.tls.sendall(struct.pack("<I", len(message)) + message)
        return number

    def answer(self, number):
        """The answer to a question: kind and payload; of a list also the names before it."""
        names = b""
        while True:
            message = self.frame()
            kind, of = struct.unpack_from("<II", message)
            if kind == ERROR and not of:
                raise EOFError(outcome(message[8:]))
            if of != number:
                continue
            if kind == NAMES:
                names += message[8:]
                continue
            return kind, message[8:], names

    def ask(self, kind, payload):
        kind, payload, names = self.answer(self.say(kind, payload))
        if kind in (ERROR, DONE) and (not names or outcome(payload) != "NONE"):
            return outcome(payload)
        if kind == NUMBER:
            return str(struct.unpack("<Q", payload)[0])
        if kind == DATA:
            return payload.hex()
        texts = []
        while names:
            length = struct.unpack_from("<H", names)[0]
            texts.append(names[2 : 2 + length].decode())
            names = names[2 + length :]
        return " ".join(texts)

    def write(self, name, data, keep):
        number = self.say(4, string(name))
        for at in range(0, len(data), 1 << 20):
            self.say(5, data[at : at + (1 << 20)], number)
        self.say(6, bytes([keep]), number)
        return self.ask(8, b"")


def run(peer, words):
    verb = words[0]
    if verb == "put":
        return peer.ask(3, string(words[1]) + open(words[2], "rb").read())
    if verb == "write":
        return peer.write(words[1], open(words[2], "rb").read(), len(words) < 4)
    if verb == "get":
        return peer.ask(9, struct.pack("<QI", int(words[2]), int(words[3])) + string(words[1]))
    if verb in ("size", "arrived", "remove", "list"):
        kinds = {"size": 11, "arrived": 12, "remove": 17, "list": 15}
        return peer.ask(kinds[verb], string(words[1] if len(words) > 1 else ""))
    if verb == "space":
        return peer.ask(13, b"")
    if verb == "settle":
        return peer.ask(8, b"")
    if verb == "raw":
        return peer.ask(int(words[1]), bytes.fromhex(words[2]) if len(words) > 2 else b"")
    if verb == "flood":
        data = open(words[3], "rb").read()
        counts = collections.Counter()
        for i in range(int(words[1])):
            counts[peer.ask(3, string("points/%s/%032x" % (words[2], i + 1)) + data)] += 1
        return " ".join("%s=%d" % item for item in sorted(counts.items()))
    if verb == "cut":
        os._exit(0)
    raise ValueError(verb)


def main():
    port, state, repository, role = sys.argv[1:5]
    try:
        peer = Peer(int(port), state)
        if role != "none":
            hello = b"blkrepST" + struct.pack("<HHB", 1, 1, ROLES.get(role, 99)) + string("hostile") + string(repository)
            kind, payload, _ = peer.answer(peer.say(1, hello))
            print("OPENED" if kind == OPENED else outcome(payload), flush=True)
        for line in sys.stdin:
            words = line.split()
            if words:
                print(run(peer, [word.replace("%20", " ") for word in words]), flush=True)
    except (EOFError, ssl.SSLError, ConnectionError) as why:
        print("closed:", why, flush=True)


main()
