//! The tree of an image: indexed once, then served without touching a file system.

mod files;
mod index;
mod store;
mod walk;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::RootId;
use files::Files;
pub(crate) use files::read_file;
pub(crate) use index::Index;

/// Symbolic links followed at most in the path of a mount.
const LINKS_MAX: usize = 40;

/// An immutable tree, ready to be served: names, attributes and link targets come from an index
/// made once per root id; only the content of regular files is read from the tree.
///
/// Dropping the last `Arc` closes every file of the tree, so that it can be unmounted.
pub struct ImageRoot {
    id: RootId,
    index: Index,
    files: Files,
}

/// Why a tree cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ImageRootError {
    /// A file or directory of the tree cannot be read.
    #[error("cannot index {path}: {source}")]
    Tree {
        /// What was looked at.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The index file cannot be read or written.
    #[error("cannot use the index {path}: {source}")]
    Index {
        /// The index file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The index file is damaged, or of another version or root.
    #[error("the index {path} is not usable: {why} (remove it, it will be made again)")]
    BadIndex {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The tree is larger than an index can describe.
    #[error("{path} holds too many files or too long names for an index (limit: 4 G)")]
    TooLarge {
        /// The tree.
        path: PathBuf,
    },
}

impl ImageRoot {
    /// Serves the tree at `tree`: loads `<index_dir>/<id>.index` when it is there and sound, walks
    /// the tree and writes that file otherwise (`index_dir` is created if needed). Blocking (a walk
    /// takes about 1 s per 100 000 files): call it from a blocking task.
    pub fn open(id: RootId, tree: &Path, index_dir: &Path) -> Result<Self, ImageRootError> {
        let root = rustix::fs::open(
            tree,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| ImageRootError::Tree { path: tree.to_owned(), source: error.into() })?;
        let file = store::file(&id, index_dir);
        let index = match store::load(id, &file) {
            Ok(index) => index,
            Err(reason) => {
                if !matches!(&reason, ImageRootError::Index { source, .. }
                    if source.kind() == std::io::ErrorKind::NotFound)
                {
                    tracing::warn!("{reason}: making it again");
                }
                let bytes = walk::walk(id, tree, root.as_fd())?.finish(id);
                store::save(&file, &bytes)?;
                drop(bytes);
                store::load(id, &file)?
            }
        };
        Ok(Self { id, index, files: Files::new(root) })
    }

    /// Forgets the index of a root that is no longer needed. A missing file is not an error.
    pub fn remove_index(id: &RootId, index_dir: &Path) -> Result<(), ImageRootError> {
        store::remove(&store::file(id, index_dir))
    }

    /// The name of this tree.
    pub fn id(&self) -> RootId {
        self.id
    }

    /// Number of files and directories (hard links to one file count once).
    pub fn files(&self) -> u64 {
        u64::from(self.index.nodes())
    }

    /// Sum of the sizes of its regular files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.index.bytes()
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Appends up to `count` bytes of a regular file of the index. Blocks.
    pub(crate) fn read(
        &self,
        node: u32,
        offset: u64,
        count: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Errno> {
        self.files.read(&self.index, node, offset, count, out)
    }

    /// Fills the buffer if the bytes are in memory already; `false` tells to use
    /// [`ImageRoot::read`].
    pub(crate) fn read_now(&self, node: u32, offset: u64, buffer: &mut [u8]) -> bool {
        self.files.read_now(node, offset, buffer)
    }

    /// The node at a path below the root; links are followed inside the tree, as `chroot` would.
    pub(crate) fn resolve(&self, path: &[u8]) -> Option<u32> {
        let mut links = 0;
        let mut node = 0;
        let mut todo: Vec<Vec<u8>> = parts(path);
        while let Some(part) = todo.pop() {
            if part == b".." {
                node = self.index.parent(node);
                continue;
            }
            if !self.index.is_directory(node) {
                return None;
            }
            let child = self.index.lookup(node, &part)?;
            match self.index.target(child) {
                None => node = child,
                Some(target) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        node = 0;
                    }
                    todo.extend(parts(target));
                }
            }
        }
        Some(node)
    }
}

/// The components of a path, last one first, without empty ones and ".".
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').rev();
    parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect()
}

/// File system id shown to clients: the start of the root id.
pub(crate) fn fsid(id: &RootId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&id.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests;
