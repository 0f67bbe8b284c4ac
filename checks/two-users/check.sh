#!/usr/bin/env bash
# Two users of one platform, told apart by the socket they speak through: what is whose, and who is asked.
# timeout: 120
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

# The other user may not be able to look into the folder this check runs from.
chmod 755 "$scratch"
cp "$(command -v walt)" "$scratch/walt"
other() { (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$scratch/walt" "$@"); }
other_name=$(id -nu 65534)

say "a node of mine"
new_node mine
expect_output "^mine " walt node show

say "the other user sees it as somebody's"
! other node show --names-only | grep >/dev/null mine || fail "my node is theirs"
expect_output "^mine .*$(id -un)" other node show --all
[ "$(other node show --all --json | jq -r '.[] | select(.name == "mine") | .ownership')" = foreign ]

say "and is asked before disturbing it"
printf 'n\n' | expect_failure "seems to be used by another user" other node remove mine
printf 'n\n' | expect_failure "seems to be used by another user" other node reboot mine
expect_failure "node mine is not yours" other node release mine </dev/null
expect_output "^mine\$" walt node show --names-only

say "a node of theirs boots an image of theirs"
nodes+=(theirs)
other node create theirs
expect_output "^theirs " other node show
[ "$(walt node show --all --json | jq -r '.[] | select(.name == "theirs") | .owner')" = "$other_name" ]
[ "$(other image show --json | jq -r '.[0].owner')" = "$other_name" ]

say "an answer that is neither y nor n is asked again; y does it"
printf 'maybe\ny\n' | other node remove mine | tee "$scratch/removed"
grep -q 'Invalid response' "$scratch/removed"
forget_node mine
[ -z "$(walt node show --names-only)" ] || fail "it was not removed"
