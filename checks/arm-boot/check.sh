#!/usr/bin/env bash
# A 64-bit ARM machine joins the platform, waits for the image of its model, boots it and is driven as any node.
# timeout: 900
# needs: debian
# needs: arm64
# variant: FIRMWARE=u-boot
# variant: FIRMWARE=uefi
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
flash=$scratch/flash
case $FIRMWARE in
  u-boot)
    model=qemu-arm-64 last=640a11
    # The medium of this board, as an SD card is that of others.
    "$WALT_CHECK_REPOSITORY/images/boot-media/qemu-arm-64.sh" "$flash"
    options=(-bios /usr/lib/u-boot/qemu_arm64/u-boot.bin)
    nic=virtio-net-device
    again='WalT: starting again'
    ;;
  uefi)
    model=pc-arm-64 last=640a02
    truncate -s 64M "$flash"
    options=(-drive "if=pflash,index=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd")
    nic=virtio-net-pci,romfile=,bootindex=1
    again='start.ipxe'
    ;;
esac
machine=arm-$FIRMWARE node=node-$last image=waltplatform/$model-default
named() { walt node show --all --names-only | grep >/dev/null -x "$node"; }
told() { walt log show --history -10m: --issuers server --streams platform.devices | grep >/dev/null "$1"; }

say "a machine nobody knows, whose image is not there: it starts again and again, and the log says why"
new_guest "$machine" --arch aarch64 --mac "52:54:00:${last:0:2}:${last:2:2}:${last:4:2}" --nic "$nic" "${options[@]}" \
  -drive "if=pflash,index=1,format=raw,file=$flash"
guest_says 120 "$machine" "$again"
eventually 20 told "node of type $model, but its default image $image"
expect_output "unknown-$last" walt device show

say "its image comes: it is a node, and boots"
"$WALT_CHECK_REPOSITORY/images/debian/build.sh" --architecture arm64 --name "$image" \
  --import-root "$WALT_CHECK_STATE/containers" --import-runroot "$WALT_CHECK_RUN/containers" >/dev/null
eventually 90 named
walt node wait --timeout 400 "$node"
jq -e --arg n "$node" --arg m "$model" '.[] | select(.name == $n) | .booted and .model == $m' \
  < <(walt node show --all --json) >/dev/null

say "the report of its boot"
walt node show --boot "$node" | tee "$scratch/boot"
walt node show --boot "$node" --json >"$scratch/boot.json"
stages() { jq -r '.stages[].stage' "$scratch/boot.json" | uniq | paste -sd ' '; }
[[ "$(stages)" =~ dhcp.*script.*kernel.*root.*init ]] || fail "stages: $(stages)"

say "commands and logs"
[ "$(walt node run "$node" uname -m)" = aarch64 ]
walt node run "$node" walt-log-echo arm "hello from $model"
eventually 20 bash -c "walt log show --history -5m: --issuers $node --streams arm | grep >/dev/null 'hello from $model'"

say "a soft reboot"
before=$(walt node run "$node" cat /proc/sys/kernel/random/boot_id)
walt node reboot "$node"
walt node wait --timeout 400 "$node"
[ "$before" != "$(walt node run "$node" cat /proc/sys/kernel/random/boot_id)" ] || fail "it did not restart"
