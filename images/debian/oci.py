#!/usr/bin/env python3
"""Writes an OCI image layout, always the same bytes for the same layer, labels and files.

Usage: oci.py LAYER.tar LAYOUT_DIR CREATED ARCHITECTURE LABEL=VALUE... [-- SRC:/DST...]

CREATED: seconds since 1970. The files after "--" make a second layer; those their owner may run, everybody may.
Prints the image id (the digest of its configuration, without "sha256:").
"""

import datetime
import hashlib
import json
import os
import posixpath
import shutil
import sys
import tarfile


def digest_of(path):
    with open(path, "rb") as file:
        sha = hashlib.sha256()
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def members_of(layer):
    with tarfile.open(layer) as tar:
        return {posixpath.normpath(member.name).lstrip("/"): member for member in tar}


def resolved(path, members):
    """The path in the image, "bin/x" being "usr/bin/x" where bin is a link: a layer must not replace that link."""
    done, parts = "", [part for part in path.split("/") if part not in ("", ".")]
    for _ in range(100):
        if not parts:
            return done
        part, *parts = parts
        step = posixpath.normpath(posixpath.join(done, part)).lstrip("/")
        found = members.get(step)
        if found is None or not found.issym() or not parts:
            done = step
        elif found.linkname.startswith("/"):
            done, parts = "", found.linkname.split("/")[1:] + parts
        else:
            parts = found.linkname.split("/") + parts
    sys.exit(f"oci.py: too many links in {path}")


def add_files(base, target, created, files):
    """Writes the layer of the files, and of the folders they are in as the first layer has them."""
    members = members_of(base)
    entries = {}
    for source, path in (file.split(":", 1) for file in files):
        path = resolved(path, members)
        folder = posixpath.dirname(path)
        while folder:
            entry = members.get(folder)
            if entry is None:
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, created
            entries[folder] = (entry, None)
            folder = posixpath.dirname(folder)
        entry = tarfile.TarInfo(path)
        entry.mode = 0o755 if os.access(source, os.X_OK) else 0o644
        entry.mtime, entry.size = created, os.path.getsize(source)
        entries[path] = (entry, source)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for _, (entry, source) in sorted(entries.items()):
            if source is None:
                tar.addfile(entry)
            else:
                with open(source, "rb") as file:
                    tar.addfile(entry, file)


def main(layer, layout, created, architecture, words):
    created = int(created)
    labels, files = words, []
    if "--" in words:
        labels, files = words[: words.index("--")], words[words.index("--") + 1 :]
    blobs = os.path.join(layout, "blobs", "sha256")
    shutil.rmtree(layout, ignore_errors=True)
    os.makedirs(blobs)

    def add(value):
        data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(data)
        return {"digest": "sha256:" + digest, "size": len(data)}

    layers = [layer]
    if files:
        layers.append(os.path.join(layout, "files.tar"))
        add_files(layer, layers[1], created, files)
    diffs = []
    for path in layers:
        digest = digest_of(path)
        diffs.append({"mediaType": "application/vnd.oci.image.layer.v1.tar",
                      "digest": "sha256:" + digest, "size": os.path.getsize(path)})
        try:
            os.link(path, os.path.join(blobs, digest))
        except OSError:
            shutil.copyfile(path, os.path.join(blobs, digest))
    if files:
        os.remove(layers[1])
    when = datetime.datetime.fromtimestamp(created, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = add({
        "created": when,
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": dict(label.split("=", 1) for label in labels), "Cmd": ["/bin/bash"],
                   "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff["digest"] for diff in diffs]},
        "history": [{"created": when, "created_by": "images/debian/build.sh"} for _ in diffs],
    })
    manifest = add({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": diffs,
    })
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", **manifest}]}
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump(index, file)
    with open(os.path.join(layout, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    print(config["digest"].removeprefix("sha256:"))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:5], sys.argv[5:])
