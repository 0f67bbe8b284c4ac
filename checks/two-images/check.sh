#!/usr/bin/env bash
# Two nodes at once on two images; then one is switched to the other image.
# timeout: 600
. "$(dirname "$0")/../lib/lib.sh"

say "two nodes, created one after the other, booting together"
new_node duo-a
new_node duo-b
mine=$(walt image show --json | jq -r '[.[] | select(.node_models | index("pc-x86-64"))][0].name')
[ -n "$mine" ] && [ "$mine" != null ] || fail "no image of one's own"
user=$(id -un)
platform-derive-image "$user/$mine" "$user/variant"
expect_output "^variant " walt image show

say "an image that is not there is refused, nothing changes"
expect_failure "no such image" walt node boot duo-b nowhere
walt node boot duo-b variant
walt node wait --timeout 400 duo-a,duo-b

say "each has its own"
expect_failure "" walt node run duo-a test -e /etc/walt-variant
walt node run duo-b test -e /etc/walt-variant
expect_output "duo-b .*variant " walt node show

say "the first is switched to the other image"
expect_output "Node duo-a will now boot variant\." walt node boot duo-a variant
walt node wait --timeout 300 duo-a
walt node run duo-a,duo-b test -e /etc/walt-variant
expect_output "already using this image" walt node boot duo-b variant
