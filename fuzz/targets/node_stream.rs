//! Connections to port 12347: the request line, then what the request says.
#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use walt_proto::bootup::BootupConnection;
use walt_proto::fake_tftp::FakeTftpRequest;
use walt_proto::log_stream::LogStream;
use walt_proto::net_service;
use walt_proto::pickle::PickleReader;
use walt_proto::request::{HeaderReader, StreamRequest};

fuzz_target!(|bytes: &[u8]| {
    let _ = net_service::parse_reply(bytes);
    let mut header = HeaderReader::new();
    header.feed(bytes);
    let Ok(Some(line)) = header.line() else { return };
    let request = StreamRequest::parse(&line);
    let rest = header.into_rest();
    match request {
        Some(StreamRequest::FakeTftpGet) => {
            let mut reader = PickleReader::default();
            reader.feed(&rest);
            if let Ok(Some(value)) = reader.next_value() {
                let _ = FakeTftpRequest::from_python(&value);
            }
        }
        Some(StreamRequest::NotifyBootupStatus) => {
            BootupConnection::new().feed(&rest);
        }
        _ => drop(LogStream::new().feed(&rest, SystemTime::UNIX_EPOCH)),
    }
});
