#!/usr/bin/env bash
# Settings of nodes: what is shown, accepted, refused, kept and told. (Their effects inside a node: check hybrid.)
# timeout: 300
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
node=set-node
other=set-other

# value NODE SETTING: as shown.
value() { walt node config "$1" | sed -n "s/^$2=//p"; }

# refused PATTERN ARGUMENTS...: refused with these words, and nothing is changed.
refused() {
  local pattern=$1
  shift
  expect_failure "$pattern" walt node config "$node" "$@"
  [ "$(walt node config "$node")" = "$before" ] || fail "a refused change changed something: $*"
}

say "a new node has the defaults"
new_node "$node" --ram 256M --cpu-cores 1 --disks 2G
new_node "$other" --ram 256M --cpu-cores 1 --disks 2G
walt node config "$node" | tee "$scratch/shown"
grep -qx "Virtual node $node has the following config applied:" "$scratch/shown"
for line in boot.delay=0 boot.retries=9 boot.timeout=180 cpu.cores=1 disks=2G kexec.allow=true mount.persist=true \
  netsetup=LAN networks=walt-net ram=256M; do
  grep -qx -- "$line" "$scratch/shown" || fail "$line is not shown"
done
expect_output "^Virtual nodes $node and $other have the following config applied:\$" walt node config "$other,$node"

say "good values, in the words of their kind"
while read -r setting shown hint; do
  expect_output "^$hint\$" walt node config "$node" "$setting"
  [ "$(value "$node" "${setting%%=*}")" = "$shown" ] || fail "$setting is shown as $(value "$node" "${setting%%=*}")"
done <<'END'
boot.delay=random random Done. Reboot node\(s\) to see new settings in effect.
boot.delay=5 5 Done. Reboot node\(s\) to see new settings in effect.
boot.retries=0 0 Done.
boot.timeout=none none Done.
boot.timeout=60 60 Done.
cpu.cores=2 2 Done. Reboot node\(s\) to see new settings in effect.
disks=none none Done. Reboot node\(s\) to see new settings in effect.
disks=1G[template=fat32],2G 1G[template=fat32],2G Done. Reboot node\(s\) to see new settings in effect.
kexec.allow=FALSE false Done.
mount.persist=False false Done. Reboot node\(s\) to see new settings in effect.
netsetup=lan LAN Done. Reboot node\(s\) to see new settings in effect.
networks=walt-net walt-net Done. Reboot node\(s\) to see new settings in effect.
ram=1G 1G Done. Reboot node\(s\) to see new settings in effect.
END
expect_output "^Virtual node $node has" walt node config "$node,$other"
expect_output "^Virtual node $other has" walt node config "$node,$other"

say "what programs and nodes are told: only what was set, with its type"
walt node config "$node" boot.timeout=none
walt node config --json "$node" >"$scratch/json"
jq -e '.[0].set | .["boot.timeout"] == null and has("boot.timeout") and .["kexec.allow"] == false and .["cpu.cores"] == 2
  and .ram == "1G" and .netsetup == 0' "$scratch/json" >/dev/null
jq -e '.[0].category == "virtual node" and .[0].settings.netsetup == "LAN"' "$scratch/json" >/dev/null
walt node config --json "$other" | jq -e '.[0].set | keys == ["cpu.cores", "disks", "ram"]' >/dev/null

say "bad ones: nothing is changed, not even what was good beside them"
before=$(walt node config "$node")
refused "Unknown setting 'rom'" rom=1G
refused "walt help show node-config" rom=1G
refused "of the form <setting name>=<setting value>" ram
refused "given twice" ram=1G ram=2G
refused "Failed: '65G' is not a value of setting 'ram'" cpu.cores=1 ram=65G
refused "e\.g\. 512M or 1G" ram=512
refused "from 1 to 64" cpu.cores=0
refused "true or false" kexec.allow=yes
refused "at least 60" boot.timeout=59
refused "from 0" boot.retries=-1
refused "at most 3600" boot.delay=3601
refused "1G to 2T" disks=3T
refused "one of none, ext4, fat32, hybrid-boot-v, hybrid-boot-p" 'disks=8G[template=ntfs]'
refused "list of sizes" disks=8
refused "at most 8 disks" disks=1G,1G,1G,1G,1G,1G,1G,1G,1G
refused "GB are free on the server" disks=2T,2T,2T,2T,2T,2T,2T,2T
refused "NAT is not there yet" netsetup=NAT
refused "LAN or NAT" netsetup=WAN
refused "not there yet" networks=walt-net,home
refused "walt-net must be one of them" networks=home
refused "not there yet" expose=80:8080
expect_failure "No device with name 'nobody'" walt node config "$node,nobody" ram=2G
[ "$(walt node config "$node")" = "$before" ]

say "settings of devices"
server=$(walt device show --json | jq -r '.[] | select(.type == "server").name')
expect_output "^Server has no config option available\.\$" walt device config "$server"
expect_failure "not a node" walt node config "$server"
expect_failure "device $server is not a virtual node, so setting 'ram' cannot be applied" \
  walt device config "$node,$server" ram=2G
[ "$(walt device config "$node")" = "$before" ]

say "completion"
expect_output '^kexec\.allow=' walt __complete node config "$node" k
[ -z "$(walt __complete node config "$node" ram=)" ]
[ -z "$(walt __complete device config "$server" r)" ]

say "several nodes at once; a restart of the server forgets nothing"
walt node config "$node,$other" ram=300M boot.retries=3 kexec.allow=true
before=$(walt node config "$node,$other")
platform-kill-server
eventually 60 walt node show
[ "$(walt node config "$node,$other")" = "$before" ] || fail "settings were forgotten"
[ "$(value "$other" ram)" = 300M ]

say "nodes of another user are shown, and changed after a question"
chmod 755 "$scratch"
cp "$(command -v walt)" "$scratch/walt"
as_other() { (cd / && setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$scratch/walt" "$@"); }
expect_output "^ram=300M\$" as_other node config "$node"
printf 'n\n' | expect_failure "seems to be used by another user" as_other node config "$node" boot.retries=4
[ "$(value "$node" boot.retries)" = 3 ]
printf 'y\n' | as_other node config "$node" boot.retries=4
[ "$(value "$node" boot.retries)" = 4 ]
