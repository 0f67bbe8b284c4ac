#!/usr/bin/env bash
# The node agent on a real machine: what a device on its serial port says is logged, and it reboots without its firmware.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
guest=board
mac=02:ac:3e:00:00:07
device=$scratch/device

say "a machine of some maker, with a device on its second serial port, becomes a node"
new_guest $guest --mac $mac -smp 2 -smbios type=1,manufacturer=ACME,product=Board \
  -chardev "file,id=firmware,path=$scratch/firmware" -device isa-debugcon,iobase=0x402,chardev=firmware \
  -chardev "socket,id=device,path=$device,server=on,wait=off" -serial chardev:device
of_node() { walt node show --all --json | jq -er ".[] | select(.mac == \"$mac\") | $1"; }
eventually 300 of_node .name
node=$(of_node .name)
ip=$(of_node .ip)
walt node wait --timeout 600 "$node"
on_node() { walt node run "$node" "$@"; }
boot_id() { on_node cat /proc/sys/kernel/random/boot_id; }
# SeaBIOS says this when it starts, on the port of its messages.
firmware_starts() { grep -ac '^SeaBIOS (version' "$scratch/firmware"; }
logged() { walt log show --history -20m: --issuers "$node" --streams "^$1\$" --format '{line}' | grep >/dev/null -E "$2"; }
first_boot=$(boot_id)
first_words=$(on_node cat /proc/cmdline)
starts=$(firmware_starts)

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

say "a soft reboot goes over to the new kernel, without the firmware"
[ "$(boot_id)" = "$first_boot" ] || fail "it has rebooted"
expect_output "^Node $node: rebooted ok\.\$" walt node reboot "$node"
started=$SECONDS
walt node wait --timeout 600 "$node"
say "ready again after $((SECONDS - started)) s"
[ "$(boot_id)" != "$first_boot" ] || fail "it has not rebooted"
[ "$(firmware_starts)" = "$starts" ] || fail "the firmware started again"
[ "$(on_node cat /proc/cmdline)" = "$first_words" ] || fail "the new kernel was told: $(on_node cat /proc/cmdline)"
logged walt-kexec '^Going over to the kernel of the current image' || fail "the tool has not said that it goes over"
walt node show --boot "$node" | tee "$scratch/boot"

say "a light: that of the keyboard, where there is one"
ask() { platform-inside python3 "$here/../physical-node/ask.py" "$ip" "$@"; }
if on_node 'ls -d /sys/class/leds/*' >/dev/null 2>&1; then
  expect_output '^OK$' ask 'MODE single\nBLINK 1\n'
  sleep 1
  expect_output '^OK$' ask 'MODE single\nBLINK 0\n'
else
  expect_output '^KO /bin/blink returned a non-zero error code' ask 'MODE single\nBLINK 1\n'
  eventually 60 logged walt-blink 'has no light'
fi

say "a device on its serial port"
on_node systemd-run --quiet --unit=autolog walt-serial-autolog /dev/ttyS1
eventually 60 on_node test -e /var/log/walt/autolog/dev/ttyS1/out.log
(
  printf '%s\r\n' 'noise' ';T:early' 'LOGSTART board' 'LOGDEF vizwalt ;T: : {nodeid}:TxStart:{}' 'LOGVAR nodeid af4e' ';T:aabb'
  sleep 2
  printf '%s\r\n' ';T:last'
  sleep 2
) | socat -u - "UNIX-CONNECT:$device"
eventually 60 logged vizwalt '^af4e:TxStart:last$'
logged vizwalt '^af4e:TxStart:aabb$' || fail "a line of the device is lost"
! logged vizwalt 'early' || fail "a line before LOGSTART was logged"
