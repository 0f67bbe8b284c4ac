#!/usr/bin/env bash
# A node whose root is mounted by NFSv4, as that of published images, and which mounts others: what it sees is what it sees
# by NFSv3, and a killed server is a pause.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
node=four
image=$(id -un)/nfs4:latest
server=192.168.152.1
exports=/var/lib/walt/nodes
cache=nocto,acregmin=157680000,acregmax=157680000,acdirmin=157680000,acdirmax=157680000

on() { walt node run "$node" "$@"; }
of_node() { walt node show --all --json | jq -er --arg n "$node" ".[] | select(.name == \$n) | $1"; }
rounds() { on cat /run/loop/rounds; }
went_past() { [ "$(rounds)" -gt "$1" ]; }

say "an image whose initrd mounts its root by version 4"
platform-derive-image docker.io/waltplatform/pc-x86-64-default:latest "docker.io/$image" "$here/image.sh"
eventually 20 bash -c "walt image show --refresh --names-only | grep >/dev/null -x nfs4"
new_node "$node" --image nfs4
walt node config "$node" boot.timeout=none
walt node wait --timeout 500 "$node"
[ "$(of_node .image)" = "$image" ] || fail "the node is on $(of_node .image)"
on grep -E '^v4 ' /proc/fs/nfsfs/volumes || fail "its root is not on version 4: $(on cat /proc/fs/nfsfs/volumes)"
expect_output '^ *root ' walt node show --boot "$node"
boot_id=$(on cat /proc/sys/kernel/random/boot_id)

say "its root is an overlay that works for users who are not root, and /persist is there by version 3"
[ "$(on "su -s /bin/sh nobody -c 'id -un; head -n 1 /etc/os-release'" | wc -l)" = 2 ]
on 'echo more >>/etc/motd && chmod 640 /etc/motd && rm /usr/share/common-licenses/BSD'
on 'echo kept >/persist/four && grep -q kept /persist/four'

say "every spelling of the node, in every minor version, with the options of published images"
mac=$(of_node .mac)
ip=$(of_node .ip)
cat >"$scratch/mounts" <<SCRIPT
set -eu
modprobe nfsv4
for minor in 0 1 2; do
  for who in $mac ${mac//:/-} $ip $node; do
    place=/run/v4/\$minor/\$who
    mkdir -p "\$place"
    mount -t nfs4 -o ro,$cache,vers=4.\$minor,addr=$server $server:$exports/\$who/fs "\$place"
    cmp "\$place/etc/os-release" /etc/os-release
    if mount -t nfs4 -o ro,$cache,vers=4.\$minor,addr=$server $server:$exports/\$who/persist /mnt 2>/run/told; then
      echo "persist of \$who was mounted by version 4.\$minor" && exit 1
    fi
    grep -Eq 'No such file|does not exist' /run/told || { cat /run/told && exit 1; }
  done
done
mkdir -p /run/v3 /run/all /run/rw
mount -t nfs -o ro,vers=3,nolock,$cache,addr=$server $server:$exports/$ip/fs /run/v3
mount -t nfs4 -o ro,vers=4.1,addr=$server $server:/ /run/all
mount -t nfs4 -o rw,vers=4.1,addr=$server $server:$exports/$node/fs /run/rw
SCRIPT
walt node cp "$scratch/mounts" "$node:/run/mounts"
on sh /run/mounts

say "the same tree as by version 3: names, kinds, modes, links, owners, sizes, times, targets, contents"
cat >"$scratch/compare" <<SCRIPT
tree() { cd "\$1" && find etc usr/bin usr/lib/x86_64-linux-gnu var/lib -printf '%p %y %m %n %U %G %s %T@ %i %l\n' | LC_ALL=C sort; }
contents() { cd "\$1/usr/bin" && cksum [a-d]*; }
for place in v3 v4/0/$ip v4/1/$node; do
  (tree "/run/\$place") >"/run/tree.\${place##*/}"
  (contents "/run/\$place") >"/run/contents.\${place##*/}"
done
for place in $ip $node; do
  diff /run/tree.v3 "/run/tree.\$place" | head && cmp /run/tree.v3 "/run/tree.\$place" || exit 1
  cmp /run/contents.v3 "/run/contents.\$place" || exit 1
done
wc -l </run/tree.v3
SCRIPT
walt node cp "$scratch/compare" "$node:/run/compare"
count=$(on sh /run/compare | tail -n 1)
[ "$count" -gt 2500 ] || fail "only $count entries"
expect_output '^-rws' on "ls -l /run/v4/1/$ip/usr/bin/su"

say "the way there can be listed"
[ "$(on ls /run/all)" = var ]
for who in "$mac" "${mac//:/-}" "$ip" "$node"; do
  on ls /run/all/var/lib/walt/nodes | grep >/dev/null -x -- "$who" || fail "$who is not listed"
done
[ "$(on ls "/run/all$exports/$node")" = fs ]
on cmp "/run/all$exports/$node/fs/etc/os-release" /etc/os-release
expect_failure "no such file" on ls "/run/all$exports/nobody"
expect_failure "no such file" on ls "/run/all$exports/$node/persist"

say "nothing can be written, locks for reading can be had"
for change in 'touch etc/new' 'rm etc/os-release' 'mkdir new' 'chmod 777 etc' 'ln etc/motd etc/motd2' 'mv etc tce' 'sh -c "echo x >>etc/motd"'; do
  expect_failure "read-only file system" on "cd /run/rw && $change"
done
on flock -s -w 5 "/run/v4/0/$ip/etc/os-release" true
on flock -s -w 5 "/run/v4/1/$ip/etc/os-release" true

say "an overlay over version 4.1, used by somebody who is not root"
on 'mkdir -p /run/over/up /run/over/work /run/over/all && chmod 755 /run/over /run/over/*'
on "mount -t overlay -o lowerdir=/run/v4/1/$ip,upperdir=/run/over/up,workdir=/run/over/work overlay /run/over/all"
expect_output '^nobody$' on "chroot /run/over/all su -s /bin/sh nobody -c 'id -un && cat /etc/os-release && ls -l /usr/bin'"
expect_failure "permission denied" on "chroot /run/over/all su -s /bin/sh nobody -c 'cat /etc/shadow'"
on 'echo more >>/run/over/all/etc/os-release && chown nobody /run/over/all/etc/os-release'

say "a loop reads, runs and lists by 4.0, 4.1 and its own root while the server is killed"
walt node cp "$here/loop.sh" "$node:/run/loop.sh"
on "setsid sh /run/loop.sh /run/v4/0/$node /run/v4/1/$node / </dev/null >/run/loop.out 2>&1 &"
eventually 60 on test -s /run/loop/rounds
for kill in 1 2; do
  say "kill -9, number $kill"
  platform-kill-server
  eventually 60 walt node show
  before=$(rounds)
  eventually 120 went_past $((before + 3))
done
on touch /run/loop/stop
eventually 60 bash -c "! walt node run $node pgrep -f /run/loop.sh"
on test ! -e /run/loop/errors || fail "the loop saw errors: $(on cat /run/loop/errors)"
[ -z "$(on cat /run/loop.out)" ] || fail "the loop printed: $(on cat /run/loop.out)"
say "$(rounds) rounds without an error"
[ "$(on cat /proc/sys/kernel/random/boot_id)" = "$boot_id" ] || fail "the node has rebooted"
