#!/bin/sh
# Run on the node: everything a user may do to files. What must be found again is below /srv/save.
set -eu
cd /srv/save
rm gone
rm -r gone-folder
rm -r replaced
mkdir replaced
echo new >replaced/new
mkdir empty
chmod 1750 empty
echo text >made
chown 1234:5678 made
chmod 4750 made
touch -d '2001-02-03 04:05:06.5 UTC' made
ln made linked
ln -s ../nowhere/at/all symlink
cp /bin/true capable
setcap cap_net_raw+ep capable
head -c 20000000 /dev/urandom >large
mkdir -p app/log
echo kept >app/log/data
echo kept >Cargo.lock
mv kept moved
echo appended >>changed
echo odd >"$(printf 'two\nlines, caf\303\251 and\ttab')"
echo odd >'-rf *'
name=$(printf '%0250d' 1)
mkdir -p "$name/$name"
echo deep >"$name/$name/$name"
chown -h 12:34 symlink
cd /
# Neither of these has a place in an image.
(cd /srv/save && ssh-agent -a socket >/dev/null && mkfifo fifo)
# What belongs to this node, to the server, or to logs.
echo mine >/var/log/mine
mkdir /var/log/mine.d
chmod 700 /etc/ssh/ssh_host_ecdsa_key
echo 00000000000000000000000000000000 >/etc/machine-id
rm /etc/removed-by-hand
rm /bin/walt-echo
