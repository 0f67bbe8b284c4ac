#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use walt_proto::spooled::Date;

use super::{Cursor, SharedSpool, firsts, path_of};

fn texts(spool: &SharedSpool, from: u64) -> Vec<(u64, String)> {
    let mut cursor = Cursor::new(from);
    let mut texts = Vec::new();
    loop {
        let entries = cursor.read(spool, 7).unwrap();
        if entries.is_empty() {
            return texts;
        }
        texts.extend(entries.into_iter().map(|entry| (entry.seq, entry.text)));
    }
}

fn put(spool: &SharedSpool, text: &str) {
    spool.put("s", Date::Given(1), text).unwrap();
}

#[test]
fn lines_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let spool = SharedSpool::open(dir.path(), 1 << 20).unwrap();
    spool.put("my stream", Date::Arrival(-3), " a\tb \\n é").unwrap();
    let entry = Cursor::new(1).read(&spool, 9).unwrap().remove(0);
    assert_eq!((entry.seq, entry.date, &*entry.stream), (1, Date::Arrival(-3), "my stream"));
    assert_eq!(entry.text, " a\tb \\n é");
    assert!(SharedSpool::open(dir.path(), 1).is_err(), "two daemons at once");
}

#[test]
fn long_lines_are_kept_in_pieces_that_servers_take() {
    let dir = tempfile::tempdir().unwrap();
    let spool = SharedSpool::open(dir.path(), 1 << 20).unwrap();
    let text = "\u{fffd}".repeat(16 * 1024);
    put(&spool, &text);
    let pieces = Cursor::new(1).read(&spool, 9).unwrap();
    assert!(pieces.len() > 2 && pieces.iter().all(|piece| piece.text.len() < 16 * 1024));
    assert_eq!(pieces.iter().map(|piece| &*piece.text).collect::<String>(), text);
}

#[test]
fn without_room_lines_are_counted_and_told_later() {
    let dir = tempfile::tempdir().unwrap();
    let spool = SharedSpool::open(dir.path(), 600_000).unwrap();
    let text = "x".repeat(1000);
    for _ in 0..700 {
        put(&spool, &text);
    }
    let kept = spool.next() - 1;
    assert!((500..600).contains(&kept), "{kept}");
    spool.acknowledge(kept / 2 + 1).unwrap();
    put(&spool, "again");
    let seen = texts(&spool, kept + 1);
    let note = format!("<{} lines lost: the spool of the node was full>", 700 - kept);
    assert_eq!(seen, [(kept + 1, note), (kept + 2, "again".to_owned())]);
}

#[test]
fn room_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let spool = SharedSpool::open(dir.path(), 1 << 20).unwrap();
    for round in 0..20 {
        for _ in 0..500 {
            put(&spool, &"x".repeat(1000));
        }
        spool.acknowledge(u64::MAX).unwrap();
        assert_eq!(spool.acked(), (round + 1) * 500);
    }
    assert_eq!(firsts(dir.path()).unwrap().len(), 1);
    assert_eq!(texts(&spool, spool.acked() + 1), []);
}

#[test]
fn a_spool_whose_files_are_gone_is_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SharedSpool::open(dir.path(), 1 << 20).unwrap();
    let spool = open();
    put(&spool, "a");
    let session = spool.session();
    drop(spool);
    assert_eq!(open().session(), session);
    std::fs::remove_file(dir.path().join("acked")).unwrap();
    let spool = open();
    assert_ne!(spool.session(), session);
    assert_eq!((spool.next(), texts(&spool, 1)), (1, vec![]));
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Acknowledge(u64),
    /// The daemon is killed, with this half-written at the end of the last segment.
    Crash(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..16_000).prop_map(Step::Put),
        2 => (0u64..60).prop_map(Step::Acknowledge),
        1 => "(|[0-9]{1,3}\t|[0-9]{1,2}\t5\ts\tcut|\u{1})".prop_map(Step::Crash),
    ]
}

fn garbage(dir: &Path, text: &str) {
    let last = *firsts(dir).unwrap().last().unwrap();
    let mut file = OpenOptions::new().append(true).open(path_of(dir, last)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_is_lost_nor_doubled(steps in proptest::collection::vec(step(), 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        let open = || SharedSpool::open(dir.path(), 64 << 20).unwrap();
        let mut spool = open();
        let session = spool.session();
        let (mut last, mut acked) = (0u64, 0u64);
        for step in steps {
            match step {
                Step::Put(size) => {
                    last += 1;
                    put(&spool, &format!("{last} {}", "y".repeat(size)));
                }
                Step::Acknowledge(seq) => {
                    spool.acknowledge(seq).unwrap();
                    acked = acked.max(seq.min(last));
                }
                Step::Crash(rest) => {
                    drop(spool);
                    garbage(dir.path(), &rest);
                    spool = open();
                }
            }
            prop_assert_eq!(spool.acked(), acked);
            prop_assert_eq!(spool.session(), session.clone());
            let found: Vec<u64> = texts(&spool, acked + 1)
                .iter()
                .map(|(seq, text)| {
                    assert!(text.starts_with(&format!("{seq} ")));
                    *seq
                })
                .collect();
            prop_assert_eq!(found, (acked + 1..=last).collect::<Vec<_>>());
        }
    }
}
