#!/usr/bin/env bash
# Fetches the Debian packages boot media are made of and unpacks what is needed of them.
# shellcheck source=images/boot-media/lib.sh
. "$(dirname "$0")/lib.sh"

usage() {
  cat <<'TEXT'
Usage: images/boot-media/fetch.sh [--refresh] [DIR]

Unpacks into DIR, from packages of Debian, the parts boot media are made of. DIR is by default
$WALT_BOOT_MEDIA_PARTS or /var/cache/walt-rs/boot-media/parts; it is left alone when it is complete.

  --refresh   fetch the newest packages again

About 55 MB are downloaded. Nothing is installed and the package lists of this machine stay as they are:
apt runs on lists of its own, which name also the suite `non-free-firmware` and the architectures of the
boards. WALT_DEBIAN_MIRROR names another mirror than http://deb.debian.org.
TEXT
}

refresh=''
dir=$default_root
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit ;;
    --refresh) refresh=1 ;;
    -*) die "unknown option $1 (see --help)" ;;
    *) dir=$1 ;;
  esac
  shift
done
mirror=${WALT_DEBIAN_MIRROR:-http://deb.debian.org}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
for tool in apt-get dpkg-deb tar flock; do need_tool "$tool" "apt, dpkg, tar, util-linux"; done
[ -f "$keyring" ] || die "$keyring is missing (Debian package debian-archive-keyring)"

mkdir -p "$(dirname "$dir")"
dir=$(cd "$(dirname "$dir")" && pwd)/$(basename "$dir")
# Changes with what is fetched, so that an older folder is made again.
recipe=$(sha256sum "$0" | cut -d ' ' -f 1)
exec 9>"$dir.lock"
flock 9
if [ -z "$refresh" ] && [ "$(cat "$dir/recipe" 2>/dev/null)" = "$recipe" ]; then
  echo "$program: the parts are in $dir" >&2
  exit
fi

work=$dir.new
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/deb" "$work/parts"
: >"$work/apt/status"
cat >"$work/apt/sources.list" <<TEXT
deb [arch=amd64,armhf,arm64,armel signed-by=$keyring] $mirror/debian bookworm main
deb [arch=amd64 signed-by=$keyring] $mirror/debian trixie main non-free-firmware
TEXT
cat >"$work/apt/apt.conf" <<TEXT
APT::Architecture "amd64";
APT::Architectures { "amd64"; "armhf"; "arm64"; "armel"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "$work/apt";
Dir::State::lists "$work/apt/lists";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
TEXT
export APT_CONFIG=$work/apt/apt.conf
echo "$program: package lists" >&2
apt-get update -qq >&2 || die "the package lists of $mirror cannot be fetched"

# The package the device trees come from: the one the newest 32-bit kernel's metapackage names.
kernel=$(apt-cache show linux-image-armmp:armhf | sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' | sort -V | tail -n 1)
[ -n "$kernel" ] || die "Debian's package linux-image-armmp does not name its kernel"
echo "$program: packages" >&2
# trixie: Debian 12's iPXE finds no script beside it, and its firmware does not know the newer boards.
(cd "$work/deb" && apt-get download -qq raspi-firmware/trixie ipxe/trixie syslinux/bookworm syslinux-common/bookworm \
  u-boot-rpi:armel/bookworm u-boot-rpi:armhf/bookworm u-boot-rpi:arm64/bookworm "$kernel:armhf/bookworm") >&2 ||
  die "packages cannot be fetched from $mirror"

for package in "$work"/deb/*.deb; do
  name=$(dpkg-deb --field "$package" Package)
  # shellcheck disable=SC2016  # fields, for dpkg-deb
  dpkg-deb --show --showformat '${Package} ${Version} ${Architecture}\n' "$package" >>"$work/parts/packages.list"
  case $name in
    raspi-firmware) wanted=(usr/lib/raspi-firmware) ;;
    ipxe) wanted=(usr/lib/ipxe) ;;
    syslinux) wanted=(usr/bin/syslinux) ;;
    syslinux-common) wanted=(usr/lib/syslinux/mbr) ;;
    u-boot-rpi) wanted=(usr/lib/u-boot) ;;
    linux-image-*) wanted=("usr/lib/$name/bcm27*.dtb" "usr/lib/$name/bcm28*.dtb") ;;
  esac
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/parts" --no-same-owner --wildcards \
    "${wanted[@]/#/./}" "./usr/share/doc/$name/copyright"
done
# One name whatever the kernel's version is.
mv "$work/parts/usr/lib/$kernel" "$work/parts/usr/lib/device-trees"
mv "$work/parts/usr/share/doc/$kernel" "$work/parts/usr/share/doc/linux"
echo "$recipe" >"$work/parts/recipe"
chmod -R u=rwX,go=rX "$work/parts"
if [ -e "$dir" ]; then
  # Parts of another recipe are replaced; a folder of somebody else is not.
  [ -f "$dir/recipe" ] || rmdir "$dir" || {
    echo "$program: $dir is not a folder of parts, and not empty" >&2
    exit 1
  }
  rm -rf "$dir"
fi
mv "$work/parts" "$dir"
echo "$program: the parts are in $dir:" >&2
sed "s/^/  /" "$dir/packages.list" >&2
