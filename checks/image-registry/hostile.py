"""A registry of traps: the name of each repository `trap/<what>` says what is wrong with it.

    hostile.py PORT
"""

import gzip
import hashlib
import http.server
import io
import json
import sys
import tarfile

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(name, kind=tarfile.REGTYPE, link=""):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, content = kind, link, b"trapped\n"
        entry.size = len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def image(tar, labels):
    packed = gzip.compress(tar, mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": digest(config),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                    "size": len(packed),
                    "digest": digest(packed),
                }
            ],
        }
    ).encode()
    return manifest, config, packed


WALT = {"walt.node.models": "pc-x86-64"}
IMAGES = {
    "not-walt": image(layer("file"), {}),
    "too-new": image(layer("file"), {**WALT, "walt.server.minversion": "99"}),
    "wrong-digest": image(layer("file"), WALT),
    "wrong-config": image(layer("file"), WALT),
    "too-short": image(layer("file"), WALT),
    "dot-dot": image(layer("../../../../../../tmp/walt-trapped"), WALT),
    "absolute": image(layer("/tmp/walt-trapped"), WALT),
    "link-out": image(layer("etc/x", tarfile.LNKTYPE, "../../../../../../etc/passwd"), WALT),
}


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        try:
            self.serve()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def serve(self):
        path = self.path.split("?")[0].strip("/").split("/")
        if path == ["v2"]:
            return self.answer(200, b"{}")
        if path == ["v2", "_catalog"]:
            return self.answer(500, b"the cat sat on the catalogue")
        if len(path) != 5 or path[:2] != ["v2", "trap"]:
            return self.answer(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')
        what, kind, reference = path[2:]
        if what == "asks":
            return self.answer(401, b"{}", WWW_Authenticate='Basic realm="trap"')
        if what == "busy":
            return self.answer(429, b"{}", Retry_After="3600")
        if what == "broken":
            return self.answer(500, b'{"errors":[{"code":"UNKNOWN","message":"\\u001b[2Jwiped"}]}')
        if what == "million" and kind == "manifests":
            return self.million()
        if what == "endless" and kind == "manifests":
            return self.endless()
        if what == "garbage":
            return self.answer(200, b"\x00\xff<html>", kind=DOCKER)
        if what not in IMAGES:
            return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        manifest, config, packed = IMAGES[what]
        if kind == "manifests":
            return self.answer(200, manifest, DOCKER, Docker_Content_Digest=digest(manifest))
        if reference == digest(config):
            wrong = what == "wrong-config"
            return self.answer(200, config.replace(b"2026", b"2025") if wrong else config)
        if reference == digest(packed):
            if what == "wrong-digest":
                packed = packed[:-1] + bytes([packed[-1] ^ 1])
            if what == "too-short":
                self.send_response(200)
                self.send_header("Content-Length", str(len(packed)))
                self.end_headers()
                self.wfile.write(packed[: len(packed) // 2])
                self.close_connection = True
                return None
            return self.answer(200, packed)
        return self.answer(404)

    def million(self):
        entry = json.dumps(
            {
                "mediaType": DOCKER,
                "size": 500,
                "digest": "sha256:" + "0" * 64,
                "platform": {"architecture": "amd64", "os": "linux"},
            }
        ).encode()
        head = b'{"schemaVersion":2,"mediaType":"' + INDEX.encode() + b'","manifests":['
        count = 1_000_000
        self.send_response(200)
        self.send_header("Content-Type", INDEX)
        self.send_header("Content-Length", str(len(head) + count * (len(entry) + 1) + 1))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(head)
        many = (entry + b",") * 1000
        for part in range(1000):
            self.wfile.write(many if part < 999 else many[:-1])
        self.wfile.write(b"]}")

    def endless(self):
        self.send_response(200)
        self.send_header("Content-Type", DOCKER)
        self.end_headers()
        self.close_connection = True
        while self.command != "HEAD":
            self.wfile.write(b" " * 65536)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Registry).serve_forever()
