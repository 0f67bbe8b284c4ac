#!/usr/bin/env bash
# What changed on a node becomes an image: under a new name, over the image it boots, and with a server that is killed.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

owner=$(id -un)
image_id() { walt image show --json | jq -er --arg n "$owner/$1:latest" '.[] | select(.full_name == $n) | .id'; }
on_node() { walt node run saver "$@"; }
# listing ROOT: everything below /srv/save that an image can hold, of the node or of an image.
cat >"$scratch/listing" <<'END'
cd "$1/srv/save"
find . ! -type s ! -type p ! -type d -printf '%P %y %m %U %G %n %T@ %s %l\0' | sort -z | tr '\n\0' '~\n'
find . -mindepth 1 -type d -printf '%P/ %m %U %G %T@\0' | sort -z | tr '\n\0' '~\n'
cat large made changed | sha256sum
END
of_node() { on_node sh -s -- "" <"$scratch/listing"; }
of_image() { platform-in-image "$owner/$1" sh "$scratch/listing" .; }
leftovers() {
  local tags
  tags=$(platform-storage images --format '{{.Repository}}:{{.Tag}}') || return
  grep '^localhost/walt/op:' <<<"$tags" || :
  find "$WALT_CHECK_STATE" -maxdepth 2 -name 'op-*'
}
nothing_left() {
  local found
  found=$(leftovers) && [ -z "$found" ]
}

say "an image with files to change"
cat >"$scratch/prepare" <<'END'
#!/bin/sh
set -eu
cd "$1"
cp "$(command -v setcap)" usr/sbin/setcap
echo x >etc/removed-by-hand
mkdir -p srv/save/gone-folder/sub srv/save/replaced/sub srv/save/kept/sub
for name in gone gone-folder/a gone-folder/sub/b replaced/old replaced/sub/c kept/d kept/sub/e changed untouched; do
  echo "$name" >"srv/save/$name"
done
END
chmod +x "$scratch/prepare"
platform-derive-image docker.io/waltplatform/pc-x86-64-default:latest "docker.io/$owner/worked-on:latest" "$scratch/prepare"
eventually 20 image_id worked-on
new_node saver --image worked-on

say "what cannot be saved"
expect_failure "node saver is not booted" walt node save saver saved
expect_failure "bad name" walt node save saver Saved_1
expect_failure "reserved keyword" walt node save saver default
expect_failure "no device with name 'nobody'" walt node save nobody saved
expect_failure "usage|missing|required" walt node save saver
chmod 755 "$scratch"
cp "$(command -v walt)" "$scratch/walt"
other() { (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$scratch/walt" "$@"); }
printf 'n\n' | expect_failure "seems to be used by another user" other node save saver stolen
walt node wait --timeout 400 saver

say "nothing changed: the same image under another name"
walt node save saver same | tee "$scratch/same"
grep -q '^OK$' "$scratch/same"
platform-in-image "$owner/same" test -e srv/save/gone

say "everything a user may do to files"
walt node run saver sh -s <"$here/changes.sh"
of_node >"$scratch/before"

say "saved under a new name"
walt node save saver saved >"$scratch/saved"
cat "$scratch/saved"
grep -qx '\*\* Reading what changed on node saver' "$scratch/saved"
grep -Eqx '[0-9]+ files and directories changed \([0-9]{8} bytes\), [0-9]+ removed\.' "$scratch/saved"
grep -q 'left out: .*fifo' "$scratch/saved"
grep -qx OK "$scratch/saved"
of_image saved >"$scratch/image"
diff "$scratch/before" "$scratch/image"
expect_output 'cap_net_raw' platform-in-image "$owner/saved" getcap srv/save/capable
platform-in-image "$owner/saved" sh -ec '
  test ! -e srv/save/socket && test ! -e srv/save/fifo && test ! -e etc/removed-by-hand
  test -d var/log/mine.d && test ! -e var/log/mine
  test ! -e bin/walt-env && test ! -e etc/ssh/ssh_host_ecdsa_key
  test ! -e srv/save/gone-folder && test -e srv/save/untouched
  ! grep -q 00000000000000000000000000000000 etc/machine-id'
[ "$(walt image show --json | jq -r --arg n "$owner/saved:latest" '.[] | select(.full_name == $n) | .models[]')" = \
  "$(walt image show --json | jq -r --arg n "$owner/worked-on:latest" '.[] | select(.full_name == $n) | .models[]')" ]
nothing_left || fail "something is left: $(leftovers)"

say "over the image it boots: asked, then the node is rebooted and has it"
boot_id=$(on_node cat /proc/sys/kernel/random/boot_id)
old=$(image_id worked-on)
printf 'n\n' | expect_failure "already exists and will be overwritten. It is used by 1 node, which will be rebooted" walt node save saver worked-on
[ "$(image_id worked-on)" = "$old" ] || fail "it was replaced although the answer was no"
printf 'y\n' | walt node save saver worked-on | tee "$scratch/over"
grep -qx 'Trying to reboot node saver using this image\.\.\.' "$scratch/over"
grep -qx 'Node saver: rebooted ok\.' "$scratch/over"
walt node wait --timeout 400 saver
[ "$(on_node cat /proc/sys/kernel/random/boot_id)" != "$boot_id" ] || fail "it was not rebooted"
of_node >"$scratch/after"
diff "$scratch/before" "$scratch/after"
[[ $(on_node '. /bin/walt-env && echo "$walt_image_id"') = *"$(image_id worked-on)" ]] || fail "it runs another image"

say "one file of the node into the image it boots: asked, and the node is rebooted"
on_node 'printf "from the node\n" >/srv/one; chmod 640 /srv/one; chown 7:8 /srv/one'
old=$(image_id worked-on)
printf 'n\n' | expect_failure "will be rebooted|Aborted" walt node cp saver:/srv/one booted-image
[ "$(image_id worked-on)" = "$old" ] || fail "it was changed although the answer was no"
expect_failure "only be the destination" walt node cp booted-image saver:/srv/one
printf 'y\n' | walt node cp saver:/srv/one booted-image
[ "$(image_id worked-on)" != "$old" ] || fail "the image has not changed"
walt node wait --timeout 400 saver
[ "$(on_node 'cat /srv/one; stat -c "%a %u %g" /srv/one')" = $'from the node\n640 7 8' ] || fail "not what was sent"

say "the server is killed at each step"
on_node 'echo again >/srv/save/again'
old=$(image_id worked-on)
for step in "save: before the changes are read" "save: the layer is complete" "save: the image is made" "put: before the tag"; do
  platform-kill-at "$step"
  expect_failure "." walt node save --yes saver worked-on
  platform-kill-at --wait
  [ "$(image_id worked-on)" = "$old" ] || fail "killed at '$step': the name means another image"
  eventually 20 nothing_left
done

say "the old image still boots"
walt node reboot saver
walt node wait --timeout 400 saver
on_node 'test -e /srv/save/moved/d && test ! -e /srv/save/again'

say "killed after the name moved: it is the new image, complete"
on_node 'echo again >/srv/save/again'
platform-kill-at "put: after the tag"
expect_failure "." walt node save --yes saver worked-on
platform-kill-at --wait
[ "$(image_id worked-on)" != "$old" ] || fail "the name means the old image"
expect_output '^again$' platform-in-image "$owner/worked-on" cat srv/save/again
eventually 20 nothing_left

say "ctrl-C while it sends: a file that takes no room there, and long to send"
on_node 'truncate -s 4G /srv/save/more'
env --default-signal=INT walt node save saver stopped >"$scratch/stopped" 2>&1 &
saving=$!
eventually 30 grep -q 'Reading what changed' "$scratch/stopped"
kill -INT $saving
! wait $saving || fail "an interrupted save says it is done: $(cat "$scratch/stopped")"
! image_id stopped 2>/dev/null || fail "an interrupted save has a name"
eventually 20 nothing_left

say "a node that is lost while it sends"
walt node save saver lost >"$scratch/lost" 2>&1 &
saving=$!
eventually 30 grep -q 'Reading what changed' "$scratch/lost"
walt node reboot --hard saver
! wait "$saving" || fail "a node that was rebooted while it was saved was saved: $(cat "$scratch/lost")"
grep -q 'image build FAILED' "$scratch/lost"
! image_id lost 2>/dev/null || fail "half an image has a name"
eventually 20 nothing_left
