#!/bin/sh
# Makes the image at folder $1 one whose initrd mounts the root by NFSv4, with the options of published images: those of
# version 3 without vers=3,nolock, and the file system type nfs4.
set -eu
root=$1
sed -i 's/,ro,vers=3,nolock,/,ro,/; s,root=/dev/nfs ,root=/dev/nfs4 ,' "$root/boot/pc-x86-64/start-generic.ipxe"
sed -i 's/mount -t nfs /mount -t nfs4 /' "$root/usr/lib/walt/initrd-init"
sed -i 's/^\([a-z]*\) nfsv3$/&\n\1 nfsv4/' "$root/usr/lib/walt/initrd-modules"
grep -q 'fs,ro,[$]{nfs_cache}' "$root/boot/pc-x86-64/start-generic.ipxe"
grep -q 'mount -t nfs4' "$root/usr/lib/walt/initrd-init"
chroot "$root" /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin walt-update-boot
zcat "$root/boot/pc-x86-64/initrd" | busybox cpio -t 2>/dev/null | grep >/dev/null '/nfsv4\.ko$'
