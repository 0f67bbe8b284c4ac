//! Log lines sent on to a collector that speaks OTLP over HTTP (section `otlp` of `server.conf`).
//!
//! The log store is the queue: what is remembered is the number of the last line the collector took. While
//! the collector is away nothing is held in memory but one batch, and nothing is lost that the store keeps.
//! Delivery is at least once: a server that is killed sends again what it had not yet noted (a second at most).

mod batch;
mod send;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use walt_logs::{LogLine, LogReader, LogStore};
use walt_model::server_conf::Otlp;

use self::batch::encode;
use self::send::{Answer, Collector};
use crate::platform::Platform;
use crate::state::State;

/// Where the number of the last line taken is kept.
const POSITION: &str = "otlp.position";
/// Lines of a batch: no more are added once there are as many, or as many bytes.
const BATCH_LINES: usize = 4096;
const BATCH_BYTES: usize = 2 << 20;
/// How long a batch waits for more lines.
const LINGER: Duration = Duration::from_millis(200);
/// How often the position is noted.
const NOTED: Duration = Duration::from_secs(1);
/// First and longest pause when the collector does not take a batch.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// The export, and its figures since the start.
#[derive(Debug)]
pub struct Export {
    conf: Otlp,
    sent: AtomicU64,
    refused: AtomicU64,
    skipped: AtomicU64,
    failures: AtomicU64,
    position: AtomicU64,
    last: AtomicU64,
}

impl Export {
    /// To this collector. Nothing is sent before [`run`](Self::run).
    pub fn new(conf: Otlp) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            conf,
            sent: zero(),
            refused: zero(),
            skipped: zero(),
            failures: zero(),
            position: zero(),
            last: zero(),
        }
    }

    /// Tells its figures: name, meaning, value, and whether it only grows.
    pub fn describe(&self, mut tell: impl FnMut(&str, &str, u64, bool)) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tell("walt_otlp_lines_sent_total", "Log lines the collector took.", read(&self.sent), true);
        tell(
            "walt_otlp_lines_refused_total",
            "Log lines the collector refused for good.",
            read(&self.refused),
            true,
        );
        tell(
            "walt_otlp_lines_skipped_total",
            "Log lines deleted, by retention or with their device, before they were sent.",
            read(&self.skipped),
            true,
        );
        tell(
            "walt_otlp_failures_total",
            "Times the collector did not take a batch.",
            read(&self.failures),
            true,
        );
        let waiting = read(&self.last).saturating_sub(read(&self.position));
        tell("walt_otlp_lines_waiting", "Log lines not sent yet.", waiting, false);
    }

    /// Sends until cancelled.
    pub async fn run(self: Arc<Self>, platform: Arc<Platform>, stop: CancellationToken) {
        let from = match position(&platform.state, &platform.logs, &self.conf).await {
            Ok(from) => from,
            Err(error) => return platform.complain(format!("OTLP export: {error}")),
        };
        self.position.store(from, Ordering::Relaxed);
        let mut noted = Noted { at: Instant::now(), position: from };
        tokio::select! {
            ended = self.export(&platform, from, &mut noted) => {
                if let Err(problem) = ended {
                    platform.complain(format!("OTLP export: {problem}"));
                }
            }
            () = stop.cancelled() => {}
        }
        noted.note(&platform.state, self.position.load(Ordering::Relaxed)).await;
    }

    async fn export(
        &self,
        platform: &Platform,
        from: u64,
        noted: &mut Noted,
    ) -> Result<(), String> {
        let collector = Collector::new(&self.conf)?;
        let mut reader = platform.logs.since(from);
        loop {
            let lines = match next_batch(&mut reader).await {
                Ok(Some(lines)) => lines,
                // The store is stopped.
                Ok(None) => return Ok(()),
                Err(error) => {
                    tracing::warn!("OTLP export: {error}");
                    tokio::time::sleep(PAUSES.0).await;
                    continue;
                }
            };
            self.last.store(platform.logs.stats().last_seq, Ordering::Relaxed);
            let Some(last) = lines.last().map(|line| line.seq) else { continue };
            let before = self.position.load(Ordering::Relaxed);
            let missing = (last - before).saturating_sub(lines.len() as u64);
            self.deliver(&collector, &lines).await;
            self.skipped.fetch_add(missing, Ordering::Relaxed);
            self.position.store(last, Ordering::Relaxed);
            if noted.at.elapsed() >= NOTED {
                noted.note(&platform.state, last).await;
            }
        }
    }

    /// Sends a batch until the collector takes it, or refuses it for good.
    async fn deliver(&self, collector: &Collector, lines: &[LogLine]) {
        let body = encode(lines);
        let count = lines.len() as u64;
        let mut pause = PAUSES.0;
        loop {
            match collector.send(body.clone()).await {
                Answer::Taken { refused, why } => {
                    let refused = refused.min(count);
                    self.sent.fetch_add(count - refused, Ordering::Relaxed);
                    self.refused.fetch_add(refused, Ordering::Relaxed);
                    if refused > 0 {
                        tracing::warn!("OTLP export: the collector refused {refused} lines: {why}");
                    }
                    if pause > PAUSES.0 {
                        tracing::info!("OTLP export: the collector takes lines again");
                    }
                    return;
                }
                Answer::Refused(why) => {
                    self.refused.fetch_add(count, Ordering::Relaxed);
                    tracing::warn!("OTLP export: the collector refused {count} lines: {why}");
                    return;
                }
                Answer::Later(why, wish) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    if pause == PAUSES.0 {
                        tracing::warn!("OTLP export: waiting for the collector: {why}");
                    }
                    tokio::time::sleep(wish.unwrap_or_default().max(pause).min(PAUSES.1)).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }
}

/// Where the collector is, in the store.
async fn position(state: &State, logs: &LogStore, conf: &Otlp) -> Result<u64, String> {
    let kept = state.value(POSITION).await.map_err(|error| error.to_string())?;
    if let Some(position) = kept.and_then(|text| text.parse().ok()) {
        return Ok(position);
    }
    let position = if conf.from_beginning { 0 } else { logs.stats().last_seq };
    state.put_value(POSITION, position.to_string()).await.map_err(|error| error.to_string())?;
    Ok(position)
}

struct Noted {
    at: Instant,
    position: u64,
}

impl Noted {
    async fn note(&mut self, state: &State, position: u64) {
        self.at = Instant::now();
        if position == self.position {
            return;
        }
        match state.put_value(POSITION, position.to_string()).await {
            Ok(()) => self.position = position,
            // Noted again later; until then a crash means lines sent twice.
            Err(error) => tracing::warn!("OTLP export: {error}"),
        }
    }
}

/// The lines that come next: at least one, more when they come at once.
async fn next_batch(reader: &mut LogReader) -> Result<Option<Vec<LogLine>>, walt_logs::LogError> {
    let Some(mut lines) = reader.next_page().await? else { return Ok(None) };
    let mut bytes: usize = lines.iter().map(|line| line.line.len()).sum();
    let end = tokio::time::Instant::now() + LINGER;
    while lines.len() < BATCH_LINES && bytes < BATCH_BYTES {
        match tokio::time::timeout_at(end, reader.next_page()).await {
            Ok(Ok(Some(more))) => {
                bytes += more.iter().map(|line| line.line.len()).sum::<usize>();
                lines.extend(more);
            }
            // The end and errors come again with the next batch.
            _ => break,
        }
    }
    Ok(Some(lines))
}
