#!/usr/bin/env bash
# Makes the USB stick that boots PCs, by BIOS or UEFI, whose own firmware cannot boot from the network.
# shellcheck source=images/boot-media/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: images/boot-media/pc-usb.sh [OPTIONS] --out FILE

Writes the image of a USB stick: a GPT with one FAT file system, which UEFI firmware starts (EFI/BOOT/BOOTX64.EFI,
iPXE) and BIOS too (SYSLINUX, then iPXE). Needs no network and no root; the same inputs give the same bytes. Prints
its checksum.

  --out FILE        the image
  --root DIR        where Debian's packages are unpacked (default: where fetch.sh puts them)
  --ipxe-efi FILE   iPXE for 64-bit UEFI, of 2021 or later     (ROOT/usr/lib/ipxe/ipxe-amd64.efi)
  --ipxe-efi32 FILE iPXE for 32-bit UEFI                       (none: Debian has none)
  --ipxe-lkrn FILE  iPXE for BIOS                              (ROOT/usr/lib/ipxe/ipxe.lkrn)
  --gptmbr FILE     SYSLINUX's boot sector for GPT             (ROOT/usr/lib/syslinux/mbr/gptmbr.bin)
  --syslinux FILE   SYSLINUX's installer, the one with mtools  (ROOT/usr/bin/syslinux)
SOURCE_DATE_EPOCH sets the time of all files.
TEXT
}

root=$default_root efi='' efi32='' lkrn='' gptmbr='' syslinux='' out=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit ;;
    --out) out=$(value "$@"); shift ;;
    --root) root=$(value "$@"); shift ;;
    --ipxe-efi) efi=$(value "$@"); shift ;;
    --ipxe-efi32) efi32=$(value "$@"); shift ;;
    --ipxe-lkrn) lkrn=$(value "$@"); shift ;;
    --gptmbr) gptmbr=$(value "$@"); shift ;;
    --syslinux) syslinux=$(value "$@"); shift ;;
    *) die "unknown argument $1 (see --help)" ;;
  esac
  shift
done
[ -n "$out" ] || die "--out FILE is missing (see --help)"
efi=${efi:-$root/usr/lib/ipxe/ipxe-amd64.efi}
lkrn=${lkrn:-$root/usr/lib/ipxe/ipxe.lkrn}
gptmbr=${gptmbr:-$root/usr/lib/syslinux/mbr/gptmbr.bin}
syslinux=${syslinux:-$root/usr/bin/syslinux}
need_file "$efi" "iPXE for 64-bit UEFI" --ipxe-efi
[ -z "$efi32" ] || need_file "$efi32" "iPXE for 32-bit UEFI" --ipxe-efi32
need_file "$lkrn" "iPXE for BIOS" --ipxe-lkrn
need_file "$gptmbr" "SYSLINUX's boot sector for GPT" --gptmbr
need_file "$syslinux" "SYSLINUX's installer" --syslinux
need_tool mkfs.fat dosfstools
need_tool mcopy mtools
need_tool sgdisk gdisk
# An iPXE before 2021 has no idea of the script beside it.
grep -aq 'a.u.t.o.e.x.e.c...i.p.x.e\|autoexec.ipxe' "$efi" ||
  die "$efi looks for no autoexec.ipxe: a newer iPXE is needed"

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/.pc-usb.XXXXXX")
trap 'rm -rf "$work"' EXIT
files=$(dirname "$0")/files
mkdir -p "$work/tree/EFI/BOOT"
install -m 644 "$efi" "$work/tree/EFI/BOOT/BOOTX64.EFI"
[ -z "$efi32" ] || install -m 644 "$efi32" "$work/tree/EFI/BOOT/BOOTIA32.EFI"
install -m 644 "$lkrn" "$work/tree/ipxe.lkrn"
install -m 644 "$files/syslinux.cfg" "$files/autoexec.ipxe" "$work/tree/"
# Newer iPXE looks beside itself first, older ones in the root.
install -m 644 "$files/autoexec.ipxe" "$work/tree/EFI/BOOT/"
find "$work/tree" -exec touch --date "@$SOURCE_DATE_EPOCH" '{}' +

# One partition from 1 MiB on; the last MiB is for the second partition table.
size=48
fat_image "$work/fat" "$size" 57414c54 WALT-PC 2048
fat_copy_tree "$work/fat" "$work/tree"
"$syslinux" --install "$work/fat"
# The copy of the boot sector follows the change of the first.
dd if="$work/fat" of="$work/fat" bs=512 count=1 seek=6 conv=notrunc status=none

image=$work/image
truncate -s "$((size + 2))M" "$image"
# Attribute 2: the partition a BIOS is to boot.
sgdisk --set-alignment=1 --new="1:2048:$((2047 + size * 2048))" --typecode=1:EF00 --change-name=1:WALT \
  --partition-guid=1:57414c54-0000-4000-8000-000000000001 --disk-guid=57414c54-0000-4000-8000-000000000000 \
  --attributes=1:set:2 "$image" >/dev/null
dd if="$work/fat" of="$image" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$gptmbr" of="$image" bs=440 count=1 conv=notrunc status=none
finish "$image" "$out"
