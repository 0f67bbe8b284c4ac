#!/bin/sh
# Fills a directory with the network boot programs the server hands to PCs, from Debian's package "ipxe".
set -eu

if [ $# -ne 1 ]; then
    echo 'Usage: images/pxe/collect.sh DIR    (DIR is the "pxe" directory of the server state)' >&2
    exit 1
fi
out=$1
from=${WALT_IPXE_DIR:-/usr/lib/ipxe}

# Name for the server, candidates of Debian's package (the first one present is taken).
#   snponly.efi and undionly.kpxe drive the network card through the firmware that just used it.
collect() {
    target=$1
    shift
    for file in "$@"; do
        if [ -f "$from/$file" ]; then
            # Written beside, then renamed: a node may be reading the old one.
            install -m 644 "$from/$file" "$out/.$target.new"
            mv "$out/.$target.new" "$out/$target"
            echo "pxe: $target from $from/$file" >&2
            return
        fi
    done
    echo "pxe: ERROR: none of \"$*\" in $from (apt-get install --no-install-recommends ipxe)" >&2
    exit 1
}

mkdir -p "$out"
collect walt-x86-undionly.kpxe undionly.kpxe
collect walt-x86-64.efi ipxe.efi snponly.efi
