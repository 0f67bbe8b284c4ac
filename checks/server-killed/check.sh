#!/usr/bin/env bash
# The server is killed while a node works: for the node it is a pause, not an error.
# timeout: 420
. "$(dirname "$0")/../lib/lib.sh"
node=steady

new_node "$node"
walt node wait --timeout 300 "$node"

say "a loop on the node reads its root, writes /persist, and logs"
walt node cp "$here/loop.sh" "$node:/root/loop.sh"
walt node run "$node" 'setsid sh /root/loop.sh </dev/null >/dev/null 2>&1 &'
eventually 20 walt node run "$node" test -s /persist/rounds

for round in 1 2; do
  say "kill -9, round $round"
  before=$(walt node run "$node" cat /persist/rounds)
  platform-kill-server
  eventually 60 walt node show
  expect_output "^$node .*yes" walt node show
  eventually 60 bash -c "[ \"\$(walt node run $node cat /persist/rounds)\" -gt $((before + 3)) ]"
  expect_failure "" walt node run "$node" test -e /persist/errors
  say "logs resume"
  eventually 30 bash -c "walt log show --history -20s: --issuers $node --streams loop | grep -q round"
  [ "$(walt log show --history -2m: --issuers server --streams platform.nodes | grep -c "$node is down")" = 0 ] ||
    fail "the node was declared down"
done

say "it is still the same boot"
expect_output "^2 *rounds survived|survived" walt node run "$node" 'echo survived; cat /proc/uptime'
expect_output "yes" walt node show
walt node remove "$node"
forget_node "$node"
