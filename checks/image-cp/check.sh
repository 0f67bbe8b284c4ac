#!/usr/bin/env bash
# Files into and out of images: what a person types, what a hostile archive tries, what a crash leaves.
# timeout: 600
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

me=$(id -un)
list() { platform-list-image "$me/$1" "$2"; }
holds() { list "$1" "$2" | awk '{print $6}' | grep >/dev/null -x "$3"; }
containers() { platform-storage ps --all --external --format '{{.Names}}'; }
leftovers() {
  local containers tags
  containers=$(containers) && tags=$(platform-storage images --format '{{.Repository}}:{{.Tag}}') || return
  grep -E '^walt-' <<<"$containers" || true
  grep -E '^localhost/walt/op:' <<<"$tags" || true
}
clean() {
  local found
  found=$(leftovers) && [ -z "$found" ]
}
# What a reader held is let go soon after it.
nothing_left() {
  say "nothing is left of $1"
  eventually 30 clean
}

say "a tiny image, with links that lead out of it"
mkdir "$scratch/tiny"
"$here/../image-shell/tiny.sh" "$scratch/tiny"
mkdir -p "$scratch/tiny/usr/lib" "$scratch/tiny/srv"
ln -s usr/lib "$scratch/tiny/lib"
ln -s / "$scratch/tiny/srv/out"
ln -s ../../../../../../../../.. "$scratch/tiny/srv/up"
printf 'inside\n' >"$scratch/tiny/etc/marker"
platform-import-image "$me/tiny" "$scratch/tiny"
platform-storage tag "docker.io/$me/tiny:latest" "docker.io/$me/tiny:v1"
walt image show --refresh >/dev/null

say "to an image: the rules of cp"
mkdir -p "$scratch/tree/sub" && cd "$scratch"
printf 'one\n' >tree/one
printf 'two\n' >'tree/sub/two words'
ln -s one tree/link
chown 1234:1234 tree/one
chmod 4755 tree/one
expect_output '^Image tiny updated\.$' walt image cp tree tiny:
expect_output '^-rwsr-xr-x 1 0 0 4 tree/one$' list tiny root
expect_output ' tree/sub/two words$' list tiny root
expect_output '^l.* tree/link$' list tiny root
walt image cp tree/one tiny:/etc/renamed
holds tiny etc renamed || fail "a file was not renamed"
walt image cp tree/. tiny:/srv
holds tiny srv one || fail "a directory was not merged"
walt image cp tree/one tiny:/lib
holds tiny usr/lib one || fail "a link to a directory was not followed"
walt image cp tree/. tiny:/lib/
expect_output '^l.* lib$' list tiny .
walt image cp tree/one tiny:v1:/root/tagged
holds tiny:v1 root tagged || fail "a tag is not understood"
expect_failure "Cannot overwrite the regular file" walt image cp tree tiny:/etc/passwd
expect_failure "No such file or directory: /no/where" walt image cp tree/one tiny:/no/where
expect_failure "No such file or directory: nowhere" walt image cp nowhere tiny:
expect_failure "No such image 'none'" walt image cp tree/one none:/root
expect_failure "One operand must be in an image" walt image cp tree/one tree/two
expect_failure "walt node cp" walt image cp tree/one booted-image
nothing_left "a copy"

say "from an image; nothing outside of it can be reached"
walt image cp tiny:tree back
diff -r --no-dereference tree back
walt image cp tiny:/srv/out/etc/marker .
walt image cp tiny:/srv/up/etc/marker marker-2
[ "$(cat marker marker-2)" = $'inside\ninside' ]
walt image cp tiny:/etc/. copied && cat copied/marker
mkdir merged && walt image cp tiny:/etc/. merged && cat merged/marker
expect_failure "No such file or directory" walt image cp tiny:/etc/shadow .
nothing_left "a download"

say "an image that is removed while it is read stays until then"
head -c 30000000 /dev/urandom >tree/1-large
printf 'last\n' >tree/2-last
walt image duplicate tiny read
walt image cp tree read:
curl -sS --unix-socket "${WALT_SERVER#unix:}" --limit-rate 4M -o read.tar "http://walt/api/v1/image/read/files?path=/root/tree" &
reading=$!
eventually 20 test -s read.tar
walt image remove read
wait $reading || fail "the rest did not come"
[ "$(tar -xOf read.tar tree/2-last)" = last ] || fail "not what was in the image"
cmp <(tar -xOf read.tar tree/1-large) tree/1-large
rm read.tar tree/1-large tree/2-last
nothing_left "a download"

say "completion knows the files of an image"
[ "$(walt __complete image cp tiny:/etc/ma)" = tiny:/etc/marker ]
walt __complete image cp tree/one tiny:/ | grep >/dev/null -x 'tiny:/etc/'
walt __complete image cp tree/one ti | grep >/dev/null -x 'tiny:'

say "hostile archives"
socket=${WALT_SERVER#unix:}
put() {
  curl -sS --unix-socket "$socket" -H 'Content-Type: application/x-tar' -T "$1" \
    "http://walt/api/v1/image/tiny/files?path=/root&confirmed=true" | tail -n 1
}
id_of() { platform-storage image inspect "docker.io/$me/tiny" --format '{{.Id}}'; }
before=$(id_of)
python3 - "$scratch" <<'END'
import io, sys, tarfile
def archive(name, *members):
    with tarfile.open(f"{sys.argv[1]}/{name}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for path, kind, target in members:
            info = tarfile.TarInfo(path)
            info.type, info.linkname = kind, target
            data = b"gold" if kind == tarfile.REGTYPE else b""
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
f, s, h, c = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
archive("up", ("../../../../../../tmp/walt-escaped", f, ""))
archive("absolute", ("/tmp/walt-escaped", f, ""))
archive("hard", ("x", h, "../../../../../../etc/hostname"))
archive("whiteout", (".wh.one", f, ""))
archive("device", ("x", c, ""))
archive("link", ("a", s, "/"), ("a/tmp/walt-escaped", f, ""), ("b", s, "../../../../.."), ("b/tmp/walt-escaped-2", f, ""))
open(f"{sys.argv[1]}/endless.tar", "wb").write(
    tarfile.TarInfo("x").tobuf()[:124] + b"77777777777\0" + b"0" * 20 + b"L" + b"\0" * 10000)
END
for name in up absolute hard whiteout device endless; do
  expect_output '"event":"error"' put "$name.tar"
done
head -c 700 up.tar >cut.tar
expect_output '"event":"error"' put cut.tar
expect_output '"event":"error"' put /dev/null
[ "$(id_of)" = "$before" ] || fail "a refused archive changed the image"
expect_output '"event":"done"' put link.tar
[ ! -e /tmp/walt-escaped ] && [ ! -e /tmp/walt-escaped-2 ] || fail "an archive reached the server"
holds tiny tmp walt-escaped || fail "a link was not followed inside the image"
nothing_left "a hostile archive"

say "a client that dies in the middle leaves nothing"
truncate -s 20G large
before=$(id_of)
walt image cp large tiny:/root/ &
copying=$!
is_copied() {
  local names
  names=$(containers) && grep >/dev/null '^walt-op-' <<<"$names"
}
eventually 30 is_copied
kill -9 $copying
! wait $copying 2>/dev/null || fail "it was over before"
nothing_left "a cut copy"
[ "$(id_of)" = "$before" ] || fail "a cut copy changed the image"
walt image cp tree/one tiny:/root/afterwards

say "an image that a node boots: its owner is asked"
new_node mine
image=$(walt node show --json | jq -r '.[0].image | split("/")[1] | split(":")[0]')
printf 'n\n' | expect_failure "Aborted" walt image cp tree/one "$image:/root/"
holds "$image" root one && fail "it was copied all the same"
walt image cp --yes tree/one "$image:/root/" | tee answer
grep -qx "Image $image updated." answer
grep -q "mine: rebooted ok" answer

say "the server is killed at each step: the image is the old one or the new one"
for step in "cp: before the working copy" "cp: before the commit" "cp: after the commit" "put: before the tag" "put: after the tag"; do
  name=${step//[^a-z]/-}
  platform-kill-at "$step"
  expect_failure "." walt image cp tree/one "tiny:/root/$name"
  platform-kill-at --wait
  if ! holds tiny root "$name"; then
    walt image cp tree/one "tiny:/root/$name"
    holds tiny root "$name" || fail "killed at '$step': the image can no longer be changed"
  fi
  nothing_left "a copy cut at '$step'"
done
