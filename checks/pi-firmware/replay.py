#!/usr/bin/env python3
"""Plays the part of a board, packet by packet, as a trace tells it, and compares every answer.

Usage: replay.py TRACE PHASE --interface IF --server IP --static DIR --image DIR [--name NAME] [--held FILE]

A trace is a text file, one line per packet: `>` is sent by the board, `<` is what must come back. It has
phases (`= NAME`); one is played at a time. Words in braces are replaced ({server}, {name}, {serial}, {ip}...).

  > discover|request NAME=VALUE...     DHCP; `xid`, `secs`, or a number: that option, in this order
  < offer|ack NAME=VALUE...            every field and every option there must be, and no other
  < again MILLISECONDS                 the same OFFER comes again after about that time
  > read FILE [OPTION=VALUE...]        TFTP
  < static|image FILE                  that file of that folder, whole, at the block size agreed to
  < missing                            error 1, at once
  > get PATH                           HTTP
  < STATUS TEXT                        its status and its body (`empty`: none)

Values of options: 0x... is bytes, a number with a width is `4:6000000`, anything else is text.
"""
import argparse
import http.client
import pathlib
import re
import select
import socket
import struct
import subprocess
import sys
import time

PROMPT = 2.0  # seconds: a board that waits longer than this for an error would seem to hang
PATIENCE = 10.0
COOKIE = bytes.fromhex("63825363")
KINDS = {"discover": 1, "offer": 2, "request": 3, "ack": 5}


class Wrong(Exception):
    """An answer is not as the trace says."""


def check(what, got, wanted):
    if got != wanted:
        show = lambda value: value.hex() if isinstance(value, bytes) else repr(value)
        raise Wrong(f"{what}: got {show(got)}, not {show(wanted)}")


def value(text):
    if text.startswith("0x"):
        return bytes.fromhex(text[2:])
    if re.fullmatch(r"[124]:\d+", text):
        width, number = text.split(":")
        return int(number).to_bytes(int(width), "big")
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+/ip", text):
        return socket.inet_aton(text[:-3])
    return text.encode()


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Board:
    def __init__(self, options):
        self.options = options
        self.mac = bytes.fromhex(pathlib.Path(f"/sys/class/net/{options.interface}/address").read_text().strip().replace(":", ""))
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.wire.bind((options.interface, 0))
        self.words = {"server": options.server, "name": options.name, "was": options.was, "mac-dashes": self.mac.hex("-"), "becomes": "node-" + self.mac[-3:].hex()}
        self.ip = None
        self.xid = None
        self.pending = None
        self.last_offer = None
        self.sent_at = 0.0
        if options.held and pathlib.Path(options.held).exists():
            self.words["ip"] = pathlib.Path(options.held).read_text()

    # -- what a line of the trace does ------------------------------------------------------------
    def play(self, line):
        line = line.format_map(self.words)
        direction, verb, *rest = line.split()
        if direction == "set":
            self.words[verb] = rest[0]
        elif direction == ">" and verb in ("discover", "request"):
            self.send_dhcp(verb, rest)
        elif direction == "<" and verb in ("offer", "ack"):
            self.expect_dhcp(verb, rest)
        elif direction == "<" and verb == "again":
            self.expect_again(int(rest[0]))
        elif direction == ">" and verb in ("read", "get"):
            self.pending = (verb, rest)
        elif direction == "<" and self.pending:
            (asked, words), self.pending = self.pending, None
            (self.tftp if asked == "read" else self.http)(words, verb, rest)
        else:
            raise Wrong("this line cannot be played")

    # -- DHCP -------------------------------------------------------------------------------------
    def send_dhcp(self, kind, fields):
        named = dict(field.split("=", 1) for field in fields)
        self.xid = bytes.fromhex(named.pop("xid"))
        secs = int(named.pop("secs", "0"))
        options = b"".join(bytes([int(code), len(value(text))]) + value(text) for code, text in named.items())
        message = struct.pack("!4B4sHH16s16s192s", 1, 1, 6, 0, self.xid, secs, 0, b"", self.mac, b"") + COOKIE
        message += bytes([53, 1, KINDS[kind]]) + options + b"\xff"
        udp = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 128, 17, 0, b"", b"\xff" * 4)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        self.wire.send(b"\xff" * 6 + self.mac + b"\x08\x00" + head + udp)
        self.sent_at = time.monotonic()

    def receive_dhcp(self, limit):
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.wire], [], [], left)[0]:
                break
            frame = self.wire.recv(2000)
            head = 14 + (frame[14] & 15) * 4
            if frame[23] != 17 or frame[head + 2 : head + 4] != b"\0\x44":
                continue
            message = frame[head + 8 : head + struct.unpack("!H", frame[head + 4 : head + 6])[0]]
            if message[4:8] == self.xid and message[28:34] == self.mac:
                check("frame to this board", frame[:6], self.mac)
                return message
        raise Wrong("no DHCP answer")

    def expect_dhcp(self, kind, fields):
        message = self.receive_dhcp(PATIENCE)
        named = dict(field.split("=", 1) for field in fields)
        ip = socket.inet_ntoa(message[16:20])
        check("message kind and addresses' kind", message[:4], b"\x02\x01\x06\x00")
        check("siaddr", socket.inet_ntoa(message[20:24]), named.pop("siaddr", self.options.server))
        check("server name", message[44:108].rstrip(b"\0"), b"")
        check("file", message[108:236].rstrip(b"\0"), named.pop("file", "").encode())
        check("cookie", message[236:240], COOKIE)
        if "yiaddr" in named:
            check("yiaddr", ip, named.pop("yiaddr"))
        got, rest = {}, message[240:]
        while rest[0] != 255:
            if rest[0] == 0:
                raise Wrong("padding before the end mark: firmware of 2019 drops such answers")
            got[rest[0]] = got.get(rest[0], b"") + rest[2 : 2 + rest[1]]
            rest = rest[2 + rest[1] :]
        check("after the end mark", rest[1:].strip(b"\0"), b"")
        check("kind", got.pop(53), bytes([KINDS[kind]]))
        for code, text in named.items():
            check(f"option {code}", got.pop(int(code), None), value(text))
        check("options the trace does not tell", sorted(got), [])
        self.words["ip"] = ip
        if self.options.held:
            pathlib.Path(self.options.held).write_text(ip)
        if kind == "offer":
            self.last_offer = message

    def expect_again(self, after):
        message = self.receive_dhcp(PATIENCE)
        check("the OFFER that comes again", message, self.last_offer)
        waited = (time.monotonic() - self.sent_at) * 1000
        if waited < after - 50:
            raise Wrong(f"it came again after {waited:.0f} ms, not {after} or more")

    # -- TFTP and HTTP ----------------------------------------------------------------------------
    def have_address(self):
        if self.ip == self.words["ip"]:
            return
        self.ip = self.words["ip"]
        command = ["ip", "addr", "replace", f"{self.ip}/24", "dev", self.options.interface]
        subprocess.run(command, check=True)

    def tftp(self, words, answer, rest):
        self.have_address()
        name, *options = words
        asked = dict(option.split("=", 1) for option in options)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((self.ip, 0))
            sock.settimeout(PATIENCE)
            request = b"\0\1" + name.encode() + b"\0octet\0"
            request += b"".join(f"{key}\0{number}\0".encode() for key, number in asked.items())
            started = time.monotonic()
            sock.sendto(request, (self.options.server, 69))
            packet, peer = sock.recvfrom(2000)
            if (took := time.monotonic() - started) > PROMPT:
                raise Wrong(f"{name}: the answer took {took:.1f} s")
            if answer == "missing":
                check(f"{name}: error", packet[:4], b"\0\5\0\1")
                return
            folder = {"static": self.options.static, "image": self.options.image}[answer]
            wanted = (pathlib.Path(folder) / rest[0]).read_bytes()
            if packet[:2] == b"\0\5":
                raise Wrong(f"{name}: error {packet[2:]!r}")
            size = 512
            if asked:
                check(f"{name}: answer to the options", packet[:2], b"\0\6")
                agreed = packet[2:-1].split(b"\0")
                agreed = {key.decode(): int(number) for key, number in zip(agreed[::2], agreed[1::2])}
                check(f"{name}: options", set(agreed), set(asked))
                check(f"{name}: size", agreed.get("tsize", len(wanted)), len(wanted))
                size = agreed.get("blksize", 512)
                check(f"{name}: block size", size, int(asked.get("blksize", 512)))
                sock.sendto(b"\0\4\0\0", peer)
                packet = sock.recv(2000)
            check(f"{name}: first block", packet, b"\0\3\0\1" + wanted[:size])
            content, number = packet[4:], 1
            while len(packet) == 4 + size:
                sock.sendto(b"\0\4" + number.to_bytes(2, "big"), peer)
                number += 1
                packet = sock.recv(2000)
                check(f"{name}: block", packet[:4], b"\0\3" + number.to_bytes(2, "big"))
                content += packet[4:]
            sock.sendto(b"\0\4" + number.to_bytes(2, "big"), peer)
            check(f"{name}: content", content, wanted)

    def http(self, words, status, rest):
        self.have_address()
        ask = http.client.HTTPConnection(self.options.server, 80, PATIENCE, source_address=(self.ip, 0))
        ask.request("GET", words[0])
        answer = ask.getresponse()
        check(f"{words[0]}: status", answer.status, int(status))
        body = answer.read().decode()
        check(f"{words[0]}: body", body or "empty", " ".join(rest))
        check(f"{words[0]}: length", answer.getheader("Content-Length"), str(len(body)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trace", type=pathlib.Path)
    parser.add_argument("phase")
    for name in ("interface", "server", "static", "image"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--was", default="", help="name the board had before it was a node")
    parser.add_argument("--name", default="", help="name of its node")
    parser.add_argument("--held", help="file that keeps the address between phases")
    options = parser.parse_args()
    board, phase, played = Board(options), None, 0
    for number, line in enumerate(options.trace.read_text().splitlines(), 1):
        line = line.split(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("= "):
            phase = line[2:]
        elif phase == options.phase or line.startswith("set "):
            try:
                board.play(line)
            except (Wrong, OSError) as problem:
                sys.exit(f"{options.trace.name}, line {number}: {line}\n  {problem}")
            played += 1
    if played < 3:
        sys.exit(f"{options.trace.name} has no phase {options.phase}")
    print(f"{options.trace.stem}, {options.phase}: {played} lines played")


main()
