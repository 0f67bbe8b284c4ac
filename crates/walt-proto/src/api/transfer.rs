//! File transfers with a node, as tar streams in HTTP bodies.
//!
//! The client decides names ([`PathKind`] of both ends, then the rules of `cp`), the server only carries them out:
//!
//! * up: `PUT` [`route::NODE_FILES`](super::route::NODE_FILES)`?path=<dir>`, body = tar stream unpacked in that existing
//!   directory as root. Answer: [`Empty`](super::Empty) once everything is written.
//! * down: `GET` the same with `?path=<file or dir>&name=<n>`: a tar stream whose top member is named `n`
//!   (`.`: members are those of the directory itself). A transfer that fails on its way is cut, not ended properly:
//!   the last chunk never comes.
//!
//! Relative paths start at `/root`; an empty path is `/root`.

use serde::{Deserialize, Serialize};

/// Query of transfers and of [`route::NODE_PATH`](super::route::NODE_PATH).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathQuery {
    /// Path on the node.
    #[serde(default)]
    pub path: String,
    /// Download only: name of the top member in the tar stream; absent: the base name of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user accepted to disturb nodes of others.
    #[serde(default)]
    pub confirmed: bool,
}

/// Answer of [`route::NODE_PATH`](super::route::NODE_PATH): what stands at a path (symbolic links followed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// The path, absolute.
    pub path: String,
    /// What it is.
    pub kind: PathKind,
    /// What its parent is: a missing path can be created when this is a directory.
    pub parent: PathKind,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A device, a socket, ...
    Other,
    /// Nothing.
    Missing,
}
