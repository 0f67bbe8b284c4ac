//! History and live lines join: each line exactly once, whatever the moment, the speed and the size of the ring.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use common::{T0, all, mac, record, store, texts};
use proptest::prelude::*;
use tokio::sync::mpsc;
use walt_logs::{Filter, Limit, LogLine, LogStore, Options, Retention, TimeRange, Timestamp};

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

/// Streams of each sender; the lines of the last one are pruned all the time.
const STREAMS: [&str; 4] = ["s0", "s1", "other", "my-console"];
/// A device that is removed and named again, all the time.
const VICTIM: u8 = 9;
const END: &str = "the end";

/// Senders with several streams and dates that are equal or go back; a platform that changes meanwhile.
#[derive(Debug, Clone)]
struct Busy {
    ring_bytes: usize,
    group_lines: usize,
    /// Stream and date of the lines of each of three senders.
    lines: [Vec<(usize, i64)>; 3],
    followers: Vec<Follower>,
    /// Pause between two changes of the platform, microseconds.
    pace_us: u64,
}

#[derive(Debug, Clone)]
struct Follower {
    start_us: u64,
    pause_us: u64,
    filter: usize,
    range: (Option<i64>, Option<i64>),
}

fn busy_cases() -> impl Strategy<Value = Busy> {
    let lines = || proptest::collection::vec((0..STREAMS.len(), 0..6i64), 0..300);
    let bound = || proptest::option::of(-1..7i64);
    let follower =
        (0..6_000u64, prop_oneof![Just(0u64), Just(1_000)], 0..FILTERS.len(), (bound(), bound()))
            .prop_map(|(start_us, pause_us, filter, range)| Follower {
                start_us,
                pause_us,
                filter,
                range,
            });
    (
        prop_oneof![Just(0usize), Just(3_000), Just(1 << 20)],
        prop_oneof![Just(3usize), Just(5_000)],
        [lines(), lines(), lines()],
        proptest::collection::vec(follower, 1..5),
        prop_oneof![Just(100u64), Just(2_000)],
    )
        .prop_map(|(ring_bytes, group_lines, lines, followers, pace_us)| Busy {
            ring_bytes,
            group_lines,
            lines,
            followers,
            pace_us,
        })
}

type Choice = (fn() -> Filter, fn(&LogLine) -> bool);

/// Filters, and what they accept; all of them accept the last line of all.
const FILTERS: [Choice; 5] = [
    (Filter::default, |_| true),
    (
        || Filter { streams: Some("^s[0-9]$".parse().unwrap()), ..Filter::default() },
        |line| line.stream.as_str().starts_with('s'),
    ),
    (
        || Filter { lines: Some("[02468]$|end$".parse().unwrap()), ..Filter::default() },
        |line| line.line.ends_with(['0', '2', '4', '6', '8']) || &*line.line == END,
    ),
    (
        || Filter { issuers: Some(vec![mac(1), mac(VICTIM)]), ..Filter::default() },
        |line| [mac(1), mac(VICTIM)].contains(&line.issuer),
    ),
    (
        || Filter { exclude_consoles: true, ..Filter::default() },
        |line| !line.stream.as_str().ends_with("console"),
    ),
];

fn range_of(follower: &Follower) -> TimeRange {
    let at = |bound: Option<i64>| bound.map(|bound| Timestamp(T0 + bound));
    TimeRange { start: at(follower.range.0), end: at(follower.range.1) }
}

/// What a follower was given.
struct Seen {
    follower: Follower,
    history: Vec<LogLine>,
    live: Vec<LogLine>,
    /// Between these numbers of lines history ended and live lines began.
    cut: (u64, u64),
}

async fn follow(store: LogStore, follower: Follower, started: mpsc::Sender<()>) -> Seen {
    tokio::time::sleep(Duration::from_micros(follower.start_us)).await;
    let first = store.stats().last_seq;
    let filter = FILTERS[follower.filter].0();
    let mut reader = store.follow(filter, range_of(&follower)).await.unwrap();
    let cut = (first, store.stats().last_seq);
    started.send(()).await.unwrap();
    let (mut history, mut live) = (Vec::new(), Vec::new());
    while live.last().is_none_or(|line: &LogLine| &*line.line != END) {
        let is_live = reader.is_live();
        let page = tokio::time::timeout(Duration::from_millis(2), reader.next_page()).await;
        let Ok(page) = page else { continue };
        let lines = if is_live { &mut live } else { &mut history };
        lines.extend(page.unwrap().unwrap());
        tokio::time::sleep(Duration::from_micros(follower.pause_us)).await;
    }
    Seen { follower, history, live, cut }
}

/// Renames, removals and deletions, until told to stop.
async fn disturb(store: LogStore, pace_us: u64, mut stop: mpsc::Receiver<()>) {
    let console = Limit { age: Some(Duration::from_secs(3_600)), bytes: None };
    let none = Limit::default();
    let retention = Retention { server: mac(8), platform: none, console, experiment: none };
    for round in 0.. {
        let _ = store.name_issuer(mac(1), &format!("renamed-{round}").parse().unwrap()).await;
        let _ = store.name_issuer(mac(VICTIM), &"victim".parse().unwrap()).await;
        let pause = Duration::from_micros(pace_us);
        if tokio::time::timeout(pause, stop.recv()).await.is_ok() {
            return;
        }
        store.remove_issuer(mac(VICTIM)).await.unwrap();
        store.prune(retention, Timestamp::now()).await.unwrap();
    }
}

async fn check_busy(case: Busy) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        ring_bytes: case.ring_bytes,
        group_lines: case.group_lines,
        linger: Duration::from_micros(500),
        ..Options::default()
    };
    let store = store(dir.path(), options).await;
    let (stop, stopped) = mpsc::channel(1);
    let disturbance = tokio::spawn(disturb(store.clone(), case.pace_us, stopped));
    let mut senders: Vec<_> = (0..3u8)
        .map(|sender| {
            let (sink, lines) = (store.sink(), case.lines[usize::from(sender)].clone());
            std::thread::spawn(move || {
                for (n, (stream, date)) in lines.into_iter().enumerate() {
                    sink.push(record(sender + 1, STREAMS[stream], date, &n.to_string())).unwrap();
                    if n % 17 == 0 {
                        std::thread::sleep(Duration::from_micros(400));
                    }
                }
            })
        })
        .collect();
    let sink = store.sink();
    senders.push(std::thread::spawn(move || {
        for n in 0..100 {
            sink.push(record(VICTIM, "s1", n % 5, &format!("victim {n}"))).unwrap();
            std::thread::sleep(Duration::from_micros(100));
        }
    }));
    let (started, mut all_started) = mpsc::channel(1);
    let followers: Vec<_> = case
        .followers
        .iter()
        .map(|follower| tokio::spawn(follow(store.clone(), follower.clone(), started.clone())))
        .collect();
    for _ in &followers {
        all_started.recv().await.unwrap();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    stop.send(()).await.unwrap();
    disturbance.await.unwrap();
    store.sink().push(record(1, "s0", 0, END)).unwrap();
    let kept = all(store.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
    for follower in followers {
        let seen = tokio::time::timeout(Duration::from_secs(60), follower).await;
        verify(&seen.expect("a follower missed the last line").unwrap(), &kept);
    }
    // What nobody deletes is there, in the order of each sender.
    let mut kept = kept;
    kept.sort_unstable_by_key(|line| line.seq);
    for sender in 0..3u8 {
        let lines = kept.iter().filter(|line| line.issuer == mac(sender + 1) && &*line.line != END);
        let found: Vec<&str> = lines
            .filter(|line| line.stream.as_str() != STREAMS[3])
            .map(|line| &*line.line)
            .collect();
        let sent = case.lines[usize::from(sender)].iter().enumerate();
        let wanted: Vec<String> =
            sent.filter(|(_, (stream, _))| *stream != 3).map(|(n, _)| n.to_string()).collect();
        assert_eq!(found, wanted, "sender {sender}");
    }
    store.close().await.unwrap();
}

/// `kept`: the lines that are there at the end.
fn verify(seen: &Seen, kept: &[LogLine]) {
    let Seen { follower, history, live, cut } = seen;
    let order = |line: &LogLine| (line.timestamp, line.seq);
    assert!(history.is_sorted_by_key(order), "history is by date and number");
    assert!(live.is_sorted_by_key(|line| line.seq), "live lines come by number");
    let given: BTreeMap<u64, &LogLine> =
        history.iter().chain(live).map(|line| (line.seq, line)).collect();
    assert_eq!(given.len(), history.len() + live.len(), "a line was given twice");
    let range = range_of(follower);
    let wanted = FILTERS[follower.filter].1;
    for line in kept {
        let in_range = range.start.is_none_or(|start| line.timestamp > start)
            && range.end.is_none_or(|end| line.timestamp < end);
        let given = given.contains_key(&line.seq);
        if !wanted(line) {
            assert!(!given, "not asked for: {line:?}");
        } else if line.seq > cut.1 || in_range {
            assert!(given, "missed, cut {cut:?}: {line:?}");
        } else if line.seq <= cut.0 {
            assert!(!given, "out of the range, cut {cut:?}: {line:?}");
        }
    }
    let there: BTreeSet<u64> = kept.iter().map(|line| line.seq).collect();
    for line in given.values() {
        assert!(wanted(line), "not asked for: {line:?}");
        let may_go = line.issuer == mac(VICTIM) || line.stream.as_str() == STREAMS[3];
        assert!(may_go || there.contains(&line.seq), "invented: {line:?}");
        let name = &*line.issuer_name;
        assert!(
            match line.issuer {
                issuer if issuer == mac(1) => name == "node-1" || name.starts_with("renamed-"),
                issuer if issuer == mac(VICTIM) => name == "victim",
                issuer => issuer == mac(2) && name == "node-2" || name == "node-3",
            },
            "{line:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_meanwhile(case in busy_cases()) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(check_busy(case));
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
