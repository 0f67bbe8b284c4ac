#!/usr/bin/env python3
"""Writes an OCI image layout of one layer, always the same bytes for the same layer and labels.

Usage: oci.py LAYER.tar LAYOUT_DIR CREATED LABEL=VALUE...     (CREATED: seconds since 1970)
Prints the image id (the digest of its configuration, without "sha256:").
"""

import datetime
import hashlib
import json
import os
import shutil
import sys


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else slow(file)


def slow(file):
    sha = hashlib.sha256()
    while block := file.read(1 << 20):
        sha.update(block)
    return sha.hexdigest()


def main(layer, layout, created, labels):
    blobs = os.path.join(layout, "blobs", "sha256")
    shutil.rmtree(layout, ignore_errors=True)
    os.makedirs(blobs)

    def add(value):
        data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    diff_id = digest_of(layer)
    try:
        os.link(layer, os.path.join(blobs, diff_id))
    except OSError:
        shutil.copyfile(layer, os.path.join(blobs, diff_id))
    when = datetime.datetime.fromtimestamp(int(created), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = add({
        "created": when,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": dict(label.split("=", 1) for label in labels), "Cmd": ["/bin/bash"],
                   "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + diff_id]},
        "history": [{"created": when, "created_by": "images/debian/build.sh"}],
    })
    manifest = add({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": "sha256:" + diff_id, "size": os.path.getsize(layer)}],
    })
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", **manifest}]}
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump(index, file)
    with open(os.path.join(layout, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    print(config["digest"].removeprefix("sha256:"))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
