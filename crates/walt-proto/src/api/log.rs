//! Logs and checkpoints.

use serde::{Deserialize, Serialize};

/// A log query. [`route::LOGS_QUERY`](super::route::LOGS_QUERY) answers a stream of
/// [`Event::Record`](super::Event::Record): the history (oldest first), [`Event::Live`](super::Event::Live), then live
/// records until the client goes away; without `realtime`, done. Each record comes exactly once.
/// Neither `history` nor `realtime`: error of kind `invalid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// History range as typed (`full`, `-5m:`, `cp1:cp2`): relative dates and checkpoints are the server's to
    /// resolve. Absent or `none`: no history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
    /// Go on with live records.
    #[serde(default)]
    pub realtime: bool,
    /// Device set expression, restricted to the server and nodes; absent: every issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<String>,
    /// Regular expression searched in stream names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<String>,
    /// Regular expression searched in lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// At most that many records of history: the newest ones, still oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Answer of [`route::LOGS_COUNT`](super::route::LOGS_COUNT) (same request; `realtime` and `limit` are ignored).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCount {
    /// Number of records of the history.
    pub records: u64,
}

/// One log record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Time, in microseconds since the Unix epoch.
    pub timestamp_us: i64,
    /// Device name.
    pub issuer: String,
    /// Stream name.
    pub stream: String,
    /// Text of the line, or a chunk of a console, without final newline.
    pub line: String,
}

/// A named point in time. Belongs to the caller. [`route::CHECKPOINTS`](super::route::CHECKPOINTS) (GET) answers an
/// array sorted by time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Name.
    pub name: String,
    /// Time, in microseconds since the Unix epoch.
    pub timestamp_us: i64,
}

/// Adds a checkpoint. Answer: the [`Checkpoint`]. An existing name is a `conflict`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddCheckpoint {
    /// Name.
    pub name: String,
    /// When; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<CheckpointDate>,
}

/// When a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointDate {
    /// That many seconds before the server's present.
    SecondsAgo(u64),
    /// Microseconds since the Unix epoch (the client knows its own time zone).
    AtUs(i64),
}
