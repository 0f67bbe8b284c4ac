//! Spooled logs: bounded lines whose numbers increase, and the same messages however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walt_proto::log_stream::LINE_MAX;
use walt_proto::spooled::{NodeEvent, ServerMessage, SpoolError, SpoolReader};

fn events(chunks: &[&[u8]]) -> (Vec<NodeEvent>, Option<SpoolError>) {
    let mut reader = SpoolReader::new();
    let mut seen = Vec::new();
    for chunk in chunks {
        reader.feed(chunk);
        loop {
            match reader.next_event() {
                Ok(Some(event)) => seen.push(event),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

fuzz_target!(|bytes: &[u8]| {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let cut = events(&[first, second]);
    assert_eq!(events(&[bytes]), cut);
    let mut last = 0;
    for event in &cut.0 {
        if let NodeEvent::Line { seq, stream, text, .. } = event {
            assert!(*seq > last && !stream.is_empty());
            // A byte that is no UTF-8 becomes a character of three.
            assert!(text.len() <= 3 * (LINE_MAX + 128) && !text.contains(['\n', '\0']), "{text:?}");
            last = *seq;
        }
    }
    let _ = ServerMessage::parse(&String::from_utf8_lossy(bytes));
});
