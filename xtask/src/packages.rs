//! `cargo xtask packages`: what Debian must have installed, and its installation.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{answer, is_there, program};
use crate::debian::{Need, PACKAGES, Package};

/// What to do with the list.
#[derive(clap::Args)]
pub struct Options {
    /// Install what is missing (needs root).
    #[arg(long)]
    install: bool,
    /// Print the list as the Markdown of docs/debian-packages.md.
    #[arg(long, conflicts_with = "install")]
    markdown: bool,
}

/// Entry point of `cargo xtask packages`.
pub fn run(options: Options) -> Result<()> {
    if options.markdown {
        print!("{}", markdown());
        return Ok(());
    }
    if options.install {
        return ensure(Need::Test);
    }
    let missing = missing(Need::Test)?;
    for package in PACKAGES {
        let state = if missing.contains(package.name) { "missing" } else { "there" };
        println!("{:<18} {:<8} {}", package.name, state, package.why);
    }
    Ok(())
}

/// The text of `docs/debian-packages.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Debian packages\n\n\
         What the platform, its node image and its tests take from Debian 12. The list is kept in\n\
         `xtask/src/debian.rs`; `cargo xtask packages --install` installs it, and `cargo xtask demo`\n\
         and `cargo xtask test` do so themselves.\n",
    );
    for (need, title) in [
        (Need::Platform, "To run a platform"),
        (Need::Image, "To build the default node image"),
        (Need::Test, "To run the tests"),
    ] {
        text.push_str(&format!("\n## {title}\n\n| package | used for |\n| --- | --- |\n"));
        for package in PACKAGES.iter().filter(|package| package.need == need) {
            let suite = if package.backports { " (bookworm-backports)" } else { "" };
            text.push_str(&format!("| `{}`{suite} | {} |\n", package.name, package.why));
        }
    }
    text.push_str(
        "\n## Unpacked, never installed\n\n\
         Boot media and firmware of boards are made of these, which `images/boot-media/fetch.sh` fetches with package lists\n\
         of its own: `raspi-firmware` (Debian 13, non-free-firmware), `ipxe` (Debian 13), `syslinux`, `syslinux-common`,\n\
         `u-boot-rpi` (armel, armhf and arm64), and the device trees of `linux-image-armmp` (armhf).\n",
    );
    text
}

fn wanted(need: Need) -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().filter(move |package| package.need <= need)
}

fn missing(need: Need) -> Result<BTreeSet<&'static str>> {
    if !is_there("dpkg-query") {
        bail!("this is not a Debian machine (no dpkg-query): a Debian 12 one is needed");
    }
    let installed = answer(&mut program(
        "dpkg-query",
        ["--show", "--showformat", "${db:Status-Abbrev} ${Package}\n"],
    ))?;
    let installed: BTreeSet<&str> =
        installed.lines().filter_map(|line| line.strip_prefix("ii  ")).collect();
    Ok(wanted(need).map(|package| package.name).filter(|name| !installed.contains(name)).collect())
}

/// Installs the packages of this need (and of the needs before it) that are not there yet.
pub fn ensure(need: Need) -> Result<()> {
    let missing = missing(need)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        let names: Vec<_> = missing.into_iter().collect();
        bail!("not root, and these Debian packages are missing: {}", names.join(" "));
    }
    println!(
        "Installing Debian packages: {}",
        missing.iter().copied().collect::<Vec<_>>().join(" ")
    );
    let (late, main): (Vec<&Package>, Vec<&Package>) = wanted(need)
        .filter(|package| missing.contains(package.name))
        .partition(|package| package.backports);
    // A new machine has no package lists yet; they also tell which mirror it uses.
    apt(&["update", "-qq"])?;
    if !late.is_empty() && enable_backports()? {
        apt(&["update", "-qq"])?;
    }
    for (packages, suite) in [(main, None), (late, Some("bookworm-backports"))] {
        if packages.is_empty() {
            continue;
        }
        let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
        words.extend(suite.into_iter().flat_map(|suite| ["-t", suite]));
        words.extend(packages.iter().map(|package| package.name));
        apt(&words)?;
    }
    Ok(())
}

fn apt(words: &[&str]) -> Result<()> {
    let mut command = program("apt-get", words);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    // The packages' own chatter is kept for the error message.
    answer(&mut command).map(drop)
}

/// Whether it had to be enabled.
fn enable_backports() -> Result<bool> {
    const FILE: &str = "/etc/apt/sources.list.d/walt-backports.sources";
    let known = answer(&mut program("apt-cache", ["policy"]))?;
    if known.contains("n=bookworm-backports") || Path::new(FILE).exists() {
        return Ok(false);
    }
    let mirror = mirror()?;
    let text = format!(
        "Types: deb\nURIs: {mirror}\nSuites: bookworm-backports\nComponents: main\n\
         Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    );
    std::fs::write(FILE, text).with_context(|| format!("cannot write {FILE}"))?;
    Ok(true)
}

/// The mirror the machine already uses for Debian itself.
fn mirror() -> Result<String> {
    let targets = answer(&mut program(
        "apt-get",
        ["indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"],
    ))?;
    targets
        .lines()
        .find_map(|line| line.strip_prefix("bookworm "))
        .map(str::to_owned)
        .context("apt has no source for Debian 12 (bookworm); is this a Debian 12 machine?")
}
