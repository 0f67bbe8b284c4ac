//! Boot files: from the platform's own directory, or from `/boot/<model>` of the image of a node.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use walt_model::platform_lines::DEVICES_STREAM;
use walt_netboot::policy::FileDecision;

use super::Services;
use crate::registry::Device;

/// What an image that brings firmware of its own for Raspberry Pis has in `/boot/<model>`: firmware and
/// its configuration belong together, and are never mixed with those of `tftp-static`.
const PI_CONFIG: &str = "config.txt";

/// What is found at a path.
pub(crate) enum Found {
    /// This file, of that many bytes.
    File(File, u64),
    /// Nothing.
    Missing,
    /// Not now, and why.
    Denied(String),
}

impl From<Found> for FileDecision {
    fn from(found: Found) -> Self {
        match found {
            Found::File(file, size) => Self::File { file, size },
            Found::Missing => Self::Missing,
            Found::Denied(why) => Self::Denied(why),
        }
    }
}

impl Services {
    /// A file of the platform, below its `pxe` directory.
    pub(super) fn platform_file(&self, path: &str) -> Found {
        let dir = &self.0.place.pxe_dir;
        let found = opened(open_in(dir, path.strip_prefix("pxe/").unwrap_or(path)));
        // Asked for because we said so: nobody else would say what is missing.
        if matches!(found, Found::Missing) && self.worth_saying(self.0.place.server_mac, "loader") {
            let what = format!(
                "a machine asks for boot loader {path}, which is not in {} (images/pxe/collect.sh)",
                dir.display()
            );
            self.0.say(DEVICES_STREAM, &what);
        }
        found
    }

    /// A file below `/boot/<model>` of the image of a node. A Raspberry Pi finds its firmware in any
    /// case, since it stops for good without: see `docs/boot-families.md`.
    pub(super) fn node_file(&self, device: &Device, path: &str) -> Found {
        let Some(node) = &device.node else { return Found::Missing };
        let raspberry_pi = device.mac.is_raspberry_pi();
        match self.image_for_boot(device.mac, &node.image) {
            Some(image) => {
                let open = |path| opened(image.root.open_boot_file(node.model.as_str(), path));
                match open(path) {
                    Found::Missing if raspberry_pi && matches!(open(PI_CONFIG), Found::Missing) => {
                        self.static_file(path)
                    }
                    found => found,
                }
            }
            None => {
                if raspberry_pi && let Found::File(file, size) = self.static_file(path) {
                    return Found::File(file, size);
                }
                Found::Denied(match self.0.images.problem(&node.image) {
                    Some(problem) => format!("image {} cannot be served: {problem}", node.image),
                    None => format!("image {} is being prepared", node.image),
                })
            }
        }
    }

    /// A file for an address no node has: firmware of boards that are not registered yet.
    pub(super) fn file_of_nobody(&self, client: Ipv4Addr, path: &str) -> Found {
        let found = self.static_file(path);
        if matches!(found, Found::Missing)
            && let Some(mac) = self.0.registry.holder(client)
            && mac.is_raspberry_pi()
            && self.has_no_firmware()
            && self.worth_saying(mac, "firmware")
        {
            let what = format!(
                "a Raspberry Pi ({mac}, {client}) asks for its firmware, and {} is empty: \
                 images/boot-media/rpi-firmware.sh fills it",
                self.static_dir().display()
            );
            self.0.say(DEVICES_STREAM, &what);
        }
        found
    }

    fn static_file(&self, path: &str) -> Found {
        file_in(&self.static_dir(), path)
    }

    fn static_dir(&self) -> PathBuf {
        self.0.place.state_dir.join("tftp-static")
    }

    fn has_no_firmware(&self) -> bool {
        std::fs::read_dir(self.static_dir()).map_or(true, |mut files| files.next().is_none())
    }
}

/// The file at a path inside a directory.
pub(crate) fn file_in(dir: &Path, path: &str) -> Found {
    opened(open_in(dir, path))
}

/// Opens a path inside a directory: neither `..` nor a symbolic link leads out of it.
fn open_in(dir: &Path, path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let root: OwnedFd =
        rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(&root, path, flags, Mode::empty(), inside)?;
    Ok(File::from(file))
}

fn opened(file: io::Result<File>) -> Found {
    let sized = file.and_then(|file| {
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((file, about.len()))
    });
    match sized {
        Ok((file, size)) => Found::File(file, size),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Found::Denied(error.to_string())
        }
        Err(_) => Found::Missing,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_directory_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        let inside = dir.path().join("pxe");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("loader.efi"), "abc").unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("up")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", inside.join("abs")).unwrap();
        assert!(matches!(opened(open_in(&inside, "loader.efi")), Found::File(_, 3)));
        for path in ["../secret", "up", "abs", "/etc/passwd", "none", ".", ""] {
            assert!(matches!(opened(open_in(&inside, path)), Found::Missing), "{path}");
        }
    }
}
