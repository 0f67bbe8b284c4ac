//! Building and finding the programs a platform runs.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::command::{cargo, repository, show};

/// How the programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `cargo build`: what the tests use, compiled once with them.
    Dev,
    /// `cargo build --release`: what people and measurements use.
    Release,
}

/// The compiled programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The folder that holds them.
    pub folder: PathBuf,
}

impl Binaries {
    /// Compiles `walt` and `walt-server` (quietly when nothing changed).
    pub fn build(profile: Profile) -> Result<Binaries> {
        let mut build = cargo(["build", "--quiet", "-p", "walt-server", "-p", "walt-client"]);
        if profile == Profile::Release {
            build.arg("--release");
        }
        show(&mut build)?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| repository().join("target"), PathBuf::from);
        let folder = target.join(match profile {
            Profile::Dev => "debug",
            Profile::Release => "release",
        });
        for name in ["walt", "walt-server"] {
            if !folder.join(name).is_file() {
                bail!("cargo built no {}", folder.join(name).display());
            }
        }
        Ok(Binaries { folder })
    }

    /// The client.
    pub fn walt(&self) -> PathBuf {
        self.folder.join("walt")
    }

    /// The daemon.
    pub fn server(&self) -> PathBuf {
        self.folder.join("walt-server")
    }
}
