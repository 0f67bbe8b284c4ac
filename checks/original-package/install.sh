#!/bin/sh
# Puts the original's node package in the image at folder $1, as its documentation says: a Python environment of its own, pip,
# walt-node-setup. WALT_WHEELS is a folder with the packages.
set -eu
root=$1
inside() {
  chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}
undo() {
  rm -rf "$root/var/lib/apt/lists" "$root/var/cache/apt/archives" "$root/tmp/wheels"
  mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
  : >"$root/etc/resolv.conf"
}
trap undo EXIT
cat /etc/resolv.conf >"$root/etc/resolv.conf"
cp -r "$WALT_WHEELS" "$root/tmp/wheels"
inside apt-get update -qq
inside apt-get install -qq --no-install-recommends python3-venv >/dev/null
inside python3 -m venv /opt/walt-node
inside /opt/walt-node/bin/pip install --quiet --no-index --find-links /tmp/wheels walt-node==10.0
inside /opt/walt-node/bin/walt-node-setup --init-system SYSTEMD
