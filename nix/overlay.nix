# The packages of WalT, in any nixpkgs.
final: _: {
  walt-rs = {
    client = final.callPackage ./client.nix { };
    server = final.callPackage ./server.nix { };
    pxe = final.callPackage ./pxe.nix { };
    # One static program: it runs in any image of its architecture.
    node = final.pkgsStatic.callPackage ./node.nix { };
  };
}
