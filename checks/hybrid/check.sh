#!/usr/bin/env bash
# A virtual node with a disk: the image is copied there, the next boot is local, another image comes, power is cut.
# timeout: 1500
# variant: MODE=volatile
# variant: MODE=persistent
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
node=disk-$MODE
disk=/run/walt/rootfs/mnt/hm_part
owner=$(id -un)

# copies N: the node said N times that it copies its image.
copies() {
  local said
  said=$(walt log show --history -30m: --issuers "$node" --streams walt-init | grep -c 'Hybrid-mode: copying image files locally')
  [ "$said" = "$1" ]
}

# init_said PATTERN: its init wrote such a line in the logs.
init_said() {
  walt log show --history -30m: --issuers "$node" --streams walt-init | grep -E -- "$1" >/dev/null
}

booted_in() {
  walt node wait --timeout 600 "$node"
  expect_output "walt_boot_mode=$1\$" walt node run "$node" tail -n 1 /bin/walt-env
}

say "two images with few files: what is copied is read file by file"
cat >"$scratch/slim" <<'END'
#!/bin/sh
set -eu
cd "$1"
rm -rf usr/share/doc usr/share/perl usr/share/zoneinfo/* usr/share/bash-completion usr/lib/udev/hwdb* var/lib/dpkg/info \
  var/cache/* usr/share/common-licenses etc/ssl/certs usr/share/ca-certificates
find usr/lib/modules -name '*.ko' | grep -Ev '/(scsi|virtio|ext4|jbd2|overlayfs|nfs|nfs_common|lockd|sunrpc|crypto|lib|block|cdrom)/|/(mbcache|netfs|fscache|virtio_net)\.ko$' |
  xargs rm -f
END
chmod +x "$scratch/slim"
platform-derive-image docker.io/waltplatform/pc-x86-64-default:latest "docker.io/$owner/disk-$MODE:latest" "$scratch/slim"
eventually 20 bash -c "walt image show --json | grep disk-$MODE"

say "a node with a disk, which is there from the next boot on"
new_node "$node" --image "disk-$MODE"
walt node config "$node" "disks=1G[template=hybrid-boot-${MODE:0:1}]" boot.timeout=600 ram=600M cpu.cores=2 mount.persist=false
walt node reboot --hard "$node"

if [ "$MODE" = volatile ]; then
  say "power cut in the middle of the copy"
  eventually 300 copies 1
  sleep 3
  walt node reboot --hard "$node"
  eventually 300 copies 2
  expected=2
else
  expected=1
fi

say "first boot: the image is copied"
booted_in "hybrid-$MODE"
copies "$expected"
cat >"$scratch/first" <<END
set -e
cd $disk/walt_hybrid
test "\$(ls)" = "\$(sed -n "s/^export walt_image_id='\\(.*\\)'/\\1/p" /bin/walt-env)"
cd "\$(ls)"
test -d image/usr && test ! -e image.part && test -d diff && test -d local && test -d work
test "\$(nproc)" = 2
awk '/MemTotal/ { exit !(\$2 > 400000 && \$2 < 614400) }' /proc/meminfo
grep -q QEMU-DISK /sys/block/sda/device/model
! grep -q ' /persist ' /proc/mounts || exit 1
grep -q ' /local ' /proc/mounts
grep -q "^walt-overlay / overlay .*upperdir=[^,]*/walt_hybrid/" /proc/mounts
END
[ "$MODE" = persistent ] || echo "dmesg | grep >/dev/null 'sda1.*recovery complete'" >>"$scratch/first"
walt node run "$node" sh -x <"$scratch/first"

say "the copy has the owners, modes and sizes of the image"
walt node run "$node" "cd $disk/walt_hybrid/*/image/usr/bin && find . -printf '%m %U %G %y %p\n' | sort" >"$scratch/copied"
walt node run "$node" "cd /run/walt/rootfs/mnt/nfsroot/usr/bin && find . -printf '%m %U %G %y %p\n' | sort" >"$scratch/image"
grep -q '^4755 0 0 f ./su$' "$scratch/copied"
diff "$scratch/image" "$scratch/copied"

say "what node save would take"
walt node run "$node" 'echo changed >/root/changed; echo mine >/local/mine; echo x >/tmp/x; sync'
walt node run "$node" /bin/_walt_internal_/walt-dump-diff-tar | tar t >"$scratch/diff.list"
grep -qx './root/changed' "$scratch/diff.list"
grep -qx './local/mine' "$scratch/diff.list"
! grep -E 'walt-env|_walt_internal_|machine-id' "$scratch/diff.list" || fail "files of the server are taken"
if [ "$MODE" = volatile ]; then
  ! grep -E 'usr/bin/walt-' "$scratch/diff.list" || fail "tools of the server are taken"
fi

say "node save: the changes of the disk, and /local"
walt node save "$node" "kept-$MODE" >"$scratch/saved"
grep -qx OK "$scratch/saved"
# shellcheck disable=SC2016
platform-in-image "$owner/kept-$MODE" sh -ec 'test "$(cat root/changed)" = changed && test "$(cat local/mine)" = mine
  test ! -e bin/walt-env && test -x usr/bin/tar'

say "second boot: local"
expect_output "rebooted ok" walt node reboot "$node"
booted_in "hybrid-$MODE"
copies "$expected"
if [ "$MODE" = volatile ]; then
  walt node run "$node" 'test ! -e /root/changed && test ! -e /local/mine'
else
  expect_output '^changed$' walt node run "$node" cat /root/changed
  expect_output '^mine$' walt node run "$node" cat /local/mine
  walt node run "$node" test ! -e /tmp/x
fi

say "another image"
platform-derive-image "docker.io/$owner/disk-$MODE:latest" "docker.io/$owner/second-$MODE:latest"
eventually 20 bash -c "walt image show --json | grep second-$MODE"
# Room for one image when the other one is deleted, or for none: twice the size of the image is wanted.
filler=$((880 - $(walt node run "$node" sh -c "'. /bin/walt-env; echo \$((walt_image_size_kib / 512))'")))
[ "$MODE" = volatile ] || filler=$((filler + 150))
walt node run "$node" "fallocate -l ${filler}M $disk/filler && sync && df -m $disk"
walt node boot "$node" "second-$MODE"
if [ "$MODE" = volatile ]; then
  booted_in hybrid-volatile
  copies 3
  init_said 'removing the local copy of image [0-9a-f]{64} to make room'
  walt node run "$node" "test -e /etc/walt-variant && test \$(ls $disk/walt_hybrid | wc -l) = 1"
  exit
fi
booted_in network
init_said 'not enough room for copying new image!'
walt node run "$node" test -e /etc/walt-variant

say "a file system that cannot be mounted is left alone"
walt node run "$node" "printf '\377\377\377\377' | dd of=/dev/sda1 bs=1 seek=1024 conv=notrunc 2>/dev/null && sync"
walt node reboot --hard "$node"
booted_in network
init_said 'sda1: not ext4-mountable'
