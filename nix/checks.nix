# `nix flake check`: what is proved without hardware.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};
  sources = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../flake.nix
      ../nix
      ../nixos-modules
    ];
  };
in
{
  inherit (packages) walt walt-server walt-node;

  nix-format = pkgs.runCommand "nix-format" { nativeBuildInputs = [ pkgs.nixfmt ]; } ''
    find ${sources} -name '*.nix' -exec nixfmt --check {} +
    touch $out
  '';

  nix-dead-code = pkgs.runCommand "nix-dead-code" { nativeBuildInputs = [ pkgs.deadnix ]; } ''
    deadnix --fail ${sources}
    touch $out
  '';

  server-starts = pkgs.testers.runNixOSTest (import ./vm/server-starts.nix { inherit self; });
}
