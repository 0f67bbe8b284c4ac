//! A tar stream written on this machine. Its content comes from a node, which may be hostile.

use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path};
use tar::{Archive, EntryType};

/// Unpacks a stream whose members are all `name` or below it (`.`: anything) in `directory`. Nothing is written outside;
/// owners are not kept; devices are ignored.
///
/// # Errors
/// Those of reading and writing; a member outside.
pub fn unpack(stream: impl Read, directory: &Path, name: &str) -> io::Result<()> {
    let mut archive = Archive::new(stream);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(false);
    archive.set_preserve_ownerships(false);
    let mut any = false;
    // Modes of directories come last: a read-only directory has to be filled first.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if !belongs(&path, name) {
            return Err(io::Error::other(format!("unexpected member {}", path.display())));
        }
        any = true;
        match entry.header().entry_type() {
            EntryType::Directory => {
                let mode = entry.header().mode()? & 0o777;
                if belongs_to_place(&path) {
                    entry.unpack_in(directory)?;
                    make_writable(&directory.join(&path), mode)?;
                    directories.push((directory.join(&path), mode));
                }
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {}
            _ => {
                entry.unpack_in(directory)?;
            }
        }
    }
    if !any {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing was received"));
    }
    for (path, mode) in directories.iter().rev() {
        set_mode(path, *mode)?;
    }
    Ok(())
}

/// `name` is the first component, and there is no way up.
fn belongs(path: &Path, name: &str) -> bool {
    let mut components = path.components().filter(|part| *part != Component::CurDir).peekable();
    if !components.clone().all(|part| matches!(part, Component::Normal(_))) {
        return false;
    }
    name == "." || components.peek().is_some_and(|first| first.as_os_str() == name)
}

/// Not the destination directory itself (`.` in a merge): that one keeps its mode.
fn belongs_to_place(path: &Path) -> bool {
    path.components().any(|part| part != Component::CurDir)
}

fn make_writable(path: &Path, mode: u32) -> io::Result<()> {
    set_mode(path, mode | 0o700)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::symlink_metadata(path)?.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::transfer::send::TarStream;

    #[test]
    fn there_and_back() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("closed")).unwrap();
        fs::write(tree.join("closed/f"), "content").unwrap();
        set_mode(&tree.join("closed"), 0o555).unwrap();
        let back = place.path().join("back");
        fs::create_dir(&back).unwrap();
        unpack(TarStream::new(&tree, "new").unwrap(), &back, "new").unwrap();
        assert_eq!(fs::read_to_string(back.join("new/closed/f")).unwrap(), "content");
        unpack(TarStream::new(&tree, ".").unwrap(), &back, ".").unwrap();
        assert_eq!(fs::read_to_string(back.join("closed/f")).unwrap(), "content");
    }

    #[test]
    fn strangers_are_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("f"), "x").unwrap();
        let stream = || TarStream::new(&place.path().join("f"), "other").unwrap();
        assert!(unpack(stream(), place.path(), "name").is_err());
        assert!(!place.path().join("other").exists());
        assert!(unpack(io::empty(), place.path(), "name").is_err());
        for (path, name, expected) in [
            ("a/b", "a", true),
            ("./a", "a", true),
            ("../a", ".", false),
            ("/a", ".", false),
            ("a/../../b", "a", false),
        ] {
            assert_eq!(belongs(Path::new(path), name), expected, "{path}");
        }
    }
}
