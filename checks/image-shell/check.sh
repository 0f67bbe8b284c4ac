#!/usr/bin/env bash
# A shell in an image: what a person types and reads, what becomes of it when something dies.
# timeout: 600
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

me=$(id -un)
shell() { TYPE=${typed-} "$here/shell.exp" "$@"; }
holds() { platform-list-image "$me/$1" root | awk '{print $6}' | grep >/dev/null -x "$2"; }
# Everything of the storage that belongs to no user's name.
leftovers() {
  local containers tags
  containers=$(platform-storage ps --all --external --format '{{.Names}}') || return
  tags=$(platform-storage images --format '{{.Repository}}:{{.Tag}}') || return
  grep -E '^walt-' <<<"$containers" || true
  grep -E '^localhost/walt/op:' <<<"$tags" || true
  ls "$WALT_CHECK_STATE/sessions" 2>/dev/null || true
}
clean() {
  local found
  found=$(leftovers) && [ -z "$found" ]
}
nothing_left() {
  say "nothing is left of $1"
  eventually 30 clean
  [ "$(walt image sessions --json | jq length)" = 0 ] || fail "$1 left a session"
}

say "a tiny image, and one that starts its own system"
mkdir "$scratch/tiny"
"$here/tiny.sh" "$scratch/tiny"
platform-import-image "$me/tiny" "$scratch/tiny" --change 'CMD ["/sbin/init"]' --change 'ENV COLOUR=blue'
cat >"$scratch/tiny/bin/walt-image-shell-start" <<'END'
#!/bin/sh
echo started >/root/started
while :; do sleep 1; done
END
cat >"$scratch/tiny/bin/walt-image-shell-shutdown" <<'END'
#!/bin/sh
echo ended >/root/ended
END
chmod +x "$scratch"/tiny/bin/walt-image-shell-*
platform-import-image "$me/system" "$scratch/tiny"
walt image show --refresh >/dev/null
expect_output '^system$' walt image show --names-only

say "the result gets a new name"
typed='hostname > /root/who; pwd >> /root/who; id -u >> /root/who; cat /proc/cpuinfo >> /root/who; echo $COLOUR >> /root/who' \
  NAME=tiny-new shell new tiny
holds tiny-new who || fail "what was written is not in the new image"
holds tiny who && fail "the old image was changed"
walt image cp tiny-new:who "$scratch/who"
expect_output 'image-shell' cat "$scratch/who"
expect_output '^/root$' cat "$scratch/who"
expect_output '^0$' cat "$scratch/who"
expect_output 'BCM2835' cat "$scratch/who"
expect_output '^blue$' cat "$scratch/who"
config() { platform-storage image inspect "docker.io/$me/$1" | jq -S '.[0].Config'; }
[ "$(config tiny)" = "$(config tiny-new)" ] || fail "settings of the session went into the image: $(config tiny-new)"
for name in hosts hostname resolv.conf mtab group; do
  platform-list-image "$me/tiny-new" etc | awk '{print $6}' | grep >/dev/null -x "$name" && fail "the container left /etc/$name"
done
nothing_left "a save"

say "or the old one; the answer may come early"
typed='touch /root/early' shell early tiny
holds tiny early || fail "the image was not updated"
typed='touch /root/second' shell resize tiny
holds tiny second || fail "the image was not updated"
nothing_left "an update"

say "names are checked, ctrl-D and ctrl-C leave nothing"
before=$(platform-storage images --all --quiet --no-trunc | sort -u)
typed='touch /root/dropped' TAKEN=tiny-new shell names tiny
typed='touch /root/dropped' shell interrupt tiny
nothing_left "an abort"
[ "$before" = "$(platform-storage images --all --quiet --no-trunc | sort -u)" ] || fail "an image was left by an abort"
expect_failure "No such image" walt image shell no-such-image
holds tiny dropped && fail "dropped changes were kept"

say "a shell whose client was killed is kept, others are told, its owner goes back to it"
typed=$'kept=yes\ntouch /root/resumed' shell leave tiny
eventually 10 sh -c '[ "$(walt image sessions --json | jq -r ".[0].attached")" = false ]'
expect_output '^tiny +running' walt image sessions
expect_failure "walt image shell --resume tiny" walt image shell tiny
expect_failure "shell session of $me" walt image cp /etc/hostname tiny:/root/
typed='touch /root/kept-$kept' shell update tiny --resume
holds tiny kept-yes || fail "it was not the same shell"
holds tiny resumed || fail "what was done before is lost"
typed='touch /root/dropped' shell leave tiny
eventually 10 walt image shell --discard
nothing_left "a shell that was dropped"
expect_failure "no shell" walt image shell --resume

say "a terminal that is closed ends no shell, and is no answer"
typed='closed=yes' shell closed tiny
eventually 10 sh -c '[ "$(walt image sessions --json | jq -r ".[0].attached")" = false ]'
expect_output '^tiny +running' walt image sessions
typed='touch /root/closed-$closed' shell update tiny --resume
holds tiny closed-yes || fail "it was not the same shell"
typed='touch /root/asked' shell leave tiny
eventually 10 sh -c '[ "$(walt image sessions --json | jq -r ".[0].attached")" = false ]'
shell closed-asked tiny --resume
[ "$(walt image sessions --json | jq length)" = 1 ] || fail "the work was dropped"
shell prompt tiny --resume
holds tiny asked || fail "the work is lost"

say "the server dies: the shell does not"
typed='also=yes' shell server tiny
eventually 30 walt image sessions
expect_output '^tiny +running' walt image sessions
expect_failure "walt image shell --resume tiny" walt image shell tiny
typed='touch /root/also-$also' shell update tiny --resume
holds tiny also-yes || fail "it was not the same shell"

say "the server is killed at each step of a save: the image is the old one or the new one, and nothing is lost"
for step in "shell: before the commit" "shell: after the commit" "put: before the tag" "put: after the tag" \
  "shell: after the name" "shell: before the end"; do
  file=${step//[^a-z]/-}
  platform-kill-at "$step"
  typed="touch /root/$file" shell cut tiny
  platform-kill-at --wait
  if [ "$(walt image sessions --json | jq length)" = 1 ]; then
    say "  $step: saved afterwards"
    TYPE='' "$here/shell.exp" prompt tiny --resume
  else
    say "  $step: it was saved"
  fi
  holds tiny "$file" || fail "killed at '$step': the change is lost"
  nothing_left "a save cut at '$step'"
done
for step in "shell: before the working copy" "shell: before the container" "shell: after the container"; do
  platform-kill-at "$step"
  expect_failure "." walt image shell tiny </dev/null
  platform-kill-at --wait
  nothing_left "an opening cut at '$step'"
done

say "an image that starts its own system"
typed='cat /root/started' NAME=system-new shell new system
for file in started ended; do
  holds system-new "$file" || fail "/root/$file is not there: the image's own programs were not run"
done
typed='touch /root/left' shell leave system
eventually 10 sh -c '[ "$(walt image sessions --json | jq -r ".[0].attached")" = false ]'
typed='touch /root/back' shell update system --resume
holds system left && holds system back || fail "what was done in the two shells is not there"
nothing_left "a shell in a system"
