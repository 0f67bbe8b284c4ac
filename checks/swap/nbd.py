#!/usr/bin/env python3
"""nbd.py SERVER: speaks the bytes of the node protocol to the swap service, and wrong ones."""

import os
import socket
import struct
import sys

SERVER = sys.argv[1]
GREETING = bytes.fromhex("4e42444d41474943 49484156454f5054 0003".replace(" ", ""))
GO = bytes.fromhex("49484156454f5054 00000007 0000000e 00000008 737761702d313647 0000".replace(" ", ""))
HEAD = bytes.fromhex("0003e889045565a9")
GRANTED = (
    HEAD + bytes.fromhex("00000007 00000003 0000000e 0003 00000001 00001000 00100000".replace(" ", ""))
    + HEAD + bytes.fromhex("00000007 00000003 0000000c 0000 0000000400000000 0000".replace(" ", ""))
    + HEAD + bytes.fromhex("00000007 00000001 00000000".replace(" ", ""))
)
UNSUP, POLICY, INVALID, UNKNOWN = 0x80000001, 0x80000002, 0x80000003, 0x80000006
READ, WRITE, DISC, FLUSH, TRIM = 0, 1, 2, 3, 4
GIB = 1 << 30


class Client:
    def __init__(self, flags=3):
        self.socket = socket.create_connection((SERVER, 10809), timeout=30)
        assert self.take(18) == GREETING
        if flags is not None:
            self.put(struct.pack(">I", flags))

    def put(self, data):
        self.socket.sendall(data)

    def take(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            assert piece, f"closed after {data!r}"
            data += piece
        return data

    def closed(self):
        try:
            data = self.socket.recv(100)
        except ConnectionResetError:
            data = b""
        assert data == b"", data

    def option(self, code, data=b""):
        self.put(b"IHAVEOPT" + struct.pack(">II", code, len(data)) + data)

    def reply(self, code):
        magic, option, kind, length = struct.unpack(">QIII", self.take(20))
        assert magic == 0x3E889045565A9 and option == code, (magic, option)
        return kind, self.take(length)

    def go(self, name=b"swap-16G", size=16 * GIB):
        self.option(7, struct.pack(">I", len(name)) + name + b"\0\0")
        assert self.reply(7)[0] == 3
        kind, data = self.reply(7)
        assert kind == 3 and struct.unpack(">HQ", data[:10]) == (0, size), data
        assert self.reply(7) == (1, b"")
        return self

    def ask(self, kind, offset=0, length=0, data=b"", magic=0x25609513):
        cookie = os.urandom(8)
        self.put(struct.pack(">IHH", magic, 0, kind) + cookie + struct.pack(">QI", offset, length) + data)
        if kind == DISC or magic != 0x25609513:
            return self.closed()
        answer, error = struct.unpack(">II", self.take(8))
        assert answer == 0x67446698 and self.take(8) == cookie
        if kind == READ and error == 0:
            return self.take(length)
        return error


def transcript():
    client = Client()
    client.put(GO)
    assert client.take(len(GRANTED)) == GRANTED
    client.socket.close()
    # Byte by byte, with the first request behind.
    slow = Client(flags=None)
    for byte in struct.pack(">I", 3) + GO:
        slow.put(bytes([byte]))
    assert slow.take(len(GRANTED)) == GRANTED
    page = os.urandom(4096)
    assert slow.ask(WRITE, 8192, 4096, page) == 0
    assert slow.ask(READ, 8192, 4096) == page
    assert slow.ask(READ, 16 * GIB - 512, 512) == bytes(512)
    # Two requests at once are answered in order.
    one = struct.pack(">IHHQQI", 0x25609513, 0, READ, 1, 8192, 10)
    two = struct.pack(">IHHQQI", 0x25609513, 0, READ, 2, 8202, 10)
    slow.put(one + two)
    assert slow.take(26) == struct.pack(">IIQ", 0x67446698, 0, 1) + page[:10]
    assert slow.take(26) == struct.pack(">IIQ", 0x67446698, 0, 2) + page[10:20]
    # Lost without a word: what comes back finds its bytes. Ended: it does not.
    slow.socket.close()
    again = Client().go()
    assert again.ask(READ, 8192, 4096) == page
    again.ask(DISC)
    assert Client().go().ask(READ, 8192, 4096) == bytes(4096)


def sizes():
    for name, size in ((b"swap-1G", 1), (b"swap-2G", 2), (b"swap-0G", 1), (b"swap-64G", 64), (b"swap-9999G", 64)):
        Client().go(name, size * GIB).ask(DISC)
    for name in (b"", b"swap-", b"swap-G", b"swap--1G", b"swap-1.5G", b"../etc/passwd", b"swap-1G@../x", b"\xff\xfe", b"swap-1G\0"):
        client = Client()
        client.option(7, struct.pack(">I", len(name)) + name + b"\0\0")
        assert client.reply(7) == (UNKNOWN, b""), name
        # The client may ask for another one.
        client.go().ask(DISC)


def options():
    client = Client()
    for code in (0, 4, 5, 8, 9, 10, 0xFFFFFFFF):
        client.option(code, b"whatever")
        assert client.reply(code) == (UNSUP, b"")
    client.option(3)
    assert client.reply(3) == (2, b"\0\0\0\x08swap-16G")
    assert client.reply(3) == (1, b"")
    for data in (b"", b"\0\0\0", b"\xff\xff\xff\xffswap-16G", b"\0\0\0\x09swap-16G"):
        client.option(7, data)
        assert client.reply(7)[0] == INVALID, data
    client.option(6, b"\0\0\0\x08swap-16G\0\0")
    assert [client.reply(6)[0] for _ in range(3)] == [3, 3, 1]
    client.option(2)
    assert client.reply(2) == (1, b"")
    client.closed()
    # The old way to start, with its padding and without.
    for flags, padding in ((1, 124), (3, 0)):
        client = Client(flags)
        client.option(1, b"swap-2G")
        assert client.take(10 + padding) == struct.pack(">QH", 2 * GIB, 0) + bytes(padding)
        client.ask(DISC)


def wrong():
    for data in (b"GET / HTTP/1.1\r\n\r\n", struct.pack(">I", 0), struct.pack(">I", 3) + b"IHAVEOPX" + bytes(8)):
        client = Client(flags=None)
        client.put(data)
        client.closed()
    client = Client()
    client.put(b"IHAVEOPT" + struct.pack(">II", 7, 1 << 30))
    client.closed()
    client = Client()
    for _ in range(32):
        client.option(3)
        client.reply(3), client.reply(3)
    client.option(3)
    client.closed()
    client = Client()
    client.option(1, b"no-such-name")
    client.closed()
    client = Client().go()
    assert client.ask(READ, 16 * GIB, 1) == 22
    assert client.ask(READ, 2**64 - 1, 512) == 22
    assert client.ask(WRITE, 16 * GIB - 1, 2, b"xx") == 28
    assert client.ask(77) == 22
    assert client.ask(WRITE, 0, 0) == 0
    assert client.ask(READ, 0, 0) == b""
    client.ask(READ, 0, 512, magic=0x12345678)
    client.socket.close()
    client = Client().go()
    client.put(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, 0xFFFFFFFF))
    client.closed()
    client.socket.close()
    client = Client().go()
    # Half a request, half its data, then nothing.
    client.put(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, 4096) + bytes(100))
    client.socket.close()


def flagged():
    client = Client().go(b"swap-1G@boot-1", GIB)
    data = os.urandom(5 << 20)
    assert client.ask(WRITE, 4096, len(data), data) == 0
    assert client.ask(READ, 4096, len(data)) == data
    assert client.ask(FLUSH) == 0
    assert client.ask(TRIM, 0, 8192) == 0
    assert client.ask(READ, 0, 16384) == bytes(8192) + data[4096:12288]
    # A second connection takes nothing away from one that lives.
    other = Client()
    other.option(7, b"\0\0\0\x08swap-16G\0\0")
    assert other.reply(7)[0] == POLICY
    # The same boot finds its bytes again; another one has nothing.
    client.socket.close()
    other = Client().go(b"swap-1G@boot-1", GIB)
    assert other.ask(READ, 8192, 4096) == data[4096:8192]
    other.socket.close()
    assert Client().go(b"swap-1G@boot-2", GIB).ask(READ, 8192, 4096) == bytes(4096)


for part in (transcript, sizes, options, wrong, flagged):
    part()
    print(part.__name__, "ok")
