# What `nix build .#NAME` makes.
{ pkgs }:
let
  walt = (pkgs.extend (import ./overlay.nix)).walt-rs;
  node = cross: cross.pkgsStatic.callPackage ./node.nix { };
in
{
  default = walt.client;
  walt = walt.client;
  walt-server = walt.server;
  walt-pxe = walt.pxe;
  walt-node = walt.node;
}
// pkgs.lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
  walt-node-aarch64 = node pkgs.pkgsCross.aarch64-multiplatform;
  walt-node-armv7l = node pkgs.pkgsCross.armv7l-hf-multiplatform;
}
