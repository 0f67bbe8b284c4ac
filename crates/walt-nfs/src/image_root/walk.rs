//! Walking a tree once, to make its index.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nfs3_types::nfs3::ftype3;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags, Stat};

use super::ImageRootError;
use super::index::{IndexBuilder, TooLarge};
use crate::RootId;
use crate::attributes::Attributes;

/// Reads the whole tree below `root`. Names are sorted, so the same tree gives the same index.
pub(super) fn walk(
    id: RootId,
    tree: &Path,
    root: BorrowedFd<'_>,
) -> Result<IndexBuilder, ImageRootError> {
    let fsid = super::fsid(&id);
    let mut builder = IndexBuilder::default();
    let mut hard_links = HashMap::new();
    let too_large = |_: TooLarge| ImageRootError::TooLarge { path: tree.to_owned() };
    let failed = |below: &[u8], source: rustix::io::Errno| ImageRootError::Tree {
        path: tree.join(OsStr::from_bytes(below)),
        source: source.into(),
    };
    let stat = rustix::fs::fstat(root).map_err(|error| failed(b"", error))?;
    builder.add_node(fsid, 0, &attributes(&stat)).map_err(too_large)?;
    // Nodes are numbered as they are found, so this goes through the tree level by level.
    let mut node = 0;
    while node < builder.nodes() {
        if builder.is_directory(node) {
            let path = builder.path(node);
            let directory =
                open_below(root, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
                    .map_err(|error| failed(&path, error))?;
            let first = builder.entries();
            for name in names(directory.as_fd()).map_err(|error| failed(&path, error))? {
                let child = || [&path[..], name.as_bytes()].join(&b'/');
                let stat = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| failed(&child(), error))?;
                let attributes = attributes(&stat);
                let linked = attributes.nlink > 1 && attributes.kind != ftype3::NF3DIR;
                let key = (stat.st_dev, stat.st_ino);
                let known = linked.then(|| hard_links.get(&key).copied()).flatten();
                let index = match known {
                    Some(index) => index,
                    None => {
                        let index = builder.add_node(fsid, node, &attributes).map_err(too_large)?;
                        if attributes.kind == ftype3::NF3LNK {
                            let target = rustix::fs::readlinkat(&directory, &name, Vec::new())
                                .map_err(|error| failed(&child(), error))?;
                            builder.set_target(index, target.as_bytes()).map_err(too_large)?;
                        }
                        if linked {
                            hard_links.insert(key, index);
                        }
                        index
                    }
                };
                builder.add_entry(name.as_bytes(), index).map_err(too_large)?;
            }
            builder.set_directory(node, first);
        }
        node += 1;
    }
    Ok(builder)
}

/// Opens a path below a directory without ever following a link or leaving it.
pub(super) fn open_below(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Times of last access are those of the last change: reading the tree to index it moves the real
/// ones, and the index of a tree must not depend on how often it was made.
fn attributes(stat: &Stat) -> Attributes {
    let attributes = Attributes::of(stat);
    Attributes { atime: attributes.mtime, ..attributes }
}
