//! What was made, kept in the state folder so that it can be undone whatever happens to the process.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::NetError;
use super::identity::replace;

/// Name of its file in the state folder.
const FILE: &str = "networks.json";

/// One thing made in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "made")]
pub enum Made {
    /// An interface.
    Link {
        /// Its name.
        name: String,
    },
    /// An existing interface made up.
    Up {
        /// Its name.
        name: String,
    },
    /// An interface made port of a bridge.
    Port {
        /// The interface.
        name: String,
        /// The bridge.
        bridge: String,
    },
    /// An address.
    Address {
        /// On this interface.
        name: String,
        /// The address.
        ip: Ipv4Addr,
        /// Length of its prefix.
        prefix: u8,
    },
    /// An alternate name.
    AltName {
        /// Of this interface.
        name: String,
        /// The alternate name.
        alt: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    boot: String,
    namespace: String,
    made: Vec<Made>,
}

/// The things made, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    path: Option<PathBuf>,
    /// The things made, oldest first.
    pub made: Vec<Made>,
}

impl Record {
    /// Read the record of a state folder. One of an earlier boot of the machine, or of another network
    /// namespace, is of no use: what it lists is gone, and the same names may now be someone else's.
    pub(super) fn load(state_dir: &Path) -> Result<Self, NetError> {
        let path = state_dir.join(FILE);
        let made = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let stored: Stored = serde_json::from_str(&text).map_err(|error| {
                    NetError::file(&path, format!("not a record of networks: {error}"))
                })?;
                let here = (stored.boot, stored.namespace) == (boot_id(), namespace());
                if here { stored.made } else { Vec::new() }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(NetError::file(&path, error)),
        };
        Ok(Self { path: Some(path), made })
    }

    /// A record kept nowhere, for plans made in tests.
    #[cfg(test)]
    pub(super) fn of(made: Vec<Made>) -> Self {
        Self { path: None, made }
    }

    pub(super) fn add(&mut self, made: &Made) -> Result<(), NetError> {
        if !self.made.contains(made) {
            self.made.push(made.clone());
            self.save()?;
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, made: &Made) -> Result<(), NetError> {
        self.made.retain(|other| other != made);
        self.save()
    }

    fn save(&self) -> Result<(), NetError> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.made.is_empty() {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(NetError::file(path, error))
                }
                _ => Ok(()),
            };
        }
        let stored = Stored { boot: boot_id(), namespace: namespace(), made: self.made.clone() };
        let text =
            serde_json::to_string_pretty(&stored).map_err(|error| NetError::file(path, error))?;
        replace(path, &text).map_err(|error| NetError::file(path, error))
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn namespace() -> String {
    std::fs::read_link("/proc/thread-self/ns/net")
        .map(|target| target.to_string_lossy().into_owned())
        .unwrap_or_default()
}
