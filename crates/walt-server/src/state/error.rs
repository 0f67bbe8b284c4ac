//! What can go wrong with the platform state.

use std::path::PathBuf;

use walt_model::Mac;

/// A failure of the platform state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file could not be opened or prepared.
    #[error("cannot open the platform database {path}: {reason}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file was written by a later version of the program.
    #[error(
        "the platform database {path} has format {found}, but this program knows formats up to {known}: \
         run a program at least as recent as the one that wrote it, or put back an older copy \
         ({path}.format-<number>)"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Format found in the file.
        found: i64,
        /// Latest format this program knows.
        known: i64,
    },
    /// Another device already has this name or address.
    #[error("another device already has the {what} {value}")]
    Taken {
        /// `name` or `address`.
        what: &'static str,
        /// The name or address.
        value: String,
    },
    /// No device has this MAC address.
    #[error("no device has the MAC address {0}")]
    NoSuchDevice(Mac),
    /// A row holds something this program cannot understand.
    #[error("the platform database holds an invalid {what}: {reason}")]
    Invalid {
        /// Which column.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A statement failed.
    #[error("platform database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The whole group of changes could not be committed.
    #[error("the change could not be written to disk: {0} (is the disk full?)")]
    NotWritten(String),
    /// The state is closed.
    #[error("the platform state is closed")]
    Stopped,
}
