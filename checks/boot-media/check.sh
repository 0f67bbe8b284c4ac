#!/usr/bin/env bash
# The boot media: the same each time, well formed, and machines that know nothing of networks become nodes with them.
# timeout: 900
# needs: debian
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
media=$WALT_CHECK_REPOSITORY/images/boot-media
u_boot=/usr/lib/u-boot

say "each medium made twice is the same, whatever the clock and the umask"
twice() {
  local name=$1 first second
  shift
  first=$("$@" --out "$scratch/$name.img" | cut -d ' ' -f 1)
  second=$(umask 077 && "$@" --out "$scratch/again.img" | cut -d ' ' -f 1)
  [[ $first =~ ^[0-9a-f]{64}$ ]] || fail "$name: not a checksum: $first"
  [ "$first" = "$second" ] || fail "$name: the same inputs gave $first and $second"
  [ "$first" = "$(sha256sum <"$scratch/$name.img" | cut -d ' ' -f 1)" ] || fail "$name: not its checksum: $first"
}
"$media/fetch.sh"
twice pc-usb "$media/pc-usb.sh"
twice rpi-sd "$media/rpi-sd.sh"
"$media/rpi-sd.sh" --bits 64 --out "$scratch/rpi-sd-64.img" >/dev/null
"$media/rpi-firmware.sh" "$scratch/tree" >/dev/null
diff -r "$scratch/tree" "$WALT_CHECK_STATE/tftp-static"

say "what is missing is named, and nothing is left half made"
mkdir "$scratch/none"
expect_failure 'missing input: iPXE for BIOS' "$media/pc-usb.sh" --out "$scratch/none/x.img" --ipxe-lkrn "$scratch/no"
expect_failure 'another with --ipxe-lkrn' "$media/pc-usb.sh" --out "$scratch/none/x.img" --ipxe-lkrn "$scratch/no"
expect_failure 'looks for no autoexec.ipxe' "$media/pc-usb.sh" --out "$scratch/none/x.img" --ipxe-efi /usr/lib/ipxe/ipxe.efi
expect_failure 'missing input: U-Boot \(rpi\)' "$media/rpi-sd.sh" --out "$scratch/none/x.img" --u-boot "$scratch/no"
expect_failure 'holds something else' "$media/rpi-firmware.sh" "$WALT_CHECK_STATE"
expect_failure 'not a model' "$media/rpi-sd.sh" --out "$scratch/none/x.img" --model 'a; reset'
[ -z "$(ls -A "$scratch/none")" ] || fail "left behind: $(ls -A "$scratch/none")"

say "partitions, file systems and files are as they should be"
expect_output 'No problems found' sgdisk -v "$scratch/pc-usb.img"
expect_output 'Attribute flags: 0000000000000004' sgdisk -i 1 "$scratch/pc-usb.img"
[ "$(od -An -tx1 -j 446 -N 12 "$scratch/rpi-sd.img" | tr -d ' ')" = 80feffff0cfeffff00080000 ] || fail "wrong MBR"
for name in pc-usb rpi-sd; do
  tail -c +1048577 "$scratch/$name.img" >"$scratch/fat"
  [ "$name" = rpi-sd ] || truncate -s 48M "$scratch/fat"
  fsck.fat -n "$scratch/fat" >"$scratch/fsck"
  [ "$(wc -l <"$scratch/fsck")" = 2 ] || fail "$name: $(cat "$scratch/fsck")"
  mdir -a -/ -b -i "$scratch/fat" | sed 's,^::/,,' | LC_ALL=C sort | diff "$here/$name.list" -
done

say "a Raspberry Pi 3B: U-Boot finds the script of the card, and it knows the model"
mcopy -n -i "$scratch/rpi-sd-64.img@@1M" ::u-boot-rpi-3-b-64b.img ::bcm2837-rpi-3-b.dtb "$scratch/"
timeout 120 qemu-system-aarch64 -M raspi3b -accel tcg,thread=multi -display none -serial null -no-reboot \
  -serial "file:$scratch/pi.log" -kernel "$scratch/u-boot-rpi-3-b-64b.img" -dtb "$scratch/bcm2837-rpi-3-b.dtb" \
  -drive "if=sd,format=raw,snapshot=on,file=$scratch/rpi-sd-64.img" </dev/null &
pi=$!

say "meanwhile PCs without network boot: by BIOS to a node that is driven, by UEFI to the node's kernel"
# pc NAME MAC OPTION...: the network card has no boot program.
pc() {
  local name=$1 mac=$2
  shift 2
  new_guest "$name" --mac "$mac" --nic virtio-net-pci,romfile= \
    -drive "if=none,id=stick,format=raw,readonly=on,file=$scratch/pc-usb.img" \
    -device qemu-xhci -device usb-storage,drive=stick,bootindex=0,removable=on "$@"
}
nodes+=(node-b00701 node-b00702)
is_node() { walt node show --all | grep >/dev/null "^$1 "; }
pc stick-bios 02:00:00:b0:07:01
eventually 240 is_node node-b00701
walt node wait --timeout 420 node-b00701
expect_output '^node-b00701 +physical +pc-x86-64 .* yes *$' walt node show --all
walt node run node-b00701 test ! -d /sys/firmware/efi
platform-unguest stick-bios

wait "$pi" || fail "the board did not start again: $(tail -n 5 "$scratch/pi.log")"
for line in 'Found U-Boot script /boot.scr.uimg' 'WalT: DHCP as walt.node.rpi-3-b, then start.uboot' 'resetting'; do
  grep -aq -- "$line" "$scratch/pi.log" || fail "the board did not say: $line"
done

cp /usr/share/OVMF/OVMF_VARS_4M.fd "$scratch/vars"
pc stick-uefi 02:00:00:b0:07:02 -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n \
  -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
  -drive "if=pflash,format=raw,file=$scratch/vars"
# The program of the stick, then the node's kernel.
guest_says 240 stick-uefi 'WalT boot medium'
guest_says 240 stick-uefi 'initrd: root is .*/02:00:00:b0:07:02/fs'
is_node node-b00702
platform-unguest stick-uefi

say "a board whose U-Boot has no script of WalT gets it from tftp-static, by itself"
nodes+=(node-b00703)
new_guest board --arch aarch64 --mac 02:00:00:b0:07:03 --ram 512 -bios "$u_boot/qemu_arm64/u-boot.bin"
guest_says 90 board "Filename 'boot.scr.uimg'"
guest_says 60 board 'WalT: DHCP as walt.node.qemu-arm-64, then start.uboot'
guest_says 60 board "Filename '/?start.uboot'"
eventually 20 bash -c "walt log show --history -10m: --issuers server --streams platform.devices | grep >/dev/null 'b00703.*qemu-arm-64'"
