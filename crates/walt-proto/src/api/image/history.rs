//! Names of images, what they meant before, and what differs between two of them.

use serde::{Deserialize, Serialize};

/// Body of [`route::IMAGE_DUPLICATE`](crate::api::route::IMAGE_DUPLICATE) and
/// [`route::IMAGE_RENAME`](crate::api::route::IMAGE_RENAME).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewImageName {
    /// The name that is not used yet, `<name>` or `<name>:<tag>`.
    pub new_name: String,
}

/// Body of [`route::IMAGES_TAKE_OVER`](crate::api::route::IMAGES_TAKE_OVER).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    /// The user whose images become the caller's.
    pub user: String,
}

/// Answer of [`route::IMAGES_TAKE_OVER`](crate::api::route::IMAGES_TAKE_OVER).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// Names of the images that are now the caller's, without `:latest`, sorted.
    #[serde(default)]
    pub images: Vec<String>,
}

/// Something an image name means, or meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageVersion {
    /// Its number among the versions of the name, from 1; never given twice.
    pub version: u32,
    /// Content id (sha256, hexadecimal).
    pub id: String,
    /// When the name got it, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// When the content was made, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Size in bytes of its files.
    pub size_bytes: u64,
    /// What made it: `build`, `shell session`, `found` (it came by other means than `walt`)...
    pub cause: String,
    /// Who asked for it.
    pub by: String,
    /// More, for people; may be empty.
    #[serde(default)]
    pub detail: String,
    /// Whether it is what the name means now.
    pub current: bool,
    /// Names of the nodes that run it, sorted; for the current one, also of those that will boot it.
    #[serde(default)]
    pub used_by: Vec<String>,
}

/// Body of [`route::IMAGE_ROLLBACK`](crate::api::route::IMAGE_ROLLBACK).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackImage {
    /// The version that comes back; none: the one before the current one.
    #[serde(default)]
    pub version: Option<u32>,
    /// The user accepts that nodes are rebooted.
    #[serde(default)]
    pub confirmed: bool,
}
