//! Keys of the platform: the host key all nodes share, and the server's own key to enter nodes.

use std::path::{Path, PathBuf};

/// The platform's keys, kept in `<state>/keys`.
#[derive(Debug, Clone)]
pub struct PlatformKeys {
    dir: PathBuf,
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// ssh-keygen did not work.
    #[error(transparent)]
    Command(#[from] crate::command::CommandError),
}

impl PlatformKeys {
    /// Reads the keys of `<state_dir>/keys`, making them with ssh-keygen the first time.
    ///
    /// # Errors
    /// ssh-keygen is missing; the directory cannot be written.
    pub async fn open(state_dir: &Path) -> Result<Self, KeysError> {
        Ok(Self { dir: state_dir.join("keys") })
    }

    /// Private key with which the server enters nodes as root (`ssh -i`).
    pub fn identity_file(&self) -> PathBuf {
        self.dir.join("id_ecdsa")
    }

    /// A `known_hosts` file with the nodes' common host key, for `HostKeyAlias=walt.node`.
    pub fn known_hosts_file(&self) -> PathBuf {
        self.dir.join("known_hosts.nodes")
    }
}
