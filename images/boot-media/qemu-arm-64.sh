#!/bin/sh
# Writes the boot medium of a virtual ARM board: the flash in which Debian's U-Boot for QEMU finds its environment. It does
# what the SD card of a real board does: ask for an address as a WalT node, then run what its image says.
set -eu

usage='Usage: images/boot-media/qemu-arm-64.sh FILE    (FILE: a new flash image, 64 MiB, almost all of it a hole)
  qemu-system-aarch64 -machine virt -cpu cortex-a57 -bios /usr/lib/u-boot/qemu_arm64/u-boot.bin
      -drive if=pflash,index=1,format=raw,file=FILE -device virtio-net-device,...'
if [ $# -ne 1 ]; then
    echo "$usage" >&2
    exit 1
fi
flash=$1
command -v mkenvimage >/dev/null || {
    echo 'boot-media: ERROR: missing Debian package: u-boot-tools' >&2
    exit 1
}

# Size of the environment in this U-Boot (CONFIG_ENV_SIZE), which is at the start of the second flash bank (CONFIG_ENV_ADDR).
environment_size=0x40000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Autoboot cannot be stopped (bootdelay=-2), and whatever fails starts again. The addresses are free memory of QEMU's board,
# which starts at 0x40000000.
sed -e '/^#/d' -e '/^$/d' >"$work/environment.txt" <<'ENVIRONMENT'
bootdelay=-2
autoload=no
node_model=qemu-arm-64
bootp_vci=walt.node.qemu-arm-64
has_fit=1
scriptaddr=0x40200000
kernel_addr_r=0x40400000
ramdisk_addr_r=0x44000000
fit_dl_addr=0x48000000
bootcmd=run walt_fit; run walt_script; echo WalT: starting again; sleep 3; reset

# An image may have its script in a FIT image.
walt_fit=dhcp && tftpboot ${fit_dl_addr} fit-start.uboot && setenv fit_ready 1 && source ${fit_dl_addr}
walt_script=dhcp && tftpboot ${scriptaddr} start.uboot && source ${scriptaddr}
ENVIRONMENT
mkenvimage -s "$environment_size" -o "$work/environment" "$work/environment.txt"

# Written beside, then renamed. QEMU wants a file as large as the bank.
cp "$work/environment" "$flash.new"
truncate -s 64M "$flash.new"
mv "$flash.new" "$flash"
