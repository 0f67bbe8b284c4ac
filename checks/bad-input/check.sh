#!/usr/bin/env bash
# Wrong configuration, wrong names, hostile packets: a clear message or silence; nothing leaks, nothing dies.
# timeout: 240
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1

say "server.conf: the line and the key are named"
conf() { printf '%s\n' "$@" >"$scratch/server.conf"; }
check() { walt-server check-config --config "$scratch/server.conf"; }
conf 'network:' '    walt-net:' '        raw-device: null' '        ip: 192.168.152.1/24'
check
conf 'network:' '    walt-net:' '        raw-device: null' '        ip: 192.168.152.1/33'
expect_failure 'line 4.*network\.walt-net\.ip|network\.walt-net\.ip.*line 4' check
conf 'network:' '    walt-net:' '        ip: 192.168.152.1/24' '        raw-devise: eth0'
expect_failure 'line 4.*raw-devise|raw-devise.*line 4' check
expect_failure 'raw-device' check
conf 'network:' '    walt-net:' '        vlan: 3' '        ip: 192.168.152.1/24'
expect_failure 'vlan' check
conf 'network: {}'
expect_failure 'walt-net' check
conf 'network: ['
expect_failure 'line' check
expect_failure 'no such file|cannot read' walt-server check-config --config "$scratch/none"

say "a missing interface: the server says which, and which there are"
conf 'network:' '    walt-net:' '        raw-device: nosuch0' '        ip: 192.168.153.1/24'
mkdir "$scratch/state" "$scratch/run"
expect_failure 'nosuch0' timeout 40 unshare --net --mount walt-server run \
  --config "$scratch/server.conf" --state-dir "$scratch/state" --run-dir "$scratch/run"

say "wrong words on the command line"
expect_failure "unknown switch --al" walt node show --al
expect_failure "unknown sub-command 'shwo'" walt node shwo
expect_failure "name" walt node create 9lives
expect_failure "name" walt node create 'a/../b'
expect_failure "no device with name" walt node boot nobody default
expect_failure "no device with name" walt node reboot nobody
expect_failure "no device with name" walt node wait nobody
expect_failure "not a (walt )?node" walt node reboot walt-server

new_machine hostile
ip netns exec hostile ip addr add 192.168.152.250/24 dev eth0
on() { ip netns exec hostile "$@"; }

say "TFTP: no path leads out"
for path in ../../etc/shadow /../../../../etc/shadow 'pxe/../../../etc/shadow' \
  'undionly/../../../etc/shadow' '..%2f..%2fetc/shadow' /etc/shadow; do
  if on curl -s --max-time 5 -o "$scratch/leak" "tftp://$server/$path"; then
    fail "TFTP gave something for $path"
  fi
done
on curl -s --max-time 5 --path-as-is -o "$scratch/leak" "http://$server/boot/../../../etc/shadow?node_ip=../.." || true
! grep -q 'root:' "$scratch/leak" 2>/dev/null || fail "HTTP leaks"

say "truncated and random packets on every port"
for port in 53 67 69 111 12342; do
  for size in 0 1 3 11 100 239 240 1400; do
    head -c "$size" /dev/urandom | on socat -u - "UDP4-SENDTO:$server:$port" || true
  done
done
# A DHCPDISCOVER cut in the middle of its options.
printf '\x01\x01\x06\x00abcd%0228d\x63\x82\x53\x63\x35\x01' 0 | tr 0 '\0' |
  on socat -u - "UDP4-SENDTO:$server:67,sp=68" || true
for port in 53 80 111 2049 10809 12345 12347; do
  head -c 5000 /dev/urandom | on timeout 3 socat - "TCP4:$server:$port" >/dev/null 2>&1 || true
  printf '\xff\xff\xff\xff' | on timeout 3 socat - "TCP4:$server:$port" >/dev/null 2>&1 || true
  printf '\n' | on timeout 3 socat - "TCP4:$server:$port" >/dev/null 2>&1 || true
done

say "NFS: a forged handle is refused"
on "$here/forged-handle.py" $server

say "the API is not reachable from walt-net"
! on curl -s --max-time 3 "http://$server/v1/nodes" | grep -q '\[' || fail "the API answers on walt-net"

say "the server is the same process, and works"
expect_output "" walt node show
expect_output "server" walt device show
eventually 20 walt image show
