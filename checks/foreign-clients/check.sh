#!/usr/bin/env bash
# Clients we did not write use the server: DHCP, TFTP, HTTP, DNS, NFS.
# timeout: 300
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
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

say "TFTP: tftp-hpa, atftp and curl, with size, block size, window and rollover"
size=$(stat -c %s "$scratch/http.kernel")
# with_atftp FILE OPTION...: gets the kernel; what was negotiated is in $scratch/trace.
with_atftp() {
  local file=$1 options=() option
  shift
  for option in "$@"; do options+=(--option "$option"); done
  on atftp --trace "${options[@]}" -g -r kernel -l "$file" $server >"$scratch/trace" 2>&1
  cmp "$file" "$scratch/http.kernel"
}
agreed() { grep -q "received OACK <.*$1[,>]" "$scratch/trace" || fail "not agreed: $1: $(grep OACK "$scratch/trace")"; }
on tftp -m binary $server -c get kernel "$scratch/hpa.kernel"
cmp "$scratch/hpa.kernel" "$scratch/http.kernel"
with_atftp "$scratch/size.kernel" "blksize 1024" "tsize 0"
agreed "blksize: 1024"
agreed "tsize: $size"
with_atftp "$scratch/window.kernel" "blksize 1400" "windowsize 16"
agreed "blksize: 1400"
agreed "windowsize: 16"
say "block numbers start again at 0 after 65535"
[ "$size" -gt $((66000 * 200)) ] || fail "the kernel is too small for a rollover: $size bytes"
with_atftp "$scratch/rollover.kernel" "blksize 200" "windowsize 8"
agreed "blksize: 200"
on curl -sSv --tftp-blksize 128 -o "$scratch/curl.kernel" "tftp://$server/kernel" 2>"$scratch/trace"
grep -q 'blksize parsed from OACK (128)' "$scratch/trace"
cmp "$scratch/curl.kernel" "$scratch/http.kernel"
on curl -sS -o "$scratch/start.ipxe" "tftp://$server/boot/pc-x86-64.ipxe"
head -n 1 "$scratch/start.ipxe" | grep >/dev/null '^#!ipxe'
expect_output "code 1: file not found" on tftp -m binary $server -c get nothing "$scratch/nothing"
status=0
on curl -s -o "$scratch/nothing" "tftp://$server/nothing" || status=$?
[ $status = 68 ] || fail "curl ended with $status instead of 68, file not found"

say "DNS"
[ "$(on dig +short @$server server.walt)" = $server ]
[ "$(on dig +short @$server "$name.walt")" = "$ip" ]
[ "$(on dig +short @$server -x "$ip")" = "$name.walt." ]
on dig +short @$server walt-server.walt | grep >/dev/null "^$server\$"

say "NFS: the tree a foreign client lists is the image"
url="nfs://$server/var/lib/walt/nodes/$ip/fs"
# Both lists are: mode, links, uid, gid, size, path. nfs-ls shows no setuid, setgid and sticky bits; links and
# size of a directory belong to the file system it lies on.
comparable() {
  sed -E 's/^([^ ]+) +([0-9]+) +([0-9]+) +([0-9]+) +([0-9]+) /\1 \2 \3 \4 \5 /
    s/^(...)s/\1x/; s/^(......)s/\1x/; s/^(.........)t/\1x/
    s/^(...)S/\1-/; s/^(......)S/\1-/; s/^(.........)T/\1-/
    s/^(d[^ ]+) [0-9]+ ([0-9]+ [0-9]+) [0-9]+ /\1 - \2 - /' | LC_ALL=C sort
}
platform-list-image "$image" . | comparable >"$scratch/image.list"
on nfs-ls -R "$url?version=3" | comparable >"$scratch/nfs.list"
[ "$(wc -l <"$scratch/nfs.list")" -gt 3000 ] || fail "only $(wc -l <"$scratch/nfs.list") entries"
# What the platform adds to every image.
added='usr/bin/(walt-[a-z-]+|_walt_internal_(/walt-[a-z-]+)?)|etc/(hosts|walt/server\.spec)|root/\.ssh/authorized_keys'
added+='|etc/(resolv\.conf(\.saved)?|dropbear(/dropbear_ecdsa_host_key)?|ssh/ssh_host_ecdsa_key(\.pub)?)'
LC_ALL=C comm -23 "$scratch/nfs.list" "$scratch/image.list" | grep -Ev "^([^ ]+ ){5}($added)\$" >"$scratch/more" || true
[ ! -s "$scratch/more" ] || fail "served and not in the image: $(head -n 20 "$scratch/more")"
LC_ALL=C comm -13 "$scratch/nfs.list" "$scratch/image.list" | grep -Ev '^([^ ]+ ){5}etc/(hosts|resolv\.conf)$' >"$scratch/less" || true
[ ! -s "$scratch/less" ] || fail "in the image and not served: $(head -n 20 "$scratch/less")"

say "NFS version 4: the same tree, at the end of a way that can be listed; /persist is for version 3"
on nfs-ls -R "$url?version=4" | comparable >"$scratch/nfs4.list"
cmp "$scratch/nfs4.list" "$scratch/nfs.list"
on nfs-cp "$url/boot/pc-x86-64/kernel?version=4" "$scratch/nfs4.kernel"
cmp "$scratch/nfs4.kernel" "$scratch/http.kernel"
expect_output ' var$' on nfs-ls "nfs://$server/?version=4"
expect_output " $name\$" on nfs-ls "nfs://$server/var/lib/walt/nodes?version=4"
expect_failure "NFS4ERR_NOENT" on nfs-ls "nfs://$server/var/lib/walt/nodes/$ip/persist?version=4"

say "NFS: contents; an image is for reading, /persist for writing too"
on nfs-cp "$url/boot/pc-x86-64/kernel?version=3" "$scratch/nfs.kernel"
cmp "$scratch/nfs.kernel" "$scratch/http.kernel"
expect_failure "read-?only|EROFS|ROFS" on nfs-cp "$scratch/start.ipxe" "$url/etc/motd?version=3"
persist="nfs://$server/var/lib/walt/nodes/$name/persist"
head -c 1000000 /dev/urandom >"$scratch/mine"
# What a node keeps outlives a run of this check: nfs-cp writes new files only.
copy=$persist/kept-$(date +%s%N)
on nfs-cp "$scratch/mine" "$copy?version=3"
on nfs-cp "$copy?version=3" "$scratch/kept"
cmp "$scratch/kept" "$scratch/mine"
for path in / /etc /var/lib/walt "/var/lib/walt/nodes/$ip" "/var/lib/walt/nodes/$ip/../.." /var/lib/walt/nodes/nobody/fs; do
  expect_failure "MNT3ERR" on nfs-ls "nfs://$server$path?version=3"
done
