//! The way out: history, then live records, each exactly once.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use tokio::sync::watch;

use crate::catalogue::StreamId;
use crate::error::LogError;
use crate::query::{Filter, TimeRange};
use crate::record::{LogLine, Timestamp};
use crate::store::Shared;

/// Most lines in one page.
const PAGE: usize = 512;
/// Most rows looked at by one query, so that none holds a connection for long.
const SCAN: usize = 50_000;
/// Up to this many streams, a query merges them by their own index instead of walking through time.
const MERGED_STREAMS: usize = 8;

/// Place in the history: the (timestamp, number) of the last row looked at.
type Place = (i64, i64);

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
        Self { shared, committed, filter: Arc::new(filter), range, live, cut, phase }
    }

    /// The next lines (at least one), or `None` at the end: of the history, or of the store when live.
    /// May be dropped and called again: no line is lost or repeated.
    ///
    /// # Errors
    /// A failed query; the position is unchanged.
    pub async fn next_page(&mut self) -> Result<Option<Vec<LogLine>>, LogError> {
        loop {
            let lines = match self.phase {
                Phase::End => return Ok(None),
                Phase::History(place) => self.history_page(place).await?,
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
        let recent = self.shared.ring.read().after(after, PAGE);
        match recent {
            Some(records) => {
                let Some(last) = records.last() else {
                    if self.committed.changed().await.is_err() {
                        self.phase = Phase::End;
                    }
                    return Ok(None);
                };
                self.phase = Phase::Live { after: last.seq };
                let catalogue = self.shared.catalogue.read();
                let lines = records
                    .iter()
                    .filter_map(|record| {
                        let (stream, issuer_name) = catalogue.stream(record.stream)?;
                        let wanted = self.filter.wants_stream(
                            stream.issuer,
                            stream.name.as_str(),
                            stream.mode,
                        ) && self.filter.wants_line(&record.line);
                        wanted.then(|| LogLine {
                            seq: record.seq,
                            timestamp: record.timestamp,
                            issuer: stream.issuer,
                            issuer_name: issuer_name.clone(),
                            stream: stream.name.clone(),
                            mode: stream.mode,
                            line: record.line.clone(),
                            clock: catalogue.clock_at(stream.issuer, record.timestamp),
                        })
                    })
                    .collect();
                Ok(Some(lines))
            }
            None => {
                let filter = self.filter.clone();
                let (lines, last) = self
                    .shared
                    .read(move |conn, shared| catch_up(conn, shared, &filter, after, upto))
                    .await?;
                self.phase = Phase::Live { after: last };
                Ok(Some(lines))
            }
        }
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
    if ids.is_empty() {
        return Ok((Vec::new(), None));
    }
    let few = ids.len() <= MERGED_STREAMS;
    let part = |stream: String| {
        format!(
            "SELECT seq, stream_id, timestamp, line FROM logs
             WHERE {stream} (timestamp, seq) > (?1, ?2) AND timestamp < ?3 AND seq <= ?4"
        )
    };
    let select = if few {
        let parts: Vec<String> =
            ids.iter().map(|id| part(format!("stream_id = {id} AND"))).collect();
        parts.join(" UNION ALL ")
    } else {
        part(String::new())
    };
    let mut statement = conn.prepare(&format!("{select} ORDER BY timestamp, seq"))?;
    let mut rows = statement.query(params![place.0, place.1, range.bounds().1, cut as i64])?;
    let mut lines = Vec::new();
    let mut place = place;
    for _ in 0..SCAN {
        let Some(row) = rows.next()? else { return Ok((lines, None)) };
        place = (row.get(2)?, row.get(0)?);
        if let Some(line) = accept(row, shared, filter, &ids)? {
            lines.push(line);
            if lines.len() == PAGE {
                break;
            }
        }
    }
    Ok((lines, Some(place)))
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
    let mut lines = Vec::new();
    let mut last = after;
    for _ in 0..SCAN {
        let Some(row) = rows.next()? else { return Ok((lines, upto.max(last))) };
        last = row.get::<_, i64>(0)? as u64;
        if let Some(line) = accept(row, shared, filter, &ids)? {
            lines.push(line);
            if lines.len() == PAGE {
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

/// Number of records a history query would give, up to `limit`.
pub(crate) fn count(
    conn: &Connection,
    shared: &Shared,
    filter: &Filter,
    range: TimeRange,
    limit: Option<u64>,
) -> Result<u64, LogError> {
    let limit = limit.unwrap_or(u64::MAX);
    let (start, end) = range.bounds();
    let mut total = 0;
    if filter.lines.is_none() {
        let ids = shared.catalogue.read().matching(filter);
        let mut statement = conn.prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM logs
             WHERE stream_id = ?1 AND timestamp > ?2 AND timestamp < ?3 LIMIT ?4)",
        )?;
        for id in ids {
            if total >= limit {
                break;
            }
            let room = i64::try_from(limit - total).unwrap_or(i64::MAX);
            let found: i64 =
                statement.query_row(params![id, start, end, room], |row| row.get(0))?;
            total += found as u64;
        }
    } else {
        let mut place = Some((start, i64::MAX));
        while let (Some(here), true) = (place, total < limit) {
            let (lines, next) = scan(conn, shared, filter, range, i64::MAX as u64, here)?;
            total += lines.len() as u64;
            place = next;
        }
    }
    Ok(total.min(limit))
}
