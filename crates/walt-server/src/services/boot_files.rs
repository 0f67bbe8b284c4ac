//! Boot files: from the platform's own directory, or from `/boot/<model>` of the image of a node.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::Services;
use crate::registry::Device;

/// What is found at a path.
pub(super) enum Found {
    /// This file, of that many bytes.
    File(File, u64),
    /// Nothing.
    Missing,
    /// Not now, and why.
    Denied(String),
}

impl Services {
    /// A file of the platform, below its `pxe` directory.
    pub(super) fn platform_file(&self, path: &str) -> Found {
        let path = path.strip_prefix("pxe/").unwrap_or(path);
        opened(open_in(&self.0.place.pxe_dir, path))
    }

    /// A file below `/boot/<model>` of the image of a node.
    pub(super) fn node_file(&self, device: &Device, path: &str) -> Found {
        let Some(node) = &device.node else { return Found::Missing };
        match self.0.images.of(&node.image) {
            Some(image) => opened(image.root.open_boot_file(node.model.as_str(), path)),
            None => Found::Denied(match self.0.images.problem(&node.image) {
                Some(problem) => format!("image {} cannot be served: {problem}", node.image),
                None => format!("image {} is being prepared", node.image),
            }),
        }
    }

    /// A file for an address no node has: firmware of boards that are not registered yet.
    pub(super) fn static_file(&self, path: &str) -> Found {
        opened(open_in(&self.0.place.state_dir.join("tftp-static"), path))
    }
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
