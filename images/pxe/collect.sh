#!/bin/sh
# Fills a directory with the network boot programs the server hands to machines, from Debian's package "ipxe".
set -eu

if [ $# -ne 1 ]; then
    echo 'Usage: images/pxe/collect.sh DIR    (DIR is the "pxe" directory of the server state)' >&2
    exit 1
fi
out=$1
from=${WALT_IPXE_DIR:-/usr/lib/ipxe}

# Name for the server, candidates of Debian's package (the first one present is taken).
#   snponly.efi and undionly.kpxe drive the network card through the firmware that just used it.
# Says nothing and fails when there is none.
collected() {
    target=$1
    shift
    for file in "$@"; do
        if [ -f "$from/$file" ]; then
            # Written beside, then renamed: a node may be reading the old one.
            install -m 644 "$from/$file" "$out/.$target.new"
            mv "$out/.$target.new" "$out/$target"
            echo "pxe: $target from $from/$file" >&2
            return 0
        fi
    done
    return 1
}

collect() {
    collected "$@" && return
    shift
    echo "pxe: ERROR: none of \"$*\" in $from (apt-get install --no-install-recommends ipxe)" >&2
    exit 1
}

# What Debian 12's package does not have: such machines need it, others do not.
collect_if_there() {
    collected "$@" || echo "pxe: no $1: not in $from" >&2
}

mkdir -p "$out"
collect walt-x86-undionly.kpxe undionly.kpxe
collect walt-x86-64.efi ipxe.efi snponly.efi
collect_if_there walt-x86-32.efi ipxe-i386.efi ipxe-x86-32.efi
# Debian 13's package has one for ARM: it is where images/boot-media/fetch.sh unpacked it, if it did.
[ -f "$from/ipxe-arm64.efi" ] || from=${WALT_BOOT_MEDIA_PARTS:-/var/cache/walt-rs/boot-media/parts}/usr/lib/ipxe
collect_if_there walt-arm64.efi ipxe-arm64.efi
