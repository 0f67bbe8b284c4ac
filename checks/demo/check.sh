#!/usr/bin/env bash
# `cargo xtask demo`: the tour works, the host is left as it was, and Ctrl-C at any moment leaves nothing.
# needs: debian
# alone: compares the host before and after
# timeout: 600
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
place=(--name check-demo)
state=/var/lib/walt-check-demo

host() {
  ip -br link | awk '{ print $1 }' | sort
  ip -br addr | awk '{ print $1, $3 }' | sort
  ip netns list | sort
  awk '{ print $5 }' /proc/self/mountinfo | grep -v -e "$scratch" | sort
  ss -Hlntu | awk '{ print $1, $5 }' | sort
  ls -d /var/lib/walt 2>/dev/null || true
}
processes() { pgrep -af '[q]emu-system|[w]alt-server run' | grep check-demo || true; }

host >"$scratch/before"

for delay in 2 12 30; do
  say "Ctrl-C after $delay s"
  # A shell without job control starts its background jobs deaf to ctrl-C; a person's terminal does not.
  setsid env --default-signal=INT cargo xtask demo "${place[@]}" --dev --once >"$scratch/demo.out" 2>&1 &
  demo=$!
  sleep "$delay"
  kill -INT -- "-$demo"
  if wait "$demo"; then fail "an interrupted demo ended with status 0"; fi
  host >"$scratch/after"
  diff "$scratch/before" "$scratch/after" || fail "the host is not as it was"
  [ -z "$(processes)" ] || fail "processes are left: $(processes)"
done

say "the whole tour"
cargo xtask demo "${place[@]}" --dev --once | tee "$scratch/demo.out"
for word in "image" "DHCP" "ssh" "PRETTY_NAME|Debian GNU/Linux 12" "hello from the node" "forgotten" "kept"; do
  grep -Eqi "$word" "$scratch/demo.out" || fail "the tour does not show: $word"
done
host >"$scratch/after"
diff "$scratch/before" "$scratch/after" || fail "the host is not as it was"
[ -z "$(processes)" ] || fail "processes are left: $(processes)"
rm -rf "$state"
