//! Log streams: bounded lines without line breaks, believable dates, and the same lines however the bytes are cut.
#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use walt_proto::log_stream::{LINE_MAX, LogEvent, LogStream};

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn lines(chunks: &[&[u8]]) -> Vec<LogEvent> {
    let now = SystemTime::UNIX_EPOCH + NOW;
    let mut stream = LogStream::new();
    let mut seen = Vec::new();
    for chunk in chunks {
        match stream.feed(chunk, now) {
            Ok(events) => seen.extend(events),
            Err(_) => return seen,
        }
    }
    seen.extend(stream.disconnected(now));
    for event in &seen {
        if let LogEvent::Line { text, timestamp } = event {
            // A byte that is no UTF-8 becomes a character of three.
            assert!(text.len() <= 3 * LINE_MAX + 64 && !text.contains(['\n', '\0']), "{text:?}");
            assert!(*timestamp <= now + Duration::from_secs(1));
        }
    }
    seen
}

fuzz_target!(|bytes: &[u8]| {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    // `CLOSE` is an end only where nothing follows: only streams without it are the same in pieces.
    let cut = lines(&[first, second]);
    if !cut.contains(&LogEvent::Close) {
        assert_eq!(lines(&[bytes]), cut);
    }
});
