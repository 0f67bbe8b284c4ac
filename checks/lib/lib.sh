# Sourced by every check: says what is done, fails loudly, cleans up what the check made.
# shellcheck shell=bash
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
scratch=$(mktemp -d)
nodes=()
machines=()
guests=()
ends=()
export here

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

fail() {
  say "FAILED: $*" >&2
  exit 1
}

on_exit() {
  local status=$?
  set +e
  if ((status != 0)); then
    for node in "${nodes[@]}"; do
      echo "--- boot of $node" >&2
      walt node show --boot "$node" >&2
      echo "--- last lines of its console" >&2
      walt log show --history -10m: --issuers "$node" --streams 'virtualconsole|walt-init' 2>&1 | tail -n 30 >&2
    done
  fi
  for node in "${nodes[@]}"; do
    printf 'y\n' | walt node remove "$node" >/dev/null 2>&1
  done
  for machine in "${machines[@]}"; do
    platform-unplug "$machine" >/dev/null 2>&1
  done
  for guest in "${guests[@]}"; do
    if ((status != 0)); then
      echo "--- last lines of the console of $guest" >&2
      tail -n 40 "$(platform-guest-file "$guest" console)" >&2
    fi
    platform-unguest "$guest" >/dev/null 2>&1
  done
  for end in "${ends[@]}"; do
    "$end"
  done
  rm -rf "$scratch"
  exit "$status"
}
trap on_exit EXIT
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# expect_output PATTERN COMMAND...: the command succeeds and its output has a line that matches.
expect_output() {
  local pattern=$1 output
  shift
  output=$("$@" 2>&1) || fail "\`$*\` failed: $output"
  grep -Eq -- "$pattern" <<<"$output" || fail "\`$*\` answered without /$pattern/: $output"
}

# expect_failure PATTERN COMMAND...: the command fails and says something that matches.
expect_failure() {
  local pattern=$1 output
  shift
  if output=$("$@" 2>&1); then
    fail "\`$*\` should have failed, it answered: $output"
  fi
  grep -Eiq -- "$pattern" <<<"$output" || fail "\`$*\` failed without /$pattern/: $output"
}

# eventually SECONDS COMMAND...: the command succeeds before the time is over.
eventually() {
  local limit=$1 start=$SECONDS
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS - start < limit)) || fail "not within $limit s: $*"
    sleep 0.5
  done
}

# new_node NAME [OPTIONS...]: creates a virtual node which is removed at the end of the check.
new_node() {
  local name=$1
  nodes+=("$name")
  walt node create "$@"
}

# new_machine NAME: a machine plugged into walt-net for the time of the check.
new_machine() {
  machines+=("$1")
  platform-machine "$1"
}

# lease MACHINE [OPTION...]: asks for an address as udhcpc does (-V CLASS: as what), gives it to the machine and prints it.
lease() {
  local machine=$1
  shift
  cat >"$scratch/lease-script" <<'SCRIPT'
#!/bin/sh
[ "$1" != bound ] || { ip addr replace "$ip/$mask" dev eth0 && echo "$ip" >"$LEASE_OUT"; }
SCRIPT
  chmod +x "$scratch/lease-script"
  LEASE_OUT=$scratch/lease-of-$machine ip netns exec "$machine" \
    udhcpc -f -q -n -i eth0 -s "$scratch/lease-script" "$@" >&2
  cat "$scratch/lease-of-$machine"
}

# new_guest NAME [OPTIONS...]: a QEMU machine plugged into walt-net for the time of the check (see platform-guest).
new_guest() {
  guests+=("$1")
  platform-guest "$@"
}

# guest_says SECONDS NAME PATTERN: a line of its serial console matches before the time is over.
guest_says() {
  eventually "$1" grep -aEq -- "$3" "$(platform-guest-file "$2" console)"
}

# at_end FUNCTION: it is called when the check ends, however that is.
at_end() { ends+=("$1"); }

# forget_node NAME: it was removed by the check itself.
forget_node() {
  local kept=() node
  for node in "${nodes[@]}"; do
    [ "$node" = "$1" ] || kept+=("$node")
  done
  nodes=("${kept[@]}")
}
