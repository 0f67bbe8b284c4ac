#!/usr/bin/env bash
# An image gets a single layer and keeps its files; what images lack is found and explained.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

storage() { "$1" --root "$WALT_CHECK_STATE/containers" --runroot "$WALT_CHECK_RUN/containers" "${@:2}"; }
if [ -e "$WALT_CHECK_RUN/containers.conf" ]; then
  export CONTAINERS_CONF=$WALT_CHECK_RUN/containers.conf
fi
me=$(id -un)
id_of() { walt image show --json | jq -er --arg n "$1" '.[] | select(.name == $n) | .id'; }
layers_of() { storage podman image inspect "docker.io/$me/$1:latest" | jq '.[0].RootFS.Layers | length'; }
took() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f s", b - a }'; }

say "the default image boots its nodes"
default=pc
storage podman tag docker.io/waltplatform/pc-x86-64-default:latest "docker.io/$me/$default:latest"
eventually 10 id_of "$default"
walt image check "$default" >"$scratch/out" || fail "$(cat "$scratch/out")"
cat "$scratch/out"
walt image check "$default" --json | jq -e '.boots and ([.findings[] | select(.level == "vital")] == [])' >/dev/null

say "an image of several layers, with hard links, extended attributes, a removed file"
mkdir "$scratch/tree"
cp /bin/busybox "$scratch/tree/busybox"
cat >"$scratch/tree/Dockerfile" <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN echo one >/one && ln /one /two && mkdir /d && echo gone >/gone
RUN rm /gone && echo may >/able && chmod 4711 /bin/busybox && chown 12:34 /d
LABEL walt.node.models=pc-x86-64 walt.test=kept
ENV KEPT=yes
CMD ["/bin/sh"]
END
walt image build flat --from-dir "$scratch/tree" >"$scratch/out" 2>&1 || fail "$(cat "$scratch/out")"
container=$(storage buildah from --pull-never "docker.io/$me/flat:latest")
point=$(storage buildah mount "$container")
setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= "$point/able"
storage buildah commit -q --rm "$container" "docker.io/$me/flat:latest" >/dev/null
walt image show --refresh >/dev/null
[ "$(layers_of flat)" -gt 3 ] || fail "layers: $(layers_of flat)"
listing() {
  local container point
  container=$(storage buildah from --pull-never "docker.io/$me/flat:latest")
  point=$(storage buildah mount "$container")
  (cd "$point" && find . -mindepth 1 ! -path './proc*' ! -path './sys*' ! -path './dev*' ! -path './run*' ! -path './etc*' \
    \( -type d -printf '%p %y %m %U %G\n' -o -printf '%p %y %m %U %G %s %n %l\n' \) | sort
    getfattr -n security.capability -e hex able; stat -c %i one two | uniq | wc -l)
  storage buildah rm "$container" >/dev/null
}
listing >"$scratch/before"
grep -q capability "$scratch/before"
old=$(id_of flat)
begin=$(date +%s.%N)
expect_output '^Image was squashed successfully\.$' walt image squash flat
end=$(date +%s.%N)
listing >"$scratch/after"
diff "$scratch/before" "$scratch/after" || fail "files changed"
tail -n 1 "$scratch/after" | grep >/dev/null -x 1 || fail "no hard link any more"
[ "$(layers_of flat)" = 1 ] || fail "layers: $(layers_of flat)"
storage podman image inspect "docker.io/$me/flat:latest" |
  jq -e '.[0].Config | .Labels["walt.test"] == "kept" and (.Env | index("KEPT=yes")) != null and .Cmd == ["/bin/sh"]' >/dev/null
begin2=$(date +%s.%N)
container=$(storage buildah from --pull-never "$old" 2>/dev/null || storage buildah from --pull-never "docker.io/$me/flat:latest")
storage buildah commit -q --squash --rm "$container" localhost/plain-squash >/dev/null
end2=$(date +%s.%N)
storage buildah rmi localhost/plain-squash >/dev/null
say "squash: $(took "$begin" "$end"), by buildah alone: $(took "$begin2" "$end2")"
expect_failure "no such image" walt image squash nothing
for step in "squash: before the container" "squash: the container is made" "squash: the layer is written" \
  "put: before the tag"; do
  before=$(id_of flat)
  platform-kill-at "$step"
  ! walt image squash flat >/dev/null 2>&1 || fail "a server killed at '$step' squashed"
  platform-kill-at --wait
  [ "$(id_of flat)" = "$before" ] || fail "flat changed: $step"
done
nothing_left() {
  local containers
  containers=$(storage podman ps --all --external --format '{{.Names}}') || fail "podman does not answer"
  [ -z "$containers" ] || fail "left: $containers"
  [ -z "$(find "$WALT_CHECK_STATE/work" -mindepth 1)" ] || fail "left: $(find "$WALT_CHECK_STATE/work")"
}
nothing_left

say "the server is killed while the layer is written: the writing ends with it"
writing="buildah .*$WALT_CHECK_STATE/.* commit "
before=$(id_of "$default")
pid=$(platform-server-pid)
walt image squash "$default" >/dev/null 2>&1 &
client=$!
eventually 60 pgrep -f "$writing"
kill -9 "$pid"
gone() { ! pgrep -f "$writing"; }
eventually 5 gone
! wait "$client" || fail "a squash whose server was killed ended well"
back() { [ "$(platform-server-pid)" != "$pid" ] && walt node show; }
eventually 60 back
[ "$(id_of "$default")" = "$before" ] || fail "$default changed"
nothing_left

say "a node boots it: asked at the prompt; the node is rebooted after success is told"
new_machine squash-1
lease squash-1 -V walt.node.pc-x86-64 >/dev/null
mac=$(ip netns exec squash-1 cat /sys/class/net/eth0/address)
node_there() { walt node show --all --json | jq -er --arg m "$mac" '.[] | select(.mac == $m) | .name'; }
eventually 30 node_there
node=$(node_there)
# Nothing answers on it: it cannot be rebooted, but it has the image.
expect_failure "failed soft-reboot" walt node boot "$node" flat
cat >"$scratch/squash.exp" <<'EXP'
set timeout 120
proc await {pattern code} {
  expect {
    -re $pattern {}
    timeout { exit $code }
    eof { exit $code }
  }
}
spawn walt image squash flat
await {Warning: 1 node boots this image and will be rebooted\..*Are you sure\? \(y/n\): $} 11
send "maybe\r"
await {Invalid response\.\s+Are you sure\? \(y/n\): $} 12
send "n\r"
await {Aborted\.} 13
expect eof
lassign [wait] pid spawn_id os_error status
if {$status != 1} { exit 14 }
spawn walt image squash flat
await {Are you sure\? \(y/n\): $} 15
send "y\r"
await {OK\..*Image was squashed successfully\.\s+Trying to reboot node [^ ]+ using this image\.\.\..*failed soft-reboot} 16
expect eof
lassign [wait] pid spawn_id os_error status
exit $status
EXP
status=0
expect "$scratch/squash.exp" >"$scratch/typed" || status=$?
# The image is changed; that the machine cannot be rebooted makes it a failure all the same.
[ "$status" = 1 ] || fail "squash on a terminal ended with $status: $(cat "$scratch/typed")"
expect_failure "failed soft-reboot" walt node boot "$node" default

say "what broken images lack"
# broken NAME PATTERN LINE...: an image made from the default one by these Dockerfile lines.
broken() {
  local name=$1 pattern=$2
  shift 2
  mkdir -p "$scratch/$name"
  { printf 'FROM %s\n' "$default"; printf '%s\n' "$@"; } >"$scratch/$name/Dockerfile"
  walt image build "$name" --from-dir "$scratch/$name" >"$scratch/out" 2>&1 || fail "$name: $(cat "$scratch/out")"
  expect_failure "$pattern" walt image check "$name"
  walt image check "$name" --json >"$scratch/json" && fail "$name: status 0"
  jq -e '.boots == false and .findings[0].level == "vital"' "$scratch/json" >/dev/null || fail "$(cat "$scratch/json")"
}
broken no-kernel '/boot/pc-x86-64/kernel is missing' 'RUN rm /boot/pc-x86-64/kernel'
broken bad-link 'initrd is a link to ../nowhere' 'RUN ln -sf ../nowhere /boot/pc-x86-64/initrd'
broken no-busybox '/bin/busybox is missing' 'RUN rm /usr/bin/busybox'
broken no-init '/sbin/init is missing' 'RUN rm -f /usr/sbin/init'
broken no-overlay 'no overlay file system' \
  "RUN sed -i '/overlay.ko/d' /lib/modules/*/modules.dep"
expect_failure 'does not list rpi-3-b' walt image check "$default" --model rpi-3-b
expect_failure 'no folder /boot/rpi-3-b' walt image check "$default" --model rpi-3-b
expect_failure 'model' walt image check "$default" --model ../x
expect_failure "no such image" walt image check nothing
expect_failure 'neither sshd nor dropbear' walt image check flat
