#!/usr/bin/env bash
# Images and their names: duplicate, rename, remove, history, rollback; what is refused, and how it is said; two users.
# timeout: 600
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

me=$(id -un)
chmod 755 "$scratch"
cp "$(command -v walt)" "$scratch/walt"
other() { (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$scratch/walt" "$@"); }
other_name=$(id -nu 65534)

# content WORD: a folder whose only file says WORD.
content() {
  mkdir -p "$scratch/content-$1/etc"
  echo "$1" >"$scratch/content-$1/etc/what"
  echo "$scratch/content-$1"
}
id_of() { walt image show --all --json | jq -er --arg n "$1" '.[] | select(.full_name == $n) | .id'; }
versions() { walt image history --json "$1" | jq -c '[.[] | [.version, .cause]]'; }
# same WHAT IS WANTED
same() { [ "$2" = "$3" ] || fail "$1: $2, not $3"; }
absent() { ! walt image show --json | jq -e --arg n "$1" '.[] | select(.name == $n)' >/dev/null; }
forget_images() {
  local name
  for name in $(walt image show --names-only); do
    case $name in small* | second* | third* | theirs*) walt image remove "$name" >/dev/null 2>&1 ;; esac
  done
}
at_end forget_images

say "an image that came by other means is listed, and has a history"
first=$(platform-small-image "$me/small" pc-x86-64 "$(content one)")
eventually 10 id_of "$me/small:latest"
expect_output '^small +False +20.* pc-x86-64 *$' walt image show
same "names" "$(walt image show --names-only | grep -x small)" small
same "history" "$(versions small)" '[[1,"found"]]'
expect_output '^1 +20[0-9: -]+ +20[0-9: -]+ +[0-9.]+ k?B +found +'"$me"' *$' walt image history small

say "duplicate: a second name, nothing is copied, at once"
start=$(date +%s%N)
walt image duplicate small second | diff - /dev/null
end=$(date +%s%N)
say "it took $(((end - start) / 1000000)) ms"
same "content of the duplicate" "$(id_of "$me/second:latest")" "$first"
same "history of the duplicate" "$(versions second)" '[[1,"duplication"]]'

say "bad and reserved names, names that are taken, images that are not there"
for bad in Small a_b a.b a:b:c :x x: a/b '' -- '../x'; do
  [ "$bad" != -- ] || bad=-x
  expect_failure '^Bad name: expected format' walt image duplicate small -- "$bad"
  expect_failure '^Bad name: expected format' walt image rename small -- "$bad"
done
expect_failure "'default' is a reserved" walt image duplicate small default
expect_failure "'default' is a reserved" walt image rename small default:v1
expect_failure "^Error: Image 'second' already exists\.$" walt image duplicate small second
expect_failure "^Error: Image 'second' already exists\.$" walt image rename small second:latest
expect_failure "^Error: Image 'small' already exists\.$" walt image duplicate small small
for verb in "remove nothing" "rename nothing x" "duplicate nothing x" "history nothing" "rollback nothing"; do
  # shellcheck disable=SC2086
  expect_failure "^Error: No such image 'nothing'\. \(tip: walt image show\)$" walt image $verb
done
expect_failure "Bad name" walt image remove ../etc/passwd
expect_failure "No such image" walt image remove "$other_name-x"
expect_failure "at least 1 positional" walt image remove
expect_failure "cannot be used together" walt image show --all --names-only

say "rename: the history follows; tags are names too"
walt image rename second third:v1 | diff - /dev/null
absent second
same "history after a renaming" "$(versions third:v1)" '[[1,"duplication"]]'
walt image duplicate third:v1 third
same "untagged name" "$(id_of "$me/third:latest")" "$first"

say "a changed image keeps what it was; rollback brings it back; the rollback can be undone"
second=$(platform-small-image "$me/small" pc-x86-64 "$(content two)")
eventually 10 bash -c "walt image show --json | grep >/dev/null $second"
same "history" "$(versions small)" '[[2,"found"],[1,"found"]]'
walt image rollback small >"$scratch/said"
same "said by rollback" "$(cat "$scratch/said")" "Image small is again what it was as version 1."
same "content after rollback" "$(id_of "$me/small:latest")" "$first"
same "history after rollback" "$(versions small)" '[[3,"rollback"],[2,"found"],[1,"found"]]'
expect_failure "^Version 3 is what image 'small' is now" walt image rollback --version 3 small
expect_failure "^Image 'small' has no version 9 any more\. \(tip: walt image history\)" walt image rollback --version 9 small
expect_failure "expected to be int" walt image rollback --version two small
walt image rollback --version 2 small
same "content after the second rollback" "$(id_of "$me/small:latest")" "$second"
expect_failure "^Image 'third' has no earlier version" walt image rollback third

say "the last 5 versions stay; what no version needs any more leaves the storage"
for word in three four five six; do
  id=$(platform-small-image "$me/small" pc-x86-64 "$(content "$word")")
  eventually 10 bash -c "walt image show --json | grep >/dev/null $id"
  walt image history small >/dev/null
done
same "versions" "$(versions small | jq -c 'map(.[0])')" '[8,7,6,5,4,3,2,1]'
walt image rollback --version 7 small
same "versions after a change" "$(versions small | jq -c 'map(.[0])')" '[9,8,7,6,5]'
no_longer_held() {
  local tags
  tags=$(platform-storage images --no-trunc --format '{{.Repository}}:{{.Tag}}') && ! grep "^localhost/walt/version:$1" <<<"$tags"
}
eventually 10 no_longer_held "$second"
! platform-storage image exists "$second" || fail "version 2 is still there"
platform-storage image exists "$first" || fail "the content of third and third:v1 is gone"

say "nodes boot it: it can be neither removed nor renamed"
new_machine names-1
# A machine that says it is a node, and agrees to reboot.
lease names-1 -V walt.node.pc-x86-64 >/dev/null
mac=$(ip netns exec names-1 cat /sys/class/net/eth0/address)
node_there() { walt node show --all --json | jq -er --arg m "$mac" '.[] | select(.mac == $m) | .name'; }
eventually 30 node_there
node=$(node_there)
# Nothing answers on it: it cannot be rebooted, but it has the image.
expect_failure "^Node $node: failed soft-reboot" walt node boot "$node" small
expect_output '^small +True ' walt image show
expect_failure "^Image 'small' is in use by node $node: it cannot be removed\." walt image remove small
expect_failure "^Image 'small' is in use by node $node: it cannot be renamed\." walt image rename small second
expect_output "node $node *\$" walt image history small
same "in use now" "$(walt image history --json small | jq -c '[.[] | .used_by]')" "[[\"$node\"],[],[],[],[]]"

say "an image that nodes boot comes back after a question; the answer no changes nothing"
before=$(id_of "$me/small:latest")
printf 'n\n' | expect_failure "^Warning: node $node boots this image and it will be rebooted\." walt image rollback small
same "content after no" "$(id_of "$me/small:latest")" "$before"
expect_failure "Aborted" walt image rollback small </dev/null
same "content after the end of input" "$(id_of "$me/small:latest")" "$before"
cat >"$scratch/rollback.exp" <<'EXP'
set timeout 60
spawn walt image rollback small
expect {
  -re {Are you sure\? \(y/n\): $} { send "y\r" }
  timeout { exit 9 }
}
expect {
  -re {is again what it was as version 8\.} {}
  timeout { exit 8 }
}
expect eof
lassign [wait] pid spawn_id os_error status
exit $status
EXP
status=0
expect "$scratch/rollback.exp" >"$scratch/expect.out" || status=$?
# The image is changed; that the machine cannot be rebooted makes it a failure all the same.
[ "$status" = 1 ] || fail "rollback on a terminal ended with $status: $(cat "$scratch/expect.out")"
[ "$(id_of "$me/small:latest")" != "$before" ] || fail "the confirmed rollback changed nothing"

say "content that would leave a node without system is refused before anything moves"
before=$(id_of "$me/small:latest")
pi=$(platform-small-image "$me/second" rpi-4-b "$(content pi)")
eventually 10 id_of "$me/second:latest"
expect_failure "not compatible with node model\(s\) pc-x86-64" walt node boot "$node" second
platform-storage tag "$pi" "docker.io/$me/third:latest"
eventually 10 bash -c "walt image show --json | jq -e '.[] | select(.name == \"third\") | .id == \"$pi\"'"
expect_failure "failed soft-reboot" walt node boot "$node" third:v1
walt image history third >/dev/null
expect_failure "failed soft-reboot" walt node boot "$node" small
# third was for PCs once: version 1. As long as a PC boots it, what is for Raspberry Pis cannot come back.
walt image rollback --version 1 third
expect_failure "failed soft-reboot" walt node boot "$node" third
expect_failure "^Image 'third' was not changed: node $node, of model\(s\) pc-x86-64, could not boot the new content, which is for rpi-4-b\." \
  walt image rollback --yes third
same "content after the refusal" "$(id_of "$me/third:latest")" "$first"

say "content without the label is no image at all"
platform-small-image "$me/theirs-unlabelled" "" "$(content nolabel)" >/dev/null
expect_failure "No such image 'theirs-unlabelled'" walt image duplicate theirs-unlabelled second:x

say "removing: the name and its history go, what another name needs stays"
expect_failure "failed soft-reboot" walt node boot "$node" default
walt image remove third:v1 | diff - /dev/null
absent third:v1
platform-storage image exists "$first" || fail "third has lost its content"
same "nodes" "$(walt image show --json | jq -c '.[] | select(.name == "small") | .used_by')" '[]'
walt image remove small
absent small
expect_failure "No such image 'small'" walt image history small
eventually 10 no_longer_held "$id"
walt image duplicate third small
same "history of a name that is used again" "$(versions small)" '[[1,"duplication"]]'

say "another user: has their own images, and cannot touch mine"
expect_output '.' other image show
theirs=$(other image show --names-only | sed -n 1p)
[ -n "$theirs" ] || fail "the other user got no image"
expect_output "(clone|Cloned)" other image history "$theirs"
for verb in "remove small" "rename small x" "duplicate small x" "history small" "rollback small"; do
  # shellcheck disable=SC2086
  expect_failure "No such image 'small'" other image $verb
done
expect_output "^$me +small .* walt:$me/small *$" other image show --all
other image duplicate "$theirs" small
[ "$(id_of "$other_name/small:latest")" != "$(id_of "$me/small:latest")" ] || fail "the two images called small are one"

say "images of somebody who is gone: only all of them, never those in use, never over mine"
expect_output "walt advanced fix-image-owner --yes-i-know-do-it-please $other_name" \
  bash -c "walt advanced fix-image-owner $other_name || true"
expect_failure "yours already" walt advanced fix-image-owner --yes-i-know-do-it-please "$me"
expect_failure "has no image" walt advanced fix-image-owner --yes-i-know-do-it-please nobody-at-all
expect_failure "belong to nobody" walt advanced fix-image-owner --yes-i-know-do-it-please waltplatform
expect_failure "still a user of this machine.*root" other advanced fix-image-owner --yes-i-know-do-it-please "$me"
expect_failure "You already have .*small.*: rename or remove first" \
  walt advanced fix-image-owner --yes-i-know-do-it-please "$other_name"
other image rename small theirs-1
other image rename "$theirs" theirs-2
walt advanced fix-image-owner --yes-i-know-do-it-please "$other_name" >"$scratch/taken"
# Default images of models that other checks have made nodes of are theirs since their first command.
grep -v -- '-default now' "$scratch/taken" | diff - <(printf 'Image %s now belongs to you.\n' theirs-1 theirs-2)
same "history of a taken image" "$(versions theirs-1 | jq -c 'map(.[1])')" '["duplication"]'
! walt image show --all --json | jq -e --arg o "$other_name" '.[] | select(.owner == $o)' >/dev/null || fail "they still have images"

say "what differs: packages, and files whose content, mode, owner or target changed"
tree=$scratch/tree
mkdir -p "$tree/var/lib/dpkg" "$tree/etc" "$tree/opt/old"
package() { printf 'Package: %s\nStatus: install ok installed\nArchitecture: %s\nVersion: %s\n\n' "$@"; }
{ package bash amd64 5.2-1 && package gone all 1 && package tzdata all 2026a; } >"$tree/var/lib/dpkg/status"
echo 127.0.0.1 >"$tree/etc/hosts"
echo same >"$tree/etc/same"
echo was >"$tree/opt/old/file"
ln -s hosts "$tree/etc/link"
platform-small-image "$me/small-d" pc-x86-64 "$tree" >/dev/null
eventually 10 id_of "$me/small-d:latest"
walt image history small-d >/dev/null
{ package bash amd64 5.2-2 && package htop amd64 3.2 && package tzdata all 2026a; } >"$tree/var/lib/dpkg/status"
echo 127.0.0.1 localhost >"$tree/etc/hosts"
chmod 600 "$tree/etc/same"
rm -r "$tree/opt/old"
ln -sf same "$tree/etc/link"
new=$(platform-small-image "$me/small-d" pc-x86-64 "$tree")
eventually 10 bash -c "walt image show --json | grep >/dev/null $new"
walt image diff small-d@1 small-d >"$scratch/diff"
diff "$scratch/diff" - <<'EXPECTED'
~ package bash:amd64 5.2-1 -> 5.2-2
- package gone 1
+ package htop:amd64 3.2
~ /etc/hosts  10 B -> 20 B (content)
~ /etc/link  symlink (target)
~ /etc/same  5 B (mode)
- /opt/old  directory
- /opt/old/file  4 B
~ /var/lib/dpkg/status  231 B -> 235 B (content)
3 packages and 6 files differ: 255 B added, 245 B removed.
EXPECTED
same "the other way round" "$(walt image diff small-d small-d@1 | grep -c '^+ /opt/old')" 2
same "as data" "$(walt image diff --json small-d@1 small-d@2 | jq -sc '[.[] | select(.path == "/etc/hosts") | .before_bytes, .after_bytes, .became]')" \
  '[10,20,"changed"]'
same "with itself" "$(walt image diff small-d small-d@2)" "Nothing differs."
expect_failure "has no version 7" walt image diff small-d@7 small-d
expect_failure "Bad version" walt image diff small-d@x small-d
expect_failure "No such image" walt image diff small-d nothing
tags=$(platform-storage images)
! grep localhost/walt/op <<<"$tags" || fail "a temporary tag is left"

say "ten commands at once on one name: one wins, the others are told, nothing is half done"
for n in $(seq 10); do
  walt image duplicate small second:race >"$scratch/race.$n" 2>&1 &
done
won=0
for job in $(jobs -p); do
  ! wait "$job" || won=$((won + 1))
done
same "winners" "$won" 1
same "told" "$(cat "$scratch"/race.* | grep -cE "already exists|cannot be changed now: a duplication of $me is running")" 9
same "history after the race" "$(versions second:race)" '[[1,"duplication"]]'
