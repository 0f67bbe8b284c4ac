#!/usr/bin/env bash
# What no node should send to the ports of logs, while another one logs as usual: that one loses nothing, the server stays
# the same process and its memory is bounded.
# timeout: 500
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1
bound_mib=300
new_machine log-bad
new_machine log-good
new_machine log-cut
lease log-bad -V walt.node.pc-x86-64 >/dev/null
lease log-good -V walt.node.pc-x86-64 >/dev/null
lease log-cut -V walt.node.pc-x86-64 >/dev/null
name_of() {
  local mac
  mac=$(ip netns exec "$1" cat /sys/class/net/eth0/address)
  walt node show --all --json | jq -er ".[] | select(.mac == \"$mac\") | .name"
}
eventually 20 name_of log-bad
eventually 20 name_of log-good
eventually 20 name_of log-cut
cut=$(name_of log-cut)
bad=$(name_of log-bad)
good=$(name_of log-good)
pid=$(platform-server-pid)
resident_mib() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$pid/status"; }
lines() { walt log show --history full --issuers "$1" --streams "^$2\$" --format '{line}'; }

say "a machine logs a number every 50 ms, all the time"
cat >"$scratch/good.py" <<'PY'
import os, socket, sys, time
s = socket.create_connection((sys.argv[1], 12347))
s.sendall(b"REQ_NEW_INCOMING_LOGS\nsteady\nNO_TIMESTAMPS\n")
n = 0
while not os.path.exists(sys.argv[2]):
    n += 1
    s.sendall(b"%d\n" % n)
    time.sleep(0.05)
s.sendall(b"CLOSE\n")
s.shutdown(socket.SHUT_WR)
s.recv(1)
print(n)
PY
ip netns exec log-good python3 "$scratch/good.py" $server "$scratch/stop" >"$scratch/sent" &
sender=$!

say "somebody shows live logs and never reads them"
mkfifo "$scratch/unread"
walt log show --realtime --issuers all-nodes >"$scratch/unread" &
tail=$!
exec 8<"$scratch/unread"

say "a machine with 40 connections disappears: nothing tells the server that they ended"
cat >"$scratch/cut.py" <<'PY'
import socket, sys, time
kept = []
for n in range(40):
    s = socket.create_connection((sys.argv[1], 12347))
    s.sendall(b"REQ_NEW_INC" if n < 10 else b"REQ_NEW_INCOMING_LOGS\nbad-cut\nNO_TIMESTAMPS\nhalf a li")
    kept.append(s)
open(sys.argv[2], "w").close()
time.sleep(600)
PY
ip netns exec log-cut python3 "$scratch/cut.py" $server "$scratch/connected" &
disown
eventually 20 test -e "$scratch/connected"
held() {
  platform-inside ss -Htn state established 'sport = :12347' |
    awk -v ip="$cut_ip" '{ gsub(/\[::ffff:|\]/, "", $4); if (index($4, ip ":") == 1) count++ } END { print count + 0 }'
}
cut_ip=$(ip -n log-cut -4 -o addr show eth0 | sed -E 's|.* inet ([0-9.]+)/.*|\1|')
[ "$(held)" = 40 ] || fail "$(held) connections instead of 40"
# First the cable: a process that is killed says goodbye.
platform-inside ip link set p-log-cut down
platform-unplug log-cut
[ "$(held)" = 40 ] || fail "the connections are not half-open: $(held) are left"

before=$(resident_mib)
say "bad input; the server has $before MiB in memory"
ip netns exec log-bad python3 "$here/hostile.py" $server

say "two million lines, which the one who does not read does not slow down"
ip netns exec log-bad python3 - $server <<'PY'
import socket, sys
s = socket.create_connection((sys.argv[1], 12347))
s.sendall(b"0\nflood\nNO_TIMESTAMPS\n")
block = b"a line of a flood\n" * 10_000
for _ in range(200):
    s.sendall(block)
s.sendall(b"CLOSE\n")
s.shutdown(socket.SHUT_WR)
s.recv(1)
PY
during=$(resident_mib)
kill -0 $tail || fail "the live logs ended"
kill $tail
exec 8<&-

say "what was sent is there as far as it makes sense"
[ "$(lines "$bad" bad-nul)" = "a$(printf '\xef\xbf\xbd')b" ] || fail "NUL: $(lines "$bad" bad-nul)"
[ "$(lines "$bad" bad-split)" = 'café €' ] || fail "cut characters: $(lines "$bad" bad-split)"
[ "$(lines "$bad" bad-long | tr -d '\n' | wc -c)" = 104857600 ] || fail "the long line was not kept"
lines "$bad" bad-dates | grep >/dev/null -x 'nan date nan' || fail "dates: $(lines "$bad" bad-dates)"
lines "$bad" bad-dates | grep >/dev/null -x 'date 99999999999' || fail "dates: $(lines "$bad" bad-dates)"
[ "$(lines "$bad" bad-dates | wc -l)" = 10 ] || fail "dates: $(lines "$bad" bad-dates)"
walt log show --history -1d: --issuers "$bad" --streams bad-dates --format '{timestamp:%Y}' | sort -u >"$scratch/years"
[ "$(wc -l <"$scratch/years")" = 1 ] || fail "dates that cannot be true were believed: $(cat "$scratch/years")"
[ "$(lines "$bad" bad-empty | wc -l)" = 500000 ] || fail "empty lines: $(lines "$bad" bad-empty | wc -l)"
[ "$(lines "$bad" bad-close | paste -sd ' ')" = "CLOSE after" ] || fail "CLOSE: $(lines "$bad" bad-close)"
[ "$(lines "$bad" bad-slow)" = slow ] || fail "slow: $(lines "$bad" bad-slow)"
lines "$bad" bad-escape >"$scratch/escape"
grep >/dev/null red "$scratch/escape" || fail "escape: $(cat -v "$scratch/escape")"
! grep >/dev/null "$(printf '\033')" "$scratch/escape" || fail "escape sequences reach the terminal"
# text STREAM: its lines as they are stored, in JSON.
text() { walt log show --history full --issuers "$bad" --streams "^$1\$" --json | jq -c .line | paste -sd ' '; }
odd=$(printf '\xef\xbf\xbd')
[ "$(text bad-utf8)" = "\"$odd$odd$odd$odd x\"" ] || fail "no characters: $(text bad-utf8)"
[ "$(text bad-crlf)" = '"one\r" "two\r" "CLOSE\r" "<disconnected!>"' ] || fail "line ends: $(text bad-crlf)"
[ "$(lines "$bad" 'many.*' | wc -l)" = 10000 ] || fail "streams: $(lines "$bad" 'many.*' | wc -l) lines"
[ "$(lines "$bad" flood | wc -l)" = 2000000 ] || fail "the flood: $(lines "$bad" flood | wc -l) lines"
lines "$bad" '.*' >"$scratch/all"
[ "$(wc -l <"$scratch/all")" -gt 2500000 ] || fail "all lines: $(wc -l <"$scratch/all")"
! grep >/dev/null -x lost "$scratch/all" || fail "a stream without a proper name was kept"

say "the connections of the machine that disappeared are over, which their streams tell"
over() { [ "$(held)" = 0 ] && [ "$(lines "$cut" bad-cut | grep -cx 'half a li<disconnected!>')" = 30 ]; }
eventually 90 over

say "a name that is too long is told, once nothing else is dropped"
told() { walt log show --server --history -10m: 'dropped input.*bad name of log stream.*mmm.*1 to 200 bytes' | grep >/dev/null .; }
too_long() {
  { printf 'REQ_NEW_INCOMING_LOGS\n%0201d\nNO_TIMESTAMPS\nlost\nCLOSE\n' 0 | tr 0 m; } |
    ip netns exec log-bad socat -t 2 - TCP:$server:12347
  told
}
eventually 60 too_long

say "expressions that cannot be searched are refused with a reason"
for wrong in '(a)\1' 'a{1000}{1000}{1000}' '[a' '(?=x)' "$(printf 'x%.0s' {1..5000})"; do
  expect_failure 'invalid regular expression' timeout 20 walt log show --history full "$wrong"
done

say "the one who logged as usual lost nothing"
touch "$scratch/stop"
wait $sender
cmp <(lines "$good" steady) <(seq "$(cat "$scratch/sent")") || fail "steady lines are missing"
[ "$(platform-server-pid)" = "$pid" ] || fail "the server was started again"
after=$(resident_mib)
peak=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$pid/status")
say "memory of the server: $before MiB before, $during MiB after the flood, $after MiB at the end, $peak MiB at most; bound $bound_mib"
((peak < bound_mib)) || fail "the server took $peak MiB"
walt log show --server --history -10m: 'dropped input' --format '{line}' | head -3
walt log show --server --history -10m: 'dropped input' --format '{line}' | grep >/dev/null . || fail "nothing was told of what was dropped"
