#!/usr/bin/env bash
# Many nodes on one image, a large image under one more name: what that costs the server, told (and not judged).
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

me=$(id -un)
count=50
forget_images() {
  walt image remove large-copy
  walt image remove large
  walt image remove other
} >/dev/null 2>&1
at_end forget_images
there() { walt image show --json | jq -e --arg n "$1" '.[] | select(.name == $n)'; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
# Milliseconds of CPU the server has used.
used_ms() { awk -v hz="$(getconf CLK_TCK)" '{ print int(($14 + $15) * 1000 / hz) }' "/proc/$(platform-server-pid)/stat"; }

say "an image of 1 GB"
mkdir -p "$scratch/large" "$scratch/other"
head -c 1000000000 /dev/zero >"$scratch/large/file"
platform-small-image "$me/large" pc-x86-64 "$scratch/large" >/dev/null
rm "$scratch/large/file"
eventually 30 there large
start=$(now_ms)
walt image duplicate large large-copy
say "walt image duplicate: $(($(now_ms) - start)) ms"
start=$(now_ms)
platform-storage tag "docker.io/$me/large:latest" localhost/check/plain:1
say "podman tag: $(($(now_ms) - start)) ms"
start=$(now_ms)
platform-storage untag localhost/check/plain:1 localhost/check/plain:1
walt image remove large
say "walt image remove, the other name stays: $(($(now_ms) - start)) ms"
there large-copy >/dev/null
# Of somebody else, with the check of what it lacks.
platform-storage tag "docker.io/$me/large-copy:latest" docker.io/neighbour/large:latest
forget_neighbour() { platform-storage untag docker.io/neighbour/large:latest docker.io/neighbour/large:latest; }
at_end forget_neighbour
of_neighbour() { walt image show --all --json | jq -e '.[] | select(.full_name == "neighbour/large:latest")'; }
eventually 30 of_neighbour
start=$(now_ms)
walt image clone walt:neighbour/large large 2>"$scratch/lacks"
say "walt image clone walt:neighbour/large: $(($(now_ms) - start)) ms"
[ "$(there large | jq -r .id)" = "$(there large-copy | jq -r .id)" ] || fail "another image"

say "$count nodes register"
new_machine switch-1
names() { walt node show --all --json | jq -r '.[] | select(.mac | startswith("02:aa:bb:cc:00:")) | .name'; }
for n in $(seq $count); do
  ip -n switch-1 link set eth0 address "$(printf '02:aa:bb:cc:00:%02x' "$n")"
  lease switch-1 -t 10 -T 1 -V walt.node.pc-x86-64 >/dev/null 2>&1
done
registered() { [ "$(names | wc -l)" = $count ]; }
eventually 60 registered

say "they get another image, together"
platform-small-image "$me/other" pc-x86-64 "$scratch/other" >/dev/null
eventually 30 there other
set=$(names | paste -sd, -)
before=$(used_ms)
start=$(now_ms)
# Nothing answers at their addresses: they cannot be rebooted.
walt node boot "$set" other >"$scratch/said" 2>"$scratch/errors" &
booting=$!
changed() { grep -q "will now boot other" "$scratch/said"; }
until changed; do
  kill -0 $booting 2>/dev/null || changed || fail "$(cat "$scratch/errors")"
  sleep 0.02
done
say "$count nodes have it after $(($(now_ms) - start)) ms, $(($(used_ms) - before)) ms of CPU of the server"
[ "$(walt node show --all --json | jq '[.[] | select(.image == "other" or .image_full_name == "'"$me"'/other:latest" or .image == "'"$me"'/other:latest")] | length')" = $count ] ||
  fail "they do not all have it"
! wait $booting || fail "nodes that are not there were rebooted"
# Those that fail for the same reason share a line.
[ "$(sed -nE 's/^([0-9]+) nodes: failed soft-reboot.*/\1/p; s/^Node [^ ]+: failed soft-reboot.*/1/p' "$scratch/errors" | awk '{ n += $1 } END { print n }')" = $count ] ||
  fail "$(cat "$scratch/errors")"
say "and tried to reboot for $(($(now_ms) - start)) ms, $(($(used_ms) - before)) ms of CPU in all"
walt node boot "$set" default >/dev/null 2>&1 || true
