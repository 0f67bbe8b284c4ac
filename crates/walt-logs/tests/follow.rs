//! History and live lines join: each line exactly once, whatever the moment, the speed and the size of the ring.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{all, mac, record, store, texts};
use proptest::prelude::*;
use walt_logs::{Filter, LogLine, LogStore, Options, TimeRange};

#[derive(Debug, Clone)]
struct Case {
    ring_bytes: usize,
    group_lines: usize,
    linger_us: u64,
    /// Lines of each of three senders.
    lines: [usize; 3],
    /// For each follower: lines sent by sender 1 before it starts, and its pause after each page, microseconds.
    followers: Vec<(usize, u64)>,
}

fn cases() -> impl Strategy<Value = Case> {
    (
        prop_oneof![Just(0usize), Just(2_000), Just(1 << 20)],
        prop_oneof![Just(1usize), Just(7), Just(5_000)],
        prop_oneof![Just(0u64), Just(500), Just(5_000)],
        [0usize..400, 0usize..400, 0usize..400],
        proptest::collection::vec(
            (0usize..400, prop_oneof![Just(0u64), Just(300), Just(3_000)]),
            1..4,
        ),
    )
        .prop_map(|(ring_bytes, group_lines, linger_us, lines, followers)| Case {
            ring_bytes,
            group_lines,
            linger_us,
            lines,
            followers,
        })
}

/// Read until every sender's `end` was seen.
async fn collect(store: LogStore, pause_us: u64) -> Vec<LogLine> {
    let mut reader = store.follow(Filter::default(), TimeRange::FULL).await.unwrap();
    let mut lines: Vec<LogLine> = Vec::new();
    while lines.iter().filter(|line| &*line.line == "end").count() < 3 {
        // Giving up in the middle of a wait must not lose anything.
        let Ok(page) = tokio::time::timeout(Duration::from_millis(2), reader.next_page()).await
        else {
            continue;
        };
        lines.extend(page.unwrap().unwrap());
        if pause_us > 0 {
            tokio::time::sleep(Duration::from_micros(pause_us)).await;
        }
    }
    lines
}

async fn check(case: Case) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        ring_bytes: case.ring_bytes,
        group_lines: case.group_lines,
        linger: Duration::from_micros(case.linger_us),
        ..Options::default()
    };
    let store = store(dir.path(), options).await;
    let senders: Vec<_> = (0..3u8)
        .map(|sender| {
            let (sink, count) = (store.sink(), case.lines[usize::from(sender)]);
            std::thread::spawn(move || {
                for n in 0..count {
                    sink.push(record(sender + 1, "app", n as i64, &n.to_string())).unwrap();
                    if n % 37 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                }
                sink.push(record(sender + 1, "app", count as i64, "end")).unwrap();
            })
        })
        .collect();
    let mut followers = Vec::new();
    for (start, pause) in case.followers.clone() {
        let store = store.clone();
        followers.push(tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(start as u64 * 20)).await;
            collect(store, pause).await
        }));
    }
    let mut seen = Vec::new();
    for follower in followers {
        let lines = tokio::time::timeout(Duration::from_secs(30), follower).await;
        seen.push(lines.expect("a follower missed a line").unwrap());
    }
    for sender in senders {
        sender.join().unwrap();
    }
    for lines in seen {
        let mut by_sender: HashMap<_, Vec<&str>> = HashMap::new();
        for line in &lines {
            by_sender.entry(line.issuer).or_default().push(&line.line);
        }
        for sender in 0..3u8 {
            let mut expected: Vec<String> =
                (0..case.lines[usize::from(sender)]).map(|n| n.to_string()).collect();
            expected.push("end".into());
            assert_eq!(by_sender[&mac(sender + 1)], expected, "sender {sender}");
        }
        let mut seqs: Vec<u64> = lines.iter().map(|line| line.seq).collect();
        seqs.sort_unstable();
        seqs.dedup();
        assert_eq!(seqs.len(), lines.len(), "a line was given twice");
    }
    store.close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn each_line_exactly_once(case in cases()) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(check(case));
    }
}

#[tokio::test]
async fn a_tail_starts_now_and_a_late_one_reads_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options { ring_bytes: 1_000, ..Options::default() }).await;
    let sink = store.sink();
    sink.push(record(1, "app", 0, "before")).unwrap();
    store.flush().await.unwrap();
    let mut tail = store.tail(Filter::default());
    assert!(tail.is_live());
    for n in 0..3_000 {
        sink.push(record(1, "app", n, &n.to_string())).unwrap();
    }
    store.flush().await.unwrap();
    let mut lines = Vec::new();
    while lines.len() < 3_000 {
        lines.extend(tail.next_page().await.unwrap().unwrap());
    }
    let expected: Vec<String> = (0..3_000).map(|n| n.to_string()).collect();
    assert_eq!(texts(&lines), expected);
    store.close().await.unwrap();
    assert!(tail.next_page().await.unwrap().is_none(), "a tail ends with the store");
    assert!(sink.push(record(1, "app", 0, "late")).is_err());
}

#[tokio::test]
async fn live_lines_are_filtered_and_new_streams_appear() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Options::default()).await;
    let filter = Filter {
        issuers: Some(vec![mac(2)]),
        streams: Some("^new".parse().unwrap()),
        lines: Some("wanted".parse().unwrap()),
        ..Filter::default()
    };
    let mut tail = store.tail(filter.clone());
    let sink = store.sink();
    for (issuer, stream, line) in [
        (1, "new-stream", "wanted 1"),
        (2, "old", "wanted 2"),
        (2, "new-stream", "no"),
        (2, "new-stream", "is wanted"),
    ] {
        sink.push(record(issuer, stream, 0, line)).unwrap();
    }
    let page = tail.next_page().await.unwrap().unwrap();
    assert_eq!(texts(&page), ["is wanted"]);
    let history = all(store.history(filter, TimeRange::FULL).await.unwrap()).await;
    assert_eq!(history, page);
}
