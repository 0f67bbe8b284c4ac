#!/usr/bin/env bash
# Makes the SD card that boots Raspberry Pi boards which cannot start from their network alone.
# shellcheck source=images/boot-media/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: images/boot-media/rpi-sd.sh [OPTIONS] --out FILE

Writes the image of an SD card: one FAT file system with what rpi-firmware.sh makes. Needs no network and no
root; the same inputs give the same bytes. Prints its checksum.

  --out FILE       the image
Every other option is passed to rpi-firmware.sh (see its --help): --root, --model, --bits, --firmware, ...
TEXT
}

out='' options=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit ;;
    --out) out=$(value "$@"); shift ;;
    --*)
      value "$@" >/dev/null
      options+=("$1" "$2")
      shift
      ;;
    *) die "unknown argument $1 (see --help)" ;;
  esac
  shift
done
[ -n "$out" ] || die "--out FILE is missing (see --help)"
need_tool mkfs.fat dosfstools
need_tool mcopy mtools

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/.rpi-sd.XXXXXX")
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")/rpi-firmware.sh" "${options[@]}" "$work/tree" >/dev/null

# 64 MiB in all: emulators want a power of 2.
size=63
fat_image "$work/fat" "$size" 57414c55 WALT-RPI 2048
fat_copy_tree "$work/fat" "$work/tree"

image=$work/image
truncate -s "$((size + 1))M" "$image"
# bytes OFFSET HEX-ESCAPES: into the image.
bytes() { printf '%b' "$2" | dd of="$image" bs=1 seek="$1" conv=notrunc status=none; }
# Little-endian 32-bit number, as escapes.
le32() { printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24)); }
# MBR: disk id, then one active partition of type 0c (FAT32 by sector numbers) from 1 MiB on.
bytes 440 "$(le32 0x57414c55)"
bytes 446 "\\x80\\xfe\\xff\\xff\\x0c\\xfe\\xff\\xff$(le32 2048)$(le32 $((size * 2048)))"
bytes 510 '\x55\xaa'
dd if="$work/fat" of="$image" bs=1M seek=1 conv=notrunc,sparse status=none
finish "$image" "$out"
