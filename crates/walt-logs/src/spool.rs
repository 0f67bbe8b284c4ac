//! Lines of nodes that keep them until they are committed here: each is stored once, however often it is sent.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use walt_model::Mac;

use crate::catalogue::Catalogue;
use crate::error::LogError;
use crate::record::{LogRecord, Timestamp};
use crate::store::Shared;
use crate::writer::{Effects, insert};

/// Spools remembered of one device; the one that was silent for longest is forgotten first.
const SESSIONS_PER_ISSUER: i64 = 16;

/// Clock measures kept of one device.
pub(crate) const CLOCKS_PER_ISSUER: usize = 100;

/// Consecutive lines of one spool of a device.
#[derive(Debug, Clone)]
pub struct SpooledBatch {
    /// The device.
    pub issuer: Mac,
    /// Which of its spools: a name it never uses again.
    pub session: Arc<str>,
    /// The lines, with their increasing numbers in the spool.
    pub lines: Vec<(u64, LogRecord)>,
}

/// How far the clock of a device was from the server's, as the device measured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// When, by the server's clock.
    pub measured: Timestamp,
    /// Server's clock minus the device's, in microseconds.
    pub offset: i64,
    /// The truth is within this of `offset`, in microseconds.
    pub uncertainty: i64,
}

/// The number of the last committed line of a spool; 0 for none.
pub(crate) fn last(conn: &Connection, issuer: Mac, session: &str) -> Result<u64, LogError> {
    let last: Option<i64> = conn
        .prepare_cached("SELECT last_seq FROM spools WHERE issuer_mac = ?1 AND session = ?2")?
        .query_row(params![issuer.to_string(), session], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0).max(0) as u64)
}

/// Write the lines that are not there yet, and how far the spool is now, in the transaction of a group.
pub(crate) fn insert_batch(
    tx: &Transaction<'_>,
    shared: &Shared,
    effects: &mut Effects,
    batch: &SpooledBatch,
) -> Result<(), LogError> {
    let known = last(tx, batch.issuer, &batch.session)?;
    let mut end = known;
    for (seq, record) in batch.lines.iter().filter(|(seq, _)| *seq > known) {
        insert(tx, shared, effects, record)?;
        end = end.max(*seq);
    }
    if end == known || !effects.knows(shared, batch.issuer) {
        return Ok(());
    }
    let mac = batch.issuer.to_string();
    tx.prepare_cached(
        "INSERT INTO spools(issuer_mac, session, last_seq, updated) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (issuer_mac, session)
         DO UPDATE SET last_seq = excluded.last_seq, updated = excluded.updated",
    )?
    .execute(params![mac, &*batch.session, end as i64, Timestamp::now().0])?;
    if known == 0 {
        tx.prepare_cached(
            "DELETE FROM spools WHERE issuer_mac = ?1 AND session <> ?2 AND session NOT IN
             (SELECT session FROM spools WHERE issuer_mac = ?1 AND session <> ?2
              ORDER BY updated DESC LIMIT ?3)",
        )?
        .execute(params![mac, &*batch.session, SESSIONS_PER_ISSUER - 1])?;
    }
    Ok(())
}

/// Note a measure of a device's clock; the oldest ones are forgotten.
pub(crate) fn note_clock(conn: &Connection, issuer: Mac, clock: Clock) -> Result<(), LogError> {
    let mac = issuer.to_string();
    conn.prepare_cached(
        "INSERT OR REPLACE INTO clocks(issuer_mac, timestamp, offset, uncertainty)
         VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![mac, clock.measured.0, clock.offset, clock.uncertainty])?;
    conn.prepare_cached(
        "DELETE FROM clocks WHERE issuer_mac = ?1 AND timestamp NOT IN
         (SELECT timestamp FROM clocks WHERE issuer_mac = ?1 ORDER BY timestamp DESC LIMIT ?2)",
    )?
    .execute(params![mac, CLOCKS_PER_ISSUER as i64])?;
    Ok(())
}

/// Take the latest measures into memory.
pub(crate) fn load_clocks(conn: &Connection, catalogue: &mut Catalogue) -> Result<(), LogError> {
    let mut clocks = conn.prepare(
        "SELECT issuer_mac, timestamp, offset, uncertainty FROM clocks ORDER BY timestamp",
    )?;
    let mut rows = clocks.query([])?;
    while let Some(row) = rows.next()? {
        if let Ok(issuer) = row.get_ref(0)?.as_str().unwrap_or_default().parse::<Mac>() {
            let measured = Timestamp(row.get(1)?);
            let clock = Clock { measured, offset: row.get(2)?, uncertainty: row.get(3)? };
            catalogue.note_clock(issuer, clock);
        }
    }
    Ok(())
}

/// Forget what is known of a device's spools and clock.
pub(crate) fn remove(tx: &Transaction<'_>, mac: &str) -> Result<(), LogError> {
    tx.execute("DELETE FROM spools WHERE issuer_mac = ?1", [mac])?;
    tx.execute("DELETE FROM clocks WHERE issuer_mac = ?1", [mac])?;
    Ok(())
}
