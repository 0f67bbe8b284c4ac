# Run on a node by the server, over ssh, as the input of `/bin/busybox sh -s -- WHAT`: nothing of it need be in the image.
#   about    what kind of boot this is, then the files the boot removed
#   changes  tar of the upper directory of the root's overlay
#   local    tar of /local, where the node keeps it on its disk
#   times    last change of each file of `changes`, for a tar that does not tell it
#   names    what each directory of `changes` shows, for a tar that does not tell which ones hide the image's
# shellcheck shell=dash disable=SC2154,SC1091

ram=/run/walt/rootfs
if [ ! -r "$ram/bin/walt-env" ]; then
    echo 'this node was not booted by WalT scripts that keep the root in memory' >&2
    exit 3
fi
. "$ram/bin/walt-env"
home="$ram/mnt/hm_part/walt_hybrid/$walt_image_id"
case "$walt_boot_mode" in
    network) changes="$ram/mnt/fs_rw" ;;
    hybrid-volatile | hybrid-persistent) changes="$home/diff" ;;
    *)
        echo "unknown boot mode '$walt_boot_mode'" >&2
        exit 3
        ;;
esac

# GNU tar keeps extended attributes and tells the time of the last change. The busybox every image has does neither.
tar=
for path in /usr/bin/tar /bin/tar; do
    if [ -x "$path" ] &&
        "$path" --format=posix --xattrs '--xattrs-include=*' -c -f /dev/null -T /dev/null 2>/dev/null </dev/null; then
        tar="$path"
        break
    fi
done

send() {
    if [ -n "$tar" ]; then
        exec "$tar" -c -f - -C "$1" --format=posix --numeric-owner --one-file-system --xattrs '--xattrs-include=*' . </dev/null
    fi
    exec busybox tar -c -f - -C "$1" . </dev/null
}

has_local() {
    [ "$walt_boot_mode" != network ] && [ -d "$home/local" ] && [ ! -e /local/README.nonlocal ]
}

# Bytes below a directory.
used() {
    busybox du -sk "$1" | { read -r kib _ && echo "$((kib * 1024))"; }
}

case "$1" in
    about)
        if [ ! -e /run/uptime-ready ]; then
            echo 'its boot is not complete' >&2
            exit 3
        fi
        busybox sync
        echo "mode=$walt_boot_mode"
        echo "image=$walt_image_id"
        if [ "$walt_boot_mode" != hybrid-persistent ]; then
            fraction=$(busybox stat -c %y /run/uptime-ready)
            case "$fraction" in
                *.*) fraction="${fraction#*.}" ;;
                *) fraction=0 ;;
            esac
            echo "since=$(busybox stat -c %Y /run/uptime-ready).${fraction%% *}"
        fi
        [ -z "$tar" ] || echo tar=gnu
        echo "bytes=$(used "$changes")"
        ! has_local || echo "local=$(used "$home/local")"
        echo
        [ ! -e /run/walt/removed-by-boot ] || busybox cat /run/walt/removed-by-boot
        ;;
    changes) send "$changes" ;;
    local) send "$home/local" ;;
    times) cd "$changes" && busybox find . -exec busybox stat -c '%Z %n' '{}' + ;;
    names)
        cd "$changes" && busybox find . -type d | while IFS= read -r directory; do
            [ -d "/$directory" ] || continue
            echo "D $directory"
            busybox ls -1A "/$directory" | busybox sed 's/^/N /'
        done
        ;;
esac
