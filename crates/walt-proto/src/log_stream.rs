//! Log lines sent by nodes (request 0).
//!
//! ```text
//! <stream name>
//! NO_TIMESTAMPS | TIMESTAMPS_INSIDE
//! <line>        | <float epoch seconds> <line>
//! ...
//! CLOSE
//! ```

use crate::lines::{LineSplitter, into_text, to_text};
use std::time::{Duration, SystemTime};

/// Longest line, in bytes; longer ones become several records, which all have the date the first one starts with.
pub const LINE_MAX: usize = 16 * 1024;

/// Longest stream name, in bytes: what the log store keeps.
pub const STREAM_NAME_MAX: usize = 200;

/// Text logged when a connection ends without `CLOSE`.
pub const DISCONNECTED: &str = "<disconnected!>";

/// A timestamp further in the past than this is not believed.
const OLDEST: Duration = Duration::from_secs(10 * 365 * 86400);

/// A timestamp further in the future than this is not believed.
const FUTURE_MARGIN: Duration = Duration::from_secs(1);

/// Who dates the lines of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampMode {
    /// The server, when it receives them.
    Server,
    /// The node, at the start of each line.
    Inside,
}

/// What was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// The two header lines were read.
    Opened {
        /// Name of the stream.
        stream: String,
        /// Who dates the lines.
        mode: TimestampMode,
    },
    /// One record.
    Line {
        /// When.
        timestamp: SystemTime,
        /// Text, without line break nor NUL.
        text: String,
    },
    /// The node is done: close the connection.
    Close,
}

/// Why a log stream cannot be understood: close the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogStreamError {
    /// Empty, too long, or with control characters.
    #[error("bad name of log stream: {0:?} (1 to {STREAM_NAME_MAX} bytes, no control characters)")]
    StreamName(String),
}

/// Parses a log stream from the line after the request.
#[derive(Debug)]
pub struct LogStream {
    lines: LineSplitter,
    stream: Option<String>,
    mode: Option<TimestampMode>,
    /// The date of the last record, which the next pieces of its line get too.
    date: Option<SystemTime>,
    closed: bool,
}

impl Default for LogStream {
    fn default() -> Self {
        Self::new()
    }
}

impl LogStream {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self {
            lines: LineSplitter::new(LINE_MAX),
            stream: None,
            mode: None,
            date: None,
            closed: false,
        }
    }

    /// Takes the bytes of one read, received at `received`; all its undated lines get that time. All
    /// events of a chunk are held at once: it should be small (64 KiB at most).
    ///
    /// `CLOSE` ends the stream only when it is the last line received so far and nothing follows; elsewhere
    /// it is a line like another.
    ///
    /// # Errors
    /// See [`LogStreamError`].
    pub fn feed(
        &mut self,
        chunk: &[u8],
        received: SystemTime,
    ) -> Result<Vec<LogEvent>, LogStreamError> {
        let mut events = Vec::new();
        if self.closed {
            return Ok(events);
        }
        self.lines.feed(chunk);
        loop {
            let continued = self.lines.in_long_line();
            let Some(line) = self.lines.next_line() else { break };
            match (&self.stream, self.mode) {
                (None, _) => self.stream = Some(stream_name(&line)?),
                (Some(stream), None) => {
                    let mode = match line.trim_ascii() {
                        b"NO_TIMESTAMPS" => TimestampMode::Server,
                        _ => TimestampMode::Inside,
                    };
                    self.mode = Some(mode);
                    events.push(LogEvent::Opened { stream: stream.clone(), mode });
                }
                (Some(_), Some(_))
                    if line == b"CLOSE" && !continued && !self.lines.has_partial() =>
                {
                    self.closed = true;
                    events.push(LogEvent::Close);
                }
                (Some(_), Some(mode)) => {
                    events.push(self.record(into_text(line), mode, received, continued));
                }
            }
        }
        Ok(events)
    }

    /// The record that tells of a connection ended without `CLOSE`: [`DISCONNECTED`] after the partial line if
    /// there is one. `None` if the stream was closed in order or never opened.
    pub fn disconnected(&mut self, at: SystemTime) -> Option<LogEvent> {
        let mode = self.mode.filter(|_| !std::mem::replace(&mut self.closed, true))?;
        let continued = self.lines.in_long_line();
        let text = to_text(&self.lines.take_rest()) + DISCONNECTED;
        Some(self.record(text, mode, at, continued))
    }

    /// A record of a line, or of a piece of one: those after the first have its date, and start with no date of their
    /// own.
    fn record(
        &mut self,
        text: String,
        mode: TimestampMode,
        received: SystemTime,
        continued: bool,
    ) -> LogEvent {
        let (timestamp, text) = match (mode, self.date.filter(|_| continued)) {
            (TimestampMode::Server, _) => (received, text),
            (TimestampMode::Inside, Some(date)) => (date, text),
            (TimestampMode::Inside, None) => dated(text, received),
        };
        self.date = Some(timestamp);
        LogEvent::Line { timestamp, text }
    }
}

fn stream_name(line: &[u8]) -> Result<String, LogStreamError> {
    let name = to_text(line).trim().to_owned();
    if name.is_empty() || name.len() > STREAM_NAME_MAX || name.chars().any(char::is_control) {
        return Err(LogStreamError::StreamName(name.chars().take(80).collect()));
    }
    Ok(name)
}

/// The date and the text of a line. One that should start with a timestamp but does not is kept whole, dated on
/// reception.
fn dated(line: String, received: SystemTime) -> (SystemTime, String) {
    let (token, text) = line.split_once(' ').unwrap_or((&line, ""));
    let digits = token.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+'));
    let Some(seconds) = token.parse().ok().filter(|s: &f64| digits && s.is_finite()) else {
        return (received, line);
    };
    // Microseconds are what a double holds of present times, and what logs store.
    let micros = (seconds * 1e6).round();
    let micros = if (0.0..9e18).contains(&micros) { micros as i64 } else { -1 };
    (believable(micros, received), text.to_owned())
}

/// A date given by a node, in microseconds since 1970, or the time of reception if it cannot be true.
pub fn believable(micros: i64, received: SystemTime) -> SystemTime {
    let timestamp = u64::try_from(micros)
        .ok()
        .and_then(|micros| SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros)));
    match timestamp {
        Some(t)
            if t > received + FUTURE_MARGIN
                || received.duration_since(t).is_ok_and(|age| age > OLDEST) =>
        {
            received
        }
        Some(t) => t,
        None => received,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_751_286_001)
    }

    fn line(text: &str) -> LogEvent {
        LogEvent::Line { timestamp: now(), text: text.to_owned() }
    }

    fn opened(mode: TimestampMode) -> LogEvent {
        LogEvent::Opened { stream: "mystream".to_owned(), mode }
    }

    #[test]
    fn transcript_of_log_echo() {
        let mut stream = LogStream::new();
        let events =
            stream.feed(b"mystream\nNO_TIMESTAMPS\nhello t  world\nCLOSE\n", now()).unwrap();
        assert_eq!(
            events,
            [opened(TimestampMode::Server), line("hello t  world"), LogEvent::Close]
        );
        assert_eq!(stream.disconnected(now()), None);
        assert_eq!(stream.feed(b"more\n", now()), Ok(vec![]));
    }

    #[test]
    fn transcript_of_log_echo_with_timestamp() {
        let mut stream = LogStream::new();
        let events =
            stream.feed(b"mystream\nTIMESTAMPS_INSIDE\n1751286000.25 hi\nCLOSE\n", now()).unwrap();
        let timestamp = SystemTime::UNIX_EPOCH + Duration::from_millis(1_751_286_000_250);
        let dated = LogEvent::Line { timestamp, text: "hi".to_owned() };
        assert_eq!(events, [opened(TimestampMode::Inside), dated, LogEvent::Close]);
    }

    #[test]
    fn unbelievable_timestamps() {
        let mut stream = LogStream::new();
        stream.feed(b"mystream\nanything\n", now()).unwrap();
        for (sent, kept) in [
            ("1751286002.5 future", "future"),
            ("1 past", "past"),
            ("-5 neg", "neg"),
            ("1e300 huge", "huge"),
            ("nan is a word", "nan is a word"),
            ("no date", "no date"),
            ("", ""),
            ("inf x", "inf x"),
            ("9e12 y", "y"),
        ] {
            let events = stream.feed(format!("{sent}\n").as_bytes(), now()).unwrap();
            assert_eq!(events, [line(kept)], "{sent}");
        }
        let near = stream.feed(b"1751286001.9 near\n", now()).unwrap();
        assert_ne!(near, [line("near")]);
    }

    #[test]
    fn close_is_special_only_at_the_end() {
        let mut stream = LogStream::new();
        let events = stream.feed(b"mystream\nNO_TIMESTAMPS\nCLOSE\nb\nCLOSE\nc", now()).unwrap();
        assert_eq!(events[1..], [line("CLOSE"), line("b"), line("CLOSE")]);
        assert_eq!(stream.disconnected(now()), Some(line("c<disconnected!>")));
        assert_eq!(stream.disconnected(now()), None);
    }

    #[test]
    fn split_anywhere() {
        let text = "mystream\nNO_TIMESTAMPS\nhé€\nCLOSE\n".as_bytes();
        for cut in 1..text.len() {
            let mut stream = LogStream::new();
            let mut events = stream.feed(&text[..cut], now()).unwrap();
            events.extend(stream.feed(&text[cut..], now()).unwrap());
            assert_eq!(events, [opened(TimestampMode::Server), line("hé€"), LogEvent::Close]);
        }
    }

    #[test]
    fn hostile_headers() {
        let long = |bytes: usize| [&vec![b'n'; bytes][..], b"\nNO_TIMESTAMPS\n"].concat();
        for bad in [&b"\n"[..], b" \t\n", b"a\x07b\n", &long(STREAM_NAME_MAX + 1), &long(LINE_MAX)]
        {
            let error = LogStream::new().feed(bad, now()).unwrap_err();
            assert!(error.to_string().contains("1 to 200 bytes"), "{error}");
        }
        assert_eq!(LogStream::new().feed(&long(STREAM_NAME_MAX), now()).unwrap().len(), 1);
        assert_eq!(LogStream::new().disconnected(now()), None);
    }

    #[test]
    fn pieces_of_a_long_line_are_of_its_date_and_whole() {
        let numbers: String = (1..9_000).map(|n| format!("{n} ")).collect();
        let sent = &numbers[..40_000];
        for end in ["\nCLOSE\n", ""] {
            let mut stream = LogStream::new();
            stream.feed(b"mystream\nTIMESTAMPS_INSIDE\n", now()).unwrap();
            let mut events = Vec::new();
            for chunk in format!("1751286000.25 {sent}{end}").as_bytes().chunks(8192) {
                events.extend(stream.feed(chunk, now()).unwrap());
            }
            events.extend(stream.disconnected(now()));
            let (mut text, mut pieces) = (String::new(), 0);
            for event in events {
                if let LogEvent::Line { timestamp, text: piece } = event {
                    let since = timestamp.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                    assert_eq!(since, Duration::from_millis(1_751_286_000_250), "{piece:.40}");
                    text += piece.trim_end_matches(DISCONNECTED);
                    pieces += 1;
                }
            }
            assert_eq!((text.as_str(), pieces), (sent, 3));
        }
    }

    #[test]
    fn the_end_of_a_long_line_does_not_close() {
        let mut stream = LogStream::new();
        let long = [&b"mystream\nNO_TIMESTAMPS\n"[..], &[b'x'; LINE_MAX], b"CLOSE\n"].concat();
        let events = stream.feed(&long, now()).unwrap();
        assert_eq!(events[2..], [line("CLOSE")]);
    }

    #[test]
    fn endless_line() {
        let mut stream = LogStream::new();
        stream.feed(b"mystream\nNO_TIMESTAMPS\n", now()).unwrap();
        let mut records = 0;
        for _ in 0..100 {
            records += stream.feed(&[b'x'; 8192], now()).unwrap().len();
        }
        assert_eq!(records, 100 * 8192 / LINE_MAX - 1);
    }

    proptest! {
        #[test]
        fn never_panics(chunks: Vec<Vec<u8>>) {
            let mut stream = LogStream::new();
            stream.feed(b"s\nTIMESTAMPS_INSIDE\n", now()).unwrap();
            for chunk in chunks {
                let _ = stream.feed(&chunk, now());
            }
            stream.disconnected(now());
        }
    }
}
