#!/usr/bin/env bash
# Questions in SQL, and what they cannot do; then the database of an original platform, made by a real PostgreSQL, is
# imported into an empty platform: same counts, same values; killed in the middle, it changes nothing.
# needs: debian
# timeout: 500
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
sql() { walt advanced sql "$@"; }

say "questions, in their three forms"
sql "select name, type from devices where type = 'server'" | tee "$scratch/table"
grep -qE '^walt-server  server' "$scratch/table" && grep -qx '(1 row)' "$scratch/table"
[ "$(sql --json "select 1 as a, null as b, 'x' as c; select 2 as a" | jq -c .)" = '[{"a":1,"b":null,"c":"x"},{"a":2}]' ] ||
  fail "JSON: $(sql --json 'select 1')"
[ "$(sql --json "select 1 where 0" | jq -c .)" = '[]' ]
[ "$(sql --json "select 1 as a, 2 as a" | jq -c .)" = '[{"a":1,"a_2":2}]' ] || fail "columns of one name"
[ "$(sql --csv "select 'a,b' as \"x y\", 'q\"q' as z")" = $'x y,z\r\n"a,b","q""q"\r' ] || fail "CSV"
[ "$(echo "\dt" | sql | grep -c '^logstreams ')" = 1 ] || fail "tables are not listed"
printf '\\d nodes\nselect 42 as\nanswer;\n\\q\nselect 43;\n' | sql >"$scratch/several"
grep -qE '^image +the image' "$scratch/several" && grep -qx '42    ' "$scratch/several" || fail "$(cat "$scratch/several")"
grep -q 43 "$scratch/several" && fail "\\q does not leave"
expect_failure "excludes|cannot be|together|exclusive|unknown|not allowed" walt advanced sql --json --csv 'select 1'

say "the prompt"
cat >"$scratch/prompt" <<'END'
set timeout 20
spawn walt advanced sql
expect "list tables with"
expect "walt=> "
send "select 6 * 7 as\r"
expect "walt-> "
send "answer;\r"
expect -re {42 *\r\n\(1 row\)}
expect "walt=> "
send "selec 1;\r"
expect "syntax error"
expect "walt=> "
send "\x1b\[A\x1b\[A\r"
expect -re {42 *\r\n\(1 row\)}
expect "walt=> "
send "\x04"
expect eof
lassign [wait] pid spawn_id os status
exit $status
END
expect "$scratch/prompt" >"$scratch/said" || fail "the prompt: $(cat "$scratch/said")"

say "nothing else than questions"
while read -r query; do
  expect_failure 'refused' sql "$query"
done <<'END'
delete from devices
update nodes set image = 'x'
insert into imported_rows values (1, 2, 3, 4)
drop table logs
attach '/etc/shadow' as s
pragma query_only = 0
vacuum
select * from server_values
select sql from platform.sqlite_master
select load_extension('/tmp/x')
select 1; delete from devices
END
expect_failure 'syntax error' sql 'selec 1'
expect_failure 'no such table' sql 'select * from no_such_table'
expect_failure 'too big|too long' sql 'select zeroblob(500000000)'
expect_failure 'more than 1000000 rows' sql --csv 'with recursive n(i) as (values (1) union all select i + 1 from n) select i from n'

say "a question that needs much memory ends, and so does one nobody waits for; the server goes on"
pid=$(platform-server-pid)
expect_failure 'memory' sql "with recursive n(i) as (values (1) union all select i + 1 from n limit 100000)
  select count(distinct hex(randomblob(50000))) from n"
timeout 1 walt advanced sql 'with recursive n(i) as (values (1) union all select i + 1 from n) select count(*) from n' && fail "it ended"
gone() { ! pgrep -P "$pid" -f sql-worker; }
eventually 10 gone
[ "$(platform-server-pid)" = "$pid" ] || fail "the server is another one"

say "an original platform, in a real PostgreSQL"
pg=$(find /usr/lib/postgresql -name initdb | sort -V | tail -n 1)
pg=${pg%/initdb}
[ -n "$pg" ] || fail "PostgreSQL is not installed"
chmod 755 "$scratch"
install -d -o postgres "$scratch/pg"
as_postgres() { (cd "$scratch/pg" && runuser -u postgres -- "$@"); }
stop_postgres() { as_postgres "$pg/pg_ctl" -D "$scratch/pg/data" -m immediate stop >/dev/null; }
as_postgres "$pg/initdb" -D "$scratch/pg/data" -E UTF8 --locale C.UTF-8 --auth trust >"$scratch/initdb" 2>&1
at_end stop_postgres
as_postgres "$pg/pg_ctl" -D "$scratch/pg/data" -w -l "$scratch/pg/log" -o "-k $scratch/pg -c listen_addresses= -c fsync=off" start \
  >/dev/null
psql() { as_postgres "$pg/psql" -h "$scratch/pg" -d walt -qAtX -v ON_ERROR_STOP=1 "$@"; }
dump() { as_postgres "$pg/pg_dump" -h "$scratch/pg" walt "$@"; }
as_postgres "$pg/createdb" -h "$scratch/pg" walt
psql <"$here/schema.sql"
psql -c "SET TimeZone = 'America/St_Johns'" -f - <"$here/fill.sql"
psql -c "ALTER DATABASE walt SET timezone = 'America/St_Johns'"
dump >"$scratch/walt.sql"
dump --rows-per-insert=100 -T logs >"$scratch/inserts.sql"
dump -Fc >"$scratch/custom"

say "what is refused"
import() { walt-server db import --state-dir "$scratch/new" "$@"; }
expect_output 'pg_dump walt' walt-server db import --help
expect_failure 'no state directory' import "$scratch/walt.sql"
mkdir "$scratch/new"
expect_failure 'custom format.*pg_restore' import "$scratch/custom"
gzip -k "$scratch/walt.sql"
expect_failure 'compressed' import "$scratch/walt.sql.gz"
head -c 5000000 "$scratch/walt.sql" >"$scratch/cut.sql"
expect_failure 'not whole' import "$scratch/cut.sql"
printf 'hello\n-- PostgreSQL database dump complete\n' >"$scratch/hello"
expect_failure 'not whole|no table of WalT' import "$scratch/hello"
expect_failure 'is not a time zone' import --timezone Mars/Olympus "$scratch/walt.sql"
expect_failure 'stop it first' walt-server db import --state-dir "$WALT_CHECK_STATE" "$scratch/walt.sql"

# ask DIR QUERY: as the server would, on a state directory of no server.
ask() { printf '%s' "$2" | walt-server sql-worker --state-dir "$1" | jq -c 'select(.event == "sql_rows") | .rows[]'; }
nothing_imported() {
  [ "$(ask "$scratch/new" "select (select count(*) from devices), (select count(*) from logs), (select count(*) from checkpoints),
    (select count(*) from imported_rows)")" = '[0,0,0,0]' ] || fail "something was imported"
}
nothing_imported

say "killed in the middle: nothing"
mkfifo "$scratch/pipe"
import "$scratch/pipe" >"$scratch/killed" 2>&1 &
importer=$!
exec 9>"$scratch/pipe"
head -c 12000000 "$scratch/walt.sql" >&9
kill -9 "$importer"
exec 9>&-
wait "$importer" 2>/dev/null && fail "it was not killed"
nothing_imported

say "a dry run, then for good"
import --dry-run --timezone UTC "$scratch/walt.sql" >"$scratch/dry"
nothing_imported
SECONDS=0
import --timezone UTC "$scratch/walt.sql" | tee "$scratch/report"
say "imported in $SECONDS s"
# The columns are as wide as their titles.
cmp <(grep '^logs ' "$scratch/dry" | tr -s ' ') <(grep '^logs ' "$scratch/report" | tr -s ' ')
grep -qE '^logs +200010  200010 ' "$scratch/report"
grep -q 'topology: kept in imported_rows: .* (20)' "$scratch/report"
expect_failure 'not empty: 52 devices, 2 checkpoints' import "$scratch/walt.sql"

say "the same lines, to the microsecond; the same devices"
of_original() {
  psql --csv -c "SELECT d.name, s.name, (extract(epoch from l.timestamp) * 1000000)::bigint, l.line
    FROM logs l JOIN logstreams s ON s.id = l.stream_id JOIN devices d ON d.mac = s.issuer_mac"
}
of_original >"$scratch/of-original"
cat >"$scratch/compare.py" <<'END'
import csv, sqlite3, sys, json
csv.field_size_limit(1 << 30)
platform = sqlite3.connect(f"file:{sys.argv[1]}/platform.db?mode=ro", uri=True)
platform.execute("ATTACH ? AS logs", (f"file:{sys.argv[1]}/logs.db?mode=ro",))
old = sorted((r[0], r[1], int(r[2]), r[3]) for r in csv.reader(open(sys.argv[2], newline="", encoding="utf-8")))
new = sorted(platform.execute("""SELECT i.name, s.name, l.timestamp, l.line FROM logs.logs l
    JOIN logs.logstreams s ON s.id = l.stream_id JOIN logs.issuers i ON i.mac = s.issuer_mac"""))
assert len(old) == 200010, len(old)
for a, b in zip(old, new):
    # As when it is logged: a line has no newline at its end.
    assert (a[0], a[1], a[2], a[3].removesuffix("\n")) == b, (a, b)
assert len(old) == len(new)
END
python3 "$scratch/compare.py" "$scratch/new" "$scratch/of-original"
[ "$(ask "$scratch/new" "select count(*), sum(json_extract(conf, '\$.\"boot.retries\"')), min(json_type(conf, '\$.\"boot.timeout\"'))
  from devices where type = 'node'")" = '[50,1275,"null"]' ] || fail "settings"
[ "$(ask "$scratch/new" "select d.ip, n.image, n.model from nodes n join devices d using (mac) where d.name = 'old7'")" = \
  '["192.168.152.107","bob/exp:v2","pc-x86-64"]' ] || fail "nodes"
[ "$(ask "$scratch/new" "select username, name, timestamp from checkpoints order by 1")" = \
  '["bob","begin-1",1709528767500000]
["root","summer",1719835200000000]' ] || fail "checkpoints"
[ "$(ask "$scratch/new" "select mode, line from logs join logstreams s on s.id = stream_id where mode = 'chunk'")" = \
  '["chunk","b'"'abc\\\\r\\\\n'"'"]' ] || fail "chunks"
[ "$(ask "$scratch/new" "select source, count(*) from imported_rows group by 1 order by 1" | tr '\n' ' ')" = \
  '["images",2] ["poeoff",1] ["switches",1] ["switchports",1] ["topology",20] ["vpnauth",1] ' ] || fail "imported_rows"
[ "$(ask "$scratch/new" "select json_extract(row, '\$.name') from imported_rows where source = 'switchports'")" = '["tab\there"]' ]

counted() {
  [ "$(ask "$scratch/new" "select sum(lines), (select count(*) from logstreams s where lines <> (select count(*) from logs
    where stream_id = s.id) or bytes < lines) from logstreams")" = '[200010,0]' ] || fail "what streams hold is not counted"
}
counted

say "a dump made of INSERT; merging keeps what is there"
mkdir "$scratch/second"
walt-server db import --state-dir "$scratch/second" --timezone UTC "$scratch/inserts.sql" >"$scratch/report"
[ "$(ask "$scratch/second" 'select count(*) from devices')" = '[52]' ] || fail "INSERT: $(cat "$scratch/report")"
import --merge "$scratch/inserts.sql" >"$scratch/report"
grep -q 'devices: kept in imported_rows: this device is here already' "$scratch/report"
[ "$(ask "$scratch/new" 'select (select count(*) from devices), (select count(*) from logs), (select count(*) from logstreams)')" = \
  '[52,200010,152]' ] || fail "merge: $(ask "$scratch/new" 'select count(*) from logs')"
counted

say "a server on what was imported: the old names, settings and lines"
cat >"$scratch/server.conf" <<'END'
network:
  walt-net:
    raw-device: null
    ip: 192.168.152.1/24
END
stop_server() { [ -z "${other:-}" ] || kill "$other" 2>/dev/null; wait "${other:-}" 2>/dev/null || true; }
at_end stop_server
unshare --net --mount sh -c 'ip link set lo up; exec "$@"' sh walt-server run --config "$scratch/server.conf" \
  --state-dir "$scratch/new" --run-dir "$scratch/run" --stop-nodes-on-exit >"$scratch/server-log" 2>&1 &
other=$!
export WALT_SERVER=unix:$scratch/run/api.sock
answering() { walt node show --all --names-only; }
eventually 60 answering
[ "$(walt node show --all --names-only | wc -l)" = 50 ] || fail "nodes"
[ "$(walt node config old7 | sed -n 's/^boot.retries=//p')" = 7 ] || fail "settings"
[ "$(walt log show --history full --issuers old1 --streams app.2 --format '{line}' | wc -l)" -gt 1000 ] || fail "lines of old1"
[ "$(walt log show --history full --issuers server --streams platform.nodes --format '{line}' | grep -c '^node old1 is booted$')" = 1 ] ||
  fail "lines of the server"
expect_output '2024-07-01|summer' walt log list-checkpoints
say "done"
