# The agent of nodes. Called from a static package set.
{ lib, rustPlatform }:
let
  workspace = import ./workspace.nix { inherit lib; };
in
rustPlatform.buildRustPackage {
  pname = "walt-node";
  inherit (workspace) version src cargoLock;

  buildType = "agent";
  cargoBuildFlags = [
    "--package"
    "walt-node"
  ];
  doCheck = false;

  meta = workspace.meta // {
    description = "What a node of a WalT platform runs: log tools, boot tools";
    mainProgram = "walt-node";
  };
}
