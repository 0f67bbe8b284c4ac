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

    /// Sends a batch until the collector takes it, or refuses it for good; in halves when it is too large.
    async fn deliver(&self, collector: &Collector, lines: &[LogLine]) {
        let mut pause = PAUSES.0;
        // What comes first is at the end.
        let mut parts = vec![lines];
        while let Some(part) = parts.pop() {
            let body = encode(part);
            let answer = loop {
                match collector.send(body.clone()).await {
                    Answer::Later(why, wish) => {
                        self.failures.fetch_add(1, Ordering::Relaxed);
                        if pause == PAUSES.0 {
                            tracing::warn!("OTLP export: waiting for the collector: {why}");
                        }
                        let wait = wish.unwrap_or_default().max(pause).min(PAUSES.1);
                        tokio::time::sleep(wait).await;
                        pause = (pause * 2).min(PAUSES.1);
                    }
                    answer => break answer,
                }
            };
            if pause > PAUSES.0 {
                tracing::info!("OTLP export: the collector answers again");
                pause = PAUSES.0;
            }
            let count = part.len() as u64;
            let (refused, why) = match answer {
                Answer::TooLarge(_) if part.len() > 1 => {
                    let (first, rest) = part.split_at(part.len() / 2);
                    parts.extend([rest, first]);
                    continue;
                }
                Answer::Taken { refused, why } => (refused.min(count), why),
                Answer::Refused(why) | Answer::TooLarge(why) | Answer::Later(why, _) => {
                    (count, why)
                }
            };
            self.sent.fetch_add(count - refused, Ordering::Relaxed);
            self.refused.fetch_add(refused, Ordering::Relaxed);
            if refused > 0 {
                tracing::warn!("OTLP export: the collector refused {refused} lines: {why}");
            }
        }
    }
}

/// Where the collector is, in the store.
async fn position(state: &State, logs: &LogStore, conf: &Otlp) -> Result<u64, String> {
    let kept = state.value(POSITION).await.map_err(|error| error.to_string())?;
    let last = logs.stats().last_seq;
    let position = match kept.and_then(|text| text.parse::<u64>().ok()) {
        Some(position) if position <= last => return Ok(position),
        Some(position) => {
            tracing::warn!(
                "OTLP export: line {position} was sent, but the log database ends at line {last}: it was replaced, or a \
                 power cut took its end. What comes from now on is sent"
            );
            last
        }
        None if conf.from_beginning => 0,
        None => last,
    };
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use walt_logs::{StreamMode, Timestamp};
    use walt_model::Mac;

    use super::*;

    fn line(seq: u64, text: &str) -> LogLine {
        LogLine {
            seq,
            timestamp: Timestamp(seq as i64),
            issuer: Mac([2, 0, 0, 0, 0, 1]),
            issuer_name: "n1".into(),
            stream: "app".parse().unwrap(),
            mode: StreamMode::Line,
            line: text.into(),
            clock: None,
        }
    }

    fn conf(url: String) -> Otlp {
        Otlp { url, authorization_file: None, from_beginning: false }
    }

    /// A collector that takes requests of at most so many bytes, and gives the bodies it took.
    async fn collector(most: usize) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/logs", listener.local_addr().unwrap());
        let (taken, bodies) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let body = loop {
                    let mut piece = vec![0; 65_536];
                    let count = stream.read(&mut piece).await.unwrap();
                    assert!(count > 0, "a request that is cut");
                    request.extend_from_slice(&piece[..count]);
                    let text = String::from_utf8_lossy(&request).to_lowercase();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.split_once("content-length: ").unwrap().1;
                    let length: usize = length.lines().next().unwrap().parse().unwrap();
                    if body.len() >= length {
                        break body.to_owned();
                    }
                };
                let status = if body.len() > most { "413 Too Large" } else { "200 OK" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                if status.starts_with("200") {
                    taken.send(body).unwrap();
                }
            }
        });
        (url, bodies)
    }

    #[tokio::test]
    async fn what_is_too_large_is_sent_in_halves() {
        let (url, mut bodies) = collector(20_000).await;
        let export = Export::new(conf(url));
        let collector = Collector::new(&export.conf).unwrap();
        let mut lines: Vec<LogLine> = (1..=500).map(|seq| line(seq, &"x".repeat(100))).collect();
        lines[250].line = "y".repeat(30_000).into();
        export.deliver(&collector, &lines).await;
        let mut found: Vec<u64> = Vec::new();
        while let Ok(body) = bodies.try_recv() {
            assert!(!body.contains("yyy"));
            let numbers = body.split("\"intvalue\":\"").skip(1);
            found.extend(
                numbers.map(|rest| rest.split('"').next().unwrap().parse::<u64>().unwrap()),
            );
        }
        let wanted: Vec<u64> = (1..=500).filter(|seq| *seq != 251).collect();
        assert_eq!(found, wanted);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&export.sent), count(&export.refused)), (499, 1));
    }

    #[tokio::test]
    async fn a_position_of_another_database_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("platform.db")).unwrap();
        let logs = LogStore::open(&dir.path().join("logs.db"), Default::default()).unwrap();
        let conf = conf(String::new());
        state.put_value(POSITION, "1000".to_owned()).await.unwrap();
        assert_eq!(position(&state, &logs, &conf).await, Ok(0));
        assert_eq!(state.value(POSITION).await.unwrap().as_deref(), Some("0"));
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        logs.name_issuer(mac, &"n1".parse().unwrap()).await.unwrap();
        for n in 0..5 {
            let record = walt_logs::LogRecord::line(mac, "app".parse().unwrap(), Timestamp(n), "x");
            logs.sink().push(record).unwrap();
        }
        logs.flush().await.unwrap();
        assert_eq!(position(&state, &logs, &conf).await, Ok(0), "those that came are sent");
    }
}
