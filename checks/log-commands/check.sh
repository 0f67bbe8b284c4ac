#!/usr/bin/env bash
# Every `walt log` command as a user types it: show, wait, checkpoints, formats, expressions, export, bundle, import, retention.
# timeout: 600
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1
for machine in log-user log-other; do
  new_machine $machine
  # One that has no lines yet, whatever ran before.
  ip -n $machine link set eth0 address "$(printf '02:6c:%02x:%02x:%02x:%02x' $((RANDOM % 256)) $((RANDOM % 256)) $((RANDOM % 256)) $((RANDOM % 256)))"
done
lease log-user -V walt.node.pc-x86-64 >/dev/null
lease log-other -V walt.node.pc-x86-64 >/dev/null
name_of() {
  local mac
  mac=$(ip netns exec "$1" cat /sys/class/net/eth0/address)
  walt node show --all --json | jq -er ".[] | select(.mac == \"$mac\") | .name"
}
eventually 20 name_of log-user
eventually 20 name_of log-other
node=$(name_of log-user)
other=$(name_of log-other)
# send STREAM MODE [MACHINE]: the lines of standard input.
send() {
  { printf 'REQ_NEW_INCOMING_LOGS\n%s\n%s\n' "$1" "$2"; cat; printf 'CLOSE\n'; } |
    ip netns exec "${3:-log-user}" socat -t 5 - TCP:$server:12347
}
shown() { walt log show --history full --issuers "$node" "$@"; }
cd "$scratch"
unique=$(date +%s)-$$
cp1=a-$unique
cp2=b-$unique

say "checkpoints around an experiment"
expect_output "New checkpoint $cp1 recorded at server time" walt log add-checkpoint "$cp1"
expect_failure "a checkpoint with this name already exists" walt log add-checkpoint "$cp1"
expect_failure "checkpoint" walt log add-checkpoint 'no spaces'
sleep 0.1
printf 'first line\ncafé 42 ms\nlast, "quoted"\n' | send exp NO_TIMESTAMPS
printf '%s.250000 dated line\nnot a date\n' "$(($(date +%s) - 1))" | send dated TIMESTAMPS_INSIDE
have() { [ "$(shown --streams '^(exp|dated)$' --format '{line}' | wc -l)" = "$1" ]; }
eventually 10 have 5
sleep 0.1
walt log add-checkpoint "$cp2"
printf 'after the experiment\n' | send exp NO_TIMESTAMPS
eventually 10 have 6
expect_output "$cp1" walt log list-checkpoints
walt log list-checkpoints --json | jq -e "map(.name) | contains([\"$cp1\", \"$cp2\"])" >/dev/null

say "checkpoints of another time"
# minutes FROM TO: how many minutes there are from one checkpoint to another.
minutes() {
  walt log list-checkpoints --json |
    jq -e --arg a "$1" --arg b "$2" 'map({(.name): .timestamp_us}) | add | (.[$b] - .[$a]) / 60e6 | round'
}
at=$(date -d '2 hours ago' '+%Y-%m-%d %H:%M:%S')
walt log add-checkpoint "now-$unique"
expect_output 'New checkpoint' walt log add-checkpoint "ago-$unique" --date -90m
expect_output 'New checkpoint' walt log add-checkpoint "at-$unique" --date "$at"
[ "$(minutes "ago-$unique" "now-$unique")" = 90 ] || fail "-90m: $(minutes "ago-$unique" "now-$unique") minutes ago"
[ "$(minutes "at-$unique" "now-$unique")" = 120 ] || fail "$at: $(minutes "at-$unique" "now-$unique") minutes ago"
[ "$(walt log show --history "at-$unique:ago-$unique" --issuers "$node" --streams '^exp$' | wc -l)" = 0 ] || fail "a range of the past has lines of now"
[ "$(walt log show --history "ago-$unique:" --issuers "$node" --streams '^exp$' | wc -l)" = 4 ] || fail "from a date in the past"
expect_failure 'date' walt log add-checkpoint "bad-$unique" --date yesterday
expect_failure 'date' walt log add-checkpoint "bad-$unique" --date '2026-13-01 00:00:00'
for name in now ago at; do
  walt log remove-checkpoint "$name-$unique"
done

say "history, formats, limits"
[ "$(walt log show --history "$cp1:$cp2" --issuers "$node" --streams '^exp$' --format '{line}')" = 'first line
café 42 ms
last, "quoted"' ] || fail "between checkpoints: $(walt log show --history "$cp1:$cp2" --issuers "$node")"
[ "$(walt log show --history full --issuers "$node" --streams '^exp$' --limit 1 --format '{line}')" = 'after the experiment' ]
[ "$(shown --streams dated --format '{timestamp:%f} {issuer:>3.2}|{clock}' 'dated line')" = "250000  ${node:0:2}|?" ] ||
  fail "format: $(shown --streams dated --format '{timestamp:%f} {issuer:>3.2}|{clock}' 'dated line')"
shown --streams dated --format '{line}' | grep >/dev/null -x 'not a date'
shown --json '^first' | jq -e "select(.issuer == \"$node\" and .stream == \"exp\" and .timestamp_us > 0)" >/dev/null
expect_failure "check the format string" walt log show --history full --format '{nothing}'
expect_failure "Nothing to display" walt log show
expect_failure "no checkpoint|HISTORY_RANGE" walt log show --history nosuch: --issuers "$node"
expect_failure "HISTORY_RANGE|relative date" walt log show --history 5m --issuers "$node"
expect_failure "No device with name" walt log show --history full --issuers nobody-at-all

say "expressions, the same on history and live"
for expression in '^caf. [[:digit:]]+ ms$' '\mcafé\M' '[[:<:]]42[[:>:]]' '\d{2}\s' '(first|café) (line|42)' '***=42 ms' '\yms\Z'; do
  [ "$(shown --streams '^exp$' --format '{line}' "$expression" | grep -c .)" -ge 1 ] || fail "nothing found by $expression"
done
expect_failure 'back-references' walt log show --history full '(a)\1'
expect_failure 'invalid regular expression' walt log wait --issuers "$node" '['

say "realtime and history together: no gap, no double"
seq 1 2000 | send joined NO_TIMESTAMPS &
timeout 60 walt log show --history full --realtime --issuers "$node" --streams '^joined$' --format '{line}' >joined &
tail=$!
seq 2001 4000 | send joined NO_TIMESTAMPS
wait %1 || true
complete() { [ "$(wc -l <joined)" -ge 4000 ]; }
eventually 30 complete
kill $tail
cmp <(sort -n joined) <(seq 4000) || fail "lines are missing or doubled: $(wc -l <joined)"

say "wait"
(sleep 1 && echo 'ready 1' | send state NO_TIMESTAMPS) &
expect_output 'ready 1' walt log wait --issuers "$node" --timeout 20 --streams '^state$' '\mready'
expect_output 'ready 1' walt log wait --issuers "$node" --time-margin 30 --timeout 20 --mode ALL 'ready'
started=$SECONDS
expect_failure 'Timeout was reached' walt log wait --issuers "$node" --timeout 2 'this never comes'
((SECONDS - started < 20)) || fail "the timeout came late"

(sleep 3 && echo 'both are' | send state NO_TIMESTAMPS log-other) &
echo 'both are' | send state NO_TIMESTAMPS
started=$SECONDS
walt log wait --issuers "$node,$other" --mode ALL --time-margin 30 --timeout 60 --format '{issuer} {line}' '^both' >both
[ "$(sort both)" = "$(printf '%s both are\n' "$node" "$other" | sort)" ] || fail "two issuers: $(cat both)"
((SECONDS - started >= 1)) || fail "it did not wait for the second issuer"
expect_failure 'Timeout was reached' \
  walt log wait --issuers "$node,$other" --mode ALL --time-margin 30 --timeout 3 '^(ready|first)'

say "wait: a server that does not answer, one that is killed"
socat UNIX-LISTEN:mute.sock,fork EXEC:'sleep 30' &
mute=$!
eventually 10 test -S mute.sock
started=$SECONDS
WALT_SERVER=unix:$PWD/mute.sock expect_failure 'Timeout was reached' walt log wait --issuers server --timeout 2 'never'
((SECONDS - started < 15)) || fail "the timeout came late: $((SECONDS - started)) s"
kill $mute
walt log wait --issuers "$node,$other" --mode ALL --time-margin 60 '^ready' >waited 2>&1 &
waiter=$!
# It has begun: the first of the two lines is there.
eventually 20 grep -q 'ready 1' waited
platform-kill-server
status=0
wait $waiter || status=$?
((status != 0)) || fail "it succeeded without its line: $(cat waited)"
grep -Eq 'cut|closed|ended|connection' waited || fail "it does not say why it ended: $(cat waited)"
eventually 60 walt log list-checkpoints

say "messages of the server"
walt log show --server --history -1d: --format '{stream}' | sort -u | grep >/dev/null -x 'daemon.stdout' || fail "no daemon.stdout"
walt log show --platform --history -1d: "name=$node" | grep >/dev/null 'new node' || fail "no platform line"
[ "$(walt log show --server --history -1d: 'new node.*mac=' | wc -l)" = 0 ] || fail "a line of the platform is recorded twice"

say "export"
walt log export "$cp1:$cp2" --issuers "$node" --streams '^exp$' -o exp.csv
[ "$(tr -d '\r' <exp.csv | tail -n 1 | cut -d, -f3-)" = 'exp,"last, ""quoted""",,' ] || fail "CSV: $(cat exp.csv)"
expect_failure 'exists already' walt log export full --issuers "$node" -o exp.csv
walt log export full --issuers "$node" --output exp.csv --force --streams joined
[ "$(wc -l <exp.csv)" = 4001 ] || fail "CSV has $(wc -l <exp.csv) lines"
walt log export full --issuers "$node" --streams joined --format jsonl -o - | jq -r .line | sort -n | cmp - <(seq 4000)
walt log export -1h: --issuers "$node" -o all.parquet
[ "$(head -c 4 all.parquet)$(tail -c 4 all.parquet)" = PAR1PAR1 ] || fail "not a Parquet file"
expect_failure 'unknown format|should be one of|EXPORT_FORMAT' walt log export full --format xml -o x
expect_failure 'cannot write' walt log export full --issuers "$node" -o /nonexistent/x.csv
expect_failure 'checkpoint|HISTORY_RANGE' walt log export nosuch: --issuers "$node" -o x.csv
[ "$(find . -name '*.part' -o -name x.csv | wc -l)" = 0 ] || fail "something is left behind: $(ls -a)"

say "bundle, import"
expect_output 'exp1.tar.zst' walt log bundle "$cp1" "$cp2" -o exp1.tar.zst
expect_failure 'exists already' walt log bundle "$cp1" "$cp2" -o exp1.tar.zst
label=x-$unique
expect_output 'lines are there' walt log import exp1.tar.zst --label "$label"
expect_failure 'was imported as' walt log import exp1.tar.zst --label "$label"
expect_output "$label" walt log list-imports
walt log list-imports --json | jq -e ".[] | select(.label == \"$label\" and (.issuers | contains([\"$node\"])))" >/dev/null ||
  fail "the import has not this node: $(walt log list-imports --json)"
[ "$(walt log show --import "$label" --history "$cp1:$cp2" --issuers "$node" --streams '^exp$' --format '{line}')" = 'first line
café 42 ms
last, "quoted"' ] || fail "from the import: $(walt log show --import "$label" --history full)"
expect_failure 'no issuer' walt log show --import "$label" --history full --issuers nobody
expect_failure 'no realtime' walt log show --import "$label" --realtime
expect_failure 'No bundle was imported' walt log show --import nosuch --history full
[ "$(shown --streams '^exp$' --format '{line}' | wc -l)" = 4 ] || fail "the import changed the logs of the platform"
python3 - exp1.tar.zst <<'PY'
import random, sys
data = bytearray(open(sys.argv[1], "rb").read())
open("cut.tar.zst", "wb").write(data[: len(data) // 2])
data[len(data) // 2] ^= 0x40
open("flipped.tar.zst", "wb").write(data)
open("noise.tar.zst", "wb").write(random.Random(1).randbytes(5000))
open("empty.tar.zst", "wb").write(b"")
PY
for file in cut flipped noise empty; do
  expect_failure 'not accepted' walt log import $file.tar.zst
done
platform-kill-at "import: before the folder gets its name"
! walt log import exp1.tar.zst --label "late-$unique" || fail "an import succeeded although the server was killed"
platform-kill-at --wait
eventually 30 walt log list-imports
! walt log list-imports | grep >/dev/null "late-$unique" || fail "half an import is listed"
walt log import exp1.tar.zst --label "late-$unique"
walt log remove-import "late-$unique"
walt log remove-import "$label"
expect_failure 'No bundle was imported' walt log remove-import "$label"
walt log remove-checkpoint "$cp1"
expect_failure "no checkpoint with this name" walt log remove-checkpoint "$cp1"
walt log remove-checkpoint "$cp2"

say "a bundle tells what ran, not what is there when it is made"
mkdir ran-1 ran-2 ran
echo one >ran-1/content
echo two >ran-2/content
versions() { [ "$(walt image history ran --json | jq length)" = "$1" ]; }
first=$(platform-small-image "$(id -un)/ran" pc-x86-64 "$PWD/ran-1")
eventually 20 versions 1
expect_failure 'failed soft-reboot' walt node boot "$node" ran
# Its boot ends, then another begins, which is of the new image.
{ printf 'REQ_NOTIFY_BOOTUP_STATUS\n\n'; sleep 1; } | ip netns exec log-user socat -t 1 - TCP:$server:12347 >/dev/null
sleep 1
lease log-user -V walt.node.pc-x86-64 >/dev/null
walt log add-checkpoint "c-$unique"
echo 'it runs' | send ran NO_TIMESTAMPS
have_ran() { [ "$(shown --streams '^ran$' | wc -l)" = 1 ]; }
eventually 10 have_ran
sleep 0.1
walt log add-checkpoint "d-$unique"
second=$(platform-small-image "$(id -un)/ran" pc-x86-64 "$PWD/ran-2")
eventually 20 versions 2
[ "$first" != "$second" ] || fail "the image did not change"
walt log bundle "c-$unique" "d-$unique" -o ran.tar.zst
tar --zstd -xf ran.tar.zst -C ran
# document NAME FILTER: holds for a member of the bundle.
document() {
  jq -e --arg node "$node" --arg first "$first" --arg second "$second" "$2" "ran/$1.json" >/dev/null ||
    fail "$1.json is not as $2 wants: $(jq -c . "ran/$1.json" | head -c 2000)"
}
document manifest '.lines > 0 and (.members | map(.name) | contains(["boots.json", "image-versions.json", "devices.json"]))'
document devices '.[] | select(.name == $node) | .node.image | endswith("/ran:latest")'
document images '.[] | select(.name | endswith("/ran:latest")) | .id == $second'
document versions '.walt and .kernel and .system and .at_us > 0'
document image-versions 'map(select(.image | endswith("/ran:latest"))) | length == 1 and .[0].id == $first
  and .[0].until_us > .[0].from_us'
document boots 'map(select(.node == $node)) | length >= 1 and (last | (.image | endswith("/ran:latest")) and .image_id == $first
  and (.stages | length) > 0)'
expect_output 'lines are there' walt log import ran.tar.zst --label "ran-$unique"
walt log remove-import "ran-$unique"
walt log remove-checkpoint "c-$unique"
walt log remove-checkpoint "d-$unique"
expect_failure 'failed soft-reboot' walt node boot "$node" default
walt image remove ran

say "retention: a second server, that keeps little"
cat >retention.conf <<'CONF'
network:
    walt-net:
        raw-device: null
        ip: 192.168.152.1/24
logs:
    retention:
        console: {age: 30m, size: 1M}
CONF
walt-server check-config --config retention.conf
mkdir state
mount -t tmpfs -o size=256m walt-check "$scratch/state"
unmount_state() { umount "$scratch/state"; }
WALT_LOG_RETENTION_SECONDS=1 unshare --net --mount walt-server run --config retention.conf \
  --state-dir "$scratch/state" --run-dir "$scratch/run" >retention.log 2>&1 &
keeper=$!
stop_keeper() {
  kill $keeper 2>/dev/null
  wait $keeper 2>/dev/null
}
at_end stop_keeper
at_end unmount_state
second() { WALT_SERVER=unix:$scratch/run/api.sock walt log "$@"; }
eventually 60 second list-checkpoints
nsenter -t $keeper -n ip link set lo up
second_send() {
  { printf 'REQ_NEW_INCOMING_LOGS\n%s\n%s\n' "$1" "$2"; cat; printf 'CLOSE\n'; } |
    nsenter -t $keeper -n socat -t 5 - TCP:192.168.152.1:12347
}
old=$(($(date +%s) - 7200))
for n in $(seq 50); do echo "$old old $n"; done | second_send my-console TIMESTAMPS_INSIDE
for n in $(seq 50); do echo "$old old $n"; done | second_send experiment TIMESTAMPS_INSIDE
count() { second show --history full --issuers server --streams "$1" --format '{line}' | wc -l; }
emptied() { [ "$(count '^my-console$')" = 0 ]; }
eventually 30 emptied
[ "$(count '^experiment$')" = 50 ] || fail "lines of an experiment were deleted"
seq -f 'a line of a console that says much, number %.0f' 40000 | second_send my-console NO_TIMESTAMPS
small() { n=$(count '^my-console$') && ((n > 5000 && n < 13000)); }
eventually 40 small
second show --history full --issuers server --streams '^my-console$' --format '{line}' | tail -n 1 | grep >/dev/null 'number 40000'
told() { second show --server --history -10m: --format '{line}' 'log retention: [0-9]+ lines .* class console'; }
eventually 10 told
told
[ "$(count '^experiment$')" = 50 ] || fail "lines of an experiment were deleted"

say "its disk is full: nobody waits for that, and nothing is lost once there is room"
dd if=/dev/zero of="$scratch/state/ballast" bs=1M 2>/dev/null && fail "the disk is not full"
seq -f 'a line for which the disk has no room, number %.0f' 150000 | second_send full NO_TIMESTAMPS &
sender=$!
look() { timeout 30 env WALT_SERVER="unix:$scratch/run/api.sock" walt log show --history full --issuers server --streams "$1" --limit 10; }
warned() { look '^full$' 2>&1 | grep 'Is its disk full'; }
eventually 90 warned
for _ in 1 2 3; do
  look '^experiment$' >seen 2>&1 || fail "history waits for a full disk: $(tail -n 3 seen)"
  grep -q ' old 50$' seen || fail "what is there is not shown: $(cat seen)"
done
expect_failure 'disk full' second export full --issuers server -o full.csv
# It may fail, or find room by chance; it does not wait.
status=0
timeout 30 env WALT_SERVER="unix:$scratch/run/api.sock" walt log add-checkpoint full-now >seen 2>&1 || status=$?
((status != 124)) || fail "a checkpoint waits for a full disk"
rm "$scratch/state/ballast"
wait $sender || fail "the sender failed"
all_there() { [ "$(count '^full$')" = 150000 ]; }
eventually 120 all_there
look '^full$' >seen 2>&1
! grep 'disk full' seen || fail "the warning stays"
