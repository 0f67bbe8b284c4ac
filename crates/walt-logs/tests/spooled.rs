//! Lines of spools: each is stored once, however often it is sent.
#![allow(clippy::unwrap_used)]

mod common;

use common::{all, mac, record, store};
use walt_logs::{Clock, Filter, LogStore, Options, SpooledBatch, TimeRange, Timestamp};

fn batch(session: &str, seqs: std::ops::RangeInclusive<u64>) -> SpooledBatch {
    let lines = seqs.map(|n| (n, record(1, "app", n as i64, &format!("{session} {n}")))).collect();
    SpooledBatch { issuer: mac(1), session: session.into(), lines }
}

async fn push(store: &LogStore, session: &str, seqs: std::ops::RangeInclusive<u64>) {
    store.sink().push_spooled(batch(session, seqs)).await.unwrap().await.unwrap();
}

async fn lines(store: &LogStore) -> Vec<String> {
    let lines = all(store.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
    lines.iter().map(|line| line.line.to_string()).collect()
}

#[tokio::test]
async fn lines_sent_again_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let opened = store(dir.path(), Options::default()).await;
    push(&opened, "a", 1..=5).await;
    push(&opened, "a", 3..=7).await;
    push(&opened, "b", 1..=1).await;
    push(&opened, "a", 2..=4).await;
    assert_eq!(opened.spooled(mac(1), "a".into()).await.unwrap(), 7);
    opened.close().await.unwrap();
    let opened = store(dir.path(), Options::default()).await;
    assert_eq!(opened.spooled(mac(1), "a".into()).await.unwrap(), 7);
    assert_eq!(opened.spooled(mac(1), "c".into()).await.unwrap(), 0);
    assert_eq!(opened.spooled(mac(2), "a".into()).await.unwrap(), 0);
    push(&opened, "a", 1..=9).await;
    let mut found = lines(&opened).await;
    found.sort();
    let mut wanted: Vec<String> = (1..=9).map(|n| format!("a {n}")).collect();
    wanted.push("b 1".to_owned());
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn two_connections_of_one_spool_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    let mut waiting = Vec::new();
    for start in (1..=200).step_by(7) {
        waiting.push(store.sink().push_spooled(batch("a", start..=start + 20)).await.unwrap());
        waiting.push(store.sink().push_spooled(batch("a", start..=start + 20)).await.unwrap());
    }
    for written in waiting {
        written.await.unwrap();
    }
    let last = store.spooled(mac(1), "a".into()).await.unwrap();
    assert_eq!(lines(&store).await, (1..=last).map(|n| format!("a {n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn spools_of_a_device_are_bounded_and_leave_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    for session in 0..40 {
        push(&store, &format!("s{session}"), 1..=1).await;
    }
    assert_eq!(store.spooled(mac(1), "s39".into()).await.unwrap(), 1);
    assert_eq!(store.spooled(mac(1), "s0".into()).await.unwrap(), 0);
    let clock = Clock { measured: Timestamp(5), offset: -3, uncertainty: 2 };
    store.note_clock(mac(1), clock).await.unwrap();
    assert_eq!(store.clock(mac(1)), Some(clock));
    store.remove_issuer(mac(1)).await.unwrap();
    push(&store, "s50", 1..=1).await;
    assert_eq!(store.clock(mac(1)), None);
    for session in ["s39", "s50"] {
        assert_eq!(store.spooled(mac(1), session.into()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn clocks_survive_a_restart_and_an_old_file_gets_the_new_tables() {
    let dir = tempfile::tempdir().unwrap();
    let opened = store(dir.path(), Options::default()).await;
    opened.close().await.unwrap();
    drop(opened);
    let conn = rusqlite::Connection::open(dir.path().join("logs.db")).unwrap();
    conn.execute_batch(
        "DROP TABLE spools; DROP TABLE clocks; ALTER TABLE logstreams DROP COLUMN lines;
         ALTER TABLE logstreams DROP COLUMN bytes; PRAGMA user_version = 1",
    )
    .unwrap();
    drop(conn);
    let opened = store(dir.path(), Options::default()).await;
    for second in 0..150 {
        let clock = Clock { measured: Timestamp(second), offset: second, uncertainty: 1 };
        opened.note_clock(mac(1), clock).await.unwrap();
    }
    opened.close().await.unwrap();
    let opened = store(dir.path(), Options::default()).await;
    assert_eq!(opened.clock(mac(1)).unwrap().offset, 149);
}
