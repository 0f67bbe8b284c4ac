//! One log record: when, who, which stream, what.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use walt_model::Mac;

use crate::spool::Clock;

/// Longest text kept of one line, in bytes; the rest is cut and the cut is said at the end of the line.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Longest stream name, in bytes.
pub const MAX_STREAM_NAME_BYTES: usize = 200;

/// Microseconds since 1970-01-01 00:00 UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The present, by the system clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From seconds with a fraction, as nodes send them; `None` if not finite or out of range.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        let micros = (seconds * 1e6).round();
        (micros.is_finite() && micros.abs() < 9e18).then_some(Self(micros as i64))
    }

    /// Seconds with a fraction.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// This instant minus a duration (saturating).
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// A time given by a node, unless it cannot be true: older than ten years of 365 days, or more than one
    /// second in the future. Then the time of reception (`self`) is used.
    pub fn sane_or_reception(self, provided: Timestamp) -> Timestamp {
        const TEN_YEARS_US: i64 = 10 * 365 * 86_400 * 1_000_000;
        if provided.0 < self.0.saturating_sub(TEN_YEARS_US)
            || provided.0 > self.0.saturating_add(1_000_000)
        {
            self
        } else {
            provided
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self(micros)
    }
}

/// What one record of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum StreamMode {
    /// One record is one line of text.
    #[default]
    Line,
    /// One record is one read of a byte source (a console), kept as [`chunk_to_text`].
    Chunk,
}

impl StreamMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Chunk => "chunk",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        if text == "chunk" { Self::Chunk } else { Self::Line }
    }
}

/// Name of a stream: trimmed, not empty, without control characters, at most [`MAX_STREAM_NAME_BYTES`].
/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

/// A text that cannot name a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a stream name: {0:?} (1 to {MAX_STREAM_NAME_BYTES} bytes, no control characters)")]
pub struct InvalidStreamName(String);

impl StreamName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn trusted(text: &str) -> Self {
        Self(text.into())
    }
}

impl FromStr for StreamName {
    type Err = InvalidStreamName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        if name.is_empty() || name.len() > MAX_STREAM_NAME_BYTES || name.contains(char::is_control)
        {
            return Err(InvalidStreamName(name.chars().take(80).collect()));
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The device it comes from; must have been named with [`crate::LogStore::name_issuer`].
    pub issuer: Mac,
    /// The stream, created when first used.
    pub stream: StreamName,
    /// The kind of stream; taken when the stream is created, ignored afterwards.
    pub mode: StreamMode,
    /// When.
    pub timestamp: Timestamp,
    line: Arc<str>,
}

impl LogRecord {
    /// A line of text. A final newline is removed, NUL characters become U+FFFD, and a line over
    /// [`MAX_LINE_BYTES`] is cut with a note saying so.
    pub fn line(
        issuer: Mac,
        stream: StreamName,
        timestamp: Timestamp,
        line: impl Into<String>,
    ) -> Self {
        let line = bounded(line.into()).into();
        Self { issuer, stream, mode: StreamMode::Line, timestamp, line }
    }

    /// A read of a byte source, in a `chunk` stream. At most [`MAX_LINE_BYTES`] / 4 bytes are kept.
    pub fn chunk(issuer: Mac, stream: StreamName, timestamp: Timestamp, bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(MAX_LINE_BYTES / 4 - 1)];
        let line = chunk_to_text(bytes).into();
        Self { issuer, stream, mode: StreamMode::Chunk, timestamp, line }
    }

    /// The text as stored.
    pub fn text(&self) -> &str {
        &self.line
    }

    pub(crate) fn shared_text(&self) -> &Arc<str> {
        &self.line
    }
}

fn bounded(mut line: String) -> String {
    if line.ends_with('\n') {
        line.pop();
    }
    if line.contains('\0') {
        line = line.replace('\0', "\u{fffd}");
    }
    if line.len() > MAX_LINE_BYTES {
        let mut end = MAX_LINE_BYTES;
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let cut = line.len() - end;
        line.truncate(end);
        line.push_str(&format!(" <{cut} more bytes cut>"));
    }
    line
}

/// A record as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its number in the one order of the store: unique, increasing, never used again.
    pub seq: u64,
    /// When.
    pub timestamp: Timestamp,
    /// The device it comes from.
    pub issuer: Mac,
    /// Present name of that device.
    pub issuer_name: Arc<str>,
    /// The stream.
    pub stream: StreamName,
    /// What a record of that stream is.
    pub mode: StreamMode,
    /// The text (for a chunk: see [`chunk_from_text`]).
    pub line: Arc<str>,
    /// What is known of the clock of the device around that time, if it ever compared it with the server's.
    pub clock: Option<Clock>,
}

/// The stored text of a chunk of bytes: `b'...'` with the escapes `\\`, `\'`, `\n`, `\r`, `\t` and `\xNN`, as
/// the original stored console output.
pub fn chunk_to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 3);
    text.push_str("b'");
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\'' => text.push_str("\\'"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(byte as char),
            other => text.push_str(&format!("\\x{other:02x}")),
        }
    }
    text.push('\'');
    text
}

/// The bytes of a stored chunk, or `None` if the text is not of the form [`chunk_to_text`] writes (also with
/// double quotes, as the original did for text holding single quotes).
pub fn chunk_from_text(text: &str) -> Option<Vec<u8>> {
    let rest = text.strip_prefix('b')?;
    let quote = rest.chars().next().filter(|q| matches!(q, '\'' | '"'))?;
    let body = rest.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut bytes = Vec::with_capacity(body.len());
    let mut chars = body.bytes();
    while let Some(byte) = chars.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match chars.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [chars.next()?, chars.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            same @ (b'\\' | b'\'' | b'"') => same,
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stream_names_are_trimmed_and_bounded() {
        assert_eq!(" a.b ".parse::<StreamName>().unwrap().as_str(), "a.b");
        assert!("".parse::<StreamName>().is_err());
        assert!("a\u{7}b".parse::<StreamName>().is_err());
        assert!("x".repeat(MAX_STREAM_NAME_BYTES + 1).parse::<StreamName>().is_err());
    }

    #[test]
    fn lines_are_made_storable() {
        assert_eq!(bounded("a\0b\n".into()), "a\u{fffd}b");
        let long = bounded("é".repeat(MAX_LINE_BYTES));
        assert!(long.len() < MAX_LINE_BYTES + 40 && long.ends_with("more bytes cut>"));
    }

    #[test]
    fn absurd_times_become_the_time_of_reception() {
        let now = Timestamp(1_700_000_000_000_000);
        assert_eq!(now.sane_or_reception(Timestamp(0)), now);
        assert_eq!(now.sane_or_reception(Timestamp(now.0 + 2_000_000)), now);
        let near = Timestamp(now.0 - 5);
        assert_eq!(now.sane_or_reception(near), near);
        assert_eq!(Timestamp::from_seconds(f64::NAN), None);
        assert_eq!(Timestamp::from_seconds(1.5), Some(Timestamp(1_500_000)));
    }

    #[test]
    fn chunks_written_by_the_original_are_read() {
        assert_eq!(chunk_from_text(r#"b"it's\r\n""#).unwrap(), b"it's\r\n");
        assert_eq!(chunk_from_text("b'abc"), None);
        assert_eq!(chunk_from_text(r"b'\q'"), None);
        assert_eq!(chunk_from_text("b'"), None);
    }

    proptest! {
        #[test]
        fn chunks_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(chunk_from_text(&chunk_to_text(&bytes)), Some(bytes));
        }
    }
}
