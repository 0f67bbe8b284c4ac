//! The tables, and how a connection is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::LogError;
use crate::store::Durability;

/// Format of the file (`PRAGMA user_version`).
pub(crate) const FORMAT: i64 = 2;

// `logs.seq` is the order of the store. `logstreams.issuer_mac` is null once its device was removed: the lines
// are then no longer visible and the writer deletes them little by little. Ids of streams are never used again.
const FORMAT_1: &str = "
CREATE TABLE issuers (
    mac  TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE logstreams (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    issuer_mac TEXT,
    name       TEXT NOT NULL,
    mode       TEXT NOT NULL DEFAULT 'line',
    UNIQUE (issuer_mac, name)
);
CREATE TABLE logs (
    seq       INTEGER PRIMARY KEY,
    stream_id INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    line      TEXT NOT NULL
);
CREATE INDEX logs_timestamp_idx ON logs(timestamp);
CREATE INDEX logs_stream_id_idx ON logs(stream_id, timestamp);
CREATE TABLE checkpoints (
    username  TEXT NOT NULL,
    name      TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    PRIMARY KEY (username, name)
) WITHOUT ROWID;
CREATE TABLE counters (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) WITHOUT ROWID;
";

// `spools.last_seq` changes in the transaction of the lines it counts: a line that is sent again is known.
const FORMAT_2: &str = "
CREATE TABLE spools (
    issuer_mac TEXT NOT NULL,
    session    TEXT NOT NULL,
    last_seq   INTEGER NOT NULL,
    updated    INTEGER NOT NULL,
    PRIMARY KEY (issuer_mac, session)
) WITHOUT ROWID;
CREATE TABLE clocks (
    issuer_mac  TEXT NOT NULL,
    timestamp   INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    uncertainty INTEGER NOT NULL,
    PRIMARY KEY (issuer_mac, timestamp)
) WITHOUT ROWID;
";

/// Open the file for writing, creating or checking its tables.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection, LogError> {
    let open_error = |source| LogError::Open { path: path.to_owned(), source };
    let mut conn = Connection::open(path).map_err(open_error)?;
    conn.busy_timeout(Duration::from_secs(10)).map_err(open_error)?;
    let found: i64 =
        conn.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(open_error)?;
    if found > FORMAT {
        return Err(LogError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    conn.pragma_update(None, "journal_mode", "WAL").map_err(open_error)?;
    let synchronous = match durability {
        Durability::ProcessKill => "NORMAL",
        Durability::PowerCut => "FULL",
    };
    conn.pragma_update(None, "synchronous", synchronous).map_err(open_error)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20).map_err(open_error)?;
    conn.pragma_update(None, "cache_size", -16_384).map_err(open_error)?;
    if found < FORMAT {
        let tx = conn.transaction().map_err(open_error)?;
        for (format, tables) in [(1, FORMAT_1), (2, FORMAT_2)] {
            if found < format {
                tx.execute_batch(tables).map_err(open_error)?;
            }
        }
        tx.pragma_update(None, "user_version", FORMAT).map_err(open_error)?;
        tx.commit().map_err(open_error)?;
    }
    Ok(conn)
}

/// Open the file for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)
        .map_err(|source| LogError::Open { path: path.to_owned(), source })?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}
