#!/usr/bin/env bash
# A node uses more memory than it has, with swap space on the server, which is killed meanwhile; foreign NBD clients.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1

name_of_mac() { walt node show --all --json | jq -er ".[] | select(.mac == \"$1\") | .name"; }

say "a machine with 400 MiB of memory starts: it becomes a node"
mac=02:53:77:61:70:01
new_guest swapper --mac $mac --ram 400
guest=swapper

say "meanwhile, foreign clients: who is no node gets no swap space"
new_machine foreign
on() { ip netns exec foreign "$@"; }
ip=$(lease foreign)
expect_output "swap-16G" on nbd-client -l $server
expect_failure "replied with error" on nbdinfo "nbd://$server/swap-16G"
say "it becomes a node"
[ "$(lease foreign -V walt.node.pc-x86-64)" = "$ip" ]
eventually 60 bash -c "walt node show --all --json | jq -e '.[] | select(.ip == \"$ip\")'"

say "the transcript of the protocol, and what is malformed"
on python3 "$here/nbd.py" $server

say "nbdinfo and nbdcopy"
[ "$(on nbdinfo --size "nbd://$server/swap-3G@some-boot")" = $((3 << 30)) ]
on nbdinfo --can trim "nbd://$server/swap-3G@some-boot" || fail "no trim"
expect_failure . on nbdinfo "nbd://$server/disk"
head -c 30000000 /dev/urandom >"$scratch/bytes"
truncate -s 1G "$scratch/disk"
dd if="$scratch/bytes" of="$scratch/disk" bs=1M seek=500 conv=notrunc status=none
on nbdcopy "$scratch/disk" "nbd://$server/swap-1G@some-boot"
expect_failure . on nbdinfo "nbd://$server/swap-1G@"

say "the machine is a node, with swap space"
eventually 120 name_of_mac $mac
node=$(name_of_mac $mac)
walt node wait --timeout 400 "$node"
on_node() { walt node run "$node" "$@"; }
boot_id=$(on_node cat /proc/sys/kernel/random/boot_id)
expect_output "^/dev/nbd0[[:space:]].*[[:space:]]1677721[0-9]" on_node cat /proc/swaps
memory=$(on_node cat /proc/meminfo | awk '/^MemTotal/ { print $2 }')
pages=$((memory * 5 / 4 / 4))
say "it has $memory KiB: a program fills $pages pages"
walt node cp "$here/fill.pl" "$node:/root/fill.pl"
on_node "setsid /root/fill.pl $pages </dev/null >/dev/null 2>&1 &"

say "kill -9 of the server while it writes"
guest_says 300 $guest 'fill: wrote [0-9]+ pages, swap [1-9][0-9]{3,} KiB'
platform-kill-server
eventually 60 walt node show
guest_says 300 $guest 'fill: wrote all, swap [1-9][0-9]{4,} KiB'
say "$(grep -a 'fill: wrote all' "$(platform-guest-file $guest console)")"
say "kill -9 of the server while it reads"
guest_says 300 $guest 'fill: read [1-9]'
platform-kill-server
eventually 60 walt node show
guest_says 600 $guest 'fill: (all [0-9]+ pages are right|page .* WRONG)'
guest_says 1 $guest "fill: all $pages pages are right"
# Its other programs come back to memory at their own pace.
eventually 240 on_node true
on_node dmesg >"$scratch/dmesg"
grep -q nbd0 "$scratch/dmesg" || fail "the kernel says nothing of nbd0"
if grep -Ei 'nbd|swap' "$scratch/dmesg" | grep -Ei 'error|timed out|shutting|dead|fail'; then fail "the kernel complains"; fi
[ "$(on_node cat /proc/sys/kernel/random/boot_id)" = "$boot_id" ] || fail "the node has rebooted"

say "room is given back"
# Of this machine only: other checks have used the platform before.
files=$WALT_CHECK_STATE/swap/${mac//:/-}
find "$files" -type f | grep >/dev/null . || fail "no swap file is seen"
on_node swapoff /dev/nbd0
on_node nbd-client -d /dev/nbd0
eventually 30 test ! -e "$files"
