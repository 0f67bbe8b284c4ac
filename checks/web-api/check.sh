#!/usr/bin/env bash
# The web API, the metrics and the export of logs, asked as other tools do: every parameter and every error; a million
# lines in little memory; 50 clients that poll while lines come; a collector that goes away and comes back.
# needs: debian
# timeout: 500
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
server=192.168.152.1
state=$WALT_CHECK_STATE
url=http://127.0.0.1
inside() { platform-inside "$@"; }
get() { inside curl -sS --max-time 60 "$@"; }
status() { get -o "$scratch/body" -w '%{http_code} %{content_type}' "$@"; }
# answers STATUS PATH [PATTERN] [CURL OPTIONS...]
answers() {
  local wanted=$1 path=$2 pattern=${3:-} found
  shift 3 || shift 2
  found=$(status "$url$path" "$@")
  [[ $found == "$wanted"* ]] || fail "$path answers $found instead of $wanted: $(head -c 300 "$scratch/body")"
  grep -Eq -- "$pattern" "$scratch/body" || fail "$path answers without /$pattern/: $(head -c 300 "$scratch/body")"
}
json() { get -f "$url$1" | jq -e "$2" >"$scratch/jq" || fail "$1 is not as $2 wants: $(get "$url$1" | head -c 500)"; }

say "tools: the parsers of Prometheus and of OpenTelemetry, from PyPI"
venv=$scratch/venv
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check prometheus_client opentelemetry-proto >"$scratch/pip" 2>&1 ||
  fail "pip: $(tail -n 5 "$scratch/pip")"

say "pages and their errors"
answers '200 text/html' / 'WalT server HTTP service'
answers '200 text/html' /index.html 'href="/api"'
answers '200 text/html' /api '/api/v1/logs'
answers '404 text/html' /nothing '404 Not Found'
answers '404 text/plain' /api/v1/node '^No such page.$' -H 'Prefer: errors=text-only'
answers '404 application/json' /api/v2/nodes '"status_code":404' -H 'Prefer: errors=json'
answers '404' /boot/start.ipxe
answers '405' /api/v1/nodes 'Only GET' -X POST
answers '200' /api/v1/nodes '' --head

say "two nodes: a real one that does not boot, a machine that says it is one"
new_machine web-node
ip=$(lease web-node -V walt.node.pc-x86-64)
known() { get "$url/api/v1/nodes?ip=$ip" | jq -e '.num_nodes == 1'; }
eventually 30 known
node=$(get "$url/api/v1/nodes?ip=$ip" | jq -r '.nodes[0].name')
mac=$(ip netns exec web-node cat /sys/class/net/eth0/address)
walt node config "$node" netsetup=LAN boot.timeout=none >/dev/null
json "/api/v1/nodes?name=$node" '.nodes[0] | (keys | length == 8) and .virtual == false and .booted == false
  and .model == "pc-x86-64" and (.image | test("^waltplatform/.*:latest$")) and .config.netsetup == "LAN"
  and .config["boot.timeout"] == null and .config["kexec.allow"] == true and .config["boot.retries"] == 9'
for good in "mac=$mac" "model=pc-x86-64" "virtual=false" "virtual=0" "booted=false&name=$node" "name=&ip=$ip"; do
  json "/api/v1/nodes?$good" "[.nodes[].name] | index(\"$node\") != null"
done
for none in booted=true virtual=1 name=nobody "name=$node&ip=1.2.3.4" mac=x model=x image=x; do
  json "/api/v1/nodes?$none" '[.nodes[].name] | index("'"$node"'") == null'
done
json '/api/v1/nodes?name=nobody' '. == {"num_nodes": 0, "nodes": []}'
answers '400 application/json' '/api/v1/nodes?config=1' "'config' is not a valid filtering field." -H 'Prefer: errors=json'
answers '400 text/plain' '/api/v1/nodes?booted=True' "^cannot interpret 'True' as a 'bool'.\$" -H 'Prefer: errors=text-only'
answers '400 text/html' '/api/v1/nodes?%3Cb%3E=1' '&lt;b&gt;'

say "a node that says it is booted, a virtual one, and their order"
cat >"$scratch/booted.py" <<'END'
import os, socket, sys, time
s = socket.create_connection((sys.argv[1], 12347))
s.sendall(b"REQ_NOTIFY_BOOTUP_STATUS\n\n")
while not os.path.exists(sys.argv[2]):
    time.sleep(0.2)
END
ip netns exec web-node python3 "$scratch/booted.py" $server "$scratch/down" &
notifier=$!
is_booted() { get -f "$url/api/v1/nodes?booted=true" | jq -e "[.nodes[] | select(.booted) | .name] == [\"$node\"]"; }
eventually 20 is_booted
json "/api/v1/nodes?booted=1&name=$node&virtual=false" '.num_nodes == 1'
json '/api/v1/nodes?booted=0' '[.nodes[].name] | index("'"$node"'") == null'
new_node a-virtual-one >/dev/null
new_node zz-virtual >/dev/null
json '/api/v1/nodes?virtual=true' '[.nodes[] | select(.virtual) | .name] == ["a-virtual-one", "zz-virtual"] and .num_nodes == 2'
json '/api/v1/nodes?virtual=false' '[.nodes[].name] | index("'"$node"'") != null and index("zz-virtual") == null'
json /api/v1/nodes '[.nodes[].name] | . == sort and first == "a-virtual-one" and last == "zz-virtual" and length >= 3'
for name in a-virtual-one zz-virtual; do
  printf 'y\n' | walt node remove $name >/dev/null
  forget_node $name
done
touch "$scratch/down"
wait $notifier
is_down() { get -f "$url/api/v1/nodes?booted=true" | jq -e '.num_nodes == 0'; }
eventually 20 is_down

say "images"
json /api/v1/images '(.images | length) == .num_images and .num_images > 0 and (.images[0] | keys ==
  ["compatibility", "created", "fullname", "id", "in_use", "user"])'
json /api/v1/images '.images[0].created | test("^20[0-9-]{8} [0-9:]{8}$")'
json '/api/v1/images?user=waltplatform&in_use=true&refresh=true' '[.images[].compatibility[]] | index("pc-x86-64") != null'
json '/api/v1/images?user=nobody' '.num_images == 0'
answers 400 '/api/v1/images?created=1' "'created' is not a valid filtering field."
answers 400 '/api/v1/images?refresh=maybe' "cannot interpret 'maybe' as a 'bool'."

say "a platform that has nothing"
cat >"$scratch/empty.conf" <<'END'
network:
  walt-net:
    raw-device: null
    ip: 192.168.152.1/24
END
mkdir "$scratch/empty"
unshare --net --mount sh -c 'ip link set lo up; exec "$@"' sh walt-server run --config "$scratch/empty.conf" \
  --state-dir "$scratch/empty" --run-dir "$scratch/empty-run" >"$scratch/empty-log" 2>&1 &
empty=$!
stop_empty() {
  kill $empty 2>/dev/null
  wait $empty 2>/dev/null
}
at_end stop_empty
of_empty() { nsenter -t $empty -n curl -sSf --max-time 20 "$url$1"; }
eventually 90 of_empty /api/v1/nodes
hour_ago=$(($(date +%s) - 3600))
for question in nodes images "logs?from=$((hour_ago - 60))&to=$hour_ago" 'nodes?booted=true' 'images?in_use=true'; do
  kind=${question%%\?*}
  of_empty "/api/v1/$question" | jq -e ". == {\"$kind\": [], \"num_$kind\": 0}" >/dev/null ||
    fail "an empty platform answers $(of_empty "/api/v1/$question") to $question"
done
kill $empty
wait $empty || fail "the server of the empty platform ended with $?: $(tail -n 5 "$scratch/empty-log")"

say "logs: what is asked for, and what is refused"
send() { # STREAM < lines with their times
  { printf 'REQ_NEW_INCOMING_LOGS\n%s\nTIMESTAMPS_INSIDE\n' "$1"; cat; printf 'CLOSE\n'; }
}
begin=$(($(date +%s) - 5000))
printf '%s.5 a "b" \\ é\n%s.250001 second\n' "$begin" $((begin + 1)) >"$scratch/two"
send web.test <"$scratch/two" | ip netns exec web-node python3 -c "
import socket, sys
s = socket.create_connection(('$server', 12347)); s.sendall(sys.stdin.buffer.read()); s.shutdown(1); s.recv(1)"
range="from=$begin&to=$((begin + 10))"
has_two() { get "$url/api/v1/logs?$range" | jq -e '.num_logs == 2'; }
eventually 20 has_two
json "/api/v1/logs?$range&issuer=$node" ".num_logs == 2 and .logs == [
  {timestamp: $begin.5, line: \"a \\\"b\\\" \\\\ é\", issuer: \"$node\", stream: \"web.test\"},
  {timestamp: $((begin + 1)).250001, line: \"second\", issuer: \"$node\", stream: \"web.test\"}]"
json "/api/v1/logs?from=${begin}000&to=${begin}500.5&ts_unit=ms" ".num_logs == 1 and .logs[0].timestamp == ${begin}500.0"
json "/api/v1/logs?from=$begin.5&to=$((begin + 1)).250001" '.num_logs == 0'
json "/api/v1/logs?$range&stream=web.*" '.num_logs == 2'
json "/api/v1/logs?$range&stream=nothing%7Cweb.test" '.num_logs == 2'
json "/api/v1/logs?$range&stream=web" '.num_logs == 0'
json "/api/v1/logs?$range&issuer=nobody" '. == {"logs": [], "num_logs": 0}'
json "/api/v1/logs?$range&limit=1&anything=x" '.num_logs == 1 and .logs[0].line != "second"'
json "/api/v1/logs?from=$((begin + 10))&to=$begin" '.num_logs == 0'
now=$(date +%s)
while read -r query said; do
  answers '400 text/plain' "/api/v1/logs?$query" "$said" -H 'Prefer: errors=text-only'
done <<END
to=$now parameter 'from' is missing
from=$now parameter 'to' is missing
from=&to=$now parameter 'from' is missing
from=yesterday&to=$now invalid value 'yesterday' for parameter 'from'
from=NaN&to=$now invalid value 'NaN'
from=1e400&to=$now invalid value '1e400'
from=1339999999&to=$now ts_from is too old
from=$now&to=$((now + 60)) ts_to is in the future.*ts_unit=ms
from=${now}000&to=$now ts_from is in the future
$range&ts_unit=ns invalid value 'ns' for parameter 'ts_unit'
$range&stream=%5B Invalid regular expression
$range&limit=all invalid value 'all' for parameter 'limit'
END

say "nodes are not offered this unless the administrator says so; their own values they have"
on() { ip netns exec web-node "$@"; }
[ "$(on curl -s -o /dev/null -w '%{http_code}' "http://$server/api/v1/logs?$range")" = 403 ] || fail "a node may read logs"
[ "$(on curl -s -o /dev/null -w '%{http_code}' "http://$server/metrics")" = 403 ] || fail "a node may read metrics"
[ "$(on curl -s -o /dev/null -w '%{http_code}' "http://$server/walt-vpn/node-conf/vpn-mac")" = 200 ] || fail "no VPN values"
on curl -sf -m 5 "http://127.0.0.1/" >/dev/null && fail "loopback of a node answers?"

say "a million lines"
rss() { awk '/^VmRSS/ {print $2}' "/proc/$(platform-server-pid)/status"; }
peak() { awk '/^VmHWM/ {print $2}' "/proc/$(platform-server-pid)/status"; }
cat >"$scratch/fill.py" <<'END'
import socket, sys, time
address, stream, first, count = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
s = socket.create_connection((address, 12347))
s.sendall(f"REQ_NEW_INCOMING_LOGS\n{stream}\nTIMESTAMPS_INSIDE\n".encode())
for start in range(0, count, 10000):
    s.sendall("".join(f"{first + n / 1000:.6f} line number {n} of this experiment\n"
                      for n in range(start, min(start + 10000, count))).encode())
s.sendall(b"CLOSE\n"); s.shutdown(1); s.recv(1)
END
first=$((begin + 100))
million=million-$begin
SECONDS=0
on python3 "$scratch/fill.py" $server "$million" $first 1000000
stored() { get -s "$url/metrics" | awk '/^walt_log_lines_total/ {exit !($2 >= 1000002)}'; }
eventually 120 stored
say "stored after $SECONDS s"
echo 5 >"/proc/$(platform-server-pid)/clear_refs"
before=$(rss)
cat >"$scratch/read.py" <<'END'
import json, sys
logs, last = 0, None
for line in sys.stdin:
    line = line.rstrip("\n")
    if line.startswith('{"timestamp"'):
        record = json.loads(line.removesuffix('], "num_logs": 1000000}').removesuffix(","))
        assert record["line"] == f"line number {logs} of this experiment", record
        logs += 1
    last = line
assert last.endswith('], "num_logs": 1000000}'), last
print(logs)
END
SECONDS=0
all="$url/api/v1/logs?from=$((first - 1))&to=$((first + 1001))&stream=$million"
[ "$(inside curl -sS --max-time 200 -f "$all" | python3 "$scratch/read.py")" = 1000000 ] ||
  fail "not a million lines"
grown=$(($(peak) - before))
say "read in $SECONDS s; the server's memory grew by $grown KiB at most"
((grown < 48 * 1024)) || fail "that is too much"

say "a client that goes away stops its query"
quiet() { [ "$(ls "/proc/$(platform-server-pid)/fd" | wc -l)" -le "$files" ]; }
files=$(ls "/proc/$(platform-server-pid)/fd" | wc -l)
for _ in 1 2 3 4 5 6 7 8; do
  get "$url/api/v1/logs?from=$((first - 1))&to=$((first + 1001))" 2>/dev/null | head -n 2 >/dev/null || true
done
eventually 20 quiet

say "50 clients poll while 100000 lines come"
cat >"$scratch/poll.py" <<'END'
import asyncio, json, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
async def client(end):
    polls = 0
    while time.time() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", 80)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        head, body = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert b'"num_logs"' in body, body[-100:]
        writer.close()
        polls += 1
        await asyncio.sleep(0.1)
    return polls
async def main():
    end = time.time() + seconds
    print(sum(await asyncio.gather(*(client(end) for _ in range(50)))))
asyncio.run(main())
END
inside python3 "$scratch/poll.py" "/api/v1/logs?from=$((first))&to=$((first + 1))&limit=100" 6 >"$scratch/polls" &
poller=$!
on python3 "$scratch/fill.py" $server during $((first + 2000)) 100000
wait "$poller" || fail "a poll failed"
(($(cat "$scratch/polls") >= 50)) || fail "only $(cat "$scratch/polls") polls"
all_there() { json "/api/v1/logs?from=$((first + 1999))&to=$((first + 2200))&stream=during&limit=100001" '.num_logs == 100000'; }
eventually 60 all_there
say "$(cat "$scratch/polls") polls"

say "metrics, by the parser of Prometheus"
cat >"$scratch/metrics.py" <<'END'
import sys
from prometheus_client.parser import text_string_to_metric_families as parse
text = sys.stdin.read()
families = {family.name: family for family in parse(text)}
def value(name, **labels):
    found = [s.value for f in families.values() for s in f.samples if s.name == name and s.labels == labels]
    assert len(found) == 1, (name, labels, found)
    return found[0]
assert families["walt_log_lines"].type == "counter"
assert value("walt_log_lines_total") >= 1100002
assert value("walt_nodes", state="down") >= 1 and value("walt_nodes", state="booted") == 0
assert value("walt_devices", type="server") == 1
assert value("walt_dhcp_answers_total", answer="ack") >= 1
assert value("walt_web_log_lines_total") >= 1000000
assert value("walt_images") >= 1 and value("walt_images_in_use") >= 1
assert value("walt_database_bytes", database="logs") > 50e6
assert value("walt_task_panics_total") == 0 and value("walt_problems") == 0
assert 1e6 < value("process_resident_memory_bytes") < 1e9
assert abs(value("process_start_time_seconds") - float(sys.argv[1])) < 3600
assert families["walt_build_info"].samples[0].labels["version"]
for name in ("walt_tftp_files_total", "walt_http_files_total"):
    value(name, outcome="complete")
value("walt_nfs_calls_total", protocol="nfs3")
samples = sum(len(f.samples) for f in families.values())
assert samples < 120, samples
print(samples, "samples")
END
[ "$(status "$url/metrics")" = '200 text/plain; version=0.0.4; charset=utf-8' ] || fail "metrics have another content type"
get -f "$url/metrics" | "$venv/bin/python" "$scratch/metrics.py" "$(date +%s)"

say "a collector of small requests: lines that come while it is away and while the server is killed are sent when it is back, each once"
cat >"$scratch/collector.py" <<'END'
# Decodes requests with the official protobuf classes of OpenTelemetry.
import http.server, json, sys
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
refusals = int(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global refusals
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer secret" and self.path == "/v1/logs"
        if len(body) > 400_000:
            self.send_response(413); self.send_header("Content-Length", "0"); self.end_headers()
            return
        if refusals:
            refusals -= 1
            self.send_response(503); self.send_header("Content-Length", "0"); self.end_headers()
            return
        request = Parse(body, ExportLogsServiceRequest())
        with open(sys.argv[1], "a") as out:
            for resource in request.resource_logs:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                for record in resource.scope_logs[0].log_records:
                    a = {a.key: a.value for a in record.attributes}
                    out.write(json.dumps([a["walt.seq"].int_value, names["host.name"], a["walt.stream"].string_value,
                                          record.time_unix_nano, record.body.string_value]) + "\n")
        answer = b'{"partialSuccess":{}}'
        self.send_response(200); self.send_header("Content-Length", str(len(answer))); self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", 4318), Handler).serve_forever()
END
cp "$state/server.conf" "$scratch/server.conf"
collector=
without_collector() {
  cp "$scratch/server.conf" "$state/server.conf" 2>/dev/null
  [ -z "$collector" ] || kill "$collector"
}
at_end without_collector
printf 'Bearer secret\n' >"$scratch/token"
printf 'otlp:\n  url: http://127.0.0.1:4318/v1/logs\n  authorization-file: %s\n' "$scratch/token" >>"$state/server.conf"
up() { get -f "$url/metrics" >"$scratch/metrics" && grep -q '^walt_otlp_lines_sent_total' "$scratch/metrics"; }
platform-kill-server
eventually 60 up
send otlp.a <<<"$begin.5 one" | on python3 -c "
import socket, sys
s = socket.create_connection(('$server', 12347)); s.sendall(sys.stdin.buffer.read()); s.shutdown(1); s.recv(1)"
on python3 "$scratch/fill.py" $server otlp.b $((first + 3000)) 20000
# What is not yet in the store when it is killed was never taken: nothing tells a sender of this protocol.
there() { get -f "$url/api/v1/logs?from=$((first + 2999))&to=$((first + 3100))&stream=otlp.b" | jq -e '.num_logs == 20000'; }
eventually 30 there
failures() { get -f "$url/metrics" | awk '/^walt_otlp_failures_total/ {exit !($2 > 0)}'; }
eventually 30 failures
platform-kill-server
eventually 60 up
inside "$venv/bin/python" "$scratch/collector.py" "$scratch/taken" 2 &
collector=$!
on python3 "$scratch/fill.py" $server otlp.c $((first + 4000)) 5000
taken() { [ "$(grep -c "\"$node\", \"otlp\\." "$scratch/taken")" -ge 25001 ]; }
eventually 60 taken
nothing_waits() { get -f "$url/metrics" | awk '/^walt_otlp_lines_waiting/ {exit !($2 == 0)}'; }
eventually 20 nothing_waits
python3 - "$scratch/taken" "$node" "$begin" <<'END'
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
numbers = [row[0] for row in rows]
# At least once: a batch whose answer was late comes again, whole and right after.
once = list(dict.fromkeys(numbers))
# A batch has the lines of one issuer after those of another.
for issuer in {row[1] for row in rows}:
    mine = list(dict.fromkeys(row[0] for row in rows if row[1] == issuer))
    assert mine == sorted(mine), f"out of order: {issuer}"
print(f"{len(rows)} lines taken, {len(rows) - len(once)} of them again")
rows = list({row[0]: row for row in rows}.values())
one = [row for row in rows if row[2] == "otlp.a"]
assert len(one) == 1 and one[0][1] == sys.argv[2] and one[0][4] == "one"
assert one[0][3] == (int(sys.argv[3]) * 10 + 5) * 10**8, one
for stream, count in (("otlp.b", 20000), ("otlp.c", 5000)):
    lines = [row[4] for row in rows if row[2] == stream]
    assert lines == [f"line number {n} of this experiment" for n in range(count)], (stream, len(lines))
assert not any(row[2].startswith("million") for row in rows), "lines of before are not to be sent"
END
say "done"
