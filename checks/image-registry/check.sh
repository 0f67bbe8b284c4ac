#!/usr/bin/env bash
# Images go to registries and come back: another platform gets the same content; what is cut goes on; traps do nothing.
# timeout: 900
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=checks/image-registry/parts.sh
. "$(dirname "$0")/parts.sh"
user=$(id -un)
export HOME=$scratch/home
mkdir -p "$HOME"
at_end parts_end

say "registries: one without accounts, one with TLS and an account, one of traps"
# Of this run alone: nothing of it can be on this machine before.
secret=tr0mb0ne-$(openssl rand -hex 16)
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout "$scratch/ca.key" -out "$scratch/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=lab -keyout "$scratch/key.pem" -out "$scratch/request.pem" 2>/dev/null
openssl x509 -req -days 2 -in "$scratch/request.pem" -CA "$scratch/ca.pem" -CAkey "$scratch/ca.key" -CAcreateserial \
  -extfile <(echo subjectAltName=IP:127.0.0.1) -out "$scratch/cert.pem" 2>/dev/null
perl -e 'print "labuser:", crypt($ARGV[0], q($2b$05$abcdefghijklmnopqrstuu)), "\n"' "$secret" >"$scratch/htpasswd"
registry plain 5000
registry lab 5443 '  tls:' "    certificate: $scratch/cert.pem" "    key: $scratch/key.pem" \
  'auth:' '  htpasswd:' '    realm: lab' "    path: $scratch/htpasswd"
relay 5001 5000
relay 5444 5443
start python3 "$here/hostile.py" 5002
mkdir -p "$WALT_CHECK_STATE/certs.d/127.0.0.1:5444"
cp "$scratch/ca.pem" "$WALT_CHECK_STATE/certs.d/127.0.0.1:5444/ca.crt"
cat >"$scratch/registries" <<'END'
- {label: plain, api: docker-registry-v2, description: Without accounts, host: 127.0.0.1, port: 5000, protocol: http, auth: none}
- {label: lab, api: docker-registry-v2, description: With an account, host: 127.0.0.1, port: 5444}
- {label: evil, api: docker-registry-v2, description: Traps, host: 127.0.0.1, port: 5002, protocol: http, auth: none}
END
platform-layered-image "$user/reg-a:latest" 4
platform-registries "$scratch/registries"
for url in http://127.0.0.1:5000/v2/ https://127.0.0.1:5444/v2/ http://127.0.0.1:5002/v2/; do eventually 20 answers "$url"; done
eventually 10 id_of reg-a

say "where to publish is asked when there are several"
expect_failure '^plain +Without accounts' walt image publish reg-a
expect_failure "Invalid registry 'nope'" walt image publish reg-a --registry nope
expect_failure "no such image" walt image publish nothing --registry plain

say "published, found, and the same on another platform"
expect_output "^plain:$user/reg-a\$" walt image publish reg-a --registry plain
walt image search reg-a --json >"$scratch/found" 2>"$scratch/said"
jq -e --arg l "plain:$user/reg-a" '.[] | select(.clone_link == $l) | .models == ["pc-x86-64"]' "$scratch/found" >/dev/null
grep -q "'lab' is left out: it needs an account" "$scratch/said" || fail "said: $(cat "$scratch/said")"
grep -q "'evil' is left out of this search" "$scratch/said" || fail "said: $(cat "$scratch/said")"
second_make
expect_output '"reg-a" was cloned successfully' second image clone "plain:$user/reg-a"
[ "$(second_id_of reg-a)" = "$(id_of reg-a)" ] || fail "another image: $(second_id_of reg-a), not $(id_of reg-a)"
nothing_left "$scratch/second/state"

say "a name that is taken, a link that is none"
expect_failure "walt image clone --force plain:$user/reg-a reg-a" second image clone "plain:$user/reg-a"
expect_output '"reg-a" was cloned' second image clone --force "plain:$user/reg-a"
expect_failure 'already belongs to your working set' second image clone "walt:$user/reg-a" other
expect_failure 'walt\|docker\|plain' second image clone "moon:$user/reg-a"
expect_failure 'walt\|docker\|plain' second image clone reg-a
expect_failure 'no such remote image' second image clone "plain:$user/nothing"
expect_failure 'no such remote image' second image clone "walt:nobody/nothing"
expect_failure 'Bad name' second image clone "plain:$user/reg-a" Not_A_Name

say "of another user: no copy is made"
expect_output 'walt \(other user\)' walt image search waltplatform
expect_output '"copy" was cloned' walt image clone walt:waltplatform/pc-x86-64-default copy
[ "$(id_of copy)" = "$(walt image show --all --json | jq -r '.[] | select(.full_name == "waltplatform/pc-x86-64-default:latest") | .id')" ]

say "a download that is cut goes on by itself; with the registry away for longer, at the next try"
control=$scratch/relay-5001
platform-layered-image "$user/reg-b:latest" 30
eventually 10 id_of reg-b
expect_output "^plain:$user/reg-b\$" walt image publish reg-b --registry plain
echo 9000000 >"$control/cut"
expect_output '"once" was cloned' second image clone "plain:$user/reg-b" once
[ ! -e "$control/cut" ] || fail "nothing was cut"
platform-layered-image "$user/reg-c:latest" 30
eventually 10 id_of reg-c
walt image publish reg-c --registry plain >/dev/null
echo 5000000 >"$control/rate"
WALT_SERVER="unix:$scratch/second/run/api.sock" walt image clone "plain:$user/reg-c" >"$scratch/interrupted" 2>&1 &
client=$!
arrived() { [ "$(du -sb "$scratch/second/state/downloads" | cut -f1)" -gt 4000000 ]; }
eventually 30 arrived
kill -INT "$client"
! wait "$client" || fail "an interrupted clone ends well"
grep -q Aborted "$scratch/interrupted" || fail "said: $(cat "$scratch/interrupted")"
idle() { [ -z "$(ls -A "$scratch/second/state/work")" ]; }
eventually 20 idle
! second_id_of reg-c >/dev/null 2>&1 || fail "an interrupted clone is there"
arrived || fail "what had arrived was not kept"
touch "$control/down"
expect_failure "registry 'plain'" second image clone "plain:$user/reg-c"
arrived || fail "what had arrived was not kept"
rm "$control/down" "$control/rate"
before=$(cat "$control/passed")
expect_output '"reg-c" was cloned' second image clone "plain:$user/reg-c"
passed=$(($(cat "$control/passed") - before))
say "the rest was $passed bytes"
((passed < 28000000)) || fail "$passed bytes were downloaded again"
[ "$(second_id_of reg-c)" = "$(id_of reg-c)" ] || fail "another image after a resumed download"
nothing_left "$scratch/second/state"

say "how far it is, and how fast"
platform-layered-image "$user/reg-d:latest" 30
eventually 10 id_of reg-d
walt image publish reg-d --registry plain >/dev/null
echo 5000000 >"$control/rate"
WALT_SERVER="unix:$scratch/second/run/api.sock" expect -c "
  set timeout 120
  spawn walt image clone plain:$user/reg-d
  expect {
    -re {Downloading ([0-9.]+) of ([0-9.]+) MB \([0-9]+%\), ([0-9.]+) ([kM]B)/s, [0-9]+ s left} {
      send_user \"\nread: \$expect_out(0,string)\n\"
    }
    timeout { exit 8 }
    eof { exit 9 }
  }
  exec rm $control/rate
  expect -re {was cloned successfully} {}
  expect eof
  exit [lindex [wait] 3]
" >"$scratch/moving" || fail "no progress: $(cat "$scratch/moving")"
grep -a '^read: ' "$scratch/moving"

say "an account: asked for, again when it is wrong; from the environment; from a file of the original; kept when wanted"
echo 6000000 >"$scratch/relay-5444/rate"
printf 'labuser\nwrong\nlabuser\n%s\n' "$secret" | walt image publish reg-b --registry lab >"$scratch/asked" 2>&1 &
client=$!
seen() { [ "$(cat "$scratch/relay-5444/passed" 2>/dev/null || echo 0)" -gt 100 ]; }
eventually 20 seen
for _ in $(seq 10); do
  ! grep -alF "$secret" /proc/[0-9]*/cmdline 2>/dev/null || fail "the password is on a command line"
  sleep 0.1
done
rm "$scratch/relay-5444/rate"
wait "$client" || fail "not published: $(cat "$scratch/asked")"
grep -q '^lab:labuser/reg-b$' "$scratch/asked" || fail "said: $(cat "$scratch/asked")"
grep -q "refused" "$scratch/asked" || fail "the wrong password was not told: $(cat "$scratch/asked")"
! grep -qF "$secret" "$scratch/asked" || fail "the password is shown"
printf 'labuser\nwrong\n' | expect_failure 'Aborted' walt image clone lab:labuser/reg-b by-env
export WALT_REGISTRY_LAB_USERNAME=labuser WALT_REGISTRY_LAB_PASSWORD=$secret
expect_output '"by-env" was cloned' walt image clone lab:labuser/reg-b by-env </dev/null
[ "$(id_of by-env)" = "$(id_of reg-b)" ] || fail "another image came back"
expect_output 'lab:labuser/reg-b' walt image search labuser
unset WALT_REGISTRY_LAB_USERNAME WALT_REGISTRY_LAB_PASSWORD
export secret
expect -c '
  set timeout 60
  spawn walt image clone lab:labuser/reg-b by-file
  expect "username: " { send "labuser\r" }
  expect "password (or token): " { send "$env(secret)\r" }
  expect "(y/n): " { send "y\r" }
  expect "Configuration was updated" {}
  expect eof
  exit [lindex [wait] 3]
' >"$scratch/typed" || fail "typed: $(cat "$scratch/typed")"
! grep -qF "$secret" "$scratch/typed" || fail "the password is echoed"
[ "$(stat -c %a "$HOME/.walt/config")" = 600 ] || fail "others can read $HOME/.walt/config"
! grep -qF "$secret" "$HOME/.walt/config" || fail "the password is not masked"
expect_output '"by-file" was cloned' walt image clone --force lab:labuser/reg-b by-file </dev/null
left=$(grep -rlF --exclude-dir=overlay "$secret" "$WALT_CHECK_STATE" "$WALT_CHECK_RUN" 2>/dev/null || true)
[ -z "$left" ] || fail "the password is on the server's disk: $left"

say "traps: each is told, nothing comes of it"
names_in_store >"$scratch/names-before"
rm -f /tmp/walt-trapped
trap_says() { expect_failure "$2" walt image clone "evil:trap/$1" </dev/null; }
trap_says nothing 'no such remote image'
trap_says asks "asks for a user name, but server.conf says"
trap_says busy 'refuses more requests'
trap_says broken '500.*wiped'
! (walt image clone evil:trap/broken 2>&1 || true) | grep >/dev/null "$(printf '\033')" || fail "a registry writes on the terminal"
trap_says garbage 'unexpected'
trap_says million 'too large'
trap_says endless 'too large|unexpected'
trap_says not-walt 'not a WalT image'
trap_says too-new 'version 99'
trap_says wrong-config 'wrong content'
trap_says wrong-digest 'wrong content'
trap_says too-short 'cut|unexpected|wrong'
trap_says dot-dot 'refused'
trap_says absolute 'refused'
trap_says link-out 'refused'
[ ! -e /tmp/walt-trapped ] || fail "a trap wrote /tmp/walt-trapped"
names_in_store | diff "$scratch/names-before" - || fail "a trap left something in the store"
walt image show --names-only | tee "$scratch/mine" | grep >/dev/null -E '^(million|dot-dot|absolute)' && fail "a trap is an image: $(cat "$scratch/mine")"
nothing_left "$WALT_CHECK_STATE"

say "the server is killed at each step of a clone: the name means one or the other"
old=$(id_of reg-a)
new=$(id_of reg-b)
for step in "clone: before the download" "clone: after the download" "clone: before the name" "put: before the tag" \
  "put: after the tag" "clone: before the temporary name goes"; do
  platform-kill-at "$step"
  ! walt image clone --force "plain:$user/reg-b" reg-a >"$scratch/killed" 2>&1 || fail "not killed at '$step'"
  platform-kill-at --wait
  now=$(id_of reg-a)
  case $step in
    clone:\ before\ the\ temp* | put:\ after*) [ "$now" = "$new" ] || fail "after '$step': $now, not $new" ;;
    *) [ "$now" = "$old" ] || fail "after '$step': $now, not $old" ;;
  esac
  nothing_left "$WALT_CHECK_STATE"
  tags=$(store images --format '{{.Repository}}')
  ! grep >/dev/null 'localhost/walt/op' <<<"$tags" || fail "after '$step', a temporary name is left"
  expect_output '"reg-a" was cloned' walt image clone --force "plain:$user/reg-a" reg-a
  [ "$(id_of reg-a)" = "$old" ] || fail "it cannot be cloned back after '$step'"
done

say "default images: a newer one is taken; a missing one comes when a node needs it"
platform-layered-image waltplatform/pc-toy-default:latest 1 pc-toy
sleep 1
platform-layered-image "$user/reg-c:latest" 1 pc-toy
push() {
  platform-inside skopeo copy --quiet --dest-tls-verify=false \
    "containers-storage:[overlay@$WALT_CHECK_STATE/containers+$WALT_CHECK_RUN/containers]docker.io/$1" "docker://127.0.0.1:5000/$2"
}
push "$user/reg-c:latest" waltplatform/pc-toy-default:latest
expect_output 'Updating waltplatform/pc-toy-default using a newer version from plain' walt advanced update-default-images </dev/null
expect_output 'No updates available' walt advanced update-default-images </dev/null
push "$user/reg-b:latest" waltplatform/pc-x86-64-default:latest
expect_output 'Cloned pc-x86-64-default' second node create toy
expect_output 'pc-x86-64-default:latest was downloaded from plain' second log show --history full --platform
printf 'y\n' | second node remove toy
