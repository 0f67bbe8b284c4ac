//! Images.

pub mod build;
pub mod diff;
pub mod files;
pub mod history;
pub mod registry;
pub mod session;

use serde::{Deserialize, Serialize};

/// An image of the server's storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Owner.
    pub owner: String,
    /// Name without owner, with its tag unless that is `latest`.
    pub name: String,
    /// Complete name, `<owner>/<name>:<tag>`.
    pub full_name: String,
    /// Whose image it is, seen from the caller.
    pub set: ImageSet,
    /// Content id of the image (sha256, hexadecimal).
    pub id: String,
    /// Creation time, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Node models it can boot, sorted (`walt.node.models`).
    #[serde(default)]
    pub models: Vec<String>,
    /// Whether some node boots it.
    pub in_use: bool,
    /// Names of those nodes, sorted.
    #[serde(default)]
    pub used_by: Vec<String>,
    /// Size in bytes of its files, when known.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// What `walt image clone` accepts for it: `walt:<owner>/<name>`.
    pub clone_link: String,
}

/// Which part of a listing an image belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSet {
    /// Working set of the caller.
    Own,
    /// Default image of a model (owner `waltplatform`, name ending in `-default`).
    Default,
    /// Anything else.
    Other,
}

/// Query of [`route::IMAGES`](super::route::IMAGES): answer is an array of [`Image`], sorted by owner then name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesQuery {
    /// Read the container storage again before answering.
    #[serde(default)]
    pub refresh: bool,
}

/// An image cloned into the working set of the caller without being asked for by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloned {
    /// Name in the working set (without `:latest`).
    pub image: String,
    /// Models it fits, sorted.
    pub models: Vec<String>,
}
