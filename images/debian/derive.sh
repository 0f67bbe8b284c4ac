#!/bin/sh
# Makes a second image from an imported one: the same layers, and one more with /etc/walt-variant in it.
set -eu

usage='Usage: images/debian/derive.sh --root DIR --runroot DIR [--label TEXT] [--script FILE] FROM TO
  FROM, TO  image names, e.g. docker.io/waltplatform/pc-x86-64-default:latest and docker.io/alice/variant:latest
  --label   content of /etc/walt-variant (default: TO)
  --script  program run with the image folder as its argument: it may change the files there
Prints the id of the new image: the same one each time for the same FROM, label and changes.'
root='' runroot='' label='' script=''
die() {
    echo "derive: ERROR: $*" >&2
    exit 1
}
while [ $# -gt 0 ]; do
    case "$1" in
        --root | --runroot | --label | --script)
            [ $# -ge 2 ] || die "$1 wants a value"
            case "$1" in
                --root) root=$2 ;;
                --runroot) runroot=$2 ;;
                --label) label=$2 ;;
                --script) script=$(readlink -f "$2") ;;
            esac
            shift 2
            ;;
        -*) die "unknown option $1
$usage" ;;
        *) break ;;
    esac
done
if [ $# -ne 2 ] || [ -z "$root" ] || [ -z "$runroot" ]; then
    die "$usage"
fi
from=$1
to=$2
[ -n "$label" ] || label=$to
command -v buildah >/dev/null || die 'missing Debian package: buildah'

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=recipe.conf
. "$here/recipe.conf"

work=$(mktemp -d)
container=''
storage() { buildah --root "$root" --runroot "$runroot" "$@"; }
clean() {
    trap - EXIT
    [ -z "$container" ] || storage rm "$container" >/dev/null 2>&1 || :
    rm -rf "$work"
}
trap clean EXIT
trap 'clean; exit 130' INT TERM HUP

printf '%s\n' "$label" >"$work/walt-variant"
touch -d "@$SOURCE_DATE_EPOCH" "$work/walt-variant"
container=$(storage from --pull-never "$from")
storage copy --quiet "$container" "$work/walt-variant" /etc/walt-variant >/dev/null
if [ -n "$script" ]; then
    "$script" "$(storage mount "$container")" >&2
    storage umount "$container" >/dev/null
fi
storage commit --quiet --timestamp "$SOURCE_DATE_EPOCH" "$container" "$to"
