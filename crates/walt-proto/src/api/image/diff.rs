//! What differs between two images.

use serde::{Deserialize, Serialize};

/// Body of [`route::IMAGES_DIFF`](crate::api::route::IMAGES_DIFF). The answer is events: one for each package that
/// differs, then one for each file, in the order of paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffImages {
    /// The first image: `<image>`, or `<image>@<version>` for an earlier version of it.
    pub a: String,
    /// The second one.
    pub b: String,
}

/// What became of something from the first image to the second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// Only the second image has it.
    Added,
    /// Both have it, and it differs.
    Changed,
    /// Only the first image has it.
    Removed,
}

/// A file, directory, symlink... that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDifference {
    /// Where it is, from the root of the image.
    pub path: String,
    /// What became of it.
    pub became: Became,
    /// `file`, `directory`, `symlink`... in the second image (in the first one for what is removed).
    pub kind: String,
    /// What differs of what is changed: `type`, `content`, `target`, `mode`, `owner`, `attributes`.
    #[serde(default)]
    pub what: Vec<String>,
    /// Bytes in the first image, 0 for anything but a regular file.
    pub before_bytes: u64,
    /// Bytes in the second image.
    pub after_bytes: u64,
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageDifference {
    /// Its name, with its architecture where the database tells (`bash:amd64`).
    pub package: String,
    /// What became of it.
    pub became: Became,
    /// Its version in the first image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its version in the second image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}
