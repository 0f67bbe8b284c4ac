#!/usr/bin/env bash
# Clients we did not write use the server: DHCP, TFTP, HTTP, DNS, NFS.
# timeout: 300
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1

new_machine foreign
on() { ip netns exec foreign "$@"; }
mac=$(on cat /sys/class/net/eth0/address)

say "leases: dhclient, then udhcpc; the same address each time"
cat >"$scratch/dhclient-script" <<'SCRIPT'
#!/bin/sh
[ "$reason" = BOUND ] || [ "$reason" = REBOOT ] || exit 0
printf '%s\n' "$new_ip_address" "$new_subnet_mask" "$new_domain_name" "$new_domain_name_servers" "$new_dhcp_lease_time" >"$LEASE_OUT"
SCRIPT
chmod +x "$scratch/dhclient-script"
on dhclient -4 -1 -v -sf "$scratch/dhclient-script" -e LEASE_OUT="$scratch/lease" \
  -lf "$scratch/leases" -pf "$scratch/dhclient.pid" eth0
on dhclient -4 -x -pf "$scratch/dhclient.pid" eth0 || true
mapfile -t lease <"$scratch/lease"
ip=${lease[0]}
[[ $ip == 192.168.152.* ]] || fail "no address: ${lease[*]}"
[ "${lease[1]}" = 255.255.255.0 ]
[ "${lease[2]}" = walt ]
[ "${lease[3]}" = "$server" ]
[ "${lease[4]}" = 6000000 ]
cat >"$scratch/udhcpc-script" <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] && echo "$ip $subnet $siaddr" >"$LEASE_OUT"
exit 0
SCRIPT
chmod +x "$scratch/udhcpc-script"
LEASE_OUT=$scratch/udhcpc on udhcpc -f -q -n -i eth0 -s "$scratch/udhcpc-script" -O search
[ "$(cat "$scratch/udhcpc")" = "$ip 255.255.255.0 $server" ] ||
  fail "udhcpc got '$(cat "$scratch/udhcpc")' after dhclient got $ip"
on ip addr add "$ip/24" dev eth0

say "the device is listed"
eventually 10 bash -c "walt device show --json | jq -e '.[] | select(.mac == \"$mac\") | .ip == \"$ip\"'"

say "a node of ours, seen by foreign clients from its address"
# An address of walt-net has boot files only when it is a node's: this machine says it is one.
LEASE_OUT=$scratch/udhcpc on udhcpc -f -q -n -i eth0 -V walt.node.pc-x86-64 -s "$scratch/udhcpc-script"
eventually 60 bash -c "walt node show --all --json | jq -e '.[] | select(.ip == \"$ip\")'"
name=$(walt node show --all --json | jq -r ".[] | select(.ip == \"$ip\") | .name")
say "it is node $name"
image=$(walt node show --all --json | jq -r ".[] | select(.ip == \"$ip\") | .image_full_name // .image")
say "its image: $image"

say "HTTP"
eventually 60 on curl -sf -o "$scratch/http.kernel" "http://$server/boot/kernel"
on curl -sf -o "$scratch/http.initrd" "http://$server/boot/initrd"
on curl -sf -r 1000-1999 -o "$scratch/range" "http://$server/boot/kernel"
cmp "$scratch/range" <(tail -c +1001 "$scratch/http.kernel" | head -c 1000)
[ "$(on curl -s -o /dev/null -w '%{http_code}' "http://$server/boot/nothing")" = 404 ]
[ "$(on curl -s -o /dev/null -w '%{http_code}' --path-as-is "http://$server/boot/../../../../etc/shadow")" != 200 ]

say "TFTP: tftp-hpa, atftp and curl, with block size, window and rollover"
on tftp -m binary $server -c get kernel "$scratch/hpa.kernel"
cmp "$scratch/hpa.kernel" "$scratch/http.kernel"
on atftp --option "blksize 512" --option "tsize 0" -g -r kernel -l "$scratch/atftp.kernel" $server
cmp "$scratch/atftp.kernel" "$scratch/http.kernel"
on atftp --option "blksize 1400" --option "windowsize 16" -g -r kernel -l "$scratch/window.kernel" $server
cmp "$scratch/window.kernel" "$scratch/http.kernel"
# 65 536 blocks of 128 bytes are 8 MB: the kernel is larger, so block numbers start again at 0.
[ "$(stat -c %s "$scratch/http.kernel")" -gt 8400000 ] || fail "the kernel is too small for a rollover"
on curl -sf --tftp-blksize 128 -o "$scratch/rollover.kernel" "tftp://$server/kernel"
cmp "$scratch/rollover.kernel" "$scratch/http.kernel"
on curl -sf -o "$scratch/start.ipxe" "tftp://$server/boot/pc-x86-64.ipxe"
head -n 1 "$scratch/start.ipxe" | grep -q '^#!ipxe'
expect_failure "not found" on curl -sS -o /dev/null "tftp://$server/nothing"

say "DNS"
[ "$(on dig +short @$server server.walt)" = $server ]
[ "$(on dig +short @$server "$name.walt")" = "$ip" ]
[ "$(on dig +short @$server -x "$ip")" = "$name.walt." ]
on dig +short @$server walt-server.walt | grep -q "^$server\$"

say "NFS: the tree a foreign client lists is the image"
url="nfs://$server/var/lib/walt/nodes/$ip/fs"
on nfs-ls -R "$url/usr?version=3" >"$scratch/nfs.list"
[ "$(wc -l <"$scratch/nfs.list")" -gt 3000 ] || fail "only $(wc -l <"$scratch/nfs.list") entries"
on nfs-cp "$url/boot/pc-x86-64/kernel?version=3" "$scratch/nfs.kernel"
cmp "$scratch/nfs.kernel" "$scratch/http.kernel"
platform-list-image "$image" usr >"$scratch/image.list"
# nfs-ls prints: mode, links, uid, gid, size, name. What podman mounts is the reference.
awk '{ print $1, $3, $4, $NF }' "$scratch/nfs.list" | sort >"$scratch/nfs.sorted"
sort "$scratch/image.list" >"$scratch/image.sorted"
diff "$scratch/nfs.sorted" "$scratch/image.sorted" | head -n 20 >"$scratch/diff" || true
[ ! -s "$scratch/diff" ] || fail "listing differs from the image: $(cat "$scratch/diff")"
expect_failure "" on nfs-ls "nfs://$server/etc?version=3"
