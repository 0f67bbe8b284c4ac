#!/usr/bin/env bash
# A shell in an image for another CPU: its programs run, the server sees to that.
# timeout: 600
# needs: debian
# needs: arm64
# shellcheck source=checks/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
me=$(id -un)

say "a tiny image of ARM programs"
mkdir "$scratch/arm"
"$here/../image-shell/tiny.sh" "$scratch/arm"
rootfs=$(ls -t /var/cache/walt-rs/debian/arm64-*/rootfs.tar | head -n 1)
tar -xOf "$rootfs" ./usr/bin/busybox >"$scratch/arm/bin/busybox"
ln -s busybox "$scratch/arm/bin/uname"
platform-import-image "$me/arm" "$scratch/arm" --arch arm64
walt image show --refresh >/dev/null

say "a shell in it"
TYPE='uname -m > /root/machine' NAME=arm-new "$here/../image-shell/shell.exp" new arm
walt image cp arm-new:machine "$scratch/machine"
expect_output '^aarch64$' cat "$scratch/machine"

say "the new image is for the same CPU"
[ "$(platform-storage image inspect "docker.io/$me/arm-new" --format '{{.Architecture}}')" = arm64 ]

say "a build whose steps run its programs"
mkdir "$scratch/build"
printf 'FROM arm\nRUN uname -m >/root/built\nLABEL walt.node.models=rpi-4-b\n' >"$scratch/build/Dockerfile"
walt image build arm-built --from-dir "$scratch/build"
walt image cp arm-built:built "$scratch/built"
expect_output '^aarch64$' cat "$scratch/built"
[ "$(platform-storage image inspect "docker.io/$me/arm-built" --format '{{.Architecture}}')" = arm64 ]

say "a CPU that cannot be run here is named, and nothing is left"
platform-import-image "$me/strange" "$scratch/arm" --arch s390x
walt image show --refresh >/dev/null
expect_failure "CPU 's390x' cannot be run on this server" walt image shell strange
[ "$(walt image sessions --json | jq length)" = 0 ]
walt image cp strange:/etc/passwd "$scratch/passwd"
