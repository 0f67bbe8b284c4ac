#!/usr/bin/env bash
# Real PCs the server knows nothing of boot by each of their firmwares: they become nodes and load a kernel, the first one
# boots to the end.
# timeout: 700
# variant: FIRMWARE=bios
# variant: FIRMWARE=uefi
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1
ipxe=${WALT_IPXE_DIR:-/usr/lib/ipxe}

# node_at MAC: the name of its node.
node_at() { walt node show --all --json | jq -er ".[] | select(.mac == \"$1\") | .name"; }
# loaded MAC FILE VIA: the report of its boot has this file, whole, by this protocol.
loaded() { walt node show --boot "$(node_at "$1")" | tee "$scratch/report" | grep >/dev/null -E "^[a-z]+ .*(B|kB|MB) by $3 ([^ ]*/)?$2 *\$"; }
# loads LAST VIA [FILE]: the machine whose address ends so becomes a node, and loads FILE (its kernel) by TFTP or HTTP.
loads() {
  local mac=02:00:00:00:00:$1
  eventually 200 node_at "$mac"
  eventually 200 loaded "$mac" "${3:-kernel}" "$2"
  cat "$scratch/report"
}
# script FILE LINE...: a script for iPXE started from a disk of its own.
script() {
  local file=$1
  shift
  printf '%s\n' '#!ipxe' "$@" >"$file"
}

bios() {
  say "the script that tells the model: by its name, and as what iPXE asks for by itself"
  new_machine any-pc
  ip -n any-pc addr add 192.168.152.250/24 dev eth0
  for url in "tftp://$server/walt.ipxe" "http://$server/boot/walt.ipxe" "tftp://$server/autoexec.ipxe" \
    "http://$server/boot/autoexec.ipxe" "http://$server/boot/pxe/autoexec.ipxe" "tftp://$server/pxe/autoexec.ipxe"; do
    ip netns exec any-pc curl -sf "$url" >"$scratch/${url//\//_}"
    grep -q 'set user-class walt.node.pc-x86-64' "$scratch/${url//\//_}" || fail "$url is another script"
  done

  say "network card with an iPXE: unknown, then a node that boots to the end"
  new_guest pc-rom --mac 02:00:00:00:00:a1 -boot n
  loads a1 http
  eventually 300 walt node wait --timeout 5 "$(node_at 02:00:00:00:00:a1)"
  walt node show --all --json | jq -e '.[] | select(.mac == "02:00:00:00:00:a1") | .booted and .model == "pc-x86-64"'
  platform-unguest pc-rom

  say "PXE ROM: it is given undionly.kpxe, which drives the card through that ROM"
  # An iPXE that hides what it is: its DHCP request is that of a BIOS PXE ROM, and it is the PXE stack of what it starts.
  script "$scratch/rom.ipxe" 'set user-class none' 'dhcp' 'echo the ROM loads ${filename}' \
    'chain tftp://${next-server}/${filename}'
  new_guest pc-pxe --mac 02:00:00:00:00:a2 -machine graphics=off -kernel "$ipxe/ipxe.lkrn" -initrd "$scratch/rom.ipxe"
  # Through two PXE stacks a kernel takes long.
  loads a2 http initrd
  guest_says 1 pc-pxe 'the ROM loads pxe/walt-x86-undionly.kpxe'
  guest_says 1 pc-pxe 'walt-x86-undionly.kpxe\.\.\. ok'
  platform-unguest pc-pxe

  say "HTTP does not answer: everything by TFTP; autoexec.ipxe makes a node of an iPXE that says nothing"
  with_http() { platform-inside nft delete table inet walt_check 2>/dev/null; }
  at_end with_http
  platform-inside nft -f - <<'NFT'
table inet walt_check {
  chain no_http {
    type filter hook input priority 0
    tcp dport 80 reject with tcp reset
  }
}
NFT
  script "$scratch/none.ipxe" 'set user-class none' 'dhcp' 'chain tftp://${next-server}/autoexec.ipxe'
  new_guest pc-tftp --mac 02:00:00:00:00:a3 -kernel "$ipxe/ipxe.lkrn" -initrd "$scratch/none.ipxe"
  loads a3 tftp
  with_http
}

# uefi NAME LAST [OPTION...]: a machine with fresh variables, whose card has no program of its own.
uefi() {
  local name=$1 last=$2
  shift 2
  cp "${WALT_OVMF_VARS:-/usr/share/OVMF/OVMF_VARS_4M.fd}" "$scratch/$name.vars"
  new_guest "$name" --mac "02:00:00:00:00:$last" --nic virtio-net-pci,romfile= \
    -drive "if=pflash,format=raw,unit=0,readonly=on,file=${WALT_OVMF_CODE:-/usr/share/OVMF/OVMF_CODE_4M.fd}" \
    -drive "if=pflash,format=raw,unit=1,file=$scratch/$name.vars" "$@"
}

uefi_both() {
  say "UEFI PXE"
  uefi pc-efi b1
  loads b1 http
  platform-unguest pc-efi

  say "UEFI HTTP boot: this machine never speaks TFTP before its loader runs"
  uefi pc-http b2 -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=no \
    -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=no
  loads b2 http
  guest_says 1 pc-http 'HTTP Boot over IPv4'
}

if [ "$FIRMWARE" = bios ]; then bios; else uefi_both; fi
