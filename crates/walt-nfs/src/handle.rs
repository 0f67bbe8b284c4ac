//! File handles: what a client holds to name a file, over restarts of the server.
//!
//! | bytes | image file | persistent file |
//! | --- | --- | --- |
//! | 4 | version, kind 1, 0, 0 | version, kind 2, writable or not, kind of object |
//! | 16 | root id | persist id |
//! | | index, 4 bytes | nothing (the directory itself), or type and bytes of the kernel's handle, or inode number and birth time |
//! | 8 | tag | tag |
//!
//! NFSv4 has one more kind, for folders on the way to image roots: version, kind 3, 0, 0, path, tag.
//!
//! The tag is SipHash-2-4 of all that precedes, under a key derived from the secret in the state
//! directory. A message authentication code of 64 bits is enough here: each guess costs a call.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{PersistId, RootId};

const VERSION: u8 = 1;
const IMAGE: u8 = 1;
const PERSIST: u8 = 2;
const FOLDER: u8 = 3;
const WRITABLE: u8 = 1;
const TAG: usize = 8;
const HEAD: usize = 4 + 16;

/// Longest handle (RFC 1813 section 2.4).
pub(crate) const HANDLE_MAX: usize = nfs3_types::nfs3::NFS3_FHSIZE;
/// Longest handle of a folder (RFC 7530 section 1.5.3).
const FOLDER_HANDLE_MAX: usize = 128;
/// Length of the handle of an image file. As it happens, that of NFSv2 handles too.
pub(crate) const IMAGE_HANDLE: usize = HEAD + 4 + TAG;
/// Longest kernel handle that fits.
pub(crate) const KERNEL_HANDLE_MAX: usize = HANDLE_MAX - HEAD - 1 - TAG;

/// The secret that signs file handles. Keep it in the state directory: with another key all
/// handles held by nodes are refused.
#[derive(Clone)]
pub struct HandleKey {
    k0: u64,
    k1: u64,
}

/// Why the key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HandleKeyError {
    /// The file cannot be read or written.
    #[error("cannot use the file handle key {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a key.
    #[error(
        "{path} is not a file handle key: {len} bytes instead of 32 (remove it to get a new one; running nodes must then reboot)"
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
}

/// What a handle names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handle {
    Image { root: RootId, index: u32 },
    Persist { id: PersistId, writable: bool, object: PersistObject },
}

/// An object of a persistent directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PersistObject {
    /// The directory itself.
    Root,
    /// A handle of the kernel (`name_to_handle_at(2)`).
    Kernel(KernelHandle),
    /// For file systems without such handles: inode number, and birth time (ns) against its reuse.
    Inode { number: u64, birth: u64 },
}

/// A handle of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelHandle {
    pub(crate) kind: u8,
    len: u8,
    bytes: [u8; KERNEL_HANDLE_MAX],
}

impl KernelHandle {
    /// `None` when it is too long for an NFSv3 handle.
    pub(crate) fn new(kind: u8, handle: &[u8]) -> Option<Self> {
        let mut bytes = [0; KERNEL_HANDLE_MAX];
        bytes.get_mut(..handle.len())?.copy_from_slice(handle);
        Some(Self { kind, len: handle.len() as u8, bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for KernelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, hex::encode(self.bytes()))
    }
}

/// Why bytes are no handle of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHandle {
    /// Another shape: never made by any version of this server.
    Shape,
    /// The right shape with a wrong tag: forged, or signed with a key that is gone.
    Tag,
}

impl HandleKey {
    /// The key derived from 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(b"walt-nfs file handles 1");
        let derived = mac.finalize().into_bytes();
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&derived[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Self { k0: word(0), k1: word(8) }
    }

    /// Reads the key of `path`, or creates it (32 random bytes, mode 0600).
    pub fn load_or_create(path: &Path) -> Result<Self, HandleKeyError> {
        let failed = |source| HandleKeyError::Io { path: path.to_owned(), source };
        match fs::read(path) {
            Ok(bytes) => match <&[u8; 32]>::try_from(&bytes[..]) {
                Ok(secret) => Ok(Self::new(secret)),
                Err(_) => Err(HandleKeyError::Size { path: path.to_owned(), len: bytes.len() }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::create(path).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn create(path: &Path) -> std::io::Result<Self> {
        let mut secret = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
        let new = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok(Self::new(&secret))
    }

    fn tag(&self, bytes: &[u8]) -> [u8; TAG] {
        siphash24(self.k0, self.k1, bytes).to_le_bytes()
    }

    /// The handle of a file of an image.
    pub(crate) fn image(&self, root: &RootId, index: u32) -> [u8; IMAGE_HANDLE] {
        let mut out = [0; IMAGE_HANDLE];
        out[0] = VERSION;
        out[1] = IMAGE;
        out[4..HEAD].copy_from_slice(root.as_bytes());
        out[HEAD..HEAD + 4].copy_from_slice(&index.to_be_bytes());
        let tag = self.tag(&out[..HEAD + 4]);
        out[HEAD + 4..].copy_from_slice(&tag);
        out
    }

    /// The handle of an object of a persistent directory.
    pub(crate) fn persist(
        &self,
        id: &PersistId,
        writable: bool,
        object: &PersistObject,
    ) -> Vec<u8> {
        let kind = match object {
            PersistObject::Root => 0,
            PersistObject::Kernel(_) => 1,
            PersistObject::Inode { .. } => 2,
        };
        let mut out = Vec::with_capacity(HANDLE_MAX);
        out.extend([VERSION, PERSIST, if writable { WRITABLE } else { 0 }, kind]);
        out.extend(id.as_bytes());
        match object {
            PersistObject::Root => {}
            PersistObject::Kernel(handle) => {
                out.push(handle.kind);
                out.extend(handle.bytes());
            }
            PersistObject::Inode { number, birth } => {
                out.extend(number.to_be_bytes());
                out.extend(birth.to_be_bytes());
            }
        }
        let tag = self.tag(&out);
        out.extend(tag);
        out
    }

    /// The handle of a folder on the way to image roots; `None` when its path is too long.
    pub(crate) fn folder(&self, path: &str) -> Option<Vec<u8>> {
        let mut out = vec![VERSION, FOLDER, 0, 0];
        out.extend(path.as_bytes());
        let tag = self.tag(&out);
        out.extend(tag);
        (out.len() <= FOLDER_HANDLE_MAX).then_some(out)
    }

    /// The path in the handle of a folder; `None` when it is a handle of something else.
    pub(crate) fn open_folder<'a>(&self, bytes: &'a [u8]) -> Result<Option<&'a str>, BadHandle> {
        let [VERSION, FOLDER, 0, 0, ..] = bytes else { return Ok(None) };
        let (signed, tag) = bytes.split_last_chunk::<TAG>().ok_or(BadHandle::Shape)?;
        let path = signed.get(4..).ok_or(BadHandle::Shape)?;
        if self.tag(signed) != *tag {
            return Err(BadHandle::Tag);
        }
        std::str::from_utf8(path).map(Some).map_err(|_| BadHandle::Shape)
    }

    /// A name of the server that others do not have, for clients that want to know whether two addresses
    /// lead to the same one.
    pub(crate) fn server_name(&self) -> String {
        format!("walt-{}", hex::encode(self.tag(b"server name")))
    }

    /// What a client's handle names.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Handle, BadHandle> {
        let (signed, tag) = bytes.split_last_chunk::<TAG>().ok_or(BadHandle::Shape)?;
        let (head, object) = signed.split_first_chunk::<HEAD>().ok_or(BadHandle::Shape)?;
        if head[0] != VERSION || bytes.len() > HANDLE_MAX {
            return Err(BadHandle::Shape);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&head[4..]);
        let handle = match (head[1], head[2], head[3]) {
            (IMAGE, 0, 0) => Handle::Image {
                root: RootId::from_bytes(id),
                index: u32::from_be_bytes(object.try_into().map_err(|_| BadHandle::Shape)?),
            },
            (PERSIST, flags @ (0 | WRITABLE), kind) => Handle::Persist {
                id: PersistId::from_bytes(id),
                writable: flags == WRITABLE,
                object: PersistObject::parse(kind, object).ok_or(BadHandle::Shape)?,
            },
            _ => return Err(BadHandle::Shape),
        };
        if self.tag(signed) == *tag { Ok(handle) } else { Err(BadHandle::Tag) }
    }
}

impl PersistObject {
    fn parse(kind: u8, bytes: &[u8]) -> Option<Self> {
        match kind {
            0 if bytes.is_empty() => Some(Self::Root),
            1 => {
                let (kind, handle) = bytes.split_first()?;
                KernelHandle::new(*kind, handle).map(Self::Kernel)
            }
            2 => {
                let (number, birth) = bytes.split_first_chunk::<8>()?;
                Some(Self::Inode {
                    number: u64::from_be_bytes(*number),
                    birth: u64::from_be_bytes(birth.try_into().ok()?),
                })
            }
            _ => None,
        }
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash made for short messages.
fn siphash24(k0: u64, k1: u64, message: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let words = message.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    last[7] = message.len() as u8;
    for word in words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        absorb(&mut v, u64::from_le_bytes(bytes));
    }
    absorb(&mut v, u64::from_le_bytes(last));
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn samples(key: &HandleKey) -> Vec<(Handle, Vec<u8>)> {
        let root = RootId::derive("image");
        let id = PersistId::derive("node");
        let mut all =
            vec![(Handle::Image { root, index: 70_000 }, key.image(&root, 70_000).to_vec())];
        for object in [
            PersistObject::Root,
            PersistObject::Kernel(KernelHandle::new(4, &[1; 8]).unwrap()),
            PersistObject::Kernel(KernelHandle::new(0xf8, &[2; KERNEL_HANDLE_MAX]).unwrap()),
            PersistObject::Inode { number: 12, birth: 99 },
        ] {
            for writable in [false, true] {
                let bytes = key.persist(&id, writable, &object);
                let object = object.clone();
                all.push((Handle::Persist { id, writable, object }, bytes));
            }
        }
        all
    }

    #[test]
    fn handles_come_back_and_fit() {
        let key = HandleKey::new(&[1; 32]);
        for (handle, bytes) in samples(&key) {
            assert!(bytes.len() <= HANDLE_MAX);
            assert_eq!(key.open(&bytes), Ok(handle));
        }
    }

    #[test]
    fn any_changed_bit_is_refused() {
        let key = HandleKey::new(&[1; 32]);
        for (_, bytes) in samples(&key) {
            for bit in 0..bytes.len() * 8 {
                let mut forged = bytes.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(key.open(&forged).is_err(), "bit {bit}");
            }
            for cut in 0..bytes.len() {
                assert!(key.open(&bytes[..cut]).is_err(), "cut {cut}");
            }
        }
    }

    #[test]
    fn handles_of_folders() {
        let key = HandleKey::new(&[1; 32]);
        for path in ["", "/var", "/var/lib/walt/nodes/52:54:00:01:02:03"] {
            let bytes = key.folder(path).unwrap();
            assert_eq!(key.open_folder(&bytes), Ok(Some(path)));
            assert_eq!(key.open(&bytes), Err(BadHandle::Shape), "not for version 3");
            for bit in 0..bytes.len() * 8 {
                let mut forged = bytes.clone();
                forged[bit / 8] ^= 1 << (bit % 8);
                assert!(!matches!(key.open_folder(&forged), Ok(Some(_))), "bit {bit}");
            }
            for cut in 0..bytes.len() {
                assert!(!matches!(key.open_folder(&bytes[..cut]), Ok(Some(_))), "cut {cut}");
            }
        }
        assert_eq!(key.folder(&"x".repeat(117)), None);
        let image = key.image(&RootId::derive("a"), 3);
        assert_eq!(key.open_folder(&image), Ok(None));
    }

    #[test]
    fn another_key_refuses() {
        let bytes = HandleKey::new(&[1; 32]).image(&RootId::derive("a"), 0);
        assert_eq!(HandleKey::new(&[2; 32]).open(&bytes), Err(BadHandle::Tag));
    }

    #[test]
    fn siphash_reference_values() {
        // Test vectors of the paper's appendix and of the authors' reference program.
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(siphash24(k0, k1, &message), 0xa129_ca61_49be_45e5);
        assert_eq!(siphash24(k0, k1, &[]), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn the_key_file_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nfs.key");
        let bytes = HandleKey::load_or_create(&path).unwrap().image(&RootId::derive("a"), 3);
        let again = HandleKey::load_or_create(&path).unwrap();
        assert!(again.open(&bytes).is_ok());
        fs::write(&path, b"short").unwrap();
        assert!(matches!(
            HandleKey::load_or_create(&path),
            Err(HandleKeyError::Size { len: 5, .. })
        ));
    }
}
