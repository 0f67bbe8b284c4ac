#!/bin/sh
# Runs a command that runs programs of another architecture: foreign.sh ARCHITECTURE EMULATOR COMMAND... Where the kernel does
# not run them yet, it is told to in a mount namespace of this command's own (build.sh makes one): the registration goes with
# the mount, nothing is left on the machine.
set -eu

architecture=$1 name=$2
shift 2
registry=/proc/sys/fs/binfmt_misc
if ! arch-test "$architecture" >/dev/null 2>&1; then
    case $architecture in
        arm64) machine='\xb7\x00' ;;
        amd64) machine='\x3e\x00' ;;
        *) echo "image: ERROR: no emulator is known for $architecture" >&2 && exit 1 ;;
    esac
    [ -e "$registry/register" ] || mount -t binfmt_misc binfmt_misc "$registry"
    # 64-bit little-endian ELF programs and shared objects of this machine, opened now (F): a chroot needs no emulator.
    magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00'$machine
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    [ -e "$registry/$name" ] || printf '%s' ":$name:M::$magic:$mask:/usr/bin/$name-static:OCPF" >"$registry/register"
    arch-test "$architecture" >/dev/null || {
        echo "image: ERROR: this machine does not run $architecture programs, even with /usr/bin/$name-static" >&2
        exit 1
    }
fi
exec "$@"
