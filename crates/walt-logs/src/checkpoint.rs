//! Instants a user gave a name to.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::LogError;
use crate::record::Timestamp;

/// An instant a user gave a name to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its name, unique for this user.
    pub name: String,
    /// The instant.
    pub timestamp: Timestamp,
}

pub(crate) fn add(
    conn: &Connection,
    user: &str,
    name: &str,
    timestamp: Timestamp,
) -> Result<(), LogError> {
    let added = conn.execute(
        "INSERT OR IGNORE INTO checkpoints(username, name, timestamp) VALUES (?1, ?2, ?3)",
        params![user, name, timestamp.0],
    )?;
    if added == 0 { Err(LogError::CheckpointExists(name.into())) } else { Ok(()) }
}

pub(crate) fn remove(conn: &Connection, user: &str, name: &str) -> Result<(), LogError> {
    let removed = conn.execute(
        "DELETE FROM checkpoints WHERE username = ?1 AND name = ?2",
        params![user, name],
    )?;
    if removed == 0 { Err(LogError::NoSuchCheckpoint(name.into())) } else { Ok(()) }
}

pub(crate) fn list(conn: &Connection, user: &str) -> Result<Vec<Checkpoint>, LogError> {
    let mut statement = conn.prepare_cached(
        "SELECT name, timestamp FROM checkpoints WHERE username = ?1 ORDER BY timestamp, name",
    )?;
    let rows = statement.query_map([user], |row| {
        Ok(Checkpoint { name: row.get(0)?, timestamp: Timestamp(row.get(1)?) })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn get(conn: &Connection, user: &str, name: &str) -> Result<Checkpoint, LogError> {
    conn.query_row(
        "SELECT timestamp FROM checkpoints WHERE username = ?1 AND name = ?2",
        params![user, name],
        |row| row.get(0),
    )
    .optional()?
    .map(|us| Checkpoint { name: name.into(), timestamp: Timestamp(us) })
    .ok_or_else(|| LogError::NoSuchCheckpoint(name.into()))
}
