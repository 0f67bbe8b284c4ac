# What `cargo xtask test --fast` needs, and what the server drives.
{ pkgs }:
pkgs.mkShell {
  packages =
    (with pkgs; [
      cargo
      rustc
      clippy
      rustfmt
      rust-analyzer
      cargo-deny
      cargo-nextest
      # The one with a manual needs pandoc.
      shellcheck-minimal
      nixfmt
      deadnix
      jq
      expect
      curl
      socat
    ])
    ++ import ./tools.nix { inherit pkgs; };
}
