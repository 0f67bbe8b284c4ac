//! `cargo xtask agent`: the node agent as one static program per architecture, kept in a cache.
//!
//! An architecture has one or more ways to be built, tried in their order: a target whose standard library is installed is
//! taken first, else rustup is asked for one. The linker is the one Rust brings for targets with musl, and Debian's cross
//! compiler where only glibc is to be had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::command::{answer, cargo, is_there, program, repository};
use crate::debian::Need;
use crate::packages;
use crate::progress::Step;

/// Where the built programs are kept between runs.
pub const CACHE: &str = "/var/cache/walt-rs/agent";

/// What to build.
#[derive(clap::Args)]
pub struct Options {
    /// Architecture: x86_64, aarch64, armhf or all.
    #[arg(long, default_value = "all")]
    target: String,
    /// Folder where walt-node.x86_64 and so on are put.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name in file names and options.
    pub name: &'static str,
    ways: &'static [Way],
}

/// A target of the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    target: &'static str,
    linker: &'static str,
    flags: &'static str,
}

const fn musl(target: &'static str) -> Way {
    Way { target, linker: "rust-lld", flags: "" }
}

const fn glibc(target: &'static str, linker: &'static str) -> Way {
    Way { target, linker, flags: "-Ctarget-feature=+crt-static" }
}

/// PCs and virtual nodes.
pub const X86_64: Architecture = Architecture {
    name: "x86_64",
    ways: &[musl("x86_64-unknown-linux-musl"), glibc("x86_64-unknown-linux-gnu", "cc")],
};

/// 64-bit boards and servers.
pub const AARCH64: Architecture = Architecture {
    name: "aarch64",
    ways: &[
        musl("aarch64-unknown-linux-musl"),
        glibc("aarch64-unknown-linux-gnu", "aarch64-linux-gnu-gcc"),
    ],
};

/// ARMv7 with hardware floating point: Raspberry Pi 2 and later.
pub const ARMHF: Architecture = Architecture {
    name: "armhf",
    ways: &[
        glibc("armv7-unknown-linux-gnueabihf", "arm-linux-gnueabihf-gcc"),
        musl("armv7-unknown-linux-musleabihf"),
    ],
};

/// Every architecture of nodes.
pub const ARCHITECTURES: [Architecture; 3] = [X86_64, AARCH64, ARMHF];

/// Entry point of `cargo xtask agent`.
pub fn run(options: Options) -> Result<()> {
    let wanted: Vec<&Architecture> = ARCHITECTURES
        .iter()
        .filter(|architecture| options.target == "all" || options.target == architecture.name)
        .collect();
    if wanted.is_empty() {
        bail!("no architecture {}: x86_64, aarch64, armhf or all", options.target);
    }
    for (architecture, built) in wanted.iter().zip(ensure(&wanted)?) {
        match &options.out {
            Some(out) => {
                fs::create_dir_all(out)?;
                let target = out.join(format!("walt-node.{}", architecture.name));
                fs::copy(&built, &target)
                    .with_context(|| format!("cannot write {}", target.display()))?;
                println!("{}", target.display());
            }
            None => println!("{}", built.display()),
        }
    }
    Ok(())
}

/// The static programs of these architectures, in their order; built if the cache has none of these sources.
pub fn ensure(wanted: &[&Architecture]) -> Result<Vec<PathBuf>> {
    let folder = Path::new(CACHE).join(sources()?);
    let place =
        |architecture: &Architecture| folder.join(format!("walt-node.{}", architecture.name));
    let missing: Vec<&Architecture> =
        wanted.iter().copied().filter(|architecture| !place(architecture).is_file()).collect();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|architecture| architecture.name).collect();
        let step = Step::start(format!("static node agent ({})", names.join(", ")));
        if names.contains(&"armhf") {
            packages::ensure(Need::Image)?;
        }
        let built = build(&missing)?;
        keep_few(&folder)?;
        for (architecture, built) in missing.iter().zip(built) {
            // A build beside this one finds the whole file or none.
            let part = folder.join(format!(".{}.{}", architecture.name, std::process::id()));
            fs::copy(&built, &part)?;
            fs::rename(&part, place(architecture))?;
        }
        step.done("built");
    }
    Ok(wanted.iter().map(|architecture| place(architecture)).collect())
}

/// A name for everything the program is made of.
fn sources() -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(answer(&mut program("rustc", ["-vV"]))?);
    // The crates it uses, with their versions: not all of Cargo.lock, most of which is other programs'.
    let words = ["tree", "--quiet", "-p", "walt-node", "-e", "normal,build", "--prefix", "none"];
    let tree = answer(cargo(words).args(["--target", "all"]))?;
    // Wherever the repository is.
    hash.update(tree.replace(&*repository().to_string_lossy(), ""));
    let ours = format!("({}/", repository().display());
    let mut folders: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_once(&ours)?.1.split_once(')').map(|(folder, _)| folder))
        .collect();
    folders.sort_unstable();
    folders.dedup();
    let mut list = program("git", ["ls-files", "-co", "--exclude-standard", "--"]);
    for name in answer(list.args(folders).arg("xtask/src/agent.rs"))?.lines() {
        hash.update(name);
        // A file that was removed is listed until that is committed.
        hash.update(fs::read(repository().join(name)).unwrap_or_default());
    }
    let manifest = fs::read_to_string(repository().join("Cargo.toml"))?;
    for profile in ["release", "agent"] {
        let section = manifest.split(&format!("[profile.{profile}]")).nth(1).unwrap_or_default();
        hash.update(section.split("\n[").next().unwrap_or_default());
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Builds the program for these architectures, in one run of cargo.
fn build(wanted: &[&Architecture]) -> Result<Vec<PathBuf>> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), PathBuf::from)
        .join("agent");
    let mut build = cargo(["build", "--quiet", "--profile", "agent", "-p", "walt-node"]);
    build.env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS");
    let mut built = Vec::new();
    for architecture in wanted {
        let way = way(architecture)?;
        let key = way.target.to_uppercase().replace('-', "_");
        build.args(["--target", way.target]);
        build.env(format!("CARGO_TARGET_{key}_LINKER"), way.linker);
        build.env(format!("CARGO_TARGET_{key}_RUSTFLAGS"), way.flags);
        built.push(target.join(way.target).join("agent/walt-node"));
    }
    answer(&mut build)?;
    Ok(built)
}

/// The way that works on this machine.
fn way(architecture: &Architecture) -> Result<Way> {
    let root = answer(&mut program("rustc", ["--print", "sysroot"]))?;
    let has_linker = |way: &&Way| way.linker == "rust-lld" || is_there(way.linker);
    let is_installed = |way: &&Way| {
        Path::new(root.trim()).join("lib/rustlib").join(way.target).join("lib").is_dir()
    };
    let ways = || architecture.ways.iter().filter(has_linker);
    if let Some(way) = ways().find(is_installed) {
        return Ok(*way);
    }
    let mut refusals = Vec::new();
    for way in ways() {
        match answer(Command::new("rustup").args(["target", "add", way.target])) {
            Ok(_) => return Ok(*way),
            Err(error) => {
                refusals.push(format!("{error:#}").lines().take(3).collect::<Vec<_>>().join("; "))
            }
        }
    }
    let targets: Vec<&str> = architecture.ways.iter().map(|way| way.target).collect();
    bail!(
        "no way to build for {}: the standard library of one of these targets is needed: {} ({})",
        architecture.name,
        targets.join(", "),
        refusals.join(" / ")
    )
}

/// Makes the folder, and removes those of older sources; the last few stay for those who switch between branches.
fn keep_few(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut folders: Vec<_> = fs::read_dir(CACHE)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    folders.sort();
    for (_, old) in folders.iter().rev().skip(8) {
        let _ = fs::remove_dir_all(old);
    }
    Ok(())
}
