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
    let mut newest: VecDeque<LogLine> = VecDeque::new();
    let mut live = plan.range.is_none();
    // How long to wait for a page before looking whether the history is over. A slow query that is
    // cut begins again: each time it is given longer.
    let mut patience = std::time::Duration::from_millis(50);
    if live {
        report.send(Event::Live).await;
    }
    loop {
        let page = if live || !plan.realtime {
            reader.next_page().await?
        } else {
            // The history may end without a line: then the reader is live, and waits.
            tokio::select! {
                biased;
                page = reader.next_page() => page?,
                () = tokio::time::sleep(patience) => {
                    patience *= 2;
                    Some(Vec::new())
                }
            }
        };
        let Some(page) = page else { break };
        match plan.limit {
            Some(limit) if !live => {
                newest.extend(page);
                newest.drain(..newest.len().saturating_sub(limit));
            }
            _ => tell(report, page).await,
        }
        if !live && reader.is_live() {
            tell(report, newest.drain(..)).await;
            report.send(Event::Live).await;
            live = true;
        }
    }
    tell(report, newest).await;
    Ok(())
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
