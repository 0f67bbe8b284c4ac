//! `kill -9` of the writing process loses nothing that was acknowledged.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{all, record, store};
use walt_logs::{Filter, Options, TimeRange};

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
