//! `walt image build`, `walt image squash`, `walt image check`.
//!
//! A build from a directory is one request whose body is the directory as a tar stream (members relative, owner root); a
//! build from a repository has no body. Both are answered by events: the words of the build as `out` and `err`. A
//! client that goes away stops the build; nothing of it is left.

use serde::{Deserialize, Serialize};

/// Query of a build: POST [`route::IMAGE_BUILD`](super::super::route::IMAGE_BUILD).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildQuery {
    /// Address of a git repository; absent: the body is a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Folder of the repository that holds the Dockerfile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_dir: Option<String>,
    /// The user accepted that an image of this name is replaced, and its nodes rebooted.
    #[serde(default)]
    pub confirmed: bool,
}

/// Request of a squash: POST [`route::IMAGE_SQUASH`](super::super::route::IMAGE_SQUASH).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Squash {
    /// The user accepted that nodes are rebooted.
    #[serde(default)]
    pub confirmed: bool,
}

/// Query of a check: GET [`route::IMAGE_CHECK`](super::super::route::IMAGE_CHECK).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckQuery {
    /// Look at it for this model only; absent: for those of its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What an image lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCheck {
    /// Name in the working set, without `:latest`.
    pub image: String,
    /// Models it was looked at for.
    pub models: Vec<String>,
    /// Whether nodes of these models boot it, as far as can be seen.
    pub boots: bool,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

/// Something an image lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The model it is about; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What was found: a sentence without its point.
    pub what: String,
    /// What it means for nodes.
    pub why: String,
    /// How to mend it.
    pub mend: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nodes do not boot.
    Vital,
    /// Something does not work, or may not.
    Warning,
    /// Good to know; also what this client does not know.
    #[serde(other)]
    Note,
}
