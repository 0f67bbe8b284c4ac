#!/usr/bin/env python3
"""Uses NFSv3 handles nobody was given, and bent copies of a real one: each must be refused with an NFS error.

usage: forged-handle.py SERVER DIRECTORY    (a directory this machine may mount)
"""
import os
import socket
import struct
import sys

OK, BADHANDLE, STALE = 0, 10001, 70
NFS, MOUNT = 100003, 100005
GETATTR, LOOKUP, READ, READDIRPLUS = 1, 3, 6, 17


def opaque(data):
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


def call(program, procedure, arguments):
    """The result of an RPC call of version 3; None when the server hung up, a text when it rejected it."""
    with socket.create_connection((sys.argv[1], 2049), timeout=5) as link:
        message = struct.pack(">6I", 7, 0, 2, program, 3, procedure) + b"\0" * 16 + arguments
        link.sendall(struct.pack(">I", 0x80000000 | len(message)) + message)
        answer = b""
        while len(answer) < 4 or len(answer) < 4 + (struct.unpack(">I", answer[:4])[0] & 0x7FFFFFFF):
            piece = link.recv(65536)
            if not piece:
                return None
            answer += piece
    # record mark, xid, reply, accepted, verifier flavour and length, accept status, result
    accepted = struct.unpack(">I", answer[24:28])[0]
    return answer[28:] if accepted == 0 else f"RPC error {accepted}"


def status(result):
    return struct.unpack(">I", result[:4])[0] if isinstance(result, bytes) else result


def handle_in(result):
    size = struct.unpack(">I", result[4:8])[0]
    return result[8 : 8 + size]


AFTER_HANDLE = {
    GETATTR: b"",
    LOOKUP: opaque(b"etc"),
    READ: struct.pack(">QI", 0, 4096),
    READDIRPLUS: struct.pack(">QQII", 0, 0, 4096, 32768),
}
refused = 0


def refuse(handle, what, answers=(BADHANDLE, STALE)):
    global refused
    for procedure, rest in AFTER_HANDLE.items():
        answer = status(call(NFS, procedure, opaque(handle) + rest))
        if answer not in answers:
            sys.exit(f"procedure {procedure} with {what} was answered with {answer}: {handle.hex()}")
    refused += 1


mounted = call(MOUNT, 1, opaque(sys.argv[2].encode()))
if status(mounted) != OK:
    sys.exit(f"cannot mount {sys.argv[2]}: {status(mounted)}")
root = handle_in(mounted)
if status(call(NFS, GETATTR, opaque(root))) != OK:
    sys.exit("the real handle does not work")

for size in (0, 4, 16, 31, 32, 48, 64):
    for handle in (b"\0" * size, b"\1" + b"\0" * max(size - 1, 0), os.urandom(size)):
        refuse(handle, f"a forged handle of {size} bytes")
refuse(os.urandom(65), "a handle longer than NFS has", ("RPC error 4", None))
for place in range(len(root)):
    bent = bytearray(root)
    bent[place] ^= 1 << place % 8
    refuse(bytes(bent), f"a handle bent at byte {place}")
    refuse(root[:place], f"a handle cut after {place} bytes")
refuse(root + b"\0", "a handle with one byte more")

above = call(NFS, LOOKUP, opaque(root) + opaque(b".."))
if status(above) == OK and handle_in(above) != root:
    sys.exit("`..` of the root is something else than the root")
for name in (b"../..", b"../../etc/shadow", b"etc/shadow", b"/etc/shadow", b"", b"a\0b", b"n" * 300):
    if status(call(NFS, LOOKUP, opaque(root) + opaque(name))) == OK:
        sys.exit(f"a file is called {name!r}")
print(f"{refused} forged handles refused")
