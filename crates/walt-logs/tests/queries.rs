//! History queries, counts, names, removal, checkpoints, full queue.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{T0, all, mac, record, store, texts};
use walt_logs::{
    Filter, LogError, LogRecord, LogStore, Options, StreamMode, TimeRange, Timestamp,
    chunk_from_text,
};

fn lines(pattern: &str) -> Filter {
    Filter { lines: Some(pattern.parse().unwrap()), ..Filter::default() }
}

async fn history(store: &LogStore, filter: Filter, range: TimeRange) -> Vec<String> {
    let lines = all(store.history(filter, range).await.unwrap()).await;
    lines.iter().map(|line| line.line.to_string()).collect()
}

#[tokio::test]
async fn history_is_by_time_then_arrival_with_exclusive_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    for (micros, line) in [(30, "c"), (10, "a"), (20, "b1"), (20, "b2"), (40, "d")] {
        store.sink().push(record(1, "app", micros, line)).unwrap();
    }
    assert_eq!(
        history(&store, Filter::default(), TimeRange::FULL).await,
        ["a", "b1", "b2", "c", "d"]
    );
    let at = |micros| Some(Timestamp(T0 + micros));
    let range = TimeRange { start: at(10), end: at(40) };
    assert_eq!(history(&store, Filter::default(), range).await, ["b1", "b2", "c"]);
    assert_eq!(store.count(Filter::default(), range, None).await.unwrap(), 3);
    assert_eq!(store.count(Filter::default(), range, Some(2)).await.unwrap(), 2);
    assert_eq!(store.count(lines("b"), TimeRange::FULL, None).await.unwrap(), 2);
}

#[tokio::test]
async fn filters_work_with_few_and_with_many_streams() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    for n in 0..40 {
        let stream = format!("app.{n}");
        store.sink().push(record(1, &stream, 100 - n, &format!("x {n} of node 1"))).unwrap();
        store.sink().push(record(2, &stream, 100 - n, &format!("x {n} of node 2"))).unwrap();
    }
    store
        .sink()
        .push(LogRecord::chunk(
            mac(1),
            "virtualconsole".parse().unwrap(),
            Timestamp(T0),
            b"login:\r\n\xff",
        ))
        .unwrap();
    let filter = Filter {
        issuers: Some(vec![mac(2)]),
        streams: Some(r"\.(3|12|20)$".parse().unwrap()),
        ..Filter::default()
    };
    assert_eq!(
        history(&store, filter, TimeRange::FULL).await,
        ["x 20 of node 2", "x 12 of node 2", "x 3 of node 2"]
    );
    assert_eq!(history(&store, lines("^x 1[01] .*2$"), TimeRange::FULL).await.len(), 2);
    let no_console = Filter { exclude_consoles: true, ..Filter::default() };
    assert_eq!(store.count(no_console, TimeRange::FULL, None).await.unwrap(), 80);
    let chunks = Filter { mode: Some(StreamMode::Chunk), ..Filter::default() };
    let found = history(&store, chunks, TimeRange::FULL).await;
    assert_eq!(chunk_from_text(&found[0]).unwrap(), b"login:\r\n\xff");
    let nobody = Filter { issuers: Some(vec![]), ..Filter::default() };
    assert!(history(&store, nobody, TimeRange::FULL).await.is_empty());
}

#[tokio::test]
async fn a_rename_keeps_lines_and_a_removal_deletes_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    let sink = store.sink();
    let before = all(store.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
    assert!(before.is_empty());
    sink.push(record(1, "app", 1, "one")).unwrap();
    for n in 0..12_000 {
        sink.push(record(2, "app", n, "two")).unwrap();
    }
    store.name_issuer(mac(1), &"better-name".parse().unwrap()).await.unwrap();
    let found = all(store.history(lines("one"), TimeRange::FULL).await.unwrap()).await;
    assert_eq!(&*found[0].issuer_name, "better-name");

    // Pushed before the removal: removed. Pushed after it: not recorded, until the device is back.
    sink.push(record(2, "app", 3, "just before")).unwrap();
    let removed = store.remove_issuer(mac(2));
    sink.push(record(2, "app", 3, "just after")).unwrap();
    removed.await.unwrap();
    assert_eq!(history(&store, Filter::default(), TimeRange::FULL).await, ["one"]);
    assert_eq!(store.stats().unknown_issuer, 1);
    let last = store.stats().last_seq;
    let back = store.name_issuer(mac(2), &"node-2".parse().unwrap());
    sink.push(record(2, "app", 5, "again")).unwrap();
    back.await.unwrap();
    let found = all(store.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
    assert_eq!(texts(&found), ["one", "again"]);
    assert!(found[1].seq > last);

    // The lines really leave the file, and numbers are not used again after a restart.
    let path = dir.path().join("logs.db");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let conn = rusqlite::Connection::open(&path).unwrap();
        let rows: i64 = conn.query_row("SELECT count(*) FROM logs", [], |r| r.get(0)).unwrap();
        if rows == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{rows} rows left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.remove_issuer(mac(2)).await.unwrap();
    let last = store.stats().last_seq;
    store.close().await.unwrap();
    let store = LogStore::open(&path, Options::default()).unwrap();
    assert_eq!(store.stats().last_seq, last);
    assert_eq!(history(&store, Filter::default(), TimeRange::FULL).await, ["one"]);
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_so_in_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { queue_bytes: 1 << 20, linger: Duration::from_millis(300), ..Options::default() };
    let store = store(dir.path(), options).await;
    let sink = store.sink();
    let long = "x".repeat(60_000);
    let refused = (0..40).filter(|n| sink.push(record(1, "app", *n, &long)).is_err()).count();
    assert!(refused > 0);
    store.flush().await.unwrap();
    store.flush().await.unwrap();
    let notes = history(&store, lines("lines lost"), TimeRange::FULL).await;
    assert_eq!(notes, [format!("<{refused} lines lost: the log queue was full>")]);
    // Who can wait loses nothing.
    for n in 0..40 {
        sink.push_wait(record(2, "app", n, &long)).await.unwrap();
    }
    let mine = Filter { issuers: Some(vec![mac(2)]), ..Filter::default() };
    assert_eq!(
        store
            .count(
                {
                    store.flush().await.unwrap();
                    mine
                },
                TimeRange::FULL,
                None
            )
            .await
            .unwrap(),
        40
    );
}

#[tokio::test]
async fn checkpoints_belong_to_their_user() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
    let (start, other) = ("start".parse().unwrap(), "other".parse().unwrap());
    store.add_checkpoint(&alice, &start, Timestamp(5)).await.unwrap();
    store.add_checkpoint(&alice, &other, Timestamp(3)).await.unwrap();
    let again = store.add_checkpoint(&alice, &start, Timestamp(6)).await.unwrap_err();
    assert_eq!(again.to_string(), "a checkpoint with this name already exists.");
    let names: Vec<_> =
        store.checkpoints(&alice).await.unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["other", "start"]);
    assert_eq!(store.checkpoint(&alice, &start).await.unwrap().timestamp, Timestamp(5));
    assert!(store.checkpoints(&bob).await.unwrap().is_empty());
    assert!(matches!(
        store.checkpoint(&bob, &start).await,
        Err(LogError::NoSuchCheckpoint(name)) if name == "start"
    ));
    store.remove_checkpoint(&alice, &start).await.unwrap();
    assert!(store.remove_checkpoint(&alice, &start).await.is_err());
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs.db");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 999).unwrap();
    let error = LogStore::open(&path, Options::default()).err().unwrap();
    assert!(matches!(error, LogError::Newer { found: 999, .. }), "{error}");
    std::fs::write(dir.path().join("junk"), "not a database, ".repeat(100)).unwrap();
    let error = LogStore::open(&dir.path().join("junk"), Options::default()).err().unwrap();
    assert!(error.to_string().contains("junk"), "{error}");
}

#[tokio::test]
async fn a_hundred_thousand_lines() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    let sink = store.sink();
    let started = Instant::now();
    for n in 0..100_000i64 {
        let line = format!("line {n} of an experiment, with some text");
        sink.push_wait(record((n % 3) as u8 + 1, "app", n, &line)).await.unwrap();
    }
    store.flush().await.unwrap();
    let ingested = started.elapsed();
    let started = Instant::now();
    let found = history(&store, lines("line [0-9]*999 of"), TimeRange::FULL).await;
    assert_eq!(found.len(), 100);
    eprintln!("100 000 lines stored in {ingested:?}, searched in {:?}", started.elapsed());
    assert_eq!(store.stats().written, 100_000);
    assert!(ingested < Duration::from_secs(20), "{ingested:?}");
}

#[tokio::test]
async fn lines_the_disk_refuses_are_kept_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    // Stands for a full disk: any write to the table fails.
    let other = rusqlite::Connection::open(dir.path().join("logs.db")).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("ALTER TABLE logs RENAME TO gone").unwrap();
    store.sink().push(record(1, "app", 0, "kept")).unwrap();
    let error = store.flush().await.unwrap_err();
    assert!(matches!(error, LogError::NotWritten(_)), "{error}");
    other.execute_batch("ALTER TABLE gone RENAME TO logs").unwrap();
    store.flush().await.unwrap();
    assert_eq!(history(&store, Filter::default(), TimeRange::FULL).await, ["kept"]);

    other.execute_batch("ALTER TABLE logs RENAME TO gone").unwrap();
    store.sink().push(record(1, "app", 0, "lost")).unwrap();
    assert!(matches!(store.close().await, Err(LogError::NotWritten(_))), "closing does not hang");
}
