#!/usr/bin/env python3
"""Sends a DHCPDISCOVER, then the same one cut everywhere and bent: only what is whole may be answered."""
import select
import socket
import struct
import sys
import time

MAC = bytes.fromhex("025741540001")
COOKIE = bytes.fromhex("63825363")
HEADER = 236


def option(code, value):
    return bytes((code, len(value))) + value


def discover(options, hlen=6):
    """A DISCOVER whose answer is broadcast; the transaction id is filled in by `send`."""
    header = struct.pack(">4B4sHH16s16s", 1, 1, hlen, 0, b"\0" * 4, 0, 0x8000, b"\0" * 16, MAC)
    return header + b"\0" * (HEADER - len(header)) + COOKIE + options


KIND = option(53, b"\1")
OTHERS = [option(55, b"\1\3\6\x0f"), option(60, b"PXEClient:Arch:00000:UNDI:002001"), option(12, b"cut")]
WHOLE = discover(KIND + b"".join(OTHERS) + b"\xff")
# Cut just after an option, only the end mark is missing: such a message may be answered.
EDGES = {HEADER + 4 + len(KIND + b"".join(OTHERS[:count])) for count in range(len(OTHERS) + 1)}

BENT = {
    "an option longer than the message": discover(KIND + b"\x3c\xffPXE"),
    "a kind of no bytes": discover(b"\x35\0\xff"),
    "a kind of two bytes": discover(b"\x35\2\1\1\xff"),
    "an unknown kind": discover(option(53, b"\xf0") + b"\xff"),
    "a hardware address of 255 bytes": discover(KIND + b"\xff", hlen=255),
    "another cookie": WHOLE.replace(COOKIE, b"\1\2\3\4"),
    "an answer": b"\2" + WHOLE[1:],
}

link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
link.bind(("", 68))
answered = set()


def send(number, message):
    if len(message) >= 8:
        message = message[:4] + struct.pack(">I", number) + message[8:]
    link.sendto(message, ("255.255.255.255", 67))


def listen(seconds):
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and select.select([link], [], [], left)[0]:
        message = link.recv(2048)
        if len(message) > HEADER:
            answered.add(struct.unpack(">I", message[4:8])[0])


def must_be_answered(number):
    send(number, WHOLE)
    listen(3)
    if number not in answered:
        sys.exit("a whole DHCPDISCOVER is not answered")


must_be_answered(10_000)
for length in range(len(WHOLE)):
    send(20_000 + length, WHOLE[:length])
    listen(0.001)
for number, message in enumerate(BENT.values()):
    send(30_000 + number, message)
listen(2)
must_be_answered(40_000)
for length in range(len(WHOLE)):
    if 20_000 + length in answered and length not in EDGES and length != len(WHOLE) - 1:
        sys.exit(f"a DHCPDISCOVER cut after {length} of {len(WHOLE)} bytes was answered")
for number, what in enumerate(BENT):
    if 30_000 + number in answered:
        sys.exit(f"a DHCPDISCOVER with {what} was answered")
print(f"{len(WHOLE)} cut and {len(BENT)} bent messages: silence")
