#!/usr/bin/env bash
# The server is killed at each step of what gives names to images: afterwards each name means the old content or the new
# one, its history says so, and nothing is lost.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

me=$(id -un)
content() {
  mkdir -p "$scratch/content-$1/etc"
  echo "$1" >"$scratch/content-$1/etc/what"
  echo "$scratch/content-$1"
}
image() { walt image show --json | jq -er --arg n "$1" '.[] | select(.name == $n) | .id'; }
no_image() { ! image "$1" >/dev/null; }
versions() { walt image history --json "$1" | jq -c '[.[] | [.version, .cause]]'; }
ids() { walt image history --json "$1" | jq -r '.[].id'; }
same() { [ "$2" = "$3" ] || fail "$1: $2, not $3"; }
forget_images() {
  local name
  for name in $(walt image show --names-only); do
    case $name in k-*) walt image remove "$name" >/dev/null 2>&1 ;; esac
  done
}
at_end forget_images

# killed STEP COMMAND...: the server is killed when it comes to this step of the command, whose client fails.
killed() {
  local step=$1
  shift
  platform-kill-at "$step"
  ! "$@" >"$scratch/said" 2>&1 || fail "killed at '$step', \`$*\` succeeded: $(cat "$scratch/said")"
  platform-kill-at --wait
}
# consistent: every version of every image of mine has its content, earlier ones are held, nothing else is held.
consistent() {
  local name id held wanted
  wanted=$(for name in $(walt image show --names-only); do ids "$name" | tail -n +2; done | sort -u)
  for name in $(walt image show --names-only); do
    same "what $name means" "$(ids "$name" | sed -n 1p)" "$(image "$name")"
    for id in $(ids "$name"); do
      platform-storage image exists "$id" || fail "a version of $name is lost: $id"
    done
  done
  held=$(platform-storage images --no-trunc --format '{{.Repository}}:{{.Tag}}' | sed -n 's/^localhost\/walt\/version://p' | sort -u)
  for id in $wanted; do
    grep -qx "$id" <<<"$held" || fail "an earlier version is not held: $id"
  done
  held=$(platform-storage images --format '{{.Repository}}:{{.Tag}}')
  ! grep '^localhost/walt/op:' <<<"$held" || fail "a temporary tag is left"
}

one=$(platform-small-image "$me/k-a" pc-x86-64 "$(content one)")
eventually 10 image k-a
walt image history k-a >/dev/null
two=$(platform-small-image "$me/k-a" pc-x86-64 "$(content two)")
eventually 10 bash -c "walt image show --json | grep >/dev/null $two"
same "versions" "$(versions k-a)" '[[2,"found"],[1,"found"]]'

say "an earlier version comes back: before the name moves, nothing has happened; after it, all has"
for step in "put: the old content is held" "put: the change is written down" "put: before the tag"; do
  killed "$step" walt image rollback k-a
  same "content after '$step'" "$(image k-a)" "$two"
  same "history after '$step'" "$(versions k-a)" '[[2,"found"],[1,"found"]]'
  consistent
done
killed "put: after the tag" walt image rollback k-a
same "content" "$(image k-a)" "$one"
same "history" "$(versions k-a)" '[[3,"rollback"],[2,"found"],[1,"found"]]'
consistent
killed "put: the version is written down" walt image rollback --version 2 k-a
same "content" "$(image k-a)" "$two"
same "history" "$(versions k-a)" '[[4,"rollback"],[3,"rollback"],[2,"found"],[1,"found"]]'
consistent

say "a duplicate"
for step in "put: the old content is held" "put: the change is written down" "put: before the tag"; do
  killed "$step" walt image duplicate k-a k-b
  no_image k-b || fail "killed at '$step', the duplicate is there"
  consistent
done
for step in "put: after the tag" "put: the version is written down"; do
  killed "$step" walt image duplicate k-a k-b
  same "duplicate after '$step'" "$(image k-b)" "$two"
  same "its history" "$(versions k-b)" '[[1,"duplication"]]'
  consistent
  walt image remove k-b
done

say "a renaming: one name or the other, never none, never both; the history is with it"
before=$(versions k-a)
killed "rename: the change is written down" walt image rename k-a k-c
no_image k-c || fail "it has its new name already"
same "history under the old name" "$(versions k-a)" "$before"
consistent
from=k-a to=k-c
for step in "rename: both names" "rename: the other name only" "rename: done"; do
  killed "$step" walt image rename $from $to
  no_image $from || fail "killed at '$step', both names are there"
  same "history after '$step'" "$(versions $to)" "$before"
  consistent
  walt image rename $to $from 2>/dev/null || fail "it cannot be renamed back"
done

say "a removal"
killed "remove: the change is written down" walt image remove k-a
same "history of what was not removed" "$(versions k-a)" "$before"
consistent
for step in "remove: the name is gone" "remove: the history is gone"; do
  walt image duplicate k-a k-d
  killed "$step" walt image remove k-d
  no_image k-d || fail "killed at '$step', it is still there"
  expect_failure "No such image" walt image history k-d
  consistent
done

say "an image changed behind the server's back while it was down, and a name that nodes boot removed"
new_machine killed-1
lease killed-1 -V walt.node.pc-x86-64 >/dev/null
mac=$(ip netns exec killed-1 cat /sys/class/net/eth0/address)
node_there() { walt node show --all --json | jq -er --arg m "$mac" '.[] | select(.mac == $m) | .name'; }
eventually 30 node_there
node=$(node_there)
walt image duplicate k-a k-used
expect_failure "failed soft-reboot" walt node boot "$node" k-used
walt image duplicate k-a k-free
platform-storage untag "docker.io/$me/k-used:latest" "docker.io/$me/k-used:latest"
platform-storage untag "docker.io/$me/k-free:latest" "docker.io/$me/k-free:latest"
platform-kill-server
eventually 30 walt node show
same "the image of the node" "$(image k-used)" "$two"
no_image k-free || fail "a name nobody uses came back"
consistent
expect_failure "failed soft-reboot" walt node boot "$node" default

say "what an interrupted change left goes with the next start; what is not ours stays"
platform-storage tag "$one" localhost/walt/op:0123abcd localhost/mine/not-a-leftover:1
platform-storage create --name walt-op-0123 "$one" /bin/true >/dev/null
platform-storage create --name somebody-else "$one" /bin/true >/dev/null
mkdir -p "$WALT_CHECK_STATE/work/op-0123/deep" "$WALT_CHECK_STATE/work/kept"
platform-kill-server
eventually 30 walt node show
containers=$(platform-storage ps --all --external --format '{{.Names}}')
! grep -x walt-op-0123 <<<"$containers" || fail "the container of a change is left"
grep -qx somebody-else <<<"$containers" || fail "a container that is not ours is gone"
[ ! -e "$WALT_CHECK_STATE/work/op-0123" ] && [ -d "$WALT_CHECK_STATE/work/kept" ]
platform-storage image exists localhost/mine/not-a-leftover:1 || fail "a tag that is not ours is gone"
consistent
platform-storage rm --force somebody-else >/dev/null
platform-storage untag "$one" localhost/mine/not-a-leftover:1
rmdir "$WALT_CHECK_STATE/work/kept"
