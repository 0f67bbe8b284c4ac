#!/usr/bin/env bash
# Wrong configuration, wrong names, hostile packets: a clear message or silence; nothing leaks, nothing dies.
# timeout: 300
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1

server_pid=$(platform-server-pid)
descriptors() { find "/proc/$(platform-server-pid)/fd" -mindepth 1 | wc -l; }

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
expect_failure 'line 1.*YAML' check
expect_failure 'line 1.*YAML' walt-server run --config "$scratch/server.conf" --state-dir "$scratch/no-state" \
  --run-dir "$scratch/no-run"
[ ! -e "$scratch/no-state" ] || fail "a server without configuration wrote something"
expect_failure 'no such file|cannot read' walt-server check-config --config "$scratch/none"

say "a missing interface: the server says which, and which there are"
conf 'network:' '    walt-net:' '        raw-device: nosuch0' '        ip: 192.168.153.1/24'
status=0
timeout 60 unshare --net --mount walt-server run --config "$scratch/server.conf" \
  --state-dir "$scratch/state" --run-dir "$scratch/run" >"$scratch/said" 2>&1 || status=$?
[ "$status" = 1 ] || fail "it ended with $status: $(cat "$scratch/said")"
expect_output "'nosuch0' .*network\.walt-net\.raw-device.*interfaces of this machine: lo" cat "$scratch/said"

say "wrong words on the command line"
expect_failure "unknown switch --al" walt node show --al
expect_failure "unknown sub-command 'shwo'" walt node shwo
expect_failure "invalid device name: '9lives'" walt node create 9lives
expect_failure "invalid device name: 'a/../b'" walt node create 'a/../b'
for verb in 'boot nobody default' 'reboot nobody' 'wait nobody' 'run nobody true' 'show --boot nobody'; do
  read -ra words <<<"$verb"
  expect_failure "no device with name 'nobody'" walt node "${words[@]}"
done
expect_failure "not a node" walt node reboot walt-server

new_machine hostile
new_machine stranger
on() { ip netns exec hostile "$@"; }
stranger=$(lease stranger)
say "a stranger has $stranger; a node is at a hostile machine: it may ask for more"
ip=$(lease hostile -V walt.node.pc-x86-64)
eventually 20 bash -c "walt node show --all --json | jq -e '.[] | select(.ip == \"$ip\")'"
name=$(walt node show --all --json | jq -r ".[] | select(.ip == \"$ip\") | .name")
eventually 60 on curl -sf -o /dev/null "http://$server/boot/start.ipxe"
devices=$(walt device show --json | jq length)
open_before=$(descriptors)

say "a missing image"
expect_failure "no such image 'nosuch'" walt node boot --yes "$name" nosuch
expect_failure "no such image 'nosuch'" walt node create lost --image nosuch
expect_failure "bad name" walt node boot --yes "$name" '../../etc'
expect_failure "no device with name 'lost'" walt node ping lost

say "TFTP and HTTP: no path leads out"
shadow() { ! grep -q 'root:' "$scratch/leak" 2>/dev/null || fail "$1 gives $2"; }
for machine in hostile stranger; do
  for path in ../../etc/shadow /../../../../etc/shadow pxe/../../../etc/shadow boot/../../etc/shadow \
    undionly/../../../etc/shadow ..%2f..%2fetc/shadow /etc/shadow //etc/shadow '..\..\etc\shadow' \
    "/var/lib/walt/nodes/$ip/fs/etc/shadow" "/var/lib/walt/nodes/$ip/tftp/../../../../../../etc/shadow"; do
    rm -f "$scratch/leak"
    # tftp-hpa sends the path as it is.
    ip netns exec "$machine" tftp -m binary $server -c get "$path" "$scratch/leak" >"$scratch/said" 2>&1
    grep -q 'Error code [12]: ' "$scratch/said" || fail "TFTP said for $path: $(cat "$scratch/said")"
    shadow TFTP "$path"
    for url in "http://$server/$path" "http://$server/boot/$path" "http://$server/boot/$path?node_ip=../.."; do
      code=$(ip netns exec "$machine" curl -s --max-time 5 --path-as-is -o "$scratch/leak" -w '%{http_code}' "$url")
      [[ $code == 4?? ]] || fail "HTTP answered $code for $url"
      shadow HTTP "$url"
    done
  done
done
expect_output "leads out" on tftp -m binary $server -c get ../../etc/shadow "$scratch/leak"

say "truncated and random packets on every port"
for port in 53 67 69 111 12342; do
  for size in 0 1 3 11 100 239 240 1400; do
    head -c "$size" /dev/urandom | on socat -u - "UDP4-SENDTO:$server:$port" || true
  done
done
for port in 53 80 111 2049 10809 12345 12347; do
  head -c 5000 /dev/urandom | on timeout 3 socat - "TCP4:$server:$port" >/dev/null 2>&1 || true
  printf '\xff\xff\xff\xff' | on timeout 3 socat - "TCP4:$server:$port" >/dev/null 2>&1 || true
  printf '\n' | on timeout 3 socat - "TCP4:$server:$port" >/dev/null 2>&1 || true
done

say "DHCP: messages cut everywhere"
on "$here/truncated-dhcp.py"

say "NFS: a forged handle is refused; the /persist of a node is for that node"
on "$here/forged-handle.py" $server "/var/lib/walt/nodes/$ip/fs"
on "$here/forged-handle.py" $server "/var/lib/walt/nodes/$name/persist"
on nfs-ls "nfs://$server/var/lib/walt/nodes/$name/persist?version=3"
expect_failure "MNT3ERR_ACCES" ip netns exec stranger nfs-ls "nfs://$server/var/lib/walt/nodes/$name/persist?version=3"

say "the API is not reachable from walt-net"
! on curl -s --max-time 3 "http://$server/v1/nodes" | grep >/dev/null '\[' || fail "the API answers on walt-net"

say "the server is the same process, and works"
[ "$(platform-server-pid)" = "$server_pid" ] || fail "the server died"
kill -0 "$server_pid"
expect_output "" walt node show
expect_output "server" walt device show
[ "$(walt device show --json | jq length)" = "$devices" ] || fail "devices appeared: $(walt device show)"
on curl -sf -o /dev/null "http://$server/boot/start.ipxe"
[ "$(on dig +short @$server server.walt)" = $server ]
few_descriptors() { [ "$(descriptors)" -le $((open_before + 10)) ]; }
eventually 60 few_descriptors

say "an image that is gone when the server starts: the node and its user are told"
platform-derive-image waltplatform/pc-x86-64-default "$(id -un)/gone"
expect_output "will now boot gone" bash -c "walt node boot --yes '$name' gone || true"
platform-remove-image "$(id -un)/gone"
platform-kill-server
eventually 60 walt node show
expect_output "no image is called '.*/gone:latest'" on tftp -m binary $server -c get kernel "$scratch/leak"
lease hostile -V PXEClient:Arch:00000:UNDI:002001 -F iPXE >/dev/null || true
on tftp -m binary $server -c get start.ipxe "$scratch/leak"
expect_output "no image is called '.*/gone:latest'" walt node show --boot "$name"
expect_failure "no such image 'gone'" walt node boot --yes "$name" gone
bash -c "walt node boot --yes '$name' default || true"
on curl -sf -o /dev/null "http://$server/boot/start.ipxe"
