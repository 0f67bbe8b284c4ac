#!/bin/sh
# Runs on the node until /persist/stop exists. Every turn reads files of the root (dropping what is
# cached) and compares them with the first time, writes and reads back a file of /persist, and logs its
# number. What goes wrong is noted in /persist/errors.
n=0
# In memory: an error must be told even when /persist is the one that fails.
note=/run/loop-errors
fault() { echo "round $n: $*" | tee -a "$note" >>/persist/errors; }
look() { cat /usr/bin/find /usr/lib/os-release /usr/share/common-licenses/GPL-3 2>&1 | cksum; }

rm -f "$note" /persist/errors /persist/stop
first=$(look)
while [ ! -e /persist/stop ]; do
  n=$((n + 1))
  echo 3 >/proc/sys/vm/drop_caches
  [ "$(look)" = "$first" ] || fault "the root reads differently"
  { echo "$n" >/persist/rounds.new && mv /persist/rounds.new /persist/rounds; } || fault "write"
  [ "$(cat /persist/rounds)" = "$n" ] || fault "read back"
  walt-log-echo loop "round $n" || true
  sleep 0.2
done
