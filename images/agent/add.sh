#!/bin/sh
# Puts the node agent in an image of the containers storage: the same layers, and one more. See ../../docs/node-agent.md.
set -eu

usage='Usage: images/agent/add.sh --root DIR --runroot DIR --agent FILE FROM TO
  --root, --runroot  the containers storage
  --agent            the static program of the processors of the image (cargo xtask agent)
  FROM, TO           image names, e.g. localhost/walt/base:pc-x86-64 and docker.io/waltplatform/pc-x86-64-default:latest
Prints the id of the new image: the same one each time for the same FROM and program.'
root='' runroot='' agent=''
die() {
    echo "agent: ERROR: $*" >&2
    exit 1
}
while [ $# -gt 0 ]; do
    case "$1" in
        --root | --runroot | --agent)
            [ $# -ge 2 ] || die "$1 wants a value"
            case "$1" in
                --root) root=$2 ;;
                --runroot) runroot=$2 ;;
                --agent) agent=$2 ;;
            esac
            shift 2
            ;;
        -*) die "unknown option $1
$usage" ;;
        *) break ;;
    esac
done
if [ $# -ne 2 ] || [ -z "$root" ] || [ -z "$runroot" ] || [ -z "$agent" ]; then
    die "$usage"
fi
from=$1
to=$2
[ -f "$agent" ] || die "no file $agent"
command -v buildah >/dev/null || die 'missing Debian package: buildah'

storage() { buildah --root "$root" --runroot "$runroot" "$@"; }
image_id() { storage inspect --type image --format '{{.FromImageID}}' "$1" 2>/dev/null; }
label() { storage inspect --type image --format '{{index .OCIv1.Config.Labels "walt.agent"}}' "$1" 2>/dev/null || :; }

key=$(image_id "$from") || die "no image $from in $root"
key="$key-$(cat "$0" "$agent" | sha256sum | cut -c 1-16)"
if [ "$(label "$to")" = "$key" ]; then
    image_id "$to"
    exit 0
fi

container=''
clean() {
    trap - EXIT
    [ -z "$container" ] || storage rm "$container" >/dev/null 2>&1 || :
}
trap clean EXIT
trap 'clean; exit 130' INT TERM HUP
container=$(storage from --pull-never "$from")
tree=$(storage mount "$container")
[ -d "$tree/usr" ] || die "$from has no usr"

install -D -m 755 "$agent" "$tree/usr/local/bin/walt-node"
# The program knows what an image needs of it. Programs of other processors run if this machine can emulate them.
"$tree/usr/local/bin/walt-node" install --root "$tree" >&2
# A node is ready when sshd answers: what collects its logs comes after that.
install -d "$tree/etc/systemd/system/walt-logs.service.d"
printf '[Unit]\nAfter=ssh.service\n' >"$tree/etc/systemd/system/walt-logs.service.d/walt.conf"
# Hooks are the image's own affair: those it has already stay.
hook() {
    if [ ! -e "$tree/bin/$1" ] && [ ! -L "$tree/bin/$1" ]; then
        ln -s "/usr/local/bin/$2" "$tree/bin/$1"
    fi
}
hook blink walt-blink
# Machines that are not virtual go over to the kernel of their image without their firmware.
hook walt-network-reboot walt-ipxe-kexec-reboot
hook walt-hybrid-reboot walt-ipxe-kexec-reboot

storage umount "$container" >/dev/null
storage config --label "walt.agent=$key" "$container"
# A constant: the same files give the same image whenever it is made.
storage commit --quiet --timestamp 1767225600 "$container" "$to"
