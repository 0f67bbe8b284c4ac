# `walt` for the users of a machine, with its completion.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.programs.walt;
in
{
  _file = ./client.nix;

  options.programs.walt = {
    enable = lib.mkEnableOption "the `walt` command and its completion";
    package = lib.mkOption {
      type = lib.types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.walt;
      defaultText = lib.literalExpression "the `walt` of this flake";
      description = "The package that has `walt`.";
    };
    server = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "unix:/run/walt/api.sock";
      description = "Where the server is; `null` lets `walt` look for the one of this machine.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.variables = lib.mkIf (cfg.server != null) { WALT_SERVER = cfg.server; };
  };
}
