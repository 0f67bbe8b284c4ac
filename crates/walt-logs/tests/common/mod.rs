//! What the tests of the store share.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;

use walt_logs::{LogLine, LogReader, LogRecord, LogStore, Options, Timestamp};
use walt_model::Mac;

pub const T0: i64 = 1_700_000_000_000_000;

pub fn mac(n: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, n])
}

pub async fn store(dir: &Path, options: Options) -> LogStore {
    let store = LogStore::open(&dir.join("logs.db"), options).unwrap();
    for n in 1..=3 {
        store.name_issuer(mac(n), &format!("node-{n}").parse().unwrap()).await.unwrap();
    }
    store
}

pub fn record(issuer: u8, stream: &str, micros: i64, line: &str) -> LogRecord {
    LogRecord::line(mac(issuer), stream.parse().unwrap(), Timestamp(T0 + micros), line)
}

/// All lines of a reader that ends.
pub async fn all(mut reader: LogReader) -> Vec<LogLine> {
    let mut lines = Vec::new();
    while let Some(page) = reader.next_page().await.unwrap() {
        lines.extend(page);
    }
    lines
}

pub fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| &*line.line).collect()
}
