#!/usr/bin/env bash
# The original's node package (PyPI walt-node 10.0), unmodified, in an image of ours, on a node of ours.
# needs: debian
# timeout: 900
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
node=original

say "an image with the original's node package"
export WALT_WHEELS=$scratch/wheels
python3 -m venv "$scratch/pip"
"$scratch/pip/bin/pip" download --quiet --only-binary=:all: --python-version 3.11 -d "$WALT_WHEELS" walt-node==10.0
new_node "$node"
first=$(walt node show --all --json | jq -er --arg n "$node" '.[] | select(.name == $n) | .image')
# The Debian image before our agent was added to it.
platform-derive-image localhost/walt/base:pc-x86-64 "docker.io/${first%%/*}/original:latest" "$here/install.sh"
eventually 20 bash -c "walt image show --refresh --names-only | grep >/dev/null -x 'original'"
walt node boot "$node" original
walt node wait --timeout 600 "$node"
on() { walt node run "$node" "$@"; }
logged() { walt log show --history full --issuers "$node" --streams "$1" --format '{line}' | grep -Fx -- "$2"; }
eventually 60 on systemctl is-active walt-logs
eventually 60 on test -p /var/lib/walt/logs.fifo

say "echo, through its daemon"
on walt-log-echo orig-echo "hello from the original"
on walt-log-echo --ts 1751286000.25 orig-dated "an old line"
eventually 30 logged orig-echo "hello from the original"
eventually 30 bash -c "walt log show --history full --issuers $node --streams orig-dated --format '{timestamp} {line}' | grep -E '^2025-06-30.* an old line'"

say "cat and tee, and the old names of all"
on 'printf "one\ntwo\n" | walt-log-cat orig-cat'
on 'printf "1751286001.5 dated\n" | walt-log-cat --ts orig-cat'
[ "$(on 'printf "three\n" | walt-log-tee orig-tee')" = three ]
on 'printf "four\n" | walt-cat orig-cat' | grep >/dev/null 'WARNING: walt-cat is deprecated'
for words in "orig-cat one" "orig-cat two" "orig-cat dated" "orig-tee three" "orig-cat four"; do
  # shellcheck disable=SC2086  # two words
  eventually 30 logged $words
done

say "monitor"
"$here/monitor.exp" "$node" >/dev/null
monitored() { walt log show --history full --issuers "$node" --streams 'echo\.[0-9]+\.monitor' --format '{line}'; }
eventually 60 bash -c "walt log show --history full --issuers $node --streams monitor | grep >/dev/null END"
monitored | tee "$scratch/monitored"
# The line ends as the terminal ended it.
for line in '^START$' '^watched words' '^END$'; do
  grep -Eq "$line" "$scratch/monitored" || fail "the monitor has not logged $line"
done

say "serial autolog"
walt node cp "$here/autolog.py" "$node:/root/"
on python3 /root/autolog.py
eventually 30 logged vizwalt "af4e:TxStart:aabb"
[ -z "$(walt log show --history full --issuers "$node" --streams vizwalt --format '{line}' | grep noise)" ]

say "clock"
asked=$(date +%s)
clock=$(on /bin/_walt_internal_/walt-rpc sync_clock)
((clock >= asked && clock <= asked + 60)) || fail "sync_clock answered $clock at $asked"

say "none of its tools failed"
on journalctl -u walt-logs --no-pager >"$scratch/journal"
grep -q walt-logs "$scratch/journal" || fail "its daemon has no journal"
if grep -i traceback "$scratch/journal"; then fail "a traceback"; fi

say "kexec by the original's tool: the kernel starts again without the firmware"
before=$(on cat /proc/sys/kernel/random/boot_id)
firmware_starts() { walt log show --history full --issuers "$node" --streams virtualconsole | grep -c SeaBIOS; }
starts=$(firmware_starts)
walt log show --realtime --issuers server --streams platform.nodes --format '{line}' >"$scratch/events" &
tail=$!
on 'setsid sh -c "sleep 1; /opt/walt-node/bin/walt-ipxe-kexec-reboot >/dev/console 2>&1" >/dev/null 2>&1 </dev/null &'
eventually 120 grep -q "node $node is down" "$scratch/events"
walt node wait --timeout 600 "$node"
kill -INT "$tail"
wait "$tail" || true
[ "$(on cat /proc/sys/kernel/random/boot_id)" != "$before" ] || fail "it has not rebooted"
[ "$(firmware_starts)" = "$starts" ] || fail "the node went through its firmware"
