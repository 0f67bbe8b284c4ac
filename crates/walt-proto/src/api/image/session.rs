//! Shells in images.
//!
//! `POST` [`route::IMAGE_SHELLS`](crate::api::route::IMAGE_SHELLS) opens one, the WebSocket
//! [`route::SHELL_ATTACH`](crate::api::route::SHELL_ATTACH) joins the caller's terminal to it as
//! [`session`](crate::api::session) says (the first message is `start` with the command `shell`). When the client goes
//! away the shell goes on, for a day; nobody else changes its image meanwhile. It ends with
//! [`route::SHELL_SAVE`](crate::api::route::SHELL_SAVE) or a `DELETE` of [`route::SHELL`](crate::api::route::SHELL).

use serde::{Deserialize, Serialize};

/// Opens a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenShell {
    /// Value of `TERM`; absent: without a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
}

/// A shell of the caller in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShell {
    /// Its id.
    pub id: String,
    /// Name of the image in the caller's working set.
    pub image: String,
    /// What runs in it.
    pub mode: ShellMode,
    /// Whether it still runs; else its files can be saved or dropped.
    pub running: bool,
    /// Somebody is in it now.
    pub attached: bool,
    /// When it was opened, milliseconds since the Unix epoch.
    pub started_ms: i64,
    /// When it is dropped if nobody comes back, milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// What runs in a shell's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShellMode {
    /// The shell alone.
    Simple,
    /// The operating system of the image, started by its own means.
    Advanced,
}

/// Saves the files of a shell, which ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaveShell {
    /// Name the result gets in the caller's working set: that of the image, or a new one.
    pub name: String,
    /// The user accepted that an image is replaced.
    #[serde(default)]
    pub confirmed: bool,
}
