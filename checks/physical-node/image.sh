#!/bin/sh
# Changes an image (its folder is $1): everything an image may ask of the server, and every hook.
set -eu
root=$1
hook() {
  # It may be a link to a program of the image, or of this machine.
  rm -f "$root/$1"
  cat >"$root/$1"
  chmod 755 "$root/$1"
}
hook bin/walt-preinit <<'HOOK'
#!/bin/busybox sh
busybox date +%Y >/run/preinit-year
HOOK
hook bin/on-bootup <<'HOOK'
#!/bin/sh
# Asked for by the check: a bootup hook that fails is a reboot.
date +%s >/run/on-bootup
walt-log-echo hooks "on-bootup ran in mode ${walt_boot_mode:-unknown}"
HOOK
hook bin/blink <<'HOOK'
#!/bin/sh
walt-log-echo hooks "blink was told $1"
[ "$1" != 7 ]
HOOK
# Ends with an error: the node reboots at once, not after the 30 seconds a hook has that says it did it.
hook bin/walt-network-reboot <<'HOOK'
#!/bin/sh
walt-log-echo hooks "walt-network-reboot ran in mode ${walt_boot_mode:-unknown}"
exit 1
HOOK
hook sbin/feature <<'HOOK'
#!/bin/sh
echo "$* ran as $(id -u) in $(pwd)" >>/etc/features-enabled
echo stray >/../../../../../etc/stray-feature
if ip -o link 2>/dev/null | grep >/dev/null -v ' lo:'; then echo network >>/etc/features-enabled; fi
exit 3
HOOK
cat >"$root/etc/walt/image.spec" <<'SPEC'
# JSON, or YAML
features:
  ptp: /sbin/feature ptp          # the server has it
  nbfs2: /sbin/feature nbfs2      # the server has it not
templates: [ /etc/all-keys, /etc/no-such-file, /etc/strays, /etc/link-out, /etc/loop ]
SPEC
cat >"$root/etc/all-keys" <<'TEMPLATE'
%(server_ip)s
%(server_mac)s
%(walt_server_rpc_port)s
%(walt_server_logs_port)s
%(walt_server_notify_bootup_port)s
%(walt_node_net_service_port)s
%(walt_image_id)s
%(walt_image_size_kib)s
100%%
TEMPLATE
printf '50%% off\n%%(nothing)s %%(server_ip)s %%d\n' >"$root/etc/strays"
ln -s ../../../../../../etc/hostname "$root/etc/link-out"
ln -s loop "$root/etc/loop"
printf '# precise time\n\nptpengine:interface=eth0\nptpengine:ip_mode = multicast\n' >"$root/etc/ptpd.conf"
echo stale >"$root/etc/hostname"
# What is emulated is slow all the same: its kernel gets what the image gives to virtual nodes.
cp -r "$root/boot/pc-x86-64/QEMU" "$root/boot/pc-x86-64/ACME"
# The zone of the machine of the server, if it has one.
if zone=$(readlink /etc/localtime) && zone=${zone#*zoneinfo/} && [ -f "/usr/share/zoneinfo/$zone" ]; then
  mkdir -p "$root/usr/share/zoneinfo/${zone%/*}"
  cp -L "/usr/share/zoneinfo/$zone" "$root/usr/share/zoneinfo/$zone"
  rm -f "$root/etc/localtime"
fi
