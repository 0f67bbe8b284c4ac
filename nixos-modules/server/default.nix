# A machine that is the server of a WalT platform.
{ self }:
{
  _file = ./default.nix;

  imports = [
    (import ./options.nix { inherit self; })
    ./unit.nix
    ./machine.nix
    ./assertions.nix
    (import ../client.nix { inherit self; })
  ];
}
