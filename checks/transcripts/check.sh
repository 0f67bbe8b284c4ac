#!/usr/bin/env bash
# What nodes of the original say on the ports of nodes, byte for byte as written down, and each malformed variant.
# timeout: 240
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1
new_machine scribe
on() { ip netns exec scribe "$@"; }

say "a machine becomes a node"
ip=$(lease scribe -V walt.node.pc-x86-64)
mac=$(on cat /sys/class/net/eth0/address)
of_node() { walt node show --all --json | jq -er ".[] | select(.mac == \"$mac\") | $1"; }
eventually 20 of_node .name
node=$(of_node .name)
eventually 60 on curl -sf -o /dev/null "http://$server/boot/start.ipxe"
pid=$(platform-server-pid)

say "transcripts"
mkfifo "$scratch/go"
on python3 "$here/replay.py" $server "$mac" "$ip" <"$scratch/go" >"$scratch/said" &
replay=$!
exec 7>"$scratch/go"
eventually 180 bash -c "grep -qx booted '$scratch/said' || ! kill -0 $replay"
cat "$scratch/said"
grep -qx booted "$scratch/said" || fail "the replay stopped"
eventually 10 of_node 'select(.booted) | .name'
echo >&7
wait $replay
eventually 10 of_node 'select(.booted | not) | .name'
for words in "is booted" "is down (cause: unknown, note: server-detected disconnection)"; do
  walt log show --history -5m: --issuers server --streams platform.nodes --format '{line}' | grep >/dev/null -F "node $node $words" ||
    fail "the platform does not say: node $node $words"
done

say "every line is there, as it was sent"
lines() { walt log show --history full --issuers "$node" --streams "^$1\$" --format "${2:-"{line}"}"; }
[ "$(lines tr-server | grep -cFx 'hello t  world')" = 3 ]
lines tr-inside '{timestamp:%s} {line}' | grep >/dev/null -Fx '1751286000 hi'
lines tr-pieces | grep >/dev/null -Fx 'café a\b'
[ "$(lines tr-close)" = "$(printf 'CLOSE\nafter')" ]
lines tr-cut | grep >/dev/null -Fx 'no end<disconnected!>'
# A date that is none is a part of the line; one that is not believed is replaced.
for line in 'nan a' 'inf b' c d 'word e' f; do
  lines tr-dates | grep >/dev/null -Fx "$line" || fail "no line '$line' among: $(lines tr-dates)"
done
lines tr-bytes | grep >/dev/null z
! walt log show --history full --issuers "$node" --format '{line}' | grep -Fx lost || fail "a stream without a name was kept"
lines netconsole | grep >/dev/null -Fx '[    1.234567] eth0: link up'
lines netconsole | grep >/dev/null -Fx '[    2.0] cut in two'

say "the server has not been hurt"
[ "$(platform-server-pid)" = "$pid" ]
[ ! -e /tmp/evil ]
