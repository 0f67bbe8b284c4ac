#!/usr/bin/env bash
# No log line is lost: the server is killed five times, then the cable is unplugged, while a node sends numbered lines
# through the logs daemon. Then the other things the daemon does: commands it watches, clocks it compares.
# needs: debian
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
repository=${WALT_CHECK_REPOSITORY:?}
node=teller
lines=100000

on_node() { walt node run "$node" "$@"; }
logged() { walt log show --history full --issuers "$node" --streams "^$1\$" --format '{line}'; }
# all_logged STREAM COUNT: each line from 1 to COUNT, once and in order.
all_logged() { cmp <(logged "$1") <(seq "$2"); }
count_reaches() { [ "$(logged "$1" | wc -l)" -ge "$2" ]; }
offset() { walt node show --json | jq -e --arg n "$node" '.[] | select(.name == $n) | .clock | .offset_us, .uncertainty_us'; }

say "the agent, on a node"
(cd "$repository" && cargo xtask agent --target x86_64 --out "$scratch") >"$scratch/built"
new_node "$node"
walt node wait --timeout 600 "$node"
walt node cp "$scratch/walt-node.x86_64" "$node:/root/walt-node"
on_node chmod +x /root/walt-node
expect_output "starts with the node" on_node /root/walt-node install
expect_output "starts with the node" on_node /root/walt-node install
on_node systemctl daemon-reload
on_node systemctl start walt-logs
eventually 60 on_node test -p /var/lib/walt/logs.fifo

say "clocks are compared"
eventually 60 offset
read -rd '' difference uncertainty < <(offset) || true
((uncertainty > 0 && uncertainty < 5000000)) || fail "uncertainty of the clock: $uncertainty us"
say "the server's clock is $difference us ahead of the node's, within $uncertainty us"

say "$lines lines, and the server is killed five times meanwhile"
on_node 'setsid sh -c "
  for hundred in \$(seq 0 99); do
    seq \$((hundred * 1000 + 1)) \$((hundred * 1000 + 1000)); sleep 0.2
  done | walt-log-cat numbered; echo \$? >/run/sent" </dev/null >/dev/null 2>&1 &'
for kill in 1 2 3 4 5; do
  eventually 120 count_reaches numbered $((kill * 5000))
  say "kill -9, number $kill, after $(logged numbered | wc -l) lines"
  platform-kill-server
  eventually 60 walt node show
done
eventually 120 on_node test -s /run/sent
[ "$(on_node cat /run/sent)" = 0 ] || fail "walt-log-cat ended with $(on_node cat /run/sent)"
eventually 120 count_reaches numbered $lines
all_logged numbered $lines || fail "not every line once and in order: $(logged numbered | wc -l) lines"

say "the cable is unplugged for some seconds, and the injected walt-log-echo loses nothing either"
tap=$(platform-inside ip -o link show master walt-net type tun | awk -F': ' 'NR == 1 { print $2 }')
on_node 'setsid sh -c "for n in \$(seq 60); do /bin/walt-log-echo cut \$n; sleep 0.2; done" </dev/null >/dev/null 2>&1 &'
eventually 60 count_reaches cut 5
platform-inside ip link set "$tap" down
sleep 8
before=$(logged cut | wc -l)
platform-inside ip link set "$tap" up
((before < 60)) || fail "the cable was cut too late"
eventually 120 count_reaches cut 60
all_logged cut 60 || fail "after the cut: $(logged cut | tr '\n' ' ')"

say "the daemon is restarted while a program sends, and killed"
on_node 'setsid sh -c "for n in \$(seq 200); do echo \$n; sleep 0.05; done | walt-log-cat restarted" </dev/null >/dev/null 2>&1 &'
eventually 60 count_reaches restarted 10
on_node systemctl restart walt-logs
on_node systemctl kill -s KILL walt-logs
eventually 90 count_reaches restarted 200
all_logged restarted 200 || fail "after the restart: $(logged restarted | tr '\n' ' ')"

say "commands that the daemon runs: their output, their exit status, their user"
status=0
on_node 'walt-log-monitor sh -c "echo one; printf two; exit 7"' >"$scratch/monitored" || status=$?
[ "$status" = 7 ] || fail "exit status $status: $(cat "$scratch/monitored")"
tr -d '\r' <"$scratch/monitored" | grep -qx one || fail "its output: $(cat "$scratch/monitored")"
monitored() { logged "$1\.[0-9]+\.monitor" | paste -sd ' '; }
eventually 30 bash -c "walt log show --history full --issuers $node --streams '^sh\..*monitor$' | grep -q END"
[ "$(monitored sh)" = "START one two END" ] || fail "its log: $(monitored sh)"
expect_output '^1' on_node 'setpriv --reuid=1 --regid=1 --clear-groups walt-log-monitor id -u'
pid=$(on_node systemctl show -P MainPID walt-logs)
on_node "setpriv --reuid=1 --regid=1 --clear-groups sh -c 'echo MONITOR $pid 0 0 24 80 >/var/lib/walt/logs.fifo'"
eventually 30 bash -c "walt node run $node journalctl -u walt-logs | grep -q 'MONITOR refused'"

say "without its daemon the FIFO is gone, and lines go straight to the server"
on_node systemctl stop walt-logs
on_node test ! -e /var/lib/walt/logs.fifo
on_node walt-log-echo direct "'  as it is \\t '"
eventually 30 count_reaches direct 1
[ "$(logged direct)" = '  as it is \t ' ] || fail "the line became '$(logged direct)'"
