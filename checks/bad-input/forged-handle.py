#!/usr/bin/env python3
"""Sends NFSv3 GETATTR with handles nobody was given: each must be refused with an NFS error."""
import os
import socket
import struct
import sys

NFS3_OK, BADHANDLE, STALE = 0, 10001, 70


def getattr_status(server, handle):
    with socket.create_connection((server, 2049), timeout=5) as link:
        padded = handle + b"\0" * (-len(handle) % 4)
        call = struct.pack(">6I", 7, 0, 2, 100003, 3, 1)
        call += struct.pack(">2I", 0, 0) * 2 + struct.pack(">I", len(handle)) + padded
        link.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        answer = b""
        while len(answer) < 32:
            piece = link.recv(4096)
            if not piece:
                return None
            answer += piece
        # record mark, xid, reply, accepted, verifier flavour and length, accept status, NFS status
        accepted, status = struct.unpack(">I", answer[24:28])[0], struct.unpack(">I", answer[28:32])[0]
        return status if accepted == 0 else f"rpc {accepted}"


for size in (4, 16, 32, 48, 64):
    for handle in (b"\0" * size, b"\1" + b"\0" * (size - 1), os.urandom(size)):
        status = getattr_status(sys.argv[1], handle)
        if status not in (BADHANDLE, STALE):
            sys.exit(f"a forged handle of {size} bytes was answered with {status}")
print("15 forged handles refused")
