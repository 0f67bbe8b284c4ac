//! Boot media: what makes machines boot that cannot do so alone, and the firmware the server hands to boards.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{answer, program, repository, show};
use crate::debian::Need;
use crate::packages;
use crate::platform::Place;
use crate::progress::Step;

/// Where `images/boot-media/fetch.sh` unpacks Debian's packages, and its lock.
const PARTS: &str = "/var/cache/walt-rs/boot-media/parts";

/// What to make, and where.
#[derive(clap::Args)]
pub struct Options {
    /// What to make; everything when nothing is named.
    medium: Option<Medium>,
    /// Folder that gets the images.
    #[arg(long, default_value = "target/boot-media")]
    out: PathBuf,
    /// Fetch the newest packages again.
    #[arg(long)]
    refresh: bool,
}

/// The media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Medium {
    /// USB stick that boots PCs: `pc-usb.img`.
    PcUsb,
    /// SD card that boots Raspberry Pi boards: `rpi-sd.img`.
    RpiSd,
    /// What Raspberry Pi boards get from the server (its folder `tftp-static`): `rpi-firmware/`.
    RpiFirmware,
}

impl Medium {
    fn recipe(self, out: &Path) -> std::process::Command {
        match self {
            Medium::PcUsb => script("pc-usb.sh", [Path::new("--out"), &out.join("pc-usb.img")]),
            Medium::RpiSd => script("rpi-sd.sh", [Path::new("--out"), &out.join("rpi-sd.img")]),
            Medium::RpiFirmware => script("rpi-firmware.sh", [&out.join("rpi-firmware")]),
        }
    }
}

/// Entry point of `cargo xtask media`.
pub fn run(options: Options) -> Result<()> {
    packages::ensure(Need::Image)?;
    let mut fetch = fetch();
    if options.refresh {
        fetch.arg("--refresh");
    }
    show(&mut fetch)?;
    std::fs::create_dir_all(&options.out)?;
    // The scripts run elsewhere.
    let out = std::path::absolute(&options.out)?;
    let every = [Medium::PcUsb, Medium::RpiSd, Medium::RpiFirmware];
    let wanted = every.into_iter().filter(|one| options.medium.is_none_or(|asked| asked == *one));
    for medium in wanted {
        show(&mut medium.recipe(&out))?;
    }
    Ok(())
}

fn script<S: AsRef<std::ffi::OsStr>>(
    name: &str,
    words: impl IntoIterator<Item = S>,
) -> std::process::Command {
    let path = repository().join("images/boot-media").join(name);
    program(&path.to_string_lossy(), words)
}

fn fetch() -> std::process::Command {
    script("fetch.sh", [PARTS])
}

/// The parts are there, from the cache or from Debian.
pub fn ensure_parts() -> Result<()> {
    let step = Step::start("parts of boot media (raspi-firmware, u-boot-rpi, ipxe)");
    answer(&mut fetch())?;
    step.done("are in the cache");
    Ok(())
}

/// Boards that are not registered yet get their firmware from this platform, if the parts are there.
pub fn install_firmware(place: &Place) -> Result<()> {
    if !Path::new(PARTS).join("recipe").exists() {
        return Ok(());
    }
    answer(&mut script("rpi-firmware.sh", [place.state.join("tftp-static")])).map(drop)
}
