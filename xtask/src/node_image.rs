//! The default node images: built by `images/debian/build.sh`, kept in a cache, imported once.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::agent;
use crate::command::{answer, program, repository, show};
use crate::debian::Need;
use crate::packages;
use crate::platform::Place;
use crate::progress::Step;

/// Where the built images are kept between runs.
pub const CACHE: &str = "/var/cache/walt-rs/debian";

/// What to build, and where.
#[derive(clap::Args)]
pub struct Options {
    /// Folder that keeps downloaded packages and the built images.
    #[arg(long, default_value = CACHE)]
    cache: PathBuf,
    /// Architecture of the nodes: amd64 or arm64.
    #[arg(long, default_value = "amd64")]
    arch: String,
    /// Kernel: cloud (virtual machines only, small) or generic (every machine Debian knows).
    #[arg(long, default_value = "cloud")]
    kernel: String,
}

/// Entry point of `cargo xtask image`.
pub fn run(options: Options) -> Result<()> {
    packages::ensure(Need::Image)?;
    let out = options.cache.join("out").join(format!("{}-{}", options.arch, options.kernel));
    let mut build = recipe();
    build.args(["--architecture", &options.arch, "--kernel", &options.kernel]);
    show(build.arg("--cache").arg(&options.cache).arg("--out").arg(out))
}

fn recipe() -> std::process::Command {
    program::<&str>(&repository().join("images/debian/build.sh").to_string_lossy(), [])
}

/// The image of this architecture is in the cache, for those who import it themselves.
pub fn build(architecture: &str) -> Result<()> {
    answer(recipe().args(["--architecture", architecture, "--cache", CACHE])).map(drop)
}

/// The name, in a platform's storage, of the default image without the node agent; WalT does not show it.
const BASE: &str = "localhost/walt/base:pc-x86-64";

/// The name of the default image.
const DEFAULT: &str = "docker.io/waltplatform/pc-x86-64-default:latest";

/// The default image, with the node agent, is in the platform's storage; it is built or imported when it is not.
///
/// The agent is a layer of its own: another agent does not need another Debian.
pub fn ensure(place: &Place) -> Result<()> {
    let agent = agent::ensure(&[&agent::X86_64])?.remove(0);
    let step = Step::start("default node image (Debian 12, pc-x86-64)");
    let (root, run_root) = place.storage();
    let mut build = recipe();
    build.arg("--cache").arg(Path::new(CACHE)).args(["--name", BASE]);
    build.arg("--import-root").arg(&root).arg("--import-runroot").arg(&run_root);
    answer(&mut build)?;
    let add = repository().join("images/agent/add.sh");
    let mut add = program::<&str>(&add.to_string_lossy(), []);
    add.arg("--root").arg(root).arg("--runroot").arg(run_root);
    answer(add.arg("--agent").arg(agent).args([BASE, DEFAULT]))?;
    step.done("is in the platform's storage");
    Ok(())
}
