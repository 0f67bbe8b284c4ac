{
  description = "WalT: a private network testbed whose nodes boot container images";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = perSystem: lib.genAttrs systems (system: perSystem nixpkgs.legacyPackages.${system});
    in
    {
      overlays.default = import ./nix/overlay.nix;

      packages = eachSystem (pkgs: import ./nix/packages.nix { inherit pkgs; });

      apps = eachSystem (pkgs: import ./nix/apps.nix { inherit pkgs self; });

      devShells = eachSystem (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);

      nixosModules = {
        default = lib.modules.importApply ./nixos-modules/server { inherit self; };
        client = lib.modules.importApply ./nixos-modules/client.nix { inherit self; };
      };

      checks = eachSystem (pkgs: import ./nix/checks.nix { inherit pkgs self; });
    };
}
