//! Bundles come back as they were made, or not at all.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::path::Path;

use common::{T0, all, mac, record, store};
use walt_logs::bundle::{
    BundleWriter, CHECKPOINTS, ISSUERS, Instant, Issuer, Limits, Manifest, import,
};
use walt_logs::{
    Clock, Filter, LogError, LogLine, LogRecord, LogStore, Options, TimeRange, Timestamp,
};

const LIMITS: Limits = Limits { bytes: 1 << 30 };

async fn made(dir: &Path) -> (Vec<u8>, Vec<LogLine>) {
    let store = store(dir, Options::default()).await;
    let clock = Clock { measured: Timestamp(T0), offset: -7, uncertainty: 3 };
    store.note_clock(mac(1), clock).await.unwrap();
    for n in 0..20_000 {
        let text = format!("line {n} \"quoted\" é\u{1}");
        store.sink().push_wait(record(1 + (n % 3) as u8, "app", n, &text)).await.unwrap();
    }
    let chunk =
        LogRecord::chunk(mac(2), "virtualconsole".parse().unwrap(), Timestamp(T0), b"\xff\r\n'");
    store.sink().push(chunk).unwrap();
    let lines = all(store.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
    let manifest = Manifest::new("1.2.3", "a:b", Some(Timestamp(T0)), None);
    let mut bundle = BundleWriter::new(Vec::new(), manifest).unwrap();
    let issuers: Vec<Issuer> = store
        .issuers()
        .into_iter()
        .map(|(mac, name)| Issuer { name: name.to_string(), mac })
        .collect();
    bundle.document(ISSUERS, &issuers).unwrap();
    let at = [Instant { name: "start".into(), timestamp_us: T0 }];
    bundle.document(CHECKPOINTS, &at).unwrap();
    bundle.document("nodes", &["n1"]).unwrap();
    bundle.lines(&lines).unwrap();
    (bundle.finish().unwrap(), lines)
}

fn read(dir: &Path, bytes: &[u8], limits: Limits) -> Result<(Manifest, LogStore), LogError> {
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap();
    let store = LogStore::open(&dir.join("logs.db"), Options::default()).unwrap();
    let user = walt_model::UserName::platform();
    import(bytes, limits, &store, &user).map(|(manifest, documents)| {
        let nodes: Vec<String> = serde_json::from_slice(&documents["nodes"]).unwrap();
        assert_eq!(nodes, ["n1"]);
        (manifest, store)
    })
}

/// Reads on a thread that may block, as the server does.
async fn reading<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, lines) = made(dir.path()).await;
    let target = dir.path().join("in");
    let (manifest, back) = reading(move || read(&target, &bytes, LIMITS)).await.unwrap();
    assert_eq!(manifest.lines, lines.len() as u64);
    assert_eq!(manifest.range, "a:b");
    let mut found = all(back.history(Filter::default(), TimeRange::FULL).await.unwrap()).await;
    let mut wanted = lines;
    for line in found.iter_mut().chain(&mut wanted) {
        line.seq = 0;
        // When it was measured is not told, only what it was.
        if let Some(clock) = &mut line.clock {
            clock.measured = Timestamp(0);
        }
    }
    assert_eq!(found, wanted);
    let user = walt_model::UserName::platform();
    assert_eq!(back.checkpoints(&user).await.unwrap()[0].name, "start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_was_touched_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, _) = made(dir.path()).await;
    let target = dir.path().join("in");
    reading(move || {
        let refused = |bytes: &[u8], limits: Limits| match read(&target, bytes, limits) {
            Err(LogError::Bundle(why)) => why,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was accepted"),
        };
        for cut in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
            refused(&bytes[..cut], LIMITS);
        }
        refused(&bytes, Limits { bytes: 100_000 });
        let plain = zstd::decode_all(&bytes[..]).unwrap();
        let packed = |plain: &[u8]| zstd::encode_all(plain, 1).unwrap();
        // Other text of the same length in a line, a document, the manifest.
        for (from, to) in [("line 77 ", "line 78 "), ("\"n1\"", "\"n2\""), ("\"lines\": 2", "\"lines\": 3")] {
            let at = plain.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            let mut changed = plain.clone();
            changed[at..at + to.len()].copy_from_slice(to.as_bytes());
            refused(&packed(&changed), LIMITS);
        }
        // Archives nobody made honestly.
        let archive = |fill: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
            let mut archive = tar::Builder::new(Vec::new());
            fill(&mut archive);
            packed(&archive.into_inner().unwrap())
        };
        let file = |archive: &mut tar::Builder<Vec<u8>>, name: &str, size: u64, kind: tar::EntryType| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(size);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.get_mut().write_all(header.as_bytes()).unwrap();
            let room = size.min(100_000).next_multiple_of(512) as usize;
            archive.get_mut().write_all(&vec![b' '; room]).unwrap();
        };
        for (name, size, kind, why) in [
            ("../../etc/passwd", 5, tar::EntryType::Regular, "unexpected member"),
            ("/etc/passwd", 5, tar::EntryType::Regular, "unexpected member"),
            ("logs/../x.jsonl", 5, tar::EntryType::Regular, "unexpected member"),
            ("nodes.json", 5, tar::EntryType::Symlink, "not a plain file"),
            ("nodes.json", 5, tar::EntryType::Char, "not a plain file"),
            ("nodes.json", 1 << 40, tar::EntryType::Regular, "are accepted"),
            ("././@LongLink", 1 << 40, tar::EntryType::GNULongName, "not a plain file"),
            ("x", 1 << 40, tar::EntryType::XHeader, "not a plain file"),
        ] {
            let told = refused(&archive(&|a| file(a, name, size, kind)), LIMITS);
            assert!(told.contains(why), "{name}: {told}");
        }
        // Much in little: zeros without end.
        let bomb = packed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 20_000);
        refused(&bomb, LIMITS);
        let content = |name: &str, text: &str| {
            let bytes = archive(&|a| {
                let mut header = tar::Header::new_ustar();
                header.set_size(text.len() as u64);
                header.set_mode(0o644);
                a.append_data(&mut header, name, text.as_bytes()).unwrap();
            });
            refused(&bytes, LIMITS)
        };
        // Streams of many issuers count together.
        let streams: String = (0..100_100)
            .map(|n| {
                let (issuer, stream) = (n / 400, n % 400);
                format!("{{\"timestamp_us\":1,\"issuer\":\"n{issuer}\",\"stream\":\"s{stream}\",\"line\":\"\"}}\n")
            })
            .collect();
        let told = content("logs/1.jsonl", &streams);
        assert!(told.contains("too many streams"), "{told}");
        let parts = archive(&|a| (0..40_000).for_each(|_| file(a, "logs/1.jsonl", 0, tar::EntryType::Regular)));
        assert!(parts.len() < 100_000, "{}", parts.len());
        let told = refused(&parts, LIMITS);
        assert!(told.contains("too many parts"), "{told}");
        let deep = "[".repeat(1_000_000);
        for (name, text, why) in [
            ("nodes.json", deep.as_str(), "not understood"),
            ("nodes.json", "{}", "manifest"),
            ("issuers.json", r#"[{"name":"../x","mac":"52:54:00:00:00:01"}]"#, "name of a device"),
            ("checkpoints.json", r#"[{"name":"../x","timestamp_us":1}]"#, "name of a checkpoint"),
            ("logs/1.jsonl", "{}\n", "not understood"),
            ("logs/1.jsonl", "\u{1}", "not understood"),
            ("manifest.json", r#"{"format":"x","version":1,"server_version":"","made_us":0,"range":"","lines":0,"members":[]}"#, "manifest"),
            ("manifest.json", r#"{"format":"walt-bundle","version":9,"server_version":"","made_us":0,"range":"","lines":0,"members":[]}"#, "newer"),
        ] {
            let told = content(name, text);
            assert!(told.contains(why), "{name} {}: {told}", &text[..text.len().min(40)]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_bounded_together_and_kept_as_they_are() {
    let bundle = |documents: usize| {
        let mut bundle =
            BundleWriter::new(Vec::new(), Manifest::new("1", "full", None, None)).unwrap();
        bundle.document("nodes", &["n1"]).unwrap();
        for number in 0..documents {
            // 2 MiB of a kind of text that would take 16 times as much once understood.
            bundle.document(&format!("doc-{number}"), &vec![0; 400_000]).unwrap();
        }
        bundle.finish().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("in");
    reading(move || {
        let few = bundle(3);
        assert!(few.len() < 20_000, "{}", few.len());
        read(&target, &few, LIMITS).unwrap();
        match read(&target, &bundle(5), LIMITS) {
            Err(LogError::Bundle(why)) => assert!(why.contains("are accepted"), "{why}"),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("10 MB of documents were accepted"),
        }
    })
    .await;
}
