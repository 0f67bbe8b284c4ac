"""Everything a node should not send to the ports of logs: `hostile.py SERVER`. Prints what it did."""
import os
import random
import socket
import struct
import sys
import time

server = sys.argv[1]
kept = []
done = 0


def connect():
    return socket.create_connection((server, 12347), timeout=30)


def did(what):
    global done
    done += 1
    print(f"{done:2} {what}", flush=True)


def send(data, end=True):
    """Sends, reads until the server closes (or for a moment), closes. The server may have enough before the end."""
    s = connect()
    try:
        for piece in data if isinstance(data, list) else [data]:
            s.sendall(piece)
            if isinstance(data, list):
                time.sleep(0.05)
        if end:
            s.shutdown(socket.SHUT_WR)
            s.settimeout(5)
            while s.recv(4096):
                pass
    except OSError:
        pass
    finally:
        s.close()


def log(stream, lines, mode=b"NO_TIMESTAMPS"):
    return b"REQ_NEW_INCOMING_LOGS\n" + stream + b"\n" + mode + b"\n" + lines


send(log(b"bad-nul", b"a\0b\nCLOSE\n"))
did("a NUL")
send([log(b"bad-split", b"caf\xc3"), b"\xa9 \xe2", b"\x82", b"\xac\nCLOSE\n"])
did("characters cut in the middle")
send(log(b"bad-utf8", b"\xff\xfe\xc0\x80 x\nCLOSE\n"))
did("bytes that are no characters")
s = connect()
s.sendall(log(b"bad-long", b""))
block = b"x" * (1 << 20)
for _ in range(100):
    s.sendall(block)
s.sendall(b"\nCLOSE\n")
s.close()
did("a line of 100 MB")
for token in (b"nan", b"inf", b"-inf", b"1e300", b"99999999999", b"-5", b"0x10", b"", b"1e-300", b"123456789012345678901234567890"):
    send(log(b"bad-dates", token + b" date " + (token or b"none") + b"\nCLOSE\n", b"TIMESTAMPS_INSIDE"))
    did(f"the date {token.decode()!r}")
send(log(b"", b"lost\nCLOSE\n"))
did("no name of a stream")
send(log(b"a\x07b", b"lost\nCLOSE\n"))
did("a control character in the name of a stream")
send(log(b"n" * 10_000, b"lost\nCLOSE\n"))
did("a name of 10 kB")
send(log(b"m" * 201, b"lost\nCLOSE\n"))
did("a name of one byte too many")
send(log(b"\xff\xfe", b"odd\nCLOSE\n"))
did("a name that is no text")
send(b"REQ_NEW_INCOMING_LOGS" * 50_000)
did("a request of 1 MB without end")
send(b"REQ_SOMETHING_ELSE\nx\ny\n")
did("an unknown request")
send(b"\x80\x04\x95pickle\n" * 100)
did("a request of bytes")
send(log(b"bad-empty", b"\n" * 500_000 + b"CLOSE\n"))
did("half a million empty lines")
send(log(b"bad-close", b"CLOSE\nafter\nCLOSE\n"))
did("CLOSE in the middle")
for _ in range(50):
    s = connect()
    s.sendall(log(b"bad-reset", b"half a li"))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
did("connections that are reset")
send([bytes([b]) for b in log(b"bad-slow", b"slow\nCLOSE\n")])
did("one byte at a time")
send(log(b"bad-escape", b"\x1b[2J\x1b]0;title\x07red\nCLOSE\n"))
did("escape sequences")
send(log(b"bad-crlf", b"one\r\ntwo\r\nCLOSE\r\n"))
did("line ends of another system")
for wrong in (b"HELLO\n", b"SESSION \n", b"SESSION a 99999999999999999999\n", b"{" * 100_000, b"LINE 1 x\n", b"CLOCK nan\n" * 100):
    send(b"REQ_SPOOLED_LOGS\n" + wrong)
    send(b"100\n" + wrong)
did("a spool that makes no sense")
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (0, 1, 1400, 9000, 60_000):
    for _ in range(200):
        u.sendto(os.urandom(size).replace(b"\n", b"x"), (server, 12342))
did("kernel messages of noise that never end a line")
for n in range(10_000):
    s = connect()
    s.sendall(log(b"many.%d" % n, b"one of many %d\nCLOSE\n" % n))
    s.close()
did("10 000 streams")
for _ in range(100):
    s = connect()
    s.sendall(b"REQ_NEW_INCOM")
    kept.append(s)
did("100 connections that stop in their first line")
for _ in range(260):
    try:
        s = connect()
        s.sendall(log(b"bad-silent", b"not yet a line"))
        kept.append(s)
    except OSError:
        pass
did("260 connections that stop in a line, some over the bound")
more = []
refused = 0
for _ in range(300):
    try:
        s = connect()
        s.sendall(b"0\nover-the-bound\nNO_TIMESTAMPS\nx\n")
        more.append(s)
    except OSError:
        refused += 1
for s in more:
    try:
        # The first one gives the server time, which is enough for the others.
        s.settimeout(3 if s is more[0] else 0.1)
        refused += s.recv(1) == b""
    except TimeoutError:
        pass
    except OSError:
        refused += 1
# 256 are accepted; those that stopped in their first line may have been closed meanwhile.
assert refused >= 200, f"{refused} of 300 connections over the bound were refused"
did(f"300 more connections than one machine may have, {refused} refused")
kept += more
for s in kept:
    s.close()
rng = random.Random(7)
for _ in range(60):
    send(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 3000))))
did("noise")
assert done >= 30, done
print(f"{done} kinds of bad input", flush=True)
