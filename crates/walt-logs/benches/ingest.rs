//! Lines made durable per second, and the time of a search through them.
//!
//! `cargo bench -p walt-logs [-- <lines>]`
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use walt_logs::{Durability, Filter, LogRecord, LogStore, Options, TimeRange, Timestamp};
use walt_model::Mac;

fn main() {
    let lines: i64 = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(500_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for durability in [Durability::ProcessKill, Durability::PowerCut] {
        runtime.block_on(run(lines, durability));
    }
}

async fn run(lines: i64, durability: Durability) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability, ..Options::default() };
    let store = LogStore::open(&dir.path().join("logs.db"), options).unwrap();
    let issuer = Mac([2, 0, 0, 0, 0, 1]);
    store.name_issuer(issuer, &"node-1".parse().unwrap()).await.unwrap();
    let streams: Vec<walt_logs::StreamName> =
        (0..20).map(|n| format!("stream-{n}").parse().unwrap()).collect();
    let sink = store.sink();
    let started = Instant::now();
    for n in 0..lines {
        let stream = streams[n as usize % streams.len()].clone();
        let line =
            format!("{n}: a line of an experiment, as long as lines usually are, more or less");
        let record = LogRecord::line(issuer, stream, Timestamp(1_700_000_000_000_000 + n), line);
        sink.push_wait(record).await.unwrap();
    }
    store.flush().await.unwrap();
    let rate = lines as f64 / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let filter = Filter { lines: Some("^[0-9]*7777: ".parse().unwrap()), ..Filter::default() };
    let found = store.count(filter, TimeRange::FULL, None).await.unwrap();
    let search = started.elapsed();
    println!(
        "{durability:?}: {rate:.0} durable lines/s; regex over {lines} lines: {search:.0?} ({found} found)"
    );
}
