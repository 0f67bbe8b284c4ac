//! The files of an image as its layers say, without mounting anything: directories of an overlay, seen one at a time.
//!
//! Layers are directories as overlayfs keeps them (<https://docs.kernel.org/filesystems/overlayfs.html>): a character
//! device 0:0 is a whiteout, and the attribute `trusted.overlay.opaque` hides a directory of the layers below.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Most symlinks followed on the way to one file, as the kernel does (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A directory of an image: where its parts are in the layers, from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory(Vec<PathBuf>);

/// What a name stands for in a directory.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it is in the topmost layer that has it.
    pub path: PathBuf,
    /// What it is (of a symlink: the link).
    pub metadata: Metadata,
    /// For a directory: what to look at for its content.
    pub directory: Option<Directory>,
}

impl Found {
    /// Whether both come from the same layers: then nothing in them differs.
    pub fn same(&self, other: &Self) -> bool {
        self.path == other.path && self.directory == other.directory
    }
}

enum Seen {
    Whiteout,
    /// What stands there, and whether lower layers still add to it.
    There(Box<Found>, bool),
}

impl Directory {
    /// The root of an image, by the directories of its layers from top to bottom.
    pub fn root(layers: Vec<PathBuf>) -> Self {
        Self(layers)
    }

    /// Everything in it, by name. Keeps in memory the names of this directory only.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn list(&self) -> io::Result<BTreeMap<OsString, Found>> {
        let mut seen: BTreeMap<OsString, Seen> = BTreeMap::new();
        for layer in &self.0 {
            for entry in std::fs::read_dir(layer)? {
                let entry = entry?;
                let path = entry.path();
                let metadata = std::fs::symlink_metadata(&path)?;
                let known = seen.remove(&entry.file_name());
                seen.insert(entry.file_name(), merged(known, path, metadata)?);
            }
        }
        let there = seen.into_iter().filter_map(|(name, seen)| match seen {
            Seen::There(found, _) => Some((name, *found)),
            Seen::Whiteout => None,
        });
        Ok(there.collect())
    }

    /// One name in it.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn get(&self, name: &std::ffi::OsStr) -> io::Result<Option<Found>> {
        let mut seen = None;
        for layer in &self.0 {
            let path = layer.join(name);
            match std::fs::symlink_metadata(&path) {
                Ok(metadata) => seen = Some(merged(seen, path, metadata)?),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(match seen {
            Some(Seen::There(found, _)) => Some(*found),
            _ => None,
        })
    }

    /// What stands at a path, symlinks on the way followed inside the image. To be called on the root.
    ///
    /// # Errors
    /// A layer cannot be read; too many symlinks.
    pub fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        let mut links = 0;
        let mut rest: Vec<OsString> = names(path);
        rest.reverse();
        let mut way: Vec<Directory> = vec![self.clone()];
        while let Some(name) = rest.pop() {
            if name == ".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let Some(here) = way.last() else { return Ok(None) };
            let Some(found) = here.get(&name)? else { return Ok(None) };
            if found.metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other("too many symlinks"));
                }
                let target = std::fs::read_link(&found.path)?;
                if target.is_absolute() {
                    way.truncate(1);
                }
                rest.extend(names(&target).into_iter().rev());
            } else if rest.is_empty() {
                return Ok(Some(found));
            } else if let Some(directory) = found.directory {
                way.push(directory);
            } else {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// A layer cannot be read; too many symlinks.
    pub fn open(&self, path: &Path) -> io::Result<Option<File>> {
        match self.find(path)? {
            Some(found) if found.metadata.is_file() => open(&found.path).map(Some),
            _ => Ok(None),
        }
    }
}

/// Opens a regular file of a layer; a symlink or anything that could block is refused.
///
/// # Errors
/// It is no regular file (any more).
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file =
        std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// The parts of a path below a root; `..` stays.
fn names(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

/// What was known of a name, and what a lower layer has under it.
fn merged(known: Option<Seen>, path: PathBuf, metadata: Metadata) -> io::Result<Seen> {
    match known {
        Some(Seen::There(mut found, true)) => {
            // Anything but a directory ends what lower layers add.
            let more = match &mut found.directory {
                Some(directory) if metadata.is_dir() => {
                    let more = !is_opaque(&path)?;
                    directory.0.push(path);
                    more
                }
                _ => false,
            };
            Ok(Seen::There(found, more))
        }
        Some(decided) => Ok(decided),
        None if metadata.file_type().is_char_device() && metadata.rdev() == 0 => Ok(Seen::Whiteout),
        None => {
            let more = metadata.is_dir() && !is_opaque(&path)?;
            let directory = metadata.is_dir().then(|| Directory(vec![path.clone()]));
            Ok(Seen::There(Box::new(Found { path, metadata, directory }), more))
        }
    }
}

fn is_opaque(path: &Path) -> io::Result<bool> {
    let mut value = [0; 8];
    match rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value) {
        Ok(size) => Ok(value[..size] == *b"y"),
        Err(
            rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::RANGE,
        ) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
