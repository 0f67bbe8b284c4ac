//! The default node image: built by `images/debian/build.sh`, kept in a cache, imported once.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{answer, program, repository, show};
use crate::debian::Need;
use crate::packages;
use crate::platform::Place;
use crate::progress::Step;

/// Where the built image is kept between runs.
pub const CACHE: &str = "/var/cache/walt-rs/debian";

/// Where to build.
#[derive(clap::Args)]
pub struct Options {
    /// Folder that keeps downloaded packages and the built image.
    #[arg(long, default_value = CACHE)]
    cache: PathBuf,
}

/// Entry point of `cargo xtask image`.
pub fn run(options: Options) -> Result<()> {
    packages::ensure(Need::Image)?;
    show(recipe().arg("--cache").arg(&options.cache).arg("--out").arg(options.cache.join("out")))
}

fn recipe() -> std::process::Command {
    program::<&str>(&repository().join("images/debian/build.sh").to_string_lossy(), [])
}

/// The default image is in the platform's storage; it is built or imported when it is not.
pub fn ensure(place: &Place) -> Result<()> {
    let step = Step::start("default node image (Debian 12, pc-x86-64)");
    let (root, run_root) = place.storage();
    let cache = Path::new(CACHE);
    let mut build = recipe();
    build.arg("--cache").arg(cache).arg("--out").arg(cache.join("out"));
    build.arg("--import-root").arg(root).arg("--import-runroot").arg(run_root);
    answer(&mut build)?;
    step.done("is in the platform's storage");
    Ok(())
}
