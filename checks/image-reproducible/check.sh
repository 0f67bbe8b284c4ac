#!/usr/bin/env bash
# The default node image built again, elsewhere, from the same packages, is the same image.
# needs: debian
# alone: takes the cores for itself
# timeout: 900
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
build() { "$WALT_CHECK_REPOSITORY/images/debian/build.sh" --cache "$scratch/cache" "$@"; }

# Packages that are there already need not be downloaded again.
mkdir -p "$scratch/cache/archives/amd64-cloud"
cp /var/cache/walt-rs/debian/archives/amd64-cloud/*.deb "$scratch/cache/archives/amd64-cloud/" 2>/dev/null || true

say "another build"
second=$(build --refresh --out "$scratch/second")
say "the image the checks use"
first=$("$WALT_CHECK_REPOSITORY/images/debian/build.sh" --out "$scratch/first")
if ! diff "$scratch/first/packages.list" "$scratch/second/packages.list"; then
  say "it was made of other packages: a build of the same ones"
  first=$(build --refresh --out "$scratch/first")
fi

diff "$scratch/first/packages.list" "$scratch/second/packages.list" ||
  fail "Debian published other packages between the two builds: run the check again"
[[ $first =~ ^[0-9a-f]{64}$ ]] || fail "not an image id: $first"
[ "$first" = "$second" ] || fail "the same packages gave two images: $first and $second"
say "both are $first"
