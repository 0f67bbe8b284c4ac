//! The last boots of each node, for the waterfall.

use rusqlite::{Connection, params};
use walt_model::Mac;

use super::devices::must_exist;
use super::error::StateError;

/// Boots kept for each node.
pub const KEPT_BOOTS: usize = 20;

/// One boot of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Boot {
    /// Its id, unique.
    pub id: String,
    /// The node.
    pub mac: Mac,
    /// When it started, microseconds since 1970 UTC.
    pub started: i64,
    /// The stages, as the boot timeline writes them.
    pub stages: serde_json::Value,
    /// How it ended; `None` while it goes on.
    pub outcome: Option<String>,
}

pub(super) fn put(conn: &Connection, boot: &Boot) -> Result<(), StateError> {
    must_exist(conn, boot.mac)?;
    let mac = boot.mac.to_string();
    conn.prepare_cached(
        "INSERT INTO boots(id, mac, started, stages, outcome) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET mac = excluded.mac, started = excluded.started,
             stages = excluded.stages, outcome = excluded.outcome",
    )?
    .execute(params![boot.id, mac, boot.started, boot.stages.to_string(), boot.outcome])?;
    conn.prepare_cached(
        "DELETE FROM boots WHERE mac = ?1 AND id NOT IN
             (SELECT id FROM boots WHERE mac = ?1 ORDER BY started DESC, id DESC LIMIT ?2)",
    )?
    .execute(params![mac, KEPT_BOOTS as i64])?;
    Ok(())
}

pub(super) fn of(conn: &Connection, mac: Mac) -> Result<Vec<Boot>, StateError> {
    let mut statement = conn.prepare_cached(
        "SELECT id, started, stages, outcome FROM boots WHERE mac = ?1
         ORDER BY started DESC, id DESC",
    )?;
    let mut rows = statement.query([mac.to_string()])?;
    let mut boots = Vec::new();
    while let Some(row) = rows.next()? {
        let stages = serde_json::from_str(row.get_ref(2)?.as_str().unwrap_or_default()).map_err(
            |error| StateError::Invalid { what: "boots.stages", reason: error.to_string() },
        )?;
        boots.push(Boot {
            id: row.get(0)?,
            mac,
            started: row.get(1)?,
            stages,
            outcome: row.get(3)?,
        });
    }
    Ok(boots)
}
