//! Bundles: everything needed to tell what ran during an experiment, in one file.
//!
//! A tar archive compressed with Zstandard. Its members, in this order:
//!
//! | member | content |
//! | --- | --- |
//! | `<word>.json` | what was known when the bundle was made (devices, images, checkpoints, versions), and what ran (boots, image versions) |
//! | `logs/00001.jsonl`... | the lines, oldest first, as `walt log export --format jsonl` gives them |
//! | `manifest.json` | [`Manifest`]: size and SHA-256 of each member. Without it a bundle is cut |

mod read;
mod write;

pub use read::{Limits, import};
pub use write::BundleWriter;

use serde::{Deserialize, Serialize};

/// Value of [`Manifest::format`].
const FORMAT: &str = "walt-bundle";
/// Newest version of the format.
const VERSION: u32 = 1;
/// Name of the last member.
const MANIFEST: &str = "manifest.json";
/// Name of the member that tells the MAC address of each issuer.
pub const ISSUERS: &str = "issuers";
/// Name of the member that holds checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `walt-bundle`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// Version of the server that made it.
    pub server_version: String,
    /// When it was made, microseconds since 1970.
    pub made_us: i64,
    /// The range asked for, as typed.
    pub range: String,
    /// Records strictly later than this, microseconds since 1970; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_us: Option<i64>,
    /// Records strictly earlier than this; absent: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_us: Option<i64>,
    /// Number of log lines.
    pub lines: u64,
    /// The other members, in their order.
    pub members: Vec<Member>,
}

/// A member of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its path in the archive.
    pub name: String,
    /// Its size, bytes.
    pub size: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// An issuer of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: walt_model::Mac,
}

/// A named instant of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    /// Its name.
    pub name: String,
    /// When, microseconds since 1970.
    pub timestamp_us: i64,
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(bytes))
}
