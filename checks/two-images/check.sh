#!/usr/bin/env bash
# Two nodes at once on two images; then one is switched to the other image.
# timeout: 600
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

image_of() { walt node show --json | jq -er --arg n "$1" '.[] | select(.name == $n) | .image'; }
image_id() { walt image show --json | jq -er --arg n "$1" '.[] | select(.full_name == $n) | .id'; }
boot_id() { walt node run "$1" cat /proc/sys/kernel/random/boot_id; }
# The image a node runs, as the server wrote it in the node's root.
runs() { walt node run "$1" '. /bin/walt-env && echo "$walt_image_id"'; }

say "two nodes, the second one on a second image, booting together"
new_node duo-a
new_node duo-b
first=$(image_of duo-a)
[ "$(image_of duo-b)" = "$first" ] || fail "two new nodes of a model have two images"
second=${first%%/*}/variant:latest
platform-derive-image "docker.io/$first" "docker.io/$second"
eventually 10 image_id "$second"
[ "$(image_id "$first")" != "$(image_id "$second")" ] || fail "the second image is the first one"

say "an image that is not there is refused, nothing changes"
expect_failure "no such image" walt node boot duo-b nowhere
[ "$(image_of duo-b)" = "$first" ] || fail "a refused image changed the node's: $(image_of duo-b)"
walt node boot duo-b variant
walt node wait --timeout 400 duo-a,duo-b

say "each runs its own, at the same time"
[ "$(image_of duo-a)" = "$first" ] || fail "duo-a is on $(image_of duo-a)"
[ "$(image_of duo-b)" = "$second" ] || fail "duo-b is on $(image_of duo-b)"
expect_output "^duo-b .* variant .* yes" walt node show
[[ $(runs duo-a) = *"$(image_id "$first")" ]] || fail "duo-a runs $(runs duo-a)"
[[ $(runs duo-b) = *"$(image_id "$second")" ]] || fail "duo-b runs $(runs duo-b)"
walt node run duo-a test ! -e /etc/walt-variant
walt node run duo-b test -e /etc/walt-variant
for node in duo-a duo-b; do
  expect_output "^$node\$" walt node run "$node" hostname
  walt node run "$node" "echo $node >/persist/who && echo $node >/etc/who"
done

say "the first is switched to the other image: the second does not notice"
before=$(boot_id duo-b)
expect_output "^Node duo-a will now boot variant\.\$" walt node boot duo-a variant
walt node wait --timeout 300 duo-a
[ "$(image_of duo-a)" = "$second" ] || fail "duo-a is on $(image_of duo-a)"
[[ $(runs duo-a) = *"$(image_id "$second")" ]] || fail "duo-a runs $(runs duo-a)"
walt node run duo-a,duo-b test -e /etc/walt-variant
[ "$(boot_id duo-b)" = "$before" ] || fail "duo-b has rebooted"

say "one root for both, yet nothing is shared but what they read"
expect_output '^duo-a$' walt node run duo-a cat /persist/who
walt node run duo-a test ! -e /etc/who
expect_output '^duo-b$' walt node run duo-b cat /etc/who

say "an image given again changes nothing; the node is rebooted, as asked"
walt node boot duo-b variant | tee "$scratch/again"
grep -qx "Node duo-b: ignored, it is already using this image\." "$scratch/again"
grep -qx "Node duo-b: rebooted ok\." "$scratch/again"
[ "$(image_of duo-b)" = "$second" ] || fail "duo-b is on $(image_of duo-b)"
