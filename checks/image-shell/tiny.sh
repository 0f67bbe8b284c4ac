#!/bin/sh
# tiny.sh FOLDER: the files of a tiny image.
set -eu
root=$1
mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for tool in sh ls cat touch hostname id pwd stty sleep echo ps kill chmod mkdir rm; do
  ln -s busybox "$root/bin/$tool"
done
printf 'root:x:0:0::/root:/bin/sh\n' >"$root/etc/passwd"
printf 'processor\t: 0\nHardware\t: BCM2835\n' >"$root/etc/cpuinfo"
