# Parts of the check image-registry: registries, relays, and a second platform.
# shellcheck shell=bash disable=SC2154

# All of it runs in the namespace of the platform.
started=()
start() {
  platform-inside "$@" >>"$scratch/parts.log" 2>&1 &
  started+=($!)
}

# registry NAME PORT [LINES OF ITS http SECTION...]: Debian's docker-registry.
registry() {
  local name=$1 port=$2
  shift 2
  {
    printf 'version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: %s\n' "$scratch/$name"
    printf 'http:\n  addr: 0.0.0.0:%s\n' "$port"
    printf '%s\n' "$@"
  } >"$scratch/$name.yml"
  start docker-registry serve "$scratch/$name.yml"
}

# relay PORT TO: what passes can be slowed down and cut through the folder relay-PORT.
relay() {
  mkdir -p "$scratch/relay-$1"
  start python3 "$here/relay.py" "$1" "$2" "$scratch/relay-$1"
}

answers() { platform-inside curl -ks -o /dev/null --max-time 2 "$1"; }

# The second platform: its own namespace, network and state, and a way to the first one's registries.
second_pid=''
second() { WALT_SERVER="unix:$scratch/second/run/api.sock" walt "$@"; }
second_ready() { second node show --all --names-only; }
second_start() {
  ip netns exec elsewhere walt-server run --config "$scratch/second/server.conf" --state-dir "$scratch/second/state" \
    --run-dir "$scratch/second/run" --pxe-dir "$scratch/second/pxe" --stop-nodes-on-exit >>"$scratch/second/server.log" 2>&1 &
  second_pid=$!
  eventually 60 second_ready
}
second_make() {
  mkdir -p "$scratch/second"
  platform-machine elsewhere
  ip -n elsewhere address add 192.168.152.250/24 dev eth0
  cat >"$scratch/second/server.conf" <<CONF
network:
  walt-net: {raw-device: null, ip: 192.168.199.1/24}
registries:
  - {label: plain, api: docker-registry-v2, description: Relayed, host: 192.168.152.1, port: 5001, protocol: http, auth: none}
CONF
  second_start
}

parts_end() {
  [ -z "$second_pid" ] || kill "$second_pid" 2>/dev/null
  [ -z "$second_pid" ] || wait "$second_pid"
  kill "${started[@]}" 2>/dev/null
  platform-unplug elsewhere 2>/dev/null
  findmnt -rno TARGET | grep "^$scratch/" | sort -r | while read -r mount; do umount -l "$mount"; done
  for image in "$user/reg-a" "$user/reg-b" "$user/reg-c" "$user/reg-d" "$user/copy" "$user/by-env" "$user/by-file" waltplatform/pc-toy-default; do
    store rmi --force "docker.io/$image:latest" >/dev/null 2>&1
  done
  rm -rf "$WALT_CHECK_STATE/certs.d"
  platform-registries >/dev/null 2>&1
}

store() { podman --root "$WALT_CHECK_STATE/containers" --runroot "$WALT_CHECK_RUN/containers" "$@"; }
id_of() { walt image show --json | jq -er --arg n "$1" '.[] | select(.name == $n) | .id'; }
second_id_of() { second image show --json | jq -er --arg n "$1" '.[] | select(.name == $n) | .id'; }
no_such() { ! id_of "$1" >/dev/null 2>&1; }
# What is in the store: names and ids.
names_in_store() { store images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort; }
# Nothing is left of operations.
nothing_left() {
  [ -z "$(ls -A "$1/work")" ] || fail "left in $1/work: $(ls -A "$1/work")"
}
