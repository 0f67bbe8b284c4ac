//! What the server asks its owner: may this client mount this path, and what does an id stand for.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::ImageRoot;

/// Length in bytes of a [`RootId`] and of a [`PersistId`].
const ID_BYTES: usize = 16;

macro_rules! identifier {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// The identifier made of these 16 bytes.
            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// The identifier that belongs to a name of any length: the start of its SHA-256.
            pub fn derive(name: &str) -> Self {
                let digest = Sha256::digest(name.as_bytes());
                let mut bytes = [0; ID_BYTES];
                bytes.copy_from_slice(&digest[..ID_BYTES]);
                Self(bytes)
            }

            /// The 16 bytes, as they stand in file handles.
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            /// 32 hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

identifier!(
    RootId,
    "Names the content of an image root. It stands in file handles, so two trees that differ in any way must have different ids."
);
identifier!(
    PersistId,
    "Names a persistent directory. It stands in file handles: keep it over restarts, never give it to another directory."
);

/// What a mounted path stands for.
#[derive(Clone)]
pub enum MountTarget {
    /// The immutable tree of an image, always read-only.
    Image {
        /// The tree.
        root: Arc<ImageRoot>,
        /// Path below the root that is mounted, `""` for the root itself. Symbolic links on the way
        /// are followed inside the tree.
        within: String,
    },
    /// A directory of the server that belongs to a node (`/persist`).
    Persist {
        /// Its lasting name, which [`Exports::persist`] must know from now on.
        id: PersistId,
        /// The directory on the server. It must exist.
        path: PathBuf,
        /// Path below it that is mounted, `""` for the directory itself.
        within: String,
        /// Whether this mount may change it.
        writable: bool,
    },
}

/// What stands at a path of the tree that NFSv4 clients walk to their mount.
#[derive(Clone)]
pub enum Place {
    /// A folder on the way to an image root. There is nothing in it but more of these, or one image root.
    Folder,
    /// An image root.
    Image {
        /// The tree.
        root: Arc<ImageRoot>,
        /// Path below the root that is entered, `""` for the root itself.
        within: String,
    },
}

/// Why a path is not mounted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountDenied {
    /// Nothing is exported there: the client gets "No such file or directory" (`MNT3ERR_NOENT`).
    #[error("nothing is exported at this path")]
    NotFound,
    /// The path exists but not for this client: the client gets "Permission denied" (`MNT3ERR_ACCES`).
    #[error("not permitted: {0}")]
    NotPermitted(String),
}

/// The thing a file handle or a mount belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetId {
    /// An image root.
    Image(RootId),
    /// A persistent directory.
    Persist(PersistId),
}

/// Something a node did, for its boot time line.
#[derive(Clone, Debug)]
pub struct NfsObservation {
    /// When it was seen.
    pub at: SystemTime,
    /// Who did it.
    pub client: IpAddr,
    /// What it did.
    pub event: NfsEvent,
}

/// What a node did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NfsEvent {
    /// Its mount request was granted.
    MountGranted {
        /// The path as the node named it.
        path: String,
        /// What it got.
        target: TargetId,
    },
    /// Its mount request was refused.
    MountDenied {
        /// The path as the node named it.
        path: String,
        /// Why.
        reason: MountDenied,
    },
    /// It said that it no longer uses a path (best effort: nodes that are reset do not say so).
    Unmounted {
        /// The path as the node named it.
        path: String,
    },
    /// First name lookup or directory listing since its last mount of this target.
    FirstLookup {
        /// Where.
        target: TargetId,
    },
    /// First read of a file since its last mount of this target.
    FirstRead {
        /// Where.
        target: TargetId,
    },
}

/// Decides what clients see. Every method is called on the path of a request, so it must be quick
/// and must not block: answers come from memory.
pub trait Exports: Send + Sync + 'static {
    /// What `client` gets when it mounts `path` (an absolute path as the client wrote it, without a
    /// trailing slash).
    fn mount(&self, client: IpAddr, path: &str) -> Result<MountTarget, MountDenied>;

    /// The image root a file handle belongs to, or `None` when it is no longer served (the client
    /// sees a stale handle).
    fn image_root(&self, id: &RootId) -> Option<Arc<ImageRoot>>;

    /// The directory of a persistent directory a file handle belongs to, or `None` when it is no
    /// longer served (the client sees a stale handle).
    fn persist(&self, id: &PersistId) -> Option<PathBuf>;

    /// Told about the first steps of each client.
    fn observe(&self, observation: NfsObservation);

    /// What `client` finds at `path` when it walks there by NFSv4 (an absolute path without a trailing
    /// slash; the root of the server is a folder and is not asked for). Nothing by default.
    fn place(&self, client: IpAddr, path: &str) -> Result<Place, MountDenied> {
        let _ = (client, path);
        Err(MountDenied::NotFound)
    }

    /// The names in the folder at `path` (`""` for the root of the server), in any order. Asked when a
    /// folder is listed, not when a name is looked up.
    fn names(&self, client: IpAddr, path: &str) -> Vec<String> {
        let _ = (client, path);
        Vec::new()
    }

    /// Paths shown to `showmount -e`. Nothing by default: nodes know their paths.
    fn listing(&self, client: IpAddr) -> Vec<String> {
        let _ = client;
        Vec::new()
    }
}
