//! The files an image is built from, as they come from a client: a tar stream nobody vouches for.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::StatVfs;
use tar::{Archive, EntryType};

use crate::inside::Inside;

/// Most members of an archive.
const MOST_MEMBERS: usize = 1_000_000;
/// Bytes written between two looks at the disk.
pub const LOOK: u64 = 64 << 20;
/// Space left on the disk whatever happens.
pub const RESERVE: u64 = 512 << 20;
/// Names a Dockerfile may have, the usual first.
const DOCKERFILES: &[&str] = &["Dockerfile", "Containerfile", "ContainerFile"];

/// Unpacks an archive in an empty folder. Members may be files, folders, symbolic and hard links; none may leave the
/// folder. Owners are root. `told` gets the bytes of files written so far. Blocks.
///
/// # Errors
/// The archive is cut or not understood; a member leaves the folder; the disk is nearly full.
pub fn unpack(archive: impl Read, folder: &Path, mut told: impl FnMut(u64)) -> io::Result<()> {
    let mut archive = Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(false);
    archive.set_unpack_xattrs(false);
    let (mut written, mut looked) = (0_u64, 0_u64);
    for (count, entry) in archive.entries()?.enumerate() {
        if count >= MOST_MEMBERS {
            return Err(bad(format!("it has more than {MOST_MEMBERS} members")));
        }
        let mut entry = entry?;
        let path = member(&entry.path()?)?;
        let size = entry.size();
        written = written.saturating_add(size);
        if count == 0 || written >= looked + LOOK || size >= LOOK {
            looked = written;
            room(folder, size)?;
        }
        match entry.header().entry_type() {
            EntryType::Directory if path.as_os_str().is_empty() => {}
            EntryType::Directory
            | EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Symlink => {
                if !entry.unpack_in(folder)? {
                    return Err(leaves(&path));
                }
            }
            EntryType::Link => {
                let target =
                    entry.link_name()?.ok_or_else(|| bad("a hard link has no target".into()))?;
                member(&target)?;
                if !entry.unpack_in(folder)? {
                    return Err(leaves(&path));
                }
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(bad(format!("{} is neither file, folder nor link", path.display()))),
        }
        told(written);
    }
    Ok(())
}

/// The Dockerfile of a folder: its name and its text.
///
/// # Errors
/// There is none; it is too large or no text.
pub fn dockerfile(folder: &Inside) -> io::Result<(&'static str, String)> {
    for name in DOCKERFILES {
        match folder.read(name, super::dockerfile::LARGEST) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes)
                    .map_err(|_| bad(format!("{name} is not UTF-8 text")))?;
                return Ok((name, text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "there is neither Dockerfile nor Containerfile"))
}

/// Fails when this many bytes more would leave the disk nearly full.
///
/// # Errors
/// `StorageFull`, or the disk does not answer.
pub fn room(folder: &Path, bytes: u64) -> io::Result<()> {
    enough(rustix::fs::statvfs(folder)?, bytes)
}

/// The same on the disk of an open file.
///
/// # Errors
/// Those of [`room`].
pub fn room_of(file: impl AsFd, bytes: u64) -> io::Result<()> {
    enough(rustix::fs::fstatvfs(file)?, bytes)
}

fn enough(disk: StatVfs, bytes: u64) -> io::Result<()> {
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < RESERVE.saturating_add(bytes) {
        let text = format!("the disk of the server is nearly full ({} MB free)", free >> 20);
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    Ok(())
}

/// The path of a member, without `.`; empty for the folder itself.
fn member(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => return Err(leaves(path)),
        }
    }
    Ok(clean)
}

fn leaves(path: &Path) -> io::Error {
    let shown: String = path.display().to_string().chars().take(200).collect();
    bad(format!("'{shown}' is outside of the directory"))
}

fn bad(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    /// An archive of (kind, name, link target or content).
    fn archive(members: &[(EntryType, &str, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, text) in members {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let file = *kind == EntryType::Regular;
            header.set_size(if file { text.len() as u64 } else { 0 });
            // The builder itself refuses names that leave.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if !file {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, if file { text.as_bytes() } else { b"" }).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(members: &[(EntryType, &str, &str)]) -> (tempfile::TempDir, io::Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("in");
        std::fs::create_dir(&folder).unwrap();
        let result = unpack(archive(members).as_slice(), &folder, |_| ());
        (dir, result)
    }

    #[test]
    fn an_ordinary_archive() {
        use EntryType::{Directory, Link, Regular, Symlink};
        let (dir, result) = unpacked(&[
            (Directory, "./", ""),
            (Directory, "./d/", ""),
            (Regular, "./d/f", "x"),
            (Symlink, "./abs", "/etc"),
            (Link, "./d/g", "d/f"),
            (Regular, "Containerfile", "FROM scratch"),
        ]);
        result.unwrap();
        assert_eq!(std::fs::read(dir.path().join("in/d/g")).unwrap(), b"x");
        let inside = Inside::enter(&dir.path().join("in")).unwrap();
        assert_eq!(dockerfile(&inside).unwrap(), ("Containerfile", "FROM scratch".to_owned()));
    }

    #[test]
    fn hostile_archives() {
        use EntryType::{Block, Directory, Link, Regular, Symlink};
        for members in [
            vec![(Regular, "../out", "x")],
            vec![(Regular, "/tmp/walt-out", "x")],
            vec![(Directory, "a/../../out", "")],
            vec![(Symlink, "l", ".."), (Regular, "l/out", "x")],
            vec![(Symlink, "l", ".."), (Directory, "l/out", "")],
            vec![(Link, "l", "../../etc/passwd")],
            vec![(Symlink, "l", "/etc"), (Link, "m", "l/passwd")],
            vec![(Block, "sda", "")],
        ] {
            let (dir, result) = unpacked(&members);
            assert!(result.is_err(), "{members:?}");
            let names: Vec<_> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names, ["in"], "{members:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut cut = archive(&[(Regular, "f", &"x".repeat(5000))]);
        cut.truncate(2000);
        assert!(unpack(cut.as_slice(), folder.path(), |_| ()).is_err());
        assert!(unpack(&b"no archive at all"[..], folder.path(), |_| ()).is_err());
    }

    #[test]
    fn a_linked_dockerfile_is_one_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("Dockerfile")).unwrap();
        let inside = Inside::enter(dir.path()).unwrap();
        assert!(dockerfile(&inside).is_err());
    }
}
