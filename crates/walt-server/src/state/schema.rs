//! The tables, in numbered steps, and how a file is brought up to date.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::StateError;

/// Step *n* (from 1) brings a file of format *n - 1* to format *n*. Steps are never changed once released.
pub(super) const STEPS: &[&str] = &[STEP_1, STEP_2];

// Names of tables and columns are those of the original where it had them.
const STEP_1: &str = "
CREATE TABLE devices (
    mac     TEXT PRIMARY KEY NOT NULL,
    ip      TEXT UNIQUE,
    name    TEXT NOT NULL UNIQUE,
    type    TEXT NOT NULL CHECK (type IN ('server', 'node', 'switch', 'unknown')),
    virtual INTEGER NOT NULL DEFAULT 0,
    conf    TEXT NOT NULL DEFAULT '{}',
    created INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE nodes (
    mac      TEXT PRIMARY KEY NOT NULL REFERENCES devices(mac) ON DELETE CASCADE,
    model    TEXT NOT NULL,
    image    TEXT NOT NULL,
    firmware TEXT NOT NULL DEFAULT 'bios' CHECK (firmware IN ('bios', 'uefi')),
    booted   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE boots (
    id      TEXT PRIMARY KEY NOT NULL,
    mac     TEXT NOT NULL REFERENCES devices(mac) ON DELETE CASCADE,
    started INTEGER NOT NULL,
    stages  TEXT NOT NULL,
    outcome TEXT
) WITHOUT ROWID;
CREATE INDEX boots_mac_idx ON boots(mac, started);
CREATE TABLE roots (
    mac  TEXT NOT NULL REFERENCES devices(mac) ON DELETE CASCADE,
    root TEXT NOT NULL,
    PRIMARY KEY (mac, root)
) WITHOUT ROWID;
CREATE TABLE server_values (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;
";

// Images: what each name meant, what is being changed (to be finished or undone after a crash), and shells that outlive
// their client. Rows of the original's database that have no place here yet.
const STEP_2: &str = "
CREATE TABLE image_versions (
    image   TEXT NOT NULL,
    number  INTEGER NOT NULL,
    id      TEXT NOT NULL,
    since   INTEGER NOT NULL,
    task    TEXT NOT NULL,
    by_user TEXT NOT NULL,
    detail  TEXT NOT NULL,
    created INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    PRIMARY KEY (image, number)
) WITHOUT ROWID;
CREATE TABLE image_changes (
    image  TEXT PRIMARY KEY NOT NULL,
    change TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE image_sessions (
    id        TEXT PRIMARY KEY NOT NULL,
    image     TEXT NOT NULL,
    user      TEXT NOT NULL,
    container TEXT NOT NULL,
    started   INTEGER NOT NULL,
    state     TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE imported_rows (
    source TEXT NOT NULL,
    number INTEGER NOT NULL,
    row    TEXT NOT NULL,
    why    TEXT NOT NULL,
    PRIMARY KEY (source, number)
) WITHOUT ROWID;
";

/// Open the file for writing, at the latest format.
pub(super) fn open(path: &Path) -> Result<Connection, StateError> {
    open_with(path, STEPS)
}

pub(super) fn open_with(path: &Path, steps: &[&str]) -> Result<Connection, StateError> {
    let failed =
        |error: rusqlite::Error| StateError::Open { path: path.into(), reason: error.to_string() };
    let mut conn = Connection::open(path).map_err(failed)?;
    conn.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    let known = steps.len() as i64;
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    if found > known {
        return Err(StateError::Newer { path: path.into(), found, known });
    }
    conn.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    if found > 0 && found < known {
        keep_copy(&conn, path, found)?;
    }
    for (index, step) in steps.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
        let format = index as i64 + 1;
        let tx = conn.transaction().map_err(failed)?;
        tx.execute_batch(step)
            .and_then(|()| tx.pragma_update(None, "user_version", format))
            .and_then(|()| tx.commit())
            .map_err(|error| StateError::Open {
                path: path.into(),
                reason: format!("step to format {format} failed, nothing was changed: {error}"),
            })?;
        tracing::debug!("platform database {}: now at format {format}", path.display());
    }
    // After the steps: one that rebuilds a table must be free to drop the old one.
    conn.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    Ok(conn)
}

/// A whole copy of the file (write-ahead log included) before its format changes.
fn keep_copy(conn: &Connection, path: &Path, format: i64) -> Result<(), StateError> {
    let copy = copy_path(path, format);
    let failed = |reason: String| StateError::Open {
        path: path.into(),
        reason: format!(
            "cannot keep a copy as {} before changing its format: {reason}",
            copy.display()
        ),
    };
    let mut partial = copy.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match std::fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(error.to_string()));
        }
        _ => {}
    }
    let target = partial.to_str().ok_or_else(|| failed("its path is not UTF-8".into()))?;
    conn.execute("VACUUM INTO ?1", [target]).map_err(|error| failed(error.to_string()))?;
    std::fs::rename(&partial, &copy).map_err(|error| failed(error.to_string()))?;
    tracing::info!("platform database: a copy of format {format} is kept as {}", copy.display());
    Ok(())
}

/// Where the copy of a file of that format is kept.
pub(super) fn copy_path(path: &Path, format: i64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".format-{format}"));
    name.into()
}

/// Open the file for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}
