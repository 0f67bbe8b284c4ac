#!/usr/bin/env bash
# Raspberry Pis of each generation, replayed packet by packet from written traces: unknown boards get firmware and U-Boot,
# U-Boot registers them, then they boot from the image of their model.
# timeout: 400
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1
static=$WALT_CHECK_STATE/tftp-static

declare -A mac_of=(
  [rpi-3-b-plus]=b8:27:eb:12:34:56 [rpi-4-b]=dc:a6:32:a6:34:56 [rpi-400]=e4:5f:01:a6:34:57 [rpi-5-b]=2c:cf:67:a6:34:58
  [rpi-3-b]=b8:27:eb:12:34:59 [rpi-cm4]=28:cd:c1:a6:34:5a
)
machine_of() { echo "pi${1#rpi}" | tr -d -; }
# replay TRACE PHASE BOARD [MODEL]: a board plays a phase; its image is that of MODEL (BOARD's when not given).
replay() {
  local machine held=$scratch/held.$3 name
  machine=$(machine_of "$3")
  name=$(walt node show --all --json | jq -r ".[] | select(.mac == \"${mac_of[$3]}\") | .name")
  ip netns exec "$machine" "$here/replay.py" "$here/traces/$1.trace" "$2" --interface eth0 --server $server \
    --static "$scratch/static" --image "$scratch/image/${4:-$3}" --held "$held" \
    --was "${name:-unknown-$(tr -d : <<<"${mac_of[$3]: -8}")}" --name "$name" || fail "$1, $2"
}
# is_node BOARD MODEL IMAGE: the node of the board has this model and image.
is_node() {
  walt node show --all --json |
    jq -e ".[] | select(.mac == \"${mac_of[$1]}\") | .model == \"$2\" and (.image_full_name // .image) == \"$3\""
}
said() { walt log show --history -5m: --platform | grep -E -- "$1"; }

for model in "${!mac_of[@]}"; do
  machine=$(machine_of "$model")
  new_machine "$machine"
  ip -n "$machine" link set eth0 address "${mac_of[$model]}"
done

# Firmware that tells where it comes from; some blocks long, and one a multiple of the block size.
sample() { # FOLDER FILE [BYTES]
  mkdir -p "$1"
  head -c "${3:-700}" <(echo "$2 of ${1#"$scratch/"}" && seq 9000) >"$1/$2"
}
for file in bootcode.bin start.elf fixup.dat start4.elf fixup4.dat config.txt cmdline.txt bcm2710-rpi-3-b-plus.dtb \
  bcm2711-rpi-4-b.dtb bcm2711-rpi-400.dtb bcm2712-rpi-5-b.dtb u-boot-rpi-3-b.img u-boot-rpi-4-b.img u-boot-rpi-5-b.img; do
  sample "$scratch/static" $file
  case $file in *-400.dtb) continue ;; esac
  for model in rpi-3-b-plus rpi-4-b rpi-5-b; do sample "$scratch/image/$model" $file; done
done
sample "$scratch/static" start4.elf 40960
sample "$scratch/static" start.elf 5120
for model in "${!mac_of[@]}"; do
  for file in start.uboot initrd kernel; do sample "$scratch/image/$model" $file 20000; done
done

say "no firmware is installed: a prompt error, and a line that says what to do"
mv "$static" "$static.kept" 2>/dev/null || true
put_back() { rm -rf "$static" && { mv "$static.kept" "$static" 2>/dev/null || true; }; }
at_end put_back
replay nothing-installed unregistered rpi-cm4
eventually 20 said 'a Raspberry Pi \(28:cd:c1:a6:34:5a, .*is empty: .*rpi-firmware.sh'
cp -r "$scratch/static" "$static"

say "unknown boards: firmware and U-Boot for all; no image for their models yet"
for model in rpi-3-b-plus rpi-4-b rpi-400 rpi-5-b; do replay $model unregistered $model; done
eventually 20 said 'unknown-a63456 is a node of type rpi-4-b, but its default image waltplatform/rpi-4-b-default'

say "the image of these models arrives; U-Boot asks again: they are nodes"
cat >"$scratch/add-firmware" <<SCRIPT
#!/bin/sh
mkdir -p "\$1/boot" && cp -r "$scratch"/image/* "\$1/boot/"
SCRIPT
chmod +x "$scratch/add-firmware"
first=waltplatform/rpi-4-b-default
platform-derive-image waltplatform/pc-x86-64-default $first "$scratch/add-firmware"
platform-label-image $first "$(tr ' ' , <<<"${!mac_of[*]}")"
for model in rpi-3-b-plus rpi-400 rpi-5-b rpi-3-b; do platform-tag-image $first waltplatform/$model-default; done
for model in rpi-3-b-plus rpi-4-b rpi-400 rpi-5-b; do
  # A board that is refused plays again.
  register() (replay "$model" registering "$model" && is_node "$model" "$model" "waltplatform/$model-default:latest")
  eventually 60 register
done
replay sd-card-2018 registering rpi-3-b
is_node rpi-3-b rpi-3-b waltplatform/rpi-3-b-default:latest
expect_output 'rpi-400' walt node show --all

say "nodes: firmware of the image; where the image has none (400), that of the platform; legacy names"
ready() { platform-inside curl -sf -o /dev/null "http://$server/boot/start.uboot?node_ip=$(<"$scratch/held.$1")"; }
for model in rpi-3-b-plus rpi-4-b rpi-400 rpi-5-b; do
  eventually 120 ready $model
  replay $model registered $model
done
replay sd-card-2018 registered rpi-3-b
node=$(walt node show --all --json | jq -r '.[] | select(.mac == "dc:a6:32:a6:34:56") | .name')
expect_output 'start4.elf' walt node show --boot "$node"

say "a board that says another model is that model from then on"
replay changed-card registering rpi-4-b
is_node rpi-4-b rpi-400 waltplatform/rpi-400-default:latest
eventually 20 said "node $node is a rpi-400 now \(it was a rpi-4-b\)"
replay changed-card registered rpi-4-b rpi-400
