//! What the server says of itself, in its own log streams: `daemon.stdout` for information, `daemon.stderr` for
//! warnings and errors, besides the journal.
//!
//! Nothing is taken before the log store is open, nor debugging messages, nor lines of the platform (`platform.*`
//! streams), which are recorded where they are said. A flood is cut, and the cut is told.

use std::fmt::{Debug, Write};
use std::sync::OnceLock;
use std::time::Instant;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use walt_logs::{LogRecord, LogSink, StreamName, Timestamp};
use walt_model::Mac;
use walt_model::platform_lines::{STDERR_STREAM, STDOUT_STREAM};

/// Lines recorded at once.
const BURST: f64 = 1000.0;
/// Lines recorded per second after that.
const RATE: f64 = 100.0;
/// Lines with this marker are for the journal only.
const DEBUG_MARKER: &str = "__DEBUG__";

static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// Where the lines go.
struct Outlet {
    sink: LogSink,
    server: Mac,
    stdout: StreamName,
    stderr: StreamName,
    rate: Mutex<Rate>,
}

/// From now on what the server says is recorded as lines of this device.
pub fn start(sink: LogSink, server: Mac) {
    let (Ok(stdout), Ok(stderr)) = (STDOUT_STREAM.parse(), STDERR_STREAM.parse()) else { return };
    let rate = Mutex::new(Rate::new(Instant::now()));
    let _ = OUTLET.set(Outlet { sink, server, stdout, stderr, rate });
}

/// The layer that takes the lines.
pub struct Capture;

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let Some(outlet) = OUTLET.get().filter(|_| level <= Level::INFO) else { return };
        let mut words = Words::default();
        event.record(&mut words);
        if words.platform || words.message.contains(DEBUG_MARKER) {
            return;
        }
        let mut text = match level {
            Level::ERROR => "error: ".to_owned(),
            Level::WARN => "warning: ".to_owned(),
            _ => String::new(),
        };
        text.push_str(&words.message);
        text.push_str(&words.details);
        let stream = if level <= Level::WARN { &outlet.stderr } else { &outlet.stdout };
        for line in text.lines() {
            outlet.tell(stream, line);
        }
    }
}

impl Outlet {
    fn tell(&self, stream: &StreamName, line: &str) {
        let (allowed, left_out) = self.rate.lock().take(Instant::now());
        let push = |text: &str| {
            let record = LogRecord::line(self.server, stream.clone(), Timestamp::now(), text);
            // A full queue is told by the store itself.
            let _ = self.sink.push(record);
        };
        if left_out > 0 {
            push(&format!("<{left_out} lines left out: too many at once (see the journal)>"));
        }
        if allowed {
            push(line);
        }
    }
}

/// How many lines may be recorded.
struct Rate {
    tokens: f64,
    last: Instant,
    left_out: u64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, last: now, left_out: 0 }
    }

    /// May a line be recorded, and how many were left out before it?
    fn take(&mut self, now: Instant) -> (bool, u64) {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        self.tokens = (self.tokens + passed * RATE).min(BURST);
        if self.tokens < 1.0 {
            self.left_out += 1;
            return (false, 0);
        }
        self.tokens -= 1.0;
        (true, std::mem::take(&mut self.left_out))
    }
}

/// The fields of an event, in words.
#[derive(Default)]
struct Words {
    message: String,
    details: String,
    platform: bool,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.platform |= field.name() == "stream" && value.starts_with("platform.");
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.details, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_cut_and_the_cut_is_told() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let passed = (0..1500).filter(|_| rate.take(start).0).count();
        assert_eq!(passed, 1000);
        assert_eq!(rate.take(start + Duration::from_secs(1)), (true, 500));
        assert_eq!(rate.take(start + Duration::from_secs(1)), (true, 0));
    }
}
