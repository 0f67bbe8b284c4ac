#!/usr/bin/env bash
# Images are built from a directory and from a git repository; whatever fails or is cut leaves the old image and nothing else.
# timeout: 1200
# shellcheck source-path=SCRIPTDIR source=../lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

storage() { "$1" --root "$WALT_CHECK_STATE/containers" --runroot "$WALT_CHECK_RUN/containers" "${@:2}"; }
if [ -e "$WALT_CHECK_RUN/containers.conf" ]; then
  export CONTAINERS_CONF=$WALT_CHECK_RUN/containers.conf
fi
me=$(id -un)
id_of() { walt image show --json | jq -er --arg n "$1" '.[] | select(.name == $n) | .id'; }
inside() { storage podman run --rm --pull=never --network none "docker.io/$me/$1:latest" "${@:2}"; }
took() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f s", b - a }'; }

# A step of builds that takes long, known from those of other checks.
sleep_step="busybox sleep $((1000000 + $$))"
sleeping="$sleep_step\$"

# Nothing temporary is left: containers, tags, folders, processes.
clean() {
  local found tags
  found=$(storage podman ps --all --external --format '{{.Names}}') || return
  tags=$(storage podman images --format '{{.Repository}}:{{.Tag}}') || return
  found+=$(grep 'walt/op' <<<"$tags" || :)
  found+=$(find "$WALT_CHECK_STATE/work" -mindepth 1 -maxdepth 1 -name 'op-*' 2>/dev/null || :)
  found+=$(pgrep -af "$sleeping" || :)
  [ -z "$found" ] || { echo "left: $found" >&2; return 1; }
}

context=$scratch/context
mkdir -p "$context/sub" "$context/secret"
cp /bin/busybox "$context/busybox"
echo kept >"$context/sub/kept.txt"
echo no >"$context/secret/key"
echo no >"$context/a.tmp"
echo yes >"$context/b.tmp"
printf '# what stays here\nsecret\n**/*.tmp\n!b.tmp\n' >"$context/.dockerignore"
cat >"$context/Dockerfile" <<'END'
# escape=\
FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
FROM base
COPY . /ctx/
RUN printf '%s' 'a\nb' | sed 's/\\n/:/' \
  # a comment in the middle
  >/slash
LABEL walt.node.models=pc-x86-64
CMD ["/bin/sh"]
END

say "from a directory, .dockerignore honoured"
begin=$(date +%s.%N)
walt image build tiny --from-dir "$context" >"$scratch/out" 2>"$scratch/err" || fail "build: $(cat "$scratch/out" "$scratch/err")"
end=$(date +%s.%N)
for line in '** Receiving the client directory content' '** Verifying the repository' '** Building the image' \
  '** Verifying the image' OK; do
  grep -qxF -- "$line" "$scratch/out" || fail "no line '$line': $(cat "$scratch/out")"
done
grep -q 'STEP 2/' "$scratch/out" || fail "the steps are not told"
# A FROM that could not be booted is said, and built all the same: no node has it.
grep -q '/boot/pc-x86-64' "$scratch/err" || fail "nobody is told what it lacks: $(cat "$scratch/err")"
[ "$(inside tiny find /ctx -type f | sort | tr '\n' ' ')" = "/ctx/.dockerignore /ctx/Dockerfile /ctx/b.tmp /ctx/busybox /ctx/sub/kept.txt " ] ||
  fail "files: $(inside tiny find /ctx -type f)"
[ "$(inside tiny cat /slash)" = "a:b" ] || fail "the Dockerfile was changed: $(inside tiny cat /slash)"
clean
begin2=$(date +%s.%N)
storage podman build -q --no-cache --format docker --network host -t localhost/plain "$context" >/dev/null
end2=$(date +%s.%N)
say "build: $(took "$begin" "$end"), by podman build: $(took "$begin2" "$end2")"
storage podman rmi localhost/plain >/dev/null

say "again: every step from the cache; the overwrite is asked for"
first=$(id_of tiny)
expect_failure "exists and will be replaced" walt image build tiny --from-dir "$context" </dev/null
printf 'n\n' | expect_failure "Aborted" walt image build tiny --from-dir "$context"
walt image build tiny --from-dir "$context" --yes >"$scratch/out"
[ "$(grep -c 'Using cache' "$scratch/out")" -ge 5 ] || fail "no cache: $(cat "$scratch/out")"
[ "$(id_of tiny)" = "$first" ] || fail "the cached build is another image"

say "FROM one of my images, an argument, a default image, an image nobody has"
mkdir "$scratch/from"
# shellcheck disable=SC2016  # for the builder
printf 'ARG NAME=tiny\nFROM ${NAME}:latest\nRUN echo own >/own\n' >"$scratch/from/Containerfile"
walt image build derived:v1 --from-dir "$scratch/from" >/dev/null 2>&1
[ "$(storage podman run --rm --pull=never --network none "docker.io/$me/derived:v1" cat /own /slash)" = "own
a:b" ] || fail "derived"
default=$(walt image show --all --json | jq -er 'first(.[] | select(.set == "default") | .full_name)')
printf 'FROM %s\nLABEL mine=1\n' "$default" >"$scratch/from/Containerfile"
walt image build of-default --from-dir "$scratch/from" >"$scratch/out" 2>"$scratch/err" || fail "$(cat "$scratch/out" "$scratch/err")"
! grep -q Vital "$scratch/err" || fail "$(cat "$scratch/err")"
printf 'FROM nobody-has-it\n' >"$scratch/from/Containerfile"
expect_failure "you have no image of this name" walt image build none --from-dir "$scratch/from"

say "failures: status 1, the old image stays"
unchanged() { [ "$(id_of tiny)" = "$first" ] || fail "tiny changed: $1"; clean || fail "something is left: $1"; }
printf 'FROM tiny\nRUN echo before && exit 3\n' >"$scratch/from/Containerfile"
! walt image build tiny --from-dir "$scratch/from" --yes >"$scratch/out" 2>"$scratch/err" || fail "a failing step built"
grep -qx "Sorry, image build FAILED\." "$scratch/err" || fail "said: $(cat "$scratch/err")"
grep -qx "See 'walt help show image-build' for more info\." "$scratch/out" || fail "said: $(cat "$scratch/out")"
unchanged "a failing step"

say "files of the server are no images"
touch "$scratch/secret"
tar -cf "$scratch/secret.tar" -C "$scratch" secret
refused() {
  printf '%s\n' "$@" >"$scratch/from/Containerfile"
  expect_failure "not the name of an image|not from|could be taken for|not understood|not known before" \
    walt image build tiny --from-dir "$scratch/from" --yes
}
for source in "docker-archive:$scratch/secret.tar" "dir:$scratch" "oci:$scratch:x" "tarball:$scratch/secret.tar" \
  "containers-storage:[overlay@$WALT_CHECK_STATE/containers+$WALT_CHECK_RUN/containers]docker.io/$me/tiny"; do
  refused "FROM $source"
  # shellcheck disable=SC2016  # for the builder
  refused "ARG BASE=$source" 'FROM $BASE'
  refused 'FROM tiny' "COPY --from=$source / /stolen"
  refused 'FROM tiny' "RUN --mount=type=bind,from=$source,target=/stolen true"
  refused 'FROM tiny' "ONBUILD COPY --from=$source / /stolen"
  refused 'FROM tiny' 'RUN <<END' "FROM $source" 'END'
done
# shellcheck disable=SC2016  # for the builder
refused 'FROM $NEVER_SET'
printf 'FROM tiny\n' >"$scratch/from/Containerfile"
storage buildah from --pull-never --name onbuild "docker.io/$me/tiny:latest" >/dev/null
storage buildah config --onbuild "COPY --from=dir:$scratch / /stolen" onbuild
storage buildah commit -q --format docker --rm onbuild "docker.io/$me/onbuild:latest" >/dev/null
printf 'FROM onbuild\n' >"$scratch/from/Containerfile"
expect_failure "what it adds to the build \(ONBUILD\)" walt image build tiny --from-dir "$scratch/from" --yes
storage podman rmi "docker.io/$me/onbuild:latest" >/dev/null
unchanged "files of the server"

say "a list of what stays here that cannot be read is no empty list"
printf 'FROM tiny\nCOPY . /ctx2/\n' >"$scratch/from/Containerfile"
mkdir "$scratch/from/.dockerignore"
expect_failure ".dockerignore cannot be used" walt image build tiny --from-dir "$scratch/from" --yes
rmdir "$scratch/from/.dockerignore"
unchanged "no list"
[ "$(stat -c %a "$WALT_CHECK_STATE/work") $(stat -c %a "$WALT_CHECK_STATE/downloads")" = "700 700" ] ||
  fail "others can read what images are built from"
printf 'FROM scratch\nCOPY Containerfile /\n' >"$scratch/from/Containerfile"
expect_failure "no label walt.node.models" walt image build tiny --from-dir "$scratch/from" --yes
unchanged "no label"
mkdir "$scratch/empty"
expect_failure "neither Dockerfile nor Containerfile" walt image build tiny --from-dir "$scratch/empty" --yes
ln -s /etc/passwd "$scratch/empty/Dockerfile"
expect_failure "Sorry, image build FAILED" walt image build tiny --from-dir "$scratch/empty" --yes
for name in Bad_name default 'x:' a/b; do
  expect_failure "bad name|bad image name|not understood" walt image build "$name" --from-dir "$context"
done
expect_failure "from-dir <directory> or --from-url" walt image build x
expect_failure "goes with --from-url" walt image build x --sub-dir y
expect_failure "given --from-dir, the following are invalid" walt image build x --from-dir "$context" --from-url https://host/x
expect_failure "there is no directory" walt image build x --from-dir /nowhere

say "hostile archives"
hostile() {
  curl -sS --unix-socket "${WALT_SERVER#unix:}" -X POST -H 'content-type: application/x-tar' --data-binary "@$1" \
    "http://x/api/v1/images/tiny/build?confirmed=true" >"$scratch/answer"
  grep -q "$2" "$scratch/answer" || fail "answer: $(cat "$scratch/answer")"
}
touch "$scratch/out-file"
tar -C "$scratch/empty" -P --transform 's,.*,../../escaped,' -cf "$scratch/up.tar" "$scratch/out-file"
hostile "$scratch/up.tar" "is outside of the directory"
tar -P -cf "$scratch/abs.tar" "$scratch/out-file"
hostile "$scratch/abs.tar" "is outside of the directory"
head -c 100000 /dev/urandom >"$scratch/noise.tar"
hostile "$scratch/noise.tar" "could not be received"
unchanged "hostile archives"

say "from a git repository"
mkdir -p "$scratch/git/deep/er"
cp -r "$context/." "$scratch/git/deep/er/"
printf 'FROM tiny\nRUN echo top >/top\n' >"$scratch/git/Dockerfile"
ln -s /etc "$scratch/git/etc"
git_in() { git -C "$scratch/git" -c user.name=x -c user.email=x@y "$@"; }
git_in init -q -b main && git_in add -A -f && git_in commit -qm first
git clone -q --bare "$scratch/git" "$scratch/served/repository.git"
platform-inside git daemon --base-path="$scratch/served" --export-all --reuseaddr --listen=127.0.0.1 --port=9418 \
  >"$scratch/daemon" 2>&1 &
daemon=$!
stop_daemon() { kill "$daemon" 2>/dev/null || :; }
at_end stop_daemon
url=git://127.0.0.1/repository.git
eventually 20 platform-inside git ls-remote "$url"
expect_output "^\*\* Cloning the git repository at $url\$" walt image build from-git --from-url "$url"
[ "$(inside from-git cat /top)" = top ] || fail "from-git"
walt image build from-git --from-url "$url" --sub-dir /deep/er/ --yes >/dev/null 2>&1
inside from-git test -e /ctx/sub/kept.txt
! inside from-git test -e /ctx/secret || fail ".dockerignore of a repository"
first_git=$(id_of from-git)
expect_failure "no folder" walt image build from-git --from-url "$url" --sub-dir nowhere --yes
expect_failure "not a folder inside" walt image build from-git --from-url "$url" --sub-dir ../.. --yes
expect_failure "no folder" walt image build from-git --from-url "$url" --sub-dir etc --yes
expect_failure "could not be fetched" walt image build from-git --from-url git://127.0.0.1/nothing.git --yes
for bad in 'ext::sh -c id' "file://$scratch/served/repository.git" "$scratch/served/repository.git" '--upload-pack=id' \
  'ssh://-oProxyCommand=id/x'; do
  expect_failure "not the address of a git repository" walt image build from-git "--from-url=$bad" --yes
done
[ "$(id_of from-git)" = "$first_git" ] || fail "from-git changed"
clean

say "ctrl-C, and a client that is killed"
printf 'FROM tiny\nRUN echo begun && %s\n' "$sleep_step" >"$scratch/from/Containerfile"
for signal in INT KILL; do
  walt image build tiny --from-dir "$scratch/from" --yes >"$scratch/out" 2>&1 &
  client=$!
  eventually 60 pgrep -f "$sleeping"
  expect_failure "a build of $me is running" walt image build tiny --from-dir "$context" --yes
  kill -"$signal" "$client"
  wait "$client" && fail "an interrupted build ended well"
  eventually 30 clean
  unchanged "ctrl-C"
done

say "the server is killed at each step"
printf 'FROM tiny\nRUN echo another >/another\n' >"$scratch/from/Containerfile"
for step in "build: the files are there" "build: before podman" "build: built" "build: checked" "put: before the tag"; do
  platform-kill-at "$step"
  ! walt image build tiny --from-dir "$scratch/from" --yes >/dev/null 2>&1 || fail "a server killed at '$step' built"
  platform-kill-at --wait
  [ "$(id_of tiny)" = "$first" ] || fail "tiny changed: $step"
  eventually 30 clean
done
printf 'FROM tiny\nRUN %s\n' "$sleep_step" >"$scratch/from/Containerfile"
walt image build tiny --from-dir "$scratch/from" --yes >/dev/null 2>&1 &
client=$!
eventually 60 pgrep -f "$sleeping"
platform-kill-server
wait "$client" && fail "a build whose server was killed ended well"
eventually 30 clean
printf 'FROM tiny\nRUN echo another >/another\n' >"$scratch/from/Containerfile"
walt image build tiny --from-dir "$scratch/from" --yes >/dev/null 2>&1
[ "$(inside tiny cat /another)" = another ] || fail "the build after all that"
clean
