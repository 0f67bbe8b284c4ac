#!/usr/bin/env bash
# The server is killed while a node works: for the node it is a pause, not an error.
# timeout: 600
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
node=steady

on_node() { walt node run "$node" "$@"; }
booted() { walt node show --json | jq -e --arg n "$node" '.[] | select(.name == $n) | .booted'; }
booted_since() { walt node show --boot "$node" --json | jq -e '.id, .started_ms'; }
platform_says() { walt log show --history full --platform "$1" | wc -l; }
rounds_logged() {
  walt log show --history -15m: --issuers "$node" --streams '^loop$' --format '{line}' "^round" | cut -d' ' -f2
}
logged() { rounds_logged | grep >/dev/null -x "$1"; }
# ticked_since SECONDS: a line of the stream that is kept open came after this date.
ticked_since() {
  walt log show --history -15m: --issuers "$node" --streams '^ticks$' --json '^tick' |
    jq -es --argjson since "$1" 'any(.[]; .timestamp_us > $since * 1e6)'
}
went_past() { [ "$(on_node cat /persist/rounds)" -gt "$1" ]; }
nfs_reads() { on_node cat /proc/net/rpc/nfs | awk '/^proc3/ { print $9 }'; }

new_node "$node"
walt node wait --timeout 300 "$node"
boot_id=$(on_node cat /proc/sys/kernel/random/boot_id)
since=$(booted_since)
downs=$(platform_says "node $node is down")

say "a loop on the node reads its root, writes /persist, and logs"
walt node cp "$here/loop.sh" "$node:/root/loop.sh"
on_node 'setsid sh /root/loop.sh </dev/null >/run/loop.out 2>&1 &'
eventually 30 on_node test -s /persist/rounds
eventually 30 logged 1
say "a program of the node prints on a log stream which it keeps open"
on_node 'setsid sh -c "n=0; while [ ! -e /persist/stop ]; do n=\$((n + 1)); echo tick \$n; sleep 0.5; done |
  walt-log-cat ticks" </dev/null >/run/ticks.out 2>&1 &'
eventually 30 ticked_since "$(date +%s)"

say "a command runs when the server is killed"
walt node run "$node" sleep 1234 >"$scratch/cut" 2>&1 &
cut=$!
eventually 20 on_node pgrep -f "[s]leep.1234"

gaps=()
for kill in 1 2; do
  say "kill -9, number $kill"
  reads=$(nfs_reads)
  before=$(on_node cat /persist/rounds)
  platform-kill-server
  eventually 60 walt node show
  booted >/dev/null || fail "the node is not shown as booted after the restart"
  after=$(on_node cat /persist/rounds)
  gaps+=("$before $after")
  say "the loop goes on: it was at round $before before, it is at round $after now"
  eventually 60 went_past $((after + 3))
  [ "$(nfs_reads)" -gt "$((reads + 2))" ] || fail "the root is not read from the server"
  say "logs resume"
  eventually 30 logged $((after + 3))
  eventually 30 ticked_since "$(date +%s)"
done
restarted=$SECONDS
if wait "$cut"; then fail "a command cut by the end of the server has succeeded"; fi
grep -q "connection" "$scratch/cut" || fail "it was not told why: $(cat "$scratch/cut")"
! pgrep -f '[s]leep 1234' || fail "the old server left its ssh behind"

say "a command, a shell and the console of the node, through the new server"
expect_output "^$node\$" on_node hostname
"$here/../node-life/shell.exp" "$node" >"$scratch/shell" || fail "shell: $(cat "$scratch/shell")"
"$here/../node-life/console.exp" "$node" >"$scratch/console" || fail "console: $(cat "$scratch/console")"

say "the server does not only believe that the node is booted: it is still when belief has ended"
while ((SECONDS - restarted < 40)); do
  booted >/dev/null || fail "the node is no longer shown as booted"
  sleep 2
done
[ "$(platform_says "node $node is down")" = "$downs" ] || fail "the node was declared down"

say "the loop never saw an error"
on_node touch /persist/stop
eventually 30 bash -c "! walt node run $node pgrep -f /root/loop.sh"
on_node test ! -e /persist/errors
on_node test ! -e /run/loop-errors
[ -z "$(on_node cat /run/loop.out)" ] || fail "the loop printed: $(on_node cat /run/loop.out)"

say "the lines it logged: all but those of the moments without a server"
last=$(on_node cat /persist/rounds)
eventually 10 logged "$last"
rounds_logged >"$scratch/logged"
[ -z "$(sort "$scratch/logged" | uniq -d)" ] || fail "lines were logged twice"
[ "$(sort -n "$scratch/logged")" = "$(cat "$scratch/logged")" ] || fail "lines are not in order"
lost=$(comm -13 <(sort "$scratch/logged") <(seq "$last" | sort) | sort -n)
for round in $lost; do
  excused=no
  for gap in "${gaps[@]}"; do
    if ((round >= ${gap% *} && round <= ${gap#* })); then excused=yes; fi
  done
  [ "$excused" = yes ] || fail "round $round was not logged, and the server was there"
done
say "$last rounds, $(wc -l <"$scratch/logged") logged, $(wc -w <<<"$lost") lost while the server was away: ${lost//$'\n'/ }"

say "it is still the same boot, for the node and for the server"
[ "$(on_node cat /proc/sys/kernel/random/boot_id)" = "$boot_id" ] || fail "the node has rebooted"
[ "$(booted_since)" = "$since" ] || fail "the server saw another boot: $(booted_since), it was $since"

say "the new server can reboot it"
expect_output "^Node $node: rebooted ok\.\$" walt node reboot "$node"
walt node wait --timeout 300 "$node"
[ "$(on_node cat /proc/sys/kernel/random/boot_id)" != "$boot_id" ] || fail "the node has not rebooted"
expect_output "^$last\$" on_node cat /persist/rounds
walt node remove "$node"
forget_node "$node"
