#!/usr/bin/env bash
# No log line is lost: the server is killed five times, then the cable is unplugged, while a machine sends numbered lines
# through the logs daemon. Then the other things the daemon does: clocks it compares, commands it watches.
# needs: debian
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
machine=teller
lines=100000

say "a machine that is a node, with the agent installed in its own /run and /var/lib"
# A static walt-node that is there already may be given.
agent=${WALT_CHECK_AGENT:-$scratch/walt-node.x86_64}
[ -e "$agent" ] || (cd "${WALT_CHECK_REPOSITORY:?}" && cargo xtask agent --target x86_64 --out "$scratch") >"$scratch/built"
new_machine $machine
mac=$(ip netns exec $machine cat /sys/class/net/eth0/address)
lease $machine -V walt.node.pc-x86-64
of_node() { walt node show --all --json | jq -er ".[] | select(.mac == \"$mac\") | $1"; }
eventually 120 of_node .name
node=$(of_node .name)
ip netns exec $machine sh -c 'mount -t tmpfs none /run && mount -t tmpfs none /var/lib && exec sleep 3600' &
inside=$!
export walt_server_ip=192.168.152.1
enter=(nsenter -t "$inside" -m -n env PATH=/run/root/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
on() { "${enter[@]}" "$@"; }
eventually 20 on mountpoint -q /var/lib
on mkdir -p /run/root/etc /run/root/usr
on cp "$agent" /run/walt-node-new
on chmod 755 /run/walt-node-new
for time in first second; do
  expect_output "starts with the node" on /run/walt-node-new install --root /run/root || fail "$time time"
done
on grep -q '^ExecStart=/usr/local/bin/walt-logs-daemon' \
  /run/root/etc/systemd/system/multi-user.target.wants/../walt-logs.service

start_daemon() {
  # Not by `on`: the process is the daemon itself.
  "${enter[@]}" walt-logs-daemon 2>>"$scratch/daemon" &
  daemon=$!
  eventually 30 on test -p /var/lib/walt/logs.fifo
}
logged() { walt log show --history full --issuers "$node" --streams "^$1\$" --format '{line}'; }
# all_logged STREAM COUNT: each line from 1 to COUNT, once and in order.
all_logged() { cmp <(logged "$1") <(seq "$2"); }
count_reaches() { [ "$(logged "$1" | wc -l)" -ge "$2" ]; }

say "clocks are compared"
start_daemon
eventually 60 of_node .clock.uncertainty_us
offset=$(of_node .clock.offset_us)
uncertainty=$(of_node .clock.uncertainty_us)
((uncertainty > 0 && uncertainty < 5000000 && offset <= uncertainty && -offset <= uncertainty)) ||
  fail "one clock is said to be $offset us from itself, within $uncertainty us"

say "$lines lines, and the server is killed five times meanwhile"
on sh -c 'for n in $(seq 0 99); do seq $((n * 1000 + 1)) $((n * 1000 + 1000)); sleep 0.6; done | walt-log-cat numbered' &
sender=$!
for kill in 1 2 3 4 5; do
  eventually 120 count_reaches numbered $((kill * 6000))
  say "kill -9, number $kill, after $(logged numbered | wc -l) lines"
  platform-kill-server
  eventually 60 walt node show
done
wait $sender || fail "walt-log-cat failed"
eventually 120 count_reaches numbered $lines
all_logged numbered $lines || fail "not every line once and in order: $(logged numbered | wc -l) lines"

say "the cable is unplugged for some seconds, and the walt-log-echo of every image loses nothing either"
echo_tool=${WALT_CHECK_REPOSITORY:?}/crates/walt-images/walt-layer/bin/walt-log-echo
on sh -c "for n in \$(seq 40); do sh $echo_tool cut \$n; sleep 0.2; done" &
eventually 60 count_reaches cut 3
platform-inside ip link set p-$machine down
sleep 5
before=$(logged cut | wc -l)
platform-inside ip link set p-$machine up
((before < 40)) || fail "the cable was cut too late"
eventually 120 count_reaches cut 40
all_logged cut 40 || fail "after the cut: $(logged cut | tr '\n' ' ')"

say "the daemon is restarted, in order and by kill -9, while a program sends"
on sh -c 'for n in $(seq 100); do echo $n; sleep 0.05; done | walt-log-cat restarted' &
sender=$!
eventually 60 count_reaches restarted 10
kill -TERM $daemon
wait $daemon || fail "the daemon ended with $?: $(cat "$scratch/daemon")"
on test ! -e /var/lib/walt/logs.fifo
start_daemon
kill -KILL $daemon
wait $daemon 2>/dev/null || true
on rm -f /var/lib/walt/logs.fifo
start_daemon
wait $sender || fail "walt-log-cat failed"
eventually 60 count_reaches restarted 100
all_logged restarted 100 || fail "after the restart: $(logged restarted | tr '\n' ' ')"

say "commands that the daemon runs: their output, their exit status, their user"
status=0
on walt-log-monitor sh -c 'echo one; printf two; exit 7' </dev/null >"$scratch/monitored" || status=$?
[ "$status" = 7 ] || fail "exit status $status: $(cat "$scratch/monitored" "$scratch/daemon")"
tr -d '\r' <"$scratch/monitored" | grep >/dev/null -x one || fail "its output: $(cat "$scratch/monitored")"
monitored() { [ "$(logged 'sh\.[0-9]+\.monitor' | paste -sd ' ')" = "START one two END" ]; }
eventually 30 monitored
as_user() { on setpriv --reuid=1 --regid=1 --clear-groups "$@"; }
as_user walt-log-monitor id -u </dev/null >"$scratch/user"
tr -d '\r' <"$scratch/user" | grep >/dev/null -x 1 || fail "the user became $(cat "$scratch/user")"
as_user sh -c "echo MONITOR $inside 0 0 24 80 >/var/lib/walt/logs.fifo"
eventually 30 grep -q 'MONITOR refused' "$scratch/daemon"

say "without its daemon the FIFO is gone, and lines go straight to the server"
kill -TERM $daemon
wait $daemon || fail "the daemon ended with $?"
on walt-log-echo direct '  as it is \t '
eventually 30 count_reaches direct 1
[ "$(logged direct)" = '  as it is \t ' ] || fail "the line became '$(logged direct)'"
