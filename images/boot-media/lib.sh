# Sourced by the scripts of this folder: errors, arguments, the Debian parts and their fixed time.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C TZ=UTC MTOOLS_SKIP_CHECK=1
# One time for every file of every medium: the same inputs give the same bytes.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1767225600}
program=${0##*/}
# Where fetch.sh unpacks Debian's packages.
# shellcheck disable=SC2034  # of the scripts that read this file
default_root=${WALT_BOOT_MEDIA_PARTS:-/var/cache/walt-rs/boot-media/parts}

die() {
  echo "$program: ERROR: $*" >&2
  exit 1
}

# value OPTION REST...: the value that follows an option.
value() {
  [ $# -ge 2 ] || die "$1 needs a value (see --help)"
  printf '%s\n' "$2"
}

# need_tool PROGRAM PACKAGE
need_tool() {
  command -v "$1" >/dev/null || die "the program $1 is missing (Debian package $2)"
}

# need_file FILE WHAT OPTION: an input is there.
need_file() {
  [ -f "$1" ] || die "missing input: $2
  looked for: $1
  name another with $3, or get Debian's with: images/boot-media/fetch.sh"
}

# fat_image FILE MIB VOLUME-ID LABEL HIDDEN-SECTORS: an empty FAT32 file system that is always the same.
fat_image() {
  truncate -s 0 "$1"
  truncate -s "$2M" "$1"
  mkfs.fat --invariant -F 32 -s 1 -i "$3" -n "$4" -h "$5" "$1" >/dev/null
}

# fat_copy_tree IMAGE DIR: the content of a folder, in a fixed order.
fat_copy_tree() {
  local image=$1 dir=$2 folder names
  (cd "$dir" && find . -type d | sort) | while IFS= read -r folder; do
    [ "$folder" = . ] || mmd -i "$image" "::${folder#./}"
    mapfile -t names < <(find "$dir/$folder" -maxdepth 1 -type f | sort)
    [ "${#names[@]}" = 0 ] || mcopy -m -i "$image" "${names[@]}" "::${folder#.}/"
  done
}

# finish IMAGE OUT: the medium gets its name once it is complete, and its checksum is printed.
finish() {
  chmod 644 "$1"
  mv "$1" "$2"
  sha256sum "$2"
}
