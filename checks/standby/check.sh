#!/usr/bin/env bash
# While the server is stopped, `walt-server standby` gives known devices their address and Raspberry Pis their firmware.
# timeout: 120
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# A platform of its own: that of the other checks is started again whenever it stops.
server=192.168.77.1
namespace=standby-$$
state=$scratch/state
pids=()
inside() { ip netns exec "$namespace" "$@"; }
mine() { WALT_SERVER=unix:$scratch/run/api.sock walt "$@"; }
stop() { kill -TERM "$1" && wait "$1"; }
remove_platform() {
  local pid
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null && wait "$pid"; done
  ip netns del "$namespace"
  for machine in standby-pi standby-new; do ip netns del "$machine" 2>/dev/null; done
}
at_end remove_platform
ip netns add "$namespace"
ip -n "$namespace" link set lo up
mkdir -p "$state/tftp-static"
printf '{"network": {"walt-net": {"ip": "%s/24"}}}\n' "$server" >"$scratch/server.conf"

start_server() {
  ip netns exec "$namespace" walt-server run --stop-nodes-on-exit --config "$scratch/server.conf" --state-dir "$state" \
    --run-dir "$scratch/run" >>"$scratch/server.log" 2>&1 &
  running=$!
  pids+=("$running")
}
# machine NAME MAC: its network namespace is made once; it is plugged again when the bridge was removed.
machine() {
  ip netns add "$1" 2>/dev/null || true
  ip -n "$1" link del eth0 2>/dev/null || true
  ip -n "$namespace" link add "p-$1" type veth peer name eth0 address "$2" netns "$1"
  ip -n "$namespace" link set "p-$1" master walt-net up
  ip -n "$1" link set eth0 up
}
cat >"$scratch/lease" <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] && echo "$ip $siaddr ${boot_file:-none} ${hostname:-none} ${opt43:-none}" >"$LEASE_OUT"
exit 0
SCRIPT
chmod +x "$scratch/lease"
# lease NAME [OPTIONS]: asks as a Raspberry Pi's firmware does; prints what is given.
lease() {
  local name=$1
  shift
  rm -f "$scratch/leased"
  LEASE_OUT=$scratch/leased ip netns exec "$name" timeout 20 udhcpc -f -q -n -t 3 -T 1 -i eth0 -s "$scratch/lease" \
    -O 43 -V "${1:-PXEClient:Arch:00000:UNDI:002001}" >&2
  cat "$scratch/leased"
}
says() { grep -q -- "$1" "$scratch/standby.log"; }
pi=dc:a6:32:a6:77:01

say "a server; a Raspberry Pi gets an address"
start_server
eventually 40 mine node show --all
machine standby-pi $pi
before=$(lease standby-pi)
echo "$before"
[[ $before == "192.168.77."*" $server none "*" 0914000011"* ]] || fail "not what a Raspberry Pi wants: $before"
eventually 10 bash -c "WALT_SERVER=unix:$scratch/run/api.sock walt device show --json | grep >/dev/null $pi"
after=$(lease standby-pi)

say "beside it, standby says nothing"
ip netns exec "$namespace" walt-server standby --config "$scratch/server.conf" --state-dir "$state" >>"$scratch/standby.log" 2>&1 &
standby=$!
pids+=("$standby")
sleep 1
! says "standing in" || fail "it does not wait"

say "the server stops: the same answer, and firmware"
head -c 40960 /dev/urandom >"$state/tftp-static/start4.elf"
echo secret >"$state/secret"
ln -s ../secret "$state/tftp-static/leak"
stop "$running"
eventually 10 says "standing in"
machine standby-pi $pi
[ "$(lease standby-pi)" = "$after" ] || fail "it was $after, it is $(cat "$scratch/leased")"
ip -n standby-pi addr add "${after%% *}/24" dev eth0
get() { ip netns exec standby-pi curl -s --max-time 10 -o "$scratch/got" "tftp://$server/$1"; }
get start4.elf
cmp "$scratch/got" "$state/tftp-static/start4.elf"
for file in nothing leak; do
  status=0
  get $file || status=$?
  [ $status = 68 ] || fail "$file: curl ended with $status instead of 'file not found'"
done
say "a PC is told no loader, an unknown device nothing"
[[ $(lease standby-pi 'HTTPClient:Arch:00016:UNDI:003001') == "${after%% *} $server none "* ]]
machine standby-new dc:a6:32:a6:77:02
! lease standby-new 2>"$scratch/new" || fail "an unknown device got $(cat "$scratch/leased")"

say "the server comes back: standby is silent, the server answers"
start_server
eventually 10 says "silent"
eventually 10 mine node show --all
[ "$(lease standby-pi)" = "$after" ]
lease standby-new
[ "$(grep -c "standing in" "$scratch/standby.log")" = 1 ] || fail "it served twice: $(cat "$scratch/standby.log")"

say "SIGTERM ends standby"
stop "$standby"
mine node show --all
stop "$running"
! inside ip link show walt-net 2>/dev/null || fail "the network is left"
