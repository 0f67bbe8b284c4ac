#!/usr/bin/env bash
# Makes the folder Raspberry Pi boards start from: content of an SD card, and of `tftp-static` of the server.
# shellcheck source=images/boot-media/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: images/boot-media/rpi-firmware.sh [OPTIONS] DIR

Replaces DIR by the firmware, U-Boot, its script, device trees and settings a Raspberry Pi starts from, by its
network (DIR is `tftp-static` in the state folder of the server) or from an SD card (see rpi-sd.sh).
Needs no network and no root; the same inputs give the same bytes. Prints a checksum of the whole.

  --root DIR       where Debian's packages are unpacked (default: where fetch.sh puts them)
  --firmware DIR   bootcode.bin, start*.elf, fixup*.dat, overlays/   (ROOT/usr/lib/raspi-firmware)
  --device-trees DIR
                   bcm2*-rpi-*.dtb                                   (ROOT/usr/lib/device-trees)
  --u-boot DIR     rpi/u-boot.bin, rpi_2/..., rpi_3_32b/..., rpi_4_32b/..., rpi_3/..., rpi_4/...
                                                                     (ROOT/usr/lib/u-boot)
  --u-boot-pi5 FILE
                   a U-Boot of the Pi 5 that drives its network card (none by default: Debian's does not)
  --licences DIR   raspi-firmware/copyright, u-boot-rpi/copyright, linux/copyright
                                                                     (ROOT/usr/share/doc)
  --bits 32|64     which U-Boot models 3B to 400 start: it has to suit the kernels of the images that U-Boot
                   starts, and those that exist are 32-bit ones (default: 32)
  --model MODEL    what the script says the board is, instead of finding it out: rpi-3-b, ...
SOURCE_DATE_EPOCH sets the time of all files (and `walt.date`).
TEXT
}

root=$default_root firmware='' trees='' u_boot='' pi5='' licences='' bits=32 model='' dir=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit ;;
    --root) root=$(value "$@"); shift ;;
    --firmware) firmware=$(value "$@"); shift ;;
    --device-trees) trees=$(value "$@"); shift ;;
    --u-boot) u_boot=$(value "$@"); shift ;;
    --u-boot-pi5) pi5=$(value "$@"); shift ;;
    --licences) licences=$(value "$@"); shift ;;
    --bits) bits=$(value "$@"); shift ;;
    --model) model=$(value "$@"); shift ;;
    -*) die "unknown option $1 (see --help)" ;;
    *) [ -z "$dir" ] || die "one folder, not both $dir and $1" && dir=$1 ;;
  esac
  shift
done
[ -n "$dir" ] || die "which folder? (see --help)"
[[ $bits = 32 || $bits = 64 ]] || die "--bits is 32 or 64, not $bits"
[[ $model =~ ^([a-z0-9]+(-[a-z0-9]+)*)?$ ]] || die "not a model: $model"
firmware=${firmware:-$root/usr/lib/raspi-firmware}
trees=${trees:-$root/usr/lib/device-trees}
u_boot=${u_boot:-$root/usr/lib/u-boot}
licences=${licences:-$root/usr/share/doc}
need_tool mkimage u-boot-tools
# Not over a folder of something else.
if [ -e "$dir" ] && [ ! -f "$dir/walt.date" ] && [ -n "$(ls -A "$dir")" ]; then
  die "$dir holds something else: name a new folder"
fi

mkdir -p "$(dirname "$dir")"
work=$(mktemp -d "$(dirname "$dir")/.rpi-firmware.XXXXXX")
trap 'rm -rf "$work"' EXIT

# put FILE NAME WHAT OPTION: an input becomes a file of the tree.
put() {
  need_file "$1" "$3" "$4"
  install -m 644 "$1" "$work/$2"
}

for file in bootcode.bin start.elf start4.elf fixup.dat fixup4.dat; do
  put "$firmware/$file" "$file" "firmware of the Raspberry Pi" --firmware
done
mkdir "$work/overlays" "$work/licences"
for file in "$firmware"/overlays/*.dtbo; do
  put "$file" "overlays/${file##*/}" "overlays of the firmware" --firmware
done

# Each tree under the name the firmware asks for, and under Linux's own.
while read -r linux asked; do
  source=$trees/$linux
  [ -f "$source" ] || source=$trees/$asked
  put "$source" "$asked" "device tree $linux" --device-trees
  [ "$linux" = "$asked" ] || install -m 644 "$source" "$work/$linux"
done <<'TEXT'
bcm2835-rpi-b.dtb        bcm2708-rpi-b.dtb
bcm2835-rpi-b-rev2.dtb   bcm2708-rpi-b-rev2.dtb
bcm2835-rpi-b-plus.dtb   bcm2708-rpi-b-plus.dtb
bcm2836-rpi-2-b.dtb      bcm2709-rpi-2-b.dtb
bcm2837-rpi-3-b.dtb      bcm2710-rpi-3-b.dtb
bcm2837-rpi-3-b-plus.dtb bcm2710-rpi-3-b-plus.dtb
bcm2711-rpi-4-b.dtb      bcm2711-rpi-4-b.dtb
bcm2711-rpi-400.dtb      bcm2711-rpi-400.dtb
TEXT

while read -r build name; do
  put "$u_boot/$build/u-boot.bin" "$name" "U-Boot ($build)" --u-boot
done <<'TEXT'
rpi       u-boot-rpi-b.img
rpi_2     u-boot-rpi-2-b.img
rpi_3_32b u-boot-rpi-3-b.img
rpi_4_32b u-boot-rpi-4-b.img
rpi_3     u-boot-rpi-3-b-64b.img
rpi_4     u-boot-rpi-4-b-64b.img
TEXT
suffix='' wide=0
if [ "$bits" = 64 ]; then suffix=-64b wide=1; fi
{
  cat "$(dirname "$0")/files/config.txt"
  [ -z "$pi5" ] || printf '[pi5]\nkernel=u-boot-rpi-5-b.img\n'
  printf '[pi4]\narm_64bit=%s\nkernel=u-boot-rpi-4-b%s.img\n' "$wide" "$suffix"
  printf '[pi3]\narm_64bit=%s\nkernel=u-boot-rpi-3-b%s.img\n' "$wide" "$suffix"
  printf '[pi2]\nkernel=u-boot-rpi-2-b.img\n[pi1]\nkernel=u-boot-rpi-b.img\n[all]\n'
} >"$work/config.txt"
if [ -n "$pi5" ]; then
  put "$pi5" u-boot-rpi-5-b.img "U-Boot of the Pi 5" --u-boot-pi5
  put "$trees/bcm2712-rpi-5-b.dtb" bcm2712-rpi-5-b.dtb "device tree of the Pi 5" --device-trees
fi
install -m 644 "$(dirname "$0")/files/cmdline.txt" "$work/cmdline.txt"

{
  [ -z "$model" ] || echo "setenv node_model $model"
  cat "$(dirname "$0")/files/boot.cmd"
} >"$work/boot.cmd"
mkimage -A arm -O linux -T script -C none -n WalT -d "$work/boot.cmd" "$work/boot.scr.uimg" >/dev/null
rm "$work/boot.cmd"

for part in raspi-firmware u-boot-rpi linux; do
  put "$licences/$part/copyright" "licences/$part.txt" "licence of $part" --licences
done
# The last line is what a server compares to know how old this is.
printf '%s\n%s\n' "$(date -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" "$SOURCE_DATE_EPOCH" >"$work/walt.date"

chmod -R u=rwX,go=rX "$work"
find "$work" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" '{}' +
rm -rf "$dir"
mv "$work" "$dir"
sum=$(cd "$dir" && find . -type f | sort | xargs sha256sum | sha256sum | cut -d ' ' -f 1)
echo "$sum  $dir"
