//! What can go wrong in the store.

use std::path::PathBuf;

/// A failure of the log store.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file could not be opened or prepared.
    #[error(
        "cannot open the log database {path}: {source} (is its folder writable, and the file a SQLite database?)"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file was written by a later version of the program.
    #[error(
        "the log database {path} has format {found}, this program knows formats up to {known}: \
         use a program as recent as the one that wrote it, or move the file away"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Format found in the file.
        found: i64,
        /// Latest format this program knows.
        known: i64,
    },
    /// A statement failed.
    #[error("log database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The last group of lines could not be written; the writer keeps it and tries again.
    #[error("log lines could not be written to disk yet: {0} (is the disk full?)")]
    NotWritten(String),
    /// The user already has a checkpoint with this name.
    #[error("a checkpoint with this name already exists.")]
    CheckpointExists(String),
    /// The user has no checkpoint with this name.
    #[error("no checkpoint with this name '{0}'.")]
    NoSuchCheckpoint(String),
    /// Lines could not be put in the format asked for, or nobody takes them any more.
    #[error("log lines could not be exported: {0}")]
    Export(String),
    /// A bundle that is not accepted.
    #[error("this bundle is not accepted: {0}")]
    Bundle(String),
    /// The store is being stopped.
    #[error("the log store is stopped")]
    Stopped,
}
