#!/bin/sh
# helpers.sh put|remove TREE [foreign]: programs that stand in for Debian's while it is installed in this tree.
set -eu

tree=$2
bin=$tree/usr/local/bin
place=/usr/local/lib/walt-native
case $1 in
    put)
        mkdir -p "$bin"
        # Nodes boot the initrd of walt-update-boot and have the server's host key: to make Debian's initrd and keys takes
        # long, in an emulator above all.
        printf '#!/bin/sh\nexit 0\n' | tee "$bin/update-initramfs" >"$bin/ssh-keygen"
        if [ "${3-}" = foreign ]; then
            # Packages are unpacked by this machine's own dpkg-deb: to decompress them in an emulator would take longer than
            # all the rest. It comes with its libraries, and with the loader that finds them.
            mkdir -p "$tree$place"
            program=$(command -v dpkg-deb)
            cp "$program" "$tree$place/"
            ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
                cp -L "$library" "$tree$place/"
            done
            loader=$(ldd "$program" | sed -n 's/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p')
            printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' \
                "$place/${loader##*/}" "$place" "$place/dpkg-deb" >"$bin/dpkg-deb"
        fi
        chmod 755 "$bin"/*
        ;;
    remove)
        rm -rf "$tree$place" "$bin/update-initramfs" "$bin/ssh-keygen" "$bin/dpkg-deb"
        # Where dpkg had to look for them.
        rm "$tree/etc/apt/apt.conf.d/99mmdebstrap"
        ;;
    *) exit 2 ;;
esac
