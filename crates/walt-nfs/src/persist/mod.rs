//! Persistent directories on the server's file system: from handles to files and back.

pub(crate) mod caller;
mod kernel_handle;
mod search;

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use nfs3_types::nfs3::{ftype3, nfsstat3};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::PersistId;
use crate::attributes::Attributes;
use crate::handle::PersistObject;
use crate::nfs;
use search::KnownPlaces;

/// Directories kept open. Past it all are closed and opened again when asked for.
const OPEN_TREES: usize = 1024;

/// The persistent directories in use.
#[derive(Default)]
pub(crate) struct PersistTrees {
    trees: Mutex<HashMap<PersistId, Arc<PersistTree>>>,
}

impl PersistTrees {
    /// The directory at `path`, which must exist. One that was replaced by another is noticed.
    pub(crate) fn tree(&self, id: &PersistId, path: &Path) -> Result<Arc<PersistTree>, nfsstat3> {
        let gone = |errno| match errno {
            Errno::NOENT => nfsstat3::NFS3ERR_STALE,
            other => nfs::status(other),
        };
        let stat = rustix::fs::stat(path).map_err(gone)?;
        if let Some(tree) = self.trees.lock().get(id)
            && tree.is_root(&stat)
        {
            return Ok(tree.clone());
        }
        let tree = Arc::new(PersistTree::open(path).map_err(gone)?);
        let mut trees = self.trees.lock();
        if trees.len() >= OPEN_TREES {
            trees.clear();
        }
        trees.insert(*id, tree.clone());
        Ok(tree)
    }
}

/// One persistent directory.
pub(crate) struct PersistTree {
    root: OwnedFd,
    place: (u64, u64),
    /// Whether the file system gives handles that survive a restart. Where it does not (an overlay
    /// without `nfs_export`), inode numbers are used, and searched for when their place is unknown.
    kernel_handles: bool,
    known: KnownPlaces,
}

/// An object of a persistent directory, held without being opened (`O_PATH`).
pub(crate) struct Object {
    pub(crate) fd: OwnedFd,
    pub(crate) attributes: Attributes,
    place: (u64, u64),
}

impl Object {
    /// The object behind a file descriptor.
    pub(crate) fn of(fd: OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self { attributes: Attributes::of(&stat), place: (stat.st_dev, stat.st_ino), fd })
    }

    /// Its attributes as they are now.
    pub(crate) fn attributes_now(&self) -> Option<Attributes> {
        rustix::fs::fstat(&self.fd).ok().map(|stat| Attributes::of(&stat))
    }

    /// Opens it for real. Only for regular files and directories: opening a device would act on it.
    pub(crate) fn reopen(&self, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !matches!(self.attributes.kind, ftype3::NF3REG | ftype3::NF3DIR) {
            return Err(Errno::INVAL);
        }
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::open(self.proc_path(), flags, Mode::empty())
    }

    /// A path that leads to this very object, whatever its name.
    pub(crate) fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.attributes.kind == ftype3::NF3DIR
    }
}

impl PersistTree {
    fn open(path: &Path) -> Result<Self, Errno> {
        let root = rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let stat = rustix::fs::fstat(&root)?;
        let kernel_handles = kernel_handle::of(root.as_fd())
            .and_then(|handle| kernel_handle::open(root.as_fd(), &handle))
            .is_ok();
        if !kernel_handles {
            tracing::info!(
                "{}: no kernel file handles here, files are named by inode number",
                path.display()
            );
        }
        Ok(Self {
            root,
            place: (stat.st_dev, stat.st_ino),
            kernel_handles,
            known: KnownPlaces::default(),
        })
    }

    fn is_root(&self, stat: &Stat) -> bool {
        self.place == (stat.st_dev, stat.st_ino)
    }

    /// Whether an object is the directory itself, above which nothing may be seen.
    pub(crate) fn is_top(&self, object: &Object) -> bool {
        self.place == object.place
    }

    /// Inode number of the directory itself.
    pub(crate) fn top_inode(&self) -> u64 {
        self.place.1
    }

    /// The object a handle names.
    pub(crate) fn object(&self, object: &PersistObject) -> Result<Object, nfsstat3> {
        let stale = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => nfsstat3::NFS3ERR_STALE,
            other => nfs::status(other),
        };
        let fd = match object {
            PersistObject::Root => open_path(self.root.as_fd(), "."),
            PersistObject::Kernel(handle) => kernel_handle::open(self.root.as_fd(), handle),
            PersistObject::Inode { number, birth } => {
                self.known.open(self.root.as_fd(), self.place.1, *number, *birth)
            }
        };
        Object::of(fd.map_err(stale)?).map_err(stale)
    }

    /// The lasting name of an object that was found under `name` in `parent`.
    pub(crate) fn name_of(
        &self,
        object: &Object,
        parent: &Object,
        name: &[u8],
    ) -> Result<PersistObject, Errno> {
        if self.is_top(object) {
            return Ok(PersistObject::Root);
        }
        if self.kernel_handles {
            return kernel_handle::of(object.fd.as_fd()).map(PersistObject::Kernel);
        }
        let number = object.place.1;
        if !matches!(name, b"." | b"..") {
            self.known.note(number, parent.place.1, name);
        }
        let birth = search::birth(object.fd.as_fd())?;
        Ok(PersistObject::Inode { number, birth })
    }

    /// An object got another name: its place is noted if places are needed.
    pub(crate) fn renamed(&self, parent: &Object, name: &[u8]) {
        if !self.kernel_handles
            && let Ok(stat) = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW)
        {
            self.known.note(stat.st_ino, parent.place.1, name);
        }
    }

    /// The directory at a path below the top, for a mount; links are followed inside the tree.
    pub(crate) fn resolve(&self, within: &str) -> Result<PersistObject, nfsstat3> {
        let mut object = Object::of(open_path(self.root.as_fd(), ".").map_err(nfs::status)?)
            .map_err(nfs::status)?;
        let mut name = PersistObject::Root;
        let path = within.trim_matches('/');
        if path.is_empty() {
            return Ok(name);
        }
        let fd = rustix::fs::openat2(
            &self.root,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(nfs::status)?;
        if self.kernel_handles {
            let object = Object::of(fd).map_err(nfs::status)?;
            return self.name_of(&object, &object, b".").map_err(nfs::status);
        }
        // Without kernel handles every step is noted, and links are not followed.
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part == ".." {
                return Err(nfsstat3::NFS3ERR_NOENT);
            }
            let fd = open_path(object.fd.as_fd(), part).map_err(nfs::status)?;
            let child = Object::of(fd).map_err(nfs::status)?;
            if !child.is_directory() {
                return Err(nfsstat3::NFS3ERR_NOTDIR);
            }
            name = self.name_of(&child, &object, part.as_bytes()).map_err(nfs::status)?;
            object = child;
        }
        Ok(name)
    }
}

/// The object of that name in a directory, a link itself and not its target. `name` must be a
/// single component.
pub(crate) fn open_path(
    directory: BorrowedFd<'_>,
    name: impl rustix::path::Arg,
) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        directory,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
#[cfg(test)]
mod tests;
