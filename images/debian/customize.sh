#!/bin/sh
# Makes a node image of a fresh Debian tree: customize.sh TREE ARCHITECTURE KERNEL. Called by build.sh.
set -eu

root=$1 architecture=$2 KERNEL=$3
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=recipe.conf
. "$here/recipe.conf"
# shellcheck source=arch/amd64.conf
. "$here/arch/$architecture.conf"
export SOURCE_DATE_EPOCH KERNEL

# -- our files ------------------------------------------------------------------------------------------
# "model:device tree" words, without the device trees.
models=$(for model in $MODELS; do echo "${model%%:*}"; done)
(cd "$here/files" && find . -type f) | while read -r file; do
    mode=644
    case "$file" in
        ./boot/*)
            model=${file#./boot/}
            echo "$models" | grep -qxF "${model%%/*}" || continue
            ;;
        ./usr/sbin/* | ./etc/kernel/postinst.d/* | */initrd-init | */initrd-dhcp | */coldplug) mode=755 ;;
    esac
    install -D -m "$mode" "$here/files/$file" "$root/$file"
done
{
    # shellcheck disable=SC2086  # one per line
    printf 'load %s\n' $INITRD_MODULES
    # shellcheck disable=SC2086
    [ -z "$INITRD_DRIVERS" ] || printf 'have %s\n' $INITRD_DRIVERS
} >"$root/usr/lib/walt/initrd-modules"
# shellcheck disable=SC2086  # one per line
printf '%s\n' $MODELS | tr : ' ' >"$root/usr/lib/walt/boot-models"
chroot "$root" /usr/sbin/walt-update-boot
if [ "$architecture" = arm64 ]; then
    # Machines with UEFI boot as PCs do, but for the name of their serial port; boards by U-Boot.
    sed s/ttyS0/ttyAMA0/ "$here/files/boot/pc-x86-64/start-generic.ipxe" >"$root/boot/pc-arm-64/start-generic.ipxe"
    for model in $models; do
        [ "$model" != pc-arm-64 ] || continue
        # The header has the time of SOURCE_DATE_EPOCH.
        mkimage -A arm64 -T script -C none -n "WalT $model" -d "$here/uboot-script" "$root/boot/$model/start.uboot" >/dev/null
    done
fi
rm -f "$root/vmlinuz" "$root/vmlinuz.old" "$root/initrd.img" "$root/initrd.img.old" "$root"/boot/initrd.img-*

# -- what a node does not need: its root is in memory and its life is short -------------------------------
for unit in $MASKED_UNITS; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
mkdir -p "$root/etc/systemd/system-generators"
for generator in $MASKED_GENERATORS; do
    ln -sfn /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done
ln -sfn /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# The message bus starts when somebody calls it.
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sfn /dev/null "$root/etc/systemd/system/multi-user.target.wants/dbus.service"
# Nothing to mount, no module to load: without these files the units for it are skipped.
rm -f "$root/etc/fstab" "$root/etc/modules" "$root/etc/modules-load.d/modules.conf"

# -- what the server writes, or each node for itself -------------------------------------------------------
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname"
: >"$root/etc/resolv.conf"

# -- traces of the installation ------------------------------------------------------------------------------
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/ldconfig/aux-cache \
    "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/log/* "$root"/var/lib/systemd/catalog/* \
    "$root"/etc/*- "$root"/run/* "$root"/tmp/*
mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial" "$root/var/log/journal" \
    "$root/persist" "$root/var/lib/walt"
rmdir "$root/var/log/journal"
