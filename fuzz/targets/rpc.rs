//! Sessions on port 12345: the same calls come out however the bytes are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use walt_proto::rpc::{RpcEvent, RpcSession};

fn events(chunks: &[&[u8]]) -> Vec<String> {
    let mut session = RpcSession::new();
    let mut seen = Vec::new();
    for chunk in chunks {
        session.feed(chunk);
        loop {
            match session.next_event() {
                Ok(None) => break,
                Ok(Some(RpcEvent::Close)) => {
                    seen.push("close".to_owned());
                    return seen;
                }
                Ok(Some(event)) => seen.push(format!("{event:?}")),
                Err(_) => return seen,
            }
        }
    }
    seen
}

fuzz_target!(|bytes: &[u8]| {
    let (first, second) = bytes.split_at(bytes.len() / 3);
    assert_eq!(events(&[bytes]), events(&[first, second]));
});
