# `walt`, with its completion.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  workspace = import ./workspace.nix { inherit lib; };
in
rustPlatform.buildRustPackage {
  pname = "walt";
  inherit (workspace) version src cargoLock;

  cargoBuildFlags = [
    "--package"
    "walt-client"
  ];
  cargoTestFlags = [
    "--package"
    "walt-client"
  ];

  nativeBuildInputs = [ installShellFiles ];
  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    installShellCompletion --cmd walt \
      --bash <($out/bin/walt advanced dump-bash-autocomplete) \
      --zsh <($out/bin/walt advanced dump-zsh-autocomplete)
  '';

  meta = workspace.meta // {
    description = "The command of a WalT platform's users";
    mainProgram = "walt";
  };
}
