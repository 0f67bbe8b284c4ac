//! The tables, and how a connection is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::LogError;
use crate::store::Durability;

/// Format of the file (`PRAGMA user_version`).
pub(crate) const FORMAT: i64 = 3;

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

// What each stream holds, kept in the transactions that add and delete its lines: retention by size reads it.
const FORMAT_3: &str = "
ALTER TABLE logstreams ADD COLUMN lines INTEGER NOT NULL DEFAULT 0;
ALTER TABLE logstreams ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE logstreams SET
    lines = (SELECT count(*) FROM logs WHERE stream_id = logstreams.id),
    bytes = (SELECT ifnull(sum(octet_length(line)), 0) FROM logs WHERE stream_id = logstreams.id);
";

/// A file without room for giving space back is rewritten when it is opened, up to this size.
const REWRITTEN_BYTES: i64 = 256 << 20;

/// Size of a new file's pages.
const PAGE_BYTES: i64 = 8192;

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
    give_space_back(&conn, found == 0).map_err(open_error)?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(open_error)?;
    // The writer does it, less often, and a thread of its own most of the work.
    conn.pragma_update(None, "wal_autocheckpoint", 0).map_err(open_error)?;
    let synchronous = match durability {
        Durability::ProcessKill => "NORMAL",
        Durability::PowerCut => "FULL",
    };
    conn.pragma_update(None, "synchronous", synchronous).map_err(open_error)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20).map_err(open_error)?;
    conn.pragma_update(None, "cache_size", -32_768).map_err(open_error)?;
    if found < FORMAT {
        let tx = conn.transaction().map_err(open_error)?;
        for (format, tables) in [(1, FORMAT_1), (2, FORMAT_2), (3, FORMAT_3)] {
            if found < format {
                tx.execute_batch(tables).map_err(open_error)?;
            }
        }
        tx.pragma_update(None, "user_version", FORMAT).map_err(open_error)?;
        tx.commit().map_err(open_error)?;
    }
    Ok(conn)
}

/// Makes `incremental_vacuum` possible: free for a new file, by rewriting a small one, not at all for a large one.
fn give_space_back(conn: &Connection, new: bool) -> Result<(), rusqlite::Error> {
    const INCREMENTAL: i64 = 2;
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if new {
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    }
    if number("auto_vacuum")? == INCREMENTAL {
        return Ok(());
    }
    conn.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    let size = number("page_count")? * number("page_size")?;
    if new && size == 0 {
        return Ok(());
    }
    if size > REWRITTEN_BYTES {
        tracing::warn!(
            size,
            "the log database was made by an earlier version: the room of deleted lines is used again, \
             but the file does not get smaller"
        );
        return Ok(());
    }
    conn.execute_batch("VACUUM")
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
