#!/usr/bin/env bash
# A node that cannot read its root says so, waits, and goes on when it can.
# timeout: 400
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
node=share-lost
boot_id() { walt node run "$node" cat /proc/sys/kernel/random/boot_id; }
restore() { platform-inside nft delete table inet share_lost 2>/dev/null || true; }
at_end restore

say "a node"
new_node "$node"
walt node wait --timeout 400 "$node"
before=$(boot_id)

cut() {
  platform-inside nft -f - <<'RULES'
table inet share_lost {
  chain input {
    type filter hook input priority 0; policy accept;
    tcp dport { 111, 2049 } drop
    udp dport { 111, 2049 } drop
  }
}
RULES
}
says() { eventually "$1" bash -c "walt log show --history -20m: --issuers $node --streams virtualconsole --format '{line}' | grep >/dev/null -F '$2'"; }

say "nobody answers on the ports of NFS for a while: it waits"
cut
says 120 'Network filesystem share does not answer; reboot in 600 seconds'
restore
says 120 'Network filesystem share answers again.'
[ "$(boot_id)" = "$before" ] || fail "it has rebooted"
