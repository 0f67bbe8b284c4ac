# What the packages of this workspace have in common.
{ lib }:
{
  inherit ((lib.importTOML ../Cargo.toml).workspace.package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../crates
      # Built into the programs: `walt help`, the page of errors.
      ../docs
      # A member of the workspace; nothing of it is built here.
      ../xtask
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;

  meta = {
    homepage = "https://github.com/walt-rs/walt-rs";
    license = lib.licenses.bsd3;
    platforms = lib.platforms.linux;
  };
}
