//! The way out: history, then live records, each exactly once.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use tokio::sync::watch;

use crate::catalogue::{Stream, StreamId};
use crate::error::LogError;
use crate::query::{Filter, TimeRange};
use crate::record::{LogLine, Timestamp};
use crate::ring::Committed;
use crate::store::Shared;

/// Most lines in one page, and bytes of text from which no more are added.
const PAGE: usize = 512;
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of text above which a regular expression is searched on a thread that may be busy.
const SEARCHED_AT_ONCE: usize = 16 << 10;
/// Most rows looked at by one query, so that none holds a connection for long.
const SCAN: usize = 50_000;
/// Up to this many streams, a query merges them by their own index instead of walking through time.
const MERGED_STREAMS: usize = 8;

/// Place in the history: the (timestamp, number) of the last row looked at.
type Place = (i64, i64);

/// What comes after a place (?1, ?2), in two steps of which each is sought by an index. A comparison of pairs, `(timestamp,
/// seq) > (?1, ?2)`, is sought by its first half only: among many lines of one date, each page would walk through all
/// those before it.
pub(crate) const AFTER: [&str; 2] = ["timestamp = ?1 AND seq > ?2", "timestamp > ?1"];

#[derive(Debug, Clone, Copy)]
enum Phase {
    History(Place),
    Live { after: u64 },
    End,
}

/// A position in the log, and what to show from there. Holds no transaction and no queue: a reader that is not
/// asked for anything costs nothing, and one that is late reads the file.
pub struct LogReader {
    shared: Arc<Shared>,
    committed: watch::Receiver<u64>,
    filter: Arc<Filter>,
    range: TimeRange,
    live: bool,
    /// History holds the records up to this number, live those after it.
    cut: u64,
    phase: Phase,
    not_written: Option<String>,
}

impl LogReader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        committed: watch::Receiver<u64>,
        filter: Filter,
        history: Option<TimeRange>,
        live: bool,
        cut: u64,
    ) -> Self {
        let range = history.unwrap_or_default();
        let phase = match history {
            Some(range) => Phase::History((range.bounds().0, i64::MAX)),
            None => Phase::Live { after: cut },
        };
        let (filter, not_written) = (Arc::new(filter), None);
        Self { shared, committed, filter, range, live, cut, phase, not_written }
    }

    /// Lines pushed before it was opened are lacking, for this reason.
    pub(crate) fn lacking(self, not_written: Option<String>) -> Self {
        Self { not_written, ..self }
    }

    /// Why the last lines are not in the history: the disk refused them when this reader was opened. They are kept,
    /// tried again, and given by a reader that goes on live.
    pub fn not_written(&self) -> Option<&str> {
        self.not_written.as_deref()
    }

    /// The next lines (at least one), or `None` at the end: of the history, or of the store when live. When live lines
    /// follow a history, its last page may be empty: [`is_live`](Self::is_live) from then on.
    /// May be dropped and called again: no line is lost or repeated.
    ///
    /// # Errors
    /// A failed query; the position is unchanged.
    pub async fn next_page(&mut self) -> Result<Option<Vec<LogLine>>, LogError> {
        loop {
            let lines = match self.phase {
                Phase::End => return Ok(None),
                Phase::History(place) => {
                    let lines = self.history_page(place).await?;
                    if self.is_live() {
                        return Ok(Some(lines));
                    }
                    lines
                }
                Phase::Live { after } => match self.live_page(after).await? {
                    Some(lines) => lines,
                    None => continue,
                },
            };
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }

    /// Is this reader past the history? (Then the lines come as they are committed.)
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    async fn history_page(&mut self, place: Place) -> Result<Vec<LogLine>, LogError> {
        let (filter, range, cut) = (self.filter.clone(), self.range, self.cut);
        let (lines, next) = self
            .shared
            .read(move |conn, shared| scan(conn, shared, &filter, range, cut, place))
            .await?;
        self.phase = match next {
            Some(place) => Phase::History(place),
            None if self.live => Phase::Live { after: self.cut },
            None => Phase::End,
        };
        Ok(lines)
    }

    /// Lines after a number, from memory or from the file; waits if there is none yet.
    async fn live_page(&mut self, after: u64) -> Result<Option<Vec<LogLine>>, LogError> {
        let upto = *self.committed.borrow_and_update();
        let recent = self.shared.ring.read().after(after, PAGE, PAGE_BYTES);
        let Some(records) = recent else {
            let filter = self.filter.clone();
            let (lines, last) = self
                .shared
                .read(move |conn, shared| catch_up(conn, shared, &filter, after, upto))
                .await?;
            self.phase = Phase::Live { after: last };
            return Ok(Some(lines));
        };
        let Some(last) = records.last() else {
            if self.committed.changed().await.is_err() {
                self.phase = Phase::End;
            }
            return Ok(None);
        };
        let next = Phase::Live { after: last.seq };
        let lines = self.search(self.of_streams(&records)).await?;
        self.phase = next;
        Ok(Some(lines))
    }

    /// Those of recent records whose stream is wanted.
    fn of_streams(&self, records: &[Arc<Committed>]) -> Vec<LogLine> {
        let catalogue = self.shared.catalogue.read();
        let mut wanted: HashMap<StreamId, bool> = HashMap::new();
        let line = |record: &Arc<Committed>| {
            let (stream, issuer_name) = catalogue.stream(record.stream)?;
            let Stream { issuer, name, mode } = stream;
            wanted
                .entry(record.stream)
                .or_insert_with(|| self.filter.wants_stream(*issuer, name.as_str(), *mode))
                .then(|| LogLine {
                    seq: record.seq,
                    timestamp: record.timestamp,
                    issuer: *issuer,
                    issuer_name: issuer_name.clone(),
                    stream: name.clone(),
                    mode: *mode,
                    line: record.line.clone(),
                    clock: catalogue.clock_at(*issuer, record.timestamp),
                })
        };
        records.iter().filter_map(line).collect()
    }

    /// Those that hold the pattern. Much text is not searched on a thread of the runtime.
    async fn search(&self, mut lines: Vec<LogLine>) -> Result<Vec<LogLine>, LogError> {
        if self.filter.lines.is_none() {
            return Ok(lines);
        }
        let filter = self.filter.clone();
        let bytes: usize = lines.iter().map(|line| line.line.len()).sum();
        let search = move || {
            lines.retain(|line| filter.wants_line(&line.line));
            lines
        };
        if bytes <= SEARCHED_AT_ONCE {
            return Ok(search());
        }
        tokio::task::spawn_blocking(search).await.map_err(|_| LogError::Stopped)
    }
}

/// One page of history, and where the next one starts if there may be one.
fn scan(
    conn: &Connection,
    shared: &Shared,
    filter: &Filter,
    range: TimeRange,
    cut: u64,
    place: Place,
) -> Result<(Vec<LogLine>, Option<Place>), LogError> {
    let ids = shared.catalogue.read().matching(filter);
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let next = walk(conn, &ids, range, cut, place, |row| {
        if let Some(line) = accept(row, shared, filter, &ids)? {
            bytes += line.line.len();
            lines.push(line);
        }
        Ok(lines.len() < PAGE && bytes < PAGE_BYTES)
    })?;
    Ok((lines, next))
}

/// Looks at the rows after a place, in the order of history, as long as `visit` wants more and not for too long: where
/// to go on, if there may be more.
fn walk(
    conn: &Connection,
    ids: &[StreamId],
    range: TimeRange,
    cut: u64,
    place: Place,
    mut visit: impl FnMut(&Row<'_>) -> Result<bool, LogError>,
) -> Result<Option<Place>, LogError> {
    if ids.is_empty() {
        return Ok(None);
    }
    let mut looked = 0;
    for after in AFTER {
        let mut statement = conn.prepare(&select(ids, after))?;
        let mut rows = statement.query(params![place.0, place.1, range.bounds().1, cut as i64])?;
        while let Some(row) = rows.next()? {
            looked += 1;
            if !visit(row)? || looked == SCAN {
                return Ok(Some((row.get(2)?, row.get(0)?)));
            }
        }
    }
    Ok(None)
}

/// The rows of some streams in the order of history. A few streams are merged by their own index; with more of them
/// the rows of all streams are walked through.
fn select(ids: &[StreamId], after: &str) -> String {
    let part = |index: &str, stream: String| {
        format!(
            "SELECT seq, stream_id, timestamp, line FROM logs INDEXED BY {index}
             WHERE {stream} {after} AND timestamp < ?3 AND seq <= ?4"
        )
    };
    let parts: Vec<String> = if ids.len() <= MERGED_STREAMS {
        let merged = |id: &StreamId| part("logs_stream_id_idx", format!("stream_id = {id} AND"));
        ids.iter().map(merged).collect()
    } else {
        vec![part("logs_timestamp_idx", String::new())]
    };
    format!("{} ORDER BY timestamp, seq", parts.join(" UNION ALL "))
}

/// Lines after a number, up to another, in the order of the store; and the last number looked at.
fn catch_up(
    conn: &Connection,
    shared: &Shared,
    filter: &Filter,
    after: u64,
    upto: u64,
) -> Result<(Vec<LogLine>, u64), LogError> {
    let ids = shared.catalogue.read().matching(filter);
    let mut statement = conn.prepare_cached(
        "SELECT seq, stream_id, timestamp, line FROM logs WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![after as i64, upto as i64])?;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let mut last = after;
    for _ in 0..SCAN {
        let Some(row) = rows.next()? else { return Ok((lines, upto.max(last))) };
        last = row.get::<_, i64>(0)? as u64;
        if let Some(line) = accept(row, shared, filter, &ids)? {
            bytes += line.line.len();
            lines.push(line);
            if lines.len() == PAGE || bytes >= PAGE_BYTES {
                break;
            }
        }
    }
    Ok((lines, last))
}

fn accept(
    row: &Row<'_>,
    shared: &Shared,
    filter: &Filter,
    ids: &[StreamId],
) -> Result<Option<LogLine>, LogError> {
    let stream_id: StreamId = row.get(1)?;
    if ids.binary_search(&stream_id).is_err() {
        return Ok(None);
    }
    let text = row.get_ref(3)?.as_str().unwrap_or_default();
    if !filter.wants_line(text) {
        return Ok(None);
    }
    let catalogue = shared.catalogue.read();
    let Some((stream, issuer_name)) = catalogue.stream(stream_id) else { return Ok(None) };
    let timestamp = Timestamp(row.get(2)?);
    Ok(Some(LogLine {
        seq: row.get::<_, i64>(0)? as u64,
        timestamp,
        clock: catalogue.clock_at(stream.issuer, timestamp),
        issuer: stream.issuer,
        issuer_name: issuer_name.clone(),
        stream: stream.name.clone(),
        mode: stream.mode,
        line: text.into(),
    }))
}

/// Number of records a history query would give, up to `limit`. With a pattern lines are read in steps, so that
/// dropping this ends it.
pub(crate) async fn count(
    shared: &Arc<Shared>,
    filter: Filter,
    range: TimeRange,
    limit: Option<u64>,
) -> Result<u64, LogError> {
    let limit = limit.unwrap_or(u64::MAX);
    if filter.lines.is_none() {
        return shared
            .read(move |conn, shared| count_rows(conn, shared, &filter, range, limit))
            .await;
    }
    let filter = Arc::new(filter);
    let mut total = 0;
    let mut place = Some((range.bounds().0, i64::MAX));
    while let (Some(here), true) = (place, total < limit) {
        let filter = filter.clone();
        let step = move |conn: &Connection, shared: &Shared| {
            let ids = shared.catalogue.read().matching(&filter);
            let mut found = 0u64;
            let next = walk(conn, &ids, range, i64::MAX as u64, here, |row| {
                let wanted = ids.binary_search(&row.get(1)?).is_ok()
                    && filter.wants_line(row.get_ref(3)?.as_str().unwrap_or_default());
                found += u64::from(wanted);
                Ok(true)
            })?;
            Ok((found, next))
        };
        let (found, next) = shared.read(step).await?;
        total += found;
        place = next;
    }
    Ok(total.min(limit))
}

/// The same without a pattern: an index tells.
fn count_rows(
    conn: &Connection,
    shared: &Shared,
    filter: &Filter,
    range: TimeRange,
    limit: u64,
) -> Result<u64, LogError> {
    let (start, end) = range.bounds();
    let ids = shared.catalogue.read().matching(filter);
    let mut statement = conn.prepare_cached(
        "SELECT count(*) FROM (SELECT 1 FROM logs
         WHERE stream_id = ?1 AND timestamp > ?2 AND timestamp < ?3 LIMIT ?4)",
    )?;
    let mut total = 0;
    for id in ids {
        if total >= limit {
            break;
        }
        let room = i64::try_from(limit - total).unwrap_or(i64::MAX);
        let found: i64 = statement.query_row(params![id, start, end, room], |row| row.get(0))?;
        total += found as u64;
    }
    Ok(total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::Durability;

    /// However many lines have the date of a place, what comes after it is sought, and needs no sorting.
    #[test]
    fn the_place_of_a_page_is_sought() {
        let dir = tempfile::tempdir().unwrap();
        let mut conn =
            crate::schema::open_writer(&dir.path().join("logs.db"), Durability::ProcessKill)
                .unwrap();
        let tx = conn.transaction().unwrap();
        for seq in 0..40_000i64 {
            tx.prepare_cached("INSERT INTO logs VALUES (?1, ?2, 5, 'x')")
                .unwrap()
                .execute([seq, seq % 4])
                .unwrap();
        }
        tx.commit().unwrap();
        for analyzed in [false, true] {
            for streams in [vec![1], vec![0, 1, 2, 3], (0..20).collect::<Vec<StreamId>>()] {
                for after in AFTER {
                    let sql = select(&streams, after);
                    let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                    let steps: Vec<String> = plan
                        .query_map(params![5, 30_000, 9, 50_000], |row| row.get(3))
                        .unwrap()
                        .collect::<Result<_, _>>()
                        .unwrap();
                    let told = steps.join("\n");
                    assert!(!told.contains("SCAN") && !told.contains("TEMP B-TREE"), "{told}");
                    let sought = match after {
                        "timestamp > ?1" => "timestamp>? AND timestamp<?)",
                        _ => "timestamp=? AND rowid>? AND rowid<?)",
                    };
                    assert!(told.contains(sought), "{told}");

                    let mut page = conn.prepare(&sql).unwrap();
                    let mut rows = page.query(params![5, 30_000, 9, 50_000]).unwrap();
                    let mut count = 0;
                    while count < 100 && rows.next().unwrap().is_some() {
                        count += 1;
                    }
                    drop(rows);
                    let work = page.get_status(StatementStatus::VmStep);
                    assert!(work < 20_000, "{count} rows took {work} steps: {told}");
                }
            }
            if !analyzed {
                conn.execute_batch("ANALYZE").unwrap();
            }
        }
    }
}
