#!/usr/bin/env bash
# The life of a virtual node, from its creation to its removal, as a user drives it.
# timeout: 600
# variant: FIRMWARE=bios
# variant: FIRMWARE=uefi
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
node=life-$FIRMWARE

say "create"
before=$(walt node show --all --names-only)
new_node "$node" --firmware "$FIRMWARE" | tee "$scratch/create"
grep -q "Node $node is now booting your image" "$scratch/create"
expect_output "already exists" bash -c "! walt node create $node"

say "wait until it is booted"
walt node wait --timeout 300 "$node"
expect_output "^$node .*virtual .*yes" walt node show
jq -e --arg n "$node" '.[] | select(.name == $n) | .booted' < <(walt node show --json) >/dev/null

say "boot stages"
walt node show --boot "$node" | tee "$scratch/boot"
grep -Eqi dhcp "$scratch/boot"
grep -Eqi kernel "$scratch/boot"
walt node show --boot "$node" --json >"$scratch/boot.json"
jq -e '.stages | length >= 5' "$scratch/boot.json" >/dev/null

say "commands, with their status"
expect_output 'PRETTY_NAME="Debian GNU/Linux 12' walt node run "$node" cat /etc/os-release
expect_output "^$node\$" walt node run "$node" hostname
status=0
walt node run "$node" 'exit 7' || status=$?
[ "$status" = 7 ] || fail "the status of the remote command is lost: $status instead of 7"
[ "$(echo through stdin | walt node run "$node" cat)" = "through stdin" ]
if [ "$FIRMWARE" = uefi ]; then
  walt node run "$node" test -d /sys/firmware/efi
else
  walt node run "$node" test ! -d /sys/firmware/efi
fi

say "a shell in a terminal"
"$here/shell.exp" "$node"

say "copies in both directions"
mkdir -p "$scratch/tree/sub dir"
head -c 3000000 /dev/urandom >"$scratch/tree/big"
echo "it's" >"$scratch/tree/sub dir/a file"
chmod 750 "$scratch/tree/big"
walt node cp "$scratch/tree" "$node:/root/"
walt node cp "$node:/root/tree" "$scratch/back"
diff -r "$scratch/tree" "$scratch/back"
[ "$(stat -c %a "$scratch/back/big")" = 750 ]
walt node cp "$scratch/tree/big" "$node:/tmp/renamed"
expect_output "3000000" walt node run "$node" stat -c %s /tmp/renamed
expect_failure "no such file" walt node cp "$node:/nowhere" "$scratch/x"
expect_failure "no such file" walt node cp "$scratch/nowhere" "$node:/tmp"

say "logs of the node"
walt node run "$node" walt-log-echo life "hello from $node"
eventually 10 bash -c "walt log show --history -5m: --issuers $node --streams life | grep >/dev/null 'hello from $node'"
expect_output "node $node is booted" walt log show --history -10m: --issuers server --streams platform.nodes

say "live logs"
walt log show --realtime --issuers "$node" --streams '^live$' >"$scratch/live" &
tail=$!
sleep 1
walt node run "$node" 'for i in 1 2 3; do echo "line $i"; done | walt-log-cat live'
eventually 10 grep -q 'line 3' "$scratch/live"
kill -INT "$tail"
wait "$tail" || true
[ "$(grep -c 'line [123]$' "$scratch/live")" = 3 ]

say "console: login prompt"
"$here/console.exp" "$node"

say "ping"
expect_output "bytes from" timeout 20 walt node ping "$node"

say "reboot: changes are forgotten, /persist is kept"
walt node run "$node" 'touch /root/forgotten && echo kept > /persist/kept && sync'
expect_output "^Node $node: rebooted ok\.\$" walt node reboot "$node"
walt node wait --timeout 300 "$node"
walt node run "$node" test ! -e /root/forgotten
expect_output "^kept\$" walt node run "$node" cat /persist/kept

say "rename"
walt node rename "$node" "$node-renamed"
nodes+=("$node-renamed")
forget_node "$node"
expect_output "^$node-renamed\$" walt node show --names-only
expect_failure "no device with name" walt node run "$node" true

say "remove"
walt node remove "$node-renamed"
forget_node "$node-renamed"
[ "$(walt node show --all --names-only)" = "$before" ] || fail "nodes are left"
! pgrep -f "[q]emu-system.*$node" || fail "a QEMU is left"
expect_failure "no device with name" walt node show --boot "$node-renamed"
