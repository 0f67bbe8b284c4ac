//! `kill -9` of the writing process loses nothing that was acknowledged.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{all, mac, record, store};
use walt_logs::{Filter, Options, SpooledBatch, TimeRange};

const CHILD: &str = "WALT_LOGS_TEST_CHILD";

/// Not a test by itself: the process that gets killed.
#[tokio::test]
async fn child_writer() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = store(dir.as_ref(), Options::default()).await;
    let mut sent = 0;
    loop {
        for _ in 0..100 {
            store.sink().push_wait(record(1, "app", sent, &sent.to_string())).await.unwrap();
            sent += 1;
        }
        store.flush().await.unwrap();
        println!("acknowledged {sent}");
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writer", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0u64;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // The harness may print the name of the test in front.
            if let Some((_, count)) = line.unwrap().split_once("acknowledged ") {
                acknowledged = count.parse().unwrap();
            }
            if acknowledged >= 2_000 + round * 700 {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        // Otherwise it ended by itself.
        assert!(acknowledged >= 2_000 + round * 700, "round {round}: {acknowledged}");
        let store = store(dir.path(), Options::default()).await;
        let lines = all(store.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
        let mut by_seq: Vec<(u64, &str)> = lines.iter().map(|l| (l.seq, &*l.line)).collect();
        by_seq.sort_unstable();
        let this_round = &by_seq[before..];
        assert!(this_round.len() as u64 >= acknowledged, "{} < {acknowledged}", this_round.len());
        for (n, (_, line)) in this_round.iter().enumerate() {
            assert_eq!(*line, n.to_string());
        }
        before = by_seq.len();
        store.close().await.unwrap();
    }
}

const SPOOLER: &str = "WALT_LOGS_TEST_SPOOLER";

/// Not a test by itself: a server that gets killed while a node sends its spool, a good part of it again.
#[tokio::test]
async fn child_spooler() {
    let Some(dir) = std::env::var_os(SPOOLER) else { return };
    let store = store(dir.as_ref(), Options::default()).await;
    let mut next = store.spooled(mac(1), "spool".into()).await.unwrap().saturating_sub(150) + 1;
    loop {
        let lines =
            (next..next + 100).map(|n| (n, record(1, "app", n as i64, &n.to_string()))).collect();
        let batch = SpooledBatch { issuer: mac(1), session: "spool".into(), lines };
        store.sink().push_spooled(batch).await.unwrap().await.unwrap();
        next += 60;
        println!("safe {}", next + 39);
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn a_spool_sent_to_a_killed_server_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut safe = 0u64;
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_spooler", "--nocapture"])
            .env(SPOOLER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some((_, last)) = line.unwrap().split_once("safe ") {
                safe = safe.max(last.parse().unwrap());
            }
            if safe >= round * 2_000 {
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        // Otherwise it ended by itself.
        assert!(safe >= round * 2_000, "round {round}: {safe}");
    }
    let store = store(dir.path(), Options::default()).await;
    let last = store.spooled(mac(1), "spool".into()).await.unwrap();
    assert!(last >= safe, "{last} < {safe}");
    let mut lines = all(store.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
    lines.sort_unstable_by_key(|line| line.seq);
    let found: Vec<&str> = lines.iter().map(|line| &*line.line).collect();
    assert_eq!(found, (1..=last).map(|n| n.to_string()).collect::<Vec<_>>());
}
