# `nix run .` and `nix run .#demo`.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};
in
{
  default = {
    type = "app";
    program = lib.getExe packages.walt;
    meta.description = "The command of a WalT platform's users";
  };
  walt-server = {
    type = "app";
    program = lib.getExe packages.walt-server;
    meta.description = "The server of a WalT platform";
  };
}
