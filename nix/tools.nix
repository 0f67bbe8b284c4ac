# The programs the server drives.
{ pkgs }:
with pkgs;
[
  podman
  buildah
  skopeo
  gitMinimal
  openssh
  dropbear
  gnutar
  iproute2
  iputils
  util-linux
  e2fsprogs
  dosfstools
  qemu
]
