//! Old lines are deleted as asked, and nothing else; the file gets smaller.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{T0, mac, record, store};
use walt_logs::{
    Filter, Limit, LogRecord, LogStore, Options, Retention, StreamClass, TimeRange, Timestamp,
};

const NOTHING: Retention = Retention {
    server: walt_model::Mac([0x52, 0x54, 0, 0, 0, 3]),
    platform: Limit { age: None, bytes: None },
    console: Limit { age: None, bytes: None },
    experiment: Limit { age: None, bytes: None },
};
const HOUR: i64 = 3_600_000_000;

async fn lines(store: &LogStore, stream: &str) -> u64 {
    let filter = Filter { streams: Some(stream.parse().unwrap()), ..Filter::default() };
    store.count(filter, TimeRange::FULL, None).await.unwrap()
}

#[tokio::test]
async fn each_class_has_its_age() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    for hour in 0..10 {
        for (issuer, stream) in [
            (1, "app"),
            (1, "netconsole"),
            (1, "platform.nodes"),
            (3, "platform.nodes"),
            (3, "daemon.stderr"),
        ] {
            store.sink().push(record(issuer, stream, hour * HOUR, "x")).unwrap();
        }
        let chunk =
            LogRecord::chunk(mac(1), "tty".parse().unwrap(), Timestamp(T0 + hour * HOUR), b"x");
        store.sink().push(chunk).unwrap();
    }
    let now = Timestamp(T0 + 10 * HOUR);
    assert!(store.prune(NOTHING, now).await.unwrap().is_empty());
    let hours = |hours: u64| Limit { age: Some(Duration::from_secs(hours * 3600)), bytes: None };
    let some = Retention { platform: hours(3), console: hours(5), ..NOTHING };
    let told = store.prune(some, now).await.unwrap();
    let mut found: Vec<(StreamClass, u64)> = told.iter().map(|p| (p.class, p.lines)).collect();
    found.sort_by_key(|(class, _)| class.to_string());
    assert_eq!(found, [(StreamClass::Console, 10), (StreamClass::Platform, 14)]);
    assert_eq!(lines(&store, "^app$").await, 10);
    assert_eq!(lines(&store, "^netconsole$").await, 5);
    assert_eq!(lines(&store, "^tty$").await, 5);
    // Of the server 3 of 10; those of a node that only look so are an experiment.
    assert_eq!(lines(&store, "^platform.nodes$").await, 13);
    assert!(store.prune(some, now).await.unwrap().is_empty());
}

#[tokio::test]
async fn size_is_kept_and_room_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let opened = store(dir.path(), Options::default()).await;
    let text = "y".repeat(1_000);
    for n in 0..12_000 {
        opened.sink().push_wait(record(1 + (n % 2) as u8, "console", n, &text)).await.unwrap();
        if n % 10 == 0 {
            opened.sink().push_wait(record(1, "app", n, &text)).await.unwrap();
        }
    }
    let held = |held: [walt_logs::Held; 3]| {
        held.into_iter().find(|held| held.class == StreamClass::Console).unwrap()
    };
    let before = held(opened.held(NOTHING.server).await.unwrap());
    assert_eq!((before.lines, before.bytes), (12_000, 12_000 * 1_048));
    let most = 3_000_000;
    let limit = Limit { age: None, bytes: Some(most) };
    // Ingest goes on meanwhile.
    let sink = opened.sink();
    let writer = tokio::spawn(async move {
        for n in 0..500 {
            sink.push_wait(record(2, "meanwhile", n, "z")).await.unwrap();
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
    let told =
        opened.prune(Retention { console: limit, ..NOTHING }, Timestamp::now()).await.unwrap();
    writer.await.unwrap();
    let after = held(opened.held(NOTHING.server).await.unwrap());
    assert_eq!(told.len(), 1);
    assert_eq!(before.lines - after.lines, told[0].lines);
    assert!(after.bytes <= most && after.bytes > most - 10_000, "{after:?}");
    assert_eq!(lines(&opened, "^app$").await, 1_200);
    assert_eq!(lines(&opened, "^meanwhile$").await, 500);
    let last = opened.stats().last_seq;
    opened.close().await.unwrap();
    drop(opened);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 10_000_000, "{size} bytes");
    // What is left are the newest lines; counts survive; numbers are not used again.
    let opened = LogStore::open(&path, Options::default()).unwrap();
    assert_eq!(held(opened.held(NOTHING.server).await.unwrap()), after);
    assert!(opened.stats().last_seq >= last);
    let filter = Filter { streams: Some("^console$".parse().unwrap()), ..Filter::default() };
    let mut reader = opened.history(filter, TimeRange::FULL).await.unwrap();
    let first = reader.next_page().await.unwrap().unwrap()[0].timestamp;
    assert_eq!(first, Timestamp(T0 + 12_000 - after.lines as i64));
}

#[tokio::test]
async fn size_is_kept_among_many_lines_of_one_date() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    // More than one look takes, all of one instant; then some of the next one.
    let records = (0..55_010).map(|n| record(1, "console", i64::from(n >= 55_000), "xx"));
    store.sink().push_all(records.collect()).await.unwrap();
    let limit = Limit { age: None, bytes: Some(3_000 * 50) };
    let retention = Retention { console: limit, ..NOTHING };
    let told = store.prune(retention, Timestamp::now()).await.unwrap();
    assert_eq!(told.iter().map(|pruned| pruned.lines).collect::<Vec<_>>(), [55_000]);
    assert_eq!(lines(&store, "^console$").await, 10);
}
