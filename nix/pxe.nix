# The boot loaders given to PCs: the very script that collects Debian's collects those of nixpkgs.
{ runCommand, ipxe }:
runCommand "walt-pxe" { WALT_IPXE_DIR = ipxe; } ''
  sh ${../images/pxe/collect.sh} $out
''
