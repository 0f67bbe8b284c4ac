#!/bin/sh
# Builds the Debian node image as an OCI image, from Debian packages. See ../README.md.
set -eu

usage() {
    cat <<'USAGE'
Usage: images/debian/build.sh [options]
  --out DIR             write there: oci/ (an OCI image layout), image-id, packages.list
  --cache DIR           packages and finished images are kept there (default: /var/cache/walt-rs/debian)
  --refresh             ask Debian for newer packages even if the cache has an image of this recipe
  --extra-file SRC:DST  put a file of this machine into the image (may be repeated)
  --import-root DIR     import the image into the containers storage at this root
  --import-runroot DIR  ... and this run root
  --name NAME           name of the imported image (default: waltplatform/pc-x86-64-default:latest)
Prints the image id. Progress and errors go to stderr.
USAGE
}

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=recipe.conf
. "$here/recipe.conf"
export SOURCE_DATE_EPOCH

out='' cache=/var/cache/walt-rs/debian refresh='' extra_files='' import_root='' import_runroot='' name=$IMAGE_NAME
mirror=${WALT_DEBIAN_MIRROR:-http://deb.debian.org}

say() { echo "image: $*" >&2; }
die() {
    echo "image: ERROR: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
        --refresh) refresh=yes && shift && continue ;;
        --help | -h) usage && exit 0 ;;
        --out | --cache | --extra-file | --import-root | --import-runroot | --name) ;;
        *) usage >&2 && die "unknown option $1" ;;
    esac
    [ $# -ge 2 ] || die "$1 wants a value"
    case "$1" in
        --out) out=$2 ;;
        --cache) cache=$2 ;;
        --extra-file)
            case "$2" in
                *:/*) ;;
                *) die "--extra-file wants SRC:/DST, not \"$2\"" ;;
            esac
            [ -f "${2%%:*}" ] || die "--extra-file: no file ${2%%:*}"
            extra_files="$extra_files$2
"
            ;;
        --import-root) import_root=$2 ;;
        --import-runroot) import_runroot=$2 ;;
        --name) name=$2 ;;
    esac
    shift 2
done
[ -z "$import_root" ] || [ -n "$import_runroot" ] || die '--import-root needs --import-runroot'

# -- what this machine must have ----------------------------------------------------------------------------
missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need mmdebstrap mmdebstrap
need python3 python3
need sha256sum coreutils
need flock util-linux
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
if [ -n "$import_root" ]; then
    need skopeo skopeo
    need podman podman
fi
[ -z "$missing" ] || die "missing Debian packages:$missing (apt-get install --no-install-recommends$missing)"
[ "$(id -u)" = 0 ] || die 'building the image needs root'

# -- cleaning up, at any moment -----------------------------------------------------------------------------
mkdir -p "$cache/archives"
# One build at a time: a second caller waits, and then finds the image in the cache.
exec 9>"$cache/lock"
flock -n 9 || {
    say 'waiting for another build in the same cache'
    flock 9
}
# What a killed build left behind.
rm -rf "$cache"/work.*
work=$(mktemp -d "$cache/work.XXXXXX")
child=''
clean() {
    trap - EXIT INT TERM HUP
    if [ -n "$child" ]; then
        # mmdebstrap undoes its mounts itself when told to end.
        kill -INT "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null || :
        wait "$child" 2>/dev/null || :
    fi
    rm -rf "$work"
}
trap clean EXIT
trap 'clean; say stopped; exit 130' INT TERM HUP

# -- the cache: same recipe, same extra files -> same image ---------------------------------------------------
recipe_key=$(
    {
        cd "$here"
        find recipe.conf build.sh customize.sh oci.py files -type f | LC_ALL=C sort | xargs sha256sum
        printf '%s' "$extra_files" | while IFS=: read -r source target; do
            sha256sum <"$source"
            echo "$target"
        done
    } | sha256sum | cut -c 1-16
)
built=$cache/$recipe_key

build() {
    say "building Debian $SUITE ($ARCHITECTURE) with mmdebstrap; this takes about two minutes"
    # shellcheck disable=SC2086  # a list of words
    include=$(echo $PACKAGES | tr ' ' ',')
    export work here cache extra_files
    cat >"$work/before.sh" <<'HOOK'
set -e
mkdir -p "$1/var/cache/apt/archives"
find "$cache/archives" -name '*.deb' -exec cp '{}' "$1/var/cache/apt/archives/" ';'
HOOK
    cat >"$work/after.sh" <<'HOOK'
set -e
echo 'image: making it a node image' >&2
chroot "$1" dpkg-query -W -f '${Package}=${Version}\n' | LC_ALL=C sort >"$work/packages.list"
# Packages are kept for the next build; those not used any more are forgotten.
rm -f "$cache"/archives/*.deb
mv "$1"/var/cache/apt/archives/*.deb "$cache/archives/"
sh "$here/customize.sh" "$1"
printf '%s' "$extra_files" | while IFS=: read -r source target; do
    install -D -p "$source" "$1$target"
done
HOOK
    set -- --variant=minbase --mode=root --architectures="$ARCHITECTURE" --include="$include" \
        --skip=essential/unlink,download/empty,cleanup/apt/cache,cleanup/apt/lists \
        --setup-hook="sh '$work/before.sh' \"\$1\"" --customize-hook="sh '$work/after.sh' \"\$1\"" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
        "$SUITE" "$work/rootfs.tar" \
        "deb $mirror/debian $SUITE main" "deb $mirror/debian $SUITE-updates main" \
        "deb $mirror/debian-security $SUITE-security main"
    mkdir -p "$work/tmp"
    # A process group of its own, so that it can be told to end.
    TMPDIR="$work/tmp" setsid mmdebstrap "$@" >"$work/log" 2>&1 &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        step=$(tail -n 1 "$work/log" | cut -c 1-100 | tr -d '\r')
        [ "$step" = "${last_step-}" ] || say "  $step"
        last_step=$step
        sleep 2
    done
    if ! wait "$child"; then
        child=''
        tail -n 30 "$work/log" >&2
        die 'mmdebstrap failed: its last lines are above'
    fi
    child=''
    say 'writing the OCI image'
    python3 "$here/oci.py" "$work/rootfs.tar" "$work/oci" "$SOURCE_DATE_EPOCH" \
        "walt.node.models=$MODEL" "walt.image.preferred-name=$PREFERRED_NAME" 'walt.server.minversion=4' >"$work/image-id"
    rm -rf "$work/result" "$built"
    mkdir "$work/result"
    mv "$work/oci" "$work/image-id" "$work/packages.list" "$work/result/"
    mv "$work/result" "$built"
    # Images of older recipes are large and of no use any more.
    for other in "$cache"/????????????????; do
        [ "$other" = "$built" ] || rm -rf "$other"
    done
}

if [ -z "$refresh" ] && [ -e "$built/image-id" ]; then
    say "already built: $built"
else
    build
fi
image_id=$(cat "$built/image-id")

# -- results ----------------------------------------------------------------------------------------------------
if [ -n "$out" ]; then
    mkdir -p "$out"
    rm -rf "$out/oci"
    cp -al "$built/oci" "$out/" 2>/dev/null || cp -a "$built/oci" "$out/"
    cp "$built/image-id" "$built/packages.list" "$out/"
fi
if [ -n "$import_root" ]; then
    case "$name" in
        docker.io/* | localhost/*) ;;
        *) name=docker.io/$name ;;
    esac
    present=$(podman --root "$import_root" --runroot "$import_runroot" image inspect -f '{{.Id}}' "$name" 2>/dev/null || :)
    if [ "$present" = "$image_id" ]; then
        say "$name is there"
    else
        say "importing as $name"
        skopeo copy --quiet --insecure-policy "oci:$built/oci" "containers-storage:[overlay@$import_root+$import_runroot]$name" >&2 ||
            die "skopeo could not import the image into $import_root"
    fi
fi
echo "$image_id"
