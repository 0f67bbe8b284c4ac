#!/usr/bin/env bash
# The node agent on a real machine: it runs, it reads boot scripts as the loader does, and it does not kexec when that is not allowed.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
guest=board
mac=02:ac:3e:00:00:07

say "a machine of some maker becomes a node"
new_guest $guest --mac $mac -smp 2 -smbios type=1,manufacturer=ACME,product=Board
of_node() { walt node show --all --json | jq -er ".[] | select(.mac == \"$mac\") | $1"; }
eventually 300 of_node .name
node=$(of_node .name)
ip=$(of_node .ip)
walt node wait --timeout 600 "$node"
on_node() { walt node run "$node" "$@"; }
boot_id() { on_node cat /proc/sys/kernel/random/boot_id; }
logged() { walt log show --history -20m: --issuers "$node" --streams "^$1\$" --format '{line}' | grep -Eq "$2"; }
first_boot=$(boot_id)
first_words=$(on_node cat /proc/cmdline)

say "the agent of the image"
expect_output '^walt-node [0-9]' on_node walt-node --version
eventually 120 on_node systemctl is-active --quiet walt-logs
words=$(on_node walt-node boot-script /boot/pc-x86-64 "mac=$mac" "ip=$ip" "hostname=$node" \
  manufacturer=ACME product=Board | sed -n 's/^command line  //p')
[ "$words" = "$first_words" ] || fail "the loader gave '$first_words', the agent reads '$words' in the same scripts"

say "kexec is not allowed: it comes back and says why"
walt node config "$node" kexec.allow=false
expect_failure 'not allowed for this node' on_node walt-ipxe-kexec-reboot
eventually 60 logged walt-kexec 'Kexec is not allowed for this node'
walt node config "$node" kexec.allow=true
[ "$(boot_id)" = "$first_boot" ] || fail "it has rebooted"
