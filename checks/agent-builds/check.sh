#!/usr/bin/env bash
# The node agent of every architecture is one static program, and really runs: its version, boot scripts, a log line.
# needs: debian
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
repository=${WALT_CHECK_REPOSITORY:?}

say "the programs"
(cd "$repository" && cargo xtask agent --out "$scratch") >"$scratch/built"
[ "$(wc -l <"$scratch/built")" -ge 3 ] || fail "built: $(cat "$scratch/built")"

# Scripts of the Debian image, with something to boot beside them.
cp -r "$repository/images/debian/files/boot/pc-x86-64" "$scratch/boot"
touch "$scratch/boot/kernel" "$scratch/boot/initrd"

for target in x86_64: aarch64:qemu-aarch64-static armhf:qemu-arm-static; do
  name=${target%%:*}
  program=$scratch/walt-node.$name
  emulator=${target#*:}
  run() { $emulator "$program" "$@"; }

  say "$name: $(stat -c %s "$program") bytes, static"
  # A program that asks for a loader has such a header.
  ! grep -aq "/ld-linux\|/ld-musl" <(head -c 4096 "$program") || fail "$name is not static"
  expect_output '^walt-node [0-9]' run --version

  say "$name: boot scripts"
  expect_output "^kernel +$scratch/boot/kernel\$" run boot-script "$scratch/boot" manufacturer=ACME
  expect_output "^command line .* init=/bin/walt-init .* BOOTIF=01-52-54-00-01-02-03 .*console=tty1" \
    run boot-script "$scratch/boot" manufacturer=ACME
  expect_failure "no kernel|No such file" run boot-script "$repository/docs"

  say "$name: a log line, to a server that reads until CLOSE and closes"
  socat "TCP-LISTEN:0,bind=127.0.0.1" "SYSTEM:sed /^CLOSE\$/q >$scratch/received" &
  server=$!
  port() { ss -Hltnp | awk -v pid="pid=$server," 'index($0, pid) { n = split($4, a, ":"); print a[n] }' | grep .; }
  eventually 20 port
  walt_server_ip=127.0.0.1 walt_server_logs_port=$(port) timeout 60 $emulator "$program" log-echo "stream-$name" "hello from $name"
  wait "$server"
  [ "$(cat "$scratch/received")" = "REQ_NEW_INCOMING_LOGS
stream-$name
NO_TIMESTAMPS
hello from $name
CLOSE" ] || fail "received: $(cat "$scratch/received")"
done
