//! History queries, counts, names, removal, checkpoints, full queue.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{T0, all, mac, record, store, texts};
use walt_logs::{
    Filter, Limit, LogError, LogRecord, LogStore, Options, Retention, StreamMode, TimeRange,
    Timestamp, chunk_from_text,
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
async fn pages_are_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options { ring_bytes: 4 << 20, ..Options::default() }).await;
    let mut tail = store.tail(Filter::default());
    let mut late = store.since(0);
    let long = "x".repeat(60_000);
    let records = (0..100).map(|n| record(1, "app", n, &long));
    store.sink().push_all(records.collect()).await.unwrap();
    store.flush().await.unwrap();
    let mut past = store.history(Filter::default(), TimeRange::FULL).await.unwrap();
    // The tail reads the file, then what is in memory; the one that has caught up only what is in memory.
    for (name, reader) in [("history", &mut past), ("tail", &mut tail), ("since", &mut late)] {
        let mut count = 0;
        while count < 100 {
            let page = reader.next_page().await.unwrap().unwrap();
            let bytes: usize = page.iter().map(|line| line.line.len()).sum();
            assert!(bytes < (1 << 20) + 64_000, "a page of {bytes} bytes of {name}");
            count += page.len();
        }
    }
    let records = (0..60).map(|n| record(1, "app", n, &long));
    store.sink().push_all(records.collect()).await.unwrap();
    store.flush().await.unwrap();
    let page = tail.next_page().await.unwrap().unwrap();
    assert!(page.len() < 20, "{} lines of memory in a page", page.len());
}

#[tokio::test]
async fn the_end_of_a_history_is_told_even_if_it_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    store.sink().push(record(1, "app", 0, "before")).unwrap();
    let mut reader = store.follow(lines("after"), TimeRange::FULL).await.unwrap();
    let page = tokio::time::timeout(Duration::from_secs(10), reader.next_page()).await;
    assert!(page.expect("it waits for a line").unwrap().unwrap().is_empty());
    assert!(reader.is_live());
    store.sink().push(record(1, "app", 0, "after")).unwrap();
    assert_eq!(texts(&reader.next_page().await.unwrap().unwrap()), ["after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_nobody_waits_for_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options { readers: 1, ..Options::default() }).await;
    let text = "a line that is long enough to take its time ".repeat(20);
    let records = (0..400_000).map(|n| record(1, "app", n, &text));
    store.sink().push_all(records.collect()).await.unwrap();
    let slow = || store.count(lines("(a|l|e).*(t|i).*(m|e).*nowhere"), TimeRange::FULL, None);
    let started = Instant::now();
    assert_eq!(slow().await.unwrap(), 0);
    let whole = started.elapsed();
    assert!(tokio::time::timeout(whole / 20, slow()).await.is_err());
    // The only connection is free again.
    let started = Instant::now();
    store.checkpoints(&"alice".parse().unwrap()).await.unwrap();
    let waited = started.elapsed();
    assert!(waited < whole / 2, "{waited:?} of {whole:?}");
}

/// As those a node read in one go and dated by the second.
#[tokio::test]
async fn lines_of_one_date_are_read_as_fast_as_others() {
    let mut times = Vec::new();
    for step in [1, 0] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), Options::default()).await;
        let records =
            (0..200_000).map(|n| record((n % 2) as u8 + 1, "app", n * step, "of one date"));
        store.sink().push_all(records.collect()).await.unwrap();
        let started = Instant::now();
        let mut reader = store.history(Filter::default(), TimeRange::FULL).await.unwrap();
        let (mut count, mut last) = (0, 0);
        while let Some(page) = reader.next_page().await.unwrap() {
            for line in page {
                assert!(line.seq > last, "{} after {last}", line.seq);
                last = line.seq;
                count += 1;
            }
        }
        assert_eq!(count, 200_000);
        times.push(started.elapsed());
    }
    eprintln!("200 000 lines read: of many dates in {:?}, of one in {:?}", times[0], times[1]);
    assert!(times[1] < times[0] * 3 + Duration::from_secs(2), "{times:?}");
}

/// Stands for a full disk: lines are refused, the rest is not.
const REFUSE_LINES: &str =
    "CREATE TRIGGER full BEFORE INSERT ON logs BEGIN SELECT raise(ABORT, 'no room'); END";

#[tokio::test]
async fn while_the_disk_is_full_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    for n in 0..10 {
        store.sink().push(record(1, "app", n, "there")).unwrap();
    }
    store.flush().await.unwrap();
    let other = rusqlite::Connection::open(dir.path().join("logs.db")).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch(REFUSE_LINES).unwrap();
    store.sink().push(record(1, "app", 20, "first")).unwrap();
    let soon = async |what: &str, work: &mut (dyn Future<Output = ()> + Unpin)| {
        let waited = tokio::time::timeout(Duration::from_secs(20), work).await;
        assert!(waited.is_ok(), "{what} waits for the disk");
    };
    let refused = |result: Result<(), LogError>| {
        assert!(matches!(result, Err(LogError::NotWritten(_))), "{result:?}");
    };
    // One after the other, then many at once, with lines between them.
    for _ in 0..3 {
        let mut flush = Box::pin(async { refused(store.flush().await) });
        soon("a flush", &mut flush).await;
    }
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            store.sink().push(record(1, "app", 21 + n, "later")).unwrap();
            store.flush()
        })
        .collect();
    for flush in waiting {
        let mut flush = Box::pin(async { refused(flush.await) });
        soon("one of many flushes", &mut flush).await;
    }

    let mut past = Box::pin(async {
        let reader = store.history(Filter::default(), TimeRange::FULL).await.unwrap();
        assert!(reader.not_written().unwrap().contains("no room"));
        assert_eq!(all(reader).await.len(), 10);
        assert_eq!(store.count(lines("t"), TimeRange::FULL, None).await.unwrap(), 10);
    });
    soon("history", &mut past).await;
    let (alice, name) = ("alice".parse().unwrap(), "now".parse().unwrap());
    let mut checkpoint = Box::pin(async {
        store.add_checkpoint(&alice, &name, Timestamp(T0)).await.unwrap();
        assert_eq!(store.checkpoints(&alice).await.unwrap().len(), 1);
    });
    soon("a checkpoint", &mut checkpoint).await;
    let mut removal = Box::pin(async { refused(store.remove_issuer(mac(3)).await) });
    soon("the removal of a device", &mut removal).await;
    // Old lines can be deleted, which is what gives room.
    let mut pruning = Box::pin(async {
        let hour = Limit { age: Some(Duration::from_secs(3_600)), bytes: None };
        let retention =
            Retention { server: mac(9), platform: hour, console: hour, experiment: hour };
        let pruned = store.prune(retention, Timestamp::now()).await.unwrap();
        assert_eq!(pruned.iter().map(|pruned| pruned.lines).sum::<u64>(), 10);
    });
    soon("retention", &mut pruning).await;

    let mut follower = store.follow(Filter::default(), TimeRange::FULL).await.unwrap();
    other.execute_batch("DROP TRIGGER full").unwrap();
    store.flush().await.unwrap();
    let texts = history(&store, Filter::default(), TimeRange::FULL).await;
    assert_eq!((texts.len(), texts[0].as_str()), (51, "first"));
    assert!(!store.issuers().iter().any(|(known, _)| *known == mac(3)), "removed once possible");
    let mut count = 0;
    while count < 51 {
        count += follower.next_page().await.unwrap().unwrap().len();
    }

    // Closing does not wait either.
    other.execute_batch(REFUSE_LINES).unwrap();
    store.sink().push(record(1, "app", 0, "lost")).unwrap();
    let flush = store.flush();
    refused(store.close().await);
    refused(flush.await);
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
