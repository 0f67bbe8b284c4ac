//! JSON lines and CSV.

use std::io::Write;

use serde::Serialize;

use crate::error::LogError;
use crate::record::{LogLine, StreamMode};

/// First line of a CSV export.
pub(super) const CSV_HEADER: &str =
    "timestamp,issuer,stream,line,clock_offset_us,clock_uncertainty_us\r\n";

#[derive(Serialize)]
struct Record<'a> {
    timestamp_us: i64,
    issuer: &'a str,
    stream: &'a str,
    line: &'a str,
    #[serde(skip_serializing_if = "is_line")]
    mode: StreamMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_offset_us: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_uncertainty_us: Option<i64>,
}

fn is_line(mode: &StreamMode) -> bool {
    *mode == StreamMode::Line
}

/// Adds one record as JSON, with its newline.
pub(crate) fn json_line(line: &LogLine, out: &mut Vec<u8>) -> Result<(), LogError> {
    let record = Record {
        timestamp_us: line.timestamp.0,
        issuer: &line.issuer_name,
        stream: line.stream.as_str(),
        line: &line.line,
        mode: line.mode,
        clock_offset_us: line.clock.map(|clock| clock.offset),
        clock_uncertainty_us: line.clock.map(|clock| clock.uncertainty),
    };
    serde_json::to_writer(&mut *out, &record)
        .map_err(|error| LogError::Export(error.to_string()))?;
    out.push(b'\n');
    Ok(())
}

/// Adds one record as CSV; the date is that of RFC 3339, in UTC.
pub(super) fn csv_line(line: &LogLine, out: &mut Vec<u8>) {
    let date = jiff::Timestamp::from_microsecond(line.timestamp.0).unwrap_or_default();
    // Writing to memory cannot fail.
    let _ = write!(out, "{date:.6},");
    csv_field(&line.issuer_name, out);
    out.push(b',');
    csv_field(line.stream.as_str(), out);
    out.push(b',');
    csv_field(&line.line, out);
    let _ = match line.clock {
        Some(clock) => write!(out, ",{},{}\r\n", clock.offset, clock.uncertainty),
        None => write!(out, ",,\r\n"),
    };
}

fn csv_field(text: &str, out: &mut Vec<u8>) {
    if !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for piece in text.split_inclusive('"') {
        out.extend_from_slice(piece.as_bytes());
        if piece.ends_with('"') {
            out.push(b'"');
        }
    }
    out.push(b'"');
}
