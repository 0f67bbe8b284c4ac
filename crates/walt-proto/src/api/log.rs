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
    /// Label of an imported bundle to look into, instead of the logs of the platform. Its issuers are names, its
    /// checkpoints those that came with it; there is nothing live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<String>,
}

/// A format of exported logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// One JSON object per line.
    #[default]
    Jsonl,
    /// Comma separated values, with a header line.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// Asks for logs as a file. [`route::LOGS_EXPORT`](super::route::LOGS_EXPORT) answers its bytes; a failure on the way
/// cuts the answer before its last chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportLogs {
    /// Which records; `history` is mandatory, `realtime` and `limit` are refused.
    pub query: LogQuery,
    /// In which format.
    #[serde(default)]
    pub format: ExportFormat,
}

/// Asks for a bundle. [`route::LOGS_BUNDLE`](super::route::LOGS_BUNDLE) answers a tar archive compressed with
/// Zstandard; a failure on the way cuts the answer before its last chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleLogs {
    /// History range as typed.
    pub history: String,
    /// Device set whose logs are taken; absent: the server and all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<String>,
}

/// Query of an import (PUT [`route::LOGS_IMPORT`](super::route::LOGS_IMPORT), the body is the bundle). Answer: the
/// [`LogImport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogImport {
    /// Label it is looked up by.
    pub label: String,
    /// Who imported it.
    pub user: String,
    /// When, microseconds since the Unix epoch.
    pub imported_us: i64,
    /// When the bundle was made.
    pub made_us: i64,
    /// Version of the server that made it.
    pub server_version: String,
    /// The range of time it was made of, as typed then.
    pub range: String,
    /// Number of log lines.
    pub lines: u64,
    /// Names of its issuers.
    pub issuers: Vec<String>,
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
    /// Clock of the server minus that of the issuer around that time, microseconds, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_us: Option<i64>,
    /// The truth is within this of the offset, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_uncertainty_us: Option<i64>,
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
