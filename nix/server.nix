# The daemon. Its tests need root and the tools it drives: they run in the VM tests.
{ lib, rustPlatform }:
let
  workspace = import ./workspace.nix { inherit lib; };
in
rustPlatform.buildRustPackage {
  pname = "walt-server";
  inherit (workspace) version src cargoLock;

  cargoBuildFlags = [
    "--package"
    "walt-server"
  ];
  doCheck = false;

  meta = workspace.meta // {
    description = "The server of a WalT platform";
    mainProgram = "walt-server";
  };
}
