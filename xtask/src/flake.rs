//! What can be proved of the .nix files without building anything: syntax, format, dead code, and that the lock is complete.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::command::{answer, program, repository, tool};

/// Looks at every .nix file of the repository.
pub fn check() -> Result<()> {
    let tracked = answer(&mut program("git", ["ls-files", "*.nix"]))?;
    let files: Vec<PathBuf> = tracked.lines().map(|name| repository().join(name)).collect();
    if files.is_empty() {
        bail!("no .nix file is tracked");
    }
    for file in &files {
        answer(program("nix-instantiate", ["--parse", "--store", "dummy://"]).arg(file))?;
    }
    tool("nixfmt", "nixfmt_rs")?;
    answer(program("nixfmt", ["--check"]).args(&files))?;
    tool("deadnix", "deadnix")?;
    answer(program("deadnix", ["--fail"]).args(&files))?;
    // A store of its own: nothing is left in that of the machine.
    let mut metadata = program("nix", ["--extra-experimental-features", "nix-command flakes"]);
    metadata.arg("--store").arg(repository().join("target/nix-store"));
    metadata.args(["flake", "metadata", "--offline", "--no-update-lock-file"]);
    answer(metadata.arg(repository())).map(drop)
}
