//! What a virtual node is made of.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a virtual node starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS and QEMU's iPXE network ROM.
    Bios,
    /// OVMF, its own PXE client.
    Uefi,
}

/// A virtual node, as its owner asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Node name: shown in the process list and in messages (letters, digits, `-`).
    pub name: String,
    /// Its address on `walt-net`.
    pub mac: [u8; 6],
    /// BIOS or UEFI.
    pub firmware: Firmware,
    /// Memory in MiB, 128 to 65536.
    pub ram_mb: u32,
    /// Number of virtual CPUs, 1 to 64.
    pub cpu_cores: u32,
    /// The bridge its network card is plugged into, in the caller's network namespace.
    pub bridge: String,
    /// Where its state is kept (made if missing): one directory per node, e.g.
    /// `<state>/virtual/<mac-with-dashes>`.
    pub dir: PathBuf,
}

/// What is wrong in a [`NodeSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Memory out of bounds.
    #[error("a virtual node needs 128 MiB to 64 GiB of memory, not {0} MiB")]
    Ram(u32),
    /// CPUs out of bounds.
    #[error("a virtual node needs 1 to 64 CPUs, not {0}")]
    Cpu(u32),
    /// Bad name.
    #[error("'{0}' is not a node name (lower-case letters, digits and dashes)")]
    Name(String),
    /// Bad address.
    #[error("{0} is not the address of one machine (unicast, not zero)")]
    Mac(String),
    /// Bad bridge name.
    #[error("'{0}' is not the name of a network interface")]
    Bridge(String),
}

impl NodeSpec {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        unimplemented!()
    }
}
