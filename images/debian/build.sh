#!/bin/sh
# Builds the Debian node image as an OCI image, from Debian packages. See ../README.md.
set -eu

usage() {
    cat <<'USAGE'
Usage: images/debian/build.sh [options]
  --architecture ARCH   amd64 (default) or arm64
  --kernel KIND         cloud (default): virtual machines only, small; generic: every machine the kernel knows
  --out DIR             write there: oci/ (an OCI image layout), image-id, packages.list
  --cache DIR           packages and finished images are kept there (default: /var/cache/walt-rs/debian)
  --refresh             ask Debian for newer packages even if the cache has an image of this recipe
  --extra-file SRC:DST  put a file of this machine into the image (may be repeated)
  --import-root DIR     import the image into the containers storage at this root
  --import-runroot DIR  ... and this run root
  --name NAME           name of the imported image (default: waltplatform/<model>-default:latest, for each of its models)
Prints the image id. Progress and errors go to stderr.
USAGE
}

here=$(dirname "$(readlink -f "$0")")
architecture=amd64 KERNEL=cloud
out='' cache=/var/cache/walt-rs/debian refresh='' extra_files='' import_root='' import_runroot='' name=''
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
        --architecture | --kernel | --out | --cache | --extra-file | --import-root | --import-runroot | --name) ;;
        *) usage >&2 && die "unknown option $1" ;;
    esac
    [ $# -ge 2 ] || die "$1 wants a value"
    case "$1" in
        --architecture) architecture=$2 ;;
        --kernel) KERNEL=$2 ;;
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
[ -e "$here/arch/$architecture.conf" ] || die "no recipe for architecture $architecture"
case $KERNEL in cloud | generic) ;; *) die "--kernel wants cloud or generic, not \"$KERNEL\"" ;; esac
# shellcheck source=recipe.conf
. "$here/recipe.conf"
# shellcheck source=arch/amd64.conf
. "$here/arch/$architecture.conf"
export SOURCE_DATE_EPOCH
# "model:device tree" words, without the device trees.
models=$(for model in $MODELS; do echo "${model%%:*}"; done)
first_model=${models%%
*}
foreign=''
[ "$(dpkg --print-architecture)" = "$architecture" ] || foreign=foreign

# -- what this machine must have ----------------------------------------------------------------------------
missing=
need() { command -v "$1" >/dev/null || missing="$missing $2"; }
need mmdebstrap mmdebstrap
need python3 python3
need sha256sum coreutils
need flock util-linux
[ -z "$foreign" ] || need arch-test arch-test
[ -z "$foreign" ] || need "$EMULATOR-static" qemu-user-static
[ "$architecture" != arm64 ] || need mkimage u-boot-tools
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

# -- the cache: one finished image of each architecture and kernel; same recipe -> same image --------------------
recipe_key=$(
    cd "$here"
    # The U-Boot script is no part of the image of PCs.
    case $architecture in amd64) script='' ;; *) script=uboot-script ;; esac
    # shellcheck disable=SC2086  # may be no word
    find recipe.conf "arch/$architecture.conf" build.sh foreign.sh helpers.sh customize.sh oci.py files $script -type f |
        LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c 1-16
)
variant=$architecture-$KERNEL
built=$cache/$variant-$recipe_key

build() {
    say "building Debian $SUITE ($architecture) with mmdebstrap; this takes about two minutes"
    # shellcheck disable=SC2086  # a list of words
    include=$(echo $PACKAGES $KERNEL_PACKAGE | tr ' ' ',')
    archives=$cache/archives/$variant
    mkdir -p "$archives"
    export work here archives architecture KERNEL foreign
    cat >"$work/before.sh" <<'HOOK'
set -e
mkdir -p "$1/var/cache/apt/archives"
sh "$here/helpers.sh" put "$1" "$foreign"
find "$archives" -name '*.deb' -exec cp '{}' "$1/var/cache/apt/archives/" ';'
HOOK
    cat >"$work/after.sh" <<'HOOK'
set -e
echo 'image: making it a node image' >&2
chroot "$1" dpkg-query -W -f '${Package}=${Version}\n' | LC_ALL=C sort >"$work/packages.list"
# Packages are kept for the next build; those not used any more are forgotten.
rm -f "$archives"/*.deb
mv "$1"/var/cache/apt/archives/*.deb "$archives/"
sh "$here/customize.sh" "$1" "$architecture" "$KERNEL"
sh "$here/helpers.sh" remove "$1"
HOOK
    set -- --variant=minbase --mode=root --architectures="$architecture" --include="$include" \
        --skip=essential/unlink,download/empty,cleanup/apt/cache,cleanup/apt/lists \
        --aptopt='DPkg::Path "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"' \
        --setup-hook="sh '$work/before.sh' \"\$1\"" --customize-hook="sh '$work/after.sh' \"\$1\"" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
        "$SUITE" "$work/rootfs.tar" \
        "deb $mirror/debian $SUITE $COMPONENTS" "deb $mirror/debian $SUITE-updates $COMPONENTS" \
        "deb $mirror/debian-security $SUITE-security $COMPONENTS"
    if [ -n "$foreign" ]; then
        set -- unshare --mount --propagation private sh "$here/foreign.sh" "$architecture" "$EMULATOR" mmdebstrap "$@"
    else
        set -- mmdebstrap "$@"
    fi
    mkdir -p "$work/tmp"
    # A process group of its own, so that it can be told to end.
    TMPDIR="$work/tmp" setsid "$@" >"$work/log" 2>&1 &
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
    mkdir "$work/result"
    mv "$work/rootfs.tar" "$work/packages.list" "$work/result/"
    write_image "$work/result"
    rm -rf "$built"
    mv "$work/result" "$built"
    # Those of older recipes are large and of no use any more.
    for other in "$cache/$variant"-????????????????; do
        [ "$other" = "$built" ] || rm -rf "$other"
    done
}

# write_image DIR [SRC:/DST...]: makes DIR/oci and DIR/image-id.
write_image() {
    say 'writing the OCI image'
    to=$1
    shift
    python3 "$here/oci.py" "${base-$to}/rootfs.tar" "$to/oci" "$SOURCE_DATE_EPOCH" "$architecture" \
        "walt.node.models=$(echo "$models" | tr '\n' , | sed 's/,$//')" \
        "walt.image.preferred-name=$first_model-default:latest" 'walt.server.minversion=4' ${1+-- "$@"} >"$work/image-id"
    mv "$work/image-id" "$to/"
}

if [ -z "$refresh" ] && [ -e "$built/image-id" ]; then
    say "already built: $built"
else
    build
fi
if [ -n "$extra_files" ]; then
    # One more layer: a change of these files does not install Debian again.
    base=$built
    built=$base/with-$(printf '%s' "$extra_files" | while IFS=: read -r source target; do
        echo "$(sha256sum <"$source") $(stat -c %A "$source") $target"
    done | sha256sum | cut -c 1-16)
    if [ ! -e "$built/image-id" ]; then
        rm -rf "$base"/with-*
        mkdir "$work/with"
        # One per line: what options cannot hold, paths with line ends.
        set --
        while read -r file; do
            [ -z "$file" ] || set -- "$@" "$file"
        done <<FILES
$extra_files
FILES
        write_image "$work/with" "$@"
        cp "$base/packages.list" "$work/with/"
        mv "$work/with" "$built"
    fi
fi
image_id=$(cat "$built/image-id")

# -- results ----------------------------------------------------------------------------------------------------
if [ -n "$out" ]; then
    mkdir -p "$out"
    rm -rf "$out/oci"
    cp -al "$built/oci" "$out/" 2>/dev/null || cp -a "$built/oci" "$out/"
    cp "$built/image-id" "$built/packages.list" "$out/"
fi
podman() { command podman --root "$import_root" --runroot "$import_runroot" "$@"; }
if [ -n "$import_root" ]; then
    [ -n "$name" ] || name=$(for model in $models; do echo "waltplatform/$model-default:latest"; done)
    for name in $name; do
        case "$name" in
            docker.io/* | localhost/*) ;;
            *) name=docker.io/$name ;;
        esac
        if [ "$(podman image inspect -f '{{.Id}}' "$name" 2>/dev/null)" = "$image_id" ]; then
            say "$name is there"
        elif podman image exists "$image_id"; then
            podman tag "$image_id" "$name"
            say "$name is another name of it"
        else
            say "importing as $name"
            skopeo --override-arch "$architecture" copy --quiet --insecure-policy "oci:$built/oci" \
                "containers-storage:[overlay@$import_root+$import_runroot]$name" >&2 ||
                die "skopeo could not import the image into $import_root"
        fi
    done
fi
echo "$image_id"
