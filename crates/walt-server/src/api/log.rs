//! Logs and checkpoints.

use std::collections::{HashMap, VecDeque};

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use walt_logs::{Filter, LogLine, LogStore, TimeRange, Timestamp};
use walt_model::{CheckpointName, DeviceSet, HistoryRange, Mac, Regex, UserName};
use walt_proto::api::log::{
    AddCheckpoint, Checkpoint, CheckpointDate, LogCount, LogQuery, LogRecord,
};
use walt_proto::api::{ApiError, Empty, ErrorKind, Event};

use super::Shared;
use super::caller::Caller;
use super::extract::{Body, Name};
use super::failure::Failure;
use super::stream::{Reporter, events};
use crate::platform::Platform;
use crate::workflow::imports;

/// Devices whose logs can be asked for.
const ALLOWED_ISSUERS: &str = "server,all-nodes";
/// Largest `limit` of a query.
const MAX_LIMIT: u64 = 1_000_000;
/// Bytes held for a query with a limit: text, and what a line takes beside it.
const HELD_BYTES: usize = 32 << 20;
const LINE_BYTES: usize = 160;

/// A query that was understood.
pub(super) struct Plan {
    /// Where to look.
    pub(super) logs: LogStore,
    pub(super) filter: Filter,
    pub(super) range: Option<TimeRange>,
    limit: Option<usize>,
    realtime: bool,
}

pub(super) async fn query(
    State(platform): State<Shared>,
    caller: Caller,
    Body(query): Body<LogQuery>,
) -> Result<Response, Failure> {
    let plan = understand(&platform, &caller.user, query).await?;
    if plan.range.is_none() && !plan.realtime {
        return Err(Failure::invalid(
            "Neither history nor realtime logs were asked for: nothing would be shown.",
        ));
    }
    let tasks = platform.tasks.clone();
    let stopped = platform.tasks.token();
    Ok(events(&tasks, "log query", |report| async move {
        tokio::select! {
            result = answer(plan, &report) => result.map(|()| None),
            () = report.gone() => Ok(None),
            // What was shown may not be all that was asked for.
            () = stopped.cancelled() => {
                Err(ApiError::new(ErrorKind::Unavailable, "The server is stopping.").into())
            }
        }
    }))
}

async fn answer(plan: Plan, report: &Reporter) -> Result<(), Failure> {
    let logs = &plan.logs;
    // From one position on: history and live records join without a gap or a duplicate.
    let mut reader = match (plan.range, plan.realtime) {
        (Some(range), true) => logs.follow(plan.filter, range).await?,
        (Some(range), false) => logs.history(plan.filter, range).await?,
        (None, _) => logs.tail(plan.filter),
    };
    if let Some(reason) = reader.not_written() {
        let text = format!("Warning: {}\n", lacking(reason));
        report.send(Event::Err { text }).await;
    }
    let mut newest = Newest::default();
    let mut live = plan.range.is_none();
    if live {
        report.send(Event::Live).await;
    }
    while let Some(page) = reader.next_page().await? {
        match plan.limit {
            Some(limit) if !live => newest.add(page, limit),
            _ => tell(report, page).await,
        }
        if !live && reader.is_live() {
            newest.tell(report).await;
            report.send(Event::Live).await;
            live = true;
        }
    }
    newest.tell(report).await;
    Ok(())
}

/// The newest lines of a history, which are known at its end only.
#[derive(Default)]
struct Newest {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Lines within the limit that were given up for their size.
    missing: usize,
}

impl Newest {
    fn add(&mut self, page: Vec<LogLine>, limit: usize) {
        for line in page {
            self.bytes += weight(&line);
            self.lines.push_back(line);
            if self.lines.len() + self.missing > limit {
                self.missing = self.missing.saturating_sub(1);
            }
            while self.lines.len() > limit || (self.bytes > HELD_BYTES && self.lines.len() > 1) {
                self.missing += usize::from(self.lines.len() <= limit);
                self.bytes -= self.lines.pop_front().as_ref().map_or(0, weight);
            }
        }
    }

    async fn tell(&mut self, report: &Reporter) {
        if std::mem::take(&mut self.missing) > 0 {
            let (lines, most) = (self.lines.len(), HELD_BYTES >> 20);
            let text = format!(
                "Warning: only the newest {lines} lines are shown, {most} MiB: --limit holds no more. \
                 Without it, all lines of a range are shown.\n"
            );
            report.send(Event::Err { text }).await;
        }
        self.bytes = 0;
        tell(report, self.lines.drain(..)).await;
    }
}

fn weight(line: &LogLine) -> usize {
    line.line.len() + LINE_BYTES
}

/// What is said of a history without its last lines.
pub(super) fn lacking(reason: &str) -> String {
    format!(
        "the last lines are not there: the server cannot write them ({reason}). Is its disk full?"
    )
}

pub(super) async fn count(
    State(platform): State<Shared>,
    caller: Caller,
    Body(query): Body<LogQuery>,
) -> Result<Json<LogCount>, Failure> {
    let plan = understand(&platform, &caller.user, query).await?;
    let records = match plan.range {
        Some(range) => plan.logs.count(plan.filter, range, None).await?,
        None => 0,
    };
    Ok(Json(LogCount { records }))
}

pub(super) async fn understand(
    platform: &Platform,
    user: &UserName,
    query: LogQuery,
) -> Result<Plan, Failure> {
    let pattern = |text: Option<String>| -> Result<Option<Regex>, Failure> {
        let parsed = text.map(|text| text.parse::<Regex>()).transpose();
        parsed.map_err(|error| Failure::invalid(error.to_string()))
    };
    let limit = query.limit.map(|limit| limit.min(MAX_LIMIT) as usize);
    let (streams, lines) = (pattern(query.streams)?, pattern(query.line)?);
    let filter = |issuers| Filter { issuers, streams, lines, ..Filter::default() };
    if let Some(label) = query.import {
        if query.realtime {
            return Err(Failure::invalid("An imported bundle has no realtime logs."));
        }
        let logs = imports::open(platform, &label).await?;
        let range = match query.history {
            None => None,
            Some(text) => resolve(&logs, &imports::owner(), &text).await?,
        };
        let issuers = imports::issuers(&logs, query.issuers.as_deref())?;
        return Ok(Plan { filter: filter(issuers), logs, range, limit, realtime: false });
    }
    let issuers = match query.issuers {
        None => None,
        Some(set) => Some(issuers(platform, user, &set)?),
    };
    let logs = platform.logs.clone();
    let range = match query.history {
        None => None,
        Some(text) => resolve(&logs, user, &text).await?,
    };
    Ok(Plan { filter: filter(issuers), logs, range, limit, realtime: query.realtime })
}

/// The devices of a set that may log.
pub(super) fn issuers(
    platform: &Platform,
    user: &UserName,
    set: &str,
) -> Result<Vec<Mac>, Failure> {
    let facts = platform.registry.facts();
    let allowed = DeviceSet::new(ALLOWED_ISSUERS);
    let chosen = DeviceSet::new(set).resolve_within(&facts, user, &allowed)?;
    let devices = chosen.iter().filter_map(|facts| platform.registry.by_name(facts.name.as_str()));
    Ok(devices.map(|device| device.mac).collect())
}

/// The span of time a text means, for this user, now.
pub(super) async fn resolve(
    logs: &LogStore,
    user: &UserName,
    text: &str,
) -> Result<Option<TimeRange>, Failure> {
    let range: HistoryRange = text.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let known = logs.checkpoints(user).await?;
    let known: HashMap<String, Timestamp> =
        known.into_iter().map(|checkpoint| (checkpoint.name, checkpoint.timestamp)).collect();
    let instant = |name: &CheckpointName| {
        let at = known.get(name.as_str())?;
        jiff::Timestamp::from_microsecond(at.0).ok()
    };
    let bounds = range
        .resolve(jiff::Timestamp::now(), instant)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let stamp = |at: jiff::Timestamp| Timestamp(at.as_microsecond());
    Ok(bounds.map(|(start, end)| TimeRange { start: start.map(stamp), end: end.map(stamp) }))
}

async fn tell(report: &Reporter, lines: impl IntoIterator<Item = LogLine, IntoIter: Send>) {
    for line in lines {
        report.send(record(line)).await;
    }
}

fn record(line: LogLine) -> Event {
    Event::Record(LogRecord {
        timestamp_us: line.timestamp.0,
        issuer: line.issuer_name.to_string(),
        stream: line.stream.as_str().to_owned(),
        line: line.line.to_string(),
        clock_offset_us: line.clock.map(|clock| clock.offset),
        clock_uncertainty_us: line.clock.map(|clock| clock.uncertainty),
    })
}

pub(super) async fn checkpoints(
    State(platform): State<Shared>,
    caller: Caller,
) -> Result<Json<Vec<Checkpoint>>, Failure> {
    let known = platform.logs.checkpoints(&caller.user).await?;
    let told = known.into_iter().map(|c| Checkpoint { name: c.name, timestamp_us: c.timestamp.0 });
    Ok(Json(told.collect()))
}

pub(super) async fn add_checkpoint(
    State(platform): State<Shared>,
    caller: Caller,
    Body(request): Body<AddCheckpoint>,
) -> Result<Json<Checkpoint>, Failure> {
    let name: CheckpointName =
        request.name.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    let now = Timestamp::now();
    let at = match request.date {
        None => now,
        Some(CheckpointDate::SecondsAgo(seconds)) => {
            now.before(std::time::Duration::from_secs(seconds))
        }
        Some(CheckpointDate::AtUs(micros)) => Timestamp(micros),
    };
    platform.logs.add_checkpoint(&caller.user, &name, at).await?;
    Ok(Json(Checkpoint { name: name.to_string(), timestamp_us: at.0 }))
}

pub(super) async fn remove_checkpoint(
    State(platform): State<Shared>,
    caller: Caller,
    Name(name): Name,
) -> Result<Json<Empty>, Failure> {
    let name: CheckpointName =
        name.parse().map_err(|error| Failure::invalid(format!("{error}")))?;
    platform.logs.remove_checkpoint(&caller.user, &name).await?;
    Ok(Json(Empty {}))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use walt_logs::StreamMode;

    use super::*;

    fn line(seq: u64, bytes: usize) -> LogLine {
        LogLine {
            seq,
            timestamp: Timestamp(0),
            issuer: Mac([2, 0, 0, 0, 0, 1]),
            issuer_name: "n1".into(),
            stream: "app".parse().unwrap(),
            mode: StreamMode::Line,
            line: "x".repeat(bytes).into(),
            clock: None,
        }
    }

    fn held(newest: &Newest) -> (u64, u64, bool) {
        let (first, last) = (newest.lines.front().unwrap(), newest.lines.back().unwrap());
        (first.seq, last.seq, newest.missing > 0)
    }

    #[test]
    fn the_newest_lines_are_bounded_in_number_and_in_bytes() {
        let mut newest = Newest::default();
        newest.add((1..=10).map(|seq| line(seq, 10)).collect(), 4);
        assert_eq!(held(&newest), (7, 10, false));
        let mut newest = Newest::default();
        newest.add((1..=600).map(|seq| line(seq, 65_536)).collect(), 1000);
        let first = 600 - HELD_BYTES as u64 / (65_536 + LINE_BYTES as u64) + 1;
        assert_eq!(held(&newest), (first, 600, true));
        newest.add(vec![line(601, HELD_BYTES + 1)], 1000);
        assert_eq!(held(&newest), (601, 601, true));
        assert_eq!(newest.bytes, HELD_BYTES + 1 + LINE_BYTES);
        // What was given up before the newest lines is not missed.
        newest.add((602..=2000).map(|seq| line(seq, 10)).collect(), 1000);
        assert_eq!(held(&newest), (1001, 2000, false));
    }
}
