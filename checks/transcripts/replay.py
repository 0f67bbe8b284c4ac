#!/usr/bin/env python3
"""replay.py SERVER MAC IP: speaks to the server's node ports as the node MAC at IP, byte for byte as nodes of the original do."""
import ast
import os
import pickle
import socket
import sys
import time

SERVER, MAC, IP = sys.argv[1:4]
LOGS, RPC = 12347, 12345


class Peer:
    """A connection whose answers are read with a limit."""

    def __init__(self, port, sent=b""):
        self.socket = socket.create_connection((SERVER, port), timeout=10)
        self.send(sent)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass  # It was refused before its end: what was answered is still to be read.

    def line(self):
        out = b""
        while not out.endswith(b"\n"):
            byte = self.socket.recv(1)
            if not byte:
                break
            out += byte
        return out

    def exactly(self, size):
        out = b""
        while len(out) < size:
            piece = self.socket.recv(size - len(out))
            assert piece, f"{len(out)} bytes of {size}"
            out += piece
        return out

    def rest(self):
        """What comes until the server closes; None when it does not close."""
        out = b""
        try:
            while piece := self.socket.recv(65536):
                out += piece
        except socket.timeout:
            return None
        except ConnectionResetError:
            pass
        return out

    def closed_silently(self, why):
        got = self.rest()
        assert got == b"", f"{why}: the server answered {got!r}"
        self.socket.close()


def logs():
    for request in (b"REQ_NEW_INCOMING_LOGS", b"0", b"  0  "):
        peer = Peer(LOGS, request + b"\ntr-server\nNO_TIMESTAMPS\nhello t  world\nCLOSE\n")
        peer.closed_silently("a stream that ended well")
    Peer(LOGS, b"0\ntr-inside\nTIMESTAMPS_INSIDE\n1751286000.25 hi\nCLOSE\n").closed_silently("inside")
    # In pieces, a character cut in two.
    peer = Peer(LOGS)
    for piece in (b"REQ_NEW_INC", b"OMING_LOGS\ntr-pi", b"eces\nNO_TIMESTAMPS\ncaf\xc3", b"\xa9 a\\b\n", b"CLOSE\n"):
        peer.send(piece)
        time.sleep(0.1)
    peer.closed_silently("a stream in pieces")
    # CLOSE that is not the end is a line.
    peer = Peer(LOGS, b"0\ntr-close\nNO_TIMESTAMPS\nCLOSE\nafter\n")
    time.sleep(0.3)
    peer.send(b"CLOSE\n")
    peer.closed_silently("CLOSE inside")
    # Not closed by the node.
    peer = Peer(LOGS, b"0\ntr-cut\nNO_TIMESTAMPS\nno end")
    peer.socket.close()
    # Dates that are not believed, and what is no date: the line is kept.
    bad = b"nan a\ninf b\n-1e3 c\n99999999999 d\nword e\n1751286000.5 f\n\n"
    Peer(LOGS, b"0\ntr-dates\nTIMESTAMPS_INSIDE\n" + bad + b"CLOSE\n").closed_silently("dates")
    # Bytes that are no text.
    Peer(LOGS, b"0\ntr-bytes\nNO_TIMESTAMPS\n\xff\xfe\x00z\r\nCLOSE\n").closed_silently("bytes")
    # No stream, an empty name, an endless one.
    for name in (b"", b"   ", b"x" * 5000, b"a\x07b"):
        assert Peer(LOGS, b"0\n" + name + b"\nNO_TIMESTAMPS\nlost\nCLOSE\n").rest() == b""


def requests():
    for line in (b"99", b"-1", b"REQ_NOTHING", b"", b"req_new_incoming_logs", b"10", b"REQ_API_SESSION", b"\xff" * 40, b"x" * 70000):
        Peer(LOGS, line + b"\n").closed_silently(line[:40])
    for line in (b"0", b"12", b"14", b"nothing", b"x" * 70000):
        Peer(RPC, line + b"\nNSAPI\n").closed_silently(line[:40])


def bootup():
    peer = Peer(LOGS, bytes.fromhex("52 45 51 5f 4e 4f 54 49 46 59 5f 42 4f 4f 54 55 50 5f 53 54 41 54 55 53 0a 0a"))
    assert peer.line() == b"OK\n"
    peer.send(b"\n")
    peer.socket.settimeout(2)
    assert peer.rest() is None, "the server must stay silent and keep the connection"
    print("booted", flush=True)
    sys.stdin.readline()
    peer.socket.close()


def fake_tftp():
    def ask(request, first=b"12\n"):
        peer = Peer(LOGS, first)
        assert peer.line() == b"READY\n"
        peer.send(request)
        return peer

    asked = bytes.fromhex(
        "80 04 95 39 00 00 00 00 00 00 00 7d 94 28 8c 08 6e 6f 64 65 5f 6d 61 63 94 8c 11 35 32 3a 35 34 3a 30 30 3a"
        "30 31 3a 30 32 3a 30 33 94 8c 04 70 61 74 68 94 8c 0b 2f 73 74 61 72 74 2e 69 70 78 65 94 75 2e"
    ).replace(b"52:54:00:01:02:03", MAC.encode())
    files = []
    for request in (asked, pickle.dumps({"node_ip": IP, "path": "/start.ipxe"}, 4)):
        peer = ask(request)
        assert peer.line() == b"OK\n"
        files.append(peer.exactly(int(peer.line())))
    assert files[0].startswith(b"#!ipxe") and len(set(files)) == 1
    for path in ("/nothing", "/../../../../etc/passwd", "/" + "x" * 3000, "/\0"):
        answer = ask(pickle.dumps({"node_mac": MAC, "path": path}, 4)).rest()
        assert answer in (b"NO SUCH FILE\n", b""), (path, answer)
    assert ask(pickle.dumps({"path": "/start.ipxe"}, 4)).rest() == b"NO MAC OR IP SPECIFIED\n"
    for wrong in (b"cos\nsystem\n(S'touch /tmp/evil'\ntR.", pickle.dumps(os.getcwd, 4), b"\x80\x04" + b"]" * 200000, b"garbage."):
        assert ask(wrong).rest() == b"", wrong[:40]


def rpc():
    def call(peer, text):
        peer.send(text + b"\n")
        answer = peer.line()
        assert answer.startswith(b"('RESULT', ") and answer.endswith(b")\n"), answer
        return answer[len(b"('RESULT', "):-2]

    peer = Peer(RPC, b"REQ_API_SESSION\nNSAPI\n('API_CALL', 'sync_clock', (), {})\n")
    assert peer.line() == b"10.0\n"
    answer = peer.line()
    now = time.time()
    clock = ast.literal_eval(answer.decode())
    assert clock[0] == "RESULT" and isinstance(clock[1], int) and abs(now - clock[1]) < 0.5, (answer, now)
    assert call(peer, b"('API_CALL', 'report_lldp_neighbor', ( 'aa:bb:cc:dd:ee:ff', 'port 1',), {})") == b"None"
    peer.send(b"('CLOSE')\n")
    peer.closed_silently("CLOSE")

    peer = Peer(RPC, b"10\nVSAPI\n")
    assert peer.line() == b"10.0\n"
    peer.send(b"('SET_MODE', 'pickle4')\n")
    peer.send(bytes.fromhex(
        "80 04 95 39 00 00 00 00 00 00 00 28 8c 08 41 50 49 5f 43 41 4c 4c 94 8c 0f 67 65 74 5f 64 65 76 69 63 65 5f 69 6e 66 6f 94"
        "8c 11 35 32 3a 35 34 3a 30 30 3a 30 31 3a 30 32 3a 30 33 94 85 94 7d 94 74 94 2e").replace(b"52:54:00:01:02:03", MAC.encode()))
    info = pickle.load(peer.socket.makefile("rb"))
    assert info[0] == "RESULT" and info[1]["mac"] == MAC and info[1]["ip"] == IP and info[1]["netmask"] == "255.255.255.0", info
    for key in ("name", "type", "virtual", "conf", "image", "model", "booted", "gateway", "netsetup", "in_walt_net"):
        assert key in info[1], key
    peer.send(pickle.dumps(("API_CALL", "get_device_info", ("52:54:00:99:99:99",), {}), 4))
    assert pickle.load(peer.socket.makefile("rb"))[0] == "RESULT"

    for text in (b"('API_CALL', '__import__', ('os',), {})", b"('API_CALL', 'sync_clock.__class__', (), {})", b"('API_CALL', 'no_such', (1,), {})"):
        peer = Peer(RPC, b"10\nNSAPI\n")
        assert peer.line() == b"10.0\n"
        call(peer, text)
    for wrong in (b"__import__('os').system('touch /tmp/evil')", b"('API_CALL',", b"(" * 100000, b"1", b"('RESULT', 1)", b"\xff\xff", b"[0]*10**9"):
        peer = Peer(RPC, b"10\nNSAPI\n")
        assert peer.line() == b"10.0\n"
        peer.send(wrong + b"\n")
        peer.closed_silently(wrong[:40])
    for name in (b"NOAPI", b"", b"x" * 5000):
        got = Peer(RPC, b"10\n" + name + b"\n").rest()
        assert got in (b"", b"10.0\n"), (name[:40], got)


def netconsole():
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for datagram in (b"[    1.234567] eth0: link up\n", b"[    2.0] cut ", b"in two\n", b"\xff\x00\n", b"", b"z" * 9000 + b"\n"):
        sender.sendto(datagram, (SERVER, 12342))
        time.sleep(0.05)


for part in (logs, requests, fake_tftp, rpc, netconsole, bootup):
    part()
    print(part.__name__, "ok", flush=True)
assert not os.path.exists("/tmp/evil")
