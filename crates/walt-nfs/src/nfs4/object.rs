//! What a file handle of NFSv4 names: a folder on the way to the exports, or a file of an image root.
//!
//! NFSv4 has no mount protocol: a client starts at the root of the server and looks up one name after the
//! other. The folders on this way are not on any disk; [`Exports::place`] says which there are. Their
//! handles hold their path, so that they too survive a restart. At an image root the client sees another
//! file system begin, on a directory: no symbolic link has to be followed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nfs3_types::nfs3::ftype3;
use sha2::{Digest, Sha256};

use super::attributes::Facts;
use super::status::Status;
use crate::attributes::{self, EXECUTE, READ};
use crate::handle::{BadHandle, Handle, HandleKey};
use crate::image_root::{ImageRoot, Index};
use crate::rpc::Credentials;
use crate::xdr::Reader;
use crate::{Exports, MountDenied, Place, RootId};

/// The file system of the folders.
const FOLDERS: (u64, u64) = (0, 1);
/// File id of the folder below an image root, the same for all: every folder holds one root at most.
const MOUNTED_ON: u64 = 1 << 62;
/// Cookies up to this one have a meaning of their own (RFC 7530 section 16.24).
const COOKIES_RESERVED: u64 = 2;

/// What a handle names.
#[derive(Clone)]
pub(crate) enum Object {
    /// A folder on the way, `""` being the root of the server.
    Folder(Arc<str>),
    /// A file of an image root.
    Image {
        /// The tree.
        root: Arc<ImageRoot>,
        /// Its place in the index.
        node: u32,
    },
}

/// A regular file, as open states remember it: they do not keep an image root from being let go.
pub(crate) type FileKey = (RootId, u32);

impl Object {
    pub(crate) fn root() -> Self {
        Self::Folder("".into())
    }

    /// The object of a client's handle.
    pub(crate) fn open(
        exports: &dyn Exports,
        key: &HandleKey,
        client: IpAddr,
        bytes: &[u8],
    ) -> Result<Self, Status> {
        let refused = |bad| match bad {
            BadHandle::Shape => Status::BADHANDLE,
            BadHandle::Tag => Status::STALE,
        };
        if let Some(path) = key.open_folder(bytes).map_err(refused)? {
            return match exports.place(client, path) {
                _ if path.is_empty() => Ok(Self::root()),
                Ok(Place::Folder) => Ok(Self::Folder(path.into())),
                Ok(Place::Image { .. }) | Err(_) => Err(Status::STALE),
            };
        }
        match key.open(bytes).map_err(refused)? {
            Handle::Image { root, index } => Self::file(exports, (root, index)),
            // Handles of persistent directories are not for this version.
            Handle::Persist { .. } => Err(Status::STALE),
        }
    }

    /// The object of a file that was opened.
    pub(crate) fn file(exports: &dyn Exports, (root, node): FileKey) -> Result<Self, Status> {
        let root = exports.image_root(&root).ok_or(Status::STALE)?;
        if node >= root.index().nodes() {
            return Err(Status::STALE);
        }
        Ok(Self::Image { root, node })
    }

    pub(crate) fn handle(&self, key: &HandleKey) -> Result<Vec<u8>, Status> {
        match self {
            Self::Folder(path) => key.folder(path).ok_or(Status::NAMETOOLONG),
            Self::Image { root, node } => Ok(key.image(&root.id(), *node).to_vec()),
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Image { root, node } => root.index().is_directory(*node),
        }
    }

    /// What the caller may do: a sum of the permissions of [`attributes`].
    pub(crate) fn permissions(&self, caller: &Credentials) -> u32 {
        match self {
            Self::Folder(_) => READ | EXECUTE,
            Self::Image { root, node } => {
                let (index, node) = (root.index(), *node);
                attributes::permissions(
                    index.is_directory(node),
                    index.mode(node),
                    index.uid(node),
                    index.gid(node),
                    caller,
                )
            }
        }
    }

    pub(crate) fn check(&self, caller: &Credentials, permission: u32) -> Result<(), Status> {
        if self.permissions(caller) & permission == 0 { Err(Status::ACCESS) } else { Ok(()) }
    }

    /// A directory, or the reason why it cannot be used as one.
    pub(crate) fn check_directory(&self) -> Result<(), Status> {
        match self {
            Self::Image { root, node } if root.index().target(*node).is_some() => {
                Err(Status::SYMLINK)
            }
            _ if self.is_directory() => Ok(()),
            _ => Err(Status::NOTDIR),
        }
    }

    /// The regular file it is, or the reason why it cannot be read or opened. "Symbolic link" stands for
    /// all other kinds: that is what makes clients open them without the server.
    pub(crate) fn regular_file(&self) -> Result<(&Arc<ImageRoot>, u32), Status> {
        match self {
            Self::Image { root, node } if root.index().kind(*node) == ftype3::NF3REG as u32 => {
                Ok((root, *node))
            }
            _ if self.is_directory() => Err(Status::ISDIR),
            _ => Err(Status::SYMLINK),
        }
    }

    /// The object of that name in this directory.
    pub(crate) fn lookup(
        &self,
        exports: &dyn Exports,
        client: IpAddr,
        name: &[u8],
    ) -> Result<Found, Status> {
        match self {
            Self::Folder(path) => {
                let name = std::str::from_utf8(name).map_err(|_| Status::NOENT)?;
                let path = format!("{path}/{name}");
                let object = match exports.place(client, &path) {
                    Ok(Place::Folder) => Self::Folder(path.as_str().into()),
                    Ok(Place::Image { root, within }) => {
                        let node = root.resolve(within.as_bytes()).ok_or(Status::NOENT)?;
                        return Ok(Found::Export { path, object: Self::Image { root, node } });
                    }
                    Err(MountDenied::NotFound) => return Err(Status::NOENT),
                    Err(reason @ MountDenied::NotPermitted(_)) => {
                        return Ok(Found::Denied { path, reason });
                    }
                };
                Ok(Found::Inside(object))
            }
            Self::Image { root, node } => {
                let node = root.index().lookup(*node, name).ok_or(Status::NOENT)?;
                Ok(Found::Inside(Self::Image { root: root.clone(), node }))
            }
        }
    }

    /// The directory that holds this one. The root of an image may be entered from the folders of many
    /// nodes and does not know by which one.
    pub(crate) fn parent(&self) -> Result<Self, Status> {
        match self {
            Self::Folder(path) => {
                path.rsplit_once('/').map(|(up, _)| Self::Folder(up.into())).ok_or(Status::NOENT)
            }
            Self::Image { node: 0, .. } => Err(Status::NOENT),
            Self::Image { root, node } => {
                let node = root.index().parent(*node);
                Ok(Self::Image { root: root.clone(), node })
            }
        }
    }

    pub(super) fn facts(&self) -> Facts {
        match self {
            Self::Folder(path) => folder_facts(path),
            Self::Image { root, node } => image_facts(root, *node),
        }
    }

    /// The entries after a cookie, in the order of their cookies. Those of folders follow a hash of the
    /// names, so that a place in the list means the same when nodes come and go.
    pub(crate) fn entries<'a>(
        &'a self,
        exports: &dyn Exports,
        client: IpAddr,
        cookie: u64,
    ) -> Result<Entries<'a>, Status> {
        if matches!(cookie, 1..=COOKIES_RESERVED) {
            return Err(Status::BAD_COOKIE);
        }
        match self {
            Self::Folder(path) => {
                let names = exports.names(client, path).into_iter();
                let mut entries: Vec<_> = names
                    .map(|name| (name_hash(name.as_bytes()), name))
                    .filter(|(hash, _)| *hash > cookie)
                    .collect();
                entries.sort_unstable();
                entries.reverse();
                Ok(Entries::Folder { path, entries })
            }
            Self::Image { root, node } => {
                let position = cookie.saturating_sub(COOKIES_RESERVED);
                let count = root.index().entry_count(*node);
                let position = u32::try_from(position).unwrap_or(u32::MAX).min(count);
                Ok(Entries::Image { root, node: *node, position })
            }
        }
    }
}

/// What a lookup found.
pub(crate) enum Found {
    /// A file or folder of the same file system.
    Inside(Object),
    /// The root of an image: what a mount is in version 3.
    Export {
        /// Where.
        path: String,
        /// The root.
        object: Object,
    },
    /// An image root that the client does not get (now).
    Denied {
        /// Where.
        path: String,
        /// Why.
        reason: MountDenied,
    },
}

/// The entries of a directory that are still to be told.
pub(crate) enum Entries<'a> {
    /// Of a folder, the next one last.
    Folder { path: &'a str, entries: Vec<(u64, String)> },
    /// Of a directory of an image.
    Image { root: &'a Arc<ImageRoot>, node: u32, position: u32 },
}

impl Entries<'_> {
    /// The next entry: its cookie, name and object.
    pub(crate) fn next(
        &mut self,
        exports: &dyn Exports,
        client: IpAddr,
    ) -> Option<(u64, Vec<u8>, Object)> {
        match self {
            Self::Folder { path, entries } => loop {
                let (cookie, name) = entries.pop()?;
                let path = format!("{path}/{name}");
                let object = match exports.place(client, &path) {
                    Ok(Place::Folder) => Object::Folder(path.into()),
                    Ok(Place::Image { root, within }) => match root.resolve(within.as_bytes()) {
                        Some(node) => Object::Image { root, node },
                        None => continue,
                    },
                    Err(_) => continue,
                };
                return Some((cookie, name.into_bytes(), object));
            },
            Self::Image { root, node, position } => {
                if *position >= root.index().entry_count(*node) {
                    return None;
                }
                let (name, child) = root.index().entry(*node, *position);
                *position += 1;
                let object = Object::Image { root: root.clone(), node: child };
                Some((COOKIES_RESERVED + u64::from(*position), name.to_vec(), object))
            }
        }
    }
}

/// Above the reserved cookies, and below 2^62.
fn name_hash(name: &[u8]) -> u64 {
    let digest = Sha256::digest(name);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    (u64::from_be_bytes(bytes) >> 2).max(COOKIES_RESERVED + 1)
}

fn folder_facts(path: &str) -> Facts {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let file_id = name_hash(path.as_bytes());
    // Nodes come and go: what a client remembers of a folder is always out of date.
    let time = (now.as_secs() as i64, now.subsec_nanos());
    Facts {
        kind: ftype3::NF3DIR as u32,
        mode: 0o555,
        links: 2,
        uid: 0,
        gid: 0,
        size: 4096,
        used: 0,
        device: (0, 0),
        fsid: FOLDERS,
        file_id,
        mounted_on: file_id,
        accessed: time,
        modified: time,
        changed: time,
        change: now.as_nanos() as u64,
        files: 1,
        bytes: 0,
    }
}

/// From the `fattr3` in the index (RFC 1813 section 2.6).
fn image_facts(root: &ImageRoot, node: u32) -> Facts {
    let index = root.index();
    let mut fields = Reader::new(index.attributes(node));
    // An index holds 84 bytes for each node: nothing here can be missing.
    let mut word = || fields.u32().unwrap_or_default();
    let [kind, mode, links, uid, gid] = std::array::from_fn(|_| word());
    let mut long = || u64::from(word()) << 32 | u64::from(word());
    let (size, used) = (long(), long());
    let device = (word(), word());
    let _fsid3 = (word(), word(), word(), word());
    let mut time = || (i64::from(word()), word());
    let (accessed, modified, changed) = (time(), time(), time());
    let id = u128::from_be_bytes(*root.id().as_bytes());
    let file_id = Index::file_id(node);
    Facts {
        kind,
        mode,
        links,
        uid,
        gid,
        size,
        used,
        device,
        fsid: ((id >> 64) as u64, id as u64),
        file_id,
        mounted_on: if node == 0 { MOUNTED_ON } else { file_id },
        accessed,
        modified,
        changed,
        change: (changed.0 as u64) << 32 | u64::from(changed.1),
        files: index.nodes().into(),
        bytes: index.bytes(),
    }
}
