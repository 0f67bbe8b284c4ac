# Runs on the node: every turn reads files of the root (dropping what is cached), writes and reads
# back a file of /persist, and logs. Any error is noted in /persist/errors.
n=0
rm -f /persist/errors
while :; do
  n=$((n + 1))
  echo 3 > /proc/sys/vm/drop_caches
  cat /usr/bin/find /etc/os-release /usr/lib/os-release > /dev/null 2>> /persist/errors.new || echo "read $n" >> /persist/errors
  echo "$n" > /persist/rounds.new && mv /persist/rounds.new /persist/rounds || echo "write $n" >> /persist/errors
  [ "$(cat /persist/rounds)" = "$n" ] || echo "read back $n" >> /persist/errors
  if [ -s /persist/errors.new ]; then
    cat /persist/errors.new >> /persist/errors
  fi
  walt-log-echo loop "round $n" || true
  sleep 0.5
done
