#!/usr/bin/env bash
# A real machine (no "QEMU" in its firmware, a wrong clock) becomes a node: clock, hooks, net service, and what its image asks of
# the server.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1
machine=acme

say "a machine tells once that it is a node: it gets the default image"
new_machine $machine
mac=$(ip netns exec $machine cat /sys/class/net/eth0/address)
printf '#!/bin/sh\nexit 0\n' >"$scratch/udhcpc-script"
chmod +x "$scratch/udhcpc-script"
ip netns exec $machine udhcpc -f -q -n -i eth0 -V walt.node.pc-x86-64 -s "$scratch/udhcpc-script"
of_node() { walt node show --all --json | jq -er ".[] | select(.mac == \"$mac\") | $1"; }
eventually 120 of_node .image
node=$(of_node .name)
ip=$(of_node .ip)
first=$(of_node .image)
platform-unplug $machine
machines=()

say "$node gets an image with every hook there is"
image=$(id -un)/physical:latest
platform-derive-image "docker.io/$first" "docker.io/$image" "$here/image.sh"
image_id() { walt image show --all --json | jq -er --arg n "$image" '.[] | select(.full_name == $n) | .id'; }
eventually 20 image_id
# It is off: it cannot be told to reboot, and takes the image when it is switched on.
walt node boot "$node" physical || true
[ "$(of_node .image)" = "$image" ] || fail "it is on $(of_node .image)"

say "it is switched on; its clock says 2001"
new_guest $machine -smbios type=1,manufacturer=ACME,product=Board -rtc base=2001-01-01
walt node wait --timeout 500 "$node"
on_node() { walt node run "$node" "$@"; }
boot_id() { on_node cat /proc/sys/kernel/random/boot_id; }
first_boot=$(boot_id)
expect_output "^ACME\$" on_node cat /sys/class/dmi/id/sys_vendor

say "clock"
expect_output "^2001\$" on_node cat /run/preinit-year
before=$(date +%s)
there=$(on_node date +%s)
((there >= before - 2 && there <= $(date +%s) + 2)) || fail "the node says $there, it was $before here"

say "what the image asked of the server"
[ "$(on_node cat /etc/all-keys | head -n 2 | tr '\n' ' ')" = "$server $(walt device show --json | jq -r '.[] | select(.type == "server") | .mac') " ]
[ "$(on_node sed -n 3,7p /etc/all-keys | tr '\n' ' ')" = "12345 12347 12347 12346 $(image_id) " ]
expect_output '^[1-9][0-9]{4,}$' on_node sed -n 8p /etc/all-keys
expect_output '^100%$' on_node sed -n 9p /etc/all-keys
[ "$(on_node cat /etc/strays)" = "50% off
%(nothing)s $server %d" ] || fail "strays: $(on_node cat /etc/strays)"
[ "$(on_node cat /etc/features-enabled)" = "ptp ran as 0 in /" ] || fail "features: $(on_node cat /etc/features-enabled)"
expect_output "^stray\$" on_node cat /etc/stray-feature
[ ! -e /etc/stray-feature ] || fail "a feature command has written on the server"
expect_output "^ptpengine:ip_mode=hybrid\$" on_node cat /etc/ptpd.conf
expect_output "^ptpengine:log_delayreq_interval=3\$" on_node cat /etc/ptpd.conf
expect_output "^# precise time\$" on_node cat /etc/ptpd.conf
expect_output 'ptp' on_node cat /etc/walt/server.spec
expect_output "^nameserver $server\$" on_node cat /etc/resolv.conf
expect_output "^ff02::2 +ip6-allrouters\$" on_node cat /etc/hosts
expect_output "^$node\$" on_node hostname
on_node test ! -e /etc/hostname
zone=$(readlink /etc/localtime || true)
if [ -e "/usr/share/zoneinfo/${zone#*zoneinfo/}" ]; then
  expect_output "/${zone#*zoneinfo/}\$" on_node readlink /etc/localtime
fi

say "hooks of the boot"
on_node test -s /run/on-bootup
logged() { walt log show --history -20m: --issuers "$node" --streams '^hooks$' --format '{line}' | grep >/dev/null -x "$1"; }
eventually 20 logged "on-bootup ran in mode network"

say "the net service, row by row"
ask() { platform-inside python3 "$here/ask.py" "$ip" "$@"; }
# Command substitution drops the last line break: compared with it.
answers() {
  local got wanted
  wanted=$(printf '%b.' "$1")
  shift
  got=$(ask "$@" && echo .)
  [ "$got" = "$wanted" ] || fail "$* was answered '${got%.}'"
}
start='KO Start by specifying "MODE [single|multi]". Closing on my side.\n'
answers 'OK\n' 'MODE single\nPING\n'
answers 'OK\n' 'MODE single\r\nPING\r\n'
answers 'OK\n' 'MODE single\nPING\nPING\n'
answers 'OK\nOK\nOK Closing on my side.\n' 'MODE multi\n' 'PING\nNONSENSE\nPING\n' 'CLOSE\n'
answers "$start" 'PING\n'
answers "$start" 'MODE other\nPING\n'
answers '' 'MODE single\nNONSENSE\n'
answers '' '\n'
answers 'OK\n' 'MODE single\nBLINK 1\n'
answers 'OK\n' 'MODE single\nBLINK 0\n'
answers 'KO /bin/blink returned a non-zero error code\n' 'MODE single\nBLINK 7\n'
eventually 20 logged "blink was told 1"
ask 'MODE single\nDMESG\n' >"$scratch/dmesg"
[ "$(head -n 2 "$scratch/dmesg")" = "OK" ] || fail "DMESG: $(head -n 3 "$scratch/dmesg")"
grep -q "Linux version" "$scratch/dmesg" || fail "no kernel message: $(head -n 5 "$scratch/dmesg")"
ask 'MODE single\nSHELL\n' 'echo $((6 * 7)) from the shell\n' 'exit\n' >"$scratch/shell"
[ "$(head -n 2 "$scratch/shell")" = "OK" ] || fail "SHELL: $(cat "$scratch/shell")"
grep -q "42 from the shell" "$scratch/shell" || fail "SHELL: $(cat "$scratch/shell")"
[[ $(tail -n 1 "$scratch/shell") == *END-OF-SHELL ]] || fail "SHELL: $(cat "$scratch/shell")"
answers 'TIMEOUT Closing on my side.\n' 'MODE multi\n'

say "hooks that are not executable"
on_node chmod a-x /bin/blink /bin/walt-network-reboot
answers 'KO /bin/blink unavailable or not executable on image\n' 'MODE single\nBLINK 1\n'
answers 'KO walt-network-reboot is not executable on image\n' 'MODE single\nREBOOT\n'
expect_failure "walt-network-reboot is not executable on image" walt node reboot "$node"
[ "$(boot_id)" = "$first_boot" ] || fail "it has rebooted"
on_node chmod a+x /bin/blink /bin/walt-network-reboot

say "the server reboots it: its hook runs"
expect_output "^Node $node: rebooted ok\.\$" walt node reboot "$node"
eventually 30 logged "walt-network-reboot ran in mode network"
walt node wait --timeout 500 "$node"
[ "$(boot_id)" != "$first_boot" ] || fail "it has not rebooted"
