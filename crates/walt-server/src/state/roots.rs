//! Which node reads which image root, so that old roots stay readable over a restart.

use rusqlite::{Connection, params};
use walt_model::Mac;

use super::devices::{must_exist, parsed};
use super::error::StateError;

/// A node reads an image root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootInUse {
    /// The node.
    pub mac: Mac,
    /// Id of the root, as `walt-images` names it.
    pub root: String,
}

pub(super) fn add(conn: &Connection, mac: Mac, root: &str) -> Result<(), StateError> {
    must_exist(conn, mac)?;
    conn.execute(
        "INSERT OR IGNORE INTO roots(mac, root) VALUES (?1, ?2)",
        params![mac.to_string(), root],
    )?;
    Ok(())
}

pub(super) fn only(conn: &Connection, mac: Mac, root: &str) -> Result<(), StateError> {
    add(conn, mac, root)?;
    conn.execute(
        "DELETE FROM roots WHERE mac = ?1 AND root <> ?2",
        params![mac.to_string(), root],
    )?;
    Ok(())
}

pub(super) fn remove(conn: &Connection, mac: Mac, root: &str) -> Result<(), StateError> {
    conn.execute("DELETE FROM roots WHERE mac = ?1 AND root = ?2", params![mac.to_string(), root])?;
    Ok(())
}

pub(super) fn all(conn: &Connection) -> Result<Vec<RootInUse>, StateError> {
    let mut statement = conn.prepare("SELECT mac, root FROM roots ORDER BY mac, root")?;
    let mut rows = statement.query([])?;
    let mut roots = Vec::new();
    while let Some(row) = rows.next()? {
        roots.push(RootInUse { mac: parsed(row, 0, "roots.mac")?, root: row.get(1)? });
    }
    Ok(roots)
}
